"""Trades and profit, from the ledger alone: each trade is one (strategy, symbol) from flat to flat.

    profit of a trade   = realised - fees + funding + interest + insurance + dividends + cash in lieu                        # R6.4
    final equity        = initial cash + profit of all trades + unrealised of the positions still open + interest on debt

All sums are of integer money, so they add up exactly.  A split restates a trade's lots and prices, so that those of its entry and its
exit are of the same units.  How far a trade went with and against its position (MAE, MFE) needs the
bars as well, and is worked out only when asked for.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.kernel import entry, kernel
from engine.money import share, value
from engine.schema import AMBIGUOUS, NONE, Accounting, EventKind, Reason, RecordKind
from engine.splits import across_splits
from engine.tape import Tape, known_until, rate_at

if TYPE_CHECKING:
    import polars as pl

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MOVES = (RecordKind.FILL, RecordKind.SPLIT, RecordKind.CASH_IN_LIEU, RecordKind.SETTLEMENT)
"""Records that change lots or cost."""

TRADE = np.dtype(
    [
        ("symbol", "<i4"),
        ("strategy", "<i4"),
        ("entry_ts", "<i8"),  # us, UTC
        ("exit_ts", "<i8"),  # of the last fill; 0 while open
        ("entry_price", "<f8"),  # average over the fills, by quantity; of inverse contracts harmonic
        ("exit_price", "<f8"),  # NaN while open
        ("lots", "<i8"),  # opened, never negative
        ("closed_lots", "<i8"),
        ("realised", "<i8"),  # money
        ("fees", "<i8"),
        ("funding", "<i8"),
        ("interest", "<i8"),  # paid for what a short borrowed
        ("insurance", "<i8"),  # what an isolated position lost beyond its margin, given back
        ("dividends", "<i8"),
        ("cash_in_lieu", "<i8"),  # profit on what splits left of lots
        ("pnl", "<i8"),  # the sum of these, fees subtracted
        ("side", "i1"),
        ("exit_reason", "u1"),  # NONE while open
        ("entry_phase", "u1"),  # EventKind
        ("exit_phase", "u1"),  # EventKind
        ("ambiguous", "u1"),
        ("open", "u1"),
    ]
)
"""One trade; in the order of entries."""


class Totals(NamedTuple):
    """Sums over all fills."""

    fills: int
    ambiguous: int  # fills on a bar whose pessimistic and optimistic exits differ
    traded: Floats  # |lots| x price by symbol, of inverse contracts |lots| / price, in account currency; shape (n_symbols,)
    debt_interest: int = 0  # money: interest on the account's debt, which is no trade's


def trades_of(
    records: NDArray[Any], n_symbols: int, n_strategies: int, inverse: NDArray[np.bool_] | None = None
) -> tuple[NDArray[Any], Totals]:
    """Read the trades (dtype ``TRADE``) out of ledger records (``engine.schema.RECORD``); ``inverse`` says which symbols are inverse (default: none)."""
    slots = n_symbols * n_strategies
    inverse = np.zeros(n_symbols, np.bool_) if inverse is None else inverse
    for least in (8, 4):  # records of a trade that ended: eight in nearly every run; two when it began and two when it ended in all
        trades, blank, traded = np.empty(len(records) // least + slots, TRADE), np.zeros(1, TRADE), np.zeros(n_symbols)
        count, fills, ambiguous, debt_interest = _read_trades(
            records, n_strategies, np.full(slots, -1, np.int64), trades, blank, traded, np.ones(n_symbols), inverse
        )
        if count <= len(trades):
            break
    else:
        raise ValueError(f"{len(records)} records hold more trades than such a ledger can: it was not written by a replay")
    return trades[:count], Totals(int(fills), int(ambiguous), traded, int(debt_interest))


@entry
def _read_trades(
    records: NDArray[Any],
    n_strategies: int,
    current: Ints,
    trades: NDArray[Any],
    blank: NDArray[Any],
    traded: Floats,
    rates: Floats,
    inverse: NDArray[np.bool_],
) -> tuple[int, int, int, int]:
    """How many trades there are, one more than there is room for if there are more than that; fills, ambiguous ones, interest on debt."""
    count, fills, ambiguous, debt_interest = 0, 0, 0, 0
    for i in range(len(records)):
        record = records[i]
        kind = record["kind"]
        if kind == RecordKind.CONVERSION:
            rates[record["symbol"]] = record["value"]
            continue
        if kind != RecordKind.FILL and kind != RecordKind.FUNDING and not RecordKind.SPLIT <= kind <= RecordKind.SETTLEMENT:
            continue
        if record["symbol"] == NONE:
            debt_interest += record["amount"] if kind == RecordKind.INTEREST else 0
            continue
        slot = record["symbol"] * n_strategies + record["strategy"]
        if kind != RecordKind.FILL:
            if kind != RecordKind.SPLIT or record["order_id"] == NONE:
                _other(trades[current[slot]], record, records[min(i + 1, len(records) - 1)]["amount"])
            continue
        if record["position"] == record["side"] * record["qty"]:
            if count == len(trades):
                return count + 1, fills, ambiguous, debt_interest
            trades[count] = blank[0]
            _begin(trades[count], record)
            current[slot] = count
            count += 1
        contract = inverse[record["symbol"]]
        _fill(trades[current[slot]], record, records[i + 1]["amount"], contract)
        fills += 1
        ambiguous += record["flags"] & AMBIGUOUS
        worth = record["qty"] / record["price"] if contract else record["qty"] * record["price"]
        traded[record["symbol"]] += worth * rates[record["symbol"]]
    return count, fills, ambiguous, debt_interest


@kernel
def _begin(trade: Any, fill: Any) -> None:
    trade["symbol"] = fill["symbol"]
    trade["strategy"] = fill["strategy"]
    trade["side"] = fill["side"]
    trade["entry_ts"] = fill["ts"]
    trade["entry_phase"] = fill["phase"]
    trade["entry_price"] = fill["price"]
    trade["exit_price"] = np.nan
    trade["open"] = 1


@kernel
def _fill(trade: Any, fill: Any, realised: int, inverse: bool) -> None:
    """Book one fill; ``realised`` is in the POSITION record that follows it."""
    trade["realised"] += realised
    trade["fees"] += fill["fee"]
    trade["pnl"] += realised - fill["fee"]
    if fill["flags"] & AMBIGUOUS:
        trade["ambiguous"] = 1
    if fill["side"] == trade["side"]:
        trade["entry_price"] = _average(trade["entry_price"], trade["lots"], fill["price"], fill["qty"], inverse)
        trade["lots"] += fill["qty"]
        return
    trade["exit_price"] = _average(trade["exit_price"], trade["closed_lots"], fill["price"], fill["qty"], inverse)
    trade["closed_lots"] += fill["qty"]
    if fill["position"] == 0:
        _end(trade, fill)


@kernel
def _other(trade: Any, record: Any, following: int) -> None:
    """Book what is no fill; the profit of cash in lieu is in the POSITION record that follows it."""
    kind = record["kind"]
    if kind == RecordKind.FUNDING:
        trade["funding"] += record["amount"]
        trade["pnl"] += record["amount"]
    elif kind == RecordKind.SETTLEMENT:
        trade["realised"] += record["amount"]
        trade["pnl"] += record["amount"]
    elif kind == RecordKind.INTEREST:
        trade["interest"] += record["amount"]
        trade["pnl"] += record["amount"]
    elif kind == RecordKind.INSURANCE:
        trade["insurance"] += record["amount"]
        trade["pnl"] += record["amount"]
    elif kind == RecordKind.DIVIDEND:
        trade["dividends"] += record["amount"]
        trade["pnl"] += record["amount"]
    elif kind == RecordKind.CASH_IN_LIEU:
        trade["cash_in_lieu"] += following
        trade["pnl"] += following
        if record["position"] == 0:
            trade["exit_price"] = record["price"]
            _end(trade, record)
    elif kind == RecordKind.SPLIT:
        trade["entry_price"] /= record["value"]
        trade["exit_price"] /= record["value"]
        trade["closed_lots"] = int(np.rint(trade["closed_lots"] * record["value"]))
        trade["lots"] = trade["closed_lots"] + record["qty"]


@kernel
def _end(trade: Any, record: Any) -> None:
    trade["exit_ts"] = record["ts"]
    trade["exit_reason"] = record["reason"]
    trade["exit_phase"] = record["phase"]
    trade["open"] = 0


@kernel
def _average(price: float, lots: int, more_price: float, more_lots: int, inverse: bool) -> float:
    """Price at which all lots together are worth what they were: of inverse contracts the harmonic mean."""
    if lots == 0:
        return more_price
    if inverse:
        return (lots + more_lots) / (lots / price + more_lots / more_price)
    return (price * lots + more_price * more_lots) / (lots + more_lots)


def unrealised(records: NDArray[Any], trades: NDArray[Any], tape: Tape, scale: float) -> Ints:
    """Unrealised profit of each trade that is still open, at the mark of its last bar of the run; 0 for the others.  # R6.4, R6.5

    The cost of a position is the value of its opening fills less the share that closing fills released, in account money where cash has bought it, and
    what a settlement was at; the profit of others is converted at the rate of the last close, or of the last record since.
    """
    profit = np.zeros(len(trades), np.int64)
    for i in np.flatnonzero(trades["open"]):
        symbol, spec = int(trades["symbol"][i]), tape.specs[trades["symbol"][i]]
        mine = np.isin(records["kind"], MOVES) & (records["symbol"] == symbol) & (records["strategy"] == trades["strategy"][i])
        places = np.flatnonzero(mine & ((records["kind"] != RecordKind.SPLIT) | (records["order_id"] == NONE)))
        opens = (records["kind"] == RecordKind.FILL) & (records["position"] == records["side"] * records["qty"])
        spot, cost, held = spec["accounting"] == Accounting.SPOT, 0, 0
        for seq in places[np.flatnonzero(opens[places])[-1] :]:
            record = records[seq]
            signed, lots = int(record["side"]) * int(record["qty"]), int(record["position"])
            if record["kind"] == RecordKind.FILL and held * signed >= 0:
                qty = signed * spec["lot_units"] / spec["lot_power"]
                worth = int(value(qty, float(record["price"]), spec["multiplier"], scale, spec["inverse"]))
                cost += round(worth * _rate(tape, symbol, record["ts"])) if spot else worth
            elif record["kind"] == RecordKind.FILL:
                cost -= int(share(cost, abs(signed), abs(held)))
            elif record["kind"] == RecordKind.CASH_IN_LIEU:
                cost -= int(share(cost, int(record["qty"]), abs(lots) * int(record["value"]) + int(record["qty"])))
            elif record["kind"] == RecordKind.SETTLEMENT:
                qty = lots * spec["lot_units"] / spec["lot_power"]
                cost = int(value(qty, float(record["price"]), spec["multiplier"], scale, spec["inverse"]))
            held = lots
        qty = int(records["position"][places[-1]]) * spec["lot_units"] / spec["lot_power"]
        row = tape.stop[symbol] - 1
        mark = across_splits(tape, symbol, float(tape.mark[row]), int(tape.ts[row]), int(tape.action_stop[symbol]))
        rate = _rate(tape, symbol, max(int(tape.ts[row]), int(records["ts"][places[-1]])))
        at_mark = int(value(qty, mark, spec["multiplier"], scale, spec["inverse"]))
        profit[i] = round(at_mark * rate) - cost if spot else round((at_mark - cost) * rate)
    return profit


def _rate(tape: Tape, symbol: int, ts: int) -> float:
    return float(rate_at(tape, symbol, ts)) if tape.specs[symbol]["converts"] else 1.0


def sum_by(codes: NDArray[Any], amounts: Ints, count: int) -> Ints:
    """Exact sums of integer money by code; shape (count,).

    >>> sum_by(np.array([1, 0, 1]), np.array([5, 7, -2]), 3).tolist()
    [7, 3, 0]
    """
    total = np.zeros(count, np.int64)
    np.add.at(total, codes, amounts)
    return total


class Excursions(NamedTuple):
    """How far each trade went; shape (n_trades,).

    ``bars`` counts the bars that closed at or before the exit, the bar of a touch included, at either end.  ``mae`` and ``mfe`` are the worst and
    the best exit-side price of the bars held to their close, and of the exit fill, in the units of the exit, as a signed fraction of the entry price: ``mae``
    is at most 0, ``mfe`` at least 0, and the costs of the exit are in both.  Of inverse contracts they are fractions of the coins at the entry: distance over
    the price reached, not over that of the entry.
    """

    bars: Ints
    mae: Floats
    mfe: Floats


def excursions(trades: NDArray[Any], tape: Tape, end_us: int) -> Excursions:
    """Maximum adverse and favourable excursion (Sweeney, *Maximum Adverse Excursion*, 1997)."""
    found = Excursions(np.zeros(len(trades), np.int64), np.zeros(len(trades)), np.zeros(len(trades)))
    if len(trades):
        _excursions(trades, tape, end_us, *found)
    return found


@entry
def _excursions(trades: NDArray[Any], tape: Tape, end_us: int, bars: Ints, mae: Floats, mfe: Floats) -> None:
    for i in range(len(trades)):
        trade = trades[i]
        side, entry, symbol = trade["side"], trade["entry_price"], trade["symbol"]
        begin, end = tape.first[symbol], tape.stop[symbol]
        touched = trade["entry_phase"] == EventKind.BAR_PATH  # filled inside the bar that closed then
        first = begin + np.searchsorted(tape.ts[begin:end] if touched else tape.open_ts[begin:end], trade["entry_ts"])
        exit_ts = end_us if trade["open"] else trade["exit_ts"]
        stop = max(first, begin + np.searchsorted(tape.ts[begin:end], exit_ts, side="right"))
        bars[i] = stop - first
        before = (
            0 if trade["open"] or trade["exit_phase"] >= EventKind.CORPORATE_ACTION else 1
        )  # whether it left before the splits of that instant
        best, worst = 0.0, 0.0
        inside = trade["open"] == 0 and trade["exit_phase"] == EventKind.BAR_PATH
        splits = known_until(tape.action_ts, tape.action_first[symbol], tape.action_stop[symbol], exit_ts - before)
        for row in range(first, stop - 1 if inside else stop):
            high = tape.bid_high[row] if side > 0 else -tape.ask_low[row]
            low = tape.bid_low[row] if side > 0 else -tape.ask_high[row]
            if touched and row == first:  # of that bar, only the close is sure to come after the entry
                high = low = tape.bid_close[row] if side > 0 else -tape.ask_close[row]
            high = across_splits(tape, symbol, high, tape.ts[row], splits)
            low = across_splits(tape, symbol, low, tape.ts[row], splits)
            best = max(best, high - side * entry)
            worst = min(worst, low - side * entry)
        if not trade["open"]:
            best = max(best, side * (trade["exit_price"] - entry))
            worst = min(worst, side * (trade["exit_price"] - entry))
        inverse = tape.specs[symbol]["inverse"] != 0
        mae[i] = worst / (entry + side * worst if inverse else entry)
        mfe[i] = best / (entry + side * best if inverse else entry)


def trades_frame(
    trades: NDArray[Any], reach: Excursions, symbols: tuple[str, ...], strategies: tuple[str, ...], lots: Floats, scale: float
) -> "pl.DataFrame":
    """The trades as a table in units of the account currency; ``lots`` is the quantity of one lot of each symbol."""
    import polars as pl

    utc, is_open = pl.Datetime("us", "UTC"), pl.Series(trades["open"] == 1)
    reasons = {int(reason): reason.name.lower() for reason in Reason}
    frame = pl.DataFrame(
        {
            "trade": np.arange(1, len(trades) + 1),
            "symbol": pl.Series([symbols[code] for code in trades["symbol"].tolist()], dtype=pl.String),
            "strategy": pl.Series([strategies[code] for code in trades["strategy"].tolist()], dtype=pl.String),
            "side": pl.Series(["long" if side > 0 else "short" for side in trades["side"].tolist()], dtype=pl.String),
            "entry_ts": pl.Series(trades["entry_ts"].tolist(), dtype=pl.Int64).cast(utc),
            "exit_ts": pl.Series(trades["exit_ts"].tolist(), dtype=pl.Int64).cast(utc),
            "entry_price": trades["entry_price"],
            "exit_price": trades["exit_price"],
            "qty": trades["lots"] * lots[trades["symbol"]],
            **{
                name: trades[name] / scale
                for name in ("pnl", "realised", "fees", "funding", "interest", "insurance", "dividends", "cash_in_lieu")
            },
            "bars": reach.bars,
            "mae": reach.mae,
            "mfe": reach.mfe,
            "exit_reason": pl.Series([reasons[code] for code in trades["exit_reason"].tolist()], dtype=pl.String),
            "ambiguous": trades["ambiguous"] == 1,
            "open": is_open,
            "pnl_units": trades["pnl"],
        }
    )
    return frame.with_columns(
        pl.when(is_open).then(None).otherwise(pl.col(name)).alias(name) for name in ("exit_ts", "exit_price", "exit_reason")
    )


def with_optimistic(frame: "pl.DataFrame", trades: NDArray[Any], others: NDArray[Any], scale: float) -> "pl.DataFrame":
    """The table of trades with the profit of each in the optimistic replay.  # R3.7"""
    import polars as pl

    from pipeline.bounds import counterparts

    profits = [None if pnl is None else pnl / scale for pnl in counterparts(trades, others)]
    return frame.with_columns(pl.Series("pnl_optimistic", profits, dtype=pl.Float64))
