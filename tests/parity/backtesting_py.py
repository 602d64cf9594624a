"""``SmaCross`` of backtesting.py through Tapeline, and the comparison of its trades."""

from collections.abc import Mapping
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


def run(
    candles: Mapping[str, NDArray[np.float64]], open_ts: NDArray[np.int64], execution: Mapping[str, Any], n: tuple[int, int], cash: float
) -> tuple[list[Trade], float]:
    """Trades closed, and the final equity."""
    fast, slow = (sma(candles["close"], length) for length in n)
    up, down = crosses(fast, slow), crosses(slow, fast)
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
