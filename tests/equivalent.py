"""Mutants that no test can tell from the original, each with the reason."""

import re

SAME: tuple[tuple[str, str, str], ...] = ((r".*", r"^(\w+\[['\"]side['\"]\]|-?\w*side|of) > 0 -> .* >= 0$", "a side is +1 or -1, never 0"),)
"""File and function as ``file.function``, the change, and why it changes nothing; the first two are regular expressions."""


def equivalence(file: str, function: str, change: str) -> str:
    """Why a mutant is the same as the original; empty if it is not.

    >>> equivalence("exits", "limit_met", "side > 0 -> side >= 0")
    'a side is +1 or -1, never 0'
    """
    where = f"{file}.{function}"
    return next((why for place, known, why in SAME if re.fullmatch(place, where) and re.fullmatch(known, change)), "")
