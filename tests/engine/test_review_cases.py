"""Cases that random markets do not reach, each by hand, in both replays."""

from typing import Any

import pytest

from engine.dataset import Dataset, DatasetError, from_columns
from engine.driver import no_price
from engine.instrument import Decimals, Instrument
from engine.schema import Action, Reason, RecordKind, SizeKind
from engine.session import ReplayError, replay
from engine.settings import Conversion, StrategySettings
from tests.differential import agreed_replay, kernel_run, oracle_run, outcome_of
from tests.markets import Case
from tests.oracle.examples import FLAT, HOUR, LONG, SHORT, at, instrument, market, of_kind, propose, settings, table


def two_clocks() -> Dataset:
    """A: hourly for ten hours; B: half-hourly for two."""

    def bars(count: int, step: float) -> dict[str, Any]:
        times = [at(step * i) for i in range(count + 1)]
        prices = dict.fromkeys(("open", "high", "low", "close"), [100.0] * count)
        return {"open_ts": times[:-1], "ts": times[1:], **prices, "volume": [1.0] * count}

    return from_columns({"bars": {("A", "1h", HOUR): bars(10, 1.0), ("B", "30m", HOUR // 2): bars(4, 0.5)}})


def test_a_run_does_not_end_with_the_symbol_of_the_shortest_interval() -> None:  # R5.3, R8.6
    result = agreed_replay(two_clocks(), table(propose(1)), settings(10, symbols="AB"))
    assert result.sample_ts == [at(hour) for hour in (0.5, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9, 10)]
    assert result.records[-1]["ts"] == at(10)


def test_a_symbol_without_bars_in_the_period_does_not_keep_the_others_from_trading() -> None:  # R8.6
    result = agreed_replay(two_clocks(), table(propose(5)), settings(10, symbols="AB", start_us=at(4)))
    assert len(of_kind(result, RecordKind.FILL)) == 2


def test_a_stop_just_one_tick_away_is_far_enough() -> None:  # R5.1, R6.3
    risk = (StrategySettings("s", size=SizeKind.FIXED_RISK, amount=0.01),)
    candle = (100.1, 100.1, 100.1, 100.1)
    result = agreed_replay(market({"A": [candle] * 4}), table(propose(1, stop_loss=100.0)), settings(4, strategies=risk))
    assert all(record["reason"] != Reason.BAD_STOP for record in result.records)
    assert of_kind(result, RecordKind.FILL)


def test_an_entry_of_just_the_smallest_notional_is_allowed() -> None:  # R2.7
    one = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=1.16),)
    spec = Instrument("A", tick=Decimals(1, 10), lot=Decimals(1, 100), min_notional=29.0)
    candle = (25.0, 25.0, 25.0, 25.0)
    result = agreed_replay(market({"A": [candle] * 4}), table(propose(1)), settings(4, strategies=one, instruments=(spec,)))
    assert len(of_kind(result, RecordKind.FILL)) == 2


def test_a_tick_coarser_than_the_prices_stops_the_run() -> None:  # R2.5
    candle = (0.04, 0.04, 0.04, 0.04)
    with pytest.raises(ReplayError, match="its tick is coarser than its prices"):
        replay(market({"A": [candle] * 4}), table(propose(1)), settings(4))


def test_a_second_delisting_in_a_run_is_refused() -> None:  # R8.4
    twice = {"A": {"ts": [at(2), at(4)], "kind": [2, 2], "value": [0.0, 0.0], "num": [0, 0], "den": [0, 0]}}
    with pytest.raises(DatasetError, match="delisted twice inside the run"):
        replay(market({"A": [FLAT] * 6}, actions=twice), table(propose(1)), settings(6))


def test_equity_that_float64_cannot_hold_is_an_overflow() -> None:  # R6.3
    large = {"decimals": 9, "cash": int(0.9 * 2**53), "leverage": 1.0, "instruments": (instrument("A", lot=Decimals(1, 1000)),)}
    sized = {"strategies": (StrategySettings("s", size=SizeKind.FIXED_FRACTION, amount=0.2),)}
    up = [FLAT, FLAT, (100, 300, 100, 300), (300, 300, 100, 100), FLAT]
    with pytest.raises(ReplayError, match="overflows"):
        replay(market({"A": up}), table(propose(1)), settings(5, **large, **sized))


@pytest.mark.parametrize(("price", "fits"), [(199.0, True), (200.0, False)])
def test_equity_at_the_limit_is_an_overflow_and_one_unit_below_it_is_not(price: float, fits: bool) -> None:  # R6.3
    # one unit bought at 100 with 100 less than 2**53: at 199 equity is 2**53 - 1, at 200 it is 2**53
    one = {"decimals": 0, "cash": 2**53 - 100, "strategies": (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=1.0),)}
    case = Case(market({"A": [FLAT, (100, price, 100, price), FLAT]}), table(propose(1)), settings(3, **one))
    found = outcome_of(kernel_run, case)
    assert found == outcome_of(oracle_run, case)
    assert found.get("equity") == ([2**53 - 100, 2**53 - 1, 2**53 - 100] if fits else None)
    assert found.get("error") == (None if fits else "overflow")


@pytest.mark.parametrize(("price", "fits"), [(2.0**33 - 1, True), (2.0**33, False)])
def test_a_margined_value_at_the_limit_is_an_overflow_however_small_its_profit(price: float, fits: bool) -> None:  # R6.3, R6.4
    # 2**20 contracts at a mark of 2**33 yen are worth 2**53, of which an account in dollars holds the profit at 2**-10 alone
    yen = instrument("A", kind="linear_perp", quote="JPY", lot=Decimals(1, 1), tick=Decimals(1, 1))
    one = {"decimals": 0, "cash": 2**50, "leverage": 1.0, "strategies": (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=2.0**20),)}
    begun = (2.0**32,) * 4
    path = [begun, begun, (2.0**32, price, 2.0**32, price), begun]
    data = market({"A": path, "R": [(2.0**-10,) * 4] * 4})
    chosen = settings(4, instruments=(yen,), conversions=(Conversion("JPY", "R"),), **one)
    case = Case(data, table(propose(1)), chosen)
    found = outcome_of(kernel_run, case)
    assert found == outcome_of(oracle_run, case)
    assert found.get("equity") == ([2**50, 2**50, 2**50 + 2**42 - 2**10, 2**50] if fits else None)
    assert found.get("error") == (None if fits else "overflow")


@pytest.mark.parametrize("side", [LONG, SHORT])
@pytest.mark.parametrize("at_end", [True, False])
def test_a_fill_that_the_tick_leaves_no_price_stops_the_run(side: Action, at_end: bool) -> None:  # R2.7
    # a price of 30 on a tick of 100 is 0 for whoever sells there, and 100 for whoever buys
    cheap = (30.0, 30.0, 30.0, 30.0)
    bars = market({"A": [FLAT, FLAT, FLAT, cheap, cheap, cheap]})
    coarse = instrument("A", kind="linear_perp", tick=Decimals(100, 1))
    rows = [propose(1, side), *([] if at_end else [propose(3, Action.EXIT)])]
    case = Case(bars, table(*rows), settings(6, instruments=(coarse,), leverage=10.0))
    found = outcome_of(kernel_run, case)
    assert found == outcome_of(oracle_run, case)
    assert found.get("error") == (None if side == SHORT else no_price("A"))
