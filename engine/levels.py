"""New levels for a position that is held already: what a proposal gives replaces, after the latency.  # R2.3, R4.3"""

import numpy as np

from engine.exits import distance_price, level_price
from engine.kernel import kernel, shared
from engine.proposals import Proposals
from engine.records import post
from engine.schema import NONE, Reason, RecordKind, StopAnchor
from engine.splits import restated, restated_level
from engine.state import State
from engine.tape import Tape


@shared
def change_levels(state: State, tape: Tape, proposals: Proposals, slot: int, i: int, price: float, now: int, later: bool) -> float:
    """Queue the levels that proposal ``i`` gives; the new stop, NaN where it stays.

    Distances are fractions of ``price``, and so are stop and target unless those are of the close decided on; ``later`` leaves out the bar that
    opens now.
    """
    position, change = state.positions[slot], state.changes[i]
    symbol, side = position["symbol"], position["side"]
    anchor, decided = price, proposals.ts[i]
    if state.rules[0]["stop_anchor"] == StopAnchor.ENTRY_CLOSE:
        anchor = restated(state, tape, symbol, tape.close[proposals.row[i]], tape.ts[proposals.row[i]])
    kinds = (proposals.stop_loss_kind[i], proposals.take_profit_kind[i], proposals.trailing_kind[i], proposals.break_even_kind[i])
    stop = restated_level(state, tape, symbol, proposals.stop_loss[i], kinds[0], decided)
    target = restated_level(state, tape, symbol, proposals.take_profit[i], kinds[1], decided)
    trailing = restated_level(state, tape, symbol, proposals.trailing[i], kinds[2], decided)
    break_even = restated_level(state, tape, symbol, proposals.break_even[i], kinds[3], decided)
    change["next"], change["ts"] = NONE, now + later
    row = position["row"]
    change["closed"] = row
    change["row"] = row + 1 if row < tape.stop[symbol] and tape.open_ts[row] < now else row
    change["stop"] = level_price(tape, symbol, stop, kinds[0], anchor, -side, side < 0, now)
    change["target"] = level_price(tape, symbol, target, kinds[1], anchor, side, side > 0, now)
    change["trailing"] = distance_price(trailing, kinds[2], price)
    change["break_even"] = distance_price(break_even, kinds[3], price)
    change["extreme"] = change["entry_price"] = price
    no_level = np.isnan(change["stop"]) and np.isnan(change["target"])
    if not (no_level and np.isnan(change["trailing"]) and np.isnan(change["break_even"])):
        append_change(state, slot, i, now)
    return change["stop"]


@kernel
def append_change(state: State, slot: int, i: int, now: int) -> None:
    """Put a change at the end of its position's queue; the position then waits for its bars' opens."""
    position = state.positions[slot]
    if position["change"] == NONE:
        position["change"] = i
    else:
        state.changes[position["last_change"]]["next"] = i
    position["last_change"] = i
    state.account[0]["n_levels"] += 1 - position["levels"]
    position["levels"] = 1
    position["next_ts"] = now  # to be timed anew


@kernel
def replace_levels(state: State, tape: Tape, proposals: Proposals, slot: int, i: int, now: int) -> None:
    """A proposal on a held symbol is applied to its levels: LEVELS.  # R4.3, R5.4"""
    position = state.positions[slot]
    row = proposals.row[i]
    close = restated(state, tape, position["symbol"], tape.close[row], tape.ts[row])
    stop = change_levels(state, tape, proposals, slot, i, close, now, False)
    price = 0.0 if np.isnan(stop) else stop
    state.changes[i]["entry_price"] = position["entry_price"]
    side, cause = position["side"], position["opened_seq"]
    post(state, now, RecordKind.LEVELS, Reason.NONE, slot, NONE, i, side, 0, price, 0, 0, proposals.score[i], cause, 0, 0)
