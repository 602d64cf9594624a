"""Entries in hindsight: each is what it would have made alone, and regret is the best choice less the one made."""

import itertools
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from engine.dataset import Dataset
from engine.ledger import Ledger
from engine.round_trips import fold
from engine.schema import Action, RecordKind
from pipeline import demo
from pipeline.config import RunConfig
from pipeline.configfile import apply_overrides, parse_config
from pipeline.errors import RunError
from pipeline.folder import save
from pipeline.launch import run
from pipeline.regret import Entry, Regret, _config_alone, candidates, regret
from pipeline.result import Result
from pipeline.stored_run import open_run
from pipeline.variation import replayed
from tests.pipeline.small import rehash
from tests.pipeline.test_explain import DIP_SIZE, MARKET, VALUES

CROWDED = ("selector.max_positions=2", "risk.halts.daily_loss=0.004", DIP_SIZE)


def config(*overrides: str) -> RunConfig:
    return parse_config(apply_overrides(VALUES, overrides))


@pytest.fixture(scope="module")
def market() -> Dataset:
    return demo.build(MARKET)


@pytest.fixture(scope="module")
def result(market: Dataset) -> Result:
    return run(config(*CROWDED), dataset=market)


@pytest.fixture(scope="module")
def folder(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(result, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def found(folder: Path) -> Regret:
    return regret(folder)


def test_every_entry_that_was_not_merely_counted_is_there_with_its_outcome(found: Regret, result: Result) -> None:
    records = result.replay.records
    of_entries = np.isin(records["kind"], (RecordKind.SELECTED, RecordKind.REJECTED))
    assert {entry.proposal for entry in found.entries} == set(records["proposal"][of_entries].tolist())
    outcomes = {row["outcome"]: row["entries"] for row in found.by_outcome()}
    assert {"filled", "not_selected", "halted"} <= set(outcomes)
    assert outcomes["filled"] == len(result.trades)
    for name in ("not_selected", "halted"):
        assert outcomes[name] == result.rejected[name]
    assert found.passes > 1  # entries of one symbol overlapped


def test_an_entry_makes_what_a_replay_of_it_and_the_exits_alone_makes(found: Regret, result: Result) -> None:
    alone = _config_alone(result.config, found.notional)
    exits = np.flatnonzero(result.replay.proposals.action > Action.ENTER_SHORT)
    refused = [entry for entry in found.entries if entry.outcome != "filled"]
    for entry in refused[:: max(1, len(refused) // 12)]:
        one = replayed(result, alone, rows=np.union1d(exits, [entry.proposal])).replay
        (trip,) = fold(Ledger(one.records, one.symbols, one.strategies, {})).trips
        assert trip.pnl == entry.pnl


def test_regret_is_the_best_choice_of_as_many_less_the_one_made(found: Regret) -> None:
    contested = found.contested()
    assert len(contested) > 20 and any(row["regret"] > 0 for row in contested)
    for row in contested:
        group = [entry for entry in found.entries if entry.ts == row["ts"] and (entry.selected or entry.outcome == "not_selected")]
        made = {entry.proposal: entry.pnl or 0 for entry in group}
        best = max(sum(chosen) for chosen in itertools.combinations(made.values(), row["slots"]))
        chosen = sum(made[entry.proposal] for entry in group if entry.selected)
        assert row["ranked"] == len(group) > row["slots"]
        assert row["regret"] == pytest.approx((best - chosen) / found.scale) and row["regret"] >= 0
    totals = found.as_dict()["selector"]
    assert totals["regret"] == pytest.approx(totals["best"] - totals["chosen"])
    assert totals["best"] >= totals["chance"]


def test_nothing_regretted_is_told_without_a_list() -> None:
    lines = []
    for refused in (50, 300):
        entries = [Entry(i, 7, "AB"[i], "s", ("filled", "not_selected")[i], i + 1, i == 0, (100, refused)[i]) for i in range(2)]
        out = StringIO()
        Regret("r", "USDT", 1.0, 1, 1, entries).show(Console(file=out, width=200))
        lines.append([line for line in out.getvalue().splitlines() if "best less chosen" in line or "missed" in line])
    assert [len(found) for found in lines] == [1, 2]
    assert lines[0][0].endswith("best less chosen") and lines[1][0].endswith("best less chosen; most of it at")


def test_chance_is_the_mean_over_all_choices() -> None:
    entries = [
        Entry(i, 7, name, "s", "filled" if i < 2 else "not_selected", i + 1, i < 2, pnl)
        for i, (name, pnl) in enumerate(zip("ABCD", (100, -40, 300, None), strict=True))
    ]
    (row,) = Regret("r", "USDT", 1.0, 1, 1, entries).contested()
    sums = [sum(pair) for pair in itertools.combinations((100, -40, 300, 0), 2)]
    assert row["chance"] == pytest.approx(sum(sums) / len(sums))
    assert (row["chosen"], row["best"], row["regret"], row["missed"]) == (60, 400, 340, ["C s"])


def test_an_entry_refused_at_the_gate_keeps_its_slot_and_its_reason() -> None:
    row: dict[str, Any] = {"ts": 1, "proposal": 5, "rank": 1, "reason": 0}
    rows = [row | {"kind": RecordKind.SELECTED}, row | {"kind": RecordKind.REJECTED, "reason": 25, "rank": 1}]
    ((_, outcome, rank, selected),) = candidates(rows).values()
    assert (outcome, rank, selected) == ("cash_buffer", 1, True)


def test_the_size_is_the_average_entry_of_the_run(found: Regret, folder: Path, result: Result) -> None:
    table = result.trades
    assert found.notional == pytest.approx(float((table["qty"] * table["entry_price"]).mean()), abs=0.01)
    assert open_run(folder).summary["run_id"] == found.run_id


def test_a_run_without_trades_or_without_its_market_is_refused(market: Dataset, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no trade"):
        regret(save(run(config("selector.min_score=1e9"), dataset=market), tmp_path))
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace(MARKET, "gone/away"))
    rehash(folder)
    with pytest.raises(RunError, match="regret needs the market"):
        regret(folder)
    (folder / "config.yaml").write_text(text)
    rehash(folder)


def test_entries_alone_are_neither_ranked_nor_sized_by_the_users_models() -> None:
    own = ("selector=a.py:f", "size=a.py:f", "fee=a.py:f")
    alone = _config_alone(config(*(f"execution.models.{one}" for one in own)), 100.0)
    assert alone.execution.models.model_dump(exclude_none=True) == {"fee": "a.py:f"}
