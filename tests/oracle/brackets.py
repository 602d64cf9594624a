"""Stops, targets, trailing levels, and which of them one bar reaches.  # R3"""

import math
from typing import NamedTuple

from engine.schema import Intrabar, LevelKind, LimitGap, Reason
from engine.settings import Settings
from tests.oracle.account import Position, Stop
from tests.oracle.events import Bar
from tests.oracle.proposals import Proposal


class Exit(NamedTuple):
    """An exit that a bar reaches, at its raw price."""

    price: float
    reason: Reason
    maker: bool
    ambiguous: bool = False


def attach(position: Position, proposal: Proposal) -> None:
    """Give a position, just filled, the levels of its proposal."""
    fill, side = position.price, position.side
    stop = _price(proposal.stop_loss, proposal.stop_loss_kind, fill, -side)
    target = _price(proposal.take_profit, proposal.take_profit_kind, fill, side)
    stop = _positive(position.contract.on_tick(stop, up=side < 0)) if stop is not None else None
    position.target = _positive(position.contract.on_tick(target, up=side > 0)) if target is not None else None
    if stop is not None:
        position.stops.append(Stop(position.opened_ts, stop, Reason.STOP_LOSS))
    distance = proposal.trailing * fill if proposal.trailing_kind == LevelKind.FRACTION else proposal.trailing
    position.trailing = _positive(distance)
    position.extreme = fill
    position.max_bars = proposal.max_bars
    _raise_stop(position, position.opened_ts)


def trail(position: Position, bar: Bar, latency_us: int) -> None:
    """Move a trailing stop after the close of a bar; it acts after the latency.  # R3.5"""
    if bar.open_ts < position.opened_ts:
        return
    candle = bar.side(-position.side)
    if position.side > 0:
        position.extreme = max(position.extreme, candle.high)
    else:
        position.extreme = min(position.extreme, candle.low)
    _raise_stop(position, bar.ts + latency_us)


def passed_by_open(position: Position, bar: Bar, settings: Settings) -> Exit | None:
    """The stop or target that the open is at or beyond.  # R2.4"""
    side, opening = position.side, bar.side(-position.side).open
    stop = stop_for(position, bar)
    if stop is not None and side * opening <= side * stop.level:
        return Exit(opening, stop.reason, maker=False)
    if position.target is not None and side * opening >= side * position.target:
        gap = settings.limit_gap
        if gap is None:
            gap = LimitGap.OPEN if position.contract.instrument.sessions else LimitGap.PRICE
        return Exit(opening if gap == LimitGap.OPEN else position.target, Reason.TAKE_PROFIT, maker=True)
    return None


def touched(position: Position, bar: Bar, policy: Intrabar) -> Exit | None:
    """The stop or target that the bar reaches after its open; the policy decides between two.  # R3.2 R3.3"""
    side, candle = position.side, bar.side(-position.side)
    worst, best = (candle.low, candle.high) if side > 0 else (candle.high, candle.low)
    stop, target = stop_for(position, bar), position.target
    stopped = stop is not None and side * worst <= side * stop.level
    reached = target is not None and side * best >= side * target
    if not (stopped or reached):
        return None
    ambiguous = stopped and reached
    if stopped and not (reached and _target_first(side, candle.close > candle.open, policy)):
        assert stop is not None
        return Exit(stop.level, stop.reason, maker=False, ambiguous=ambiguous)
    assert target is not None
    return Exit(target, Reason.TAKE_PROFIT, maker=True, ambiguous=ambiguous)


def stop_for(position: Position, bar: Bar) -> Stop | None:
    """The stop that acts in a bar: the last one made early enough before its open."""
    acting = [stop for stop in position.stops if stop.acts_from <= bar.open_ts]
    return acting[-1] if acting else None


def crossed_at_entry(position: Position, bar: Bar) -> bool:
    """Whether the open of the entry's own bar is at or beyond its stop or target.  # R2.5"""
    side, opening = position.side, bar.side(-position.side).open
    stop = stop_for(position, bar)
    stopped = stop is not None and side * opening <= side * stop.level
    return stopped or (position.target is not None and side * opening >= side * position.target)


def _target_first(side: int, rises: bool, policy: Intrabar) -> bool:
    """Stop and target lie on either side of the open, so the extreme that the path visits first decides."""
    if policy == Intrabar.PESSIMISTIC:
        return False
    if policy == Intrabar.OPTIMISTIC:
        return True
    low_first = policy == Intrabar.OLHC or (policy == Intrabar.ADAPTIVE and rises)
    return low_first == (side < 0)


def _price(level: float, kind: LevelKind, fill: float, direction: int) -> float | None:
    price = fill * (1 + direction * level) if kind == LevelKind.FRACTION else level
    return _positive(price)


def _positive(price: float) -> float | None:
    return price if math.isfinite(price) and price > 0 else None


def _raise_stop(position: Position, acts_from: int) -> None:
    if position.trailing is None:
        return
    side = position.side
    level = _positive(position.contract.on_tick(position.extreme - side * position.trailing, up=side < 0))
    present = position.stops[-1].level if position.stops else None
    if level is not None and (present is None or side * level > side * present):
        position.stops.append(Stop(acts_from, level, Reason.TRAILING_STOP))
