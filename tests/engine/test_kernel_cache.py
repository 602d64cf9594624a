"""Where compiled code is kept: by version of the engine's sources, and wherever there is room for it."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from numba.core import config

from engine import kernel
from engine.replay import replay, replay_plain


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the engine's sources, and a cache of its own."""
    folder = tmp_path / "engine"
    shutil.copytree(Path(kernel.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(kernel, "__file__", str(folder / "kernel.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def test_an_edit_to_any_source_is_another_folder(sources: Path, tmp_path: Path) -> None:
    before = kernel.cache_folder.__wrapped__()
    assert before.is_dir() and before.parent == tmp_path / "cache" / "tapeline"
    assert kernel.cache_folder.__wrapped__() == before
    with (sources / "money.py").open("a") as file:
        file.write("\n")
    assert kernel.cache_folder.__wrapped__() != before


def test_compiled_code_goes_to_the_temporary_folder_where_home_cannot_be_written(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("in the way")
    (tmp_path / "other").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "other"))
    folder = kernel.cache_folder.__wrapped__()
    assert folder.is_dir() and folder.is_relative_to(tmp_path / "other")
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert kernel.cache_folder.__wrapped__() == folder


def test_a_folder_that_others_could_have_filled_is_not_used(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    assert kernel.private_folder(mine) == mine == kernel.private_folder(mine)
    mine.chmod(0o770)
    link, file = tmp_path / "link", tmp_path / "file"
    (tmp_path / "closed").mkdir(mode=0o700)
    link.symlink_to(tmp_path / "closed")
    file.touch()
    for path in (mine, link, file):
        other = kernel.private_folder(path)
        assert other != path and other.parent == tmp_path and other.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = kernel.private_folder(tmp_path / "theirs")
    monkeypatch.setattr(os, "getuid", lambda: theirs.stat().st_uid + 1)
    assert kernel.private_folder(theirs) != theirs


def test_an_entry_is_compiled_once_its_folder_holds_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(config, "DISABLE_JIT", 1)
    assert kernel.is_compiled(replay) and kernel.is_compiled(replay_plain)
    monkeypatch.setattr(config, "DISABLE_JIT", 0)
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "portfolio.equity-9.py311.1.nbc").touch()
    (tmp_path / "engine" / "replay.replay_plain-52.py311.1.nbc").touch()
    assert kernel.is_compiled(replay_plain) and not kernel.is_compiled(replay)
    (tmp_path / "engine" / "replay.replay-40.py311.1.nbc").touch()
    assert kernel.is_compiled(replay)
