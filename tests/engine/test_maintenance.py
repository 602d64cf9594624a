"""Maintenance of a whole account to the last unit of money, worked by hand.  # R7.2, R7.4"""

import pytest

from engine.instrument import MarginTier
from engine.schema import Reason, RecordKind, SizeKind
from tests.differential import agreed_replay
from tests.oracle.examples import instrument, market, of_kind, propose, settings, strategy, table


@pytest.mark.parametrize(("cash", "closed"), [(1_305, [("A", 100.5)]), (1_306, [])])
def test_equity_short_of_maintenance_by_one_unit_closes_the_first_of_the_heaviest(
    cash: int, closed: list[tuple[str, float]]
) -> None:  # R7.4
    """A lot of A and of B, bought at 102.00 and now at 100.50: 5 % of that is 5.025, which makes 5.03 each; equity is 10.05, or 10.06."""
    candles = [(102.0,) * 4, (102.0,) * 4, (102.0, 102.0, 100.5, 100.5), (100.5,) * 4]
    contracts = tuple(instrument(symbol, maintenance=(MarginTier(0.0, 0.05, 0.0),)) for symbol in "AB")
    one = (strategy(SizeKind.FIXED_QTY, 1.0),)
    chosen = settings(4, cash=cash, instruments=contracts, strategies=one, leverage=20.0, finalize_close=False)
    result = agreed_replay(market({"A": candles, "B": candles}), table(propose(1), propose(1, symbol="B")), chosen)
    forced = [row for row in of_kind(result, RecordKind.FILL) if row["reason"] == Reason.LIQUIDATED_AT_CLOSE]
    assert [("AB"[row["symbol"]], row["price"]) for row in forced] == closed
