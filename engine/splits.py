"""Prices across splits: what was known before one, in terms of the units of today.  # R8.1

A price of the tape stays as it was quoted.  Whoever uses one that was known before now asks here what it is for a unit of now; so a split
costs nothing to the symbols that nobody holds.
"""

from engine.dataset import ACTIONS
from engine.kernel import kernel, shared
from engine.schema import EventKind, LevelKind
from engine.state import State
from engine.tape import Tape, known_until

SPLIT, DIVIDEND, DELIST = ACTIONS.index("split"), ACTIONS.index("dividend"), ACTIONS.index("delist")


@kernel
def restated(state: State, tape: Tape, symbol: int, price: float, ts: int) -> float:
    """A price known at ``ts`` in terms of the units of now."""
    if not state.rules[0]["splits"] or tape.action_first[symbol] == tape.action_stop[symbol]:
        return price
    return across_splits(tape, symbol, price, ts, actions_until(state, tape, symbol))


@kernel
def restated_level(state: State, tape: Tape, symbol: int, level: float, kind: int, ts: int) -> float:
    """A level of a proposal decided at ``ts``; fractions stay what they are."""
    return restated(state, tape, symbol, level, ts) if kind == LevelKind.PRICE else level


@kernel
def actions_until(state: State, tape: Tape, symbol: int) -> int:
    """One past the last action that has happened: those of this instant happen in CORPORATE_ACTION."""
    account = state.account[0]
    now = account["now"] if account["phase"] >= EventKind.CORPORATE_ACTION else account["now"] - 1
    return known_until(tape.action_ts, tape.action_first[symbol], tape.action_stop[symbol], now)


@kernel
def restated_volume(state: State, tape: Tape, symbol: int, row: int) -> float:
    """The volume of a bar in units of now."""
    volume = tape.volume[row]
    if not state.rules[0]["splits"] or tape.action_first[symbol] == tape.action_stop[symbol]:
        return volume
    return volume_across_splits(tape, symbol, volume, tape.ts[row], actions_until(state, tape, symbol))


@shared
def volume_across_splits(tape: Tape, symbol: int, volume: float, ts: int, stop: int) -> float:
    """A volume known at ``ts`` after all splits from then on that come before action ``stop``."""
    for at in range(known_until(tape.action_ts, tape.action_first[symbol], tape.action_stop[symbol], ts - 1), stop):
        if tape.action_kind[at] == SPLIT:
            volume = volume * tape.action_num[at] / tape.action_den[at]
    return volume


@shared
def across_splits(tape: Tape, symbol: int, price: float, ts: int, stop: int) -> float:
    """A price known at ``ts`` after all splits from then on that come before action ``stop``."""
    for at in range(known_until(tape.action_ts, tape.action_first[symbol], tape.action_stop[symbol], ts - 1), stop):
        if tape.action_kind[at] == SPLIT:
            price = price * tape.action_den[at] / tape.action_num[at]
    return price
