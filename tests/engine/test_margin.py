"""Maintenance margin and liquidation: published numbers, and runs worked by hand."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.instrument import MarginTier, margin_tiers
from engine.margin import MARGIN_TIER, liquidation_price, maintenance_money
from engine.money import margin
from engine.schema import Intrabar, MaintenanceBasis, MaintenanceFee, MarginMode, Reason, RecordKind, SizeKind
from tests.differential import agreed_replay
from tests.oracle.examples import FLAT, SHORT, Row, at, fills, instrument, market, of_kind, propose, settings, strategy, table
from tests.oracle.replay import OracleResult

MARK, ENTRY = MaintenanceBasis.MARK, MaintenanceBasis.ENTRY
needs_data = pytest.mark.skipif("TAPELINE_DATA" not in os.environ, reason="TAPELINE_DATA is not set")


def conformance(name: str) -> Any:
    return json.loads((Path(os.environ["TAPELINE_DATA"]) / "conformance" / name).read_text())


def price(
    side: int, units: float, entry: float, secured: float, rate: float, deduction: float = 0.0, fee: float = 0.0, basis: int = MARK
) -> float:
    tiers = np.array([(0.0, rate, deduction)], MARGIN_TIER)
    return float(liquidation_price(tiers, 0, 1, basis, side, units, units * entry, secured, fee, False))


@needs_data
def test_isolated_prices_are_those_of_the_exchanges() -> None:  # R7.3
    cases = [case for case in conformance("freqtrade_funding_liquidation.json")["liquidation_isolated"]["cases"] if case["expected_liq"]]
    assert len(cases) == 24
    for case in cases:
        side, lever = -1 if case["is_short"] else 1, case["leverage"]
        secured = case["amount"] * case["open_rate"] / lever
        given: dict[str, dict[str, Any]] = {
            "binance": {"deduction": 0.01},
            "gate": {"fee": 0.0006},
            "okx": {"fee": 0.0006},
            "bybit": {"basis": ENTRY},
        }
        found = price(side, case["amount"], case["open_rate"], secured, 0.01, **given[case["exchange_name"]])
        printed = len(str(case["expected_liq"]).partition(".")[2])
        assert found == pytest.approx(case["expected_liq"], abs=max(1e-9, 10.0**-printed if printed < 12 else 0.0), rel=1e-12), case


@needs_data
def test_the_worked_example_of_binance() -> None:  # R7.3
    for case in conformance("freqtrade_funding_liquidation.json")["liquidation_binance"]["cases"]:
        others = [one for one in case["open_trades"] if one["pair"] != case["pair"]]
        secured = case["wallet_balance"]
        for one in others:
            tiers = np.array([(0.0, one["mm_ratio"], one["maintenance_amt"])], MARGIN_TIER)
            secured += one["amount"] * (one["mark_price"] - one["open_rate"])
            secured -= maintenance_money(tiers, 0, 1, round(one["amount"] * one["mark_price"] * 1e6), 0.0, 1e6) / 1e6
        if case["margin_mode"] == "cross":
            assert len(others) == 1
        found = price(1, case["amount"], case["open_rate"], secured, case["mm_ratio"], case["maintenance_amt"])
        assert round(found, 2) == case["expected"]  # printed with two decimals


@needs_data
def test_every_worked_example_of_the_help_pages() -> None:  # R7.2 R7.3
    seen = 0
    for case in conformance("margin_docs_cases.json")["cases"]:
        if case.get("contract") == "USDT linear" and "expected_liquidation_price" in case:
            found = price(1, case["qty"], case["entry"], case["initial_margin"] + case["extra_margin"], case["mmr"], basis=ENTRY)
            assert found == pytest.approx(case["expected_liquidation_price"], abs=1e-9)
            assert margin(round(case["qty"] * case["entry"] * 1e6), case["leverage"]) == case["initial_margin"] * 1e6
        elif case.get("contract") == "USDT linear":
            assert price(1, case["qty"], case["entry"], case["entry"] / case["leverage"], 0.0) == pytest.approx(
                case["expected_bankruptcy_price"]
            )
        elif "floor" in case:
            tiers = [MarginTier(0.0, case["mmr_prev"], 0.0), MarginTier(case["floor"], case["mmr_n"], case["expected"])]
            assert case["floor"] * (case["mmr_n"] - case["mmr_prev"]) + case["amount_prev"] == pytest.approx(tiers[1].deduction, abs=1e-9)
        else:
            continue
        seen += 1
    assert seen == 3


@needs_data
def test_deductions_follow_from_floors_and_rates() -> None:  # R7.2
    example = conformance("margin_docs_cases.json")["tiers_example"]["btc_125x"]
    caps, rates = [0.0, *(row[0] for row in example)], [row[1] for row in example]
    tiers = margin_tiers(list(zip(caps[:-1], rates, strict=True)))
    assert [tier.deduction for tier in tiers] == pytest.approx([row[2] for row in example], abs=1e-6)


def test_a_tier_is_the_one_that_holds_the_notional_at_the_price() -> None:  # R7.3
    tiers = np.array([tuple(tier) for tier in margin_tiers([(0, 0.01), (900, 0.05)])], MARGIN_TIER)
    assert tiers["deduction"].tolist() == pytest.approx([0.0, 36.0])
    second = float(liquidation_price(tiers, 0, 2, MARK, 1, 10.0, 1000.0, 100.0, 0.0, False))
    assert second == pytest.approx((1000 - 100 - 36) / (10 * 0.95))  # a notional of 909.5
    first = float(liquidation_price(tiers, 0, 2, MARK, 1, 10.0, 1000.0, 200.0, 0.0, False))
    assert first == pytest.approx((1000 - 200) / (10 * 0.99))  # 808.1


def test_what_can_never_be_reached_is_no_price() -> None:  # R7.3
    assert np.isnan(price(1, 1.0, 100.0, 200.0, 0.01))


def leveraged(candles: Any, *rows: Row, marks: Any = None, **changes: Any) -> OracleResult:
    """Symbol A at ten times, one tier of one per cent; 8 lots unless told otherwise."""
    data = {}
    if marks is not None:
        columns = dict(zip(("open", "high", "low", "close"), zip(*marks, strict=True), strict=True))
        data = {"open_ts": [at(hour) for hour in range(len(marks))], "ts": [at(hour + 1) for hour in range(len(marks))], **columns}
    dataset = market({"A": candles})
    if data:
        from engine.dataset import from_columns

        tables = {kind: {(s.symbol, s.name, s.interval_us): dataset.view(kind, s) for s in dataset.series[kind]} for kind in dataset.series}
        dataset = from_columns(tables | {"marks": {("A", "1h", 3_600_000_000): data}})
    chosen: dict[str, Any] = {
        "leverage": 10.0,
        "margin": MarginMode.ISOLATED,
        "instruments": (instrument(maintenance=(MarginTier(0.0, 0.01, 0.0),)),),
        "strategies": (strategy(SizeKind.FIXED_QTY, 8.0),),
    }
    return agreed_replay(dataset, table(*rows), settings(len(candles), **(chosen | changes)))


CRASH = [FLAT, FLAT, (100.0, 100.0, 85.0, 86.0), (86.0, 86.0, 86.0, 86.0)]


def test_an_isolated_position_is_liquidated_at_its_price() -> None:  # R7.3
    result = leveraged(CRASH, propose(1))
    # (800 - 80) / (8 * 0.99) = 90.909..., on the tick against the sale
    assert fills(result) == [(1.0, 100.0, "FILLED"), (3.0, 90.9, "LIQUIDATED")]


def test_what_it_loses_beyond_its_margin_is_insured_fee_included() -> None:  # R7.3
    result = leveraged(CRASH, propose(1), taker_bps=10.0, liquidation_fee=0.02)
    fill, insured = of_kind(result, RecordKind.FILL)[-1], of_kind(result, RecordKind.INSURANCE)
    assert fill["fee"] == round(72_720 * 0.001) + round(72_720 * 0.02)
    lost = -fill["amount"]
    assert [row["amount"] for row in insured] == [lost - 8_000]
    assert result.final_equity == 100_000 - 80 - 8_000


def test_a_short_is_liquidated_above() -> None:  # R7.3
    rise = [FLAT, FLAT, (100.0, 120.0, 100.0, 115.0), (115.0, 115.0, 115.0, 115.0)]
    assert fills(leveraged(rise, propose(1, SHORT)))[-1] == (3.0, 109.0, "LIQUIDATED")  # (800 + 80) / (8 * 1.01) = 108.91


def test_the_mark_decides_and_the_fill_lies_in_the_trade_bar() -> None:  # R7.3
    calm = [FLAT, FLAT, (100.0, 100.0, 95.0, 96.0), (96.0, 96.0, 96.0, 96.0)]
    low = [FLAT, FLAT, (100.0, 100.0, 90.0, 96.0), (96.0, 96.0, 96.0, 96.0)]
    assert fills(leveraged(calm, propose(1)))[-1][2] == "RUN_ENDED"
    assert fills(leveraged(calm, propose(1), marks=low))[-1] == (3.0, 95.0, "LIQUIDATED")
    assert fills(leveraged(low, propose(1), marks=calm))[-1][2] == "RUN_ENDED"


def test_the_open_of_the_mark_liquidates_at_the_open() -> None:  # R1.3 R7.3
    gap = [FLAT, FLAT, (80.0, 81.0, 79.0, 80.0), FLAT]
    assert fills(leveraged(gap, propose(1)))[-1] == (2.0, 80.0, "LIQUIDATED")


def test_a_stop_before_the_price_precedes_and_one_behind_it_does_not() -> None:  # R7.3
    assert fills(leveraged(CRASH, propose(1, stop_loss=95.0)))[-1] == (3.0, 95.0, "STOP_LOSS")
    assert fills(leveraged(CRASH, propose(1, stop_loss=88.0)))[-1] == (3.0, 90.9, "LIQUIDATED")


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (Intrabar.PESSIMISTIC, "LIQUIDATED"),
        (Intrabar.OPTIMISTIC, "TAKE_PROFIT"),
        (Intrabar.OLHC, "LIQUIDATED"),
        (Intrabar.OHLC, "TAKE_PROFIT"),
    ],
)
def test_liquidation_is_one_exit_among_the_policies(policy: Intrabar, reason: str) -> None:  # R3.3
    wild = [FLAT, FLAT, (100.0, 112.0, 85.0, 90.0), FLAT]
    result = leveraged(wild, propose(1, take_profit=110.0), intrabar=policy)
    assert fills(result)[-1][2] == reason
    assert of_kind(result, RecordKind.FILL)[-1]["flags"] & 1


def test_maintenance_may_hold_the_fee_of_closing() -> None:  # R7.2
    result = leveraged(CRASH, propose(1), taker_bps=50.0, maintenance_fee=MaintenanceFee.TAKER_AT_BANKRUPTCY)
    assert fills(result)[-1][1] == 91.3  # 720 / (8 * 0.985) = 91.37


def test_cross_margin_nets_the_symbol_and_closes_every_part_at_one_price() -> None:  # R6.1 R7.3
    two = (strategy(SizeKind.FIXED_QTY, 60.0, name="a"), strategy(SizeKind.FIXED_QTY, 20.0, name="b"))
    rows = (propose(1, strategy="a"), propose(1, SHORT, strategy="b"))
    result = leveraged([FLAT, FLAT, (100.0, 100.0, 70.0, 71.0), FLAT], *rows, margin=MarginMode.CROSS, strategies=two)
    # net 40 lots: (4000 - 1000) / (40 * 0.99) = 75.757...
    assert fills(result)[2:] == [(3.0, 75.7, "LIQUIDATED"), (3.0, 75.7, "LIQUIDATED")]
    assert [row["strategy"] for row in of_kind(result, RecordKind.FILL)[2:]] == [0, 1]
    assert not of_kind(result, RecordKind.INSURANCE)


def test_at_the_close_the_largest_maintenance_goes_first_while_equity_is_below_the_whole() -> None:  # R7.4
    heavy, light = (MarginTier(0.0, 0.2, 0.0),), (MarginTier(0.0, 0.01, 0.0),)
    instruments = (instrument("A", maintenance=light), instrument("B", maintenance=heavy))
    fall = [FLAT, FLAT, (100.0, 100.0, 97.0, 97.0), (97.0, 97.0, 97.0, 97.0)]
    rows = (propose(1), propose(1, symbol="B"))
    chosen: dict[str, Any] = {"leverage": 50.0, "instruments": instruments, "strategies": (strategy(SizeKind.FIXED_QTY, 40.0),)}
    result = agreed_replay(market({"A": fall, "B": fall}), table(*rows), settings(4, **chosen))
    # both lose 120 of 1,000: 760 are left; B needs 776, A 38.80
    assert [(r["symbol"], Reason(r["reason"]).name) for r in of_kind(result, RecordKind.FILL)[2:]] == [
        (1, "LIQUIDATED_AT_CLOSE"),
        (0, "RUN_ENDED"),
    ]
