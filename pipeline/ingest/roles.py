"""What a file of a source holds, told from its columns and its name."""

import difflib
import re
from collections.abc import Sequence
from typing import NamedTuple

from engine.dataset import QUOTE_COLUMNS
from pipeline.ingest.refusal import refusal
from pipeline.ingest.sources import Source

PRICES = ("open", "high", "low", "close")

REQUIRED = {
    "bars": PRICES,
    "quotes": QUOTE_COLUMNS,
    "marks": PRICES,
    "funding": ("rate",),
    "spread": ("bid", "ask"),
    "universe": ("listed",),
    "actions": ("kind",),
}
OPTIONAL = {
    "bars": ("volume", *QUOTE_COLUMNS),
    "quotes": (),
    "marks": (),
    "funding": ("mark", "ts_raw"),
    "spread": (),
    "universe": (),
    "actions": ("ratio", "num", "den", "amount", "value"),
}
ACTION_VALUES = ("ratio", "num", "amount", "value")
CANDLES = ("bars", "quotes", "marks")
COMMON = ("symbol", "venue", "ts")
CANDLE_COMMON = ("open_time", "open_ts", "interval", "freq", "session")
"""Every column name here is in the tables of docs/data.md."""

WORDS = {
    "bars": ("bars", "bar", "candles", "candle", "klines", "kline", "ohlc", "ohlcv", "trades_candles"),
    "quotes": ("quotes", "quote", "bidask"),
    "marks": ("marks", "mark"),
    "funding": ("funding", "fundingrate", "rates"),
    "spread": ("spread", "spreads", "quotes", "quote", "book", "bbo", "ticks"),
    "universe": ("universe", "listing", "listings"),
    "actions": ("actions", "corporate_actions", "corporate", "splits", "dividends", "events"),
}
INTERVAL = re.compile(r"([1-9][0-9]*)(s|m|min|h|d|ms)", re.ASCII)
INTERVAL_WORDS = {"second": 1_000_000, "minute": 60_000_000, "hour": 3_600_000_000, "hourly": 3_600_000_000, "day": 86_400_000_000}
INTERVAL_WORDS |= {"daily": 86_400_000_000}
UNITS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "min": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


class Role(NamedTuple):
    """What a file holds and which of its columns are read."""

    kind: str
    columns: tuple[str, ...]
    symbol: str | None  # of the whole file; None: there is a column
    interval_us: int | None  # of the whole file, told by its name
    unused: tuple[str, ...]


def parse_interval(text: str) -> int | None:
    """Length in us of ``"1h"``, ``"15min"``, ``"daily"``; None for other text.

    >>> parse_interval("15m"), parse_interval("hour"), parse_interval("x")
    (900000000, 3600000000, None)
    """
    found = INTERVAL.fullmatch(text.strip())
    return int(found[1]) * UNITS[found[2]] if found else INTERVAL_WORDS.get(text.strip().lower())


def recognise(source: Source) -> Role | None:
    """The role of a file; None for single trades, which no kind of a dataset holds.

    Raises
    ------
    DatasetError
        A column of its role is missing, or nothing tells the role or the symbol.
    """
    have = source.columns
    if {"price", "qty"} <= set(have) or {"price", "size"} <= set(have):
        return None
    kind = _kind(source)
    time = ("ts", "open_time", "open_ts") if kind in CANDLES else ("ts", "ts_raw") if kind == "funding" else ("ts",)
    if not set(time) & set(have):
        raise _missing(source, kind, "ts")
    if kind in CANDLES and {"open_time", "open_ts"} <= set(have):
        raise refusal(source.name, "both 'open_time' and 'open_ts' are there, and they mean the same", "keep one of them")
    wanted = (*COMMON, *(CANDLE_COMMON if kind in CANDLES else ()), *REQUIRED[kind], *OPTIONAL[kind])
    columns = tuple(column for column in have if column in wanted)
    quotes = [column for column in QUOTE_COLUMNS if column in columns]
    if kind == "bars" and quotes and len(quotes) < len(QUOTE_COLUMNS):
        raise _missing(source, kind, next(column for column in QUOTE_COLUMNS if column not in columns))
    rest, interval_us = _name_parts(source)
    if "symbol" not in have and not rest:
        raise refusal(
            source.name, "no column 'symbol', and the file's name is not one", "add the column, or name the file after its symbol"
        )
    return Role(kind, columns, None if "symbol" in have else rest, interval_us, tuple(c for c in have if c not in columns))


def _kind(source: Source) -> str:
    have, words = set(source.columns), set(_words(source))
    named = [kind for kind, names in WORDS.items() if words & set(names)]
    whole = [kind for kind, columns in REQUIRED.items() if set(columns) <= have]
    if "actions" in whole and not have & set(ACTION_VALUES) and "actions" not in named:
        whole.remove("actions")
    both = [kind for kind in whole if kind in named]
    if "bars" in whole and "marks" in whole and both != ["marks"]:
        return "bars"
    if both or whole:
        return (both or whole)[0]
    share = {kind: len(set(columns) & have) / len(columns) for kind, columns in REQUIRED.items()}
    kind = max([*named, *share], key=lambda name: (share[name], name in named))
    if share[kind] == 0 and not named:
        raise refusal(
            source.name, f"columns {', '.join(source.columns[:12])} are of no known kind", "name the columns as docs/data.md says"
        )
    kind = kind if share[kind] else named[0]
    raise _missing(source, kind, next(column for column in REQUIRED[kind] if column not in have))


def _missing(source: Source, kind: str, column: str) -> Exception:
    near = difflib.get_close_matches(column, [*source.columns, *(name.lower() for name in source.columns)], n=1, cutoff=0.7)
    found = next((name for name in source.columns if near and name.lower() == near[0].lower()), None)
    mend = f"rename column '{found}' to '{column}'" if found else "add the column"
    return refusal(source.name, f"no column '{column}', which {kind} need (found {', '.join(source.columns[:12])})", mend)


def _words(source: Source) -> Sequence[str]:
    stem = source.path.stem.lower()
    folder = source.name.lower().split("/")[:-1]
    return [stem, *re.split(r"[^a-z0-9]+", stem), *folder]


def _name_parts(source: Source) -> tuple[str, int | None]:
    """The symbol and the interval in a file's name, such as ``BTCUSDT-funding`` or ``ETH-PERP_1h``."""
    known = {word for names in WORDS.values() for word in names}
    parts = re.split(r"([-_. ]+)", source.path.stem)
    interval_us = next((length for part in parts if (length := parse_interval(part)) is not None), None)
    kept = ["" if part.lower() in known or parse_interval(part) is not None else part for part in parts]
    return re.sub(r"^[-_. ]+|[-_. ]+$", "", "".join(kept)), interval_us
