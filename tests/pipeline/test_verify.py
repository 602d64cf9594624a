"""``verify``: what was altered in the folder of a run is noticed."""

import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from engine.dataset import Dataset
from engine.ledger import LedgerError
from pipeline.errors import RunError
from pipeline.folder import save
from pipeline.launch import run
from pipeline.result import Result
from pipeline.verify import verify_run
from tests.pipeline.small import MARKET, config, rehash


@pytest.mark.parametrize(
    "key",
    ["final_equity", "fees", "funding", "net_profit", "result_hash", "run_id", "sharpe", "max_drawdown", "trades", "currency", "seed"],
)
def test_an_altered_summary_is_noticed(result: Result, tmp_path: Path, key: str) -> None:
    folder = save(result, tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    summary[key] = "0" if isinstance(summary[key], str) else summary[key] + 1
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(RunError, match=key.split("_", maxsplit=1)[0]):
        verify_run(folder)


def test_altered_trades_are_noticed(result: Result, tmp_path: Path) -> None:
    folder = save(result, tmp_path)
    pl.read_parquet(folder / "trades.parquet").with_columns(pl.col("pnl_units") + 1).write_parquet(folder / "trades.parquet")
    rehash(folder)
    with pytest.raises(RunError, match=r"trades\.parquet"):
        verify_run(folder)


@pytest.mark.parametrize(("name", "column"), [("trades.parquet", "entry_price"), ("equity.parquet", "equity")])
def test_an_altered_table_is_noticed_by_the_replay(result: Result, tmp_path: Path, name: str, column: str) -> None:
    folder = save(result, tmp_path)
    pl.read_parquet(folder / name).with_columns(pl.col(column) * 2).write_parquet(folder / name)
    rehash(folder)
    with pytest.raises(RunError, match=f"{name}: does not hold what the replay gives"):
        verify_run(folder)


@pytest.mark.parametrize("name", ["trades.parquet", "equity.parquet"])
def test_a_table_that_is_no_table_is_refused(result: Result, tmp_path: Path, name: str) -> None:
    folder = save(result, tmp_path)
    (folder / name).write_text("<html>")
    rehash(folder)
    with pytest.raises(RunError, match=f"{name}: not a Parquet file"):
        verify_run(folder)


def test_trades_without_their_profits_are_refused(result: Result, tmp_path: Path) -> None:
    folder = save(result, tmp_path)
    pl.read_parquet(folder / "trades.parquet").drop("pnl_units").write_parquet(folder / "trades.parquet")
    rehash(folder)
    with pytest.raises(RunError, match="no column pnl_units"):
        verify_run(folder)


def test_an_altered_notice_or_dataset_id_is_noticed(result: Result, tmp_path: Path) -> None:
    folder = save(result, tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "notices": []}))
    with pytest.raises(RunError, match="notices is"):
        verify_run(folder)
    (folder / "summary.json").write_text(json.dumps({**summary, "dataset_id": 5}))
    with pytest.raises(RunError, match="made from dataset 5"):
        verify_run(folder)


def test_an_altered_market_event_of_a_full_ledger_is_noticed(market: Dataset, tmp_path: Path) -> None:  # R11.3
    folder = save(run(config("ledger=full"), dataset=market), tmp_path)
    with pa.memory_map(str(folder / "ledger.arrow")) as source:
        table = pa.ipc.open_file(source).read_all()
    events = pc.is_null(table["seq"])
    doubled = pc.if_else(events, pc.multiply(table["price"], 2.0), table["price"])
    changed = table.set_column(table.schema.get_field_index("price"), table.schema.field("price"), doubled)
    (folder / "ledger.arrow").unlink()
    with pa.ipc.new_file(str(folder / "ledger.arrow"), changed.schema) as writer:
        writer.write_table(changed)
    rehash(folder)
    with pytest.raises(RunError, match="market events"):
        verify_run(folder)


def test_an_altered_ledger_is_noticed(result: Result, tmp_path: Path) -> None:  # R11.2
    folder = save(result, tmp_path)
    content = bytearray((folder / "ledger.arrow").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "ledger.arrow").write_bytes(content)
    rehash(folder)
    with pytest.raises(LedgerError):
        verify_run(folder)


def test_an_altered_config_is_noticed_by_the_replay(result: Result, tmp_path: Path) -> None:
    folder = save(result, tmp_path)
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("fixed_fraction: 0.3", "fixed_fraction: 0.31"))
    rehash(folder)
    with pytest.raises(RunError, match="replayed"):
        verify_run(folder)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no summary\.json"):
        verify_run(tmp_path)


def test_a_run_whose_dataset_is_gone_has_a_sound_ledger_still(result: Result, tmp_path: Path) -> None:
    folder = save(result, tmp_path)
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace(MARKET, "gone/away"))
    rehash(folder)
    with pytest.raises(RunError, match=r"the ledger itself is sound \([\d,]+ records.*, but the run cannot be replayed: .*gone/away"):
        verify_run(folder)
    content = bytearray((folder / "ledger.arrow").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "ledger.arrow").write_bytes(content)
    rehash(folder)
    with pytest.raises(LedgerError):
        verify_run(folder)
