"""A random market told otherwise: in another order, with another future, on fewer symbols, or upside down."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from engine.dataset import ACTIONS, QUOTE_COLUMNS, Dataset, from_columns
from engine.instrument import Decimals, Instrument
from engine.ledger import chain, count_outcomes, result_hash
from engine.schema import Accounting, Action, Intrabar, LevelKind, SizeKind, Slippage
from engine.session import ReplayResult, Session
from engine.settings import HaltLimits, Settings
from tests.markets import Case

Tables = dict[str, dict[tuple[str, str, int], dict[str, Any]]]

MIRROR = 2.0**20
"""Prices and their mirror images add up to this."""


def run(case: Case) -> ReplayResult:
    """The replay of a case, to the end."""
    return Session(case.dataset, case.proposals, case.settings).run()


def digest(result: ReplayResult) -> str:
    """The run's ``result_hash``."""
    return result_hash(result.records, result.symbols, result.strategies, count_outcomes(result))


def fingerprint(result: ReplayResult) -> tuple[list[str], bytes, bytes]:
    """All bytes that a replay leaves behind: records (without padding), equity, outcomes."""
    return chain(result.records, {}), result.equity.tobytes(), result.outcomes.tobytes()


def tables_of(dataset: Dataset) -> Tables:
    """What ``from_columns`` makes the dataset from."""
    return {kind: {(s.symbol, s.name, s.interval_us): dataset.view(kind, s) for s in found} for kind, found in dataset.series.items()}


def chosen_rows(proposals: Mapping[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
    """Some rows of a proposal table, in the order given."""
    return {name: [column[row] for row in rows] for name, column in proposals.items()}


def shuffled(case: Case, rng: Generator) -> Case:
    """The same in another order: series, instruments, strategies, and proposals across symbols and strategies."""
    kinds = [(kind, list(group.items())) for kind, group in tables_of(case.dataset).items()]
    tables = {kind: {group[i][0]: group[i][1] for i in rng.permutation(len(group))} for kind, group in kinds}
    settings = replace(
        case.settings,
        instruments=tuple(case.settings.instruments[i] for i in rng.permutation(len(case.settings.instruments))),
        strategies=tuple(case.settings.strategies[i] for i in rng.permutation(len(case.settings.strategies))),
    )
    return Case(from_columns(tables), chosen_rows(case.proposals, _interleaved(case.proposals, rng)), settings)


def _interleaved(proposals: Mapping[str, list[Any]], rng: Generator) -> list[int]:
    """Rows in a random order that keeps the order within each (symbol, strategy)."""
    keys = list(zip(proposals["symbol"], proposals["strategy"], strict=True))
    waiting: dict[tuple[str, str], deque[int]] = {}
    for row, key in enumerate(keys):
        waiting.setdefault(key, deque()).append(row)
    return [waiting[keys[i]].popleft() for i in rng.permutation(len(keys))]


def with_stranger(case: Case, name: str, rng: Generator) -> Case:
    """The same with one more symbol, on the bars of one that is there, that nobody trades."""
    tables = tables_of(case.dataset)
    traded = {instrument.symbol for instrument in case.settings.instruments}
    model = min((key for key in tables["bars"] if key[0] in traded), key=lambda key: key[2])
    bars = tables["bars"][model]
    tables["bars"][name, model[1], model[2]] = bars | _garbage(rng, bars, np.ones(len(bars["ts"]), bool))
    half = len(bars["ts"]) // 2
    moments = bars["ts"][half : half + 1]
    tables.setdefault("funding", {})[name, "", 0] = {"ts": moments, "rate": [0.1], "mark": [7.0]}
    tables.setdefault("universe", {})[name, "", 0] = {"ts": moments, "listed": [0]}
    kind = "inverse_perp" if any(one.accounting == Accounting.INVERSE for one in case.settings.instruments) else "linear_perp"
    stranger = Instrument(name, kind, tick=Decimals(1, 7), lot=Decimals(3, 1))
    return case._replace(dataset=from_columns(tables), settings=replace(case.settings, instruments=(*case.settings.instruments, stranger)))


def only(case: Case, symbol: str, *, whole_dataset: bool) -> Case:
    """A run of one symbol, on the whole dataset or on one that holds nothing else."""
    instruments = tuple(instrument for instrument in case.settings.instruments if instrument.symbol == symbol)
    rows = [row for row, name in enumerate(case.proposals["symbol"]) if name == symbol]
    named = {symbol} | {one.symbol for one in case.settings.conversions}
    tables = {
        kind: {key: group[key] for key in group if key[0] == symbol or (kind == "bars" and key[0] in named)}
        for kind, group in tables_of(case.dataset).items()
    }
    dataset = case.dataset if whole_dataset else from_columns(tables)
    return Case(dataset, chosen_rows(case.proposals, rows), replace(case.settings, instruments=instruments))


def poisoned(case: Case, t: int, rng: Generator, *, drop: bool) -> Case:
    """The case with all that is not yet known at ``t`` overwritten, or dropped.  # R9.5

    A bar open at ``t`` keeps its open, and whether it has quotes, which its open shows.
    """
    tables = tables_of(case.dataset)
    inverse = {one.symbol for one in case.settings.instruments if one.accounting == Accounting.INVERSE}
    for kind, group in tables.items():
        for key, columns in group.items():
            changed = columns | _unknown(kind, columns, t, rng)
            if kind == "actions" and key[0] in inverse:  # they have nothing but delistings
                changed["kind"] = columns["kind"]
            kept = (columns["open_ts"] if kind in ("bars", "marks") else columns["ts"]) <= t
            group[key] = {name: column[kept] for name, column in changed.items()} if drop else changed
    known = [max(ts, late) <= t for ts, late in zip(case.proposals["ts"], _available(case.proposals), strict=True)]
    proposals = {name: list(column) for name, column in case.proposals.items()}
    if drop:
        proposals = chosen_rows(proposals, [row for row, seen in enumerate(known) if seen])
    for row, seen in enumerate(known):
        if not drop and not seen:
            _overwrite(proposals, row, rng)
    return Case(from_columns(tables), proposals, case.settings)


def _available(proposals: Mapping[str, list[Any]]) -> list[int]:
    return proposals.get("available_ts", proposals["ts"])


def _overwrite(proposals: dict[str, list[Any]], row: int, rng: Generator) -> None:
    proposals["action"][row] = int(rng.integers(0, 5))
    for name in ("score", "stop_loss", "take_profit", "trailing", "break_even", "limit_price", "stop_price"):
        if name in proposals:
            proposals[name][row] = float(rng.choice([np.nan, -1.0, 0.5, 1e9]))


def _unknown(kind: str, columns: Mapping[str, NDArray[Any]], t: int, rng: Generator) -> dict[str, NDArray[Any]]:
    """Columns of a kind with the rows after ``t`` overwritten."""
    late = columns["ts"] > t
    if kind in ("bars", "marks"):
        return _garbage(rng, columns, late, columns["open_ts"] <= t)
    n = len(late)
    price = np.exp(rng.normal(3.0, 3.0, n))
    other: dict[str, dict[str, Any]] = {
        "funding": {"rate": rng.uniform(-0.5, 0.5, n), "mark": np.where(rng.random(n) < 0.5, np.nan, price)},
        "spread": {"bid": price, "ask": price * rng.uniform(1.0, 2.0, n)},
        "universe": {"listed": rng.integers(0, 2, n)},
        "actions": {"kind": _other_kinds(rng, columns["ts"]), "value": price, "num": rng.integers(1, 9, n), "den": rng.integers(1, 9, n)},
    }
    return {name: np.where(late, values, columns[name]) for name, values in other[kind].items()}


def _other_kinds(rng: Generator, ts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Kinds of actions, no two of one kind at one time, and one delisting at most."""
    names = [("dividend", "split", "delist")[min(2, int(np.count_nonzero(ts[:row] == ts[row])))] for row in range(len(ts))]
    if names and "delist" not in names and rng.random() < 0.5:
        names[0] = "delist"
    return np.array([ACTIONS.index(name) for name in names], np.int64)


def _garbage(
    rng: Generator, columns: Mapping[str, NDArray[Any]], late: NDArray[np.bool_], open_known: NDArray[np.bool_] | None = None
) -> dict[str, NDArray[Any]]:
    """Candles with random prices in the ``late`` rows, whose open stays where it is known."""
    started = np.zeros(len(late), bool) if open_known is None else open_known
    changed: dict[str, NDArray[Any]] = {}
    for side in ("", "bid_", "ask_"):
        if f"{side}open" not in columns:
            continue
        opening = np.where(started | ~late, columns[f"{side}open"], np.exp(rng.normal(3.0, 3.0, len(late))))
        close = opening * np.exp(rng.normal(0.0, 0.5, len(late)))
        high = np.maximum(opening, close) * rng.uniform(1.0, 2.0, len(late))
        low = np.minimum(opening, close) * rng.uniform(0.1, 1.0, len(late))
        for name, values in (("open", opening), ("high", high), ("low", low), ("close", close)):
            changed[side + name] = np.where(late, values, columns[side + name])
    if QUOTE_COLUMNS[0] in changed:
        unquoted = late & ~started & (rng.random(len(late)) < 0.3)
        changed |= {name: np.where(unquoted, np.nan, changed[name]) for name in QUOTE_COLUMNS}
    if "volume" in columns:
        changed["volume"] = np.where(late, rng.uniform(0.0, 1e6, len(late)), columns["volume"])
    return changed


def unlimited(settings: Settings, amount: float = 20.0) -> Settings:
    """The same with a fixed quantity for all strategies, and no model of the user's, limit, halt, liquidation or lack of cash."""
    none = {name: float("inf") for name in ("max_position", "max_gross", "max_net", "max_group", "max_strategy")}
    strategies = tuple(replace(one, size=SizeKind.FIXED_QTY, amount=amount) for one in settings.strategies)
    calm = {name: HaltLimits() for name in ("halts", "strategy_halts", "symbol_halts")}
    instruments = tuple(replace(one, maintenance=(), leverage=None) for one in settings.instruments)
    plain = {"strategies": strategies, "instruments": instruments, "models": ()}
    return replace(settings, cash=10**14, leverage=1.0, cash_buffer=0.0, **plain, **none, **calm)


def untargeted(case: Case) -> Case:
    """The same without targets, whose quantities depend on equity and price: entries of their side take their places."""
    weights = case.proposals.get("weight", [math.nan] * len(case.proposals["ts"]))
    entries = [int(Action.ENTER_LONG if weight > 0.0 else Action.ENTER_SHORT) for weight in weights]
    actions = [entry if action == Action.TARGET else action for action, entry in zip(case.proposals["action"], entries, strict=True)]
    return case._replace(proposals=case.proposals | {"action": actions})


def upright(case: Case, halt: float) -> Case:
    """A case that has a mirror image: linear instruments on whole prices, no splits, dividends or costs, levels as prices, halts that bind.

    Fractions of a price have no mirror image, and neither has a policy that looks at the sign of a bar that does not move.
    """
    ticks = {instrument.symbol: float(instrument.tick) for instrument in case.settings.instruments}
    tables = {kind: group for kind, group in tables_of(case.dataset).items() if kind not in ("funding", "spread")}
    for kind in ("bars", "marks"):
        for key, columns in tables.get(kind, {}).items():
            prices = {name for name in columns if name.rpartition("_")[2] in ("open", "high", "low", "close")}
            whole = {name: np.rint(columns[name] / ticks.get(key[0], 1.0)) + 1.0 for name in prices}
            tables[kind][key] = columns | whole
    for key, columns in list(tables.get("actions", {}).items()):
        delists = columns["kind"] == ACTIONS.index("delist")
        tables["actions"][key] = {name: column[delists] for name, column in columns.items()}
    settings = unlimited(case.settings)
    costs = {
        "slippage": Slippage.NONE,
        "slippage_amount": 0.0,
        "default_spread_bps": 0.0,
        "maker_bps": 0.0,
        "taker_bps": 0.0,
        "per_unit": 0.0,
        "flat": 0.0,
        "min_fee": 0.0,
        "fee_tiers": (),
    }
    settings = replace(
        settings,
        **costs,
        leverage=1e18,
        decimals=2,
        instruments=tuple(Instrument(one.symbol, tick=Decimals(1, 1), lot=Decimals(1, 1)) for one in settings.instruments),
        intrabar=Intrabar.PESSIMISTIC if settings.intrabar == Intrabar.ADAPTIVE else settings.intrabar,
        delist_haircut=0.0,
        halts=replace(case.settings.halts, drawdown=halt, daily_loss=halt),
        strategy_halts=replace(case.settings.strategy_halts, drawdown=halt),
        symbol_halts=replace(case.settings.symbol_halts, daily_loss=halt),
    )
    proposals = {name: list(column) for name, column in untargeted(case).proposals.items()}
    for name in ("stop_loss", "take_profit", "trailing", "break_even"):
        for row, symbol in enumerate(proposals["symbol"] if name in proposals else ()):
            level = float(np.rint(proposals[name][row] / ticks[symbol]))
            is_price = proposals[f"{name}_kind"][row] == LevelKind.PRICE and level > 0.0
            proposals[f"{name}_kind"][row], proposals[name][row] = int(LevelKind.PRICE), level if is_price else np.nan
    for name in ("limit_price", "stop_price"):
        if name in proposals:  # what is no price has no mirror image either
            steps = [np.rint(price / ticks[symbol]) for price, symbol in zip(proposals[name], proposals["symbol"], strict=True)]
            proposals[name] = [float(price) if price > 0.0 else math.nan for price in steps]
    return Case(from_columns(tables), proposals, settings)


def mirrored(case: Case) -> Case:
    """The mirror image of an upright case: each price p is ``MIRROR - p``, bid is ask, high is low, long is short."""
    tables = tables_of(case.dataset)
    for kind in ("bars", "marks"):
        for key, columns in tables.get(kind, {}).items():
            prices = {name for name in columns if name.rpartition("_")[2] in ("open", "high", "low", "close")}
            tables[kind][key] = columns | {_opposite(name): MIRROR - columns[name] for name in prices}
    swapped_policy = {Intrabar.OLHC: Intrabar.OHLC, Intrabar.OHLC: Intrabar.OLHC}
    settings = replace(case.settings, intrabar=swapped_policy.get(case.settings.intrabar, case.settings.intrabar))
    swapped = {
        Action.ENTER_LONG: Action.ENTER_SHORT,
        Action.ENTER_SHORT: Action.ENTER_LONG,
        Action.EXIT_LONG: Action.EXIT_SHORT,
        Action.EXIT_SHORT: Action.EXIT_LONG,
    }
    proposals = case.proposals | {"action": [int(swapped.get(Action(action), Action.EXIT)) for action in case.proposals["action"]]}
    for name in ("stop_loss", "take_profit", "limit_price", "stop_price"):
        if name in proposals:
            proposals[name] = [MIRROR - price for price in proposals[name]]
    return Case(from_columns(tables), proposals, settings)


def _opposite(name: str) -> str:
    words = {"bid": "ask", "ask": "bid", "high": "low", "low": "high"}
    return "_".join(words.get(word, word) for word in name.split("_"))
