"""``tapeline sensitivity``: what a run's result owes to its costs, and what becomes of it in a larger account.

Stage one is computed once; every row is a replay of the same proposals.  Sizes follow the equity, so costs change later sizes as well,
as they would have: a row is the run with that cost, not the run's trades with another cost subtracted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.models import ModelKind
from pipeline.errors import ConfigError
from pipeline.notices import LARGE_SHARE, shares_of_volume
from pipeline.progress import Progress, silent
from pipeline.summary import money_in, percent, ratio
from pipeline.variation import replayed, scaled_costs

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from engine.settings import Settings
    from pipeline.config import RunConfig
    from pipeline.config_risk import Size
    from pipeline.result import Result

COSTS = ("fees", "slippage and spread", "funding", "interest", "all of them")
MULTIPLES = (0.0, 2.0)
LARGEST_MULTIPLE = 1e6


@dataclass(frozen=True)
class Sensitivity:
    """Rows of plain values; amounts in account currency, fractions of 1."""

    name: str
    currency: str
    decimals: int
    costs: list[dict[str, Any]]
    capacity: list[dict[str, Any]]
    impact: bool
    unscaled: list[str]
    """Costs that no row multiplies: those of the user's own models, and the fee of a liquidation."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        names = ("name", "currency", "costs", "unscaled", "capacity", "impact")
        return {name: getattr(self, name) for name in names}

    def show(self, console: "Console") -> None:
        """Print the tables."""
        console.print(self._cost_table())
        if self.unscaled:
            console.print(f"! what these charge is multiplied in no row: {', '.join(self.unscaled)}", style="yellow", soft_wrap=True)
        if self.capacity:
            console.print()
            console.print(self._capacity_table())
            console.print("cash and fixed sizes grow together, so limits and fractions keep their meaning", style="dim")
            if not self.impact:
                console.print(
                    "! no impact is modelled: every size fills at the same prices, so read the shares of volume, not the returns",
                    style="yellow",
                )

    def _cost_table(self) -> "Table":
        money, charged = money_in(self.decimals), any(row["cost"] == "interest" for row in self.costs)
        last = ("fees", "funding", "interest") if charged else ("fees", "funding")
        table = _table(self.name, "", "final equity", "net profit", "change", "Sharpe", "max drawdown", "trades", *last)
        for row in self.costs:
            plain = row["cost"] == "none"
            name = "as configured" if plain else f"{row['cost']} x {row['multiple']:g}"
            change = "" if plain else f"{'+' if row['change'] >= 0 else ''}{money(row['change'])}"
            table.add_row(
                name, money(row["final_equity"]), money(row["net_profit"]), change, ratio(row["sharpe"]), percent(row["max_drawdown"]),
                f"{row['trades']:,}", money(-row["fees"]), *(money(row[name]) for name in last[1:]), style="bold" if plain else "",
            )  # fmt: skip
        return table

    def _capacity_table(self) -> "Table":
        money = money_in(self.decimals)
        table = _table(
            "size",
            "",
            "cash",
            "return",
            "Sharpe",
            "max drawdown",
            "trades",
            "share of bar volume: median",
            "95 %",
            "largest",
            "fills > 1 %",
        )
        for row in self.capacity:
            shares = (row["median_share"], row["share_95"], row["largest_share"])
            table.add_row(
                f"x {row['multiple']:g}", money(row["cash"]), percent(row["total_return"]), ratio(row["sharpe"]), percent(row["max_drawdown"]),
                f"{row['trades']:,}", *(percent(share) for share in shares), f"{row['large_fills']:,} of {row['fills']:,}",
            )  # fmt: skip
        return table


def _table(title: str, *columns: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(title)
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def sensitivity(result: "Result", multiples: Sequence[float] = (), progress: Progress = silent) -> Sensitivity:
    """Replay a run with its costs at none and twice, each alone and all together, and at multiples of its size.

    Parameters
    ----------
    multiples
        Of the account: initial cash, and with it every size that is an amount or a quantity.

    Raises
    ------
    ConfigError
        If a multiple cannot be replayed.
    """
    costs = [_cost_row(result, result, "none", 1.0)]
    for cost in costs_of(result):
        for multiple in MULTIPLES:
            progress(f"{cost} x {multiple:g}")
            costs.append(_cost_row(with_costs(result, cost, multiple), result, cost, multiple))
    capacity = []
    for multiple in multiples:
        progress(f"size x {multiple:g}")
        capacity.append(_capacity_row(larger(result, multiple), multiple))
    config = result.config
    return Sensitivity(
        config.name,
        config.account.currency,
        config.account.decimals,
        costs,
        capacity,
        _impact(config),
        unscaled_costs(result.replay.settings),
    )


def costs_of(result: "Result") -> tuple[str, ...]:
    """Those of ``COSTS`` that a run can have: interest where there is a rate of it."""
    charged = bool((result.replay.tape.interest_rate > 0.0).any())
    return tuple(cost for cost in COSTS if charged or cost != "interest")


def unscaled_costs(settings: "Settings") -> list[str]:
    """Costs of a run that ``with_costs`` leaves as they are."""
    own = {model.kind: f"execution.models.{model.kind.name.lower()} = {model.name}" for model in settings.models}
    if ModelKind.FILL in own:
        own.pop(ModelKind.SLIPPAGE, None)  # is not asked
    found = [own[kind] for kind in (ModelKind.FEE, ModelKind.SLIPPAGE, ModelKind.FILL) if kind in own]
    return [*found, f"account.liquidation_fee = {settings.liquidation_fee:g}"] if settings.liquidation_fee else found


def _impact(config: "RunConfig") -> bool:
    """Whether a larger order fills worse, or less of it; a model of the user's is told the size, and may."""
    execution = config.execution
    slippage = execution.slippage.model_dump(exclude_none=True).keys() - {"bps", "spread"}
    own = execution.models.slippage or execution.models.fill
    return bool(slippage or own) or execution.participation is not None


def with_costs(result: "Result", cost: str, multiple: float) -> "Result":
    """The run with one of ``COSTS`` times a factor."""
    every = cost == COSTS[-1]
    fees, slippage, funding, interest = (multiple if every or cost == name else 1.0 for name in COSTS[:-1])
    config = result.config.model_copy(update={"execution": scaled_costs(result.config.execution, fees, slippage)})
    return replayed(result, config, spread=slippage, funding=funding, interest=interest)


def larger(result: "Result", multiple: float) -> "Result":
    """The run in an account so many times as large."""
    return replayed(result, _enlarged(result.config, multiple))


def _enlarged(config: "RunConfig", multiple: float) -> "RunConfig":
    strategies = [
        one if one.size is None else one.model_copy(update={"size": _larger_size(one.size, multiple)}) for one in config.strategies
    ]
    cash = round(config.account.cash * multiple, config.account.decimals)
    return config.model_copy(
        update={
            "account": config.account.model_copy(update={"cash": cash}),
            "strategies": strategies,
            "risk": config.risk.model_copy(update={"size": _larger_size(config.risk.size, multiple)}),
        }
    )


def _larger_size(size: "Size", multiple: float) -> "Size":
    """Amounts and quantities grow; fractions grow with the equity by themselves."""
    given = {name: getattr(size, name) * multiple for name in ("fixed_qty", "fixed_notional") if getattr(size, name) is not None}
    return size.model_copy(update=given)


def _cost_row(found: "Result", plain: "Result", cost: str, multiple: float) -> dict[str, Any]:
    figures = found.metrics
    return {
        "cost": cost,
        "multiple": multiple,
        "final_equity": figures.final_equity,
        "net_profit": figures.net_profit,
        "change": (found.replay.final_equity - plain.replay.final_equity) / plain.replay.settings.scale,
        "sharpe": figures.sharpe,
        "max_drawdown": figures.max_drawdown,
        "trades": figures.trades,
        "fees": figures.fees,
        "funding": figures.funding,
        "interest": figures.interest,
    }


def _capacity_row(found: "Result", multiple: float) -> dict[str, Any]:
    figures, shares = found.metrics, shares_of_volume(found)
    known = shares[np.isfinite(shares)]
    some = len(known) > 0
    return {
        "multiple": multiple,
        "cash": found.config.account.cash,
        "final_equity": figures.final_equity,
        "total_return": figures.total_return,
        "sharpe": figures.sharpe,
        "max_drawdown": figures.max_drawdown,
        "trades": figures.trades,
        "fills": len(shares),
        "median_share": float(np.median(known)) if some else None,
        "share_95": float(np.quantile(known, 0.95)) if some else None,
        "largest_share": float(known.max()) if some else None,
        "large_fills": int(np.count_nonzero(known > LARGE_SHARE)),
    }


def parsed_multiples(text: str) -> list[float]:
    """Multiples of a size, from text such as ``1,2,5``.

    >>> parsed_multiples("1,2.5")
    [1.0, 2.5]
    """
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError:
        raise ConfigError(f"--capacity {text}: must be numbers with commas between them, such as 1,2,5,10") from None
    if not all(0 < multiple <= LARGEST_MULTIPLE for multiple in found):
        raise ConfigError(f"--capacity {text}: every multiple must be above 0 and at most {LARGEST_MULTIPLE:,.0f}")
    return found
