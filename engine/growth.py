"""Entries that fill: they open a position, add to one, or reverse it.  # R2.6, R4.3, R5.2, R6.4"""

import numpy as np

from engine.conversion import in_account
from engine.execution import OWN_FEE, add_lots, attach_bracket, begin_life, leave_if_crossed, reduce_position
from engine.exits import trail
from engine.fees import fill_fee
from engine.kernel import kernel, shared
from engine.levels import change_levels
from engine.money import MONEY_LIMIT, margin, share
from engine.orders import drop_entry, drop_exit, is_unsized
from engine.portfolio import claim_slot, counts_as_free, free_cash, freed_by_closing, hold, unrealised, value_at
from engine.prices import entry_price, quantity_of
from engine.proposals import Proposals
from engine.schema import MAKER, MORE, Accounting, EventKind, Reason, Slippage, StopFrom
from engine.sizing import most_lots, notional_of, outlay, unit_worth
from engine.state import State
from engine.tape import Tape, rules_at
from engine.volume import take_volume, volume_left

NOTHING, OPENED, ADDED = 0, 1, 2  # what a fill of an entry does


@shared
def fill_entry(
    state: State,
    tape: Tape,
    proposals: Proposals,
    slot: int,
    ts: int,
    row: int,
    begins: int,
    raw: float,
    known: int,
    flags: int,
    promised: int,
) -> int:
    """Fill a pending entry as far as its bar has volume and free cash pays; whether that opens a position, or begins to add to one.  # R2.6, R5.2

    ``begins`` is the bar in which the position's life begins.  An entry that ends stays in the queue until that is swept.
    """
    order, position = state.entries[slot], state.positions[slot]
    symbol = position["symbol"]
    if state.rules[0]["crowding"] and position["lots"] * order["side"] < 0:
        return reverse_position(state, tape, proposals, slot, ts, row, begins, raw, known, flags, promised)
    step, unsized = tape.rules[rules_at(tape, symbol, ts)]["lot_step"], is_unsized(state, slot)
    if unsized:
        order["lots"] = most_payable(state, tape, symbol, raw)
    if order["lots"] < step:
        drop_entry(state, slot, ts, Reason.BELOW_MIN_QTY, order["seq"])
        return NOTHING
    wanted = volume_left(state, tape, symbol, row, order["lots"], promised)
    wanted -= wanted % step
    if wanted == 0:
        return NOTHING
    one_price = state.rules[0]["slippage"] < Slippage.VOLUME_SHARE or flags & MAKER != 0  # whatever the quantity
    price = entry_price(state, tape, slot, wanted, raw, row, known, flags) if one_price else np.nan
    limit = free_cash(state) + order["reserved"]
    if one_price:
        lots = most_lots(tape, state, symbol, order["side"], limit, wanted, price, 0.0, step, flags & MAKER != 0)
    else:
        lots = lots_that_fit(state, tape, slot, limit, wanted, raw, row, known, step)
    if lots == 0:
        drop_entry(state, slot, ts, Reason.INSUFFICIENT_CASH, order["seq"])
        return NOTHING
    if unsized:
        order["lots"] = wanted = lots
    if not one_price:
        price = entry_price(state, tape, slot, lots, raw, row, known, flags)
    take_volume(state, symbol, row, lots)
    done = fill_lots(state, tape, proposals, slot, ts, row, begins, lots, price, flags, OWN_FEE)
    end_rest(state, slot, ts, lots < wanted, step)
    return done


@kernel
def most_payable(state: State, tape: Tape, symbol: int, price: float) -> int:
    """Lots so many that no account pays for more: their value is half of what money can hold.  # R6.3"""
    each = quantity_of(tape, symbol, 1) * unit_worth(tape, state, symbol, price) * state.rules[0]["scale"]
    return int(min(MONEY_LIMIT / 2, MONEY_LIMIT / 2 / each))


@kernel
def end_rest(state: State, slot: int, ts: int, unpaid: bool, step: int) -> None:
    """End what a fill leaves of an entry, if it could not be paid or a lot that has changed since leaves less than one."""
    order = state.entries[slot]
    if unpaid:
        drop_entry(state, slot, ts, Reason.INSUFFICIENT_CASH, order["seq"])
    elif 0 < order["lots"] < step:
        drop_entry(state, slot, ts, Reason.BELOW_MIN_QTY, order["seq"])


@shared
def lots_that_fit(state: State, tape: Tape, slot: int, limit: int, lots: int, raw: float, row: int, known: int, step: int) -> int:
    """Most whole lots of the time, up to ``lots``, of an entry whose size moves its price, that can be paid within ``limit``.  # R5.2

    A buy costs more the larger it is, so bisection is exact.  A sale gets less the larger it is, and is judged by the best price it may get.
    """
    symbol, side = state.positions[slot]["symbol"], state.entries[slot]["side"]
    if side < 0:
        price = entry_price(state, tape, slot, 0, raw, row, known, 0)
        return most_lots(tape, state, symbol, side, limit, lots, price, 0.0, step, False)
    low, high = 0, lots // step + 1
    while high - low > 1:
        middle = (low + high) // 2
        price = entry_price(state, tape, slot, middle * step, raw, row, known, 0)
        if outlay(tape, state, symbol, side, middle * step, price, 0.0, False) <= limit:
            low = middle
        else:
            high = middle
    return low * step


@shared
def fill_lots(
    state: State,
    tape: Tape,
    proposals: Proposals,
    slot: int,
    ts: int,
    row: int,
    begins: int,
    lots: int,
    price: float,
    flags: int,
    set_fee: int,
) -> int:
    """Book a fill of an entry: one that opens a position gives it its bracket, one that begins to add changes its levels.  # R4.3, R5.2"""
    position, order = state.positions[slot], state.entries[slot]
    order_id, proposal, whole = order["order_id"], order["proposal"], lots == order["lots"]
    opens = position["lots"] == 0
    if opens:
        claim_slot(state, tape, slot, order["side"])
        hold(state, slot)
        position["row"] = begins
    release_claim(state, slot, lots)
    reason, flags = (Reason.FILLED, flags) if whole else (Reason.PARTIAL, flags | MORE)
    seq = add_lots(state, tape, slot, ts, lots, price, reason, flags, order_id, proposal, order["seq"], set_fee)
    adds = not opens and order["begun"] == 0
    order["lots"] -= lots
    order["begun"] = 1
    if whole:
        order["order_id"] = 0
    if opens:
        position["opened_seq"], position["entry_id"], position["score"] = seq, order_id, order["key"]
        begin_life(state, tape, slot, ts, begins)
        position["acts_row"] = row + 1 if state.rules[0]["stop_from"] == StopFrom.NEXT_BAR else begins
        attach_bracket(state, tape, proposals, slot, ts, proposal, price)
        return OPENED
    if adds:
        position["adds"] += 1
        later = state.account[0]["phase"] == EventKind.BAR_OPEN and state.rules[0]["stop_from"] == StopFrom.NEXT_BAR
        change_levels(state, tape, proposals, slot, proposal, price, ts, later)
        return ADDED
    return NOTHING


@kernel
def release_claim(state: State, slot: int, lots: int) -> None:
    """Give back the part of an entry's reservation and exposure that belongs to lots about to fill; the last take the rest.  # R5.2"""
    order = state.entries[slot]
    released, worth = share(order["reserved"], lots, order["lots"]), share(order["value"], lots, order["lots"])
    state.account[0]["reserved"] -= released
    order["reserved"] -= released
    order["value"] -= worth


@kernel
def leave_after_open(state: State, tape: Tape, slot: int, ts: int, row: int, done: int) -> None:
    """Exit in the same BAR_OPEN where the open has crossed a level that came with the fill.  # R2.5"""
    if done == ADDED:
        trail(state, tape, slot, row)
    if done != NOTHING:
        leave_if_crossed(state, tape, slot, ts, row)


@kernel
def reversal_fee(state: State, tape: Tape, symbol: int, lots: int, price: float, maker: bool) -> int:
    """Fee of a reversal of so many lots, both sides together, at the rate in force."""
    rules, qty = state.rules[0], quantity_of(tape, symbol, lots)
    rate = rules["maker_rate"] if maker else rules["taker_rate"]
    return fill_fee(rules, notional_of(tape, state, symbol, lots, price), rate, qty, maker)


@kernel
def left_after(state: State, tape: Tape, slot: int, opened: int, raw: float, row: int, known: int, flags: int) -> int:
    """Free cash that a reversal leaves which opens so many lots; a sale is judged by the best price it may get.  # R5.2"""
    order, position = state.entries[slot], state.positions[slot]
    symbol, side, closed = position["symbol"], order["side"], abs(position["lots"])
    price = entry_price(state, tape, slot, closed + opened if side > 0 else 0, raw, row, known, flags)
    moved = value_at(state, slot, price) - position["value"]
    if position["converts"] and position["accounting"] != Accounting.SPOT:
        moved = in_account(tape, state, symbol, value_at(state, slot, price) - position["cost"]) - unrealised(position)
    free = free_cash(state) + order["reserved"] + position["margin"] + moved + freed_by_closing(state, slot)
    worth = notional_of(tape, state, symbol, opened, price)
    claimed = margin(worth, tape.specs[symbol]["leverage"]) if counts_as_free(tape, symbol, side) else worth
    return free - claimed - reversal_fee(state, tape, symbol, closed + opened, price, flags & MAKER != 0)


@shared
def most_lots_beyond(state: State, tape: Tape, slot: int, most: int, raw: float, row: int, known: int, flags: int, step: int) -> int:
    """Most whole lots, up to ``most``, of a pending reversal that cash pays for once the position is closed."""
    low, middle, high = 0, most // step, most // step + 1
    while high - low > 1:
        if left_after(state, tape, slot, middle * step, raw, row, known, flags) >= 0:
            low = middle
        else:
            high = middle
        middle = (low + high) // 2
    return low * step


@shared
def reverse_position(
    state: State,
    tape: Tape,
    proposals: Proposals,
    slot: int,
    ts: int,
    row: int,
    begins: int,
    raw: float,
    known: int,
    flags: int,
    promised: int,
) -> int:
    """Close the position and open the other side by one order, whose fee is split by lots; whether there is a new one.  # R6.4

    Where the bar lacks the volume, what closes comes first, and the rest waits for the next bar.  # R2.6
    """
    position, order = state.positions[slot], state.entries[slot]
    symbol, held = position["symbol"], abs(position["lots"])
    step = tape.rules[rules_at(tape, symbol, ts)]["lot_step"]
    unsized = is_unsized(state, slot)
    if unsized:
        order["lots"] = most_payable(state, tape, symbol, raw)
    whole = order["lots"] - order["lots"] % step
    room = volume_left(state, tape, symbol, row, held + whole, promised)
    closed = min(room, held)
    wanted = (room - closed) - (room - closed) % step
    if closed == 0:
        return NOTHING
    lots = most_lots_beyond(state, tape, slot, wanted, raw, row, known, flags, step) if closed == held else 0
    if unsized and closed == held:
        order["lots"] = wanted = lots
    price = entry_price(state, tape, slot, closed + lots, raw, row, known, flags)
    charged = reversal_fee(state, tape, symbol, closed + lots, price, flags & MAKER != 0)
    first = share(charged, closed, closed + lots)
    take_volume(state, symbol, row, closed + lots)
    order_id, proposal, cause = order["order_id"], order["proposal"], order["seq"]
    seq = reduce_position(state, tape, slot, ts, closed, price, Reason.REVERSED, flags | MORE, order_id, proposal, cause, first)
    if closed < held:
        return NOTHING
    if position["exit_id"] != 0:
        drop_exit(state, slot, ts, closed, Reason.POSITION_CLOSED, seq)
    done: int = NOTHING
    if lots > 0:
        done = fill_lots(state, tape, proposals, slot, ts, row, begins, lots, price, flags, charged - first)
    end_rest(state, slot, ts, lots < wanted or (unsized and lots == 0), step)
    return done
