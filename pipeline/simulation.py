"""The random part of the simulated market: draws, volatility that clusters, jumps, and the returns they give.

Draws come from raw Philox counters and only ``+ - * / sqrt`` follow, so a seed names the same bytes under every version of NumPy.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.schema import DAY_US

Floats = NDArray[np.float64]

HOUR_US = 3_600_000_000
FUNDING_US = 8 * HOUR_US
YEAR_US = 365 * DAY_US
STEPS_PER_BAR = 8
ALPHA, BETA = 0.09, 0.895  # GARCH, in blocks of an hour or a bar, whichever is longer
MAX_VARIANCE = 25.0  # relative to the long run
JUMPS_PER_YEAR = 8.0


class Draws:
    """Uniform and bell-shaped draws with a stream of their own: NumPy promises the raw bits, not what its distributions make of them."""

    def __init__(self, bits: np.random.Philox) -> None:
        self._bits = bits

    def uniform(self, n: int) -> Floats:
        """Even draws from 0 up to 1."""
        return (self._raw(n) >> np.uint64(11)).astype(np.float64) / 2**53

    def normal(self, n: int) -> Floats:
        """Sums of four 16-bit words, mean 0 and deviation 1: bounded at 3.5, the fat tails come from volatility and jumps."""
        words = self._raw(n).view(np.uint16).astype(np.int32)
        total = words[0::4] + words[1::4] + words[2::4] + words[3::4]
        return np.asarray((total - 2.0 * 65_535) / math.sqrt((65_536.0**2 - 1) / 3), dtype=np.float64)

    def one(self) -> float:
        """One even draw."""
        return float(self.uniform(1)[0])

    def _raw(self, n: int) -> NDArray[np.uint64]:
        return np.asarray(self._bits.random_raw(n), dtype=np.uint64)


class Grid(NamedTuple):
    """How time is cut: steps of the path, blocks of one volatility, and funding periods."""

    step_us: int
    steps: int
    steps_per_bar: int
    steps_per_block: int
    steps_per_funding: int

    @classmethod
    def of(cls, interval_us: int, days: int) -> "Grid":
        """The grid of so many days of bars of one length."""
        step_us = min(interval_us // STEPS_PER_BAR, HOUR_US)
        block_us = max(interval_us, HOUR_US)
        return cls(step_us, days * DAY_US // step_us, interval_us // step_us, block_us // step_us, FUNDING_US // step_us)


class Factor(NamedTuple):
    """Returns of the steps, and the volatility of the blocks relative to the long run."""

    returns: Floats
    volatility: Floats


def factor(bits: np.random.Philox, grid: Grid, vol: float) -> Factor:
    """Returns with a long-run volatility of ``vol`` a year, drifting so that the median price stays."""
    draws = Draws(bits)
    shocks = draws.normal(grid.steps)
    block = grid.steps_per_block
    volatility = _volatility(shocks.reshape(-1, block).sum(axis=1) / np.sqrt(block))
    years = grid.step_us / YEAR_US
    returns = shocks * np.repeat(volatility, block) * (vol * np.sqrt(years))
    return Factor(returns + 0.5 * vol * vol * years + _jumps(draws, grid, years), volatility)


def _volatility(shocks: Floats) -> Floats:
    """GARCH(1, 1) deviation before each shock, relative to the long run (Bollerslev 1986, Journal of Econometrics 31)."""
    variance, out = 1.0, []
    for square in (shocks * shocks).tolist():
        out.append(variance)
        variance = min(1 - ALPHA - BETA + variance * (ALPHA * square + BETA), MAX_VARIANCE)
    return np.sqrt(np.array(out, dtype=np.float64))


def _jumps(draws: Draws, grid: Grid, years: float) -> Floats:
    size = draws.uniform(grid.steps)
    jump = (0.015 + 0.05 * size) * np.where(size * 1024 % 2 < 1, 1.0, -1.0)
    return np.where(draws.uniform(grid.steps) < JUMPS_PER_YEAR * years, jump, 0.0)
