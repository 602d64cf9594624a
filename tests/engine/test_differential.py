"""The compiled replay and the plain oracle on random markets: the same records, samples, outcomes, equity and errors.  # R10.1"""

import os

import pytest

from tests.differential import first_difference

MARKETS = {"default": 3_000, "ci": 3_000, "long": 30_000}[os.environ.get("TAPELINE_HYPOTHESIS", "default")]
PLAIN = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
CHUNK = 100


@pytest.mark.parametrize("first", range(0, 300 if PLAIN else MARKETS, CHUNK))
def test_the_replay_agrees_with_the_oracle_on_random_markets(first: int) -> None:  # R1 to R8
    differences = [difference for seed in range(first, first + CHUNK) if (difference := first_difference(seed))]
    assert not differences, "\n".join(differences)
