"""Stops, targets, trailing levels, and which of them one bar reaches.  # R3"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from engine.models import ModelKind
from engine.schema import EventKind, Intrabar, LevelKind, LimitGap, LimitTouch, Reason, StopAnchor, StopCheck, StopFrom, TrailingMode
from engine.settings import Settings
from tests.oracle.account import Account, Change, Closed, Entry, Level, Position, Stop
from tests.oracle.contract import Contract
from tests.oracle.events import Action, Bar
from tests.oracle.proposals import Proposal


class Reach(NamedTuple):
    """How the inside of a bar reached an entry: what comes after it for certain is the close and the marked extremes.  # R3.4"""

    bar: Bar
    raw: float
    segment: int  # of the path: the fill lies before the point of this number
    low: bool
    high: bool


class Exit(NamedTuple):
    """An exit that a bar reaches, at its raw price."""

    price: float
    reason: Reason
    maker: bool
    ambiguous: bool = False


class Rest(NamedTuple):
    """What the rest of a bar does to a position opened inside it."""

    taken: Exit | None
    ambiguous: bool


def attach(account: Account, position: Position, entry: Entry) -> None:
    """Give a position, just filled, the levels of its proposal.  # R2.1"""
    inside_first_bar = account.phase in (EventKind.BAR_OPEN, EventKind.BAR_PATH) and account.settings.stop_from == StopFrom.NEXT_BAR
    position.acts_from = position.opened_ts + inside_first_bar
    position.max_bars = entry.proposal.max_bars
    position.extreme, position.since = position.price, position.opened_ts
    position.entries.append(Level(position.opened_ts, position.price))
    _move(
        account,
        position,
        _given(account, position, entry.proposal, _anchor(account, entry, position.price), position.price, position.opened_ts),
    )


def add_levels(account: Account, position: Position, entry: Entry, price: float) -> None:
    """Change the levels of a position to those that come with an add; they act after the latency.  # R2.3 R4.3"""
    acts_from = account.now + _held_back(account) + account.settings.latency_us
    change = _given(account, position, entry.proposal, _anchor(account, entry, price), price, acts_from)
    _move(account, position, _restarted(account, position, replace(change, entry=price if change.break_even is not None else None), price))


def replace_levels(account: Account, position: Position, proposal: Proposal) -> float:
    """Change the levels of a position to those of a proposal; the new stop, 0 where it stays.  # R2.3 R4.3"""
    close = account.markets[proposal.symbol].last_close
    change = _given(account, position, proposal, close, close, account.now + account.settings.latency_us)
    _move(account, position, _restarted(account, position, change, close))
    return change.stop or 0.0


def _anchor(account: Account, entry: Entry, fill: float) -> float:
    """What fractions of a stop or a target are of."""
    return entry.decided_close if account.settings.stop_anchor == StopAnchor.ENTRY_CLOSE else fill


def _held_back(account: Account) -> int:
    """A bar that opens now does not see the bracket of its own fill where that is to act from the next one.  # R2.1"""
    return 1 if account.phase == EventKind.BAR_OPEN and account.settings.stop_from == StopFrom.NEXT_BAR else 0


def _given(account: Account, position: Position, proposal: Proposal, anchor: float, price: float, acts_from: int) -> Change:
    """The levels that a proposal gives, in the units of now."""
    side, proposal = position.side, account.markets[proposal.symbol].restated(proposal)
    return Change(
        account.now,
        acts_from,
        stop=_ticked(position, account.now, _price(proposal.stop_loss, proposal.stop_loss_kind, anchor, -side), up=side < 0),
        target=_ticked(position, account.now, _price(proposal.take_profit, proposal.take_profit_kind, anchor, side), up=side > 0),
        trailing=_distance(proposal.trailing, proposal.trailing_kind, price),
        break_even=_distance(proposal.break_even, proposal.break_even_kind, price),
    )


def _restarted(account: Account, position: Position, change: Change, price: float) -> Change:
    """A new distance counts from the price that it comes with."""
    if change.trailing is None and change.break_even is None:
        return change
    position.since = account.now
    return replace(change, extreme=price)


def _move(account: Account, position: Position, change: Change) -> None:
    """Put a change on a position; what it does not give stays."""
    position.moves.append(change)
    if change.extreme is not None:
        position.extreme = change.extreme
    if change.stop is not None:
        position.stops.append(Stop(change.acts_from, change.stop, Reason.STOP_LOSS))
    for levels, level in (
        (position.targets, change.target),
        (position.trailings, change.trailing),
        (position.break_evens, change.break_even),
        (position.entries, change.entry),
    ):
        if level is not None:
            levels.append(Level(change.acts_from, level))
    _raise_stop(position, change.ts, change.acts_from)
    if change.closed is not None and position.asks_model and account.settings.model(ModelKind.EXIT) is not None:
        _ask_model(account, position, change.acts_from, change.closed)


def _ask_model(account: Account, position: Position, acts_from: int, closed: Closed) -> None:
    """What the user's own model makes of a close."""
    model = account.settings.model(ModelKind.EXIT)
    assert model is not None
    stop = position.stops[-1].level if position.stops else math.nan
    target = position.targets[-1].level if position.targets else math.nan
    key = account.event_key(account.settings.seed, closed.ts, position.key)
    prices = (closed.high, closed.low, closed.close)
    entry = position.entries[-1].level
    level = _positive(model.function(entry, *prices, stop, target, float(closed.bars), float(position.side), key))
    if level is not None:
        _improve(position, level, closed.ts, acts_from, Reason.MODEL_STOP)


def trail(account: Account, position: Position, bar: Bar) -> None:
    """Move the stop after the close of a bar; it acts after the latency.  # R3.5"""
    if bar.open_ts < position.since:
        return
    candle = bar.side(-position.side)
    if opened_inside(position, bar):
        candle = candle._replace(high=candle.close, low=candle.close)
    extreme = max(position.extreme, candle.high) if position.side > 0 else min(position.extreme, candle.low)
    acts_from = bar.ts + account.settings.latency_us
    closed = Closed(bar.ts, acts_from, extreme, candle.high, candle.low, candle.close, position.bars + 1)
    _move(account, position, Change(bar.ts, acts_from, extreme=extreme, closed=closed))


def split_levels(account: Account, position: Position, split: Action, now: int, opened_ts: int) -> None:
    """Levels in prices of the new shares, triggers on the tick again.  # R8.1

    The levels that the last bar to open has seen are rounded a second time; what has changed since then changes the new prices.
    """
    side, last = position.side, max(opened_ts, position.opened_ts)
    stops = [stop for stop in position.stops if stop.acts_from <= last][-1:]
    targets, trailings, break_evens, entries = (
        [level for level in levels if level.acts_from <= last][-1:]
        for levels in (position.targets, position.trailings, position.break_evens, position.entries)
    )
    levels = [(stop, _ticked(position, now, split.price(stop.level), up=side < 0)) for stop in stops]
    position.stops = [Stop(stop.acts_from, level, stop.reason) for stop, level in levels if level is not None]
    new_targets = [(target, _ticked(position, now, split.price(target.level), up=side > 0)) for target in targets]
    position.targets = [Level(target.acts_from, level) for target, level in new_targets if level is not None]
    position.trailings = [Level(one.acts_from, split.price(one.level)) for one in trailings]
    position.break_evens = [Level(one.acts_from, split.price(one.level)) for one in break_evens]
    position.entries = [Level(one.acts_from, split.price(one.level)) for one in entries]
    waiting, newest = [move for move in position.moves if move.acts_from > last], split.price(position.extreme)
    position.moves = []
    for move in waiting:
        _move(account, position, _split_change(position, move, split, now))
    position.extreme = newest


def _split_change(position: Position, change: Change, split: Action, now: int) -> Change:
    """A change that does not act yet, in the new units."""

    def price(level: float | None) -> float | None:
        return None if level is None else split.price(level)

    return Change(
        change.ts,
        change.acts_from,
        price(change.extreme),
        _ticked(position, now, price(change.stop), up=position.side < 0),
        _ticked(position, now, price(change.target), up=position.side > 0),
        price(change.trailing),
        price(change.break_even),
        price(change.entry),
        None if change.closed is None else _in_new_units(change.closed, split),
    )


def _in_new_units(closed: Closed, split: Action) -> Closed:
    prices = {name: split.price(getattr(closed, name)) for name in ("extreme", "high", "low", "close")}
    return closed._replace(**prices)


def passed_by_open(position: Position, bar: Bar, settings: Settings) -> Exit | None:
    """The stop or target that the open is at or beyond.  # R2.4"""
    side, opening = position.side, bar.side(-position.side).open
    stop = ranged_stop(position, bar, settings)
    if stop is not None and side * opening <= side * stop.level:
        return Exit(opening, stop.reason, maker=False)
    if target_met(position, bar, opening, settings):
        target = acting(position.targets, bar)
        assert target is not None
        gap = gap_of(settings, position.contract)
        sold = position.contract.on_tick(opening, bar.open_ts, up=side < 0)
        return Exit(sold if gap == LimitGap.OPEN else target, Reason.TAKE_PROFIT, maker=True)
    return None


def gap_of(settings: Settings, contract: Contract) -> LimitGap:
    """At which price a resting limit fills that the open has passed.  # R2.4"""
    if settings.limit_gap is not None:
        return settings.limit_gap
    return LimitGap.OPEN if contract.instrument.sessions else LimitGap.PRICE


def opened_inside(position: Position, bar: Bar) -> bool:
    """Whether the position was opened by a touch inside this bar."""
    return position.reach is not None and position.reach.bar is bar


def path(bar: Bar, side: int, settings: Settings, *, of: int) -> tuple[float, float, float, float]:
    """The four points that a bar's path is taken to visit; ``side`` is the position's, ``of`` that of the prices.  # R3.3"""
    leads, candle = bar.side(-side), bar.side(of)
    low_first = settings.intrabar == Intrabar.OLHC or (settings.intrabar == Intrabar.ADAPTIVE and leads.close > leads.open)
    turns = (candle.low, candle.high) if low_first else (candle.high, candle.low)
    return (candle.open, *turns, candle.close)


def touched_after_entry(position: Position, bar: Bar, settings: Settings) -> Rest:
    """The stop or target reached in the bar of an entry by touch, after that entry.  # R3.4"""
    side, reach, candle = position.side, position.reach, bar.side(-position.side)
    stop, target = ranged_stop(position, bar, settings), acting(position.targets, bar)

    def stops(prices: Iterable[float]) -> bool:
        return stop is not None and any(side * price <= side * stop.level for price in prices)

    def gains(prices: Iterable[float]) -> bool:
        return any(target_met(position, bar, price, settings) for price in prices)

    def offered(price: float) -> float:
        """A price on the exit side: where bid and ask have candles of their own, theirs."""
        return min(max(price, candle.low), candle.high)

    if stops([reach.raw]) or gains([reach.raw]):
        return Rest(Exit(offered(reach.raw), Reason.CROSSED_AT_ENTRY, maker=False), ambiguous=False)
    certain = [candle.close, *([candle.low] if reach.low else []), *([candle.high] if reach.high else [])]
    possible = [candle.close, candle.low, candle.high]
    worst = "stop" if stops(possible) else "target" if gains(certain) else ""
    best = "target" if gains(possible) else "stop" if stops(certain) else ""
    chosen = {Intrabar.PESSIMISTIC: worst, Intrabar.OPTIMISTIC: best}.get(settings.intrabar)
    if chosen is None:
        after = path(bar, side, settings, of=-side)[reach.segment :]
        chosen = next((name for price in after for name, meets in (("stop", stops), ("target", gains)) if meets([price])), "")
    ambiguous = worst != best
    if chosen == "stop" and stop is not None:
        return Rest(Exit(offered(stop.level), stop.reason, maker=False, ambiguous=ambiguous), ambiguous)
    if chosen == "target" and target is not None:
        return Rest(Exit(target, Reason.TAKE_PROFIT, maker=True, ambiguous=ambiguous), ambiguous)
    return Rest(None, ambiguous)


def touched(position: Position, bar: Bar, settings: Settings) -> Exit | None:
    """The stop or target that the bar reaches after its open; the policy decides between two.  # R3.2 R3.3"""
    side, candle = position.side, bar.side(-position.side)
    worst, best = (candle.low, candle.high) if side > 0 else (candle.high, candle.low)
    stop, target = ranged_stop(position, bar, settings), acting(position.targets, bar)
    if settings.stop_check == StopCheck.RANGE:
        stop = raised_inside(position, bar, stop, settings)
    stopped = stop is not None and side * worst <= side * stop.level
    reached = target_met(position, bar, best, settings)
    if not (stopped or reached):
        return None
    ambiguous = stopped and reached
    if stopped and (not reached or adverse_first(side, candle.close > candle.open, settings.intrabar)):
        assert stop is not None
        return Exit(stop.level, stop.reason, maker=False, ambiguous=ambiguous)
    assert target is not None
    return Exit(target, Reason.TAKE_PROFIT, maker=True, ambiguous=ambiguous)


def stop_for(position: Position, bar: Bar) -> Stop | None:
    """The stop that acts in a bar: the last one made early enough before its open."""
    if bar.open_ts < position.acts_from:
        return None
    acting = [stop for stop in position.stops if stop.acts_from <= bar.open_ts]
    return acting[-1] if acting else None


def acting(levels: list[Level], bar: Bar) -> float | None:
    """The target or distance that acts in a bar, in the same way."""
    acting = [level.level for level in levels if level.acts_from <= bar.open_ts]
    return acting[-1] if acting else None


def ranged_stop(position: Position, bar: Bar, settings: Settings) -> Stop | None:
    """The stop that the prices within a bar are compared with.  # R2.1"""
    return stop_for(position, bar) if settings.stop_check == StopCheck.RANGE else None


def raised_inside(position: Position, bar: Bar, stop: Stop | None, settings: Settings) -> Stop | None:
    """The stop, or the level to which the bar's own extreme, short of the target, trails it.  # R3.5"""
    trailing, target = acting(position.trailings, bar), acting(position.targets, bar)
    if settings.trailing_mode != TrailingMode.INTRABAR or trailing is None or bar.open_ts < position.acts_from:
        return stop
    if opened_inside(position, bar):  # the close is all that is sure to come after the fill, and it comes last
        return stop
    side, candle = position.side, bar.side(-position.side)
    extreme = candle.high if side > 0 else candle.low
    if target is not None:
        extreme = min(extreme, target) if side > 0 else max(extreme, target)
    level = _positive(position.contract.on_tick(extreme - side * trailing, bar.open_ts, up=side < 0))
    if level is None or (stop is not None and side * level <= side * stop.level):
        return stop
    return Stop(bar.open_ts, level, Reason.TRAILING_STOP)


def stopped_by_close(position: Position, bar: Bar, settings: Settings) -> Stop | None:
    """The stop that a bar closes at or beyond, where stops look at closes alone.  # R2.1"""
    if settings.stop_check != StopCheck.CLOSE:
        return None
    stop = raised_inside(position, bar, stop_for(position, bar), settings)
    side, close = position.side, bar.side(-position.side).close
    return stop if stop is not None and side * close <= side * stop.level else None


def target_met(position: Position, bar: Bar, price: float, settings: Settings) -> bool:
    """Whether a price of the bar fills the target.  # R2.4"""
    target = acting(position.targets, bar)
    if target is None or bar.open_ts < position.acts_from:
        return False
    beyond = position.side * (price - target)
    return beyond > 0 or (beyond == 0 and settings.limit_touch == LimitTouch.TOUCH)


def crossed_at_entry(position: Position, bar: Bar, settings: Settings) -> bool:
    """Whether the open of the entry's own bar is at or beyond its stop or target.  # R2.5"""
    side, opening = position.side, bar.side(-position.side).open
    stop = ranged_stop(position, bar, settings)
    stopped = stop is not None and side * opening <= side * stop.level
    return stopped or target_met(position, bar, opening, settings)


def adverse_first(side: int, rises: bool, policy: Intrabar) -> bool:
    """Stop and target lie on either side of the open, so the extreme that the path visits first decides."""
    if policy == Intrabar.PESSIMISTIC:
        return True
    if policy == Intrabar.OPTIMISTIC:
        return False
    low_first = policy == Intrabar.OLHC or (policy == Intrabar.ADAPTIVE and rises)
    return low_first == (side > 0)


def _price(level: float, kind: LevelKind, fill: float, direction: int) -> float | None:
    price = fill * (1 + direction * level) if kind == LevelKind.FRACTION else level
    return _positive(price)


def _ticked(position: Position, now: int, price: float | None, *, up: bool) -> float | None:
    return None if price is None else _positive(position.contract.on_tick(price, now, up=up))


def _distance(distance: float, kind: LevelKind, fill: float) -> float | None:
    return _positive(distance * fill if kind == LevelKind.FRACTION else distance)


def _positive(price: float) -> float | None:
    return price if math.isfinite(price) and price > 0 else None


def _raise_stop(position: Position, now: int, acts_from: int) -> None:
    side, extreme = position.side, position.extreme
    if position.trailings:
        _improve(position, extreme - side * position.trailings[-1].level, now, acts_from, Reason.TRAILING_STOP)
    if not position.break_evens:
        return
    distance, entry = position.break_evens[-1].level, position.entries[-1].level
    if side * extreme >= side * (entry + side * distance):
        _improve(position, entry, now, acts_from, Reason.BREAK_EVEN)


def _improve(position: Position, price: float, now: int, acts_from: int, reason: Reason) -> None:
    side = position.side
    level = _positive(position.contract.on_tick(price, now, up=side < 0))
    present = position.stops[-1].level if position.stops else None
    if level is not None and (present is None or side * level > side * present):
        position.stops.append(Stop(acts_from, level, reason))
