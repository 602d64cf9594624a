"""The verifier: reads a ledger and nothing else, and recomputes every movement of money and lots.  # R6.4, R11

It shares no arithmetic with the replay: plain integers, and Python's own rounding.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from engine.instrument import KINDS
from engine.ledger import Ledger, LedgerError
from engine.schema import DAY_US, MAKER, MORE, NONE, RECORD, Accounting, EventKind, MarginMode, OrderType, Reason, RecordKind

WINDOW_US = 30 * DAY_US

CAUSES = {
    RecordKind.ORDER: (RecordKind.APPROVED, RecordKind.PROPOSAL, RecordKind.POSITION),
    RecordKind.CANCELLED: (RecordKind.ORDER, RecordKind.FILL, RecordKind.RISK_ALERT, RecordKind.CASH_IN_LIEU),
    RecordKind.SELECTED: (RecordKind.PROPOSAL,),
    RecordKind.APPROVED: (RecordKind.SELECTED,),
    RecordKind.FILL: (RecordKind.ORDER, RecordKind.POSITION),
    RecordKind.POSITION: (RecordKind.FILL, RecordKind.CASH_IN_LIEU),
    RecordKind.FUNDING: (RecordKind.POSITION,),
    RecordKind.INTEREST: (RecordKind.POSITION,),
    RecordKind.SETTLEMENT: (RecordKind.POSITION,),
    RecordKind.LEVELS: (RecordKind.POSITION,),
    RecordKind.SPLIT: (RecordKind.POSITION, RecordKind.ORDER),
    RecordKind.CASH_IN_LIEU: (RecordKind.SPLIT,),
    RecordKind.DIVIDEND: (RecordKind.POSITION,),
    RecordKind.INSURANCE: (RecordKind.FILL,),
}
"""Kinds of record that may lead to a kind.  # R11.1"""

REVERSAL = 4  # records from the fill that closes to the one that opens: FILL, POSITION, perhaps the CANCELLED exit, FILL
MAX_TERM = 1000  # of a split


@dataclass
class _Order:
    """An entry order: its (strategy, symbol), its side, the lots it may still fill, its limit, 0 where it has none, and whether it was told how many lots."""

    key: tuple[int, int]
    side: int
    lots: int
    limit: float
    sized: bool


@dataclass
class Totals:
    """What a ledger adds up to.

    Attributes
    ----------
    cash, deposits, realised, funding, interest, debt_interest, insurance, fees, dividends, cash_in_lieu
        Money units; ``debt_interest`` is the part of ``interest`` that is no position's, ``cash_in_lieu`` the profit on what splits left of lots.
    realised_by_fill
        What each fill, or cash in lieu, realised, by seq, until its POSITION record has been read.
    owed
        Fee of a reversal's second part, by order, until that has been read.
    orders
        Entry orders, by id.
    lots, costs
        Signed lots and cost of each (strategy, symbol) still held.
    """

    cash: int = 0
    deposits: int = 0
    realised: int = 0
    funding: int = 0
    interest: int = 0
    debt_interest: int = 0
    insurance: int = 0
    fees: int = 0
    dividends: int = 0
    cash_in_lieu: int = 0
    realised_by_fill: dict[int, int] = field(default_factory=dict)  # of fills whose POSITION is still to come
    owed: dict[int, int] = field(default_factory=dict)  # fee left for the second part of a reversal, by order
    orders: dict[int, _Order] = field(default_factory=dict)
    lots: dict[tuple[int, int], int] = field(default_factory=dict)
    costs: dict[tuple[int, int], int] = field(default_factory=dict)
    rest: "_Rest | None" = None  # of a split whose CASH_IN_LIEU is still to come
    margins: dict[tuple[int, int], int] = field(default_factory=dict)
    insured: dict[int, int] = field(default_factory=dict)  # insurance, by the FILL it is for
    final_equity: int = 0


def verify_ledger(ledger: Ledger) -> Totals:
    """Recompute cash, positions, fees and realised profit, record by record.

    Raises
    ------
    LedgerError
        At the first record that does not follow from those before it.
    """
    totals, names = Totals(), RECORD.names or ()
    rows = [dict(zip(names, row, strict=True)) for row in ledger.records.tolist()]
    instruments = [_Instrument(ledger.header, name) for name in ledger.symbols]
    rates, previous_ts = _Rates(ledger.header), None
    for seq, row in enumerate(rows):
        if previous_ts is not None and row["ts"] < previous_ts:
            raise LedgerError(f"record {seq}: ts {row['ts']} is before the record's before it; ledger time never decreases")
        previous_ts = row["ts"]
        _check_cause(seq, row, rows)
        if totals.insured and row["kind"] in (RecordKind.FILL, RecordKind.RUN_END):
            raise LedgerError(
                f"record {seq}: the liquidation of record {min(totals.insured)} lost more than its margin, and no INSURANCE follows it"
            )
        _apply(seq, row, rows, totals, instruments, rates)
        _equal(seq, "cash", row["cash"], totals.cash)
        key = (row["strategy"], row["symbol"])
        if row["symbol"] != NONE:
            _equal(seq, "position", row["position"], totals.lots.get(key, 0))
    _check_end(rows, totals)
    return totals


class _Rest(NamedTuple):
    """What a split leaves: ``parts / den`` of a lot, out of ``before / den``."""

    parts: int
    before: int
    den: int


class _Instrument:
    """One symbol's arithmetic, from the header alone.  # R6.3"""

    def __init__(self, header: Mapping[str, Any], symbol: str) -> None:
        spec = header["instruments"][symbol]
        self.spot = KINDS[spec["kind"]] == Accounting.SPOT
        self.inverse = KINDS[spec["kind"]] == Accounting.INVERSE
        self.converts = spec["quote"] != ""
        self.rate = math.nan  # account money for quote money, by the last CONVERSION
        self.lot = spec["lot"]
        self.multiplier = spec["multiplier"][0] / spec["multiplier"][1]
        self.leverage = spec["leverage"]
        self.isolated = header["margin"]["mode"] == MarginMode.ISOLATED.name
        self.liquidation_fee = header["margin"]["liquidation_fee"]
        self.scale = float(10 ** header["decimals"])
        self.fees = header["fees"]
        self.borrow = spec["borrow"]
        self.settlement, self.expiry = spec["settlement"], spec["expiry"]
        self.own_fees = "fee" in header["models"]

    def quantity(self, lots: int) -> float:
        return float(lots * self.lot[0] / self.lot[1])

    def value(self, lots: int, price: float) -> int:
        """Signed value, of spot in account money; of an inverse contract the negative of its coins.  # R6.4"""
        return self.value_of(self.quantity(lots), price)

    def value_of(self, quantity: float, price: float) -> int:
        if self.inverse:
            return -round(quantity * self.multiplier / price * self.scale)
        quoted = round(quantity * price * self.multiplier * self.scale)
        return self.in_account(quoted) if self.spot else quoted

    def in_account(self, quoted: int) -> int:
        """Account money for quote money."""
        return round(quoted * self.rate) if self.converts else quoted

    def profit(self, gained: int) -> int:
        """Account money for a difference of two values."""
        return gained if self.spot else self.in_account(gained)

    def notional(self, lots: int, price: float) -> int:
        """Account money that lots stand for, signed like them."""
        value = self.value(lots, price)
        return -value if self.inverse else self.profit(value)

    def fee(self, lots: int, price: float, bps: float) -> int:
        charged = round(abs(self.notional(lots, price)) * (bps / 10000)) + round(self.fees["flat"] * self.scale)
        charged += round(self.quantity(lots) * self.fees["per_unit"] * self.scale) if self.fees["per_unit"] else 0
        least = round(self.fees["min_fee"] * self.scale)
        return max(charged, least) if least > 0 else charged


class _Rates:
    """Maker and taker rates by what the account filled in the 30 days before, from the header and the fills read so far.  # R2.6"""

    def __init__(self, header: Mapping[str, Any]) -> None:
        fees, scale = header["fees"], float(10 ** header["decimals"])
        self.plain = (fees["maker_bps"], fees["taker_bps"])
        self.tiers = [(round(floor * scale), maker, taker) for floor, maker, taker in fees["tiers"]]
        self.interest = header["interest"]  # of the account's debt, by date
        self.fills: deque[tuple[int, int]] = deque()  # time and notional
        self.traded = 0

    def bps(self, ts: int, *, maker: bool) -> float:
        while self.fills and self.fills[0][0] <= ts - WINDOW_US:
            self.traded -= self.fills.popleft()[1]
        reached = [(low, high) for floor, low, high in self.tiers if floor <= self.traded]
        return float((reached[-1] if reached else self.plain)[0 if maker else 1])

    def note(self, ts: int, notional: int) -> None:
        self.fills.append((ts, notional))
        self.traded += notional


def _apply(
    seq: int, row: dict[str, Any], rows: list[dict[str, Any]], totals: Totals, instruments: list[_Instrument], rates: _Rates
) -> None:
    kind, key = row["kind"], (row["strategy"], row["symbol"])
    if totals.rest is not None and kind not in (RecordKind.CASH_IN_LIEU, RecordKind.CONVERSION):
        raise LedgerError(f"record {seq}: the split before it leaves part of a lot, and no CASH_IN_LIEU follows")
    if kind == RecordKind.DEPOSIT:
        totals.cash += row["amount"]
        totals.deposits += row["amount"]
    elif kind == RecordKind.ORDER and row["reason"] == Reason.NONE:
        limited = row["flags"] & 3 in (OrderType.LIMIT, OrderType.STOP_LIMIT)
        totals.orders[row["order_id"]] = _Order(key, row["side"], row["qty"], row["price"] if limited else 0.0, row["qty"] > 0)
    elif kind == RecordKind.FILL:
        _check_order(seq, row, totals)
        _fill(seq, row, totals, instruments[row["symbol"]], rates, _opened_with(seq, row, rows))
    elif kind == RecordKind.FUNDING:
        notional = instruments[row["symbol"]].notional(totals.lots.get(key, 0), row["price"])
        _equal(seq, "funding", row["amount"], -round(notional * row["value"]))
        totals.cash += row["amount"]
        totals.funding += row["amount"]
    elif kind in (RecordKind.INTEREST, RecordKind.SETTLEMENT):
        (_interest if kind == RecordKind.INTEREST else _settle)(seq, row, totals, instruments, rates)
    elif kind == RecordKind.SPLIT:
        _split_orders(row, totals, key)
        if row["order_id"] == NONE:
            _split(seq, row, totals)
    elif kind == RecordKind.CASH_IN_LIEU:
        _pay_rest(seq, row, totals, instruments[row["symbol"]])
    elif kind == RecordKind.DIVIDEND:
        _equal(seq, "lots", row["qty"], abs(totals.lots.get(key, 0)))
        _equal(seq, "dividend", row["amount"], instruments[row["symbol"]].notional(totals.lots.get(key, 0), row["price"]))
        totals.cash += row["amount"]
        totals.dividends += row["amount"]
    elif kind == RecordKind.INSURANCE:
        _equal(seq, "insurance", row["amount"], totals.insured.pop(row["cause"], 0))
        totals.cash += row["amount"]
        totals.insurance += row["amount"]
    elif kind == RecordKind.CONVERSION:
        _convert(seq, row, instruments[row["symbol"]])
    elif kind == RecordKind.POSITION:
        fill = rows[row["cause"]]
        _equal(seq, "lots left", row["qty"], abs(totals.lots.get(key, 0)))
        _equal(seq, "order", row["order_id"], fill["order_id"])
        _equal(seq, "realised", row["amount"], totals.realised_by_fill.pop(row["cause"]))


def _convert(seq: int, row: dict[str, Any], instrument: _Instrument) -> None:
    """Account money for quote money, from here on."""
    if not instrument.converts:
        raise LedgerError(f"record {seq}: a CONVERSION, but the symbol is quoted in the currency of the account")
    if not 0.0 < row["value"] < math.inf:
        raise LedgerError(f"record {seq}: {row['value']} is no rate of conversion")
    instrument.rate = row["value"]


def _interest(seq: int, row: dict[str, Any], totals: Totals, instruments: list[_Instrument], rates: _Rates) -> None:
    """A day at the rate of its date, on a spot short at the price of the record, or on cash below zero.  # R6.4"""
    of_debt = row["symbol"] == NONE
    dated = rates.interest if of_debt else instruments[row["symbol"]].borrow
    rate = ([0.0] + [rate for since, rate in dated if since <= row["ts"]])[-1]
    if row["ts"] % DAY_US or rate != row["value"]:
        raise LedgerError(f"record {seq}: interest at {row['value']} a year at {row['ts']}; it is due at 00:00 UTC, at {rate}")
    owed = (
        -totals.cash if of_debt else -instruments[row["symbol"]].value(totals.lots.get((row["strategy"], row["symbol"]), 0), row["price"])
    )
    if rate == 0 or owed < 0 or (of_debt and owed == 0):
        raise LedgerError(f"record {seq}: interest, but nothing is owed")
    _equal(seq, "interest", row["amount"], -round(owed * (rate / 365)))
    _equal(seq, "lots", row["qty"], 0 if of_debt else abs(totals.lots[row["strategy"], row["symbol"]]))
    totals.cash += row["amount"]
    totals.interest += row["amount"]
    totals.debt_interest += row["amount"] if of_debt else 0


def _settle(seq: int, row: dict[str, Any], totals: Totals, instruments: list[_Instrument], _: _Rates) -> None:
    """A future at its time of day: what it is worth beyond its cost goes into cash, and is its cost from then on.  # R6.2"""
    instrument = instruments[row["symbol"]]
    key, of_day = (row["strategy"], row["symbol"]), (row["ts"] - (instrument.settlement or 0)) % DAY_US
    if instrument.settlement is None or of_day or key not in totals.lots:
        raise LedgerError(f"record {seq}: a settlement at {row['ts']}, where no future is held that settles then")
    worth = instrument.value(totals.lots[key], row["price"])
    _equal(seq, "settlement", row["amount"], instrument.profit(worth - totals.costs[key]))
    _equal(seq, "lots", row["qty"], abs(totals.lots[key]))
    totals.costs[key] = worth
    totals.cash += row["amount"]
    totals.realised += row["amount"]


def _opened_with(seq: int, row: dict[str, Any], rows: list[dict[str, Any]]) -> int:
    """Lots that a reversal opens by the fill that closes; 0 for any other fill.  # R6.4"""
    if row["reason"] != Reason.REVERSED:
        return 0
    if rows[seq + 1]["qty"] != 0:  # a part of the position is left: the bar had no volume for more
        return 0
    later = (one for one in rows[seq + 1 : seq + REVERSAL] if one["kind"] == RecordKind.FILL and one["order_id"] == row["order_id"])
    return int(next((one["qty"] for one in later), 0))


def _fee(row: dict[str, Any], totals: Totals, instrument: _Instrument, bps: float, opened: int) -> int:
    """Fee of a fill; that of a reversal is split by lots, and the part that opens takes the rest.  # R6.4

    The fee of a user's own model is taken as it stands: the ledger does not hold the model, and only a replay can check it.
    """
    if row["order_id"] in totals.owed:
        return totals.owed.pop(row["order_id"])
    if instrument.own_fees:
        return int(row["fee"])
    whole = instrument.fee(row["qty"] + opened, row["price"], bps)
    part = round(whole * (row["qty"] / (row["qty"] + opened)))
    if opened:
        totals.owed[row["order_id"]] = whole - part
    return part


def _check_order(seq: int, row: dict[str, Any], totals: Totals) -> None:
    """An entry fills no more than was ordered, and a limit at no worse a price than its own.  # R2.5"""
    order = totals.orders.get(row["order_id"])
    if order is None or order.side != row["side"]:  # the fill of an exit, which a bracket books under the entry's id
        return
    if order.limit and order.side * (row["price"] - order.limit) > 0:
        raise LedgerError(f"record {seq}: order {row['order_id']} fills at {row['price']}, beyond its limit of {order.limit}")
    if not order.sized:
        return
    order.lots -= row["qty"]
    if order.lots < 0:
        raise LedgerError(f"record {seq}: order {row['order_id']} fills {-order.lots} lots more than were ordered")
    if bool(row["flags"] & MORE) != (order.lots > 0):
        raise LedgerError(f"record {seq}: order {row['order_id']} has {order.lots} lots to fill, and its flags say otherwise")


def _fill(seq: int, row: dict[str, Any], totals: Totals, instrument: _Instrument, rates: _Rates, opened: int) -> None:
    if instrument.converts and math.isnan(instrument.rate):
        raise LedgerError(f"record {seq}: a fill in another currency than the account's, and no CONVERSION before it")
    key, signed = (row["strategy"], row["symbol"]), row["side"] * row["qty"]
    fee = 0
    end = instrument.expiry, int(EventKind.SETTLEMENT)  # what is inside the bar that ends there comes before
    when = row["ts"], row["phase"]
    if instrument.expiry is not None and (when > end or (row["reason"] == Reason.EXPIRED) != (when == end)):
        raise LedgerError(
            f"record {seq}: a fill ({Reason(row['reason']).name}) at {row['ts']} of a contract that expires at {instrument.expiry}"
        )
    if row["reason"] not in (Reason.DELISTED, Reason.EXPIRED):
        fee = _fee(row, totals, instrument, rates.bps(row["ts"], maker=bool(row["flags"] & MAKER)), opened)
        if row["reason"] == Reason.LIQUIDATED:
            fee += round(abs(instrument.notional(row["qty"], row["price"])) * instrument.liquidation_fee)
        rates.note(row["ts"], abs(instrument.notional(row["qty"], row["price"])))
    _equal(seq, "fee", row["fee"], fee)
    before, value = totals.lots.get(key, 0), instrument.value(signed, row["price"])
    realised, after = 0, before + signed
    if before * signed >= 0:
        totals.costs[key] = totals.costs.get(key, 0) + value
        totals.margins[key] = totals.margins.get(key, 0) + round(abs(instrument.notional(row["qty"], row["price"])) / instrument.leverage)
    elif before * after < 0:
        raise LedgerError(f"record {seq}: {row['qty']} lots close a position of {abs(before)}; a reversal is two fills")
    else:
        cost = totals.costs[key]
        released = round(cost * (row["qty"] / abs(before))) if after else cost
        realised = instrument.profit(-value - released)
        totals.costs[key] = cost - released
        if row["reason"] == Reason.LIQUIDATED and instrument.isolated and fee - realised > totals.margins[key]:
            totals.insured[seq] = fee - realised - totals.margins[key]
        totals.margins[key] -= round(totals.margins[key] * (row["qty"] / abs(before)))
    totals.lots[key] = after
    if after == 0:
        del totals.lots[key], totals.costs[key], totals.margins[key]
    totals.realised_by_fill[seq] = realised
    amount = (-value if instrument.spot else realised) - fee
    _equal(seq, "amount", row["amount"], amount)
    totals.cash += amount
    totals.realised += realised
    totals.fees += fee


def _split_orders(row: dict[str, Any], totals: Totals, key: tuple[int, int]) -> None:
    """Lots of pending entries after a split; that of a reversal closes what the position has become.  # R8.1"""
    held = totals.lots.get(key, 0)
    for number, order in totals.orders.items():
        if number == row["order_id"]:
            order.lots = row["qty"] + (abs(held) if held * order.side < 0 else 0)
            order.limit = 0.0  # on the tick again, at a price that the record does not say
        elif row["order_id"] == NONE and order.key == key and held * order.side < 0:
            order.lots += row["qty"] - abs(held)


def _split(seq: int, row: dict[str, Any], totals: Totals) -> None:
    """Whole lots of the new units; both terms of a ratio follow from its value, for they are at most 1000."""
    key, ratio = (row["strategy"], row["symbol"]), Fraction(row["value"]).limit_denominator(MAX_TERM)
    held = totals.lots.get(key, 0)
    before = abs(held) * ratio.numerator
    lots, rest = divmod(before, ratio.denominator)
    _equal(seq, "lots after the split", row["qty"], lots)
    totals.lots[key] = lots if held > 0 else -lots
    totals.rest = _Rest(rest, before, ratio.denominator) if rest else None


def _pay_rest(seq: int, row: dict[str, Any], totals: Totals, instrument: _Instrument) -> None:
    key, rest = (row["strategy"], row["symbol"]), totals.rest
    if rest is None:
        raise LedgerError(f"record {seq}: CASH_IN_LIEU, but the split before it leaves whole lots")
    _equal(seq, "part of a lot", row["qty"] * rest.den, rest.parts * int(row["value"]))
    lots, cost = totals.lots[key], totals.costs[key]
    quantity = -row["side"] * instrument.quantity(rest.parts) / rest.den
    worth = instrument.value_of(quantity, row["price"])
    released = round(cost * (rest.parts / rest.before)) if lots else cost
    totals.costs[key] = cost - released
    totals.margins[key] -= round(totals.margins[key] * (rest.parts / rest.before))
    if lots == 0:
        del totals.lots[key], totals.costs[key], totals.margins[key]
    realised = instrument.profit(worth - released)
    amount = worth if instrument.spot else realised
    _equal(seq, "amount", row["amount"], amount)
    totals.cash += amount
    totals.cash_in_lieu += realised
    totals.realised_by_fill[seq] = realised
    totals.rest = None


def _check_cause(seq: int, row: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    cause = row["cause"]
    if not NONE <= cause < seq:
        raise LedgerError(f"record {seq}: its cause {cause} is not a record before it")
    allowed = CAUSES.get(RecordKind(row["kind"]))
    if row["kind"] == RecordKind.INTEREST and row["symbol"] == NONE:  # of the account's debt, which nothing but cash shows
        allowed = None
    if row["kind"] == RecordKind.ORDER and row["reason"] == Reason.REBALANCED and row["proposal"] == NONE:
        allowed = (RecordKind.REJECTED, RecordKind.CANCELLED)  # of the target that was to turn the position round
    if allowed is not None and (cause == NONE or rows[cause]["kind"] not in allowed):
        found = "nothing" if cause == NONE else RecordKind(rows[cause]["kind"]).name
        raise LedgerError(
            f"record {seq}: a {RecordKind(row['kind']).name} follows from {' or '.join(k.name for k in allowed)}, not from {found}"
        )


def _check_end(rows: list[dict[str, Any]], totals: Totals) -> None:
    last = rows[-1] if rows else None
    if last is None or last["kind"] != RecordKind.RUN_END:
        raise LedgerError("the ledger does not end with RUN_END: it was cut; replay the run")
    totals.final_equity = last["amount"]
    if not totals.lots:
        _equal(len(rows) - 1, "final equity", last["amount"], totals.cash)


def _equal(seq: int, what: str, said: int, found: int) -> None:
    if said != found:
        raise LedgerError(f"record {seq}: {what} {said}, recomputed {found}")
