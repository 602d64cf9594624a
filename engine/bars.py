"""What one bar does to the positions of its symbol: its open, its inside and its close.  # R1.3, R3.1"""

import numpy as np

from engine.block import prefetch
from engine.execution import close_by_order, leave_as_taker, leave_at_target
from engine.exits import closed_through, gap_price, ranged_stop, reached_by_open, stop_inside, touched, trail
from engine.kernel import kernel, shared
from engine.money import MONEY_LIMIT
from engine.orders import leaves, order_exit
from engine.portfolio import equity, note_overflow, revalue
from engine.prices import open_price
from engine.schema import AMBIGUOUS, NEVER, NONE, Reason, StopCheck, Timing
from engine.state import State
from engine.tape import Tape
from engine.terms import expire_entries


@kernel
def touch(tape: Tape, state: State, slot: int, row: int, plain: bool) -> tuple[int, bool]:
    """Exit that the inside of a bar reaches, on the side that closes the position; ``plain`` spares a look at the options.  # R3.2"""
    position, rules = state.positions[slot], state.rules[0]
    policy, limit, stop, target = rules["intrabar"], 0, position["stop"], position["target"]
    if not plain:
        if row < position["acts_row"]:
            return Reason.NONE, False
        limit = rules["limit_touch"]
        stop = stop_inside(state, tape, slot, row)[0] if rules["stop_check"] == StopCheck.RANGE else np.nan
    if position["side"] > 0:
        return touched(policy, limit, 1, tape.bid_open[row], tape.bid_high[row], tape.bid_low[row], tape.bid_close[row], stop, target)
    return touched(policy, limit, -1, tape.ask_open[row], tape.ask_high[row], tape.ask_low[row], tape.ask_close[row], stop, target)


@kernel
def bar_paths(tape: Tape, state: State, now: int) -> None:
    """BAR_PATH: touches of stops and targets, in position order.  # R3.1"""
    account, i = state.account[0], 0
    while i < account["n_held"]:
        slot = state.held[i]
        position, symbol = state.positions[slot], state.positions[slot]["symbol"]
        row, i = position["row"], i + 1
        if not position["levels"] or row >= tape.stop[symbol] or tape.ts[row] != now:
            continue
        if leave_if_touched(tape, state, slot, row, now):
            i -= 1


@kernel
def leave_if_touched(tape: Tape, state: State, slot: int, row: int, now: int) -> bool:
    """Leave a position at a level that the inside of a bar reaches; whether it closed.  # R3.2"""
    reason, ambiguous = touch(tape, state, slot, row, state.rules[0]["plain_exits"] != 0)
    flags = AMBIGUOUS if ambiguous else 0
    if reason == Reason.STOP_LOSS:
        stop, reason = stop_inside(state, tape, slot, row)
        return leave_as_taker(state, tape, slot, now, stop, row, tape.open_ts[row], reason, flags)
    if reason == Reason.TAKE_PROFIT:
        return leave_at_target(state, tape, slot, now, state.positions[slot]["target"], row, flags)
    return False


@kernel
def close_candles(tape: Tape, state: State, now: int) -> None:
    """CANDLE_CLOSE: marks, stops that look at closes, positions grown too old.  # R3.6, R6.5"""
    account = state.account[0]
    at_close = state.rules[0]["stop_check"] == StopCheck.CLOSE
    expiring = expire_entries(state, tape, now, NONE) if state.rules[0]["resting"] else NEVER
    for i in range(account["n_held"]):
        slot = state.held[i]
        position = state.positions[slot]
        row = position["row"]
        if state.rules[0]["resting"] and position["symbol"] > expiring:
            expiring = expire_entries(state, tape, now, position["symbol"])
        if position["next_ts"] > now or row >= tape.stop[position["symbol"]] or tape.ts[row + position["clock"]] != now:
            continue
        prefetch(tape.mark, row + 8)  # the next cache line of this symbol; a hundred symbols are too many streams for the hardware
        if position["levels"] and row & 7 == 0:
            bring_near(tape, state, slot, row + 15)
        revalue(state, tape, slot, row)
        position["row"] = row + 1
        if at_close and position["levels"]:
            stop_by_close(tape, state, slot, row, now)
        if row >= position["max_row"] and not leaves(state, slot):
            rules, cause = state.rules[0], position["opened_seq"]
            order_exit(state, tape, slot, now, Reason.MAX_BARS, rules["timing"], rules["latency_us"], NONE, cause)
    if state.rules[0]["resting"] and expiring < NEVER:
        expire_entries(state, tape, now, NEVER)
    if abs(equity(state)) >= MONEY_LIMIT:  # of a position at least: cash alone is told by the record that moved it
        note_overflow(account, state.positions[state.held[0]]["symbol"])


@kernel
def bring_near(tape: Tape, state: State, slot: int, row: int) -> None:
    """Ask for the cache lines of bars to come that a position with levels looks into."""
    prefetch(tape.ts, row)
    prefetch(tape.open_ts, row)
    if state.positions[slot]["side"] > 0:
        prefetch(tape.bid_open, row)
        prefetch(tape.bid_high, row)
        prefetch(tape.bid_low, row)
    else:
        prefetch(tape.ask_open, row)
        prefetch(tape.ask_high, row)
        prefetch(tape.ask_low, row)
    if state.rules[0]["liquidates"]:
        prefetch(tape.mark_open, row)
        prefetch(tape.mark_high if state.positions[slot]["side"] < 0 else tape.mark_low, row)


@shared
def stop_by_close(tape: Tape, state: State, slot: int, row: int, now: int) -> None:
    """Decide to leave a position whose stop looks at closes alone, as ``max_bars`` does.  # R2.1, R3.6"""
    position, rules = state.positions[slot], state.rules[0]
    if leaves(state, slot) or not closed_through(state, tape, slot, row):
        return
    reason, cause = stop_inside(state, tape, slot, row)[1], position["opened_seq"]
    order_exit(state, tape, slot, now, reason, rules["timing"], rules["latency_us"], NONE, cause)


@kernel
def open_bars(tape: Tape, state: State, now: int) -> None:
    """BAR_OPEN, reducing fills: levels that the open has passed and exits that are due, in position order.  # R1.4"""
    account, i = state.account[0], 0
    while (account["n_levels"] > 0 or account["n_exits"] > 0) and i < account["n_held"]:
        slot = state.held[i]
        position, symbol, i = state.positions[slot], state.positions[slot]["symbol"], i + 1
        if not position["levels"] and position["exit_id"] == 0:
            continue
        row = position["row"]
        if row < tape.stop[symbol] and tape.open_ts[row] == now and open_decides(tape, state, slot, row, now):
            i -= 1


@kernel
def open_decides(tape: Tape, state: State, slot: int, row: int, now: int) -> bool:
    """Close a position whose stop or target the open has passed, or whose exit is due; whether it closed.  # R1.3, R2.4"""
    position, symbol = state.positions[slot], state.positions[slot]["symbol"]
    opened = open_price(tape, -position["side"], row)
    reason: int = Reason.NONE
    if position["levels"]:
        trail(state, tape, slot, row)
        limit_touch = state.rules[0]["limit_touch"]
        reason = reached_by_open(position["side"], opened, ranged_stop(state, slot), position["target"], limit_touch)
    if reason == Reason.STOP_LOSS:
        return leave_as_taker(state, tape, slot, now, opened, row, now, position["stop_reason"], 0)
    if reason == Reason.TAKE_PROFIT:
        price = gap_price(tape, symbol, position["side"], opened, position["target"], now)
        return leave_at_target(state, tape, slot, now, price, row, 0)
    if position["exit_id"] != 0 and position["exit_timing"] == Timing.NEXT_OPEN and row >= position["exit_row"]:
        return close_by_order(state, tape, slot, now, opened, row)
    return False
