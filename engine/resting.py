"""What a bar does to the entries that wait for it: at its open, and inside.  # R2.4, R2.5, R3.1, R3.4"""

import numpy as np

from engine.bars import leave_if_touched, touch
from engine.execution import leave_as_taker, leave_at_target
from engine.exits import limit_met, on_tick, ranged_stop, reached_by_open
from engine.growth import NOTHING, OPENED, fill_entry, leave_after_open
from engine.kernel import kernel, shared
from engine.liquidation import leave_margined
from engine.orders import drop_entry, sweep_queue
from engine.prices import close_price, half_spread, open_price
from engine.proposals import Proposals
from engine.records import mark_record
from engine.schema import AMBIGUOUS, MAKER, NEVER, NONE, Intrabar, LimitGap, OrderType, Reason, TimeInForce
from engine.state import State
from engine.tape import Tape
from engine.terms import is_old, meets_limit, meets_trigger, next_row

LOW, HIGH = 1, 2  # extremes of a bar that come for certain after an entry inside it


@shared
def meet_open(state: State, tape: Tape, proposals: Proposals, slot: int, ts: int, row: int) -> None:
    """What the open of a bar does to an entry that may act in it.  # R2.4, R2.5"""
    order, symbol = state.entries[slot], state.positions[slot]["symbol"]
    side, raw = order["side"], open_price(tape, order["side"], row)
    fresh = row == order["first_row"]
    if state.rules[0]["ordered"] and order["kind"] >= OrderType.STOP and meets_trigger(state, slot, raw):
        order["kind"] = OrderType.MARKET if order["kind"] == OrderType.STOP else OrderType.LIMIT
        fresh = True
    done: int = NOTHING
    if not state.rules[0]["ordered"] or order["kind"] == OrderType.MARKET:
        done = fill_entry(state, tape, proposals, slot, ts, row, row, raw, ts, 0, 0)
    elif order["kind"] == OrderType.LIMIT:
        if fresh and crosses(state, tape, slot, raw, row, ts):
            done = fill_entry(state, tape, proposals, slot, ts, row, row, raw, ts, 0, 0)
        elif order["tif"] != TimeInForce.IOC and meets_limit(state, slot, raw):
            price = on_tick(tape, symbol, raw, side > 0, ts)
            if tape.specs[symbol]["limit_gap"] == LimitGap.PRICE or side * (price - order["limit"]) > 0:
                price = order["limit"]
            done = fill_entry(state, tape, proposals, slot, ts, row, row, price, ts, MAKER, 0)
    leave_after_open(state, tape, slot, ts, row, done)
    end_immediate(state, slot, ts)


@kernel
def meet_close(state: State, tape: Tape, proposals: Proposals, slot: int, ts: int, row: int) -> None:
    """Fill a market entry at the close just seen; what is left of it waits for opens.  # R2.3, R2.6"""
    order = state.entries[slot]
    fill_entry(state, tape, proposals, slot, ts, row, row + 1, close_price(tape, order["side"], row), ts, 0, 0)
    if order["order_id"] == 0:
        return
    order["at_close"] = 0
    end_immediate(state, slot, ts)
    if order["order_id"] != 0 and is_old(state, tape, slot, row):
        drop_entry(state, slot, ts, Reason.EXPIRED, order["seq"])
    order["row"] = next_row(state, tape, slot, max(row + 1, order["first_row"]))


@kernel
def end_immediate(state: State, slot: int, ts: int) -> None:
    """What is left of an IOC order after its one chance ends.  # R2.6"""
    order = state.entries[slot]
    if state.rules[0]["ordered"] and order["tif"] == TimeInForce.IOC and order["order_id"] != 0:
        drop_entry(state, slot, ts, Reason.IMMEDIATE, order["seq"])


@kernel
def crosses(state: State, tape: Tape, slot: int, raw: float, row: int, known: int) -> bool:
    """Whether the touch, half-spread included, is at or beyond an entry's limit, so that it takes.  # R2.5"""
    order = state.entries[slot]
    half = half_spread(tape, state.positions[slot]["symbol"], row, known, state.rules[0]["default_half_spread"])
    return order["side"] * (order["limit"] - (raw + order["side"] * raw * half)) >= 0


@kernel
def path(tape: Tape, policy: int, side: int, of: int, row: int) -> tuple[float, float, float]:
    """The three points that a bar's path is taken to visit after its open; ``side`` is the position's, ``of`` that of the prices.  # R3.3"""
    rises = tape.bid_close[row] > tape.bid_open[row] if side > 0 else tape.ask_close[row] > tape.ask_open[row]
    low_first = policy == Intrabar.OLHC or (policy == Intrabar.ADAPTIVE and rises)
    high = tape.ask_high[row] if of > 0 else tape.bid_high[row]
    low = tape.ask_low[row] if of > 0 else tape.bid_low[row]
    close = tape.ask_close[row] if of > 0 else tape.bid_close[row]
    return (low, high, close) if low_first else (high, low, close)


@shared
def meet_path(state: State, tape: Tape, proposals: Proposals, slot: int, ts: int, row: int, promised: int) -> None:
    """What the inside of a bar does to an entry that may act in it.  # R2.4, R3.4"""
    order, side = state.entries[slot], state.entries[slot]["side"]
    points = path(tape, state.rules[0]["intrabar"], side, side, row)
    segment = 0
    if order["kind"] == OrderType.LIMIT:
        while segment < 3 and not meets_limit(state, slot, points[segment]):
            segment += 1
        if segment < 3:
            certain = LOW if side > 0 else HIGH
            fill_inside(state, tape, proposals, slot, ts, row, order["limit"], MAKER, certain, segment, promised)
    elif order["kind"] >= OrderType.STOP:
        while segment < 3 and not meets_trigger(state, slot, points[segment]):
            segment += 1
        if segment < 3:
            trigger_inside(state, tape, proposals, slot, ts, row, segment, promised)


@shared
def trigger_inside(state: State, tape: Tape, proposals: Proposals, slot: int, ts: int, row: int, segment: int, promised: int) -> None:
    """What a stop or stop-limit does that the inside of a bar triggers.  # R2.1, R3.4"""
    order, side = state.entries[slot], state.entries[slot]["side"]
    certain, trigger = (HIGH if side > 0 else LOW), order["trigger"]
    if order["kind"] == OrderType.STOP:
        order["kind"] = OrderType.MARKET
        fill_inside(state, tape, proposals, slot, ts, row, trigger, 0, certain, segment, promised)
        return
    order["kind"] = OrderType.LIMIT
    if crosses(state, tape, slot, trigger, row, tape.open_ts[row]):
        fill_inside(state, tape, proposals, slot, ts, row, trigger, 0, certain, segment, promised)
    elif meets_limit(state, slot, trigger):
        fill_inside(state, tape, proposals, slot, ts, row, order["limit"], MAKER, certain, segment, promised)
    else:
        return_to_limit(state, tape, proposals, slot, ts, row, segment, promised)


@shared
def return_to_limit(state: State, tape: Tape, proposals: Proposals, slot: int, ts: int, row: int, segment: int, promised: int) -> None:
    """What a stop-limit does whose price has to come back to its limit after the trigger.  # R3.4"""
    order, side, policy = state.entries[slot], state.entries[slot]["side"], state.rules[0]["intrabar"]
    points = path(tape, policy, side, side, row)
    while segment < 3 and not meets_limit(state, slot, points[segment]):
        segment += 1
    surely = meets_limit(state, slot, close_price(tape, side, row))
    maybe = meets_limit(state, slot, tape.ask_low[row] if side > 0 else tape.bid_high[row])
    fills = segment < 3
    if policy == Intrabar.PESSIMISTIC:
        fills = surely
    elif policy == Intrabar.OPTIMISTIC:
        fills = maybe
    if fills:
        # had the close not come back, only the extreme beyond the limit can have filled it, and so it came after
        certain = 0 if surely else (LOW if side > 0 else HIGH)
        flags = MAKER | (AMBIGUOUS if maybe != surely else 0)
        fill_inside(state, tape, proposals, slot, ts, row, order["limit"], flags, certain, segment, promised)


@shared
def fill_inside(
    state: State,
    tape: Tape,
    proposals: Proposals,
    slot: int,
    ts: int,
    row: int,
    raw: float,
    flags: int,
    certain: int,
    segment: int,
    promised: int,
) -> None:
    """Fill an entry inside a bar, and keep what of the bar comes after it."""
    position = state.positions[slot]
    if fill_entry(state, tape, proposals, slot, ts, row, row, raw, tape.open_ts[row], flags, promised) == OPENED:
        position["reach_row"], position["reach_raw"] = row, raw
        position["reach_certain"], position["reach_segment"] = certain, segment


@shared
def resting_paths(tape: Tape, proposals: Proposals, state: State, now: int) -> None:
    """BAR_PATH with entries that rest: symbol by symbol, the entries in approval order, then the exits in strategy order.  # R3.1"""
    n_strategies = len(state.desks)
    symbol = next_inside(tape, state, NONE, now)
    while symbol != NEVER:
        promised = promised_lots(tape, state, symbol, now)
        for i in range(state.account[0]["n_queue"]):
            slot = state.queue[i]
            order, row = state.entries[slot], state.entries[slot]["row"]
            if state.positions[slot]["symbol"] == symbol and ends_now(tape, symbol, row, now) and not order["at_close"]:
                meet_path(state, tape, proposals, slot, now, row, promised)
        for strategy in range(n_strategies):
            slot = symbol * n_strategies + strategy
            position = state.positions[slot]
            if position["lots"] == 0 or not position["levels"] or not ends_now(tape, symbol, position["row"], now):
                continue
            if position["reach_row"] == position["row"]:
                leave_inside(tape, state, slot, position["row"], now)
            elif state.rules[0]["liquidates"]:
                leave_margined(tape, state, slot, position["row"], now)
            else:
                leave_if_touched(tape, state, slot, position["row"], now)
        symbol = next_inside(tape, state, symbol, now)
    sweep_queue(state)


@kernel
def ends_now(tape: Tape, symbol: int, row: int, now: int) -> bool:
    """Whether a bar of the run closes now."""
    return row < tape.stop[symbol] and tape.ts[row] == now


@kernel
def next_inside(tape: Tape, state: State, after: int, now: int) -> int:
    """First symbol after another whose bar ends now with an entry or a level to meet; NEVER without one."""
    account, found = state.account[0], NEVER
    for i in range(account["n_queue"]):
        slot = state.queue[i]
        symbol = state.positions[slot]["symbol"]
        if symbol > after and ends_now(tape, symbol, state.entries[slot]["row"], now):
            found = min(found, symbol)
    for i in range(account["n_held"]):
        slot = state.held[i]
        symbol = state.positions[slot]["symbol"]
        if symbol > after and state.positions[slot]["levels"] and ends_now(tape, symbol, state.positions[slot]["row"], now):
            found = min(found, symbol)
    return found


@kernel
def promised_lots(tape: Tape, state: State, symbol: int, now: int) -> int:
    """Lots of a bar that its exits will take: they come first where volume is short.  # R2.6"""
    n_strategies, promised = len(state.desks), 0
    if state.rules[0]["participation"] == np.inf:
        return 0
    for strategy in range(n_strategies):
        slot = symbol * n_strategies + strategy
        position = state.positions[slot]
        waits = position["lots"] != 0 and position["levels"] and ends_now(tape, symbol, position["row"], now)
        if waits and touch(tape, state, slot, position["row"], False)[0] != Reason.NONE:
            promised += abs(position["lots"])
    return promised


@shared
def leave_inside(tape: Tape, state: State, slot: int, row: int, now: int) -> None:
    """The stop or target reached in the bar of an entry by touch, after that entry; whether the bar is ambiguous.  # R3.4"""
    position, limit_touch = state.positions[slot], state.rules[0]["limit_touch"]
    side, raw, stop, target = position["side"], position["reach_raw"], ranged_stop(state, slot), position["target"]
    if row < position["acts_row"]:
        return
    if reached_by_open(side, raw, stop, target, limit_touch) != Reason.NONE:
        leave_as_taker(state, tape, slot, now, offered(tape, side, raw, row), row, tape.open_ts[row], Reason.CROSSED_AT_ENTRY, 0)
        return
    worst, best = surely_and_maybe(tape, state, slot, row, stop)
    policy = state.rules[0]["intrabar"]
    reason = worst if policy == Intrabar.PESSIMISTIC else best
    if policy != Intrabar.PESSIMISTIC and policy != Intrabar.OPTIMISTIC:
        points = path(tape, policy, side, -side, row)
        reason = Reason.NONE
        for k in range(position["reach_segment"], 3):
            if reason == Reason.NONE:
                reason = reached_by_open(side, points[k], stop, target, limit_touch)
    flags = AMBIGUOUS if worst != best else 0
    if reason == Reason.STOP_LOSS:
        leave_as_taker(state, tape, slot, now, offered(tape, side, stop, row), row, tape.open_ts[row], position["stop_reason"], flags)
    elif reason == Reason.TAKE_PROFIT:
        leave_at_target(state, tape, slot, now, target, row, flags)
    else:
        mark_record(state, position["opened_seq"] - 1, flags)


@kernel
def offered(tape: Tape, side: int, price: float, row: int) -> float:
    """A price on the exit side of a position: where bid and ask have candles of their own, one of theirs."""
    if side > 0:
        return min(max(price, tape.bid_low[row]), tape.bid_high[row])
    return min(max(price, tape.ask_low[row]), tape.ask_high[row])


@kernel
def surely_and_maybe(tape: Tape, state: State, slot: int, row: int, stop: float) -> tuple[int, int]:
    """What a bar does to a position opened inside it, told pessimistically and optimistically.  # R3.4

    Certain to come after the entry are the close and the extreme to which the price was moving; the other extreme is only possible.
    """
    position, limit_touch = state.positions[slot], state.rules[0]["limit_touch"]
    side, target, certain = position["side"], position["target"], position["reach_certain"]
    high = tape.bid_high[row] if side > 0 else tape.ask_high[row]
    low = tape.bid_low[row] if side > 0 else tape.ask_low[row]
    close = tape.bid_close[row] if side > 0 else tape.ask_close[row]
    against, towards = (low, high) if side > 0 else (high, low)
    sure_against = against if certain & (LOW if side > 0 else HIGH) else close
    sure_towards = towards if certain & (HIGH if side > 0 else LOW) else close
    may_stop, may_gain = side * (against - stop) <= 0, limit_met(-side, towards, target, limit_touch)
    must_stop, must_gain = side * (sure_against - stop) <= 0, limit_met(-side, sure_towards, target, limit_touch)
    worst = Reason.STOP_LOSS if may_stop else (Reason.TAKE_PROFIT if must_gain else Reason.NONE)
    best = Reason.TAKE_PROFIT if may_gain else (Reason.STOP_LOSS if must_stop else Reason.NONE)
    return worst, best
