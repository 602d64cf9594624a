"""Interest by the day: on shorts of spot instruments, whose units are borrowed, and on cash below zero.  # R6.4

It is due at 00:00 UTC, after funding, on what was held and owed before; docs/ledger.md says which choices that holds.
"""

from engine.conversion import tell_rate
from engine.days import next_interest
from engine.funding import last_close
from engine.kernel import kernel, shared
from engine.money import interest_payment
from engine.orders import time_other_events
from engine.portfolio import value_at
from engine.records import post
from engine.schema import DAY_US, NEVER, NONE, Accounting, Reason, RecordKind
from engine.state import State
from engine.tape import Tape, known_until


@kernel
def yearly_rate_at(tape: Tape, whose: int, ts: int) -> float:
    """The rate in force, a fraction a year; 0 before the first."""
    first = tape.interest_first[whose]
    at = known_until(tape.interest_ts, first, tape.interest_stop[whose], ts) - 1
    return tape.interest_rate[at] if at >= first else 0.0


@shared
def pay_interest(tape: Tape, state: State, now: int) -> None:
    """FUNDING_UPDATE, after funding: the shorts in position order, then the debt that there is by then."""
    if now % DAY_US != 0:
        return
    account = state.account[0]
    for i in range(account["n_held"]):
        slot = state.held[i]
        if state.positions[slot]["daily_ts"] == now and state.positions[slot]["accounting"] == Accounting.SPOT:
            pay_for_borrowing(tape, state, slot, now)
    rate = yearly_rate_at(tape, len(tape.first), now)
    if account["cash"] < 0 and rate > 0.0:
        amount = interest_payment(-account["cash"], rate)
        account["cash"] += amount
        post(state, now, RecordKind.INTEREST, Reason.NONE, -1, NONE, NONE, 0, 0, 0.0, 0, amount, rate, NONE, 0, 0)


@kernel
def pay_for_borrowing(tape: Tape, state: State, slot: int, now: int) -> None:
    """One day of a short, on its value at the last close."""
    position = state.positions[slot]
    rate = yearly_rate_at(tape, position["symbol"], now)
    position["daily_ts"] = now + DAY_US
    time_other_events(state, tape, slot)
    if rate == 0.0:
        return
    price = last_close(tape, state, slot, now)
    tell_rate(tape, state, slot, now)
    amount = interest_payment(abs(value_at(state, slot, price)), rate)
    state.account[0]["cash"] += amount
    lots, cause = abs(position["lots"]), position["opened_seq"]
    post(state, now, RecordKind.INTEREST, Reason.NONE, slot, NONE, NONE, 0, lots, price, 0, amount, rate, cause, 0, 0)


@kernel
def time_debt(tape: Tape, state: State, now: int) -> int:
    """Set when the account next pays interest on cash below zero.  # R10.1"""
    account = state.account[0]
    account["interest_ts"] = next_interest(tape, len(tape.first), now) if account["cash"] < 0 else NEVER
    return account["interest_ts"]
