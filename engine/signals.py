"""Strategies of the classic kind: ``signal(index, slices)`` answers each closed bar with a dictionary, or nothing.

The dictionary is checked and becomes a proposal:

========== =============================================================================================================
direction  ``buy`` or ``long``, ``sell`` or ``short``, ``exit``; needed
type       ``market`` (default), ``limit`` or ``stop``; the last two need ``entry``
entry      price of a limit or stop order; of a market order the price that sl and tp are checked against (default: the close)
sl, tp     stop and target, as prices; on their sides of the entry
score      rank among the entries of the instant
reason, tags, scenario, meta  text, texts, text, and plain values: kept beside the proposal, in ``signals``
========== =============================================================================================================
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

import numpy as np

from engine.mux import CandleClose
from engine.proposal import Proposal
from engine.schema import Action, OrderType
from engine.strategy import EventStrategy
from engine.view import Rows, View

DIRECTIONS: Mapping[str, Action] = {
    "buy": Action.ENTER_LONG,
    "long": Action.ENTER_LONG,
    "sell": Action.ENTER_SHORT,
    "short": Action.ENTER_SHORT,
    "exit": Action.EXIT,
}
TYPES = ("market", "limit", "stop")
PRICES = ("entry", "sl", "tp")
KEYS = ("direction", *PRICES, "type", "score", "reason", "tags", "scenario", "meta")
REMARKS = ("reason", "tags", "scenario", "meta")


class SignalError(ValueError):
    """A signal that cannot be used; the message names the bar, the key, the value and what is allowed."""


class Slices(Mapping[str, Rows]):
    """Rows of one symbol by interval, through the bar that has just closed."""

    def __init__(self, view: View, symbol: str) -> None:
        self._view, self.symbol, self._intervals = view, symbol, view.intervals(symbol)

    def __getitem__(self, interval: str) -> Rows:
        if interval not in self._intervals:
            raise KeyError(f"{self.symbol} has no bars at {interval!r}; it has {', '.join(self._intervals)}")
        return self._view.history(self.symbol, interval)

    def __iter__(self) -> Iterator[str]:
        return iter(self._intervals)

    def __len__(self) -> int:
        return len(self._intervals)


class SignalStrategy(EventStrategy):
    """A strategy that has ``signal(index, slices)``; it is asked at every close of the series the run executes on.

    Attributes
    ----------
    signals
        The checked signals so far, with ``ts`` and ``symbol``: those of the run and of its warm-up.
    """

    signals: list[dict[str, Any]]

    def signal(self, index: int, slices: Slices) -> Mapping[str, Any] | None:
        """Answer a closed bar.

        Parameters
        ----------
        index
            Place of the bar in its series, from 0.
        slices
            Rows by interval, through this bar, so ``slices["1h"]["close"][index]`` is its close where the run executes on ``1h``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no signal")

    def on_event(self, event: CandleClose, view: View) -> Proposal | None:
        """Ask for a signal, check it and make a proposal of it."""
        given = self.signal(event.sequence, Slices(view, event.symbol))
        if given is None:
            return None
        where = f"signal of {type(self).__name__} at bar {event.sequence} of {event.symbol} ({np.datetime64(event.ts, 'us')}Z)"
        checked = normalised(given, event.close, where)
        vars(self).setdefault("signals", []).append({"ts": event.ts, "symbol": event.symbol, **checked})
        return proposal_of(event.symbol, checked)


def normalised(given: Mapping[str, Any], close: float, where: str = "signal") -> dict[str, Any]:
    """A signal with every key, checked; prices that are not given are None.

    Raises
    ------
    SignalError
        If a key is unknown or missing, or a value makes no sense.

    Examples
    --------
    >>> normalised({"direction": "buy", "sl": 95.0}, 100.0)["direction"]
    'long'
    >>> normalised({"direction": "sell", "sl": 95.0}, 100.0)
    Traceback (most recent call last):
    engine.signals.SignalError: signal: sl 95.0 is not above the entry 100.0 of a short
    """
    if not isinstance(given, Mapping):
        raise SignalError(f"{where}: a signal is a dictionary or None, not {given!r:.80}")
    for key in given:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"keys are {', '.join(KEYS)}"
            raise SignalError(f"{where}: no key {key!r}; {hint}")
    checked: dict[str, Any] = {"direction": _direction(given, where), "type": _type(given, where)}
    checked |= {name: _price(given.get(name), name, where) for name in PRICES}
    if checked["type"] != "market" and checked["entry"] is None:
        raise SignalError(f"{where}: a {checked['type']} order needs entry, its price")
    _check_sides(checked, close, where)
    checked["score"] = _score(given.get("score"), where)
    return checked | {name: _remark(given.get(name), name, where) for name in REMARKS}


def proposal_of(symbol: str, signal: Mapping[str, Any]) -> Proposal:
    """The proposal that a checked signal asks for."""
    action = {"long": Action.ENTER_LONG, "short": Action.ENTER_SHORT, "exit": Action.EXIT}[signal["direction"]]
    values = {"stop_loss": signal["sl"], "take_profit": signal["tp"], "score": signal["score"]}
    if signal["type"] != "market":
        values |= {"order_type": int(OrderType[signal["type"].upper()]), f"{signal['type']}_price": signal["entry"]}
    return Proposal(symbol, action, **{name: value for name, value in values.items() if value is not None})


def _direction(given: Mapping[str, Any], where: str) -> str:
    allowed = ", ".join(DIRECTIONS)
    if given.get("direction") is None:
        raise SignalError(f"{where}: it has no direction; directions are {allowed}")
    word = given["direction"]
    if not isinstance(word, str) or word.lower() not in DIRECTIONS:
        raise SignalError(f"{where}: direction {word!r} is not one of {allowed}")
    return {Action.ENTER_LONG: "long", Action.ENTER_SHORT: "short", Action.EXIT: "exit"}[DIRECTIONS[word.lower()]]


def _type(given: Mapping[str, Any], where: str) -> str:
    word = given.get("type") or "market"
    if not isinstance(word, str) or word.lower() not in TYPES:
        raise SignalError(f"{where}: type {word!r} is not one of {', '.join(TYPES)}")
    return word.lower()


def _price(value: Any, name: str, where: str) -> float | None:
    if value is None:
        return None
    number = _number(value, name, where)
    if not number > 0:
        raise SignalError(f"{where}: {name} {value!r} is not a positive price")
    return number


def _score(value: Any, where: str) -> float | None:
    return None if value is None else _number(value, "score", where)


def _number(value: Any, name: str, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SignalError(f"{where}: {name} {value!r} is not a number") from None
    if not isfinite(number):
        raise SignalError(f"{where}: {name} is {number}; leave the key out where there is none")
    return number


def _check_sides(signal: Mapping[str, Any], close: float, where: str) -> None:
    direction, entry = signal["direction"], close if signal["entry"] is None else signal["entry"]
    if direction == "exit":
        said = [name for name in PRICES if signal[name] is not None]
        if said or signal["type"] != "market":
            raise SignalError(f"{where}: an exit takes the whole position at the market; leave out {', '.join(said) or 'type'}")
        return
    side = 1 if direction == "long" else -1
    for name, wanted in (("sl", -side), ("tp", side)):
        level = signal[name]
        if level is not None and not wanted * (level - entry) > 0:
            raise SignalError(f"{where}: {name} {level} is not {'above' if wanted > 0 else 'below'} the entry {entry} of a {direction}")


def _remark(value: Any, name: str, where: str) -> Any:
    if value is None:
        return {"tags": [], "meta": {}}.get(name)
    if name in ("reason", "scenario") and not isinstance(value, str):
        raise SignalError(f"{where}: {name} is text, not {value!r:.80}")
    if name == "tags":
        tags = [value] if isinstance(value, str) else value
        if not isinstance(tags, list | tuple) or not all(isinstance(tag, str) for tag in tags):
            raise SignalError(f"{where}: tags are a list of texts, not {value!r:.80}")
        return list(tags)
    if name == "meta":
        if not isinstance(value, Mapping):
            raise SignalError(f"{where}: meta is a dictionary, not {value!r:.80}")
        try:
            return json.loads(json.dumps(dict(value), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise SignalError(f"{where}: meta holds what is not plain: {error}") from None
    return value
