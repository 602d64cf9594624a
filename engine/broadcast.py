"""Who is told what, and in which order: subscriptions, the market's events, and the queue of what is still to be told.

A session gathers the events of half an instant at a time, those before its decisions and those after, and tells them one by one.  An event
that is being told when a handler fails counts as told to that handler; going on tells it to the others.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from engine.dataset import Dataset
from engine.events import KINDS, MARKET_KINDS, End, Told
from engine.mux import DatasetReader, Event, EventMux
from engine.proposal import Proposal
from engine.schema import NEVER, EventKind

Handler = Callable[..., Any]
Key = tuple[Any, ...]

DECISIONS = int(EventKind.TRADE_PROPOSED)
ALL = 1 + max(EventKind)


class HandlerError(ValueError):
    """A handler that failed, or returned what is no proposal; the message names it and the event."""


class SubscriptionError(ValueError):
    """A subscription that cannot be; the message says what is allowed."""


class Subscription:
    """One handler and the events it is given; ``cancel`` ends it."""

    __slots__ = ("_held", "active", "batch", "handler", "looking_on", "name", "names", "strategy", "where")

    def __init__(self, names: frozenset[str] | None, where: Callable[[Told], bool] | None, handler: Handler, batch: int, strategy: str):
        self.names, self.where, self.handler, self.batch, self.strategy = names, where, handler, batch, strategy
        self.name = str(getattr(handler, "__qualname__", None) or type(handler).__name__)
        self.active, self.looking_on, self._held = True, False, list[Told]()

    def cancel(self) -> None:
        """Give nothing more; a batch that is not full is given up."""
        self.active = False
        self._held.clear()

    def give(self, event: Told, take: Callable[[Iterable[Proposal], str], None]) -> None:
        """Tell the handler, if it wants the event, and hand the proposals it returns to ``take``."""
        if self.names is not None and event.name not in self.names:
            return
        try:
            if self.where is not None and not self.where(event):
                return
            if self.batch == 1:
                made = self.handler(event)
                if made is not None:
                    take(self._proposals(made), self.strategy)
                return
        except Exception as error:
            raise self._failed(event, error) from error
        self._held.append(event)
        if len(self._held) == self.batch:
            self.flush()

    def flush(self) -> None:
        """Tell a handler of batches what it has not been told."""
        if not self._held:
            return
        held, self._held, self.looking_on = self._held, [], True
        try:
            made = self.handler(held)
        except Exception as error:
            raise self._failed(held[-1], error) from error
        finally:
            self.looking_on = False
        if made is not None:
            raise HandlerError(f"{self.name}: a handler of batches looks on; it returned {made!r:.80}: subscribe without batch to propose")

    def _proposals(self, made: Any) -> Iterable[Proposal]:
        found = [made] if isinstance(made, Proposal) else list(made) if isinstance(made, Iterable) else [made]
        for one in found:
            if not isinstance(one, Proposal):
                raise TypeError(f"it returned {one!r:.80}; a handler returns proposals, or nothing")
        return found

    def _failed(self, event: Told, error: Exception) -> HandlerError:
        if isinstance(error, HandlerError):
            return error
        return HandlerError(f"handler {self.name} at {event!r:.200}: {type(error).__name__}: {error}")


def subscription(kinds: Any, handler: Handler, where: Callable[[Told], bool] | None, batch: int, strategy: str) -> Subscription:
    """Check what is asked for; ``kinds`` is one name, several, or a predicate on events."""
    if not callable(handler):
        raise SubscriptionError(f"a handler is called with an event; {handler!r:.80} cannot be called")
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise SubscriptionError(f"batch is a whole number of events from 1, not {batch!r}")
    if callable(kinds) and not isinstance(kinds, str):
        if where is not None:
            raise SubscriptionError("two predicates: give kinds by name beside where")
        return Subscription(None, kinds, handler, batch, strategy)
    names = frozenset([kinds] if isinstance(kinds, str) else kinds)
    unknown = sorted(str(name) for name in names if name not in KINDS)
    if unknown or not names:
        raise SubscriptionError(f"no kind of event {unknown[0] if unknown else '()'!r}; kinds are {', '.join(KINDS)}")
    return Subscription(names, where, handler, batch, strategy)


class Broadcast:
    """The subscriptions of a session, and what they are still to be told.

    Attributes
    ----------
    told
        Key of the last event of the half instant under way that was told; () if none.
    """

    def __init__(self, dataset: Dataset, symbols: tuple[str, ...], end: int) -> None:
        self._reader, self._symbols, self._end = DatasetReader(dataset), symbols, end
        self._subscriptions: list[Subscription] = []
        self._listening: tuple[Subscription, ...] = ()
        self._queue: deque[tuple[Key, Told]] = deque()
        self._place = 0
        self._market: Iterator[Event] = iter(())
        self._next: Event | None = None
        self._stale = True
        self._taken: tuple[int, int] = (-NEVER, 0)
        self._pausing = False
        self.told: Key = ()

    def add(self, one: Subscription) -> None:
        """Tell one more, from the next half instant on."""
        self._subscriptions.append(one)
        self._stale = True

    def any(self) -> bool:
        """Whether anyone is to be told anything."""
        if not all(one.active for one in self._subscriptions):
            self._subscriptions = [one for one in self._subscriptions if one.active]
            self._stale = True
        return bool(self._subscriptions)

    def looking_on(self) -> bool:
        """Whether a handler of batches is being called."""
        return any(one.looking_on for one in self._subscriptions)

    def wants(self, name: str) -> bool:
        """Whether anyone may want a kind of event."""
        return any(one.active and (one.names is None or name in one.names) for one in self._subscriptions)

    def seek(self, ts: int, kind: int) -> None:
        """Let the market's next event be the first at ``ts`` of at least ``kind``, or after ``ts``."""
        self._taken, self._stale = (ts, kind), True
        self._queue.clear()
        self._place, self.told = 0, ()

    def next_ts(self) -> int:
        """Time of the market's next event that anyone wants; NEVER if there is none in the run."""
        if self._stale:
            self._restart()
        return self._next.ts if self._next is not None and self._next.ts <= self._end else NEVER

    def gather(self, now: int, before: bool, told: list[tuple[Key, Told]], after: Key = ()) -> None:
        """Queue the market's events of half an instant among what else is told, leaving out what is not after a key."""
        self.next_ts()
        found = list(told)
        while self._next is not None and self._next.ts == now and (self._next.kind < DECISIONS) == before:
            one = self._next
            found.append(((int(one.kind), 0, one.symbol, one.interval_us, one.series, one.sequence), one))
            self._next = next(self._market, None)
        self._taken = (now, DECISIONS if before else ALL)
        found.sort(key=_first)
        self._queue.extend([place for place in found if place[0] > after] if after else found)
        self._listening, self.told = tuple(self._subscriptions), after

    def tell(self, take: Callable[[Iterable[Proposal], str], None]) -> bool:
        """Tell what is queued, handing the proposals of the handlers to ``take``; False where a handler asked for a pause."""
        while self._queue:
            key, event = self._queue[0]
            while self._place < len(self._listening):
                one = self._listening[self._place]
                self._place += 1
                if one.active:
                    one.give(event, take)
            self._queue.popleft()
            self._place, self.told = 0, key
            if isinstance(event, End):
                self.flush()
            if self._pausing:
                self._pausing = False
                self.flush()
                return False
        return True

    def pause(self) -> None:
        """Stop after the event that is being told."""
        self._pausing = True

    def flush(self) -> None:
        """Give handlers of batches what they have not been given."""
        for one in self._subscriptions:
            one.flush()

    def _restart(self) -> None:
        """Read the market anew from where it stood: the kinds that are wanted have changed."""
        self._stale, (ts, kind) = False, self._taken
        kinds: Collection[str] = [name for name in MARKET_KINDS if self.wants(name)]
        self._market = iter(EventMux(*self._reader.events(self._symbols, kinds, ts)))
        self._next = next(self._market, None)
        while self._next is not None and self._next.ts == ts and self._next.kind < kind:
            self._next = next(self._market, None)


def _first(item: tuple[Key, Told]) -> Key:
    return item[0]
