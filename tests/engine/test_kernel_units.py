"""The rules of the compiled replay one by one, with numbers worked by hand; the same with and without compilation."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.exits import gap_price, level_price, on_tick, reached_by_open, touched
from engine.halts import day_end, halted
from engine.instrument import Decimals
from engine.money import MONEY_LIMIT, fee, funding_payment, grid_steps, margin, money, quantity, value, whole_lots
from engine.prices import half_spread, taker_price
from engine.schema import DAY_US, NEVER, NONE, Intrabar, LevelKind, LimitGap, LimitTouch, Reason, SizeKind, Slippage
from engine.selector import free_slots, sort_by_rank
from engine.session import Session
from engine.sizing import all_in_lots, most_lots, most_lots_of_value, outlay, stop_price, unit_loss, wanted_quantity
from engine.tape import known_until
from tests.oracle.examples import FLAT, at, instrument, market, propose, settings, table

NAN = math.nan
STOP, TARGET = Reason.STOP_LOSS, Reason.TAKE_PROFIT


def session(*rows: dict[str, Any], spread: bool = False, **changes: Any) -> Session:
    """A session of symbol A on flat hourly candles, not begun."""
    others = {"spread": {"A": {"ts": [at(1), at(1), at(2)], "bid": [98.0, 99.0, 95.0], "ask": [102.0, 101.0, 105.0]}}} if spread else {}
    dataset = market({"A": [FLAT] * 4}, **others)
    return Session(dataset, table(*(rows or (propose(1),))), settings(4, **changes))


@pytest.mark.parametrize(
    ("product", "expected"),
    [
        (0.5, 0),
        (1.5, 2),
        (2.5, 2),
        (-0.5, 0),
        (-1.5, -2),
        (0.49999999999999994, 0),
        (2.0**53 - 1, 2**53 - 1),
        (2.0**53, MONEY_LIMIT),
        (1e300, MONEY_LIMIT),
        (-1e300, -MONEY_LIMIT),
        (math.inf, MONEY_LIMIT),
        (NAN, -MONEY_LIMIT),
    ],
)
def test_money_rounds_half_to_even_and_stops_at_its_limit(product: float, expected: int) -> None:  # R6.3
    assert money(product) == expected


@pytest.mark.parametrize(
    ("x", "step", "down", "up"),
    [
        (0.3, 0.1, 3, 3),  # 0.3 / 0.1 is 2.9999999999999996
        (0.7 + 1e-8, 0.1, 7, 7),
        (0.7 + 2e-7, 0.1, 7, 8),
        (0.7 - 2e-7, 0.1, 6, 7),
        (-0.35, 0.1, -4, -3),
        (7.5, 2.5, 3, 3),
        (7.4, 2.5, 2, 3),
    ],
)
def test_a_grid_takes_the_step_within_a_millionth_else_rounds_as_told(x: float, step: float, down: int, up: int) -> None:  # R6.3
    assert (grid_steps(x, step, False), grid_steps(x, step, True)) == (down, up)


@pytest.mark.parametrize(("qty", "lots"), [(0.3, 300), (0.0129999999, 13), (0.0128, 12), (0.0, 0), (-1.0, 0), (NAN, 0), (1e300, 2**53)])
def test_quantities_are_floored_to_whole_lots(qty: float, lots: int) -> None:  # R2.7
    assert whole_lots(qty, 0.001) == lots


def test_lots_divide_once() -> None:  # R6.3
    assert quantity(3, 1.0, 10.0) == 0.3  # 3 * 0.1 would be 0.30000000000000004
    assert quantity(-7, 25.0, 1000.0) == -0.175


def test_products_become_money() -> None:  # R6.3 R7.1 R7.2
    assert value(-0.3, 100.05, 10.0, 100.0, False) == -30_015
    assert value(-3.0, 125.0, 10.0, 100.0, True) == 24  # a short of 0.24 coins
    assert fee(30_015, 0.0005, 0.3, 0.0, 100.0, 0, 0) == 15  # 15.0075
    assert fee(30_015, 0.0005, 0.3, 0.25, 100.0, 4, 0) == 15 + 8 + 4  # 7.5 to even
    assert (fee(30_015, -0.0005, 0.3, 0.0, 100.0, 0, 0), fee(30_015, -0.0005, 0.3, 0.0, 100.0, 0, 1)) == (-15, 1)
    assert margin(30_015, 20.0) == 1_501  # 1500.75
    assert (funding_payment(30_000, 0.0001), funding_payment(-30_000, 0.0001), funding_payment(30_000, -0.0001)) == (-3, 3, 3)


@pytest.mark.parametrize(
    ("side", "price", "expected"),
    [
        *((1, 95.0, STOP), (1, 94.0, STOP), (1, 95.1, 0), (1, 110.0, TARGET), (1, 111.0, TARGET), (1, 109.9, 0)),
        *((-1, 110.0, STOP), (-1, 109.9, 0), (-1, 95.0, TARGET), (-1, 95.1, 0)),
    ],
)
def test_an_open_at_a_level_has_passed_it(side: int, price: float, expected: int) -> None:  # R1.3 R2.4
    stop, target = (95.0, 110.0) if side > 0 else (110.0, 95.0)
    assert reached_by_open(side, price, stop, target, LimitTouch.TOUCH) == expected
    assert reached_by_open(side, price, NAN, NAN, LimitTouch.TOUCH) == 0


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(
    ("policy", "up_bar", "down_bar", "flat"),  # exit of a long in a bar that reaches both levels; of a short the other one
    [
        (Intrabar.OLHC, STOP, STOP, STOP),
        (Intrabar.OHLC, TARGET, TARGET, TARGET),
        (Intrabar.ADAPTIVE, STOP, TARGET, TARGET),
    ],
)
def test_a_path_policy_takes_the_first_level_met(side: int, policy: int, up_bar: int, down_bar: int, flat: int) -> None:  # R3.3
    other = {STOP: TARGET, TARGET: STOP}
    stop, target = (90.0, 110.0) if side > 0 else (110.0, 90.0)
    for close, expected in ((105.0, up_bar), (95.0, down_bar), (100.0, flat)):
        reason, ambiguous = touched(policy, LimitTouch.TOUCH, side, 100.0, 110.0, 90.0, close, stop, target)
        assert (reason, ambiguous) == (expected if side > 0 else other[expected], True)


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(("policy", "expected"), [(Intrabar.PESSIMISTIC, STOP), (Intrabar.OPTIMISTIC, TARGET)])
def test_a_bar_that_reaches_both_is_ambiguous_and_the_policy_decides(side: int, policy: int, expected: int) -> None:  # R3.3
    stop, target = (90.0, 110.0) if side > 0 else (110.0, 90.0)
    assert touched(policy, LimitTouch.TOUCH, side, 100.0, 110.0, 90.0, 100.0, stop, target) == (expected, True)


@pytest.mark.parametrize("policy", list(Intrabar))
@pytest.mark.parametrize(
    ("side", "high", "low", "expected"),
    [
        *((1, 109.9, 90.0, STOP), (1, 110.0, 90.1, TARGET), (1, 109.9, 90.1, 0)),
        *((-1, 110.0, 90.1, STOP), (-1, 109.9, 90.0, TARGET), (-1, 109.9, 90.1, 0)),
    ],
)
def test_a_level_is_touched_at_its_very_price_whatever_the_policy(policy: int, side: int, high: float, low: float, expected: int) -> None:
    # R3.2
    stop, target = (90.0, 110.0) if side > 0 else (110.0, 90.0)
    assert touched(policy, LimitTouch.TOUCH, side, 100.0, high, low, 105.0, stop, target) == (expected, False)
    assert touched(policy, LimitTouch.TOUCH, side, 100.0, high, low, 105.0, NAN, NAN) == (0, False)


def test_stops_go_on_the_tick_away_from_the_market_and_targets_to_the_passive_side() -> None:  # R2.7
    tape = session().tape  # tick 0.1
    price = LevelKind.PRICE
    assert level_price(tape, 0, 95.07, price, 100.0, -1, False, at(0)) == 95.0  # stop of a long
    assert level_price(tape, 0, 104.93, price, 100.0, 1, True, at(0)) == 105.0  # stop of a short, target of a long
    assert level_price(tape, 0, 0.0525, LevelKind.FRACTION, 100.0, -1, False, at(0)) == 94.7  # 94.75
    assert level_price(tape, 0, 0.0525, LevelKind.FRACTION, 100.0, 1, True, at(0)) == 105.3  # 105.25
    for none in (NAN, 0.0, -5.0, 0.01):  # 0.01 is on tick 0 when floored
        assert math.isnan(level_price(tape, 0, none, price, 100.0, -1, False, at(0)))
    assert math.isnan(level_price(tape, 0, 1.0, LevelKind.FRACTION, 100.0, -1, False, at(0)))


def test_a_tick_of_any_decimal_is_exact() -> None:  # R6.3
    tape = session(instruments=(instrument(tick=Decimals(25, 1000)),)).tape
    assert on_tick(tape, 0, 1.01, False, at(0)) == 1.0
    assert on_tick(tape, 0, 1.01, True, at(0)) == 1.025
    assert on_tick(tape, 0, 3 * 0.025, True, at(0)) == 0.075


@pytest.mark.parametrize(("gap", "long", "short"), [(LimitGap.PRICE, 105.0, 95.0), (LimitGap.OPEN, 106.2, 94.0)])
def test_a_target_passed_by_the_open_has_its_price_or_the_open_on_the_tick(gap: LimitGap, long: float, short: float) -> None:  # R2.4
    tape = session(limit_gap=gap).tape
    assert gap_price(tape, 0, 1, 106.25, 105.0, at(0)) == long  # sold: floored
    assert gap_price(tape, 0, -1, 93.95, 95.0, at(0)) == short  # bought: up


@pytest.mark.parametrize(
    ("slippage", "amount", "buy", "sell"),
    [
        (Slippage.NONE, 0.0, 101.0, 99.0),  # half-spread 1 %
        (Slippage.BPS, 55.0, 101.6, 98.4),  # 101.55 up, 98.45 down
        (Slippage.SPREAD, 2.5, 102.5, 97.5),
        (Slippage.SPREAD, 0.0, 100.0, 100.0),
    ],
)
def test_a_taker_pays_half_spread_and_slippage_on_the_tick_against_it(slippage: Slippage, amount: float, buy: float, sell: float) -> None:
    # R2.5 R2.6
    run = session(spread=True, slippage=slippage, slippage_amount=amount)
    assert taker_price(run.state, run.tape, 0, 1, 3.0, 100.0, 1, at(1)) == buy
    assert taker_price(run.state, run.tape, 0, -1, 3.0, 100.0, 1, at(1)) == sell


def test_the_last_spread_known_counts_else_the_default() -> None:  # R1.5 R2.2
    tape = session(spread=True).tape
    assert half_spread(tape, 0, 0, at(1) - 1, 0.007) == 0.007
    assert half_spread(tape, 0, 0, at(1), 0.007) == 0.01  # of equal keys the last: 99, 101
    assert half_spread(tape, 0, 0, at(3), 0.007) == 0.05
    unused = session(spread=True, spread_events=False).tape
    assert half_spread(unused, 0, 0, at(3), 0.007) == 0.007


def test_rows_known_are_those_up_to_now() -> None:
    ts = np.array([10, 20, 20, 30], np.int64)
    assert [int(known_until(ts, 0, 4, now)) for now in (9, 10, 20, 29, 99)] == [0, 1, 3, 3, 4]
    assert (known_until(ts, 2, 2, 99), known_until(ts, 1, 3, 9)) == (2, 1)


@pytest.mark.parametrize(
    ("size", "amount", "expected"),
    [
        (SizeKind.FIXED_QTY, 7.5, 7.5),
        (SizeKind.FIXED_NOTIONAL, 3_000.0, 6.0),
        (SizeKind.FIXED_FRACTION, 0.25, 5.0),
        (SizeKind.FIXED_RISK, 0.01, 4.0),  # 100 at risk, 5 * 5 a unit
    ],
)
def test_a_size_model_asks_for_a_quantity(size: SizeKind, amount: float, expected: float) -> None:  # R5.1
    assert wanted_quantity(size, amount, 10_000.0, 500.0, 25.0) == expected


def test_a_stop_is_a_price_or_a_fraction_on_the_losing_side() -> None:  # R5.1
    assert stop_price(1, 100.0, 105.0, LevelKind.PRICE) == 105.0
    assert stop_price(1, 100.0, 0.25, LevelKind.FRACTION) == 75.0
    assert stop_price(-1, 100.0, 0.25, LevelKind.FRACTION) == 125.0
    assert math.isnan(stop_price(1, 100.0, NAN, LevelKind.PRICE))
    assert math.isnan(stop_price(1, 100.0, 1.5, LevelKind.FRACTION))  # a stop at -50


def test_what_a_unit_loses_down_to_its_stop() -> None:  # R5.1 R6.2
    assert unit_loss(100.0, 80.0, 10.0, False) == 200.0
    assert unit_loss(100.0, 80.0, 10.0, True) == pytest.approx(10 / 80 - 10 / 100)


def test_outlay_is_margin_or_value_with_fee_and_half_spread() -> None:  # R5.2
    linear = session(leverage=4.0, taker_bps=10.0)
    spot = session(leverage=4.0, taker_bps=10.0, instruments=(instrument(kind="spot", shortable=True),))
    assert outlay(linear.tape, linear.state, 0, 1, 3, 100.0, 0.01, False) == 7_500 + 30 + 300
    assert outlay(spot.tape, spot.state, 0, 1, 3, 100.0, 0.01, False) == 30_000 + 30 + 300
    assert outlay(spot.tape, spot.state, 0, -1, 3, 100.0, 0.01, False) == 7_500 + 30 + 300


@pytest.mark.parametrize(("limit", "lots"), [(0, 0), (10_009, 0), (10_010, 1), (50_049, 4), (50_050, 5), (10**9, 5), (-1, 0)])
def test_the_most_lots_whose_outlay_fits(limit: int, lots: int) -> None:  # R5.2
    run = session(taker_bps=10.0)  # 100.10 a lot
    assert most_lots(run.tape, run.state, 0, 1, limit, 5, 100.0, 0.0, 1, False) == lots


def test_the_most_lots_come_in_steps_however_many_are_asked_for() -> None:  # R5.2 R2.7
    run, step = session(taker_bps=10.0), np.int64(2**11)  # 100.10 a lot
    asked = np.int64(2**53)
    for steps in (0, 1, 2, 3):
        assert most_lots(run.tape, run.state, 0, 1, steps * 2**11 * 10_010, asked, 100.0, 0.0, step, False) == steps * step
        assert most_lots(run.tape, run.state, 0, 1, (steps + 1) * 2**11 * 10_010 - 1, asked, 100.0, 0.0, step, False) == steps * step


@pytest.mark.parametrize(("limit", "lots"), [(-1, 0), (0, 0), (9_999, 0), (10_000, 1), (49_999, 4), (50_000, 5), (10**9, 5)])
def test_the_most_lots_of_a_value(limit: int, lots: int) -> None:  # R5.2
    run = session()
    assert most_lots_of_value(run.tape, run.state, 0, limit, 5, 100.0, 1) == lots


@pytest.mark.parametrize(("limit", "lots"), [(-1, 0), (10_009, 0), (10_010, 1), (100_099, 9), (100_100, 10), (777_777_777, 77_700)])
def test_all_in_takes_the_most_lots(limit: int, lots: int) -> None:  # R5.1
    run = session(taker_bps=10.0)
    assert all_in_lots(run.tape, run.state, 0, 1, limit, 100.0, 0.0, 1, False) == lots


@pytest.mark.parametrize(
    ("price", "limit", "lots"),
    [
        (1 / 1024, 1, 15),  # 0.0977 cents apiece: eight cost a cent and fifteen too, which are 1.46; sixteen are 1.56 and cost two
        (1e-16, 1_000, MONEY_LIMIT),  # 90 cents for as many as are counted
    ],
)
def test_all_in_takes_the_most_lots_of_next_to_no_price(price: float, limit: int, lots: int) -> None:  # R5.1 R6.3
    run = session()
    assert all_in_lots(run.tape, run.state, 0, 1, limit, price, 0.0, 1, False) == lots


def test_a_day_ends_at_the_first_midnight_at_or_after() -> None:  # R5.3
    assert [int(day_end(ts)) // DAY_US for ts in (-DAY_US - 1, -1, 0, 1, DAY_US, DAY_US + 1)] == [-1, 0, 0, 1, 1, 2]


def test_entries_are_blocked_until_the_halt_ends() -> None:  # R5.3
    run = session()
    watch = run.state.watches[0]
    assert not halted(watch, at(1))
    watch["day_halt_until"] = at(2)
    assert halted(watch, at(2) - 1) and not halted(watch, at(2))
    watch["day_halt_until"], watch["resume_at"] = -NEVER, at(3)
    assert halted(watch, at(3) - 1) and not halted(watch, at(3))
    watch["resume_at"] = NEVER
    assert halted(watch, at(10**6))
    watch["resume_at"] = NONE
    assert not halted(watch, 0)


def test_ranking_is_by_score_and_then_by_place() -> None:  # R4.2
    scores = np.random.default_rng(4).integers(-3, 4, 1500).astype(float)  # more than the widest gap of the sort, full of ties
    scores[scores == 1.0] = 0.0
    scores[::7] *= -0.0  # equal to 0.0
    names = [f"S{i:04}" for i in range(1500)]
    dataset = market({name: [FLAT] * 2 for name in names})
    instruments = tuple(instrument(name) for name in names)
    rows = table(*(propose(1, symbol=name, score=float(score)) for name, score in zip(names, scores, strict=True)))
    run = Session(dataset, rows, replace(settings(2), instruments=instruments))
    run.state.ranked[:], run.state.keys[:] = np.arange(1500), scores
    sort_by_rank(run.state, 0, 1500)
    assert run.state.ranked.tolist() == sorted(range(1500), key=lambda i: (-scores[i], i))


def test_free_slots_are_what_positions_and_pending_entries_leave() -> None:  # R4.2 R4.4
    run = session(max_positions=3)
    account = run.state.account[0]
    account["n_held"], account["n_queue"], account["n_exits"] = 1, 1, 1
    assert free_slots(run.state) == 1
    run.state.rules[0]["reuse_pending_exit"] = 1
    assert free_slots(run.state) == 2
    run.state.rules[0]["max_positions"] = 0
    assert free_slots(run.state) == 0
