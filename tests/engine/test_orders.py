"""Entry orders that rest, expire and fill in parts, worked by hand."""

import math
from typing import Any

import pytest

from engine.schema import (
    AMBIGUOUS,
    MAKER,
    MORE,
    Action,
    Intrabar,
    LimitGap,
    LimitTouch,
    OrderType,
    Reason,
    RecordKind,
    SizeKind,
    Slippage,
    TimeInForce,
)
from engine.settings import StrategySettings
from tests.differential import agreed_replay
from tests.oracle.examples import (
    FLAT,
    HOUR,
    LONG,
    MIDNIGHT,
    SHORT,
    Candles,
    Row,
    at,
    fills,
    market,
    of_kind,
    propose,
    settings,
    strategy,
    table,
)
from tests.oracle.replay import OracleResult

EXIT = Action.EXIT


def one_symbol(candles: Candles, *rows: Row, data: Any = None, **changes: Any) -> OracleResult:
    return agreed_replay(market({"A": candles}, **(data or {})), table(*rows), settings(len(candles), **changes))


def limit(price: float, hour: float = 1, action: Action = LONG, **columns: Any) -> Row:
    return propose(hour, action, order_type=int(OrderType.LIMIT), limit_price=price, **columns)


def stop(price: float, hour: float = 1, action: Action = LONG, **columns: Any) -> Row:
    return propose(hour, action, order_type=int(OrderType.STOP), stop_price=price, **columns)


def stop_limit(trigger: float, price: float, hour: float = 1, action: Action = LONG, **columns: Any) -> Row:
    return propose(hour, action, order_type=int(OrderType.STOP_LIMIT), stop_price=trigger, limit_price=price, **columns)


def flags(result: OracleResult) -> list[int]:
    return [fill["flags"] for fill in of_kind(result, RecordKind.FILL)]


def ends(result: OracleResult) -> list[tuple[float, int, str]]:
    """(hour, lots, reason) of what was cancelled."""
    return [((one["ts"] - MIDNIGHT) / HOUR, one["qty"], Reason(one["reason"]).name) for one in of_kind(result, RecordKind.CANCELLED)]


def flipped(candles: Candles) -> Candles:
    return [(200 - opened, 200 - low, 200 - high, 200 - close) for opened, high, low, close in candles]


@pytest.mark.parametrize(("touch", "low", "filled"), [("TOUCH", 95.0, True), ("THROUGH", 95.0, False), ("THROUGH", 94.9, True)])
@pytest.mark.parametrize("side", [1, -1])
def test_a_limit_rests_until_a_bar_reaches_it_and_pays_the_maker_fee(touch: str, low: float, filled: bool, side: int) -> None:
    # R2.4 R2.5: 3 x 95 = 285.00 at 10 bp
    candles = [FLAT, FLAT, (100, 101, low, 99), FLAT]
    row = limit(95.0) if side > 0 else limit(105.0, action=SHORT)
    result = one_symbol(candles if side > 0 else flipped(candles), row, limit_touch=LimitTouch[touch], maker_bps=10.0, taker_bps=99.0)
    if not filled:
        assert ends(result) == [(4, 3, "RUN_ENDED")]
        return
    first = of_kind(result, RecordKind.FILL)[0]
    assert fills(result)[0] == (3, 95.0 if side > 0 else 105.0, "FILLED")
    assert (first["flags"], first["fee"]) == (MAKER, 28 if side > 0 else 32)


@pytest.mark.parametrize(("gap", "price"), [(LimitGap.PRICE, 95.0), (LimitGap.OPEN, 90.0)])
def test_a_resting_limit_that_the_open_passes_fills_in_the_open(gap: LimitGap, price: float) -> None:  # R2.4 R1.3
    result = one_symbol([FLAT, FLAT, (90, 92, 89, 91)], limit(95.0), limit_gap=gap, taker_bps=10.0)
    assert (fills(result)[0], flags(result)[0]) == ((2, price, "FILLED"), MAKER)


def test_through_is_for_the_open_too() -> None:  # R2.4
    candles = [FLAT, FLAT, (95, 97, 95, 96)]
    assert fills(one_symbol(candles, limit(95.0)))[0] == (2, 95.0, "FILLED")
    assert not fills(one_symbol(candles, limit(95.0), limit_touch=LimitTouch.THROUGH))


@pytest.mark.parametrize(
    ("opened", "spread", "slippage", "fill"),
    [
        (94.0, 0.0, 0.0, (94.0, 0)),
        (94.0, 100.0, 0.0, (94.5, 0)),  # 94 x 1.005 = 94.47
        (94.0, 0.0, 200.0, (95.0, 0)),  # 94 x 1.02 is beyond the limit
        (94.6, 100.0, 0.0, (95.0, MAKER)),  # the touch, 95.07, is not below the limit; the open is
    ],
)
def test_a_limit_that_its_first_open_crosses_takes(opened: float, spread: float, slippage: float, fill: tuple[float, int]) -> None:  # R2.5
    costs = {"default_spread_bps": spread, "slippage": Slippage.BPS, "slippage_amount": slippage}
    result = one_symbol([FLAT, (opened, 96, 94, 95.5), FLAT], limit(95.0), **costs)
    assert (fills(result)[0], flags(result)[0]) == ((1, fill[0], "FILLED"), fill[1])


@pytest.mark.parametrize(
    ("bar", "fill"), [((100, 106, 99, 104), (2, 105.6)), ((107, 108, 103, 104), (1, 107.6)), ((100, 104.9, 99, 104), None)]
)
def test_a_stop_is_a_taker_at_its_trigger_or_at_the_open(bar: tuple[float, ...], fill: tuple[float, float] | None) -> None:  # R2.4 R2.5
    result = one_symbol([FLAT, bar], stop(105.0), default_spread_bps=100.0)  # type: ignore[list-item]
    assert [one[:2] for one in fills(result)[:1]] == ([fill] if fill else [])


@pytest.mark.parametrize(
    ("bar", "price", "policy", "fill"),
    [
        ((100, 106, 99, 104), 106.0, "PESSIMISTIC", (2, 105.0, 0)),  # at the trigger the limit is not reached yet
        ((107, 108, 106.5, 107), 106.0, "PESSIMISTIC", None),  # the open triggers, and is beyond the limit
        ((107, 108, 105.5, 107), 106.0, "PESSIMISTIC", (2, 106.0, MAKER)),
        ((105.5, 108, 105.5, 107), 106.0, "PESSIMISTIC", (1, 105.5, 0)),
        ((100, 106, 99, 104), 103.0, "PESSIMISTIC", None),  # whether it came back to 103 after 105 is not known
        ((100, 106, 99, 102), 103.0, "PESSIMISTIC", (2, 103.0, MAKER)),
        ((100, 106, 99, 104), 103.0, "OPTIMISTIC", (2, 103.0, MAKER | AMBIGUOUS)),
        ((100, 106, 99, 104), 103.0, "OHLC", (2, 103.0, MAKER | AMBIGUOUS)),
        ((100, 106, 99, 104), 103.0, "OLHC", None),
    ],
)
def test_a_stop_limit_triggers_and_rests(
    bar: tuple[float, ...], price: float, policy: str, fill: tuple[float, float, int] | None
) -> None:  # R2.1 R3.4
    result = one_symbol([FLAT, bar], stop_limit(105.0, price), intrabar=Intrabar[policy])  # type: ignore[list-item]
    found = [(*one[:2], flag) for one, flag in zip(fills(result)[:1], flags(result)[:1], strict=True)]
    assert found == ([fill] if fill else [])


@pytest.mark.parametrize(
    ("side", "trigger", "price", "fill"),
    [
        (1, 105.0, 105.5, (105.5, MAKER)),
        (1, 105.0, 106.0, (106.0, MAKER)),
        (1, 105.0, 106.1, (106.1, 0)),
        (-1, 95.0, 94.5, (94.5, MAKER)),
        (-1, 95.0, 94.1, (94.1, MAKER)),
        (-1, 95.0, 94.0, (94.0, 0)),
    ],
)
def test_a_stop_limit_between_its_trigger_and_the_touch_there_makes_at_its_limit(
    side: int, trigger: float, price: float, fill: tuple[float, int]
) -> None:
    # R2.5 R3.4: at 105 the ask is 105 x 1.01 = 106.05, at 95 the bid 94.05, and the bar goes no further
    candles: Candles = [FLAT, (100, 105, 100, 104) if side > 0 else (100, 100, 95, 96), FLAT]
    row = stop_limit(trigger, price, action=LONG if side > 0 else SHORT)
    spread = {"A": {"ts": [at(1)], "bid": [99.0], "ask": [101.0]}}
    result = one_symbol(candles, row, data={"spread": spread}, taker_bps=10.0)
    assert fills(result)[0] == (2, fill[0], "FILLED")
    assert (flags(result)[0], of_kind(result, RecordKind.FILL)[0]["fee"] == 0) == (fill[1], fill[1] == MAKER)


def test_a_triggered_stop_limit_rests_on() -> None:  # R2.1
    result = one_symbol([FLAT, (107, 108, 106.5, 107), (107, 107, 104, 104.5)], stop_limit(105.0, 106.0))
    assert fills(result)[0] == (3, 106.0, "FILLED")


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(
    ("bar", "policy", "exit_", "marks"),
    [
        ((100, 102, 88, 99), "PESSIMISTIC", "STOP_LOSS", (MAKER, 0)),  # the low comes after an entry below
        ((100, 102, 88, 99), "OPTIMISTIC", "STOP_LOSS", (MAKER, 0)),
        ((100, 104, 94, 99), "PESSIMISTIC", "", (MAKER | AMBIGUOUS, 0)),  # the high may have been before it
        ((100, 104, 94, 99), "OPTIMISTIC", "TAKE_PROFIT", (MAKER, MAKER | AMBIGUOUS)),
        ((100, 104, 94, 103.5), "PESSIMISTIC", "TAKE_PROFIT", (MAKER, MAKER)),  # the close is after it
        ((100, 104, 88, 99), "PESSIMISTIC", "STOP_LOSS", (MAKER, AMBIGUOUS)),
        ((100, 104, 94, 99), "OLHC", "TAKE_PROFIT", (MAKER, MAKER | AMBIGUOUS)),
        ((100, 104, 94, 99), "OHLC", "", (MAKER | AMBIGUOUS, 0)),
    ],
)
def test_what_comes_after_an_entry_inside_the_bar(
    bar: tuple[float, ...], policy: str, exit_: str, marks: tuple[int, int], side: int
) -> None:  # R3.4
    candles: Any = [FLAT, bar, (99, 100, 98, 99)]
    if side < 0:
        candles = flipped(candles)
        policy = {"OLHC": "OHLC", "OHLC": "OLHC"}.get(policy, policy)
    mirrored = (lambda price: price) if side > 0 else (lambda price: 200 - price)
    row = limit(mirrored(95.0), action=LONG if side > 0 else SHORT, stop_loss=mirrored(90.0), take_profit=mirrored(103.0))
    result = one_symbol(candles, row, intrabar=Intrabar[policy])
    left = {"STOP_LOSS": 90.0, "TAKE_PROFIT": 103.0}.get(exit_)
    assert fills(result)[0] == (2, mirrored(95.0), "FILLED")
    assert fills(result)[1] == ((2, mirrored(left), exit_) if left else (3, mirrored(99.0), "RUN_ENDED"))
    assert tuple(flags(result)) == marks


def test_a_stop_entry_has_the_high_after_it_and_perhaps_the_low() -> None:  # R3.4
    bar = (100, 110, 98, 106)
    row = stop(105.0, stop_loss=99.0, take_profit=109.0)
    assert fills(one_symbol([FLAT, bar], row))[1] == (2, 99.0, "STOP_LOSS")
    assert fills(one_symbol([FLAT, bar], row, intrabar=Intrabar.OPTIMISTIC))[1] == (2, 109.0, "TAKE_PROFIT")


def test_levels_that_the_fill_has_passed_close_it_at_once() -> None:  # R2.5
    result = one_symbol([FLAT, (100, 101, 94, 99)], limit(95.0, stop_loss=96.0))
    assert fills(result) == [(2, 95.0, "FILLED"), (2, 95.0, "CROSSED_AT_ENTRY")]


def test_the_extreme_of_the_bar_of_a_touch_is_its_close() -> None:  # R3.5
    result = one_symbol([FLAT, (100, 110, 94, 99), (99, 99, 95, 97)], limit(95.0, trailing=3.0))
    assert fills(result)[1] == (3, 96.0, "TRAILING_STOP")


def test_an_entry_inside_the_bar_pays_the_funding_of_its_close_and_is_a_bar_old() -> None:  # R1.3 R2.1
    funding = {"A": {"ts": [at(2)], "rate": [0.01], "mark": [100.0]}}
    result = one_symbol([FLAT, (100, 101, 94, 99), FLAT], limit(95.0, max_bars=1), data={"funding": funding})
    assert [one["amount"] for one in of_kind(result, RecordKind.FUNDING)] == [-300]
    assert fills(result) == [(2, 95.0, "FILLED"), (2, 100.0, "MAX_BARS")]


@pytest.mark.parametrize(
    ("tif", "value", "end"),
    [
        (TimeInForce.BARS, 2, (3, 3, "EXPIRED")),
        (TimeInForce.GTD, at(3), (3, 3, "EXPIRED")),
        (TimeInForce.GTD, at(3.5), (3, 3, "EXPIRED")),  # no bar closes between 3 and 3:30
        (TimeInForce.GTD, at(1.5), (2, 3, "EXPIRED")),  # not even the first
        (TimeInForce.IOC, 0, (1, 3, "IMMEDIATE")),
        (TimeInForce.GTC, 0, (5, 3, "RUN_ENDED")),
    ],
)
def test_an_order_ends_at_the_close_of_the_last_bar_in_which_it_could_act(tif: TimeInForce, value: int, end: Row) -> None:  # R2.1
    result = one_symbol([FLAT] * 5, limit(95.0, tif=int(tif), tif_value=value))
    assert ends(result) == [end]


@pytest.mark.parametrize(("tif", "value", "filled"), [("BARS", 1, False), ("BARS", 2, True), ("GTD", at(2.9), False), ("GTD", at(3), True)])
def test_the_last_bar_counts(tif: str, value: int, filled: bool) -> None:  # R2.1
    result = one_symbol([FLAT, FLAT, (100, 101, 94, 99), FLAT], limit(95.0, tif=int(TimeInForce[tif]), tif_value=value))
    assert bool(fills(result)) == filled


def test_an_immediate_limit_takes_at_its_open_or_not_at_all() -> None:  # R2.1 R2.5
    now = {"tif": int(TimeInForce.IOC)}
    assert fills(one_symbol([FLAT, (94, 96, 94, 95)], limit(95.0, **now)))[0] == (1, 94.0, "FILLED")
    assert not fills(one_symbol([FLAT, (94.6, 96, 94, 95)], limit(95.0, **now), default_spread_bps=100.0))


def test_latency_keeps_an_order_out_of_bars_that_open_too_soon() -> None:  # R2.3
    dip = (100, 101, 94, 99)
    result = one_symbol([FLAT, dip, dip, FLAT], limit(95.0, tif=int(TimeInForce.BARS), tif_value=1), latency_us=1)
    assert fills(result)[0] == (3, 95.0, "FILLED")


@pytest.mark.parametrize(
    ("row", "price"),
    [(limit(95.07), 95.0), (limit(105.02, action=SHORT), 105.1), (stop(105.02), 105.1), (stop(95.07, action=SHORT), 95.0)],
)
def test_limits_go_to_the_passive_side_and_triggers_away_from_the_market(row: Row, price: float) -> None:  # R2.7
    order = of_kind(one_symbol([FLAT, FLAT], row), RecordKind.ORDER)[0]
    assert order["price"] == price


def test_an_order_says_what_it_is() -> None:  # R11.1
    row = stop_limit(105.0, 106.0, tif=int(TimeInForce.BARS), tif_value=2)
    order = of_kind(one_symbol([FLAT, FLAT], row), RecordKind.ORDER)[0]
    assert (order["price"], order["value"], order["flags"]) == (106.0, 105.0, OrderType.STOP_LIMIT + 4 * TimeInForce.BARS)


def test_sizes_refer_to_the_limit_or_the_trigger() -> None:  # R5.1
    half = (strategy(SizeKind.FIXED_FRACTION, 0.5),)
    for row, price, lots in ((limit(80.0), 80.0, 6), (stop(125.0), 125.0, 4), (stop_limit(105.0, 110.0), 110.0, 4), (propose(1), 100.0, 5)):
        approved = of_kind(one_symbol([FLAT, FLAT], row, strategies=half), RecordKind.APPROVED)[0]
        assert (approved["price"], approved["qty"]) == (price, lots)


@pytest.mark.parametrize("row", [limit(math.nan), limit(-5.0), stop(0.0), stop_limit(105.0, math.inf), limit(95.0, tif=1, tif_value=at(1))])
def test_an_order_without_a_price_or_a_future_is_invalid(row: Row) -> None:  # R4.1
    result = one_symbol([FLAT, FLAT], row)
    assert [one["reason"] for one in of_kind(result, RecordKind.REJECTED)] == [Reason.INVALID]


def test_entries_inside_a_bar_fill_in_approval_order_before_any_exit() -> None:  # R3.1
    desks = (strategy(SizeKind.FIXED_QTY, 3.0, name="a"), strategy(SizeKind.FIXED_QTY, 3.0, name="b"))
    rows = (limit(96.0, score=1.0, strategy="a", stop_loss=95.5), limit(97.0, score=2.0, strategy="b"))
    result = one_symbol([FLAT, (100, 101, 95, 99)], *rows, strategies=desks)
    assert fills(result)[:3] == [(2, 97.0, "FILLED"), (2, 96.0, "FILLED"), (2, 95.5, "STOP_LOSS")]


# participation: one lot of the volume of 1 may fill in each bar


def test_a_market_order_fills_over_several_opens() -> None:  # R2.6
    result = one_symbol([FLAT] * 6, propose(1), participation=1.0)
    assert fills(result)[:3] == [(1, 100.0, "PARTIAL"), (2, 100.0, "PARTIAL"), (3, 100.0, "FILLED")]
    assert flags(result)[:3] == [MORE, MORE, 0]


def test_reservations_and_exposure_are_released_with_each_part() -> None:  # R5.2
    # 700 of 1,000 are spoken for until they fill, and are held after it: never both, never neither
    whole = (strategy(SizeKind.FIXED_QTY, 7.0, name="a"), strategy(SizeKind.FIXED_QTY, 7.0, name="b"))
    rows = (propose(1, strategy="a"), propose(3, strategy="b", symbol="B"))
    data = market({"A": [FLAT] * 12, "B": [FLAT] * 12})
    result = agreed_replay(data, table(*rows), settings(12, strategies=whole, symbols="AB", participation=1.0, max_gross=1.0))
    assert [(one["qty"], one["amount"]) for one in of_kind(result, RecordKind.APPROVED)] == [(7, 70_000), (3, 30_000)]


def test_what_an_immediate_order_leaves_is_cancelled() -> None:  # R2.6
    result = one_symbol([FLAT] * 4, propose(1, tif=int(TimeInForce.IOC)), participation=1.0)
    assert (fills(result)[0], ends(result)) == ((1, 100.0, "PARTIAL"), [(1, 2, "IMMEDIATE")])


def test_a_triggered_stop_becomes_a_market_order() -> None:  # R2.6
    result = one_symbol([FLAT, (100, 106, 99, 104), (103, 103, 102, 102), FLAT, FLAT], stop(105.0), participation=1.0)
    assert fills(result)[:3] == [(2, 105.0, "PARTIAL"), (2, 103.0, "PARTIAL"), (3, 100.0, "FILLED")]


def test_a_stop_loss_leaves_its_rest_to_the_next_opens() -> None:  # R2.6
    # once the stop is triggered, the target is gone
    volume = [9.0, 9.0, 1.0, 1.0, 1.0, 1.0]
    data = market({"A": [FLAT, FLAT, FLAT, (100, 100, 89, 91), (88, 120, 88, 88), (87, 87, 87, 87)]})
    data.columns["bars"]["volume"].setflags(write=True)
    data.columns["bars"]["volume"][:] = volume
    result = agreed_replay(data, table(propose(1, stop_loss=90.0, take_profit=110.0)), settings(6, participation=1.0))
    assert fills(result)[1:] == [(4, 90.0, "STOP_LOSS"), (4, 88.0, "STOP_LOSS"), (5, 87.0, "STOP_LOSS")]
    assert flags(result) == [0, MORE, MORE, 0]


def test_closing_a_position_cancels_the_rest_of_its_entry() -> None:  # R2.1
    result = one_symbol([FLAT, FLAT, (100, 100, 94, 96), FLAT], propose(1, stop_loss=95.0), participation=1.0)
    # one lot at 1, one at 2; the stop at 3 has no volume left, and the rest of the entry goes with its order
    assert ends(result)[0] == (3, 1, "POSITION_CLOSED")
    assert fills(result)[2:] == [(3, 100.0, "STOP_LOSS"), (4, 100.0, "RUN_ENDED")]


def test_exits_come_first_where_volume_is_short() -> None:  # R2.6
    desks = (StrategySettings("a", size=SizeKind.FIXED_QTY, amount=1.0), StrategySettings("b", size=SizeKind.FIXED_QTY, amount=1.0))
    rows = (propose(1, strategy="b"), propose(2, EXIT, strategy="b"), propose(2, strategy="a"))
    result = one_symbol([FLAT] * 5, *rows, strategies=desks, participation=1.0)
    assert [one[::2] for one in fills(result)[:3]] == [(1, "FILLED"), (2, "SIGNAL"), (3, "FILLED")]
    touching = (limit(95.0, strategy="a"), propose(1, strategy="b", stop_loss=96.0))
    inside = one_symbol([FLAT, FLAT, (100, 100, 94, 94), (94, 94, 94, 94)], *touching, strategies=desks, participation=1.0)
    assert [one[::2] for one in fills(inside)[:3]] == [(1, "FILLED"), (3, "STOP_LOSS"), (3, "FILLED")]
