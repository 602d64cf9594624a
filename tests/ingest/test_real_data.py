"""Real market data ingest as they are: each quirk is told, none repaired."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from engine.dataset import ACTIONS, Dataset, open_dataset
from engine.mux import DatasetReader, EventMux
from pipeline.check_data import check
from pipeline.ingest import IngestReport, ingest

DATA = os.environ.get("TAPELINE_DATA")
pytestmark = pytest.mark.skipif(DATA is None, reason="TAPELINE_DATA names no folder of market data")

Ingested = dict[str, tuple[Dataset, IngestReport]]


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    made = {}
    for name in ("perps", "spot", "fx", "equity", "cryptofuture", "ticks"):
        report = ingest(Path(DATA or "") / name, tmp_path_factory.mktemp("data") / name)
        made[name] = open_dataset(report.dest), report
    return made


@pytest.mark.parametrize("name", ["perps", "spot", "fx", "equity", "cryptofuture", "ticks"])
def test_all_sets_ingest_and_are_sound(ingested: Ingested, name: str) -> None:
    dataset, report = ingested[name]
    assert check(report.dest).problems == ()
    assert dataset.id == report.id


@pytest.mark.parametrize(
    ("name", "quirks"),
    [
        ("perps", [
            "XTZUSDT funding: settles every 8h (241 times), 1h (52 times), 4h (1,789 times)",
            "XTZUSDT funding: largest rate -0.7500%",
            "KASUSDT bars 1h: 1 with a high of 2 times the low or more; from the open -86%",
            "ENAUSDT funding: 1 hole of more than a day, longest 166d 20h",
            "BTCUSDT funding: 313 of 7,323 settlements have no mark",
            "BTCUSDT marks 1h: begin at 2019-12-23T12:00:00Z, later than the bars",
            "settlement stamps lie up to 24 ms off",
        ]),
        ("spot", ["BTCUSDT bars 1h: 27 gaps, 122 bars missing, longest 1d 9h"]),
        ("fx", ["EURUSD has quotes only", "EURUSD bars 1h: 74,439 of 74,439 bars have no volume"]),
        ("equity", [
            "USO bars 390m: the hole from 1998-12-30T21:00:00Z is so long that the name may have been given to another",
            "QQQ bars 390m: shut for more than 5d 2 times, longest 2303d 16h from 2004-11-30",
            "AAPL bars 390m: 49 bars are 210m long",
            "split factor, row 11: 0.1428572 -> 7:1 (new:old)",
        ]),
        ("cryptofuture", ["ADAUSDT bars 1m: 340 of 1,440 bars have no quotes", "BTCUSD is at several venues", "BTCUSD.dydx: 30 quote candles have no bar"]),
        ("ticks", ["BTCUSDT spread: 42,566 of 66,089 quotes share their instant", "single trades are not used"]),
    ],
)  # fmt: skip
def test_known_quirks_are_told(ingested: Ingested, name: str, quirks: list[str]) -> None:
    report = ingested[name][1]
    told = "\n".join([*(note for file in report.files for note in file.notes), *report.notes, *report.info.remarks])
    for quirk in quirks:
        assert quirk in told


def test_prices_are_those_of_the_source(ingested: Ingested) -> None:
    source = pl.read_parquet(Path(DATA or "") / "perps" / "bars.parquet").sort("symbol", "ts")
    columns = ingested["perps"][0].columns["bars"]
    for name in ("open", "high", "low", "close", "volume"):
        assert np.array_equal(columns[name], source[name].to_numpy())
    assert np.array_equal(columns["ts"], source["ts"].dt.cast_time_unit("us").cast(pl.Int64).to_numpy())


def test_the_tick_is_the_finest_decimal_of_the_prices(ingested: Ingested) -> None:
    ticks = {symbol: spec["tick"] for symbol, spec in ingested["perps"][0].instruments.items()}
    assert ticks["ETHUSDT"] == "0.01" and ticks["KASUSDT"] == "0.00001"
    assert ingested["fx"][0].instruments["EURUSD"]["kind"] == "fx"
    assert {spec["kind"] for spec in ingested["perps"][0].instruments.values()} == {"linear_perp"}
    assert all(spec["kind"] == "equity" and spec["sessions"] for spec in ingested["equity"][0].instruments.values())


def test_splits_are_unadjusted_and_integers(ingested: Ingested) -> None:  # R8.1
    dataset, report = ingested["equity"]
    actions = dataset.columns["actions"]
    splits = actions["kind"] == ACTIONS.index("split")
    assert sorted(zip(actions["num"][splits].tolist(), actions["den"][splits].tolist(), strict=True)) == [
        (1, 8), (1, 20), (2, 1), (2, 1), (2, 1), (2, 1), (2, 1), (3, 2), (3, 2), (4, 1), (5, 4), (7, 1)
    ]  # fmt: skip
    assert np.count_nonzero(actions["kind"] == ACTIONS.index("dividend")) == 456
    assert not any("adjusted" in remark for remark in report.info.remarks)


def test_symbols_in_any_order_and_as_csv_give_the_same_dataset(ingested: Ingested, tmp_path: Path) -> None:  # R1.6
    root = tmp_path / "source"
    root.mkdir()
    frame = pl.read_parquet(Path(DATA or "") / "equity" / "daily.parquet")
    for n, symbol in enumerate(reversed(frame["symbol"].unique().sort().to_list())):
        frame.filter(pl.col("symbol") == symbol).write_csv(root / f"daily_{n}.csv")
    pl.read_parquet(Path(DATA or "") / "equity" / "corporate_actions.parquet").write_csv(root / "actions.csv")
    assert ingest(root, tmp_path / "d").id == ingested["equity"][1].id


def test_every_event_of_a_set_comes_in_order(ingested: Ingested) -> None:  # R1.1
    dataset = ingested["cryptofuture"][0]
    keys = [event.key for event in EventMux(*DatasetReader(dataset).events())]
    assert keys == sorted(keys)
    assert len(keys) == 3 * len(dataset.columns["bars"]["ts"]) + len(dataset.columns["funding"]["ts"])
