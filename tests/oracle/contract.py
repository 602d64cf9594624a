"""The arithmetic of one instrument: quantities, money, fees, margin and the price and lot grids.  # R6.3"""

import math

from engine.instrument import Instrument
from engine.schema import Accounting
from engine.settings import Settings

MONEY_LIMIT = 2**53
GRID_TOLERANCE = 1e-6


def checked(symbol: str, money: int) -> int:
    """The same money, or an error where float64 could no longer hold it exactly."""
    if abs(money) >= MONEY_LIMIT:
        raise OverflowError(f"{symbol}: money {money} reaches 2**53; use fewer decimals")
    return money


def nearest_step(value: float, step: float, *, up: bool) -> int:
    """How many steps make ``value``: the whole number it is within tolerance, else rounded as told."""
    steps = value / step
    whole = round(steps)
    if abs(steps - whole) <= GRID_TOLERANCE:
        return whole
    return math.ceil(steps) if up else math.floor(steps)


class Contract:
    """One instrument under one run's settings."""

    def __init__(self, instrument: Instrument, settings: Settings) -> None:
        self.symbol = instrument.symbol
        self.instrument = instrument
        self.settings = settings
        self.spot = instrument.accounting == Accounting.SPOT
        self.tick = instrument.tick.units / instrument.tick.power
        self.lot = instrument.lot.units / instrument.lot.power
        self.multiplier = instrument.multiplier.units / instrument.multiplier.power

    def quantity(self, lots: int) -> float:
        """Units of quantity in so many lots."""
        return (lots * self.instrument.lot.units) / self.instrument.lot.power

    def value(self, lots: int, price: float) -> int:
        """Money that the lots are worth, signed like them."""
        return round(self.quantity(lots) * price * self.multiplier * self.settings.scale)

    def fee(self, lots: int, price: float, bps: float) -> int:
        """Fee of a fill: a share of its notional, an amount per unit, one per fill, and at least the minimum.  # R2.6"""
        settings = self.settings
        fee = round(abs(self.value(lots, price)) * (bps / 10000)) + round(settings.flat * settings.scale)
        if settings.per_unit != 0:
            fee += round(self.quantity(abs(lots)) * settings.per_unit * settings.scale)
        least = round(settings.min_fee * settings.scale)
        return max(fee, least) if least > 0 else fee

    def margin(self, lots: int, price: float) -> int:
        """Initial margin of a position; a spot long needs none, it is paid in full.  # R7.2"""
        if self.spot and lots > 0:
            return 0
        return round(abs(self.value(lots, price)) / self.settings.leverage)

    def outlay(self, lots: int, price: float, bps: float) -> int:
        """What opening the signed lots takes from free cash, its taker fee included; a rebate is not counted on."""
        fee = self.fee(lots, price, max(bps, 0.0))
        if self.spot and lots > 0:
            return self.value(lots, price) + fee
        return self.margin(lots, price) + fee

    def reservation(self, lots: int, price: float, bps: float, half_spread: float) -> int:
        """What an approved entry holds back until it fills or ends.  # R5.2"""
        return self.outlay(lots, price, bps) + round(abs(self.value(lots, price)) * half_spread)

    def on_tick(self, price: float, *, up: bool) -> float:
        """The price on the tick grid."""
        steps = nearest_step(price, self.tick, up=up)
        return (steps * self.instrument.tick.units) / self.instrument.tick.power

    def whole_lots(self, quantity: float) -> int:
        """Whole lots in a quantity, rounded down.  # R2.7"""
        return nearest_step(quantity, self.lot, up=False)
