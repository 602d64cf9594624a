"""Round trips: each (strategy, symbol) from flat to flat, folded out of ledger records.

Owns which records belong to a trade and what they moved.  It folds by kind and by the change of cash, so it asks neither how many
fills a trade took nor which kinds of payment there are; trade ``n`` is row ``n`` of ``trades.parquet``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from engine.ledger import Ledger
from engine.schema import NONE, RECORD, Reason, RecordKind

Row = dict[str, Any]

DECISIONS = frozenset(
    {RecordKind.PROPOSAL, RecordKind.SELECTED, RecordKind.APPROVED, RecordKind.ORDER, RecordKind.REJECTED, RecordKind.CANCELLED}
    | {RecordKind.CONVERSION}
)
"""Kinds that decide something and move neither lots nor money."""


@dataclass
class RoundTrip:
    """One trade, and the records that made it.

    Attributes
    ----------
    decided_ts
        Time of the record that began the chain to its first fill, us, UTC.
    records
        ``seq`` of its fills, positions, payments and changes of level, in order.
    lots
        Opened, all entry fills together, in the units of the exit: exact, whatever a split rounded away.
    realised, fees, funding
        Money units; the settlements of a future are realised.
    flows
        Money units of every other kind of payment, by kind.
    exit_ts, exit_reason
        Of the fill that made it flat; 0 and NONE while open.
    """

    strategy: str
    symbol: str
    side: int
    decided_ts: int
    entry_ts: int
    records: list[int] = field(default_factory=list)
    lots: Fraction = Fraction(0)
    realised: int = 0
    fees: int = 0
    funding: int = 0
    flows: dict[str, int] = field(default_factory=dict)
    exit_ts: int = 0
    exit_reason: int = Reason.NONE
    open: bool = True

    @property
    def pnl(self) -> int:
        """Net profit in money units, without what an open position would bring.  # R6.4"""
        return self.realised - self.fees + self.funding + sum(self.flows.values())

    def key(self) -> tuple[str, str, int, int]:
        """What makes it the same trade in another run: who decided what, and when."""
        return self.strategy, self.symbol, self.side, self.decided_ts


@dataclass
class Fold:
    """A whole ledger: its trades, and the money that moved outside of them."""

    trips: list[RoundTrip] = field(default_factory=list)
    deposits: int = 0
    flows: dict[str, int] = field(default_factory=dict)
    final_equity: int = 0

    @property
    def unrealised(self) -> int:
        """What the positions left open would bring at their marks: all of the final equity that no record moved."""
        return self.final_equity - self.deposits - sum(self.flows.values()) - sum(trip.pnl for trip in self.trips)


def rows_of(ledger: Ledger) -> list[Row]:
    """Records as dictionaries of plain values."""
    names = RECORD.names or ()
    return [dict(zip(names, row, strict=True)) for row in ledger.records.tolist()]


def causes(rows: list[Row], seq: int) -> Iterator[int]:
    """``seq`` and every record that led to it, latest first."""
    while seq != NONE:
        yield seq
        seq = rows[seq]["cause"]


def fold(ledger: Ledger) -> Fold:
    """Fold a ledger into round trips."""
    rows = rows_of(ledger)
    folded, current, lots, cash = Fold(), dict[tuple[int, int], RoundTrip](), dict[tuple[int, int], int](), 0
    for seq, row in enumerate(rows):
        moved, cash = row["cash"] - cash, row["cash"]
        slot = row["strategy"], row["symbol"]
        if NONE in slot:
            _account(folded, row, moved)
            continue
        before, lots[slot] = lots.get(slot, 0), row["position"]
        if row["kind"] in DECISIONS or (row["kind"] == RecordKind.SPLIT and row["order_id"] != NONE):
            continue  # a pending entry's lots are nobody's yet
        if row["kind"] == RecordKind.FILL and before == 0 and row["position"] != 0:
            current[slot] = _begin(ledger, rows, seq)
            folded.trips.append(current[slot])
        if slot in current:
            _book(current[slot], rows, seq, moved)
        else:
            _account(folded, row, moved)
    return folded


def _account(folded: Fold, row: Row, moved: int) -> None:
    if row["kind"] == RecordKind.DEPOSIT:
        folded.deposits += moved
    elif row["kind"] == RecordKind.RUN_END:
        folded.final_equity = row["amount"]
    elif moved:
        _add(folded.flows, row["kind"], moved)


def _begin(ledger: Ledger, rows: list[Row], seq: int) -> RoundTrip:
    row = rows[seq]
    root = list(causes(rows, seq))[-1]
    names = ledger.strategies[row["strategy"]], ledger.symbols[row["symbol"]]
    return RoundTrip(*names, side=row["side"], decided_ts=rows[root]["ts"], entry_ts=row["ts"])


def _book(trip: RoundTrip, rows: list[Row], seq: int, moved: int) -> None:
    row = rows[seq]
    trip.records.append(seq)
    if row["kind"] == RecordKind.FILL:
        trip.fees += row["fee"]
        trip.lots += row["qty"] if row["side"] == trip.side else 0
    elif row["kind"] == RecordKind.POSITION:
        _profit(trip, rows[row["cause"]]["kind"], row["amount"])
    elif row["kind"] == RecordKind.FUNDING:
        trip.funding += moved
    elif row["kind"] == RecordKind.SETTLEMENT:
        trip.realised += moved
    elif row["kind"] == RecordKind.SPLIT:
        trip.lots *= Fraction(row["value"])
    elif moved and not (rows[seq + 1]["kind"] == RecordKind.POSITION and rows[seq + 1]["cause"] == seq):
        _add(trip.flows, row["kind"], moved)
    if row["position"] == 0 and row["kind"] != RecordKind.POSITION and trip.open:
        trip.open, trip.exit_ts, trip.exit_reason = row["kind"] == RecordKind.SPLIT, row["ts"], row["reason"]


def _profit(trip: RoundTrip, kind: int, realised: int) -> None:
    """Book what a POSITION says was realised to what realised it."""
    if kind == RecordKind.FILL:
        trip.realised += realised
    elif realised:
        _add(trip.flows, kind, realised)


def _add(flows: dict[str, int], kind: int, moved: int) -> None:
    name = RecordKind(kind).name.lower()
    flows[name] = flows.get(name, 0) + moved
