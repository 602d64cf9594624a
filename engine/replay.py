"""The replay: one loop over the instants at which anything can change.

At each instant, in the order of R1.2:

1. BAR_PATH: touches inside the bars that end now (``exits``, ``execution``)
2. FUNDING_UPDATE: payments on positions held (``money``)
3. CANDLE_CLOSE: marks and ages (``portfolio``, ``orders``)
4. UNIVERSE_UPDATED: symbols that leave (``orders``)
5. TRADE_PROPOSED: ruin, the equity sample and halts (``halts``), exits, selection (``selector``)
6. RISK: the gate (``risk``)
7. EXECUTION: orders rest, or fill at the close (``orders``, ``execution``)
8. CORPORATE_ACTION: delistings
9. BAR_OPEN: what the open decides

Spread snapshots are looked up where a fill needs one.  This module owns the order and the clocks, and no business rule.
"""

import numpy as np

from engine.execution import close_as_taker, close_by_order, close_position, close_price, fill_entry, open_price
from engine.exits import gap_price, reached_by_open, reason_of_stop, touched, trail
from engine.halts import halted, sample_due, sample_equity
from engine.kernel import kernel
from engine.money import funding_payment, value
from engine.orders import drop_all_entries, drop_entry, drop_exit, order_exit, queue_entry, sweep_queue, time_entry, time_position
from engine.portfolio import book_value, equity, revalue
from engine.records import post
from engine.risk import gate
from engine.schema import AMBIGUOUS, MAKER, NEVER, NONE, Action, Reason, RecordKind, Timing
from engine.selector import select
from engine.state import State
from engine.tape import Proposals, Tape

DONE, FULL, PAUSED, OVERFLOW = 0, 1, 2, 3


@kernel
def replay(tape: Tape, proposals: Proposals, state: State, until: int) -> int:
    """Replay to the end, or through the last instant at or before ``until``.

    Returns
    -------
    int
        DONE; PAUSED at ``until``; FULL: the ledger needs room, call again with a larger one; OVERFLOW: see ``account["overflow"]``.
    """
    account = state.account[0]
    if account["seq"] == 0:
        start = state.rules[0]["start_us"]
        post(state, start, RecordKind.DEPOSIT, Reason.NONE, -1, NONE, NONE, 0, 0, 0.0, 0, account["cash"], 0.0, NONE, 0, 0)
    while not account["ended"]:
        coast(tape, proposals, state, until)
        now = next_instant(tape, proposals, state)
        if now > until:
            return PAUSED
        if account["overflow"] != NONE:
            return OVERFLOW
        batch = proposals_at(proposals, account["next_proposal"], now)
        if len(state.ledger) - account["seq"] < 64 + 16 * (account["n_held"] + account["n_queue"]) + 12 * batch:
            return FULL
        if now == NEVER:
            finish(tape, state)
        else:
            account["now"] = now
            instant(tape, proposals, state, now, batch)
    return OVERFLOW if account["overflow"] != NONE else DONE


@kernel
def next_instant(tape: Tape, proposals: Proposals, state: State) -> int:
    """The earliest time at which anything can change; NEVER at the end.  # R10.1"""
    account = state.account[0]
    now = NEVER
    if account["next_proposal"] < len(proposals.available_ts):
        now = proposals.available_ts[account["next_proposal"]]
    for i in range(account["n_held"]):
        now = min(now, state.positions[state.held[i]]["next_ts"])
    for i in range(account["n_queue"]):
        now = min(now, state.entries[state.queue[i]]["next_ts"])
    if account["sampled"] < len(tape.grid) and equity(state) != account["last_equity"]:
        now = min(now, tape.grid[account["sampled"]])
    return now if now <= last_sample(tape, state) else NEVER


@kernel
def last_sample(tape: Tape, state: State) -> int:
    """The last instant of the run."""
    return tape.grid[-1] if len(tape.grid) > 0 else state.rules[0]["start_us"]


@kernel
def proposals_at(proposals: Proposals, first: int, now: int) -> int:
    """How many proposals from ``first`` on are known from ``now``."""
    stop = first
    while stop < len(proposals.available_ts) and proposals.available_ts[stop] == now:
        stop += 1
    return stop - first


@kernel
def instant(tape: Tape, proposals: Proposals, state: State, now: int, batch: int) -> None:
    """Everything that happens at one timestamp, in the order of R1.2."""
    account, timing = state.account[0], state.rules[0]["timing"]
    first = account["next_proposal"]
    stop = first + batch
    account["next_proposal"] = stop
    if account["n_levels"] > 0:
        bar_paths(tape, state, now)
    pay_funding(tape, state, now)
    closed = close_candles(tape, state, now)
    update_universe(tape, state, now)
    if closed or sample_due(tape, state, now):
        close_if_ruined(tape, state, now)
        if account["ended"]:
            return
    sample_equity(state, tape, now)
    if timing == Timing.NEXT_CLOSE:
        fill_exits_at_close(tape, state, now)
    if batch > 0:
        propose_exits(tape, proposals, state, first, stop, now)
    if timing == Timing.CLOSE:
        fill_exits_at_close(tape, state, now)
    n_approved = 0
    if batch > 0:
        n_approved = select(state, tape, proposals, first, stop, now, halted(state, now))
        if n_approved > 0:
            gate(state, tape, proposals, n_approved, now)
    if timing == Timing.NEXT_CLOSE:
        fill_entries(tape, proposals, state, now, False)
    if n_approved > 0:
        execute(tape, proposals, state, n_approved, now)
    delist(tape, state, now)
    open_bars(tape, proposals, state, now)
    for i in range(account["n_held"]):
        if state.positions[state.held[i]]["next_ts"] <= now:
            time_position(state, tape, state.held[i])
    for i in range(account["n_queue"]):
        time_entry(state, tape, state.queue[i])


@kernel
def coast(tape: Tape, proposals: Proposals, state: State, until: int) -> None:
    """Run over the bars of the only position while nothing else is pending, up to the first bar in which anything happens.

    All that ``instant`` does for such a bar is a mark and a sample; this inner loop does just that, and leaves the rest untouched.
    """
    account = state.account[0]
    if account["n_held"] != 1 or account["n_queue"] != 0 or account["n_exits"] != 0:
        return
    slot = state.held[0]
    position, symbol = state.positions[slot], slot // len(state.desks)
    side, levels, max_row = position["side"], position["levels"] != 0, position["max_row"]
    multiplier, scale = tape.specs[symbol]["multiplier"], state.rules[0]["scale"]
    horizon = quiet_until(tape, proposals, state, slot, until)
    row, stop, seen = position["row"], tape.stop[symbol], account["now"]
    while row < stop and row != max_row and tape.ts[row] < horizon and account["seq"] + 64 < len(state.ledger):
        if levels:
            if tape.open_ts[row] > seen or row != position["row"]:
                trail(state, tape, slot, row)
                if reached_by_open(side, open_price(tape, -side, row), position["stop"], position["target"]) != Reason.NONE:
                    break
            if touch(tape, state, slot, row)[0] != Reason.NONE:
                break
        now, current, k = tape.ts[row], equity(state), account["sampled"]
        if current != account["last_equity"] and k < len(tape.grid) and tape.grid[k] < now:
            break
        at_mark = value(position["qty"], tape.mark[row], multiplier, scale)
        if current + at_mark - position["value"] <= 0:
            break
        book_value(state, tape, slot, at_mark, position["cost"])
        sample_equity(state, tape, now)
        row += 1
    if row != position["row"]:
        position["row"] = row
        account["now"] = tape.ts[row - 1]
        time_position(state, tape, slot)
        if levels and row < stop and tape.open_ts[row] == account["now"]:
            position["next_ts"] = account["now"]


@kernel
def quiet_until(tape: Tape, proposals: Proposals, state: State, slot: int, until: int) -> int:
    """First time at which the only position may meet anything but its own bars."""
    account, position, symbol = state.account[0], state.positions[slot], slot // len(state.desks)
    horizon = min(until, last_sample(tape, state)) + 1
    if account["next_proposal"] < len(proposals.available_ts):
        horizon = min(horizon, proposals.available_ts[account["next_proposal"]])
    if position["funding_row"] < tape.funding_stop[symbol]:
        horizon = min(horizon, tape.funding_ts[position["funding_row"]])
    if position["universe_row"] < tape.universe_stop[symbol]:
        horizon = min(horizon, tape.universe_ts[position["universe_row"]])
    if tape.specs[symbol]["delist_ts"] > account["now"]:
        horizon = min(horizon, tape.specs[symbol]["delist_ts"])
    return horizon


@kernel
def touch(tape: Tape, state: State, slot: int, row: int) -> tuple[int, bool]:
    """Exit that the inside of a bar reaches, on the side that closes the position.  # R3.2"""
    position, policy = state.positions[slot], state.rules[0]["intrabar"]
    stop, target = position["stop"], position["target"]
    if position["side"] > 0:
        return touched(policy, 1, tape.bid_open[row], tape.bid_high[row], tape.bid_low[row], tape.bid_close[row], stop, target)
    return touched(policy, -1, tape.ask_open[row], tape.ask_high[row], tape.ask_low[row], tape.ask_close[row], stop, target)


@kernel
def bar_paths(tape: Tape, state: State, now: int) -> None:
    """BAR_PATH: touches of stops and targets, in position order.  # R3.1"""
    account, n_strategies, i = state.account[0], len(state.desks), 0
    while i < account["n_held"]:
        slot = state.held[i]
        position, symbol = state.positions[slot], slot // n_strategies
        row, i = position["row"], i + 1
        if not position["levels"] or row >= tape.stop[symbol] or tape.ts[row] != now:
            continue
        reason, ambiguous = touch(tape, state, slot, row)
        flags = AMBIGUOUS if ambiguous else 0
        if reason == Reason.STOP_LOSS:
            close_as_taker(state, tape, slot, now, position["stop"], row, tape.open_ts[row], reason_of_stop(state, slot), flags)
            i -= 1
        elif reason == Reason.TAKE_PROFIT:
            close_at_target(tape, state, slot, now, position["target"], flags)
            i -= 1


@kernel
def close_at_target(tape: Tape, state: State, slot: int, now: int, price: float, flags: int) -> None:
    """Fill a target, which rested: a maker.  # R2.5"""
    position = state.positions[slot]
    close_position(
        state, tape, slot, now, price, Reason.TAKE_PROFIT, flags | MAKER, position["entry_id"], NONE, position["opened_seq"]
    )


@kernel
def pay_funding(tape: Tape, state: State, now: int) -> None:
    """FUNDING_UPDATE: one payment per position and settlement.  # R7.1"""
    account, n_strategies, scale = state.account[0], len(state.desks), state.rules[0]["scale"]
    for i in range(account["n_held"]):
        slot = state.held[i]
        position, symbol = state.positions[slot], slot // n_strategies
        at = position["funding_row"]
        if at >= tape.funding_stop[symbol] or tape.funding_ts[at] != now:
            continue
        mark, rate, row = tape.funding_mark[at], tape.funding_rate[at], position["row"]
        if not (mark > 0.0 and mark < np.inf):
            closes_now = row < tape.stop[symbol] and tape.ts[row] == now
            mark = tape.close[row] if closes_now else tape.close[row - 1]
        amount = funding_payment(value(position["qty"], mark, tape.specs[symbol]["multiplier"], scale), rate)
        account["cash"] += amount
        lots = abs(position["lots"])
        post(state, now, RecordKind.FUNDING, Reason.NONE, slot, NONE, NONE, 0, lots, mark, 0, amount, rate, position["opened_seq"], 0, 0)
        position["funding_row"] = at + 1


@kernel
def close_candles(tape: Tape, state: State, now: int) -> bool:
    """CANDLE_CLOSE: marks, and positions grown too old; whether a bar of a held symbol closed.  # R3.6, R6.5"""
    account, rules, n_strategies = state.account[0], state.rules[0], len(state.desks)
    closed = False
    for i in range(account["n_held"]):
        slot = state.held[i]
        position, symbol = state.positions[slot], slot // n_strategies
        row = position["row"]
        if position["next_ts"] > now or row >= tape.stop[symbol] or tape.ts[row] != now:
            continue
        closed = True
        revalue(state, tape, slot, row)
        position["row"] = row + 1
        if row >= position["max_row"] and position["exit_id"] == 0:
            cause = position["opened_seq"]
            order_exit(state, tape, slot, now, Reason.MAX_BARS, rules["timing"], rules["latency_us"], NONE, cause)
    return closed


@kernel
def update_universe(tape: Tape, state: State, now: int) -> None:
    """UNIVERSE_UPDATED: pending entries of symbols that leave end, their positions close at the next open.  # R8.3"""
    account, n_strategies = state.account[0], len(state.desks)
    if len(tape.universe_ts) == 0:
        return
    while True:
        symbol = next_leaving(tape, state, now)
        if symbol == NONE:
            return
        for i in range(account["n_queue"]):
            slot = state.queue[i]
            if slot // n_strategies == symbol:
                drop_entry(state, slot, now, Reason.NOT_IN_UNIVERSE, state.entries[slot]["seq"])
        sweep_queue(state)
        for strategy in range(n_strategies):
            slot = symbol * n_strategies + strategy
            position = state.positions[slot]
            if position["lots"] != 0 and position["exit_id"] == 0 and state.rules[0]["close_on_leave"]:
                order_exit(state, tape, slot, now, Reason.LEFT_UNIVERSE, Timing.NEXT_OPEN, 0, NONE, position["opened_seq"])


@kernel
def next_leaving(tape: Tape, state: State, now: int) -> int:
    """Move held and pending symbols past their universe row of this instant; the first that leaves by it, or NONE."""
    account, n_strategies = state.account[0], len(state.desks)
    leaving = NEVER
    for i in range(account["n_held"] + account["n_queue"]):
        held = i < account["n_held"]
        slot = state.held[i] if held else state.queue[i - account["n_held"]]
        symbol = slot // n_strategies
        at = state.positions[slot]["universe_row"] if held else state.entries[slot]["universe_row"]
        if at < tape.universe_stop[symbol] and tape.universe_ts[at] == now and not tape.universe_listed[at]:
            leaving = min(leaving, symbol)
    for i in range(account["n_held"] + account["n_queue"]):
        held = i < account["n_held"]
        slot = state.held[i] if held else state.queue[i - account["n_held"]]
        symbol = slot // n_strategies
        at = state.positions[slot]["universe_row"] if held else state.entries[slot]["universe_row"]
        due = at < tape.universe_stop[symbol] and tape.universe_ts[at] == now
        if due and (symbol == leaving or tape.universe_listed[at]):
            if held:
                state.positions[slot]["universe_row"] = at + 1
            else:
                state.entries[slot]["universe_row"] = at + 1
    return NONE if leaving == NEVER else leaving


@kernel
def close_if_ruined(tape: Tape, state: State, now: int) -> None:
    """Close positions while equity does not exceed maintenance, which is zero; end the run if none is left.  # R7.4"""
    account, n_strategies = state.account[0], len(state.desks)
    while account["n_held"] > 0 and equity(state) <= 0:
        slot = state.held[0]
        row = state.positions[slot]["row"] - 1
        raw = close_price(tape, -state.positions[slot]["side"], row)
        close_as_taker(state, tape, slot, now, raw, row, now, Reason.LIQUIDATED_AT_CLOSE, 0)
    if equity(state) <= 0:
        drop_all_entries(state, now, Reason.BANKRUPT, NONE)
        end_run(tape, state, now, Reason.BANKRUPT)


@kernel
def fill_exits_at_close(tape: Tape, state: State, now: int) -> None:
    """Exits that fill at the close of a bar that closes now, in position order.  # R2.3"""
    account, i = state.account[0], 0
    while account["n_exits"] > 0 and i < account["n_held"]:
        slot = state.held[i]
        position, i = state.positions[slot], i + 1
        row = position["row"] - 1
        due = position["exit_id"] != 0 and position["exit_timing"] != Timing.NEXT_OPEN and row >= position["exit_row"]
        if due and tape.ts[row] == now:
            close_by_order(state, tape, slot, now, close_price(tape, -position["side"], row), row)
            i -= 1


@kernel
def propose_exits(tape: Tape, proposals: Proposals, state: State, first: int, stop: int, now: int) -> None:
    """Exit proposals of this instant become orders.  # R4.1"""
    rules, n_strategies = state.rules[0], len(state.desks)
    for i in range(first, stop):
        action = proposals.action[i]
        if action < Action.EXIT:
            continue
        slot = proposals.symbol[i] * n_strategies + proposals.strategy[i]
        position = state.positions[slot]
        lots = position["lots"]
        if lots == 0 or (action == Action.EXIT_LONG and lots < 0) or (action == Action.EXIT_SHORT and lots > 0):
            state.outcomes[i] = Reason.NOT_HELD
        elif position["exit_id"] != 0:
            state.outcomes[i] = Reason.ALREADY_PENDING
        else:
            score = 0.0 if np.isnan(proposals.score[i]) else proposals.score[i]
            side = -position["side"]
            root = post(state, now, RecordKind.PROPOSAL, Reason.NONE, slot, NONE, i, side, 0, 0.0, 0, 0, score, NONE, 0, 0)
            order_exit(state, tape, slot, now, Reason.SIGNAL, rules["timing"], rules["latency_us"], i, root)


@kernel
def execute(tape: Tape, proposals: Proposals, state: State, n_approved: int, now: int) -> None:
    """EXECUTION of the approved, in rank order: orders rest, or fill at the close just seen.  # R2.3"""
    n_strategies, at_close = len(state.desks), state.rules[0]["timing"] == Timing.CLOSE
    for rank in range(n_approved):
        i = state.ranked[rank]
        if i < 0:
            continue
        slot, row = proposals.symbol[i] * n_strategies + proposals.strategy[i], proposals.row[i]
        queue_entry(state, tape, slot, now, row + 1)
        if at_close and tape.ts[row] == now and row >= tape.first[proposals.symbol[i]]:
            fill_entry(state, tape, proposals, slot, now, row, False)
        elif at_close:
            drop_entry(state, slot, now, Reason.STALE_CLOSE, state.entries[slot]["seq"])
    if at_close:
        sweep_queue(state)


@kernel
def fill_entries(tape: Tape, proposals: Proposals, state: State, now: int, at_open: bool) -> None:
    """Pending entries whose bar opens (or closes) now, in approval order.  # R1.4"""
    account, n_strategies = state.account[0], len(state.desks)
    filled = False
    for i in range(account["n_queue"]):
        slot = state.queue[i]
        row = state.entries[slot]["row"]
        if row < tape.stop[slot // n_strategies] and (tape.open_ts[row] if at_open else tape.ts[row]) == now:
            fill_entry(state, tape, proposals, slot, now, row, at_open)
            filled = True
    if filled:
        sweep_queue(state)


@kernel
def delist(tape: Tape, state: State, now: int) -> None:
    """CORPORATE_ACTION: pending entries of a delisted symbol end, its positions close at the last close.  # R8.4"""
    account, n_strategies = state.account[0], len(state.desks)
    while True:
        symbol = delisted_now(tape, state, now)
        if symbol == NONE:
            return
        for i in range(account["n_queue"]):
            slot = state.queue[i]
            if slot // n_strategies == symbol:
                drop_entry(state, slot, now, Reason.DELISTED, state.entries[slot]["seq"])
        sweep_queue(state)
        for strategy in range(n_strategies):
            slot = symbol * n_strategies + strategy
            position = state.positions[slot]
            if position["lots"] != 0:
                price = tape.close[position["row"] - 1] * (1.0 - position["side"] * state.rules[0]["delist_haircut"])
                close_position(state, tape, slot, now, price, Reason.DELISTED, 0, position["entry_id"], NONE, position["opened_seq"])


@kernel
def delisted_now(tape: Tape, state: State, now: int) -> int:
    """First held or pending symbol whose delisting is now; NONE if there is none."""
    account, n_strategies = state.account[0], len(state.desks)
    found = NEVER
    for i in range(account["n_held"]):
        symbol = state.held[i] // n_strategies
        if tape.specs[symbol]["delist_ts"] == now:
            found = min(found, symbol)
    for i in range(account["n_queue"]):
        symbol = state.queue[i] // n_strategies
        if tape.specs[symbol]["delist_ts"] == now:
            found = min(found, symbol)
    return NONE if found == NEVER else found


@kernel
def open_bars(tape: Tape, proposals: Proposals, state: State, now: int) -> None:
    """BAR_OPEN: what the open decides, reducing fills first, then entries in approval order.  # R1.4"""
    account, n_strategies, i = state.account[0], len(state.desks), 0
    while (account["n_levels"] > 0 or account["n_exits"] > 0) and i < account["n_held"]:
        slot = state.held[i]
        position, symbol, i = state.positions[slot], slot // n_strategies, i + 1
        row = position["row"]
        if row < tape.stop[symbol] and tape.open_ts[row] == now and open_decides(tape, state, slot, row, now):
            i -= 1
    if account["n_queue"] > 0 and state.rules[0]["timing"] == Timing.NEXT_OPEN:
        fill_entries(tape, proposals, state, now, True)


@kernel
def open_decides(tape: Tape, state: State, slot: int, row: int, now: int) -> bool:
    """Close a position whose stop or target the open has passed, or whose exit is due; whether it closed.  # R1.3, R2.4"""
    position, symbol = state.positions[slot], slot // len(state.desks)
    opened = open_price(tape, -position["side"], row)
    reason = Reason.NONE
    if position["levels"]:
        trail(state, tape, slot, row)
        reason = reached_by_open(position["side"], opened, position["stop"], position["target"])
    if reason == Reason.STOP_LOSS:
        close_as_taker(state, tape, slot, now, opened, row, now, reason_of_stop(state, slot), 0)
    elif reason == Reason.TAKE_PROFIT:
        close_at_target(tape, state, slot, now, gap_price(tape, symbol, position["side"], opened, position["target"]), 0)
    elif position["exit_id"] != 0 and position["exit_timing"] == Timing.NEXT_OPEN and row >= position["exit_row"]:
        close_by_order(state, tape, slot, now, opened, row)
    else:
        return False
    return True


@kernel
def finish(tape: Tape, state: State) -> None:
    """The end of the run: orders end, positions close.  # R8.4, R8.6"""
    account, n_strategies = state.account[0], len(state.desks)
    end = last_sample(tape, state)
    sample_equity(state, tape, end + 1)
    drop_all_entries(state, end, Reason.RUN_ENDED, NONE)
    for i in range(account["n_held"]):
        slot = state.held[i]
        position = state.positions[slot]
        if position["exit_id"] != 0:
            drop_exit(state, slot, end, abs(position["lots"]), Reason.RUN_ENDED, position["exit_seq"])
    i = 0
    while i < account["n_held"]:
        slot = state.held[i]
        row = state.positions[slot]["row"] - 1
        data_ended = tape.last_ts[slot // n_strategies] < end
        if data_ended or state.rules[0]["finalize_close"]:
            raw = close_price(tape, -state.positions[slot]["side"], row)
            reason = Reason.DATA_ENDED if data_ended else Reason.RUN_ENDED
            close_as_taker(state, tape, slot, end, raw, row, end, reason, 0)
        else:
            i += 1
    end_run(tape, state, end, Reason.RUN_ENDED)


@kernel
def end_run(tape: Tape, state: State, now: int, reason: int) -> None:
    """RUN_END; the samples left hold the final equity of a bankrupt run."""
    account = state.account[0]
    final = equity(state)
    post(state, now, RecordKind.RUN_END, reason, -1, NONE, NONE, 0, 0, 0.0, 0, final, 0.0, NONE, 0, 0)
    for k in range(account["sampled"], len(tape.grid)):
        state.equity[k] = final if tape.grid[k] >= now else account["last_equity"]
    account["sampled"] = len(tape.grid)
    account["ended"] = 1
