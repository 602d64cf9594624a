"""Random small markets for differential tests: a dataset, proposals and settings from one seed.

The cases look for trouble, not for realism: prices lie on coarse grids so that levels are touched exactly, times
collide, data have holes, and most settings are drawn from values that bind.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from engine.dataset import QUOTE_COLUMNS, Dataset, from_columns, interval_name
from engine.instrument import Decimals, Instrument
from engine.schema import NEVER, Action, Intrabar, LevelKind, LimitGap, SizeKind, Slippage, Timing
from engine.settings import UNLIMITED, Settings, StrategySettings

MINUTE = 60_000_000
QUARTER, HOUR, FOUR_HOURS, DAY = 15 * MINUTE, 60 * MINUTE, 240 * MINUTE, 1440 * MINUTE
EPOCH = 1_704_067_200_000_000  # 2024-01-01
SYMBOLS = ("AAA", "BBB", "Ba", "aaa", "ÄÖ", "ZZ9", "M-1", "b")  # by code point not in this order
STRATEGIES = ("trend", "Breakout", "mr")

Columns = dict[str, Any]
Tables = dict[str, dict[tuple[str, str, int], Columns]]


class _Habits(NamedTuple):
    """How often the proposals of a case do what."""

    exits: float
    longs: float
    levels: float
    fractions: bool
    max_bars: float


class Case(NamedTuple):
    """One differential test."""

    dataset: Dataset
    proposals: dict[str, list[Any]]
    settings: Settings


class _Symbol(NamedTuple):
    """One symbol's bars and what was drawn for it."""

    name: str
    interval: int
    tick: float  # of the prices
    instrument: Instrument
    bars: Columns


def random_case(seed: int) -> Case:
    """The case of a seed; equal seeds give equal cases."""
    rng = np.random.default_rng(seed)
    begin = EPOCH + int(rng.integers(0, 30)) * HOUR
    span, intervals = _spans(rng)
    names = rng.permutation(SYMBOLS)[: rng.integers(1, 7) if _chance(rng, 0.8) else 1].tolist()
    symbols = [_symbol(rng, name, int(rng.choice(intervals)), begin, span) for name in names]
    tables: Tables = {"bars": {}}
    for symbol in symbols:
        tables["bars"][_series(symbol)] = symbol.bars
    _quotes(rng, tables, symbols)
    for symbol in symbols:
        _extras(rng, tables, symbol, begin, span)
    settings = _settings(rng, symbols, begin, span)
    traded = [symbol for symbol in symbols if symbol.instrument in settings.instruments]
    return Case(from_columns(tables), _proposals(rng, traded, settings, begin, span), settings)


def _chance(rng: Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def _pick(rng: Generator, *options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def _spans(rng: Generator) -> tuple[int, tuple[int, ...]]:
    """Length of the data and the intervals that its symbols may have."""
    intervals = _pick(rng, (HOUR,), (HOUR,), (HOUR,), (QUARTER, HOUR), (HOUR, FOUR_HOURS), (QUARTER, HOUR, FOUR_HOURS), (FOUR_HOURS, DAY))
    bars = int(rng.integers(20, 201 if _chance(rng, 0.15) else 61))
    return bars * min(intervals), intervals


# bars


def _symbol(rng: Generator, name: str, interval: int, begin: int, span: int) -> _Symbol:
    tick = _pick(rng, "0.01", "0.1", "0.5", "1", "0.05", "2.5")
    bars = _bars(rng, interval, begin, span, float(tick) * _pick(rng, 1, 1, 1, 1, 0.5, 0.37))
    instrument = Instrument(
        name,
        kind=_pick(rng, "linear_perp", "linear_perp", "linear_perp", "fx", "spot", "equity"),
        tick=Decimals.parse(tick),
        lot=Decimals.parse(_pick(rng, "1", "0.1", "0.001", "10", "0.05")),
        multiplier=Decimals.parse(_pick(rng, "1", "1", "1", "0.01", "10", "0.3")),
        min_qty=_pick(rng, 0.0, 0.0, 0.3, 5.0),
        min_notional=_pick(rng, 0.0, 0.0, 5.0, 300.0),
        shortable=_chance(rng, 0.5),
        sessions=_chance(rng, 0.3),
    )
    return _Symbol(name, interval, float(tick), instrument, bars)


def _bars(rng: Generator, interval: int, begin: int, span: int, step: float) -> Columns:
    offset = _pick(rng, 0, 0, 0, 0, 0, 0, 7 * MINUTE, interval // 2)
    open_ts = np.arange(begin + offset, begin + span, interval, dtype=np.int64)
    ts = open_ts + interval
    if _chance(rng, 0.15):  # bars that start late
        open_ts += np.where(rng.random(len(ts)) < 0.3, interval // 3, 0)
    keep = rng.random(len(ts)) >= _pick(rng, 0.0, 0.0, 0.05, 0.3)
    first = int(rng.integers(0, max(1, len(ts) // 2))) if _chance(rng, 0.2) else 0  # listed late
    last = int(rng.integers(first, len(ts))) if _chance(rng, 0.2) else len(ts) - 1  # ends early
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
    width = int(_pick(rng, 1, 3, 8))
    moves = rng.integers(-width, width + 1, rows)
    gaps = np.where(rng.random(rows) < _pick(rng, 0.0, 0.2, 0.6), rng.integers(-2 * width, 2 * width + 1, rows), 0)
    close = int(_pick(rng, 30, 100, 100, 400)) + np.cumsum(moves + gaps)
    close = np.abs(close - 10) + 10
    opening = np.maximum(np.concatenate([close[:1], close[:-1]]) + gaps, 8)
    high = np.maximum(opening, close) + rng.integers(0, width + 1, rows)
    low = np.maximum(np.minimum(opening, close) - rng.integers(0, width + 1, rows), 5)
    return opening.astype(float), high.astype(float), low.astype(float), close.astype(float)


def _series(symbol: _Symbol) -> tuple[str, str, int]:
    return (symbol.name, interval_name(symbol.interval), symbol.interval)


def _quotes(rng: Generator, tables: Tables, symbols: list[_Symbol]) -> None:
    """Bid and ask candles for some symbols, with holes."""
    if not _chance(rng, 0.35):
        return
    for symbol in symbols:
        rows, quoted = len(symbol.bars["ts"]), _chance(rng, 0.6)
        missing = rng.random(rows) < (_pick(rng, 0.0, 0.0, 0.2) if quoted else 1.1)
        aside = {"bid": -rng.integers(0, 3, rows), "ask": rng.integers(0, 3, rows)}
        for name in QUOTE_COLUMNS:
            side, price = name.split("_")
            symbol.bars[name] = np.where(missing, np.nan, symbol.bars[price] + aside[side] * _step(symbol))


def _step(symbol: _Symbol) -> float:
    """Less than a fifth of the lowest price."""
    return min(symbol.tick, float(symbol.bars["low"].min()) / 5)


# everything else in the dataset


def _extras(rng: Generator, tables: Tables, symbol: _Symbol, begin: int, span: int) -> None:
    key = (symbol.name, "", 0)
    if _chance(rng, 0.3):
        _put(tables, "marks", _series(symbol), _marks(rng, symbol))
    if _chance(rng, 0.6):
        _put(tables, "funding", key, _funding(rng, symbol, begin, span))
    if _chance(rng, 0.5):
        _put(tables, "spread", key, _spread(rng, symbol, begin, span))
    if _chance(rng, 0.25):
        _put(tables, "universe", key, _universe(rng, symbol, begin))
    if _chance(rng, 0.25):
        _put(tables, "actions", key, _actions(rng, symbol))


def _put(tables: Tables, kind: str, key: tuple[str, str, int], columns: Columns) -> None:
    if len(columns["ts"]):
        tables.setdefault(kind, {})[key] = columns


def _marks(rng: Generator, symbol: _Symbol) -> Columns:
    keep = rng.random(len(symbol.bars["ts"])) < _pick(rng, 1.0, 0.7)
    marks = {name: symbol.bars[name][keep] for name in ("open_ts", "ts", "open", "high", "low", "close")}
    marks["close"] = marks["close"] + rng.integers(-2, 3, int(keep.sum())) * _step(symbol)
    return marks


def _funding(rng: Generator, symbol: _Symbol, begin: int, span: int) -> Columns:
    every = int(_pick(rng, HOUR, 2 * HOUR, 8 * HOUR))
    ts = np.arange(begin, begin + span + 1, every, dtype=np.int64) + int(_pick(rng, 0, 0, 0, 13 * MINUTE))
    ts = ts[rng.random(len(ts)) < _pick(rng, 1.0, 0.7)]
    rate = rng.integers(-5, 8, len(ts)) * float(_pick(rng, 0.0001, 0.00123, 0.01))
    price = float(symbol.bars["close"][0]) + rng.integers(-2, 3, len(ts)) * _step(symbol)
    return {"ts": ts, "rate": rate, "mark": np.where(rng.random(len(ts)) < 0.4, np.nan, price)}


def _spread(rng: Generator, symbol: _Symbol, begin: int, span: int) -> Columns:
    count = int(rng.integers(1, 40))
    ts = begin + rng.integers(0, span // (5 * MINUTE) + 1, count) * 5 * MINUTE
    on_bars = rng.random(count) < 0.5
    ts = np.where(on_bars, rng.choice(symbol.bars["ts"], count), ts)
    ts = np.sort(np.concatenate([ts, ts[: count // 4]]))
    bid = float(symbol.bars["close"][0]) * np.ones(len(ts))
    return {"ts": ts, "bid": bid, "ask": bid * (1 + rng.integers(0, 60, len(ts)) / 10000)}


def _universe(rng: Generator, symbol: _Symbol, begin: int) -> Columns:
    """Exits and entries; mostly listed from the beginning on."""
    count = min(len(symbol.bars["ts"]), int(rng.integers(1, 5)))
    ts = np.sort(rng.choice(symbol.bars["ts"], count, replace=False)) + int(_pick(rng, 0, 0, 3 * MINUTE))
    listed = (np.arange(count) + int(rng.integers(0, 2))) % 2
    if _chance(rng, 0.2):
        listed[-1] = listed[max(0, count - 2)]  # says again what is known
    if _chance(rng, 0.8):
        ts, listed = np.concatenate([[begin - HOUR], ts]), np.concatenate([[1], listed])
    return {"ts": ts, "listed": listed}


def _actions(rng: Generator, symbol: _Symbol) -> Columns:
    """A dividend, and a delisting that no bar follows."""
    bars = symbol.bars
    ts, kind = [int(rng.choice(bars["ts"]))], [1]
    after = int(bars["ts"][-1]) + int(_pick(rng, 0, 0, 5 * MINUTE, symbol.interval, 3 * symbol.interval))
    if _chance(rng, 0.7):
        ts, kind = ([*ts, after], [*kind, 2]) if after > ts[0] else ([after], [2])
    zeros = [0] * len(ts)
    return {"ts": ts, "kind": kind, "value": [0.5 if one == 1 else 0.0 for one in kind], "num": zeros, "den": zeros}


# settings


def _settings(rng: Generator, symbols: list[_Symbol], begin: int, span: int) -> Settings:
    start = begin + int(rng.integers(0, 1 + span // (3 * QUARTER))) * QUARTER if _chance(rng, 0.5) else begin
    end = begin + span + DAY if _chance(rng, 0.5) else begin + span - int(rng.integers(0, 1 + span // (3 * QUARTER))) * QUARTER
    traded = [symbol.instrument for symbol in symbols if _chance(rng, 0.95)] or [symbols[0].instrument]
    timing = _pick(rng, Timing.NEXT_OPEN, Timing.NEXT_OPEN, Timing.NEXT_OPEN, Timing.CLOSE, Timing.NEXT_CLOSE)
    slow = timing != Timing.CLOSE and _chance(rng, 0.25)
    cash, decimals = int(_pick(rng, 1_000, 10_000, 1_000_000)), int(_pick(rng, 0, 2, 6))
    leverage = float(_pick(rng, 1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 10.0, 20.0))
    chosen: dict[str, Any] = {
        "leverage": leverage,
        "start_us": start,
        "end_us": end,
        "cash": cash * 10**decimals,
        "instruments": tuple(traded),
        "strategies": _strategies(rng, symbols, cash, leverage),
        "decimals": decimals,
        "timing": timing,
        "latency_us": int(_pick(rng, 1, 20 * MINUTE, 2 * HOUR)) if slow else 0,
        "intrabar": Intrabar(int(rng.integers(0, 5))),
        "limit_gap": _pick(rng, None, None, LimitGap.PRICE, LimitGap.OPEN),
    }
    return Settings(**chosen, **_costs(rng), **_limits(rng), **_ends(rng))


def _strategies(rng: Generator, symbols: list[_Symbol], cash: int, leverage: float) -> tuple[StrategySettings, ...]:
    count = int(_pick(rng, 1, 1, 2, 3))
    strategies = []
    for name in rng.permutation(STRATEGIES)[:count].tolist():
        size = SizeKind(int(rng.integers(0, 5)))
        budget = float(_pick(rng, 1.0, 0.5, 0.3333, 0.7))
        strategies.append(StrategySettings(name, budget, size, _amount(rng, size, symbols, cash, leverage)))
    return tuple(strategies)


def _amount(rng: Generator, size: SizeKind, symbols: list[_Symbol], cash: int, leverage: float) -> float:
    share = float(_pick(rng, 0.03, 0.1, 0.1, 0.25, 0.3, 0.8, 0.9 * leverage, 2.0 * leverage))
    if size == SizeKind.FIXED_QTY:
        first = symbols[0]
        quantity = cash * share / (float(first.bars["close"][0]) * float(first.instrument.multiplier))
        return float(
            _pick(rng, quantity, quantity, round(quantity, 1), round(quantity, 1), round(quantity) + 1.0, _pick(rng, 0.0, -1.0, math.nan))
        )
    if size == SizeKind.FIXED_NOTIONAL:
        return share * cash
    return share / 10 if size == SizeKind.FIXED_RISK else share


def _costs(rng: Generator) -> dict[str, Any]:
    slippage = Slippage(int(rng.integers(0, 3)))
    amount = {Slippage.NONE: 0.0, Slippage.BPS: _pick(rng, 1.0, 7.5, 40.0), Slippage.SPREAD: _pick(rng, 0.0, 1.5, 3.0)}[slippage]
    return {
        "slippage": slippage,
        "slippage_amount": float(amount),
        "spread_events": _chance(rng, 0.8),
        "default_spread_bps": float(_pick(rng, 0.0, 0.0, 3.0, 25.0)),
        "maker_bps": float(_pick(rng, 0.0, 2.0, -1.0)),
        "taker_bps": float(_pick(rng, 0.0, 5.0, 4.5, 30.0)),
        "per_unit": float(_pick(rng, 0.0, 0.0, 0.005, 0.013)),
    }


def _limits(rng: Generator) -> dict[str, Any]:
    """Limits and halts: each case draws how many of them bind."""
    binding = float(_pick(rng, 0.05, 0.2, 0.6))

    def maybe(unlimited: Any, *options: Any) -> Any:
        return _pick(rng, *options) if _chance(rng, binding) else unlimited

    return {
        "max_positions": int(maybe(UNLIMITED, 0, 1, 1, 2, 3)),
        "min_score": float(maybe(-math.inf, 0.5, 0.0)),
        "reuse_pending_exit": _chance(rng, 0.3),
        "cash_buffer": float(maybe(0.0, 0.02, 0.3)),
        "max_position": float(maybe(math.inf, 0.1, 0.25, 1.0)),
        "max_gross": float(maybe(math.inf, 0.3, 1.0, 2.0)),
        "max_net": float(maybe(math.inf, 0.2, 0.7)),
        "clip": _chance(rng, 0.7),
        "drawdown_halt": float(maybe(math.inf, 0.01, 0.05, 0.2)),
        "resume_after_us": int(_pick(rng, NEVER, HOUR, 5 * HOUR, 26 * HOUR)),
        "daily_loss_halt": float(maybe(math.inf, 0.005, 0.02, 0.1)),
    }


def _ends(rng: Generator) -> dict[str, Any]:
    return {
        "close_on_leave": _chance(rng, 0.7),
        "delist_haircut": float(_pick(rng, 0.0, 0.0, 0.1, 0.333)),
        "finalize_close": _chance(rng, 0.7),
    }


# proposals


def _proposals(rng: Generator, symbols: list[_Symbol], settings: Settings, begin: int, span: int) -> dict[str, list[Any]]:
    rows: list[dict[str, Any]] = []
    habits = _Habits(
        _pick(rng, 0.0, 0.1, 0.4), _pick(rng, 0.95, 0.05, 0.5), _pick(rng, 0.0, 0.3, 0.8), _chance(rng, 0.3), _pick(rng, 0.0, 0.3)
    )
    moments = _moments(rng, symbols, begin, span)
    for _ in range(int(_pick(rng, 3, 15, 40, 80))):
        symbol = _pick(rng, *symbols)
        ts = int(rng.choice(moments)) if _chance(rng, 0.25) else int(rng.choice(symbol.bars["ts"]))
        rows.append(_proposal(rng, symbol, settings, ts, habits))
        if _chance(rng, 0.05):  # the same again, with other levels or a higher score
            rows.append(_proposal(rng, symbol, settings, ts, habits) | {"action": rows[-1]["action"]})
    for _ in range(int(_pick(rng, 0, 0, 1, 3))):
        rows += _run_of(rng, _pick(rng, *symbols), settings, habits)
    order = rng.permutation(len(rows)).tolist()
    if _chance(rng, 0.6):
        for sequence, row in enumerate(rows):
            row["sequence"] = sequence if _chance(rng, 0.9) else sequence + 1000
    given = [name for name in rows[0] if not (name in OPTIONAL and _chance(rng, 0.05))]
    return {name: [rows[place][name] for place in order] for name in given}


OPTIONAL = ("available_ts", "score", "stop_loss", "take_profit", "trailing", "max_bars")


def _moments(rng: Generator, symbols: list[_Symbol], begin: int, span: int) -> list[int]:
    """A few instants at which proposals crowd: closes, and times at which nothing else happens."""
    closes = rng.choice(np.concatenate([symbol.bars["ts"] for symbol in symbols]), int(rng.integers(1, 8))).tolist()
    odd = begin + int(rng.integers(-60, span // MINUTE + 120)) * MINUTE
    return [*closes, odd]


def _run_of(rng: Generator, symbol: _Symbol, settings: Settings, habits: _Habits) -> list[dict[str, Any]]:
    """The same proposal at every close of a stretch, as a rule that stays true makes it."""
    closes = symbol.bars["ts"].tolist()
    first = int(rng.integers(0, len(closes)))
    model = _proposal(rng, symbol, settings, closes[first], habits)
    return [model | {"ts": ts, "available_ts": ts} for ts in closes[first : first + int(rng.integers(2, 25))]]


def _proposal(rng: Generator, symbol: _Symbol, settings: Settings, ts: int, habits: _Habits) -> dict[str, Any]:
    action = _pick(rng, Action.EXIT, Action.EXIT_LONG, Action.EXIT_SHORT)
    if not _chance(rng, habits.exits):
        action = Action.ENTER_LONG if _chance(rng, habits.longs) else Action.ENTER_SHORT
    side = 1 if action == Action.ENTER_LONG else -1
    place = max(0, int(np.searchsorted(symbol.bars["ts"], ts, side="right")) - 1)
    price = float(symbol.bars["close"][place])
    late = int(rng.integers(0, 4 * symbol.interval // MINUTE)) * MINUTE if _chance(rng, 0.1) else 0
    row = {
        "ts": ts,
        "available_ts": ts + late,
        "symbol": symbol.name,
        "strategy": _pick(rng, *settings.strategies).id,
        "action": int(action),
        "score": float(_pick(rng, 0.0, -0.0, 0.5, 1.0, 1.0, 2.0, -1.0, math.nan if _chance(rng, 0.3) else 3.0)),
        "max_bars": int(_pick(rng, 1, 2, 3, 10)) if _chance(rng, habits.max_bars) else 0,
    }
    risky = any(one.size == SizeKind.FIXED_RISK and one.id == row["strategy"] for one in settings.strategies)
    row |= _level(rng, "stop_loss", symbol, price, -side, 0.9 if risky else habits.levels, habits)
    row |= _level(rng, "take_profit", symbol, price, side, habits.levels, habits)
    return row | _level(rng, "trailing", symbol, 0.0, 1, habits.levels / 2, habits)


def _level(rng: Generator, name: str, symbol: _Symbol, price: float, direction: int, share: float, habits: _Habits) -> dict[str, Any]:
    """A level some ticks (now and then on the wrong side) or a fraction away."""
    kind, value = LevelKind.PRICE, math.nan
    if _chance(rng, share):
        steps = float(_pick(rng, 1, 2, 3, 5, 8, 15, 0.4))
        wrong = -1 if name != "trailing" and _chance(rng, 0.06) else 1
        value = price + wrong * direction * steps * symbol.tick
        if habits.fractions and _chance(rng, 0.8):
            kind, value = LevelKind.FRACTION, float(_pick(rng, 0.005, 0.01, 0.02, 0.05, 0.1, 0.03))
    return {name: value, f"{name}_kind": int(kind)}
