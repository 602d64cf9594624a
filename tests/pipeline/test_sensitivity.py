"""Costs and size varied: every row is the run that a config with that cost would give."""

from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from engine.dataset import Dataset, from_columns
from pipeline import demo
from pipeline.config import RunConfig
from pipeline.config_execution import Fees, SlippageConfig, Spread
from pipeline.configfile import apply_overrides, parse_config
from pipeline.errors import ConfigError
from pipeline.launch import run
from pipeline.notices import shares_of_volume
from pipeline.result import Result
from pipeline.sensitivity import COSTS, larger, parsed_multiples, sensitivity, with_costs
from pipeline.variation import FEE_KEYS, SLIPPAGE_KEYS, replayed, scaled_tape
from tests.pipeline.test_explain import MARKET, VALUES


def config(*overrides: str) -> RunConfig:
    return parse_config(apply_overrides(VALUES, overrides))


@pytest.fixture(scope="module")
def market() -> Dataset:
    return demo.build(MARKET)


@pytest.fixture(scope="module")
def plain(market: Dataset) -> Result:
    return run(config(), dataset=market)


def same(a: Result, b: Result) -> bool:
    return np.array_equal(a.replay.records, b.replay.records) and np.array_equal(a.replay.equity, b.replay.equity)


def test_a_replay_of_the_same_proposals_is_the_run(plain: Result) -> None:
    again = replayed(plain, plain.config)
    assert same(again, plain)
    assert again.result_hash == plain.result_hash


@pytest.mark.parametrize(
    "size", ["target_weight", "{vol_target: 0.1}", "{kelly: {fraction: 0.5, cap: 0.3}}"], ids=["target_weight", "vol_target", "kelly"]
)
def test_a_replay_knows_the_columns_that_sizes_need(market: Dataset, size: str) -> None:  # R5.1
    columns = {"weight": "0.2", "volatility": "atr / close", "win_probability": "0.55", "payoff": "1.2"}
    given = [f"strategies.trend.propose.{name}={rule!r}" for name, rule in columns.items()]
    found = run(config(f"risk.size={size}", "strategies.dip.size={fixed_fraction: 0.1}", *given), dataset=market)
    assert found.replay.proposals.weight.size and len(found.trades) > 40
    assert same(replayed(found, found.config), found)


@pytest.mark.parametrize(
    ("cost", "multiple", "overrides"),
    [
        ("fees", 0.0, ["execution.fees=none"]),
        ("fees", 2.0, ["execution.fees={maker_bps: 4, taker_bps: 10}"]),
        ("slippage and spread", 0.0, ["execution.slippage=none", "execution.spread=none"]),
    ],
)
def test_a_cost_varied_is_the_run_of_that_config(plain: Result, market: Dataset, cost: str, multiple: float, overrides: list[str]) -> None:
    assert same(with_costs(plain, cost, multiple), run(config(*overrides), dataset=market))


@pytest.mark.parametrize(
    ("cost", "once", "twice"),
    [
        ("fees", "fees={flat: 1, min_fee: 3, maker_bps: 2}", "fees={flat: 2, min_fee: 6, maker_bps: 4}"),
        (
            "fees",
            "fees={tiered: [{from_notional: 0, taker_bps: 5}, {from_notional: 50000, taker_bps: 3, maker_bps: 1}]}",
            "fees={tiered: [{from_notional: 0, taker_bps: 10}, {from_notional: 50000, taker_bps: 6, maker_bps: 2}]}",
        ),
        ("slippage and spread", "slippage={sqrt_impact: 0.01}", "slippage={sqrt_impact: 0.02}"),
        ("slippage and spread", "slippage={volume_share: {k: 0.1, limit: 0.5}}", "slippage={volume_share: {k: 0.2, limit: 0.5}}"),
    ],
)
def test_every_kind_of_fee_and_slippage_is_doubled(market: Dataset, cost: str, once: str, twice: str) -> None:
    left, right = (run(config(f"execution.{one}", "execution.spread=none"), dataset=market) for one in (once, twice))
    assert not same(left, right)
    assert same(with_costs(left, cost, 2.0), right)


def test_an_assumed_spread_and_a_multiple_of_it_grow_together(market: Dataset) -> None:
    assumed = "execution.spread={events: false, default_bps: %s}"
    for slippage in ("execution.slippage={bps: %s}", "execution.slippage={spread: 1.5}"):
        left = run(config(assumed % 3, slippage % 1 if "%" in slippage else slippage), dataset=market)
        right = run(config(assumed % 6, slippage % 2 if "%" in slippage else slippage), dataset=market)
        assert same(with_costs(left, "slippage and spread", 2.0), right)


def test_funding_varied_is_the_run_on_that_funding(plain: Result, market: Dataset) -> None:
    tables: dict[str, Any] = {
        kind: {(one.symbol, one.name, one.interval_us): dict(market.view(kind, one)) for one in series}
        for kind, series in market.series.items()
    }
    for columns in tables["funding"].values():
        columns["rate"] = columns["rate"] * 2
    doubled = run(config(), dataset=from_columns(tables, market.instruments, market.info))
    assert plain.metrics.funding != 0.0
    assert same(with_costs(plain, "funding", 2.0), doubled)
    assert with_costs(plain, "funding", 0.0).metrics.funding == 0.0


def test_interest_is_varied_where_there_is_any(market: Dataset) -> None:
    shares = ("instruments.default={kind: spot, shortable: true, borrow: [{from: 2024-01-01, rate: %s}]}", "account.leverage=1")
    once, twice = (run(config(shares[0] % rate, shares[1]), dataset=market) for rate in (0.5, 1.0))
    assert once.metrics.interest < 0.0
    assert same(with_costs(once, "interest", 2.0), twice)
    assert with_costs(once, "interest", 0.0).metrics.interest == 0.0
    found = sensitivity(once)
    rows = {(row["cost"], row["multiple"]): row for row in found.costs}
    assert rows["interest", 2.0]["final_equity"] == twice.metrics.final_equity
    assert rows["all of them", 0.0]["interest"] == 0.0
    out = StringIO()
    found.show(Console(file=out, width=200))
    assert "funding  interest" in out.getvalue() and "interest x 2" in out.getvalue()


def test_bid_and_ask_candles_keep_their_middle_and_their_order() -> None:
    n = 50
    rng = np.random.default_rng(1)
    opened, closed = 100 + rng.normal(size=(2, n))
    prices = {"open": opened, "close": closed, "high": np.maximum(opened, closed) + 1, "low": np.minimum(opened, closed) - 1}
    half = {name: 0.05 + 0.05 * rng.random(n) for name in prices}
    ts = np.arange(1, n + 1) * 3_600_000_000
    bars = {"open_ts": ts - 3_600_000_000, "ts": ts, **prices, "volume": np.ones(n)}
    bars |= {f"bid_{name}": prices[name] - half[name] for name in prices} | {f"ask_{name}": prices[name] + half[name] for name in prices}
    data = from_columns({"bars": {("X", "1h", 3_600_000_000): bars}})
    values = {
        "dataset": "memory",
        "strategies": [{"id": "s", "features": {}, "propose": {"long": "close > open", "exit_long": "close < open"}}],
    }
    found = run(values, dataset=data)
    none, twice = with_costs(found, "slippage and spread", 0.0).replay.tape, with_costs(found, "slippage and spread", 2.0).replay.tape
    assert np.array_equal(none.bid_open, none.ask_open)
    assert np.allclose(twice.ask_open - twice.bid_open, 4 * half["open"])
    for tape in (none, twice):
        for side in ("bid", "ask"):
            low, high = getattr(tape, f"{side}_low"), getattr(tape, f"{side}_high")
            for name in ("open", "close"):
                assert (low <= getattr(tape, f"{side}_{name}")).all() and (getattr(tape, f"{side}_{name}") <= high).all()
    assert scaled_tape(found.replay.tape, 1.0, 1.0) is found.replay.tape


def test_the_table_has_each_cost_alone_and_all_together(plain: Result) -> None:
    found = sensitivity(plain)
    rows = {(row["cost"], row["multiple"]): row for row in found.costs}
    costs = [cost for cost in COSTS if cost != "interest"]  # of which this run has none
    assert set(rows) == {("none", 1.0)} | {(cost, multiple) for cost in costs for multiple in (0.0, 2.0)}
    base = rows["none", 1.0]
    assert base["final_equity"] == plain.metrics.final_equity and base["change"] == 0.0
    free = rows["all of them", 0.0]
    assert free["fees"] == free["funding"] == 0.0 and free["final_equity"] > base["final_equity"]
    for row in rows.values():
        assert row["change"] == pytest.approx(row["final_equity"] - base["final_equity"])
    assert found.capacity == []
    assert found.unscaled == []
    out = StringIO()
    found.show(Console(file=out, width=200))
    assert "multiplied in no row" not in out.getvalue()


def test_size_grows_with_the_account(plain: Result, market: Dataset) -> None:
    ten = larger(plain, 10.0)
    assert same(ten, run(config("account.cash=100000"), dataset=market))
    fixed = "risk.size={fixed_qty: 2}"
    assert same(
        larger(run(config(fixed), dataset=market), 3.0), run(config("risk.size={fixed_qty: 6}", "account.cash=30000"), dataset=market)
    )
    own = "strategies.dip.size={fixed_notional: 500}"
    tripled = run(config("strategies.dip.size={fixed_notional: 1500}", "account.cash=30000"), dataset=market)
    assert same(larger(run(config(own), dataset=market), 3.0), tripled)


def test_capacity_tells_the_share_of_volume(plain: Result) -> None:
    one, ten = sensitivity(plain, [1.0, 10.0]).capacity
    assert one["total_return"] == plain.metrics.total_return
    assert ten["median_share"] == pytest.approx(10 * one["median_share"], rel=0.05)
    assert one["largest_share"] == pytest.approx(float(np.nanmax(shares_of_volume(plain))))
    assert ten["large_fills"] > one["large_fills"]
    assert not sensitivity(plain, [1.0]).impact


def test_with_an_impact_a_larger_account_earns_less(market: Dataset) -> None:
    found = sensitivity(run(config("execution.slippage={sqrt_impact: 0.01}"), dataset=market), [1.0, 100.0])
    assert found.impact
    assert found.capacity[1]["total_return"] < found.capacity[0]["total_return"]


def test_every_amount_among_the_costs_is_varied() -> None:
    assert set(Fees.model_fields) == {*FEE_KEYS, "tiered"}
    assert set(SlippageConfig.model_fields) == {*SLIPPAGE_KEYS, "volume_share", "spread"}
    assert set(Spread.model_fields) == {"events", "default_bps"}


@pytest.mark.parametrize("text", ["", "a", "1,", "0,1", "-1", "nan", "inf", "1e9"])
def test_multiples_that_make_no_size_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--capacity"):
        parsed_multiples(text)
