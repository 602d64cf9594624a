"""The plain replay on examples worked by hand: prices, timing, brackets, funding; and on any market."""

import math
from collections import Counter

import pytest

from engine.dataset import from_columns
from engine.schema import (
    AMBIGUOUS,
    COUNTED,
    MAKER,
    MORE,
    NEVER,
    Action,
    Intrabar,
    LevelKind,
    LimitGap,
    Reason,
    RecordKind,
    SizeKind,
    Slippage,
    Timing,
)
from engine.settings import Settings
from tests.markets import random_case
from tests.oracle.examples import (
    FLAT,
    HOUR,
    LONG,
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


def test_market_order_fills_at_the_next_open_with_half_spread_slippage_and_fee() -> None:
    # R2.2 R2.3 R2.5: h = (101 - 99) / 200 = 1 %, slippage 0.5 %: 110 + 110 * 0.015 = 111.65, up to the tick: 111.7
    # value 3 * 111.7 = 335.10, fee 10 bp = 0.3351 -> 0.34; reservation at 100: 300 + 0.30 + 300 * 1 % = 303.30
    spread = {"spread": {"A": {"ts": [at(1)], "bid": [99.0], "ask": [101.0]}}}
    costs: Row = {"slippage": Slippage.BPS, "slippage_amount": 50.0, "taker_bps": 10.0, "finalize_close": False}
    result = one_symbol([FLAT, (110, 112, 108, 111)], propose(1), data=spread, **costs)
    names = [RecordKind(record["kind"]).name for record in result.records]
    assert names == ["DEPOSIT", "PROPOSAL", "SELECTED", "APPROVED", "ORDER", "FILL", "POSITION", "RUN_END"]
    assert [record["cause"] for record in result.records] == [-1, -1, 1, 2, 3, 4, 5, -1]
    approved, fill, position = result.records[3], result.records[5], result.records[6]
    assert (approved["price"], approved["qty"], approved["amount"]) == (100.0, 3, 30_330)
    assert (fill["ts"], fill["price"], fill["fee"], fill["amount"]) == (at(1), 111.7, 34, -34)
    assert (fill["cash"], fill["position"], fill["reason"]) == (99_966, 3, Reason.FILLED)
    assert (position["qty"], position["price"], position["amount"]) == (3, 111.7, 0)
    # R6.4: 3 * (111 - 111.7) = -2.10 unrealised
    assert result.equity == [100_000, 99_966 - 210]


def test_spread_slippage_replaces_the_half_spread() -> None:
    # R2.6: 1.5 * h with the default full spread of 200 bp, h = 1 %: a sale at 100 * (1 - 0.015) = 98.5
    costs: Row = {"slippage": Slippage.SPREAD, "slippage_amount": 1.5, "default_spread_bps": 200.0}
    result = one_symbol([FLAT, FLAT], propose(1, SHORT), **costs)
    assert fills(result)[0] == (1, 98.5, "FILLED")


def test_bid_and_ask_candles_hold_the_spread_themselves() -> None:
    # R2.2: buys at the ask's open, stopped by the bid's low, no half-spread on top
    dataset = market({"A": [FLAT, (100, 101, 97, 100)]})
    quotes = {
        f"{side}_{name}": [value + shift for value in dataset.columns["bars"][name]]
        for side, shift in (("bid", -1.0), ("ask", 1.0))
        for name in ("open", "high", "low", "close")
    }
    bars = {name: column.tolist() for name, column in dataset.columns["bars"].items()}
    quoted = from_columns({"bars": {("A", "1h", HOUR): bars | quotes}})
    result = replay(quoted, table(propose(1, stop_loss=96.0)), settings(2, default_spread_bps=500.0))
    assert fills(result) == [(1, 101.0, "FILLED"), (2, 96.0, "STOP_LOSS")]


def test_spot_moves_notional_and_realises_value_less_cost() -> None:
    # R6.2 R6.4: buys 3 * 100 with 1 % fee, sells at 104: -303.00, then +312.00 - 3.12; realised 12.00
    result = one_symbol(
        [FLAT, FLAT, (104, 104, 104, 104)], propose(1), propose(2, Action.EXIT), instruments=(instrument(kind="spot"),), taker_bps=100.0
    )
    assert [fill["amount"] for fill in of_kind(result, RecordKind.FILL)] == [-30_300, 30_888]
    assert [position["amount"] for position in of_kind(result, RecordKind.POSITION)] == [0, 1_200]
    assert result.final_equity == 100_000 - 300 + 1_200 - 312


def test_fee_has_a_part_of_notional_and_a_part_per_unit() -> None:
    # R2.6: 300.00 * 5 bp = 0.15; 3 * 0.013 = 0.039 -> 0.04
    result = one_symbol([FLAT, FLAT], propose(1), taker_bps=5.0, per_unit=0.013)
    assert of_kind(result, RecordKind.FILL)[0]["fee"] == 19


@pytest.mark.parametrize(
    ("timing", "latency", "hour", "price"),
    [
        (Timing.NEXT_OPEN, 0, 1, 101.0),
        (Timing.NEXT_OPEN, 1, 2, 102.0),
        (Timing.CLOSE, 0, 1, 100.0),
        (Timing.NEXT_CLOSE, 0, 2, 101.5),
        (Timing.NEXT_CLOSE, 1, 3, 102.5),
    ],
)
def test_timing_and_latency_name_the_bar_that_fills(timing: Timing, latency: int, hour: int, price: float) -> None:
    # R2.3
    candles = [FLAT, (101, 101.5, 101, 101.5), (102, 102.5, 102, 102.5)]
    result = one_symbol(candles, propose(1), timing=timing, latency_us=latency)
    assert fills(result)[0] == (hour, price, "FILLED")


def test_an_entry_at_the_close_is_stale_where_its_symbol_does_not_close() -> None:
    # R2.3: at 1:30 no bar closes
    result = one_symbol([FLAT, FLAT, FLAT], propose(1.5), timing=Timing.CLOSE)
    assert reasons(result, RecordKind.CANCELLED) == [(0, "STALE_CLOSE")]


def test_max_bars_counts_the_bar_of_the_fill() -> None:
    # R2.1 R3.6: filled at the open of bar 1; its second bar closes at hour 3, filled at the open there
    result = one_symbol([FLAT] * 5, propose(1, max_bars=2))
    assert fills(result) == [(1, 100.0, "FILLED"), (3, 100.0, "MAX_BARS")]
    order = of_kind(result, RecordKind.ORDER)[1]
    assert (order["ts"], order["proposal"], order["reason"]) == (at(3), -1, Reason.MAX_BARS)


def test_max_bars_of_a_fill_at_the_close_starts_with_the_next_bar() -> None:
    # docs/ledger.md, candle close: filled at hour 1; bars 1 and 2 of the trade close at hours 2 and 3
    result = one_symbol([FLAT] * 5, propose(1, max_bars=2), timing=Timing.CLOSE)
    assert fills(result) == [(1, 100.0, "FILLED"), (3, 100.0, "MAX_BARS")]


def test_a_proposal_counts_from_when_it_is_available() -> None:
    # R1.7
    result = one_symbol([FLAT] * 4, propose(1, available_ts=at(2.5)))
    assert of_kind(result, RecordKind.PROPOSAL)[0]["ts"] == at(2.5)
    assert fills(result)[0] == (3, 100.0, "FILLED")


def test_stop_fills_at_the_open_when_the_bar_gaps_through() -> None:
    # R1.3 R2.4: opens at 93, below the stop at 95: fills there, at the time of the open
    result = one_symbol([FLAT, FLAT, (93, 94, 90, 92)], propose(1, stop_loss=95.0))
    assert fills(result) == [(1, 100.0, "FILLED"), (2, 93.0, "STOP_LOSS")]


@pytest.mark.parametrize(
    ("gap", "sessions", "price"), [(None, False, 105.0), (None, True, 108.0), (LimitGap.OPEN, False, 108.0), (LimitGap.PRICE, True, 105.0)]
)
def test_target_passed_by_the_open_fills_at_its_price_or_at_the_open(gap: LimitGap | None, sessions: bool, price: float) -> None:
    # R2.4: a maker either way
    result = one_symbol(
        [FLAT, FLAT, (108, 109, 107, 108)],
        propose(1, take_profit=105.0),
        limit_gap=gap,
        instruments=(instrument(sessions=sessions),),
        default_spread_bps=0.0,
    )
    assert fills(result)[1] == (2, price, "TAKE_PROFIT")
    assert of_kind(result, RecordKind.FILL)[1]["flags"] == MAKER


@pytest.mark.parametrize(
    ("policy", "action", "close", "reason"),
    [
        (Intrabar.PESSIMISTIC, LONG, 100.0, "STOP_LOSS"),
        (Intrabar.OPTIMISTIC, LONG, 100.0, "TAKE_PROFIT"),
        (Intrabar.OLHC, LONG, 100.0, "STOP_LOSS"),
        (Intrabar.OHLC, LONG, 100.0, "TAKE_PROFIT"),
        (Intrabar.ADAPTIVE, LONG, 101.0, "STOP_LOSS"),  # rises: low first
        (Intrabar.ADAPTIVE, LONG, 100.0, "TAKE_PROFIT"),
        (Intrabar.PESSIMISTIC, SHORT, 100.0, "STOP_LOSS"),
        (Intrabar.OPTIMISTIC, SHORT, 100.0, "TAKE_PROFIT"),
        (Intrabar.OLHC, SHORT, 100.0, "TAKE_PROFIT"),
        (Intrabar.OHLC, SHORT, 100.0, "STOP_LOSS"),
    ],
)
def test_the_policy_decides_when_one_bar_touches_stop_and_target(policy: Intrabar, action: Action, close: float, reason: str) -> None:
    # R3.2 R3.3: both are touched exactly; the bar is ambiguous under every policy
    down, up = 95.0, 105.0
    levels = {"stop_loss": down, "take_profit": up} if action == LONG else {"stop_loss": up, "take_profit": down}
    result = one_symbol([FLAT, (100, up, down, close)], propose(1, action, **levels), intrabar=policy)
    price = levels["stop_loss" if reason == "STOP_LOSS" else "take_profit"]
    assert fills(result)[1] == (2, price, reason)
    assert of_kind(result, RecordKind.FILL)[1]["flags"] & AMBIGUOUS


def test_a_touched_stop_pays_the_spread_known_when_its_bar_opened() -> None:
    # R2.2: 2 % at hour 1, 10 % at 1:30; the stop at 95 sells at 95 * (1 - 0.01) = 94.05 -> 94.0; a target pays no spread
    spread = {"spread": {"A": {"ts": [at(1), at(1.5)], "bid": [99.0, 90.0], "ask": [101.0, 110.0]}}}
    stopped = one_symbol([FLAT, (100, 100, 94, 96)], propose(1, stop_loss=95.0), data=spread)
    assert fills(stopped)[1] == (2, 94.0, "STOP_LOSS")
    reached = one_symbol([FLAT, (100, 105, 100, 104)], propose(1, take_profit=105.0), data=spread)
    assert fills(reached)[1] == (2, 105.0, "TAKE_PROFIT")


def test_an_entry_whose_stop_the_open_has_crossed_exits_at_that_open() -> None:
    # R2.5: opens at 94 with the stop at 95
    result = one_symbol([FLAT, (94, 99, 93, 98)], propose(1, stop_loss=95.0))
    assert fills(result) == [(1, 94.0, "FILLED"), (1, 94.0, "CROSSED_AT_ENTRY")]
    opening = of_kind(result, RecordKind.POSITION)[0]
    assert result.records[of_kind(result, RecordKind.FILL)[1]["cause"]] is opening


def test_fractions_are_of_the_fill_price_and_levels_go_on_the_tick() -> None:
    # docs/ledger.md, levels: fill 100.3; stop 3 % = 97.291 -> 97.2 (away), target 2 % = 102.306 -> 102.4 (passive)
    fraction: Row = {"stop_loss": 0.03, "stop_loss_kind": LevelKind.FRACTION, "take_profit": 0.02, "take_profit_kind": LevelKind.FRACTION}
    low = one_symbol([FLAT, (100.3, 100.3, 97.2, 98)], propose(1, **fraction))
    high = one_symbol([FLAT, (100.3, 102.4, 100, 102)], propose(1, **fraction))
    untouched = one_symbol([FLAT, (100.3, 102.3, 97.3, 100)], propose(1, **fraction))
    assert fills(low)[1] == (2, 97.2, "STOP_LOSS")
    assert fills(high)[1] == (2, 102.4, "TAKE_PROFIT")
    assert fills(untouched)[1] == (2, 100.0, "RUN_ENDED")


def test_a_trailing_stop_follows_the_high_from_the_next_open() -> None:
    # R3.5: distance 4: 96 from the fill, 106 after a bar with high 110 that itself falls to 103, touched in the next
    candles = [FLAT, (100, 110, 103, 108), (108, 108, 106, 107)]
    result = one_symbol(candles, propose(1, trailing=4.0))
    assert fills(result)[1] == (3, 106.0, "TRAILING_STOP")


def test_a_trailing_level_waits_for_the_latency() -> None:
    # R2.3: made at hour 3 (fill at hour 2), it acts in bars that open from hour 3.5: the bar at hour 3 still sees 96
    candles = [FLAT, FLAT, (100, 110, 100, 108), (108, 108, 105, 107), (107, 107, 106, 107)]
    result = one_symbol(candles, propose(1), latency_us=HOUR // 2)
    assert fills(result)[0][0] == 2
    result = one_symbol(candles, propose(1, trailing=4.0), latency_us=HOUR // 2)
    assert fills(result)[1] == (5, 106.0, "TRAILING_STOP")


def test_closing_a_position_cancels_its_pending_exit() -> None:
    # docs/ledger.md, bar path: under next_close the exit waits while the bar reaches the stop
    result = one_symbol([FLAT] * 3 + [(100, 100, 94, 96)], propose(1, stop_loss=95.0), propose(3, Action.EXIT), timing=Timing.NEXT_CLOSE)
    assert fills(result)[1] == (4, 95.0, "STOP_LOSS")
    cancelled = of_kind(result, RecordKind.CANCELLED)[0]
    assert (cancelled["proposal"], cancelled["reason"], cancelled["order_id"]) == (1, Reason.POSITION_CLOSED, 2)
    assert result.records[cancelled["cause"]]["reason"] == Reason.STOP_LOSS


def test_funding_is_paid_by_what_is_held_at_the_settlement() -> None:
    # R1.3 R7.1: opened at hour 2 does not pay the settlement of hour 2, pays that of hour 4 (the exit decided there comes after):
    # -(3 * 102) * 1 % = -3.06 at the event's mark; the one of hour 5 finds nothing
    funding = {"funding": {"A": {"ts": [at(2), at(4), at(5)], "rate": [0.01] * 3, "mark": [102.0] * 3}}}
    result = one_symbol([FLAT] * 6, propose(2), propose(4, Action.EXIT), data=funding)
    paid = of_kind(result, RecordKind.FUNDING)
    assert [(record["ts"], record["price"], record["amount"], record["qty"]) for record in paid] == [(at(4), 102.0, -306, 3)]


def test_funding_without_a_mark_uses_the_close_just_seen_and_spares_a_stopped_position() -> None:
    # R7.1: a short receives 3 * 97 * 1 % = 2.91 at the close of the bar that ends now; stopped in that bar it receives nothing
    funding = {"funding": {"A": {"ts": [at(2)], "rate": [0.01], "mark": [math.nan]}}}
    candles = [FLAT, (100, 104, 96, 97)]
    assert [record["amount"] for record in of_kind(one_symbol(candles, propose(1, SHORT), data=funding), RecordKind.FUNDING)] == [291]
    assert not of_kind(one_symbol(candles, propose(1, SHORT, stop_loss=104.0), data=funding), RecordKind.FUNDING)


def test_an_exit_at_the_close_waits_for_a_close_of_its_symbol() -> None:
    # docs/ledger.md, exits, choice: proposed at 2:30, filled at the close of hour 3
    result = one_symbol([FLAT] * 4, propose(1), propose(2.5, Action.EXIT_LONG), timing=Timing.CLOSE)
    assert fills(result) == [(1, 100.0, "FILLED"), (3, 100.0, "SIGNAL")]


def test_an_exit_waits_for_the_latency_and_only_once() -> None:
    # R2.3 R5.4: decided at hour 3, it acts in bars that open from 3:30; a second one meanwhile is ALREADY_PENDING
    rows = [propose(1), propose(3, Action.EXIT), propose(3.25, Action.EXIT), propose(3.5, Action.EXIT_SHORT)]
    result = one_symbol([FLAT] * 5, *rows, latency_us=HOUR // 2)
    assert fills(result) == [(2, 100.0, "FILLED"), (4, 100.0, "SIGNAL")]
    assert result.outcomes == [0, 0, Reason.ALREADY_PENDING, Reason.NOT_HELD]


def test_a_level_that_is_not_positive_is_none() -> None:
    # docs/ledger.md, levels: it never acts, and risk cannot be sized on it
    kept = one_symbol([FLAT] * 3, propose(1, stop_loss=-5.0, take_profit=-1.0, trailing=-1.0))
    assert fills(kept)[1] == (3, 100.0, "RUN_ENDED")
    sized = one_symbol([FLAT] * 3, propose(1, stop_loss=-5.0), strategies=(strategy(SizeKind.FIXED_RISK, 0.5),))
    assert reasons(sized, RecordKind.REJECTED) == [(0, "BAD_STOP")]


@pytest.mark.parametrize("seed", range(60))
def test_cash_is_the_sum_of_amounts_and_every_proposal_ends_once(seed: int) -> None:
    # R6.4 R5.4
    case = random_case(seed)
    result = replay(*case)
    moves = {
        RecordKind.DEPOSIT,
        RecordKind.FILL,
        RecordKind.FUNDING,
        RecordKind.INTEREST,
        RecordKind.SETTLEMENT,
        RecordKind.DIVIDEND,
        RecordKind.CASH_IN_LIEU,
        RecordKind.INSURANCE,
    }
    cash, lots = 0, Counter[tuple[int, int]]()
    for record in result.records:
        cash += record["amount"] if record["kind"] in moves else 0
        if record["kind"] == RecordKind.FILL:
            lots[record["symbol"], record["strategy"]] += record["side"] * record["qty"]
        if record["kind"] == RecordKind.SPLIT and record["order_id"] < 0:
            held = lots[record["symbol"], record["strategy"]]
            lots[record["symbol"], record["strategy"]] = (held > 0) * record["qty"] - (held < 0) * record["qty"]
        assert record["cash"] == cash
        assert record["symbol"] < 0 or record["position"] == lots[record["symbol"], record["strategy"]]
    assert [record["ts"] for record in result.records] == sorted(record["ts"] for record in result.records)
    terminal = {RecordKind.FILL, RecordKind.REJECTED, RecordKind.CANCELLED, RecordKind.LEVELS}
    last = [record for record in result.records if record["kind"] in terminal and not record["flags"] & MORE]
    ends = Counter(record["proposal"] for record in last if record["proposal"] >= 0)
    ends.update(row for row, reason in enumerate(result.outcomes) if reason)
    assert set(ends.values()) <= {1}
    if result.sample_ts and result.records[-1]["reason"] != Reason.BANKRUPT:
        known = case.proposals.get("available_ts", case.proposals["ts"])
        assert len(ends) == sum(ts <= result.records[-1]["ts"] for ts in known)


@pytest.mark.parametrize("seed", range(60, 75))
def test_the_order_of_rows_symbols_and_strategies_changes_nothing(seed: int) -> None:
    # R1.6
    case = random_case(seed)
    sequence = list(range(len(case.proposals["ts"])))
    given = case.proposals | {"sequence": sequence}
    turned = {name: column[::-1] for name, column in given.items()}
    other = Settings(
        **{**vars(case.settings), "instruments": case.settings.instruments[::-1], "strategies": case.settings.strategies[::-1]}
    )
    assert replay(case.dataset, turned, other) == replay(case.dataset, given, case.settings)


def test_random_cases_are_reproducible() -> None:
    first, second = random_case(11), random_case(11)
    assert first.dataset.id == second.dataset.id
    assert (repr(first.proposals), first.settings.start_us, NEVER) == (repr(second.proposals), second.settings.start_us, NEVER)


def test_random_cases_reach_what_they_are_made_for() -> None:
    """A generator that no longer reaches a rule would let its tests pass for nothing."""
    met: set[tuple[int, int]] = set()
    counted: set[int] = set()
    for seed in range(1000, 1250):
        result = replay(*random_case(seed))
        met |= {(record["kind"], record["reason"]) for record in result.records}
        counted |= set(result.outcomes)
    rejected = {reason for kind, reason in met if kind == RecordKind.REJECTED}
    filled = {reason for kind, reason in met if kind == RecordKind.FILL}
    assert rejected >= set(range(Reason.INVALID, Reason.NOT_HELD)) - {Reason.ALREADY_HELD, Reason.ALREADY_PENDING}
    assert rejected >= {Reason.LEG_REFUSED, Reason.MAX_GROUP, Reason.MAX_STRATEGY, Reason.NO_RANK}
    assert counted == {Reason.NONE, *COUNTED}
    assert rejected >= set(range(Reason.SHORT_NOT_ALLOWED, Reason.STALE_CLOSE))
    assert filled == {reason for reason in Reason if Reason.FILLED <= reason < Reason.POSITION_CLOSED} | {
        Reason.REVERSED,
        Reason.REBALANCED,
        Reason.ROTATED,
        Reason.LIQUIDATED,
        Reason.EXPIRED,
    }
    alerts = {reason for kind, reason in met if kind == RecordKind.RISK_ALERT}
    assert alerts == {Reason.DAILY_LOSS, Reason.DRAWDOWN, Reason.CONSECUTIVE_LOSSES, Reason.COOLDOWN}
    assert (RecordKind.LEVELS, Reason.NONE) in met
    cancelled = {reason for kind, reason in met if kind == RecordKind.CANCELLED}
    kinds = {kind for kind, _ in met}
    assert kinds >= {RecordKind.SPLIT, RecordKind.CASH_IN_LIEU, RecordKind.DIVIDEND, RecordKind.INTEREST, RecordKind.SETTLEMENT}
    assert cancelled >= {Reason.HALTED, Reason.INSUFFICIENT_CASH, Reason.STALE_CLOSE, Reason.RUN_ENDED, Reason.POSITION_CLOSED}
