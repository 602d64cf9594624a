"""External proposals: what a user's own table may hold."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from engine.schema import Action, OrderType, TimeInForce
from features.proposal_files import read_proposals
from features.proposals import ProposalError

T0 = 1_700_000_000_000_000


def frame(**changed):
    columns = {"ts": [T0 + 60, T0, T0], "symbol": ["B", "B", "A"], "strategy": ["s", "s", "s"], "action": ["enter_long", "exit", 1]}
    columns["action"] = [0, 2, 1]
    return pl.DataFrame(columns | changed)


def test_defaults_are_filled_in_and_rows_sorted():
    table = read_proposals(frame())
    assert table.provenance == "external" and table.symbols == ("A", "B") and table.strategies == ("s",)
    assert table.columns["action"].tolist() == [Action.ENTER_SHORT, Action.EXIT, Action.ENTER_LONG]
    assert table.columns["sequence"].tolist() == [0, 1, 0]  # order of the rows of one strategy and symbol
    assert table.columns["available_ts"].tolist() == table.columns["ts"].tolist() == [T0, T0, T0 + 60]
    assert np.isnan(table.columns["stop_loss"]).all() and table.columns["row"].tolist() == [-1] * 3


def test_names_and_timestamps_are_understood(tmp_path):
    stamps = pl.Series([T0 + 60, T0, T0]).cast(pl.Datetime("us", "UTC"))
    other = frame(
        ts=stamps, action=["enter_long", "exit", "enter_short"], stop_loss=[1.0, None, 2.0], stop_loss_kind=["price", "price", "fraction"]
    )
    other.write_parquet(tmp_path / "p.parquet")
    other.write_ipc(tmp_path / "p.arrow", compression="uncompressed")
    for source in (other, other.to_arrow(), tmp_path / "p.parquet", str(tmp_path / "p.arrow")):
        table = read_proposals(source)
        assert table.provenance == "external"
        assert table.columns["ts"].tolist() == [T0, T0, T0 + 60]
        assert np.array_equal(table.columns["stop_loss"], [2, np.nan, 1], equal_nan=True)
        assert table.columns["stop_loss_kind"].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"scores": [1.0] * 3}, "no column 'scores'; did you mean 'score'"),
        ({"available_ts": [T0 + 60, T0, T0 - 1]}, r"row 2: available_ts \d+: it is known before its own ts"),  # R1.7
        ({"action": [0, 9, 1]}, "row 1: action 9; it is one of enter_long"),
        ({"action": ["enter", "exit", "exit"]}, "row 0: action 'enter'"),
        ({"symbol": ["A", None, "B"]}, "row 1: symbol is missing"),
        ({"symbol": [1, 2, 3]}, "symbol is int64; it is text"),
        ({"ts": [1_700_000_000] * 3}, "row 0: ts 1700000000: it is not in microseconds"),
        ({"ts": [1.5] * 3}, "ts is double"),
        ({"ts": pl.Series([T0] * 3).cast(pl.Datetime("us"))}, "without a time zone"),
        ({"score": ["a"] * 3}, "it is a number"),
        ({"action": ["enter_long", "target", "exit"]}, "row 1: weight nan: a target has one"),
        ({"action": [0, 5, 1], "weight": [None, None, 0.1]}, "row 1: weight nan: a target has one, the signed fraction"),
        ({"action": [0, 5, 1], "weight": [0.1] * 3, "tif": [0, 2, 0]}, "row 1: tif 2: a target is good till cancelled"),
        ({"action": [0, 5, 1], "weight": [0.1] * 3, "order_type": [0, 1, 0]}, "row 1: order_type 1: exits and targets are market orders"),
        ({"max_bars": [1, -1, 2]}, "row 1: max_bars -1: it is a whole number"),
        ({"max_bars": [1.0, 2.0, float("inf")]}, "row 2: max_bars inf: it is a whole number from 0 to"),
        (
            {"max_bars": pl.Series([0, 2**63 + 5, 0], dtype=pl.UInt64)},
            "row 1: max_bars 9223372036854775813: it is a whole number from 0 to",
        ),
        ({"score": [1.0, float("-inf"), float("inf")]}, "row 1: score -inf: it is finite"),
        ({"take_profit": [1.0, 2.0, float("inf")]}, "row 2: take_profit inf: it is finite"),
        ({"order_type": ["limit", "market", "iceberg"]}, "row 2: order_type 'iceberg'; it is one of market, limit, stop, stop_limit"),
        ({"order_type": ["market", "limit", "market"]}, "row 1: order_type 1: exits and targets are market orders"),
        ({"limit_price": [5.0, None, None]}, "row 0: limit_price 5.0: its order_type has no limit_price; give limit or stop_limit"),
        ({"order_type": ["limit", "market", "market"], "stop_price": [5.0, None, None]}, "row 0: stop_price 5.0"),
        ({"tif": ["day", "gtc", "gtc"]}, "row 0: tif 'day'; it is one of gtc, gtd, ioc, bars"),
        ({"tif": [3, 0, 0]}, "row 0: tif_value 0: bars are counted from 1"),
        ({"tif_value": [-1, 0, 0]}, "row 0: tif_value -1: it is a whole number from 0"),
        ({"sequence": [1, 1, 0]}, "row 1: sequence 1: it comes twice"),
    ],
)
def test_refused_table_names_row_column_and_rule(changed, reason):
    with pytest.raises(ProposalError, match=reason):
        read_proposals(frame(**changed))


def test_orders_are_read_by_name_and_their_times_as_timestamps():  # R2.1
    until = pl.Series([T0 + 10**9] * 3).cast(pl.Datetime("us", "UTC"))
    mixed = {"order_type": pl.Series(["stop_limit", "market", "limit"]), "limit_price": [5.0, None, 6.0], "stop_price": [4.0, None, None]}
    table = read_proposals(frame(**mixed, tif=["gtd", "gtc", "ioc"], tif_value=until)).columns
    assert table["order_type"].tolist() == [OrderType.LIMIT, OrderType.MARKET, OrderType.STOP_LIMIT]
    assert table["tif"].tolist() == [TimeInForce.IOC, TimeInForce.GTC, TimeInForce.GTD]
    assert table["tif_value"].tolist() == [T0 + 10**9] * 3
    assert table["limit_price"].tolist()[::2] == [6.0, 5.0] and table["stop_price"].tolist()[2] == 4.0


def test_missing_column_and_missing_or_broken_file_are_refused(tmp_path):
    with pytest.raises(ProposalError, match="column 'action' is missing"):
        read_proposals(frame().drop("action"))
    with pytest.raises(ProposalError, match="no proposals at"):
        read_proposals(tmp_path / "none.parquet")
    for name in ("p.parquet", "p.arrow"):
        (tmp_path / name).write_text("<html>")
        with pytest.raises(ProposalError, match="not a table of proposals"):
            read_proposals(tmp_path / name)
    assert isinstance(frame().to_arrow(), pa.Table)
