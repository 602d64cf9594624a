"""New levels for what is held already, worked by hand: where they come to lie, and from when on they act.  # R4.3"""

from typing import Any

import pytest

from engine.schema import Action, LevelKind, OnHeld, OrderType, SizeKind
from engine.settings import StrategySettings
from tests.differential import agreed_replay
from tests.oracle.examples import FLAT, SHORT, Candles, Row, fills, market, propose, settings, table
from tests.oracle.replay import OracleResult

FRACTION = int(LevelKind.FRACTION)


def replaced(candles: Candles, *rows: Row, on_held: OnHeld = OnHeld.REPLACE_LEVELS, **changes: Any) -> OracleResult:
    chosen = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=3.0, on_held=on_held),)
    return agreed_replay(market({"A": candles}), table(*rows), settings(len(candles), strategies=chosen, **changes))


@pytest.mark.parametrize("on_held", [OnHeld.REPLACE_LEVELS, OnHeld.ADD])
@pytest.mark.parametrize(
    ("action", "given", "left"),
    [
        (Action.ENTER_LONG, {"take_profit": 110.04}, (4, 110.1, "TAKE_PROFIT")),
        (Action.ENTER_LONG, {"take_profit": 0.1004, "take_profit_kind": FRACTION}, (4, 110.1, "TAKE_PROFIT")),
        (Action.ENTER_LONG, {"stop_loss": 89.96}, (4, 89.9, "STOP_LOSS")),
        (Action.ENTER_LONG, {"stop_loss": 0.1004, "stop_loss_kind": FRACTION}, (4, 89.9, "STOP_LOSS")),
        (SHORT, {"take_profit": 89.96}, (4, 89.9, "TAKE_PROFIT")),
        (SHORT, {"take_profit": 0.1004, "take_profit_kind": FRACTION}, (4, 89.9, "TAKE_PROFIT")),
        (SHORT, {"stop_loss": 110.04}, (4, 110.1, "STOP_LOSS")),
        (SHORT, {"stop_loss": 0.1004, "stop_loss_kind": FRACTION}, (4, 110.1, "STOP_LOSS")),
    ],
)
def test_new_levels_off_the_tick_lie_farther_from_the_market(
    action: Action, given: Row, left: tuple[float, float, str], on_held: OnHeld
) -> None:  # R2.7
    candles = [FLAT, FLAT, FLAT, (100, 120, 80, 100)]
    assert fills(replaced(candles, propose(1, action), propose(2, action, **given), on_held=on_held))[-1] == left


@pytest.mark.parametrize(
    ("action", "limit", "candles", "left"),
    [
        (Action.ENTER_LONG, 95.0, [(100, 120, 94.9, 100), (100, 104, 100, 104), (100, 100, 93, 95)], (5, 94.0, "TRAILING_STOP")),
        (SHORT, 105.0, [(100, 105.1, 80, 100), (100, 100, 96, 96), (100, 107, 100, 105)], (5, 106.0, "TRAILING_STOP")),
    ],
)
def test_the_bar_inside_which_an_add_fills_does_not_move_the_extreme_that_the_add_has_begun_anew(
    action: Action, limit: float, candles: Candles, left: tuple[float, float, str]
) -> None:  # R3.5
    add = propose(2, action, order_type=int(OrderType.LIMIT), limit_price=limit, break_even=50.0)
    result = replaced([FLAT, FLAT, *candles], propose(1, action, trailing=10.0), add, on_held=OnHeld.ADD)
    assert fills(result) == [(1.0, 100.0, "FILLED"), (3.0, limit, "FILLED"), left]
