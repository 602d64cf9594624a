"""A run's folder, opened to be explained or compared: its ledger folded into trades, and, where its dataset is still there, the market."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import RunError
from pipeline.progress import Progress

if TYPE_CHECKING:
    from engine.ledger import Ledger
    from engine.round_trips import Fold, Row
    from pipeline.config import RunConfig
    from pipeline.result import Result


@dataclass(frozen=True)
class StoredRun:
    """What a folder holds; nothing is replayed for it."""

    folder: Path
    summary: Mapping[str, Any]
    config: "RunConfig"
    ledger: "Ledger" = field(repr=False)

    @cached_property
    def fold(self) -> "Fold":
        """Trades and the money outside of them."""
        from engine.round_trips import fold

        return fold(self.ledger)

    @cached_property
    def rows(self) -> "list[Row]":
        """Ledger records as dictionaries."""
        from engine.round_trips import rows_of

        return rows_of(self.ledger)

    @property
    def scale(self) -> int:
        """Money units in one of the account currency."""
        return int(10 ** int(self.ledger.header["decimals"]))


def open_run(folder: str | Path) -> StoredRun:
    """Open a run's folder.

    Raises
    ------
    LedgerError
        If the ledger was cut or altered.
    RunError, ConfigError
        If the folder is not that of a run, kept no ledger, or contradicts itself.
    """
    from engine.ledger import read_ledger
    from pipeline.folder import read_summary, stored_config

    folder = Path(folder)
    summary = read_summary(folder)
    if summary["ledger"] == "off":
        raise RunError(f"{folder}: the run kept no ledger (ledger: off); run it with ledger: trades")
    ledger = read_ledger(folder / "ledger.arrow")
    if ledger.header.get("result_hash") != summary["result_hash"]:
        raise RunError(f"{folder}: ledger.arrow and summary.json are of different results; run the config anew")
    return StoredRun(folder, summary, stored_config(folder), ledger)


def replay_again(stored: StoredRun, progress: Progress) -> "tuple[Result | None, str]":
    """The run once more, with its market; or None and why it cannot be had."""
    from pipeline import build
    from pipeline.launch import run

    try:
        dataset = build.dataset_of(stored.config)
        if dataset.id != stored.summary["dataset_id"]:
            return (
                None,
                f"{stored.config.dataset} is now another dataset ({dataset.id[:16]}, the run had {stored.summary['dataset_id']!s:.16})",
            )
        result = run(stored.config, dataset=dataset, store=stored.folder.parent / "features", progress=progress)
    except (ValueError, OSError) as error:
        return None, f"the run cannot be replayed: {error}"
    if result.result_hash != stored.summary["result_hash"]:
        return None, "replayed, it gives another result now (tapeline verify says more)"
    return result, ""
