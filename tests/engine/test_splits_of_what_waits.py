"""What a split does to levels, changes, orders and money that wait, at terms that are not n:1, worked by hand; both replays agree.  # R8.1"""

from typing import Any

import pytest

from engine.dataset import Dataset
from engine.instrument import Decimals
from engine.schema import Action, OnHeld, Reason, RecordKind, SizeKind
from engine.settings import Conversion, StrategySettings
from tests.differential import agreed_replay, kernel_run, oracle_run, outcome_of
from tests.markets import Case
from tests.oracle.examples import FLAT, HOUR, LONG, SHORT, Candles, Row, at, fills, instrument, market, of_kind, propose, settings, table
from tests.oracle.replay import OracleResult

CANCELLED, FILL, POSITION = RecordKind.CANCELLED, RecordKind.FILL, RecordKind.POSITION
LATE = 5_400_000_000  # an hour and a half, in us


def flat(*prices: float) -> list[tuple[float, float, float, float]]:
    return [(price, price, price, price) for price in prices]


def with_split(hour: float, num: int, den: int, **bars: Candles) -> Dataset:
    """A is split."""
    rows = {"ts": [at(hour)], "kind": [0], "value": [0.0], "num": [num], "den": [den]}
    return market(bars, actions={"A": rows})


def replayed(candles: Candles, hour: float, num: int, den: int, *proposals: Row, **changes: Any) -> OracleResult:
    return agreed_replay(with_split(hour, num, den, A=candles), table(*proposals), settings(len(candles), **changes))


@pytest.mark.parametrize(
    ("side", "levels", "then", "expected"),
    [
        (LONG, {"stop_loss": 90.1}, [(150, 150, 135, 140)], (4, 135.1, "STOP_LOSS")),  # 135.15 on the tick, away from the market
        (SHORT, {"stop_loss": 110.1}, [(150, 166, 150, 160)], (4, 165.2, "STOP_LOSS")),
        (LONG, {"take_profit": 110.1}, [(150, 166, 150, 160)], (4, 165.2, "TAKE_PROFIT")),  # 165.15 on the passive side
        (SHORT, {"take_profit": 89.9}, [(150, 150, 134, 140)], (4, 134.8, "TAKE_PROFIT")),
        (LONG, {"trailing": 5.0}, [(147, 147, 142, 142)], (4, 142.5, "TRAILING_STOP")),  # 150 less 7.5
        (SHORT, {"trailing": 5.0}, [(153, 158, 153, 153)], (4, 157.5, "TRAILING_STOP")),
        (LONG, {"break_even": 8.0}, [(150, 161.9, 149, 155), (155, 162, 149.5, 155), (155, 155, 149, 152)], (6, 150.0, "BREAK_EVEN")),
    ],
)
def test_levels_follow_a_split_of_two_for_three(side: Action, levels: Row, then: list[Any], expected: tuple[float, float, str]) -> None:
    # R3.5 R8.1: prices are one and a half times what they were
    candles = [*flat(100, 100, 98 if side == LONG else 102), *then, *flat(150)]
    candles[2] = (100, 100, 98, 98) if side == LONG else (100, 102, 100, 102)
    assert fills(replayed(candles, 3, 2, 3, propose(1, side, **levels)))[1] == expected


@pytest.mark.parametrize(
    ("side", "levels", "then", "expected"),
    [
        (LONG, {"stop_loss": 90.1}, [(147, 147, 135, 140)], (7, 135.1, "STOP_LOSS")),
        (SHORT, {"stop_loss": 110.1}, [(153, 166, 153, 160)], (7, 165.2, "STOP_LOSS")),
        (LONG, {"take_profit": 110.1}, [(147, 166, 147, 160)], (7, 165.2, "TAKE_PROFIT")),
        (SHORT, {"take_profit": 89.9}, [(153, 153, 134, 140)], (7, 134.8, "TAKE_PROFIT")),
        (LONG, {"trailing": 5.0}, [(147, 147, 142, 142)], (7, 142.5, "TRAILING_STOP")),  # from the close of 100 decided on
        (SHORT, {"trailing": 5.0}, [(153, 158, 153, 153)], (7, 157.5, "TRAILING_STOP")),
        (
            LONG,
            {"break_even": 8.0},
            [(147, 161.9, 147, 155), *flat(155), (155, 155, 149, 155), (155, 162, 155, 155), *flat(155), (155, 155, 149, 152)],
            (12, 150.0, "BREAK_EVEN"),
        ),
    ],
)
def test_a_change_of_levels_that_waits_follows_a_split(
    side: Action, levels: Row, then: list[Any], expected: tuple[float, float, str]
) -> None:
    # R2.3 R4.3 R8.1: decided at 4 for the bar that opens at 6, split at 5
    last = 98 if side == LONG else 102
    candles = [*flat(100, 100, 100, 100, last, last * 1.5), *then, *flat(150, 150)]
    holds = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=3.0, on_held=OnHeld.REPLACE_LEVELS),)
    result = replayed(candles, 5, 2, 3, propose(1, side), propose(4, side, **levels), latency_us=LATE, strategies=holds)
    assert fills(result)[1] == expected


def test_a_first_level_that_waits_acts_after_a_split() -> None:  # R4.3 R8.1
    # given at 3 for 90, known at 4 when the price halves: 45, which the bar of 8 falls through
    owner = (StrategySettings("s", 1.0, SizeKind.FIXED_QTY, 4.0, on_held=OnHeld.REPLACE_LEVELS),)
    rows = propose(1), propose(3, stop_loss=90.0)
    result = replayed(flat(*[100] * 4, *[50] * 4, *[40] * 4), 4, 2, 1, *rows, strategies=owner, latency_us=HOUR)
    assert fills(result)[1] == (8.0, 40.0, "STOP_LOSS")


def test_a_small_level_is_one_still() -> None:  # R8.1
    # a stop of 0.8 is one of 0.4
    assert fills(replayed(flat(1, 1, 0.5, 0.4), 2, 2, 1, propose(1, stop_loss=0.8)))[1] == (3, 0.4, "STOP_LOSS")


def test_a_level_that_the_tick_leaves_nothing_of_is_none_and_other_positions_keep_theirs() -> None:  # R8.1
    # half of the tick of 0.1 is no price; when A has left, B is stopped as ever
    dataset = with_split(2, 2, 1, A=flat(1, 1, 0.5, 0.5, 0.5, 0.5), B=[*flat(100, 100, 100, 100, 100), (100, 100, 90, 90)])
    rows = [propose(1, stop_loss=0.1), propose(3, Action.EXIT), propose(4, symbol="B", stop_loss=95.0)]
    result = agreed_replay(dataset, table(*rows), settings(6, symbols="AB"))
    assert fills(result)[1:] == [(3, 0.5, "SIGNAL"), (4, 100.0, "FILLED"), (6, 95.0, "STOP_LOSS")]


def test_the_rest_of_an_entry_ends_with_a_position_that_a_split_ends() -> None:  # R2.1 R8.1
    # a bar fills one of three lots: half a lot is cash, and the one lot that the two that wait become is not opened
    result = replayed(flat(100, 100, 200, 200), 2, 1, 2, propose(1), participation=1.0)
    assert [(record["ts"], record["qty"]) for record in of_kind(result, FILL)] == [(at(1), 1)]
    assert [(record["qty"], Reason(record["reason"]).name) for record in of_kind(result, CANCELLED)] == [(1, "POSITION_CLOSED")]


def test_the_rest_of_an_entry_goes_on_beside_a_position_of_one_lot() -> None:  # R2.6 R8.1
    # two of six are filled at 3: one of the new, beside two that wait; of the new the bar before 3 traded half a lot
    six = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=6.0),)
    result = replayed(flat(100, 100, 100, 200, 200, 200), 3, 1, 2, propose(1), participation=1.0, strategies=six)
    assert [(record["ts"], record["qty"], record["position"]) for record in of_kind(result, FILL)][:4] == [
        (at(1), 1, 1),
        (at(2), 1, 2),
        (at(4), 1, 2),
        (at(5), 1, 3),
    ]
    assert not of_kind(result, CANCELLED)


def test_margin_of_a_part_of_a_lot_is_free_again() -> None:  # R7.2 R8.1
    # 9 lots at 100 bind 900; half a lot of four and a half is a ninth: 800 stay bound, and 200 buy two lots of B
    dataset = with_split(2, 1, 2, A=flat(100, 100, 200, 200), B=[FLAT] * 4)
    nine = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=9.0),)
    result = agreed_replay(dataset, table(propose(1), propose(3, symbol="B")), settings(4, symbols="AB", strategies=nine))
    assert [(record["qty"], record["amount"]) for record in of_kind(result, RecordKind.APPROVED)] == [(9, 90_000), (2, 20_000)]


@pytest.mark.parametrize(
    ("kind", "amount", "realised"),
    [
        ("equity", 10_000, 5_000),  # half a lot at 100 yen is 100.00 dollars, and has cost a ninth of 450.00
        ("fx", 3_334, 3_334),  # it has cost a ninth of 300 yen: the profit is 16.67 yen, each two dollars
    ],
)
def test_cash_in_lieu_is_account_money(kind: str, amount: int, realised: int) -> None:  # R6.2 R8.1
    # three lots at 100 when a yen was 1.50, split 3:2 at 150 when it is 2.00
    bars = {"A": [*flat(100, 100), (100, 150, 100, 150), *flat(100, 100)], "R": flat(1.5, 1.5, 2.0, 2.0, 2.0)}
    one = instrument(kind=kind, quote="JPY")
    chosen = settings(5, instruments=(one,), conversions=(Conversion("JPY", "R"),))
    result = agreed_replay(with_split(3, 3, 2, **bars), table(propose(1)), chosen)
    (paid,) = of_kind(result, RecordKind.CASH_IN_LIEU)
    booked = next(record for record in of_kind(result, POSITION) if record["cause"] == result.records.index(paid))
    assert (paid["amount"], booked["amount"]) == (amount, realised)


@pytest.mark.parametrize(("num", "fits"), [(511, True), (512, False)])
def test_lots_at_the_limit_are_an_overflow(num: int, fits: bool) -> None:  # R6.3 R8.1
    # 2**44 lots become 2**53 of them, which float64 no longer counts
    fine = (instrument(lot=Decimals(1, 10**12)),)
    sized = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=2**44 / 10**12),)
    chosen = settings(4, cash=10**9, instruments=fine, strategies=sized)
    price = 51_200.0 / num
    case = Case(with_split(2, num, 1, A=flat(51_200.0, 51_200.0, price, price)), table(propose(1)), chosen)
    found = outcome_of(kernel_run, case)
    assert found == outcome_of(oracle_run, case)
    assert found.get("error") == (None if fits else "overflow")
    assert [record["qty"] for record in found.get("records", []) if record["kind"] == FILL] == ([2**44, 511 * 2**44] if fits else [])
