"""The selector: which entries of an instant drop out, and which of the rest get a slot.  # R4"""

import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from engine.models import ModelKind
from engine.schema import COUNTED, OnHeld, Reason, RecordKind
from tests.oracle.account import Account, Key, Position
from tests.oracle.brackets import replace_levels
from tests.oracle.choosers import rank_key
from tests.oracle.halts import Halts
from tests.oracle.orders import is_invalid
from tests.oracle.proposals import Proposal


class Selected(NamedTuple):
    """An entry with a slot, its rank and what it was ranked by, the seq of its SELECTED record, and whose place it takes, if it rotates."""

    proposal: Proposal
    rank: int
    key: float
    seq: int
    victim: Key | None = None


def select(account: Account, entries: list[Proposal], halts: Halts, outcomes: list[int]) -> list[Selected]:
    """Drop, rank and select the entries of one instant, given in (symbol, strategy, sequence) order."""
    _rescore(account, entries)
    keys: dict[int, float] = {}
    reasons = drop_reasons(account, entries, halts, keys)
    for proposal in entries:
        reason = reasons.get(proposal.row)
        if reason in COUNTED:
            outcomes[proposal.row] = int(reason)
        elif reason is not None:
            _reject(account, proposal, reason)
        elif _mode(account, proposal) == OnHeld.REPLACE_LEVELS and proposal.key in account.positions and not proposal.aimed:
            _replace_levels(account, proposal)
            reasons[proposal.row] = Reason.NONE
    ranked = sorted((one for one in entries if one.row not in reasons), key=_order_by(keys))
    chosen = Walk(account, keys).choose(ranked)
    selected = []
    for rank, proposal in enumerate(ranked, start=1):
        if proposal.row not in chosen:
            _reject(account, proposal, Reason.NOT_SELECTED, rank, keys[proposal.row])
            continue
        fields, key = {"side": proposal.side, "proposal": proposal.row}, keys[proposal.row]
        cause = account.write(RecordKind.PROPOSAL, proposal.key, value=proposal.value, **fields)
        seq = account.write(RecordKind.SELECTED, proposal.key, value=key, rank=rank, cause=cause, **fields)
        selected.append(Selected(proposal, rank, key, seq, chosen[proposal.row]))
    return selected


class Walk:
    """The walk in rank order over free slots, groups and strategies.  # R4.2"""

    def __init__(self, account: Account, keys: dict[int, float]) -> None:
        self.account = account
        self.keys = keys
        self.settings = account.settings
        self.groups = {instrument.symbol: instrument.group for instrument in account.settings.instruments}
        used = slots(account)
        self.free = free_slots(account)
        self.in_group = Counter(self.groups[symbol] for symbol, _ in used)
        self.in_strategy = Counter(strategy for _, strategy in used)
        self.chosen: dict[int, Key | None] = {}
        self.victims: set[Key] = set()  # positions that make room at this instant
        self.busy = {entry.proposal.key for entry in account.entries}  # positions that are not to be rotated out

    def choose(self, ranked: list[Proposal]) -> dict[int, Key | None]:
        """Rows of the chosen, and whose place they take; the legs of one decision stand or fall together."""
        seen: set[int] = set()
        for one in ranked:
            if one.row in seen:
                continue
            unit = [other for other in ranked if other.unit == one.unit]
            seen |= {other.row for other in unit}
            self.try_unit(unit)
        return self.chosen

    def try_unit(self, unit: list[Proposal]) -> None:
        """Choose all of a decision's legs, or none."""
        if any(one.key in self.victims for one in unit):
            return
        new = [one for one in unit if one.key not in self.account.positions]
        groups, strategies = Counter(self.groups[one.symbol] for one in new), Counter(one.strategy for one in new)
        if any(group and self.in_group[group] + n > self.settings.max_per_group for group, n in groups.items()):
            return
        if any(self.in_strategy[strategy] + n > self.settings.max_per_strategy for strategy, n in strategies.items()):
            return
        victim = None
        if len(new) > self.free:
            victim = self.weakest(unit[0]) if unit[0].leg <= 0 else None
            if victim is None:
                return
            self.in_group[self.groups[victim[0]]] -= 1
            self.in_strategy[victim[1]] -= 1
            self.busy.add(victim)
            self.victims.add(victim)
            self.free += 1
        self.free -= len(new)
        self.in_group.update(groups)
        self.in_strategy.update(strategies)
        self.chosen.update((one.row, victim) for one in unit)
        self.busy |= {one.key for one in unit}

    def weakest(self, challenger: Proposal) -> Key | None:
        """The position that a better proposal replaces, if there is one."""
        margin = self.settings.rotate_margin
        staying = [one for one in self.account.in_order() if one.exit is None and one.key not in self.busy]
        if not staying or not math.isfinite(margin):
            return None
        weak = min(staying, key=lambda one: one.score)
        key = self.keys[challenger.row]
        return weak.key if key > weak.score and key >= weak.score + margin else None


def free_slots(account: Account) -> int:
    """Slots that are not in use."""
    return max(0, account.settings.max_positions - len(slots(account)))


def slots(account: Account) -> set[Key]:
    """Slots in use: positions and pending entries; one with a pending exit may count as free.  # R4.4"""
    leaving = account.settings.reuse_pending_exit
    held = {key for key, position in account.positions.items() if not (leaving and position.leaves)}
    return held | {entry.proposal.key for entry in account.entries if entry.proposal.key not in account.positions}


def drop_reasons(account: Account, entries: list[Proposal], halts: Halts, keys: dict[int, float]) -> dict[int, Reason]:
    """The first reason of R4.1 for each proposal that drops out, by row; ``keys`` takes what the others are ranked by."""
    reasons: dict[int, Reason] = {}

    def drop(reason: Reason, applies: Callable[[Proposal], bool]) -> None:
        hit = [one for one in entries if one.row not in reasons and applies(one)]
        reasons.update((one.row, reason) for one in hit)

    markets, start = account.markets, account.settings.start_us
    drop(Reason.INVALID, lambda one: math.isnan(one.score) or is_invalid(one, markets[one.symbol], account.now))
    drop(Reason.INVALID, lambda one: one.aimed and not math.isfinite(one.weight))
    drop(Reason.INVALID, lambda one: not math.isfinite(markets[one.symbol].last_close))
    drop(Reason.NOT_IN_UNIVERSE, lambda one: markets[one.symbol].expired or not markets[one.symbol].listed)
    drop(Reason.WARMUP, lambda one: one.ts < start)
    drop(Reason.HALTED, lambda one: halts.refuses(one.symbol, one.strategy))
    drop(Reason.COOLDOWN, lambda one: halts.cools(one.symbol, one.strategy))
    sides = Counter(key for key, _ in {(one.key, one.side) for one in entries if one.row not in reasons})
    drop(Reason.CONFLICT, lambda one: sides[one.key] == 2)
    drop(Reason.ALREADY_HELD, lambda one: one.key in account.positions and not _changes(account, account.positions[one.key], one))
    pending = {entry.proposal.key for entry in account.entries}
    drop(Reason.ALREADY_PENDING, lambda one: one.key in pending)
    drop(Reason.BELOW_MIN_SCORE, lambda one: one.score < account.settings.min_score)
    free = free_slots(account)
    keys.update((one.row, rank_key(account, one, free)) for one in entries if one.row not in reasons)
    drop(Reason.NO_RANK, lambda one: not math.isfinite(keys[one.row]))
    best: dict[tuple[str, str], int] = {}
    for one in sorted((one for one in entries if one.row not in reasons), key=_order_by(keys)):
        best.setdefault(one.key, one.row)
    drop(Reason.DUPLICATE, lambda one: best[one.key] != one.row)
    broken = {one.unit for one in entries if one.row in reasons}
    drop(Reason.LEG_REFUSED, lambda one: one.unit in broken)
    return reasons


def _mode(account: Account, proposal: Proposal) -> OnHeld:
    return next(one.on_held for one in account.settings.strategies if one.id == proposal.strategy)


def _changes(account: Account, position: Position, proposal: Proposal) -> bool:
    """Whether a proposal has something to say to a position that is held.  # R4.3"""
    mode, same = _mode(account, proposal), position.side == proposal.side
    if proposal.aimed:
        return position.exit is None
    if mode == OnHeld.ADD:
        most = next(one.max_adds for one in account.settings.strategies if one.id == proposal.strategy)
        return same and position.exit is None and position.adds < most
    if mode == OnHeld.REVERSE:
        return not same and position.exit is None
    return mode == OnHeld.REPLACE_LEVELS and same and proposal.leg <= 0


def _replace_levels(account: Account, proposal: Proposal) -> None:
    """Change the levels of a held position: the proposal is applied.  # R4.3 R5.4"""
    position = account.positions[proposal.key]
    stop = replace_levels(account, position, proposal)
    fields = {"side": proposal.side, "value": proposal.value, "proposal": proposal.row}
    account.write(RecordKind.LEVELS, proposal.key, price=stop, cause=position.seq, **fields)


def _rescore(account: Account, entries: list[Proposal]) -> None:
    """What a position is compared by is that of the last proposal of its side.  # R4.2"""
    own, free = account.settings.model(ModelKind.SELECTOR) is not None, free_slots(account)
    for one in entries:
        position = account.positions.get(one.key)
        if position is None or position.side != one.side or math.isnan(one.score):
            continue
        if own and not math.isfinite(account.markets[one.symbol].last_close):
            continue
        key = rank_key(account, one, free)
        if not own or math.isfinite(key):
            position.score = key


def _order_by(keys: dict[int, float]) -> Callable[[Proposal], tuple[float, str, str, int]]:
    return lambda one: (-keys[one.row], one.symbol, one.strategy, one.sequence)


def _reject(account: Account, proposal: Proposal, reason: Reason, rank: int = 0, key: float | None = None) -> None:
    value = proposal.value if key is None else key
    fields = {"side": proposal.side, "value": value, "proposal": proposal.row}
    seq = account.write(RecordKind.REJECTED, proposal.key, reason=reason, rank=rank, **fields)
    account.note_refusal(proposal, reason, seq)
