"""The plain replay on examples worked by hand: sizing, the gate, selection, halts, ruin and the end."""

import math

import pytest

from engine.dataset import from_columns
from engine.schema import Action, Reason, RecordKind, SizeKind, Timing
from engine.settings import HaltLimits, StrategySettings
from tests.oracle.examples import (
    FLAT,
    HOUR,
    SHORT,
    Row,
    at,
    fills,
    instrument,
    market,
    of_kind,
    one_symbol,
    propose,
    reasons,
    settings,
    strategy,
    table,
)
from tests.oracle.replay import replay


@pytest.mark.parametrize(
    ("size", "lots"),
    [
        (strategy(SizeKind.FIXED_NOTIONAL, 250.0), 2),
        (strategy(SizeKind.FIXED_FRACTION, 0.5, budget=0.4), 2),  # 1000 * 0.4 * 0.5 / 100
        (strategy(SizeKind.FIXED_RISK, 0.02, budget=0.5), 2),  # 1000 * 0.5 * 0.02 / (100 - 95)
        (strategy(SizeKind.ALL_IN, 1.0, budget=0.75), 7),  # 7 * 101 of cost and fee <= 750, not 8
    ],
)
def test_size_models(size: StrategySettings, lots: int) -> None:
    # R5.1
    result = one_symbol([FLAT, FLAT], propose(1, stop_loss=95.0), strategies=(size,), taker_bps=100.0)
    assert of_kind(result, RecordKind.APPROVED)[0]["qty"] == lots


@pytest.mark.parametrize(("stop", "kind"), [(math.nan, 0), (100.05 - 0.1, 0), (101.0, 0), (-0.05, 1)])
def test_fixed_risk_refuses_a_stop_that_is_missing_near_or_wrong(stop: float, kind: int) -> None:
    # R5.1
    result = one_symbol([FLAT, FLAT], propose(1, stop_loss=stop, stop_loss_kind=kind), strategies=(strategy(SizeKind.FIXED_RISK, 0.01),))
    assert reasons(result, RecordKind.REJECTED) == [(0, "BAD_STOP")]


@pytest.mark.parametrize(
    ("limit", "reason", "lots"),
    [
        ({"max_position": 0.25}, "MAX_POSITION", 2),
        ({"max_gross": 0.1}, "MAX_GROSS", 1),
        ({"max_net": 0.2}, "MAX_NET", 2),
        ({"cash_buffer": 0.85}, "CASH_BUFFER", 1),
    ],
)
def test_a_limit_clips_or_refuses(limit: Row, reason: str, lots: int) -> None:
    # R5.2: three lots of 100 wanted from an equity of 1000
    clipped = one_symbol([FLAT, FLAT], propose(1), **limit)
    refused = one_symbol([FLAT, FLAT], propose(1), clip=False, **limit)
    assert of_kind(clipped, RecordKind.APPROVED)[0]["qty"] == lots
    assert reasons(refused, RecordKind.REJECTED) == [(0, reason)]


def test_reservations_of_an_instant_run_in_rank_order() -> None:
    # R5.2: equity 1000; the better B reserves 600, A gets what is left: 4 lots of 100
    size = (strategy(SizeKind.FIXED_QTY, 6.0),)
    result = replay(
        market({"A": [FLAT] * 2, "B": [FLAT] * 2}),
        table(propose(1), propose(1, symbol="B", score=2.0)),
        settings(2, strategies=size, symbols="AB"),
    )
    assert [(record["symbol"], record["qty"]) for record in of_kind(result, RecordKind.APPROVED)] == [(1, 6), (0, 4)]


def test_a_fill_that_cash_no_longer_covers_is_partial_or_cancelled() -> None:
    # R5.2: 9 lots approved at 100; at 120 the cash of 1000 pays for 8; at 1100 for none
    size = (strategy(SizeKind.FIXED_QTY, 9.0),)
    partial = one_symbol([FLAT, (120, 120, 120, 120)], propose(1), strategies=size)
    none = one_symbol([FLAT, (1100, 1100, 1100, 1100)], propose(1), strategies=size)
    assert (of_kind(partial, RecordKind.FILL)[0]["qty"], fills(partial)[0][2]) == (8, "PARTIAL")
    assert reasons(none, RecordKind.CANCELLED) == [(0, "INSUFFICIENT_CASH")]


def test_small_orders_are_refused_not_rounded_up() -> None:
    # R2.7
    small = one_symbol([FLAT, FLAT], propose(1), strategies=(strategy(SizeKind.FIXED_QTY, 0.9),))
    minimum = one_symbol([FLAT, FLAT], propose(1), instruments=(instrument(min_notional=300.1),))
    assert reasons(small, RecordKind.REJECTED) == [(0, "BELOW_MIN_QTY")]
    assert reasons(minimum, RecordKind.REJECTED) == [(0, "BELOW_MIN_NOTIONAL")]


def test_spot_is_sold_short_only_where_it_may_be() -> None:
    # R6.2: and then the proceeds stay locked: cash 1300 of which 600 are locked, so a second short of 900 is refused
    plain = one_symbol([FLAT, FLAT], propose(1, SHORT), instruments=(instrument(kind="spot"),))
    assert reasons(plain, RecordKind.REJECTED) == [(0, "SHORT_NOT_ALLOWED")]
    both = (strategy(SizeKind.FIXED_QTY, 3.0), strategy(SizeKind.FIXED_QTY, 9.0, name="t"))
    shortable = (instrument(kind="spot", shortable=True),)
    short = one_symbol([FLAT] * 3, propose(1, SHORT), propose(2, SHORT, strategy="t"), instruments=shortable, strategies=both, clip=False)
    assert of_kind(short, RecordKind.FILL)[0]["cash"] == 130_000
    assert reasons(short, RecordKind.REJECTED) == [(1, "INSUFFICIENT_MARGIN")]


def test_the_best_ranked_get_the_slots() -> None:
    # R4.2: scores 1, 2, 2 on A, B, C with two slots: B, C by symbol, then A left out as third
    rows = [propose(1, symbol=symbol, score=score) for symbol, score in (("A", 1.0), ("C", 2.0), ("B", 2.0))]
    result = replay(market({symbol: [FLAT] * 2 for symbol in "ABC"}), table(*rows), settings(2, symbols="ABC", max_positions=2))
    assert [(record["symbol"], record["rank"]) for record in of_kind(result, RecordKind.SELECTED)] == [(1, 1), (2, 2)]
    left = of_kind(result, RecordKind.REJECTED)[0]
    assert (left["symbol"], left["rank"], left["reason"]) == (0, 3, Reason.NOT_SELECTED)


@pytest.mark.parametrize(("reuse", "expected"), [(False, "NOT_SELECTED"), (True, None)])
def test_a_slot_is_free_once_its_exit_has_filled(reuse: bool, expected: str | None) -> None:
    # R4.4: exit of A and entry of B decided together with one slot
    rows = [propose(1), propose(2, Action.EXIT), propose(2, symbol="B")]
    result = replay(
        market({"A": [FLAT] * 4, "B": [FLAT] * 4}), table(*rows), settings(4, symbols="AB", max_positions=1, reuse_pending_exit=reuse)
    )
    assert [reason for _, reason in reasons(result, RecordKind.REJECTED)] == ([expected] if expected else [])


def test_both_sides_at_one_instant_end_as_conflict() -> None:
    # R4.1: all of them, and no order is made; another strategy's proposal is none of their business
    both = (strategy(SizeKind.FIXED_QTY, 1.0), strategy(SizeKind.FIXED_QTY, 1.0, name="t"))
    result = one_symbol(
        [FLAT, FLAT], propose(1), propose(1, SHORT, score=5.0), propose(1), propose(1, SHORT, strategy="t"), strategies=both
    )
    assert reasons(result, RecordKind.REJECTED) == [(0, "CONFLICT"), (1, "CONFLICT"), (2, "CONFLICT")]
    assert len(of_kind(result, RecordKind.ORDER)) == 1


def test_of_equal_proposals_the_best_stays_and_repeats_are_counted() -> None:
    # R4.1 R5.4: DUPLICATE at hour 1, ALREADY_PENDING at 1:30 with latency, ALREADY_HELD at hour 3, an exit of nothing on B
    rows = [propose(1), propose(1, score=2.0), propose(1.5), propose(3), propose(3, Action.EXIT, symbol="B")]
    result = replay(market({"A": [FLAT] * 4, "B": [FLAT] * 4}), table(*rows), settings(4, symbols="AB", latency_us=1))
    assert reasons(result, RecordKind.REJECTED) == [(0, "DUPLICATE")]
    assert result.outcomes == [0, 0, Reason.ALREADY_PENDING, Reason.ALREADY_HELD, Reason.NOT_HELD]


def test_entries_drop_out_for_the_first_reason_that_applies() -> None:
    # R4.1: no score; not listed (the symbol enters at hour 2); before the start; below the least score
    universe = {"universe": {"A": {"ts": [at(2)], "listed": [1]}}}
    rows = [propose(1, score=math.nan), propose(1), propose(0.5, available_ts=at(3)), propose(2, score=0.5)]
    result = one_symbol([FLAT] * 4, *rows, data=universe, start_us=at(1), min_score=1.0)
    assert reasons(result, RecordKind.REJECTED) == [(0, "INVALID"), (1, "NOT_IN_UNIVERSE"), (2, "BELOW_MIN_SCORE"), (3, "WARMUP")]


def test_a_drawdown_halt_cancels_and_refuses_entries_until_it_ends() -> None:
    # R5.3: peak 1000; at hour 2 three lots lost 40 each: 880, 12 % down; resumes at hour 4 with a new peak
    drop = (60.0, 60.0, 60.0, 60.0)
    candles = [FLAT, (100, 100, 60, 60), drop, drop, drop]
    rows = [propose(1), *(propose(hour, symbol="B") for hour in (1.5, 2, 3, 4))]
    changes: Row = {"symbols": "AB", "halts": HaltLimits(drawdown=0.12, resume_after_us=2 * HOUR), "latency_us": 0}
    result = replay(market({"A": candles, "B": [FLAT] * 5}), table(*rows), settings(5, **changes))
    alerts = of_kind(result, RecordKind.RISK_ALERT)
    assert [(alert["ts"], alert["amount"], alert["value"]) for alert in alerts] == [(at(2), 88_000, 0.12)]
    assert reasons(result, RecordKind.CANCELLED) == [(1, "HALTED")]
    assert result.records[of_kind(result, RecordKind.CANCELLED)[0]["cause"]] is alerts[0]
    assert reasons(result, RecordKind.REJECTED) == [(2, "HALTED"), (3, "HALTED")]
    assert fills(result)[1] == (4, 100.0, "FILLED")


def test_a_daily_loss_halt_ends_with_the_day() -> None:
    # R5.3: base 1000 at midnight; at hour 22 equity is 970, 3 % lost; entries at 23:00 are refused, at 24:00 not
    candles = [FLAT] * 21 + [(100, 100, 90, 90)] + [(90.0, 90.0, 90.0, 90.0)] * 4
    rows = [propose(21), propose(23, strategy="t"), propose(24, strategy="t")]
    both = (strategy(SizeKind.FIXED_QTY, 3.0), strategy(SizeKind.FIXED_QTY, 1.0, name="t"))
    result = one_symbol(candles, *rows, strategies=both, halts=HaltLimits(daily_loss=0.03))
    assert [(alert["ts"], alert["reason"]) for alert in of_kind(result, RecordKind.RISK_ALERT)] == [(at(22), Reason.DAILY_LOSS)]
    assert reasons(result, RecordKind.REJECTED) == [(1, "HALTED")]
    assert fills(result)[1] == (24, 90.0, "FILLED")


def test_an_account_without_equity_is_closed_and_the_run_ends() -> None:
    # R7.4: ten times leverage, 50 lots at 100; at 80 the loss is 1000 and equity 0
    result = one_symbol(
        [FLAT, (100, 100, 80, 80), FLAT, FLAT], propose(1), propose(3), strategies=(strategy(SizeKind.FIXED_QTY, 50.0),), leverage=10.0
    )
    assert fills(result) == [(1, 100.0, "FILLED"), (2, 80.0, "LIQUIDATED_AT_CLOSE")]
    last = result.records[-1]
    assert (last["kind"], last["reason"], last["ts"], last["amount"]) == (RecordKind.RUN_END, Reason.BANKRUPT, at(2), 0)
    assert result.equity == [100_000, 0, 0, 0]


def test_a_symbol_that_leaves_the_universe_is_closed_at_the_next_open() -> None:
    # R8.3: s fills at the close of hour 3; at hour 4 it leaves at the open, whatever timing and latency; the entry of t ends
    universe = {"universe": {"A": {"ts": [at(0), at(4)], "listed": [1, 0]}}}
    both = (strategy(SizeKind.FIXED_QTY, 3.0), strategy(SizeKind.FIXED_QTY, 3.0, name="t"))
    rows = [propose(1), propose(3, strategy="t")]
    result = one_symbol([FLAT] * 6, *rows, data=universe, strategies=both, timing=Timing.NEXT_CLOSE, latency_us=1)
    assert reasons(result, RecordKind.CANCELLED) == [(1, "NOT_IN_UNIVERSE")]
    assert fills(result) == [(3, 100.0, "FILLED"), (4, 100.0, "LEFT_UNIVERSE")]


def test_a_symbol_that_leaves_may_be_kept() -> None:
    # R8.3
    universe = {"universe": {"A": {"ts": [at(0), at(3)], "listed": [1, 0]}}}
    result = one_symbol([FLAT] * 6, propose(1), data=universe, close_on_leave=False)
    assert fills(result)[1] == (6, 100.0, "RUN_ENDED")


def test_a_delisted_position_closes_at_its_last_close_less_the_haircut() -> None:
    # R8.4: 90 * (1 - 0.25) = 67.5, free of costs
    delisting = {"actions": {"A": {"ts": [at(3)], "kind": [2], "value": [0.0], "num": [0], "den": [0]}}}
    dataset = market({"A": [FLAT, (100, 100, 90, 90)], "B": [FLAT] * 4}, **delisting)
    result = replay(dataset, table(propose(1)), settings(4, symbols="AB", delist_haircut=0.25, taker_bps=10.0))
    assert fills(result)[1] == (3, 67.5, "DELISTED")
    assert of_kind(result, RecordKind.FILL)[1]["fee"] == 0


def test_the_end_closes_positions_and_cancels_what_is_pending() -> None:
    # R8.6: A closes at 100 less half of 2 % as a taker; the entry of B decided at the last close has no bar left
    dataset = market({"A": [FLAT] * 3, "B": [FLAT] * 3})
    result = replay(dataset, table(propose(1), propose(3, symbol="B")), settings(3, symbols="AB", default_spread_bps=200.0))
    assert fills(result)[1] == (3, 99.0, "RUN_ENDED")
    assert reasons(result, RecordKind.CANCELLED) == [(1, "RUN_ENDED")]
    assert result.records[-1]["amount"] == result.final_equity == 100_000 - 3 * 200


@pytest.mark.parametrize(("finalize", "expected"), [(True, ["DATA_ENDED", "RUN_ENDED"]), (False, ["DATA_ENDED"])])
def test_positions_without_further_bars_close_even_when_others_stay_marked(finalize: bool, expected: list[str]) -> None:
    # R8.4 R8.6: A has no bar after hour 2
    dataset = market({"A": [FLAT] * 2, "B": [FLAT] * 4})
    result = replay(dataset, table(propose(1), propose(1, symbol="B")), settings(4, symbols="AB", finalize_close=finalize))
    assert [reason for _, _, reason in fills(result)[2:]] == expected


def test_warm_up_bars_give_the_last_close_and_fill_nothing() -> None:
    # R8.6: the run starts at hour 2; a proposal of hour 1 known before counts at the start, as WARMUP
    result = one_symbol([FLAT] * 4, propose(1), propose(2), start_us=at(2))
    assert reasons(result, RecordKind.REJECTED) == [(0, "WARMUP")]
    assert of_kind(result, RecordKind.REJECTED)[0]["ts"] == at(2)
    assert fills(result)[0] == (2, 100.0, "FILLED")
    assert result.sample_ts == [at(3), at(4)]


@pytest.mark.parametrize("other", [{"symbol": "B"}, {"strategy": "t"}])
def test_proposals_of_others_are_refused(other: Row) -> None:
    with pytest.raises(ValueError, match="not a symbol and strategy of the run"):
        one_symbol([FLAT] * 3, propose(1, **other))


def test_money_that_float64_cannot_hold_is_an_error() -> None:
    # R6.3: 3 * 1e8 at 8 decimals
    rich = (1e8, 1e8, 1e8, 1e8)
    with pytest.raises(OverflowError, match="A: money"):
        one_symbol([rich, rich], propose(1), decimals=8, cash=2**53 - 1, leverage=1000.0)


def test_marks_value_positions_where_they_share_the_bar() -> None:
    # R6.5: bar 1 has a mark of 104, bar 2 has none: its close of 102
    mark: Row = {"open_ts": [at(1)], "ts": [at(2)], "open": [100.0], "high": [104.0], "low": [100.0], "close": [104.0]}
    bars: Row = {"open_ts": [at(0), at(1), at(2)], "ts": [at(1), at(2), at(3)]}
    bars |= {name: [100.0, 102.0, 102.0] for name in ("open", "high", "low", "close", "volume")}
    dataset = from_columns({"bars": {("A", "1h", HOUR): bars}, "marks": {("A", "1h", HOUR): mark}})
    result = replay(dataset, table(propose(1)), settings(3, finalize_close=False))
    assert result.equity == [100_000, 100_000 + 3 * 200, 100_000]


def test_what_reduces_at_an_open_comes_before_what_opens() -> None:
    # R1.4: at the open of hour 2 B is sold before A is bought, although A comes first by name
    rows = [propose(1, symbol="B"), propose(2, Action.EXIT, symbol="B"), propose(2)]
    size = (strategy(SizeKind.FIXED_QTY, 9.0),)
    spot = tuple(instrument(symbol, kind="spot") for symbol in "AB")
    late = replay(market({"A": [FLAT] * 4, "B": [FLAT] * 4}), table(*rows), settings(4, strategies=size, instruments=spot))
    assert reasons(late, RecordKind.REJECTED) == []
    assert of_kind(late, RecordKind.APPROVED)[1]["qty"] == 1  # the decision still sees 100 of cash
    assert [fill["symbol"] for fill in of_kind(late, RecordKind.FILL)][:3] == [1, 1, 0]


def test_a_pending_exit_ends_with_the_run_before_the_position_does() -> None:
    # R8.6
    result = one_symbol([FLAT] * 3, propose(1), propose(3, Action.EXIT))
    assert reasons(result, RecordKind.CANCELLED) == [(1, "RUN_ENDED")]
    assert fills(result)[1] == (3, 100.0, "RUN_ENDED")
    assert [RecordKind(record["kind"]).name for record in result.records[-4:]] == ["CANCELLED", "FILL", "POSITION", "RUN_END"]


def test_ruin_cancels_what_is_pending() -> None:
    # R7.4: B's entry, decided at 1:30 and waiting, ends BANKRUPT when A has lost everything at hour 2
    dataset = market({"A": [FLAT, (100, 100, 70, 70), FLAT], "B": [FLAT] * 3})
    size = (strategy(SizeKind.FIXED_QTY, 50.0),)
    result = replay(dataset, table(propose(1), propose(1.5, symbol="B")), settings(3, symbols="AB", strategies=size, leverage=20.0))
    assert reasons(result, RecordKind.CANCELLED) == [(1, "BANKRUPT")]
    assert result.final_equity == 100_000 - 50 * 3_000
    assert result.equity == [100_000, -50_000, -50_000]


def test_exposure_counts_pending_entries_of_the_instant() -> None:
    # R5.2: at most 500 of gross: 3 of B, then 2 of A; net: the short of A may be 300 + 200
    rows = [propose(1, symbol="B", score=2.0), propose(1)]
    dataset = market({"A": [FLAT] * 2, "B": [FLAT] * 2})
    gross = replay(dataset, table(*rows), settings(2, symbols="AB", max_gross=0.5))
    assert [record["qty"] for record in of_kind(gross, RecordKind.APPROVED)] == [3, 2]
    size = (strategy(SizeKind.FIXED_QTY, 3.0), strategy(SizeKind.FIXED_QTY, 7.0, name="t"))
    opposite = table(rows[0], propose(1, SHORT, strategy="t"))
    net = replay(dataset, opposite, settings(2, symbols="AB", max_net=0.3, strategies=size, leverage=2.0))
    assert [record["qty"] for record in of_kind(net, RecordKind.APPROVED)] == [3, 6]


def test_a_bar_across_the_start_tells_its_close_and_nothing_else() -> None:
    # R8.6: bar 1 opens before the start and closes after it: no sample, no open, but the last close of hour 2
    candles = [FLAT, (100, 100, 90, 90), (95, 95, 95, 95)]
    result = one_symbol(candles, propose(2), start_us=at(1.5))
    assert result.sample_ts == [at(3)]
    assert of_kind(result, RecordKind.APPROVED)[0]["price"] == 90.0
    assert fills(result)[0] == (2, 95.0, "FILLED")


def test_a_run_without_samples_ends_at_its_start() -> None:
    # docs/ledger.md, end of the run
    result = one_symbol([FLAT] * 3, propose(1), start_us=at(2.5), end_us=at(3))
    assert [(record["kind"], record["ts"]) for record in result.records] == [(RecordKind.DEPOSIT, at(2.5)), (RecordKind.RUN_END, at(2.5))]
    assert (result.sample_ts, result.equity, result.final_equity) == ([], [], 100_000)
