"""Interest by the day: on shorts of spot instruments, and on the account's debt.  # R6.4"""

from collections.abc import Sequence

from engine.instrument import DatedRate
from engine.schema import DAY_US, RecordKind
from tests.oracle.account import Account

DAYS_A_YEAR = 365


def midnights(first: int, last: int) -> list[int]:
    """Every 00:00 UTC from ``first`` to ``last``."""
    begin = -(-first // DAY_US) * DAY_US
    return list(range(begin, last + 1, DAY_US))


def rate_at(rates: Sequence[DatedRate], ts: int) -> float:
    """The rate in force, 0 before the first."""
    return ([0.0] + [one.rate for one in rates if one.from_us <= ts])[-1]


def charge(account: Account) -> None:
    """At 00:00, after funding: every short of a spot instrument, in position order, then the debt that there is by then."""
    if account.now % DAY_US != 0:
        return
    for position in account.in_order():
        rate = rate_at(position.contract.instrument.borrow, account.now)
        if not (position.contract.spot and position.side < 0 and rate > 0):
            continue
        price = account.markets[position.key[0]].last_close
        account.tell_rate(position.key)
        amount = -round(abs(position.contract.notional(position.lots, price)) * (rate / DAYS_A_YEAR))
        account.pay(position.key[0], amount)
        qty = abs(position.lots)
        account.write(RecordKind.INTEREST, position.key, qty=qty, price=price, value=rate, amount=amount, cause=position.seq)
    rate = rate_at(account.settings.interest, account.now)
    if account.cash < 0 and rate > 0:
        amount = -round(-account.cash * (rate / DAYS_A_YEAR))
        account.pay("account", amount)
        account.write(RecordKind.INTEREST, value=rate, amount=amount)
