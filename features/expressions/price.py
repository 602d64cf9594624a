"""Expressions of single prices and of changes between them."""

import polars as pl


def column(of: str | pl.Expr) -> pl.Expr:
    """The expression that ``of`` names."""
    return pl.col(of) if isinstance(of, str) else of


def lag(of: str | pl.Expr = "close", n: int = 1) -> pl.Expr:
    """Value n bars ago. Lookback n."""
    return column(of).shift(n)


def returns(of: str | pl.Expr = "close", n: int = 1) -> pl.Expr:
    """Simple return over n bars, ``x[t] / x[t-n] - 1``, a fraction. Lookback n. (TA-Lib ROCP.)"""
    x = column(of)
    return x / x.shift(n) - 1.0


def log_returns(of: str | pl.Expr = "close", n: int = 1) -> pl.Expr:
    """Logarithmic return over n bars, ``ln(x[t] / x[t-n])``. Lookback n."""
    x = column(of)
    return (x / x.shift(n)).log()


def typical_price() -> pl.Expr:
    """Mean of high, low and close. Lookback 0. (TA-Lib TYPPRICE.)"""
    return (pl.col("high") + pl.col("low") + pl.col("close")) / 3.0


def share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """``part / whole`` of amounts that are not negative; 0 where the whole is 0."""
    # 0 / 1e-300 is 0, and to name ``whole`` once alone keeps the operator trees small
    return part / whole.clip(lower_bound=1e-300)
