"""The simulated market: its address, and what its data must look like to a replay."""

import time
from fractions import Fraction

import numpy as np
import pytest

from engine.dataset import ACTIONS, Dataset, DatasetError
from engine.schema import DAY_US
from pipeline.demo import INTERVALS, build, parse
from pipeline.simulation import FUNDING_US

SPEC = "demo://perps?symbols=6&days=40&interval=1h&seed=7"


@pytest.fixture(scope="module")
def market() -> Dataset:
    return build(SPEC)


def test_same_address_gives_the_same_data_and_another_seed_other_data(market: Dataset) -> None:
    assert build("demo://perps?seed=7&interval=1h&days=40&symbols=6").id == market.id  # R9.1
    assert build(SPEC.replace("seed=7", "seed=8")).id != market.id


def test_data_do_not_depend_on_the_version_of_numpy(market: Dataset) -> None:
    closes = market.view("bars", market.series["bars"][0])["close"][:3]
    assert closes.tolist() == [39076.4, 38772.1, 37605.7]


def test_a_symbol_is_the_same_whatever_the_number_of_symbols(market: Dataset) -> None:
    more = build(SPEC.replace("symbols=6", "symbols=9"))
    first = market.series["bars"][0]
    assert np.array_equal(market.view("bars", first)["close"], more.view("bars", more.series["bars"][0])["close"])


def test_says_that_it_is_simulated(market: Dataset) -> None:
    assert market.info == {"simulated": True, "source": SPEC}


def test_prices_lie_on_the_tick_and_opens_follow_closes(market: Dataset) -> None:
    for series in market.series["bars"]:
        bars = market.view("bars", series)
        power = Fraction(market.instruments[series.symbol]["tick"]).denominator
        for name in ("open", "high", "low", "close"):
            assert np.array_equal(np.rint(bars[name] * power) / power, bars[name])
        assert np.all(np.abs(bars["open"][1:] - bars["close"][:-1]) * power < 1.01)


def test_candles_and_marks_hold_their_own_opens_and_closes(market: Dataset) -> None:
    for kind in ("bars", "marks"):
        columns = market.columns[kind]
        assert np.all(columns["high"] >= np.maximum(columns["open"], columns["close"]))
        assert np.all(columns["low"] <= np.minimum(columns["open"], columns["close"]))
        assert np.all(columns["low"] > 0)
    assert np.all(market.columns["bars"]["volume"] >= 0)
    assert np.array_equal(market.columns["bars"]["ts"], market.columns["marks"]["ts"])


def test_spreads_are_not_crossed_and_lie_around_the_close(market: Dataset) -> None:
    spread = market.columns["spread"]
    assert np.all(spread["ask"] > spread["bid"])
    series = market.find("spread", market.symbols[0])
    bars = market.find("bars", market.symbols[0])
    assert series is not None and bars is not None
    quotes, close = market.view("spread", series), market.view("bars", bars)["close"]
    assert np.all((quotes["bid"][1:] <= close) & (quotes["ask"][1:] >= close))


def test_spreads_widen_with_volatility() -> None:
    market = build("demo://perps?symbols=1&days=120")
    quotes, close = market.columns["spread"], market.columns["bars"]["close"]
    width = (quotes["ask"] - quotes["bid"])[1:] / close
    day = np.abs(np.diff(np.log(close), prepend=np.log(close[0]))).reshape(-1, 24).mean(axis=1)
    assert np.corrcoef(width.reshape(-1, 24).mean(axis=1), day)[0, 1] > 0.5


def test_funding_settles_every_eight_hours_at_the_mark(market: Dataset) -> None:
    symbol = market.symbols[0]
    funding, marks = market.find("funding", symbol), market.find("marks", symbol)
    assert funding is not None and marks is not None
    paid, marked = market.view("funding", funding), market.view("marks", marks)
    assert set(np.diff(paid["ts"])) == {FUNDING_US}
    at = np.searchsorted(marked["ts"], paid["ts"])
    assert np.array_equal(marked["close"][at], paid["mark"])
    assert 0 < np.abs(paid["rate"]).max() < 0.01


def test_symbols_move_together_and_volatility_clusters() -> None:
    market = build("demo://perps?symbols=8&days=200")
    whole = [s for s in market.series["bars"] if s.stop - s.start == 200 * 24]
    returns = np.array([np.diff(np.log(market.view("bars", s)["close"])) for s in whole])
    assert len(whole) == 6
    assert np.corrcoef(returns)[np.triu_indices(6, 1)].min() > 0.2
    daily = np.abs(returns[:, :4776]).reshape(6, -1, 24).mean(axis=2)
    assert np.mean([np.corrcoef(row[1:], row[:-1])[0, 1] for row in daily]) > 0.2


def test_one_symbol_lists_late_and_one_is_delisted(market: Dataset) -> None:
    first = {s.symbol: int(market.view("bars", s)["open_ts"][0]) for s in market.series["bars"]}
    last = {s.symbol: int(market.view("bars", s)["ts"][-1]) for s in market.series["bars"]}
    assert sorted(first.values())[-2:] == [min(first.values()), min(first.values()) + 12 * DAY_US]
    gone = min(last, key=last.__getitem__)
    assert last[gone] == max(last.values()) - 10 * DAY_US
    (row,) = market.series["actions"]
    action = market.view("actions", row)
    assert (row.symbol, action["ts"].tolist(), action["kind"].tolist()) == (gone, [last[gone]], [ACTIONS.index("delist")])
    listing = market.find("universe", gone)
    assert listing is not None
    rows = market.view("universe", listing)
    assert rows["listed"].tolist() == [1, 0] and rows["ts"][1] <= last[gone]
    for symbol in market.symbols:
        series = market.find("universe", symbol)
        assert series is not None and market.view("universe", series)["ts"][0] == first[symbol]


@pytest.mark.parametrize("interval", INTERVALS)
def test_every_interval_is_whole_and_without_gaps(interval: str) -> None:
    market = build(f"demo://perps?symbols=3&days=5&interval={interval}")
    bars = market.view("bars", market.series["bars"][0])
    assert len(bars["ts"]) == 5 * DAY_US // INTERVALS[interval]
    assert np.array_equal(bars["open_ts"][1:], bars["ts"][:-1])


def test_twenty_symbols_and_a_year_of_hours_take_less_than_two_seconds() -> None:
    begun = time.perf_counter()
    market = build("demo://perps")
    assert time.perf_counter() - begun < 2
    assert len(market.symbols) == 20 and len(market.columns["bars"]["ts"]) > 170_000


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("demo://perps?symbol=3", "unknown key 'symbol'; did you mean 'symbols'"),
        ("demo://perps?colour=3", "unknown key 'colour'; known are symbols"),
        ("demo://perps?symbols=0", "symbols='0'; a whole number from 1 to 500"),
        ("demo://perps?symbols=-3", "symbols='-3'"),
        ("demo://perps?symbols=1e2", "symbols='1e2'"),
        ("demo://perps?symbols=", "symbols=''"),
        ("demo://perps?days=١٢", "days="),
        ("demo://perps?days=4000", "a whole number from 1 to 3650"),
        ("demo://perps?interval=1H", "did you mean '1h'"),
        ("demo://perps?interval=7m", "allowed are 1m"),
        ("demo://perps?days=3&days=4", "given twice"),
        ("demo://perps?days", "key=value"),
        ("demo://spot?days=3", "only simulated market is 'perps'"),
        ("demo://perps/x?days=3", "only simulated market is 'perps'"),
        ("demo:perps", "not an address"),
        ("demo://[x?days=1", "only simulated"),
        ("perps", "not an address"),
        ("demo://perps?symbols=500&days=3650&interval=1m", "the limit is 50,000,000"),
    ],
)
def test_a_wrong_address_is_refused_by_name(spec: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message.replace("?", r"\?")):
        parse(spec)
