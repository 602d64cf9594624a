"""Maintenance and the liquidation price as formulas, and against the pages of exchanges.  # R7.2, R7.3"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.instrument import MarginTier, margin_tiers
from engine.margin import MARGIN_TIER, liquidation_price, maintenance_money, tier_of
from engine.money import margin
from engine.schema import MaintenanceBasis

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


def test_the_tier_of_an_inverse_contract_holds_its_coins_at_the_price() -> None:  # R7.3
    # 1,000 dollars bought at 10,000 with 0.01 coins: by the second tier 1050 / 0.118, at which they are 0.112 coins; so the first it is
    tiers = np.array([tuple(tier) for tier in margin_tiers([(0, 0.01), (0.2, 0.05)])], MARGIN_TIER)
    first = float(liquidation_price(tiers, 0, 2, MARK, 1, 1_000.0, 0.1, 0.01, 0.0, True))
    assert first == pytest.approx(1_010 / 0.11)
    # ten times as many: 1.12 coins are of the second
    second = float(liquidation_price(tiers, 0, 2, MARK, 1, 10_000.0, 1.0, 0.1, 0.0, True))
    assert second == pytest.approx(10_500 / (1.1 + 0.008))


def test_what_can_never_be_reached_is_no_price() -> None:  # R7.3
    assert np.isnan(price(1, 1.0, 100.0, 200.0, 0.01))


def test_a_tier_begins_at_its_floor_and_the_last_one_never_ends() -> None:  # R7.2
    # of two instruments: the tiers of the second lie behind those of the first
    tiers = np.array([(floor, 0.01, 0.0) for floor in (0.0, 100.0, 200.0, 0.0, 50.0)], MARGIN_TIER)
    assert [tier_of(tiers, 0, 3, notional) for notional in (0.0, 99.9, 100.0, 199.9, 200.0, 1e9)] == [0, 0, 1, 1, 2, 2]
    assert [tier_of(tiers, 3, 5, notional) for notional in (0.0, 49.9, 50.0, 1e9)] == [3, 3, 4, 4]


@pytest.mark.parametrize(
    ("side", "secured", "rate", "expected"),
    [
        # bankrupt at 720 / 0.999, of which a thousandth; (800 - (80 - 7.5 - 0.72072...)) / 8
        (1, 80.0, 0.01, (800 - (72.5 - 0.001 * 720 / 0.999)) / 8),
        (-1, 80.0, 0.01, (800 + (72.5 - 0.001 * 880 / 1.001)) / 8),
        (1, 900.0, 0.5, (800 - (900 - 399.5)) / 8),  # its margin is never gone, so no fee is held for that
    ],
)
def test_a_fee_on_the_bankruptcy_value_is_held_beside_maintenance_on_the_cost(
    side: int, secured: float, rate: float, expected: float
) -> None:
    # R7.2 R7.3
    assert price(side, 8.0, 100.0, secured, rate, deduction=0.5, fee=0.001, basis=ENTRY) == pytest.approx(expected, abs=1e-11)


def test_a_tier_whose_floor_is_the_notional_at_the_price_is_the_one() -> None:  # R7.3
    tiers = np.array([(0.0, 0.5, 0.0), (720.0, 0.0, 0.0)], MARGIN_TIER)
    assert float(liquidation_price(tiers, 0, 2, MARK, 1, 8.0, 800.0, 80.0, 0.0, False)) == 90.0


def test_a_price_of_nothing_is_never() -> None:  # R7.3
    assert np.isnan(price(1, 8.0, 100.0, 800.0, 0.0))
    assert price(1, 8.0, 100.0, 799.0, 0.0) == 0.125


def test_maintenance_is_a_rate_with_the_fee_less_a_deduction_and_at_least_nothing() -> None:  # R7.2
    tiers = np.array([(0.0, 0.01, 0.5), (1_000.0, 0.0, 0.0)], MARGIN_TIER)
    found = [maintenance_money(tiers, 0, stop, notional, 0.002, 100.0) for stop, notional in ((1, 80_000), (1, 1_000), (2, 0), (0, 80_000))]
    assert found == [910, 0, 0, 0]  # 800 * 0.012 - 0.5 = 9.10
