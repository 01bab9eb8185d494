"""Outlying seeds and means that they do not move, against scipy and Rosner."""

import numpy as np
import pytest
from scipy import stats

from benchmarks import coverage
from normjax import outliers, statistics

EPS = float(np.finfo(np.float64).eps)
ROSNER = """-0.25 0.68 0.94 1.15 1.20 1.26 1.26 1.34 1.38 1.43 1.49 1.49 1.55 1.56 1.58
1.65 1.69 1.70 1.76 1.77 1.81 1.91 1.94 1.96 1.99 2.06 2.09 2.10 2.14 2.15 2.23 2.24
2.26 2.35 2.37 2.40 2.47 2.54 2.62 2.64 2.90 2.92 2.92 2.93 3.21 3.26 3.30 3.59 3.68
4.30 4.64 5.34 5.42 6.01"""


def draws(*shape: int, key: int = 0) -> np.ndarray:
    return np.random.default_rng(key).normal(size=shape)


@pytest.mark.parametrize("n", [5, 10, 30])
def test_the_trimmed_mean_is_scipys(n):
    """Scipy takes Wilcox' standard error `s * sqrt(n) / h`; ours is Tukey's."""
    x = 3 + draws(n)
    kept = n - 2 * (n // 5)
    got = outliers.trimmed_mean(x)
    low, high = stats.mstats.trimmed_mean_ci(x, limits=(0.2, 0.2))
    tukey = np.sqrt((n - 1) * kept / (n * (kept - 1)))
    assert np.isclose(got.estimate, stats.trim_mean(x, 0.2), rtol=64 * EPS)
    assert np.isclose(got.high - got.low, (high - low) * tukey, rtol=256 * EPS)
    assert got.n == n


@pytest.mark.parametrize("n", [0, 1, 2, 4])
def test_below_five_seeds_nothing_is_trimmed(n):
    x = draws(n)
    got, expected = outliers.trimmed_mean(x), statistics.mean_interval(x)
    assert np.allclose(got, expected, rtol=64 * EPS, atol=0, equal_nan=True)
    assert not outliers.outlying(np.append(x[1:], 1e9)).any()


def test_a_wild_seed_does_not_move_it():
    """However far it is, it counts as the nearest kept value. The mean follows it."""
    x = np.sort(draws(10))
    far = np.append(x[:-1], 1e6)
    assert outliers.trimmed_mean(far) == outliers.trimmed_mean(x)
    assert outliers.outlying(far).tolist() == [False] * 9 + [True]
    assert statistics.mean_interval(far).estimate > 1e4


def test_columns_are_apart_and_what_is_not_finite_is_left_out():
    x = draws(12, 3)
    x[2, 1], x[5, 1], x[7, 2] = np.nan, np.inf, 40.0
    got, found = outliers.trimmed_mean(x), outliers.outlying(x)
    for j in range(3):
        column = x[np.isfinite(x[:, j]), j]
        assert np.allclose(
            [part[j] for part in got], outliers.trimmed_mean(column), rtol=64 * EPS
        )
        kept = found[np.isfinite(x[:, j]), j]
        assert kept.tolist() == outliers.outlying(column).tolist()
    assert np.argwhere(found).tolist() == [[7, 2]]


@pytest.mark.parametrize(
    ("num_equal", "num_far", "bounded"),
    [
        (5, 0, False),
        (6, 0, True),
        (4, 1, False),
        (8, 1, True),
        (9, 1, False),
        (11, 1, True),
    ],
)
def test_equal_values_have_bounds_if_there_are_enough(num_equal, num_far, bounded):
    """Six equal ones of six; with one far away 9 or 12 in all, not 5 or 10."""
    x = np.array([0.1] * num_equal + [9.0] * num_far)
    got = outliers.trimmed_mean(x)
    assert np.isclose(got.estimate, 0.1, rtol=8 * EPS)
    assert np.isfinite(got.low) == np.isfinite(got.high) == bounded


def test_rosners_example_has_three_outliers():
    """Only the third step is beyond its bound: to stop at the first finds none."""
    x = np.array(ROSNER.split(), float)
    found = outliers.outlying(x, error=0.05)
    assert x[found].tolist() == [5.34, 5.42, 6.01]


@pytest.mark.parametrize("x", [np.zeros(10), np.full(10, 0.1), np.full(6, np.nan)])
def test_equal_values_have_no_outlier(x):
    assert not outliers.outlying(x).any()


def test_two_collapses_do_not_hide_each_other():
    x = draws(10)
    x[[3, 8]] -= 20
    assert np.flatnonzero(outliers.outlying(x)).tolist() == [3, 8]
    largest = np.abs(x - x.mean()).max() / x.std(ddof=1)
    assert largest < 2.29  # Grubbs' bound at 5% for n = 10: one by one, none is found


def test_a_pair_is_outlying_in_an_arm_or_in_the_difference():
    shared, noise = 5 * draws(10), 0.1 * draws(10, key=1)
    a, b = shared.copy(), shared + noise
    a[2] += 3  # among the values of `a`, far from `b`
    assert not outliers.outlying(a).any()
    assert np.flatnonzero(outliers.outlying_pairs(a, b)).tolist() == [2]
    both = (shared - 60 * (np.arange(10) == 4), b - 60 * (np.arange(10) == 4))
    assert np.flatnonzero(outliers.outlying_pairs(*both)).tolist() == [4]


def test_normal_seeds_are_rarely_outlying():
    """20,000 samples gave 1.6%; of 4,000, four standard errors are 0.8%."""
    rate = outliers.outlying(draws(10, 4_000)).any(axis=0).mean()
    assert 0.008 < rate < 0.024


def test_the_trimmed_mean_covers_where_one_seed_in_ten_collapses():
    """95% of 4,000 samples, standard error 0.35%; four are 1.4%.

    Student's interval of the mean, -2, contains it in 65%: the samples that show a
    collapse.
    """
    x = coverage.collapsing(20.0)(np.random.default_rng(0), (10, 4_000))
    hits = coverage.contains(coverage.trimmed(x), -0.162).mean()
    assert 0.936 < hits < 0.964
    assert 0.62 < coverage.contains(coverage.student(x), -2.0).mean() < 0.68


def test_the_interquartile_mean_resamples_each_column():
    """Two seeds: each extreme has probability 1/4. Equal seeds have no spread."""
    assert outliers.interquartile_mean(np.array([1.0, 2.0])) == (1.5, 1.0, 2.0, 2)
    x = np.array([[0.0, 10.0], [0.0, 10.0]])
    assert outliers.interquartile_mean(x) == (5.0, 5.0, 5.0, 2)
    x = draws(8, 3)
    first, second = (outliers.interquartile_mean(x) for _ in "ab")
    assert first == second
    assert first.estimate == stats.trim_mean(x.T.ravel(), 0.25)
    assert first.low < first.estimate < first.high
    assert np.isnan(outliers.interquartile_mean(x[:1]).low)
