"""What the user's own selector and size models are told about an entry, and what they answer.  # R2.8, R4.2, R5.1"""

import numpy as np

from engine.arrays import Floats
from engine.kernel import kernel, shared
from engine.model_call import ask, event_key
from engine.models import Candidate, ModelKind, Selected
from engine.portfolio import equity, free_cash
from engine.proposals import Proposals
from engine.settings import UNLIMITED
from engine.splits import restated, restated_volume
from engine.state import State
from engine.tape import Tape

SELECTOR, SIZE = int(ModelKind.SELECTOR), int(ModelKind.SIZE)


@kernel
def cell(column: Floats, i: int) -> float:
    """A value of a column that a table may do without; NaN then."""
    return column[i] if len(column) > 0 else np.nan


@kernel
def own_event_key(state: State, tape: Tape, kind: int, symbol: int, strategy: int) -> int:
    """Key of a decision about one (symbol, strategy) at this instant; each kind of model has its own.  # R9.2"""
    own, now = event_key(state.rules[0]["seed"], kind, 0, 0), state.account[0]["now"]
    return event_key(own, now, tape.specs[symbol]["name_key"], state.desks[strategy]["name_key"])


@kernel
def count_held(state: State, symbol: int, strategy: int) -> tuple[int, int]:
    """Positions of a strategy, and of a symbol."""
    of_strategy, of_symbol = 0, 0
    for k in range(state.account[0]["n_held"]):
        position = state.positions[state.held[k]]
        of_strategy += position["strategy"] == strategy
        of_symbol += position["symbol"] == symbol
    return of_strategy, of_symbol


@kernel
def held_quantity(state: State, slot: int) -> float:
    """Signed quantity of a position; 0 where there is none."""
    return state.positions[slot]["qty"]


@shared
def own_rank_key(state: State, tape: Tape, proposals: Proposals, i: int, side: int, free_slots: int) -> float:
    """What the user's selector ranks an entry by; one that is not finite drops it.  # R4.2"""
    rules, now, row = state.rules[0], state.account[0]["now"], proposals.row[i]
    symbol, strategy = proposals.symbol[i], proposals.strategy[i]
    of_strategy, of_symbol = count_held(state, symbol, strategy)
    candidate = Candidate(
        proposals.score[i],
        side,
        restated(state, tape, symbol, tape.close[row], tape.ts[row]),
        restated_volume(state, tape, symbol, row),
        cell(proposals.weight, i),
        cell(proposals.volatility, i),
        cell(proposals.win_probability, i),
        cell(proposals.payoff, i),
        equity(state) / rules["scale"],
        free_cash(state) / rules["scale"],
        held_quantity(state, symbol * len(state.desks) + strategy),
        state.account[0]["n_held"],
        of_strategy,
        of_symbol,
        np.inf if rules["max_positions"] == UNLIMITED else float(free_slots),
        now,
        symbol,
        strategy,
        own_event_key(state, tape, SELECTOR, symbol, strategy),
    )
    return ask(rules["selector_model"], candidate)


@shared
def own_quantity(
    state: State,
    tape: Tape,
    proposals: Proposals,
    i: int,
    side: int,
    capital: float,
    free: int,
    reference: float,
    stop: float,
    worth: float,
    at_risk: float,
) -> float:
    """Quantity that the user's size model asks for; ``free`` holds what a position that leaves for the entry frees.  # R5.1"""
    distance = side * (reference - stop)
    rules, now = state.rules[0], state.account[0]["now"]
    symbol, strategy = proposals.symbol[i], proposals.strategy[i]
    slot = symbol * len(state.desks) + strategy
    selected = Selected(
        capital,
        free / rules["scale"],
        reference,
        distance,
        worth,
        at_risk if distance > 0.0 else np.nan,
        side,
        proposals.score[i],
        state.desks[strategy]["amount"],
        cell(proposals.weight, i),
        cell(proposals.volatility, i),
        cell(proposals.win_probability, i),
        cell(proposals.payoff, i),
        held_quantity(state, slot),
        state.account[0]["n_held"],
        state.entries[slot]["rank"],
        now,
        symbol,
        strategy,
        own_event_key(state, tape, SIZE, symbol, strategy),
    )
    return ask(rules["size_model"], selected)
