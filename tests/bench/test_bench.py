"""The benchmark on tiny markets, without peers: that it runs, that it trades, and what it refuses to compare."""

import json
from pathlib import Path

import pytest

from pipeline import bench
from pipeline.bench_peers import PEERS
from pipeline.bench_workloads import WORKLOADS, Market, Outcome, Prepared, Workload, dataset_of, market, outcome_of
from pipeline.errors import ConfigError

SMALL = {name: workload.with_bars(2_000 if workload.symbols == 1 else 400) for name, workload in WORKLOADS.items()}


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_workload_trades_and_is_measured(name: str) -> None:
    found = bench.bench(SMALL[name], repeat=1)
    assert found["trades"] > 10
    assert 0 < found["replay_ns_per_bar"] < found["ns_per_bar"]
    assert 0 < found["means_ns_per_bar"] < found["stage_one_ns_per_bar"] < found["ns_per_bar"]
    assert found["peers"] == {} and found["ratio_to_fastest_peer"] is None


def test_stops_and_the_limit_on_positions_change_what_is_traded() -> None:
    bars = market(SMALL["W1"])
    plain, stopped = (outcome_of(dataset_of(SMALL["W1"], bars), SMALL[name]) for name in ("W1", "W2"))
    assert plain.final_equity != stopped.final_equity
    many = market(SMALL["W3"])
    free, limited = (outcome_of(dataset_of(SMALL["W3"], many), SMALL[name]) for name in ("W3", "W3k"))
    assert limited.trades < free.trades / 2


def test_the_market_is_the_same_every_time_and_its_candles_hold_together() -> None:
    first, again = market(SMALL["W3"]), market(SMALL["W3"])
    assert all((one == other).all() for one, other in zip(first, again, strict=True))
    assert (first.high >= first.open).all() and (first.high >= first.close).all()
    assert (first.low <= first.open).all() and (first.low <= first.close).all()
    assert (first.open[:, 1:] == first.close[:, :-1]).all()


def _peer(trades: float) -> bench.Peer:
    def prepare(workload: Workload, bars: Market) -> Prepared:
        ours = outcome_of(dataset_of(workload, bars), workload)
        return Prepared(lambda: Outcome(round(ours.trades * trades), ours.final_equity))

    return bench.Peer(f"peer{trades}", (), ("W1",), prepare, "")


def test_a_peer_that_did_not_trade_is_shown_but_not_counted() -> None:
    found = bench.bench(SMALL["W1"], [_peer(0.0)], repeat=1)
    assert found["peers"].keys() == {"peer0.0"}
    assert found["peer_trades"] == {"peer0.0": 0}
    assert found["ratio_to_fastest_peer"] is None


def test_the_ratio_is_to_the_fastest_peer_that_traded_as_we_did() -> None:
    found = bench.bench(SMALL["W1"], [_peer(1.0), _peer(0.5)], repeat=1)
    assert found["ratio_to_fastest_peer"] == pytest.approx(found["peers"]["peer1.0"] / found["ns_per_bar"], abs=0.01)


def test_prints_one_json_object(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "PEERS", {})
    monkeypatch.setattr(bench, "WORKLOADS", SMALL)
    bench.main(json=True, workloads=["W1"], repeat=1, memory=False)
    found = json.loads(capsys.readouterr().out)
    assert found["workloads"].keys() == {"W1"}
    assert found["step_ns_per_instant"] > 0 and found["full_ledger_ns_per_event"] > 0


def test_prints_a_table_with_every_contender(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "PEERS", {"peer1.0": _peer(1.0)})
    monkeypatch.setattr(bench, "WORKLOADS", SMALL)
    bench.main(workloads=["W1"], repeat=1, memory=False)
    shown = capsys.readouterr().out
    assert "tapeline" in shown and "peer1.0" in shown


def test_an_unknown_workload_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"W9.*W1, W2, W3, W3k"):
        bench.main(workloads=["W9"])


def test_memory_is_measured_in_a_process_of_its_own() -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs Linux")
    found = bench.measure(bench.OURS, SMALL["W1"].with_bars(1_000))
    assert 0 <= found["peak_mb"] < 500


def test_every_peer_says_where_its_economics_differ() -> None:
    for peer in PEERS.values():
        assert peer.differs
        assert set(peer.workloads) <= WORKLOADS.keys()
