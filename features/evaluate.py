"""Checked rules over computed columns: numexpr runs the program of a rule on views of the arrays, shifted by its lags.

A value is unknown (NaN) before its column begins. A comparison with an unknown value is false, so where a rule cannot be true without
a value that is not there yet, those rows are not visited at all; elsewhere they are evaluated on a padded copy.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple

import numexpr
import numpy as np
from numpy.typing import NDArray

from features.rules import Compare, Logic, Name, Number, Rule

_one_at_a_time = Lock()  # numexpr's threads serve one program at a time


class Column(NamedTuple):
    """Values of one column of one symbol, from row ``first`` on; unknown before."""

    values: NDArray[np.float64]
    first: int


def rows_where(rule: Rule, columns: Mapping[str, Column], start: int, stop: int, *, edge: bool) -> NDArray[np.int64]:
    """Rows from ``start`` to ``stop`` at which a condition is true, or becomes true.                        # R4.5"""
    screen = _crossing(rule.root)
    if edge:
        before = max(start - 1, 0)
        found = np.flatnonzero(_mask(rule, columns, before, stop)) + before
        becomes: NDArray[np.bool_] = np.diff(found, prepend=-2) != 1
        return found[becomes & (found >= start)]
    if screen is None:
        return np.flatnonzero(_mask(rule, columns, start, stop)) + start
    rows = _crossings(screen, columns, start, stop)
    return rows if len(rows) == 0 else rows[_at(rule, columns, rows, {})]


def values_at(
    rule: Rule, columns: Mapping[str, Column], rows: NDArray[np.int64], extra: Mapping[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The number a rule gives at some rows; ``extra`` holds values given row by row, such as the side."""
    return np.asarray(_at(rule, columns, rows, extra), np.float64)


def _at(rule: Rule, columns: Mapping[str, Column], rows: NDArray[np.int64], extra: Mapping[str, NDArray[np.float64]]) -> NDArray[Any]:
    inputs = [extra[name.name] if name.name in extra else _gather(columns[name.name], rows - name.lag) for name in rule.inputs]
    return np.broadcast_to(_run(rule.program, inputs), rows.shape)


@lru_cache(maxsize=1024)
def _compiled(program: str, inputs: int) -> Any:
    # the signature is the whole world of the program: numexpr looks up no name anywhere else
    return numexpr.NumExpr(program, [(f"x{i}", np.float64) for i in range(inputs)])


def _run(program: str, inputs: Sequence[NDArray[np.float64]]) -> NDArray[Any]:
    if not inputs:
        return np.asarray(numexpr.evaluate(program, local_dict={}, global_dict={}))
    with _one_at_a_time:
        return np.asarray(_compiled(program, len(inputs)).run(*inputs))


def _gather(column: Column, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    places = rows - column.first
    if len(places) and places.min() >= 0:
        return column.values[places]
    known = places >= 0
    return np.where(known, column.values[np.where(known, places, 0)] if len(column.values) else np.nan, np.nan)


def _mask(rule: Rule, columns: Mapping[str, Column], start: int, stop: int) -> NDArray[np.bool_]:
    """Whether a condition is true at each row from ``start`` to ``stop``."""
    begins = {name: columns[name.name].first + name.lag for name in rule.inputs}
    dead = min(max([start, *(begins[name] for name in rule.required)]), stop)  # before it, the rule cannot be true
    whole = min(max([dead, *begins.values()]), stop)  # from here on, every value is there
    result = np.zeros(stop - start, bool)
    if dead < whole:
        result[dead - start : whole - start] = _at(rule, columns, np.arange(dead, whole), {})
    if whole < stop:
        result[whole - start :] = _run(rule.program, [_view(columns[name.name], name.lag, whole, stop) for name in rule.inputs])
    return result


def _view(column: Column, lag: int, start: int, stop: int) -> NDArray[np.float64]:
    values, first = column
    return values[start - lag - first : stop - lag - first]


def _crossing(root: Any) -> Compare | None:
    """The new side of a cross that a condition cannot be true without; None if it has none."""
    if not isinstance(root, Logic) or root.op != "&":
        return None
    now, before = root.left, root.right
    if isinstance(now, Compare) and isinstance(before, Compare) and (now.op, before.op) in ((">", "<="), ("<", ">=")):
        later = [Name(side.name, side.lag + 1) if isinstance(side, Name) else side for side in (now.left, now.right)]
        if [before.left, before.right] == later and all(isinstance(side, Name | Number) for side in later):
            return now
    return _crossing(root.left) or _crossing(root.right)


def _crossings(now: Compare, columns: Mapping[str, Column], start: int, stop: int) -> NDArray[np.int64]:
    """Rows at which a comparison is true and was not one row before: all those at which its cross can be true.

    Crosses are rare: one comparison of all rows finds the candidates, and the rule itself is run on them alone.
    """
    begins = [columns[side.name].first + side.lag + 1 for side in (now.left, now.right) if isinstance(side, Name)]
    first = max([start, 1, *begins])
    if first >= stop:
        return np.empty(0, np.int64)
    left, right = (
        _view(columns[side.name], side.lag, first - 1, stop) if isinstance(side, Name) else side.value
        for side in (now.left, now.right)
        if isinstance(side, Name | Number)
    )
    true = np.greater(left, right) if now.op == ">" else np.less(left, right)
    return np.flatnonzero(true[1:] > true[:-1]) + first
