"""Figures of a run, against empyrical and by hand."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.schema import DAY_US
from pipeline.metrics import Account, daily_equity, daily_returns, drawdown, growth, metrics, ratios, time_in_market
from pipeline.trades import TRADE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import empyrical

SCALE = 1_000_000.0
moves = st.lists(st.floats(-0.2, 0.25), min_size=3, max_size=200).filter(lambda values: np.std(values) > 1e-6)


@pytest.mark.parametrize("periods", [252, 365])
@given(moves)
@settings(max_examples=60, deadline=None)
def test_ratios_equal_empyrical(periods: int, returns: list[float]) -> None:  # R6.6
    values = np.array(returns)
    found = ratios(values, periods)
    assert found.sharpe == pytest.approx(empyrical.sharpe_ratio(values, annualization=periods), rel=1e-9)
    assert found.volatility == pytest.approx(empyrical.annual_volatility(values, annualization=periods), rel=1e-9)
    assert found.cagr == pytest.approx(empyrical.annual_return(values, annualization=periods), rel=1e-9)
    if (values < -1e-6).any():
        assert found.sortino == pytest.approx(empyrical.sortino_ratio(values, annualization=periods), rel=1e-9)


@given(moves)
@settings(max_examples=60, deadline=None)
def test_maximum_drawdown_equals_empyrical(returns: list[float]) -> None:
    equity = np.rint(np.cumprod(1.0 + np.array(returns)) * 1e12).astype(np.int64)
    deepest, _ = drawdown(equity, np.arange(len(equity), dtype=np.int64), 10**12, 0)
    assert -deepest == pytest.approx(empyrical.max_drawdown(np.array(returns)), abs=1e-9)


def test_calmar_is_growth_over_drawdown() -> None:
    equity = np.array([110, 99, 120], np.int64) * 10**6
    ts = np.arange(1, 4, dtype=np.int64) * DAY_US
    found = metrics(np.zeros(0, TRADE), ts, equity, Account(10**8, int(equity[-1]), SCALE, 0, 3 * DAY_US), False, 0.0, 0)
    assert found.cagr is not None
    assert found.calmar == pytest.approx(found.cagr / 0.1)


def test_growth_of_a_year_agrees_with_the_return_of_the_run() -> None:
    ts = np.array([DAY_US, 2 * DAY_US], np.int64)
    found = metrics(np.zeros(0, TRADE), ts, np.array([110, 120], np.int64), Account(100, 119, 1.0, 0, 2 * DAY_US), False, 0.0, 0)
    assert found.total_return == pytest.approx(0.19)
    assert found.cagr == pytest.approx(1.19 ** (365 / 2) - 1)


@pytest.mark.parametrize(("factor", "periods"), [(1e300, 1), (1.0, 0)])
def test_growth_that_no_float_holds_is_none(factor: float, periods: int) -> None:
    assert growth(factor, periods, 365) is None


def test_a_close_at_midnight_belongs_to_the_day_that_ends() -> None:  # R5.3
    ts = np.array([DAY_US - 1, DAY_US, DAY_US + 1], np.int64)
    assert daily_equity(ts, np.array([1, 2, 3]), 9, carry=True).tolist() == [9, 2, 3]


def test_ruin_gives_returns_without_nan() -> None:
    assert daily_returns(np.array([100, 0, 0, -5])).tolist() == [-1.0, 0.0, 0.0]


@pytest.mark.parametrize("returns", [[], [0.01], [0.01, 0.01, 0.01], [0.0, 0.0]])
def test_a_ratio_that_does_not_exist_is_none(returns: list[float]) -> None:
    assert ratios(np.array(returns), 365).sharpe is None


def test_the_first_peak_is_the_initial_equity() -> None:  # R5.3
    deepest, longest = drawdown(np.array([90, 95], np.int64), np.array([10, 20], np.int64), 100, 5)
    assert deepest == pytest.approx(0.1)
    assert longest == 15


def test_time_in_market_counts_overlapping_trades_once() -> None:
    trades = np.zeros(3, TRADE)
    trades["entry_ts"], trades["exit_ts"] = [0, 10, 60], [50, 20, 70]
    assert time_in_market(trades, 0, 100) == pytest.approx(0.6)


def test_no_trades_and_no_samples_give_figures() -> None:
    none = np.zeros(0, np.int64)
    found = metrics(np.zeros(0, TRADE), none, none, Account(100, 100, 1.0, 0, 0), False, 0.0, 0)
    assert found.total_return == 0.0
    assert found.win_rate is None
    assert found.profit_factor is None
