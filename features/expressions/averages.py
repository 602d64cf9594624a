"""Moving averages. Recursive ones are seeded as TA-Lib does: with the simple average of the first n values."""

import polars as pl

from features.expressions.price import column, typical_price


def sma(of: str | pl.Expr = "close", n: int = 20) -> pl.Expr:
    """Simple moving average of n values. Lookback n - 1. (TA-Lib SMA.)"""
    return column(of).rolling_mean(n)


def ema(of: str | pl.Expr = "close", n: int = 20) -> pl.Expr:
    """Exponential moving average, ``e += 2 / (n + 1) * (x - e)``, seeded with the SMA of the first n values.

    Lookback n - 1; it remembers every earlier value. (TA-Lib EMA.)
    """
    x = column(of)
    return recursion(x, x.rolling_mean(n), x.shift(n), 2.0 / (n + 1))


def wilder(of: str | pl.Expr = "close", n: int = 14) -> pl.Expr:
    """Wilder's smoothing, ``w += (x - w) / n``, seeded with the SMA of the first n values.

    Lookback n - 1; it remembers every earlier value. Wilder, New Concepts in Technical Trading Systems (1978).
    """
    x = column(of)
    return recursion(x, x.rolling_mean(n), x.shift(n), 1.0 / n)


def wma(of: str | pl.Expr = "close", n: int = 20) -> pl.Expr:
    """Linearly weighted moving average, the newest of n values weighing n and the oldest 1. Lookback n - 1. (TA-Lib WMA.)"""
    return column(of).rolling_mean(n, weights=[float(i) for i in range(1, n + 1)])


def vwap(n: int = 20) -> pl.Expr:
    """Volume-weighted typical price of the last n bars; unknown where nothing was traded in them. Lookback n - 1."""
    volume = pl.col("volume").rolling_sum(n)
    return pl.when(volume > 0).then((typical_price() * pl.col("volume")).rolling_sum(n) / volume)


def recursion(x: pl.Expr, seed: pl.Expr, later: pl.Expr, alpha: float) -> pl.Expr:
    """``y += alpha * (x - y)``, started with ``seed`` in the row before ``later`` becomes known; ``seed`` is unknown before that row.

    The tree of a nested recursion holds ``x`` once for every time it is named here, so ``later`` is something short.
    """
    return pl.when(later.is_not_null()).then(x).otherwise(seed).ewm_mean(alpha=alpha, adjust=False)
