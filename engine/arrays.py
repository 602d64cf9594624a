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


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view of a contiguous array; a copy of any other."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
