"""The account: cash, positions, pending orders and what they are worth; and the ledger it writes.  # R6"""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from engine.model_call import event_key
from engine.models import ModelKind
from engine.schema import DAY_US, NONE, OUTSIDE, RECORD, MarginMode, OrderType, Reason, RecordKind, SizeKind
from engine.settings import Settings
from tests.oracle.contract import Contract, checked, converted, name_number
from tests.oracle.events import Market
from tests.oracle.proposals import Proposal

Key = tuple[str, str]  # (symbol, strategy): the order of positions

FLOATS = ("price", "value")
MINUS_ONE = ("cause", "order_id", "proposal", "symbol", "strategy")
BLANK: dict[str, int | float] = {name: 0.0 if name in FLOATS else NONE if name in MINUS_ONE else 0 for name in RECORD.names or ()}

STANDING = (Reason.CONFLICT, Reason.DUPLICATE, Reason.POSITION_CLOSED)
"""Reasons for which a target ends while another decision about its position stands, or contradicts it."""


@dataclass
class ExitOrder:
    """A pending order that closes a position."""

    order_id: int
    seq: int  # of its ORDER record
    proposal: int
    reason: Reason
    acts_from: int  # it fills in bars that open at this time or later
    at_open: bool  # at an open; otherwise at a close
    lots: int | None = None  # that it is to close; None: all


@dataclass(eq=False)
class Entry:
    """An approved entry: it holds its reservation until it fills or ends."""

    proposal: Proposal
    contract: Contract
    lots: int  # signed
    reference: float
    value: int  # money, signed, at its reference
    reservation: int
    rank: int
    key: float  # that it was ranked by
    cause: int  # of its next record
    decided_close: float  # last close at the decision
    order_id: int = 0
    acts_from: int = 0
    victim: Key | None = None  # the position that it rotates out
    kind: OrderType = OrderType.MARKET
    limit: float | None = None
    trigger: float | None = None
    at_close: bool = False  # it is to fill at a close
    fresh: bool = True  # it has met no open yet
    bars: int = 0  # that closed and in which it could act
    begun: bool = False  # whether any of it has filled


@dataclass
class Level:
    """A target or a distance, and the time from which bars that open see it."""

    acts_from: int
    level: float


@dataclass(frozen=True)
class Change:
    """New levels, when they were made, and the time from which bars that open see them; None: stays as it is."""

    ts: int
    acts_from: int
    extreme: float | None = None
    stop: float | None = None
    target: float | None = None
    trailing: float | None = None
    break_even: float | None = None
    entry: float | None = None  # price that a break-even distance counts from
    closed: "Closed | None" = None  # the bar whose close it is


class Closed(NamedTuple):
    """A held bar at its close, and from when it may move the stop."""

    ts: int
    acts_from: int
    extreme: float
    high: float
    low: float
    close: float
    bars: int


@dataclass
class Stop:
    """A stop level and the time from which bars that open see it."""

    acts_from: int
    level: float
    reason: Reason


@dataclass(eq=False)
class Position:
    """What one strategy holds of one symbol."""

    key: Key
    contract: Contract
    side: int  # +1 long, -1 short
    lots: int  # signed
    price: float
    cost: int
    margin: int
    opened_ts: int
    order_id: int
    seq: int = NONE  # of its opening POSITION record
    stops: list[Stop] = field(default_factory=list)  # the levels it had, the present one last
    targets: list[Level] = field(default_factory=list)
    trailings: list[Level] = field(default_factory=list)  # distances
    break_evens: list[Level] = field(default_factory=list)
    entries: list[Level] = field(default_factory=list)  # prices that break-even distances count from
    acts_from: int = 0  # its bracket acts in bars that open at this time or later
    extreme: float = 0.0
    moves: list[Change] = field(default_factory=list)  # of its levels: what closes, adds and proposals did to them
    since: int = 0  # bars that open from then on move the extreme
    score: float = 0.0  # of the last proposal of its side, or what the user's selector made of it
    adds: int = 0
    max_bars: int = 0
    asks_model: bool = True  # whether its bracket stands, so that the user's exit model may move the stop
    bars: int = 0
    exit: ExitOrder | None = None
    reach: Any = None  # how its bar reached an entry that filled inside it
    refused: int | None = None  # seq of the record by which a target that was to turn it round came to nothing

    rate: float = 1.0  # account money for quote money when it was last valued

    def value(self, mark: float) -> int:
        """Account money that a spot position is worth at the mark, at the rate at which it was last valued."""
        quoted = self.contract.quoted(self.contract.quantity(self.lots), mark)
        return converted(quoted, self.rate) if self.contract.converts else quoted

    @property
    def leaves(self) -> bool:
        """Whether an order to close all of it is pending."""
        return self.exit is not None and self.exit.lots is None

    def unrealised(self, mark: float) -> int:
        """Value at the mark less cost; the profit is converted where the value is in quote money."""
        if self.contract.spot:
            return self.value(mark) - self.cost
        profit = self.contract.quoted(self.contract.quantity(self.lots), mark) - self.cost
        return round(profit * self.rate) if self.contract.converts else profit

    def revalue(self) -> None:
        """Take the rate of now."""
        self.rate = 1.0 if self.contract.rate is None else self.contract.rate

    @property
    def locked(self) -> int:
        """Cash that it keeps from other uses."""
        return self.margin + (abs(self.cost) if self.contract.spot and self.side < 0 else 0)


class Account:
    """One portfolio and its ledger."""

    def __init__(self, settings: Settings, markets: dict[str, Market]) -> None:
        self.settings = settings
        self.markets = markets
        self.now = settings.start_us
        self.phase = OUTSIDE  # the EventKind under way
        self.cash = settings.cash
        self.positions: dict[Key, Position] = {}
        self.entries: list[Entry] = []  # in approval order
        self.records: list[dict[str, Any]] = []
        self.orders = 0
        self._symbols = {symbol: place for place, symbol in enumerate(sorted(markets))}
        self._strategies = {name: place for place, name in enumerate(sorted(one.id for one in settings.strategies))}

    def write(self, kind: RecordKind, key: Key | None = None, **fields: Any) -> int:
        """Append a record and return its seq; fields that are not given do not apply."""
        record = BLANK | {"ts": self.now, "kind": int(kind), "cash": self.cash, "phase": int(self.phase)}
        if key is not None:
            held = self.positions.get(key)
            record["symbol"], record["strategy"] = self._symbols[key[0]], self._strategies[key[1]]
            record["position"] = held.lots if held else 0
        record |= {name: float(value) if name in FLOATS else int(value) for name, value in fields.items()}
        self.records.append(record)
        return len(self.records) - 1

    def event_key(self, seed: int, ts: int, key: Key) -> int:
        """Key of what happens to a (symbol, strategy) at a time, for draws.  # R9.2"""
        return event_key(seed, ts, name_number(key[0]), name_number(key[1]))

    def places(self, key: Key) -> tuple[int, int]:
        """Numbers of a symbol and a strategy, as the ledger writes them."""
        return self._symbols[key[0]], self._strategies[key[1]]

    def pay(self, symbol: str, amount: int) -> None:
        """Move cash."""
        self.cash = checked(symbol, self.cash + checked(symbol, amount))

    def tell_rate(self, key: Key) -> None:
        """CONVERSION, where a record is to come that uses a rate the ledger does not know."""
        contract = self.markets[key[0]].contract
        if contract.converts and contract.told != contract.rate:
            contract.told = contract.rate
            self.write(RecordKind.CONVERSION, key, value=contract.rate)

    def fee_bps(self, *, maker: bool) -> float:
        """The rate of a fill now: by tier, the notional filled in the 30 days before it, delistings and expiries aside.  # R2.6"""
        tiers = self.settings.fee_tiers
        if not tiers:
            return self.settings.maker_bps if maker else self.settings.taker_bps
        names = {place: symbol for symbol, place in self._symbols.items()}
        traded, rates = 0, dict[int, float]()
        for record in self.records:
            if record["kind"] == RecordKind.CONVERSION:
                rates[record["symbol"]] = record["value"]
            traded_now = record["kind"] == RecordKind.FILL and record["reason"] not in (Reason.DELISTED, Reason.EXPIRED)
            if traded_now and record["ts"] > self.now - 30 * DAY_US:
                contract = self.markets[names[record["symbol"]]].contract
                quoted = abs(contract.quoted(contract.quantity(record["qty"]), record["price"]))
                traded += round(quoted * rates[record["symbol"]]) if contract.converts else quoted
        tier = [one for one in tiers if round(one.from_notional * self.settings.scale) <= traded][-1]
        return tier.maker_bps if maker else tier.taker_bps

    def next_order_id(self) -> int:
        """Ids count from 1 in order of creation."""
        self.orders += 1
        return self.orders

    def in_order(self, symbol: str | None = None) -> list[Position]:
        """Positions by (symbol, strategy), of one symbol or of all."""
        return [self.positions[key] for key in sorted(self.positions) if symbol in (None, key[0])]

    def equity(self) -> int:
        """Cash, unrealised profit of linear and inverse positions and value of spot holdings, at the marks.  # R6.3, R6.4"""
        total = self.cash
        for position in self.positions.values():
            contract, mark = position.contract, self.markets[position.key[0]].mark
            checked(contract.symbol, position.cost)
            checked(contract.symbol, position.value(mark) if contract.spot else contract.quoted(contract.quantity(position.lots), mark))
            total += position.value(mark) if position.contract.spot else position.unrealised(mark)
        return checked("account", total)

    def freed_by_closing(self, position: Position) -> int:
        """Free cash that the end of a position brings at its mark, its margin aside.  # R5.2"""
        mark = self.markets[position.key[0]].mark
        if position.contract.spot and position.side > 0:
            return position.value(mark)
        isolated = self.settings.margin == MarginMode.ISOLATED and not position.contract.spot
        return position.unrealised(mark) if isolated else 0

    def free_cash(self, *, without: Entry | None = None) -> int:
        """Cash that a new entry may use; ``without`` leaves out one entry's own reservation."""
        free = self.cash - sum(entry.reservation for entry in self.entries if entry is not without)
        for position in self.positions.values():
            free -= position.locked
            isolated = self.settings.margin == MarginMode.ISOLATED and not position.contract.spot
            if not isolated and (not position.contract.spot or position.lots < 0):
                free += position.unrealised(self.markets[position.key[0]].mark)
        return free

    def order_exit(
        self,
        position: Position,
        reason: Reason,
        *,
        acts_from: int,
        at_open: bool,
        cause: int,
        proposal: int = NONE,
        lots: int | None = None,
    ) -> None:
        """Create the order that is to close a position, or so many of its lots; it takes the place of one to close some."""
        order_id, before = self.next_order_id(), position.exit
        seq = self.write(
            RecordKind.ORDER,
            position.key,
            order_id=order_id,
            side=-position.side,
            qty=abs(position.lots) if lots is None else lots,
            proposal=proposal,
            reason=reason,
            cause=cause,
        )
        if before is not None:
            self.cancel_exit(position, Reason.POSITION_CLOSED, seq)
        position.exit = ExitOrder(order_id, seq, proposal, reason, acts_from, at_open, lots)
        self.cancel_rest(position, seq)

    def cancel_exit(self, position: Position, reason: Reason, cause: int, lots: int | None = None) -> None:
        """End a position's pending exit unfilled."""
        order = position.exit
        assert order is not None
        position.exit = None
        self.write(
            RecordKind.CANCELLED,
            position.key,
            order_id=order.order_id,
            side=-position.side,
            qty=order.lots or (abs(position.lots) if lots is None else lots),
            proposal=order.proposal,
            reason=reason,
            cause=cause,
        )

    def cancel_rest(self, position: Position, cause: int) -> None:
        """End what a position still has pending to open, since it is being closed.  # R2.1"""
        for entry in [one for one in self.entries if one.proposal.key == position.key]:
            self.cancel_entry(entry, Reason.POSITION_CLOSED, cause)

    def cancel_entry(self, entry: Entry, reason: Reason, cause: int | None = None) -> None:
        """End a pending entry unfilled; the cause is its ORDER unless another is given."""
        self.entries.remove(entry)
        seq = self.write(
            RecordKind.CANCELLED,
            entry.proposal.key,
            order_id=entry.order_id,
            side=entry.proposal.side,
            qty=self.order_lots(entry),
            proposal=entry.proposal.row,
            reason=reason,
            cause=entry.cause if cause is None else cause,
        )
        self.note_refusal(entry.proposal, reason, seq)

    def note_refusal(self, proposal: Proposal, reason: Reason, seq: int) -> None:
        """Remember that a target which was to turn a position round came to nothing: the position is to close all the same.  # R5.3"""
        held = self.positions.get(proposal.key)
        turns = proposal.aimed and held is not None and math.isfinite(proposal.weight) and held.side != proposal.side
        if held is not None and turns and reason not in STANDING:
            held.refused = seq

    def is_unsized(self, entry: Entry) -> bool:
        """Whether an entry takes what cash pays for when it fills, and has not begun to.  # R5.1"""
        strategy = next(one for one in self.settings.strategies if one.id == entry.proposal.strategy)
        if entry.proposal.aimed or self.settings.model(ModelKind.SIZE) is not None:
            return False
        return self.settings.size_at_fill and strategy.size == SizeKind.ALL_IN and not entry.begun

    def order_lots(self, entry: Entry) -> int:
        """Lots of an entry's order: those it opens and, where it reverses a position, those it closes."""
        if self.is_unsized(entry):
            return 0
        held = self.positions.get(entry.proposal.key)
        return abs(entry.lots) + (abs(held.lots) if held is not None and held.side != entry.proposal.side else 0)

    def cancel_entries(self, reason: Reason, *, symbol: str | None = None) -> None:
        """End all pending entries, or those of one symbol, in approval order."""
        for entry in [one for one in self.entries if symbol in (None, one.proposal.symbol)]:
            self.cancel_entry(entry, reason)
