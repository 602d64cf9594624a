"""The examples in the documents do what they say."""

import doctest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_examples_of_events_run() -> None:
    done = doctest.testfile(str(ROOT / "docs" / "events.md"), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert done.attempted > 25 and done.failed == 0
