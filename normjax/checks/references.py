"""Every norm from its formula alone, on numbers that carry their rounding budget.

A formula takes `(x, params, stats)`, channels last, and gives `(y, stats)`; the dicts
are those of the layer of the same name. Imports no op, no layer and no jax.
"""

from typing import Any

import numpy as np

from normjax.checks import rounding
from normjax.checks.rounding import Rounded

Vectors = dict[str, Rounded]
Result = tuple[Rounded, dict[str, Any]]  # y, stats (nested where layers share them)


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
    unbiased: bool = False,
    debias: bool = False,
    where=None,
    axes=None,
) -> Result:
    """`stats <- decay * stats + (1 - decay) * (mean, var)`, the var biased.

    With `debias` step t has the decay `d (1 - d^(t-1)) / (1 - d^t)`; with `unbiased`
    the statistics get the variance over n - 1.
    """
    axes = tuple(range(x.value.ndim - 1)) if axes is None else axes
    if not train:
        return with_moments(x, stats["mean"], stats["var"], params, eps, where), stats
    middle = rounding.mean(x, axes, where)
    var = rounding.variance(x, middle, axes, where)
    y = with_moments(x, middle, var, params, eps, where)
    count, counter = x.value.size / middle.value.size, {}
    if debias:
        counter = {"step": stats["step"] + 1}
        log, t = np.log(decay), float(counter["step"].value)
        power = lambda n: rounding.through(np.expm1, x.of(log) * n)
        decay = decay * power(t - 1) / power(t)
    kept = var * count / (count - 1) if unbiased else var
    return y, blend(stats, middle, kept, decay) | counter


def blend(stats: Vectors, middle: Rounded, var: Rounded, decay) -> Vectors:
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


def weight_standardization(
    kernel: Rounded, params: Vectors, stats: Vectors, *, eps: float = 1e-10
) -> Result:
    """`(v - mean) / sqrt(var + eps)` per output feature."""
    axes = tuple(range(kernel.value.ndim - 1))
    return standardized(kernel, params, axes, eps), stats


def spectral(
    kernel: Rounded, params: Vectors, stats: Vectors, *, train: bool = True
) -> Result:
    """`W / (v W u)`, after `u = unit(v W); v = unit(W u)` in training.

    The budget of a vector is one of its length, the same for each entry: an error e
    of v in length is one of at most ||W|| e in v W, while entry by entry it would
    seem to grow with the root of their number at every step.
    """
    matrix = kernel.value.reshape(-1, kernel.value.shape[-1])
    u, v = stats["u"], stats["v"]
    if train:
        u = _stepped(matrix, v)
        v = _stepped(matrix.T, u)
    right, left = matrix @ u.value, v.value @ matrix
    error = np.max(v.error) * np.linalg.norm(right)
    error = error + np.max(u.error) * np.linalg.norm(left)
    size = np.abs(v.value) @ np.abs(matrix) @ np.abs(u.value)
    roots = sum(np.sqrt(matrix.shape))
    sigma = v.value @ right, error + 2 * roots * kernel.unit * size
    return kernel / Rounded(*map(np.asarray, sigma), kernel.unit), {"u": u, "v": v}


def _stepped(matrix: np.ndarray, v: Rounded) -> Rounded:
    """`unit(v W)`: the length takes sqrt(m) / 2 + 2 units, the quotient 1."""
    y = v.value @ matrix
    length, terms = np.linalg.norm(y), np.sqrt(matrix.shape)
    products = np.linalg.norm(np.abs(v.value) @ np.abs(matrix))
    error = np.linalg.norm(matrix, 2) * np.max(v.error)
    error = error + (2 * terms[0] + 1) * v.unit * products
    error = error / length + (terms[1] / 2 + 3) * v.unit
    return Rounded(y / length, np.full(y.shape, error), v.unit)
