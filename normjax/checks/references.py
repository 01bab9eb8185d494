"""Every norm from its formula alone, on numbers that carry their rounding budget.

A formula takes `(x, params, stats)`, channels last, and gives `(y, stats)`; the dicts
are those of the layer of the same name. Imports no op, no layer and no jax.
"""

import numpy as np

from normjax.checks import rounding
from normjax.checks.rounding import Rounded

Vectors = dict[str, Rounded]
Result = tuple[Rounded, Vectors]


def affine(x: Rounded, params: Vectors) -> Rounded:
    """`scale * x + bias` with what there is of the two."""
    y = x * params["scale"] if "scale" in params else x
    return y + params["bias"] if "bias" in params else y


def standardized(x: Rounded, params: Vectors, axes, eps: float, where=None) -> Rounded:
    """`scale * (x - mean) / sqrt(var + eps) + bias`, and 0 outside `where`."""
    middle = rounding.mean(x, axes, where)
    var = rounding.variance(x, middle, axes, where)
    return with_moments(x, middle, var, params, eps, where)


def with_moments(x, middle, var, params, eps, where=None) -> Rounded:
    """`standardized` by moments that are given."""
    y = affine((x - middle) / rounding.root(var + eps), params)
    return y if where is None else rounding.select(where, y, 0.0)


def batch(
    x: Rounded,
    params: Vectors,
    stats: Vectors,
    *,
    train: bool = True,
    eps: float = 1e-5,
    decay: float = 0.9,
    where=None,
    axes=None,
) -> Result:
    """`stats <- decay * stats + (1 - decay) * (mean, biased var)`."""
    axes = tuple(range(x.value.ndim - 1)) if axes is None else axes
    if not train:
        return with_moments(x, stats["mean"], stats["var"], params, eps, where), stats
    middle = rounding.mean(x, axes, where)
    var = rounding.variance(x, middle, axes, where)
    y = with_moments(x, middle, var, params, eps, where)
    return y, blend(stats, middle, var, decay)


def blend(stats: Vectors, middle: Rounded, var: Rounded, decay: float) -> Vectors:
    """The past, `decay` of it, and now."""
    decay = middle.of(decay)
    flat = lambda new, old: new.move(lambda a: a.reshape(old.value.shape))
    one = lambda old, new: decay * old + (1 - decay) * flat(new, old)
    return {"mean": one(stats["mean"], middle), "var": one(stats["var"], var)}


def batch_as_published(x: Rounded, params: Vectors, stats, **settings) -> Result:
    """One mean and one variance for the whole of `x`."""
    axes = tuple(range(x.value.ndim))
    y, running = batch(x, params, stats["running"], axes=axes, **settings)
    return y, {"running": running}


def layer(x: Rounded, params: Vectors, stats: Vectors, *, eps: float = 1e-5) -> Result:
    """Moments over the last axis."""
    return standardized(x, params, -1, eps), stats


def rms(x: Rounded, params: Vectors, stats: Vectors, *, eps: float = 1e-5) -> Result:
    """`scale * x / sqrt(mean(x^2) + eps)` over the last axis."""
    square = rounding.mean(x * x, -1)
    return affine(x / rounding.root(square + eps), params), stats


def group(
    x: Rounded,
    params: Vectors,
    stats: Vectors,
    *,
    num_groups: int,
    eps: float = 1e-5,
    where=None,
) -> Result:
    """Moments per example over space and neighbouring channels."""
    shape = x.value.shape
    grouped = x.move(lambda a: a.reshape(*shape[:-1], num_groups, -1))
    axes = (*range(1, len(shape) - 1), len(shape))
    split = None if where is None else where[..., None]
    y = standardized(grouped, {}, axes, eps, split).move(lambda a: a.reshape(shape))
    y = affine(y, params)
    return (y if where is None else rounding.select(where, y, 0.0)), stats


def instance(x: Rounded, params: Vectors, stats: Vectors, **settings) -> Result:
    """Moments per example and channel over space."""
    return group(x, params, stats, num_groups=x.value.shape[-1], **settings)


def weight(
    kernel: Rounded, params: Vectors, stats: Vectors, *, eps: float = 1e-12
) -> Result:
    """`scale * v / sqrt(||v||^2 + eps)` per output feature."""
    axes = tuple(range(kernel.value.ndim - 1))
    length = rounding.root(rounding.total(kernel * kernel, axes) + eps)
    return kernel * (params["scale"] / length), stats
