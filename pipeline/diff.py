"""``tapeline diff``: where two runs part, why, and what each cause made of the difference (docs/analysis.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.diff import Attribution, Parting, attribute, first_parting
from engine.schema import NONE
from pipeline.errors import RunError
from pipeline.plural import plural
from pipeline.progress import Progress, silent
from pipeline.stored_run import StoredRun, open_run
from pipeline.wording import Words

if TYPE_CHECKING:
    from rich.console import Console

IGNORED = ("out", "jobs", "ledger", "name")
"""Keys of a config that cannot change a result."""

MEANING = {
    "deposits": "money paid in",
    "selection": "trades that one run alone made",
    "sizing": "same trade, other quantity",
    "exits": "same trade, left at another time or for another reason",
    "fills": "same trade, same exit, other prices",
    "fees": "same trade, other fees",
    "funding": "same trade, other funding",
    "flows": "other payments",
    "open": "positions left open, at their marks",
}


class _Absent:
    def __repr__(self) -> str:
        return "(not set)"


ABSENT = _Absent()


@dataclass(frozen=True)
class Difference:
    """Two runs compared; amounts are right less left."""

    left: StoredRun
    right: StoredRun
    config: list[tuple[str, Any, Any]]
    parting: Parting | None
    attribution: Attribution

    @property
    def same_ledger(self) -> bool:
        """Whether not one record differs."""
        return self.parting is None

    @property
    def identical(self) -> bool:
        """Whether results are the same, proposals that are only counted included."""
        return bool(self.left.summary["result_hash"] == self.right.summary["result_hash"])

    def as_dict(self) -> dict[str, Any]:
        """Plain values; amounts in account currency, and in units under ``units``."""
        found, scale = self.attribution, 10**self.attribution.decimals
        values: dict[str, Any] = {
            "left": _identity(self.left),
            "right": _identity(self.right),
            "identical": self.identical,
            "config": [{"path": path, "left": _plain(a), "right": _plain(b)} for path, a, b in self.config],
            "same_dataset": self.left.summary["dataset_id"] == self.right.summary["dataset_id"],
            "first_difference": self._parting_dict(),
            "trades": {"both": found.same, "left_only": len(found.left_only), "right_only": len(found.right_only)},
            "difference": found.difference / scale,
            "causes": {name: units / scale for name, units in found.causes.items()},
            "flows": {name: units / scale for name, units in found.flows.items()},
            "units": {"decimals": found.decimals, "difference": found.difference, "causes": dict(found.causes)},
        }
        return values

    def _parting_dict(self) -> dict[str, Any] | None:
        if self.parting is None:
            return None
        sides = (("left", self.left, self.parting.left), ("right", self.right, self.parting.right))
        return {"columns": list(self.parting.columns)} | {
            name: None if seq == NONE else {"seq": seq, "ts": run.rows[seq]["ts"], "record": words.record(seq), "chain": words.chain(seq)}
            for name, run, seq in sides
            for words in [Words(run.ledger, run.rows)]
        }

    def show(self, console: "Console") -> None:
        """Print it."""
        from rich.text import Text

        for part in (self._heading(), self._config(), self._first(), self._money()):
            for line in part:
                console.print(Text(line), soft_wrap=True)
            if part:
                console.print()

    def _heading(self) -> list[str]:
        lines = [
            f"{side:<6} {run.summary['run_id']}  result {run.summary['result_hash']:.16}  {run.config.name}, final equity "
            f"{Words(run.ledger, run.rows).exact(run.fold.final_equity)} {run.summary['currency']}"
            for side, run in (("left", self.left), ("right", self.right))
        ]
        if self.identical:
            lines.append(f"identical: {plural(len(self.left.rows), 'record')}, not one differs")
        elif self.same_ledger:
            lines.append("the ledgers are the same; only proposals that are counted and not stored differ")
        return lines

    def _config(self) -> list[str]:
        lines = [f"  {path}: {_shown(a)} | {_shown(b)}" for path, a, b in self.config]
        if self.left.summary["dataset_id"] != self.right.summary["dataset_id"]:
            lines.append(f"  dataset: {self.left.summary['dataset_id']:.16} | {self.right.summary['dataset_id']:.16}, other data")
        return ["config (left | right)", *lines] if lines else ["config: no key that can change a result differs"]

    def _first(self) -> list[str]:
        if self.parting is None:
            return []
        told, because = [], []
        for side, run, seq in (("left", self.left, self.parting.left), ("right", self.right, self.parting.right)):
            chain = ["has ended"] if seq == NONE else Words(run.ledger, run.rows).chain(seq)
            told.append(f"  {side:<5}  {chain[-1]}")
            because.append([f"         because {line}" for line in reversed(chain[:-1])])
        at = f"the ledgers part at record {max(self.parting.left, self.parting.right)}"
        if self.parting.columns and "kind" not in self.parting.columns:
            at += f", in {', '.join(self.parting.columns)}"
        if because[0] == because[1]:
            return [at, *told, *because[0]]
        return [at, told[0], *because[0], told[1], *because[1]]

    def _alone(self, words: Words) -> str:
        """What the trades of one run alone made."""
        sides = (("left", self.attribution.left_only), ("right", self.attribution.right_only))
        return f" ({', '.join(f'{side} {words.exact(sum(trip.pnl for trip in trips))}' for side, trips in sides)})"

    def _money(self) -> list[str]:
        found = self.attribution
        if self.same_ledger:
            return []
        words = Words(self.left.ledger if self.left.scale == 10**found.decimals else self.right.ledger, [])
        lines = [
            f"{plural(found.same, 'trade')} in both, {len(found.left_only)} in the left run alone, {len(found.right_only)} in the right run alone",
            f"difference of final equity, right less left, {self.left.summary['currency']}",
        ]
        width = max(len(words.exact(units)) for units in (*found.causes.values(), found.difference))
        told = MEANING | {"selection": MEANING["selection"] + self._alone(words)}
        lines += [f"  {name:<10} {words.exact(units):>{width}}  {told[name]}" for name, units in found.causes.items() if units]
        return [*lines, f"  {'all':<10} {words.exact(found.difference):>{width}}"]


def diff(left: str | Path, right: str | Path, progress: Progress = silent) -> Difference:
    """Compare two runs' folders.

    Raises
    ------
    LedgerError, RunError, ConfigError
        If a folder is not that of a run, or was altered.
    """
    progress("ledgers")
    ours, theirs = open_run(left), open_run(right)
    if ours.summary["currency"] != theirs.summary["currency"]:
        raise RunError(f"{left} is in {ours.summary['currency']}, {right} in {theirs.summary['currency']}: their money cannot be compared")
    progress("differences")
    config = differing_keys(_comparable(ours), _comparable(theirs))
    return Difference(ours, theirs, config, first_parting(ours.ledger, theirs.ledger), attribute(ours.ledger, theirs.ledger))


def _comparable(run: StoredRun) -> dict[str, Any]:
    """The resolved config without what cannot change a result, and without the folder's own paths."""
    values = run.config.model_dump(mode="json", exclude_none=True)
    strategies = {strategy["id"]: {k: v for k, v in strategy.items() if k != "id"} for strategy in values["strategies"]}
    for strategy in strategies.values():
        for name in {"file", "proposals"} & strategy.keys():
            strategy[name] = _content(strategy[name])
    return {name: value for name, value in values.items() if name not in IGNORED} | {"strategies": strategies}


def _content(path: str) -> str:
    from pipeline.identity import source_hash

    return f"{Path(path).name} ({source_hash(path)[:12]})"


def differing_keys(left: Any, right: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Paths at which two configs differ, with both values.

    >>> differing_keys({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})
    [('a.b', 1, 3)]
    """
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        names = [*left, *(name for name in right if name not in left)]
        return [
            found
            for name in names
            for found in differing_keys(left.get(name, ABSENT), right.get(name, ABSENT), f"{path}.{name}" if path else str(name))
        ]
    return [] if left == right else [(path, left, right)]


def _identity(run: StoredRun) -> dict[str, Any]:
    names = ("run_id", "result_hash", "dataset_id", "final_equity", "trades")
    return {"folder": str(run.folder), "name": run.config.name} | {name: run.summary.get(name) for name in names}


def _plain(value: Any) -> Any:
    return None if value is ABSENT else value


def _shown(value: Any) -> str:
    import json

    return "not set" if value is ABSENT else value if isinstance(value, str) else json.dumps(value)
