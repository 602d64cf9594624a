"""Fills: the price a taker pays, how an entry opens a position, how anything closes one.  # R2"""

import math
from collections.abc import Callable
from typing import NamedTuple

from engine.model_call import event_key
from engine.models import ModelKind
from engine.schema import AMBIGUOUS, MAKER, MORE, NONE, Reason, RecordKind, Slippage
from engine.settings import Settings
from tests.oracle.account import Account, Entry, Position
from tests.oracle.brackets import Exit, attach
from tests.oracle.contract import Contract, checked
from tests.oracle.events import Bar, Market


class Quote(NamedTuple):
    """A raw price, the half-spread that a taker adds to it, as a fraction, the volume of the last closed bar, and when the price's bar opened."""

    price: float
    half_spread: float
    volume: float
    ts: int  # the exchange's rules of this time hold
    open_ts: int


def quote_open(market: Market, bar: Bar, side: int) -> Quote:
    """What an order of this side meets at the open of a bar."""
    return quote(market, bar, bar.side(side).open, bar.open_ts)


def quote_close(market: Market, side: int, ts: int) -> Quote:
    """What an order of this side meets at the last close."""
    assert market.bar is not None
    return quote(market, market.bar, market.bar.side(side).close, ts)


def quote(market: Market, bar: Bar, price: float, ts: int, *, at_open: bool = False) -> Quote:
    """A price of a bar; candles with bid and ask hold the spread already.  # R2.2"""
    volume = market.bar.volume if market.bar is not None else math.nan
    return Quote(price, 0.0 if bar.quoted else market.half_spread(at_open=at_open), volume, ts, bar.open_ts)


def taker_price(contract: Contract, settings: Settings, side: int, lots: int, met: Quote) -> float:
    """Price of a taker fill: half-spread and slippage added, on the tick against the order.  # R2.5 R2.6"""
    spread, slip = met.half_spread, 0.0
    limit, quantity = settings.slippage_limit, contract.quantity(abs(lots))
    share = min(quantity / met.volume, limit) if met.volume > 0 else limit if quantity > 0 else 0.0
    if settings.slippage == Slippage.VOLUME_SHARE:
        slip = settings.slippage_amount * (share * share)
    elif settings.slippage == Slippage.SQRT_IMPACT:
        slip = settings.slippage_amount * math.sqrt(share)
    if settings.slippage == Slippage.BPS:
        slip = settings.slippage_amount / 10000
    elif settings.slippage == Slippage.SPREAD:
        spread, slip = 0.0, settings.slippage_amount * met.half_spread
    price = met.price + side * met.price * (spread + slip)
    fill, slippage = settings.model(ModelKind.FILL), settings.model(ModelKind.SLIPPAGE)
    place = sorted(one.symbol for one in settings.instruments).index(contract.symbol)
    told = (met.price, quantity, met.volume, met.half_spread, float(side), event_key(settings.seed, met.open_ts, place, side + 1))
    if fill is not None:
        price = fill.function(*told)
    elif slippage is not None:
        price = met.price + side * met.price * (met.half_spread + slippage.function(*told))
    return contract.on_tick(price, met.ts, up=side > 0)


def fill_entry(account: Account, entry: Entry, met: Quote) -> Position | None:
    """Open a position with the most lots that free cash pays for; None if it pays for none.  # R5.2"""
    contract, side = entry.contract, entry.proposal.side
    free, bps = account.free_cash(without=entry), account.fee_bps(maker=False)

    def fits(count: int) -> bool:
        """The cost of a buy at its own price; a sale gets less the larger it is, and is judged by the best it may get."""
        price = taker_price(contract, account.settings, side, count if side > 0 else 0, met)
        return contract.outlay(side * count, price, bps) <= free

    step = contract.step(account.now)
    wanted = abs(entry.lots) // step * step
    lots = most_lots(wanted, fits, step)
    rest = Reason.BELOW_MIN_QTY if lots == wanted else Reason.INSUFFICIENT_CASH
    if lots == 0:
        account.cancel_entry(entry, rest)
        return None
    return open_position(account, entry, lots, rest, taker_price(contract, account.settings, side, lots, met))


def most_lots(limit: int, fits: Callable[[int], bool], step: int = 1) -> int:
    """The largest count in steps up to ``limit`` that fits, where every smaller one does too."""
    low, high = 0, limit // step
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle * step) else (low, middle - 1)
    return low * step


def open_position(account: Account, entry: Entry, lots: int, rest: Reason, price: float) -> Position:
    """Turn an order, or the part of it that can be paid and is whole lots, into a position; the rest ends.  # R5.2"""
    proposal, whole = entry.proposal, lots == abs(entry.lots)
    position = Position(proposal.key, entry.contract, proposal.side, 0, price, 0, 0, account.now, entry.order_id)
    account.positions[proposal.key] = position
    entry.reservation = 0
    position.seq = add_lots(account, position, entry, proposal.side * lots, price, more=not whole)
    if whole:
        account.entries.remove(entry)
    else:
        entry.lots -= proposal.side * lots
        account.cancel_entry(entry, rest)
    attach(account, position, entry)
    return position


def add_lots(account: Account, position: Position, entry: Entry, lots: int, price: float, *, more: bool) -> int:
    """Book an opening fill as a taker; the seq of its POSITION.  # R6.2 R6.4"""
    contract = position.contract
    cost = checked(contract.symbol, contract.value(lots, price))
    fee = contract.fee(lots, price, account.fee_bps(maker=False), maker=False)
    amount = -cost - fee if contract.spot else -fee
    account.pay(contract.symbol, amount)
    position.lots += lots
    position.cost += cost
    position.margin += contract.margin(lots, price)
    fill = account.write(
        RecordKind.FILL,
        position.key,
        order_id=entry.order_id,
        side=entry.proposal.side,
        qty=abs(lots),
        price=price,
        fee=fee,
        amount=amount,
        reason=Reason.PARTIAL if more else Reason.FILLED,
        flags=MORE if more else 0,
        proposal=entry.proposal.row,
        cause=entry.cause,
    )
    return account.write(RecordKind.POSITION, position.key, order_id=entry.order_id, qty=abs(position.lots), price=price, cause=fill)


def take_exit(account: Account, position: Position, met: Quote, reason: Reason, flags: int = 0) -> None:
    """Close a position as a taker, led to by its opening."""
    price = taker_price(position.contract, account.settings, -position.side, position.lots, met)
    close_position(account, position, price, account.fee_bps(maker=False), reason, flags=flags)


def close_at_market(account: Account, position: Position, reason: Reason) -> None:
    """Close a position at its last close as a taker."""
    take_exit(account, position, quote_close(account.markets[position.key[0]], -position.side, account.now), reason)


def bracket_exit(account: Account, position: Position, market: Market, bar: Bar, found: Exit, *, at_open: bool) -> None:
    """Close a position at a stop (a taker) or a target (a maker) of its own."""
    flags = AMBIGUOUS if found.ambiguous else 0
    if not found.maker:
        take_exit(account, position, quote(market, bar, found.price, bar.open_ts, at_open=at_open), found.reason, flags)
        return
    close_position(account, position, found.price, account.fee_bps(maker=True), found.reason, flags=flags | MAKER)


def fill_exit(account: Account, position: Position, met: Quote) -> None:
    """Fill a position's pending exit as a taker."""
    order = position.exit
    assert order is not None
    position.exit = None
    price = taker_price(position.contract, account.settings, -position.side, position.lots, met)
    bps = account.fee_bps(maker=False)
    close_position(account, position, price, bps, order.reason, order_id=order.order_id, proposal=order.proposal, cause=order.seq)


def close_position(
    account: Account,
    position: Position,
    price: float,
    fee_bps: float | None,
    reason: Reason,
    *,
    flags: int = 0,
    order_id: int | None = None,
    proposal: int = NONE,
    cause: int | None = None,
) -> None:
    """Close a position whole, and end an exit that was still pending; ``fee_bps`` None is free of any fee."""
    lots = abs(position.lots)
    fill = reduce_position(account, position, lots, price, fee_bps, reason, flags=flags, order_id=order_id, proposal=proposal, cause=cause)
    if position.exit is not None:
        account.cancel_exit(position, Reason.POSITION_CLOSED, fill, lots)


def reduce_position(
    account: Account,
    position: Position,
    count: int,
    price: float,
    fee_bps: float | None,
    reason: Reason,
    *,
    flags: int = 0,
    order_id: int | None = None,
    proposal: int = NONE,
    cause: int | None = None,
) -> int:
    """Close so many lots of a position; the seq of the FILL.  # R6.4"""
    contract, side, held = position.contract, position.side, abs(position.lots)
    lots, part = side * count, count / held
    released = round(position.cost * part) if count < held else position.cost
    unlocked = round(position.margin * part) if count < held else position.margin
    worth = contract.value(lots, price)
    realised = worth - released
    fee = 0 if fee_bps is None else contract.fee(lots, price, fee_bps, maker=bool(flags & MAKER))
    if reason == Reason.LIQUIDATED:
        fee += round(abs(worth) * account.settings.liquidation_fee)
    amount = (worth if contract.spot else realised) - fee
    account.pay(contract.symbol, amount)
    order_id = position.order_id if order_id is None else order_id
    cause = position.seq if cause is None else cause
    position.cost, position.margin = position.cost - released, position.margin - unlocked
    position.lots -= lots
    if position.lots == 0:
        del account.positions[position.key]
    else:
        flags |= MORE
    fill = account.write(
        RecordKind.FILL,
        position.key,
        order_id=order_id,
        side=-side,
        qty=count,
        price=price,
        fee=fee,
        amount=amount,
        reason=reason,
        flags=flags,
        proposal=proposal,
        cause=cause,
    )
    account.write(RecordKind.POSITION, position.key, order_id=order_id, qty=held - count, amount=realised, cause=fill)
    return fill
