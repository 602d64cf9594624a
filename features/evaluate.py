"""Checked rules over computed columns: numexpr runs the program of a rule on views of the arrays, shifted by its lags.

A value is unknown (NaN) before its column begins. A comparison with an unknown value is false, so where a rule cannot be true without
a value that is not there yet, those rows are not visited at all; elsewhere they are evaluated on a padded copy.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple, cast

import numexpr
import numpy as np
from numpy.typing import NDArray

from features.crossings import Crossings, crossings
from features.rule_tree import Compare, Logic, Name, Number, Rule, Value

_one_at_a_time = Lock()  # numexpr's threads serve one program at a time


class Column(NamedTuple):
    """Values of one column of one symbol, from row ``first`` on; unknown before."""

    values: NDArray[np.float64]
    first: int


Crossed = dict[tuple[Value, Value], Crossings]
"""Where columns cross from ``start`` to ``stop``: rules that enter at a cross and leave at the opposite one share it."""


def rows_where(
    rule: Rule, columns: Mapping[str, Column], start: int, stop: int, *, edge: bool, crossed: Crossed | None = None
) -> NDArray[np.int64]:
    """Rows from ``start`` to ``stop`` at which a condition is true, or becomes true.                        # R4.5"""
    if edge:
        before = max(start - 1, 0)
        found = np.flatnonzero(_mask(rule, columns, before, stop)) + before
        becomes: NDArray[np.bool_] = np.diff(found, prepend=-2) != 1
        return found[becomes & (found >= start)]
    cross = _crossing(rule.root)
    if cross is None:
        return np.flatnonzero(_mask(rule, columns, start, stop)) + start
    rows = _rows_of(cross, columns, start, stop, {} if crossed is None else crossed)
    if cross is rule.root or not len(rows):
        return rows
    true: NDArray[np.bool_] = _at(rule, columns, rows, {})
    return rows[true]


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


def _crossing(root: Any) -> Logic | None:
    """The cross of columns or constants that a condition cannot be true without; None if it has none."""
    if not isinstance(root, Logic) or root.op != "&":
        return None
    now, before = root.left, root.right
    if isinstance(now, Compare) and isinstance(before, Compare) and (now.op, before.op) in ((">", "<="), ("<", ">=")):
        later = [Name(side.name, side.lag + 1) if isinstance(side, Name) else side for side in (now.left, now.right)]
        if [before.left, before.right] == later and all(isinstance(side, Name | Number) for side in later):
            return root
    return _crossing(root.left) or _crossing(root.right)


def _rows_of(cross: Logic, columns: Mapping[str, Column], start: int, stop: int, crossed: Crossed) -> NDArray[np.int64]:
    """Rows at which a cross is true."""
    now = cast("Compare", cross.left)
    sides = now.left, now.right
    if sides not in crossed:
        crossed[sides] = _crossed(sides, columns, start, stop)
    return crossed[sides].over if now.op == ">" else crossed[sides].under


def _crossed(sides: tuple[Value, Value], columns: Mapping[str, Column], start: int, stop: int) -> Crossings:
    names = [side for side in sides if isinstance(side, Name)]
    before = max(start - 1, 0, *(columns[name.name].first + name.lag for name in names))
    if before >= stop:
        return Crossings(np.empty(0, np.int64), np.empty(0, np.int64))
    one, other = (_side(side, columns, before, stop) for side in sides)
    over, under = crossings(one, other)
    return Crossings(over + before, under + before)


def _side(side: Value, columns: Mapping[str, Column], start: int, stop: int) -> NDArray[np.float64] | float:
    return _view(columns[side.name], side.lag, start, stop) if isinstance(side, Name) else cast("Number", side).value
