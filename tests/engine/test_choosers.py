"""Entries ranked and sized by the user's own models, on examples worked by hand; both replays agree.  # R2.8 R4.2 R5.1"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.instrument import Decimals
from engine.model_call import draw, event_key, name_key
from engine.models import Candidate, Model, ModelKind, Selected, compile_model
from engine.schema import Action, LevelKind, OnHeld, Reason, RecordKind, SizeKind
from engine.settings import StrategySettings
from tests.differential import agreed_replay, kernel_run, oracle_run, outcome_of
from tests.markets import random_case
from tests.oracle.examples import (
    FLAT,
    HOUR,
    LONG,
    MIDNIGHT,
    SHORT,
    Row,
    at,
    instrument,
    market,
    of_kind,
    propose,
    reasons,
    settings,
    strategy,
    table,
)
from tests.oracle.replay import OracleResult

SELECTED, APPROVED, REJECTED, FILL = RecordKind.SELECTED, RecordKind.APPROVED, RecordKind.REJECTED, RecordKind.FILL
SEED = 11


@cache
def own(kind: ModelKind, function: Callable[..., Any]) -> Model:
    return compile_model(kind, function)


def ranking(function: Callable[..., Any]) -> tuple[Model, ...]:
    return (own(ModelKind.SELECTOR, function),)


def sizing(function: Callable[..., Any]) -> tuple[Model, ...]:
    return (own(ModelKind.SIZE, function),)


def many(symbols: str, bars: int, *rows: Row, columns: dict[str, list[float]] | None = None, **changes: Any) -> OracleResult:
    dataset = market({symbol: [FLAT] * bars for symbol in symbols})
    return agreed_replay(dataset, table(*rows) | (columns or {}), settings(bars, symbols=symbols, seed=SEED, **changes))


def worst_first(entry: Candidate) -> float:
    """The lowest score first, and none above 5."""
    return -entry.score if entry.score <= 5.0 else math.nan


def the_score(entry: Candidate) -> float:
    """What there is without a model."""
    return entry.score


def no_limit(entry: Candidate) -> float:
    """Infinite without a number of slots, and for the second symbol."""
    return entry.free_slots if entry.symbol < 2 else 1.0


def told(entry: Candidate) -> float:
    """The value that the score is the place of."""
    values = (
        entry.score,
        entry.side,
        entry.close,
        entry.volume,
        entry.weight,
        entry.volatility,
        entry.win_probability,
        entry.payoff,
        entry.equity,
        entry.free_cash,
        entry.held,
        entry.positions,
        entry.of_strategy,
        entry.of_symbol,
    )
    rest = (entry.free_slots, float(entry.ts), float(entry.symbol), float(entry.strategy), draw(entry.key, 0))
    return (*values, *rest)[int(entry.score)]


def told_size(entry: Selected) -> float:
    """The value that the score is the place of."""
    values = (
        entry.capital,
        entry.free_cash,
        entry.reference,
        entry.distance,
        entry.worth,
        entry.loss,
        entry.side,
        entry.score,
        entry.amount,
        entry.weight,
        entry.volatility,
        entry.win_probability,
        entry.payoff,
        entry.held,
    )
    rest = (entry.positions, entry.rank, (entry.ts - MIDNIGHT) / HOUR, float(entry.symbol), float(entry.strategy), draw(entry.key, 0))
    return (*values, *rest)[int(entry.score)]


def a_tenth(entry: Selected) -> float:
    """What ``fixed_fraction`` asks for."""
    return entry.capital * entry.amount / entry.worth


def by_score(entry: Selected) -> float:
    """So many units as the score; a score of 9 is not one of a size."""
    return entry.score if entry.score != 9.0 else math.nan


def by_loss(entry: Selected) -> float:
    """Two units where a stop says what one may lose, else one."""
    return 1.0 if math.isnan(entry.loss) else 2.0


# the selector


def test_the_key_ranks_and_the_ledger_says_it() -> None:  # R4.2
    rows = [propose(1, symbol=symbol, score=score) for symbol, score in zip("ABC", (3.0, 1.0, 2.0), strict=True)]
    result = many("ABC", 3, *rows, models=ranking(worst_first), max_positions=1)
    assert [(record["symbol"], record["rank"], record["value"]) for record in of_kind(result, SELECTED)] == [(1, 1, -1.0)]
    left = [(record["symbol"], record["rank"], record["value"], record["reason"]) for record in of_kind(result, REJECTED)]
    assert left == [(2, 2, -2.0, Reason.NOT_SELECTED), (0, 3, -3.0, Reason.NOT_SELECTED)]
    assert [record["value"] for record in of_kind(result, RecordKind.PROPOSAL)] == [1.0]


def test_equal_keys_fall_back_on_symbol_strategy_and_sequence() -> None:  # R4.2
    rows = [propose(1, symbol=symbol, score=2.0, strategy=name) for symbol in "BA" for name in "ts"]
    strategies = tuple(strategy(SizeKind.FIXED_QTY, 1.0, name=name) for name in "st")
    result = many("AB", 3, *rows, models=ranking(worst_first), strategies=strategies, max_positions=3)
    assert [(record["symbol"], record["strategy"]) for record in of_kind(result, SELECTED)] == [(0, 0), (0, 1), (1, 0)]


def test_no_key_drops_an_entry_after_the_least_score_and_before_its_repeats() -> None:  # R4.1
    # of A's three the first has no key, the second ranks better than the third by its key, not by its score
    rows = [propose(1, score=6.0), propose(1, score=1.0), propose(1, score=2.0), propose(1, symbol="B", score=-1.0)]
    result = many("AB", 3, *rows, models=ranking(worst_first), min_score=0.0)
    assert reasons(result, REJECTED) == [(0, "NO_RANK"), (2, "DUPLICATE"), (3, "BELOW_MIN_SCORE")]
    assert [record["value"] for record in of_kind(result, REJECTED)] == [6.0, 2.0, -1.0]
    assert [record["proposal"] for record in of_kind(result, SELECTED)] == [1]


def test_a_key_that_is_not_finite_is_none() -> None:  # R4.1
    rows = [propose(1, symbol=symbol) for symbol in "ABC"]
    result = many("ABC", 3, *rows, models=ranking(no_limit))
    assert reasons(result, REJECTED) == [(0, "NO_RANK"), (1, "NO_RANK")]
    assert [record["symbol"] for record in of_kind(many("ABC", 3, *rows, models=ranking(no_limit), max_positions=2), SELECTED)] == [0, 1]


TOLD = {
    "score": 0.0,
    "side": 1.0,
    "close": 100.0,
    "volume": 1.0,
    "weight": 0.4,
    "volatility": 0.5,
    "win_probability": 0.6,
    "payoff": 1.5,
    "equity": 1000.0,
    "free_cash": 700.0,
    "held": 0.0,
    "positions": 2.0,
    "of_strategy": 1.0,
    "of_symbol": 1.0,
    "free_slots": 3.0,
    "ts": float(at(2)),
    "symbol": 1.0,
    "strategy": 0.0,
    "key": draw(event_key(event_key(SEED, ModelKind.SELECTOR, 0, 0), at(2), name_key("B"), name_key("s")), 0),
}
COLUMNS = {"weight": [0.4] * 3, "volatility": [0.5] * 3, "win_probability": [0.6] * 3, "payoff": [1.5] * 3}


@pytest.mark.parametrize(("place", "name"), list(enumerate(TOLD)), ids=list(TOLD))
def test_a_selector_is_told_what_is_known(place: int, name: str) -> None:  # R2.8 R9.2
    # at 2, s holds one unit of A and t two of B: 300 of 1,000 is bound, two of five slots are taken
    rows = [propose(1, score=1.0), propose(1, symbol="B", strategy="t", score=1.0), propose(2, symbol="B", score=float(place))]
    strategies = (strategy(SizeKind.FIXED_QTY, 1.0, name="s"), strategy(SizeKind.FIXED_QTY, 2.0, name="t"))
    result = many("AB", 4, *rows, columns=COLUMNS, models=ranking(told), strategies=strategies, max_positions=5)
    assert [record["value"] for record in of_kind(result, SELECTED)][2:] == [TOLD[name]]


def test_a_held_quantity_is_that_of_the_entrys_own_position() -> None:  # R2.8 R4.3
    rows = [propose(1, score=1.0), propose(2, score=10.0)]
    strategies = (StrategySettings("s", 1.0, SizeKind.FIXED_QTY, 3.0, on_held=OnHeld.ADD),)
    result = many("A", 4, *rows, models=ranking(told), strategies=strategies)
    assert [record["value"] for record in of_kind(result, SELECTED)] == [1.0, 3.0]
    single = (replace(strategies[0], amount=1.0),)
    result = many("A", 4, *rows, models=ranking(told), strategies=single)
    assert [record["value"] for record in of_kind(result, SELECTED)] == [1.0, 1.0]


def test_a_column_of_one_proposal_is_told_too() -> None:  # R2.8
    result = many("A", 3, propose(1, score=4.0), columns={"weight": [0.4]}, models=ranking(told))
    assert [record["value"] for record in of_kind(result, SELECTED)] == [0.4]
    assert reasons(many("A", 3, propose(1, score=4.0), models=ranking(told)), REJECTED) == [(0, "NO_RANK")]


def test_rotation_compares_keys() -> None:  # R4.2
    # by its key of -1 the newcomer beats B, which came with -3, by one at least; by scores it beats neither
    rows = [propose(1, score=2.0), propose(1, symbol="B", score=3.0), propose(3, symbol="C", score=1.0)]
    result = many("ABC", 5, *rows, models=ranking(worst_first), max_positions=2, rotate_margin=1.0)
    assert [record["symbol"] for record in of_kind(result, FILL) if record["reason"] == Reason.ROTATED] == [1]


def test_the_key_of_what_is_held_is_that_of_its_last_proposal_that_got_one() -> None:  # R4.2
    # at 2 A's key falls to -5, B's proposal has none: the newcomer with -4 takes the place of A
    rows = [propose(1, score=1.0), propose(1, symbol="B", score=2.0), propose(2, score=5.0), propose(2, symbol="B", score=7.0)]
    result = many("ABC", 5, *rows, propose(3, symbol="C", score=4.0), models=ranking(worst_first), max_positions=2, rotate_margin=0.0)
    assert [record["symbol"] for record in of_kind(result, FILL) if record["reason"] == Reason.ROTATED] == [0]


@given(seed=st.integers(0, 2**31))
def test_a_selector_that_returns_the_score_changes_nothing(seed: int) -> None:  # R4.2
    case = random_case(seed)
    case = case._replace(settings=replace(case.settings, models=()))
    ranked = case._replace(settings=replace(case.settings, models=ranking(the_score)))
    assert outcome_of(kernel_run, ranked) == outcome_of(kernel_run, case) == outcome_of(oracle_run, ranked)


# the size


def test_the_models_quantity_is_floored_to_lots_and_gated() -> None:  # R5.1 R5.2
    # 2.7 units are two lots; 30 are cut to 8 by the limit; 0.5 is no lot; 0, -1 and NaN are no size
    rows = [propose(1, symbol=symbol, score=score) for symbol, score in zip("ABCDEF", (2.7, 30.0, 0.5, 0.0, -1.0, 9.0), strict=True)]
    result = many("ABCDEF", 3, *rows, models=sizing(by_score), max_position=0.8)
    assert [(record["symbol"], record["qty"]) for record in of_kind(result, APPROVED)] == [(1, 8), (0, 2)]
    left = [(record["symbol"], Reason(record["reason"]).name) for record in of_kind(result, REJECTED)]
    assert left == [(5, "NO_SIZE"), (2, "BELOW_MIN_QTY"), (3, "NO_SIZE"), (4, "NO_SIZE")]


@pytest.mark.parametrize("size", [SizeKind.ALL_IN, SizeKind.FIXED_RISK, SizeKind.KELLY])
def test_the_model_takes_the_place_of_any_size(size: SizeKind) -> None:  # R5.1
    # no stop and no columns, which the sizes themselves would refuse; and the quantity of the decision stands
    strategies = (StrategySettings("s", 1.0, size, 0.5),)
    result = many("A", 3, propose(1, score=4.0), models=sizing(by_score), strategies=strategies, size_at_fill=True)
    assert [(record["kind"], record["qty"]) for record in result.records if record["kind"] in (APPROVED, RecordKind.ORDER, FILL)][:3] == [
        (APPROVED, 4),
        (RecordKind.ORDER, 4),
        (FILL, 4),
    ]


@pytest.mark.parametrize(
    ("side", "stop", "lots"), [(LONG, 99.5, 2), (LONG, 100.0, 1), (LONG, 100.5, 1), (SHORT, 100.5, 2), (LONG, math.nan, 1)]
)
def test_a_loss_is_told_of_a_stop_on_the_losing_side(side: Action, stop: float, lots: int) -> None:  # R2.8 R5.1
    result = many("A", 3, propose(1, side, stop_loss=stop), models=sizing(by_loss))
    assert [record["qty"] for record in of_kind(result, APPROVED)] == [lots]


SIZED = {
    "capital": 499_999.97,
    "free_cash": 999_999.88,
    "reference": 100.0,
    "distance": 4.0,
    "worth": 300.0,
    "loss": 12.0,
    "side": 1.0,
    "score": 7.0,
    "amount": 7.5,
    "weight": 0.4,
    "volatility": 0.5,
    "win_probability": 0.6,
    "payoff": 1.5,
    "held": 1.0,
    "positions": 2.0,
    "rank": 1.0,
    "ts": 2.0,
    "symbol": 1.0,
    "strategy": 1.0,
    "key": draw(event_key(event_key(SEED, ModelKind.SIZE, 0, 0), at(2), name_key("B"), name_key("t")), 0),
}


@pytest.mark.parametrize(("place", "name"), list(enumerate(SIZED)), ids=list(SIZED))
def test_a_size_is_told_what_is_known(place: int, name: str) -> None:  # R2.8 R9.2
    # at 2 s holds a unit of A, t one of B: 300 each, of which a ten thousandth is margin.  The fees were 1 bp
    first = [propose(1, score=6.0), propose(1, symbol="B", strategy="t", score=6.0)]
    rows = [*first, propose(2, symbol="B", strategy="t", score=float(place), stop_loss=0.04, stop_loss_kind=LevelKind.FRACTION)]
    strategies = tuple(
        StrategySettings(name, 0.5, SizeKind.FIXED_QTY, amount, on_held=OnHeld.ADD) for name, amount in (("s", 1.0), ("t", 7.5))
    )
    fine = tuple(instrument(symbol, lot=Decimals(1, 1_000_000), multiplier=Decimals(3, 1)) for symbol in "AB")
    changes = {"models": sizing(told_size), "strategies": strategies, "instruments": fine, "leverage": 1e4, "cash": 100_000_000}
    dataset = market({symbol: [FLAT] * 4 for symbol in "AB"})
    result = agreed_replay(dataset, table(*rows) | COLUMNS, settings(4, symbols="AB", seed=SEED, taker_bps=1.0, **changes))
    found = {(record["ts"], record["symbol"]): record["qty"] / 1e6 for record in of_kind(result, APPROVED)}
    assert found[at(2), 1] == pytest.approx(SIZED[name], abs=1e-6)


@given(seed=st.integers(0, 2**31))
def test_a_model_of_a_fraction_sizes_as_fixed_fraction_does(seed: int) -> None:  # R5.1
    case = random_case(seed)
    shares = tuple(replace(one, size=SizeKind.FIXED_FRACTION) for one in case.settings.strategies)
    case = case._replace(settings=replace(case.settings, strategies=shares, models=()))
    sized = case._replace(settings=replace(case.settings, models=sizing(a_tenth)))
    assert outcome_of(kernel_run, sized) == outcome_of(kernel_run, case) == outcome_of(oracle_run, sized)
