"""The columns a strategy may read: the bars of one symbol, and the last funding, quote and mark known at each close."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.dataset import QUOTE_COLUMNS, Dataset, DatasetError, Series

BAR_COLUMNS = ("open", "high", "low", "close", "volume", *QUOTE_COLUMNS)


class AsOf(NamedTuple):
    """A column joined on time, from the named columns of another kind of data."""

    kind: str
    sources: tuple[str, ...]
    value: Callable[..., NDArray[np.float64]]


AS_OF = {
    "funding_rate": AsOf("funding", ("rate",), lambda rate: rate),
    "mark": AsOf("marks", ("close",), lambda close: close),
    "bid": AsOf("spread", ("bid",), lambda bid: bid),
    "ask": AsOf("spread", ("ask",), lambda ask: ask),
    "spread_bps": AsOf("spread", ("bid", "ask"), lambda bid, ask: 20_000.0 * ((ask - bid) / (ask + bid))),
}
"""Columns joined on time: the value of the last row of their kind with ``ts`` at or before the close of the bar.

``funding_rate`` is the last settled rate, a fraction; ``mark`` the close of the last mark candle; ``spread_bps`` the full spread
in basis points of the mid."""

COLUMNS = (*BAR_COLUMNS, *AS_OF)


def sources(name: str) -> tuple[str, tuple[str, ...]]:
    """Kind and columns of the dataset that a column is made of."""
    return (AS_OF[name].kind, AS_OF[name].sources) if name in AS_OF else ("bars", (name,))


def bar_series(dataset: Dataset, symbol: str, interval: str) -> Series:
    """The bars that a symbol's features are computed on.

    Raises
    ------
    DatasetError
        If the symbol has no such bars.
    """
    series = dataset.find("bars", symbol, interval)
    if series is None:
        raise DatasetError(f"no {interval + ' ' if interval else ''}bars of {symbol!r}; the dataset has {', '.join(dataset.symbols)}")
    return series


def load(dataset: Dataset, series: Series, names: Collection[str], stop: int) -> dict[str, NDArray[np.float64]]:
    """Columns of the first ``stop`` bars of a series; those of the bars themselves without a copy.

    Raises
    ------
    DatasetError
        If the dataset has no such column for the symbol.
    """
    return {name: _column(dataset, series, name, stop) for name in names}


def _column(dataset: Dataset, series: Series, name: str, stop: int) -> NDArray[np.float64]:
    bars = dataset.columns["bars"]
    if name in bars:
        return bars[name][series.start : series.start + stop]
    if name not in AS_OF:
        raise DatasetError(f"bars of {series.symbol} have no column {name!r}; the dataset was ingested without bid and ask candles")
    kind, names, value = AS_OF[name]
    found = dataset.find(kind, series.symbol)
    if found is None or found.stop == found.start:
        raise DatasetError(f"column {name!r} needs {kind} data, and {series.symbol} has none; leave the symbol out, or ingest its {kind}")
    rows = dataset.view(kind, found)
    last = np.searchsorted(rows["ts"], bars["ts"][series.start : series.start + stop], side="right") - 1
    values = value(*(rows[column] for column in names))
    return np.where(last < 0, np.nan, values[np.maximum(last, 0)])
