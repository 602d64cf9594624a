"""Write docs/expressions.md from the catalogue, its signatures and docstrings:  python -m tests.expressions."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from features.catalogue import COLUMN_ARGUMENTS, FACTORIES, MAX_WINDOW, smallest
from features.expressions import averages, momentum, price, rolling, volatility
from features.tree import read

PAGE = Path(__file__).parents[1] / "docs" / "expressions.md"
MODULES = (averages, momentum, volatility, rolling, price)

INTRODUCTION = f"""A feature of a config names one of these and its arguments: `fast: {{ema: {{of: close, n: 20}}}}`, `mean: {{sma: 20}}` where `n` alone is meant,
`tr: true_range` with all defaults. `of` and `other` name a column of the bars or another feature, so `{{sma: {{of: tr, n: 5}}}}` averages `tr`. Of an expression with several parts
each is a column, called after the feature: `bb: {{bollinger: {{n: 20}}}}` gives `bb_upper`, `bb_middle` and `bb_lower`. In Python the same are functions of
`features.expressions`.

Counts (`n` and the like) are whole numbers up to {MAX_WINDOW:,}; `q` is a number from 0 to 1, other numbers are zero or more. Value t depends on bars up to t alone, gaps left out. The lookback is the number of bars before
the first known value, shown here with the defaults. Where TA-Lib has the function, values and warm-up are TA-Lib's, and the tests compare them.

The page is made by `python -m tests.expressions` from the catalogue and the docstrings."""


def page() -> str:
    """The whole page, in Markdown."""
    parts = ["# Expressions", "", INTRODUCTION, ""]
    for module in MODULES:
        named = sorted(name for name, factory in FACTORIES.items() if factory.__module__ == module.__name__)
        parts += [f"## {module.__name__.rpartition('.')[2].capitalize()}", "", _text(module), ""]
        for name in named:
            parts += _entry(name, FACTORIES[name])
    return "\n".join(parts)


def _entry(name: str, factory: Callable[..., Any]) -> list[str]:
    made = factory()
    parts = made if isinstance(made, dict) else {"": made}
    called = f", in Python `{factory.__name__}`" if factory.__name__ != name else ""
    told = [f"### `{name}`{called}", "", _text(factory), ""]
    arguments = inspect.signature(factory).parameters.values()
    told += [f"- arguments: {', '.join(_argument(name, one) for one in arguments) or 'none'}"]
    told += [f"- parts: {', '.join(f'`{part}`' for part in parts)}"] if isinstance(made, dict) else []
    told += [f"- lookback with the defaults: {_lookback(parts)}", f"- columns with the defaults: {_columns(parts)}", ""]
    return told


def _argument(name: str, one: inspect.Parameter) -> str:
    kind = "column" if one.name in COLUMN_ARGUMENTS else f"count from {smallest(name, one.name)}" if one.annotation is int else "number"
    return f"`{one.name}` ({kind}, default `{one.default}`)"


def _lookback(parts: dict[str, pl.Expr]) -> str:
    found = {part: read(expr).lookback for part, expr in parts.items()}
    if len(set(found.values())) == 1:
        return str(next(iter(found.values())))
    return ", ".join(f"`{part}` {rows}" for part, rows in found.items())


def _columns(parts: dict[str, pl.Expr]) -> str:
    return ", ".join(f"`{name}`" for name in sorted({name for expr in parts.values() for name in read(expr).columns}))


def _text(of: Any) -> str:
    return (inspect.getdoc(of) or "").replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"written to {PAGE}")
