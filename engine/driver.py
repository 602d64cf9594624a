"""Going through a run: the kernel by itself, or one instant at a time with everything told in between.

The session stands at one instant at a time where anyone listens:

1. the kernel does what comes before the decisions of the instant, and the session tells of it (BEFORE);
2. the proposals given for the instant, and those that handlers made for it, are handed to the kernel (``stream``);
3. the kernel decides, fills and opens bars, and the session tells of it (AFTER).

A proposal made before the decisions of an instant counts at that instant, any other from the next microsecond on.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any

import numpy as np

from engine import replay as loop
from engine.broadcast import ALL, Broadcast, Key
from engine.dataset import Dataset
from engine.events import RecordReader, Start, Told, WarmupEnd
from engine.instrument import Instrument
from engine.kernel import is_compiled, prepare
from engine.models import Model, ModelKind
from engine.proposal import Proposal
from engine.proposals import build_proposals
from engine.schema import NEVER
from engine.settings import Conversion, Settings
from engine.state import State, aims, is_plain, largest_batch, new_state
from engine.strategy import EventStrategy
from engine.stream import Feed, Made, lowered, with_room_for
from engine.tape import Tape, build_tape
from engine.telling import Teller
from engine.view import Account, Arrays, View


class ReplayError(ValueError):
    """A run that cannot go on; the message names symbol, record and mend."""


class Stage(IntEnum):
    """Where a session stands in an instant."""

    REST = 0  # between instants
    BEFORE = 1  # telling what came before the decisions
    AFTER = 2  # telling what came after them


def no_rate(instrument: Instrument, conversions: Sequence[Conversion], ts: int) -> str:
    """What is said where an entry comes before the first rate of its currency."""
    source = next(one.symbol for one in conversions if one.quote == instrument.quote)
    return (
        f"{instrument.symbol} is to be entered at {np.datetime64(ts, 'us')}Z, and no close of {source} is known by then, which says what "
        f"{instrument.quote} is worth; begin later (period.start), or give account.conversion a symbol with earlier bars"
    )


def no_price(symbol: str, models: Sequence[Model] = ()) -> str:
    """What is said where the tick, or a model of the user's, leaves a fill no price."""
    if named := _named(models, ModelKind.SLIPPAGE, ModelKind.FILL):
        return (
            f"a fill of {symbol} has no price above 0: {named} may have returned no number, or one that leaves no price; "
            f"if not, the tick of {symbol} is coarser than its prices: set instruments.{symbol}.tick"
        )
    return f"a fill of {symbol} rounds to a price of 0: its tick is coarser than its prices; set instruments.{symbol}.tick"


def _named(models: Sequence[Model], *kinds: ModelKind) -> str:
    """The user's models of these kinds, as the config has them; empty if there are none."""
    return " or ".join(f"execution.models.{model.kind.name.lower()} = {model.name}" for model in models if model.kind in kinds)


class Driver:
    """The part of a session that goes from instant to instant."""

    def __init__(
        self,
        dataset: Dataset,
        proposals: Mapping[str, Any],
        settings: Settings,
        symbols: Sequence[str] = (),
        strategies: Sequence[str] = (),
        tape: Tape | None = None,
    ) -> None:
        self.settings = settings
        self._dataset_id = dataset.id
        self.symbols = tuple(sorted(instrument.symbol for instrument in settings.instruments))
        self.strategies = tuple(sorted(strategy.id for strategy in settings.strategies))
        self.tape = build_tape(dataset, settings) if tape is None else tape
        self.proposals = build_proposals(proposals, symbols, strategies, self.tape, settings)
        self._arrays = Arrays(new_state(self.tape, self.proposals, settings))
        self._plain = is_plain(self._state)
        self._given, self._made = self.proposals, 0
        self._feed: Feed | None = None
        self._fed = 0  # rows handed over one instant at a time, decided on or not
        self._end = int(self.tape.grid[-1]) if len(self.tape.grid) else settings.start_us
        self._account = Account(self.symbols, self.strategies, settings.instruments, self._arrays)
        self.view = View(dataset, self.symbols, settings.interval, self._account)
        self._teller = Teller(self._account, RecordReader(self.symbols, self.strategies, settings.instruments, settings.decimals))
        self._broadcast = Broadcast(dataset, self.symbols, self._end)
        self._strategies: dict[str, EventStrategy] = {}
        self._saved_strategies: dict[str, Any] = {}
        self._waiting: list[Made] = []
        self._stage, self._now = Stage.REST, -NEVER  # all through _now has been replayed, or is being told
        self._first, self._shown = 0, 0  # seq of the first record of the instant, and of its half
        self._begun, self._warm, self._gathered, self._telling = False, False, True, False

    @property
    def _state(self) -> State:
        return self._arrays.state

    @_state.setter
    def _state(self, state: State) -> None:
        self._arrays.state = state

    def _listened_to(self) -> bool:
        """Whether the session must stand at every instant."""
        return self._broadcast.any() or bool(self._waiting) or self._stage != Stage.REST

    def _refuse_handlers(self, what: str) -> None:
        if self._telling:
            raise ReplayError(f"a handler cannot {what}: it looks at the session's view, and proposes")

    @property
    def _kernel(self) -> Any:
        return loop.replay_plain if self._plain else loop.replay

    @property
    def is_compiled(self) -> bool:
        """Whether the replay that this run takes need not be compiled first."""
        return is_compiled(self._kernel)

    def compile(self) -> None:
        """Compile the replay that this run takes: some tens of seconds, once after an install."""
        prepare(self._kernel)

    def _replay(self, until: int, visit: int, *, watched: bool) -> int:
        """Let the kernel go on, giving it room where it needs some."""
        while True:
            status = int(self._kernel(self.tape, self.proposals, self._state, until, visit, watched))
            if status == loop.OVERFLOW:
                raise self._overflow()
            if status == loop.UNRATED:
                symbol = self.symbols[int(self._state.account[0]["unrated"])]
                instrument = next(one for one in self.settings.instruments if one.symbol == symbol)
                raise ReplayError(no_rate(instrument, self.settings.conversions, int(self._state.account[0]["now"])))
            if status == loop.UNPRICED:
                symbol = self.symbols[int(self._state.account[0]["unpriced"])]
                raise ReplayError(no_price(symbol, self.settings.models))
            if status != loop.FULL:
                return status
            grown = np.empty(2 * len(self._state.ledger), self._state.ledger.dtype)
            grown[: len(self._state.ledger)] = self._state.ledger
            self._state = self._state.replace(ledger=grown)

    def _go_alone(self, until: int) -> bool:
        """Let the kernel run by itself; whether the run has ended."""
        self._join()
        ended = self._replay(until, NEVER, watched=False) == loop.DONE
        self._settle(self._end if ended else until)
        return ended

    def _drive(self, until: int, *, single: bool) -> bool:
        """Go from instant to instant, telling what happens; whether the run has ended."""
        if self._saved_strategies:
            raise ReplayError(f"the saved session ran strategy {', '.join(self._saved_strategies)}; add it before going on")
        while True:
            if not self._gathered:
                self._gather()
            if not self._tell():
                return False
            if self._stage == Stage.BEFORE:
                self._decide()
                continue
            if self._stage == Stage.AFTER:
                self._stage, self._shown = Stage.REST, int(self._state.account[0]["seq"])
                if single and not self._state.account[0]["ended"]:
                    return False
            if self._state.account[0]["ended"]:
                return True
            if not self._listened_to():
                return self._go_alone(until)
            if not self._next_instant(until):
                self._now = max(self._now, min(until, self._end))
                self.view.now = self._now
                return False

    def _next_instant(self, until: int) -> bool:
        """Go to the next instant at or before ``until`` and do what comes before its decisions; whether there is one."""
        due, self._first = self._due(), self._shown
        if due < self.settings.start_us:
            if due > until:
                return False
            self._stand_at(due, Stage.BEFORE)
            return True
        status = self._replay(until, due, watched=True)
        if status == loop.PAUSED:
            return False
        if status == loop.DECIDING:
            self._stand_at(int(self._state.account[0]["now"]), Stage.BEFORE)
        else:
            self._stand_at(self._end, Stage.AFTER)
        return True

    def _stand_at(self, now: int, stage: Stage) -> None:
        self._now, self._stage, self._gathered = now, stage, False
        self.view.now = now
        self._broadcast.told = ()

    def _due(self) -> int:
        """The next instant that is to be visited whether or not the kernel has anything to do there; NEVER if there is none."""
        due = self._broadcast.next_ts()
        if self._feed is not None:
            due = min(due, self._feed.due())
        self._waiting = [one for one in self._waiting if one.available_ts <= self._end]  # what is known later is not of the run
        if self._waiting:
            due = min(due, self._waiting[0].available_ts)
        if self._now < self.settings.start_us:
            due = min(due, self.settings.start_us)
        if self._broadcast.wants("VALUATION"):
            at = int(np.searchsorted(self.tape.grid, self._now, "right"))
            due = min(due, int(self.tape.grid[at]) if at < len(self.tape.grid) else NEVER)
        return due

    def _decide(self) -> None:
        """Hand over the proposals of this instant and let the kernel go through its decisions and its opens."""
        self._begun, self._warm = True, self._now >= self.settings.start_us
        if self._warm:
            self._hand_over()
            self._shown = int(self._state.account[0]["seq"])
            self._replay(self._now, NEVER, watched=True)
        self._stand_at(self._now, Stage.AFTER)

    def _hand_over(self) -> None:
        """Put the proposals made for this instant among those given for it; as long as none was made, the kernel has them all."""
        made = [one for one in self._waiting if one.available_ts <= self._now]
        if not made and (self._feed is None or self._feed.due() > self._now):
            return
        rows = lowered(made, self.tape, self.settings) if made else None
        feed = self._split()
        self._waiting = [one for one in self._waiting if one.available_ts > self._now]
        self._made += len(made)
        batch = feed.hand_over(self._now, rows)
        self.proposals = feed.table()
        self._state.rules[0]["ordered"], self._plain = 1, False  # what is made may be anything
        self._state.rules[0]["aiming"] |= aims(self.proposals)
        self._state.rules[0]["crowding"] |= len(self.proposals.leg) > 0 or aims(self.proposals)
        self._state = with_room_for(self._state, feed.size, batch)

    def _flush(self) -> None:
        """Let handlers of batches have what they were not given yet."""
        self._telling = True
        try:
            self._broadcast.flush()
        finally:
            self._telling = False

    def _tell(self) -> bool:
        self._telling = True
        try:
            return self._broadcast.tell(self._take)
        finally:
            self._telling = False

    def _take(self, proposals: Iterable[Proposal], strategy: str) -> None:
        """Note proposals, with the time from which they count."""
        for one in proposals:
            if not isinstance(one, Proposal):
                raise ReplayError(f"a proposal is an engine.proposal.Proposal, such as Proposal('BTCUSDT', 'enter_long'); not {one!r:.60}")
            owner = one.strategy or strategy
            if one.symbol not in self.symbols:
                raise ReplayError(f"a proposal for {one.symbol!r}, which is not of this run; it has {', '.join(self.symbols[:8])}")
            self._check_strategy(owner)
            if self._state.account[0]["ended"] and self._telling:
                continue  # known after the last instant: not of the run
            if self._state.account[0]["ended"]:
                raise ReplayError(f"a proposal for {one.symbol} after the end of the run; subscribe to END to know when that is")
            start, open_decisions = self.settings.start_us, self._stage == Stage.BEFORE
            if self._stage != Stage.REST and self._now < start:
                continue
            counts = self._now if open_decisions else max(self._now + 1, start)
            owned = one if one.strategy else Proposal(one.symbol, one.action, owner, **one.values)
            self._waiting.append(Made(max(self._now, start), counts, owned))

    def _check_strategy(self, name: str) -> None:
        if name not in self.strategies:
            said = f"no strategy {name!r}" if name else "a proposal says no strategy"
            raise ReplayError(f"{said}; the run has {', '.join(self.strategies)}")

    def _gather(self) -> None:
        """Queue what is to be told of this half instant, after what was told of it before it was saved."""
        before, wants, now, settings = self._stage == Stage.BEFORE, self._broadcast.wants, self._now, self.settings
        told: list[tuple[Key, Told]] = []
        if before and not self._begun:
            names = self.symbols, self.strategies
            told.append(((-3,), Start(now, *names, settings.start_us, settings.cash, settings.decimals)))
        if before and not self._warm and now >= settings.start_us:
            told.append(((-2,), WarmupEnd(settings.start_us)))
        told += self._teller.records(self._state, self._shown, wants)
        if not before and wants("VALUATION"):
            told += self._teller.sample(self._state, self.tape.grid, now, self._shown)
        if not before and wants("PORTFOLIO_STATE") and int(self._state.account[0]["seq"]) > self._first:
            told.append(self._teller.portfolio(now))
        self._gathered = True
        self._broadcast.gather(now, before, told, self._broadcast.told)

    def _split(self) -> Feed:
        """From here on, hand the kernel its proposals when their time comes."""
        if self._feed is None:
            done = self._handed()
            self._feed = Feed(self._given, {name: column[:done] for name, column in self.proposals.arrays().items()}, self._made)
        return self._feed

    def _handed(self) -> int:
        """How many rows of the table are behind the run: it may have ended before it decided on the last that it was handed."""
        return self._feed.size if self._feed is not None else max(self._fed, int(self._state.account[0]["next_proposal"]))

    def _join(self) -> None:
        """From here on, let the kernel have the rest of the proposals at once."""
        if self._feed is not None:
            self.proposals, self._fed, self._feed = self._feed.whole(), self._feed.size, None
            self._make_room()

    def _make_room(self) -> None:
        """Let the arrays hold the whole table."""
        self._state = with_room_for(self._state, len(self.proposals.ts), largest_batch(self.proposals.available_ts))

    def _settle(self, reached: int) -> None:
        """Note how far the kernel has gone by itself: of that, nobody is told."""
        self._now = max(self._now, min(reached, self._end))
        self.view.now = self._now
        if self._now >= self.settings.start_us:
            self._shown = self._first = int(self._state.account[0]["seq"])
        self._begun, self._warm = self._now > -NEVER, self._now >= self.settings.start_us
        self._broadcast.seek(self._now, ALL)

    def _overflow(self) -> ReplayError:
        account = self._state.account[0]
        symbol = (*self.symbols, "the account")[int(account["overflow"])]
        named = _named(self.settings.models, ModelKind.FEE, ModelKind.SLIPPAGE, ModelKind.FILL)
        own = f": {named} may have returned no number, or too large a one; if not," if named else ";"
        return ReplayError(
            f"money of {symbol} overflows 2^53 units at ledger record {int(account['overflow_seq'])}{own} "
            f"use fewer account decimals than {self.settings.decimals}, or smaller sizes"
        )
