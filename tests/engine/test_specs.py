"""What the replay knows of each symbol, worked out by hand from instruments and settings.  # R1.8 R2.4 R2.7 R6.2 R7.2"""

from typing import Any

import pytest

from engine.dataset import Dataset, from_columns
from engine.instrument import DatedRate, Decimals, Instrument, MarginTier, Rules
from engine.schema import NEVER, NONE, Accounting, LimitGap, MaintenanceBasis, MaintenanceFee
from engine.settings import Conversion, FeeTier, Settings
from engine.specs import bounded, fee_held, interest_of, rules_of, specs_of, top_rate
from tests.oracle.examples import FLAT, HOUR, at, instrument, market, settings

TIERS = (MarginTier(0.0, 0.01, 0.0), MarginTier(1_000.0, 0.02, 10.0), MarginTier(9_000.0, 0.015, 5.0))


def run_of(*instruments: Instrument, **changes: Any) -> Settings:
    return settings(1, instruments=instruments, **changes)


def rows_of(dataset: Dataset, *instruments: Instrument, **changes: Any) -> Any:
    """One row a symbol."""
    run = run_of(*instruments, **changes)
    found = [dataset.find("bars", one.symbol, run.interval) for one in instruments]
    return specs_of(dataset, instruments, [series for series in found if series is not None], run)


def spec(run: dict[str, Any] | None = None, **changes: Any) -> Any:
    """The row of one symbol."""
    return rows_of(market({"A": [FLAT]}), instrument(**changes), **(run or {}))[0]


@pytest.mark.parametrize(
    ("kind", "accounting", "shortable", "inverse", "future"),
    [
        ("spot", Accounting.SPOT, 0, 0, 0),
        ("equity", Accounting.SPOT, 0, 0, 0),
        ("linear_perp", Accounting.LINEAR, 1, 0, 0),
        ("fx", Accounting.LINEAR, 1, 0, 0),
        ("inverse_perp", Accounting.INVERSE, 1, 1, 0),
        ("future", Accounting.LINEAR, 1, 0, 1),
    ],
)
def test_kinds_are_booked_each_in_its_way(kind: str, accounting: Accounting, shortable: int, inverse: int, future: int) -> None:  # R6.2
    found = spec(kind=kind)
    assert (found["accounting"], found["shortable"], found["inverse"], found["future"]) == (accounting, shortable, inverse, future)
    assert spec(kind=kind, shortable=True)["shortable"] == 1


def test_a_future_alone_expires_and_is_settled() -> None:  # R6.2
    ended = {"settlement": 8 * HOUR, "expiry": at(30)}
    future, other = spec(kind="future", **ended), spec(kind="fx", **ended)
    assert (future["settlement"], future["expiry"], other["expiry"]) == (8 * HOUR, at(30), NEVER)
    assert spec(kind="future")["expiry"] == NEVER


def test_numbers_of_an_instrument_stand_in_for_those_of_the_account() -> None:  # R7.2
    assert spec({"leverage": 4.0})["leverage"] == 4.0
    assert spec({"leverage": 4.0}, leverage=20.0)["leverage"] == 20.0
    fine = spec(lot=Decimals(25, 1000), multiplier=Decimals(5, 100))
    assert (fine["lot_units"], fine["lot_power"], fine["multiplier"]) == (25.0, 1000.0, 0.05)
    assert (spec()["converts"], spec(quote="EUR")["converts"]) == (0, 1)


@pytest.mark.parametrize(
    ("chosen", "with_sessions", "without"),
    [
        (None, LimitGap.OPEN, LimitGap.PRICE),
        (LimitGap.PRICE, LimitGap.PRICE, LimitGap.PRICE),
        (LimitGap.OPEN, LimitGap.OPEN, LimitGap.OPEN),
    ],
)
def test_sessions_decide_where_a_passed_limit_fills_unless_told(chosen: LimitGap | None, with_sessions: int, without: int) -> None:  # R2.4
    told = {"limit_gap": chosen}
    assert (spec(told, sessions=True)["limit_gap"], spec(told)["limit_gap"]) == (with_sessions, without)


def test_tiers_groups_and_series_are_each_symbols_own() -> None:  # R1.8 R4.2 R7.2
    instruments = (
        instrument("A", maintenance=TIERS[:2], group="z"),
        instrument("B"),
        instrument("C", maintenance=TIERS, group="b"),
        instrument("D", kind="spot", maintenance=TIERS, group="z"),
    )
    times = {"open_ts": [at(0)], "ts": [at(1)], **dict.fromkeys(("open", "high", "low", "close"), (100.0,)), "volume": [1.0]}
    half = times | {"ts": [at(0.5)]}
    bars = {(symbol, "1h", HOUR): times for symbol in "ABCD"} | {("B", "30m", HOUR // 2): half}
    tables: Any = {"bars": bars, "universe": {("C", "", 0): {"ts": [at(0)], "listed": [1]}}}
    found = rows_of(from_columns(tables), *instruments)
    assert list(zip(found["tier_first"].tolist(), found["tier_stop"].tolist(), strict=True)) == [(0, 2), (2, 2), (2, 5), (5, 5)]
    assert found["group"].tolist() == [1, NONE, 0, 1]
    assert found["interval_us"].tolist() == [HOUR, HOUR // 2, HOUR, HOUR]
    assert found["has_universe"].tolist() == [0, 0, 1, 0]
    assert found["top_rate"].tolist() == [0.02, 0.0, 0.02, 0.0]
    by_hour = rows_of(from_columns(tables), *instruments, interval="1h")
    assert by_hour["interval_us"].tolist() == [HOUR] * 4


@pytest.mark.parametrize(
    ("changes", "rate"),
    [
        ({}, 0.02),
        ({"taker_bps": 25.0}, 0.02),
        ({"maintenance_fee": MaintenanceFee.TAKER_AT_BANKRUPTCY}, 0.02),
        ({"maintenance_fee": MaintenanceFee.TAKER_AT_BANKRUPTCY, "taker_bps": 25.0}, 0.02 + 0.0025),
        ({"maintenance_fee": MaintenanceFee.TAKER_AT_BANKRUPTCY, "taker_bps": -25.0}, 0.02),  # a rebate is not held back
        (
            {
                "maintenance_fee": MaintenanceFee.TAKER_AT_BANKRUPTCY,
                "taker_bps": 900.0,
                "fee_tiers": (FeeTier(0.0, 0.0, 10.0), FeeTier(5.0, 0.0, 50.0)),
            },
            0.02 + 0.005,
        ),
    ],
)
def test_maintenance_is_at_most_the_highest_rate_and_the_fee_that_is_held_back(changes: dict[str, Any], rate: float) -> None:  # R7.2
    one = instrument(maintenance=TIERS)
    assert top_rate(one, fee_held(run_of(one, **changes))) == rate


def test_the_bound_is_of_the_accounts_money_and_of_every_tier() -> None:  # R7.2
    def holds(*instruments: Instrument, **changes: Any) -> bool:
        return bounded(instruments, run_of(*instruments, **changes))

    plain, steep = instrument(maintenance=TIERS), instrument("B", maintenance=(MarginTier(0.0, 0.9995, 0.0),))
    below = instrument("B", maintenance=(MarginTier(0.0, 0.01, 0.0), MarginTier(5.0, 0.02, -0.01)))
    assert holds(plain, instrument("B"))
    assert not holds(plain, instrument("B", quote="EUR"), conversions=(Conversion("EUR", "C", False),))
    assert not holds(plain, steep)
    assert not holds(plain, below)
    assert not holds(plain, maintenance_basis=MaintenanceBasis.ENTRY)


def test_rates_of_interest_are_those_of_each_symbol_and_last_of_the_account() -> None:
    paid = (DatedRate(at(0), 0.25), DatedRate(at(9), 0.5))
    instruments = (
        instrument("A", kind="spot", borrow=paid),
        instrument("B", borrow=paid),  # a contract is not borrowed
        instrument("C", kind="equity", borrow=paid[1:]),
    )
    found = interest_of(instruments, run_of(*instruments, interest=(DatedRate(at(3), 0.125),)))
    assert found["interest_ts"].tolist() == [at(0), at(9), at(9), at(3)]
    assert found["interest_rate"].tolist() == [0.25, 0.5, 0.5, 0.125]
    assert (found["interest_first"].tolist(), found["interest_stop"].tolist()) == ([0, 2, 2, 3], [2, 2, 3, 4])


def test_rules_of_an_exchange_are_in_force_from_ever_until_the_first_dated_ones() -> None:  # R2.7
    later = Rules(at(5), Decimals(5, 100), Decimals(4, 10), 0.8, 60.0)
    instruments = (
        instrument("A", lot=Decimals(6, 10), min_qty=1.2, min_notional=30.0, rules=(later,)),
        instrument("B"),
    )
    found = rules_of(instruments)
    assert found["rule_ts"].tolist() == [-NEVER, at(5), -NEVER]
    assert (found["rule_first"].tolist(), found["rule_stop"].tolist()) == ([0, 2], [2, 3])
    rows = found["rules"]
    assert rows["lot_step"].tolist() == [3, 2, 1]  # of base lots of 0.2
    assert rows["lot"].tolist() == [0.6, 0.4, 1.0]
    assert rows["tick"].tolist() == [0.1, 0.05, 0.1]
    assert (rows["tick_units"].tolist(), rows["tick_power"].tolist()) == ([1.0, 5.0, 1.0], [10.0, 100.0, 10.0])
    assert (rows["min_qty"].tolist(), rows["min_notional"].tolist()) == ([1.2, 0.8, 0.0], [30.0, 60.0, 0.0])
