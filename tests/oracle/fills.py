"""Fills: the price a taker pays, how an entry opens a position, how anything closes one.  # R2"""

import math
from collections.abc import Callable
from typing import NamedTuple

from engine.driver import ReplayError, no_price
from engine.model_call import event_key
from engine.models import ModelKind
from engine.schema import AMBIGUOUS, MAKER, MORE, NONE, EventKind, OrderType, Reason, RecordKind, Slippage
from engine.settings import Settings
from tests.oracle.account import Account, Entry, Position
from tests.oracle.brackets import Exit, add_levels, attach
from tests.oracle.contract import MONEY_LIMIT, Contract, checked, name_number
from tests.oracle.events import Bar, Market
from tests.oracle.volume import left, take


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
    key = event_key(settings.seed, met.open_ts, name_number(contract.symbol), side + 1)
    told = (met.price, quantity, met.volume, met.half_spread, float(side), key)
    if fill is not None:
        price = fill.function(*told)
    elif slippage is not None:
        price = met.price + side * met.price * (met.half_spread + slippage.function(*told))
    return contract.on_tick(price, met.ts, up=side > 0)


def fill_entry(
    account: Account, entry: Entry, market: Market, bar: Bar, met: Quote, *, maker: bool = False, flags: int = 0
) -> Position | None:
    """Fill what the bar has left and free cash pays for; the position, if this opens one or begins to add to it.  # R2.6 R4.3 R5.2"""
    contract, side = entry.contract, entry.proposal.side
    held = account.positions.get(entry.proposal.key)
    if held is not None and held.side != side:
        return reverse_position(account, held, entry, market, bar, met, maker=maker, flags=flags)
    step, unsized = contract.step(account.now), account.is_unsized(entry)
    if unsized:
        entry.lots = side * most_payable(contract, met.price)
    if abs(entry.lots) < step:
        account.cancel_entry(entry, Reason.BELOW_MIN_QTY)
        return None
    wanted = left(account, market, bar, abs(entry.lots), promised=market.promised) // step * step
    if wanted == 0:
        return None
    free, bps = account.free_cash(without=entry), account.fee_bps(maker=maker)

    def fits(count: int) -> bool:
        """The cost of a buy at its own price; a sale gets less the larger it is, and is judged by the best it may get."""
        price = entry_price(account, entry, count if side > 0 else 0, met, maker=maker)
        return contract.outlay(side * count, price, bps, maker=maker) <= free

    lots = most_lots(wanted, fits, step)
    if lots == 0:
        account.cancel_entry(entry, Reason.INSUFFICIENT_CASH)
        return None
    if unsized:
        wanted, entry.lots = lots, side * lots
    take(market, bar, lots)
    price = entry_price(account, entry, lots, met, maker=maker)
    opened = fill_lots(account, entry, bar, lots, price, flags | (MAKER if maker else 0))
    end_rest(account, entry, unpaid=lots < wanted)
    return opened


def most_payable(contract: Contract, price: float) -> int:
    """Lots so many that no account pays for more.  # R6.3"""
    each = contract.quantity(1) * contract.unit_value(price) * contract.settings.scale
    return int(min(MONEY_LIMIT / 2, MONEY_LIMIT / 2 / each))


def end_rest(account: Account, entry: Entry, *, unpaid: bool) -> None:
    """End what a fill leaves of an entry, if it could not be paid or is less than a lot of the time."""
    if unpaid:
        account.cancel_entry(entry, Reason.INSUFFICIENT_CASH)
    elif 0 < abs(entry.lots) < entry.contract.step(account.now):
        account.cancel_entry(entry, Reason.BELOW_MIN_QTY)


def reverse_position(
    account: Account, held: Position, entry: Entry, market: Market, bar: Bar, met: Quote, *, maker: bool, flags: int
) -> Position | None:
    """Close a position and open the other side by one order, whose fee is split by lots; what closes comes first.  # R2.6 R6.4"""
    contract, side, before = entry.contract, entry.proposal.side, abs(held.lots)
    mark, bps, step = account.markets[held.key[0]].mark, account.fee_bps(maker=maker), contract.step(account.now)

    def fits(count: int) -> bool:
        """Whether cash pays for so many lots of the new side, the old one closed, at the price of both together."""
        price = entry_price(account, entry, before + count if side > 0 else 0, met, maker=maker)
        profit = contract.value(held.lots, price) - held.cost
        moved = (profit if contract.spot else contract.in_account(profit)) - held.unrealised(mark)
        freed = moved + held.margin + account.freed_by_closing(held)
        claim = contract.notional(count, price) if contract.spot and side > 0 else contract.margin(side * count, price)
        return claim + contract.fee(before + count, price, bps, maker=maker) <= account.free_cash(without=entry) + freed

    unsized = account.is_unsized(entry)
    if unsized:
        entry.lots = side * most_payable(contract, met.price)
    room = left(account, market, bar, before + abs(entry.lots) // step * step, promised=market.promised)
    closed = min(room, before)
    if closed == 0:
        return None
    wanted = (room - closed) // step * step
    lots = most_lots(wanted, fits, step) if closed == before else 0
    if unsized and closed == before:
        wanted, entry.lots = lots, side * lots
    price = entry_price(account, entry, closed + lots, met, maker=maker)
    fee = contract.fee(closed + lots, price, bps, maker=maker)
    first = round(fee * (closed / (closed + lots)))
    take(market, bar, closed + lots)
    order = {"order_id": entry.order_id, "proposal": entry.proposal.row, "cause": entry.cause}
    marks = flags | (MAKER if maker else 0)
    seq = reduce_position(account, held, closed, price, None, Reason.REVERSED, flags=marks | MORE, fee=first, **order)
    if closed < before:
        return None
    if held.exit is not None:
        account.cancel_exit(held, Reason.POSITION_CLOSED, seq, closed)
    opened = fill_lots(account, entry, bar, lots, price, marks, fee=fee - first) if lots > 0 else None
    end_rest(account, entry, unpaid=lots < wanted or (unsized and lots == 0))
    return opened


def entry_price(account: Account, entry: Entry, lots: int, met: Quote, *, maker: bool) -> float:
    """Price of an entry's fill; a limit is never filled beyond its own.  # R2.5"""
    side = entry.proposal.side
    if maker:
        return met.price
    price = taker_price(entry.contract, account.settings, side, lots, met)
    if entry.kind == OrderType.LIMIT and entry.limit is not None:
        return min(price, entry.limit) if side > 0 else max(price, entry.limit)
    return price


def most_lots(limit: int, fits: Callable[[int], bool], step: int = 1) -> int:
    """The largest count in steps up to ``limit`` that fits, where every smaller one does too."""
    low, high = 0, limit // step
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle * step) else (low, middle - 1)
    return low * step


def fill_lots(account: Account, entry: Entry, bar: Bar, lots: int, price: float, flags: int, fee: int | None = None) -> Position | None:
    """Book a fill of an entry, which opens a position or comes to the one its order opened before.  # R2.6 R5.2"""
    proposal, whole, part = entry.proposal, lots == abs(entry.lots), lots / abs(entry.lots)
    released = entry.reservation if whole else round(entry.reservation * part)
    value = entry.value if whole else round(entry.value * part)
    entry.reservation, entry.value = entry.reservation - released, entry.value - value
    entry.lots -= proposal.side * lots
    begins_to_add, entry.begun = proposal.key in account.positions and not entry.begun, True
    position, opens = account.positions.get(proposal.key), proposal.key not in account.positions
    if position is None:
        begins = bar.open_ts if account.phase == EventKind.BAR_PATH else account.now
        position = Position(proposal.key, entry.contract, proposal.side, 0, price, 0, 0, begins, entry.order_id)
        account.positions[proposal.key] = position
    seq = add_lots(account, position, entry, proposal.side * lots, price, flags if whole else flags | MORE, fee)
    if whole:
        account.entries.remove(entry)
    if begins_to_add:
        position.adds += 1
        add_levels(account, position, entry, price)
    if not opens:
        return position if begins_to_add and account.phase != EventKind.BAR_PATH else None
    position.score = entry.key
    position.seq = seq
    attach(account, position, entry)
    return position


def require_price(account: Account, contract: Contract, price: float) -> None:
    """A fill on the market has a price.  # R2.7"""
    if not price > 0:
        raise ReplayError(no_price(contract.symbol, account.settings.models))


def add_lots(account: Account, position: Position, entry: Entry, lots: int, price: float, flags: int, fee: int | None = None) -> int:
    """Book an opening fill; the seq of its POSITION.  # R6.2 R6.4"""
    contract = position.contract
    require_price(account, contract, price)
    account.tell_rate(position.key)
    cost = checked(contract.symbol, contract.value(lots, price))
    maker = bool(flags & MAKER)
    fee = contract.fee(lots, price, account.fee_bps(maker=maker), maker=maker) if fee is None else fee
    amount = -cost - fee if contract.spot else -fee
    account.pay(contract.symbol, amount)
    position.lots += lots
    position.cost += cost
    position.margin += contract.margin(lots, price)
    position.revalue()
    fill = account.write(
        RecordKind.FILL,
        position.key,
        order_id=entry.order_id,
        side=entry.proposal.side,
        qty=abs(lots),
        price=price,
        fee=fee,
        amount=amount,
        reason=Reason.PARTIAL if flags & MORE else Reason.FILLED,
        flags=flags,
        proposal=entry.proposal.row,
        cause=entry.cause,
    )
    return account.write(RecordKind.POSITION, position.key, order_id=entry.order_id, qty=abs(position.lots), price=price, cause=fill)


def take_exit(account: Account, position: Position, market: Market, bar: Bar, met: Quote, reason: Reason, flags: int = 0) -> None:
    """Leave a position as a taker, led to by its opening; what the bar has no volume for becomes a market order.  # R2.6"""
    lots = left(account, market, bar, abs(position.lots))
    if lots > 0:
        price = taker_price(position.contract, account.settings, -position.side, lots, met)
        take(market, bar, lots)
        close_lots(account, position, lots, price, account.fee_bps(maker=False), reason, flags=flags)
    if position.lots == 0:
        return
    position.stops, position.targets, position.trailings, position.break_evens, position.moves = [], [], [], [], []
    position.asks_model = False
    if position.exit is None or position.exit.lots is not None:
        account.order_exit(position, reason, acts_from=account.now, at_open=True, cause=position.seq)
    else:
        position.exit.acts_from, position.exit.at_open = account.now, True


def close_at_market(account: Account, position: Position, reason: Reason) -> None:
    """Close a position at its last close as a taker, by force: whatever the volume."""
    met = quote_close(account.markets[position.key[0]], -position.side, account.now)
    price = taker_price(position.contract, account.settings, -position.side, position.lots, met)
    close_lots(account, position, abs(position.lots), price, account.fee_bps(maker=False), reason)


def bracket_exit(account: Account, position: Position, market: Market, bar: Bar, found: Exit, *, at_open: bool) -> None:
    """Leave a position at a stop (a taker) or a target (a maker) of its own."""
    flags = AMBIGUOUS if found.ambiguous else 0
    if not found.maker:
        take_exit(account, position, market, bar, quote(market, bar, found.price, bar.open_ts, at_open=at_open), found.reason, flags)
        return
    lots = left(account, market, bar, abs(position.lots))
    if lots > 0:
        take(market, bar, lots)
        close_lots(account, position, lots, found.price, account.fee_bps(maker=True), found.reason, flags=flags | MAKER)


def fill_exit(account: Account, position: Position, market: Market, bar: Bar, met: Quote) -> None:
    """Fill a position's pending exit as a taker; what is left waits for the next open.  # R2.6"""
    order = position.exit
    assert order is not None
    wanted = abs(position.lots) if order.lots is None else min(order.lots, abs(position.lots))
    lots = left(account, market, bar, wanted)
    if lots > 0:
        price = taker_price(position.contract, account.settings, -position.side, lots, met)
        take(market, bar, lots)
        ends = lots == wanted
        if order.lots is not None:
            order.lots -= lots
        if ends:
            position.exit = None
        reason, bps, order_id = order.reason, account.fee_bps(maker=False), order.order_id
        close_lots(account, position, lots, price, bps, reason, order_id=order_id, proposal=order.proposal, cause=order.seq, ends=ends)
    order.acts_from, order.at_open = account.now, True


def close_lots(
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
    ends: bool = False,
) -> None:
    """Close lots of a position; closed whole, it ends an exit that was still pending.  ``fee_bps`` None is free of any fee."""
    held = abs(position.lots)
    fill = reduce_position(
        account, position, count, price, fee_bps, reason, flags=flags, order_id=order_id, proposal=proposal, cause=cause, ends=ends
    )
    if position.exit is not None and count == held:
        account.cancel_exit(position, Reason.POSITION_CLOSED, fill, held)
    account.cancel_rest(position, fill)


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
    fee: int | None = None,
    ends: bool = False,
) -> int:
    """Close so many lots of a position; the seq of the FILL.  ``ends``: its order has no more to fill, whatever is held.  # R6.4"""
    contract, side, held = position.contract, position.side, abs(position.lots)
    if reason not in (Reason.DELISTED, Reason.EXPIRED):
        require_price(account, contract, price)
    account.tell_rate(position.key)
    lots, part = side * count, count / held
    released = round(position.cost * part) if count < held else position.cost
    unlocked = round(position.margin * part) if count < held else position.margin
    worth = contract.value(lots, price)
    realised = worth - released if contract.spot else contract.in_account(worth - released)
    if fee is None:
        fee = 0 if fee_bps is None else contract.fee(lots, price, fee_bps, maker=bool(flags & MAKER))
    if reason == Reason.LIQUIDATED:
        fee += round(abs(contract.notional(lots, price)) * account.settings.liquidation_fee)
    amount = (worth if contract.spot else realised) - fee
    account.pay(contract.symbol, amount)
    order_id = position.order_id if order_id is None else order_id
    cause = position.seq if cause is None else cause
    position.cost, position.margin = position.cost - released, position.margin - unlocked
    position.lots -= lots
    position.revalue()
    if position.lots == 0:
        del account.positions[position.key]
    elif not ends:
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
