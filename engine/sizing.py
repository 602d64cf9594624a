"""From an approved idea to whole lots: the size models, what a quantity lays claim to, and the most lots that fit.  # R5.1"""

import numpy as np

from engine.conversion import in_account
from engine.fees import fill_fee
from engine.kernel import kernel, shared
from engine.money import MONEY_LIMIT, margin, money, quantity, unit_value, value
from engine.portfolio import counts_as_free
from engine.proposals import Proposals
from engine.schema import LevelKind, SizeKind
from engine.state import State
from engine.tape import Tape


@kernel
def notional_of(tape: Tape, state: State, symbol: int, lots: int, price: float) -> int:
    """Account money that a number of lots stands for at a price."""
    spec = tape.specs[symbol]
    qty = quantity(lots, spec["lot_units"], spec["lot_power"])
    return in_account(tape, state, symbol, abs(value(qty, price, spec["multiplier"], state.rules[0]["scale"], spec["inverse"])))


@kernel
def unit_worth(tape: Tape, state: State, symbol: int, price: float) -> float:
    """Account currency that one unit of quantity stands for at a price."""
    spec = tape.specs[symbol]
    each = unit_value(price, spec["multiplier"], spec["inverse"])
    return each * state.rates[symbol]["now"] if spec["converts"] else each


@kernel
def outlay(tape: Tape, state: State, symbol: int, side: int, lots: int, price: float, half_spread: float, maker: bool) -> int:
    """Money that a quantity claims: its value or its margin, the fee and the half-spread; a rebate is not counted on.  # R5.2"""
    spec, rules = tape.specs[symbol], state.rules[0]
    qty = quantity(lots, spec["lot_units"], spec["lot_power"])
    worth = notional_of(tape, state, symbol, lots, price)
    claimed = margin(worth, spec["leverage"]) if counts_as_free(tape, symbol, side) else worth
    rate = rules["maker_rate"] if maker else rules["taker_rate"]
    claimed += max(fill_fee(rules, worth, max(rate, 0.0), qty, maker), 0)
    return claimed + money(worth * half_spread)


@shared
def most_lots(
    tape: Tape, state: State, symbol: int, side: int, limit: int, lots: int, price: float, half_spread: float, step: int, maker: bool
) -> int:
    """Most lots in steps, up to ``lots``, whose outlay is at most ``limit``.  Outlay never falls with lots, so bisection is exact."""
    if outlay(tape, state, symbol, side, lots, price, half_spread, maker) <= limit:
        return lots
    low, high = 0, lots // step
    while high - low > 1:
        middle = (low + high) // 2
        if outlay(tape, state, symbol, side, middle * step, price, half_spread, maker) <= limit:
            low = middle
        else:
            high = middle
    return low * step


@shared
def most_lots_of_value(tape: Tape, state: State, symbol: int, limit: int, lots: int, price: float, step: int) -> int:
    """Most lots in steps, up to ``lots``, whose value at a price is at most ``limit``."""
    most = lots // step
    low, high = 0, most + 1
    while high - low > 1:
        middle = most if high > most else (low + high) // 2
        if notional_of(tape, state, symbol, middle * step, price) <= limit:
            low = middle
        else:
            high = middle
    return low * step


@kernel
def stop_price(side: int, reference: float, stop: float, kind: int) -> float:
    """The stop that an entry asks for; NaN without one.  # R5.1

    >>> float(stop_price(1, 100.0, 95.0, LevelKind.PRICE)), float(stop_price(-1, 100.0, 0.02, LevelKind.FRACTION))
    (95.0, 102.0)
    """
    price = reference * (1.0 - side * stop) if kind == LevelKind.FRACTION else stop
    return price if 0.0 < price < np.inf else np.nan


@kernel
def unit_loss(reference: float, stop: float, multiplier: float, inverse: bool) -> float:
    """What one unit of quantity loses between two prices, in account currency.  # R6.2

    >>> float(unit_loss(100.0, 95.0, 2.0, False)), float(unit_loss(100.0, 50.0, 2.0, True))
    (10.0, 0.02)
    """
    if inverse:
        return abs(1.0 / stop - 1.0 / reference) * multiplier
    return abs(reference - stop) * multiplier


@kernel
def wanted_quantity(size: int, amount: float, capital: float, each: float, at_risk: float) -> float:
    """Quantity that a size model asks for, before flooring and limits; a unit is worth ``each`` and may lose ``at_risk``.  # R5.1

    >>> float(wanted_quantity(SizeKind.FIXED_RISK, 0.01, 10_000.0, 100.0, 5.0))
    20.0
    """
    if size == SizeKind.FIXED_QTY:
        return amount
    if size == SizeKind.FIXED_NOTIONAL:
        return amount / each
    if size == SizeKind.FIXED_FRACTION:
        return capital * amount / each
    return capital * amount / at_risk


@kernel
def kelly_share(win_probability: float, payoff: float) -> float:
    """Share of capital that grows it fastest (Kelly 1956, Bell System Technical Journal 35); NaN for what is no bet.

    >>> float(kelly_share(0.6, 2.0))
    0.39999999999999997
    """
    if not (0.0 <= win_probability <= 1.0 and payoff > 0.0):
        return np.nan
    return win_probability - (1.0 - win_probability) / payoff


@kernel
def own_share(proposals: Proposals, desk: np.void, i: int) -> float:
    """Share of capital that the columns of proposal ``i`` ask for; NaN where they say nothing that can be used.  # R5.1"""
    if desk["size"] == SizeKind.TARGET_WEIGHT:
        return desk["amount"] * proposals.weight[i] if len(proposals.weight) > 0 else np.nan
    if desk["size"] == SizeKind.VOL_TARGET:
        usable = len(proposals.volatility) > 0 and proposals.volatility[i] > 0.0
        return desk["amount"] / proposals.volatility[i] if usable else np.nan
    if len(proposals.win_probability) == 0 or len(proposals.payoff) == 0:
        return np.nan
    share = desk["amount"] * kelly_share(proposals.win_probability[i], proposals.payoff[i])
    return np.nan if np.isnan(share) else min(share, desk["cap"])


@shared
def all_in_lots(
    tape: Tape, state: State, symbol: int, side: int, limit: int, price: float, half_spread: float, step: int, maker: bool
) -> int:
    """Most lots in steps whose outlay is at most ``limit``."""
    lots = step
    while lots < MONEY_LIMIT and outlay(tape, state, symbol, side, lots, price, half_spread, maker) <= limit:
        lots *= 2
    return most_lots(tape, state, symbol, side, limit, lots, price, half_spread, step, maker)
