"""The code made for plain runs replays them as the code for all runs does, and as the oracle does."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from engine.layout import PLAIN
from engine.proposal import Proposal
from engine.schema import LimitTouch, MarginMode, OnHeld, StopAnchor, StopCheck, StopFrom, Timing, TrailingMode
from engine.session import ReplayError, Session
from engine.settings import UNLIMITED, HaltLimits
from tests.differential import kernel_run, oracle_run, outcome_of
from tests.market_changes import fingerprint, untargeted
from tests.markets import Case, random_case

MARKETS = 150


def plainer(case: Case) -> Case:
    """The case without all that a plain run has not, splits apart; its costs, limits, sizes and levels are left."""
    columns = {name: column for name, column in untargeted(case).proposals.items() if name not in ("order_type", "tif", "tif_value", "leg")}
    settings = replace(
        case.settings,
        limit_touch=LimitTouch.TOUCH,
        stop_from=StopFrom.FILL,
        stop_check=StopCheck.RANGE,
        stop_anchor=StopAnchor.FILL,
        trailing_mode=TrailingMode.CLOSE,
        timing=Timing.NEXT_OPEN,
        margin=MarginMode.CROSS,
        participation=float("inf"),
        size_at_fill=False,
        max_per_group=UNLIMITED,
        max_per_strategy=UNLIMITED,
        rotate_margin=float("inf"),
        strategy_halts=HaltLimits(),
        symbol_halts=HaltLimits(),
        halts=replace(case.settings.halts, losses=0, cooldown_bars=0),
        fee_tiers=(),
        models=(),
        strategies=tuple(replace(one, on_held=OnHeld.IGNORE) for one in case.settings.strategies),
        instruments=tuple(replace(one, maintenance=()) for one in case.settings.instruments),
    )
    return case._replace(proposals=columns, settings=settings)


def plain_cases() -> Iterator[Case]:
    found = 0
    for seed in range(10 * MARKETS):
        case = plainer(random_case(seed))
        if found < MARKETS and Session(case.dataset, case.proposals, case.settings)._plain:
            found += 1
            yield case
    assert found == MARKETS


def replayed(case: Case, *, plain: bool) -> Any:
    session = Session(case.dataset, case.proposals, case.settings)
    session._plain = plain
    try:
        result = session.run()
    except ReplayError as error:
        return str(error), 0
    return fingerprint(result), len(result.records)


def test_plain_runs_are_replayed_as_by_the_code_for_all_runs() -> None:
    records = 0
    for case in plain_cases():
        found = replayed(case, plain=True)
        assert found == replayed(case, plain=False)
        records += found[1]
    assert records > 20 * MARKETS


def test_plain_runs_agree_with_the_oracle() -> None:
    for case in plain_cases():
        assert outcome_of(kernel_run, case) == outcome_of(oracle_run, case)


def test_what_is_settled_holds_in_every_row_that_has_a_field_of_the_name() -> None:
    met = set()
    for case in plain_cases():
        session = Session(case.dataset, case.proposals, case.settings)
        session.advance(int(session.tape.grid[len(session.tape.grid) // 2]))
        for rows in (*session.tape.arrays().values(), *session._state.arrays().values()):
            for name in set(rows.dtype.names or ()) & PLAIN.keys():
                met.add(name)
                assert (rows[name] == PLAIN[name]).all(), name
    assert met == PLAIN.keys()


def test_a_proposal_made_in_a_session_needs_the_code_for_all_runs() -> None:
    case = next(plain_cases())
    session = Session(case.dataset, case.proposals, case.settings)
    session.advance(int(session.tape.grid[len(session.tape.grid) // 2]))
    assert session._plain
    session.propose(Proposal(session.symbols[0], "enter_long", session.strategies[0], order_type="limit", limit_price=1e-3))
    session.run()
    assert not session._plain and session.proposals.order_type.any()
