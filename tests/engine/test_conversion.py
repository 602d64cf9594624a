"""Instruments quoted in another currency than the account's, worked by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.dataset import DatasetError
from engine.instrument import Decimals, Instrument, MarginTier
from engine.ledger import Ledger, LedgerError, ledger_header
from engine.schema import Action, MarginMode, OnHeld, Reason, RecordKind, SizeKind
from engine.session import ReplayError, ReplayResult, Session
from engine.settings import Conversion, FeeTier, StrategySettings
from engine.verify import verify_ledger
from tests.differential import agreed_replay
from tests.oracle.examples import (
    FLAT,
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

ITSELF = (Conversion("JPY", "A", invert=True),)  # A is USDJPY
OTHER = (Conversion("JPY", "R"),)  # R says what a yen is worth


def flat(price: float) -> tuple[float, float, float, float]:
    return (price, price, price, price)


def yen(**changes: Any) -> Instrument:
    return instrument(**({"kind": "fx", "quote": "JPY", "tick": Decimals(1, 100)} | changes))


def dollars(candles: Candles, *rows: Row, rates: Candles | None = None, data: Any = None, **changes: Any) -> OracleResult:
    """The replay of proposals in an account of 1,000.00 dollars; a thousand lots an entry unless told otherwise."""
    bars = {"A": candles} | ({} if rates is None else {"R": rates})
    chosen: dict[str, Any] = {
        "instruments": (yen(),),
        "conversions": ITSELF if rates is None else OTHER,
        "strategies": (strategy(SizeKind.FIXED_QTY, 1_000.0),),
        "leverage": 25.0,
    }
    return agreed_replay(market(bars, **(data or {})), table(*rows), settings(len(candles), **(chosen | changes)))


RISE = [flat(150.0), flat(150.0), (150.0, 151.5, 150.0, 151.5), flat(151.5)]


def test_profit_in_yen_is_converted_at_the_close_of_the_exit() -> None:  # R6.2 R6.4
    result = dollars(RISE, propose(1))
    # 1,000 units from 150.00 to 151.50 are 1,500 yen, at 1 / 151.5 dollars: 9.90
    assert of_kind(result, RecordKind.POSITION)[-1]["amount"] == 990
    assert result.final_equity == 100_000 + 990
    assert dollars(RISE, propose(1, SHORT)).final_equity == 100_000 - 990


def test_the_ledger_says_the_rate_before_the_record_that_uses_it() -> None:  # R6.4
    result = dollars(RISE, propose(1))
    told = of_kind(result, RecordKind.CONVERSION)
    assert [(row["ts"], row["value"]) for row in told] == [(at(1), 1 / 150.0), (at(4), 1 / 151.5)]
    assert [result.records[result.records.index(row) + 1]["kind"] for row in told] == [RecordKind.FILL] * 2


def test_fee_margin_and_reservation_are_in_dollars() -> None:  # R5.2 R6.3 R7.2
    result = dollars(RISE, propose(1), taker_bps=10.0)
    assert [row["fee"] for row in of_kind(result, RecordKind.FILL)] == [100, 100]  # 10 bp of 1,000.00 dollars
    assert of_kind(result, RecordKind.APPROVED)[0]["amount"] == 4_000 + 100


def test_an_open_position_is_valued_at_its_own_closes_with_the_rate_known_then() -> None:  # R6.5
    steady, rates = [flat(150.0), flat(150.0), flat(160.0), flat(160.0)], [flat(0.006), flat(0.006), flat(0.007), flat(0.008)]
    result = dollars(steady, propose(1), rates=rates, leverage=25.0)
    assert result.equity == [100_000, 100_000, 100_000 + 7_000, 100_000 + 8_000]  # 10,000 yen
    assert result.final_equity == 100_000 + 8_000


def test_spot_is_bought_and_held_in_account_money() -> None:  # R6.2 R6.4
    kinds = {"instruments": (yen(kind="equity"),), "strategies": (strategy(SizeKind.FIXED_QTY, 100.0),)}
    steady, rates = [flat(100.0)] * 4, [flat(0.01), flat(0.01), flat(0.02), flat(0.02)]
    result = dollars(steady, propose(1), rates=rates, **kinds)
    assert [row["amount"] for row in of_kind(result, RecordKind.FILL)] == [-10_000, 20_000]  # the yen doubled
    assert result.equity == [100_000, 100_000, 110_000, 110_000]
    paid = {"ts": [at(3)], "kind": [1], "value": [2.0], "num": [0], "den": [0]}
    paid = dollars(steady, propose(1), rates=rates, data={"actions": {"A": paid}}, **kinds)
    assert [row["amount"] for row in of_kind(paid, RecordKind.DIVIDEND)] == [400]  # 100 units, 2 yen each, at 0.02


def test_funding_is_paid_in_dollars() -> None:  # R7.1
    funding = {"A": {"ts": [at(3)], "rate": [0.001], "mark": [150.0]}}
    result = dollars(RISE, propose(1), rates=[flat(0.01)] * 4, data={"funding": funding}, leverage=25.0)
    assert [row["amount"] for row in of_kind(result, RecordKind.FUNDING)] == [-150]  # 150,000 yen are 1,500.00


@pytest.mark.parametrize(
    ("size", "amount", "lots"),
    [
        (SizeKind.FIXED_NOTIONAL, 600.0, 400),  # a unit of 150 yen is 1.50
        (SizeKind.FIXED_FRACTION, 0.3, 200),
        (SizeKind.FIXED_RISK, 0.01, 100),  # ten yen to the stop are 0.10 a unit
        (SizeKind.ALL_IN, 1.0, 666),
    ],
)
def test_sizes_are_in_dollars(size: SizeKind, amount: float, lots: int) -> None:  # R5.1
    chosen: dict[str, Any] = {"strategies": (strategy(size, amount),), "leverage": 1.0}
    result = dollars([flat(150.0)] * 4, propose(1, stop_loss=140.0), rates=[flat(0.01)] * 4, **chosen)
    assert of_kind(result, RecordKind.FILL)[0]["qty"] == lots


def test_limits_and_minimums_are_in_dollars() -> None:  # R2.7 R5.2
    for limit in ("max_position", "max_gross", "max_net"):
        result = dollars([flat(150.0)] * 4, propose(1), rates=[flat(0.01)] * 4, **{limit: 0.6})
        assert of_kind(result, RecordKind.APPROVED)[0]["qty"] == 400
    least = (yen(min_notional=1_501.0),)
    rejected = of_kind(dollars([flat(150.0)] * 4, propose(1), rates=[flat(0.01)] * 4, instruments=least), RecordKind.REJECTED)
    assert Reason(rejected[0]["reason"]) == Reason.BELOW_MIN_NOTIONAL


def test_liquidation_weighs_margin_in_dollars_against_a_loss_in_yen() -> None:  # R7.3
    crash = [flat(150.0), flat(150.0), (150.0, 150.0, 120.0, 120.0), flat(120.0)]
    tiers = (MarginTier(0.0, 0.01, 0.0),)
    isolated: dict[str, Any] = {"margin": MarginMode.ISOLATED, "leverage": 10.0, "instruments": (yen(maintenance=tiers),)}
    result = dollars(crash, propose(1), rates=[flat(0.01)] * 4, **isolated, strategies=(strategy(SizeKind.FIXED_QTY, 1_000.0),))
    # (150,000 x 0.01 - 150) / (1,000 x 0.01 x 0.99) = 136.3636...
    assert fills(result)[-1] == (3.0, 136.36, "LIQUIDATED")


@pytest.mark.parametrize("margin", list(MarginMode))
@pytest.mark.parametrize("action", [LONG, SHORT])
@pytest.mark.parametrize(("rate", "end"), [(0.0125, (3.0, "LIQUIDATED")), (0.0126, (2.5, "LIQUIDATED_AT_CLOSE"))])
def test_a_rate_that_moves_maintenance_is_weighed_at_the_next_sample(
    rate: float, end: tuple[float, str], action: Action, margin: MarginMode
) -> None:  # R7.4
    """4,000 units of 100 yen need 800.00 at 0.01, and at 0.0125 the 1,000.00 that there are; the rate is known at 2:30, A closes at 3:00."""
    contracts = (yen(maintenance=(MarginTier(0.0, 0.2, 0.0),)), instrument("B"))
    rates = [flat(0.01)] * 4 + [flat(rate)] * 4
    chosen = settings(
        4,
        instruments=contracts,
        conversions=OTHER,
        strategies=(strategy(SizeKind.FIXED_QTY, 4_000.0),),
        leverage=4.0,
        margin=margin,
    )
    result = agreed_replay(two_clocks([FLAT] * 4, R=rates), table(propose(1, action)), chosen)
    assert [(hour, reason) for hour, _, reason in fills(result)] == [(1.0, "FILLED"), end]


def test_a_reversal_and_tiers_of_fees_count_in_dollars() -> None:  # R2.6 R4.3
    held = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=1_000.0, on_held=OnHeld.REVERSE),)
    tiers = (FeeTier(0.0, 0.0, 10.0), FeeTier(1_500.0, 0.0, 1.0))
    candles = [flat(150.0), flat(150.0), flat(160.0), flat(150.0)]
    result = dollars(candles, propose(1), propose(3, SHORT), rates=[flat(0.01)] * 4, strategies=held, fee_tiers=tiers, leverage=25.0)
    # 1,500.00 is traded at the entry; both sides of the reversal are then of the lower tier
    assert [row["fee"] for row in of_kind(result, RecordKind.FILL)] == [150, 15, 15, 15]
    assert [row["amount"] for row in of_kind(result, RecordKind.POSITION)] == [0, 0, 0, 0]


def test_a_rate_that_is_not_known_yet_is_an_error_that_names_it() -> None:
    late = [*([flat(150.0)] * 2), flat(150.0), flat(150.0)]
    bars = market({"A": late, "R": [flat(0.01)] * 4})
    tables: dict[str, Any] = {
        "bars": {(one.symbol, one.name, one.interval_us): dict(bars.view("bars", one)) for one in bars.series["bars"]}
    }
    tables["bars"]["R", "1h", 3_600_000_000] = {name: column[2:] for name, column in tables["bars"]["R", "1h", 3_600_000_000].items()}
    from engine.dataset import from_columns

    dataset, chosen = from_columns(tables), settings(4, instruments=(yen(),), conversions=OTHER)
    with pytest.raises(ReplayError, match=r"A is to be entered at 2024-01-01T01:00.*no close of R is known.*JPY"):
        Session(dataset, table(propose(1)), chosen).run()
    assert of_kind(agreed_replay(dataset, table(propose(3)), chosen), RecordKind.FILL)
    # a target of nothing asks for no rate, one of anything else does
    rows = [propose(hour, Action.TARGET, weight=weight) for hour, weight in ((1, 0.0), (3, 0.5), (4, 0.0))]
    result = agreed_replay(dataset, table(*rows), chosen)
    assert result.outcomes[0] == Reason.NO_CHANGE
    assert [Reason(row["reason"]).name for row in of_kind(result, RecordKind.FILL)] == ["FILLED", "RUN_ENDED"]
    with pytest.raises(ReplayError, match=r"no close of R is known"):
        Session(dataset, table(propose(1, Action.TARGET, weight=0.5)), chosen).run()


def test_a_currency_without_a_source_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"account\.conversion: prices in JPY"):
        Session(market({"A": RISE}), table(propose(1)), settings(4, instruments=(yen(),)))


def test_inverse_contracts_are_not_converted() -> None:
    with pytest.raises(DatasetError, match=r"inverse contract.*nothing is converted"):
        Session(market({"A": RISE}), table(propose(1)), settings(4, instruments=(yen(kind="inverse_perp"),), conversions=ITSELF))


@pytest.fixture(scope="module")
def replayed() -> ReplayResult:
    chosen = settings(4, instruments=(yen(),), conversions=ITSELF, strategies=(strategy(SizeKind.FIXED_QTY, 1_000.0),), leverage=25.0)
    return Session(market({"A": RISE}), table(propose(1)), chosen).run()


def verified(result: ReplayResult, records: Any) -> int:
    return verify_ledger(Ledger(records, result.symbols, result.strategies, ledger_header(result))).final_equity


def test_the_verifier_recomputes_the_conversion_from_the_ledger_alone(replayed: ReplayResult) -> None:  # R6.4 R11
    assert verified(replayed, replayed.records) == 100_990


def test_the_verifier_notices_another_rate_and_a_missing_one(replayed: ReplayResult) -> None:  # R11
    other = replayed.records.copy()
    other["value"][np.flatnonzero(other["kind"] == RecordKind.CONVERSION)[-1]] = 1 / 150.0
    with pytest.raises(LedgerError, match="recomputed 1000"):
        verified(replayed, other)
    wrong = replayed.records.copy()
    wrong["value"][wrong["kind"] == RecordKind.CONVERSION] = 0.0
    with pytest.raises(LedgerError, match="no rate of conversion"):
        verified(replayed, wrong)
    plain = replace(replayed, settings=replace(replayed.settings, instruments=(replace(yen(), quote=""),)))
    with pytest.raises(LedgerError, match="quoted in the currency of the account"):
        verified(plain, replayed.records)


def test_the_account_s_own_currency_writes_no_rates() -> None:
    result = agreed_replay(market({"A": [FLAT] * 4}), table(propose(1)), settings(4))
    assert not of_kind(result, RecordKind.CONVERSION)


def test_a_session_shows_profits_in_account_money() -> None:
    chosen = settings(4, instruments=(yen(),), conversions=ITSELF, strategies=(strategy(SizeKind.FIXED_QTY, 1_000.0),), leverage=25.0)
    session = Session(market({"A": RISE}), table(propose(1)), chosen)
    session.advance(at(3))
    (held,) = session.view.positions
    assert (held.cost, held.value, held.unrealised) == (15_000_000, 15_150_000, 990)  # yen, yen, dollars
    assert session.view.equity == 100_990


def test_tiers_of_fees_count_what_was_traded_in_the_account_s_currency() -> None:  # R2.6
    tiers = (FeeTier(0.0, 0.0, 0.0), FeeTier(5_000.0, 0.0, 100.0))  # each fill is 150,000 yen, a thousand dollars
    result = dollars(RISE, propose(1), fee_tiers=tiers)
    assert [row["fee"] for row in of_kind(result, RecordKind.FILL)] == [0, 0]


@pytest.mark.parametrize("action", [LONG, SHORT])
def test_yen_at_the_limit_of_money_stop_the_run_whatever_they_are_worth(action: Action) -> None:  # R6.3
    """2**20 units of 2**33 yen are 2**53, though at 2**-10 dollars each they would be 2**43."""
    held: dict[str, Any] = {
        "instruments": (yen(kind="equity", shortable=True, tick=Decimals(1, 1)),),
        "strategies": (strategy(SizeKind.FIXED_QTY, float(2**20)),),
        "cash": 2**50,
        "decimals": 0,
    }
    side = 1 if action == LONG else -1

    def path(price: float) -> list[int]:
        return dollars([flat(1.0), flat(1.0), flat(price), flat(1.0)], propose(1, action), rates=[flat(2.0**-10)] * 4, **held).equity

    assert path(2.0**33 - 1) == [2**50, 2**50, 2**50 + side * (2**43 - 2**10 - 2**10), 2**50]
    with pytest.raises(ReplayError, match="overflows"):
        path(2.0**33)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize(("limit", "why"), [({}, Reason.INSUFFICIENT_CASH), ({"max_position": 1.0}, Reason.MAX_POSITION)])
def test_nothing_pays_for_yen_beyond_the_limit_of_money(limit: Row, why: Reason, clip: bool) -> None:  # R5.2 R6.3
    """2**22 units of 2**32 yen are 2**54, though at 2**-10 dollars each they would be 2**44; half of them less one are no 2**53."""
    chosen: dict[str, Any] = {
        "instruments": (yen(kind="equity", tick=Decimals(1, 1)),),
        "strategies": (strategy(SizeKind.FIXED_QTY, float(2**22)),),
        "cash": 2**50,
        "decimals": 0,
        "clip": clip,
    }
    result = dollars([flat(2.0**32)] * 4, propose(1), rates=[flat(2.0**-10)] * 4, **(chosen | limit))
    assert [row["qty"] for row in of_kind(result, RecordKind.FILL)] == ([2**21 - 1] * 2 if clip else [])
    assert [Reason(row["reason"]) for row in of_kind(result, RecordKind.REJECTED)] == ([] if clip else [why])
