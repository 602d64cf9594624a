"""Statistics of the last n values. Every one has lookback n - 1 and counts the present value."""

import polars as pl

from features.expressions.price import column


def std(of: str | pl.Expr = "close", n: int = 20, ddof: int = 0) -> pl.Expr:
    """Standard deviation of n values; ``ddof`` 0 divides by n, 1 by n - 1. (TA-Lib STDDEV with ddof 0.)"""
    return column(of).rolling_std(n, ddof=ddof)


def minimum(of: str | pl.Expr = "low", n: int = 20) -> pl.Expr:
    """Smallest of n values. (TA-Lib MIN.)"""
    return column(of).rolling_min(n)


def maximum(of: str | pl.Expr = "high", n: int = 20) -> pl.Expr:
    """Largest of n values. (TA-Lib MAX.)"""
    return column(of).rolling_max(n)


def median(of: str | pl.Expr = "close", n: int = 20) -> pl.Expr:
    """Median of n values."""
    return column(of).rolling_median(n)


def quantile(of: str | pl.Expr = "close", n: int = 20, q: float = 0.5) -> pl.Expr:
    """Quantile of n values, 0 <= q <= 1, with linear interpolation (Hyndman and Fan's type 7)."""
    return column(of).rolling_quantile(q, interpolation="linear", window_size=n)


def rank(of: str | pl.Expr = "close", n: int = 20) -> pl.Expr:
    """Rank of the present value among n, as a fraction: 1 for the largest, ``1 / n`` for the smallest, ties averaged."""
    return column(of).rolling_rank(n) / float(n)


def corr(of: str | pl.Expr = "close", other: str | pl.Expr = "volume", n: int = 20) -> pl.Expr:
    """Pearson's correlation of n pairs. (TA-Lib CORREL.)"""
    return pl.rolling_corr(column(of), column(other), window_size=n, min_samples=n)


def skew(of: str | pl.Expr = "close", n: int = 20) -> pl.Expr:
    """Population skewness of n values, ``m3 / m2**1.5`` (Fisher-Pearson, biased)."""
    return column(of).rolling_skew(n)


def zscore(of: str | pl.Expr = "close", n: int = 20) -> pl.Expr:
    """Distance from the mean of n values in population standard deviations; unknown where they are all equal."""
    x = column(of)
    width = std(x, n)
    return pl.when(width > 0).then((x - x.rolling_mean(n)) / width)
