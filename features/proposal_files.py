"""Proposal tables as files: our own, certified, and external ones of the user's."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.schema import OPTIONAL_COLUMNS, PROPOSAL_COLUMNS
from features import external
from features.causality import CausalityError, Certificate
from features.proposals import DTYPES, ProposalError, ProposalTable
from features.store import read_table, write_table

METADATA_KEYS = ("provenance", "dataset", "symbols", "strategies", "certificates", "checksum")


def write_proposals(table: ProposalTable, path: Path) -> None:
    """Write a table as one Arrow file, with its certificates and a checksum in the metadata."""
    metadata = {
        "provenance": table.provenance,
        "dataset": table.dataset_id,
        "symbols": table.symbols,
        "strategies": table.strategies,
        "certificates": [certificate.to_json() for certificate in table.certificates],
        "checksum": _checksum(table),
    }
    columns: dict[str, Any] = dict(table.columns)
    for name, names in (("symbol", table.symbols), ("strategy", table.strategies)):
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(columns[name], pa.int32()), pa.array(names, pa.string()))
    for name in ("ts", "available_ts"):
        columns[name] = pa.array(columns[name]).cast(pa.timestamp("us", "UTC"))
    write_table(path, columns, metadata)


def write_external(table: ProposalTable, path: Path) -> None:
    """Write an external table as Parquet, names written out; it reads back with the same content id."""
    columns: dict[str, Any] = {name: table.columns[name] for name in (*PROPOSAL_COLUMNS, *_optional(table))}
    for name, names in (("symbol", table.symbols), ("strategy", table.strategies)):
        columns[name] = pl.Series([names[code] for code in columns[name].tolist()], dtype=pl.String)
    pl.DataFrame(columns).write_parquet(path)


def content_id(table: ProposalTable) -> str:
    """SHA-256 of all proposals of a table, wherever they came from."""
    digest = hashlib.sha256("\0".join((*table.symbols, "", *table.strategies)).encode())
    for name in (*PROPOSAL_COLUMNS, *_optional(table)):
        digest.update(name.encode() if name in OPTIONAL_COLUMNS else b"")
        digest.update(np.ascontiguousarray(table.columns[name]).tobytes())
    return digest.hexdigest()


def read_proposals(source: Any, strategy: str = "") -> ProposalTable:
    """Read proposals: a file of ``write_proposals``, or an external table in memory, in Parquet or in Arrow.

    An external table has ``ts``, ``symbol``, ``strategy``, ``action`` (an ``engine.schema.Action``, as its number or its name in
    lower case) and any other of ``engine.schema.PROPOSAL_COLUMNS`` and ``OPTIONAL_COLUMNS``; times are int64 us UTC or timestamps with a time zone.

    Parameters
    ----------
    source
        The path of a file; a data frame, an Arrow table or a mapping of columns.
    strategy
        Whose proposals they are, where the table has no column ``strategy``; named in messages.

    Raises
    ------
    ProposalError
        Names row, column, value and rule.
    CausalityError
        If a certified file was altered after it was certified.
    """
    where = f"strategy {strategy}: " if strategy else ""
    if not isinstance(source, str | Path):
        return external.read(_owned(_in_memory(source, where), strategy), f"{where}proposals")
    path = Path(source)
    table, metadata = _file(path, where)
    return _ours(table, metadata, path) if metadata else external.read(_owned(table, strategy), f"{where}{path}")


def _file(path: Path, where: str) -> tuple[pa.Table, dict[str, Any]]:
    if not path.is_file():
        raise ProposalError(f"{where}no proposals at {path}")
    try:
        return (pq.read_table(path), {}) if path.suffix == ".parquet" else read_table(path)
    except (ValueError, OSError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise ProposalError(f"{where}{path}: not a table of proposals ({reason}); write it as Parquet (.parquet) or Arrow") from None


def _in_memory(source: Any, where: str) -> pa.Table:
    if isinstance(source, pa.Table):
        return source
    try:
        frame = source if isinstance(source, pl.DataFrame) else pl.DataFrame(dict(source) if isinstance(source, Mapping) else source)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise ProposalError(f"{where}proposals: not a table: {error}") from None
    return frame.to_arrow()


def _owned(table: pa.Table, strategy: str) -> pa.Table:
    if not strategy or "strategy" in table.column_names:
        return table
    return table.append_column("strategy", pa.array([strategy] * len(table), pa.string()))


def _ours(table: pa.Table, metadata: Mapping[str, Any], path: Path) -> ProposalTable:
    lacking = [name for name in METADATA_KEYS if name not in metadata] + [name for name in DTYPES if name not in table.column_names]
    if lacking:
        raise CausalityError(f"{path}: the proposals lack {lacking[0]}: they were altered after they were certified; compute them anew")
    columns: dict[str, NDArray[Any]] = {}
    optional = {name: dtype for name, dtype in OPTIONAL_COLUMNS.items() if name in table.column_names}
    for name, dtype in (*DTYPES.items(), *optional.items()):
        column = table.column(name).combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        if isinstance(column, pa.DictionaryArray):
            column = column.indices
        elif pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        columns[name] = column.to_numpy(zero_copy_only=False).astype(dtype, copy=False)
    certificates = tuple(Certificate.from_json(text) for text in metadata["certificates"])
    names = tuple(metadata["symbols"]), tuple(metadata["strategies"])
    found = ProposalTable(columns, *names, metadata["provenance"], metadata["dataset"], certificates)
    if _checksum(found) != metadata["checksum"]:
        raise CausalityError(f"{path}: the proposals were altered after they were certified; compute them anew")
    return found


def _optional(table: ProposalTable) -> list[str]:
    return [name for name in OPTIONAL_COLUMNS if name in table.columns]


def _checksum(table: ProposalTable) -> str:
    digest = hashlib.sha256(json.dumps([table.provenance, table.dataset_id, table.symbols, table.strategies]).encode())
    for name in (*DTYPES, *_optional(table)):
        digest.update(name.encode() if name in OPTIONAL_COLUMNS else b"")
        digest.update(np.ascontiguousarray(table.columns[name]).data)
    return digest.hexdigest()
