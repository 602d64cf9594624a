"""How two replays must be related whose markets or settings are: other units, other symbols, wider spreads, stops on the way.

Each property runs on random markets in which what it speaks of really happens: they are looked for, from the seed drawn on.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset import QUOTE_COLUMNS, from_columns
from engine.instrument import Decimals, Instrument
from engine.schema import (
    MAKER,
    MORE,
    NONE,
    OUTSIDE,
    RECORD,
    Accounting,
    EventKind,
    LevelKind,
    OrderType,
    Reason,
    RecordKind,
    SizeKind,
)
from engine.session import ReplayError, ReplayResult, Session
from engine.settings import UNLIMITED, Settings
from tests.market_changes import chosen_rows, fingerprint, only, run, tables_of, unlimited, untargeted
from tests.markets import Case, random_case

SEEDS = st.integers(0, 2**32 - 1)
NAMES = RECORD.names or ()
MOST_LOOKED_AT = 1_000  # seeds
Told = Callable[[ReplayResult], bool]
Row = dict[str, Any]


def rows_of(result: ReplayResult) -> list[Row]:
    return [dict(zip(NAMES, row, strict=True)) for row in result.records.tolist()]


def fills_of(result: ReplayResult) -> list[Row]:
    return [row for row in rows_of(result) if row["kind"] == RecordKind.FILL]


def found(seed: int, told: Told, changed: Callable[[Case], Case | None] = lambda case: case) -> tuple[Case, ReplayResult]:
    """The first case, from a seed on, whose run has what is asked for; None and a run that cannot go on are passed over."""
    for number in range(seed, seed + MOST_LOOKED_AT):
        case = changed(random_case(number))
        if case is None:
            continue
        try:
            result = run(case)
        except (ReplayError, OverflowError):
            continue
        if told(result):
            return case, result
    raise AssertionError(f"no such market from seed {seed} on")


def trades(result: ReplayResult) -> bool:
    return len(fills_of(result)) >= 6


# prices and quantities in other units


def scaled(case: Case, k: int) -> Case:
    """Prices times ``2**k``, quantities times ``2**-k`` (of inverse contracts ``2**k``); money, fractions, rates and times as they are."""
    up, down = 2.0**k, 2.0 ** _of_quantity(case, k)
    traded = {one.symbol for one in case.settings.instruments}
    tables = tables_of(case.dataset)
    for kind, group in tables.items():
        for key, columns in group.items():
            if key[0] in traded:
                group[key] = {name: column * _factor(kind, name, up, down) for name, column in columns.items()}
    proposals = {name: list(column) for name, column in case.proposals.items()}
    for name in ("limit_price", "stop_price"):
        proposals[name] = [price * up for price in proposals[name]]
    for name in ("stop_loss", "take_profit", "trailing", "break_even"):
        if name in proposals:
            kinds = zip(proposals[name], proposals[f"{name}_kind"], strict=True)
            proposals[name] = [level * up if kind == LevelKind.PRICE else level for level, kind in kinds]
    return Case(from_columns(tables), proposals, _scaled_settings(case.settings, k, _of_quantity(case, k)))


def _of_quantity(case: Case, k: int) -> int:
    """Power of two for quantities, so that what they are worth stays."""
    return k if any(one.accounting == Accounting.INVERSE for one in case.settings.instruments) else -k


def own_rates(case: Case) -> Case | None:
    """A case without models of the user's, which know amounts of their own, and none of whose symbols is a rate for others; None otherwise."""
    traded = {one.symbol for one in case.settings.instruments}
    built_in = case._replace(settings=replace(case.settings, models=()))
    return None if any(one.symbol in traded for one in case.settings.conversions) else built_in


def _factor(kind: str, name: str, up: float, down: float) -> float | int:
    """What a column of a kind of data is multiplied by."""
    prices = {"bid", "ask", "mark", "open", "high", "low", "close"}
    if name.rpartition("_")[2] in prices or (kind, name) == ("actions", "value"):
        return up
    return down if name == "volume" else 1


def _times(number: Decimals, k: int) -> Decimals:
    """A decimal times ``2**k``, exactly."""
    return Decimals(number.units * 2 ** max(k, 0), number.power * 2 ** max(-k, 0))


def _scaled_settings(settings: Settings, k: int, q: int) -> Settings:
    def other(one: Instrument) -> Instrument:
        rules = tuple(
            replace(rule, tick=_times(rule.tick, k), lot=_times(rule.lot, q), min_qty=rule.min_qty * 2.0**q) for rule in one.rules
        )
        return replace(one, tick=_times(one.tick, k), lot=_times(one.lot, q), min_qty=one.min_qty * 2.0**q, rules=rules)

    strategies = tuple(replace(one, amount=one.amount * 2.0**q) if one.size == SizeKind.FIXED_QTY else one for one in settings.strategies)
    instruments = tuple(other(one) for one in settings.instruments)
    return replace(settings, instruments=instruments, strategies=strategies, per_unit=settings.per_unit * 2.0**-q)


@given(SEEDS, st.integers(-6, 6).filter(bool))
def test_prices_and_quantities_in_other_units_leave_the_same_ledger(seed: int, k: int) -> None:  # R6.3
    case, plain = found(seed, trades, own_rates)
    other = run(scaled(case, k))
    triggers = plain.records["kind"] == RecordKind.ORDER
    expected = {name: plain.records[name] for name in NAMES}
    expected["price"] = expected["price"] * 2.0**k
    expected["value"] = np.where(triggers, expected["value"] * 2.0**k, expected["value"])
    assert {name: other.records[name].tolist() for name in NAMES} == {name: column.tolist() for name, column in expected.items()}
    assert other.equity.tolist() == plain.equity.tolist()
    assert other.outcomes.tolist() == plain.outcomes.tolist()


# one run in segments


def cut_off(case: Case, until: int) -> Case:
    """The market as a dataset that ends at a time has it, and the proposals known by then."""
    tables = tables_of(case.dataset)
    for group in tables.values():
        for key, columns in list(group.items()):
            kept = columns["ts"] <= until
            group[key] = {name: column[kept] for name, column in columns.items()}
            if key in tables["bars"] and not kept.any():
                del group[key]
    left = {symbol for symbol, _, _ in tables["bars"]}
    known = zip(case.proposals["symbol"], case.proposals.get("available_ts", case.proposals["ts"]), strict=True)
    proposals = chosen_rows(case.proposals, [row for row, (symbol, ts) in enumerate(known) if ts <= until and symbol in left])
    instruments = tuple(one for one in case.settings.instruments if one.symbol in left)
    return Case(from_columns(tables), proposals, replace(case.settings, instruments=instruments))


def segment_ends(result: ReplayResult) -> list[int]:
    """Some closes of the run at which every symbol has had bars, so that their numbers stay, and no bar is open that the part would lack."""
    tape = result.tape
    first = max(int(tape.ts[start]) for start in tape.oldest)
    spans = [(tape.open_ts[start:stop], tape.ts[start:stop]) for start, stop in zip(tape.first, tape.stop, strict=True)]
    ends = [
        ts for ts in result.sample_ts.tolist() if ts >= first and not any(((opened < ts) & (ts < closed)).any() for opened, closed in spans)
    ]
    return ends[:: max(1, len(ends) // 4)]


def before_open(result: ReplayResult, until: int) -> list[tuple[Any, ...]]:
    """Records up to a time, but those of the bars that open at it and those of the end of the run."""
    records = result.records
    early = (records["ts"] < until) | ((records["ts"] == until) & (records["phase"] < EventKind.BAR_OPEN))
    return [tuple(row) for row in records[early & (records["phase"] != OUTSIDE)][list(NAMES)].tolist()]


@given(SEEDS)
def test_a_dataset_that_ends_earlier_leaves_the_beginning_of_the_ledger(seed: int) -> None:  # R9.5
    def causal(case: Case) -> Case:
        return case._replace(settings=replace(case.settings, participation_current=False))

    case, whole = found(seed, lambda result: trades(result) and len(segment_ends(result)) > 2, causal)
    for until in segment_ends(whole):
        part = run(cut_off(case, until))
        assert before_open(part, until) == before_open(whole, until)
        assert len(part.equity) == int((whole.sample_ts <= until).sum())
        if not part.bankrupt:
            assert part.equity.tolist() == whole.equity[: len(part.equity)].tolist()


@given(SEEDS)
def test_segments_run_one_after_another_by_new_sessions_equal_the_whole(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    # R9.4: a saved session goes on beside the dataset it was saved beside, so a segment is a stretch of one dataset
    case, whole = found(seed, trades)
    path, ends = tmp_path_factory.getbasetemp() / "segment.npz", whole.sample_ts[:: max(1, len(whole.sample_ts) // 5)].tolist()
    session = Session(*case)
    for until in ends:
        session.advance(until)
        session.save(path)
        session = Session(*case)
        session.restore(path)
    assert fingerprint(session.run()) == fingerprint(whole)


# symbols that share nothing


def apart(settings: Settings) -> Settings:
    """The same with fixed quantities, ample cash, and nothing that one symbol could take from another."""
    return replace(
        unlimited(settings),
        max_positions=UNLIMITED,
        max_per_group=UNLIMITED,
        max_per_strategy=UNLIMITED,
        rotate_margin=np.inf,
        fee_tiers=(),
        interest=(),
    )


def pair(case: Case) -> Case | None:
    """Two symbols of a case whose last bars in the run close together, and their proposals without legs and targets; None if there are none."""
    case = untargeted(case)
    closes: dict[int, str] = {}
    for one in sorted(case.settings.instruments, key=lambda one: one.symbol):
        series = case.dataset.find("bars", one.symbol, case.settings.interval)
        assert series is not None
        bars = case.dataset.view("bars", series)
        ran = bars["ts"][(bars["open_ts"] >= case.settings.start_us) & (bars["ts"] <= case.settings.end_us)]
        if len(ran) and int(ran[-1]) in closes:
            both = (closes[int(ran[-1])], one.symbol)
            proposals = chosen_rows(case.proposals, [row for row, symbol in enumerate(case.proposals["symbol"]) if symbol in both])
            proposals.pop("leg", None)
            instruments = tuple(one for one in case.settings.instruments if one.symbol in both)
            return Case(case.dataset, proposals, replace(apart(case.settings), instruments=instruments))
        if len(ran):
            closes[int(ran[-1])] = one.symbol
    return None


def both_trade(result: ReplayResult) -> bool:
    return len({row["symbol"] for row in fills_of(result)}) == 2


ALONE = ("ts", "kind", "reason", "side", "qty", "price", "fee", "amount", "position", "value", "phase", "flags", "strategy")


def story_of(result: ReplayResult, symbol: str) -> list[tuple[Any, ...]]:
    """What happened to a symbol, without what counts over all symbols: cash, ranks and numbers."""
    number = result.symbols.index(symbol)
    return [tuple(row[name] for name in ALONE) for row in rows_of(result) if row["symbol"] == number]


@given(SEEDS)
def test_symbols_that_share_no_limit_add_up(seed: int) -> None:  # R6.1 R6.4
    case, together = found(seed, both_trade, pair)
    alone = {symbol: run(only(case, symbol, whole_dataset=True)) for symbol in together.symbols}
    for symbol, result in alone.items():
        assert story_of(result, symbol) == story_of(together, symbol)
    cash = case.settings.cash
    assert together.final_equity - cash == sum(result.final_equity - cash for result in alone.values())
    paths = [dict(zip(one.sample_ts.tolist(), one.equity.tolist(), strict=True)) for one in alone.values()]
    shared = [(ts, equity) for ts, equity in zip(together.sample_ts.tolist(), together.equity.tolist(), strict=True)]
    shared = [(ts, equity) for ts, equity in shared if all(ts in path for path in paths)]
    assert [equity - cash for _, equity in shared] == [sum(path[ts] - cash for path in paths) for ts, _ in shared]


# a wider spread


def taking(case: Case) -> Case:
    """Market orders and stops of fixed quantities, whose levels do not follow the fill."""
    case = untargeted(case)
    proposals = {name: list(column) for name, column in case.proposals.items()}
    proposals["order_type"] = [int(OrderType.STOP if kind >= OrderType.STOP else OrderType.MARKET) for kind in proposals["order_type"]]
    for name in ("trailing", "break_even"):
        proposals.pop(name, None)
    for name in ("stop_loss", "take_profit"):
        if name in proposals:
            kinds = zip(proposals[name], proposals[f"{name}_kind"], strict=True)
            proposals[name] = [level if kind == LevelKind.PRICE else float("nan") for level, kind in kinds]
    return Case(case.dataset, proposals, apart(case.settings))


def bare(case: Case) -> Case:
    """Market orders of fixed quantities without levels: nothing depends on which side's prices are met."""
    market = [int(OrderType.MARKET)] * len(case.proposals["ts"])
    proposals = {name: column for name, column in case.proposals.items() if name not in ("stop_loss", "take_profit")}
    return taking(case._replace(proposals=proposals | {"order_type": market}))


def widened(case: Case, by_bps: float, *, quotes: bool = False) -> Case:
    """The same with every spread, told and default and that of the quotes, wider by so much."""
    tables = tables_of(case.dataset)
    for key, columns in tables.get("spread", {}).items():
        tables["spread"][key] = dict(columns) | {"ask": columns["ask"] * (1 + by_bps / 10_000)}
    for key, columns in tables["bars"].items():
        around = {
            name: 1 + by_bps / 20_000 * (1 if name.startswith("ask_") else -1) for name in columns if name in QUOTE_COLUMNS and quotes
        }
        tables["bars"][key] = dict(columns) | {name: columns[name] * factor for name, factor in around.items()}
    settings = replace(case.settings, default_spread_bps=case.settings.default_spread_bps + by_bps)
    return Case(from_columns(tables), case.proposals, settings)


def takes(result: ReplayResult) -> bool:
    return sum(not row["flags"] & MAKER for row in fills_of(result)) >= 4


def quoted(result: ReplayResult) -> bool:
    return takes(result) and bool(result.tape.quoted.any())


def paired(seed: int, by_bps: float, *, quotes: bool) -> list[tuple[Row, float]]:
    """Fills under the wider spread, and by how much each is dearer; they are the same fills."""
    case, result = found(seed, quoted if quotes else takes, bare if quotes else taking)
    narrow, wide = fills_of(result), fills_of(run(widened(case, by_bps, quotes=quotes)))
    same = ("ts", "symbol", "strategy", "side", "qty", "reason", "order_id", "flags", "position")
    assert [[row[name] for name in same] for row in wide] == [[row[name] for name in same] for row in narrow]
    return [(row, row["side"] * (row["price"] - before["price"])) for row, before in zip(wide, narrow, strict=True)]


@pytest.mark.parametrize("quotes", [False, True])
@given(seed=SEEDS, by_bps=st.sampled_from([1.0, 30.0, 400.0]))
def test_a_wider_spread_gives_no_fill_a_better_price(quotes: bool, seed: int, by_bps: float) -> None:  # R2.2 R2.5
    fills = paired(seed, by_bps, quotes=quotes)
    assert min(dearer for _, dearer in fills) >= 0
    assert not any(dearer for row, dearer in fills if row["flags"] & MAKER)


@pytest.mark.parametrize("quotes", [False, True])
def test_a_much_wider_spread_makes_fills_dearer(quotes: bool) -> None:  # R2.2 R2.5
    cases = [paired(seed, 400.0, quotes=quotes) for seed in range(0, 100, 20)]
    assert sum(any(dearer > 0 for _, dearer in fills) for fills in cases) >= 4


# saved and restored at every instant


class Feature(NamedTuple):
    """Something that a saved session must carry, and how a run shows that it happened."""

    name: str
    happened: Told


def owners(result: ReplayResult) -> Iterator[tuple[Row, int, bool]]:
    """Each FILL, the signed lots held before it, and whether another order opened them."""
    held: dict[tuple[int, int], int] = {}
    order: dict[tuple[int, int], int] = {}
    for row in rows_of(result):
        key = (row["symbol"], row["strategy"])
        if row["kind"] == RecordKind.FILL:
            yield row, held.get(key, 0), order.get(key) != row["order_id"]
            order[key] = row["order_id"]
        held[key] = row["position"]


def some(**fields: int) -> Told:
    return lambda result: any(all(row[name] == value for name, value in fields.items()) for row in rows_of(result))


FEATURES = (
    Feature("a liquidation", some(kind=RecordKind.FILL, reason=Reason.LIQUIDATED)),
    Feature("an insurance", some(kind=RecordKind.INSURANCE)),
    Feature("an add", lambda result: any(held * row["side"] > 0 and other for row, held, other in owners(result))),
    Feature("a reversal", some(kind=RecordKind.FILL, reason=Reason.REVERSED)),
    Feature("a maker", lambda result: any(row["flags"] & MAKER and row["reason"] == Reason.FILLED for row in fills_of(result))),
    Feature("a part", lambda result: any(row["flags"] & MORE and row["reason"] == Reason.PARTIAL for row in fills_of(result))),
    Feature("a split", lambda result: any(row["kind"] == RecordKind.SPLIT and row["order_id"] == NONE for row in rows_of(result))),
    Feature("an order split", lambda result: any(row["kind"] == RecordKind.SPLIT and row["order_id"] != NONE for row in rows_of(result))),
    Feature("a rotation", some(kind=RecordKind.ORDER, reason=Reason.ROTATED)),
    Feature("a halt", some(kind=RecordKind.RISK_ALERT)),
    Feature("new levels", some(kind=RecordKind.LEVELS)),
    Feature("a trailing stop", some(kind=RecordKind.FILL, reason=Reason.TRAILING_STOP)),
)


@pytest.mark.parametrize("feature", FEATURES, ids=[feature.name for feature in FEATURES])
def test_a_run_saved_and_restored_at_every_instant_equals_one_that_is_not(feature: Feature, tmp_path: Path) -> None:  # R9.4
    case, plain = found(0, feature.happened)
    path, session, steps = tmp_path / "saved.npz", Session(*case), 0
    while not session.step():
        session.save(path)
        session = Session(*case, tape=session.tape)
        session.restore(path)
        steps += 1
    assert steps >= len(np.unique(plain.records["ts"])) - 1
    assert fingerprint(session.run()) == fingerprint(plain)
