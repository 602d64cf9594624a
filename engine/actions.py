"""CORPORATE_ACTION: splits, dividends and delistings of what is held or pending.  # R8.1, R8.2, R8.4

One symbol at a time, its actions in their order; of a split, pending entries first, in approval order, then positions in strategy order.
"""

import numpy as np

from engine.conversion import in_account, tell_rate
from engine.execution import close_position
from engine.exits import on_tick, watches
from engine.kernel import kernel, shared
from engine.money import MONEY_LIMIT, quantity, share, value
from engine.orders import drop_entries, drop_entry, drop_exit, drop_rest, next_due, sweep_queue, time_life, time_other_events
from engine.portfolio import book_value, note_overflow, release, secure, set_lots, value_at
from engine.records import post
from engine.schema import NEVER, NONE, Accounting, Reason, RecordKind
from engine.splits import DELIST, DIVIDEND, SPLIT, across_splits
from engine.state import State
from engine.tape import Tape, known_until
from engine.targets import close_turned_back
from engine.terms import split_terms


@shared
def corporate_actions(tape: Tape, state: State, now: int) -> None:
    """All actions of this instant, by symbol; then everything that was due learns what comes next."""
    if len(tape.universe_ts) == 0 and len(tape.action_ts) == 0:
        return
    symbol = next_due(state, NONE, now)
    while symbol != NEVER:
        first, stop = tape.action_first[symbol], tape.action_stop[symbol]
        for at in range(known_until(tape.action_ts, first, stop, now - 1), known_until(tape.action_ts, first, stop, now)):
            act(tape, state, symbol, at, now)
        plan_ahead(tape, state, symbol)
        symbol = next_due(state, symbol, now)


@kernel
def act(tape: Tape, state: State, symbol: int, at: int, now: int) -> None:
    """One action on the pending entries and the positions of its symbol."""
    account, n_strategies, kind = state.account[0], len(state.desks), tape.action_kind[at]
    if kind == DELIST:
        drop_entries(state, symbol, now, Reason.DELISTED)
    elif state.rules[0]["splits"] and kind == SPLIT:
        for i in range(account["n_queue"]):
            if state.positions[state.queue[i]]["symbol"] == symbol:
                split_entry(tape, state, state.queue[i], at, now)
        sweep_queue(state)
    for strategy in range(n_strategies):
        slot = symbol * n_strategies + strategy
        position = state.positions[slot]
        if position["lots"] == 0:
            continue
        if state.rules[0]["splits"] and kind == SPLIT:
            split_position(tape, state, slot, at, now)
        elif kind == DIVIDEND:
            pay_dividend(tape, state, slot, tape.action_value[at], now)
        else:
            last = close_in_new_units(tape, symbol, position["row"] - 1, at)
            price = last * (1.0 - position["side"] * state.rules[0]["delist_haircut"])
            close_position(state, tape, slot, now, price, Reason.DELISTED, 0, position["entry_id"], NONE, position["opened_seq"])


@kernel
def plan_ahead(tape: Tape, state: State, symbol: int) -> None:
    """When the positions and pending entries of a symbol next meet the universe or an action."""
    n_strategies, life_ts = len(state.desks), time_life(state, tape, symbol)
    for slot in range(symbol * n_strategies, (symbol + 1) * n_strategies):
        state.entries[slot]["life_ts"] = state.positions[slot]["life_ts"] = life_ts
        if state.positions[slot]["lots"] != 0:
            time_other_events(state, tape, slot)


@kernel
def close_in_new_units(tape: Tape, symbol: int, row: int, stop: int) -> float:
    """The close of a bar after the splits since, up to action ``stop``."""
    return across_splits(tape, symbol, tape.close[row], tape.ts[row], stop)


@shared
def pay_dividend(tape: Tape, state: State, slot: int, amount_each: float, now: int) -> None:
    """DIVIDEND: cash for each unit held; a short pays it.  # R8.2"""
    position = state.positions[slot]
    tell_rate(tape, state, slot, now)
    amount = value_at(state, slot, amount_each)
    if position["accounting"] != Accounting.SPOT:
        amount = in_account(tape, state, position["symbol"], amount)
    state.account[0]["cash"] += amount
    lots, cause = abs(position["lots"]), position["opened_seq"]
    post(state, now, RecordKind.DIVIDEND, Reason.NONE, slot, NONE, NONE, 0, lots, amount_each, 0, amount, 0.0, cause, 0, 0)


@shared
def split_entry(tape: Tape, state: State, slot: int, at: int, now: int) -> None:
    """SPLIT of a pending entry: its lots, limit and trigger; what it reserves and counts for is money, and stays.  # R8.1"""
    order, num, den = state.entries[slot], tape.action_num[at], tape.action_den[at]
    symbol = state.positions[slot]["symbol"]
    lots = order["lots"] * num // den
    if lots == 0:
        drop_entry(state, slot, now, Reason.BELOW_MIN_QTY, order["seq"])
        if state.rules[0]["aiming"]:
            close_turned_back(state, tape, slot, now)
        return
    if not split_terms(state, tape, slot, den, num, now):
        drop_entry(state, slot, now, Reason.INVALID, order["seq"])
        return
    order["lots"] = lots
    price = close_in_new_units(tape, symbol, known_until(tape.ts, tape.oldest[symbol], tape.stop[symbol], now) - 1, at + 1)
    order_id, proposal, side, cause = order["order_id"], order["proposal"], order["side"], order["seq"]
    post(state, now, RecordKind.SPLIT, Reason.NONE, slot, order_id, proposal, side, lots, price, 0, 0, num / den, cause, 0, 0)


@shared
def split_position(tape: Tape, state: State, slot: int, at: int, now: int) -> None:
    """SPLIT of a position: whole lots at the same cost, and CASH_IN_LIEU for what the division leaves.  # R8.1"""
    position, num, den = state.positions[slot], tape.action_num[at], tape.action_den[at]
    symbol, side, row = state.positions[slot]["symbol"], position["side"], position["row"] - 1
    held = abs(position["lots"])
    lots, rest = held * num // den, held * num % den
    if lots >= MONEY_LIMIT:
        note_overflow(state.account[0], symbol)
    price, mark = close_in_new_units(tape, symbol, row, at + 1), across_splits(tape, symbol, tape.mark[row], tape.ts[row], at + 1)
    set_lots(state, tape, slot, side * lots)
    split_levels(tape, state, slot, den, num)
    cause = position["opened_seq"]
    seq = post(state, now, RecordKind.SPLIT, Reason.NONE, slot, NONE, NONE, 0, lots, price, 0, 0, num / den, cause, 0, 0)
    at_mark = value_at(state, slot, mark)
    if rest == 0:
        book_value(state, slot, at_mark, position["cost"])
    else:
        seq = pay_rest(tape, state, slot, rest, held * num, den, price, at_mark, seq, now)
    if lots == 0 and position["exit_id"] != 0:
        drop_exit(state, slot, now, held, Reason.POSITION_CLOSED, seq)
    if lots == 0:
        drop_rest(state, slot, now, seq)
    if state.rules[0]["aiming"] and position["exit_lots"] != 0:
        split_exit(state, slot, num, den, now)


@kernel
def split_exit(state: State, slot: int, num: int, den: int, now: int) -> None:
    """A pending order to close some lots is for as many of the new ones; without a whole one it ends.  # R8.1"""
    position = state.positions[slot]
    lots = position["exit_lots"] * num // den
    if lots == 0:
        drop_exit(state, slot, now, position["exit_lots"], Reason.BELOW_MIN_QTY, position["exit_seq"])
    else:
        position["exit_lots"] = lots


@shared
def pay_rest(
    tape: Tape, state: State, slot: int, rest: int, before: int, den: int, price: float, at_mark: int, cause: int, now: int
) -> int:
    """CASH_IN_LIEU, POSITION: ``rest / den`` of a lot, of ``before / den``, closes at the last close without a fee; its seq.  # R8.1"""
    position, symbol = state.positions[slot], state.positions[slot]["symbol"]
    spec, side, lots = tape.specs[symbol], position["side"], abs(position["lots"])
    qty = side * quantity(rest, spec["lot_units"], spec["lot_power"]) / den
    tell_rate(tape, state, slot, now)
    spot, worth = (
        position["accounting"] == Accounting.SPOT,
        value(qty, price, spec["multiplier"], state.rules[0]["scale"], spec["inverse"]),
    )
    if spot:
        worth = in_account(tape, state, symbol, worth)
    released = share(position["cost"], rest, before)
    kept = position["margin"] - share(position["margin"], rest, before)
    realised = worth - released if spot else in_account(tape, state, symbol, worth - released)
    amount = worth if spot else realised
    state.account[0]["cash"] += amount
    book_value(state, slot, at_mark, position["cost"] - released)
    if lots == 0:
        state.account[0]["n_levels"] -= position["levels"]
        release(state, slot)
    secure(state, slot, kept)
    seq = post(
        state, now, RecordKind.CASH_IN_LIEU, Reason.CASH_IN_LIEU, slot, NONE, NONE, -side, rest, price, 0, amount, float(den), cause, 0, 0
    )
    post(state, now, RecordKind.POSITION, Reason.NONE, slot, NONE, NONE, 0, lots, 0.0, 0, realised, 0.0, seq, 0, 0)
    return seq


@shared
def split_levels(tape: Tape, state: State, slot: int, den: int, num: int) -> None:
    """Levels of a position in prices of the new units, triggers on the tick again.  # R8.1

    Bars that closed since the last open have not moved the trailing level yet; ``exits.trail`` restates them when it comes to them.
    """
    position, symbol = state.positions[slot], state.positions[slot]["symbol"]
    side, now = position["side"], state.account[0]["now"]
    position["stop"] = split_level(tape, symbol, position["stop"] * den / num, side < 0, now)
    position["target"] = split_level(tape, symbol, position["target"] * den / num, side > 0, now)
    position["trailing"] = position["trailing"] * den / num
    position["break_even"] = position["break_even"] * den / num
    position["entry_price"] = position["entry_price"] * den / num
    position["extreme"] = position["extreme"] * den / num
    at = position["change"]
    while at != NONE:
        split_change(tape, state, slot, at, den, num)
        at = state.changes[at]["next"]
    if position["levels"] != 0 and not watches(tape, state, slot):
        position["levels"] = 0
        state.account[0]["n_levels"] -= 1


@kernel
def split_change(tape: Tape, state: State, slot: int, at: int, den: int, num: int) -> None:
    """A change of levels that does not act yet, in prices of the new units.  # R4.3, R8.1"""
    position, change = state.positions[slot], state.changes[at]
    symbol, side, now = position["symbol"], position["side"], state.account[0]["now"]
    change["stop"] = split_level(tape, symbol, change["stop"] * den / num, side < 0, now)
    change["target"] = split_level(tape, symbol, change["target"] * den / num, side > 0, now)
    change["trailing"] = change["trailing"] * den / num
    change["break_even"] = change["break_even"] * den / num
    change["extreme"] = change["extreme"] * den / num
    change["entry_price"] = change["entry_price"] * den / num


@kernel
def split_level(tape: Tape, symbol: int, price: float, up: bool, ts: int) -> float:
    """A level on the tick; NaN where there was none, or is none left."""
    level = on_tick(tape, symbol, price, up, ts)
    return level if level > 0.0 else np.nan
