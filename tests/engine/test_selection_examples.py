"""What an entry does to what is held, who gets a slot, and which halts stop whom, on examples worked by hand; both replays agree."""

import math
from typing import Any

import pytest

from engine.ledger import Ledger, ledger_header
from engine.schema import NEVER, Action, LevelKind, OnHeld, Reason, RecordKind, SizeKind
from engine.session import replay
from engine.settings import HaltLimits, StrategySettings
from engine.verify import verify_ledger
from tests.differential import agreed_replay
from tests.oracle.examples import (
    FLAT,
    HOUR,
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

APPROVED, REJECTED, CANCELLED, FILL, ALERT = (
    RecordKind.APPROVED,
    RecordKind.REJECTED,
    RecordKind.CANCELLED,
    RecordKind.FILL,
    RecordKind.RISK_ALERT,
)


def holding(on_held: OnHeld, amount: float = 3.0, most: int = 10, name: str = "s") -> StrategySettings:
    """A strategy of a fixed quantity, by what it does with what it holds."""
    return StrategySettings(name, 1.0, SizeKind.FIXED_QTY, amount, on_held=on_held, max_adds=most)


def flat(*prices: float) -> list[tuple[float, float, float, float]]:
    """Bars that do not move."""
    return [(price, price, price, price) for price in prices]


def one_symbol(candles: Candles, *rows: Row, data: dict[str, Any] | None = None, **changes: Any) -> OracleResult:
    return agreed_replay(market({"A": candles}, **(data or {})), table(*rows), settings(len(candles), **changes))


def many(symbols: str, bars: int, *rows: Row, **changes: Any) -> OracleResult:
    return agreed_replay(market({symbol: [FLAT] * bars for symbol in symbols}), table(*rows), settings(bars, symbols=symbols, **changes))


def positions(result: OracleResult) -> list[tuple[float, int, int]]:
    """(price, lots left, realised) of each POSITION record."""
    return [(record["price"], record["qty"], record["amount"]) for record in of_kind(result, RecordKind.POSITION)]


# what is held


def test_an_add_averages_the_cost_and_takes_no_slot() -> None:  # R4.3 R6.3
    # 3 at 100 and 3 at 110 cost 630; all 6 leave at 120: 720 - 630 = 90
    result = one_symbol(
        flat(100, 100, 110, 120, 120), propose(1), propose(2), propose(3, Action.EXIT), strategies=(holding(OnHeld.ADD),), max_positions=1
    )
    assert positions(result) == [(100.0, 3, 0), (110.0, 6, 0), (0.0, 0, 9_000)]


def test_adds_end_at_their_limit_and_on_the_other_side() -> None:  # R4.3
    rows = [propose(1), propose(2), propose(3), propose(4, SHORT)]
    result = one_symbol(flat(*[100] * 6), *rows, strategies=(holding(OnHeld.ADD, 1.0, 1),))
    assert [record["qty"] for record in of_kind(result, FILL)] == [1, 1, 2]
    assert result.outcomes[2:] == [Reason.ALREADY_HELD, Reason.ALREADY_HELD]


def test_the_largest_position_limits_the_whole_of_it() -> None:  # R4.3 R5.2
    # a quarter of 1000 is two lots of 100: the add of three finds no room for one, with half there is room for two
    def added(limit: float) -> OracleResult:
        return one_symbol(flat(100, 100, 100), propose(1), propose(2), strategies=(holding(OnHeld.ADD, 2.0),), max_position=limit)

    assert reasons(added(0.25), REJECTED) == [(1, "MAX_POSITION")]
    assert [record["qty"] for record in of_kind(added(0.35), APPROVED)] == [2, 1]


def test_levels_of_an_add_replace_those_it_gives_and_leave_the_others() -> None:  # R4.3
    # the stop of the add is 5 % under its own fill at 110; the target of the first entry stays
    candles = [*flat(100, 100, 110), (110, 110, 104, 106), (106, 130, 106, 130)]
    rows = [propose(1, stop_loss=90.0, take_profit=125.0), propose(2, stop_loss=0.05, stop_loss_kind=LevelKind.FRACTION)]
    result = one_symbol(candles, *rows, strategies=(holding(OnHeld.ADD),))
    assert fills(result)[-1] == (4, 104.5, "STOP_LOSS")
    kept = one_symbol(candles, rows[0], propose(2), strategies=(holding(OnHeld.ADD),))
    assert fills(kept)[-1] == (5, 125.0, "TAKE_PROFIT")


def test_an_add_ends_with_the_position_it_was_for() -> None:  # R2.1 R4.3
    # the stop is touched in the bar before the add could fill
    candles = [*flat(100, 100), (100, 100, 94, 96), *flat(96, 96)]
    result = one_symbol(candles, propose(1, stop_loss=95.0), propose(2.5), strategies=(holding(OnHeld.ADD),), latency_us=0)
    assert reasons(result, CANCELLED) == [(1, "POSITION_CLOSED")]
    stop = next(record for record in of_kind(result, FILL) if record["reason"] == Reason.STOP_LOSS)
    assert result.records[of_kind(result, CANCELLED)[0]["cause"]] == stop


def test_a_reversal_is_one_order_two_fills_and_two_trades() -> None:  # R4.3 R6.4
    # 10 bp: 3 lots long at 100, reversed at 110 into 3 short: 6 lots of 110 cost 66 in fees, 33 each; leaves at 100
    rows = [propose(1), propose(2, SHORT), propose(3, Action.EXIT)]
    result = one_symbol(flat(100, 100, 110, 100), *rows, strategies=(holding(OnHeld.REVERSE),), taker_bps=10.0)
    order = of_kind(result, RecordKind.ORDER)[1]
    both = [record for record in of_kind(result, FILL) if record["order_id"] == order["order_id"]]
    assert order["qty"] == 6
    assert [(record["side"], record["qty"], record["fee"], Reason(record["reason"]).name) for record in both] == [
        (-1, 3, 33, "REVERSED"),
        (-1, 3, 33, "FILLED"),
    ]
    assert positions(result) == [(100.0, 3, 0), (0.0, 0, 3_000), (110.0, 3, 0), (0.0, 0, 3_000)]


@pytest.mark.parametrize(("min_fee", "fees"), [(0.0, [19, 21, 14]), (1.01, [101, 61, 40])])
def test_the_fee_of_a_reversal_is_split_by_lots_and_the_last_part_takes_the_rest(min_fee: float, fees: list[int]) -> None:  # R6.4
    # 3 lots close and 2 open at 110: 550 * 6.4 bp is 35 cents, of which 3/5 are 21; of a least fee of 101 cents they are 61
    candles = [*flat(100), (100, 110, 100, 110), *flat(110)]
    rows = [propose(1), propose(2, SHORT)]
    result = one_symbol(
        candles, *rows, strategies=(holding(OnHeld.REVERSE),), max_position=0.3, taker_bps=6.4, min_fee=min_fee, finalize_close=False
    )
    assert [(record["qty"], record["fee"]) for record in of_kind(result, FILL)] == list(zip([3, 3, 2], fees, strict=True))


def test_a_reversal_needs_only_the_cash_that_its_own_position_frees() -> None:  # R4.3 R5.2
    # all of 1000 is margin of 10 long; turned round it is margin of 10 short
    result = one_symbol(flat(100, 100, 100), propose(1), propose(2, SHORT), strategies=(holding(OnHeld.REVERSE, 10.0),))
    assert [record["qty"] for record in of_kind(result, FILL)] == [10, 10, 10, 10]
    assert of_kind(result, APPROVED)[1]["amount"] == 0


def test_spot_that_cannot_be_sold_short_is_not_reversed() -> None:  # R4.3 R6.2
    result = one_symbol(
        flat(100, 100, 100), propose(1), propose(2, SHORT), strategies=(holding(OnHeld.REVERSE),), instruments=(instrument(kind="spot"),)
    )
    assert reasons(result, REJECTED) == [(1, "SHORT_NOT_ALLOWED")]
    assert [record["qty"] for record in of_kind(result, FILL)] == [3, 3]


def test_a_proposal_replaces_the_levels_of_what_is_held() -> None:  # R4.3 R5.4
    # decided at 2, the stop of 98 acts in the bar that opens at 2
    candles = [*flat(100, 100), (100, 100, 97, 99), *flat(99)]
    result = one_symbol(candles, propose(1, stop_loss=90.0), propose(2, stop_loss=98.0), strategies=(holding(OnHeld.REPLACE_LEVELS),))
    (change,) = of_kind(result, RecordKind.LEVELS)
    assert (change["ts"], change["proposal"], change["price"]) == (at(2), 1, 98.0)
    assert fills(result)[-1] == (3, 98.0, "STOP_LOSS")


@pytest.mark.parametrize(("decided", "latency", "hour"), [(2, 0, 3), (3, 1, 5), (2.5, 0, 4), (1.5, 0, 3)])
def test_a_changed_level_acts_in_bars_that_open_the_latency_after(decided: float, latency: int, hour: float) -> None:  # R2.3 R4.3
    candles = [*flat(100, 100), *[(100.0, 100.0, 97.0, 99.0)] * 4]
    rows = [propose(1, stop_loss=90.0), propose(decided, stop_loss=98.0)]
    result = one_symbol(candles, *rows, strategies=(holding(OnHeld.REPLACE_LEVELS),), latency_us=latency)
    assert fills(result)[-1] == (hour, 98.0, "STOP_LOSS")


# slots


def test_full_groups_and_strategies_are_passed_over() -> None:  # R4.2
    grouped = tuple(instrument(symbol, group="majors" if symbol in "AB" else "") for symbol in "ABCD")
    rows = [propose(1, symbol=symbol, score=score) for symbol, score in zip("ABCD", (4.0, 3.0, 2.0, 1.0), strict=True)]
    by_group = many(
        "ABCD", 2, *rows, instruments=grouped, max_per_group=1, max_positions=2, strategies=(strategy(SizeKind.FIXED_QTY, 1.0),)
    )
    assert [record["symbol"] for record in of_kind(by_group, RecordKind.SELECTED)] == [0, 2]
    assert [(record["symbol"], record["rank"]) for record in of_kind(by_group, REJECTED)] == [(1, 2), (3, 4)]
    by_strategy = many("ABCD", 2, *rows, max_per_strategy=3, strategies=(strategy(SizeKind.FIXED_QTY, 1.0),))
    assert [record["symbol"] for record in of_kind(by_strategy, RecordKind.SELECTED)] == [0, 1, 2]


@pytest.mark.parametrize(("margin", "score", "rotates"), [(1.0, 3.0, True), (1.0, 2.9, False), (0.0, 2.0, False), (0.0, 2.1, True)])
def test_a_better_proposal_replaces_the_weakest(margin: float, score: float, rotates: bool) -> None:  # R4.2
    rows = [propose(1, score=5.0), propose(1, symbol="B", score=2.0), propose(3, symbol="C", score=score)]
    result = many("ABC", 5, *rows, max_positions=2, rotate_margin=margin)
    out = [record for record in of_kind(result, FILL) if record["reason"] == Reason.ROTATED]
    assert [(record["symbol"], record["ts"]) for record in out] == ([(1, at(3))] if rotates else [])
    assert reasons(result, REJECTED) == ([] if rotates else [(2, "NOT_SELECTED")])
    if rotates:
        assert fills(result)[2:4] == [(3, 100.0, "ROTATED"), (3, 100.0, "FILLED")]


def test_the_score_of_what_is_held_is_that_of_its_last_proposal() -> None:  # R4.2
    # B fell to 0.5 at 2, A stays at 1: the newcomer takes the place of B although B came with 3
    rows = [propose(1), propose(1, symbol="B", score=3.0), propose(2, symbol="B", score=0.5), propose(3, symbol="C", score=2.0)]
    result = many("ABC", 5, *rows, max_positions=2, rotate_margin=0.5)
    assert [record["symbol"] for record in of_kind(result, FILL) if record["reason"] == Reason.ROTATED] == [1]


def test_rotation_pays_with_what_it_frees_and_keeps_what_the_gate_would_lose() -> None:  # R4.2 R5.2
    full = (strategy(SizeKind.FIXED_QTY, 10.0),)
    rows = [propose(1), propose(2, symbol="B", score=2.0)]
    turned = many("AB", 4, *rows, max_positions=1, rotate_margin=0.0, strategies=full)
    assert [(record["symbol"], record["qty"]) for record in of_kind(turned, FILL)][:3] == [(0, 10), (0, 10), (1, 10)]
    small = many("AB", 4, *rows, max_positions=1, rotate_margin=0.0, instruments=(instrument("A"), instrument("B", min_qty=4.0)))
    assert reasons(small, REJECTED) == [(1, "BELOW_MIN_QTY")]
    assert [record["symbol"] for record in of_kind(small, FILL)] == [0, 0]


# legs


def pair(**changes: Any) -> list[Row]:
    """Long A and short B as one decision."""
    return [propose(1, leg=1, **changes), propose(1, SHORT, symbol="B", leg=1)]


def legged(*rows: Row, bars: int = 3, symbols: str = "ABC", **changes: Any) -> OracleResult:
    given = [{"leg": 0} | row for row in rows]
    return many(symbols, bars, *given, **changes)


def test_legs_are_selected_together_or_not_at_all() -> None:  # R4.2
    # one slot is left after C: the pair needs two, and D, ranked after it, takes the slot
    rows = [propose(1, symbol="C", score=3.0), *pair(score=2.0), propose(1, symbol="D", score=0.5)]
    result = legged(*rows, symbols="ABCD", max_positions=2)
    assert [record["symbol"] for record in of_kind(result, RecordKind.SELECTED)] == [2, 3]
    assert [(record["symbol"], record["rank"]) for record in of_kind(result, REJECTED)] == [(0, 2), (1, 3)]


def test_a_leg_that_drops_out_takes_the_others_with_it() -> None:  # R4.1 R4.2
    result = legged(*pair(score=math.nan))
    assert reasons(result, REJECTED) == [(0, "INVALID"), (1, "LEG_REFUSED")]


def test_the_gate_approves_all_legs_unclipped_or_none() -> None:  # R5.2
    both = legged(*pair(), max_gross=0.6)
    assert [record["qty"] for record in of_kind(both, APPROVED)] == [3, 3]
    none = legged(*pair(), propose(1, symbol="C", score=0.0), max_gross=0.59)
    assert reasons(none, REJECTED) == [(0, "LEG_REFUSED"), (1, "MAX_GROSS")]
    assert [(record["symbol"], record["qty"]) for record in of_kind(none, APPROVED)] == [(2, 3)]


def test_legs_of_other_strategies_and_instants_are_other_decisions() -> None:  # R4.2
    two = (strategy(SizeKind.FIXED_QTY, 1.0), strategy(SizeKind.FIXED_QTY, 1.0, name="t"))
    rows = [propose(1, leg=1, score=math.nan), propose(1, symbol="B", leg=1, strategy="t"), propose(2, symbol="C", leg=1)]
    result = legged(*rows, strategies=two)
    assert reasons(result, REJECTED) == [(0, "INVALID")]
    assert len(of_kind(result, APPROVED)) == 2


# sizes


@pytest.mark.parametrize(
    ("size", "columns", "lots"),
    [
        (StrategySettings("s", 0.5, SizeKind.VOL_TARGET, 0.2), {"volatility": 0.25}, 4),  # 500 * 0.2 / 0.25 = 400
        (StrategySettings("s", 1.0, SizeKind.VOL_TARGET, 0.2), {"volatility": 0.0}, 0),
        (StrategySettings("s", 1.0, SizeKind.VOL_TARGET, 0.2), {"volatility": math.nan}, 0),
        (StrategySettings("s", 1.0, SizeKind.VOL_TARGET, 0.2), {}, 0),
        (StrategySettings("s", 1.0, SizeKind.KELLY, 0.5), {"win_probability": 0.7, "payoff": 1.0}, 2),  # half of 0.4
        (StrategySettings("s", 1.0, SizeKind.KELLY, 1.0, cap=0.3), {"win_probability": 0.75, "payoff": 2.0}, 3),
        (StrategySettings("s", 1.0, SizeKind.KELLY, 1.0), {"win_probability": 0.5, "payoff": 1.0}, 0),
        (StrategySettings("s", 1.0, SizeKind.KELLY, 1.0), {"win_probability": 1.5, "payoff": 1.0}, 0),
        (StrategySettings("s", 1.0, SizeKind.KELLY, 1.0), {"win_probability": 0.9, "payoff": 0.0}, 0),
        (StrategySettings("s", 0.5, SizeKind.TARGET_WEIGHT, 1.0), {"weight": 0.5}, 2),
        (StrategySettings("s", 1.0, SizeKind.TARGET_WEIGHT, 1.0), {"weight": -0.5}, 0),
    ],
)
def test_sizes_from_what_the_proposal_brings(size: StrategySettings, columns: Row, lots: int) -> None:  # R5.1
    result = one_symbol(flat(100, 100), propose(1, **columns), strategies=(size,))
    assert [record["qty"] for record in of_kind(result, APPROVED)] == ([lots] if lots else [])
    assert reasons(result, REJECTED) == ([] if lots else [(0, "NO_SIZE")])


@pytest.mark.parametrize(("limit", "lots"), [({"max_group": 0.5}, [3, 2, 3]), ({"max_strategy": 0.8}, [3, 3, 2])])
def test_groups_and_strategies_have_exposure_limits_of_their_own(limit: Row, lots: list[int]) -> None:  # R5.2
    grouped = tuple(instrument(symbol, group="majors" if symbol in "AB" else "") for symbol in "ABC")
    rows = [propose(1, symbol=symbol, score=score) for symbol, score in zip("ABC", (3.0, 2.0, 1.0), strict=True)]
    result = many("ABC", 2, *rows, instruments=grouped, **limit)
    assert [record["qty"] for record in of_kind(result, APPROVED)] == lots


# halts


def test_losing_trades_in_a_row_stop_entries_for_a_while() -> None:  # R5.3
    # two trades lose 3 each; the second ends at the open of 4 and the sample at 5 starts the halt, until 7
    candles = flat(100, 101, 100, 101, 100, 100, 100, 100, 100)
    trades = [propose(1), propose(2, Action.EXIT), propose(3), propose(4, Action.EXIT)]
    later = [propose(5), propose(6), propose(7)]
    halts = HaltLimits(losses=2, losses_for_us=2 * HOUR)
    result = one_symbol(candles, *trades, *later, halts=halts)
    (alert,) = of_kind(result, ALERT)
    assert (alert["ts"], alert["reason"], alert["value"], alert["symbol"]) == (at(5), Reason.CONSECUTIVE_LOSSES, 2.0, -1)
    assert result.records[alert["cause"]]["kind"] == RecordKind.POSITION
    assert reasons(result, REJECTED) == [(4, "HALTED"), (5, "HALTED")]


@pytest.mark.parametrize(("bars", "refused"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3])])
def test_a_stop_cools_down_for_bars_of_its_symbol(bars: int, refused: list[int]) -> None:  # R5.3 R2.1
    candles = [*flat(100), (100, 100, 94, 96), *flat(96, 96, 96, 96)]
    rows = [propose(1, stop_loss=95.0), propose(2), propose(3), propose(4)]
    result = one_symbol(candles, *rows, halts=HaltLimits(cooldown_bars=bars))
    assert reasons(result, REJECTED) == [(row, "COOLDOWN") for row in refused]


@pytest.mark.parametrize(
    ("scope", "refused"), [("halts", ["A s", "A t", "B s"]), ("strategy_halts", ["A s", "B s"]), ("symbol_halts", ["A s", "A t"])]
)
def test_a_halt_stops_its_scope_alone(scope: str, refused: list[str]) -> None:  # R5.3
    two = (strategy(SizeKind.FIXED_QTY, 3.0), strategy(SizeKind.FIXED_QTY, 1.0, name="t"))
    dataset = market({"A": [*flat(100), (100, 100, 94, 96), *flat(96, 96)], "B": [FLAT] * 4})
    rows = [propose(1, stop_loss=95.0), propose(2), propose(2, strategy="t"), propose(2, symbol="B")]
    result = agreed_replay(dataset, table(*rows), settings(4, symbols="AB", strategies=two, **{scope: HaltLimits(cooldown_bars=5)}))
    named = {(0, 0): "A s", (0, 1): "A t", (1, 0): "B s"}
    assert [named[record["symbol"], record["strategy"]] for record in of_kind(result, REJECTED)] == refused
    (alert,) = of_kind(result, ALERT)
    expected = {"halts": (-1, -1), "strategy_halts": (-1, 0), "symbol_halts": (0, -1)}
    assert (alert["symbol"], alert["strategy"]) == expected[scope]


@pytest.mark.parametrize(("limit", "stops"), [(0.24, True), (0.25, False)])
def test_a_strategy_loses_against_its_own_capital(limit: float, stops: bool) -> None:  # R5.3
    # 3 lots from 100 to 60: 120 of a capital of 500 is 24 %, although the account lost 12 %
    half = (strategy(SizeKind.FIXED_QTY, 3.0, 0.5), strategy(SizeKind.FIXED_QTY, 1.0, 0.5, "t"))
    candles = [*flat(100, 100), (100, 100, 60, 60), *flat(60, 60)]
    rows = [propose(1), propose(3, strategy="t"), propose(3.5, strategy="s", action=Action.EXIT), propose(4)]
    result = one_symbol(candles, *rows, strategies=half, strategy_halts=HaltLimits(drawdown=limit, resume_after_us=NEVER))
    assert [(alert["strategy"], alert["value"]) for alert in of_kind(result, ALERT)] == ([(0, 0.24)] if stops else [])
    assert reasons(result, REJECTED) == ([(3, "HALTED")] if stops else [])


def test_a_halt_cancels_the_pending_entries_of_its_scope() -> None:  # R5.3
    two = (strategy(SizeKind.FIXED_QTY, 3.0), strategy(SizeKind.FIXED_QTY, 1.0, name="t"))
    dataset = market({"A": [*flat(100), (100, 100, 94, 96), *flat(96, 96)], "B": [FLAT] * 4})
    rows = [propose(1, stop_loss=95.0), propose(1.5, symbol="B"), propose(1.5, symbol="B", strategy="t")]
    result = agreed_replay(dataset, table(*rows), settings(4, symbols="AB", strategies=two, strategy_halts=HaltLimits(cooldown_bars=3)))
    assert reasons(result, CANCELLED) == [(1, "COOLDOWN")]
    assert result.records[of_kind(result, CANCELLED)[0]["cause"]] == of_kind(result, ALERT)[0]


def test_the_verifier_follows_adds_and_reversals() -> None:  # R6.4 R11
    rows = [propose(1), propose(2, SHORT), propose(3), propose(4, SHORT)]
    dataset = market({"A": flat(100, 103, 107, 101, 99, 98)})
    chosen = settings(6, strategies=(holding(OnHeld.REVERSE),), taker_bps=7.0, per_unit=0.013, min_fee=0.5)
    result = replay(dataset, table(*rows), chosen)
    totals = verify_ledger(Ledger(result.records, result.symbols, result.strategies, ledger_header(result)))
    assert (totals.final_equity, totals.owed) == (result.final_equity, {})
