"""Random small markets for differential tests: a dataset, proposals and settings from one seed.

The cases look for trouble, not for realism: prices lie on coarse grids so that levels are touched exactly, times
collide, data have holes, and most settings are drawn from values that bind.
"""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from engine.dataset import Dataset
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
from engine.settings import UNLIMITED, Conversion, FeeTier, HaltLimits, Settings, StrategySettings
from tests.market_carry import with_carry
from tests.market_data import (
    DAY,
    EPOCH,
    HOUR,
    MINUTE,
    QUARTER,
    SYMBOLS,
    Symbol,
    as_inverse,
    chance,
    margined,
    pick,
    random_dataset,
    random_rates,
    random_symbol,
    spans,
)
from tests.market_models import random_models
from tests.market_proposals import random_proposals, with_swings, with_targets
from tests.market_quiet import quiet_dataset, quiet_proposals, quiet_settings

STRATEGIES = ("trend", "Breakout", "mr")


class Case(NamedTuple):
    """One differential test."""

    dataset: Dataset
    proposals: dict[str, list[Any]]
    settings: Settings


def random_case(seed: int) -> Case:
    """The case of a seed; equal seeds give equal cases."""
    aside = np.random.default_rng([seed, 6])
    if chance(aside, 0.1):
        return quiet_case(aside)
    rng = np.random.default_rng(seed)
    begin = EPOCH + int(rng.integers(0, 30)) * HOUR
    span, intervals = spans(rng)
    names = rng.permutation(SYMBOLS)[: int(rng.integers(1, 7)) if chance(rng, 0.8) else 1].tolist()
    symbols = [random_symbol(rng, name, int(rng.choice(intervals)), begin, span) for name in names]
    geared = chance(rng, 0.2)
    if geared:
        symbols = [margined(rng, symbol) for symbol in symbols]
    if coin_margined(seed):
        symbols = [as_inverse(symbol) for symbol in symbols]
    conversions, source = _conversions(seed, symbols, begin, span)
    dataset = random_dataset(rng, symbols, begin, span, source)
    settings = replace(_settings(rng, symbols, begin, span), conversions=conversions)
    if geared:
        settings = _turning(rng, settings)
    own = np.random.default_rng([seed, 4])
    settings = replace(settings, models=random_models(own), seed=int(own.integers(0, 2**40)))
    traded = [symbol for symbol in symbols if symbol.instrument in settings.instruments]
    proposals = random_proposals(rng, traded, settings, begin, span)
    if chance(own, 0.25):
        proposals = with_targets(own, proposals)
        if chance(own, 0.5):
            proposals, settings = with_swings(own, proposals), _refusing(own, settings)
    return Case(*with_carry(seed, dataset, proposals, settings))


def quiet_case(rng: Generator) -> Case:
    """A market of few symbols and events in which little is decided."""
    begin, interval = EPOCH + int(rng.integers(0, 30)) * HOUR, int(pick(rng, HOUR, HOUR, DAY))
    span = int(rng.integers(20, 150)) * interval
    symbols = [random_symbol(rng, name, interval, begin, span) for name in SYMBOLS[: int(pick(rng, 1, 1, 1, 2))]]
    dataset = quiet_dataset(rng, symbols)
    settings = _settings(rng, symbols, begin, span)
    traded = [symbol for symbol in symbols if symbol.instrument in settings.instruments]
    proposals = quiet_proposals(rng, random_proposals(rng, traded, settings, begin, span))
    return Case(dataset, proposals, quiet_settings(rng, settings))


def _conversions(seed: int, symbols: list[Symbol], begin: int, span: int) -> tuple[tuple[Conversion, ...], list[Symbol]]:
    """Rates of the currencies that some cases quote some symbols in, from a symbol that is traded too or from one that is not; drawn aside."""
    rng = np.random.default_rng([seed, 2])
    if coin_margined(seed) or not chance(rng, 0.15):
        return (), []
    source = random_rates(rng, QUARTER if chance(rng, 0.3) else HOUR, begin, span)
    given = [Conversion("QQ", source.name, chance(rng, 0.5)), Conversion("AA", symbols[0].name, chance(rng, 0.5))]
    early = symbols[0].bars["ts"][0] <= min(symbol.bars["ts"][0] for symbol in symbols)
    for i, symbol in enumerate(symbols):
        quote = pick(rng, "QQ", "QQ", "QQ", "AA" if early else "QQ", "")
        symbols[i] = symbol._replace(instrument=replace(symbol.instrument, quote=quote))
    used = {symbol.instrument.quote for symbol in symbols}
    return tuple(one for one in given if one.quote in used), [source]


def coin_margined(seed: int) -> bool:
    """Whether all instruments of a seed's case are inverse contracts; drawn aside, so that the other cases stay what they are."""
    return chance(np.random.default_rng([seed, 1]), 0.13)


def _settings(rng: Generator, symbols: list[Symbol], begin: int, span: int) -> Settings:
    start = begin + int(rng.integers(0, 1 + span // (3 * QUARTER))) * QUARTER if chance(rng, 0.5) else begin
    end = begin + span + DAY if chance(rng, 0.5) else begin + span - int(rng.integers(0, 1 + span // (3 * QUARTER))) * QUARTER
    traded = [symbol.instrument for symbol in symbols if chance(rng, 0.95)] or [symbols[0].instrument]
    timing = pick(rng, Timing.NEXT_OPEN, Timing.NEXT_OPEN, Timing.NEXT_OPEN, Timing.CLOSE, Timing.NEXT_CLOSE)
    slow = timing != Timing.CLOSE and chance(rng, 0.4)
    cash, decimals = int(pick(rng, 1_000, 10_000, 1_000_000)), int(pick(rng, 0, 2, 6))
    leverage = float(pick(rng, 1.0, 1.0, 1.0, 2.0, 3.0, 10.0, 10.0, 20.0))
    chosen: dict[str, Any] = {
        "leverage": leverage,
        **_margin(rng),
        "start_us": start,
        "end_us": end,
        "cash": cash * 10**decimals,
        "instruments": tuple(traded),
        "strategies": _strategies(rng, symbols, cash, leverage),
        "decimals": decimals,
        "timing": timing,
        "size_at_fill": chance(rng, 0.2),
        "latency_us": int(pick(rng, 1, 20 * MINUTE, 2 * HOUR)) if slow else 0,
        "intrabar": Intrabar(int(rng.integers(0, 5))),
        "limit_gap": pick(rng, None, None, LimitGap.PRICE, LimitGap.OPEN),
    }
    return Settings(**chosen, **_costs(rng, cash), **_brackets(rng), **_limits(rng), **_ends(rng))


def _turning(rng: Generator, settings: Settings) -> Settings:
    """The same on borrowed money, with strategies that add and reverse, and sizes that pass: these seldom meet by chance."""
    leverage = float(pick(rng, 2.0, 3.0, 10.0, 20.0))
    strategies = tuple(
        replace(
            one,
            size=pick(rng, SizeKind.FIXED_FRACTION, SizeKind.FIXED_FRACTION, SizeKind.FIXED_NOTIONAL),
            on_held=pick(rng, OnHeld.ADD, OnHeld.REVERSE),
            max_adds=int(pick(rng, UNLIMITED, UNLIMITED, 1, 3)),
        )
        for one in settings.strategies
    )
    cash = settings.cash // 10**settings.decimals
    strategies = tuple(
        replace(one, amount=float(pick(rng, 0.1, 0.2, 0.4)) * leverage * (cash if one.size == SizeKind.FIXED_NOTIONAL else 1))
        for one in strategies
    )
    free = dict.fromkeys(("max_position", "max_gross", "max_net", "max_group", "max_strategy"), math.inf)
    if chance(rng, 0.3):
        free = {}  # limits as drawn
    return replace(settings, leverage=leverage, strategies=strategies, rotate_margin=math.inf, **free)


def _refusing(rng: Generator, settings: Settings) -> Settings:
    """The same with limits and halts that refuse a large turn, and let a small one pass."""
    changes: dict[str, Any] = {"clip": False, "min_score": -math.inf} if chance(rng, 0.7) else {}
    if chance(rng, 0.6):
        changes |= {"max_position": 0.6 * settings.leverage, "max_positions": UNLIMITED}
    if chance(rng, 0.4):
        changes["halts"] = HaltLimits(drawdown=0.002, resume_after_us=int(pick(rng, HOUR, 5 * HOUR)))
    return replace(settings, **changes)


def _margin(rng: Generator) -> dict[str, Any]:
    return {
        "margin": pick(rng, MarginMode.CROSS, MarginMode.CROSS, MarginMode.ISOLATED),
        "maintenance_basis": pick(rng, MaintenanceBasis.MARK, MaintenanceBasis.MARK, MaintenanceBasis.ENTRY),
        "maintenance_fee": pick(rng, MaintenanceFee.NONE, MaintenanceFee.TAKER_AT_BANKRUPTCY),
        "liquidation_fee": float(pick(rng, 0.0, 0.0, 0.005, 0.0123)),
    }


def _strategies(rng: Generator, symbols: list[Symbol], cash: int, leverage: float) -> tuple[StrategySettings, ...]:
    count = int(pick(rng, 1, 1, 2, 3))
    strategies = []
    lively = chance(rng, 0.5)
    for name in rng.permutation(STRATEGIES)[:count].tolist():
        size = SizeKind(int(rng.integers(0, SizeKind.MODEL)))
        budget = float(pick(rng, 1.0, 0.5, 0.3333, 0.7))
        amount, cap = _amount(rng, size, symbols, cash, leverage), float(pick(rng, math.inf, 0.1, 0.5))
        on_held = OnHeld(int(rng.integers(0, len(OnHeld)))) if lively else OnHeld.IGNORE
        most = int(pick(rng, UNLIMITED, 1, 2))
        strategies.append(StrategySettings(name, budget, size, amount, cap, on_held, most))
    return tuple(strategies)


def _amount(rng: Generator, size: SizeKind, symbols: list[Symbol], cash: int, leverage: float) -> float:
    share = float(pick(rng, 0.03, 0.1, 0.1, 0.25, 0.3, 0.8, 0.9 * leverage, 2.0 * leverage))
    if leverage == 20.0:  # the cases that are to be ruined
        share = float(pick(rng, 0.5, 2.0)) * leverage
    if size == SizeKind.FIXED_QTY:
        first = symbols[0]
        quantity = cash * share / first.unit_value
        return float(
            pick(
                rng, quantity, quantity, round(quantity, 1), round(quantity, 1), round(quantity) + 1.0, 5.0, pick(rng, 0.0, -1.0, math.nan)
            )
        )
    if size == SizeKind.FIXED_NOTIONAL:
        return share * cash
    if size in (SizeKind.VOL_TARGET, SizeKind.KELLY):
        return share * float(pick(rng, 0.1, 1.0))
    return share / 10 if size == SizeKind.FIXED_RISK else share


def _costs(rng: Generator, cash: int) -> dict[str, Any]:
    slippage = Slippage(int(rng.integers(0, Slippage.MODEL)))
    amounts = {
        Slippage.NONE: (0.0,),
        Slippage.BPS: (1.0, 7.5, 40.0),
        Slippage.SPREAD: (0.0, 1.5, 3.0),
        Slippage.VOLUME_SHARE: (0.1, 0.5),
        Slippage.SQRT_IMPACT: (0.01, 0.1),
    }
    return {
        "slippage": slippage,
        "slippage_amount": float(pick(rng, *amounts[slippage])),
        "slippage_limit": float(pick(rng, 1.0, 0.025, 0.3)),
        "spread_events": chance(rng, 0.8),
        "default_spread_bps": float(pick(rng, 0.0, 0.0, 3.0, 25.0)),
        "maker_bps": float(pick(rng, 0.0, 2.0, -1.0)),
        "taker_bps": float(pick(rng, 0.0, 5.0, 4.5, 30.0, -0.5)),
        "per_unit": float(pick(rng, 0.0, 0.0, 0.005, 0.013)),
        "flat": float(pick(rng, 0.0, 0.0, 1.0, 0.35)),
        "min_fee": float(pick(rng, 0.0, 0.0, 1.0, 2.5)),
        "fee_tiers": _tiers(rng, cash) if chance(rng, 0.3) else (),
    }


def _tiers(rng: Generator, cash: int) -> tuple[FeeTier, ...]:
    """Tiers that a few fills reach."""
    floors = [0.0, 0.1 * cash, 0.5 * cash, 2.5 * cash][: int(rng.integers(1, 5))]
    return tuple(FeeTier(floor, float(pick(rng, 2.0, 0.0, -1.0)), float(pick(rng, 30.0, 5.0, 1.0, -0.5))) for floor in floors)


def _brackets(rng: Generator) -> dict[str, Any]:
    return {
        "limit_touch": pick(rng, LimitTouch.TOUCH, LimitTouch.THROUGH),
        "participation": float(pick(rng, 0.3, 0.05, 0.005, 1.0)) if chance(rng, 0.25) else math.inf,
        "participation_current": chance(rng, 0.2),
        "stop_anchor": pick(rng, StopAnchor.FILL, StopAnchor.ENTRY_CLOSE),
        "stop_from": pick(rng, StopFrom.FILL, StopFrom.FILL, StopFrom.NEXT_BAR),
        "stop_check": pick(rng, StopCheck.RANGE, StopCheck.RANGE, StopCheck.RANGE, StopCheck.CLOSE),
        "trailing_mode": pick(rng, TrailingMode.CLOSE, TrailingMode.CLOSE, TrailingMode.INTRABAR),
    }


def _limits(rng: Generator) -> dict[str, Any]:
    """Limits and halts: each case draws how many of them bind."""
    binding = float(pick(rng, 0.05, 0.2, 0.6))

    def maybe(unlimited: Any, *options: Any) -> Any:
        return pick(rng, *options) if chance(rng, binding) else unlimited

    rotate_margin = float(pick(rng, 0.0, 0.5, 1.0)) if chance(rng, 0.15) else math.inf
    return {
        "max_positions": int(pick(rng, 1, 1, 2)) if rotate_margin < math.inf else int(maybe(UNLIMITED, 0, 1, 1, 2, 3)),
        "min_score": float(maybe(-math.inf, 0.5, 0.0)),
        "reuse_pending_exit": chance(rng, 0.3),
        "cash_buffer": float(maybe(0.0, 0.02, 0.3)),
        "max_position": float(maybe(math.inf, 0.1, 0.25, 1.0)),
        "max_gross": float(maybe(math.inf, 0.3, 1.0, 2.0)),
        "max_net": float(maybe(math.inf, 0.2, 0.7)),
        "clip": chance(rng, 0.7),
        "max_group": float(maybe(math.inf, 0.2, 0.7)),
        "max_strategy": float(maybe(math.inf, 0.3, 1.0)),
        "max_per_group": int(maybe(UNLIMITED, 1, 1, 2)),
        "max_per_strategy": int(maybe(UNLIMITED, 1, 2)),
        "rotate_margin": rotate_margin,
        "halts": _halts(rng, binding),
        "strategy_halts": _halts(rng, binding) if chance(rng, binding) else HaltLimits(),
        "symbol_halts": _halts(rng, binding) if chance(rng, binding) else HaltLimits(),
    }


def _halts(rng: Generator, binding: float) -> HaltLimits:
    """Limits of one scope."""

    def maybe(unlimited: Any, *options: Any) -> Any:
        return pick(rng, *options) if chance(rng, binding) else unlimited

    return HaltLimits(
        daily_loss=float(maybe(math.inf, 0.005, 0.02, 0.1)),
        drawdown=float(maybe(math.inf, 0.01, 0.05, 0.2)),
        resume_after_us=int(pick(rng, NEVER, HOUR, 5 * HOUR, 26 * HOUR)),
        losses=int(maybe(0, 1, 2, 3)),
        losses_for_us=int(pick(rng, NEVER, HOUR, 5 * HOUR)),
        cooldown_bars=int(maybe(0, 1, 2, 5)),
    )


def _ends(rng: Generator) -> dict[str, Any]:
    return {
        "close_on_leave": chance(rng, 0.7),
        "delist_haircut": float(pick(rng, 0.0, 0.0, 0.1, 0.333)),
        "finalize_close": chance(rng, 0.7),
    }
