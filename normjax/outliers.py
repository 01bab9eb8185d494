"""Seeds that lie far from the others, and means that such seeds do not move.

One network of ten that collapses moves the mean, and no interval of a mean allows for
a collapse that most samples of ten seeds hardly show. A mean of the middle seeds has an
interval that holds there (docs/statistics.md has the simulations). What it estimates is
another number: the mean of the middle of the distribution.

Seeds are the first axis of every array. Values that are not finite are left out.
"""

import numpy as np
import scipy

from normjax import ties
from normjax.statistics import LEVEL, Interval, NumberOrArray, mean_interval

LEAST = 5  # seeds: of fewer, a fifth is no seed, and no test finds an outlier
CUT = 5  # one in CUT seeds is left out at either end
MOST_OUTLIERS = 3  # at most one in MOST_OUTLIERS seeds is an outlier
ERROR = 0.01  # probability that normal values have an outlier


def trimmed_mean(
    x: np.ndarray, level: float = LEVEL, *, resolution: float = 0.0
) -> Interval:
    """The mean without the g lowest and g highest values, g = floor(n / 5).

    The interval is that of Tukey and McLaughlin,
    `mean -+ t(h - 1) * sqrt((n - 1) / (h * (h - 1))) * s`, where `h = n - 2 g` values
    are kept and s is the standard deviation (ddof=1) of all n after each value that
    was left out is replaced by its nearest kept one. For n < 5 it is Student's. It is
    an interval of the mean of the middle 60% of the distribution, which is the mean
    itself if the distribution is symmetric.

    If all kept values are equal, the interval has no width. Then the bounds are nan,
    unless all n are equal and n is at least `ties.least(level)`, or the interval from
    the lowest to the highest kept value has the level as one of the median, which it
    contains with probability `1 - 2 * P(Binomial(n, 1/2) <= g)`: for 0.95 with 9 seeds,
    and with 12 or more.

    Args:
        x: [seeds, ...]; the bounds are nan for n = 1.
        level: confidence level, in (0, 1).
        resolution: values that differ by this or less are equal.

    References:
        Tukey and McLaughlin, 1963. Less Vulnerable Confidence and Significance
            Procedures for Location Based on a Single Sample. Sankhya A 25.
        Yuen, 1974. The Two-Sample Trimmed t for Unequal Population Variances.
            Biometrika 61.
    """
    x = _finite(x)
    if len(x) == 0:
        return mean_interval(x, level)
    n = np.isfinite(x).sum(0)
    cut = n // CUT
    kept = n - 2 * cut
    ordered = np.sort(x, axis=0)  # nan is last
    place = np.arange(len(x)).reshape(-1, *[1] * (x.ndim - 1))
    first = np.take_along_axis(ordered, cut[np.newaxis], axis=0)
    last = np.take_along_axis(ordered, np.maximum(n - cut - 1, 0)[np.newaxis], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = (place >= cut) & (place < n - cut)
        mean = np.where(middle, ordered, 0.0).sum(0) / kept
        moved = np.clip(ordered, first, last)
        used = np.isfinite(moved)
        centre = np.where(used, moved, 0.0).sum(0) / n
        squares = np.where(used, np.square(moved - centre), 0.0).sum(0)
        quantile = scipy.stats.t.ppf((1 + level) / 2, kept - 1)
        half = quantile * np.sqrt(squares / (kept * (kept - 1)))
    enough = 2 * scipy.stats.binom.cdf(cut, n, 0.5) <= 1 - level
    enough |= ties.all_equal(x, resolution) & (n >= ties.least(level))
    half = np.where(ties.all_equal(moved, resolution) & ~enough, np.nan, half)
    return Interval(mean, mean - half, mean + half, n)


def interquartile_mean(
    x: np.ndarray, level: float = LEVEL, *, num_resamples: int = 9_999
) -> Interval:
    """The mean of the middle half of all numbers, with the bootstrap of rliable.

    Floor(N / 4) of the N numbers are left out at either end. Each resample draws the
    seeds of each column anew, independently of the other columns (the strata), and the
    bounds are percentiles of its interquartile means. They are too close for few
    seeds: docs/statistics.md has the coverage.

    rliable draws 50,000 resamples by default, from a random key; the key is fixed here.

    Args:
        x: [seeds] or [seeds, columns], such as a column for each data set, all finite;
            the bounds are nan for fewer than two seeds.
        level: confidence level, in (0, 1).
        num_resamples: how many resamples are drawn.

    References:
        Agarwal et al., 2021. Deep Reinforcement Learning at the Edge of the
            Statistical Precipice. arXiv:2108.13264.
    """
    x = np.asarray(x, np.float64)
    columns = x.reshape(len(x), -1).T

    def middle_mean(*strata: np.ndarray, axis: int = 0) -> NumberOrArray:
        return scipy.stats.trim_mean(np.concatenate(strata, axis=axis), 0.25, axis=axis)

    if len(x) < 2:
        return Interval(middle_mean(*columns), np.nan, np.nan, len(x))
    drawn = scipy.stats.bootstrap(
        tuple(columns),
        middle_mean,
        n_resamples=num_resamples,
        confidence_level=level,
        method="percentile",
        vectorized=True,
        batch=max(1, 1_000_000 // x.size),
        rng=0,
    ).confidence_interval
    return Interval(middle_mean(*columns), drawn.low, drawn.high, len(x))


def outlying(x: np.ndarray, error: float = ERROR) -> np.ndarray:
    """Which values are outliers, [seeds, ...], by the generalized ESD test of Rosner.

    The value that is farthest from the mean, in standard deviations, is taken away,
    again and again, up to a third of the n values. With i - 1 values gone, the i-th
    distance is too large if it exceeds
    `(m - 1) * t / sqrt(m * (m - 2 + t^2))`, where `m = n - i + 1` are left and t is
    the quantile `1 - error / (2 m)` of Student's distribution with m - 2 degrees of
    freedom. The outliers are all that were taken away up to the last that is too far,
    so that several of them do not hide each other. None is found for n < 5.

    Normal values have an outlier with probability `error` if n is large, and 0.9 to
    1.8% for n = 5 to 20 and an error of 1% (simulated).

    References:
        Rosner, 1983. Percentage Points for a Generalized ESD Many-Outlier Procedure.
            Technometrics 25.
    """
    left = _finite(x)
    n = np.isfinite(left).sum(0)
    removed_in = np.zeros(left.shape, int)  # 0: never
    last = np.zeros(n.shape, int)
    for i in range(1, len(left) // MOST_OUTLIERS + 1):
        there = np.isfinite(left)
        m = n - i + 1
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(there, left, 0.0).sum(0) / m
            away = np.where(there, np.abs(left - mean), 0.0)
            spread = np.sqrt(np.square(away).sum(0) / (m - 1))
            t = scipy.stats.t.ppf(1 - error / (2 * m), m - 2)
            limit = (m - 1) * t / np.sqrt(m * (m - 2 + t**2))
        farthest = np.argmax(away, axis=0)[np.newaxis]
        distance = np.take_along_axis(away, farthest, axis=0)[0]
        tried = (n >= LEAST) & (i <= n // MOST_OUTLIERS)
        last = np.where(tried & (distance > limit * spread), i, last)
        np.put_along_axis(left, farthest, np.nan, axis=0)
        np.put_along_axis(removed_in, farthest, i, axis=0)
    return (removed_in > 0) & (removed_in <= last)


def outlying_pairs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Which pairs of two arms are outliers in `a`, in `b`, or in `a - b`.

    Both are [seeds, ...], the same seed at the same place.
    """
    a, b = _finite(a), _finite(b)
    return outlying(a) | outlying(b) | outlying(a - b)


def _finite(x: np.ndarray) -> np.ndarray:
    """A copy in float64, with nan for each value that is not finite."""
    x = np.asarray(x, np.float64)
    return np.where(np.isfinite(x), x, np.nan)
