"""What several p-values say together, and what few seeds can say at all."""

import numpy as np
import scipy

EXACT_SEEDS = 13  # up to this many, all 2^n sign flips are enumerated
RANDOM_FLIPS = 9_999  # drawn beyond, more than 2^13


def smallest(n: int) -> float:
    """The smallest p of the sign-flip test of n pairs: `2 / 2^n`, or `2 / 10,000`.

    All n differences have the same sign in two of the 2^n patterns. Beyond EXACT_SEEDS
    pairs the patterns are RANDOM_FLIPS random ones and the observed one, and the p of
    both sides is twice that of one.
    """
    return 2.0 ** (1 - n) if n <= EXACT_SEEDS else 2 / (RANDOM_FLIPS + 1)


def sign_test(wins: int, losses: int) -> float:
    """The p of both sides that a win is as likely as a loss; 1 without any of them.

    It is the probability that `Binomial(wins + losses, 1/2)` is at least as far from
    its mean. Ties are neither wins nor losses. Four wins in a row have 0.125, six
    0.031.

    References:
        Dixon and Mood, 1946. The Statistical Sign Test. JASA 41.
    """
    n = wins + losses
    return float(scipy.stats.binomtest(wins, n).pvalue) if n else 1.0


def holm(p: np.ndarray) -> np.ndarray:
    """p-values adjusted for their number m: `max_{j <= i} (m - j + 1) p_(j)`.

    The i-th smallest becomes the largest of these products, and at most 1. To
    reject those of at most 5% makes any false rejection at all in at most 5% of such
    families, however the tests depend on each other.

    Args:
        p: [tests]; nan is not a test and stays nan.

    References:
        Holm, 1979. A Simple Sequentially Rejective Multiple Test Procedure.
        Scandinavian Journal of Statistics 6.
    """
    p = np.asarray(p, np.float64)
    adjusted = np.full(p.shape, np.nan)
    tests = np.flatnonzero(np.isfinite(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order]))
    return adjusted
