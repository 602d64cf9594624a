"""``tapeline regret``: what the refused entries would have made, and what a perfect choice of the same number would have.

Every entry of the run is replayed alone: the same notional for all (the average entry of the run), no limit of selector, gate or halt,
a purse that is never short, the run's own execution and costs, its own exits and brackets.  That is hindsight, and nothing else.
Entries that would overlap in one (strategy, symbol) are replayed in different passes.  docs/analysis.md defines the figures.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.round_trips import Row, fold, rows_of
from engine.schema import COUNTED, NONE, Action, Reason, RecordKind
from pipeline.config import RunConfig, Selector
from pipeline.config_account import Account
from pipeline.errors import RunError
from pipeline.progress import Progress, silent
from pipeline.stored_run import StoredRun, open_run, replay_again
from pipeline.summary import COIN_DECIMALS, money_in, percent
from pipeline.variation import replayed
from pipeline.wording import moment, reason_of

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.result import Result

PURSE_UNITS = 2**51  # money units: never short, and a factor 4 below an overflow
WORST_LISTED = 5
TAKEN = "filled"


@dataclass(frozen=True)
class Entry:
    """An entry of the run: what became of it, and what it made alone (money units; None where it could not be traded)."""

    proposal: int
    ts: int
    symbol: str
    strategy: str
    outcome: str
    rank: int
    selected: bool
    pnl: int | None


@dataclass(frozen=True)
class Regret:
    """Entries in hindsight; amounts in account currency."""

    run_id: str
    currency: str
    notional: float
    scale: int
    passes: int
    entries: list[Entry]

    @property
    def decimals(self) -> int:
        """Of the account currency."""
        return len(str(self.scale)) - 1

    def by_outcome(self) -> list[dict[str, Any]]:
        """What the entries of each outcome would have made, those that were filled first."""
        groups = defaultdict[str, list[Entry]](list)
        for entry in self.entries:
            groups[entry.outcome].append(entry)
        rows = [self._outcome(name, group) for name, group in groups.items()]
        return sorted(rows, key=lambda row: (row["outcome"] != TAKEN, -row["entries"], row["outcome"]))

    def _outcome(self, name: str, group: list[Entry]) -> dict[str, Any]:
        made = [entry.pnl for entry in group if entry.pnl is not None]
        return {
            "outcome": name,
            "entries": len(group),
            "tradable": len(made),
            "pnl": sum(made) / self.scale,
            "mean": sum(made) / len(made) / self.scale if made else None,
            "won": sum(pnl > 0 for pnl in made) / len(made) if made else None,
        }

    def contested(self) -> list[dict[str, Any]]:
        """Instants at which more entries were ranked than slots were free, the most regretted first."""
        instants = defaultdict[int, list[Entry]](list)
        for entry in self.entries:
            if entry.rank and (entry.selected or entry.outcome == "not_selected"):
                instants[entry.ts].append(entry)
        rows = [self._instant(ts, group) for ts, group in instants.items() if not all(entry.selected for entry in group)]
        return sorted(rows, key=lambda row: (-row["regret"], row["ts"]))

    def _instant(self, ts: int, group: list[Entry]) -> dict[str, Any]:
        slots = sum(entry.selected for entry in group)
        best = sorted(group, key=lambda entry: (-(entry.pnl or 0), entry.rank))[:slots]
        chosen = [entry for entry in group if entry.selected]
        made, possible, everything = (sum(entry.pnl or 0 for entry in some) for some in (chosen, best, group))
        return {
            "ts": ts,
            "ranked": len(group),
            "slots": slots,
            "chosen": made / self.scale,
            "chance": slots * everything / len(group) / self.scale,
            "best": possible / self.scale,
            "regret": (possible - made) / self.scale,
            "missed": [f"{entry.symbol} {entry.strategy}" for entry in best if not entry.selected],
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        contested = self.contested()
        totals = {name: sum(row[name] for row in contested) for name in ("chosen", "chance", "best", "regret")}
        names = ("run_id", "currency", "notional", "passes")
        return {name: getattr(self, name) for name in names} | {
            "hindsight": True,
            "by_outcome": self.by_outcome(),
            "selector": {
                "instants": len(contested),
                "full": sum(not row["slots"] for row in contested),
                **totals,
                "most_regretted": contested[:WORST_LISTED],
            },
        }

    def show(self, console: "Console") -> None:
        """Print it."""
        from rich.table import Table

        found, money = self.as_dict(), money_in(self.decimals)
        console.print(
            f"run {self.run_id}: every entry alone, at {money(self.notional)} {self.currency} (the average entry of the run), with its costs\n"
        )
        table = Table(box=None, pad_edge=False, header_style="dim")
        for i, column in enumerate(("entries that were", "number", "tradable", "would have made", "each", "won")):
            table.add_column(column, justify="right" if i else "left")
        for row in found["by_outcome"]:
            table.add_row(
                row["outcome"], f"{row['entries']:,}", f"{row['tradable']:,}", money(row["pnl"]), money(row["mean"]), percent(row["won"])
            )
        console.print(table)
        console.print()
        for line in _selector_lines(found["selector"], money):
            console.print(line, soft_wrap=True, markup=False)
        console.print("! hindsight: no rule could have known any of this", style="yellow")


def _selector_lines(selector: dict[str, Any], money: Callable[[float | None], str]) -> list[str]:
    if not selector["instants"]:
        return ["the selector never had to choose: every ranked entry got a slot", ""]
    worst = [row for row in selector["most_regretted"] if row["regret"] > 0]
    lines = [
        f"at {selector['instants']:,} instants more was ranked than slots were free (at {selector['full']:,} of them none was); alone, what was",
        f"  chosen            {money(selector['chosen']):>14}",
        f"  a chance choice   {money(selector['chance']):>14}  on average",
        f"  the best possible {money(selector['best']):>14}  of the same number",
        f"  regret            {money(selector['regret']):>14}  best less chosen{'; most of it at' if worst else ''}",
    ]
    lines += [
        f"    {moment(row['ts'])}  {money(row['regret']):>12}  {row['slots']} of {row['ranked']} ranked; missed {', '.join(row['missed'])}"
        for row in worst
    ]
    return [*lines, ""]


def regret(folder: str | Path, progress: Progress = silent) -> Regret:
    """Replay every entry of a run's folder alone.

    Raises
    ------
    RunError
        If the run cannot be replayed, or made no trade to take the size from.
    """
    stored = open_run(folder)
    result, missing = replay_again(stored, progress)
    if result is None:
        raise RunError(f"{folder}: {missing}; regret needs the market the run was made on")
    if (result.replay.proposals.action == Action.TARGET).any():
        raise RunError(
            f"{folder}: the run has targets, of which none stands alone: each is what is held and more, or less; regret is for entries"
        )
    wanted = candidates(stored.rows)
    if not stored.fold.trips:
        raise RunError(f"{folder}: the run made no trade, so there is no average size to replay the others at")
    notional = average_entry(stored, result)
    if notional * 1000 > PURSE_UNITS / stored.scale:
        raise RunError(
            f"{folder}: account.decimals = {stored.ledger.header['decimals']} leaves no room to hold every entry at once; use fewer"
        )
    alone = _config_alone(result.config, notional)
    made, passes = dict[int, int](), 0
    waiting = np.array(sorted(wanted), np.int64)
    while len(waiting):
        passes += 1
        progress(f"entries alone, pass {passes}, {len(waiting):,} to go")
        found, waiting = _pass(result, alone, waiting)
        made |= found
    names = stored.ledger.symbols, stored.ledger.strategies
    entries = [
        Entry(i, row["ts"], names[0][row["symbol"]], names[1][row["strategy"]], outcome, rank, selected, made.get(i))
        for i, (row, outcome, rank, selected) in wanted.items()
    ]
    return Regret(stored.summary["run_id"], stored.summary["currency"], notional, stored.scale, passes, entries)


def candidates(rows: Iterable[Row]) -> dict[int, tuple[Row, str, int, bool]]:
    """Entries of a ledger by proposal: a record of each, what became of it, its rank, and whether it was selected."""
    found: dict[int, tuple[Row, str, int, bool]] = {}
    for row in rows:
        i = row["proposal"]
        if i == NONE:
            continue
        if row["kind"] == RecordKind.SELECTED:
            found[i] = (row, "pending", row["rank"], True)
        elif row["kind"] == RecordKind.REJECTED and i not in found:
            found[i] = (row, reason_of(row["reason"]), row["rank"], False)
        elif i in found and row["kind"] in (RecordKind.REJECTED, RecordKind.CANCELLED) and found[i][1] != TAKEN:
            found[i] = (found[i][0], reason_of(row["reason"]), *found[i][2:])
        elif i in found and row["kind"] == RecordKind.FILL:
            found[i] = (found[i][0], TAKEN, *found[i][2:])
    return found


def average_entry(stored: StoredRun, result: "Result") -> float:
    """Mean value of the run's entries, in account currency, to the cent; of coins to the last unit."""
    from pipeline.bar_lookup import Market

    market = Market(result.replay.tape, result.replay.proposals, result.replay.settings)
    total = 0
    for trip in stored.fold.trips:
        for row in (stored.rows[seq] for seq in trip.records):
            if row["kind"] == RecordKind.FILL and row["side"] == trip.side:
                total += abs(market.notional(row["symbol"], row["qty"], row["price"], row["ts"]))
    places = 2 if stored.scale < 10**COIN_DECIMALS else COIN_DECIMALS
    return max(round(total / len(stored.fold.trips) / stored.scale, places), 10.0**-places)


def _config_alone(config: RunConfig, notional: float) -> RunConfig:
    """The config without selector, limits, halts and an account that could run dry; costs and execution stay."""
    from pipeline.config_risk import Risk, Size

    execution = config.execution
    models = execution.models.model_copy(update={"selector": None, "size": None})
    account = Account(
        currency=config.account.currency,
        decimals=config.account.decimals,
        cash=float(PURSE_UNITS // 10**config.account.decimals),
        conversion=config.account.conversion,
    )
    return config.model_copy(
        update={
            "account": account,
            "selector": Selector(),
            "risk": Risk(size=Size(fixed_notional=notional)),
            "strategies": [one.model_copy(update={"size": None}) for one in config.strategies],
            "execution": execution.model_copy(update={"finalize": "close", "models": models}),
        }
    )


def _pass(result: "Result", alone: RunConfig, waiting: NDArray[np.int64]) -> tuple[dict[int, int], NDArray[np.int64]]:
    """Profit of the entries that could be replayed beside each other, and those that could not yet."""
    from engine.ledger import Ledger

    table = result.replay.proposals
    keys = np.stack([table.available_ts[waiting], table.symbol[waiting], table.strategy[waiting]])
    _, first = np.unique(keys, axis=1, return_index=True)  # one of each (instant, symbol, strategy): no conflicts
    tried = waiting[first]
    rows = np.union1d(np.flatnonzero(table.action > Action.ENTER_SHORT), tried)
    found = replayed(result, alone, rows=rows).replay
    ledger = Ledger(found.records, found.symbols, found.strategies, {})
    records = rows_of(ledger)
    made = {int(rows[records[trip.records[0]]["proposal"]]): trip.pnl for trip in fold(ledger).trips}
    busy = rows[np.isin(found.outcomes, [int(reason) for reason in COUNTED if reason != Reason.NOT_HELD])]
    later = np.union1d(np.setdiff1d(waiting, tried), np.intersect1d(busy, tried))
    return made, later.astype(np.int64)
