"""Gradients of every row of NORMS against central differences, in float64."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from normjax.checks import cases, rounding
from normjax.checks.rows import Check, share

SHAPE = (4, 2, 2, 8)
RADIUS = 0.5  # in std: y is analytic in x at least that far from a draw
STEP = 2 ** (-52 / 3) * RADIUS  # where truncation and rounding are about equal
NUM_DIRECTIONS = 4
Output = Callable[[PyTree, Array], Array]  # (params, x) -> y


class Slopes(NamedTuple):
    """Central differences along some directions, and how far off they may be."""

    directions: Float[np.ndarray, "directions n"]  # random ones, then every axis
    values: Float[np.ndarray, " directions"]
    budget: float


def drawn(name: str) -> tuple[PyTree, Array]:
    """`(variables, x)` in float64."""
    variables = cases.variables_of(cases.layer_of(name), SHAPE)
    return jax.tree.map(_widened, (variables, cases.draw(3, SHAPE)))


def loss_signs() -> np.ndarray:
    """The weights of the entries of `y` in the loss `sum(w * y)`: -1 or 1."""
    return np.sign(np.random.default_rng(4).random(SHAPE) - 0.5)


def check(name: str, *, by_hand: bool = False) -> Check:
    """The gradient of the loss in x and all parameters; `by_hand` if not autodiff."""
    layer = cases.layer_of(name)
    layer = layer.clone(backward="analytic") if by_hand else layer

    def subject(variables, x):
        def loss(params, x):
            y, _ = cases.apply(layer, variables | {"params": params}, x)
            return jnp.sum(loss_signs() * y)

        return jax.grad(loss, (0, 1))(variables.get("params", {}), x)

    def judge(subject):
        with jax.enable_x64(True):
            return _worst(jax.jit(subject)(*drawn(name)), slopes(name))

    return Check(f"{name}, by hand" if by_hand else name, "gradient", subject, judge)


def _worst(grads: PyTree, right: Slopes) -> tuple[float, float]:
    """The worse of the random directions, relative to ||g||, and the axes, to max |g|.

    The directions have unit variance: their slopes are of the size of ||g||.
    """
    grad = np.asarray(ravel_pytree(grads)[0])
    errors = np.abs(right.directions @ grad - right.values)
    random, axes = errors[:NUM_DIRECTIONS], errors[NUM_DIRECTIONS:]
    truth = right.values[NUM_DIRECTIONS:]
    sizes = float(np.linalg.norm(truth)), float(np.max(np.abs(truth)))
    judged = [
        (float(np.max(found)) / size, right.budget / size)
        for found, size in zip((random, axes), sizes)
    ]
    return max(judged, key=share)


@functools.cache
def slopes(name: str) -> Slopes:
    """The differences of step h, and their budget.

    The central difference of a function that is analytic and below M within r is h^2
    |f'''| / 6 <= h^2 M / r^3 off (Cauchy). y is analytic in x until a variance
    vanishes, at least r = half a std away, and has at most doubled there. The w are
    signs and independent of y, so by Hoeffding 4 ||y|| bounds their sum: M = 8 ||y||.
    Rounding: each of the two outputs errs by what the running error analysis of its
    formula finds, e, and its input by one rounding of x: together
    4 (||e|| + unit ||g x||) / h.
    """
    variables, x = drawn(name)
    layer = cases.layer_of(name)
    output = CONSTANTS.get(name, _output)(layer, variables, x)
    flat, unravel = ravel_pytree((variables.get("params", {}), x))
    random = np.random.default_rng(5).normal(size=(NUM_DIRECTIONS, flat.size))
    directions = np.concatenate([random, np.eye(flat.size)])

    @jax.jit
    def along(v: Float[Array, " n"]):
        # Outputs are subtracted before they are summed: what stays adds no rounding.
        ahead, behind = (output(*unravel(flat + s * v)) for s in (STEP, -STEP))
        return jnp.sum(loss_signs() * (ahead - behind)) / (2 * STEP)

    values = np.asarray(jax.vmap(along)(directions))
    right, _ = cases.expected(name, variables, x, rounding.UNIT64, train=True)
    truncation = STEP**2 * 8 * np.linalg.norm(right.value) / RADIUS**3
    inputs = np.linalg.norm(values[NUM_DIRECTIONS:] * np.asarray(flat))
    noise = np.linalg.norm(right.error) + rounding.UNIT64 * inputs
    return Slopes(directions, values, float(truncation + 4 * noise / STEP))


def _widened(a: np.ndarray) -> Array:
    floating = np.issubdtype(a.dtype, np.floating)
    return jnp.asarray(a, jnp.float64 if floating else a.dtype)


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
    stats, axes = variables["batch_stats"], (0, 1, 2)
    limits, std = cases.LIMITS, np.sqrt(np.var(x, axes) + cases.EPS)
    past = np.sqrt(stats["var"] + cases.EPS)
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


def checks() -> list[Check]:
    """By row of NORMS, and by hand of those that have it."""
    names = cases.CASES
    written = [name for name in names if hasattr(cases.layer_of(name), "backward")]
    return [check(n) for n in names] + [check(n, by_hand=True) for n in written]
