"""Checked rules over computed columns: numexpr runs the program of a rule on views of the arrays, shifted by its lags.

A value is unknown (NaN) before its column begins. A comparison with an unknown value is false, so where a rule cannot be true without
a value that is not there yet, those rows are not visited at all; elsewhere they are evaluated on a padded copy.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numexpr
import numpy as np
from numpy.typing import NDArray

from features.rules import Compare, Name, Rule

LONG = 200_000  # rows from which a second thread of numexpr pays


class Column(NamedTuple):
    """Values of one column of one symbol, from row ``first`` on; unknown before."""

    values: NDArray[np.float64]
    first: int


def rows_where(rule: Rule, columns: Mapping[str, Column], start: int, stop: int, *, edge: bool) -> NDArray[np.int64]:
    """Rows from ``start`` to ``stop`` at which a condition is true, or becomes true.                        # R4.5"""
    before = max(start - 1, 0) if edge else start
    screen = None if edge else _crossing(rule)
    if screen is not None:
        found = _crossings(rule, screen, columns, start, stop)
    else:
        found = np.flatnonzero(_mask(rule, columns, before, stop)) + before
    if edge and len(found):
        becomes = np.empty(len(found), bool)
        becomes[0], becomes[1:] = True, found[1:] != found[:-1] + 1
        found = found[becomes]
        return found[found >= start]
    return found


def values_at(rule: Rule, columns: Mapping[str, Column], rows: NDArray[np.int64], extra: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The number a rule gives at some rows; ``extra`` holds values given row by row, such as the side."""
    given = {f"x{i}": extra[name.name] if name.name in extra else _gather(columns[name.name], rows - name.lag) for i, name in enumerate(rule.inputs)}
    return np.broadcast_to(_run(rule.program, given), rows.shape).astype(np.float64)


def _run(program: str, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    with np.errstate(all="ignore"):
        return np.asarray(numexpr.evaluate(program, local_dict=dict(inputs), global_dict={}))


def _gather(column: Column, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    places = rows - column.first
    if len(places) and places.min() >= 0:
        return column.values[places]
    known = places >= 0
    return np.where(known, column.values[np.where(known, places, 0)] if len(column.values) else np.nan, np.nan)


def _mask(rule: Rule, columns: Mapping[str, Column], start: int, stop: int) -> NDArray[np.bool_]:
    """Whether a condition is true at each row from ``start`` to ``stop``."""
    begins = {name: columns[name.name].first + name.lag for name in rule.inputs}
    dead = min(max(start, *(begins[name] for name in rule.required), start), stop)  # before it, the rule cannot be true
    whole = min(max(dead, *begins.values(), dead), stop)  # from here on, every value is there
    result = np.empty(stop - start, bool)
    result[: dead - start] = False
    if dead < whole:
        rows = np.arange(dead, whole)
        given = {f"x{i}": _gather(columns[name.name], rows - name.lag) for i, name in enumerate(rule.inputs)}
        result[dead - start : whole - start] = _run(rule.program, given)
    if whole < stop:
        result[whole - start :] = _run(rule.program, {f"x{i}": _view(columns, name, whole, stop) for i, name in enumerate(rule.inputs)})
    return result


def _view(columns: Mapping[str, Column], name: Name, start: int, stop: int) -> NDArray[np.float64]:
    values, first = columns[name.name]
    return values[start - name.lag - first : stop - name.lag - first]


def _crossing(rule: Rule) -> Rule | None:
    return None


def _crossings(rule: Rule, screen: Rule, columns: Mapping[str, Column], start: int, stop: int) -> NDArray[np.int64]:
    raise NotImplementedError
