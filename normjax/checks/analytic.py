"""Gradients in float32, by hand and by autodiff, against their derived formulas."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from normjax.checks import cases, rounding
from normjax.checks.rounding import Rounded
from normjax.checks.rows import Check, worst
from normjax.ops import custom_vjp, moments, weights
from normjax.ops import norms as ops

SHAPE = (8, 4, 4, 16)
EPS = 1e-2


class Case(NamedTuple):
    """A norm as `(x, scale, bias) -> y`, autodiffed and by hand, and its formula."""

    autodiff: Callable
    by_hand: Callable
    view: tuple[int, ...]  # of x, so that `axes` are whole axes
    axes: tuple[int, ...]  # of the means
    vectors: tuple[int, ...]  # of the sums that make the gradients of scale and bias
    formula: Callable


def standardized(dy: Rounded, x: Rounded, scale: Rounded, axes, vectors, *, mean=True):
    """`dx = r (dz - mean(dz) - z mean(dz z))`, `dscale = sum(dy z)`, `dbias = sum(dy)`.

    With z = (x - mean) r, r = 1 / sqrt(var + eps), dz = scale dy. Without `mean`
    nothing is subtracted and no mean comes back: that is RMS norm.
    """
    middle = rounding.mean(x, axes) if mean else x * 0.0
    centered = x - middle
    square = rounding.variance(x, middle, axes) if mean else rounding.mean(x * x, axes)
    deviation = rounding.root(square + EPS)
    z, dz = centered / deviation, dy * scale
    dx = dz - z * rounding.mean(dz * z, axes)
    dx = (dx - rounding.mean(dz, axes) if mean else dx) / deviation
    sums = rounding.total(dy * z, vectors), rounding.total(dy, vectors)
    return dx, *(sums if mean else sums[:1])


def unscaled(dw: Rounded, v: Rounded, scale: Rounded, axes, vectors):
    """`standardized` without a scale: `dx` alone."""
    return standardized(
        dw, v, rounding.rounded(np.ones_like(scale.value)), axes, vectors
    )[:1]


def evaluated(dy: Rounded, x: Rounded, scale: Rounded, axes, vectors):
    """`dx = r dy scale` with moments that do not depend on `x`: 0.5 and 2."""
    del axes
    z = (x - 0.5) / rounding.root(x.of(2.0) + EPS)
    dx = dy * scale / rounding.root(x.of(2.0) + EPS)
    return dx, rounding.total(dy * z, vectors), rounding.total(dy, vectors)


def weight(dw: Rounded, v: Rounded, scale: Rounded, axes, vectors):
    """`dv = scale r (dw - v r dscale)`, `dscale = sum(dw v) r`, r = 1 / ||v||."""
    del vectors
    length = rounding.root(rounding.total(v * v, axes) + 1e-12)
    dscale = rounding.total(dw * (v / length), axes)
    return scale / length * (dw - v / length * dscale), dscale


def _batch(op, *, train):
    def call(x, *vectors):
        running = moments.Running(*(jnp.full(16, a, jnp.float32) for a in (0.5, 2.0)))
        return op(x, running, *vectors, train=train, eps=EPS)[0]

    return call


def _plain(op, takes: int = 2, **settings):
    return lambda x, *vectors: op(x, *vectors[:takes], **settings)


def _pair(name: str, wrap: Callable, module=ops):
    return wrap(getattr(module, name)), wrap(getattr(custom_vjp, name))


GROUPED = (8, 4, 4, 4, 4)
EPSED = functools.partial(_plain, eps=EPS)
CASES = {
    "batch": Case(
        *_pair("batch_norm", functools.partial(_batch, train=True)),
        SHAPE,
        (0, 1, 2),
        (0, 1, 2),
        standardized,
    ),
    "batch, evaluation": Case(
        *_pair("batch_norm", functools.partial(_batch, train=False)),
        SHAPE,
        (0, 1, 2),
        (0, 1, 2),
        evaluated,
    ),
    "layer": Case(*_pair("layer_norm", EPSED), SHAPE, (3,), (0, 1, 2), standardized),
    "rms": Case(
        *_pair("rms_norm", functools.partial(EPSED, takes=1)),
        SHAPE,
        (3,),
        (0, 1, 2),
        functools.partial(standardized, mean=False),
    ),
    "group": Case(
        *_pair("group_norm", functools.partial(EPSED, num_groups=4)),
        GROUPED,
        (1, 2, 4),
        (0, 1, 2),
        standardized,
    ),
    "instance": Case(
        *_pair("instance_norm", EPSED), SHAPE, (1, 2), (0, 1, 2), standardized
    ),
    "weight": Case(
        *_pair("weight_norm", functools.partial(_plain, takes=1), weights),
        SHAPE,
        (0, 1, 2),
        (0, 1, 2),
        weight,
    ),
    "weight_standardization": Case(
        *_pair("weight_standardization", functools.partial(EPSED, takes=0), weights),
        SHAPE,
        (0, 1, 2),
        (0, 1, 2),
        unscaled,
    ),
}


def _check(name: str, kind: str) -> Check:
    case = CASES[name]
    x, dy = cases.draw(0), cases.draw(6, middle=0.0)
    scale, bias = (np.random.default_rng(7).uniform(0.5, 1.5, (2, 16))).astype("f")
    op = case.autodiff if kind == "autodiff" else case.by_hand

    def subject(dy, *args):
        return jax.vjp(op, *args)[1](dy)

    def judge(subject):
        lift = lambda a: rounding.rounded(a).move(
            lambda a: a.reshape(*a.shape[:-1], *case.view[3:])
        )
        right = case.formula(lift(dy), lift(x), lift(scale), case.axes, case.vectors)
        shapes = (SHAPE, (16,), (16,))
        right = [r.move(lambda a, s=s: a.reshape(s)) for r, s in zip(right, shapes)]
        return worst(subject(dy, x, scale, bias)[: len(right)], right)

    return Check(name, kind, jax.jit(subject), judge)


def checks() -> list[Check]:
    """Both kinds, by norm."""
    return [_check(name, kind) for name in CASES for kind in ("autodiff", "by hand")]
