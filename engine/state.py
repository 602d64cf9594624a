"""All that changes during a replay, in one place, owned by the caller.

Who writes what: ``portfolio`` values and the list of positions, ``execution`` what a fill moves, ``funding`` what a settlement moves, ``interest`` what a day costs, ``settlement`` what a future's day brings, ``orders`` the queue of
entries, their reservations and pending exits, ``records`` the ledger, ``halts`` the equity path, the watches and halts, ``selector`` and ``risk`` the tally, ``levels`` the changes of levels, ``replay`` the clocks.  The arrays are made once and reused; the replay never allocates.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.block import Block, column
from engine.dataset import ACTIONS
from engine.layout import ACCOUNT, CHANGE, DESK, ENTRY, PLAIN, POSITION, RATE, RULES, TAKEN, TIER, WATCH
from engine.model_call import name_key
from engine.proposals import Proposals
from engine.schema import (
    NEVER,
    NONE,
    OUTSIDE,
    RECORD,
    Action,
    LimitTouch,
    MarginMode,
    OnHeld,
    SizeKind,
    Slippage,
    StopCheck,
    StopFrom,
    TrailingMode,
)
from engine.settings import UNLIMITED, HaltLimits, Settings
from engine.specs import bounded
from engine.tape import Tape


class State(Block, writeable=True):
    """Arrays of a run in progress; n_slots = n_symbols * n_strategies."""

    rules: NDArray[Any] = column(RULES)  # RULES, shape (1,)
    desks: NDArray[Any] = column(DESK)  # DESK, shape (n_strategies,)
    tiers: NDArray[Any] = column(TIER)  # TIER, ascending, shape (n_tiers,)
    account: NDArray[Any] = column(ACCOUNT)  # ACCOUNT, shape (1,)
    positions: NDArray[Any] = column(POSITION)  # POSITION, shape (n_slots,)
    entries: NDArray[Any] = column(ENTRY)  # ENTRY, shape (n_slots,)
    rates: NDArray[Any] = column(RATE)  # RATE, shape (n_symbols,)
    taken: NDArray[Any] = column(TAKEN)  # TAKEN, shape (n_symbols,)
    held: NDArray[np.int64] = column(np.int64)  # slots with a position, ascending, shape (n_slots,)
    queue: NDArray[np.int64] = column(np.int64)  # slots with a pending entry, in approval order, shape (n_slots,)
    watches: NDArray[Any] = column(WATCH)  # WATCH, shape (1 + n_strategies + n_symbols,)
    trade_profit: NDArray[np.int64] = column(np.int64)  # money of the trade under way, as far as the samples have read, shape (n_slots,)
    changes: NDArray[Any] = column(CHANGE)  # CHANGE, shape (n_proposals,), or (0,) where no strategy changes levels
    tally: NDArray[np.int64] = column(
        np.int64
    )  # scratch: gross and net, then groups, then strategies, shape (2 + n_groups + n_strategies,)
    ranked: NDArray[np.int64] = column(np.int64)  # scratch, shape (largest batch,)
    reasons: NDArray[np.uint8] = column(np.uint8)  # scratch, shape (largest batch,)
    turns: NDArray[np.int8] = column(np.int8)  # scratch: what targets have become, Action of each proposal, shape (largest batch,)
    keys: NDArray[np.float64] = column(np.float64)  # scratch: what entries are ranked by, shape (largest batch,)
    outcomes: NDArray[np.uint8] = column(np.uint8)  # Reason of proposals that are counted only, shape (n_proposals,)
    equity: NDArray[np.int64] = column(np.int64)  # money at each sample, shape (n_samples,)
    ledger: NDArray[Any] = column(RECORD)  # RECORD, shape (capacity,)


def new_state(tape: Tape, proposals: Proposals, settings: Settings) -> State:
    """Arrays for a run, before its first instant."""
    desks = _desks(settings)
    n_slots = len(tape.first) * len(desks)
    batch = largest_batch(proposals.available_ts)
    state = State(
        rules=np.zeros(1, RULES),
        desks=desks,
        tiers=_fee_tiers(settings),
        account=np.zeros(1, ACCOUNT),
        positions=np.zeros(n_slots, POSITION),
        entries=np.zeros(n_slots, ENTRY),
        rates=np.zeros(len(tape.first), RATE),
        taken=np.full(len(tape.first), NONE, np.int64).repeat(2).view(TAKEN),
        held=np.zeros(n_slots, np.int64),
        queue=np.zeros(n_slots, np.int64),
        watches=_watches(len(tape.first), settings),
        trade_profit=np.zeros(n_slots, np.int64),
        changes=np.zeros(len(proposals.ts) if _changes_levels(settings) or aims(proposals) else 0, CHANGE),
        tally=np.zeros(2 + int(tape.specs["group"].max(initial=NONE)) + 1 + len(desks), np.int64),
        ranked=np.zeros(batch, np.int64),
        reasons=np.zeros(batch, np.uint8),
        turns=np.zeros(batch, np.int8),
        keys=np.zeros(batch, np.float64),
        outcomes=np.zeros(len(proposals.ts), np.uint8),
        equity=np.empty(len(tape.grid), np.int64),
        ledger=np.empty(1024 + 32 * n_slots + 8 * batch + 5 * len(proposals.ts), RECORD),
    )
    slots = np.arange(n_slots)
    state.positions["symbol"], state.positions["strategy"] = slots // len(desks), slots % len(desks)
    state.positions["clock"] = tape.shared_clock[state.positions["symbol"]]
    state.entries["victim"] = state.entries["refused"] = NONE
    state.rates["now"] = state.rates["told"] = np.nan
    state.rates["row"] = tape.rate_first
    _set_rules(state.rules[0], settings)
    _set_costs(state, settings)
    _set_switches(state.rules[0], tape, proposals, settings)
    _open_account(state.account[0], settings)
    point_to_models(state, settings)
    return state


def _desks(settings: Settings) -> NDArray[Any]:
    """Rows of the strategies, by id."""
    found = sorted(settings.strategies, key=lambda strategy: strategy.id)
    rows = [(one.budget, one.amount, one.cap, one.max_adds, name_key(one.id), one.size, one.on_held) for one in found]
    return np.array(rows, DESK)


def _fee_tiers(settings: Settings) -> NDArray[Any]:
    """Rows of the fee tiers, their floors in money."""
    rows = [(round(one.from_notional * settings.scale), one.maker_bps / 10000.0, one.taker_bps / 10000.0) for one in settings.fee_tiers]
    return np.array(rows, TIER)


def _set_rules(rules: np.void, settings: Settings) -> None:
    """What the settings say in so many words, and what follows from them alone."""
    for name in RULES.names or ():
        if hasattr(settings, name):
            rules[name] = getattr(settings, name)
    options = (settings.limit_touch, settings.stop_from, settings.stop_check, settings.trailing_mode)
    rules["plain_exits"] = options == (LimitTouch.TOUCH, StopFrom.FILL, StopCheck.RANGE, TrailingMode.CLOSE)
    rules["resting"] = settings.participation < float("inf")
    rules["isolated"] = settings.margin == MarginMode.ISOLATED
    rules["exposing"] = min(settings.max_gross, settings.max_net, settings.max_group, settings.max_strategy) < np.inf
    rules["bounded"] = bounded(settings.instruments, settings)
    rules["parts"] = settings.strategy_halts != HaltLimits() or settings.symbol_halts != HaltLimits()
    rules["watching"] = rules["parts"] or settings.halts.losses > 0 or settings.halts.cooldown_bars > 0


def _set_costs(state: State, settings: Settings) -> None:
    """Spread, slippage and fees, in fractions and money; of fees by tier, those of the first."""
    rules = state.rules[0]
    rules["default_half_spread"] = settings.default_spread_bps / 20000.0
    rules["slippage_rate"] = settings.slippage_amount / 10000.0
    rules["maker_rate"], rules["taker_rate"] = settings.maker_bps / 10000.0, settings.taker_bps / 10000.0
    if len(state.tiers):
        rules["maker_rate"], rules["taker_rate"] = state.tiers["maker_rate"][0], state.tiers["taker_rate"][0]
    rules["flat_fee"], rules["least_fee"] = round(settings.flat * settings.scale), round(settings.min_fee * settings.scale)
    rules["tiered"] = len(state.tiers) > 0


def _set_switches(rules: np.void, tape: Tape, proposals: Proposals, settings: Settings) -> None:
    """What the market and the proposals need the replay to look at."""
    rules["liquidates"] = len(tape.margin_tiers) > 0
    rules["charging"], rules["settling"] = len(tape.interest_ts) > 0, tape.specs["future"].any()
    rules["inverse"], rules["converts"] = tape.specs["inverse"].any(), tape.specs["converts"].any()
    rules["splits"] = bool((tape.action_kind == ACTIONS.index("split")).any())
    rules["ordered"] = bool(proposals.order_type.any() or proposals.tif.any())
    rules["aiming"] = aims(proposals)
    rules["crowding"] = rules["aiming"] or _crowding(proposals, settings)


def _open_account(account: np.void, settings: Settings) -> None:
    """Cash and clocks before the first instant."""
    account["cash"] = account["last_equity"] = settings.cash
    account["next_order_id"] = 1
    account["phase"] = OUTSIDE
    account["now"] = -NEVER
    account["overflow"] = account["unpriced"] = account["unrated"] = NONE
    account["next_due"] = account["next_other"] = account["interest_ts"] = NEVER


def is_plain(state: State) -> bool:
    """Whether a run is one that ``replay_plain`` can replay."""
    return all(state.rules[0][name] == value for name, value in PLAIN.items())


def point_to_models(state: State, settings: Settings) -> None:
    """Set the addresses of the user's models, which are this process's own."""
    rules = state.rules[0]
    for model in settings.models:
        rules[f"{model.kind.name.lower()}_model"] = model.address
    if rules["fill_model"] or rules["slippage_model"]:
        rules["slippage"] = Slippage.MODEL
    if rules["size_model"]:
        state.desks["size"] = SizeKind.MODEL


def _watches(n_symbols: int, settings: Settings) -> NDArray[Any]:
    desks = sorted(settings.strategies, key=lambda strategy: strategy.id)
    watches = np.zeros(1 + len(desks) + n_symbols, WATCH)
    watches["symbol"] = watches["strategy"] = NONE
    watches["capital"] = settings.cash
    watches["strategy"][1 : 1 + len(desks)] = np.arange(len(desks))
    watches["capital"][1 : 1 + len(desks)] = [round(settings.cash * desk.budget) for desk in desks]
    watches["symbol"][1 + len(desks) :] = np.arange(n_symbols)
    scopes = (
        (settings.halts, slice(0, 1)),
        (settings.strategy_halts, slice(1, 1 + len(desks))),
        (settings.symbol_halts, slice(1 + len(desks), None)),
    )
    for limits, part in scopes:
        watch = watches[part]
        watch["daily_loss"], watch["drawdown"], watch["resume_after"] = limits.daily_loss, limits.drawdown, limits.resume_after_us
        watch["losses"], watch["losses_for"], watch["cooldown"] = limits.losses, limits.losses_for_us, limits.cooldown_bars
    watches["last"] = watches["day_base"] = watches["peak"] = watches["capital"]
    watches["part"][1:] = 1
    for name in ("day_end", "day_halt_until", "losses_until", "stop_until", "cools_until"):
        watches[name] = -NEVER
    for name in ("resume_at", "breach_seq", "stop_seq"):
        watches[name] = NONE
    return watches


def _changes_levels(settings: Settings) -> bool:
    """Whether any strategy may change the levels of what it holds.  # R4.3"""
    return any(strategy.on_held in (OnHeld.ADD, OnHeld.REPLACE_LEVELS) for strategy in settings.strategies)


def aims(proposals: Proposals) -> bool:
    """Whether any proposal is a target."""
    return bool((proposals.action == Action.TARGET).any())


def _crowding(proposals: Proposals, settings: Settings) -> bool:
    """Whether selection has more to look at than the number of free slots.  # R4.2, R4.3"""
    limits = settings.max_per_group < UNLIMITED or settings.max_per_strategy < UNLIMITED or settings.rotate_margin < np.inf
    return limits or len(proposals.leg) > 0 or any(strategy.on_held != OnHeld.IGNORE for strategy in settings.strategies)


def largest_batch(available_ts: NDArray[np.int64]) -> int:
    """Most proposals that share one instant; at least 1."""
    if len(available_ts) == 0:
        return 1
    starts = np.flatnonzero(available_ts[1:] != available_ts[:-1]) + 1
    return int(np.diff(np.concatenate([[0], starts, [len(available_ts)]])).max())
