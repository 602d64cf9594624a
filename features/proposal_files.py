"""Proposal tables as files: our own, certified, and external ones of the user's."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features import external
from features.causality import CausalityError, Certificate
from features.proposals import DTYPES, ProposalError, ProposalTable
from features.store import read_table, write_table


def write_proposals(table: ProposalTable, path: Path) -> None:
    """Write a table as one Arrow file, with its certificates and a checksum in the metadata."""
    metadata = {
        "provenance": table.provenance,
        "dataset": table.dataset_id,
        "symbols": table.symbols,
        "strategies": table.strategies,
        "certificates": [certificate.to_json() for certificate in table.certificates],
        "checksum": _checksum(table.columns),
    }
    columns: dict[str, Any] = dict(table.columns)
    for name, names in (("symbol", table.symbols), ("strategy", table.strategies)):
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(columns[name], pa.int32()), pa.array(names, pa.string()))
    for name in ("ts", "available_ts"):
        columns[name] = pa.array(columns[name]).cast(pa.timestamp("us", "UTC"))
    write_table(path, columns, metadata)


def read_proposals(source: Path | str | pa.Table | pl.DataFrame) -> ProposalTable:
    """Read proposals: a file of ``write_proposals``, or an external table in memory, in Parquet or in Arrow.

    An external table has ``ts``, ``symbol``, ``strategy``, ``action`` (an ``engine.schema.Action``, as its number or its name in
    lower case) and any other of ``engine.schema.PROPOSAL_COLUMNS``; times are int64 us UTC or timestamps with a time zone.

    Raises
    ------
    ProposalError
        Names row, column, value and rule.
    CausalityError
        If a certified file was altered after it was certified.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        if not path.is_file():
            raise ProposalError(f"no proposals at {path}")
        try:
            if path.suffix == ".parquet":
                return external.read(pq.read_table(path), str(path))
            table, metadata = read_table(path)
        except (ValueError, OSError) as error:
            raise error if isinstance(error, ProposalError) else ProposalError(f"{path}: not a table of proposals ({error})") from None
        return _ours(table, metadata, path) if metadata else external.read(table, str(path))
    return external.read(source.to_arrow() if isinstance(source, pl.DataFrame) else source, "proposals")


def _ours(table: pa.Table, metadata: Mapping[str, Any], path: Path) -> ProposalTable:
    columns: dict[str, NDArray[Any]] = {}
    for name, dtype in DTYPES.items():
        column = table.column(name).combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        if isinstance(column, pa.DictionaryArray):
            column = column.indices
        elif pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        columns[name] = column.to_numpy(zero_copy_only=False).astype(dtype, copy=False)
    if _checksum(columns) != metadata["checksum"]:
        raise CausalityError(f"{path}: the proposals were altered after they were certified; compute them anew")
    certificates = tuple(Certificate.from_json(text) for text in metadata["certificates"])
    names = tuple(metadata["symbols"]), tuple(metadata["strategies"])
    return ProposalTable(columns, *names, metadata["provenance"], metadata["dataset"], certificates)


def _checksum(columns: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in DTYPES:
        digest.update(np.ascontiguousarray(columns[name]).data)
    return digest.hexdigest()
