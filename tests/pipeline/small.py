"""A small run on a simulated market, as the tests of runs take it."""

import json
from pathlib import Path
from typing import Any

from engine.dataset import Dataset, from_columns
from pipeline.config import RunConfig
from pipeline.configfile import apply_overrides, parse_config
from pipeline.integrity import file_hashes

MARKET = "demo://perps?symbols=4&days=60&interval=1h&seed=3"


VALUES: dict[str, Any] = {
    "name": "small",
    "dataset": MARKET,
    "account": {"cash": 10_000, "leverage": 3},
    "strategies": [
        {
            "id": "trend",
            "budget": 0.6,
            "features": {"fast": {"ema": {"of": "close", "n": 5}}, "slow": {"ema": {"of": "close", "n": 20}}, "atr": {"atr": {"n": 14}}},
            "propose": {
                "long": "cross_up(fast, slow)",
                "short": "cross_down(fast, slow)",
                "exit_long": "fast < slow",
                "exit_short": "fast > slow",
                "score": "abs(fast - slow) / atr",
                "stop_loss": "close - side * 3 * atr",
            },
        },
        {
            "id": "dip",
            "budget": 0.4,
            "features": {"z": {"zscore": {"of": "close", "n": 48}}},
            "propose": {"long": "z < -2", "exit_long": "z > 0", "take_profit": {"fraction": 0.03}},
        },
    ],
    "selector": {"max_positions": 4},
    "risk": {"size": {"fixed_fraction": 0.3}},
    "execution": {"fees": {"maker_bps": 2, "taker_bps": 5}, "slippage": {"bps": 1}},
}


def config(*overrides: str) -> RunConfig:
    return parse_config(apply_overrides(VALUES, overrides))


def only(market: Dataset, symbol: str) -> Dataset:
    """A dataset that holds one symbol, made from its columns alone."""
    tables: dict[str, dict[tuple[str, str, int], Any]] = {}
    for kind, group in market.series.items():
        for series in group:
            if series.symbol == symbol:
                tables.setdefault(kind, {})[series.symbol, series.name, series.interval_us] = market.view(kind, series)
    return from_columns(tables, {symbol: market.instruments[symbol]}, market.info)


def rehash(folder: Path) -> None:
    """Write the hashes of a run's files anew, as one who alters them with care would."""
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "files": file_hashes(folder)}))
