"""What an ingest makes of tidy files: the same dataset from any form of the same data, and a word on whatever it settled."""

import io
import json
import random
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.dataset import ACTIONS, Dataset, from_columns, open_dataset
from pipeline.check_data import check
from pipeline.ingest import IngestOptions, IngestReport, ingest
from pipeline.ingest import sources as sources_module
from pipeline.ingest import spill as spill_module
from pipeline.ingest.actions import MAX_TERM, split_ratio
from tests.ingest.tables import HOUR_MS, T0_MS, Write, bars, funding, joined, quotes

HOUR = HOUR_MS * 1000
T0 = T0_MS * 1000


def read(root: Path, dest: Path, **options: Any) -> tuple[Dataset, IngestReport]:
    report = ingest(root, dest, options=IngestOptions(overwrite=True, **options))
    dataset = open_dataset(dest, verify=True)
    assert dataset.id == report.id
    assert check(dest).problems == ()
    return dataset, report


def told(report: IngestReport) -> str:
    return "\n".join([*(note for file in report.files for note in file.notes), *report.notes])


def made(dataset: Dataset, *tables: dict[str, list[Any]]) -> str:
    """Id of the same bars made in memory."""
    series = {}
    for table in tables:
        columns: dict[str, list[Any]] = {name: table[name] for name in ("open", "high", "low", "close", "volume")}
        times = {"open_ts": [ts * 1000 for ts in table["open_time"]], "ts": [ts * 1000 for ts in table["ts"]]}
        series[table["symbol"][0], "1h", HOUR] = columns | times
    return from_columns({"bars": series}, dataset.instruments).id


def test_the_dataset_is_the_one_its_columns_make(root: Path, write: Write, tmp_path: Path) -> None:
    write("bars.parquet", bars())
    dataset, _ = read(root, tmp_path / "d")
    assert dataset.id == made(dataset, bars())


@given(rng=st.randoms(use_true_random=False), files=st.integers(1, 4), batch=st.integers(1, 7))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_files_symbols_order_and_batches_give_one_id(
    rng: random.Random, files: int, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # R1.6
    with monkeypatch.context() as patch:
        patch.setattr(sources_module, "BATCH_ROWS", batch)
        patch.setattr(sources_module, "BLOCK_BYTES", 400)
        patch.setattr(spill_module, "CHUNK_ROWS", batch)
        symbols = [bars(7, symbol) for symbol in ("AAA", "BBB", "aa-C")]
        rows = [tuple(row) for table in symbols for row in zip(*table.values(), strict=True)]
        parts: list[list[Any]] = [[] for _ in range(files)]
        for row in rows:
            rng.choice(parts).append(row)
        root = tmp_path / "source"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for part in parts:
            by_symbol = [[row for row in part if row[0] == table["symbol"][0]] for table in symbols]
            mixed = []  # symbols in any order, each in time order
            while any(by_symbol):
                mixed.append(rng.choice([group for group in by_symbol if group]).pop(0))
            if mixed:
                frame = pl.DataFrame(mixed, schema=list(bars()), orient="row")
                frame = frame.select(rng.sample(frame.columns, len(frame.columns)))
                path = root / f"bars-{rng.getrandbits(60)}{rng.choice(['.csv', '.parquet'])}"
                frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path, row_group_size=3)
        dataset, _ = read(root, tmp_path / "d")
    assert dataset.id == made(dataset, *symbols)


@pytest.mark.parametrize("scale", [("s", 1 / 1000), ("ms", 1), ("us", 1000), ("ns", 1_000_000)])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_epochs_of_all_units_are_told_apart_and_stated(
    root: Path, write: Write, tmp_path: Path, scale: tuple[str, float], suffix: str
) -> None:
    unit, factor = scale
    write(f"bars.{suffix}", bars() | {name: [int(ts * factor) for ts in bars()[name]] for name in ("ts", "open_time")})
    dataset, report = read(root, tmp_path / "d")
    assert dataset.columns["bars"]["ts"].tolist() == [T0 + HOUR * (i + 1) for i in range(5)]
    assert f"integers, {unit} since 1970 UTC" in told(report)


@pytest.mark.parametrize(
    "form",
    ["2024-01-01T{:02}:00:00Z", "2024-01-01 {:02}:00:00+00:00", "2024-01-01T{:02}:00:00.000+0000", "2024-01-01 {:02}:00:00.000000 UTC"],
)
def test_text_with_a_zone_is_read(root: Path, write: Write, tmp_path: Path, form: str) -> None:
    write("bars.csv", bars() | {"open_time": [form.format(i) for i in range(5)], "ts": [form.format(i + 1) for i in range(5)]})
    dataset, report = read(root, tmp_path / "d")
    assert dataset.columns["bars"]["open_ts"].tolist() == [T0 + HOUR * i for i in range(5)]
    assert "text with a zone" in told(report)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_timestamps_of_any_zone_are_instants(root: Path, write: Write, tmp_path: Path, unit: Any) -> None:
    zone = "America/New_York"
    stamps = [
        (pl.col(name) * 1000).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone).dt.cast_time_unit(unit)
        for name in ("ts", "open_time")
    ]
    write("bars.parquet", pl.DataFrame(bars()).with_columns(stamps))
    dataset, report = read(root, tmp_path / "d")
    assert dataset.columns["bars"]["ts"][0] == T0 + HOUR
    assert f"timestamps in {unit}, {zone}" in told(report)


def test_times_finer_than_a_microsecond_are_cut_and_counted(root: Path, write: Write, tmp_path: Path) -> None:
    write("spread.csv", {"symbol": ["A"] * 2, "ts": [T0 * 1000 + 1_234, T0 * 1000 + 5_000], "bid": [1.0, 1.0], "ask": [2.0, 2.0]})
    dataset, report = read(root, tmp_path / "d")
    assert dataset.columns["spread"]["ts"].tolist() == [T0 + 1, T0 + 5]
    assert "times finer than a microsecond, which were cut to it: 1" in told(report)


@pytest.mark.parametrize("given_by", ["option", "column", "name"])
@pytest.mark.parametrize("dropped", ["ts", "open_time"])
def test_a_missing_open_or_close_is_derived_from_the_interval(
    root: Path, write: Write, tmp_path: Path, given_by: str, dropped: str
) -> None:
    table = {name: column for name, column in bars().items() if name != dropped}
    write("AAA-1h.parquet" if given_by == "name" else "bars.parquet", table | ({"freq": ["hour"] * 5} if given_by == "column" else {}))
    dataset, report = read(root, tmp_path / "d", interval="1h" if given_by == "option" else None)
    assert (dataset.columns["bars"]["ts"] - dataset.columns["bars"]["open_ts"]).tolist() == [HOUR] * 5
    assert dataset.columns["bars"]["ts"][0] == T0 + HOUR
    assert "were derived" in told(report)


def test_a_file_a_symbol_needs_no_column(root: Path, write: Write, tmp_path: Path) -> None:
    for symbol in ("BTC-USDT", "ETHUSDT"):
        write(f"{symbol}_1h.csv", {name: column for name, column in bars(symbol=symbol).items() if name != "symbol"})
    write("funding/ETHUSDT.csv", {name: column for name, column in funding().items() if name != "symbol"})
    dataset, _ = read(root, tmp_path / "d")
    assert dataset.symbols == ("BTC-USDT", "ETHUSDT")
    assert [s.symbol for s in dataset.series["funding"]] == ["ETHUSDT"]


def test_a_single_file_is_a_source(write: Write, tmp_path: Path) -> None:
    path = write("AAA.csv", {name: column for name, column in bars().items() if name != "symbol"})
    assert open_dataset(ingest(path, tmp_path / "d").dest).symbols == ("AAA",)


def test_bars_of_several_lengths_are_series(root: Path, write: Write, tmp_path: Path) -> None:
    both = joined(bars(4) | {"interval": ["1h"] * 4}, bars(2, hours=2) | {"interval": ["2h"] * 2})
    write("bars.parquet", both)
    dataset, _ = read(root, tmp_path / "d")
    assert [(s.symbol, s.name, s.stop - s.start) for s in dataset.series["bars"]] == [("AAA", "1h", 4), ("AAA", "2h", 2)]


def test_half_days_stay_in_the_series_of_whole_days(root: Path, write: Write, tmp_path: Path) -> None:
    table = bars(3, hours=6)
    write("bars.parquet", table | {"ts": [*table["ts"][:2], table["ts"][2] - HOUR_MS * 3], "session": ["d"] * 3})
    dataset, report = read(root, tmp_path / "d")
    assert [s.name for s in dataset.series["bars"]] == ["6h"]
    assert any("1 bar is 3h long" in remark for remark in report.info.remarks)
    assert dataset.instruments["AAA"]["sessions"] is True and dataset.instruments["AAA"]["kind"] == "equity"


def test_quotes_join_the_bars_of_the_same_open_and_close(root: Path, write: Write, tmp_path: Path) -> None:
    write("bars.parquet", joined(bars(2), bars(2, first=3)))
    write("quotes.parquet", quotes(3, first=1))  # none at 0 and 4, a bar of its own at 2
    dataset, report = read(root, tmp_path / "d")
    columns = dataset.columns["bars"]
    assert np.isnan(columns["bid_close"]).tolist() == [True, False, False, False, True]
    assert np.isnan(columns["volume"]).tolist() == [False, False, True, False, False]
    assert columns["close"][2] == (columns["bid_close"][2] + columns["ask_close"][2]) / 2
    assert "1 quote candles have no bar: bars at their mid" in told(report)
    assert any("2 of 5 bars have no quotes" in remark for remark in report.info.remarks)


def test_quotes_in_the_file_of_the_bars_are_the_same_as_beside_it(root: Path, write: Write, tmp_path: Path) -> None:
    write("bars.parquet", bars())
    write("quotes.parquet", quotes())
    apart = read(root, tmp_path / "d")[0].id
    (root / "quotes.parquet").unlink()
    write("bars.parquet", bars() | quotes())
    assert read(root, tmp_path / "d")[0].id == apart


def test_quotes_alone_are_a_currency_pair(root: Path, write: Write, tmp_path: Path) -> None:
    write("quotes.parquet", quotes())
    dataset, report = read(root, tmp_path / "d")
    columns = dataset.columns["bars"]
    for name in ("open", "high", "low", "close"):
        assert np.array_equal(columns[name], (columns[f"bid_{name}"] + columns[f"ask_{name}"]) / 2)
    assert np.isnan(columns["volume"]).all()
    assert dataset.instruments["AAA"]["kind"] == "fx" and dataset.instruments["AAA"]["tick"] == "0.01"
    assert "AAA has quotes only" in told(report)


def test_crossed_quotes_are_kept_and_counted_when_asked_for(root: Path, write: Write, tmp_path: Path) -> None:
    write("spread.csv", {"symbol": ["A"] * 3, "ts": [T0_MS] * 3, "bid": [2.0, 1.0, 1.0], "ask": [1.0, 1.0, 2.0]})
    dataset, report = read(root, tmp_path / "d", keep_crossed=True)
    assert dataset.columns["spread"]["bid"].tolist() == [2.0, 1.0, 1.0]  # quotes of one instant keep their order
    assert "1 crossed quotes are kept" in told(report) and "1 quotes are locked" in told(report)


def test_jittered_settlements_move_to_their_minute_and_it_is_said(root: Path, write: Write, tmp_path: Path) -> None:
    write("bars.parquet", bars(20))
    write("funding.parquet", funding() | {"ts": [T0_MS + 24, T0_MS + 8 * HOUR_MS - 1]})
    dataset, report = read(root, tmp_path / "d")
    assert dataset.columns["funding"]["ts"].tolist() == [T0, T0 + 8 * HOUR]
    assert "2 settlement stamps were moved to their minute" in told(report) and "up to 24 ms off" in told(report)


def test_raw_stamps_beside_rounded_ones_are_compared(root: Path, write: Write, tmp_path: Path) -> None:
    write("bars.parquet", bars(20))
    write("funding.parquet", funding() | {"ts_raw": [T0_MS + 7, T0_MS + 8 * HOUR_MS]})
    dataset, report = read(root, tmp_path / "d")
    assert dataset.columns["funding"]["ts"][0] == T0
    assert "up to 7 ms off" in told(report) and "moved" not in told(report)


def test_stamps_far_from_a_minute_stay(root: Path, write: Write, tmp_path: Path) -> None:
    write("bars.parquet", bars(20))
    write("funding.parquet", funding() | {"ts": [T0_MS + 30_000, T0_MS + 8 * HOUR_MS]})
    assert read(root, tmp_path / "d")[0].columns["funding"]["ts"][0] == T0 + 30_000_000


def test_a_symbol_at_several_venues_is_named_after_them_in_all_kinds(root: Path, write: Write, tmp_path: Path) -> None:
    write("bars.parquet", joined(bars() | {"venue": ["x"] * 5}, bars() | {"venue": ["y"] * 5}, bars(symbol="BBB") | {"venue": ["x"] * 5}))
    write("funding.parquet", funding() | {"venue": ["y"] * 2})
    dataset, report = read(root, tmp_path / "d")
    assert dataset.symbols == ("AAA.x", "AAA.y", "BBB")
    assert [s.symbol for s in dataset.series["funding"]] == ["AAA.y"]
    assert "AAA is at several venues: named AAA.x, AAA.y" in told(report)


def test_one_venue_may_be_taken(root: Path, write: Write, tmp_path: Path) -> None:
    write("bars.parquet", joined(bars() | {"venue": ["x"] * 5}, bars(price=20.0) | {"venue": ["y"] * 5}))
    dataset, _ = read(root, tmp_path / "d", venue="y")
    assert dataset.symbols == ("AAA",) and dataset.columns["bars"]["open"][0] == 20.0


def test_a_price_factor_becomes_an_integer_ratio_and_it_is_said(root: Path, write: Write, tmp_path: Path) -> None:  # R8.1
    write("bars.parquet", bars(30))
    kinds, ratios = ["split", "split", "dividend", "split", "delist"], [0.1428572, 20.0, 0.99, 0.5, None]
    table = {
        "symbol": ["AAA"] * 5,
        "ts": [T0_MS + HOUR_MS * i for i in range(5)],
        "kind": kinds,
        "ratio": ratios,
        "amount": [None, None, 0.5, None, None],
    }
    write("corporate_actions.parquet", table)
    dataset, report = read(root, tmp_path / "d")
    actions = dataset.columns["actions"]
    assert [ACTIONS[kind] for kind in actions["kind"]] == kinds
    assert actions["num"].tolist() == [7, 1, 0, 2, 0] and actions["den"].tolist() == [1, 20, 0, 1, 0]
    assert actions["value"].tolist() == [0, 0, 0.5, 0, 0]
    assert "split factor, row 1: 0.1428572 -> 7:1 (new:old)" in told(report) and "row 4" not in told(report)


def test_a_split_may_be_given_in_whole_numbers(root: Path, write: Write, tmp_path: Path) -> None:
    write("bars.csv", bars(30))
    write("splits.csv", {"symbol": ["AAA"], "ts": [T0_MS], "kind": ["split"], "num": [3], "den": [2]})
    actions = read(root, tmp_path / "d")[0].columns["actions"]
    assert (actions["num"].tolist(), actions["den"].tolist()) == ([3], [2])


@given(st.integers(1, MAX_TERM), st.integers(1, MAX_TERM), st.floats(-0.9e-7, 0.9e-7))
def test_a_ratio_is_found_again_from_its_factor_with_noise(num: int, den: int, noise: float) -> None:  # R8.1
    exact = Fraction(num, den)
    assert split_ratio(den / num * (1 + noise)) == exact


@given(st.floats(1e-4, 1e4))
def test_a_ratio_is_near_and_has_small_terms_or_is_none(factor: float) -> None:  # R8.1
    ratio = split_ratio(factor)
    if ratio is not None:
        assert max(ratio.numerator, ratio.denominator) <= MAX_TERM
        assert abs(float(1 / ratio) / factor - 1) <= 1.0001e-4
    else:
        assert all(
            abs(round(term * factor) / term / factor - 1) > 1e-4 or round(term * factor) > MAX_TERM for term in range(1, MAX_TERM + 1)
        )


def test_instruments_are_inferred_and_may_be_overridden(root: Path, write: Write, tmp_path: Path) -> None:
    write("bars.parquet", joined(bars(20), bars(20, symbol="BBB")))
    write("funding.parquet", funding())
    dataset, _ = read(root, tmp_path / "d")
    assert dataset.instruments["AAA"] == {
        "kind": "linear_perp", "tick": "0.01", "lot": "0.1", "multiplier": "1", "min_qty": 0.0, "min_notional": 0.0, "sessions": False
    }  # fmt: skip
    assert dataset.instruments["BBB"]["kind"] == "spot"
    (root / "instruments.json").write_text(json.dumps({"default": {"lot": "0.001"}, "BBB": {"tick": 0.5, "shortable": True}}))
    changed, _ = read(root, tmp_path / "d", instruments={"BBB": {"tick": "0.25"}})
    assert changed.instruments["AAA"]["lot"] == "0.001" and changed.instruments["BBB"]["tick"] == "0.25"
    assert changed.instruments["BBB"]["shortable"] is True and changed.id != dataset.id


def test_what_is_not_used_is_said(root: Path, write: Write, tmp_path: Path) -> None:
    write("bars.parquet", bars() | {"taker_volume": [1.0] * 5})
    write("trades.parquet", {"symbol": ["AAA"], "ts": [T0_MS], "price": [1.0], "qty": [1.0]})
    (root / "README.md").write_text("hello")
    (root / ".hidden.csv").write_text("nonsense")
    _, report = read(root, tmp_path / "d")
    assert "columns not used: taker_volume" in told(report) and "single trades are not used" in told(report)
    assert [file.file for file in report.files] == ["bars.parquet", "trades.parquet", "README.md"]


def test_universe_and_missing_volume(root: Path, write: Write, tmp_path: Path) -> None:
    write("bars.csv", {name: column for name, column in bars().items() if name != "volume"})
    write("universe.csv", {"symbol": ["AAA", "AAA"], "ts": [T0_MS, T0_MS + HOUR_MS], "listed": [True, False]})
    dataset, _ = read(root, tmp_path / "d")
    assert dataset.columns["universe"]["listed"].tolist() == [1, 0]
    assert np.isnan(dataset.columns["bars"]["volume"]).all()


def test_the_report_is_plain_data_and_renders(root: Path, write: Write, tmp_path: Path) -> None:
    from rich.console import Console

    write("bars[/x].parquet", joined(bars(3), bars(2, first=5)))
    _, report = read(root, tmp_path / "d")
    assert json.loads(json.dumps(report.to_dict()))["files"][0]["rows"] == 5
    console = Console(record=True, width=160, file=io.StringIO())
    console.print(report.render())
    text = console.export_text()
    assert "1 gap, 2 bars missing" in text and "bars[/x].parquet" in text
