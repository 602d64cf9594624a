"""What a command tells while it works: stages, and how much of each is done."""

import io
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from engine.dataset import Dataset
from engine.session import Session
from pipeline import console
from pipeline.certify import certify_config
from pipeline.ingest import ingest
from pipeline.launch import run
from pipeline.result import Result
from tests.ingest.tables import bars, funding, joined
from tests.pipeline.small import config


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int, int]] = []

    def __call__(self, stage: str, done: int = 0, total: int = 0, /) -> None:
        self.heard.append((stage, done, total))

    def counted(self, stage: str) -> list[tuple[int, int]]:
        return [(done, total) for name, done, total in self.heard if name.startswith(stage) and total]


@pytest.fixture
def told() -> Told:
    return Told()


def test_a_run_tells_of_symbols_and_of_time_and_gives_the_same_bytes(market: Dataset, result: Result, told: Told) -> None:  # R9.4
    watched = run(config(), dataset=market, progress=told)
    assert watched.result_hash == result.result_hash
    assert watched.replay.equity.tolist() == result.replay.equity.tolist()
    symbols = len(market.symbols)
    computed = told.counted("features and proposals")  # as each batch of symbols begins
    assert computed == [(done, symbols) for done in sorted({done for done, _ in computed})]
    assert computed[0] == (0, symbols) and 1 < len(computed) <= symbols and computed[-1][0] < symbols
    replayed = told.counted("replay")
    assert [done for done, _ in replayed] == list(range(len(replayed))) and len(replayed) > 10
    assert list(dict.fromkeys(name for name, *_ in told.heard))[:2] == ["dataset", "features and proposals"]


def test_compiling_is_told_in_words_and_timed_under_a_short_name(market: Dataset, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "is_compiled", property(lambda _: False))
    monkeypatch.setattr(Session, "compile", lambda _: None)
    found = run(config(), dataset=market, progress=told)
    assert any(name.startswith("compiling the replay (") and "half a minute" in name for name, *_ in told.heard)
    assert list(found.summary["seconds_by_stage"]) == ["dataset", "features and proposals", "replay", "compile"]


def test_certify_tells_of_cuts(told: Told) -> None:
    certify_config(config("dataset=demo://perps?symbols=2&days=20&interval=1h&seed=91"), None, told)
    cuts = told.counted("poisoning the future")
    assert len(cuts) > 5
    assert cuts == [(done, cuts[0][1]) for done in range(cuts[0][1])]


def test_ingest_tells_of_files_and_of_series(tmp_path: Path, told: Told) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name, table in {"bars": joined(bars(symbol="AAA"), bars(symbol="BBB")), "funding": funding()}.items():
        pl.DataFrame(table).write_parquet(source / f"{name}.parquet")
    ingest(source, tmp_path / "dest", progress=told)
    assert told.heard == [
        ("reading bars.parquet", 0, 2),
        ("reading funding.parquet", 1, 2),
        ("writing bars of AAA", 0, 3),
        ("writing bars of BBB", 1, 3),
        ("writing funding of AAA", 2, 3),
    ]


@pytest.fixture(params=[True, False], ids=["terminal", "pipe"])
def screen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    made = Console(file=io.StringIO(), force_terminal=request.param, width=100)
    monkeypatch.setattr(console, "stderr", lambda: made)
    return made


def shown(screen: Console, quiet: bool) -> str:
    with console.progress(quiet) as tell:
        tell("dataset")
        tell("compiling the replay")
        tell("replay", 32, 64)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_a_bar_is_shown_on_a_terminal_alone(screen: Console) -> None:
    text = shown(screen, quiet=False)
    if screen.is_terminal:
        assert "replay" in text and "50%" in text
    else:
        assert text == "compiling the replay ...\n"  # the one stage that lasts


def test_nothing_is_shown_with_json(screen: Console) -> None:
    assert shown(screen, quiet=True) == ""
