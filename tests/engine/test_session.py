"""Stepping, stopping, saving and restoring: however a replay is driven, it leaves the same bytes.  # R9.4"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.schema import NEVER, RECORD
from engine.session import ReplayError, Session
from tests.market_changes import fingerprint, run
from tests.markets import Case, random_case

SEEDS = st.integers(0, 2**32 - 1)


def session_of(case: Case) -> Session:
    return Session(case.dataset, case.proposals, case.settings)


def resumed(case: Case, saved: Path, tape: Session) -> Session:
    """A new session that takes up where a saved one stopped."""
    session = Session(case.dataset, case.proposals, case.settings, tape=tape.tape)
    session.restore(saved)
    return session


@given(SEEDS)
def test_stepping_equals_running(seed: int) -> None:  # R9.4
    case = random_case(seed)
    session, steps = session_of(case), 1
    while not session.step():
        steps += 1
    assert fingerprint(session.run()) == fingerprint(run(case))
    assert steps >= len(np.unique(session.run().records["ts"]))


@given(SEEDS)
def test_a_run_paused_at_any_times_equals_one_that_is_not(seed: int) -> None:  # R9.4
    case = random_case(seed)
    rng = np.random.default_rng(seed)
    plain = run(case)
    session = session_of(case)
    last = int(plain.records["ts"][-1])
    for until in np.sort(rng.integers(case.settings.start_us - 10, last + 10, 20)).tolist():
        ended = session.advance(until)
        assert ended or int(session.state.account[0]["now"]) <= until
    assert fingerprint(session.run()) == fingerprint(plain)


@given(SEEDS, st.integers(0, 6))
def test_a_run_saved_and_restored_at_any_instant_equals_one_that_is_not(
    tmp_path_factory: pytest.TempPathFactory, seed: int, offset: int
) -> None:  # R9.4
    case, path = random_case(seed), tmp_path_factory.getbasetemp() / "saved.npz"
    plain, session, instant = fingerprint(run(case)), session_of(case), 0
    ended = False
    while not ended:
        ended = session.step()
        instant += 1
        if instant % 7 == offset or ended:
            session.save(path)
            other = resumed(case, path, session)
            assert fingerprint(other.run()) == plain
    assert fingerprint(session.run()) == plain


@pytest.mark.parametrize("seed", range(6))
def test_a_run_restored_at_every_instant_equals_one_that_is_not(seed: int, tmp_path: Path) -> None:  # R9.4
    case, path = random_case(seed), tmp_path / "saved.npz"
    session = session_of(case)
    while not session.step():
        session.save(path)
        session = resumed(case, path, session)
    assert fingerprint(session.run()) == fingerprint(run(case))


@given(SEEDS, st.integers(1, 40))
def test_a_ledger_that_must_grow_holds_the_same_records(seed: int, room: int) -> None:  # R9.1
    case = random_case(seed)
    session = session_of(case)
    session.state = session.state.replace(ledger=np.empty(room, RECORD))
    assert fingerprint(session.run()) == fingerprint(run(case))
    assert len(session.state.ledger) > room


def test_a_saved_session_does_not_fit_another_run(tmp_path: Path) -> None:
    case = random_case(1)
    other = case._replace(
        settings=replace(case.settings, strategies=(*case.settings.strategies, replace(case.settings.strategies[0], id="x")))
    )
    session = session_of(case)
    session.step()
    session.save(tmp_path / "saved.npz")
    with pytest.raises(ReplayError, match="saved beside another dataset"):
        session_of(other).restore(tmp_path / "saved.npz")


def test_a_run_that_has_ended_stays_ended() -> None:  # R9.4
    session = session_of(random_case(1))
    assert session.advance(NEVER)
    before = fingerprint(session.run())
    assert session.step() and session.advance(0)
    assert fingerprint(session.run()) == before


def test_a_session_saved_under_other_settings_is_refused(tmp_path: Path) -> None:  # R9.4
    case = random_case(3)
    saved = tmp_path / "session.npz"
    session_of(case).save(saved)
    other = case._replace(settings=replace(case.settings, taker_bps=case.settings.taker_bps + 1))
    with pytest.raises(ReplayError, match="saved beside another dataset, other proposals or other settings"):
        session_of(other).restore(saved)


@pytest.mark.parametrize("kept", [0, 10, 400])
def test_a_damaged_save_is_refused(kept: int, tmp_path: Path) -> None:  # R9.4
    session, saved = session_of(random_case(3)), tmp_path / "session.npz"
    session.save(saved)
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(ReplayError, match="not a saved session"):
        session.restore(saved)
    assert not list(tmp_path.glob("*.tmp"))


def test_a_save_with_any_bit_flipped_is_refused_or_the_same(tmp_path: Path) -> None:  # R9.4
    case = random_case(3)
    session = Session(case.dataset, case.proposals, case.settings)
    session.step()
    session.save(str(tmp_path / "kept.npz"))
    whole, rng = (tmp_path / "kept.npz").read_bytes(), np.random.default_rng(5)
    expected, refused = fingerprint(Session(case.dataset, case.proposals, case.settings).run()), 0
    for at in rng.integers(0, len(whole), 150).tolist():
        altered = bytearray(whole)
        altered[at] ^= 1 << int(rng.integers(8))
        (tmp_path / "altered.npz").write_bytes(altered)
        again = Session(case.dataset, case.proposals, case.settings)
        try:
            again.restore(str(tmp_path / "altered.npz"))
        except ReplayError:
            refused += 1
        else:
            assert fingerprint(again.run()) == expected
    assert refused > 75


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (lambda session: session.advance("2024"), r"microseconds since 1970, UTC, as a whole number; not '2024'"),
        (lambda session: session.propose({"symbol": "A"}), r"a proposal is an engine\.proposal\.Proposal, .*not \{'symbol': 'A'\}"),
        (lambda session: session.add(session.strategies[0], object), r"is no EventStrategy but <class 'object'>"),
    ],
)
def test_what_a_session_cannot_take_is_told(mistake: Callable[[Session], object], said: str) -> None:
    case = random_case(3)
    with pytest.raises(ReplayError, match=said):
        mistake(Session(case.dataset, case.proposals, case.settings))
