"""Oscillators and trend strength."""

import polars as pl

from features.expressions.averages import ema, recursion, sma, wilder
from features.expressions.price import column, returns
from features.expressions.volatility import true_range


def roc(of: str | pl.Expr = "close", n: int = 10) -> pl.Expr:
    """Rate of change over n bars in percent. Lookback n. (TA-Lib ROC.)"""
    return returns(of, n) * 100.0


def rsi(of: str | pl.Expr = "close", n: int = 14) -> pl.Expr:
    """Relative strength index, ``100 * up / (up + down)`` with Wilder's averages of gains and losses; 0 where nothing moved.

    Lookback n. (TA-Lib RSI; Wilder, 1978.)
    """
    change = column(of).diff()
    up, down = wilder(change.clip(lower_bound=0.0), n), wilder((-change).clip(lower_bound=0.0), n)
    both = up + down
    return pl.when(both > 0).then(100.0 * up / both).when(both <= 0).then(0.0)


def macd(of: str | pl.Expr = "close", fast: int = 12, slow: int = 26, signal: int = 9) -> dict[str, pl.Expr]:
    """Fast EMA less slow EMA, the EMA of that, and their difference. Lookback slow + signal - 2. (TA-Lib MACD; Appel.)

    Parts: ``line``, ``signal``, ``hist``. As in TA-Lib the fast EMA starts together with the slow one, from the SMA of its last values.
    """
    x = column(of)
    line = recursion(x, x.rolling_mean(fast), slow, 2.0 / (fast + 1)) - ema(x, slow)
    average = ema(line, signal)
    return {"line": pl.when(average.is_not_null()).then(line), "signal": average, "hist": line - average}


def stochastic(n: int = 14, k: int = 3, d: int = 3) -> dict[str, pl.Expr]:
    """Place of the close in the range of n bars in percent, averaged over k bars, and that averaged over d; 0 where the range is empty.

    Parts: ``k``, ``d``. Lookback n + k + d - 3. (TA-Lib STOCH; Lane.)
    """
    low = pl.col("low").rolling_min(n)
    width = pl.col("high").rolling_max(n) - low
    raw = pl.when(width > 0).then(100.0 * (pl.col("close") - low) / width).when(width <= 0).then(0.0)
    slow = sma(raw, k)
    average = sma(slow, d)
    return {"k": pl.when(average.is_not_null()).then(slow), "d": average}


def adx(n: int = 14) -> dict[str, pl.Expr]:
    """Directional movement: Wilder's index and its two indicators, in percent.

    Parts: ``index`` (the average of ``100 * |plus - minus| / (plus + minus)``, lookback 2 n - 1), ``plus`` and ``minus`` (lookback n).
    (TA-Lib ADX, PLUS_DI, MINUS_DI; Wilder, 1978.) Where nothing moved, an indicator is 0 and so is its contribution to the
    index; TA-Lib repeats the last contribution there.
    """
    up, down = pl.col("high").diff(), -pl.col("low").diff()
    span = _wilder_sum(true_range(), n)
    plus, minus = _percent(_wilder_sum(_larger(up, down), n), span), _percent(_wilder_sum(_larger(down, up), n), span)
    both = plus + minus
    spread = pl.when(plus > minus).then(plus - minus).when(plus <= minus).then(minus - plus)
    return {"index": wilder(_percent(spread, both), n), "plus": plus, "minus": minus}


def _larger(move: pl.Expr, opposite: pl.Expr) -> pl.Expr:
    counts = (move > opposite) & (move > 0)
    return pl.when(counts).then(move).when(~counts).then(0.0)


def _percent(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    return pl.when(whole > 0).then(100.0 * part / whole).when(whole <= 0).then(0.0)


def _wilder_sum(x: pl.Expr, n: int) -> pl.Expr:
    # TA-Lib starts from the sum of n - 1 values, smooths from the n-th on and shows that one first
    smoothed = recursion(x, x.rolling_sum(n - 1) / n, n - 1, 1.0 / n)
    return pl.when(x.shift(n - 1).is_not_null()).then(smoothed)
