"""The rows that the state is made of, and which settings a plain run has.

A field's name means the same in every row: ``compilation`` puts the constant of a plain run in the place of every field of that name.
"""

import numpy as np

from engine.schema import LimitTouch, StopAnchor, StopCheck, StopFrom, Timing, TrailingMode

POSITION = np.dtype(
    [
        # what every bar of a held position reads comes first
        ("next_ts", "<i8"),  # when the position next needs a visit
        ("other_ts", "<i8"),  # when it next meets something else than its bars: funding, interest, settlement, universe, corporate actions
        ("row", "<i8"),  # its bar in progress, or the next one
        ("clock", "<i8"),  # Tape.shared_clock of its symbol
        ("max_row", "<i8"),  # bar at whose close it is too old
        ("qty", "<f8"),  # signed quantity of the lots
        ("multiplier", "<f8"),
        ("value", "<i8"),  # money, signed, at the mark; of an inverse contract against its side
        ("cost", "<i8"),  # money, signed: the value of its opening fills, less what closing fills released
        ("exit_id", "<i8"),  # 0: no exit pending
        ("symbol", "<i4"),
        ("strategy", "<i4"),
        ("side", "i1"),
        ("accounting", "u1"),  # Accounting of its symbol
        ("inverse", "u1"),  # whether that is INVERSE
        ("converts", "u1"),  # whether its prices are in another currency than the account's
        ("backs", "u1"),  # whether margin backs it: all but spot longs
        ("pooled", "u1"),  # whether its unrealised profit counts as free: of those, all but isolated ones
        ("moves", "u1"),  # whether closes may move the stop
        ("levels", "u1"),  # whether any level is set
        ("exit_reason", "u1"),
        ("exit_timing", "u1"),
        ("lots", "<i8"),  # signed; 0: none
        ("exit_row", "<i8"),  # first bar in which the pending exit can fill
        ("stop", "<f8"),  # NaN: none, and so on
        ("target", "<f8"),
        ("top_rate", "<f8"),  # of its instrument
        ("upkeep", "<i8"),  # money: its maintenance is no more
        ("profit", "<i8"),  # unrealised, in account money, where value and cost are in quote money
        ("margin", "<i8"),  # initial margin
        ("locked", "<i8"),  # money that secures it
        ("trailing", "<f8"),  # distance
        ("break_even", "<f8"),  # distance
        ("entry_price", "<f8"),  # of the fill that its levels are of
        ("extreme", "<f8"),
        ("level_row", "<i8"),  # first bar whose close has not moved the level yet
        ("first_row", "<i8"),  # first bar after the fill, or of the fill where that was at its open
        ("acts_row", "<i8"),  # first bar in which its bracket acts
        ("funding_row", "<i8"),
        ("daily_ts", "<i8"),  # when it next pays interest (a spot short) or is settled (a future); NEVER: not at all
        ("life_ts", "<i8"),  # when its symbol next meets the universe or a corporate action
        ("entry_id", "<i8"),
        ("opened_seq", "<i8"),
        ("exit_seq", "<i8"),
        ("exit_lots", "<i8"),  # that it is to close; 0: all
        ("exit_proposal", "<i8"),
        ("change", "<i8"),  # first change of its levels that does not act yet, a row of ``changes``; NONE: none
        ("last_change", "<i8"),
        ("adds", "<i8"),
        ("busy_at", "<i8"),  # instant at which it was chosen to grow, turn or go
        ("score", "<f8"),  # rank key of the last proposal of its side
        ("reach_row", "<i8"),  # bar inside which its entry filled by touch; NONE: at an open or a close
        ("reach_raw", "<f8"),  # at which raw price
        ("reach_certain", "u1"),  # extremes of that bar that come after the entry for certain
        ("reach_segment", "u1"),  # of the bar's path
        ("stop_reason", "u1"),  # STOP_LOSS, or what moved the stop last
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
        ("key", "<f8"),  # that it was ranked by
        ("limit", "<f8"),  # NaN: none
        ("trigger", "<f8"),
        ("row", "<i8"),  # next bar in which it may fill
        ("first_row", "<i8"),  # first bar in which it may act
        ("last_row", "<i8"),  # and the last
        ("expire_row", "<i8"),  # bar at whose close it expires
        ("good_till", "<i8"),  # time of GTD; NEVER: none
        ("life_ts", "<i8"),  # when its symbol next meets the universe or a corporate action
        ("rank", "<i8"),
        ("victim", "<i8"),  # slot of the position whose place it takes; NONE: none
        ("refused", "<i8"),  # seq of the record by which a target that was to turn the slot's position round came to nothing; NONE: none
        ("side", "i1"),
        ("begun", "u1"),  # whether any of it has filled
        ("kind", "u1"),  # OrderType it is by now: a triggered stop is a market order
        ("tif", "u1"),
        ("at_close", "u1"),  # whether it is to fill at a close
        ("aimed", "u1"),  # whether it is a target's
    ],
    align=True,
)
"""One pending entry of a (strategy, symbol); same slots."""

RATE = np.dtype([("now", "<f8"), ("told", "<f8"), ("row", "<i8")], align=True)
"""What quote money of a symbol is worth, what the ledger knows of it, and the next row of ``Tape.rate``; NaN: not known."""

TAKEN = np.dtype([("row", "<i8"), ("lots", "<i8")])
"""What the orders of a symbol took of the volume of its last traded bar."""

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
        ("upkeep", "<i8"),  # of all positions
        ("n_levels", "<i8"),  # positions with a level
        ("n_exits", "<i8"),  # positions with an exit pending
        ("n_cuts", "<i8"),  # of them, those of which it closes only some
        ("first_proposal", "<i8"),  # of the instant
        ("now", "<i8"),
        ("next_due", "<i8"),  # earliest visit that a position or a pending entry needs, or the account's debt
        ("interest_ts", "<i8"),  # midnight at which the account next pays interest on its debt; NEVER: none
        ("next_other", "<i8"),  # no position meets anything but its bars before
        ("sampled", "<i8"),  # samples taken so far
        ("last_equity", "<i8"),  # of the last sample
        ("watched_seq", "<i8"),  # seq after the last sample
        ("ended", "<i8"),
        ("phase", "<i8"),  # EventKind under way, or OUTSIDE
        ("midway", "<i8"),  # whether the decisions of the instant are still to come
        ("overflow", "<i8"),  # symbol number whose money overflowed first, n_symbols for the account's; NONE: none
        ("unrated", "<i8"),  # symbol number of the first entry whose currency has no rate yet; NONE: none
        ("overflow_seq", "<i8"),  # seq of the record under way then
        ("unpriced", "<i8"),  # symbol number of a fill that the tick left no price; NONE: none
    ]
)
"""The account and the replay's clocks; one row."""

RULES = np.dtype(
    [
        ("start_us", "<i8"),
        ("seed", "<i8"),
        ("fee_model", "<i8"),  # address of the user's model, 0: none; and so on
        ("slippage_model", "<i8"),
        ("fill_model", "<i8"),
        ("exit_model", "<i8"),
        ("selector_model", "<i8"),
        ("size_model", "<i8"),
        ("latency_us", "<i8"),
        ("max_positions", "<i8"),
        ("max_per_group", "<i8"),
        ("max_per_strategy", "<i8"),
        ("rotate_margin", "<f8"),
        ("scale", "<f8"),
        ("liquidation_fee", "<f8"),
        ("slippage_amount", "<f8"),
        ("default_half_spread", "<f8"),
        ("participation", "<f8"),
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
        ("max_group", "<f8"),
        ("max_strategy", "<f8"),
        ("delist_haircut", "<f8"),
        ("isolated", "u1"),
        ("maintenance_basis", "u1"),
        ("maintenance_fee", "u1"),
        ("liquidates", "u1"),  # whether any symbol has maintenance tiers
        ("inverse", "u1"),  # whether the symbols are inverse contracts
        ("converts", "u1"),  # whether any symbol is quoted in another currency than the account's
        ("timing", "u1"),
        ("size_at_fill", "u1"),
        ("intrabar", "u1"),
        ("limit_touch", "u1"),
        ("participation_current", "u1"),
        ("resting", "u1"),  # whether any entry so far may outlast the open that it was decided for
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
        ("charging", "u1"),  # whether there is interest on anything
        ("settling", "u1"),  # whether there are futures
        ("watching", "u1"),  # whether a halt needs more than the portfolio's equity
        ("parts", "u1"),  # whether a strategy or a symbol has a halt of its own
        ("crowding", "u1"),  # whether selection is more than so many of the best
        ("ordered", "u1"),  # whether any entry may be more than a market order that is good till cancelled
        ("exposing", "u1"),  # whether any limit looks at the exposure of more than one position
        ("bounded", "u1"),  # whether maintenance is at most top_rate of the notional at the mark
        ("tiered", "u1"),  # whether fees have tiers
        ("splits", "u1"),  # whether any symbol has a split
        ("aiming", "u1"),  # whether any proposal is a target
    ],
    align=True,
)
"""The settings, as the kernel reads them; one row."""

PLAIN: dict[str, float] = {
    "ordered": 0,
    "resting": 0,
    "crowding": 0,
    "aiming": 0,
    "watching": 0,
    "parts": 0,
    "tiered": 0,
    "splits": 0,
    "liquidates": 0,
    "inverse": 0,
    "converts": 0,
    "charging": 0,
    "settling": 0,
    "isolated": 0,
    "plain_exits": 1,
    "limit_touch": int(LimitTouch.TOUCH),
    "stop_from": int(StopFrom.FILL),
    "stop_check": int(StopCheck.RANGE),
    "trailing_mode": int(TrailingMode.CLOSE),
    "stop_anchor": int(StopAnchor.FILL),
    "timing": int(Timing.NEXT_OPEN),
    "size_at_fill": 0,
    "participation": np.inf,
    "fee_model": 0,
    "slippage_model": 0,
    "fill_model": 0,
    "exit_model": 0,
    "selector_model": 0,
    "size_model": 0,
}
"""Rules of a plain run: market orders at the next open, with stops and targets, and nothing besides."""

DESK = np.dtype(
    [("budget", "<f8"), ("amount", "<f8"), ("cap", "<f8"), ("max_adds", "<i8"), ("name_key", "<i8"), ("size", "u1"), ("on_held", "u1")],
    align=True,
)
"""One strategy's share, its sizing, what it is in the keys of draws, and what it does with what it holds."""

WATCH = np.dtype(
    [
        ("daily_loss", "<f8"),  # fractions; infinity: never
        ("drawdown", "<f8"),
        ("resume_after", "<i8"),
        ("losses", "<i8"),  # 0: never
        ("losses_for", "<i8"),
        ("cooldown", "<i8"),  # bars
        ("capital", "<i8"),  # money at the start
        ("earned", "<i8"),  # money since: realised, funding, less fees
        ("open_profit", "<i8"),
        ("last", "<i8"),  # equity at the last sample
        ("day_base", "<i8"),
        ("day_end", "<i8"),
        ("day_halt_until", "<i8"),
        ("peak", "<i8"),
        ("resume_at", "<i8"),  # end of the drawdown halt; NONE: not halted
        ("streak", "<i8"),  # losing trades in a row
        ("breach_seq", "<i8"),  # of the trade's end that completed a count, since the last sample
        ("losses_until", "<i8"),
        ("stop_seq", "<i8"),  # of the last stop since the last sample
        ("stop_until", "<i8"),
        ("cools_until", "<i8"),
        ("symbol", "<i4"),  # NONE: of all
        ("strategy", "<i4"),
        ("part", "u1"),  # not the portfolio
    ],
    align=True,
)
"""The halts of one scope: first the portfolio, then each strategy, then each symbol."""

CHANGE = np.dtype(
    [
        ("next", "<i8"),  # row of the position's next change; NONE: none
        ("ts", "<i8"),  # when it was decided
        ("row", "<i8"),  # first bar that opens at or after that
        ("closed", "<i8"),  # one past the last bar that had closed before it
        ("stop", "<f8"),  # NaN: stays as it is, and so on
        ("target", "<f8"),
        ("trailing", "<f8"),
        ("break_even", "<f8"),
        ("extreme", "<f8"),
        ("entry_price", "<f8"),
    ],
    align=True,
)
"""New levels of a held position, by the row of their proposal."""


TIER = np.dtype([("floor", "<i8"), ("maker_rate", "<f8"), ("taker_rate", "<f8")], align=True)
"""Fee rates from a traded notional (money) on."""
