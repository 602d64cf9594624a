"""The plain replay, checked against small examples worked by hand."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from engine.dataset import Dataset, from_columns
from engine.instrument import Decimals, Instrument
from engine.schema import AMBIGUOUS, MAKER, NEVER, Action, Intrabar, LevelKind, LimitGap, Reason, RecordKind, SizeKind, Slippage, Timing
from engine.settings import Settings, StrategySettings
from tests.markets import random_case
from tests.oracle.replay import OracleResult, replay

HOUR = 3_600_000_000
MIDNIGHT = 1_704_067_200_000_000  # 2024-01-01
LONG, SHORT = Action.ENTER_LONG, Action.ENTER_SHORT
FLAT = (100.0, 100.0, 100.0, 100.0)

Candles = Sequence[tuple[float, float, float, float]]
Row = dict[str, Any]


def at(hour: float) -> int:
    """An hour after midnight; bar n covers [at(n), at(n + 1))."""
    return MIDNIGHT + round(hour * HOUR)


def market(bars: Mapping[str, Candles], **others: Mapping[str, Row]) -> Dataset:
    """Hourly bars from midnight, and other kinds of data by symbol."""
    tables: dict[str, Any] = {"bars": {}}
    for symbol, candles in bars.items():
        times = [at(hour) for hour in range(len(candles) + 1)]
        prices = dict(zip(("open", "high", "low", "close"), zip(*candles, strict=True), strict=True))
        volume = [1.0] * len(candles)
        tables["bars"][symbol, "1h", HOUR] = {"open_ts": times[:-1], "ts": times[1:], **prices, "volume": volume}
    for kind, columns in others.items():
        tables[kind] = {(symbol, "", 0): column for symbol, column in columns.items()}
    return from_columns(tables)


def instrument(symbol: str = "A", **changes: Any) -> Instrument:
    return Instrument(symbol, **({"tick": Decimals(1, 10), "lot": Decimals(1, 1)} | changes))


def settings(bars: int, *, strategies: tuple[StrategySettings, ...] = (), symbols: str = "A", **changes: Any) -> Settings:
    """1,000.00 of cash, three units an entry, no costs."""
    chosen: Row = {
        "start_us": at(0),
        "end_us": at(bars),
        "cash": 100_000,
        "decimals": 2,
        "instruments": tuple(instrument(symbol) for symbol in symbols),
        "strategies": strategies or (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=3.0),),
    }
    return Settings(**(chosen | changes))


def table(*rows: Row) -> dict[str, list[Any]]:
    """Proposals: hour, action and what differs from a plain proposal of strategy s for symbol A."""
    plain = {"symbol": "A", "strategy": "s", "score": 1.0, "stop_loss": math.nan, "take_profit": math.nan, "trailing": math.nan}
    plain |= {"stop_loss_kind": 0, "take_profit_kind": 0, "trailing_kind": 0, "max_bars": 0}
    full = [plain | {"available_ts": row["ts"]} | row for row in rows]
    return {name: [row[name] for row in full] for name in full[0]}


def propose(hour: float, action: Action = LONG, **columns: Any) -> Row:
    return {"ts": at(hour), "action": action} | columns


def of_kind(result: OracleResult, kind: RecordKind) -> list[Row]:
    return [record for record in result.records if record["kind"] == kind]


def fills(result: OracleResult) -> list[tuple[float, float, str]]:
    """(hour, price, reason) of each fill."""
    found = of_kind(result, RecordKind.FILL)
    return [((fill["ts"] - MIDNIGHT) / HOUR, fill["price"], Reason(fill["reason"]).name) for fill in found]


def reasons(result: OracleResult, kind: RecordKind) -> list[tuple[int, str]]:
    """(proposal, reason) of each record of a kind."""
    return [(record["proposal"], Reason(record["reason"]).name) for record in of_kind(result, kind)]


def one_symbol(candles: Candles, *rows: Row, data: Mapping[str, Mapping[str, Row]] | None = None, **changes: Any) -> OracleResult:
    return replay(market({"A": candles}, **(data or {})), table(*rows), settings(len(candles), **changes))


# prices, costs and cash


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


# timing


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


# brackets


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


# funding


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


# sizing and the gate


def strategy(size: SizeKind, amount: float, budget: float = 1.0, name: str = "s") -> StrategySettings:
    return StrategySettings(name, budget, size, amount)


@pytest.mark.parametrize(
    ("size", "lots"),
    [
        (strategy(SizeKind.FIXED_NOTIONAL, 250.0), 2),
        (strategy(SizeKind.FIXED_FRACTION, 0.5, budget=0.4), 2),  # 1000 * 0.4 * 0.5 / 100
        (strategy(SizeKind.FIXED_RISK, 0.02, budget=0.5), 2),  # 1000 * 0.5 * 0.02 / (100 - 95)
        (strategy(SizeKind.ALL_IN, 0.0, budget=0.75), 7),  # 7 * 101 of cost and fee <= 750, not 8
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


# selection


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


# halts, ruin, life of a symbol, end


def test_a_drawdown_halt_cancels_and_refuses_entries_until_it_ends() -> None:
    # R5.3: peak 1000; at hour 2 three lots lost 40 each: 880, 12 % down; resumes at hour 4 with a new peak
    drop = (60.0, 60.0, 60.0, 60.0)
    candles = [FLAT, (100, 100, 60, 60), drop, drop, drop]
    rows = [propose(1), *(propose(hour, symbol="B") for hour in (1.5, 2, 3, 4))]
    changes: Row = {"symbols": "AB", "drawdown_halt": 0.12, "resume_after_us": 2 * HOUR, "latency_us": 0}
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
    result = one_symbol(candles, *rows, strategies=both, daily_loss_halt=0.03)
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


# what is refused


def test_a_split_in_the_period_is_refused() -> None:
    split = {"actions": {"A": {"ts": [at(1)], "kind": [0], "value": [0.5], "num": [2], "den": [1]}}}
    with pytest.raises(ValueError, match="A: a split"):
        one_symbol([FLAT] * 3, propose(1), data=split)
    one_symbol([FLAT] * 3, propose(2), data=split, start_us=at(2))


@pytest.mark.parametrize("other", [{"symbol": "B"}, {"strategy": "t"}])
def test_proposals_of_others_are_refused(other: Row) -> None:
    with pytest.raises(ValueError, match="not a symbol and strategy of the run"):
        one_symbol([FLAT] * 3, propose(1, **other))


def test_money_that_float64_cannot_hold_is_an_error() -> None:
    # R6.3: 3 * 1e8 at 8 decimals
    rich = (1e8, 1e8, 1e8, 1e8)
    with pytest.raises(OverflowError, match="A: money"):
        one_symbol([rich, rich], propose(1), decimals=8, cash=2**53 - 1, leverage=1000.0)


# any market


@pytest.mark.parametrize("seed", range(60))
def test_cash_is_the_sum_of_amounts_and_every_proposal_ends_once(seed: int) -> None:
    # R6.4 R5.4
    case = random_case(seed)
    result = replay(*case)
    moves = {RecordKind.DEPOSIT, RecordKind.FILL, RecordKind.FUNDING}
    cash, lots = 0, Counter[tuple[int, int]]()
    for record in result.records:
        cash += record["amount"] if record["kind"] in moves else 0
        if record["kind"] == RecordKind.FILL:
            lots[record["symbol"], record["strategy"]] += record["side"] * record["qty"]
        assert record["cash"] == cash
        assert record["symbol"] < 0 or record["position"] == lots[record["symbol"], record["strategy"]]
    assert [record["ts"] for record in result.records] == sorted(record["ts"] for record in result.records)
    terminal = {RecordKind.FILL, RecordKind.REJECTED, RecordKind.CANCELLED}
    ends = Counter(record["proposal"] for record in result.records if record["kind"] in terminal and record["proposal"] >= 0)
    ends.update(row for row, reason in enumerate(result.outcomes) if reason)
    assert set(ends.values()) <= {1}
    if result.sample_ts and result.records[-1]["reason"] != Reason.BANKRUPT:
        known = case.proposals.get("available_ts", case.proposals["ts"])
        assert len(ends) == sum(ts <= result.records[-1]["ts"] for ts in known)


def test_the_order_of_rows_symbols_and_strategies_changes_nothing() -> None:
    # R1.6
    case = random_case(7)
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
