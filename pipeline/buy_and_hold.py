"""What holding the same symbols would have earned: the yardstick beside every run."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.schema import DAY_US
from engine.tape import Tape
from pipeline.metrics import Ratios, ratios

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BuyAndHold:
    """Equal amounts in each symbol at its first open of the run, held to its last close, without costs or funding; cash until then.

    ``max_drawdown`` is of daily closes.
    """

    total_return: float
    max_drawdown: float
    sharpe: float | None
    volatility: float | None


def buy_and_hold(tape: Tape, sessions: bool) -> BuyAndHold:
    """Work out the yardstick from the execution bars of the run."""
    if not len(tape.grid):
        return BuyAndHold(0.0, 0.0, None, None)
    first, last = -(-int(tape.grid[0]) // DAY_US), -(-int(tape.grid[-1]) // DAY_US)
    midnights = np.arange(first, last + 1, dtype=np.int64) * DAY_US
    if sessions:
        at = np.searchsorted(tape.grid, midnights, side="right")
        midnights = midnights[np.diff(at, prepend=0) > 0]
    paths = [_growth(tape, symbol, midnights) for symbol in range(len(tape.first))]
    equity = np.concatenate(([1.0], np.mean(paths, axis=0)))
    found: Ratios = ratios(equity[1:] / equity[:-1] - 1.0, 252 if sessions else 365)
    peak = np.maximum.accumulate(equity)
    return BuyAndHold(float(equity[-1] - 1.0), float(((peak - equity) / peak).max()), found.sharpe, found.volatility)


def _growth(tape: Tape, symbol: int, midnights: NDArray[Any]) -> Floats:
    """Value of one unit of cash put into a symbol at its first open, at each midnight."""
    begin, end = int(tape.first[symbol]), int(tape.stop[symbol])
    if begin == end:
        return np.ones(len(midnights))
    rows = np.searchsorted(tape.ts[begin:end], midnights, side="right") - 1
    entry = (tape.bid_open[begin] + tape.ask_open[begin]) / 2.0
    return np.where(rows < 0, 1.0, tape.close[begin + np.maximum(rows, 0)] / entry)
