"""Orders that close some of a position: the slot that it keeps, and what ends them; worked by hand, both replays agree.  # R4.4"""

import math
from typing import Any

import pytest

from engine.schema import Action, Reason, RecordKind, SizeKind
from tests.differential import agreed_replay
from tests.oracle.examples import FLAT, HOUR, Candles, Row, at, fills, market, of_kind, propose, settings, strategy, table
from tests.oracle.replay import OracleResult

EXIT = Action.EXIT
Bar = tuple[float, float, float, float]


def target(hour: float, weight: float, **columns: Any) -> Row:
    return propose(hour, Action.TARGET, weight=weight, **columns)


def held_back(*rows: Row, bars: dict[int, Bar] | None = None, data: dict[str, Any] | None = None, **changes: Any) -> OracleResult:
    """A, B and C at 100 but for some bars of A; what is decided at n fills at n + 2, and one slot is free again once an exit is decided."""
    candles: Candles = [(bars or {}).get(hour, FLAT) for hour in range(14)]
    chosen = {"max_positions": 1, "reuse_pending_exit": True, "latency_us": HOUR + 1, "symbols": "ABC"} | changes
    proposals = table(*({"weight": math.nan} | row for row in rows))
    return agreed_replay(market({"A": candles, "B": [FLAT] * 14, "C": [FLAT] * 14}, **(data or {})), proposals, settings(14, **chosen))


def selected(result: OracleResult) -> list[int]:
    """Proposals that got a slot."""
    return [one["proposal"] for one in of_kind(result, RecordKind.SELECTED)]


def ends(result: OracleResult) -> list[tuple[float, int, str]]:
    """(hour, lots, reason) of what was cancelled."""
    return [((one["ts"] - at(0)) / HOUR, one["qty"], Reason(one["reason"]).name) for one in of_kind(result, RecordKind.CANCELLED)]


@pytest.mark.parametrize(("weight", "sold"), [(0.2, 3), (0.4, 1)])
def test_a_position_that_is_to_lose_some_keeps_its_slot(weight: float, sold: int) -> None:  # R4.4
    result = held_back(target(1, 0.5), target(4, weight), propose(5, symbol="B"))
    assert selected(result) == [0]
    assert [fill["qty"] for fill in of_kind(result, RecordKind.FILL)][:2] == [5, sold]


def test_an_exit_that_takes_the_place_of_a_smaller_one_gives_the_slot_back() -> None:  # R4.4 R5.4
    # one slot: B gets it, C does not
    result = held_back(target(1, 0.5), target(4, 0.2), propose(5, EXIT), propose(5.5, symbol="B"), propose(5.5, symbol="C"))
    assert (selected(result), ends(result)) == ([0, 3], [(5, 3, "POSITION_CLOSED")])


STOPPED: dict[int, Bar] = {5: (100.0, 100.0, 90.0, 95.0)}
AGAIN = [target(6, 0.3), propose(9, EXIT), propose(9.5, symbol="B"), propose(9.5, symbol="C")]


@pytest.mark.parametrize(("weight", "cut"), [(0.2, 3), (0.4, 1)])
def test_a_stop_ends_an_order_to_sell_some(weight: float, cut: int) -> None:  # R2.1 R4.4
    # the stop at 6 comes before the sale; of A's next position the exit pending at 9:30 frees one slot
    result = held_back(target(1, 0.5, stop_loss=92.0), target(4, weight), *AGAIN, bars=STOPPED)
    assert (selected(result), ends(result)) == ([0, 2, 4], [(6, cut, "POSITION_CLOSED")])


def test_a_stop_ends_an_order_to_sell_all() -> None:  # R2.1 R4.4
    result = held_back(target(1, 0.5, stop_loss=92.0), propose(4, EXIT), *AGAIN, bars=STOPPED)
    assert (selected(result), ends(result)) == ([0, 2, 4], [(6, 5, "POSITION_CLOSED")])


def test_an_order_to_sell_some_that_filled_is_over() -> None:  # R4.4
    # two are left of five; then they are to go, and one slot is free
    result = held_back(target(1, 0.5), target(4, 0.2), propose(7, EXIT), propose(7.5, symbol="B"), propose(7.5, symbol="C"))
    assert (selected(result), ends(result)) == ([0, 3], [])
    assert fills(result)[:3] == [(3, 100.0, "FILLED"), (6, 100.0, "REBALANCED"), (9, 100.0, "SIGNAL")]


def test_a_split_finds_no_order_that_has_filled() -> None:  # R8.1
    # the two that are left become one
    split = {"ts": [at(7)], "kind": [0], "value": [0.0], "num": [1], "den": [2]}
    later = dict.fromkeys(range(7, 14), (200.0, 200.0, 200.0, 200.0))
    result = held_back(target(1, 0.5), target(4, 0.2), bars=later, data={"actions": {"A": split}})
    assert ([one["qty"] for one in of_kind(result, RecordKind.SPLIT)], ends(result)) == ([1], [])


@pytest.mark.parametrize("owner", ["a", "b"])
def test_a_target_has_its_size_when_it_is_ordered_and_an_entry_of_all_at_its_fill(owner: str) -> None:  # R5.1
    both = tuple(strategy(SizeKind.ALL_IN, 0.5, name=name) for name in "ab")
    other = "b" if owner == "a" else "a"
    rows = (target(1, 0.3, strategy=owner, score=2.0), propose(1, strategy=other, score=1.0))
    result = held_back(*rows, strategies=both, size_at_fill=True, max_positions=2, latency_us=0)
    assert [order["qty"] for order in of_kind(result, RecordKind.ORDER)] == [3, 0]
    assert [fill["qty"] for fill in of_kind(result, RecordKind.FILL)][:2] == [3, 7]
