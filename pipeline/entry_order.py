"""The order of an entry as it stood at a time: its type, limit and trigger.  # R2.1, R2.7"""

import math
from dataclasses import dataclass

from engine.round_trips import Row
from engine.schema import NONE, EventKind, OrderType, Reason, RecordKind
from pipeline.bar_lookup import Market, on_grid

ENTERS = (Reason.FILLED, Reason.PARTIAL, Reason.REVERSED)
"""Reasons of the fills of entries."""


@dataclass(frozen=True)
class EntryOrder:
    """Type and prices of an entry's order; NaN where it has none."""

    kind: OrderType
    limit: float
    trigger: float

    def prices(self) -> list[tuple[str, float]]:
        """Its prices by name."""
        return [(name, price) for name, price in (("trigger", self.trigger), ("limit", self.limit)) if not math.isnan(price)]


def entry_order(market: Market, row: Row) -> EntryOrder | None:
    """The order behind a record of an entry, in the units of its time; None where the record is of no entry."""
    proposal = row["proposal"]
    if proposal == NONE or (row["kind"] == RecordKind.FILL and row["reason"] not in ENTERS):
        return None
    table, symbol, side = market.proposals, row["symbol"], row["side"]
    kind, since = OrderType(int(table.order_type[proposal])), int(table.ts[proposal])
    decided = int(table.available_ts[proposal])
    until = row["ts"] + (row["phase"] > EventKind.CORPORATE_ACTION)

    def stands(price: float, *, up: bool) -> float:
        """A price on the tick, and put on it again at each split."""
        price = on_grid(market.restated(symbol, price, since, decided), market.tick(symbol, decided), up=up)
        for ts, num, den in market.splits(symbol, decided, until):
            price = on_grid(price * den / num, market.tick(symbol, ts), up=up)
        return price

    limited, triggered = kind in (OrderType.LIMIT, OrderType.STOP_LIMIT), kind in (OrderType.STOP, OrderType.STOP_LIMIT)
    return EntryOrder(
        kind,
        stands(float(table.limit_price[proposal]), up=side < 0) if limited else math.nan,
        stands(float(table.stop_price[proposal]), up=side > 0) if triggered else math.nan,
    )
