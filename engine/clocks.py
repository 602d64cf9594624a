"""When the replay has something to do: the next instant, what is due then, and what is timed anew after it.  # R10.1"""

from engine.block import prefetch
from engine.interest import time_debt
from engine.kernel import entry, kernel
from engine.life import last_sample
from engine.orders import time_entry, time_position
from engine.portfolio import equity
from engine.proposals import Proposals
from engine.schema import NEVER
from engine.state import State
from engine.tape import Tape

AHEAD = 4  # proposals


@kernel
def next_instant(tape: Tape, proposals: Proposals, state: State) -> int:
    """The earliest time at which anything can change; NEVER at the end.  # R10.1"""
    account = state.account[0]
    now = NEVER
    if account["next_proposal"] < len(proposals.available_ts):
        now = proposals.available_ts[account["next_proposal"]]
    now = min(now, account["next_due"])
    rules = state.rules[0]
    looks = rules["watching"] != 0 or rules["liquidates"] != 0  # at more than equity, at a sample
    moved = equity(state) != account["last_equity"] or (looks and account["seq"] != account["watched_seq"])
    drifts = rules["converts"] != 0 or (rules["tiered"] != 0 and rules["maintenance_fee"] != 0)  # a rate or a tier moves maintenance
    moved = moved or (rules["liquidates"] != 0 and drifts)
    if moved and account["sampled"] < len(tape.grid):
        now = min(now, tape.grid[account["sampled"]])
    return now if now <= last_sample(tape, state) else NEVER


@entry
def coming_instant(tape: Tape, proposals: Proposals, state: State) -> int:
    """The same, for sessions that are stepped."""
    return next_instant(tape, proposals, state)


@kernel
def proposals_at(proposals: Proposals, first: int, now: int) -> int:
    """How many proposals from ``first`` on are known from ``now``."""
    stop = first
    while stop < len(proposals.available_ts) and proposals.available_ts[stop] == now:
        stop += 1
    return stop - first


@kernel
def time_all(tape: Tape, state: State, now: int) -> int:
    """Time anew what was visited; the earliest visit that anything needs."""
    account, rules, due, other = state.account[0], state.rules[0], NEVER, NEVER
    met = len(tape.funding_ts) > 0 or rules["settling"] != 0  # what ``next_other`` is looked at for
    if rules["charging"]:
        due = time_debt(tape, state, now)
    for i in range(account["n_held"]):
        slot = state.held[i]
        if state.positions[slot]["next_ts"] <= now:
            time_position(state, tape, slot)
        due = min(due, state.positions[slot]["next_ts"])
        if met:
            other = min(other, state.positions[slot]["other_ts"])
    account["next_other"] = other
    for i in range(account["n_queue"]):
        slot = state.queue[i]
        time_entry(state, tape, slot)
        due = min(due, state.entries[slot]["next_ts"])
    return due


@kernel
def fetch_ahead(tape: Tape, proposals: Proposals, first: int, stop: int) -> None:
    """Bring near the bars at which proposals soon to come are decided and filled: they lie far apart in memory."""
    for i in range(first + AHEAD, min(stop + AHEAD, len(proposals.row))):
        row = proposals.row[i]
        prefetch(tape.close, row)
        prefetch(tape.ts, row)
        prefetch(tape.open_ts, row + 1)
        prefetch(tape.bid_open, row + 1)
        prefetch(tape.ask_open, row + 1)
