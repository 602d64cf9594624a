"""Proposals made inside a session: when they count, what is refused, and strategies that decide event by event.  # R9.4, R11.4"""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from engine.broadcast import HandlerError
from engine.proposal import Proposal, ProposalValueError
from engine.proposals import build_proposals
from engine.schema import PROPOSAL_COLUMNS, default_of
from engine.session import ReplayError
from engine.strategy import EventStrategy, StrategyStateError, run_ahead
from engine.view import View, ViewError
from tests.engine.test_streaming import SEEDS, assert_same, outcome, session_of, streamed
from tests.market_changes import run
from tests.markets import Case, random_case


def test_proposals_between_steps_count_from_the_next_instant() -> None:
    case = random_case(3)._replace(proposals={name: [] for name in ("ts", "symbol", "strategy", "action")})
    session = session_of(case)
    ts, symbol = int(session.tape.grid[len(session.tape.grid) // 2]), session.symbols[0]
    assert not session.advance(ts)
    session.propose(Proposal(symbol, "exit", session.strategies[0]))
    session.run()
    assert session.proposals.available_ts.tolist() == [ts + 1]
    with pytest.raises(ReplayError, match="after the end of the run"):
        session.propose(Proposal(symbol, "exit", session.strategies[0]))


def test_what_is_proposed_in_the_warm_up_does_not_count() -> None:
    case = next(case for seed in range(99) if _warm_bars(case := random_case(seed)) > 3)
    case = case._replace(proposals={name: [] for name in ("ts", "symbol", "strategy", "action")})
    session, at = session_of(case), []

    def always(event: Any) -> Proposal:
        at.append(event.ts)
        return Proposal(event.symbol, "exit", session.strategies[0])

    session.subscribe("CANDLE_CLOSE", always)
    session.run()
    start = case.settings.start_us
    assert min(at) < start
    assert sorted(session.proposals.available_ts) == [ts for ts in at if ts >= start]


def _warm_bars(case: Case) -> int:
    tape = session_of(case).tape
    return int((tape.first - tape.oldest).min())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda symbol, strategy: Proposal("NOPE", "exit", strategy), "'NOPE', which is not of this run"),
        (lambda symbol, strategy: Proposal(symbol, "exit", "nobody"), "no strategy 'nobody'; the run has"),
        (lambda symbol, strategy: Proposal(symbol, "exit"), "a proposal says no strategy; the run has"),
    ],
)
def test_a_proposal_of_strangers_is_refused(make: Any, said: str) -> None:
    session = session_of(random_case(3))
    with pytest.raises(ReplayError, match=said):
        session.propose(make(session.symbols[0], session.strategies[0]))


@pytest.mark.parametrize(
    ("action", "values", "said"),
    [
        ("buy", {}, "action 'buy' is not one of enter_long"),
        ("exit", {"stoploss": 1.0}, "no column 'stoploss'; did you mean 'stop_loss'"),
        ("exit", {"score": "high"}, "score is a number, not 'high'"),
        ("exit", {"max_bars": 1.5}, "max_bars is a whole number, not 1.5"),
        ("exit", {"stop_loss": {"share": 1}}, "stop_loss is a number or"),
        ("target", {}, "proposal for A: a target has no weight; give weight, the signed fraction of budget x equity to hold"),
        ("target", {"weight": None}, "weight is a number, not None"),
        ("target", {"weight": 0.1, "order_type": "limit"}, "order_type 'limit' of a target, which is a market order"),
        ("target", {"weight": 0.1, "tif": 2}, "leave tif out"),
    ],
)
def test_a_proposal_that_makes_no_sense_is_refused(action: str, values: dict[str, Any], said: str) -> None:
    with pytest.raises(ProposalValueError, match=said):
        Proposal("A", action, **values)


def test_defaults_of_a_proposal_are_those_of_a_table() -> None:
    session = session_of(random_case(3))
    bare = {"ts": [session.settings.start_us], "symbol": [session.symbols[0]], "strategy": [session.strategies[0]], "action": [2]}
    names = [name for name in PROPOSAL_COLUMNS if name not in bare and name not in ("available_ts", "sequence")]
    full = bare | {name: [default_of(name)] for name in names}
    table = [build_proposals(columns, (), (), session.tape, session.settings).arrays() for columns in (bare, full)]
    assert repr(table[0]) == repr(table[1])


class Counter(EventStrategy):
    """Remembers how often it was told something."""

    def __init__(self) -> None:
        self.n: dict[str, Any] = {"told": 0}

    def on_event(self, event: Any, view: View) -> None:
        self.n["told"] += 1


def test_what_a_strategy_remembers_is_saved_where_it_is_plain(tmp_path: Path) -> None:
    case = random_case(3)
    session, counter = session_of(case), Counter()
    session.add(session.strategies[0], counter)
    session.advance(int(session.tape.grid[3]))
    session.save(tmp_path / "saved.npz")
    other, restored = session_of(case), Counter()
    other.restore(tmp_path / "saved.npz")
    other.add(session.strategies[0], restored)
    assert restored.n == counter.n and counter.n["told"] > 0
    other.run()
    session.run()
    assert restored.n == counter.n
    counter.n["last"] = {1, 2}
    with pytest.raises(StrategyStateError, match=r"Counter.n is a dict, not a plain value; give it state\(\) and restore\(\)"):
        session.save(tmp_path / "saved.npz")
    with pytest.raises(ReplayError, match="has been added"):
        session.add(session.strategies[0], Counter())


def test_a_saved_session_waits_for_its_strategies(tmp_path: Path) -> None:
    case = random_case(3)
    session, _ = streamed(case)
    session.step()
    session.save(tmp_path / "saved.npz")
    other = session_of(case)
    other.subscribe("FILL", print)
    other.restore(tmp_path / "saved.npz")
    with pytest.raises(ReplayError, match=r"the saved session ran strategy .*; add it before going on"):
        other.run()


class Higher(EventStrategy):
    """Long when a close is above the one before, flat when it is below: nothing is rounded, so two ways of asking agree exactly."""

    def on_event(self, event: Any, view: View) -> Proposal | None:
        close = view.history(event.symbol, n=2)["close"]
        if len(close) < 2 or close[0] == close[1]:
            return None
        return Proposal(event.symbol, "enter_long" if close[1] > close[0] else "exit_long", score=close[1] - close[0])


def _ahead(case: Case, strategy: EventStrategy, name: str) -> dict[str, list[Any]]:
    symbols = [one.symbol for one in case.settings.instruments]
    return run_ahead(strategy, name, case.dataset, symbols, case.settings.start_us, case.settings.end_us, case.settings.interval)


@given(SEEDS)
def test_a_strategy_run_ahead_gives_the_ledger_it_gives_in_a_session(seed: int) -> None:  # R11.4
    case = random_case(seed)._replace(proposals={name: [] for name in ("ts", "symbol", "strategy", "action")})
    name = case.settings.strategies[0].id
    session = session_of(case)
    session.add(name, Higher())
    table = _ahead(case, Higher(), name)
    assert_same(outcome(session.run), outcome(lambda: run(case._replace(proposals=table))))


def test_ahead_of_a_run_there_is_no_account() -> None:
    class Rich(EventStrategy):
        def on_event(self, event: Any, view: View) -> None:
            assert view.equity > 0

    class Listener(Rich):
        kinds = ("CANDLE_CLOSE", "FILL")

    case = random_case(3)
    with pytest.raises(HandlerError, match="equity: there is no account where proposals are made ahead"):
        _ahead(case, Rich(), "x")
    with pytest.raises(ViewError, match="events of kind FILL: there is no account"):
        _ahead(case, Listener(), "x")


def test_a_view_knows_its_symbols_and_series() -> None:
    view = session_of(random_case(3)).view
    with pytest.raises(ViewError, match="is not a symbol of this run"):
        view.latest("NOPE")
    with pytest.raises(ViewError, match="has no bars at '7h'"):
        view.latest(view.symbols[0], "7h")
    with pytest.raises(ViewError, match="there are no 'ticks' to look at"):
        view.history(view.symbols[0], kind="ticks")
    assert view.latest(view.symbols[0]) is None and view.history(view.symbols[0]).n == 0
