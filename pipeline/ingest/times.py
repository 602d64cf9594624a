"""Times of a source: which unit or zone a column uses, and its instants in us UTC."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pac
from numpy.typing import NDArray

from pipeline.ingest.refusal import refusal

Ints = NDArray[np.int64]

FIRST_S, LAST_S = 31_536_000, 4_102_444_800  # 1971 to 2100: in this range a count tells its own unit
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
TEXT = "%Y-%m-%dT%H:%M:%S%.f%z"


class Clock(NamedTuple):
    """How a column of times is written."""

    style: str  # "epoch", "timestamp" or "text"
    unit: str  # "" for text
    zone: str

    def __str__(self) -> str:
        if self.style == "epoch":
            return f"integers, {self.unit} since 1970 UTC"
        return f"text with {self.zone}" if self.style == "text" else f"timestamps in {self.unit}, {self.zone}"


class TimeReader:
    """Reads the time columns of one file and holds each to the style of its first row."""

    def __init__(self, file: str, assume_utc: bool) -> None:
        self._file = file
        self._assume_utc = assume_utc
        self.clocks: dict[str, Clock] = {}
        self.shortened = 0  # times finer than a microsecond

    def read(self, column: str, array: Any, before: int) -> Ints:
        """Instants in us.

        Raises
        ------
        DatasetError
            A missing or naive time, one outside 1971 to 2100, or another unit than the rows or the column before.
        """
        if array.null_count:
            row = before + 1 + int(np.argmax(np.asarray(array.is_null())))
            raise refusal(self._file, "every row has a time", "add it or drop the row", row, column, "missing")
        clock, ticks = self._ticks(column, array, before)
        self._hold(column, clock, before)
        return self._instants(column, clock, ticks, before)

    def _ticks(self, column: str, array: Any, before: int) -> tuple[Clock, Ints]:
        kind = array.type
        if pa.types.is_timestamp(kind):
            if kind.tz is None and not self._assume_utc:
                raise self._naive(column, before, array[0])
            return Clock("timestamp", kind.unit, kind.tz or "UTC assumed"), _integers(array.cast(pa.int64()))
        if pa.types.is_integer(kind):
            return self._epoch(column, _integers(array.cast(pa.int64())), before)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return self._text(column, array, before)
        if pa.types.is_date(kind):
            raise self._naive(column, before, array[0])
        mend = "write whole numbers, or timestamps with a zone"
        raise refusal(self._file, f"{kind} is no type of a time", mend, before + 1, column, array[0])

    def _epoch(self, column: str, ticks: Ints, before: int) -> tuple[Clock, Ints]:
        unit = next((name for name, scale in PER_SECOND.items() if FIRST_S * scale <= ticks[0] < LAST_S * scale), None)
        if unit is None:
            rule = "in no unit (s, ms, us, ns) a time from 1971 to 2100"
            raise refusal(self._file, rule, "write seconds, ms, us or ns since 1970 UTC", before + 1, column, ticks[0])
        return Clock("epoch", unit, "UTC"), ticks

    def _text(self, column: str, array: Any, before: int) -> tuple[Clock, Ints]:
        if pac.match_substring_regex(array.slice(0, 1), r"^\s*-?\d+\s*$")[0].as_py():
            counts = pl.Series(pl.from_arrow(array)).str.strip_chars().cast(pl.Int64, strict=False)
            self._whole(column, array, counts, before, "the rows before are whole numbers: mixed units")
            return self._epoch(column, counts.to_numpy(), before)
        text = (
            pl.Series(pl.from_arrow(array))
            .str.strip_chars()
            .str.replace(r"^(\d{4}-\d\d-\d\d) ", "${1}T")
            .str.replace(r"\s*(Z|UTC)$", "+00:00")
        )
        zoned = text.str.contains(r"[+-]\d\d:?\d\d$")
        if not zoned.all() and not self._assume_utc:
            at = int(np.argmin(zoned.to_numpy()))
            raise self._naive(column, before + at, array[at])
        text = pl.select(pl.when(zoned).then(text).otherwise(text + "+00:00")).to_series()
        read = text.str.to_datetime(TEXT, time_unit="us", time_zone="UTC", strict=False)
        self._whole(column, array, read, before, "not a time such as 2024-01-31T00:00:00Z")
        return Clock("text", "us", "a zone" if zoned.all() else "UTC assumed"), read.cast(pl.Int64).to_numpy()

    def _whole(self, column: str, array: Any, read: pl.Series, before: int, rule: str) -> None:
        if read.null_count():
            at = int(np.argmax(read.is_null().to_numpy()))
            raise refusal(self._file, rule, "write one style of time throughout", before + at + 1, column, array[at])

    def _hold(self, column: str, clock: Clock, before: int) -> None:
        for other, known in self.clocks.items():
            alike = (known.style, known.unit) == (clock.style, clock.unit)
            if alike or (other != column and "epoch" not in (known.style, clock.style)):
                continue
            where = "the rows before" if other == column else f"column {other}"
            rule = f"times are {clock} but in {where} {known}: mixed units"
            raise refusal(self._file, rule, "write one unit throughout", before + 1, column)
        self.clocks.setdefault(column, clock)

    def _instants(self, column: str, clock: Clock, ticks: Ints, before: int) -> Ints:
        scale = PER_SECOND[clock.unit]
        outside = (ticks < FIRST_S * scale) | (ticks >= LAST_S * scale)
        if outside.any():
            raise self._outside(column, clock, ticks, before, int(np.argmax(outside)))
        if clock.unit == "ns":
            self.shortened += int(np.count_nonzero(ticks % 1000))
            return ticks // 1000
        return ticks * (10**6 // scale)

    def _outside(self, column: str, clock: Clock, ticks: Ints, before: int, at: int) -> Exception:
        value = int(ticks[at])
        if clock.style == "epoch":
            rule = f"not {clock.unit} since 1970 from 1971 to 2100, as the first row is: mixed units"
            return refusal(self._file, rule, "write one unit throughout", before + at + 1, column, value)
        real = next((unit for unit, scale in PER_SECOND.items() if FIRST_S * scale <= value < LAST_S * scale), None)
        cause = f"; {real} read as {clock.unit}" if real else ""
        shown = f"{value} {clock.unit} since 1970"
        rule = f"outside 1971 to 2100{cause}"
        return refusal(self._file, rule, "make the timestamps anew in their real unit", before + at + 1, column, shown)

    def _naive(self, column: str, before: int, value: Any) -> Exception:
        if not any(letter.isdigit() for letter in str(value)):
            mend = "write one style of time throughout"
            return refusal(self._file, "not a time such as 2024-01-31T00:00:00Z", mend, before + 1, column, value)
        if ":" not in str(value):
            mend = "write the time of day and the zone as well, such as 2024-01-31T00:00:00Z"
            return refusal(self._file, "a date without a time of day is no instant", mend, before + 1, column, value)
        mend = "write UTC (a 'Z' or an offset), or pass --assume-utc (assume_utc=True) if it is UTC"
        return refusal(self._file, "a naive time: without a zone it is no instant", mend, before + 1, column, value)


def _integers(array: Any) -> Ints:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.int64)
