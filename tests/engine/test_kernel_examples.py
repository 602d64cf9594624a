"""The compiled replay on examples worked by hand: the gate, selection, halts, the universe, timing, money that overflows."""

import math
from typing import Any

import pytest

from engine.dataset import Dataset
from engine.schema import NEVER, Action, Intrabar, LevelKind, LimitGap, Reason, RecordKind, SizeKind, Timing
from engine.session import ReplayError, Session, replay
from tests.differential import FIELDS
from tests.oracle.examples import (
    FLAT,
    HOUR,
    SHORT,
    Candles,
    Row,
    at,
    fills,
    instrument,
    market,
    of_kind,
    propose,
    reasons,
    settings,
    strategy,
    table,
)
from tests.oracle.replay import OracleResult
from tests.oracle.replay import replay as plain_replay

APPROVED, FILL, REJECTED, CANCELLED = RecordKind.APPROVED, RecordKind.FILL, RecordKind.REJECTED, RecordKind.CANCELLED


def replayed(dataset: Dataset, *rows: Row, bars: int, **changes: Any) -> OracleResult:
    """The compiled replay, which must also be the plain one's."""
    result = replay(dataset, table(*rows), settings(bars, **changes))
    records = [dict(zip(FIELDS, record, strict=True)) for record in result.records.tolist()]
    plain = plain_replay(dataset, table(*rows), settings(bars, **changes))
    assert records == [{name: record[name] for name in FIELDS} for record in plain.records]
    return OracleResult(records, result.sample_ts.tolist(), result.equity.tolist(), result.outcomes.tolist(), result.final_equity)


def one_symbol(candles: Candles, *rows: Row, data: dict[str, Any] | None = None, **changes: Any) -> OracleResult:
    return replayed(market({"A": candles}, **(data or {})), *rows, bars=len(candles), **changes)


def test_the_chain_from_proposal_to_position_and_its_money() -> None:  # R6.2 R6.4 R11.1
    # buys 3 at 110, fee 10 bp of 330 = 0.33; sold at the close of 111: fee 0.33
    result = one_symbol([FLAT, (110, 112, 108, 111)], propose(1), taker_bps=10.0)
    names = [RecordKind(record["kind"]).name for record in result.records]
    assert names == ["DEPOSIT", "PROPOSAL", "SELECTED", "APPROVED", "ORDER", "FILL", "POSITION", "FILL", "POSITION", "RUN_END"]
    assert [record["cause"] for record in result.records] == [-1, -1, 1, 2, 3, 4, 5, 6, 7, -1]
    assert [record["amount"] for record in of_kind(result, FILL)] == [-33, 300 - 33]
    assert result.equity == [100_000, 100_000 - 33 + 300]
    assert result.final_equity == 100_000 + 300 - 66


@pytest.mark.parametrize(
    ("limit", "reason", "lots"),
    [
        ({"max_position": 0.25}, "MAX_POSITION", 2),
        ({"max_position": 0.0999}, "MAX_POSITION", 0),
        ({"max_gross": 0.1}, "MAX_GROSS", 1),
        ({"max_gross": 0.0}, "MAX_GROSS", 0),
        ({"max_net": 0.2}, "MAX_NET", 2),
        ({"max_net": 0.05}, "MAX_NET", 0),
        ({"cash_buffer": 0.85}, "CASH_BUFFER", 1),
        ({"cash_buffer": 0.95}, "CASH_BUFFER", 0),
        ({"leverage": 0.5}, "INSUFFICIENT_MARGIN", 0),
    ],
)
def test_a_limit_clips_to_whole_lots_or_refuses(limit: Row, reason: str, lots: int) -> None:  # R5.2
    # three lots of 100 wanted from an equity of 1000; at leverage 1/2 six of them
    size = {"strategies": (strategy(SizeKind.FIXED_QTY, 6.0),)} if "leverage" in limit else {}
    clipped = one_symbol([FLAT, FLAT], propose(1), **limit, **size)
    refused = one_symbol([FLAT, FLAT], propose(1), clip=False, **limit, **size)
    assert reasons(refused, REJECTED) == [(0, reason)]
    if lots:
        assert of_kind(clipped, APPROVED)[0]["qty"] == lots
    else:
        assert (reasons(clipped, REJECTED) == [(0, reason)]) == ("leverage" not in limit)


def test_spot_that_cash_does_not_cover_is_clipped_or_refused() -> None:  # R5.2
    spot: Row = {"instruments": (instrument(kind="spot"),), "strategies": (strategy(SizeKind.FIXED_QTY, 12.0),)}
    assert of_kind(one_symbol([FLAT, FLAT], propose(1), **spot), APPROVED)[0]["qty"] == 10
    assert reasons(one_symbol([FLAT, FLAT], propose(1), clip=False, **spot), REJECTED) == [(0, "INSUFFICIENT_CASH")]


def test_net_exposure_limits_its_own_side_and_gross_both() -> None:  # R5.2 R6.1
    two = (strategy(SizeKind.FIXED_QTY, 3.0), strategy(SizeKind.FIXED_QTY, 3.0, name="t"))
    rows = [propose(1, score=2.0), propose(1, SHORT, strategy="t")]
    net = one_symbol([FLAT, FLAT], *rows, strategies=two, max_net=0.3)
    gross = one_symbol([FLAT, FLAT], *rows, strategies=two, max_gross=0.5)
    assert [record["qty"] for record in of_kind(net, APPROVED)] == [3, 3]
    assert [record["qty"] for record in of_kind(gross, APPROVED)] == [3, 2]


@pytest.mark.parametrize(
    ("amount", "changes", "reason"),
    [
        (0.0, {}, "NO_SIZE"),
        (-1.0, {}, "NO_SIZE"),
        (math.nan, {}, "NO_SIZE"),
        (0.99, {}, "BELOW_MIN_QTY"),
        (2.0, {"min_qty": 2.5}, "BELOW_MIN_QTY"),
        (2.0, {"min_notional": 200.01}, "BELOW_MIN_NOTIONAL"),
        (2.0, {"min_notional": 200.0, "min_qty": 2.0}, None),
    ],
)
def test_what_is_too_small_is_refused_with_its_reason(amount: float, changes: Row, reason: str | None) -> None:  # R2.7 R5.1
    size = (strategy(SizeKind.FIXED_QTY, amount),)
    result = one_symbol([FLAT, FLAT], propose(1), strategies=size, instruments=(instrument(**changes),))
    assert reasons(result, REJECTED) == ([(0, reason)] if reason else [])


@pytest.mark.parametrize(("stop", "kind"), [(math.nan, 0), (99.95, 0), (101.0, 0), (-0.05, 1), (1.5, 1), (0.0, 0)])
def test_fixed_risk_refuses_a_stop_it_cannot_size_on(stop: float, kind: int) -> None:  # R5.1
    size = (strategy(SizeKind.FIXED_RISK, 0.01),)
    result = one_symbol([FLAT, FLAT], propose(1, stop_loss=stop, stop_loss_kind=kind), strategies=size)
    assert reasons(result, REJECTED) == [(0, "BAD_STOP")]


@pytest.mark.parametrize(("cash", "lots"), [(100_000, 7), (7_000, 0)])
def test_all_in_keeps_to_budget_and_buffer(cash: int, lots: int) -> None:  # R5.1
    # 7 lots cost 707 with the fee; the budget is 750
    result = one_symbol([FLAT, FLAT], propose(1), strategies=(strategy(SizeKind.ALL_IN, 0.0, 0.75),), taker_bps=100.0, cash=cash)
    assert [record["qty"] for record in of_kind(result, APPROVED)] == ([lots] if lots else [])
    assert reasons(result, REJECTED) == ([] if lots else [(0, "NO_SIZE")])


def test_ties_in_score_go_by_symbol_strategy_and_sequence() -> None:  # R4.2
    symbols = {name: [FLAT, FLAT] for name in ("B", "a", "A", "Ä")}
    two = (strategy(SizeKind.FIXED_QTY, 1.0, name="t"), strategy(SizeKind.FIXED_QTY, 1.0, name="s"))
    rows = [propose(1, symbol=symbol, strategy=name) for symbol in ("Ä", "a", "B", "A") for name in ("t", "s")]
    instruments = tuple(instrument(name) for name in symbols)
    result = replayed(market(symbols), *rows, bars=2, strategies=two, instruments=instruments, max_positions=5)
    selected = [(record["symbol"], record["strategy"], record["rank"]) for record in of_kind(result, RecordKind.SELECTED)]
    assert selected == [(0, 0, 1), (0, 1, 2), (1, 0, 3), (1, 1, 4), (2, 0, 5)]
    assert [record["rank"] for record in of_kind(result, REJECTED)] == [6, 7, 8]


def test_of_equals_the_best_stays_and_of_ties_the_first() -> None:  # R4.1
    rows = [propose(1, score=1.0), propose(1, score=3.0), propose(1, score=3.0), propose(1, score=2.0)]
    result = one_symbol([FLAT, FLAT], *rows)
    assert reasons(result, REJECTED) == [(0, "DUPLICATE"), (2, "DUPLICATE"), (3, "DUPLICATE")]
    assert [record["proposal"] for record in of_kind(result, APPROVED)] == [1]


def test_entries_drop_out_for_their_first_reason() -> None:  # R4.1
    universe = {"universe": {"A": {"ts": [at(0), at(2), at(3)], "listed": [1, 0, 1]}}}
    rows = [
        propose(0.5, score=math.nan),  # no bar closed yet either
        propose(1, score=0.25),
        propose(2),
        propose(3, ts=at(0) - 1, available_ts=at(3)),
        propose(4, SHORT),
        propose(4, score=math.nan),
        propose(4),
    ]
    result = one_symbol([FLAT] * 5, *rows, data=universe, min_score=0.5)
    assert reasons(result, REJECTED) == [
        *((0, "INVALID"), (1, "BELOW_MIN_SCORE"), (2, "NOT_IN_UNIVERSE"), (3, "WARMUP")),
        *((4, "CONFLICT"), (5, "INVALID"), (6, "CONFLICT")),
    ]


def test_repeats_are_counted_and_not_recorded() -> None:  # R5.4
    rows = [propose(1, Action.EXIT), propose(1), propose(1.5), propose(2.5), propose(2.5, Action.EXIT_SHORT), propose(2.6, Action.EXIT)]
    result = one_symbol([FLAT] * 4, *rows, propose(2.7, Action.EXIT_LONG))
    assert result.outcomes == [
        *(Reason.NOT_HELD, 0, Reason.ALREADY_HELD, Reason.ALREADY_HELD),
        *(Reason.NOT_HELD, 0, Reason.ALREADY_PENDING),
    ]
    late = one_symbol([FLAT] * 4, propose(1), propose(1.5), latency_us=HOUR)
    assert late.outcomes == [0, Reason.ALREADY_PENDING]


@pytest.mark.parametrize(("hour", "refused"), [(23, True), (23.999, True), (24, False), (25, False)])
def test_a_daily_loss_stops_entries_until_midnight(hour: float, refused: bool) -> None:  # R5.3
    # 3 lots fall from 100 to 60 in the bar that closes at 3: 120 of 1000 lost; a close at 00:00 belongs to the day that ends
    candles = [FLAT, FLAT, (100, 100, 60, 60), *[(60.0, 60.0, 60.0, 60.0)] * 24]
    two = (strategy(SizeKind.FIXED_QTY, 3.0), strategy(SizeKind.FIXED_QTY, 1.0, name="t"))
    result = one_symbol(candles, propose(1), propose(hour, strategy="t"), strategies=two, daily_loss_halt=0.12)
    (alert,) = of_kind(result, RecordKind.RISK_ALERT)
    assert (alert["ts"], alert["amount"], alert["value"], alert["reason"]) == (at(3), 88_000, 0.12, Reason.DAILY_LOSS)
    assert reasons(result, REJECTED) == ([(1, "HALTED")] if refused else [])


@pytest.mark.parametrize(("resume", "hour", "refused"), [(NEVER, 6, True), (2 * HOUR, 4.9, True), (2 * HOUR, 5, False)])
def test_a_drawdown_stops_entries_and_cancels_what_is_pending(resume: int, hour: float, refused: bool) -> None:  # R5.3
    candles = [FLAT, FLAT, (100, 100, 60, 60), *[(60.0, 60.0, 60.0, 60.0)] * 5]
    two = (strategy(SizeKind.FIXED_QTY, 3.0), strategy(SizeKind.FIXED_QTY, 1.0, name="t"))
    rows = [propose(1), propose(2.5, strategy="t", available_ts=at(2.5)), propose(hour, strategy="t")]
    result = one_symbol(candles, *rows, strategies=two, drawdown_halt=0.1, resume_after_us=resume)
    (alert,) = of_kind(result, RecordKind.RISK_ALERT)
    assert (alert["ts"], alert["amount"], alert["value"], alert["reason"]) == (at(3), 88_000, 0.12, Reason.DRAWDOWN)
    assert [(row["reason"], row["cause"] == result.records.index(alert)) for row in of_kind(result, CANCELLED)] == [(Reason.HALTED, True)]
    assert reasons(result, REJECTED) == ([(2, "HALTED")] if refused else [])


@pytest.mark.parametrize(
    ("close", "expected"), [(True, [(1, 100.0, "FILLED"), (3, 100.0, "LEFT_UNIVERSE")]), (False, [(1, 100.0, "FILLED")])]
)
def test_what_leaves_the_universe_is_closed_at_the_next_open_or_kept(close: bool, expected: list[tuple[float, float, str]]) -> None:  # R8.3
    universe = {"universe": {"A": {"ts": [at(0), at(2.5)], "listed": [1, 0]}}}
    result = one_symbol([FLAT] * 5, propose(1), data=universe, close_on_leave=close, finalize_close=False, timing=Timing.NEXT_OPEN)
    assert fills(result) == expected


def test_an_entry_pending_when_its_symbol_leaves_is_cancelled() -> None:  # R8.3
    universe = {"universe": {"A": {"ts": [at(0), at(1.5), at(1.6)], "listed": [1, 1, 0]}}}
    result = one_symbol([FLAT] * 4, propose(1), data=universe, latency_us=HOUR)
    assert reasons(result, CANCELLED) == [(0, "NOT_IN_UNIVERSE")]
    assert of_kind(result, FILL) == []


@pytest.mark.parametrize(
    ("timing", "latency", "expected"),
    [
        (Timing.NEXT_OPEN, 0, [(1, 101.0), (4, 104.0)]),
        (Timing.NEXT_OPEN, 1, [(2, 102.0), (5, 105.0)]),
        (Timing.CLOSE, 0, [(1, 100.5), (4, 103.5)]),
        (Timing.NEXT_CLOSE, 0, [(2, 101.5), (5, 104.5)]),
        (Timing.NEXT_CLOSE, HOUR, [(3, 102.5), (6, 105.5)]),
    ],
)
def test_timing_and_latency_name_the_price_of_entry_and_exit(timing: Timing, latency: int, expected: list[tuple[float, float]]) -> None:
    candles = [(100.0 + i, 102.0 + i, 99.0 + i, 100.5 + i) for i in range(7)]  # R2.3
    result = one_symbol(candles, propose(1), propose(4, Action.EXIT), timing=timing, latency_us=latency)
    assert fills(result) == [(*fill, reason) for fill, reason in zip(expected, ("FILLED", "SIGNAL"), strict=True)]


@pytest.mark.parametrize("action", [Action.ENTER_LONG, SHORT])
@pytest.mark.parametrize(
    ("level", "price", "reason"),
    [
        ({"stop_loss": 0.05}, 95.0, "STOP_LOSS"),
        ({"take_profit": 0.05}, 105.0, "TAKE_PROFIT"),
        ({"trailing": 0.05}, 95.0, "TRAILING_STOP"),
    ],
)
def test_a_level_closes_the_position_at_its_price(action: Action, level: Row, price: float, reason: str) -> None:  # R3.2 R3.5
    (name,) = level
    fraction = {f"{name}_kind": int(LevelKind.FRACTION)}
    side = 1 if action == Action.ENTER_LONG else -1
    bar = (100.0, 104.0, 95.0, 100.0) if price < 100 else (100.0, 105.0, 96.0, 100.0)
    mirrored = (200 - bar[0], 200 - bar[2], 200 - bar[1], 200 - bar[3])
    result = one_symbol([FLAT, bar if side > 0 else mirrored, FLAT], propose(1, action, **level, **fraction))
    assert fills(result)[1] == (2, price if side > 0 else 200 - price, reason)


def test_a_trailing_distance_wider_than_the_price_is_no_stop_until_it_is_narrow_enough() -> None:  # R3.5
    candles = [FLAT, FLAT, (100, 160, 100, 160), (160, 160, 40, 100)]
    result = one_symbol(candles, propose(1, trailing=110.0))
    assert fills(result)[1] == (4, 50.0, "TRAILING_STOP")


@pytest.mark.parametrize(("gap", "price"), [(LimitGap.PRICE, 105.0), (LimitGap.OPEN, 108.0)])
def test_a_target_passed_by_the_open_is_a_maker(gap: LimitGap, price: float) -> None:  # R2.4 R2.5
    candles = [FLAT, FLAT, (108, 110, 107, 109)]
    result = one_symbol(candles, propose(1, take_profit=105.0), limit_gap=gap, maker_bps=100.0, default_spread_bps=0.0)
    assert fills(result)[1] == (2, price, "TAKE_PROFIT")
    assert of_kind(result, FILL)[1]["fee"] == round(3 * price)


def test_a_stop_passed_by_the_open_fills_there_and_both_levels_inside_go_by_the_policy() -> None:  # R1.3 R3.3
    gapped = one_symbol([FLAT, FLAT, (90, 120, 90, 100)], propose(1, stop_loss=95.0, take_profit=110.0), intrabar=Intrabar.OPTIMISTIC)
    both = one_symbol([FLAT, FLAT, (100, 120, 90, 100)], propose(1, stop_loss=95.0, take_profit=110.0), intrabar=Intrabar.OPTIMISTIC)
    assert fills(gapped)[1] == (2, 90.0, "STOP_LOSS")
    assert (fills(both)[1], of_kind(both, FILL)[1]["flags"] & 1) == ((3, 110.0, "TAKE_PROFIT"), 1)


@pytest.mark.parametrize("action", [Action.ENTER_LONG, SHORT])
@pytest.mark.parametrize("name", ["stop_loss", "take_profit", "trailing"])
@pytest.mark.parametrize("kind", list(LevelKind))
@pytest.mark.parametrize("level", [math.nan, math.inf, -math.inf])
def test_a_level_that_is_no_finite_number_is_none(action: Action, name: str, kind: LevelKind, level: float) -> None:  # R2.1
    result = one_symbol([FLAT, (100, 120, 80, 100), FLAT], propose(1, action, **{name: level, f"{name}_kind": int(kind)}))
    assert fills(result) == [(1, 100.0, "FILLED"), (3, 100.0, "RUN_ENDED")]


def test_ruin_closes_in_position_order_and_ends_the_run() -> None:  # R7.4
    # 90 lots at leverage 10 lose 11.2 each in the bar that closes at 3
    size = (strategy(SizeKind.FIXED_QTY, 90.0),)
    result = one_symbol([FLAT, FLAT, (100, 100, 80, 88.8), *[FLAT] * 3], propose(1), propose(4), strategies=size, leverage=10.0)
    assert fills(result) == [(1, 100.0, "FILLED"), (3, 88.8, "LIQUIDATED_AT_CLOSE")]
    assert (result.records[-1]["reason"], result.records[-1]["ts"]) == (Reason.BANKRUPT, at(3))
    assert result.equity == [100_000, 100_000, -800, -800, -800, -800]


def test_a_delisted_position_closes_at_its_last_close_less_the_haircut() -> None:  # R8.4
    gone = {"actions": {"A": {"ts": [at(2.5)], "kind": [2], "value": [0.0], "num": [0], "den": [0]}}}
    two = (strategy(SizeKind.FIXED_QTY, 3.0), strategy(SizeKind.FIXED_QTY, 2.0, name="t"))
    dataset = market({"A": [FLAT, FLAT], "B": [FLAT] * 5}, **gone)
    rows = [propose(1), propose(2.1, strategy="t")]
    result = replayed(dataset, *rows, bars=5, symbols="AB", strategies=two, delist_haircut=0.25, taker_bps=10.0)
    assert fills(result) == [(1, 100.0, "FILLED"), (2.5, 75.0, "DELISTED")]
    assert [record["fee"] for record in of_kind(result, FILL)] == [30, 0]
    assert reasons(result, CANCELLED) == [(1, "DELISTED")]


def test_money_that_float64_cannot_hold_stops_the_run_and_says_what_to_do() -> None:  # R6.3
    message = r"money of A overflows 2\^53 units at ledger record \d+; use fewer account decimals than 9, or smaller sizes"
    large: Row = {"decimals": 9, "cash": 9 * 10**15, "leverage": 1e9}
    with pytest.raises(ReplayError, match=message):  # the position, at a close far from its entry
        run_one([FLAT, FLAT, (100, 1e9, 100, 1e9), FLAT], **large)
    with pytest.raises(ReplayError, match=message):  # its cost
        run_one([FLAT, (1e8, 1e8, 1e8, 1e8), FLAT], **large)
    with pytest.raises(ReplayError, match=message):  # the order
        run_one([FLAT, FLAT], **large | {"strategies": (strategy(SizeKind.FIXED_QTY, 1e300),), "leverage": 1e300})
    with pytest.raises(ReplayError, match=message):  # cash
        run_one([FLAT, (100, 200, 100, 200)], **large | {"cash": 2**53 - 1})
    with pytest.raises(ReplayError, match=message):
        run_one([FLAT, FLAT], **large | {"cash": 2**53})


def run_one(candles: Candles, **changes: Any) -> None:
    Session(market({"A": candles}), table(propose(1)), settings(len(candles), **changes)).run()
