"""The examples in the documents do what they say."""

import doctest
from pathlib import Path

from features.catalogue import FACTORIES
from tests import expressions

ROOT = Path(__file__).resolve().parent.parent


def test_the_examples_of_events_run() -> None:
    done = doctest.testfile(str(ROOT / "docs" / "events.md"), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert done.attempted > 25 and done.failed == 0


def test_the_page_of_expressions_is_what_its_command_makes() -> None:
    assert expressions.PAGE.read_text() == expressions.page()
    told = [line.split("`")[1] for line in expressions.page().splitlines() if line.startswith("### `")]
    assert sorted(told) == sorted(FACTORIES)
