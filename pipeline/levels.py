"""Stop and target of a trade as they moved and were changed, worked out from its proposals and the bars.  # R2.1, R3.5, R4.3"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engine.models import ModelKind
from engine.schema import LevelKind, StopAnchor, TrailingMode
from pipeline.bar_lookup import Market, on_grid


@dataclass(frozen=True)
class Asked:
    """Levels that a proposal asks for, on the tick; NaN where it says nothing of one.

    Attributes
    ----------
    ts
        When they were decided, or filled (us, UTC).
    price
        That distances and fractions are of, and the extreme starts at.
    added
        Whether they came with a fill: a break-even distance then counts from it.
    later
        Whether the bar that opens then does not see them.
    inside
        Whether they came with a fill inside the bar that closes then, and so before its close.
    """

    ts: int
    price: float
    stop: float
    target: float
    trailing: float
    break_even: float
    added: bool = True
    later: bool = False
    inside: bool = False

    @property
    def says_something(self) -> bool:
        """Whether it asks for any level."""
        return not all(map(math.isnan, (self.stop, self.target, self.trailing, self.break_even)))


@dataclass(frozen=True)
class Step:
    """Levels from a time on: after a close that moved the stop, or a change."""

    ts: int
    stop: float
    target: float
    trailing: float
    changed: bool


@dataclass(frozen=True)
class Levels:
    """Levels of a position from its entry to its exit; NaN where there is none.

    ``steps`` are what closes and changes made of them, in time.
    """

    stop: float
    target: float
    trailing: float
    break_even: float
    steps: list[Step] = field(default_factory=list)
    latency_us: int = 0
    inside: "_Mover | None" = None
    touched_row: int = -1

    @property
    def moves(self) -> list[tuple[int, float]]:
        """Times (us, UTC) of the closes that moved the stop, and the stop after each."""
        return [(step.ts, step.stop) for step in self.steps if not step.changed]

    def acting(self, open_ts: int) -> Step:
        """What a bar that opens then sees."""
        seen = [step for step in self.steps if step.ts + self.latency_us <= open_ts]
        return seen[-1] if seen else Step(0, self.stop, self.target, self.trailing, False)

    def stop_in_bar(self, row: int, open_ts: int) -> float:
        """The stop that acts in a bar; with ``trailing_mode: intrabar`` its own extreme, short of the target, has moved it."""
        acting = self.acting(open_ts)
        if self.inside is None or row == self.touched_row or math.isnan(acting.trailing):
            return acting.stop
        side, extreme = self.inside.side, self.inside.best(row)
        extreme = acting.target if side * (extreme - acting.target) > 0 else extreme
        return self.inside.better(acting.stop, extreme - side * acting.trailing, open_ts)


def asked_of(
    market: Market, proposal: int, ts: int, price: float, side: int, *, added: bool = True, later: bool = False, inside: bool = False
) -> Asked:
    """The levels that a proposal asks for with a fill, or for what is held.

    Parameters
    ----------
    proposal
        Row of the run's proposals.
    price
        Of the fill; of a proposal on what is held, the last close.
    """
    table, symbol = market.proposals, int(market.proposals.symbol[proposal])
    anchor = float(market.tape.close[table.row[proposal]]) if market.settings.stop_anchor == StopAnchor.ENTRY_CLOSE else price
    stop = _level(market, symbol, float(table.stop_loss[proposal]), int(table.stop_loss_kind[proposal]), anchor, -side, ts)
    target = _level(market, symbol, float(table.take_profit[proposal]), int(table.take_profit_kind[proposal]), anchor, side, ts)
    trailing, break_even = (
        _distance(float(getattr(table, name)[proposal]), int(getattr(table, f"{name}_kind")[proposal]), price)
        for name in ("trailing", "break_even")
    )
    return Asked(ts, price, stop, target, trailing, break_even, added, later, inside)


def levels_of(
    market: Market, proposal: int, first: Asked, side: int, exit_ts: int, changes: Sequence[Asked] = (), *, touched: bool = False
) -> Levels | None:
    """The levels of a position from its fill through its exit; None where a split between restates them, or the user's model moves them.

    Parameters
    ----------
    proposal
        Row of the run's proposals that opened it.
    first, changes
        What came with the fill, and what adds and proposals changed later, in time.
    exit_ts
        Closes before it move the stop (us, UTC).
    touched
        Whether the inside of the bar that closed at the fill's time filled it: of that bar, the close alone moves the stop.
    """
    symbol, settings = int(market.proposals.symbol[proposal]), market.settings
    if settings.model(ModelKind.EXIT) is not None or market.splits(symbol, int(market.proposals.ts[proposal]), exit_ts + 1):
        return None
    rule = _Mover(market, symbol, side, first.price, first.trailing, first.break_even)
    begun = rule.moved(first.stop, first.price, first.ts)
    walk = _Walk(rule, begun, first.target, first.price, market.last_row(symbol, first.ts) if touched else -1)
    walk.through(first.ts, exit_ts, list(changes))
    trails = any(not math.isnan(one.trailing) for one in (first, *changes))
    inside = rule if settings.trailing_mode == TrailingMode.INTRABAR and trails else None
    return Levels(begun, first.target, first.trailing, first.break_even, walk.steps, settings.latency_us, inside, walk.touched_row)


def _distance(distance: float, kind: int, entry_price: float) -> float:
    """A trailing or break-even distance in prices; NaN where there is none."""
    if kind == LevelKind.FRACTION:
        distance *= entry_price
    return distance if 0.0 < distance < math.inf else math.nan


def _level(market: Market, symbol: int, level: float, kind: int, anchor: float, direction: int, ts: int) -> float:
    """A level beyond the anchor; away from the position's own side, whichever level it is.  # R2.7"""
    price = anchor * (1.0 + direction * level) if kind == LevelKind.FRACTION else level
    if not 0.0 < price < math.inf:
        return math.nan
    price = on_grid(price, market.tick(symbol, ts), up=direction > 0)
    return price if price > 0.0 else math.nan


@dataclass(frozen=True)
class _Mover:
    """The rule that moves the stop of one position.  # R3.5"""

    market: Market
    symbol: int
    side: int
    entry_price: float
    trailing: float
    break_even: float

    @property
    def moves(self) -> bool:
        return not (math.isnan(self.trailing) and math.isnan(self.break_even))

    def moved(self, stop: float, extreme: float, ts: int) -> float:
        """The stop after an extreme."""
        stop = self.better(stop, extreme - self.side * self.trailing, ts)
        if self.side * (extreme - (self.entry_price + self.side * self.break_even)) >= 0:
            stop = self.better(stop, self.entry_price, ts)
        return stop

    def better(self, stop: float, raw: float, ts: int) -> float:
        """The better of a stop and another price, on the tick away from the market."""
        if not raw > 0.0:
            return stop
        level = on_grid(raw, self.market.tick(self.symbol, ts), up=self.side < 0)
        return stop if level <= 0.0 or self.side * (level - stop) <= 0 else level

    def best(self, row: int) -> float:
        """The price of a bar furthest on the side of the position."""
        return self.market.price("high" if self.side > 0 else "low", -self.side, row)


@dataclass
class _Walk:
    """The closes and changes of one position, one after the other.  # R3.5, R4.3"""

    rule: _Mover
    stop: float
    target: float
    extreme: float
    touched_row: int
    from_row: int = -1  # first bar whose close moves the stop
    steps: list[Step] = field(default_factory=list)

    def through(self, entry_ts: int, exit_ts: int, changes: list[Asked]) -> None:
        """Go from the entry to the exit."""
        market, symbol = self.rule.market, self.rule.symbol
        row = self.touched_row if self.touched_row >= 0 else market.row_opening(symbol, entry_ts)
        row = market.last_row(symbol, entry_ts) + 1 if row < 0 else row
        while (self.rule.moves or changes) and row < market.tape.stop[symbol] and market.tape.ts[row] < exit_ts:
            while changes and changes[0].ts - changes[0].inside < market.tape.ts[row]:
                self.change(changes.pop(0))
            if self.rule.moves and row >= self.from_row:
                self.close(row)
            row += 1
        for asked in changes:
            self.change(asked)

    def close(self, row: int) -> None:
        """The close of a bar moves the stop."""
        rule, ts = self.rule, int(self.rule.market.tape.ts[row])
        reached = rule.market.price("close", -rule.side, row) if row == self.touched_row else rule.best(row)
        self.extreme = max(self.extreme, reached) if rule.side > 0 else min(self.extreme, reached)
        moved = rule.moved(self.stop, self.extreme, ts)
        if moved != self.stop:
            self.stop = moved
            self.steps.append(Step(ts, moved, self.target, rule.trailing, False))

    def change(self, asked: Asked) -> None:
        """What is asked takes the place of what was; the rest stays."""
        rule, given = self.rule, {name: value for name in ("stop", "target") if not math.isnan(value := getattr(asked, name))}
        self.stop, self.target = given.get("stop", self.stop), given.get("target", self.target)
        if not (math.isnan(asked.trailing) and math.isnan(asked.break_even)):
            opening = rule.market.tape.open_ts[: rule.market.tape.stop[rule.symbol]]
            begin = int(rule.market.tape.oldest[rule.symbol])
            self.extreme, self.from_row = asked.price, begin + int(np.searchsorted(opening[begin:], asked.ts))
        if not math.isnan(asked.trailing):
            rule = replace(rule, trailing=asked.trailing)
        if not math.isnan(asked.break_even):
            rule = replace(rule, break_even=asked.break_even, entry_price=asked.price if asked.added else rule.entry_price)
        self.rule = rule
        if rule.moves:
            self.stop = rule.moved(self.stop, self.extreme, asked.ts)
        self.steps.append(Step(asked.ts + asked.later, self.stop, self.target, rule.trailing, True))
