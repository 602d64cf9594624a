"""Ledger records in words, with names, quantities and amounts as a trader writes them."""

from collections.abc import Callable

import numpy as np

from engine.ledger import Ledger
from engine.round_trips import Row, causes, rows_of
from engine.schema import NONE, Reason, RecordKind
from pipeline.summary import money_in


def number(value: float, digits: int = 10) -> str:
    """A price or a quantity: as many significant digits as it has, ten at most.

    >>> number(103412.5), number(0.00012340), number(2.0)
    ('103,412.5', '0.0001234', '2')
    """
    text = f"{value:,.{digits}g}"
    if "e" not in text:
        return text
    text = f"{value:,.12f}"
    return text.rstrip("0").rstrip(".")


def moment(ts: int) -> str:
    """A time in us, UTC, to the minute, or as fine as it is.

    >>> moment(1_748_736_000_000_000), moment(1_748_736_001_500_000)
    ('2025-06-01 00:00', '2025-06-01 00:00:01.500000')
    """
    text = str(np.datetime64(ts, "us")).replace("T", " ")
    return text.removesuffix(".000000").removesuffix(":00") if text.endswith(":00.000000") else text.removesuffix(".000000")


def span_text(microseconds: int) -> str:
    """A length of time.

    >>> span_text(93_600_000_000), span_text(5_400_000_000), span_text(0)
    ('1 day 2 h', '1 h 30 min', '0 min')
    """
    minutes = microseconds // 60_000_000
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [f"{days:,} day{'s' if days != 1 else ''}"] if days else []
    parts += [f"{hours} h"] if hours else []
    parts += [f"{rest} min"] if (rest and not days) or not parts else []
    return " ".join(parts)


def reason_of(code: int) -> str:
    """Name of a reason, in lower case."""
    return Reason(code).name.lower()


class Words:
    """The words for one ledger."""

    def __init__(self, ledger: Ledger, rows: list[Row] | None = None) -> None:
        self.ledger = ledger
        self.rows = rows_of(ledger) if rows is None else rows
        self.scale = 10 ** int(ledger.header["decimals"])
        self.decimals = int(ledger.header["decimals"])
        self.ranked_by = "key" if "selector" in ledger.header["models"] else "score"

    def amount(self, units: int) -> str:
        """Money, to the cent."""
        return money_in(self.decimals)(units / self.scale)

    def exact(self, units: int) -> str:
        """Money, to the last unit."""
        sign, units = ("-" if units < 0 else ""), abs(units)
        whole, part = divmod(units, self.scale)
        return f"{sign}{whole:,}" + (f".{part:0{self.decimals}d}" if self.decimals else "")

    def quantity(self, row: Row, name: str = "qty") -> float:
        """A quantity of a record, of its lots."""
        units, power = self.ledger.header["instruments"][self.symbol(row)]["lot"]
        return float(row[name] * units / power)

    def symbol(self, row: Row) -> str:
        """Name of the symbol; empty for the whole account."""
        return self.ledger.symbols[row["symbol"]] if row["symbol"] != NONE else ""

    def strategy(self, row: Row) -> str:
        """Name of the strategy; empty for the whole account."""
        return self.ledger.strategies[row["strategy"]] if row["strategy"] != NONE else ""

    def record(self, seq: int) -> str:
        """One record: time, whose it is, and what happened."""
        row = self.rows[seq]
        whose = f"{self.symbol(row)} {self.strategy(row)}: " if row["symbol"] != NONE else ""
        tell = _TELLERS.get(RecordKind(row["kind"]), _other)
        return f"{moment(row['ts'])}  {whose}{tell(self, row)}"

    def chain(self, seq: int) -> list[str]:
        """The record and those that led to it, the first decision first."""
        return [self.record(at) for at in reversed(list(causes(self.rows, seq)))]


def _side(row: Row) -> str:
    return "buy" if row["side"] > 0 else "sell"


def _proposal(_: Words, row: Row) -> str:
    score = f", score {number(row['value'])}" if row["value"] else ""
    return f"proposal to {_side(row)}{score}"


def _selected(words: Words, row: Row) -> str:
    return f"selected, rank {row['rank']}, {words.ranked_by} {number(row['value'])}"


def _rejected(words: Words, row: Row) -> str:
    rank = f"rank {row['rank']}, {words.ranked_by}" if row["rank"] else "score"
    return f"entry to {_side(row)} refused: {reason_of(row['reason'])} ({rank} {number(row['value'])})"


def _approved(words: Words, row: Row) -> str:
    reserved = words.amount(row["amount"])
    return f"approved to {_side(row)} {number(words.quantity(row))} at a reference of {number(row['price'])}; {reserved} reserved"


def _order(words: Words, row: Row) -> str:
    why = f" to leave ({reason_of(row['reason'])})" if row["reason"] else ""
    return f"order {row['order_id']} to {_side(row)} {number(words.quantity(row))}{why}"


def _fill(words: Words, row: Row) -> str:
    did = "bought" if row["side"] > 0 else "sold"
    why = f" ({reason_of(row['reason'])})"
    return f"{did} {number(words.quantity(row))} at {number(row['price'])}, fee {words.amount(row['fee'])}{why}, order {row['order_id']}"


def _position(words: Words, row: Row) -> str:
    held = number(words.quantity(row, "position"))
    realised = f", {words.amount(row['amount'])} realised" if row["amount"] else ""
    return f"position {'flat' if not row['position'] else held}{realised}"


def _funding(words: Words, row: Row) -> str:
    return (
        f"funding {words.amount(row['amount'])} on {number(words.quantity(row))} at {number(row['price'])}, rate {row['value'] * 100:.4g} %"
    )


def _interest(words: Words, row: Row) -> str:
    on = f"a short of {number(words.quantity(row))} at {number(row['price'])}" if row["symbol"] != NONE else "cash below zero"
    return f"a day's interest {words.amount(row['amount'])} on {on}, rate {row['value'] * 100:.4g} % a year"


def _settlement(words: Words, row: Row) -> str:
    return f"settled {number(words.quantity(row))} at {number(row['price'])}: {words.amount(row['amount'])}"


def _cancelled(words: Words, row: Row) -> str:
    return f"order {row['order_id']} to {_side(row)} {number(words.quantity(row))} ended unfilled: {reason_of(row['reason'])}"


def _alert(words: Words, row: Row) -> str:
    return f"entries stop: {reason_of(row['reason'])}, {row['value'] * 100:.2f} % lost, equity {words.amount(row['amount'])}"


def _conversion(words: Words, row: Row) -> str:
    return f"1 {words.ledger.header['instruments'][words.symbol(row)]['quote']} is {number(row['value'], 7)} of the account's currency"


def _deposit(words: Words, row: Row) -> str:
    return f"deposit of {words.amount(row['amount'])}"


def _end(words: Words, row: Row) -> str:
    return f"the run ends ({reason_of(row['reason'])}), equity {words.amount(row['amount'])}"


def _other(words: Words, row: Row) -> str:
    """A kind of payment or change that has no sentence of its own."""
    why = f" ({reason_of(row['reason'])})" if row["reason"] else ""
    price = f" at {number(row['price'])}" if row["price"] else ""
    return f"{RecordKind(row['kind']).name.lower().replace('_', ' ')}{why} {words.amount(row['amount'])}{price}"


_TELLERS: dict[RecordKind, Callable[[Words, Row], str]] = {
    RecordKind.DEPOSIT: _deposit,
    RecordKind.PROPOSAL: _proposal,
    RecordKind.SELECTED: _selected,
    RecordKind.REJECTED: _rejected,
    RecordKind.APPROVED: _approved,
    RecordKind.ORDER: _order,
    RecordKind.FILL: _fill,
    RecordKind.POSITION: _position,
    RecordKind.FUNDING: _funding,
    RecordKind.INTEREST: _interest,
    RecordKind.SETTLEMENT: _settlement,
    RecordKind.CANCELLED: _cancelled,
    RecordKind.RISK_ALERT: _alert,
    RecordKind.CONVERSION: _conversion,
    RecordKind.RUN_END: _end,
}
