"""What is odd about real data: holes, wicks, missing marks, changes of the funding interval, and the like.

Remarks tell; they neither repair nor refuse.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.dataset import ACTIONS, QUOTE_COLUMNS, Dataset, Series, interval_name
from engine.schema import DAY_US
from pipeline.plural import plural

Columns = Mapping[str, NDArray[Any]]
Remarks = Iterator[str]

CLOSED_US = 5 * DAY_US  # a market with sessions may be shut for a long weekend; longer is a gap
REUSED_US = 180 * DAY_US
WICK = 2.0  # a bar whose high is this many times its low
LARGE_RATE = 0.005
HOLE_US = DAY_US  # no perpetual settles less often


class Part(NamedTuple):
    """One series and the dataset it is of."""

    dataset: Dataset
    kind: str
    series: Series

    @property
    def columns(self) -> Columns:
        """The columns of the series."""
        return self.dataset.view(self.kind, self.series)

    @property
    def name(self) -> str:
        """What remarks call it."""
        return f"{self.kind} {self.series.name}".rstrip()

    @property
    def sessions(self) -> bool:
        """Whether its market closes for nights or weekends."""
        spec = self.dataset.instruments.get(self.series.symbol, {})
        return bool(spec.get("sessions")) or spec.get("kind") in ("fx", "equity")

    def bars(self, name: str = "") -> Columns | None:
        """Bars of the symbol, the finest unless named; None if there are none."""
        found = self.dataset.find("bars", self.series.symbol, name)
        return None if found is None or found.start == found.stop else self.dataset.view("bars", found)

    def gaps(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows before which bars are missing, and for how long."""
        length = self.columns["open_ts"][1:] - self.columns["ts"][:-1]
        rows = np.flatnonzero(length > (CLOSED_US if self.sessions else 0))
        return rows + 1, length[rows]


def remarks(kind: str, part: Part) -> Remarks:
    """All remarks on one series."""
    if len(part.columns["ts"]):
        yield from _REMARKS[kind](part)


def _candles(part: Part) -> Remarks:
    columns, series = part.columns, part.series
    yield from _gaps(part)
    length = columns["ts"] - columns["open_ts"]
    other, counts = np.unique(length[length != series.interval_us], return_counts=True)
    for unusual, number in zip(other.tolist(), counts.tolist(), strict=True):
        yield f"{part.name}: {plural(number, 'bar')} {'is' if number == 1 else 'are'} {interval_name(unusual)} long"
    wick = columns["high"] / columns["low"]
    worst = int(np.argmax(wick))
    if wick[worst] >= WICK:
        number = int(np.count_nonzero(wick >= WICK))
        fall, rise = (columns[name][worst] / columns["open"][worst] - 1 for name in ("low", "high"))
        moved = f"from the open {fall:+.0%} and {rise:+.0%} at {shown(columns['ts'][worst])}"
        yield f"{part.name}: {number:,} with a high of {WICK:g} times the low or more; {moved}"


def _bars(part: Part) -> Remarks:
    columns = part.columns
    yield from _candles(part)
    yield from _counted(part.name, {"have no volume": np.isnan(columns["volume"]), "have zero volume": columns["volume"] == 0})
    if QUOTE_COLUMNS[0] in columns:
        without = np.isnan(columns["bid_close"])
        yield from _counted(part.name, {"have no quotes": without} if not without.all() else {})
        for name in ("open", "high", "low", "close"):
            crossed = columns[f"bid_{name}"] > columns[f"ask_{name}"]
            yield from _counted(part.name, {f"have a {name} of the bid above that of the ask": crossed})


def _counted(name: str, marked: Mapping[str, NDArray[np.bool_]], what: str = "bars") -> Remarks:
    for text, rows in marked.items():
        if rows.any():
            yield f"{name}: {int(np.count_nonzero(rows)):,} of {len(rows):,} {what} {text}"


def _gaps(part: Part) -> Remarks:
    rows, lengths = part.gaps()
    if not len(rows):
        return
    at = int(np.argmax(lengths))
    begun, longest = shown(part.columns["ts"][rows[at] - 1]), int(lengths[at])
    if part.sessions:
        yield f"{part.name}: shut for more than {duration(CLOSED_US)} {plural(len(rows), 'time')}, longest {duration(longest)} from {begun}"
    else:
        missing = int((lengths // part.series.interval_us).sum())
        yield f"{part.name}: {plural(len(rows), 'gap')}, {plural(missing, 'bar')} missing, longest {duration(longest)} from {begun}"
    if longest > REUSED_US:
        yield f"{part.name}: the hole from {begun} is so long that the name may have been given to another instrument"


def _marks(part: Part) -> Remarks:
    yield from _candles(part)
    bars, ts = part.bars(part.series.name), part.columns["ts"]
    if bars is None:
        yield f"{part.name}: there are no such bars"
        return
    closes = bars["ts"]
    if ts[0] > closes[0]:
        yield f"{part.name}: begin at {shown(ts[0])}, later than the bars, at {shown(closes[0])}"
    yield from _counted(part.name, {"since then have no mark": ~np.isin(closes[closes >= ts[0]], ts)})


def _funding(part: Part) -> Remarks:
    ts, rate = part.columns["ts"], part.columns["rate"]
    spacing = np.diff(ts)
    lengths, first, counts = np.unique(spacing, return_index=True, return_counts=True)
    usual = np.flatnonzero(counts >= max(3, len(ts) // 200))
    if len(usual) > 1:
        order = usual[np.argsort(first[usual])]
        each = (f"{interval_name(int(lengths[i]))} ({plural(int(counts[i]), 'time')})" for i in order)
        yield f"funding: settles every {', '.join(each)}"
    holes = np.flatnonzero(spacing > HOLE_US)
    if len(holes):
        at = int(holes[np.argmax(spacing[holes])])
        yield f"funding: {plural(len(holes), 'hole')} of more than a day, longest {duration(int(spacing[at]))} from {shown(ts[at])}"
    at = int(np.argmax(np.abs(rate)))
    if abs(rate[at]) >= LARGE_RATE:
        yield f"funding: largest rate {rate[at]:+.4%} at {shown(ts[at])}"
    yield from _counted("funding", {"have no mark": np.isnan(part.columns["mark"])}, "settlements")
    yield from _outside(part)


def _outside(part: Part) -> Remarks:
    bars, ts = part.bars(), part.columns["ts"]
    if bars is not None:
        outside = (ts < bars["open_ts"][0]) | (ts > bars["ts"][-1])
        yield from _counted(part.name, {"lie outside the range of the bars": outside}, "rows")


def _spread(part: Part) -> Remarks:
    ts, bid, ask = (part.columns[name] for name in ("ts", "bid", "ask"))
    same = np.diff(ts) == 0
    shared = np.zeros(len(ts), bool)
    shared[1:] |= same
    shared[:-1] |= same
    marked = {"share their instant with others": shared, "are locked (bid = ask)": bid == ask, "are crossed (bid > ask)": bid > ask}
    yield from _counted("spread", marked, "quotes")


def _universe(part: Part) -> Remarks:
    left = part.columns["ts"][part.columns["listed"] == 0]
    if len(left):
        yield f"universe: leaves at {', '.join(shown(ts) for ts in left[:3])}{' and later' if len(left) > 3 else ''}"


def _actions(part: Part) -> Remarks:
    kinds = [ACTIONS[code] for code in part.columns["kind"].tolist()]
    yield "actions: " + ", ".join(f"{kinds.count(kind):,} {kind}" for kind in ACTIONS if kind in kinds)
    yield from _outside(part)
    bars = part.bars()
    splits = np.flatnonzero(part.columns["kind"] == ACTIONS.index("split")).tolist()
    adjusted = 0 if bars is None else sum(looks_adjusted(bars, part.columns, row) for row in splits)
    if adjusted:
        yield f"actions: at {plural(adjusted, 'split')} the price does not move by the ratio: the prices look adjusted for them already"


def looks_adjusted(bars: Columns, actions: Columns, row: int) -> bool:
    """Whether the price across a split stays nearer to itself than to itself times the ratio."""
    after = int(np.searchsorted(bars["open_ts"], actions["ts"][row]))
    if not 0 < after < len(bars["ts"]):
        return False
    move = bars["open"][after] / bars["close"][after - 1]
    factor = actions["den"][row] / actions["num"][row]
    return bool(abs(np.log(move)) < abs(np.log(move / factor)))


_REMARKS: dict[str, Callable[[Part], Remarks]] = {
    "bars": _bars,
    "marks": _marks,
    "funding": _funding,
    "spread": _spread,
    "universe": _universe,
    "actions": _actions,
}


def shown(ts: int) -> str:
    """A time for people.

    >>> shown(1_704_067_200_000_000)
    '2024-01-01T00:00:00Z'
    """
    text = str(np.datetime64(int(ts), "us"))
    return (text.rstrip("0").rstrip(".") if "." in text and text.endswith("000000") else text) + "Z"


def duration(us: int) -> str:
    """A length of time for people.

    >>> duration(86_400_000_000 * 2 + 3_600_000_000), duration(60_000_000)
    ('2d 1h', '1m')
    """
    days, rest = divmod(us, DAY_US)
    hours, rest = divmod(rest, 3_600_000_000)
    minutes = rest // 60_000_000
    parts = [f"{number}{unit}" for number, unit in ((days, "d"), (hours, "h"), (minutes, "m")) if number]
    return " ".join(parts[:2]) or f"{us / 1e6:g}s"
