"""Coasting: the inner loop over the bars of the only position while nothing else is pending.

For a bar in which nothing happens, all that the replay does is a mark and a sample.  This loop does just that, in local variables, and
stops before the first bar in which anything else may happen; that bar is left untouched for the replay.
"""

import numpy as np

from engine.bars import touch
from engine.exits import closed_through, ranged_stop, reached_by_open, trail
from engine.halts import day_end
from engine.kernel import kernel
from engine.life import last_sample
from engine.money import MONEY_LIMIT, value
from engine.orders import time_position
from engine.prices import open_price
from engine.proposals import Proposals
from engine.schema import NONE, Reason, StopCheck
from engine.state import State
from engine.tape import Tape


@kernel
def coast(tape: Tape, proposals: Proposals, state: State, until: int) -> None:
    """Run over quiet bars of the only position, marking and sampling.  # R10.1"""
    account, rules = state.account[0], state.rules[0]
    if (
        account["n_held"] != 1
        or account["n_queue"] != 0
        or account["n_exits"] != 0
        or rules["watching"]
        or rules["liquidates"]
        or rules["converts"]
    ):
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
    while row < stop and tape.ts[row] < horizon:
        now = tape.ts[row]
        if levels and moved_by_bar(tape, state, slot, row, row != position["row"] or tape.open_ts[row] > account["now"], plain):
            break
        if k < len(tape.grid) and tape.grid[k] < now:
            if current != last:
                break
            while k < len(tape.grid) and tape.grid[k] < now:
                state.equity[k] = last
                k += 1
        at_mark = value(qty, tape.mark[row], multiplier, scale, inverse)
        equity = current + at_mark - worth
        if equity <= 0 or equity >= MONEY_LIMIT or abs(at_mark) >= MONEY_LIMIT:
            break
        if k < len(tape.grid) and tape.grid[k] == now:
            if watched:
                day, before = (midnight, base) if now <= midnight else (day_end(now), last)
                top = max(peak, equity) if drawdown_on else peak
                if alerts(watch, now, day, before, top, equity):
                    break
                midnight, base, peak = day, before, top
            last = state.equity[k] = equity
            k += 1
        current, worth = equity, at_mark
        row += 1
    if row == position["row"]:
        return
    account["open_value"] += worth - position["value"]
    if position["pooled"]:
        account["open_profit"] += worth - position["value"]
    position["value"], position["row"] = worth, row
    account["sampled"], account["last_equity"] = k, last
    watch["day_base"], watch["day_end"], watch["peak"], watch["last"] = base, midnight, peak, last
    account["now"] = tape.ts[row - 1]
    time_position(state, tape, slot)
    if levels and row < tape.stop[position["symbol"]] and tape.open_ts[row] == account["now"]:
        position["next_ts"] = account["now"]
    account["next_due"] = min(position["next_ts"], account["interest_ts"]) if rules["charging"] else position["next_ts"]


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
        stop, limit = (position["stop"], 0) if plain else (ranged_stop(state, slot), rules["limit_touch"])
        if reached_by_open(side, opened, stop, position["target"], limit) != Reason.NONE:
            return True
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
