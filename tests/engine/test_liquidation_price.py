"""The liquidation price in random accounts, and when the replay may do without it: the bound on maintenance.  # R7.2, R7.3"""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from engine.instrument import Instrument, MarginTier
from engine.liquidation import maintenance_of_others, price_of, surely_safe
from engine.schema import Accounting, MaintenanceBasis, MaintenanceFee, MarginMode
from engine.session import ReplayError, Session
from engine.settings import Settings, StrategySettings
from engine.specs import bounded, fee_held, top_rate
from tests.markets import random_case


def told(rate: float, deduction: float = 0.0, **changes: object) -> bool:
    one = Instrument("A", maintenance=(MarginTier(0.0, 0.004, 0.0), MarginTier(1e6, rate, deduction)))
    return bounded((one,), Settings(0, 1, 10**9, (one,), (StrategySettings("s"),), **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kept", "rate", "deduction", "changes"),
    [
        (True, 0.02, 50.0, {}),
        (False, 0.02, -1.0, {}),  # more than a fraction of the notional
        (False, 1.0000000000000002, 0.0, {}),  # margin would not fall with the price of a long
        (False, 0.02, 0.0, {"maintenance_basis": MaintenanceBasis.ENTRY}),
        (False, 0.995, 0.0, {"maintenance_fee": MaintenanceFee.TAKER_AT_BANKRUPTCY, "taker_bps": 50.0}),
    ],
)
def test_the_bound_holds_where_maintenance_is_a_part_of_the_notional_at_the_mark(
    kept: bool, rate: float, deduction: float, changes: dict[str, object]
) -> None:
    assert told(rate, deduction, **changes) == kept


def test_the_highest_rate_holds_the_fee_that_maintenance_does() -> None:
    one = Instrument("A", maintenance=(MarginTier(0.0, 0.004, 0.0), MarginTier(1e6, 0.01, 6000.0)))
    fee = {"maintenance_fee": MaintenanceFee.TAKER_AT_BANKRUPTCY, "taker_bps": 5.0}
    assert top_rate(one, fee_held(Settings(0, 1, 10**9, (one,), (StrategySettings("s"),), **fee))) == 0.01 + 0.0005  # type: ignore[arg-type]


def standings(seeds: range) -> Iterator[tuple[Session, int]]:
    """Sessions that stand in the middle of a run with a position that can be liquidated, and its slot."""
    for seed in seeds:
        case = random_case(seed)
        session = Session(case.dataset, case.proposals, case.settings)
        if not session._state.rules[0]["liquidates"] or not session._state.rules[0]["bounded"]:
            continue
        for ts in session.tape.grid[:: max(1, len(session.tape.grid) // 12)]:
            try:
                if session.advance(int(ts)):
                    break
            except ReplayError:
                break
            for slot in session._state.held[: session._state.account[0]["n_held"]]:
                yield session, int(slot)


def test_a_mark_that_is_surely_safe_has_not_reached_the_liquidation_price() -> None:
    safe = other = 0
    for session, slot in standings(range(400)):
        state, position = session._state, session._state.positions[slot]
        price, last = price_of(session.tape, state, slot), session.tape.mark[position["row"] - 1]
        for mark in last * np.array([0.3, 0.7, 0.9, 0.97, 1.0, 1.03, 1.1, 1.3, 2.0]):
            if surely_safe(state, slot, mark, state.rules[0]["scale"]):
                safe += 1
                assert not position["side"] * (mark - price) <= 0
            else:
                other += 1
    assert safe > 200 and other > 50


def worth(session: Session, slot: int, price: float) -> float:
    """Signed value (money) of a position at a price, not rounded."""
    position, one = session._state.positions[slot], session.settings.instruments
    instrument = sorted(one, key=lambda one: one.symbol)[position["symbol"]]
    quantity = int(position["lots"]) * instrument.base_lot.units / instrument.base_lot.power * float(instrument.multiplier)
    inverse = instrument.accounting == Accounting.INVERSE
    return (-quantity / price if inverse else quantity * price) * session.settings.scale


def test_at_the_liquidation_price_margin_equals_maintenance() -> None:  # R7.3
    seen: Counter[str] = Counter()
    for session, slot in standings(range(900)):
        state, position, settings = session._state, session._state.positions[slot], session.settings
        price = float(price_of(session.tape, state, slot))
        if not price > 0.0:
            continue
        symbol, isolated = position["symbol"], settings.margin == MarginMode.ISOLATED
        parts = (
            [slot]
            if isolated
            else [int(one) for one in state.held[: state.account[0]["n_held"]] if state.positions[one]["symbol"] == symbol]
        )
        at_price = [worth(session, part, price) for part in parts]
        if isolated:
            left = int(position["margin"]) + sum(at_price) - int(position["cost"])
        else:
            others = maintenance_of_others(session.tape, state, symbol)
            held = sum(int(state.positions[part]["value"]) for part in parts)
            left = int(state.account[0]["cash"] + state.account[0]["open_value"]) - held + sum(at_price) - others
        notional, fee = (
            abs(sum(at_price)),
            max(0.0, settings.taker_bps) / 10_000 if settings.maintenance_fee != MaintenanceFee.NONE else 0.0,
        )
        if settings.fee_tiers and settings.maintenance_fee != MaintenanceFee.NONE:
            continue  # the rate in force is the account's own
        tiers = [
            tier
            for tier in sorted(settings.instruments, key=lambda one: one.symbol)[symbol].tiers
            if tier.floor * settings.scale <= notional + 2
        ]
        needed = [notional * (tier.rate + fee) - tier.deduction * settings.scale for tier in tiers]
        assert min(abs(left - one) for one in needed) <= 2 + 1e-7 * notional, (left, needed)
        seen["isolated" if isolated else "cross"] += 1
        seen["several"] += len(parts) > 1
        seen["short"] += position["side"] < 0
        seen["inverse"] += position["accounting"] == Accounting.INVERSE
    assert seen["several"] >= 5 and min(seen[name] for name in ("isolated", "cross", "short", "inverse")) >= 20, seen
