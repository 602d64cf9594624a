"""From one file to pieces: its columns are read in batches, checked value by value, and parted by symbol."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.dataset import QUOTE_COLUMNS
from pipeline.ingest.actions import ActionReader
from pipeline.ingest.options import IngestOptions
from pipeline.ingest.refusal import refusal
from pipeline.ingest.roles import OPTIONAL, PRICES, Role, parse_interval
from pipeline.ingest.sources import Source
from pipeline.ingest.spill import Key, Spill
from pipeline.ingest.times import TimeReader
from pipeline.ingest.values import MEND, check, check_candle, check_prices, check_rate, check_volume, names, numbers

Columns = dict[str, NDArray[Any]]
MINUTE_US, JITTER_US = 60_000_000, 1_000_000
LISTED = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}


@dataclass
class FileReader:
    """Reads one file into pieces and notes what is worth telling."""

    source: Source
    role: Role
    options: IngestOptions
    times: TimeReader = field(init=False)
    rows: int = 0
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    jitter_us: int = 0
    actions: ActionReader = field(init=False)

    def __post_init__(self) -> None:
        self.times = TimeReader(self.source.name, self.options.assume_utc)
        self.actions = ActionReader(self.source.name)

    def read_into(self, spill: Spill) -> None:
        """Read all batches.

        Raises
        ------
        DatasetError
            A value breaks a rule.
        """
        for before, batch in self.source.batches(self.role.columns):
            n = len(batch[self.role.columns[0]])
            row = np.arange(before + 1, before + n + 1, dtype=np.int64)
            labels = _Labels(self, batch, before, n)
            spill.venues.update(labels.venues)
            for kind, columns in _READERS[self.role.kind](_Batch(self, batch, before, labels)):
                self._part(spill, kind, columns | {"row": row}, labels)
            self.rows += n

    def _part(self, spill: Spill, kind: str, columns: Columns, labels: "_Labels") -> None:
        keep = np.isfinite(columns["bid_open"]) if kind == "quotes" else np.ones(len(columns["ts"]), bool)
        for key, rows in labels.groups():
            chosen = rows[keep[rows]]
            if len(chosen):
                part = {name: column[chosen] for name, column in columns.items()}
                symbol, venue, label = key
                spill.add(self.source.name, Key(kind, symbol, venue, label), part, labels.given_us(label), "session" in self.role.columns)

    def count(self, what: str, number: int) -> None:
        """Add to what is counted over the file."""
        if number:
            self.counts[what] = self.counts.get(what, 0) + number

    def told(self) -> list[str]:
        """What the reading of the file showed, for people."""
        clocks: dict[str, list[str]] = {}
        for column, clock in self.times.clocks.items():
            clocks.setdefault(str(clock), []).append(column)
        told = [f"{', '.join(columns)}: {clock}" for clock, columns in clocks.items()]
        if self.times.shortened:
            told.append(f"times finer than a microsecond, which were cut to it: {self.times.shortened:,}")
        told += [f"{number:,} {what}" for what, number in self.counts.items()]
        if self.jitter_us:
            told.append(f"settlement stamps lie up to {self.jitter_us / 1000:g} ms off the minute that is used")
        told += [f"split factor, {text} (new:old)" for text in self.actions.rounded]
        if self.role.unused:
            told.append(f"columns not used: {', '.join(self.role.unused)}")
        return told + self.notes


class _Labels:
    """Symbol, venue and interval label of each row of a batch."""

    def __init__(self, reader: FileReader, batch: dict[str, Any], before: int, n: int) -> None:
        self._reader, self._n = reader, n
        file, role = reader.source.name, reader.role
        self._symbols = self._names("symbol", batch, before) or ([role.symbol or ""], np.zeros(n, np.int64))
        self._venues = self._names("venue", batch, before) or ([""], np.zeros(n, np.int64))
        column = next((name for name in ("interval", "freq") if name in batch), None)
        self._labels = (self._names(column, batch, before) if column else None) or ([""], np.zeros(n, np.int64))
        for code, label in enumerate(self._labels[0]):
            if column and parse_interval(label) is None:
                row = before + int(np.argmax(self._labels[1] == code)) + 1
                raise refusal(
                    file, "not an interval such as 1m, 1h, 1d, minute, hour, daily", "write one of these", row, column, repr(label)
                )

    @property
    def venues(self) -> set[str]:
        """The venues that the batch names."""
        return set(self._venues[0]) - {""}

    def _names(self, column: str, batch: dict[str, Any], before: int) -> tuple[list[str], NDArray[np.int64]] | None:
        if column not in batch:
            return None
        return names(self._reader.source.name, column, batch[column], before)

    def groups(self) -> list[tuple[tuple[str, str, str], NDArray[np.int64]]]:
        """Rows of each (symbol, venue, label), in the order of the file."""
        parts = (self._symbols, self._venues, self._labels)
        code = (parts[0][1] * len(parts[1][0]) + parts[1][1]) * len(parts[2][0]) + parts[2][1]
        order = np.argsort(code, kind="stable")
        starts = np.flatnonzero(np.diff(code[order], prepend=-1))
        groups = []
        for rows in np.split(order, starts[1:]):
            at = rows[0]
            symbol, venue, label = (found[codes[at]] for found, codes in parts)
            if self._reader.options.venue is None or not venue or venue == self._reader.options.venue:
                groups.append(((symbol, "" if self._reader.options.venue else venue, label), rows))
        return groups

    def given_us(self, label: str) -> int:
        """The interval that the label, the caller or the file's name gives; 0 for none."""
        return (parse_interval(label) if label else None) or self._reader.options.interval_us or self._reader.role.interval_us or 0

    def given(self) -> NDArray[np.int64]:
        """The same, for each row."""
        return np.array([self.given_us(label) for label in self._labels[0]], dtype=np.int64)[self._labels[1]]


Made = list[tuple[str, Columns]]


class _Batch(NamedTuple):
    """Some rows of a file, as they are in it."""

    reader: FileReader
    arrays: dict[str, Any]
    before: int  # rows of the file before these
    labels: _Labels

    @property
    def file(self) -> str:
        """What messages call the file."""
        return self.reader.source.name

    def number(self, column: str) -> NDArray[np.float64]:
        """A column as numbers; NaN throughout where the file has none."""
        if column not in self.arrays:
            return np.full(len(next(iter(self.arrays.values()))), np.nan)
        return numbers(self.file, column, self.arrays[column], self.before)

    def time(self, column: str) -> NDArray[np.int64]:
        """A column as instants."""
        return self.reader.times.read(column, self.arrays[column], self.before)

    def names(self, column: str) -> tuple[list[str], NDArray[np.int64]]:
        """Distinct names of a column and the place of each row's among them."""
        return names(self.file, column, self.arrays[column], self.before)

    def check(self, column: str, values: NDArray[Any], wrong: NDArray[np.bool_], rule: str, mend: str = MEND) -> None:
        """Refuse the first row that is wrong."""
        check(self.file, column, values, wrong, self.before, rule, mend)


def _candle_times(batch: _Batch) -> Columns:
    opened = "open_ts" if "open_ts" in batch.arrays else "open_time"
    read = {name: batch.time(name) for name in ("ts", opened) if name in batch.arrays}
    if len(read) == 2:
        batch.check(opened, read[opened], read[opened] >= read["ts"], "a bar opens before it closes (ts is the close)")
        return {"ts": read["ts"], "open_ts": read[opened]}
    interval = batch.labels.given()
    if not interval.all():
        missing, there = (opened, "ts") if "ts" in read else ("ts", opened)
        mend = "add the column, a column 'interval', or pass the interval (1h)"
        raise refusal(batch.file, f"'{there}' without '{missing}', and no interval to derive it", mend, batch.before + 1)
    if "ts" in read:
        batch.reader.count("opens were derived as the close less the interval", len(interval))
        return {"ts": read["ts"], "open_ts": read["ts"] - interval}
    batch.reader.count("closes were derived as the open plus the interval", len(interval))
    return {"ts": read[opened] + interval, "open_ts": read[opened]}


def _bars(batch: _Batch) -> Made:
    times = _candle_times(batch)
    prices = {name: batch.number(name) for name in PRICES}
    check_candle(batch.file, prices, batch.before)
    volume = batch.number("volume") + 0.0
    check_volume(batch.file, volume, batch.before)
    made: Made = [("bars", times | prices | {"volume": volume})]
    return made + (_bars_quotes(batch, times) if QUOTE_COLUMNS[0] in batch.arrays else [])


def _marks(batch: _Batch) -> Made:
    prices = {name: batch.number(name) for name in PRICES}
    check_candle(batch.file, prices, batch.before)
    return [("marks", _candle_times(batch) | prices)]


def _bars_quotes(batch: _Batch, times: Columns) -> Made:
    """Quotes beside bars: all eight of a row, or none."""
    sides = {name: batch.number(name) for name in QUOTE_COLUMNS}
    absent = np.isnan(np.array(list(sides.values()))).all(axis=0)
    batch.reader.count("bars have no quotes", int(np.count_nonzero(absent)))
    _check_sides(batch, {name: np.where(absent, 1.0, side) for name, side in sides.items()})
    return [("quotes", times | sides)]


def _quotes(batch: _Batch) -> Made:
    sides = {name: batch.number(name) for name in QUOTE_COLUMNS}
    _check_sides(batch, sides)
    return [("quotes", _candle_times(batch) | sides)]


def _check_sides(batch: _Batch, sides: Columns) -> None:
    for side in ("bid_", "ask_"):
        check_candle(batch.file, {name: sides[side + name] for name in PRICES}, batch.before, side)
    for name in PRICES:
        bid, ask = sides[f"bid_{name}"], sides[f"ask_{name}"]
        if name in ("open", "close"):
            _check_crossed(batch, f"bid_{name}", bid, bid > ask)
        else:  # the extremes of the two sides were not seen at one moment
            batch.reader.count(f"quote candles have a {name} of the bid above that of the ask (kept)", int(np.count_nonzero(bid > ask)))


def _check_crossed(batch: _Batch, column: str, bid: NDArray[np.float64], crossed: NDArray[np.bool_]) -> None:
    if not batch.reader.options.keep_crossed:
        batch.check(column, bid, crossed, "the bid is above the ask", "drop the row, or pass --keep-crossed (keep_crossed=True) to keep it")
    batch.reader.count("crossed quotes are kept", int(np.count_nonzero(crossed)))


def _funding(batch: _Batch) -> Made:
    raw = batch.time("ts_raw") if "ts_raw" in batch.arrays else batch.time("ts")
    stamp = batch.time("ts") if "ts" in batch.arrays else raw
    minute = (stamp + MINUTE_US // 2) // MINUTE_US * MINUTE_US
    near = (np.abs(stamp - minute) <= JITTER_US) & (stamp != minute)
    batch.reader.count("settlement stamps were moved to their minute", int(np.count_nonzero(near)))
    ts = np.where(near, minute, stamp)
    batch.reader.jitter_us = max(batch.reader.jitter_us, int(np.abs(raw - ts).max()))
    rate, mark = batch.number("rate"), batch.number("mark")
    check_rate(batch.file, rate, batch.before)
    batch.check("mark", mark, np.isinf(mark) | (mark <= 0), "a mark is a finite price above zero, or missing")
    return [("funding", {"ts": ts, "rate": rate + 0.0, "mark": mark})]


def _spread(batch: _Batch) -> Made:
    bid, ask = batch.number("bid"), batch.number("ask")
    check_prices(batch.file, "bid", bid, batch.before)
    check_prices(batch.file, "ask", ask, batch.before)
    _check_crossed(batch, "bid", bid, bid > ask)
    batch.reader.count("quotes are locked: bid and ask are equal", int(np.count_nonzero(bid == ask)))
    return [("spread", {"ts": batch.time("ts"), "bid": bid, "ask": ask})]


def _universe(batch: _Batch) -> Made:
    if str(batch.arrays["listed"].type) in ("string", "large_string"):
        found, codes = batch.names("listed")
        listed = np.array([LISTED.get(name.lower(), np.nan) for name in found])[codes]
        given = np.array(found, dtype=object)[codes]
    else:
        given = listed = batch.number("listed")
    batch.check("listed", given, (listed != 0) & (listed != 1), "1 (listed) or 0 is meant")
    return [("universe", {"ts": batch.time("ts"), "listed": listed})]


def _actions(batch: _Batch) -> Made:
    found, codes = batch.names("kind")
    values = {str(name): batch.number(name) for name in OPTIONAL["actions"] if name in batch.arrays}
    return [("actions", {"ts": batch.time("ts")} | batch.reader.actions.read(found, codes, values, batch.before))]


_READERS: dict[str, Callable[[_Batch], Made]] = {
    "bars": _bars,
    "marks": _marks,
    "quotes": _quotes,
    "funding": _funding,
    "spread": _spread,
    "universe": _universe,
    "actions": _actions,
}
