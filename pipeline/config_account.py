"""The account and the instruments of a config: money, margin, and what an exchange asks of orders."""

import itertools
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    field_validator,
)

from pipeline.config_values import (
    Decimal,
    Moment,
    NotNegative,
    Positive,
    Section,
    TimeOfDay,
    iso,
)


class MaintenanceTier(Section):
    """Maintenance margin of a notional from ``floor`` on: notional * rate - deduction."""

    floor: NotNegative = Field(description="notional from which it holds, in account currency; the first is 0")
    rate: float = Field(ge=0, lt=1, description="fraction of the notional")
    deduction: float | None = Field(default=None, description="amount taken off (default: the one that leaves no jump between tiers)")


def _ascending(tiers: list[MaintenanceTier] | None) -> list[MaintenanceTier] | None:
    if tiers is None:
        return None
    if tiers[0].floor != 0:
        raise ValueError(f"must begin with floor 0, not {tiers[0].floor}")
    for one, after in itertools.pairwise(tiers):
        if after.floor <= one.floor or after.rate < one.rate:
            raise ValueError(f"must ascend: floor {after.floor}, rate {after.rate} comes after floor {one.floor}, rate {one.rate}")
    if len({tier.deduction is None for tier in tiers}) == 2:
        raise ValueError("must give a deduction in every tier or in none")
    return tiers


Maintenance = Annotated[list[MaintenanceTier], Field(min_length=1), AfterValidator(_ascending)]


class ConversionConfig(Section):
    """What one unit of a currency is worth: the last close known of a symbol of the dataset."""

    symbol: str = Field(min_length=1, description="a symbol of the dataset, traded in the run or not; its finest bars are used")
    invert: bool = Field(default=False, description="whether its price is what the account's currency costs (USDJPY for an account in USD)")


class RateConfig(Section):
    """A rate of interest from a date on."""

    since: Moment = Field(alias="from", description="in force at and after it, until the next")
    rate: float = Field(ge=0, le=10, description="a year, as a fraction: 0.05 is 5 %; a day is a 365th of it")


def check_dates(dates: list[datetime]) -> None:
    """Refuse dated rows that do not ascend."""
    for before, after in itertools.pairwise(dates):
        if after <= before:
            raise ValueError(f"from {iso(after)} must be after from {iso(before)}, the row before it")


def _by_date(rates: list[RateConfig]) -> list[RateConfig]:
    check_dates([row.since for row in rates])
    return rates


Rates = Annotated[list[RateConfig], Field(min_length=1, max_length=100_000), AfterValidator(_by_date)]


class Account(Section):
    """The one account all strategies share."""

    currency: str = Field(default="USDT", min_length=1, max_length=16, description="of cash and of all amounts")
    decimals: int = Field(
        default=6, ge=0, le=12, description="money is kept in units of 10**-decimals: 6 for fiat and stablecoins, 8 for coins"
    )
    cash: Positive = Field(default=100_000.0, description="initial cash")
    conversion: dict[str, ConversionConfig] | None = Field(
        default=None, description="currency of prices -> where its worth comes from: {JPY: {symbol: USDJPY, invert: true}}"
    )
    margin: Literal["cross", "isolated"] = Field(
        default="cross", description="what secures a position: the whole account, or its own initial margin (which needs maintenance tiers)"
    )
    leverage: float = Field(
        default=1.0, ge=1, le=1000, description="initial margin of a position, spot longs aside, is its notional / leverage"
    )
    maintenance: Maintenance | None = Field(
        default=None, description="tiers of maintenance margin, of all but spot (default: none, and liquidation only at zero equity)"
    )
    maintenance_basis: Literal["mark", "entry"] = Field(default="mark", description="notional that maintenance is charged on")
    maintenance_fee: Literal["none", "taker_at_bankruptcy"] = Field(
        default="none", description="whether maintenance holds the taker fee of closing"
    )
    liquidation_fee: float = Field(
        default=0.0, ge=0, lt=1, description="fraction of the notional that a liquidation costs beyond the taker fee"
    )
    interest: Rates | None = Field(
        default=None, description="paid each day at 00:00 UTC on cash below zero, by date: [{from: 2024-01-01, rate: 0.08}] (default: none)"
    )


class RulesConfig(Section):
    """What an exchange asks of orders from a date on; a key left out stays as it was."""

    since: Moment = Field(alias="from", description="in force at and after it, until the next")
    tick: Decimal | None = Field(default=None, description="price step")
    lot: Decimal | None = Field(default=None, description="quantity step")
    min_qty: NotNegative | None = Field(default=None, description="smallest entry, in quantity")
    min_notional: NotNegative | None = Field(default=None, description="smallest entry, in account currency at the reference price")


class InstrumentConfig(Section):
    """What is known of a symbol beyond the dataset; a key left out keeps the dataset's value."""

    kind: Literal["spot", "equity", "linear_perp", "inverse_perp", "fx", "future"] | None = Field(
        default=None, description="how it is booked; the money of an inverse_perp is the coin that the contract is on"
    )
    tick: Decimal | None = Field(default=None, description="price step")
    lot: Decimal | None = Field(default=None, description="quantity step")
    multiplier: Decimal | None = Field(
        default=None,
        description="units of the underlying per unit of quantity; of an inverse_perp, of the price's currency (the contract's size)",
    )
    min_qty: NotNegative | None = Field(default=None, description="smallest entry, in quantity")
    min_notional: NotNegative | None = Field(default=None, description="smallest entry, in account currency at the reference price")
    quote: str | None = Field(
        default=None,
        min_length=1,
        max_length=16,
        description="currency of its prices (default: the account's); others need account.conversion",
    )
    shortable: bool | None = Field(default=None, description="whether a spot instrument may be sold short")
    leverage: float | None = Field(default=None, ge=1, le=1000, description="of this instrument (default: the account's)")
    maintenance: Maintenance | None = Field(default=None, description="tiers of this instrument (default: the account's)")
    borrow: Rates | None = Field(
        default=None,
        description="paid each day at 00:00 UTC by who is short of it (spot, equity), by date: [{from: 2024-01-01, rate: 0.05}] (default: nothing)",
    )
    settlement: TimeOfDay | None = Field(
        default=None, description="of a future: time of day in UTC at which its profit goes into cash (default: 00:00)"
    )
    expiry: Moment | None = Field(
        default=None, description="of a future: when it ends, and is closed at its mark (default: not in the data)"
    )
    sessions: bool | None = Field(default=None, description="whether it trades in sessions (252 periods a year) rather than always (365)")
    rules: list[RulesConfig] | None = Field(
        default=None, max_length=10_000, description="tick, lot, min_qty and min_notional from dates on: [{from: 2024-01-01, tick: 0.1}]"
    )

    @field_validator("rules")
    @classmethod
    def _by_date(cls, rules: list[RulesConfig] | None) -> list[RulesConfig] | None:
        check_dates([row.since for row in rules or ()])
        return rules


def wrong_value(name: str, value: Any) -> str:
    """What is wrong with a value of a dataset's or a source's instrument, or nothing."""
    try:
        InstrumentConfig(**{name: value})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return ""
