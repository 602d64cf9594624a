"""Tables of small sources, as columns."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HOUR_MS = 3_600_000
T0_MS = 1_704_067_200_000  # 2024-01-01

Write = Callable[..., Path]


def bars(n: int = 5, symbol: str = "AAA", first: int = 0, price: float = 10.0, hours: int = 1) -> dict[str, list[Any]]:
    """Columns of hourly bars that rise by a tick a bar."""
    length = HOUR_MS * hours
    opens = [T0_MS + length * (first + i) for i in range(n)]
    base = [round(price + 0.01 * (first + i), 2) for i in range(n)]
    return {
        "symbol": [symbol] * n,
        "open_time": opens,
        "ts": [ts + length for ts in opens],
        "open": base,
        "high": [round(p + 0.5, 2) for p in base],
        "low": [round(p - 0.5, 2) for p in base],
        "close": [round(p + 0.01, 2) for p in base],
        "volume": [1.5 + first + i for i in range(n)],
    }


def quotes(n: int = 5, symbol: str = "AAA", first: int = 0) -> dict[str, list[Any]]:
    """Quote candles a cent around the bars."""
    table = bars(n, symbol, first)
    sides = {
        f"{side}_{name}": [round(p + shift, 2) for p in table[name]]
        for side, shift in (("bid", -0.01), ("ask", 0.01))
        for name in ("open", "high", "low", "close")
    }
    return {name: table[name] for name in ("symbol", "open_time", "ts")} | sides


def funding(n: int = 2, symbol: str = "AAA") -> dict[str, list[Any]]:
    """Settlements every eight hours."""
    return {"symbol": [symbol] * n, "ts": [T0_MS + 8 * HOUR_MS * i for i in range(n)], "rate": [0.0001] * n, "mark": [10.0] * n}


def joined(*tables: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Tables one under the other."""
    return {name: [value for table in tables for value in table[name]] for name in tables[0]}
