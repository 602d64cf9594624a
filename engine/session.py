"""Sessions: a replay that is run to the end, stepped, listened to, saved and restored; always with the same bytes.  # R9.4"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.broadcast import ALL, DECISIONS, Subscription, subscription
from engine.clocks import coming_instant
from engine.dataset import Dataset
from engine.driver import Driver, ReplayError, Stage
from engine.events import Told
from engine.proposal import Proposal
from engine.proposals import Proposals
from engine.schema import NEVER, SEMANTICS_VERSION, Reason
from engine.settings import Settings
from engine.state import State, is_plain, point_to_models
from engine.strategy import EventStrategy
from engine.stream import Feed, Made
from engine.tape import Tape

__all__ = ["ReplayError", "ReplayResult", "Session", "replay"]


@dataclass(frozen=True)
class ReplayResult:
    """What a replay leaves behind.

    Attributes
    ----------
    records
        The trades-level ledger, dtype ``engine.schema.RECORD``; ``seq`` is the index.
    sample_ts, equity
        Equity in money units at each sample time (us, UTC).  # R5.3
    outcomes
        Reason of each proposal that is counted and not stored; 0 elsewhere.  # R5.4
    symbols, strategies
        The names that the records' numbers stand for.
    """

    records: NDArray[Any]
    sample_ts: NDArray[np.int64]
    equity: NDArray[np.int64]
    outcomes: NDArray[np.uint8]
    symbols: tuple[str, ...]
    strategies: tuple[str, ...]
    settings: Settings
    proposals: Proposals
    tape: Tape

    @property
    def final_equity(self) -> int:
        """Money at the end, closing costs included."""
        return int(self.records["amount"][-1])

    @property
    def bankrupt(self) -> bool:
        """Whether the run ended in ruin."""
        return bool(self.records["reason"][-1] == Reason.BANKRUPT)


def replay(
    dataset: Dataset,
    proposals: Mapping[str, Any],
    settings: Settings,
    symbols: Sequence[str] = (),
    strategies: Sequence[str] = (),
    tape: Tape | None = None,
) -> ReplayResult:
    """Replay proposals against market data, to the end.

    Parameters
    ----------
    proposals
        Columns of ``engine.schema.PROPOSAL_COLUMNS``; ``symbol`` and ``strategy`` as names, or as codes into ``symbols`` and ``strategies``.
    tape
        ``build_tape(dataset, settings)``, where the caller replays many times.

    Raises
    ------
    DatasetError, ProposalError
        For input that does not fit the run.
    ReplayError
        If money overflows.
    """
    return Session(dataset, proposals, settings, symbols, strategies, tape).run()


class Session(Driver):
    """A replay that can be stepped, listened to, saved and restored.

    Attributes
    ----------
    view
        What may be looked at: market data up to now, and the account.

    Notes
    -----
    A saved session holds arrays and plain values and nothing else, so it is restored beside the same dataset, proposals and settings.
    """

    @property
    def state(self) -> State:
        """The arrays of the run; not for handlers, which see the run through ``view``."""
        self._refuse_handlers("look at the arrays")
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._refuse_handlers("change the arrays")
        self._state = state

    def subscribe(
        self,
        kinds: str | Iterable[str] | Callable[[Told], bool],
        handler: Callable[..., Any],
        *,
        where: Callable[[Told], bool] | None = None,
        batch: int = 1,
    ) -> Subscription:
        """Have a handler called with the events it wants, in the total order.

        Parameters
        ----------
        kinds
            Names out of ``engine.events.KINDS``, or a predicate on events.
        handler
            Called with an event; it may return proposals, or call ``propose`` and ``pause``.  It cannot change the run otherwise.
        where
            A further condition on the events of these kinds.
        batch
            Call it with lists of so many events instead; such a handler looks on, and cannot propose.

        Returns
        -------
        Subscription
            Its ``cancel`` ends it.

        Raises
        ------
        SubscriptionError
            If a kind is unknown, or the handler cannot be called.
        """
        one = subscription(kinds, handler, where, batch, "")
        self._broadcast.add(one)
        return one

    def add(self, strategy_id: str, strategy: EventStrategy) -> Subscription:
        """Let a strategy decide event by event, under an id of the run's strategies.

        Raises
        ------
        ReplayError
            If the run has no strategy of that id, or it has been added before.
        """
        self._check_strategy(strategy_id)
        if not isinstance(strategy, EventStrategy):
            raise ReplayError(
                f"strategy {strategy_id!r} is no EventStrategy but {strategy!r:.60}; derive its class from engine.strategy.EventStrategy"
            )
        if strategy_id in self._strategies:
            raise ReplayError(f"strategy {strategy_id!r} has been added; a session runs each once")
        one = subscription(strategy.kinds, strategy.handler(self.view), strategy.wants(self.view), 1, strategy_id)
        one.name = f"{type(strategy).__name__} ({strategy_id})"
        self._strategies[strategy_id] = strategy
        self._broadcast.add(one)
        if strategy_id in self._saved_strategies:
            strategy.restore(self._saved_strategies.pop(strategy_id))
        return one

    def propose(self, *proposals: Proposal) -> None:
        """Make proposals: for the decisions of this instant if they are still to come, else from the next microsecond on.

        Proposals made in the warm-up, before the start of the run, do not count; stage one makes none then either.

        Raises
        ------
        ReplayError
            If a symbol or strategy is not of the run, or the run has ended.
        """
        if self._broadcast.looking_on():
            raise ReplayError("a handler of batches looks on; subscribe without batch to propose")
        self._take(proposals, "")

    def pause(self) -> None:
        """Called by a handler: let the call that drives the session return after this event; it goes on where it stopped."""
        self._broadcast.pause()

    def advance(self, until: int = NEVER) -> bool:
        """Replay through the last instant at or before ``until`` (us, UTC); whether the run has ended.

        Raises
        ------
        ReplayError
            If money overflows, or a handler calls it.
        HandlerError
            If a handler fails; the session stands after that event and can go on.
        """
        self._refuse_handlers("drive the session")
        if not isinstance(until, int | np.integer):
            raise ReplayError(f"advance(until) takes microseconds since 1970, UTC, as a whole number; not {until!r:.60}")
        if self._listened_to():
            return self._drive(int(until), single=False)
        return self._go_alone(int(until))

    def step(self) -> bool:
        """Replay one instant; whether the run has ended."""
        self._refuse_handlers("drive the session")
        if self._listened_to():
            return self._drive(NEVER, single=True)
        self._join()
        if self._state.account[0]["seq"] == 0:
            return self.advance(-NEVER)
        return self.advance(int(coming_instant(self.tape, self.proposals, self._state)))

    def run(self) -> ReplayResult:
        """Replay to the end, however often a handler pauses."""
        while not self.advance():
            pass
        self._join()
        n = int(self._state.account[0]["seq"])
        return ReplayResult(
            records=self._state.ledger[:n],
            sample_ts=self.tape.grid,
            equity=self._state.equity,
            outcomes=self._state.outcomes[: len(self.proposals.ts)],
            symbols=self.symbols,
            strategies=self.strategies,
            settings=self.settings,
            proposals=self.proposals,
            tape=self.tape,
        )

    def save(self, path: str | Path) -> None:
        """Write the state to a file, without pickle.

        Raises
        ------
        ReplayError
            If a handler calls it: it calls ``pause`` instead, and the session is saved when ``advance`` has returned.
        StrategyStateError
            If a strategy of the session does not say what it remembers.
        """
        self._refuse_handlers("save it; call pause() and save when advance() has returned")
        path = Path(path)
        self._flush()
        used = int(self._state.account[0]["seq"])
        arrays = self._state.arrays() | {"ledger": self._state.ledger[:used], "identity": self._identity()}
        arrays["standing"] = np.frombuffer(json.dumps(self._standing()).encode(), np.uint8)
        done = self._handed() if self._made else 0
        arrays |= {f"made_{name}": column[:done] for name, column in self.proposals.arrays().items()}
        partial = path.with_name(path.name + ".tmp")
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        partial.replace(path)

    def restore(self, path: str | Path) -> None:
        """Take up a saved state; the session must have been made from the same dataset, proposals and settings.

        Subscribe and add strategies before or after, but before going on: those are not saved.

        Raises
        ------
        ReplayError
            If the file is damaged, or was saved beside something else.
        """
        self._refuse_handlers("restore it")
        path = Path(path)
        made = [f"made_{name}" for name in Proposals.columns]
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                saved = {name: file[name] for name in (*State.columns, *made, "identity", "standing")}
            standing = json.loads(saved.pop("standing").tobytes())
        except Exception as error:  # whatever a damaged file makes of its reader
            raise ReplayError(f"{path}: not a saved session ({error}); save it anew") from error
        if saved.pop("identity").tobytes() != self._identity().tobytes():
            raise ReplayError(f"{path}: it was saved beside another dataset, other proposals or other settings; restore beside those")
        past = {name: saved.pop(f"made_{name}") for name in Proposals.columns}
        ledger = np.empty(len(saved["ledger"]) + len(self._state.ledger), self._state.ledger.dtype)
        ledger[: len(saved["ledger"])] = saved["ledger"]
        self._state = State(**(saved | {"ledger": ledger}))
        self._plain = is_plain(self._state)
        point_to_models(self._state, self.settings)
        self._stand(standing, past)

    def _standing(self) -> dict[str, Any]:
        """Where the session stands between its arrays, as plain values."""
        return {
            "now": self._now,
            "stage": int(self._stage),
            "shown": self._shown,
            "first": self._first,
            "begun": self._begun,
            "warm": self._warm,
            "told": list(self._broadcast.told),
            "made": self._made,
            "waiting": [[one.ts, one.available_ts, one.proposal.as_plain()] for one in self._waiting],
            "strategies": {name: strategy.state() for name, strategy in self._strategies.items()},
        }

    def _stand(self, standing: Mapping[str, Any], past: Mapping[str, NDArray[Any]]) -> None:
        """Stand where a saved session stood."""
        self._now, self._stage, self._made = standing["now"], Stage(standing["stage"]), standing["made"]
        self._shown, self._first = standing["shown"], standing["first"]
        self._begun, self._warm = standing["begun"], standing["warm"]
        self._gathered, self.view.now = self._stage == Stage.REST, self._now
        self._waiting = [Made(ts, available_ts, Proposal.of_plain(plain)) for ts, available_ts, plain in standing["waiting"]]
        self._broadcast.seek(self._now, {Stage.REST: ALL, Stage.BEFORE: 0, Stage.AFTER: DECISIONS}[self._stage])
        self._broadcast.told = tuple(standing["told"])
        self._feed, self._fed = None, len(past["ts"])
        self.proposals = Feed(self._given, past, self._made).whole() if self._made else self._given
        self._make_room()
        self._saved_strategies = dict(standing["strategies"])
        for name in self._strategies.keys() & self._saved_strategies.keys():
            self._strategies[name].restore(self._saved_strategies.pop(name))

    def _identity(self) -> NDArray[np.uint8]:
        """Hash of all that a saved state depends on."""
        digest = hashlib.sha256(f"{SEMANTICS_VERSION} {self._dataset_id} {self.settings!r}".encode())
        for array in self._given.arrays().values():
            digest.update(np.ascontiguousarray(array).data)
        return np.frombuffer(digest.digest(), np.uint8)
