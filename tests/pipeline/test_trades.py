"""Trades read from ledgers made by hand."""

from typing import Any

import numpy as np
import pytest

from engine.dataset import Dataset, from_columns
from engine.instrument import Decimals, Instrument
from engine.schema import AMBIGUOUS, MORE, RECORD, EventKind, Reason, RecordKind
from engine.settings import Settings, StrategySettings
from engine.tape import Tape, build_tape
from pipeline.trades import TRADE, excursions, sum_by, trades_of


def fill(
    ts: int,
    side: int,
    qty: int,
    position: int,
    price: float,
    realised: int = 0,
    fee: int = 0,
    symbol: int = 0,
    strategy: int = 0,
    **more: Any,
) -> list[dict[str, Any]]:
    common = {"ts": ts, "symbol": symbol, "strategy": strategy, "position": position}
    return [
        {**common, "kind": RecordKind.FILL, "side": side, "qty": qty, "price": price, "fee": fee, **more},
        {**common, "kind": RecordKind.POSITION, "qty": abs(position), "amount": realised},
    ]


def funding(ts: int, amount: int, symbol: int = 0, strategy: int = 0) -> list[dict[str, Any]]:
    return [{"ts": ts, "kind": RecordKind.FUNDING, "symbol": symbol, "strategy": strategy, "amount": amount}]


def records(*groups: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    rows = [row for group in groups for row in group]
    table = np.zeros(len(rows), RECORD)
    for record, row in zip(table, rows, strict=True):
        for name, value in row.items():
            record[name] = value
    return table


def test_profit_is_realised_less_fees_plus_funding() -> None:  # R6.4
    ledger = records(fill(1, 1, 10, 10, 100.0, fee=3), funding(2, -7), fill(3, -1, 10, 0, 110.0, realised=100, fee=4, reason=Reason.SIGNAL))
    trades, totals = trades_of(ledger, 1, 1)
    trade = trades[0]
    assert (trade["pnl"], trade["realised"], trade["fees"], trade["funding"]) == (86, 100, 7, -7)
    assert (trade["entry_ts"], trade["exit_ts"], trade["entry_price"], trade["exit_price"]) == (1, 3, 100.0, 110.0)
    assert Reason(trade["exit_reason"]) == Reason.SIGNAL
    assert totals.fills == 2
    assert totals.traded.tolist() == [10 * 100.0 + 10 * 110.0]


def test_several_fills_make_one_trade() -> None:  # R2.6
    first = fill(1, 1, 4, 4, 100.0, fee=1, reason=Reason.PARTIAL, flags=MORE)
    rest = fill(2, 1, 6, 10, 110.0, fee=2, reason=Reason.FILLED)
    part = fill(3, -1, 5, 5, 120.0, realised=70, fee=3, reason=Reason.STOP_LOSS, flags=MORE)
    last = fill(4, -1, 5, 0, 100.0, realised=-30, fee=4, reason=Reason.STOP_LOSS)
    trades, totals = trades_of(records(first, rest, part, last), 1, 1)
    (trade,) = trades
    assert (trade["entry_price"], trade["exit_price"], trade["lots"], trade["closed_lots"]) == (106.0, 110.0, 10, 10)
    assert (trade["realised"], trade["fees"], trade["pnl"], trade["exit_ts"], totals.fills) == (40, 10, 30, 4, 4)


def test_trades_of_interleaved_positions_are_kept_apart() -> None:
    ledger = records(
        fill(1, 1, 5, 5, 10.0, symbol=0, strategy=1),
        fill(1, -1, 4, -4, 20.0, symbol=1, strategy=0),
        funding(2, 11, symbol=1, strategy=0),
        fill(3, 1, 4, 0, 18.0, realised=8, symbol=1, strategy=0),
        fill(4, -1, 5, 0, 9.0, realised=-5, symbol=0, strategy=1),
        fill(5, 1, 1, 1, 9.0, symbol=0, strategy=1),
        funding(6, -2, symbol=0, strategy=1),
    )
    trades, _ = trades_of(ledger, 2, 2)
    assert trades["pnl"].tolist() == [-5, 19, -2]
    assert trades["open"].tolist() == [0, 0, 1]
    assert trades["side"].tolist() == [1, -1, 1]
    assert np.isnan(trades["exit_price"][2])


def test_a_reversal_of_two_fills_is_two_trades() -> None:  # R6.4
    ledger = records(
        fill(1, 1, 5, 5, 10.0), fill(2, -1, 5, 0, 11.0, realised=5), fill(2, -1, 3, -3, 11.0), fill(3, 1, 3, 0, 10.0, realised=3)
    )
    trades, _ = trades_of(ledger, 1, 1)
    assert trades["side"].tolist() == [1, -1]
    assert trades["pnl"].tolist() == [5, 3]


def test_prices_of_partial_fills_are_averaged_by_quantity() -> None:
    ledger = records(
        fill(1, 1, 1, 1, 10.0), fill(2, 1, 3, 4, 14.0), fill(3, -1, 2, 2, 20.0, realised=9), fill(4, -1, 2, 0, 10.0, realised=-1)
    )
    trades, _ = trades_of(ledger, 1, 1)
    assert len(trades) == 1
    assert trades["entry_price"][0] == 13.0
    assert trades["exit_price"][0] == 15.0
    assert trades["pnl"][0] == 8
    assert trades["lots"][0] == 4


def test_prices_of_inverse_contracts_are_averaged_by_coins() -> None:  # R6.2
    ledger = records(fill(1, 1, 1, 1, 10.0), fill(2, 1, 3, 4, 30.0), fill(3, -1, 2, 2, 20.0), fill(4, -1, 2, 0, 5.0))
    trades, totals = trades_of(ledger, 1, 1, np.array([True]))
    assert trades["entry_price"][0] == pytest.approx(4 / (1 / 10 + 3 / 30))  # 4 contracts of 0.2 coins
    assert trades["exit_price"][0] == pytest.approx(4 / (2 / 20 + 2 / 5))
    assert totals.traded.tolist() == [pytest.approx(0.2 + 0.5)]


def test_an_ambiguous_fill_marks_its_trade() -> None:  # R3.3
    ledger = records(fill(1, 1, 1, 1, 10.0), fill(2, -1, 1, 0, 9.0, flags=AMBIGUOUS))
    trades, totals = trades_of(ledger, 1, 1)
    assert trades["ambiguous"][0]
    assert totals.ambiguous == 1


def test_sums_by_code_are_exact_where_floats_are_not() -> None:
    large = 2**53
    assert sum_by(np.array([0, 0, 0]), np.array([large, 1, -large]), 1).tolist() == [1]


def test_no_fills_no_trades() -> None:
    assert len(trades_of(np.zeros(0, RECORD), 1, 1)[0]) == 0


def market(*bars: tuple[float, float, float, float], kind: str = "linear_perp") -> tuple[Dataset, Tape]:
    opens, highs, lows, closes = zip(*bars, strict=True)
    ts = np.arange(1, len(bars) + 1, dtype=np.int64)
    columns = {"open_ts": ts - 1, "ts": ts, "open": opens, "high": highs, "low": lows, "close": closes, "volume": np.ones(len(bars))}
    dataset = from_columns({"bars": {("A", "1us", 1): columns}})
    instrument = Instrument("A", kind, tick=Decimals(1, 100), lot=Decimals(1, 1))
    return dataset, build_tape(dataset, Settings(0, len(bars), 100, (instrument,), (StrategySettings("s"),)))


def trade(
    entry_ts: int,
    exit_ts: int,
    exit_price: float,
    exit_phase: EventKind,
    side: int = 1,
    entry_price: float = 100.0,
    entry_phase: EventKind = EventKind.BAR_OPEN,
) -> np.ndarray[Any, Any]:
    made = np.zeros(1, TRADE)
    for name, value in locals().items():
        if name in (TRADE.names or ()):
            made[name] = value
    return made


def test_excursions_are_of_bars_held_to_their_close_and_of_the_exit() -> None:
    _, tape = market((100, 104, 97, 101), (101, 110, 99, 100), (100, 130, 70, 100))
    found = excursions(trade(0, 2, 105.0, EventKind.BAR_OPEN), tape, 3)
    assert found.bars[0] == 2
    assert found.mfe[0] == pytest.approx(0.10)
    assert found.mae[0] == pytest.approx(-0.03)


def test_the_bar_of_a_stop_counts_but_its_range_does_not() -> None:
    _, tape = market((100, 104, 97, 101), (101, 150, 90, 100))
    found = excursions(trade(0, 2, 95.0, EventKind.BAR_PATH), tape, 2)
    assert found.bars[0] == 2
    assert found.mfe[0] == pytest.approx(0.04)
    assert found.mae[0] == pytest.approx(-0.05)


def test_of_the_bar_of_a_touch_entry_the_close_counts() -> None:  # R3.4
    _, tape = market((100, 150, 50, 101), (101, 104, 99, 100))
    found = excursions(trade(1, 2, 102.0, EventKind.BAR_OPEN, entry_phase=EventKind.BAR_PATH), tape, 2)
    assert found.bars[0] == 2
    assert found.mfe[0] == pytest.approx(0.04)
    assert found.mae[0] == pytest.approx(-0.01)
    same_bar = excursions(trade(1, 1, 97.0, EventKind.BAR_PATH, entry_phase=EventKind.BAR_PATH), tape, 2)
    assert (same_bar.bars[0], same_bar.mfe[0], same_bar.mae[0]) == (1, 0.0, pytest.approx(-0.03))


def test_a_stop_at_the_next_open_held_the_bar_before_to_its_close() -> None:
    _, tape = market((100, 150, 97, 101), (80, 81, 79, 80))
    found = excursions(trade(0, 1, 80.0, EventKind.BAR_OPEN), tape, 2)
    assert found.mfe[0] == pytest.approx(0.5)
    assert found.mae[0] == pytest.approx(-0.2)


def test_excursions_of_a_short_mirror_those_of_a_long() -> None:
    _, tape = market((100, 104, 97, 101), (101, 110, 99, 100))
    found = excursions(trade(0, 2, 105.0, EventKind.BAR_OPEN, side=-1), tape, 2)
    assert found.mfe[0] == pytest.approx(0.03)
    assert found.mae[0] == pytest.approx(-0.10)


@pytest.mark.parametrize(("side", "mfe", "mae"), [(1, 1 - 100 / 125, 1 - 100 / 80), (-1, 100 / 80 - 1, 100 / 125 - 1)])
def test_excursions_of_an_inverse_contract_are_fractions_of_its_coins(side: int, mfe: float, mae: float) -> None:  # R6.2
    _, tape = market((100, 125, 80, 101), (101, 110, 99, 100), kind="inverse_perp")
    found = excursions(trade(0, 2, 105.0, EventKind.BAR_OPEN, side=side), tape, 2)
    assert (found.mfe[0], found.mae[0]) == (pytest.approx(mfe), pytest.approx(mae))


def test_an_exit_in_the_bar_open_of_the_entry_has_no_bars() -> None:  # R2.5
    _, tape = market((100, 104, 97, 101))
    found = excursions(trade(0, 0, 99.0, EventKind.BAR_OPEN), tape, 1)
    assert found.bars[0] == 0
    assert found.mae[0] == pytest.approx(-0.01)
    assert found.mfe[0] == 0.0


def test_a_ledger_of_nothing_but_short_trades_has_room_for_all() -> None:
    groups = [fill(2 * i + side, 1 - 2 * side, 1, 1 - side, 100.0 + i) for i in range(50) for side in (0, 1)]
    trades, totals = trades_of(records(*groups), 1, 1)
    assert len(trades) == 50 and totals.fills == 100
    assert trades["entry_ts"].tolist() == [2 * i for i in range(50)]
    assert totals.traded.tolist() == [2 * sum(100.0 + i for i in range(50))]
