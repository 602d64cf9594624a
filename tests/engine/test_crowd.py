"""Groups, legs and positions that make room, several at one instant, worked by hand; both replays agree.  # R4.2"""

import math
from typing import Any

import pytest

from engine.dataset import from_columns
from engine.models import Candidate, ModelKind, compile_model
from engine.schema import Action, OnHeld, Reason, RecordKind, SizeKind
from engine.settings import StrategySettings
from tests.differential import agreed_replay
from tests.oracle.examples import FLAT, HOUR, SHORT, Row, at, instrument, market, of_kind, propose, reasons, settings, table
from tests.oracle.replay import OracleResult

APPROVED, REJECTED = RecordKind.APPROVED, RecordKind.REJECTED
ONE = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=1.0, on_held=OnHeld.ADD),)

TWO_PLACES: Row = {"max_positions": 2, "rotate_margin": 0.0}


def many(symbols: str, bars: int, *rows: Row, groups: dict[str, str] | None = None, **changes: Any) -> OracleResult:
    """One lot an entry, and an add for what is held."""
    dataset = market({symbol: [FLAT] * bars for symbol in symbols})
    grouped = tuple(instrument(symbol, group=(groups or {}).get(symbol, "")) for symbol in symbols)
    given = [{"leg": 0} | row for row in rows]
    plain: Row = {"instruments": grouped, "strategies": ONE}
    return agreed_replay(dataset, table(*given), settings(bars, symbols=symbols, **(plain | changes)))


def rotated(result: OracleResult) -> str:
    """Symbols of the positions that made room, in the order in which they did."""
    return "".join("ABCDEFG"[fill["symbol"]] for fill in of_kind(result, RecordKind.FILL) if fill["reason"] == Reason.ROTATED)


def selected(result: OracleResult, hour: float) -> str:
    """Symbols of what was selected at an hour, in rank order."""
    return "".join("ABCDEFG"[one["symbol"]] for one in of_kind(result, RecordKind.SELECTED) if one["ts"] == at(hour))


# the present score of what is held


@pytest.mark.parametrize("action", [Action.ENTER_LONG, SHORT])
def test_the_last_proposal_of_either_side_says_what_a_position_is_worth(action: Action) -> None:
    rows = [propose(1, action, score=3.0), propose(1, action, symbol="B"), propose(2, action, score=0.5), propose(3, symbol="C", score=2.0)]
    assert rotated(many("ABC", 5, *rows, **TWO_PLACES)) == "A"


@pytest.mark.parametrize(
    "other",
    [
        propose(2, score=5.0),  # of the other side
        propose(2, Action.EXIT_LONG, score=5.0),  # that is not held
        propose(2, SHORT, score=math.nan),
    ],
)
def test_what_is_no_entry_of_its_side_says_nothing(other: Row) -> None:
    rows = [propose(1, SHORT), propose(1, symbol="B", score=2.0), other, propose(3, symbol="C", score=1.5)]
    assert rotated(many("ABC", 5, *rows, **TWO_PLACES)) == "A"


def the_score(entry: Candidate) -> float:
    return entry.score


@pytest.mark.parametrize(("close", "out"), [(100.0, "A"), (math.nan, "B")])
def test_a_selector_says_nothing_of_a_bar_without_a_close(close: float, out: str) -> None:
    # the mark of that bar is known, so A lives on; by the close of 100 it falls from 5 to 0.5
    bars: dict[Any, Row] = {}
    times = [at(hour) for hour in range(6)]
    for symbol in "ABC":
        columns: Row = {name: [100.0] * 5 for name in ("open", "high", "low", "close")}
        columns["close"][2] = close if symbol == "A" else 100.0
        bars[symbol, "1h", HOUR] = {"open_ts": times[:-1], "ts": times[1:], "volume": [1.0] * 5, **columns}
    marks = {"open_ts": times[:-1], "ts": times[1:], **{name: [100.0] * 5 for name in ("open", "high", "low", "close")}}
    dataset = from_columns({"bars": bars, "marks": {("A", "1h", HOUR): marks}})
    rows = [propose(1, score=5.0), propose(1, symbol="B", score=2.0), propose(4, symbol="C", score=3.0), propose(3, score=0.5)]
    models = (compile_model(ModelKind.SELECTOR, the_score),)
    chosen = settings(5, symbols="ABC", strategies=ONE, models=models, **TWO_PLACES)
    assert rotated(agreed_replay(dataset, table(*rows), chosen)) == out


# groups


def test_each_group_has_its_own_places() -> None:
    groups = {"A": "alts", "B": "majors", "C": "majors", "D": "stables"}
    rows = [propose(1, symbol=symbol, score=score) for symbol, score in zip("ABCD", (1.0, 4.0, 3.0, 2.0), strict=True)]
    result = many("ABCD", 3, *rows, groups=groups, max_per_group=1)
    assert selected(result, 1) == "BDA"
    assert reasons(result, REJECTED) == [(2, "NOT_SELECTED")]


def test_a_position_that_makes_room_leaves_its_group() -> None:
    # C takes the place of A, the only one of its group; so D, of that group, may take the place of B
    rows = [propose(1, score=1.0), propose(1, symbol="B", score=2.0), propose(3, symbol="C", score=9.0), propose(3, symbol="D", score=8.0)]
    result = many("ABCD", 5, *rows, groups={"A": "majors", "D": "majors"}, max_per_group=1, **TWO_PLACES)
    assert (rotated(result), selected(result, 3)) == ("AB", "CD")


def test_what_finds_no_place_takes_none_in_its_group() -> None:
    # two legs of a group that has one place; the place is there for the next
    legs = [propose(1, leg=1, score=3.0), propose(1, symbol="B", leg=1, score=2.0)]
    result = many("ABC", 3, *legs, propose(1, symbol="C"), groups=dict.fromkeys("ABC", "majors"), max_per_group=1)
    assert selected(result, 1) == "C"
    assert reasons(result, REJECTED) == [(0, "NOT_SELECTED"), (1, "NOT_SELECTED")]


@pytest.mark.parametrize("full", ["A", "B"])
def test_a_leg_whose_group_is_full_keeps_the_other_out(full: str) -> None:
    held = propose(1, symbol="C")
    legs = [propose(2, leg=1, score=3.0), propose(2, symbol="B", leg=1, score=2.0)]
    result = many("ABC", 4, held, *legs, groups=dict.fromkeys("C" + full, "majors"), max_per_group=1)
    assert selected(result, 2) == ""
    assert reasons(result, REJECTED) == [(1, "NOT_SELECTED"), (2, "NOT_SELECTED")]


def test_a_leg_of_what_is_held_needs_no_place() -> None:
    # A is held, and B and C are new: of two places left in all, and of one in the strategy's count
    held, legs = propose(1), [propose(2, leg=1, score=3.0), propose(2, symbol="B", leg=1, score=2.0)]
    assert selected(many("ABC", 4, held, *legs, propose(2, symbol="C", score=0.5), max_positions=2), 2) == "AB"
    assert selected(many("ABC", 4, held, *legs, propose(2, symbol="C", score=0.5), max_per_strategy=3), 2) == "ABC"


# positions that make room


def test_legs_make_nothing_leave() -> None:
    held = [propose(1), propose(1, symbol="B")]
    legs = [propose(3, symbol="C", leg=1, score=9.0), propose(3, symbol="D", leg=1, score=8.0)]
    alone = propose(3, symbol="E", leg=2, score=7.0)
    result = many("ABCDE", 5, *held, *legs, alone, **TWO_PLACES)
    assert rotated(result) == ""
    assert [reason for _, reason in reasons(result, REJECTED)] == ["NOT_SELECTED"] * 3


def test_an_add_needs_no_place_after_a_rotation_either() -> None:
    rows = [propose(1), propose(1, symbol="B", score=2.0), propose(3, symbol="C", score=9.0), propose(3, symbol="B", score=8.0)]
    result = many("ABC", 5, *rows, **TWO_PLACES)
    assert (rotated(result), selected(result, 3)) == ("A", "CB")


def test_what_makes_room_does_not_grow() -> None:
    rows = [propose(1), propose(1, symbol="B", score=5.0), propose(3, symbol="C", score=9.0), propose(3, score=2.0)]
    result = many("ABC", 5, *rows, **TWO_PLACES)
    assert (rotated(result), selected(result, 3)) == ("A", "C")
    assert reasons(result, REJECTED) == [(2, "NOT_SELECTED")]


def test_what_makes_room_takes_the_other_legs_with_it() -> None:
    held = [propose(1), propose(1, symbol="B", score=5.0)]
    legs = [propose(3, symbol="B", leg=1, score=5.0), propose(3, leg=1, score=2.0)]
    result = many("ABC", 5, *held, propose(3, symbol="C", score=9.0), *legs, **TWO_PLACES)
    assert (rotated(result), selected(result, 3)) == ("A", "C")


def test_what_has_been_chosen_to_grow_does_not_make_room() -> None:
    # of two proposals for B the better ranks first, the last says that B is the weakest
    grows = [propose(3, symbol="B", score=8.0), propose(3, symbol="B", score=0.5)]
    result = many("ABC", 5, propose(1, score=5.0), propose(1, symbol="B"), *grows, propose(3, symbol="C", score=2.0), **TWO_PLACES)
    assert (rotated(result), selected(result, 3)) == ("", "B")


def test_what_was_not_chosen_to_grow_may_make_room() -> None:
    # the legs D and B find no place; then E takes that of B
    legs = [propose(3, symbol="D", leg=1, score=9.0), propose(3, symbol="B", leg=1)]
    result = many("ABCDE", 5, propose(1, score=7.0), propose(1, symbol="B"), *legs, propose(3, symbol="E", score=5.0), **TWO_PLACES)
    assert (rotated(result), selected(result, 3)) == ("B", "E")


def test_of_equals_the_first_makes_room() -> None:
    rows = [propose(1), propose(1, symbol="B"), propose(3, symbol="C", score=2.0)]
    assert rotated(many("ABC", 5, *rows, **TWO_PLACES)) == "A"


@pytest.mark.parametrize("first", [propose(4, Action.EXIT), propose(4)])
def test_what_has_an_order_pending_does_not_make_room(first: Row) -> None:  # R2.3
    # decided at 4, the exit or the add of A fills at 6; at 5 it is B that is to leave
    rows = [propose(1), propose(1, symbol="B", score=2.0), first, propose(5, symbol="C", score=9.0)]
    result = many("ABC", 9, *rows, latency_us=HOUR + 1, **TWO_PLACES)
    assert rotated(result) == "B"


def test_legs_of_what_is_held_grow_in_a_group_that_is_too_full() -> None:
    # C and D take the places of A and B at 4; A, of the group of D, goes by a lot a bar and is still there at 5
    data = market({symbol: [FLAT] * 7 for symbol in "ABCD"})
    data.columns["bars"]["volume"].setflags(write=True)
    data.columns["bars"]["volume"][7:] = 9.0
    rows = [propose(1), propose(1, symbol="B", score=2.0), propose(4, symbol="C", score=9.0), propose(4, symbol="D", score=8.0)]
    legs = [propose(5, symbol="C", leg=1, score=9.0), propose(5, symbol="D", leg=1, score=8.0)]
    grouped = tuple(instrument(symbol, group="majors" if symbol in "AD" else "") for symbol in "ABCD")
    two = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=2.0, on_held=OnHeld.ADD),)
    chosen = settings(7, symbols="ABCD", strategies=two, instruments=grouped, participation=1.0, max_per_group=1, **TWO_PLACES)
    result = agreed_replay(data, table(*({"leg": 0} | row for row in [*rows, *legs])), chosen)
    assert (rotated(result), selected(result, 4), selected(result, 5)) == ("ABA", "CD", "CD")


# the gate


def test_legs_are_judged_once_whatever_is_refused_between_them() -> None:  # R5.2
    # C, ranked between the two, is too small for its exchange
    legs = [propose(1, leg=1, score=3.0), propose(1, symbol="B", leg=1)]
    least = (instrument("A"), instrument("B"), instrument("C", min_qty=2.0))
    result = many("ABC", 3, *legs, propose(1, symbol="C", score=2.0), instruments=least)
    assert [(record["symbol"], record["qty"]) for record in of_kind(result, APPROVED)] == [(0, 1), (1, 1)]
    assert reasons(result, REJECTED) == [(2, "BELOW_MIN_QTY")]
