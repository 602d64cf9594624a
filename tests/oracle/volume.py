"""How much of a bar the orders of its symbol may fill.  # R2.6"""

import math

from tests.oracle.account import Account
from tests.oracle.events import Bar, Market


def left(account: Account, market: Market, bar: Bar, wanted: int, *, promised: int = 0) -> int:
    """Lots, up to those wanted, that the bar has left, those ``promised`` to others aside."""
    settings = account.settings
    if not math.isfinite(settings.participation):
        return wanted
    before = market.bar if market.bar is not bar else market.bar_before
    volume = bar.volume if settings.participation_current else before.volume if before is not None else 0.0
    most = max(0, market.contract.whole_lots(settings.participation * volume, account.now))
    return max(0, min(wanted, most - market.filled.get(bar.open_ts, 0) - promised))


def take(market: Market, bar: Bar, lots: int) -> None:
    """Count what a fill took."""
    market.filled[bar.open_ts] = market.filled.get(bar.open_ts, 0) + lots
