"""The arrays the replay reads: their types, and how they are kept from being written to."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def ints(values: Sequence[int]) -> Ints:
    """Whole numbers as a read-only array."""
    return frozen(np.asarray(values, np.int64))


class Blanks:
    """Columns that hold one value throughout: views of one read-only array for each value, however many there are of them."""

    def __init__(self, length: int) -> None:
        self._length, self._made = length, dict[str, NDArray[Any]]()

    def column(self, value: float, dtype: Any) -> NDArray[Any]:
        """``value`` in every row; shape (length,).

        >>> blanks = Blanks(3)
        >>> blanks.column(0, np.int8), np.shares_memory(blanks.column(0, np.int8), blanks.column(0.0, np.float64))
        (array([0, 0, 0], dtype=int8), True)
        """
        if value == 0:
            zeros = self._made.setdefault("0", frozen(np.zeros(self._length, np.int64)))
            return zeros.view(dtype)[: self._length]
        name = f"{value} {np.dtype(dtype)}"
        if name not in self._made:
            self._made[name] = frozen(np.full(self._length, value, dtype))
        return self._made[name]


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view of a contiguous array; a copy of any other."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
