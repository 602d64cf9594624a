"""Maintenance margin and liquidation: published numbers, and runs worked by hand."""

import os
from typing import Any

import pytest

from engine.dataset import Dataset, from_columns
from engine.instrument import Decimals, MarginTier, Rules
from engine.schema import Action, Intrabar, MaintenanceBasis, MaintenanceFee, MarginMode, Reason, RecordKind, SizeKind
from engine.session import ReplayError, Session
from tests.differential import agreed_replay
from tests.oracle.examples import (
    FLAT,
    LONG,
    SHORT,
    Candles,
    Row,
    at,
    fills,
    instrument,
    market,
    of_kind,
    propose,
    settings,
    strategy,
    table,
)
from tests.oracle.replay import OracleResult

MARK, ENTRY = MaintenanceBasis.MARK, MaintenanceBasis.ENTRY
needs_data = pytest.mark.skipif("TAPELINE_DATA" not in os.environ, reason="TAPELINE_DATA is not set")


def quoted(bid: Candles, ask: Candles, mid: Candles) -> Dataset:
    """Bid and ask candles, and what is told as their mid."""
    columns = {
        side + name: list(column)
        for side, candles in (("", mid), ("bid_", bid), ("ask_", ask))
        for name, column in zip(("open", "high", "low", "close"), zip(*candles, strict=True), strict=True)
    }
    hours = range(len(mid))
    times = {"open_ts": [at(hour) for hour in hours], "ts": [at(hour + 1) for hour in hours], "volume": [1.0] * len(mid)}
    return from_columns({"bars": {("A", "1h", 3_600_000_000): times | columns}})


def leveraged_on(dataset: Dataset, *rows: Row, **changes: Any) -> OracleResult:
    """Symbols A and B at ten times, isolated, one tier of one per cent; 8 lots."""
    chosen: dict[str, Any] = {
        "leverage": 10.0,
        "margin": MarginMode.ISOLATED,
        "instruments": tuple(instrument(symbol, maintenance=(MarginTier(0.0, 0.01, 0.0),)) for symbol in dataset.symbols),
        "strategies": (strategy(SizeKind.FIXED_QTY, 8.0),),
    }
    return agreed_replay(dataset, table(*rows), settings(4, **(chosen | changes)))


def leveraged(candles: Any, *rows: Row, marks: Any = None, **changes: Any) -> OracleResult:
    """Symbol A at ten times, one tier of one per cent; 8 lots unless told otherwise."""
    data = {}
    if marks is not None:
        columns = dict(zip(("open", "high", "low", "close"), zip(*marks, strict=True), strict=True))
        data = {"open_ts": [at(hour) for hour in range(len(marks))], "ts": [at(hour + 1) for hour in range(len(marks))], **columns}
    dataset = market({"A": candles})
    if data:
        tables = {kind: {(s.symbol, s.name, s.interval_us): dataset.view(kind, s) for s in dataset.series[kind]} for kind in dataset.series}
        dataset = from_columns(tables | {"marks": {("A", "1h", 3_600_000_000): data}})
    chosen: dict[str, Any] = {
        "leverage": 10.0,
        "margin": MarginMode.ISOLATED,
        "instruments": (instrument(maintenance=(MarginTier(0.0, 0.01, 0.0),)),),
        "strategies": (strategy(SizeKind.FIXED_QTY, 8.0),),
    }
    return agreed_replay(dataset, table(*rows), settings(len(candles), **(chosen | changes)))


CRASH = [FLAT, FLAT, (100.0, 100.0, 85.0, 86.0), (86.0, 86.0, 86.0, 86.0)]


def test_an_isolated_position_is_liquidated_at_its_price() -> None:  # R7.3
    result = leveraged(CRASH, propose(1))
    # (800 - 80) / (8 * 0.99) = 90.909..., on the tick against the sale
    assert fills(result) == [(1.0, 100.0, "FILLED"), (3.0, 90.9, "LIQUIDATED")]


def test_what_it_loses_beyond_its_margin_is_insured_fee_included() -> None:  # R7.3
    result = leveraged(CRASH, propose(1), taker_bps=10.0, liquidation_fee=0.02)
    fill, insured = of_kind(result, RecordKind.FILL)[-1], of_kind(result, RecordKind.INSURANCE)
    assert fill["fee"] == round(72_720 * 0.001) + round(72_720 * 0.02)
    lost = -fill["amount"]
    assert [row["amount"] for row in insured] == [lost - 8_000]
    assert result.final_equity == 100_000 - 80 - 8_000


def test_a_short_is_liquidated_above() -> None:  # R7.3
    rise = [FLAT, FLAT, (100.0, 120.0, 100.0, 115.0), (115.0, 115.0, 115.0, 115.0)]
    assert fills(leveraged(rise, propose(1, SHORT)))[-1] == (3.0, 109.0, "LIQUIDATED")  # (800 + 80) / (8 * 1.01) = 108.91


def test_the_mark_decides_and_the_fill_lies_in_the_trade_bar() -> None:  # R7.3
    calm = [FLAT, FLAT, (100.0, 100.0, 95.0, 96.0), (96.0, 96.0, 96.0, 96.0)]
    low = [FLAT, FLAT, (100.0, 100.0, 90.0, 96.0), (96.0, 96.0, 96.0, 96.0)]
    assert fills(leveraged(calm, propose(1)))[-1][2] == "RUN_ENDED"
    assert fills(leveraged(calm, propose(1), marks=low))[-1] == (3.0, 95.0, "LIQUIDATED")
    assert fills(leveraged(low, propose(1), marks=calm))[-1][2] == "RUN_ENDED"


def test_the_open_of_the_mark_liquidates_at_the_open() -> None:  # R1.3 R7.3
    gap = [FLAT, FLAT, (80.0, 81.0, 79.0, 80.0), FLAT]
    assert fills(leveraged(gap, propose(1)))[-1] == (2.0, 80.0, "LIQUIDATED")


def test_a_stop_before_the_price_precedes_and_one_behind_it_does_not() -> None:  # R7.3
    assert fills(leveraged(CRASH, propose(1, stop_loss=95.0)))[-1] == (3.0, 95.0, "STOP_LOSS")
    assert fills(leveraged(CRASH, propose(1, stop_loss=88.0)))[-1] == (3.0, 90.9, "LIQUIDATED")


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (Intrabar.PESSIMISTIC, "LIQUIDATED"),
        (Intrabar.OPTIMISTIC, "TAKE_PROFIT"),
        (Intrabar.OLHC, "LIQUIDATED"),
        (Intrabar.OHLC, "TAKE_PROFIT"),
    ],
)
def test_liquidation_is_one_exit_among_the_policies(policy: Intrabar, reason: str) -> None:  # R3.3
    wild = [FLAT, FLAT, (100.0, 112.0, 85.0, 90.0), FLAT]
    result = leveraged(wild, propose(1, take_profit=110.0), intrabar=policy)
    assert fills(result)[-1][2] == reason
    assert of_kind(result, RecordKind.FILL)[-1]["flags"] & 1


def test_maintenance_may_hold_the_fee_of_closing() -> None:  # R7.2
    result = leveraged(CRASH, propose(1), taker_bps=50.0, maintenance_fee=MaintenanceFee.TAKER_AT_BANKRUPTCY)
    assert fills(result)[-1][1] == 91.3  # 720 / (8 * 0.985) = 91.37


def test_cross_margin_nets_the_symbol_and_closes_every_part_at_one_price() -> None:  # R6.1 R7.3
    two = (strategy(SizeKind.FIXED_QTY, 60.0, name="a"), strategy(SizeKind.FIXED_QTY, 20.0, name="b"))
    rows = (propose(1, strategy="a"), propose(1, SHORT, strategy="b"))
    result = leveraged([FLAT, FLAT, (100.0, 100.0, 70.0, 71.0), FLAT], *rows, margin=MarginMode.CROSS, strategies=two)
    # net 40 lots: (4000 - 1000) / (40 * 0.99) = 75.757...
    assert fills(result)[2:] == [(3.0, 75.7, "LIQUIDATED"), (3.0, 75.7, "LIQUIDATED")]
    assert [row["strategy"] for row in of_kind(result, RecordKind.FILL)[2:]] == [0, 1]
    assert not of_kind(result, RecordKind.INSURANCE)


def test_at_the_close_the_largest_maintenance_goes_first_while_equity_is_below_the_whole() -> None:  # R7.4
    heavy, light = (MarginTier(0.0, 0.2, 0.0),), (MarginTier(0.0, 0.01, 0.0),)
    instruments = (instrument("A", maintenance=light), instrument("B", maintenance=heavy))
    fall = [FLAT, FLAT, (100.0, 100.0, 97.0, 97.0), (97.0, 97.0, 97.0, 97.0)]
    rows = (propose(1), propose(1, symbol="B"))
    chosen: dict[str, Any] = {"leverage": 50.0, "instruments": instruments, "strategies": (strategy(SizeKind.FIXED_QTY, 40.0),)}
    result = agreed_replay(market({"A": fall, "B": fall}), table(*rows), settings(4, **chosen))
    # both lose 120 of 1,000: 760 are left; B needs 776, A 38.80
    assert [(r["symbol"], Reason(r["reason"]).name) for r in of_kind(result, RecordKind.FILL)[2:]] == [
        (1, "LIQUIDATED_AT_CLOSE"),
        (0, "RUN_ENDED"),
    ]


def test_the_net_of_a_symbol_counts_every_lot_and_every_unit_of_money() -> None:  # R6.1 R7.3
    two = (strategy(SizeKind.FIXED_QTY, 60.0, name="a"), strategy(SizeKind.FIXED_QTY, 1.0, name="b"))
    rows = (propose(1, strategy="a"), propose(1, SHORT, strategy="b"))
    fine = (instrument(tick=Decimals(1, 100), maintenance=(MarginTier(0.0, 0.01, 0.0),)),)
    chosen: dict[str, Any] = {"margin": MarginMode.CROSS, "strategies": two, "instruments": fine, "decimals": 0, "cash": 1_000}
    result = leveraged([FLAT, FLAT, (100.0, 100.0, 70.0, 71.0), FLAT], *rows, **chosen)
    # net 59 lots: (5900 - 1000) / (59 * 0.99) = 83.889...; one unit more of cost, or less of margin, is 83.906...
    assert [fill[1] for fill in fills(result)[2:]] == [83.88, 83.88]


@pytest.mark.parametrize(
    ("basis", "close", "ruined"), [(ENTRY, 95.0, False), (ENTRY, 94.9, True), (MARK, 94.5, False), (MARK, 93.7, True), (MARK, 93.8, False)]
)
def test_at_the_close_equity_that_covers_maintenance_is_enough(basis: MaintenanceBasis, close: float, ruined: bool) -> None:
    # R7.2 R7.4: 20 lots of each at 100 and a fifth: 800 on the entry values, met at 95; 8 times the mark, met at 93.75
    both = tuple(instrument(symbol, maintenance=(MarginTier(0.0, 0.2, 0.0),)) for symbol in "AB")
    fall = [FLAT, FLAT, (100.0, 100.0, close, close)]
    chosen: dict[str, Any] = {"leverage": 50.0, "instruments": both, "strategies": (strategy(SizeKind.FIXED_QTY, 20.0),)}
    data = market({"A": fall, "B": fall})
    result = agreed_replay(data, table(propose(1), propose(1, symbol="B")), settings(3, maintenance_basis=basis, **chosen))
    assert [fill[2] for fill in fills(result)[2:]] == (["LIQUIDATED_AT_CLOSE", "RUN_ENDED"] if ruined else ["RUN_ENDED"] * 2)
    assert of_kind(result, RecordKind.FILL)[2]["symbol"] == 0  # of equals the first


@pytest.mark.parametrize(("low", "left"), [(90.1, "RUN_ENDED"), (90.0, "LIQUIDATED")])
def test_the_maintenance_of_other_symbols_secures_nothing(low: float, left: str) -> None:
    # R7.3: of 1,000, 400 maintain B: (2000 - (600 - 400)) / 20 = 90
    both = tuple(instrument(symbol, maintenance=(MarginTier(0.0, 0.2, 0.0),)) for symbol in "AB")
    data = market({"A": [FLAT, FLAT, (100.0, 100.0, low, 100.0)], "B": [FLAT] * 3})
    chosen: dict[str, Any] = {"leverage": 50.0, "instruments": both, "strategies": (strategy(SizeKind.FIXED_QTY, 20.0),)}
    result = agreed_replay(data, table(propose(1), propose(1, symbol="B")), settings(3, maintenance_basis=ENTRY, **chosen))
    assert fills(result)[2][2] == left


def test_sides_that_cancel_out_are_never_liquidated() -> None:  # R6.1 R7.3
    two = tuple(strategy(SizeKind.FIXED_QTY, 40.0, name=name) for name in "ab")
    result = leveraged(CRASH, propose(1, strategy="a"), propose(1, SHORT, strategy="b"), margin=MarginMode.CROSS, strategies=two)
    assert [fill[2] for fill in fills(result)[2:]] == ["RUN_ENDED", "RUN_ENDED"]


@pytest.mark.parametrize(("opened", "left"), [(91.0, (2.0, 94.0, "LIQUIDATED")), (91.1, (2.0, 95.0, "STOP_LOSS"))])
def test_a_mark_that_opens_beyond_the_price_comes_before_the_stop(opened: float, left: tuple[float, float, str]) -> None:
    # R7.3: bought at this very open; (800 - (80 - 8)) / 8 = 91
    marks = [FLAT, (opened, 100.0, 85.0, 96.0), FLAT]
    result = leveraged([FLAT, (100.0, 100.0, 94.0, 96.0), FLAT], propose(1, stop_loss=95.0), marks=marks, maintenance_basis=ENTRY)
    assert fills(result)[1] == left


@pytest.mark.parametrize(("stop", "left"), [(91.1, (3.0, 91.1, "STOP_LOSS")), (91.0, (3.0, 91.0, "LIQUIDATED"))])
def test_a_stop_at_the_price_does_not_precede(stop: float, left: tuple[float, float, str]) -> None:  # R7.3
    assert fills(leveraged(CRASH, propose(1, stop_loss=stop), maintenance_basis=ENTRY))[1] == left


@pytest.mark.parametrize(("close", "reason"), [(100.1, "LIQUIDATED"), (100.0, "TAKE_PROFIT"), (99.9, "TAKE_PROFIT")])
def test_a_bar_that_rises_goes_to_its_low_first(close: float, reason: str) -> None:  # R3.3
    wild = [FLAT, FLAT, (100.0, 112.0, 85.0, close), FLAT]
    assert fills(leveraged(wild, propose(1, take_profit=110.0), intrabar=Intrabar.ADAPTIVE))[1][2] == reason
    tame = [FLAT, FLAT, (100.0, 112.0, 85.0, close), FLAT]
    short = leveraged(tame, propose(1, SHORT, take_profit=90.0), intrabar=Intrabar.ADAPTIVE)
    assert fills(short)[1][2] == ("TAKE_PROFIT" if reason == "LIQUIDATED" else "LIQUIDATED")


@pytest.mark.parametrize(("action", "target"), [(LONG, 110.0), (SHORT, 90.0)])
def test_whether_a_bar_rises_is_seen_on_the_exit_side(action: Action, target: float) -> None:
    # R3.3: the bid rises, so a long is at the low first; the ask falls, so a short is at the high first
    bid = [FLAT, FLAT, (99.0, 112.0, 85.0, 99.5), (90.0,) * 4]
    ask = [FLAT, FLAT, (101.0, 112.0, 85.0, 100.5), (110.0,) * 4]
    mid = [FLAT, FLAT, (100.0, 112.0, 85.0, 100.0), FLAT]
    result = leveraged_on(quoted(bid, ask, mid), propose(1, action, take_profit=target), intrabar=Intrabar.ADAPTIVE)
    assert fills(result)[1][2] == "LIQUIDATED"


@pytest.mark.parametrize(("action", "price"), [(LONG, 92.0), (SHORT, 107.0)])
def test_a_liquidation_lies_in_the_bar_of_the_exit_side(action: Action, price: float) -> None:
    # R7.3: 90.9 for the long and 109.0 for the short, where the bid goes from 92 to 106 and the ask from 93 to 107
    bid = [FLAT, FLAT, (100.0, 106.0, 92.0, 100.0), FLAT]
    ask = [FLAT, FLAT, (100.0, 107.0, 93.0, 100.0), FLAT]
    mid = [FLAT, FLAT, (100.0, 112.0, 85.0, 100.0), FLAT]
    assert fills(leveraged_on(quoted(bid, ask, mid), propose(1, action)))[1] == (3.0, price, "LIQUIDATED")


@pytest.mark.parametrize(
    ("levels", "bar", "left"),
    [
        ({}, (100.0, 100.0, 85.0, 86.0), (3.0, 90.9, "LIQUIDATED")),
        ({"stop_loss": 95.0}, (100.0, 100.0, 94.0, 96.0), (3.0, 95.0, "STOP_LOSS")),
        ({"take_profit": 105.0}, (100.0, 106.0, 100.0, 104.0), (3.0, 105.0, "TAKE_PROFIT")),
    ],
)
def test_what_ends_inside_a_bar_ends_for_each_that_it_ends_for(levels: Row, bar: Any, left: tuple[float, float, str]) -> None:  # R3.1
    data = market({symbol: [FLAT, FLAT, bar, (86.0,) * 4] for symbol in "ABC"})
    result = leveraged_on(data, *(propose(1, symbol=symbol, **levels) for symbol in "ABC"))
    assert fills(result)[3:] == [left] * 3


def test_what_the_open_ends_it_ends_for_each() -> None:  # R1.4 R7.3
    data = market({symbol: [FLAT, FLAT, (80.0,) * 4, FLAT] for symbol in "ABC"})
    assert fills(leveraged_on(data, *(propose(1, symbol=symbol) for symbol in "ABC")))[3:] == [(2.0, 80.0, "LIQUIDATED")] * 3


def test_a_stop_that_the_open_passes_ends_each() -> None:  # R1.4 R2.4
    data = market({symbol: [FLAT, FLAT, (93.0,) * 4, FLAT] for symbol in "ABC"})
    result = leveraged_on(data, *(propose(1, symbol=symbol, stop_loss=95.0) for symbol in "ABC"))
    assert fills(result)[3:] == [(2.0, 93.0, "STOP_LOSS")] * 3


@pytest.mark.parametrize(("action", "price"), [(LONG, 80.0), (SHORT, 121.0)])
def test_a_liquidation_at_the_open_takes_the_open_of_the_exit_side(action: Action, price: float) -> None:  # R7.3
    opened = 80.0 if action == LONG else 120.0
    bid, ask, mid = ([FLAT, FLAT, (opened + apart,) * 4, FLAT] for apart in (0.0, 1.0, 0.5))
    assert fills(leveraged_on(quoted(bid, ask, mid), propose(1, action)))[1] == (2.0, price, "LIQUIDATED")


def test_a_mark_that_opens_at_the_price_is_enough() -> None:  # R7.3
    result = leveraged([FLAT, FLAT, (91.0, 95.0, 91.0, 95.0), FLAT], propose(1), maintenance_basis=ENTRY)
    assert fills(result)[1] == (2.0, 91.0, "LIQUIDATED")


def test_a_liquidation_is_on_the_tick_of_its_bar_s_open() -> None:  # R2.7 R7.3
    later = instrument(maintenance=(MarginTier(0.0, 0.01, 0.0),), rules=(Rules(at(3), Decimals(1, 1), Decimals(1, 1)),))
    assert fills(leveraged(CRASH, propose(1), instruments=(later,)))[1] == (3.0, 90.9, "LIQUIDATED")


def test_a_liquidation_at_less_than_one_has_a_price() -> None:  # R7.3
    penny = [(1.0,) * 4, (1.0,) * 4, (1.0, 1.0, 0.8, 0.8), (0.8,) * 4]
    assert fills(leveraged(penny, propose(1)))[1] == (3.0, 0.9, "LIQUIDATED")


def test_a_liquidation_that_the_tick_leaves_no_price_is_refused() -> None:  # R6.3
    coarse = instrument(tick=Decimals(200, 1), maintenance=(MarginTier(0.0, 0.01, 0.0),))
    chosen = settings(4, leverage=10.0, margin=MarginMode.ISOLATED, instruments=(coarse,))
    with pytest.raises(ReplayError, match="a fill of A rounds to a price of 0"):
        Session(market({"A": CRASH}), table(propose(1)), chosen).run()


@pytest.mark.parametrize(("fee", "insured"), [(0.0, []), (0.01, [1])])
def test_only_a_loss_beyond_the_margin_is_insured(fee: float, insured: list[int]) -> None:
    # R7.3: without maintenance the price is that at which the margin is gone: 800 - 80 of 8 lots, 90
    bare = instrument(maintenance=(MarginTier(0.0, 0.0, 0.0),))
    result = leveraged(CRASH, propose(1), instruments=(bare,), min_fee=fee)
    assert fills(result)[1] == (3.0, 90.0, "LIQUIDATED")
    assert [row["amount"] for row in of_kind(result, RecordKind.INSURANCE)] == insured


@pytest.mark.parametrize(("lots", "close", "end"), [(37.0, 73.0, "RUN_ENDED"), (40.0, 75.0, "LIQUIDATED_AT_CLOSE")])
def test_ruin_is_equity_of_nothing_and_not_of_a_unit(lots: float, close: float, end: str) -> None:  # R7.4
    fall = [FLAT, FLAT, (100.0, 100.0, close, close)]
    chosen: dict[str, Any] = {"leverage": 50.0, "decimals": 0, "cash": 1_000, "strategies": (strategy(SizeKind.FIXED_QTY, lots),)}
    result = agreed_replay(market({"A": fall}), table(propose(1)), settings(3, **chosen))
    assert fills(result)[1] == (3.0, close, end)


def test_what_is_left_of_a_position_keeps_its_share_of_the_margin() -> None:  # R7.2 R7.3
    # two of eight lots are sold at 3; (600 - 60) / (6 * 0.99) = 90.909...
    data = market({"A": [FLAT, FLAT, FLAT, (100.0, 100.0, 85.0, 86.0)]})
    data.columns["bars"]["volume"].setflags(write=True)
    data.columns["bars"]["volume"][:] = [100.0, 100.0, 2.0, 2.0]
    result = leveraged_on(data, propose(1), propose(3, Action.EXIT), participation=1.0)
    assert fills(result)[1:] == [(3.0, 100.0, "SIGNAL"), (4.0, 90.9, "LIQUIDATED")]
    assert [row["qty"] for row in of_kind(result, RecordKind.FILL)[1:]] == [2, 6]


def test_what_a_stop_could_not_sell_is_not_liquidated_in_the_same_bar() -> None:  # R2.6 R7.3
    data = market({"A": [FLAT, FLAT, (100.0, 100.0, 85.0, 97.0), (97.0,) * 4]})
    data.columns["bars"]["volume"].setflags(write=True)
    data.columns["bars"]["volume"][:] = [100.0, 2.0, 100.0, 100.0]
    result = leveraged_on(data, propose(1, stop_loss=95.0), participation=1.0)
    assert fills(result)[1:] == [(3.0, 95.0, "STOP_LOSS"), (3.0, 97.0, "STOP_LOSS")]
    assert [row["qty"] for row in of_kind(result, RecordKind.FILL)[1:]] == [2, 6]


def test_one_lot_is_liquidated_as_well() -> None:  # R7.3
    one = {"strategies": (strategy(SizeKind.FIXED_QTY, 1.0),)}
    assert fills(leveraged(CRASH, propose(1), **one))[-1] == (3.0, 90.9, "LIQUIDATED")  # (100 - 10) / 0.99
    cross = leveraged(CRASH, propose(1), margin=MarginMode.CROSS, cash=1_500, **one)
    assert fills(cross)[-1] == (3.0, 85.8, "LIQUIDATED")  # (100 - 15) / 0.99


def test_what_a_stake_gained_so_far_secures_nothing_twice() -> None:  # R6.1 R7.3
    both = (strategy(SizeKind.FIXED_QTY, 4.0, name="s"), strategy(SizeKind.FIXED_QTY, 4.0, name="t"))
    candles = [FLAT, FLAT, (104.0, 104.0, 104.0, 104.0), (104.0, 104.0, 85.0, 86.0), (86.0, 86.0, 86.0, 86.0)]
    rows = (propose(1), propose(2, strategy="t"))
    result = leveraged(candles, *rows, margin=MarginMode.CROSS, cash=10_000, strategies=both)
    # both cost 816, and 100 of wallet secure them: (816 - 100) / (8 * 0.99) = 90.40
    assert fills(result)[2:] == [(4.0, 90.4, "LIQUIDATED"), (4.0, 90.4, "LIQUIDATED")]


@pytest.mark.parametrize(
    ("action", "bar", "after", "target"),
    [(Action.ENTER_LONG, (100.0, 112.0, 88.0, 104.0), 105.0, 110.0), (SHORT, (100.0, 112.0, 88.0, 96.0), 95.0, 92.0)],
)
def test_the_adaptive_path_is_that_of_the_bar_itself(action: int, bar: tuple[float, ...], after: float, target: float) -> None:  # R3.3
    candles = [FLAT, FLAT, bar, (after, after, after, after)]
    result = leveraged(candles, propose(1, action, take_profit=target), intrabar=Intrabar.ADAPTIVE)
    assert fills(result)[-1][2] == "LIQUIDATED"


def test_an_equity_of_one_unit_is_no_ruin() -> None:  # R7.4
    candles = [FLAT, FLAT, (100.0, 100.0, 50.0, 50.0), (60.0, 60.0, 60.0, 60.0)]
    result = leveraged(candles, propose(1), cash=5_001, strategies=(strategy(SizeKind.FIXED_QTY, 1.0),), instruments=(instrument(),))
    assert fills(result)[-1] == (4.0, 60.0, "RUN_ENDED") and result.final_equity == 1_001


def test_a_stop_of_a_margined_position_pays_the_spread_known_when_its_bar_opened() -> None:  # R2.2
    spread = {"ts": [at(0.5), at(2.5)], "bid": [99.0, 95.0], "ask": [101.0, 105.0]}
    dataset = market({"A": [FLAT, FLAT, (100.0, 100.0, 94.0, 96.0), FLAT]}, spread={"A": spread})
    result = leveraged_on(dataset, propose(1, stop_loss=95.0))
    assert fills(result)[-1] == (3.0, 94.0, "STOP_LOSS")  # 95 * 0.99 = 94.05, at the tick below
