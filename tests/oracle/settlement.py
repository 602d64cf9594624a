"""Futures: marked to market into cash each day, closed when they expire.  # R1.2 R6.2"""

from collections.abc import Iterator

from engine.instrument import Instrument
from engine.schema import DAY_US, EventKind, Reason, RecordKind
from tests.oracle.account import Account
from tests.oracle.events import Event
from tests.oracle.fills import close_lots


def settlement_events(instrument: Instrument, first: int, last: int) -> Iterator[Event]:
    """The settlements of a future from ``first`` to ``last``, and its expiry, which comes in place of the day's settlement."""
    if not instrument.is_future:
        return
    expiry = last + 1 if instrument.expiry is None else instrument.expiry
    day = first // DAY_US * DAY_US + instrument.settlement
    for number, ts in enumerate(range(day, min(last + 1, expiry), DAY_US)):
        if ts >= first:
            yield Event(ts, EventKind.SETTLEMENT, instrument.symbol, 0, "", number, "settle")
    if expiry <= last:
        yield Event(expiry, EventKind.SETTLEMENT, instrument.symbol, 0, "", 0, "expire")


def settlement(account: Account, event: Event) -> None:
    """One symbol settles, or ends."""
    if event.payload == "expire":
        expire(account, event.symbol)
    else:
        settle(account, event.symbol)


def settle(account: Account, symbol: str) -> None:
    """What a position has gained or lost at its mark goes into cash, and it counts from the mark on."""
    mark = account.markets[symbol].mark
    for position in account.in_order(symbol):
        account.tell_rate(position.key)
        value = position.contract.value(position.lots, mark)
        amount, position.cost = position.contract.in_account(value - position.cost), value
        account.pay(symbol, amount)
        account.write(RecordKind.SETTLEMENT, position.key, qty=abs(position.lots), price=mark, amount=amount, cause=position.seq)


def expire(account: Account, symbol: str) -> None:
    """Pending entries end, positions are closed at the mark without a fee, and no entry comes after."""
    market = account.markets[symbol]
    market.expired = True
    account.cancel_entries(Reason.EXPIRED, symbol=symbol)
    for position in account.in_order(symbol):
        close_lots(account, position, abs(position.lots), market.mark, None, Reason.EXPIRED)
