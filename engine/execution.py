"""Fills: the price a taker pays, what a fill moves, and how positions open and close.  # R2"""

import numpy as np

from engine.exits import distance_price, level_price, move_stop, on_tick, ranged_stop, reached_by_open, watches
from engine.fees import fill_fee, settle_tier
from engine.kernel import kernel, shared
from engine.model_call import call, event_key
from engine.money import margin, money, quantity, share, value
from engine.orders import drop_entry, drop_exit, time_life, time_other_events
from engine.portfolio import book_value, claim_slot, free_cash, hold, release, secure, set_lots
from engine.records import post
from engine.schema import MAKER, MORE, NEVER, NONE, Reason, RecordKind, Slippage, StopAnchor, StopFrom
from engine.sizing import most_lots, outlay
from engine.splits import restated, restated_level, restated_volume
from engine.state import State
from engine.tape import Proposals, Tape, known_until, rules_at


@kernel
def half_spread(tape: Tape, symbol: int, row: int, known: int, default: float) -> float:
    """Half-spread, as a fraction of the price, of the last snapshot with ``ts <= known``; 0 for a bar with both sides.  # R2.2"""
    if len(tape.quoted) > 0 and tape.quoted[row]:
        return 0.0
    first, stop = tape.spread_first[symbol], tape.spread_stop[symbol]
    at = known_until(tape.spread_ts, first, stop, known) - 1
    if at < first:
        return default
    bid, ask = tape.spread_bid[at], tape.spread_ask[at]
    return (ask - bid) / (ask + bid)


@kernel
def half_spread_of_close(tape: Tape, symbol: int, row: int, known: int, default: float) -> float:
    """Half-spread for a reservation: that of the last close where the bar has both sides, else of the last snapshot.  # R5.2"""
    if len(tape.quoted) > 0 and tape.quoted[row]:
        return (tape.ask_close[row] - tape.bid_close[row]) / (tape.ask_close[row] + tape.bid_close[row])
    return half_spread(tape, symbol, row, known, default)


@kernel
def volume_share(qty: float, volume: float, limit: float) -> float:
    """Share that a quantity has of the volume of the last closed bar, at most ``limit``, which it is where there was no volume.  # R2.6

    >>> float(volume_share(5.0, 100.0, 1.0)), float(volume_share(5.0, 0.0, 0.1)), float(volume_share(0.0, 0.0, 0.1))
    (0.05, 0.1, 0.0)
    """
    if volume > 0.0:
        return min(qty / volume, limit)
    return limit if qty > 0.0 else 0.0


@kernel
def impact(kind: int, share_of_volume: float) -> float:
    """How slippage grows with the share of volume: with its square, or with its root.  # R2.6

    The square is that of Zipline's ``VolumeShareSlippage``; the root is the square-root law (Barra 1997; Almgren, Thum, Hauptmann and Li,
    "Direct estimation of equity market impact", Risk, July 2005; Toth et al., Physical Review X 1, 021006, 2011).

    >>> float(impact(Slippage.VOLUME_SHARE, 0.25)), float(impact(Slippage.SQRT_IMPACT, 0.25))
    (0.0625, 0.5)
    """
    if kind == Slippage.VOLUME_SHARE:
        return share_of_volume * share_of_volume
    return np.sqrt(share_of_volume)


@shared
def taker_price(state: State, tape: Tape, symbol: int, side: int, qty: float, raw: float, row: int, known: int) -> float:
    """Price of a market order or a triggered stop of a quantity: half-spread and slippage added, on the tick against it.  # R2.5"""
    rules = state.rules[0]
    half = half_spread(tape, symbol, row, known, rules["default_half_spread"])
    slip = 0.0
    if rules["slippage"] == Slippage.MODEL:
        return own_price(state, tape, symbol, side, qty, raw, half, row, known)
    if rules["slippage"] == Slippage.BPS:
        slip = rules["slippage_rate"]
    elif rules["slippage"] == Slippage.SPREAD:
        slip, half = rules["slippage_amount"] * half, 0.0
    elif rules["slippage"] >= Slippage.VOLUME_SHARE:
        volume = restated_volume(state, tape, symbol, row if tape.ts[row] <= known else row - 1)
        share_of_volume = volume_share(qty, volume, rules["slippage_limit"])
        slip = rules["slippage_amount"] * impact(rules["slippage"], share_of_volume)
    return priced(state, tape, symbol, side, raw + side * raw * (half + slip), known)


@kernel
def priced(state: State, tape: Tape, symbol: int, side: int, price: float, ts: int) -> float:
    """A taker's price on the tick against the order; one that the tick leaves no price is noted."""
    price = on_tick(tape, symbol, price, side > 0, ts)
    if not price > 0.0:
        state.account[0]["unpriced"] = symbol
    return price


@shared
def own_price(state: State, tape: Tape, symbol: int, side: int, qty: float, raw: float, half: float, row: int, known: int) -> float:
    """Price of a taker by the user's models: of the fill whole, or of the slippage beyond the half-spread.  # R2.8"""
    rules = state.rules[0]
    volume = restated_volume(state, tape, symbol, row if tape.ts[row] <= known else row - 1)
    told = (float(raw), float(qty), float(volume), float(half), float(side), event_key(rules["seed"], tape.open_ts[row], symbol, side + 1))
    if rules["fill_model"] != 0:
        return priced(state, tape, symbol, side, call(rules["fill_model"], told), known)
    return priced(state, tape, symbol, side, raw + side * raw * (half + call(rules["slippage_model"], told)), known)


@kernel
def open_price(tape: Tape, side: int, row: int) -> float:
    """Open on the side an order takes: the ask to buy, the bid to sell."""
    return tape.ask_open[row] if side > 0 else tape.bid_open[row]


@kernel
def close_price(tape: Tape, side: int, row: int) -> float:
    """Close on the side an order takes."""
    return tape.ask_close[row] if side > 0 else tape.bid_close[row]


@kernel
def last_price(state: State, tape: Tape, slot: int) -> float:
    """The last close on the side that closes a position, in terms of the units of now."""
    position, symbol = state.positions[slot], state.positions[slot]["symbol"]
    row = position["row"] - 1
    return restated(state, tape, symbol, close_price(tape, -position["side"], row), tape.ts[row])


@kernel
def last_mark(state: State, tape: Tape, slot: int) -> float:
    """The mark of the last close, in terms of the units of now."""
    position, symbol = state.positions[slot], state.positions[slot]["symbol"]
    row = position["row"] - 1
    return restated(state, tape, symbol, tape.mark[row], tape.ts[row])


@kernel
def revalue_again(state: State, tape: Tape, slot: int) -> None:
    """Mark a position to its last mark."""
    position, mark = state.positions[slot], last_mark(state, tape, slot)
    book_value(state, slot, value(position["qty"], mark, position["multiplier"], state.rules[0]["scale"]), position["cost"])


@shared
def reduce_position(
    state: State, tape: Tape, slot: int, ts: int, lots: int, price: float, reason: int, flags: int, order_id: int, proposal: int, cause: int
) -> int:
    """Fill some or all lots of a position at a price: FILL, POSITION; the seq of the FILL.  # R6.2, R6.4"""
    account, rules, position = state.account[0], state.rules[0], state.positions[slot]
    spec = tape.specs[state.positions[slot]["symbol"]]
    held, side = abs(position["lots"]), -position["side"]
    whole = lots == held
    qty = position["qty"] if whole else quantity(-side * lots, spec["lot_units"], spec["lot_power"])
    worth = value(qty, price, spec["multiplier"], rules["scale"])
    charged = 0
    if reason != Reason.DELISTED:
        rate = rules["maker_rate"] if flags & MAKER else rules["taker_rate"]
        charged = fill_fee(rules, abs(worth), rate, abs(qty), flags & MAKER != 0)
    if reason == Reason.LIQUIDATED:
        charged += money(abs(worth) * rules["liquidation_fee"])
    released = position["cost"] if whole else share(position["cost"], lots, held)
    realised = worth - released
    amount = (realised if position["linear"] else worth) - charged
    account["cash"] += amount
    kept = 0 if whole else position["margin"] - share(position["margin"], lots, held)
    if whole:
        book_value(state, slot, 0, 0)
        account["n_levels"] -= position["levels"]
        set_lots(state, tape, slot, 0)
        release(state, slot)
    else:
        set_lots(state, tape, slot, -side * (held - lots))
        book_value(state, slot, position["value"], position["cost"] - released)
        revalue_again(state, tape, slot)
        flags |= MORE
    secure(state, slot, kept)
    seq = post(state, ts, RecordKind.FILL, reason, slot, order_id, proposal, side, lots, price, charged, amount, 0.0, cause, 0, flags)
    post(state, ts, RecordKind.POSITION, Reason.NONE, slot, order_id, NONE, 0, held - lots, 0.0, 0, realised, 0.0, seq, 0, 0)
    settle_tier(state, tape, ts)
    return seq


@shared
def close_position(
    state: State, tape: Tape, slot: int, ts: int, price: float, reason: int, flags: int, order_id: int, proposal: int, cause: int
) -> None:
    """Fill the whole of a position at a price, and end an exit that was still pending: CANCELLED."""
    account, position = state.account[0], state.positions[slot]
    lots = abs(position["lots"])
    seq = reduce_position(state, tape, slot, ts, lots, price, reason, flags, order_id, proposal, cause)
    if position["exit_id"] != 0 and position["exit_id"] != order_id:
        drop_exit(state, slot, ts, lots, Reason.POSITION_CLOSED, seq)
    elif position["exit_id"] != 0:
        position["exit_id"] = 0
        account["n_exits"] -= 1


@shared
def close_as_taker(state: State, tape: Tape, slot: int, ts: int, raw: float, row: int, known: int, reason: int, flags: int) -> None:
    """Close by a bracket or by force; the order is the entry's.  # R2.5"""
    position = state.positions[slot]
    price = taker_price(state, tape, state.positions[slot]["symbol"], -position["side"], abs(position["qty"]), raw, row, known)
    close_position(state, tape, slot, ts, price, reason, flags, position["entry_id"], NONE, position["opened_seq"])


@shared
def close_by_order(state: State, tape: Tape, slot: int, ts: int, raw: float, row: int) -> None:
    """Fill a position's pending exit order."""
    position = state.positions[slot]
    price = taker_price(state, tape, state.positions[slot]["symbol"], -position["side"], abs(position["qty"]), raw, row, ts)
    close_position(
        state, tape, slot, ts, price, position["exit_reason"], 0, position["exit_id"], position["exit_proposal"], position["exit_seq"]
    )


@kernel
def fill_entry(state: State, tape: Tape, proposals: Proposals, slot: int, ts: int, row: int, at_open: bool) -> None:
    """Fill a pending entry at the open or the close of a bar, as far as its exact cost fits; it leaves the queue.  # R5.2"""
    order = state.entries[slot]
    symbol, side = state.positions[slot]["symbol"], order["side"]
    raw = open_price(tape, side, row) if at_open else close_price(tape, side, row)
    free = free_cash(state) + order["reserved"]
    wanted = order["lots"] - order["lots"] % tape.rules[rules_at(tape, symbol, ts)]["lot_step"]
    lots = lots_that_fit(state, tape, symbol, side, free, wanted, raw, row, ts)
    rest: int = Reason.BELOW_MIN_QTY if lots == wanted else Reason.INSUFFICIENT_CASH
    price = taker_price(state, tape, symbol, side, quantity_of(tape, symbol, lots), raw, row, ts)
    if lots == 0:
        drop_entry(state, slot, ts, rest, order["seq"])
        return
    open_position(state, tape, proposals, slot, ts, row, at_open, lots, price, rest)
    if at_open:
        leave_if_crossed(state, tape, slot, ts, row)


@kernel
def quantity_of(tape: Tape, symbol: int, lots: int) -> float:
    """Quantity of so many lots of a symbol."""
    spec = tape.specs[symbol]
    return quantity(lots, spec["lot_units"], spec["lot_power"])


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
def open_position(
    state: State, tape: Tape, proposals: Proposals, slot: int, ts: int, row: int, at_open: bool, lots: int, price: float, rest: int
) -> None:
    """Open a position by its entry order, and give it the bracket that the proposal asked for; the rest of the order ends.  # R5.2

    ``rest`` is the reason for which it does: it cannot be paid, or a lot that has changed since leaves less than one.
    """
    account, position, order = state.account[0], state.positions[slot], state.entries[slot]
    order_id, proposal, whole = order["order_id"], order["proposal"], lots == order["lots"]
    claim_slot(state, tape, slot, order["side"])
    hold(state, slot)
    position["row"] = row if at_open else row + 1
    account["reserved"] -= order["reserved"]
    order["reserved"] = 0
    reason, flags = (Reason.FILLED, 0) if whole else (Reason.PARTIAL, MORE)
    position["opened_seq"] = add_lots(state, tape, slot, ts, lots, price, reason, flags, order_id, proposal, order["seq"])
    position["entry_id"] = order_id
    order["lots"] -= lots
    if whole:
        order["order_id"] = 0
    else:
        drop_entry(state, slot, ts, rest, order["seq"])
    begin_life(state, tape, slot, ts, position["row"])
    position["acts_row"] = row + 1 if state.rules[0]["stop_from"] == StopFrom.NEXT_BAR else position["row"]
    attach_bracket(state, tape, proposals, slot, ts, proposal, price)


@shared
def add_lots(
    state: State, tape: Tape, slot: int, ts: int, lots: int, price: float, reason: int, flags: int, order_id: int, proposal: int, cause: int
) -> int:
    """Fill lots that open a claimed slot or add to its position, as a taker: FILL, POSITION; the seq of the POSITION.  # R6.2, R6.4"""
    account, rules, position = state.account[0], state.rules[0], state.positions[slot]
    spec, side = tape.specs[state.positions[slot]["symbol"]], position["side"]
    qty = quantity(side * lots, spec["lot_units"], spec["lot_power"])
    worth = value(qty, price, spec["multiplier"], rules["scale"])
    rate = rules["maker_rate"] if flags & MAKER else rules["taker_rate"]
    charged = fill_fee(rules, abs(worth), rate, abs(qty), flags & MAKER != 0)
    linear = position["linear"] != 0
    amount = -charged if linear else -worth - charged
    account["cash"] += amount
    set_lots(state, tape, slot, position["lots"] + side * lots)
    book_value(state, slot, position["value"] + worth, position["cost"] + worth)
    revalue_again(state, tape, slot)
    secure(state, slot, position["margin"] + (margin(abs(worth), spec["leverage"]) if position["backs"] else 0))
    seq = post(state, ts, RecordKind.FILL, reason, slot, order_id, proposal, side, lots, price, charged, amount, 0.0, cause, 0, flags)
    settle_tier(state, tape, ts)
    return post(state, ts, RecordKind.POSITION, Reason.NONE, slot, order_id, NONE, 0, abs(position["lots"]), price, 0, 0, 0.0, seq, 0, 0)


@kernel
def begin_life(state: State, tape: Tape, slot: int, ts: int, row: int) -> None:
    """Point a new position at its first bar and at the events it will meet."""
    position = state.positions[slot]
    symbol = state.positions[slot]["symbol"]
    position["row"] = position["level_row"] = row
    position["exit_id"] = 0
    first, stop = tape.funding_first[symbol], tape.funding_stop[symbol]
    position["funding_row"] = known_until(tape.funding_ts, first, stop, ts)
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
        close_as_taker(state, tape, slot, ts, opened, row, ts, Reason.CROSSED_AT_ENTRY, 0)


@kernel
def reserve(state: State, slot: int, amount: int) -> None:
    """Lay claim to free cash for a pending entry.  # R5.2"""
    state.entries[slot]["reserved"] = amount
    state.account[0]["reserved"] += amount
