"""The same signals through Tapeline that ``vectorbt.Portfolio.from_signals`` was given, and the comparison of orders and equity."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

import pipeline
from engine.dataset import Dataset, from_columns
from engine.schema import Action, EventKind, RecordKind
from engine.session import ReplayResult

HOUR_US = 3_600_000_000


class Signals(NamedTuple):
    """One symbol's candles and signals, each of shape (n_bars,)."""

    open_ts: NDArray[np.int64]
    candles: Mapping[str, NDArray[np.float64]]
    entry: NDArray[np.bool_]
    exit: NDArray[np.bool_]


class Fill(NamedTuple):
    """One fill, as vectorbt writes an order; ``open_ts`` is that of the bar it belongs to."""

    open_ts: int
    symbol: str
    side: int
    size: float
    price: float
    fees: float


class Run(NamedTuple):
    """What there is to compare."""

    fills: list[Fill]
    equity: NDArray[np.float64]  # at each close


def dataset_of(signals: Mapping[str, Signals], step_us: int = HOUR_US) -> Dataset:
    """The candles as a dataset of spot symbols that may be sold short, on grids too fine to matter."""
    tables = {
        (symbol, "bar", step_us): {
            "open_ts": one.open_ts,
            "ts": one.open_ts + step_us,
            **one.candles,
            "volume": np.ones(len(one.open_ts)),
        }
        for symbol, one in signals.items()
    }
    return from_columns({"bars": tables})


def grids_of(one: Signals) -> dict[str, str]:
    """The finest tick on which float64 still tells whole steps apart (R6.3), and a lot of which 2^53 are enough."""
    price = float(one.candles["high"].max())
    return {"tick": f"1e-{8 - math.floor(math.log10(price))}", "lot": "1e-12" if price > 10 else "1e-10"}


def config_of(signals: Mapping[str, Signals], params: Mapping[str, Any]) -> dict[str, Any]:
    """Options of ``from_signals`` in Tapeline's words, over the profile of its defaults."""
    size: dict[str, Any] | str = "all_in"
    if params.get("size_type") == "amount":
        size = {"fixed_qty": params["size"]}
    elif params.get("size_type") == "percent":
        size = {"all_in": params["size"]}
    instrument: dict[str, Any] = {}
    if "size_granularity" in params:
        instrument["lot"] = str(params["size_granularity"])
    if "min_size" in params:
        instrument["min_qty"] = params["min_size"]
    execution: dict[str, Any] = {
        "profile": "vectorbt",
        "fees": {"bps": 1e4 * params.get("fees", 0.0), "flat": params.get("fixed_fees", 0.0)},
    }
    if not params.get("ohlc_for_stops", True):
        execution["stop_check"] = "close"
    return {
        "name": "parity",
        "dataset": "memory",
        "account": {"cash": params["init_cash"]},
        "instruments": {symbol: grids_of(one) | instrument for symbol, one in signals.items()},
        "strategies": [{"id": "signals", "proposals": "memory"}],
        "risk": {"size": size},
        "selector": {"on_held": "reverse"} if params["direction"] == "both" else {},
        "execution": execution,
        "accept": "external",
    }


def proposals_of(signals: Mapping[str, Signals], params: Mapping[str, Any], step_us: int = HOUR_US) -> dict[str, list[Any]]:
    """Signals as proposals at the close; one that asks for both at once is dropped, as ``from_signals`` does."""
    first, second = {
        "longonly": (Action.ENTER_LONG, Action.EXIT_LONG),
        "shortonly": (Action.ENTER_SHORT, Action.EXIT_SHORT),
        "both": (Action.ENTER_LONG, Action.ENTER_SHORT),
    }[params["direction"]]
    rows: list[tuple[int, str, int]] = []
    for symbol, one in signals.items():
        for at, action in ((one.entry & ~one.exit, first), (one.exit & ~one.entry, second)):
            rows += [(int(ts) + step_us, symbol, int(action)) for ts in one.open_ts[at]]
    rows.sort()
    table: dict[str, list[Any]] = {
        "ts": [row[0] for row in rows],
        "symbol": [row[1] for row in rows],
        "action": [row[2] for row in rows],
    }
    levels = {"stop_loss": params.get("sl_stop"), "take_profit": params.get("tp_stop")}
    if params.get("sl_trail"):
        levels["trailing"] = levels.pop("stop_loss")
    for name, fraction in levels.items():
        if fraction is not None:
            table[name] = [fraction] * len(rows)
            table[f"{name}_kind"] = [1] * len(rows)
    return table


def equity_after_orders(replayed: ReplayResult) -> NDArray[np.float64]:
    """Equity at each close after the orders of that close; the samples of a run are taken before them (R5.3)."""
    tape, records, scale = replayed.tape, replayed.records, replayed.settings.scale
    lots = {i.symbol: float(i.lot) for i in replayed.settings.instruments}
    at = np.searchsorted(records["ts"], replayed.sample_ts, side="right")
    opened = records["phase"] == EventKind.BAR_OPEN  # of the bar that starts at this close: it comes after it
    equity = []
    for ts, after in zip(replayed.sample_ts.tolist(), at.tolist(), strict=True):
        stop = after - int((opened[:after] & (records["ts"][:after] == ts)).sum())
        held = {int(r["symbol"]): int(r["position"]) for r in records[:stop] if r["symbol"] >= 0}
        worth = 0.0
        for symbol, count in held.items():
            row = int(tape.oldest[symbol] + np.searchsorted(tape.ts[tape.oldest[symbol] : tape.stop[symbol]], ts, side="right")) - 1
            worth += count * lots[replayed.symbols[symbol]] * float(tape.close[row])
        equity.append(int(records["cash"][stop - 1]) / scale + worth)
    return np.array(equity)


def scenarios(folder: Path) -> list[tuple[str, dict[str, Signals], dict[str, Any], Run]]:
    """Name, signals, options and vectorbt's own fills and equity of each reference scenario."""
    inputs, orders, equity = (pl.read_parquet(folder / f"vectorbt_{name}.parquet") for name in ("inputs", "orders", "equity"))
    found = []
    for one in json.loads((folder / "vectorbt_scenarios.json").read_text())["scenarios"]:
        mine = pl.col("scenario") == one["scenario"]
        signals = {}
        for symbol in one["symbols"]:
            bars = inputs.filter(mine & (pl.col("symbol") == symbol))
            candles = {name: bars[name].to_numpy() for name in ("open", "high", "low", "close")}
            signals[symbol] = Signals(
                bars["open_time"].dt.epoch("us").to_numpy(), candles, bars["entry"].to_numpy(), bars["exit"].to_numpy()
            )
        rows = orders.filter(mine).with_columns(
            pl.col("open_time").dt.epoch("us"), pl.when(pl.col("side") == "Buy").then(1).otherwise(-1).alias("sign")
        )
        fills = [Fill(*row) for row in rows.select("open_time", "column", "sign", "size", "price", "fees").iter_rows()]
        found.append(
            (
                one["scenario"],
                signals,
                one["params"],
                Run(sorted(fills, key=lambda fill: fill[:2]), equity.filter(mine)["equity"].to_numpy()),
            )
        )
    return found


def difference(ours: Run, theirs: Run) -> str:
    """Where two runs part: orders, sizes and fees to 1e-9, prices to 1e-12, equity to 1e-9, all relative; empty if nowhere."""
    for place, (a, b) in enumerate(zip(ours.fills, theirs.fills, strict=False)):
        if a[:3] != b[:3] or not math.isclose(a.price, b.price, rel_tol=1e-12) or not math.isclose(a.size, b.size, rel_tol=1e-9):
            return f"order {place}: {a.side:+d} {a.size:.9g} at {a.price:.9g}, theirs {b.side:+d} {b.size:.9g} at {b.price:.9g}"
        if not math.isclose(a.fees, b.fees, rel_tol=1e-9, abs_tol=1e-9):
            return f"order {place}: fee {a.fees}, theirs {b.fees}"
    if len(ours.fills) != len(theirs.fills):
        return f"{len(ours.fills)} orders, theirs {len(theirs.fills)}"
    apart = float(np.max(np.abs(ours.equity / theirs.equity - 1.0)))
    return f"equity differs by {apart:.1e}" if apart > 1e-9 else ""


def run(signals: Mapping[str, Signals], params: Mapping[str, Any], step_us: int = HOUR_US) -> Run:
    """Tapeline's fills and equity."""
    proposals = proposals_of(signals, params, step_us)
    result = pipeline.run(config_of(signals, params), dataset=dataset_of(signals, step_us), proposals={"signals": proposals})
    replayed, lots = result.replay, {i.symbol: float(i.lot) for i in result.replay.settings.instruments}
    scale = replayed.settings.scale
    fills: dict[tuple[int, int, int], Fill] = {}  # the two parts of a reversal are one order
    for record in replayed.records[replayed.records["kind"] == RecordKind.FILL]:
        symbol = replayed.symbols[record["symbol"]]
        opened = int(record["ts"]) - (0 if record["phase"] == EventKind.BAR_OPEN else step_us)
        size = int(record["qty"]) * lots[symbol]
        side, key = int(record["side"]), (int(record["order_id"]), int(record["side"]), opened)
        before = fills.get(key, Fill(opened, symbol, side, 0.0, 0.0, 0.0))
        fee = before.fees + int(record["fee"]) / scale
        fills[key] = before._replace(size=before.size + size, price=float(record["price"]), fees=fee)
    return Run(sorted(fills.values(), key=lambda fill: fill[:2]), equity_after_orders(replayed))
