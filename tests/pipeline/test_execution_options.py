"""Costs, exchange rules by date, exits by option and bounds, from the config to the folder."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from engine.dataset import Dataset
from pipeline.configfile import read_yaml
from pipeline.errors import ConfigError, RunError
from pipeline.folder import save
from pipeline.launch import run
from pipeline.result import Result
from pipeline.summary import show
from pipeline.verify import verify_run
from tests.pipeline.small import config


def test_dated_rules_go_into_the_replay_and_the_folder(market: Dataset, tmp_path: Path) -> None:  # R2.7
    rows = "[{from: 2024-01-20, tick: 0.05}, {from: 2024-02-01T12:00:00Z, lot: 3, min_notional: 20}]"
    found = run(config("instruments.default={tick: 0.01, lot: 2, min_qty: 1}", f"instruments.default.rules={rows}"), dataset=market)
    first, second = found.replay.settings.instruments[0].rules
    assert (float(first.tick), float(first.lot), first.min_qty) == (0.05, 2.0, 1.0)
    assert (float(second.tick), float(second.lot), second.min_notional) == (0.05, 3.0, 20.0)
    folder = save(found, tmp_path)
    assert read_yaml(folder / "config.yaml")["instruments"]["default"]["rules"][0]["from"] == "2024-01-20T00:00:00Z"
    assert (
        verify_run(folder).run_id
        == found.run_id
        == run(config("instruments.default={tick: 0.01, lot: 2, min_qty: 1}", f"instruments.default.rules={rows}"), dataset=market).run_id
    )
    assert found.run_id != run(config("instruments.default={tick: 0.01, lot: 2, min_qty: 1}"), dataset=market).run_id


def test_dated_rules_of_a_dataset_are_used_and_refused_by_name(market: Dataset) -> None:
    symbol = market.symbols[0]
    specs = {name: dict(spec) for name, spec in market.instruments.items()}
    dated = replace(market, instruments=specs | {symbol: specs[symbol] | {"rules": [{"from": "2024-02-01", "tick": "0.5"}]}})
    found = {one.symbol: one.rules for one in run(config(), dataset=dated).replay.settings.instruments}
    assert [len(found[name]) for name in market.symbols] == [1, 0, 0, 0]
    wrong = replace(market, instruments=specs | {symbol: specs[symbol] | {"rules": [{"from": "soon"}]}})
    with pytest.raises(ConfigError, match=f"instrument {symbol}: rules.0.from: .*must be a date"):
        run(config(), dataset=wrong)


@pytest.mark.parametrize("override", ["execution.slippage={sqrt_impact: 0.01}", "execution.slippage={volume_share: {k: 0.1, limit: 0.05}}"])
def test_slippage_by_volume_needs_volume(market: Dataset, override: str) -> None:  # R2.6
    plain, moved = run(config("execution.slippage=none"), dataset=market), run(config(override), dataset=market)
    assert moved.metrics.final_equity != plain.metrics.final_equity
    silent = replace(
        market,
        columns=market.columns | {"bars": market.columns["bars"] | {"volume": np.full_like(market.columns["bars"]["volume"], np.nan)}},
    )
    with pytest.raises(ConfigError, match=f"{market.symbols[0]} has no volume"):
        run(config(override), dataset=silent)


def test_costs_of_every_kind_are_verified_from_the_ledger_alone(market: Dataset, tmp_path: Path) -> None:  # R2.6 R11
    tiers = "[{from_notional: 0, maker_bps: 2, taker_bps: 5}, {from_notional: 20000, taker_bps: 3}]"
    found = run(config(f"execution.fees={{flat: 0.1, min_fee: 1, per_unit: 0.001, tiered: {tiers}}}"), dataset=market)
    assert verify_run(save(found, tmp_path)).fees == found.metrics.fees
    first_tier = run(config("execution.fees={flat: 0.1, min_fee: 1, per_unit: 0.001, maker_bps: 2, taker_bps: 5}"), dataset=market)
    assert found.metrics.fees < first_tier.metrics.fees
    assert not any("no fees" in notice for notice in found.notices)


@pytest.mark.parametrize(
    "override",
    ["limit_touch: through", "stop_anchor: entry_close", "stop_from: next_bar", "stop_check: close", "trailing_mode: intrabar"],
)
def test_exit_options_reach_the_replay(market: Dataset, override: str) -> None:  # R2.1 R2.4 R3.5
    name, value = override.split(": ")
    rules = [
        "strategies.1.propose.trailing={fraction: 0.01}",
        "strategies.1.propose.break_even={fraction: 0.01}",
        "strategies.1.propose.stop_loss={fraction: 0.02}",
    ]
    found = run(config(*rules, f"execution.{name}={value}"), dataset=market)
    assert getattr(found.replay.settings, name).name.lower() == value
    assert any("trailing_mode" in notice for notice in found.notices) == (name == "trailing_mode")
    if name != "limit_touch":  # no price of this market equals a target
        assert found.result_hash != run(config(*rules), dataset=market).result_hash


TIGHT = (
    "strategies.0.propose.stop_loss={fraction: 0.01}",
    "strategies.0.propose.take_profit={fraction: 0.01}",
    "risk.size={fixed_notional: 1000}",
)


@pytest.fixture(scope="module")
def bounded(market: Dataset) -> Result:
    return run(config(*TIGHT, "execution.intrabar=bounds"), dataset=market)


def test_bounds_are_the_pessimistic_run_beside_the_optimistic_one(market: Dataset, bounded: Result) -> None:  # R3.7
    worst, best = (run(config(*TIGHT, f"execution.intrabar={name}"), dataset=market) for name in ("pessimistic", "optimistic"))
    found = bounded.summary["bounds"]
    assert (bounded.result_hash, found["optimistic_hash"]) == (worst.result_hash, best.result_hash)
    assert (bounded.metrics, found["optimistic"]) == (worst.metrics, best.metrics.as_dict())
    assert bounded.run_id != worst.run_id
    assert found["spread"] == pytest.approx(best.metrics.net_profit - worst.metrics.net_profit, abs=1e-9) and found["spread"] > 0
    assert "bounds" not in worst.summary and "pnl_optimistic" not in worst.trades.columns


def test_the_ambiguous_trades_are_listed_with_both_profits(bounded: Result) -> None:  # R3.7
    found, trades = bounded.summary["bounds"], bounded.trades
    listed = found["ambiguous_trades"]
    assert [one["trade"] for one in listed] == trades.filter(pl.col("ambiguous"))["trade"].to_list()
    assert len(listed) == bounded.metrics.ambiguous_bars > 0
    assert [one["pnl_optimistic"] for one in listed] == trades.filter(pl.col("ambiguous"))["pnl_optimistic"].to_list()
    both = [one for one in listed if one["pnl_optimistic"] is not None]
    assert both and all(one["pnl"] < 0 < one["pnl_optimistic"] for one in both)
    certain = trades.filter(~pl.col("ambiguous") & pl.col("pnl_optimistic").is_not_null())
    assert (certain["pnl"] - certain["pnl_optimistic"]).abs().max() == 0  # of equal size and exit
    moved = trades["pnl"].abs().sum()
    assert found["ambiguous_share"] == pytest.approx(sum(abs(one["pnl"]) for one in listed) / moved)


def test_bounds_are_shown_side_by_side_and_verified(bounded: Result, tmp_path: Path) -> None:  # R3.7
    shown = Console(width=160, record=True, file=StringIO())
    show(bounded.summary, shown)
    text = shown.export_text()
    assert all(name in text for name in ("pessimistic", "optimistic", "ambiguous trades", "buy and hold"))
    assert "<th>optimistic</th>" in bounded._repr_html_()
    assert any(notice.startswith("bounds: ") for notice in bounded.notices)
    folder = save(bounded, tmp_path)
    assert verify_run(folder).result_hash == bounded.result_hash
    summary = json.loads((folder / "summary.json").read_text())
    summary["bounds"]["spread"] += 1.0
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(RunError, match="bounds is"):
        verify_run(folder)
