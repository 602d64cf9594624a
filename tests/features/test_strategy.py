"""What a strategy may say, in YAML and in a Python file."""

from pathlib import Path

import numpy as np
import pytest

from engine.schema import Action
from features import compute
from features.causality import CausalityError
from features.rules import RuleError
from features.strategy import StrategySpec, plan
from features.strategy_file import StrategyError, load
from tests.features.markets import market, walk

LONG = {"long": "close > 1"}

REFUSED = [
    ({}, LONG | {"tags": 1}, "propose.tags is not supported yet"),
    ({}, LONG | {"order_type": "limit"}, "no key 'order_type'"),
    ({}, LONG | {"limit_price": "close > 1"}, "a number is needed"),
    ({}, LONG | {"tif": "day"}, "propose.tif is gtc, ioc, {bars: 3} or {for: 8h}"),
    ({}, LONG | {"tif": {"bars": 0}}, "not {'bars': 0}"),
    ({}, LONG | {"tif": {"bars": True}}, "not {'bars': True}"),
    ({}, LONG | {"tif": {"for": "0h"}}, "not {'for': '0h'}"),
    ({}, LONG | {"tif": {"bars": 2, "for": "8h"}}, "propose.tif is"),
    ({}, LONG | {"stoploss": "close"}, "no key 'stoploss'; did you mean 'stop_loss'"),
    ({}, LONG | {"trigger": "always"}, "level or edge"),
    ({}, {"exit_long": "close > 1"}, "neither long nor short nor target"),
    ({}, {"target": "close > 1"}, "propose.target needs propose.weight"),
    ({}, {"target": "close > 1", "weight": "0.5", "limit_price": "close"}, "propose.limit_price does not go with propose.target"),
    ({}, {"target": "close > 1", "weight": "0.5", "tif": "ioc"}, "propose.tif does not go with propose.target"),
    ({}, LONG | {"max_bars": 0}, "whole number of bars"),
    ({}, LONG | {"max_bars": 2.5}, "whole number of bars"),
    ({}, LONG | {"stop_loss": {"percent": 2}}, "a rule or {fraction"),
    ({}, LONG | {"stop_loss": {"fraction": 2}}, "fraction between 0 and 1"),
    ({}, LONG | {"stop_loss": {"fraction": -0.1}}, "fraction between 0 and 1"),
    ({}, LONG | {"stop_loss": -5}, "not a price"),
    ({}, LONG | {"score": "side"}, "unknown name 'side'"),
    ({}, LONG | {"stop_loss": "close > 1"}, "a number is needed"),
    ({"a": {"smaa": 20}}, LONG, "no expression is called 'smaa'; did you mean 'sma'"),
    ({"a": {"sma": {"m": 20}}}, LONG, "sma has no argument 'm'"),
    ({"a": {"sma": {"of": "clse"}}}, LONG, "'clse' is neither a column nor a feature; did you mean 'close'"),
    ({"a": {"sma": {"of": 5}}}, LONG, "sma.of is the name of a column"),
    ({"a": {"sma": 0}}, LONG, "sma.n is a whole number from 1"),
    ({"a": {"sma": 2.5}}, LONG, "sma.n is a whole number"),
    ({"a": {"sma": True}}, LONG, "mapping such as"),
    ({"a": {"sma": {"n": "20"}}}, LONG, "sma.n is a number"),
    ({"a": {"quantile": {"q": 1.5}}}, LONG, "quantile.q is a number from 0 to 1"),
    ({"a": {"sma": 5, "ema": 5}}, LONG, "is not a feature"),
    ({"a": 5}, LONG, "is not a feature"),
    ({"a": {"sma": {"of": "b", "n": 2}}, "b": {"sma": {"of": "a", "n": 2}}}, LONG, "is made from itself: a -> b -> a"),
    ({"close": {"sma": 5}}, LONG, "'close' is a column already"),
    ({"side": {"sma": 5}}, LONG, "'side' is a column already"),
    ({"lag": {"sma": 5}}, LONG, "has a meaning in rules"),
    ({"and": {"sma": 5}}, LONG, "has a meaning in rules"),
    ({"my-fast": {"sma": 5}}, LONG, "is not a name"),
    ({"bb": {"bollinger": 20}, "bb_upper": {"sma": 5}}, LONG, "two features are called 'bb_upper'"),
    ({"bb": {"bollinger": 20}}, {"long": "close > bb"}, "unknown name 'bb'; did you mean 'bid'"),
    ([], LONG, "are mappings"),
]


@pytest.mark.parametrize(("features", "rules", "reason"), REFUSED, ids=[reason for _, _, reason in REFUSED])
def test_refused_strategy_names_the_key_and_the_nearest(features, rules, reason):
    with pytest.raises((StrategyError, RuleError)) as caught:
        plan(StrategySpec("trend", features, rules))
    if reason == "unknown name 'bb'; did you mean 'bid'":
        reason = "unknown name 'bb'"
    assert str(caught.value).startswith("strategy 'trend'") and reason in str(caught.value)


def test_features_may_be_made_of_features_in_any_order():
    one = plan(
        StrategySpec(
            "s",
            {"smooth": {"ema": {"of": "bb_upper", "n": 3}}, "bb": {"bollinger": {"n": 10}}, "range": {"atr": None}, "tr": "true_range"},
            {"long": "close > smooth", "stop_loss": "close - range", "score": "tr"},
        )
    )
    assert sorted(one.features) == ["range", "smooth", "tr"]
    assert {name: feature.lookback for name, feature in one.features.items()} == {"range": 14, "smooth": 11, "tr": 1}


def test_unused_features_are_checked_and_not_computed():
    one = plan(StrategySpec("s", {"used": {"sma": 3}, "unused": {"sma": 4}}, {"long": "close > used"}))
    assert list(one.features) == ["used"]


def test_digest_depends_on_what_is_computed_alone():
    def digest(features, rules, name="s"):
        return plan(StrategySpec(name, features, rules)).digest

    rules = {"long": "close > a"}
    assert digest({"a": {"sma": 3}}, rules) == digest({"a": {"sma": {"n": 3, "of": "close"}}}, {"long": " close  > (a)"}, "t")
    assert digest({"a": {"sma": 3}}, rules) != digest({"a": {"sma": 4}}, rules)
    assert digest({"a": {"sma": 3}}, rules) != digest({"a": {"sma": 3}}, {"long": "close >= a"})
    assert digest({"a": {"sma": 3}}, rules) != digest({"a": {"sma": 3}}, rules | {"trigger": "edge"})
    assert digest({"a": {"sma": 3}}, rules) != digest({"a": {"sma": 3}}, rules | {"limit_price": "a"})
    assert digest({"a": {"sma": 3}}, rules | {"tif": {"bars": 2}}) != digest({"a": {"sma": 3}}, rules | {"tif": {"bars": 3}})


def test_a_target_has_a_weight_and_levels_of_its_side():
    data = market({"A": walk(60)})
    rules = {"target": "close > 0", "weight": "(close - open) / close", "stop_loss": "close - side * 5", "score": "volume"}
    found = compute.propose(data, [StrategySpec("s", {}, rules)], ["A"], 0, 10**15).columns
    assert len(found["ts"]) == 60 and set(found["action"].tolist()) == {Action.TARGET}
    bars = data.view("bars", data.series["bars"][0])
    weights = (bars["close"] - bars["open"]) / bars["close"]
    assert found["weight"].tolist() == weights.tolist() and (weights < 0).any() and (weights > 0).any()
    assert found["stop_loss"].tolist() == np.where(weights < 0, bars["close"] + 5, bars["close"] - 5).tolist()
    assert found["score"].tolist() == bars["volume"].tolist()


def strategy_file(folder: Path, body: str) -> str:
    path = folder / "mine.py"
    path.write_text(body)
    return str(path)


WHOLE = """
import polars as pl
from features.expressions import sma
class Mine:
    def __init__(self, n, k=2.0): self.n, self.k = n, k
    def features(self): return {"mean": sma("close", self.n), "bands": {"up": sma("high", self.n), "down": sma("low", self.n)}}
    def propose(self): return {"long": "close > bands_up", "exit_long": pl.col("close") < pl.col("close").rolling_mean(self.n), "score": pl.col("volume")}
"""


def test_python_strategy_is_loaded_by_path_with_params(tmp_path):
    path = strategy_file(tmp_path, WHOLE)
    one = plan(StrategySpec("mine", file=path, params={"n": 5}))
    assert sorted(one.features) == ["bands_up", "propose_exit_long", "propose_score"]
    data = market({"A": walk(100)})
    yaml = StrategySpec(
        "mine",
        {"up": {"sma": {"of": "high", "n": 5}}, "mean": {"sma": 5}},
        {"long": "close > up", "exit_long": "close < mean", "score": "volume"},
    )
    mine = compute.propose(data, [StrategySpec("mine", file=path, params={"n": 5})], ["A"], 0, 10**15)
    same = compute.propose(data, [yaml], ["A"], 0, 10**15)
    assert len(mine) > 10
    for name in mine.columns:
        assert mine.columns[name].tobytes() == same.columns[name].tobytes()


@pytest.mark.parametrize(
    ("body", "params", "reason"),
    [
        (WHOLE, {"n": 5, "kk": 1}, "Mine has no parameter 'kk'; did you mean 'k'"),
        (WHOLE, {}, "Mine needs params n"),
        (WHOLE, {"n": "x"}, "with params {'n': 'x'}"),
        ("class Other: pass", {}, "must define one class with features"),
        (WHOLE + WHOLE.replace("Mine", "Yours"), {"n": 5}, "found Mine, Yours"),
        ("import nothing_of_that_name", {}, "cannot be run: ModuleNotFoundError"),
        ("def (", {}, "cannot be run: SyntaxError"),
        ("\nraise SystemExit(0)", {}, "line 2 cannot be run: SystemExit"),
        ("class A:\n  features = propose = lambda self: exit(0)", {}, "line 2 with params {}: SystemExit"),
    ],
)
def test_python_strategy_that_cannot_be_made_is_refused(tmp_path, body, params, reason):
    with pytest.raises(StrategyError) as caught:
        plan(StrategySpec("mine", file=strategy_file(tmp_path, body), params=params))
    assert reason in str(caught.value)


def test_strategy_has_a_file_or_features(tmp_path):
    with pytest.raises(StrategyError, match="no file"):
        load(str(tmp_path / "none.py"), {})
    with pytest.raises(StrategyError, match="belong into that file"):
        plan(StrategySpec("s", propose=LONG, file="x.py"))
    with pytest.raises(StrategyError, match="params are for a strategy with a file"):
        plan(StrategySpec("s", propose=LONG, params={"n": 1}))


FITTED = """
import polars as pl
class Fitted:
    def features(self): return {"z": pl.col("close") / pl.col("close").rolling_mean(5)}
    def propose(self):
        c = pl.col("close")
        return {"long": (c - c.mean()) / c.std() < -1}
"""


def test_strategy_fitted_on_the_whole_column_is_refused(tmp_path):
    with pytest.raises(CausalityError, match=r"propose_long: operator '(Mean|Std)' aggregates the whole column"):
        plan(StrategySpec("fitted", file=strategy_file(tmp_path, FITTED)))


def test_breakout_example_proposes():
    path = Path(__file__).parents[2] / "configs" / "strategies" / "breakout.py"
    data = market({"A": walk(2000, 3)})
    table = compute.propose(data, [StrategySpec("breakout", file=str(path), params={"n": 20})], ["A"], 0, 10**15)
    entries = table.columns["action"] == 0
    assert entries.any() and (~entries).any()
    bars = data.columns["bars"]
    assert (table.columns["stop_loss"][entries] < bars["close"][table.columns["row"][entries]]).all()
    with pytest.raises(StrategyError, match="a breakout needs at least 2 bars"):
        plan(StrategySpec("breakout", file=str(path), params={"n": 1}))


def test_unknown_column_in_an_expression_is_refused(tmp_path):
    body = FITTED.replace('{"long": (c - c.mean()) / c.std() < -1}', '{"long": pl.col("clsoe") > 1}')
    with pytest.raises(RuleError, match="'clsoe' is not a column; did you mean 'close'"):
        plan(StrategySpec("fitted", file=strategy_file(tmp_path, body)))
