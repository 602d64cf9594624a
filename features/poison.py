"""The experiment: overwrite the future, and look whether one bit of the past moves.

1. Each symbol gets cuts, where leaks hide: at the first and the last row, around gaps in time and in values, before new funding
   or quotes arrive, at ends of days and listings, and some drawn from the operator tree (the same every time).
2. For every cut and every poison, all rows after the cut are overwritten, in the bars and in the other kinds of data alike; the columns are
   joined and computed anew; what lies at or before the cut must keep every bit.
3. Half of the symbols is overwritten whole: the other half must keep every bit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.dataset import Dataset, Series
from engine.schema import DAY_US
from features.causality import POISONS, CausalityError, Certificate
from features.columns import AS_OF, RATIO, across_splits, load, sources
from features.evaluate import Column
from features.frames import compute
from features.store import code_digest
from features.tree import Feature

MAX_CUTS = 12  # of each symbol
BATCH = 8_000_000  # values computed at one time
EVERYTHING = -(2**63)

Cuts = dict[str, tuple[int, ...]]
Progress = Callable[[str, int, int], None]
"""Told what is done, how much of it, and how much there is."""


def certify(
    dataset: Dataset, series: Sequence[Series], interval: str, features: Mapping[str, Feature], progress: Progress | None = None
) -> list[Certificate]:
    """Certify features, given by the name to call them by in messages; ``progress`` is told of each cut.

    Raises
    ------
    CausalityError
        Names the feature, the symbol, the cut and the first row that moved.
    """
    needed = sorted({column for feature in features.values() for column in feature.columns})
    seed = int("".join(sorted(feature.digest[:4] for feature in features.values()))[:16], 16)
    cuts = {one.symbol: _cuts(dataset, one, needed, np.random.default_rng([seed, i])) for i, one in enumerate(series)}
    groups = list(_groups(series, len(features)))
    done, total = 0, sum(_rounds(group, cuts) for group in groups)
    for group in groups:
        for _ in _Experiment(dataset, group, needed, features).run(cuts):
            if progress:
                progress("poisoning the future", done, total)
            done += 1
    return [
        Certificate(feature.digest, dataset.id, interval, cuts, pl.__version__, code_digest())
        for feature in {feature.digest: feature for feature in features.values()}.values()
    ]


def _groups(series: Sequence[Series], features: int) -> Iterator[list[Series]]:
    lengths: dict[int, list[Series]] = {}
    for one in series:
        lengths.setdefault(one.stop - one.start, []).append(one)
    for length, members in lengths.items():
        size = max(2, BATCH // max(1, length * features))
        yield from (members[at : at + size] for at in range(0, len(members), size))


def _cuts(dataset: Dataset, series: Series, needed: Sequence[str], rng: np.random.Generator) -> tuple[int, ...]:
    rows = dataset.view("bars", series)
    last = series.stop - series.start - 2  # after a later row there is no future
    if last < 0:
        return ()
    gaps = np.flatnonzero(rows["open_ts"][1:] != rows["ts"][:-1])
    days = np.flatnonzero(rows["ts"][1:] // DAY_US != rows["ts"][:-1] // DAY_US)
    columns = load(dataset, series, needed, last + 2)
    edges = [*map(_hole_edges, columns.values()), *(_arrivals(columns[name]) for name in needed if name in AS_OF)]
    chosen = {0, last // 2, last, *gaps[:1], *(gaps[:1] + 1), *days[-1:], *(row for rows in edges for row in rows[:4])}
    listed = dataset.find("universe", series.symbol)
    if across_splits(needed):
        chosen |= {*(_arrivals(load(dataset, series, [RATIO], last + 2)[RATIO]))}
    if listed is not None:
        chosen |= {*(np.searchsorted(rows["ts"], dataset.view("universe", listed)["ts"][:2]) - 1)}
    chosen = {int(row) for row in chosen if 0 <= row <= last}
    drawn = rng.integers(0, last + 1, MAX_CUTS).tolist()
    room = max(MAX_CUTS - len(chosen), 2)
    return tuple(sorted(chosen | set(drawn[:room]))[: 2 * MAX_CUTS])


def _hole_edges(column: NDArray[np.float64]) -> NDArray[np.int64]:
    edges = np.flatnonzero(np.diff(np.isnan(column)))
    return np.sort(np.concatenate([edges, edges + 1]))


def _arrivals(column: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows after which a new value arrives: the first, one in the middle, the last."""
    rows = np.flatnonzero(column[1:] != column[:-1])
    return rows[[0, len(rows) // 2, -1]] if len(rows) else rows


class _Experiment:
    """Symbols of one length, a scratch copy of the data they use, and their columns as they are."""

    def __init__(self, dataset: Dataset, series: Sequence[Series], needed: Sequence[str], features: Mapping[str, Feature]) -> None:
        self.dataset, self.series, self.needed, self.features = dataset, series, needed, features
        self.columns = {kind: dict(columns) for kind, columns in dataset.columns.items()}
        self.used: dict[str, set[str]] = {}
        for name in needed:
            for kind, parts in sources(name).items():
                self.used.setdefault(kind, set()).update(parts)
        for kind, names in self.used.items():
            for name in names & set(self.columns.get(kind, ())):
                self.columns[kind][name] = dataset.columns[kind][name].copy()
        self.scratch = replace(dataset, columns=self.columns)
        self.before = self.compute()

    def compute(self) -> list[dict[str, Column]]:
        length = self.series[0].stop - self.series[0].start
        loaded = [load(self.scratch, one, self.needed, length) for one in self.series]
        return compute(loaded, list({feature.digest: feature for feature in self.features.values()}.values()))

    def run(self, cuts: Cuts) -> Iterator[None]:
        """All of it; yields before each cut."""
        for place in range(_rounds(self.series, cuts)):
            yield
            at = {one.symbol: cuts[one.symbol][place] for one in self.series if place < len(cuts[one.symbol])}
            ts = {one.symbol: int(self.dataset.view("bars", one)["ts"][at[one.symbol]]) for one in self.series if one.symbol in at}
            for poison in POISONS:
                self.compare(ts, poison, {symbol: row + 1 for symbol, row in at.items()})
        halves = [{one.symbol for one in self.series[offset::2]} for offset in (0, 1)] if len(self.series) > 1 else []
        for moved in halves:
            for poison in ("nan", "plus"):
                self.compare(
                    dict.fromkeys(moved, EVERYTHING), poison, {o.symbol: o.stop - o.start for o in self.series if o.symbol not in moved}
                )

    def compare(self, cut_ts: Mapping[str, int], poison: str, rows: Mapping[str, int]) -> None:
        """Overwrite what lies after each symbol's cut and look at its first ``rows``."""
        for symbol, ts in cut_ts.items():
            self.overwrite(symbol, ts, poison)
        after = self.compute()
        for one, old, new in zip(self.series, self.before, after, strict=True):
            for name, feature in self.features.items():
                row = _first_difference(old[feature.digest], new[feature.digest], rows.get(one.symbol, 0))
                if row is not None:
                    self.fail(one, name, poison, cut_ts.get(one.symbol), row)
        for symbol in cut_ts:
            self.overwrite(symbol, EVERYTHING, None)

    def overwrite(self, symbol: str, after: int, poison: str | None) -> None:
        """Poison a symbol's rows with a later ``ts``, or restore them (``poison`` None)."""
        for kind, names in self.used.items():
            for one in self.dataset.series.get(kind, ()):
                if one.symbol == symbol:
                    first = one.start + int(np.searchsorted(self.dataset.columns[kind]["ts"][one.start : one.stop], after, side="right"))
                    for name in names & set(self.columns[kind]):
                        original = self.dataset.columns[kind][name][first : one.stop]
                        self.columns[kind][name][first : one.stop] = _poisoned(original, poison)

    def fail(self, series: Series, name: str, poison: str, cut: int | None, row: int) -> None:
        ts = self.dataset.view("bars", series)["ts"]
        overwritten = "other symbols' rows were" if cut is None else f"rows after {_time(cut)} were"
        raise CausalityError(
            f"feature {name!r} sees the future: when {series.symbol}'s {overwritten} overwritten ({poison}), its value at "
            f"{_time(int(ts[row]))} (row {row}) moved; build it from operators that look back only"
        )


def _rounds(series: Sequence[Series], cuts: Cuts) -> int:
    return max((len(cuts[one.symbol]) for one in series), default=0)


def _poisoned(values: NDArray[Any], poison: str | None) -> NDArray[Any] | float:
    match poison:
        case None:
            return values
        case "nan":
            return np.nan if values.dtype.kind == "f" else 0
        case "plus" | "minus":
            return 1e9 if poison == "plus" else -1e9
    return values[np.random.default_rng(len(values)).permutation(len(values))]


def _first_difference(old: Column, new: Column, rows: int) -> int | None:
    """First of the ``rows`` at which two columns differ in a bit; two unknown values are equal."""
    first = min(max(old.first, new.first), rows)
    lower = old if old.first < new.first else new
    early = np.flatnonzero(~np.isnan(lower.values[: max(first - lower.first, 0)]))
    if len(early):
        return int(early[0]) + lower.first
    a, b = old.values[first - old.first : rows - old.first], new.values[first - new.first : rows - new.first]
    if first >= rows or np.array_equal(a.view(np.int64), b.view(np.int64)):
        return None
    differ = np.flatnonzero((a.view(np.int64) != b.view(np.int64)) & ~(np.isnan(a) & np.isnan(b)))
    return int(differ[0]) + first if len(differ) else None


def _time(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
