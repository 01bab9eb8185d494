"""Wrong gradients: rows gradient (against differences), by hand and autodiff."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from normjax.checks import gradients, gradients_float32
from normjax.checks.references import EPS

from . import Mutant

SHAPE = gradients.INPUT_SHAPE
CONSTANT = jax.lax.stop_gradient


# ---- by autodiff of another function ----------------------------------------------


def gradient_of(output: Callable) -> Callable:
    """`(variables, x) -> gradient` of the loss of the gradient rows."""

    def wrong(variables, x):
        loss = lambda p, x: jnp.sum(gradients.loss_signs() * output(p, x, variables))
        return jax.grad(loss, (0, 1))(variables.get("params", {}), x)

    return wrong


def in_float32(variables, x):
    """RMS norm's gradient in float32, where float64 came and went."""
    cast = lambda dtype: lambda a: a.astype(dtype)
    narrow = jax.tree.map(cast(jnp.float32), (variables, x))
    subject = gradients.check("rms").subject
    return jax.tree.map(cast(jnp.float64), subject(*narrow))


def affine(params, z):
    row = lambda a: a.reshape(1, 1, 1, -1)
    return z * row(params["scale"]) + row(params["bias"])


def blind(to: str, view: tuple[int, ...], axes: tuple[int, ...]) -> Callable:
    """The gradient with the mean or the variance taken for a constant."""

    def output(params, x, variables):
        del variables
        grouped = x.reshape(view)
        mean = jnp.mean(grouped, axes, keepdims=True)
        mean = CONSTANT(mean) if to == "mean" else mean
        var = jnp.mean((grouped - mean) ** 2, axes, keepdims=True)
        var = CONSTANT(var) if to == "variance" else var
        return affine(params, ((grouped - mean) / jnp.sqrt(var + EPS)).reshape(x.shape))

    return gradient_of(output)


def weight(params, v, variables):
    """The length taken for a constant."""
    square = CONSTANT(jnp.sum(v * v, (0, 1, 2), keepdims=True))
    return v / jnp.sqrt(square + EPS) * params["scale"].reshape(1, 1, 1, -1)


def spectral(params, kernel, variables):
    """The singular vectors differentiated too."""
    unit = lambda a: a / jnp.sqrt(jnp.sum(a * a))
    matrix = kernel.reshape(-1, SHAPE[-1])
    u = unit(variables["batch_stats"]["v"] @ matrix)
    return kernel / (unit(matrix @ u) @ matrix @ u)


STATISTIC = "blind to a statistic"
DIFFERENTIATED = {
    "gradient in float32": Mutant("gradient: rms", "narrow arithmetic", in_float32),
    "blind to the mean": Mutant(
        "gradient: group", STATISTIC, blind("mean", (*SHAPE[:-1], 4, 2), (1, 2, 4))
    ),
    "blind to the variance": Mutant(
        "gradient: batch", STATISTIC, blind("variance", SHAPE, (0, 1, 2))
    ),
    "blind to the length": Mutant("gradient: weight", STATISTIC, gradient_of(weight)),
    "through the singular vectors": Mutant(
        "gradient: spectral", "through what is a constant", gradient_of(spectral)
    ),
}


# ---- by hand ----------------------------------------------------------------------


def by_hand(
    row: str,
    defect: str,
    *,
    mean: bool = True,
    along: bool = True,
    ddof: int = 0,
    eps: float = EPS,
    inputs: bool = False,
) -> Mutant:
    """`dx = r (dz - mean(dz) - z mean(dz z))` without one of its terms, in NumPy."""
    name = row.partition(": ")[2].partition(",")[0]
    axes = gradients_float32.FORMULAS[name].axes

    def wrong(variables, x, dy):
        x, dy, scale = (np.float64(a) for a in (x, dy, variables["params"]["scale"]))
        average = functools.partial(np.mean, axis=axes, keepdims=True)
        n = np.prod([x.shape[a] for a in axes])
        divisor = np.sqrt(average((x - average(x)) ** 2) + eps)
        z, dz = (x - average(x)) / divisor, dy * scale
        share = n / (n - ddof)
        dx = dz - share * (average(dz) if mean else 0)
        dx = (dx - share * (z * average(dz * z) if along else 0)) / divisor
        dscale, dbias = (np.sum(a, (0, 1, 2)) for a in (dy * (x if inputs else z), dy))
        return {"bias": dbias, "scale": dscale}, dx

    return Mutant(row, defect, wrong)


def rms_by_hand(variables, x, dy):
    """Layer norm's gradient: with a mean term."""
    average = functools.partial(np.mean, axis=-1, keepdims=True)
    divisor = np.sqrt(average(np.float64(x) ** 2) + EPS)
    z, dz = x / divisor, dy * variables["params"]["scale"]
    dx = (dz - average(dz) - z * average(dz * z)) / divisor
    return {"scale": np.sum(dy * z, (0, 1, 2))}, dx


TERM = "a term missing, or one too many"
WRITTEN = {
    "no mean term": by_hand("by hand: batch", TERM, mean=False),
    "no variance term": by_hand("by hand: layer", TERM, along=False),
    "a mean term of RMS norm": Mutant("by hand: rms", TERM, rms_by_hand),
    "n - 1 for n": by_hand("by hand: batch", "n - 1 for n", ddof=1),
    "no eps in the gradient": by_hand("by hand: instance", "another eps", eps=0.0),
    "the scale's gradient of x, not z": by_hand(
        "by hand: instance", "of x, not z", inputs=True
    ),
    "evaluation as in training": by_hand(
        "by hand: batch, evaluation", "evaluates as it trains"
    ),
    "autodiff without a variance term": by_hand(
        "autodiff: instance", TERM, along=False
    ),
    "autodiff with n - 1 for n": by_hand("autodiff: layer", "n - 1 for n", ddof=1),
    "autodiff without eps": by_hand("autodiff: batch", "another eps", eps=0.0),
    "autodiff of x, not z": by_hand("autodiff: batch", "of x, not z", inputs=True),
    "autodiff of the evaluation as in training": by_hand(
        "autodiff: batch, evaluation", "evaluates as it trains"
    ),
}
