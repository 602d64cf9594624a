"""The market as a fill saw it: bars by time, half-spreads, values and grids, in plain Python from docs/ledger.md.

What is worked out here shares no arithmetic with the replay, so that an explanation which adds up means something.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.model_call import charge
from engine.models import ModelKind
from engine.schema import DAY_US, Accounting, Reason, RecordKind
from engine.splits import SPLIT

if TYPE_CHECKING:
    from engine.instrument import Decimals, Instrument
    from engine.proposals import Proposals
    from engine.round_trips import Row
    from engine.settings import Settings
    from engine.tape import Tape


@dataclass(frozen=True)
class Market:
    """Tape, proposals and settings of a replayed run, asked by symbol number and time."""

    tape: "Tape"
    proposals: "Proposals"
    settings: "Settings"

    def instrument(self, symbol: int) -> "Instrument":
        """Its specification."""
        return sorted(self.settings.instruments, key=lambda one: one.symbol)[symbol]

    def leverage(self, symbol: int) -> float:
        """Notional over initial margin.  # R7.2"""
        return self.instrument(symbol).leverage or self.settings.leverage

    def tick(self, symbol: int, ts: int) -> "Decimals":
        """Its tick at a time: that of the last dated rules, else its own.  # R2.7"""
        instrument = self.instrument(symbol)
        return [instrument.tick, *(rules.tick for rules in instrument.rules if rules.from_us <= ts)][-1]

    def lot_step(self, symbol: int, ts: int) -> int:
        """How many of the lots that quantities are counted in make one lot at a time.  # R2.7"""
        instrument = self.instrument(symbol)
        return instrument.lot_step([instrument.lot, *(rules.lot for rules in instrument.rules if rules.from_us <= ts)][-1])

    def last_row(self, symbol: int, ts: int) -> int:
        """Last bar closed at or before a time; -1 if none."""
        begin, end = int(self.tape.oldest[symbol]), int(self.tape.stop[symbol])
        row = begin + int(np.searchsorted(self.tape.ts[begin:end], ts, "right")) - 1
        return row if row >= begin else -1

    def row_opening(self, symbol: int, ts: int) -> int:
        """The bar that opens at a time; -1 if none does."""
        begin, end = int(self.tape.first[symbol]), int(self.tape.stop[symbol])
        row = begin + int(np.searchsorted(self.tape.open_ts[begin:end], ts))
        return row if row < end and self.tape.open_ts[row] == ts else -1

    def price(self, name: str, side: int, row: int) -> float:
        """``open``, ``high``, ``low`` or ``close`` of a bar on the side an order takes: the ask to buy, the bid to sell."""
        return float(getattr(self.tape, f"{'ask' if side > 0 else 'bid'}_{name}")[row])

    def half_spread(self, symbol: int, row: int, known: int) -> float:
        """Half-spread, as a fraction, that a taker pays at a bar with what is known at a time.  # R2.2"""
        if len(self.tape.quoted) and self.tape.quoted[row]:
            return 0.0
        begin, end = int(self.tape.spread_first[symbol]), int(self.tape.spread_stop[symbol])
        at = begin + int(np.searchsorted(self.tape.spread_ts[begin:end], known, "right")) - 1
        if at < begin:
            return self.settings.default_spread_bps / 20_000
        bid, ask = float(self.tape.spread_bid[at]), float(self.tape.spread_ask[at])
        return (ask - bid) / (ask + bid)

    def reservation_half(self, symbol: int, ts: int) -> float:
        """The same for a reservation: of bid and ask candles, that of the last close.  # R5.2"""
        row = self.last_row(symbol, ts)
        if len(self.tape.quoted) and self.tape.quoted[row]:
            bid, ask = self.price("close", -1, row), self.price("close", 1, row)
            return (ask - bid) / (ask + bid)
        return self.half_spread(symbol, row, ts)

    def value(self, symbol: int, lots: int, price: float) -> int:
        """Signed value of so many lots at a price, in quote money.  # R6.3, R6.4"""
        lot = self.instrument(symbol).base_lot
        return self.value_of(symbol, lots * lot.units / lot.power, price)

    def value_of(self, symbol: int, quantity: float, price: float) -> int:
        """The same of a quantity; of an inverse contract the negative of its coins."""
        multiplier = float(self.instrument(symbol).multiplier)
        if self.is_inverse(symbol):
            return -round(quantity * multiplier / price * self.settings.scale)
        return round(quantity * price * multiplier * self.settings.scale)

    def notional(self, symbol: int, lots: int, price: float, ts: int) -> int:
        """Account money that so many lots stand for at a time, signed like them."""
        value = self.value(symbol, lots, price)
        return -value if self.is_inverse(symbol) else self.in_account(symbol, value, ts)

    def rate(self, symbol: int, ts: int) -> float:
        """Account money for quote money at a time: the last close known of what says so; 1 where they are the same."""
        if not self.instrument(symbol).quote:
            return 1.0
        begin, end = int(self.tape.rate_first[symbol]), int(self.tape.rate_stop[symbol])
        return float(self.tape.rate[begin + int(np.searchsorted(self.tape.rate_ts[begin:end], ts, "right")) - 1])

    def in_account(self, symbol: int, quoted: int, ts: int) -> int:
        """Account money for quote money at a time."""
        return round(quoted * self.rate(symbol, ts)) if self.instrument(symbol).quote else quoted

    def is_spot(self, symbol: int) -> bool:
        """Whether cash buys what is held; otherwise profit enters cash at the close only."""
        return self.instrument(symbol).accounting == Accounting.SPOT

    def is_inverse(self, symbol: int) -> bool:
        """Whether profit is in the coin that the contract is on."""
        return self.instrument(symbol).accounting == Accounting.INVERSE

    def splits(self, symbol: int, since: int, until: int) -> list[tuple[int, int, int]]:
        """Time, ``num`` and ``den`` of the splits of a symbol from ``since`` on and before ``until`` (us, UTC)."""
        rows = range(int(self.tape.action_first[symbol]), int(self.tape.action_stop[symbol]))
        found = [at for at in rows if self.tape.action_kind[at] == SPLIT and since <= self.tape.action_ts[at] < until]
        return [(int(self.tape.action_ts[at]), int(self.tape.action_num[at]), int(self.tape.action_den[at])) for at in found]

    def restated(self, symbol: int, price: float, since: int, until: int) -> float:
        """A price known at a time in the units of a later one.  # R8.1"""
        for _, num, den in self.splits(symbol, since, until):
            price = price * den / num
        return price

    def mark(self, symbol: int, now: int) -> float:
        """Mark of the last bar closed at or before a time, in that time's units."""
        row = self.last_row(symbol, now)
        return self.restated(symbol, float(self.tape.mark[row]), int(self.tape.ts[row]), now)

    def taker_bps(self, rows: "Sequence[Row]", now: int) -> float:
        """Taker rate in force after some records: that of the tier of the last 30 days' fills, where there are tiers.  # R2.6"""
        settings = self.settings
        if not settings.fee_tiers:
            return settings.taker_bps
        traded = 0
        for row in rows:
            if row["kind"] == RecordKind.FILL and row["ts"] > now - 30 * DAY_US and row["reason"] not in (Reason.DELISTED, Reason.EXPIRED):
                traded += abs(self.notional(row["symbol"], row["qty"], row["price"], row["ts"]))
        return [tier.taker_bps for tier in settings.fee_tiers if traded >= tier.from_notional * settings.scale][-1]

    def claim(self, symbol: int, side: int, lots: int, price: float, half: float, taker_bps: float, ts: int) -> int:
        """What a quantity reserves: value or margin, taker fee and half-spread.  # R5.2"""
        settings, instrument, worth = self.settings, self.instrument(symbol), self.notional(symbol, lots, price, ts)
        backed = not self.is_spot(symbol) or side < 0
        quantity = lots * instrument.base_lot.units / instrument.base_lot.power
        own = settings.model(ModelKind.FEE)
        if own is None:
            fee = round(worth * (max(taker_bps, 0.0) / 10_000)) + round(settings.flat * settings.scale)
            fee += round(quantity * settings.per_unit * settings.scale) if settings.per_unit else 0
            fee = max(fee, round(settings.min_fee * settings.scale)) if settings.min_fee else fee
        else:
            fee = max(0, round(charge(own.address, worth / settings.scale, quantity, 0.0) * settings.scale))
        return (round(worth / self.leverage(symbol)) if backed else worth) + fee + round(worth * half)


def on_grid(x: float, step: "Decimals", up: bool) -> float:
    """A price on its tick.  # R6.3"""
    steps = x / float(step)
    nearest = round(steps)
    whole = nearest if abs(steps - nearest) <= 1e-6 else math.ceil(steps) if up else math.floor(steps)
    return whole * step.units / step.power


def most_lots(fits: Callable[[int], bool], wanted: int) -> int:
    """Most lots, up to those wanted, that fit; fitting never comes back once lost.

    >>> most_lots(lambda lots: lots * 3 <= 100, 50)
    33
    """
    if fits(wanted):
        return wanted
    low, high = 0, wanted
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def bar_dict(market: Market, row: int, side: int) -> dict[str, Any]:
    """Times and prices of a bar on the side an order takes."""
    times = {"open_ts": int(market.tape.open_ts[row]), "ts": int(market.tape.ts[row])}
    return times | {name: market.price(name, side, row) for name in ("open", "high", "low", "close")}
