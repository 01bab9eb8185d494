"""Intervals of numbers that have bounds: shares of seeds, and means above zero.

Student's interval of few seeds can leave the range of what it estimates. Those here
cannot. Seeds are the first axis of every array; no jax.
"""

import numpy as np
import scipy

from normjax import statistics, ties
from normjax.statistics import LEVEL, Interval, NumberOrArray


def positive_mean(x: np.ndarray, level: float = LEVEL) -> Interval:
    """The mean of numbers above zero, with Student's interval of its logarithm.

    The standard error of `log(m)` is that of the mean m divided by m (the delta
    method), so the bounds are `m / w` and `m * w` with
    `w = exp(t(n - 1) * std(x, ddof=1) / sqrt(n) / m)`. They are those of
    `statistics.mean_interval` where its interval is narrow, and never cross zero.
    For n = 3 to 10 draws (40,000 samples each) it contains the true mean in 95% of the
    cases if they are normal, 88 to 92% if their logarithm is normal with a standard
    deviation of 1; Student's interval does in 95% and in 82 to 84%.

    Args:
        x: [seeds, ...], not negative; entries that are not finite are left out. The
            bounds are nan where those of `statistics.mean_interval` are, or m is 0.
        level: confidence level, in (0, 1).

    References:
        Oehlert, 1992. A Note on the Delta Method. The American Statistician 46.
    """
    mean, _, high, n = statistics.mean_interval(x, level)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        factor = np.exp((high - mean) / mean)
        return Interval(mean, mean / factor, mean * factor, n)


def wilson(count: NumberOrArray, n: NumberOrArray, level: float = LEVEL) -> Interval:
    """The share `p = count / n` with Wilson's interval, which lies within [0, 1].

    Its bounds are the shares q with `abs(p - q) = z * sqrt(q * (1 - q) / n)`, where z
    is the normal quantile of the level. A count may be a half, for a tie. All are nan
    for n = 0.

    References:
        Wilson, 1927. Probable Inference, the Law of Succession. J. Am. Stat. Assoc. 22.
    """
    z = scipy.stats.norm.ppf((1 + level) / 2)
    n = np.asarray(n, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.divide(count, n)
        middle = (share + z**2 / n / 2) / (1 + z**2 / n)
        half = z * np.sqrt(share * (1 - share) / n + (z / n / 2) ** 2) / (1 + z**2 / n)
    low, high = np.minimum(middle - half, share), np.maximum(middle + half, share)
    return Interval(share, np.maximum(low, 0), np.minimum(high, 1), n)  # rounded


def probability_of_improvement(
    a: np.ndarray, b: np.ndarray, level: float = LEVEL
) -> Interval:
    """`P(a > b) + P(a = b) / 2` on the same seed: the share of pairs that `a` wins.

    The pairs are independent of each other, so the share has Wilson's interval. A tie
    counts as half a win; such scores vary less than wins and losses of the same mean,
    so the interval is too wide, if anything. Exchanging `a` and `b` gives 1 - P with
    exchanged bounds. The probability of improvement of Agarwal et al. (2021) compares
    every run of `a` with every run of `b`, for theirs share no seeds; what two arms
    have in common through a seed is taken out here.

    Args:
        a: [seeds]; a pair with a value that is not finite is left out, and so `n`.
        b: [seeds], the same seed at the same place.
        level: confidence level, in (0, 1).

    References:
        Agarwal et al., 2021. Deep Reinforcement Learning at the Edge of the
            Statistical Precipice. arXiv:2108.13264.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    used = np.isfinite(a) & np.isfinite(b)
    difference = np.where(used, a, 0) - np.where(used, b, 0)
    tied = np.abs(difference) <= ties.rounding(a[used], b[used])
    wins = np.where(tied, 0.5, difference > 0)
    return wilson(float(wins[used].sum()), int(used.sum()), level)


def performance_profile(
    x: np.ndarray, at: np.ndarray, level: float = LEVEL
) -> Interval:
    """The share of seeds with a value above each of `at`, with Wilson's intervals.

    The intervals are pointwise: at each place 95% of studies cover the truth, and fewer
    cover all of the curve.

    Args:
        x: [seeds]; a value that is not finite is above nothing.
        at: [points].
        level: confidence level, in (0, 1).

    References:
        Dolan and Moré, 2002. Benchmarking Optimization Software with Performance
            Profiles. Mathematical Programming 91.
        Agarwal et al., 2021. Deep Reinforcement Learning at the Edge of the
            Statistical Precipice. arXiv:2108.13264.
    """
    x = np.where(np.isfinite(x), np.asarray(x, np.float64), -np.inf)
    above = (x[:, np.newaxis] > at).sum(0)
    return wilson(above, np.full(len(above), len(x)), level)
