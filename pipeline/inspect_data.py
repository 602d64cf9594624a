"""What a dataset holds: its series, their ranges and gaps, and the remarks of ``pipeline.data_remarks``."""

from dataclasses import asdict, dataclass
from typing import Any

from engine.dataset import Dataset
from pipeline.data_remarks import Part, duration, remarks, shown


@dataclass(frozen=True)
class SeriesInfo:
    """One series: its rows, its range, and what is missing in between."""

    kind: str
    symbol: str
    name: str
    rows: int
    first: str  # of bars: the first open
    last: str
    gaps: int = 0
    missing: int = 0  # bars that would fill the gaps
    longest_gap: str = ""


@dataclass(frozen=True)
class DatasetInfo:
    """What ``tapeline data info`` shows.

    Attributes
    ----------
    series
        One entry a series.
    remarks
        Oddities of the data: holes, wicks, missing marks, changes of the funding interval and the like.
    notes
        What was settled when the data were read, kept with them.
    """

    id: str
    path: str | None
    source: str
    simulated: bool
    symbols: tuple[str, ...]
    series: tuple[SeriesInfo, ...]
    remarks: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def info(dataset: Dataset) -> DatasetInfo:
    """Describe a dataset; reads its columns once."""
    parts = [(kind, Part(dataset, kind, series)) for kind, group in dataset.series.items() for series in group]
    return DatasetInfo(
        id=dataset.id,
        path=dataset.path,
        source=str(dataset.info.get("source", "")),
        simulated=bool(dataset.info.get("simulated", False)),
        symbols=dataset.symbols,
        series=tuple(_describe(kind, part) for kind, part in parts),
        remarks=tuple(f"{part.series.symbol} {text}" for kind, part in parts for text in remarks(kind, part)),
        notes=tuple(dataset.info.get("notes", ())),
    )


def render_info(described: DatasetInfo, notes: bool = True) -> Any:
    """A renderable of rich; without ``notes`` where they were shown already."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text  # names of symbols are no markup

    table = Table("kind", "symbol", "series", "rows", "from", "to", "gaps", "missing", "longest", title=f"Dataset {described.id[:16]}")
    for one in described.series:
        gaps = (f"{one.gaps:,}", f"{one.missing:,}", one.longest_gap) if one.gaps else ("", "", "")
        table.add_row(one.kind, Text(one.symbol), one.name, f"{one.rows:,}", one.first[:16], one.last[:16], *gaps)
    head = ["SIMULATED data"] if described.simulated else []
    return Group(*head, table, *(Text(f"- {text}") for text in (*(described.notes if notes else ()), *described.remarks)))


def _describe(kind: str, part: Part) -> SeriesInfo:
    series, ts = part.series, part.columns["ts"]
    if not len(ts):
        return SeriesInfo(kind, series.symbol, series.name, 0, "", "")
    first, last = shown(part.columns.get("open_ts", ts)[0]), shown(ts[-1])
    if kind not in ("bars", "marks"):
        return SeriesInfo(kind, series.symbol, series.name, len(ts), first, last)
    lengths = part.gaps()[1]
    missing = int((lengths // series.interval_us).sum()) if not part.sessions else 0
    longest = duration(int(lengths.max())) if len(lengths) else ""
    return SeriesInfo(kind, series.symbol, series.name, len(ts), first, last, len(lengths), missing, longest)
