"""The ledger on disk, its hash and its verifier."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from engine.ledger import LedgerError, count_outcomes, jsonl, ledger_header, read_ledger, result_hash, write_ledger
from engine.schema import RecordKind
from engine.session import ReplayResult, Session
from engine.verify import verify_ledger
from tests.markets import random_case


def replayed(seed: int) -> ReplayResult:
    case = random_case(seed)
    return Session(case.dataset, case.proposals, case.settings).run()


@pytest.fixture(scope="module")
def result() -> ReplayResult:
    return next(run for run in map(replayed, range(100)) if (run.records["kind"] == RecordKind.FILL).sum() > 20)


@pytest.mark.parametrize("seed", range(60))
def test_a_ledger_alone_reproduces_cash_positions_fees_and_profit(seed: int, tmp_path: Path) -> None:  # R6.4, R11
    run = replayed(seed)
    write_ledger(tmp_path / "ledger.arrow", run, ledger_header(run))
    ledger = read_ledger(tmp_path / "ledger.arrow")
    assert ledger.records.tolist() == run.records.tolist()
    totals = verify_ledger(ledger)
    assert totals.cash == run.records["cash"][-1]
    assert totals.final_equity == run.final_equity


@pytest.mark.parametrize("field", ["qty", "price", "fee", "amount", "cash", "position"])
def test_the_verifier_notices_any_changed_number_of_a_fill(result: ReplayResult, field: str, tmp_path: Path) -> None:  # R11
    write_ledger(tmp_path / "ledger.arrow", result, ledger_header(result))
    ledger = read_ledger(tmp_path / "ledger.arrow")
    at = int(np.flatnonzero(ledger.records["kind"] == RecordKind.FILL)[-1])
    ledger.records[field][at] += 1
    with pytest.raises(LedgerError, match=r"record \d+: "):
        verify_ledger(ledger)


def rewritten(path: Path, change: str) -> None:
    with pa.OSFile(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    if change == "cut":
        table = table.slice(0, table.num_rows - 1)
    else:
        prices = table["price"].to_pylist()
        prices[len(prices) // 2] += 1.0
        table = table.set_column(table.schema.get_field_index("price"), "price", pa.array(prices))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(("change", "message"), [("cut", "cut"), ("alter", "chain breaks")])
def test_a_cut_or_altered_file_is_noticed(result: ReplayResult, change: str, message: str, tmp_path: Path) -> None:  # R11.2
    path = tmp_path / "ledger.arrow"
    write_ledger(path, result, ledger_header(result))
    rewritten(path, change)
    with pytest.raises(LedgerError, match=message):
        read_ledger(path)


def test_what_is_not_a_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.arrow"
    path.write_text("<html>")
    with pytest.raises(LedgerError, match="not a ledger"):
        read_ledger(path)


def test_the_hash_depends_on_names_and_not_on_their_numbers(result: ReplayResult) -> None:  # R9.3
    counts = count_outcomes(result)
    plain = result_hash(result.records, result.symbols, result.strategies, counts)
    shifted = result.records.copy()
    shifted["symbol"][shifted["symbol"] >= 0] += 1
    assert result_hash(shifted, ("!", *result.symbols), result.strategies, counts) == plain
    renamed = (*result.symbols[:-1], result.symbols[-1] + "x")
    renamed_counts = {(a, renamed[result.symbols.index(b)], c): n for (a, b, c), n in counts.items()}
    assert result_hash(result.records, renamed, result.strategies, renamed_counts) != plain


def test_jsonl_gives_a_line_for_the_header_and_one_a_record(result: ReplayResult, tmp_path: Path) -> None:  # R11.3
    write_ledger(tmp_path / "ledger.arrow", result, ledger_header(result))
    lines = list(jsonl(read_ledger(tmp_path / "ledger.arrow")))
    assert len(lines) == len(result.records) + 1
    assert '"kind": "DEPOSIT"' in lines[1]
