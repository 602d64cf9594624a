"""Every refusal of an ingest: the message says where and how to mend it, and nothing is left at the destination."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.dataset import DatasetError
from pipeline.ingest import IngestOptions, ingest
from tests.ingest.tables import HOUR_MS, T0_MS, Write, bars, funding, joined, quotes

Case = Callable[[Path, Write], Any]


def with_value(table: dict[str, list[Any]], column: str, row: int, value: Any) -> dict[str, list[Any]]:
    """The table with one value changed; rows count from 1."""
    return table | {column: [value if i == row - 1 else old for i, old in enumerate(table[column])]}


def without(table: dict[str, list[Any]], *columns: str) -> dict[str, list[Any]]:
    return {name: values for name, values in table.items() if name not in columns}


def action(**given: Any) -> dict[str, list[Any]]:
    return {"symbol": ["AAA"], "ts": [T0_MS], "kind": ["split"], "ratio": [0.5]} | {name: [value] for name, value in given.items()}


def raw(name: str, content: bytes) -> Case:
    return lambda root, _: (root / name).write_bytes(content)


def one(name: str, table: Any) -> Case:
    return lambda _, write: write(name, table)


def beside_bars(name: str, table: Any) -> Case:
    return lambda _, write: (write("bars.parquet", bars()), write(name, table))


def truncated(root: Path, write: Write) -> None:
    path = write("bars.parquet", bars())
    path.write_bytes(path.read_bytes()[:-20])


def cut_inside(root: Path, write: Write) -> None:
    path = write("bars.parquet", bars(2000))
    content = path.read_bytes()
    path.write_bytes(content[:4] + content[500:])


def doubled_parquet_column(root: Path, write: Write) -> None:
    table = pa.table(bars())
    pq.write_table(pa.Table.from_arrays([*table.columns, table["close"]], names=[*table.column_names, "close"]), root / "bars.parquet")


def naive(root: Path, write: Write) -> None:
    frame = pl.DataFrame(bars()).with_columns(pl.from_epoch("ts", "ms"))
    write("bars.parquet", frame)


def seconds_as_ms(root: Path, write: Write) -> None:
    stamps = [(pl.col(name) // 1000).cast(pl.Datetime("ms", "UTC")) for name in ("open_time", "ts")]
    write("bars.parquet", pl.DataFrame(bars()).with_columns(stamps))


def two_files(first: dict[str, list[Any]], second: dict[str, list[Any]]) -> Case:
    return lambda _, write: (write("bars_a.parquet", first), write("bars_b.csv", second))


CASES: dict[str, tuple[Case, str]] = {
    # files
    "no such source": (lambda root, _: root.rmdir(), r"source: no such file or folder"),
    "an empty folder": (lambda *_: None, r"no \.parquet or \.csv file in it"),
    "an empty file": (raw("bars.csv", b""), r"bars\.csv: the file is empty"),
    "no rows": (one("bars.csv", {name: [] for name in bars()}), r"bars\.csv: it holds no rows"),
    "no rows in Parquet": (one("bars.parquet", pl.DataFrame(bars()).clear()), r"bars\.parquet: it holds no rows"),
    "truncated Parquet": (truncated, r"bars\.parquet: Parquet without its end: the file is cut; export or download it again"),
    "Parquet with a hole": (cut_inside, r"bars\.parquet: it cannot be read .* the file is cut or damaged"),
    "HTML saved as Parquet": (raw("bars.parquet", b"\n<!DOCTYPE html><html>404</html>"), r"bars\.parquet: it is a web page"),
    "HTML saved as CSV": (raw("bars.csv", b"<html>\n<body>503"), r"bars\.csv: it is a web page"),
    "CSV named Parquet": (raw("bars.parquet", b"symbol,ts\nA,1\n"), r"bars\.parquet: it is not Parquet: it starts with b'symbol,t'"),
    "Parquet named CSV": (raw("bars.csv", b"PAR1\x00\x01PAR1"), r"bars\.csv: it is Parquet under a CSV name; rename it"),
    "binary CSV": (raw("bars.csv", b"PK\x03\x04\x00\x00"), r"bars\.csv: it is binary"),
    "CSV that is not UTF-8": (raw("bars.csv", "symbol,ts,rate\nÄ,1,0\n".encode("latin-1")), r"bars\.csv: it cannot be read"),
    "CSV with a short row": (
        raw("funding.csv", b"symbol,ts,rate\nA,1704067200,0.1\nA,1704067201\n"),
        r"funding\.csv row 2: 'A,1704067201': 2 fields under 3 columns",
    ),
    # columns
    "missing column": (one("bars.parquet", without(bars(), "close")), r"bars\.parquet: no column 'close', which bars need"),
    "misspelt column": (
        one("bars.csv", {("Close" if name == "close" else name): column for name, column in bars().items()}),
        r"bars\.csv: no column 'close'.*rename column 'Close' to 'close'",
    ),
    "missing time": (one("bars.parquet", without(bars(), "ts", "open_time")), r"no column 'ts', which bars need"),
    "half of the quotes": (one("quotes.parquet", without(quotes(), "ask_low")), r"no column 'ask_low', which quotes need"),
    "duplicate CSV column": (raw("bars.csv", b"symbol,ts,close,close\nA,1,2,3\n"), r"bars\.csv: column 'close' is there 2 times; keep one"),
    "duplicate Parquet column": (doubled_parquet_column, r"bars\.parquet: column 'close' is there 2 times"),
    "unknown columns": (
        one("x.csv", {"alpha": [1], "beta": [2]}),
        r"x\.csv: columns alpha, beta are of no known kind; .* as docs/data\.md says",
    ),
    "no symbol": (one("bars.csv", without(bars(), "symbol")), r"bars\.csv: no column 'symbol', and the file's name is not one"),
    "one time and no interval": (
        one("bars.csv", without(bars(), "open_time")),
        r"row 1: 'ts' without 'open_time', and no interval.*pass the interval",
    ),
    "bad interval": (one("bars.csv", bars() | {"interval": ["1x"] * 5}), r"row 1 column interval: '1x': not an interval"),
    # times
    "backwards": (
        one("bars.csv", joined(bars(2, first=3), bars(2))),
        r"bars\.csv row 3 column ts: 2024-01-01T01.*: time of AAA runs backwards.*sort the rows",
    ),
    "duplicate key": (
        one("bars.csv", joined(bars(2), bars(1, first=1))),
        r"bars\.csv row 3 column ts: .*: a second bars row of AAA at this time",
    ),
    "duplicate funding": (
        beside_bars("funding.csv", joined(funding(1), funding(1))),
        r"funding\.csv row 2 column ts: .*a second funding row",
    ),
    "naive timestamps": (naive, r"bars\.parquet row 1 column ts: 2024-01-01 01:00:00: a naive time.*assume_utc"),
    "text that is no time": (one("bars.csv", bars() | {"ts": ["noon"] * 5}), r"bars\.csv row 1 column ts: noon: not a time"),
    "link to nothing": (
        lambda root, write: [write("bars.csv", bars()), (root / "more.csv").symlink_to("absent")],
        r"more\.csv: a link to nothing",
    ),
    "naive text": (one("bars.csv", bars() | {"ts": ["2024-01-01 01:00:00"] * 5}), r"bars\.csv row 1 column ts: .*a naive time"),
    "dates as text": (one("bars.csv", bars() | {"ts": ["2024-01-01"] * 5}), r"bars\.csv row 1 column ts: 2024-01-01: a date without"),
    "dates": (
        one("bars.parquet", pl.DataFrame(bars()).with_columns(pl.from_epoch("ts", "ms").dt.date())),
        r"column ts: 2024-01-01: a date without a time of day is no instant; write the time of day",
    ),
    "mixed units in a column": (
        one("bars.csv", with_value(bars(), "ts", 4, (T0_MS + 4 * HOUR_MS) // 1000)),
        r"bars\.csv row 4 column ts: 1704081600: not ms since 1970 .* mixed units",
    ),
    "mixed units between columns": (
        one("bars.csv", bars() | {"ts": [ts // 1000 for ts in bars()["ts"]]}),
        r"times are .* ms .* but in column ts .*mixed units",
    ),
    "mixed styles": (
        one("bars.csv", bars() | {"ts": [*map(str, bars()["ts"][:4]), "2024-01-01T05:00:00Z"]}),
        r"row 5 column ts: .*mixed units",
    ),
    "seconds read as ms": (seconds_as_ms, r"bars\.parquet row 1 column (ts|open_time): .*outside 1971 to 2100; s read as ms"),
    "a count of days": (one("bars.csv", bars() | {"ts": [19_723 + i for i in range(5)]}), r"row 1 column ts: 19723: in no unit"),
    "fractional epochs": (
        one("bars.parquet", bars() | {"ts": [float(ts) for ts in bars()["ts"]]}),
        r"column ts: .*double is no type of a time",
    ),
    "missing time value": (one("bars.parquet", with_value(bars(), "ts", 2, None)), r"row 2 column ts: missing: every row has a time"),
    "close before open": (
        one("bars.csv", bars() | {"open_time": bars()["ts"], "ts": bars()["open_time"]}),
        r"a bar opens before it closes",
    ),
    "overlapping bars": (
        one("bars.csv", joined(bars(2), bars(1, first=1, hours=2) | {"open_time": [T0_MS]})),
        r"bars\.csv row 3 column open_time: .*opens before the one before it closes.*'interval'",
    ),
    # values
    "NaN price": (
        one("bars.parquet", with_value(bars(), "open", 3, float("nan"))),
        r"row 3 column open: missing or NaN: a price is a finite",
    ),
    "missing price": (one("bars.csv", with_value(bars(), "close", 2, None)), r"row 2 column close: missing or NaN"),
    "infinite price": (one("bars.csv", with_value(bars(), "high", 2, float("inf"))), r"row 2 column high: inf: a price is a finite"),
    "zero price": (one("bars.csv", with_value(bars(), "low", 5, 0.0)), r"row 5 column low: 0\.0: a price is a finite number above zero"),
    "negative price": (one("bars.csv", with_value(bars(), "low", 5, -1.0)), r"row 5 column low: -1\.0"),
    "text for a price": (
        one("bars.csv", with_value(bars(), "low", 5, "n/a") | {"low": ["1", "1", "1", "1", "n/a"]}),
        r"row 5 column low: 'n/a': not a number",
    ),
    "high below low": (one("bars.csv", with_value(bars(), "high", 2, 1.0)), r"row 2 column high: 1\.0: the high is below the low"),
    "close outside": (
        one("bars.csv", with_value(bars(), "close", 2, 99.0)),
        r"row 2 column close: 99\.0: the close lies outside low and high",
    ),
    "open outside": (one("bars.csv", with_value(bars(), "open", 1, 9.0)), r"row 1 column open: 9\.0: the open lies outside"),
    "negative volume": (one("bars.csv", with_value(bars(), "volume", 4, -3.0)), r"row 4 column volume: -3\.0: a volume is"),
    "crossed quotes": (
        beside_bars("spread.csv", {"symbol": ["AAA"], "ts": [T0_MS], "bid": [2.0], "ask": [1.0]}),
        r"spread\.csv row 1 column bid: 2\.0: the bid is above the ask; drop the row, or pass --keep-crossed",
    ),
    "crossed quote candles": (
        one("quotes.csv", quotes() | {"bid_close": quotes()["ask_high"], "bid_high": quotes()["ask_high"]}),
        r"column bid_close: .*the bid is above",
    ),
    "a quote that is no price": (one("quotes.csv", with_value(quotes(), "ask_low", 3, 0.0)), r"row 3 column ask_low: 0\.0"),
    "half of a quote beside bars": (
        one("bars.csv", bars() | without(quotes(), "symbol", "open_time", "ts") | {"ask_open": [10.01, None, 10.0, 10.0, 10.0]}),
        r"row 2 column ask_open: missing or NaN",
    ),
    "percent for a rate": (
        beside_bars("funding.csv", with_value(funding(), "rate", 2, 8.0)),
        r"funding\.csv row 2 column rate: 8\.0: a rate is a fraction .*divide percentages",
    ),
    "missing rate": (beside_bars("funding.csv", with_value(funding(), "rate", 1, None)), r"row 1 column rate: missing or NaN"),
    "negative mark": (beside_bars("funding.csv", with_value(funding(), "mark", 1, -5.0)), r"row 1 column mark: -5\.0"),
    "split ratio 0": (beside_bars("actions.csv", action(ratio=0.0)), r"actions\.csv row 1 column ratio: 0\.0: the factor of a split"),
    "split that is no ratio": (beside_bars("actions.csv", action(ratio=0.00012345)), r"no ratio of whole numbers up to 1000"),
    "split given as 2:0": (beside_bars("actions.csv", action(num=2, den=0)), r"row 1 column den: 0\.0: a term of a split"),
    "unknown action": (
        beside_bars("actions.csv", action(kind="merger")),
        r"row 1 column kind: 'merger': an action is one of split, dividend, delist",
    ),
    "dividend without amount": (beside_bars("actions.csv", action(kind="dividend")), r"a dividend is a finite amount"),
    "one dividend twice": (
        beside_bars("actions.csv", joined(action(kind="dividend", amount=1.0), action(kind="dividend", amount=2.0))),
        r"actions\.csv row 2 column ts: a second dividend of AAA",
    ),
    "listed that is neither": (
        beside_bars("universe.csv", {"symbol": ["AAA"], "ts": [T0_MS], "listed": [2]}),
        r"row 1 column listed: 2: 1 \(listed\) or 0",
    ),
    # symbols
    "unknown symbol in funding": (
        beside_bars("funding.csv", funding(symbol="AAB")),
        r"funding\.csv row 1 column symbol: AAB: funding of a symbol without bars \(did you mean 'AAA'\?\)",
    ),
    "unknown symbol in actions": (beside_bars("actions.csv", action(symbol="ZZZ")), r"actions of a symbol without bars"),
    "symbols equal but for case": (
        one("bars.csv", joined(bars(), bars(symbol="aaa"))),
        r"'aaa' and 'AAA' .*differ only in case or Unicode form",
    ),
    "symbols equal but for Unicode": (one("bars.csv", joined(bars(), bars(symbol="ＡＡＡ"))), r"differ only in case or Unicode form"),
    "empty symbol": (one("bars.parquet", bars() | {"symbol": ["AAA", "", "AAA", "AAA", "AAA"]}), r"row 2 column symbol: '': missing"),
    "missing symbol": (one("bars.parquet", bars() | {"symbol": ["AAA", None, "AAA", "AAA", "AAA"]}), r"row 2 column symbol: missing"),
    "symbol with blanks": (one("bars.csv", bars(symbol="AAA ")), r"row 1 column symbol: 'AAA '"),
    # files against each other
    "two files disagree": (
        two_files(bars(), with_value(bars(), "close", 3, 10.05)),
        r"bars_b\.csv row 3 column close: 10\.05: bars_a\.parquet row 3 says 10\.03 for AAA at .*the files disagree; remove the wrong one",
    ),
    "two files hold the same": (
        two_files(bars(3), bars(3, first=2)),
        r"bars_b\.csv row 1 column ts: .*bars_a\.parquet row 3 holds the same bars row",
    ),
    "quotes of one instant in two files": (
        lambda _, write: [write(f"spread_{n}.csv", {"symbol": ["AAA"], "ts": [T0_MS], "bid": [1.0], "ask": [2.0]}) for n in "ab"],
        r"spread_b\.csv row 1 column ts: quotes of AAA at .* are in spread_a\.csv row 1 too",
    ),
    "no venue where it matters": (
        lambda _, write: (
            write("bars.csv", joined(bars() | {"venue": ["x"] * 5}, bars() | {"venue": ["y"] * 5})),
            write("funding.csv", funding()),
        ),
        r"funding\.csv: AAA is at x, y, and this file does not say at which",
    ),
    # instruments.json
    "instruments of unknown symbols": (
        lambda root, write: (write("bars.csv", bars()), (root / "instruments.json").write_text('{"AAB": {}}')),
        r"instruments\.json: unknown symbol 'AAB' \(did you mean 'AAA'\?\)",
    ),
    "instruments with unknown fields": (
        lambda root, write: (write("bars.csv", bars()), (root / "instruments.json").write_text('{"AAA": {"tik": 1}}')),
        r"unknown field 'tik' of AAA \(did you mean 'tick'\?\)",
    ),
    "instruments with a bad tick": (
        lambda root, write: (write("bars.csv", bars()), (root / "instruments.json").write_text('{"AAA": {"tick": -1}}')),
        r"instruments\.json: -1: tick of AAA is a positive decimal",
    ),
    "instruments with bad rates": (
        lambda root, write: (
            write("bars.csv", bars()),
            (root / "instruments.json").write_text('{"AAA": {"borrow": [{"from": "2024-01-01", "rate": -1}]}}'),
        ),
        r"instruments\.json: borrow\.0\.rate: .*greater than or equal to 0, of AAA; write",
    ),
    "instruments with a bad settlement": (
        lambda root, write: (write("bars.csv", bars()), (root / "instruments.json").write_text('{"AAA": {"settlement": "noon"}}')),
        r"instruments\.json: settlement: .*time of day in UTC, such as 16:00, of AAA",
    ),
    "instruments that are not JSON": (
        lambda root, write: (write("bars.csv", bars()), (root / "instruments.json").write_text("{")),
        r"instruments\.json: not JSON",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_with_a_clear_message_and_nothing_left(case: str, root: Path, write: Write, tmp_path: Path) -> None:
    prepare, message = CASES[case]
    prepare(root, write)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(DatasetError) as refused:
        ingest(root, tmp_path / "new" / "dest")
    text = str(refused.value)
    assert re.search(message, text), text
    assert "\n" not in text and "; " in text  # one message, with its mend
    assert sorted(os.listdir(tmp_path)) == before


def test_a_quote_candle_that_overlaps_a_bar_is_refused(root: Path, write: Write, tmp_path: Path) -> None:
    write("bars.csv", bars(2))
    late = [T0_MS + HOUR_MS // 2]
    write("quotes.csv", quotes(1) | {"open_time": late, "ts": [late[0] + HOUR_MS]})
    with pytest.raises(DatasetError, match=r"quotes\.csv: .*overlaps a bar without being of the same open and close"):
        ingest(root, tmp_path / "dest")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "perp"}, "kind 'perp': allowed are spot"),
        ({"interval": "1 fortnight"}, "interval '1 fortnight': write 1m"),
        ({"venue": "binanc"}, r"no rows of venue 'binanc' \(did you mean 'binance'\?\)"),
        ({"instruments": {"AAB": {}}}, "options: unknown symbol 'AAB'"),
    ],
)
def test_options_are_checked(root: Path, write: Write, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    write("bars.csv", bars() | {"venue": ["binance"] * 5})
    with pytest.raises(DatasetError, match=message):
        ingest(root, tmp_path / "dest", options=IngestOptions(**options))
    assert not (tmp_path / "dest").exists()


def test_an_unknown_format_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="format 'neat': allowed are tidy"):
        ingest(root, tmp_path / "dest", "neat")


def test_a_crash_half_way_leaves_nothing(root: Path, write: Write, tmp_path: Path) -> None:
    write("bars.csv", joined(bars(), bars(symbol="BBB")))

    def crash(what: str, *_: int) -> None:
        if what == "writing bars of BBB":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(root, tmp_path / "deep" / "dest", progress=crash)
    assert os.listdir(tmp_path) == ["source"]


def test_an_existing_dataset_is_kept_when_the_new_source_is_refused(root: Path, write: Write, tmp_path: Path) -> None:
    write("bars.csv", bars())
    first = ingest(root, tmp_path / "dest")
    write("bars.csv", with_value(bars(), "low", 1, -1.0))
    with pytest.raises(DatasetError, match="exists already"):
        ingest(root, tmp_path / "dest")
    with pytest.raises(DatasetError, match="a price is"):
        ingest(root, tmp_path / "dest", options=IngestOptions(overwrite=True))
    assert first.id in (tmp_path / "dest" / "manifest.json").read_text()


def test_a_time_of_the_row_that_is_wrong_is_the_row_of_a_large_file(root: Path, write: Write, tmp_path: Path) -> None:
    table = pl.DataFrame(bars(300_000))
    wrong = table.with_columns(pl.when(pl.int_range(pl.len()) == 270_000).then(-1.0).otherwise(pl.col("low")).alias("low"))
    for name in ("bars.csv", "bars.parquet"):
        path = write(name, wrong)
        with pytest.raises(DatasetError, match=rf"{re.escape(name)} row 270001 column low: -1\.0"):
            ingest(root, tmp_path / "dest")
        path.unlink()


def test_dates_are_not_invented(root: Path, write: Write, tmp_path: Path) -> None:
    write(
        "bars.csv",
        bars() | {"ts": [f"2024-01-01T0{i + 1}:00:00" for i in range(5)], "open_time": [f"2024-01-01T0{i}:00:00" for i in range(5)]},
    )
    report = ingest(root, tmp_path / "dest", options=IngestOptions(assume_utc=True))
    assert any("UTC assumed" in note for note in report.files[0].notes)
