"""Trades explained: every price, size and amount that is shown is worked out again, and adds up."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from engine.ledger import LedgerError
from pipeline import demo
from pipeline.config import RunConfig
from pipeline.configfile import apply_overrides, parse_config
from pipeline.errors import ConfigError, RunError
from pipeline.explain import Explanation, explain, parts_of
from pipeline.folder import save
from pipeline.launch import run
from pipeline.stored_run import open_run
from pipeline.trade_story import Story
from tests.pipeline.small import rehash

MARKET = "demo://perps?symbols=4&days=45&interval=1h&seed=3"
VALUES: dict[str, Any] = {
    "name": "told",
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
                "trailing": "2 * atr",
                "max_bars": 30,
            },
        },
        {
            "id": "dip",
            "budget": 0.4,
            "features": {"z": {"zscore": {"of": "close", "n": 48}}},
            "propose": {"long": "z < -2", "exit_long": "z > 0", "take_profit": {"fraction": 0.03}},
        },
    ],
    "selector": {"max_positions": 3},
    "risk": {"size": {"fixed_risk": 0.01}, "max_position": 0.25, "max_gross": 0.7, "max_net": 0.6, "cash_buffer": 0.1},
    "execution": {"fees": {"maker_bps": 2, "taker_bps": 5}, "slippage": {"bps": 1}},
}
DIP_SIZE = "strategies.dip.size={fixed_fraction: 0.3}"
VARIANTS: tuple[tuple[str, ...], ...] = (
    (),
    ("execution.timing=close", "execution.intrabar=optimistic"),
    ("execution.timing=next_close", "execution.finalize=mark"),
    ("execution.latency=90m", "execution.limit_gap=open"),
    ("execution.slippage={spread: 1.5}", "execution.spread=none", "execution.fees={bps: 4, per_unit: 0.01}"),
    ("execution.spread={events: false, default_bps: 4}", "risk.size={fixed_notional: 2000}"),
    (
        "execution.slippage={sqrt_impact: 0.02}",
        "execution.fees={flat: 1, min_fee: 2, taker_bps: 3}",
        "strategies.trend.propose.break_even=atr",
    ),
    (
        "execution.slippage={volume_share: {k: 0.3}}",
        "execution.fees={tiered: [{from_notional: 0, taker_bps: 8}, {from_notional: 30000, taker_bps: 4}]}",
        "execution.trailing_mode=intrabar",
        "execution.stop_anchor=entry_close",
    ),
    ("execution.stop_check=close", "execution.stop_from=next_bar", "execution.limit_touch=through"),
    ("risk.size=all_in", "selector.max_positions=2"),
    ("risk.size={fixed_qty: 3}", "risk.max_position=4", "risk.max_gross=null", "risk.max_net=null"),
    (
        "account.cash=3000",
        "risk.max_position=null",
        "risk.max_gross=null",
        "risk.max_net=null",
        "risk.size={fixed_fraction: 0.9}",
        "account.leverage=1",
    ),
)


def config(*overrides: str) -> RunConfig:
    return parse_config(apply_overrides(VALUES, (DIP_SIZE, *overrides)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    return save(run(config(), store=out / "features"), out)


COIN = (
    "account={currency: BTC, decimals: 8, cash: 10, leverage: 3}",
    "instruments.default={kind: inverse_perp, multiplier: 10, lot: 1, min_notional: 0}",
)


@pytest.mark.parametrize("size", ["fixed_risk: 0.01", "fixed_notional: 2", "fixed_fraction: 0.3"])
def test_inverse_contracts_are_worked_out_in_coin(size: str, tmp_path: Path) -> None:  # R5.1 R6.4
    result = run(config(*COIN, f"risk.size={{{size}}}"), dataset=demo.build(MARKET))
    stored = open_run(save(result, tmp_path))
    assert len(stored.fold.trips) > 20
    for number in range(1, len(stored.fold.trips) + 1):
        story = Story(stored, number, result)
        told = Explanation(number, story.trip, story.headline(), parts_of(story), "").as_dict()
        assert_size(told["size"], stored.ledger.header["instruments"][told["symbol"]]["lot"])
        units = told["result"]["units"]
        assert units["gross"] + units["fees"] + units["funding"] == units["net"]
        assert story.trip.open or "stood for" in "".join(line for part in parts_of(story) for line in part.lines)


CONVERTED = ("account.currency=USD", "instruments.default={quote: YY}")


@pytest.mark.parametrize("size", ["fixed_risk: 0.01", "fixed_notional: 2000", "fixed_fraction: 0.3"])
def test_prices_in_another_currency_are_worked_out_in_the_account_s(size: str, tmp_path: Path) -> None:  # R5.1 R6.4
    market = demo.build(MARKET)
    source = f"account.conversion={{YY: {{symbol: {market.symbols[0]}, invert: true}}}}"
    result = run(config(*CONVERTED, source, f"risk.size={{{size}}}"), dataset=market)
    stored = open_run(save(result, tmp_path))
    assert len(stored.fold.trips) > 20
    for number in range(1, len(stored.fold.trips) + 1):
        story = Story(stored, number, result)
        told = Explanation(number, story.trip, story.headline(), parts_of(story), "").as_dict()
        assert_size(told["size"], stored.ledger.header["instruments"][told["symbol"]]["lot"])
        units = told["result"]["units"]
        assert units["gross"] + units["fees"] + units["funding"] == units["net"]
        assert story.trip.open or "1 YY was" in "".join(line for part in parts_of(story) for line in part.lines)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "run"))


@pytest.mark.parametrize("overrides", VARIANTS, ids=lambda words: words[0] if words else "plain")
def test_every_price_size_and_profit_is_worked_out_again(overrides: tuple[str, ...], tmp_path: Path) -> None:
    result = run(config(*overrides), dataset=demo.build(MARKET))
    stored = open_run(save(result, tmp_path))
    table = pl.read_parquet(stored.folder / "trades.parquet")
    assert len(stored.fold.trips) == len(table) > 20
    for number, row in enumerate(table.iter_rows(named=True), 1):
        story = Story(stored, number, result)
        told = Explanation(number, story.trip, story.headline(), parts_of(story), "").as_dict()
        assert (told["symbol"], told["strategy"], told["side"], told["open"]) == (row["symbol"], row["strategy"], row["side"], row["open"])
        assert_size(told["size"], stored.ledger.header["instruments"][row["symbol"]]["lot"])
        for fill in [*told["entry_fills"], *told["exit_fills"]]:
            assert_price(fill)
        result_part = told["result"]["units"]
        assert result_part["gross"] + result_part["fees"] + result_part["funding"] == result_part["net"] == row["pnl_units"]
        assert sum(payment["amount"] for payment in told["funding"]) == pytest.approx(row["funding"], abs=1e-9)
        if not row["open"]:
            assert told["exit"]["reason"] == row["exit_reason"]


def assert_price(fill: dict[str, Any]) -> None:
    steps = fill["price_steps"]
    assert steps["explained"], fill
    assert steps["raw_price"] + sum(step["amount"] for step in steps["steps"]) == pytest.approx(fill["price"], rel=1e-12)


def assert_size(size: dict[str, Any], lot: list[int]) -> None:
    one = lot[0] / lot[1]
    short = size["wanted"] - size["approved"]
    if size["cut_by"] is None:
        assert -1e-6 * one <= short < one * (1 + 1e-6), size
    else:
        limit = next(found for found in size["limits"] if found["limit"] == size["cut_by"])
        assert limit["quantity"] == pytest.approx(size["approved"])
        assert short > 0


def test_levels_that_moved_are_listed_and_the_bar_that_reached_them_is_named(folder: Path) -> None:
    table = pl.read_parquet(folder / "trades.parquet")
    number = table.with_row_index("row", 1).filter(pl.col("exit_reason") == "trailing_stop", pl.col("bars") > 3)["row"][0]
    found = explain(folder, str(number))
    told = found.as_dict()
    moves = [move["stop"] for move in told["levels"]["moves"]]
    assert moves == sorted(moves, reverse=told["side"] == "short") and moves
    bar = told["exit"]["bar"]
    reached = bar["low"] <= moves[-1] if told["side"] == "long" else bar["high"] >= moves[-1]
    assert reached
    text = "\n".join(found.lines())
    assert "the trailing distance" in text and "reached the stop" in text


@pytest.mark.parametrize(("mode", "by"), [("replace_levels", "a proposal"), ("add", "an add")])
def test_levels_that_were_changed_are_told_and_worked_out(mode: str, by: str, tmp_path: Path) -> None:  # R4.3
    rules = ("strategies.trend.propose.long=close > slow and rsi < 45", "strategies.trend.features.rsi={rsi: {n: 14}}")
    result = run(config(f"selector.on_held={mode}", *rules, "strategies.trend.propose.max_bars=200"), dataset=demo.build(MARKET))
    stored, told = open_run(save(result, tmp_path)), 0
    for number in range(1, len(stored.fold.trips) + 1):
        story = Story(stored, number, result)
        parts = {part.key or part.name: part for part in parts_of(story)}
        assert all(fill["price_steps"]["explained"] for fill in parts["exit_fills"].data)
        changes = parts["levels"].data["changes"]
        said = [line for line in parts["levels"].lines if f"{by} changed them: " in line]
        assert len(changes) == len(story.asked) and len(said) == (len(changes) if len(changes) <= 8 else 6)
        assert [line.split(" changed them: ")[1].split(" to ")[0] for line in said] == [
            "target" if story.trip.strategy == "dip" else "stop" for _ in said
        ]
        assert all(story.rows[seq]["price"] in (0.0, one.stop) for seq, one in story.asked if mode == "replace_levels")
        told += len(said)
    assert told > 10


def test_the_rank_names_the_others_of_the_instant_and_what_became_of_them(folder: Path) -> None:
    stored = open_run(folder)
    seen = set()
    for number in range(1, len(stored.fold.trips) + 1):
        told = {part.name: part for part in parts_of(Story(stored, number, None))}
        rank = told["rank"].data
        ranks = sorted([rank["rank"], *(other["rank"] for other in rank["others"] if other["rank"])])
        assert ranks == list(range(1, rank["of"] + 1))
        assert rank["slots_taken"] < rank["slots"] == 3
        seen |= {other["outcome"] for other in rank["others"]}
    assert {"filled", "not_selected"} <= seen


def test_without_its_dataset_the_ledger_still_tells_the_chain_and_says_what_is_missing(copy: Path) -> None:
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace(MARKET, "gone/away"))
    rehash(copy)
    found = explain(copy, "1")
    assert "gone/away" in found.not_shown and "left out" in found.lines()[-1]
    told = found.as_dict()
    assert told["levels"] is None and "price_steps" not in told["entry_fills"][0] and "formula" not in told["size"]
    assert told["proposal"]["score"] is not None and told["rank"]["rank"] >= 1
    whole = told["result"]["units"]
    assert whole["gross"] + whole["fees"] + whole["funding"] == whole["net"]


def test_another_dataset_under_the_same_name_is_not_believed(copy: Path) -> None:
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("seed=3", "seed=4"))
    rehash(copy)
    assert "is now another dataset" in explain(copy, "1").not_shown


def test_a_config_that_gives_another_result_is_not_believed(copy: Path) -> None:
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("taker_bps: 5", "taker_bps: 50"))
    rehash(copy)
    assert "gives another result" in explain(copy, "1").not_shown


@pytest.mark.parametrize(
    ("trade", "said"),
    [
        ("0", "no such trade"),
        ("-3", "no such trade"),
        ("100000", "no such trade"),
        ("1.5", "not a whole number"),
        ("first", "not a whole number"),
    ],
)
def test_a_number_that_is_no_trade_says_how_many_there_are(folder: Path, trade: str, said: str) -> None:
    count = len(pl.read_parquet(folder / "trades.parquet"))
    with pytest.raises(RunError, match=f"--trade {trade}: {said}; the run has {count} trades, numbered from 1"):
        explain(folder, trade)


def test_a_folder_that_contradicts_itself_is_refused(copy: Path) -> None:
    table = pl.read_parquet(copy / "trades.parquet")
    table.head(5).write_parquet(copy / "trades.parquet")
    rehash(copy)
    with pytest.raises(RunError, match="its trades are not those of the ledger"):
        explain(copy, "1")
    (copy / "trades.parquet").write_bytes(b"nothing")
    rehash(copy)
    with pytest.raises(RunError, match="not a Parquet file of a run"):
        explain(copy, "1")
    summary = json.loads((copy / "summary.json").read_text())
    (copy / "summary.json").write_text(json.dumps(summary | {"result_hash": "0" * 64}))
    with pytest.raises(RunError, match="of different results"):
        explain(copy, "1")


def test_a_damaged_ledger_or_config_is_refused(copy: Path) -> None:
    whole = (copy / "ledger.arrow").read_bytes()
    (copy / "ledger.arrow").write_bytes(whole[:1000])
    rehash(copy)
    with pytest.raises(LedgerError, match="not a ledger"):
        explain(copy, "1")
    table = pa.ipc.open_file(whole).read_all()
    header = json.loads(table.schema.metadata[b"tapeline"])
    for name in ("chain", "symbols", "decimals", "records"):
        said = {"tapeline": json.dumps({key: value for key, value in header.items() if key != name})}
        with pa.OSFile(str(copy / "ledger.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema.with_metadata(said)) as writer:
            writer.write_table(table.replace_schema_metadata(said))
        rehash(copy)
        with pytest.raises(LedgerError, match=f"not a ledger .*{name}"):
            explain(copy, "1")
    (copy / "ledger.arrow").write_bytes(whole)
    (copy / "config.yaml").write_text("name: [")
    rehash(copy)
    with pytest.raises(ConfigError):
        explain(copy, "1")


def test_a_run_without_a_ledger_or_without_trades_says_so(tmp_path: Path) -> None:
    market = demo.build(MARKET)
    with pytest.raises(RunError, match="kept no ledger"):
        explain(save(run(config("ledger=off"), dataset=market), tmp_path), "1")
    with pytest.raises(RunError, match="the run has no trades"):
        explain(save(run(config("selector.min_score=1e9"), dataset=market), tmp_path), "1")
