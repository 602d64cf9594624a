"""The proposals of a run as objects, in their total order."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from engine.schema import OPTIONAL_COLUMNS, PROPOSAL_COLUMNS, Action, LevelKind, OrderType, TimeInForce
from engine.settings import Settings

DEFAULTS = {
    "score": 0.0,
    "stop_loss": math.nan,
    "stop_loss_kind": LevelKind.PRICE,
    "take_profit": math.nan,
    "take_profit_kind": LevelKind.PRICE,
    "trailing": math.nan,
    "trailing_kind": LevelKind.PRICE,
    "break_even": math.nan,
    "break_even_kind": LevelKind.PRICE,
    "max_bars": 0,
    "weight": math.nan,
    "volatility": math.nan,
    "win_probability": math.nan,
    "payoff": math.nan,
    "leg": 0,
    "order_type": OrderType.MARKET,
    "limit_price": math.nan,
    "stop_price": math.nan,
    "tif": TimeInForce.GTC,
    "tif_value": 0,
}


class Proposal(NamedTuple):
    """One row of a proposal table; ``row`` is its place in the sorted table."""

    ts: int
    available_ts: int
    symbol: str
    strategy: str
    action: Action
    score: float
    stop_loss: float
    stop_loss_kind: LevelKind
    take_profit: float
    take_profit_kind: LevelKind
    trailing: float
    trailing_kind: LevelKind
    break_even: float
    break_even_kind: LevelKind
    max_bars: int
    weight: float
    volatility: float
    win_probability: float
    payoff: float
    leg: int
    order_type: OrderType
    limit_price: float
    stop_price: float
    tif: TimeInForce
    tif_value: int
    sequence: int
    row: int = 0
    aimed: bool = False  # an entry that a target has become

    @property
    def key(self) -> tuple[str, str]:
        """What a position belongs to, in the order of positions."""
        return (self.symbol, self.strategy)

    @property
    def side(self) -> int:
        """Side of an entry: +1 long, -1 short."""
        return 1 if self.action == Action.ENTER_LONG else -1

    @property
    def unit(self) -> tuple[str, int]:
        """The decision that it is a leg of; its own where it has no leg."""
        return (self.strategy, self.leg if self.leg > 0 else -1 - self.row)

    @property
    def is_entry(self) -> bool:
        """Whether it asks for a position."""
        return self.action in (Action.ENTER_LONG, Action.ENTER_SHORT)

    @property
    def value(self) -> float:
        """The score as a ledger stores it."""
        return 0.0 if math.isnan(self.score) else self.score


def read_proposals(table: Mapping[str, Sequence[Any]], settings: Settings) -> list[Proposal]:
    """The rows sorted by (available_ts, symbol, strategy, sequence).

    Raises
    ------
    ValueError
        A column, symbol or strategy is not known, or a row claims to be known before its own time.      # R1.7
    """
    columns = _columns(table)
    rows = [Proposal(**dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)]
    symbols = {instrument.symbol for instrument in settings.instruments}
    strategies = {strategy.id for strategy in settings.strategies}
    for proposal in rows:
        if proposal.symbol not in symbols or proposal.strategy not in strategies:
            raise ValueError(f"proposal for {proposal.key}: not a symbol and strategy of the run")
        if proposal.available_ts < proposal.ts:
            raise ValueError(f"proposal for {proposal.key} at {proposal.ts}: available_ts {proposal.available_ts} is earlier")
    rows = [one._replace(available_ts=max(one.available_ts, settings.start_us)) for one in rows]
    rows.sort(key=lambda one: (one.available_ts, one.symbol, one.strategy, one.sequence))
    return [proposal._replace(row=row, action=Action(proposal.action)) for row, proposal in enumerate(rows)]


def _columns(table: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    names = PROPOSAL_COLUMNS | OPTIONAL_COLUMNS
    if unknown := set(table) - set(names):
        raise ValueError(f"unknown proposal columns {sorted(unknown)}")
    given = {name: [_plain(value) for value in values] for name, values in table.items()}
    rows = len(given["ts"])
    computed = {"available_ts": given["ts"], "sequence": list(range(rows))}
    return {name: given.get(name) or computed.get(name) or [DEFAULTS.get(name)] * rows for name in names}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
