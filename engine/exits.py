"""Stops, targets and trailing levels: which exit a bar reaches, at which raw price, and how levels move.  # R3"""

import numpy as np

from engine.kernel import kernel, shared
from engine.money import grid_steps
from engine.schema import Intrabar, LevelKind, LimitGap, Reason
from engine.state import State
from engine.tape import Tape

NO_EXIT = Reason.NONE


@kernel
def on_tick(tape: Tape, symbol: int, price: float, up: bool) -> float:
    """Price on the symbol's tick, rounded up or down.  # R6.3"""
    spec = tape.specs[symbol]
    return grid_steps(price, spec["tick"], up) * spec["tick_units"] / spec["tick_power"]


@kernel
def reached_by_open(side: int, price: float, stop: float, target: float) -> int:
    """Exit that an opening price has passed: STOP_LOSS, TAKE_PROFIT or NONE.  # R1.3, R2.4

    >>> int(reached_by_open(1, 95.0, 96.0, 120.0)) == Reason.STOP_LOSS, int(reached_by_open(1, 100.0, 96.0, 120.0))
    (True, 0)
    """
    if side * (price - stop) <= 0:
        return Reason.STOP_LOSS
    if side * (price - target) >= 0:
        return Reason.TAKE_PROFIT
    return NO_EXIT


@kernel
def touched(policy: int, side: int, opened: float, high: float, low: float, close: float, stop: float, target: float) -> tuple[int, bool]:
    """Exit taken inside a bar whose open lies between stop and target, and whether the bar is ambiguous.  # R3.2, R3.3

    >>> reason, ambiguous = touched(Intrabar.PESSIMISTIC, 1, 100.0, 110.0, 90.0, 105.0, 95.0, 108.0)
    >>> int(reason) == Reason.STOP_LOSS, bool(ambiguous)
    (True, True)
    """
    stopped = low <= stop if side > 0 else high >= stop
    gained = high >= target if side > 0 else low <= target
    if not (stopped and gained):
        return (Reason.STOP_LOSS if stopped else (Reason.TAKE_PROFIT if gained else NO_EXIT)), False
    if policy == Intrabar.PESSIMISTIC:
        return Reason.STOP_LOSS, True
    if policy == Intrabar.OPTIMISTIC:
        return Reason.TAKE_PROFIT, True
    low_first = policy == Intrabar.OLHC or (policy == Intrabar.ADAPTIVE and close > opened)
    return (Reason.STOP_LOSS if low_first == (side > 0) else Reason.TAKE_PROFIT), True


@kernel
def level_price(tape: Tape, symbol: int, level: float, kind: int, anchor: float, direction: int, up: bool) -> float:
    """A stop or target on the tick; NaN where there is none.  ``direction`` is +1 for a level above the anchor.  # R2.1, R2.7"""
    price = anchor * (1.0 + direction * level) if kind == LevelKind.FRACTION else level
    if not 0.0 < price < np.inf:
        return np.nan
    price = on_tick(tape, symbol, price, up)
    return price if price > 0.0 else np.nan


@shared
def move_stop(state: State, tape: Tape, slot: int) -> None:
    """Take the trailing level where it is better than the stop.  # R3.5"""
    position = state.positions[slot]
    side = position["side"]
    raw = position["extreme"] - side * position["trailing"]
    if not raw > 0.0:
        return
    level = on_tick(tape, position["symbol"], raw, side < 0)
    if level > 0.0 and not side * (level - position["stop"]) <= 0:
        position["stop"] = level
        position["trailed"] = 1


@shared
def trail(state: State, tape: Tape, slot: int, row: int) -> None:
    """Let every close known ``latency`` before the open of bar ``row`` move the trailing level.  # R2.3, R3.5"""
    position = state.positions[slot]
    if np.isnan(position["trailing"]):
        return
    known = tape.open_ts[row] - state.rules[0]["latency_us"]
    while position["level_row"] < row and tape.ts[position["level_row"]] <= known:
        at = position["level_row"]
        if position["side"] > 0:
            position["extreme"] = max(position["extreme"], tape.bid_high[at])
        else:
            position["extreme"] = min(position["extreme"], tape.ask_low[at])
        position["level_row"] = at + 1
        move_stop(state, tape, slot)


@kernel
def reason_of_stop(state: State, slot: int) -> int:
    """STOP_LOSS, or TRAILING_STOP once the trailing level has moved it."""
    return Reason.TRAILING_STOP if state.positions[slot]["trailed"] else Reason.STOP_LOSS


@kernel
def gap_price(tape: Tape, symbol: int, side: int, opened: float, target: float) -> float:
    """Price of the target of a position that the open has passed: its own, or the open on the tick against the order.  # R2.4, R2.5"""
    if tape.specs[symbol]["limit_gap"] == LimitGap.PRICE:
        return target
    return on_tick(tape, symbol, opened, side < 0)
