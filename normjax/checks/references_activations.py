"""Norms with a nonlinearity or a mixture of moments, as in `references`."""

import numpy as np
from scipy import special

from normjax.checks import rounding
from normjax.checks.references import Result, Vectors, affine, blend, with_moments
from normjax.checks.rounding import Rounded


def shown(y: Rounded, where) -> Rounded:
    """0 outside the mask."""
    return y if where is None else rounding.select(where, y, 0.0)


def moments(x: Rounded, axes, where) -> tuple[Rounded, Rounded]:
    """Mean and variance in two passes."""
    middle = rounding.mean(x, axes, where)
    return middle, rounding.variance(x, middle, axes, where)


def frn(
    x: Rounded, params: Vectors, stats: Vectors, *, eps: float = 1e-6, where=None
) -> Result:
    """`max(scale x / sqrt(mean(x^2) + eps) + bias, threshold)`, mean over space."""
    square = rounding.mean(x * x, tuple(range(1, x.value.ndim - 1)), where)
    y = affine(x / rounding.root(square + eps), params)
    return shown(rounding.maximum(y, params["threshold"]), where), stats


def evonorm_s0(
    x: Rounded,
    params: Vectors,
    stats: Vectors,
    *,
    num_groups: int,
    eps: float = 1e-5,
    where=None,
) -> Result:
    """`scale x sigmoid(gate x) / sqrt(var of the group + eps) + bias`."""
    shape = x.value.shape
    grouped = x.move(lambda a: a.reshape(*shape[:-1], num_groups, -1))
    axes = (*range(1, len(shape) - 1), len(shape))
    _, var = moments(grouped, axes, None if where is None else where[..., None])
    size = shape[-1] // num_groups
    var = var.move(lambda a: np.repeat(a[..., 0], size, -1))
    y = x * rounding.through(special.expit, params["gate"] * x)
    return shown(affine(y / rounding.root(var + eps), params), where), stats


def evonorm_b0(
    x: Rounded,
    params: Vectors,
    stats: Vectors,
    *,
    train: bool = True,
    eps: float = 1e-5,
    decay: float = 0.9,
    where=None,
) -> Result:
    """`scale x / max(sqrt(batch + eps), gate x + sqrt(instance + eps)) + bias`."""
    axes = tuple(range(x.value.ndim - 1))
    var, running = stats["var"], stats
    if train:
        _, var = moments(x, axes, where)
        past, now = x.of(decay), var.move(np.ravel)
        running = {"var": past * stats["var"] + (1 - past) * now}
    _, instance = moments(x, axes[1:], where)
    gated = params["gate"] * x + rounding.root(instance + eps)
    divisor = rounding.maximum(rounding.root(var + eps), gated)
    return shown(affine(x / divisor, params), where), running


def dyt(x: Rounded, params: Vectors, stats: Vectors) -> Result:
    """`scale tanh(alpha x) + bias`."""
    return affine(rounding.through(np.tanh, params["alpha"] * x), params), stats


def derf(x: Rounded, params: Vectors, stats: Vectors) -> Result:
    """`scale erf(alpha x + shift) + bias`."""
    inner = params["alpha"] * x + params["shift"]
    return affine(rounding.through(special.erf, inner), params), stats


def local_response(
    x: Rounded,
    params: Vectors,
    stats: Vectors,
    *,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 2.0,
) -> Result:
    """`x / (k + alpha sum of x^2 over neighbouring channels)^beta`."""
    features, reach = x.value.shape[-1], size // 2
    padding = [(0, 0)] * (x.value.ndim - 1) + [(reach, reach)]
    square = (x * x).move(lambda a: np.pad(a, padding))
    total = square.move(lambda a: a[..., :features])
    for i in range(1, size):
        total = total + square.move(lambda a, i=i: a[..., i : i + features])
    power = rounding.through(lambda a: a ** (0.0 - beta), k + alpha * total)
    return x * power, stats


def switchable(
    x: Rounded,
    params: Vectors,
    stats: Vectors,
    *,
    train: bool = True,
    eps: float = 1e-5,
    decay: float = 0.9,
    where=None,
) -> Result:
    """Moments of instance, layer and batch norm, mixed by softmax of the logits."""
    space, last = tuple(range(1, x.value.ndim - 1)), x.value.ndim - 1
    mixed = [moments(x, space, where), moments(x, (*space, last), where)]
    running = stats
    if train:
        now = moments(x, (0, *space), where)
        running = blend(stats, *now, decay)
    else:
        now = stats["mean"], stats["var"]
    mixed.append(now)

    def mix(logits: Rounded, terms: list[Rounded]) -> Rounded:
        weights = rounding.through(np.exp, logits)
        weights = weights / rounding.total(weights, 0)
        parts = [weights.move(lambda a, i=i: a[i]) * m for i, m in enumerate(terms)]
        return parts[0] + parts[1] + parts[2]

    mean, var = (
        mix(params[f"{of}_logits"], [m[i] for m in mixed])
        for i, of in enumerate(("mean", "var"))
    )
    return with_moments(x, mean, var, params, eps, where), running
