"""Targets where it is a near thing: one lot, part of a unit, next to nothing, a bar without a close, worked by hand.  # R4.1 R5.1"""

import math
from typing import Any

import pytest

from engine.instrument import Decimals
from engine.schema import Action, Reason, RecordKind
from tests.differential import agreed_replay
from tests.oracle.examples import FLAT, HOUR, MIDNIGHT, Candles, Row, instrument, market, of_kind, propose, reasons, settings, table
from tests.oracle.replay import OracleResult

FILL, REJECTED = RecordKind.FILL, RecordKind.REJECTED
NO_CLOSE = (100.0, 100.0, 100.0, math.nan)


def target(hour: float, weight: float, **columns: Any) -> Row:
    return propose(hour, Action.TARGET, weight=weight, **columns)


def replayed(candles: Candles, *rows: Row, **changes: Any) -> OracleResult:
    given = table(*({"weight": math.nan} | row for row in rows))
    return agreed_replay(market({"A": candles}), given, settings(len(candles), **changes))


def trades(result: OracleResult) -> list[tuple[float, int, int]]:
    """(hour, signed lots, position after) of each fill."""
    return [((one["ts"] - MIDNIGHT) / HOUR, one["side"] * one["qty"], one["position"]) for one in of_kind(result, FILL)]


@pytest.mark.parametrize("sign", [1, -1])
def test_one_lot_that_is_held_counts(sign: int) -> None:
    # of 1,000 a tenth is one unit at 100, three tenths are two more; and one is what the other side closes
    result = replayed([FLAT] * 5, target(1, 0.1 * sign), target(2, 0.3 * sign), target(3, 0.1 * sign), target(4, -0.1 * sign))
    assert trades(result) == [
        (1, sign, sign),
        (2, 2 * sign, 3 * sign),
        (3, -2 * sign, sign),
        (4, -sign, 0),
        (4, -sign, -sign),
        (5, sign, 0),
    ]


@pytest.mark.parametrize("weight", [0.3, 0.1, 0.0, -0.2])
def test_one_lot_that_is_leaving_is_waited_for(weight: float) -> None:  # R5.4
    result = replayed([FLAT] * 4, target(1, 0.1), propose(2, Action.EXIT), target(2, weight))
    assert result.outcomes == [0, 0, Reason.ALREADY_PENDING]
    assert trades(result) == [(1, 1, 1), (2, -1, 0)]


@pytest.mark.parametrize(("weight", "sold"), [(0.3, -2), (0.45, 0), (0.6, 1), (-0.2, -5)])
def test_parts_of_a_unit_are_told_apart(weight: float, sold: int) -> None:  # R2.7
    # half a unit of 1,000 is five lots: less of the same side is sold, of the other side it is turned round
    fine = (instrument(lot=Decimals(1, 10)),)
    result = replayed([(1_000.0,) * 4] * 4, target(1, 0.5), target(2, weight), instruments=fine, finalize_close=False)
    assert trades(result)[0] == (1, 5, 5)
    assert [lots for _, lots, _ in trades(result)[1:]] == ([sold] if sold > -5 else [-5, -2])[: 0 if sold == 0 else 2]


@pytest.mark.parametrize("weight", [1e-9, -1e-9, 0.0])
def test_next_to_nothing_closes_all(weight: float) -> None:  # R6.3
    # what is missing of five lots to close all is less than a millionth of one; it is an exit, and another finds it
    result = replayed([FLAT] * 9, target(1, 0.5), target(4, weight), propose(5, Action.EXIT), latency_us=HOUR + 1)
    assert trades(result) == [(3, 5, 5), (6, -5, 0)]
    assert result.outcomes == [0, 0, Reason.ALREADY_PENDING]


def test_only_the_last_close_is_asked_for() -> None:  # R4.1
    # what is decided at 1 fills at 3; at 2 there is no close, whatever waits
    result = replayed([FLAT, NO_CLOSE, FLAT, FLAT, FLAT], target(1, 0.5), target(2, 0.8), latency_us=HOUR + 1)
    assert reasons(result, REJECTED) == [(1, "INVALID")]
    assert trades(result) == [(3, 5, 5), (5, -5, 0)]
    assert replayed([FLAT, NO_CLOSE, FLAT], target(1, 0.05)).outcomes == [Reason.NO_CHANGE]


@pytest.mark.parametrize(("weight", "outcome"), [(0.1, Reason.NO_CHANGE), (0.15, Reason.NO_CHANGE), (0.05, Reason.NO_CHANGE), (0.2, 0)])
def test_one_lot_is_what_a_tenth_wants(weight: float, outcome: int) -> None:  # R5.4
    assert replayed([FLAT] * 4, target(1, 0.1), target(2, weight)).outcomes == [0, outcome]


def test_what_is_sold_needs_no_score() -> None:  # R4.1
    result = replayed([FLAT] * 4, target(1, 0.5), target(2, 0.2, score=math.nan))
    assert [record["value"] for record in of_kind(result, RecordKind.PROPOSAL)] == [1.0, 0.0]
