"""The columns a strategy may read: the bars of one symbol, and the last funding, quote and mark known at each close."""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from engine.dataset import QUOTE_COLUMNS, Dataset, DatasetError, Series
from numpy.typing import NDArray

BAR_COLUMNS = ("open", "high", "low", "close", "volume", *QUOTE_COLUMNS)
AS_OF = {
    "funding_rate": ("funding", lambda rows: rows["rate"]),
    "mark": ("marks", lambda rows: rows["close"]),
    "bid": ("spread", lambda rows: rows["bid"]),
    "ask": ("spread", lambda rows: rows["ask"]),
    "spread_bps": ("spread", lambda rows: 20_000.0 * ((rows["ask"] - rows["bid"]) / (rows["ask"] + rows["bid"]))),
}
"""Columns joined on time: the value of the last row of their kind with ``ts`` at or before the close of the bar.

``funding_rate`` is the last settled rate, a fraction; ``mark`` the close of the last mark candle; ``spread_bps`` the full spread
in basis points of the mid."""

COLUMNS = (*BAR_COLUMNS, *AS_OF)


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
    kind, value = AS_OF[name]
    found = dataset.find(kind, series.symbol)
    if found is None or found.stop == found.start:
        raise DatasetError(f"column {name!r} needs {kind} data, and {series.symbol} has none; leave the symbol out, or ingest its {kind}")
    return _as_of(dataset.view(kind, found), value, bars["ts"][series.start : series.start + stop])


def _as_of(rows: dict[str, NDArray[Any]], value: Callable[[Any], NDArray[np.float64]], ts: NDArray[np.int64]) -> NDArray[np.float64]:
    last = np.searchsorted(rows["ts"], ts, side="right") - 1
    return np.where(last < 0, np.nan, value(rows)[np.maximum(last, 0)])
