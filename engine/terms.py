"""The terms of an entry order: its prices on the tick, the bars in which it may act, and when it expires.  # R2.1, R2.7"""

import numpy as np

from engine.arrays import Floats
from engine.exits import limit_met, on_tick
from engine.kernel import kernel, shared
from engine.orders import drop_entry, first_row_after, sweep_queue
from engine.proposals import Proposals
from engine.schema import NEVER, OrderType, Reason, TimeInForce, Timing
from engine.splits import restated
from engine.state import State
from engine.tape import Tape, known_until

LOOK_AHEAD = 4096  # bars that one search for a touch looks at before it comes up for air


@kernel
def price_on_tick(tape: Tape, symbol: int, price: float, up: bool, ts: int) -> float:
    """Price of an order on the tick; NaN where it is none."""
    if not 0.0 < price < np.inf:
        return np.nan
    price = on_tick(tape, symbol, price, up, ts)
    return price if price > 0.0 else np.nan


@shared
def reference_price(state: State, tape: Tape, proposals: Proposals, i: int, side: int) -> float:
    """Price at which an entry is sized and judged: its limit, else its trigger, else the last close; NaN where its order has no price.  # R5.1"""
    kind, symbol, now = proposals.order_type[i], proposals.symbol[i], state.account[0]["now"]
    if not state.rules[0]["ordered"] or kind == OrderType.MARKET:
        row = proposals.row[i]
        return restated(state, tape, symbol, tape.close[row], tape.ts[row])
    trigger = price_on_tick(tape, symbol, restated(state, tape, symbol, proposals.stop_price[i], proposals.ts[i]), side > 0, now)
    if kind == OrderType.STOP or (kind == OrderType.STOP_LIMIT and np.isnan(trigger)):
        return trigger
    return price_on_tick(tape, symbol, restated(state, tape, symbol, proposals.limit_price[i], proposals.ts[i]), side < 0, now)


@kernel
def lapsed(proposals: Proposals, i: int, now: int) -> bool:
    """Whether an entry is good till a time that has come."""
    return proposals.tif[i] == TimeInForce.GTD and proposals.tif_value[i] <= now


@shared
def take_terms(state: State, tape: Tape, proposals: Proposals, slot: int, ts: int, after: int) -> None:
    """Give an order its terms; ``after`` is the first bar not closed at the decision.  # R2.1, R2.3"""
    rules, order, symbol = state.rules[0], state.entries[slot], state.positions[slot]["symbol"]
    order["kind"], order["tif"], order["good_till"] = OrderType.MARKET, TimeInForce.GTC, NEVER
    order["limit"] = order["trigger"] = np.nan
    order["first_row"] = order["row"] = first_row_after(tape, symbol, after, ts + rules["latency_us"])
    order["last_row"] = order["expire_row"] = tape.stop[symbol]
    if rules["ordered"]:
        take_prices(state, tape, proposals, slot, ts)
        take_time_in_force(tape, proposals, state, slot, after)
    order["at_close"] = order["kind"] == OrderType.MARKET and rules["timing"] != Timing.NEXT_OPEN


@kernel
def take_prices(state: State, tape: Tape, proposals: Proposals, slot: int, ts: int) -> None:
    """Its type, and the limit and the trigger that this has, on the tick.  # R2.7"""
    order, symbol = state.entries[slot], state.positions[slot]["symbol"]
    i, side = order["proposal"], order["side"]
    order["kind"], order["tif"] = proposals.order_type[i], proposals.tif[i]
    if order["kind"] != OrderType.MARKET or order["tif"] != TimeInForce.GTC:
        state.rules[0]["resting"] = 1
    limited = order["kind"] == OrderType.LIMIT or order["kind"] == OrderType.STOP_LIMIT
    stopped = order["kind"] >= OrderType.STOP
    limit = restated(state, tape, symbol, proposals.limit_price[i], proposals.ts[i]) if limited else np.nan
    trigger = restated(state, tape, symbol, proposals.stop_price[i], proposals.ts[i]) if stopped else np.nan
    order["limit"] = price_on_tick(tape, symbol, limit, side < 0, ts)
    order["trigger"] = price_on_tick(tape, symbol, trigger, side > 0, ts)


@kernel
def take_time_in_force(tape: Tape, proposals: Proposals, state: State, slot: int, after: int) -> None:
    """The bars in which it may act.  # R2.1"""
    order, symbol = state.entries[slot], state.positions[slot]["symbol"]
    first, stop, value = order["first_row"], tape.stop[symbol], proposals.tif_value[order["proposal"]]
    if order["tif"] == TimeInForce.IOC:
        order["last_row"] = first
    elif order["tif"] == TimeInForce.BARS:
        order["last_row"] = order["expire_row"] = min(stop, first + value - 1)
    elif order["tif"] == TimeInForce.GTD:
        order["good_till"] = value
        begin = max(after, tape.first[symbol])
        order["last_row"] = known_until(tape.ts, begin, stop, value) - 1
        order["expire_row"] = known_until(tape.ts, begin, stop, value - tape.specs[symbol]["interval_us"])
        if order["last_row"] < first:
            order["row"] = stop


@shared
def split_terms(state: State, tape: Tape, slot: int, den: int, num: int, now: int) -> bool:
    """Prices of an order in units after a split, on the tick again; whether it still has those that it needs.  # R8.1"""
    order, symbol = state.entries[slot], state.positions[slot]["symbol"]
    limited, stopped = not np.isnan(order["limit"]), not np.isnan(order["trigger"])
    order["limit"] = price_on_tick(tape, symbol, order["limit"] * den / num, order["side"] < 0, now)
    order["trigger"] = price_on_tick(tape, symbol, order["trigger"] * den / num, order["side"] > 0, now)
    if (limited and np.isnan(order["limit"])) or (stopped and np.isnan(order["trigger"])):
        return False
    first = order["first_row"]
    if order["kind"] != OrderType.MARKET and first < tape.stop[symbol] and tape.open_ts[first] < now:
        at = known_until(tape.ts, tape.oldest[symbol], tape.stop[symbol], now)
        order["row"] = next_row(state, tape, slot, max(at, first))
    return True


@kernel
def is_old(state: State, tape: Tape, slot: int, row: int) -> bool:
    """Whether an order can act in no bar after this one.  # R2.1"""
    order = state.entries[slot]
    if order["tif"] == TimeInForce.BARS:
        return row >= order["expire_row"]
    return tape.ts[row] > order["good_till"] - tape.specs[state.positions[slot]["symbol"]]["interval_us"]


@shared
def next_row(state: State, tape: Tape, slot: int, row: int) -> int:
    """The first bar from ``row`` on in which an order may meet its price, or one before it; the end where there is none.  # R10.1"""
    order, symbol = state.entries[slot], state.positions[slot]["symbol"]
    stop = min(tape.stop[symbol], order["last_row"] + 1)
    horizon = min(stop, row + LOOK_AHEAD)
    if order["kind"] == OrderType.MARKET:
        return row if row < stop else tape.stop[symbol]
    below = (order["kind"] == OrderType.LIMIT) == (order["side"] > 0)
    level = order["limit"] if order["kind"] == OrderType.LIMIT else order["trigger"]
    if order["side"] > 0:
        row = first_low(tape.ask_low, level, row, horizon) if below else first_high(tape.ask_high, level, row, horizon)
    else:
        row = first_low(tape.bid_low, level, row, horizon) if below else first_high(tape.bid_high, level, row, horizon)
    return row if row < stop else tape.stop[symbol]


@kernel
def first_low(low: Floats, level: float, row: int, stop: int) -> int:
    """First bar that comes down to a level; ``stop`` if none does."""
    while row < stop and low[row] > level:
        row += 1
    return row


@kernel
def first_high(high: Floats, level: float, row: int, stop: int) -> int:
    """First bar that comes up to a level; ``stop`` if none does."""
    while row < stop and high[row] < level:
        row += 1
    return row


@kernel
def expires(state: State, tape: Tape, slot: int, now: int) -> bool:
    """Whether an order can act in no bar after the one that closes now; one that fills at this close has it still before it."""
    order, symbol = state.entries[slot], state.positions[slot]["symbol"]
    row = order["expire_row"]
    if order["order_id"] == 0 or row >= tape.stop[symbol] or tape.ts[row] != now:
        return False
    return not (order["at_close"] and order["row"] == row)


@kernel
def next_expiring(state: State, tape: Tape, now: int) -> int:
    """First symbol with an order that expires at this close; NEVER without one."""
    found = NEVER
    for i in range(state.account[0]["n_queue"]):
        slot = state.queue[i]
        if expires(state, tape, slot, now):
            found = min(found, state.positions[slot]["symbol"])
    return found


@shared
def expire_entries(state: State, tape: Tape, now: int, below: int) -> int:
    """CANDLE_CLOSE: end the orders of symbols before ``below`` that expire at this close; the next symbol with one.  # R2.1"""
    while True:
        symbol = next_expiring(state, tape, now)
        if symbol >= below:
            return symbol
        for i in range(state.account[0]["n_queue"]):
            slot = state.queue[i]
            if state.positions[slot]["symbol"] == symbol and expires(state, tape, slot, now):
                drop_entry(state, slot, now, Reason.EXPIRED, state.entries[slot]["seq"])
        sweep_queue(state)


@shared
def pass_bars(state: State, tape: Tape, now: int) -> None:
    """Point the orders whose bar closes now at the next bar that may meet them."""
    for i in range(state.account[0]["n_queue"]):
        slot = state.queue[i]
        order, stop = state.entries[slot], tape.stop[state.positions[slot]["symbol"]]
        row = order["row"]
        if row < stop and tape.ts[row] == now and not order["at_close"]:
            order["row"] = next_row(state, tape, slot, row + 1)


@kernel
def meets_limit(state: State, slot: int, price: float) -> bool:
    """Whether a price fills the resting limit of an entry.  # R2.4"""
    order = state.entries[slot]
    return limit_met(order["side"], price, order["limit"], state.rules[0]["limit_touch"])


@kernel
def meets_trigger(state: State, slot: int, price: float) -> bool:
    """Whether a price triggers the stop of an entry."""
    order = state.entries[slot]
    return order["side"] * (price - order["trigger"]) >= 0
