"""Maintenance margin and the liquidation price: pure formulas.  # R7.2, R7.3

Sources: Binance, "Liquidation protocols" (USD-M futures); Bybit, "Liquidation price (USDT contract)" for maintenance on the entry value,
and "(Inverse contract)" for coin-margined ones;
Gate and OKX for a taker fee within maintenance.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.kernel import kernel, shared
from engine.money import money
from engine.schema import MaintenanceBasis

MARGIN_TIER = np.dtype([("floor", "<f8"), ("rate", "<f8"), ("deduction", "<f8")], align=True)
"""Maintenance of a notional from ``floor`` on: notional * rate - deduction, in account currency."""


@kernel
def tier_of(tiers: NDArray[Any], first: int, stop: int, notional: float) -> int:
    """Place among ``tiers[first:stop]`` of the one that holds a notional."""
    at = first
    while at + 1 < stop and tiers[at + 1]["floor"] <= notional:
        at += 1
    return at


@shared
def maintenance_money(tiers: NDArray[Any], first: int, stop: int, notional: int, fee: float, scale: float) -> int:
    """Maintenance margin (money) of an absolute notional (money); ``fee`` is a fraction added to the tier's rate.  # R7.2"""
    if first == stop:
        return 0
    amount = notional / scale
    tier = tiers[tier_of(tiers, first, stop, amount)]
    return max(0, money((amount * (tier["rate"] + fee) - tier["deduction"]) * scale))


@shared
def liquidation_price(
    tiers: NDArray[Any], first: int, stop: int, basis: int, side: int, units: float, cost: float, margin: float, fee: float, inverse: bool
) -> float:
    """Mark price at which ``margin`` and the loss no longer cover maintenance; NaN: never.  # R7.3

    Parameters
    ----------
    tiers, first, stop
        ``tiers[first:stop]`` are the instrument's, dtype ``MARGIN_TIER``, ascending from a floor of 0.
    basis
        ``MaintenanceBasis``: maintenance on the notional at that price, or on the cost.
    units
        Quantity times multiplier, positive.
    cost, margin
        What the units cost, and what secures them, in account currency.
    fee
        Taker fee (a fraction) that maintenance holds; on the notional at that price, or, on a cost, on the bankruptcy value.
    inverse
        Whether the notional falls as the price rises: then ``cost``, ``margin`` and the tiers are in coin.

    Notes
    -----
    A linear long loses as its notional shrinks, an inverse one as its notional grows: ``turn`` is the side to which the formulas are turned.
    """
    price, turn = np.nan, -side if inverse else side
    if basis == MaintenanceBasis.ENTRY:
        tier = tiers[tier_of(tiers, first, stop, cost)]
        closing = fee * max((cost - turn * margin) / (1.0 - turn * fee), 0.0)
        price = priced_at(cost - turn * (margin - (cost * tier["rate"] - tier["deduction"]) - closing), units, inverse)
    else:
        for at in range(stop - 1, first - 1, -1):
            tier = tiers[at]
            price = priced_at(cost - turn * (margin + tier["deduction"]), units * (1.0 - turn * (tier["rate"] + fee)), inverse)
            if (units / price if inverse else units * price) >= tier["floor"]:
                break
    return price if price > 0.0 else np.nan


@kernel
def priced_at(worth: float, units: float, inverse: bool) -> float:
    """Price at which units are worth an amount; NaN where no price of an inverse contract makes them worth so little.

    >>> float(priced_at(500.0, 10.0, False)), float(priced_at(0.5, 10_000.0, True))
    (50.0, 20000.0)
    """
    if inverse:
        return units / worth if worth > 0.0 else np.nan
    return worth / units
