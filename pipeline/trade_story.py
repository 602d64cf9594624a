"""What the parts of an explanation are told from: one trade's records, its chain, its levels, and the market where it is there."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from engine.round_trips import RoundTrip, Row, causes
from engine.schema import NONE, EventKind, RecordKind, StopFrom
from pipeline.fill_price import FillPrice, fill_price
from pipeline.levels import Asked, Levels, asked_of, levels_of
from pipeline.stored_run import StoredRun
from pipeline.wording import Words, moment, span_text

if TYPE_CHECKING:
    from pipeline.bar_lookup import Market
    from pipeline.result import Result

MOST_LISTED = 8


@dataclass
class Part:
    """One step of the chain: sentences for a reader, and the same as plain values under ``key`` (its name if empty)."""

    name: str
    lines: list[str] = field(default_factory=list)
    data: Any = None
    key: str = ""


class Story:
    """One trade of a stored run.

    Attributes
    ----------
    entries, exits
        ``seq`` of its fills.
    chain
        ``seq`` of the records that led to its first fill, by kind.
    market
        None where the run could not be replayed.
    """

    def __init__(self, stored: StoredRun, number: int, result: "Result | None") -> None:
        self.stored, self.number, self.result = stored, number, result
        self.trip: RoundTrip = stored.fold.trips[number - 1]
        self.rows: list[Row] = stored.rows
        self.words = Words(stored.ledger, stored.rows)
        fills = [seq for seq in self.trip.records if self.rows[seq]["kind"] == RecordKind.FILL]
        self.entries = [seq for seq in fills if self.rows[seq]["side"] == self.trip.side]
        self.exits = [seq for seq in fills if self.rows[seq]["side"] != self.trip.side]
        self.chain = {RecordKind(self.rows[seq]["kind"]): seq for seq in causes(self.rows, self.entries[0])}

    @cached_property
    def market(self) -> "Market | None":
        """Tape, proposals and settings of the replay."""
        from pipeline.bar_lookup import Market

        replay = self.result.replay if self.result else None
        return Market(replay.tape, replay.proposals, replay.settings) if replay else None

    @cached_property
    def levels(self) -> Levels | None:
        """Its stop and target; None without the market or a proposal, where a split restates them, or a model of the user's moves them."""
        first, end = self.rows[self.entries[0]], self.trip.exit_ts or int(self.rows[-1]["ts"]) + 1
        if self.market is None or first["proposal"] == NONE:
            return None
        asked = asked_of(self.market, first["proposal"], first["ts"], first["price"], self.trip.side)
        changes, touched = [one for _, one in self.asked if one.ts < end], first["phase"] == EventKind.BAR_PATH
        return levels_of(self.market, first["proposal"], asked, self.trip.side, end, changes, touched=touched)

    @cached_property
    def asked(self) -> list[tuple[int, Asked]]:
        """``seq`` of what changed its levels, and what it asked for."""
        if self.market is None:
            return []
        found = [(seq, self._asked(self.market, self.rows[seq])) for seq in self.changes]
        return [(seq, one) for seq, one in found if one.says_something]

    def _asked(self, market: "Market", row: Row) -> Asked:
        added = row["kind"] == RecordKind.FILL
        price = row["price"] if added else float(market.tape.close[market.proposals.row[row["proposal"]]])
        later = added and row["phase"] == EventKind.BAR_OPEN and market.settings.stop_from == StopFrom.NEXT_BAR
        inside = added and row["phase"] == EventKind.BAR_PATH
        return asked_of(market, row["proposal"], row["ts"], price, self.trip.side, added=added, later=later, inside=inside)

    @cached_property
    def changes(self) -> list[int]:
        """``seq`` of what may have changed its levels: new levels, and the first fill of each add.  # R4.3"""
        known, found = {self.rows[self.entries[0]]["proposal"]}, []
        for seq in self.trip.records:
            row = self.rows[seq]
            if row["kind"] == RecordKind.LEVELS or (seq in self.entries and row["proposal"] not in known):
                known.add(row["proposal"])
                found.append(seq)
        return found

    @cached_property
    def adds(self) -> int:
        """How many later entries added to it."""
        return sum(1 for seq in self.changes if self.rows[seq]["kind"] == RecordKind.FILL)

    def price(self, seq: int) -> FillPrice | None:
        """The price of one of its fills, worked out again; None where it cannot be."""
        if self.market is None:
            return None
        row = self.rows[seq]
        return fill_price(self.market, row, self.levels, self._entered(row), self._together(seq))

    def _entered(self, row: Row) -> float:
        """Raw price at which the inside of the bar that a fill is in opened the trade; NaN elsewhere."""
        first = self.rows[self.entries[0]]
        same = row["phase"] == first["phase"] == EventKind.BAR_PATH and row["ts"] == first["ts"]
        found = fill_price(self.market, first, None) if same and self.market is not None and row is not first else None
        return found.raw if found is not None else float("nan")

    def _together(self, seq: int) -> int:
        """Lots of a reversal, both of its fills; else those of the fill.  # R6.4"""
        row, total = self.rows[seq], 0
        for other in self.rows[max(0, seq - 8) : seq + 9]:
            of_one = (other["order_id"], other["ts"], other["phase"], other["price"]) == (
                row["order_id"],
                row["ts"],
                row["phase"],
                row["price"],
            )
            total += other["qty"] if other["kind"] == RecordKind.FILL and of_one else 0
        return total

    def headline(self) -> str:
        """The trade in one line."""
        trip = self.trip
        side = "long" if trip.side > 0 else "short"
        until = f"to {moment(trip.exit_ts)}, {span_text(trip.exit_ts - trip.entry_ts)}" if not trip.open else "and still open at the end"
        return (
            f"trade {self.number} of run {self.stored.summary['run_id']}: {trip.symbol} {side} by {trip.strategy}, "
            f"{moment(trip.entry_ts)} {until}, {self.words.amount(trip.pnl)} {self.stored.summary['currency']}"
        )

    def rule(self, name: str) -> str | None:
        """Text of one of the strategy's rules, where the config has it."""
        config = next((one for one in self.stored.config.strategies if one.id == self.trip.strategy), None)
        found = (config.propose or {}).get(name) if config else None
        return found if isinstance(found, str) else None
