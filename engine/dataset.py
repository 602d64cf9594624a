"""The dataset: columns of market data, symbol-major, in memory or mapped from a dataset folder.

Owns the columns of each kind, the content id, and reading a folder; ``engine.dataset_writer`` writes one.  A kind of data (``bars``, ``marks``, ``funding``, ``spread``, ``universe``, ``actions``) is one set of equally long read-only columns, sorted by
(symbol, series, ts); a ``Series`` names the rows of one symbol (and, for bars and marks, one interval) in it.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.schema import NONE

COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "bars": ("open_ts", "ts", "open", "high", "low", "close", "volume"),
        "marks": ("open_ts", "ts", "open", "high", "low", "close"),
        "funding": ("ts", "rate", "mark"),
        "spread": ("ts", "bid", "ask"),
        "universe": ("ts", "listed"),
        "actions": ("ts", "kind", "value", "num", "den"),
    }
)
"""Required columns of each kind.  ``open_ts`` and ``ts`` are int64 us UTC, ``listed`` is int8 (1 or 0), ``kind`` int8
(``ACTIONS``), ``num`` and ``den`` int64 (a split new:old, else 0), all others float64; an absent volume or mark is NaN."""

QUOTE_COLUMNS = ("bid_open", "bid_high", "bid_low", "bid_close", "ask_open", "ask_high", "ask_low", "ask_close")
"""Optional columns of bars: both or neither side; NaN in all eight where a bar has no quotes."""

ACTIONS = ("split", "dividend", "delist")

SCHEMA_VERSION = 1
FEW_CLOCKS = 4  # that are compared with, of one beginning and end
MANIFEST = "manifest.json"
INSTRUMENTS = "instruments.json"


class DatasetError(ValueError):
    """Market data that cannot be used; the message names file, row, value, rule and mend."""


class Series(NamedTuple):
    """The rows ``start:stop`` of one symbol (and interval) in the columns of a kind."""

    symbol: str
    name: str  # "1h"; empty for kinds without an interval
    interval_us: int  # 0 for kinds without an interval
    start: int
    stop: int


@dataclass(frozen=True)
class Dataset:
    """Market data by kind.

    Attributes
    ----------
    id
        Content id: equal data have equal ids, however they were read.
    columns
        ``columns[kind][name]``: read-only arrays, one row an event.
    series
        ``series[kind]``: where each (symbol, series) lies, sorted by (symbol, interval, name).
    instruments
        What is known of each symbol: keys of ``engine.instrument.Instrument`` as plain values.
    info
        Remarks that go with results, such as ``simulated`` or ``source``.
    path
        The folder, or None for data in memory.
    """

    id: str
    columns: Mapping[str, Mapping[str, NDArray[Any]]]
    series: Mapping[str, tuple[Series, ...]]
    instruments: Mapping[str, Mapping[str, Any]]
    info: Mapping[str, Any]
    path: str | None = None

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols that have bars, by code point."""
        return tuple(sorted({series.symbol for series in self.series.get("bars", ())}))

    def find(self, kind: str, symbol: str, name: str = "") -> Series | None:
        """The series of a symbol; the finest where ``name`` is empty; None if there is none."""
        for series in self._series_of.get((kind, symbol), ()):
            if name in ("", series.name):
                return series
        return None

    def clock(self, series: Series) -> int:
        """A number that bars have in common whose times are just the same; those of each series are looked at once.

        Where many series begin and end alike and differ inside, some that are the same may be told apart.
        """
        if series not in self._clocks:
            times = self.columns["bars"]["ts"]
            mine = times[series.start : series.stop]
            alike = self._clocks_by_span.setdefault((len(mine), *mine[:1].tolist(), *mine[-1:].tolist()), [])
            same = (first for first in alike if np.array_equal(times[first : first + len(mine)], mine))
            self._clocks[series] = next(same, series.start if len(mine) else NONE)
            if self._clocks[series] == series.start and len(alike) < FEW_CLOCKS:
                alike.append(series.start)
        return self._clocks[series]

    @cached_property
    def _clocks(self) -> dict[Series, int]:
        return {}

    @cached_property
    def _clocks_by_span(self) -> dict[tuple[int, ...], list[int]]:
        return {}

    @cached_property
    def _series_of(self) -> dict[tuple[str, str], list[Series]]:
        found = defaultdict[tuple[str, str], list[Series]](list)
        for kind, group in self.series.items():
            for series in group:
                found[kind, series.symbol].append(series)
        return dict(found)

    def view(self, kind: str, series: Series) -> dict[str, NDArray[Any]]:
        """Columns of one series, with no copy."""
        return {name: column[series.start : series.stop] for name, column in self.columns[kind].items()}


def interval_name(interval_us: int) -> str:
    """The usual name of an interval.

    >>> interval_name(3_600_000_000), interval_name(86_400_000_000), interval_name(23_400_000_000)
    ('1h', '1d', '390m')
    """
    for unit, name in ((86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms")):
        if interval_us % unit == 0:
            return f"{interval_us // unit}{name}"
    return f"{interval_us}us"


def from_columns(
    tables: Mapping[str, Mapping[tuple[str, str, int], Mapping[str, Sequence[Any] | NDArray[Any]]]],
    instruments: Mapping[str, Mapping[str, Any]] | None = None,
    info: Mapping[str, Any] | None = None,
) -> Dataset:
    """Make a dataset in memory.

    Parameters
    ----------
    tables
        ``tables[kind][(symbol, name, interval_us)]`` gives the columns of one series in time order; ``name`` is empty and
        ``interval_us`` 0 for kinds without an interval.

    Returns
    -------
    Dataset
        Its id is a hash of the content, so the order of the given series does not matter.

    Raises
    ------
    DatasetError
        A column is missing, or as long as no other; or rows are out of order, or there twice.                       # R1.5
    """
    columns: dict[str, dict[str, NDArray[Any]]] = {}
    series: dict[str, tuple[Series, ...]] = {}
    for kind in COLUMNS:
        groups = sorted(tables.get(kind, {}).items(), key=lambda item: (item[0][0], item[0][2], item[0][1]))
        if not groups:
            continue
        found, start = [], 0
        for (symbol, name, interval_us), group in groups:
            _check_lengths(kind, symbol, group)
            _check_order(kind, symbol, group)
            stop = start + len(group["ts"])
            found.append(Series(symbol, name, interval_us, start, stop))
            start = stop
        series[kind] = tuple(found)
        columns[kind] = {name: _joined(kind, name, [group for _, group in groups]) for name in _names(kind, (g for _, g in groups))}
    specs = {symbol: dict(spec) for symbol, spec in (instruments or {}).items()}
    return Dataset(content_id(series, column_hashes(columns), specs), columns, series, specs, dict(info or {}))


def _names(kind: str, groups: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Columns of a kind: the quotes too, if any of its series has them."""
    quoted = kind == "bars" and any(QUOTE_COLUMNS[0] in group for group in groups)
    return (*COLUMNS[kind], *QUOTE_COLUMNS) if quoted else COLUMNS[kind]


def _check_lengths(kind: str, symbol: str, group: Mapping[str, Any]) -> None:
    missing = [name for name in COLUMNS[kind] if name not in group]
    if missing:
        raise DatasetError(f"{kind} of {symbol}: no column '{missing[0]}'; needed are {', '.join(COLUMNS[kind])}")
    lengths = {len(group[name]) for name in _names(kind, [group])}
    if len(lengths) > 1:
        raise DatasetError(f"{kind} of {symbol}: columns of {sorted(lengths)} rows; all must be equally long")


def _check_order(kind: str, symbol: str, group: Mapping[str, Any]) -> None:
    """Rows of a series are in time order, each key once; quotes and actions of one instant may be many.  # R1.5"""
    ts = np.asarray(group["ts"], np.int64)
    late = np.diff(ts) < 0 if kind in ("spread", "actions") else np.diff(ts) <= 0
    _refuse_row(kind, symbol, "ts", ts[1:], late, "is not after the row before it")
    if kind in ("bars", "marks"):
        open_ts = np.asarray(group["open_ts"], np.int64)
        _refuse_row(kind, symbol, "open_ts", open_ts[1:], np.diff(open_ts) <= 0, "is not after the row before it")


def _refuse_row(kind: str, symbol: str, column: str, later: NDArray[np.int64], wrong: NDArray[np.bool_], rule: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DatasetError(
            f"{kind} of {symbol} row {row + 1}: {column} {np.datetime64(int(later[row]), 'us')}Z {rule}; sort the rows, and keep each once"
        )


def column_dtype(kind: str, name: str) -> np.dtype[Any]:
    """How a column of a kind is stored."""
    if name in ("open_ts", "ts", "num", "den"):
        return np.dtype("<i8")
    if name == "listed" or (kind == "actions" and name == "kind"):
        return np.dtype("i1")
    return np.dtype("<f8")


def _joined(kind: str, name: str, groups: Sequence[Mapping[str, Any]]) -> NDArray[Any]:
    dtype = column_dtype(kind, name)
    parts = [np.asarray(group[name], dtype=dtype) if name in group else np.full(len(group["ts"]), np.nan) for group in groups]
    column = np.concatenate(parts) if len(parts) > 1 else np.ascontiguousarray(parts[0])
    view = canonical_nan(column).view()
    view.flags.writeable = False
    return view


def canonical_nan(column: NDArray[Any]) -> NDArray[Any]:
    """The column with every NaN of one bit pattern: equal data must have equal bytes."""
    if column.dtype.kind != "f":
        return column
    holes = np.isnan(column)
    return np.where(holes, np.nan, column) if holes.any() else column


def column_hashes(columns: Mapping[str, Mapping[str, NDArray[Any]]]) -> dict[str, dict[str, str]]:
    """SHA-256 of each column; on threads, since hashing is what a dataset in memory costs."""
    flat = [(kind, name, column) for kind, named in columns.items() for name, column in named.items()]

    def digest(item: tuple[str, str, NDArray[Any]]) -> str:
        return hashlib.sha256(np.ascontiguousarray(item[2]).data).hexdigest()

    if sum(column.nbytes for _, _, column in flat) < 1 << 22:
        digests = [digest(item) for item in flat]
    else:
        with ThreadPoolExecutor(4) as pool:
            digests = list(pool.map(digest, flat))
    hashes: dict[str, dict[str, str]] = {kind: {} for kind in columns}
    for (kind, name, _), value in zip(flat, digests, strict=True):
        hashes[kind][name] = value
    return hashes


def content_id(
    series: Mapping[str, Sequence[Series]], hashes: Mapping[str, Mapping[str, str]], instruments: Mapping[str, Mapping[str, Any]]
) -> str:
    """The dataset id: SHA-256 over canonical JSON of the series, the hashes of their columns, and the instruments."""
    kinds = {kind: {"series": [list(s) for s in series[kind]], "columns": dict(hashes[kind])} for kind in series}
    content = {"schema": SCHEMA_VERSION, "kinds": kinds, "instruments": instruments}
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"instruments hold a value that is not plain: {error}; use text, finite numbers and true or false") from None
    return hashlib.sha256(text.encode()).hexdigest()


def write_folder(dataset: Dataset, path: str | Path, overwrite: bool = False) -> None:
    """Write a dataset folder; ``path`` holds the whole of it or what was there before.

    Raises
    ------
    DatasetError
        The path exists and is not to be, or cannot be, replaced.
    """
    from engine.dataset_writer import FolderWriter

    with FolderWriter(path, overwrite) as writer:
        for kind, found in dataset.series.items():
            for series in found:
                writer.append(kind, series.symbol, series.name, series.interval_us, dataset.view(kind, series))
        writer.finish(dataset.instruments, dataset.info)


def open_dataset(path: str | Path, verify: bool = False) -> Dataset:
    """Map a dataset folder: columns are read-only views of the files, with no copy.

    Parameters
    ----------
    verify
        Also hash every file and compare with the manifest: reads all of the data.

    Raises
    ------
    DatasetError
        The folder is not a dataset, is of another version, is damaged, or (with ``verify``) was changed.
    """
    folder = Path(path)
    manifest = _read_json(folder / MANIFEST, "it is not a dataset folder: make one with `tapeline ingest`")
    instruments = _read_json(folder / INSTRUMENTS, "ingest the source again")
    try:
        if manifest["schema"] != SCHEMA_VERSION:
            raise DatasetError(
                f"{folder / MANIFEST}: schema {manifest['schema']!r}; this version reads {SCHEMA_VERSION}: ingest the source again"
            )
        kinds, info, written = manifest["kinds"], manifest["info"], manifest["id"]
        series = {kind: tuple(Series(*row) for row in kinds[kind]["series"]) for kind in COLUMNS if kind in kinds}
        hashes = {kind: kinds[kind]["columns"] for kind in series}
        identity = content_id(series, hashes, instruments)
        files = {kind: (str(kinds[kind]["file"]), str(kinds[kind]["sha256"])) for kind in series}
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{folder / MANIFEST}: damaged ({type(error).__name__}: {error}); ingest the source again") from None
    if identity != written:
        raise DatasetError(
            f"{folder / MANIFEST}: id {written} but the content it lists is {identity}: it was edited; ingest the source again"
        )
    columns = {kind: _map_file(folder / file, kind, series[kind], sha256 if verify else None) for kind, (file, sha256) in files.items()}
    return Dataset(identity, columns, series, instruments, info, str(folder))


def _read_json(path: Path, mend: str) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); {mend}") from None
    except ValueError as error:
        raise DatasetError(f"{path}: not JSON ({error}); {mend}") from None


def _map_file(path: Path, kind: str, series: Sequence[Series], sha256: str | None) -> dict[str, NDArray[Any]]:
    import pyarrow as pa

    if path.parent / path.name != path or path.name != f"{kind}.arrow":
        raise DatasetError(f"{path}: {kind} must be in {kind}.arrow; ingest the source again")
    if sha256 is not None and file_hash(path) != sha256:
        raise DatasetError(f"{path}: its SHA-256 is not the one in the manifest: the file was changed; ingest the source again")
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            if reader.num_record_batches != 1:
                raise DatasetError(f"{path}: {reader.num_record_batches} record batches; a dataset file holds one: ingest the source again")
            batch = reader.get_batch(0)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: cannot be mapped ({error}); ingest the source again") from None
    names = _names(kind, [dict.fromkeys(batch.schema.names)])
    rows = series[-1].stop if series else 0
    if tuple(batch.schema.names) != names or batch.num_rows != rows:
        raise DatasetError(
            f"{path}: {batch.num_rows} rows of {batch.schema.names}; the manifest lists {rows} rows of {list(names)}: ingest the source again"
        )
    return {name: _mapped(path, kind, name, batch.column(name)) for name in names}


def _mapped(path: Path, kind: str, name: str, array: Any) -> NDArray[Any]:
    dtype = column_dtype(kind, name)
    if array.type != arrow_type(kind, name) or array.null_count:
        raise DatasetError(
            f"{path} column {name}: {array.type} with {array.null_count} nulls; {arrow_type(kind, name)} without is meant: ingest the source again"
        )
    return np.frombuffer(array.buffers()[1], dtype, count=len(array), offset=array.offset * dtype.itemsize)


def arrow_type(kind: str, name: str) -> Any:
    """Type of a column in a file: times are instants there."""
    import pyarrow as pa

    if name in ("open_ts", "ts"):
        return pa.timestamp("us", tz="UTC")
    return pa.from_numpy_dtype(column_dtype(kind, name))


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
