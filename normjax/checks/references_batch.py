"""The relatives of batch norm from their formulas alone, as in `references`."""

import functools

import numpy as np

from normjax.checks import rounding
from normjax.checks.references import (
    Result,
    Vectors,
    affine,
    batch,
    blend,
    with_moments,
)
from normjax.checks.rounding import Rounded


def renorm(
    x: Rounded,
    params: Vectors,
    stats: Vectors,
    *,
    r_max: float,
    d_max: float,
    train: bool = True,
    eps: float = 1e-5,
    decay: float = 0.99,
    where=None,
) -> Result:
    """`scale ((x - mean) / std r + d) + bias`; the average is of `std`, not of var."""
    if not train:
        return batch(x, params, stats, train=False, eps=eps, where=where)
    axes = tuple(range(x.value.ndim - 1))
    middle = rounding.mean(x, axes, where)
    std = rounding.root(rounding.variance(x, middle, axes, where) + eps)
    past = rounding.root(stats["var"] + eps)
    clip = lambda a, low, high: rounding.through(
        functools.partial(np.clip, a_min=low, a_max=high), a, units=1
    )
    r = clip(std / past, 1 / r_max, r_max)
    d = clip((middle - stats["mean"]) / past, -d_max, d_max)
    y = affine((x - middle) / std * r + d, params)
    running = blend({"mean": stats["mean"], "var": past}, middle, std, decay)
    running["var"] = running["var"] * running["var"] - eps
    running["step"] = stats["step"] + 1
    return (y if where is None else rounding.select(where, y, 0.0)), running


def ghost(
    x: Rounded,
    params: Vectors,
    stats: Vectors,
    *,
    ghost_size: int,
    train: bool = True,
    where=None,
    **settings,
) -> Result:
    """Batch norm of neighbouring examples, one ghost batch after the other."""
    if not train:
        return batch(x, params, stats, train=False, where=where, **settings)
    ys = []
    for start in range(0, len(x.value), ghost_size):
        rows = slice(start, start + ghost_size)
        seen = None if where is None else where[rows]
        y, new = batch(
            x.move(lambda a, rows=rows: a[rows]), params, stats, where=seen, **settings
        )
        stats = new if seen is None or np.any(seen) else stats
        ys.append(y)
    return rounding.stacked(ys, np.concatenate), stats


def power(
    x: Rounded,
    params: Vectors,
    stats: Vectors,
    *,
    train: bool = True,
    eps: float = 1e-5,
    decay: float = 0.9,
    where=None,
) -> Result:
    """`scale x / sqrt(square + eps) + bias`, the mean square in place of a variance."""
    key = next(iter(stats))
    square, running = stats[key], stats
    if train:
        square = rounding.mean(x * x, tuple(range(x.value.ndim - 1)), where)
        past = x.of(decay)
        flat = square.move(lambda a: a.reshape(-1))
        running = {key: past * stats[key] + (1 - past) * flat}
    y = affine(x / rounding.root(square + eps), params)
    return (y if where is None else rounding.select(where, y, 0.0)), running


def online(
    x: Rounded,
    params: Vectors,
    stats: Vectors,
    *,
    train: bool = True,
    eps: float = 1e-5,
    decay: float = 0.99,
    where=None,
) -> Result:
    """Each example normalized by what came before, then added to it."""
    if not train:
        return batch(x, params, stats, train=False, eps=eps, where=where)
    past, axes, ys = x.of(decay), tuple(range(x.value.ndim - 2)), []
    mean, var = stats["mean"], stats["var"]
    for i in range(len(x.value)):
        row, seen = x.move(lambda a, i=i: a[i]), None if where is None else where[i]
        ys.append(with_moments(row, mean, var, params, eps, seen))
        if seen is not None and not np.any(seen):
            continue
        m = rounding.mean(row, axes, seen)
        v = rounding.variance(row, m, axes, seen).move(np.ravel)
        jump = m.move(np.ravel) - mean
        var = past * var + (1 - past) * v + past * (1 - past) * jump * jump
        mean = past * mean + (1 - past) * m.move(np.ravel)
    return rounding.stacked(ys, np.stack), {"mean": mean, "var": var}
