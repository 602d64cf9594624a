"""Futures: marked to market into cash once a day, and closed when they expire.  # R6.2

docs/ledger.md says at which price, and what becomes of pending orders.
"""

from engine.conversion import in_account, tell_rate
from engine.execution import close_position
from engine.kernel import kernel, shared
from engine.orders import drop_entries, time_other_events
from engine.portfolio import book_value, value_at
from engine.prices import last_mark
from engine.records import post
from engine.schema import DAY_US, NEVER, NONE, Reason, RecordKind
from engine.state import State
from engine.tape import Tape


@shared
def settle_futures(tape: Tape, state: State, now: int) -> None:
    """SETTLEMENT: by symbol, those that expire now end, and those whose time of day it is settle.  # R1.2"""
    if state.account[0]["next_other"] > now and state.account[0]["n_queue"] == 0:
        return
    symbol = next_settling(tape, state, NONE, now)
    while symbol != NEVER:
        if tape.specs[symbol]["expiry"] == now:
            drop_entries(state, symbol, now, Reason.EXPIRED)
        for strategy in range(len(state.desks)):
            slot = symbol * len(state.desks) + strategy
            if state.positions[slot]["lots"] != 0:
                settle_position(tape, state, slot, now)
        symbol = next_settling(tape, state, symbol, now)


@kernel
def next_settling(tape: Tape, state: State, symbol: int, now: int) -> int:
    """The symbol after ``symbol``, held or pending, that settles or expires now; NEVER if there is none."""
    account, found = state.account[0], NEVER
    for i in range(account["n_held"]):
        position = state.positions[state.held[i]]
        settles = position["daily_ts"] == now or tape.specs[position["symbol"]]["expiry"] == now
        if settles and symbol < position["symbol"]:
            found = min(found, position["symbol"])
    for i in range(account["n_queue"]):
        other = state.positions[state.queue[i]]["symbol"]
        if tape.specs[other]["expiry"] == now and symbol < other:
            found = min(found, other)
    return found


@shared
def settle_position(tape: Tape, state: State, slot: int, now: int) -> None:
    """Close a position at its mark when its contract expires; before that its gain at the mark goes into cash, and it counts from there."""
    position, mark = state.positions[slot], last_mark(state, tape, slot)
    cause = position["opened_seq"]
    if tape.specs[position["symbol"]]["expiry"] == now:
        close_position(state, tape, slot, now, mark, Reason.EXPIRED, 0, position["entry_id"], NONE, cause)
        return
    tell_rate(tape, state, slot, now)
    worth = value_at(state, slot, mark)
    amount = in_account(tape, state, position["symbol"], worth - position["cost"])
    state.account[0]["cash"] += amount
    book_value(state, slot, worth, worth)
    position["daily_ts"] = now + DAY_US
    time_other_events(state, tape, slot)
    lots = abs(position["lots"])
    post(state, now, RecordKind.SETTLEMENT, Reason.NONE, slot, NONE, NONE, 0, lots, mark, 0, amount, 0.0, cause, 0, 0)
