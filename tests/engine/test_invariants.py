"""What must hold of every run: a ledger that breaks a promise is told apart.  # R1.3 R2 R4.1 R5 R8"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.instrument import Decimals
from engine.invariants import check
from engine.ledger import LedgerError
from engine.schema import NONE, OrderType, Reason, RecordKind
from engine.session import ReplayResult, Session
from engine.splits import DELIST
from tests.markets import random_case
from tests.oracle.examples import FLAT, LONG, SHORT, instrument, market, propose, settings, table

Change = Callable[[ReplayResult], Any]


def runs() -> list[ReplayResult]:
    cases = [random_case(seed) for seed in range(80)]
    return [Session(*case).run() for case in cases]


RUNS = runs()


def first(result: ReplayResult, kind: RecordKind, **fields: int) -> int:
    """Seq of the first record of a kind with these fields; an error if there is none."""
    found = result.records["kind"] == kind
    for name, value in fields.items():
        found &= result.records[name] == value
    return int(np.flatnonzero(found)[0])


def with_record(result: ReplayResult, seq: int, **fields: Any) -> ReplayResult:
    records = result.records.copy()
    for name, value in fields.items():
        records[name][seq] = value
    return replace(result, records=records)


def tick_of(result: ReplayResult, seq: int) -> float:
    return float(sorted(result.settings.instruments, key=lambda one: one.symbol)[result.records["symbol"][seq]].tick)


def not_a_number(result: ReplayResult) -> ReplayResult:
    return with_record(result, first(result, RecordKind.FILL), price=np.nan)


def ended_twice(result: ReplayResult) -> ReplayResult:
    seq = first(result, RecordKind.FILL, reason=Reason.FILLED)
    return replace(result, records=np.insert(result.records, seq + 2, result.records[seq]))


def never_ended(result: ReplayResult) -> ReplayResult:
    seq = first(result, RecordKind.REJECTED)
    return replace(result, records=np.delete(result.records, seq))


def overfilled(result: ReplayResult) -> ReplayResult:
    seq = first(result, RecordKind.FILL, reason=Reason.FILLED)
    return with_record(result, seq, qty=result.records["qty"][seq] + 1)


def left_resting(result: ReplayResult) -> ReplayResult:
    seq = first(result, RecordKind.CANCELLED)
    return with_record(result, seq, kind=RecordKind.REJECTED)


def off_the_tick(result: ReplayResult) -> ReplayResult:
    seq = first(result, RecordKind.FILL)
    tick = tick_of(result, seq)
    return with_record(result, seq, price=result.records["price"][seq] + result.records["side"][seq] * 0.4 * tick)


def better_than_the_market(result: ReplayResult) -> ReplayResult:
    seq = first(result, RecordKind.FILL)
    tick = tick_of(result, seq)
    return with_record(result, seq, price=result.records["price"][seq] - int(result.records["side"][seq]) * 100_000 * tick)


def unlisted(result: ReplayResult) -> ReplayResult:
    symbol = result.records["symbol"][first(result, RecordKind.FILL, reason=Reason.FILLED)]
    specs = result.tape.specs.copy()
    specs["has_universe"][symbol] = 1
    return replace(result, tape=result.tape.replace(specs=specs, universe_listed=np.zeros_like(result.tape.universe_listed)))


def after_its_delisting(result: ReplayResult) -> ReplayResult:
    seq = first(result, RecordKind.FILL, reason=Reason.FILLED)
    first_row, stop_row = np.zeros_like(result.tape.action_first), np.zeros_like(result.tape.action_stop)
    stop_row[result.records["symbol"][seq]] = 1
    tape = result.tape.replace(
        action_ts=result.records["ts"][seq : seq + 1] - 1,
        action_kind=np.array([DELIST], np.int8),
        action_value=np.zeros(1),
        action_num=np.ones(1, np.int64),
        action_den=np.ones(1, np.int64),
        action_first=first_row,
        action_stop=stop_row,
    )
    return replace(result, tape=tape)


def while_halted(result: ReplayResult) -> ReplayResult:
    seq = first(result, RecordKind.APPROVED)
    alert = result.records[seq].copy()
    alert["kind"], alert["reason"], alert["symbol"], alert["strategy"], alert["proposal"] = (
        RecordKind.RISK_ALERT,
        Reason.DRAWDOWN,
        NONE,
        NONE,
        NONE,
    )
    alert["ts"] -= 1
    settings = replace(result.settings, halts=replace(result.settings.halts, resume_after_us=10))
    return replace(result, records=np.insert(result.records, seq, alert), settings=settings)


def beyond(name: str) -> Change:
    def changed(result: ReplayResult) -> ReplayResult:
        first(result, RecordKind.APPROVED)
        return replace(result, settings=replace(result.settings, **{name: 1e-9}))

    return changed


def short_of_volume(result: ReplayResult) -> ReplayResult:
    first(result, RecordKind.FILL, reason=Reason.FILLED)
    return replace(result, settings=replace(result.settings, participation=1e-12))


BROKEN: tuple[tuple[Change, str], ...] = (
    (not_a_number, "price is nan"),
    (ended_twice, "had ended before"),
    (never_ended, "never ended"),
    (overfilled, "lots of an order for"),
    (left_resting, "still rests"),
    (off_the_tick, "is not on the tick"),
    (better_than_the_market, "is better than the bar's"),
    (short_of_volume, "filled in a bar of which"),
    (unlisted, "is not in the universe"),
    (after_its_delisting, "was delisted before"),
    (while_halted, "entries are halted"),
    (beyond("max_position"), "max_position: "),
    (beyond("max_gross"), "max_gross: "),
    (beyond("max_net"), "max_net: "),
)


@pytest.mark.parametrize(("change", "said"), BROKEN, ids=[said for _, said in BROKEN])
def test_a_broken_promise_is_told(change: Change, said: str) -> None:
    told = 0
    for result in RUNS:
        try:
            changed = change(result)
        except IndexError:  # the run has no such record
            continue
        try:
            check(changed)
        except LedgerError as error:
            told += said in str(error)
    assert told >= 5


def test_every_run_keeps_its_promises() -> None:
    for result in RUNS:
        check(result)


@pytest.mark.parametrize(
    ("side", "price", "kept"),
    [(1, 106.05, True), (1, 106.06, False), (1, 99.99, False), (-1, 94.05, True), (-1, 94.04, False), (-1, 100.01, False)],
)
def test_a_stop_limit_makes_beyond_its_bar_by_the_half_spread_at_most(side: int, price: float, kept: bool) -> None:
    # R2.5 R3.4: the bar goes to 105 (to 95), where the touch is 105 x 1.01 (95 x 0.99)
    assert keeps_promises(with_record(made(side), first(made(side), RecordKind.FILL), price=price)) == kept


@pytest.mark.parametrize(("side", "price", "kept"), [(1, 105.0, True), (1, 105.01, False), (-1, 95.0, True), (-1, 94.99, False)])
def test_any_other_maker_stays_in_its_bar(side: int, price: float, kept: bool) -> None:  # R2.4
    result = with_record(made(side), first(made(side), RecordKind.FILL), price=price)
    assert keeps_promises(with_record(result, first(result, RecordKind.ORDER), flags=OrderType.LIMIT)) == kept


def made(side: int) -> ReplayResult:
    """A stop-limit that is triggered inside a bar and makes at its limit."""
    bar = (100.0, 105.0, 100.0, 104.0) if side > 0 else (100.0, 100.0, 95.0, 96.0)
    prices = {"order_type": int(OrderType.STOP_LIMIT), "stop_price": 100.0 + 5 * side, "limit_price": 100.0 + 5.5 * side}
    row = propose(1, LONG if side > 0 else SHORT, **prices)
    told = settings(3, default_spread_bps=200.0, instruments=(instrument(tick=Decimals(1, 100)),), finalize_close=False)
    return Session(market({"A": [FLAT, bar, FLAT]}), table(row), told).run()


def keeps_promises(result: ReplayResult) -> bool:
    try:
        check(result)
    except LedgerError as error:
        if "bar's" in str(error):
            return False
        raise
    return True
