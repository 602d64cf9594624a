"""The plain replay takes its events in the order of ``EventMux``, the reference, with the same prices."""

from collections.abc import Iterator

import pytest

from engine.mux import BarOpen, BarPath, CandleClose, DatasetReader, Event, EventMux, TradeProposed
from engine.schema import EventKind
from tests.markets import Case, random_case
from tests.oracle.events import Bar
from tests.oracle.proposals import Proposal, read_proposals
from tests.oracle.replay import Replay


def proposed(proposals: list[Proposal]) -> Iterator[Event]:
    """Proposals as an iterator of events, as a reader of proposals would give them."""
    events = [TradeProposed(one.available_ts, one.symbol, 0, one.strategy, one.sequence, one) for one in proposals]
    return iter(sorted(events, key=lambda event: event.key))


def mixed(case: Case) -> list[Event]:
    """The whole stream of a case, market and proposals, by the mux."""
    symbols = [instrument.symbol for instrument in case.settings.instruments]
    return list(EventMux(proposed(read_proposals(case.proposals, case.settings)), *DatasetReader(case.dataset).events(symbols)))


@pytest.mark.parametrize("first", range(0, 200, 25))
def test_the_plain_replay_takes_events_in_the_order_of_the_mux(first: int) -> None:  # R1.1, R1.2
    for seed in range(first, first + 25):
        case = random_case(seed)
        plain = Replay(case.dataset, read_proposals(case.proposals, case.settings), case.settings).events
        plain = [event for event in plain if event.kind != EventKind.SETTLEMENT]  # follows from the contract; no series has it
        taken = {event[:6] for event in plain}
        # a replay leaves out what cannot concern it: other series, what lies after the last sample, dividends
        stream = [event for event in mixed(case) if tuple(event.key) in taken]
        assert [tuple(event.key) for event in stream] == [event[:6] for event in plain], f"seed {seed}"
        for event, own in zip(stream, plain, strict=True):
            if isinstance(own.payload, Bar):
                agree(event, own.payload)


def agree(event: Event, bar: Bar) -> None:
    """An event of the mux says what the plain replay's bar says."""
    if isinstance(event, BarOpen):
        sides = (event.open if side is None else side for side in (event.bid, event.ask))
        assert tuple(sides) == (bar.bid.open, bar.ask.open)
    elif isinstance(event, BarPath):
        trade = (event.open, event.high, event.low, event.close)
        assert (tuple(event.bid or trade), tuple(event.ask or trade)) == (bar.bid, bar.ask)
        assert (event.bid is not None) == bar.quoted
    else:
        assert isinstance(event, CandleClose)
        assert event.close == bar.close
        assert event.mark == bar.mark or (event.mark != event.mark and bar.mark == bar.close)


def test_random_markets_hold_quotes_marks_and_every_kind_of_event() -> None:
    kinds, quoted, marked = set(), 0, 0
    for seed in range(40):
        for event in mixed(random_case(seed)):
            kinds.add(type(event).__name__)
            quoted += isinstance(event, BarOpen) and event.bid is not None
            marked += isinstance(event, CandleClose) and event.mark == event.mark
    assert len(kinds) == 8
    assert quoted > 100 and marked > 100
