"""Level with the peers: every reference case is equal, or different for a reason that is written down."""

import os
from pathlib import Path

import pytest

from tests.parity import backtesting_py, freqtrade, vectorbt
from tests.parity.report import FREQTRADE, VECTORBT, page

DATA = os.environ.get("TAPELINE_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="TAPELINE_DATA is not set")
FOLDER = Path(DATA or ".") / "conformance"
PAGE = Path(__file__).parents[2] / "docs" / "parity.md"


def test_vectorbt_scenarios_are_equal_or_differ_for_a_named_reason() -> None:
    found = {
        name: vectorbt.difference(vectorbt.run(signals, params), theirs) for name, signals, params, theirs in vectorbt.scenarios(FOLDER)
    }
    assert len(found) == 12
    assert {name for name, difference in found.items() if difference} == set(VECTORBT)


def test_trades_of_backtesting_py_are_equal() -> None:
    candles, open_ts, theirs, equity = backtesting_py.reference(FOLDER)
    up, down = backtesting_py.sma_cross(candles["close"], 10, 20)
    trades, final = backtesting_py.run(candles, open_ts, up, down, {"fees": {"bps": 20}}, 10_000.0)
    assert len(theirs) == 93
    assert backtesting_py.difference(trades, theirs) == ""
    assert final == pytest.approx(equity, abs=1e-6)


def test_freqtrade_cases_are_equal_or_differ_for_a_named_reason() -> None:
    cases = freqtrade.cases(FOLDER)
    assert len(cases) == 40
    assert {case.name for case in cases if not freqtrade.equal(freqtrade.run(case), case.expected)} == set(FREQTRADE)


def test_the_page_is_what_the_command_writes() -> None:
    assert PAGE.read_text() == page(FOLDER)
