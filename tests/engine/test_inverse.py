"""Inverse contracts: money in coin, worked by hand, and the published cases."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset import DatasetError
from engine.instrument import Decimals, Instrument, MarginTier, margin_tiers
from engine.margin import MARGIN_TIER, liquidation_price
from engine.money import funding_payment, margin, value
from engine.schema import MaintenanceBasis, MarginMode, OnHeld, Reason, RecordKind, SizeKind
from engine.settings import StrategySettings
from tests.differential import agreed_replay
from tests.oracle.examples import FLAT, SHORT, Candles, Row, fills, instrument, market, of_kind, propose, settings, strategy, table
from tests.oracle.replay import OracleResult

COIN = 10**8
needs_data = pytest.mark.skipif("TAPELINE_DATA" not in os.environ, reason="TAPELINE_DATA is not set")

RISE = [FLAT, FLAT, (100.0, 125.0, 100.0, 125.0), (125.0, 125.0, 125.0, 125.0)]
FALL = [FLAT, FLAT, (100.0, 100.0, 80.0, 80.0), (80.0, 80.0, 80.0, 80.0)]


def conformance(name: str) -> Any:
    return json.loads((Path(os.environ["TAPELINE_DATA"]) / "conformance" / name).read_text())


def contract(**changes: Any) -> Instrument:
    """A contract of ten dollars on symbol A, ticks of 0.1."""
    return instrument(kind="inverse_perp", **({"multiplier": Decimals(10, 1)} | changes))


def coins(candles: Candles, *rows: Row, data: Any = None, **changes: Any) -> OracleResult:
    """The replay of proposals in an account of 1 coin with 8 decimals; three contracts an entry unless told otherwise."""
    plain: dict[str, Any] = {"instruments": (contract(),), "cash": COIN, "decimals": 8}
    return agreed_replay(market({"A": candles}, **(data or {})), table(*rows), settings(len(candles), **(plain | changes)))


def price(
    side: int,
    units: float,
    entry: float,
    secured: float,
    rate: float,
    deduction: float = 0.0,
    fee: float = 0.0,
    basis: int = MaintenanceBasis.MARK,
) -> float:
    tiers = np.array([(0.0, rate, deduction)], MARGIN_TIER)
    return float(liquidation_price(tiers, 0, 1, basis, side, units, units / entry, secured, fee, True))


@needs_data
def test_the_inverse_cases_of_the_help_pages() -> None:  # R7.2 R7.3
    cases = conformance("margin_docs_cases.json")["cases"]
    cross = next(case for case in cases if case.get("contract") == "inverse" and "account_balance_btc" in case)
    coin, taker, given = cross["qty"] / cross["entry"], cross["taker"], (cross["qty"], cross["entry"], cross["account_balance_btc"])
    bankrupt = price(1, *given, 0.0, fee=taker)
    assert round(bankrupt, 2) == cross["expected_bankruptcy_price"]
    page = cross["qty"] / (coin + cross["account_balance_btc"] - coin * cross["mmr"] - cross["qty"] / bankrupt * taker)
    found = price(1, *given, cross["mmr"], fee=taker, basis=MaintenanceBasis.ENTRY)
    assert found == pytest.approx(page, rel=1e-9)
    assert round(found, 2) == cross["our_arithmetic"]
    assert found == pytest.approx(cross["expected_liquidation_price"], rel=1e-4)  # the page contradicts its own formula
    initial = next(case for case in cases if "expected_initial_margin_btc" in case)
    worth = abs(value(initial["qty"], initial["price"], 1.0, 1e8, True))
    assert margin(worth, initial["leverage"]) == round(initial["expected_initial_margin_btc"] * 1e8)
    tier = next(case for case in cases if "floor_btc" in case)
    made = margin_tiers([(0.0, tier["mmr_prev"]), (tier["floor_btc"], tier["mmr_n"])])
    assert made[1].deduction + tier["amount_prev"] == pytest.approx(tier["expected"], abs=1e-9)


def test_a_long_earns_the_difference_of_two_reciprocals() -> None:  # R6.2 R6.4
    result = coins(RISE, propose(1))
    closed = of_kind(result, RecordKind.POSITION)[-1]
    assert closed["amount"] == round(30 * COIN / 100) - round(30 * COIN / 125) == 6_000_000  # 3 x 10 x (1/100 - 1/125)
    assert result.final_equity == COIN + 6_000_000


def test_a_short_loses_what_a_long_earns() -> None:  # R6.2
    assert coins(RISE, propose(1, SHORT)).final_equity == COIN - 6_000_000
    assert coins(FALL, propose(1, SHORT)).final_equity == COIN + 7_500_000  # 30 x (1/80 - 1/100)


def test_a_long_pays_funding_on_its_coins() -> None:  # R7.1
    funding = {
        "A": {"ts": [market({"A": RISE}).view("bars", market({"A": RISE}).series["bars"][0])["ts"][2]], "rate": [0.001], "mark": [125.0]}
    }
    for action, paid in ((propose(1), -24_000), (propose(1, SHORT), 24_000)):  # 30 / 125 coins at 0.1 %
        result = coins(RISE, action, data={"funding": funding})
        assert [row["amount"] for row in of_kind(result, RecordKind.FUNDING)] == [paid]
    assert funding_payment(-value(3.0, 125.0, 10.0, 1e8, True), 0.001) == -24_000


def test_a_fee_is_a_share_of_the_coins() -> None:  # R6.3
    result = coins(RISE, propose(1), taker_bps=10.0)
    assert [row["fee"] for row in of_kind(result, RecordKind.FILL)] == [30_000, 24_000]


def test_an_add_averages_in_coin_and_a_part_releases_its_share() -> None:  # R6.3 R6.4
    held = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=3.0, on_held=OnHeld.ADD),)
    candles = [FLAT, FLAT, (125.0, 125.0, 125.0, 125.0), (125.0, 125.0, 125.0, 125.0)]
    result = coins(candles, propose(1), propose(2), strategies=held)
    # 30/100 + 30/125 coins in, 60/125 out
    assert of_kind(result, RecordKind.POSITION)[-1]["amount"] == 30_000_000 + 24_000_000 - 48_000_000


@pytest.mark.parametrize(
    ("size", "amount", "lots"),
    [
        (SizeKind.FIXED_NOTIONAL, 0.55, 5),  # 0.55 coins are 55 dollars at 100: five contracts of ten
        (SizeKind.FIXED_FRACTION, 0.37, 3),
        (SizeKind.FIXED_RISK, 0.1, 4),  # 0.1 coins at risk: ten dollars lose 0.025 from 100 to 80
        (SizeKind.ALL_IN, 1.0, 10),
    ],
)
def test_sizes_are_in_coin(size: SizeKind, amount: float, lots: int) -> None:  # R5.1
    result = coins([FLAT] * 4, propose(1, stop_loss=80.0), strategies=(strategy(size, amount),))
    assert of_kind(result, RecordKind.FILL)[0]["qty"] == lots


@pytest.mark.parametrize("action", [propose(1), propose(1, SHORT)])
def test_limits_are_fractions_of_the_coins(action: Row) -> None:  # R5.2 R6.1
    for limit in ("max_position", "max_gross", "max_net"):
        result = coins([FLAT] * 4, action, strategies=(strategy(SizeKind.FIXED_QTY, 9.0),), **{limit: 0.25})
        assert of_kind(result, RecordKind.APPROVED)[0]["qty"] == 2  # 0.2 coins of 1
    assert (
        of_kind(coins([FLAT] * 4, action, instruments=(contract(min_notional=0.31),)), RecordKind.REJECTED)[0]["reason"]
        == Reason.BELOW_MIN_NOTIONAL
    )


def test_long_and_short_set_each_other_off_in_the_net() -> None:  # R6.1
    two = (strategy(SizeKind.FIXED_QTY, 5.0, name="a"), strategy(SizeKind.FIXED_QTY, 9.0, name="b"))
    result = coins([FLAT] * 5, propose(1, strategy="a"), propose(2, SHORT, strategy="b"), strategies=two, max_net=0.2, leverage=5.0)
    assert [row["qty"] for row in of_kind(result, RecordKind.APPROVED)] == [2, 4]  # long 0.2, then short down to -0.2


def test_isolated_liquidation_is_below_a_long_and_insured() -> None:  # R7.3
    tiers = (MarginTier(0.0, 0.01, 0.0),)
    crash = [FLAT, FLAT, (100.0, 100.0, 70.0, 70.0), (70.0, 70.0, 70.0, 70.0)]
    chosen: dict[str, Any] = {"leverage": 5.0, "margin": MarginMode.ISOLATED, "instruments": (contract(maintenance=tiers),)}
    result = coins(crash, propose(1), **chosen)
    # A (1 + r) / (C + M) = 30 x 1.01 / (0.3 + 0.06) = 84.1666..., on the tick against the sale
    assert fills(result)[-1] == (3.0, 84.1, "LIQUIDATED")
    gap = [FLAT, FLAT, (70.0, 70.0, 70.0, 70.0), (70.0, 70.0, 70.0, 70.0)]
    result = coins(gap, propose(1), **chosen)
    assert fills(result)[-1] == (2.0, 70.0, "LIQUIDATED")
    assert result.final_equity == COIN - 6_000_000  # no more than its margin


def test_a_short_is_liquidated_above_and_never_where_its_margin_covers_its_coins() -> None:  # R7.3
    tiers = (MarginTier(0.0, 0.01, 0.0),)
    soar = [FLAT, FLAT, (100.0, 900.0, 100.0, 900.0), (900.0, 900.0, 900.0, 900.0)]
    chosen: dict[str, Any] = {"margin": MarginMode.ISOLATED, "instruments": (contract(maintenance=tiers),)}
    # 30 x 0.99 / (0.3 - 0.06) = 123.75
    assert fills(coins(soar, propose(1, SHORT), leverage=5.0, **chosen))[-1] == (3.0, 123.8, "LIQUIDATED")
    assert fills(coins(soar, propose(1, SHORT), leverage=1.0, **chosen))[-1] == (4.0, 900.0, "RUN_ENDED")


def test_cross_margin_nets_the_symbol() -> None:  # R6.1 R7.3
    two = (strategy(SizeKind.FIXED_QTY, 60.0, name="a"), strategy(SizeKind.FIXED_QTY, 20.0, name="b"))
    rows = (propose(1, strategy="a"), propose(1, SHORT, strategy="b"))
    tiers = (MarginTier(0.0, 0.01, 0.0),)
    result = coins(
        [FLAT, FLAT, (100.0, 100.0, 70.0, 71.0), FLAT], *rows, strategies=two, leverage=10.0, instruments=(contract(maintenance=tiers),)
    )
    # net 40 contracts: 400 x 1.01 / (4 + 1) = 80.8
    assert fills(result)[2:] == [(3.0, 80.8, "LIQUIDATED"), (3.0, 80.8, "LIQUIDATED")]


def test_a_reversal_goes_through_flat() -> None:  # R4.3 R6.4
    held = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=3.0, on_held=OnHeld.REVERSE),)
    candles = [FLAT, FLAT, (125.0, 125.0, 125.0, 125.0), (100.0, 100.0, 100.0, 100.0)]
    result = coins(candles, propose(1), propose(2, SHORT), strategies=held)
    assert result.final_equity == COIN + 6_000_000 + 6_000_000  # from 100 to 125, and back


def test_inverse_contracts_share_no_account_with_others() -> None:  # R6.2
    both = (contract(), instrument("B"))
    with pytest.raises(DatasetError, match=r"A is an inverse contract.*B \(linear_perp\).*keep one"):
        agreed_replay(market({"A": RISE, "B": RISE}), table(propose(1)), settings(4, instruments=both))


@pytest.mark.parametrize("kind", [0, 1])
def test_inverse_contracts_have_no_splits_and_no_dividends(kind: int) -> None:
    actions = {"A": {"ts": [market({"A": RISE}).view("bars", market({"A": RISE}).series["bars"][0])["ts"][1]]}}
    actions["A"] |= {"kind": [kind], "value": [1.0], "num": [2], "den": [1]}
    with pytest.raises(DatasetError, match="neither splits nor dividends"):
        coins(RISE, propose(1), data={"actions": actions})


@given(
    side=st.sampled_from([1, -1]),
    inverse=st.booleans(),
    units=st.floats(1e-3, 1e6),
    entry=st.floats(1e-3, 1e6),
    leverage=st.floats(1.0, 100.0),
    rate=st.floats(0.0, 0.3),
    share=st.floats(0.0, 0.1),
)
def test_at_its_liquidation_price_a_position_has_its_maintenance_left(
    side: int, inverse: bool, units: float, entry: float, leverage: float, rate: float, share: float
) -> None:  # R7.3
    cost = units / entry if inverse else units * entry
    secured, deduction = cost / leverage, cost * share
    tiers = np.array([(0.0, rate, deduction)], MARGIN_TIER)
    found = float(liquidation_price(tiers, 0, 1, MaintenanceBasis.MARK, side, units, cost, secured, 0.0, inverse))
    if np.isnan(found):  # covered at every price: a long that has paid, or a short whose coins are its own
        assert (side > 0) != inverse
        assert secured + deduction >= cost * (1 - 1e-12)
        return
    notional = units / found if inverse else units * found
    profit = side * (cost - notional) if inverse else side * (notional - cost)
    assert secured + profit == pytest.approx(notional * rate - deduction, rel=1e-9, abs=1e-9 * cost)
