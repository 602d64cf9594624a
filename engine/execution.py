"""Fills: what a fill moves, and how positions open and close.  # R2"""

import numpy as np

from engine.conversion import in_account, tell_rate
from engine.days import next_daily
from engine.exits import distance_price, level_price, move_stop, ranged_stop, reached_by_open, watches
from engine.fees import fill_fee, settle_tier
from engine.kernel import kernel, shared
from engine.money import MONEY_LIMIT, margin, money, quantity, share, value
from engine.orders import drop_exit, drop_rest, end_exit, first_row_after, leaves, order_exit, time_life, time_other_events
from engine.portfolio import book_value, by_side, release, secure, set_lots, value_at
from engine.prices import (
    last_mark,
    open_price,
    quantity_of,
    taker_price,
)
from engine.proposals import Proposals
from engine.records import post
from engine.schema import MAKER, MORE, NEVER, NONE, Accounting, EventKind, Reason, RecordKind, StopAnchor, Timing
from engine.splits import restated, restated_level
from engine.state import State
from engine.tape import Tape, known_until
from engine.volume import take_volume, volume_left

OWN_FEE = MONEY_LIMIT
"""Stands for the fee of a fill that is not part of another."""


@kernel
def book_cost(state: State, tape: Tape, slot: int, cost: int) -> None:
    """Set the cost of a position whose lots have changed, and mark them to its last mark."""
    book_value(state, slot, value_at(state, slot, last_mark(state, tape, slot)), cost)


@kernel
def note_price(state: State, slot: int, price: float) -> None:
    """Keep the first symbol of which a fill on the market has no price left: its tick is coarser than its prices."""
    account = state.account[0]
    if not price > 0.0 and account["unpriced"] == NONE:
        account["unpriced"] = state.positions[slot]["symbol"]


@shared
def reduce_position(
    state: State,
    tape: Tape,
    slot: int,
    ts: int,
    lots: int,
    price: float,
    reason: int,
    flags: int,
    order_id: int,
    proposal: int,
    cause: int,
    set_fee: int,
) -> int:
    """Fill some or all lots of a position at a price: FILL, POSITION; the seq of the FILL.  # R6.2, R6.4

    ``set_fee`` is the fee of a fill of which this is a part, ``OWN_FEE`` for one on its own.
    """
    account, rules, position = state.account[0], state.rules[0], state.positions[slot]
    spec = tape.specs[state.positions[slot]["symbol"]]
    held, side = abs(position["lots"]), -int(position["side"])
    whole = lots == held
    qty = position["qty"] if whole else quantity(-side * lots, spec["lot_units"], spec["lot_power"])
    tell_rate(tape, state, slot, ts)
    spot, worth = position["accounting"] == Accounting.SPOT, value(qty, price, spec["multiplier"], rules["scale"], spec["inverse"])
    traded = in_account(tape, state, position["symbol"], abs(worth))
    if spot:
        worth = by_side(worth, traded)
    charged = 0
    if reason != Reason.DELISTED and reason != Reason.EXPIRED:
        note_price(state, slot, price)
        rate = rules["maker_rate"] if flags & MAKER else rules["taker_rate"]
        charged = fill_fee(rules, traded, rate, abs(qty), flags & MAKER != 0) if set_fee == OWN_FEE else set_fee
    if reason == Reason.LIQUIDATED:
        charged += money(traded * rules["liquidation_fee"])
    released = position["cost"] if whole else share(position["cost"], lots, held)
    realised = worth - released if spot else in_account(tape, state, position["symbol"], worth - released)
    amount = (worth if spot else realised) - charged
    account["cash"] += amount
    kept = 0 if whole else position["margin"] - share(position["margin"], lots, held)
    if whole:
        book_value(state, slot, 0, 0)
        account["n_levels"] -= position["levels"]
        set_lots(state, tape, slot, 0)
        release(state, slot)
    else:
        set_lots(state, tape, slot, -side * (held - lots))
        book_cost(state, tape, slot, position["cost"] - released)
        ends = state.rules[0]["aiming"] != 0 and order_id == position["exit_id"] and lots == position["exit_lots"]
        flags |= 0 if ends else MORE
    secure(state, slot, kept)
    seq = post(state, ts, RecordKind.FILL, reason, slot, order_id, proposal, side, lots, price, charged, amount, 0.0, cause, 0, flags)
    post(state, ts, RecordKind.POSITION, Reason.NONE, slot, order_id, NONE, 0, held - lots, 0.0, 0, realised, 0.0, seq, 0, 0)
    settle_tier(state, tape, ts)
    return seq


@shared
def close_position(
    state: State, tape: Tape, slot: int, ts: int, price: float, reason: int, flags: int, order_id: int, proposal: int, cause: int
) -> None:
    """Fill the whole of a position at a price, and end an exit or the rest of an entry that was still pending: CANCELLED.  # R2.1"""
    position = state.positions[slot]
    lots = abs(position["lots"])
    seq = reduce_position(state, tape, slot, ts, lots, price, reason, flags, order_id, proposal, cause, OWN_FEE)
    if position["exit_id"] != 0 and position["exit_id"] != order_id:
        drop_exit(state, slot, ts, lots, Reason.POSITION_CLOSED, seq)
    elif position["exit_id"] != 0:
        end_exit(state, slot)
    drop_rest(state, slot, ts, seq)


@kernel
def close_lots(
    state: State,
    tape: Tape,
    slot: int,
    ts: int,
    row: int,
    lots: int,
    price: float,
    reason: int,
    flags: int,
    order_id: int,
    proposal: int,
    cause: int,
) -> bool:
    """Close as many lots as a bar has volume for; whether that was the whole.  # R2.6"""
    take_volume(state, state.positions[slot]["symbol"], row, lots)
    if lots == abs(state.positions[slot]["lots"]):
        close_position(state, tape, slot, ts, price, reason, flags, order_id, proposal, cause)
        return True
    if lots > 0:
        seq = reduce_position(state, tape, slot, ts, lots, price, reason, flags, order_id, proposal, cause, OWN_FEE)
        drop_rest(state, slot, ts, seq)
    return False


@shared
def close_as_taker(state: State, tape: Tape, slot: int, ts: int, raw: float, row: int, known: int, reason: int, flags: int) -> None:
    """Close by force, whatever the volume; the order is the entry's.  # R2.5"""
    position = state.positions[slot]
    price = taker_price(state, tape, state.positions[slot]["symbol"], -position["side"], abs(position["qty"]), raw, row, known)
    close_position(state, tape, slot, ts, price, reason, flags, position["entry_id"], NONE, position["opened_seq"])


@shared
def leave_as_taker(state: State, tape: Tape, slot: int, ts: int, raw: float, row: int, known: int, reason: int, flags: int) -> bool:
    """Leave by a bracket; what the bar has no volume for becomes a market order.  Whether the position closed.  # R2.5, R2.6"""
    position, symbol = state.positions[slot], state.positions[slot]["symbol"]
    lots = volume_left(state, tape, symbol, row, abs(position["lots"]), 0)
    price = taker_price(state, tape, symbol, -position["side"], quantity_of(tape, symbol, lots), raw, row, known)
    entry, opened = position["entry_id"], position["opened_seq"]
    if close_lots(state, tape, slot, ts, row, lots, price, reason, flags, entry, NONE, opened):
        return True
    drop_levels(state, tape, slot)
    if not leaves(state, slot):
        order_exit(state, tape, slot, ts, reason, Timing.NEXT_OPEN, 0, NONE, opened)
    else:
        await_open(state, tape, slot, ts)
    return False


@shared
def leave_at_target(state: State, tape: Tape, slot: int, ts: int, price: float, row: int, flags: int) -> bool:
    """Fill a target, which rested: a maker.  What the bar has no volume for goes on resting; whether the position closed.  # R2.5, R2.6"""
    position = state.positions[slot]
    lots = volume_left(state, tape, state.positions[slot]["symbol"], row, abs(position["lots"]), 0)
    entry, opened = position["entry_id"], position["opened_seq"]
    return close_lots(state, tape, slot, ts, row, lots, price, Reason.TAKE_PROFIT, flags | MAKER, entry, NONE, opened)


@shared
def close_by_order(state: State, tape: Tape, slot: int, ts: int, raw: float, row: int) -> bool:
    """Fill a position's pending exit order; what is left of it waits for the next open.  Whether the position closed.  # R2.6"""
    position, symbol = state.positions[slot], state.positions[slot]["symbol"]
    some = state.rules[0]["aiming"] != 0 and position["exit_lots"] != 0
    wanted = min(position["exit_lots"], abs(position["lots"])) if some else abs(position["lots"])
    lots = volume_left(state, tape, symbol, row, wanted, 0)
    price = taker_price(state, tape, symbol, -position["side"], quantity_of(tape, symbol, lots), raw, row, ts)
    reason, order_id = position["exit_reason"], position["exit_id"]
    if close_lots(state, tape, slot, ts, row, lots, price, reason, 0, order_id, position["exit_proposal"], position["exit_seq"]):
        return True
    if some:
        position["exit_lots"] -= lots
        if position["exit_lots"] == 0:
            end_cut(state, slot, ts)
            return False
    await_open(state, tape, slot, ts)
    return False


@kernel
def end_cut(state: State, slot: int, ts: int) -> None:
    """A position has lost the lots that an order was to close; what is left of it lives on."""
    state.account[0]["n_cuts"] -= 1
    end_exit(state, slot)
    state.positions[slot]["next_ts"] = ts


@kernel
def await_open(state: State, tape: Tape, slot: int, ts: int) -> None:
    """Let a pending exit fill at the next open."""
    position = state.positions[slot]
    position["exit_timing"] = Timing.NEXT_OPEN
    position["exit_row"] = first_row_after(tape, position["symbol"], position["row"], ts)
    position["next_ts"] = ts


@kernel
def drop_levels(state: State, tape: Tape, slot: int) -> None:
    """Take a position's bracket away: its stop was triggered, and the rest is a market order."""
    position = state.positions[slot]
    position["stop"] = position["target"] = position["trailing"] = position["break_even"] = np.nan
    position["moves"], position["change"] = 0, NONE
    if position["levels"] and not watches(tape, state, slot):
        state.account[0]["n_levels"] -= 1
        position["levels"] = 0


@shared
def add_lots(
    state: State,
    tape: Tape,
    slot: int,
    ts: int,
    lots: int,
    price: float,
    reason: int,
    flags: int,
    order_id: int,
    proposal: int,
    cause: int,
    set_fee: int,
) -> int:
    """Fill lots that open a claimed slot or add to its position, as a taker: FILL, POSITION; the seq of the POSITION.  # R6.2, R6.4

    ``set_fee`` is the fee of a fill of which this is a part, ``OWN_FEE`` for one on its own.
    """
    account, rules, position = state.account[0], state.rules[0], state.positions[slot]
    spec, side = tape.specs[state.positions[slot]["symbol"]], int(position["side"])
    note_price(state, slot, price)
    qty = quantity(side * lots, spec["lot_units"], spec["lot_power"])
    tell_rate(tape, state, slot, ts)
    spot, worth = position["accounting"] == Accounting.SPOT, value(qty, price, spec["multiplier"], rules["scale"], spec["inverse"])
    traded = in_account(tape, state, position["symbol"], abs(worth))
    if spot:
        worth = by_side(side, traded)
    rate = rules["maker_rate"] if flags & MAKER else rules["taker_rate"]
    charged = fill_fee(rules, traded, rate, abs(qty), flags & MAKER != 0) if set_fee == OWN_FEE else set_fee
    amount = -worth - charged if spot else -charged
    account["cash"] += amount
    set_lots(state, tape, slot, position["lots"] + side * lots)
    book_cost(state, tape, slot, position["cost"] + worth)
    secure(state, slot, position["margin"] + (margin(traded, spec["leverage"]) if position["backs"] else 0))
    seq = post(state, ts, RecordKind.FILL, reason, slot, order_id, proposal, side, lots, price, charged, amount, 0.0, cause, 0, flags)
    settle_tier(state, tape, ts)
    return post(state, ts, RecordKind.POSITION, Reason.NONE, slot, order_id, NONE, 0, abs(position["lots"]), price, 0, 0, 0.0, seq, 0, 0)


@kernel
def begin_life(state: State, tape: Tape, slot: int, ts: int, row: int) -> None:
    """Point a new position at its first bar and at the events it will meet."""
    position = state.positions[slot]
    symbol = state.positions[slot]["symbol"]
    position["row"] = position["level_row"] = row
    position["exit_id"] = position["exit_lots"] = 0
    position["reach_row"] = NONE
    passed = ts - 1 if state.account[0]["phase"] == EventKind.BAR_PATH else ts
    first, stop = tape.funding_first[symbol], tape.funding_stop[symbol]
    position["funding_row"] = known_until(tape.funding_ts, first, stop, passed)
    position["daily_ts"] = next_daily(tape, state, slot, passed)
    position["life_ts"] = time_life(state, tape, symbol)
    position["next_ts"] = ts
    time_other_events(state, tape, slot)


@kernel
def attach_bracket(state: State, tape: Tape, proposals: Proposals, slot: int, ts: int, proposal: int, price: float) -> None:
    """Give a new position the levels and the age that its proposal asked for.  # R2.1"""
    position = state.positions[slot]
    symbol, side = position["symbol"], position["side"]
    decided = proposals.ts[proposal]
    kinds = proposals.stop_loss_kind[proposal], proposals.take_profit_kind[proposal], proposals.trailing_kind[proposal]
    even_kind = proposals.break_even_kind[proposal]
    stop = restated_level(state, tape, symbol, proposals.stop_loss[proposal], kinds[0], decided)
    target = restated_level(state, tape, symbol, proposals.take_profit[proposal], kinds[1], decided)
    trailing = restated_level(state, tape, symbol, proposals.trailing[proposal], kinds[2], decided)
    break_even = restated_level(state, tape, symbol, proposals.break_even[proposal], even_kind, decided)
    anchor = price
    if state.rules[0]["stop_anchor"] == StopAnchor.ENTRY_CLOSE:
        anchor = restated(state, tape, symbol, tape.close[proposals.row[proposal]], tape.ts[proposals.row[proposal]])
    position["stop"] = level_price(tape, symbol, stop, kinds[0], anchor, -side, side < 0, ts)
    position["target"] = level_price(tape, symbol, target, kinds[1], anchor, side, side > 0, ts)
    position["trailing"] = distance_price(trailing, kinds[2], price)
    position["break_even"] = distance_price(break_even, even_kind, price)
    position["extreme"] = position["entry_price"] = price
    position["stop_reason"] = Reason.STOP_LOSS
    still = np.isnan(position["trailing"]) and np.isnan(position["break_even"]) and state.rules[0]["exit_model"] == 0
    position["moves"] = 0 if still else 1
    position["first_row"] = position["row"]
    if position["moves"]:
        move_stop(state, tape, slot, ts)
    position["levels"] = watches(tape, state, slot)
    state.account[0]["n_levels"] += position["levels"]
    bars = proposals.max_bars[proposal]
    position["max_row"] = position["row"] + bars - 1 if bars > 0 else NEVER


@kernel
def leave_if_crossed(state: State, tape: Tape, slot: int, ts: int, row: int) -> None:
    """Exit in the same BAR_OPEN when the open has already crossed the stop or the target.  # R2.5"""
    position, limit_touch = state.positions[slot], state.rules[0]["limit_touch"]
    if row < position["acts_row"]:
        return
    opened = open_price(tape, -position["side"], row)
    if reached_by_open(position["side"], opened, ranged_stop(state, slot), position["target"], limit_touch) != Reason.NONE:
        leave_as_taker(state, tape, slot, ts, opened, row, ts, Reason.CROSSED_AT_ENTRY, 0)


@kernel
def reserve(state: State, slot: int, amount: int) -> None:
    """Lay claim to free cash for a pending entry.  # R5.2"""
    state.entries[slot]["reserved"] = amount
    state.account[0]["reserved"] += amount
