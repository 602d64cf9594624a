"""Hypothesis profiles, chosen by ``TAPELINE_HYPOTHESIS``: ``default`` (few, the same every time), ``ci``, ``long`` (many, new every time)."""

import os

from hypothesis import HealthCheck, settings

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)  # the first example of a test may compile the kernel

settings.register_profile("default", max_examples=25, derandomize=True, deadline=None, database=None, suppress_health_check=SLOW)
settings.register_profile("ci", max_examples=100, derandomize=True, deadline=None, database=None, suppress_health_check=SLOW)
settings.register_profile("long", max_examples=2_000, deadline=None, suppress_health_check=SLOW, print_blob=True)
settings.load_profile(os.environ.get("TAPELINE_HYPOTHESIS", "default"))
