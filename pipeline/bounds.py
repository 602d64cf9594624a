"""``intrabar: bounds``: the pessimistic replay, which is the run, beside the optimistic one.                    # R3.7

For one trade the truth lies between the two.  For the portfolio it need not: a trade that ends elsewhere frees its cash and its slot at
another time, and what follows differs.
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.build import iso
from pipeline.metrics import Metrics

if TYPE_CHECKING:
    from pipeline.result import Result


@dataclass(frozen=True)
class AmbiguousTrade:
    """A trade that left in a bar whose pessimistic and optimistic exits differ; money in units of the account currency.

    ``pnl_optimistic`` is None where the optimistic replay did not make the trade.
    """

    trade: int  # number in ``Result.trades``
    symbol: str
    strategy: str
    side: str
    entry: str
    exit: str
    pnl: float
    pnl_optimistic: float | None


@dataclass(frozen=True)
class Bounds:
    """What hangs on the order of prices inside bars.

    Attributes
    ----------
    optimistic
        Figures of the optimistic replay; those of the run are the pessimistic ones.
    optimistic_hash
        Its ``result_hash``.
    spread
        Its net profit less that of the run.
    ambiguous_share
        Share of the ambiguous trades in the absolute profits and losses of all trades of the run; None where nothing was won or lost.
    ambiguous_trades
        These trades, in the order of entries.
    """

    optimistic: Metrics
    optimistic_hash: str
    spread: float
    ambiguous_share: float | None
    ambiguous_trades: tuple[AmbiguousTrade, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"ambiguous_trades": [asdict(trade) for trade in self.ambiguous_trades]}


def bounds(run: "Result", optimistic: "Result") -> Bounds:
    """Compare a run with its optimistic replay."""
    trades, other = run.trade_records, counterparts(run.trade_records, optimistic.trade_records)
    ambiguous = trades["ambiguous"] == 1
    moved = int(np.abs(trades["pnl"]).sum())
    return Bounds(
        optimistic=optimistic.metrics,
        optimistic_hash=optimistic.result_hash,
        spread=(optimistic.replay.final_equity - run.replay.final_equity) / run.replay.settings.scale,
        ambiguous_share=int(np.abs(trades["pnl"][ambiguous]).sum()) / moved if moved else None,
        ambiguous_trades=tuple(_ambiguous(run, int(place), other[int(place)]) for place in np.flatnonzero(ambiguous)),
    )


def counterparts(trades: NDArray[Any], others: NDArray[Any]) -> list[int | None]:
    """Profit, in money units, of the trade of another replay with the same strategy, symbol, side and entry; None where there is none."""
    names = ["symbol", "strategy", "side", "entry_ts"]
    profits: dict[tuple[int, ...], list[int]] = {}
    for key, pnl in zip(others[names].tolist(), others["pnl"].tolist(), strict=True):
        profits.setdefault(key, []).append(pnl)
    return [found.pop(0) if (found := profits.get(key)) else None for key in trades[names].tolist()]


def _ambiguous(run: "Result", place: int, other: int | None) -> AmbiguousTrade:
    trade, scale = run.trade_records[place], run.replay.settings.scale
    return AmbiguousTrade(
        trade=place + 1,
        symbol=run.replay.symbols[trade["symbol"]],
        strategy=run.replay.strategies[trade["strategy"]],
        side="long" if trade["side"] > 0 else "short",
        entry=iso(int(trade["entry_ts"])),
        exit=iso(int(trade["exit_ts"])) if not trade["open"] else "",
        pnl=int(trade["pnl"]) / scale,
        pnl_optimistic=None if other is None else other / scale,
    )
