"""Forty small candle cases with freqtrade's exits, replayed by Tapeline's rules.

Expressed as freqtrade means them: signals on candle n act at the open of candle n + 1, the stop and the return on investment at minute 0
are fractions of the fill, a trailing stop is a distance of that fraction.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pipeline
from engine.dataset import from_columns
from engine.schema import Action, EventKind, Reason, RecordKind

HOUR_US = 3_600_000_000
START_US = 1_538_524_800_000_000  # 2018-10-03
SYMBOL = "UNITTEST/BTC"

REASONS = {
    "exit_signal": (Reason.SIGNAL,),
    "stop_loss": (Reason.STOP_LOSS, Reason.CROSSED_AT_ENTRY),
    "trailing_stop_loss": (Reason.TRAILING_STOP,),
    "roi": (Reason.TAKE_PROFIT,),
}
"""Our reasons for freqtrade's."""


class Trade(NamedTuple):
    """One closed trade; ticks are numbers of candles."""

    side: int
    open_tick: int
    close_tick: int
    open_rate: float
    close_rate: float
    reason: str


class Case(NamedTuple):
    """One case and what freqtrade made of it."""

    name: str
    comment: str
    candles: dict[str, list[float]]
    params: dict[str, Any]
    expected: list[Trade]


def cases(folder: Path) -> list[Case]:
    """All cases of the reference results."""
    read = json.loads((folder / "freqtrade_detail.json").read_text())["cases"]
    return [_case(one) for one in read]


def _case(one: dict[str, Any]) -> Case:
    columns = {name: [row[i] for row in one["rows"]] for i, name in enumerate(one["columns"])}
    rates = one.get("reproduced") or []
    expected = [
        Trade(-1 if t["is_short"] else 1, t["open_tick"], t["close_tick"], r["open_rate"], r["close_rate"], t["exit_reason"].lower())
        for t, r in zip(one["expected"]["trades"], rates, strict=True)
    ]
    return Case(one["id"], one["comment"], columns, one["params"], expected)


def proposals_of(case: Case) -> dict[str, list[Any]]:
    """Signals as proposals, each entry with its bracket."""
    actions = {"enter_long": Action.ENTER_LONG, "enter_short": Action.ENTER_SHORT}
    if case.params["use_exit_signal"]:
        actions |= {"exit_long": Action.EXIT_LONG, "exit_short": Action.EXIT_SHORT}
    rows = [
        {"ts": START_US + (n + 1) * HOUR_US, "symbol": SYMBOL, "action": int(action), **_bracket(case, action)}
        for n in range(len(case.candles["open"]))
        for name, action in actions.items()
        if case.candles.get(name, [0] * (n + 1))[n] == 1
    ]
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else {"ts": 0, "symbol": "", "action": 0})}


def _bracket(case: Case, action: Action) -> dict[str, Any]:
    params, leverage = case.params, case.params["leverage"]
    bracket: dict[str, Any] = {
        "stop_loss": -params["stop_loss"] / leverage,
        "stop_loss_kind": 1,
        "take_profit": params["roi"]["0"] / leverage,
        "take_profit_kind": 1,
    }
    if params["trailing_stop"]:
        bracket |= {"trailing": (params["trailing_stop_positive"] or -params["stop_loss"]) / leverage, "trailing_kind": 1}
    if params["custom_entry_price"]:
        bracket |= {"order_type": 1, "limit_price": float(params["custom_entry_price"])}
    return bracket


def run(case: Case) -> list[Trade]:
    """The trades that Tapeline closes."""
    opened = [START_US + n * HOUR_US for n in range(len(case.candles["open"]))]
    bars = {name: case.candles[name] for name in ("open", "high", "low", "close", "volume")}
    bars |= {"open_ts": opened, "ts": [ts + HOUR_US for ts in opened]}
    config = {
        "name": case.name,
        "dataset": "memory",
        "account": {"cash": 1e6, "leverage": case.params["leverage"]},
        "instruments": {"default": {"kind": "linear_perp", "tick": "1e-6", "lot": "1"}},
        "strategies": [{"id": "signals", "proposals": "memory"}],
        "risk": {"size": {"fixed_qty": 1.0}},
        "execution": {"finalize": "mark"},
        "accept": "external",
    }
    dataset = from_columns({"bars": {(SYMBOL, "1h", HOUR_US): bars}})
    replayed = pipeline.run(config, dataset=dataset, proposals={"signals": proposals_of(case)}).replay
    fills = replayed.records[replayed.records["kind"] == RecordKind.FILL]
    ticks = [(int(f["ts"]) - START_US) // HOUR_US - (0 if f["phase"] == EventKind.BAR_OPEN else 1) for f in fills]
    return [
        Trade(
            int(fills["side"][i]),
            ticks[i],
            ticks[i + 1],
            float(fills["price"][i]),
            float(fills["price"][i + 1]),
            Reason(int(fills["reason"][i + 1])).name.lower(),
        )
        for i in range(0, len(fills) - 1, 2)
    ]


def equal(ours: list[Trade], theirs: list[Trade]) -> bool:
    """Same candles, same prices to 1e-9, same reasons."""
    return len(ours) == len(theirs) and all(
        a[:3] == b[:3]
        and abs(a.open_rate / b.open_rate - 1) < 1e-9
        and abs(a.close_rate / b.close_rate - 1) < 1e-9
        and a.reason in {reason.name.lower() for reason in REASONS[b.reason]}
        for a, b in zip(ours, theirs, strict=True)
    )
