"""Futures worked by hand: daily settlement into cash, expiry, and accounts that add up.  # R1.2 R6.2 R6.4"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset import from_columns
from engine.instrument import margin_tiers
from engine.invariants import check
from engine.ledger import Ledger, LedgerError, ledger_header
from engine.round_trips import fold
from engine.schema import Action, EventKind, MarginMode, OnHeld, Reason, RecordKind, SizeKind
from engine.session import ReplayResult, Session
from engine.settings import Conversion, FeeTier, HaltLimits, StrategySettings
from engine.verify import verify_ledger
from pipeline.trades import trades_of, unrealised
from tests.differential import agreed_replay
from tests.market_changes import run, unlimited, untargeted
from tests.markets import Case, random_case
from tests.oracle.examples import HOUR, SHORT, Row, at, fills, instrument, market, of_kind, propose, reasons, settings, table
from tests.oracle.replay import OracleResult

STEPS = [(100.0 + hour // 10,) * 4 for hour in range(80)]  # 1 more every ten hours


def future(**changes: Any) -> Any:
    return instrument(kind="future", **changes)


def case(*rows: Row, bars: Any = STEPS, contract: Any = None, data: Any = None, **changes: Any) -> Case:
    """Three contracts an entry."""
    chosen = settings(len(bars), instruments=(contract or future(),), **changes)
    return Case(market({"A": bars}, **(data or {})), table(*rows), chosen)


def replayed(*rows: Row, **changes: Any) -> OracleResult:
    return agreed_replay(*case(*rows, **changes))


def settled(result: OracleResult) -> list[tuple[float, float, int]]:
    """(hour, price, money) of each settlement."""
    return [((row["ts"] - at(0)) / HOUR, row["price"], row["amount"]) for row in of_kind(result, RecordKind.SETTLEMENT)]


def test_what_a_day_brought_goes_into_cash_and_the_rest_at_the_exit() -> None:  # R6.2 R6.4
    result = replayed(propose(5), propose(55, Action.EXIT))
    assert fills(result) == [(5, 100.0, "FILLED"), (55, 105.0, "SIGNAL")]
    assert settled(result) == [(24, 102.0, 600), (48, 104.0, 600)]
    assert [row["amount"] for row in of_kind(result, RecordKind.POSITION)] == [0, 300]
    assert [row["cash"] for row in of_kind(result, RecordKind.SETTLEMENT)] == [100_600, 101_200]
    assert all(row["phase"] == EventKind.SETTLEMENT for row in of_kind(result, RecordKind.SETTLEMENT))
    assert result.final_equity == 100_000 + 3 * 500


def test_settlement_moves_no_equity_and_no_level() -> None:  # R5.3 R6.4
    bars = [*STEPS[:50], (105.0, 105.0, 94.0, 94.0), *[(94.0,) * 4] * 20]
    rows = (propose(5, stop_loss=95.0, take_profit=130.0),)
    plain, contract = (replayed(*rows, bars=bars, contract=one) for one in (instrument(), future()))
    assert plain.equity == contract.equity
    assert fills(plain) == fills(contract) == [(5, 100.0, "FILLED"), (51, 95.0, "STOP_LOSS")]


def test_the_time_of_day_is_the_contracts_and_the_mark_is_that_of_its_close() -> None:  # R1.2 R6.5
    marks = {("A", "1h", HOUR): {"open_ts": [at(15)], "ts": [at(16)], **{name: [90.0] for name in ("open", "high", "low", "close")}}}
    dataset = market({"A": STEPS})
    tables: dict[str, Any] = {"bars": {("A", "1h", HOUR): dataset.view("bars", dataset.series["bars"][0])}, "marks": marks}
    chosen = settings(len(STEPS), instruments=(future(settlement=16 * HOUR),))
    result = agreed_replay(from_columns(tables), table(propose(5)), chosen)
    assert settled(result)[:2] == [(16, 90.0, -3_000), (40, 103.0, 3_900)]


def test_a_settlement_between_bars_and_on_days_without_bars_takes_the_last_mark() -> None:  # R6.5 R8.5
    dataset = market({"A": STEPS})
    columns = dataset.view("bars", dataset.series["bars"][0])
    gap = from_columns({"bars": {("A", "1h", HOUR): {name: column[[*range(20), *range(70, 80)]] for name, column in columns.items()}}})
    result = agreed_replay(gap, table(propose(5)), settings(80, instruments=(future(settlement=HOUR // 2),)))
    assert settled(result) == [(24.5, 101.0, 300), (48.5, 101.0, 0), (72.5, 107.0, 1_800)]


def test_only_what_is_held_by_the_settlement_settles() -> None:  # R1.3
    assert settled(replayed(propose(24), propose(47, Action.EXIT))) == []  # opened at the open of that instant
    assert settled(replayed(propose(23), propose(24, Action.EXIT))) == [(24, 102.0, 0)]  # leaves by the open that follows
    inside = [*STEPS[:23], (102.0, 102.0, 98.0, 102.0), *STEPS[24:40]]
    assert settled(replayed(propose(20, order_type=1, limit_price=99.0), bars=inside)) == [(24, 102.0, 900)]
    assert settled(replayed(propose(5, stop_loss=99.0), bars=inside)) == []


def test_a_short_is_settled_against_it_and_adds_and_parts_count_from_the_last_mark() -> None:  # R4.3 R6.4
    assert settled(replayed(propose(5, SHORT)))[0] == (24, 102.0, -600)
    adds = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=3.0, on_held=OnHeld.ADD),)
    result = replayed(propose(5), propose(35), strategies=adds)
    assert settled(result) == [(24, 102.0, 600), (48, 104.0, 6 * 400 - 6 * 200 - 300), (72, 107.0, 1_800)]
    turns = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=3.0, on_held=OnHeld.REVERSE),)
    reversed_ = replayed(propose(5), propose(35, SHORT), strategies=turns)
    assert settled(reversed_) == [(24, 102.0, 600), (48, 104.0, -300), (72, 107.0, -900)]


def test_a_split_scales_the_mark_and_leaves_the_account_exact() -> None:  # R8.1
    halved = [(price / 2 if hour >= 30 else price,) * 4 for hour, (price, *_) in enumerate(STEPS)]
    split = {"actions": {"A": {"ts": [at(30)], "kind": [0], "value": [0.0], "num": [2], "den": [1]}}}
    result = replayed(propose(5), bars=halved, data=split)
    assert settled(result) == [(24, 102.0, 600), (48, 52.0, 600), (72, 53.5, 900)]


def expiring(hour: float, *rows: Row, **changes: Any) -> OracleResult:
    return replayed(*rows, contract=future(expiry=at(hour)), **changes)


def test_a_contract_closes_at_its_mark_when_it_expires_without_a_fee() -> None:  # R6.2
    result = expiring(50, propose(5), propose(60), taker_bps=10.0)
    assert fills(result) == [(5, 100.0, "FILLED"), (50, 104.0, "EXPIRED")]
    last = of_kind(result, RecordKind.FILL)[-1]
    assert (last["fee"], last["phase"]) == (0, EventKind.SETTLEMENT)
    assert result.records[last["cause"]]["kind"] == RecordKind.POSITION
    assert settled(result) == [(24, 102.0, 600), (48, 104.0, 600)]
    assert reasons(result, RecordKind.REJECTED) == [(1, "NOT_IN_UNIVERSE")]
    assert result.final_equity == 100_000 + 1_200 - 30


def test_expiry_takes_the_place_of_that_days_settlement() -> None:
    result = expiring(48, propose(5))
    assert settled(result) == [(24, 102.0, 600)]
    assert fills(result)[-1] == (48, 104.0, "EXPIRED")


def test_pending_orders_of_an_expired_contract_end() -> None:  # R6.2
    result = expiring(50, propose(49.0, order_type=1, limit_price=50.0))
    cancelled = of_kind(result, RecordKind.CANCELLED)
    assert [(row["ts"], Reason(row["reason"]).name, row["phase"]) for row in cancelled] == [(at(50), "EXPIRED", EventKind.SETTLEMENT)]
    late = expiring(50, propose(5), propose(49, Action.EXIT), latency_us=2 * HOUR)
    assert [(row["ts"], Reason(row["reason"]).name) for row in of_kind(late, RecordKind.CANCELLED)] == [(at(50), "POSITION_CLOSED")]
    between = expiring(50.5, propose(5), propose(50, Action.EXIT))
    assert fills(between)[-1] == (50, 104.0 + 1.0, "SIGNAL")  # the open of the hour before


def test_a_contract_that_expired_before_the_start_is_not_traded() -> None:
    result = expiring(-30, propose(5))
    assert reasons(result, RecordKind.REJECTED) == [(0, "NOT_IN_UNIVERSE")]


def test_expiries_count_for_no_fee_tier() -> None:  # R2.6
    tiers = (FeeTier(0.0, 0.0, 10.0), FeeTier(500.0, 0.0, 1.0))
    two = settings(80, symbols="AB", instruments=(future(expiry=at(20)), instrument("B")), fee_tiers=tiers)
    dataset = market({"A": STEPS, "B": STEPS})
    result = agreed_replay(dataset, table(propose(5), propose(30, symbol="B"), propose(40, Action.EXIT, symbol="B")), two)
    assert [row["fee"] for row in of_kind(result, RecordKind.FILL)] == [30, 0, 31, 3]


def test_a_cross_liquidation_comes_at_the_same_price_however_often_it_was_settled() -> None:  # R7.3
    bars = [*STEPS[:60], (106.0, 106.0, 20.0, 20.0), *[(20.0,) * 4] * 10]
    tiers = margin_tiers([(0, 0.02)])
    found = [
        fills(
            replayed(
                propose(5),
                bars=bars,
                contract=one,
                leverage=20.0,
                strategies=(StrategySettings("s", size=SizeKind.FIXED_QTY, amount=30.0),),
            )
        )
        for one in (instrument(maintenance=tiers), future(maintenance=tiers))
    ]
    assert found[0] == found[1]
    assert found[0][-1][2] == "LIQUIDATED"


def test_an_isolated_position_counts_its_margin_from_the_last_settlement() -> None:  # R7.2 R7.3
    bars = [*STEPS[:60], (106.0, 106.0, 90.0, 90.0), *[(90.0,) * 4] * 10]
    tiers = margin_tiers([(0, 0.0)])
    plain, daily = (
        fills(replayed(propose(5), bars=bars, contract=one(maintenance=tiers), leverage=10.0, margin=MarginMode.ISOLATED))
        for one in (instrument, future)
    )
    assert plain[-1][1:] == (90.0, "LIQUIDATED")  # 100 less a tenth
    assert daily[-1][1:] == (94.0, "LIQUIDATED")  # 104, where it was settled last, less the same 10


def test_settlements_are_profit_of_their_strategy() -> None:  # R5.3
    falls = [(100.0 - min(hour, 40),) * 4 for hour in range(80)]
    halts = HaltLimits(losses=1)
    result = replayed(propose(5), propose(49, Action.EXIT), bars=falls, strategy_halts=halts)
    assert of_kind(result, RecordKind.POSITION)[-1]["amount"] == 0  # all of the loss had been settled
    assert [Reason(row["reason"]).name for row in of_kind(result, RecordKind.RISK_ALERT)] == ["CONSECUTIVE_LOSSES"]


def ledger_of(result: ReplayResult, **changes: Any) -> Ledger:
    records = result.records.copy()
    seq = int(np.flatnonzero(records["kind"] == RecordKind.SETTLEMENT)[0])
    for name, value in changes.items():
        records[name][seq] = value
    return Ledger(records, result.symbols, result.strategies, ledger_header(result))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"amount": 599}, "settlement"),
        ({"price": 103.0}, "settlement"),
        ({"ts": at(23)}, "settles then"),
        ({"qty": 2}, "lots"),
        ({"cause": 0}, "follows"),
    ],
)
def test_the_verifier_settles_by_itself(changes: dict[str, Any], said: str) -> None:  # R6.4
    result = Session(*case(propose(5), contract=future(expiry=at(60)))).run()
    totals = verify_ledger(ledger_of(result))
    assert (totals.realised, totals.final_equity) == (1_500, 101_500)
    with pytest.raises(LedgerError, match=said):
        verify_ledger(ledger_of(result, **changes))


def test_a_fill_after_the_expiry_is_told() -> None:
    result = Session(*case(propose(5), contract=future(expiry=at(60)))).run()
    header = ledger_header(result)
    header["instruments"]["A"]["expiry"] = at(59)
    with pytest.raises(LedgerError, match="expires at"):
        verify_ledger(Ledger(result.records, result.symbols, result.strategies, header))


@pytest.mark.parametrize(
    ("row", "low", "left"),
    [
        (propose(5, stop_loss=95.0), 90.0, "STOP_LOSS"),
        (propose(20, order_type=1, limit_price=91.0), 90.0, "EXPIRED"),
        (propose(5), 1.0, "LIQUIDATED"),
    ],
)
def test_what_the_last_bar_reaches_comes_before_the_end_and_is_verified(row: Row, low: float, left: str) -> None:  # R1.2
    bars = [*STEPS[:49], (104.0, 104.0, low, 104.0), *STEPS[50:]]
    contract, sized = (
        future(expiry=at(50), maintenance=margin_tiers([(0, 0.02)])),
        (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=30.0),),
    )
    one = case(row, bars=bars, contract=contract, leverage=20.0, strategies=sized)
    assert (fills(agreed_replay(*one))[-1][0], fills(agreed_replay(*one))[-1][2]) == (50, left)
    result = Session(*one).run()
    check(result)
    ledger = Ledger(result.records, result.symbols, result.strategies, ledger_header(result))
    assert verify_ledger(ledger).final_equity == result.final_equity
    late = result.records.copy()
    late["phase"][np.flatnonzero(late["kind"] == RecordKind.FILL)[-1]] = EventKind.BAR_OPEN
    with pytest.raises(LedgerError, match="expires at"):
        verify_ledger(replace(ledger, records=late))


@pytest.mark.parametrize(("expiry", "kind"), [(None, RecordKind.SETTLEMENT), (at(60), RecordKind.SETTLEMENT), (at(20), RecordKind.FILL)])
def test_a_settlement_or_an_end_that_is_missing_or_off_the_mark_is_told(expiry: int | None, kind: RecordKind) -> None:
    result = Session(*case(propose(5), contract=future(expiry=expiry))).run()
    check(result)
    seq = int(np.flatnonzero(result.records["kind"] == kind)[-1])
    moved = result.records.copy()
    moved["price"][seq] += 0.1
    with pytest.raises(LedgerError, match="is not the mark"):
        check(replace(result, records=moved))
    missing = result.records.copy()
    missing["kind"][seq], missing["position"][seq:] = RecordKind.LEVELS, 3
    with pytest.raises(LedgerError, match="did not settle or end"):
        check(replace(result, records=missing))


@given(st.integers(0, 2**32 - 1))
def test_a_future_that_never_expires_earns_what_a_perpetual_does(seed: int) -> None:  # R6.2 R6.4
    """Settlement changes when cash moves, and nothing else: same fills, same equity path, and trades that add up exactly."""
    one = untargeted(random_case(seed))
    series = {kind: group for kind, group in one.dataset.series.items() if kind != "funding"}  # which a future does not pay
    one, found = one._replace(dataset=replace(one.dataset, series=series)), []
    for kind in ("linear_perp", "future"):
        contracts = tuple(replace(each, kind=kind, quote="", expiry=None) for each in unlimited(one.settings).instruments)
        whole = replace(unlimited(one.settings), instruments=contracts, margin=MarginMode.CROSS, interest=(), conversions=())
        found.append(run(one._replace(settings=whole)))
    plain, daily = found
    assert plain.equity.tolist() == daily.equity.tolist()
    names = ["ts", "qty", "price", "fee", "side", "symbol", "strategy"]
    told = [[tuple(row) for row in each.records[each.records["kind"] == RecordKind.FILL][names].tolist()] for each in found]
    assert told[0] == told[1]
    ledger = Ledger(daily.records, daily.symbols, daily.strategies, ledger_header(daily))
    assert verify_ledger(ledger).final_equity == daily.final_equity
    trades, _ = trades_of(daily.records, len(daily.symbols), len(daily.strategies))
    left = unrealised(daily.records, trades, daily.tape, daily.settings.scale)
    assert int(trades["pnl"].sum() + left.sum()) == daily.final_equity - daily.settings.cash
    assert [trip.pnl for trip in fold(ledger).trips] == trades["pnl"].tolist()


def test_a_settlement_in_another_currency_is_converted_at_the_rate_of_its_instant() -> None:  # R6.2 R6.4
    level = [100.0] * 10 + [101.0] * 16 + [100.0] * 14
    rate = [0.01] * 20 + [0.02] * 20
    dataset = market({"A": [(price,) * 4 for price in level], "R": [(price,) * 4 for price in rate]})
    sized = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=1_000.0),)
    yen = {"instruments": (future(quote="JPY"),), "conversions": (Conversion("JPY", "R"),), "strategies": sized, "leverage": 10.0}
    one = Case(dataset, table(propose(5), propose(30, Action.EXIT)), settings(40, **yen))
    result = agreed_replay(*one)
    assert settled(result) == [(24, 101.0, 2_000)]  # 1,000 yen at 0.02
    assert of_kind(result, RecordKind.POSITION)[-1]["amount"] == -2_000  # and back again
    kinds = [row["kind"] for row in result.records if row["ts"] == at(24)]
    assert kinds == [RecordKind.CONVERSION, RecordKind.SETTLEMENT]
    assert result.final_equity == 100_000
    totals = verify_ledger(ledger_of(Session(*one).run()))
    assert (totals.realised, totals.final_equity) == (0, 100_000)
