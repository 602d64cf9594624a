"""The equity path and the halts that hang on it, of the portfolio, of each strategy and of each symbol.  # R5.3

What a part of the portfolio earned, which trades lost and which stops filled is read from the ledger at each sample, so that fills know
nothing of halts and a run without such halts does none of it.
"""

import numpy as np

from engine.kernel import kernel, shared
from engine.orders import drop_entry, sweep_queue
from engine.portfolio import equity, unrealised
from engine.records import post
from engine.schema import DAY_US, NEVER, NONE, Reason, RecordKind
from engine.state import State
from engine.tape import Tape, first_from, known_until


@kernel
def day_end(ts: int) -> int:
    """First midnight UTC at or after a time: a close at 00:00 belongs to the day that ends.

    >>> int(day_end(DAY_US)) == DAY_US, int(day_end(DAY_US + 1)) == 2 * DAY_US
    (True, True)
    """
    return -(-ts // DAY_US) * DAY_US


@kernel
def after(now: int, span: int) -> int:
    """A time so much later, or NEVER.

    >>> int(after(5, 7)), bool(after(5, NEVER) == NEVER)
    (12, True)
    """
    return now + span if span < NEVER - now else NEVER


@kernel
def halted(watch: np.void, now: int) -> bool:
    """Whether a halt of a scope is under way."""
    return now < watch["day_halt_until"] or (watch["resume_at"] != NONE and now < watch["resume_at"]) or now < watch["losses_until"]


@shared
def stopped_entries(state: State, symbol: int, strategy: int, now: int) -> int:
    """Why a scope refuses the entries of a (symbol, strategy) now: HALTED, COOLDOWN or NONE."""
    watches = state.watches
    if not state.rules[0]["parts"]:
        cools = now < watches[0]["cools_until"]
        return Reason.HALTED if halted(watches[0], now) else (Reason.COOLDOWN if cools else Reason.NONE)
    of_strategy, of_symbol = 1 + strategy, 1 + len(state.desks) + symbol
    if halted(watches[0], now) or halted(watches[of_strategy], now) or halted(watches[of_symbol], now):
        return Reason.HALTED
    cools = now < watches[0]["cools_until"] or now < watches[of_strategy]["cools_until"] or now < watches[of_symbol]["cools_until"]
    return Reason.COOLDOWN if cools else Reason.NONE


@kernel
def is_sample(tape: Tape, k: int, now: int) -> bool:
    """Whether ``now`` is the time of sample ``k``."""
    return k < len(tape.grid) and tape.grid[k] == now


@kernel
def fill_samples(tape: Tape, state: State, now: int) -> None:
    """Samples passed since the last repeat it: nothing had changed, so none of them can breach a limit."""
    account, n = state.account[0], len(tape.grid)
    k = account["sampled"]
    if k < n and tape.grid[k] < now:
        account["sampled"] = first_from(tape.grid, k, n, now)
        state.equity[k : account["sampled"]] = account["last_equity"]


@shared
def sample_equity(state: State, tape: Tape, now: int) -> None:
    """Take the equity sample of ``now``, and test the halts."""
    account, rules, watch = state.account[0], state.rules[0], state.watches[0]
    k, current = account["sampled"], equity(state)
    state.equity[k] = current
    if rules["watching"]:
        read_new_records(state, tape)
    watch_scope(state, tape, 0, now, current)
    watch["last"] = current
    if rules["parts"]:
        watch_parts(state, tape, now)
    account["last_equity"] = current
    account["sampled"] = k + 1
    account["watched_seq"] = account["seq"]


@shared
def watch_scope(state: State, tape: Tape, scope: int, now: int, current: int) -> None:
    """All halts of one scope, at a sample of its equity."""
    watch_day(state, scope, now, current)
    watch_drawdown(state, tape, scope, now, current)
    if state.rules[0]["watching"]:
        watch_trades(state, scope, now)


@kernel
def whole(watch: np.void, money: int) -> int:
    """What a loss is a fraction of: of the portfolio, what it fell from; of a part, its capital."""
    return watch["capital"] if watch["part"] else money


@shared
def watch_day(state: State, scope: int, now: int, current: int) -> None:
    """Daily loss: measured from the last sample of the day before.  # R5.3"""
    watch = state.watches[scope]
    if now > watch["day_end"]:
        watch["day_base"] = watch["last"]
        watch["day_end"] = day_end(now)
    lost, base = watch["day_base"] - current, whole(watch, watch["day_base"])
    if watch["day_halt_until"] != watch["day_end"] and lost >= watch["daily_loss"] * base:
        watch["day_halt_until"] = watch["day_end"]
        raise_alert(state, scope, now, Reason.DAILY_LOSS, lost / base, NONE)


@shared
def watch_drawdown(state: State, tape: Tape, scope: int, now: int, current: int) -> None:
    """Drawdown from the peak; after a halt the peak starts again from the first sample at or after its end.  # R5.3"""
    watch = state.watches[scope]
    if watch["resume_at"] != NONE:
        if now < watch["resume_at"]:
            return
        sample_before = tape.grid[state.account[0]["sampled"] - 1]
        watch["peak"] = watch["last"] if sample_before >= watch["resume_at"] else current
        watch["resume_at"] = NONE
    watch["peak"] = max(watch["peak"], current)
    lost, base = watch["peak"] - current, whole(watch, watch["peak"])
    if lost >= watch["drawdown"] * base:
        watch["resume_at"] = after(now, watch["resume_after"])
        raise_alert(state, scope, now, Reason.DRAWDOWN, lost / base, NONE)


@shared
def watch_trades(state: State, scope: int, now: int) -> None:
    """Losing trades in a row, and stops, that the sample has found in the ledger.  # R5.3"""
    watch = state.watches[scope]
    if watch["breach_seq"] != NONE:
        watch["losses_until"] = after(now, watch["losses_for"])
        raise_alert(state, scope, now, Reason.CONSECUTIVE_LOSSES, float(watch["losses"]), watch["breach_seq"])
        watch["breach_seq"] = NONE
    if watch["stop_seq"] != NONE:
        watch["cools_until"] = max(watch["cools_until"], watch["stop_until"])
        raise_alert(state, scope, now, Reason.COOLDOWN, float(watch["cooldown"]), watch["stop_seq"])
        watch["stop_seq"] = NONE


@shared
def watch_parts(state: State, tape: Tape, now: int) -> None:
    """The halts of strategies, then of symbols, each on its capital and what it has earned."""
    n_strategies = len(state.desks)
    for scope in range(len(state.watches)):
        state.watches[scope]["open_profit"] = 0
    for i in range(state.account[0]["n_held"]):
        position = state.positions[state.held[i]]
        profit = unrealised(position)
        state.watches[1 + position["strategy"]]["open_profit"] += profit
        state.watches[1 + n_strategies + position["symbol"]]["open_profit"] += profit
    for scope in range(1, len(state.watches)):
        watch = state.watches[scope]
        current = watch["capital"] + watch["earned"] + watch["open_profit"]
        watch_scope(state, tape, scope, now, current)
        watch["last"] = current


@shared
def read_new_records(state: State, tape: Tape) -> None:
    """What the records since the last sample say: money earned, trades that ended, stops that filled."""
    account, n_strategies = state.account[0], len(state.desks)
    for seq in range(account["watched_seq"], account["seq"]):
        record = state.ledger[seq]
        kind, money = record["kind"], record["amount"]
        if kind == RecordKind.FILL:
            money = -record["fee"]
        elif not earns(kind) or record["symbol"] == NONE:  # what the account pays on its debt is no part's
            continue
        symbol, strategy = record["symbol"], record["strategy"]
        slot = symbol * n_strategies + strategy
        state.trade_profit[slot] += (
            money if kind != RecordKind.INSURANCE else 0
        )  # which takes back a part of the loss of a trade that ended
        ended = kind == RecordKind.POSITION and record["qty"] == 0
        stopped = kind == RecordKind.FILL and is_stop(record["reason"])
        for scope in (0, 1 + strategy, 1 + n_strategies + symbol):
            watch = state.watches[scope]
            watch["earned"] += money
            if ended:
                count_loss(watch, state.trade_profit[slot] < 0, seq)
            if stopped and watch["cooldown"] > 0:
                watch["stop_seq"] = seq
                watch["stop_until"] = max(watch["stop_until"], bars_later(tape, symbol, record["ts"], watch["cooldown"]))
        if ended:
            state.trade_profit[slot] = 0


@kernel
def earns(kind: int) -> bool:
    """Whether the amount of a record, a fill aside, is profit or loss of a position."""
    paid = kind == RecordKind.FUNDING or kind == RecordKind.INTEREST or kind == RecordKind.DIVIDEND or kind == RecordKind.INSURANCE
    return paid or kind == RecordKind.POSITION or kind == RecordKind.SETTLEMENT


@kernel
def is_stop(reason: int) -> bool:
    """Whether a fill was that of a stop, moved or not."""
    moved = reason == Reason.TRAILING_STOP or reason == Reason.BREAK_EVEN or reason == Reason.MODEL_STOP
    return reason == Reason.STOP_LOSS or moved


@kernel
def count_loss(watch: np.void, lost: bool, seq: int) -> None:
    """One more trade of a scope: its losses in a row, and where they complete the count, which then starts anew."""
    watch["streak"] = watch["streak"] + 1 if lost else 0
    if watch["losses"] > 0 and watch["streak"] == watch["losses"]:
        watch["streak"] = 0
        watch["breach_seq"] = seq


@kernel
def bars_later(tape: Tape, symbol: int, ts: int, bars: int) -> int:
    """Close of the ``bars``-th bar of the run that closes after a time; NEVER if there are fewer.  # R2.1"""
    first, stop = tape.first[symbol], tape.stop[symbol]
    row = known_until(tape.ts, first, stop, ts) + bars - 1
    return tape.ts[row] if row < stop else NEVER


@shared
def raise_alert(state: State, scope: int, now: int, reason: int, value: float, cause: int) -> None:
    """RISK_ALERT, and the end of every pending entry in scope, in approval order."""
    account, watch = state.account[0], state.watches[scope]
    seq = post(state, now, RecordKind.RISK_ALERT, reason, -1, NONE, NONE, 0, 0, 0.0, 0, equity(state), value, cause, 0, 0)
    state.ledger[seq]["symbol"], state.ledger[seq]["strategy"] = watch["symbol"], watch["strategy"]
    for i in range(account["n_queue"]):
        slot = state.queue[i]
        position = state.positions[slot]
        other_symbol = watch["symbol"] != NONE and watch["symbol"] != position["symbol"]
        other_strategy = watch["strategy"] != NONE and watch["strategy"] != position["strategy"]
        if not other_symbol and not other_strategy:
            drop_entry(state, slot, now, Reason.COOLDOWN if reason == Reason.COOLDOWN else Reason.HALTED, seq)
    sweep_queue(state)
