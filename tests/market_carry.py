"""What comes with time in a random market: interest on shorts and on debt, futures that settle and expire.

Drawn from a generator of its own, after all else, so that what is drawn here moves no other case.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from engine.dataset import Dataset
from engine.instrument import DatedRate, Instrument
from engine.schema import Accounting, Action, MarginMode, SizeKind
from engine.settings import UNLIMITED, HaltLimits, Settings, StrategySettings
from tests.market_data import DAY, HOUR, MINUTE, chance, pick

Table = Mapping[str, list[Any]]


class Carried(NamedTuple):
    """A case on its way: what may still change of it."""

    dataset: Dataset
    proposals: dict[str, list[Any]]
    settings: Settings


def with_carry(seed: int, dataset: Dataset, proposals: dict[str, list[Any]], settings: Settings) -> Carried:
    """A case, some of them with shares borrowed, some of them with debt."""
    rng, case = np.random.default_rng((seed, 3)), Carried(dataset, proposals, settings)
    in_coin = any(one.accounting == Accounting.INVERSE for one in settings.instruments)  # which mix with no other kind
    if chance(rng, 0.12) and not in_coin:
        case = with_shorts(rng, case)
    if chance(rng, 0.12):
        case = with_debt(rng, case)
    return with_futures(rng, case) if chance(rng, 0.12) and not in_coin else case


def with_shorts(rng: Generator, case: Carried) -> Carried:
    """Shares that cost something to be short of, and somebody who wants to be."""
    chosen = [(one, _borrowed(rng, case, one) if chance(rng, 0.8) else one) for one in case.settings.instruments]
    wanted = [one.symbol for old, one in chosen if one is not old for _ in range(int(rng.integers(1, 5)))]
    rows = [
        _row(rng, case, symbol, pick(rng, *case.settings.strategies).id, Action.ENTER_SHORT, _bar(rng, case, symbol)) for symbol in wanted
    ]
    settings = _unlimited(case.settings) if chance(rng, 0.7) else case.settings
    if chance(rng, 0.7):
        small = tuple(replace(one, size=SizeKind.FIXED_FRACTION, amount=0.1) for one in settings.strategies)
        settings = replace(settings, strategies=small)
    settings = replace(settings, instruments=tuple(one for _, one in chosen))
    return Carried(case.dataset, _added(case.proposals, rows), settings)


def _borrowed(rng: Generator, case: Carried, one: Instrument) -> Instrument:
    kind = pick(rng, "spot", "equity")
    return replace(one, kind=kind, shortable=chance(rng, 0.9), borrow=_rates(rng, case, one.symbol))


def _bar(rng: Generator, case: Carried, symbol: str) -> int:
    """A bar of the run that closes a little before a midnight, where there is one."""
    closes = np.array(_closes(case, symbol))
    before = np.flatnonzero((-closes % DAY < 6 * np.diff(closes, prepend=closes[0] - HOUR)) & (closes > case.settings.start_us))
    late = before[before < len(closes) - 1]
    return int(rng.choice(late)) if len(late) and chance(rng, 0.8) else int(rng.integers(0, len(closes)))


def _rates(rng: Generator, case: Carried, symbol: str) -> tuple[DatedRate, ...]:
    """Rates from before, within and after the data on, some of them zero and some of them enormous."""
    closes = _closes(case, symbol)
    begin, end = closes[0], closes[-1]
    times = {begin - DAY} if chance(rng, 0.7) else set()
    times |= {begin + int(rng.integers(0, (end - begin) // HOUR + 2)) * HOUR for _ in range(int(rng.integers(1, 4)))}
    return tuple(DatedRate(ts, float(pick(rng, 0.05, 0.5, 3.65, 73.0, 0.0))) for ts in sorted(times))


def with_futures(rng: Generator, case: Carried) -> Carried:
    """Contracts that settle at some time of day, on the bars' closes or off them, and most of which expire."""
    one_time = int(pick(rng, 0, 0, 16 * HOUR, 13 * HOUR + HOUR // 4, 7 * MINUTE))
    changed = [_future(rng, case, one, one_time) if chance(rng, 0.8) else one for one in case.settings.instruments]
    rows = [
        _row(rng, case, one.symbol, pick(rng, *case.settings.strategies).id, side, _bar(rng, case, one.symbol))
        for one in changed
        for side in (Action.ENTER_LONG, Action.ENTER_SHORT)
        if one.is_future and chance(rng, 0.6)
    ]
    settings = _unlimited(case.settings) if chance(rng, 0.3) else case.settings
    return Carried(case.dataset, _added(case.proposals, rows), replace(settings, instruments=tuple(changed)))


def _future(rng: Generator, case: Carried, one: Instrument, settlement: int) -> Instrument:
    closes = _closes(case, one.symbol)
    at = int(rng.choice(closes)) + int(pick(rng, 0, 0, 0, HOUR, -7 * MINUTE, 1))
    expiry = pick(rng, None, at, at, closes[0] - DAY, at // DAY * DAY + settlement)
    return replace(one, kind="future", borrow=(), settlement=settlement, expiry=expiry)


def with_debt(rng: Generator, case: Carried) -> Carried:
    """An account that owes: of two large positions that cancel out, the one that lost is closed, and the other goes on."""
    linear = [one.symbol for one in case.settings.instruments if one.accounting == Accounting.LINEAR]
    rates = _rates(rng, case, case.settings.instruments[0].symbol)
    if not linear or chance(rng, 0.2):
        return case._replace(settings=replace(case.settings, interest=rates))
    symbol, lenders = pick(rng, *linear), ("lender", "Saver")
    rows, size = _opposite(rng, case, symbol, lenders)
    added = tuple(StrategySettings(name, 1.0, SizeKind.FIXED_FRACTION, size) for name in lenders)
    easy = [replace(one, maintenance=(), leverage=None, min_qty=0.0, min_notional=0.0, rules=()) for one in case.settings.instruments]
    settings = replace(
        _unlimited(case.settings),
        interest=rates,
        strategies=(*case.settings.strategies[: int(rng.integers(0, 2))], *added),
        leverage=100.0,
        margin=MarginMode.CROSS,
        instruments=tuple(easy),
    )
    kept = _only(case.proposals, {one.id for one in settings.strategies})
    return Carried(case.dataset, _added(kept, rows), settings)


def _unlimited(settings: Settings) -> Settings:
    """The same where nothing keeps an entry from its size."""
    none = dict.fromkeys(("max_position", "max_gross", "max_net", "max_group", "max_strategy", "rotate_margin", "participation"), math.inf)
    calm = {name: HaltLimits() for name in ("halts", "strategy_halts", "symbol_halts")}
    most = dict.fromkeys(("max_positions", "max_per_group", "max_per_strategy"), UNLIMITED)
    return replace(settings, cash_buffer=0.0, min_score=-math.inf, latency_us=0, **none, **calm, **most)


def _opposite(rng: Generator, case: Carried, symbol: str, owners: tuple[str, str]) -> tuple[list[dict[str, Any]], float]:
    """Both sides at one close; the side that has lost by a later one leaves there.  And a size with which that loss is more than there is."""
    series = case.dataset.find("bars", symbol)
    assert series is not None
    close = case.dataset.view("bars", series)["close"]
    later = _bar(rng, case, symbol)
    from_start = int(np.searchsorted(_closes(case, symbol), case.settings.start_us))
    before = np.arange(min(max(from_start, later - 12), later), later + 1)
    first = int(before[np.argmax(np.abs(close[before] / close[later] - 1.0))])
    moved = float(close[later] / close[first] - 1.0)
    loser = owners[0] if moved < 0 else owners[1]
    rows = [
        _row(rng, case, symbol, owner, side, first) for owner, side in zip(owners, (Action.ENTER_LONG, Action.ENTER_SHORT), strict=True)
    ]
    size = min(float(pick(rng, 0.8, 1.3, 2.0)) / abs(moved), 90.0) if moved else 5.0
    return [*rows, _row(rng, case, symbol, loser, Action.EXIT, later)], size


def _closes(case: Carried, symbol: str) -> list[int]:
    series = case.dataset.find("bars", symbol)
    assert series is not None
    return list(case.dataset.view("bars", series)["ts"].tolist())


def _row(rng: Generator, case: Carried, symbol: str, owner: str, action: Action, at: int) -> dict[str, Any]:
    """A plain proposal at the close of a bar, the last one at most."""
    closes = _closes(case, symbol)
    ts, none = closes[min(at, len(closes) - 1)], dict.fromkeys(("stop_loss", "take_profit", "trailing", "break_even"), math.nan)
    plain = {"ts": ts, "available_ts": ts, "symbol": symbol, "strategy": owner, "action": int(action), "score": 3.0, "max_bars": 0}
    order = {"order_type": 0, "limit_price": math.nan, "stop_price": math.nan, "tif": 0, "tif_value": 0, "leg": 0}
    sizes = {"weight": 0.3, "volatility": 0.5, "win_probability": 0.6, "payoff": 1.0}
    return plain | order | sizes | none | {f"{name}_kind": 0 for name in none} | {"sequence": int(rng.integers(2_000, 3_000))}


def _added(proposals: Table, rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The table with more rows, no two of one number."""
    rows = [row | {"sequence": row["sequence"] + 10_000 * (len(proposals["ts"]) + k)} for k, row in enumerate(rows)]
    return {name: [*column, *(row[name] for row in rows)] for name, column in proposals.items()}


def _only(proposals: Table, strategies: Collection[str]) -> dict[str, list[Any]]:
    """The rows of some strategies."""
    rows = [row for row, owner in enumerate(proposals["strategy"]) if owner in strategies]
    return {name: [column[row] for row in rows] for name, column in proposals.items()}
