"""Whether a dataset folder is sound: its files are the ones that were written, and its data keep the rules that a replay relies on."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.dataset import ACTIONS, QUOTE_COLUMNS, Dataset, DatasetError
from engine.instrument import KINDS, Decimals
from pipeline.config_account import wrong_value
from pipeline.data_remarks import Part, shown
from pipeline.demo import open_data
from pipeline.plural import plural

Problems = Iterator[str]
Mask = NDArray[np.bool_]
PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class CheckReport:
    """What ``tapeline data check`` found; sound if there are no problems."""

    path: str
    id: str  # empty where the folder cannot be opened
    rows: int
    problems: tuple[str, ...]
    simulated: bool = False

    @property
    def ok(self) -> bool:
        """Whether the dataset is sound."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self) | {"ok": self.ok}


def check(path: str | Path) -> CheckReport:
    """Verify the hashes of a dataset folder and check its data, or those of a simulated market."""
    try:
        dataset = open_data(path, verify=True)
    except DatasetError as error:
        return CheckReport(str(path), "", 0, (str(error),))
    except OSError as error:
        return CheckReport(str(path), "", 0, (f"{error.filename}: {error.strerror}; ingest the source again",))
    return replace(check_dataset(dataset), path=str(path))


def check_dataset(dataset: Dataset) -> CheckReport:
    """Check the data of an open dataset, or of one in memory."""
    problems = [*_series(dataset), *_instruments(dataset)]
    for kind, group in dataset.series.items():
        for series in group:
            problems += [f"{kind} of {series.symbol} {text}" for text in _CHECKS[kind](Part(dataset, kind, series))]
    rows = sum(len(columns["ts"]) for columns in dataset.columns.values())
    return CheckReport(dataset.path or "", dataset.id, rows, tuple(problems), bool(dataset.info.get("simulated", False)))


def render_check(report: CheckReport) -> Any:
    """A renderable of rich."""
    from rich.console import Group
    from rich.text import Text

    if report.ok:
        simulated = "; SIMULATED data" if report.simulated else ""
        return Text(f"{report.path}: sound; {plural(report.rows, 'row')}, id {report.id}{simulated}")
    return Group(Text(f"{report.path}: {plural(len(report.problems), 'problem')}"), *(Text(f"- {problem}") for problem in report.problems))


def _series(dataset: Dataset) -> Problems:
    """Series are in order, cover their columns, and are of known symbols."""
    for kind, group in dataset.series.items():
        keys = [(series.symbol, series.interval_us, series.name) for series in group]
        if keys != sorted(set(keys)):
            yield f"{kind}: series are not in order of symbol, interval and name, each once"
        ends = [0, *(series.stop for series in group)]
        if [series.start for series in group] != ends[:-1] or ends[-1] != len(dataset.columns[kind]["ts"]):
            yield f"{kind}: the row ranges of the series do not cover the columns one after another"
    known = {series.symbol for series in dataset.series.get("bars", ())}
    for kind in ("funding", "actions"):
        for series in dataset.series.get(kind, ()):
            if series.symbol not in known:
                yield f"{kind} of {series.symbol}: a symbol without bars"


def _instruments(dataset: Dataset) -> Problems:
    for symbol in dataset.symbols:
        spec = dataset.instruments.get(symbol)
        if spec is None:
            yield f"instruments: {symbol} is missing"
        elif spec.get("kind") not in KINDS:
            yield f"instruments: kind {spec.get('kind')!r} of {symbol}; known are {', '.join(KINDS)}"
        else:
            for name in ("rules", "borrow", "settlement", "expiry"):
                wrong = wrong_value(name, spec.get(name))
                if wrong:
                    yield f"instruments: {symbol}: {wrong}"
            yield from (f"instruments: {name} {spec[name]!r} of {symbol} is no positive decimal" for name in _no_decimals(spec))


def _no_decimals(spec: Any) -> Iterator[str]:
    for name in ("tick", "lot", "multiplier"):
        try:
            Decimals.parse(spec.get(name, "1"))
        except (ValueError, ArithmeticError):
            yield name


def _first(part: Part, column: str, wrong: Mask, rule: str) -> Problems:
    """The first row that is wrong, and how many are."""
    if wrong.any():
        at = int(np.argmax(wrong))
        more = f" ({int(np.count_nonzero(wrong)):,} such rows)" if np.count_nonzero(wrong) > 1 else ""
        yield f"row {at}, {column} {part.columns[column][at]} at {shown(part.columns['ts'][at])}: {rule}{more}"


def _backwards(ts: NDArray[np.int64], strict: bool = True) -> Mask:
    back = np.zeros(len(ts), bool)
    back[1:] = np.diff(ts) < (1 if strict else 0)
    return back


def _candles(part: Part) -> Problems:
    columns = part.columns
    opens, ts = columns["open_ts"], columns["ts"]
    yield from _first(part, "ts", _backwards(ts), "a close is later than the one before")
    yield from _first(part, "open_ts", opens >= ts, "a bar opens before it closes")
    overlap = np.zeros(len(ts), bool)
    overlap[1:] = opens[1:] < ts[:-1]
    yield from _first(part, "open_ts", overlap, "a bar opens when the one before it has closed")
    yield from _prices(part, "", np.ones(len(ts), bool))


def _prices(part: Part, side: str, rows: Mask) -> Problems:
    prices = {name: part.columns[side + name] for name in PRICES}
    for name, price in prices.items():
        yield from _first(part, side + name, rows & ~(np.isfinite(price) & (price > 0)), "a price is finite and above zero")
    yield from _first(part, side + "high", rows & (prices["high"] < prices["low"]), "the high is not below the low")
    for name in ("open", "close"):
        outside = rows & ((prices[name] > prices["high"]) | (prices[name] < prices["low"]))
        yield from _first(part, side + name, outside, f"the {name} lies within low and high")


def _bars(part: Part) -> Problems:
    yield from _candles(part)
    volume = part.columns["volume"]
    yield from _first(part, "volume", np.isinf(volume) | (volume < 0), "a volume is not negative")
    if QUOTE_COLUMNS[0] in part.columns:
        holes = np.isnan(np.array([part.columns[name] for name in QUOTE_COLUMNS]))
        yield from _first(part, "bid_open", holes.any(axis=0) & ~holes.all(axis=0), "a bar has all its quotes or none")
        for side in ("bid_", "ask_"):
            yield from _prices(part, side, ~holes.any(axis=0))


def _funding(part: Part) -> Problems:
    rate, mark = part.columns["rate"], part.columns["mark"]
    yield from _first(part, "ts", _backwards(part.columns["ts"]), "a settlement is later than the one before")
    yield from _first(part, "rate", ~(np.abs(rate) < 1), "a rate is a fraction (0.0001 = 1 bp)")
    yield from _first(part, "mark", np.isinf(mark) | (mark <= 0), "a mark is finite and above zero, or NaN")


def _spread(part: Part) -> Problems:
    yield from _first(part, "ts", _backwards(part.columns["ts"], strict=False), "time does not run backwards")
    for name in ("bid", "ask"):
        price = part.columns[name]
        yield from _first(part, name, ~(np.isfinite(price) & (price > 0)), "a price is finite and above zero")


def _universe(part: Part) -> Problems:
    listed = part.columns["listed"]
    yield from _first(part, "ts", _backwards(part.columns["ts"]), "a row is later than the one before")
    yield from _first(part, "listed", (listed != 0) & (listed != 1), "1 (listed) or 0")


def _actions(part: Part) -> Problems:
    kind, value = part.columns["kind"], part.columns["value"]
    known = (kind >= 0) & (kind < len(ACTIONS))
    yield from _first(part, "ts", _backwards(part.columns["ts"], strict=False), "time does not run backwards")
    yield from _first(part, "kind", ~known, f"an action is one of {', '.join(ACTIONS)} (0 to {len(ACTIONS) - 1})")
    twice = np.zeros(len(kind), bool)
    twice[1:] = (np.diff(part.columns["ts"]) == 0) & (np.diff(kind) == 0)
    yield from _first(part, "kind", twice, "an action is there once")
    for name in ("num", "den"):
        yield from _first(part, name, (kind == ACTIONS.index("split")) & (part.columns[name] < 1), "a term of a split is 1 or more")
    dividend = kind == ACTIONS.index("dividend")
    yield from _first(part, "value", dividend & ~(np.isfinite(value) & (value > 0)), "a dividend is an amount above zero")


_CHECKS: dict[str, Callable[[Part], Problems]] = {
    "bars": _bars,
    "marks": _candles,
    "funding": _funding,
    "spread": _spread,
    "universe": _universe,
    "actions": _actions,
}
