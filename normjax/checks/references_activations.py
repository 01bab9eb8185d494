"""Norms with a nonlinearity of their own, or instead of one, as in `references`."""

import numpy as np
from scipy import special

from normjax.checks import rounding
from normjax.checks.references import EPS, Case, Given, Result
from normjax.checks.references_batch import blend


def frn(g: Given) -> Result:
    """`max(scale x / sqrt(mean(x^2) + eps) + bias, threshold)`, mean over space."""
    square = rounding.mean(g.x * g.x, g.space, g.where)
    y = g.affine(g.x / rounding.root(square + g.eps))
    return g.unmasked(rounding.maximum(y, g.params["threshold"])), g.stats


def evonorm_s0(g: Given, *, num_groups: int) -> Result:
    """`scale x sigmoid(gate x) / sqrt(var of the group + eps) + bias`."""
    _, var = g.grouped(num_groups).moments((*g.space, g.x.value.ndim))
    size = g.x.value.shape[-1] // num_groups
    var = var.move(lambda a: np.repeat(a[..., 0], size, -1))
    y = g.x * rounding.monotone(special.expit, g.params["gate"] * g.x)
    return g.affine(y / rounding.root(var + g.eps)), g.stats


def evonorm_b0(g: Given, *, decay: float = 0.9) -> Result:
    """`scale x / max(sqrt(batch + eps), gate x + sqrt(instance + eps)) + bias`."""
    var, running = g.stats["var"], g.stats
    if g.train:
        _, var = g.moments((0, *g.space))
        running = blend(g.stats, g.x.of(decay), var=var)
    _, instance = g.moments(g.space)
    gated = g.params["gate"] * g.x + rounding.root(instance + g.eps)
    divisor = rounding.maximum(rounding.root(var + g.eps), gated)
    return g.affine(g.x / divisor), running


def dyt(g: Given) -> Result:
    """`scale tanh(alpha x) + bias`."""
    return g.affine(rounding.monotone(np.tanh, g.params["alpha"] * g.x)), g.stats


def derf(g: Given) -> Result:
    """`scale erf(alpha x + shift) + bias`."""
    inner = g.params["alpha"] * g.x + g.params["shift"]
    return g.affine(rounding.monotone(special.erf, inner)), g.stats


def local_response(
    g: Given, *, alpha: float, size: int = 5, beta: float = 0.75, k: float = 2.0
) -> Result:
    """`x / (k + alpha sum of x^2 over neighbouring channels)^beta`."""
    features, reach = g.x.value.shape[-1], size // 2
    padding = [(0, 0)] * (g.x.value.ndim - 1) + [(reach, reach)]
    square = (g.x * g.x).move(lambda a: np.pad(a, padding))
    shifted = lambda i: square.move(lambda a: a[..., i : i + features])
    total = shifted(0)
    for i in range(1, size):
        total = total + shifted(i)
    power = rounding.monotone(lambda a: a ** (0.0 - beta), k + alpha * total)
    return g.x * power, g.stats


ACTIVATIONS = {
    "frn": Case(frn, {"eps": EPS}, masked=True),
    "evonorm_s0": Case(evonorm_s0, {"eps": EPS, "num_groups": 4}, masked=True),
    "evonorm_b0": Case(evonorm_b0, {"eps": EPS}, masked=True, train=True),
    "dyt": Case(dyt, {}),
    "derf": Case(derf, {}),
    "local_response": Case(local_response, {"alpha": 0.02}),
}
