"""docs/data.md names the columns, words and actions that the code knows, and no others; its examples are read as it says."""

import re
from pathlib import Path

import pytest

from engine.dataset import ACTIONS
from pipeline.ingest import IngestOptions, ingest
from pipeline.ingest.actions import MAX_TERM, TOLERANCE
from pipeline.ingest.roles import CANDLE_COMMON, COMMON, OPTIONAL, REQUIRED, WORDS, parse_interval, recognise
from pipeline.ingest.sources import Source
from pipeline.ingest.values import MAX_RATE
from tests.ingest.tables import Write, bars

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()


def section(heading: str) -> str:
    return re.split(r"\n#+ ", PAGE.partition(f"# {heading}\n")[2])[0]


def rows(heading: str) -> list[list[str]]:
    """Cells of the table of a section, its head left out."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_table_of_kinds_is_that_of_the_code() -> None:
    table = rows("Which kind a file is")
    assert {names(kind)[0]: tuple(names(needs)) for kind, needs, _ in table} == REQUIRED
    assert {names(kind)[0]: tuple(names(words)) for kind, _, words in table} == WORDS


@pytest.mark.parametrize("kind", REQUIRED)
def test_the_columns_of_a_kind_are_those_of_the_code(kind: str) -> None:
    needed = [name for cells in rows(f"`{kind}`") if cells[1] == "yes" for name in names(cells[0])]
    optional = [name for cells in rows(f"`{kind}`") if cells[1] == "no" for name in names(cells[0])]
    assert (tuple(needed), sorted(optional)) == (REQUIRED[kind], sorted(OPTIONAL[kind]))


def test_the_common_columns_are_those_of_the_code() -> None:
    assert tuple(names(cells[0])[0] for cells in rows("Columns of every kind")) == COMMON
    assert tuple(names(cells[0])[0] for cells in rows("Times")) == CANDLE_COMMON


def test_limits_and_words_are_those_of_the_code() -> None:
    actions = {names(cells[0])[0]: cells[3] for cells in rows("`actions`")}
    assert tuple(names(actions["kind"])) == ACTIONS
    assert f"to {MAX_TERM};" in actions["num"] and f"up to {MAX_TERM}, within {TOLERANCE:.4f} of" in section("`actions`")
    assert f"above {MAX_RATE} is refused" in rows("`funding`")[0][3]
    lengths = names({names(cells[0])[0]: cells[3] for cells in rows("Times")}["interval"])
    assert len(lengths) == 9 and all(map(parse_interval, lengths))


@pytest.mark.parametrize(
    ("file", "kind", "symbol"),
    [
        ("BTCUSDT-mark_1h.parquet", "marks", "BTCUSDT"),
        ("marks/BTCUSDT.csv", "marks", "BTCUSDT"),
        ("BTCUSDT.csv", "bars", "BTCUSDT"),
        ("ETH-PERP_1h.csv", "bars", "ETH-PERP"),
        ("BTCUSDT-funding.parquet", "funding", "BTCUSDT"),
    ],
)
def test_named_files_are_what_the_page_says(file: str, kind: str, symbol: str) -> None:
    assert f"`{file}`" in PAGE
    columns = ("ts", "rate") if kind == "funding" else ("ts", "open", "high", "low", "close")
    role = recognise(Source(Path(file), file, columns))
    assert role is not None and (role.kind, role.symbol) == (kind, symbol)


@pytest.mark.parametrize("shown", ["2024-01-31T00:00:00Z", "2024-01-31 01:00:00.5+01:00"])
def test_times_are_read_as_the_page_writes_them(root: Path, write: Write, tmp_path: Path, shown: str) -> None:
    assert f"`{shown}`" in section("Times")
    table = {name: values for name, values in bars(1).items() if name != "open_time"}
    write("bars.csv", table | {"ts": [shown]})
    report = ingest(root, tmp_path / "dest", options=IngestOptions(interval="1h"))
    assert report.info.series[0].last.startswith("2024-01-31T00:00:00")


def test_a_column_of_sessions_is_enough(root: Path, write: Write, tmp_path: Path) -> None:
    write("bars.csv", bars(2) | {"session": ["any", "thing"]})
    report = ingest(root, tmp_path / "dest")
    assert any("1 equity" in note for note in report.notes)
