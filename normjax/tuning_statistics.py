"""Numbers over the trials of a search: which one is best, and how easily it is found.

A trial is one setting, trained with each of the tuning seeds. Arrays are `[trials]` or
`[trials, seeds]`. Nothing here reads a record or sees a test accuracy.
"""

import math

import numpy as np

POINT = 0.01  # one percentage point of accuracy
HALFWAY = 0.5  # from chance to the best: below it a network counts as not trained
SLACK = 1e-9  # differences of accuracies below this are rounding


def scores(accuracy: np.ndarray, diverged: np.ndarray) -> np.ndarray:
    """The mean validation accuracy of each trial; a diverged network counts as 0.

    The sum is rounded once, so the order of the seeds does not change it.

    Args:
        accuracy: [trials, seeds], after the last epoch, in [0, 1].
        diverged: [trials, seeds], whether a number was not finite; a nan counts as it.
    """
    lost = np.asarray(diverged, bool) | ~np.isfinite(accuracy)
    counted = np.where(lost, 0.0, accuracy)
    return np.array([math.fsum(row) / len(row) for row in counted.tolist()])


def best_trial(scores: np.ndarray, rates: np.ndarray | None = None) -> int:
    """The position of the highest score; of equal ones the smaller rate, the earlier.

    Args:
        scores: [trials], without nan, one or more.
        rates: [trials], the learning rates; nan (or None for all) where there is none.
    """
    rates = np.full(len(scores), np.nan) if rates is None else rates
    order = np.nan_to_num(rates, nan=0.0)
    return min(range(len(scores)), key=lambda i: (-scores[i], order[i], i))


def expected_best(scores: np.ndarray, *, replacement: bool = False) -> np.ndarray:
    """The mean of the highest of k scores, for k = 1 to n, `[trials]`.

    Over all sets of k different trials of the n that were run, `v_1 <= ... <= v_n`:

        E(k) = sum over i of v_i * (F(i) - F(i - 1)),  F(i) = C(i, k) / C(n, k)

    This is the unbiased estimate (Tang et al., 2020), and E(n) is the best that was
    found. With `replacement` a trial may be drawn again: `F(i) = (i / n)^k`, the
    estimate of Dodge et al. (2019). It is biased downwards and varies less (Dodge et
    al., 2021).

    References:
        Dodge, Gururangan, Card, Schwartz and Smith, 2019. Show Your Work: Improved
            Reporting of Experimental Results. arXiv:1909.03004.
        Tang, Lee, Xin, Liu, Yu and Lin, 2020. Showing Your Work Doesn't Always Work.
            arXiv:2004.13705.
        Dodge, Gururangan, Card, Schwartz and Smith, 2021. Expected Validation
            Performance and Estimation of a Random Variable's Maximum. arXiv:2110.00613.
    """
    ordered = np.sort(np.asarray(scores, np.float64))
    n = len(ordered)
    i = np.arange(n + 1)
    below = np.ones(n + 1)  # the probability that all of k draws are among the first i
    means = []
    for k in range(n):
        below = below * (i / n if replacement else np.maximum(i - k, 0) / (n - k))
        means.append(np.diff(below) @ ordered)
    return np.array(means)


def share_within(scores: np.ndarray, margin: float = POINT) -> float:
    """The share of trials whose score is at most `margin` below the best."""
    scores = np.asarray(scores, np.float64)
    return float(np.mean(scores >= scores.max() - margin - SLACK))


def largest_rate(
    rates: np.ndarray, accuracy: np.ndarray, diverged: np.ndarray, chance: float
) -> float:
    """The largest learning rate of a trial that trains; nan if none does.

    A trial trains if the network of every seed stays finite and ends at a validation
    accuracy at least halfway from `chance` to the best score of all trials.

    Args:
        rates: [trials]; a nan is no rate.
        accuracy: [trials, seeds], as for `scores`.
        diverged: [trials, seeds], as for `scores`.
        chance: the accuracy of the best constant answer.
    """
    best = scores(accuracy, diverged).max()
    least = chance + HALFWAY * (best - chance)
    finite = ~np.asarray(diverged, bool) & np.isfinite(accuracy)
    trains = (finite & (np.asarray(accuracy) >= least - SLACK)).all(axis=1)
    kept = np.asarray(rates, np.float64)[trains]
    return float(np.nanmax(kept)) if np.isfinite(kept).any() else math.nan
