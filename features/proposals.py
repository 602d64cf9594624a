"""Rules to proposals, and the table of proposals that stage one hands to stage two."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.arrays import Blanks, frozen
from engine.dataset import Series
from engine.kernel import entry
from engine.schema import OPTIONAL_COLUMNS, PROPOSAL_COLUMNS, Action, LevelKind, TimeInForce, default_of
from features.causality import Certificate
from features.evaluate import Column, Span, find_crossed, rows_where, values_at
from features.strategy import SIDE, Order, Plan

DTYPES: Mapping[str, Any] = {name: np.dtype("int32" if dtype == "str" else dtype) for name, dtype in PROPOSAL_COLUMNS.items()} | {
    "row": np.dtype("int64")
}
"""Columns of a table and their types; names are codes, and ``row`` is that of the dataset's bars."""


class ProposalError(ValueError):
    """A proposal table that cannot be used; the message names row, column, value, rule and mend."""


@dataclass(frozen=True)
class ProposalTable:
    """Proposals sorted by (available_ts, symbol, strategy, sequence).

    Attributes
    ----------
    columns
        ``engine.schema.PROPOSAL_COLUMNS`` as read-only arrays, ``symbol`` and ``strategy`` as codes into the tuples of names, and
        ``row``: the row of the bar in the dataset's bars (-1: not located yet); those of ``OPTIONAL_COLUMNS`` that are used.
    symbols, strategies
        Names, sorted by code point.
    provenance
        ``certified`` or ``external``; ``uncertified`` where the gate was left out.                          # R11.4
    dataset_id
        Content id of the dataset they were made from; empty where that is not known.
    certificates
        Proof for every computation they rest on.
    """

    columns: dict[str, NDArray[Any]]
    symbols: tuple[str, ...]
    strategies: tuple[str, ...]
    provenance: str
    dataset_id: str = ""
    certificates: tuple[Certificate, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.columns["ts"])


class Job(NamedTuple):
    """The first ``stop`` bars of a symbol, of which those from ``start`` on lie in the period."""

    series: Series
    start: int
    stop: int


class Found(NamedTuple):
    """Proposals of one action, by one strategy on one symbol.

    Attributes
    ----------
    symbol, strategy
        Codes.
    rows
        Rows in the dataset's bars, in time order.
    values
        Score, order, levels and ``max_bars`` of entries, by column, where the strategy gives them.
    kinds
        ``LevelKind`` of those levels, by column.
    """

    symbol: int
    strategy: int
    action: Action
    rows: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float64]]
    kinds: Mapping[str, LevelKind]


def find(plan: Plan, inputs: Mapping[int, Mapping[str, Column]], jobs: Sequence[Job], strategy: int) -> Iterator[Found]:
    """The proposals of one strategy in the period, on those symbols whose columns are given, by the places of their jobs."""
    spans = [Span(columns, jobs[code].start, jobs[code].stop) for code, columns in inputs.items()]
    crossed = [{}] * len(spans) if plan.edge else find_crossed(plan.conditions.values(), spans)
    kinds = {f"{name}_kind": level.kind for name, level in plan.levels.items()}
    for code, span, crosses in zip(inputs, spans, crossed, strict=True):
        for action, rule in plan.conditions.items():
            rows = rows_where(rule, span, crosses, edge=plan.edge)
            says = action in (Action.ENTER_LONG, Action.ENTER_SHORT, Action.TARGET) and plan.says_more
            values = _entry_values(plan, span.columns, rows, _sides(plan, span.columns, rows, action)) if says else {}
            yield Found(code, strategy, action, rows + jobs[code].series.start, values, kinds)


def _sides(plan: Plan, columns: Mapping[str, Column], rows: NDArray[np.int64], action: Action) -> NDArray[np.float64]:
    """+1 or -1 for each entry, of a target the sign of its weight."""
    if action == Action.TARGET:
        return np.where(values_at(plan.sizing["weight"], columns, rows, {}) < 0.0, -1.0, 1.0)
    return np.full(len(rows), 1.0 if action == Action.ENTER_LONG else -1.0)


def _entry_values(
    plan: Plan, columns: Mapping[str, Column], rows: NDArray[np.int64], side: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    order, sides = plan.order, {SIDE: side}
    values = {name: values_at(rule, columns, rows, sides) for name, rule in plan.entry_rules.items()}
    endless = [np.isinf(found) for name, found in values.items() if name != "max_bars"]
    if any(rows.any() for rows in endless):  # a quotient by zero, mostly: INVALID, as an unknown score is                        # R4.1
        values["score"] = np.where(np.logical_or.reduce(endless), np.nan, values.get("score", 0.0))
    if "max_bars" in values:
        values["max_bars"] = np.where(values["max_bars"] >= 1.0, np.minimum(values["max_bars"], 2.0**31), 0.0)
    if "leg" in values:
        values["leg"] = np.where(values["leg"] >= 1.0, np.minimum(values["leg"], 2.0**31), 0.0)
    if order != Order():
        constants = {"order_type": order.type, "tif": order.tif, "tif_value": order.tif_value}
        values |= {name: np.full(len(rows), float(value)) for name, value in constants.items()}
    return values


def assemble(found: Iterable[Found], ts: NDArray[np.int64], starts: Sequence[int] | None = None) -> dict[str, NDArray[Any]]:
    """One sorted table of all that was found.

    Parameters
    ----------
    ts
        Closes of the dataset's bars.
    starts
        Where the bars of each symbol begin, if all symbols have the same times: bars are then counted, and not timed.
    """
    parts = sorted(found, key=lambda part: part[:3])
    lengths = [len(part.rows) for part in parts]
    rows = np.concatenate([part.rows for part in parts]) if parts else np.empty(0, np.int64)
    times = ts[rows]
    # parts come by symbol, strategy and action, so a stable sort by time is the whole order
    order = (
        np.argsort(times, kind="stable") if starts is None else _by_count(rows, np.repeat([starts[part.symbol] for part in parts], lengths))
    )
    times = frozen(times[order])
    columns, blanks = {"ts": times, "available_ts": times, "row": rows[order]}, Blanks(len(order))
    for place, name in enumerate(("symbol", "strategy", "action")):
        columns[name] = np.repeat(np.array([part[place] for part in parts], DTYPES[name]), lengths)[order]
    said = set().union(*(part.values for part in parts))
    columns["sequence"] = places(columns["symbol"], columns["strategy"])
    for name, dtype in DTYPES.items():
        if name not in columns:
            columns[name] = _column(name, dtype, parts, lengths, order, said, blanks)
    dated = columns["tif"] == TimeInForce.GTD
    if dated.any():
        columns["tif_value"] = columns["tif_value"] + np.where(dated, times, 0)
    for name, dtype in OPTIONAL_COLUMNS.items():
        if name in said:
            columns[name] = _column(name, dtype, parts, lengths, order, said, blanks)
    return {name: frozen(columns[name]) for name in (*DTYPES, *OPTIONAL_COLUMNS) if name in columns}


def _by_count(rows: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The stable order of rows by how many bars of their symbols come before them: NumPy sorts two bytes at a time in linear time."""
    counts = rows - starts
    order = np.argsort(counts.astype(np.uint16), kind="stable")
    if counts.max(initial=0) < 2**16:
        return order
    return order[np.argsort((counts >> 16)[order].astype(np.uint16 if counts.max() < 2**32 else np.int64), kind="stable")]


def places(symbol: NDArray[np.int32], strategy: NDArray[np.int32]) -> NDArray[np.int64]:
    """The place of each row among those of its symbol and strategy."""
    strategies, place = int(strategy.max(initial=0)) + 1, np.empty(len(symbol), np.int64)
    _count_places(symbol, strategy, strategies, np.zeros((int(symbol.max(initial=0)) + 1) * strategies, np.int64), place)
    return place


@entry
def _count_places(
    symbol: NDArray[np.int32], strategy: NDArray[np.int32], strategies: int, counts: NDArray[np.int64], place: NDArray[np.int64]
) -> None:
    for i in range(len(symbol)):
        slot = symbol[i] * strategies + strategy[i]
        place[i] = counts[slot]
        counts[slot] += 1


def _column(
    name: str, dtype: Any, parts: Sequence[Found], lengths: Sequence[int], order: NDArray[np.int64], said: set[str], blanks: Blanks
) -> NDArray[Any]:
    default = default_of(name)
    if name.endswith("_kind"):
        kinds = np.array([part.kinds.get(name, default) for part in parts], dtype)
        return np.repeat(kinds, lengths)[order] if kinds.any() else blanks.column(0, dtype)
    if name not in said:
        return blanks.column(default, dtype)
    blocks = [part.values[name] if name in part.values else np.full(length, default) for part, length in zip(parts, lengths, strict=True)]
    return np.concatenate(blocks)[order].astype(dtype)
