"""Real shares held through all their splits and dividends.  # R8.1 R8.2"""

import math
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from engine.dataset import ACTIONS, Dataset, open_dataset
from engine.instrument import Decimals, Instrument
from engine.ledger import Ledger, ledger_header
from engine.schema import RecordKind, SizeKind
from engine.session import ReplayResult
from engine.session import replay as replayed
from engine.settings import Settings, StrategySettings
from engine.tape import build_tape
from engine.verify import Totals, verify_ledger
from pipeline.buy_and_hold import buy_and_hold
from pipeline.ingest import ingest
from pipeline.trades import excursions, trades_of

DATA = os.environ.get("TAPELINE_DATA")
pytestmark = pytest.mark.skipif(DATA is None, reason="TAPELINE_DATA names no folder of market data")

SCALE = 10**6
SYMBOLS = ("AAPL", "AIG", "BAC", "IBM", "QQQ", "SPY", "USO")


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(ingest(Path(DATA or "") / "equity", tmp_path_factory.mktemp("data") / "equity").dest)


def held(shares: Dataset, symbol: str, qty: int) -> ReplayResult:
    """Bought at the second open of the data, held to the last close, without costs."""
    series = shares.find("bars", symbol)
    assert series is not None
    bars = shares.view("bars", series)
    instrument = Instrument(symbol, kind="equity", tick=Decimals(1, 10**6), lot=Decimals(1, 1), sessions=True)
    settings = Settings(
        start_us=int(bars["open_ts"][0]),
        end_us=int(bars["ts"][-1]),
        cash=10**8 * SCALE,
        decimals=6,
        instruments=(instrument,),
        strategies=(StrategySettings("hold", size=SizeKind.FIXED_QTY, amount=float(qty)),),
    )
    return replayed(shares, {"ts": [int(bars["ts"][0])], "symbol": [symbol], "strategy": ["hold"], "action": [0]}, settings)


def adjusted_profit(shares: Dataset, symbol: str, qty: int) -> tuple[int, int, int]:
    """Profit without dividends, dividends, and cash in lieu, on prices of the shares of the last day, exactly.

    All prices before a split are divided by its ratio, and the amount bought is that of the last day: no split is left in this world.
    """
    bars_series, actions_series = shares.find("bars", symbol), shares.find("actions", symbol)
    assert bars_series is not None
    assert actions_series is not None
    bars, actions = shares.view("bars", bars_series), shares.view("actions", actions_series)
    bought = int(bars["open_ts"][1])
    rows = [row for row in range(len(actions["ts"])) if actions["ts"][row] > bought]
    split_rows = [row for row in rows if ACTIONS[actions["kind"][row]] == "split"]
    splits = [(int(actions["ts"][row]), Fraction(int(actions["num"][row]), int(actions["den"][row]))) for row in split_rows]

    def ratio(ts: int) -> Fraction:
        """How many shares of the last day one share of a time is."""
        return math.prod((one for at, one in splits if at >= ts), start=Fraction(1))

    def price(number: float) -> Fraction:
        return Fraction(str(float(number)))

    units = qty * ratio(bought)
    cost = units * (price(bars["open"][1]) / ratio(bought))
    lost, paid = Fraction(0), 0
    for row in rows:
        ts = int(actions["ts"][row])
        if ACTIONS[actions["kind"][row]] == "dividend":
            paid += round(units * (price(actions["value"][row]) / ratio(ts + 1)) * SCALE)
        else:
            rest = units % ratio(ts + 1)  # what makes no whole share of that time
            lost += rest * (price(bars["close"][np.searchsorted(bars["ts"], ts, "right") - 1]) / ratio(ts))
            units -= rest
    final = units * price(bars["close"][-1])
    return round((final + lost - cost) * SCALE), paid, round(lost * SCALE)


def totals_of(result: ReplayResult) -> Totals:
    return verify_ledger(Ledger(result.records, result.symbols, result.strategies, ledger_header(result)))


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize("qty", [4_000, 101])
def test_shares_held_through_splits_and_dividends_earn_what_adjusted_prices_say(shares: Dataset, symbol: str, qty: int) -> None:
    result = held(shares, symbol, qty)
    totals = totals_of(result)
    profit, paid, lost = adjusted_profit(shares, symbol, qty)
    records = result.records
    in_lieu = records["amount"][records["kind"] == RecordKind.CASH_IN_LIEU]
    assert totals.dividends == paid
    assert abs(int(in_lieu.sum()) - lost) <= len(in_lieu)
    assert abs(result.final_equity - result.settings.cash - paid - profit) <= len(in_lieu) + 1


def test_all_splits_of_the_data_are_met(shares: Dataset) -> None:
    met = {symbol: int(np.count_nonzero(held(shares, symbol, 4_000).records["kind"] == RecordKind.SPLIT)) for symbol in SYMBOLS}
    assert met == {"AAPL": 4, "AIG": 4, "BAC": 1, "IBM": 1, "QQQ": 1, "SPY": 0, "USO": 1}


def test_a_trade_across_splits_has_prices_of_one_kind_of_share(shares: Dataset) -> None:
    result = held(shares, "AAPL", 4_000)
    trades, _ = trades_of(result.records, 1, 1)
    reach = excursions(trades, result.tape, int(result.sample_ts[-1]))
    (trade,) = trades
    assert (int(trade["lots"]), int(trade["cash_in_lieu"])) == (4_000 * 2 * 2 * 7 * 4, 0)
    entry = float(result.records["price"][result.records["kind"] == RecordKind.FILL][0])
    assert trade["entry_price"] == pytest.approx(entry / 112)
    assert trade["pnl"] == result.final_equity - result.settings.cash
    assert reach.mfe[0] > trade["exit_price"] / trade["entry_price"] - 1 > 100
    assert -0.3 < reach.mae[0] <= 0


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_yardstick_holds_through_splits_and_dividends(shares: Dataset, symbol: str) -> None:
    """A unit of cash put into whole shares by the replay does the same, but for what a lot leaves."""
    result = held(shares, symbol, 40_000)
    bought = result.records[result.records["kind"] == RecordKind.FILL][0]
    profit = (result.final_equity - result.settings.cash) / (bought["qty"] * bought["price"] * SCALE)
    tape = build_tape(shares, replace(result.settings, start_us=int(bought["ts"])))
    assert buy_and_hold(tape, sessions=True).total_return == pytest.approx(profit, rel=1e-3)
