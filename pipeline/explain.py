"""``tapeline explain``: one trade from its proposal to its exit, with every number worked out again.

1. The ledger gives the chain proposal -> rank -> gate -> order -> fills -> funding -> exit, and the money.
2. The market, where the dataset is still there, gives the bars, the price of each fill, the levels and the size.
What cannot be shown is said.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.round_trips import RoundTrip
from pipeline import trade_entry, trade_life
from pipeline.errors import RunError
from pipeline.integrity import read_table
from pipeline.plural import plural
from pipeline.progress import Progress, silent
from pipeline.stored_run import StoredRun, open_run, replay_again
from pipeline.trade_story import Part, Story


@dataclass(frozen=True)
class Explanation:
    """A trade explained."""

    number: int
    trip: RoundTrip
    headline: str
    parts: list[Part]
    not_shown: str

    def lines(self) -> list[str]:
        """What to tell a user."""
        width = max(len(part.name) for part in self.parts) + 2
        told = [self.headline, ""]
        for part in self.parts:  # a step without lines does not apply
            told += [f"{part.name if i == 0 else '':<{width}}{line}" for i, line in enumerate(part.lines)]
        return [*told, "", f"! not shown: {self.not_shown}"] if self.not_shown else told

    def as_dict(self) -> dict[str, Any]:
        """Plain values; amounts in account currency."""
        trip = self.trip
        return {
            "trade": self.number,
            "symbol": trip.symbol,
            "strategy": trip.strategy,
            "side": "long" if trip.side > 0 else "short",
            "open": trip.open,
            **{part.key or part.name: part.data for part in self.parts},
            "not_shown": self.not_shown or None,
        }


def explain(folder: str | Path, trade: str, progress: Progress = silent) -> Explanation:
    """Explain one trade of a run's folder.

    Parameters
    ----------
    trade
        Its number in ``trades.parquet``, from 1.

    Raises
    ------
    RunError
        If there is no such trade, or the folder contradicts itself.
    LedgerError
        If the ledger was altered.
    """
    progress("ledger")
    stored = open_run(folder)
    wanted = _numbered(stored, trade)
    result, missing = replay_again(stored, progress)
    story = Story(stored, wanted, result)
    gone = f"{missing}; so the rules' own prices, levels, sizes and bars are left out" if missing else ""
    return Explanation(wanted, story.trip, story.headline(), parts_of(story), gone)


def parts_of(story: Story) -> list[Part]:
    """The chain, step by step; a step that does not apply has no lines."""
    return [
        trade_entry.proposal(story),
        trade_entry.rank(story),
        trade_entry.gate(story),
        trade_entry.order(story),
        trade_life.filled(story, "entry", "entry_fills", story.entries),
        trade_life.moved(story),
        trade_life.funding(story),
        trade_life.interest(story),
        trade_life.settlements(story),
        trade_life.others(story),
        trade_life.why_left(story),
        trade_life.filled(story, "sale" if story.trip.side > 0 else "purchase", "exit_fills", story.exits),
        trade_life.money(story),
    ]


def _numbered(stored: StoredRun, trade: str) -> int:
    """A trade's number that is in the run, and whose profit the table of trades and the ledger agree on."""
    path, count = stored.folder / "trades.parquet", len(stored.fold.trips)
    there = f"the run has {plural(count, 'trade')}, numbered from 1" if count else "the run has no trades"
    try:
        wanted = int(trade)
    except ValueError:
        raise RunError(f"--trade {trade}: not a whole number; {there}") from None
    if not 1 <= wanted <= count:
        raise RunError(f"--trade {wanted}: no such trade; {there}")
    found = read_table(path, ["pnl_units"])["pnl_units"].to_list()
    if found != [trip.pnl for trip in stored.fold.trips]:
        raise RunError(f"{path}: its trades are not those of the ledger; run the config anew")
    return wanted
