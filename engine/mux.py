"""The reference order: a dataset as iterators of typed events, and their merge into the one total order.  # R1

Owns the event types, their keys, ``DatasetReader`` and ``EventMux``.  Everything else that orders events, the kernel first, must agree
with the sequence that comes out here.
"""

import difflib
import heapq
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.dataset import QUOTE_COLUMNS, Dataset, DatasetError, Series
from engine.schema import NEVER, EventKind

CHUNK_ROWS = 65_536


class Key(NamedTuple):
    """The place of an event in the total order.  # R1.1"""

    ts: int  # us, UTC
    kind: EventKind
    symbol: str
    interval_us: int
    series: str
    sequence: int  # the row's place in time order among those of its (symbol, series)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to one symbol at one instant."""

    kind: ClassVar[EventKind]
    name: ClassVar[str]  # of its kind

    ts: int
    symbol: str
    interval_us: int
    series: str
    sequence: int

    def __init_subclass__(cls) -> None:
        cls.name = cls.kind.name

    @property
    def key(self) -> Key:
        """Where it comes in the total order."""
        return Key(self.ts, self.kind, self.symbol, self.interval_us, self.series, self.sequence)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What no two events of a stream may share.  # R1.5"""
        return self.key[:-1]


class Quotes(NamedTuple):
    """One side of a bar's quote candle."""

    open: float
    high: float
    low: float
    close: float


@dataclass(frozen=True, slots=True)
class BarPath(Event):
    """The inside of the bar that ends now; ``bid`` and ``ask`` where it has quote candles.  # R2.2"""

    kind = EventKind.BAR_PATH

    open_ts: int
    open: float
    high: float
    low: float
    close: float
    bid: Quotes | None = None
    ask: Quotes | None = None


@dataclass(frozen=True, slots=True)
class FundingUpdate(Event):
    """A settlement of funding; ``mark`` is NaN where the source has none."""

    kind = EventKind.FUNDING_UPDATE

    rate: float
    mark: float


@dataclass(frozen=True, slots=True)
class CandleClose(Event):
    """A bar is known; ``mark`` is the close of its mark candle, NaN where it has none.  # R6.5"""

    kind = EventKind.CANDLE_CLOSE

    open_ts: int
    close: float
    volume: float
    mark: float


@dataclass(frozen=True, slots=True)
class SpreadSnapshot(Event):
    """The last bid and ask; several of one instant keep their order."""

    kind = EventKind.SPREAD_SNAPSHOT

    bid: float
    ask: float

    @property
    def identity(self) -> tuple[Any, ...]:
        """Quotes of one instant are told apart by their sequence."""
        return self.key


@dataclass(frozen=True, slots=True)
class UniverseUpdated(Event):
    """The symbol enters or leaves the tradable set."""

    kind = EventKind.UNIVERSE_UPDATED

    listed: bool


@dataclass(frozen=True, slots=True)
class TradeProposed(Event):
    """A proposal may be acted on; ``series`` is its strategy, and one strategy may propose several times at an instant."""

    kind = EventKind.TRADE_PROPOSED

    proposal: Any

    @property
    def identity(self) -> tuple[Any, ...]:
        """Proposals of one strategy are told apart by their sequence."""
        return self.key


@dataclass(frozen=True, slots=True)
class CorporateAction(Event):
    """A split, dividend or delisting, effective from the next open."""

    kind = EventKind.CORPORATE_ACTION

    action: int  # place in engine.dataset.ACTIONS
    value: float
    num: int
    den: int

    @property
    def identity(self) -> tuple[Any, ...]:
        """A split and a dividend may share an instant."""
        return (*self.key[:-1], self.action)


@dataclass(frozen=True, slots=True)
class BarOpen(Event):
    """A bar starts and gives its open; ``bid`` and ``ask`` where it has quote candles.  # R2.2"""

    kind = EventKind.BAR_OPEN

    open: float
    bid: float | None = None
    ask: float | None = None


class EventMux:
    """Merges iterators of events into the total order.

    Parameters
    ----------
    iterators
        Each in the total order by itself; which events come from which, and the order of the iterators, do not matter.

    Raises
    ------
    DatasetError
        While iterating: an iterator runs backwards, or two events have one key.
    """

    def __init__(self, *iterators: Iterable[Event]) -> None:
        self._sources = [iter(iterator) for iterator in iterators]

    def __iter__(self) -> Iterator[Event]:
        heap: list[tuple[Key, int, Event]] = []
        for place, source in enumerate(self._sources):
            _push(heap, place, source, None)
        instant: tuple[int, EventKind] | None = None
        seen: set[tuple[Any, ...]] = set()
        while heap:
            key, place, event = heapq.heappop(heap)
            if (key.ts, key.kind) != instant:
                instant = (key.ts, key.kind)
                seen.clear()
            identity = event.identity
            if identity in seen:
                raise DatasetError(f"two events {_named(key)}: a stream holds each once; drop one of the two rows")
            seen.add(identity)
            yield event
            _push(heap, place, self._sources[place], key)


def _push(heap: list[tuple[Key, int, Event]], place: int, source: Iterator[Event], last: Key | None) -> None:
    event = next(source, None)
    if event is None:
        return
    key = event.key
    if last is not None and key < last:
        raise DatasetError(f"event {_named(key)} comes after {_named(last)} in its iterator: it runs backwards; sort its rows")
    heapq.heappush(heap, (key, place, event))


def _named(key: Key) -> str:
    series = f" {key.series}" if key.series else ""
    return f"{key.kind.name} of {key.symbol}{series} at {np.datetime64(key.ts, 'us')}Z (sequence {key.sequence})"


class DatasetReader:
    """Columns and events of a dataset."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def columns(self, kind: str, symbol: str, name: str = "") -> dict[str, NDArray[Any]]:
        """Columns of a series, with no copy: of the finest, where ``name`` is empty.

        Raises
        ------
        DatasetError
            The dataset has no such series.
        """
        series = self.dataset.find(kind, symbol, name)
        if series is None:
            near = difflib.get_close_matches(symbol, [s.symbol for s in self.dataset.series.get(kind, ())], n=1)
            hint = f"; did you mean '{near[0]}'?" if near and near[0] != symbol else ""
            raise DatasetError(f"no {kind} of '{symbol}'{f' with interval {name}' if name else ''} in the dataset{hint}")
        return self.dataset.view(kind, series)

    def events(
        self, symbols: Sequence[str] | None = None, kinds: Collection[str] | None = None, since: int = -NEVER
    ) -> list[Iterator[Event]]:
        """One iterator a series; together, by ``EventMux``, the market in order.

        Parameters
        ----------
        symbols
            Symbols to read; None: all.
        kinds
            Names of the kinds of event to make; None: all.
        since
            Time of the first events, us, UTC.
        """
        wanted = frozenset(kind.name for kind in EventKind) if kinds is None else frozenset(kinds)
        return [
            make(self.dataset, series, wanted, since)
            for kind, (make, made) in _EVENTS.items()
            if wanted & made
            for series in self.dataset.series.get(kind, ())
            if symbols is None or series.symbol in symbols
        ]


def _rows(columns: Mapping[str, NDArray[Any]], since: int, *names: str) -> Iterator[tuple[Any, ...]]:
    """Rows with ``ts >= since`` as plain Python values, each with its place first."""
    for start in range(int(np.searchsorted(columns["ts"], since)), len(columns["ts"]), CHUNK_ROWS):
        parts = [columns[name][start : start + CHUNK_ROWS].tolist() for name in names]
        for place, row in enumerate(zip(*parts, strict=True), start):
            yield place, *row


def _bars(dataset: Dataset, series: Series, wanted: Collection[str], since: int) -> Iterator[Event]:
    opens, paths, closes = (kind.name in wanted for kind in (EventKind.BAR_OPEN, EventKind.BAR_PATH, EventKind.CANDLE_CLOSE))
    columns = dataset.view("bars", series)
    columns["mark"] = _marks(dataset, series) if closes else columns["close"]
    where = (series.symbol, series.interval_us, series.name)
    names = ("open_ts", "ts", "open", "high", "low", "close", "volume", "mark", *(QUOTE_COLUMNS if QUOTE_COLUMNS[0] in columns else ()))
    for place, open_ts, ts, opened, high, low, close, volume, mark, *quotes in _rows(columns, since, *names):
        bid, ask = (Quotes(*quotes[:4]), Quotes(*quotes[4:])) if quotes and not math.isnan(quotes[0]) else (None, None)
        if opens and open_ts >= since:
            yield BarOpen(open_ts, *where, place, opened, bid and bid.open, ask and ask.open)
        if paths:
            yield BarPath(ts, *where, place, open_ts, opened, high, low, close, bid, ask)
        if closes:
            yield CandleClose(ts, *where, place, open_ts, close, volume, mark)


def _marks(dataset: Dataset, series: Series) -> NDArray[np.float64]:
    """Mark close of each bar that has a mark candle of the same open and close."""
    bars = dataset.view("bars", series)
    found = next((s for s in dataset.series.get("marks", ()) if s[:3] == series[:3]), None)
    if found is None or found.start == found.stop:
        return np.full(len(bars["ts"]), np.nan)
    marks = dataset.view("marks", found)
    at = np.minimum(np.searchsorted(marks["ts"], bars["ts"]), len(marks["ts"]) - 1)
    same = (marks["ts"][at] == bars["ts"]) & (marks["open_ts"][at] == bars["open_ts"])
    return np.where(same, marks["close"][at], np.nan)


def _funding(dataset: Dataset, series: Series, _: Collection[str], since: int) -> Iterator[Event]:
    for place, ts, rate, mark in _rows(dataset.view("funding", series), since, "ts", "rate", "mark"):
        yield FundingUpdate(ts, series.symbol, 0, "", place, rate, mark)


def _spread(dataset: Dataset, series: Series, _: Collection[str], since: int) -> Iterator[Event]:
    for place, ts, bid, ask in _rows(dataset.view("spread", series), since, "ts", "bid", "ask"):
        yield SpreadSnapshot(ts, series.symbol, 0, "", place, bid, ask)


def _universe(dataset: Dataset, series: Series, _: Collection[str], since: int) -> Iterator[Event]:
    for place, ts, listed in _rows(dataset.view("universe", series), since, "ts", "listed"):
        yield UniverseUpdated(ts, series.symbol, 0, "", place, bool(listed))


def _actions(dataset: Dataset, series: Series, _: Collection[str], since: int) -> Iterator[Event]:
    for place, ts, action, value, num, den in _rows(dataset.view("actions", series), since, "ts", "kind", "value", "num", "den"):
        yield CorporateAction(ts, series.symbol, 0, "", place, action, value, num, den)


_EVENTS: Mapping[str, tuple[Callable[[Dataset, Series, Collection[str], int], Iterator[Event]], frozenset[str]]] = {
    "bars": (_bars, frozenset({"BAR_OPEN", "BAR_PATH", "CANDLE_CLOSE"})),
    "funding": (_funding, frozenset({"FUNDING_UPDATE"})),
    "spread": (_spread, frozenset({"SPREAD_SNAPSHOT"})),
    "universe": (_universe, frozenset({"UNIVERSE_UPDATED"})),
    "actions": (_actions, frozenset({"CORPORATE_ACTION"})),
}
