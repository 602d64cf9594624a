"""Oscillators and trend strength."""

import polars as pl

from features.expressions.averages import ema, recursion, sma
from features.expressions.price import column, returns, share
from features.expressions.volatility import true_range


def roc(of: str | pl.Expr = "close", n: int = 10) -> pl.Expr:
    """Rate of change over n bars in percent. Lookback n. (TA-Lib ROC.)"""
    return returns(of, n) * 100.0


def rsi(of: str | pl.Expr = "close", n: int = 14) -> pl.Expr:
    """Relative strength index, ``100 * up / (up + down)`` with Wilder's averages of gains and losses; 0 where nothing moved.

    Lookback n. (TA-Lib RSI; Wilder, 1978.)
    """
    x = column(of)
    gain, loss = x.diff().clip(lower_bound=0.0), -x.diff().clip(upper_bound=0.0)
    up, down = (recursion(change, change.rolling_mean(n), x.shift(n + 1), 1.0 / n) for change in (gain, loss))
    return 100.0 * share(up, up + down)


def macd(of: str | pl.Expr = "close", fast: int = 12, slow: int = 26, signal: int = 9) -> dict[str, pl.Expr]:
    """Fast EMA less slow EMA, the EMA of that, and their difference. Lookback slow + signal - 2. (TA-Lib MACD; Appel.)

    Parts: ``line``, ``signal``, ``hist``. As in TA-Lib the fast EMA starts together with the slow one, from the SMA of its last values.
    """
    x = column(of)
    seed = pl.when(x.shift(slow - 1).is_not_null()).then(x.rolling_mean(fast))
    line = recursion(x, seed, x.shift(slow), 2.0 / (fast + 1)) - ema(x, slow)
    average = recursion(line, line.rolling_mean(signal), x.shift(slow + signal - 1), 2.0 / (signal + 1))
    shown = x.shift(slow + signal - 2).is_not_null()
    return {"line": pl.when(shown).then(line), "signal": average, "hist": line - average}


def stochastic(n: int = 14, k: int = 3, d: int = 3) -> dict[str, pl.Expr]:
    """Place of the close in the range of n bars in percent, averaged over k bars, and that averaged over d; 0 where the range is empty.

    Parts: ``k``, ``d``. Lookback n + k + d - 3. (TA-Lib STOCH; Lane.)
    """
    low = pl.col("low").rolling_min(n)
    width = pl.col("high").rolling_max(n) - low
    slow = sma(100.0 * share(pl.col("close") - low, width), k)
    average = sma(slow, d)
    shown = pl.col("high").shift(n + k + d - 3).is_not_null()
    return {"k": pl.when(shown).then(slow), "d": average}


def adx(n: int = 14) -> dict[str, pl.Expr]:
    """Directional movement: Wilder's index and its two indicators, in percent.

    Parts: ``index`` (the average of ``100 * |plus - minus| / (plus + minus)``, lookback 2 n - 1), ``plus`` and ``minus`` (lookback n).
    (TA-Lib ADX, PLUS_DI, MINUS_DI; Wilder, 1978.) Where nothing moved, an indicator is 0 and so is its contribution to the
    index; TA-Lib repeats the last contribution there.
    """
    up, down = pl.col("high").diff(), -pl.col("low").diff()
    plus, minus, span = (_wilder_sum(x, n) for x in (_larger(up, down), _larger(down, up), true_range()))
    # TA-Lib shows the sums from the value after their seed on
    shown = pl.col("high").shift(n).is_not_null()
    moved = pl.when(shown).then(100.0 * share((plus - minus).abs(), plus + minus))
    return {
        "index": recursion(moved, moved.rolling_mean(n), pl.col("high").shift(2 * n), 1.0 / n),
        "plus": pl.when(shown).then(100.0 * share(plus, span)),
        "minus": pl.when(shown).then(100.0 * share(minus, span)),
    }


def _larger(move: pl.Expr, opposite: pl.Expr) -> pl.Expr:
    return pl.when((move > opposite) & (move > 0)).then(move).otherwise(0.0 * move)


def _wilder_sum(x: pl.Expr, n: int) -> pl.Expr:
    # one n-th of Wilder's sum, which starts from n - 1 values: the factor cancels
    return recursion(x, x.rolling_sum(n - 1) / n, pl.col("high").shift(n), 1.0 / n)
