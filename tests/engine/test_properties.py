"""What holds for every replay: exact double entry, and results that depend on nothing but the market and the proposals."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.instrument import KINDS
from engine.ledger import Ledger, ledger_header
from engine.schema import MORE, NEVER, NONE, RECORD, Accounting, EventKind, Reason, RecordKind
from engine.session import ReplayResult
from engine.verify import verify_ledger
from tests.market_changes import MIRROR, digest, fingerprint, mirrored, only, run, shuffled, unlimited, untargeted, upright, with_stranger
from tests.market_models import drawn_models
from tests.markets import Case, random_case

SEEDS = st.integers(0, 2**32 - 1)


class Books:
    """Double entry from the records alone, in plain integers."""

    def __init__(self, result: ReplayResult) -> None:
        self.result = result
        self.instruments = {one.symbol: one for one in result.settings.instruments}
        self.costs: dict[tuple[int, int], int] = {}
        self.booked: dict[tuple[int, int], int] = {}  # when a record last moved or restated lots
        self.lots: dict[tuple[int, int], int] = {}
        self.totals: Counter[str] = Counter()
        self.cash = 0

    def value(self, symbol: int, lots: int, price: float) -> int:
        """Money of so many lots: left to right, half to even.  # R6.3"""
        one = self.instruments[self.result.symbols[symbol]]
        quantity, multiplier = lots * one.base_lot.units / one.base_lot.power, one.multiplier.units / one.multiplier.power
        if KINDS[one.kind] == Accounting.INVERSE:
            return -round(quantity * multiplier / price * self.result.settings.scale)
        return round(quantity * price * multiplier * self.result.settings.scale)

    def converted(self, symbol: int, quoted: int, ts: int) -> int:
        """Account money for quote money, at the last close up to a time of what says its worth."""
        if not self.instruments[self.result.symbols[symbol]].quote:
            return quoted
        tape = self.result.tape
        rows = range(int(tape.rate_first[symbol]), int(tape.rate_stop[symbol]))
        return round(quoted * [float(tape.rate[row]) for row in rows if tape.rate_ts[row] <= ts][-1])

    def spot(self, symbol: int) -> bool:
        return KINDS[self.instruments[self.result.symbols[symbol]].kind] == Accounting.SPOT

    def enter(self, record: dict[str, object]) -> None:
        """Take one record; cash, lots and the identity of realised money must hold after it."""
        kind, key = record["kind"], (record["symbol"], record["strategy"])
        given = (RecordKind.DEPOSIT, RecordKind.FUNDING, RecordKind.INTEREST, RecordKind.DIVIDEND, RecordKind.INSURANCE)
        if kind in (*given, RecordKind.FILL, RecordKind.CASH_IN_LIEU, RecordKind.SETTLEMENT):
            self.cash += record["amount"]
        if kind in given:
            self.totals["given"] += record["amount"]
        if kind == RecordKind.FILL:
            self.fill(key, record)
        if kind == RecordKind.SPLIT and record["order_id"] == NONE:
            self.lots[key], self.booked[key] = record["qty"] if self.lots[key] > 0 else -record["qty"], record["ts"]
        if kind == RecordKind.CASH_IN_LIEU:
            self.rest(key, record)
        if kind == RecordKind.SETTLEMENT:
            worth = self.value(key[0], self.lots[key], record["price"])
            self.totals["profit"] += worth - self.costs[key]
            self.costs[key] = worth
        assert record["cash"] == self.cash
        assert record["position"] == self.lots.get(key, 0)
        at_cost = sum(cost for (symbol, _), cost in self.costs.items() if self.spot(symbol))
        assert self.cash + at_cost == self.realised()

    def fill(self, key: tuple[int, int], record: dict[str, object]) -> None:
        signed = record["side"] * record["qty"]
        self.totals["fees"] += record["fee"]
        held, ts = self.lots.get(key, 0), record["ts"]
        self.lots[key], self.booked[key] = held + signed, ts
        worth = self.value(key[0], signed, record["price"])
        if self.spot(key[0]):
            worth = self.converted(key[0], worth, ts)
        if held * signed >= 0:
            self.costs[key] = self.costs.get(key, 0) + worth
            return
        assert self.lots[key] * held >= 0
        released = round(self.costs[key] * (abs(signed) / abs(held))) if self.lots[key] else self.costs[key]
        self.costs[key] -= released
        self.totals["profit"] += -worth - released if self.spot(key[0]) else self.converted(key[0], -worth - released, ts)
        if not self.lots[key]:
            del self.lots[key], self.costs[key]

    def rest(self, key: tuple[int, int], record: dict[str, object]) -> None:
        """Part of a lot, paid in cash: its share of the cost goes with it."""
        parts, den = record["qty"], int(record["value"])
        before = abs(self.lots[key]) * den + parts
        one = self.instruments[self.result.symbols[key[0]]]
        quantity = -record["side"] * (parts * one.base_lot.units / one.base_lot.power) / den
        worth = round(quantity * record["price"] * (one.multiplier.units / one.multiplier.power) * self.result.settings.scale)
        released = round(self.costs[key] * (parts / before)) if self.lots[key] else self.costs[key]
        if self.spot(key[0]):
            self.totals["profit"] += self.converted(key[0], worth, record["ts"]) - released
        else:
            self.totals["profit"] += self.converted(key[0], worth - released, record["ts"])
        self.costs[key] -= released
        if self.lots[key] == 0:
            del self.lots[key], self.costs[key]

    def realised(self) -> int:
        return self.totals["given"] + self.totals["profit"] - self.totals["fees"]

    def equity(self, ts: int, until: int) -> int:
        """Realised money and what the positions are worth beyond their cost, at the last marks up to ``ts``, after the splits before ``until``."""
        tape = self.result.tape
        unrealised = 0
        for key, lots in self.lots.items():
            first, stop = int(tape.oldest[key[0]]), int(tape.stop[key[0]])
            row = first + int(np.searchsorted(tape.ts[first:stop], ts, "right")) - 1
            mark = float(tape.mark[row])
            for at in range(int(tape.action_first[key[0]]), int(tape.action_stop[key[0]])):
                if tape.action_kind[at] == 0 and tape.ts[row] <= tape.action_ts[at] < until:
                    mark = mark * int(tape.action_den[at]) / int(tape.action_num[at])
            valued, worth, cost = max(int(tape.ts[row]), self.booked[key]), self.value(key[0], lots, mark), self.costs[key]
            spot = self.spot(key[0])
            unrealised += self.converted(key[0], worth, valued) - cost if spot else self.converted(key[0], worth - cost, valued)
        return self.realised() + unrealised


def rows_of(result: ReplayResult) -> list[dict[str, object]]:
    return [dict(zip(RECORD.names or (), row, strict=True)) for row in result.records.tolist()]


def before_sample(rows: list[dict[str, object]], at: int, ts: int) -> bool:
    """Whether a record comes before the equity sample of ``ts``: marks, funding and R7.4 do.  # R5.3"""
    record = rows[at]
    ruin = Reason.LIQUIDATED_AT_CLOSE
    forced = record["reason"] == ruin or (record["cause"] != NONE and rows[record["cause"]]["reason"] == ruin)
    return record["ts"] < ts or (record["ts"] == ts and (record["phase"] <= EventKind.UNIVERSE_UPDATED or forced))


@given(SEEDS)
def test_money_is_booked_twice_and_agrees_at_every_record_and_sample(seed: int) -> None:  # R6.3 R6.4
    result = run(random_case(seed))
    books, rows, at = Books(result), rows_of(result), 0
    ended = result.records["ts"][-1] if result.bankrupt else NEVER
    for ts, equity in zip(result.sample_ts.tolist(), result.equity.tolist(), strict=True):
        while at < len(rows) and before_sample(rows, at, ts):
            books.enter(rows[at])
            at += 1
        assert equity == (books.equity(ts, ts) if ts < ended else result.final_equity)
    for row in rows[at:]:
        books.enter(row)
    ended_at = int(result.records["ts"][-1])
    assert result.final_equity == books.equity(ended_at, ended_at + (not result.bankrupt))


@given(SEEDS)
def test_the_verifier_accepts_every_ledger(seed: int) -> None:  # R6.4 R11
    result = run(random_case(seed))
    totals = verify_ledger(Ledger(result.records, result.symbols, result.strategies, ledger_header(result)))
    assert (totals.cash, totals.final_equity) == (result.records["cash"][-1], result.final_equity)


@given(SEEDS)
def test_every_proposal_of_the_run_ends_exactly_once(seed: int) -> None:  # R5.4
    result = run(random_case(seed))
    last = (RecordKind.FILL, RecordKind.REJECTED, RecordKind.CANCELLED, RecordKind.LEVELS)
    ends = [row["proposal"] for row in rows_of(result) if row["kind"] in last and not row["flags"] & MORE]
    counted = np.flatnonzero(result.outcomes).tolist()
    ended = Counter(row for row in ends if row != NONE) + Counter(counted)
    if not result.bankrupt:
        assert ended == Counter(range(len(result.proposals.ts)))
    assert not ended or max(ended.values()) == 1


@given(SEEDS)
def test_time_never_goes_back_and_causes_come_before(seed: int) -> None:  # R1.3 R11.1
    records = run(random_case(seed)).records
    assert (np.diff(records["ts"]) >= 0).all()
    assert (records["cause"] < np.arange(len(records))).all()


@given(SEEDS)
def test_the_order_of_what_is_given_changes_no_byte(seed: int) -> None:  # R1.6
    case = random_case(seed)
    plain, other = run(case), run(shuffled(case, np.random.default_rng(seed)))
    assert fingerprint(other) == fingerprint(plain)
    assert digest(other) == digest(plain)


@given(SEEDS, st.sampled_from(["0", "AB", "zzz", "Å"]), st.booleans())
def test_a_symbol_never_traded_on_the_same_grid_changes_nothing(seed: int, name: str, draws: bool) -> None:  # R9.2 R9.3 R10.1
    case = random_case(seed)  # whose models are told the place of the symbol
    case = case._replace(settings=replace(case.settings, models=drawn_models() if draws else ()))
    plain, more = run(case), run(with_stranger(case, name, np.random.default_rng(seed)))
    assert digest(more) == digest(plain)
    assert more.equity.tolist() == plain.equity.tolist()


@given(SEEDS)
def test_one_symbol_of_many_equals_a_dataset_of_that_symbol(seed: int) -> None:  # R9.3
    case = random_case(seed)
    for symbol in sorted(one.symbol for one in case.settings.instruments):
        assert fingerprint(run(only(case, symbol, whole_dataset=True))) == fingerprint(run(only(case, symbol, whole_dataset=False)))


HASHES = """
import json, sys
from tests.market_changes import digest, run
from tests.markets import random_case
print(json.dumps([digest(run(random_case(seed))) for seed in range(20)]))
"""


@pytest.mark.parametrize(("hash_seed", "threads"), [("0", "1"), ("12345", "2")])
def test_fresh_processes_give_the_same_hash(hash_seed: str, threads: str) -> None:  # R9.1
    here = [digest(run(random_case(seed))) for seed in range(20)]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "POLARS_MAX_THREADS": threads, "NUMBA_NUM_THREADS": threads}
    root = Path(__file__).parents[2]
    there = subprocess.run([sys.executable, "-c", HASHES], capture_output=True, check=True, cwd=root, env=environment)
    assert json.loads(there.stdout) == here


def whole_fees(result: ReplayResult) -> list[int]:
    """The fee of each fill, the two parts of a reversal together.  # R6.4"""
    fees: list[int] = []
    open_reversal = NONE
    for row in rows_of(result):
        if row["kind"] == RecordKind.FILL and row["order_id"] == open_reversal:
            fees[-1] += row["fee"]
            open_reversal = NONE
        elif row["kind"] == RecordKind.FILL:
            fees.append(row["fee"])
            open_reversal = row["order_id"] if row["reason"] == Reason.REVERSED else NONE
    return fees


@pytest.mark.parametrize(("bps", "rounding"), [(10_000.0, 0), (4.5, 1)])
@given(seed=SEEDS)
def test_doubled_rates_double_the_fees_and_leave_the_fills_alone(seed: int, bps: float, rounding: int) -> None:  # R2.6
    # at 10,000 bp the fee is the notional itself, so nothing is rounded
    case = untargeted(random_case(seed))
    settings = replace(unlimited(case.settings), maker_bps=bps, taker_bps=bps, per_unit=0.0, flat=0.0, min_fee=0.0, fee_tiers=())
    once = run(case._replace(settings=settings))
    twice = run(case._replace(settings=replace(settings, maker_bps=2 * bps, taker_bps=2 * bps)))
    moved = {"fee", "amount", "cash"}
    assert all(once.records[name].tolist() == twice.records[name].tolist() for name in RECORD.names or () if name not in moved)
    fees = [whole_fees(result) for result in (once, twice)]
    assert all(abs(double - 2 * single) <= rounding for single, double in zip(*fees, strict=True))
    assert once.final_equity - twice.final_equity == int((twice.records["fee"] - once.records["fee"]).sum())


def images(case: Case, result: ReplayResult, sign: int) -> list[tuple[object, ...]]:
    """Records as seen from one side of the mirror, without the reservations, which depend on the price."""
    seen = []
    for row in rows_of(result):
        price = MIRROR - row["price"] if sign < 0 and row["price"] != 0.0 else row["price"]
        amount = 0 if row["kind"] == RecordKind.APPROVED else row["amount"]
        value = MIRROR - row["value"] if sign < 0 and row["kind"] == RecordKind.ORDER and row["value"] else row["value"]
        same = [row[name] for name in ("ts", "kind", "reason", "order_id", "proposal", "qty", "cash", "cause", "rank", "flags", "phase")]
        seen.append((*same, amount, price, value, sign * row["side"], sign * row["position"]))
    return seen


@given(SEEDS, st.sampled_from([float("inf"), 1e-9, 1e-8]))
def test_the_mirror_image_of_a_market_earns_the_same(seed: int, halt: float) -> None:  # R3.2 R6.4
    case = upright(random_case(seed), halt)
    plain, image = run(case), run(mirrored(case))
    assert images(case, image, -1) == images(case, plain, 1)
    assert image.equity.tolist() == plain.equity.tolist()
