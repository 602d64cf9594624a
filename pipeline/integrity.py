"""The files of a run's folder are those that were written: each is hashed before anything parses it.

Readers of Arrow and Parquet trust a file's metadata; of one with a flipped bit they may read memory that is not theirs.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import RunError

if TYPE_CHECKING:
    import polars as pl

SUMMARY = "summary.json"
"""Holds the hashes, so has none itself."""


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below a run's folder but the summary, by its path in it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in paths if path != folder / SUMMARY}


def require_unaltered(folder: Path, summary: Mapping[str, Any], needed: tuple[str, ...]) -> None:
    """Compare every file that a summary lists with its hash.

    Parameters
    ----------
    needed
        Files that the summary must list.

    Raises
    ------
    RunError
        Names the first file that is missing, or not as it was written.
    """
    said = summary.get("files")
    lacking = [name for name in needed if name not in said] if isinstance(said, dict) else needed
    if not isinstance(said, dict) or lacking:
        raise RunError(
            f"{folder / SUMMARY}: has no hash of {lacking[0]} (key files), so whether it is as it was written cannot be told; "
            "replay the run with `tapeline run`"
        )
    for name, hashed in said.items():
        if not (folder / name).is_file():
            raise RunError(f"{folder / name}: missing, {SUMMARY} lists it; replay the run with `tapeline run`")
        if _sha256(folder / name) != hashed:
            raise RunError(
                f"{folder / name}: altered since it was written, its SHA-256 is not that in {SUMMARY}; replay the run with `tapeline run`"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_table(path: Path, columns: list[str] | None = None) -> "pl.DataFrame":
    """A Parquet file of a run's folder.

    Raises
    ------
    RunError
        If Polars cannot read it, or panics.
    """
    import polars as pl

    try:
        return pl.read_parquet(path, columns=columns)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise RunError(f"{path}: not a Parquet file of a run ({reason}); run the config anew") from None
