"""How much of an entry fills, and at which price, where cash, fees and the order's own weight decide; worked by hand, both replays agree."""

from typing import Any

import pytest

from engine.instrument import Decimals, Rules
from engine.money import MONEY_LIMIT
from engine.schema import MAKER, LimitGap, OrderType, Reason, RecordKind, SizeKind, Slippage, TimeInForce, Timing
from tests.differential import agreed_replay
from tests.oracle.examples import (
    FLAT,
    HOUR,
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
)
from tests.oracle.replay import OracleResult

SPOT = (instrument(kind="spot"),)
TEN = (strategy(SizeKind.FIXED_QTY, 10.0),)


def one_symbol(candles: Candles, *rows: Row, volumes: list[float] | None = None, **changes: Any) -> OracleResult:
    data = market({"A": candles})
    if volumes is not None:
        data.columns["bars"]["volume"].setflags(write=True)
        data.columns["bars"]["volume"][:] = volumes
    return agreed_replay(data, table(*rows), settings(len(candles), **changes))


def first_fill(result: OracleResult) -> tuple[int, float]:
    """(lots, price) of the first fill."""
    fill = of_kind(result, RecordKind.FILL)[0]
    return fill["qty"], fill["price"]


@pytest.mark.parametrize("slippage", [Slippage.NONE, Slippage.VOLUME_SHARE, Slippage.SQRT_IMPACT])
@pytest.mark.parametrize(("bps", "lots"), [(0.0, 10), (100.0, 9)])
def test_a_resting_limit_is_paid_with_the_maker_fee_and_moves_no_price(slippage: Slippage, bps: float, lots: int) -> None:
    # R2.5 R5.2: ten at 100 are all of 1,000; with a hundredth on top there are nine
    row = propose(1, order_type=int(OrderType.LIMIT), limit_price=100.0)
    costs: Row = {"maker_bps": bps, "slippage": slippage, "slippage_amount": 0.1}
    result = one_symbol([(101.0, 101.0, 101.0, 101.0), (101.0, 101.0, 100.0, 101.0)], row, instruments=SPOT, strategies=TEN, **costs)
    assert (first_fill(result), of_kind(result, RecordKind.FILL)[0]["flags"] & MAKER) == ((lots, 100.0), MAKER)


@pytest.mark.parametrize(("kind", "price"), [(Slippage.SQRT_IMPACT, 109.1), (Slippage.VOLUME_SHARE, 106.7)])
def test_the_price_is_that_of_the_lots_that_are_paid(kind: Slippage, price: float) -> None:
    # R5.2: ten of eleven cost 109.6 or 108.3 apiece, more than there is; nine 100 + 10 x 0.9045, or 100 + 10 x 0.6694
    costs: Row = {"slippage": kind, "slippage_amount": 0.1}
    assert first_fill(one_symbol([FLAT] * 2, propose(1), volumes=[11.0, 11.0], instruments=SPOT, strategies=TEN, **costs)) == (9, price)


def test_a_short_that_moves_its_price_is_judged_at_the_best_it_may_get_and_the_taker_fee() -> None:
    # R5.2: nine were approved at 100; at 107 eight take 856 and a fee of 34.24, nine 1,001.52
    # two for one of the volume: they are sold a tenth lower
    costs: Row = {"slippage": Slippage.SQRT_IMPACT, "slippage_amount": 0.1, "taker_bps": 400.0}
    candles = [FLAT, (107.0, 107.0, 107.0, 107.0)]
    assert first_fill(one_symbol(candles, propose(1, SHORT), volumes=[4.0, 4.0], strategies=TEN, **costs)) == (8, 96.3)


def test_lots_of_the_time_that_move_their_price_are_paid_at_what_all_of_them_cost() -> None:
    # R2.7 R5.2: nine, three lots of three, are all of the volume and cost 120 apiece; six 100 + 20 x 0.8165
    threes = (instrument(kind="spot", rules=(Rules(at(0), Decimals(1, 10), Decimals(3, 1)),)),)
    costs: Row = {"slippage": Slippage.SQRT_IMPACT, "slippage_amount": 0.2}
    assert first_fill(one_symbol([FLAT] * 2, propose(1), volumes=[9.0, 9.0], instruments=threes, strategies=TEN, **costs)) == (6, 116.4)


@pytest.mark.parametrize(
    ("price", "decimals", "most"),
    [(100.0, 2, MONEY_LIMIT // 2 // 10_000), (0.5, 0, MONEY_LIMIT // 2)],
)
@pytest.mark.parametrize("action", [LONG, SHORT])
def test_a_size_made_at_the_fill_is_at_most_half_of_what_money_can_hold(action: Any, price: float, decimals: int, most: int) -> None:
    # R5.1 R6.3: at a leverage of a hundred the account could pay for more than its numbers hold
    candles = [(price, price, price, price)] * 2
    rich: Row = {"cash": 10**15, "leverage": 100.0, "strategies": (strategy(SizeKind.ALL_IN, 0.001),), "size_at_fill": True}
    assert first_fill(one_symbol(candles, propose(1, action), decimals=decimals, **rich)) == (most, price)


# what is left of an order that fills at a close: one lot a bar


def test_what_a_close_leaves_of_an_order_fills_at_the_next_opens() -> None:  # R2.3 R2.6
    result = one_symbol([FLAT] * 4, propose(1), participation=1.0, timing=Timing.NEXT_CLOSE)
    assert fills(result)[:3] == [(2, 100.0, "PARTIAL"), (2, 100.0, "PARTIAL"), (3, 100.0, "FILLED")]


def test_what_a_close_leaves_of_an_order_comes_before_later_ones_at_the_next_open() -> None:  # R1.4 R2.6
    both = tuple(strategy(SizeKind.FIXED_QTY, qty, name=name) for name, qty in (("a", 3.0), ("b", 1.0)))
    rows = (propose(1, strategy="a"), propose(1.5, strategy="b", order_type=int(OrderType.LIMIT), limit_price=100.0))
    result = one_symbol([FLAT] * 6, *rows, participation=1.0, timing=Timing.NEXT_CLOSE, strategies=both)
    filled = [((one["ts"] - at(0)) / HOUR, one["strategy"]) for one in of_kind(result, RecordKind.FILL)]
    assert filled[:4] == [(2, 0), (2, 0), (3, 0), (4, 1)]


@pytest.mark.parametrize(
    ("tif", "value"), [(TimeInForce.BARS, 1), (TimeInForce.GTD, at(2)), (TimeInForce.GTD, at(2) + 1), (TimeInForce.GTD, at(3) - 1)]
)
def test_what_a_close_leaves_of_an_order_expires_there_if_that_was_its_last_bar(tif: TimeInForce, value: int) -> None:  # R2.1 R2.3
    row = propose(1, tif=int(tif), tif_value=value)
    result = one_symbol([FLAT] * 4, row, participation=1.0, timing=Timing.NEXT_CLOSE)
    assert fills(result)[0] == (2, 100.0, "PARTIAL")
    assert [(one["ts"], one["qty"], one["reason"]) for one in of_kind(result, RecordKind.CANCELLED)] == [(at(2), 2, Reason.EXPIRED)]


def test_what_a_close_leaves_of_an_order_lives_on_while_a_bar_is_left() -> None:  # R2.1 R2.3
    for tif, value in ((TimeInForce.BARS, 2), (TimeInForce.GTD, at(3))):
        result = one_symbol([FLAT] * 4, propose(1, tif=int(tif), tif_value=value), participation=1.0, timing=Timing.NEXT_CLOSE)
        assert fills(result)[:2] == [(2, 100.0, "PARTIAL"), (2, 100.0, "PARTIAL")]
        assert [(one["ts"], one["qty"], one["reason"]) for one in of_kind(result, RecordKind.CANCELLED)] == [(at(3), 1, Reason.EXPIRED)]


# the tick of a limit that the open has passed


@pytest.mark.parametrize(("action", "limit", "opened", "price"), [(LONG, 95.2, 94.95, 95.0), (SHORT, 104.8, 105.05, 105.0)])
def test_a_limit_that_fills_at_the_open_does_so_on_the_tick_against_it(action: Any, limit: float, opened: float, price: float) -> None:
    # R2.4 R2.5
    row = propose(1, action, order_type=int(OrderType.LIMIT), limit_price=limit)
    result = one_symbol([FLAT, FLAT, (opened, opened, opened, opened)], row, limit_gap=LimitGap.OPEN)
    assert fills(result)[0] == (2, price, "FILLED")


def test_a_tick_that_has_grown_since_takes_no_limit_beyond_its_price() -> None:  # R2.5 R2.7
    # on ticks of two from half past one the open of 95 is 96 to a buyer, whose limit was 95.3
    row = propose(1, order_type=int(OrderType.LIMIT), limit_price=95.3)
    grown = (instrument(rules=(Rules(at(1.5), Decimals(2, 1), Decimals(1, 1)),)),)
    result = one_symbol([FLAT, FLAT, (95.0, 95.0, 95.0, 95.0)], row, limit_gap=LimitGap.OPEN, instruments=grown)
    assert fills(result)[0] == (2, 95.3, "FILLED")
