"""From proposals and pending orders to fills at the open or the close.  # R2.3, R4.1"""

import numpy as np

from engine.execution import close_by_order
from engine.kernel import kernel, shared
from engine.orders import drop_entry, leaves, order_exit, queue_entry, sweep_queue
from engine.prices import close_price
from engine.proposals import Proposals
from engine.records import post
from engine.resting import meet_close, meet_open
from engine.schema import NONE, Action, Reason, RecordKind, Timing
from engine.state import State
from engine.tape import Tape
from engine.terms import take_terms


@shared
def fill_exits_at_close(tape: Tape, state: State, now: int) -> None:
    """Exits that fill at the close of a bar that closes now, in position order.  # R2.3"""
    account, i = state.account[0], 0
    while account["n_exits"] > 0 and i < account["n_held"]:
        slot = state.held[i]
        position, i = state.positions[slot], i + 1
        row = position["row"] - 1
        due = position["exit_id"] != 0 and position["exit_timing"] != Timing.NEXT_OPEN and row >= position["exit_row"]
        due = due and tape.ts[row] == now
        if due and close_by_order(state, tape, slot, now, close_price(tape, -position["side"], row), row):
            i -= 1


@kernel
def propose_exits(tape: Tape, proposals: Proposals, state: State, first: int, stop: int, now: int) -> None:
    """Exit proposals of this instant become orders.  # R4.1"""
    rules, n_strategies = state.rules[0], len(state.desks)
    for i in range(first, stop):
        action = proposals.action[i]
        if action < Action.EXIT or action == Action.TARGET:
            continue
        slot = proposals.symbol[i] * n_strategies + proposals.strategy[i]
        position = state.positions[slot]
        lots = position["lots"]
        if lots == 0 or (action == Action.EXIT_LONG and lots < 0) or (action == Action.EXIT_SHORT and lots > 0):
            state.outcomes[i] = Reason.NOT_HELD
        elif leaves(state, slot):
            state.outcomes[i] = Reason.ALREADY_PENDING
        else:
            score = 0.0 if np.isnan(proposals.score[i]) else proposals.score[i]
            side = -position["side"]
            root = post(state, now, RecordKind.PROPOSAL, Reason.NONE, slot, NONE, i, side, 0, 0.0, 0, 0, score, NONE, 0, 0)
            order_exit(state, tape, slot, now, Reason.SIGNAL, rules["timing"], rules["latency_us"], i, root)


@shared
def rotate_out(state: State, tape: Tape, slot: int, now: int, cause: int) -> None:
    """Close the position whose place a better proposal takes, at this close under ``close``.  # R4.2"""
    rules, position = state.rules[0], state.positions[slot]
    order_exit(state, tape, slot, now, Reason.ROTATED, rules["timing"], rules["latency_us"], NONE, cause)
    row = position["row"] - 1
    if rules["timing"] == Timing.CLOSE and tape.ts[row] == now:
        close_by_order(state, tape, slot, now, close_price(tape, -position["side"], row), row)


@kernel
def execute(tape: Tape, proposals: Proposals, state: State, n_selected: int, now: int) -> None:
    """EXECUTION of the selected that the gate approved, in rank order: orders rest, or fill at the close just seen.  # R2.3"""
    n_strategies, at_close = len(state.desks), state.rules[0]["timing"] == Timing.CLOSE
    for rank in range(n_selected):
        i = state.ranked[rank]
        if i < 0:
            continue
        slot, row = proposals.symbol[i] * n_strategies + proposals.strategy[i], proposals.row[i]
        if state.rules[0]["crowding"] and state.entries[slot]["victim"] != NONE:
            rotate_out(state, tape, state.entries[slot]["victim"], now, state.entries[slot]["cause"])
        take_terms(state, tape, proposals, slot, now, row + 1)
        queue_entry(state, tape, slot, now)
        if not (at_close and state.entries[slot]["at_close"]):
            continue
        if tape.ts[row] == now and row >= tape.first[proposals.symbol[i]]:
            meet_close(state, tape, proposals, slot, now, row)
        else:
            drop_entry(state, slot, now, Reason.STALE_CLOSE, state.entries[slot]["seq"])
    if at_close:
        sweep_queue(state)


@kernel
def fill_entries(tape: Tape, proposals: Proposals, state: State, now: int, at_open: bool) -> None:
    """Pending entries whose bar opens (or closes) now, in approval order.  # R1.4"""
    account, n_strategies, i = state.account[0], len(state.desks), 0
    met = False
    while i < account["n_queue"]:
        slot = state.queue[i]
        order, row = state.entries[slot], state.entries[slot]["row"]
        if row < tape.stop[slot // n_strategies] and (tape.open_ts[row] if at_open else tape.ts[row]) == now:
            if at_open and not order["at_close"]:
                meet_open(state, tape, proposals, slot, now, row)
                met = True
            elif order["at_close"] and not at_open:
                meet_close(state, tape, proposals, slot, now, row)
                met = True
        if state.queue[i] == slot:  # a position that closes at once takes the rest of its entry along
            i += 1
    if met:
        sweep_queue(state)
