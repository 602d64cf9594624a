"""Stop and target of a trade as they moved, worked out from its proposal and the bars.  # R2.1, R3.5"""

import math
from dataclasses import dataclass, field

from engine.schema import LevelKind
from pipeline.bar_lookup import Market, on_grid


@dataclass(frozen=True)
class Levels:
    """Levels of a position; NaN where there is none.

    ``moves`` are the times (us, UTC) of the closes that moved the stop, and the stop after each.
    """

    stop: float
    target: float
    trailing: float
    moves: list[tuple[int, float]] = field(default_factory=list)
    latency_us: int = 0

    def stop_in_bar(self, open_ts: int) -> float:
        """The stop that acts in the bar that opens at a time."""
        acting = [stop for ts, stop in self.moves if ts + self.latency_us <= open_ts]
        return acting[-1] if acting else self.stop


def levels_of(market: Market, proposal: int, entry_ts: int, entry_price: float, side: int, exit_ts: int) -> Levels:
    """The levels that a proposal asked for, from the fill through the exit.

    Parameters
    ----------
    proposal
        Row of the run's proposals.
    exit_ts
        Closes before it move the stop (us, UTC).
    """
    table = market.proposals
    symbol = int(table.symbol[proposal])
    stop = _level(market, symbol, float(table.stop_loss[proposal]), int(table.stop_loss_kind[proposal]), entry_price, -side)
    target = _level(market, symbol, float(table.take_profit[proposal]), int(table.take_profit_kind[proposal]), entry_price, side)
    distance = float(table.trailing[proposal])
    if table.trailing_kind[proposal] == LevelKind.FRACTION:
        distance *= entry_price
    if not 0.0 < distance < math.inf:
        return Levels(stop, target, math.nan)
    first = _better(market, symbol, side, entry_price - side * distance, stop)
    moves = _moves(market, symbol, side, distance, first, entry_ts, entry_price, exit_ts)
    return Levels(first, target, distance, moves, market.settings.latency_us)


def _level(market: Market, symbol: int, level: float, kind: int, anchor: float, direction: int) -> float:
    """A level beyond the anchor; away from the position's own side, whichever level it is.  # R2.7"""
    price = anchor * (1.0 + direction * level) if kind == LevelKind.FRACTION else level
    if not 0.0 < price < math.inf:
        return math.nan
    price = on_grid(price, market.instrument(symbol).tick, up=direction > 0)
    return price if price > 0.0 else math.nan


def _better(market: Market, symbol: int, side: int, raw: float, stop: float) -> float:
    """The better of a stop and a trailing level."""
    level = on_grid(raw, market.instrument(symbol).tick, up=side < 0) if raw > 0.0 else 0.0
    return stop if level <= 0.0 or side * (level - stop) <= 0 else level


def _moves(
    market: Market, symbol: int, side: int, distance: float, stop: float, entry_ts: int, extreme: float, exit_ts: int
) -> list[tuple[int, float]]:
    row = market.row_opening(symbol, entry_ts)
    row = market.last_row(symbol, entry_ts) + 1 if row < 0 else row
    found = []
    while row < market.tape.stop[symbol] and market.tape.ts[row] < exit_ts:
        best = market.price("high" if side > 0 else "low", -side, row)
        extreme = max(extreme, best) if side > 0 else min(extreme, best)
        moved = _better(market, symbol, side, extreme - side * distance, stop)
        if moved != stop:
            stop = moved
            found.append((int(market.tape.ts[row]), stop))
        row += 1
    return found
