"""Gradients of the norms by hand: what autodiff computes, derived and written out.

Each function takes `dy`, the gradient of a loss with respect to the norm's output,
and what the forward pass kept, and returns the gradients with respect to the norm's
inputs. In the derivations

    z = (x - mean) * r,  r = (var + eps)^(-1/2),  y = scale * z + bias,
    n = elements behind each mean, d<name> = gradient with respect to <name>,

and a sum is over the elements behind a mean unless it says otherwise. All is computed
in float32 or wider; `dx` is returned in the dtype of `x`, the others as computed.
Outside the mask `dy` counts for nothing and `dx` is 0, even if `x` is nan there.
Plain functions of arrays: every transform of JAX applies to them.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from normjax.ops import moments


class Residuals(NamedTuple):
    """What a norm keeps for its backward: `x` as given, nothing else of its size.

    `mean` and `inverse` have as many axes as `x`, with size 1 where a mean is over
    the whole axis and one entry per group on the last axis of a group norm.
    """

    x: Num[Array, "..."]
    mean: Float[Array, "..."] | None  # None is 0
    inverse: Float[Array, "..."]  # r = 1 / sqrt(var + eps)
    scale: Float[Array, " features"] | None = None  # None is 1
    where: Bool[Array, "..."] | None = None  # broadcasts to `x`


class Gradients(NamedTuple):
    """Gradients of the loss by the inputs of a norm; None for an input it lacks."""

    x: Float[Array, "..."]
    scale: Float[Array, " features"] | None = None
    bias: Float[Array, " features"] | None = None
    running: moments.Running | None = None  # in evaluation


def batch_norm(
    dy: Num[Array, "*batch features"],
    residuals: Residuals,
    *,
    now: moments.Moments | None = None,
) -> Gradients:
    """`dx = r * scale * (dy - dbias / n - z * dscale / n)`, with moments per feature.

    It serves weight standardization too: there the inputs of a feature are the batch.

    Scale and bias meet `z` in each element of their feature:

        dbias = sum(dy),  dscale = sum(dy * z),  dz = scale * dy.

    `x` reaches `z` by itself, by `mean` and by `var`, the latter not through `mean`,
    for d var / d mean = -2 / n * sum(x - mean) = 0:

        dvar  = sum(dz * (x - mean)) * dr/dvar,   dr/dvar = -r^3 / 2
              = -r^2 / 2 * sum(dz * z)
        dmean = -r * sum(dz)
        dx    = r * dz + dmean / n + dvar * 2 * (x - mean) / n
              = r * (dz - sum(dz) / n - z * sum(dz * z) / n).

    Here `scale` is constant over each sum, sum(dz) = scale * dbias and sum(dz * z) =
    scale * dscale: two sums serve all three gradients. Where the loss also depends on
    the batch's moments, as by the running ones, their gradients `now`, in the shape of
    `residuals.mean` (None is 0), join dmean and dvar.
    """
    dy, z = _dy_and_z(dy, residuals)
    axes = tuple(range(dy.ndim - 1))
    n = _count(residuals, axes)
    dbias, dscale = _sum(dy, axes), _sum(dy * z, axes)

    factor = residuals.inverse * _row(residuals.scale, dy)
    direct, along = factor * dbias, factor * dscale
    if now is not None:
        direct = direct - now.mean
        along = along - 2 * now.var / residuals.inverse
    dx = factor * dy - direct / n - z * (along / n)
    return Gradients(_as_dx(dx, residuals), dscale.ravel(), dbias.ravel())


def batch_norm_evaluation(
    dy: Num[Array, "*batch features"], residuals: Residuals
) -> Gradients:
    """`dx = r * scale * dy`: the running moments do not depend on `x`.

    With `dbias`, `dscale`, `dmean` and `dvar` as in training:

        drunning.mean = -r * scale * dbias
        drunning.var  = -r^2 / 2 * scale * dscale.
    """
    dy, z = _dy_and_z(dy, residuals)
    axes = tuple(range(dy.ndim - 1))
    dbias, dscale = _sum(dy, axes), _sum(dy * z, axes)

    factor = residuals.inverse * _row(residuals.scale, dy)
    mean, var = -factor * dbias, -factor * residuals.inverse / 2 * dscale
    running = moments.Running(mean.ravel(), var.ravel())
    dx = _as_dx(factor * dy, residuals)
    return Gradients(dx, dscale.ravel(), dbias.ravel(), running)


def layer_norm(dy: Num[Array, "*batch features"], residuals: Residuals) -> Gradients:
    """`dx = r * (dz - mean(dz) - z * mean(dz * z))`, means where `inverse` has size 1.

    The steps are those of `batch_norm` with another axis: `scale` now varies
    within each mean and stays inside, dz = scale * dy, and its own gradient and that
    of `bias` are sums over the rows,

        dbias = sum over rows of dy,  dscale = sum over rows of dy * z.
    """
    dy, z = _dy_and_z(dy, residuals)
    dz = dy * _row(residuals.scale, dy)
    dx = residuals.inverse * (dz - _mean(dz, residuals) - z * _mean(dz * z, residuals))
    rows = tuple(range(dy.ndim - 1))
    return Gradients(_as_dx(dx, residuals), jnp.sum(dy * z, rows), jnp.sum(dy, rows))


def rms_norm(dy: Num[Array, "*batch features"], residuals: Residuals) -> Gradients:
    """`dx = r * (dz - z * mean(dz * z))`, the mean where `inverse` has size 1.

    With z = x * r, r = (square + eps)^(-1/2), square = mean(x^2), dz = scale * dy:

        dsquare = sum(dz * x) * -r^3 / 2 = -r^2 / 2 * sum(dz * z)
        dx      = r * dz + dsquare * 2 * x / n
                = r * (dz - z * sum(dz * z) / n).
    """
    dy, z = _dy_and_z(dy, residuals)
    dz = dy * _row(residuals.scale, dy)
    dx = residuals.inverse * (dz - z * _mean(dz * z, residuals))
    rows = tuple(range(dy.ndim - 1))
    return Gradients(_as_dx(dx, residuals), jnp.sum(dy * z, rows))


def group_norm(
    dy: Num[Array, "batch *spatial features"], residuals: Residuals
) -> Gradients:
    """`dx = r * (dz - sum(dz) / n - z * sum(dz * z) / n)` per example and group.

    The steps are those of `batch_norm` with other sums. Over space alone `scale` is
    constant, so per example and channel

        a = sum over space of dy,  b = sum over space of dy * z

    are all that is summed over something of the size of `x`. Then

        sum(dz) = sum over the group of scale * a,  dbias = sum over examples of a,
        sum(dz * z) = sum over the group of scale * b,  dscale = ... of b.
    """
    groups = residuals.inverse.shape[-1]
    size = residuals.x.shape[-1] // groups
    spread = lambda sums: jnp.repeat(sums, size, -1)
    inverse, mean = jax.tree.map(spread, (residuals.inverse, residuals.mean))
    dy, z = _dy_and_z(dy, residuals._replace(inverse=inverse, mean=mean))
    space = tuple(range(1, dy.ndim - 1))
    scale = _row(residuals.scale, dy)
    a = jnp.sum(dy, space, keepdims=True)
    b = jnp.sum(dy * z, space, keepdims=True)

    def over_group(sums):
        grouped = sums.reshape(*sums.shape[:-1], groups, size)
        return spread(jnp.sum(grouped, -1))

    n = _count(residuals, space, over_group)
    n = n * size if residuals.where is None else n
    direct, along = over_group(scale * a) / n, over_group(scale * b) / n
    dx = inverse * (scale * dy - direct - z * along)
    dscale, dbias = (jnp.sum(sums, 0).ravel() for sums in (b, a))
    return Gradients(_as_dx(dx, residuals), dscale, dbias)


def weight_norm(dw: Num[Array, "*inputs features"], residuals: Residuals) -> Gradients:
    """`dv = scale * r * (dw - v * r * dscale)`, with the norm of each output feature.

    For w = scale * v * r, r = (sum(v^2) + eps)^(-1/2), sums over a feature's inputs;
    the residuals are `x` = v, no mean, `inverse` = r in the shape [..., features].

        dscale = sum(dw * v) * r
        dr     = scale * sum(dw * v) = scale * dscale / r
        dv     = scale * r * dw + dr * -r^3 / 2 * 2 * v
               = scale * r * (dw - v * r * dscale).

    For eps = 0 it is eq. 3 of Salimans and Kingma (2016, arXiv:1602.07868).
    """
    dw, unit = _dy_and_z(dw, residuals)
    dscale = jnp.sum(dw * unit, tuple(range(dw.ndim - 1)), keepdims=True)
    factor = residuals.inverse * _row(residuals.scale, dw)
    dv = factor * (dw - unit * dscale)
    return Gradients(_as_dx(dv, residuals), dscale.ravel())


def _dy_and_z(dy, residuals):
    """`dy` and `z` in float32 or wider, both 0 outside the mask."""
    zero_outside = functools.partial(moments.zero_outside, residuals.where)
    x, dy = (zero_outside(moments.widen(a)) for a in (residuals.x, dy))
    centered = x if residuals.mean is None else x - residuals.mean
    return dy, zero_outside(centered * residuals.inverse)


def _as_dx(dx, residuals):
    """`dx` with zeros outside the mask, in the dtype of `x`."""
    return moments.zero_outside(residuals.where, dx).astype(residuals.x.dtype)


def _sum(x, axes):
    """The axes stay, with size 1. By two sums, which XLA is faster at on a CPU."""
    return jnp.sum(jnp.sum(x, axes[1:], keepdims=True), axes[:1], keepdims=True)


def _row(vector, like):
    """A vector along the last axis of an array with the rank of `like`; None is 1."""
    return 1 if vector is None else vector.reshape((1,) * (like.ndim - 1) + (-1,))


def _mean(x, residuals):
    """The mean over the axes along which `residuals.inverse` has size 1."""
    axes = tuple(a for a, size in enumerate(residuals.inverse.shape) if size == 1)
    return jnp.sum(x, axes, keepdims=True) / _count(residuals, axes)


def _count(residuals, axes, further_sum=lambda n: n):
    """Elements behind each sum over `axes`, at least 1; of a mask the true ones."""
    if residuals.where is None:
        return math.prod(residuals.x.shape[axis] for axis in axes)
    where = jnp.broadcast_to(residuals.where, residuals.x.shape)
    n = further_sum(jnp.sum(where, axes, dtype=jnp.int32, keepdims=True))
    return jnp.maximum(n, 1).astype(residuals.inverse.dtype)
