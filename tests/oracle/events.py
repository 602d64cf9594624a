"""The market as typed events in the one total order, and what is known of each symbol at an instant.  # R1"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from engine.dataset import ACTIONS, QUOTE_COLUMNS, Dataset, Series
from engine.schema import EventKind, LevelKind
from engine.settings import Settings
from tests.oracle.contract import Contract
from tests.oracle.proposals import Proposal


class Candle(NamedTuple):
    """One side of a bar."""

    open: float
    high: float
    low: float
    close: float

    def after(self, split: "Action") -> "Candle":
        """The same prices of the shares that a split makes."""
        return Candle(*(split.price(price) for price in self))


class Action(NamedTuple):
    """A split, a dividend or a delisting."""

    kind: str
    amount: float  # of a dividend, for one unit
    num: int  # new units
    den: int  # for old ones

    def price(self, price: float) -> float:
        """What a price of the old units is for the new ones.  # R8.1"""
        return price * self.den / self.num


class Bar(NamedTuple):
    """A bar ``[open_ts, ts)`` with the candle that sells take and the candle that buys take."""

    open_ts: int
    ts: int
    close: float
    mark: float
    mark_open: float
    mark_high: float
    mark_low: float
    bid: Candle
    ask: Candle
    volume: float
    quoted: bool  # has bid and ask candles of its own
    of_run: bool  # inside the period; otherwise it only tells the last close

    def side(self, side: int) -> Candle:
        """The candle whose prices an order of this side takes.  # R2.2"""
        return self.ask if side > 0 else self.bid

    def after(self, split: Action) -> "Bar":
        """The same bar in prices of the shares that a split makes."""
        return self._replace(
            close=split.price(self.close),
            mark=split.price(self.mark),
            bid=self.bid.after(split),
            ask=self.ask.after(split),
            volume=self.volume * split.num / split.den,
        )


class Event(NamedTuple):
    """One event; its first six fields are its place in the total order."""

    ts: int
    kind: EventKind
    symbol: str
    interval_us: int
    series: str
    sequence: int
    payload: Any


@dataclass
class Market:
    """What is known of one symbol at the present instant."""

    contract: Contract
    default_half_spread: float
    interval_us: int
    listed: bool = True
    expired: bool = False
    bar: Bar | None = None  # the last closed one
    bar_before: Bar | None = None  # and the one before it
    filled: dict[int, int] = field(default_factory=dict)  # lots that orders took of a bar, by its open
    promised: int = 0  # lots of the present bar that its exits will take
    mark: float = math.nan
    snapshot: float | None = None  # half-spread of the last snapshot
    snapshot_at_open: float | None = None  # and of the last one known when the present bar opened
    closes: list[int] = field(default_factory=list)  # of its bars so far
    last_close_ts: int = 0  # close of the symbol's last bar in the dataset
    opened_ts: int = 0  # when its last bar opened
    splits: list[tuple[int, Action]] = field(default_factory=list)  # those that are past

    def half_spread(self, *, at_open: bool = False) -> float:
        """Half-spread as a fraction of price, for trade candles."""
        known = self.snapshot_at_open if at_open else self.snapshot
        return self.default_half_spread if known is None else known

    def close_half_spread(self) -> float:
        """Half-spread that a reservation at the last close allows for."""
        assert self.bar is not None
        if self.bar.quoted:
            bid, ask = self.bar.bid.close, self.bar.ask.close
            return (ask - bid) / (ask + bid)
        return self.half_spread()

    def split(self, ts: int, split: Action) -> None:
        """All prices known from now on are of the new shares; a spread is a fraction and stays.  # R8.1"""
        self.splits.append((ts, split))
        self.mark = split.price(self.mark)
        self.bar = None if self.bar is None else self.bar.after(split)

    def restated(self, proposal: Proposal) -> Proposal:
        """A proposal whose prices are of the shares of today.  # R8.1"""
        for ts, split in self.splits:
            if ts < proposal.ts:
                continue
            for name in ("stop_loss", "take_profit", "trailing", "break_even"):
                if getattr(proposal, f"{name}_kind") == LevelKind.PRICE:
                    proposal = proposal._replace(**{name: split.price(getattr(proposal, name))})
            for name in ("limit_price", "stop_price"):
                proposal = proposal._replace(**{name: split.price(getattr(proposal, name))})
        return proposal

    @property
    def last_close(self) -> float:
        """The last close, NaN before there is one."""
        return math.nan if self.bar is None else self.bar.close


class Tape(NamedTuple):
    """All that happens in a run, in order."""

    events: list[Event]
    markets: dict[str, Market]
    sample_ts: list[int]
    end: int  # the last instant
    rates: dict[str, list[tuple[int, float]]]  # of symbols quoted in another currency: since when account money for quote money


def read_tape(dataset: Dataset, settings: Settings) -> Tape:
    """The events of the run's symbols up to the last sample, and each symbol's state before them."""
    markets: dict[str, Market] = {}
    events: list[Event] = []
    bars: dict[str, list[Bar]] = {}
    for instrument in sorted(settings.instruments, key=lambda one: one.symbol):
        symbol = instrument.symbol
        series = dataset.find("bars", symbol, settings.interval)
        if series is None:
            raise ValueError(f"{symbol}: the dataset has no bars {settings.interval!r} of it")
        markets[symbol] = Market(Contract(instrument, settings), settings.default_spread_bps / 20000, series.interval_us)
        bars[symbol] = list(_bars(dataset, series, settings))
        events += _bar_events(series, bars[symbol])
        events += _other_events(dataset, markets[symbol], settings)
    for symbol, market in markets.items():
        market.last_close_ts = max((bar.ts for bar in bars[symbol]), default=0)
    sample_ts = sorted({bar.ts for symbol in markets for bar in bars[symbol] if bar.of_run})
    end = sample_ts[-1] if sample_ts else settings.start_us
    rates = {one.symbol: list(_rates(dataset, one.quote, settings)) for one in settings.instruments if one.quote}
    return Tape([event for event in events if event.ts <= end], markets, sample_ts, end, rates)


def _rates(dataset: Dataset, quote: str, settings: Settings) -> Iterator[tuple[int, float]]:
    """Closes of the symbol that says what a currency is worth, the finest there are, as account money for quote money."""
    given = next(one for one in settings.conversions if one.quote == quote)
    series = dataset.find("bars", given.symbol, "")
    if series is None:
        raise ValueError(f"{given.symbol}: the dataset has no bars of it, which say what {quote} is worth")
    columns = dataset.view("bars", series)
    for ts, close in zip(columns["ts"].tolist(), columns["close"].tolist(), strict=True):
        yield ts, 1.0 / close if given.invert else close


def _bars(dataset: Dataset, series: Series, settings: Settings) -> Iterator[Bar]:
    columns = {name: column.tolist() for name, column in dataset.view("bars", series).items()}
    marks = _marks(dataset, series)
    rows = len(columns["ts"])
    quotes = [columns.get(name, [math.nan] * rows) for name in QUOTE_COLUMNS]
    for row in range(rows):
        open_ts, ts = columns["open_ts"][row], columns["ts"][row]
        trade = Candle(*(columns[name][row] for name in ("open", "high", "low", "close")))
        quote = [column[row] for column in quotes]
        quoted = not math.isnan(quote[0])
        bid, ask = (Candle(*quote[:4]), Candle(*quote[4:])) if quoted else (trade, trade)
        of_run = settings.start_us <= open_ts and ts <= settings.end_us
        mark = marks.get((open_ts, ts), trade)
        yield Bar(open_ts, ts, trade.close, mark.close, mark.open, mark.high, mark.low, bid, ask, columns["volume"][row], quoted, of_run)


def _marks(dataset: Dataset, bars: Series) -> dict[tuple[int, int], Candle]:
    series = dataset.find("marks", bars.symbol, bars.name)
    if series is None:
        return {}
    columns = dataset.view("marks", series)
    keys = zip(columns["open_ts"].tolist(), columns["ts"].tolist(), strict=True)
    candles = zip(*(columns[name].tolist() for name in ("open", "high", "low", "close")), strict=True)
    return {key: Candle(*candle) for key, candle in zip(keys, candles, strict=True)}


def _bar_events(series: Series, bars: list[Bar]) -> Iterator[Event]:
    key = (series.symbol, series.interval_us, series.name)
    for row, bar in enumerate(bars):
        if bar.of_run:
            yield Event(bar.open_ts, EventKind.BAR_OPEN, *key, row, bar)
        yield Event(bar.ts, EventKind.BAR_PATH, *key, row, bar)
        yield Event(bar.ts, EventKind.CANDLE_CLOSE, *key, row, bar)


def _other_events(dataset: Dataset, market: Market, settings: Settings) -> Iterator[Event]:
    symbol = market.contract.symbol
    for row, (ts, rate, mark) in enumerate(_rows(dataset, "funding", symbol, "ts", "rate", "mark")):
        if market.contract.instrument.kind in ("linear_perp", "inverse_perp", "fx"):
            yield Event(ts, EventKind.FUNDING_UPDATE, symbol, 0, "", row, (rate, mark))
    if settings.spread_events:
        for row, (ts, bid, ask) in enumerate(_rows(dataset, "spread", symbol, "ts", "bid", "ask")):
            yield Event(ts, EventKind.SPREAD_SNAPSHOT, symbol, 0, "", row, (ask - bid) / (ask + bid))
    market.listed = dataset.find("universe", symbol) is None  # with a universe series, not before its first row
    for row, (ts, listed) in enumerate(_rows(dataset, "universe", symbol, "ts", "listed")):
        yield Event(ts, EventKind.UNIVERSE_UPDATED, symbol, 0, "", row, bool(listed))
    for row, (ts, kind, amount, num, den) in enumerate(_rows(dataset, "actions", symbol, "ts", "kind", "value", "num", "den")):
        yield Event(ts, EventKind.CORPORATE_ACTION, symbol, 0, "", row, Action(ACTIONS[kind], amount, num, den))


def _rows(dataset: Dataset, kind: str, symbol: str, *names: str) -> Iterator[tuple[Any, ...]]:
    series = dataset.find(kind, symbol)
    if series is not None:
        columns = dataset.view(kind, series)
        yield from zip(*(columns[name].tolist() for name in names), strict=True)
