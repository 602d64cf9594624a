"""Lowering market data and proposals to arrays: what is derived, and what is refused with which message."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.block import Block, column, prefetch
from engine.dataset import Dataset, DatasetError, from_columns
from engine.instrument import Decimals
from engine.prices import half_spread, half_spread_of_close
from engine.proposals import ProposalError, Proposals, build_proposals
from engine.schema import NONE
from engine.session import ReplayResult, Session, replay
from engine.tape import build_tape
from tests.markets import random_case
from tests.oracle.examples import FLAT, HOUR, LONG, at, instrument, market, propose, settings, table

NAN = math.nan


def replayed(*rows: dict[str, Any], dataset: Dataset | None = None, **changes: Any) -> ReplayResult:
    return replay(market({"A": [FLAT] * 3}) if dataset is None else dataset, table(*rows), settings(3, **changes))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (propose(1, symbol="B"), r"proposal row 1: symbol 'B' is not of this run, which has A$"),
        (propose(1, strategy="t"), r"proposal row 1: strategy 't' is not of this run, which has s$"),
        (propose(1, available_ts=at(1) - 1), r"proposal row 1: available_ts \d+ is before ts \d+, the close of the bar it came from"),
        (propose(1, 6), r"row 1: action 6 is not one of \['enter_long', 'enter_short', 'exit', 'exit_long', 'exit_short', 'target'\]"),
        (propose(1, -1), r"proposal row 1: action -1 is not one of"),
    ],
)
def test_a_proposal_that_does_not_fit_the_run_is_refused_with_its_row(row: dict[str, Any], message: str) -> None:  # R1.7
    with pytest.raises(ProposalError, match=message):
        replayed(propose(1), row)


def test_proposals_need_an_action() -> None:
    columns = table(propose(1))
    del columns["action"]
    with pytest.raises(ProposalError, match="proposals: no column 'action'"):
        replay(market({"A": [FLAT] * 3}), columns, settings(3))


def test_proposals_need_no_more_than_time_symbol_strategy_and_action() -> None:
    columns = {"ts": [at(1)], "symbol": ["A"], "strategy": ["s"], "action": [int(LONG)]}
    assert replay(market({"A": [FLAT] * 3}), columns, settings(3)).records["position"].max() == 3


def test_names_may_be_given_as_codes_in_any_order() -> None:  # R1.6
    dataset = market({"A": [FLAT] * 3, "B": [FLAT] * 3})
    named = table(propose(1, symbol="B"), propose(1, symbol="A"))
    coded = named | {"symbol": [0, 1], "strategy": [0, 0]}
    tape = build_tape(dataset, settings(3, symbols="AB"))
    found = build_proposals(coded, ["B", "A"], ["s"], tape, settings(3, symbols="AB"))
    assert found.symbol.tolist() == build_proposals(named, (), (), tape, settings(3, symbols="AB")).symbol.tolist() == [0, 1]
    with pytest.raises(ProposalError, match="proposal row 1: symbol 'C' is not of this run, which has A, B"):
        build_proposals(coded, ["B", "C"], ["s"], tape, settings(3, symbols="AB"))


def test_proposals_are_sorted_by_when_they_may_be_known_then_by_name_and_sequence() -> None:  # R1.1 R1.7
    dataset = market({"A": [FLAT] * 3, "B": [FLAT] * 3})
    rows = [propose(2, symbol="A"), propose(1, symbol="B"), propose(1, available_ts=at(2), symbol="B"), propose(1, symbol="A", score=7.0)]
    chosen = settings(3, symbols="AB")
    tape = build_tape(dataset, chosen)
    found = build_proposals(table(*rows), (), (), tape, chosen)
    assert found.available_ts.tolist() == [at(1), at(1), at(2), at(2)]
    assert found.symbol.tolist() == [0, 1, 0, 1]
    assert found.score.tolist() == [7.0, 1.0, 1.0, 1.0]
    assert found.row.tolist() == [0, 3, 1, 4]
    again = build_proposals(table(*rows) | {"sequence": [4, 3, 2, 1]}, (), (), tape, chosen)
    assert again.score.tolist() == found.score.tolist()
    grouped = build_proposals(table(rows[3], rows[0], rows[1], rows[2]), (), (), tape, chosen)  # by symbol, as stage one writes them
    assert {name: array.tolist() for name, array in grouped.arrays().items() if name[:3] in ("ava", "sym", "row")} == {
        name: array.tolist() for name, array in found.arrays().items() if name[:3] in ("ava", "sym", "row")
    }


@pytest.mark.parametrize("rows", [[0, 1], [1, 1], [-1, 0], [99, 1]])
def test_a_given_row_is_taken_only_where_it_is_the_last_bar_closed(rows: list[int]) -> None:
    chosen = settings(3)
    tape = build_tape(market({"A": [FLAT] * 3}), chosen)
    found = build_proposals(table(propose(1), propose(2)) | {"row": rows}, (), (), tape, chosen)
    assert found.row.tolist() == [0, 1]


def test_two_proposals_of_one_place_in_the_order_are_refused() -> None:  # R1.5
    dataset, chosen = market({"A": [FLAT] * 3, "B": [FLAT] * 3}), settings(3, symbols="AB")
    rows = [propose(2, symbol="A"), propose(1, symbol="B"), propose(2, symbol="B"), propose(2, symbol="A")]
    tape = build_tape(dataset, chosen)
    with pytest.raises(ProposalError, match=r"two proposals of s for A are available at .*Z with sequence 5; number them"):
        build_proposals(table(*rows) | {"sequence": [5, 5, 5, 5]}, (), (), tape, chosen)
    assert len(build_proposals(table(*rows) | {"sequence": [5, 5, 5, 6]}, (), (), tape, chosen).ts) == 4


def test_a_proposal_before_the_first_bar_has_no_row_and_one_after_the_run_is_not_of_it() -> None:
    chosen = settings(3)
    tape = build_tape(market({"A": [FLAT] * 3}), chosen)
    found = build_proposals(table(propose(0), propose(3), propose(3.5)), (), (), tape, chosen)
    assert found.row.tolist() == [NONE, 2]
    assert build_proposals(table(propose(9)) | {"row": [7]}, (), (), tape, chosen).row.tolist() == []


def test_no_bars_for_a_symbol_is_an_error_that_says_what_there_is() -> None:  # R1.8
    with pytest.raises(DatasetError, match="no bars for B; the dataset has A"):
        replayed(propose(1), instruments=(instrument("B"),))
    with pytest.raises(DatasetError, match="no bars for A at 5m; it has 1h"):
        replayed(propose(1), interval="5m")


def actions(kind: int, value: float, num: int, den: int, *more: float) -> Dataset:
    rows = {"ts": [at(2), *map(at, more)]} | {name: [given] * (1 + len(more)) for name, given in (("kind", kind), ("value", value))}
    return market({"A": [FLAT] * 3}, actions={"A": rows | {"num": [num] * len(rows["ts"]), "den": [den] * len(rows["ts"])}})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0, 0.0, 0, 1), r"A: split 0:1 at 2024-01-01T02:00:00\.000000Z: the terms of a split are whole numbers from 1 to 1000"),
        ((0, 0.0, 1, 1001), "split 1:1001"),
        ((1, math.nan, 0, 0), "dividend of nan at .* finite amount above zero"),
        ((1, -1.0, 0, 0), "dividend of -1.0"),
        ((2, 0.0, 0, 0, 3), "delisted twice inside the run"),
    ],
)
def test_an_action_that_cannot_be_replayed_is_refused(given: tuple[Any, ...], message: str) -> None:  # R1.5 R8.1 R8.2 R8.4
    with pytest.raises(DatasetError, match=f"actions: .*{message}"):
        build_tape(actions(*given), settings(3))


def test_actions_after_the_run_are_not_looked_at() -> None:
    assert build_tape(actions(0, 0.0, 0, 0), settings(1)).action_stop.tolist() == [0]


def candles(begin: float, count: int, interval: float = 1.0) -> dict[str, Any]:
    hours = begin + interval * np.arange(count + 1)
    times = [at(hour) for hour in hours]
    return {
        "open_ts": times[:-1],
        "ts": times[1:],
        **dict.fromkeys(("open", "high", "low", "close"), [100.0] * count),
        "volume": [1.0] * count,
    }


@pytest.mark.parametrize(
    ("others", "hours"),
    [
        ({}, [1, 2, 3]),
        ({("B", "1h", HOUR): candles(0, 3)}, [1, 2, 3]),
        ({("B", "1h", HOUR): candles(1.5, 3)}, [1, 2, 2.5, 3, 3.5, 4.5]),
        ({("B", "2h", 2 * HOUR): candles(0, 4, 2.0)}, [1, 2, 3, 4, 6, 8]),
        ({("B", "30m", HOUR // 2): candles(2, 4, 0.5)}, [1, 2, 2.5, 3, 3.5, 4]),  # before the finest begins, too
    ],
)
def test_equity_is_sampled_at_every_close_of_the_run(others: dict[Any, Any], hours: list[float]) -> None:  # R5.3
    dataset = from_columns({"bars": {("A", "1h", HOUR): candles(0, 3), **others}})
    chosen = settings(24, symbols="AB" if others else "A")
    assert build_tape(dataset, chosen).grid.tolist() == [at(hour) for hour in hours]


def test_the_run_covers_bars_from_start_to_end() -> None:  # R8.6
    tape = build_tape(market({"A": [FLAT] * 6}), settings(6, start_us=at(1) + 1, end_us=at(5) - 1))
    assert (tape.oldest.tolist(), tape.first.tolist(), tape.stop.tolist()) == ([0], [2], [4])
    assert (tape.grid.tolist(), tape.last_ts.tolist()) == ([at(3), at(4)], [at(6)])
    empty = build_tape(market({"A": [FLAT] * 2}), settings(2, start_us=at(9), end_us=at(1)))
    assert (empty.first.tolist(), empty.stop.tolist(), empty.grid.tolist()) == ([2], [2], [])


def test_a_mark_is_taken_where_it_shares_the_bar_and_is_a_number() -> None:  # R6.5
    bars = candles(0, 4)
    marks = {name: [column[i] for i in (0, 1, 3)] for name, column in bars.items() if name != "volume"} | {"close": [101.0, NAN, 103.0]}
    marks["open_ts"][2] -= 1
    tables: dict[str, Any] = {"bars": {("A", "1h", HOUR): bars, ("B", "1h", HOUR): bars}, "marks": {("A", "1h", HOUR): marks}}
    assert build_tape(from_columns(tables), settings(4, symbols="AB")).mark.tolist() == [101.0, 100.0, 100.0, 100.0, *[100.0] * 4]
    tables["marks"]["A", "1h", HOUR] = {name: column[:0] for name, column in marks.items()}
    assert build_tape(from_columns(tables), settings(4, symbols="AB")).mark.tolist() == [100.0] * 8


def test_quoted_bars_hold_their_spread() -> None:  # R2.2 R5.2
    quotes = {
        f"{side}_{name}": [price, NAN] for side, price in (("bid", 99.0), ("ask", 101.0)) for name in ("open", "high", "low", "close")
    }
    tape = build_tape(from_columns({"bars": {("A", "1h", HOUR): candles(0, 2) | quotes}}), settings(2))
    assert (tape.quoted.tolist(), tape.bid_open.tolist(), tape.ask_close.tolist()) == ([1, 0], [99.0, 100.0], [101.0, 100.0])
    assert (half_spread(tape, 0, 0, at(1), 0.007), half_spread(tape, 0, 1, at(1), 0.007)) == (0.0, 0.007)
    assert (half_spread_of_close(tape, 0, 0, at(1), 0.007), half_spread_of_close(tape, 0, 1, at(1), 0.007)) == (0.01, 0.007)


def test_the_tape_is_frozen() -> None:
    tape = build_tape(market({"A": [FLAT] * 2}), settings(2))
    with pytest.raises(ValueError, match="read-only"):
        tape.close[0] = 1.0


class Pair(Block):
    numbers: Any = column(np.int64)
    prices: Any = column(np.float64)


class Notes(Block, writeable=True):
    numbers: Any = column(np.int64)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"numbers": np.zeros(2, np.int64)}, r"Pair takes \['numbers', 'prices'\], got \['numbers'\]"),
        ({"numbers": np.zeros(2, np.int64), "prices": np.zeros(2), "other": np.zeros(2)}, "Pair takes"),
        ({"numbers": np.zeros(2, np.int32), "prices": np.zeros(2)}, r"Pair\.numbers: wants int64 of shape \(n,\), got int32 \(2,\)"),
        ({"numbers": np.zeros((2, 1), np.int64), "prices": np.zeros(2)}, r"Pair\.numbers: wants int64 of shape \(n,\), got int64 \(2, 1\)"),
        ({"numbers": np.zeros(2, np.int64), "prices": np.zeros(4)[::2]}, r"Pair\.prices: wants float64"),
    ],
)
def test_a_block_takes_its_arrays_and_no_others(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Pair(**arrays)


def test_a_block_that_is_written_to_wants_writeable_arrays() -> None:
    frozen = np.zeros(2, np.int64)
    frozen.flags.writeable = False
    with pytest.raises(TypeError, match=r"Notes\.numbers"):
        Notes(numbers=frozen)
    notes = Notes(numbers=np.arange(2))
    other = notes.replace(numbers=np.arange(5))
    assert (len(notes.numbers), len(other.numbers)) == (2, 5)
    assert issubclass(Proposals, Block) and not Proposals.writeable


def test_compiled_code_reads_the_arrays_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba
    from numba.core import config

    monkeypatch.setattr(config, "DISABLE_JIT", 0)

    @numba.njit
    def dot(pair: Any, notes: Any) -> float:
        prefetch(pair.prices, 99)
        notes.numbers[0] = len(pair.numbers)
        return float((pair.numbers * pair.prices).sum())

    notes = Notes(numbers=np.zeros(1, np.int64))
    assert dot(Pair(numbers=np.array([2, 3]), prices=np.array([0.5, 10.0])), notes) == 31.0
    assert notes.numbers[0] == 2
    prefetch(notes.numbers, 0)

    @numba.njit
    def unknown(pair: Any) -> Any:
        return pair.other

    with pytest.raises(numba.TypingError, match="Unknown attribute 'other' of type Pair"):
        unknown(Pair(numbers=np.array([2]), prices=np.array([0.5])))


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf"])
def test_a_tick_is_a_positive_decimal(text: str) -> None:  # R6.3
    with pytest.raises(ValueError, match=f"'{text}' is not a positive decimal"):
        Decimals.parse(text)


@pytest.mark.parametrize("code", [-1, -2, 7])
def test_a_code_that_names_nothing_is_refused(code: int) -> None:
    case = random_case(3)
    names = sorted(instrument.symbol for instrument in case.settings.instruments)
    table = {"ts": [case.settings.start_us], "symbol": [code], "strategy": [case.settings.strategies[0].id], "action": [0]}
    with pytest.raises(ProposalError, match="names none of the"):
        Session(case.dataset, table, case.settings, symbols=names[:2])


def of_times(**times: list[int]) -> Dataset:
    """Minute bars that close at the given minutes, or seconds after them."""
    bars = {}
    for symbol, closes in times.items():
        ts = np.array(closes) * 60_000_000
        prices = dict.fromkeys(("open", "high", "low", "close"), np.full(len(ts), 100.0))
        bars[symbol, "1m", 60_000_000] = {"open_ts": ts - 60_000_000, "ts": ts, "volume": np.ones(len(ts))} | prices
    return from_columns({"bars": bars})


def test_bars_with_the_same_times_have_one_clock() -> None:
    data = of_times(A=[1, 2, 3], B=[1, 2, 3], C=[1, 3, 4], D=[1, 2, 3, 4], E=[1, 3, 4], F=[0, 2, 3])
    clocks = {series.symbol: data.clock(series) for series in data.series["bars"]}
    assert clocks["A"] == clocks["B"] and clocks["C"] == clocks["E"]
    assert len(set(clocks.values())) == 4


@given(st.dictionaries(st.sampled_from("ABCDE"), st.sets(st.integers(1, 6), min_size=1), min_size=1), st.integers(0, 5), st.integers(1, 6))
def test_symbols_share_a_clock_where_the_run_sees_the_same_times(times: dict[str, set[int]], start: int, end: int) -> None:  # R5.3
    data = of_times(**{symbol: sorted(minutes) for symbol, minutes in times.items()})
    chosen = settings(1, symbols="".join(sorted(times)))
    tape = build_tape(data, replace(chosen, start_us=start * 60_000_000, end_us=max(start, end) * 60_000_000))
    seen = set()
    for symbol in range(len(tape.first)):
        first, stop = int(tape.first[symbol]), int(tape.stop[symbol])
        shared = int(tape.shared_clock[symbol])
        assert tape.ts[first + shared : stop + shared].tolist() == tape.ts[first:stop].tolist()
        seen |= set(tape.ts[first:stop].tolist())
    assert tape.grid.tolist() == sorted(seen)
