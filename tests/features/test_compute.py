"""Proposals for many symbols: what they hold, and what must not change a bit of them."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset import Dataset, DatasetError, from_columns
from engine.schema import Action, LevelKind, OrderType, TimeInForce
from features import compute, frames
from features.catalogue import FACTORIES
from features.causality import CausalityError
from features.compute import certify, propose
from features.expressions import ema, rsi, sma
from features.proposal_files import read_proposals, write_proposals
from features.proposals import DTYPES, _by_count, find
from features.store import read_table, write_table
from features.strategy import StrategySpec
from features.strategy_file import StrategyError
from features.tree import read, widen
from tests.features.markets import MINUTE, columns, market, walk

END = 10**15
CROSS = StrategySpec(
    "cross", {"fast": {"sma": 2}, "slow": {"sma": 3}}, {"long": "cross_up(fast, slow)", "exit_long": "cross_down(fast, slow)"}
)
RICH = StrategySpec(
    "rich",
    {"fast": {"ema": 5}, "slow": {"ema": 12}, "r": {"rsi": 7}, "range": {"atr": 6}, "bb": {"bollinger": {"n": 9}}},
    {
        "long": "cross_up(fast, slow) or (r < 40 and close < bb_lower)",
        "short": "cross_down(fast, slow) and lag(r, 2) > 30",
        "exit_long": "r > 60",
        "exit_short": "not (r > 40)",
        "score": "abs(fast - slow) / range",
        "stop_loss": "close - side * 2 * range",
        "take_profit": {"fraction": 0.04},
        "trailing": "3 * range",
        "max_bars": "max(5, r / 5)",
    },
)


def run(data, specs, start=0, end=END, symbols=None, **options):
    return propose(data, specs, data.symbols if symbols is None else symbols, start, end, **options)


def rows_of(table):
    return [
        (int(ts) // MINUTE, table.symbols[symbol], Action(action).name)
        for ts, symbol, action in zip(*(table.columns[name] for name in ("ts", "symbol", "action")), strict=True)
    ]


def digest(table):
    return hashlib.sha256(b"".join(table.columns[name].tobytes() for name in DTYPES)).hexdigest()


def test_crosses_become_proposals():
    data = market({"A": [5, 5, 5, 6, 7, 4, 3, 6, 8]})
    # sma2:  -  5  5  5.5 6.5 5.5 3.5 4.5 7;  sma3: - - 5 5.33 6 5.67 4.67 4.33 5.67
    table = run(data, [CROSS])
    assert rows_of(table) == [(4, "A", "ENTER_LONG"), (6, "A", "EXIT_LONG"), (8, "A", "ENTER_LONG")]
    assert table.columns["row"].tolist() == [3, 5, 7]
    assert table.columns["sequence"].tolist() == [0, 1, 2]
    assert table.columns["score"].tolist() == [0, 0, 0]
    assert np.isnan(table.columns["stop_loss"]).all() and (table.columns["max_bars"] == 0).all()
    assert table.provenance == "certified" and table.dataset_id == data.id
    for name, dtype in DTYPES.items():
        assert table.columns[name].dtype == dtype and len(table.columns[name]) == 3


def test_entries_carry_levels_by_side_and_exits_none():
    data = market({"A": [10, 20, 30, 5]}, funding={"A": {"ts": [2 * MINUTE], "rate": [0.001], "mark": [np.nan]}})
    spec = StrategySpec(
        "s",
        {},
        {
            "long": "close == 10",
            "short": "close == 20 or close == 30",
            "exit": "close < 6",
            "score": "close / 2",
            "stop_loss": "close - side * 3",
            "take_profit": {"fraction": "side * 0.5 + 1"},
            "trailing": 2,
            "break_even": {"fraction": 0.25},
            "max_bars": "close - 15",
        },
    )
    table = run(data, [spec]).columns
    assert table["action"].tolist() == [Action.ENTER_LONG, Action.ENTER_SHORT, Action.ENTER_SHORT, Action.EXIT]
    assert table["score"].tolist() == [5, 10, 15, 0]
    assert table["stop_loss"].tolist()[:3] == [7, 23, 33] and np.isnan(table["stop_loss"][3])
    assert table["take_profit"].tolist()[:3] == [1.5, 0.5, 0.5] and np.isnan(table["take_profit"][3])
    assert table["take_profit_kind"].tolist() == [LevelKind.FRACTION] * 4 and table["stop_loss_kind"].tolist() == [LevelKind.PRICE] * 4
    assert table["trailing"].tolist()[:3] == [2, 2, 2]
    assert table["break_even"].tolist()[:3] == [0.25] * 3 and table["break_even_kind"].tolist() == [LevelKind.FRACTION] * 4
    assert table["max_bars"].tolist() == [0, 5, 15, 0]  # below one bar: none


def test_an_endless_score_or_level_is_an_unknown_score():  # R4.1: INVALID
    data = market({"A": [4, 2, 3, 4]})
    rules = {"long": "close > 1", "score": "1 / (close - 2)"}
    assert np.array_equal(run(data, [StrategySpec("s", {}, rules)]).columns["score"], [0.5, np.nan, 1, 0.5], equal_nan=True)
    rules = {"long": "close > 1", "stop_loss": "1 / (close - 3)"}
    assert np.array_equal(run(data, [StrategySpec("s", {}, rules)]).columns["score"], [0, 0, np.nan, 0], equal_nan=True)


@pytest.mark.parametrize(
    ("prices", "tif", "kind", "force"),
    [
        ({"limit_price": "close - side"}, "gtc", OrderType.LIMIT, (TimeInForce.GTC, 0)),
        ({"stop_price": "close + side"}, "ioc", OrderType.STOP, (TimeInForce.IOC, 0)),
        ({"limit_price": "close", "stop_price": "close"}, {"bars": 3}, OrderType.STOP_LIMIT, (TimeInForce.BARS, 3)),
        ({}, {"for": "2h"}, OrderType.MARKET, (TimeInForce.GTD, 2 * 60 * MINUTE)),
    ],
)
def test_the_prices_given_make_the_type_of_the_order(prices, tif, kind, force):  # R2.1
    data = market({"A": [10, 20, 5]})
    spec = StrategySpec("s", {}, {"long": "close == 10", "short": "close == 20", "exit": "close < 6", "tif": tif} | prices)
    table = run(data, [spec]).columns
    assert table["order_type"].tolist() == [kind, kind, OrderType.MARKET]
    later = table["ts"] if force[0] == TimeInForce.GTD else np.zeros(3, np.int64)
    assert table["tif"].tolist() == [force[0], force[0], TimeInForce.GTC]
    assert table["tif_value"].tolist() == [force[1] + later[0], force[1] + later[1], 0]
    for name, away in (("limit_price", -1), ("stop_price", 1)):
        expected = [10 + away, 20 - away] if f"close {'+' if away > 0 else '-'} side" in prices.get(name, "") else [10, 20]
        assert np.array_equal(table[name], [*expected, np.nan] if name in prices else [np.nan] * 3, equal_nan=True)


def test_level_proposes_while_true_and_edge_when_it_becomes_true():
    data = market({"A": [1, 3, 3, 1, 3, 3, 3]})
    assert len(run(data, [StrategySpec("s", {}, {"long": "close > 2"})])) == 5  # R4.5
    edge = StrategySpec("s", {}, {"long": "close > 2", "trigger": "edge"})
    assert rows_of(run(data, [edge])) == [(2, "A", "ENTER_LONG"), (5, "A", "ENTER_LONG")]
    assert rows_of(run(data, [edge], start=3 * MINUTE)) == [(5, "A", "ENTER_LONG")]


def test_only_the_period_proposes_and_warm_up_is_read_by_itself():
    data = market({"A": walk(300, 1)})
    whole, part = run(data, [RICH]), run(data, [RICH], start=100 * MINUTE, end=200 * MINUTE)
    inside = (whole.columns["ts"] >= 100 * MINUTE) & (whole.columns["ts"] <= 200 * MINUTE)
    assert inside.sum() == len(part) > 5
    for name in set(DTYPES) - {"sequence"}:
        assert part.columns[name].tobytes() == whole.columns[name][inside].tobytes()
    assert len(run(data, [RICH], start=END - 1)) == len(run(data, [RICH], end=-1)) == 0


def test_order_is_time_symbol_strategy_sequence():
    data = market({"B": [1, 3, 3], "A": [3, 1, 3]})
    always = {"long": "close > 2", "exit_short": "close > 2"}
    table = run(data, [StrategySpec("z", {}, always), StrategySpec("a", {}, always)])
    assert table.symbols == ("A", "B") and table.strategies == ("a", "z")
    keys = list(zip(*(table.columns[name].tolist() for name in ("available_ts", "symbol", "strategy", "sequence")), strict=True))
    assert keys == sorted(keys) and len(set(keys)) == len(keys) == 16
    reversed_ = run(data, [StrategySpec("a", {}, always), StrategySpec("z", {}, always)], symbols=["B", "A", "A"])
    assert digest(reversed_) == digest(table)  # R1.6


def test_symbols_of_equal_length_give_the_bits_that_each_gives_alone():
    data = market({f"S{i}": walk(400, i) for i in range(5)} | {"T": walk(333, 9)})
    table = run(data, [RICH, CROSS])
    for code, symbol in enumerate(data.symbols):
        alone = run(market({symbol: {name: data.view("bars", data.find("bars", symbol))[name] for name in walk(1)}}), [RICH, CROSS])
        mine = table.columns["symbol"] == code
        for name in set(DTYPES) - {"symbol", "row"}:
            assert alone.columns[name].tobytes() == table.columns[name][mine].tobytes()
        assert (alone.columns["row"] + data.find("bars", symbol).start).tolist() == table.columns["row"][mine].tolist()


def test_wide_expression_is_given_up_where_a_constant_would_lose_a_bit():
    lost = [n for n in range(2, 400) if widen(read(ema("close", n)), ["a", "b"]) is None]
    kept = [n for n in range(2, 400) if widen(read(ema("close", n)), ["a", "b"]) is not None]
    assert kept and widen(read(sma("close", 20)), ["a", "b"]) is not None
    rows = [walk(500, i) for i in range(3)]
    loaded = [{"close": one["close"]} for one in rows]
    features = [read(ema("close", n)) for n in (*lost[:3], *kept[:3])] + [read(1.0 - rsi("close", 9))]
    together, single = frames.compute(loaded, features), frames.compute(loaded, features, 1)
    for a, b in zip(together, single, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].first == b[name].first and a[name].values.tobytes() == b[name].values.tobytes()


def test_many_symbols_at_once_give_the_bits_of_one_for_every_expression():
    made = {name: factory() for name, factory in FACTORIES.items()}
    exprs = [expr for parts in made.values() for expr in (parts.values() if isinstance(parts, dict) else [parts])]
    high, close = pl.col("high"), pl.col("close")
    exprs += [pl.max_horizontal("high", "close"), pl.coalesce(close, high), high.clip(close, 2 * close), 1.0 / close]
    exprs += [pl.when(high > 101).then(1.0).otherwise(close), pl.lit(2.0) + high, close.cast(pl.Float32).shift(1)]
    features = list({feature.digest: feature for feature in map(read, exprs)}.values())
    names = ("open", "high", "low", "close", "volume")
    loaded = [{name: walk(150, seed)[name] for name in names} for seed in range(3)]
    together, single = frames.compute(loaded, features), [frames.compute([one], features)[0] for one in loaded]
    for a, b in zip(together, single, strict=True):
        for feature in features:
            assert a[feature.digest].first == b[feature.digest].first
            assert a[feature.digest].values.tobytes() == b[feature.digest].values.tobytes()
    assert sum(widen(feature, ["0", "1"]) is not None for feature in features) > len(features) // 2


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_workers_change_no_bit(workers):
    data = market({f"S{i}": walk(400, i) for i in range(3)})
    assert digest(run(data, [RICH, CROSS], workers=workers)) == digest(run(data, [RICH, CROSS]))
    with pytest.raises(ValueError, match="workers is 0"):
        run(data, [RICH], workers=0)


THREADS = """
import sys
sys.path.insert(0, {root!r})
from tests.features.markets import market, walk
from tests.features.test_compute import CROSS, RICH, digest, run
import polars
assert polars.thread_pool_size() == {threads}
print(digest(run(market({{f"S{{i}}": walk(3000, i) for i in range(3)}}), [RICH, CROSS])))
"""


def test_threads_change_no_bit():
    root = str(Path(__file__).parents[2])
    results = set()
    for threads in (1, 2):
        environment = os.environ | {"POLARS_MAX_THREADS": str(threads), "NUMEXPR_NUM_THREADS": str(threads), "PYTHONHASHSEED": str(threads)}
        code = THREADS.format(root=root, threads=threads)
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=root)
        results.add(done.stdout)
    assert len(results) == 1


@given(st.integers(0, 10_000), st.integers(40, 160), st.sampled_from(["append", "nan", "huge"]))
def test_later_rows_change_no_earlier_proposal(seed, known, future):
    rows = walk(200, seed)
    whole = run(market({"A": rows, "B": walk(200, 1)}), [RICH, CROSS], certify=False)
    cut = {name: values[:known].copy() for name, values in rows.items()}
    if future != "append":
        cut = {name: values.copy() for name, values in rows.items()}
        for name in ("open", "high", "low", "close", "volume"):
            cut[name][known:] = np.nan if future == "nan" else 1e9
    part = run(market({"A": cut, "B": walk(200, 1)}), [RICH, CROSS], certify=False)
    for name in set(DTYPES) - {"row"}:
        early = [table.columns[name][table.columns["ts"] <= known * MINUTE] for table in (whole, part)]
        early = [
            values[table.columns["symbol"][table.columns["ts"] <= known * MINUTE] == 0]
            for values, table in zip(early, (whole, part), strict=True)
        ]
        assert early[0].tobytes() == early[1].tobytes()


def test_data_with_gaps_start_anew_after_each():
    rows = walk(120, 2)
    rows["close"] = rows["close"].copy()
    rows["close"][50:53] = np.nan
    columns_of = {"close": rows["close"], "high": rows["high"]}
    features = [read(ema("close", 10)), read(rsi("close", 5)), read(sma("high", 4))]
    got = frames.compute([columns_of], features)[0]
    for feature in features[:2]:
        column = got[feature.digest]
        values = np.r_[np.full(column.first, np.nan), column.values]
        for start, stop in ((0, 50), (53, 120)):
            piece = frames.compute([{"close": rows["close"][start:stop]}], [feature])[0][feature.digest]
            assert values[start + piece.first : stop].tobytes() == piece.values.tobytes()
            assert np.isnan(values[start : start + piece.first]).all()
        assert np.isnan(values[50:53]).all()
    assert got[features[2].digest].first == 3  # reads no column with a gap


def test_funding_and_spread_are_those_known_at_the_close():
    ts = MINUTE * np.array([2, 4])
    data = market(
        {"A": [1, 1, 1, 1, 1]},
        funding={"A": {"ts": ts, "rate": [0.1, 0.2], "mark": [np.nan] * 2}},
        spread={"A": {"ts": MINUTE * np.array([1, 1, 3]) + 1, "bid": [1, 2, 4], "ask": [3, 6, 4]}},
    )
    table = run(
        data, [StrategySpec("s", {}, {"long": "close > 0", "score": "funding_rate", "stop_loss": "bid", "trailing": "spread_bps"})]
    ).columns
    assert np.array_equal(table["score"], [np.nan, 0.1, 0.1, 0.2, 0.2], equal_nan=True)
    assert np.array_equal(table["stop_loss"], [np.nan, 2, 2, 4, 4], equal_nan=True)
    assert np.array_equal(table["trailing"], [np.nan, 10_000, 10_000, 0, 0], equal_nan=True)


def test_adjusted_columns_go_on_over_splits():  # R8.1
    ts = MINUTE * np.array(
        [1, 2, 3, 4]
    )  # the second at a close, after which the new shares trade; the third inside a bar, which is all of them
    actions = {"ts": ts + [0, 0, 7, 0], "kind": [1, 0, 0, 2], "value": [9.0, 0, 0, 0], "num": [0, 2, 1, 0], "den": [0, 1, 4, 0]}
    rows = columns([60, 60, 30, 120, 120], volume=[100, 100, 200, 50, 50])
    rules = {
        "long": "adj_close > 0",
        "score": "adj_close + split_ratio / 8",
        "stop_loss": "adj_close / split_ratio",
        "trailing": "adj_volume",
    }
    table = run(market({"A": rows, "B": rows}, actions={"A": actions}), [StrategySpec("s", {}, rules)]).columns
    split, plain = (table["symbol"] == code for code in (0, 1))
    assert table["score"][split].tolist() == [60.125, 60.125, 60.25, 60.0625, 60.0625]
    assert table["stop_loss"][split].tolist() == [60, 60, 30, 120, 120]
    assert table["trailing"][split].tolist() == [100] * 5
    assert table["score"][plain].tolist() == [60.125, 60.125, 30.125, 120.125, 120.125]


def test_columns_that_are_not_there_are_refused():
    data = market({"A": columns([1, 2], volume=[np.nan, np.nan])})
    for rule, reason in (
        ("funding_rate > 0", "needs funding data, and A has none"),
        ("bid_close > 0", "no column 'bid_close'"),
        ("volume > 0", "column 'volume' of A has no values"),
    ):
        with pytest.raises(DatasetError, match=reason):
            run(data, [StrategySpec("s", {}, {"long": rule})])
    with pytest.raises(DatasetError, match="no bars of 'Z'"):
        run(data, [CROSS], symbols=["Z"])
    with pytest.raises(DatasetError, match="no 1h bars of 'A'"):
        run(data, [CROSS], interval="1h")


def test_the_finest_series_is_used_unless_another_is_named():
    five = walk(60, 1) | {"ts": 5 * MINUTE * np.arange(1, 61), "open_ts": 5 * MINUTE * np.arange(60)}
    data = from_columns({"bars": {("A", "5m", 5 * MINUTE): five, ("A", "1m", MINUTE): walk(300, 2)}})
    spec = StrategySpec("s", {}, {"long": "close > 0"})
    assert len(run(data, [spec])) == 300
    table = run(data, [spec], interval="5m")
    assert len(table) == 60 and table.columns["row"].tolist() == list(range(300, 360))


def test_strategies_need_ids_of_their_own():
    data = market({"A": [1, 2]})
    with pytest.raises(StrategyError, match="two strategies are called 'cross'"):
        run(data, [CROSS, CROSS])
    with pytest.raises(StrategyError, match="no strategy given"):
        run(data, [])


def test_symbols_may_be_too_short_for_their_features():
    data = market({"A": walk(1), "B": walk(5), "C": walk(200)})
    table = run(data, [RICH])
    assert set(table.columns["symbol"].tolist()) == {2}


def test_store_holds_certificates_features_and_proposals_that_are_reused(tmp_path, monkeypatch):
    data = market({f"S{i}": walk(300, i) for i in range(3)} | {"T": walk(200, 7)})
    fresh = run(data, [RICH])
    stored = run(data, [RICH], store=tmp_path)
    assert digest(stored) == digest(fresh) and stored.certificates == fresh.certificates
    assert len(list((tmp_path / "features").iterdir())) == 5  # of bollinger, the lower band alone is used
    monkeypatch.setattr(frames, "compute", lambda *_: pytest.fail("computed again"))
    again = run(data, [RICH], store=tmp_path)
    assert digest(again) == digest(fresh) and again.certificates == fresh.certificates and again.symbols == fresh.symbols
    part = run(data, [RICH], start=50 * MINUTE, end=150 * MINUTE, store=tmp_path)
    monkeypatch.undo()
    assert digest(part) == digest(run(data, [RICH], start=50 * MINUTE, end=150 * MINUTE))
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("kind", ["certificates", "features", "proposals"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "altered"])
def test_what_is_damaged_in_the_store_is_made_anew(tmp_path, monkeypatch, kind, damage):
    data = market({f"S{i}": walk(300, i) for i in range(3)})
    fresh = run(data, [RICH], store=tmp_path)
    if kind != "proposals":
        shutil.rmtree(tmp_path / "proposals")  # else nothing else is read
    monkeypatch.setattr(compute, "_issued", {})  # as a new process
    for path in (tmp_path / kind).iterdir():
        content = bytearray(path.read_bytes())
        content[len(content) // 2 :] = {"cut": b"", "emptied": b"", "altered": bytes(byte ^ 1 for byte in content[len(content) // 2 :])}[
            damage
        ]
        path.write_bytes(b"" if damage == "emptied" else content)
    again = run(data, [RICH], store=tmp_path)
    assert digest(again) == digest(fresh) and again.certificates == fresh.certificates
    assert digest(run(data, [RICH], store=tmp_path)) == digest(fresh)


def test_a_feature_file_with_one_altered_value_is_not_used(tmp_path):  # R11.4
    data = market({"A": walk(300)})
    fresh = run(data, [RICH], store=tmp_path)
    shutil.rmtree(tmp_path / "proposals")
    for path in (tmp_path / "features").iterdir():
        table, metadata = read_table(path)
        values = np.array(table["value"])
        path.unlink()
        write_table(path, {"value": values[::-1].copy()}, metadata)
    assert digest(run(data, [RICH], store=tmp_path)) == digest(fresh)


def test_table_survives_its_file_and_an_altered_file_is_refused(tmp_path):
    data = market({"A": walk(300), "B": walk(300, 1)})
    table = run(data, [RICH, CROSS])
    write_proposals(table, tmp_path / "p.arrow")
    back = read_proposals(tmp_path / "p.arrow")
    assert digest(back) == digest(table)
    assert (back.symbols, back.strategies, back.provenance, back.dataset_id, back.certificates) == (
        table.symbols, table.strategies, "certified", data.id, table.certificates,
    )  # fmt: skip
    content = bytearray((tmp_path / "p.arrow").read_bytes())
    place = content.find(table.columns["score"].tobytes())
    content[place] ^= 1
    (tmp_path / "q.arrow").write_bytes(content)
    with pytest.raises(CausalityError, match="altered after they were certified"):
        read_proposals(tmp_path / "q.arrow")


def test_certify_alone_lists_rules_and_features():
    data = market({"A": walk(100)})
    certificates = certify(data, [CROSS], ["A"])
    assert len(certificates) == 3 and all(one.dataset == data.id for one in certificates)
    assert [len(one.cuts) for one in certificates] == [0, 1, 1]


def test_counting_bars_sorts_proposals_as_their_times_do(monkeypatch):  # R1.1
    data = market({name: walk(400, seed) for seed, name in enumerate("ABC")})
    counted = digest(run(data, [RICH, CROSS]))
    monkeypatch.setattr(Dataset, "clock", lambda self, series: series.start)  # no two alike
    assert digest(run(data, [RICH, CROSS])) == counted


@pytest.mark.parametrize("most", [10, 2**16 - 1, 2**16, 2**20, 2**33])
def test_rows_in_any_number_are_sorted_by_count(most):
    rng = np.random.default_rng(most)
    starts = rng.integers(0, 1000, 500)
    rows = starts + np.append(rng.integers(0, most, 499), most)
    assert _by_count(rows, starts).tolist() == np.argsort(rows - starts, kind="stable").tolist()
    assert _by_count(rows[:0], starts[:0]).tolist() == []


@pytest.mark.parametrize("rule", ["cross_up(30, r)", "cross_up(r, 30)", "cross_down(50, r) and close > 0", "cross_up(r, lag(r, 40))"])
def test_a_symbol_that_is_too_young_for_a_feature_proposes_nothing(rule):
    data = market({"OLD": walk(200, 1, 0.03), "NEW": walk(10, 2)})
    table = run(data, [StrategySpec("s", {"r": {"rsi": 14}}, {"long": rule})])
    assert len(table) and {table.symbols[code] for code in table.columns["symbol"]} == {"OLD"}


def test_symbols_without_features_are_taken_in_batches_too(monkeypatch):
    data = market({f"S{i}": walk(300, i) for i in range(9)})
    spec = StrategySpec("s", {}, {"long": "cross_up(close, 100)", "exit_long": "cross_down(close, 101)"})
    sizes, whole = [], digest(run(data, [spec]))
    monkeypatch.setattr(compute, "BATCH", 3_000)  # a column and two crosses of 300 rows each, three times
    monkeypatch.setattr(compute, "find", lambda plan, inputs, *rest: sizes.append(len(inputs)) or find(plan, inputs, *rest))
    assert digest(run(data, [spec])) == whole
    assert sizes == [3, 3, 3]
