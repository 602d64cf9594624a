"""Corporate actions: a price factor becomes an integer ratio, a dividend an amount."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.dataset import ACTIONS
from pipeline.ingest.refusal import refusal

MAX_TERM = 1000
TOLERANCE = 1e-4
SPLIT, DIVIDEND, DELIST = (ACTIONS.index(name) for name in ("split", "dividend", "delist"))


def split_ratio(factor: float) -> Fraction | None:
    """New shares per old share from the factor a split puts on the price; None if no ratio is near enough.  # R8.1

    The nearest fraction with terms up to 1000, within 1e-4 of the factor.

    >>> split_ratio(0.1428572), split_ratio(20.0), split_ratio(0.00001)
    (Fraction(7, 1), Fraction(1, 20), None)
    """
    below = min(factor, 1 / factor)
    near = Fraction(below).limit_denominator(MAX_TERM)
    if near == 0 or abs(float(near) / below - 1) > TOLERANCE:
        return None
    return near if factor > 1 else 1 / near


class ActionReader:
    """Reads the rows of corporate actions of one file and keeps what it made of the ratios."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.rounded: list[str] = []

    def read(self, kinds: list[str], codes: NDArray[np.int64], columns: Mapping[str, NDArray[np.float64]], before: int) -> dict[str, Any]:
        """Columns ``kind``, ``value``, ``num`` and ``den``.

        Raises
        ------
        DatasetError
            An unknown kind, a ratio that is no ratio, or a dividend that is no amount.
        """
        for code, name in enumerate(kinds):
            if name not in ACTIONS:
                row = before + int(np.argmax(codes == code)) + 1
                raise refusal(
                    self._file, f"an action is one of {', '.join(ACTIONS)}", "correct the row or drop it", row, "kind", repr(name)
                )
        n = len(codes)
        kind = np.array([ACTIONS.index(name) for name in kinds], dtype=np.int8)[codes]
        value, num, den = np.zeros(n), np.zeros(n, np.int64), np.zeros(n, np.int64)
        for at in range(n):
            given = {name: float(column[at]) for name, column in columns.items()}
            if kind[at] == SPLIT:
                ratio = self._split(given, before + at + 1)
                num[at], den[at] = ratio.numerator, ratio.denominator
            elif kind[at] == DIVIDEND:
                value[at] = self._dividend(given, before + at + 1)
        return {"kind": kind, "value": value, "num": num, "den": den}

    def _split(self, given: dict[str, float], row: int) -> Fraction:
        if "num" in given and "den" in given and given["num"] == given["num"]:
            return self._given(given["num"], given["den"], row)
        column = "ratio" if "ratio" in given else "value"
        factor = given.get(column, float("nan"))
        if not 0 < factor < float("inf"):
            rule = "the factor of a split on the price is a finite number above zero (0.5 for two new shares for one old)"
            raise refusal(self._file, rule, "correct the row or drop it", row, column, factor)
        ratio = split_ratio(factor)
        if ratio is None:
            rule = f"no ratio of whole numbers up to {MAX_TERM} within {TOLERANCE} of it"
            raise refusal(self._file, rule, "give the ratio as columns num and den (new:old)", row, column, factor)
        if float(1 / ratio) != factor:
            self.rounded.append(f"row {row}: {factor} -> {ratio.numerator}:{ratio.denominator}")
        return ratio

    def _given(self, num: float, den: float, row: int) -> Fraction:
        for name, term in (("num", num), ("den", den)):
            if not (1 <= term <= MAX_TERM and term == int(term)):
                raise refusal(self._file, f"a term of a split is a whole number from 1 to {MAX_TERM}", "correct the row", row, name, term)
        return Fraction(int(num), int(den))

    def _dividend(self, given: dict[str, float], row: int) -> float:
        column = "amount" if "amount" in given else "value"
        amount = given.get(column, float("nan"))
        if not 0 < amount < float("inf"):
            raise refusal(
                self._file, "a dividend is a finite amount above zero for one share", "correct the row or drop it", row, column, amount
            )
        return amount
