"""Coasting: the inner loop over the bars of the only position while nothing else is pending.

For a bar in which nothing happens, all that the replay does is a mark and a sample.  This loop does just that, in local variables, and
stops before the first bar in which anything else may happen; that bar is left untouched for the replay.  Where the levels do not move, it
looks at many bars at a time (``glide``).
"""

import numpy as np

from engine.arrays import Floats
from engine.bars import touch
from engine.exits import closed_through, reached_by_open, trail
from engine.halts import day_end
from engine.kernel import kernel, shared
from engine.life import last_sample
from engine.money import MONEY_LIMIT, value
from engine.orders import time_position
from engine.prices import open_price
from engine.proposals import Proposals
from engine.schema import NONE, LimitTouch, Reason, StopCheck
from engine.state import State
from engine.tape import Tape, first_from

MANY = 64  # bars
FEW = 4  # bars that are not worth it


@kernel
def coast(tape: Tape, proposals: Proposals, state: State, until: int) -> None:
    """Run over quiet bars of the only position, marking and sampling.  # R10.1"""
    account, rules = state.account[0], state.rules[0]
    if not is_alone(state):
        return
    slot = state.held[0]
    position = state.positions[slot]
    row, stop = position["row"], min(tape.stop[position["symbol"]], position["max_row"])
    horizon = quiet_until(tape, proposals, state, slot, until)
    qty, multiplier, scale, inverse = position["qty"], position["multiplier"], rules["scale"], position["inverse"]
    levels, plain = position["levels"] != 0, rules["plain_exits"] != 0
    k, last, worth = account["sampled"], account["last_equity"], position["value"]
    current = account["cash"] + account["open_value"]
    watch = state.watches[0]
    base, midnight, peak = watch["day_base"], watch["day_end"], watch["peak"]
    drawdown_on = watch["resume_at"] == NONE
    watched = watch["daily_loss"] < np.inf or watch["drawdown"] < np.inf
    glides = not watched and plain and not position["moves"] and position["change"] == NONE
    rough = row  # the first bar from which many may be looked at
    while row < stop and tape.ts[row] < horizon:
        if glides and row >= rough:
            ahead = bars_ahead(tape, row, stop, horizon, k)
            quiet = glide(tape, state, slot, row, k, ahead, current - worth) if ahead > FEW else 0
            if quiet > 0:
                row, k = row + quiet, k + quiet
                worth, current = worth + state.equity[k - 1] - current, state.equity[k - 1]
                last = current
            if quiet < ahead or ahead == 0:
                rough = row + MANY
            continue
        now = tape.ts[row]
        if levels and moved_by_bar(tape, state, slot, row, row > position["row"] or tape.open_ts[row] > account["now"], plain):
            break
        if current != last and now > tape.grid[k]:  # every close is a sample: those of other symbols come first
            break
        while tape.grid[k] < now:
            state.equity[k] = last
            k += 1
        at_mark = value(qty, tape.mark[row], multiplier, scale, inverse)
        equity = current + at_mark - worth
        if equity <= 0 or equity >= MONEY_LIMIT or abs(at_mark) >= MONEY_LIMIT:
            break
        if watched:
            day, before = (midnight, base) if now <= midnight else (day_end(now), last)
            top = max(peak, equity) if drawdown_on else peak
            if alerts(watch, now, day, before, top, equity):
                break
            midnight, base, peak = day, before, top
        last = state.equity[k] = current = equity
        worth = at_mark
        k, row = k + 1, row + 1
    if row != position["row"]:
        watch["day_base"], watch["day_end"], watch["peak"], watch["last"] = base, midnight, peak, last
        account["sampled"], account["last_equity"] = k, last
        land(tape, state, slot, row, worth)


@kernel
def land(tape: Tape, state: State, slot: int, row: int, worth: int) -> None:
    """Leave the position as the replay would, marked to all bars before ``row``."""
    account, position = state.account[0], state.positions[slot]
    account["open_value"] += worth - position["value"]
    if position["pooled"]:
        account["open_profit"] += worth - position["value"]
    position["value"], position["row"] = worth, row
    account["now"] = tape.ts[row - 1]
    time_position(state, tape, slot)
    if position["levels"] and row < tape.stop[position["symbol"]] and tape.open_ts[row] == account["now"]:
        position["next_ts"] = account["now"]
    account["next_due"] = min(position["next_ts"], account["interest_ts"]) if state.rules[0]["charging"] else position["next_ts"]


@kernel
def is_alone(state: State) -> bool:
    """Whether there is one position and nothing beside it that its bars could decide."""
    account, rules = state.account[0], state.rules[0]
    waits = account["n_queue"] != 0 or account["n_exits"] != 0
    return account["n_held"] == 1 and not (waits or rules["watching"] or rules["liquidates"] or rules["converts"])


@kernel
def bars_ahead(tape: Tape, row: int, stop: int, horizon: int, k: int) -> int:
    """How many bars from ``row`` on, at most MANY, close before the horizon, each at a sample of its own from ``k`` on; 0 if samples lie between."""
    ahead = first_from(tape.ts, row, row + min(MANY, stop - row), horizon) - row
    return ahead if tape.grid[k + ahead - 1] == tape.ts[row + ahead - 1] else 0


@shared
def glide(tape: Tape, state: State, slot: int, row: int, k: int, n: int, base: int) -> int:
    """Sample up to ``n`` bars of a position whose levels stay, ``base`` being the equity without its value; how many are quiet for certain."""
    position = state.positions[slot]
    qty, multiplier, scale, inverse = position["qty"], position["multiplier"], state.rules[0]["scale"], position["inverse"]
    marks, sampled, solvent = tape.mark[row : row + n], state.equity[k : k + n], True
    for i in range(n):
        at_mark = value(qty, marks[i], multiplier, scale, inverse)
        sampled[i] = base + at_mark
        solvent &= abs(at_mark) < MONEY_LIMIT and 0 < base + at_mark < MONEY_LIMIT
    if not (solvent and position["levels"]):
        return n if solvent else 0
    if position["side"] > 0:
        return bars_between(position["stop"], position["target"], tape.bid_open, tape.bid_high, tape.bid_low, row, n)
    return bars_between(position["target"], position["stop"], tape.ask_open, tape.ask_high, tape.ask_low, row, n)


@kernel
def bars_between(under: float, over: float, opens: Floats, highs: Floats, lows: Floats, row: int, n: int) -> int:
    """How many bars pass before one reaches either of two levels, each of which may be missing (NaN)."""
    opened, high, low, inside = opens[row : row + n], highs[row : row + n], lows[row : row + n], True
    for i in range(n):
        inside &= is_between(under, over, opened[i], high[i], low[i])
    passed = n if inside else 0
    while passed < n and is_between(under, over, opened[passed], high[passed], low[passed]):
        passed += 1
    return passed


@kernel
def is_between(under: float, over: float, opened: float, high: float, low: float) -> bool:
    """Whether a bar reaches neither level."""
    return not ((low <= under) | (opened <= under) | (high >= over) | (opened >= over))


@kernel
def alerts(watch: np.void, now: int, midnight: int, base: int, peak: int, equity: int) -> bool:
    """Whether a sample may start or end a halt of the portfolio, which the replay then does in full.  # R5.3"""
    if base - equity >= watch["daily_loss"] * base and watch["day_halt_until"] != midnight:
        return True
    if watch["resume_at"] != NONE:
        return now >= watch["resume_at"]
    return peak - equity >= watch["drawdown"] * peak


@kernel
def moved_by_bar(tape: Tape, state: State, slot: int, row: int, opens: bool, plain: bool) -> bool:
    """Whether a bar reaches a level of the position by its inside or, if that is still to come, by its open."""
    position, rules = state.positions[slot], state.rules[0]
    side = position["side"]
    if opens:
        trail(state, tape, slot, row)
        opened = open_price(tape, -side, row)
        if reached_by_open(side, opened, position["stop"], position["target"], LimitTouch.TOUCH) != Reason.NONE:
            return True  # though an option may say otherwise, which the replay looks at
    if not plain and rules["stop_check"] == StopCheck.CLOSE and closed_through(state, tape, slot, row):
        return True
    return touch(tape, state, slot, row, plain)[0] != Reason.NONE


@kernel
def quiet_until(tape: Tape, proposals: Proposals, state: State, slot: int, until: int) -> int:
    """First time at which the only position may meet anything but its own bars."""
    horizon = min(min(until, last_sample(tape, state)) + 1, state.positions[slot]["other_ts"])
    if state.rules[0]["charging"]:
        horizon = min(horizon, state.account[0]["interest_ts"])
    if state.account[0]["next_proposal"] < len(proposals.available_ts):
        horizon = min(horizon, proposals.available_ts[state.account[0]["next_proposal"]])
    return horizon
