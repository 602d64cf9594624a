"""What a strategy may look at: market data up to now, and inside a session the account as it stands.

Everything handed out is read-only: slices that cannot be written to, and tuples.
"""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.dataset import COLUMNS, Dataset
from engine.instrument import Decimals, Instrument
from engine.schema import Accounting, OrderType
from engine.state import State


class ViewError(ValueError):
    """Something that cannot be looked at; the message says what was asked for and what there is."""


class Bar(NamedTuple):
    """The last closed candle."""

    open_ts: int  # us, UTC
    ts: int  # us, UTC; the close
    open: float
    high: float
    low: float
    close: float
    volume: float


class Position(NamedTuple):
    """What a strategy holds of a symbol."""

    symbol: str
    strategy: str
    lots: int  # signed
    quantity: Decimal  # signed
    cost: int  # money units, signed: of its opening fills (of a future of its last settlement); of a margined position in the currency of its prices
    value: int  # money units, signed: at the mark; likewise
    unrealised: int  # money units of the account
    stop: float  # NaN: none
    target: float  # NaN: none
    exit_pending: bool


class PendingOrder(NamedTuple):
    """An order that has not filled."""

    order_id: int
    symbol: str
    strategy: str
    role: str  # entry or exit
    side: int  # +1 buy, -1 sell
    lots: int
    reserved: int  # money units
    order_type: str = "market"  # what it is by now: a stop that was triggered is a market order
    limit: float = math.nan  # NaN: none
    trigger: float = math.nan


class Rows(Mapping[str, NDArray[Any]]):
    """Columns of some rows of a series, each read-only."""

    __slots__ = ("_columns", "_rows")

    def __init__(self, columns: Mapping[str, NDArray[Any]], first: int, stop: int) -> None:
        self._columns, self._rows = columns, slice(first, stop)

    def __getitem__(self, name: str) -> NDArray[Any]:
        array = self._columns[name][self._rows]
        array.flags.writeable = False
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def n(self) -> int:
        """How many rows there are."""
        return self._rows.stop - self._rows.start


@dataclass
class Arrays:
    """The arrays of a session as they stand; the session and its view share it, so that neither holds the other and both go at once."""

    state: State


class Account:
    """Reads a session's account."""

    def __init__(self, symbols: Sequence[str], strategies: Sequence[str], instruments: Sequence[Instrument], arrays: Arrays) -> None:
        lots = {instrument.symbol: instrument.base_lot for instrument in instruments}
        self._symbols, self._strategies, self._arrays = symbols, strategies, arrays
        self._lots = [lots[symbol] for symbol in symbols]

    def cash(self) -> int:
        """Money units."""
        return int(self._arrays.state.account[0]["cash"])

    def equity(self) -> int:
        """Money units."""
        account = self._arrays.state.account[0]
        return int(account["cash"]) + int(account["open_value"])

    def free(self) -> int:
        """Money units that no position and no pending entry lays claim to."""
        account = self._arrays.state.account[0]
        return int(account["cash"]) + int(account["open_profit"]) - int(account["locked"]) - int(account["reserved"])

    def positions(self) -> tuple[Position, ...]:
        """All positions, by symbol and strategy."""
        state = self._arrays.state
        return tuple(self._position(state, slot) for slot in state.held[: int(state.account[0]["n_held"])].tolist())

    def orders(self) -> tuple[PendingOrder, ...]:
        """Pending entries in approval order, then pending exits by symbol and strategy."""
        state = self._arrays.state
        account, n = state.account[0], len(self._strategies)
        found = []
        for slot in state.queue[: int(account["n_queue"])].tolist():
            order = state.entries[slot]
            found.append(self._entry(order, slot))
        for slot in state.held[: int(account["n_held"])].tolist():
            position = state.positions[slot]
            if position["exit_id"] != 0:
                names = self._symbols[slot // n], self._strategies[slot % n]
                lots = int(position["exit_lots"]) or abs(int(position["lots"]))
                found.append(PendingOrder(int(position["exit_id"]), *names, "exit", -int(position["side"]), lots, 0))
        return tuple(found)

    def _entry(self, order: Any, slot: int) -> PendingOrder:
        kind, n = OrderType(int(order["kind"])), len(self._strategies)
        limit = float(order["limit"]) if kind in (OrderType.LIMIT, OrderType.STOP_LIMIT) else math.nan
        trigger = float(order["trigger"]) if kind in (OrderType.STOP, OrderType.STOP_LIMIT) else math.nan
        numbers = int(order["order_id"]), self._symbols[slot // n], self._strategies[slot % n]
        sizes = int(order["side"]), int(order["lots"]), int(order["reserved"])
        return PendingOrder(*numbers, "entry", *sizes, kind.name.lower(), limit, trigger)

    def _position(self, state: State, slot: int) -> Position:
        position, n = state.positions[slot], len(self._strategies)
        lots, cost, value = int(position["lots"]), int(position["cost"]), int(position["value"])
        converted = position["converts"] and position["accounting"] != Accounting.SPOT
        return Position(
            self._symbols[slot // n],
            self._strategies[slot % n],
            lots,
            _quantity(lots, self._lots[slot // n]),
            cost,
            value,
            int(position["profit"]) if converted else value - cost,
            float(position["stop"]),
            float(position["target"]),
            bool(position["exit_id"] != 0),
        )


class View:
    """What is known at an instant.

    Attributes
    ----------
    now
        The instant, us, UTC.
    symbols
        Symbols of the run.
    """

    def __init__(self, dataset: Dataset, symbols: Sequence[str], interval: str = "", account: Account | None = None) -> None:
        self.now, self.symbols = -1, tuple(symbols)
        self._dataset, self._interval, self._account = dataset, interval, account
        self._execution: dict[str, str] = {}
        self._found: dict[tuple[str, str, str], tuple[Mapping[str, NDArray[Any]], NDArray[np.int64]]] = {}

    def latest(self, symbol: str, interval: str = "") -> Bar | None:
        """The last bar closed by now; None before the first.

        Parameters
        ----------
        interval
            Name of the series, such as ``4h``; empty: the one the run executes on.
        """
        columns, ts = self._series("bars", symbol, interval)
        at = int(ts.searchsorted(self.now, "right")) - 1
        return Bar(*(columns[name][at].item() for name in Bar._fields)) if at >= 0 else None

    def history(self, symbol: str, interval: str = "", n: int | None = None, kind: str = "bars") -> Rows:
        """The last ``n`` rows known by now (None: all of them), oldest first, by column.

        Parameters
        ----------
        kind
            ``bars``, ``marks``, ``funding``, ``spread``, ``universe`` or ``actions``.
        """
        columns, ts = self._series(kind, symbol, interval)
        if n is not None and n < 0:
            raise ViewError(f"history of {symbol}: n is {n}; it is a number of rows, or None for all")
        stop = int(ts.searchsorted(self.now, "right"))
        return Rows(columns, 0 if n is None else max(0, stop - n), stop)

    def intervals(self, symbol: str) -> tuple[str, ...]:
        """Names of the bar series of a symbol, the shortest first."""
        return tuple(series.name for series in self._dataset.series.get("bars", ()) if series.symbol == symbol)

    def execution_interval(self, symbol: str) -> str:
        """Name of the series of a symbol that the run executes on."""
        if symbol not in self._execution:
            series = self._dataset.find("bars", symbol, self._interval)
            self._execution[symbol] = "" if series is None else series.name
        return self._execution[symbol]

    def refuse_account(self, kinds: Sequence[str]) -> None:
        """Refuse kinds of event that only an account brings.

        Raises
        ------
        ViewError
            If there is any.
        """
        if kinds:
            self._known(f"events of kind {', '.join(kinds)}")

    @property
    def positions(self) -> tuple[Position, ...]:
        """Positions held, by symbol and strategy."""
        return self._known("positions").positions()

    @property
    def orders(self) -> tuple[PendingOrder, ...]:
        """Orders that have not filled."""
        return self._known("orders").orders()

    @property
    def equity(self) -> int:
        """Money units."""
        return self._known("equity").equity()

    @property
    def cash(self) -> int:
        """Money units."""
        return self._known("cash").cash()

    def position(self, symbol: str, strategy: str) -> Position | None:
        """What a strategy holds of a symbol."""
        return next((one for one in self.positions if (one.symbol, one.strategy) == (symbol, strategy)), None)

    def _known(self, what: str) -> Account:
        if self._account is None:
            raise ViewError(f"{what}: there is no account where proposals are made ahead of the replay; run the strategy in a session")
        return self._account

    def _series(self, kind: str, symbol: str, interval: str) -> tuple[Mapping[str, NDArray[Any]], NDArray[np.int64]]:
        key = (kind, symbol, interval)
        if key not in self._found:
            self._found[key] = self._find(kind, symbol, interval)
        return self._found[key]

    def _find(self, kind: str, symbol: str, interval: str) -> tuple[Mapping[str, NDArray[Any]], NDArray[np.int64]]:
        if kind not in COLUMNS:
            raise ViewError(f"there are no {kind!r} to look at; kinds are {', '.join(COLUMNS)}")
        if symbol not in self.symbols:
            near = difflib.get_close_matches(str(symbol), self.symbols, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(self.symbols[:8])}"
            raise ViewError(f"{symbol!r} is not a symbol of this run{hint}")
        named = interval or (self._interval if kind in ("bars", "marks") else "")
        series = self._dataset.find(kind, symbol, named)
        if series is None and kind == "bars":
            raise ViewError(f"{symbol} has no bars at {named!r}; it has {', '.join(self.intervals(symbol))}")
        if series is None:
            empty = {name: np.empty(0, np.int64) for name in COLUMNS[kind]}
            return empty, empty["ts"]
        columns = self._dataset.view(kind, series)
        return columns, columns["ts"]


def _quantity(lots: int, lot: Decimals) -> Decimal:
    return Decimal(lots * lot.units) / Decimal(lot.power)
