"""The columns a strategy may read: the bars of one symbol, the last funding, quote and mark known at each close, and prices across splits."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.dataset import ACTIONS, QUOTE_COLUMNS, Dataset, DatasetError, Series

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

RATIO = "split_ratio"

ADJUSTED = {f"adj_{name}": name for name in ("open", "high", "low", "close", "volume")}
"""Bars in terms of one share of the symbol's first bar: prices times ``split_ratio``, volume divided by it.

``split_ratio`` is how many shares of the bar one of the first has become, by the splits known when the bar began to trade in new shares: those
before its close.  A price in these terms divided by ``split_ratio`` is one of the bar's own shares."""

COLUMNS = (*BAR_COLUMNS, *AS_OF, RATIO, *ADJUSTED)


def sources(name: str) -> dict[str, tuple[str, ...]]:
    """Columns of the dataset that a column is made of, by kind."""
    if name in AS_OF:
        return {AS_OF[name].kind: AS_OF[name].sources}
    if name == RATIO:
        return {"actions": ("num", "den")}
    return {"actions": ("num", "den"), "bars": (ADJUSTED[name],)} if name in ADJUSTED else {"bars": (name,)}


def across_splits(names: Collection[str]) -> bool:
    """Whether any of the columns is of what splits do."""
    return any(name == RATIO or name in ADJUSTED for name in names)


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
    if name == RATIO or name in ADJUSTED:
        ratio = _split_ratio(dataset, series, stop)
        if name == RATIO:
            return ratio
        values = _column(dataset, series, ADJUSTED[name], stop)
        return values / ratio if name == "adj_volume" else values * ratio
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


def _split_ratio(dataset: Dataset, series: Series, stop: int) -> NDArray[np.float64]:
    """Shares of each bar that one share of the first bar has become; a term that is no count makes it unknown."""
    ratio, ts = np.ones(stop), dataset.columns["bars"]["ts"][series.start : series.start + stop]
    found = dataset.find("actions", series.symbol)
    if found is None or not stop:
        return ratio
    rows = dataset.view("actions", found)
    splits = (rows["kind"] == ACTIONS.index("split")) & (rows["ts"] >= ts[0])
    for at, num, den in zip(rows["ts"][splits], rows["num"][splits], rows["den"][splits], strict=True):
        ratio[np.searchsorted(ts, at, side="right") :] *= num / den if num > 0 and den > 0 else np.nan
    return ratio
