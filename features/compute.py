"""Stage one for many symbols: features, then proposals.

1. ``plan`` (features.strategy) checks each strategy and keeps the features its rules use.
2. Each distinct feature is certified for the dataset (features.poison), unless its certificate is at hand.
3. Features are computed by symbol from its first bar on (features.frames), or read from the store.
4. Rules are evaluated on the bars of the period (features.evaluate) and become proposals (features.proposals).

Work is split by symbol, never by time: a history that starts elsewhere has other bits, one that ends elsewhere has not.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.dataset import Dataset, DatasetError, Series
from features import frames, poison
from features.causality import CausalityError, Certificate
from features.columns import BAR_COLUMNS, bar_series, load
from features.evaluate import Column
from features.proposal_files import read_proposals, write_proposals
from features.proposals import Found, Job, ProposalError, ProposalTable, assemble, find
from features.rolling_mean import window_of
from features.store import array, code_digest, key, read_table, write_bytes, write_table
from features.strategy import Plan, StrategySpec, plan
from features.strategy_file import StrategyError
from features.tree import Feature, read

T = TypeVar("T")
Progress = poison.Progress

BATCH = 330_000  # values computed at one time: bounds the memory, and what is fresh in the cache is read at once

AHEAD = 2  # batches

Batch = dict[int, dict[str, Column]]
"""Columns by digest or name, of some jobs by their place."""

_issued: dict[tuple[str, str, str], Certificate] = {}


def propose(
    dataset: Dataset,
    specs: Sequence[StrategySpec],
    symbols: Sequence[str],
    start_us: int,
    end_us: int,
    *,
    interval: str = "",
    store: Path | None = None,
    workers: int | None = None,
    certify: bool = True,
    progress: Progress | None = None,
) -> ProposalTable:
    """Proposals of some strategies on some symbols.

    Parameters
    ----------
    start_us, end_us
        Proposals have ``start_us <= ts <= end_us``; features are warmed up from the symbol's first bar, whatever the period.
    interval
        Name of the bar series; empty: the finest of each symbol.
    store
        Folder of content-addressed certificates, features and proposals; None: nothing is written.
    workers
        At most this many columns are computed at one time; None: as many as Polars has threads. It changes no bit.
    certify
        Whether features must have a certificate for this dataset; without one the table's provenance is ``uncertified``.
    progress
        Told what is done, how much of it, and how much there is.

    Raises
    ------
    StrategyError, RuleError
        If a strategy is not allowed.
    CausalityError
        If a feature may see, or was seen to see, the future.
    DatasetError
        If the dataset lacks a symbol or a column.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; it is at least 1")
    plans, names = _plans(specs), tuple(sorted(set(symbols)))
    jobs = [_job(dataset, symbol, interval, start_us, end_us) for symbol in names]
    content = {"kind": "proposals", "dataset": dataset.id, "plans": [[p.id, p.digest] for p in plans], "symbols": names}
    path = store and store / "proposals" / f"{key(**content, interval=interval, start=start_us, end=end_us)}.arrow"
    if path and certify and (stored := _stored_proposals(path)) is not None:
        return stored
    certificates = _certified(dataset, plans, [job.series for job in jobs], interval, store, progress) if certify else ()
    found = _found(dataset, plans, jobs, interval, store, workers, progress)
    shared = len({dataset.clock(job.series) for job in jobs}) == 1
    columns = assemble(found, dataset.columns["bars"]["ts"], [job.series.start for job in jobs] if shared else None)
    provenance = "certified" if certify else "uncertified"
    table = ProposalTable(columns, names, tuple(one.id for one in plans), provenance, dataset.id, certificates)
    if path and certify:
        write_proposals(table, path)
    return table


def _stored_proposals(path: Path) -> ProposalTable | None:
    """What the store holds; None where it is missing or damaged, and so is made anew."""
    try:
        return read_proposals(path) if path.exists() else None
    except (ProposalError, CausalityError):
        return None


def certify(
    dataset: Dataset,
    specs: Sequence[StrategySpec],
    symbols: Sequence[str],
    *,
    interval: str = "",
    store: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Certificate, ...]:
    """Certify the features of some strategies for some symbols; what has been certified is not done again.

    Raises
    ------
    CausalityError
        Names the feature, the symbol, the cut and the first row that moved.
    """
    series = [bar_series(dataset, symbol, interval) for symbol in sorted(set(symbols))]
    return _certified(dataset, _plans(specs), series, interval, store, progress)


def _plans(specs: Sequence[StrategySpec]) -> list[Plan]:
    if not specs:
        raise StrategyError("no strategy given; name at least one")
    plans = sorted((plan(spec) for spec in specs), key=lambda one: one.id)
    for one, other in pairwise(plans):
        if one.id == other.id:
            raise StrategyError(f"two strategies are called {one.id!r}; give each its own id")
    return plans


def _job(dataset: Dataset, symbol: str, interval: str, start_us: int, end_us: int) -> Job:
    series = bar_series(dataset, symbol, interval)
    ts = dataset.columns["bars"]["ts"][series.start : series.stop]
    start, stop = int(ts.searchsorted(start_us)), int(ts.searchsorted(end_us, side="right"))
    return Job(series, min(start, stop), stop)


def _certified(
    dataset: Dataset, plans: Sequence[Plan], series: Sequence[Series], interval: str, store: Path | None, progress: Progress | None
) -> tuple[Certificate, ...]:
    features = {f"{one.id}.{name}": feature for one in plans for name, feature in one.features.items()}
    features |= {name: read(pl.col(name)) for name in _direct(plans) if name not in BAR_COLUMNS}
    symbols = {one.symbol for one in series}
    found = {feature.digest: _issued_certificate(dataset, feature, symbols, interval, store) for feature in features.values()}
    missing = {name: feature for name, feature in features.items() if found[feature.digest] is None}
    if missing:
        for certificate in poison.certify(dataset, series, interval, missing, progress):
            found[certificate.tree] = _issued[(dataset.id, certificate.tree, interval)] = certificate
            if store:
                write_bytes(_certificate_path(store, dataset, certificate.tree, interval), certificate.to_json().encode())
    rules = tuple(Certificate(one.digest, dataset.id, interval, {}, pl.__version__, code_digest(), poisons=()) for one in plans)
    return rules + tuple(certificate for _, certificate in sorted(found.items()) if certificate is not None)


def _issued_certificate(dataset: Dataset, feature: Feature, symbols: set[str], interval: str, store: Path | None) -> Certificate | None:
    certificate = _issued.get((dataset.id, feature.digest, interval))
    path = store and _certificate_path(store, dataset, feature.digest, interval)
    if (certificate is None or not symbols <= set(certificate.cuts)) and path and path.exists():
        certificate = _stored_certificate(path)
    if certificate is None or not symbols <= set(certificate.cuts):
        return None
    if (certificate.dataset, certificate.tree) != (dataset.id, feature.digest):
        raise CausalityError(f"{path}: the certificate is for another computation or dataset; remove the file")
    if path and not path.exists():
        write_bytes(path, certificate.to_json().encode())
    return certificate


def _stored_certificate(path: Path) -> Certificate | None:
    try:
        return Certificate.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, CausalityError):
        return None


def _certificate_path(store: Path, dataset: Dataset, tree: str, interval: str) -> Path:
    return store / "certificates" / f"{key(kind='certificate', dataset=dataset.id, tree=tree, interval=interval)}.json"


def _features(plans: Sequence[Plan]) -> list[Feature]:
    return list({feature.digest: feature for one in plans for feature in one.features.values()}.values())


def _direct(plans: Sequence[Plan]) -> list[str]:
    return sorted({name for one in plans for name in one.inputs if name not in one.features})


def _found(
    dataset: Dataset,
    plans: Sequence[Plan],
    jobs: Sequence[Job],
    interval: str,
    store: Path | None,
    workers: int | None,
    progress: Progress | None,
) -> Iterator[Found]:
    features, direct = _features(plans), _direct(plans)
    others = len(direct) + sum(len({rule.cross.sides for rule in one.conditions.values() if rule.cross}) for one in plans)
    computed = _stored(dataset, jobs, features, interval, store, workers) if store else _computed(dataset, jobs, features, workers, others)
    done = 0
    for batch in computed:
        if progress:
            progress("features and proposals", done, len(jobs))
        done += len(batch)
        for code, columns in batch.items():
            columns |= {name: Column(values, 0) for name, values in _loaded(dataset, jobs[code].series, direct, jobs[code].stop).items()}
        for strategy, one in enumerate(plans):
            sources = [(name, one.features[name].digest if name in one.features else name) for name in one.inputs]
            inputs = {code: {name: columns[source] for name, source in sources} for code, columns in batch.items()}
            yield from find(one, inputs, jobs, strategy)


def _loaded(dataset: Dataset, series: Series, names: Sequence[str], stop: int) -> dict[str, NDArray[np.float64]]:
    columns = load(dataset, series, names, stop)
    for name, values in columns.items():
        if len(values) and np.isnan(values[0]) and np.isnan(values[-1]) and np.isnan(values).all():
            raise DatasetError(f"column {name!r} of {series.symbol} has no values; leave the symbol or the column out")
    return columns


def _computed(dataset: Dataset, jobs: Sequence[Job], features: Sequence[Feature], workers: int | None, others: int = 0) -> Iterator[Batch]:
    """Features of every job, jobs of equal length together, so not in order; the caller has so many other columns of each beside them."""
    needed = sorted({column for feature in features for column in feature.columns})
    batches = list(_batches(jobs, len(features) + len(needed) + others))
    means = sum(window_of(feature) > 0 for feature in features)
    largest = max((len(batch) * jobs[batch[0]].stop for batch in batches), default=0)
    # the caller is done with a batch when it asks for the next, so what that held serves one that is yet to come
    ahead = AHEAD if workers != 1 and means < len(features) else 0  # another thread would be told of means later than they are done
    rooms = [np.empty(means * largest) for _ in range(min(ahead + 1, len(batches)))]

    def compute(place: int) -> list[dict[str, Column]]:
        loaded = [_loaded(dataset, jobs[code].series, needed, jobs[code].stop) for code in batches[place]]
        return frames.compute(loaded, features, workers, rooms[place % len(rooms)])

    for batch, results in zip(batches, _ahead(compute, len(batches), ahead), strict=True):
        yield dict(zip(batch, results, strict=True))


def _batches(jobs: Sequence[Job], columns: int) -> Iterator[list[int]]:
    lengths: dict[int, list[int]] = {}
    for code, job in enumerate(jobs):
        lengths.setdefault(job.stop, []).append(code)
    for stop, codes in lengths.items():
        size = max(1, BATCH // max(1, stop * max(1, columns)))
        yield from (codes[at : at + size] for at in range(0, len(codes), size))


def _ahead(compute: Callable[[int], T], count: int, ahead: int) -> Iterator[T]:
    """Results in order; while the caller is at one, so many more are computed (what computes needs no interpreter lock)."""
    if count < 2 or not ahead:
        yield from map(compute, range(count))
        return
    with ThreadPoolExecutor(ahead) as pool:
        coming = deque(pool.submit(compute, place) for place in range(min(ahead, count)))
        for place in range(ahead, count):
            result = coming.popleft().result()
            coming.append(pool.submit(compute, place))
            yield result
        while coming:
            yield coming.popleft().result()


def _stored(
    dataset: Dataset, jobs: Sequence[Job], features: Sequence[Feature], interval: str, store: Path, workers: int | None
) -> Iterator[Batch]:
    """Features of every job, mapped from files that hold one feature of all bars of these symbols."""
    full = [Job(job.series, 0, job.series.stop - job.series.start) for job in jobs]
    symbols = [job.series.symbol for job in jobs]
    paths = {f.digest: store / "features" / f"{_feature_key(dataset, f, symbols, interval)}.arrow" for f in features}
    values = {f.digest: _stored_values(paths[f.digest], dataset, f) for f in features}
    missing = [feature for feature in features if values[feature.digest] is None]
    starts = np.cumsum([0, *(job.stop for job in full)])
    made = {feature.digest: np.full(starts[-1], np.nan) for feature in missing}
    for batch in _computed(dataset, full, missing, workers) if missing else ():
        for code, columns in batch.items():
            for digest, column in columns.items():
                made[digest][starts[code] + column.first : starts[code + 1]] = column.values
    for feature in missing:
        metadata = {"dataset": dataset.id, "tree": feature.digest, "lookback": feature.lookback, "symbols": symbols, "interval": interval}
        certificate = _issued_certificate(dataset, feature, set(symbols), interval, store)
        metadata["certificate"] = certificate.to_json() if certificate else None
        metadata["checksum"] = _checksum(made[feature.digest])
        write_table(paths[feature.digest], {"value": made[feature.digest]}, metadata)
    columns_of = {digest: made[digest] if column is None else column for digest, column in values.items()}
    for code, job in enumerate(jobs):
        yield {code: {digest: Column(column[starts[code] : starts[code] + job.stop], 0) for digest, column in columns_of.items()}}


def _stored_values(path: Path, dataset: Dataset, feature: Feature) -> NDArray[np.float64] | None:
    """What the store holds of a feature; None where it is missing, damaged or of something else, and so is made anew."""
    if not path.exists():
        return None
    try:
        table, metadata = read_table(path)
        values = array(table, "value")
    except (ValueError, KeyError):
        return None
    known = (metadata.get("dataset"), metadata.get("tree"), metadata.get("checksum"))
    return values if known == (dataset.id, feature.digest, _checksum(values)) else None


def _checksum(values: NDArray[np.float64]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()


def _feature_key(dataset: Dataset, feature: Feature, symbols: Sequence[str], interval: str) -> str:
    return key(kind="feature", dataset=dataset.id, tree=feature.digest, symbols=symbols, interval=interval)
