"""The replay: one loop over the instants at which anything can change.

At each instant, in the order of R1.2:

1. BAR_PATH: touches inside the bars that end now (``bars``), of entries that rest too (``resting``), and ``liquidation``
2. FUNDING_UPDATE: payments on positions held (``funding``), then interest on shorts and debt (``interest``)
3. CANDLE_CLOSE: marks and ages (``bars``)
4. SETTLEMENT: futures marked to market, or expired (``settlement``)
5. UNIVERSE_UPDATED: symbols that leave (``life``)
6. TRADE_PROPOSED: ruin (``life``), the equity sample and halts (``halts``), exits (``decisions``), selection (``selector``)
7. RISK: the gate (``risk``)
8. EXECUTION: orders rest, or fill at the close (``decisions``)
9. CORPORATE_ACTION: splits, dividends, delistings (``actions``)
10. BAR_OPEN: what the open decides (``bars``), then entries (``decisions``)

Spread snapshots are looked up where a fill needs one.  This module owns the order, ``clocks`` the times, and neither a business rule.
"""

from engine.actions import corporate_actions
from engine.bars import bar_paths, close_candles, open_bars
from engine.clocks import fetch_ahead, next_instant, proposals_at, time_all
from engine.coast import coast
from engine.conversion import learn_rates
from engine.decisions import execute, fill_entries, fill_exits_at_close, propose_exits
from engine.fees import settle_tier
from engine.funding import pay_funding
from engine.halts import fill_samples, is_sample, sample_equity
from engine.interest import pay_interest
from engine.kernel import entry, entry_with, kernel
from engine.layout import PLAIN
from engine.life import close_if_ruined, finish, update_universe
from engine.liquidation import margined_opens, margined_paths
from engine.proposals import Proposals
from engine.records import post
from engine.resting import resting_paths
from engine.risk import gate
from engine.schema import NEVER, NONE, EventKind, Reason, RecordKind, Timing
from engine.selector import select
from engine.settlement import settle_futures
from engine.state import State
from engine.tape import Tape
from engine.targets import aim, close_refused
from engine.terms import pass_bars

DONE, FULL, PAUSED, OVERFLOW, UNPRICED, DECIDING, UNRATED = 0, 1, 2, 3, 4, 5, 6


@entry
def replay(tape: Tape, proposals: Proposals, state: State, until: int, visit: int, watched: bool) -> int:
    """Replay any run."""
    return run(tape, proposals, state, until, visit, watched)


@entry_with(**PLAIN)
def replay_plain(tape: Tape, proposals: Proposals, state: State, until: int, visit: int, watched: bool) -> int:
    """Replay a plain run, with code for nothing else."""
    return run(tape, proposals, state, until, visit, watched)


@kernel
def run(tape: Tape, proposals: Proposals, state: State, until: int, visit: int, watched: bool) -> int:
    """Replay to the end, or through the last instant at or before ``until``.

    Parameters
    ----------
    visit
        An instant to stop at though nothing be due then; NEVER: none.
    watched
        Whether to return before the decisions of every instant.

    Returns
    -------
    int
        DONE; PAUSED at ``until``; DECIDING: the decisions of the instant ``now`` come next; FULL: the ledger needs room, call again with a larger
        one; OVERFLOW, UNPRICED and UNRATED: see the account's fields of those names.
    """
    account = state.account[0]
    if account["seq"] == 0:
        start = state.rules[0]["start_us"]
        post(state, start, RecordKind.DEPOSIT, Reason.NONE, -1, NONE, NONE, 0, 0, 0.0, 0, account["cash"], 0.0, NONE, 0, 0)
    while not account["ended"]:
        midway, now = account["midway"] != 0, account["now"]
        if account["overflow"] != NONE or account["unpriced"] != NONE or account["unrated"] != NONE:
            return failure(state)
        if not midway:
            coast(tape, proposals, state, min(until, visit - 1))
            now = min(next_instant(tape, proposals, state), visit)
            if now > until:
                return PAUSED
        batch = proposals_at(proposals, account["next_proposal"], now)
        room = 64 + 24 * (account["n_held"] + account["n_queue"] + batch) + 4 * len(state.watches)
        if len(state.ledger) - account["seq"] < room:
            return FULL
        if now == NEVER:
            finish(tape, state)
            continue
        if not midway:
            account["now"] = now
            observe(tape, proposals, state, now)
            if watched:
                account["midway"] = 1
                return DECIDING
        account["midway"] = 0
        decide(tape, proposals, state, now, batch)
    return failure(state)


@kernel
def failure(state: State) -> int:
    """Why a run cannot go on; DONE: it has ended well."""
    account = state.account[0]
    if account["unrated"] != NONE:
        return UNRATED
    if account["unpriced"] != NONE:
        return UNPRICED
    return OVERFLOW if account["overflow"] != NONE else DONE


@kernel
def observe(tape: Tape, proposals: Proposals, state: State, now: int) -> None:
    """What happens at one timestamp before its decisions, in the order of R1.2."""
    account, resting = state.account[0], state.rules[0]["resting"]
    settle_tier(state, tape, now)
    learn_rates(tape, state, now)
    account["phase"] = EventKind.BAR_PATH
    if resting and account["n_queue"] > 0:
        resting_paths(tape, proposals, state, now)
    elif account["n_levels"] > 0 and state.rules[0]["liquidates"]:
        margined_paths(tape, state, now)
    elif account["n_levels"] > 0:
        bar_paths(tape, state, now)
    account["phase"] = EventKind.FUNDING_UPDATE
    pay_funding(tape, state, now)
    if state.rules[0]["charging"]:
        pay_interest(tape, state, now)
    account["phase"] = EventKind.CANDLE_CLOSE
    close_candles(tape, state, now)
    if resting:
        pass_bars(state, tape, now)
    if state.rules[0]["settling"]:
        account["phase"] = EventKind.SETTLEMENT
        settle_futures(tape, state, now)
    account["phase"] = EventKind.UNIVERSE_UPDATED
    update_universe(tape, state, now)


@kernel
def decide(tape: Tape, proposals: Proposals, state: State, now: int, batch: int) -> None:
    """The decisions of one timestamp and what comes after them, in the order of R1.2."""
    account, timing = state.account[0], state.rules[0]["timing"]
    first = account["next_proposal"]
    stop = first + batch
    account["next_proposal"] = stop
    fetch_ahead(tape, proposals, first, stop)
    account["phase"] = EventKind.TRADE_PROPOSED
    fill_samples(tape, state, now)
    if is_sample(tape, account["sampled"], now):  # as it is wherever a bar closes
        close_if_ruined(tape, state, now)
        if account["ended"]:
            return
        sample_equity(state, tape, now)
    if timing == Timing.NEXT_CLOSE:
        fill_exits_at_close(tape, state, now)
    propose_exits(tape, proposals, state, first, stop, now)
    if state.rules[0]["aiming"]:
        aim(state, tape, proposals, first, stop, now)
    if timing == Timing.CLOSE:
        fill_exits_at_close(tape, state, now)
    n_selected = 0
    if batch > 0:
        n_selected = select(state, tape, proposals, first, stop, now)
    account["phase"] = EventKind.RISK
    if n_selected > 0:
        gate(state, tape, proposals, n_selected, now)
    account["phase"] = EventKind.EXECUTION
    if timing == Timing.NEXT_CLOSE:
        fill_entries(tape, proposals, state, now, False)
    execute(tape, proposals, state, n_selected, now)
    if state.rules[0]["aiming"]:
        close_refused(state, tape, now)
        if timing == Timing.CLOSE:
            fill_exits_at_close(tape, state, now)
    account["phase"] = EventKind.CORPORATE_ACTION
    corporate_actions(tape, state, now)
    account["phase"] = EventKind.BAR_OPEN
    if state.rules[0]["liquidates"]:
        margined_opens(tape, state, now)
    else:
        open_bars(tape, state, now)
    if state.rules[0]["resting"] or timing == Timing.NEXT_OPEN:
        fill_entries(tape, proposals, state, now, True)
    account["next_due"] = time_all(tape, state, now)
