"""What several p-values say together, and what few seeds can say at all."""

import numpy as np

EXACT_SEEDS = 13  # up to this many, all 2^n sign flips are enumerated
RANDOM_FLIPS = 9_999  # drawn beyond, more than 2^13


def smallest(n: int) -> float:
    """The smallest p of the sign-flip test of n pairs: `2 / 2^n`, or `2 / 10,000`.

    All n differences have the same sign in two of the 2^n patterns. Beyond EXACT_SEEDS
    pairs the patterns are RANDOM_FLIPS random ones and the observed one, and the p of
    both sides is twice that of one.
    """
    return 2.0 ** (1 - n) if n <= EXACT_SEEDS else 2 / (RANDOM_FLIPS + 1)


def least_pairs(threshold: float) -> int:
    """The fewest pairs whose sign-flip test can give a p of at most `threshold`."""
    return next(n for n in range(1, EXACT_SEEDS + 1) if smallest(n) <= threshold)


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
