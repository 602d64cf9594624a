"""The kinds of value a config holds: times, durations, decimals, fractions, names; and what every section of it is."""

import re
from datetime import UTC, date, datetime, time
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from engine.instrument import Decimals

UNITS_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
LONGEST_US = 36_500 * UNITS_US["d"]


def _moment(value: object) -> object:
    """A date (its first instant, UTC), a time (UTC unless it says otherwise), or ISO text of one."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("must be a date such as 2025-06-01 or a time such as 2025-06-01T08:00:00Z") from None
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    raise ValueError("must be a date such as 2025-06-01 or a time such as 2025-06-01T08:00:00Z")


def duration_us(value: object) -> int:
    """Microseconds of a duration such as ``250ms`` or ``30d``.

    >>> duration_us("250ms"), duration_us("1h"), duration_us(0)
    (250000, 3600000000, 0)
    """
    if value == 0 and not isinstance(value, bool):
        return 0
    match = re.fullmatch(r"(\d{1,9})(us|ms|s|m|h|d)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a whole number with a unit (us, ms, s, m, h, d), such as 250ms, 8h or 30d")
    found = int(match[1]) * UNITS_US[match[2]]
    if found > LONGEST_US:
        raise ValueError("must be at most 36500d")
    return found


def time_of_day_us(value: object) -> int:
    """Microseconds after 00:00 of a time such as ``16:00``.

    >>> time_of_day_us("16:00"), time_of_day_us("00:00:30")
    (57600000000, 30000000)
    """
    match = re.fullmatch(r"(\d\d):(\d\d)(?::(\d\d))?", value) if isinstance(value, str) else None
    parts = [int(part or 0) for part in match.groups()] if match is not None else [24]
    if parts[0] > 23 or max(parts[1:]) > 59:
        raise ValueError("must be a time of day in UTC, such as 16:00")
    return (parts[0] * 3600 + parts[1] * 60 + parts[2]) * UNITS_US["s"]


def _time_of_day(value: object) -> str:
    time_of_day_us(value)
    return str(value)


def _duration(value: object) -> str:
    duration_us(value)
    return str(value)


def _decimal(value: object) -> object:
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool) and Decimals.parse(value):
            return str(value)
    except (ValueError, ArithmeticError):
        pass
    raise ValueError("must be a positive decimal number")


def moment_us(moment: datetime) -> int:
    """Microseconds of a time."""
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def iso(value: datetime) -> str:
    """A time as a config writes it."""
    return value.isoformat().replace("+00:00", "Z")


Moment = Annotated[datetime, BeforeValidator(_moment), PlainSerializer(iso, return_type=str)]
TimeOfDay = Annotated[str, BeforeValidator(_time_of_day)]
Duration = Annotated[str, BeforeValidator(_duration)]
Decimal = Annotated[str, BeforeValidator(_decimal)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, le=1)]
OnHeldName = Literal["ignore", "add", "reverse", "replace_levels"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class Section(BaseModel):
    """A part of a config: frozen, strict, closed."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        serialize_by_alias=True,
        validate_by_name=True,
        validate_by_alias=True,
    )


def refuse_repeats(names: list[str], what: str) -> None:
    """Refuse a list that has a name twice."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{what} {repeated[0]!r} appears {names.count(repeated[0])} times; each may appear once")
