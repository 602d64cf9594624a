"""Targets: proposals that say how much is to be held, and what of it is missing or too much.  # R4.1 R5.1"""

import math

from engine.driver import ReplayError, no_rate
from engine.schema import Action, Reason
from tests.oracle.account import Account
from tests.oracle.proposals import Proposal


def aimed_quantity(account: Account, proposal: Proposal, equity: int, reference: float) -> float:
    """The signed quantity that a target wants: its weight of budget x equity, at the reference."""
    settings = account.settings
    budget = next(one.budget for one in settings.strategies if one.id == proposal.strategy)
    capital = (equity / settings.scale) * budget
    return capital * proposal.weight / account.markets[proposal.symbol].contract.unit_value(reference)


def change_to(account: Account, proposal: Proposal) -> Action | Reason | int:
    """What a target comes to: the entry that it becomes, the lots to close, or why it is nothing."""
    market, held = account.markets[proposal.symbol], account.positions.get(proposal.key)
    if not (math.isfinite(proposal.weight) and math.isfinite(market.last_close)):
        return Action.ENTER_LONG  # INVALID, as any entry without what it needs
    if market.contract.converts and market.contract.rate is None:
        raise ReplayError(no_rate(market.contract.instrument, account.settings.conversions, account.now))
    if (held is not None and held.exit is not None) or any(one.proposal.key == proposal.key for one in account.entries):
        return Reason.ALREADY_PENDING
    wanted = aimed_quantity(account, proposal, account.equity(), market.last_close)
    entry = Action.ENTER_LONG if wanted > 0 else Action.ENTER_SHORT
    has = held.contract.quantity(held.lots) if held is not None else 0.0
    if held is not None and (wanted == 0 or has * wanted < 0):
        other = market.contract.whole_lots(abs(wanted), account.now)
        return entry if other > 0 else abs(held.lots)
    more = abs(wanted) - abs(has)
    lots = market.contract.whole_lots(abs(more), account.now)
    if lots == 0:
        return Reason.NO_CHANGE
    return entry if more > 0 else lots
