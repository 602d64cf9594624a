"""Levels that trail, worked by hand: across ticks and splits that change, after a touch, close to nothing.  # R3.5"""

from typing import Any

import pytest

from engine.instrument import Decimals, MarginTier, Rules
from engine.schema import LimitTouch, OrderType, TrailingMode
from tests.differential import agreed_replay
from tests.oracle.examples import FLAT, SHORT, Candles, Row, at, fills, instrument, market, propose, settings, table


def left(candles: Candles, row: Row, data: Any = None, **changes: Any) -> tuple[float, float, str]:
    """How a position of symbol A ends."""
    return fills(agreed_replay(market({"A": candles}, **(data or {})), table(row), settings(len(candles), **changes)))[1]


def test_a_finer_tick_betters_a_level_whose_extreme_stays() -> None:  # R2.7
    # 110.7 - 5 is 105 on a tick of 1, and 105.7 at the first close after the tick became a tenth
    candles = [FLAT, (100, 110.7, 100, 108), (108, 110, 106, 108), (108, 108, 104, 104)]
    finer = instrument(tick=Decimals(1, 1), rules=(Rules(at(2.5), Decimals(1, 10), Decimals(1, 1)),))
    assert left(candles, propose(1, trailing=5.0), instruments=(finer,)) == (4, 105.7, "TRAILING_STOP")


def test_a_split_betters_a_level_whose_extreme_stays() -> None:  # R8.1
    # 110.16 - 5 is 105.1 on the tick, after a 3:2 split 70.06 and so 70.0; but two thirds of 105.16 are 70.10
    split = {"actions": {"A": {"ts": [at(3)], "kind": [0], "value": [0.0], "num": [3], "den": [2]}}}
    candles = [FLAT, (100, 110.16, 100, 110), (110, 110, 106, 108), (72, 72, 60, 65)]
    assert left(candles, propose(1, trailing=5.0), data=split) == (4, 70.1, "TRAILING_STOP")


@pytest.mark.parametrize("short", [False, True])
def test_of_the_bar_of_a_touch_the_close_alone_moves_the_level(short: bool) -> None:  # R3.4
    # sold at 105, the close of 101 moves the level to 106, which the 103 of the next bar does not reach; its low of 97 counts from then on
    candles: Candles = [FLAT, (100, 106, 99, 101), (101, 103, 97, 97), (97, 103, 97, 100)]
    row = propose(1, SHORT, order_type=int(OrderType.LIMIT), limit_price=105.0, trailing=5.0)
    if short:
        assert left(candles, row) == (4, 102.0, "TRAILING_STOP")
    else:
        bought = propose(1, order_type=int(OrderType.LIMIT), limit_price=95.0, trailing=5.0)
        mirrored = [(200 - opened, 200 - low, 200 - high, 200 - close) for opened, high, low, close in candles]
        assert left(mirrored, bought) == (4, 98.0, "TRAILING_STOP")


def test_a_bar_trails_a_level_to_less_than_one() -> None:
    # 100.5 - 100, of the extreme of the very bar that falls to 0.4
    candles = [FLAT, (100, 100.5, 0.4, 50), FLAT]
    assert left(candles, propose(1, trailing=100.0), trailing_mode=TrailingMode.INTRABAR) == (2, 0.5, "TRAILING_STOP")


def test_options_of_levels_hold_where_margin_secures_the_position() -> None:  # R7.3 R2.4
    tiered = (instrument(maintenance=(MarginTier(0.0, 0.01, 0.0),)),)
    # the bar's own 110 trails the stop to 107, which it falls to; and a target of 110 that must be passed is not
    candles = [FLAT, FLAT, (100, 110, 99, 109), FLAT]
    trailed = left(candles, propose(1, trailing=3.0), instruments=tiered, trailing_mode=TrailingMode.INTRABAR)
    assert trailed == (3, 107.0, "TRAILING_STOP")
    assert left(candles, propose(1, take_profit=110.0), instruments=tiered, limit_touch=LimitTouch.THROUGH) == (4, 100.0, "RUN_ENDED")
