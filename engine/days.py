"""What comes once a day to a position or to the account, and when next: interest, and the settlement of a future."""

from engine.halts import day_end
from engine.kernel import kernel
from engine.schema import NEVER
from engine.state import State
from engine.tape import Tape


@kernel
def next_interest(tape: Tape, whose: int, after: int) -> int:
    """First midnight after a time at which a rate may be in force, for shorts of a symbol or (last) the debt; NEVER without rates."""
    first = tape.interest_first[whose]
    if first == tape.interest_stop[whose]:
        return NEVER
    return day_end(max(after + 1, tape.interest_ts[first]))


@kernel
def next_daily(tape: Tape, state: State, slot: int, after: int) -> int:
    """When a position next pays interest or is settled, after a time; NEVER: not at all.  # R10.1"""
    rules, position = state.rules[0], state.positions[slot]
    if not rules["charging"] and not rules["settling"]:
        return NEVER
    spec = tape.specs[position["symbol"]]
    if spec["future"]:
        return day_end(after + 1 - spec["settlement"]) + spec["settlement"]
    return next_interest(tape, position["symbol"], after) if position["side"] < 0 else NEVER
