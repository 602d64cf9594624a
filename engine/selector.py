"""Selection: which entries drop out, how the rest rank, and which get a slot.  # R4"""

import numpy as np

from engine.kernel import kernel
from engine.records import post
from engine.risk import side_of
from engine.schema import NONE, Action, OrderType, Reason, RecordKind
from engine.state import State
from engine.tape import Proposals, Tape, known_until
from engine.terms import lapsed, reference_price


@kernel
def listed(tape: Tape, symbol: int, ts: int) -> bool:
    """Whether a symbol is in the tradable set: always without a universe series, else not before its first row."""
    if not tape.specs[symbol]["has_universe"]:
        return True
    first, stop = tape.universe_first[symbol], tape.universe_stop[symbol]
    at = known_until(tape.universe_ts, first, stop, ts) - 1
    return at >= first and tape.universe_listed[at] != 0


@kernel
def drop_reason(state: State, tape: Tape, proposals: Proposals, i: int, now: int, halted: bool) -> int:
    """First reason before CONFLICT for which an entry drops out, or NONE.  # R4.1"""
    row = proposals.row[i]
    if np.isnan(proposals.score[i]) or row < 0 or not np.isfinite(tape.close[max(row, 0)]):
        return Reason.INVALID
    if proposals.order_type[i] != OrderType.MARKET and np.isnan(reference_price(state, tape, proposals, i, side_of(proposals.action[i]))):
        return Reason.INVALID
    if lapsed(proposals, i, now):
        return Reason.INVALID
    if not listed(tape, proposals.symbol[i], now):
        return Reason.NOT_IN_UNIVERSE
    if proposals.ts[i] < state.rules[0]["start_us"]:
        return Reason.WARMUP
    if halted:
        return Reason.HALTED
    return Reason.NONE


@kernel
def drop_group(state: State, proposals: Proposals, start: int, first: int, stop: int) -> None:
    """Reasons from CONFLICT on for the entries ``first:stop`` of one (symbol, strategy) at one instant.  # R4.1"""
    long, short = False, False
    for i in range(first, stop):
        if state.reasons[i - start] == Reason.NONE and proposals.action[i] <= Action.ENTER_SHORT:
            if side_of(proposals.action[i]) > 0:
                long = True
            else:
                short = True
    slot = proposals.symbol[first] * len(state.desks) + proposals.strategy[first]
    best = NONE
    for i in range(first, stop):
        if state.reasons[i - start] != Reason.NONE or proposals.action[i] > Action.ENTER_SHORT:
            continue
        reason = Reason.NONE
        if long and short:
            reason = Reason.CONFLICT
        elif state.positions[slot]["lots"] != 0:
            reason = Reason.ALREADY_HELD
        elif state.entries[slot]["order_id"] != 0:
            reason = Reason.ALREADY_PENDING
        elif proposals.score[i] < state.rules[0]["min_score"]:
            reason = Reason.BELOW_MIN_SCORE
        elif best == NONE:
            best = i
        elif proposals.score[i] > proposals.score[best]:
            state.reasons[best - start] = Reason.DUPLICATE
            best = i
        else:
            reason = Reason.DUPLICATE
        state.reasons[i - start] = reason


@kernel
def rank_before(proposals: Proposals, i: int, j: int) -> bool:
    """Whether proposal ``i`` ranks before ``j``; rows are already in (symbol, strategy, sequence) order.  # R4.2"""
    if proposals.score[i] != proposals.score[j]:
        return proposals.score[i] > proposals.score[j]
    return i < j


@kernel
def sort_by_rank(state: State, proposals: Proposals, n: int) -> None:
    """Shell sort of the first ``n`` of ``state.ranked`` (Ciura's gaps; the order is total, so stability does not matter)."""
    for gap in (701, 301, 132, 57, 23, 10, 4, 1):
        for i in range(gap, n):
            candidate = state.ranked[i]
            j = i
            while j >= gap and rank_before(proposals, candidate, state.ranked[j - gap]):
                state.ranked[j] = state.ranked[j - gap]
                j -= gap
            state.ranked[j] = candidate


@kernel
def free_slots(state: State) -> int:
    """Slots that neither a position nor a pending entry takes.  # R4.2, R4.4"""
    account, rules = state.account[0], state.rules[0]
    taken = account["n_held"]
    for i in range(account["n_queue"]):
        taken += state.positions[state.queue[i]]["lots"] == 0
    if rules["reuse_pending_exit"]:
        taken -= account["n_exits"]
    return max(0, rules["max_positions"] - taken)


@kernel
def select(state: State, tape: Tape, proposals: Proposals, start: int, stop: int, now: int, halted: bool) -> int:
    """Drop, rank and choose among the proposals ``start:stop`` of one instant.

    Returns the number selected; their rows stand first in ``state.ranked``, in rank order, and the seq of each SELECTED record in its
    slot's ``cause``.
    """
    n_strategies = len(state.desks)
    for i in range(start, stop):
        entry = proposals.action[i] <= Action.ENTER_SHORT
        state.reasons[i - start] = drop_reason(state, tape, proposals, i, now, halted) if entry else Reason.NONE
    first = start
    for i in range(start + 1, stop + 1):
        same = i < stop and proposals.symbol[i] == proposals.symbol[first] and proposals.strategy[i] == proposals.strategy[first]
        if not same:
            drop_group(state, proposals, start, first, i)
            first = i
    n = 0
    for i in range(start, stop):
        reason = state.reasons[i - start]
        if proposals.action[i] > Action.ENTER_SHORT:
            continue
        if reason == Reason.NONE:
            state.ranked[n] = i
            n += 1
        elif reason == Reason.ALREADY_HELD or reason == Reason.ALREADY_PENDING:
            state.outcomes[i] = reason
        else:
            slot = proposals.symbol[i] * n_strategies + proposals.strategy[i]
            score = 0.0 if np.isnan(proposals.score[i]) else proposals.score[i]
            side = side_of(proposals.action[i])
            post(state, now, RecordKind.REJECTED, reason, slot, NONE, i, side, 0, 0.0, 0, 0, score, NONE, 0, 0)
    if n > 1:
        sort_by_rank(state, proposals, n)
    chosen = min(n, free_slots(state))
    for rank in range(n):
        i = state.ranked[rank]
        slot = proposals.symbol[i] * n_strategies + proposals.strategy[i]
        side, score = side_of(proposals.action[i]), proposals.score[i]
        if rank < chosen:
            root = post(state, now, RecordKind.PROPOSAL, Reason.NONE, slot, NONE, i, side, 0, 0.0, 0, 0, score, NONE, 0, 0)
            seq = post(state, now, RecordKind.SELECTED, Reason.NONE, slot, NONE, i, side, 0, 0.0, 0, 0, score, root, rank + 1, 0)
            state.entries[slot]["cause"] = seq
        else:
            post(state, now, RecordKind.REJECTED, Reason.NOT_SELECTED, slot, NONE, i, side, 0, 0.0, 0, 0, score, NONE, rank + 1, 0)
    return chosen
