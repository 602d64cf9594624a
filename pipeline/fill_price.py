"""The price of a fill worked out again: raw price, half-spread, slippage, tick.  # R2.2, R2.5"""

import math
from dataclasses import dataclass
from typing import Any

from engine.round_trips import Row
from engine.schema import MAKER, EventKind, Reason, Slippage
from pipeline.bar_lookup import Market, on_grid
from pipeline.entry_order import EntryOrder, entry_order
from pipeline.levels import Levels
from pipeline.wording import moment, number


@dataclass(frozen=True)
class FillPrice:
    """Steps from a raw price to that of a fill.

    Attributes
    ----------
    source
        What the raw price is.
    steps
        What was added to it, and by what, in order; the last step is whatever the named ones leave.
    explained
        Whether the rules alone give the price of the fill.
    row
        The bar of the fill.
    """

    source: str
    raw: float
    steps: list[tuple[str, float]]
    price: float
    explained: bool
    row: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        steps = [{"step": name, "amount": amount} for name, amount in self.steps]
        return {"raw_price": self.raw, "raw_price_is": self.source, "steps": steps, "price": self.price, "explained": self.explained}

    def line(self) -> str:
        """The sum, on one line."""
        if not self.steps:
            return f"{self.source} {number(self.raw)}"
        parts = "".join(f" {'+' if amount >= 0 else '-'} {number(abs(amount), 6)} ({name})" for name, amount in self.steps)
        return f"{self.source} {number(self.raw)}{parts} = {number(self.price)}"


def fill_price(market: Market, row: Row, levels: Levels | None, entered: float = math.nan, lots: int = 0) -> FillPrice | None:
    """Work out the price of a FILL; None where its bar or its level cannot be named.

    Parameters
    ----------
    entered
        Raw price at which the inside of the same bar opened the position.
    lots
        Those that share its price: of a reversal, the ones that close and the ones that open; 0: its own.
    """
    symbol, phase = row["symbol"], row["phase"]
    at = market.row_opening(symbol, row["ts"]) if phase == EventKind.BAR_OPEN else market.last_row(symbol, row["ts"])
    order = entry_order(market, row)
    if at < 0:
        return None
    if row["reason"] == Reason.LIQUIDATED and phase == EventKind.BAR_PATH:
        return FillPrice("liquidation price, or the nearest that the bar has", row["price"], [], row["price"], True, at)
    if row["reason"] == Reason.EXPIRED:
        return _left_over("mark", market.mark(symbol, row["ts"]), [], row["price"], at, "settlement")
    source, raw = _raw_of_entry(market, row, at, order) if order else _raw(market, row, at, levels, entered)
    if math.isnan(raw):
        return None
    if row["reason"] == Reason.DELISTED:
        return _left_over(source, raw, [], row["price"], at, "haircut")
    if row["flags"] & MAKER or row["reason"] == Reason.LIQUIDATED:
        return _left_over(source, raw, [], row["price"], at, "tick")
    known = int(market.tape.open_ts[at]) if phase == EventKind.BAR_PATH else row["ts"]
    return _taker(market, row | {"qty": lots or row["qty"]}, source, raw, at, known, math.nan if order is None else order.limit)


def _raw_of_entry(market: Market, row: Row, at: int, order: EntryOrder) -> tuple[str, float]:
    """What an entry starts from: its limit as a maker, its trigger inside a bar, else the market."""
    inside, maker = row["phase"] == EventKind.BAR_PATH, row["flags"] & MAKER
    if maker and (inside or row["price"] == order.limit):
        return "limit", order.limit
    return ("trigger", order.trigger) if inside else _market_price(market, row, at)


def _raw(market: Market, row: Row, at: int, levels: Levels | None, entered: float) -> tuple[str, float]:
    inside, opened = row["phase"] == EventKind.BAR_PATH, int(market.tape.open_ts[at])
    if levels is None and (inside or row["flags"] & MAKER):
        return "level", math.nan
    if row["flags"] & MAKER and levels is not None and (inside or row["price"] == levels.acting(opened).target):
        return "target", levels.acting(opened).target
    if inside and row["reason"] == Reason.CROSSED_AT_ENTRY:
        return "price of the entry", _offered(market, row["side"], entered, at)
    if inside and levels is not None:
        return "stop", _offered(market, row["side"], levels.stop_in_bar(at, opened), at)
    return _market_price(market, row, at)


def _offered(market: Market, side: int, price: float, at: int) -> float:
    """A price inside a bar on the side an order takes: where bid and ask have candles of their own, one of theirs.  # R3.4"""
    return price if math.isnan(price) else min(max(price, market.price("low", side, at)), market.price("high", side, at))


def _market_price(market: Market, row: Row, at: int) -> tuple[str, float]:
    side, opened = row["side"], int(market.tape.open_ts[at])
    name = "open" if row["phase"] == EventKind.BAR_OPEN else "close"
    price = market.price(name, side, at)
    if name == "close":  # of before a split, used after it
        until = row["ts"] + 1 if row["phase"] > EventKind.CORPORATE_ACTION else row["ts"]
        price = market.restated(row["symbol"], price, int(market.tape.ts[at]), until)
    return f"{name} of the bar {moment(opened)}", price


def _taker(market: Market, row: Row, source: str, raw: float, at: int, known: int, limit: float) -> FillPrice:
    """Half-spread and slippage added, then the tick against the order, and no worse than its limit."""
    settings, symbol, side, price = market.settings, row["symbol"], row["side"], row["price"]
    half, slip, name = market.half_spread(symbol, at, known), 0.0, "slippage"
    if settings.slippage == Slippage.BPS:
        slip = settings.slippage_amount / 10_000
    elif settings.slippage == Slippage.SPREAD:
        slip, half = settings.slippage_amount * half, 0.0
    elif settings.slippage in (Slippage.VOLUME_SHARE, Slippage.SQRT_IMPACT):
        share = _volume_share(market, row, at if market.tape.ts[at] <= known else at - 1)
        slip = settings.slippage_amount * (share * share if settings.slippage == Slippage.VOLUME_SHARE else math.sqrt(share))
        name = f"impact of {share * 100:.4g} % of the volume,"
    steps = [(f"{what} {rate * 10_000:.4g} bp", side * raw * rate) for what, rate in (("half-spread", half), (name, slip)) if rate != 0.0]
    tick = market.tick(symbol, known)
    found = on_grid(raw + side * raw * (half + slip), tick, up=side > 0)
    if side * (found - limit) > 0 and price == limit:
        return _left_over(source, raw, steps, price, at, "its limit bounds it")
    if found != price:
        return _left_over(source, raw, steps, price, at, "the user's model" if settings.slippage == Slippage.MODEL else "other models")
    rest = price - raw - sum(amount for _, amount in steps)
    if abs(rest) > 1e-9 * float(tick):
        steps.append((f"tick {number(float(tick))}", rest))
    return FillPrice(source, raw, steps, price, explained=True, row=at)


def _volume_share(market: Market, row: Row, at: int) -> float:
    """Share of a fill in the volume of the last bar closed before it; the largest that counts where there was none.  # R2.6"""
    lot, volume, most = market.instrument(row["symbol"]).base_lot, float(market.tape.volume[at]), market.settings.slippage_limit
    until = row["ts"] + (row["phase"] > EventKind.CORPORATE_ACTION)
    for _, num, den in market.splits(row["symbol"], int(market.tape.ts[at]), until):
        volume = volume * num / den
    return min(row["qty"] * lot.units / lot.power / volume, most) if volume > 0.0 else most


def _left_over(source: str, raw: float, steps: list[tuple[str, float]], price: float, at: int, name: str) -> FillPrice:
    rest = price - raw - sum(amount for _, amount in steps)
    more = [] if rest == 0.0 else [(name, rest)]
    return FillPrice(source, raw, [*steps, *more], price, explained=name != "other models", row=at)
