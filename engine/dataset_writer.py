"""Writing a dataset folder: column by column, in bounded memory, and whole or not at all.

Owns the order of work that makes it so:

1. a hidden folder beside the destination takes everything;
2. series come in canonical order, and each column grows in a file of its own while its hash is taken;
3. the columns of a kind become one Arrow record batch, read from the mapped column files;
4. the manifest is written last, all is flushed, and the hidden folder is renamed to the destination.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from engine.dataset import (
    COLUMNS,
    INSTRUMENTS,
    MANIFEST,
    QUOTE_COLUMNS,
    SCHEMA_VERSION,
    DatasetError,
    Series,
    arrow_type,
    canonical_nan,
    column_dtype,
    content_id,
    file_hash,
)


class FolderWriter:
    """Builds a dataset folder beside ``path`` and renames it there when all of it is on disk.

    Use as a context manager: leaving it without ``finish`` removes everything that was written.

    Parameters
    ----------
    path
        The folder to make; its parents are made too.
    overwrite
        Whether a dataset that is there already may be replaced.
    """

    def __init__(self, path: str | Path, overwrite: bool = False) -> None:
        self.path = Path(os.path.abspath(path))
        self._overwrite = overwrite
        self._check_destination()
        self._made = [folder for folder in self.path.parents if not folder.exists()]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.temporary = self._hidden("tmp")
        self._open: dict[str, dict[str, tuple[IO[bytes], Any]]] = {}
        self._series: dict[str, list[Series]] = {}
        self._finished = False

    def _hidden(self, suffix: str) -> Path:
        """A new folder beside the destination, with the rights that the destination is to have."""
        folder = self.path.parent / f".{self.path.name}.{secrets.token_hex(6)}.{suffix}"
        folder.mkdir()
        return folder

    def _check_destination(self) -> None:
        if not self.path.exists():
            return
        if not self._overwrite:
            raise DatasetError(f"{self.path}: exists already; choose another destination or ask to overwrite it")
        if not self.path.is_dir() or (any(self.path.iterdir()) and not (self.path / MANIFEST).exists()):
            raise DatasetError(f"{self.path}: is not a dataset folder, so it is not overwritten; choose another destination")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._finished:
            return
        for columns in self._open.values():
            for file, _ in columns.values():
                file.close()
        shutil.rmtree(self.temporary, ignore_errors=True)
        for folder in self._made:
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()

    def append(self, kind: str, symbol: str, name: str, interval_us: int, columns: Mapping[str, NDArray[Any]]) -> None:
        """Add the rows of one series.

        All series of a kind have the same columns and come in order of (symbol, interval, name); one series may come in several parts.

        Raises
        ------
        DatasetError
            Another order, or other columns than the series before.
        """
        names = (*COLUMNS[kind], *(column for column in QUOTE_COLUMNS if column in columns))
        if kind not in self._open:
            self._open[kind] = {column: (self._column_file(kind, column).open("wb"), hashlib.sha256()) for column in names}
        if tuple(self._open[kind]) != names:
            raise DatasetError(f"{kind} of {symbol}: columns {list(names)}; those of the series before are {list(self._open[kind])}")
        self._extend(kind, Series(symbol, name, interval_us, 0, len(columns["ts"])))
        for column, (file, digest) in self._open[kind].items():
            data = np.ascontiguousarray(canonical_nan(np.asarray(columns[column], dtype=column_dtype(kind, column)))).data
            digest.update(data)
            file.write(data)

    def _extend(self, kind: str, added: Series) -> None:
        found = self._series.setdefault(kind, [])
        start = found[-1].stop if found else 0
        key = (added.symbol, added.interval_us, added.name)
        last = (found[-1].symbol, found[-1].interval_us, found[-1].name) if found else None
        if last is not None and key < last:
            raise DatasetError(f"{kind}: series {key} comes after {last}; order is by symbol, interval, name")
        if key == last:
            found[-1] = found[-1]._replace(stop=start + added.stop)
        else:
            found.append(added._replace(start=start, stop=start + added.stop))

    def finish(self, instruments: Mapping[str, Mapping[str, Any]], info: Mapping[str, Any]) -> str:
        """Write files and manifest, and move the folder to its destination.

        Returns
        -------
        str
            The dataset id.
        """
        kinds, hashes = {}, {}
        for kind in (kind for kind in COLUMNS if kind in self._open):
            hashes[kind] = {name: digest.hexdigest() for name, (_, digest) in self._open[kind].items()}
            file = self._write_batch(kind)
            rows = [list(series) for series in self._series[kind]]
            kinds[kind] = {"file": file.name, "sha256": file_hash(file), "columns": hashes[kind], "series": rows}
        identity = content_id({kind: self._series[kind] for kind in kinds}, hashes, instruments)
        manifest = {"schema": SCHEMA_VERSION, "id": identity, "kinds": kinds, "info": dict(info)}
        _write_json(self.temporary / INSTRUMENTS, {symbol: dict(spec) for symbol, spec in instruments.items()})
        _write_json(self.temporary / MANIFEST, manifest)
        _flush(self.temporary)
        self._publish()
        self._finished = True
        return identity

    def _write_batch(self, kind: str) -> Path:
        import pyarrow as pa

        arrays, rows = [], self._series[kind][-1].stop
        for name, (file, _) in self._open[kind].items():
            file.close()
            with pa.memory_map(file.name) if rows else pa.BufferReader(b"") as source:
                arrays.append(pa.Array.from_buffers(arrow_type(kind, name), rows, [None, source.read_buffer()]))
        batch = pa.RecordBatch.from_arrays(arrays, names=list(self._open[kind]))
        target = self.temporary / f"{kind}.arrow"
        with target.open("wb") as sink:
            with pa.ipc.new_file(sink, batch.schema) as writer:
                writer.write_batch(batch)
            sink.flush()
            os.fsync(sink.fileno())
        for name in self._open[kind]:
            self._column_file(kind, name).unlink()
        return target

    def _column_file(self, kind: str, name: str) -> Path:
        return self.temporary / f"{kind}.{name}.column"

    def _publish(self) -> None:
        self._check_destination()
        if not self.path.exists():
            self.temporary.rename(self.path)
        else:
            aside = self._hidden("old")
            self.path.rename(aside / "old")
            try:
                self.temporary.rename(self.path)
            except OSError:
                (aside / "old").rename(self.path)
                raise
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        _flush(self.path.parent)


def _write_json(path: Path, value: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, sort_keys=True, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
