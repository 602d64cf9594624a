"""Features of loaded columns: Polars' in-memory engine on one symbol at a time, or on many of equal length in one wide select.

Plain rolling means are computed by ``features.rolling_mean``. All ways give the same bits. Polars' streaming engine and its ``group_by`` would not, and are not used. A run of unknown values (NaN)
in a column splits the symbol's rows: what reads that column starts anew after it, so that no recursion swallows a gap.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.evaluate import Column
from features.rolling_mean import rolling_means, window_of
from features.tree import Feature, widen

Floats = NDArray[np.float64]
Loaded = Mapping[str, Floats]


def compute(
    loaded: Sequence[Loaded], features: Sequence[Feature], limit: int | None = None, room: Floats | None = None
) -> list[dict[str, Column]]:
    """Values of every feature on every symbol, by the digest of the feature.

    Parameters
    ----------
    loaded
        Columns of each symbol, all symbols of one length.
    limit
        At most this many columns are computed at one time; None: as many as Polars has threads. It changes no bit.
    room
        Where rolling means are written, if the caller has a place for them; as long as all of the rows of all of them.
    """
    results = _means(loaded, features, room)
    if all(len(result) == len(features) for result in results):
        return results
    gaps = [frozenset(name for name, values in columns.items() if _has_gap(values)) for columns in loaded]
    whole = [i for i, names in enumerate(gaps) if not names]
    wide = {} if limit or len(whole) < 2 else _wide([loaded[i] for i in whole], [f for f in features if not window_of(f)])
    for place, i in enumerate(whole):
        results[i].update((digest, columns[place]) for digest, columns in wide.items())
    for columns, names, result in zip(loaded, gaps, results, strict=True):
        missing = [feature for feature in features if feature.digest not in result]
        whole_rows = [feature for feature in missing if feature.gap_aware or names.isdisjoint(feature.columns)]
        result.update(_narrow(columns, whole_rows, limit))
        for feature in missing:
            if feature.digest not in result:
                result[feature.digest] = _piecewise(columns, feature, names)
    return results


def _has_gap(values: NDArray[np.float64]) -> bool:
    return len(values) > 0 and bool(np.isnan(values.min()))


def _means(loaded: Sequence[Loaded], features: Sequence[Feature], room: Floats | None) -> list[dict[str, Column]]:
    """Of each symbol, those features that are plain rolling means of a column without gaps."""
    plain = [(feature.digest, feature.columns[0], window) for feature in features if (window := window_of(feature))]
    columns = [symbol[name] for symbol in loaded for _, name, _ in plain]
    found = iter(rolling_means(columns, [window for *_, window in plain] * len(loaded), room))
    results: list[dict[str, Column]] = [{} for _ in loaded]
    for symbol, result in zip(loaded, results, strict=True):
        for digest, name, window in plain:
            values = next(found)
            if values is not None:
                result[digest] = Column(values, min(window - 1, len(symbol[name])))
    return results


def _narrow(columns: Loaded, features: Sequence[Feature], limit: int | None) -> dict[str, Column]:
    if not features:
        return {}
    frame = pl.DataFrame([pl.Series(name, values) for name, values in columns.items()])
    size = limit or len(features)
    parts = [frame.select([f.expr.alias(f.digest) for f in features[at : at + size]]) for at in range(0, len(features), size)]
    return {series.name: _column(series) for part in parts for series in part.get_columns()}


def _wide(loaded: Sequence[Loaded], features: Sequence[Feature]) -> dict[str, list[Column]]:
    keys = [str(i) for i in range(len(loaded))]
    wide = {feature.digest: widen(feature, keys) for feature in features}
    exprs = [expr.name.suffix(f"|{digest}") for digest, expr in wide.items() if expr is not None]
    if not exprs:
        return {}
    frame = pl.DataFrame(
        [pl.Series(f"{name}|{key}", values) for key, columns in zip(keys, loaded, strict=True) for name, values in columns.items()]
    )
    # a result is called after its first column, with the key of that column's symbol
    found = {tuple(series.name.rsplit("|", 2)[1:]): series for series in frame.select(exprs).get_columns()}
    return {digest: [_column(found[key, digest]) for key in keys] for digest, expr in wide.items() if expr is not None}


def _piecewise(columns: Loaded, feature: Feature, gaps: frozenset[str]) -> Column:
    known = ~np.logical_or.reduce([np.isnan(columns[name]) for name in feature.columns if name in gaps])
    values = np.full(len(known), np.nan)
    edges = np.flatnonzero(np.diff(known, prepend=False, append=False))
    for start, stop in edges.reshape(-1, 2):
        piece = _narrow({name: columns[name][start:stop] for name in feature.columns}, [feature], None)[feature.digest]
        values[start + piece.first : stop] = piece.values
    return Column(values, 0)


def _column(series: pl.Series) -> Column:
    # the unknown values at the beginning are cut off: a series without nulls is seen by NumPy without a copy
    series = series if series.dtype == pl.Float64 else series.cast(pl.Float64)
    unknown = series.null_count()
    if unknown == 0:
        return Column(series.to_numpy(), 0)
    known = series.slice(unknown)
    if known.null_count() == 0:
        return Column(known.to_numpy(), unknown)
    return Column(series.fill_null(float("nan")).to_numpy(), 0)
