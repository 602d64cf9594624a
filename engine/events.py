"""What a session tells its subscribers besides the market: frozen events with names, not codes.

The market's own events are those of ``engine.mux``.  A ``Record`` is one record of the ledger; the others tell what the ledger does not:
the beginning, the equity sample, the account after an instant, the end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

from engine.instrument import Decimals, Instrument
from engine.mux import Event
from engine.schema import AMBIGUOUS, MAKER, MORE, NONE, OUTSIDE, RECORD, EventKind, Reason, RecordKind
from engine.view import PendingOrder, Position

MARKET_KINDS = tuple(
    kind.name for kind in EventKind if any(kind == event.kind for event in Event.__subclasses__()) and kind != EventKind.TRADE_PROPOSED
)
"""Kinds of market event.  # R1.2"""

LEDGER_KINDS = tuple(kind.name for kind in RecordKind if kind != RecordKind.RUN_END)
SESSION_KINDS = ("START", "WARMUP_END", "VALUATION", "PORTFOLIO_STATE", "END")
KINDS = (*SESSION_KINDS, *MARKET_KINDS, *LEDGER_KINDS)
"""Every kind that can be subscribed to."""

FLAGS: Mapping[int, str] = {AMBIGUOUS: "ambiguous", MAKER: "maker", MORE: "more"}


@dataclass(frozen=True, slots=True)
class Start:
    """The session begins; ``ts`` is that of the first event it delivers."""

    name: ClassVar[str] = "START"

    ts: int
    symbols: tuple[str, ...]
    strategies: tuple[str, ...]
    start_us: int
    cash: int  # money units
    decimals: int


@dataclass(frozen=True, slots=True)
class WarmupEnd:
    """From here on proposals count; ``ts`` is the start of the run."""

    name: ClassVar[str] = "WARMUP_END"

    ts: int


@dataclass(frozen=True, slots=True)
class Valuation:
    """The equity sample.  # R5.3"""

    name: ClassVar[str] = "VALUATION"

    ts: int
    equity: int  # money units
    decimals: int

    @property
    def equity_decimal(self) -> Decimal:
        """In account currency."""
        return _money(self.equity, self.decimals)


@dataclass(frozen=True, slots=True)
class PortfolioState:
    """The account after an instant that wrote records."""

    name: ClassVar[str] = "PORTFOLIO_STATE"

    ts: int
    cash: int  # money units
    equity: int  # money units
    free: int  # money units
    positions: tuple[Position, ...]
    orders: tuple[PendingOrder, ...]
    decimals: int

    @property
    def cash_decimal(self) -> Decimal:
        """In account currency."""
        return _money(self.cash, self.decimals)

    @property
    def equity_decimal(self) -> Decimal:
        """In account currency."""
        return _money(self.equity, self.decimals)


@dataclass(frozen=True, slots=True)
class End:
    """The run has ended."""

    name: ClassVar[str] = "END"

    ts: int
    reason: str  # RUN_ENDED or BANKRUPT
    equity: int  # money units
    decimals: int

    @property
    def equity_decimal(self) -> Decimal:
        """In account currency."""
        return _money(self.equity, self.decimals)


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the ledger (docs/ledger.md); a field that does not apply is None, or 0 where the ledger has 0.  # R11.1"""

    ts: int
    seq: int
    name: str  # of its RecordKind
    phase: str  # EventKind at which it was written; empty outside of all
    symbol: str | None
    strategy: str | None
    reason: str
    side: int  # +1 buy, -1 sell
    lots: int
    price: float
    fee: int  # money units
    amount: int  # money units
    cash: int  # money units, after the record
    position: int  # signed lots of (strategy, symbol), after the record
    value: float
    order_id: int | None
    proposal: int | None  # row of the run's proposals
    cause: int | None  # seq of the record that led here
    rank: int
    flags: tuple[str, ...]
    decimals: int
    lot: Decimals

    @property
    def quantity(self) -> Decimal:
        """Of the lots, in units of the instrument."""
        return _quantity(self.lots, self.lot)

    @property
    def position_quantity(self) -> Decimal:
        """Held after the record, in units of the instrument."""
        return _quantity(self.position, self.lot)

    @property
    def fee_decimal(self) -> Decimal:
        """In account currency."""
        return _money(self.fee, self.decimals)

    @property
    def amount_decimal(self) -> Decimal:
        """In account currency."""
        return _money(self.amount, self.decimals)

    @property
    def cash_decimal(self) -> Decimal:
        """In account currency."""
        return _money(self.cash, self.decimals)


class Deposited(Record):
    """Money came in."""

    __slots__ = ()


class Proposed(Record):
    """An entry that was selected, or an exit that became an order."""

    __slots__ = ()


class Selected(Record):
    """An entry got a slot."""

    __slots__ = ()


class Approved(Record):
    """The gate passed an entry; ``amount`` is reserved."""

    __slots__ = ()


class Rejected(Record):
    """A proposal ended without an order."""

    __slots__ = ()


class Ordered(Record):
    """An order exists."""

    __slots__ = ()


class Filled(Record):
    """Money and lots moved."""

    __slots__ = ()


class PositionChanged(Record):
    """What a fill left of a position."""

    __slots__ = ()


class FundingPaid(Record):
    """Funding of a settlement was paid or received."""

    __slots__ = ()


class InterestPaid(Record):
    """A day's interest was paid, on a short or (without a symbol) on the account's debt."""

    __slots__ = ()


class Settled(Record):
    """A future was marked to market: ``amount`` went into cash."""

    __slots__ = ()


class Cancelled(Record):
    """A pending order ended unfilled."""

    __slots__ = ()


class RiskAlert(Record):
    """A halt started."""

    __slots__ = ()


TYPES: Mapping[str, type[Record]] = {
    "DEPOSIT": Deposited,
    "PROPOSAL": Proposed,
    "SELECTED": Selected,
    "APPROVED": Approved,
    "REJECTED": Rejected,
    "ORDER": Ordered,
    "FILL": Filled,
    "POSITION": PositionChanged,
    "FUNDING": FundingPaid,
    "INTEREST": InterestPaid,
    "SETTLEMENT": Settled,
    "CANCELLED": Cancelled,
    "RISK_ALERT": RiskAlert,
}
"""Type of each kind of record; a plain ``Record`` for the others."""

Told = Event | Start | WarmupEnd | Valuation | PortfolioState | End | Record
"""Anything a handler may be given; each has ``ts`` and ``name``."""


KIND_NAMES = {int(kind): kind.name for kind in RecordKind}
PHASE_NAMES = {int(kind): kind.name for kind in EventKind} | {OUTSIDE: ""}
REASON_NAMES = {int(reason): reason.name for reason in Reason}


class RecordReader:
    """Turns rows of the ledger's array into events."""

    def __init__(self, symbols: Sequence[str], strategies: Sequence[str], instruments: Sequence[Instrument], decimals: int) -> None:
        self._symbols, self._strategies, self.decimals = symbols, strategies, decimals
        lots = {instrument.symbol: instrument.base_lot for instrument in instruments}
        self._lots = [*(lots[symbol] for symbol in symbols), Decimals(1, 1)]  # the last is of records of the whole account

    def read(self, seq: int, row: tuple[Any, ...]) -> Record:
        """The event of a record, given as a plain tuple in the order of ``engine.schema.RECORD``."""
        field = dict(zip(RECORD.names or (), row, strict=True))
        name, symbol, strategy, flags = KIND_NAMES[field["kind"]], field["symbol"], field["strategy"], field["flags"]
        return TYPES.get(name, Record)(
            ts=field["ts"],
            seq=seq,
            name=name,
            phase=PHASE_NAMES[field["phase"]],
            symbol=None if symbol == NONE else self._symbols[symbol],
            strategy=None if strategy == NONE else self._strategies[strategy],
            reason=REASON_NAMES[field["reason"]],
            side=field["side"],
            lots=field["qty"],
            price=field["price"],
            fee=field["fee"],
            amount=field["amount"],
            cash=field["cash"],
            position=field["position"],
            value=field["value"],
            order_id=None if field["order_id"] == NONE else field["order_id"],
            proposal=None if field["proposal"] == NONE else field["proposal"],
            cause=None if field["cause"] == NONE else field["cause"],
            rank=field["rank"],
            flags=tuple(word for bit, word in FLAGS.items() if flags & bit) if flags else (),
            decimals=self.decimals,
            lot=self._lots[symbol],
        )


def _money(units: int, decimals: int) -> Decimal:
    return Decimal(units).scaleb(-decimals)


def _quantity(lots: int, lot: Decimals) -> Decimal:
    return Decimal(lots * lot.units) / Decimal(lot.power)
