"""The life of symbols and of the run: universe, ruin, the end.  # R7.4, R8"""

from engine.conversion import learn_rates
from engine.execution import close_as_taker
from engine.fees import settle_tier
from engine.halts import fill_samples
from engine.kernel import kernel, shared
from engine.liquidation import heaviest, undersecured
from engine.orders import drop_all_entries, drop_entries, drop_exit, leaves, next_due, order_exit
from engine.portfolio import equity
from engine.prices import last_price
from engine.records import post
from engine.schema import NEVER, NONE, OUTSIDE, Reason, RecordKind, Timing
from engine.state import State
from engine.tape import Tape, known_until


@shared
def update_universe(tape: Tape, state: State, now: int) -> None:
    """UNIVERSE_UPDATED: pending entries of symbols that leave end, their positions close at the next open.  # R8.3"""
    if len(tape.universe_ts) == 0:
        return
    n_strategies, symbol = len(state.desks), next_due(state, NONE, now)
    while symbol != NEVER:
        if leaves_universe(tape, symbol, now):
            drop_entries(state, symbol, now, Reason.NOT_IN_UNIVERSE)
            for strategy in range(n_strategies):
                slot = symbol * n_strategies + strategy
                position = state.positions[slot]
                if position["lots"] != 0 and not leaves(state, slot) and state.rules[0]["close_on_leave"]:
                    order_exit(state, tape, slot, now, Reason.LEFT_UNIVERSE, Timing.NEXT_OPEN, 0, NONE, position["opened_seq"])
        symbol = next_due(state, symbol, now)


@kernel
def leaves_universe(tape: Tape, symbol: int, now: int) -> bool:
    """Whether a universe row of this instant says that a symbol is not listed."""
    first = tape.universe_first[symbol]
    at = known_until(tape.universe_ts, first, tape.universe_stop[symbol], now) - 1
    return at >= first and tape.universe_ts[at] == now and not tape.universe_listed[at]


@shared
def close_if_ruined(tape: Tape, state: State, now: int) -> None:
    """Close positions while equity does not cover maintenance, the heaviest first; end the run if none is left.  # R7.4"""
    account = state.account[0]
    while account["n_held"] > 0 and undersecured(tape, state):
        slot = heaviest(tape, state)
        row = state.positions[slot]["row"] - 1
        raw = last_price(state, tape, slot)
        close_as_taker(state, tape, slot, now, raw, row, now, Reason.LIQUIDATED_AT_CLOSE, 0)
    if equity(state) <= 0:
        drop_all_entries(state, now, Reason.BANKRUPT, NONE)
        end_run(tape, state, now, Reason.BANKRUPT)


@kernel
def last_sample(tape: Tape, state: State) -> int:
    """The last instant of the run."""
    return tape.grid[-1] if len(tape.grid) > 0 else state.rules[0]["start_us"]


@shared
def finish(tape: Tape, state: State) -> None:
    """The end of the run: orders end, positions close.  # R8.4, R8.6"""
    state.account[0]["phase"] = OUTSIDE
    account = state.account[0]
    end = last_sample(tape, state)
    settle_tier(state, tape, end)
    learn_rates(tape, state, end)
    fill_samples(tape, state, end + 1)
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
        data_ended = tape.last_ts[state.positions[slot]["symbol"]] < end
        if data_ended or state.rules[0]["finalize_close"]:
            raw = last_price(state, tape, slot)
            reason = Reason.DATA_ENDED if data_ended else Reason.RUN_ENDED
            close_as_taker(state, tape, slot, end, raw, row, end, reason, 0)
        else:
            i += 1
    end_run(tape, state, end, Reason.RUN_ENDED)


@shared
def end_run(tape: Tape, state: State, now: int, reason: int) -> None:
    """RUN_END; the samples left hold the final equity of a bankrupt run."""
    account = state.account[0]
    final = equity(state)
    post(state, now, RecordKind.RUN_END, reason, -1, NONE, NONE, 0, 0, 0.0, 0, final, 0.0, NONE, 0, 0)
    for k in range(account["sampled"], len(tape.grid)):
        state.equity[k] = final if tape.grid[k] >= now else account["last_equity"]
    account["sampled"] = len(tape.grid)
    account["ended"] = 1
