"""Entries that fill inside a bar, and what of the bar comes after them, worked by hand on candles of bid and ask.  # R3.4"""

from typing import Any

import pytest

from engine.dataset import Dataset, from_columns
from engine.schema import AMBIGUOUS, Action, Intrabar, LimitTouch, OrderType, RecordKind, SizeKind
from tests.differential import agreed_replay
from tests.oracle.examples import FLAT, HOUR, LONG, SHORT, Candles, Row, at, fills, market, of_kind, propose, settings, strategy, table
from tests.oracle.replay import OracleResult

SIDES = pytest.mark.parametrize("side", [1, -1])
TURNED = {"OLHC": "OHLC", "OHLC": "OLHC"}
Bar = tuple[float, float, float, float]


def sided(asks: Candles, bids: Candles) -> Dataset:
    """Candles of both sides, and those of the bid as what was traded."""
    names, hours = ("open", "high", "low", "close"), range(len(asks))
    columns: Row = {"open_ts": [at(hour) for hour in hours], "ts": [at(hour + 1) for hour in hours], "volume": [1.0] * len(asks)}
    for side, candles in (("", bids), ("ask_", asks), ("bid_", bids)):
        columns |= {side + name: list(column) for name, column in zip(names, zip(*candles, strict=True), strict=True)}
    return from_columns({"bars": {("A", "1h", HOUR): columns}})


def flipped(candles: Candles) -> Candles:
    return [(200 - opened, 200 - low, 200 - high, 200 - close) for opened, high, low, close in candles]


def entry(side: int, *, limit: float | None = None, trigger: float | None = None, **levels: float) -> Row:
    """An order to buy at these prices; with a side of -1 its mirror image about 100."""
    kind = OrderType.LIMIT if trigger is None else OrderType.STOP if limit is None else OrderType.STOP_LIMIT
    prices = {"limit_price": limit, "stop_price": trigger, **levels}
    mirrored = {name: price if side > 0 else 200.0 - price for name, price in prices.items() if price is not None}
    return propose(1, LONG if side > 0 else SHORT, order_type=int(kind), **mirrored)


def on_both_sides(ask: Bar, bid: Bar, row: Row, policy: str, after: Bar = FLAT) -> OracleResult:
    """The replay of an order that meets the second bar: these candles for one to buy, their mirror image for one to sell."""
    asks, bids = [FLAT, ask, after], [FLAT, bid, after]
    if row["action"] == SHORT:
        asks, bids, policy = list(flipped(bids)), list(flipped(asks)), TURNED.get(policy, policy)
    return agreed_replay(sided(asks, bids), table(row), settings(3, intrabar=Intrabar[policy]))


def left_at(result: OracleResult, side: int) -> tuple[float, str] | None:
    """(price, reason) of what leaves inside the bar of the entry, mirrored back."""
    entered, left = fills(result)[:2]
    assert entered[0] == 2
    return (left[1] if side > 0 else 200 - left[1], left[2]) if left[0] == 2 else None


ASK, BID = (100.0, 106.0, 94.0, 101.0), (98.0, 103.0, 91.0, 99.0)


@SIDES
def test_an_entry_meets_the_candles_of_its_own_side(side: int) -> None:  # R2.2
    assert not fills(on_both_sides(ASK, BID, entry(side, limit=92.0), "PESSIMISTIC", ASK))
    assert not fills(on_both_sides(BID, BID, entry(side, trigger=105.0), "PESSIMISTIC", BID))
    assert fills(on_both_sides(ASK, BID, entry(side, limit=94.0), "PESSIMISTIC"))[0][0] == 2
    assert fills(on_both_sides(ASK, BID, entry(side, trigger=105.0), "PESSIMISTIC"))[0][0] == 2


@SIDES
@pytest.mark.parametrize("prices", [{"trigger": 105.0}, {"limit": 94.0}])
def test_an_order_that_waited_meets_the_candles_of_its_own_side(prices: dict[str, float], side: int) -> None:  # R2.2 R10.1
    # in the third bar the ask reaches either price; the bid never gets to 105
    asks: Candles = [FLAT, (101.0, 104.0, 98.0, 101.0), (100.0, 106.0, 94.0, 101.0), FLAT]
    bids: Candles = [FLAT, (101.0, 103.0, 95.0, 101.0), (98.0, 103.0, 91.0, 99.0), FLAT]
    if side < 0:
        asks, bids = flipped(bids), flipped(asks)
    assert fills(agreed_replay(sided(asks, bids), table(entry(side, **prices)), settings(4)))[0][0] == 3


@SIDES
@pytest.mark.parametrize(
    ("levels", "policy", "left"),
    [
        # bought at 95 on the way down; what follows is the bid's: its low of 91 and its close of 99 for certain, its high of 103 perhaps
        ({"stop_loss": 91.0}, "PESSIMISTIC", (91.0, "STOP_LOSS")),
        ({"stop_loss": 90.9}, "PESSIMISTIC", None),
        ({"stop_loss": 91.0}, "OPTIMISTIC", (91.0, "STOP_LOSS")),
        ({"stop_loss": 90.9}, "OPTIMISTIC", None),
        ({"take_profit": 103.0}, "OPTIMISTIC", (103.0, "TAKE_PROFIT")),
        ({"take_profit": 103.1}, "OPTIMISTIC", None),
        ({"take_profit": 99.0}, "PESSIMISTIC", (99.0, "TAKE_PROFIT")),
        ({"take_profit": 99.1}, "PESSIMISTIC", None),
        ({"take_profit": 103.0}, "OLHC", (103.0, "TAKE_PROFIT")),
        ({"take_profit": 103.1}, "OLHC", None),
        ({"take_profit": 99.0}, "OHLC", (99.0, "TAKE_PROFIT")),
        ({"take_profit": 99.1}, "OHLC", None),
        ({"stop_loss": 91.0}, "OHLC", (91.0, "STOP_LOSS")),
        ({"stop_loss": 90.9}, "OLHC", None),
        ({"stop_loss": 92.0, "take_profit": 99.0}, "OHLC", (92.0, "STOP_LOSS")),
        ({"stop_loss": 90.0, "take_profit": 99.0}, "OLHC", (99.0, "TAKE_PROFIT")),
    ],
)
def test_what_comes_after_a_limit_is_seen_on_the_exit_side(levels: Row, policy: str, left: tuple[float, str] | None, side: int) -> None:
    # R3.4: the next bar opens between all of these levels
    result = on_both_sides(ASK, BID, entry(side, limit=95.0, **levels), policy, (97.0, 97.0, 97.0, 97.0))
    assert left_at(result, side) == left


@SIDES
@pytest.mark.parametrize(("stop", "reason"), [(96.0, "CROSSED_AT_ENTRY"), (94.0, "STOP_LOSS")])
def test_an_exit_is_never_better_than_the_candle_of_its_side(stop: float, reason: str, side: int) -> None:
    # R2.2 R3.4: bought at 95, while the bid was nowhere above 93
    result = on_both_sides(ASK, (90.0, 93.0, 89.0, 92.0), entry(side, limit=95.0, stop_loss=stop), "PESSIMISTIC")
    assert left_at(result, side) == (93.0, reason)


@pytest.mark.parametrize(
    ("action", "bid", "ask", "first"),  # whether the bar goes to its low first
    [
        (LONG, (96.0, 97.0), (100.0, 99.0), True),
        (LONG, (96.0, 96.0), (99.0, 100.0), False),
        (LONG, (96.0, 95.0), (99.0, 100.0), False),
        (SHORT, (96.0, 95.0), (99.0, 100.0), True),
        (SHORT, (95.0, 96.0), (99.0, 99.0), False),
        (SHORT, (95.0, 96.0), (100.0, 99.0), False),
    ],
)
def test_whether_a_bar_rises_is_seen_on_the_side_that_will_close(action: Action, bid: Any, ask: Any, first: bool) -> None:
    # R3.3: a long bought below is at its target if the low came first, a short sold above if the high did
    price, target = (94.0, 103.0) if action == LONG else (104.0, 92.0)
    row = propose(1, action, order_type=int(OrderType.LIMIT), limit_price=price, take_profit=target)
    asks, bids = [FLAT, (ask[0], 106.0, 92.0, ask[1]), FLAT], [FLAT, (bid[0], 104.0, 91.0, bid[1]), FLAT]
    result = agreed_replay(sided(asks, bids), table(row), settings(3, intrabar=Intrabar.ADAPTIVE))
    gains = first if action == LONG else not first
    assert fills(result)[:2] == [(2, price, "FILLED"), (2, target, "TAKE_PROFIT") if gains else (3, 100.0, "RUN_ENDED")]


RISE = (100.0, 110.0, 98.0, 106.0)


@SIDES
@pytest.mark.parametrize(
    ("levels", "policy", "left", "ambiguous"),
    [
        # bought at 105 on the way up: the high of 110 and the close of 106 come after it for certain, the low of 98 perhaps
        ({"take_profit": 110.0}, "PESSIMISTIC", (110.0, "TAKE_PROFIT"), False),
        ({"stop_loss": 99.0}, "OPTIMISTIC", None, True),
        ({"stop_loss": 98.0}, "PESSIMISTIC", (98.0, "STOP_LOSS"), True),
        ({"stop_loss": 97.9}, "PESSIMISTIC", None, False),
        ({"stop_loss": 99.0}, "OHLC", (99.0, "STOP_LOSS"), True),
        ({"stop_loss": 99.0}, "OLHC", None, True),
        ({"take_profit": 109.0, "stop_loss": 99.0}, "OHLC", (109.0, "TAKE_PROFIT"), True),
    ],
)
def test_what_comes_after_a_stop(levels: Row, policy: str, left: tuple[float, str] | None, ambiguous: bool, side: int) -> None:  # R3.4
    result = on_both_sides(RISE, RISE, entry(side, trigger=105.0, **levels), policy)
    told = of_kind(result, RecordKind.FILL)[1 if left else 0]  # the exit, or the entry if there is none
    assert (left_at(result, side), bool(told["flags"] & AMBIGUOUS)) == (left, ambiguous)


@SIDES
@pytest.mark.parametrize(
    ("close", "stop", "policy", "left"),
    [
        # triggered at 105, back at 103: a close of 102 is all that is certain; with one of 104 the low of 99 has filled it, and came after
        (102.0, 100.0, "OPTIMISTIC", None),
        (102.0, 100.0, "PESSIMISTIC", (100.0, "STOP_LOSS")),
        (102.0, 102.0, "OPTIMISTIC", (102.0, "STOP_LOSS")),
        (104.0, 100.0, "OPTIMISTIC", (100.0, "STOP_LOSS")),
        (104.0, 99.0, "OPTIMISTIC", (99.0, "STOP_LOSS")),
        (104.0, 98.9, "OPTIMISTIC", None),
        (104.0, 100.0, "OHLC", (100.0, "STOP_LOSS")),
        (102.0, 100.0, "OLHC", None),
    ],
)
def test_what_comes_after_a_stop_limit_that_came_back(
    close: float, stop: float, policy: str, left: tuple[float, str] | None, side: int
) -> None:  # R3.4
    bar, after = (100.0, 106.0, 99.0, close), (104.5, 105.0, 104.0, 104.5)
    result = on_both_sides(bar, bar, entry(side, trigger=105.0, limit=103.0, stop_loss=stop), policy, after)
    assert left_at(result, side) == left


@SIDES
def test_a_stop_limit_comes_back_on_the_side_that_it_was_triggered_on(side: int) -> None:  # R2.2 R3.4
    # the bid closes at 102, below the limit of 103; the ask, which a buy meets, at 104
    row = entry(side, trigger=105.0, limit=103.0)
    bars = (100.0, 106.0, 99.0, 104.0), (98.0, 105.0, 97.0, 102.0)
    assert not fills(on_both_sides(*bars, row, "PESSIMISTIC", (104.0, 104.0, 104.0, 104.0)))
    assert not fills(on_both_sides(*bars, row, "OLHC", (104.0, 104.0, 104.0, 104.0)))


# volume that is promised to exits

TWO = tuple(strategy(SizeKind.FIXED_QTY, 1.0, name=name) for name in "ab")


@pytest.mark.parametrize(("touch", "first"), [(LimitTouch.TOUCH, "TAKE_PROFIT"), (LimitTouch.THROUGH, "FILLED")])
def test_only_what_leaves_inside_the_bar_has_its_volume_promised(touch: LimitTouch, first: str) -> None:
    # R2.4 R2.6: one lot a bar; at 105 the target of b is met, or has to be passed, and the stop entry of a is met
    rows = (propose(2, strategy="a", order_type=int(OrderType.STOP), stop_price=104.0), propose(1, strategy="b", take_profit=105.0))
    data = market({symbol: [FLAT, FLAT, (100.0, 105.0, 100.0, 104.0), (104.0, 104.0, 104.0, 104.0)] for symbol in "AB"})
    result = agreed_replay(data, table(*rows), settings(4, symbols="AB", strategies=TWO, participation=1.0, limit_touch=touch))
    assert fills(result)[1][::2] == (3, first)
