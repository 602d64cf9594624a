"""What the records of a ledger add up to: lots, costs and pending entries, by their own arithmetic and not the replay's."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.schema import MORE, NONE, Accounting, Reason, RecordKind
from engine.session import ReplayResult
from engine.splits import SPLIT
from engine.tape import Tape

Row = dict[str, Any]


def in_new_units(tape: Tape, symbol: int, price: float, since: int, until: int) -> float:
    """A price known at ``since`` after the splits from then until before ``until``.  # R8.1"""
    for i in range(int(tape.action_first[symbol]), int(tape.action_stop[symbol])):
        if tape.action_kind[i] == SPLIT and since <= tape.action_ts[i] < until:
            price = price * int(tape.action_den[i]) / int(tape.action_num[i])
    return price


class Book:
    """Lots, costs and pending entries, folded from the records; values are signed as in R6.4, and in quote money."""

    def __init__(self, result: ReplayResult) -> None:
        self.tape, self.scale = result.tape, result.settings.scale
        self.lots: dict[tuple[int, int], int] = defaultdict(int)
        self.costs: dict[tuple[int, int], int] = defaultdict(int)
        self.booked: dict[tuple[int, int], int] = {}  # when a record last moved or restated lots
        self.pending: dict[tuple[int, int], tuple[int, int]] = {}  # notional at the reference, signed by its side, and lots to fill
        self.orders: dict[tuple[int, int], int] = {}  # ids of the last entry orders
        self.proposals: dict[tuple[int, int], int] = {}  # of what is pending

    def value(self, symbol: int, lots: int, price: float) -> int:
        """Signed value (money) of lots at a price."""
        spec = self.tape.specs[symbol]
        quantity, multiplier = float(lots * spec["lot_units"] / spec["lot_power"]), float(spec["multiplier"])
        if spec["inverse"]:
            return -round(quantity * multiplier / price * self.scale)
        return round(quantity * price * multiplier * self.scale)

    def converted(self, symbol: int, quoted: int, ts: int) -> int:
        """Account money for quote money, at the last rate known at a time."""
        if not self.tape.specs["converts"][symbol]:
            return quoted
        first, stop = int(self.tape.rate_first[symbol]), int(self.tape.rate_stop[symbol])
        at = first + int(np.searchsorted(self.tape.rate_ts[first:stop], ts, side="right")) - 1
        return round(quoted * float(self.tape.rate[at]))

    def notional(self, row: Row) -> int:
        """Account money that the lots of a record stand for at its price."""
        return abs(self.converted(row["symbol"], self.value(row["symbol"], row["qty"], row["price"]), row["ts"]))

    def fold(self, row: Row) -> None:
        """Let one record move what it moves."""
        key = (row["symbol"], row["strategy"])
        if row["kind"] == RecordKind.APPROVED:
            self.pending[key] = row["side"] * self.notional(row), row["qty"]
            self.proposals[key] = row["proposal"]
        elif row["kind"] == RecordKind.ORDER and row["reason"] == Reason.NONE:
            self.orders[key] = row["order_id"]
        elif row["kind"] == RecordKind.SPLIT and row["order_id"] != NONE and key in self.pending:
            self.pending[key] = self.pending[key][0], row["qty"]
        elif row["kind"] == RecordKind.CANCELLED and key in self.pending and row["proposal"] == self.proposals[key]:
            del self.pending[key]
        elif row["kind"] == RecordKind.FILL:
            self._fill(key, row)
        elif row["kind"] == RecordKind.SPLIT and row["order_id"] == NONE:
            self.lots[key], self.booked[key] = row["qty"] if self.lots[key] > 0 else -row["qty"], row["ts"]
        elif row["kind"] == RecordKind.CASH_IN_LIEU:
            before = abs(self.lots[key]) * int(row["value"]) + row["qty"]
            self.costs[key] -= round(self.costs[key] * (row["qty"] / before)) if self.lots[key] else self.costs[key]
        elif row["kind"] == RecordKind.SETTLEMENT:
            self.costs[key] = self.value(row["symbol"], self.lots[key], row["price"])

    def _fill(self, key: tuple[int, int], row: Row) -> None:
        signed, held = row["side"] * row["qty"], self.lots[key]
        worth = self.value(row["symbol"], signed, row["price"])
        self.booked[key] = row["ts"]
        if held * signed >= 0:
            self.costs[key] += worth
            if not row["flags"] & MORE:
                self.pending.pop(key, None)
            elif key in self.pending:
                claimed, left = self.pending[key]
                self.pending[key] = claimed - round(claimed * (row["qty"] / left)), left - row["qty"]
        else:
            self.costs[key] -= round(self.costs[key] * (row["qty"] / abs(held))) if held + signed else self.costs[key]
        self.lots[key] = held + signed

    def marked(self, row: Row) -> Iterator[tuple[tuple[int, int], int]]:
        """Value at the mark of each position held, before or at the time of a record, in quote money."""
        for key, lots in self.lots.items():
            if lots:
                first, stop = int(self.tape.oldest[key[0]]), int(self.tape.stop[key[0]])
                at = first + int(np.searchsorted(self.tape.ts[first:stop], row["ts"], side="right")) - 1
                mark = in_new_units(self.tape, key[0], float(self.tape.mark[at]), int(self.tape.ts[at]), row["ts"])
                yield key, self.value(key[0], lots, mark)

    def exposures(self, row: Row, leaving: tuple[int, int] | None) -> list[int]:
        """Of positions, but those that an entry reverses or that make room for this one, and of pending entries.  # R4.2, R4.3"""
        staying = [worth for key, worth in self.exposed(row) if key != leaving and worth * self.pending.get(key, (0, 0))[0] >= 0]
        return staying + [worth for worth, _ in self.pending.values()]

    def equity(self, row: Row) -> int:
        """Cash of the record and what is held, at the marks."""
        total = int(row["cash"])
        for key, worth in self.marked(row):
            cost = 0 if self.spot(key) else self.costs[key]
            total += self.converted(key[0], worth - cost, self.valued(key, row))
        return total

    def spot(self, key: tuple[int, int]) -> bool:
        """Whether cash bought what is held."""
        return bool(self.tape.specs["accounting"][key[0]] == Accounting.SPOT)

    def valued(self, key: tuple[int, int], row: Row) -> int:
        """When a position was last valued: at its last close, or by a record since."""
        first, stop = int(self.tape.oldest[key[0]]), int(self.tape.stop[key[0]])
        at = first + int(np.searchsorted(self.tape.ts[first:stop], row["ts"], side="right")) - 1
        return max(int(self.tape.ts[at]), self.booked[key])

    def exposed(self, row: Row) -> Iterator[tuple[tuple[int, int], int]]:
        """Account money that each position stands for, signed by its side: of spot at its own last rate, of others at that of now."""
        for key, worth in self.marked(row):
            money = abs(self.converted(key[0], worth, self.valued(key, row) if self.spot(key) else row["ts"]))
            yield key, money if self.lots[key] > 0 else -money
