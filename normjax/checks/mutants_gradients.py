"""Wrong gradients: by autodiff of what should be a constant or not, and by hand."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from normjax.checks import analytic, cases, gradients
from normjax.checks.cases import EPS
from normjax.checks.rows import Check, Mutant

SHAPE = gradients.SHAPE
GROUPED = (*SHAPE[:-1], 4, 2)
MOMENTS = {
    "batch": (SHAPE, (0, 1, 2)),
    "layer": (SHAPE, (3,)),
    "group": (GROUPED, (1, 2, 4)),
    "layer_example": (SHAPE, (1, 2, 3)),
    "instance": (SHAPE, (1, 2)),
    "weight_standardization": (SHAPE, (0, 1, 2)),
}
CONSTANT = jax.lax.stop_gradient


def gradient_of(output: Callable) -> Callable:
    """`(variables, x) -> gradient` of the loss of the gradient rows."""

    def wrong(variables, x):
        loss = lambda p, x: jnp.sum(gradients.loss_signs() * output(p, x, variables))
        return jax.grad(loss, (0, 1))(variables.get("params", {}), x)

    return wrong


def narrow(check: Check) -> Mutant:
    """Float32 between, where float64 came and went."""
    right = check.subject

    def wrong(variables, x):
        cast = lambda dtype: lambda a: a.astype(dtype) if a.dtype != jnp.int32 else a
        given = jax.tree.map(cast(jnp.float32), (variables, x))
        return jax.tree.map(cast(jnp.float64), right(*given))

    return Mutant(f"gradient: {check.name}", wrong)


def affine(params, z):
    """`scale * z + bias`, with what there is of the two."""
    row = lambda a: a.reshape(1, 1, 1, -1)
    z = z * row(params["scale"]) if "scale" in params else z
    return z + row(params["bias"]) if "bias" in params else z


def blind(name: str, to: str) -> Mutant:
    """The gradient with the mean or the variance taken for a constant."""
    view, axes = MOMENTS[name]

    def output(params, x, variables):
        del variables
        grouped = x.reshape(view)
        mean = jnp.mean(grouped, axes, keepdims=True)
        mean = CONSTANT(mean) if to == "mean" else mean
        var = jnp.mean((grouped - mean) ** 2, axes, keepdims=True)
        var = CONSTANT(var) if to == "variance" else var
        return affine(params, ((grouped - mean) / jnp.sqrt(var + EPS)).reshape(x.shape))

    return Mutant(f"gradient: {name}", gradient_of(output))


def rms(params, x, variables):
    """The mean square taken for a constant."""
    del variables
    square = CONSTANT(jnp.mean(x * x, -1, keepdims=True))
    return affine(params, x / jnp.sqrt(square + EPS))


def weight(params, v, variables):
    """The length taken for a constant."""
    del variables
    square = CONSTANT(jnp.sum(v * v, (0, 1, 2), keepdims=True))
    return affine(params, v / jnp.sqrt(square + EPS))


def spectral(params, kernel, variables):
    """The singular vectors differentiated too."""
    del params
    unit = lambda a: a / jnp.sqrt(jnp.sum(a * a))
    matrix = kernel.reshape(-1, SHAPE[-1])
    u = unit(variables["batch_stats"]["v"] @ matrix)
    return kernel / (unit(matrix @ u) @ matrix @ u)


def batch_renorm(params, x, variables):
    """R and d differentiated too."""
    stats, axes, limits = variables["batch_stats"], (0, 1, 2), cases.LIMITS
    mean, std = jnp.mean(x, axes), jnp.sqrt(jnp.var(x, axes) + EPS)
    past = jnp.sqrt(stats["var"] + EPS)
    r = jnp.clip(std / past, 1 / limits["r_max"], limits["r_max"])
    d = jnp.clip((mean - stats["mean"]) / past, -limits["d_max"], limits["d_max"])
    row = lambda a: a.reshape(1, 1, 1, -1)
    return affine(params, (x - row(mean)) * row(r / std) + row(d))


def switchable(params, x, variables):
    """The weights of the mixture taken for constants."""
    mixed = {f"{of}_logits": CONSTANT(params[f"{of}_logits"]) for of in ("mean", "var")}
    layer = cases.layer_of("switchable")
    return cases.apply(layer, variables | {"params": params | mixed}, x)[0]


# ---- by hand ----------------------------------------------------------------------


def by_hand(
    name: str,
    kind: str = "by hand",
    *,
    mean: bool = True,
    along: bool = True,
    ddof: int = 0,
    eps: float = analytic.EPS,
    inputs: bool = False,
    scaled: bool = True,
) -> Mutant:
    """`dx = r (dz - mean(dz) - z mean(dz z))` without one of its terms, in NumPy."""
    case = analytic.CASES[name]

    def wrong(dy, x, scale, bias):
        del bias
        x, dy = (np.asarray(a, np.float64).reshape(case.view) for a in (x, dy))
        scale = np.asarray(scale, np.float64).reshape(case.view[3:])
        over = functools.partial(np.mean, axis=case.axes, keepdims=True)
        n = np.prod([case.view[a] for a in case.axes])
        divisor = np.sqrt(over((x - over(x)) ** 2) + eps)
        z, dz = (x - over(x)) / divisor, dy * (scale if scaled else 1)
        share = n / (n - ddof)
        dx = dz - share * (over(dz) if mean else 0)
        dx = (dx - share * (z * over(dz * z) if along else 0)) / divisor
        dscale = np.sum(dy * (x if inputs else z), case.vectors)
        shapes = analytic.SHAPE, (16,), (16,)
        found = dx, dscale, np.sum(dy, case.vectors)
        return tuple(a.reshape(s) for a, s in zip(found, shapes))

    return Mutant(f"{kind}: {name}", wrong)


def weight_by_hand(dy, v, scale, bias):
    """`dv = scale r dw` without the part along v."""
    del bias
    length = np.sqrt(np.sum(np.float64(v) ** 2, (0, 1, 2)))
    return scale / length * dy, np.sum(dy * v / length, (0, 1, 2))


def rms_by_hand(dy, x, scale, bias):
    """Layer norm's gradient: with a mean term."""
    del bias
    over = functools.partial(np.mean, axis=-1, keepdims=True)
    divisor = np.sqrt(over(np.float64(x) ** 2) + analytic.EPS)
    z, dz = x / divisor, dy * scale
    dx = (dz - over(dz) - z * over(dz * z)) / divisor
    return dx, np.sum(dy * z, (0, 1, 2))


WRONG = {
    "missing mean term": {"mean": False},
    "missing variance term": {"along": False},
    "n - 1 for n": {"ddof": 1},
    "no eps": {"eps": 0.0},
    "dscale of x, not z": {"inputs": True},
}
MUTANTS = {
    **{f"{c.name}: gradient in float32": narrow(c) for c in gradients.checks()},
    **{
        f"{name}: gradient blind to the {to}": blind(name, to)
        for name in MOMENTS
        for to in ("mean", "variance")
    },
    **{
        f"{of.__name__}: {wrong}": Mutant(f"gradient: {of.__name__}", gradient_of(of))
        for of, wrong in (
            (rms, "gradient blind to the mean square"),
            (weight, "gradient blind to the length"),
            (spectral, "gradient through the singular vectors"),
            (batch_renorm, "gradient through r and d"),
            (switchable, "gradient blind to the logits"),
        )
    },
    **{
        f"{name}, {kind}: {wrong}": by_hand(name, kind, **how)
        for kind in ("by hand", "autodiff")
        for name in ("batch", "layer", "group", "instance")
        for wrong, how in WRONG.items()
    },
    **{
        f"weight_standardization, {kind}: {wrong}": by_hand(
            "weight_standardization", kind, scaled=False, **WRONG[wrong]
        )
        for kind in ("by hand", "autodiff")
        for wrong in ("missing mean term", "missing variance term", "n - 1 for n")
    },
    **{
        f"{name}, {kind}: {wrong}": Mutant(f"{kind}: {name}", subject)
        for kind in ("by hand", "autodiff")
        for name, wrong, subject in (
            ("weight", "not orthogonal to v", weight_by_hand),
            ("rms", "with a mean term", rms_by_hand),
            ("batch, evaluation", "as in training", by_hand("batch").wrong),
        )
    },
}
