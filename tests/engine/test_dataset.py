"""The dataset: its content id, the folder on disk, and what is refused when that was damaged."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine import dataset_writer
from engine.dataset import (
    COLUMNS,
    QUOTE_COLUMNS,
    Dataset,
    DatasetError,
    from_columns,
    interval_name,
    open_dataset,
    write_folder,
)

HOUR = 3_600_000_000
T0 = 1_704_067_200_000_000


def bars(n: int, price: float = 10.0, quotes: bool = False) -> dict[str, Any]:
    ts = T0 + HOUR * np.arange(1, n + 1)
    columns: dict[str, Any] = {name: np.full(n, price) for name in ("open", "high", "low", "close")}
    columns |= {"open_ts": ts - HOUR, "ts": ts, "volume": np.arange(n, dtype=float)}
    return columns | ({name: np.full(n, price) for name in QUOTE_COLUMNS} if quotes else {})


def everything() -> dict[str, Any]:
    marks = {name: column for name, column in bars(3).items() if name != "volume"}
    return {
        "bars": {("B", "1h", HOUR): bars(4), ("A", "1h", HOUR): bars(3, quotes=True), ("A", "30m", HOUR // 2): bars(2, 11.5)},
        "marks": {("A", "1h", HOUR): marks},
        "funding": {("A", "", 0): {"ts": [T0], "rate": [0.0001], "mark": [np.nan]}},
        "spread": {("B", "", 0): {"ts": [T0, T0], "bid": [9.0, 9.5], "ask": [10.0, 10.5]}},
        "universe": {("A", "", 0): {"ts": [T0], "listed": [1]}},
        "actions": {("B", "", 0): {"ts": [T0], "kind": [0], "value": [0.0], "num": [2], "den": [1]}},
    }


SPECS: dict[str, dict[str, Any]] = {"A": {"kind": "spot", "tick": "0.01"}, "B": {"kind": "spot", "tick": "0.1", "min_qty": 0.5}}


@pytest.fixture
def dataset() -> Dataset:
    return from_columns(everything(), SPECS, {"source": "here"})


@pytest.mark.parametrize(
    ("kind", "changed", "said"),
    [
        ("bars", {"ts": [1, 3, 2]}, r"bars of A row 2: ts 1970-01-01T00:00:00.000002Z is not after the row before it; sort the rows"),
        ("bars", {"ts": [1, 2, 2]}, "bars of A row 2: ts"),
        ("bars", {"open_ts": [0, 1, 1]}, "bars of A row 2: open_ts"),
        ("marks", {"ts": [3, 2, 1]}, "marks of A row 1: ts"),
        ("funding", {"ts": [1, 2, 2]}, "funding of A row 2: ts"),
        ("universe", {"ts": [1, 1, 2]}, "universe of A row 1: ts"),
        ("spread", {"ts": [1, 3, 2]}, "spread of A row 2: ts"),
        ("actions", {"ts": [2, 1, 3]}, "actions of A row 1: ts"),
    ],
)
def test_rows_out_of_order_or_there_twice_are_refused(kind: str, changed: dict[str, list[int]], said: str) -> None:  # R1.5
    columns: dict[str, Any] = {name: [1] * 3 for name in COLUMNS[kind]} | {"ts": [1, 2, 3], "open_ts": [0, 1, 2]}
    key = ("A", "1m", 60_000_000) if kind in ("bars", "marks") else ("A", "", 0)
    from_columns({kind: {key: columns}})
    with pytest.raises(DatasetError, match=said):
        from_columns({kind: {key: columns | changed}})


def test_quotes_of_one_instant_and_different_actions_of_one_are_kept() -> None:  # R1.5
    spread = {"ts": [1, 1], "bid": [1.0, 1.1], "ask": [1.2, 1.3]}
    actions = {"ts": [1, 1], "kind": [0, 1], "value": [0.0, 1.0], "num": [2, 0], "den": [1, 0]}
    made = from_columns({"spread": {("A", "", 0): spread}, "actions": {("A", "", 0): actions}})
    assert len(made.columns["spread"]["ts"]) == len(made.columns["actions"]["ts"]) == 2


def test_id_does_not_depend_on_the_order_of_series_or_instruments(dataset: Dataset) -> None:  # R1.6
    shuffled = {kind: dict(reversed(groups.items())) for kind, groups in reversed(everything().items())}
    assert from_columns(shuffled, dict(reversed(SPECS.items()))).id == dataset.id


@pytest.mark.parametrize("kind", COLUMNS)
def test_id_changes_with_one_value_of_any_kind(dataset: Dataset, kind: str) -> None:
    tables = everything()
    group = next(iter(tables[kind].values()))
    group["ts"] = np.asarray(group["ts"]) + 1
    assert from_columns(tables, SPECS).id != dataset.id


def test_id_changes_with_instruments_and_not_with_remarks(dataset: Dataset) -> None:
    assert from_columns(everything(), SPECS | {"A": {"kind": "spot", "tick": "0.02"}}).id != dataset.id
    assert from_columns(everything(), SPECS, {"simulated": True}).id == dataset.id


def test_id_tells_where_one_series_ends_and_the_next_begins() -> None:
    whole = bars(4)
    split = {("A", "1h", HOUR): {k: v[:2] for k, v in whole.items()}, ("B", "1h", HOUR): {k: v[2:] for k, v in whole.items()}}
    other = {("A", "1h", HOUR): {k: v[:1] for k, v in whole.items()}, ("B", "1h", HOUR): {k: v[1:] for k, v in whole.items()}}
    assert from_columns({"bars": split}).id != from_columns({"bars": other}).id


def test_every_nan_is_the_same_nan() -> None:
    negative = bars(2) | {"volume": np.array([-np.nan, 1.0])}
    positive = bars(2) | {"volume": np.array([np.nan, 1.0])}
    assert from_columns({"bars": {("A", "1h", HOUR): negative}}).id == from_columns({"bars": {("A", "1h", HOUR): positive}}).id


def test_series_without_quotes_get_none_beside_series_with_quotes(dataset: Dataset) -> None:
    plain, quoted = dataset.find("bars", "B"), dataset.find("bars", "A", "1h")
    assert plain is not None and quoted is not None
    assert np.isnan(dataset.view("bars", plain)["bid_open"]).all()
    assert not np.isnan(dataset.view("bars", quoted)["bid_open"]).any()


def test_columns_of_unequal_length_or_missing_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"columns of \[1, 2\] rows"):
        from_columns({"bars": {("A", "1h", HOUR): bars(2) | {"close": [1.0]}}})
    with pytest.raises(DatasetError, match="no column 'volume'"):
        from_columns({"bars": {("A", "1h", HOUR): {k: v for k, v in bars(2).items() if k != "volume"}}})


def test_two_million_bars_in_memory_are_cheap() -> None:
    n = 2_000_000
    price = np.random.default_rng(1).random(n)
    ts = np.arange(1, n + 1, dtype=np.int64)
    columns = dict.fromkeys(("open", "high", "low", "close", "volume"), price) | {"open_ts": ts - 1, "ts": ts}
    best = np.inf
    for _ in range(3):
        begun = time.perf_counter()
        from_columns({"bars": {("A", "1us", 1): columns}})
        best = min(best, time.perf_counter() - begun)
    assert best < 0.5  # 0.04 s on two idle cores


def test_folder_gives_back_the_same_data_and_id(dataset: Dataset, tmp_path: Path) -> None:
    write_folder(dataset, tmp_path / "deep" / "d")
    read = open_dataset(tmp_path / "deep" / "d", verify=True)
    assert (read.id, read.series, read.instruments, read.info) == (dataset.id, dataset.series, dataset.instruments, dataset.info)
    assert read.path == str(tmp_path / "deep" / "d")
    for kind, columns in dataset.columns.items():
        assert list(read.columns[kind]) == list(columns)
        for name, column in columns.items():
            assert read.columns[kind][name].dtype == column.dtype
            assert np.array_equal(read.columns[kind][name], column, equal_nan=column.dtype.kind == "f")


def test_mapped_columns_are_read_only_views_of_the_file(dataset: Dataset, tmp_path: Path) -> None:
    write_folder(dataset, tmp_path / "d")
    for columns in open_dataset(tmp_path / "d").columns.values():
        for column in columns.values():
            assert not column.flags.writeable and not column.flags.owndata and column.flags.aligned
            with pytest.raises(ValueError, match="WRITEABLE"):
                column.flags.writeable = True


def test_files_hold_instants_in_one_uncompressed_batch(dataset: Dataset, tmp_path: Path) -> None:
    write_folder(dataset, tmp_path / "d")
    with pa.ipc.open_file(tmp_path / "d" / "bars.arrow") as reader:
        assert reader.num_record_batches == 1
        assert reader.schema.field("ts").type == pa.timestamp("us", tz="UTC")
        assert reader.get_batch(0).column("ts")[0].as_py().isoformat() == "2024-01-01T01:00:00+00:00"


def test_an_empty_series_survives_the_folder(tmp_path: Path) -> None:
    made = from_columns({"bars": {("A", "1h", HOUR): bars(0)}})
    write_folder(made, tmp_path / "d")
    read = open_dataset(tmp_path / "d", verify=True)
    assert read.id == made.id and len(read.columns["bars"]["ts"]) == 0


def test_one_changed_byte_is_found_when_verified(dataset: Dataset, tmp_path: Path) -> None:
    write_folder(dataset, tmp_path / "d")
    file = tmp_path / "d" / "bars.arrow"
    content = file.read_bytes()
    at = content.index(np.float64(11.5).tobytes())
    file.write_bytes(content[:at] + b"\x01" + content[at + 1 :])
    open_dataset(tmp_path / "d")
    with pytest.raises(DatasetError, match=r"bars\.arrow: its SHA-256 is not the one in the manifest"):
        open_dataset(tmp_path / "d", verify=True)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "manifest.json").unlink(), "not a dataset folder"),
        (lambda d: (d / "manifest.json").write_text("{"), "not JSON"),
        (lambda d: (d / "manifest.json").write_text("{}"), "damaged"),
        (lambda d: (d / "manifest.json").write_text("[]"), "damaged"),
        (lambda d: edit(d / "manifest.json", schema=99), "schema 99"),
        (lambda d: edit(d / "manifest.json", id="0" * 64), "it was edited"),
        (lambda d: edit(d / "instruments.json", A={"kind": "spot", "tick": "5"}), "it was edited"),
        (lambda d: (d / "funding.arrow").unlink(), "funding.arrow: cannot be mapped"),
        (lambda d: (d / "funding.arrow").write_bytes(b""), "funding.arrow: cannot be mapped"),
        (lambda d: (d / "bars.arrow").write_bytes((d / "bars.arrow").read_bytes()[:-100]), "bars.arrow: cannot be mapped"),
        (lambda d: (d / "marks.arrow").write_bytes((d / "bars.arrow").read_bytes()), "the manifest lists 3 rows"),
    ],
)
def test_a_damaged_folder_is_refused(dataset: Dataset, tmp_path: Path, damage: Any, message: str) -> None:
    write_folder(dataset, tmp_path / "d")
    damage(tmp_path / "d")
    with pytest.raises(DatasetError, match=message):
        open_dataset(tmp_path / "d")


def test_an_existing_folder_is_kept_unless_it_is_to_be_replaced(dataset: Dataset, tmp_path: Path) -> None:
    write_folder(dataset, tmp_path / "d")
    other = from_columns({"bars": {("Z", "1h", HOUR): bars(1)}})
    with pytest.raises(DatasetError, match="exists already"):
        write_folder(other, tmp_path / "d")
    assert open_dataset(tmp_path / "d").id == dataset.id
    write_folder(other, tmp_path / "d", overwrite=True)
    assert open_dataset(tmp_path / "d").id == other.id
    assert os.listdir(tmp_path) == ["d"]


def test_a_folder_that_is_no_dataset_is_never_replaced(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.txt").write_text("dear")
    with pytest.raises(DatasetError, match="is not a dataset folder"):
        write_folder(dataset, tmp_path / "d", overwrite=True)
    assert os.listdir(tmp_path / "d") == ["thesis.txt"]


@pytest.mark.parametrize("step", ["_write_batch", "_publish", "_extend"])
def test_a_failure_at_any_step_leaves_nothing(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(dataset_writer.FolderWriter, step, fail)
    with pytest.raises(OSError, match="disk full"):
        write_folder(dataset, tmp_path / "new" / "d")
    assert os.listdir(tmp_path) == []


def test_series_out_of_order_are_refused(tmp_path: Path) -> None:
    arrays = {name: np.asarray(column) for name, column in bars(1).items()}
    with pytest.raises(DatasetError, match="order is by symbol"), dataset_writer.FolderWriter(tmp_path / "d") as writer:
        writer.append("bars", "B", "1h", HOUR, arrays)
        writer.append("bars", "A", "1h", HOUR, arrays)
    assert os.listdir(tmp_path) == []


def test_importing_the_dataset_does_not_import_pyarrow() -> None:
    code = "import sys, engine.dataset; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("length", "name"), [(60_000_000, "1m"), (90_000_000, "90s"), (7, "7us"), (2 * 86_400_000_000, "2d")])
def test_an_interval_has_the_name_a_trader_would_use(length: int, name: str) -> None:
    assert interval_name(length) == name
