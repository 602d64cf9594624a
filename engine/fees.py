"""What a fill is charged, and the tier of an account by what it traded lately.  # R2.6"""

import numpy as np

from engine.kernel import kernel, shared
from engine.model_call import call
from engine.money import fee, money, quantity, value
from engine.schema import DAY_US, Reason, RecordKind
from engine.state import State
from engine.tape import Tape, rate_at

WINDOW_US = 30 * DAY_US


@kernel
def fill_fee(rules: np.void, notional: int, rate: float, qty: float, maker: bool) -> int:
    """Fee of a fill of an absolute notional (money) and quantity."""
    if rules["fee_model"] != 0:
        return own_fee(rules, notional, qty, maker)
    return fee(notional, rate, qty, rules["per_unit"], rules["scale"], rules["flat_fee"], rules["least_fee"])


@shared
def own_fee(rules: np.void, notional: int, qty: float, maker: bool) -> int:
    """Fee by the user's model.  # R2.8"""
    scale = rules["scale"]
    return money(call(rules["fee_model"], (notional / scale, float(qty), 1.0 if maker else 0.0)) * scale)


@kernel
def settle_tier(state: State, tape: Tape, now: int) -> None:
    """Bring the rates in force up to date: at each instant, and after each fill."""
    if state.rules[0]["tiered"]:
        move_window(state, tape, now)
        set_rates(state)


@shared
def move_window(state: State, tape: Tape, now: int) -> None:
    """Let the window of the last 30 days take in new fills and leave out old ones; each record is met once at either end."""
    account = state.account[0]
    while account["traded_to"] < account["seq"]:
        account["traded"] += traded_notional(state, tape, account["traded_to"])
        account["traded_to"] += 1
    while account["traded_from"] < account["seq"] and state.ledger[account["traded_from"]]["ts"] <= now - WINDOW_US:
        account["traded"] -= traded_notional(state, tape, account["traded_from"])
        account["traded_from"] += 1


@kernel
def traded_notional(state: State, tape: Tape, seq: int) -> int:
    """Money traded by a record: that of a fill, unless a delisting or its expiry closed the position without a trade."""
    record = state.ledger[seq]
    if record["kind"] != RecordKind.FILL or record["reason"] == Reason.DELISTED or record["reason"] == Reason.EXPIRED:
        return 0
    spec = tape.specs[record["symbol"]]
    qty = quantity(record["qty"], spec["lot_units"], spec["lot_power"])
    quoted = abs(value(qty, record["price"], spec["multiplier"], state.rules[0]["scale"], spec["inverse"]))
    return money(quoted * rate_at(tape, record["symbol"], record["ts"])) if spec["converts"] else quoted


@shared
def set_rates(state: State) -> None:
    """The rates of the highest tier that what was traded reaches."""
    rules, traded = state.rules[0], state.account[0]["traded"]
    for i in range(len(state.tiers)):
        tier = state.tiers[i]
        if traded >= tier["floor"]:
            rules["maker_rate"], rules["taker_rate"] = tier["maker_rate"], tier["taker_rate"]
