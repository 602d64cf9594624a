"""Targets: proposals that say how much is to be held, and what of it is missing or too much.  # R4.1 R5.1"""

import math

from engine.driver import ReplayError, no_rate
from engine.schema import Action, Reason, Timing
from tests.oracle.account import Account, Position
from tests.oracle.proposals import Proposal


def aimed_quantity(account: Account, proposal: Proposal, equity: int, reference: float) -> float:
    """The signed quantity that a target wants: its weight of budget x equity, at the reference."""
    settings = account.settings
    budget = next(one.budget for one in settings.strategies if one.id == proposal.strategy)
    capital = (equity / settings.scale) * budget
    return capital * proposal.weight / account.markets[proposal.symbol].contract.unit_value(reference)


def order_exit(account: Account, position: Position, reason: Reason, cause: int, proposal: int = -1, lots: int | None = None) -> None:
    """An exit decided now, for the moment that the timing names.  # R2.3"""
    acts_from = account.now + account.settings.latency_us
    at_open = account.settings.timing == Timing.NEXT_OPEN
    account.order_exit(position, reason, acts_from=acts_from, at_open=at_open, cause=cause, proposal=proposal, lots=lots)


def close_refused(account: Account, position: Position) -> None:
    """Order that a position closes whose target of the other side came to nothing, unless it is to close anyway.  # R5.3"""
    cause, position.refused = position.refused, None
    if cause is not None and position.exit is None:
        order_exit(account, position, Reason.REBALANCED, cause)


def change_to(account: Account, proposal: Proposal) -> Action | Reason | int:
    """What a target comes to: the entry that it becomes, the lots to close, or why it is nothing."""
    market, held = account.markets[proposal.symbol], account.positions.get(proposal.key)
    flat = proposal.weight == 0
    if not (flat or (math.isfinite(proposal.weight) and math.isfinite(market.last_close))):
        return Action.ENTER_SHORT if proposal.weight < 0 else Action.ENTER_LONG  # INVALID, as any entry without what it needs
    if not flat and market.contract.converts and market.contract.rate is None:
        raise ReplayError(no_rate(market.contract.instrument, account.settings.conversions, account.now))
    if (held is not None and held.exit is not None) or any(one.proposal.key == proposal.key for one in account.entries):
        return Reason.ALREADY_PENDING
    if flat:
        return Reason.NO_CHANGE if held is None else abs(held.lots)
    wanted = aimed_quantity(account, proposal, account.equity(), market.last_close)
    entry = Action.ENTER_LONG if wanted > 0 else Action.ENTER_SHORT
    has = held.contract.quantity(held.lots) if held is not None else 0.0
    if held is not None and has * wanted < 0:
        other = market.contract.whole_lots(abs(wanted), account.now)
        return entry if other > 0 else abs(held.lots)
    more = abs(wanted) - abs(has)
    lots = market.contract.whole_lots(abs(more), account.now)
    if lots == 0:
        return Reason.NO_CHANGE
    return entry if more > 0 else lots
