"""Where two columns cross, both ways in one pass."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.kernel import entry

Floats = NDArray[np.float64]


class Crossings(NamedTuple):
    """Rows at which one column comes to lie above another, and below it."""

    over: NDArray[np.int64]
    under: NDArray[np.int64]


def crossings(one: Floats | float, other: Floats | float) -> Crossings:
    """Rows at which ``one`` is above ``other`` and was not a row before, and the same below; either may be a constant.

    Where a value is unknown (NaN), or was a row before, nothing crosses.

    >>> over, under = crossings(np.array([1.0, 3.0, 2.0, 1.0, np.nan, 3.0]), 2.0)
    >>> over.tolist(), under.tolist()
    ([1], [3])
    """
    rows = max(np.size(one), np.size(other))
    first, second = (side if isinstance(side, np.ndarray) else np.full(rows, side) for side in (one, other))
    over, under = (np.empty(rows // 2 + 1, np.int64) for _ in range(2))
    n_over, n_under = _crossings(first, second, over, under)
    return Crossings(over[:n_over].copy(), under[:n_under].copy())


@entry
def _crossings(one: Floats, other: Floats, over: NDArray[np.int64], under: NDArray[np.int64]) -> tuple[int, int]:
    n_over, n_under, was_over, was_under = 0, 0, True, True  # or unknown
    for i in range(len(one)):
        # written at every row and counted at a few: a branch would be guessed wrong at each of them
        over[n_over] = i
        under[n_under] = i
        n_over += (one[i] > other[i]) & (not was_over)
        n_under += (one[i] < other[i]) & (not was_under)
        was_over, was_under = not one[i] <= other[i], not one[i] >= other[i]
    return n_over, n_under
