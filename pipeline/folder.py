"""The folder of a run: ``runs/<run_id>/`` with ledger, trades, equity, summary and the resolved config, whole or not at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import RunConfig
from pipeline.configfile import dump_yaml, load_config
from pipeline.errors import RunError
from pipeline.integrity import file_hashes, require_unaltered

if TYPE_CHECKING:
    from pipeline.result import Result

FILES = ("ledger.arrow", "trades.parquet", "equity.parquet", "summary.json", "config.yaml")
CLAIMS = ("run_id", "result_hash", "final_equity", "net_profit", "fees", "funding", "currency", "dataset_id", "ledger")
"""What a summary says and ``verify`` checks."""


def save(result: "Result", out: str | Path, jsonl: bool = False) -> Path:
    """Write a run below ``out``; an earlier folder of the same run is replaced.

    Parameters
    ----------
    jsonl
        Whether to write ``ledger.jsonl`` as well, one row a line; of a full ledger, with its market events.

    Raises
    ------
    RunError
        If the folder cannot be written; nothing of it is left then.
    """
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{result.run_id}.", dir=out))
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror}") from None
    try:
        _write(result, part, jsonl)
        return _rename(part, out / result.run_id)
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(result: "Result", part: Path, as_lines: bool) -> None:
    from engine.ledger import jsonl, write_ledger

    level = result.config.ledger
    if level != "off":
        write_ledger(part / "ledger.arrow", result.replay, result.ledger_header, full=level == "full")
    if level != "off" and as_lines:
        with (part / "ledger.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in jsonl(part / "ledger.arrow"))
    result.trades.write_parquet(part / "trades.parquet")
    result.equity.write_parquet(part / "equity.parquet")
    (part / "config.yaml").write_text(dump_yaml(_resolved(result, part)), encoding="utf-8")
    summary = {**result.summary, "files": file_hashes(part)}
    (part / "summary.json").write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    for path in part.rglob("*"):
        _flush(path)


def _resolved(result: "Result", part: Path) -> dict[str, Any]:
    """The config with every default written out, absolute paths, and a copy of each strategy's file or table beside it: the folder suffices for a replay."""
    values = result.config.model_dump(mode="json", exclude_none=True, by_alias=True)
    if "://" not in values["dataset"]:
        values["dataset"] = str(Path(values["dataset"]).resolve())
    for strategy in values["strategies"]:
        if "file" in strategy:
            copy = Path("strategies") / f"{strategy['id']}.py"
            (part / copy.parent).mkdir(exist_ok=True)
            shutil.copyfile(strategy["file"], part / copy)
            strategy["file"] = str(copy)
        if "proposals" in strategy:
            given = result.given[strategy["id"]]
            copy = Path("proposals") / f"{strategy['id']}.{'parquet' if given.external else 'arrow'}"
            (part / copy.parent).mkdir(exist_ok=True)
            given.write(part / copy)
            strategy["proposals"] = str(copy)
    return values


def _flush(path: Path) -> None:
    if path.is_file():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _rename(part: Path, folder: Path) -> Path:
    part.chmod(0o755)
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
        folder.rename(old / folder.name)
        part.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        part.rename(folder)
    return folder


def read_summary(folder: str | Path) -> Mapping[str, Any]:
    """The stored summary of a run, once every file beside it is found to be as it was written.

    Raises
    ------
    RunError
        If the folder is not that of a run, or a file of it was altered.
    """
    folder = Path(folder)
    _require(folder, "summary.json")
    try:
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{folder / 'summary.json'}: cannot be read: {error}") from None
    lacking = [name for name in CLAIMS if name not in summary] if isinstance(summary, dict) else ["a summary"]
    if lacking:
        raise RunError(f"{folder / 'summary.json'}: not the summary of a run: it lacks {lacking[0]}")
    needed = tuple(name for name in FILES if name != "summary.json" and (name != "ledger.arrow" or summary["ledger"] != "off"))
    for name in needed:
        _require(folder, name)
    require_unaltered(folder, summary, needed)
    return summary


def _require(folder: Path, name: str) -> None:
    if not (folder / name).is_file():
        trouble = f"it has no {name}" if folder.is_dir() else "there is no such folder"
        raise RunError(f"{folder}: not the folder of a run: {trouble}")


def stored_config(folder: str | Path) -> RunConfig:
    """The config a run was made with."""
    return load_config(Path(folder) / "config.yaml")
