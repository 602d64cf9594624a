"""When the replay may skip working out a liquidation price: the bound on maintenance that lets it.  # R7.2, R7.3"""

import numpy as np
import pytest

from engine.instrument import Instrument, MarginTier
from engine.liquidation import price_of, surely_safe
from engine.schema import MaintenanceBasis, MaintenanceFee
from engine.session import ReplayError, Session
from engine.settings import Settings, StrategySettings
from engine.specs import bounded, top_rate
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
    assert top_rate(one, Settings(0, 1, 10**9, (one,), (StrategySettings("s"),), **fee)) == 0.01 + 0.0005  # type: ignore[arg-type]


def test_a_mark_that_is_surely_safe_has_not_reached_the_liquidation_price() -> None:
    safe = other = 0
    for seed in range(400):
        case = random_case(seed)
        session = Session(case.dataset, case.proposals, case.settings)
        state, tape = session._state, session.tape
        if not state.rules[0]["liquidates"] or not state.rules[0]["bounded"]:
            continue
        for ts in tape.grid[:: max(1, len(tape.grid) // 12)]:
            try:
                if session.advance(int(ts)):
                    break
            except ReplayError:
                break
            for slot in session._state.held[: session._state.account[0]["n_held"]]:
                position = session._state.positions[slot]
                price, side, last = price_of(tape, session._state, slot), position["side"], tape.mark[position["row"] - 1]
                for mark in last * np.array([0.3, 0.7, 0.9, 0.97, 1.0, 1.03, 1.1, 1.3, 2.0]):
                    if surely_safe(session._state, slot, mark, session._state.rules[0]["scale"]):
                        safe += 1
                        assert not side * (mark - price) <= 0, (seed, ts, slot, mark, price)
                    else:
                        other += 1
    assert safe > 200 and other > 50
