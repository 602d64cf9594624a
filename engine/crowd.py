"""Selection beyond the number of free slots: groups, strategies, legs of one decision, positions that make room.  # R4.2, R4.3"""

import numpy as np

from engine.choosers import own_rank_key
from engine.kernel import kernel, shared
from engine.orders import leaves
from engine.proposals import Proposals
from engine.schema import NEVER, NONE, Action, Reason
from engine.state import State
from engine.tape import Tape
from engine.targets import turn_of


@kernel
def leg_of(proposals: Proposals, i: int) -> int:
    """Number of the leg's decision; not positive: a decision of its own."""
    return proposals.leg[i] if len(proposals.leg) > 0 else 0


@kernel
def same_unit(proposals: Proposals, i: int, j: int) -> bool:
    """Whether two rows of one instant are one decision."""
    leg = leg_of(proposals, i)
    return i == j or (leg > 0 and leg == leg_of(proposals, j) and proposals.strategy[i] == proposals.strategy[j])


@shared
def drop_broken_legs(state: State, proposals: Proposals, start: int, stop: int) -> None:
    """LEG_REFUSED for the legs of which another has dropped out.  # R4.1"""
    for i in range(start, stop):
        reason = state.reasons[i - start]
        broken = reason != Reason.NONE and reason != Reason.LEG_REFUSED
        if not broken or leg_of(proposals, i) <= 0 or turn_of(state, proposals, i) > Action.ENTER_SHORT:
            continue
        for j in range(start, stop):
            entry = turn_of(state, proposals, j) <= Action.ENTER_SHORT
            if entry and state.reasons[j - start] == Reason.NONE and same_unit(proposals, i, j):
                state.reasons[j - start] = Reason.LEG_REFUSED


@shared
def rescore(state: State, tape: Tape, proposals: Proposals, start: int, stop: int, free: int) -> None:
    """The present rank key of a position, which rotation alone asks for, is that of the last proposal of its side.  # R4.2"""
    n_strategies, own = len(state.desks), state.rules[0]["selector_model"] != 0
    if not state.rules[0]["rotate_margin"] < np.inf:
        return
    for i in range(start, stop):
        position = state.positions[proposals.symbol[i] * n_strategies + proposals.strategy[i]]
        wanted = 1 if turn_of(state, proposals, i) == Action.ENTER_LONG else -1
        held = position["lots"] != 0 and turn_of(state, proposals, i) <= Action.ENTER_SHORT
        if not held or wanted != position["side"] or np.isnan(proposals.score[i]):
            continue
        if not own:
            position["score"] = proposals.score[i]
        elif np.isfinite(tape.close[proposals.row[i]]):
            key = own_rank_key(state, tape, proposals, i, wanted, free)
            position["score"] = key if np.isfinite(key) else position["score"]


@kernel
def place_of_strategy(state: State, strategy: int) -> int:
    """Where the tally counts a strategy; groups come before, the account's two sums before those."""
    return len(state.tally) - len(state.desks) + strategy


@kernel
def count_slot(state: State, tape: Tape, slot: int, by: int) -> None:
    """Count a slot for its group and its strategy."""
    symbol, strategy = state.positions[slot]["symbol"], state.positions[slot]["strategy"]
    if tape.specs[symbol]["group"] != NONE:
        state.tally[2 + tape.specs[symbol]["group"]] += by
    state.tally[place_of_strategy(state, strategy)] += by


@shared
def tally_slots(state: State, tape: Tape) -> None:
    """Count the slots in use by group and by strategy, as ``free_slots`` counts them."""
    account, reuse = state.account[0], state.rules[0]["reuse_pending_exit"] != 0
    state.tally[:] = 0
    for i in range(account["n_held"]):
        if not (reuse and leaves(state, state.held[i])):
            count_slot(state, tape, state.held[i], 1)
    for i in range(account["n_queue"]):
        if state.positions[state.queue[i]]["lots"] == 0:
            count_slot(state, tape, state.queue[i], 1)


@shared
def choose(state: State, tape: Tape, proposals: Proposals, start: int, n: int, free: int) -> None:
    """Walk the ``n`` ranked and mark those that get no slot NOT_SELECTED in ``state.reasons``.  # R4.2"""
    tally_slots(state, tape)
    for rank in range(n):
        if is_first_leg(state, proposals, rank):
            free -= choose_unit(state, tape, proposals, start, rank, n, free)


@kernel
def is_first_leg(state: State, proposals: Proposals, rank: int) -> bool:
    """Whether no leg of the same decision is ranked before."""
    if leg_of(proposals, state.ranked[rank]) > 0:
        for other in range(rank):
            if state.ranked[other] >= 0 and same_unit(proposals, state.ranked[rank], state.ranked[other]):
                return False
    return True


@shared
def choose_unit(state: State, tape: Tape, proposals: Proposals, start: int, rank: int, n: int, free: int) -> int:
    """Choose all legs of a decision, or mark them NOT_SELECTED; the free slots that it takes."""
    head = state.ranked[rank]
    going = makes_room(state, proposals, rank, n)
    wanted = 0 if going else count_unit(state, tape, proposals, rank, n, 1)
    fits = not going and not crowded(state, tape, proposals, rank, n)
    if fits and wanted > free:
        victim = weakest(state, state.keys[head - start]) if leg_of(proposals, head) <= 0 else NONE
        fits = victim != NONE
        if fits:
            count_slot(state, tape, victim, -1)
            state.positions[victim]["busy_at"] = state.account[0]["now"]
            state.entries[head_slot(state, proposals, head)]["victim"] = victim
            wanted = 0
    if fits:
        return wanted
    if not going:
        count_unit(state, tape, proposals, rank, n, -1)
    for other in range(rank, n):
        if same_unit(proposals, head, state.ranked[other]):
            state.reasons[state.ranked[other] - start] = Reason.NOT_SELECTED
    return 0


@kernel
def makes_room(state: State, proposals: Proposals, rank: int, n: int) -> bool:
    """Whether a decision is about a position that is rotated out at this instant."""
    last = n if leg_of(proposals, state.ranked[rank]) > 0 else rank + 1
    for other in range(rank, last):
        position = state.positions[head_slot(state, proposals, state.ranked[other])]
        held = position["lots"] != 0 and position["busy_at"] == state.account[0]["now"]
        if held and same_unit(proposals, state.ranked[rank], state.ranked[other]):
            return True
    return False


@kernel
def head_slot(state: State, proposals: Proposals, i: int) -> int:
    """Slot of a proposal."""
    return proposals.symbol[i] * len(state.desks) + proposals.strategy[i]


@kernel
def count_unit(state: State, tape: Tape, proposals: Proposals, rank: int, n: int, by: int) -> int:
    """Count the new slots of a decision's legs for their groups and strategies; how many there are."""
    wanted = 0
    last = n if leg_of(proposals, state.ranked[rank]) > 0 else rank + 1
    for other in range(rank, last):
        slot = head_slot(state, proposals, state.ranked[other])
        if not same_unit(proposals, state.ranked[rank], state.ranked[other]):
            continue
        if state.positions[slot]["lots"] == 0:
            count_slot(state, tape, slot, by)
            wanted += 1
        else:
            state.positions[slot]["busy_at"] = state.account[0]["now"] if by > 0 else -NEVER
    return wanted


@kernel
def crowded(state: State, tape: Tape, proposals: Proposals, rank: int, n: int) -> bool:
    """Whether a group or a strategy holds too many, a decision's new slots counted.  # R4.2"""
    rules = state.rules[0]
    last = n if leg_of(proposals, state.ranked[rank]) > 0 else rank + 1
    for other in range(rank, last):
        i = state.ranked[other]
        slot = head_slot(state, proposals, i)
        if not same_unit(proposals, state.ranked[rank], i) or state.positions[slot]["lots"] != 0:
            continue
        group = tape.specs[proposals.symbol[i]]["group"]
        if group != NONE and state.tally[2 + group] > rules["max_per_group"]:
            return True
        if state.tally[place_of_strategy(state, proposals.strategy[i])] > rules["max_per_strategy"]:
            return True
    return False


@shared
def weakest(state: State, key: float) -> int:
    """Slot of the position with the lowest present rank key, if that of a proposal beats it by the margin; NONE otherwise.  # R4.2"""
    account, margin = state.account[0], state.rules[0]["rotate_margin"]
    if not margin < np.inf:
        return NONE
    found, lowest = NONE, np.inf
    for k in range(account["n_held"]):
        slot = state.held[k]
        position = state.positions[slot]
        busy = position["exit_id"] != 0 or position["busy_at"] == account["now"] or state.entries[slot]["order_id"] != 0
        if not busy and (found == NONE or position["score"] < lowest):
            found, lowest = slot, position["score"]
    return found if found != NONE and key > lowest and key >= lowest + margin else NONE
