"""Batch norm and its relatives from their formulas alone, as in `references`."""

import dataclasses
from typing import Any

import numpy as np

from normjax.checks import rounding
from normjax.checks.references import EPS, Case, Given, Result
from normjax.checks.rounding import NumpyAxes, Rounded

LIMITS = {"r_max": 1.1, "d_max": 0.5}  # of renorm, so that some features meet them
AT_ONCE = {"start_step": 0, "r_end_step": 0, "d_end_step": 0}


def batch(
    g: Given,
    *,
    decay: float = 0.9,
    unbiased: bool = False,
    debias: bool = False,
    axes: NumpyAxes | None = None,
) -> Result:
    """`stats <- decay * stats + (1 - decay) * (mean, var)`, the var biased.

    With `debias` step t has the decay `d (1 - d^(t-1)) / (1 - d^t)`; with `unbiased`
    the statistics get the variance over n - 1.
    """
    if not g.train:
        return g.affine(g.standardize(g.stats["mean"], g.stats["var"])), g.stats
    middle, var = g.moments((0, *g.space) if axes is None else axes)
    y = g.affine(g.standardize(middle, var))
    count, past, counter = g.x.value.size / middle.value.size, g.x.of(decay), {}
    if debias:
        counter = {"step": g.stats["step"] + 1}
        t = float(counter["step"].value)
        power = lambda n: rounding.monotone(np.expm1, g.x.of(np.log(decay)) * n)
        past = past * power(t - 1) / power(t)
    kept = var * count / (count - 1) if unbiased else var
    return y, blend(g.stats, past, mean=middle, var=kept) | counter


def blend(stats: dict[str, Any], decay: Rounded, **now: Rounded) -> dict[str, Any]:
    """The weighted mean of past and present, `decay` the weight of the past."""
    flat = lambda new, old: new.move(lambda a: a.reshape(old.value.shape))
    return {
        name: decay * stats[name] + (1 - decay) * flat(new, stats[name])
        for name, new in now.items()
    }


def scalar_batch(g: Given) -> Result:
    """One mean and one variance for the whole of `x`."""
    shared = dataclasses.replace(g, stats=g.stats["running"])
    y, running = batch(shared, axes=tuple(range(g.x.value.ndim)))
    return y, {"running": running}


def renorm(g: Given, *, decay: float = 0.99) -> Result:
    """`scale ((x - mean) / std r + d) + bias`; the average is of `std`, not of var."""
    if not g.train:
        return batch(g)
    middle, var = g.moments((0, *g.space))
    std, past = rounding.root(var + g.eps), rounding.root(g.stats["var"] + g.eps)
    r_max, d_max = LIMITS["r_max"], LIMITS["d_max"]
    clip = lambda a, low, high: rounding.monotone(
        lambda a: np.clip(a, low, high), a, units=1
    )
    r = clip(std / past, 1 / r_max, r_max)
    d = clip((middle - g.stats["mean"]) / past, -d_max, d_max)
    old = {"mean": g.stats["mean"], "var": past}
    running = blend(old, g.x.of(decay), mean=middle, var=std)
    running["var"] = running["var"] * running["var"] - g.eps
    running["step"] = g.stats["step"] + 1
    return g.affine((g.x - middle) / std * r + d), running


def ghost(g: Given, *, ghost_size: int) -> Result:
    """Batch norm of neighbouring examples, one ghost batch after the other."""
    if not g.train:
        return batch(g)
    ys, stats = [], g.stats
    for start in range(0, len(g.x.value), ghost_size):
        x, where = _examples(g, slice(start, start + ghost_size))
        y, new = batch(dataclasses.replace(g, x=x, where=where, stats=stats))
        stats = new if where is None or np.any(where) else stats
        ys.append(y)
    return rounding.join(ys, np.concatenate), stats


def power(g: Given, *, decay: float = 0.9) -> Result:
    """`scale x / sqrt(square + eps) + bias`, the mean square in place of a variance."""
    (key,), running = g.stats, g.stats
    square = g.stats[key]
    if g.train:
        square = rounding.mean(g.x * g.x, (0, *g.space), g.where)
        running = blend(g.stats, g.x.of(decay), **{key: square})
    return g.affine(g.x / rounding.root(square + g.eps)), running


def online(g: Given, *, decay: float = 0.99) -> Result:
    """Normalizes each example by those before it, then adds it to the statistics."""
    if not g.train:
        return batch(g)
    past, ys = g.x.of(decay), []
    mean, var = g.stats["mean"], g.stats["var"]
    for i in range(len(g.x.value)):
        x, where = _examples(g, slice(i, i + 1))
        one = dataclasses.replace(g, x=x, where=where)
        ys.append(one.affine(one.standardize(mean, var)))
        if where is not None and not np.any(where):
            continue
        m, v = (a.move(np.ravel) for a in one.moments((0, *g.space)))
        jump = m - mean
        var = past * var + (1 - past) * v + past * (1 - past) * jump * jump
        mean = past * mean + (1 - past) * m
    return rounding.join(ys, np.concatenate), {"mean": mean, "var": var}


def _examples(g: Given, rows: slice) -> tuple[Rounded, np.ndarray | None]:
    return g.x.move(lambda a: a[rows]), None if g.where is None else g.where[rows]


def switchable(g: Given, *, decay: float = 0.9) -> Result:
    """Mixes the moments of instance, layer and batch norm by softmax of the logits."""
    mixed = [g.moments(g.space), g.moments((*g.space, g.x.value.ndim - 1))]
    if g.train:
        now = g.moments((0, *g.space))
        running = blend(g.stats, g.x.of(decay), mean=now[0], var=now[1])
    else:
        now, running = (g.stats["mean"], g.stats["var"]), g.stats

    def mix(logits: Rounded, terms: list[Rounded]) -> Rounded:
        weights = rounding.monotone(np.exp, logits)
        weights = weights / rounding.total(weights, 0)
        one = lambda i: weights.move(lambda a: a[i]) * terms[i]
        return one(0) + one(1) + one(2)

    mean, var = (
        mix(g.params[f"{of}_logits"], [m[i] for m in (*mixed, now)])
        for i, of in enumerate(("mean", "var"))
    )
    return g.affine(g.standardize(mean, var)), running


def _case(formula, settings=(), *, shifted=True, train=True, **others) -> Case:
    settings = {"eps": EPS, **dict(settings)}
    flags = {"shifted": shifted, "masked": True, "train": train}
    return Case(formula, settings, **flags, **others)


BATCH = {
    "batch": _case(batch),
    "scalar_batch": _case(scalar_batch),
    "batch_renorm": _case(renorm, only_layer=LIMITS | AT_ONCE),
    "ghost": _case(ghost, {"ghost_size": 2}),
    "power": _case(power, shifted=False),
    "online": _case(online, shifted=False),
    "frozen": _case(
        lambda g: batch(dataclasses.replace(g, train=False)), shifted=False, train=False
    ),
    "switchable": _case(switchable),
}
