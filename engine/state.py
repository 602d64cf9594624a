"""All that changes during a replay, in one place, owned by the caller.

Who writes what: ``portfolio`` values and the list of positions, ``execution`` what a fill moves, ``funding`` what a settlement moves, ``orders`` the queue of
entries, their reservations and pending exits, ``records`` the ledger, ``halts`` the equity path and halts, ``replay`` the clocks.  The arrays are made once and reused; the replay never allocates.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.block import Block, column
from engine.schema import NEVER, NONE, OUTSIDE, RECORD, LimitTouch, MarginMode, Slippage, StopCheck, StopFrom, TrailingMode
from engine.settings import Settings
from engine.tape import Proposals, Tape

POSITION = np.dtype(
    [
        ("next_ts", "<i8"),  # when the position next needs a visit
        ("other_ts", "<i8"),  # when it next meets something else than its bars: funding, universe, corporate actions
        ("row", "<i8"),  # its bar in progress, or the next one
        ("lots", "<i8"),  # signed; 0: none
        ("qty", "<f8"),  # signed quantity of the lots
        ("multiplier", "<f8"),
        ("value", "<i8"),  # money, signed, at the mark
        ("cost", "<i8"),  # money, signed: the value of its opening fills, less what closing fills released
        ("margin", "<i8"),  # initial margin
        ("locked", "<i8"),  # money that secures it
        ("stop", "<f8"),  # NaN: none, and so on
        ("target", "<f8"),
        ("trailing", "<f8"),  # distance
        ("break_even", "<f8"),  # distance
        ("entry_price", "<f8"),  # of the fill that its levels are of
        ("extreme", "<f8"),
        ("clock", "<i8"),  # Tape.shared_clock of its symbol
        ("level_row", "<i8"),  # first bar whose close has not moved the level yet
        ("first_row", "<i8"),  # first bar after the fill, or of the fill where that was at its open
        ("acts_row", "<i8"),  # first bar in which its bracket acts
        ("max_row", "<i8"),  # bar at whose close it is too old
        ("funding_row", "<i8"),
        ("life_ts", "<i8"),  # when its symbol next meets the universe or a corporate action
        ("entry_id", "<i8"),
        ("opened_seq", "<i8"),
        ("exit_id", "<i8"),  # 0: no exit pending
        ("exit_seq", "<i8"),
        ("exit_row", "<i8"),  # first bar in which the pending exit can fill
        ("exit_proposal", "<i8"),
        ("symbol", "<i4"),
        ("strategy", "<i4"),
        ("side", "i1"),
        ("linear", "u1"),  # booked as linear, not spot
        ("backs", "u1"),  # whether margin backs it: all but spot longs
        ("pooled", "u1"),  # whether its unrealised profit counts as free: of those, all but isolated ones
        ("stop_reason", "u1"),  # STOP_LOSS, or what moved the stop last
        ("moves", "u1"),  # whether closes may move the stop
        ("levels", "u1"),  # whether any level is set
        ("exit_reason", "u1"),
        ("exit_timing", "u1"),
    ],
    align=True,
)
"""One position, or none, of a (strategy, symbol); slot = symbol * n_strategies + strategy."""

ENTRY = np.dtype(
    [
        ("next_ts", "<i8"),  # when the order next needs a visit
        ("order_id", "<i8"),  # 0: none pending
        ("seq", "<i8"),  # of its ORDER record
        ("cause", "<i8"),  # seq of its last record before the order: SELECTED, then APPROVED
        ("proposal", "<i8"),
        ("lots", "<i8"),
        ("reserved", "<i8"),  # money
        ("value", "<i8"),  # money, at the reference
        ("row", "<i8"),  # first bar in which it can fill
        ("life_ts", "<i8"),  # when its symbol next meets the universe or a corporate action
        ("side", "i1"),
    ],
    align=True,
)
"""One pending entry of a (strategy, symbol); same slots."""

ACCOUNT = np.dtype(
    [
        ("cash", "<i8"),
        ("open_value", "<i8"),  # equity - cash
        ("open_profit", "<i8"),  # unrealised that counts as free: all but spot longs
        ("locked", "<i8"),
        ("reserved", "<i8"),
        ("seq", "<i8"),
        ("next_order_id", "<i8"),
        ("next_proposal", "<i8"),
        ("n_held", "<i8"),
        ("n_queue", "<i8"),
        ("traded", "<i8"),  # money: notional of the fills in the window of the fee tiers
        ("traded_from", "<i8"),  # seq of the first record in the window
        ("traded_to", "<i8"),  # seq of the first record not looked at yet
        ("n_levels", "<i8"),  # positions with a level
        ("n_exits", "<i8"),  # positions with an exit pending
        ("now", "<i8"),
        ("next_due", "<i8"),  # earliest visit that a position or a pending entry needs
        ("sampled", "<i8"),  # samples taken so far
        ("last_equity", "<i8"),  # of the last sample
        ("day_base", "<i8"),
        ("day_end", "<i8"),
        ("peak", "<i8"),
        ("resume_at", "<i8"),  # end of the drawdown halt; NONE: not halted
        ("day_halt_until", "<i8"),
        ("ended", "<i8"),
        ("phase", "<i8"),  # EventKind under way, or OUTSIDE
        ("midway", "<i8"),  # whether the decisions of the instant are still to come
        ("closed", "<i8"),  # whether a bar of a held symbol closed at this instant
        ("overflow", "<i8"),  # symbol number whose money overflowed first, n_symbols for the account's; NONE: none
        ("overflow_seq", "<i8"),  # seq of the record under way then
        ("unpriced", "<i8"),  # symbol number of a fill that the tick left no price; NONE: none
    ]
)
"""The account and the replay's clocks; one row."""

RULES = np.dtype(
    [
        ("start_us", "<i8"),
        ("seed", "<i8"),
        ("select_model", "<i8"),  # address of the user's model, 0: none; and so on
        ("size_model", "<i8"),
        ("fee_model", "<i8"),
        ("slippage_model", "<i8"),
        ("fill_model", "<i8"),
        ("exit_model", "<i8"),
        ("latency_us", "<i8"),
        ("resume_after_us", "<i8"),
        ("max_positions", "<i8"),
        ("scale", "<f8"),
        ("liquidation_fee", "<f8"),
        ("slippage_amount", "<f8"),
        ("default_half_spread", "<f8"),
        ("slippage_rate", "<f8"),
        ("maker_rate", "<f8"),  # of the tier in force, where there are tiers
        ("taker_rate", "<f8"),
        ("per_unit", "<f8"),
        ("flat_fee", "<i8"),  # money
        ("least_fee", "<i8"),  # money; 0: none
        ("slippage_limit", "<f8"),
        ("min_score", "<f8"),
        ("cash_buffer", "<f8"),
        ("max_position", "<f8"),
        ("max_gross", "<f8"),
        ("max_net", "<f8"),
        ("drawdown_halt", "<f8"),
        ("daily_loss_halt", "<f8"),
        ("delist_haircut", "<f8"),
        ("isolated", "u1"),
        ("maintenance_basis", "u1"),
        ("maintenance_fee", "u1"),
        ("liquidates", "u1"),  # whether any symbol has maintenance tiers
        ("timing", "u1"),
        ("intrabar", "u1"),
        ("limit_touch", "u1"),
        ("stop_anchor", "u1"),
        ("stop_from", "u1"),
        ("stop_check", "u1"),
        ("trailing_mode", "u1"),
        ("plain_exits", "u1"),  # whether no option changes how a bar is tested against stop and target
        ("slippage", "u1"),
        ("clip", "u1"),
        ("reuse_pending_exit", "u1"),
        ("close_on_leave", "u1"),
        ("finalize_close", "u1"),
    ],
    align=True,
)
"""The settings, as the kernel reads them; one row."""

DESK = np.dtype([("budget", "<f8"), ("amount", "<f8"), ("size", "u1")], align=True)
"""One strategy's share and sizing."""


TIER = np.dtype([("floor", "<i8"), ("maker_rate", "<f8"), ("taker_rate", "<f8")], align=True)
"""Fee rates from a traded notional (money) on."""


class State(Block, writeable=True):
    """Arrays of a run in progress; n_slots = n_symbols * n_strategies."""

    rules: NDArray[Any] = column(RULES)  # RULES, shape (1,)
    desks: NDArray[Any] = column(DESK)  # DESK, shape (n_strategies,)
    tiers: NDArray[Any] = column(TIER)  # TIER, ascending, shape (n_tiers,)
    account: NDArray[Any] = column(ACCOUNT)  # ACCOUNT, shape (1,)
    positions: NDArray[Any] = column(POSITION)  # POSITION, shape (n_slots,)
    entries: NDArray[Any] = column(ENTRY)  # ENTRY, shape (n_slots,)
    held: NDArray[np.int64] = column(np.int64)  # slots with a position, ascending, shape (n_slots,)
    queue: NDArray[np.int64] = column(np.int64)  # slots with a pending entry, in approval order, shape (n_slots,)
    ranked: NDArray[np.int64] = column(np.int64)  # scratch, shape (largest batch,)
    reasons: NDArray[np.uint8] = column(np.uint8)  # scratch, shape (largest batch,)
    outcomes: NDArray[np.uint8] = column(np.uint8)  # Reason of proposals that are counted only, shape (n_proposals,)
    equity: NDArray[np.int64] = column(np.int64)  # money at each sample, shape (n_samples,)
    ledger: NDArray[Any] = column(RECORD)  # RECORD, shape (capacity,)


def new_state(tape: Tape, proposals: Proposals, settings: Settings) -> State:
    """Arrays for a run, before its first instant."""
    desks = sorted(settings.strategies, key=lambda strategy: strategy.id)
    n_slots = len(tape.first) * len(desks)
    batch = largest_batch(proposals.available_ts)
    state = State(
        rules=np.zeros(1, RULES),
        desks=np.array([(desk.budget, desk.amount, desk.size) for desk in desks], DESK),
        tiers=np.array(
            [(round(one.from_notional * settings.scale), one.maker_bps / 10000.0, one.taker_bps / 10000.0) for one in settings.fee_tiers],
            TIER,
        ),
        account=np.zeros(1, ACCOUNT),
        positions=np.zeros(n_slots, POSITION),
        entries=np.zeros(n_slots, ENTRY),
        held=np.zeros(n_slots, np.int64),
        queue=np.zeros(n_slots, np.int64),
        ranked=np.zeros(batch, np.int64),
        reasons=np.zeros(batch, np.uint8),
        outcomes=np.zeros(len(proposals.ts), np.uint8),
        equity=np.empty(len(tape.grid), np.int64),
        ledger=np.empty(1024 + 32 * n_slots + 8 * batch + 5 * len(proposals.ts), RECORD),
    )
    slots = np.arange(n_slots)
    state.positions["symbol"], state.positions["strategy"] = slots // len(desks), slots % len(desks)
    state.positions["clock"] = tape.shared_clock[state.positions["symbol"]]
    rules = state.rules[0]
    for name in RULES.names or ():
        if hasattr(settings, name):
            rules[name] = getattr(settings, name)
    options = (settings.limit_touch, settings.stop_from, settings.stop_check, settings.trailing_mode)
    rules["plain_exits"] = options == (LimitTouch.TOUCH, StopFrom.FILL, StopCheck.RANGE, TrailingMode.CLOSE)
    point_to_models(state, settings)
    rules["default_half_spread"] = settings.default_spread_bps / 20000.0
    rules["isolated"] = settings.margin == MarginMode.ISOLATED
    rules["liquidates"] = len(tape.margin_tiers) > 0
    rules["slippage_rate"] = settings.slippage_amount / 10000.0
    rules["maker_rate"], rules["taker_rate"] = settings.maker_bps / 10000.0, settings.taker_bps / 10000.0
    if len(state.tiers):
        rules["maker_rate"], rules["taker_rate"] = state.tiers["maker_rate"][0], state.tiers["taker_rate"][0]
    rules["flat_fee"], rules["least_fee"] = round(settings.flat * settings.scale), round(settings.min_fee * settings.scale)
    account = state.account[0]
    account["cash"] = account["last_equity"] = account["day_base"] = account["peak"] = settings.cash
    account["next_order_id"] = 1
    account["phase"] = OUTSIDE
    account["now"] = account["day_end"] = account["day_halt_until"] = -NEVER
    account["resume_at"] = account["overflow"] = account["unpriced"] = NONE
    account["next_due"] = NEVER
    return state


def point_to_models(state: State, settings: Settings) -> None:
    """Set the addresses of the user's models, which are this process's own."""
    rules = state.rules[0]
    for model in settings.models:
        rules[f"{model.kind.name.lower()}_model"] = model.address
    if rules["fill_model"] or rules["slippage_model"]:
        rules["slippage"] = Slippage.MODEL


def largest_batch(available_ts: NDArray[np.int64]) -> int:
    """Most proposals that share one instant; at least 1."""
    if len(available_ts) == 0:
        return 1
    starts = np.flatnonzero(available_ts[1:] != available_ts[:-1]) + 1
    return int(np.diff(np.concatenate([[0], starts, [len(available_ts)]])).max())
