"""What is known of each symbol: the dataset's values, over them the config's, in the replay's units."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.dataset import Dataset
from engine.instrument import KINDS, DatedRate, Decimals, Instrument, MarginTier, Rules, margin_tiers
from engine.schema import Accounting
from pipeline.config import RunConfig
from pipeline.config_account import InstrumentConfig, MaintenanceTier, RateConfig, RulesConfig, wrong_value
from pipeline.config_values import moment_us, time_of_day_us
from pipeline.conversion import foreign
from pipeline.errors import ConfigError

MONEY_LIMIT = 2**53

_UNDATED = InstrumentConfig()

MANY_KINDS = 8  # different specifications that are looked through for one that is the same


def instruments_of(config: RunConfig, dataset: Dataset, symbols: Sequence[str]) -> tuple[Instrument, ...]:
    """Each symbol's instrument; symbols of which the same is known are worked out once."""
    grouped = set[str]().union(*config.selector.groups.values(), config.instruments)
    known: list[tuple[Mapping[str, Any], Instrument]] = []
    found = []
    for symbol in symbols:
        values = dataset.instruments.get(symbol, {})
        alike = next((one for said, one in known if said == values), None) if symbol not in grouped else None
        found.append(instrument_of(config, dataset, symbol) if alike is None else replace(alike, symbol=symbol))
        if alike is None and symbol not in grouped and len(known) < MANY_KINDS:
            known.append((values, found[-1]))
    return tuple(found)


def instrument_of(config: RunConfig, dataset: Dataset, symbol: str) -> Instrument:
    """The dataset's values, over them the config's ``default``, over them the config's for the symbol."""
    values: dict[str, Any] = {
        name: value for name, value in dataset.instruments.get(symbol, {}).items() if name in _FIELDS and value is not None
    }
    tiers = config.account.maintenance
    for name in ("default", symbol):
        if name in config.instruments:
            given = config.instruments[name]
            values |= given.model_dump(exclude_none=True, by_alias=True)
            tiers = tiers if given.maintenance is None else given.maintenance
    if values.get("kind", "linear_perp") not in KINDS:
        raise ConfigError(
            f"{symbol} is of kind {values['kind']!r}, which cannot be replayed yet; leave it out with symbols: [...]; kinds are {', '.join(KINDS)}"
        )
    told = {name: value for name in ("rules", "borrow", "settlement", "expiry") if (value := values.pop(name, None))}
    for name, value in told.items():
        wrong = wrong_value(name, value)
        if wrong:
            raise ConfigError(f"instrument {symbol}: {wrong}")
    try:
        values |= {name: Decimals.parse(values[name]) for name in ("tick", "lot", "multiplier") if name in values}
    except (ValueError, ArithmeticError) as error:
        raise ConfigError(f"instrument {symbol}: {error}") from None
    values["quote"] = foreign(config, symbol, values)
    group = next((name for name, symbols in config.selector.groups.items() if symbol in symbols), "")
    values["maintenance"] = _tiers(tiers or ())
    dated = InstrumentConfig(**told) if told else _UNDATED
    values |= {"borrow": rates_of(dated.borrow or ()), "settlement": time_of_day_us(dated.settlement or "00:00")}
    values["expiry"] = None if dated.expiry is None else moment_us(dated.expiry)
    instrument = Instrument(symbol, **values, group=group)
    instrument = _with_rules(instrument, dated.rules) if dated.rules else instrument
    _check_borrow(config, instrument)
    _check_future(config, instrument)
    if config.account.margin == "isolated" and instrument.accounting != Accounting.SPOT and not instrument.tiers:
        raise ConfigError(
            f"account.margin = isolated: {symbol} has no maintenance tiers, so it could lose more than its margin; "
            f"give account.maintenance or instruments.{symbol}.maintenance, such as [{{floor: 0, rate: 0.005}}]"
        )
    return instrument


def _check_borrow(config: RunConfig, instrument: Instrument) -> None:
    """Refuse a rate for borrowing what nobody can borrow, where it is given for this symbol alone."""
    symbol = instrument.symbol
    if symbol not in config.instruments or config.instruments[symbol].borrow is None:
        return
    if instrument.accounting != Accounting.SPOT:
        raise ConfigError(
            f"instruments.{symbol}.borrow: {symbol} is of kind {instrument.kind!r}, of which nothing is borrowed; it is for spot and equity"
        )
    if not instrument.shortable:
        raise ConfigError(f"instruments.{symbol}.borrow: {symbol} cannot be sold short; add shortable: true, or leave borrow out")


def _check_future(config: RunConfig, instrument: Instrument) -> None:
    """Refuse what only a future has, where it is given for this symbol alone and it is none."""
    given = config.instruments.get(instrument.symbol, InstrumentConfig())
    for name in ("settlement", "expiry"):
        if getattr(given, name) is not None and not instrument.is_future:
            raise ConfigError(
                f"instruments.{instrument.symbol}.{name}: {instrument.symbol} is of kind {instrument.kind!r}; only a future has it: add kind: future"
            )


def check_defaults(config: RunConfig, instruments: Sequence[Instrument]) -> None:
    """Refuse what ``instruments.default`` says of a kind of which the run has no symbol.

    Raises
    ------
    ConfigError
        Names the key, and a symbol with its kind.
    """
    given, one = config.instruments.get("default", InstrumentConfig()), instruments[0]
    users = {
        "settlement": ("a future has one", any(one.is_future for one in instruments)),
        "expiry": ("a future has one", any(one.is_future for one in instruments)),
        "borrow": ("it is for spot and equity with shortable: true", any(one.borrow_rates and one.shortable for one in instruments)),
    }
    for name, (rule, used) in users.items():
        if getattr(given, name) is not None and not used:
            few = "the one symbol of the run" if len(instruments) == 1 else f"none of the {len(instruments)} symbols of the run"
            can = "cannot use it" if len(instruments) == 1 else "can use it"
            raise ConfigError(
                f"instruments.default.{name}: {few} {can}: {rule}, and {one.symbol} is of kind {one.kind!r}"
                f"{', not shortable' if name == 'borrow' and one.accounting == Accounting.SPOT else ''}; leave {name} out, or set the kind"
            )


def check_expiries(instruments: Sequence[Instrument], begins: Mapping[str, int]) -> None:
    """Refuse a contract that ends before its first bar.

    Parameters
    ----------
    begins
        Open of the first bar of each symbol, us, UTC.

    Raises
    ------
    ConfigError
        Names the symbol, its expiry and its first bar.
    """
    for one in instruments:
        if one.is_future and one.expiry is not None and one.expiry <= begins[one.symbol]:
            ends, opens = np.datetime64(one.expiry, "us").astype("M8[s]"), np.datetime64(begins[one.symbol], "us").astype("M8[s]")
            raise ConfigError(
                f"instruments.{one.symbol}.expiry = {ends}Z: the first bar of {one.symbol} opens at {opens}Z, so nothing of it could be traded; "
                "correct the expiry (instruments.default.expiry is of all symbols), or leave the symbol out of symbols"
            )


def rates_of(rows: Sequence[RateConfig]) -> tuple[DatedRate, ...]:
    """Rates of interest by date."""
    return tuple(DatedRate(moment_us(row.since), float(row.rate)) for row in rows)


def _tiers(tiers: Sequence[MaintenanceTier]) -> tuple[MarginTier, ...]:
    """Tiers of maintenance margin, their deductions filled in where the config leaves them out.  # R7.2"""
    if any(tier.deduction is None for tier in tiers):
        return margin_tiers([(tier.floor, tier.rate) for tier in tiers])
    return tuple(MarginTier(float(tier.floor), tier.rate, tier.deduction or 0.0) for tier in tiers)


def _with_rules(instrument: Instrument, rows: Sequence[RulesConfig]) -> Instrument:
    """The instrument with its dated rules; what a row does not say stays as it was."""
    rules: list[Rules] = []
    before: Instrument | Rules = instrument
    for row in rows:
        before = Rules(
            moment_us(row.since),
            before.tick if row.tick is None else Decimals.parse(row.tick),
            before.lot if row.lot is None else Decimals.parse(row.lot),
            before.min_qty if row.min_qty is None else row.min_qty,
            before.min_notional if row.min_notional is None else row.min_notional,
        )
        rules.append(before)
    return replace(instrument, rules=tuple(rules))


_FIELDS = frozenset(
    {
        "kind",
        "tick",
        "lot",
        "multiplier",
        "min_qty",
        "min_notional",
        "shortable",
        "sessions",
        "rules",
        "quote",
        "borrow",
        "settlement",
        "expiry",
    }
)
