"""Sizing and the gate: how many lots a selected entry may order, or why none.  # R5"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from engine.driver import ReplayError, no_rate
from engine.models import ModelKind
from engine.schema import LevelKind, Reason, RecordKind, SizeKind
from engine.settings import StrategySettings
from tests.oracle.account import Account, Entry, Position
from tests.oracle.choosers import own_quantity
from tests.oracle.contract import Contract, nearest_step
from tests.oracle.fills import most_lots
from tests.oracle.orders import reference_of
from tests.oracle.proposals import Proposal
from tests.oracle.selection import Selected
from tests.oracle.targets import aimed_quantity

Limit = tuple[Reason, Callable[[int], bool]]


class Refused(Exception):
    """The gate refuses an entry; its argument is the reason."""


class Book(NamedTuple):
    """Notional of a position at its mark, or of a pending entry at its reference, signed by its side."""

    symbol: str
    strategy: str
    value: int


class Gate:
    """The gate of one instant: one equity for all, free cash that falls with each approval."""

    def __init__(self, account: Account, equity: int, free: int) -> None:
        self.account = account
        self.settings = account.settings
        self.equity = equity
        self.free = free
        self.buffer = round(equity * account.settings.cash_buffer)
        self.groups = {instrument.symbol: instrument.group for instrument in account.settings.instruments}
        reversing = {entry.proposal.key for entry in account.entries if self.reverses(entry.proposal)}
        self.books = [self.book(position) for key, position in account.positions.items() if key not in reversing]
        self.books += [Book(*entry.proposal.key, entry.value) for entry in account.entries]

    def book(self, position: Position) -> Book:
        """What a position is worth at its mark."""
        contract, mark = position.contract, self.account.markets[position.key[0]].mark
        return Book(*position.key, position.value(mark) if contract.spot else contract.notional(position.lots, mark))

    def reverses(self, proposal: Proposal) -> bool:
        """Whether an entry turns a held position round."""
        held = self.account.positions.get(proposal.key)
        return held is not None and held.side != proposal.side

    def leaving(self, selected: Selected) -> Position | None:
        """The position that makes room for an entry: the one it reverses, or rotates out."""
        if selected.victim is not None:
            return self.account.positions[selected.victim]
        return self.account.positions[selected.proposal.key] if self.reverses(selected.proposal) else None

    def freed(self, selected: Selected) -> int:
        """Cash that the end of that position would free, at the mark."""
        leaving = self.leaving(selected)
        if leaving is None:
            return 0
        return leaving.margin + self.account.freed_by_closing(leaving)

    def judge(self, unit: list[Selected]) -> list[Entry]:
        """Approve one entry, or all legs of one decision, or reject them, and write which."""
        free, books = self.free, list(self.books)
        entries: list[Entry] = []
        refused: Reason | None = None
        for selected in unit:
            try:
                entries.append(self.entry(selected, clip=self.settings.clip and len(unit) == 1))
            except Refused as refusal:
                refused = refusal.args[0]
                break
        if refused is None:
            for entry in entries:
                if entry.proposal.key in self.account.positions:
                    self.account.positions[entry.proposal.key].refused = None  # this decision stands in the target's place
                entry.cause = self.account.write(
                    RecordKind.APPROVED,
                    entry.proposal.key,
                    qty=abs(entry.lots),
                    amount=entry.reservation,
                    side=entry.proposal.side,
                    price=entry.reference,
                    proposal=entry.proposal.row,
                    cause=entry.cause,
                )
            return entries
        self.free, self.books = free, books
        for place, selected in enumerate(unit):
            self.reject(selected, refused if place == len(entries) else Reason.LEG_REFUSED)
        return []

    def reject(self, selected: Selected, reason: Reason) -> None:
        """REJECTED at the gate."""
        proposal = selected.proposal
        seq = self.account.write(
            RecordKind.REJECTED,
            proposal.key,
            side=proposal.side,
            price=reference_of(proposal, self.account.markets[proposal.symbol], self.account.now),
            proposal=proposal.row,
            cause=selected.seq,
            value=selected.key,
            reason=reason,
            rank=selected.rank,
        )
        self.account.note_refusal(proposal, reason, seq)

    def entry(self, selected: Selected, *, clip: bool) -> Entry:
        """An entry with its reservation and its exposure booked, or Refused."""
        proposal = selected.proposal
        market = self.account.markets[proposal.symbol]
        lots = self.lots(selected, clip=clip)
        reservation = max(0, self.reservation(proposal)(lots) - self.freed(selected))
        self.free -= reservation
        if self.reverses(proposal):
            self.books.remove(self.book(self.account.positions[proposal.key]))
        reference, signed = reference_of(proposal, market, self.account.now), proposal.side * lots
        value = market.contract.notional(signed, reference)
        self.books.append(Book(*proposal.key, value))
        last_close, victim = market.last_close, selected.victim
        return Entry(
            proposal,
            market.contract,
            signed,
            reference,
            value,
            reservation,
            selected.rank,
            selected.key,
            selected.seq,
            last_close,
            victim=victim,
        )

    def lots(self, selected: Selected, *, clip: bool) -> int:
        """The lots to order, or Refused with the first reason against."""
        proposal = selected.proposal
        market = self.account.markets[proposal.symbol]
        contract, reference = market.contract, reference_of(proposal, market, self.account.now)
        if contract.converts and contract.rate is None:
            raise ReplayError(no_rate(contract.instrument, self.settings.conversions, self.account.now))
        if contract.spot and proposal.side < 0 and not contract.instrument.shortable:
            raise Refused(Reason.SHORT_NOT_ALLOWED)
        lots = self.wanted(selected, contract, reference)
        for reason, fits in self.limits(selected, contract, reference):
            allowed = most_lots(lots, fits, contract.step(self.account.now))
            if allowed == 0 or (allowed < lots and not clip):
                raise Refused(reason)
            lots = allowed
        quantity, rules = contract.quantity(lots), contract.rules_at(self.account.now)
        if quantity < rules.min_qty:
            raise Refused(Reason.BELOW_MIN_QTY)
        if contract.notional(lots, reference) < round(rules.min_notional * self.settings.scale):
            raise Refused(Reason.BELOW_MIN_NOTIONAL)
        return lots

    def wanted(self, selected: Selected, contract: Contract, reference: float) -> int:
        """The lots that the size model asks for, the user's own before the strategy's.  # R5.1"""
        proposal = selected.proposal
        strategy = next(one for one in self.settings.strategies if one.id == proposal.strategy)
        own = self.settings.model(ModelKind.SIZE) is not None
        if strategy.size == SizeKind.ALL_IN and not own and not proposal.aimed:
            lots = self.all_in(selected, strategy)
            if lots == 0:
                raise Refused(Reason.NO_SIZE)
            return lots
        free = self.free + self.freed(selected)
        if proposal.aimed:
            held = self.account.positions.get(proposal.key)
            quantity = abs(aimed_quantity(self.account, proposal, self.equity, reference))
            quantity -= abs(contract.quantity(held.lots)) if held is not None and held.side == proposal.side else 0
        elif own:
            quantity = own_quantity(self.account, proposal, self.equity, free, reference, selected.rank)
        else:
            quantity = self.quantity(proposal, strategy, contract, reference)
        if not 0 < quantity < math.inf:
            raise Refused(Reason.NO_SIZE)
        lots = contract.whole_lots(quantity, self.account.now)
        if lots == 0:
            raise Refused(Reason.BELOW_MIN_QTY)
        return lots

    def quantity(self, proposal: Proposal, strategy: StrategySettings, contract: Contract, reference: float) -> float:
        """Units of quantity, before they are made whole lots."""
        capital = (self.equity / self.settings.scale) * strategy.budget
        if strategy.size == SizeKind.FIXED_QTY:
            return strategy.amount
        if strategy.size == SizeKind.FIXED_NOTIONAL:
            return strategy.amount / contract.unit_value(reference)
        if strategy.size == SizeKind.FIXED_FRACTION:
            return capital * strategy.amount / contract.unit_value(reference)
        if strategy.size in (SizeKind.VOL_TARGET, SizeKind.KELLY, SizeKind.TARGET_WEIGHT):
            return capital * self.share(proposal, strategy) / contract.unit_value(reference)
        stop = self.account.markets[proposal.symbol].restated(proposal).stop_loss
        if proposal.stop_loss_kind == LevelKind.FRACTION:
            stop = reference * (1 - proposal.side * stop)
        distance, tick = proposal.side * (reference - stop), contract.rules_at(self.account.now).tick
        if not math.isfinite(stop) or stop <= 0 or nearest_step(distance, tick.units / tick.power, up=False) < 1:
            raise Refused(Reason.BAD_STOP)
        return capital * strategy.amount / contract.unit_loss(reference, stop)

    def share(self, proposal: Proposal, strategy: StrategySettings) -> float:
        """Share of capital that a proposal's own columns ask for; NaN where they say nothing that can be used."""
        if strategy.size == SizeKind.TARGET_WEIGHT:
            return strategy.amount * proposal.weight
        if strategy.size == SizeKind.VOL_TARGET:
            return strategy.amount / proposal.volatility if 0 < proposal.volatility < math.inf else math.nan
        p, b = proposal.win_probability, proposal.payoff
        if not (0 <= p <= 1 and b > 0):
            return math.nan
        return min(strategy.amount * (p - (1 - p) / b), strategy.cap)

    def all_in(self, selected: Selected, strategy: StrategySettings) -> int:
        """The most lots whose reservation fits the strategy's budget and the cash that is left."""
        reservation = self.reservation(selected.proposal)
        free = self.free + self.freed(selected) - self.buffer
        most = min(round(free * strategy.amount), round(self.equity * strategy.budget))
        step = self.account.markets[selected.proposal.symbol].contract.step(self.account.now)
        bound = step
        while reservation(bound) <= most:
            bound *= 2
        return most_lots(bound, lambda lots: reservation(lots) <= most, step)

    def reservation(self, proposal: Proposal) -> Callable[[int], int]:
        """What so many lots of an entry would hold back."""
        market = self.account.markets[proposal.symbol]
        half_spread, bps = market.close_half_spread(), self.account.fee_bps(maker=False)
        reference = reference_of(proposal, market, self.account.now)
        return lambda lots: market.contract.reservation(proposal.side * lots, reference, bps, half_spread)

    def limits(self, selected: Selected, contract: Contract, reference: float) -> Iterator[Limit]:
        """The limits in the order in which they are tested.  # R5.2"""
        proposal, settings = selected.proposal, self.settings
        reservation, side, free = self.reservation(proposal), proposal.side, self.free + self.freed(selected)
        leaving = self.leaving(selected)
        books = list(self.books)
        if leaving is not None and self.book(leaving) in books:
            books.remove(self.book(leaving))
        held = self.account.positions.get(proposal.key)
        own = abs(self.book(held).value) if held is not None and held is not leaving else 0
        gross, net = sum(abs(book.value) for book in books), sum(book.value for book in books)
        group = self.groups[proposal.symbol]
        in_group = sum(abs(book.value) for book in books if group and self.groups[book.symbol] == group)
        in_strategy = sum(abs(book.value) for book in books if book.strategy == proposal.strategy)

        def within(base: int, fraction: float) -> Callable[[int], bool]:
            return lambda lots: base + contract.notional(lots, reference) <= round(self.equity * fraction)

        if settings.cash_buffer > 0:
            yield Reason.CASH_BUFFER, lambda lots: reservation(lots) <= free - self.buffer
        if math.isfinite(settings.max_position):
            yield Reason.MAX_POSITION, within(own, settings.max_position)
        if math.isfinite(settings.max_gross):
            yield Reason.MAX_GROSS, within(gross, settings.max_gross)
        if math.isfinite(settings.max_net):
            yield Reason.MAX_NET, within(side * net, settings.max_net)
        if math.isfinite(settings.max_group) and group:
            yield Reason.MAX_GROUP, within(in_group, settings.max_group)
        if math.isfinite(settings.max_strategy):
            yield Reason.MAX_STRATEGY, within(in_strategy, settings.max_strategy)
        short_of = Reason.INSUFFICIENT_CASH if contract.spot and side > 0 else Reason.INSUFFICIENT_MARGIN
        yield short_of, lambda lots: reservation(lots) <= free


def approve(account: Account, selected: list[Selected], equity: int, free: int) -> list[Entry]:
    """Take the selected through the gate in rank order, the legs of a decision with the first of them; the approved in rank order."""
    gate = Gate(account, equity, free)
    units: dict[tuple[str, int], list[Selected]] = {}
    for one in selected:
        units.setdefault(one.proposal.unit, []).append(one)
    approved = sorted((entry for unit in units.values() for entry in gate.judge(unit)), key=lambda entry: entry.rank)
    account.entries += approved
    return approved
