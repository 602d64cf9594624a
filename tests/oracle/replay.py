"""The loop: all events of all symbols, instant by instant, in the total order.

1. ``bar_path``, ``funding``, ``candle_close``, snapshots, ``settlement`` and ``universe`` take the events of an instant one by one;
   ``charge`` comes after funding.
2. ``decisions`` are TRADE_PROPOSED to EXECUTION: ruin, sample and halts, exits, valuation, selector, gate, orders.
3. ``corporate_action`` and ``bar_open`` follow; after the last sample ``finish`` ends the run.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from engine.dataset import Dataset
from engine.schema import OUTSIDE, EventKind, Reason, RecordKind
from engine.settings import Settings
from tests.oracle.account import Account, Position
from tests.oracle.actions import corporate_action
from tests.oracle.brackets import opened_inside, passed_by_open, stopped_by_close, touched, trail
from tests.oracle.decisions import Decisions
from tests.oracle.events import Bar, Event, read_tape
from tests.oracle.fills import bracket_exit, close_at_market, fill_exit, quote_open
from tests.oracle.interest import charge, midnights
from tests.oracle.margin import exit_inside, liquidate, liquidation_price, passed_by_mark
from tests.oracle.orders import acts_in, expire
from tests.oracle.proposals import Proposal, read_proposals
from tests.oracle.resting import leave_inside, meet_open, meet_path
from tests.oracle.settlement import settlement, settlement_events


@dataclass(frozen=True)
class OracleResult:
    """What a replay leaves: the ledger and the equity at each sample of the grid."""

    records: list[dict[str, Any]]  # the fields of engine.schema.RECORD
    sample_ts: list[int]
    equity: list[int]
    outcomes: list[int]  # by row of the sorted proposals: the reason of one that is only counted, else 0
    final_equity: int


def replay(dataset: Dataset, proposals: Mapping[str, Sequence[Any]], settings: Settings) -> OracleResult:
    """Replay the proposals on the instruments of ``settings``.

    Raises
    ------
    ValueError
        A proposal is not of the run's symbols and strategies, or a symbol has no bars.
    OverflowError
        Money reaches 2**53.
    """
    return Replay(dataset, read_proposals(proposals, settings), settings).run()


class Replay:
    """One run under way."""

    def __init__(self, dataset: Dataset, proposals: list[Proposal], settings: Settings) -> None:
        self.settings = settings
        self.tape = read_tape(dataset, settings)
        self.account = Account(settings, self.tape.markets)
        proposals = [one for one in proposals if self.tape.sample_ts and one.available_ts <= self.tape.end]
        self.decisions = Decisions(self.account, settings, self.tape.sample_ts, len(proposals))
        self.events = self.tape.events + [self._proposed(one) for one in proposals]
        for instrument in settings.instruments:
            self.events += settlement_events(instrument, settings.start_us, self.tape.end)
        self.events.sort(key=lambda event: event[:6])

    def _proposed(self, one: Proposal) -> Event:
        return Event(one.available_ts, EventKind.TRADE_PROPOSED, one.symbol, 0, one.strategy, one.sequence, one)

    def run(self) -> OracleResult:
        """Replay every instant, then end the run."""
        self.account.write(RecordKind.DEPOSIT, amount=self.settings.cash)
        instants: dict[int, list[Event]] = {ts: [] for ts in midnights(self.settings.start_us, self.tape.end)}
        instants |= {ts: list(events) for ts, events in groupby(self.events, key=lambda event: event.ts)}
        for ts in sorted(instants):
            self.account.now = ts
            self.learn_rates()
            self.instant(instants[ts])
            if self.decisions.ruined:
                break
        else:
            self.finish()
        final = self.account.equity()
        path = [self.decisions.equity.get(ts, final) for ts in self.tape.sample_ts]
        return OracleResult(self.account.records, self.tape.sample_ts, path, self.decisions.outcomes, final)

    def learn_rates(self) -> None:
        """The last close of each series of rates, as of now."""
        for symbol, closes in self.tape.rates.items():
            known = [rate for ts, rate in closes if ts <= self.account.now]
            self.tape.markets[symbol].contract.rate = known[-1] if known else None

    def instant(self, events: list[Event]) -> None:
        """All that happens at one timestamp.  # R1.2"""
        before = {
            EventKind.BAR_PATH: self.bar_path,
            EventKind.FUNDING_UPDATE: self.funding,
            EventKind.CANDLE_CLOSE: self.candle_close,
            EventKind.SPREAD_SNAPSHOT: self.spread_snapshot,
            EventKind.SETTLEMENT: lambda event: settlement(self.account, event),
            EventKind.UNIVERSE_UPDATED: self.universe,
        }
        first = [event for event in events if event.kind <= EventKind.FUNDING_UPDATE]
        for event in first:
            self.account.phase = event.kind
            before[event.kind](event)
        self.account.phase = EventKind.FUNDING_UPDATE
        charge(self.account)
        for event in events[len(first) :]:
            self.account.phase = event.kind
            if event.kind in before:
                before[event.kind](event)
        self.account.phase = EventKind.TRADE_PROPOSED
        closed = {event.symbol for event in events if event.kind == EventKind.CANDLE_CLOSE and event.payload.of_run}
        self.decisions.decide([event.payload for event in events if event.kind == EventKind.TRADE_PROPOSED], closed)
        if self.decisions.ruined:
            return
        self.account.phase = EventKind.CORPORATE_ACTION
        for event in events:
            if event.kind == EventKind.CORPORATE_ACTION:
                corporate_action(self.account, event.symbol, event.payload)
        self.account.phase = EventKind.BAR_OPEN
        self.bar_open([event for event in events if event.kind == EventKind.BAR_OPEN])

    def bar_path(self, event: Event) -> None:
        """Touches inside the bar that ends now; then its close is the last price.  # R3"""
        market, bar = self.account.markets[event.symbol], event.payload
        market.promised = sum(abs(one.lots) for one in self.account.in_order(event.symbol) if touched(one, bar, self.settings))
        for entry in [one for one in self.account.entries if one.proposal.symbol == event.symbol]:
            if acts_in(entry, bar) and not entry.at_close:
                meet_path(self.account, entry, market, bar)
        market.promised = 0
        for position in self.account.in_order(event.symbol):
            if position.lots == 0:  # liquidated together with another
                continue
            if opened_inside(position, bar):
                leave_inside(self.account, position, market, bar)
                continue
            found = exit_inside(self.account, position, bar)
            if found is not None and found.reason == Reason.LIQUIDATED:
                liquidate(self.account, position, bar, found.price, ambiguous=found.ambiguous)
            elif found is not None:
                bracket_exit(self.account, position, market, bar, found, at_open=True)
        market.bar_before, market.bar = market.bar, bar

    def funding(self, event: Event) -> None:
        """Each position pays its notional at the mark times the rate.  # R7.1"""
        rate, mark = event.payload
        if not (math.isfinite(mark) and mark > 0):
            mark = self.account.markets[event.symbol].last_close
        for position in self.account.in_order(event.symbol):
            if not math.isfinite(mark):
                raise ValueError(f"{event.symbol}: funding at {event.ts} has no mark and there is no close before it")
            self.account.tell_rate(position.key)
            amount = -round(position.contract.notional(position.lots, mark) * rate)
            self.account.pay(event.symbol, amount)
            qty = abs(position.lots)
            self.account.write(RecordKind.FUNDING, position.key, qty=qty, price=mark, value=rate, amount=amount, cause=position.seq)

    def candle_close(self, event: Event) -> None:
        """Marks, stops that look at closes, levels that move, ages.  # R2.1 R3.5 R3.6"""
        bar = event.payload
        self.account.markets[event.symbol].mark = bar.mark
        self.account.markets[event.symbol].closes.append(bar.ts)
        for position in self.account.in_order(event.symbol):
            position.revalue()
            stop = stopped_by_close(position, bar, self.settings)
            if stop is not None and not position.leaves:
                self.decisions.order_exit(position, stop.reason, position.seq)
            trail(self.account, position, bar)
            position.bars += 1
            if 0 < position.max_bars <= position.bars and not position.leaves:
                self.decisions.order_exit(position, Reason.MAX_BARS, position.seq)
        for entry in [one for one in self.account.entries if one.proposal.symbol == event.symbol and bar.of_run]:
            expire(self.account, entry, bar, event.interval_us)

    def spread_snapshot(self, event: Event) -> None:
        """The last bid and ask."""
        self.account.markets[event.symbol].snapshot = event.payload

    def universe(self, event: Event) -> None:
        """A symbol enters or leaves the tradable set.  # R8.3"""
        market, listed = self.account.markets[event.symbol], event.payload
        leaves, market.listed = market.listed and not listed, listed
        if not leaves:
            return
        self.account.cancel_entries(Reason.NOT_IN_UNIVERSE, symbol=event.symbol)
        for position in self.account.in_order(event.symbol):
            if self.settings.close_on_leave and not position.leaves:
                now = self.account.now
                self.account.order_exit(position, Reason.LEFT_UNIVERSE, acts_from=now, at_open=True, cause=position.seq)

    def bar_open(self, events: list[Event]) -> None:
        """Bars that start now: first what reduces, then what opens.  # R1.4"""
        bars = {event.symbol: event.payload for event in events}
        for symbol in bars:
            self.account.markets[symbol].snapshot_at_open = self.account.markets[symbol].snapshot
            self.account.markets[symbol].opened_ts = self.account.now
        for position in self.account.in_order():
            if position.key[0] in bars and position.lots != 0:
                self.exit_at_open(position, bars[position.key[0]])
        for entry in list(self.account.entries):
            bar = bars.get(entry.proposal.symbol)
            if bar is not None and acts_in(entry, bar) and not entry.at_close and entry in self.account.entries:
                meet_open(self.account, entry, self.account.markets[entry.proposal.symbol], bar)

    def exit_at_open(self, position: Position, bar: Bar) -> None:
        """A level that the open has passed, else the pending exit."""
        market, order = self.account.markets[position.key[0]], position.exit
        if passed_by_mark(position, bar, liquidation_price(self.account, position)):
            liquidate(self.account, position, bar, bar.side(-position.side).open)
            return
        found = passed_by_open(position, bar, self.settings)
        if found is not None:
            bracket_exit(self.account, position, market, bar, found, at_open=False)
        elif order is not None and order.at_open and bar.open_ts >= order.acts_from:
            fill_exit(self.account, position, market, bar, quote_open(market, bar, -position.side))

    def finish(self) -> None:
        """The end of the run, at the last sample.  # R8.6"""
        account = self.account
        account.now, account.phase = self.tape.end, OUTSIDE
        account.cancel_entries(Reason.RUN_ENDED)
        for position in account.in_order():
            if position.exit is not None:
                account.cancel_exit(position, Reason.RUN_ENDED, position.exit.seq)
        for position in account.in_order():
            ended = account.markets[position.key[0]].last_close_ts < self.tape.end
            if ended or self.settings.finalize_close:
                close_at_market(account, position, Reason.DATA_ENDED if ended else Reason.RUN_ENDED)
        account.write(RecordKind.RUN_END, amount=account.equity(), reason=Reason.RUN_ENDED)
