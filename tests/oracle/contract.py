"""The arithmetic of one instrument: quantities, money, fees, margin and the price and lot grids.  # R6.3"""

import hashlib
import math
from fractions import Fraction

from engine.instrument import Instrument, Rules
from engine.models import ModelKind
from engine.schema import NEVER, Accounting
from engine.settings import Settings

MONEY_LIMIT = 2**53
GRID_TOLERANCE = 1e-6


def checked(symbol: str, money: int) -> int:
    """The same money, or an error where float64 could no longer hold it exactly."""
    if abs(money) >= MONEY_LIMIT:
        raise OverflowError(f"{symbol}: money {money} reaches 2**53; use fewer decimals")
    return money


def converted(quoted: int, rate: float) -> int:
    """Account money for quote money; what float64 cannot hold exactly stays too much.  # R6.3"""
    return round(quoted * rate) if abs(quoted) < MONEY_LIMIT else (MONEY_LIMIT if quoted > 0 else -MONEY_LIMIT)


def nearest_step(value: float, step: float, *, up: bool) -> int:
    """How many steps make ``value``: the whole number it is within tolerance, else rounded as told."""
    steps = value / step
    whole = round(steps)
    if abs(steps - whole) <= GRID_TOLERANCE:
        return whole
    return math.ceil(steps) if up else math.floor(steps)


def name_number(name: str) -> int:
    """What stands for a name in the keys of draws, whatever else is in the run.  # R9.2"""
    first = hashlib.sha256(name.encode("utf-8")).digest()[:8]
    return sum(byte << (8 * place) for place, byte in enumerate(first)) // 2


class Contract:
    """One instrument under one run's settings."""

    def __init__(self, instrument: Instrument, settings: Settings) -> None:
        self.symbol = instrument.symbol
        self.instrument = instrument
        self.settings = settings
        self.spot = instrument.accounting == Accounting.SPOT
        self.inverse = instrument.accounting == Accounting.INVERSE
        self.converts = instrument.quote != ""
        self.rate: float | None = None  # account money for quote money, as far as it is known
        self.told: float | None = None  # the rate that the ledger knows
        first = Rules(-NEVER, instrument.tick, instrument.lot, instrument.min_qty, instrument.min_notional)
        self.rules = [first, *instrument.rules]
        self.base = self.common_lot()
        self.leverage = settings.leverage if instrument.leverage is None else instrument.leverage
        self.tiers = () if self.spot else instrument.maintenance
        self.multiplier = instrument.multiplier.units / instrument.multiplier.power

    def common_lot(self) -> Fraction:
        """The largest quantity of which every lot is a multiple; it is what lots are counted in."""
        lots = [Fraction(one.lot.units, one.lot.power) for one in self.rules]
        over = math.lcm(*(lot.denominator for lot in lots))
        return Fraction(math.gcd(*(int(lot * over) for lot in lots)), over)

    def rules_at(self, ts: int) -> Rules:
        """What the exchange asks of orders at a time."""
        return [one for one in self.rules if one.from_us <= ts][-1]

    def step(self, ts: int) -> int:
        """How many of the lots that are counted make the smallest step of an order at a time."""
        lot = self.rules_at(ts).lot
        return int(Fraction(lot.units, lot.power) / self.base)

    def quantity(self, lots: int) -> float:
        """Units of quantity in so many lots."""
        return (lots * self.base.numerator) / self.base.denominator

    def value(self, lots: int, price: float) -> int:
        """Signed value: money that the lots are worth, signed like them; of an inverse contract its coins, signed against them.  # R6.4

        What is bought is paid in account money; the value of a margined position is in quote money, and its profit is converted.
        """
        return self.value_of(self.quantity(lots), price)

    def value_of(self, quantity: float, price: float) -> int:
        """The same of a quantity."""
        quoted = self.quoted(quantity, price)
        return self.in_account(quoted) if self.spot else quoted

    def quoted(self, quantity: float, price: float) -> int:
        """The same in quote money."""
        if self.inverse:
            return -round(quantity * self.multiplier / price * self.settings.scale)
        return round(quantity * price * self.multiplier * self.settings.scale)

    def in_account(self, quoted: int) -> int:
        """Account money for quote money, at the rate of now."""
        if not self.converts:
            return quoted
        assert self.rate is not None
        return converted(quoted, self.rate)

    def notional(self, lots: int, price: float) -> int:
        """Account money or coins that the lots stand for, signed like them."""
        quoted = self.quoted(self.quantity(lots), price)
        return -quoted if self.inverse else self.in_account(quoted)

    def unit_value(self, price: float) -> float:
        """Account money or coins that one unit of quantity stands for."""
        return self.multiplier / price if self.inverse else price * self.multiplier * (self.rate or 1.0)

    def unit_loss(self, reference: float, stop: float) -> float:
        """Account money or coins that one unit of quantity loses between two prices."""
        lost = abs(1 / stop - 1 / reference) if self.inverse else abs(reference - stop)
        return lost * self.multiplier * (self.rate or 1.0)

    def fee(self, lots: int, price: float, bps: float, *, maker: bool) -> int:
        """Fee of a fill: a share of its notional, an amount per unit, one per fill, and at least the minimum.  # R2.6"""
        settings = self.settings
        model = settings.model(ModelKind.FEE)
        if model is not None:
            charged = model.function(abs(self.notional(lots, price)) / settings.scale, self.quantity(abs(lots)), 1.0 if maker else 0.0)
            return round(charged * settings.scale)
        fee = round(abs(self.notional(lots, price)) * (bps / 10000)) + round(settings.flat * settings.scale)
        if settings.per_unit != 0:
            fee += round(self.quantity(abs(lots)) * settings.per_unit * settings.scale)
        least = round(settings.min_fee * settings.scale)
        return max(fee, least) if least > 0 else fee

    def margin(self, lots: int, price: float) -> int:
        """Initial margin of a position; a spot long needs none, it is paid in full.  # R7.2"""
        if self.spot and lots > 0:
            return 0
        return round(abs(self.notional(lots, price)) / self.leverage)

    def outlay(self, lots: int, price: float, bps: float, *, maker: bool = False) -> int:
        """What opening the signed lots takes from free cash, its fee included; a rebate is not counted on."""
        fee = max(self.fee(lots, price, max(bps, 0.0), maker=maker), 0)
        if self.spot and lots > 0:
            return self.notional(lots, price) + fee
        return self.margin(lots, price) + fee

    def reservation(self, lots: int, price: float, bps: float, half_spread: float) -> int:
        """What an approved entry holds back until it fills or ends.  # R5.2"""
        return self.outlay(lots, price, bps) + round(abs(self.notional(lots, price)) * half_spread)

    def on_tick(self, price: float, ts: int, *, up: bool) -> float:
        """The price on the tick grid of a time."""
        tick = self.rules_at(ts).tick
        steps = nearest_step(price, tick.units / tick.power, up=up)
        return (steps * tick.units) / tick.power

    def whole_lots(self, quantity: float, ts: int) -> int:
        """A quantity rounded down to the lots of a time, counted in the lots common to all times.  # R2.7"""
        lot = self.rules_at(ts).lot
        return nearest_step(quantity, lot.units / lot.power, up=False) * self.step(ts)
