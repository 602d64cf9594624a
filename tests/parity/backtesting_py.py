"""``SmaCross`` of backtesting.py through Tapeline, and the comparison of its trades."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

import pipeline
from engine.dataset import from_columns
from engine.schema import Action, RecordKind

DAY_US = 86_400_000_000


class Trade(NamedTuple):
    """One trade as backtesting.py lists it; ``size`` is signed, bars count from 0."""

    size: int
    entry_bar: int
    exit_bar: int
    entry_price: float
    exit_price: float
    pnl: float


def sma(close: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Simple moving average, NaN before the n-th value."""
    return pl.Series(close).rolling_mean(n).fill_null(float("nan")).to_numpy()


def crosses(fast: NDArray[np.float64], slow: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where ``fast`` goes from below ``slow`` to above it."""
    below = np.concatenate([[False], fast[:-1] < slow[:-1]])
    return np.asarray(below & (fast > slow))


def sma_cross(close: NDArray[np.float64], short: int, long: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Closes at which a short average goes above a long one, and below it."""
    fast, slow = sma(close, short), sma(close, long)
    return crosses(fast, slow), crosses(slow, fast)


def reference(folder: Path) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64], list[Trade], float]:
    """Candles, their open times, and the trades and final equity of ``SmaCross(10, 20)`` at a commission of 20 bp."""
    bars = pl.read_parquet(folder / "talib.parquet").filter(pl.col("symbol") == "GOOG")
    read = pl.read_parquet(folder / "backtestingpy" / "readme_goog_commission_0.002__trades.parquet")
    trades = [Trade(*row) for row in read.select("Size", "EntryBar", "ExitBar", "EntryPrice", "ExitPrice", "PnL").iter_rows()]
    equity = pl.read_parquet(folder / "backtestingpy" / "readme_goog_commission_0.002__equity.parquet")["equity"][-1]
    candles = {name: bars[name].to_numpy() for name in ("open", "high", "low", "close")}
    return candles, bars["open_time"].dt.epoch("us").to_numpy(), trades, float(equity)


def difference(ours: list[Trade], theirs: list[Trade]) -> str:
    """Where two lists of trades part: prices to 1e-12 relative, PnL to 1e-6; empty if nowhere."""
    for place, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        prices = math.isclose(a.entry_price, b.entry_price, rel_tol=1e-12) and math.isclose(a.exit_price, b.exit_price, rel_tol=1e-12)
        if a[:3] != b[:3] or not prices or abs(a.pnl - b.pnl) > 1e-6:
            return f"trade {place}: {tuple(a)}, theirs {tuple(b)}"
    return "" if len(ours) == len(theirs) else f"{len(ours)} trades, theirs {len(theirs)}"


def run(
    candles: Mapping[str, NDArray[np.float64]],
    open_ts: NDArray[np.int64],
    up: NDArray[np.bool_],
    down: NDArray[np.bool_],
    execution: Mapping[str, Any],
    cash: float,
) -> tuple[list[Trade], float]:
    """Trades closed, and the final equity, of a rule that is long after ``up`` and short after ``down``."""
    ts = open_ts + DAY_US
    rows = sorted([(int(t), int(Action.ENTER_LONG)) for t in ts[up]] + [(int(t), int(Action.ENTER_SHORT)) for t in ts[down]])
    proposals = {"ts": [t for t, _ in rows], "symbol": ["GOOG"] * len(rows), "action": [action for _, action in rows]}
    bars = {"open_ts": open_ts, "ts": ts, **candles, "volume": np.ones(len(ts))}
    config = {
        "name": "parity",
        "dataset": "memory",
        "account": {"cash": cash},
        "strategies": [{"id": "cross", "proposals": "memory"}],
        "selector": {"on_held": "reverse"},
        "execution": {"profile": "backtesting_py", **execution},
        "accept": "external",
    }
    replayed = pipeline.run(config, dataset=from_columns({"bars": {("GOOG", "1d", DAY_US): bars}}), proposals={"cross": proposals}).replay
    fills = replayed.records[replayed.records["kind"] == RecordKind.FILL]
    scale, trades, opened = replayed.settings.scale, [], None
    for fill in fills:
        if opened is not None:
            size = int(opened["side"]) * int(opened["qty"])
            pnl = size * (float(fill["price"]) - float(opened["price"])) - (int(fill["fee"]) + int(opened["fee"])) / scale
            places = [int(np.searchsorted(open_ts, one["ts"])) for one in (opened, fill)]
            trades.append(Trade(size, *places, float(opened["price"]), float(fill["price"]), pnl))
        opened = fill if int(fill["position"]) != 0 else None
    return trades, replayed.final_equity / scale
