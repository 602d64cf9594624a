"""Pending orders: the queue of entries, in approval order, and the one exit a position can have pending.  # R2.3"""

import numpy as np

from engine.kernel import kernel, shared
from engine.records import post
from engine.schema import NEVER, NONE, EventKind, Reason, RecordKind, SizeKind, Timing
from engine.splits import actions_until
from engine.state import State
from engine.tape import Tape, known_until


@kernel
def first_row_after(tape: Tape, symbol: int, row: int, ts: int) -> int:
    """First bar from ``row`` on that opens at or after ``ts``; the end of the run's bars if there is none.  # R2.3"""
    stop = tape.stop[symbol]
    while row < stop and tape.open_ts[row] < ts:
        row += 1
    return row


@kernel
def is_unsized(state: State, slot: int) -> bool:
    """Whether an entry takes what cash pays for when it fills, and has not begun to.  # R5.1"""
    sized_at_fill = state.rules[0]["size_at_fill"] and not state.entries[slot]["aimed"]
    sized_at_fill = sized_at_fill and state.desks[state.positions[slot]["strategy"]]["size"] == SizeKind.ALL_IN
    return sized_at_fill and state.entries[slot]["begun"] == 0


@kernel
def order_lots(state: State, slot: int) -> int:
    """Lots of an entry's order: those it opens and, where it reverses a position, those it closes."""
    order, position = state.entries[slot], state.positions[slot]
    if is_unsized(state, slot):
        return 0
    if state.rules[0]["crowding"] and position["lots"] * order["side"] < 0:
        return order["lots"] + abs(position["lots"])
    return order["lots"]


@shared
def queue_entry(state: State, tape: Tape, slot: int, ts: int) -> None:
    """Rest an approved entry that has its terms: ORDER, with its limit or trigger.  # R2.1"""
    account, order = state.account[0], state.entries[slot]
    symbol = state.positions[slot]["symbol"]
    order["order_id"], order["begun"] = account["next_order_id"], 0
    account["next_order_id"] += 1
    order["life_ts"] = time_life(state, tape, symbol)
    state.queue[account["n_queue"]] = slot
    account["n_queue"] += 1
    trigger = 0.0 if np.isnan(order["trigger"]) else order["trigger"]
    order["seq"] = post(
        state,
        ts,
        RecordKind.ORDER,
        Reason.NONE,
        slot,
        order["order_id"],
        order["proposal"],
        order["side"],
        order_lots(state, slot),
        trigger if np.isnan(order["limit"]) else order["limit"],
        0,
        0,
        trigger,
        order["cause"],
        0,
        order["kind"] + 4 * order["tif"],
    )


@kernel
def time_entry(state: State, tape: Tape, slot: int) -> None:
    """Set when a pending entry next needs a visit: its bar's open or close, its expiry, a change of the universe, a corporate action."""
    order, symbol = state.entries[slot], state.positions[slot]["symbol"]
    due, row, stop = order["life_ts"], order["row"], tape.stop[symbol]
    if row < stop:
        opened = tape.open_ts[row] <= state.account[0]["now"]
        due = min(due, tape.ts[row] if order["at_close"] or opened else tape.open_ts[row])
    if state.rules[0]["resting"] and order["expire_row"] < stop:
        due = min(due, tape.ts[order["expire_row"]])
    order["next_ts"] = due


@kernel
def drop_rest(state: State, slot: int, ts: int, cause: int) -> None:
    """End what a position still has pending to open, since it is being closed; it leaves the queue at once.  # R2.1"""
    lasts = state.rules[0]["crowding"] or state.rules[0]["resting"]  # an entry can be pending beside a position
    if not lasts or state.entries[slot]["order_id"] == 0:
        return
    drop_entry(state, slot, ts, Reason.POSITION_CLOSED, cause)
    leave_queue(state, slot)


@shared
def leave_queue(state: State, slot: int) -> None:
    """Take a slot out of the queue."""
    account, kept = state.account[0], 0
    for i in range(account["n_queue"]):
        if state.queue[i] != slot:
            state.queue[kept] = state.queue[i]
            kept += 1
    account["n_queue"] = kept


@shared
def drop_entry(state: State, slot: int, ts: int, reason: int, cause: int) -> None:
    """End a pending entry unfilled: CANCELLED.  The queue is swept by the caller."""
    order = state.entries[slot]
    state.account[0]["reserved"] -= order["reserved"]
    seq = post(
        state,
        ts,
        RecordKind.CANCELLED,
        reason,
        slot,
        order["order_id"],
        order["proposal"],
        order["side"],
        order_lots(state, slot),
        0.0,
        0,
        0,
        0.0,
        cause,
        0,
        0,
    )
    order["order_id"] = 0
    if state.rules[0]["aiming"] and order["aimed"]:
        note_refusal(state, slot, order["side"], reason, seq)


@kernel
def note_refusal(state: State, slot: int, side: int, reason: int, seq: int) -> None:
    """Remember by what a target that was to turn a position round came to nothing: the position is to close all the same.  # R5.3

    Not where another decision about the position stands in its place, or contradicts it.
    """
    stands = reason == Reason.CONFLICT or reason == Reason.DUPLICATE or reason == Reason.POSITION_CLOSED
    if not stands and state.positions[slot]["lots"] * side < 0:
        state.entries[slot]["refused"] = seq


@kernel
def sweep_queue(state: State) -> None:
    """Close the gaps that filled and cancelled entries left in the queue."""
    account = state.account[0]
    kept = 0
    for i in range(account["n_queue"]):
        slot = state.queue[i]
        if state.entries[slot]["order_id"] != 0:
            state.queue[kept] = slot
            kept += 1
    account["n_queue"] = kept


@kernel
def drop_entries(state: State, symbol: int, ts: int, reason: int) -> None:
    """End the pending entries of one symbol, in approval order."""
    for i in range(state.account[0]["n_queue"]):
        slot = state.queue[i]
        if state.positions[slot]["symbol"] == symbol:
            drop_entry(state, slot, ts, reason, state.entries[slot]["seq"])
    sweep_queue(state)


@kernel
def drop_all_entries(state: State, ts: int, reason: int, cause: int) -> None:
    """End every pending entry, in approval order; ``cause`` -1: each its own ORDER."""
    for i in range(state.account[0]["n_queue"]):
        slot = state.queue[i]
        drop_entry(state, slot, ts, reason, state.entries[slot]["seq"] if cause == NONE else cause)
    state.account[0]["n_queue"] = 0


@kernel
def leaves(state: State, slot: int) -> bool:
    """Whether an order to close all of a position is pending."""
    return state.positions[slot]["exit_id"] != 0 and not (state.rules[0]["aiming"] and state.positions[slot]["exit_lots"] != 0)


@kernel
def order_exit(state: State, tape: Tape, slot: int, ts: int, reason: int, timing: int, latency_us: int, proposal: int, cause: int) -> None:
    """Decide to close a position.  # R2.3"""
    order_to_close(state, tape, slot, ts, reason, timing, latency_us, proposal, cause, 0)


@shared
def order_to_close(
    state: State, tape: Tape, slot: int, ts: int, reason: int, timing: int, latency_us: int, proposal: int, cause: int, lots: int
) -> None:
    """Decide to close so many lots of a position, 0: all: ORDER, to fill in the first bar it may act in.  # R2.3

    It takes the place of a pending order to close some.
    """
    account, position = state.account[0], state.positions[slot]
    symbol, row = state.positions[slot]["symbol"], position["row"]
    before, before_lots, before_proposal = position["exit_id"], position["exit_lots"], position["exit_proposal"]
    position["exit_row"] = row - 1 if timing == Timing.CLOSE else first_row_after(tape, symbol, row, ts + latency_us)
    position["next_ts"] = ts  # to be timed anew: the next open matters now
    position["exit_id"] = account["next_order_id"]
    account["next_order_id"] += 1
    account["n_exits"] += 1
    position["exit_reason"], position["exit_timing"], position["exit_proposal"] = reason, timing, proposal
    if state.rules[0]["aiming"]:
        account["n_cuts"] += lots != 0
        position["exit_lots"] = lots
    position["exit_seq"] = post(
        state,
        ts,
        RecordKind.ORDER,
        reason,
        slot,
        position["exit_id"],
        proposal,
        -position["side"],
        lots if lots != 0 else abs(position["lots"]),
        0.0,
        0,
        0,
        0.0,
        cause,
        0,
        0,
    )
    if state.rules[0]["aiming"] and before != 0:
        side, seq = -position["side"], position["exit_seq"]
        reason = Reason.POSITION_CLOSED
        post(state, ts, RecordKind.CANCELLED, reason, slot, before, before_proposal, side, before_lots, 0.0, 0, 0, 0.0, seq, 0, 0)
        account["n_exits"] -= 1
        account["n_cuts"] -= 1
    drop_rest(state, slot, ts, position["exit_seq"])


@shared
def drop_exit(state: State, slot: int, ts: int, lots: int, reason: int, cause: int) -> None:
    """End a pending exit unfilled: CANCELLED."""
    position = state.positions[slot]
    post(
        state,
        ts,
        RecordKind.CANCELLED,
        reason,
        slot,
        position["exit_id"],
        position["exit_proposal"],
        -position["side"],
        position["exit_lots"] if position["exit_lots"] != 0 else lots,
        0.0,
        0,
        0,
        0.0,
        cause,
        0,
        0,
    )
    end_exit(state, slot)


@kernel
def end_exit(state: State, slot: int) -> None:
    """A position's exit is pending no more."""
    account, position = state.account[0], state.positions[slot]
    position["exit_id"] = 0
    account["n_exits"] -= 1
    if state.rules[0]["aiming"]:
        account["n_cuts"] -= position["exit_lots"] != 0
        position["exit_lots"] = 0


@kernel
def time_position(state: State, tape: Tape, slot: int) -> None:
    """Set when a position next needs a visit: its bar's open if anything waits for it, its close, or another event."""
    position = state.positions[slot]
    row, due = position["row"], position["other_ts"]
    if row < tape.stop[position["symbol"]]:
        opens = tape.open_ts[row] if position["levels"] or position["exit_id"] != 0 else -NEVER
        due = min(due, opens if opens > state.account[0]["now"] else tape.ts[row + position["clock"]])
    position["next_ts"] = due


@shared
def time_other_events(state: State, tape: Tape, slot: int) -> None:
    """Set when a position next meets funding, interest, settlement, a change of the universe or a corporate action."""
    position = state.positions[slot]
    symbol, due = position["symbol"], min(position["life_ts"], position["daily_ts"])
    if position["funding_row"] < tape.funding_stop[symbol]:
        due = min(due, tape.funding_ts[position["funding_row"]])
    position["other_ts"] = due
    state.account[0]["next_other"] = min(state.account[0]["next_other"], due)


@shared
def time_life(state: State, tape: Tape, symbol: int) -> int:
    """When a symbol next meets its expiry, the universe or a corporate action; actions of this instant come in CORPORATE_ACTION, after its decisions."""
    account = state.account[0]
    met = account["now"] - 1 if account["phase"] == EventKind.BAR_PATH else account["now"]
    due = tape.specs[symbol]["expiry"]
    at = known_until(tape.universe_ts, tape.universe_first[symbol], tape.universe_stop[symbol], met)
    if at < tape.universe_stop[symbol]:
        due = min(due, tape.universe_ts[at])
    at = actions_until(state, tape, symbol)
    if at < tape.action_stop[symbol]:
        due = min(due, tape.action_ts[at])
    return due


@kernel
def next_due(state: State, symbol: int, now: int) -> int:
    """The symbol after ``symbol``, held or pending, that meets the universe or a corporate action now; NEVER if there is none."""
    account, found = state.account[0], NEVER
    for i in range(account["n_held"]):
        position = state.positions[state.held[i]]
        if position["life_ts"] == now and symbol < position["symbol"]:
            found = min(found, position["symbol"])
    for i in range(account["n_queue"]):
        slot = state.queue[i]
        if state.entries[slot]["life_ts"] == now and symbol < state.positions[slot]["symbol"]:
            found = min(found, state.positions[slot]["symbol"])
    return found
