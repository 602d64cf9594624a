"""The gate: planted leaks are refused by name, or caught by the experiment; certificates are reused and asked for."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest

from features import compute, poison
from features.causality import CausalityError, Certificate, check, require_certificate
from features.columns import bar_series
from features.expressions import ema, sma
from features.poison import certify
from features.proposals import ProposalTable
from features.strategy import StrategySpec
from features.tree import read
from tests.features.markets import MINUTE, columns, market, walk

CLOSE = pl.col("close")

REFUSED = {
    "negative shift": (CLOSE.shift(-1), "'Shift' by -1 rows reads the future"),
    "negative shift taken back": (CLOSE.shift(-1).shift(1), "'Shift' by -1 rows"),
    "computed shift": (CLOSE.shift(pl.col("volume")), "'Shift' by a computed number"),
    "negative difference": (CLOSE.diff(-2), "'Diff' by -2 rows"),
    "negative change": (CLOSE.pct_change(-1), "'PctChange' by -1 rows"),
    "cast to a whole number": (CLOSE.cast(pl.Int64), "'cast' to Int64"),
    "reverse": (CLOSE.reverse(), "'Reverse' moves rows"),
    "backward fill": (CLOSE.backward_fill(), "strategy 'backward' reads the future"),
    "fill with the mean": (CLOSE.fill_null(strategy="mean"), "strategy 'mean' reads the future"),
    "centred window": (CLOSE.rolling_mean(3, center=True), "centred window reads the future"),
    "global mean": (CLOSE - CLOSE.mean(), "'Mean' aggregates the whole column"),
    "global maximum": (CLOSE / CLOSE.max(), "'Max' aggregates the whole column"),
    "global deviation": (CLOSE / CLOSE.std(), "'Std' aggregates the whole column"),
    "global quantile": (CLOSE - CLOSE.quantile(0.5), "'Quantile' aggregates the whole column"),
    "first": (CLOSE / CLOSE.first(), "'First' aggregates the whole column"),
    "reverse sum": (CLOSE.cum_sum(reverse=True), "'CumSum' with reverse=True"),
    "rank": (CLOSE.rank(), "'Rank' needs the whole column"),
    "interpolation": (CLOSE.interpolate(), "'Interpolate' needs the whole column"),
    "sort": (CLOSE.sort(), "'Sort' moves rows"),
    "gather": (CLOSE.gather(pl.lit(5)), "'Gather' moves rows"),
    "slice": (CLOSE.slice(1), "'Slice' moves rows"),
    "filter": (CLOSE.filter(CLOSE > 1), "'Filter' moves rows"),
    "over": (CLOSE.sum().over("volume"), "'Over' groups rows"),
    "map": (CLOSE.map_batches(lambda s: s), "is opaque"),
    "rolling map": (CLOSE.rolling_map(lambda s: s.mean(), 3), "is opaque"),
    "own data": (CLOSE + pl.lit(pl.Series([1.0, 2.0])), "brings data of its own"),
    "length": (CLOSE / pl.len(), "'Len'"),
    "no column": (pl.lit(1.0), "reads no column"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore::polars.exceptions.PolarsInefficientMapWarning")
def test_operator_that_may_look_ahead_is_refused_by_name(name):
    expr, reason = REFUSED[name]
    with pytest.raises(CausalityError, match=r"features\.leak") as caught:
        check(read(expr), "features.leak")
    assert reason in str(caught.value)


def gappy_walk(n=300, seed=3):
    rows = walk(n, seed)
    rows["close"] = rows["close"].copy()
    rows["close"][[40, 41, 200]] = np.nan
    return rows


LEAKS = {
    "shift": CLOSE.shift(-1),
    "centred": CLOSE.rolling_mean(5, center=True),
    "mean": CLOSE - CLOSE.mean(),
    "reverse sum": CLOSE.cum_sum(reverse=True),
    "last": CLOSE / CLOSE.last(),
    "backfill": CLOSE.fill_nan(None).backward_fill(),
    "ranks": CLOSE.rank(),
    "standardised": (CLOSE - CLOSE.mean()) / CLOSE.std(),
}


@pytest.mark.parametrize("name", LEAKS)
def test_leak_that_got_past_the_list_moves_the_past(name):
    data = market({"A": gappy_walk(), "B": walk(300, 4)})
    series = [bar_series(data, symbol, "") for symbol in ("A", "B")]
    with pytest.raises(CausalityError, match=r"feature 'leak' sees the future: when [AB]'s rows after .* \(row \d+\) moved"):
        certify(data, series, "", {"leak": read(LEAKS[name])})


def test_backfill_only_after_gaps_is_caught_in_a_long_history():
    # one gap in 20,000 rows: a few hundred cuts drawn at random would most likely miss it
    rows = walk(20_000, 5)
    rows["close"] = rows["close"].copy()
    rows["close"][12_345] = np.nan
    data = market({"A": rows})
    with pytest.raises(CausalityError, match="row 12345"):
        certify(data, [bar_series(data, "A", "")], "", {"leak": read(CLOSE.fill_nan(None).backward_fill())})


def test_symbols_that_move_each_other_are_caught(monkeypatch):
    original = poison.compute

    def mixed(loaded, features, limit=None):
        shared = np.mean([columns["close"] for columns in loaded], axis=0)
        return original([dict.fromkeys(columns, shared) for columns in loaded], features, limit)

    monkeypatch.setattr(poison, "compute", mixed)
    monkeypatch.setattr(poison, "_cuts", lambda *_: ())
    data = market({"A": walk(50, 1), "B": walk(50, 2)})
    with pytest.raises(CausalityError, match="other symbols' rows were overwritten"):
        certify(data, [bar_series(data, s, "") for s in "AB"], "", {"leak": read(CLOSE * 1.0)})


def test_every_kind_of_data_is_poisoned():
    ts = MINUTE * np.arange(1, 101)
    funding = {"ts": ts[::8], "rate": np.linspace(0, 1, 13), "mark": np.full(13, np.nan)}
    spread = {"ts": ts[::3] - 7, "bid": np.linspace(1, 2, 34), "ask": np.linspace(2, 4, 34)}
    actions = {"ts": ts[::20] + 5, "kind": [0, 1, 0, 0, 0], "value": [0.0] * 5, "num": [2, 0, 3, 1, 7], "den": [1, 0, 2, 8, 1]}
    data = market({"A": walk(100)}, funding={"A": funding}, spread={"A": spread}, actions={"A": actions})
    series = [bar_series(data, "A", "")]
    for name in ("funding_rate", "bid", "spread_bps", "split_ratio", "adj_close", "adj_volume"):
        assert certify(data, series, "", {name: read(pl.col(name).rolling_mean(3))})
        with pytest.raises(CausalityError, match="sees the future"):
            certify(data, series, "", {name: read(pl.col(name).shift(-1))})


def test_cuts_are_placed_where_leaks_hide():
    rows = columns(np.arange(1.0, 61), ts=MINUTE * np.r_[1:31, 1400:1430])
    rows["close"][10:12] = np.nan
    data = market({"A": rows})
    (certificate,) = certify(data, [bar_series(data, "A", "")], "", {"mean": read(sma("close", 3))})
    assert {0, 9, 10, 11, 12, 29, 30, 58} <= set(certificate.cuts["A"])
    assert all(0 <= row < 59 for row in certificate.cuts["A"])


SPEC = StrategySpec("trend", {"fast": {"ema": 5}, "slow": {"sma": 20}}, {"long": "cross_up(fast, slow)", "exit_long": "fast < slow"})
END = 10**15


def propose(data, **options):
    return compute.propose(data, [SPEC], data.symbols, 0, END, **options)


def test_certificate_is_reused_for_the_same_operators_and_data(monkeypatch, tmp_path):
    data = market({"A": walk(200, 11), "B": walk(200, 12)})
    first = propose(data, store=tmp_path)
    monkeypatch.setattr(poison, "certify", lambda *_: pytest.fail("certified again"))
    assert propose(data).certificates == first.certificates
    renamed = dataclasses.replace(SPEC, id="other", features={"quick": {"ema": 5}, "slow": {"sma": 20}}, propose={"long": "quick > slow"})
    assert compute.propose(data, [renamed], ["A"], 0, END).certificates[1:] == first.certificates[1:]
    monkeypatch.setattr(compute, "_issued", {})
    assert compute.certify(data, [SPEC], data.symbols, store=tmp_path) == first.certificates


@pytest.mark.parametrize("change", ["data", "operators", "symbols"])
def test_certificate_is_made_anew_for_something_else(monkeypatch, change):
    monkeypatch.setattr(compute, "_issued", {})
    data = market({"A": walk(200, 11), "B": walk(200, 12)})
    compute.certify(data, [SPEC], ["A"])
    asked = []
    original = poison.certify
    monkeypatch.setattr(poison, "certify", lambda *arguments: asked.append(arguments) or original(*arguments))
    spec = dataclasses.replace(SPEC, features=SPEC.features | {"fast": {"ema": 6}}) if change == "operators" else SPEC
    other = market({"A": walk(200, 13), "B": walk(200, 12)}) if change == "data" else data
    compute.certify(other, [spec], ["A", "B"] if change == "symbols" else ["A"])
    assert len(asked) == 1


def test_replay_may_ask_for_the_certificate():
    data, other = market({"A": walk(200, 1)}), market({"A": walk(200, 2)})
    table = propose(data)
    require_certificate(table, data.id)
    with pytest.raises(CausalityError, match="another dataset's certificate"):
        require_certificate(table, other.id)
    with pytest.raises(CausalityError, match="another dataset's certificate"):
        require_certificate(dataclasses.replace(table, dataset_id=other.id), other.id)
    with pytest.raises(CausalityError, match="uncertified"):
        require_certificate(propose(data, certify=False), data.id)
    with pytest.raises(CausalityError, match="uncertified"):
        require_certificate(dataclasses.replace(table, certificates=()), data.id)
    empty = ProposalTable(table.columns, table.symbols, table.strategies, "external")
    with pytest.raises(CausalityError, match="uncertified"):
        require_certificate(empty, data.id)


def test_certificate_survives_json():
    certificate = Certificate("tree", "data", "1m", {"A": (1, 2)}, "2.1", "code")
    assert Certificate.from_json(certificate.to_json()) == certificate
    for text in ("", "{}", "[1]", json.dumps({"cuts": 1, "poisons": []})):
        with pytest.raises(CausalityError, match="not a certificate"):
            Certificate.from_json(text)


def test_recursions_pass_the_experiment_on_data_with_gaps():
    data = market({"A": gappy_walk()})
    features = {"ema": read(ema("close", 10)), "filled": read(CLOSE.fill_nan(None).forward_fill().rolling_mean(4))}
    assert len(certify(data, [bar_series(data, "A", "")], "", features)) == 2
