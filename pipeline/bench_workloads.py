"""The workloads of the benchmark: seeded random walks, the strategy, and our own side of each.

One-minute bars of independent random walks at 20 basis points a bar; each opens at the close before.  Long when the 20-bar mean of closes
crosses over the 50-bar mean, out when it crosses under; decided at the close, filled at the next open, 5 basis points a fill, no spread.

W5 is what a desk of perpetuals runs: two strategies, long and short, on one cross-margined account with funding, quotes, trailing stops
and liquidation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from engine.dataset import Dataset
    from pipeline.result import Result

Floats = NDArray[np.float64]

MINUTE_US = 60_000_000
FIRST_OPEN_US = 1_704_067_200_000_000  # 2024-01-01
FAST, SLOW = 20, 50
CASH = 100_000.0
FEE = 0.0005
VOLATILITY, WICK = 0.002, 0.0005  # standard deviation of a bar's return; scale of what lies beyond open and close
TICK, LOT = "0.0001", "0.000001"


@dataclass(frozen=True)
class Workload:
    """What is replayed: ``fraction`` of equity an entry; stop and target as fractions of the fill price, 0 for none."""

    name: str
    symbols: int
    bars: int  # of each symbol
    fraction: float
    stop: float = 0.0
    target: float = 0.0
    max_positions: int = 0  # 0: no limit
    seed: int = 7
    perpetual: bool = False  # margin, funding, quotes, trailing stops, a second strategy

    @property
    def rows(self) -> int:
        """Bars of all symbols."""
        return self.symbols * self.bars

    def with_bars(self, bars: int) -> "Workload":
        """The same with at most so many bars a symbol."""
        return replace(self, bars=min(bars, self.bars))


WORKLOADS = {
    one.name: one
    for one in (
        Workload("W1", 1, 1_000_000, 0.1),
        Workload("W2", 1, 1_000_000, 0.1, stop=0.02, target=0.04, seed=8),
        Workload("W3", 100, 20_000, 0.01, seed=9),
        Workload("W3k", 100, 20_000, 0.01, max_positions=5, seed=10),
        Workload("W5", 50, 50_000, 0.02, seed=11, perpetual=True),
    )
}


class Market(NamedTuple):
    """Bars; prices have shape (n_symbols, n_bars), one contiguous row a symbol."""

    open_ts: NDArray[np.int64]  # us, UTC; shape (n_bars,), shared by all symbols
    open: Floats
    high: Floats
    low: Floats
    close: Floats


class Outcome(NamedTuple):
    """What a contender says it did; nothing of it holds on to the memory of a run, so that every round starts alike."""

    trades: int
    final_equity: float
    seconds: Mapping[str, float] = MappingProxyType({})  # by stage; of ours


class Prepared(NamedTuple):
    """A contender with the market in the layout it wants: one call is the whole run, from columns to metrics."""

    run: Callable[[], Outcome]
    certify: Callable[[], object] | None = None
    held_bars: Callable[[], int] = lambda: 0  # bars on which a position was held, of all positions


def market(workload: Workload) -> Market:
    """Draw the walks: prices on the tick, so that no contender gains by rounding."""
    shape, rng = (workload.symbols, workload.bars), np.random.default_rng(workload.seed)
    close = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, VOLATILITY, shape), axis=1)), 4)
    opened = np.concatenate([np.full((workload.symbols, 1), 100.0), close[:, :-1]], axis=1)
    high = np.round(np.maximum(opened, close) * (1.0 + np.abs(rng.normal(0.0, WICK, shape))), 4)
    low = np.round(np.minimum(opened, close) * (1.0 - np.abs(rng.normal(0.0, WICK, shape))), 4)
    return Market(FIRST_OPEN_US + MINUTE_US * np.arange(workload.bars, dtype=np.int64), opened, high, low, close)


def symbol_names(count: int) -> list[str]:
    """Names of so many symbols, in order.

    >>> symbol_names(2)
    ['S000', 'S001']
    """
    return [f"S{i:03d}" for i in range(count)]


def dataset_of(workload: Workload, bars: Market) -> "Dataset":
    """The market as a dataset of spot symbols."""
    from engine.dataset import from_columns

    volume = np.full(workload.bars, 1e6)
    tables = {
        (name, "1m", MINUTE_US): {
            "open_ts": bars.open_ts,
            "ts": bars.open_ts + MINUTE_US,
            **{column: getattr(bars, column)[i] for column in ("open", "high", "low", "close")},
            "volume": volume,
        }
        for i, name in enumerate(symbol_names(workload.symbols))
    }
    kind = "linear_perp" if workload.perpetual else "spot"
    specs = {name: {"kind": kind, "tick": TICK, "lot": LOT} for name in symbol_names(workload.symbols)}
    return from_columns({"bars": tables} | (_events(workload, bars) if workload.perpetual else {}), specs, {"simulated": True})


def _events(workload: Workload, bars: Market) -> dict[str, Any]:
    """Funding every eight hours, at the rate of a normal draw of one basis point; a quote every hour, one to five basis points wide."""
    rng, ts = np.random.default_rng(workload.seed + 1), bars.open_ts + MINUTE_US
    settled, quoted = np.flatnonzero(ts % (480 * MINUTE_US) == 0), np.flatnonzero(ts % (60 * MINUTE_US) == 0)
    funding, spread = {}, {}
    for i, name in enumerate(symbol_names(workload.symbols)):
        half = bars.close[i, quoted] * rng.uniform(0.5e-4, 2.5e-4, len(quoted))
        funding[name, "", 0] = {"ts": ts[settled], "rate": rng.normal(0.0, 1e-4, len(settled)), "mark": bars.close[i, settled]}
        spread[name, "", 0] = {"ts": ts[quoted], "bid": bars.close[i, quoted] - half, "ask": bars.close[i, quoted] + half}
    return {"funding": funding, "spread": spread}


def config_of(workload: Workload) -> dict[str, Any]:
    """The run as a config."""
    rules: dict[str, Any] = {"long": "cross_up(fast, slow)", "exit_long": "cross_down(fast, slow)"}
    if workload.stop:
        rules |= {"stop_loss": {"fraction": workload.stop}, "take_profit": {"fraction": workload.target}}
    features = {"fast": {"sma": {"of": "close", "n": FAST}}, "slow": {"sma": {"of": "close", "n": SLOW}}}
    if workload.perpetual:
        return _perpetuals(workload, features)
    return {
        "name": workload.name,
        "dataset": "memory",
        "account": {"cash": CASH},
        "strategies": [{"id": "cross", "features": features, "propose": rules}],
        "selector": {"max_positions": workload.max_positions} if workload.max_positions else {},
        "risk": {"size": {"fixed_fraction": workload.fraction}},
        "execution": {"fees": {"bps": FEE * 1e4}, "spread": "none"},
    }


def _perpetuals(workload: Workload, features: dict[str, Any]) -> dict[str, Any]:
    """Two strategies that mirror each other in time: one follows the crossing, the other fades it; both trail a stop of 3 %."""
    followed = {"long": "cross_up(fast, slow)", "short": "cross_down(fast, slow)", "trailing": {"fraction": 0.03}}
    faded = {"long": "cross_down(fast, slow)", "short": "cross_up(fast, slow)", "trailing": {"fraction": 0.03}}
    tiers = [{"floor": 0, "rate": 0.005}, {"floor": 50_000, "rate": 0.01}, {"floor": 250_000, "rate": 0.02}]
    return {
        "name": workload.name,
        "dataset": "memory",
        "account": {"cash": CASH, "margin": "cross", "leverage": 5, "maintenance": tiers, "liquidation_fee": 0.01},
        "strategies": [
            {"id": "fade", "budget": 0.5, "features": features, "propose": faded},
            {"id": "follow", "budget": 0.5, "features": features, "propose": followed},
        ],
        "risk": {"size": {"fixed_fraction": 2 * workload.fraction}},
        "execution": {"fees": {"maker_bps": 2, "taker_bps": 5}, "slippage": {"bps": 1}, "spread": "events"},
    }


def prepare(workload: Workload, bars: Market) -> Prepared:
    """Our own side: features, proposals, replay and metrics."""
    from features.compute import certify
    from pipeline.build import strategies_of
    from pipeline.configfile import parse_config

    dataset, config = dataset_of(workload, bars), parse_config(config_of(workload))
    return Prepared(
        lambda: outcome_of(dataset, workload),
        lambda: certify(dataset, strategies_of(config), dataset.symbols),
        lambda: held_bars(result_of(dataset, workload)),
    )


def means_alone(bars: Market, together: int = 8) -> None:
    """The two rolling means of every symbol and nothing else: what no run of the strategy can do without."""
    from features.rolling_mean import rolling_means

    for first in range(0, len(bars.close), together):
        columns = bars.close[first : first + together]
        rolling_means([column for column in columns for _ in (FAST, SLOW)], [FAST, SLOW] * len(columns))


def outcome_of(dataset: "Dataset", workload: Workload) -> Outcome:
    """Run a workload, and work out its metrics."""
    result = result_of(dataset, workload)
    return Outcome(result.metrics.trades, result.metrics.final_equity, dict(result.seconds))


def result_of(dataset: "Dataset", workload: Workload) -> "Result":
    """Run a workload."""
    from pipeline.launch import run

    return run(config_of(workload), dataset=dataset)


def held_bars(result: "Result") -> int:
    """Bars on which a position was held, of all positions."""
    from pipeline.trades import trades_of

    trades, _ = trades_of(result.replay.records, len(result.replay.symbols), len(result.replay.strategies))
    leave = np.where(trades["open"] != 0, result.period[1], trades["exit_ts"])
    return int((leave - trades["entry_ts"]).sum()) // MINUTE_US
