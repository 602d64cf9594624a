"""Splits and dividends on examples worked by hand, each replayed by the kernel and by the oracle; and the same worlds told otherwise."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset import Dataset
from engine.instrument import Decimals
from engine.ledger import Ledger, LedgerError, ledger_header
from engine.schema import LevelKind, Reason, RecordKind, SizeKind, Slippage, StopAnchor, Timing
from engine.session import ReplayResult, Session
from engine.settings import StrategySettings
from engine.verify import verify_ledger
from tests.differential import agreed_replay
from tests.oracle.examples import FLAT, MIDNIGHT, SHORT, Candles, Row, at, fills, instrument, market, of_kind, propose, settings, table
from tests.oracle.replay import OracleResult

SPOT = {"kind": "equity", "shortable": True, "sessions": False}


def split(hour: float, num: int, den: int) -> Row:
    return {"ts": at(hour), "kind": 0, "value": 0.0, "num": num, "den": den}


def dividend(hour: float, amount: float) -> Row:
    return {"ts": at(hour), "kind": 1, "value": amount, "num": 0, "den": 0}


def delisting(hour: float) -> Row:
    return {"ts": at(hour), "kind": 2, "value": 0.0, "num": 0, "den": 0}


def with_actions(candles: Candles, *actions: Row, **others: Candles) -> Dataset:
    rows = {name: [action[name] for action in actions] for name in ("ts", "kind", "value", "num", "den")}
    return market({"A": candles, **others}, **({"actions": {"A": rows}} if actions else {}))


def flat(price: float) -> tuple[float, float, float, float]:
    return (price, price, price, price)


def replayed(candles: Candles, actions: list[Row], *proposals: Row, spec: dict[str, Any] | None = None, **changes: Any) -> OracleResult:
    """Three units of A, hourly bars, no costs."""
    chosen = {"instruments": (instrument(**(spec or {})),)} | changes
    return agreed_replay(with_actions(candles, *actions), table(*proposals), settings(len(candles), **chosen))


def values(result: OracleResult, kind: RecordKind, *names: str) -> list[tuple[Any, ...]]:
    """Hour and some fields of each record of a kind."""
    return [((record["ts"] - MIDNIGHT) / 3.6e9, *(record[name] for name in names)) for record in of_kind(result, kind)]


@pytest.mark.parametrize("spec", [{}, SPOT])
@pytest.mark.parametrize("side", [0, 1])
def test_a_split_doubles_the_lots_and_halves_the_price(spec: dict[str, Any], side: int) -> None:  # R8.1
    result = replayed([FLAT, FLAT, flat(50), flat(55)], [split(2, 2, 1)], propose(1, side), spec=spec)
    sign = 1 - 2 * side
    assert values(result, RecordKind.SPLIT, "qty", "position", "price", "value") == [(2, 6, sign * 6, 50.0, 2.0)]
    assert not of_kind(result, RecordKind.CASH_IN_LIEU)
    assert result.equity == [100_000, 100_000, 100_000, 100_000 + sign * 6 * 500]
    assert of_kind(result, RecordKind.FILL)[1]["qty"] == 6


@pytest.mark.parametrize("spec", [{}, SPOT])
def test_what_a_split_leaves_of_a_lot_is_paid_at_the_last_close(spec: dict[str, Any]) -> None:
    # R8.1: 3 lots at 3:2 are 4 and a half; half a lot at 66.67 is 33.33, which has cost 300 / 9 = 33.33
    result = replayed([FLAT, FLAT, flat(66), flat(66)], [split(2, 3, 2)], propose(1), spec=spec, taker_bps=10.0)
    assert values(result, RecordKind.SPLIT, "qty", "value") == [(2, 4, 1.5)]
    amount = 3333 if spec else 0
    assert values(result, RecordKind.CASH_IN_LIEU, "qty", "value", "amount", "fee", "side") == [(2, 1, 2.0, amount, 0, -1)]
    assert of_kind(result, RecordKind.CASH_IN_LIEU)[0]["price"] == 100.0 * 2 / 3
    assert fills(result)[-1] == (4, 66.0, "RUN_ENDED")
    assert result.final_equity == 100_000 + 4 * 6600 + 3333 - 30_000 - 30 - 26


@pytest.mark.parametrize(("num", "den"), [(1, 10), (1, 8)])
def test_a_reverse_split_may_leave_no_lot_at_all(num: int, den: int) -> None:
    # R8.1: three lots are less than a new one; all of them are paid, and the exit that was pending has nothing to close
    candles = [FLAT, FLAT, (100, 120, 100, 120), flat(1200), flat(1200)]
    result = replayed(candles, [split(3, num, den)], propose(1), propose(2.5, 2), latency_us=3_600_000_000)
    assert values(result, RecordKind.SPLIT, "qty", "position") == [(3, 0, 0)]
    assert values(result, RecordKind.CASH_IN_LIEU, "qty", "amount", "price") == [(3, 3, 6000, 120.0 * den)]
    ended = of_kind(result, RecordKind.CANCELLED)
    assert [(record["qty"], Reason(record["reason"]).name) for record in ended] == [(3, "POSITION_CLOSED")]
    assert result.final_equity == 106_000


@pytest.mark.parametrize(
    ("levels", "last", "expected"),
    [
        ({"stop_loss": 95.1}, (50, 50, 47, 47), (47.5, "STOP_LOSS")),  # 47.55 on the tick, away from the market
        ({"take_profit": 110.1}, (50, 56, 50, 56), (55.1, "TAKE_PROFIT")),  # 55.05 on the passive side
        ({"trailing": 5.0}, (50, 50, 47, 47), (47.5, "TRAILING_STOP")),
        ({"trailing": 5.0}, (47, 48, 47, 47), (47.0, "TRAILING_STOP")),
    ],
)
def test_levels_follow_a_split(levels: dict[str, float], last: tuple[float, ...], expected: tuple[float, str]) -> None:  # R8.1
    result = replayed([FLAT, FLAT, flat(50), last], [split(2, 2, 1)], propose(1, **levels))
    assert fills(result)[1][1:] == expected


def test_the_extreme_and_the_distance_of_a_trailing_stop_follow_a_split() -> None:
    # R3.5 R8.1: 110 before the split is 55 after it, 5 is 2.5; the bar after it goes to 56, so the stop is 53.5
    candles = [FLAT, (100, 110, 100, 108), (54, 56, 54, 55), (54, 54, 53, 53)]
    assert fills(replayed(candles, [split(2, 2, 1)], propose(1, trailing=5.0)))[1] == (4, 53.5, "TRAILING_STOP")


def test_the_extreme_of_a_short_follows_a_split() -> None:
    # R3.5 R8.1: 90 before the split is 45 after it, so the stop is 47.5
    candles = [FLAT, (100, 100, 90, 92), (46, 47.5, 46, 46), flat(46)]
    assert fills(replayed(candles, [split(2, 2, 1)], propose(1, SHORT, trailing=5.0)))[1] == (3, 47.5, "TRAILING_STOP")


def test_the_break_even_level_follows_a_split() -> None:
    # R3.5 R8.1: 8 above the fill is 4 above 50; the bar that reaches 54 puts the stop at 50
    candles = [FLAT, FLAT, (50, 54, 50, 53), (53, 53, 49, 49)]
    assert fills(replayed(candles, [split(2, 2, 1)], propose(1, break_even=8.0)))[1] == (4, 50.0, "BREAK_EVEN")


def test_an_anchor_from_before_a_split_is_of_the_new_shares() -> None:
    # R2.1 R8.1: 5 % below the close of 100 that decided is 47.5 of the new shares, whatever the fill
    levels = {"stop_loss": 0.05, "stop_loss_kind": LevelKind.FRACTION}
    candles = [FLAT, FLAT, flat(60), flat(60), (60, 60, 44, 44)]
    options = {"latency_us": 5_400_000_000, "stop_anchor": StopAnchor.ENTRY_CLOSE}
    assert fills(replayed(candles, [split(2, 2, 1)], propose(1, **levels), **options))[1] == (5, 47.5, "STOP_LOSS")


def test_an_anchor_at_the_instant_of_a_split_is_of_the_new_shares() -> None:
    # R2.1 R8.1: decided at the close of 100 and filled at 60 after the split: 5 % below 50 is 47.5
    levels = {"stop_loss": 0.05, "stop_loss_kind": LevelKind.FRACTION}
    candles = [FLAT, flat(60), (60, 60, 44, 44)]
    found = fills(replayed(candles, [split(1, 2, 1)], propose(1, **levels), stop_anchor=StopAnchor.ENTRY_CLOSE))
    assert found == [(1, 60.0, "FILLED"), (3, 47.5, "STOP_LOSS")]


def test_the_last_volume_is_in_units_of_the_new_shares() -> None:
    # R2.6 R8.1: the one unit of the last bar is 12 after the split, of which 0.36 is 3 %: slippage is ten times its square
    impact = {"slippage": Slippage.VOLUME_SHARE, "slippage_amount": 10.0, "slippage_limit": 1.0}
    candles = [(1200, 1200, 1200, 1200)] * 2 + [flat(100)]
    found = agreed_replay(
        with_actions(candles, split(2, 12, 1)),
        table(propose(2)),
        settings(
            3,
            cash=10**6,
            instruments=(instrument(lot=Decimals(1, 100)),),
            strategies=(StrategySettings("s", size=SizeKind.FIXED_QTY, amount=0.03),),
            finalize_close=False,
            **impact,
        ),
    )
    assert fills(found) == [(2, 100.9, "FILLED")]


def test_a_pending_entry_and_the_prices_of_its_proposal_follow_a_split() -> None:
    # R8.1: decided at 1, split at 2, filled at 3: six lots at 50, whose stop of 90 is one of 45
    candles = [FLAT, FLAT, flat(50), flat(50), (50, 50, 44, 44)]
    result = replayed(candles, [split(2, 2, 1)], propose(1, stop_loss=90.0), latency_us=5_400_000_000)
    assert values(result, RecordKind.SPLIT, "order_id", "qty", "position", "side") == [(2, 1, 6, 0, 1)]
    assert fills(result) == [(3, 50.0, "FILLED"), (5, 45.0, "STOP_LOSS")]
    assert of_kind(result, RecordKind.FILL)[0]["qty"] == 6


def test_a_pending_entry_that_is_less_than_a_lot_ends() -> None:  # R8.1
    result = replayed([FLAT] * 2 + [flat(1000)] * 3, [split(2, 1, 10)], propose(1), latency_us=5_400_000_000)
    assert [(one["qty"], Reason(one["reason"]).name) for one in of_kind(result, RecordKind.CANCELLED)] == [(3, "BELOW_MIN_QTY")]
    assert result.final_equity == 100_000


def test_a_proposal_that_is_known_after_the_split_has_prices_of_before() -> None:
    # R8.1: decided at 1 for 90, known at 3: 45; the size risks 5 a unit of the last close
    risk = (StrategySettings("s", size=SizeKind.FIXED_RISK, amount=0.01),)
    late = propose(1, stop_loss=90.0, available_ts=at(3))
    result = replayed([FLAT, FLAT, flat(50), flat(50), (50, 50, 44, 44)], [split(2, 2, 1)], late, strategies=risk)
    assert values(result, RecordKind.APPROVED, "qty", "price") == [(3, 2, 50.0)]
    assert fills(result)[1] == (5, 45.0, "STOP_LOSS")


def test_a_reference_from_before_a_split_is_of_the_new_shares() -> None:
    # R5.1 R8.1: no bar since the split; an amount of 300 buys 6 at 50
    amount = (StrategySettings("s", size=SizeKind.FIXED_NOTIONAL, amount=300.0),)
    result = replayed([FLAT, FLAT, flat(50)], [split(1.5, 2, 1)], propose(1.6), strategies=amount)
    assert values(result, RecordKind.APPROVED, "qty", "price") == [(1.6, 6, 50.0)]


@pytest.mark.parametrize("timing", list(Timing))
def test_an_exit_decided_at_the_instant_of_a_split_closes_what_it_made(timing: Timing) -> None:
    # R1.2 R2.3: the decision comes before the split, an open or a later close after it
    result = replayed([FLAT, FLAT, FLAT, flat(50), flat(50)], [split(3, 2, 1)], propose(1), propose(3, 2), timing=timing)
    expected = {Timing.NEXT_OPEN: (3, 50.0, 6), Timing.CLOSE: (3, 100.0, 3), Timing.NEXT_CLOSE: (4, 50.0, 6)}[timing]
    assert values(result, RecordKind.FILL, "price", "qty")[-1] == expected
    assert result.final_equity == 100_000


def test_a_long_is_paid_a_dividend_and_a_short_pays_it() -> None:  # R8.2
    long = replayed([FLAT] * 4, [dividend(2, 0.5)], propose(1), spec=SPOT)
    assert values(long, RecordKind.DIVIDEND, "qty", "price", "amount", "position") == [(2, 3, 0.5, 150, 3)]
    assert (long.final_equity, long.equity) == (100_150, [100_000, 100_000, 100_150, 100_150])
    assert replayed([FLAT] * 4, [dividend(2, 0.5)], propose(1, SHORT), spec=SPOT).final_equity == 99_850


def test_a_dividend_goes_to_who_held_before_the_open() -> None:  # R1.2 R8.2
    assert not of_kind(replayed([FLAT] * 4, [dividend(2, 0.5)], propose(2)), RecordKind.DIVIDEND)
    assert of_kind(replayed([FLAT] * 4, [dividend(2, 0.5)], propose(1), propose(2, 2)), RecordKind.DIVIDEND)
    assert not of_kind(replayed([FLAT] * 4, [dividend(2, 0.5)], propose(1), propose(2, 2), timing=Timing.CLOSE), RecordKind.DIVIDEND)


@pytest.mark.parametrize(("actions", "amount"), [((split(2, 2, 1), dividend(2, 0.5)), 300), ((dividend(2, 0.5), split(2, 2, 1)), 150)])
def test_actions_of_one_instant_follow_each_other_in_the_order_of_their_rows(actions: tuple[Row, ...], amount: int) -> None:  # R1.1
    result = replayed([FLAT, FLAT, flat(50), flat(50)], list(actions), propose(1))
    assert values(result, RecordKind.DIVIDEND, "amount") == [(2, amount)]


@pytest.mark.parametrize(
    ("actions", "price", "lots"), [((split(2, 2, 1), delisting(2)), 50.0, 6), ((delisting(2), split(2, 2, 1)), 100.0, 3)]
)
def test_a_delisting_beside_a_split_closes_at_the_close_of_its_place(actions: tuple[Row, ...], price: float, lots: int) -> None:
    # R1.1 R8.4
    dataset = with_actions([FLAT, FLAT], *actions, B=[FLAT] * 4)
    result = agreed_replay(dataset, table(propose(1)), settings(4, symbols="AB"))
    assert [(one["price"], one["qty"]) for one in of_kind(result, RecordKind.FILL)[1:]] == [(price, lots)]
    assert result.final_equity == 100_000


@pytest.mark.parametrize("finalize", [True, False])
def test_positions_without_a_bar_after_the_split_are_worth_what_they_were(finalize: bool) -> None:
    # R6.5 R8.1 R8.4: A ends at 2 and is split at 3; B goes on
    dataset = with_actions([FLAT, FLAT], split(3, 7, 1), B=[FLAT] * 5)
    result = agreed_replay(dataset, table(propose(1)), settings(5, symbols="AB", finalize_close=finalize))
    assert values(result, RecordKind.FILL, "price", "qty")[-1] == (5, 14.2, 21)  # 100 / 7 on the tick, against the order
    assert result.equity == [100_000] * 5


def test_funding_without_a_mark_is_on_the_last_close_in_the_new_shares() -> None:  # R7.1 R8.1
    others = {"funding": {"A": {"ts": [at(2.6)], "rate": [0.01], "mark": [math.nan]}}}
    rows = {name: [value] for name, value in split(2.5, 2, 1).items()}
    dataset = market({"A": [FLAT, FLAT, flat(50), flat(50)]}, actions={"A": rows}, **others)
    result = agreed_replay(dataset, table(propose(1)), settings(4))
    assert values(result, RecordKind.FUNDING, "price", "qty", "amount") == [(2.6, 50.0, 6, -300)]


def test_ruin_after_a_split_closes_at_the_close_of_the_new_shares() -> None:
    # R7.4: another symbol's close finds equity gone; A closes at its last close, restated
    dataset = with_actions([FLAT, FLAT, flat(52)], split(2.2, 2, 1), B=[FLAT, FLAT, flat(10), flat(10)])
    sizes = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=20.0),)
    chosen = settings(4, symbols="AB", strategies=sizes, leverage=10.0)
    result = agreed_replay(dataset, table(propose(1), propose(1, symbol="B")), chosen)
    assert [Reason(one["reason"]).name for one in of_kind(result, RecordKind.FILL)[2:]] == ["LIQUIDATED_AT_CLOSE"] * 2


def test_the_verifier_follows_splits_and_notices_what_does_not_follow() -> None:  # R6.4 R11
    dataset = with_actions([FLAT, FLAT, flat(66), flat(66)], split(2, 3, 2), dividend(3, 0.7))
    found = Session(dataset, table(propose(1)), settings(4, instruments=(instrument(**SPOT),))).run()
    totals = verify_ledger(as_ledger(found))
    assert (totals.cash, totals.dividends, totals.cash_in_lieu) == (found.final_equity, 280, 0)
    for kind, name in [
        (RecordKind.SPLIT, "qty"),
        (RecordKind.SPLIT, "value"),
        (RecordKind.SPLIT, "position"),
        (RecordKind.CASH_IN_LIEU, "qty"),
        (RecordKind.CASH_IN_LIEU, "amount"),
        (RecordKind.CASH_IN_LIEU, "price"),
        (RecordKind.DIVIDEND, "amount"),
        (RecordKind.DIVIDEND, "qty"),
    ]:
        changed = found.records.copy()
        changed[name][np.flatnonzero(changed["kind"] == kind)[0]] += 1
        with pytest.raises(LedgerError, match=r"record \d+: "):
            verify_ledger(as_ledger(found, changed))
    dropped = found.records.copy()
    dropped["kind"][np.flatnonzero(dropped["kind"] == RecordKind.CASH_IN_LIEU)[0]] = RecordKind.RISK_ALERT
    with pytest.raises(LedgerError, match="leaves part of a lot, and no CASH_IN_LIEU follows"):
        verify_ledger(as_ledger(found, dropped))


def as_ledger(result: ReplayResult, records: np.ndarray[Any, Any] | None = None) -> Ledger:
    return Ledger(result.records if records is None else records, result.symbols, result.strategies, ledger_header(result))


Walk = list[tuple[float, float, float, float]]


def walk(rng: np.random.Generator, bars: int) -> Walk:
    """Candles whose prices are even numbers of ticks, so that half of them are whole."""
    close, found = 500, []
    for _ in range(bars):
        opened, close = close, int(np.clip(close + rng.integers(-9, 10), 100, 900))
        high, low = max(opened, close) + int(rng.integers(0, 6)), min(opened, close) - int(rng.integers(0, 6))
        found.append(tuple(price / 5 for price in (opened, high, low, close)))
    return found  # type: ignore[return-value]


def scaled(candles: Walk, factor: float) -> Walk:
    return [tuple(price * factor for price in candle) for candle in candles]  # type: ignore[misc]


@given(st.integers(0, 2**32 - 1))
def test_a_split_is_the_same_as_data_that_had_it_from_the_start(seed: int) -> None:
    # R8.1: twice the lots at half the price, before the split as after it
    rng = np.random.default_rng(seed)
    bars, at_bar, latency = 30, int(rng.integers(2, 28)), int(rng.choice([0, 3_600_000_000]))
    candles, rows, halved = walk(rng, bars), [], []
    for hour in rng.integers(1, at_bar + 1, 6).tolist():
        side = int(rng.integers(0, 2))
        close, sign = candles[hour - 1][3], 1 - 2 * side
        levels = {"stop_loss": close - sign * 9.0, "take_profit": close + sign * 12.0, "trailing": 8.0}
        chosen = {name: level for name, level in levels.items() if rng.random() < 0.6}
        known = {"available_ts": at(hour + int(rng.choice([0, 0, 3])))}
        rows.append(propose(hour, side, **known, **chosen))
        halved.append(propose(hour, side, **known, **{name: level / 2 for name, level in chosen.items()}))
    exits = [propose(hour, 2) for hour in rng.integers(1, bars, 2).tolist()]
    raw = candles[:at_bar] + scaled(candles[at_bar:], 0.5)
    rows = [row for row in rows if row["available_ts"] <= at(at_bar)]  # an amount decided after the split would be of the new units
    halved = [row for row in halved if row["available_ts"] <= at(at_bar)]
    chosen = settings(bars, cash=10**6, latency_us=latency)
    split_run = agreed_replay(with_actions(raw, split(at_bar, 2, 1)), table(*rows, *exits), chosen)
    twice = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=6.0),)
    told = agreed_replay(
        with_actions(scaled(candles, 0.5)), table(*halved, *exits), settings(bars, cash=10**6, latency_us=latency, strategies=twice)
    )
    assert (profits(split_run), split_run.equity) == (profits(told), told.equity)


def profits(result: OracleResult) -> list[tuple[Any, ...]]:
    return values(result, RecordKind.POSITION, "amount")


@given(st.integers(0, 2**32 - 1))
def test_a_dividend_is_worth_what_is_held_times_its_amount(seed: int) -> None:
    # R8.2: with fixed quantities nothing else depends on cash
    rng = np.random.default_rng(seed)
    bars = 30
    candles = walk(rng, bars)
    rows = [propose(int(rng.integers(1, bars)), int(rng.integers(0, 4)), max_bars=int(rng.integers(0, 9))) for _ in range(8)]
    hours = sorted(rng.choice(np.arange(2, 60), 3, replace=False) / 2)
    paid = [dividend(float(hour), 0.25 * int(rng.integers(1, 9))) for hour in hours]
    chosen = settings(bars, cash=10**7)
    plain, richer = (agreed_replay(with_actions(candles, *actions), table(*rows), chosen) for actions in ([], paid))
    given_out = of_kind(richer, RecordKind.DIVIDEND)
    assert richer.final_equity - plain.final_equity == sum(round(one["position"] * one["price"] * 100) for one in given_out)
    kept = [{**record, "cash": 0, "cause": 0, "amount": 0} for record in richer.records if record["kind"] != RecordKind.DIVIDEND]
    assert kept == [{**record, "cash": 0, "cause": 0, "amount": 0} for record in plain.records]
