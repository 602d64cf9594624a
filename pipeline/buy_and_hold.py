"""What holding the same symbols would have earned: the yardstick beside every run."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.schema import DAY_US
from engine.splits import DIVIDEND, SPLIT
from engine.tape import Tape
from pipeline.metrics import Ratios, ratios

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BuyAndHold:
    """Equal amounts in each symbol at its first open of the run, held to its last close, without costs or funding; cash until then.  Splits multiply what is held, dividends are kept as cash.

    In an account of coin the yardstick of an inverse contract is the coin itself, which earns nothing in its own terms.  ``max_drawdown`` is of daily closes.
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
    if begin == end or tape.specs[symbol]["inverse"]:
        return np.ones(len(midnights))
    rows = np.searchsorted(tape.ts[begin:end], midnights, side="right") - 1
    entry = (tape.bid_open[begin] + tape.ask_open[begin]) / 2.0 * _rates(tape, symbol, tape.open_ts[begin : begin + 1])[0]
    units, paid = _actions(tape, symbol)
    worth = (units * tape.close[begin:end] + paid) * _rates(tape, symbol, tape.ts[begin:end])
    growth: Floats = np.where(rows < 0, 1.0, worth[np.maximum(rows, 0)] / entry)
    return np.round(growth, 12) if tape.specs[symbol]["converts"] else growth  # a currency held in itself does not move


def _rates(tape: Tape, symbol: int, ts: NDArray[np.int64]) -> Floats:
    """Account money for quote money of a symbol as of each time; before the first rate, that."""
    begin, end = int(tape.rate_first[symbol]), int(tape.rate_stop[symbol])
    if begin == end:
        return np.ones(len(ts))
    at = np.searchsorted(tape.rate_ts[begin:end], ts, side="right") - 1
    found: Floats = tape.rate[begin:end][np.maximum(at, 0)]
    return found


def _actions(tape: Tape, symbol: int) -> tuple[Floats, Floats]:
    """What one unit bought at the first open has become at each close, and the dividends paid on it until then."""
    begin, end = int(tape.first[symbol]), int(tape.stop[symbol])
    units, paid, held = np.ones(end - begin), np.zeros(end - begin), 1.0
    for at in range(int(tape.action_first[symbol]), int(tape.action_stop[symbol])):
        if tape.action_ts[at] <= tape.open_ts[begin]:
            continue
        after = int(np.searchsorted(tape.ts[begin:end], tape.action_ts[at], side="right"))
        if tape.action_kind[at] == SPLIT:
            held *= tape.action_num[at] / tape.action_den[at]
            units[after:] = held
        elif tape.action_kind[at] == DIVIDEND:
            paid[after:] += held * tape.action_value[at]
    return units, paid
