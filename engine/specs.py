"""What the replay knows of each symbol, and what its exchange asks of orders, as rows the kernel can index."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.arrays import frozen, ints
from engine.dataset import Dataset, Series
from engine.instrument import Instrument, Rules
from engine.model_call import name_key
from engine.schema import NEVER, NONE, Accounting, LimitGap, MaintenanceBasis, MaintenanceFee
from engine.settings import Settings

SPEC = np.dtype(
    [
        ("lot_units", "<f8"),
        ("lot_power", "<f8"),
        ("multiplier", "<f8"),
        ("group", "<i4"),  # NONE: in no group
        ("interval_us", "<i8"),
        ("leverage", "<f8"),
        ("top_rate", "<f8"),  # no maintenance is more than this of the notional
        ("tier_first", "<i8"),  # its rows of Tape.margin_tiers
        ("tier_stop", "<i8"),
        ("accounting", "u1"),
        ("inverse", "u1"),  # whether that is INVERSE
        ("shortable", "u1"),
        ("limit_gap", "u1"),
        ("has_universe", "u1"),
        ("converts", "u1"),  # whether its prices are in another currency than the account's
        ("future", "u1"),  # whether the next two say anything
        ("settlement", "<i8"),  # of a future: us after 00:00 UTC
        ("expiry", "<i8"),  # of a future: us, UTC; NEVER: none
        ("name_key", "<i8"),  # what it is in the keys of draws
    ],
    align=True,
)
"""What the replay knows of one symbol; ``lot_units / lot_power`` is the base lot, in which quantities are counted."""

RULE = np.dtype(
    [
        ("tick_units", "<f8"),
        ("tick_power", "<f8"),
        ("tick", "<f8"),
        ("lot", "<f8"),
        ("lot_step", "<i8"),  # base lots in a lot
        ("min_qty", "<f8"),
        ("min_notional", "<f8"),
    ],
    align=True,
)
"""What an exchange asks of the orders of one symbol from a time on.  # R2.7"""


def specs_of(dataset: Dataset, instruments: Sequence[Instrument], bars: Sequence[Series], settings: Settings) -> NDArray[Any]:
    """One row a symbol, in order; ``bars`` are the series that each trades on."""
    groups = sorted({one.group for one in instruments} - {""})
    stops = np.cumsum([len(one.tiers) for one in instruments], dtype=np.int64)
    lots, held = [one.base_lot for one in instruments], fee_held(settings)
    columns: dict[str, Any] = {
        "lot_units": [lot.units for lot in lots],
        "lot_power": [lot.power for lot in lots],
        "multiplier": [float(one.multiplier) for one in instruments],
        "group": [groups.index(one.group) if one.group else NONE for one in instruments],
        "interval_us": [series.interval_us for series in bars],
        "leverage": [settings.leverage if one.leverage is None else one.leverage for one in instruments],
        "top_rate": [top_rate(one, held) for one in instruments],
        "tier_first": np.append(0, stops[:-1]),
        "tier_stop": stops,
        "accounting": [one.accounting for one in instruments],
        "inverse": [one.accounting == Accounting.INVERSE for one in instruments],
        "shortable": [one.shortable or one.accounting != Accounting.SPOT for one in instruments],
        "limit_gap": [_limit_gap(one, settings) for one in instruments],
        "has_universe": [dataset.find("universe", one.symbol) is not None for one in instruments],
        "converts": [one.quote != "" for one in instruments],
        "future": [one.is_future for one in instruments],
        "settlement": [one.settlement for one in instruments],
        "expiry": [one.expiry if one.is_future and one.expiry is not None else NEVER for one in instruments],
        "name_key": [name_key(one.symbol) for one in instruments],
    }
    return frozen(_filled(SPEC, columns, len(instruments)))


def _filled(dtype: np.dtype[Any], columns: Mapping[str, Any], length: int) -> NDArray[Any]:
    """Rows of a type from its columns, of which none may be missing."""
    rows = np.zeros(length, dtype)
    for name in dtype.names or ():
        rows[name] = columns[name]
    return rows


def _limit_gap(instrument: Instrument, settings: Settings) -> LimitGap:
    if settings.limit_gap is not None:
        return settings.limit_gap
    return LimitGap.OPEN if instrument.sessions else LimitGap.PRICE


def bounded(instruments: Sequence[Instrument], settings: Settings) -> bool:
    """Whether maintenance is on the notional at the mark, in the currency of the account, and never more than a fraction of it."""
    by_mark = settings.maintenance_basis == MaintenanceBasis.MARK and not any(one.quote for one in instruments)
    held = fee_held(settings)
    some_is_left = all(top_rate(one, held) < 0.999 for one in instruments)  # of every gain, so that margin falls with the price
    return by_mark and some_is_left and all(tier.deduction >= 0.0 for one in instruments for tier in one.tiers)


def fee_held(settings: Settings) -> float:
    """Largest taker fee that maintenance holds, a fraction.  # R7.2"""
    takers = [tier.taker_bps for tier in settings.fee_tiers] or [settings.taker_bps]
    return max(0.0, *takers) / 10000.0 if settings.maintenance_fee != MaintenanceFee.NONE else 0.0


def top_rate(instrument: Instrument, held: float) -> float:
    """Fraction of the notional at a mark that maintenance never exceeds, where it is ``bounded``; ``held`` is the fee in it.  # R7.2"""
    tiers = instrument.tiers
    return max(one.rate for one in tiers) + held if tiers else held


def interest_of(instruments: Sequence[Instrument], settings: Settings) -> dict[str, NDArray[Any]]:
    """Rates of interest by date: of shorts of each symbol, then of the account's debt."""
    dated = [*(one.borrow_rates for one in instruments), settings.interest]
    stops = np.cumsum([len(rows) for rows in dated])
    flat = [row for rows in dated for row in rows]
    return {
        "interest_ts": ints([row.from_us for row in flat]),
        "interest_rate": frozen(np.array([row.rate for row in flat], np.float64)),
        "interest_first": ints([0, *stops[:-1]]),
        "interest_stop": ints(list(stops)),
    }


def rules_of(instruments: Sequence[Instrument]) -> dict[str, NDArray[Any]]:
    """The exchange's rules of all symbols and times; those of an instrument itself are in force until its first dated ones."""
    ever = [Rules(-NEVER, one.tick, one.lot, one.min_qty, one.min_notional) for one in instruments]
    dated = [[before, *one.rules] for before, one in zip(ever, instruments, strict=True)]
    stops = np.cumsum([len(rows) for rows in dated])
    flat = [(one, row) for one, rows in zip(instruments, dated, strict=True) for row in rows]
    columns = {
        "tick_units": [row.tick.units for _, row in flat],
        "tick_power": [row.tick.power for _, row in flat],
        "tick": [float(row.tick) for _, row in flat],
        "lot": [float(row.lot) for _, row in flat],
        "lot_step": [one.lot_step(row.lot) for one, row in flat],
        "min_qty": [row.min_qty for _, row in flat],
        "min_notional": [row.min_notional for _, row in flat],
    }
    return {
        "rule_ts": ints([row.from_us for _, row in flat]),
        "rules": frozen(_filled(RULE, columns, len(flat))),
        "rule_first": ints([0, *stops[:-1]]),
        "rule_stop": ints(list(stops)),
    }
