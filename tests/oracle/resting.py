"""What a bar does to the entries that wait for it: at its open, and inside.  # R2.4 R2.5 R3.1 R3.4"""

from typing import NamedTuple

from engine.schema import AMBIGUOUS, Intrabar, LimitGap, OrderType, Reason, TimeInForce
from tests.oracle.account import Account, Entry, Position
from tests.oracle.brackets import Reach, crossed_at_entry, gap_of, path, touched_after_entry
from tests.oracle.events import Bar, Market
from tests.oracle.fills import bracket_exit, fill_entry, quote, quote_open, take_exit
from tests.oracle.orders import end_immediate, limit_met, triggered


class Inside(NamedTuple):
    """How the path of a bar reaches an entry."""

    price: float
    maker: bool
    reach: Reach
    ambiguous: bool = False


def meet_open(account: Account, entry: Entry, market: Market, bar: Bar) -> None:
    """What the open of a bar does to an entry that may act in it."""
    side, settings = entry.proposal.side, account.settings
    met = quote_open(market, bar, side)
    fresh, entry.fresh = entry.fresh, False
    if entry.kind in (OrderType.STOP, OrderType.STOP_LIMIT) and triggered(entry, met.price):
        entry.kind = OrderType.MARKET if entry.kind == OrderType.STOP else OrderType.LIMIT
        fresh = True
    opened = None
    if entry.kind == OrderType.MARKET:
        opened = fill_entry(account, entry, market, bar, met)
    elif entry.kind == OrderType.LIMIT:
        assert entry.limit is not None
        touch = met.price + side * met.price * met.half_spread
        if fresh and side * (entry.limit - touch) >= 0:
            opened = fill_entry(account, entry, market, bar, met)
        elif entry.proposal.tif != TimeInForce.IOC and limit_met(entry, met.price, settings):
            price = entry.contract.on_tick(met.price, bar.open_ts, up=side > 0)
            if gap_of(settings, entry.contract) == LimitGap.PRICE or side * (price - entry.limit) > 0:
                price = entry.limit
            opened = fill_entry(account, entry, market, bar, met._replace(price=price), maker=True)
    if opened is not None and crossed_at_entry(opened, bar, settings):
        take_exit(account, opened, market, bar, quote_open(market, bar, -side), Reason.CROSSED_AT_ENTRY)
    end_immediate(account, entry)


def meet_path(account: Account, entry: Entry, market: Market, bar: Bar) -> None:
    """What the inside of a bar does to an entry that may act in it."""
    found = None
    if entry.kind == OrderType.LIMIT:
        found = _limit_inside(account, entry, bar)
    elif entry.kind != OrderType.MARKET:
        found = _stop_inside(account, entry, market, bar)
    if found is None:
        return
    met = quote(market, bar, found.price, bar.open_ts, at_open=True)
    opened = fill_entry(account, entry, market, bar, met, maker=found.maker, flags=AMBIGUOUS if found.ambiguous else 0)
    if opened is not None:
        opened.reach = found.reach


def _limit_inside(account: Account, entry: Entry, bar: Bar) -> Inside | None:
    side, settings = entry.proposal.side, account.settings
    assert entry.limit is not None
    points = path(bar, side, settings, of=side)
    segment = next((k for k in (1, 2, 3) if limit_met(entry, points[k], settings)), None)
    if segment is None:
        return None
    return Inside(entry.limit, True, Reach(bar, entry.limit, segment, low=side > 0, high=side < 0))


def _stop_inside(account: Account, entry: Entry, market: Market, bar: Bar) -> Inside | None:
    side, settings = entry.proposal.side, account.settings
    assert entry.trigger is not None
    points = path(bar, side, settings, of=side)
    segment = next((k for k in (1, 2, 3) if triggered(entry, points[k])), None)
    if segment is None:
        return None
    at_trigger = Reach(bar, entry.trigger, segment, low=side < 0, high=side > 0)
    if entry.kind == OrderType.STOP:
        entry.kind = OrderType.MARKET
        return Inside(entry.trigger, False, at_trigger)
    entry.kind = OrderType.LIMIT
    assert entry.limit is not None
    met = quote(market, bar, entry.trigger, bar.open_ts, at_open=True)
    if side * (entry.limit - (met.price + side * met.price * met.half_spread)) >= 0:
        return Inside(entry.trigger, False, at_trigger)
    if limit_met(entry, entry.trigger, settings):
        return Inside(entry.limit, True, at_trigger._replace(raw=entry.limit))
    return _back_to_limit(account, entry, bar, segment)


def _back_to_limit(account: Account, entry: Entry, bar: Bar, triggered_in: int) -> Inside | None:
    """A stop-limit whose price has to come back to its limit after the trigger.  # R3.4"""
    side, settings = entry.proposal.side, account.settings
    assert entry.limit is not None
    candle = bar.side(side)
    certain = limit_met(entry, candle.close, settings)
    possible = limit_met(entry, candle.low if side > 0 else candle.high, settings)
    points = path(bar, side, settings, of=side)
    segment = next((k for k in range(triggered_in + 1, 4) if limit_met(entry, points[k], settings)), None)
    if settings.intrabar == Intrabar.PESSIMISTIC:
        fills = certain
    elif settings.intrabar == Intrabar.OPTIMISTIC:
        fills = possible
    else:
        fills = segment is not None
    if not fills:
        return None
    # had the close not come back, only the extreme beyond the limit can have filled it, and so it came after
    reach = Reach(bar, entry.limit, segment or 3, low=side > 0 and not certain, high=side < 0 and not certain)
    return Inside(entry.limit, True, reach, ambiguous=possible != certain)


def leave_inside(account: Account, position: Position, market: Market, bar: Bar) -> None:
    """What the rest of its bar does to a position that was opened inside it."""
    found = touched_after_entry(position, bar, account.settings)
    if found.taken is not None:
        bracket_exit(account, position, market, bar, found.taken, at_open=True)
    elif found.ambiguous:
        account.records[position.seq - 1]["flags"] |= AMBIGUOUS
