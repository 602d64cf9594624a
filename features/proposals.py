"""The proposal table: what stage one hands to stage two, in memory and as Arrow files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from engine.schema import Action, LevelKind
from numpy.typing import NDArray

from features.causality import Certificate
from features.evaluate import Column, rows_where, values_at
from features.strategy import LEVELS, SIDE, Plan

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
        ``certified`` or ``external``.                                                                      # R11.4
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
    """Proposals of one strategy on one symbol, for its bars from ``start`` to ``stop``, in time order; ``row`` counts within the symbol."""
    found = [(action, rows_where(rule, columns, start, stop, edge=plan.edge)) for action, rule in plan.conditions.items()]
    rows = np.concatenate([rows for _, rows in found])
    actions = np.concatenate([np.full(len(rows), action, np.int8) for action, rows in found])
    if len(found) > 1:
        order = np.argsort(rows, kind="stable")
        rows, actions = rows[order], actions[order]
    times = ts[rows]
    table = {"ts": times, "available_ts": times, "action": actions, "sequence": np.arange(len(rows)), "row": rows}
    return table | _entry_values(plan, columns, rows, actions)


def _entry_values(plan: Plan, columns: Mapping[str, Column], rows: NDArray[np.int64], actions: NDArray[np.int8]) -> dict[str, NDArray[Any]]:
    entries = np.flatnonzero(actions <= Action.ENTER_SHORT)
    at = rows[entries]
    side = {SIDE: np.where(actions[entries] == Action.ENTER_LONG, 1.0, -1.0)}

    def spread(rule: Any, fill: float) -> NDArray[np.float64]:
        column = np.full(len(rows), fill)
        if rule is not None:
            column[entries] = values_at(rule, columns, at, side)
        return column

    table: dict[str, NDArray[Any]] = {"score": spread(plan.score, 0.0)}
    for name in LEVELS:
        level = plan.levels.get(name)
        table[name] = spread(level and level.rule, np.nan)
        table[f"{name}_kind"] = np.full(len(rows), level.kind if level else LevelKind.PRICE, np.int8)
    bars = spread(plan.max_bars, 0.0)
    table["max_bars"] = np.where(bars >= 1.0, np.minimum(bars, 2.0**31), 0.0).astype(np.int64)
    return table


def assemble(parts: Sequence[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """One table from parts that are in time order each and come in (symbol, strategy) order."""
    columns = {name: np.concatenate([part[name] for part in parts]) if parts else np.empty(0, kind) for name, kind in DTYPES.items()}
    if len(parts) > 1:
        order = np.argsort(columns["available_ts"], kind="stable")
        columns = {name: column[order] for name, column in columns.items()}
    return columns
