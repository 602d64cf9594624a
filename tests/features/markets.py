"""Small datasets in memory."""

import numpy as np

from engine.dataset import Dataset, from_columns

MINUTE = 60_000_000


def columns(close, open_=None, high=None, low=None, volume=None, ts=None, spread=0.0):
    """Bars of one symbol from closes."""
    close = np.asarray(close, float)
    start = np.r_[close[:1], close[:-1]] if open_ is None else np.asarray(open_, float)
    ts = MINUTE * np.arange(1, len(close) + 1) if ts is None else np.asarray(ts)
    return {
        "open_ts": ts - MINUTE,
        "ts": ts,
        "open": start,
        "high": np.fmax(start, close) + spread if high is None else high,
        "low": np.fmin(start, close) - spread if low is None else low,
        "close": close,
        "volume": np.full(len(close), 10.0) if volume is None else volume,
    }


def market(closes: dict, **kinds) -> Dataset:
    """A dataset of one-minute bars by symbol, and other kinds by symbol."""
    tables = {"bars": {(s, "1m", MINUTE): value if isinstance(value, dict) else columns(value) for s, value in closes.items()}}
    for kind, rows in kinds.items():
        tables[kind] = {(s, "", 0): value for s, value in rows.items()}
    return from_columns(tables)


def walk(n: int, seed: int = 0, volatility: float = 0.01) -> dict:
    """A random walk with wicks and volume."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, volatility, n)))
    start = np.r_[100.0, close[:-1]]
    wick = rng.exponential(volatility / 2, (2, n))
    high, low = np.maximum(start, close) * (1 + wick[0]), np.minimum(start, close) / (1 + wick[1])
    return columns(close, start, high, low, rng.exponential(100, n))
