"""Selection: which entries drop out, how the rest rank, and which get a slot.  # R4"""

import numpy as np

from engine.choosers import own_rank_key
from engine.crowd import choose, drop_broken_legs, leg_of, rescore
from engine.halts import stopped_entries
from engine.kernel import kernel, shared
from engine.levels import replace_levels
from engine.orders import note_refusal
from engine.proposals import Proposals
from engine.records import post
from engine.risk import side_of
from engine.schema import NONE, Action, OnHeld, OrderType, Reason, RecordKind
from engine.state import State
from engine.tape import Tape, known_until
from engine.targets import is_target, turn_of
from engine.terms import lapsed, reference_price


@kernel
def listed(tape: Tape, symbol: int, ts: int) -> bool:
    """Whether a symbol is in the tradable set: until it expires, and with a universe series not before its first row."""
    spec = tape.specs[symbol]
    if spec["future"] and spec["expiry"] <= ts:
        return False
    if not spec["has_universe"]:
        return True
    first, stop = tape.universe_first[symbol], tape.universe_stop[symbol]
    at = known_until(tape.universe_ts, first, stop, ts) - 1
    return at >= first and tape.universe_listed[at] != 0


@kernel
def has_order_prices(state: State, tape: Tape, proposals: Proposals, i: int) -> bool:
    """Whether an entry has the prices that its type of order needs."""
    side = side_of(turn_of(state, proposals, i))
    return proposals.order_type[i] == OrderType.MARKET or not np.isnan(reference_price(state, tape, proposals, i, side))


@kernel
def drop_reason(state: State, tape: Tape, proposals: Proposals, i: int, now: int) -> int:
    """First reason before CONFLICT for which an entry drops out, or NONE.  # R4.1"""
    row = proposals.row[i]
    if is_target(state, proposals, i) and not np.isfinite(proposals.weight[i]):
        return Reason.INVALID
    if np.isnan(proposals.score[i]) or row < 0 or not np.isfinite(tape.close[max(row, 0)]):
        return Reason.INVALID
    if state.rules[0]["ordered"] and (lapsed(proposals, i, now) or not has_order_prices(state, tape, proposals, i)):
        return Reason.INVALID
    if not listed(tape, proposals.symbol[i], now):
        return Reason.NOT_IN_UNIVERSE
    if proposals.ts[i] < state.rules[0]["start_us"]:
        return Reason.WARMUP
    return stopped_entries(state, proposals.symbol[i], proposals.strategy[i], now)


@kernel
def has_a_say(state: State, proposals: Proposals, i: int, slot: int) -> bool:
    """Whether an entry of a held (strategy, symbol) adds to the position, reverses it, or changes its levels.  # R4.3"""
    position, desk = state.positions[slot], state.desks[proposals.strategy[i]]
    same = side_of(turn_of(state, proposals, i)) == position["side"]
    if is_target(state, proposals, i):
        return position["exit_id"] == 0
    if desk["on_held"] == OnHeld.ADD:
        return same and position["exit_id"] == 0 and position["adds"] < desk["max_adds"]
    if desk["on_held"] == OnHeld.REVERSE:
        return not same and position["exit_id"] == 0
    return desk["on_held"] == OnHeld.REPLACE_LEVELS and same and leg_of(proposals, i) <= 0


@kernel
def take_key(state: State, tape: Tape, proposals: Proposals, start: int, i: int, free: int) -> bool:
    """Note what an entry is ranked by: its score, or what the user's selector makes of it; whether that ranks it.  # R4.2"""
    if state.rules[0]["selector_model"] == 0:
        state.keys[i - start] = proposals.score[i]
        return True
    key = own_rank_key(state, tape, proposals, i, side_of(turn_of(state, proposals, i)), free)
    state.keys[i - start] = key
    return np.isfinite(key)


@kernel
def drop_group(state: State, tape: Tape, proposals: Proposals, start: int, first: int, stop: int, free: int) -> None:
    """Reasons from CONFLICT on for the entries ``first:stop`` of one (symbol, strategy) at one instant.  # R4.1"""
    long, short = False, False
    for i in range(first, stop):
        if state.reasons[i - start] == Reason.NONE and turn_of(state, proposals, i) <= Action.ENTER_SHORT:
            if side_of(turn_of(state, proposals, i)) > 0:
                long = True
            else:
                short = True
    slot = proposals.symbol[first] * len(state.desks) + proposals.strategy[first]
    best = NONE
    for i in range(first, stop):
        if state.reasons[i - start] != Reason.NONE or turn_of(state, proposals, i) > Action.ENTER_SHORT:
            continue
        reason = Reason.NONE
        if long and short:
            reason = Reason.CONFLICT
        elif state.positions[slot]["lots"] != 0 and not (state.rules[0]["crowding"] and has_a_say(state, proposals, i, slot)):
            reason = Reason.ALREADY_HELD
        elif state.entries[slot]["order_id"] != 0:
            reason = Reason.ALREADY_PENDING
        elif proposals.score[i] < state.rules[0]["min_score"]:
            reason = Reason.BELOW_MIN_SCORE
        elif not take_key(state, tape, proposals, start, i, free):
            reason = Reason.NO_RANK
        elif best == NONE:
            best = i
        elif state.keys[i - start] > state.keys[best - start]:
            state.reasons[best - start] = Reason.DUPLICATE
            best = i
        else:
            reason = Reason.DUPLICATE
        state.reasons[i - start] = reason


@kernel
def rank_before(state: State, start: int, i: int, j: int) -> bool:
    """Whether proposal ``i`` ranks before ``j``; rows are already in (symbol, strategy, sequence) order.  # R4.2"""
    if state.keys[i - start] != state.keys[j - start]:
        return state.keys[i - start] > state.keys[j - start]
    return i < j


@kernel
def sort_by_rank(state: State, start: int, n: int) -> None:
    """Shell sort of the first ``n`` of ``state.ranked`` (Ciura's gaps; the order is total, so stability does not matter)."""
    for gap in (701, 301, 132, 57, 23, 10, 4, 1):
        for i in range(gap, n):
            candidate = state.ranked[i]
            j = i
            while j >= gap and rank_before(state, start, candidate, state.ranked[j - gap]):
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
        taken -= account["n_exits"] - account["n_cuts"]
    return max(0, rules["max_positions"] - taken)


@kernel
def drop(state: State, tape: Tape, proposals: Proposals, start: int, stop: int, now: int, free: int) -> None:
    """The first reason of R4.1 for each entry, into ``state.reasons``."""
    for i in range(start, stop):
        entry = turn_of(state, proposals, i) <= Action.ENTER_SHORT
        state.reasons[i - start] = drop_reason(state, tape, proposals, i, now) if entry else Reason.NONE
    first = start
    for i in range(start + 1, stop + 1):
        same = i < stop and proposals.symbol[i] == proposals.symbol[first] and proposals.strategy[i] == proposals.strategy[first]
        if not same:
            drop_group(state, tape, proposals, start, first, i, free)
            first = i
    if state.rules[0]["crowding"]:
        drop_broken_legs(state, proposals, start, stop)


@kernel
def replaces(state: State, proposals: Proposals, i: int, slot: int) -> bool:
    """Whether an entry changes the levels of what is held.  # R4.3"""
    if is_target(state, proposals, i):
        return False
    return state.positions[slot]["lots"] != 0 and state.desks[proposals.strategy[i]]["on_held"] == OnHeld.REPLACE_LEVELS


@kernel
def keep_or_record(state: State, tape: Tape, proposals: Proposals, start: int, stop: int, now: int) -> int:
    """REJECTED, LEVELS or a count for those that end here; the others go into ``state.ranked``, and their number back."""
    n, n_strategies = 0, len(state.desks)
    for i in range(start, stop):
        if turn_of(state, proposals, i) > Action.ENTER_SHORT:
            continue
        reason = state.reasons[i - start]
        slot = proposals.symbol[i] * n_strategies + proposals.strategy[i]
        if reason == Reason.ALREADY_HELD or reason == Reason.ALREADY_PENDING:
            state.outcomes[i] = reason
        elif reason != Reason.NONE:
            score = 0.0 if np.isnan(proposals.score[i]) else proposals.score[i]
            side = side_of(turn_of(state, proposals, i))
            seq = post(state, now, RecordKind.REJECTED, reason, slot, NONE, i, side, 0, 0.0, 0, 0, score, NONE, 0, 0)
            if is_target(state, proposals, i) and np.isfinite(proposals.weight[i]):
                note_refusal(state, slot, side, reason, seq)
        elif state.rules[0]["crowding"] and replaces(state, proposals, i, slot):
            replace_levels(state, tape, proposals, slot, i, now)
        else:
            state.ranked[n] = i
            if state.rules[0]["crowding"]:
                state.entries[slot]["victim"] = NONE
            n += 1
    return n


@shared
def select(state: State, tape: Tape, proposals: Proposals, start: int, stop: int, now: int) -> int:
    """Drop, rank and choose among the proposals ``start:stop`` of one instant.

    Returns the number selected; their rows stand first in ``state.ranked``, in rank order, and the seq of each SELECTED record and its rank in
    its slot's ``cause`` and ``rank``.
    """
    n_strategies = len(state.desks)
    free, chosen = free_slots(state), 0
    if state.rules[0]["crowding"]:
        rescore(state, tape, proposals, start, stop, free)
    drop(state, tape, proposals, start, stop, now, free)
    n = keep_or_record(state, tape, proposals, start, stop, now)
    if n > 1:
        sort_by_rank(state, start, n)
    if state.rules[0]["crowding"]:
        choose(state, tape, proposals, start, n, free)
    for rank in range(n):
        i = state.ranked[rank]
        slot = proposals.symbol[i] * n_strategies + proposals.strategy[i]
        side, score, key = side_of(turn_of(state, proposals, i)), proposals.score[i], state.keys[i - start]
        if (state.reasons[i - start] == Reason.NONE) if state.rules[0]["crowding"] else rank < free:
            root = post(state, now, RecordKind.PROPOSAL, Reason.NONE, slot, NONE, i, side, 0, 0.0, 0, 0, score, NONE, 0, 0)
            seq = post(state, now, RecordKind.SELECTED, Reason.NONE, slot, NONE, i, side, 0, 0.0, 0, 0, key, root, rank + 1, 0)
            order = state.entries[slot]
            order["cause"], order["rank"], order["key"] = seq, rank + 1, key
            if state.rules[0]["aiming"]:
                order["aimed"] = is_target(state, proposals, i)
            state.ranked[chosen] = i
            chosen += 1
        else:
            seq = post(state, now, RecordKind.REJECTED, Reason.NOT_SELECTED, slot, NONE, i, side, 0, 0.0, 0, 0, key, NONE, rank + 1, 0)
            if is_target(state, proposals, i):
                note_refusal(state, slot, side, Reason.NOT_SELECTED, seq)
    return chosen
