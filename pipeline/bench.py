"""``tapeline bench``: time and memory of whole runs, against the peers that are installed, in one process.

1. A workload is drawn (``bench_workloads``) and laid out for each contender (``bench_peers``).
2. Each contender runs once untimed: what compiles has compiled, and what is made once for a dataset (the certificate) is timed apart.
3. Rounds: every contender once, in turn, so that a slow moment of the machine hits all; the median counts.
4. A peer that did not trade about as much as we did is shown and not counted.
5. Memory is measured in a fresh process each (``bench_memory``).
"""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from json import dumps
from typing import TYPE_CHECKING, Any

from pipeline.bench_memory import OURS, measure
from pipeline.bench_peers import PEERS, Peer
from pipeline.bench_workloads import (
    WORKLOADS,
    Market,
    Outcome,
    Prepared,
    Workload,
    config_of,
    dataset_of,
    market,
    means_alone,
    prepare,
    result_of,
)
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

SAME_TRADES = 0.1  # fraction by which a peer's number of trades may differ
SMALL_BARS = 20_000  # of the market for what has a cost an event


def main(json: bool = False, workloads: Sequence[str] | None = None, repeat: int = 5, memory: bool = True) -> None:
    """Run the benchmark and print it.

    Parameters
    ----------
    json
        Print one JSON object instead of tables.
    workloads
        Names of ``WORKLOADS``; None: all.
    repeat
        Timed rounds.
    memory
        Whether to measure memory as well, in a process for each contender and workload.
    """
    from rich.console import Console

    told, console = Console(stderr=True), Console()
    chosen, peers = _chosen(workloads), [peer for peer in PEERS.values() if peer.is_installed]
    for missing in sorted(PEERS.keys() - {peer.name for peer in peers}):
        told.print(f"{missing} is not installed; the bench extra has it")
    found: dict[str, Any] = {"workloads": {}}
    with told.status("") as status:
        for workload in chosen:
            found["workloads"][workload.name] = bench(workload, peers, repeat, memory, status.update)
        status.update("step by step, and the full ledger")
        small = WORKLOADS["W1"].with_bars(SMALL_BARS)
        found |= {"step_ns_per_instant": stepped(small), "full_ledger_ns_per_event": full_ledger(small)}
    if json:
        console.print_json(dumps(found))
        return
    console.print(*_tables(found), sep="\n")


def _chosen(names: Sequence[str] | None) -> list[Workload]:
    for name in names or ():
        if name not in WORKLOADS:
            raise ConfigError(f"workload {name!r} is not known; there are {', '.join(WORKLOADS)}")
    return [WORKLOADS[name] for name in names or WORKLOADS]


def bench(
    workload: Workload, peers: Sequence[Peer] = (), repeat: int = 5, memory: bool = False, progress: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Measure one workload; times are ns a bar of all symbols."""
    taking_part = [peer for peer in peers if workload.name in peer.workloads]
    bars = market(workload)
    progress(f"{workload.name}: {OURS}, first run")
    ours = prepare(workload, bars)
    certificate_ms = _seconds(ours.certify) * 1e3 if ours.certify else 0.0
    prepared, outcomes = {OURS: ours}, {OURS: ours.run()}
    for peer in taking_part:
        progress(f"{workload.name}: {peer.name}, first run")
        prepared[peer.name] = peer.prepare(_share(workload, peer), _first(bars, _share(workload, peer).bars))
        outcomes[peer.name] = prepared[peer.name].run()
    progress(f"{workload.name}: {repeat} rounds")
    rounds = [_round(prepared) for _ in range(repeat)]
    medians = {name: statistics.median(one[name][0] for one in rounds) for name in prepared}
    rows = {OURS: workload.rows} | {peer.name: _share(workload, peer).rows for peer in taking_part}
    times = {name: round(seconds * 1e9 / rows[name], 2) for name, seconds in medians.items()}
    found = {
        "ns_per_bar": times.pop(OURS),
        **_stages(workload, [one[OURS][1] for one in rounds], ours.held_bars()),
        "means_ns_per_bar": round(statistics.median(_seconds(lambda: means_alone(bars)) for _ in range(repeat)) * 1e9 / workload.rows, 2),
        "certificate_ms": round(certificate_ms, 1),
    }
    found |= _against(times, outcomes, found["ns_per_bar"], {name for name in times if rows[name] == workload.rows})
    return found | (_memory(workload, taking_part, progress) if memory else {})


def _share(workload: Workload, peer: Peer) -> Workload:
    return workload.with_bars(peer.most_bars) if peer.most_bars else workload


def _first(bars: Market, count: int) -> Market:
    return Market(bars.open_ts[:count], *(prices[:, :count] for prices in bars[1:]))


def _round(prepared: dict[str, Prepared]) -> dict[str, tuple[float, Outcome]]:
    found = {}
    for name, contender in prepared.items():
        gc.collect()
        since = time.perf_counter()
        outcome = contender.run()
        found[name] = time.perf_counter() - since, outcome
    return found


def _seconds(call: Callable[[], object]) -> float:
    since = time.perf_counter()
    call()
    return time.perf_counter() - since


def _stages(workload: Workload, ours: Sequence[Outcome], held: int) -> dict[str, float]:
    """Medians of the stages as the timed runs report them, and the replay's cost for each bar on which a position was held."""
    stage_one, replay = (statistics.median(one.seconds[name] for one in ours) * 1e9 for name in ("features and proposals", "replay"))
    return {
        "replay_ns_per_bar": round(replay / workload.rows, 2),
        "replay_ns_per_held_bar": round(replay / max(held, 1), 2),
        "stage_one_ns_per_bar": round(stage_one / workload.rows, 2),
    }


def _against(times: dict[str, float], outcomes: dict[str, Outcome], ours: float, whole: set[str]) -> dict[str, Any]:
    """The peers' side of a workload; only those that ran all of it, and traded as we did, count for the ratio."""
    traded = outcomes[OURS].trades
    counted = [times[name] for name in whole if abs(outcomes[name].trades - traded) <= SAME_TRADES * traded]
    return {
        "trades": traded,
        "final_equity": outcomes[OURS].final_equity,
        "peers": times,
        "peer_trades": {name: outcomes[name].trades for name in times},
        "peer_final_equity": {name: round(outcomes[name].final_equity, 2) for name in times},
        "ratio_to_fastest_peer": round(min(counted) / ours, 2) if counted else None,
    }


def _memory(workload: Workload, peers: Sequence[Peer], progress: Callable[[str], None]) -> dict[str, Any]:
    progress(f"{workload.name}: memory of {OURS}")
    found: dict[str, Any] = dict(measure(OURS, workload))
    found["peer_peak_mb"] = {}
    for peer in peers:
        progress(f"{workload.name}: memory of {peer.name}")
        found["peer_peak_mb"][peer.name] = measure(peer.name, _share(workload, peer))["peak_mb"]
    return found


def stepped(workload: Workload) -> float:
    """Cost of one instant when the replay is driven step by step, in ns."""
    from engine.session import Session
    from features.compute import propose
    from pipeline.build import settings_of, strategies_of
    from pipeline.configfile import parse_config

    dataset, config = dataset_of(workload, market(workload)), parse_config(config_of(workload))
    settings = settings_of(config, dataset)
    table = propose(dataset, strategies_of(config), dataset.symbols, settings.start_us, settings.end_us)
    sessions = [Session(dataset, table.columns, settings, table.symbols, table.strategies) for _ in range(2)]
    for _ in range(2):  # what the first steps compile or load is none of theirs
        sessions[0].step()
    steps, since = 1, time.perf_counter()
    while not sessions[1].step():
        steps += 1
    return round((time.perf_counter() - since) * 1e9 / steps, 1)


def full_ledger(workload: Workload) -> float:
    """Cost of one row of the full ledger, records and market events, in ns; the second of two."""
    from engine.full_ledger import full_table

    replayed = result_of(dataset_of(workload, market(workload)), workload).replay
    full_table(replayed)
    since = time.perf_counter()
    table = full_table(replayed)
    return round((time.perf_counter() - since) * 1e9 / int(table.num_rows), 1)


def _tables(found: dict[str, Any]) -> list[Any]:
    lines: list[Any] = [_table(name, one) for name, one in found["workloads"].items()]
    named = {name for one in found["workloads"].values() for name in one["peers"]}
    lines += [f"{name}: {PEERS[name].differs}" for name in sorted(named)]
    lines.append(f"step by step: {found['step_ns_per_instant']:,.0f} ns an instant")
    return [*lines, f"full ledger: {found['full_ledger_ns_per_event']:,.0f} ns a row, when it is asked for"]


def _table(name: str, one: dict[str, Any]) -> "Table":
    from rich.table import Table

    ratio = one["ratio_to_fastest_peer"]
    title = f"{name}: {ratio:.1f} times the fastest peer" if ratio else f"{name}: no peer to compare with"
    rest = one["ns_per_bar"] - one["stage_one_ns_per_bar"] - one["replay_ns_per_bar"]
    notes = f"stage one {one['stage_one_ns_per_bar']:.1f} (the two means alone {one['means_ns_per_bar']:.1f}), "
    notes += (
        f"replay {one['replay_ns_per_bar']:.1f} ({one['replay_ns_per_held_bar']:.1f} a held bar), config, trades and metrics {rest:.1f}; "
    )
    notes += f"certificate, once: {one['certificate_ms']:,.0f} ms"
    table = Table(title=title, caption=notes, title_justify="left", caption_justify="left")
    for column in ("", "ns a bar", "peak MB", "trades", "final equity"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row(
        OURS, f"{one['ns_per_bar']:,.1f}", _mb(one.get("peak_mb")), f"{one['trades']:,}", f"{one['final_equity']:,.2f}", style="bold"
    )
    for peer, time_ns in sorted(one["peers"].items(), key=lambda item: item[1]):
        peak, equity = one.get("peer_peak_mb", {}).get(peer), one["peer_final_equity"][peer]
        most = PEERS[peer].most_bars
        table.add_row(
            f"{peer}, {most:,} bars" if most else peer, f"{time_ns:,.1f}", _mb(peak), f"{one['peer_trades'][peer]:,}", f"{equity:,.2f}"
        )
    return table


def _mb(peak: float | None) -> str:
    return "-" if peak is None else f"{peak:,.0f}"
