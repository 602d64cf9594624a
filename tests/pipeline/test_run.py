"""Whole runs on a small simulated market: figures that add up, names that do not depend on spelling, folders that verify."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from engine.dataset import Dataset, from_columns, write_folder
from engine.ledger import LedgerError
from engine.schema import RecordKind
from features.causality import CausalityError
from features.compute import propose
from features.proposal_files import read_proposals, write_proposals
from pipeline import demo
from pipeline.build import strategies_of
from pipeline.config import RunConfig
from pipeline.configfile import apply_overrides, load_config, parse_config, read_yaml
from pipeline.errors import ConfigError, RunError
from pipeline.folder import FILES, save
from pipeline.launch import run
from pipeline.result import Result
from pipeline.verify import verify_run

ROOT = Path(__file__).resolve().parents[2]
MARKET = "demo://perps?symbols=4&days=60&interval=1h&seed=3"
VALUES: dict[str, Any] = {
    "name": "small",
    "dataset": MARKET,
    "account": {"cash": 10_000, "leverage": 3},
    "strategies": [
        {
            "id": "trend",
            "budget": 0.6,
            "features": {"fast": {"ema": {"of": "close", "n": 5}}, "slow": {"ema": {"of": "close", "n": 20}}, "atr": {"atr": {"n": 14}}},
            "propose": {
                "long": "cross_up(fast, slow)",
                "short": "cross_down(fast, slow)",
                "exit_long": "fast < slow",
                "exit_short": "fast > slow",
                "score": "abs(fast - slow) / atr",
                "stop_loss": "close - side * 3 * atr",
            },
        },
        {
            "id": "dip",
            "budget": 0.4,
            "features": {"z": {"zscore": {"of": "close", "n": 48}}},
            "propose": {"long": "z < -2", "exit_long": "z > 0", "take_profit": {"fraction": 0.03}},
        },
    ],
    "selector": {"max_positions": 4},
    "risk": {"size": {"fixed_fraction": 0.3}},
    "execution": {"fees": {"maker_bps": 2, "taker_bps": 5}, "slippage": {"bps": 1}},
}


def config(*overrides: str) -> RunConfig:
    return parse_config(apply_overrides(VALUES, overrides))


@pytest.fixture(scope="module")
def market() -> Dataset:
    return demo.build(MARKET)


@pytest.fixture(scope="module")
def result(market: Dataset) -> Result:
    return run(config(), dataset=market)


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


def only(market: Dataset, symbol: str) -> Dataset:
    """A dataset that holds one symbol, made from its columns alone."""
    tables: dict[str, dict[tuple[str, str, int], Any]] = {}
    for kind, group in market.series.items():
        for series in group:
            if series.symbol == symbol:
                tables.setdefault(kind, {})[series.symbol, series.name, series.interval_us] = market.view(kind, series)
    return from_columns(tables, {symbol: market.instruments[symbol]}, market.info)


def test_one_symbol_of_many_is_a_dataset_of_one(market: Dataset) -> None:
    symbol = market.symbols[2]
    alone = run(config(), dataset=only(market, symbol))
    among = run(config(f"symbols=[{symbol}]"), dataset=market)
    assert alone.metrics.trades > 0
    assert alone.result_hash == among.result_hash


def test_a_run_comes_back_from_its_folder(result: Result, tmp_path: Path) -> None:
    folder = save(result, tmp_path, jsonl=True)
    assert {path.name for path in folder.iterdir()} == {*FILES, "ledger.jsonl"}
    assert json.loads((folder / "summary.json").read_text())["result_hash"] == result.result_hash
    assert len((folder / "ledger.jsonl").read_text().splitlines()) == len(result.replay.records) + 1
    assert len(pl.read_parquet(folder / "trades.parquet")) == len(result.trades)
    found = verify_run(folder)
    assert found.result_hash == result.result_hash
    assert found.final_equity == result.metrics.final_equity


@pytest.mark.parametrize("level", ["off", "full"])
def test_the_ledger_level_changes_what_is_kept_and_nothing_else(
    market: Dataset, result: Result, tmp_path: Path, level: str
) -> None:  # R9.3, R11.3
    made = run(config(f"ledger={level}"), dataset=market)
    assert (made.result_hash, made.run_id) == (result.result_hash, result.run_id)
    folder = save(made, tmp_path)
    assert (folder / "ledger.arrow").exists() == (level == "full")
    if level == "full":
        assert made.ledger["seq"].null_count() > 0
        assert made.ledger["seq"].drop_nulls().to_list() == list(range(len(result.replay.records)))
        assert verify_run(folder).records == len(result.replay.records)
    else:
        with pytest.raises(RunError, match="kept no ledger"):
            verify_run(folder)


def test_a_summary_that_lacks_a_claim_is_refused(result: Result, tmp_path: Path) -> None:
    folder = save(result, tmp_path)
    (folder / "summary.json").write_text("{}")
    with pytest.raises(RunError, match="it lacks run_id"):
        verify_run(folder)


def test_saving_again_replaces_the_folder_and_leaves_nothing_else(result: Result, tmp_path: Path) -> None:
    save(result, tmp_path, jsonl=True)
    folder = save(result, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert not (folder / "ledger.jsonl").exists()


def test_a_folder_that_cannot_be_written_leaves_nothing(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.ledger.write_ledger", full)
    with pytest.raises(RunError, match="No space left"):
        save(result, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "key",
    ["final_equity", "fees", "funding", "net_profit", "result_hash", "run_id", "sharpe", "max_drawdown", "trades", "currency", "seed"],
)
def test_an_altered_summary_is_noticed(result: Result, tmp_path: Path, key: str) -> None:
    folder = save(result, tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    summary[key] = "0" if isinstance(summary[key], str) else summary[key] + 1
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(RunError, match=key.split("_", maxsplit=1)[0]):
        verify_run(folder)


def test_altered_trades_are_noticed(result: Result, tmp_path: Path) -> None:
    folder = save(result, tmp_path)
    pl.read_parquet(folder / "trades.parquet").with_columns(pl.col("pnl_units") + 1).write_parquet(folder / "trades.parquet")
    with pytest.raises(RunError, match=r"trades\.parquet"):
        verify_run(folder)


@pytest.mark.parametrize(("name", "column"), [("trades.parquet", "entry_price"), ("equity.parquet", "equity")])
def test_an_altered_table_is_noticed_by_the_replay(result: Result, tmp_path: Path, name: str, column: str) -> None:
    folder = save(result, tmp_path)
    pl.read_parquet(folder / name).with_columns(pl.col(column) * 2).write_parquet(folder / name)
    with pytest.raises(RunError, match=f"{name}: does not hold what the replay gives"):
        verify_run(folder)


@pytest.mark.parametrize("name", ["trades.parquet", "equity.parquet"])
def test_a_table_that_is_no_table_is_refused(result: Result, tmp_path: Path, name: str) -> None:
    folder = save(result, tmp_path)
    (folder / name).write_text("<html>")
    with pytest.raises(RunError, match=f"{name}: not a Parquet file"):
        verify_run(folder)


def test_trades_without_their_profits_are_refused(result: Result, tmp_path: Path) -> None:
    folder = save(result, tmp_path)
    pl.read_parquet(folder / "trades.parquet").drop("pnl_units").write_parquet(folder / "trades.parquet")
    with pytest.raises(RunError, match="no column pnl_units"):
        verify_run(folder)


def test_an_altered_notice_or_dataset_id_is_noticed(result: Result, tmp_path: Path) -> None:
    folder = save(result, tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "notices": []}))
    with pytest.raises(RunError, match="notices is"):
        verify_run(folder)
    (folder / "summary.json").write_text(json.dumps({**summary, "dataset_id": 5}))
    with pytest.raises(RunError, match="made from dataset 5"):
        verify_run(folder)


def test_an_altered_market_event_of_a_full_ledger_is_noticed(market: Dataset, tmp_path: Path) -> None:  # R11.3
    folder = save(run(config("ledger=full"), dataset=market), tmp_path)
    with pa.memory_map(str(folder / "ledger.arrow")) as source:
        table = pa.ipc.open_file(source).read_all()
    events = pc.is_null(table["seq"])
    doubled = pc.if_else(events, pc.multiply(table["price"], 2.0), table["price"])
    changed = table.set_column(table.schema.get_field_index("price"), table.schema.field("price"), doubled)
    (folder / "ledger.arrow").unlink()
    with pa.ipc.new_file(str(folder / "ledger.arrow"), changed.schema) as writer:
        writer.write_table(changed)
    with pytest.raises(RunError, match="market events"):
        verify_run(folder)


def test_an_altered_ledger_is_noticed(result: Result, tmp_path: Path) -> None:  # R11.2
    folder = save(result, tmp_path)
    content = bytearray((folder / "ledger.arrow").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "ledger.arrow").write_bytes(content)
    with pytest.raises(LedgerError):
        verify_run(folder)


def test_an_altered_config_is_noticed_by_the_replay(result: Result, tmp_path: Path) -> None:
    folder = save(result, tmp_path)
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("fixed_fraction: 0.3", "fixed_fraction: 0.31"))
    with pytest.raises(RunError, match="replayed"):
        verify_run(folder)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no summary\.json"):
        verify_run(tmp_path)


def test_a_strategy_file_is_kept_with_the_run(market: Dataset, tmp_path: Path) -> None:
    source = tmp_path / "mine.py"
    source.write_text(
        "class Mine:\n"
        "    def __init__(self, n: int = 20):\n        self.n = n\n"
        "    def features(self):\n        return {'top': {'donchian': {'n': self.n}}}\n"
        "    def propose(self):\n        return {'long': 'close > lag(top_upper, 1)', 'exit_long': 'close < top_middle'}\n"
    )
    made = run(config(f"strategies=[{{id: mine, file: {source}, params: {{n: 24}}}}]"), dataset=market)
    folder = save(made, tmp_path / "runs")
    source.unlink()
    assert verify_run(folder).result_hash == made.result_hash


def proposals(market: Dataset) -> pl.DataFrame:
    symbol = market.symbols[0]
    series = market.find("bars", symbol)
    assert series is not None
    ts = market.view("bars", series)["ts"][[100, 200, 300, 400]]
    frame = pl.DataFrame({"ts": ts, "symbol": [symbol] * 4, "action": ["enter_long", "exit", "enter_short", "exit"]})
    return frame.with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC")))


EXTERNAL = "strategies=[{id: mine, proposals: memory}]"


def test_external_proposals_run_where_they_are_accepted_and_it_is_said(market: Dataset, tmp_path: Path) -> None:  # R11.4
    table = proposals(market)
    made = run(config(EXTERNAL, "accept=external"), dataset=market, proposals={"mine": table})
    assert made.metrics.trades == 2
    assert made.provenance == "external"
    assert any("external" in notice for notice in made.notices)
    path = tmp_path / "p.parquet"
    table.write_parquet(path)
    from_file = run(config(EXTERNAL.replace("memory", str(path)), "accept=external"), dataset=market)
    assert (from_file.result_hash, from_file.run_id) == (made.result_hash, made.run_id)
    assert verify_run(save(made, tmp_path / "runs")).result_hash == made.result_hash


def test_external_proposals_that_are_not_accepted_are_refused(market: Dataset) -> None:  # R11.4
    with pytest.raises(ConfigError, match="accept: external"):
        run(config(EXTERNAL), dataset=market, proposals={"mine": proposals(market)})


def test_a_certified_file_runs_on_its_dataset_and_on_no_other(market: Dataset, tmp_path: Path) -> None:  # R11.4
    specs = strategies_of(config())[1:]
    series = market.columns["bars"]
    table = propose(market, specs, market.symbols, int(series["open_ts"].min()), int(series["ts"].max()))
    path = tmp_path / "p.arrow"
    write_proposals(table, path)
    by_file = config(f"strategies=[{{id: trend, budget: 0.6, proposals: {path}}}]")
    made = run(by_file, dataset=market)
    assert made.provenance == "certified"
    assert made.result_hash == run(config("strategies=" + json.dumps(VALUES["strategies"][:1])), dataset=market).result_hash
    assert verify_run(save(made, tmp_path / "runs")).result_hash == made.result_hash
    with pytest.raises(ValueError, match="another dataset"):
        run(by_file, dataset=only(market, market.symbols[0]))


def test_a_certified_file_whose_dataset_was_altered_is_refused(market: Dataset, tmp_path: Path) -> None:  # R11.4
    series = market.columns["bars"]
    table = propose(market, strategies_of(config())[1:], market.symbols, int(series["open_ts"].min()), int(series["ts"].max()))
    path = tmp_path / "p.arrow"
    write_proposals(table, path)
    path.write_bytes(path.read_bytes().replace(b'"' + table.dataset_id.encode(), b'"' + table.dataset_id[::-1].encode()))
    with pytest.raises(CausalityError, match="altered"):
        read_proposals(path)


def test_certified_and_external_proposals_share_an_account(market: Dataset, result: Result) -> None:
    both = parse_config({**VALUES, "strategies": [*VALUES["strategies"], {"id": "mine", "proposals": "memory"}], "accept": "external"})
    found = run(both, dataset=market, proposals={"mine": proposals(market)})
    assert set(found.profit_by_strategy) == {"dip", "mine", "trend"}
    nothing = proposals(market).clear()
    without = run(both, dataset=market, proposals={"mine": nothing})
    assert without.result_hash == result.result_hash


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop("action"), "'action' is missing"),
        (lambda frame: frame.with_columns(colour=pl.lit(1)), "no column 'colour'"),
        (lambda frame: frame.with_columns(symbol=pl.lit("NOPE")), "'NOPE' has no bars"),
        (lambda frame: frame.with_columns(action=pl.lit("buy")), "row 0: action 'buy'"),
        (lambda frame: frame.with_columns(pl.col("ts").dt.replace_time_zone(None)), "without a time zone"),
        (lambda frame: frame.with_columns(score=pl.lit("high")), "it is a number"),
        (
            lambda frame: frame.with_columns(ts=pl.when(pl.int_range(pl.len()) == 2).then(None).otherwise(pl.col("ts"))),
            "row 2: ts is missing",
        ),
        (lambda frame: frame.with_columns(available_ts=pl.col("ts").dt.offset_by("-1h")), "before"),
        (lambda frame: frame.with_columns(strategy=pl.lit("other")), "one table is one strategy's"),
    ],
)
def test_a_bad_external_table_is_refused(market: Dataset, change: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run(config(EXTERNAL, "accept=external"), dataset=market, proposals={"mine": change(proposals(market))})


def test_a_refused_certificate_names_the_strategy_and_the_file(market: Dataset, tmp_path: Path) -> None:  # R11.4
    series = market.columns["bars"]
    table = propose(market, strategies_of(config())[1:], market.symbols, int(series["open_ts"].min()), int(series["ts"].max()))
    path = tmp_path / "p.arrow"
    write_proposals(replace(table, certificates=()), path)
    with pytest.raises(CausalityError, match=r"strategy trend: proposals .*p\.arrow: uncertified"):
        run(config(f"strategies=[{{id: trend, proposals: {path}}}]"), dataset=market)


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


def test_the_packaged_demo_is_the_one_in_configs() -> None:
    assert (ROOT / "configs/demo.yaml").read_text() == (ROOT / "pipeline/demo.yaml").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_is_valid_and_says_where_its_data_come_from(path: Path) -> None:
    found = load_config(path)
    assert all(Path(strategy.file).is_file() for strategy in found.strategies if strategy.file)
    assert path.read_text().startswith("# ")
    assert "tapeline" in path.read_text().split("\nname:")[0]
    assert read_yaml(path)["name"].replace("-", "_") == path.stem


REAL = {"perps_trend": "perps", "two_strategies": "perps", "single_symbol": "perps", "spot": "spot", "fx": "fx", "equities": "equity"}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Any:
    source = os.environ.get("TAPELINE_DATA")
    if not source:
        pytest.skip("TAPELINE_DATA is not set")
    from pipeline.ingest import ingest

    folder = tmp_path_factory.mktemp("data")

    def dataset(name: str) -> Path:
        if not (folder / name).exists():
            ingest(Path(source) / name, folder / name)
        return folder / name

    return dataset


@pytest.mark.parametrize("name", sorted(REAL))
def test_configs_run_on_real_data_and_verify(real: Any, tmp_path: Path, name: str) -> None:
    found = load_config(ROOT / "configs" / f"{name}.yaml", [f"dataset={real(REAL[name])}"])
    made = run(found)
    assert made.metrics.trades > 20
    assert sum(made.profit_by_symbol.values()) == made.replay.final_equity - made.replay.settings.cash
    assert verify_run(save(made, tmp_path)).result_hash == made.result_hash
