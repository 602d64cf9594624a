"""Rolling means of whole columns, eight at a time: every bit as Polars' ``rolling_mean`` gives it, in a fraction of the time.

The sum of a window is carried from row to row.  What enters and what leaves is each summed with its own compensation (Kahan 1965,
Communications of the ACM 8:40), so a row waits for the row before; other columns, four in each register, fill that wait.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.block import address_of, floats_at
from engine.kernel import compiles, entry, kernel
from engine.lanes import WIDTH, lanes, load, store, turned
from features.tree import Feature

Floats = NDArray[np.float64]
Task = tuple[Floats, int, Floats]
Sums = tuple[Floats, Floats, Floats]
N = TypeVar("N", float, Floats)
"""A number, or four side by side."""


def window_of(feature: Feature) -> int:
    """Rows of the window, if a feature is a plain rolling mean of a column; else 0: Polars computes it."""
    return feature.mean_window if compiles() else 0


def rolling_means(columns: Sequence[Floats], windows: Sequence[int], room: Floats | None = None) -> list[Floats | None]:
    """Means of each column of equally long ones over its window, from the first full window on.

    None where a value or a sum is not finite: what Polars makes of that is left to it.  They are written into ``room``, where given.

    >>> [means.tolist() for means in rolling_means([np.array([1.0, 3.0, 5.0])] * 2, [2, 3])]
    [[2.0, 4.0], [3.0]]
    """
    columns = list(columns)
    given = {id(values): np.ascontiguousarray(values, np.float64) for values in columns}  # what is at an address is taken for that
    places = {key: address_of(values) for key, values in given.items()}
    if len({len(values) for values in columns}) > 1:
        raise ValueError(
            f"columns of {', '.join(str(len(values)) for values in columns)} rows; rolling means are made of equally long ones"
        )
    lengths = [max(len(values) - window + 1, 0) for values, window in zip(columns, windows, strict=True)]
    stops = list(accumulate(lengths))
    room = np.empty(sum(lengths)) if room is None else room
    if len(room) < sum(lengths):
        raise ValueError(f"a room of {len(room)} rows for {sum(lengths)} means")
    means = [room[stop - length : stop] for stop, length in zip(stops, lengths, strict=True)]
    base, size = address_of(room), room.itemsize
    tasks = [
        (places[id(values)], len(values), window, base + size * (stop - length))
        for values, window, stop, length in zip(columns, windows, stops, lengths, strict=True)
    ]
    _all_means(np.array(tasks, np.int64).reshape(-1, 4))
    # what is not finite stays in the sum to the end
    return [found if not len(found) or np.isfinite(found[-1]) else None for found in means]


@entry
def _all_means(tasks: NDArray[np.int64]) -> None:
    """Means of every task: address and rows of the values, window, address of the means.  One call waits for the interpreter once."""
    for i in range(0, len(tasks), 2 * WIDTH):
        if len(tasks) - i > 2:
            _eight_means(tasks, i)
        else:
            _two_means(*_task(tasks, i), *_task(tasks, i + 1))


@kernel
def _task(tasks: NDArray[np.int64], i: int) -> Task:
    """Values, window and means of a task; beyond the last, of the last again."""
    values, rows, window, means = tasks[min(i, len(tasks) - 1)]
    return floats_at(values, rows), window, floats_at(means, max(rows - window + 1, 0))


@kernel
def _two_means(a: Floats, a_window: int, a_means: Floats, b: Floats, b_window: int, b_means: Floats) -> None:
    start = min(max(a_window, b_window), len(a))
    a_total, a_added, a_taken = _first_means(a, a_window, a_means, start)
    b_total, b_added, b_taken = _first_means(b, b_window, b_means, start)
    for i in range(start, len(a)):
        a_total, a_added, a_taken = _slide(a_total, a_added, a_taken, a[i], 0.0 - a[i - a_window])
        b_total, b_added, b_taken = _slide(b_total, b_added, b_taken, b[i], 0.0 - b[i - b_window])
        a_means[i - a_window + 1], b_means[i - b_window + 1] = a_total / a_window, b_total / b_window


@kernel
def _eight_means(tasks: NDArray[np.int64], i: int) -> None:
    """Two registers of four columns each, four rows of them at a time."""
    rows, start = tasks[i, 1], 0
    for k in range(i, min(i + 2 * WIDTH, len(tasks))):
        start = max(start, min(tasks[k, 2], rows))
    start += (rows - start) % WIDTH
    one, other = _four_tasks(tasks, i), _four_tasks(tasks, i + WIDTH)
    sums, other_sums = _first_of_four(one, start), _first_of_four(other, start)
    for row in range(start, rows, WIDTH):
        sums, other_sums = _slide_four(sums, one, row), _slide_four(other_sums, other, row)


@kernel
def _four_tasks(tasks: NDArray[np.int64], i: int) -> tuple[Task, Task, Task, Task]:
    return _task(tasks, i), _task(tasks, i + 1), _task(tasks, i + 2), _task(tasks, i + 3)


@kernel
def _first_of_four(four: tuple[Task, Task, Task, Task], stop: int) -> Sums:
    """The first ``stop`` rows of four tasks, one by one."""
    (a, a_window, a_means), (b, b_window, b_means), (c, c_window, c_means), (d, d_window, d_means) = four
    a_total, a_added, a_taken = _first_means(a, a_window, a_means, stop)
    b_total, b_added, b_taken = _first_means(b, b_window, b_means, stop)
    c_total, c_added, c_taken = _first_means(c, c_window, c_means, stop)
    d_total, d_added, d_taken = _first_means(d, d_window, d_means, stop)
    return (
        lanes(a_total, b_total, c_total, d_total),
        lanes(a_added, b_added, c_added, d_added),
        lanes(a_taken, b_taken, c_taken, d_taken),
    )


@kernel
def _slide_four(sums: Sums, four: tuple[Task, Task, Task, Task], row: int) -> Sums:
    """Four rows of four tasks, from ``row`` on."""
    (a, a_window, a_means), (b, b_window, b_means), (c, c_window, c_means), (d, d_window, d_means) = four
    windows, nothing = lanes(a_window, b_window, c_window, d_window), lanes(0.0, 0.0, 0.0, 0.0)
    e0, e1, e2, e3 = turned(load(a, row), load(b, row), load(c, row), load(d, row))
    l0, l1, l2, l3 = turned(load(a, row - a_window), load(b, row - b_window), load(c, row - c_window), load(d, row - d_window))
    first = _slide(sums[0], sums[1], sums[2], e0, nothing - l0)
    second = _slide(first[0], first[1], first[2], e1, nothing - l1)
    third = _slide(second[0], second[1], second[2], e2, nothing - l2)
    fourth = _slide(third[0], third[1], third[2], e3, nothing - l3)
    m0, m1, m2, m3 = turned(first[0] / windows, second[0] / windows, third[0] / windows, fourth[0] / windows)
    store(a_means, row - a_window + 1, m0)
    store(b_means, row - b_window + 1, m1)
    store(c_means, row - c_window + 1, m2)
    store(d_means, row - d_window + 1, m3)
    return fourth


@kernel
def _first_means(values: Floats, window: int, means: Floats, stop: int) -> tuple[float, float, float]:
    """Means of the first ``stop`` rows; the sum then, and both of its compensations."""
    total, added, taken = 0.0, 0.0, 0.0
    for i in range(min(window, stop)):
        total, added = _add(total, added, values[i])
    if window <= stop:
        means[0] = total / window
    for i in range(window, stop):
        total, added, taken = _slide(total, added, taken, values[i], 0.0 - values[i - window])
        means[i - window + 1] = total / window
    return total, added, taken


@kernel
def _slide(total: N, added: N, taken: N, enters: N, leaves: N) -> tuple[N, N, N]:
    """Let a value into the window, and what it pushes out of it, which is negative here."""
    total, taken = _add(total, taken, leaves)
    total, added = _add(total, added, enters)
    return total, added, taken


@kernel
def _add(total: N, error: N, value: N) -> tuple[N, N]:
    """The sum with one more value, and what rounding added to it."""
    exact = value - error
    new = total + exact
    return new, (new - total) - exact
