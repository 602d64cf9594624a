"""Products become integer money, quantities whole lots and prices whole ticks here, and nowhere else.  # R6.3"""

import numpy as np

from engine.kernel import kernel

MONEY_LIMIT = 2**53
"""Money at or beyond this is an overflow; ``money`` saturates at it, and the replay stops where it is used."""

_LIMIT = float(MONEY_LIMIT)


@kernel
def money(product: float) -> int:
    """Round a product, already in money units, half to even.

    >>> int(money(2.5)), int(money(-3.5))
    (2, -4)
    """
    rounded = np.rint(product)
    if not abs(rounded) < _LIMIT:
        return MONEY_LIMIT if rounded > 0 else -MONEY_LIMIT
    return int(rounded)


@kernel
def grid_steps(x: float, step: float, up: bool) -> float:
    """Whole steps in ``x``: the nearest if it is within 1e-6 of one, else rounded up or down.

    >>> float(grid_steps(0.3, 0.1, False)), float(grid_steps(0.35, 0.1, False)), float(grid_steps(0.35, 0.1, True))
    (3.0, 3.0, 4.0)
    """
    steps = x / step
    nearest = np.rint(steps)
    if abs(steps - nearest) <= 1e-6:
        return nearest
    return np.ceil(steps) if up else np.floor(steps)


@kernel
def whole_lots(qty: float, lot: float) -> int:
    """Quantity floored to lots; 0 where it is not a positive number.  # R2.7

    >>> int(whole_lots(0.0129, 0.001)), int(whole_lots(float("nan"), 0.001))
    (12, 0)
    """
    steps = grid_steps(qty, lot, False)
    if not steps > 0:
        return 0
    return int(min(steps, _LIMIT))


@kernel
def quantity(lots: int, units: float, power: float) -> float:
    """Quantity of a signed number of lots.

    >>> float(quantity(-3, 1.0, 10.0))
    -0.3
    """
    return lots * units / power


@kernel
def product(qty: float, price: float, multiplier: float, scale: float, inverse: bool) -> float:
    """Signed value of a quantity at a price before it is rounded.

    >>> float(product(-300.0, 50_000.0, 10.0, 1e8, True))
    6000000.0
    """
    return -(qty * multiplier / price * scale) if inverse else qty * price * multiplier * scale


@kernel
def value(qty: float, price: float, multiplier: float, scale: float, inverse: bool) -> int:
    """Signed value of a quantity at a price, in money units; of an inverse contract the negative of its coins.  # R6.3, R6.4

    >>> int(value(-0.3, 100.0, 1.0, 1e6, False)), int(value(-300.0, 50_000.0, 10.0, 1e8, True))
    (-30000000, 6000000)
    """
    return money(product(qty, price, multiplier, scale, inverse))


@kernel
def unit_value(price: float, multiplier: float, inverse: bool) -> float:
    """What one unit of quantity stands for at a price, in account currency.

    >>> float(unit_value(50_000.0, 100.0, True))
    0.002
    """
    return multiplier / price if inverse else price * multiplier


@kernel
def fee(notional: int, rate: float, qty: float, per_unit: float, scale: float, flat: int, least: int) -> int:
    """Fee on an absolute notional (money), as a fraction of it, on an absolute quantity, per fill, and its minimum if not 0.  # R2.6

    >>> int(fee(1_000_000, 0.0005, 2.0, 0.0, 1e6, 30, 0)), int(fee(1_000_000, 0.0005, 2.0, 0.0, 1e6, 30, 600))
    (530, 600)
    """
    charged = money(notional * rate) + flat
    if per_unit != 0.0:
        charged += money(qty * per_unit * scale)
    return max(charged, least) if least > 0 else charged


@kernel
def share(amount: int, part: int, whole: int) -> int:
    """Part of an amount that belongs to ``part`` lots of ``whole``.  # R6.3

    >>> int(share(1_000, 1, 3)), int(share(-1_000, 3, 3))
    (333, -1000)
    """
    return money(amount * (part / whole))


@kernel
def margin(notional: int, leverage: float) -> int:
    """Initial margin of an absolute notional, in money units.  # R7.2

    >>> int(margin(1_000_000, 3.0))
    333333
    """
    return money(notional / leverage)


@kernel
def funding_payment(held: int, rate: float) -> int:
    """Cash received at a settlement on a position's notional (money), signed by its side; negative when a long pays.  # R7.1

    >>> int(funding_payment(200_000_000, 0.0001))
    -20000
    """
    return -money(held * rate)


@kernel
def interest_payment(owed: int, rate: float) -> int:
    """Cash received for a day of a positive amount owed (money), at a rate a year; never positive.

    >>> int(interest_payment(365_000_000, 0.05))
    -50000
    """
    return -money(owed * (rate / 365.0))
