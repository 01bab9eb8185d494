"""Equal numbers of several seeds: which are equal, and how many of them say something.

Equal differences have no spread, so Student's interval of them has no width. With two
seeds that is an accident, with ten it is not.
"""

import math
from typing import Any

import numpy as np

ROUNDING = 8 * 2.0**-24  # eight roundings to float32, relative


def least(level: float) -> int:
    """How many equal numbers are needed for a statement at a level: 6 for 0.95.

    All of n values lie on the same side of their distribution's median with probability
    `2^(1 - n)`. The result is the smallest n for which this is at most `1 - level`.
    """
    return 1 + math.ceil(-math.log2(1 - level) - 1e-9)  # 1 - level is rounded


def all_equal(x: np.ndarray, resolution: float = 0.0) -> Any:
    """Whether the finite values, [seeds, ...], differ by `resolution` at most."""
    used = np.isfinite(x)
    highest = np.max(x, axis=0, where=used, initial=-np.inf)
    lowest = np.min(x, axis=0, where=used, initial=np.inf)
    return highest - lowest <= resolution


def rounding(*sides: np.ndarray) -> float:
    """By how much equal differences of float32 measurements can differ: 8 roundings."""
    sizes = np.abs(np.concatenate([np.ravel(side) for side in sides]))
    return ROUNDING * float(np.max(sizes, where=np.isfinite(sizes), initial=0.0))
