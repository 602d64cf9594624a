"""Random market data: a few symbols with bars, quotes, marks, funding, spreads, listings, splits, dividends and delistings."""

from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from engine.dataset import QUOTE_COLUMNS, Dataset, from_columns, interval_name
from engine.instrument import Decimals, Instrument, MarginTier, Rules, margin_tiers
from engine.schema import Accounting

MINUTE = 60_000_000
QUARTER, HOUR, FOUR_HOURS, DAY = 15 * MINUTE, 60 * MINUTE, 240 * MINUTE, 1440 * MINUTE
EPOCH = 1_704_067_200_000_000  # 2024-01-01
SYMBOLS = ("AAA", "BBB", "Ba", "aaa", "ÄÖ", "ZZ9", "M-1", "b")  # by code point not in this order
RATIOS = ((2, 1), (2, 1), (3, 2), (1, 10), (1, 8), (7, 1), (5, 4), (1, 2), (1000, 999), (1, 3), (1, 60))
Columns = dict[str, Any]
Tables = dict[str, dict[tuple[str, str, int], Columns]]


class Symbol(NamedTuple):
    """One symbol's bars and what was drawn for it."""

    name: str
    interval: int
    step: float  # grid of the prices, often coarser than the tick
    instrument: Instrument
    bars: Columns

    @property
    def unit_value(self) -> float:
        """What a unit of quantity is worth at the first close, in account currency."""
        price, multiplier = float(self.bars["close"][0]), float(self.instrument.multiplier)
        return multiplier / price if self.instrument.accounting == Accounting.INVERSE else price * multiplier


def as_inverse(symbol: Symbol) -> Symbol:
    """The same symbol as a coin-margined contract."""
    return symbol._replace(instrument=replace(symbol.instrument, kind="inverse_perp"))


def chance(rng: Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def pick(rng: Generator, *options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def spans(rng: Generator) -> tuple[int, tuple[int, ...]]:
    """Length of the data and the intervals that its symbols may have."""
    intervals = pick(
        rng, (HOUR,), (HOUR,), (HOUR,), (QUARTER, HOUR), (HOUR, FOUR_HOURS), (QUARTER, HOUR, FOUR_HOURS), (FOUR_HOURS, DAY), (DAY,)
    )
    bars = int(rng.integers(20, 201 if chance(rng, 0.15) else 61))
    return bars * min(intervals), intervals


def random_symbol(rng: Generator, name: str, interval: int, begin: int, span: int) -> Symbol:
    tick = pick(rng, "0.01", "0.1", "0.5", "1", "0.05", "2.5")
    step = float(tick) * pick(rng, 1, 1, 1, 10, 10, 25, 0.5, 0.37)
    bars = _bars(rng, interval, begin, span, step)
    instrument = Instrument(
        name,
        kind=pick(rng, "linear_perp", "linear_perp", "linear_perp", "fx", "spot", "equity"),
        tick=Decimals.parse(tick),
        lot=Decimals.parse(pick(rng, "1", "0.1", "0.001", "10", "0.05")),
        multiplier=Decimals.parse(pick(rng, "1", "1", "1", "0.01", "10", "0.3")),
        min_qty=pick(rng, 0.0, 0.0, 0.3, 5.0),
        min_notional=pick(rng, 0.0, 0.0, 5.0, 300.0),
        shortable=chance(rng, 0.5),
        sessions=chance(rng, 0.3),
        rules=_dated_rules(rng, tick, begin, span) if chance(rng, 0.3) else (),
        group=pick(rng, "", "majors", "majors", "Ä"),
    )
    if chance(rng, 0.5):
        instrument = replace(instrument, maintenance=_maintenance(rng), leverage=pick(rng, None, None, 20.0, 50.0))
    return Symbol(name, interval, step, instrument, bars)


def margined(rng: Generator, symbol: Symbol) -> Symbol:
    """The same symbol as a contract with tiers of maintenance margin, its leverage the account's."""
    instrument = replace(symbol.instrument, kind=pick(rng, "linear_perp", "fx"), maintenance=_maintenance(rng), leverage=None)
    return symbol._replace(instrument=instrument)


def random_rates(rng: Generator, interval: int, begin: int, span: int) -> Symbol:
    """A symbol that says what a currency is worth, near one or far from it, from before the run on."""
    bars = _bars(rng, interval, begin, span, 1.0)
    before = {"open_ts": begin - 20 * interval, "ts": begin - 19 * interval}
    bars = {name: np.concatenate([[before.get(name, column[0])], column]) for name, column in bars.items()}
    factor = float(pick(rng, 1.0, 0.03, 120.0)) / float(bars["close"][0])
    prices = {name: bars[name] * factor for name in ("open", "high", "low", "close")}
    return Symbol("RATE", interval, factor, Instrument("RATE", "fx"), bars | prices)


def _dated_rules(rng: Generator, tick: str, begin: int, span: int) -> tuple[Rules, ...]:
    """Rules that change at times on and off the bars' own."""
    times = sorted({begin + int(rng.integers(0, span // QUARTER)) * QUARTER for _ in range(int(rng.integers(1, 4)))})
    return tuple(
        Rules(
            ts,
            Decimals.parse(Decimal(tick) * Decimal(pick(rng, "1", "0.5", "0.1", "0.3"))),
            Decimals.parse(pick(rng, "1", "0.1", "2", "5", "0.03")),
            pick(rng, 0.0, 0.0, 1.0),
            pick(rng, 0.0, 0.0, 100.0),
        )
        for ts in times
    )


def _maintenance(rng: Generator) -> tuple[MarginTier, ...]:
    """Tiers that positions of the random markets fall into; some leave jumps."""
    floors = [0.0, 300.0, 3_000.0, 50_000.0][: int(rng.integers(1, 5))]
    rates = np.cumsum(rng.integers(0, 4, len(floors)) * float(pick(rng, 0.004, 0.01, 0.03, 0.1))).tolist()
    rates = [min(rate, 0.9) for rate in rates]  # below 1, as a config must have them: nothing is liquidated at all of its notional
    if chance(rng, 0.8):
        return margin_tiers(list(zip(floors, rates, strict=True)))
    return tuple(MarginTier(floor, rate, float(pick(rng, 0.0, 0.01, 5.0))) for floor, rate in zip(floors, rates, strict=True))


def _bars(rng: Generator, interval: int, begin: int, span: int, step: float) -> Columns:
    offset = pick(rng, 0, 0, 0, 0, 0, 0, 7 * MINUTE, interval // 2)
    open_ts = np.arange(begin + offset, begin + span, interval, dtype=np.int64)
    ts = open_ts + interval
    if chance(rng, 0.15):  # bars that start late
        open_ts += np.where(rng.random(len(ts)) < 0.3, interval // 3, 0)
    keep = rng.random(len(ts)) >= pick(rng, 0.0, 0.0, 0.05, 0.3)
    first = int(rng.integers(0, max(1, len(ts) // 2))) if chance(rng, 0.2) else 0  # listed late
    last = int(rng.integers(first, len(ts))) if chance(rng, 0.2) else len(ts) - 1  # ends early
    keep[:first] = keep[last + 1 :] = False
    keep[[first, last]] = True
    prices = _prices(rng, int(keep.sum()))
    bars: Columns = {"open_ts": open_ts[keep], "ts": ts[keep]}
    for name, steps in zip(("open", "high", "low", "close"), prices, strict=True):
        bars[name] = steps * step
    bars["volume"] = rng.integers(0, 1000, int(keep.sum())).astype(np.float64)
    return bars


def _prices(rng: Generator, rows: int) -> tuple[NDArray[np.float64], ...]:
    """Open, high, low and close in price steps, all at least 5."""
    width = int(pick(rng, 1, 3, 8))
    moves = rng.integers(-width, width + 1, rows)
    gaps = np.where(rng.random(rows) < pick(rng, 0.0, 0.2, 0.6), rng.integers(-2 * width, 2 * width + 1, rows), 0)
    close = int(pick(rng, 30, 100, 100, 400)) + np.cumsum(moves + gaps)
    close = np.abs(close - 10) + 10
    opening = np.maximum(np.concatenate([close[:1], close[:-1]]) + gaps, 8)
    high = np.maximum(opening, close) + rng.integers(0, 2 * width + 1, rows)
    low = np.maximum(np.minimum(opening, close) - rng.integers(0, 2 * width + 1, rows), 5)
    return opening.astype(float), high.astype(float), low.astype(float), close.astype(float)


def series_of(symbol: Symbol) -> tuple[str, str, int]:
    return (symbol.name, interval_name(symbol.interval), symbol.interval)


def add_quotes(rng: Generator, symbols: list[Symbol]) -> None:
    """Bid and ask candles for some symbols, with holes."""
    if not chance(rng, 0.35):
        return
    for symbol in symbols:
        rows, quoted = len(symbol.bars["ts"]), chance(rng, 0.6)
        missing = rng.random(rows) < (pick(rng, 0.0, 0.0, 0.2) if quoted else 1.1)
        aside = {"bid": -rng.integers(0, 3, rows), "ask": rng.integers(0, 3, rows)}
        for name in QUOTE_COLUMNS:
            side, price = name.split("_")
            symbol.bars[name] = np.where(missing, np.nan, symbol.bars[price] + aside[side] * _step(symbol))


def _with_quotes(bars: Columns, others: list[Symbol]) -> Columns:
    """The bars with the columns of the others: without quotes where those have some."""
    return bars | {name: np.full(len(bars["ts"]), np.nan) for name in QUOTE_COLUMNS if name in others[0].bars}


def _step(symbol: Symbol) -> float:
    """Less than a fifth of the lowest price."""
    return min(symbol.step, float(symbol.bars["low"].min()) / 5)


def random_dataset(rng: Generator, symbols: list[Symbol], begin: int, span: int, others: list[Symbol]) -> Dataset:
    """All kinds of data of the symbols, whose bars get quotes on the way, and the bars of others."""
    tables: Tables = {"bars": {series_of(symbol): symbol.bars for symbol in symbols}}
    for symbol in symbols:
        if chance(rng, 0.4):
            _put(tables, "actions", (symbol.name, "", 0), _actions(rng, symbol))
    add_quotes(rng, symbols)
    for symbol in symbols:
        _extras(rng, tables, symbol, begin, span)
    tables["bars"] |= {series_of(symbol): _with_quotes(symbol.bars, symbols) for symbol in others}
    return from_columns(tables)


def _extras(rng: Generator, tables: Tables, symbol: Symbol, begin: int, span: int) -> None:
    key = (symbol.name, "", 0)
    if chance(rng, 0.3):
        _put(tables, "marks", series_of(symbol), _marks(rng, symbol))
    if chance(rng, 0.6):
        _put(tables, "funding", key, _funding(rng, symbol, begin, span))
    if chance(rng, 0.5):
        _put(tables, "spread", key, _spread(rng, symbol, begin, span))
    if chance(rng, 0.25):
        _put(tables, "universe", key, _universe(rng, symbol, begin))


def _put(tables: Tables, kind: str, key: tuple[str, str, int], columns: Columns) -> None:
    if len(columns["ts"]):
        tables.setdefault(kind, {})[key] = columns


def _marks(rng: Generator, symbol: Symbol) -> Columns:
    keep = rng.random(len(symbol.bars["ts"])) < pick(rng, 1.0, 0.7)
    marks = {name: symbol.bars[name][keep] for name in ("open_ts", "ts", "open", "high", "low", "close")}
    for name in ("open", "close"):
        marks[name] = marks[name] + rng.integers(-2, 3, int(keep.sum())) * _step(symbol)
    around = rng.integers(0, 3, int(keep.sum())) * _step(symbol)
    marks["high"] = np.maximum(marks["high"] - around, np.maximum(marks["open"], marks["close"]))
    marks["low"] = np.minimum(marks["low"] + around, np.minimum(marks["open"], marks["close"]))
    return marks


def _funding(rng: Generator, symbol: Symbol, begin: int, span: int) -> Columns:
    every = int(pick(rng, HOUR, 2 * HOUR, 8 * HOUR))
    ts = np.arange(begin, begin + span + 1, every, dtype=np.int64) + int(pick(rng, 0, 0, 0, 13 * MINUTE))
    ts = ts[rng.random(len(ts)) < pick(rng, 1.0, 0.7)]
    rate = rng.integers(-5, 8, len(ts)) * float(pick(rng, 0.0001, 0.00123, 0.01))
    price = float(symbol.bars["close"][0]) + rng.integers(-2, 3, len(ts)) * _step(symbol)
    return {"ts": ts, "rate": rate, "mark": np.where(rng.random(len(ts)) < 0.4, np.nan, price)}


def _spread(rng: Generator, symbol: Symbol, begin: int, span: int) -> Columns:
    count = int(rng.integers(1, 40))
    ts = begin + rng.integers(0, span // (5 * MINUTE) + 1, count) * 5 * MINUTE
    on_bars = rng.random(count) < 0.5
    ts = np.where(on_bars, rng.choice(symbol.bars["ts"], count), ts)
    ts = np.sort(np.concatenate([ts, ts[: count // 4]]))
    bid = float(symbol.bars["close"][0]) * np.ones(len(ts))
    return {"ts": ts, "bid": bid, "ask": bid * (1 + rng.integers(0, 60, len(ts)) / 10000)}


def _universe(rng: Generator, symbol: Symbol, begin: int) -> Columns:
    """Exits and entries; mostly listed from the beginning on."""
    count = min(len(symbol.bars["ts"]), int(rng.integers(1, 5)))
    ts = np.sort(rng.choice(symbol.bars["ts"], count, replace=False)) + int(pick(rng, 0, 0, 3 * MINUTE))
    listed = (np.arange(count) + int(rng.integers(0, 2))) % 2
    if chance(rng, 0.2):
        listed[-1] = listed[max(0, count - 2)]  # says again what is known
    if chance(rng, 0.8):
        ts, listed = np.concatenate([[begin - HOUR], ts]), np.concatenate([[1], listed])
    return {"ts": ts, "listed": listed}


def _actions(rng: Generator, symbol: Symbol) -> Columns:
    """Splits and dividends, some at one instant, and a delisting that no bar follows; mostly the bars after a split have its prices."""
    bars, rows = symbol.bars, set[tuple[int, int]]()
    for _ in range(int(pick(rng, 0, 1, 1, 2, 3))):
        ts = int(rng.choice(bars[pick(rng, "ts", "open_ts")])) + int(pick(rng, 0, 0, 0, 0, 5 * MINUTE))
        rows |= {(ts, kind) for kind in pick(rng, (0,), (0,), (1,), (0, 1))}
    if chance(rng, 0.35):
        after = int(bars["ts"][-1]) + int(pick(rng, 0, 0, 5 * MINUTE, symbol.interval, 3 * symbol.interval))
        rows |= {(after, kind) for kind in pick(rng, (2,), (2,), (0, 2))}
    ordered = sorted(rows, key=lambda row: (row[0], row[1] if row[0] % 7 else -row[1]))
    actions = [(ts, kind, *(pick(rng, *RATIOS) if kind == 0 else (0, 0))) for ts, kind in ordered]
    if symbol.instrument.accounting == Accounting.INVERSE:
        actions = [action for action in actions if action[1] == 2]
    for ts, kind, num, den in actions:
        if kind == 0 and chance(rng, 0.8) and float(symbol.bars["low"].min()) * den > 3 * num * float(symbol.instrument.tick):
            _split_bars(rng, symbol, ts, den / num)
    value = [float(pick(rng, 0.5, 0.013)) if kind == 1 else 0.0 for _, kind, _, _ in actions]
    return {"value": value} | {name: [row[place] for row in actions] for place, name in enumerate(("ts", "kind", "num", "den"))}


def _split_bars(rng: Generator, symbol: Symbol, ts: int, factor: float) -> None:
    """Put the bars that close after a split in its prices, on the grid or off it."""
    after, step = symbol.bars["ts"] > ts, symbol.step if chance(rng, 0.7) else 0.0
    for name in ("open", "high", "low", "close"):
        prices = symbol.bars[name] * factor
        prices = np.maximum(np.rint(prices / step), 1.0) * step if step else prices
        symbol.bars[name] = np.where(after, prices, symbol.bars[name])
