"""Comparing the kernel's replay with the plain oracle's, record by record."""

import sys
from collections.abc import Mapping
from typing import Any

from engine.dataset import Dataset
from engine.schema import RECORD, EventKind, Reason, RecordKind
from engine.session import ReplayError, ReplayResult, Session
from engine.settings import Settings
from tests.markets import Case, random_case
from tests.oracle.replay import OracleResult
from tests.oracle.replay import replay as plain_replay

FIELDS = RECORD.names or ()


def kernel_run(case: Case) -> dict[str, Any]:
    """Everything that the kernel leaves behind, as plain Python values."""
    return left_behind(Session(case.dataset, case.proposals, case.settings).run())


def left_behind(result: ReplayResult) -> dict[str, Any]:
    """A result as plain Python values."""
    records = [dict(zip(FIELDS, row, strict=True)) for row in result.records.tolist()]
    return {
        "records": records,
        "sample_ts": result.sample_ts.tolist(),
        "equity": result.equity.tolist(),
        "outcomes": result.outcomes.tolist(),
        "final_equity": result.final_equity,
    }


def oracle_run(case: Case) -> dict[str, Any]:
    """The same from the oracle."""
    result = plain_replay(case.dataset, case.proposals, case.settings)
    return {
        "records": [{name: record[name] for name in FIELDS} for record in result.records],
        "sample_ts": list(result.sample_ts),
        "equity": list(result.equity),
        "outcomes": [int(outcome) for outcome in result.outcomes],
        "final_equity": result.final_equity,
    }


def agreed_replay(dataset: Dataset, proposals: Mapping[str, list[Any]], settings: Settings) -> OracleResult:
    """The compiled replay, in the oracle's words; an error unless the oracle's is the same."""
    case = Case(dataset, dict(proposals), settings)
    ours = kernel_run(case)
    assert ours == oracle_run(case)
    return OracleResult(**ours)


def outcome_of(run: Any, case: Case) -> dict[str, Any]:
    """What a replay gives, or the kind of error it raises."""
    try:
        return dict(run(case))
    except OverflowError:
        return {"error": "overflow"}
    except ReplayError as error:
        return {"error": "overflow" if "overflows" in str(error) else str(error)}


def first_difference(seed: int) -> str:
    """Where the two replays of a seeded random market part; empty if they do not."""
    case = random_case(seed)
    ours, plain = outcome_of(kernel_run, case), outcome_of(oracle_run, case)
    for key in plain.keys() | ours.keys():
        if key != "records" and ours.get(key) != plain.get(key):
            detail = _first_unequal(ours.get(key), plain.get(key))
            if "records" not in plain or "records" not in ours:
                return f"seed {seed}: {key}: {detail}"
    for seq, (a, b) in enumerate(zip(ours.get("records", []), plain.get("records", []), strict=False)):
        unequal = {name: (a[name], b[name]) for name in FIELDS if a[name] != b[name]}
        if unequal:
            return f"seed {seed}: record {seq}: (kernel, oracle) {unequal}\n  kernel {_names(a)}\n  oracle {_names(b)}"
    if len(ours.get("records", [])) != len(plain.get("records", [])):
        return f"seed {seed}: {len(ours['records'])} records, oracle {len(plain['records'])}"
    for key in ("sample_ts", "equity", "outcomes", "final_equity", "error"):
        if ours.get(key) != plain.get(key):
            return f"seed {seed}: {key}: {_first_unequal(ours.get(key), plain.get(key))}"
    return ""


def _first_unequal(a: Any, b: Any) -> str:
    if not isinstance(a, list) or not isinstance(b, list) or len(a) != len(b):
        return f"{str(a)[:60]} and {str(b)[:60]}"
    return next((f"[{i}] {x} and {y}" for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), "")


def _names(record: dict[str, Any]) -> str:
    kind, reason = RecordKind(record["kind"]).name, Reason(record["reason"]).name
    return f"{kind} {reason} " + " ".join(f"{k}={v}" for k, v in record.items() if k not in ("kind", "reason"))


if __name__ == "__main__":  # a long run: python -m tests.differential FIRST LAST
    begin, end = int(sys.argv[1]), int(sys.argv[2])
    assert EventKind.BAR_PATH == 0
    parted = 0
    for number in range(begin, end):
        difference = first_difference(number)
        if difference:
            parted += 1
            print(difference)
    print(f"{end - begin} random markets, {parted} differ")
    sys.exit(1 if parted else 0)
