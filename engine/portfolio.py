"""Cash, positions and margin: the only place that stores them.  # R6.1"""

import numpy as np

from engine.kernel import kernel
from engine.money import MONEY_LIMIT, money, quantity, value
from engine.schema import NEVER, NONE, Accounting
from engine.state import State
from engine.tape import Tape


@kernel
def equity(state: State) -> int:
    """Cash, unrealised profit and the value of spot holdings.  # R6.4"""
    account = state.account[0]
    return account["cash"] + account["open_value"]


@kernel
def free_cash(state: State) -> int:
    """What no position and no pending entry lays claim to.  # R5.2"""
    account = state.account[0]
    return account["cash"] + account["open_profit"] - account["locked"] - account["reserved"]


@kernel
def counts_as_free(tape: Tape, symbol: int, side: int) -> bool:
    """Whether unrealised profit of a position backs new ones: of all but spot longs."""
    return tape.specs[symbol]["accounting"] != Accounting.SPOT or side < 0


@kernel
def note_overflow(account: np.void, symbol: int) -> None:
    """Keep the first symbol whose money overflowed, and the record under way.  # R6.3"""
    if account["overflow"] == NONE:
        account["overflow"] = symbol
        account["overflow_seq"] = account["seq"]


@kernel
def book_value(state: State, slot: int, new_value: int, new_cost: int) -> None:
    """Set a position's value at the mark and its cost, and carry both into the account's totals."""
    account, position = state.account[0], state.positions[slot]
    gained = new_value - position["value"]
    profit = gained - (new_cost - position["cost"])
    if position["converts"] and position["accounting"] != Accounting.SPOT:
        profit = money((new_value - new_cost) * state.rates[position["symbol"]]["now"]) - position["profit"]
        position["profit"] += profit
    account["open_value"] += gained if position["accounting"] == Accounting.SPOT else profit
    if position["pooled"]:
        account["open_profit"] += profit
    position["value"], position["cost"] = new_value, new_cost
    if state.rules[0]["liquidates"]:
        upkeep = int(abs(new_value) * position["top_rate"]) + 2
        account["upkeep"] += upkeep - position["upkeep"]
        position["upkeep"] = upkeep
    if abs(new_value) >= MONEY_LIMIT or abs(new_cost) >= MONEY_LIMIT:
        note_overflow(account, position["symbol"])


@kernel
def by_side(side: int, worth: int) -> int:
    """A value with the sign of its position's side, whatever the contract.

    >>> int(by_side(1, -300)), int(by_side(-1, -200))
    (300, -200)
    """
    return abs(worth) if side > 0 else -abs(worth)


@kernel
def notional(state: State, slot: int) -> int:
    """Account money that a position stands for at its mark, signed by its side."""
    position = state.positions[slot]
    worth = by_side(position["side"], position["value"])
    if position["converts"] and position["accounting"] != Accounting.SPOT:
        return money(worth * state.rates[position["symbol"]]["now"])
    return worth


@kernel
def unrealised(position: np.void) -> int:
    """Profit of a position at its mark, in account money."""
    if position["converts"] and position["accounting"] != Accounting.SPOT:
        return position["profit"]
    return position["value"] - position["cost"]


@kernel
def freed_by_closing(state: State, slot: int) -> int:
    """Free cash that the end of a position brings at its mark, its margin aside: what does not count as free yet.  # R5.2"""
    position = state.positions[slot]
    if position["pooled"]:
        return 0
    return unrealised(position) if position["backs"] else position["value"]


@kernel
def secure(state: State, slot: int, margin: int) -> None:
    """Set a position's margin, and lock it with, for a spot short, the proceeds.  # R6.2, R7.2"""
    account, position = state.account[0], state.positions[slot]
    locked = margin
    if position["backs"] and position["accounting"] == Accounting.SPOT:
        locked += abs(position["cost"])
    account["locked"] += locked - position["locked"]
    position["margin"], position["locked"] = margin, locked


@kernel
def revalue(state: State, tape: Tape, slot: int, row: int) -> None:
    """Mark a position to the close of a bar.  # R6.5"""
    position = state.positions[slot]
    book_value(state, slot, value_at(state, slot, tape.mark[row]), position["cost"])


@kernel
def value_at(state: State, slot: int, price: float) -> int:
    """Signed value of a position at a price: in account money what cash has bought, in quote money what margin holds."""
    position = state.positions[slot]
    worth = value(position["qty"], price, position["multiplier"], state.rules[0]["scale"], position["inverse"])
    if position["converts"] and position["accounting"] == Accounting.SPOT and abs(worth) < MONEY_LIMIT:
        return money(worth * state.rates[position["symbol"]]["now"])
    return worth


@kernel
def hold(state: State, slot: int) -> None:
    """Enter a slot in the ascending list of held positions."""
    account = state.account[0]
    i = account["n_held"]
    while i > 0 and state.held[i - 1] > slot:
        state.held[i] = state.held[i - 1]
        i -= 1
    state.held[i] = slot
    account["n_held"] += 1


@kernel
def release(state: State, slot: int) -> None:
    """Take a slot off the list of held positions."""
    account = state.account[0]
    n = account["n_held"]
    i = np.searchsorted(state.held[:n], slot)
    while i < n - 1:
        state.held[i] = state.held[i + 1]
        i += 1
    account["n_held"] = n - 1


@kernel
def set_lots(state: State, tape: Tape, slot: int, lots: int) -> None:
    """Set a position's signed lots and their quantity."""
    position = state.positions[slot]
    spec = tape.specs[position["symbol"]]
    position["lots"] = lots
    position["qty"] = quantity(lots, spec["lot_units"], spec["lot_power"])


@kernel
def claim_slot(state: State, tape: Tape, slot: int, side: int) -> None:
    """Make an empty slot ready for the lots of one side."""
    position = state.positions[slot]
    spec = tape.specs[position["symbol"]]
    position["side"], position["value"], position["cost"], position["locked"] = side, 0, 0, 0
    position["margin"] = position["profit"] = 0
    position["converts"] = spec["converts"]
    position["change"], position["adds"], position["busy_at"] = NONE, 0, -NEVER
    position["accounting"], position["inverse"] = spec["accounting"], spec["inverse"]
    position["backs"] = counts_as_free(tape, position["symbol"], side)
    position["pooled"] = position["backs"] and not (position["accounting"] != Accounting.SPOT and state.rules[0]["isolated"])
    position["multiplier"], position["top_rate"] = spec["multiplier"], spec["top_rate"]
