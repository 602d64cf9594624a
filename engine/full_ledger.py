"""Ledger level ``full``: the trades-level records among the market events that met a held or pending symbol.  # R11.3

The replay does not write these rows.  They follow from the records, which say when a symbol was held or pending, and from the market data; so
the level costs nothing until it is asked for.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.record_table import to_table
from engine.schema import COUNTED, MORE, NONE, Action, EventKind, Reason, RecordKind
from engine.session import ReplayResult
from engine.splits import DIVIDEND, SPLIT
from engine.tape import Tape


class Spans(NamedTuple):
    """When a symbol was held or pending: from after (start_ts, start_phase) through (stop_ts, stop_phase); shape (n,) each."""

    start_ts: NDArray[np.int64]
    start_phase: NDArray[np.int64]
    stop_ts: NDArray[np.int64]
    stop_phase: NDArray[np.int64]


def full_table(result: ReplayResult) -> Any:
    """The full ledger as an Arrow table, in event order.

    Market events and the proposals that are only counted have a null ``seq``; every row has an ``event`` number.  A bar event's ``price`` is
    what it makes known (open, close, mark); a funding event has mark and rate in ``price`` and ``value``, a snapshot the mid and the half-spread,
    a change of the universe 1 or 0 in ``value``, a
    dividend its amount in ``price``, a split its ratio in ``value``; a delisting has neither.
    """
    import pyarrow as pa

    records = to_table(result.records, result.symbols, result.strategies)
    events = pa.concat_tables([_event_table(result), _counted_table(result)]).select(records.column_names)
    table = pa.concat_tables([_plain(events), _plain(records)])
    phases = np.concatenate([_phase_keys(events), _record_keys(result)])
    times = table["ts"].cast("int64").to_numpy()
    order = np.lexsort((phases, times))
    table = table.take(pa.array(order)).combine_chunks()
    return table.append_column("event", pa.array(np.arange(table.num_rows, dtype=np.int64)))


def active_spans(result: ReplayResult) -> dict[int, Spans]:
    """When each symbol was held or pending, from the records."""
    records = result.records
    wanted = np.isin(records["kind"], (RecordKind.ORDER, RecordKind.FILL, RecordKind.POSITION, RecordKind.CANCELLED))
    names = ("ts", "phase", "kind", "reason", "symbol", "strategy", "order_id", "qty", "flags")
    active: dict[int, set[tuple[str, int]]] = {}
    found: dict[int, list[tuple[int, int, int, int]]] = {}
    began: dict[int, tuple[int, int]] = {}
    for ts, phase, kind, reason, symbol, strategy, order_id, qty, flags in records[wanted][list(names)].tolist():
        mine = active.setdefault(symbol, set())
        began.setdefault(symbol, (ts, phase))
        if kind == RecordKind.ORDER and reason == Reason.NONE:
            mine.add(("order", order_id))
        elif kind == RecordKind.FILL and not flags & MORE:
            mine.discard(("order", order_id))
        elif kind == RecordKind.POSITION and qty:
            mine.add(("position", strategy))
        elif kind == RecordKind.POSITION:
            mine.discard(("position", strategy))
        elif kind == RecordKind.CANCELLED:
            mine.discard(("order", order_id))
        if not mine and kind != RecordKind.FILL:
            found.setdefault(symbol, []).append((*began.pop(symbol), ts, phase))
    end = int(records["ts"][-1])
    for symbol, mine in active.items():
        if mine:
            found.setdefault(symbol, []).append((*began[symbol], end, max(EventKind)))
    return {symbol: Spans(*np.array(rows, np.int64).T) for symbol, rows in found.items()}


def _rows_in(spans: Spans, ts: NDArray[np.int64], phase: int) -> NDArray[np.int64]:
    """Places in ``ts`` of the events of a kind that fall into the spans."""
    low = np.where(phase > spans.start_phase, np.searchsorted(ts, spans.start_ts, "left"), np.searchsorted(ts, spans.start_ts, "right"))
    high = np.where(phase <= spans.stop_phase, np.searchsorted(ts, spans.stop_ts, "right"), np.searchsorted(ts, spans.stop_ts, "left"))
    lengths = np.maximum(high - low, 0)
    offsets = np.repeat(low - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    return np.asarray(np.arange(int(lengths.sum()), dtype=np.int64) + offsets)


def _symbol_events(tape: Tape, symbol: int) -> Iterator[tuple[EventKind, NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]]:
    """Kind, times, prices and values of all market events of a symbol in the run."""
    bars = slice(int(tape.first[symbol]), int(tape.stop[symbol]))
    none = np.zeros(bars.stop - bars.start)
    yield EventKind.BAR_OPEN, tape.open_ts[bars], tape.bid_open[bars], none
    yield EventKind.BAR_PATH, tape.ts[bars], tape.close[bars], none
    yield EventKind.CANDLE_CLOSE, tape.ts[bars], tape.mark[bars], none
    rows = slice(int(tape.funding_first[symbol]), int(tape.funding_stop[symbol]))
    yield EventKind.FUNDING_UPDATE, tape.funding_ts[rows], tape.funding_mark[rows], tape.funding_rate[rows]
    rows = slice(int(tape.spread_first[symbol]), int(tape.spread_stop[symbol]))
    bid, ask = tape.spread_bid[rows], tape.spread_ask[rows]
    yield EventKind.SPREAD_SNAPSHOT, tape.spread_ts[rows], (bid + ask) / 2, (ask - bid) / (ask + bid)
    rows = slice(int(tape.universe_first[symbol]), int(tape.universe_stop[symbol]))
    listed = tape.universe_listed[rows].astype(np.float64)
    yield EventKind.UNIVERSE_UPDATED, tape.universe_ts[rows], np.zeros(len(listed)), listed
    rows = slice(int(tape.action_first[symbol]), int(tape.action_stop[symbol]))
    paid = np.where(tape.action_kind[rows] == DIVIDEND, tape.action_value[rows], 0.0)
    ratio = np.where(tape.action_kind[rows] == SPLIT, tape.action_num[rows] / np.maximum(tape.action_den[rows], 1), 0.0)
    yield EventKind.CORPORATE_ACTION, tape.action_ts[rows], paid, ratio


def _event_table(result: ReplayResult) -> Any:
    import pyarrow as pa

    parts: dict[str, list[Any]] = {name: [] for name in ("ts", "phase", "symbol", "price", "value")}
    for symbol, spans in sorted(active_spans(result).items()):
        for kind, ts, price, value in _symbol_events(result.tape, symbol):
            rows = _rows_in(spans, ts, kind)
            for name, column in (("ts", ts[rows]), ("price", price[rows]), ("value", value[rows])):
                parts[name].append(column)
            parts["phase"].append(np.full(len(rows), kind, np.int64))
            parts["symbol"].append(np.full(len(rows), symbol, np.int64))
    columns = {name: np.concatenate(arrays) if arrays else np.empty(0) for name, arrays in parts.items()}
    kinds = pa.array(columns["phase"].astype(np.int32))
    names = pa.array([kind.name for kind in EventKind])
    phase = pa.DictionaryArray.from_arrays(kinds, names)
    symbols = pa.DictionaryArray.from_arrays(pa.array(columns["symbol"].astype(np.int32)), pa.array(result.symbols))
    given = {
        "ts": pa.array(columns["ts"].astype(np.int64)).cast(pa.timestamp("us", "UTC")),
        "phase": phase,
        "kind": phase,
        "symbol": symbols,
        "price": pa.array(columns["price"].astype(np.float64)),
        "value": pa.array(columns["value"].astype(np.float64)),
    }
    return _with_nulls(given, len(columns["ts"]), result)


def _counted_table(result: ReplayResult) -> Any:
    import pyarrow as pa

    rows = np.flatnonzero(np.isin(result.outcomes, COUNTED))
    proposals = result.proposals
    text = pa.DictionaryArray.from_arrays
    reasons = {int(reason): reason.name for reason in COUNTED}
    given = {
        "ts": pa.array(proposals.available_ts[rows]).cast(pa.timestamp("us", "UTC")),
        "phase": pa.array([EventKind.TRADE_PROPOSED.name] * len(rows), pa.string()).dictionary_encode(),
        "kind": pa.array([RecordKind.REJECTED.name] * len(rows), pa.string()).dictionary_encode(),
        "reason": pa.array([reasons[code] for code in result.outcomes[rows].tolist()], pa.string()).dictionary_encode(),
        "symbol": text(pa.array(proposals.symbol[rows]), pa.array(result.symbols)),
        "strategy": text(pa.array(proposals.strategy[rows]), pa.array(result.strategies)),
        "proposal": pa.array(rows.astype(np.int64)),
        "side": pa.array(
            np.where(proposals.action[rows] == Action.ENTER_LONG, 1, np.where(proposals.action[rows] == Action.ENTER_SHORT, -1, 0)).astype(
                np.int8
            )
        ),
        "value": pa.array(np.nan_to_num(proposals.score[rows], nan=0.0)),
    }
    return _with_nulls(given, len(rows), result)


def _with_nulls(given: dict[str, Any], n: int, result: ReplayResult) -> Any:
    """A table of the ledger's columns, null where none is given."""
    import pyarrow as pa

    schema = to_table(result.records[:0], result.symbols, result.strategies).schema
    columns = [given[field.name] if field.name in given else pa.nulls(n, field.type) for field in schema]
    plain = _plain(pa.table(columns, schema.names))
    return plain.cast(_plain(to_table(result.records[:0], result.symbols, result.strategies)).schema)


def _plain(table: Any) -> Any:
    """Dictionary columns as text, so that tables can be put together."""
    import pyarrow as pa

    columns = [column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column for column in table.columns]
    return pa.table(dict(zip(table.column_names, columns, strict=True)))


def _phase_keys(events: Any) -> NDArray[np.int64]:
    """Order within an instant of market events: before the records of their phase."""
    codes = {kind.name: 2 * int(kind) for kind in EventKind}
    return np.array([codes[name] for name in events["phase"].to_pylist()], np.int64)


def _record_keys(result: ReplayResult) -> NDArray[np.int64]:
    """The same of records: after the events of their phase, the deposit before all."""
    keys = 2 * result.records["phase"].astype(np.int64) + 1
    keys[result.records["kind"] == RecordKind.DEPOSIT] = NONE
    return np.asarray(keys)
