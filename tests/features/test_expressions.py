"""Values and warm-up of the expressions: TA-Lib's where it has them, a plain loop's where it has not."""

import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features import expressions as x
from features.catalogue import FACTORIES
from features.causality import check
from features.tree import read
from tests.features.markets import walk

DATA = os.environ.get("TAPELINE_DATA")

TALIB = {
    "SMA": x.sma("close", 20),
    "EMA": x.ema("close", 20),
    "WMA": x.wma("close", 20),
    "RSI": x.rsi("close", 14),
    "ATR": x.atr(14),
    "TRANGE": x.true_range(),
    "ROC": x.roc("close", 10),
    "ROCP": x.returns("close", 10),
    "STDDEV": x.std("close", 20),
    "MAX": x.maximum("close", 20),
    "MIN": x.minimum("close", 20),
    "TYPPRICE": x.typical_price(),
    "CORREL": x.corr("high", "low", 30),
    **{f"BBANDS.{part}band": expr for part, expr in x.bollinger("close", 20, 2.0).items()},
    **dict(zip(("MACD.macd", "MACD.macdsignal", "MACD.macdhist"), x.macd().values(), strict=True)),
    **dict(zip(("STOCH.slowk", "STOCH.slowd"), x.stochastic(14, 3, 3).values(), strict=True)),
    **dict(zip(("ADX", "PLUS_DI", "MINUS_DI"), x.adx(14).values(), strict=True)),
}


def assert_equal(got, want):
    assert np.array_equal(np.isnan(got), np.isnan(want)), "another warm-up"
    known = ~np.isnan(want)
    assert np.all(np.abs(got[known] - want[known]) <= 1e-9 * np.maximum(1.0, np.abs(want[known])))


@pytest.mark.skipif(not DATA, reason="TAPELINE_DATA is not set")
@pytest.mark.parametrize("name", TALIB)
def test_expression_equals_the_stored_talib_result(name):
    folder = Path(DATA) / "conformance"
    assert name in json.loads((folder / "talib.json").read_text())["columns"]
    for (_symbol,), rows in pl.read_parquet(folder / "talib.parquet").group_by("symbol", maintain_order=True):
        assert_equal(rows.select(TALIB[name].alias("got"))["got"].to_numpy(), rows[name].to_numpy())


def talib_cases(talib, h, low, c):
    for n in (2, 3, 14, 50):
        yield x.sma("close", n), talib.SMA(c, n)
        yield x.ema("close", n), talib.EMA(c, n)
        yield x.wma("close", n), talib.WMA(c, n)
        yield x.rsi("close", n), talib.RSI(c, n)
        yield x.atr(n), talib.ATR(h, low, c, n)
        yield x.roc("close", n), talib.ROC(c, n)
        yield x.std("close", n), talib.STDDEV(c, n)
        yield x.adx(n)["index"], talib.ADX(h, low, c, n)
        yield x.adx(n)["plus"], talib.PLUS_DI(h, low, c, n)
        yield x.adx(n)["minus"], talib.MINUS_DI(h, low, c, n)
        yield x.donchian(n)["upper"], talib.MAX(h, n)
        yield x.donchian(n)["lower"], talib.MIN(low, n)
    for fast, slow, signal in ((12, 26, 9), (3, 7, 5)):
        yield from zip(x.macd("close", fast, slow, signal).values(), talib.MACD(c, fast, slow, signal), strict=True)
    for n, k, d in ((14, 3, 3), (5, 1, 4)):
        yield from zip(x.stochastic(n, k, d).values(), talib.STOCH(h, low, c, n, k, 0, d, 0), strict=True)
    yield from zip(x.bollinger("close", 10, 1.5).values(), talib.BBANDS(c, 10, 1.5, 1.5), strict=True)


@pytest.mark.parametrize("seed", range(3))
def test_expression_equals_talib_on_random_bars(seed):
    talib = pytest.importorskip("talib")
    rows = walk(400, seed)
    frame = pl.DataFrame({name: values for name, values in rows.items() if name != "open_ts"})
    for expr, want in talib_cases(talib, rows["high"], rows["low"], rows["close"]):
        assert_equal(frame.select(expr.alias("got"))["got"].to_numpy(), want)


def test_flat_prices_give_a_bounded_oscillator():
    flat = pl.DataFrame(dict.fromkeys(("open", "high", "low", "close", "volume"), [5.0] * 40))
    got = flat.select(x.rsi().alias("rsi"), x.stochastic()["k"].alias("k"), x.adx()["index"].alias("adx"), x.zscore().alias("z"))
    assert got["rsi"][-1] == got["k"][-1] == got["adx"][-1] == 0.0
    assert got["z"].null_count() == 40


def windows(values, n):
    return np.lib.stride_tricks.sliding_window_view(values, n)


def naive(rows):
    c, v = rows["close"], rows["volume"]
    log = np.log(c[1:] / c[:-1])
    typical = (rows["high"] + rows["low"] + c) / 3
    mean, sd = windows(c, 10).mean(1), windows(c, 10).std(1)
    centred = windows(c, 10) - mean[:, None]
    return [
        (x.median("close", 10), np.median(windows(c, 10), 1)),
        (x.quantile("close", 10, 0.3), np.quantile(windows(c, 10), 0.3, axis=1)),
        (x.rank("close", 10), (windows(c, 10) <= c[9:, None]).sum(1) / 10),
        (x.skew("close", 10), (centred**3).mean(1) / (centred**2).mean(1) ** 1.5),
        (x.zscore("close", 10), (c[9:] - mean) / sd),
        (x.vwap(10), windows(typical * v, 10).sum(1) / windows(v, 10).sum(1)),
        (x.realised_volatility("close", 10, 365), windows(log, 10).std(1, ddof=1) * np.sqrt(365)),
        (x.log_returns("close", 1), log),
        (x.lag("close", 4), c[:-4]),
        (x.corr("close", "volume", 10), [np.corrcoef(a, b)[0, 1] for a, b in zip(windows(c, 10), windows(v, 10), strict=True)]),
    ]


def test_expression_equals_a_plain_computation():
    rows = walk(120, 7)
    frame = pl.DataFrame(rows)
    for expr, want in naive(rows):
        got = frame.select(expr.alias("got"))["got"].to_numpy()
        assert_equal(got, np.r_[np.full(120 - len(want), np.nan), want])


def test_keltner_is_an_ema_with_true_ranges():
    frame = pl.DataFrame(walk(60))
    bands = x.keltner(10, 2.0, 5)
    got = frame.select(upper=bands["upper"], lower=bands["lower"], ema=x.ema("close", 10), atr=x.atr(5)).drop_nulls()
    assert got.select(((pl.col("upper") - pl.col("ema") - 2 * pl.col("atr")).abs() < 1e-9).all()).item()
    assert got.select(((pl.col("ema") - pl.col("lower") - 2 * pl.col("atr")).abs() < 1e-9).all()).item()


@pytest.mark.parametrize("name", FACTORIES)
def test_every_expression_passes_the_gate_and_knows_its_lookback(name):
    made = FACTORIES[name]()
    frame = pl.DataFrame(walk(200))
    for expr in made.values() if isinstance(made, dict) else [made]:
        feature = read(expr)
        check(feature, name)
        got = frame.select(expr.alias("got"))["got"]
        assert got.null_count() == feature.lookback
        assert got[feature.lookback :].null_count() == 0


@pytest.mark.parametrize("name", FACTORIES)
def test_every_expression_is_documented(name):
    assert "ookback" in (FACTORIES[name].__doc__ or "") or FACTORIES[name].__module__.endswith("rolling")
