"""The parity tables: each case equal, or different for a reason with a rule's number."""

from pathlib import Path

from tests.parity import backtesting_py, freqtrade, vectorbt

FOLLOWS = "a trailing percentage follows the extreme there; here it is a distance, resolved once at the fill (R3.5)"
OFFSET = "the trailing stop starts only at a profit (an offset), which no rule here has; ours trails from the fill (R3.5)"
OWN_BAR = "the bar's own high moves the stop that its low then meets; here a level acts from the next open (R3.5), since the order inside a bar is not known"
BY_TIME = "the return on investment falls with the minutes held, a target that changes by the clock, which no rule here has"

VECTORBT = {
    "11_trailing_tp": FOLLOWS,
    "13_short_trailing": FOLLOWS,
    "19_granularity_min_size": "15306 lots of 0.01 are floored in floats to 15305, and the 0.01 left over blocks every later entry; here a quantity "
    "within 1e-6 of a whole lot is that lot (R6.3)",
}
FREQTRADE = {
    "tc8": FOLLOWS,
    "tc9": OWN_BAR,
    "tc10": OFFSET,
    "tc11": OFFSET,
    "tc12": OFFSET + "; and " + OWN_BAR,
    "tc16": BY_TIME,
    "tc17": BY_TIME,
    "tc18": BY_TIME,
    "tc19": BY_TIME,
    "tc20": BY_TIME,
    "tc21": OFFSET + "; a stop and a target in one bar: the worse counts (R3.3)",
    "tc24": OFFSET + "; and " + BY_TIME,
    "tc33": "the open lies below the level that the bar before has trailed: that level is a fraction of the extreme there, and a stop passed by the "
    "open fills at the open here (R2.4)",
    "tc35": OFFSET + "; and " + OWN_BAR,
    "tc36": OWN_BAR,
    "tc37": OWN_BAR,
    "tc38": OWN_BAR,
}
"""Differences with their reasons; a case that is not named is equal."""


def page(folder: Path) -> str:
    """The whole page, in Markdown."""
    return "\n".join(["# Parity with other packages", "", INTRODUCTION, *_vectorbt(folder), *_backtesting(folder), *_freqtrade(folder), ""])


INTRODUCTION = """`execution.profile` names sets of options, with no code of their own, under which a run equals another package's. The tables are made by
`python -m tests.parity` from reference results of those packages; the tests hold every line of them. Where vectorbt and backtesting.py
are installed, `tests/parity/test_installed.py` compares 50 fresh random markets with each: all equal, but that in vectorbt a target takes the
place of its bar's signals, while here the bar is over when its close decides (R1.2)."""


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def _vectorbt(folder: Path) -> list[str]:
    rows = []
    for name, signals, params, theirs in vectorbt.scenarios(folder):
        ours = vectorbt.run(signals, params)
        found = vectorbt.difference(ours, theirs)
        said = f"{found}: {VECTORBT.get(name, 'unexplained')}" if found else "equal"
        rows.append((name, str(len(ours.fills)), str(len(theirs.fills)), said))
    text = "Orders and their sizes to 1e-9, prices to 1e-12, equity after each bar's orders to 1e-9, relative."
    return ["", "## vectorbt 1.2, `Portfolio.from_signals`", "", text, "", *_table(("scenario", "orders", "theirs", "comparison"), rows)]


def _backtesting(folder: Path) -> list[str]:
    candles, open_ts, theirs, equity = backtesting_py.reference(folder)
    trades, final = backtesting_py.run(
        candles, open_ts, *backtesting_py.sma_cross(candles["close"], 10, 20), {"fees": {"bps": 20}}, 10_000.0
    )
    found = backtesting_py.difference(trades, theirs) or "equal"
    rows = [("SmaCross(10, 20), GOOG, commission 0.002", str(len(trades)), str(len(theirs)), f"{final:,.5f}", f"{equity:,.5f}", found)]
    head = ("case", "trades", "theirs", "final equity", "theirs", "comparison")
    return ["## backtesting.py 0.6, `Backtest`", "", "Times, sizes, prices to 1e-12, PnL of each trade to 1e-6.", "", *_table(head, rows)]


def _freqtrade(folder: Path) -> list[str]:
    rows, same = [], 0
    for case in freqtrade.cases(folder):
        ours = freqtrade.run(case)
        if freqtrade.equal(ours, case.expected):
            same += 1
            continue
        rows.append((case.name, _trades(ours), _trades(case.expected), FREQTRADE.get(case.name, "unexplained")))
    text = f"Forty small candle cases by Tapeline's own rules, not by a profile: {same} are equal, and these are not."
    return ["## freqtrade, detailed backtests", "", text, "", *_table(("case", "ours", "theirs", "why"), rows)]


def _trades(trades: list[freqtrade.Trade]) -> str:
    return "; ".join(f"candle {t.close_tick} at {t.close_rate:g} ({t.reason})" for t in trades) or "none closed"
