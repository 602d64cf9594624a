"""Proposals that a config names instead of making: tables of the user's, and certified files.  # R11.4

Owns which tables a config needs, what they must prove, and their union with the proposals of stage one.  A certified file must be of
this dataset; any other table is causal by its ``available_ts`` only, and runs only where the config says ``accept: external``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.dataset import Dataset
from engine.schema import OPTIONAL_COLUMNS, PROPOSAL_COLUMNS, default_of
from engine.settings import Settings
from pipeline.config import MEMORY, RunConfig
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from features.proposals import ProposalTable


@dataclass(frozen=True)
class GivenTable:
    """Proposals of one strategy, and a hash of their content."""

    table: "ProposalTable"
    content_id: str

    @property
    def external(self) -> bool:
        """Whether nobody has checked its causality."""
        return self.table.provenance == "external"

    def write(self, path: Path) -> None:
        """Write the table as Parquet, or as a certified file; it reads back with the same content id."""
        from features.proposal_files import write_external, write_proposals

        (write_external if self.external else write_proposals)(self.table, path)


@dataclass(frozen=True)
class Union:
    """All proposals of a run, ``symbol`` and ``strategy`` as codes into the names."""

    columns: Mapping[str, NDArray[Any]]
    symbols: tuple[str, ...]
    strategies: tuple[str, ...]


def given_tables(config: RunConfig, in_memory: Mapping[str, Any], dataset: Dataset) -> dict[str, GivenTable]:
    """Read the proposals that a config names.

    Raises
    ------
    ConfigError
        If a table is missing, is of another strategy or dataset, or is external and not accepted.
    ProposalError
        If a column or value of it cannot be used.
    """
    wanted = {strategy.id: strategy.proposals for strategy in config.strategies if strategy.proposals is not None}
    for name in in_memory:
        if wanted.get(name) != MEMORY:
            raise ConfigError(f"proposals were given for {name!r}, but no strategy of that id says proposals: {MEMORY}")
    return {name: _given(name, path, in_memory, config, dataset) for name, path in sorted(wanted.items())}


def _given(strategy: str, path: str, in_memory: Mapping[str, Any], config: RunConfig, dataset: Dataset) -> GivenTable:
    from features.proposal_files import content_id, read_proposals

    where = f"strategy {strategy}: proposals {path}"
    if path == MEMORY and strategy not in in_memory:
        raise ConfigError(f"strategy {strategy} says proposals: {MEMORY}; give run(config, proposals={{{strategy!r}: table}})")
    table = read_proposals(in_memory[strategy] if path == MEMORY else path, strategy)
    if table.provenance != "external":
        _require(table, dataset, where)
    elif config.accept != "external":
        raise ConfigError(f"{where}: nobody has checked that they could be known when they say; accept: external runs them, and says so")
    if set(table.strategies) - {strategy}:
        raise ConfigError(f"{where}: holds proposals of strategy {', '.join(table.strategies)}; one table is one strategy's")
    stray = sorted(set(table.symbols) - set(dataset.symbols))
    if stray:
        raise ConfigError(f"{where}: symbol {stray[0]!r} has no bars in {config.dataset}")
    return GivenTable(table, content_id(table))


def _require(table: "ProposalTable", dataset: Dataset, where: str) -> None:
    from features.causality import CausalityError, require_certificate

    try:
        require_certificate(table, dataset.id)
    except CausalityError as error:
        raise CausalityError(f"{where}: {error}") from None


def union(made: "ProposalTable | None", given: Mapping[str, GivenTable], settings: Settings) -> Union:
    """All proposals of a run in one table; those of symbols that are not of the run are left out."""
    if made is not None and not given:
        return Union(made.columns, made.symbols, made.strategies)
    symbols = tuple(sorted(instrument.symbol for instrument in settings.instruments))
    strategies = tuple(sorted(strategy.id for strategy in settings.strategies))
    tables = [*([made] if made is not None else []), *(one.table for one in given.values())]
    used = [name for name in OPTIONAL_COLUMNS if any(name in table.columns for table in tables)]
    parts = [_recoded(table, symbols, strategies, used) for table in tables]
    names = (*PROPOSAL_COLUMNS, *used)
    columns = {name: np.concatenate([part[name] for part in parts]) if parts else np.empty(0, np.int64) for name in names}
    return Union(columns, symbols, strategies)


def _recoded(table: "ProposalTable", symbols: Sequence[str], strategies: Sequence[str], used: Sequence[str]) -> dict[str, NDArray[Any]]:
    place = {name: code for code, name in enumerate(symbols)}
    codes = np.array([place.get(name, -1) for name in table.symbols], np.int32)[table.columns["symbol"]]
    owners = np.array([strategies.index(name) for name in table.strategies], np.int32)[table.columns["strategy"]]
    recoded = dict(table.columns) | {"symbol": codes, "strategy": owners}
    for name in used:
        if name not in recoded:
            recoded[name] = np.full(len(codes), default_of(name), OPTIONAL_COLUMNS[name])
    return {name: recoded[name][codes >= 0] for name in (*PROPOSAL_COLUMNS, *used)}
