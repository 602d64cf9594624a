"""What the user's own selector and size models are told about an entry, and what they answer.  # R2.8 R4.2 R5.1"""

import math

from engine.model_call import event_key
from engine.models import Candidate, ModelKind, Selected
from engine.schema import LevelKind
from engine.settings import UNLIMITED
from tests.oracle.account import Account
from tests.oracle.proposals import Proposal


def rank_key(account: Account, proposal: Proposal, free_slots: int) -> float:
    """What an entry is ranked by: its score, or what the user's selector makes of it."""
    settings = account.settings
    model = settings.model(ModelKind.SELECTOR)
    if model is None:
        return proposal.score
    bar = account.markets[proposal.symbol].bar
    assert bar is not None
    held = list(account.positions)
    candidate = Candidate(
        proposal.score,
        float(proposal.side),
        bar.close,
        bar.volume,
        *_columns(proposal),
        account.equity() / settings.scale,
        account.free_cash() / settings.scale,
        _held(account, proposal),
        float(len(held)),
        float(sum(strategy == proposal.strategy for _, strategy in held)),
        float(sum(symbol == proposal.symbol for symbol, _ in held)),
        math.inf if settings.max_positions == UNLIMITED else float(free_slots),
        *_event(account, proposal, ModelKind.SELECTOR),
    )
    return model.function(candidate)


def own_quantity(account: Account, proposal: Proposal, equity: int, free: int, reference: float, rank: int) -> float:
    """The quantity that the user's size model asks for; ``free`` holds what a position that leaves for the entry frees."""
    settings, market = account.settings, account.markets[proposal.symbol]
    model = settings.model(ModelKind.SIZE)
    assert model is not None
    strategy = next(one for one in settings.strategies if one.id == proposal.strategy)
    stop = market.restated(proposal).stop_loss
    if proposal.stop_loss_kind == LevelKind.FRACTION:
        stop = reference * (1 - proposal.side * stop)
    distance = proposal.side * (reference - stop) if 0 < stop < math.inf else math.nan
    selected = Selected(
        (equity / settings.scale) * strategy.budget,
        free / settings.scale,
        reference,
        distance,
        market.contract.unit_value(reference),
        market.contract.unit_loss(reference, stop) if distance > 0 else math.nan,
        float(proposal.side),
        proposal.score,
        strategy.amount,
        *_columns(proposal),
        _held(account, proposal),
        float(len(account.positions)),
        float(rank),
        *_event(account, proposal, ModelKind.SIZE),
    )
    return model.function(selected)


def _columns(proposal: Proposal) -> tuple[float, ...]:
    return (proposal.weight, proposal.volatility, proposal.win_probability, proposal.payoff)


def _held(account: Account, proposal: Proposal) -> float:
    """Signed quantity of what its strategy holds of its symbol."""
    held = account.positions.get(proposal.key)
    return 0.0 if held is None else held.contract.quantity(held.lots)


def _event(account: Account, proposal: Proposal, kind: ModelKind) -> tuple[int, ...]:
    """Time, symbol, strategy and a key of their own for the draws of each kind.  # R9.2"""
    places, now = account.places(proposal.key), account.now
    return (now, *places, account.event_key(event_key(account.settings.seed, int(kind), 0, 0), now, proposal.key))
