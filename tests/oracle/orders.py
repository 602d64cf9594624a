"""What an entry order is: its prices on the tick, and for how long it may act.  # R2.1 R2.7"""

import math

from engine.schema import LimitTouch, OrderType, Reason, RecordKind, TimeInForce, Timing
from engine.settings import Settings
from tests.oracle.account import Account, Entry
from tests.oracle.contract import Contract
from tests.oracle.events import Action, Bar, Market
from tests.oracle.proposals import Proposal


def limit_of(proposal: Proposal, market: Market, now: int) -> float | None:
    """The limit, off-tick ones on the passive side; None where the order has none, NaN where it is no price."""
    if proposal.order_type not in (OrderType.LIMIT, OrderType.STOP_LIMIT):
        return None
    return rounded(market.contract, market.restated(proposal).limit_price, now, up=proposal.side < 0)


def trigger_of(proposal: Proposal, market: Market, now: int) -> float | None:
    """The trigger, off-tick ones away from the market; None where the order has none, NaN where it is no price."""
    if proposal.order_type not in (OrderType.STOP, OrderType.STOP_LIMIT):
        return None
    return rounded(market.contract, market.restated(proposal).stop_price, now, up=proposal.side > 0)


def rounded(contract: Contract, price: float, now: int, *, up: bool) -> float:
    """A price on the tick; NaN where it is none."""
    if not (math.isfinite(price) and price > 0):
        return math.nan
    rounded = contract.on_tick(price, now, up=up)
    return rounded if rounded > 0 else math.nan


def reference_of(proposal: Proposal, market: Market, now: int) -> float:
    """The price at which an entry is sized and judged: its limit, else its trigger, else the last close.  # R5.1"""
    limit, trigger = limit_of(proposal, market, now), trigger_of(proposal, market, now)
    return limit if limit is not None else trigger if trigger is not None else market.last_close


def is_invalid(proposal: Proposal, market: Market, now: int) -> bool:
    """Whether an entry lacks a price that its type needs, or is good till a time that has come.  # R4.1"""
    prices = (limit_of(proposal, market, now), trigger_of(proposal, market, now))
    return any(price is not None and math.isnan(price) for price in prices) or (
        proposal.tif == TimeInForce.GTD and proposal.tif_value <= now
    )


def rest(account: Account, entry: Entry) -> None:
    """Make an approved entry an order.  # R2.3"""
    proposal, settings = entry.proposal, account.settings
    entry.kind = proposal.order_type
    market = account.markets[proposal.symbol]
    entry.limit, entry.trigger = limit_of(proposal, market, account.now), trigger_of(proposal, market, account.now)
    entry.at_close = entry.kind == OrderType.MARKET and settings.timing != Timing.NEXT_OPEN
    entry.order_id = account.next_order_id()
    entry.acts_from = account.now + settings.latency_us
    entry.cause = account.write(
        RecordKind.ORDER,
        proposal.key,
        order_id=entry.order_id,
        side=proposal.side,
        qty=account.order_lots(entry),
        price=entry.limit or entry.trigger or 0.0,
        value=entry.trigger or 0.0,
        flags=proposal.order_type + 4 * proposal.tif,
        proposal=proposal.row,
        cause=entry.cause,
    )


def split_prices(entry: Entry, split: Action, now: int) -> bool:
    """The order's prices for the new shares, on the tick again; whether it still has those that it needs.  # R8.1"""
    side, contract = entry.proposal.side, entry.contract
    entry.decided_close = split.price(entry.decided_close)
    if entry.limit is not None:
        entry.limit = rounded(contract, split.price(entry.limit), now, up=side < 0)
    if entry.trigger is not None:
        entry.trigger = rounded(contract, split.price(entry.trigger), now, up=side > 0)
    return not any(price is not None and math.isnan(price) for price in (entry.limit, entry.trigger))


def acts_in(entry: Entry, bar: Bar) -> bool:
    """Whether a bar is one in which the order may act."""
    late = entry.proposal.tif == TimeInForce.GTD and bar.ts > entry.proposal.tif_value
    return bar.open_ts >= entry.acts_from and not late


def is_old(entry: Entry, bar: Bar, interval_us: int) -> bool:
    """Whether the order can act in no bar after this one.  # R2.1"""
    if entry.proposal.tif == TimeInForce.BARS:
        return entry.bars >= entry.proposal.tif_value
    return entry.proposal.tif == TimeInForce.GTD and bar.ts + interval_us > entry.proposal.tif_value


def expire(account: Account, entry: Entry, bar: Bar, interval_us: int) -> None:
    """Count a bar that closes, and end the order with the last in which it could act; one that is to fill at this close comes later."""
    if bar.open_ts >= entry.acts_from:
        entry.bars += 1
    if is_old(entry, bar, interval_us) and not (entry.at_close and acts_in(entry, bar)):
        account.cancel_entry(entry, Reason.EXPIRED)


def limit_met(entry: Entry, price: float, settings: Settings) -> bool:
    """Whether a price fills the resting limit.  # R2.4"""
    assert entry.limit is not None
    beyond = entry.proposal.side * (entry.limit - price)
    return beyond > 0 or (beyond == 0 and settings.limit_touch == LimitTouch.TOUCH)


def triggered(entry: Entry, price: float) -> bool:
    """Whether a price triggers the stop."""
    assert entry.trigger is not None
    return entry.proposal.side * (price - entry.trigger) >= 0


def end_immediate(account: Account, entry: Entry) -> None:
    """What is left of an IOC order after its one chance ends.  # R2.6"""
    if entry in account.entries and entry.proposal.tif == TimeInForce.IOC:
        account.cancel_entry(entry, Reason.IMMEDIATE)
