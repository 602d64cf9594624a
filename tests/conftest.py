"""Hypothesis profiles, chosen by ``TAPELINE_HYPOTHESIS``: ``default`` (few, the same every time), ``ci``, ``long`` (many, new every time)."""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from engine.invariants import check
from engine.session import ReplayResult, Session

MOST_CHECKED = 100_000  # records

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)  # the first example of a test may compile the kernel

settings.register_profile("default", max_examples=25, derandomize=True, deadline=None, database=None, suppress_health_check=SLOW)
settings.register_profile("ci", max_examples=100, derandomize=True, deadline=None, database=None, suppress_health_check=SLOW)
settings.register_profile("long", max_examples=2_000, deadline=None, suppress_health_check=SLOW, print_blob=True)
settings.load_profile(os.environ.get("TAPELINE_HYPOTHESIS", "default"))


@pytest.fixture(autouse=True, scope="session")
def promises() -> Any:
    """Check what must hold of every run, after every run of the suite."""
    run = Session.run

    def checked(session: Session) -> ReplayResult:
        result = run(session)
        if len(result.records) <= MOST_CHECKED:
            check(result)
        return result

    Session.run = checked  # type: ignore[method-assign]
    yield
    Session.run = run  # type: ignore[method-assign]
