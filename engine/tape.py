"""What the replay reads: frozen, symbol-major arrays of market data and proposals.

Owns the lowering of a dataset, a proposal table and settings to arrays the kernel can index: names become numbers (sorted by code
point, so numbers order as names do), runs become row ranges, and every proposal learns the last bar closed when it is known.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.arrays import Floats, Ints, frozen, ints
from engine.block import Block, column
from engine.dataset import ACTIONS, COLUMNS, QUOTE_COLUMNS, Dataset, DatasetError, Series, column_dtype
from engine.instrument import Instrument
from engine.kernel import kernel
from engine.margin import MARGIN_TIER
from engine.schema import Accounting
from engine.settings import Settings
from engine.specs import RULE, SPEC, interest_of, rules_of, specs_of

MAX_TERM = 1000
"""Largest term of a split.  # R8.1"""


class Tape(Block):
    """Market data of a run; bars have shape (n_bars,), ranges (n_symbols,), and every array is read-only."""

    open_ts: Ints = column(np.int64)  # us, UTC
    ts: Ints = column(np.int64)  # us, UTC; the close: known from here on
    close: Floats = column(np.float64)  # last price; the mid where bars are bid and ask candles
    volume: Floats = column(np.float64)
    mark: Floats = column(np.float64)  # price of valuation                                                                # R6.5
    mark_open: Floats = column(np.float64)  # the mark candle, or the bar's own; of runs with maintenance margin           # R7.3
    mark_high: Floats = column(np.float64)
    mark_low: Floats = column(np.float64)
    bid_open: Floats = column(np.float64)
    bid_high: Floats = column(np.float64)
    bid_low: Floats = column(np.float64)
    bid_close: Floats = column(np.float64)
    ask_open: Floats = column(np.float64)
    ask_high: Floats = column(np.float64)
    ask_low: Floats = column(np.float64)
    ask_close: Floats = column(np.float64)
    quoted: NDArray[np.int8] = column(np.int8)  # 1 where a bar has both sides; shape (0,) if none has
    oldest: Ints = column(np.int64)  # first row of the symbol's execution series, warm-up included
    first: Ints = column(np.int64)  # first row of the run
    stop: Ints = column(np.int64)  # one past the last row of the run
    shared_clock: Ints = column(np.int64)  # added to a row: the row of another symbol with the same times, so that many share one
    last_ts: Ints = column(np.int64)  # close of the symbol's last bar, of the run or not
    funding_ts: Ints = column(np.int64)
    funding_rate: Floats = column(np.float64)
    funding_mark: Floats = column(np.float64)
    funding_stop: Ints = column(np.int64)
    funding_first: Ints = column(np.int64)
    spread_ts: Ints = column(np.int64)
    spread_bid: Floats = column(np.float64)
    spread_ask: Floats = column(np.float64)
    spread_first: Ints = column(np.int64)
    spread_stop: Ints = column(np.int64)
    universe_ts: Ints = column(np.int64)
    universe_listed: NDArray[np.int8] = column(np.int8)
    universe_first: Ints = column(np.int64)
    universe_stop: Ints = column(np.int64)
    action_ts: Ints = column(np.int64)
    action_kind: NDArray[np.int8] = column(np.int8)  # place in engine.dataset.ACTIONS
    action_value: Floats = column(np.float64)  # of a dividend, for one unit
    action_num: Ints = column(np.int64)  # new units of a split
    action_den: Ints = column(np.int64)  # for old ones
    action_first: Ints = column(np.int64)
    action_stop: Ints = column(np.int64)
    specs: NDArray[Any] = column(SPEC)  # SPEC
    rule_ts: Ints = column(np.int64)  # us, UTC; from when the rules are in force; the first of a symbol from ever
    rules: NDArray[Any] = column(RULE)  # RULE
    rule_first: Ints = column(np.int64)
    rule_stop: Ints = column(np.int64)
    margin_tiers: NDArray[Any] = column(MARGIN_TIER)  # MARGIN_TIER
    rate_ts: Ints = column(np.int64)  # us, UTC; closes of the series that say what a currency is worth
    rate: Floats = column(np.float64)  # account money for quote money, from then on
    rate_first: Ints = column(np.int64)  # of symbols quoted in the account's currency no rows
    rate_stop: Ints = column(np.int64)
    interest_ts: Ints = column(np.int64)  # us, UTC; from when a rate is in force
    interest_rate: Floats = column(np.float64)  # a year
    interest_first: Ints = column(np.int64)  # of shorts of each symbol, and last of the account's debt; shape (n_symbols + 1,)
    interest_stop: Ints = column(np.int64)
    grid: Ints = column(np.int64)  # sample times                                                                        # R5.3


@kernel
def known_until(ts: Ints, first: int, stop: int, now: int) -> int:
    """One past the last of the rows ``first:stop`` with ``ts <= now``."""
    while first < stop:
        middle = (first + stop) // 2
        if ts[middle] <= now:
            first = middle + 1
        else:
            stop = middle
    return first


@kernel
def first_from(ts: Ints, first: int, stop: int, time: int) -> int:
    """First of the rows ``first:stop`` with ``ts >= time``, the first row being before it; where rows are equally apart, found at once."""
    if stop - first > 1:
        step = ts[first + 1] - ts[first]
        guess = min(first + (time - ts[first] + step - 1) // step, stop)
        if ts[guess - 1] < time and (guess == stop or ts[guess] >= time):
            return guess
    return known_until(ts, first, stop, time - 1)


@kernel
def rules_at(tape: Tape, symbol: int, ts: int) -> int:
    """Row of the exchange's rules in force at a time."""
    first, stop = tape.rule_first[symbol], tape.rule_stop[symbol]
    return first if stop == first + 1 else known_until(tape.rule_ts, first, stop, ts) - 1


@kernel
def rate_at(tape: Tape, symbol: int, ts: int) -> float:
    """Account money for quote money of a symbol at a time at which it is known."""
    return tape.rate[known_until(tape.rate_ts, tape.rate_first[symbol], tape.rate_stop[symbol], ts) - 1]


def build_tape(dataset: Dataset, settings: Settings) -> Tape:
    """Lower market data to arrays, with no copy where the columns already fit.

    Raises
    ------
    DatasetError
        If a symbol has no bars or an action that cannot be replayed, or if the symbols' profits are of two currencies.
    """
    instruments = sorted(settings.instruments, key=lambda instrument: instrument.symbol)
    _check_currency(instruments)
    bars = [_execution_series(dataset, instrument.symbol, settings.interval) for instrument in instruments]
    ranges = _ranges(dataset, bars, settings)
    end = int(ranges["grid"][-1]) if len(ranges["grid"]) else settings.start_us
    return Tape(
        **_prices(dataset, bars, margined=any(one.tiers for one in instruments)),
        **ranges,
        **_events_of_all(dataset, instruments, settings, end),
        specs=specs_of(dataset, instruments, bars, settings),
        **rules_of(instruments),
        margin_tiers=frozen(np.array([tier for instrument in instruments for tier in instrument.tiers], MARGIN_TIER)),
        **_rates(dataset, instruments, settings),
        **interest_of(instruments, settings),
    )


def _prices(dataset: Dataset, bars: Sequence[Series], *, margined: bool) -> dict[str, NDArray[Any]]:
    """Columns of all bars of the dataset: times, trades, marks, both sides."""
    columns = dataset.columns["bars"]
    sides, quoted = _both_sides(columns)
    marks = {f"mark_{name}": _marks(dataset, bars, name) if margined else columns[name] for name in ("open", "high", "low")}
    plain = {name: columns[name] for name in ("open_ts", "ts", "close", "volume")}
    return plain | {"mark": _marks(dataset, bars), "quoted": quoted} | marks | sides


def _ranges(dataset: Dataset, bars: Sequence[Series], settings: Settings) -> dict[str, NDArray[Any]]:
    """Which rows are the run's, symbol by symbol, and the sample times that follow from them."""
    columns = dataset.columns["bars"]
    open_ts, ts = columns["open_ts"], columns["ts"]
    first = [s.start + int(open_ts[s.start : s.stop].searchsorted(settings.start_us, "left")) for s in bars]
    stop = [s.start + int(ts[s.start : s.stop].searchsorted(settings.end_us, "right")) for s in bars]
    stop = [max(begin, end) for begin, end in zip(first, stop, strict=True)]
    if settings.participation < np.inf:
        _check_volume(columns["volume"], ts, bars, first, stop)
    grid, clock = _sample_grid(dataset, bars, first, stop)
    return {
        "oldest": ints([s.start for s in bars]),
        "first": ints(first),
        "stop": ints(stop),
        "shared_clock": clock,
        "last_ts": ints([int(ts[s.stop - 1]) if s.stop > s.start else 0 for s in bars]),
        "grid": grid,
    }


def _events_of_all(dataset: Dataset, instruments: Sequence[Instrument], settings: Settings, end: int) -> dict[str, NDArray[Any]]:
    """Columns and ranges of all that is no bar."""
    funded, count = any(one.is_funded for one in instruments), len(instruments)
    found = {
        "funding": _events(dataset, "funding", ("ts", "rate", "mark"), instruments if funded else [], end, count),
        "spread": _events(dataset, "spread", ("ts", "bid", "ask"), instruments if settings.spread_events else [], end, count),
        "universe": _events(dataset, "universe", ("ts", "listed"), instruments, end, count),
        "action": _events(dataset, "actions", COLUMNS["actions"], instruments, end, count),
    }
    _check_actions(found["action"], instruments, settings.start_us)
    return {f"{kind}_{name}": array for kind, columns in found.items() for name, array in columns.items()}


def _rates(dataset: Dataset, instruments: Sequence[Instrument], settings: Settings) -> dict[str, NDArray[Any]]:
    """What quote money is worth, for the symbols quoted in another currency than the account's: closes of the finest bars there are."""
    given = {one.quote: one for one in settings.conversions}
    times, rates, ranges = [ints([])], [np.empty(0)], dict[str, tuple[int, int]]()
    for quote in sorted({one.quote for one in instruments} - {""}):
        found = dataset.find("bars", given[quote].symbol) if quote in given else None
        if found is None:
            raise DatasetError(f"account.conversion: prices in {quote} need a symbol of the dataset that says what {quote} is worth")
        columns = dataset.view("bars", found)
        begin = sum(map(len, times))
        times.append(columns["ts"])
        rates.append(1.0 / columns["close"] if given[quote].invert else columns["close"])
        ranges[quote] = begin, begin + len(columns["ts"])
    rows = [ranges.get(one.quote, (0, 0)) for one in instruments]
    return {
        "rate_ts": frozen(np.concatenate(times)),
        "rate": frozen(np.concatenate(rates)),
        "rate_first": ints([first for first, _ in rows]),
        "rate_stop": ints([stop for _, stop in rows]),
    }


def _execution_series(dataset: Dataset, symbol: str, interval: str) -> Series:
    series = dataset.find("bars", symbol, interval)
    if series is None:
        known = sorted({s.name for s in dataset.series.get("bars", ()) if s.symbol == symbol})
        have = f"; it has {', '.join(known)}" if known else f"; the dataset has {', '.join(dataset.symbols[:8])}"
        raise DatasetError(f"no bars for {symbol}{f' at {interval}' if interval else ''}{have}")
    return series


def _check_currency(instruments: Sequence[Instrument]) -> None:
    """Refuse inverse contracts, whose profit is in coin, beside others: an account has one currency.  # R6.2"""
    coin = [one.symbol for one in instruments if one.accounting == Accounting.INVERSE]
    other = [f"{one.symbol} ({one.kind})" for one in instruments if one.accounting != Accounting.INVERSE]
    if coin and any(one.quote for one in instruments):
        raise DatasetError(
            f"instruments: {coin[0]} is an inverse contract, whose money is its coin: nothing is converted beside it; leave quote out"
        )
    if coin and other:
        raise DatasetError(
            f"instruments: {coin[0]} is an inverse contract, whose money is its coin, and that of {other[0]} is not; an account has one "
            "currency: keep one of the two with symbols: [...], or set instruments.SYMBOL.kind"
        )


def _check_volume(volume: Floats, ts: Ints, bars: Sequence[Series], first: Sequence[int], stop: Sequence[int]) -> None:
    """Refuse bars without volume where a share of it limits the fills.  # R2.6"""
    for series, begin, end in zip(bars, first, stop, strict=True):
        rows = slice(max(series.start, begin - 1), end)
        missing = np.flatnonzero(~(volume[rows] >= 0.0))
        if len(missing):
            at = np.datetime64(int(ts[rows][missing[0]]), "us")
            raise DatasetError(
                f"bars of {series.symbol}: {len(missing)} of {end - rows.start} have no volume, the first closes at {at}Z; "
                "execution.participation is a share of it: leave participation or the symbol out"
            )


def _sample_grid(dataset: Dataset, bars: Sequence[Series], first: Sequence[int], stop: Sequence[int]) -> tuple[Ints, Ints]:
    """The distinct closes of the run's bars, and for each symbol how far the rows with its times lie from its own.  # R5.3"""
    ts, clock = dataset.columns["bars"]["ts"], np.zeros(len(bars), np.int64)
    base = [i for i in range(len(bars)) if stop[i] > first[i]]
    if not base:
        return ints([]), frozen(clock)
    longest = max(base, key=lambda i: stop[i] - first[i])
    grid = ts[first[longest] : stop[longest]]
    extra, whole, begun = [], dataset.clock(bars[longest]), first[longest] - bars[longest].start
    for i in base:
        closes = ts[first[i] : stop[i]]
        same = dataset.clock(bars[i]) == whole and first[i] - bars[i].start == begun
        if same or (len(closes) == len(grid) and np.array_equal(closes, grid)):
            clock[i] = first[longest] - first[i]
        else:
            extra.append(closes[grid[np.minimum(np.searchsorted(grid, closes), len(grid) - 1)] != closes])
    added = np.concatenate(extra) if extra else ints([])
    return (grid if not len(added) else frozen(np.unique(np.concatenate([grid, added])))), frozen(clock)


def _both_sides(columns: Mapping[str, NDArray[Any]]) -> tuple[dict[str, Floats], NDArray[np.int8]]:
    """Bid and ask columns; trade prices stand on both sides where a bar has no quotes.  # R2.2"""
    if QUOTE_COLUMNS[0] not in columns:
        trade = {f"{side}_{price}": columns[price] for side in ("bid", "ask") for price in ("open", "high", "low", "close")}
        return trade, frozen(np.empty(0, np.int8))
    complete = np.logical_and.reduce([np.isfinite(columns[name]) for name in QUOTE_COLUMNS])
    if complete.all():
        sides = {name: columns[name] for name in QUOTE_COLUMNS}
    else:
        sides = {name: frozen(np.where(complete, columns[name], columns[name.split("_")[1]])) for name in QUOTE_COLUMNS}
    return sides, frozen(complete.astype(np.int8))


def _marks(dataset: Dataset, bars: Sequence[Series], name: str = "close") -> Floats:
    """A price of each bar's mark: of its mark candle where one covers exactly the bar, else of the bar.  # R6.5"""
    columns = dataset.columns["bars"]
    mark: Floats = columns[name]
    for series in bars:
        found = dataset.find("marks", series.symbol, series.name)
        if found is None or found.start == found.stop:
            continue
        if mark is columns[name]:
            mark = mark.copy()
        marks = dataset.view("marks", found)
        rows = slice(series.start, series.stop)
        ts = columns["ts"][rows]
        at = np.minimum(np.searchsorted(marks["ts"], ts), len(marks["ts"]) - 1)
        same = (marks["ts"][at] == ts) & (marks["open_ts"][at] == columns["open_ts"][rows]) & np.isfinite(marks[name][at])
        mark[rows] = np.where(same, marks[name][at], mark[rows])
    return frozen(mark)


def _events(
    dataset: Dataset, kind: str, names: Sequence[str], instruments: Sequence[Instrument], end: int, count: int
) -> dict[str, NDArray[Any]]:
    columns = dataset.columns.get(kind)
    ranges = np.zeros((2, count), np.int64)
    if columns is None or not len(instruments):
        empty: dict[str, NDArray[Any]] = {name: frozen(np.empty(0, column_dtype(kind, name))) for name in names}
    else:
        empty = {name: columns[name] for name in names}
        for i, instrument in enumerate(instruments):
            found = dataset.find(kind, instrument.symbol)
            if found is not None and (kind != "funding" or instrument.is_funded):
                past = found.start + int(np.searchsorted(columns["ts"][found.start : found.stop], end, "right"))
                ranges[:, i] = found.start, past
    return empty | {"first": frozen(ranges[0].copy()), "stop": frozen(ranges[1].copy())}


def _check_actions(actions: Mapping[str, NDArray[Any]], instruments: Sequence[Instrument], start: int) -> None:
    """Refuse what cannot be replayed: a split that is no ratio, a dividend that is no amount, a second delisting.  # R8"""
    for i, instrument in enumerate(instruments if len(actions["ts"]) else ()):
        rows = {name: actions[name][actions["first"][i] : actions["stop"][i]] for name in COLUMNS["actions"]}
        terms = np.minimum(rows["num"], rows["den"]) < 1, np.maximum(rows["num"], rows["den"]) > MAX_TERM
        wrong = (rows["kind"] == ACTIONS.index("split")) & (terms[0] | terms[1])
        if instrument.accounting == Accounting.INVERSE:
            _refuse_action(
                instrument.symbol, rows, rows["kind"] != ACTIONS.index("delist"), "an inverse contract has neither splits nor dividends"
            )
        _refuse_action(instrument.symbol, rows, wrong, f"the terms of a split are whole numbers from 1 to {MAX_TERM}")
        amount = np.isfinite(rows["value"]) & (rows["value"] > 0)
        wrong = (rows["kind"] == ACTIONS.index("dividend")) & ~amount
        _refuse_action(instrument.symbol, rows, wrong, "a dividend is a finite amount above zero for one unit")
        delists = (rows["kind"] == ACTIONS.index("delist")) & (rows["ts"] >= start)
        wrong = delists & (np.cumsum(delists) > 1)
        _refuse_action(
            instrument.symbol, rows, wrong, "it is delisted twice inside the run; give each life of a recycled name its own symbol"
        )


def _refuse_action(symbol: str, rows: Mapping[str, NDArray[Any]], wrong: NDArray[np.bool_], rule: str) -> None:
    if wrong.any():
        at = int(np.argmax(wrong))
        kind, when = ACTIONS[rows["kind"][at]], np.datetime64(int(rows["ts"][at]), "us")
        said = f" {rows['num'][at]}:{rows['den'][at]}" if kind == "split" else f" of {rows['value'][at]}" if kind == "dividend" else ""
        raise DatasetError(f"actions: {symbol}: {kind}{said} at {when}Z: {rule}")
