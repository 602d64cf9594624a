"""The page a trader reads after a run: figures, profit by symbol and strategy, refusals, notices."""

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from engine.schema import Reason

if TYPE_CHECKING:
    from pipeline.result import Result

NOTHING = "-"
COIN_DECIMALS = 8
"""From so many decimals on, an account is of coins."""
MOST_ROWS = 30
SIDE_BY_SIDE = 110  # columns of a terminal


def show(summary: Mapping[str, Any], console: Console) -> None:
    """Print the summary of a run (``Result.summary``, or a stored ``summary.json``)."""
    figures_and_profit: list[RenderableType] = [_figures(summary), _profit(summary)]
    if console.width >= SIDE_BY_SIDE:
        figures_and_profit = [Columns(figures_and_profit, padding=(0, 6))]
    for part in (_heading(summary), *figures_and_profit, *_ambiguous(summary), _refusals(summary), _notices(summary)):
        console.print(part)
        console.print()


def _heading(summary: Mapping[str, Any]) -> RenderableType:
    days = f"{summary['periods']} days at {summary['periods_per_year']} a year"
    text = Text.assemble(
        (summary["name"], "bold"),
        f"  {summary['start'][:16]} to {summary['end'][:16]} UTC, {days}\n",
        f"run {summary['run_id']}  result {summary['result_hash'][:16]}",
    )
    if simulated(summary):
        text.append("  SIMULATED DATA", "bold yellow")
    if summary["bankrupt"]:
        text.append("  BANKRUPT", "bold red")
    return text


def simulated(summary: Mapping[str, Any]) -> bool:
    """Whether a summary is of a simulated market."""
    return any(str(notice).startswith("simulated data") for notice in summary["notices"])


def figures(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, value and the value of buy-and-hold of each figure."""
    money = money_in(summary["decimals"])
    held, currency, year = summary["buy_and_hold"], summary["currency"], f"({summary['periods_per_year']}/y)"
    return [
        ("final equity", f"{money(summary['final_equity'])} {currency}", money(summary["initial_equity"] * (1.0 + held["total_return"]))),
        ("net profit", money(summary["net_profit"]), money(summary["initial_equity"] * held["total_return"])),
        ("return", percent(summary["total_return"]), percent(held["total_return"])),
        (f"growth a year {year}", percent(summary["cagr"]), ""),
        (f"volatility {year}", percent(summary["volatility"]), percent(held["volatility"])),
        (f"Sharpe {year}", ratio(summary["sharpe"]), ratio(held["sharpe"])),
        (f"Sortino {year}", ratio(summary["sortino"]), ""),
        ("maximum drawdown", percent(summary["max_drawdown"]), percent(held["max_drawdown"])),
        ("longest drawdown", f"{summary['longest_drawdown_days']:.1f} days", ""),
        (f"Calmar {year}", ratio(summary["calmar"]), ""),
        ("trades", f"{summary['trades']:,}" + (f" and {summary['open_trades']} open" if summary["open_trades"] else ""), ""),
        ("win rate", percent(summary["win_rate"]), ""),
        ("profit factor", ratio(summary["profit_factor"]), ""),
        ("profit of a trade", money(summary["expectancy"]), ""),
        ("best, worst trade", f"{money(summary['best_trade'])}, {money(summary['worst_trade'])}", ""),
        ("fees", money(-summary["fees"]), ""),
        ("funding", money(summary["funding"]), ""),
        *(
            (name.replace("_", " "), money(summary[name]), "")
            for name in ("interest", "insurance", "dividends", "cash_in_lieu")
            if summary[name]
        ),
        ("turnover (x equity)", ratio(summary["turnover"]), ""),
        ("time in market", percent(summary["time_in_market"]), ""),
        ("ambiguous bars", f"{summary['ambiguous_bars']:,}", ""),
    ]


def _figures(summary: Mapping[str, Any]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for name in _columns(summary):
        table.add_column(name, justify="right", style="dim" if name == "buy and hold" else None)
    for row in _rows(summary):
        table.add_row(*row)
    return table


def _columns(summary: Mapping[str, Any]) -> tuple[str, ...]:
    return ("pessimistic", "optimistic", "buy and hold") if "bounds" in summary else ("this run", "buy and hold")


def _rows(summary: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Figures by row; with bounds, those of the optimistic replay beside them.  # R3.7"""
    if "bounds" not in summary:
        return [*figures(summary)]
    best = figures({**summary, **summary["bounds"]["optimistic"]})
    return [(name, value, other, held) for (name, value, held), (_, other, _) in zip(figures(summary), best, strict=True)]


def _ambiguous(summary: Mapping[str, Any]) -> list[RenderableType]:
    """The trades that hang on the order of prices inside a bar.  # R3.7"""
    if "bounds" not in summary:
        return []
    found, money = summary["bounds"], money_in(summary["decimals"])
    share = percent(found["ambiguous_share"])
    line = Text(f"ambiguous trades: {share} of all profits and losses hang on them; the two replays are {money(found['spread'])} apart")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("trade", "symbol", "strategy", "side", "entry", "exit", "pessimistic", "optimistic"):
        table.add_column(name, justify="right" if name in ("trade", "pessimistic", "optimistic") else "left")
    trades = found["ambiguous_trades"]
    for one in trades[:MOST_ROWS]:
        texts = [str(one["trade"]), one["symbol"], one["strategy"], one["side"], one["entry"][:16], one["exit"][:16]]
        table.add_row(*texts, money(one["pnl"]), money(one["pnl_optimistic"]))
    if len(trades) > MOST_ROWS:
        table.add_row("", f"({len(trades) - MOST_ROWS} others, in summary.json)")
    return [line, table] if trades else [line]


def _profit(summary: Mapping[str, Any]) -> RenderableType:
    table, money = Table(box=None, pad_edge=False, header_style="dim"), money_in(summary["decimals"])
    table.add_column("profit by")
    table.add_column(summary["currency"], justify="right")
    for title, rows in (("strategy", summary["profit_by_strategy"]), ("symbol", summary["profit_by_symbol"])):
        for name, profit in _most(rows):
            table.add_row(f"{title} {name}", Text(money(profit), "red" if profit < 0 else "green"))
    if summary["debt_interest"]:
        table.add_row("interest on debt", Text(money(summary["debt_interest"]), "red"))
    table.add_row("all", money(summary["net_profit"]), style="bold")
    return table


def _most(rows: Mapping[str, float]) -> list[tuple[str, float]]:
    """Rows by profit; of many, the best and the worst, with the sum of the others."""
    ordered = sorted(rows.items(), key=lambda item: (-item[1], item[0]))
    if len(ordered) <= MOST_ROWS:
        return ordered
    half = MOST_ROWS // 2
    middle = ordered[half:-half]
    return [*ordered[:half], (f"({len(middle)} others)", sum(profit for _, profit in middle)), *ordered[-half:]]


def _refusals(summary: Mapping[str, Any]) -> RenderableType:
    """Entries that were refused, and exits and targets with nothing to do: most rules say exit at every bar."""
    counted = dict(summary["rejected"])
    idle, met = (counted.pop(reason.name.lower(), 0) for reason in (Reason.NOT_HELD, Reason.NO_CHANGE))
    entries = ", ".join(f"{reason} {count:,}" for reason, count in counted.items()) or "none"
    targets = f"; targets that were met: {met:,}" if met else ""
    return Text(f"{summary['proposals']:,} proposals; refused or cancelled: {entries}; exits with nothing to close: {idle:,}{targets}")


def _notices(summary: Mapping[str, Any]) -> RenderableType:
    return Text("\n".join(f"! {notice}" for notice in summary["notices"]) or "no notices", "yellow" if summary["notices"] else "dim")


def as_html(result: "Result") -> str:
    """A table for a notebook."""
    summary = result.summary
    rows = "".join(
        f"<tr><td>{name}</td>" + "".join(f"<td style='text-align:right'>{value}</td>" for value in values) + "</tr>"
        for name, *values in _rows(summary)
    )
    titles = "".join(f"<th>{name}</th>" for name in _columns(summary))
    notes = "".join(f"<li>{html.escape(notice)}</li>" for notice in summary["notices"])
    head = f"<b>{html.escape(summary['name'])}</b> {summary['start'][:10]} to {summary['end'][:10]}, run {summary['run_id']}"
    return f"<div>{head}<table><tr><th></th>{titles}</tr>{rows}</table><ul>{notes}</ul></div>"


def money_in(decimals: int) -> Callable[[float | None], str]:
    """How amounts of a currency kept with so many decimals are written: to the cent, coins to the last unit.

    >>> money_in(6)(-1234.5), money_in(8)(0.00012), money_in(6)(None)
    ('-1,234.50', '0.00012000', '-')
    """
    places = 2 if decimals < COIN_DECIMALS else COIN_DECIMALS

    def money(amount: float | None) -> str:
        if amount is None:
            return NOTHING
        return f"{0.0 if abs(amount) < 0.5 * 10.0**-places else amount:,.{places}f}"

    return money


def percent(fraction: float | None) -> str:
    """A fraction in percent.

    >>> percent(0.1234), percent(None)
    ('12.34 %', '-')
    """
    return NOTHING if fraction is None else f"{fraction * 100:,.2f} %"


def ratio(value: float | None) -> str:
    """A ratio with two decimals.

    >>> ratio(1.5), ratio(None)
    ('1.50', '-')
    """
    return NOTHING if value is None else f"{value:,.2f}"
