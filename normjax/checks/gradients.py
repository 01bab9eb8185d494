"""Checks of the gradient of every norm against central differences, in float64."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from normjax.checks import cases, differences, references_batch, rounding
from normjax.checks.references import EPS
from normjax.checks.rows import Check, most_used

INPUT_SHAPE = (4, 2, 2, 8)
RADIUS = 0.5  # in std: y is analytic in x at least that far from a draw
STEP = 2 ** (-52 / 3) * RADIUS  # where truncation and rounding are about equal
NUM_DIRECTIONS = 4
Output = Callable[[PyTree, Array], Array]  # (params, x) -> y


class CentralDifferences(NamedTuple):
    """Central differences along some directions, and how far off they may be."""

    directions: Float[np.ndarray, "directions n"]  # random ones, then every axis
    values: Float[np.ndarray, " directions"]
    budget: float


def random_inputs(name: str) -> tuple[PyTree, Array]:
    """`(variables, x)` in float64."""
    variables = cases.variables_of(cases.layer_of(name), INPUT_SHAPE)
    widen = lambda a: jnp.asarray(a, jnp.float64 if a.dtype.kind == "f" else a.dtype)
    return jax.tree.map(widen, (variables, cases.draw(3, INPUT_SHAPE)))


def loss_signs() -> np.ndarray:
    """The weights of the entries of `y` in the loss `sum(w * y)`: -1 or 1."""
    return np.sign(np.random.default_rng(4).random(INPUT_SHAPE) - 0.5)


def check(name: str, *, by_hand: bool = False) -> Check:
    """The gradient of the loss in x and all parameters, by autodiff or by hand.

    The error is the worst of an entry, relative to the largest of the gradient, and of
    the slope along a random direction, relative to the gradient's length.
    """
    layer = cases.layer_of(name)
    layer = layer.clone(backward="analytic") if by_hand else layer

    def subject(variables, x):
        def loss(params, x):
            y, _ = cases.apply(layer, variables | {"params": params}, x)
            return jnp.sum(loss_signs() * y)

        return jax.grad(loss, (0, 1))(variables.get("params", {}), x)

    def judge(subject):
        with jax.enable_x64(True):
            found = np.asarray(ravel_pytree(jax.jit(subject)(*random_inputs(name)))[0])
            right = central_differences(name)
        errors = np.abs(right.directions @ found - right.values)
        truth = right.values[NUM_DIRECTIONS:]
        parts = (  # the random directions have unit variance
            (errors[:NUM_DIRECTIONS], np.linalg.norm(truth)),
            (errors[NUM_DIRECTIONS:], np.max(np.abs(truth))),
        )
        judged = [(np.max(off) / size, right.budget / size) for off, size in parts]
        return most_used(judged)

    return Check(f"{name}, by hand" if by_hand else name, "gradient", subject, judge)


@functools.cache
def central_differences(name: str) -> CentralDifferences:
    """The differences of step h, and their budget.

    The central difference of a function that is analytic and below M within r is h^2
    |f'''| / 6 <= h^2 M / r^3 off (Cauchy). y is analytic in x until a variance
    vanishes, at least r = half a std away, and has at most doubled there. The w are
    signs and independent of y, so by Hoeffding 4 ||y|| bounds their sum: M = 8 ||y||.
    Rounding: each of the two outputs errs by what the running error analysis of its
    reference finds, e, and its input by one rounding of x: together
    4 (||e|| + unit ||g x||) / h.
    """
    variables, x = random_inputs(name)
    output = CONSTANTS.get(name, _output)(cases.layer_of(name), variables, x)
    flat, unravel = ravel_pytree((variables.get("params", {}), x))
    random = np.random.default_rng(5).normal(size=(NUM_DIRECTIONS, flat.size))
    directions = np.concatenate([random, np.eye(flat.size)])
    along = lambda shares: output(*unravel(flat + shares @ directions))
    zeros, signs = jnp.zeros(len(directions)), loss_signs()
    found = differences.central(along, (zeros,), signs, step=STEP, levels=1)
    values = np.asarray(found[0])
    right, _ = cases.expected_output(name, variables, x, unit=rounding.UNIT64)
    truncation = STEP**2 * 8 * np.linalg.norm(right.value) / RADIUS**3
    inputs = np.linalg.norm(values[NUM_DIRECTIONS:] * np.asarray(flat))
    noise = np.linalg.norm(right.error) + rounding.UNIT64 * inputs
    return CentralDifferences(directions, values, float(truncation + 4 * noise / STEP))


def _output(layer, variables, x) -> Output:
    del x
    return lambda params, x: cases.apply(layer, variables | {"params": params}, x)[0]


def _spectral_output(layer, variables, x) -> Output:
    """Evaluation by the vectors that training has just stepped to: constants."""
    _, stats = cases.apply(layer, variables, x)
    return lambda params, x: cases.apply(layer, stats, x, train=False)[0]


def _renorm_output(layer, variables, x) -> Output:
    """Batch norm with scale and bias that hold the constants r and d of `x`."""
    del layer
    stats, axes, limits = variables["batch_stats"], (0, 1, 2), references_batch.LIMITS
    std, past = np.sqrt(np.var(x, axes) + EPS), np.sqrt(stats["var"] + EPS)
    most = np.float32(limits["r_max"])  # the layer's schedule is in float32
    r = np.clip(std / past, 1 / most, most)
    d = (np.mean(x, axes) - stats["mean"]) / past
    d = np.clip(d, -limits["d_max"], limits["d_max"])
    batch = cases.layer_of("batch")

    def output(params, x):
        scale, bias = params["scale"], params["bias"]
        given = {"scale": scale * r, "bias": bias + scale * d}
        return cases.apply(batch, {"params": given, "batch_stats": stats}, x)[0]

    return output


# What is a constant to autodiff moves under differences: here it is held fixed.
CONSTANTS = {"spectral": _spectral_output, "batch_renorm": _renorm_output}


def every_check() -> list[Check]:
    """Autodiff of every norm, and the gradients by hand of those that have one."""
    names = cases.CASES
    written = [name for name in names if hasattr(cases.layer_of(name), "backward")]
    return [check(n) for n in names] + [check(n, by_hand=True) for n in written]
