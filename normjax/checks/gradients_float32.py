"""Checks of gradients in float32, by autodiff and by hand, against their formulas."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from normjax.checks import cases, rounding
from normjax.checks.references import Given
from normjax.checks.rounding import NumpyAxes, Rounded
from normjax.checks.rows import Check, worst

VECTORS = (0, 1, 2)  # axes of the sums that make the gradients of scale and bias
RoundedGradients = tuple[dict[str, Rounded], Rounded]  # of the parameters, of x


def standardization(
    g: Given, dy: Rounded, axes: NumpyAxes, *, centered: bool = True
) -> RoundedGradients:
    """`dx = r (dz - mean(dz) - z mean(dz z))`, `dscale = sum(dy z)`, `dbias = sum(dy)`.

    With z = (x - mean) r, r = 1 / sqrt(var + eps), dz = scale dy. If not `centered`
    nothing is subtracted and no mean comes back: that is RMS norm. In evaluation the
    moments are constants and `dx = r dz`.
    """
    if not g.train:
        middle, square = g.stats["mean"], g.stats["var"]
    elif centered:
        middle, square = g.moments(axes)
    else:
        middle, square = g.x * 0.0, rounding.mean(g.x * g.x, axes)
    deviation = rounding.root(square + g.eps)
    z, dx = (g.x - middle) / deviation, dy * g.params.get("scale", 1.0)
    if g.train:
        along = z * rounding.mean(dx * z, axes)
        dx = (dx - rounding.mean(dx, axes) if centered else dx) - along
    sums = {"scale": dy * z, "bias": dy}
    params = {name: rounding.total(sums[name], VECTORS) for name in g.params}
    return params, dx / deviation


def weight(g: Given, dw: Rounded, axes: NumpyAxes) -> RoundedGradients:
    """`dv = scale r (dw - v r dscale)`, `dscale = sum(dw v) r`, r = 1 / ||v||."""
    length = rounding.root(rounding.total(g.x * g.x, axes) + g.eps)
    dscale = rounding.total(dw * (g.x / length), axes)
    dv = g.params["scale"] / length * (dw - g.x / length * dscale)
    return {"scale": dscale}, dv


class Backward(NamedTuple):
    """The formula of a gradient, and the axes of its means."""

    formula: Callable[..., RoundedGradients]
    axes: tuple[int, ...]
    num_groups: int | None = None  # the features are split into so many


FORMULAS = {
    "batch": Backward(standardization, (0, 1, 2)),
    "layer": Backward(standardization, (3,)),
    "rms": Backward(functools.partial(standardization, centered=False), (3,)),
    "group": Backward(standardization, (1, 2, 4), num_groups=4),
    "instance": Backward(standardization, (1, 2)),
    "weight": Backward(weight, (0, 1, 2)),
    "weight_standardization": Backward(standardization, (0, 1, 2)),
}


def check(name: str, backward: str, *, train: bool = True) -> Check:
    """The gradients of `sum(dy * y)` in x and all parameters, for random `dy`."""
    layer = cases.layer_of(name).clone(backward=backward)
    variables, x = cases.variables_of(layer), cases.draw(0)
    dy = cases.draw(6, middle=0.0)

    def subject(variables, x, dy):
        def output(params, x):
            given = variables | {"params": params}
            return cases.apply(layer, given, x, train=train)[0]

        return jax.vjp(output, variables.get("params", {}), x)[1](dy)

    def judge(subject):
        formula = functools.partial(_expected, name, dy, train=train)
        right, _ = cases.reference_output(formula, variables, x, eps=layer.eps)
        return worst(subject(variables, x, dy), right)

    label = name if train else f"{name}, evaluation"
    kind = {"autodiff": "autodiff", "analytic": "by hand"}[backward]
    return Check(label, kind, jax.jit(subject), judge)


def _expected(name: str, dy: np.ndarray, g: Given, *, train: bool):
    """The formula on features in groups, and its result in the shapes of its inputs."""
    formula, axes, num_groups = FORMULAS[name]
    size = g.x.value.shape[-1]
    split = (size,) if num_groups is None else (num_groups, size // num_groups)
    group = lambda a: a.move(lambda a: a.reshape(*a.shape[:-1], *split))
    params = {key: group(a) for key, a in g.params.items()}
    call = Given(group(g.x), params, g.stats, train=train, eps=g.eps)
    slopes, dx = formula(call, group(g.x.of(dy)), axes)
    merge = lambda a, shape: a.move(lambda a: a.reshape(shape))
    vectors = {key: merge(a, (size,)) for key, a in slopes.items()}
    return (vectors, merge(dx, g.x.value.shape)), {}


def every_check() -> list[Check]:
    """By autodiff and by hand, of every norm that has a gradient by hand."""
    ways = ("autodiff", "analytic")
    found = [check(name, way) for name in FORMULAS for way in ways]
    return found + [check("batch", way, train=False) for way in ways]
