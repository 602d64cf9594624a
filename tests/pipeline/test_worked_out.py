"""Sizes, prices and levels worked out again on random markets: the plain arithmetic of an explanation gives what the replay did."""

from types import SimpleNamespace
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from engine.ledger import Ledger, ledger_header
from engine.round_trips import fold, rows_of
from engine.schema import DAY_US, RecordKind
from engine.session import ReplayError, Session
from pipeline.bar_lookup import Market
from pipeline.size_steps import size_steps
from pipeline.trade_story import Story
from tests.markets import random_case


def replayed(seed: int) -> Any:
    case = random_case(seed)
    try:
        return Session(case.dataset, case.proposals, case.settings).run()
    except ReplayError:
        assume(False)


@given(st.integers(0, 10**6))
def test_every_fill_of_a_random_market_has_the_price_that_its_steps_come_to(seed: int) -> None:
    result = replayed(seed)
    market = Market(result.tape, result.proposals, result.settings)
    ledger = Ledger(result.records, result.symbols, result.strategies, ledger_header(result))
    stored: Any = SimpleNamespace(ledger=ledger, rows=rows_of(ledger), fold=fold(ledger))
    again: Any = SimpleNamespace(replay=result)
    for number in range(1, len(stored.fold.trips) + 1):
        story = Story(stored, number, again)
        for seq in story.entries + story.exits:
            fill, found = stored.rows[seq], story.price(seq)
            if found is None:  # a level that a split restated
                assert story.levels is None, (seed, fill)
                until = stored.rows[-1]["ts"] if story.trip.open else story.trip.exit_ts
                assert market.splits(fill["symbol"], story.trip.decided_ts - 30 * DAY_US, until + 1), (seed, fill)
                continue
            assert found.explained, (seed, fill, found)
            assert abs(found.raw + sum(amount for _, amount in found.steps) - fill["price"]) <= 1e-9 * fill["price"], (seed, fill, found)


@given(st.integers(0, 10**6))
def test_every_size_of_a_random_market_is_the_models_or_that_of_the_limit_that_is_named(seed: int) -> None:
    result = replayed(seed)
    rows = rows_of(Ledger(result.records, result.symbols, result.strategies, {}))
    market = Market(result.tape, result.proposals, result.settings)
    for seq, row in enumerate(rows):
        if row["kind"] != RecordKind.APPROVED:
            continue
        size = size_steps(SimpleNamespace(replay=result), rows, seq)  # type: ignore[arg-type]
        lot = float(market.instrument(row["symbol"]).base_lot) * market.lot_step(row["symbol"], row["ts"])
        if size.cut_by:
            named = next((quantity for name, _, quantity in size.limits if name == size.cut_by), None)
            assert named == size.approved, (seed, seq, size)
        else:
            assert -1e-5 * lot <= size.wanted - size.approved < lot * (1 + 1e-5), (seed, seq, size)
