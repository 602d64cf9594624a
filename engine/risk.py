"""The gate: sizes what was selected, in rank order, against running reservations, and reserves or refuses.  # R5.1, R5.2"""

import numpy as np

from engine.execution import half_spread_of_close, reserve
from engine.kernel import kernel, shared
from engine.money import MONEY_LIMIT, grid_steps, money, quantity, value, whole_lots
from engine.portfolio import counts_as_free, equity, free_cash, note_overflow
from engine.records import post
from engine.schema import Action, Reason, RecordKind, SizeKind
from engine.sizing import all_in_lots, most_lots, most_lots_of_value, outlay, stop_distance, wanted_quantity
from engine.splits import restated_level
from engine.state import State
from engine.tape import Proposals, Tape, rules_at
from engine.terms import reference_price


@kernel
def side_of(action: int) -> int:
    """+1 for an entry that buys, -1 for one that sells.

    >>> int(side_of(Action.ENTER_LONG)), int(side_of(Action.ENTER_SHORT))
    (1, -1)
    """
    return 1 if action == Action.ENTER_LONG else -1


@kernel
def exposure(state: State) -> tuple[int, int]:
    """Gross and net value of positions at their marks and of pending entries at their references.  # R5.2, R6.1"""
    account = state.account[0]
    gross, net = 0, 0
    for i in range(account["n_held"]):
        worth = state.positions[state.held[i]]["value"]
        gross += abs(worth)
        net += worth
    for i in range(account["n_queue"]):
        order = state.entries[state.queue[i]]
        gross += order["value"]
        net += order["side"] * order["value"]
    return gross, net


@kernel
def sized(
    state: State, tape: Tape, proposals: Proposals, i: int, reference: float, capital: int, half: float, rule: np.void
) -> tuple[int, int]:
    """Lots that the strategy's size model asks for, and the reason where there are none.  # R5.1"""
    rules, symbol = state.rules[0], proposals.symbol[i]
    spec, desk, side = tape.specs[symbol], state.desks[proposals.strategy[i]], side_of(proposals.action[i])
    if side < 0 and not spec["shortable"]:
        return 0, Reason.SHORT_NOT_ALLOWED
    if desk["size"] == SizeKind.ALL_IN:
        buffer = money(capital * rules["cash_buffer"])
        limit = min(free_cash(state) - buffer, money(capital * desk["budget"]))
        lots = all_in_lots(tape, rules, symbol, side, limit, reference, half, rule["lot_step"], False)
        return lots, (Reason.NONE if lots > 0 else Reason.NO_SIZE)
    stop, kind = proposals.stop_loss[i], proposals.stop_loss_kind[i]
    distance = stop_distance(side, reference, restated_level(state, tape, symbol, stop, kind, proposals.ts[i]), kind)
    if desk["size"] == SizeKind.FIXED_RISK and not grid_steps(distance, rule["tick"], False) >= 1.0:
        return 0, Reason.BAD_STOP
    own = capital / rules["scale"] * desk["budget"]
    qty = wanted_quantity(desk["size"], desk["amount"], own, reference, spec["multiplier"], distance)
    if not qty > 0.0:
        return 0, Reason.NO_SIZE
    lots = whole_lots(qty, rule["lot"]) * rule["lot_step"]
    return lots, (Reason.NONE if lots > 0 else Reason.BELOW_MIN_QTY)


@kernel
def limited(
    state: State,
    tape: Tape,
    symbol: int,
    side: int,
    lots: int,
    reference: float,
    half: float,
    capital: int,
    gross: int,
    net: int,
    step: int,
) -> tuple[int, int]:
    """Lots that every limit allows, and the reason of the limit that allows none.  # R5.2"""
    rules = state.rules[0]
    clip = rules["clip"] != 0
    free = free_cash(state)
    allowed = lots
    if rules["cash_buffer"] > 0.0:
        buffer = money(capital * rules["cash_buffer"])
        allowed = most_lots(tape, rules, symbol, side, free - buffer, lots, reference, half, step, False)
        if allowed == 0 or (allowed < lots and not clip):
            return 0, Reason.CASH_BUFFER
    lots = allowed
    if rules["max_position"] < np.inf:
        allowed = most_lots_of_value(tape, rules, symbol, money(capital * rules["max_position"]), lots, reference, step)
        if allowed == 0 or (allowed < lots and not clip):
            return 0, Reason.MAX_POSITION
    lots = allowed
    if rules["max_gross"] < np.inf:
        allowed = most_lots_of_value(tape, rules, symbol, money(capital * rules["max_gross"]) - gross, lots, reference, step)
        if allowed == 0 or (allowed < lots and not clip):
            return 0, Reason.MAX_GROSS
    lots = allowed
    if rules["max_net"] < np.inf:
        allowed = most_lots_of_value(tape, rules, symbol, money(capital * rules["max_net"]) - side * net, lots, reference, step)
        if allowed == 0 or (allowed < lots and not clip):
            return 0, Reason.MAX_NET
    lots = allowed
    allowed = most_lots(tape, rules, symbol, side, free, lots, reference, half, step, False)
    if allowed == 0 or (allowed < lots and not clip):
        return 0, (Reason.INSUFFICIENT_MARGIN if counts_as_free(tape, symbol, side) else Reason.INSUFFICIENT_CASH)
    return allowed, Reason.NONE


@kernel
def below_minimum(tape: Tape, symbol: int, lots: int, reference: float, scale: float, rule: np.void) -> int:
    """BELOW_MIN_QTY, BELOW_MIN_NOTIONAL or NONE.  # R2.7"""
    spec = tape.specs[symbol]
    qty = quantity(lots, spec["lot_units"], spec["lot_power"])
    if qty < rule["min_qty"]:
        return Reason.BELOW_MIN_QTY
    if value(qty, reference, spec["multiplier"], scale) < money(rule["min_notional"] * scale):
        return Reason.BELOW_MIN_NOTIONAL
    return Reason.NONE


@shared
def gate(state: State, tape: Tape, proposals: Proposals, n_selected: int, now: int) -> None:
    """APPROVED or REJECTED for each of the ``n_selected`` best ranked; ``state.ranked`` keeps -1 for the refused."""
    rules, n_strategies = state.rules[0], len(state.desks)
    capital = equity(state)
    gross, net = exposure(state)
    for rank in range(n_selected):
        i = state.ranked[rank]
        symbol, side = proposals.symbol[i], side_of(proposals.action[i])
        slot = symbol * n_strategies + proposals.strategy[i]
        row = proposals.row[i]
        reference, score = reference_price(state, tape, proposals, i, side), proposals.score[i]
        half = half_spread_of_close(tape, symbol, row, now, rules["default_half_spread"])
        selected = state.entries[slot]["cause"]
        rule = tape.rules[rules_at(tape, symbol, now)]
        lots, reason = sized(state, tape, proposals, i, reference, capital, half, rule)
        if reason == Reason.NONE:
            lots, reason = limited(state, tape, symbol, side, lots, reference, half, capital, gross, net, rule["lot_step"])
        if reason == Reason.NONE:
            reason = below_minimum(tape, symbol, lots, reference, rules["scale"], rule)
        if reason != Reason.NONE:
            state.ranked[rank] = -1
            post(state, now, RecordKind.REJECTED, reason, slot, -1, i, side, 0, reference, 0, 0, score, selected, rank + 1, 0)
            continue
        if lots >= MONEY_LIMIT:
            note_overflow(state.account[0], symbol)
        order, spec = state.entries[slot], tape.specs[symbol]
        order["proposal"], order["side"], order["lots"] = i, side, lots
        order["value"] = value(quantity(lots, spec["lot_units"], spec["lot_power"]), reference, spec["multiplier"], rules["scale"])
        reserve(state, slot, outlay(tape, rules, symbol, side, lots, reference, half, False))
        gross += order["value"]
        net += side * order["value"]
        amount = order["reserved"]
        order["cause"] = post(
            state, now, RecordKind.APPROVED, Reason.NONE, slot, -1, i, side, lots, reference, 0, amount, 0.0, selected, 0, 0
        )
