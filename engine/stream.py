"""Proposals that are made while the run goes on: how they come among those given beforehand.

The replay wants one table, sorted and frozen.  A ``Feed`` hands it that table's rows when their time comes: at each instant those given
for it and those made for it, in order, at the end of all before.  Rows once handed over never move, so what the ledger says of a
proposal's place stays true, and is what it would be had the whole table been there from the start.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.arrays import frozen
from engine.proposal import Proposal
from engine.proposals import Proposals, build_proposals
from engine.schema import NEVER, OPTIONAL_COLUMNS, OnHeld, default_of
from engine.settings import Settings
from engine.state import State
from engine.tape import Tape

ROOM = 1024


class Made(NamedTuple):
    """A proposal made in a session, and from when it counts."""

    ts: int  # us, UTC; the instant at which it was made
    available_ts: int  # us, UTC
    proposal: Proposal


def columns_of(made: Sequence[Made]) -> dict[str, list[Any]]:
    """A table of proposals, in the order in which they were made."""
    columns: dict[str, list[Any]] = {
        "ts": [one.ts for one in made],
        "available_ts": [one.available_ts for one in made],
        "symbol": [one.proposal.symbol for one in made],
        "strategy": [one.proposal.strategy for one in made],
        "action": [int(one.proposal.action) for one in made],
    }
    for name in dict.fromkeys(name for one in made for name in one.proposal.values):
        default = default_of(name)
        columns[name] = [one.proposal.values.get(name, default) for one in made]
    return columns


class Feed:
    """The table of a run's proposals, as far as it has been handed to the replay.

    Parameters
    ----------
    given
        What was known beforehand.
    past
        Columns of the rows handed over so far.
    made
        How many of these were made on the way.
    """

    def __init__(self, given: Proposals, past: Mapping[str, NDArray[Any]], made: int) -> None:
        self.given, self.made, self.size = given, made, len(past["ts"])
        self._given = _padded(given.arrays())
        self._columns = {name: _with_room(column, self.size, ROOM) for name, column in _padded(past).items()}

    def due(self) -> int:
        """Time of the next row that was given beforehand; NEVER if there is none."""
        at = self.size - self.made
        return int(self.given.available_ts[at]) if at < len(self.given.available_ts) else NEVER

    def hand_over(self, now: int, made: Proposals | None) -> int:
        """Append the rows given for an instant and those made for it, in order; how many they are."""
        first = self.size - self.made
        stop = int(np.searchsorted(self.given.available_ts, now, "right"))
        parts = [{name: column[first:stop] for name, column in self._given.items()}]
        if made is not None:
            parts.append(_padded(made.arrays()))
            self.made += len(made.ts)
        rows = {name: np.concatenate([part[name] for part in parts]) for name in self._columns}
        order = np.lexsort((rows["strategy"], rows["symbol"]))
        old, self.size = self.size, self.size + len(order)
        for name, column in rows.items():
            if self.size > len(self._columns[name]):
                self._columns[name] = _with_room(self._columns[name], old, self.size + ROOM)
            self._columns[name][old : self.size] = column[order]
        return len(order)

    def table(self) -> Proposals:
        """The rows handed over so far."""
        return Proposals(**{name: frozen(column[: self.size]) for name, column in self._columns.items()})

    def whole(self) -> Proposals:
        """The rows handed over so far, then the rest of those given."""
        rest = self._given
        first = self.size - self.made
        return Proposals(
            **{name: frozen(np.concatenate([column[: self.size], rest[name][first:]])) for name, column in self._columns.items()}
        )


def lowered(made: Sequence[Made], tape: Tape, settings: Settings) -> Proposals:
    """The proposals made for one instant as arrays, in order."""
    return build_proposals(columns_of(made), (), (), tape, settings)


def with_room_for(state: State, n_proposals: int, batch: int) -> State:
    """A state whose arrays hold so many proposals, and so many at one instant."""
    wanted = {"outcomes": n_proposals, "ranked": batch, "reasons": batch, "keys": batch, "turns": batch}
    if state.rules[0]["aiming"] or np.isin(state.desks["on_held"], (OnHeld.ADD, OnHeld.REPLACE_LEVELS)).any():
        wanted["changes"] = n_proposals
    small = {name: size for name, size in wanted.items() if len(getattr(state, name)) < size}
    return state.replace(**{name: _with_room(getattr(state, name), None, size) for name, size in small.items()}) if small else state


def _padded(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Columns of one length: those that a table does without hold their default."""
    n = len(arrays["ts"])
    absent = [name for name in OPTIONAL_COLUMNS if len(arrays[name]) < n]
    return dict(arrays) | {name: np.full(n, default_of(name), OPTIONAL_COLUMNS[name]) for name in absent}


def _with_room(column: NDArray[Any], used: int | None, more: int) -> NDArray[Any]:
    """A copy with at least twice the room, zero beyond what is used."""
    used = len(column) if used is None else used
    grown = np.zeros(max(2 * used, used + more), column.dtype)
    grown[:used] = column[:used]
    return grown
