"""Intervals of shares and of positive means: within their bounds, and as published."""

import numpy as np
import pytest
from scipy import stats

from normjax import bounded, statistics

SEEDS = np.arange(10.0)


@pytest.mark.parametrize("level", [0.95, 0.99])
def test_wilson_is_scipys(level):
    for n in (1, 2, 10, 37):
        for count in range(n + 1):
            share, low, high, _ = bounded.wilson(count, n, level)
            wanted = stats.binomtest(count, n).proportion_ci(level, method="wilson")
            assert share == count / n
            assert low == pytest.approx(wanted.low, abs=1e-14)
            assert high == pytest.approx(wanted.high, abs=1e-14)
            assert 0 <= low <= share <= high <= 1


def test_a_share_of_nothing_is_not_known():
    assert np.isnan(bounded.wilson(0, 0)[:3]).all()
    assert bounded.wilson(0, 0).n == 0


def test_a_positive_mean_has_the_mean_in_an_interval_above_zero():
    """Student's interval of the last column begins below zero."""
    x = np.exp(np.outer(np.sin(SEEDS), [0.01, 0.5, 9.0]))
    student, found = statistics.mean_interval(x), bounded.positive_mean(x)
    np.testing.assert_array_equal(found.estimate, student.estimate)
    assert list(student.low > 0) == [True, True, False]
    assert (found.low > 0).all()
    assert (found.low < found.estimate).all()
    assert (found.estimate < found.high).all()
    widths = (student.high - student.estimate) / student.estimate
    np.testing.assert_allclose(np.log(found.high / found.estimate), widths, rtol=1e-12)
    np.testing.assert_allclose(np.log(found.estimate / found.low), widths, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1e6])
def test_the_unit_does_not_change_the_shape_of_the_interval(scale):
    x = 1 + np.sin(SEEDS) / 2
    one, other = bounded.positive_mean(x), bounded.positive_mean(scale * x)
    np.testing.assert_allclose(np.divide(other[:3], scale), one[:3], rtol=1e-13)


def test_one_seed_and_zeros_have_no_bounds():
    assert np.isnan(bounded.positive_mean(np.ones(1))[1:3]).all()
    zeros = bounded.positive_mean(np.zeros(10))
    assert zeros.estimate == 0
    assert np.isnan(zeros[1:3]).all()
    gone = bounded.positive_mean(np.array([1.0, 2.0, np.nan, 3.0]))
    assert gone == bounded.positive_mean(np.array([1.0, 2.0, 3.0]))


def test_exchanging_the_arms_mirrors_the_probability():
    a, b = np.sin(SEEDS), np.cos(3 * SEEDS)
    one, other = (bounded.probability_of_improvement(*x) for x in ((a, b), (b, a)))
    assert one.estimate == np.mean(a > b)
    assert one.estimate + other.estimate == pytest.approx(1, abs=1e-15)
    assert one.low == pytest.approx(1 - other.high, abs=1e-15)
    assert one.high == pytest.approx(1 - other.low, abs=1e-15)


def test_the_pairing_of_seeds_counts():
    """An arm that is a little better on each seed always wins, whatever the spread.

    Of pairs of any two seeds, as if they were not shared, it would win in 55 of 100.
    """
    a, b = SEEDS + 0.5, SEEDS
    assert bounded.probability_of_improvement(a, b).estimate == 1
    assert np.mean(a[:, np.newaxis] > b) == 0.55
    assert bounded.probability_of_improvement(a, a).estimate == 0.5


def test_a_profile_counts_the_seeds_above():
    at = np.array([-1.0, 0.0, 4.5, 9.0, 20.0])
    found = bounded.performance_profile(SEEDS, at)
    assert found.estimate.tolist() == [1.0, 0.9, 0.5, 0.0, 0.0]
    share, low, high, _ = bounded.wilson(5, 10)
    assert [x[2] for x in found[:3]] == [share, low, high]
    lost = np.where(SEEDS == 9, np.nan, SEEDS)
    assert bounded.performance_profile(lost, at).estimate.tolist() == [
        *(0.9, 0.8, 0.4, 0.0, 0.0)
    ]
