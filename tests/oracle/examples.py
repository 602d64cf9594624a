"""Small examples to work by hand: hourly bars from a midnight, plain proposals, settings without costs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from engine.dataset import Dataset, from_columns
from engine.instrument import Decimals, Instrument
from engine.schema import Action, Reason, RecordKind, SizeKind
from engine.settings import Settings, StrategySettings
from tests.oracle.replay import OracleResult, replay

HOUR = 3_600_000_000
MIDNIGHT = 1_704_067_200_000_000  # 2024-01-01
LONG, SHORT = Action.ENTER_LONG, Action.ENTER_SHORT
FLAT = (100.0, 100.0, 100.0, 100.0)

Candles = Sequence[tuple[float, float, float, float]]
Row = dict[str, Any]


def at(hour: float) -> int:
    """An hour after midnight; bar n covers [at(n), at(n + 1))."""
    return MIDNIGHT + round(hour * HOUR)


def hourly(candles: Candles, step: float = 1.0) -> Row:
    """Bars from midnight on, of an hour or of so many, as the columns of a series."""
    times = [at(step * place) for place in range(len(candles) + 1)]
    prices = dict(zip(("open", "high", "low", "close"), zip(*candles, strict=True), strict=True))
    return {"open_ts": times[:-1], "ts": times[1:], **prices, "volume": [1.0] * len(candles)}


def market(bars: Mapping[str, Candles], **others: Mapping[str, Row]) -> Dataset:
    """Hourly bars from midnight, and other kinds of data by symbol."""
    tables: dict[str, Any] = {"bars": {(symbol, "1h", HOUR): hourly(candles) for symbol, candles in bars.items()}}
    for kind, columns in others.items():
        tables[kind] = {(symbol, "", 0): column for symbol, column in columns.items()}
    return from_columns(tables)


def two_clocks(candles: Candles, **half_hours: Candles) -> Dataset:
    """A by the hour; B, which stays at 100 unless told otherwise, and other symbols by the half-hour."""
    of_others = {"B": [FLAT] * 2 * len(candles)} | half_hours
    halves = {(symbol, "30m", HOUR // 2): hourly(prices, 0.5) for symbol, prices in of_others.items()}
    return from_columns({"bars": {("A", "1h", HOUR): hourly(candles)} | halves})


def instrument(symbol: str = "A", **changes: Any) -> Instrument:
    """A linear instrument with a tick of 0.1 and lots of one."""
    return Instrument(symbol, **({"tick": Decimals(1, 10), "lot": Decimals(1, 1)} | changes))


def settings(bars: int, *, strategies: tuple[StrategySettings, ...] = (), symbols: str = "A", **changes: Any) -> Settings:
    """1,000.00 of cash, three units an entry, no costs."""
    chosen: Row = {
        "start_us": at(0),
        "end_us": at(bars),
        "cash": 100_000,
        "decimals": 2,
        "instruments": tuple(instrument(symbol) for symbol in symbols),
        "strategies": strategies or (StrategySettings("s", size=SizeKind.FIXED_QTY, amount=3.0),),
    }
    return Settings(**(chosen | changes))


def table(*rows: Row) -> dict[str, list[Any]]:
    """Proposals: hour, action and what differs from a plain proposal of strategy s for symbol A."""
    plain = {
        "symbol": "A",
        "strategy": "s",
        "score": 1.0,
        "stop_loss": math.nan,
        "take_profit": math.nan,
        "trailing": math.nan,
        "break_even": math.nan,
    }
    plain |= {"stop_loss_kind": 0, "take_profit_kind": 0, "trailing_kind": 0, "break_even_kind": 0, "max_bars": 0}
    plain |= {"order_type": 0, "limit_price": math.nan, "stop_price": math.nan, "tif": 0, "tif_value": 0}
    full = [plain | {"available_ts": row["ts"]} | row for row in rows]
    return {name: [row[name] for row in full] for name in full[0]}


def propose(hour: float, action: Action = LONG, **columns: Any) -> Row:
    """One proposal, decided at an hour."""
    return {"ts": at(hour), "action": action} | columns


def of_kind(result: OracleResult, kind: RecordKind) -> list[Row]:
    """The records of one kind."""
    return [record for record in result.records if record["kind"] == kind]


def fills(result: OracleResult) -> list[tuple[float, float, str]]:
    """(hour, price, reason) of each fill."""
    found = of_kind(result, RecordKind.FILL)
    return [((fill["ts"] - MIDNIGHT) / HOUR, fill["price"], Reason(fill["reason"]).name) for fill in found]


def reasons(result: OracleResult, kind: RecordKind) -> list[tuple[int, str]]:
    """(proposal, reason) of each record of a kind."""
    return [(record["proposal"], Reason(record["reason"]).name) for record in of_kind(result, kind)]


def one_symbol(candles: Candles, *rows: Row, data: Mapping[str, Mapping[str, Row]] | None = None, **changes: Any) -> OracleResult:
    """The replay of proposals on hourly candles of symbol A."""
    return replay(market({"A": candles}, **(data or {})), table(*rows), settings(len(candles), **changes))


def strategy(size: SizeKind, amount: float, budget: float = 1.0, name: str = "s") -> StrategySettings:
    """A strategy by how it sizes."""
    return StrategySettings(name, budget, size, amount)
