"""Numbers over seeds: intervals, paired differences, stability, time to a target.

Seeds are the first axis of every array. Pure functions of NumPy arrays: nothing here
reads a record, formats a number or imports jax.
"""

import bisect
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95  # of every interval in a report
EXACT_SEEDS = 12  # up to here all 2^n sign flips are enumerated
MOST_SEEDS = 10_000  # beyond which nobody is told to go


class Interval(NamedTuple):
    """An estimate with its bounds, nan where the seeds are too few to have any."""

    estimate: float | np.ndarray
    low: float | np.ndarray
    high: float | np.ndarray
    n: int | np.ndarray  # seeds (or epochs, of seconds) that were used


class Difference(NamedTuple):
    """An interval of a paired comparison and the p-value of "there is none"."""

    estimate: float
    low: float
    high: float
    n: int  # pairs that were used
    p: float


class TimeToTarget(NamedTuple):
    """How long the seeds took to a target, and how many of them reached it."""

    median: Interval  # steps; inf = never
    share: Interval  # of the seeds, in [0, 1]


def mean_interval(x: np.ndarray, level: float = LEVEL) -> Interval:
    """Student's interval `mean(x) -+ t(n - 1) * std(x, ddof=1) / sqrt(n)`.

    Args:
        x: [seeds, ...]; entries that are not finite are left out, and `n` says how
            many were used.
        level: of the interval, in (0, 1).

    Returns:
        Interval of the trailing shape of `x`; nan bounds for n = 1.

    References:
        Student, 1908. The Probable Error of a Mean.
    """
    x = np.asarray(x, np.float64)
    used = np.isfinite(x)
    n = used.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(used, x, 0.0).sum(0) / n
        squares = np.where(used, np.square(x - mean), 0.0).sum(0)
        half = stats.t.ppf((1 + level) / 2, n - 1) * np.sqrt(squares / (n - 1) / n)
    return Interval(mean, mean - half, mean + half, n)


def paired_difference(a: np.ndarray, b: np.ndarray) -> Difference:
    """`mean(a - b)` over seeds: Student's interval and the sign-flip test.

    Two arms that share their seeds share initial weights and batches, so the spread
    that both have drops out of `a - b`. Under "no difference" every sign of every
    `a - b` is as likely as the other: `p` is the share of the 2^n sign patterns with
    a mean at least as far from 0, exact up to n = 12, from 9,999 drawn patterns (of
    a fixed key) beyond. No p is below 2 / 2^n: five seeds cannot reach 0.05.

    Args:
        a: [seeds]; a pair with a value that is not finite is left out.
        b: [seeds], the same seed at the same place.

    References:
        Fisher, 1935. The Design of Experiments, section 21.
    """
    pairs = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    pairs = pairs[np.isfinite(pairs)]
    p = np.nan if len(pairs) == 0 else 1.0
    if len(pairs) > 1:
        p = stats.permutation_test(
            (pairs,),
            np.mean,
            permutation_type="samples",
            vectorized=True,
            n_resamples=np.inf if len(pairs) <= EXACT_SEEDS else 9_999,
            rng=0,
        ).pvalue
    return Difference(*mean_interval(pairs), p)


def median_interval(x: np.ndarray) -> Interval:
    """Median with the interval of order statistics, whatever the distribution.

    For the largest k with `1 - 2 * P(Binomial(n, 1/2) < k) >= 0.95` it runs from the
    k-th smallest to the k-th largest; that needs n >= 6.

    Args:
        x: [n], none of them nan; inf is later than any.

    Returns:
        Interval; nan bounds for n < 6.

    References:
        Thompson, 1936. On Confidence Ranges for the Median.
    """
    x = np.sort(np.asarray(x, np.float64))
    n = len(x)
    k = int(stats.binom.ppf((1 - LEVEL) / 2, n, 0.5))  # P(Binomial < k) <= tail
    bounds = (x[k - 1], x[n - k]) if k > 0 else (np.nan, np.nan)
    return Interval(np.median(x), *bounds, n)


def stability(losses: np.ndarray) -> Interval:
    """`mean over epochs of var(losses over seeds, ddof=1)`, in nats^2: small is stable.

    The interval is Miller's jackknife of the logarithm: with `v` the statistic and
    `v_i` the same without seed i, the pseudo-values

        s_i = n * log(v) - (n - 1) * log(v_i)

    behave like n independent draws whose mean estimates log(v), so that
    `exp(mean(s) -+ t(n - 1) * std(s, ddof=1) / sqrt(n))` is an interval of v. Whole
    seeds are left out, since the epochs of one seed go together.

    Why not the percentile bootstrap: a resample of n seeds has on average n (1 - 1/n)
    of their variance, a factor 0.9 too low at n = 10, and its quantiles are those of
    v given these seeds, whose log is skewed to the left as that of chi^2 is, where an
    interval has to be skewed to the right. For n = 10 and normal losses (simulated:
    1 or 10 epochs, correlated by 0 or 0.8) it holds the truth in 76 to 78% of the
    cases, this one in 93 to 96%, and in 88% for t(5) tails; see
    tests/test_statistics.py.

    Args:
        losses: [seeds, epochs]; a seed with a loss that is not finite is left out
            (a diverged network is counted elsewhere).

    Returns:
        Interval whose estimate is `v` itself; nan bounds for n < 3 or v = 0.

    References:
        Miller, 1968. Jackknifing Variances. Ann. Math. Stat. 39.
        Miller, 1974. The Jackknife: A Review. Biometrika 61.
    """
    losses = _finite_rows(losses)
    _, *bounds, _ = mean_interval(_pseudo_values(losses))
    return Interval(_variance(losses), *np.exp(bounds), len(losses))


def stability_ratio(a: np.ndarray, b: np.ndarray) -> Interval:
    """`stability(a) / stability(b)`: jackknife of the log ratio, seed by seed.

    Leaving the same seed out of both keeps what the arms share by sharing seeds.

    Args:
        a: [seeds, epochs]; a seed with a loss that is not finite is left out of both.
        b: [seeds, epochs], the same seed at the same place.
    """
    both = _finite_rows(np.stack([a, b], axis=1))
    a, b = both[:, 0], both[:, 1]
    pseudo_values = _pseudo_values(a) - _pseudo_values(b)
    _, *bounds, _ = mean_interval(pseudo_values)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.divide(_variance(a), _variance(b))
    return Interval(ratio, *np.exp(bounds), len(both))


def time_to_target(
    steps: np.ndarray, accuracy: np.ndarray, target: float
) -> TimeToTarget:
    """Median steps until `accuracy >= target`, and the share of seeds that got there.

    A seed that never does counts as inf, so the median needs no model of what would
    have come later. Its interval is that of `median_interval`, the share has
    Wilson's.

    Args:
        steps: [evals], increasing.
        accuracy: [seeds, evals] at those steps; nan has not reached the target.
        target: least accuracy that counts as reached.

    References:
        Wilson, 1927. Probable Inference, the Law of Succession.
    """
    reached = np.asarray(accuracy) >= target
    n = len(reached)
    first = np.asarray(steps, np.float64)[np.argmax(reached, axis=1)]
    times = np.where(reached.any(axis=1), first, np.inf)
    count = int(np.isfinite(times).sum())
    wilson = stats.binomtest(count, n).proportion_ci(LEVEL, method="wilson")
    return TimeToTarget(median_interval(times), Interval(count / n, *wilson, n))


def seeds_needed(interval: Interval, bound: float, level: float = LEVEL) -> int | None:
    """The seeds at which Student's interval would just not hold `bound`.

    The smallest n of `t(n - 1) * s / sqrt(n) <= abs(centre - bound)`, with the centre
    and the standard deviation s that the interval has; both are taken to stay, so it
    is a guess, and a low one half of the time.

    Args:
        interval: a symmetric one; of a ratio, that of its logarithm.
        bound: a number in its unit.
        level: that of the interval.

    Returns:
        From 2 to MOST_SEEDS, or None if more are needed; None without bounds.
    """
    n = int(interval.n)
    if n < 2 or not np.isfinite(interval.low):
        return None
    distance = abs((interval.low + interval.high) / 2 - bound)
    half = (interval.high - interval.low) / 2

    def width(n: int) -> float:  # of the half, for s = 1
        return stats.t.ppf((1 + level) / 2, n - 1) / np.sqrt(n)

    enough = distance / half * width(n) if half > 0 else np.inf
    sizes = range(2, MOST_SEEDS + 1)
    place = bisect.bisect_left(sizes, True, key=lambda n: width(n) <= enough)
    return sizes[place] if place < len(sizes) else None


def _finite_rows(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return x[np.isfinite(x).all(axis=tuple(range(1, x.ndim)))]


def _variance(losses: np.ndarray) -> float:
    """Unbiased over seeds, averaged over epochs; nan for fewer than two seeds."""
    return losses.var(0, ddof=1).mean() if len(losses) > 1 else np.nan


def _pseudo_values(losses: np.ndarray) -> np.ndarray:
    """[seeds] of the log variance; all nan for n < 3 or where a variance is 0."""
    n = len(losses)
    without = np.array([_variance(np.delete(losses, i, axis=0)) for i in range(n)])
    if n < 3 or not without.all():
        return np.full(n, np.nan)
    return n * np.log(_variance(losses)) - (n - 1) * np.log(without)
