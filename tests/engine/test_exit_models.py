"""Exit models of the user's own, worked by hand: what they are told, and what becomes of their level.  # R2.8 R3.5"""

import math
from collections.abc import Callable

import pytest

from engine.dataset import Dataset, from_columns
from engine.model_call import draw, event_key, name_key
from engine.models import ModelKind, compile_model
from engine.schema import Action, RecordKind, StopFrom, TrailingMode
from engine.settings import HaltLimits
from tests.differential import agreed_replay
from tests.oracle.examples import FLAT, HOUR, SHORT, Candles, Row, at, fills, market, propose, reasons, settings, table

FALLING: Candles = [FLAT, (100, 110, 96, 104), (104, 106, 50, 60), (60, 60, 60, 60)]
"""Of the bar from 1 to 2 the bid goes from 99 to 109, 95 and 103; the next falls through all levels."""


def quoted(candles: Candles, *, flipped: bool) -> Dataset:
    """Hourly bars whose bid is one below, whose ask is one above; of a short the other way round 100."""
    if flipped:
        candles = [(200 - opened, 200 - low, 200 - high, 200 - close) for opened, high, low, close in candles]
    times = [at(hour) for hour in range(len(candles) + 1)]
    columns: Row = {"open_ts": times[:-1], "ts": times[1:], "volume": [1.0] * len(candles)}
    for name, prices in zip(("open", "high", "low", "close"), zip(*candles, strict=True), strict=True):
        columns |= {name: list(prices), f"bid_{name}": [p - 1 for p in prices], f"ask_{name}": [p + 1 for p in prices]}
    return from_columns({"bars": {("A", "1h", HOUR): columns}})


def left_by(function: Callable[..., float], *, short: bool = False, **levels: float) -> tuple[float, float, str]:
    """How a model leaves a position opened at 1."""
    row = propose(1, SHORT if short else Action.ENTER_LONG, **levels)
    chosen = settings(4, models=(compile_model(ModelKind.EXIT, function),))
    return fills(agreed_replay(quoted(FALLING, flipped=short), table(row), chosen))[1]


def of_the_best(
    entry_price: float, high: float, low: float, close: float, stop: float, target: float, bars: float, side: float, key: int
) -> float:
    return high - 15.0 if side > 0.0 else low + 15.0


def of_the_worst(
    entry_price: float, high: float, low: float, close: float, stop: float, target: float, bars: float, side: float, key: int
) -> float:
    return low - 2.0 if side > 0.0 else high + 2.0


def of_the_close(
    entry_price: float, high: float, low: float, close: float, stop: float, target: float, bars: float, side: float, key: int
) -> float:
    return close - 8.0 * side


def of_the_age(
    entry_price: float, high: float, low: float, close: float, stop: float, target: float, bars: float, side: float, key: int
) -> float:
    return 100.0 - (6.0 - bars) * side


def of_the_entry(
    entry_price: float, high: float, low: float, close: float, stop: float, target: float, bars: float, side: float, key: int
) -> float:
    return entry_price - 4.0 * side


def of_the_stop(
    entry_price: float, high: float, low: float, close: float, stop: float, target: float, bars: float, side: float, key: int
) -> float:
    return stop + 2.0 * side


def of_the_target(
    entry_price: float, high: float, low: float, close: float, stop: float, target: float, bars: float, side: float, key: int
) -> float:
    return target - 30.0 * side


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize(
    ("function", "level"),
    [
        (of_the_best, 94.0),  # 109 - 15
        (of_the_worst, 93.0),  # 95 - 2
        (of_the_close, 95.0),  # 103 - 8
        (of_the_age, 95.0),  # the bar of the fill is the first
        (of_the_entry, 97.0),  # bought at the ask of 101
        (of_the_stop, 92.0),
        (of_the_target, 91.0),
    ],
)
def test_a_model_is_told_the_bar_that_closed_on_the_side_that_closes_the_position(
    short: bool, function: Callable[..., float], level: float
) -> None:
    given = {"stop_loss": 90.0, "take_profit": 121.0}
    told = {name: 200 - price if short else price for name, price in given.items()}
    assert left_by(function, short=short, **told) == (3, 200 - level if short else level, "MODEL_STOP")


def by_chance(
    entry_price: float, high: float, low: float, close: float, stop: float, target: float, bars: float, side: float, key: int
) -> float:
    return 90.0 + 5.0 * draw(key, 0)


def test_a_model_draws_by_the_bar_that_closed() -> None:  # R9.2
    drawn = 90.0 + 5.0 * draw(event_key(7, at(2), name_key("A"), name_key("s")), 0)
    chosen = settings(4, models=(compile_model(ModelKind.EXIT, by_chance),), seed=7)
    left = fills(agreed_replay(quoted(FALLING, flipped=False), table(propose(1)), chosen))[1]
    assert left == (3, pytest.approx(math.floor(10 * drawn) / 10), "MODEL_STOP")


def endless(
    entry_price: float, high: float, low: float, close: float, stop: float, target: float, bars: float, side: float, key: int
) -> float:
    return math.inf


def tiny(
    entry_price: float, high: float, low: float, close: float, stop: float, target: float, bars: float, side: float, key: int
) -> float:
    return 1e-9


@pytest.mark.parametrize(("function", "short"), [(endless, False), (endless, True), (tiny, False), (tiny, True)])
def test_a_level_that_is_no_price_on_the_tick_is_none(function: Callable[..., float], short: bool) -> None:  # R6.3
    assert left_by(function, short=short)[0::2] == (4, "RUN_ENDED")


def without_a_stop(
    entry_price: float, high: float, low: float, close: float, stop: float, target: float, bars: float, side: float, key: int
) -> float:
    return 100.0 - 6.0 * side if math.isnan(stop) else 100.0 - 5.0 * side


@pytest.mark.parametrize("short", [False, True])
def test_an_endless_distance_makes_no_stop(short: bool) -> None:
    assert left_by(without_a_stop, short=short, trailing=math.inf) == (3, 106.0 if short else 94.0, "MODEL_STOP")


@pytest.mark.parametrize("mode", list(TrailingMode))
def test_a_short_s_level_that_the_tick_makes_nothing_is_none(mode: TrailingMode) -> None:  # R6.3: 2e-9 is nothing on a tick of 0.1
    candles: Candles = [FLAT, (100, 100, 1e-9, 50), (50, 60, 1e-9, 60)]
    chosen = settings(3, trailing_mode=mode, stop_from=StopFrom.NEXT_BAR)
    result = agreed_replay(market({"A": candles}), table(propose(1, SHORT, trailing=1e-9)), chosen)
    assert fills(result)[1] == (3, 60.0, "RUN_ENDED")


def close_behind(
    entry_price: float, high: float, low: float, close: float, stop: float, target: float, bars: float, side: float, key: int
) -> float:
    return close - 1.0


def test_a_model_does_not_move_what_a_stop_has_left_to_the_market() -> None:  # R2.6
    # the entry took all that its bar may fill: what the stop of 95 sells waits for the next opens, a lot each, whatever level the model gives
    candles: Candles = [FLAT, (100, 100, 90, 92), (92, 93, 91, 92), (90, 90, 90, 90), (89, 89, 89, 89)]
    data = market({"A": candles})
    data.columns["bars"]["volume"].setflags(write=True)
    data.columns["bars"]["volume"][:] = [3.0, 1.0, 1.0, 1.0, 1.0]
    chosen = settings(5, models=(compile_model(ModelKind.EXIT, close_behind),), participation=1.0)
    result = agreed_replay(data, table(propose(1, stop_loss=95.0)), chosen)
    assert fills(result)[1:] == [(2, 92.0, "STOP_LOSS"), (3, 90.0, "STOP_LOSS"), (4, 89.0, "STOP_LOSS")]


def test_a_stop_that_a_model_set_starts_a_cool_down() -> None:  # R2.8 R5.3
    # out at the open of 60 that falls through 92; the bar of 3 has not closed when the next entry comes
    rows = [propose(1), propose(3)]
    chosen = settings(4, models=(compile_model(ModelKind.EXIT, of_the_close),), halts=HaltLimits(cooldown_bars=2))
    result = agreed_replay(market({"A": FALLING}), table(*rows), chosen)
    assert fills(result)[1][2] == "MODEL_STOP"
    assert reasons(result, RecordKind.REJECTED) == [(1, "COOLDOWN")]
