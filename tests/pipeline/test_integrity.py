"""A run's folder of which a file was altered, by as little as one bit, is refused with one message before anything parses it."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from engine.ledger import LedgerError, read_ledger
from pipeline.console import guarded
from pipeline.errors import RunError
from pipeline.folder import save
from pipeline.integrity import file_hashes, read_table
from pipeline.launch import run
from pipeline.stored_run import open_run
from pipeline.verbs import app
from pipeline.verify import verify_run
from tests.pipeline.small import config, rehash

FLIPS = 200
HASHED = ("ledger.arrow", "trades.parquet", "equity.parquet", "config.yaml", "strategies/mine.py", "ledger.jsonl")
VERBS: tuple[tuple[str, ...], ...] = (("verify",), ("explain", "--trade", "1"), ("diff",), ("regret",))
SOURCE = """
class Mine:
    def features(self):
        return {"top": {"donchian": {"n": 12}}}

    def propose(self):
        return {"long": "close > lag(top_upper, 1)", "exit_long": "close < top_middle"}
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    (folder / "mine.py").write_text(SOURCE)
    strategy = f"strategies=[{{id: mine, file: {folder / 'mine.py'}}}]"
    return save(run(config("dataset=demo://perps?symbols=2&days=10&interval=1h&seed=3", strategy)), folder / "runs", jsonl=True)


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / whole.name))


def flipped(content: bytes, place: int) -> bytes:
    """The bytes with one bit of another value, a place of its own for each number."""
    draw = random.Random(place)  # noqa: S311  not for secrets
    altered = bytearray(content)
    altered[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(altered)


def ending(whole: Path, copy: Path, verb: tuple[str, ...]) -> tuple[int, str]:
    """The exit status of a verb and what it said; it leaves no traceback and, where it refuses, one message."""
    others = (str(whole),) if verb[0] == "diff" else ()
    done = CliRunner().invoke(app, [verb[0], str(copy), *others, *verb[1:]])
    assert done.exit_code in (0, 2), (done.output, done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert "Traceback" not in done.output and "panicked" not in done.output
    assert done.output.count("tapeline: ") == (done.exit_code == 2)
    return done.exit_code, done.output


@pytest.mark.parametrize("verb", VERBS, ids=[verb[0] for verb in VERBS])
@pytest.mark.parametrize("name", HASHED)
def test_a_flipped_bit_is_refused_and_its_file_named(whole: Path, copy: Path, name: str, verb: tuple[str, ...]) -> None:
    content = (copy / name).read_bytes()
    for place in range(FLIPS):
        (copy / name).write_bytes(flipped(content, place))
        status, told = ending(whole, copy, verb)
        assert status == 2
        assert told.startswith(f"tapeline: {copy / name}: altered since it was written") and told.endswith("with `tapeline run`\n")
    (copy / name).write_bytes(content)
    assert ending(whole, copy, verb)[0] == 0


@pytest.mark.parametrize("verb", VERBS, ids=[verb[0] for verb in VERBS])
def test_a_flipped_bit_of_the_summary_ends_in_no_traceback(whole: Path, copy: Path, verb: tuple[str, ...]) -> None:
    content, statuses = (copy / "summary.json").read_bytes(), set[int]()
    for place in range(FLIPS):
        (copy / "summary.json").write_bytes(flipped(content, place))
        statuses.add(ending(whole, copy, verb)[0])
    assert 2 in statuses


@pytest.mark.parametrize("name", ["trades.parquet", "equity.parquet"])
def test_a_table_of_flipped_bits_and_a_hash_made_anew_ends_in_no_traceback(copy: Path, name: str) -> None:
    content, said = (copy / name).read_bytes(), list[str]()
    for place in range(FLIPS):
        (copy / name).write_bytes(flipped(content, place))
        try:
            read_table(copy / name)
        except RunError as error:
            said.append(str(error))
    assert len(said) > FLIPS // 10
    assert all(f"{name}: not a Parquet file of a run" in one and "\n" not in one for one in said)


def test_a_bare_ledger_of_flipped_bits_is_read_or_refused(copy: Path) -> None:
    content, refused = (copy / "ledger.arrow").read_bytes(), 0
    for place in range(FLIPS):
        (copy / "ledger.arrow").write_bytes(flipped(content, place))
        try:
            read_ledger(copy / "ledger.arrow")
        except LedgerError:
            refused += 1
    assert refused > FLIPS // 4


@pytest.mark.parametrize("name", ["ledger.arrow", "trades.parquet"])
def test_the_program_itself_ends_with_one_message(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[-12] ^= 0x40  # in the length of the footer
    (copy / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "verify", str(copy)], capture_output=True, text=True, env=os.environ, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"tapeline: {copy / name}: altered since it was written") and done.stderr.count("\n") == 1


def test_every_file_but_the_summary_has_its_hash_in_it(whole: Path) -> None:
    files = json.loads((whole / "summary.json").read_text())["files"]
    assert set(files) == set(HASHED)
    assert files == file_hashes(whole)


def test_the_same_run_saved_again_has_the_same_hashes(whole: Path, tmp_path: Path) -> None:
    again = open_run(whole).config
    folder = save(run(again.model_copy(update={"out": str(tmp_path)})), tmp_path, jsonl=True)
    hashes = [json.loads((one / "summary.json").read_text())["files"] for one in (whole, folder)]
    assert {name: hashes[0][name] for name in HASHED if name.endswith((".parquet", ".py"))}.items() <= hashes[1].items()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: None, r"summary\.json: has no hash of ledger\.arrow \(key files\)"),
        (lambda files: ["ledger.arrow"], r"summary\.json: has no hash of ledger\.arrow"),
        (lambda files: {name: files[name] for name in files if name != "config.yaml"}, r"has no hash of config\.yaml"),
        (lambda files: files | {"proposals/other.arrow": "0" * 64}, r"proposals/other\.arrow: missing, summary\.json lists it"),
        (lambda files: files | {"config.yaml": 5}, r"config\.yaml: altered"),
    ],
)
def test_a_summary_without_its_hashes_is_refused(copy: Path, change: Callable[[dict[str, str]], object], said: str) -> None:
    summary = json.loads((copy / "summary.json").read_text())
    (copy / "summary.json").write_text(json.dumps({**summary, "files": change(summary["files"])}))
    with pytest.raises(RunError, match=said):
        verify_run(copy)


def test_hashes_made_anew_leave_the_ledger_to_the_chain(copy: Path) -> None:  # R11.2
    content = bytearray((copy / "ledger.arrow").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "ledger.arrow").write_bytes(content)
    rehash(copy)
    with pytest.raises(LedgerError):
        verify_run(copy)


def test_a_panic_of_polars_is_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    from polars.exceptions import PanicException

    def command() -> None:
        raise PanicException("index out of bounds")

    with pytest.raises(typer.Exit) as caught:
        guarded(command)()
    assert caught.value.exit_code == 1 and "a defect, PanicException: index out of bounds" in capsys.readouterr().err
