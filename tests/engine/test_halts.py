"""Equity samples and the halts that they start, worked by hand: days, drawdowns, losses in a row, cool-downs, and whose they are.  # R5.3"""

from typing import Any

import pytest

from engine.dataset import Dataset, from_columns
from engine.instrument import margin_tiers
from engine.schema import Action, MarginMode, Reason, RecordKind, SizeKind
from engine.session import Session
from engine.settings import HaltLimits, StrategySettings
from tests.differential import agreed_replay
from tests.oracle.examples import (
    FLAT,
    HOUR,
    Candles,
    Row,
    at,
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

ALERT, REJECTED = RecordKind.RISK_ALERT, RecordKind.REJECTED

BOTH = (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=1.0), StrategySettings("t", size=SizeKind.FIXED_QTY, amount=1.0))


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


@pytest.mark.parametrize(("resume", "found"), [(0, [2, 3, 4]), (1, [2, 4])])
def test_a_drawdown_without_a_pause_starts_again_from_the_sample_that_breached(resume: int, found: list[float]) -> None:  # R5.3
    """880 at 2, 790 at 3, 703 at 4: with no pause the next peak is that of the alert; with an hour's it is that of 3."""
    halts = HaltLimits(drawdown=0.1, resume_after_us=resume * HOUR)
    result = halting(falling(100, 60, 30, 1), propose(1), halts=halts)
    assert [hour for hour, *_ in alerts(result)] == found


def test_a_drawdown_ends_at_its_instant_between_samples() -> None:  # R5.3
    """12 % are lost at 3, and entries refused for an hour and a half."""
    halts = HaltLimits(drawdown=0.1, resume_after_us=3 * HOUR // 2)
    rows = (propose(2), propose(4.499, strategy="t"), propose(4.5, strategy="t"))
    result = halting([FLAT, FLAT, *falling(60, 60, 60)], *rows, strategies=(strategy(SizeKind.FIXED_QTY, 3.0), BOTH[1]), halts=halts)
    assert [hour for hour, *_ in alerts(result)] == [3]
    assert reasons(result, REJECTED) == [(1, "HALTED")]


# whose


SCOPES = ("halts", "strategy_halts", "symbol_halts")


@pytest.mark.parametrize(("symbol", "name"), [(symbol, name) for symbol in "ABC" for name in "rst"])
def test_an_open_loss_halts_its_strategy_and_its_symbol(symbol: str, name: str) -> None:  # R5.3
    """Three units of 100 fall by 40 each: 12 % of 1,000.00.  What other strategies hold of other symbols does not move."""
    desks = tuple(strategy(SizeKind.TARGET_WEIGHT, 1.0, name=one) for one in "rst")
    bars = {one: [FLAT, FLAT, FLAT, *falling(60 if one == symbol else 100)] for one in "ABC"}
    rows = [propose(1, symbol=symbol, strategy=name, weight=0.3)]
    rows += [propose(1, symbol=one, strategy=other, weight=0.1) for one in "ABC" for other in "rst" if one != symbol and other != name]
    rows += [propose(4, symbol=one, strategy=other, weight=0.1) for one in "ABC" for other in "rst"]
    halts = HaltLimits(drawdown=0.1)
    changes: Row = {"strategies": desks, "leverage": 10.0, "strategy_halts": halts, "symbol_halts": halts}
    result = agreed_replay(market(bars), table(*rows), settings(4, symbols="ABC", **changes))
    found = [(row["ts"], row["symbol"], row["strategy"], row["value"]) for row in of_kind(result, ALERT)]
    assert found == [(at(4), -1, "rst".index(name), 0.12), (at(4), "ABC".index(symbol), -1, 0.12)]
    refused = [("ABC"[row["symbol"]], "rst"[row["strategy"]]) for row in of_kind(result, REJECTED) if row["reason"] == Reason.HALTED]
    assert refused == [(one, other) for one in "ABC" for other in "rst" if one == symbol or other == name]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_halt_for_a_while_ends_at_its_instant(scope: str) -> None:  # R5.3
    """A trade loses 1 by the open of 2; the sample at 3 starts a halt of two hours."""
    rows = [propose(1), propose(2, Action.EXIT), propose(4.999), propose(5)]
    halts = HaltLimits(losses=1, losses_for_us=2 * HOUR)
    result = halting(flat(100, 100, 99, 99, 99, 99, 99), *rows, strategies=BOTH, **{scope: halts})
    assert alerts(result) == [(3, "CONSECUTIVE_LOSSES", 1.0)]
    assert reasons(result, REJECTED) == [(2, "HALTED")]


@pytest.mark.parametrize("others", [{}, {"strategy_halts": HaltLimits(drawdown=1.0), "symbol_halts": HaltLimits(drawdown=1.0)}])
@pytest.mark.parametrize("scope", SCOPES)
def test_a_cool_down_ends_with_the_close_of_its_last_bar(scope: str, others: Row) -> None:  # R2.1 R5.3
    """Stopped inside the bar that closes at 2: of two bars more the second closes at 4."""
    candles = [*flat(100), (100, 100, 94, 96), *flat(96, 96, 96, 96)]
    rows = [propose(1, stop_loss=95.0), propose(3.999), propose(4)]
    result = halting(candles, *rows, strategies=BOTH, **(others | {scope: HaltLimits(cooldown_bars=2)}))
    assert reasons(result, REJECTED) == [(1, "COOLDOWN")]


def test_a_cool_down_of_more_bars_than_there_are_lasts() -> None:  # R5.3
    """A stops out in its last bar but one, and B goes on: of two bars of A only one closes."""
    stopped = [*flat(100), (100, 100, 94, 96), *flat(96)]
    bars = {("A", "1h", HOUR): of_hours(1, stopped), ("B", "1h", HOUR): of_hours(1, flat(*[100.0] * 8))}
    rows = (propose(1, stop_loss=95.0), propose(7, symbol="B"))
    result = agreed_replay(from_columns({"bars": bars}), table(*rows), settings(8, symbols="AB", halts=HaltLimits(cooldown_bars=2)))
    assert reasons(result, REJECTED) == [(1, "COOLDOWN")]


# trades


@pytest.mark.parametrize("scope", SCOPES)
def test_a_trade_is_judged_by_itself_to_the_last_unit(scope: str) -> None:  # R5.3
    """The first loses 1 unit, the second nothing, the third and the fourth 1 each."""
    closes = flat(100, 100, 99, 99, 99, 99, 98, 98, 97, 97, 97)
    turns = [propose(hour, Action.EXIT if place % 2 else Action.ENTER_LONG) for place, hour in enumerate((1, 2, 3, 4, 5, 6, 7, 8))]
    one = (strategy(SizeKind.FIXED_QTY, 1.0),)
    halts = HaltLimits(losses=2, losses_for_us=HOUR)
    result = halting(closes, *turns, strategies=one, cash=1_000, decimals=0, **{scope: halts})
    assert [row["amount"] for row in of_kind(result, RecordKind.POSITION)][1::2] == [-1, 0, -1, -1]
    assert alerts(result) == [(9, "CONSECUTIVE_LOSSES", 2.0)]


def test_what_insurance_takes_back_belongs_to_the_trade_that_ended() -> None:  # R5.3 R7.3
    """An isolated long of margin 10 is liquidated 20 lower, and 10 are credited; the next trade loses 1 unit, and is the second that lost."""
    contract = instrument(maintenance=margin_tiers([(0, 0.0)]))
    rows = [propose(1), propose(3), propose(4, Action.EXIT)]
    changes: Row = {"instruments": (contract,), "leverage": 10.0, "margin": MarginMode.ISOLATED}
    one = (strategy(SizeKind.FIXED_QTY, 1.0),)
    result = halting(flat(100, 100, 80, 80, 79, 79), *rows, strategies=one, cash=1_000, decimals=0, halts=HaltLimits(losses=2), **changes)
    assert [row["amount"] for row in of_kind(result, RecordKind.INSURANCE)] == [10]
    assert [row["amount"] for row in of_kind(result, RecordKind.POSITION)] == [0, -20, 0, -1]
    assert alerts(result) == [(5, "CONSECUTIVE_LOSSES", 2.0)]


# samples


@pytest.mark.parametrize("listened", [False, True])
def test_a_run_that_starts_after_its_data_has_no_sample(listened: bool) -> None:  # R5.3 R8.6
    session = Session(market({"A": flat(100, 100)}), table(propose(1)), settings(2, start_us=at(5), end_us=at(9)))
    if listened:
        session.subscribe("VALUATION", lambda _: None)
    result = session.run()
    assert [(row["kind"], row["ts"]) for row in result.records] == [(RecordKind.DEPOSIT, at(5)), (RecordKind.RUN_END, at(5))]
    assert len(result.equity) == 0
