"""What a taker pays and what a position is worth, where it hangs on the bar that is known, worked by hand.  # R2.2 R2.5 R2.6 R2.8"""

import pytest

from engine.dataset import Dataset, from_columns
from engine.prices import half_spread, half_spread_of_close
from engine.schema import Action, Slippage, Timing
from engine.tape import build_tape
from tests.differential import agreed_replay
from tests.oracle.examples import HOUR, LONG, SHORT, at, fills, propose, settings, table


def hourly(closes: list[float], volume: list[float], **quotes: list[float]) -> Dataset:
    """Bars that do not move, at their closes."""
    n = len(closes)
    prices = dict.fromkeys(("open", "high", "low", "close"), closes)
    times = {"open_ts": [at(hour) for hour in range(n)], "ts": [at(hour + 1) for hour in range(n)]}
    sides = {f"{side}_{name}": column for side, column in quotes.items() for name in prices}
    return from_columns({"bars": {("A", "1h", HOUR): times | prices | {"volume": volume} | sides}})


def test_one_quoted_bar_holds_its_spread() -> None:  # R2.2 R5.2
    tape = build_tape(hourly([100.0], [1.0], bid=[99.0], ask=[103.0]), settings(1))
    assert half_spread(tape, 0, 0, at(1), 0.007) == 0.0
    assert half_spread_of_close(tape, 0, 0, at(1), 0.007) == 4.0 / 202.0


@pytest.mark.parametrize(("timing", "price"), [(Timing.NEXT_OPEN, 110.0), (Timing.CLOSE, 110.0), (Timing.NEXT_CLOSE, 120.0)])
@pytest.mark.parametrize("side", [LONG, SHORT])
def test_a_fill_at_a_close_knows_the_volume_of_its_own_bar(side: Action, timing: Timing, price: float) -> None:  # R2.6 R2.8
    # three lots are a hundredth of the 300 of the bar that closes at 2, and a 25th of the 75 of the next: the roots are 0.1 and 0.2
    data = hourly([100.0] * 4, [30.0, 300.0, 75.0, 1.2])
    chosen = settings(4, timing=timing, slippage=Slippage.SQRT_IMPACT, slippage_amount=1.0, slippage_limit=1.0, finalize_close=False)
    found = fills(agreed_replay(data, table(propose(2, side)), chosen))
    assert found == [(2 if timing != Timing.NEXT_CLOSE else 3, price if side == LONG else 200.0 - price, "FILLED")]
