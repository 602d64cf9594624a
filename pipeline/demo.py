"""The built-in simulated market: ``demo://perps?symbols=20&days=365&interval=1h&seed=7``.

Owns the address and what is read off the paths of ``pipeline.simulation``.  One market factor and one factor of each symbol's own, both with
GARCH(1, 1) volatility and jumps, give a path of several steps a bar; candles, marks, funding, spreads, a late listing and a delisting come from there.
"""

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from numpy.typing import NDArray

from engine.dataset import ACTIONS, Dataset, DatasetError, from_columns, open_dataset
from engine.schema import DAY_US
from pipeline.simulation import FUNDING_US, HOUR_US, Draws, Factor, Floats, Grid, factor

Ints = NDArray[np.int64]

SCHEME = "demo://"
EXAMPLE = "demo://perps?symbols=20&days=365&interval=1h&seed=7"
START_US = 1_704_067_200_000_000  # 2024-01-01
MAX_BARS = 50_000_000

INTERVALS = {
    "1m": HOUR_US // 60,
    "5m": HOUR_US // 12,
    "15m": HOUR_US // 4,
    "30m": HOUR_US // 2,
    "1h": HOUR_US,
    "2h": 2 * HOUR_US,
    "4h": 4 * HOUR_US,
    "8h": 8 * HOUR_US,
    "12h": 12 * HOUR_US,
    "1d": DAY_US,
}
LIMITS = {"symbols": (1, 500), "days": (1, 3650), "seed": (0, 2**32 - 1)}
KEYS = ("symbols", "days", "interval", "seed")

SPELLING = """ALFA BRAVO CHARLIE DELTA ECHO FOXTROT GOLF HOTEL INDIA JULIETT KILO LIMA MIKE NOVEMBER OSCAR PAPA QUEBEC ROMEO SIERRA TANGO
UNIFORM VICTOR WHISKEY XRAY YANKEE ZULU"""
NAMES = SPELLING.split()

MARKET_VOL = 0.55  # a year
INTEREST = 0.0001  # of a funding rate, per 8 hours
RATE_DEADBAND = 0.0005
RATE_CAP = 0.0075
MIN_NOTIONAL = 5.0
NOTICE_US = 2 * DAY_US  # how long before its last bar a delisting is announced


@dataclass(frozen=True)
class DemoSpec:
    """What a ``demo://`` address asks for."""

    symbols: int = 20
    days: int = 365
    interval: str = "1h"
    seed: int = 7

    @property
    def interval_us(self) -> int:
        """Length of a bar."""
        return INTERVALS[self.interval]

    @property
    def bars(self) -> int:
        """Bars of a symbol that is listed throughout."""
        return self.days * DAY_US // self.interval_us


def parse(spec: str) -> DemoSpec:
    """Read an address; a key that is left out takes its default.

    >>> parse("demo://perps?symbols=3&days=10")
    DemoSpec(symbols=3, days=10, interval='1h', seed=7)

    Raises
    ------
    DatasetError
        Unknown market or key, a key given twice, or a value out of range.
    """
    if not spec.startswith(SCHEME):
        raise DatasetError(f"{spec!r} is not an address of simulated data; write {EXAMPLE}")
    address = urlsplit(spec.replace("[", "%5B"))
    if address.netloc != "perps" or address.path not in ("", "/") or address.fragment:
        raise DatasetError(f"{spec}: the only simulated market is 'perps'; write {EXAMPLE}")
    values: dict[str, Any] = {}
    for key, text in _pairs(spec, address.query):
        if key in values:
            raise DatasetError(f"{spec}: '{key}' is given twice; keep one")
        values[key] = _value(spec, key, text)
    demo = DemoSpec(**values)
    if demo.symbols * demo.bars > MAX_BARS:
        raise DatasetError(f"{spec}: {demo.symbols * demo.bars:,} bars; the limit is {MAX_BARS:,}: ask for fewer symbols or days")
    return demo


def _pairs(spec: str, query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise DatasetError(f"{spec}: {query!r} is not of the form key=value&key=value") from None


def _value(spec: str, key: str, text: str) -> int | str:
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, n=1)
        raise DatasetError(f"{spec}: unknown key '{key}'; " + (f"did you mean '{near[0]}'?" if near else f"known are {', '.join(KEYS)}"))
    if key == "interval":
        if text not in INTERVALS:
            near = difflib.get_close_matches(text.lower(), INTERVALS, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise DatasetError(f"{spec}: interval={text!r}; allowed are {', '.join(INTERVALS)}{hint}")
        return text
    low, high = LIMITS[key]
    if not re.fullmatch(r"[0-9]{1,12}", text) or not low <= int(text) <= high:
        raise DatasetError(f"{spec}: {key}={text!r}; a whole number from {low} to {high} is allowed")
    return int(text)


def open_data(address: str | Path, verify: bool = False) -> Dataset:
    """Market data as a config names them: a simulated market, or a dataset folder, checked against its hashes if ``verify``.

    Raises
    ------
    DatasetError
        The address or the folder cannot be read.
    """
    return build(str(address)) if str(address).startswith(SCHEME) else open_dataset(address, verify=verify)


def build(spec: str) -> Dataset:
    """Simulate the market an address names.

    Returns
    -------
    Dataset
        In memory; ``info`` says ``simulated`` and ``source``.

    Raises
    ------
    DatasetError
        The address cannot be read.
    """
    demo = parse(spec)
    grid = Grid.of(demo.interval_us, demo.days)
    market = factor(np.random.Philox(key=[demo.seed, 0]), grid, MARKET_VOL)
    tables: dict[str, dict[tuple[str, str, int], dict[str, Any]]] = {}
    instruments = {}
    for index in range(demo.symbols):
        symbol = _Symbol.draw(demo, grid, index)
        instruments[symbol.name] = symbol.instrument()
        for kind, columns in _history(demo, grid, symbol, market).items():
            key = (symbol.name, demo.interval, demo.interval_us) if kind in ("bars", "marks") else (symbol.name, "", 0)
            tables.setdefault(kind, {})[key] = columns
    return from_columns(tables, instruments, {"simulated": True, "source": spec})


@dataclass(frozen=True)
class _Symbol:
    """What is drawn once for a symbol."""

    name: str
    draws: Draws
    price: float
    decade: int
    beta: float
    vol: float
    spread_bps: float
    first_us: int
    last_us: int
    delisted: bool
    factor: Factor = field(repr=False)

    @classmethod
    def draw(cls, demo: DemoSpec, grid: Grid, index: int) -> "_Symbol":
        bits = np.random.Philox(key=[demo.seed, index + 1])
        draws = Draws(bits)
        decade = 4 - index if index < 3 else int(draws.one() * 5) - 2
        first_us, last_us = _life(demo, index)
        vol = 0.35 + 0.5 * draws.one()
        return cls(
            name=f"{NAMES[index % len(NAMES)]}{index // len(NAMES) + 1 if index >= len(NAMES) else ''}USDT",
            draws=draws,
            price=(1 + 8 * draws.one()) * 10 ** max(decade, 0) / 10 ** max(-decade, 0),
            decade=decade,
            beta=0.7 + 0.8 * draws.one(),
            vol=vol,
            spread_bps=1 + 3 * draws.one(),
            first_us=first_us,
            last_us=last_us,
            delisted=last_us < START_US + demo.days * DAY_US,
            factor=factor(bits, grid, vol),
        )

    @property
    def power(self) -> int:
        """Ticks in one unit of price."""
        return int(10 ** max(0, 5 - self.decade))

    def instrument(self) -> dict[str, Any]:
        """The symbol's rules, of the size an exchange would set."""
        lot = f"{1 / 10 ** max(0, self.decade):.{max(0, self.decade)}f}"
        tick = f"{1 / self.power:.{max(0, 5 - self.decade)}f}"
        return {"kind": "linear_perp", "tick": tick, "lot": lot, "multiplier": "1", "min_qty": float(lot), "min_notional": MIN_NOTIONAL}


def _life(demo: DemoSpec, index: int) -> tuple[int, int]:
    """From when to when a symbol trades: the last but one lists late, the last is delisted, where there are three and four days to do it in."""
    first, last = 0, demo.days
    if demo.symbols >= 3 and demo.days >= 4:
        first = demo.days * 3 // 10 if index == demo.symbols - 2 else first
        last = demo.days * 3 // 4 if index == demo.symbols - 1 else last
    return START_US + first * DAY_US, START_US + last * DAY_US


def _history(demo: DemoSpec, grid: Grid, symbol: _Symbol, market: Factor) -> dict[str, dict[str, Any]]:
    returns = np.clip(symbol.beta * market.returns + symbol.factor.returns, -0.5, 0.5)
    levels = np.concatenate(([1.0], np.cumprod(1 + returns))) * symbol.price
    path = np.maximum(np.rint(levels * symbol.power), 2).astype(np.int64)
    bars = _bars(demo, grid, symbol, path)
    settled, premium = _premium(grid, symbol, path)
    tables = {
        "bars": bars,
        "marks": _marks(symbol, bars, np.interp(bars["ts"], settled, premium)),
        "funding": _funding(grid, symbol, path, settled, premium),
        "spread": _spread(grid, symbol, path, market),
        "universe": _universe(symbol),
    }
    if symbol.delisted:
        tables["actions"] = {"ts": [symbol.last_us], "kind": [ACTIONS.index("delist")], "value": [0.0], "num": [0], "den": [0]}
    return tables


def _bars(demo: DemoSpec, grid: Grid, symbol: _Symbol, path: Ints) -> dict[str, Any]:
    n = demo.bars
    inside = path[1:].reshape(n, grid.steps_per_bar)
    gap = (symbol.draws.uniform(n) * 5).astype(np.int64)  # a third of the opens is a tick from the last close
    opened = path[:-1].reshape(n, grid.steps_per_bar)[:, 0] + np.where(gap == 0, -1, np.where(gap == 1, 1, 0))
    low, high = np.minimum(inside.min(axis=1), opened), np.maximum(inside.max(axis=1), opened)
    lots = 10 ** max(0, symbol.decade)
    activity = (high - low) / np.maximum(opened, 1) * (0.5 + symbol.draws.uniform(n)) * 2e8 * np.sqrt(demo.interval_us / HOUR_US)
    volume = np.rint(activity / symbol.price * lots) / lots
    ts = START_US + demo.interval_us * np.arange(1, n + 1, dtype=np.int64)
    listed = (ts > symbol.first_us) & (ts <= symbol.last_us)
    prices = {name: ticks / symbol.power for name, ticks in (("open", opened), ("high", high), ("low", low), ("close", inside[:, -1]))}
    columns = {"open_ts": ts - demo.interval_us, "ts": ts, **prices, "volume": volume}
    return {name: column[listed] for name, column in columns.items()}


def _premium(grid: Grid, symbol: _Symbol, path: Ints) -> tuple[Ints, Floats]:
    """Times of settlement and the premium of the perpetual over its index there: it follows the last returns and fades."""
    at = path[:: grid.steps_per_funding]
    change = at[1:] / at[:-1] - 1
    noise = symbol.draws.normal(len(change))
    premium, out = 0.0, []
    for moved, drawn in zip(change.tolist(), noise.tolist(), strict=True):
        premium = 0.8 * premium + 0.01 * moved + 0.0001 * drawn
        out.append(premium)
    return START_US + FUNDING_US * np.arange(1, len(at), dtype=np.int64), np.array(out)


def _funding(grid: Grid, symbol: _Symbol, path: Ints, ts: Ints, premium: Floats) -> dict[str, Any]:
    rate = np.clip(premium + np.clip(INTEREST - premium, -RATE_DEADBAND, RATE_DEADBAND), -RATE_CAP, RATE_CAP)
    price = path[grid.steps_per_funding :: grid.steps_per_funding] / symbol.power
    listed = (ts > symbol.first_us) & (ts <= symbol.last_us)
    columns = {"ts": ts, "rate": np.rint(rate * 1e8) / 1e8, "mark": _mark(symbol, price, premium)}
    return {name: column[listed] for name, column in columns.items()}


def _marks(symbol: _Symbol, bars: dict[str, Any], premium: Floats) -> dict[str, Any]:
    prices = {name: _mark(symbol, bars[name], premium) for name in ("open", "high", "low", "close")}
    return {"open_ts": bars["open_ts"], "ts": bars["ts"], **prices}


def _mark(symbol: _Symbol, price: Floats, premium: Floats) -> Floats:
    """The price without half of its premium, a hundred times finer than the tick."""
    power = 100.0 * symbol.power
    return np.asarray(np.rint(price * (1 - 0.5 * premium) * power) / power, dtype=np.float64)


def _spread(grid: Grid, symbol: _Symbol, path: Ints, market: Factor) -> dict[str, Any]:
    own, shared = symbol.vol, symbol.beta * MARKET_VOL
    variance = (own * symbol.factor.volatility) ** 2 + (shared * market.volatility) ** 2
    tension = np.concatenate(([1.0], variance / (own * own + shared * shared)))
    mid = path[:: grid.steps_per_block]
    drawn = 0.75 + 0.5 * symbol.draws.uniform(len(mid))
    width = np.maximum(np.rint(mid * symbol.spread_bps * 1e-4 * tension * drawn), 1).astype(np.int64)
    bid = np.maximum(mid - width // 2, 1)
    ts = START_US + grid.step_us * grid.steps_per_block * np.arange(len(mid), dtype=np.int64)
    listed = (ts >= symbol.first_us) & (ts <= symbol.last_us)
    columns = {"ts": ts, "bid": bid / symbol.power, "ask": (bid + width) / symbol.power}
    return {name: column[listed] for name, column in columns.items()}


def _universe(symbol: _Symbol) -> dict[str, Any]:
    if not symbol.delisted:
        return {"ts": [symbol.first_us], "listed": [1]}
    announced = symbol.last_us - NOTICE_US if symbol.last_us - symbol.first_us > 2 * NOTICE_US else symbol.last_us
    return {"ts": [symbol.first_us, announced], "listed": [1, 0]}
