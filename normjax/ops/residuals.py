"""The forward passes of the norms together with what their backward needs.

Each returns `(output, Residuals)`, the output that of its namesake. `where` is a mask
with an axis for the features. Nothing here checks its arguments: the norms do.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from normjax.ops import moments, norms, weights
from normjax.ops.backward import Residuals
from normjax.ops.norms import Vector

Where = Bool[Array, "..."] | None
Output = Float[Array, "..."]


def batch_norm(
    x: Num[Array, "*batch features"],
    scale: Vector = None,
    bias: Vector = None,
    where: Where = None,
    *,
    eps: float = 1e-5,
) -> tuple[tuple[Output, moments.Moments], Residuals]:
    """In training; the output is `y` and the moments of the batch."""
    now = moments.over(x, tuple(range(x.ndim - 1)), where=where)
    y, kept = standardize(x, now.mean, now.var, scale, bias, where, eps=eps)
    return (y, now), kept


def batch_norm_evaluation(
    x: Num[Array, "*batch features"],
    running: moments.Running,
    scale: Vector = None,
    bias: Vector = None,
    where: Where = None,
    *,
    eps: float = 1e-5,
) -> tuple[Output, Residuals]:
    """By running moments."""
    row = (1,) * (x.ndim - 1) + (-1,)
    mean, var = (a.reshape(row) for a in running)
    return standardize(x, mean, var, scale, bias, where, eps=eps)


def layer_norm(
    x: Num[Array, "*batch features"],
    scale: Vector = None,
    bias: Vector = None,
    where: Where = None,
    *,
    axes: tuple[int, ...] = (-1,),
    eps: float = 1e-5,
) -> tuple[Output, Residuals]:
    """A mean and an inverse per row."""
    m = moments.over(x, axes, where=where)
    return standardize(x, m.mean, m.var, scale, bias, where, eps=eps)


def rms_norm(
    x: Num[Array, "*batch features"],
    scale: Vector = None,
    where: Where = None,
    *,
    axes: tuple[int, ...] = (-1,),
    eps: float = 1e-5,
) -> tuple[Output, Residuals]:
    """An inverse per row."""
    m = moments.mean_square(x, axes, where=where)
    y, kept = standardize(x, m.mean, m.var, scale, None, where, eps=eps)
    return y, kept._replace(mean=None)


def group_norm(
    x: Num[Array, "batch *spatial features"],
    scale: Vector = None,
    bias: Vector = None,
    where: Where = None,
    *,
    num_groups: int,
    eps: float = 1e-5,
) -> tuple[Output, Residuals]:
    """A mean and an inverse per example and group."""
    mean, var = norms.group_moments(x, num_groups, where=where)
    spread = (jnp.repeat(a, x.shape[-1] // num_groups, -1) for a in (mean, var))
    y = norms.standardize(x, *spread, scale, bias, eps=eps, where=where)
    return y, Residuals(x, mean, jax.lax.rsqrt(var + eps), scale, where)


def weight_norm(
    kernel: Num[Array, "*inputs features"], scale: Vector, *, eps: float = 1e-12
) -> tuple[Output, Residuals]:
    """An inverse norm per feature."""
    w = weights.weight_norm(kernel, scale, eps=eps)
    inverse = 1 / weights.feature_norms(kernel, eps=eps)
    row = (1,) * (kernel.ndim - 1) + (-1,)
    return w, Residuals(kernel, None, inverse.reshape(row), scale)


def weight_standardization(
    kernel: Num[Array, "*inputs features"], *, eps: float = 1e-10
) -> tuple[Output, Residuals]:
    """A mean and an inverse per feature."""
    m = moments.over(kernel, tuple(range(kernel.ndim - 1)))
    return standardize(kernel, m.mean, m.var, eps=eps)


def standardize(
    x: Num[Array, "*batch features"],
    mean: Float[Array, "..."],
    var: Float[Array, "..."],
    scale: Vector = None,
    bias: Vector = None,
    where: Where = None,
    *,
    eps: float,
) -> tuple[Output, Residuals]:
    """`norms.standardize` by moments that are given."""
    y = norms.standardize(x, mean, var, scale, bias, eps=eps, where=where)
    return y, Residuals(x, mean, jax.lax.rsqrt(var + eps), scale, where)
