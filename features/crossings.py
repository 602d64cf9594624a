"""Where columns cross, both ways in one pass; many pairs of columns in one call."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.block import address_of, floats_at
from engine.kernel import entry, kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Crossings(NamedTuple):
    """Rows at which one column comes to lie above another, and below it."""

    over: Ints
    under: Ints


def crossings(pairs: Sequence[tuple[Floats | float, Floats | float]]) -> list[Crossings]:
    """Rows at which the first of each pair is above the second and was not a row before, and the same below; one of them may be a constant.

    Where a value is unknown (NaN), or was a row before, nothing crosses.

    >>> ((over, under),) = crossings([(np.array([1.0, 3.0, 2.0, 1.0, np.nan, 3.0]), 2.0)])
    >>> over.tolist(), under.tolist()
    ([1], [3])
    """
    sizes = [min((len(side) for side in pair if isinstance(side, np.ndarray)), default=0) for pair in pairs]
    sides = [(_column(one, rows), _column(other, rows)) for (one, other), rows in zip(pairs, sizes, strict=True)]
    tasks = np.array([(address_of(one), address_of(other), rows) for (one, other), rows in zip(sides, sizes, strict=True)], np.int64)
    half = max(sizes, default=0) // 2 + 1  # a column crosses one way at every other row at most
    found, counts = np.empty((len(pairs), 2, half), np.int64), np.empty((len(pairs), 2), np.int64)
    _all_crossings(tasks.reshape(-1, 3), np.empty(-(-max(sizes, default=0) // 8), np.int64), found, counts)
    return [Crossings(over[:n_over], under[:n_under]) for (over, under), (n_over, n_under) in zip(found, counts.tolist(), strict=True)]


def _column(side: Floats | float, rows: int) -> Floats:
    return np.ascontiguousarray(side, np.float64) if isinstance(side, np.ndarray) else np.full(rows, side)


BELOW, EQUAL, ABOVE, UNKNOWN = -1, 0, 1, 2
EACH_BYTE = 0x0101010101010101


@entry
def _all_crossings(tasks: Ints, words: Ints, found: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    """Crossings of every task: addresses of both columns, and their rows; ``words`` is scratch, a byte for each row of the longest."""
    for i in range(len(tasks)):
        one, other, rows = tasks[i]
        _compare(floats_at(one, rows), floats_at(other, rows), words.view(np.int8))
        counts[i, 0], counts[i, 1] = _crossings(words.view(np.int8), words, rows, found[i, 0], found[i, 1])


@kernel
def _compare(one: Floats, other: Floats, states: NDArray[np.int8]) -> None:
    for i in range(len(one)):
        known = (one[i] > other[i]) * ABOVE - (one[i] < other[i])
        states[i] = known + UNKNOWN * ((one[i] != one[i]) | (other[i] != other[i]))


@kernel
def _crossings(states: NDArray[np.int8], words: Ints, rows: int, over: Ints, under: Ints) -> tuple[int, int]:
    n_over, n_under, before = 0, 0, UNKNOWN
    for word in range((rows + 7) // 8):
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
