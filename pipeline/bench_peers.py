"""Other backtesters on the same workloads, set to the same economics as far as they can be.

Each peer gets the market in the layout it likes best, works out its own moving averages, and is asked for total return, Sharpe ratio,
maximum drawdown, trades and win rate.  What cannot be made equal is said in its ``differs``.
"""

import contextlib
import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.bench_workloads import CASH, FAST, FEE, MINUTE_US, SLOW, Market, Outcome, Prepared, Workload, symbol_names

Signals = NDArray[np.bool_]


@dataclass(frozen=True)
class Peer:
    """A backtester, where it is found, what it can run, and where its economics differ from ours."""

    name: str
    modules: tuple[str, ...]
    workloads: tuple[str, ...]
    prepare: Callable[[Workload, Market], Prepared]
    differs: str
    most_bars: int = 0  # 0: as many as the workload has

    @property
    def is_installed(self) -> bool:
        """Whether all of its modules can be imported."""
        return all(importlib.util.find_spec(module) is not None for module in self.modules)


def crossings(fast: NDArray[np.float64], slow: NDArray[np.float64]) -> tuple[Signals, Signals]:
    """Where ``fast`` crosses over and under ``slow``, along the first axis; never within the warm-up.

    >>> up, down = crossings(np.array([np.nan, 1.0, 3.0, 1.0]), np.array([np.nan, 2.0, 2.0, 2.0]))
    >>> up.tolist(), down.tolist()
    ([False, False, True, False], [False, False, False, True])
    """
    up, down = np.zeros(fast.shape, np.bool_), np.zeros(fast.shape, np.bool_)
    up[1:] = (fast[1:] > slow[1:]) & (fast[:-1] <= slow[:-1])
    down[1:] = (fast[1:] < slow[1:]) & (fast[:-1] >= slow[:-1])
    return up, down


def _next_bar(signals: Signals) -> Signals:
    shifted = np.zeros_like(signals)
    shifted[1:] = signals[:-1]
    return shifted


def _vectorbt(engine: str) -> Callable[[Workload, Market], Prepared]:
    def prepare(workload: Workload, bars: Market) -> Prepared:
        import pandas as pd
        import vectorbt

        opened, high, low, close = (np.ascontiguousarray(column.T) for column in bars[1:])
        prices = pd.Series(close[:, 0]) if workload.symbols == 1 else pd.DataFrame(close, columns=symbol_names(workload.symbols))
        if workload.symbols == 1:
            opened, high, low = opened[:, 0], high[:, 0], low[:, 0]
        options: dict[str, Any] = {"group_by": True, "cash_sharing": True} if workload.symbols > 1 else {}
        if workload.stop:
            options |= {"open": opened, "high": high, "low": low, "sl_stop": workload.stop, "tp_stop": workload.target}
            options |= {"stop_entry_price": "price", "stop_exit_price": "stoplimit"}

        def run() -> Outcome:
            fast, slow = (prices.vbt.rolling_mean(n, minp=n, engine=engine).to_numpy() for n in (FAST, SLOW))
            up, down = crossings(fast, slow)
            portfolio = vectorbt.Portfolio.from_signals(
                prices, _next_bar(up), _next_bar(down), price=opened, size=workload.fraction, size_type="percent", fees=FEE,
                init_cash=CASH, freq="1min", engine=engine, **options,
            )  # fmt: skip
            _ = portfolio.total_return(), portfolio.sharpe_ratio(), portfolio.max_drawdown(), portfolio.trades.win_rate()
            return Outcome(int(portfolio.trades.count()), float(portfolio.final_value()))

        return Prepared(run)

    return prepare


def _raptorbt(workload: Workload, bars: Market) -> Prepared:
    import raptorbt

    ts, volume, names = (bars.open_ts + MINUTE_US) * 1_000, np.full(workload.bars, 1e6), symbol_names(workload.symbols)
    # its portfolio runner misses every other entry under "next_bar_open"; moved signals at the open are the same decision, never early
    timing = "next_bar_open" if workload.symbols == 1 else "same_bar_open_lookahead"
    options = {"initial_capital": CASH, "fees": FEE, "fill_timing": timing, "max_positions": workload.max_positions or None}
    columns = [tuple(np.ascontiguousarray(price[i]) for price in bars[1:]) for i in range(workload.symbols)]
    caps = {name: raptorbt.InstrumentConfig(alloted_capital=workload.fraction * CASH) for name in names} if workload.max_positions else None

    def configured() -> Any:
        config = raptorbt.BacktestConfig(**options)
        if workload.stop:
            config.set_fixed_stop(workload.stop)
            config.set_fixed_target(workload.target)
        return config

    def one() -> Outcome:
        up, down = crossings(raptorbt.sma(columns[0][3], FAST), raptorbt.sma(columns[0][3], SLOW))
        sizes = np.full(workload.bars, workload.fraction)
        found = raptorbt.run_single_backtest(
            ts, *columns[0], volume, up, down, direction=1, symbol=names[0], config=configured(), position_sizes=sizes
        ).metrics
        return Outcome(int(found.total_trades), float(found.end_value))

    def many() -> Outcome:
        crossed = [crossings(raptorbt.sma(prices[3], FAST), raptorbt.sma(prices[3], SLOW)) for prices in columns]
        table = [(ts, *columns[i], volume, *map(_next_bar, crossed[i]), 1, workload.fraction, name) for i, name in enumerate(names)]
        found = raptorbt.run_portfolio_backtest(table, configured(), "equal_weight", caps).metrics
        return Outcome(int(found.total_trades), float(found.end_value))

    return Prepared(one if workload.symbols == 1 else many)


def _backtesting(workload: Workload, bars: Market) -> Prepared:
    import pandas as pd
    from backtesting import Backtest, Strategy

    frame = pd.DataFrame(
        {name: getattr(bars, name.lower())[0] for name in ("Open", "High", "Low", "Close")}, index=pd.to_datetime(bars.open_ts, unit="us")
    )

    class Cross(Strategy):  # type: ignore[misc]
        """Long above, flat below."""

        def init(self) -> None:
            self.fast = self.I(lambda close: pd.Series(close).rolling(FAST).mean(), self.data.Close)
            self.slow = self.I(lambda close: pd.Series(close).rolling(SLOW).mean(), self.data.Close)

        def next(self) -> None:
            if self.fast[-1] > self.slow[-1] and self.fast[-2] <= self.slow[-2]:
                if not self.position:
                    self.buy(size=workload.fraction)
            elif self.fast[-1] < self.slow[-1] and self.fast[-2] >= self.slow[-2]:
                self.position.close()

    def run() -> Outcome:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            found = Backtest(frame, Cross, cash=CASH, commission=FEE, finalize_trades=True).run()
        return Outcome(int(found["# Trades"]), float(found["Equity Final [$]"]))

    return Prepared(run)


_VECTORBT = (
    "the fee is inside the fraction; W2: stops act from the bar after the entry, a target passed by the open fills at the open; "
    "W3: sizes on free cash instead of equity; W3k: from_signals has no limit on positions"
)

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("vectorbt-numba", ("vectorbt",), ("W1", "W2", "W3"), _vectorbt("numba"), _VECTORBT),
        Peer("vectorbt-rust", ("vectorbt", "vectorbt_rust"), ("W1", "W2", "W3"), _vectorbt("rust"), _VECTORBT),
        Peer(
            "raptorbt", ("raptorbt",), ("W1", "W2", "W3", "W3k"), _raptorbt,
            "the fee is inside the fraction; W3: equal weights of the pool; W3k: an entry is 1 % of the initial capital; its metrics are all 48 it always computes",
        ),
        Peer("backtesting", ("backtesting",), ("W1",), _backtesting, "50,000 bars only; whole units; all of its statistics", 50_000),
    )
}  # fmt: skip
