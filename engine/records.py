"""Writing ledger records: the only place that appends to the ledger."""

from engine.kernel import kernel, shared
from engine.money import MONEY_LIMIT
from engine.schema import NONE
from engine.state import State


@kernel
def mark_record(state: State, seq: int, flags: int) -> None:
    """Add flags to a record of this instant, of which more has come to be known."""
    record = state.ledger[seq]
    record["flags"] |= flags


@shared
def post(
    state: State,
    ts: int,
    kind: int,
    reason: int,
    slot: int,
    order_id: int,
    proposal: int,
    side: int,
    qty: int,
    price: float,
    fee: int,
    amount: int,
    value: float,
    cause: int,
    rank: int,
    flags: int,
) -> int:
    """Append one record and return its seq; ``slot`` is -1 for records of the whole account.  # R11.1"""
    account = state.account[0]
    seq = account["seq"]
    record = state.ledger[seq]
    record["ts"] = ts
    record["kind"] = kind
    record["reason"] = reason
    record["order_id"] = order_id
    record["proposal"] = proposal
    record["side"] = side
    record["qty"] = qty
    record["price"] = price
    record["fee"] = fee
    record["amount"] = amount
    record["cash"] = account["cash"]
    record["value"] = value
    record["cause"] = cause
    record["rank"] = rank
    record["flags"] = flags
    record["phase"] = account["phase"]
    if slot >= 0:
        position = state.positions[slot]
        record["symbol"] = position["symbol"]
        record["strategy"] = position["strategy"]
        record["position"] = position["lots"]
    else:
        record["symbol"] = NONE
        record["strategy"] = NONE
        record["position"] = 0
    if account["overflow"] == NONE and (abs(account["cash"]) >= MONEY_LIMIT or abs(amount) >= MONEY_LIMIT):
        account["overflow"] = record["symbol"] if slot >= 0 else len(state.positions) // len(state.desks)
        account["overflow_seq"] = seq
    account["seq"] = seq + 1
    return seq
