"""Random proposals for a random market: crowded instants, repeats, contradictions, levels on the grid."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from engine.schema import Action, LevelKind, OnHeld, OrderType, SizeKind, TimeInForce
from engine.settings import Settings
from tests.market_data import MINUTE, Symbol, chance, pick

OPTIONAL = ("available_ts", "score", "stop_loss", "take_profit", "trailing", "break_even", "max_bars")
SIZING = ("weight", "volatility", "win_probability", "payoff")


class _Habits(NamedTuple):
    """How often the proposals of a case do what."""

    exits: float
    longs: float
    levels: float
    fractions: bool
    max_bars: float
    legs: float
    rests: float


def random_proposals(rng: Generator, symbols: list[Symbol], settings: Settings, begin: int, span: int) -> dict[str, list[Any]]:
    """Columns of a proposal table, its rows in no order."""
    rows: list[dict[str, Any]] = []
    habits = _Habits(
        pick(rng, 0.0, 0.1, 0.4),
        pick(rng, 0.95, 0.05, 0.5),
        pick(rng, 0.0, 0.3, 0.8, 0.8),
        chance(rng, 0.3),
        pick(rng, 0.0, 0.3),
        pick(rng, 0.0, 0.0, 0.4),
        pick(rng, 0.0, 0.4, 1.0),
    )
    moments = _moments(rng, symbols, begin, span)
    for _ in range(int(pick(rng, 3, 15, 40, 80))):
        symbol = pick(rng, *symbols)
        ts = int(rng.choice(moments)) if chance(rng, 0.25) else int(rng.choice(symbol.bars["ts"]))
        rows.append(_proposal(rng, symbol, settings, ts, habits))
        if chance(rng, 0.05):  # the same again, with other levels or a higher score
            rows.append(_proposal(rng, symbol, settings, ts, habits) | {"action": rows[-1]["action"]})
    for _ in range(int(pick(rng, 0, 0, 1, 3))):
        rows += _run_of(rng, pick(rng, *symbols), settings, habits)
    if any(one.on_held != OnHeld.IGNORE for one in settings.strategies) or settings.rotate_margin < math.inf:
        for _ in range(int(rng.integers(2, 5))):
            rows += _turns_of(rng, pick(rng, *symbols), settings, habits)
    order = rng.permutation(len(rows)).tolist()
    if chance(rng, 0.6):
        for sequence, row in enumerate(rows):
            row["sequence"] = sequence if chance(rng, 0.9) else sequence + 1_000_000
    given = [name for name in rows[0] if not (name in OPTIONAL and chance(rng, 0.05))]
    given = [name for name in given if name not in SIZING or chance(rng, 0.8)]
    if not any(row["leg"] for row in rows):
        given.remove("leg")
    return {name: [rows[place][name] for place in order] for name in given}


def with_targets(rng: Generator, table: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The table with some of its rows made targets, of few weights, so that many are met."""
    n, share, step = len(table["ts"]), float(pick(rng, 0.3, 0.8)), float(pick(rng, 0.1, 0.4))
    columns = {"weight": [math.nan] * n, "order_type": [0] * n, "tif": [0] * n} | {name: list(column) for name, column in table.items()}
    for row in range(n):
        if chance(rng, share):
            weight = step * float(rng.integers(-1, 4)) * float(pick(rng, 1.0, 1.0, 1.01, -1.0))
            columns["action"][row], columns["weight"][row] = int(Action.TARGET), math.nan if chance(rng, 0.03) else weight
            columns["order_type"][row] = columns["tif"][row] = 0
    return columns


def with_swings(rng: Generator, table: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The table with its entries made targets that go from side to side, some by more than an account may hold."""
    columns = {name: list(column) for name, column in table.items()}
    sides: dict[tuple[str, str], float] = {}
    for row in sorted(range(len(table["ts"])), key=lambda row: table["ts"][row]):
        key = columns["symbol"][row], columns["strategy"][row]
        if columns["action"][row] in (Action.ENTER_LONG, Action.ENTER_SHORT, Action.TARGET):
            sides[key] = -sides.get(key, 1.0) if chance(rng, 0.6) else sides.get(key, 1.0)
            columns["weight"][row] = sides[key] * float(pick(rng, 0.1, 0.2, 0.3, 0.4, 0.4, 8.0))
            columns["action"][row], columns["order_type"][row], columns["tif"][row] = int(Action.TARGET), 0, 0
    return columns


def _moments(rng: Generator, symbols: list[Symbol], begin: int, span: int) -> list[int]:
    """A few instants at which proposals crowd: closes, and times at which nothing else happens."""
    closes = rng.choice(np.concatenate([symbol.bars["ts"] for symbol in symbols]), int(rng.integers(1, 8))).tolist()
    odd = begin + int(rng.integers(-60, span // MINUTE + 120)) * MINUTE
    return [*closes, odd]


def _run_of(rng: Generator, symbol: Symbol, settings: Settings, habits: _Habits) -> list[dict[str, Any]]:
    """The same proposal at every close of a stretch, as a rule that stays true makes it."""
    closes = symbol.bars["ts"].tolist()
    first = int(rng.integers(0, len(closes)))
    model = _proposal(rng, symbol, settings, closes[first], habits)
    return [model | {"ts": ts, "available_ts": ts} for ts in closes[first : first + int(rng.integers(2, 25))]]


def _turns_of(rng: Generator, symbol: Symbol, settings: Settings, habits: _Habits) -> list[dict[str, Any]]:
    """Entries of one (strategy, symbol) now and then, each on a side of its own, sized so that they mostly pass."""
    closes, rows = symbol.bars["ts"].tolist(), []
    owner = pick(rng, *settings.strategies)
    longs = 0.5 if owner.on_held == OnHeld.REVERSE else pick(rng, 1.0, 0.5, 0.5)
    turns = habits._replace(exits=0.0, longs=longs, levels=habits.levels * float(pick(rng, 0.0, 0.5, 1.0)))
    at = int(rng.integers(0, len(closes)))
    while at < len(closes):
        row = _proposal(rng, symbol, settings, closes[at], turns)
        usable = {"weight": 0.3, "volatility": 0.5, "win_probability": 0.6, "payoff": 1.0, "score": float(pick(rng, 0.5, 1.0, 2.0, 3.0))}
        rows.append(row | usable | {"strategy": owner.id, "leg": 0})
        at += int(rng.integers(1, 8))
    return rows


def _proposal(rng: Generator, symbol: Symbol, settings: Settings, ts: int, habits: _Habits) -> dict[str, Any]:
    action = pick(rng, Action.EXIT, Action.EXIT_LONG, Action.EXIT_SHORT)
    if not chance(rng, habits.exits):
        action = Action.ENTER_LONG if chance(rng, habits.longs) else Action.ENTER_SHORT
    side = 1 if action == Action.ENTER_LONG else -1
    place = max(0, int(np.searchsorted(symbol.bars["ts"], ts, side="right")) - 1)
    price = float(symbol.bars["close"][place])
    late = int(rng.integers(0, 4 * symbol.interval // MINUTE)) * MINUTE if chance(rng, 0.1) else 0
    row = {
        "ts": ts,
        "available_ts": ts + late,
        "symbol": symbol.name,
        "strategy": pick(rng, *settings.strategies).id,
        "action": int(action),
        "score": float(pick(rng, 0.0, -0.0, 0.5, 1.0, 1.0, 2.0, -1.0, math.nan if chance(rng, 0.3) else 3.0)),
        "max_bars": int(pick(rng, 1, 2, 3, 10)) if chance(rng, habits.max_bars) else 0,
    }
    row |= {
        "weight": float(pick(rng, 0.1, 0.3, 1.5, 0.0, -0.2, math.nan)),
        "volatility": float(pick(rng, 0.01, 0.1, 0.5, 2.0, 0.0, math.nan)),
        "win_probability": float(pick(rng, 0.3, 0.55, 0.6, 0.9, 1.2, math.nan)),
        "payoff": float(pick(rng, 0.5, 1.0, 2.0, math.inf, 0.0, math.nan)),
        "leg": int(rng.integers(1, 3)) if chance(rng, habits.legs) else 0,
    }
    row |= _order(rng, symbol, side, price, ts + late, habits)
    risky = any(one.size == SizeKind.FIXED_RISK and one.id == row["strategy"] for one in settings.strategies)
    row |= _level(rng, "stop_loss", symbol, price, -side, 0.9 if risky else habits.levels, habits)
    row |= _level(rng, "take_profit", symbol, price, side, habits.levels, habits)
    row |= _level(rng, "trailing", symbol, 0.0, 1, habits.levels / 2, habits)
    return row | _level(rng, "break_even", symbol, 0.0, 1, habits.levels / 3, habits)


def _order(rng: Generator, symbol: Symbol, side: int, price: float, ts: int, habits: _Habits) -> dict[str, Any]:
    """How an entry is to be filled: limits mostly below the price, triggers mostly above it (short: the reverse), often met."""
    kind = OrderType(int(rng.integers(1, 4))) if chance(rng, habits.rests) else OrderType.MARKET

    def away(direction: int) -> float:
        steps = float(pick(rng, 0, 0.4, 1, 1, 2, 3, 6)) * (-1 if chance(rng, 0.15) else 1)
        return price + direction * side * steps * symbol.step

    limit, trigger = away(-1), away(1)
    if kind == OrderType.STOP_LIMIT:
        limit = trigger + side * float(pick(rng, -2, -1, -0.3, 0, 0.5, 1, 3)) * symbol.step
    if chance(rng, 0.02):
        limit = trigger = float(pick(rng, math.nan, -1.0, 0.001 * symbol.step))
    tif = TimeInForce(int(rng.integers(0, 4))) if chance(rng, 0.6) else TimeInForce.GTC
    till = ts + int(rng.integers(-1 if chance(rng, 0.1) else 1, 40)) * int(pick(rng, symbol.interval, 7 * MINUTE))
    value = {TimeInForce.GTD: till, TimeInForce.BARS: int(pick(rng, 1, 1, 2, 3, 10, 500))}.get(tif, 0)
    return {"order_type": int(kind), "limit_price": limit, "stop_price": trigger, "tif": int(tif), "tif_value": value}


def _level(rng: Generator, name: str, symbol: Symbol, price: float, direction: int, share: float, habits: _Habits) -> dict[str, Any]:
    """A level some ticks (now and then on the wrong side) or a fraction away."""
    kind, value = LevelKind.PRICE, math.nan
    if chance(rng, share):
        steps = float(pick(rng, 1, 2, 3, 5, 8, 15, 0.4))
        wrong = -1 if name not in ("trailing", "break_even") and chance(rng, 0.06) else 1
        value = price + wrong * direction * steps * symbol.step
        if habits.fractions and chance(rng, 0.8):
            kind, value = LevelKind.FRACTION, float(pick(rng, 0.005, 0.01, 0.02, 0.05, 0.1, 0.03))
    return {name: value, f"{name}_kind": int(kind)}
