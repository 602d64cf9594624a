"""What a run earned and risked, from its equity samples and trades.

Ratios use daily returns: the last equity of each UTC day over that of the day before, a close at 00:00 belonging to the day that
ends.  Days without a sample are carried (markets that never close, 365 periods a year) or dropped (sessions, 252).  Standard
deviations have ddof 1 and the riskless rate is 0.  Drawdowns use every sample.                                        # R6.6
A figure that does not exist (a Sharpe ratio of one day, a profit factor without a loss) is None, never NaN.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.kernel import entry, kernel
from engine.schema import DAY_US

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


MANY = 64  # samples, of which most are neither a new peak nor a new trough

MOST_LOG_GROWTH = 700.0  # beyond it a float is infinite


@dataclass(frozen=True)
class Metrics:
    """Figures of a run; money in units of the account currency, fractions of 1, None where a figure does not exist.

    Attributes
    ----------
    periods_per_year
        365 or 252; every ratio below it is annualised with it.
    sharpe, sortino
        Mean daily return over its standard deviation (Sharpe 1994), or over its downside deviation below 0 (Sortino and
        Price 1994), times the square root of the periods.
    cagr, calmar
        Growth of a year at the rate of the run, from the final equity, and that over the maximum drawdown (Young 1991).
    turnover
        Traded notional, both sides, over the mean of the daily equity; of the whole run, not of a year.
    time_in_market
        Fraction of the period with at least one position.
    interest, debt_interest
        On shorts of spot instruments and on the account's debt; and of that the part on debt, which is no trade's.
    insurance
        What isolated positions lost beyond their margin, given back.
    cash_in_lieu
        Profit on the parts of lots that splits left.
    expectancy
        Mean profit of a closed trade; win rate and profit factor are of closed trades as well.
    """

    final_equity: float
    net_profit: float
    total_return: float
    cagr: float | None
    volatility: float | None
    sharpe: float | None
    sortino: float | None
    max_drawdown: float
    longest_drawdown_days: float
    calmar: float | None
    periods_per_year: int
    periods: int
    trades: int
    open_trades: int
    win_rate: float | None
    profit_factor: float | None
    expectancy: float | None
    best_trade: float | None
    worst_trade: float | None
    fees: float
    funding: float
    interest: float
    debt_interest: float
    insurance: float
    dividends: float
    cash_in_lieu: float
    turnover: float | None
    time_in_market: float
    ambiguous_bars: int

    def as_dict(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)


class Account(NamedTuple):
    """Money of a run before and after, and its period."""

    initial: int  # money
    final: int
    scale: float  # money units in one of the account currency
    start_us: int
    end_us: int
    debt_interest: int = 0  # money


@dataclass(frozen=True)
class Ratios:
    """Figures of a series of daily returns; None where one does not exist."""

    cagr: float | None
    volatility: float | None
    sharpe: float | None
    sortino: float | None


def metrics(
    trades: NDArray[Any], sample_ts: Ints, equity: Ints, account: Account, sessions: bool, traded: float, ambiguous_bars: int
) -> Metrics:
    """Work out all figures.

    Parameters
    ----------
    trades
        Dtype ``pipeline.trades.TRADE``.
    sample_ts, equity
        Equity path, shape (n_samples,): us, UTC, and money.
    sessions
        Whether all instruments trade in sessions.
    traded
        Notional of all fills, in account currency.
    """
    initial, scale = account.initial, account.scale
    final = account.final
    daily = daily_equity(sample_ts, equity, initial, carry=not sessions)
    periods_per_year = 252 if sessions else 365
    found = ratios(daily_returns(daily), periods_per_year)
    deepest, longest_us = drawdown(equity, sample_ts, initial, account.start_us)
    mean = float(daily.mean())
    cagr = growth(final / initial, len(daily) - 1, periods_per_year)
    return Metrics(
        final_equity=final / scale,
        net_profit=(final - initial) / scale,
        total_return=final / initial - 1.0,
        **asdict(found) | {"cagr": cagr},
        max_drawdown=float(deepest),
        longest_drawdown_days=float(longest_us) / DAY_US,
        calmar=cagr / float(deepest) if cagr is not None and deepest > 0 else None,
        periods_per_year=periods_per_year,
        periods=len(daily) - 1,
        **_of_trades(trades, scale),
        fees=int(trades["fees"].sum()) / scale,
        funding=int(trades["funding"].sum()) / scale,
        interest=(int(trades["interest"].sum()) + account.debt_interest) / scale,
        debt_interest=account.debt_interest / scale,
        insurance=int(trades["insurance"].sum()) / scale,
        dividends=int(trades["dividends"].sum()) / scale,
        cash_in_lieu=int(trades["cash_in_lieu"].sum()) / scale,
        turnover=traded * scale / mean if mean > 0 else None,
        time_in_market=time_in_market(trades, account.start_us, account.end_us),
        ambiguous_bars=ambiguous_bars,
    )


def daily_equity(sample_ts: Ints, equity: Ints, initial: int, carry: bool) -> Ints:
    """The initial equity, then the last sample of each day; days without one are carried or dropped.

    >>> day = 86_400_000_000
    >>> daily_equity(np.array([day // 2, day, 3 * day]), np.array([7, 8, 9]), 5, True).tolist()
    [5, 8, 8, 9]
    >>> daily_equity(np.array([day // 2, day, 3 * day]), np.array([7, 8, 9]), 5, False).tolist()
    [5, 8, 9]
    """
    if not len(sample_ts):
        return np.array([initial], np.int64)
    first, last = -(-int(sample_ts[0]) // DAY_US), -(-int(sample_ts[-1]) // DAY_US)
    midnights = np.arange(first, last + 1, dtype=np.int64) * DAY_US
    at = np.searchsorted(sample_ts, midnights, side="right") - 1
    if not carry:
        at = at[np.diff(at, prepend=-1) > 0]
    return np.concatenate((np.array([initial], np.int64), equity[at]))


def daily_returns(daily: Ints) -> Floats:
    """Change of each day over the one before; 0 once nothing is left to lose.

    >>> daily_returns(np.array([100, 110, 99])).round(6).tolist()
    [0.1, -0.1]
    """
    base = daily[:-1].astype(np.float64)
    return np.where(base > 0, np.diff(daily) / np.where(base > 0, base, 1.0), 0.0)


def ratios(returns: Floats, periods_per_year: int) -> Ratios:
    """Annualised figures of daily returns."""
    if not len(returns):
        return Ratios(None, None, None, None)
    root = math.sqrt(periods_per_year)
    deviation = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    mean = float(returns.mean())
    return Ratios(
        growth(float(np.prod(1.0 + returns)), len(returns), periods_per_year),
        deviation * root if len(returns) > 1 else None,
        mean / deviation * root if _spreads(deviation, mean) else None,
        mean / downside * root if downside > 0 and len(returns) > 1 else None,
    )


def growth(factor: float, periods: int, periods_per_year: int) -> float | None:
    """Growth of a year at the rate of a run.

    >>> round(growth(1.21, 730, 365), 12)
    0.1
    """
    if not periods:
        return None
    rate = periods_per_year / periods * math.log(factor) if factor > 0 else -math.inf
    return math.expm1(rate) if rate < MOST_LOG_GROWTH else None


def _spreads(deviation: float, mean: float) -> bool:
    """Whether a deviation is more than what rounding leaves of equal returns."""
    return deviation > 1e-14 * max(abs(mean), 1e-300) and deviation > 0.0


@entry
def drawdown(equity: Ints, sample_ts: Ints, initial: int, start_us: int) -> tuple[float, int]:
    """Largest fraction lost from a peak, and the longest time below one, in us; the first peak is the initial equity.

    >>> deepest, longest = drawdown(np.array([110, 99, 105]), np.array([1, 2, 4]), 100, 0)
    >>> round(float(deepest), 12), int(longest)
    (0.1, 3)
    """
    peak, trough, since, deepest, longest = initial, initial, start_us, 0.0, 0
    for first in range(0, len(equity), MANY):
        highest, lowest = _extremes(equity[first : first + MANY])
        if highest < peak and lowest >= trough:
            continue
        for i in range(first, min(first + MANY, len(equity))):
            now = equity[i]
            if now >= peak:
                longest = max(longest, (sample_ts[i - 1] if i > 0 else start_us) - since)
                peak, trough, since = now, now, sample_ts[i]
            elif now < trough:
                trough = now
                if peak - now > deepest * peak:
                    deepest = (peak - now) / peak
    return deepest, max(longest, (sample_ts[-1] if len(equity) else start_us) - since)


@kernel
def _extremes(values: Ints) -> tuple[int, int]:
    highest, lowest = values[0], values[0]
    for i in range(len(values)):
        highest, lowest = max(highest, values[i]), min(lowest, values[i])
    return highest, lowest


def time_in_market(trades: NDArray[Any], start_us: int, end_us: int) -> float:
    """Fraction of the period with at least one position."""
    if not len(trades) or end_us <= start_us:
        return 0.0
    leave = np.where(trades["open"] == 1, end_us, trades["exit_ts"])
    latest = np.maximum.accumulate(leave)
    begin = np.maximum(trades["entry_ts"], np.concatenate((trades["entry_ts"][:1], latest[:-1])))
    return float(np.maximum(leave - begin, 0).sum()) / (end_us - start_us)


def _of_trades(trades: NDArray[Any], scale: float) -> dict[str, Any]:
    closed = trades["pnl"][trades["open"] == 0]
    won, lost = closed[closed > 0], closed[closed < 0]
    some = len(closed) > 0
    return {
        "trades": len(closed),
        "open_trades": len(trades) - len(closed),
        "win_rate": len(won) / len(closed) if some else None,
        "profit_factor": int(won.sum()) / -int(lost.sum()) if len(lost) else None,
        "expectancy": int(closed.sum()) / len(closed) / scale if some else None,
        "best_trade": int(closed.max()) / scale if some else None,
        "worst_trade": int(closed.min()) / scale if some else None,
    }
