"""The dataset: columns of market data, symbol-major, in memory or mapped from a dataset folder.

A kind of data (``bars``, ``marks``, ``funding``, ``spread``, ``universe``, ``actions``) is one set of equally long read-only columns, sorted by
(symbol, series, ts); a ``Series`` names the rows of one symbol (and, for bars and marks, one interval) in it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
        for series in self.series.get(kind, ()):
            if series.symbol == symbol and name in ("", series.name):
                return series
        return None

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
        Its id is the SHA-256 of the content, so the order of the given series does not matter.
    """
    columns: dict[str, dict[str, NDArray[Any]]] = {}
    series: dict[str, tuple[Series, ...]] = {}
    digest = hashlib.sha256()
    for kind in COLUMNS:
        groups = sorted(tables.get(kind, {}).items(), key=lambda item: (item[0][0], item[0][2], item[0][1]))
        if not groups:
            continue
        names = [*COLUMNS[kind], *(q for q in QUOTE_COLUMNS if q in groups[0][1])]
        columns[kind] = {name: _frozen(kind, name, [group[name] for _, group in groups]) for name in names}
        found, start = [], 0
        for (symbol, name, interval_us), group in groups:
            stop = start + len(group["ts"])
            found.append(Series(symbol, name, interval_us, start, stop))
            digest.update(f"{kind}|{symbol}|{name}|{interval_us}|{start}|{stop}\n".encode())
            start = stop
        series[kind] = tuple(found)
        for column in columns[kind].values():
            digest.update(np.ascontiguousarray(column).data)
    return Dataset(digest.hexdigest(), columns, series, dict(instruments or {}), dict(info or {}))


def _frozen(kind: str, name: str, parts: Sequence[Any]) -> NDArray[Any]:
    if name in ("open_ts", "ts", "num", "den"):
        dtype: Any = np.int64
    elif name == "listed" or (kind == "actions" and name == "kind"):
        dtype = np.int8
    else:
        dtype = np.float64
    arrays = [np.asarray(part, dtype=dtype) for part in parts]
    column = np.concatenate(arrays) if len(arrays) > 1 else np.ascontiguousarray(arrays[0])
    view = column.view()
    view.flags.writeable = False
    return view
