"""The replay never looks ahead: whatever the future is made to be, or whether there is one, the past stays.  # R9.5"""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.schema import OUTSIDE, RECORD
from engine.session import ReplayResult, Session
from tests.market_changes import poisoned, run
from tests.markets import Case, random_case

SEEDS = st.integers(0, 2**32 - 1)


def cut(result: ReplayResult, at: int) -> int:
    """An instant to poison from: mostly one at which something was recorded, or a moment before or after it."""
    rng = np.random.default_rng(at)
    moments = np.concatenate([result.records["ts"], result.sample_ts])
    return int(rng.choice(moments)) + int(rng.choice([0, 0, 0, -1, 1, 7 * 60_000_000]))


Past = tuple[list[tuple[object, ...]], list[int], list[int]]


def causal(seed: int) -> Case:
    """A random case that does not let a bar's own volume say how much of it fills."""
    case = random_case(seed)
    return case._replace(settings=replace(case.settings, participation_current=False))


def past(case: Case, until: int) -> tuple[Past, int]:
    """Records (end-of-run ones apart), equity and outcomes up to an instant; and the last sample of the run."""
    session = Session(case.dataset, case.proposals, case.settings)
    session.advance(until)
    state, account = session.state, session.state.account[0]
    records = state.ledger[: account["seq"]][list(RECORD.names or ())]
    taken = np.arange(len(state.equity)) < account["sampled"]
    equity = np.where(taken, state.equity, account["last_equity"])[session.tape.grid <= until]
    known = session.proposals.available_ts <= until
    rows = [tuple(record) for record in records[records["phase"] != OUTSIDE].tolist()]
    return (rows, equity.tolist(), state.outcomes[known].tolist()), int(session.tape.grid.max(initial=case.settings.start_us - 1))


@given(SEEDS)
def test_an_overwritten_future_changes_no_record_of_the_past(seed: int) -> None:  # R1.3 R9.5
    case = causal(seed)
    plain = run(case)
    for number in range(4):
        t = cut(plain, seed + number)
        other = poisoned(case, t, np.random.default_rng(seed), drop=False)
        assert past(other, t)[0] == past(case, t)[0]


@given(SEEDS)
def test_a_future_that_is_not_there_changes_no_record_of_the_past(seed: int) -> None:  # R9.5
    case = causal(seed)
    plain = run(case)
    for number in range(4):
        t = cut(plain, seed + number)
        other = poisoned(case, t, np.random.default_rng(seed), drop=True)
        end = min(t, past(other, t)[1])  # without later bars the run may end before t
        assert past(other, end)[0] == past(case, end)[0]
