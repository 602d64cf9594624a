"""Tick, lot and smallest entry as an exchange changes them, worked by hand.  # R2.7"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.instrument import Decimals, Instrument, Rules
from engine.ledger import ledger_header
from engine.schema import Action, EventKind, LimitGap, Reason, RecordKind, SizeKind
from engine.session import Session
from tests.differential import agreed_replay
from tests.market_changes import run
from tests.markets import random_case
from tests.oracle.examples import (
    FLAT,
    SHORT,
    Candles,
    Row,
    at,
    fills,
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

TENTH, ONE = Decimals(1, 10), Decimals(1, 1)


def since(hour: float, tick: Decimals = TENTH, lot: Decimals = ONE, **least: float) -> Rules:
    return Rules(at(hour), tick, lot, **least)


def one_symbol(
    candles: Candles, *rows: Row, rules: tuple[Rules, ...], qty: float = 3.0, lot: Decimals = ONE, **changes: Any
) -> OracleResult:
    chosen = settings(
        len(candles), instruments=(instrument(lot=lot, rules=rules),), strategies=(strategy(SizeKind.FIXED_QTY, qty),), **changes
    )
    return agreed_replay(market({"A": candles}), table(*rows), chosen)


@pytest.mark.parametrize(
    ("lots", "base"),
    [
        (("1",), (1, 1)),
        (("0.001", "0.01", "1"), (1, 1000)),
        (("0.4", "0.6"), (2, 10)),
        (("5", "2"), (1, 1)),
        (("0.03", "0.1", "1"), (1, 100)),
    ],
)
def test_quantities_are_counted_in_the_largest_lot_that_divides_all(lots: tuple[str, ...], base: tuple[int, int]) -> None:  # R6.3
    first, *later = (Decimals.parse(lot) for lot in lots)
    found = Instrument("A", lot=first, rules=tuple(Rules(at(i), TENTH, lot) for i, lot in enumerate(later)))
    assert found.base_lot == base
    for lot in (first, *later):
        assert found.lot_step(lot) * base[0] * lot.power == lot.units * base[1]


@pytest.mark.parametrize(("hour", "price"), [(1.0, 102.0), (1.1, 100.5), (0.5, 102.0)])
def test_a_fill_is_on_the_tick_of_its_time(hour: float, price: float) -> None:  # R2.7: from its very date on
    two = Decimals(2, 1)
    result = one_symbol([FLAT, FLAT], propose(1), rules=(since(hour, tick=two),), default_spread_bps=100.0)
    assert fills(result)[0] == (1, price, "FILLED")


def test_a_touch_inside_a_bar_has_the_tick_of_the_bar_s_open() -> None:  # R2.7
    rules = (since(2.5, tick=Decimals(5, 1)),)
    candles = [FLAT, FLAT, (100, 100, 90, 96), (96, 96, 90, 92)]
    inside = one_symbol(candles, propose(1, stop_loss=95.5), rules=rules)
    after = one_symbol(candles, propose(1, stop_loss=89.0), propose(3, Action.EXIT), rules=(since(2.5, tick=Decimals(5, 1)),))
    assert fills(inside)[1] == (3, 95.5, "STOP_LOSS")
    assert fills(after)[1] == (3, 95.0, "SIGNAL")  # 96 on a tick of 5, against the seller


def test_a_level_stays_where_it_is_until_it_is_set_again() -> None:  # R2.7 R3.5
    # a target of 105.3 is filled there after the tick became 1; a trailing stop that moves afterwards goes on the new tick
    rules = (since(2, tick=ONE),)
    target = one_symbol([FLAT, FLAT, (100, 106, 100, 105)], propose(1, take_profit=105.3), rules=rules)
    opened = one_symbol([FLAT, FLAT, (106.5, 107, 106, 106)], propose(1, take_profit=105.3), rules=rules, limit_gap=LimitGap.OPEN)
    candles = [FLAT, (100, 100.5, 100, 100.5), (100.5, 104.7, 100.5, 104), (104, 104, 100, 101)]
    trailed = one_symbol(candles, propose(1, trailing=2.0), rules=rules)
    assert fills(target)[1] == (3, 105.3, "TAKE_PROFIT")
    assert fills(opened)[1] == (2, 106.0, "TAKE_PROFIT")
    assert fills(trailed)[1] == (4, 102.0, "TRAILING_STOP")  # 102.7


@pytest.mark.parametrize("action", [Action.ENTER_LONG, SHORT])
@pytest.mark.parametrize(("hour", "bought"), [(1.0, 4), (1.1, 3)])
def test_an_entry_is_whole_lots_of_the_time_it_is_decided(action: Action, hour: float, bought: int) -> None:  # R2.7
    result = one_symbol([FLAT, FLAT], propose(1, action), rules=(since(hour, lot=Decimals(2, 1)),), qty=5.0 if bought == 4 else 3.0)
    assert of_kind(result, RecordKind.FILL)[0]["qty"] == bought


def test_an_order_loses_what_is_no_whole_lot_when_it_fills() -> None:  # R2.7 R5.4
    # seven ordered with lots of one; filled at 2, when a lot is three
    changed = (since(1.5, lot=Decimals(3, 1)),)
    result = one_symbol([FLAT] * 4, propose(1), rules=changed, qty=7.0, latency_us=1)
    filled = of_kind(result, RecordKind.FILL)[0]
    assert (filled["qty"], filled["reason"]) == (6, Reason.PARTIAL)
    assert (reasons(result, RecordKind.CANCELLED), of_kind(result, RecordKind.CANCELLED)[0]["qty"]) == ([(0, "BELOW_MIN_QTY")], 1)
    none = one_symbol([FLAT] * 4, propose(1), rules=changed, qty=2.0, latency_us=1)
    assert (of_kind(none, RecordKind.FILL), reasons(none, RecordKind.CANCELLED)) == ([], [(0, "BELOW_MIN_QTY")])


def test_a_position_of_odd_lots_closes_whole() -> None:  # R2.7: reducing orders are exempt
    result = one_symbol([FLAT] * 4, propose(1), propose(2, Action.EXIT), rules=(since(1.5, lot=Decimals(10, 1), min_qty=10.0),))
    assert [fill["qty"] for fill in of_kind(result, RecordKind.FILL)] == [3, 3]


@pytest.mark.parametrize(
    ("least", "reason"), [({"min_qty": 4.0}, "BELOW_MIN_QTY"), ({"min_notional": 301.0}, "BELOW_MIN_NOTIONAL"), ({"min_qty": 3.0}, None)]
)
def test_the_smallest_entry_is_that_of_the_time(least: dict[str, float], reason: str | None) -> None:  # R2.7
    result = one_symbol([FLAT] * 5, propose(1), propose(1.9, Action.EXIT), propose(3), rules=(since(2.5, **least),))
    assert reasons(result, RecordKind.REJECTED) == ([(2, reason)] if reason else [])


def test_the_most_that_fits_is_whole_lots_of_the_time() -> None:  # R5.2
    # 1,000.00 at 100: ten, of which nine are lots of three
    spot = (instrument(kind="spot", rules=(since(0, lot=Decimals(3, 1)),)),)
    for size in (strategy(SizeKind.ALL_IN, 1.0), strategy(SizeKind.FIXED_QTY, 30.0)):
        chosen = settings(2, instruments=spot, strategies=(size,))
        result = agreed_replay(market({"A": [FLAT, FLAT]}), table(propose(1)), chosen)
        assert of_kind(result, RecordKind.FILL)[0]["qty"] == 9


def test_the_header_says_what_lots_are_counted_in() -> None:  # R11.2
    chosen = settings(2, instruments=(instrument(lot=Decimals(6, 10), rules=(since(1, lot=Decimals(4, 10)),)),))
    result = Session(market({"A": [FLAT, FLAT]}), table(propose(1)), chosen).run()
    assert ledger_header(result)["instruments"]["A"]["lot"] == [2, 10]


@given(st.integers(0, 2**32))
def test_entries_are_whole_lots_and_takers_on_the_tick_of_their_time(seed: int) -> None:  # R2.7
    result = run(random_case(seed))
    specs = {one.symbol: one for one in result.settings.instruments}
    for fill in result.records[result.records["kind"] == RecordKind.FILL]:
        one = specs[result.symbols[fill["symbol"]]]
        in_force = [rules for rules in one.rules if rules.from_us <= fill["ts"]]
        tick, lot = (in_force[-1].tick, in_force[-1].lot) if in_force else (one.tick, one.lot)
        if fill["reason"] in (Reason.FILLED, Reason.PARTIAL):
            assert fill["qty"] % one.lot_step(lot) == 0
        if fill["phase"] != EventKind.BAR_PATH and fill["reason"] not in (Reason.DELISTED, Reason.EXPIRED, Reason.TAKE_PROFIT):
            steps = round(fill["price"] * tick.power / tick.units)
            assert fill["price"] == steps * tick.units / tick.power


def test_a_level_is_on_the_tick_of_the_close_that_set_it() -> None:  # R2.7 R3.5
    # 110 - 5.05 at the close of 3, on tenths: 104.9; from half past 3 on whole ticks
    candles = [FLAT, FLAT, (100, 110, 100, 110), (110, 110, 104.5, 105), FLAT]
    result = one_symbol(candles, propose(1, trailing=5.05), rules=(since(3.5, ONE),))
    assert fills(result)[1] == (4, 104.9, "TRAILING_STOP")
