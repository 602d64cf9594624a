"""Random markets in which little happens: one plain position at a time, few proposals, long stretches of bars that only mark and sample.

In the other cases something is due at nearly every bar, so the replay's short cuts over quiet bars would hardly be taken.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.random import Generator

from engine.dataset import Dataset, from_columns
from engine.schema import (
    Action,
    LimitTouch,
    OnHeld,
    OrderType,
    SizeKind,
    Slippage,
    StopAnchor,
    StopCheck,
    StopFrom,
    TimeInForce,
    Timing,
    TrailingMode,
)
from engine.settings import UNLIMITED, HaltLimits, Settings
from tests.market_data import Symbol, add_quotes, chance, pick, series_of


def quiet_dataset(rng: Generator, symbols: list[Symbol]) -> Dataset:
    """Bars, now and then with quotes, and nothing else."""
    if chance(rng, 0.3):
        add_quotes(rng, symbols)
    return from_columns({"bars": {series_of(symbol): symbol.bars for symbol in symbols}})


def quiet_settings(rng: Generator, settings: Settings) -> Settings:
    """The same without options that need a look at every bar; now and then a halt that looks at every sample."""
    strategies = tuple(
        replace(one, size=SizeKind.FIXED_FRACTION, amount=float(pick(rng, 0.1, 0.3, 0.9)), cap=math.inf, on_held=OnHeld.IGNORE)
        for one in settings.strategies
    )
    free = dict.fromkeys(("max_position", "max_gross", "max_net", "max_group", "max_strategy"), math.inf)
    watched = HaltLimits(
        daily_loss=float(pick(rng, math.inf, 0.005, 0.05)),
        drawdown=float(pick(rng, math.inf, 0.02, 0.2)),
        resume_after_us=settings.halts.resume_after_us,
    )
    return replace(
        settings,
        strategies=strategies,
        instruments=tuple(replace(one, maintenance=(), min_qty=0.0, min_notional=0.0) for one in settings.instruments),
        cash=1000 * settings.cash,  # so that lots are small
        max_positions=pick(rng, 1, 1, UNLIMITED),
        rotate_margin=math.inf,
        min_score=-math.inf,
        halts=watched if chance(rng, 0.2) else HaltLimits(),
        strategy_halts=HaltLimits(),
        symbol_halts=HaltLimits(),
        models=(),
        participation=math.inf,
        fee_tiers=(),
        timing=Timing.NEXT_OPEN,
        size_at_fill=False,
        slippage=pick(rng, Slippage.NONE, Slippage.BPS),
        limit_touch=LimitTouch.TOUCH,
        stop_anchor=StopAnchor.FILL,
        stop_from=StopFrom.FILL,
        stop_check=StopCheck.RANGE,
        trailing_mode=TrailingMode.CLOSE,
        **free,
    )


def quiet_proposals(rng: Generator, table: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """A few of the rows, as market orders, most of them entries, with levels that are seldom reached."""
    kept = np.unique(table["ts"], return_index=True)[1]  # one an instant
    kept = rng.permutation(kept)[: int(pick(rng, 4, 8, 16))].tolist()
    columns = {name: [column[row] for row in kept] for name, column in table.items() if name not in ("leg", "score")}
    columns |= {"order_type": [int(OrderType.MARKET)] * len(kept), "tif": [int(TimeInForce.GTC)] * len(kept)}
    for i in range(len(kept)):
        if chance(rng, 0.6):
            columns["action"][i] = int(pick(rng, Action.ENTER_LONG, Action.ENTER_SHORT))
        for name in {"trailing", "break_even"} & columns.keys() if chance(rng, 0.7) else ():
            columns[name][i] = math.nan
        for name in {"stop_loss", "take_profit"} & columns.keys() if chance(rng, 0.3) else ():
            columns[name][i] = math.nan
    return columns
