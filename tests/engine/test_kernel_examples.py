"""The compiled replay on examples worked by hand: fills, levels, funding, the life of symbols, money that overflows."""

import math
from typing import Any

import pytest

from engine.schema import AMBIGUOUS, Action, Intrabar, LevelKind, LimitGap, OnHeld, Reason, RecordKind, SizeKind, Timing
from engine.session import ReplayError, Session
from engine.settings import StrategySettings
from tests.differential import agreed_replay
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

FILL, CANCELLED = RecordKind.FILL, RecordKind.CANCELLED


def one_symbol(candles: Candles, *rows: Row, data: dict[str, Any] | None = None, **changes: Any) -> OracleResult:
    return agreed_replay(market({"A": candles}, **(data or {})), table(*rows), settings(len(candles), **changes))


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
    assert (fills(both)[1], of_kind(both, FILL)[1]["flags"] & AMBIGUOUS) == ((3, 110.0, "TAKE_PROFIT"), AMBIGUOUS)


@pytest.mark.parametrize("action", [Action.ENTER_LONG, SHORT])
@pytest.mark.parametrize("name", ["stop_loss", "take_profit", "trailing"])
@pytest.mark.parametrize("kind", list(LevelKind))
@pytest.mark.parametrize("level", [math.nan, math.inf, -math.inf])
def test_a_level_that_is_no_finite_number_is_none(action: Action, name: str, kind: LevelKind, level: float) -> None:  # R2.1
    result = one_symbol([FLAT, (100, 120, 80, 100), FLAT], propose(1, action, **{name: level, f"{name}_kind": int(kind)}))
    assert fills(result) == [(1, 100.0, "FILLED"), (3, 100.0, "RUN_ENDED")]


@pytest.mark.parametrize(("hour", "latency", "stopped"), [(2, 0, 4), (1, 1, 5)])
def test_a_trailing_level_waits_for_the_latency(hour: int, latency: int, stopped: int) -> None:  # R2.3 R3.5
    # bought at 2; the high of 110 is known at 3 and moves the stop to 105, with latency not yet in the bar that opens then
    candles = [FLAT, FLAT, (100, 110, 100, 108), (108, 108, 104, 106), (106, 106, 104, 104)]
    result = one_symbol(candles, propose(hour, trailing=5.0), latency_us=latency)
    assert fills(result) == [(2, 100.0, "FILLED"), (stopped, 105.0, "TRAILING_STOP")]


@pytest.mark.parametrize(("known", "price"), [(1.9, 90.2), (2.0, 90.2), (2.1, 94.0)])
def test_a_stop_inside_a_bar_pays_the_spread_known_when_the_bar_opened(known: float, price: float) -> None:  # R2.2
    # half-spreads of 1 % and, from ``known`` on, 5 %: 95 * 0.95 = 90.25 or 95 * 0.99 = 94.05, sold at the tick below
    spread = {"spread": {"A": {"ts": [at(0.5), at(known)], "bid": [99.0, 95.0], "ask": [101.0, 105.0]}}}
    result = one_symbol([FLAT, FLAT, (100, 100, 90, 95)], propose(1, stop_loss=95.0), data=spread)
    assert fills(result) == [(1, 101.0, "FILLED"), (3, price, "STOP_LOSS")]


@pytest.mark.parametrize(("kind", "paid"), [("linear_perp", 1), ("fx", 1), ("spot", 0), ("equity", 0), ("future", 0)])
def test_funding_is_of_what_is_held_on_credit_without_an_end(kind: str, paid: int) -> None:  # R7.1
    funding = {"A": {"ts": [at(2)], "rate": [0.01], "mark": [100.0]}}
    result = one_symbol([FLAT] * 4, propose(1), data={"funding": funding}, instruments=(instrument(kind=kind),))
    assert len(of_kind(result, RecordKind.FUNDING)) == paid


def test_funding_is_paid_on_what_is_held_at_the_settlement() -> None:  # R1.3 R7.1
    # held from 1: 3 * 102 * 1 % at 2 by the event's mark, 3 * 104 * -2 % at 3 by the close just seen; closed at the open of 4
    funding = {
        "funding": {"A": {"ts": [at(1), at(2), at(3), at(4)], "rate": [0.5, 0.01, -0.02, 0.01], "mark": [100.0, 102.0, math.nan, 0.0]}}
    }
    candles = [FLAT, FLAT, (100, 104, 100, 104), (104, 106, 104, 106), (105, 105, 105, 105)]
    result = one_symbol(candles, propose(1), propose(3.5, Action.EXIT), data=funding)
    paid = [(record["ts"], record["price"], record["amount"]) for record in of_kind(result, RecordKind.FUNDING)]
    assert paid == [(at(2), 102.0, -306), (at(3), 104.0, 624), (at(4), 106.0, -318)]
    assert fills(result)[1] == (4, 105.0, "SIGNAL")


def test_equity_of_exactly_nothing_is_ruin() -> None:  # R7.4
    result = one_symbol(
        [FLAT, FLAT, (100, 100, 90, 90), FLAT], propose(1), strategies=(strategy(SizeKind.FIXED_QTY, 100.0),), leverage=10.0
    )
    assert fills(result)[1] == (3, 90.0, "LIQUIDATED_AT_CLOSE")
    assert result.equity == [100_000, 100_000, 0, 0]


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
    result = agreed_replay(dataset, table(*rows), settings(5, symbols="AB", strategies=two, delist_haircut=0.25, taker_bps=10.0))
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
    with pytest.raises(ReplayError, match=message.replace("of A", "of the account")):
        run_one([FLAT, FLAT], **large | {"cash": 2**53})


def test_a_value_that_float64_cannot_hold_for_one_bar_stops_the_run() -> None:  # R6.3
    """The entry writes records 0 to 6; the price comes back before anything else is written."""
    with pytest.raises(ReplayError, match=r"money of A overflows .* record 7;"):
        run_one([FLAT, FLAT, (100, 1e9, 100, 1e9), FLAT, FLAT], decimals=9, cash=9 * 10**15)


def test_a_value_of_just_what_float64_cannot_hold_stops_the_run() -> None:  # R6.3
    """2^45 lots cost less than 2^53 at 255.90, and are worth that at 256; equity is far below."""
    candles = [(255.9,) * 4, (255.9, 256.0, 255.9, 256.0), (255.9,) * 4]
    sized = (strategy(SizeKind.FIXED_QTY, 2.0**45),)
    chosen = settings(3, cash=2**52, decimals=0, leverage=10.0, strategies=sized)
    with pytest.raises(ReplayError, match="money of A overflows"):
        Session(market({"A": candles}), table(propose(1)), chosen).run()


def test_a_cost_of_just_what_float64_cannot_hold_stops_the_run() -> None:  # R4.3 R6.3
    """2^45 lots at 130 and as many at 126 cost 2^53, and are worth less."""
    candles = [(130.0,) * 4, (130.0, 130.0, 126.0, 126.0), (126.0,) * 4, (126.0,) * 4]
    adding = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=2.0**45, on_held=OnHeld.ADD),)
    chosen = settings(4, cash=2**52, decimals=0, leverage=10.0, strategies=adding)
    with pytest.raises(ReplayError, match="money of A overflows"):
        Session(market({"A": candles}), table(propose(1), propose(2)), chosen).run()


def run_one(candles: Candles, **changes: Any) -> None:
    Session(market({"A": candles}), table(propose(1)), settings(len(candles), **changes)).run()


def test_a_run_without_a_sample_ends_at_its_start() -> None:  # R8.6
    result = agreed_replay(market({"A": [FLAT] * 2}), table(propose(1)), settings(2, end_us=at(0.5)))
    (end,) = of_kind(result, RecordKind.RUN_END)
    assert (end["ts"], end["amount"], result.equity) == (at(0), 100_000, [])


@pytest.mark.parametrize(("cash", "end"), [(10_001, "RUN_ENDED"), (10_000, "BANKRUPT")])
def test_two_positions_that_leave_one_unit_are_no_ruin(cash: int, end: str) -> None:  # R7.4
    # two that each lose 50.00
    both = (strategy(SizeKind.FIXED_QTY, 1.0), strategy(SizeKind.FIXED_QTY, 1.0, name="t"))
    candles: Candles = [FLAT, FLAT, (100, 100, 50, 50), (60, 60, 60, 60)]
    rows = (propose(1), propose(1, strategy="t"))
    result = agreed_replay(market({"A": candles}), table(*rows), settings(4, cash=cash, leverage=10.0, strategies=both))
    assert Reason(of_kind(result, RecordKind.RUN_END)[0]["reason"]).name == end
