"""Stop and target of a trade as they moved, worked out from its proposal and the bars.  # R2.1, R3.5"""

import math
from dataclasses import dataclass, field

from engine.models import ModelKind
from engine.schema import LevelKind, StopAnchor, TrailingMode
from pipeline.bar_lookup import Market, on_grid


@dataclass(frozen=True)
class Levels:
    """Levels of a position; NaN where there is none.

    ``moves`` are the times (us, UTC) of the closes that moved the stop, and the stop after each.
    """

    stop: float
    target: float
    trailing: float
    break_even: float
    moves: list[tuple[int, float]] = field(default_factory=list)
    latency_us: int = 0
    inside: "_Mover | None" = None
    touched_row: int = -1

    def stop_in_bar(self, row: int, open_ts: int) -> float:
        """The stop that acts in a bar; with ``trailing_mode: intrabar`` its own extreme, short of the target, has moved it."""
        acting = [stop for ts, stop in self.moves if ts + self.latency_us <= open_ts]
        stop = acting[-1] if acting else self.stop
        if self.inside is None or row == self.touched_row:
            return stop
        side, extreme = self.inside.side, self.inside.best(row)
        extreme = self.target if side * (extreme - self.target) > 0 else extreme
        return self.inside.better(stop, extreme - side * self.trailing, open_ts)


def levels_of(
    market: Market, proposal: int, entry_ts: int, entry_price: float, side: int, exit_ts: int, *, touched: bool = False
) -> Levels | None:
    """The levels that a proposal asked for, from the fill through the exit; None where a split between restates them, or the user's model moves them.

    Parameters
    ----------
    proposal
        Row of the run's proposals.
    exit_ts
        Closes before it move the stop (us, UTC).
    touched
        Whether the inside of the bar that closed at ``entry_ts`` filled it: of that bar, the close alone moves the stop.
    """
    table, settings = market.proposals, market.settings
    symbol = int(table.symbol[proposal])
    if settings.model(ModelKind.EXIT) is not None or market.splits(symbol, int(table.ts[proposal]), exit_ts + 1):
        return None
    anchor = float(market.tape.close[table.row[proposal]]) if settings.stop_anchor == StopAnchor.ENTRY_CLOSE else entry_price
    stop = _level(market, symbol, float(table.stop_loss[proposal]), int(table.stop_loss_kind[proposal]), anchor, -side, entry_ts)
    target = _level(market, symbol, float(table.take_profit[proposal]), int(table.take_profit_kind[proposal]), anchor, side, entry_ts)
    trailing, break_even = (
        _distance(float(getattr(table, name)[proposal]), int(getattr(table, f"{name}_kind")[proposal]), entry_price)
        for name in ("trailing", "break_even")
    )
    rule = _Mover(market, symbol, side, entry_price, trailing, break_even)
    first = rule.moved(stop, entry_price, entry_ts)
    moves = _moves(rule, first, entry_ts, exit_ts, touched=touched) if rule.moves else []
    inside = rule if settings.trailing_mode == TrailingMode.INTRABAR and not math.isnan(trailing) else None
    return Levels(
        first, target, trailing, break_even, moves, settings.latency_us, inside, market.last_row(symbol, entry_ts) if touched else -1
    )


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


def _moves(rule: _Mover, stop: float, entry_ts: int, exit_ts: int, *, touched: bool) -> list[tuple[int, float]]:
    market, extreme, found = rule.market, rule.entry_price, []
    inside = market.last_row(rule.symbol, entry_ts) if touched else -1
    row = inside if touched else market.row_opening(rule.symbol, entry_ts)
    row = market.last_row(rule.symbol, entry_ts) + 1 if row < 0 else row
    while row < market.tape.stop[rule.symbol] and market.tape.ts[row] < exit_ts:
        reached = market.price("close", -rule.side, row) if row == inside else rule.best(row)
        extreme = max(extreme, reached) if rule.side > 0 else min(extreme, reached)
        moved = rule.moved(stop, extreme, int(market.tape.ts[row]))
        if moved != stop:
            stop = moved
            found.append((int(market.tape.ts[row]), stop))
        row += 1
    return found
