"""Strategies that decide event by event, against the same rules computed ahead, in whole runs.  # R11.4"""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.session import ReplayError, Session
from engine.strategy import EventStrategy, run_ahead
from features.compute import propose
from features.strategy import StrategySpec
from features.strategy_file import StrategyError, load_by_event
from pipeline.certify import certify_config
from pipeline.configfile import load_config, parse_config
from pipeline.errors import ConfigError
from pipeline.folder import save
from pipeline.launch import run
from pipeline.result import Result
from pipeline.verify import verify_run
from tests.market_changes import digest
from tests.markets import random_case

ROOT = Path(__file__).resolve().parents[2]
CROSS = ROOT / "configs" / "strategies" / "sma_cross.py"
PARAMS = {"fast": 5, "slow": 20, "stop": 0.05}
VALUES: dict[str, Any] = {
    "name": "streamed",
    "dataset": "demo://perps?symbols=3&days=30&interval=1h&seed=3",
    "account": {"cash": 10_000, "leverage": 2},
    "risk": {"size": {"fixed_fraction": 0.3}},
    "execution": {"fees": {"bps": 5}},
}
STREAMED = {"id": "cross", "file": str(CROSS), "params": PARAMS}
COMPUTED = {
    "id": "cross",
    "features": {"fast": {"sma": {"of": "close", "n": 5}}, "slow": {"sma": {"of": "close", "n": 20}}},
    "propose": {"long": "cross_up(fast, slow)", "exit_long": "fast < slow", "stop_loss": {"fraction": 0.05}},
}
DIP = {
    "id": "dip",
    "features": {"z": {"zscore": {"of": "close", "n": 48}}},
    "propose": {"long": "z < -2", "exit_long": "z > 0", "take_profit": {"fraction": 0.03}},
}


def config(*strategies: dict[str, Any], **more: Any) -> Any:
    return parse_config({**VALUES, "strategies": list(strategies), **more})


@pytest.fixture(scope="module")
def streamed() -> Result:
    return run(config(STREAMED))


def test_a_crossover_decided_bar_by_bar_gives_the_ledger_of_its_rules(streamed: Result) -> None:  # R9.3
    computed = run(config(COMPUTED))
    assert streamed.result_hash == computed.result_hash
    assert streamed.summary["trades"] > 20
    assert streamed.run_id != computed.run_id


def test_the_same_after_a_warm_up_and_beside_another_strategy() -> None:
    period = {"start": "2024-01-10", "end": "2024-01-25"}
    both = run(config(STREAMED, DIP, period=period))
    assert both.result_hash == run(config(COMPUTED, DIP, period=period)).result_hash
    assert both.provenance == "streamed"
    assert both.summary["profit_by_strategy"].keys() == {"cross", "dip"}


def test_it_is_said_that_proposals_were_streamed(streamed: Result) -> None:  # R11.4
    assert streamed.summary["provenance"] == "streamed" and streamed.ledger_header["provenance"] == "streamed"
    assert any("streamed proposals of cross" in notice for notice in streamed.notices)


def test_a_streamed_run_verifies_from_its_folder(streamed: Result, tmp_path: Path) -> None:
    folder = save(streamed, tmp_path)
    assert (folder / "strategies" / "cross.py").read_bytes() == CROSS.read_bytes()
    assert verify_run(folder).result_hash == streamed.result_hash


def test_proposals_made_ahead_run_as_a_table(streamed: Result) -> None:
    strategy = load_by_event(str(CROSS), PARAMS)
    used = streamed.replay.settings
    table = run_ahead(strategy, "cross", streamed.dataset, streamed.replay.symbols, used.start_us, used.end_us)
    given = run(config({"id": "cross", "proposals": "memory"}, accept="external"), proposals={"cross": table})
    assert given.result_hash == streamed.result_hash and given.provenance == "external"


def test_the_config_of_the_examples_runs() -> None:
    result = run(load_config(ROOT / "configs" / "events.yaml"))
    assert result.streamed == ("cross", "rebound") and result.summary["trades"] > 50


def test_there_is_nothing_to_certify_in_a_streamed_strategy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="or decide event by event; there are no features to certify"):
        certify_config(config(STREAMED), tmp_path, lambda text: None)


@pytest.mark.parametrize(
    ("body", "params", "said"),
    [
        ("class A:\n  def on_event(self, event, view): pass", {}, "A has on_event.*; let it derive from engine.strategy.EventStrategy"),
        ("from engine.strategy import EventStrategy\nclass A(EventStrategy):\n  pass", {"n": 1}, "A has no parameter 'n'; it takes none"),
        ("from engine.strategy import EventStrategy\nclass A(EventStrategy):\n  pass\nclass B(A):\n  pass", {}, "found A, B"),
    ],
)
def test_a_class_that_cannot_be_streamed_is_refused(body: str, params: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(body)
    with pytest.raises(StrategyError, match=said):
        run(config({"id": "mine", "file": str(path), "params": params}))


class Higher(EventStrategy):
    """Long when a close is above the one before, flat when it is below: nothing is rounded, so two ways of asking agree exactly."""

    def on_event(self, event: Any, view: Any) -> Any:
        from engine.proposal import Proposal

        close = view.history(event.symbol, n=2)["close"]
        if len(close) < 2 or close[0] == close[1]:
            return None
        if close[1] < close[0]:
            return Proposal(event.symbol, "exit_long")
        return Proposal(event.symbol, "enter_long", score=close[1] - close[0], max_bars=5)


RULES = {"long": "close > lag(close, 1)", "exit_long": "close < lag(close, 1)", "score": "close - lag(close, 1)", "max_bars": 5}


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_on_random_markets_both_ways_give_one_ledger(seed: int) -> None:
    case = random_case(seed)
    name, used = case.settings.strategies[0].id, case.settings
    symbols = [one.symbol for one in used.instruments]
    table = propose(
        case.dataset, [StrategySpec(name, {}, RULES)], symbols, used.start_us, used.end_us, interval=used.interval, certify=False
    )
    session = Session(case.dataset, {key: [] for key in ("ts", "symbol", "strategy", "action")}, used)
    session.add(name, Higher())
    ours = _outcome(session)
    assert ours == _outcome(Session(case.dataset, table.columns, used, table.symbols, table.strategies))


def _outcome(session: Session) -> str:
    try:
        return digest(session.run())
    except ReplayError as error:
        return str(error)
