"""Sizing and the gate: how many lots a selected entry may order, or why none.  # R5"""

import math
from collections.abc import Callable, Iterator

from engine.schema import LevelKind, Reason, RecordKind, SizeKind
from engine.settings import StrategySettings
from tests.oracle.account import Account, Entry
from tests.oracle.contract import Contract, nearest_step
from tests.oracle.fills import most_lots
from tests.oracle.orders import reference_of
from tests.oracle.proposals import Proposal
from tests.oracle.selection import Selected

Limit = tuple[Reason, Callable[[int], bool]]


class Refused(Exception):
    """The gate refuses an entry; its argument is the reason."""


class Gate:
    """The gate of one instant: one equity for all, free cash that falls with each approval."""

    def __init__(self, account: Account, equity: int, free: int) -> None:
        self.account = account
        self.settings = account.settings
        self.equity = equity
        self.free = free
        self.buffer = round(equity * account.settings.cash_buffer)
        self.exposures = [
            position.contract.value(position.lots, account.markets[key[0]].mark) for key, position in account.positions.items()
        ]
        self.exposures += [entry.value for entry in account.entries]

    def judge(self, selected: Selected) -> Entry | None:
        """Approve or reject one entry, and write which."""
        proposal = selected.proposal
        last_close = self.account.markets[proposal.symbol].last_close
        reference = reference_of(proposal, self.account.markets[proposal.symbol], self.account.now)
        fields = {"side": proposal.side, "price": reference, "proposal": proposal.row, "cause": selected.seq}
        try:
            lots = self.lots(proposal)
        except Refused as refused:
            reason = refused.args[0]
            self.account.write(RecordKind.REJECTED, proposal.key, value=proposal.value, reason=reason, rank=selected.rank, **fields)
            return None
        contract = self.account.markets[proposal.symbol].contract
        reservation = self.reservation(proposal)(lots)
        seq = self.account.write(RecordKind.APPROVED, proposal.key, qty=lots, amount=reservation, **fields)
        value = contract.value(proposal.side * lots, reference)
        entry = Entry(proposal, contract, proposal.side * lots, reference, value, reservation, selected.rank, seq, last_close)
        self.account.entries.append(entry)
        self.free -= reservation
        self.exposures.append(value)
        return entry

    def lots(self, proposal: Proposal) -> int:
        """The lots to order, or Refused with the first reason against."""
        market = self.account.markets[proposal.symbol]
        contract, reference = market.contract, reference_of(proposal, market, self.account.now)
        if contract.spot and proposal.side < 0 and not contract.instrument.shortable:
            raise Refused(Reason.SHORT_NOT_ALLOWED)
        lots = self.wanted(proposal, contract, reference)
        for reason, fits in self.limits(proposal, contract, reference):
            allowed = most_lots(lots, fits, contract.step(self.account.now))
            if allowed == 0 or (allowed < lots and not self.settings.clip):
                raise Refused(reason)
            lots = allowed
        quantity, rules = contract.quantity(lots), contract.rules_at(self.account.now)
        if quantity < rules.min_qty:
            raise Refused(Reason.BELOW_MIN_QTY)
        if contract.value(lots, reference) < round(rules.min_notional * self.settings.scale):
            raise Refused(Reason.BELOW_MIN_NOTIONAL)
        return lots

    def wanted(self, proposal: Proposal, contract: Contract, reference: float) -> int:
        """The lots that the strategy's size model asks for.  # R5.1"""
        strategy = next(one for one in self.settings.strategies if one.id == proposal.strategy)
        if strategy.size == SizeKind.ALL_IN:
            lots = self.all_in(proposal, strategy)
            if lots == 0:
                raise Refused(Reason.NO_SIZE)
            return lots
        quantity = self.quantity(proposal, strategy, contract, reference)
        if not quantity > 0:
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
            return strategy.amount / (reference * contract.multiplier)
        if strategy.size == SizeKind.FIXED_FRACTION:
            return capital * strategy.amount / (reference * contract.multiplier)
        stop = self.account.markets[proposal.symbol].restated(proposal).stop_loss
        if proposal.stop_loss_kind == LevelKind.FRACTION:
            stop = reference * (1 - proposal.side * stop)
        distance, tick = proposal.side * (reference - stop), contract.rules_at(self.account.now).tick
        if not math.isfinite(stop) or stop <= 0 or nearest_step(distance, tick.units / tick.power, up=False) < 1:
            raise Refused(Reason.BAD_STOP)
        return capital * strategy.amount / (abs(reference - stop) * contract.multiplier)

    def all_in(self, proposal: Proposal, strategy: StrategySettings) -> int:
        """The most lots whose reservation fits the strategy's budget and the cash that is left."""
        reservation = self.reservation(proposal)
        most = min(self.free - self.buffer, round(self.equity * strategy.budget))
        step = self.account.markets[proposal.symbol].contract.step(self.account.now)
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

    def limits(self, proposal: Proposal, contract: Contract, reference: float) -> Iterator[Limit]:
        """The limits in the order in which they are tested.  # R5.2"""
        reservation, settings, side = self.reservation(proposal), self.settings, proposal.side
        gross, net = sum(map(abs, self.exposures)), sum(self.exposures)

        def value(lots: int) -> int:
            return contract.value(lots, reference)

        if settings.cash_buffer > 0:
            yield Reason.CASH_BUFFER, lambda lots: reservation(lots) <= self.free - self.buffer
        if math.isfinite(settings.max_position):
            yield Reason.MAX_POSITION, lambda lots: value(lots) <= round(self.equity * settings.max_position)
        if math.isfinite(settings.max_gross):
            yield Reason.MAX_GROSS, lambda lots: gross + value(lots) <= round(self.equity * settings.max_gross)
        if math.isfinite(settings.max_net):
            yield Reason.MAX_NET, lambda lots: side * net + value(lots) <= round(self.equity * settings.max_net)
        short_of = Reason.INSUFFICIENT_CASH if contract.spot and side > 0 else Reason.INSUFFICIENT_MARGIN
        yield short_of, lambda lots: reservation(lots) <= self.free


def approve(account: Account, selected: list[Selected], equity: int, free: int) -> list[Entry]:
    """Take the selected through the gate in rank order."""
    gate = Gate(account, equity, free)
    judged = [gate.judge(one) for one in selected]
    return [entry for entry in judged if entry is not None]
