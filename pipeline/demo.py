"""The built-in simulated market: ``demo://perps?symbols=20&days=365&interval=1h&seed=7``.

Owns the address and the model.  One market factor and one factor of each symbol's own, both with GARCH(1, 1) volatility and jumps, give a path of
several steps a bar; candles, marks, funding, spreads, a late listing and a delisting are read off that path.

Draws come from raw Philox counters and only ``+ - * / sqrt rint`` follow, so an address names the same bytes under every version of NumPy.
"""

import difflib
import math
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from numpy.typing import NDArray

from engine.dataset import ACTIONS, Dataset, DatasetError, from_columns
from engine.schema import DAY_US

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SCHEME = "demo://"
EXAMPLE = "demo://perps?symbols=20&days=365&interval=1h&seed=7"
START_US = 1_704_067_200_000_000  # 2024-01-01
HOUR_US = 3_600_000_000
FUNDING_US = 8 * HOUR_US
YEAR_US = 365 * DAY_US
STEPS_PER_BAR = 8
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
ALPHA, BETA = 0.09, 0.895  # GARCH, in blocks of an hour or a bar, whichever is longer
MAX_VARIANCE = 25.0  # relative to the long run
JUMPS_PER_YEAR = 8.0
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
    grid = _Grid.of(demo)
    market = _factor(np.random.Philox(key=[demo.seed, 0]), grid, MARKET_VOL)
    tables: dict[str, dict[tuple[str, str, int], dict[str, Any]]] = {}
    instruments = {}
    for index in range(demo.symbols):
        symbol = _Symbol.draw(demo, grid, index)
        instruments[symbol.name] = symbol.instrument()
        for kind, columns in _history(demo, grid, symbol, market).items():
            key = (symbol.name, demo.interval, demo.interval_us) if kind in ("bars", "marks") else (symbol.name, "", 0)
            tables.setdefault(kind, {})[key] = columns
    return from_columns(tables, instruments, {"simulated": True, "source": spec})


class _Draws:
    """Uniform and bell-shaped draws with a stream of their own: NumPy promises the raw bits, not what its distributions make of them."""

    def __init__(self, bits: np.random.Philox) -> None:
        self._bits = bits

    def uniform(self, n: int) -> Floats:
        return (self._raw(n) >> np.uint64(11)).astype(np.float64) / 2**53

    def normal(self, n: int) -> Floats:
        """Sums of four 16-bit words, mean 0 and deviation 1: bounded at 3.5, the fat tails come from volatility and jumps."""
        words = self._raw(n).view(np.uint16).astype(np.int32)
        total = words[0::4] + words[1::4] + words[2::4] + words[3::4]
        return np.asarray((total - 2.0 * 65_535) / math.sqrt((65_536.0**2 - 1) / 3), dtype=np.float64)

    def one(self) -> float:
        return float(self.uniform(1)[0])

    def _raw(self, n: int) -> NDArray[np.uint64]:
        return np.asarray(self._bits.random_raw(n), dtype=np.uint64)


class _Grid(NamedTuple):
    """How time is cut: steps of the path, blocks of one volatility, and funding periods."""

    step_us: int
    steps: int
    steps_per_bar: int
    steps_per_block: int
    steps_per_funding: int

    @classmethod
    def of(cls, demo: DemoSpec) -> "_Grid":
        step_us = min(demo.interval_us // STEPS_PER_BAR, HOUR_US)
        block_us = max(demo.interval_us, HOUR_US)
        return cls(step_us, demo.days * DAY_US // step_us, demo.interval_us // step_us, block_us // step_us, FUNDING_US // step_us)


class _Factor(NamedTuple):
    """Returns of the steps, and the volatility of the blocks relative to the long run."""

    returns: Floats
    volatility: Floats


@dataclass(frozen=True)
class _Symbol:
    """What is drawn once for a symbol."""

    name: str
    draws: _Draws
    price: float
    decade: int
    beta: float
    vol: float
    spread_bps: float
    first_us: int
    last_us: int
    delisted: bool
    factor: _Factor = field(repr=False)

    @classmethod
    def draw(cls, demo: DemoSpec, grid: _Grid, index: int) -> "_Symbol":
        bits = np.random.Philox(key=[demo.seed, index + 1])
        draws = _Draws(bits)
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
            factor=_factor(bits, grid, vol),
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


def _factor(bits: np.random.Philox, grid: _Grid, vol: float) -> _Factor:
    draws = _Draws(bits)
    shocks = draws.normal(grid.steps)
    block = grid.steps_per_block
    volatility = _volatility(shocks.reshape(-1, block).sum(axis=1) / np.sqrt(block))
    years = grid.step_us / YEAR_US
    returns = shocks * np.repeat(volatility, block) * (vol * np.sqrt(years))
    return _Factor(returns + 0.5 * vol * vol * years + _jumps(draws, grid, years), volatility)


def _volatility(shocks: Floats) -> Floats:
    """GARCH(1, 1) deviation before each shock, relative to the long run (Bollerslev 1986, Journal of Econometrics 31)."""
    variance, out = 1.0, []
    for square in (shocks * shocks).tolist():
        out.append(variance)
        variance = min(1 - ALPHA - BETA + variance * (ALPHA * square + BETA), MAX_VARIANCE)
    return np.sqrt(np.array(out, dtype=np.float64))


def _jumps(draws: _Draws, grid: _Grid, years: float) -> Floats:
    size = draws.uniform(grid.steps)
    jump = (0.015 + 0.05 * size) * np.where(size * 1024 % 2 < 1, 1.0, -1.0)
    return np.where(draws.uniform(grid.steps) < JUMPS_PER_YEAR * years, jump, 0.0)


def _history(demo: DemoSpec, grid: _Grid, symbol: _Symbol, market: _Factor) -> dict[str, dict[str, Any]]:
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


def _bars(demo: DemoSpec, grid: _Grid, symbol: _Symbol, path: Ints) -> dict[str, Any]:
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


def _premium(grid: _Grid, symbol: _Symbol, path: Ints) -> tuple[Ints, Floats]:
    """Times of settlement and the premium of the perpetual over its index there: it follows the last returns and fades."""
    at = path[:: grid.steps_per_funding]
    change = at[1:] / at[:-1] - 1
    noise = symbol.draws.normal(len(change))
    premium, out = 0.0, []
    for moved, drawn in zip(change.tolist(), noise.tolist(), strict=True):
        premium = 0.8 * premium + 0.01 * moved + 0.0001 * drawn
        out.append(premium)
    return START_US + FUNDING_US * np.arange(1, len(at), dtype=np.int64), np.array(out)


def _funding(grid: _Grid, symbol: _Symbol, path: Ints, ts: Ints, premium: Floats) -> dict[str, Any]:
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


def _spread(grid: _Grid, symbol: _Symbol, path: Ints, market: _Factor) -> dict[str, Any]:
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
