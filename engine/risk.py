"""The gate: sizes what was selected, in rank order, against running reservations, and reserves or refuses.  # R5.1, R5.2"""

import numpy as np

from engine.choosers import own_quantity
from engine.conversion import is_unrated
from engine.crowd import is_first_leg, leg_of, place_of_strategy, same_unit
from engine.execution import reserve
from engine.kernel import kernel, shared
from engine.money import MONEY_LIMIT, grid_steps, money, quantity, whole_lots
from engine.orders import note_refusal
from engine.portfolio import counts_as_free, equity, free_cash, freed_by_closing, note_overflow, notional
from engine.prices import half_spread_of_close
from engine.proposals import Proposals
from engine.records import post
from engine.schema import NONE, Action, Reason, RecordKind, SizeKind
from engine.sizing import (
    all_in_lots,
    most_lots,
    most_lots_of_value,
    notional_of,
    outlay,
    own_share,
    stop_price,
    unit_loss,
    unit_worth,
    wanted_quantity,
)
from engine.splits import restated_level
from engine.state import State
from engine.tape import Tape, rules_at
from engine.targets import is_target, missing_quantity, turn_of
from engine.terms import reference_price

GROSS, NET = 0, 1
"""Places in the tally of exposures; groups follow, then strategies."""

LIMITS = (
    Reason.CASH_BUFFER,
    Reason.MAX_POSITION,
    Reason.MAX_GROSS,
    Reason.MAX_NET,
    Reason.MAX_GROUP,
    Reason.MAX_STRATEGY,
    Reason.INSUFFICIENT_CASH,
)
"""The limits in the order in which they are tested."""


@kernel
def side_of(action: int) -> int:
    """+1 for an entry that buys, -1 for one that sells.

    >>> int(side_of(Action.ENTER_LONG)), int(side_of(Action.ENTER_SHORT))
    (1, -1)
    """
    return 1 if action == Action.ENTER_LONG else -1


@kernel
def expose(state: State, tape: Tape, slot: int, worth: int, by: int) -> None:
    """Count a notional, signed by its side, for the account, the slot's group and its strategy; ``by`` -1 takes it back.  # R5.2, R6.1"""
    symbol, strategy = state.positions[slot]["symbol"], state.positions[slot]["strategy"]
    state.tally[GROSS] += by * abs(worth)
    state.tally[NET] += by * worth
    if tape.specs[symbol]["group"] != NONE:
        state.tally[2 + tape.specs[symbol]["group"]] += by * abs(worth)
    state.tally[place_of_strategy(state, strategy)] += by * abs(worth)


@kernel
def expose_entry(state: State, tape: Tape, slot: int, by: int) -> None:
    """Count a pending entry at its reference; the position that it reverses counts no more."""
    if not state.rules[0]["exposing"]:
        return
    order, position = state.entries[slot], state.positions[slot]
    expose(state, tape, slot, order["side"] * order["value"], by)
    if position["lots"] != 0 and position["side"] != order["side"]:
        expose(state, tape, slot, notional(state, slot), -by)


@kernel
def tally_exposure(state: State, tape: Tape) -> None:
    """Gross and net value of positions at their marks and of pending entries at their references, if a limit asks.  # R5.2, R6.1"""
    if not state.rules[0]["exposing"]:
        return
    account = state.account[0]
    state.tally[:] = 0
    for i in range(account["n_held"]):
        expose(state, tape, state.held[i], notional(state, state.held[i]), 1)
    for i in range(account["n_queue"]):
        expose_entry(state, tape, state.queue[i], 1)


@kernel
def leaving(state: State, slot: int, side: int) -> int:
    """Slot of the position that makes room for an entry: its own, which it reverses, or the one it rotates out; NONE.  # R4.2, R4.3"""
    if state.positions[slot]["lots"] != 0:
        return slot if state.positions[slot]["side"] != side else NONE
    return state.entries[slot]["victim"]


@kernel
def freed(state: State, slot: int, side: int) -> int:
    """Cash that the end of that position would free, at the mark."""
    left = leaving(state, slot, side)
    if left == NONE:
        return 0
    position = state.positions[left]
    return position["margin"] + freed_by_closing(state, left)


@kernel
def sized(
    state: State, tape: Tape, proposals: Proposals, i: int, reference: float, capital: int, free: int, half: float, rule: np.void
) -> tuple[int, int]:
    """Lots that the strategy's size model or the user's own asks for, and the reason where there are none.  # R5.1"""
    rules, symbol = state.rules[0], proposals.symbol[i]
    spec, desk, side = tape.specs[symbol], state.desks[proposals.strategy[i]], side_of(turn_of(state, proposals, i))
    if side < 0 and not spec["shortable"]:
        return 0, Reason.SHORT_NOT_ALLOWED
    aimed = is_target(state, proposals, i)
    if desk["size"] == SizeKind.ALL_IN and not aimed:
        buffer = money(capital * rules["cash_buffer"])
        limit = min(money((free - buffer) * desk["amount"]), money(capital * desk["budget"]))
        lots = all_in_lots(tape, state, symbol, side, limit, reference, half, rule["lot_step"], False)
        return lots, (Reason.NONE if lots > 0 else Reason.NO_SIZE)
    level, kind = proposals.stop_loss[i], proposals.stop_loss_kind[i]
    stop = stop_price(side, reference, restated_level(state, tape, symbol, level, kind, proposals.ts[i]), kind)
    if desk["size"] == SizeKind.FIXED_RISK and not aimed and not grid_steps(side * (reference - stop), rule["tick"], False) >= 1.0:
        return 0, Reason.BAD_STOP
    own = capital / rules["scale"] * desk["budget"]
    each = unit_worth(tape, state, symbol, reference)
    at_risk = unit_loss(reference, stop, spec["multiplier"], spec["inverse"])
    if spec["converts"]:
        at_risk = at_risk * state.rates[symbol]["now"]
    if aimed:
        qty = missing_quantity(state, tape, proposals, i, side, capital, reference)
    elif rules["size_model"] != 0:
        qty = own_quantity(state, tape, proposals, i, side, own, free, reference, stop, each, at_risk)
    elif desk["size"] > SizeKind.ALL_IN:
        qty = own * own_share(proposals, desk, i) / each
    else:
        qty = wanted_quantity(desk["size"], desk["amount"], own, each, at_risk)
    if not 0.0 < qty < np.inf:
        return 0, Reason.NO_SIZE
    lots = whole_lots(qty, rule["lot"]) * rule["lot_step"]
    return lots, (Reason.NONE if lots > 0 else Reason.BELOW_MIN_QTY)


@kernel
def value_room(state: State, tape: Tape, slot: int, side: int, limit: int, capital: int) -> int:
    """Value that an exposure limit leaves for an entry; more than any position is worth where the limit is off.  # R5.2"""
    rules, left = state.rules[0], leaving(state, slot, side)
    symbol, strategy = state.positions[slot]["symbol"], state.positions[slot]["strategy"]
    gone = notional(state, left) if left != NONE else 0
    group, counted = tape.specs[symbol]["group"], 0
    fraction = rules["max_position"]
    if limit == Reason.MAX_POSITION:
        counted = abs(notional(state, slot)) if state.positions[slot]["lots"] != 0 and left == NONE else 0
    elif limit == Reason.MAX_GROSS:
        fraction, counted = rules["max_gross"], state.tally[GROSS] - abs(gone)
    elif limit == Reason.MAX_NET:
        fraction, counted = rules["max_net"], side * (state.tally[NET] - gone)
    elif limit == Reason.MAX_GROUP:
        fraction = rules["max_group"] if group != NONE else np.inf
        if group != NONE:
            same = left != NONE and tape.specs[state.positions[left]["symbol"]]["group"] == group
            counted = state.tally[2 + group] - (abs(gone) if same else 0)
    else:
        same = left != NONE and state.positions[left]["strategy"] == strategy
        fraction, counted = rules["max_strategy"], state.tally[place_of_strategy(state, strategy)] - (abs(gone) if same else 0)
    return money(capital * fraction) - counted if fraction < np.inf else MONEY_LIMIT


@kernel
def under(
    state: State, tape: Tape, slot: int, side: int, limit: int, lots: int, reference: float, half: float, capital: int, free: int, step: int
) -> int:
    """Most lots that one limit allows; all where it is off.  # R5.2"""
    rules, symbol = state.rules[0], state.positions[slot]["symbol"]
    if limit == Reason.INSUFFICIENT_CASH:
        return most_lots(tape, state, symbol, side, free, lots, reference, half, step, False)
    if limit == Reason.CASH_BUFFER:
        if not rules["cash_buffer"] > 0.0:
            return lots
        return most_lots(tape, state, symbol, side, free - money(capital * rules["cash_buffer"]), lots, reference, half, step, False)
    room = value_room(state, tape, slot, side, limit, capital)
    return most_lots_of_value(tape, state, symbol, room, lots, reference, step) if room < MONEY_LIMIT else lots


@kernel
def limited(
    state: State,
    tape: Tape,
    slot: int,
    side: int,
    lots: int,
    reference: float,
    half: float,
    capital: int,
    free: int,
    clip: bool,
    step: int,
) -> tuple[int, int]:
    """Lots that every limit allows, and the reason of the limit that allows none.  # R5.2"""
    for limit in LIMITS:
        allowed = under(state, tape, slot, side, limit, lots, reference, half, capital, free, step)
        if allowed == 0 or (allowed < lots and not clip):
            lacks_margin = limit == Reason.INSUFFICIENT_CASH and counts_as_free(tape, state.positions[slot]["symbol"], side)
            return 0, (Reason.INSUFFICIENT_MARGIN if lacks_margin else limit)
        lots = allowed
    return lots, Reason.NONE


@kernel
def below_minimum(tape: Tape, state: State, symbol: int, lots: int, reference: float, rule: np.void) -> int:
    """BELOW_MIN_QTY, BELOW_MIN_NOTIONAL or NONE.  # R2.7"""
    spec = tape.specs[symbol]
    qty = quantity(lots, spec["lot_units"], spec["lot_power"])
    if qty < rule["min_qty"]:
        return Reason.BELOW_MIN_QTY
    if notional_of(tape, state, symbol, lots, reference) < money(rule["min_notional"] * state.rules[0]["scale"]):
        return Reason.BELOW_MIN_NOTIONAL
    return Reason.NONE


@shared
def judge(state: State, tape: Tape, proposals: Proposals, i: int, capital: int, clip: bool, now: int) -> int:
    """Size one entry and hold it against every limit; reserve and count it, or the reason why not.  # R5.1, R5.2"""
    rules, symbol, side = state.rules[0], proposals.symbol[i], side_of(turn_of(state, proposals, i))
    slot, row = symbol * len(state.desks) + proposals.strategy[i], proposals.row[i]
    reference, released = reference_price(state, tape, proposals, i, side), freed(state, slot, side)
    half = half_spread_of_close(tape, symbol, row, now, rules["default_half_spread"])
    if is_unrated(tape, state, symbol):
        return Reason.NO_SIZE
    free, rule = free_cash(state) + released, tape.rules[rules_at(tape, symbol, now)]
    lots, reason = sized(state, tape, proposals, i, reference, capital, free, half, rule)
    if reason == Reason.NONE:
        lots, reason = limited(state, tape, slot, side, lots, reference, half, capital, free, clip, rule["lot_step"])
    if reason == Reason.NONE:
        reason = below_minimum(tape, state, symbol, lots, reference, rule)
    if reason != Reason.NONE:
        return reason
    if lots >= MONEY_LIMIT:
        note_overflow(state.account[0], symbol)
    order = state.entries[slot]
    order["proposal"], order["side"], order["lots"] = i, side, lots
    order["value"] = notional_of(tape, state, symbol, lots, reference)
    reserve(state, slot, max(0, outlay(tape, state, symbol, side, lots, reference, half, False) - released))
    expose_entry(state, tape, slot, 1)
    return Reason.NONE


@kernel
def approve(state: State, tape: Tape, proposals: Proposals, i: int, now: int) -> None:
    """APPROVED."""
    slot = proposals.symbol[i] * len(state.desks) + proposals.strategy[i]
    order, reference = state.entries[slot], reference_price(state, tape, proposals, i, side_of(turn_of(state, proposals, i)))
    side, lots, amount, cause = order["side"], order["lots"], order["reserved"], order["cause"]
    order["refused"] = NONE  # this decision stands in the place of a target that came to nothing
    order["cause"] = post(state, now, RecordKind.APPROVED, Reason.NONE, slot, -1, i, side, lots, reference, 0, amount, 0.0, cause, 0, 0)


@kernel
def refuse(state: State, tape: Tape, proposals: Proposals, rank: int, reason: int, now: int) -> None:
    """REJECTED; ``state.ranked`` forgets it."""
    i = state.ranked[rank]
    slot, side = proposals.symbol[i] * len(state.desks) + proposals.strategy[i], side_of(turn_of(state, proposals, i))
    order, reference = state.entries[slot], reference_price(state, tape, proposals, i, side)
    state.ranked[rank] = -1
    key, cause, place = order["key"], order["cause"], order["rank"]
    seq = post(state, now, RecordKind.REJECTED, reason, slot, -1, i, side, 0, reference, 0, 0, key, cause, place, 0)
    if is_target(state, proposals, i):
        note_refusal(state, slot, side, reason, seq)


@kernel
def withdraw(state: State, tape: Tape, proposals: Proposals, i: int) -> None:
    """Take back the reservation of a leg whose decision fails."""
    slot = proposals.symbol[i] * len(state.desks) + proposals.strategy[i]
    expose_entry(state, tape, slot, -1)
    state.account[0]["reserved"] -= state.entries[slot]["reserved"]


@kernel
def leg_at(state: State, proposals: Proposals, head: int, rank: int) -> bool:
    """Whether the entry of a rank is still there and of the same decision as proposal ``head``."""
    return state.ranked[rank] >= 0 and same_unit(proposals, head, state.ranked[rank])


@shared
def first_refused(state: State, tape: Tape, proposals: Proposals, rank: int, n_selected: int, capital: int, now: int) -> tuple[int, int]:
    """Rank of the first leg of a decision that the gate refuses, and why; ``n_selected`` if it refuses none.  Legs are not clipped."""
    head, legs = state.ranked[rank], 0
    for other in range(rank, n_selected):
        legs += leg_at(state, proposals, head, other)
    clip = legs == 1 and state.rules[0]["clip"] != 0
    for other in range(rank, n_selected):
        if leg_at(state, proposals, head, other):
            reason = judge(state, tape, proposals, state.ranked[other], capital, clip, now)
            if reason != Reason.NONE:
                return other, reason
    return n_selected, Reason.NONE


@shared
def judge_legs(state: State, tape: Tape, proposals: Proposals, rank: int, n_selected: int, capital: int, now: int) -> None:
    """All legs of a decision are approved, or none is.  # R4.2"""
    head = state.ranked[rank]
    failed, reason = first_refused(state, tape, proposals, rank, n_selected, capital, now)
    for other in range(rank, n_selected):
        if not leg_at(state, proposals, head, other):
            continue
        if failed == n_selected:
            approve(state, tape, proposals, state.ranked[other], now)
            continue
        if other < failed:
            withdraw(state, tape, proposals, state.ranked[other])
        refuse(state, tape, proposals, other, reason if other == failed else Reason.LEG_REFUSED, now)


@shared
def gate(state: State, tape: Tape, proposals: Proposals, n_selected: int, now: int) -> None:
    """APPROVED or REJECTED for each of the ``n_selected`` best ranked; ``state.ranked`` keeps -1 for the refused."""
    capital, clip = equity(state), state.rules[0]["clip"] != 0
    tally_exposure(state, tape)
    for rank in range(n_selected):
        i = state.ranked[rank]
        if i < 0:
            continue
        if leg_of(proposals, i) > 0:
            if is_first_leg(state, proposals, rank):
                judge_legs(state, tape, proposals, rank, n_selected, capital, now)
            continue
        reason = judge(state, tape, proposals, i, capital, clip, now)
        if reason == Reason.NONE:
            approve(state, tape, proposals, i, now)
        else:
            refuse(state, tape, proposals, rank, reason, now)
