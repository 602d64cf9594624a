"""Targets on examples worked by hand: how much is to be held, whatever is; both replays agree.  # R4.1 R5.1"""

import math
from typing import Any

import pytest

from engine.instrument import MarginTier
from engine.ledger import Ledger, ledger_header
from engine.proposal import Proposal
from engine.proposals import ProposalError
from engine.schema import MORE, Action, LevelKind, OnHeld, OrderType, Reason, RecordKind, SizeKind, TimeInForce, Timing
from engine.session import Session, replay
from engine.settings import HaltLimits, StrategySettings
from engine.verify import verify_ledger
from tests.differential import agreed_replay
from tests.oracle.examples import (
    FLAT,
    HOUR,
    MIDNIGHT,
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
    table,
)
from tests.oracle.replay import OracleResult

APPROVED, CANCELLED, FILL, ORDER, REJECTED = (
    RecordKind.APPROVED,
    RecordKind.CANCELLED,
    RecordKind.FILL,
    RecordKind.ORDER,
    RecordKind.REJECTED,
)
TARGET = Action.TARGET


def flat(*prices: float) -> list[tuple[float, float, float, float]]:
    return [(price, price, price, price) for price in prices]


def target(hour: float, weight: float, **columns: Any) -> Row:
    return propose(hour, TARGET, weight=weight, **columns)


def of(*rows: Row) -> dict[str, list[Any]]:
    """A table of proposals of which some have a weight."""
    return table(*({"weight": math.nan} | row for row in rows))


def replayed(candles: Candles, *rows: Row, data: dict[str, Any] | None = None, **changes: Any) -> OracleResult:
    return agreed_replay(market({"A": candles}, **(data or {})), of(*rows), settings(len(candles), **changes))


def many(symbols: str, bars: int, *rows: Row, **changes: Any) -> OracleResult:
    return agreed_replay(market({symbol: [FLAT] * bars for symbol in symbols}), of(*rows), settings(bars, symbols=symbols, **changes))


def trades(result: OracleResult) -> list[tuple[float, int, int, str]]:
    """(hour, signed lots, position after, reason) of each fill."""
    found = of_kind(result, FILL)
    return [((one["ts"] - MIDNIGHT) / 3.6e9, one["side"] * one["qty"], one["position"], Reason(one["reason"]).name) for one in found]


def test_what_is_missing_is_bought_and_what_is_too_much_is_sold() -> None:
    # of 1,000: half is 5 units, 80 % is 8, 30 % is 3, nothing is none
    result = replayed(flat(*[100] * 7), target(1, 0.5), target(2, 0.8), target(3, 0.3), target(4, 0.0))
    assert trades(result) == [(1, 5, 5, "FILLED"), (2, 3, 8, "FILLED"), (3, -5, 3, "REBALANCED"), (4, -3, 0, "REBALANCED")]
    assert not any(record["flags"] & MORE for record in of_kind(result, FILL))  # each ends its proposal
    orders = [(record["qty"], Reason(record["reason"]).name) for record in of_kind(result, ORDER)]
    assert orders == [(5, "NONE"), (3, "NONE"), (5, "REBALANCED"), (3, "REBALANCED")]
    assert [record["amount"] for record in of_kind(result, RecordKind.POSITION)] == [0, 0, 0, 0]


def test_a_partial_sale_realises_its_share() -> None:  # R6.3
    # 5 at 100; at 150 equity is 1,250, of which 24 % are 300: 2 units; 3 x 50 are realised
    result = replayed(flat(100, 100, 150, 150), target(1, 0.5), target(3, 0.24))
    assert trades(result)[1] == (3, -3, 2, "REBALANCED")
    assert [record["amount"] for record in of_kind(result, RecordKind.POSITION)][1] == 15_000


def test_a_target_that_is_met_to_less_than_a_lot_is_counted() -> None:  # R5.4
    # at 120 equity is 1,100: half of it are 4.58 units, and 5 are held; at 200 they are 3.75 of 1,500, and one goes
    result = replayed(flat(100, 100, 120, 200, 200), target(1, 0.5), target(3, 0.5), target(4, 0.5))
    assert trades(result) == [(1, 5, 5, "FILLED"), (4, -1, 4, "REBALANCED"), (5, -4, 0, "RUN_ENDED")]
    assert result.outcomes == [0, Reason.NO_CHANGE, 0]


@pytest.mark.parametrize(("weight", "change"), [(0.0, True), (0.05, True), (0.099, True), (0.1, False)])
def test_nothing_is_opened_for_less_than_a_lot(weight: float, change: bool) -> None:
    result = replayed(flat(*[100] * 3), target(1, weight))
    assert (result.outcomes == [Reason.NO_CHANGE]) == change
    assert len(of_kind(result, APPROVED)) == (not change)


def test_another_sign_turns_the_position_round() -> None:  # R4.3 R6.4
    result = replayed(flat(*[100] * 4), target(1, 0.5), target(2, -0.4))
    assert trades(result)[1:] == [(2, -5, 0, "REVERSED"), (2, -4, -4, "FILLED"), (4, 4, 0, "RUN_ENDED")]


def test_another_sign_of_less_than_a_lot_closes() -> None:
    result = replayed(flat(*[100] * 4), target(1, -0.5), target(2, 0.05))
    assert trades(result) == [(1, -5, -5, "FILLED"), (2, 5, 0, "REBALANCED")]


@pytest.mark.parametrize("mode", list(OnHeld))
def test_what_an_entry_does_to_what_is_held_is_no_matter(mode: OnHeld) -> None:  # R4.3
    strategies = (StrategySettings("s", 1.0, SizeKind.FIXED_RISK, 0.01, on_held=mode, max_adds=1),)
    rows = [target(1, 0.2), target(2, 0.4), target(3, 0.6), target(4, -0.1)]
    result = replayed(flat(*[100] * 6), *rows, strategies=strategies, max_positions=1)
    assert [position for _, _, position, _ in trades(result)] == [2, 4, 6, 0, -1, 0]


def test_a_weight_is_of_the_strategys_budget() -> None:  # R5.1
    strategies = tuple(StrategySettings(name, budget) for name, budget in (("s", 0.75), ("t", 0.25)))
    result = many("A", 4, target(1, 0.8), target(1, -1.2, strategy="t"), target(2, 0.4), strategies=strategies)
    assert [(lots, position) for _, lots, position, _ in trades(result)][:3] == [(6, 6), (-3, -3), (-3, 3)]


def closings(result: OracleResult) -> list[tuple[float, int, str, str]]:
    """(hour, lots, kind and reason of the cause) of each order that closes what could not be turned round."""
    found = [one for one in of_kind(result, ORDER) if one["reason"] == Reason.REBALANCED and one["proposal"] == -1]
    causes = [result.records[one["cause"]] for one in found]
    named = [(RecordKind(cause["kind"]).name, Reason(cause["reason"]).name) for cause in causes]
    return [((one["ts"] - MIDNIGHT) / HOUR, one["qty"], *name) for one, name in zip(found, named, strict=True)]


def test_what_may_not_be_turned_round_is_closed() -> None:  # R5.3 R5.4
    # at 80 a tenth of the peak of 1,000 is gone: the short of 40 % is refused, the long of 5 goes
    result = replayed(flat(100, 100, 80, 80, 80), target(1, 0.5), target(3, -0.4), halts=HaltLimits(drawdown=0.1))
    assert closings(result) == [(3, 5, "REJECTED", "HALTED")]
    assert trades(result) == [(1, 5, 5, "FILLED"), (3, -5, 0, "REBALANCED")]
    assert reasons(result, REJECTED) == [(1, "HALTED")]  # which is the end of the target; what closes is of no proposal


@pytest.mark.parametrize(
    ("changes", "columns", "reason"),
    [
        ({"instruments": (instrument(kind="spot"),)}, {}, "SHORT_NOT_ALLOWED"),
        ({"max_position": 0.6, "clip": False}, {}, "MAX_POSITION"),
        ({"min_score": 0.0}, {"score": -1.0}, "BELOW_MIN_SCORE"),
        ({}, {"score": math.nan}, "INVALID"),
        ({"instruments": (instrument(min_notional=900.0),)}, {}, "BELOW_MIN_NOTIONAL"),
    ],
)
def test_whatever_refuses_the_new_side(changes: dict[str, Any], columns: dict[str, Any], reason: str) -> None:  # R4.1 R5.2
    first = 1.0 if reason == "BELOW_MIN_NOTIONAL" else 0.5
    result = replayed(flat(*[100] * 4), target(1, first), target(2, -0.8, **columns), **changes)
    assert closings(result) == [(2, 10 * first, "REJECTED", reason)]
    assert trades(result) == [(1, 10 * first, 10 * first, "FILLED"), (2, -10 * first, 0, "REBALANCED")]


@pytest.mark.parametrize(("timing", "hour"), [(Timing.CLOSE, 3), (Timing.NEXT_CLOSE, 4), (Timing.NEXT_OPEN, 3)])
def test_what_is_closed_fills_as_an_exit_does(timing: Timing, hour: float) -> None:  # R2.3
    result = replayed(flat(*[100] * 5), target(1, 0.5), target(3, -0.4, score=math.nan), timing=timing)
    assert trades(result)[-1] == (hour, -5, 0, "REBALANCED")


def test_a_turn_that_a_halt_cancels_closes() -> None:  # R5.3
    # decided at 4 for the open at 6; at 5 the loss of a tenth halts it, and the close decided then fills at 7
    candles = flat(100, 100, 100, 100, 80, 80, 80, 80)
    result = replayed(candles, target(1, 0.5), target(4, -0.4), halts=HaltLimits(drawdown=0.1), latency_us=HOUR + 1)
    assert closings(result) == [(5, 5, "CANCELLED", "HALTED")]
    assert trades(result) == [(3, 5, 5, "FILLED"), (7, -5, 0, "REBALANCED")]


def test_a_turn_that_misses_its_close_waits_for_the_next_as_an_exit() -> None:  # R2.3
    # the bar of B closes at 2, that of A does not
    result = many("AB", 4, target(1, 0.5), target(2.5, -0.4), timing=Timing.CLOSE)
    assert closings(result) == [(2.5, 5, "CANCELLED", "STALE_CLOSE")]
    assert trades(result) == [(1, 5, 5, "FILLED"), (3, -5, 0, "REBALANCED")]


def test_a_turn_of_which_a_split_leaves_no_lot_closes() -> None:  # R8.1
    # 5 long, a turn to 2 short pending; of fives it is for less than a lot
    rows = {"ts": [at(5)], "kind": [0], "value": [0.0], "num": [1], "den": [5]}
    candles = flat(*[100] * 5, *[500] * 4)
    result = replayed(candles, target(1, 0.5), target(4, -0.2), data={"actions": {"A": rows}}, latency_us=HOUR + 1)
    assert closings(result) == [(5, 5, "CANCELLED", "BELOW_MIN_QTY")]
    assert trades(result)[-1] == (7, -1, 0, "REBALANCED")


def test_what_stands_in_its_place_or_contradicts_it_closes_nothing() -> None:  # R4.1
    # the better of two equals turns the position round; a long and a short at one instant are no decision
    rows = [target(1, 0.5), target(2, -0.4, score=2.0), target(2, -0.3)]
    result = replayed(flat(*[100] * 4), *rows)
    assert reasons(result, REJECTED) == [(2, "DUPLICATE")]
    assert not closings(result)
    assert trades(result)[2] == (2, -4, -4, "FILLED")
    result = replayed(flat(*[100] * 4), target(1, 0.5), target(2, -0.4), target(2, 0.8))
    assert reasons(result, REJECTED) == [(1, "CONFLICT"), (2, "CONFLICT")]
    assert not closings(result)
    # and another entry that is approved at the instant keeps the position
    add = (StrategySettings("s", 1.0, SizeKind.FIXED_QTY, 1.0, on_held=OnHeld.ADD),)
    result = replayed(flat(*[100] * 4), target(1, 0.5), target(2, -0.4, score=math.nan), propose(2), strategies=add)
    assert not closings(result)
    assert trades(result)[1] == (2, 1, 6, "FILLED")


def test_what_is_selected_but_refused_stands_in_no_place() -> None:  # R5.2 R5.3
    # the target is too low in score, the short too large: neither is to be, so what is held closes
    turning = (StrategySettings("s", 1.0, SizeKind.FIXED_QTY, 30.0, on_held=OnHeld.REVERSE),)
    rows = target(1, 0.5), target(3, -0.5, score=0.1), propose(3, Action.ENTER_SHORT, score=5.0)
    result = replayed(flat(*[100] * 8), *rows, strategies=turning, min_score=0.5, max_position=0.6, clip=False)
    assert reasons(result, RecordKind.REJECTED) == [(1, "BELOW_MIN_SCORE"), (2, "MAX_POSITION")]
    assert [reason for *_, reason in trades(result)] == ["FILLED", "REBALANCED"]


def test_a_split_that_ends_a_first_entry_closes_nothing() -> None:  # R8.1
    data = {"actions": {"A": {"ts": [at(3)], "kind": [0], "value": [0.0], "num": [1], "den": [10]}}}
    result = replayed(flat(*[100] * 8), target(2, 0.5), data=data, latency_us=2 * HOUR)
    assert [RecordKind(record["kind"]).name for record in result.records][-2:] == ["CANCELLED", "RUN_END"]


def test_what_is_rotated_out_leaves_once() -> None:  # R4.2
    # B takes the place of A, whose turn gets no slot; where the gate refuses B, A closes for its own target
    rows = [target(1, 0.5), propose(2, symbol="B", score=9.0), target(2, -0.4, score=0.5)]
    result = many("AB", 4, *rows, max_positions=1, rotate_margin=0.0)
    assert reasons(result, REJECTED) == [(1, "NOT_SELECTED")]
    assert not closings(result)
    assert trades(result)[1] == (2, -5, 0, "ROTATED")
    result = many("AB", 4, *rows, max_positions=1, rotate_margin=0.0, instruments=(instrument(), instrument("B", min_qty=9.0)))
    assert closings(result) == [(2, 5, "REJECTED", "NOT_SELECTED")]
    assert trades(result)[1] == (2, -5, 0, "REBALANCED")


def test_less_passes_where_more_is_refused() -> None:  # R4.1 R5.3
    # at 80 a tenth of the peak of 1,000 is gone: 90 % of 900 would be 10 units, 10 % are 1
    halted = {"halts": HaltLimits(drawdown=0.1)}
    assert reasons(replayed(flat(100, 100, 80, 80, 80), target(1, 0.5), target(3, 0.9), **halted), REJECTED) == [(1, "HALTED")]
    assert trades(replayed(flat(100, 100, 80, 80, 80), target(1, 0.5), target(3, 0.1), **halted))[1] == (3, -3, 2, "REBALANCED")
    # by score and by slots too
    rows = [target(1, 0.5), target(2, 0.9, score=-1.0), target(3, 0.2, score=-1.0), target(3, 0.3, symbol="B")]
    result = many("AB", 5, *rows, max_positions=1, min_score=0.0)
    assert reasons(result, REJECTED) == [(1, "BELOW_MIN_SCORE"), (3, "NOT_SELECTED")]
    assert trades(result)[1] == (3, -3, 2, "REBALANCED")


def test_what_is_missing_passes_the_gate() -> None:  # R5.2
    # 90 % of 1,000 are 9 units, of which the limit leaves 6 with the 5 held; one is too little for the minimum of the exchange
    result = replayed(flat(*[100] * 5), target(1, 0.5), target(2, 0.9), target(3, 0.7), max_position=0.6)
    assert [record["qty"] for record in of_kind(result, APPROVED)] == [5, 1]
    assert reasons(result, REJECTED) == [(2, "MAX_POSITION")]
    least = (instrument(min_notional=300.0),)
    result = replayed(flat(*[100] * 5), target(1, 0.5), target(2, 0.7), target(3, 0.4), instruments=least)
    assert reasons(result, REJECTED) == [(1, "BELOW_MIN_NOTIONAL")]
    assert trades(result)[1] == (3, -1, 4, "REBALANCED")  # what reduces is exempt (R2.7)


def test_what_leaves_at_a_close_pays_for_what_comes() -> None:  # R1.4 R2.3
    # 9 of A go at the same close as 8 of B come: cash is free by then
    result = many("AB", 4, target(1, 0.9), target(2, 0.1), target(2, 0.8, symbol="B"), timing=Timing.CLOSE)
    assert trades(result)[:3] == [(1, 9, 9, "FILLED"), (2, -8, 1, "REBALANCED"), (2, 8, 8, "FILLED")]


def test_a_target_waits_for_what_is_pending() -> None:  # R5.4
    # an exit at the same instant, and an order that latency holds back, come first
    result = replayed(flat(*[100] * 4), target(1, 0.5), propose(2, Action.EXIT), target(2, 0.9))
    assert result.outcomes == [0, 0, Reason.ALREADY_PENDING]
    result = replayed(flat(*[100] * 6), target(1, 0.5), target(2, 0.7), latency_us=5_400_000_000)
    assert result.outcomes == [0, Reason.ALREADY_PENDING]


def test_an_exit_takes_the_place_of_a_smaller_one() -> None:  # R4.1 R5.4
    # what is decided at n fills two hours on: the 5 at 3; the sale of 3 would at 6, the exit decided at 5 does at 7
    rows = [target(1, 0.5), target(4, 0.2), propose(5, Action.EXIT), propose(6, Action.EXIT)]
    result = replayed(flat(*[100] * 9), *rows, latency_us=HOUR + 1)
    assert [(one["qty"], one["reason"], one["proposal"]) for one in of_kind(result, CANCELLED)] == [(3, Reason.POSITION_CLOSED, 1)]
    assert trades(result) == [(3, 5, 5, "FILLED"), (7, -5, 0, "SIGNAL")]
    assert result.outcomes[3] == Reason.ALREADY_PENDING


def test_a_stop_ends_a_pending_sale() -> None:  # R2.1
    candles = [*flat(*[100] * 5), (100, 100, 90, 95), *flat(95, 95)]
    result = replayed(candles, target(1, 0.5, stop_loss=92.0), target(4, 0.2), latency_us=HOUR + 1)
    assert trades(result) == [(3, 5, 5, "FILLED"), (6, -5, 0, "STOP_LOSS")]
    assert reasons(result, CANCELLED) == [(1, "POSITION_CLOSED")]


def test_a_bar_without_the_volume_sells_part_by_part() -> None:  # R2.6
    # one lot a bar: 5 come at 1 to 5, 3 go at 7 to 9
    result = replayed(flat(*[100] * 12), target(1, 0.5), target(7, 0.2), participation=1.0)
    sold = [(record["qty"], record["flags"] & MORE, record["position"]) for record in of_kind(result, FILL) if record["side"] < 0]
    assert sold[:3] == [(1, MORE, 4), (1, MORE, 3), (1, 0, 2)]


def test_a_place_is_freed_by_what_leaves_and_not_by_what_was_cut_before() -> None:  # R4.4
    rows = [target(1, 0.5), target(2, 0.2), propose(3, Action.EXIT), target(3, 0.3, symbol="B")]
    result = many("AB", 5, *rows, max_positions=1, reuse_pending_exit=True)
    assert trades(result) == [
        (1, 5, 5, "FILLED"),
        (2, -3, 2, "REBALANCED"),
        (3, -2, 0, "SIGNAL"),
        (3, 3, 3, "FILLED"),
        (5, -3, 0, "RUN_ENDED"),
    ]


def test_a_sale_of_some_does_not_make_the_open_look_at_liquidation_again() -> None:  # R1.4 R7.3
    # 50 at 100 cost 250.00 of fees. At 86.5 equity is 75.00 and maintenance 43.25; 25 go for a fee of 108.12, which leaves less than nothing.
    # The bar itself then liquidates the rest, at the best that it has for the price that lies above it
    tiers = (instrument(maintenance=(MarginTier(0.0, 0.01, 0.0),)),)
    candles = [*flat(100, 100), (86.5, 87, 86, 86.5), *flat(86.5)]
    result = replayed(candles, target(1, 5.0), target(2, 3.33), instruments=tiers, leverage=10.0, taker_bps=500.0)
    assert trades(result) == [(1, 50, 50, "FILLED"), (2, -25, 25, "REBALANCED"), (3, -25, 0, "LIQUIDATED")]


@pytest.mark.parametrize(
    ("num", "den", "price", "sold"), [(2, 1, 50, [(5, 5), (-6, 4), (-4, 0)]), (1, 5, 500, [(5, 5), (-1, 0)])], ids=["2:1", "1:5"]
)
def test_a_split_restates_a_pending_sale(num: int, den: int, price: float, sold: list[tuple[int, int]]) -> None:  # R8.1
    # the sale of 3, decided at 4 and held back until 6, is for 6 of the halves; of fives it is for less than a lot, and ends
    rows = {"ts": [at(5)], "kind": [0], "value": [0.0], "num": [num], "den": [den]}
    candles = flat(*[100] * 5, *[price] * 4)
    result = replayed(candles, target(1, 0.5), target(4, 0.2), data={"actions": {"A": rows}}, latency_us=HOUR + 1)
    assert [(lots, position) for _, lots, position, _ in trades(result)] == sold
    assert reasons(result, CANCELLED) == ([(1, "BELOW_MIN_QTY")] if den == 5 else [])


def test_levels_come_with_what_opens_and_change_with_what_is_added() -> None:  # R4.3
    stop = {"stop_loss_kind": LevelKind.FRACTION}
    rows = [target(1, 0.3, stop_loss=0.2, **stop), target(2, 0.5, stop_loss=0.05, **stop), target(3, 0.4, stop_loss=0.5, **stop)]
    result = replayed([*flat(100, 100, 100, 100), (100, 100, 94, 96), *flat(96, 96)], *rows)
    assert fills(result)[-1] == (5, 95.0, "STOP_LOSS")
    assert [position for _, _, position, _ in trades(result)] == [3, 5, 4, 0]


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_a_target_without_a_weight_is_invalid(weight: float) -> None:  # R4.1
    assert reasons(replayed(flat(*[100] * 3), target(1, weight)), REJECTED) == [(0, "INVALID")]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"order_type": [OrderType.LIMIT]}, "a target is a market order that is good till cancelled"),
        ({"tif": [2]}, "leave order_type and tif out"),
        ({"weight": None}, "a target has no weight; give the column weight, a signed fraction of budget x equity"),
    ],
)
def test_a_target_of_another_form_is_refused(columns: dict[str, Any], said: str) -> None:
    with pytest.raises(ProposalError, match=said):
        Session(market({"A": [FLAT] * 2}), of(target(1, 0.5)) | columns, settings(2))


def test_the_ledger_alone_adds_up() -> None:  # R6.4
    rows = [target(1, 0.8), target(2, 0.3), target(3, -0.6), target(4, -0.1), target(5, 0.3, score=math.nan), target(6, 0.0)]
    chosen = settings(7, taker_bps=7.0, per_unit=0.013, min_fee=0.5)
    result = replay(market({"A": flat(100, 103, 107, 101, 99, 98, 98)}), of(*rows), chosen)
    assert (
        verify_ledger(Ledger(result.records, result.symbols, result.strategies, ledger_header(result))).final_equity == result.final_equity
    )


def test_a_session_takes_targets_as_they_are_made() -> None:  # R9.4
    rows = [target(1, 0.5), target(3, 0.2)]
    whole = replay(market({"A": [FLAT] * 6}), of(*rows), settings(6))
    session = Session(market({"A": [FLAT] * 6}), of(rows[0]), settings(6))
    session.advance(at(3) - 1)
    session.propose(Proposal("A", "target", "s", weight=0.2, score=1.0))
    made = session.run()
    named = ("kind", "reason", "side", "qty", "price", "position")
    assert made.records[list(named)].tolist() == whole.records[list(named)].tolist()


def test_an_entry_of_the_other_side_that_is_no_target_closes_nothing_where_it_expires() -> None:  # R4.3 R5.4
    turning = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=3.0, on_held=OnHeld.REVERSE),)
    short = {"order_type": int(OrderType.LIMIT), "limit_price": 105.0, "tif": int(TimeInForce.BARS), "tif_value": 1}
    rows = [propose(1), propose(2, Action.ENTER_SHORT, **short), target(1, 0.1, symbol="B")]
    result = many("AB", 5, *rows, strategies=turning)
    assert reasons(result, CANCELLED) == [(2, "EXPIRED")]
    assert trades(result) == [(1, 3, 3, "FILLED"), (1, 1, 1, "FILLED"), (5, -3, 0, "RUN_ENDED"), (5, -1, 0, "RUN_ENDED")]
