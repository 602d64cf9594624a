"""Content-addressed files of stage one: certificates, features and proposals, each named by the hash of what it was made from.

A file is written under a temporary name, flushed and renamed: a reader sees all of it or none. Equal inputs give equal names, so what
exists is reused, by any process.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

METADATA = b"tapeline"


@cache
def code_digest() -> str:
    """SHA-256 of the sources of this package: what was computed by other code is another thing."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def key(**content: Any) -> str:
    """SHA-256 of plain values, with the version of the code and of Polars."""
    content |= {"code": code_digest(), "polars": pl.__version__}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_table(path: Path, columns: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Write columns as an uncompressed Arrow file of one record batch, with ``metadata`` as JSON in its schema."""
    table = pa.table(dict(columns)).combine_chunks().replace_schema_metadata({METADATA: json.dumps(metadata, sort_keys=True)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    write_bytes(path, sink.getvalue())


def read_table(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """Map an Arrow file; its metadata are empty where it is not one of ours.

    Raises
    ------
    ValueError
        If it is not an Arrow file.
    """
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: not a readable Arrow file ({error})") from None
    stored = (table.schema.metadata or {}).get(METADATA)
    return table, json.loads(stored) if stored else {}


def array(table: pa.Table, name: str) -> NDArray[Any]:
    """A column as an array, without a copy where it has no nulls."""
    column = table.column(name).combine_chunks()
    chunk = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(chunk.to_numpy(zero_copy_only=False))
