"""Quiet bars of the only position, which the replay runs over in a loop of its own: what must stop it, worked by hand.  # R10.1"""

from typing import Any

import pytest

from engine.money import MONEY_LIMIT
from engine.schema import SizeKind
from engine.session import ReplayError
from tests.differential import agreed_replay
from tests.oracle.examples import FLAT, Candles, Row, fills, market, propose, settings, strategy, table
from tests.oracle.replay import OracleResult


def held(candles: Candles, *rows: Row, qty: float = 3.0, data: dict[str, Any] | None = None, **changes: Any) -> OracleResult:
    """The replay of a position of symbol A."""
    chosen = settings(len(candles), strategies=(strategy(SizeKind.FIXED_QTY, qty),), **changes)
    return agreed_replay(market({"A": candles}, **(data or {})), table(*(rows or (propose(1),))), chosen)


UP_AND_BACK: Candles = [FLAT, FLAT, (100, 200, 100, 200), (200, 200, 100, 100), FLAT]


def test_equity_at_the_limit_of_money_stops_the_run() -> None:  # R6.3
    # ten gain 1,000.00, which are 100,000 cents, and lose them again
    assert held(UP_AND_BACK, qty=10.0, cash=MONEY_LIMIT - 100_001).equity[2] == MONEY_LIMIT - 1
    with pytest.raises(ReplayError, match="overflows"):
        held(UP_AND_BACK, qty=10.0, cash=MONEY_LIMIT - 100_000)


def test_a_position_at_the_limit_of_money_stops_the_run() -> None:  # R6.3
    # worth nine tenths of the limit when it is bought, a fifth more at its best; equity is a fifth of the limit then
    lots = 0.009 * MONEY_LIMIT / 100
    calm: Candles = [FLAT, FLAT, (100, 110, 100, 110), (110, 110, 100, 100), FLAT]
    high: Candles = [FLAT, FLAT, (100, 120, 100, 120), (120, 120, 100, 100), FLAT]
    large: Row = {"qty": float(round(lots)), "cash": 10**15, "leverage": 100.0}
    assert fills(held(calm, **large))[-1] == (5, 100.0, "RUN_ENDED")
    with pytest.raises(ReplayError, match="overflows"):
        held(high, **large)
