"""Normalization as pure functions of arrays.

Every function returns its output in the shape and dtype of `x` and computes in
float32 or wider. `scale` and `bias` have the size of the last axis, the features.
`None` means a scale of 1 and a bias of 0. A mask is true where `x` counts. It has the
shape of `x`, or that without the last axis, which masks whole positions. Where it is
false `x` may be nan or inf, the output is 0 and so are all gradients (flax normalizes
these elements too). Nothing here owns a parameter, a key or a config.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from normjax.errors import InputError, pick
from normjax.ops import moments, validate
from normjax.ops.validate import Mask

Vector = Float[Array, "..."] | None  # [features]; another shape is refused by name

SINGLE = {
    "error": "refuse a mean over one element, where shapes alone tell",
    "running": "do not use it: running moments stand in, and stay as they are",
    "allow": "use it: the variance is 0, the output the bias",
}


def standardize(
    x: Num[Array, "*batch features"],
    mean: Float[Array, "..."],
    var: Float[Array, "..."],
    scale: Vector = None,
    bias: Vector = None,
    *,
    eps: float | Float[Array, ""],
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "*batch features"]:
    """`y = (x - mean) * (scale / sqrt(var + eps)) + bias`, and 0 outside `where`.

    Computed in the wider of float32 and the dtypes given, returned in that of
    `x`. `mean`, `var` and `where` have as many axes as `x` and broadcast to it.

    Raises:
        InputError: if `x` is not floating, or scale or bias has another shape.
    """
    validate.refuse_vectors(x, scale=scale, bias=bias)
    row = (1,) * (x.ndim - 1) + x.shape[-1:]
    y = moments.widen(x)
    if where is not None:
        y = jnp.where(where, y, 0)
    factor = jax.lax.rsqrt(var + eps)
    if scale is not None:
        factor = factor * scale.reshape(row)
    y = (y - mean) * factor
    if bias is not None:
        y = y + bias.reshape(row)
    if where is not None:
        y = jnp.where(where, y, 0)
    return y.astype(x.dtype)


def evaluate(
    x: Num[Array, "*batch features"],
    running: moments.Running,
    scale: Vector = None,
    bias: Vector = None,
    *,
    eps: float,
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "*batch features"]:
    """`standardize` with running moments: one of each, or one per feature."""
    if running.mean.ndim:
        refuse_running(x, running)
    row = (1,) * (x.ndim - 1) + running.mean.shape[-1:]
    mean, var = (a.reshape(row if a.ndim else (1,) * x.ndim) for a in running)
    return standardize(x, mean, var, scale, bias, eps=eps, where=where)


def batch_norm(
    x: Num[Array, "*batch features"],
    running: moments.Running,
    scale: Vector = None,
    bias: Vector = None,
    *,
    train: bool,
    decay: moments.Decay = 0.9,
    eps: float = 1e-5,
    mask: Mask = None,
    unbiased: bool = False,
    axis_name: moments.AxisName = None,
    single: str = "error",
) -> tuple[Float[Array, "*batch features"], moments.Running]:
    """`y = scale * (x - mean) / sqrt(var + eps) + bias`, mean and var per feature.

    In training they are over every axis but the last, and `running` is blended
    with them; in evaluation they are `running`, which is returned as it is. The
    variance that normalizes is biased.

    Args:
        x: activations, `[batch, features]` or `[batch, *spatial, features]`.
        running: mean and var, each `[features]`.
        scale: `[features]`.
        bias: `[features]`.
        train: whether to use, and blend in, the moments of `x`.
        decay: weight of the past in `running`, per step; `moments.debiased` makes
            that of a debiased average.
        eps: added to the variance, in the squared units of `x`.
        mask: `[*batch]` or `[*batch, features]`. A feature without a single true
            entry leaves `running` as it is.
        unbiased: `running` gets the variance over n - 1, as in the paper and in
            PyTorch; flax and Keras put in the one that normalizes.
        axis_name: axes of `vmap` or `shard_map` over which the batch is spread;
            in training the moments are those of all its unmasked elements.
        single: what to do in training where a mean would be over one element: a
            row of `SINGLE`. Under a mask the elements are counted on the device,
            where nothing can be refused: there `error` is `allow`.

    Raises:
        InputError: if `x` is not floating or empty, the mask has another shape or
            dtype, a vector another length, or, in training and if `single` is
            `error`, a mean would be over a single element.

    References:
        Ioffe and Szegedy, 2015. Batch Normalization: Accelerating Deep Network
        Training by Reducing Internal Covariate Shift. arXiv:1502.03167.
    """
    axes, where = tuple(range(x.ndim - 1)), validate.where(x, mask)
    pick("single", SINGLE, single)
    refuse_running(x, running, scale=scale, bias=bias)
    if not train:
        return evaluate(x, running, scale, bias, eps=eps, where=where), running
    if single == "error":
        size = math.prod(x.shape[:-1])
        if axis_name is not None:
            size *= jax.lax.axis_size(axis_name)
        validate.refuse_single(x, size, "train on batches of 2 or more")
    now = moments.over(x, axes, where=where, axis_name=axis_name)
    if single == "running":
        now = moments.unless_single(now, running)
    y = standardize(x, now.mean, now.var, scale, bias, eps=eps, where=where)
    return y, moments.blend(running, now, decay=decay, unbiased=unbiased)


def refuse_running(
    x: Num[Array, "..."], running: moments.Running, **vectors: Vector
) -> None:
    """Raises an InputError unless mean, var and vectors have the length of `x`."""
    named = {f"running.{name}": a for name, a in running._asdict().items()}
    validate.refuse_vectors(x, **named, **vectors)


def learns(
    x: Num[Array, "*batch features"],
    mask: Mask = None,
    *,
    axis_name: moments.AxisName = None,
    single: str = "error",
) -> Bool[Array, ""]:
    """Whether `batch_norm` blends anything into `running` when it trains on `x`."""
    where = validate.where(x, mask)
    where = jnp.ones((*x.shape[:-1], 1), bool) if where is None else where
    number = jnp.sum(where, tuple(range(x.ndim - 1)), dtype=jnp.int32)
    if axis_name is not None:
        number = jax.lax.psum(number, axis_name)
    return jnp.any(number > (1 if single == "running" else 0))


def scalar_batch_norm(
    x: Num[Array, "*batch features"],
    running: moments.Running,
    scale: Vector = None,
    bias: Vector = None,
    *,
    train: bool,
    decay: float = 0.9,
    eps: float = 1e-5,
    mask: Mask = None,
) -> tuple[Float[Array, "*batch features"], moments.Running]:
    """Batch norm with one mean and one variance for the whole of `x`.

    This is not batch normalization: features keep their relative means and
    scales. It is what the source of the placement study computes, kept so that
    its numbers can be reproduced. `running` holds two scalars; all else is as
    in `batch_norm`.
    """
    where = validate.where(x, mask)
    if not train:
        return evaluate(x, running, scale, bias, eps=eps, where=where), running
    validate.refuse_single(x, x.size, "train on batches of 2 or more")
    now = moments.over(x, tuple(range(x.ndim)), where=where)
    y = standardize(x, now.mean, now.var, scale, bias, eps=eps, where=where)
    return y, moments.blend(running, now, decay=decay)


def layer_norm(
    x: Num[Array, "*batch features"],
    scale: Vector = None,
    bias: Vector = None,
    *,
    reduction_axes: moments.Axes = -1,
    eps: float = 1e-5,
    mask: Mask = None,
) -> Float[Array, "*batch features"]:
    """`y = scale * (x - mean) / sqrt(var + eps) + bias` over the last axis.

    Each row is on its own, so `y` does not change when a row of `x` is shifted
    or, but for `eps`, scaled. A constant row maps to `bias`. On images the
    moments are per pixel, as in flax; `group_norm` with one group takes them
    over the whole image, as Ba et al. do.

    Args:
        x: activations, features last.
        scale: `[features]`.
        bias: `[features]`.
        reduction_axes: the axes that each mean and variance are over.
        eps: added to the variance, in the squared units of `x`.
        mask: `[*batch]` or `[*batch, features]`.

    Raises:
        InputError: if `x` is not floating, a mean would be over a single element,
            or the mask has another shape or dtype.

    References:
        Ba, Kiros and Hinton, 2016. Layer Normalization. arXiv:1607.06450.
    """
    where = validate.where(x, mask)
    axes = moments.checked(x, reduction_axes)
    size = math.prod(x.shape[axis] for axis in axes)
    validate.refuse_single(x, size, "give the layer more features")
    m = moments.over(x, axes, where=where)
    return standardize(x, m.mean, m.var, scale, bias, eps=eps, where=where)


def rms_norm(
    x: Num[Array, "*batch features"],
    scale: Vector = None,
    *,
    reduction_axes: moments.Axes = -1,
    eps: float = 1e-5,
    mask: Mask = None,
) -> Float[Array, "*batch features"]:
    """`y = scale * x / sqrt(mean(x^2) + eps)` over the last axis.

    Invariant, but for `eps`, to the scale of a row and not to a shift. Flax's
    default eps is 1e-6. The arguments are those of `layer_norm`.

    Raises:
        InputError: if `x` is not floating or the mask has another shape or dtype.

    References:
        Zhang and Sennrich, 2019. Root Mean Square Layer Normalization.
        arXiv:1910.07467.
    """
    where = validate.where(x, mask)
    m = moments.mean_square(x, reduction_axes, where=where)
    return standardize(x, m.mean, m.var, scale, eps=eps, where=where)


def group_norm(
    x: Num[Array, "batch *spatial features"],
    scale: Vector = None,
    bias: Vector = None,
    *,
    num_groups: int,
    eps: float = 1e-5,
    mask: Mask = None,
) -> Float[Array, "batch *spatial features"]:
    """`y = scale * (x - mean) / sqrt(var + eps) + bias` per example and group.

    Mean and variance are over all spatial axes and the group's channels, which
    are neighbours on the last axis. One group is layer norm over space and
    channels; as many groups as channels is instance norm. Flax' default eps is
    1e-6.

    Args:
        x: activations, channels last.
        scale: `[features]`.
        bias: `[features]`.
        num_groups: divides the number of channels.
        eps: added to the variance, in the squared units of `x`.
        mask: `[batch, *spatial]` or `[batch, *spatial, features]`.

    Raises:
        InputError: if `x` is not floating, `num_groups` does not divide the
            channels, a mean would be over a single element, or the mask has
            another shape or dtype.

    References:
        Wu and He, 2018. Group Normalization. arXiv:1803.08494.
    """
    where = validate.where(x, mask)
    validate.refuse_groups(x.shape[-1], num_groups)
    both = group_moments(x, num_groups, where=where)
    mean, var = (jnp.repeat(a, x.shape[-1] // num_groups, -1) for a in both)
    return standardize(x, mean, var, scale, bias, eps=eps, where=where)


def group_moments(
    x: Num[Array, "batch *spatial features"],
    num_groups: int,
    *,
    where: Bool[Array, "..."] | None = None,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Mean and variance of each example and group, `[batch, *ones, num_groups]`."""
    size = x.shape[-1] // num_groups
    validate.refuse_single(x, math.prod(x.shape[1:-1]) * size, "use fewer groups")
    grouped = (*x.shape[:-1], num_groups, size)
    if where is not None:
        where = jnp.broadcast_to(where, x.shape).reshape(grouped)
    axes = (*range(1, x.ndim - 1), x.ndim)
    m = moments.over(x.reshape(grouped), axes, where=where)
    return m.mean[..., 0], m.var[..., 0]


def instance_norm(
    x: Num[Array, "batch *spatial features"],
    scale: Vector = None,
    bias: Vector = None,
    *,
    eps: float = 1e-5,
    mask: Mask = None,
) -> Float[Array, "batch *spatial features"]:
    """`group_norm` with one channel per group: moments over space alone.

    Raises:
        InputError: as `group_norm`, and if `x` has no spatial axes.

    References:
        Ulyanov, Vedaldi and Lempitsky, 2016. Instance Normalization: The Missing
        Ingredient for Fast Stylization. arXiv:1607.08022.
    """
    if x.ndim < 3:
        raise InputError(
            f"x.shape={x.shape}: instance norm needs spatial axes, "
            "[batch, *spatial, channels]; use layer or group norm here."
        )
    return group_norm(x, scale, bias, num_groups=x.shape[-1], eps=eps, mask=mask)
