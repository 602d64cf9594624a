"""Which entries drop out and what counts as a slot, where it is a near thing, on examples worked by hand; both replays agree.  # R4.1 R4.2 R4.4"""

import math
from typing import Any

import pytest

from engine.dataset import from_columns
from engine.schema import Action, OnHeld, Reason, RecordKind, SizeKind, Timing
from engine.settings import StrategySettings
from tests.differential import agreed_replay
from tests.oracle.examples import FLAT, HOUR, LONG, SHORT, Row, at, fills, market, of_kind, propose, reasons, settings, table
from tests.oracle.replay import OracleResult

APPROVED, CANCELLED, FILL, REJECTED, SELECTED = (
    RecordKind.APPROVED,
    RecordKind.CANCELLED,
    RecordKind.FILL,
    RecordKind.REJECTED,
    RecordKind.SELECTED,
)
NO_CLOSE = (100.0, 100.0, 100.0, math.nan)


def many(symbols: str, bars: int, *rows: Row, **changes: Any) -> OracleResult:
    return agreed_replay(market({symbol: [FLAT] * bars for symbol in symbols}), table(*rows), settings(bars, symbols=symbols, **changes))


def target(hour: float, weight: float, **columns: Any) -> Row:
    return propose(hour, Action.TARGET, weight=weight, **columns)


def test_a_price_that_is_missing_is_that_of_the_last_bar() -> None:  # R4.1
    # only the bar that closed last counts: the first has a close, the second has none
    result = agreed_replay(market({"A": [FLAT, NO_CLOSE, FLAT, FLAT]}), table(propose(2), propose(3)), settings(4))
    assert reasons(result, REJECTED) == [(0, "INVALID")]
    assert [record["ts"] for record in of_kind(result, APPROVED)] == [at(3)]


@pytest.mark.parametrize(("weight", "selected"), [(0.2, False), (0.0, True)])
def test_a_slot_of_which_only_a_part_is_being_closed_is_not_free(weight: float, selected: bool) -> None:  # R4.4
    # the order to close 3 of 5 leaves the position its slot, the order to close all of it does not
    rows = [target(1, 0.5), target(2, weight), propose(2, symbol="B", weight=math.nan)]
    result = many("AB", 4, *rows, max_positions=1, reuse_pending_exit=True)
    assert reasons(result, REJECTED) == ([] if selected else [(2, "NOT_SELECTED")])


def test_a_place_is_taken_once() -> None:  # R4.2
    # C takes the place of A at 2; when C comes again at 7 a slot is free, and A, which is back, stays
    rows = [
        propose(1, score=1.0),
        propose(1, symbol="B", score=5.0),
        propose(2, symbol="C", score=3.0),
        propose(4, Action.EXIT, symbol="B"),
        propose(5, score=1.0),
        propose(6, Action.EXIT, symbol="C"),
        propose(7, symbol="C", score=3.0),
    ]
    result = many("ABC", 9, *rows, max_positions=2, rotate_margin=0.0)
    assert [(record["ts"], record["symbol"]) for record in of_kind(result, FILL) if record["reason"] == Reason.ROTATED] == [(at(2), 0)]
    assert len(of_kind(result, SELECTED)) == 5


@pytest.mark.parametrize(("most", "selected"), [(0, ""), (1, "B"), (2, "BC"), (3, "BCA")])
def test_the_best_get_the_slots_that_there_are(most: int, selected: str) -> None:  # R4.2
    rows = [propose(1, symbol=symbol, score=score) for symbol, score in zip("ABC", (1.0, 3.0, 2.0), strict=True)]
    result = many("ABC", 2, *rows, max_positions=most)
    assert ["ABC"[record["symbol"]] for record in of_kind(result, SELECTED)] == list(selected)
    assert [(record["rank"], record["symbol"]) for record in of_kind(result, REJECTED)] == [(1, 1), (2, 2), (3, 0)][most:]


# a place that is taken at the close


def quoted(*closes: float) -> dict[str, Any]:
    """Hourly bars that open a unit above the close before, with a bid and an ask a unit apart from the price."""
    n = len(closes)
    prices = {"open": [closes[0], *(price + 1.0 for price in closes[:-1])], "close": list(closes)}
    prices |= {
        "high": [max(pair) for pair in zip(*prices.values(), strict=True)],
        "low": [min(pair) for pair in zip(*prices.values(), strict=True)],
    }
    sides = {
        f"{side}_{name}": [price + aside for price in column]
        for side, aside in (("bid", -1.0), ("ask", 1.0))
        for name, column in prices.items()
    }
    return {"open_ts": [at(hour) for hour in range(n)], "ts": [at(hour + 1) for hour in range(n)], **prices, "volume": [1.0] * n, **sides}


@pytest.mark.parametrize(("side", "price"), [(LONG, 109.0), (SHORT, 111.0)])
def test_who_makes_room_leaves_at_the_close_at_which_the_other_comes(side: Action, price: float) -> None:  # R2.3 R4.2
    # a long sells at the bid of the close, a short buys at its ask; B comes at its own close
    dataset = from_columns({"bars": {("A", "1h", HOUR): quoted(100, 110, 120), ("B", "1h", HOUR): quoted(50, 50, 50)}})
    rows = [propose(1, side, score=1.0), propose(2, symbol="B", score=2.0)]
    chosen = settings(3, symbols="AB", max_positions=1, rotate_margin=0.0, timing=Timing.CLOSE)
    found = fills(agreed_replay(dataset, table(*rows), chosen))
    assert found[1:3] == [(2, price, "ROTATED"), (2, 51.0, "FILLED")]


def test_who_makes_room_between_closes_leaves_at_the_next() -> None:  # R2.3 R4.2
    # nothing closes at 2.5: B has no close to come at, A waits for its own
    dataset = from_columns({"bars": {(symbol, "1h", HOUR): quoted(100, 110, 120, 130) for symbol in "AB"}})
    rows = [propose(1, score=1.0), propose(2.5, symbol="B", score=2.0)]
    result = agreed_replay(dataset, table(*rows), settings(4, symbols="AB", max_positions=1, rotate_margin=0.0, timing=Timing.CLOSE))
    assert fills(result) == [(1, 101.0, "FILLED"), (3, 119.0, "ROTATED")]
    assert reasons(result, CANCELLED) == [(1, "STALE_CLOSE")]


@pytest.mark.parametrize(
    ("timing", "hour", "expected"),
    [
        (Timing.NEXT_OPEN, 2, [(1, 102.0, "FILLED"), (2, 110.0, "ROTATED"), (2, 112.0, "FILLED")]),
        (Timing.NEXT_CLOSE, 3, [(2, 111.0, "FILLED"), (4, 129.0, "ROTATED"), (4, 131.0, "FILLED")]),
    ],
)
def test_who_makes_room_leaves_when_the_other_comes(timing: Timing, hour: int, expected: list[Any]) -> None:  # R2.3 R4.2
    dataset = from_columns({"bars": {(symbol, "1h", HOUR): quoted(100, 110, 120, 130) for symbol in "AB"}})
    rows = [propose(1, score=1.0), propose(hour, symbol="B", score=2.0)]
    result = agreed_replay(dataset, table(*rows), settings(4, symbols="AB", max_positions=1, rotate_margin=0.0, timing=timing))
    assert fills(result)[:3] == expected


# no leg of any decision


@pytest.mark.parametrize(("leg", "alone"), [(0, True), (-1, True), (1, False), (2, False)])
def test_a_leg_is_a_number_above_nothing(leg: int, alone: bool) -> None:  # R4.2 R4.3
    # what is no leg changes the levels of what is held, and takes the place of another; a leg does neither
    holds = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=3.0, on_held=OnHeld.REPLACE_LEVELS),)
    changed = many("A", 4, propose(1, leg=0), propose(2, leg=leg, stop_loss=90.0), strategies=holds)
    assert len(of_kind(changed, RecordKind.LEVELS)) == alone
    assert changed.outcomes == [0, 0 if alone else Reason.ALREADY_HELD]
    turned = many("AB", 4, propose(1, leg=0), propose(2, symbol="B", score=2.0, leg=leg), max_positions=1, rotate_margin=0.0)
    assert reasons(turned, REJECTED) == ([] if alone else [(1, "NOT_SELECTED")])
