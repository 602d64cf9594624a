"""The gate, the selector and the halts of the compiled replay, on examples worked by hand."""

import math
from typing import Any

import pytest

from engine.schema import NEVER, Action, Reason, RecordKind, SizeKind
from engine.settings import HaltLimits
from tests.differential import agreed_replay
from tests.oracle.examples import (
    FLAT,
    HOUR,
    SHORT,
    Candles,
    Row,
    at,
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

APPROVED, REJECTED, CANCELLED = RecordKind.APPROVED, RecordKind.REJECTED, RecordKind.CANCELLED


def one_symbol(candles: Candles, *rows: Row, data: dict[str, Any] | None = None, **changes: Any) -> OracleResult:
    return agreed_replay(market({"A": candles}, **(data or {})), table(*rows), settings(len(candles), **changes))


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


def test_what_a_taker_pays_is_kept_out_of_the_buffer() -> None:  # R2.5 R5.2
    """Five lots of 100 and a fee of 5 are more than the 500 that the buffer leaves."""
    size = (strategy(SizeKind.FIXED_QTY, 6.0),)
    assert of_kind(one_symbol([FLAT, FLAT], propose(1), cash_buffer=0.5, taker_bps=100.0, strategies=size), APPROVED)[0]["qty"] == 4
    assert of_kind(one_symbol([FLAT, FLAT], propose(1), cash_buffer=0.5, maker_bps=100.0, strategies=size), APPROVED)[0]["qty"] == 5


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
        (math.inf, {}, "NO_SIZE"),
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


@pytest.mark.parametrize(("cash", "lots"), [(100_000, 7), (20_000, 1), (7_000, 0)])
def test_all_in_keeps_to_budget_and_buffer(cash: int, lots: int) -> None:  # R5.1
    # 7 lots cost 707 with the fee; the budget is 750
    result = one_symbol([FLAT, FLAT], propose(1), strategies=(strategy(SizeKind.ALL_IN, 1.0, 0.75),), taker_bps=100.0, cash=cash)
    assert [record["qty"] for record in of_kind(result, APPROVED)] == ([lots] if lots else [])
    assert reasons(result, REJECTED) == ([] if lots else [(0, "NO_SIZE")])


def test_ties_in_score_go_by_symbol_strategy_and_sequence() -> None:  # R4.2
    symbols = {name: [FLAT, FLAT] for name in ("B", "a", "A", "Ä")}
    two = (strategy(SizeKind.FIXED_QTY, 1.0, name="t"), strategy(SizeKind.FIXED_QTY, 1.0, name="s"))
    rows = [propose(1, symbol=symbol, strategy=name) for symbol in ("Ä", "a", "B", "A") for name in ("t", "s")]
    instruments = tuple(instrument(name) for name in symbols)
    result = agreed_replay(market(symbols), table(*rows), settings(2, strategies=two, instruments=instruments, max_positions=5))
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
    result = one_symbol(candles, propose(1), propose(hour, strategy="t"), strategies=two, halts=HaltLimits(daily_loss=0.12))
    (alert,) = of_kind(result, RecordKind.RISK_ALERT)
    assert (alert["ts"], alert["amount"], alert["value"], alert["reason"]) == (at(3), 88_000, 0.12, Reason.DAILY_LOSS)
    assert reasons(result, REJECTED) == ([(1, "HALTED")] if refused else [])


@pytest.mark.parametrize(("resume", "hour", "refused"), [(NEVER, 6, True), (2 * HOUR, 4.9, True), (2 * HOUR, 5, False)])
def test_a_drawdown_stops_entries_and_cancels_what_is_pending(resume: int, hour: float, refused: bool) -> None:  # R5.3
    candles = [FLAT, FLAT, (100, 100, 60, 60), *[(60.0, 60.0, 60.0, 60.0)] * 5]
    two = (strategy(SizeKind.FIXED_QTY, 3.0), strategy(SizeKind.FIXED_QTY, 1.0, name="t"))
    rows = [propose(1), propose(2.5, strategy="t", available_ts=at(2.5)), propose(hour, strategy="t")]
    result = one_symbol(candles, *rows, strategies=two, halts=HaltLimits(drawdown=0.1, resume_after_us=resume))
    (alert,) = of_kind(result, RecordKind.RISK_ALERT)
    assert (alert["ts"], alert["amount"], alert["value"], alert["reason"]) == (at(3), 88_000, 0.12, Reason.DRAWDOWN)
    assert [(row["reason"], row["cause"] == result.records.index(alert)) for row in of_kind(result, CANCELLED)] == [(Reason.HALTED, True)]
    assert reasons(result, REJECTED) == ([(2, "HALTED")] if refused else [])
