"""Instrument specifications: dumb data, with ``tick``, ``lot`` and ``multiplier`` as exact decimals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import NamedTuple

from engine.schema import Accounting

KINDS = {
    "spot": Accounting.SPOT,
    "equity": Accounting.SPOT,
    "linear_perp": Accounting.LINEAR,
    "fx": Accounting.LINEAR,
    "inverse_perp": Accounting.INVERSE,
    "future": Accounting.LINEAR,
}
"""Kinds of instrument and how each is booked.  # R6.2"""


class Decimals(NamedTuple):
    """A positive decimal ``units / power`` with ``power`` a power of ten, so that a grid is exact.  # R6.3"""

    units: int
    power: int

    @classmethod
    @cache
    def parse(cls, value: str | float | Decimal) -> "Decimals":
        """Read a decimal from text or from the shortest text of a float.

        >>> Decimals.parse(0.0001)
        Decimals(units=1, power=10000)
        >>> Decimals.parse("25")
        Decimals(units=25, power=1)
        """
        number = Decimal(str(value)).normalize()
        if not number.is_finite() or number <= 0:
            raise ValueError(f"{value!r} is not a positive decimal")
        exponent = int(number.as_tuple().exponent)
        power = 10 ** max(0, -exponent)
        return cls(int(number * power), power)

    def __float__(self) -> float:
        return self.units / self.power


class MarginTier(NamedTuple):
    """Maintenance margin of a notional from ``floor`` on: notional * rate - deduction, in account currency.  # R7.2"""

    floor: float
    rate: float
    deduction: float


def margin_tiers(steps: Sequence[tuple[float, float]]) -> tuple[MarginTier, ...]:
    """Tiers from (floor, rate), ascending, with the deductions that leave no jump between them.

    The recursion is Binance's "maintenance amount": floor * (rate - rate before) + deduction before.

    >>> margin_tiers([(0, 0.004), (50_000, 0.005), (250_000, 0.01)])[-1]
    MarginTier(floor=250000.0, rate=0.01, deduction=1300.0)
    """
    tiers: list[MarginTier] = []
    for floor, rate in steps:
        before = tiers[-1] if tiers else MarginTier(0.0, rate, 0.0)
        tiers.append(MarginTier(float(floor), float(rate), floor * (rate - before.rate) + before.deduction))
    return tuple(tiers)


class DatedRate(NamedTuple):
    """A rate of interest, a fraction a year, from a time on (us, UTC), until the next such rate."""

    from_us: int
    rate: float


@dataclass(frozen=True)
class Rules:
    """What an exchange asks of orders from a time on (us, UTC), until the next such rules.  # R2.7"""

    from_us: int
    tick: Decimals
    lot: Decimals
    min_qty: float = 0.0
    min_notional: float = 0.0


@dataclass(frozen=True)
class Instrument:
    """What the replay needs to know of one symbol.

    Attributes
    ----------
    tick, lot, multiplier
        Price step, quantity step, and units of the underlying per unit of quantity.
    min_qty, min_notional
        Smallest entry, in quantity and in account currency (of inverse contracts: coin) at the reference price; 0 means none.
    shortable
        Whether a spot instrument may be sold short (all others always may).
    group
        Name of the group that ``max_per_group`` and ``max_group`` count it in; empty: none.                # R4.2
    sessions
        Whether it trades in sessions: 252 periods a year, and a limit passed by the open fills at the open.  # R2.4
    rules
        Tick, lot and smallest entry from later times on, ascending.
    leverage
        Initial margin is notional / leverage; None: the account's.                                                # R7.2
    maintenance
        Tiers of maintenance margin, ascending from a floor of 0; none: it is never liquidated on its own.             # R7.2
    quote
        Currency of its prices, one of ``Settings.conversions``; empty: that of the account.
    borrow
        What borrowing it costs who is short of it, ascending by date; none: nothing.
    settlement, expiry
        Of a future: the time of day (us after 00:00 UTC) at which it is marked to market, and when it ends (us, UTC); None: not in the data.  # R6.2
    """

    symbol: str
    kind: str = "linear_perp"
    tick: Decimals = field(default_factory=lambda: Decimals(1, 10_000))
    lot: Decimals = field(default_factory=lambda: Decimals(1, 1_000))
    multiplier: Decimals = field(default_factory=lambda: Decimals(1, 1))
    min_qty: float = 0.0
    min_notional: float = 0.0
    shortable: bool = False
    sessions: bool = False
    group: str = ""
    rules: tuple[Rules, ...] = ()
    leverage: float | None = None
    maintenance: tuple[MarginTier, ...] = ()
    quote: str = ""
    borrow: tuple[DatedRate, ...] = ()
    settlement: int = 0
    expiry: int | None = None

    @property
    def base_lot(self) -> Decimals:
        """What quantities are counted in: the largest decimal that divides the lots of all times."""
        if not self.rules:
            return self.lot
        lots = [self.lot, *(rules.lot for rules in self.rules)]
        power = max(lot.power for lot in lots)
        units = math.gcd(*(lot.units * (power // lot.power) for lot in lots))
        return Decimals(units, power)

    def lot_step(self, lot: Decimals) -> int:
        """Base lots in one lot of a time."""
        base = self.base_lot
        return (lot.units * base.power) // (lot.power * base.units)

    @property
    def accounting(self) -> Accounting:
        """How its fills move cash."""
        return KINDS[self.kind]

    @property
    def tiers(self) -> tuple[MarginTier, ...]:
        """Tiers of maintenance margin; a spot instrument has none.  # R7.2"""
        return () if self.accounting == Accounting.SPOT else self.maintenance

    @property
    def is_future(self) -> bool:
        """Whether its profit is settled each day."""
        return self.kind == "future"

    @property
    def is_funded(self) -> bool:
        """Whether what holds it pays or gets funding: what is held for as long as one likes, on credit.  # R7.1"""
        return self.kind in ("linear_perp", "inverse_perp", "fx")

    @property
    def borrow_rates(self) -> tuple[DatedRate, ...]:
        """What a short of it pays; there is nothing to borrow where contracts are sold."""
        return self.borrow if self.accounting == Accounting.SPOT else ()
