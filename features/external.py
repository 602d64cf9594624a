"""External proposals: a user's own table, checked row by row; causal by its ``available_ts`` only.         # R11.4"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.schema import NONE, OPTIONAL_COLUMNS, PROPOSAL_COLUMNS, Action, LevelKind, OrderType, TimeInForce, default_of
from features.proposals import DTYPES, ProposalError, ProposalTable, places
from features.rules import nearest

REQUIRED = ("ts", "symbol", "strategy", "action")
LARGEST = 2**31 - 1
CODES: Mapping[str, type[IntEnum]] = {"order_type": OrderType, "tif": TimeInForce}
KNOWN = (*PROPOSAL_COLUMNS, *OPTIONAL_COLUMNS, "row")


def read(table: pa.Table, where: str) -> ProposalTable:
    """Check an external table and sort it.

    Raises
    ------
    ProposalError
        Names row, column, value and rule.
    """
    for name in table.column_names:
        if name not in KNOWN:
            raise ProposalError(f"{where}: proposals have no column {name!r}; {nearest(name, KNOWN)}")
    for name in REQUIRED:
        if name not in table.column_names:
            raise ProposalError(f"{where}: column {name!r} is missing; a proposal has at least {', '.join(REQUIRED)}")
    columns: dict[str, NDArray[Any]] = {"ts": _times(table, "ts", where)}
    columns["available_ts"] = _times(table, "available_ts", where) if "available_ts" in table.column_names else columns["ts"]
    _refuse(columns["available_ts"] < columns["ts"], columns["available_ts"], "available_ts", where, "it is known before its own ts (R1.7)")
    names = {}
    for name in ("symbol", "strategy"):
        names[name], columns[name] = _names(table, name, where)
    columns["action"], columns["row"] = _codes(table, "action", Action, where), np.full(len(table), NONE)
    for name, dtype in DTYPES.items():
        if name not in columns and name != "sequence":
            columns[name] = _numbers(table, name, dtype, where)
    optional = {name: np.dtype(dtype).type for name, dtype in OPTIONAL_COLUMNS.items() if name in table.column_names}
    columns |= {name: _numbers(table, name, dtype, where) for name, dtype in optional.items()}
    _check_orders(columns, where)
    _check_targets(columns, where)
    columns["sequence"] = _sequence(table, columns, where)
    order = np.lexsort([columns[name] for name in ("sequence", "strategy", "symbol", "available_ts")])
    return ProposalTable(
        {name: columns[name][order].astype(dtype) for name, dtype in (*DTYPES.items(), *optional.items())},
        names["symbol"],
        names["strategy"],
        "external",
    )


def _times(table: pa.Table, name: str, where: str) -> NDArray[np.int64]:
    column = _whole(table, name, where)
    if pa.types.is_timestamp(column.type):
        if column.type.tz is None:
            raise ProposalError(f"{where}: {name} has timestamps without a time zone; make them UTC")
        return np.asarray(column.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64()))
    if not pa.types.is_integer(column.type):
        raise ProposalError(f"{where}: {name} is {column.type}; it is a timestamp with a time zone, or int64 microseconds UTC")
    values = np.asarray(column).astype(np.int64)
    _refuse(
        (values != 0) & (np.abs(values) < 10**14), values, name, where, "it is not in microseconds since 1970 UTC, but in a coarser unit"
    )
    return values


def _names(table: pa.Table, name: str, where: str) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    column = _whole(table, name, where)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise ProposalError(f"{where}: {name} is {kind}; it is text")
    texts = column.to_pylist()
    known = tuple(sorted(set(texts)))
    codes = {text: code for code, text in enumerate(known)}
    return known, np.array([codes[text] for text in texts], np.int32)


def _check_orders(columns: dict[str, NDArray[Any]], where: str) -> None:
    """Refuse orders that could not mean what they say.  # R2.1"""
    types, tifs, values = columns["order_type"], columns["tif"], columns["tif_value"]
    exits = (columns["action"] != Action.ENTER_LONG) & (columns["action"] != Action.ENTER_SHORT)
    _refuse(exits & (types != OrderType.MARKET), types, "order_type", where, "exits and targets are market orders")
    for name, kinds in (("limit_price", (OrderType.LIMIT, OrderType.STOP_LIMIT)), ("stop_price", (OrderType.STOP, OrderType.STOP_LIMIT))):
        idle = ~np.isnan(columns[name]) & ~np.isin(types, kinds)
        _refuse(idle, columns[name], name, where, f"its order_type has no {name}; give {' or '.join(kind.name.lower() for kind in kinds)}")
    _refuse((tifs == TimeInForce.BARS) & (values < 1), values, "tif_value", where, "bars are counted from 1")


def _check_targets(columns: dict[str, NDArray[Any]], where: str) -> None:
    """Refuse targets that do not say how much is to be held."""
    targets = columns["action"] == Action.TARGET
    weights = columns.get("weight", np.full(len(targets), np.nan))
    _refuse(targets & np.isnan(weights), weights, "weight", where, "a target has one, the signed fraction of budget x equity to hold")
    _refuse(targets & (columns["tif"] != TimeInForce.GTC), columns["tif"], "tif", where, "a target is good till cancelled")


def _codes(table: pa.Table, name: str, kind: type[IntEnum], where: str) -> NDArray[np.int8]:
    values = _whole(table, name, where).to_pylist()
    known = {member.name.lower(): int(member) for member in kind} | {int(member): int(member) for member in kind}
    for row, value in enumerate(values):
        if isinstance(value, bool) or value not in known:
            raise ProposalError(f"{where} row {row}: {name} {value!r}; it is one of {', '.join(member.name.lower() for member in kind)}")
    return np.array([known[value] for value in values], np.int8)


def _numbers(table: pa.Table, name: str, dtype: Any, where: str) -> NDArray[Any]:
    if name not in table.column_names:
        return np.full(len(table), default_of(name), dtype)
    if name.endswith("_kind"):
        return _codes(table, name, LevelKind, where)
    if name in CODES:
        return _codes(table, name, CODES[name], where)
    column = table.column(name)
    if name == "tif_value" and pa.types.is_timestamp(column.type):
        return _times(table, name, where)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise ProposalError(f"{where}: {name} is {column.type}; it is a number")
    if dtype == np.float64:
        numbers = np.asarray(pc.fill_null(column.cast(pa.float64()), float("nan"))).astype(np.float64)
        _refuse(np.isinf(numbers), numbers, name, where, "it is finite, or missing where there is none")
        return numbers
    values = np.asarray(_whole(table, name, where))
    largest = 2**62 if name == "tif_value" else LARGEST
    whole = (values >= 0) & (values <= largest) & (values == np.floor(values))
    _refuse(~whole, values, name, where, f"it is a whole number from 0 to {largest}")
    return values.astype(np.int64)


def _sequence(table: pa.Table, columns: dict[str, NDArray[Any]], where: str) -> NDArray[np.int64]:
    if "sequence" not in table.column_names:
        return places(columns["symbol"], columns["strategy"])
    given = _numbers(table, "sequence", np.int64, where)
    order = np.lexsort([given, columns["strategy"], columns["symbol"]])
    same = [np.diff(values[order], prepend=-1) == 0 for values in (columns["symbol"], columns["strategy"], given)]
    repeated = np.zeros(len(given), bool)
    repeated[order[np.logical_and.reduce(same)]] = True
    _refuse(repeated, given, "sequence", where, "it comes twice for one strategy and symbol")
    return given


def _whole(table: pa.Table, name: str, where: str) -> Any:
    column = table.column(name)
    if column.null_count:
        row = int(np.argmax(np.asarray(column.is_null())))
        raise ProposalError(f"{where} row {row}: {name} is missing; every proposal has one")
    return column


def _refuse(wrong: NDArray[np.bool_], values: NDArray[Any], name: str, where: str, rule: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ProposalError(f"{where} row {row}: {name} {values[row]}: {rule}")
