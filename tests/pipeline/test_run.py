"""Whole runs on a small simulated market: figures that add up, names that do not depend on spelling."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest

from engine.dataset import Dataset, from_columns, write_folder
from engine.schema import MAKER, MORE, Reason, RecordKind
from pipeline.errors import ConfigError, RunError
from pipeline.folder import save
from pipeline.launch import run
from pipeline.result import Result
from pipeline.verify import verify_run
from tests.pipeline.small import VALUES, config, only

RESTING = (
    "strategies.trend.propose.limit_price=close - side * 0.3 * atr",
    "strategies.trend.propose.tif={bars: 4}",
    "strategies.dip.propose.stop_price=high",
    "strategies.dip.propose.tif={for: 6h}",
    "execution.participation=0.0005",
)


def test_entries_that_rest_and_fill_in_parts_add_up_too(market: Dataset, tmp_path: Path) -> None:  # R2.1 R2.6
    found = run(config(*RESTING, "ledger=full"), dataset=market)
    records = found.replay.records
    fills = records[records["kind"] == RecordKind.FILL]
    assert {Reason.EXPIRED, Reason.PARTIAL} <= set(records["reason"].tolist())
    assert (fills["flags"] & MAKER).any() and (fills["flags"] & MORE).any()
    trades = found._trades[0]
    assert int(trades["pnl"].sum()) == found.replay.final_equity - found.replay.settings.cash
    assert (trades["lots"] == trades["closed_lots"]).all()
    verify_run(save(found, tmp_path))


def test_the_filling_bar_s_own_volume_is_said_to_be_optimistic(market: Dataset) -> None:  # R2.6
    found = run(config("execution.participation={share: 0.1, of: current}"), dataset=market)
    assert any("participation: current" in notice for notice in found.notices)


def test_participation_without_volume_is_refused(market: Dataset) -> None:  # R2.6
    tables = {kind: {(s.symbol, s.name, s.interval_us): market.view(kind, s) for s in found} for kind, found in market.series.items()}
    bars = {key: columns | {"volume": np.full(len(columns["ts"]), np.nan)} for key, columns in tables["bars"].items()}
    with pytest.raises(ConfigError, match=r"execution.participation: \d+ of \d+ bars of \w+ have no volume"):
        run(config("execution.participation=0.1"), dataset=from_columns(tables | {"bars": bars}))


@pytest.mark.parametrize("finalize", ["close", "mark"])
def test_profits_add_up_to_the_change_of_equity_exactly(market: Dataset, finalize: str) -> None:  # R6.4
    found = run(config(f"execution.finalize={finalize}", "period.end=2024-02-20"), dataset=market)
    change = found.replay.final_equity - found.replay.settings.cash
    trades = found._trades[0]
    assert len(trades) > 50
    assert bool(trades["open"].any()) == (finalize == "mark")
    assert int(trades["pnl"].sum() + found.unrealised.sum()) == change
    assert sum(found.profit_by_symbol.values()) == change
    assert sum(found.profit_by_strategy.values()) == change


def test_fees_and_funding_of_trades_are_those_of_the_ledger(result: Result) -> None:
    records, trades = result.replay.records, result._trades[0]
    assert trades["fees"].sum() == records["fee"].sum()
    assert trades["funding"].sum() == records["amount"][records["kind"] == RecordKind.FUNDING].sum()
    assert result.metrics.funding != 0.0


def test_every_proposal_is_filled_or_counted(result: Result) -> None:  # R5.4
    records = result.replay.records
    filled = np.unique(records["proposal"][(records["kind"] == RecordKind.FILL) & (records["proposal"] >= 0)])
    assert len(filled) + sum(result.rejected.values()) == len(result.replay.proposals.ts)


def test_the_trades_table_reads_as_the_ledger(result: Result) -> None:
    table = result.trades
    assert table["pnl"].sum() == pytest.approx(result.metrics.net_profit, abs=1e-6)
    assert (table["exit_ts"] >= table["entry_ts"]).all()
    assert (table["mae"] <= 0).all()
    assert (table["mfe"] >= 0).all()
    losses = table.filter(pl.col("realised") < 0)
    assert (losses["mae"] < 0).all()
    assert set(table["exit_reason"]) >= {"stop_loss", "signal", "take_profit"}


def test_the_equity_table_holds_the_drawdown_of_the_summary(result: Result) -> None:
    assert result.equity["drawdown"].max() == pytest.approx(result.summary["max_drawdown"])
    assert result.equity["ts"].is_sorted()


def test_the_summary_is_json_without_nan(result: Result) -> None:
    summary = json.loads(json.dumps(result.summary, allow_nan=False))
    keys = [
        "run_id",
        "result_hash",
        "final_equity",
        "net_profit",
        "trades",
        "fees",
        "funding",
        "max_drawdown",
        "sharpe",
        "ambiguous_bars",
        "seconds",
    ]
    assert set(keys) <= set(summary)


def test_simulated_data_is_said_everywhere(result: Result) -> None:
    assert any("simulated" in notice for notice in result.summary["notices"])
    assert "simulated" in result._repr_html_()


def test_prices_finer_than_the_tick_are_said(market: Dataset, result: Result) -> None:  # R2.5
    coarse = run(config("instruments.default.tick=0.5"), dataset=market)
    assert any(notice.startswith("prices are finer than the tick") for notice in coarse.notices)
    assert not any(notice.startswith("prices are finer than the tick") for notice in result.notices)


def test_spelling_and_order_do_not_change_a_run(market: Dataset, result: Result) -> None:  # R1.6, R9.3
    values = {**VALUES, "strategies": VALUES["strategies"][::-1], "symbols": list(market.symbols[::-1]), "jobs": 1, "out": "elsewhere"}
    other = run(values, dataset=market)
    assert other.result_hash == result.result_hash
    assert other.run_id == result.run_id


@pytest.mark.parametrize("override", ["seed=1", "risk.size.fixed_fraction=0.2", "execution.latency=1h", "account.cash=9999"])
def test_what_can_change_a_result_changes_the_run_id(market: Dataset, result: Result, override: str) -> None:  # R9.3
    assert run(config(override), dataset=market).run_id != result.run_id


def test_one_symbol_of_many_is_a_dataset_of_one(market: Dataset) -> None:
    symbol = market.symbols[2]
    alone = run(config(), dataset=only(market, symbol))
    among = run(config(f"symbols=[{symbol}]"), dataset=market)
    assert alone.metrics.trades > 0
    assert alone.result_hash == among.result_hash


def test_a_dataset_without_bars_is_refused() -> None:
    quotes = {"ts": np.array([1_700_000_000_000_000]), "bid": np.array([1.0]), "ask": np.array([1.1])}
    with pytest.raises(ConfigError, match="it has no bars"):
        run(config(), dataset=from_columns({"spread": {("A", "", 0): quotes}}, {}, {}))


def with_actions(market: Dataset, *, scaled: bool) -> Dataset:
    """One symbol of a market that is split 2:1 after 500 bars, in prices of before and after or as if it never was, and pays dividends."""
    symbol = market.symbols[0]
    one = only(market, symbol)
    tables = {kind: {(s.symbol, s.name, s.interval_us): one.view(kind, s) for s in group} for kind, group in one.series.items()}
    ((key, bars),) = tables["bars"].items()
    before = bars["ts"] <= bars["ts"][500]
    if scaled:
        prices = {name: np.where(before, bars[name], bars[name] / 2) for name in ("open", "high", "low", "close")}
        tables["bars"][key] = {**bars, **prices}
    hours = bars["ts"][[300, 500, 900]]
    rows = {"ts": hours, "kind": [1, 0, 1], "value": [0.01, 0.0, 0.01], "num": [0, 2, 0], "den": [0, 1, 0]}
    return from_columns({**tables, "actions": {(symbol, "", 0): rows}}, one.instruments, one.info)


def test_a_run_goes_on_over_splits_and_dividends_and_can_be_verified(market: Dataset, tmp_path: Path) -> None:  # R8.1 R8.2
    write_folder(with_actions(market, scaled=True), tmp_path / "data")
    found = run(config(f"dataset={tmp_path / 'data'}", "strategies.0.propose.exit_long=close < 0", "ledger=full"))
    kinds = found.replay.records["kind"]
    assert {RecordKind.SPLIT, RecordKind.DIVIDEND} <= set(kinds.tolist())
    assert found.metrics.dividends != 0
    assert sum(found.profit_by_symbol.values()) == found.replay.final_equity - found.replay.settings.cash
    assert any("2:1" in notice and "see a jump" in notice for notice in found.notices)
    assert verify_run(save(found, tmp_path)).dividends == found.metrics.dividends


def test_splits_that_the_prices_have_already_are_said(market: Dataset) -> None:
    said = {scaled: " ".join(run(config(), dataset=with_actions(market, scaled=scaled)).notices) for scaled in (True, False)}
    assert "look adjusted" in said[False]
    assert "look adjusted" not in said[True]
    assert all("see a jump" in notice for notice in said.values())


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("symbols=[ALFUSDT]", "did you mean 'ALFAUSDT'"),
        ("symbols=[alfausdt]", "did you mean 'ALFAUSDT'"),
        ("instruments={NOPE: {tick: 1}}", "'NOPE' has no bars"),
        ("execution.interval=5m", "ALFAUSDT has no bars of it; it has 1h"),
        ("period={start: 2030-01-01}", "holds no bar"),
        ("account.cash=0.0000001", "decimals"),
        ("account.cash=1e12", "too large"),
    ],
)
def test_a_config_that_does_not_fit_the_data_is_refused(market: Dataset, override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(config(override), dataset=market)


def test_a_ruined_account_is_said_and_has_figures(market: Dataset) -> None:  # R7.4
    found = run(config("account={cash: 1000, leverage: 100}", "risk.size.fixed_fraction=90"), dataset=market)
    assert found.summary["bankrupt"]
    assert any("ruined" in notice for notice in found.notices)
    assert sum(found.profit_by_symbol.values()) == found.replay.final_equity - found.replay.settings.cash
    json.dumps(found.summary, allow_nan=False)


def test_a_run_without_trades_has_figures(market: Dataset) -> None:
    found = run(config("strategies.0.propose={long: close < 0}", "strategies.1.propose={long: close < 0}"), dataset=market)
    assert (found.metrics.trades, found.metrics.net_profit, found.metrics.sharpe) == (0, 0.0, None)
    assert len(found.trades) == 0
    json.dumps(found.summary, allow_nan=False)


def test_the_instruments_of_a_config_go_over_those_of_the_dataset(market: Dataset) -> None:
    symbol = market.symbols[1]
    found = run(config(f"instruments={{default: {{lot: 1}}, {symbol}: {{lot: 10}}}}"), dataset=market)
    lots = {instrument.symbol: float(instrument.lot) for instrument in found.replay.settings.instruments}
    assert lots[symbol] == 10.0
    assert set(lots.values()) == {1.0, 10.0}


def test_plot_says_which_extra_it_needs(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(RunError, match=r"tapeline\[report\]"):
        result.plot()


def test_plot_draws_equity_and_drawdown(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[dict[str, Any]] = []

    class Figure:
        def add_trace(self, trace: dict[str, Any]) -> None:
            drawn.append(trace)

        def update_layout(self, **layout: Any) -> None:
            drawn.append(layout)

    plotly = ModuleType("plotly.graph_objects")
    plotly.__dict__.update(Figure=Figure, Scatter=dict)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", plotly)
    result.plot()
    equity, drawdown, layout = drawn
    assert equity["y"][-1] == result.equity["equity"][-1]
    assert min(drawdown["y"]) == pytest.approx(-result.metrics.max_drawdown)
    assert "simulated" in layout["title"]
