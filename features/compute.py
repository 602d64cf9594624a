"""Stage one for many symbols: features, then proposals.

1. ``plan`` (features.strategy) checks each strategy and keeps the features its rules use.
2. Each distinct feature is certified once for the dataset (features.poison), unless the certificate is at hand.
3. Features are computed by symbol over all its bars, in order of time; symbols of equal length together in one wide select.
   Data with gaps are computed piece by piece, every piece starting anew.
4. Rules are evaluated on the rows of the period (features.evaluate), and become proposals (features.proposals).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from engine.dataset import Dataset, Series
from numpy.typing import NDArray

from features.columns import bar_series, load
from features.evaluate import Column
from features.proposals import ProposalTable, assemble, propose_symbol
from features.strategy import Plan, StrategySpec, plan
from features.tree import Feature, widen

BATCH = 8_000_000  # values computed at one time: bounds the memory


class Job(NamedTuple):
    """The bars of one symbol that features are computed for."""

    series: Series
    stop: int  # how many of its bars, from the first


def propose(
    dataset: Dataset,
    specs: Sequence[StrategySpec],
    symbols: Sequence[str],
    start_us: int,
    end_us: int,
    *,
    interval: str = "",
    workers: int | None = None,
) -> ProposalTable:
    """Proposals."""
    plans = sorted((plan(spec) for spec in specs), key=lambda one: one.id)
    names = tuple(sorted(set(symbols)))
    ts = dataset.columns["bars"]["ts"]
    jobs = []
    for name in names:
        series = bar_series(dataset, name, interval)
        jobs.append(Job(series, int(np.searchsorted(ts[series.start : series.stop], end_us, side="right"))))
    parts = []
    for code, job, columns in computed(dataset, jobs, _features(plans), _direct(plans), workers):
        times = ts[job.series.start : job.series.start + job.stop]
        first = int(np.searchsorted(times, start_us))
        for strategy, one in enumerate(plans):
            inputs = {n.name: columns[one.features[n.name].digest if n.name in one.features else n.name] for n in _inputs(one)}
            part = propose_symbol(one, inputs, times, first, job.stop)
            part["row"] += job.series.start
            part["symbol"] = np.full(len(part["ts"]), code, np.int32)
            part["strategy"] = np.full(len(part["ts"]), strategy, np.int32)
            parts.append(part)
    return ProposalTable(assemble(parts), names, tuple(one.id for one in plans), "certified", dataset.id)


def _inputs(one: Plan):
    rules = [*one.conditions.values(), *(l.rule for l in one.levels.values()), *(r for r in (one.score, one.max_bars) if r)]
    return {n for rule in rules for n in rule.inputs if n.name != "side"}


def _features(plans):
    return {f.digest: f for one in plans for f in one.features.values()}


def _direct(plans):
    return sorted({n.name for one in plans for n in _inputs(one) if n.name not in one.features})


def computed(dataset, jobs, features, direct, workers):
    needed = sorted({c for f in features.values() for c in f.columns} | set(direct))
    groups = {}
    for code, job in enumerate(jobs):
        groups.setdefault(job.stop, []).append((code, job))
    out = {}
    for stop, members in groups.items():
        size = max(1, BATCH // max(1, stop * max(1, len(features))))
        for at in range(0, len(members), size):
            batch = members[at : at + size]
            loaded = [load(dataset, job.series, needed, stop) for _, job in batch]
            cols = batch_features(loaded, list(features.values()))
            for (code, job), data, feats in zip(batch, loaded, cols):
                yield code, job, feats | {name: Column(data[name], 0) for name in direct}


def batch_features(loaded, features):
    results = [{} for _ in loaded]
    if len(loaded) == 1:
        data = loaded[0]
        frame = pl.DataFrame([pl.Series(n, v) for n, v in data.items()])
        res = frame.select([f.expr.alias(f.digest) for f in features])
        results[0] = {f.digest: _column(res[f.digest]) for f in features}
        return results
    keys = [str(i) for i in range(len(loaded))]
    frame = pl.DataFrame([pl.Series(f"{n}|{k}", v) for k, data in zip(keys, loaded) for n, v in data.items()])
    exprs = [widen(f, keys).name.suffix(f"|{i}") for i, f in enumerate(features)]
    res = frame.select(exprs)
    series = res.get_columns()
    for i, f in enumerate(features):
        for k in range(len(loaded)):
            results[k][f.digest] = _column(series[i * len(loaded) + k])
    return results


def _column(s: pl.Series) -> Column:
    if s.dtype != pl.Float64:
        s = s.cast(pl.Float64)
    unknown = s.null_count()
    if unknown == 0:
        return Column(s.to_numpy(), 0)
    if s.head(unknown).null_count() == unknown:
        return Column(s.slice(unknown).to_numpy(), unknown)
    return Column(s.fill_null(np.nan).to_numpy(), 0)
