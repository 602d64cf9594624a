"""What counts against the limits of the gate: positions, pending entries, and what a reversal or a rotation takes away; worked by hand."""

import math
from typing import Any

import pytest

from engine.schema import OnHeld, RecordKind, SizeKind, TimeInForce
from engine.session import ReplayError, Session
from engine.settings import StrategySettings
from tests.differential import agreed_replay
from tests.oracle.examples import FLAT, HOUR, SHORT, Row, instrument, market, of_kind, propose, reasons, settings, table
from tests.oracle.replay import OracleResult

APPROVED = RecordKind.APPROVED
LIMITS = ("max_position", "max_gross", "max_net", "max_group", "max_strategy")


def desk(name: str, amount: float, on_held: OnHeld = OnHeld.IGNORE) -> StrategySettings:
    return StrategySettings(name, size=SizeKind.FIXED_QTY, amount=amount, on_held=on_held)


def replayed(*rows: Row, groups: str = "   ", **changes: Any) -> OracleResult:
    """A, B and C at 100.00 throughout, with an equity of 1,000.00 on enough leverage; ``groups`` names the group of each."""
    contracts = tuple(instrument(symbol, group=group.strip()) for symbol, group in zip("ABC", groups, strict=True))
    return agreed_replay(
        market(dict.fromkeys("ABC", [FLAT] * 6)), table(*rows), settings(6, instruments=contracts, leverage=10.0, **changes)
    )


def lots(result: OracleResult) -> list[int]:
    """Lots of each approval."""
    return [record["qty"] for record in of_kind(result, APPROVED)]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize(("fraction", "most"), [(0.4, 4), (0.39999, 3), (0.40001, 4)])
def test_a_limit_holds_to_the_cent(limit: str, fraction: float, most: int) -> None:  # R5.2
    assert lots(replayed(propose(1), groups="ggg", strategies=(desk("s", 6.0),), **{limit: fraction})) == [most]


@pytest.mark.parametrize("latency", [0, HOUR])
@pytest.mark.parametrize(
    ("on_held", "limit", "strategy", "room"),
    [
        (OnHeld.REVERSE, {"max_gross": 0.5}, "t", 4),  # short 100
        (OnHeld.REVERSE, {"max_net": 0.3}, "t", 4),
        (OnHeld.REVERSE, {"max_group": 0.5}, "t", 4),
        (OnHeld.REVERSE, {"max_strategy": 0.2}, "s", 1),
        (OnHeld.ADD, {"max_gross": 0.5}, "t", 3),  # long 200
        (OnHeld.ADD, {"max_net": 0.5}, "t", 3),
        (OnHeld.ADD, {"max_group": 0.5}, "t", 3),
        (OnHeld.ADD, {"max_strategy": 0.3}, "s", 1),
    ],
)
def test_a_reversal_counts_as_what_it_opens_and_an_add_with_what_is_held(
    on_held: OnHeld, limit: Row, strategy: str, room: int, latency: int
) -> None:  # R4.3 R5.2
    """One lot is held; with latency the second entry is pending when the third is judged, else it has been approved at the same instant."""
    second = propose(3, SHORT, score=2.0) if on_held == OnHeld.REVERSE else propose(3, score=2.0)
    third = propose(3.5 if latency else 3, symbol="B", strategy=strategy)
    two = (desk("s", 1.0, on_held), desk("t", 6.0))
    assert lots(replayed(propose(1), second, third, groups="ggg", strategies=two, latency_us=latency, **limit)) == [1, 1, room]


@pytest.mark.parametrize("limit", ["max_gross", "max_net", "max_group"])
def test_all_that_is_pending_counts(limit: str) -> None:  # R5.2
    """A lot of B and one of C wait for the open of 3; of 500.00, 300.00 are left for A."""
    rows = (propose(1, symbol="B"), propose(1, symbol="C"), propose(2.5, strategy="t"))
    result = replayed(*rows, groups="ggg", strategies=(desk("s", 1.0), desk("t", 6.0)), latency_us=2 * HOUR, **{limit: 0.5})
    assert lots(result) == [1, 1, 3]


@pytest.mark.parametrize(("fraction", "approved"), [(0.19999, [1]), (0.2, [1, 1])])
def test_a_position_counts_with_what_is_added_to_it(fraction: float, approved: list[int]) -> None:  # R4.3 R5.2
    result = replayed(propose(1), propose(3), strategies=(desk("s", 1.0, OnHeld.ADD),), max_position=fraction)
    assert lots(result) == approved


@pytest.mark.parametrize(
    ("limit", "turned"), [("max_position", 4), ("max_gross", 3), ("max_net", 5), ("max_group", 3), ("max_strategy", 4)]
)
def test_what_a_reversal_closes_makes_room_for_it(limit: str, turned: int) -> None:  # R4.3 R5.2
    """Long 3 of A turns short; another strategy is long 1 of C, of the same group."""
    two = (desk("s", 6.0, OnHeld.REVERSE), desk("t", 1.0))
    rows = (propose(1), propose(1, symbol="C", strategy="t", score=2.0), propose(3, SHORT))
    assert lots(replayed(*rows, groups="g g", strategies=two, **{limit: 0.4}))[2] == turned


@pytest.mark.parametrize(
    ("groups", "strategy", "limit", "most"),
    [
        ("ggh", "s", {"max_position": 0.4}, 4),
        ("ggh", "s", {"max_gross": 0.5}, 4),  # C counts 100
        ("ggh", "s", {"max_net": 0.5}, 4),
        ("ggh", "s", {"max_group": 0.4}, 4),  # A leaves its group and its strategy to B
        ("ghh", "s", {"max_group": 0.4}, 3),  # A was of another group, C is of this
        ("ghh", "s", {"max_group": 0.39999}, 2),
        ("ggh", "s", {"max_strategy": 0.4}, 4),
        ("ggh", "u", {"max_strategy": 0.4}, 3),  # A was of another strategy, C is of this
        ("ggh", "u", {"max_strategy": 0.39999}, 2),
    ],
)
def test_what_is_rotated_out_makes_room_where_it_counted(groups: str, strategy: str, limit: Row, most: int) -> None:  # R4.2 R5.2
    """B takes the place of the 3 of A that strategy s holds; u holds 1 of C and is stronger."""
    weighed = tuple(StrategySettings(name, size=SizeKind.TARGET_WEIGHT, amount=1.0) for name in "su")
    rows = (
        propose(1, symbol="C", strategy="u", score=9.0, weight=0.1),
        propose(1, score=1.0, weight=0.3),
        propose(3, symbol="B", strategy=strategy, score=3.0, weight=0.6),
    )
    assert lots(replayed(*rows, groups=groups, strategies=weighed, max_positions=2, rotate_margin=0.0, **limit)) == [1, 3, most]


def legs(*weights: float, **changes: Any) -> OracleResult:
    """A and B as legs of one decision, C as a decision of its own, ranked in this order; a strategy before theirs, and one after that is refused."""
    rows = [
        propose(1, symbol=symbol, score=3.0 - place, weight=weight, leg=int(symbol != "C"))
        for place, (symbol, weight) in enumerate(zip("ABC", weights, strict=False))
    ]
    rows.append(propose(1, strategy="t", score=math.nan, weight=math.nan, leg=0))
    weighed = tuple(StrategySettings(name, size=SizeKind.TARGET_WEIGHT, amount=1.0) for name in "rst")
    return replayed(*rows, strategies=weighed, **changes)


@pytest.mark.parametrize("limit", ["max_gross", "max_net", "max_strategy"])
def test_a_decision_that_fails_gives_back_what_its_legs_took(limit: str) -> None:  # R4.2 R5.2
    """A would be long 200, B another 600; C may then have 500 again."""
    result = legs(0.2, 0.6, 0.6, **{limit: 0.5})
    assert reasons(result, RecordKind.REJECTED) == [(1, "INVALID"), (0, "LEG_REFUSED"), (2, limit.upper())]
    assert lots(result) == [5]
    assert lots(legs(0.2, 0.3, 0.1, **{limit: 0.5})) == [2, 3]


def test_a_decision_that_fails_gives_back_what_its_legs_reserved() -> None:  # R4.2 R5.2
    result = legs(3.0, 7.5, 10.0)  # 300 and 750 of margin do not fit in 1,000
    assert reasons(result, RecordKind.REJECTED) == [(1, "INVALID"), (0, "LEG_REFUSED"), (2, "INSUFFICIENT_MARGIN")]
    assert lots(result) == [100]


def test_a_leg_that_fails_gives_back_nothing_of_an_order_that_ended_before() -> None:  # R4.2 R5.2
    """Two lots of B at 50 expire with the bar of 2; the decision of 3 fails at B, and C may have 500."""
    early = propose(1, symbol="B", weight=0.1, leg=0, order_type=1, limit_price=50.0, tif=TimeInForce.BARS, tif_value=1)
    later = [
        propose(3, symbol=symbol, score=3.0 - place, weight=weight, leg=int(symbol != "C"))
        for place, (symbol, weight) in enumerate(zip("ABC", (0.2, 0.6, 0.9), strict=True))
    ]
    weighed = (StrategySettings("s", size=SizeKind.TARGET_WEIGHT, amount=1.0),)
    result = replayed(early, *later, strategies=weighed, max_gross=0.5)
    assert reasons(result, RecordKind.CANCELLED) == [(0, "EXPIRED")]
    assert reasons(result, RecordKind.REJECTED) == [(1, "LEG_REFUSED"), (2, "MAX_GROSS")]
    assert lots(result) == [2, 5]


def test_a_leg_by_itself_is_clipped_and_legs_are_not() -> None:  # R4.2 R5.2
    assert lots(legs(0.6, max_gross=0.4)) == [4]
    assert lots(legs(0.6, max_gross=0.4, clip=False)) == []
    assert lots(legs(0.3, 0.2, max_gross=0.4)) == []
    assert lots(legs(0.3, 0.1, max_gross=0.4)) == [3, 1]


def test_a_limit_that_is_off_leaves_an_order_beyond_all_money_to_its_error() -> None:  # R5.2 R6.3
    """A is held, and counts; no limit holds for B, which has no group.  Records 0 to 6 are the deposit and A, 7 and 8 the selection of B."""
    changes: Row = {"strategies": (desk("s", 1.0), desk("t", 1e300)), "max_group": 1.0}
    chosen = settings(6, instruments=(instrument("A", group="g"), instrument("B")), leverage=1e300, **changes)
    rows = table(propose(1), propose(3, symbol="B", strategy="t"))
    with pytest.raises(ReplayError, match=r"money of B overflows .* at ledger record 9;"):
        Session(market(dict.fromkeys("AB", [FLAT] * 6)), rows, chosen).run()


def test_the_proceeds_of_a_short_buy_nothing() -> None:  # R5.2 R6.2
    """Five of A are sold at 100: of 1,500.00, 500.00 of proceeds and 500.00 of margin are locked."""
    shares = tuple(instrument(symbol, kind="spot", shortable=True) for symbol in "AB")
    chosen = settings(6, instruments=shares, strategies=(desk("s", 5.0), desk("t", 20.0)))
    rows = table(propose(1, SHORT), propose(3, symbol="B", strategy="t"))
    result = agreed_replay(market(dict.fromkeys("AB", [FLAT] * 6)), rows, chosen)
    assert of_kind(result, RecordKind.FILL)[0]["cash"] == 150_000
    assert lots(result) == [5, 5]
