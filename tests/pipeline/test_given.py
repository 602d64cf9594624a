"""Proposals that a config names: external tables and certified files."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from engine.dataset import Dataset
from features.causality import CausalityError
from features.compute import propose
from features.proposal_files import read_proposals, write_proposals
from pipeline.build import strategies_of
from pipeline.configfile import parse_config
from pipeline.errors import ConfigError
from pipeline.folder import save
from pipeline.launch import run
from pipeline.result import Result
from pipeline.verify import verify_run
from tests.pipeline.small import VALUES, config, only


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
