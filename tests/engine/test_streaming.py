"""Sessions that are listened to: what handlers are told, when their proposals count, and that nothing else changes.  # R1, R9.4, R9.5"""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.broadcast import HandlerError, SubscriptionError
from engine.events import KINDS, MARKET_KINDS, Filled, PortfolioState
from engine.mux import DatasetReader, EventMux
from engine.proposal import Proposal
from engine.schema import EventKind, RecordKind, default_of
from engine.session import ReplayError, Session
from engine.strategy import EventStrategy
from engine.view import View
from tests.market_changes import digest, fingerprint, poisoned, run
from tests.markets import Case, random_case

SEEDS = st.integers(0, 2**32 - 1)
LATE = 1 << 40  # sequence of proposals that come after those of any case


def session_of(case: Case) -> Session:
    return Session(case.dataset, case.proposals, case.settings)


def outcome(go: Callable[[], Any]) -> Any:
    """What a run leaves behind, or the message of its refusal."""
    try:
        return fingerprint(go())
    except ReplayError as error:
        return str(error)


def assert_same(streamed: Any, table: Any) -> None:
    """The same ledger and equity; what a table proposes after ruin is not there in a session, and nothing becomes of it."""
    if isinstance(table, str):
        assert streamed == table
        return
    n = len(streamed[2])
    assert (*streamed[:2], streamed[2]) == (*table[:2], table[2][:n]) and not any(table[2][n:])


class Gambler(EventStrategy):
    """Proposes by a hash of the event and of all that can be seen: a leak of the future changes what it does."""

    kinds = KINDS
    intervals = None

    def __init__(self, rate: float = 0.2) -> None:
        self.rate, self.made, self.seen = rate, list[tuple[int, bool, Proposal]](), list[str]()

    def on_event(self, event: Any, view: View) -> list[Proposal]:
        seen = looked_at(event, view)
        self.seen.append(seen)
        number = crc32(seen.encode())
        if number % 1000 >= 1000 * self.rate:
            return []
        rng = np.random.default_rng(number)
        made = []
        for _ in range(int(rng.integers(1, 3))):
            action = rng.choice(["enter_long", "enter_long", "enter_short", "exit", "exit_long"])
            levels = {"stop_loss": {"fraction": 0.02}} if rng.random() < 0.5 else {"score": float(rng.normal()), "max_bars": 3}
            made.append(Proposal(str(rng.choice(view.symbols)), str(action), **levels))
        before = event.name in KINDS_BEFORE or event.name in ("START", "WARMUP_END", "DEPOSIT")
        if hasattr(event, "phase") and event.phase:
            before = EventKind[event.phase] < EventKind.TRADE_PROPOSED
        self.made += [(event.ts, before, one) for one in made]
        return made

    def state(self) -> Any:
        return {"seen": self.seen, "made": [[ts, before, one.as_plain()] for ts, before, one in self.made]}

    def restore(self, state: Any) -> None:
        self.seen = state["seen"]
        self.made = [(ts, before, Proposal.of_plain(plain)) for ts, before, plain in state["made"]]


KINDS_BEFORE = tuple(kind.name for kind in EventKind if kind < EventKind.TRADE_PROPOSED)


def looked_at(event: Any, view: View) -> str:
    """Everything that a strategy can look at, as text."""
    rows = []
    for symbol in view.symbols[event.ts // 60_000_000 % len(view.symbols) :][:1]:  # one at a time: the text is long
        for kind in ("bars", "marks", "funding", "spread", "universe", "actions"):
            for interval in view.intervals(symbol) if kind == "bars" else ("",):
                history = view.history(symbol, interval, 3, kind)
                rows.append([history[name].tolist() for name in history])
        rows.append([view.latest(symbol)])
    return repr((event, view.now, rows, view.positions, view.orders, view.equity, view.cash))


def streamed(case: Case, rate: float = 0.2) -> tuple[Session, Gambler]:
    session, gambler = session_of(case), Gambler(rate)
    session.add(min(one.id for one in case.settings.strategies), gambler)
    return session, gambler


def as_table(case: Case, session: Session, gambler: Gambler) -> dict[str, list[Any]]:
    """The case's proposals, and behind them those that the strategy made."""
    n, start = len(case.proposals["ts"]), case.settings.start_us
    made = [one for one in gambler.made if one[0] >= start]
    table = {name: list(column) for name, column in case.proposals.items()}
    table.setdefault("sequence", list(range(n)))
    table.setdefault("available_ts", list(table["ts"]))
    owner = min(one.id for one in case.settings.strategies)
    for place, (ts, before, proposal) in enumerate(made):
        row = {"ts": ts, "available_ts": ts if before else ts + 1, "symbol": proposal.symbol, "strategy": owner, "sequence": LATE + place}
        row |= {"action": int(proposal.action), **proposal.values}
        for name in (*table, *row):
            column = table.setdefault(name, [default_of(name)] * (n + place))
            if len(column) == n + place:
                column.append(row.get(name, None if name in ("ts", "symbol") else default_of(name)))
    return table


@given(SEEDS)
def test_the_market_is_told_in_the_order_of_the_mux(seed: int) -> None:  # R1.1
    case = random_case(seed)
    session, told = session_of(case), []
    session.subscribe(MARKET_KINDS, told.append)
    result = session.run()
    end = int(result.tape.grid[-1]) if len(result.tape.grid) else case.settings.start_us
    market = [event for event in EventMux(*DatasetReader(case.dataset).events(session.symbols)) if event.ts <= end]
    if result.bankrupt:
        market = market[: len(told)]
    assert repr(told) == repr(market)


@given(SEEDS)
def test_everything_is_told_in_one_total_order_and_no_byte_changes(seed: int) -> None:  # R1.2, R9.4
    case = random_case(seed)
    session, told = session_of(case), []
    session.subscribe(KINDS, told.append)
    session.subscribe(lambda event: event.name == "FILL", lambda event: None)
    assert outcome(session.run) == outcome(lambda: run(case))
    if not session.state.account[0]["ended"]:
        return
    records = session.run().records
    told_records = [event for event in told if hasattr(event, "seq")]
    assert [event.seq for event in told_records] == [seq for seq in range(len(records)) if records["kind"][seq] != RecordKind.RUN_END]
    names = [event.name for event in told]
    assert names[0] == "START" and names[-1] == "END" and names.count("WARMUP_END") == 1
    assert [event.ts for event in told] == sorted(event.ts for event in told)
    places = [(event.ts, _phase(event)) for event in told if _phase(event) is not None]
    assert places == sorted(places)
    sampled = {event.ts: event.equity for event in told if event.name == "VALUATION"}
    last = int(records["ts"][-1])
    grid = [ts for ts in session.tape.grid.tolist() if ts <= last]
    assert list(sampled) == grid
    assert list(sampled.values()) == session.run().equity[: len(grid)].tolist()
    assert told[-1].equity == session.run().final_equity


def _phase(event: Any) -> int | None:
    if event.name in MARKET_KINDS:
        return int(EventKind[event.name])
    return int(EventKind[event.phase]) if getattr(event, "phase", "") else None


@given(SEEDS)
def test_streamed_proposals_equal_a_table_that_held_them_from_the_start(seed: int) -> None:  # R9.3, R11.4
    case = random_case(seed)
    session, gambler = streamed(case)
    ours = outcome(session.run)
    table = as_table(case, session, gambler)
    plain = Session(case.dataset, table, case.settings)
    assert_same(ours, outcome(plain.run))
    if session.state.account[0]["ended"]:
        assert digest(session.run()) == digest(plain.run())
        for name, column in session.proposals.arrays().items():
            known = plain.proposals.available_ts <= session.run().records["ts"][-1]
            whole = getattr(plain.proposals, name)
            if len(known) and not len(whole):  # a column that the table does without
                whole = np.full(len(known), default_of(name), column.dtype)
            assert np.array_equal(column[: known.sum()], whole[known], equal_nan=True), name


@given(SEEDS)
@settings(max_examples=10)
def test_a_run_paused_saved_and_restored_after_every_event_equals_one_that_is_not(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:  # R9.4
    case, path = random_case(seed % 500), tmp_path_factory.getbasetemp() / "streamed.npz"
    session, whole = streamed(case)
    expected = outcome(session.run)
    every = 1 + len(whole.seen) // 25
    session, gambler = streamed(case)
    seen: list[str] = []

    def look(event: Any) -> None:
        seen.append(event.name)
        if len(seen) % every == 0:
            session.pause()

    session.subscribe(KINDS, look)
    ended = isinstance(expected, str)  # a run that overflows is compared up to its end
    while not ended:
        ended = session.advance()
        session.save(path)
        session, gambler = streamed(case)
        session.subscribe(KINDS, look)
        session.restore(path)
    if not isinstance(expected, str):
        assert outcome(session.run) == expected
        assert gambler.seen == whole.seen
        assert len(seen) == len(whole.seen)


@given(SEEDS, st.booleans())
@settings(max_examples=10)
def test_what_a_strategy_sees_and_does_does_not_depend_on_the_future(seed: int, drop: bool) -> None:  # R9.5
    case = random_case(seed)
    session, gambler = streamed(case, 0.5)
    try:
        session.run()
    except ReplayError:
        return
    rng = np.random.default_rng(seed)
    moments = sorted({ts for ts, _, _ in gambler.made} | {int(ts) for ts in session.run().records["ts"]})
    for _ in range(2):
        t = int(rng.choice(moments))
        other = poisoned(case, t, np.random.default_rng(seed), drop=drop)
        until = min(t, int(session_of(other).tape.grid.max(initial=case.settings.start_us - 1))) if drop else t
        assert _seen_until(other, until) == _seen_until(case, until)


def _seen_until(case: Case, until: int) -> list[str]:
    session, gambler = streamed(case, 0.5)
    try:
        session.advance(until)
    except ReplayError as error:
        return [str(error)]
    return gambler.seen


def test_handlers_can_change_nothing() -> None:
    case = random_case(1)
    tried: list[str] = []

    def meddle(event: Any) -> None:
        symbol = session.view.symbols[0]
        attempts: list[Callable[[], Any]] = [
            session.step,
            session.advance,
            session.run,
            lambda: session.save(Path("nowhere")),
            lambda: session.restore(Path("nowhere")),
            lambda: session.state,
            lambda: setattr(session, "state", None),
            lambda: session.view.history(symbol)["close"].__setitem__(0, 1.0),
            lambda: setattr(event, "ts", 0),
        ]
        for attempt in attempts:
            with pytest.raises((ReplayError, ValueError, FrozenInstanceError)) as caught:
                attempt()
            tried.append(str(caught.value))

    session = session_of(case)
    session.view.now = 2**62
    session.subscribe("CANDLE_CLOSE", meddle)
    assert fingerprint(session.run()) == fingerprint(run(case))
    assert sum("a handler cannot drive the session" in text for text in tried) == len(tried) // 3


def test_a_handler_that_fails_is_named_and_the_session_goes_on() -> None:
    case = random_case(1)
    session, told = session_of(case), []

    def broken(event: Any) -> None:
        if len(told) == 3:
            raise KeyError("mine")

    session.subscribe("CANDLE_CLOSE", broken)
    session.subscribe("CANDLE_CLOSE", told.append)
    with pytest.raises(HandlerError, match=r"handler .*broken at CandleClose\(.*KeyError: 'mine'"):
        session.run()
    assert len(told) == 3
    assert fingerprint(session.run()) == fingerprint(run(case))
    whole: list[Any] = []
    other = session_of(case)
    other.subscribe("CANDLE_CLOSE", whole.append)
    other.run()
    assert repr(told) == repr(whole)  # the other handler was told of the event at which the first one failed


def test_a_subscription_can_be_cancelled_and_added_at_any_event() -> None:
    case = random_case(1)
    session, first, second = session_of(case), [], []

    def early(event: Any) -> None:
        first.append(event)
        if len(first) == 5:
            one.cancel()
            session.subscribe("CANDLE_CLOSE", second.append)

    one = session.subscribe("CANDLE_CLOSE", early)
    assert fingerprint(session.run()) == fingerprint(run(case))
    whole: list[Any] = []
    other = session_of(case)
    other.subscribe("CANDLE_CLOSE", whole.append)
    other.run()
    later = [event for event in whole if event.ts > first[-1].ts]
    assert repr(first) == repr(whole[:5]) and repr(second) == repr(later)  # told from the next half instant on


def test_after_the_last_subscription_the_kernel_runs_by_itself_and_can_be_listened_to_again() -> None:
    case = next(case for seed in range(99) if len(session_of(case := random_case(seed)).tape.grid) > 60 and not run(case).bankrupt)
    session, told = session_of(case), []
    one = session.subscribe("CANDLE_CLOSE", told.append)
    grid = session.tape.grid
    session.advance(int(grid[len(grid) // 3]))
    one.cancel()
    session.advance(int(grid[len(grid) // 2]))
    n = len(told)
    session.subscribe(("CANDLE_CLOSE", "START", "DEPOSIT"), told.append)
    assert fingerprint(session.run()) == fingerprint(run(case))
    assert n and told[n].ts > int(grid[len(grid) // 2]) and told[n].name == "CANDLE_CLOSE"


def test_batches_are_lists_and_what_is_left_comes_at_the_end() -> None:
    case = random_case(1)
    session, lists, single = session_of(case), [], []
    session.subscribe(KINDS, lists.append, batch=7)
    session.subscribe(KINDS, single.append)
    assert fingerprint(session.run()) == fingerprint(run(case))
    assert [event for some in lists for event in some] == single
    assert {len(some) for some in lists[:-1]} == {7} and 1 <= len(lists[-1]) <= 7


def test_a_handler_of_batches_looks_on() -> None:
    session = session_of(random_case(1))
    symbol = session.symbols[0]
    session.subscribe("CANDLE_CLOSE", lambda events: [Proposal(symbol, "exit")], batch=2)
    with pytest.raises(HandlerError, match="a handler of batches looks on"):
        session.run()
    session = session_of(random_case(1))
    session.subscribe("CANDLE_CLOSE", lambda events: session.propose(Proposal(symbol, "exit")), batch=2)
    with pytest.raises(HandlerError, match="a handler of batches looks on"):
        session.run()


@pytest.mark.parametrize(
    ("kinds", "batch", "said"),
    [("FILLS", 1, "no kind of event 'FILLS'; kinds are START"), ((), 1, "no kind of event"), ("FILL", 0, "batch is a whole number")],
)
def test_a_subscription_that_cannot_be_is_refused(kinds: Any, batch: int, said: str) -> None:
    with pytest.raises(SubscriptionError, match=said):
        session_of(random_case(1)).subscribe(kinds, print, batch=batch)


def test_money_is_whole_and_decimal() -> None:
    case = next(case for seed in range(1, 99) if (case := random_case(seed)).settings.decimals == 2 and _fills(case) > 5)
    case = case._replace(settings=replace(case.settings, finalize_close=True))
    session, told = session_of(case), []
    session.subscribe(("FILL", "PORTFOLIO_STATE"), told.append)
    session.run()
    fill = next(event for event in told if isinstance(event, Filled))
    assert fill.fee_decimal == Decimal(fill.fee) / 100 and isinstance(fill.fee, int) and fill.reason == fill.reason.upper()
    lot = next(one.lot for one in case.settings.instruments if one.symbol == fill.symbol)
    assert fill.quantity == fill.lots * Decimal(lot.units) / Decimal(lot.power)
    states = [event for event in told if isinstance(event, PortfolioState)]
    assert all(state.cash_decimal * 100 == state.cash for state in states) and states[-1].positions == ()


def _fills(case: Case) -> int:
    return int((run(case).records["kind"] == RecordKind.FILL).sum())
