"""One run, from a config to its result.

1. ``build`` opens the dataset and lowers the config to settings.
2. ``features.compute`` makes certified proposals for all symbols; ``given`` reads those the config names.
3. ``engine.session`` replays them; strategies that decide event by event make theirs there.  With ``intrabar: bounds`` it does so a
   second time, optimistically.
4. ``Result`` works out the rest when it is asked for.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import RunConfig
from pipeline.errors import ConfigError
from pipeline.progress import Progress, silent

if TYPE_CHECKING:
    from engine.dataset import Dataset
    from engine.session import Session
    from engine.settings import Settings
    from features.proposals import ProposalTable
    from pipeline.result import Result


REPLAY_STEPS = 64  # of a replay that is watched


def run(
    config: "RunConfig | Mapping[str, Any] | str | Path",
    *,
    proposals: Mapping[str, Any] | None = None,
    dataset: "Dataset | None" = None,
    store: Path | None = None,
    progress: Progress | None = None,
) -> "Result":
    """Run a config in memory; no folder is written for it (``folder.save`` does that).

    Parameters
    ----------
    config
        A ``RunConfig``, its plain values, or the path of a config file.
    proposals
        Tables of proposals by strategy id, for strategies that say ``proposals: memory``: a data frame or a mapping of columns.
    dataset
        Market data to use instead of what ``config.dataset`` names.
    store
        Folder of content-addressed features and certificates; None: nothing is kept.
    progress
        Told the name of each stage as it begins, and how much of it is done.

    Returns
    -------
    Result
        ``summary``, ``metrics``, ``equity``, ``trades``, ``ledger``, ``plot()``.

    Raises
    ------
    ConfigError, ValueError
        If the config, the data or the proposals cannot be used; the message says what to mend.
    """
    from engine.schema import Intrabar
    from engine.session import Session
    from pipeline import build
    from pipeline.given import given_tables, union
    from pipeline.result import Result

    tell = progress or silent
    clock = _Clock(tell)
    checked = as_config(config)
    clock.stage("dataset")
    data = build.dataset_of(checked) if dataset is None else dataset
    settings = build.settings_of(checked, data)
    clock.stage("features and proposals")
    streamed = build.event_strategies_of(checked)
    given = given_tables(checked, proposals or {}, data)
    table = union(_certified(checked, data, settings, store, tell), given, settings)
    clock.stage("replay")
    session = Session(data, table.columns, settings, table.symbols, table.strategies)
    if not session.is_compiled:
        clock.stage("compile", "compiling the replay (once after an install; it takes half a minute or so)")
        session.compile()
        clock.stage("replay")
    for name, strategy in streamed.items():
        session.add(name, strategy)
    if progress is not None:
        _watch(session, progress)
    replayed = session.run()
    external = any(one.external for one in given.values())
    provenance = "external" if external else "streamed" if streamed else "certified"
    best = None
    if checked.execution.intrabar == "bounds":
        clock.stage("optimistic replay")
        hopeful = replace(settings, intrabar=Intrabar.OPTIMISTIC)
        session = Session(data, table.columns, hopeful, table.symbols, table.strategies, session.tape)
        for name, strategy in build.event_strategies_of(checked).items():  # made anew: they remember
            session.add(name, strategy)
        best = session.run()
    return Result(checked, data, replayed, provenance, clock.stop(), given, tuple(streamed), best)


def _watch(session: "Session", progress: Progress) -> None:
    """Replay in steps of equal time, and tell of each; the bytes are those of one go."""
    grid = session.tape.grid
    for step in range(REPLAY_STEPS if len(grid) else 0):
        progress("replay", step, REPLAY_STEPS)
        if session.advance(int(grid[(len(grid) - 1) * (step + 1) // REPLAY_STEPS])):
            break


def _certified(
    config: RunConfig, dataset: "Dataset", settings: "Settings", store: Path | None, progress: Progress
) -> "ProposalTable | None":
    """Proposals of the strategies that stage one computes; a table without its certificates is refused."""
    from features.causality import require_certificate
    from features.compute import propose
    from pipeline.build import strategies_of

    specs = strategies_of(config)
    if not specs:
        return None
    symbols = [instrument.symbol for instrument in settings.instruments]
    table = propose(
        dataset,
        specs,
        symbols,
        settings.start_us,
        settings.end_us,
        interval=settings.interval,
        store=store,
        workers=config.jobs,
        progress=progress,
    )
    require_certificate(table, dataset.id)
    return table


def as_config(config: "RunConfig | Mapping[str, Any] | str | Path") -> RunConfig:
    """A config from any of its forms."""
    from pipeline.configfile import load_config, parse_config

    if isinstance(config, RunConfig):
        return config
    if isinstance(config, Mapping):
        return parse_config(config)
    if isinstance(config, str | Path):
        return load_config(config)
    raise ConfigError(f"a config is a RunConfig, a mapping or the path of a file, not {type(config).__name__}")


class _Clock:
    """Wall time by stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._seconds, self._name, self._since = progress, dict[str, float](), "", time.perf_counter()

    def stage(self, name: str, told: str = "") -> None:
        """Begin a stage; ``told`` says more of it to those who watch than its name does."""
        self.stop()
        self._name, self._since = name, time.perf_counter()
        self._progress(told or name)

    def stop(self) -> dict[str, float]:
        if self._name:
            self._seconds[self._name] = self._seconds.get(self._name, 0.0) + time.perf_counter() - self._since
            self._name = ""
        return self._seconds
