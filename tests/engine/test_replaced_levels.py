"""New levels for what is held already, worked by hand: where they come to lie, and from when on they act.  # R4.3"""

from typing import Any

import pytest

from engine.schema import Action, LevelKind, OnHeld, SizeKind
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
