"""What the replay reads: frozen, symbol-major arrays of market data and proposals.

Owns the lowering of a dataset, a proposal table and settings to arrays the kernel can index: names become numbers (sorted by code
point, so numbers order as names do), runs become row ranges, and every proposal learns the last bar closed when it is known.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.block import Block, column
from engine.dataset import ACTIONS, COLUMNS, QUOTE_COLUMNS, Dataset, DatasetError, Series, column_dtype
from engine.instrument import Instrument, Rules
from engine.kernel import kernel
from engine.margin import MARGIN_TIER
from engine.schema import NEVER, NONE, OPTIONAL_COLUMNS, PROPOSAL_COLUMNS, Accounting, Action, LimitGap, OrderType, TimeInForce
from engine.settings import Settings

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MAX_TERM = 1000
"""Largest term of a split.  # R8.1"""

SPEC = np.dtype(
    [
        ("lot_units", "<f8"),
        ("lot_power", "<f8"),
        ("multiplier", "<f8"),
        ("group", "<i4"),  # NONE: in no group
        ("interval_us", "<i8"),
        ("leverage", "<f8"),
        ("tier_first", "<i8"),  # its rows of Tape.margin_tiers
        ("tier_stop", "<i8"),
        ("accounting", "u1"),
        ("shortable", "u1"),
        ("limit_gap", "u1"),
        ("has_universe", "u1"),
    ],
    align=True,
)
"""What the replay knows of one symbol; ``lot_units / lot_power`` is the base lot, in which quantities are counted."""

RULE = np.dtype(
    [
        ("tick_units", "<f8"),
        ("tick_power", "<f8"),
        ("tick", "<f8"),
        ("lot", "<f8"),
        ("lot_step", "<i8"),  # base lots in a lot
        ("min_qty", "<f8"),
        ("min_notional", "<f8"),
    ],
    align=True,
)
"""What an exchange asks of the orders of one symbol from a time on.  # R2.7"""


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
    grid: Ints = column(np.int64)  # sample times                                                                        # R5.3


class Proposals(Block):
    """Proposals of a run, sorted by (available_ts, symbol, strategy, sequence); shape (n_proposals,), read-only."""

    available_ts: Ints = column(np.int64)
    ts: Ints = column(np.int64)
    symbol: NDArray[np.int32] = column(np.int32)
    strategy: NDArray[np.int32] = column(np.int32)
    action: NDArray[np.int8] = column(np.int8)
    score: Floats = column(np.float64)
    stop_loss: Floats = column(np.float64)
    stop_loss_kind: NDArray[np.int8] = column(np.int8)
    take_profit: Floats = column(np.float64)
    take_profit_kind: NDArray[np.int8] = column(np.int8)
    trailing: Floats = column(np.float64)
    trailing_kind: NDArray[np.int8] = column(np.int8)
    break_even: Floats = column(np.float64)
    break_even_kind: NDArray[np.int8] = column(np.int8)
    max_bars: Ints = column(np.int64)
    order_type: NDArray[np.int8] = column(np.int8)
    limit_price: Floats = column(np.float64)
    stop_price: Floats = column(np.float64)
    tif: NDArray[np.int8] = column(np.int8)
    tif_value: Ints = column(np.int64)
    row: Ints = column(np.int64)  # last bar of the symbol closed at available_ts; -1 if none
    weight: Floats = column(np.float64)  # this and the following have shape (0,) where the table has no such column
    volatility: Floats = column(np.float64)
    win_probability: Floats = column(np.float64)
    payoff: Floats = column(np.float64)
    leg: Ints = column(np.int64)


class ProposalError(ValueError):
    """A proposal table that cannot be used; the message names the row, the value, the rule and the mend."""


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
def rules_at(tape: Tape, symbol: int, ts: int) -> int:
    """Row of the exchange's rules in force at a time."""
    first, stop = tape.rule_first[symbol], tape.rule_stop[symbol]
    return first if stop == first + 1 else known_until(tape.rule_ts, first, stop, ts) - 1


def build_tape(dataset: Dataset, settings: Settings) -> Tape:
    """Lower market data to arrays, with no copy where the columns already fit.

    Raises
    ------
    DatasetError
        If a symbol has no bars, or an action that cannot be replayed.
    """
    instruments = sorted(settings.instruments, key=lambda instrument: instrument.symbol)
    bars = [_execution_series(dataset, instrument.symbol, settings.interval) for instrument in instruments]
    columns = dataset.columns["bars"]
    open_ts, ts = columns["open_ts"], columns["ts"]
    first = [s.start + int(np.searchsorted(open_ts[s.start : s.stop], settings.start_us, "left")) for s in bars]
    stop = [s.start + int(np.searchsorted(ts[s.start : s.stop], settings.end_us, "right")) for s in bars]
    stop = [max(begin, end) for begin, end in zip(first, stop, strict=True)]
    if settings.participation < np.inf:
        _check_volume(columns["volume"], ts, bars, first, stop)
    grid, clock = _sample_grid(ts, bars, first, stop)
    end = int(grid[-1]) if len(grid) else settings.start_us
    sides, quoted = _both_sides(columns)
    tiers = _frozen(np.array([tier for instrument in instruments for tier in instrument.tiers], MARGIN_TIER))
    funding = _events(dataset, "funding", ("ts", "rate", "mark"), instruments, end)
    spread = _events(dataset, "spread", ("ts", "bid", "ask"), instruments if settings.spread_events else [], end, len(instruments))
    universe = _events(dataset, "universe", ("ts", "listed"), instruments, end)
    actions = _events(dataset, "actions", COLUMNS["actions"], instruments, end)
    _check_actions(actions, instruments, settings.start_us)
    return Tape(
        open_ts=open_ts,
        ts=ts,
        close=columns["close"],
        volume=columns["volume"],
        mark=_marks(dataset, bars),
        **{f"mark_{name}": _marks(dataset, bars, name) if len(tiers) else columns[name] for name in ("open", "high", "low")},
        **sides,
        quoted=quoted,
        oldest=_ints([s.start for s in bars]),
        first=_ints(first),
        stop=_ints(stop),
        shared_clock=clock,
        last_ts=_ints([int(ts[s.stop - 1]) if s.stop > s.start else 0 for s in bars]),
        funding_ts=funding["ts"],
        funding_rate=funding["rate"],
        funding_mark=funding["mark"],
        funding_first=funding["first"],
        funding_stop=funding["stop"],
        spread_ts=spread["ts"],
        spread_bid=spread["bid"],
        spread_ask=spread["ask"],
        spread_first=spread["first"],
        spread_stop=spread["stop"],
        universe_ts=universe["ts"],
        universe_listed=universe["listed"],
        universe_first=universe["first"],
        universe_stop=universe["stop"],
        action_ts=actions["ts"],
        action_kind=actions["kind"],
        action_value=actions["value"],
        action_num=actions["num"],
        action_den=actions["den"],
        action_first=actions["first"],
        action_stop=actions["stop"],
        specs=_specs(dataset, instruments, settings),
        **_rules(instruments),
        margin_tiers=tiers,
        grid=grid,
    )


def build_proposals(
    columns: Mapping[str, Any], symbols: Sequence[str], strategies: Sequence[str], tape: Tape, settings: Settings
) -> Proposals:
    """Lower a proposal table (``engine.schema.PROPOSAL_COLUMNS``) to sorted arrays.

    Parameters
    ----------
    columns
        ``symbol`` and ``strategy`` are names, or integer codes into ``symbols`` and ``strategies``.
    symbols, strategies
        Names the codes stand for, in any order.

    Raises
    ------
    ProposalError
        If a name is not of the run, an action is unknown, two proposals have one place in the order (R1.5), or one claims to be
        known before its bar closed (R1.7).
    """
    n = len(columns["ts"])
    names = sorted(instrument.symbol for instrument in settings.instruments)
    ids = sorted(strategy.id for strategy in settings.strategies)
    table = {name: _proposal_column(name, columns, n) for name in PROPOSAL_COLUMNS if name not in ("symbol", "strategy")}
    table |= {
        name: np.ascontiguousarray(columns[name], OPTIONAL_COLUMNS[name]) for name in OPTIONAL_COLUMNS if columns.get(name) is not None
    }
    table["symbol"] = _codes("symbol", columns["symbol"], symbols, names)
    table["strategy"] = _codes("strategy", columns["strategy"], strategies, ids)
    early = np.flatnonzero(table["available_ts"] < table["ts"])
    if len(early):
        i = int(early[0])
        raise ProposalError(
            f"proposal row {i}: available_ts {table['available_ts'][i]} is before ts {table['ts'][i]}, the close of the bar it came from; "
            "a proposal is known at its bar's close or later"
        )
    if n and not (table["action"].min() >= 0 and table["action"].max() <= max(Action)):
        i = int(np.flatnonzero((table["action"] < 0) | (table["action"] > max(Action)))[0])
        raise ProposalError(f"proposal row {i}: action {table['action'][i]} is not one of {[a.name.lower() for a in Action]}")
    _check_orders(table)
    if columns.get("row") is not None:
        table["row"] = np.ascontiguousarray(columns["row"], np.int64)
    table["available_ts"] = np.maximum(table["available_ts"], settings.start_us)
    end = int(tape.grid[-1]) if len(tape.grid) else settings.start_us - 1
    if n and table["available_ts"].max() > end:
        table = {name: column[table["available_ts"] <= end] for name, column in table.items()}
    table = _sorted_proposals(table)
    _refuse_twins(table, names, ids)
    table["row"] = _last_closed(table, tape)
    del table["sequence"]
    absent = {name: np.empty(0, dtype) for name, dtype in OPTIONAL_COLUMNS.items() if name not in table}
    return Proposals(**{name: _frozen(column) for name, column in (table | absent).items()})


def _check_orders(table: Mapping[str, NDArray[Any]]) -> None:
    """Refuse order types and times in force that there are not.  # R2.1"""
    for name, kind in (("order_type", OrderType), ("tif", TimeInForce)):
        wrong = np.flatnonzero((table[name] < 0) | (table[name] > max(kind)))
        if len(wrong):
            row = int(wrong[0])
            raise ProposalError(f"proposal row {row}: {name} {table[name][row]} is not one of {[one.name.lower() for one in kind]}")
    short = np.flatnonzero((table["tif"] == TimeInForce.BARS) & (table["tif_value"] < 1))
    if len(short):
        row = int(short[0])
        raise ProposalError(f"proposal row {row}: tif_value {table['tif_value'][row]} is not a number of bars; bars(n) has n from 1")


def _execution_series(dataset: Dataset, symbol: str, interval: str) -> Series:
    series = dataset.find("bars", symbol, interval)
    if series is None:
        known = sorted({s.name for s in dataset.series.get("bars", ()) if s.symbol == symbol})
        have = f"; it has {', '.join(known)}" if known else f"; the dataset has {', '.join(dataset.symbols[:8])}"
        raise DatasetError(f"no bars for {symbol}{f' at {interval}' if interval else ''}{have}")
    return series


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


def _sample_grid(ts: Ints, bars: Sequence[Series], first: Sequence[int], stop: Sequence[int]) -> tuple[Ints, Ints]:
    """The distinct closes of the run's bars, and for each symbol how far the rows with its times lie from its own.  # R5.3"""
    clock = np.zeros(len(bars), np.int64)
    base = [i for i in range(len(bars)) if stop[i] > first[i]]
    if not base:
        return _ints([]), _frozen(clock)
    longest = max(base, key=lambda i: stop[i] - first[i])
    grid = ts[first[longest] : stop[longest]]
    extra = []
    for i in base:
        closes = ts[first[i] : stop[i]]
        if i == longest or (len(closes) == len(grid) and np.array_equal(closes, grid)):
            clock[i] = first[longest] - first[i]
        else:
            extra.append(closes[grid[np.minimum(np.searchsorted(grid, closes), len(grid) - 1)] != closes])
    added = np.concatenate(extra) if extra else _ints([])
    return (grid if not len(added) else _frozen(np.unique(np.concatenate([grid, added])))), _frozen(clock)


def _both_sides(columns: Mapping[str, NDArray[Any]]) -> tuple[dict[str, Floats], NDArray[np.int8]]:
    """Bid and ask columns; trade prices stand on both sides where a bar has no quotes.  # R2.2"""
    if QUOTE_COLUMNS[0] not in columns:
        trade = {f"{side}_{price}": columns[price] for side in ("bid", "ask") for price in ("open", "high", "low", "close")}
        return trade, _frozen(np.empty(0, np.int8))
    complete = np.logical_and.reduce([np.isfinite(columns[name]) for name in QUOTE_COLUMNS])
    if complete.all():
        sides = {name: columns[name] for name in QUOTE_COLUMNS}
    else:
        sides = {name: _frozen(np.where(complete, columns[name], columns[name.split("_")[1]])) for name in QUOTE_COLUMNS}
    return sides, _frozen(complete.astype(np.int8))


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
    return _frozen(mark)


def _events(
    dataset: Dataset, kind: str, names: Sequence[str], instruments: Sequence[Instrument], end: int, n_symbols: int | None = None
) -> dict[str, NDArray[Any]]:
    columns = dataset.columns.get(kind)
    count = len(instruments) if n_symbols is None else n_symbols
    ranges = np.zeros((2, count), np.int64)
    if columns is None or not len(instruments):
        empty: dict[str, NDArray[Any]] = {name: _frozen(np.empty(0, column_dtype(kind, name))) for name in names}
    else:
        empty = {name: columns[name] for name in names}
        for i, instrument in enumerate(instruments):
            found = dataset.find(kind, instrument.symbol)
            if found is not None:
                past = found.start + int(np.searchsorted(columns["ts"][found.start : found.stop], end, "right"))
                ranges[:, i] = found.start, past
    return empty | {"first": _frozen(ranges[0].copy()), "stop": _frozen(ranges[1].copy())}


def _specs(dataset: Dataset, instruments: Sequence[Instrument], settings: Settings) -> NDArray[Any]:
    specs, tier = np.zeros(len(instruments), SPEC), 0
    groups = sorted({instrument.group for instrument in instruments} - {""})
    for spec, instrument in zip(specs, instruments, strict=True):
        spec["lot_units"], spec["lot_power"] = instrument.base_lot
        spec["multiplier"] = float(instrument.multiplier)
        spec["leverage"] = settings.leverage if instrument.leverage is None else instrument.leverage
        spec["tier_first"], spec["tier_stop"] = tier, tier + len(instrument.tiers)
        tier += len(instrument.tiers)
        spec["accounting"], spec["shortable"] = instrument.accounting, instrument.shortable
        if instrument.accounting == Accounting.LINEAR:
            spec["shortable"] = 1
        gap = settings.limit_gap
        spec["limit_gap"] = (LimitGap.OPEN if instrument.sessions else LimitGap.PRICE) if gap is None else gap
        spec["has_universe"] = dataset.find("universe", instrument.symbol) is not None
        spec["group"] = groups.index(instrument.group) if instrument.group else NONE
        series = dataset.find("bars", instrument.symbol, settings.interval)
        spec["interval_us"] = series.interval_us if series is not None else 0
    return _frozen(specs)


def _rules(instruments: Sequence[Instrument]) -> dict[str, NDArray[Any]]:
    """The exchange's rules of all symbols and times; those of an instrument itself are in force until its first dated ones."""
    ever = [Rules(-NEVER, one.tick, one.lot, one.min_qty, one.min_notional) for one in instruments]
    dated = [[before, *one.rules] for before, one in zip(ever, instruments, strict=True)]
    stops = np.cumsum([len(rows) for rows in dated])
    flat = [(one, row) for one, rows in zip(instruments, dated, strict=True) for row in rows]
    rules = np.zeros(len(flat), RULE)
    for rule, (instrument, row) in zip(rules, flat, strict=True):
        rule["tick_units"], rule["tick_power"] = row.tick
        rule["tick"], rule["lot"], rule["lot_step"] = float(row.tick), float(row.lot), instrument.lot_step(row.lot)
        rule["min_qty"], rule["min_notional"] = row.min_qty, row.min_notional
    return {
        "rule_ts": _ints([row.from_us for _, row in flat]),
        "rules": _frozen(rules),
        "rule_first": _ints([0, *stops[:-1]]),
        "rule_stop": _ints(list(stops)),
    }


def _check_actions(actions: Mapping[str, NDArray[Any]], instruments: Sequence[Instrument], start: int) -> None:
    """Refuse what cannot be replayed: a split that is no ratio, a dividend that is no amount, a second delisting.  # R8"""
    for i, instrument in enumerate(instruments):
        rows = {name: actions[name][actions["first"][i] : actions["stop"][i]] for name in COLUMNS["actions"]}
        terms = np.minimum(rows["num"], rows["den"]) < 1, np.maximum(rows["num"], rows["den"]) > MAX_TERM
        wrong = (rows["kind"] == ACTIONS.index("split")) & (terms[0] | terms[1])
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


_DEFAULTS: dict[str, float] = {"score": 0.0} | dict.fromkeys(
    ("stop_loss", "take_profit", "trailing", "break_even", "limit_price", "stop_price"), np.nan
)


def _proposal_column(name: str, columns: Mapping[str, Any], n: int) -> NDArray[Any]:
    given = columns.get("ts" if name == "available_ts" and columns.get(name) is None else name)
    if given is None:
        if name == "action":
            raise ProposalError(f"proposals: no column {name!r}")
        return np.arange(n, dtype=np.int64) if name == "sequence" else np.full(n, _DEFAULTS.get(name, 0), PROPOSAL_COLUMNS[name])
    return np.ascontiguousarray(given, dtype=PROPOSAL_COLUMNS[name])


def _codes(what: str, given: Any, names: Sequence[str], known: Sequence[str]) -> NDArray[np.int32]:
    """Numbers of the run's names for a column of names or of codes into ``names``."""
    array = np.asarray(given)
    if array.dtype.kind not in "iu":
        unique, array = np.unique(array.astype(str), return_inverse=True)
        names = unique.tolist()
    place = {name: i for i, name in enumerate(known)}
    table = np.array([*(place.get(name, NONE) for name in names), NONE], np.int32)
    outside = np.flatnonzero((array < 0) | (array >= len(names)))
    if len(outside):
        row = int(outside[0])
        raise ProposalError(f"proposal row {row}: {what} code {array[row]} names none of the {len(names)} given names; codes count from 0")
    codes: NDArray[np.int32] = table[array]
    if len(codes) and codes.min() < 0:
        row = int(np.flatnonzero(codes < 0)[0])
        raise ProposalError(f"proposal row {row}: {what} {names[int(array[row])]!r} is not of this run, which has {', '.join(known[:8])}")
    return codes


def _sorted_proposals(table: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    keys = (table["sequence"], table["strategy"], table["symbol"])
    if _is_sorted((*keys, table["available_ts"])):
        return table
    order = np.argsort(table["available_ts"], kind="stable") if _is_sorted(keys) else np.lexsort((*keys, table["available_ts"]))
    return {name: column[order] for name, column in table.items()}


def _refuse_twins(table: Mapping[str, NDArray[Any]], symbols: Sequence[str], strategies: Sequence[str]) -> None:
    """No two proposals have one place in the order.  # R1.5"""
    keys = ("sequence", "available_ts", "symbol", "strategy")
    same = np.logical_and.reduce([table[key][1:] == table[key][:-1] for key in keys])
    if same.any():
        i = int(np.argmax(same))
        raise ProposalError(
            f"two proposals of {strategies[table['strategy'][i]]} for {symbols[table['symbol'][i]]} are available at "
            f"{np.datetime64(int(table['available_ts'][i]), 'us')}Z with sequence {table['sequence'][i]}; number them, or leave sequence out"
        )


def _is_sorted(keys: Sequence[NDArray[Any]]) -> bool:
    if len(keys[0]) < 2:
        return True
    ordered = np.ones(len(keys[0]) - 1, bool)
    for key in keys:
        ordered = (key[1:] > key[:-1]) | ((key[1:] == key[:-1]) & ordered)
    return bool(ordered.all())


def _last_closed(table: Mapping[str, NDArray[Any]], tape: Tape) -> Ints:
    """Row of the last bar of each proposal's symbol that is closed when it is known; a given row is taken where it is that."""
    symbol, at = table["symbol"], table["available_ts"]
    given: Ints | None = table.get("row")
    if given is not None and len(given):
        ours = (given >= tape.oldest[symbol]) & (given < tape.stop[symbol])
        if ours.all() and (tape.ts[given] == at).all():
            return given
    found = np.empty(len(at), np.int64)
    for code in np.unique(symbol):
        mine = symbol == code
        start, stop = int(tape.oldest[code]), int(tape.stop[code])
        row = start + np.searchsorted(tape.ts[start:stop], at[mine], "right") - 1
        found[mine] = np.where(row >= start, row, NONE)
    return found


def _ints(values: Sequence[int]) -> Ints:
    return _frozen(np.asarray(values, np.int64))


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
