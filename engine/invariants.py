"""What must hold of every run, whatever its options: checked against the ledger and the market, not against the replay.

The ledger's own arithmetic is ``verify``'s; here are the promises that need prices, volumes, listings and limits as well.  Each check is a
few lines over plain Python values, and none of them calls a rule of the replay.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.folding import Book, in_new_units
from engine.halts import day_end
from engine.instrument import DatedRate
from engine.ledger import LedgerError
from engine.models import ModelKind
from engine.schema import DAY_US, MAKER, MORE, NEVER, NONE, OUTSIDE, RECORD, EventKind, OrderType, Reason, RecordKind
from engine.session import ReplayResult
from engine.splits import DELIST
from engine.tape import Tape

Row = dict[str, Any]

FREE_OF_MARKET = frozenset({Reason.DELISTED, Reason.EXPIRED})
"""Reasons of fills that no order of the market made: their price is on no tick and in no bar."""

BY_FORCE = FREE_OF_MARKET | {
    Reason.LIQUIDATED,
    Reason.LIQUIDATED_AT_CLOSE,
    Reason.BANKRUPT,
    Reason.RUN_ENDED,
    Reason.DATA_ENDED,
}
"""Reasons of fills that ask for no volume."""

ENDS = frozenset({RecordKind.FILL, RecordKind.CANCELLED, RecordKind.REJECTED, RecordKind.LEVELS})


def check(result: ReplayResult) -> None:
    """Check a whole run.

    Raises
    ------
    LedgerError
        At the first promise that was broken: names record and rule.
    """
    names = RECORD.names or ()
    rows = [dict(zip(names, row, strict=True)) for row in result.records.tolist()]
    for promise in PROMISES:
        promise(result, rows)


def _broken(seq: int, row: Row, what: str) -> LedgerError:
    return LedgerError(f"record {seq} ({RecordKind(row['kind']).name} {Reason(row['reason']).name} at {row['ts']}): {what}")


def every_number_is_one(result: ReplayResult, rows: list[Row]) -> None:
    """No NaN and no infinity in a ledger or an equity path."""
    for name in ("price", "value"):
        bad = np.flatnonzero(~np.isfinite(result.records[name]))
        if len(bad):
            raise _broken(int(bad[0]), rows[bad[0]], f"{name} is {result.records[name][bad[0]]}")


def every_proposal_ends_once(result: ReplayResult, rows: list[Row]) -> None:
    """One terminal record, or one count, for each proposal that came before the end.  # R5.4"""
    ended = set(np.flatnonzero(result.outcomes).tolist())
    for seq, row in enumerate(rows):
        if row["kind"] in ENDS and row["proposal"] != NONE and not row["flags"] & MORE:
            if row["proposal"] in ended:
                raise _broken(seq, row, f"proposal {row['proposal']} had ended before  # R5.4")
            ended.add(row["proposal"])
    open_ended = set(range(len(result.proposals.ts))) - ended
    if open_ended and not result.bankrupt:
        raise LedgerError(f"proposal {min(open_ended)} of the run never ended  # R5.4")


def nothing_rests_and_nothing_overfills(_: ReplayResult, rows: list[Row]) -> None:
    """Every order ends, and is filled for no more than it asked.  # R2.7, R8.6"""
    left: dict[int, int] = {}  # order id -> lots to fill
    orders: dict[int, Row] = {}
    held: dict[tuple[int, int], int] = {}
    for seq, row in enumerate(rows):
        number = row["order_id"]
        if row["kind"] == RecordKind.ORDER:
            left[number], orders[number] = row["qty"], row
        elif row["kind"] == RecordKind.CANCELLED:
            left.pop(number, None)
        elif row["kind"] == RecordKind.SPLIT:
            lots = held.get((row["symbol"], row["strategy"]), 0)
            for rests in left:  # an entry by its number, an exit with its position, and so what a reversal closes
                reverses = orders[rests]["reason"] == Reason.NONE and lots * orders[rests]["side"] < 0
                if rests == number:
                    left[rests] = row["qty"] + (abs(lots) if reverses else 0)
                elif number == NONE and _same_slot(orders[rests], row):
                    left[rests] = (
                        row["qty"] if orders[rests]["reason"] != Reason.NONE else left[rests] + reverses * (row["qty"] - abs(lots))
                    )
        elif row["kind"] == RecordKind.FILL and number in left and orders[number]["side"] == row["side"]:
            left[number] -= row["qty"] if orders[number]["qty"] else 0  # an order without a quantity takes what cash pays for
            if left[number] < 0:
                raise _broken(seq, row, f"fills {row['qty']} lots of an order for {left[number] + row['qty']}")
            if not row["flags"] & MORE:
                del left[number]
        held[row["symbol"], row["strategy"]] = row["position"]
    if left:
        raise LedgerError(f"order {min(left)} still rests at the end of the run  # R8.6")


def _same_slot(one: Row, other: Row) -> bool:
    return bool(one["symbol"] == other["symbol"] and one["strategy"] == other["strategy"])


def fills_lie_in_the_market(result: ReplayResult, rows: list[Row]) -> None:
    """On the tick, on a bar of the symbol, and never better than what the bar offers the side.  # R1.3, R2.4, R2.5"""
    tape, own = result.tape, any(model.kind in (ModelKind.SLIPPAGE, ModelKind.FILL) for model in result.settings.models)
    instruments = sorted(result.settings.instruments, key=lambda one: one.symbol)
    ticks = [[float(one.tick), *(float(rule.tick) for rule in one.rules)] for one in instruments]
    stop_limits = _stop_limits(rows)
    for seq, row in enumerate(rows):
        if row["kind"] != RecordKind.FILL or row["reason"] in FREE_OF_MARKET:
            continue
        if not any(_is_whole(row["price"] / tick) for tick in ticks[row["symbol"]]):
            raise _broken(seq, row, f"price {row['price']} is not on the tick {ticks[row['symbol']][0]}  # R6.3")
        at = _bar_of(tape, row)
        if in_new_units(tape, row["symbol"], 1.0, int(tape.open_ts[at]), int(tape.ts[at])) != 1.0:
            continue  # a split while the bar was open: its prices are of two units
        if row["reason"] == Reason.LIQUIDATED:  # one price for both sides
            low, high = min(tape.bid_low[at], tape.ask_low[at]), max(tape.bid_high[at], tape.ask_high[at])
            tick = max(ticks[row["symbol"]])
            if not low - tick <= row["price"] <= high + tick:
                raise _broken(seq, row, f"a liquidation at {row['price']} is outside its bar's {low} to {high}  # R7.3")
            continue
        side, slack = row["side"], 1e-9 * row["price"]
        worst_best = _best_offered(tape, row, at)
        if not own and side * (row["price"] - worst_best) < -slack:
            raise _broken(seq, row, f"price {row['price']} is better than the bar's {worst_best}")
        if row["flags"] & MAKER and row["phase"] == EventKind.BAR_PATH:
            best, worst = (tape.ask_low[at], tape.ask_high[at]) if side > 0 else (tape.bid_high[at], tape.bid_low[at])
            if (row["order_id"], side) in stop_limits:  # its limit may lie between the trigger and the touch there
                worst *= 1 + side * _half_spread(result, row["symbol"], at)
            if _new_rules(tape, row["symbol"], at):  # a smaller lot may fill inside the bar what its open had passed
                worst = side * np.inf
            if side * (row["price"] - best) < -slack or side * (row["price"] - worst) > slack:
                raise _broken(seq, row, f"a maker's price {row['price']} is outside its bar's {best} to {worst}")


def _new_rules(tape: Tape, symbol: int, at: int) -> bool:
    """Whether the exchange's rules of a symbol change while a bar is open."""
    since = tape.rule_ts[tape.rule_first[symbol] : tape.rule_stop[symbol]]
    return bool(((since > tape.open_ts[at]) & (since <= tape.ts[at])).any())


def _stop_limits(rows: list[Row]) -> set[tuple[int, int]]:
    """Number and side of the orders that are stop-limits: what leaves a position by its bracket has the number, but not the side."""
    return {
        (row["order_id"], row["side"])
        for row in rows
        if row["kind"] == RecordKind.ORDER and row["reason"] == Reason.NONE and row["flags"] & 3 == OrderType.STOP_LIMIT
    }


def _half_spread(result: ReplayResult, symbol: int, at: int) -> float:
    """Half-spread of a bar, as a fraction of the price: of the last snapshot known at its open.  # R2.2"""
    tape = result.tape
    if len(tape.quoted) and tape.quoted[at]:
        return 0.0
    first, stop = int(tape.spread_first[symbol]), int(tape.spread_stop[symbol])
    last = first + int(np.searchsorted(tape.spread_ts[first:stop], tape.open_ts[at], side="right")) - 1
    if last < first:
        return result.settings.default_spread_bps / 20_000
    bid, ask = float(tape.spread_bid[last]), float(tape.spread_ask[last])
    return (ask - bid) / (ask + bid)


def _is_whole(steps: float) -> bool:
    return abs(steps - round(steps)) <= 1e-6 * max(1.0, abs(steps) * 1e-9)


def _bar_of(tape: Tape, row: Row) -> int:
    """The bar that a fill belongs to: the one that opens at it, or the last one closed."""
    first, stop = int(tape.oldest[row["symbol"]]), int(tape.stop[row["symbol"]])
    if row["phase"] == EventKind.BAR_OPEN:
        at = first + int(np.searchsorted(tape.open_ts[first:stop], row["ts"]))
        if at >= stop or tape.open_ts[at] != row["ts"]:
            raise LedgerError(f"a fill in BAR_OPEN at {row['ts']} where no bar opens  # R8.5")
        return at
    return first + int(np.searchsorted(tape.ts[first:stop], row["ts"], side="right")) - 1


def _best_offered(tape: Tape, row: Row, at: int) -> float:
    """The best raw price that a side could have had: the open, the close, or inside the bar its extreme."""
    buys = row["side"] > 0
    if row["phase"] == EventKind.BAR_OPEN:
        return float(tape.ask_open[at] if buys else tape.bid_open[at])
    if row["phase"] == EventKind.BAR_PATH:
        return float(tape.ask_low[at] if buys else tape.bid_high[at])
    after = row["ts"] + (row["phase"] == OUTSIDE)  # at the end of the run, the splits of its last instant are done
    return in_new_units(tape, row["symbol"], float(tape.ask_close[at] if buys else tape.bid_close[at]), int(tape.ts[at]), after)


def bars_have_the_volume(result: ReplayResult, rows: list[Row]) -> None:
    """What the orders of a symbol fill in one bar is at most the share of volume that they may.  # R2.6"""
    tape, share, own = result.tape, result.settings.participation, result.settings.participation_current
    filled: dict[tuple[int, int], int] = defaultdict(int)
    for seq, row in enumerate(rows if share < np.inf else ()):
        if row["kind"] != RecordKind.FILL or row["reason"] in BY_FORCE:
            continue
        symbol, at = row["symbol"], _bar_of(tape, row)
        known = at if own else at - 1
        filled[symbol, at] += row["qty"]
        if in_new_units(tape, symbol, 1.0, int(tape.ts[max(known, 0)]), row["ts"] + 1) != 1.0:
            continue  # a split since: volume and lots are of two units
        spec, rule = tape.specs[symbol], tape.rules[tape.rule_first[symbol] : tape.rule_stop[symbol]]
        lots = filled[symbol, at] * spec["lot_units"] / spec["lot_power"]
        room = share * tape.volume[known] if known >= tape.oldest[symbol] else 0.0
        if lots > room + 1e-6 * max(rule["lot"]):
            raise _broken(seq, row, f"{lots} filled in a bar of which {room} may be  # R2.6")


def entries_fill_where_listed(result: ReplayResult, rows: list[Row]) -> None:
    """No entry fills outside the universe, and nothing after a delisting.  # R4.1, R8.3, R8.4"""
    tape = result.tape
    for seq, row in enumerate(rows):
        if row["kind"] != RecordKind.FILL:
            continue
        symbol = row["symbol"]
        if row["ts"] > _delisted(tape, symbol):
            raise _broken(seq, row, f"{result.symbols[symbol]} was delisted before  # R8.4")
        if row["reason"] not in (Reason.FILLED, Reason.PARTIAL) or not tape.specs["has_universe"][symbol]:
            continue
        first, stop = int(tape.universe_first[symbol]), int(tape.universe_stop[symbol])
        seen = row["ts"] - (row["phase"] < EventKind.UNIVERSE_UPDATED)  # a touch comes before what its instant changes
        at = first + int(np.searchsorted(tape.universe_ts[first:stop], seen, side="right")) - 1
        if at < first or not tape.universe_listed[at]:
            raise _broken(seq, row, f"{result.symbols[symbol]} is not in the universe  # R4.1")


def _delisted(tape: Tape, symbol: int) -> int:
    """When a symbol is delisted."""
    rows = slice(int(tape.action_first[symbol]), int(tape.action_stop[symbol]))
    found = tape.action_ts[rows][tape.action_kind[rows] == DELIST]
    return int(found[0]) if len(found) else NEVER


def halts_block_entries(result: ReplayResult, rows: list[Row]) -> None:
    """Between a portfolio's alert and its end no entry is approved.  # R5.3"""
    until = -NEVER
    for seq, row in enumerate(rows):
        whole = row["symbol"] == NONE and row["strategy"] == NONE
        if row["kind"] == RecordKind.RISK_ALERT and whole and row["reason"] == Reason.DRAWDOWN:
            until = max(until, row["ts"] + min(result.settings.halts.resume_after_us, NEVER - row["ts"]))
        elif row["kind"] == RecordKind.RISK_ALERT and whole and row["reason"] == Reason.DAILY_LOSS:
            until = max(until, -(-row["ts"] // DAY_US) * DAY_US)
        elif row["kind"] == RecordKind.APPROVED and row["ts"] < until:
            raise _broken(seq, row, f"entries are halted until {until}  # R5.3")


def limits_hold_at_approval(result: ReplayResult, rows: list[Row]) -> None:
    """Gross, net and the value of an approved entry, at marks and references, against the equity of the instant.  # R5.2"""
    settings, book = result.settings, Book(result)
    rotated = {
        row["cause"]: (row["symbol"], row["strategy"]) for row in rows if row["reason"] == Reason.ROTATED and row["proposal"] == NONE
    }
    for seq, row in enumerate(rows):
        if row["kind"] == RecordKind.APPROVED:
            worth, key = book.notional(row), (row["symbol"], row["strategy"])
            leaving = key if book.lots[key] * row["side"] < 0 else rotated.get(seq)
            equity, exposures = book.equity(row), book.exposures(row, leaving)
            gross, net = sum(map(abs, exposures)) + worth, sum(exposures) + row["side"] * worth
            held = sum(abs(value) for held, value in book.exposed(row) if held == key and held != leaving)
            for name, used in (("max_position", held + worth), ("max_gross", gross), ("max_net", row["side"] * net)):
                limit = getattr(settings, name)
                if limit < np.inf and used > round(equity * limit):
                    raise _broken(seq, row, f"{name}: {used} is more than {limit} of {equity}  # R5.2")
        book.fold(row)


def interest_is_paid_each_day(result: ReplayResult, rows: list[Row]) -> None:
    """At each midnight, after funding, every short of what is borrowed at a rate pays it, once, and a debt as well.  # R6.4"""
    rates = [one.borrow_rates for one in sorted(result.settings.instruments, key=lambda one: one.symbol)]
    short: dict[tuple[int, int], int] = {}
    paid: set[tuple[int, int]] = set()  # at the midnight under way
    cash, day = 0, rows[0]["ts"]
    for seq, row in enumerate(rows):
        due = day_end(day + 1)
        while due < row["ts"] or (due == row["ts"] and row["phase"] > EventKind.FUNDING_UPDATE):
            owing = {key for key in short if _rate(rates[key[0]], due)}
            if cash < 0 and _rate(result.settings.interest, due) and (NONE, NONE) not in paid:
                raise _broken(seq, row, f"the account's debt has not paid the interest of {due}")
            if owing - paid:
                raise _broken(seq, row, f"a short of {result.symbols[min(owing - paid)[0]]} has not paid the interest of {due}")
            paid, day, due = set(), due, due + DAY_US
        key = row["symbol"], row["strategy"]
        if row["kind"] == RecordKind.INTEREST:
            if row["ts"] != due or key in paid:
                raise _broken(seq, row, "interest is due once a day, at 00:00 UTC")
            paid.add(key)
        if NONE not in key:
            short.pop(key, None)
            if row["position"] < 0:
                short[key] = row["position"]
        cash = row["cash"]


def futures_settle_and_end(result: ReplayResult, rows: list[Row]) -> None:
    """A future that is held settles at its time of day, every day, at the mark; nothing is left of it when it has expired.  # R6.2"""
    futures = {i: one for i, one in enumerate(sorted(result.settings.instruments, key=lambda one: one.symbol)) if one.is_future}
    next_ts: dict[tuple[int, int], int] = {}
    for seq, row in enumerate(rows):
        place = row["ts"], row["phase"]
        for held, due in next_ts.items():
            if (due, EventKind.SETTLEMENT) < place:
                raise _broken(seq, row, f"{result.symbols[held[0]]} was held and did not settle or end at {due}")
        key = row["symbol"], row["strategy"]
        one = futures.get(row["symbol"])
        if one is None or NONE in key:
            continue
        if row["kind"] == RecordKind.SETTLEMENT and row["ts"] != next_ts.get(key):
            raise _broken(seq, row, f"settles at {next_ts.get(key)}")
        if row["kind"] == RecordKind.SETTLEMENT or (row["reason"] == Reason.EXPIRED and row["kind"] == RecordKind.FILL):
            mark = _last_mark(result.tape, row["symbol"], row["ts"])
            if row["price"] != mark:
                raise _broken(seq, row, f"price {row['price']} is not the mark {mark}")
        if row["position"] == 0:
            next_ts.pop(key, None)
        elif key not in next_ts or row["kind"] == RecordKind.SETTLEMENT:
            after = row["ts"] + (row["phase"] >= EventKind.SETTLEMENT)
            due = day_end(after - one.settlement) + one.settlement
            next_ts[key] = due if one.expiry is None else min(due, one.expiry)


def _last_mark(tape: Tape, symbol: int, ts: int) -> float:
    """The mark of the last bar closed by a time, after the splits before it."""
    first, stop = int(tape.oldest[symbol]), int(tape.stop[symbol])
    at = first + int(np.searchsorted(tape.ts[first:stop], ts, side="right")) - 1
    return in_new_units(tape, symbol, float(tape.mark[at]), int(tape.ts[at]), ts)


def _rate(rates: Sequence[DatedRate], ts: int) -> float:
    """The rate in force at a time, 0 before the first."""
    return next((one.rate for one in reversed(rates) if one.from_us <= ts), 0.0)


PROMISES: tuple[Callable[[ReplayResult, list[Row]], None], ...] = (
    every_number_is_one,
    every_proposal_ends_once,
    nothing_rests_and_nothing_overfills,
    fills_lie_in_the_market,
    bars_have_the_volume,
    entries_fill_where_listed,
    halts_block_entries,
    limits_hold_at_approval,
    interest_is_paid_each_day,
    futures_settle_and_end,
)
