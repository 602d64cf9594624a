"""The proposals of a run as the replay reads them: frozen arrays, sorted, each with the last bar closed when it is known."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.arrays import Blanks, Floats, Ints, frozen
from engine.block import Block, column
from engine.schema import NONE, OPTIONAL_COLUMNS, PROPOSAL_COLUMNS, Action, OrderType, TimeInForce, default_of
from engine.settings import Settings
from engine.tape import Tape


class Proposals(Block):
    """Proposals of a run, sorted by (available_ts, symbol, strategy, sequence); shape (n_proposals,), read-only."""

    available_ts: Ints = column(np.int64)
    ts: Ints = column(np.int64)
    symbol: NDArray[np.int32] = column(np.int32)
    strategy: NDArray[np.int32] = column(np.int32)
    action: NDArray[np.int8] = column(np.int8)
    score: Floats = column(np.float64)
    stop_loss: Floats = column(np.float64)
    stop_loss_kind: NDArray[np.int8] = column(np.int8)
    take_profit: Floats = column(np.float64)
    take_profit_kind: NDArray[np.int8] = column(np.int8)
    trailing: Floats = column(np.float64)
    trailing_kind: NDArray[np.int8] = column(np.int8)
    break_even: Floats = column(np.float64)
    break_even_kind: NDArray[np.int8] = column(np.int8)
    max_bars: Ints = column(np.int64)
    order_type: NDArray[np.int8] = column(np.int8)
    limit_price: Floats = column(np.float64)
    stop_price: Floats = column(np.float64)
    tif: NDArray[np.int8] = column(np.int8)
    tif_value: Ints = column(np.int64)
    row: Ints = column(np.int64)  # last bar of the symbol closed at available_ts; -1 if none
    weight: Floats = column(np.float64)  # this and the following have shape (0,) where the table has no such column
    volatility: Floats = column(np.float64)
    win_probability: Floats = column(np.float64)
    payoff: Floats = column(np.float64)
    leg: Ints = column(np.int64)


class ProposalError(ValueError):
    """A proposal table that cannot be used; the message names the row, the value, the rule and the mend."""


def build_proposals(
    columns: Mapping[str, Any], symbols: Sequence[str], strategies: Sequence[str], tape: Tape, settings: Settings
) -> Proposals:
    """Lower a proposal table (``engine.schema.PROPOSAL_COLUMNS``) to sorted arrays.

    Parameters
    ----------
    columns
        ``symbol`` and ``strategy`` are names, or integer codes into ``symbols`` and ``strategies``.
    symbols, strategies
        Names the codes stand for, in any order.

    Raises
    ------
    ProposalError
        If a name is not of the run, an action is unknown, two proposals have one place in the order (R1.5), or one claims to be
        known before its bar closed (R1.7).
    """
    n = len(columns["ts"])
    names = sorted(instrument.symbol for instrument in settings.instruments)
    ids = sorted(strategy.id for strategy in settings.strategies)
    blanks = Blanks(n)
    table = {name: _proposal_column(name, columns, blanks) for name in PROPOSAL_COLUMNS if name not in ("symbol", "strategy")}
    table |= {
        name: np.ascontiguousarray(columns[name], OPTIONAL_COLUMNS[name]) for name in OPTIONAL_COLUMNS if columns.get(name) is not None
    }
    table["symbol"] = _codes("symbol", columns["symbol"], symbols, names)
    table["strategy"] = _codes("strategy", columns["strategy"], strategies, ids)
    early = np.flatnonzero(table["available_ts"] < table["ts"])
    if len(early):
        i = int(early[0])
        raise ProposalError(
            f"proposal row {i}: available_ts {table['available_ts'][i]} is before ts {table['ts'][i]}, the close of the bar it came from; "
            "a proposal is known at its bar's close or later"
        )
    if n and not (table["action"].min() >= 0 and table["action"].max() <= max(Action)):
        i = int(np.flatnonzero((table["action"] < 0) | (table["action"] > max(Action)))[0])
        raise ProposalError(f"proposal row {i}: action {table['action'][i]} is not one of {[a.name.lower() for a in Action]}")
    _check_orders(table)
    if columns.get("row") is not None:
        table["row"] = np.ascontiguousarray(columns["row"], np.int64)
    if n and table["available_ts"].min() < settings.start_us:
        table["available_ts"] = np.maximum(table["available_ts"], settings.start_us)
    end = int(tape.grid[-1]) if len(tape.grid) else settings.start_us - 1
    if n and table["available_ts"].max() > end:
        table = {name: column[table["available_ts"] <= end] for name, column in table.items()}
    table = _sorted_proposals(table)
    _refuse_twins(table, names, ids)
    table["row"] = _last_closed(table, tape)
    del table["sequence"]
    absent = {name: np.empty(0, dtype) for name, dtype in OPTIONAL_COLUMNS.items() if name not in table}
    return Proposals(**{name: frozen(column) for name, column in (table | absent).items()})


def _check_orders(table: Mapping[str, NDArray[Any]]) -> None:
    """Refuse order types and times in force that there are not.  # R2.1"""
    for name, kind in (("order_type", OrderType), ("tif", TimeInForce)):
        wrong = np.flatnonzero((table[name] < 0) | (table[name] > max(kind)))
        if len(wrong):
            row = int(wrong[0])
            raise ProposalError(f"proposal row {row}: {name} {table[name][row]} is not one of {[one.name.lower() for one in kind]}")
    targets = table["action"] == Action.TARGET
    resting = np.flatnonzero(targets & ((table["order_type"] != OrderType.MARKET) | (table["tif"] != TimeInForce.GTC)))
    if len(resting):
        raise ProposalError(
            f"proposal row {resting[0]}: a target is a market order that is good till cancelled; leave order_type and tif out"
        )
    if targets.any() and "weight" not in table:
        row = int(np.argmax(targets))
        raise ProposalError(f"proposal row {row}: a target has no weight; give the column weight, a signed fraction of budget x equity")
    short = np.flatnonzero((table["tif"] == TimeInForce.BARS) & (table["tif_value"] < 1))
    if len(short):
        row = int(short[0])
        raise ProposalError(f"proposal row {row}: tif_value {table['tif_value'][row]} is not a number of bars; bars(n) has n from 1")


def _proposal_column(name: str, columns: Mapping[str, Any], blanks: Blanks) -> NDArray[Any]:
    given = columns.get("ts" if name == "available_ts" and columns.get(name) is None else name)
    if given is None:
        if name == "action":
            raise ProposalError(f"proposals: no column {name!r}")
        return np.arange(len(columns["ts"])) if name == "sequence" else blanks.column(default_of(name), PROPOSAL_COLUMNS[name])
    return np.ascontiguousarray(given, dtype=PROPOSAL_COLUMNS[name])


def _codes(what: str, given: Any, names: Sequence[str], known: Sequence[str]) -> NDArray[np.int32]:
    """Numbers of the run's names for a column of names or of codes into ``names``."""
    array = np.asarray(given)
    if array.dtype.kind not in "iu":
        unique, array = np.unique(array.astype(str), return_inverse=True)
        names = unique.tolist()
    place = {name: i for i, name in enumerate(known)}
    table = np.array([*(place.get(name, NONE) for name in names), NONE], np.int32)
    outside = np.flatnonzero((array < 0) | (array >= len(names)))
    if len(outside):
        row = int(outside[0])
        raise ProposalError(f"proposal row {row}: {what} code {array[row]} names none of the {len(names)} given names; codes count from 0")
    codes: NDArray[np.int32] = table[array]
    if len(codes) and codes.min() < 0:
        row = int(np.flatnonzero(codes < 0)[0])
        raise ProposalError(f"proposal row {row}: {what} {names[int(array[row])]!r} is not of this run, which has {', '.join(known[:8])}")
    return codes


def _sorted_proposals(table: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    keys = (table["sequence"], table["strategy"], table["symbol"])
    if _is_sorted((*keys, table["available_ts"])):
        return table
    order = np.argsort(table["available_ts"], kind="stable") if _is_sorted(keys) else np.lexsort((*keys, table["available_ts"]))
    return {name: column[order] for name, column in table.items()}


def _refuse_twins(table: Mapping[str, NDArray[Any]], symbols: Sequence[str], strategies: Sequence[str]) -> None:
    """No two proposals have one place in the order.  # R1.5"""
    keys = ("sequence", "available_ts", "symbol", "strategy")
    same = np.logical_and.reduce([table[key][1:] == table[key][:-1] for key in keys])
    if same.any():
        i = int(np.argmax(same))
        raise ProposalError(
            f"two proposals of {strategies[table['strategy'][i]]} for {symbols[table['symbol'][i]]} are available at "
            f"{np.datetime64(int(table['available_ts'][i]), 'us')}Z with sequence {table['sequence'][i]}; number them, or leave sequence out"
        )


def _is_sorted(keys: Sequence[NDArray[Any]]) -> bool:
    if len(keys[0]) < 2:
        return True
    ordered = np.ones(len(keys[0]) - 1, bool)
    for key in keys:
        ordered = (key[1:] > key[:-1]) | ((key[1:] == key[:-1]) & ordered)
    return bool(ordered.all())


def _last_closed(table: Mapping[str, NDArray[Any]], tape: Tape) -> Ints:
    """Row of the last bar of each proposal's symbol that is closed when it is known; a given row is taken where it is that."""
    symbol, at = table["symbol"], table["available_ts"]
    given: Ints | None = table.get("row")
    if given is not None and len(given):
        ours = (given >= tape.oldest[symbol]) & (given < tape.stop[symbol])
        if ours.all() and (tape.ts[given] == at).all():
            return given
    found = np.empty(len(at), np.int64)
    for code in np.unique(symbol):
        mine = symbol == code
        start, stop = int(tape.oldest[code]), int(tape.stop[code])
        row = start + np.searchsorted(tape.ts[start:stop], at[mine], "right") - 1
        found[mine] = np.where(row >= start, row, NONE)
    return found
