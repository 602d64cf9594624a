"""Prices: what a bar offers a side, what a taker pays, and the last price and mark of a position.  # R2.2, R2.5"""

import numpy as np

from engine.exits import on_tick
from engine.kernel import kernel, shared
from engine.model_call import call, event_key
from engine.money import quantity
from engine.schema import MAKER, OrderType, Slippage
from engine.splits import restated, restated_volume
from engine.state import State
from engine.tape import Tape, known_until


@kernel
def half_spread(tape: Tape, symbol: int, row: int, known: int, default: float) -> float:
    """Half-spread, as a fraction of the price, of the last snapshot with ``ts <= known``; 0 for a bar with both sides.  # R2.2"""
    if len(tape.quoted) > 0 and tape.quoted[row]:
        return 0.0
    first, stop = tape.spread_first[symbol], tape.spread_stop[symbol]
    at = known_until(tape.spread_ts, first, stop, known) - 1
    if at < first:
        return default
    bid, ask = tape.spread_bid[at], tape.spread_ask[at]
    return (ask - bid) / (ask + bid)


@kernel
def half_spread_of_close(tape: Tape, symbol: int, row: int, known: int, default: float) -> float:
    """Half-spread for a reservation: that of the last close where the bar has both sides, else of the last snapshot.  # R5.2"""
    if len(tape.quoted) > 0 and tape.quoted[row]:
        return (tape.ask_close[row] - tape.bid_close[row]) / (tape.ask_close[row] + tape.bid_close[row])
    return half_spread(tape, symbol, row, known, default)


@kernel
def volume_share(qty: float, volume: float, limit: float) -> float:
    """Share that a quantity has of the volume of the last closed bar, at most ``limit``, which it is where there was no volume.  # R2.6

    >>> float(volume_share(5.0, 100.0, 1.0)), float(volume_share(5.0, 0.0, 0.1)), float(volume_share(0.0, 0.0, 0.1))
    (0.05, 0.1, 0.0)
    """
    if volume > 0.0:
        return min(qty / volume, limit)
    return limit if qty > 0.0 else 0.0


@kernel
def impact(kind: int, share_of_volume: float) -> float:
    """How slippage grows with the share of volume: with its square, or with its root.  # R2.6

    The square is that of Zipline's ``VolumeShareSlippage``; the root is the square-root law (Barra 1997; Almgren, Thum, Hauptmann and Li,
    "Direct estimation of equity market impact", Risk, July 2005; Toth et al., Physical Review X 1, 021006, 2011).

    >>> float(impact(Slippage.VOLUME_SHARE, 0.25)), float(impact(Slippage.SQRT_IMPACT, 0.25))
    (0.0625, 0.5)
    """
    if kind == Slippage.VOLUME_SHARE:
        return share_of_volume * share_of_volume
    return np.sqrt(share_of_volume)


@shared
def taker_price(state: State, tape: Tape, symbol: int, side: int, qty: float, raw: float, row: int, known: int) -> float:
    """Price of a market order or a triggered stop of a quantity: half-spread and slippage added, on the tick against it.  # R2.5"""
    rules = state.rules[0]
    half = half_spread(tape, symbol, row, known, rules["default_half_spread"])
    slip = 0.0
    if rules["slippage"] == Slippage.MODEL:
        return own_price(state, tape, symbol, side, qty, raw, half, row, known)
    if rules["slippage"] == Slippage.BPS:
        slip = rules["slippage_rate"]
    elif rules["slippage"] == Slippage.SPREAD:
        slip, half = rules["slippage_amount"] * half, 0.0
    elif rules["slippage"] >= Slippage.VOLUME_SHARE:
        volume = restated_volume(state, tape, symbol, row if tape.ts[row] <= known else row - 1)
        share_of_volume = volume_share(qty, volume, rules["slippage_limit"])
        slip = rules["slippage_amount"] * impact(rules["slippage"], share_of_volume)
    return on_tick(tape, symbol, raw + side * raw * (half + slip), side > 0, known)


@shared
def own_price(state: State, tape: Tape, symbol: int, side: int, qty: float, raw: float, half: float, row: int, known: int) -> float:
    """Price of a taker by the user's models: of the fill whole, or of the slippage beyond the half-spread.  # R2.8"""
    rules = state.rules[0]
    volume = restated_volume(state, tape, symbol, row if tape.ts[row] <= known else row - 1)
    key = event_key(rules["seed"], tape.open_ts[row], tape.specs[symbol]["name_key"], side + 1)
    told = (float(raw), float(qty), float(volume), float(half), float(side), key)
    if rules["fill_model"] != 0:
        return on_tick(tape, symbol, call(rules["fill_model"], told), side > 0, known)
    return on_tick(tape, symbol, raw + side * raw * (half + call(rules["slippage_model"], told)), side > 0, known)


@kernel
def open_price(tape: Tape, side: int, row: int) -> float:
    """Open on the side an order takes: the ask to buy, the bid to sell."""
    return tape.ask_open[row] if side > 0 else tape.bid_open[row]


@kernel
def close_price(tape: Tape, side: int, row: int) -> float:
    """Close on the side an order takes."""
    return tape.ask_close[row] if side > 0 else tape.bid_close[row]


@kernel
def last_price(state: State, tape: Tape, slot: int) -> float:
    """The last close on the side that closes a position, in terms of the units of now."""
    position, symbol = state.positions[slot], state.positions[slot]["symbol"]
    row = position["row"] - 1
    return restated(state, tape, symbol, close_price(tape, -position["side"], row), tape.ts[row])


@kernel
def last_mark(state: State, tape: Tape, slot: int) -> float:
    """The mark of the last close, in terms of the units of now."""
    position, symbol = state.positions[slot], state.positions[slot]["symbol"]
    row = position["row"] - 1
    return restated(state, tape, symbol, tape.mark[row], tape.ts[row])


@kernel
def quantity_of(tape: Tape, symbol: int, lots: int) -> float:
    """Quantity of so many lots of a symbol."""
    spec = tape.specs[symbol]
    return quantity(lots, spec["lot_units"], spec["lot_power"])


@kernel
def entry_price(state: State, tape: Tape, slot: int, lots: int, raw: float, row: int, known: int, flags: int) -> float:
    """Price of an entry's fill: a maker's own, or a taker's, for a limit order never beyond its limit.  # R2.5"""
    order, symbol = state.entries[slot], state.positions[slot]["symbol"]
    if flags & MAKER:
        return raw
    price = taker_price(state, tape, symbol, order["side"], quantity_of(tape, symbol, lots), raw, row, known)
    if order["kind"] == OrderType.LIMIT and order["side"] * (price - order["limit"]) > 0:
        return order["limit"]
    return price
