"""Rolling means and crossings of the compiled code: every bit as Polars and a plain loop give them."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba.core import config

from features import frames
from features.crossings import crossings
from features.rolling_mean import rolling_means, window_of
from features.tree import read

VALUES = st.floats(-1e12, 1e12) | st.sampled_from([0.0, -0.0, 1e-300, 0.1])


def by_polars(values, window):
    return pl.Series(values).rolling_mean(window)


@given(
    arrays(np.float64, st.shared(st.integers(0, 60), key="rows"), elements=VALUES),
    arrays(np.float64, st.shared(st.integers(0, 60), key="rows"), elements=VALUES),
    st.lists(st.integers(2, 70), min_size=1, max_size=9),
)
def test_means_have_the_bits_of_polars(one, other, windows):
    columns = [(one, other, one[::-1])[i % 3] for i in range(len(windows))]
    for values, window, means in zip(columns, windows, rolling_means(columns, windows), strict=True):
        expected = by_polars(values, window).drop_nulls().to_numpy()
        assert means is not None and np.array_equal(means.view(np.int64), expected.view(np.int64))


@pytest.mark.parametrize("windows", [(2,), (20, 50), (50, 20, 7), (9, 8, 7, 6), (3, 50, 2, 20, 7), (20, 50) * 4 + (3,), (5, 2, 90) * 7])
def test_means_of_a_long_walk_have_the_bits_of_polars(windows):
    walk = 100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.01, 30_000)))
    for window, means in zip(windows, rolling_means([walk] * len(windows), windows), strict=True):
        assert np.array_equal(means, by_polars(walk, window).slice(window - 1).to_numpy())


def test_columns_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="columns of 5, 4 rows"):
        rolling_means([np.ones(5), np.ones(4)], [2, 2])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 5, 29])
def test_what_is_not_finite_is_left_to_polars(value, row):
    bad, good = np.arange(1.0, 31.0), np.arange(1.0, 31.0)
    bad[row] = value
    assert [means is None for means in rolling_means([bad, good], [3, 3])] == [True, False]
    feature = read(pl.col("x").rolling_mean(3))
    (column,) = frames.compute([{"x": bad}], [feature])[0].values()
    found = np.concatenate([np.full(column.first, np.nan), column.values])
    if not np.isnan(value):  # a gap splits the rows instead
        assert np.array_equal(found, by_polars(bad, 3).fill_null(np.nan).to_numpy(), equal_nan=True)


def test_only_plain_means_of_columns_are_taken(monkeypatch):
    plain = read(pl.col("close").rolling_mean(20))
    assert window_of(plain) == (0 if config.DISABLE_JIT else 20)
    close = pl.col("close")
    others = [
        close.rolling_mean(20, min_samples=5),
        close.rolling_mean(1),
        close.rolling_mean(3, weights=[1.0, 2.0, 1.0]),
        close.rolling_sum(20),
        close.shift(1).rolling_mean(20),
        close.rolling_mean(20) * 2,
    ]
    assert [window_of(read(expr)) for expr in others] == [0] * len(others)
    monkeypatch.setattr(config, "DISABLE_JIT", 1)
    assert window_of(plain) == 0


def test_many_columns_are_what_each_is_alone():
    rng = np.random.default_rng(5)
    features = [read(pl.col("close").rolling_mean(n)) for n in (5, 9)] + [read(pl.col("close").rolling_std(5))]
    loaded = [{"close": rng.normal(100, 1, 200)} for _ in range(5)]
    loaded[3]["close"][70] = np.nan
    for columns, together in zip(loaded, frames.compute(loaded, features), strict=True):
        alone = frames.compute([columns], features, 1)[0]
        for digest, column in together.items():
            assert column.first == alone[digest].first
            assert np.array_equal(column.values.view(np.int64), alone[digest].values.view(np.int64))


@given(
    arrays(np.float64, st.shared(st.integers(0, 40), key="n"), elements=st.sampled_from([1.0, 2.0, 3.0, np.nan])),
    arrays(np.float64, st.shared(st.integers(0, 40), key="n"), elements=st.sampled_from([1.0, 2.0, 3.0, np.nan])),
)
def test_crossings_are_those_of_a_plain_comparison(one, other):
    found, level, mirrored = crossings([(one, other), (one, 2.0), (2.0, one)])
    rows = range(1, len(one))
    assert found.over.tolist() == [i for i in rows if one[i] > other[i] and one[i - 1] <= other[i - 1]]
    assert found.under.tolist() == [i for i in rows if one[i] < other[i] and one[i - 1] >= other[i - 1]]
    assert level.over.tolist() == [i for i in rows if one[i] > 2.0 and one[i - 1] <= 2.0]
    assert mirrored.under.tolist() == level.over.tolist()


def test_a_column_without_rows_crosses_nothing():
    empty = pl.Series([], dtype=pl.Float64).to_numpy()  # at an address that is no memory
    for pair in ((1.0, empty), (empty, 1.0), (empty, empty), (empty, np.empty(0))):
        (found,) = crossings([pair])
        assert found.over.tolist() == found.under.tolist() == []
    assert crossings([]) == []


def test_means_need_room_for_all_of_them():
    with pytest.raises(ValueError, match="a room of 6 rows for 7 means"):
        rolling_means([np.ones(5), np.ones(5)], [2, 3], np.empty(6))
