"""Entries that fill: they open a position, add to one, or reverse it.  # R4.3, R5.2, R6.4"""

from engine.execution import (
    OWN_FEE,
    add_lots,
    close_price,
    leave_if_crossed,
    open_position,
    open_price,
    quantity_of,
    reduce_position,
    settle_entry,
    taker_price,
)
from engine.exits import trail
from engine.fees import fill_fee
from engine.kernel import kernel, shared
from engine.levels import change_levels
from engine.money import margin, share, value
from engine.orders import drop_entry, drop_exit
from engine.portfolio import counts_as_free, free_cash
from engine.schema import MORE, Reason, Slippage, StopFrom
from engine.sizing import most_lots, outlay
from engine.state import State
from engine.tape import Proposals, Tape, rules_at


@kernel
def fill_entry(state: State, tape: Tape, proposals: Proposals, slot: int, ts: int, row: int, at_open: bool) -> None:
    """Fill a pending entry at the open or the close of a bar, as far as its exact cost fits; it leaves the queue.  # R5.2"""
    order, position = state.entries[slot], state.positions[slot]
    symbol, side = position["symbol"], order["side"]
    raw = open_price(tape, side, row) if at_open else close_price(tape, side, row)
    held = position["lots"] != 0
    if held and position["side"] != side:
        if reverse_position(state, tape, proposals, slot, ts, row, at_open, raw) and at_open:
            leave_if_crossed(state, tape, slot, ts, row)
        return
    if held and position["exit_id"] != 0:
        drop_entry(state, slot, ts, Reason.POSITION_CLOSED, position["exit_seq"])
        return
    free = free_cash(state) + order["reserved"]
    wanted = order["lots"] - order["lots"] % tape.rules[rules_at(tape, symbol, ts)]["lot_step"]
    lots = lots_that_fit(state, tape, symbol, side, free, wanted, raw, row, ts)
    rest: int = Reason.BELOW_MIN_QTY if lots == wanted else Reason.INSUFFICIENT_CASH
    price = taker_price(state, tape, symbol, side, quantity_of(tape, symbol, lots), raw, row, ts)
    if lots == 0:
        drop_entry(state, slot, ts, rest, order["seq"])
    elif held:
        add_to_position(state, tape, proposals, slot, ts, row, at_open, lots, price, rest)
    else:
        open_position(state, tape, proposals, slot, ts, row, at_open, lots, price, rest, OWN_FEE)
        if at_open:
            leave_if_crossed(state, tape, slot, ts, row)


@shared
def lots_that_fit(state: State, tape: Tape, symbol: int, side: int, limit: int, lots: int, raw: float, row: int, known: int) -> int:
    """Most whole lots of the time, up to ``lots``, that a taker can pay within ``limit``.  # R5.2

    A buy that moves the price costs more the larger it is, so bisection is exact.  A sale gets less the larger it is, and is judged by the
    best price it may get.
    """
    rules, step = state.rules[0], tape.rules[rules_at(tape, symbol, known)]["lot_step"]
    if rules["slippage"] < Slippage.VOLUME_SHARE or side < 0:
        price = taker_price(state, tape, symbol, side, 0.0, raw, row, known)
        return most_lots(tape, rules, symbol, side, limit, lots, price, 0.0, step)
    low, high = 0, lots // step + 1
    while high - low > 1:
        middle = (low + high) // 2
        price = taker_price(state, tape, symbol, side, quantity_of(tape, symbol, middle * step), raw, row, known)
        if outlay(tape, rules, symbol, side, middle * step, price, 0.0) <= limit:
            low = middle
        else:
            high = middle
    return low * step


@shared
def add_to_position(
    state: State, tape: Tape, proposals: Proposals, slot: int, ts: int, row: int, at_open: bool, lots: int, price: float, rest: int
) -> None:
    """Add the lots of a pending entry to the position; levels that come with it change the position's.  # R4.3"""
    position, order = state.positions[slot], state.entries[slot]
    order_id, proposal, whole = order["order_id"], order["proposal"], lots == order["lots"]
    reason, flags = (Reason.FILLED, 0) if whole else (Reason.PARTIAL, MORE)
    state.account[0]["reserved"] -= order["reserved"]
    order["reserved"] = 0
    add_lots(state, tape, slot, ts, lots, price, reason, flags, order_id, proposal, order["seq"], OWN_FEE)
    settle_entry(state, slot, ts, lots, rest)
    position["adds"] += 1
    later = at_open and state.rules[0]["stop_from"] == StopFrom.NEXT_BAR
    change_levels(state, tape, proposals, slot, proposal, price, ts, later)
    if at_open:
        trail(state, tape, slot, row)
        leave_if_crossed(state, tape, slot, ts, row)


@kernel
def reversal_fee(state: State, tape: Tape, symbol: int, lots: int, price: float) -> int:
    """Fee of a reversal of so many lots, both sides together, at the rate in force."""
    rules, qty = state.rules[0], quantity_of(tape, symbol, lots)
    return fill_fee(rules, value(qty, price, tape.specs[symbol]["multiplier"], rules["scale"]), rules["taker_rate"], qty, False)


@kernel
def left_after(state: State, tape: Tape, slot: int, opened: int, raw: float, row: int, ts: int) -> int:
    """Free cash that a reversal leaves which opens so many lots; a sale is judged by the best price it may get.  # R5.2"""
    rules, order, position = state.rules[0], state.entries[slot], state.positions[slot]
    symbol, side, closed = position["symbol"], order["side"], abs(position["lots"])
    multiplier, scale = position["multiplier"], rules["scale"]
    size = quantity_of(tape, symbol, closed + opened) if side > 0 else 0.0
    price = taker_price(state, tape, symbol, side, size, raw, row, ts)
    free = free_cash(state) + order["reserved"] + position["margin"] + value(position["qty"], price, multiplier, scale)
    free -= position["value"] if position["backs"] else 0
    worth = value(quantity_of(tape, symbol, opened), price, multiplier, scale)
    claimed = margin(worth, rules["leverage"]) if counts_as_free(tape, symbol, side) else worth
    return free - claimed - reversal_fee(state, tape, symbol, closed + opened, price)


@shared
def most_lots_beyond(state: State, tape: Tape, slot: int, raw: float, row: int, ts: int) -> int:
    """Most lots of a pending reversal that cash pays for once the position is closed."""
    step = tape.rules[rules_at(tape, state.positions[slot]["symbol"], ts)]["lot_step"]
    most = state.entries[slot]["lots"] // step
    low, high = 0, most + 1
    while high - low > 1:
        middle = most if high > most else (low + high) // 2
        if left_after(state, tape, slot, middle * step, raw, row, ts) >= 0:
            low = middle
        else:
            high = middle
    return low * step


@shared
def reverse_position(state: State, tape: Tape, proposals: Proposals, slot: int, ts: int, row: int, at_open: bool, raw: float) -> bool:
    """Close the position and open the other side by one order, whose fee is split by lots; whether there is a new one.  # R6.4"""
    position, order = state.positions[slot], state.entries[slot]
    symbol, side, closed = position["symbol"], order["side"], abs(position["lots"])
    lots = most_lots_beyond(state, tape, slot, raw, row, ts)
    whole = order["lots"] - order["lots"] % tape.rules[rules_at(tape, symbol, ts)]["lot_step"]
    rest: int = Reason.BELOW_MIN_QTY if lots == whole else Reason.INSUFFICIENT_CASH
    price = taker_price(state, tape, symbol, side, quantity_of(tape, symbol, closed + lots), raw, row, ts)
    charged = reversal_fee(state, tape, symbol, closed + lots, price)
    first = share(charged, closed, closed + lots)
    order_id, proposal, cause = order["order_id"], order["proposal"], order["seq"]
    seq = reduce_position(state, tape, slot, ts, closed, price, Reason.REVERSED, MORE, order_id, proposal, cause, first)
    if position["exit_id"] != 0:
        drop_exit(state, slot, ts, closed, Reason.POSITION_CLOSED, seq)
    if lots == 0:
        drop_entry(state, slot, ts, rest, order["seq"])
        return False
    open_position(state, tape, proposals, slot, ts, row, at_open, lots, price, rest, charged - first)
    return True
