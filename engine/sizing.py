"""From an approved idea to whole lots: the size models, what a quantity lays claim to, and the most lots that fit.  # R5.1"""

import numpy as np

from engine.fees import fill_fee
from engine.kernel import kernel, shared
from engine.money import MONEY_LIMIT, margin, money, quantity, value
from engine.portfolio import counts_as_free
from engine.schema import LevelKind, SizeKind
from engine.tape import Tape


@kernel
def outlay(tape: Tape, rules: np.void, symbol: int, side: int, lots: int, price: float, half_spread: float) -> int:
    """Money that a quantity claims: its value or its margin, the taker fee and the half-spread; a rebate is not counted on.  # R5.2"""
    spec = tape.specs[symbol]
    qty = quantity(lots, spec["lot_units"], spec["lot_power"])
    worth = value(qty, price, spec["multiplier"], rules["scale"])
    claimed = margin(worth, spec["leverage"]) if counts_as_free(tape, symbol, side) else worth
    claimed += max(fill_fee(rules, worth, max(rules["taker_rate"], 0.0), qty, False), 0)
    return claimed + money(worth * half_spread)


@shared
def most_lots(
    tape: Tape, rules: np.void, symbol: int, side: int, limit: int, lots: int, price: float, half_spread: float, step: int
) -> int:
    """Most lots in steps, up to ``lots``, whose outlay is at most ``limit``.  Outlay never falls with lots, so bisection is exact."""
    if outlay(tape, rules, symbol, side, lots, price, half_spread) <= limit:
        return lots
    low, high = 0, lots // step
    while high - low > 1:
        middle = (low + high) // 2
        if outlay(tape, rules, symbol, side, middle * step, price, half_spread) <= limit:
            low = middle
        else:
            high = middle
    return low * step


@shared
def most_lots_of_value(tape: Tape, rules: np.void, symbol: int, limit: int, lots: int, price: float, step: int) -> int:
    """Most lots in steps, up to ``lots``, whose value at a price is at most ``limit``."""
    spec = tape.specs[symbol]
    most = lots // step
    low, high = 0, most + 1
    while high - low > 1:
        middle = most if high > most else (low + high) // 2
        qty = quantity(middle * step, spec["lot_units"], spec["lot_power"])
        if value(qty, price, spec["multiplier"], rules["scale"]) <= limit:
            low = middle
        else:
            high = middle
    return low * step


@kernel
def stop_distance(side: int, reference: float, stop: float, kind: int) -> float:
    """Distance from the reference to the stop, positive on the losing side; NaN without a stop.  # R5.1

    >>> float(stop_distance(1, 100.0, 95.0, LevelKind.PRICE)), float(stop_distance(-1, 100.0, 0.02, LevelKind.FRACTION))
    (5.0, 2.0)
    """
    price = reference * (1.0 - side * stop) if kind == LevelKind.FRACTION else stop
    return side * (reference - price) if 0.0 < price < np.inf else np.nan


@kernel
def wanted_quantity(size: int, amount: float, capital: float, reference: float, multiplier: float, distance: float) -> float:
    """Quantity that a size model asks for, before flooring and limits.  # R5.1

    >>> float(wanted_quantity(SizeKind.FIXED_RISK, 0.01, 10_000.0, 100.0, 1.0, 5.0))
    20.0
    """
    if size == SizeKind.FIXED_QTY:
        return amount
    if size == SizeKind.FIXED_NOTIONAL:
        return amount / (reference * multiplier)
    if size == SizeKind.FIXED_FRACTION:
        return capital * amount / (reference * multiplier)
    return capital * amount / (distance * multiplier)


@shared
def all_in_lots(tape: Tape, rules: np.void, symbol: int, side: int, limit: int, price: float, half_spread: float, step: int) -> int:
    """Most lots in steps whose outlay is at most ``limit``."""
    lots = step
    while lots < MONEY_LIMIT and outlay(tape, rules, symbol, side, lots, price, half_spread) <= limit:
        lots *= 2
    return most_lots(tape, rules, symbol, side, limit, lots, price, half_spread, step)
