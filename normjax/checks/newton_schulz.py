"""Muon's update rule in NumPy: its matrices, and what it does to all else.

Its iteration multiplies small singular values by 3.4 at each of five steps, and errors
with them. Operation by operation a bound would grow much faster, as it could not know
that errors of one step cancel in the next. So each step's own roundings are carried to
the result by the derivative of the steps after it, which is exact to first order.
"""

import numpy as np

from normjax.checks import rounding
from normjax.checks.averages import average, corrections
from normjax.checks.rounding import Rounded, rounded

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 5
SHAPE = (4, 6)  # inputs and outputs; inputs are not more


def ahead(g: list[Rounded], decay: float) -> list[Rounded]:
    """`d mu / (1 - d^(t + 1)) + (1 - d) g / (1 - d^t)`: Nesterov's, corrected."""
    weight = rounded(decay)
    gains = corrections(weight, len(g) + 1)
    return [
        weight * (mu / gains[t + 1]) + (1 - weight) * (row / gains[t])
        for t, (mu, row) in enumerate(zip(average(g, weight), g))
    ]


def product(a: Rounded, b: Rounded) -> Rounded:
    """The matrix product."""
    terms = a.move(lambda x: x[:, :, None]) * b.move(lambda x: x[None])
    return rounding.total(terms, 1).move(lambda x: x[:, 0])


def iteration(x: Rounded) -> Rounded:
    """`3.4445 x - 4.775 a x + 2.0315 a a x` with `a = x x^T`."""
    first, second, third = COEFFICIENTS
    a = product(x, x.move(np.transpose))
    return first * x + product(second * a + third * product(a, a), x)


def slopes(x: np.ndarray) -> np.ndarray:
    """The derivative of `iteration`, `[outputs, inputs]` of the flat matrices."""
    first, second, third = COEFFICIENTS
    each = np.eye(x.size).reshape(-1, *x.shape)
    a = x @ x.T
    of_a = each @ x.T + x @ each.transpose(0, 2, 1)
    of_b = second * of_a + third * (of_a @ a + a @ of_a)
    moved = first * each + of_b @ x + (second * a + third * a @ a) @ each
    return moved.reshape(x.size, x.size).T


def orthogonal(x: Rounded) -> Rounded:
    """Five iterations of a matrix whose Euclidean norm is 1."""
    spread = np.diag(x.error.ravel())  # [entries, sources of error]
    for _ in range(NUM_ITERATIONS):
        exact = Rounded(x.value, 0.0, x.unit)
        spread, x = slopes(x.value) @ spread, iteration(exact)
        spread = np.concatenate([spread, np.diag(x.error.ravel())], 1)
    return Rounded(x.value, np.abs(spread).sum(1).reshape(x.value.shape), x.unit)


def muon(g: list[Rounded]) -> list[Rounded]:
    """`step = -1e-3 * 0.2 * sqrt(6) * orthogonal(m / |m|)`, m as `ahead` by 0.95."""
    updates = []
    for m in ahead(g, 0.95):
        length = rounding.root(rounding.total(m * m, 0))
        x = (m / (length + 1e-8)).move(lambda a: a.reshape(SHAPE))
        size = rounding.root(rounded(max(SHAPE))) * 0.2
        updates.append((orthogonal(x) * size * -1e-3).move(np.ravel))
    return updates


def adam_of_vectors(g: list[Rounded]) -> list[Rounded]:
    """`step = -1e-3 m / (sqrt(nu_hat) + 1e-8)`, m as `ahead` by 0.9."""
    b2 = rounded(0.999)
    nu = average([row * row for row in g], b2)
    return [
        m / (rounding.root(v / b) + 1e-8) * -1e-3
        for m, v, b in zip(ahead(g, 0.9), nu, corrections(b2, len(g)))
    ]
