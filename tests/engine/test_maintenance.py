"""Maintenance of a whole account to the last unit of money, worked by hand.  # R7.2, R7.4"""

from typing import Any

import pytest

from engine.dataset import from_columns
from engine.instrument import MarginTier
from engine.schema import Action, MaintenanceBasis, MaintenanceFee, MarginMode, OnHeld, Reason, RecordKind, SizeKind
from engine.settings import FeeTier, HaltLimits, StrategySettings
from tests.differential import agreed_replay
from tests.oracle.examples import (
    FLAT,
    HOUR,
    LONG,
    SHORT,
    Candles,
    Row,
    at,
    fills,
    instrument,
    market,
    of_kind,
    propose,
    settings,
    strategy,
    table,
    two_clocks,
)
from tests.oracle.replay import OracleResult


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


@pytest.mark.parametrize(("low", "left"), [(62.6, "RUN_ENDED"), (62.5, "LIQUIDATED")])
@pytest.mark.parametrize("others", [0, 1])
def test_a_symbol_that_all_of_the_account_secures_is_liquidated_at_its_price(low: float, left: str, others: int) -> None:  # R7.2 R7.3
    """20 lots of A at 100, maintained by a fifth of the mark: (2000 - 1000) / (20 x 0.8) is 62.5.  B maintains itself with its own profit."""
    contracts = tuple(instrument(symbol, maintenance=(MarginTier(0.0, 0.2, 0.0),)) for symbol in "AB")
    fall, rise = [FLAT, FLAT, (100.0, 100.0, low, 100.0), FLAT], [FLAT, (100.0, 125.0, 100.0, 125.0), (125.0,) * 4, (125.0,) * 4]
    rows = [propose(1), *([propose(1, symbol="B")] if others else [])]
    chosen = settings(4, instruments=contracts, strategies=(strategy(SizeKind.FIXED_QTY, 20.0),), leverage=50.0)
    result = agreed_replay(market({"A": fall, "B": rise}), table(*rows), chosen)
    assert fills(result)[1 + others][2] == left


@pytest.mark.parametrize("basis", list(MaintenanceBasis))
def test_a_net_of_nothing_has_no_price(basis: MaintenanceBasis) -> None:  # R6.1 R7.3
    contract = instrument(maintenance=(MarginTier(0.0, 0.01, 0.0),))
    both = tuple(strategy(SizeKind.FIXED_QTY, 400.0, name=name) for name in "ab")
    chosen = settings(4, instruments=(contract,), strategies=both, leverage=100.0, maintenance_basis=basis)
    bars = [FLAT, FLAT, (100.0, 150.0, 50.0, 100.0), FLAT]
    result = agreed_replay(market({"A": bars}), table(propose(1, strategy="a"), propose(1, SHORT, strategy="b")), chosen)
    assert [fill[2] for fill in fills(result)[2:]] == ["RUN_ENDED", "RUN_ENDED"]


@pytest.mark.parametrize(("cash", "end"), [(5_001, (4.0, 60.0, "RUN_ENDED")), (5_000, (3.0, 50.0, "LIQUIDATED_AT_CLOSE"))])
@pytest.mark.parametrize("halts", [HaltLimits(), HaltLimits(losses=9)])
def test_ruin_is_equity_of_nothing(cash: int, end: tuple[float, float, str], halts: HaltLimits) -> None:  # R7.4
    """A unit that falls from 100 to 50; where losses are counted each sample is looked at by itself."""
    bars = [FLAT, FLAT, (100.0, 100.0, 50.0, 50.0), (60.0,) * 4]
    chosen = settings(4, cash=cash, leverage=10.0, strategies=(strategy(SizeKind.FIXED_QTY, 1.0),), halts=halts)
    assert fills(agreed_replay(market({"A": bars}), table(propose(1)), chosen))[-1] == end


@pytest.mark.parametrize(("low", "left"), [(90.1, "RUN_ENDED"), (90.0, "LIQUIDATED"), (0.1, "LIQUIDATED")])
@pytest.mark.parametrize("units", [8, 8_000])
def test_a_margin_that_is_gone_is_gone_at_its_price(units: int, low: float, left: str) -> None:  # R7.3
    """A margin of a tenth, without maintenance, at 100."""
    bare = instrument(maintenance=(MarginTier(0.0, 0.0, 0.0),))
    sized = (strategy(SizeKind.FIXED_QTY, float(units)),)
    chosen = settings(3, cash=12_500 * units, instruments=(bare,), strategies=sized, leverage=10.0, margin=MarginMode.ISOLATED)
    result = agreed_replay(market({"A": [FLAT, FLAT, (100.0, 100.0, low, 100.0)]}), table(propose(1)), chosen)
    assert fills(result)[1][2] == left


@pytest.mark.parametrize(("high", "left"), [(124.9, "RUN_ENDED"), (125.0, "LIQUIDATED")])
def test_a_short_that_all_of_the_account_secures_is_liquidated_at_its_price(high: float, left: str) -> None:  # R7.2 R7.3
    """20 lots at 100, maintained by a fifth of the mark: (2000 + 1000) / (20 x 1.2) is 125."""
    contract = instrument(maintenance=(MarginTier(0.0, 0.2, 0.0),))
    chosen = settings(3, instruments=(contract,), strategies=(strategy(SizeKind.FIXED_QTY, 20.0),), leverage=50.0)
    result = agreed_replay(market({"A": [FLAT, FLAT, (100.0, high, 100.0, 100.0)]}), table(propose(1, SHORT)), chosen)
    assert fills(result)[1][2] == left


def between_bars(candles: Candles, *rows: Row, strategies: tuple[StrategySettings, ...] = (), **changes: Any) -> OracleResult:
    """A with maintenance of three tenths, at ten times, and samples at the half-hours too; 40 lots unless told otherwise."""
    contracts = (instrument(kind="future", settlement=HOUR // 4, maintenance=(MarginTier(0.0, 0.3, 0.0),)), instrument("B"))
    chosen: dict[str, Any] = {
        "instruments": contracts,
        "strategies": strategies or (strategy(SizeKind.FIXED_QTY, 40.0),),
        "leverage": 10.0,
    }
    return agreed_replay(two_clocks(candles), table(*rows), settings(len(candles), **(chosen | changes)))


@pytest.mark.parametrize("margin", list(MarginMode))
@pytest.mark.parametrize("action", [LONG, SHORT])
@pytest.mark.parametrize(("cash", "end"), [(120_000, (2.0, "LIQUIDATED")), (119_999, (1.5, "LIQUIDATED_AT_CLOSE"))])
def test_a_fill_that_moves_no_equity_is_weighed_at_the_next_sample(
    cash: int, end: tuple[float, str], action: Action, margin: MarginMode
) -> None:  # R7.4
    """40 lots of 100 need 1,200.00 from 1:00 on; B closes at 1:30, A at 2:00, and the bar that ends then is at the price of liquidation."""
    result = between_bars([FLAT] * 4, propose(1, action), cash=cash, margin=margin)
    assert [(hour, reason) for hour, _, reason in fills(result)] == [(1.0, "FILLED"), end]


def test_an_add_that_moves_no_equity_is_weighed_at_the_next_sample() -> None:  # R4.3 R7.4
    """20 lots need 600.00 of the 1,000.00, twice as many 1,200.00."""
    adds = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=20.0, on_held=OnHeld.ADD),)
    result = between_bars([FLAT] * 4, propose(1), propose(2), strategies=adds)
    assert [(hour, reason) for hour, _, reason in fills(result)] == [(1.0, "FILLED"), (2.0, "FILLED"), (2.5, "LIQUIDATED_AT_CLOSE")]


def test_the_end_of_a_hedge_is_weighed_at_the_next_sample() -> None:  # R6.1 R7.4
    """40 lots of each side need nothing; without the short the others need 1,200.00 of the 1,000.00."""
    both = tuple(strategy(SizeKind.FIXED_QTY, 40.0, name=name) for name in "ab")
    rows = [propose(1, strategy="a"), propose(1, SHORT, strategy="b"), propose(2, Action.EXIT, strategy="b")]
    result = between_bars([FLAT] * 4, *rows, strategies=both)
    assert [(hour, reason) for hour, _, reason in fills(result)][2:] == [(2.0, "SIGNAL"), (2.5, "LIQUIDATED_AT_CLOSE")]


@pytest.mark.parametrize(("cash", "end"), [(172_000, (25.0, "LIQUIDATED")), (171_999, (24.5, "LIQUIDATED_AT_CLOSE"))])
def test_a_settlement_is_weighed_at_the_next_sample(cash: int, end: tuple[float, str]) -> None:  # R6.2 R7.2 R7.4
    """40 lots sold at 100 have lost 400.00 at 2:00; from 0:15 on they count from 110, and need 1,320.00 in the place of 1,200.00."""
    candles = [FLAT, (100.0, 110.0, 100.0, 110.0), *[(110.0,) * 4] * 24]
    result = between_bars(candles, propose(1, SHORT), cash=cash, maintenance_basis=MaintenanceBasis.ENTRY)
    assert [(hour, reason) for hour, _, reason in fills(result)] == [(1.0, "FILLED"), end]


@pytest.mark.parametrize(("held", "end"), [(MaintenanceFee.NONE, "RUN_ENDED"), (MaintenanceFee.TAKER_AT_BANKRUPTCY, "LIQUIDATED_AT_CLOSE")])
def test_a_dearer_tier_of_fees_is_weighed_at_the_next_sample(held: MaintenanceFee, end: str) -> None:  # R2.6 R7.2 R7.4
    """40 lots of 100 that cost 200.00 need 640.00 of the 800.00; the fee that closing costs, free for 30 days, adds 200.00 then."""
    days = 30 * 24.0
    closes = [1.0, 2.0, days + 31.0]  # of A, the last bar of which opens 30 hours after the window has passed the entry
    columns: Row = {name: [100.0] * 3 for name in ("open", "high", "low", "close", "volume")}
    of_a = columns | {"open_ts": [at(hour - 1.0) for hour in closes], "ts": [at(hour) for hour in closes]}
    of_b = columns | {"open_ts": [at(days + hour) for hour in range(3)], "ts": [at(days + hour + 0.5) for hour in range(3)]}
    contracts = (instrument(maintenance=(MarginTier(0.0, 0.16, 0.0),)), instrument("B"))
    chosen = settings(
        int(days) + 31,
        instruments=contracts,
        strategies=(strategy(SizeKind.FIXED_QTY, 40.0),),
        leverage=10.0,
        fee_tiers=(FeeTier(0.0, 0.0, 500.0), FeeTier(2_000.0, 0.0, 0.0)),
        maintenance_fee=held,
    )
    data = from_columns({"bars": {("A", "1h", HOUR): of_a, ("B", "30m", HOUR // 2): of_b}})
    hour, _, reason = fills(agreed_replay(data, table(propose(1)), chosen))[1]
    assert (hour - days, reason) == (31.0 if held == MaintenanceFee.NONE else 1.5, end)
