"""Targets: proposals that say how much is to be held, and what they come to beside what is held.  # R4.1, R5.1"""

import numpy as np

from engine.conversion import is_unrated
from engine.kernel import kernel, shared
from engine.money import whole_lots
from engine.orders import order_exit, order_to_close
from engine.portfolio import equity
from engine.proposals import Proposals
from engine.records import post
from engine.schema import NONE, Action, Reason, RecordKind
from engine.sizing import unit_worth
from engine.splits import restated
from engine.state import State
from engine.tape import Tape, rules_at


@kernel
def turn_of(state: State, proposals: Proposals, i: int) -> int:
    """What proposal ``i`` of this instant asks for, a target what it has become."""
    return state.turns[i - state.account[0]["first_proposal"]] if state.rules[0]["aiming"] else proposals.action[i]


@kernel
def is_target(state: State, proposals: Proposals, i: int) -> bool:
    """Whether a proposal is, or was, a target."""
    return bool(state.rules[0]["aiming"]) and proposals.action[i] == Action.TARGET


@kernel
def aimed_quantity(state: State, tape: Tape, proposals: Proposals, i: int, capital: int, reference: float) -> float:
    """The signed quantity that a target wants: its weight of budget x equity, at the reference."""
    own = capital / state.rules[0]["scale"] * state.desks[proposals.strategy[i]]["budget"]
    return own * proposals.weight[i] / unit_worth(tape, state, proposals.symbol[i], reference)


@kernel
def missing_quantity(state: State, tape: Tape, proposals: Proposals, i: int, side: int, capital: int, reference: float) -> float:
    """What a target wants beyond what is held on its side."""
    position = state.positions[proposals.symbol[i] * len(state.desks) + proposals.strategy[i]]
    has = abs(position["qty"]) if position["lots"] * side > 0 else 0.0
    return abs(aimed_quantity(state, tape, proposals, i, capital, reference)) - has


@shared
def aim(state: State, tape: Tape, proposals: Proposals, first: int, stop: int, now: int) -> None:
    """Turn the targets of an instant into entries, or into orders that close; the others stay what they are."""
    state.account[0]["first_proposal"] = first
    for i in range(first, stop):
        state.turns[i - first] = proposals.action[i]
        if proposals.action[i] == Action.TARGET:
            state.turns[i - first] = turned(state, tape, proposals, i, now)


@shared
def turned(state: State, tape: Tape, proposals: Proposals, i: int, now: int) -> int:
    """The entry that a target becomes; TARGET where it closes something, or does nothing."""
    symbol, row = proposals.symbol[i], proposals.row[i]
    slot = symbol * len(state.desks) + proposals.strategy[i]
    position = state.positions[slot]
    weight = proposals.weight[i]
    if not np.isfinite(weight) or (weight != 0.0 and (row < 0 or not np.isfinite(tape.close[max(row, 0)]))):
        return Action.ENTER_SHORT if weight < 0.0 else Action.ENTER_LONG  # INVALID, as any entry without what it needs
    if weight != 0.0 and is_unrated(tape, state, symbol):
        return Action.TARGET
    if position["exit_id"] != 0 or state.entries[slot]["order_id"] != 0:
        state.outcomes[i] = Reason.ALREADY_PENDING
        return Action.TARGET
    if weight == 0.0:
        if position["lots"] != 0:
            close_some(state, tape, proposals, i, slot, 0, now)
        else:
            state.outcomes[i] = Reason.NO_CHANGE
        return Action.TARGET
    reference, rule = restated(state, tape, symbol, tape.close[row], tape.ts[row]), tape.rules[rules_at(tape, symbol, now)]
    wanted = aimed_quantity(state, tape, proposals, i, equity(state), reference)
    entry = Action.ENTER_LONG if wanted > 0.0 else Action.ENTER_SHORT
    has = position["qty"]
    if has * wanted < 0.0:
        if whole_lots(abs(wanted), rule["lot"]) > 0:
            return entry
        close_some(state, tape, proposals, i, slot, 0, now)
        return Action.TARGET
    more = abs(wanted) - abs(has)
    lots = whole_lots(abs(more), rule["lot"]) * rule["lot_step"]
    if lots == 0:
        state.outcomes[i] = Reason.NO_CHANGE
        return Action.TARGET
    if more > 0.0:
        return entry
    close_some(state, tape, proposals, i, slot, lots if lots < abs(position["lots"]) else 0, now)
    return Action.TARGET


@kernel
def close_some(state: State, tape: Tape, proposals: Proposals, i: int, slot: int, lots: int, now: int) -> None:
    """PROPOSAL, ORDER: so many lots are to be closed, 0: all; it is an exit, and passes no gate."""
    rules, side = state.rules[0], -state.positions[slot]["side"]
    score = 0.0 if np.isnan(proposals.score[i]) else proposals.score[i]
    root = post(state, now, RecordKind.PROPOSAL, Reason.NONE, slot, NONE, i, side, 0, 0.0, 0, 0, score, NONE, 0, 0)
    order_to_close(state, tape, slot, now, Reason.REBALANCED, rules["timing"], rules["latency_us"], i, root, lots)


@shared
def close_refused(state: State, tape: Tape, now: int) -> None:
    """Order that positions close whose targets of the other side came to nothing, in position order.  # R5.3"""
    for k in range(state.account[0]["n_held"]):
        close_turned_back(state, tape, state.held[k], now)


@kernel
def close_turned_back(state: State, tape: Tape, slot: int, now: int) -> None:
    """Close a position that was to be turned round, unless it is to close anyway: ORDER, caused by what refused the new side."""
    cause, rules = state.entries[slot]["refused"], state.rules[0]
    state.entries[slot]["refused"] = NONE
    if cause != NONE and state.positions[slot]["exit_id"] == 0:
        order_exit(state, tape, slot, now, Reason.REBALANCED, rules["timing"], rules["latency_us"], NONE, cause)
