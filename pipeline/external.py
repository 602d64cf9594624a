"""Proposals of the user's own making, from a Parquet file or a table in memory: causal by ``available_ts`` only.  # R11.4

Owns their reading and checking, and their union with the certified ones.  They run only where the config says ``accept: external``.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.dataset import Dataset
from engine.schema import PROPOSAL_COLUMNS, Action, LevelKind
from engine.settings import Settings
from pipeline.config import RunConfig
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

    from features.proposals import ProposalTable

MEMORY = "memory"
REQUIRED = ("ts", "symbol", "action")
DEFAULTS: Mapping[str, float] = {"score": 0.0, "stop_loss": np.nan, "take_profit": np.nan, "trailing": np.nan, "max_bars": 0}


@dataclass(frozen=True)
class ExternalTable:
    """Checked proposals of one strategy: arrays of ``PROPOSAL_COLUMNS``, symbols as names, and a hash of their content."""

    strategy: str
    columns: Mapping[str, NDArray[Any]]
    content_id: str

    def write(self, path: Path) -> None:
        """Write the table as Parquet; it reads back with the same content id."""
        import polars as pl

        symbols = pl.Series(self.columns["symbol"].tolist(), dtype=pl.String)
        pl.DataFrame({name: symbols if name == "symbol" else column for name, column in self.columns.items()}).write_parquet(path)


@dataclass(frozen=True)
class Union:
    """All proposals of a run, ``symbol`` and ``strategy`` as codes into the names."""

    columns: Mapping[str, NDArray[Any]]
    symbols: tuple[str, ...]
    strategies: tuple[str, ...]


def tables_of(config: RunConfig, in_memory: Mapping[str, Any], dataset: Dataset) -> dict[str, ExternalTable]:
    """Read the external proposals of a config.

    Raises
    ------
    ConfigError
        If a table is missing, or a column or value of it cannot be used.
    """
    wanted = {strategy.id: strategy.proposals for strategy in config.strategies if strategy.proposals is not None}
    for name in in_memory:
        if wanted.get(name) != MEMORY:
            raise ConfigError(f"proposals were given for {name!r}, but no strategy of that id says proposals: {MEMORY}")
    return {name: _table(name, path, in_memory, dataset) for name, path in sorted(wanted.items())}


def _table(strategy: str, path: str, in_memory: Mapping[str, Any], dataset: Dataset) -> ExternalTable:
    import polars as pl

    where = f"strategy {strategy}: {path}"
    if path == MEMORY:
        if strategy not in in_memory:
            raise ConfigError(f"strategy {strategy} says proposals: {MEMORY}; give run(config, proposals={{{strategy!r}: table}})")
        frame = _frame(in_memory[strategy], where)
    else:
        try:
            frame = pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ConfigError(f"{where}: not a readable Parquet file: {str(error).splitlines()[0]}") from None
    columns = _checked(frame, strategy, where, dataset.symbols)
    digest = hashlib.sha256("\0".join(columns["symbol"].tolist()).encode())
    for name in sorted(columns.keys() - {"symbol"}):
        digest.update(np.ascontiguousarray(columns[name]).tobytes())
    return ExternalTable(strategy, columns, digest.hexdigest())


def _frame(table: Any, where: str) -> "pl.DataFrame":
    import polars as pl

    if isinstance(table, pl.DataFrame):
        return table
    try:
        return pl.DataFrame(dict(table) if isinstance(table, Mapping) else table)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise ConfigError(f"{where}: not a table: {error}") from None


def _checked(frame: "pl.DataFrame", strategy: str, where: str, known: Sequence[str]) -> dict[str, NDArray[Any]]:
    missing = [name for name in REQUIRED if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in PROPOSAL_COLUMNS]
    if missing or unknown:
        trouble = f"no column {missing[0]!r}" if missing else f"unknown column {unknown[0]!r}"
        raise ConfigError(f"{where}: {trouble}; columns are {', '.join(PROPOSAL_COLUMNS)}, of which {', '.join(REQUIRED)} are needed")
    for name in frame.columns:
        nulls = frame[name].null_count()
        if nulls and name not in DEFAULTS:
            raise ConfigError(f"{where} row {frame[name].is_null().arg_max()}: {name} is missing; every proposal has one")
    columns: dict[str, NDArray[Any]] = {name: _times(frame[name], where) for name in ("ts", "available_ts") if name in frame.columns}
    columns["symbol"] = np.array(frame["symbol"].cast(str).to_list(), dtype=object)
    stray = [symbol for symbol in sorted(set(columns["symbol"])) if symbol not in known]
    if stray:
        raise ConfigError(f"{where} row {columns['symbol'].tolist().index(stray[0])}: symbol {stray[0]!r} has no bars in the dataset")
    if "strategy" in frame.columns and set(frame["strategy"].to_list()) - {strategy}:
        raise ConfigError(f"{where}: column strategy holds other names than {strategy!r}; one table is one strategy's")
    columns["action"] = _codes(frame["action"], {action.name.lower(): int(action) for action in Action}, where)
    for name in ("stop_loss_kind", "take_profit_kind", "trailing_kind"):
        if name in frame.columns:
            columns[name] = _codes(frame[name], {kind.name.lower(): int(kind) for kind in LevelKind}, where)
    for name, default in DEFAULTS.items():
        if name in frame.columns:
            columns[name] = _numbers(frame[name], default, where)
    if "sequence" in frame.columns:
        columns["sequence"] = frame["sequence"].to_numpy().astype(np.int64)
    return columns


def _times(column: "pl.Series", where: str) -> NDArray[np.int64]:
    import polars as pl

    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone is None:
        raise ConfigError(f"{where}: {column.name} has no time zone; make it UTC, for example with dt.replace_time_zone('UTC')")
    if isinstance(column.dtype, pl.Datetime):
        return column.dt.epoch("us").to_numpy()
    if column.dtype != pl.Int64:
        raise ConfigError(f"{where}: {column.name} is {column.dtype}; it must be a UTC timestamp or int64 microseconds")
    return column.to_numpy()


def _codes(column: "pl.Series", names: Mapping[str, int], where: str) -> NDArray[np.int8]:
    codes = [
        names.get(value.lower(), -1) if isinstance(value, str) else value if value in names.values() else -1 for value in column.to_list()
    ]
    if -1 in codes:
        row = codes.index(-1)
        raise ConfigError(f"{where} row {row}: {column.name} = {column[row]!r}; allowed are {', '.join(names)}")
    return np.array(codes, np.int8)


def _numbers(column: "pl.Series", default: float, where: str) -> NDArray[Any]:
    if not column.dtype.is_numeric():
        raise ConfigError(f"{where}: {column.name} is {column.dtype}; it must be a number")
    filled = column.fill_null(default)
    return filled.to_numpy().astype(PROPOSAL_COLUMNS[column.name])


def union(certified: "ProposalTable | None", external: Mapping[str, ExternalTable], settings: Settings) -> Union:
    """All proposals of a run in one table; external ones of symbols that are not of the run are left out."""
    symbols = tuple(sorted(instrument.symbol for instrument in settings.instruments))
    strategies = tuple(sorted(strategy.id for strategy in settings.strategies))
    if certified is not None and not external:
        return Union(certified.columns, certified.symbols, certified.strategies)
    parts = [_coded(table, symbols, strategies) for table in external.values()]
    if certified is not None:
        renamed = np.array([strategies.index(name) for name in certified.strategies], np.int32)
        own = {name: column for name, column in certified.columns.items() if name != "row"}
        parts.append(own | {"strategy": renamed[certified.columns["strategy"]]})
    names = [name for name in PROPOSAL_COLUMNS if any(name in part for part in parts)]
    return Union({name: np.concatenate([_filled(part, name) for part in parts]) for name in names}, symbols, strategies)


def _coded(table: ExternalTable, symbols: Sequence[str], strategies: Sequence[str]) -> dict[str, NDArray[Any]]:
    place = {name: code for code, name in enumerate(symbols)}
    codes = np.array([place.get(name, -1) for name in table.columns["symbol"]], np.int32)
    mine = codes >= 0
    given = dict(table.columns) | {"symbol": codes, "strategy": np.full(len(codes), strategies.index(table.strategy), np.int32)}
    given.setdefault("available_ts", given["ts"])
    given.setdefault("sequence", np.arange(len(codes), dtype=np.int64))
    return {name: column[mine] for name, column in given.items()}


def _filled(part: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name in part:
        return part[name]
    return np.full(len(part["ts"]), DEFAULTS.get(name, 0), PROPOSAL_COLUMNS[name])
