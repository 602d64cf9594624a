"""The selector: which entries of an instant drop out, and which of the rest get a slot.  # R4"""

import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from engine.schema import COUNTED, Reason, RecordKind
from tests.oracle.account import Account
from tests.oracle.orders import is_invalid
from tests.oracle.proposals import Proposal


class Selected(NamedTuple):
    """An entry with a slot, its rank, and the seq of its SELECTED record."""

    proposal: Proposal
    rank: int
    seq: int


def select(account: Account, entries: list[Proposal], halted: bool, outcomes: list[int]) -> list[Selected]:
    """Drop, rank and select the entries of one instant, given in (symbol, strategy, sequence) order."""
    reasons = drop_reasons(account, entries, halted)
    for proposal in entries:
        reason = reasons.get(proposal.row)
        if reason in COUNTED:
            outcomes[proposal.row] = int(reason)
        elif reason is not None:
            _reject(account, proposal, reason)
    ranked = sorted((one for one in entries if one.row not in reasons), key=_rank_key)
    free = max(0, account.settings.max_positions - slots(account))
    selected = []
    for rank, proposal in enumerate(ranked, start=1):
        if rank > free:
            _reject(account, proposal, Reason.NOT_SELECTED, rank)
            continue
        fields = {"side": proposal.side, "value": proposal.value, "proposal": proposal.row}
        cause = account.write(RecordKind.PROPOSAL, proposal.key, **fields)
        selected.append(Selected(proposal, rank, account.write(RecordKind.SELECTED, proposal.key, rank=rank, cause=cause, **fields)))
    return selected


def slots(account: Account) -> int:
    """Slots in use: positions and pending entries; one with a pending exit may count as free.  # R4.4"""
    leaving = account.settings.reuse_pending_exit
    held = {key for key, position in account.positions.items() if not (leaving and position.exit is not None)}
    return len(held | {entry.proposal.key for entry in account.entries})


def drop_reasons(account: Account, entries: list[Proposal], halted: bool) -> dict[int, Reason]:
    """The first reason of R4.1 for each proposal that drops out, by row."""
    reasons: dict[int, Reason] = {}

    def drop(reason: Reason, applies: Callable[[Proposal], bool]) -> None:
        hit = [one for one in entries if one.row not in reasons and applies(one)]
        reasons.update((one.row, reason) for one in hit)

    markets, start = account.markets, account.settings.start_us
    drop(Reason.INVALID, lambda one: math.isnan(one.score) or is_invalid(one, markets[one.symbol], account.now))
    drop(Reason.INVALID, lambda one: not math.isfinite(markets[one.symbol].last_close))
    drop(Reason.NOT_IN_UNIVERSE, lambda one: not markets[one.symbol].listed)
    drop(Reason.WARMUP, lambda one: one.ts < start)
    drop(Reason.HALTED, lambda one: halted)
    sides = Counter(key for key, _ in {(one.key, one.side) for one in entries if one.row not in reasons})
    drop(Reason.CONFLICT, lambda one: sides[one.key] == 2)
    drop(Reason.ALREADY_HELD, lambda one: one.key in account.positions)
    pending = {entry.proposal.key for entry in account.entries}
    drop(Reason.ALREADY_PENDING, lambda one: one.key in pending)
    drop(Reason.BELOW_MIN_SCORE, lambda one: one.score < account.settings.min_score)
    best: dict[tuple[str, str], int] = {}
    for one in sorted((one for one in entries if one.row not in reasons), key=_rank_key):
        best.setdefault(one.key, one.row)
    drop(Reason.DUPLICATE, lambda one: best[one.key] != one.row)
    return reasons


def _rank_key(proposal: Proposal) -> tuple[float, str, str, int]:
    return (-proposal.score, proposal.symbol, proposal.strategy, proposal.sequence)


def _reject(account: Account, proposal: Proposal, reason: Reason, rank: int = 0) -> None:
    account.write(
        RecordKind.REJECTED, proposal.key, side=proposal.side, value=proposal.value, proposal=proposal.row, reason=reason, rank=rank
    )
