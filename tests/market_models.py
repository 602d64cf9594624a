"""Selector and size models for random markets: they use all that they are told, and now and then refuse."""

import math
from functools import cache

from numpy.random import Generator

from engine.model_call import draw
from engine.models import Candidate, Model, ModelKind, Selected, compile_model
from tests.market_data import chance


def ranked(entry: Candidate) -> float:
    """Halves, so that many tie."""
    if draw(entry.key, 1) < 0.08:
        return math.nan if entry.side > 0.0 else math.inf
    rank = entry.score - 0.5 * entry.positions + entry.of_strategy - 0.5 * entry.of_symbol
    rank += (0.5 if entry.held != 0.0 else 0.0) + 0.5 * (entry.symbol % 2) - 0.5 * entry.strategy
    rank += 0.5 if entry.weight > 0.2 else 0.0
    rank += 0.5 if entry.volatility < 0.2 or entry.win_probability * entry.payoff > 0.6 else 0.0
    rank += 0.5 if entry.volume > 100.0 or entry.close > 90.0 else 0.0
    rank += 0.5 if entry.free_cash > 0.5 * entry.equity else 0.0
    rank += 0.5 if entry.free_slots < 2.0 else 0.0
    return rank + 0.5 * math.floor(4.0 * draw(entry.key, 0)) + 0.5 * (entry.ts // 3_600_000_000 % 2)


def sized(entry: Selected) -> float:
    """A share of capital or of free cash, that grows with all that speaks for the entry."""
    if draw(entry.key, 0) < 0.08:
        return math.nan if entry.side > 0.0 else -1.0
    share = 0.05 * (1.0 + draw(entry.key, 1)) * (1.0 + 0.2 * entry.positions) / entry.rank
    share += 0.05 if entry.distance > 0.01 * entry.reference or entry.loss > 0.02 * entry.worth else 0.0
    share += 0.05 if entry.weight > 0.2 or entry.volatility < 0.2 or entry.win_probability * entry.payoff > 0.6 else 0.0
    share += 0.02 * (entry.symbol % 2) + 0.01 * entry.strategy + 0.03 * (entry.ts // 3_600_000_000 % 2)
    share += 0.05 if entry.score > 0.5 else 0.0
    share += 0.01 * entry.amount if 0.0 < entry.amount < 10.0 else 0.0
    money = entry.capital if draw(entry.key, 2) < 0.7 else entry.free_cash
    return money * share / entry.worth - 0.1 * abs(entry.held)


def drawn_rank(entry: Candidate) -> float:
    """Ties and refusals that nothing but draws decide."""
    return math.nan if draw(entry.key, 1) < 0.1 else entry.score + math.floor(3.0 * draw(entry.key, 0))


def drawn_size(entry: Selected) -> float:
    return entry.capital * 0.2 * draw(entry.key, 0) / entry.worth


def drawn_fill(price: float, qty: float, volume: float, half_spread: float, side: float, key: int) -> float:
    return price * (1.0 + side * (half_spread + 0.01 * draw(key, 0)))


def drawn_stop(
    entry_price: float, high: float, low: float, close: float, stop: float, target: float, bars: float, side: float, key: int
) -> float:
    return close * (1.0 - side * 0.1 * draw(key, 0)) if draw(key, 1) < 0.3 else math.nan


DRAWN = {ModelKind.SELECTOR: drawn_rank, ModelKind.SIZE: drawn_size, ModelKind.FILL: drawn_fill, ModelKind.EXIT: drawn_stop}


@cache
def drawn_models() -> tuple[Model, ...]:
    """Models that draw, and look at no place of a symbol or strategy."""
    return tuple(compile_model(kind, function) for kind, function in DRAWN.items())


OWN = {ModelKind.SELECTOR: ranked, ModelKind.SIZE: sized}


@cache
def own(kind: ModelKind) -> Model:
    """The model of a kind, compiled once."""
    return compile_model(kind, OWN[kind])


def random_models(rng: Generator) -> tuple[Model, ...]:
    """The models of a case: mostly none."""
    return tuple(own(kind) for kind in OWN if chance(rng, 0.15))
