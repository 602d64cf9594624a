"""Futures from the config to the folder: settlement, expiry, explanation, verification, and what is refused.  # R6.2"""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from engine.dataset import Dataset
from engine.schema import RecordKind
from pipeline.errors import ConfigError
from pipeline.explain import explain
from pipeline.folder import save
from pipeline.launch import run
from pipeline.result import Result
from pipeline.verify import verify_run
from tests.pipeline.small import config

FUTURES = ('instruments.default={kind: future, multiplier: 5, settlement: "16:00"}', "instruments.ALFAUSDT.expiry=2024-02-10T08:00:00Z")


@pytest.fixture(scope="module")
def futures(market: Dataset) -> Result:
    return run(config(*FUTURES), dataset=market)


def test_trades_add_up_to_the_equity_and_the_folder_is_verified(futures: Result, tmp_path: Path) -> None:  # R6.4
    records = futures.replay.records
    settled = int(records["amount"][records["kind"] == RecordKind.SETTLEMENT].sum())
    assert settled != 0
    assert sum(futures.profit_by_strategy.values()) == futures.replay.final_equity - futures.replay.settings.cash
    assert verify_run(save(futures, tmp_path)).final_equity == futures.metrics.final_equity


def test_funding_of_what_is_run_as_a_future_is_not_paid_and_said(futures: Result) -> None:  # R7.1
    assert not (futures.replay.records["kind"] == RecordKind.FUNDING).any()
    (said,) = [notice for notice in futures.notices if notice.startswith("funding is in the data")]
    assert "ALFAUSDT (future), " in said
    assert "instruments.SYMBOL.kind" in said


def test_a_perpetual_without_funding_earns_the_same_until_something_expires(market: Dataset) -> None:  # R6.2
    silent = replace(market, series={kind: series for kind, series in market.series.items() if kind != "funding"})
    plain, daily = (run(config(f"instruments.default={{kind: {kind}}}"), dataset=silent) for kind in ("linear_perp", "future"))
    assert plain.replay.equity.tolist() == daily.replay.equity.tolist()
    assert plain.trades["pnl"].to_list() == daily.trades["pnl"].to_list()
    assert plain.trades["realised"].to_list() == daily.trades["realised"].to_list()


def test_a_settled_trade_is_explained_to_the_last_unit(futures: Result, tmp_path: Path) -> None:
    trades = futures.trades.with_columns(days=(pl.col("exit_ts") - pl.col("entry_ts")).dt.total_days())
    number = int(trades.filter(pl.col("days") >= 2)["trade"][0])
    folder = save(futures, tmp_path)
    told = explain(folder, str(number)).as_dict()
    assert len(told["settled"]) >= 2
    assert told["result"]["net"] == trades["pnl"][number - 1]
    assert "settled" not in explain(folder, str(int(trades.filter(pl.col("days") < 1)["trade"][0]))).as_dict()["result"]


def test_a_trade_that_expired_is_explained_and_nothing_comes_after(market: Dataset, tmp_path: Path) -> None:
    found = run(config(*FUTURES, "strategies.trend.propose.long=close > 0", "strategies.trend.propose.exit_long=close < 0"), dataset=market)
    expired = found.trades.filter(pl.col("exit_reason") == "expired")
    assert expired.height > 0 and set(expired["symbol"]) == {"ALFAUSDT"}
    told = explain(save(found, tmp_path), str(expired["trade"][0]))
    said = "\n".join(line for part in told.parts for line in part.lines)
    assert "its contract expired" in said and "mark" in said
    assert expired["exit_ts"].max() == found.trades.filter(pl.col("symbol") == "ALFAUSDT")["exit_ts"].max()
    assert found.rejected["not_in_universe"] > 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "settlement: '16:00'",
            r"instruments\.default\.settlement: none of the 4 symbols of the run can use it: a future.*ALFAUSDT is of kind",
        ),
        ("expiry: 2024-02-01", r"instruments\.default\.expiry: .*'linear_perp'"),
        ("borrow: [{from: 2024-01-01, rate: 0.1}]", r"instruments\.default\.borrow: .*spot and equity.*'linear_perp'; leave borrow out"),
        ("borrow: [{from: 2024-01-01, rate: 0.1}], shortable: true", r"instruments\.default\.borrow: .*'linear_perp'; leave borrow out"),
        ("kind: spot, borrow: [{from: 2024-01-01, rate: 0.1}]", r"is of kind 'spot', not shortable"),
        (
            "kind: future, expiry: 2023-12-01",
            r"instruments\.ALFAUSDT\.expiry = 2023-12-01T00:00:00Z: the first bar of ALFAUSDT opens at 2024-01-01T",
        ),
    ],
)
def test_what_no_symbol_of_the_run_can_use_is_refused(market: Dataset, given: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(config(f"instruments.default={{{given}}}"), dataset=market)


def test_a_contract_that_ended_before_the_run_is_named(market: Dataset) -> None:
    found = run(config("instruments.ALFAUSDT={kind: future, expiry: 2024-01-05}", "period.start=2024-01-10"), dataset=market)
    (said,) = [notice for notice in found.notices if notice.startswith("expired before the run begins")]
    assert said.endswith("ALFAUSDT (2024-01-05)")


def test_expiry_and_settlement_of_a_dataset_are_used(market: Dataset) -> None:
    specs = {name: dict(spec) for name, spec in market.instruments.items()}
    symbol = market.symbols[0]
    told = {"kind": "future", "settlement": "21:30", "expiry": "2024-02-01"}
    found = run(config(), dataset=replace(market, instruments=specs | {symbol: specs[symbol] | told})).replay.settings.instruments[0]
    assert (found.is_future, found.settlement, found.expiry) == (True, 77_400_000_000, 1_706_745_600_000_000)
    wrong = replace(market, instruments=specs | {symbol: specs[symbol] | told | {"settlement": "9 pm"}})
    with pytest.raises(ConfigError, match=f"instrument {symbol}: settlement: .*time of day"):
        run(config(), dataset=wrong)


@pytest.mark.parametrize("given", ['settlement: "16:00"', "expiry: 2024-02-01"])
def test_what_only_a_future_has_is_refused_of_others(market: Dataset, given: str) -> None:
    with pytest.raises(ConfigError, match="only a future has it"):
        run(config(f"instruments.ALFAUSDT={{{given}}}"), dataset=market)
