"""Participation: how much of a bar the orders of its symbol may fill, all together.  # R2.6"""

import numpy as np

from engine.kernel import kernel, shared
from engine.money import whole_lots
from engine.splits import restated_volume
from engine.state import State
from engine.tape import Tape, rules_at


@kernel
def volume_left(state: State, tape: Tape, symbol: int, row: int, wanted: int, promised: int) -> int:
    """Lots, up to those wanted, that a bar has left, those promised to other orders aside."""
    if state.rules[0]["participation"] == np.inf:
        return wanted
    return limited_by_volume(state, tape, symbol, row, wanted, promised)


@shared
def limited_by_volume(state: State, tape: Tape, symbol: int, row: int, wanted: int, promised: int) -> int:
    """What a share of the last volume known at the bar's open allows (``participation_current``: of its own), less what was taken."""
    rules, taken = state.rules[0], state.taken[symbol]
    known = row if rules["participation_current"] else row - 1
    if known < tape.oldest[symbol]:
        return 0
    rule = tape.rules[rules_at(tape, symbol, state.account[0]["now"])]
    most = whole_lots(rules["participation"] * restated_volume(state, tape, symbol, known), rule["lot"]) * rule["lot_step"]
    used = taken["lots"] if taken["row"] == row else 0
    return int(max(0, min(wanted, most - used - promised)))


@kernel
def take_volume(state: State, symbol: int, row: int, lots: int) -> None:
    """Count what a fill takes of its bar."""
    if state.rules[0]["participation"] < np.inf:
        taken = state.taken[symbol]
        taken["lots"] = lots + (taken["lots"] if taken["row"] == row else 0)
        taken["row"] = row
