"""Numbers and names of a source, and the rules each value must meet."""

import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.ingest.refusal import refusal

Floats = NDArray[np.float64]

MAX_RATE = 0.25  # no exchange lets one settlement move a quarter of the notional: a larger number is a percentage
MEND = "correct the row or drop it"


def numbers(file: str, column: str, array: Any, before: int) -> Floats:
    """The column as float64, NaN where a value is missing.

    Raises
    ------
    DatasetError
        A value is text that is no number, or the column has no numbers at all.
    """
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = pl.Series(pl.from_arrow(array)).str.strip_chars()
        read = text.cast(pl.Float64, strict=False)
        wrong = (read.is_null() & text.is_not_null() & (text != "")).to_numpy()
        if wrong.any():
            at = int(np.argmax(wrong))
            raise refusal(file, "not a number", MEND, before + at + 1, column, repr(array[at].as_py()))
        return read.fill_null(np.nan).to_numpy()
    if not (
        pa.types.is_floating(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    ):
        raise refusal(file, f"{kind} is no type of a number", "store it as float64", before + 1, column, array[0])
    values = array.cast(pa.float64(), safe=False) if not pa.types.is_boolean(kind) else array.cast(pa.int8()).cast(pa.float64())
    return np.array(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def names(file: str, column: str, array: Any, before: int) -> tuple[list[str], NDArray[np.int64]]:
    """Distinct names of the column and the place of each row's name among them.

    Raises
    ------
    DatasetError
        A name is missing, empty, or has blanks around it or characters that do not print.
    """
    kind = array.type
    text = array.cast(pa.string()) if pa.types.is_dictionary(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind) else array
    if not pa.types.is_string(text.type) and text.type != pa.string_view():
        raise refusal(file, f"{kind} is no type of a name", "store it as text", before + 1, column, array[0])
    encoded = text.cast(pa.string()).dictionary_encode(null_encoding="encode")
    found = encoded.dictionary.to_pylist()
    codes = np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
    for code, name in enumerate(found):
        if name is None or not name or name != name.strip() or not name.isprintable():
            at = int(np.argmax(codes == code))
            rule = "missing" if not name else "a name has no blanks around it and only characters that print"
            raise refusal(file, rule, MEND, before + at + 1, column, "missing" if name is None else repr(name))
    return found, codes


def folded(name: str) -> str:
    """What two names must not share: the name without case and compatibility forms."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def check(file: str, column: str, values: NDArray[Any], wrong: NDArray[np.bool_], before: int, rule: str, mend: str = MEND) -> None:
    """Refuse the first row that is wrong."""
    if wrong.any():
        at = int(np.argmax(wrong))
        value = values[at]
        raise refusal(file, rule, mend, before + at + 1, column, "missing or NaN" if value != value else value)


def check_prices(file: str, column: str, values: Floats, before: int) -> None:
    """A price is finite and positive."""
    check(file, column, values, ~(np.isfinite(values) & (values > 0)), before, "a price is a finite number above zero")


def check_candle(file: str, prices: Mapping[str, Floats], before: int, side: str = "") -> None:
    """Prices are prices, and the low and the high bound the open and the close."""
    for name in ("open", "high", "low", "close"):
        check_prices(file, side + name, prices[name], before)
    high, low = prices["high"], prices["low"]
    check(file, side + "high", high, high < low, before, "the high is below the low")
    for name in ("open", "close"):
        outside = (prices[name] > high) | (prices[name] < low)
        check(file, side + name, prices[name], outside, before, f"the {name} lies outside low and high")


def check_volume(file: str, values: Floats, before: int) -> None:
    """Volume is not negative; a missing one is allowed, and counted later."""
    check(file, "volume", values, np.isinf(values) | (values < 0), before, "a volume is a finite number, zero or more")


def check_rate(file: str, values: Floats, before: int) -> None:
    """A funding rate is a fraction."""
    wrong = ~(np.abs(values) <= MAX_RATE)
    mend = "divide percentages by 100, or correct the row"
    check(file, "rate", values, wrong, before, f"a rate is a fraction (0.0001 = 1 bp) of at most {MAX_RATE}", mend)
