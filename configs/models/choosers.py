"""A selector and a size of the user's own: each a pure function of numbers, compiled when the run begins.  See docs/models.md."""

import math

from engine.models import Candidate, Selected


def spread_out(entry: Candidate) -> float:
    """The score, less for what the account holds already: half a point a position of the symbol, a tenth one of the strategy; none on the last cash."""
    if entry.free_cash < 0.1 * entry.equity:
        return math.nan
    return entry.score - 0.5 * entry.of_symbol - 0.1 * entry.of_strategy


def risk_by_rank(entry: Selected) -> float:
    """The size's fraction of capital at risk for the best entry of an instant, half of it for the second, and so on; never more than half of free cash."""
    at_risk = entry.capital * entry.amount / entry.rank / entry.loss
    return min(at_risk, 0.5 * entry.free_cash / entry.worth) if entry.loss > 0.0 else math.nan
