"""What a run is told: the models of a config file, strict, with every key documented.

Reading a file, ``--set`` and error messages are in ``configfile``; the lowering to the replay's units is in ``build``.
Every section is frozen, refuses keys it does not know, and refuses numbers that are not finite.
"""

from collections.abc import Callable
from typing import Any, Literal

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from pipeline.config_account import Account, InstrumentConfig
from pipeline.config_execution import Execution, Models
from pipeline.config_risk import Risk, Size
from pipeline.config_values import Fraction, Moment, Name, NotNegative, OnHeldName, Section, iso, refuse_repeats

MEMORY = "memory"
"""Stands for a table that is given to ``pipeline.run``."""

NOT_YET = frozenset(
    {
        "account.deposits",
        "allocation",
        "combine",
        "equity_every",
        "sweep",
        "walkforward",
    }
)
"""Keys whose meaning is settled but which no part of this version acts on: refused by name rather than ignored."""

NOT_YET_VALUES = {
    "instruments.*.kind": ("option",),
}


class Period(Section):
    """The part of the dataset that is replayed."""

    start: Moment | None = Field(default=None, description="first instant; bars open at or after it (default: the first bar)")
    end: Moment | None = Field(default=None, description="last instant; bars close at or before it (default: the last bar)")

    @model_validator(mode="after")
    def _ordered(self) -> "Period":
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError(f"end {iso(self.end)} must be after start {iso(self.start)}")
        return self


class StrategyConfig(Section):
    """A source of proposals: features and rules, a Python file, or a table of proposals."""

    id: Name = Field(description="name in the ledger")
    budget: Fraction = Field(default=1.0, description="fraction of equity it sizes on")
    size: Size | None = Field(default=None, description="its own size (default: risk.size)")
    on_held: OnHeldName | None = Field(default=None, description="its own way with what it holds (default: selector.on_held)")
    max_adds: int | None = Field(default=None, ge=1, le=1_000_000, description="its own most adds (default: selector.max_adds)")
    features: dict[str, Any] | None = Field(default=None, description="name -> one feature, such as {ema: {of: close, n: 20}}")
    propose: dict[str, Any] | None = Field(
        default=None, description="rules over features and bar columns: long, exit_long, short, score, stop_loss, ..."
    )
    file: str | None = Field(
        default=None, description="a Python file with one class that has features() and propose(), or on_event(); relative to the config"
    )
    params: dict[str, Any] = Field(default_factory=dict, description="parameters of the class in file")
    proposals: str | None = Field(
        default=None, description="a file of proposals, relative to the config, or memory; needs accept: external unless it is certified"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "StrategyConfig":
        sources = [name for name in ("propose", "file", "proposals") if getattr(self, name) is not None]
        if len(sources) != 1:
            raise ValueError(
                f"strategy {self.id!r} must have exactly one of propose (with features), file, proposals; it has {sources or 'none'}"
            )
        if self.features is not None and self.propose is None:
            raise ValueError(f"strategy {self.id!r} has features beside {sources[0]}; features belong with propose")
        if self.params and self.file is None:
            raise ValueError(f"strategy {self.id!r} has params but no file to give them to")
        return self


class Selector(Section):
    """Which entries of an instant are taken."""

    max_positions: int | None = Field(default=None, ge=1, le=1_000_000, description="most (strategy, symbol) held or pending at once")
    min_score: float | None = Field(default=None, description="entries that score less are refused")
    reuse_pending_exit: bool = Field(default=False, description="whether a slot is free as soon as its exit is decided")
    on_held: OnHeldName = Field(default="ignore", description="what an entry does to a position of its own strategy and symbol")
    max_adds: int | None = Field(
        default=None, ge=1, le=1_000_000, description="how often one position may be added to (default: any number)"
    )
    groups: dict[str, list[str]] = Field(default_factory=dict, description="name -> its symbols; a symbol is in at most one group")
    max_per_group: int | None = Field(default=None, ge=1, le=1_000_000, description="most held or pending in one group")
    max_per_strategy: int | None = Field(default=None, ge=1, le=1_000_000, description="most held or pending of one strategy")
    rotate: bool = Field(default=False, description="whether a better proposal replaces the weakest position where no slot is free")
    rotate_margin: NotNegative = Field(default=0.0, description="by how much its score must beat that of the weakest position")

    @field_validator("groups")
    @classmethod
    def _one_group_each(cls, groups: dict[str, list[str]]) -> dict[str, list[str]]:
        refuse_repeats([symbol for symbols in groups.values() for symbol in symbols], "symbol")
        if "" in groups:
            raise ValueError("a group must have a name")
        return groups

    @model_validator(mode="after")
    def _of_use(self) -> "Selector":
        if self.max_per_group is not None and not self.groups:
            raise ValueError("max_per_group needs groups, such as {majors: [BTCUSDT, ETHUSDT]}")
        if self.rotate and self.max_positions is None:
            raise ValueError("rotate needs max_positions: without a limit no position has to make room")
        if self.rotate_margin and not self.rotate:
            raise ValueError("rotate_margin needs rotate: true")
        return self


class RunConfig(Section):
    """One run."""

    name: Name = "run"
    dataset: str = Field(min_length=1, description="a dataset folder, or demo://perps?symbols=20&days=365&interval=1h&seed=7")
    period: Period = Period()
    symbols: list[str] | None = Field(default=None, min_length=1, description="symbols that take part (default: all)")
    account: Account = Account()
    instruments: dict[str, InstrumentConfig] = Field(
        default_factory=dict, description="default, or a symbol -> what differs from the dataset"
    )
    strategies: list[StrategyConfig] = Field(min_length=1)
    selector: Selector = Selector()
    risk: Risk = Risk()
    execution: Execution = Execution()
    accept: Literal["external"] | None = Field(default=None, description="external: run proposals that carry no certificate, and say so")
    ledger: Literal["off", "trades", "full"] = Field(
        default="trades", description="what is kept: full adds the events that met a held symbol"
    )
    seed: int = Field(default=0, ge=0, lt=2**63)
    jobs: int | None = Field(default=None, ge=1, le=1024, description="workers of stage one (default: one a core)")
    out: str = Field(default="runs", min_length=1, description="folder that receives runs/<run_id>")

    @model_validator(mode="after")
    def _grouped(self) -> "RunConfig":
        if self.risk.max_group is not None and not self.selector.groups:
            raise ValueError("risk.max_group needs selector.groups, such as {majors: [BTCUSDT, ETHUSDT]}")
        return self

    @field_validator("strategies")
    @classmethod
    def _distinct(cls, strategies: list[StrategyConfig]) -> list[StrategyConfig]:
        refuse_repeats([strategy.id for strategy in strategies], "strategy id")
        return strategies

    @field_validator("symbols")
    @classmethod
    def _distinct_symbols(cls, symbols: list[str] | None) -> list[str] | None:
        refuse_repeats(symbols or [], "symbol")
        return symbols

    def at(self, resolve: Callable[[str], str]) -> "RunConfig":
        """The same config with the paths of strategies' files and tables resolved."""

        def located(strategy: StrategyConfig) -> StrategyConfig:
            paths = {name: resolve(path) for name in ("file", "proposals") if (path := getattr(strategy, name)) not in (None, MEMORY)}
            return strategy.model_copy(update=paths)

        models = self.execution.models.model_dump(exclude_none=True)
        moved = {kind: f"{resolve(path)}:{name}" for kind, (path, name) in ((k, v.rsplit(":", 1)) for k, v in models.items())}
        execution = self.execution.model_copy(update={"models": Models(**moved)})
        return self.model_copy(update={"strategies": [located(strategy) for strategy in self.strategies], "execution": execution})
