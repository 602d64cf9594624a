"""What the replay knows of each symbol, and what its exchange asks of orders, as rows the kernel can index."""

from collections.abc import Sequence
from itertools import accumulate
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
    groups = sorted({instrument.group for instrument in instruments} - {""})
    tiers = [0, *accumulate(len(instrument.tiers) for instrument in instruments)]
    rows = [
        (
            *instrument.base_lot,
            float(instrument.multiplier),
            groups.index(instrument.group) if instrument.group else NONE,
            series.interval_us,
            settings.leverage if instrument.leverage is None else instrument.leverage,
            top_rate(instrument, settings),
            tier,
            tier + len(instrument.tiers),
            instrument.accounting,
            instrument.accounting == Accounting.INVERSE,
            instrument.shortable or instrument.accounting != Accounting.SPOT,
            _limit_gap(instrument, settings),
            dataset.find("universe", instrument.symbol) is not None,
            instrument.quote != "",
            instrument.is_future,
            instrument.settlement,
            instrument.expiry if instrument.is_future and instrument.expiry is not None else NEVER,
            name_key(instrument.symbol),
        )
        for instrument, series, tier in zip(instruments, bars, tiers, strict=False)
    ]
    return frozen(np.array(rows, SPEC))


def _limit_gap(instrument: Instrument, settings: Settings) -> LimitGap:
    if settings.limit_gap is not None:
        return settings.limit_gap
    return LimitGap.OPEN if instrument.sessions else LimitGap.PRICE


def bounded(instruments: Sequence[Instrument], settings: Settings) -> bool:
    """Whether maintenance is on the notional at the mark, in the currency of the account, and never more than a fraction of it."""
    by_mark = settings.maintenance_basis == MaintenanceBasis.MARK and not any(one.quote for one in instruments)
    some_is_left = all(top_rate(one, settings) < 0.999 for one in instruments)  # of every gain, so that margin falls with the price
    return by_mark and some_is_left and all(tier.deduction >= 0.0 for one in instruments for tier in one.tiers)


def top_rate(instrument: Instrument, settings: Settings) -> float:
    """Fraction of the notional at a mark that maintenance never exceeds, where it is ``bounded``.  # R7.2"""
    takers = [tier.taker_bps for tier in settings.fee_tiers] or [settings.taker_bps]
    held = max(0.0, *takers) / 10000.0 if settings.maintenance_fee != MaintenanceFee.NONE else 0.0
    return max((one.rate for one in instrument.tiers), default=0.0) + held


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
    rules = [
        (*row.tick, float(row.tick), float(row.lot), instrument.lot_step(row.lot), row.min_qty, row.min_notional)
        for instrument, row in flat
    ]
    return {
        "rule_ts": ints([row.from_us for _, row in flat]),
        "rules": frozen(np.array(rules, RULE)),
        "rule_first": ints([0, *stops[:-1]]),
        "rule_stop": ints(list(stops)),
    }
