"""What the caller of an ingest may choose."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.dataset import DatasetError
from engine.instrument import KINDS


@dataclass(frozen=True)
class IngestOptions:
    """Choices that the files of a source do not make themselves.

    Attributes
    ----------
    interval
        Length of bars (``"1h"``), where a file has only one of open and close times.
    venue
        The one venue to take; None: all, and symbols found at several venues are named ``SYMBOL.VENUE``.
    kind
        Kind of all instruments; None: inferred.
    keep_crossed
        Keep quotes whose bid is above the ask, and count them; otherwise they are refused.
    assume_utc
        Take times without a zone as UTC; otherwise they are refused.
    overwrite
        Replace a dataset at the destination.
    instruments
        Fields of ``engine.instrument.Instrument`` by symbol; ``"default"`` holds for all symbols.
    """

    interval: str | None = None
    venue: str | None = None
    kind: str | None = None
    keep_crossed: bool = False
    assume_utc: bool = False
    overwrite: bool = False
    instruments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind not in KINDS:
            raise DatasetError(f"kind {self.kind!r}: allowed are {', '.join(KINDS)}")
        if self.interval is not None and not self.interval_us:
            raise DatasetError(f"interval {self.interval!r}: write 1m, 15m, 1h, 1d")

    @property
    def interval_us(self) -> int:
        """Length of ``interval``; 0 for none."""
        from pipeline.ingest.roles import parse_interval

        return (parse_interval(self.interval) if self.interval is not None else None) or 0
