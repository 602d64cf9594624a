"""Causal building blocks: every function returns a Polars expression (or several, by part) over columns of one symbol.

An expression sees the bars of one symbol in time order, gaps excluded, and value t depends on rows up to t alone. Unknown values at
the beginning are null; how many there are follows from the operator tree (``features.tree.lookback``). ``of`` is a column name or
another expression. Where TA-Lib has the function, values and warm-up are TA-Lib's.
"""

from features.expressions.averages import ema, sma, vwap, wilder, wma
from features.expressions.momentum import adx, macd, roc, rsi, stochastic
from features.expressions.price import lag, log_returns, returns, typical_price
from features.expressions.rolling import corr, maximum, median, minimum, quantile, rank, skew, std, zscore
from features.expressions.volatility import atr, bollinger, donchian, keltner, realised_volatility, true_range

__all__ = [
    "adx",
    "atr",
    "bollinger",
    "corr",
    "donchian",
    "ema",
    "keltner",
    "lag",
    "log_returns",
    "macd",
    "maximum",
    "median",
    "minimum",
    "quantile",
    "rank",
    "realised_volatility",
    "returns",
    "roc",
    "rsi",
    "skew",
    "sma",
    "std",
    "stochastic",
    "true_range",
    "typical_price",
    "vwap",
    "wilder",
    "wma",
    "zscore",
]
