"""The configs that come with the project run as they are."""

import os
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from engine.schema import Reason, RecordKind
from pipeline import trade_entry
from pipeline.configfile import load_config, read_yaml
from pipeline.errors import RunError
from pipeline.explain import parts_of
from pipeline.folder import save
from pipeline.launch import run
from pipeline.regret import regret
from pipeline.sensitivity import sensitivity
from pipeline.stored_run import open_run
from pipeline.trade_story import Story
from pipeline.verify import verify_run

ROOT = Path(__file__).resolve().parents[2]


def test_the_packaged_demo_is_the_one_in_configs() -> None:
    assert (ROOT / "configs/demo.yaml").read_text() == (ROOT / "pipeline/demo.yaml").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_is_valid_and_says_where_its_data_come_from(path: Path) -> None:
    found = load_config(path)
    assert all(Path(strategy.file).is_file() for strategy in found.strategies if strategy.file)
    assert path.read_text().startswith("# ")
    assert "tapeline" in path.read_text().split("\nname:")[0]
    assert read_yaml(path)["name"].replace("-", "_") == path.stem


REAL = {
    "coin_margined": "cryptofuture",
    "equities": "equity",
    "fx": "fx",
    "fx_converted": "fx",
    "perps_trend": "perps",
    "single_symbol": "perps",
    "spot": "spot",
    "two_strategies": "perps",
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Any:
    source = os.environ.get("TAPELINE_DATA")
    if not source:
        pytest.skip("TAPELINE_DATA is not set")
    from pipeline.ingest import ingest

    folder = tmp_path_factory.mktemp("data")

    def dataset(name: str) -> Path:
        if not (folder / name).exists():
            ingest(Path(source) / name, folder / name)
        return folder / name

    return dataset


@pytest.mark.parametrize("name", sorted(REAL))
def test_configs_run_on_real_data_and_verify(real: Any, tmp_path: Path, name: str) -> None:
    found = load_config(ROOT / "configs" / f"{name}.yaml", [f"dataset={real(REAL[name])}"])
    made = run(found)
    assert made.metrics.trades > 20
    assert sum(made.profit_by_symbol.values()) == made.replay.final_equity - made.replay.settings.cash
    assert verify_run(save(made, tmp_path)).result_hash == made.result_hash


def test_models_of_the_users_own_decide_fees_and_exits_and_are_named_beside_the_result(tmp_path: Path) -> None:  # R2.8
    found = run(load_config(ROOT / "configs/own_models.yaml"))
    records = found.replay.records
    fills = records[records["kind"] == RecordKind.FILL]
    assert len(fills) > 20
    notional = fills["qty"] * np.array([float(one.lot) for one in found.replay.settings.instruments])[fills["symbol"]] * fills["price"]
    assert np.allclose(fills["fee"] / 1e6, np.maximum(notional * 0.0005, 0.01), atol=2e-6)
    assert (fills["reason"] == Reason.MODEL_STOP).any()
    assert any("fee = costs.py:fee" in notice and "exit = costs.py:chandelier" in notice for notice in found.notices)
    assert verify_run(save(found, tmp_path)).result_hash == found.result_hash


def test_what_models_of_ones_own_charge_is_told_as_theirs() -> None:  # R2.8
    small = "dataset=demo://perps?symbols=3&days=30&interval=1h&seed=7"
    found = run(load_config(ROOT / "configs/own_models.yaml", [small]))
    assert found.metrics.fees > 0.0
    assert not any("no fees" in notice or "without spread or slippage" in notice for notice in found.notices)
    large = run(load_config(ROOT / "configs/own_models.yaml", [small, "account.cash=1e9"]))
    assert any(notice.endswith("their impact is that of execution.models.slippage") for notice in large.notices)
    alone = {"risk.size": "fixed_fraction: 0.3", "execution.models": "exit: models/costs.py:chandelier"}
    bare = run(load_config(ROOT / "configs/own_models.yaml", [small, *(f"{key}={{{value}}}" for key, value in alone.items())]))
    assert any("no fees" in notice for notice in bare.notices)
    liquidated = load_config(ROOT / "configs/own_models.yaml", [small, "account.liquidation_fee=0.01"])
    shown = sensitivity(run(liquidated))
    rows = {(row["cost"], row["multiple"]): row["final_equity"] for row in shown.costs}
    assert rows["fees", 0.0] == rows["fees", 2.0] == rows["none", 1.0]
    named = ["execution.models.fee = costs.py:fee", "execution.models.slippage = costs.py:slippage", "account.liquidation_fee = 0.01"]
    assert shown.as_dict()["unscaled"] == named
    out = StringIO()
    shown.show(Console(file=out, width=80))
    assert f"! what these charge is multiplied in no row: {', '.join(named)}\n" in out.getvalue()
    assert shown.impact


def test_a_size_that_cash_limits_is_worked_out_with_the_fee_of_ones_own(tmp_path: Path) -> None:  # R2.8 R5.2
    dear = tmp_path / "dear.py"
    dear.write_text("def fee(notional, qty, maker):\n    return 0.03 * notional + 5.0\n")
    given = [f"execution.models={{fee: {dear}:fee}}", "risk.size=all_in", "dataset=demo://perps?symbols=6&days=40&interval=1h&seed=7"]
    found = run(load_config(ROOT / "configs/own_models.yaml", given))
    stored = open_run(save(found, tmp_path))
    sizes = [trade_entry.gate(Story(stored, number, found)).data for number in range(1, len(stored.fold.trips) + 1)]
    assert len(sizes) > 3
    assert all(one["wanted"] == pytest.approx(one["approved"]) and one["cut_by"] is None for one in sizes)
    assert all(
        limit["quantity"] == pytest.approx(one["approved"]) for one in sizes for limit in one["limits"] if limit["limit"] == "free cash"
    )


def test_choosers_of_the_users_own_rank_and_size_and_are_explained(tmp_path: Path) -> None:  # R2.8 R4.2 R5.1
    found = run(load_config(ROOT / "configs/own_choosers.yaml"))
    folder = save(found, tmp_path)
    stored = open_run(folder)
    selected = [row for row in stored.rows if row["kind"] == RecordKind.SELECTED]
    scores = {row["proposal"]: row["value"] for row in stored.rows if row["kind"] == RecordKind.PROPOSAL}
    paid = [round(scores[row["proposal"]] - row["value"], 9) for row in selected]
    assert min(paid) == 0.0 and max(paid) > 0.5 and all(round(10 * one, 6) == round(10 * one) for one in paid)
    story = Story(stored, next(i for i, trip in enumerate(stored.fold.trips, 1) if len(trip.records) > 4), found)
    parts = {part.name: part for part in parts_of(story)}
    assert "ranked at that instant by your own model choosers.py:spread_out, key" in parts["rank"].lines[0]
    size = parts["size"].data
    reference, rank = size["reference"], stored.rows[story.chain[RecordKind.SELECTED]]["rank"]
    stop = float(found.replay.proposals.stop_loss[stored.rows[story.chain[RecordKind.APPROVED]]["proposal"]])
    capital = size["equity"] * {"trend": 0.6, "dip": 0.4}[story.trip.strategy]
    assert size["wanted"] == pytest.approx(capital * 0.01 / rank / abs(reference - stop))
    assert 0.0 <= size["wanted"] - size["approved"] < 1.0 and size["cut_by"] is None
    assert parts["size"].lines[0].startswith("your own model choosers.py:risk_by_rank: asked with capital")
    assert verify_run(folder).result_hash == found.result_hash


def test_shares_to_hold_are_bought_and_sold_and_explained(tmp_path: Path) -> None:  # R4.1 R5.1
    found = run(load_config(ROOT / "configs/rebalance.yaml", ["dataset=demo://perps?symbols=8&days=40&interval=1h&seed=7"]))
    folder = save(found, tmp_path)
    stored = open_run(folder)
    fills = [row for row in stored.rows if row["kind"] == RecordKind.FILL]
    assert sum(row["reason"] == Reason.REBALANCED and row["position"] != 0 for row in fills) > 10
    assert sum(row["reason"] == Reason.REVERSED for row in fills) > 10
    seen = set()
    for number in range(1, len(stored.fold.trips) + 1):
        story = Story(stored, number, found)
        parts = {part.key or part.name: part for part in parts_of(story)}
        size = parts["size"].data
        assert size["model"] == "target" and size["cut_by"] != "a limit that is not worked out here"
        assert size["cut_by"] or 0.0 <= size["wanted"] - size["approved"] < 1.0 + 1e-6
        seen |= {line.split(":")[0] for line in parts["exit"].lines[:1]}
        assert all(fill["price_steps"]["explained"] for fill in [*parts["entry_fills"].data, *parts["exit_fills"].data])
    assert {"reversed", "rebalanced"} <= seen
    assert verify_run(folder).result_hash == found.result_hash
    with pytest.raises(RunError, match="the run has targets, of which none stands alone"):
        regret(folder)


def test_a_turn_that_a_limit_refuses_is_explained(tmp_path: Path) -> None:  # R5.3
    market, weight = (
        "demo://perps?symbols=8&days=40&interval=1h&seed=7",
        "strategies.drift.propose.weight=0.3 * (close - slow) / abs(close - slow) - 0.2",
    )
    found = run(load_config(ROOT / "configs/rebalance.yaml", [f"dataset={market}", weight, "risk.on_limit=reject"]))
    stored = open_run(save(found, tmp_path))
    told = [parts_of(Story(stored, number, found)) for number in range(1, len(stored.fold.trips) + 1)]
    exits = [part.lines for parts in told for part in parts if part.name == "exit"]
    refused = [
        lines
        for lines in exits
        if lines[0] == "rebalanced: its target was -0.5 of budget x equity, whose own side was refused (max_position)"
    ]
    assert len(refused) > 5
    assert all("to leave (rebalanced)" in lines[-1] for lines in refused)


def test_the_functions_of_the_page_are_those_of_the_files() -> None:
    page = (ROOT / "docs/models.md").read_text()
    files = "".join((ROOT / f"configs/models/{name}.py").read_text() for name in ("costs", "choosers"))
    bodies = [line.strip() for line in page.splitlines() if line.startswith("    ") and ":" not in line.split()[0]]
    assert len(bodies) == 9
    assert all(body in files for body in bodies)
