"""The total order of events: any split of a stream into iterators merges to the same sequence."""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.dataset import Dataset, DatasetError, from_columns
from engine.mux import (
    BarOpen,
    BarPath,
    CandleClose,
    CorporateAction,
    DatasetReader,
    Event,
    EventMux,
    FundingUpdate,
    SpreadSnapshot,
    TradeProposed,
    UniverseUpdated,
)
from engine.schema import EventKind

HOUR = 3_600_000_000
NAN = float("nan")


def event(ts: int, kind: type[Event], symbol: str, interval_us: int, series: str, sequence: int) -> Event:
    payload: dict[type[Event], tuple[Any, ...]] = {
        BarOpen: (1.0,),
        BarPath: (ts - 1, 1.0, 1.0, 1.0, 1.0),
        CandleClose: (ts - 1, 1.0, 1.0, NAN),
        FundingUpdate: (0.0001, NAN),
        SpreadSnapshot: (1.0, 2.0),
        UniverseUpdated: (True,),
        TradeProposed: (None,),
        CorporateAction: (0, 0.0, 2, 1),
    }
    return kind(ts, symbol, interval_us, series, sequence, *payload[kind])


KINDS = [BarOpen, BarPath, CandleClose, FundingUpdate, SpreadSnapshot, UniverseUpdated, TradeProposed, CorporateAction]
events = st.builds(
    event,
    st.integers(0, 3),
    st.sampled_from(KINDS),
    st.sampled_from(["A", "B", "a", "ÄB"]),
    st.sampled_from([0, 60, 3600]),
    st.sampled_from(["", "1h", "x"]),
    st.integers(0, 3),
)
streams = st.lists(events, max_size=30, unique_by=lambda e: e.identity)


@given(streams, st.integers(1, 6), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_any_split_in_any_order_merges_to_the_sorted_stream(stream: list[Event], parts: int, rng: random.Random) -> None:  # R1.1, R1.6
    ordered = sorted(stream, key=lambda e: e.key)
    iterators: list[list[Event]] = [[] for _ in range(parts)]
    for one in ordered:
        rng.choice(iterators).append(one)
    rng.shuffle(iterators)
    assert [e.key for e in EventMux(*iterators)] == [e.key for e in ordered]


@given(streams, st.integers(0, 1_000))
@settings(max_examples=60, deadline=None)
def test_two_equal_keys_are_rejected_wherever_they_come_from(stream: list[Event], pick: int) -> None:  # R1.5
    ordered = sorted(stream, key=lambda e: e.key)
    if not ordered:
        return
    twin = ordered[pick % len(ordered)]
    with pytest.raises(DatasetError, match="two events"):
        list(EventMux(ordered, [twin]))
    with pytest.raises(DatasetError, match="two events"):
        list(EventMux(sorted([*ordered, twin], key=lambda e: e.key)))


@pytest.mark.parametrize("kind", [BarOpen, BarPath, CandleClose, FundingUpdate, UniverseUpdated, CorporateAction])
def test_another_sequence_does_not_excuse_an_equal_key(kind: type[Event]) -> None:  # R1.5
    with pytest.raises(DatasetError, match="two events"):
        list(EventMux([event(1, kind, "A", 0, "", 0), event(1, kind, "A", 0, "", 1)]))


@pytest.mark.parametrize("kind", [SpreadSnapshot, TradeProposed])
def test_spreads_and_proposals_of_one_instant_are_ordered_by_sequence(kind: type[Event]) -> None:  # R1.5
    merged = list(EventMux([event(1, kind, "A", 0, "", 1)], [event(1, kind, "A", 0, "", 0), event(1, kind, "A", 0, "", 2)]))
    assert [e.sequence for e in merged] == [0, 1, 2]


def test_a_split_and_a_dividend_may_share_an_instant_but_two_splits_may_not() -> None:
    split = CorporateAction(1, "A", 0, "", 0, 0, 0.0, 2, 1)
    dividend = CorporateAction(1, "A", 0, "", 1, 1, 0.5, 0, 0)
    assert list(EventMux([split, dividend])) == [split, dividend]
    with pytest.raises(DatasetError, match="two events CORPORATE_ACTION of A"):
        list(EventMux([split, dividend, replace(split, sequence=2)]))


@given(streams)
@settings(max_examples=60, deadline=None)
def test_an_iterator_that_runs_backwards_is_rejected(stream: list[Event]) -> None:
    backwards = sorted(stream, key=lambda e: e.key, reverse=True)
    if len(backwards) > 1:
        with pytest.raises(DatasetError, match="runs backwards"):
            list(EventMux(backwards))


def test_all_priorities_of_one_instant_come_in_the_fixed_order() -> None:  # R1.2
    merged = [e.kind for e in EventMux(*([event(1, kind, "A", 0, "", 0)] for kind in KINDS))]
    assert merged == [
        EventKind.BAR_PATH,
        EventKind.FUNDING_UPDATE,
        EventKind.CANDLE_CLOSE,
        EventKind.SPREAD_SNAPSHOT,
        EventKind.UNIVERSE_UPDATED,
        EventKind.TRADE_PROPOSED,
        EventKind.CORPORATE_ACTION,
        EventKind.BAR_OPEN,
    ]


def test_series_are_ordered_by_length_then_name_and_symbols_by_code_point() -> None:  # R1.1
    stream = [event(1, BarPath, s, i, n, 0) for s, i, n in (("B", 60, "1m"), ("a", 60, "1m"), ("B", 3600, "1h"), ("B", 60, "1m-b"))]
    merged = [(e.symbol, e.interval_us, e.series) for e in EventMux(*([e] for e in stream))]
    assert merged == [("B", 60, "1m"), ("B", 60, "1m-b"), ("B", 3600, "1h"), ("a", 60, "1m")]


def test_the_mux_reads_no_further_than_it_must() -> None:
    def endless() -> Iterator[Event]:
        sequence = 0
        while True:
            yield event(sequence, SpreadSnapshot, "A", 0, "", sequence)
            sequence += 1

    merged = iter(EventMux(endless(), [event(2, BarOpen, "A", 0, "", 0)]))
    assert [next(merged).ts for _ in range(4)] == [0, 1, 2, 2]


@pytest.fixture
def market() -> Dataset:
    def bars(first: int, n: int, interval: int) -> dict[str, Any]:
        ts = first + interval * np.arange(1, n + 1)
        prices = {name: np.arange(1.0, n + 1) for name in ("open", "high", "low", "close")}
        return {"open_ts": ts - interval, "ts": ts, **prices, "volume": np.zeros(n)}

    marks = {name: column[1:] * 1 for name, column in bars(0, 3, HOUR).items() if name != "volume"}
    return from_columns(
        {
            "bars": {
                ("B", "1h", HOUR): bars(0, 3, HOUR),
                ("A", "30m", HOUR // 2): bars(HOUR, 2, HOUR // 2),
                ("A", "1h", HOUR): bars(0, 2, HOUR),
            },
            "marks": {("B", "1h", HOUR): marks | {"close": np.array([20.0, 30.0])}},
            "funding": {("B", "", 0): {"ts": [HOUR], "rate": [0.01], "mark": [5.0]}},
            "spread": {("A", "", 0): {"ts": [HOUR, HOUR], "bid": [1.0, 2.0], "ask": [3.0, 4.0]}},
            "universe": {("A", "", 0): {"ts": [HOUR], "listed": [0]}},
            "actions": {("B", "", 0): {"ts": [HOUR], "kind": [2], "value": [0.0], "num": [0], "den": [0]}},
        }
    )


def test_a_market_comes_out_in_order_with_every_row(market: Dataset) -> None:
    merged = list(EventMux(*DatasetReader(market).events()))
    assert [e.key for e in merged] == sorted(e.key for e in merged)
    assert len(merged) == 3 * (3 + 2 + 2) + 1 + 2 + 1 + 1
    at_one = [(e.kind.name, e.symbol, e.series) for e in merged if e.ts == HOUR]
    assert at_one == [
        ("BAR_PATH", "A", "1h"),
        ("BAR_PATH", "B", "1h"),
        ("FUNDING_UPDATE", "B", ""),
        ("CANDLE_CLOSE", "A", "1h"),
        ("CANDLE_CLOSE", "B", "1h"),
        ("SPREAD_SNAPSHOT", "A", ""),
        ("SPREAD_SNAPSHOT", "A", ""),
        ("UNIVERSE_UPDATED", "A", ""),
        ("CORPORATE_ACTION", "B", ""),
        ("BAR_OPEN", "A", "30m"),
        ("BAR_OPEN", "A", "1h"),
        ("BAR_OPEN", "B", "1h"),
    ]


def test_events_carry_the_values_of_their_rows(market: Dataset) -> None:
    merged = list(EventMux(*DatasetReader(market).events(["B"])))
    assert {e.symbol for e in merged} == {"B"}
    assert merged[0] == BarOpen(0, "B", HOUR, "1h", 0, 1.0)
    assert BarPath(HOUR, "B", HOUR, "1h", 0, 0, 1.0, 1.0, 1.0, 1.0) in merged
    assert FundingUpdate(HOUR, "B", 0, "", 0, 0.01, 5.0) in merged
    assert CorporateAction(HOUR, "B", 0, "", 0, 2, 0.0, 0, 0) in merged


def test_a_close_carries_the_mark_of_the_same_bar_only(market: Dataset) -> None:  # R6.5
    closes = [e for e in EventMux(*DatasetReader(market).events(["B"])) if isinstance(e, CandleClose)]
    assert np.isnan(closes[0].mark) and [e.mark for e in closes[1:]] == [20.0, 30.0]


def test_the_order_of_the_data_does_not_change_the_stream(market: Dataset) -> None:  # R1.6
    iterators = DatasetReader(market).events()
    backwards = DatasetReader(market).events()[::-1]
    assert repr(list(EventMux(*iterators))) == repr(list(EventMux(*backwards)))


def test_columns_of_a_series_are_views(market: Dataset) -> None:
    columns = DatasetReader(market).columns("bars", "A")
    assert columns["ts"].tolist() == [HOUR * 3 // 2, 2 * HOUR]  # R1.8: the finest
    assert np.shares_memory(columns["close"], market.columns["bars"]["close"])
    assert len(DatasetReader(market).columns("bars", "A", "1h")["ts"]) == 2
    with pytest.raises(DatasetError, match=r"no funding of 'A' in the dataset"):
        DatasetReader(market).columns("funding", "A")
    with pytest.raises(DatasetError, match=r"no bars of 'A' with interval 5m"):
        DatasetReader(market).columns("bars", "A", "5m")
