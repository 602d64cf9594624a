"""Equity samples and the halts that they start, worked by hand: days, drawdowns, losses in a row, cool-downs, and whose they are.  # R5.3"""

from typing import Any

import pytest

from engine.dataset import Dataset, from_columns
from engine.schema import Action, OnHeld, Reason, RecordKind, SizeKind
from engine.settings import HaltLimits, StrategySettings
from tests.differential import agreed_replay
from tests.oracle.examples import FLAT, HOUR, SHORT, Candles, Row, at, market, of_kind, propose, reasons, settings, strategy, table
from tests.oracle.replay import OracleResult

ALERT, CANCELLED, REJECTED = RecordKind.RISK_ALERT, RecordKind.CANCELLED, RecordKind.REJECTED


def flat(*closes: float) -> Candles:
    return [(close,) * 4 for close in closes]


def falling(*closes: float) -> Candles:
    """Bars that open at the close before, the first at 100."""
    before = (100.0, *closes)
    return [(one, max(one, two), min(one, two), two) for one, two in zip(before, closes, strict=False)]


def of_hours(hours: int, candles: Candles) -> dict[str, Any]:
    """Bars of so many hours from midnight."""
    times = [at(hours * bar) for bar in range(len(candles) + 1)]
    prices = dict(zip(("open", "high", "low", "close"), zip(*candles, strict=True), strict=True))
    return {"open_ts": times[:-1], "ts": times[1:], **prices, "volume": [1.0] * len(candles)}


def slow_and_fast(candles: Candles) -> Dataset:
    """A in bars of two hours, B in flat ones of an hour."""
    slow, fast = of_hours(2, candles), of_hours(1, [FLAT] * (2 * len(candles)))
    return from_columns({"bars": {("A", "2h", 2 * HOUR): slow, ("B", "1h", HOUR): fast}})


def alerts(result: OracleResult) -> list[tuple[float, str, float]]:
    """(hour, reason, value) of each alert."""
    return [((row["ts"] - at(0)) / HOUR, Reason(row["reason"]).name, row["value"]) for row in of_kind(result, ALERT)]


def halting(candles: Candles, *rows: Row, **changes: Any) -> OracleResult:
    return agreed_replay(market({"A": candles}), table(*rows), settings(len(candles), **changes))


def test_a_close_at_midnight_ends_its_day_and_is_the_base_of_the_next() -> None:  # R5.3
    # 3 lots at 100: 940 at 23:00; 898 at midnight, 10.2 % below 1000; 820 at 1:00 is 8.7 % below 898, 808 at 2:00 10.02 %
    candles = [*[FLAT] * 22, *falling(80, 66, 40, 36, 20, 20)]
    result = halting(candles, propose(1), halts=HaltLimits(daily_loss=0.1))
    assert alerts(result) == [(24, "DAILY_LOSS", 0.102), (26, "DAILY_LOSS", 90 / 898)]


@pytest.mark.parametrize(("hours", "found"), [(1, [4, 6, 8]), (2, [4, 8]), (3, [4, 8]), (4, [4])])
def test_after_a_drawdown_the_peak_is_the_first_sample_at_its_end_or_later(hours: int, found: list[float]) -> None:  # R5.3
    """880 at 4, 790 at 6, 709 at 8, each more than a tenth lower; at odd hours, when A does not close, the samples repeat the last."""
    chosen = settings(8, symbols="AB", halts=HaltLimits(drawdown=0.1, resume_after_us=hours * HOUR))
    result = agreed_replay(slow_and_fast(falling(100, 60, 30, 3)), table(propose(2)), chosen)
    assert [hour for hour, *_ in alerts(result)] == found
