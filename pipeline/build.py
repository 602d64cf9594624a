"""From a config to what the stages take: the dataset, the strategies, and the replay's settings in its own units."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.dataset import Dataset, Series
from engine.models import Model, ModelError, ModelKind, load_model
from engine.schema import (
    NEVER,
    Intrabar,
    LimitGap,
    LimitTouch,
    MaintenanceBasis,
    MaintenanceFee,
    MarginMode,
    OnHeld,
    SizeKind,
    Slippage,
    StopAnchor,
    StopCheck,
    StopFrom,
    Timing,
    TrailingMode,
)
from engine.settings import UNLIMITED, FeeTier, HaltLimits, Settings, StrategySettings
from pipeline.config import RunConfig, StrategyConfig
from pipeline.config_execution import SlippageConfig
from pipeline.config_risk import ScopeHalts, Size
from pipeline.config_values import duration_us, moment_us
from pipeline.conversion import conversions_of
from pipeline.errors import ConfigError
from pipeline.instruments import check_defaults, check_expiries, instruments_of, rates_of
from pipeline.size_needs import require_what_sizes_need

if TYPE_CHECKING:
    from engine.strategy import EventStrategy
    from features.strategy import StrategySpec

MONEY_LIMIT = 2**53


def dataset_of(config: RunConfig) -> Dataset:
    """Open the dataset of a config: a folder, whose files must be those of its manifest, or a simulated market."""
    from pipeline import demo

    return demo.open_data(config.dataset, verify=True)  # hashing reads what the run reads next; some 2 ms a megabyte


def strategies_of(config: RunConfig) -> list["StrategySpec"]:
    """Strategies that stage one computes; one that lacks what its size is made from is refused."""
    from features.strategy import StrategySpec

    specs = [
        StrategySpec(strategy.id, strategy.features or {}, strategy.propose or {}, strategy.file, strategy.params)
        for strategy in sorted(config.strategies, key=lambda strategy: strategy.id)
        if strategy.proposals is None and not _by_event(strategy)
    ]
    require_what_sizes_need(config, specs)
    return specs


def event_strategies_of(config: RunConfig) -> dict[str, "EventStrategy"]:
    """Strategies that decide inside the replay, by id.

    Raises
    ------
    StrategyError
        If a file cannot be loaded, or its class does not derive from ``engine.strategy.EventStrategy``.
    """
    from features.strategy_file import StrategyError, load_by_event

    chosen = [strategy for strategy in sorted(config.strategies, key=lambda strategy: strategy.id) if _by_event(strategy)]
    if not chosen:
        return {}
    from engine.strategy import EventStrategy

    found: dict[str, EventStrategy] = {}
    for strategy in chosen:
        if strategy.file is not None:
            where = f"strategy {strategy.id!r}"
            made = load_by_event(strategy.file, strategy.params, where)
            if not isinstance(made, EventStrategy):
                raise StrategyError(f"{where}: {type(made).__name__} has on_event(); let it derive from engine.strategy.EventStrategy")
            found[strategy.id] = made
    return found


def _by_event(strategy: StrategyConfig) -> bool:
    from features.strategy_file import decides_by_event

    return strategy.file is not None and decides_by_event(strategy.file, f"strategy {strategy.id!r}")


def symbols_of(config: RunConfig, dataset: Dataset) -> tuple[str, ...]:
    """Symbols of the run, by code point.

    Raises
    ------
    ConfigError
        If one is not in the dataset.
    """
    known = dataset.symbols
    if not known:
        raise ConfigError(f"dataset = {config.dataset}: it has no bars, so there is nothing to replay; ingest bars or quote candles")
    named = [("symbols", symbol) for symbol in config.symbols or ()] + [
        ("instruments", name) for name in config.instruments if name != "default"
    ]
    named += [(f"selector.groups.{group}", symbol) for group, symbols in config.selector.groups.items() for symbol in symbols]
    for key, symbol in named:
        if symbol not in known:
            near = [name for name in known if name.casefold() == symbol.casefold()] or get_close_matches(symbol, known, 1, 0.6)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"{key}: {symbol!r} has no bars in {config.dataset}{hint}; it has {_few(known)}")
    return tuple(sorted(config.symbols)) if config.symbols else known


def execution_series(config: RunConfig, dataset: Dataset, symbols: Sequence[str]) -> list[Series]:
    """The series of each symbol that fills and marks.

    Raises
    ------
    ConfigError
        If a symbol has no bars of ``execution.interval``.
    """
    found = []
    for symbol in symbols:
        series = dataset.find("bars", symbol, config.execution.interval or "")
        if series is None:
            have = sorted({s.name for s in dataset.series["bars"] if s.symbol == symbol})
            raise ConfigError(f"execution.interval = {config.execution.interval!r}: {symbol} has no bars of it; it has {_few(have)}")
        found.append(series)
    return found


def settings_of(config: RunConfig, dataset: Dataset) -> Settings:
    """Lower a config: names to codes, dates to microseconds, money to integers, an absent limit to infinity."""
    symbols = symbols_of(config, dataset)
    series = execution_series(config, dataset, symbols)
    _require_volume(config, dataset, series)
    start_us, end_us = _period(config, dataset, series)
    instruments = instruments_of(config, dataset, symbols)
    check_defaults(config, instruments)
    check_expiries(instruments, {one.symbol: int(dataset.columns["bars"]["open_ts"][one.start]) for one in series})
    return Settings(
        start_us=start_us,
        end_us=end_us,
        cash=_cash(config),
        instruments=instruments,
        conversions=conversions_of(config, dataset, instruments),
        strategies=tuple(_strategy(config, strategy) for strategy in sorted(config.strategies, key=lambda strategy: strategy.id)),
        decimals=config.account.decimals,
        leverage=config.account.leverage,
        models=_models(config),
        seed=config.seed,
        margin=MarginMode[config.account.margin.upper()],
        maintenance_basis=MaintenanceBasis[config.account.maintenance_basis.upper()],
        maintenance_fee=MaintenanceFee[config.account.maintenance_fee.upper()],
        liquidation_fee=config.account.liquidation_fee,
        interest=rates_of(config.account.interest or ()),
        **_decisions(config),
        **_execution(config),
    )


def _require_volume(config: RunConfig, dataset: Dataset, series: Sequence[Series]) -> None:
    """Slippage by volume and participation need volumes.  # R2.6"""
    if config.execution.participation is not None:
        for one in series:
            missing = int((~(dataset.columns["bars"]["volume"][one.start : one.stop] >= 0)).sum())
            if missing:
                raise ConfigError(
                    f"execution.participation: {missing} of {one.stop - one.start} bars of {one.symbol} have no volume in {config.dataset}; "
                    "leave participation out, or the symbol out of symbols"
                )
    slippage = config.execution.slippage
    name = "volume_share" if slippage.volume_share is not None else "sqrt_impact"
    if slippage.volume_share is None and slippage.sqrt_impact is None:
        return
    for one in series:
        if not (dataset.columns["bars"]["volume"][one.start : one.stop] > 0).any():
            raise ConfigError(
                f"execution.slippage.{name}: {one.symbol} has no volume in {config.dataset}; use bps or spread, or leave it out of symbols"
            )


def _models(config: RunConfig) -> tuple[Model, ...]:
    """The user's models, compiled.

    Raises
    ------
    ConfigError
        If one cannot be used.
    """
    found = []
    for kind, place in config.execution.models.model_dump(exclude_none=True).items():
        path, name = place.rsplit(":", 1)
        try:
            found.append(load_model(ModelKind[kind.upper()], Path(path), name))
        except ModelError as error:
            raise ConfigError(f"execution.models.{kind}: {error}") from error
    return tuple(found)


def _period(config: RunConfig, dataset: Dataset, series: Sequence[Series]) -> tuple[int, int]:
    """The period of the config, or all of the bars."""
    bars = dataset.columns["bars"]
    first = min(int(bars["open_ts"][s.start]) for s in series)
    last = max(int(bars["ts"][s.stop - 1]) for s in series)
    start_us = moment_us(config.period.start) if config.period.start is not None else first
    end_us = moment_us(config.period.end) if config.period.end is not None else last
    if start_us >= last or end_us <= first:
        raise ConfigError(f"period: {iso(start_us)} to {iso(end_us)} holds no bar; {config.dataset} covers {iso(first)} to {iso(last)}")
    return start_us, end_us


def iso(ts: int) -> str:
    """A time in us, UTC, as text.

    >>> iso(1_748_736_000_000_000)
    '2025-06-01T00:00:00Z'
    """
    import numpy as np

    text = str(np.datetime64(ts, "us"))
    return text.removesuffix(".000000") + "Z"


def _cash(config: RunConfig) -> int:
    account = config.account
    units = Decimal(str(account.cash)).scaleb(account.decimals)
    if units != units.to_integral_value():
        raise ConfigError(f"account.cash = {account.cash}: has more than the {account.decimals} decimals of account.decimals")
    if units >= MONEY_LIMIT:
        raise ConfigError(f"account.cash = {account.cash}: too large for {account.decimals} decimals; use fewer account.decimals")
    return int(units)


def _strategy(config: RunConfig, strategy: StrategyConfig) -> StrategySettings:
    kind, amount, cap = _size(strategy.size or config.risk.size)
    on_held = OnHeld[(strategy.on_held or config.selector.on_held).upper()]
    most = strategy.max_adds or config.selector.max_adds or UNLIMITED
    return StrategySettings(strategy.id, strategy.budget, kind, amount, cap, on_held, most)


def _size(size: Size) -> tuple[SizeKind, float, float]:
    """Kind, amount and cap."""
    if size.kelly is not None:
        return SizeKind.KELLY, size.kelly.fraction, size.kelly.cap
    ((name, amount),) = size.model_dump(exclude_none=True).items()
    return SizeKind[name.upper()], float(amount), math.inf


def _halts(halts: ScopeHalts) -> HaltLimits:
    losses, cooldown = halts.consecutive_losses, halts.cooldown
    return HaltLimits(
        daily_loss=_limit(halts.daily_loss),
        drawdown=_limit(halts.drawdown),
        resume_after_us=_lasting(halts.resume_after),
        losses=losses.count if losses is not None else 0,
        losses_for_us=_lasting(losses.for_ if losses is not None else None),
        cooldown_bars=cooldown.bars if cooldown is not None else 0,
    )


def _lasting(duration: str | None) -> int:
    return NEVER if duration is None else duration_us(duration)


def _decisions(config: RunConfig) -> dict[str, Any]:
    selector, risk = config.selector, config.risk
    return {
        "max_positions": selector.max_positions or UNLIMITED,
        "min_score": -math.inf if selector.min_score is None else selector.min_score,
        "reuse_pending_exit": selector.reuse_pending_exit,
        "cash_buffer": risk.cash_buffer,
        "max_position": _limit(risk.max_position),
        "max_gross": _limit(risk.max_gross),
        "max_net": _limit(risk.max_net),
        "clip": risk.on_limit == "clip",
        "max_group": _limit(risk.max_group),
        "max_strategy": _limit(risk.max_strategy),
        "max_per_group": selector.max_per_group or UNLIMITED,
        "max_per_strategy": selector.max_per_strategy or UNLIMITED,
        "rotate_margin": selector.rotate_margin if selector.rotate else math.inf,
        "halts": _halts(risk.halts),
        "strategy_halts": _halts(risk.halts.strategy),
        "symbol_halts": _halts(risk.halts.symbol),
    }


def _execution(config: RunConfig) -> dict[str, Any]:
    execution, fees, slippage = config.execution, config.execution.fees, config.execution.slippage
    return {
        "interval": execution.interval or "",
        "size_at_fill": execution.size_at == "fill",
        "timing": Timing[execution.timing.upper()],
        "latency_us": duration_us(execution.latency),
        "intrabar": Intrabar.PESSIMISTIC if execution.intrabar == "bounds" else Intrabar[execution.intrabar.upper()],
        "limit_gap": None if execution.limit_gap is None else LimitGap[execution.limit_gap.upper()],
        "participation": math.inf if execution.participation is None else execution.participation.share,
        "participation_current": execution.participation is not None and execution.participation.of == "current",
        "limit_touch": LimitTouch[execution.limit_touch.upper()],
        "stop_anchor": StopAnchor[execution.stop_anchor.upper()],
        "stop_from": StopFrom[execution.stop_from.upper()],
        "stop_check": StopCheck[execution.stop_check.upper()],
        "trailing_mode": TrailingMode[execution.trailing_mode.upper()],
        **_slippage(slippage),
        "spread_events": execution.spread.events,
        "default_spread_bps": execution.spread.default_bps,
        "maker_bps": fees.bps if fees.bps is not None else fees.maker_bps or 0.0,
        "taker_bps": fees.bps if fees.bps is not None else fees.taker_bps or 0.0,
        "per_unit": fees.per_unit,
        "flat": fees.flat,
        "min_fee": fees.min_fee,
        "fee_tiers": tuple(FeeTier(tier.from_notional, tier.maker_bps, tier.taker_bps) for tier in fees.tiered or ()),
        "close_on_leave": execution.on_leave == "close",
        "delist_haircut": execution.delist_haircut,
        "finalize_close": execution.finalize == "close",
    }


def _slippage(slippage: SlippageConfig) -> dict[str, Any]:
    if slippage.volume_share is not None:
        share = slippage.volume_share
        return {"slippage": Slippage.VOLUME_SHARE, "slippage_amount": share.k, "slippage_limit": share.limit}
    for name in ("bps", "spread", "sqrt_impact"):
        amount = getattr(slippage, name)
        if amount is not None:
            return {"slippage": Slippage[name.upper()], "slippage_amount": amount}
    return {}


def _limit(fraction: float | None) -> float:
    return math.inf if fraction is None else fraction


def _few(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return f"{shown}, and {len(names) - most} more" if len(names) > most else shown or "none"


def lot_quantities(settings: Settings) -> list[float]:
    """Quantity of one lot of the ledger of each symbol of the run, by symbol."""
    return [float(instrument.base_lot) for instrument in sorted(settings.instruments, key=lambda instrument: instrument.symbol)]


def multipliers(settings: Settings) -> list[float]:
    """Units of the underlying per unit of quantity of each symbol of the run, by symbol."""
    return [float(instrument.multiplier) for instrument in sorted(settings.instruments, key=lambda instrument: instrument.symbol)]


def trades_in_sessions(settings: Settings) -> bool:
    """Whether no instrument of the run trades at all hours: then a year has 252 periods.  # R6.6"""
    return all(instrument.sessions for instrument in settings.instruments)


def canonical(config: RunConfig, settings: Settings) -> Mapping[str, Any]:
    """A config reduced to what can change a result: strategies and symbols by name, without paths, ``out``, ``jobs`` and ``ledger``.  # R9.3

    What the dataset's own instruments and the period come to is in it, so that it stands for one run.
    """
    values = config.model_dump(
        mode="json", exclude_none=True, exclude={"dataset", "out", "jobs", "ledger", "symbols", "period", "strategies", "instruments"}
    )
    values["execution"].pop("models", None)  # their sources stand for them
    strategies = [strategy.model_dump(mode="json", exclude_none=True, exclude={"file", "proposals"}) for strategy in config.strategies]
    return values | {
        "period": [settings.start_us, settings.end_us],
        "strategies": sorted(strategies, key=lambda strategy: str(strategy["id"])),
        "instruments": [[str(value) for name, value in vars(one).items() if name != "quote" or value] for one in settings.instruments],
    }
