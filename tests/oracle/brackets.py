"""Stops, targets, trailing levels, and which of them one bar reaches.  # R3"""

import math
from typing import NamedTuple

from engine.model_call import event_key
from engine.models import ModelKind
from engine.schema import EventKind, Intrabar, LevelKind, LimitGap, LimitTouch, Reason, StopAnchor, StopCheck, StopFrom, TrailingMode
from engine.settings import Settings
from tests.oracle.account import Account, Closed, Entry, Position, Stop
from tests.oracle.events import Action, Bar


class Exit(NamedTuple):
    """An exit that a bar reaches, at its raw price."""

    price: float
    reason: Reason
    maker: bool
    ambiguous: bool = False


def attach(account: Account, position: Position, entry: Entry) -> None:
    """Give a position, just filled, the levels of its proposal.  # R2.1"""
    proposal = account.markets[entry.proposal.symbol].restated(entry.proposal)
    settings, fill, side = account.settings, position.price, position.side
    anchor = entry.reference if settings.stop_anchor == StopAnchor.ENTRY_CLOSE else fill
    inside_first_bar = account.phase == EventKind.BAR_OPEN and settings.stop_from == StopFrom.NEXT_BAR
    position.acts_from = position.opened_ts + (1 if inside_first_bar else 0)
    stop = _price(proposal.stop_loss, proposal.stop_loss_kind, anchor, -side)
    target = _price(proposal.take_profit, proposal.take_profit_kind, anchor, side)
    stop = _positive(position.contract.on_tick(stop, account.now, up=side < 0)) if stop is not None else None
    position.target = _positive(position.contract.on_tick(target, account.now, up=side > 0)) if target is not None else None
    if stop is not None:
        position.stops.append(Stop(position.opened_ts, stop, Reason.STOP_LOSS))
    position.trailing = _distance(proposal.trailing, proposal.trailing_kind, fill)
    position.break_even = _distance(proposal.break_even, proposal.break_even_kind, fill)
    position.extreme = fill
    position.max_bars = proposal.max_bars
    _raise_stop(position, position.opened_ts, position.opened_ts)


def trail(account: Account, position: Position, bar: Bar) -> None:
    """Move the stop after the close of a bar; it acts after the latency.  # R3.5"""
    if bar.open_ts < position.opened_ts:
        return
    candle = bar.side(-position.side)
    if position.side > 0:
        position.extreme = max(position.extreme, candle.high)
    else:
        position.extreme = min(position.extreme, candle.low)
    closed = Closed(
        bar.ts, bar.ts + account.settings.latency_us, position.extreme, candle.high, candle.low, candle.close, position.bars + 1
    )
    position.extremes.append(closed)
    _move(account, position, closed)


def _move(account: Account, position: Position, closed: Closed) -> None:
    """What one close does to the stop: trailing, break-even, and the user's own model."""
    _raise_stop(position, closed.ts, closed.acts_from)
    model = account.settings.model(ModelKind.EXIT)
    if model is None:
        return
    stop = position.stops[-1].level if position.stops else math.nan
    target = math.nan if position.target is None else position.target
    key = event_key(account.settings.seed, closed.ts, *account.places(position.key))
    prices = (closed.high, closed.low, closed.close)
    level = _positive(model.function(position.price, *prices, stop, target, float(closed.bars), float(position.side), key))
    if level is not None:
        _improve(position, level, closed.ts, closed.acts_from, Reason.MODEL_STOP)


def split_levels(account: Account, position: Position, split: Action, now: int, opened_ts: int) -> None:
    """Levels in prices of the new shares, triggers on the tick again.  # R8.1

    The stop that the last bar to open has seen is rounded a second time; what closes since then are to do to it, they do to the new prices.
    """
    side, contract = position.side, position.contract
    last = max(opened_ts, position.opened_ts)
    acting = [stop for stop in position.stops if stop.acts_from <= last][-1:]
    levels = [(stop, _positive(contract.on_tick(split.price(stop.level), now, up=side < 0))) for stop in acting]
    position.stops = [Stop(stop.acts_from, level, stop.reason) for stop, level in levels if level is not None]
    if position.target is not None:
        position.target = _positive(contract.on_tick(split.price(position.target), now, up=side > 0))
    position.price = split.price(position.price)
    for name in ("trailing", "break_even"):
        distance = getattr(position, name)
        setattr(position, name, None if distance is None else split.price(distance))
    waiting = [_in_new_units(one, split) for one in position.extremes if one.acts_from > last]
    newest = split.price(position.extreme)
    for closed in waiting:
        position.extreme = closed.extreme
        _move(account, position, closed)
    position.extremes, position.extreme = waiting, newest


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
        assert position.target is not None
        gap = settings.limit_gap
        if gap is None:
            gap = LimitGap.OPEN if position.contract.instrument.sessions else LimitGap.PRICE
        sold = position.contract.on_tick(opening, bar.open_ts, up=side < 0)
        return Exit(sold if gap == LimitGap.OPEN else position.target, Reason.TAKE_PROFIT, maker=True)
    return None


def touched(position: Position, bar: Bar, settings: Settings) -> Exit | None:
    """The stop or target that the bar reaches after its open; the policy decides between two.  # R3.2 R3.3"""
    side, candle = position.side, bar.side(-position.side)
    worst, best = (candle.low, candle.high) if side > 0 else (candle.high, candle.low)
    stop, target = ranged_stop(position, bar, settings), position.target
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


def ranged_stop(position: Position, bar: Bar, settings: Settings) -> Stop | None:
    """The stop that the prices within a bar are compared with.  # R2.1"""
    return stop_for(position, bar) if settings.stop_check == StopCheck.RANGE else None


def raised_inside(position: Position, bar: Bar, stop: Stop | None, settings: Settings) -> Stop | None:
    """The stop, or the level to which the bar's own extreme, short of the target, trails it.  # R3.5"""
    if settings.trailing_mode != TrailingMode.INTRABAR or position.trailing is None or bar.open_ts < position.acts_from:
        return stop
    side, candle = position.side, bar.side(-position.side)
    extreme = candle.high if side > 0 else candle.low
    if position.target is not None:
        extreme = min(extreme, position.target) if side > 0 else max(extreme, position.target)
    level = _positive(position.contract.on_tick(extreme - side * position.trailing, bar.open_ts, up=side < 0))
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
    if position.target is None or bar.open_ts < position.acts_from:
        return False
    beyond = position.side * (price - position.target)
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


def _distance(distance: float, kind: LevelKind, fill: float) -> float | None:
    return _positive(distance * fill if kind == LevelKind.FRACTION else distance)


def _positive(price: float) -> float | None:
    return price if math.isfinite(price) and price > 0 else None


def _raise_stop(position: Position, now: int, acts_from: int) -> None:
    side, extreme = position.side, position.extreme
    if position.trailing is not None:
        _improve(position, extreme - side * position.trailing, now, acts_from, Reason.TRAILING_STOP)
    if position.break_even is not None and side * extreme >= side * (position.price + side * position.break_even):
        _improve(position, position.price, now, acts_from, Reason.BREAK_EVEN)


def _improve(position: Position, price: float, now: int, acts_from: int, reason: Reason) -> None:
    side = position.side
    level = _positive(position.contract.on_tick(price, now, up=side < 0))
    present = position.stops[-1].level if position.stops else None
    if level is not None and (present is None or side * level > side * present):
        position.stops.append(Stop(acts_from, level, reason))
