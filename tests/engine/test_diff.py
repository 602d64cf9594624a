"""Two ledgers compared: differences of random runs add up exactly, and causes are told apart where only one thing changed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.diff import CAUSES, attribute, first_parting
from engine.ledger import Ledger, ledger_header
from engine.round_trips import fold
from engine.schema import Action, RecordKind, SizeKind, Slippage
from engine.session import ReplayError, ReplayResult, Session
from engine.settings import HaltLimits, Settings
from pipeline.trades import trades_of, unrealised
from tests.markets import Case, random_case

VARIED = (
    "cash", "leverage", "timing", "latency_us", "intrabar", "limit_gap", "slippage", "slippage_amount", "default_spread_bps",
    "maker_bps", "taker_bps", "per_unit", "flat", "min_fee", "fee_tiers", "stop_check", "stop_from", "stop_anchor", "trailing_mode", "max_positions", "min_score", "cash_buffer", "max_position", "max_gross", "clip",
    "halts", "strategy_halts", "symbol_halts", "rotate_margin", "max_per_group", "finalize_close", "close_on_leave",
)  # fmt: skip


def ledger_of(result: ReplayResult) -> Ledger:
    return Ledger(result.records, result.symbols, result.strategies, ledger_header(result))


def replayed(case: Case, settings: Settings) -> ReplayResult:
    return Session(case.dataset, case.proposals, settings).run()


def both(case: Case, other: Settings) -> tuple[ReplayResult, ReplayResult]:
    try:
        return replayed(case, case.settings), replayed(case, other)
    except ReplayError:
        assume(False)
        raise


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(VARIED))
def test_the_causes_add_up_to_the_difference_of_any_two_runs(seed: int, another: int, name: str) -> None:
    case = random_case(seed)
    value = getattr(random_case(another).settings, name)
    if name == "cash":
        value = case.settings.cash + another % 1000 * 10**case.settings.decimals
    left, right = both(case, replace(case.settings, **{name: value}))
    found = attribute(ledger_of(left), ledger_of(right))
    assert sum(found.causes.values()) == right.final_equity - left.final_equity == found.difference
    back = attribute(ledger_of(right), ledger_of(left))
    assert back.difference == -found.difference
    assert (back.same, len(back.left_only), len(back.right_only)) == (found.same, len(found.right_only), len(found.left_only))
    differ = (
        any((left.records[field] != right.records[field]).any() for field in ("ts", "kind", "amount", "cash"))
        if len(left.records) == len(right.records)
        else True
    )
    if differ:
        assert first_parting(ledger_of(left), ledger_of(right)) is not None


@given(st.integers(0, 10**6))
def test_a_fold_has_the_trades_and_the_unrealised_profit_of_the_run(seed: int) -> None:
    case = random_case(seed)
    try:
        result = replayed(case, case.settings)
    except ReplayError:
        assume(False)
        raise
    folded = fold(ledger_of(result))
    trades, _ = trades_of(result.records, len(result.symbols), len(result.strategies))
    assert [trip.pnl for trip in folded.trips] == trades["pnl"].tolist()
    assert [trip.open for trip in folded.trips] == (trades["open"] == 1).tolist()
    assert [trip.exit_reason for trip in folded.trips] == trades["exit_reason"].tolist()
    assert folded.unrealised == int(unrealised(result.records, trades, result.tape, result.settings.scale).sum())


@given(st.integers(0, 10**6))
def test_a_run_does_not_differ_from_itself(seed: int) -> None:
    case = random_case(seed)
    left, right = both(case, case.settings)
    found = attribute(ledger_of(left), ledger_of(right))
    assert first_parting(ledger_of(left), ledger_of(right)) is None
    assert set(found.causes.values()) == {0}
    assert not found.left_only and not found.right_only


def fixed_size_cases(count: int) -> list[Case]:
    """Cases whose sizes do not follow the account, with trades, money fine enough to tell them apart, and nothing that cuts a size."""
    found = []
    for seed in range(600):
        case = random_case(seed)
        if Action.TARGET in case.proposals["action"]:
            continue
        first = case.settings.instruments[0]
        strategies = tuple(replace(one, size=SizeKind.FIXED_QTY, amount=10 * float(first.lot)) for one in case.settings.strategies)
        open_ended: dict[str, Any] = {"max_position": np.inf, "max_gross": np.inf, "max_net": np.inf, "cash_buffer": 0.0}
        halts: dict[str, Any] = {name: HaltLimits() for name in ("halts", "strategy_halts", "symbol_halts")} | {
            "max_group": np.inf,
            "max_strategy": np.inf,
        }
        linear: dict[str, Any] = {"flat": 0.0, "min_fee": 0.0, "fee_tiers": (), "slippage": Slippage.NONE, "slippage_amount": 0.0}
        cash = 10**14  # never short
        unlevered = tuple(replace(one, maintenance=(), leverage=None) for one in case.settings.instruments)
        plain = {"strategies": strategies, "instruments": unlevered, "models": (), "participation": np.inf}
        settings = replace(case.settings, cash=cash, decimals=6, **plain, **open_ended, **halts, **linear)
        case = Case(case.dataset, case.proposals, settings)
        result = replayed(case, settings)
        if len(fold(ledger_of(result)).trips) > 10 and RecordKind.SPLIT not in result.records["kind"]:
            found.append(case)
        if len(found) == count:
            return found
    raise AssertionError("too few cases")


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return fixed_size_cases(6)


def test_other_fees_are_fees_and_nothing_else(cases: list[Case]) -> None:
    charged = 0
    for case in cases:
        left, right = both(case, replace(case.settings, taker_bps=case.settings.taker_bps + 7.0))
        found = attribute(ledger_of(left), ledger_of(right))
        paid = int(right.records["fee"].sum()) - int(left.records["fee"].sum())
        charged += paid > 0
        assert {name: units for name, units in found.causes.items() if units} == ({"fees": -paid} if paid else {})
    assert charged > len(cases) / 2


def test_other_slippage_is_fills_and_the_fees_on_them(cases: list[Case]) -> None:
    checked = 0
    for case in cases:
        plain = replace(case.settings, slippage=Slippage.NONE, slippage_amount=0.0, finalize_close=True)
        left, right = both(Case(case.dataset, case.proposals, plain), replace(plain, slippage=Slippage.BPS, slippage_amount=100.0))
        found = attribute(ledger_of(left), ledger_of(right))
        if found.left_only or found.right_only or found.causes["exits"]:
            continue  # a level that is a fraction of the fill price moved with it
        assert found.causes["fills"] < 0
        assert not any(found.causes[name] for name in ("deposits", "selection", "sizing", "open", "flows"))
        checked += 1
    assert checked


def test_fewer_slots_are_selection(cases: list[Case]) -> None:
    parted = 0
    for case in cases:
        left, right = both(case, replace(case.settings, max_positions=1))
        found = attribute(ledger_of(left), ledger_of(right))
        lost = [trip.pnl for trip in found.left_only]
        assert found.causes["selection"] == sum(trip.pnl for trip in found.right_only) - sum(lost)
        assert found.causes["sizing"] == found.causes["fills"] == found.causes["fees"] == 0
        parted += bool(lost)
    assert parted


def test_more_money_with_fixed_sizes_is_a_deposit(cases: list[Case]) -> None:
    for case in cases:
        left, right = both(case, replace(case.settings, cash=case.settings.cash + 12_345))
        found = attribute(ledger_of(left), ledger_of(right))
        assert found.causes == dict.fromkeys(CAUSES, 0) | {"deposits": 12_345}
        parting = first_parting(ledger_of(left), ledger_of(right))
        assert parting is not None and (parting.left, parting.right) == (0, 0)
        assert set(parting.columns) == {"amount", "cash"}


def test_a_size_twice_as_large_is_sizing_to_the_last_unit(cases: list[Case]) -> None:
    for case in cases:
        doubled = tuple(replace(one, amount=2 * one.amount) for one in case.settings.strategies)
        left, right = both(case, replace(case.settings, strategies=doubled))
        found = attribute(ledger_of(left), ledger_of(right))
        assert found.same and found.causes["sizing"] == found.difference - found.causes["open"] - found.causes["selection"]


def test_ledgers_part_at_the_first_record_that_differs(cases: list[Case]) -> None:
    left = replayed(cases[0], cases[0].settings)
    altered = left.records.copy()
    at = int(np.flatnonzero(altered["kind"] == RecordKind.FILL)[3])
    altered["price"][at] += 1.0
    parting = first_parting(ledger_of(left), ledger_of(replace(left, records=altered)))
    assert parting == (at, at, ("price",))
    cut = first_parting(ledger_of(left), ledger_of(replace(left, records=left.records[:at])))
    assert cut == (at, -1, ())


def test_another_number_of_decimals_is_not_a_difference_by_itself(cases: list[Case]) -> None:
    left = ledger_of(replayed(cases[0], cases[0].settings))
    records = left.records.copy()
    for name in ("fee", "amount", "cash"):
        records[name] *= 100
    finer = Ledger(records, left.symbols, left.strategies, {**left.header, "decimals": left.header["decimals"] + 2})
    assert first_parting(left, finer) is None
    assert set(attribute(left, finer).causes.values()) == {0}
