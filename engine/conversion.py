"""Account money for quote money, where a symbol is quoted in another currency than the account's."""

import numpy as np

from engine.kernel import kernel, shared
from engine.money import MONEY_LIMIT, money
from engine.records import post
from engine.schema import NONE, Reason, RecordKind
from engine.state import State
from engine.tape import Tape


@kernel
def learn_rates(tape: Tape, state: State, now: int) -> None:
    """Take the last closes up to an instant as the rates in force."""
    if state.rules[0]["converts"]:
        read_rates(tape, state, now)


@shared
def read_rates(tape: Tape, state: State, now: int) -> None:
    """Go on through the rows of every symbol that has rates."""
    for symbol in range(len(state.rates)):
        rate, stop = state.rates[symbol], tape.rate_stop[symbol]
        while rate["row"] < stop and tape.rate_ts[rate["row"]] <= now:
            rate["now"] = tape.rate[rate["row"]]
            rate["row"] += 1


@kernel
def in_account(tape: Tape, state: State, symbol: int, quoted: int) -> int:
    """Account money for quote money of a symbol, at the rate of now; what has ended at the limit of money stays there."""
    if not tape.specs[symbol]["converts"] or abs(quoted) >= MONEY_LIMIT:
        return quoted
    return money(quoted * state.rates[symbol]["now"])


@kernel
def is_unrated(tape: Tape, state: State, symbol: int) -> bool:
    """Whether a symbol is quoted in a currency whose worth is not known yet; the replay then stops."""
    if not tape.specs[symbol]["converts"] or not np.isnan(state.rates[symbol]["now"]):
        return False
    if state.account[0]["unrated"] == NONE:
        state.account[0]["unrated"] = symbol
    return True


@kernel
def tell_rate(tape: Tape, state: State, slot: int, now: int) -> None:
    """CONVERSION, where a record is to come that uses a rate the ledger does not know."""
    rate = state.rates[state.positions[slot]["symbol"]]
    if tape.specs[state.positions[slot]["symbol"]]["converts"] and rate["told"] != rate["now"]:
        rate["told"] = rate["now"]
        post(state, now, RecordKind.CONVERSION, Reason.NONE, slot, NONE, NONE, 0, 0, 0.0, 0, 0, rate["now"], NONE, 0, 0)
