"""The equity path and the halts that hang on it.  # R5.3"""

from engine.kernel import kernel, shared
from engine.orders import drop_all_entries
from engine.portfolio import equity
from engine.records import post
from engine.schema import DAY_US, NEVER, NONE, Reason, RecordKind
from engine.state import State
from engine.tape import Tape


@kernel
def day_end(ts: int) -> int:
    """First midnight UTC at or after a time: a close at 00:00 belongs to the day that ends.

    >>> int(day_end(DAY_US)) == DAY_US, int(day_end(DAY_US + 1)) == 2 * DAY_US
    (True, True)
    """
    return -(-ts // DAY_US) * DAY_US


@kernel
def halted(state: State, now: int) -> bool:
    """Whether entries are blocked."""
    account = state.account[0]
    return now < account["day_halt_until"] or (account["resume_at"] != NONE and now < account["resume_at"])


@kernel
def sample_due(tape: Tape, state: State, now: int) -> bool:
    """Fill in the samples passed since the last, when nothing had changed, and say whether ``now`` is a sample time.

    A sample between two visited instants repeats the last value, so none of them can breach a limit.
    """
    account = state.account[0]
    k, n = account["sampled"], len(tape.grid)
    while k < n and tape.grid[k] < now:
        state.equity[k] = account["last_equity"]
        k += 1
    account["sampled"] = k
    return k < n and tape.grid[k] == now


@shared
def sample_equity(state: State, tape: Tape, now: int) -> None:
    """Take the equity sample, and test the halts, if ``now`` is a sample time."""
    if not sample_due(tape, state, now):
        return
    account = state.account[0]
    k, current = account["sampled"], equity(state)
    state.equity[k] = current
    watch_day(state, now, current)
    watch_drawdown(state, now, current, tape.grid[k - 1] if k > 0 else -NEVER)
    account["last_equity"] = current
    account["sampled"] = k + 1


@shared
def watch_day(state: State, now: int, current: int) -> None:
    """Daily loss: measured from the last sample of the day before.  # R5.3"""
    account, limit = state.account[0], state.rules[0]["daily_loss_halt"]
    if now > account["day_end"]:
        account["day_base"] = account["last_equity"]
        account["day_end"] = day_end(now)
    base = account["day_base"]
    if account["day_halt_until"] != account["day_end"] and base - current >= limit * base:
        account["day_halt_until"] = account["day_end"]
        raise_alert(state, now, Reason.DAILY_LOSS, current, base)


@shared
def watch_drawdown(state: State, now: int, current: int, sample_before: int) -> None:
    """Drawdown from the peak; after a halt the peak starts again from the first sample at or after its end.  # R5.3"""
    account, rules = state.account[0], state.rules[0]
    if account["resume_at"] != NONE:
        if now < account["resume_at"]:
            return
        account["peak"] = account["last_equity"] if sample_before >= account["resume_at"] else current
        account["resume_at"] = NONE
    account["peak"] = max(account["peak"], current)
    peak = account["peak"]
    if peak - current >= rules["drawdown_halt"] * peak:
        after = rules["resume_after_us"]
        account["resume_at"] = now + after if after < NEVER - now else NEVER
        raise_alert(state, now, Reason.DRAWDOWN, current, peak)


@shared
def raise_alert(state: State, now: int, reason: int, current: int, base: int) -> None:
    """RISK_ALERT, and the end of every pending entry."""
    seq = post(state, now, RecordKind.RISK_ALERT, reason, -1, NONE, NONE, 0, 0, 0.0, 0, current, (base - current) / base, NONE, 0, 0)
    drop_all_entries(state, now, Reason.HALTED, seq)
