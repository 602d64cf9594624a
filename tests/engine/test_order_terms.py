"""In which bars an entry order may act, and the prices that a split gives it, worked by hand; both replays agree."""

from typing import Any

import pytest

from engine.dataset import Dataset, from_columns
from engine.schema import Action, OrderType, Reason, RecordKind, SizeKind, TimeInForce
from engine.session import Session
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
    instrument,
    market,
    of_kind,
    propose,
    settings,
    strategy,
    table,
)
from tests.oracle.replay import OracleResult

SIDES = pytest.mark.parametrize("side", [1, -1])
GTD, BARS = int(TimeInForce.GTD), int(TimeInForce.BARS)


def at_hours(candles: dict[int, tuple[float, float, float, float]]) -> Dataset:
    """Hourly bars that begin at these hours, and none between."""
    columns: Row = {"open_ts": [at(hour) for hour in candles], "ts": [at(hour + 1) for hour in candles], "volume": [1.0] * len(candles)}
    columns |= dict(zip(("open", "high", "low", "close"), zip(*candles.values(), strict=True), strict=True))
    return from_columns({"bars": {("A", "1h", HOUR): columns}})


def flipped(candles: Candles) -> Candles:
    return [(200 - opened, 200 - low, 200 - high, 200 - close) for opened, high, low, close in candles]


def order(side: int, *, limit: float | None = None, trigger: float | None = None, **columns: Any) -> Row:
    """An order to buy at these prices; with a side of -1 its mirror image about 100."""
    kind = OrderType.LIMIT if trigger is None else OrderType.STOP if limit is None else OrderType.STOP_LIMIT
    prices = {"limit_price": limit, "stop_price": trigger}
    mirrored = {name: price if side > 0 else 200.0 - price for name, price in prices.items() if price is not None}
    return propose(columns.pop("hour", 1), LONG if side > 0 else SHORT, order_type=int(kind), **mirrored, **columns)


def ends(result: OracleResult) -> list[tuple[float, int, str]]:
    """(hour, lots, reason) of what was cancelled."""
    return [((one["ts"] - MIDNIGHT) / HOUR, one["qty"], Reason(one["reason"]).name) for one in of_kind(result, RecordKind.CANCELLED)]


# bars


@SIDES
@pytest.mark.parametrize("order_type", [OrderType.MARKET, OrderType.LIMIT])
def test_an_order_acts_in_no_bar_that_closes_after_its_time(order_type: OrderType, side: int) -> None:
    # R2.1: good till half past three; no bar closes between two and four, and the one that does reaches the limit too late
    # of a market order the one lot that the bar at one has volume for fills
    hours = (0, 1, 3)
    candles = dict(zip(hours, [FLAT, FLAT, (100.0, 105.0, 95.0, 100.0)], strict=True))
    row = order(side, limit=95.0, tif=GTD, tif_value=at(3.5)) | {"order_type": int(order_type)}
    result = agreed_replay(at_hours(candles), table(row), settings(4, participation=1.0))
    filled = int(order_type == OrderType.MARKET)
    assert fills(result)[:filled] == [(1, 100.0, "PARTIAL")] * filled
    assert (len(fills(result)), ends(result)) == (2 * filled, [(4, 3 - filled, "EXPIRED")])


@SIDES
def test_the_only_bar_of_an_order_is_enough(side: int) -> None:  # R2.1
    dip = [FLAT, (100.0, 100.0, 94.0, 99.0), FLAT]
    row = order(side, limit=95.0, tif=GTD, tif_value=at(2))
    result = agreed_replay(market({"A": dip if side > 0 else flipped(dip)}), table(row), settings(3))
    assert fills(result)[0] == (2, 95.0 if side > 0 else 105.0, "FILLED")


def test_a_market_order_that_latency_keeps_from_its_bars_expires() -> None:  # R2.1 R2.3
    # the first bar that opens after the latency closes at three
    row = propose(1, tif=GTD, tif_value=at(2))
    assert ends(agreed_replay(market({"A": [FLAT] * 4}), table(row), settings(4, latency_us=1))) == [(2, 3, "EXPIRED")]


def test_an_order_expires_by_itself() -> None:  # R2.1
    two = tuple(strategy(SizeKind.FIXED_QTY, qty, name=name) for name, qty in (("a", 1.0), ("b", 2.0), ("c", 3.0)))
    prices = {"order_type": int(OrderType.LIMIT), "limit_price": 90.0}
    rows = [propose(1, strategy="a", **prices), propose(1, strategy="b", tif=BARS, tif_value=2, **prices)]
    rows += [propose(1, strategy="c", symbol="B", tif=BARS, tif_value=1, **prices)]
    result = agreed_replay(market({"A": [FLAT] * 4, "B": [FLAT] * 4}), table(*rows), settings(4, symbols="AB", strategies=two))
    assert ends(result) == [(2, 3, "EXPIRED"), (3, 2, "EXPIRED"), (4, 1, "RUN_ENDED")]


def test_what_expires_at_one_close_does_so_symbol_by_symbol() -> None:  # R1.1 R2.1
    # approved: B's of strategy a, then A's of both
    two = tuple(strategy(SizeKind.FIXED_QTY, qty, name=name) for name, qty in (("a", 1.0), ("b", 2.0)))
    plain = {"order_type": int(OrderType.LIMIT), "limit_price": 90.0, "tif": BARS, "tif_value": 1}
    rows = [propose(1, symbol="B", strategy="a", score=3.0, **plain)]
    rows += [propose(1, strategy="b", score=2.0, **plain), propose(1, strategy="a", score=1.0, **plain)]
    result = agreed_replay(market({"A": [FLAT] * 3, "B": [FLAT] * 3}), table(*rows), settings(3, symbols="AB", strategies=two))
    assert [(one["symbol"], one["strategy"]) for one in of_kind(result, RecordKind.CANCELLED)] == [(0, 1), (0, 0), (1, 0)]


# the bar that an order waits for, where it has waited already


@SIDES
@pytest.mark.parametrize(
    ("bar", "prices", "fill"),
    [
        ((90.0, 92.0, 89.0, 91.0), {"limit": 95.0}, 95.0),  # all of it below the limit
        ((101.0, 104.0, 94.0, 100.0), {"limit": 95.0}, 95.0),
        ((100.0, 105.5, 100.0, 105.0), {"trigger": 105.0, "limit": 106.0}, 105.0),  # beyond the trigger, not as far as the limit
        ((100.0, 105.0, 97.0, 104.0), {"trigger": 105.0}, 105.0),
        ((108.0, 109.0, 107.0, 108.0), {"trigger": 105.0}, 108.0),
    ],
)
def test_an_order_that_waited_meets_the_first_bar_that_reaches_it(bar: Any, prices: Row, fill: float, side: int) -> None:
    # R2.4 R10.1
    candles = [FLAT, FLAT, FLAT, bar, FLAT]
    result = agreed_replay(market({"A": candles if side > 0 else flipped(candles)}), table(order(side, **prices)), settings(5))
    assert fills(result)[0][0] in (3, 4)
    assert fills(result)[0][1] == (fill if side > 0 else 200 - fill)


# what else there is at an instant


@pytest.mark.parametrize("levels", [{}, {"stop_loss": 90.0}])
def test_an_exit_waits_for_the_open_where_no_bar_begins_at_once(levels: Row) -> None:  # R2.3 R8.5
    candles = dict(zip((0, 1, 4), [FLAT, FLAT, (101.0, 101.0, 101.0, 101.0)], strict=True))
    result = agreed_replay(at_hours(candles), table(propose(1, **levels), propose(2, Action.EXIT)), settings(5))
    assert fills(result) == [(1, 100.0, "FILLED"), (4, 101.0, "SIGNAL")]


def test_an_entry_inside_a_bar_meets_what_happens_at_its_close() -> None:  # R1.2 R8.3
    dip: Candles = [FLAT, (100.0, 101.0, 94.0, 99.0), FLAT]
    left = {"A": {"ts": [at(0), at(2)], "listed": [1, 0]}}
    row = order(1, limit=95.0)
    leaves = agreed_replay(market({"A": dip}, universe=left), table(row), settings(3))
    ended = agreed_replay(market({"A": dip}), table(row), settings(3, instruments=(instrument(kind="future", expiry=at(2)),)))
    assert fills(leaves) == [(2, 95.0, "FILLED"), (2, 100.0, "LEFT_UNIVERSE")]
    assert fills(ended) == [(2, 95.0, "FILLED"), (2, 99.0, "EXPIRED")]


def test_no_order_is_pending_after_the_end() -> None:  # R8.6
    session = Session(market({"A": [FLAT] * 3}), table(order(1, limit=95.0)), settings(3))
    session.advance(at(2))
    assert len(session.view.orders) == 1
    session.run()
    assert session.view.orders == ()


# splits


def parted(num: int, den: int, row: Row, *bars: tuple[float, float, float, float], **changes: Any) -> OracleResult:
    """Two bars at 100, a split where the second closes, and these after it."""
    actions = {"ts": [at(2)], "kind": [0], "value": [0.0], "num": [num], "den": [den]}
    candles = [FLAT, FLAT, *bars]
    return agreed_replay(market({"A": candles}, actions={"A": actions}), table(row), settings(len(candles), **changes))


@pytest.mark.parametrize(
    ("action", "kind", "price", "opened", "fill"),
    [
        (LONG, OrderType.STOP, 100.1, 33.0, 33.4),  # a third is 33.3667
        (SHORT, OrderType.STOP, 99.8, 34.0, 33.2),  # a third is 33.2667
        (LONG, OrderType.LIMIT, 99.8, 34.0, 33.2),
        (SHORT, OrderType.LIMIT, 100.1, 33.0, 33.4),
    ],
)
def test_the_prices_of_an_order_go_on_the_tick_of_the_new_shares(
    action: Any, kind: OrderType, price: float, opened: float, fill: float
) -> None:
    # R2.7 R8.1: a limit to the passive side, a trigger away from the market
    row = propose(1, action, order_type=int(kind), limit_price=price, stop_price=price)
    bar = (opened, max(opened, fill), min(opened, fill), fill)
    assert fills(parted(3, 1, row, bar))[0] == (3, fill, "FILLED")


@pytest.mark.parametrize(
    ("kind", "action"), [(OrderType.LIMIT, LONG), (OrderType.STOP, SHORT), (OrderType.STOP_LIMIT, LONG), (OrderType.STOP_LIMIT, SHORT)]
)
def test_an_order_that_the_split_leaves_without_a_price_is_invalid(kind: OrderType, action: Any) -> None:
    # R8.1: a third of a tick; a stop-limit needs both of its prices
    limit, trigger = (0.1, 105.0) if action == LONG else (90.0, 0.1)
    row = propose(1, action, order_type=int(kind), limit_price=limit, stop_price=trigger)
    assert ends(parted(3, 1, row, (33.0, 33.0, 33.0, 33.0))) == [(2, 3, "INVALID")]


@SIDES
def test_an_order_that_no_bar_reached_is_looked_at_again_after_a_split(side: int) -> None:  # R8.1 R10.1
    # twice 95 is above, twice 105 below what the bars were
    row = order(side, limit=95.0)
    fill = 190.0 if side > 0 else 210.0
    assert fills(parted(1, 2, row, (200.0, max(200.0, fill), min(200.0, fill), 200.0)))[0] == (3, fill, "FILLED")


def test_an_order_for_which_no_bar_is_left_follows_a_split() -> None:  # R8.1
    result = parted(2, 1, order(1, limit=95.0, hour=2))
    assert [(one["qty"], one["price"]) for one in of_kind(result, RecordKind.SPLIT)] == [(6, 50.0)]
    assert ends(result) == [(2, 6, "RUN_ENDED")]
