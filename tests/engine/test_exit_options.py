"""Brackets by option, worked by hand: break-even, closes, the bar's own extreme, the anchor, the first bar, limits that must be passed."""

from typing import Any

import pytest

from engine.dataset import from_columns
from engine.schema import (
    Action,
    Intrabar,
    LevelKind,
    LimitGap,
    LimitTouch,
    OnHeld,
    OrderType,
    RecordKind,
    SizeKind,
    StopAnchor,
    StopCheck,
    StopFrom,
    Timing,
    TrailingMode,
)
from engine.settings import StrategySettings
from tests.differential import agreed_replay
from tests.oracle.examples import FLAT, HOUR, SHORT, Candles, Row, at, fills, market, of_kind, propose, settings, table
from tests.oracle.replay import OracleResult

FRACTION = int(LevelKind.FRACTION)


def one_symbol(candles: Candles, *rows: Row, **changes: Any) -> OracleResult:
    return agreed_replay(market({"A": candles}), table(*rows), settings(len(candles), **changes))


def flipped(candles: Candles) -> Candles:
    return [(200 - opened, 200 - low, 200 - high, 200 - close) for opened, high, low, close in candles]


@pytest.mark.parametrize("action", [Action.ENTER_LONG, SHORT])
@pytest.mark.parametrize(("high", "left"), [(104.9, (5, 100.0, "RUN_ENDED")), (105.0, (4, 100.0, "BREAK_EVEN"))])
def test_a_stop_goes_to_the_entry_once_the_distance_is_gained(action: Action, high: float, left: tuple[float, float, str]) -> None:
    # R3.5: bought at 100; the bar that closes at 3 reaches the distance of 5; the next falls to 99
    candles = [FLAT, FLAT, (100, high, 98, 103), (103, 103, 99, 100), FLAT]
    result = one_symbol(candles if action != SHORT else flipped(candles), propose(1, action, break_even=5.0))
    assert fills(result)[1] == left


@pytest.mark.parametrize(("level", "price"), [({}, 100.0), ({"stop_loss": 101.0}, 101.0), ({"trailing": 3.0}, 102.0)])
def test_break_even_never_loosens_a_better_stop(level: Row, price: float) -> None:  # R3.5
    candles = [FLAT, (102, 102, 102, 102), (102, 105, 102, 105), (105, 105, 99, 100)]
    long_at_102 = one_symbol(candles, propose(1, break_even=0.02, break_even_kind=FRACTION, **level))
    assert fills(long_at_102)[1][:2] == (4, max(price, 102.0))


@pytest.mark.parametrize(("latency", "stopped"), [(0, 4), (1, 5)])
def test_break_even_waits_for_the_latency(latency: int, stopped: int) -> None:  # R2.3
    candles = [FLAT, FLAT, (100, 110, 100, 108), (108, 108, 99, 106), (106, 106, 99, 104)]
    result = one_symbol(candles, propose(2 if not latency else 1, break_even=5.0), latency_us=latency)
    assert fills(result)[1] == (stopped, 100.0, "BREAK_EVEN")


@pytest.mark.parametrize(("timing", "left"), [(Timing.NEXT_OPEN, (3, 93.0)), (Timing.CLOSE, (3, 94.0)), (Timing.NEXT_CLOSE, (4, 92.0))])
def test_a_stop_that_looks_at_closes_is_a_decision_at_the_close(timing: Timing, left: tuple[float, float]) -> None:  # R2.1 R3.6
    # the first bar dips to 90 and closes above the stop of 95; the second closes at 94
    candles = [FLAT, (100, 100, 90, 96), (96, 99, 90, 94), (93, 93, 92, 92), FLAT]
    result = one_symbol(candles, propose(1, stop_loss=95.0), stop_check=StopCheck.CLOSE, timing=timing)
    assert fills(result)[1] == (*left, "STOP_LOSS")
    ordered = of_kind(result, RecordKind.ORDER)[1]
    assert (ordered["reason"], ordered["proposal"]) == (of_kind(result, RecordKind.FILL)[1]["reason"], -1)


def test_a_stop_that_looks_at_closes_lets_the_open_pass_and_leaves_targets_alone() -> None:  # R2.1 R2.4
    candles = [FLAT, (100, 100, 96, 96), (90, 111, 89, 97), FLAT]
    result = one_symbol(candles, propose(1, stop_loss=95.0, take_profit=110.0), stop_check=StopCheck.CLOSE)
    assert fills(result)[1] == (3, 110.0, "TAKE_PROFIT")


def test_the_level_that_a_close_makes_is_not_tested_at_that_close() -> None:  # R2.3 R3.5
    # the high of 110 moves the level to 105 at 3, which closes at 104; the close of 4 is the first it can meet
    candles = [FLAT, FLAT, (100, 110, 100, 104), (106, 106, 104.5, 104.5), (103, 103, 103, 103)]
    result = one_symbol(candles, propose(1, trailing=5.0), stop_check=StopCheck.CLOSE)
    assert fills(result)[1] == (4, 103.0, "TRAILING_STOP")


@pytest.mark.parametrize("action", [Action.ENTER_LONG, SHORT])
@pytest.mark.parametrize(
    ("mode", "target", "left"),
    [
        (TrailingMode.CLOSE, 0.0, (4, 107.0, "TRAILING_STOP")),
        (TrailingMode.INTRABAR, 0.0, (3, 107.0, "TRAILING_STOP")),
        (TrailingMode.INTRABAR, 108.0, (3, 105.0, "TRAILING_STOP")),  # left at 108 at the latest: the level is at most 105
    ],
)
def test_the_bar_s_own_extreme_may_move_the_level_first(
    action: Action, mode: TrailingMode, target: float, left: tuple[float, float, str]
) -> None:
    candles = [FLAT, FLAT, (100, 110, 99, 109), (109, 109, 104, 105)]  # R3.5
    short = action == SHORT
    row = propose(1, action, trailing=3.0, take_profit=(200 - target if short else target) if target else float("nan"))
    result = one_symbol(flipped(candles) if short else candles, row, trailing_mode=mode)
    assert fills(result)[1] == (left[0], 200 - left[1] if short else left[1], left[2])


@pytest.mark.parametrize(("anchor", "stop", "target"), [(StopAnchor.FILL, 108.0, 132.0), (StopAnchor.ENTRY_CLOSE, 90.0, 110.0)])
def test_a_fraction_is_of_the_fill_or_of_the_close_it_was_decided_at(anchor: StopAnchor, stop: float, target: float) -> None:  # R2.1
    row = propose(1, stop_loss=0.1, stop_loss_kind=FRACTION, take_profit=0.1, take_profit_kind=FRACTION)
    down = one_symbol([FLAT, (120, 120, 108.5, 109), (109, 109, 80, 80)], row | {"take_profit": float("nan")}, stop_anchor=anchor)
    up = one_symbol([FLAT, (120, 120, 120, 120), (120, 140, 120, 130)], row | {"stop_loss": float("nan")}, stop_anchor=anchor)
    assert fills(down)[1] == (3, stop, "STOP_LOSS")
    # the open of 120 has passed a target of 110 already
    assert fills(up)[1] == ((3, target, "TAKE_PROFIT") if anchor == StopAnchor.FILL else (1, 120.0, "CROSSED_AT_ENTRY"))


@pytest.mark.parametrize(
    ("since", "timing", "left"),
    [
        (StopFrom.FILL, Timing.NEXT_OPEN, (2, 95.0)),
        (StopFrom.NEXT_BAR, Timing.NEXT_OPEN, (2, 94.0)),  # passed by the open of the next bar
        (StopFrom.NEXT_BAR, Timing.CLOSE, (2, 95.0)),  # filled at the close before: the bar is the next one
    ],
)
def test_the_levels_of_an_entry_may_wait_for_the_next_bar(since: StopFrom, timing: Timing, left: tuple[float, float]) -> None:  # R2.1
    candles = [FLAT, (100, 112, 90, 96), (94, 94, 94, 94)]
    result = one_symbol(candles, propose(1, stop_loss=95.0, take_profit=111.0), stop_from=since, timing=timing)
    assert fills(result)[1] == (*left, "STOP_LOSS")


def test_an_entry_across_its_stop_is_kept_until_the_next_bar() -> None:  # R2.1 R2.5
    candles = [FLAT, (90, 96, 90, 96), (96, 96, 94, 96), FLAT]
    result = one_symbol(candles, propose(1, stop_loss=95.0), stop_from=StopFrom.NEXT_BAR)
    assert fills(result) == [(1, 90.0, "FILLED"), (3, 95.0, "STOP_LOSS")]


@pytest.mark.parametrize("action", [Action.ENTER_LONG, SHORT])
@pytest.mark.parametrize(("high", "touch", "hit"), [(105.0, 0, True), (105.0, 1, False), (105.1, 1, True)])
def test_a_target_may_have_to_be_passed(action: Action, high: float, touch: int, hit: bool) -> None:  # R2.4
    candles = [FLAT, FLAT, (100, high, 100, 104), FLAT]
    short = action == SHORT
    row = propose(1, action, take_profit=95.0 if short else 105.0)
    result = one_symbol(flipped(candles) if short else candles, row, limit_touch=LimitTouch(touch))
    assert fills(result)[1] == ((3, 95.0 if short else 105.0, "TAKE_PROFIT") if hit else (4, 100.0, "RUN_ENDED"))


@pytest.mark.parametrize(("touch", "left"), [(LimitTouch.TOUCH, (2, 105.0)), (LimitTouch.THROUGH, (4, 105.0))])
def test_an_open_at_a_target_may_not_be_enough(touch: LimitTouch, left: tuple[float, float]) -> None:  # R2.4
    candles = [FLAT, FLAT, (105, 105, 104, 104), (104, 106, 104, 104)]
    result = one_symbol(candles, propose(1, take_profit=105.0), limit_touch=touch, limit_gap=LimitGap.OPEN)
    assert fills(result)[1] == (*left, "TAKE_PROFIT")


def test_a_bar_that_only_touches_the_target_is_not_ambiguous_where_it_must_be_passed() -> None:  # R3.3
    candles = [FLAT, FLAT, (100, 105, 95, 100)]
    row = propose(1, stop_loss=95.0, take_profit=105.0)
    result = one_symbol(candles, row, limit_touch=LimitTouch.THROUGH, intrabar=Intrabar.OPTIMISTIC)
    assert (fills(result)[1], of_kind(result, RecordKind.FILL)[1]["flags"]) == ((3, 95.0, "STOP_LOSS"), 0)


@pytest.mark.parametrize("levels", [{"trailing": 0.0}, {"break_even": 0.0}, {"stop_loss": 0.0}, {"take_profit": 0.0}, {"trailing": -1.0}])
def test_a_level_or_distance_of_nothing_is_none(levels: Row) -> None:  # R2.1 R3.5
    assert fills(one_symbol([FLAT, FLAT, (100, 101, 99, 100)], propose(1, **levels)))[1] == (3, 100.0, "RUN_ENDED")


@pytest.mark.parametrize(
    ("trailing", "low", "left"),
    [
        (99.5, 0.4, (3, 0.5, "TRAILING_STOP")),
        (99.5, 0.6, (3, 50.0, "RUN_ENDED")),
        (100.0, 0.1, (3, 50.0, "RUN_ENDED")),
        (150.0, 0.1, (3, 50.0, "RUN_ENDED")),
    ],
)
def test_a_level_that_a_bar_trails_to_nothing_is_none(trailing: float, low: float, left: tuple[float, float, str]) -> None:  # R3.5
    result = one_symbol([FLAT, FLAT, (100, 100, low, 50)], propose(1, trailing=trailing), trailing_mode=TrailingMode.INTRABAR)
    assert fills(result)[1] == left


def test_a_level_that_a_bar_trails_to_the_stop_leaves_it_a_stop() -> None:  # R3.5
    row = propose(1, trailing=10.0, stop_loss=95.0)
    result = one_symbol([FLAT, FLAT, (100, 105, 95, 99)], row, trailing_mode=TrailingMode.INTRABAR)
    assert fills(result)[1] == (3, 95.0, "STOP_LOSS")


def test_a_bar_trails_no_further_than_from_its_target() -> None:  # R3.5: 110 - 5, not 110.5 - 5
    row = propose(1, trailing=5.0, take_profit=110.0)
    result = one_symbol([FLAT, FLAT, (106, 110.5, 105.2, 106)], row, trailing_mode=TrailingMode.INTRABAR)
    assert fills(result)[1] == (3, 110.0, "TAKE_PROFIT")


def test_a_close_at_the_stop_is_enough_and_one_before_it_acts_is_not() -> None:  # R2.1
    candles = [FLAT, (100, 100, 94, 94), (97, 97, 95, 95), (93, 93, 93, 93)]
    late = {"stop_check": StopCheck.CLOSE, "stop_from": StopFrom.NEXT_BAR}
    assert fills(one_symbol(candles, propose(1, stop_loss=95.0), **late))[1] == (3, 93.0, "STOP_LOSS")
    candles[2] = (97, 97, 96, 96)
    assert fills(one_symbol(candles, propose(1, stop_loss=95.0), **late))[1] == (4, 93.0, "RUN_ENDED")


@pytest.mark.parametrize(("action", "stop", "left"), [(Action.ENTER_LONG, 95.0, 94.0), (SHORT, 105.0, 106.0)])
@pytest.mark.parametrize("apart", [0.5, 2.0])
def test_a_stop_looks_at_the_closes_of_its_own_side(action: Action, stop: float, left: float, apart: float) -> None:  # R2.2 R2.1
    # the mid closes at 96 (104): a bid of 94 (an ask of 106) is beyond the stop, one of 95.5 (104.5) is not
    close = 96.0 if action != SHORT else 104.0
    mids: Candles = [FLAT, FLAT, (close, close, close, close), (close, close, close, close)]
    quotes = {
        f"{side}_{name}": [mid + sign * apart for mid in column] for side, sign in (("bid", -1), ("ask", 1)) for name, column in sides(mids)
    }
    times = [at(hour) for hour in range(5)]
    bars = {"open_ts": times[:-1], "ts": times[1:], "volume": [1.0] * 4} | dict(sides(mids)) | quotes
    data = from_columns({"bars": {("A", "1h", HOUR): bars}})
    result = agreed_replay(data, table(propose(1, action, stop_loss=stop)), settings(4, stop_check=StopCheck.CLOSE))
    assert fills(result)[1] == (
        (3, left, "STOP_LOSS") if apart == 2.0 else (4, close + (apart if action == SHORT else -apart), "RUN_ENDED")
    )


def sides(candles: Candles) -> list[tuple[str, list[float]]]:
    """Columns of candles by name."""
    return list(zip(("open", "high", "low", "close"), map(list, zip(*candles, strict=True)), strict=True))


@pytest.mark.parametrize("action", [Action.ENTER_LONG, SHORT])
@pytest.mark.parametrize(
    ("first", "then", "low", "left"),
    [
        ({}, {"trailing": 5.0}, 104.0, (4, 105.0, "TRAILING_STOP")),  # from the close of 110 at which it was decided
        ({}, {"break_even": 5.0}, 99.0, (4, 100.0, "BREAK_EVEN")),  # of the fill, gained already
        ({}, {"break_even": 11.0}, 99.0, (5, 100.0, "RUN_ENDED")),
        ({"trailing": 5.0}, {"stop": 90.0}, 104.0, (4, 105.0, "TRAILING_STOP")),  # the trailing level is better at once
        ({"trailing": 12.0}, {"stop": 105.0}, 104.0, (4, 105.0, "STOP_LOSS")),
        ({"break_even": 5.0}, {"trailing": 20.0}, 99.0, (4, 100.0, "BREAK_EVEN")),  # what is not given stays
    ],
)
def test_new_levels_take_the_place_of_those_they_give(
    action: Action, first: Row, then: Row, low: float, left: tuple[float, float, str]
) -> None:  # R4.3 R3.5
    candles: Candles = [FLAT, FLAT, (100, 110, 100, 110), (110, 110, low, 104), FLAT]
    short, price = action == SHORT, then.get("stop")
    given = {name: value for name, value in then.items() if name != "stop"}
    given |= {"stop_loss": 200 - price if short else price} if price else {}
    replaces = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=3.0, on_held=OnHeld.REPLACE_LEVELS),)
    result = one_symbol(
        flipped(candles) if short else candles, propose(1, action, **first), propose(3, action, **given), strategies=replaces
    )
    assert fills(result)[1] == (left[0], 200 - left[1] if short else left[1], left[2])


def replaced(candles: Candles, *rows: Row, on_held: OnHeld = OnHeld.REPLACE_LEVELS, **changes: Any) -> OracleResult:
    return one_symbol(candles, *rows, strategies=(StrategySettings("s", size=SizeKind.FIXED_QTY, amount=3.0, on_held=on_held),), **changes)


def test_a_distance_given_at_a_close_looks_at_the_bar_that_opens_then() -> None:  # R4.3 R3.5
    candles: Candles = [FLAT, FLAT, (100, 110, 100, 110), (110, 120, 110, 118), (118, 118, 114, 114)]
    assert fills(replaced(candles, propose(1), propose(3, trailing=5.0)))[1] == (5, 115.0, "TRAILING_STOP")


def test_a_distance_given_inside_a_bar_looks_at_the_next_bars_alone() -> None:  # R4.3 R3.5
    # the add fills at 95 within a bar that went to 110: from 95 the level is 90, and from the 100 of the next bar 95
    candles: Candles = [FLAT, FLAT, (100, 110, 94, 100), (100, 100, 91, 98), (98, 98, 94, 94)]
    add = propose(2, order_type=int(OrderType.LIMIT), limit_price=95.0, trailing=5.0)
    found = fills(replaced(candles, propose(1), add, on_held=OnHeld.ADD))
    assert found == [(1, 100.0, "FILLED"), (3, 95.0, "FILLED"), (5, 95.0, "TRAILING_STOP")]


def test_levels_given_at_the_last_close_are_recorded() -> None:  # R4.3
    result = replaced([FLAT] * 3, propose(1), propose(3, stop_loss=90.0))
    assert [row["price"] for row in of_kind(result, RecordKind.LEVELS)] == [90.0]


@pytest.mark.parametrize(("since", "left"), [(StopFrom.FILL, (3, 95.0)), (StopFrom.NEXT_BAR, (4, 95.0))])
def test_the_levels_of_an_add_may_wait_for_the_next_bar(since: StopFrom, left: tuple[float, float]) -> None:  # R4.3 R2.1
    candles: Candles = [FLAT, FLAT, (100, 100, 94, 98), (98, 98, 94, 98), FLAT]
    found = fills(replaced(candles, propose(1), propose(2, stop_loss=95.0), on_held=OnHeld.ADD, stop_from=since))
    assert found[2] == (*left, "STOP_LOSS")


@pytest.mark.parametrize(("anchor", "stop"), [(StopAnchor.FILL, 108.0), (StopAnchor.ENTRY_CLOSE, 99.0)])
def test_the_levels_of_an_add_are_fractions_of_its_fill_or_of_the_close_it_was_decided_at(anchor: StopAnchor, stop: float) -> None:
    # R4.3 R2.1: decided at 110, filled at 120; another proposal comes later
    candles: Candles = [FLAT, (100, 110, 100, 110), (120, 120, 112, 115), (115, 115, 90, 100), FLAT]
    rows = (propose(1), propose(2, stop_loss=0.1, stop_loss_kind=FRACTION), propose(4, Action.EXIT))
    assert fills(replaced(candles, *rows, on_held=OnHeld.ADD, stop_anchor=anchor))[2] == (4, stop, "STOP_LOSS")


def test_the_close_an_add_was_decided_at_follows_a_split() -> None:  # R4.3 R8.1
    # decided at 110, which is 55 after the split that comes before the fill: a tenth below it 49.5
    candles: Candles = [FLAT, (100, 110, 100, 110), (60, 60, 56, 57), (57, 57, 45, 50), (50, 50, 50, 50)]
    data = market({"A": candles}, actions={"A": {"ts": [at(2)], "kind": [0], "value": [0.0], "num": [2], "den": [1]}})
    adds = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=3.0, on_held=OnHeld.ADD),)
    rows = table(propose(1), propose(2, stop_loss=0.1, stop_loss_kind=FRACTION))
    result = agreed_replay(data, rows, settings(5, strategies=adds, stop_anchor=StopAnchor.ENTRY_CLOSE))
    assert fills(result)[2] == (4, 49.5, "STOP_LOSS")


def test_changes_that_wait_are_taken_in_the_order_of_their_decisions() -> None:  # R4.3 R2.3
    # with more than two hours of latency the entry fills at 4, and the stops of 5, 6 and 7 act from 8, 9 and 10 on
    candles: Candles = [FLAT] * 8 + [(100, 100, 96, 97), (97, 97, 94.5, 95), (95, 95, 89, 90), FLAT]
    rows = (propose(1), propose(5, stop_loss=90.0), propose(6, stop_loss=94.0), propose(7, stop_loss=89.5))
    result = replaced(candles, *rows, latency_us=2 * HOUR + 1)
    assert [row["price"] for row in of_kind(result, RecordKind.LEVELS)] == [90.0, 94.0, 89.5]
    assert fills(result)[1] == (11, 89.5, "STOP_LOSS")


@pytest.mark.parametrize(("hour", "split", "stop"), [(3, 9, 99.0), (3.5, 3, 49.5)])
def test_new_levels_are_fractions_of_the_last_close(hour: float, split: float, stop: float) -> None:  # R4.3 R8.1
    after = (60.0, 60.0, 55.0, 58.0) if split == 3 else (110.0, 120.0, 105.0, 119.0)
    last = (58.0, 58.0, 40.0, 45.0) if split == 3 else (119.0, 119.0, 90.0, 95.0)
    data = market(
        {"A": [FLAT, FLAT, (100, 110, 100, 110), after, last]},
        actions={"A": {"ts": [at(split)], "kind": [0], "value": [0.0], "num": [2], "den": [1]}},
    )
    replaces = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=3.0, on_held=OnHeld.REPLACE_LEVELS),)
    result = agreed_replay(data, table(propose(1), propose(hour, stop_loss=0.1, stop_loss_kind=FRACTION)), settings(5, strategies=replaces))
    assert fills(result)[1] == (5, stop, "STOP_LOSS")


def test_the_only_bar_of_a_dataset_may_have_quotes() -> None:  # R2.2 R5.2
    bar = {"open_ts": [at(0)], "ts": [at(1)], "volume": [1.0]} | {name: [100.0] for name in ("open", "high", "low", "close")}
    bar |= {f"{side}_{name}": [price] for side, price in (("bid", 99.0), ("ask", 101.0)) for name in ("open", "high", "low", "close")}
    data = from_columns({"bars": {("A", "1h", HOUR): bar}})
    result = agreed_replay(data, table(propose(1)), settings(1, timing=Timing.CLOSE, default_spread_bps=300.0))
    assert fills(result) == [(1, 101.0, "FILLED"), (1, 99.0, "RUN_ENDED")]
    assert [row["amount"] for row in of_kind(result, RecordKind.APPROVED)] == [30_000 + 300]


@pytest.mark.parametrize(
    ("levels", "bar", "left"),
    [
        ({"stop_loss": 95.0}, (100.0, 100.0, 94.0, 96.0), (3, 95.0, "STOP_LOSS")),
        ({"take_profit": 105.0}, (100.0, 106.0, 100.0, 104.0), (3, 105.0, "TAKE_PROFIT")),
        ({"stop_loss": 95.0}, (94.0, 94.0, 94.0, 94.0), (2, 94.0, "STOP_LOSS")),
        ({"take_profit": 105.0}, (106.0, 106.0, 106.0, 106.0), (2, 105.0, "TAKE_PROFIT")),
        ({"max_bars": 1}, FLAT, (2, 100.0, "MAX_BARS")),
    ],
)
@pytest.mark.parametrize("rests", [False, True])
def test_a_bar_ends_every_position_that_it_ends_by_itself(levels: Row, bar: Any, left: tuple[float, float, str], rests: bool) -> None:
    # R3.1 R1.4: also while an order of another symbol rests
    symbols = "ABC"
    data = market({symbol: [FLAT, FLAT, bar, FLAT] for symbol in symbols} | {"D": [FLAT] * 4})
    rows = [propose(1, symbol=symbol, **levels) for symbol in symbols]
    rows += [propose(1, symbol="D", order_type=int(OrderType.LIMIT), limit_price=50.0)] if rests else []
    result = agreed_replay(data, table(*rows), settings(4, symbols="ABCD"))
    assert fills(result)[3:] == [left] * 3


def test_an_exit_fills_after_another_position_was_stopped() -> None:  # R2.1
    data = market({"A": [FLAT, FLAT, (100, 100, 94, 96), FLAT, FLAT], "B": [FLAT] * 5})
    rows = (propose(1, stop_loss=95.0), propose(1, symbol="B"), propose(4, Action.EXIT, symbol="B"))
    assert fills(agreed_replay(data, table(*rows), settings(5, symbols="AB")))[2:] == [(3, 95.0, "STOP_LOSS"), (4, 100.0, "SIGNAL")]


def test_a_stop_is_met_after_another_was_sold_in_parts() -> None:  # R2.6
    dip = (100, 100, 94, 96)
    data = market({"A": [FLAT, FLAT, dip, FLAT, FLAT, FLAT], "B": [FLAT] * 5 + [dip]})
    data.columns["bars"]["volume"].setflags(write=True)
    data.columns["bars"]["volume"][:] = [9, 1, 9, 9, 9, 9] + [9] * 6
    rows = (propose(1, stop_loss=95.0), propose(1, symbol="B", stop_loss=95.0))
    result = agreed_replay(data, table(*rows), settings(6, symbols="AB", participation=1.0))
    assert fills(result)[2:] == [(3, 95.0, "STOP_LOSS"), (3, 100.0, "STOP_LOSS"), (6, 95.0, "STOP_LOSS")]


@pytest.mark.parametrize(("check", "rest"), [(StopCheck.RANGE, (6, 100.0, "RUN_ENDED")), (StopCheck.CLOSE, (4, 100.0, "STOP_LOSS"))])
def test_a_close_beyond_a_stop_that_looks_at_the_range_is_no_decision(check: StopCheck, rest: tuple[float, float, str]) -> None:
    # R2.1 R2.6 R3.3: a lot a bar; the target takes the first of two in the bar that ends at 4, which closes beyond the stop
    candles = [FLAT, FLAT, FLAT, (100, 105, 94, 94), FLAT, FLAT]
    two = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=2.0),)
    chosen: Row = {"strategies": two, "participation": 1.0, "intrabar": Intrabar.OPTIMISTIC, "stop_check": check}
    result = one_symbol(candles, propose(1, stop_loss=95.0, take_profit=105.0), **chosen)
    assert fills(result)[2:] == [(4, 105.0, "TAKE_PROFIT"), rest]
