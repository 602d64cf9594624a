"""What ``data info`` and ``data check`` say of a dataset."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from engine.dataset import Dataset, from_columns, write_folder
from pipeline.check_data import check, check_dataset, render_check
from pipeline.demo import build
from pipeline.inspect_data import info, render_info

HOUR = 3_600_000_000
T0 = 1_704_067_200_000_000
SPECS = {"A": {"kind": "linear_perp", "tick": "0.1", "lot": "1", "multiplier": "1"}}


def bars(n: int = 4, **changes: Any) -> dict[str, Any]:
    ts = T0 + HOUR * np.arange(1, n + 1)
    columns: dict[str, Any] = {"open_ts": ts - HOUR, "ts": ts, "volume": np.ones(n)}
    columns |= {"open": np.full(n, 10.0), "high": np.full(n, 11.0), "low": np.full(n, 9.0), "close": np.full(n, 10.0)}
    for name, (row, value) in changes.items():
        columns[name] = columns[name].copy()
        columns[name][row] = value
    return columns


def dataset(
    specs: dict[str, dict[str, Any]] | None = None, moved: tuple[str, str, int, int] | None = None, **tables: dict[str, Any]
) -> Dataset:
    """A dataset of one symbol; ``moved`` names kind, column, row and value of what is changed once it is made, as in a file."""
    key = {"bars": ("A", "1h", HOUR), "marks": ("A", "1h", HOUR)}
    made = from_columns(
        {kind: {key.get(kind, ("A", "", 0)): columns} for kind, columns in tables.items()}, SPECS if specs is None else specs
    )
    if moved is not None:
        kind, name, row, value = moved
        changed = made.columns[kind][name].copy()
        changed[row] = value
        made = replace(made, columns={**made.columns, kind: {**made.columns[kind], name: changed}})
    return made


def funding(**given: Any) -> dict[str, Any]:
    return {"ts": [T0 + HOUR], "rate": [0.0001], "mark": [10.0]} | given


def action(**given: Any) -> dict[str, Any]:
    return {name: [value] for name, value in ({"ts": T0, "kind": 0, "value": 0.0, "num": 2, "den": 1} | given).items()}


def test_a_sound_dataset_has_no_problems(tmp_path: Path) -> None:
    write_folder(build("demo://perps?symbols=4&days=12"), tmp_path / "d")
    report = check(tmp_path / "d")
    assert report.ok and report.rows > 1000
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (dataset(bars=bars(), moved=("bars", "ts", 2, T0 + HOUR)), "row 2, ts"),
        (dataset(bars=bars(), moved=("bars", "open_ts", 1, T0 + 2 * HOUR)), "a bar opens before it closes"),
        (dataset(bars=bars(), moved=("bars", "open_ts", 1, T0)), "a bar opens when the one before it has closed"),
        (dataset(bars=bars(close=(3, np.nan))), "row 3, close nan at 2024-01-01T04:00:00Z: a price is finite"),
        (dataset(bars=bars(low=(0, 0.0))), "low 0.0 at"),
        (dataset(bars=bars(high=(0, 8.0))), "the high is not below the low"),
        (dataset(bars=bars(open=(0, 12.0))), "the open lies within low and high"),
        (dataset(bars=bars(volume=(0, -1.0))), "a volume is not negative"),
        (dataset(bars=bars(), marks={k: v for k, v in bars(high=(0, 8.0)).items() if k != "volume"}), "marks of A row 0, high 8.0"),
        (dataset(bars=bars(), funding=funding(rate=[2.0])), "a rate is a fraction"),
        (dataset(bars=bars(), funding=funding(mark=[-1.0])), "a mark is finite and above zero"),
        (
            dataset(bars=bars(), funding=funding(ts=[T0, T0 + 1], rate=[0.0] * 2, mark=[1.0] * 2), moved=("funding", "ts", 1, T0)),
            "a settlement is later",
        ),
        (
            dataset(bars=bars(), spread={"ts": [T0, T0], "bid": [1.0, 1.0], "ask": [2.0, 2.0]}, moved=("spread", "ts", 0, T0 + 1)),
            "time does not run backwards",
        ),
        (dataset(bars=bars(), spread={"ts": [T0], "bid": [np.nan], "ask": [2.0]}), "bid nan"),
        (dataset(bars=bars(), universe={"ts": [T0], "listed": [3]}), "listed 3"),
        (dataset(bars=bars(), actions=action(num=0)), "a term of a split is 1 or more"),
        (dataset(bars=bars(), actions=action(kind=9)), "an action is one of split"),
        (dataset(bars=bars(), actions=action(kind=1, value=-1.0)), "a dividend is an amount"),
        (
            dataset(
                bars=bars(),
                actions={k: [*v, *w] for (k, v), w in zip(action().items(), action(kind=2).values(), strict=True)},
                moved=("actions", "kind", 1, 0),
            ),
            "an action is there once",
        ),
        (dataset(funding=funding()), "funding of A: a symbol without bars"),
        (dataset({}, bars=bars()), "instruments: A is missing"),
        (dataset({"A": {"kind": "nft"}}, bars=bars()), "kind 'nft' of A"),
        (dataset({"A": {"kind": "spot", "tick": "0"}}, bars=bars()), "tick '0' of A is no positive decimal"),
    ],
)
def test_each_defect_is_found(made: Dataset, problem: str) -> None:
    assert any(problem in text for text in check_dataset(made).problems), check_dataset(made).problems


def test_a_changed_file_is_found(tmp_path: Path) -> None:
    write_folder(dataset(bars=bars()), tmp_path / "d")
    path = tmp_path / "d" / "bars.arrow"
    path.write_bytes(path.read_bytes().replace(np.float64(11.0).tobytes(), np.float64(12.0).tobytes(), 1))
    report = check(tmp_path / "d")
    assert not report.ok and "SHA-256" in report.problems[0]
    assert ": 1 problem\n" in shown(render_check(report))


def test_what_is_no_dataset_is_a_problem(tmp_path: Path) -> None:
    assert "not a dataset folder" in check(tmp_path).problems[0]


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    write_folder(dataset(bars=bars()), tmp_path / "d")
    (tmp_path / "d" / "bars.arrow").unlink()
    assert "bars.arrow: No such file" in check(tmp_path / "d").problems[0]


def test_gaps_are_counted_in_bars() -> None:
    columns = {name: np.delete(column, [3, 4, 7]) for name, column in bars(10).items()}
    (series,) = info(dataset(bars=columns)).series
    assert (series.rows, series.gaps, series.missing, series.longest_gap) == (7, 2, 3, "2h")
    assert (series.first, series.last) == ("2024-01-01T00:00:00Z", "2024-01-01T10:00:00Z")


def test_nights_of_a_market_with_sessions_are_no_gaps() -> None:
    columns = {name: np.delete(column, [3, 4, 7]) for name, column in bars(10).items()}
    (series,) = info(dataset({"A": {"kind": "equity"}}, bars=columns)).series
    assert series.gaps == 0


def test_prices_that_a_split_does_not_move_are_remarked() -> None:
    columns, split = bars(), action(ts=T0 + 2 * HOUR)
    assert any("look adjusted" in remark for remark in info(dataset(bars=columns, actions=split)).remarks)
    halved = {name: np.where(np.arange(4) < 2, column, column / 2) if column.dtype == float else column for name, column in columns.items()}
    assert not any("look adjusted" in remark for remark in info(dataset(bars=halved, actions=split)).remarks)


def test_simulated_data_say_so_and_the_description_is_plain() -> None:
    described = info(build("demo://perps?symbols=3&days=5"))
    assert described.simulated and json.loads(json.dumps(described.to_dict()))["simulated"] is True
    assert "SIMULATED" in shown(render_info(described))


def shown(renderable: Any) -> str:
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


@pytest.mark.parametrize("address", ["demo://perps?symbols=2&days=3", "demo://perps?symbols=2&days=3&seed=8"])
def test_a_simulated_market_is_opened_by_its_address(address: str) -> None:
    report = check(address)
    assert report.ok and report.simulated and report.path == address and report.id == build(address).id
    assert "SIMULATED data" in shown(render_check(report))


def test_an_address_that_cannot_be_read_is_a_problem() -> None:
    report = check("demo://perps?symbols=none")
    assert not report.ok and "whole number" in report.problems[0]
    assert ": 1 problem\n" in shown(render_check(report))
