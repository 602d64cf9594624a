"""Liquidation: what secures a position, when the mark reaches its price, and what closes then.  # R7.2, R7.3, R7.4"""

import numpy as np

from engine.bars import open_decides, touch
from engine.conversion import in_account, tell_rate
from engine.execution import close_position, leave_as_taker, leave_at_target
from engine.exits import adverse_first, on_tick, stop_inside
from engine.kernel import kernel, shared
from engine.margin import liquidation_price, maintenance_money
from engine.money import product, quantity
from engine.portfolio import equity, unrealised
from engine.prices import last_mark, open_price
from engine.records import post
from engine.schema import AMBIGUOUS, NONE, MaintenanceBasis, Reason, RecordKind
from engine.sizing import notional_of
from engine.state import State
from engine.tape import Tape

ROUNDING, LEAST = 1e-6, 16.0
"""More than what products and their rounding to money can be out by: a fraction of what they come to, and money units."""


@kernel
def held_fee(state: State) -> float:
    """Taker fee (a fraction) that maintenance holds."""
    rules = state.rules[0]
    return max(rules["taker_rate"], 0.0) if rules["maintenance_fee"] else 0.0


@shared
def stake_of(state: State, slot: int) -> tuple[int, int, int]:
    """Signed lots, cost and unrealised profit of what is liquidated as one: the position, or the net of its symbol.  # R6.1"""
    position, n_strategies = state.positions[slot], len(state.desks)
    if state.rules[0]["isolated"]:
        return position["lots"], position["cost"], unrealised(position)
    lots, cost, profit, first = 0, 0, 0, slot - slot % n_strategies
    for part in range(first, first + n_strategies):
        if state.positions[part]["lots"] != 0:
            lots += state.positions[part]["lots"]
            cost += state.positions[part]["cost"]
            profit += unrealised(state.positions[part])
    return lots, cost, profit


@shared
def maintenance(tape: Tape, state: State, slot: int) -> int:
    """Maintenance margin of the stake that a position is part of, at the last mark.  # R7.2"""
    rules, position = state.rules[0], state.positions[slot]
    spec = tape.specs[state.positions[slot]["symbol"]]
    lots, cost, _ = stake_of(state, slot)
    notional, fee = in_account(tape, state, position["symbol"], abs(cost)), 0.0
    if rules["maintenance_basis"] == MaintenanceBasis.MARK:
        notional, fee = notional_of(tape, state, position["symbol"], lots, last_mark(state, tape, slot)), held_fee(state)
    return maintenance_money(tape.margin_tiers, spec["tier_first"], spec["tier_stop"], notional, fee, rules["scale"])


@shared
def maintenance_of_others(tape: Tape, state: State, symbol: int) -> int:
    """Maintenance margin of all stakes but those of one symbol; NONE: of all."""
    account, total, last = state.account[0], 0, NONE
    for i in range(account["n_held"]):
        slot = state.held[i]
        found = state.positions[slot]["symbol"]
        if found != symbol and (state.rules[0]["isolated"] or found != last):
            total += maintenance(tape, state, slot)
        last = found
    return total


@shared
def price_of(tape: Tape, state: State, slot: int) -> float:
    """Mark price at which a position is liquidated; NaN: never.  # R7.3"""
    rules, position = state.rules[0], state.positions[slot]
    spec = tape.specs[state.positions[slot]["symbol"]]
    if spec["tier_first"] == spec["tier_stop"]:
        return np.nan
    lots, cost, profit = stake_of(state, slot)
    inverse = spec["inverse"] != 0
    side = 1 if lots > 0 else -1
    if lots * position["side"] <= 0:
        return np.nan
    secured = position["margin"]
    if not rules["isolated"]:
        secured = equity(state) - profit - maintenance_of_others(tape, state, position["symbol"])
    units = abs(quantity(lots, spec["lot_units"], spec["lot_power"])) * spec["multiplier"]
    paid, margin = (-side if inverse else side) * cost / rules["scale"], secured / rules["scale"]
    if spec["converts"]:
        units, paid = units * state.rates[position["symbol"]]["now"], paid * state.rates[position["symbol"]]["now"]
    basis, fee = rules["maintenance_basis"], held_fee(state)
    return liquidation_price(tape.margin_tiers, spec["tier_first"], spec["tier_stop"], basis, side, units, paid, margin, fee, inverse)


@kernel
def surely_safe(state: State, slot: int, mark: float, scale: float) -> bool:
    """Whether a mark is short of the liquidation price for certain, in a few products; False says nothing.  # R7.3

    At that price the margin left equals maintenance in some tier, and it only falls from there; so margin left over the highest rate of all
    means that the price was not reached.
    """
    if not state.rules[0]["bounded"]:
        return False
    position, n_strategies = state.positions[slot], len(state.desks)
    if state.rules[0]["isolated"]:
        qty, backing = position["qty"], position["margin"] - position["cost"]
    else:
        qty, backing = 0.0, equity(state) - state.account[0]["upkeep"]
        for part in range(position["symbol"] * n_strategies, (position["symbol"] + 1) * n_strategies):
            qty += state.positions[part]["qty"]
            backing -= state.positions[part]["value"]
    at_mark = product(qty, mark, position["multiplier"], scale, position["inverse"])
    return (backing + at_mark) * (1.0 - ROUNDING) > abs(at_mark) * (position["top_rate"] + ROUNDING) + LEAST


@shared
def exit_inside(tape: Tape, state: State, slot: int, row: int, price: float) -> tuple[int, bool]:
    """Exit that the inside of a bar reaches, liquidation among them, and whether the bar is ambiguous.  # R3.3, R7.3"""
    side = state.positions[slot]["side"]
    reason, ambiguous = touch(tape, state, slot, row, state.rules[0]["plain_exits"] != 0)
    worst = tape.mark_low[row] if side > 0 else tape.mark_high[row]
    if not side * (worst - price) <= 0:
        return reason, ambiguous
    if reason == Reason.NONE or side * (tape.mark_open[row] - price) <= 0:
        return Reason.LIQUIDATED, False
    if (reason == Reason.STOP_LOSS or ambiguous) and side * (stop_inside(state, tape, slot, row)[0] - price) > 0:
        return reason, ambiguous
    if reason == Reason.STOP_LOSS and not ambiguous:
        return Reason.LIQUIDATED, False
    rises = tape.bid_close[row] > tape.bid_open[row] if side > 0 else tape.ask_close[row] > tape.ask_open[row]
    return (Reason.LIQUIDATED if adverse_first(state.rules[0]["intrabar"], side, rises) else Reason.TAKE_PROFIT), True


@shared
def margined_paths(tape: Tape, state: State, now: int) -> None:
    """BAR_PATH of a run with maintenance margin, in position order.  # R3.1, R7.3"""
    account, rules, i = state.account[0], state.rules[0], 0
    scale, plain = rules["scale"], rules["plain_exits"] != 0
    while i < account["n_held"]:
        slot = state.held[i]
        position, symbol = state.positions[slot], state.positions[slot]["symbol"]
        row, i = position["row"], i + 1
        if not position["levels"] or row >= tape.stop[symbol] or tape.ts[row] != now:
            continue
        worst = tape.mark_low[row] if position["side"] > 0 else tape.mark_high[row]
        if surely_safe(state, slot, worst, scale) and touch(tape, state, slot, row, plain)[0] == Reason.NONE:
            continue
        if leave_margined(tape, state, slot, row, now):
            i = int(np.searchsorted(state.held[: account["n_held"]], slot))


@shared
def leave_margined(tape: Tape, state: State, slot: int, row: int, now: int) -> bool:
    """Leave a position at what the inside of a bar reaches, liquidation among it; whether it closed.  # R3.3, R7.3"""
    price, side = price_of(tape, state, slot), state.positions[slot]["side"]
    reason, ambiguous = exit_inside(tape, state, slot, row, price)
    flags = AMBIGUOUS if ambiguous else 0
    if reason == Reason.LIQUIDATED:
        low, high = (tape.bid_low[row], tape.bid_high[row]) if side > 0 else (tape.ask_low[row], tape.ask_high[row])
        liquidate(tape, state, slot, now, min(max(price, low), high), flags)
        return True
    if reason == Reason.STOP_LOSS:
        stop, reason = stop_inside(state, tape, slot, row)
        return leave_as_taker(state, tape, slot, now, stop, row, tape.open_ts[row], reason, flags)
    if reason == Reason.TAKE_PROFIT:
        return leave_at_target(state, tape, slot, now, state.positions[slot]["target"], row, flags)
    return False


@shared
def margined_opens(tape: Tape, state: State, now: int) -> None:
    """BAR_OPEN, reducing fills of a run with maintenance margin: liquidations that the mark's open has passed come first.  # R1.3, R1.4"""
    account, i = state.account[0], 0
    scale = state.rules[0]["scale"]
    while i < account["n_held"]:
        slot = state.held[i]
        position, symbol, i = state.positions[slot], state.positions[slot]["symbol"], i + 1
        row = position["row"]
        if row >= tape.stop[symbol] or tape.open_ts[row] != now:
            continue
        if not surely_safe(state, slot, tape.mark_open[row], scale) and passed_by_mark(tape, state, slot, row):
            liquidate(tape, state, slot, now, open_price(tape, -position["side"], row), 0)
            i = int(np.searchsorted(state.held[: account["n_held"]], slot))
        elif open_decides(tape, state, slot, row, now):
            i -= 1


@shared
def passed_by_mark(tape: Tape, state: State, slot: int, row: int) -> bool:
    """Whether the open of the mark candle is at or beyond the position's liquidation price.  # R7.3"""
    return state.positions[slot]["side"] * (tape.mark_open[row] - price_of(tape, state, slot)) <= 0


@shared
def liquidate(tape: Tape, state: State, slot: int, now: int, raw: float, flags: int) -> None:
    """Close a position, or under cross margin all parts of its symbol, at one price."""
    n_strategies = len(state.desks)
    symbol, isolated = state.positions[slot]["symbol"], state.rules[0]["isolated"] != 0
    opened = tape.open_ts[state.positions[slot]["row"]]
    price = on_tick(tape, symbol, raw, state.positions[slot]["side"] < 0, opened)
    first, count = (slot, 1) if isolated else (symbol * n_strategies, n_strategies)
    for part in range(first, first + count):
        if state.positions[part]["lots"] != 0:
            liquidate_part(tape, state, part, now, price, flags)


@shared
def liquidate_part(tape: Tape, state: State, slot: int, now: int, price: float, flags: int) -> None:
    """Close one position, and give back what it lost beyond an isolated margin: INSURANCE.  # R7.3"""
    account, position = state.account[0], state.positions[slot]
    tell_rate(tape, state, slot, now)
    before, secured, fill = account["cash"], position["margin"], account["seq"]
    order_id = position["entry_id"]
    close_position(state, tape, slot, now, price, Reason.LIQUIDATED, flags, order_id, NONE, position["opened_seq"])
    beyond = before - account["cash"] - secured
    if state.rules[0]["isolated"] and beyond > 0:
        account["cash"] += beyond
        post(state, now, RecordKind.INSURANCE, Reason.NONE, slot, order_id, NONE, 0, 0, 0.0, 0, beyond, 0.0, fill, 0, 0)


@shared
def undersecured(tape: Tape, state: State) -> bool:
    """Whether equity does not cover maintenance; zero equity is ruin.  # R7.4"""
    if equity(state) <= 0:
        return True
    if not state.rules[0]["liquidates"]:
        return False
    if state.rules[0]["bounded"] and equity(state) > state.account[0]["upkeep"]:
        return False
    return equity(state) < maintenance_of_others(tape, state, NONE)


@shared
def heaviest(tape: Tape, state: State) -> int:
    """Slot of the position whose stake has the largest maintenance; of equals the first.  # R7.4"""
    found = state.held[0]
    if not state.rules[0]["liquidates"]:
        return found
    most = maintenance(tape, state, found)
    for i in range(1, state.account[0]["n_held"]):
        amount = maintenance(tape, state, state.held[i])
        if amount > most:
            found, most = state.held[i], amount
    return found
