"""Stops, targets and trailing levels: which exit a bar reaches, at which raw price, and how levels move.  # R3"""

import numpy as np

from engine.kernel import kernel, shared
from engine.model_call import call, event_key
from engine.money import grid_steps
from engine.schema import NONE, Intrabar, LevelKind, LimitGap, LimitTouch, Reason, StopCheck, TrailingMode
from engine.splits import restated
from engine.state import State
from engine.tape import Tape, rules_at

NO_EXIT = Reason.NONE
TRAILED = int(Reason.TRAILING_STOP)


@kernel
def on_tick(tape: Tape, symbol: int, price: float, up: bool, ts: int) -> float:
    """Price on the symbol's tick at a time, rounded up or down.  # R6.3"""
    rule = tape.rules[rules_at(tape, symbol, ts)]
    return grid_steps(price, rule["tick"], up) * rule["tick_units"] / rule["tick_power"]


@kernel
def limit_met(side: int, price: float, limit: float, limit_touch: int) -> bool:
    """Whether a price fills a resting limit order of a side (a target is one that closes); never without a limit (NaN).  # R2.4

    >>> bool(limit_met(1, 100.0, 100.0, LimitTouch.TOUCH)), bool(limit_met(1, 100.0, 100.0, LimitTouch.THROUGH))
    (True, False)
    """
    beyond = side * (limit - price)
    return beyond > 0 or (beyond == 0 and limit_touch == LimitTouch.TOUCH)


@kernel
def reached_by_open(side: int, price: float, stop: float, target: float, limit_touch: int) -> int:
    """Exit that an opening price has passed: STOP_LOSS, TAKE_PROFIT or NONE.  # R1.3, R2.4

    >>> int(reached_by_open(1, 95.0, 96.0, 120.0, LimitTouch.TOUCH)) == Reason.STOP_LOSS
    True
    """
    if side * (price - stop) <= 0:
        return Reason.STOP_LOSS
    if limit_met(-side, price, target, limit_touch):
        return Reason.TAKE_PROFIT
    return NO_EXIT


@kernel
def adverse_first(policy: int, side: int, rises: bool) -> bool:
    """Whether a policy takes the losing exit of a bar that reaches a winning one as well; ``rises``: it closes above its open.  # R3.3"""
    if policy == Intrabar.PESSIMISTIC:
        return True
    if policy == Intrabar.OPTIMISTIC:
        return False
    low_first = policy == Intrabar.OLHC or (policy == Intrabar.ADAPTIVE and rises)
    return low_first == (side > 0)


@kernel
def touched(
    policy: int, limit_touch: int, side: int, opened: float, high: float, low: float, close: float, stop: float, target: float
) -> tuple[int, bool]:
    """Exit taken inside a bar that has not opened beyond the target, and whether the bar is ambiguous.  # R3.2, R3.3

    >>> reason, ambiguous = touched(Intrabar.PESSIMISTIC, LimitTouch.TOUCH, 1, 100.0, 110.0, 90.0, 105.0, 95.0, 108.0)
    >>> int(reason) == Reason.STOP_LOSS, bool(ambiguous)
    (True, True)
    """
    stopped = low <= stop if side > 0 else high >= stop
    gained = limit_met(-side, high if side > 0 else low, target, limit_touch)
    if not (stopped and gained):
        return (Reason.STOP_LOSS if stopped else (Reason.TAKE_PROFIT if gained else NO_EXIT)), False
    return (Reason.STOP_LOSS if adverse_first(policy, side, close > opened) else Reason.TAKE_PROFIT), True


@kernel
def level_price(tape: Tape, symbol: int, level: float, kind: int, anchor: float, direction: int, up: bool, ts: int) -> float:
    """A stop or target on the tick; NaN where there is none.  ``direction`` is +1 for a level above the anchor.  # R2.1, R2.7"""
    price = anchor * (1.0 + direction * level) if kind == LevelKind.FRACTION else level
    if not 0.0 < price < np.inf:
        return np.nan
    price = on_tick(tape, symbol, price, up, ts)
    return price if price > 0.0 else np.nan


@kernel
def distance_price(distance: float, kind: int, price: float) -> float:
    """A trailing or break-even distance in prices, a fraction being one of the fill price; NaN where there is none.  # R3.5"""
    if kind == LevelKind.FRACTION:
        distance = price * distance
    return distance if 0.0 < distance < np.inf else np.nan


@kernel
def watches(tape: Tape, state: State, slot: int) -> bool:
    """Whether the bars of a position must be looked into: it has a level, or may be liquidated."""
    position = state.positions[slot]
    spec = tape.specs[state.positions[slot]["symbol"]]
    if spec["tier_first"] < spec["tier_stop"] or position["moves"] or position["change"] != NONE:
        return True
    return not (np.isnan(position["stop"]) and np.isnan(position["target"]))


@shared
def move_stop(state: State, tape: Tape, slot: int, ts: int) -> None:
    """Take the trailing level, then the entry price once the break-even distance is gained, where it is better than the stop.  # R3.5"""
    position = state.positions[slot]
    side, extreme, entry = position["side"], position["extreme"], position["entry_price"]
    improve_stop(state, tape, slot, extreme - side * position["trailing"], Reason.TRAILING_STOP, ts)
    if side * (extreme - (entry + side * position["break_even"])) >= 0:
        improve_stop(state, tape, slot, entry, Reason.BREAK_EVEN, ts)


@shared
def move_by_model(state: State, tape: Tape, slot: int, row: int) -> None:
    """Take the level that the user's model gives after a close, where it is better than the stop.  # R2.8, R3.5"""
    position, rules, ts = state.positions[slot], state.rules[0], tape.ts[row]
    symbol, side = position["symbol"], position["side"]
    high, low = (tape.bid_high[row], tape.bid_low[row]) if side > 0 else (tape.ask_high[row], tape.ask_low[row])
    close, bars = tape.bid_close[row] if side > 0 else tape.ask_close[row], row - position["first_row"] + 1
    if row == position["reach_row"]:  # of the bar of a touch the close alone came after for certain
        high = low = close
    high, low = restated(state, tape, symbol, high, ts), restated(state, tape, symbol, low, ts)
    close, owner = restated(state, tape, symbol, close, ts), state.desks[position["strategy"]]
    key = event_key(rules["seed"], ts, tape.specs[symbol]["name_key"], owner["name_key"])
    told = (position["entry_price"], high, low, close, position["stop"], position["target"], float(bars), float(side), key)
    level = call(rules["exit_model"], told)
    if level < np.inf:
        improve_stop(state, tape, slot, level, Reason.MODEL_STOP, ts)


@shared
def improve_stop(state: State, tape: Tape, slot: int, raw: float, reason: int, ts: int) -> None:
    """Move the stop to a price on the tick, away from the market, if that is better or there was none."""
    position = state.positions[slot]
    side = position["side"]
    if not raw > 0.0:
        return
    level = on_tick(tape, position["symbol"], raw, side < 0, ts)
    if level > 0.0 and not side * (level - position["stop"]) <= 0:
        position["stop"], position["stop_reason"] = level, reason


@shared
def trailed_inside(state: State, tape: Tape, slot: int, row: int) -> tuple[float, int]:
    """The better of the stop and the level to which a bar's own extreme, short of the target, trails it, and what made it.  # R3.5"""
    position = state.positions[slot]
    side, stop, target = position["side"], position["stop"], position["target"]
    extreme = tape.bid_high[row] if side > 0 else tape.ask_low[row]
    if side * (extreme - target) > 0:
        extreme = target
    raw = extreme - side * position["trailing"]
    level = on_tick(tape, position["symbol"], raw, side < 0, tape.open_ts[row]) if raw > 0.0 else 0.0
    if level > 0.0 and not side * (level - stop) <= 0:
        return level, TRAILED
    return stop, position["stop_reason"]


@kernel
def closed_through(state: State, tape: Tape, slot: int, row: int) -> bool:
    """Whether a bar closes at or beyond a stop that looks at closes alone.  # R2.1"""
    position = state.positions[slot]
    if row < position["acts_row"]:
        return False
    close = tape.bid_close[row] if position["side"] > 0 else tape.ask_close[row]
    return position["side"] * (close - stop_inside(state, tape, slot, row)[0]) <= 0


@kernel
def stop_inside(state: State, tape: Tape, slot: int, row: int) -> tuple[float, int]:
    """The stop that a bar is tested against, and what made it; the position keeps its own.  # R3.5"""
    position = state.positions[slot]
    if state.rules[0]["trailing_mode"] == TrailingMode.CLOSE or row == position["reach_row"]:
        return position["stop"], position["stop_reason"]
    return trailed_inside(state, tape, slot, row)


@kernel
def ranged_stop(state: State, slot: int) -> float:
    """The stop that the prices within a bar are compared with; NaN where it looks at closes alone.  # R2.1"""
    return state.positions[slot]["stop"] if state.rules[0]["stop_check"] == StopCheck.RANGE else np.nan


@kernel
def trail(state: State, tape: Tape, slot: int, row: int) -> None:
    """Let all that was known ``latency`` before the open of bar ``row`` move the levels, if they move at all.  # R2.3, R3.5"""
    if state.positions[slot]["change"] != NONE:
        change_and_follow(state, tape, slot, row)
    elif state.positions[slot]["moves"]:
        follow(state, tape, slot, row, tape.open_ts[row] - state.rules[0]["latency_us"])


@shared
def change_and_follow(state: State, tape: Tape, slot: int, row: int) -> None:
    """Closes, and changes decided on, in the order in which they came to be known."""
    position = state.positions[slot]
    known = tape.open_ts[row] - state.rules[0]["latency_us"]
    while position["change"] != NONE and state.changes[position["change"]]["ts"] <= known:
        change = state.changes[position["change"]]
        follow(state, tape, slot, min(row, change["closed"]), known)
        take_change(state, tape, slot, change["ts"])
    follow(state, tape, slot, row, known)


@kernel
def take_change(state: State, tape: Tape, slot: int, ts: int) -> None:
    """Put the first change of its levels that waits upon a position; what it does not give stays.  # R4.3"""
    position = state.positions[slot]
    change = state.changes[position["change"]]
    if not np.isnan(change["stop"]):
        position["stop"], position["stop_reason"] = change["stop"], Reason.STOP_LOSS
    if not np.isnan(change["target"]):
        position["target"] = change["target"]
    if not np.isnan(change["trailing"]):
        position["trailing"] = change["trailing"]
    if not np.isnan(change["break_even"]):
        position["break_even"], position["entry_price"] = change["break_even"], change["entry_price"]
    if not (np.isnan(change["trailing"]) and np.isnan(change["break_even"])):
        position["extreme"], position["level_row"], position["moves"] = change["extreme"], change["row"], 1
    if position["moves"]:
        move_stop(state, tape, slot, ts)
    position["change"] = change["next"]


@kernel
def follow(state: State, tape: Tape, slot: int, row: int, known: int) -> None:
    """Let the closes up to a time move the stop.  # R3.5"""
    position = state.positions[slot]
    if not position["moves"]:
        return
    symbol = state.positions[slot]["symbol"]
    one_tick = tape.rule_stop[symbol] == tape.rule_first[symbol] + 1 and not state.rules[0]["splits"]
    while position["level_row"] < row and tape.ts[position["level_row"]] <= known:
        at = position["level_row"]
        inside, before = at == position["reach_row"], position["extreme"]  # of the bar of a touch, only the close is sure to come after
        if position["side"] > 0:
            known_price = tape.bid_close[at] if inside else tape.bid_high[at]
            position["extreme"] = max(position["extreme"], restated(state, tape, symbol, known_price, tape.ts[at]))
        else:
            known_price = tape.ask_close[at] if inside else tape.ask_low[at]
            position["extreme"] = min(position["extreme"], restated(state, tape, symbol, known_price, tape.ts[at]))
        position["level_row"] = at + 1
        if position["extreme"] != before or not one_tick:  # the levels hang on nothing else
            move_stop(state, tape, slot, tape.ts[at])
        if state.rules[0]["exit_model"] != 0:
            move_by_model(state, tape, slot, at)


@kernel
def gap_price(tape: Tape, symbol: int, side: int, opened: float, target: float, ts: int) -> float:
    """Price of the target of a position that the open has passed: its own, or the open on the tick against the order.  # R2.4, R2.5"""
    if tape.specs[symbol]["limit_gap"] == LimitGap.PRICE:
        return target
    return on_tick(tape, symbol, opened, side < 0, ts)
