"""Decisions at one instant: TRADE_PROPOSED, RISK and EXECUTION.  # R1.2"""

from engine.schema import Action, EventKind, Reason, RecordKind, Timing
from engine.settings import Settings
from tests.oracle.account import Account, Entry, Position
from tests.oracle.fills import close_at_market, fill_entry, fill_exit, quote_close
from tests.oracle.gate import approve
from tests.oracle.halts import Halts
from tests.oracle.margin import heaviest, total_maintenance
from tests.oracle.orders import end_immediate, is_old, rest
from tests.oracle.proposals import Proposal
from tests.oracle.selection import select
from tests.oracle.targets import change_to, close_refused, order_exit


class Decisions:
    """Ruin, the sample and halts, exits, valuation, selector, gate and orders, in this order."""

    def __init__(self, account: Account, settings: Settings, sample_ts: list[int], proposals: int) -> None:
        self.account = account
        self.settings = settings
        self.halts = Halts(account)
        self.samples = set(sample_ts)
        self.equity: dict[int, int] = {}  # at each sample taken
        self.outcomes = [0] * proposals
        self.closed: set[str] = set()  # symbols of which a bar of the run closes now
        self.ruined = False

    def decide(self, proposals: list[Proposal], closed: set[str]) -> None:
        """All decisions of the present instant."""
        self.closed = closed
        sampled = self.account.now in self.samples
        if sampled or any(position.key[0] in self.closed for position in self.account.positions.values()):
            self.liquidate_at_close()
            if self.ruined:
                return
        if sampled:
            self.sample()
        aimed = self.exits([one for one in proposals if not one.is_entry])
        equity, free = self.account.equity(), self.account.free_cash()
        entries = sorted([*(one for one in proposals if one.is_entry), *aimed], key=lambda one: one.row)
        selected = select(self.account, entries, self.halts, self.outcomes)
        self.account.phase = EventKind.RISK
        approved = approve(self.account, selected, equity, free)
        self.account.phase = EventKind.EXECUTION
        self.execute(approved)

    def liquidate_at_close(self) -> None:
        """While equity is gone or does not cover maintenance, close what is held; if it stays gone, the run is over.  # R7.4"""
        account = self.account
        while account.positions and (account.equity() <= 0 or account.equity() < total_maintenance(account)):
            close_at_market(account, heaviest(account), Reason.LIQUIDATED_AT_CLOSE)
        if account.equity() > 0:
            return
        account.cancel_entries(Reason.BANKRUPT)
        self.ruined = True
        account.write(RecordKind.RUN_END, amount=account.equity(), reason=Reason.BANKRUPT)

    def sample(self) -> None:
        """Take the equity sample of this instant; each alert cancels the pending entries.  # R5.3"""
        self.equity[self.account.now] = self.account.equity()
        self.halts.sample()

    def exits(self, proposals: list[Proposal]) -> list[Proposal]:
        """Exits due at this close, and new ones; they bypass the selector.  The targets that ask for more, as entries.  # R4.1"""
        if self.settings.timing == Timing.NEXT_CLOSE:
            self.fill_exits_at_close()
        for proposal in proposals:
            if proposal.action != Action.TARGET:
                self.propose_exit(proposal)
        found = [self.aim(proposal) for proposal in proposals if proposal.action == Action.TARGET]
        if self.settings.timing == Timing.CLOSE:
            self.fill_exits_at_close()
        return [one for one in found if one is not None]

    def aim(self, proposal: Proposal) -> Proposal | None:
        """Order what a target wants closed; an entry where it wants more."""
        change = change_to(self.account, proposal)
        if isinstance(change, Reason):
            self.outcomes[proposal.row] = int(change)
            return None
        if isinstance(change, Action):
            return proposal._replace(action=change, aimed=True)
        position = self.account.positions[proposal.key]
        fields = {"side": -position.side, "value": proposal.value, "proposal": proposal.row}
        cause = self.account.write(RecordKind.PROPOSAL, proposal.key, **fields)
        self.order_exit(position, Reason.REBALANCED, cause, proposal.row, None if change >= abs(position.lots) else change)
        return None

    def propose_exit(self, proposal: Proposal) -> None:
        """Turn an exit proposal into an order, if there is something to close."""
        position = self.account.positions.get(proposal.key)
        wanted = {Action.EXIT: (1, -1), Action.EXIT_LONG: (1,), Action.EXIT_SHORT: (-1,)}[proposal.action]
        if position is None or position.side not in wanted:
            self.outcomes[proposal.row] = int(Reason.NOT_HELD)
        elif position.leaves:
            self.outcomes[proposal.row] = int(Reason.ALREADY_PENDING)
        else:
            fields = {"side": -position.side, "value": proposal.value, "proposal": proposal.row}
            cause = self.account.write(RecordKind.PROPOSAL, proposal.key, **fields)
            self.order_exit(position, Reason.SIGNAL, cause, proposal.row)

    def order_exit(self, position: Position, reason: Reason, cause: int, proposal: int = -1, lots: int | None = None) -> None:
        """An exit decided now, for the moment that the timing names.  # R2.3"""
        order_exit(self.account, position, reason, cause, proposal, lots)

    def fill_exits_at_close(self) -> None:
        """Fill the exits whose close has come; under ``close`` any close of the symbol will do."""
        for position in self.account.in_order():
            order = position.exit
            if order is not None and not order.at_open and self.may_fill_at_close(position.key[0], order.acts_from):
                market = self.account.markets[position.key[0]]
                assert market.bar is not None
                fill_exit(self.account, position, market, market.bar, quote_close(market, -position.side, self.account.now))

    def may_fill_at_close(self, symbol: str, acts_from: int) -> bool:
        """Whether a bar of the symbol closes now that the order may act in."""
        if symbol not in self.closed:
            return False
        bar = self.account.markets[symbol].bar
        assert bar is not None
        return self.settings.timing == Timing.CLOSE or bar.open_ts >= acts_from

    def execute(self, approved: list[Entry]) -> None:
        """Entries due at this close fill; the approved become orders.  # R2.3"""
        if self.settings.timing == Timing.NEXT_CLOSE:
            for entry in [one for one in self.account.entries if one.order_id and one.at_close]:
                if self.may_fill_at_close(entry.proposal.symbol, entry.acts_from):
                    self.fill_at_close(entry)
        for entry in approved:
            self.rotate_out(entry)
            rest(self.account, entry)
            if not entry.at_close or self.settings.timing != Timing.CLOSE:
                continue
            if entry.proposal.symbol in self.closed:
                self.fill_at_close(entry)
            else:
                self.account.cancel_entry(entry, Reason.STALE_CLOSE)
        self.close_refused()

    def close_refused(self) -> None:
        """Close the positions whose targets of the other side came to nothing at this instant.  # R5.3"""
        for position in self.account.in_order():
            close_refused(self.account, position)
        if self.settings.timing == Timing.CLOSE:
            self.fill_exits_at_close()

    def rotate_out(self, entry: Entry) -> None:
        """Close the position whose place an entry takes, at this close under ``close``.  # R4.2"""
        if entry.victim is None:
            return
        position = self.account.positions[entry.victim]
        self.order_exit(position, Reason.ROTATED, entry.cause)
        if self.settings.timing == Timing.CLOSE and position.key[0] in self.closed:
            market = self.account.markets[position.key[0]]
            assert market.bar is not None
            fill_exit(self.account, position, market, market.bar, quote_close(market, -position.side, self.account.now))

    def fill_at_close(self, entry: Entry) -> None:
        """Fill an entry at the close just seen; what is left of it waits for opens.  # R2.3 R2.6"""
        market = self.account.markets[entry.proposal.symbol]
        bar = market.bar
        assert bar is not None
        fill_entry(self.account, entry, market, bar, quote_close(market, entry.proposal.side, self.account.now))
        entry.at_close = False
        end_immediate(self.account, entry)
        if entry in self.account.entries and is_old(entry, bar, market.interval_us):
            self.account.cancel_entry(entry, Reason.EXPIRED)
