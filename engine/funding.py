"""Funding payments on the positions held at a settlement.  # R7.1"""

import numpy as np

from engine.conversion import in_account, tell_rate
from engine.kernel import kernel
from engine.money import funding_payment
from engine.orders import time_other_events
from engine.portfolio import by_side, value_at
from engine.records import post
from engine.schema import NONE, Accounting, Reason, RecordKind
from engine.splits import restated
from engine.state import State
from engine.tape import Tape


@kernel
def last_close(tape: Tape, state: State, slot: int, now: int) -> float:
    """The last close of a position's symbol in FUNDING_UPDATE: that of a bar which closes now, for BAR_PATH has set it.  # R1.2"""
    position, symbol = state.positions[slot], state.positions[slot]["symbol"]
    row = position["row"]
    if row < tape.stop[symbol] and tape.ts[row] == now:
        return tape.close[row]
    return restated(state, tape, symbol, tape.close[row - 1], tape.ts[row - 1])


@kernel
def pay_funding(tape: Tape, state: State, now: int) -> None:
    """FUNDING_UPDATE: one payment per position and settlement.  # R7.1"""
    if len(tape.funding_ts) == 0:
        return
    account = state.account[0]
    if account["next_other"] > now:
        return
    for i in range(account["n_held"]):
        slot = state.held[i]
        position = state.positions[slot]
        if position["other_ts"] > now:
            continue
        at, symbol = position["funding_row"], position["symbol"]
        if at >= tape.funding_stop[symbol] or tape.funding_ts[at] != now:
            continue
        mark, rate = tape.funding_mark[at], tape.funding_rate[at]
        if not (mark > 0.0 and mark < np.inf):
            mark = last_close(tape, state, slot, now)
        tell_rate(tape, state, slot, now)
        held = by_side(position["side"], value_at(state, slot, mark))
        if position["accounting"] != Accounting.SPOT:
            held = in_account(tape, state, symbol, held)
        amount = funding_payment(held, rate)
        account["cash"] += amount
        lots = abs(position["lots"])
        post(state, now, RecordKind.FUNDING, Reason.NONE, slot, NONE, NONE, 0, lots, mark, 0, amount, rate, position["opened_seq"], 0, 0)
        position["funding_row"] = at + 1
        time_other_events(state, tape, slot)
