"""Strategies that decide event by event, and running them ahead of a replay.

Inside a session (``Session.add``) such a strategy sees the market and the account; its proposals are ``streamed``, causal because it is never
shown what is not yet known.  Run ahead (``run_ahead``) it sees the market alone and leaves a table of proposals.                     # R11.4
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from engine.broadcast import DECISIONS, subscription
from engine.dataset import Dataset
from engine.events import MARKET_KINDS, Told, WarmupEnd
from engine.mux import BarOpen, BarPath, CandleClose, DatasetReader, EventMux
from engine.proposal import Proposal
from engine.stream import Made, columns_of
from engine.view import View

OF_BARS = (BarOpen, BarPath, CandleClose)


class StrategyStateError(ValueError):
    """A strategy that does not say what it remembers, in a session that is to be saved."""


class EventStrategy:
    """A rule that is told what happens and answers with proposals.

    Attributes
    ----------
    kinds
        Names of the events it is told of (``engine.events.KINDS``).
    intervals
        Names of the bar series it is told of; None: the one the run executes on.

    Examples
    --------
    >>> class Momentum(EventStrategy):
    ...     def on_event(self, event, view):
    ...         close = view.history(event.symbol, n=3)["close"]
    ...         if len(close) == 3 and close[2] > close[1] > close[0]:
    ...             return Proposal(event.symbol, "enter_long", stop_loss=close[0])
    """

    kinds: ClassVar[tuple[str, ...]] = ("CANDLE_CLOSE",)
    intervals: ClassVar[tuple[str, ...] | None] = None

    def on_event(self, event: Any, view: View) -> Proposal | Iterable[Proposal] | None:
        """Decide; what is proposed before the decisions of an instant counts at that instant, else just after it."""
        raise NotImplementedError(f"{type(self).__name__} has no on_event")

    def state(self) -> Any:
        """What the strategy remembers, so that a session can be saved: its attributes, if they are plain values.

        Raises
        ------
        StrategyStateError
            If one is not; such a strategy needs its own ``state`` and ``restore``.
        """
        for name, value in vars(self).items():
            if not is_plain(value):
                raise StrategyStateError(
                    f"{type(self).__name__}.{name} is a {type(value).__name__}, not a plain value; give it state() and restore() to save its session"
                )
        return dict(vars(self))

    def restore(self, state: Any) -> None:
        """Take up what ``state`` gave."""
        vars(self).update(state)

    def handler(self, view: View) -> Callable[[Told], Any]:
        """What a session calls."""
        return lambda event: self.on_event(event, view)

    def wants(self, view: View) -> Callable[[Told], bool]:
        """Whether an event is of one of its series."""
        intervals = self.intervals
        if intervals is None:
            return lambda event: not isinstance(event, OF_BARS) or event.series == view.execution_interval(event.symbol)
        return lambda event: not isinstance(event, OF_BARS) or event.series in intervals


def is_plain(value: Any) -> bool:
    """Whether JSON gives a value back as it was.

    >>> is_plain({"n": [1, 2.5, None]}), is_plain({"n": (1, 2)}), is_plain({1: "n"})
    (True, False, False)
    """
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(one) for key, one in value.items())
    if isinstance(value, list):
        return all(is_plain(one) for one in value)
    return value is None or type(value) in (bool, int, float, str)


def run_ahead(
    strategy: EventStrategy,
    strategy_id: str,
    dataset: Dataset,
    symbols: Sequence[str],
    start_us: int,
    end_us: int,
    interval: str = "",
) -> dict[str, list[Any]]:
    """Proposals of a strategy from the market alone, as a table.

    Parameters
    ----------
    start_us, end_us
        Events through ``end_us`` are told; what is proposed before ``start_us`` does not count.
    interval
        Name of the series the run executes on; empty: each symbol's finest.

    Returns
    -------
    dict
        Columns of ``engine.schema.PROPOSAL_COLUMNS``, names written out.

    Raises
    ------
    SubscriptionError
        If the strategy wants to be told of something unknown.
    ViewError
        If it wants events of an account, or looks at one.
    HandlerError
        If it fails.
    """
    names = sorted(symbols)
    view = View(dataset, names, interval)
    view.refuse_account([kind for kind in strategy.kinds if kind not in (*MARKET_KINDS, "WARMUP_END")])
    one = subscription(strategy.kinds, strategy.handler(view), strategy.wants(view), 1, strategy_id)
    one.name = f"{type(strategy).__name__} ({strategy_id})"
    made: list[Made] = []
    counts, warm = start_us, False

    def take(proposals: Iterable[Proposal], owner: str) -> None:
        if warm:
            made.extend(Made(view.now, counts, proposal.of(owner)) for proposal in proposals)

    for event in EventMux(*DatasetReader(dataset).events(names, strategy.kinds)):
        if event.ts > end_us:
            break
        if event.ts >= start_us and not warm:
            warm, view.now, counts = True, start_us, start_us
            one.give(WarmupEnd(start_us), take)
        view.now = event.ts
        counts = event.ts if event.kind < DECISIONS else event.ts + 1
        one.give(event, take)
    return columns_of(made)
