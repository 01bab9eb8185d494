"""Wrong values and statistics of norms: rows forward, bf16 and running."""

from collections.abc import Callable
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from normjax import layers
from normjax.checks import cases, forward
from normjax.checks.references import EPS
from normjax.ops import moments

from . import Mutant

SHAPE = cases.SHAPE
GROUPED = (*SHAPE[:-1], 4, 4)


# ---- formulas in NumPy and float64 ------------------------------------------------


def formula(name: str, defect: str, wrong: Callable) -> Mutant:
    """`wrong(x, params, stats)` in the place of a layer."""

    def subject(variables, x):
        params, stats = (variables.get(k, {}) for k in ("params", "batch_stats"))
        return wrong(x.astype(np.float64), params, stats)

    return Mutant(f"forward: {name}", defect, subject)


def affine(p: dict, z: np.ndarray) -> np.ndarray:
    return z * p.get("scale", 1.0) + p.get("bias", 0.0)


def standardized(
    x: np.ndarray,
    axes: tuple[int, ...],
    *,
    view: tuple[int, ...] = SHAPE,
    ddof: int = 0,
    divisor: Callable = lambda var: np.sqrt(var + EPS),
) -> np.ndarray:
    """`(x - mean) / divisor(var)` over axes of `x` in the shape `view`."""
    grouped = x.reshape(view)
    centered = grouped - grouped.mean(axes, keepdims=True)
    var = grouped.var(axes, keepdims=True, ddof=ddof)
    return (centered / divisor(var)).reshape(SHAPE)


def root_mean_square(x: np.ndarray, axes=-1, *, eps: float = EPS) -> np.ndarray:
    return np.sqrt(np.mean(x * x, axes, keepdims=True) + eps)


def frn_before_affine(x, p, s):
    """The threshold acts on what is not yet scaled and shifted."""
    return affine(p, np.maximum(x / root_mean_square(x, (1, 2)), p["threshold"]))


def evonorm_b0_sum(x, p, s):
    """A sum in the place of the maximum."""
    deviation = lambda axes: np.sqrt(np.var(x, axes, keepdims=True) + EPS)
    return affine(p, x / (deviation((0, 1, 2)) + p["gate"] * x + deviation((1, 2))))


def switchable_once(x, p, s):
    """The mixture of the means is that of the variances too."""
    weights = special.softmax(p["mean_logits"])
    axes = (1, 2), (1, 2, 3), (0, 1, 2)
    mean, var = (
        sum(w * f(x, a, keepdims=True) for w, a in zip(weights, axes))
        for f in (np.mean, np.var)
    )
    return affine(p, (x - mean) / np.sqrt(var + EPS))


def local_response_narrow(x, p, s):
    """A window of 3."""
    square = np.pad(x * x, [(0, 0)] * 3 + [(1, 1)])
    return x / (2 + 0.02 * sum(square[..., i : i + 16] for i in range(3))) ** 0.75


def dealt_out(x, p, s):
    """Group norm whose groups take the channels in turn."""
    order = np.arange(16).reshape(4, 4).T.ravel()
    z = standardized(x[..., order], (1, 2, 4), view=GROUPED)
    return affine(p, z[..., np.argsort(order)])


AXES = "means over other axes"
STATISTIC = "another statistic, factor or window"
ORDER = "another nonlinearity, or in another order"
ROOT = "eps or the root elsewhere, or none"
VALUES = {
    "variance over n - 1": formula(  # n = 2,048: the least that can be wrong
        "scalar_batch",
        "variance over n - 1",
        lambda x, p, s: affine(p, standardized(x, (0, 1, 2, 3), ddof=1)),
    ),
    "eps outside the root": formula(
        "layer",
        ROOT,
        lambda x, p, s: affine(
            p, standardized(x, (3,), divisor=lambda var: np.sqrt(var) + EPS)
        ),
    ),
    "no eps": formula(
        "instance",
        ROOT,
        lambda x, p, s: affine(p, standardized(x, (1, 2), divisor=np.sqrt)),
    ),
    "batch norm per pixel": formula(
        "batch", AXES, lambda x, p, s: affine(p, standardized(x, (0,)))
    ),
    "groups that take channels in turn": formula("group", AXES, dealt_out),
    "RMS norm that subtracts the mean": formula(
        "rms",
        "a mean subtracted where none is",
        lambda x, p, s: affine(p, standardized(x, (3,))),
    ),
    "a window of 3": formula("local_response", STATISTIC, local_response_narrow),
    "one mixture for means and variances": formula(
        "switchable", STATISTIC, switchable_once
    ),
    "spectral norm without a step": formula(
        "spectral", STATISTIC, lambda x, p, s: x / (s["v"] @ x.reshape(-1, 16) @ s["u"])
    ),
    "threshold before scale and bias": formula("frn", ORDER, frn_before_affine),
    "a sum for the maximum": formula("evonorm_b0", ORDER, evonorm_b0_sum),
    "alpha outside of tanh": formula(
        "dyt", ORDER, lambda x, p, s: affine(p, p["alpha"] * np.tanh(x))
    ),
}


# ---- layers with one function beneath them exchanged ------------------------------

OVER = moments.mean_and_var


def unmasked(x, axes, *, where=None, **settings) -> moments.Moments:
    """Zeros behind the mask, counted as if they were examples."""
    x = x if where is None else jnp.where(where, x, 0)
    m = OVER(x, axes, **settings)
    return m._replace(count=jnp.broadcast_to(m.count, m.mean.shape))


def patched(name: str, attribute: str, wrong: Callable, mask=None) -> Callable:
    """The forward of a layer while `moments.<attribute>` is another function."""
    layer = cases.layer_of(name)

    def run(variables, x):
        with mock.patch.object(moments, attribute, wrong):
            # A new function each time: nothing compiled before is taken for it.
            forward = jax.jit(lambda v, x: cases.apply(layer, v, x, mask=mask)[0])
            return forward(variables, x)

    return run


def narrow(variables, x):
    """Layer norm in bfloat16, its parameters too."""
    cast = lambda a: a.astype(x.dtype)
    run = patched("layer", "widen", lambda x: x)
    return run(jax.tree.map(cast, variables), x)


@jax.jit
def widened(variables, x):
    """What batch norm computes, not rounded to the dtype of `x`."""
    return cases.apply(cases.layer_of("batch"), variables, x.astype(jnp.float32))[0]


@jax.jit
def trained_instead(variables, x):
    """The batch's own statistics where the running ones belong."""
    return cases.apply(cases.layer_of("batch"), variables, x)[0]


@jax.jit
def shown_behind(variables, x):
    """What the statistics make of what is masked."""
    x = jnp.where(cases.random_mask()[..., None], x, 0)
    return cases.apply(cases.layer_of("frozen"), variables, x)[0]


PROGRAMS = {
    "evaluation by the batch": Mutant(
        "forward: batch, evaluation", "evaluates as it trains", trained_instead
    ),
    "zeros behind the mask that count": Mutant(
        "forward: group, masked",
        "counts or shows what is masked",
        patched("group", "mean_and_var", unmasked, jnp.asarray(cases.random_mask())),
    ),
    "outputs behind the mask": Mutant(
        "forward: frozen, masked", "counts or shows what is masked", shown_behind
    ),
    "in bfloat16 throughout": Mutant("bf16: layer", "narrow arithmetic", narrow),
    "float32 out of bfloat16": Mutant("bf16: batch", "another dtype", widened),
}


# ---- statistics over steps --------------------------------------------------------


def followed(layer, **wrong) -> Callable:
    """20 steps of a layer with other settings than the row's."""
    return jax.jit(forward.training_run(layer.clone(**wrong)))


def counted(layer) -> Callable:
    """20 steps of a layer that does not count them, with the count that is due."""
    run = followed(layer)

    def wrong(variables, xs):
        y, stats = run(variables, xs)
        return y, {"batch_stats": stats["batch_stats"] | {"step": forward.NUM_BATCHES}}

    return wrong


@jax.jit
def never_stepped(variables, xs):
    """Evaluation by the singular vectors that were there at first."""
    return cases.apply(cases.layer_of("spectral"), variables, xs[-1], train=False)


def preset(name: str, **wrong) -> Callable:
    """Batch norm of a preset with one convention of another."""
    return followed(layers.BatchNorm(**layers.PRESETS[name]), **wrong)


RUNNING = {
    "decay and 1 - decay swapped": Mutant(
        "running: online",
        "another decay",
        followed(cases.layer_of("online"), decay=0.01),
    ),
    "vectors that are never stepped": Mutant(
        "running: spectral", "another average", never_stepped
    ),
    "eps of another framework": Mutant(
        "running: batch, keras preset", "another eps", preset("keras", eps=1e-5)
    ),
}
