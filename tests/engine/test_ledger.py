"""The ledger on disk, its hash and its verifier."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from engine.full_ledger import full_table
from engine.ledger import LedgerError, count_outcomes, jsonl, ledger_header, read_ledger, result_hash, write_ledger
from engine.schema import EventKind, RecordKind
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
    lines = list(jsonl(tmp_path / "ledger.arrow"))
    assert len(lines) == len(result.records) + 1
    assert '"kind": "DEPOSIT"' in lines[1]


@pytest.mark.parametrize("seed", range(20))
def test_the_full_ledger_holds_the_same_records_and_hash(seed: int, tmp_path: Path) -> None:  # R9.3, R11.3
    run = replayed(seed)
    plain = write_ledger(tmp_path / "trades.arrow", run, ledger_header(run))
    assert write_ledger(tmp_path / "full.arrow", run, ledger_header(run), full=True) == plain
    assert read_ledger(tmp_path / "full.arrow").records.tolist() == run.records.tolist()


def test_the_full_ledger_shows_the_market_events_of_held_and_pending_symbols_in_order(result: ReplayResult) -> None:  # R11.3
    table = full_table(result)
    assert table["event"].to_pylist() == list(range(table.num_rows))
    assert [seq for seq in table["seq"].to_pylist() if seq is not None] == list(range(len(result.records)))
    times = table["ts"].cast("int64").to_numpy()
    assert (np.diff(times) >= 0).all()


def active_before(run: ReplayResult, symbol: int, ts: int, phase: int) -> bool:
    """Whether a symbol is held or pending just before an event: by brute force over the records."""
    pending, held = set(), set()
    for row in run.records[(run.records["symbol"] == symbol)]:
        if (row["ts"], row["phase"]) >= (ts, phase):
            break
        if row["kind"] == RecordKind.ORDER and row["reason"] == 0:
            pending.add(row["order_id"])
        elif row["kind"] in (RecordKind.FILL, RecordKind.CANCELLED):
            pending.discard(row["order_id"])
        elif row["kind"] == RecordKind.POSITION:
            (held.add if row["qty"] else held.discard)(row["strategy"])
    return bool(pending or held)


@pytest.mark.parametrize("seed", [3, 11, 27])
def test_the_full_ledger_holds_just_the_closes_of_held_and_pending_symbols(seed: int) -> None:  # R11.3
    run = replayed(seed)
    shown = {(r["symbol"], r["ts"]) for r in full_table(run).to_pylist() if r["kind"] == "CANDLE_CLOSE"}
    tape, expected = run.tape, set()
    for symbol, name in enumerate(run.symbols):
        for ts in tape.ts[tape.first[symbol] : tape.stop[symbol]].tolist():
            if ts <= run.records["ts"][-1] and active_before(run, symbol, ts, EventKind.CANDLE_CLOSE):
                expected.add((name, datetime.fromtimestamp(ts / 1e6, UTC)))
    assert shown == expected


def test_the_full_ledger_stores_what_is_otherwise_counted(result: ReplayResult) -> None:  # R5.4
    rows = full_table(result).to_pylist()
    stored = [row for row in rows if row["seq"] is None and row["kind"] == "REJECTED"]
    assert len(stored) == sum(count_outcomes(result).values())


@pytest.mark.parametrize("cause", [-5, 10_000])
def test_a_cause_that_is_no_earlier_record_is_noticed(result: ReplayResult, cause: int, tmp_path: Path) -> None:  # R11.1
    write_ledger(tmp_path / "ledger.arrow", result, ledger_header(result))
    ledger = read_ledger(tmp_path / "ledger.arrow")
    ledger.records["cause"][-2] = cause
    with pytest.raises(LedgerError, match="is not a record before it"):
        verify_ledger(ledger)


def test_a_ledger_without_an_end_was_cut(result: ReplayResult, tmp_path: Path) -> None:  # R11.2
    write_ledger(tmp_path / "ledger.arrow", result, ledger_header(result))
    ledger = read_ledger(tmp_path / "ledger.arrow")
    with pytest.raises(LedgerError, match="does not end with RUN_END"):
        verify_ledger(replace(ledger, records=ledger.records[:-1]))


def test_time_that_runs_backwards_is_noticed(result: ReplayResult, tmp_path: Path) -> None:  # R1.3
    write_ledger(tmp_path / "ledger.arrow", result, ledger_header(result))
    ledger = read_ledger(tmp_path / "ledger.arrow")
    ledger.records["ts"][-1] = 0
    with pytest.raises(LedgerError, match="never decreases"):
        verify_ledger(ledger)


def test_a_fill_follows_from_an_order_or_a_position(result: ReplayResult, tmp_path: Path) -> None:  # R11.1
    write_ledger(tmp_path / "ledger.arrow", result, ledger_header(result))
    ledger = read_ledger(tmp_path / "ledger.arrow")
    at = int(np.flatnonzero(ledger.records["kind"] == RecordKind.FILL)[0])
    ledger.records["cause"][at] = 0
    with pytest.raises(LedgerError, match="a FILL follows from ORDER or POSITION, not from DEPOSIT"):
        verify_ledger(ledger)


def test_polars_opens_a_ledger_file(result: ReplayResult, tmp_path: Path) -> None:  # R11.3
    write_ledger(tmp_path / "ledger.arrow", result, ledger_header(result))
    frame = pl.read_ipc(tmp_path / "ledger.arrow")
    assert frame["kind"].cast(pl.String).to_list()[0] == "DEPOSIT"
    assert frame["symbol"].null_count() == int((result.records["symbol"] < 0).sum())


def test_an_altered_header_breaks_the_chain(result: ReplayResult, tmp_path: Path) -> None:  # R11.2
    path = tmp_path / "ledger.arrow"
    write_ledger(path, result, ledger_header(result, seed=7))
    with pa.OSFile(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    said = table.schema.metadata[b"tapeline"].replace(b'"seed": 7', b'"seed": 8')
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema.with_metadata({"tapeline": said})) as writer:
        writer.write_table(table.replace_schema_metadata({"tapeline": said}))
    with pytest.raises(LedgerError, match="header, were altered"):
        read_ledger(path)
