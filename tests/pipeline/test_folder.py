"""What a run leaves in its folder, and that it is whole or not there."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from engine.dataset import Dataset
from pipeline.errors import RunError
from pipeline.folder import FILES, save
from pipeline.launch import run
from pipeline.result import Result
from pipeline.verify import verify_run
from tests.pipeline.small import config


def test_a_run_comes_back_from_its_folder(result: Result, tmp_path: Path) -> None:
    folder = save(result, tmp_path, jsonl=True)
    assert {path.name for path in folder.iterdir()} == {*FILES, "ledger.jsonl"}
    assert json.loads((folder / "summary.json").read_text())["result_hash"] == result.result_hash
    assert len((folder / "ledger.jsonl").read_text().splitlines()) == len(result.replay.records) + 1
    assert len(pl.read_parquet(folder / "trades.parquet")) == len(result.trades)
    found = verify_run(folder)
    assert found.result_hash == result.result_hash
    assert found.final_equity == result.metrics.final_equity


@pytest.mark.parametrize("level", ["off", "full"])
def test_the_ledger_level_changes_what_is_kept_and_nothing_else(
    market: Dataset, result: Result, tmp_path: Path, level: str
) -> None:  # R9.3, R11.3
    made = run(config(f"ledger={level}"), dataset=market)
    assert (made.result_hash, made.run_id) == (result.result_hash, result.run_id)
    folder = save(made, tmp_path)
    assert (folder / "ledger.arrow").exists() == (level == "full")
    if level == "full":
        assert made.ledger["seq"].null_count() > 0
        assert made.ledger["seq"].drop_nulls().to_list() == list(range(len(result.replay.records)))
        assert verify_run(folder).records == len(result.replay.records)
    else:
        with pytest.raises(RunError, match="kept no ledger"):
            verify_run(folder)


def test_a_summary_that_lacks_a_claim_is_refused(result: Result, tmp_path: Path) -> None:
    folder = save(result, tmp_path)
    (folder / "summary.json").write_text("{}")
    with pytest.raises(RunError, match="it lacks run_id"):
        verify_run(folder)


def test_json_lines_of_a_full_ledger_hold_its_market_events(market: Dataset, tmp_path: Path) -> None:  # R11.3
    made = run(config("ledger=full"), dataset=market)
    lines = (save(made, tmp_path, jsonl=True) / "ledger.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=pytest.fail) for line in lines[1:]]
    assert json.loads(lines[0])["header"]["level"] == "full"
    assert [row["event"] for row in rows] == made.ledger["event"].to_list()
    assert [row["seq"] for row in rows if "seq" in row] == list(range(len(made.replay.records)))
    events = [row for row in rows if "seq" not in row]
    assert {row["kind"] for row in events} >= {"BAR_OPEN", "BAR_PATH", "CANDLE_CLOSE", "FUNDING_UPDATE"}
    table = made.ledger.filter(made.ledger["seq"].is_null())
    assert [row.get("price") for row in events] == table["price"].fill_nan(None).to_list()


def test_saving_again_replaces_the_folder_and_leaves_nothing_else(result: Result, tmp_path: Path) -> None:
    save(result, tmp_path, jsonl=True)
    folder = save(result, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert not (folder / "ledger.jsonl").exists()


def test_a_folder_that_cannot_be_written_leaves_nothing(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.ledger.write_ledger", full)
    with pytest.raises(RunError, match="No space left"):
        save(result, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_strategy_file_is_kept_with_the_run(market: Dataset, tmp_path: Path) -> None:
    source = tmp_path / "mine.py"
    source.write_text(
        "class Mine:\n"
        "    def __init__(self, n: int = 20):\n        self.n = n\n"
        "    def features(self):\n        return {'top': {'donchian': {'n': self.n}}}\n"
        "    def propose(self):\n        return {'long': 'close > lag(top_upper, 1)', 'exit_long': 'close < top_middle'}\n"
    )
    made = run(config(f"strategies=[{{id: mine, file: {source}, params: {{n: 24}}}}]"), dataset=market)
    folder = save(made, tmp_path / "runs")
    source.unlink()
    assert verify_run(folder).result_hash == made.result_hash
