"""Checked rules over computed columns: numexpr runs the program of a rule on views of the arrays, shifted by its lags.

A value is unknown (NaN) before its column begins. A comparison with an unknown value is false, so where a rule cannot be true without
a value that is not there yet, those rows are not visited at all; elsewhere they are evaluated on a padded copy.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple

import numexpr
import numpy as np
from numpy.typing import NDArray

from features.crossings import Crossings, crossings
from features.rule_tree import Name, Number, Rule

_one_at_a_time = Lock()  # numexpr's threads serve one program at a time


class Column(NamedTuple):
    """Values of one column of one symbol, from row ``first`` on; unknown before."""

    values: NDArray[np.float64]
    first: int


class Span(NamedTuple):
    """Columns of one symbol, and the rows of them that are looked at: ``start`` to ``stop``."""

    columns: Mapping[str, Column]
    start: int
    stop: int


Sides = tuple[Name | Number, Name | Number]

Crossed = Mapping[Sides, Crossings]
"""Where columns of a span cross: rules that enter at a cross and leave at the opposite one share it."""


def rows_where(rule: Rule, span: Span, crossed: Crossed, *, edge: bool) -> NDArray[np.int64]:
    """Rows of a span at which a condition is true, or becomes true; ``crossed`` is what ``find_crossed`` finds for it.  # R4.5"""
    columns, start, stop = span
    if edge:
        before = max(start - 1, 0)
        found = np.flatnonzero(_mask(rule, columns, before, stop)) + before
        becomes: NDArray[np.bool_] = np.diff(found, prepend=-2) != 1
        return found[becomes & (found >= start)]
    cross = rule.cross
    if cross is None:
        return np.flatnonzero(_mask(rule, columns, start, stop)) + start
    rows = crossed[cross.sides].over if cross.over else crossed[cross.sides].under
    if cross.is_all or not len(rows):
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


def find_crossed(rules: Iterable[Rule], spans: Sequence[Span]) -> list[Crossed]:
    """Where columns cross on each symbol, as far as conditions hang on that; all in one compiled call."""
    wanted = list(dict.fromkeys(rule.cross.sides for rule in rules if rule.cross))
    begins = [[_begin(sides, span) for sides in wanted] for span in spans]
    pairs = [
        (_side(one, span.columns, before, span.stop), _side(other, span.columns, before, span.stop))
        for span, firsts in zip(spans, begins, strict=True)
        for (one, other), before in zip(wanted, firsts, strict=True)
    ]
    found = iter(crossings(pairs))
    return [
        {sides: Crossings(*(rows + before for rows in next(found))) for sides, before in zip(wanted, firsts, strict=True)}
        for firsts in begins
    ]


def _begin(sides: Sides, span: Span) -> int:
    """The first row at which both sides are there, at the earliest the one before the span."""
    starts = [span.columns[side.name].first + side.lag for side in sides if isinstance(side, Name)]
    return min(max(span.start - 1, 0, *starts), span.stop)


def _side(side: Name | Number, columns: Mapping[str, Column], start: int, stop: int) -> NDArray[np.float64] | float:
    return _view(columns[side.name], side.lag, start, stop) if isinstance(side, Name) else side.value
