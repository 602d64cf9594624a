"""However a replay is driven, and however little room its ledger has, it visits what it must and leaves what the oracle does.  # R9.4, R10.1"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from engine.schema import RECORD, Action, Reason, RecordKind, SizeKind
from engine.session import ReplayError, ReplayResult, Session
from engine.settings import HaltLimits
from tests.differential import left_behind, oracle_run
from tests.markets import Case, random_case
from tests.oracle.examples import FLAT, HOUR, at, market, propose, settings, strategy, table

SEEDS = (3, 8, 12, 21, 30, 33, 47, 58)


@cache
def plain(seed: int) -> dict[str, Any]:
    return oracle_run(random_case(seed))


def stepped(case: Case) -> ReplayResult:
    session = Session(*case)
    while not session.step():
        pass
    return session.run()


def paused(case: Case) -> ReplayResult:
    """Every hour, and once for each hour that has passed."""
    session = Session(*case)
    for until in range(case.settings.start_us - HOUR, case.settings.end_us + HOUR, HOUR):
        ended = session.advance(until)
        assert ended or session.state.account[0]["now"] <= until
        session.advance(until - HOUR)
    return session.run()


def listened_to(case: Case) -> ReplayResult:
    session = Session(*case)
    session.subscribe("CANDLE_CLOSE", lambda _: None)
    return session.run()


def listened_to_and_paused(case: Case) -> ReplayResult:
    session = Session(*case)
    session.subscribe(("CANDLE_CLOSE", "VALUATION", "FILL"), lambda _: session.pause())
    return session.run()


@pytest.mark.parametrize("drive", [stepped, paused, listened_to, listened_to_and_paused])
@pytest.mark.parametrize("seed", SEEDS)
def test_however_it_is_driven_it_leaves_the_same(drive: Callable[[Case], ReplayResult], seed: int) -> None:  # R9.4
    assert left_behind(drive(random_case(seed))) == plain(seed)


# room


def tightly(case: Case, room: int) -> ReplayResult:
    """The replay by steps, with room for so many records before each."""
    session, ended = Session(*case), False
    while not ended:
        used = session.state.account[0]["seq"]
        session.state = session.state.replace(ledger=np.append(session.state.ledger[:used], np.empty(room, RECORD)))
        ended = session.step()
    return session.run()


def crowd() -> Case:
    """42 entries at one instant, of six records each; they fill at one open, two records each, and close at the end."""
    names = "stuvwxy"
    rows = [propose(1, symbol=symbol, strategy=name) for symbol in "ABCDEF" for name in names]
    chosen = settings(6, symbols="ABCDEF", strategies=tuple(strategy(SizeKind.FIXED_QTY, 1.0, name=name) for name in names))
    return Case(market(dict.fromkeys("ABCDEF", [FLAT] * 6)), table(*rows), chosen)


def late_crowd() -> Case:
    """The same, filled an hour later."""
    case = crowd()
    return case._replace(settings=settings(6, symbols="ABCDEF", strategies=case.settings.strategies, latency_us=HOUR))


def alarms() -> Case:
    """19 stops that the open passes, and at the next sample every halt of the account, the strategy and each symbol: 84 alerts, nothing held."""
    symbols = "ABCDEFGHIJKLMNOPQRS"
    bars = [FLAT, FLAT, *[(90.0,) * 4] * 2]
    limits = HaltLimits(daily_loss=0.001, drawdown=0.001, losses=1, cooldown_bars=1)
    halts = {"halts": limits, "strategy_halts": limits, "symbol_halts": limits}
    rows = [propose(1, symbol=symbol, stop_loss=95.0) for symbol in symbols]
    chosen = settings(4, symbols=symbols, strategies=(strategy(SizeKind.FIXED_QTY, 1.0),), leverage=10.0, **halts)
    return Case(market(dict.fromkeys(symbols, bars)), table(*rows), chosen)


@pytest.mark.parametrize("room", [1, 70, 130])
@pytest.mark.parametrize("make", [crowd, late_crowd, alarms])
def test_a_ledger_without_room_grows_before_an_instant_is_begun(make: Callable[[], Case], room: int) -> None:  # R9.1
    case = make()
    result = tightly(case, room)
    assert left_behind(result) == oracle_run(case)


def test_the_alarms_are_as_many_as_they_are_said_to_be() -> None:
    records = Session(*alarms()).run().records
    assert sum(1 for row in records if row["kind"] == RecordKind.RISK_ALERT and row["ts"] == at(3)) == 84


# what is due


def test_money_that_overflows_stops_the_run_at_its_instant() -> None:  # R6.3
    bars = [FLAT, FLAT, (100.0, 1e9, 100.0, 1e9), *[FLAT] * 4]
    session = Session(market({"A": bars}), table(propose(1)), settings(7, decimals=9, cash=9 * 10**15))
    assert not session.advance(at(2))
    with pytest.raises(ReplayError, match="money of A overflows"):
        session.advance(at(4))


def test_a_trade_that_ends_at_the_mark_is_seen_by_the_next_sample() -> None:  # R5.3 R10.1
    """Sold at the open of 2 for the close before it, so that equity stays and nothing is held; the sample at 3 finds the loss."""
    bars = [FLAT, (100.0, 100.0, 99.0, 99.0), *[(99.0,) * 4] * 4]
    rows = (propose(1), propose(2, Action.EXIT), propose(3.5))
    chosen = settings(6, halts=HaltLimits(losses=1))
    records = Session(market({"A": bars}), table(*rows), chosen).run().records
    told = [(row["ts"], Reason(row["reason"]).name) for row in records if row["kind"] in (RecordKind.RISK_ALERT, RecordKind.REJECTED)]
    assert told == [(at(3), "CONSECUTIVE_LOSSES"), (at(3.5), "HALTED")]


def test_an_event_shows_no_bar_that_closes_after_it() -> None:  # R1.3 R9.5
    """The spread of B is told 1 us before the bar that closes at 3, in which the three lots of A gain nothing yet."""
    closes = (100.0, 101.0, 102.0, 103.0, 104.0)
    bars = {"A": [(close,) * 4 for close in closes], "B": [FLAT] * 5}
    spread = {"B": {"ts": [at(3) - 1, at(3)], "bid": [99.0, 99.0], "ask": [101.0, 101.0]}}
    session = Session(market(bars, spread=spread), table(propose(1)), settings(5, symbols="AB"))
    seen: list[tuple[int, int]] = []
    session.subscribe("SPREAD_SNAPSHOT", lambda event: seen.append((event.ts - at(3), session.view.equity)))
    result = session.run()
    assert seen == [(-1, 100_000), (0, 100_300)]
    assert result.equity.tolist() == [100_000, 100_000, 100_300, 100_600, 100_900]
