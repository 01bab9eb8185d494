"""Candidates for an interval of 95% over seeds; `coverage` simulates them."""

import math
import warnings
from collections.abc import Callable

import numpy as np
from scipy import stats

from normjax import outliers, statistics
from normjax.statistics import LEVEL

RESAMPLES = 999
Bounds = tuple[np.ndarray, np.ndarray]  # of [seeds, studies], each [studies]


def student(x: np.ndarray) -> Bounds:
    """Of the means of [seeds, studies]."""
    return statistics.mean_interval(x)[1:3]


def trimmed(x: np.ndarray) -> Bounds:
    """Of the 20% trimmed means."""
    return outliers.trimmed_mean(x)[1:3]


def median(x: np.ndarray) -> Bounds:
    """Of the medians, from the k-th lowest to the k-th highest."""
    n, ordered = len(x), np.sort(x, axis=0)
    k = int(stats.binom.ppf((1 - LEVEL) / 2, n, 0.5))
    unknown = np.full(x.shape[1], np.nan)
    return (ordered[k - 1], ordered[n - k]) if k > 0 else (unknown, unknown)


def bca(x: np.ndarray) -> Bounds:
    """Of the means, by the bias-corrected and accelerated bootstrap."""
    return _bootstrap(x, np.mean, "BCa")


def interquartile(x: np.ndarray) -> Bounds:
    """Of the interquartile means, by the percentile bootstrap."""
    mean = lambda x, axis: stats.trim_mean(x, 0.25, axis=axis)
    return _bootstrap(x, mean, "percentile")


def _bootstrap(x: np.ndarray, statistic: Callable, method: str) -> Bounds:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # resamples without spread
        found = stats.bootstrap(
            (x,),
            statistic,
            axis=0,
            n_resamples=RESAMPLES,
            batch=100,
            method=method,
            vectorized=True,
            rng=0,
        ).confidence_interval
    return found.low, found.high


def studentized(x: np.ndarray) -> Bounds:
    """Of the means, by the bootstrap of `(mean* - mean) / standard error*`."""
    generator, n = np.random.default_rng(0), len(x)
    mean, error = x.mean(0), x.std(0, ddof=1) / math.sqrt(n)
    ratios = np.empty((RESAMPLES, x.shape[1]))
    with np.errstate(all="ignore"):  # a resample without spread is at infinity
        for i in range(RESAMPLES):
            again = np.take_along_axis(x, generator.integers(0, n, x.shape), axis=0)
            moved = again.mean(0) - mean
            standard = again.std(0, ddof=1) / math.sqrt(n)
            ratios[i] = np.where(moved == 0, 0.0, moved / standard)
        tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
        low, high = np.quantile(ratios, tails, axis=0, method="inverted_cdf")
        return mean - high * error, mean - low * error


INTERVALS: dict[str, tuple[Callable[[np.ndarray], Bounds], str, int]] = {
    "mean, Student": (student, "mean", 1),
    "mean, BCa": (bca, "mean", 10),
    "mean, studentized": (studentized, "mean", 10),
    "trimmed mean": (trimmed, "trimmed mean", 1),
    "IQM, percentile": (interquartile, "interquartile", 10),
    "median": (median, "median", 1),
}
