"""Ranges, bands and volatility."""

import math

import polars as pl

from features.expressions.averages import ema, recursion, sma
from features.expressions.price import column, log_returns
from features.expressions.rolling import std


def true_range() -> pl.Expr:
    """``max(high, previous close) - min(low, previous close)``. Lookback 1. (TA-Lib TRANGE; Wilder, 1978.)"""
    before = pl.col("close").shift(1)
    top = pl.when(before > pl.col("high")).then(before).otherwise(pl.col("high"))
    bottom = pl.when(before < pl.col("low")).then(before).otherwise(pl.col("low"))
    return top - bottom + 0.0 * before  # the first row has no previous close, and is unknown


def atr(n: int = 14) -> pl.Expr:
    """Average true range: Wilder's smoothing of the true range. Lookback n. (TA-Lib ATR; Wilder, 1978.)"""
    x = true_range()
    return recursion(x, x.rolling_mean(n), pl.col("high").shift(n + 1), 1.0 / n)


def bollinger(of: str | pl.Expr = "close", n: int = 20, k: float = 2.0) -> dict[str, pl.Expr]:
    """Simple average with bands k population standard deviations away. Lookback n - 1. (TA-Lib BBANDS; Bollinger.)

    Parts: ``upper``, ``middle``, ``lower``.
    """
    middle, width = sma(of, n), k * std(of, n)
    return {"upper": middle + width, "middle": middle, "lower": middle - width}


def donchian(n: int = 20) -> dict[str, pl.Expr]:
    """Highest high and lowest low of the last n bars, the present one included, and their mean. Lookback n - 1.

    Parts: ``upper``, ``middle``, ``lower``. A breakout compares the close with ``lag(dc_upper, 1)``: no close exceeds its own high.
    """
    upper, lower = pl.col("high").rolling_max(n), pl.col("low").rolling_min(n)
    return {"upper": upper, "middle": (upper + lower) / 2.0, "lower": lower}


def keltner(n: int = 20, k: float = 2.0, atr_n: int = 10) -> dict[str, pl.Expr]:
    """EMA of the close with bands k average true ranges away (Raschke's form). Lookback max(n - 1, atr_n).

    Parts: ``upper``, ``middle``, ``lower``.
    """
    middle, width = ema("close", n), k * atr(atr_n)
    return {"upper": middle + width, "middle": middle, "lower": middle - width}


def realised_volatility(of: str | pl.Expr = "close", n: int = 24, periods: float = 1.0) -> pl.Expr:
    """Standard deviation (ddof 1) of the last n log returns, times ``sqrt(periods)``. Lookback n.

    ``periods`` is the number of bars in the unit wanted: 1 gives volatility per bar, 24 * 365 per year from hours.
    """
    return log_returns(column(of), 1).rolling_std(n) * math.sqrt(periods)
