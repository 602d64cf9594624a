"""Rules to proposals, and the table of proposals that stage one hands to stage two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.schema import Action
from features.causality import Certificate
from features.evaluate import Column, rows_where, values_at
from features.strategy import SIDE, Plan

DTYPES: Mapping[str, Any] = {
    "ts": np.int64,
    "available_ts": np.int64,
    "symbol": np.int32,
    "strategy": np.int32,
    "action": np.int8,
    "score": np.float64,
    "stop_loss": np.float64,
    "stop_loss_kind": np.int8,
    "take_profit": np.float64,
    "take_profit_kind": np.int8,
    "trailing": np.float64,
    "trailing_kind": np.int8,
    "max_bars": np.int64,
    "sequence": np.int64,
    "row": np.int64,
}
"""Columns of a table and their types."""

DEFAULTS: Mapping[str, float] = {"stop_loss": np.nan, "take_profit": np.nan, "trailing": np.nan, "row": -1}
"""What a column holds where nothing is given; 0 for the others."""


class ProposalError(ValueError):
    """A proposal table that cannot be used; the message names row, column, value, rule and mend."""


@dataclass(frozen=True)
class ProposalTable:
    """Proposals sorted by (available_ts, symbol, strategy, sequence).

    Attributes
    ----------
    columns
        ``engine.schema.PROPOSAL_COLUMNS`` as arrays, ``symbol`` and ``strategy`` as codes into the tuples of names, and
        ``row``: the row of the bar in the dataset's bars (-1: not located yet).
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


def propose_symbol(plan: Plan, columns: Mapping[str, Column], ts: NDArray[np.int64], start: int, stop: int) -> dict[str, NDArray[Any]]:
    """Proposals of one strategy on one symbol, for its bars from ``start`` to ``stop``, in time order.

    ``row`` counts within the symbol; columns that would hold their default alone are left out.
    """
    found = [(action, rows_where(rule, columns, start, stop, edge=plan.edge)) for action, rule in plan.conditions.items()]
    rows = np.concatenate([rows for _, rows in found])
    actions = np.repeat(np.array([action for action, _ in found], np.int8), [len(rows) for _, rows in found])
    if len(found) > 1:
        order = np.argsort(rows, kind="stable")
        rows, actions = rows[order], actions[order]
    part = {"ts": ts[rows], "action": actions, "sequence": np.arange(len(rows)), "row": rows}
    return part | _entry_values(plan, columns, rows, actions)


def _entry_values(plan: Plan, columns: Mapping[str, Column], rows: NDArray[np.int64], actions: NDArray[np.int8]) -> dict[str, NDArray[Any]]:
    rules = {"score": plan.score, "max_bars": plan.max_bars} | {name: level.rule for name, level in plan.levels.items()}
    given = {name: rule for name, rule in rules.items() if rule is not None}
    if not given:
        return {}
    entries = np.flatnonzero(actions <= Action.ENTER_SHORT)
    side = {SIDE: np.where(actions[entries] == Action.ENTER_LONG, 1.0, -1.0)}
    table: dict[str, NDArray[Any]] = {f"{name}_kind": np.full(len(rows), level.kind, np.int8) for name, level in plan.levels.items()}
    for name, rule in given.items():
        values = values_at(rule, columns, rows[entries], side)
        if name == "max_bars":
            values = np.where(values >= 1.0, np.minimum(values, 2.0**31), 0.0)
        table[name] = np.full(len(rows), DEFAULTS.get(name, 0), DTYPES[name])
        table[name][entries] = values
    return table


def assemble(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """One table from parts that are in time order each and come in (symbol, strategy) order."""
    lengths = [len(part["ts"]) for part in parts]
    columns: dict[str, NDArray[Any]] = {}
    order = np.argsort(_joined(parts, "ts", lengths), kind="stable") if len(parts) > 1 else slice(None)
    for name, dtype in DTYPES.items():
        if any(name in part for part in parts):
            columns[name] = _joined(parts, name, lengths)[order]
        elif name != "available_ts":
            columns[name] = np.full(sum(lengths), DEFAULTS.get(name, 0), dtype)
    return {name: columns["ts" if name == "available_ts" else name] for name in DTYPES}


def _joined(parts: Sequence[Mapping[str, NDArray[Any]]], name: str, lengths: Sequence[int]) -> NDArray[Any]:
    fill = DEFAULTS.get(name, 0)
    blocks = [part[name] if name in part else np.full(length, fill) for part, length in zip(parts, lengths, strict=True)]
    return np.concatenate(blocks, dtype=DTYPES[name], casting="unsafe")
