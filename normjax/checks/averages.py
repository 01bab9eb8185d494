"""Exponential averages and their corrections, on numbers that carry their error."""

from collections.abc import Sequence

import numpy as np

from normjax.checks import rounding
from normjax.checks.rounding import Rounded


def average(powers: Sequence[Rounded], decay: Rounded) -> list[Rounded]:
    """`a <- decay a + (1 - decay) g`, from 0, after each step."""
    state, states = powers[0] * 0.0, []
    for power in powers:
        state = decay * state + (1 - decay) * power
        states.append(state)
    return states


def corrections(decay: Rounded, steps: int) -> list[Rounded]:
    """`1 - decay^t`: it cancels, so a decay of 0.999 costs 1000 units at t = 1."""
    powers = [decay]
    for _ in range(steps - 1):
        powers.append(powers[-1] * decay)
    return [1 - power for power in powers]


def exact_corrections(decay: Rounded, steps: int) -> list[Rounded]:
    """`1 - decay^t` as `-expm1(t log1p(-(1 - decay)))`: a few units."""
    log = rounding.monotone(np.log1p, -(1 - decay))
    return [-rounding.monotone(np.expm1, float(t) * log) for t in range(1, steps + 1)]
