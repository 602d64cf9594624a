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
    states = np.empty(-(-rows // 8) * 8, np.int8)
    _compare(first, second, states)
    n_over, n_under = _crossings(states, states.view(np.int64), rows, over, under)
    return Crossings(over[:n_over].copy(), under[:n_under].copy())


BELOW, EQUAL, ABOVE, UNKNOWN = -1, 0, 1, 2
EACH_BYTE = 0x0101010101010101


@entry
def _compare(one: Floats, other: Floats, states: NDArray[np.int8]) -> None:
    for i in range(len(one)):
        known = (one[i] > other[i]) * ABOVE - (one[i] < other[i])
        states[i] = known + UNKNOWN * ((one[i] != one[i]) | (other[i] != other[i]))


@entry
def _crossings(
    states: NDArray[np.int8], words: NDArray[np.int64], rows: int, over: NDArray[np.int64], under: NDArray[np.int64]
) -> tuple[int, int]:
    n_over, n_under, before = 0, 0, UNKNOWN
    for word in range(len(words)):
        if words[word] == (-1 if before == BELOW else before * EACH_BYTE):  # eight rows at a time, as long as nothing changes
            continue
        for i in range(8 * word, min(8 * word + 8, rows)):
            if states[i] != before:
                if states[i] == ABOVE and before != UNKNOWN:
                    over[n_over] = i
                    n_over += 1
                elif states[i] == BELOW and before != UNKNOWN:
                    under[n_under] = i
                    n_under += 1
                before = int(states[i])
    return n_over, n_under
