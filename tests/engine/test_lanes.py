"""Four numbers at a time: compiled and in plain Python, each goes through what it would go through alone."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from engine.kernel import compiles, entry
from engine.lanes import lanes, load, store, turned

NUMBERS = st.floats(-1e9, 1e9) | st.sampled_from([0.0, -0.0, np.inf, np.nan])


@entry
def worked_out(values: NDArray[np.float64], found: NDArray[np.float64]) -> None:
    a, b = load(values, 0), load(values, 1)
    third = lanes(values[0], values[2], values[4], 7)
    store(found, 0, (a + b) - third)
    store(found, 4, a / b)
    rows = turned(a, b, third, load(values, 3))
    for i in range(2):
        store(found, 8 + 4 * i, rows[2 * i])


@given(arrays(np.float64, 7, elements=NUMBERS))
def test_lanes_are_four_numbers_side_by_side(values: NDArray[np.float64]) -> None:
    a, b, third, last = values[:4], values[1:5], np.array([values[0], values[2], values[4], 7.0]), values[3:]
    with np.errstate(all="ignore"):
        expected: Any = np.concatenate([(a + b) - third, a / b, [x[0] for x in (a, b, third, last)], [x[2] for x in (a, b, third, last)]])
        for work in (worked_out, worked_out.py_func if compiles() else worked_out):  # type: ignore[attr-defined]
            found = np.empty(16)
            work(values, found)
            assert np.array_equal(found, expected, equal_nan=True)
            assert np.array_equal(np.signbit(found[~np.isnan(found)]), np.signbit(expected[~np.isnan(expected)]))
