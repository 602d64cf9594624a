"""Interest from the config to the folder: figures, trades, verification, and what is refused.  # R6.4"""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from engine.dataset import Dataset
from engine.schema import RecordKind
from pipeline.configfile import parse_config
from pipeline.errors import ConfigError
from pipeline.explain import explain
from pipeline.folder import save
from pipeline.launch import run
from pipeline.result import Result
from pipeline.summary import show
from pipeline.verify import verify_run
from tests.pipeline.small import MARKET, config

SHORT = ("instruments.default={kind: spot, shortable: true}", "account.leverage=1")
DEAR = "instruments.default.borrow=[{from: 2024-01-10, rate: 0.5}, {from: 2024-02-01, rate: 2}]"

OWING = {
    "name": "owing",
    "dataset": MARKET,
    "symbols": ["DELTAUSDT"],
    "account": {"cash": 10_000, "leverage": 50, "interest": [{"from": "2020-01-01", "rate": 1.0}]},
    "strategies": [
        {"id": "bull", "features": {}, "propose": {"long": "close > 0", "trigger": "edge", "max_bars": 1400}},
        {"id": "bear", "features": {}, "propose": {"short": "close > 0", "trigger": "edge", "max_bars": 48}},
    ],
    "risk": {"size": {"fixed_notional": 120_000}},
}


def plain(found: Result) -> str:
    console = Console(file=StringIO(), width=140)
    show(found.summary, console)
    return str(console.file.getvalue())


def test_what_shorts_pay_is_in_trades_figures_and_the_verified_folder(market: Dataset, tmp_path: Path) -> None:
    found = run(config(*SHORT, DEAR), dataset=market)
    trades = found.trades
    assert found.metrics.interest == pytest.approx(trades["interest"].sum())
    assert found.metrics.interest < 0.0 and found.metrics.debt_interest == 0.0
    assert trades.filter(pl.col("side") == "long")["interest"].to_list() == [0.0] * trades.filter(pl.col("side") == "long").height
    assert sum(found.profit_by_strategy.values()) == found.replay.final_equity - found.replay.settings.cash
    assert "interest" in plain(found)
    assert not any("borrow" in notice for notice in found.notices)
    free = run(config(*SHORT), dataset=market)
    assert [notice for notice in free.notices if "shorts borrow for nothing" in notice and market.symbols[0] in notice]
    verified = verify_run(save(found, tmp_path))
    assert verified.interest == found.metrics.interest
    assert "+ interest -" in "".join(verified.lines())


def test_a_trade_that_paid_interest_is_explained_day_by_day(market: Dataset, tmp_path: Path) -> None:
    found = run(config(*SHORT, DEAR), dataset=market)
    paid = found.replay.records["kind"] == RecordKind.INTEREST
    number = str(found.trades.filter(pl.col("interest") < 0)["trade"][0])
    told = explain(save(found, tmp_path), number)
    days = told.as_dict()["interest"]
    assert 0 < len(days) <= int(paid.sum())
    assert sum(day["amount"] for day in days) == pytest.approx(found.trades["interest"][int(number) - 1])
    assert all(day["rate"] in (0.5, 2.0) for day in days)


def test_interest_on_debt_is_nobody_s_trade_and_in_the_sum(market: Dataset, tmp_path: Path) -> None:
    """Two strategies of opposite opinion on large credit: what one has lost, the other has gained and not yet taken."""
    found = run(parse_config(OWING), dataset=market)
    assert found.metrics.debt_interest < 0.0
    assert found.metrics.interest == found.metrics.debt_interest
    parts = sum(found.profit_by_strategy.values()) / found.replay.settings.scale
    assert parts + found.metrics.debt_interest == pytest.approx(found.metrics.net_profit)
    assert "interest on debt" in plain(found)
    assert verify_run(save(found, tmp_path)).final_equity == found.metrics.final_equity


def test_rates_of_a_dataset_are_used(market: Dataset) -> None:
    specs = {name: {**spec, "kind": "spot", "shortable": True} for name, spec in market.instruments.items()}
    symbol = market.symbols[0]
    rows = [{"from": "2024-01-01", "rate": 0.25}]
    dated = replace(market, instruments=specs | {symbol: specs[symbol] | {"borrow": rows}})
    found = {one.symbol: one.borrow for one in run(config("account.leverage=1"), dataset=dated).replay.settings.instruments}
    assert [len(found[name]) for name in market.symbols] == [1, 0, 0, 0]
    wrong = replace(market, instruments=specs | {symbol: specs[symbol] | {"borrow": [{"from": "2024-01-01", "rate": "dear"}]}})
    with pytest.raises(ConfigError, match=f"instrument {symbol}: borrow.0.rate"):
        run(config("account.leverage=1"), dataset=wrong)


@pytest.mark.parametrize(("kind", "mend"), [("linear_perp", "of which nothing is borrowed"), ("spot", "add shortable: true")])
def test_a_rate_for_what_cannot_be_borrowed_is_refused(market: Dataset, kind: str, mend: str) -> None:
    symbol = market.symbols[0]
    with pytest.raises(ConfigError, match=mend):
        run(config(f"instruments.{symbol}={{kind: {kind}, borrow: [{{from: 2024-01-01, rate: 0.1}}]}}"), dataset=market)
