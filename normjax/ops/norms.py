"""Normalization as pure functions of arrays.

Every function returns its output in the shape and dtype of `x` and computes in
float32 or wider. `scale` and `bias` have the size of the last axis, the features.
`None` means a scale of 1 and a bias of 0. `eps` is in the squared units of `x`.

A mask is true where `x` counts. It has the shape of `x`, or that shape without the
last axis, which masks whole positions. Where it is false `x` may be nan or inf, the
output is 0 and so are all gradients; flax normalizes these elements too. `backward` is
a row of `custom_vjp.BACKWARD`. Nothing here owns a parameter, a key or a config.

An InputError is raised if `x` is empty or not floating, if a mask or a vector has
another shape or dtype, and if each mean would be over a single element.
"""

import jax.numpy as jnp  # noqa: F401 (the examples use it)
from jaxtyping import Array, Float, Num

from normjax.errors import InputError, pick
from normjax.ops import custom_vjp, moments, validate
from normjax.ops.affine import MaybeVector, apply_running, refuse_running, standardize
from normjax.ops.validate import Mask

SINGLE = {
    "error": "refuse a mean over one element, where shapes alone tell",
    "running": "do not use it: running moments replace it, and stay as they are",
    "allow": "use it: the variance is 0, the output is the bias",
}


def batch_norm(
    x: Num[Array, "*batch features"],
    running: moments.Running,
    scale: MaybeVector = None,
    bias: MaybeVector = None,
    *,
    train: bool,
    decay: moments.Decay = 0.9,
    eps: float = 1e-5,
    mask: Mask = None,
    unbiased: bool = False,
    axis_name: moments.AxisName = None,
    single: str = "error",
    backward: str = "autodiff",
) -> tuple[Float[Array, "*batch features"], moments.Running]:
    """`y = scale * (x - mean) / sqrt(var + eps) + bias`, mean and var per feature.

    In training they are over every axis but the last, and `running` is blended
    with them; in evaluation they are `running`, which is returned unchanged. The
    variance that normalizes is biased.

        >>> running = moments.Running(jnp.zeros(1), jnp.ones(1))
        >>> x = jnp.array([[2.0], [6.0]])
        >>> y, running = batch_norm(x, running, train=True, decay=0.5, eps=0.0)
        >>> y.tolist(), running.mean.tolist(), running.var.tolist()
        ([[-1.0], [1.0]], [2.0], [2.5])

    Args:
        x: activations, `[batch, features]` or `[batch, *spatial, features]`.
        running: mean and var, each `[features]`.
        scale: `[features]`.
        bias: `[features]`.
        train: whether to use, and blend in, the moments of `x`.
        decay: weight of the past in `running`, per step, in [0, 1];
            `moments.debiased` makes that of a debiased average.
        eps: added to the variance.
        mask: a feature without a single true entry leaves `running` as it is.
        unbiased: `running` gets the variance over n - 1, as in the paper and in
            PyTorch; flax and Keras use the one that normalizes.
        axis_name: axes of `vmap` or `shard_map` over which the batch is spread;
            in training the moments are those of all its unmasked elements.
        single: what to do in training where a mean would be over one element: a
            row of `SINGLE`. Under a mask the elements are counted on the device,
            where nothing can be refused: there `error` is `allow`.
        backward: if `analytic`, `axis_name` is None and `single` is not `running`.

    Raises:
        InputError: as in all of this module, but for a single element only in training
            and if `single` is `error`.

    References:
        Ioffe and Szegedy, 2015. Batch Normalization: Accelerating Deep Network
        Training by Reducing Internal Covariate Shift. arXiv:1502.03167.
    """
    where = validate.where(x, mask)
    pick("single", SINGLE, single)
    refuse_running(x, running, scale=scale, bias=bias)
    vectors, pass_settings = (scale, bias, where), {"eps": eps, "backward": backward}
    if not train:
        return custom_vjp.evaluation(x, running, *vectors, **pass_settings), running
    if backward == "analytic" and (axis_name is not None or single == "running"):
        rule = "must be None and 'error' or 'allow' where backward='analytic'"
        field = f"axis_name={axis_name!r}, single"
        raise InputError(field, single, rule, "set backward='autodiff'")
    if single == "error":
        validate.refuse_single(x, range(x.ndim - 1), axis_name=axis_name)
    past = running if single == "running" else None
    y, now = custom_vjp.batch(
        x, *vectors, axis_name=axis_name, past=past, **pass_settings
    )
    return y, moments.blend(running, now, decay=decay, unbiased=unbiased)


def scalar_batch_norm(
    x: Num[Array, "*batch features"],
    running: moments.Running,
    scale: MaybeVector = None,
    bias: MaybeVector = None,
    *,
    train: bool,
    decay: float = 0.9,
    eps: float = 1e-5,
    mask: Mask = None,
) -> tuple[Float[Array, "*batch features"], moments.Running]:
    """Batch norm with one mean and one variance for the whole of `x`.

    Features keep their relative means and scales. `running` holds two scalars; the
    other arguments are those of `batch_norm`.

        >>> running = moments.Running(jnp.zeros(()), jnp.ones(()))
        >>> x = jnp.array([[1.0, 3.0], [1.0, 3.0]])
        >>> scalar_batch_norm(x, running, train=True, eps=0.0)[0].tolist()
        [[-1.0, 1.0], [-1.0, 1.0]]
    """
    where = validate.where(x, mask)
    if not train:
        return apply_running(x, running, scale, bias, eps=eps, where=where), running
    validate.refuse_single(x, range(x.ndim))
    now = moments.mean_and_var(x, tuple(range(x.ndim)), where=where)
    y = standardize(x, now.mean, now.var, scale, bias, eps=eps, where=where)
    return y, moments.blend(running, now, decay=decay)


def layer_norm(
    x: Num[Array, "*batch features"],
    scale: MaybeVector = None,
    bias: MaybeVector = None,
    *,
    reduction_axes: validate.Axes = -1,
    eps: float = 1e-5,
    mask: Mask = None,
    backward: str = "autodiff",
) -> Float[Array, "*batch features"]:
    """`y = scale * (x - mean) / sqrt(var + eps) + bias` over `reduction_axes`.

    Each row is normalized alone, so `y` does not change when a row of `x` is shifted
    or, but for `eps`, scaled. On images the moments are per pixel, as in flax;
    `group_norm` with one group takes them over the whole image, as Ba et al. do.

    A constant row maps to `bias` where its mean is exact. Else the rounding of the
    mean, up to 1e-7 of it, is divided by `sqrt(eps)`: at 1e4 that is up to 0.3.
    PyTorch returns `bias` there, flax what is returned here.

        >>> layer_norm(jnp.array([[1.0, 3.0], [5.0, 5.0]])).round(3)
        Array([[-1.,  1.],
               [ 0.,  0.]], dtype=float32)

    References:
        Ba, Kiros and Hinton, 2016. Layer Normalization. arXiv:1607.06450.
    """
    where = validate.where(x, mask)
    axes = validate.axis_tuple(x, reduction_axes)
    validate.refuse_single(x, axes, "give the layer more features")
    return custom_vjp.layer(
        x, scale, bias, where, axes=axes, eps=eps, backward=backward
    )


def rms_norm(
    x: Num[Array, "*batch features"],
    scale: MaybeVector = None,
    *,
    reduction_axes: validate.Axes = -1,
    eps: float = 1e-5,
    mask: Mask = None,
    backward: str = "autodiff",
) -> Float[Array, "*batch features"]:
    """`y = scale * x / sqrt(mean(x^2) + eps)` over the last axis.

    Invariant, but for `eps`, to the scale of a row and not to a shift. Flax's default
    eps is 1e-6. A single element is allowed.

        >>> rms_norm(jnp.array([[0.0, 0.0, 0.0, 4.0]]), eps=0.0).tolist()
        [[0.0, 0.0, 0.0, 2.0]]

    References:
        Zhang and Sennrich, 2019. Root Mean Square Layer Normalization.
        arXiv:1910.07467.
    """
    where = validate.where(x, mask)
    axes = validate.axis_tuple(x, reduction_axes)
    return custom_vjp.rms(x, scale, where, axes=axes, eps=eps, backward=backward)


def group_norm(
    x: Num[Array, "batch *spatial features"],
    scale: MaybeVector = None,
    bias: MaybeVector = None,
    *,
    num_groups: int,
    eps: float = 1e-5,
    mask: Mask = None,
    backward: str = "autodiff",
) -> Float[Array, "batch *spatial features"]:
    """`y = scale * (x - mean) / sqrt(var + eps) + bias` per example and group.

    Mean and variance are over all spatial axes and the group's channels, which are
    neighbours on the last axis. One group is layer norm over space and channels; as
    many groups as channels is instance norm. Flax's default eps is 1e-6. `num_groups`
    must divide the number of channels.

        >>> x = jnp.array([[1.0, 3.0, 10.0, 30.0]])
        >>> group_norm(x, num_groups=2, eps=0.0).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]

    References:
        Wu and He, 2018. Group Normalization. arXiv:1803.08494.
    """
    where = validate.where(x, mask)
    validate.refuse_groups(x.shape[-1], num_groups)
    return custom_vjp.group(
        x, scale, bias, where, num_groups=num_groups, eps=eps, backward=backward
    )


def instance_norm(
    x: Num[Array, "batch *spatial features"],
    scale: MaybeVector = None,
    bias: MaybeVector = None,
    *,
    eps: float = 1e-5,
    mask: Mask = None,
    backward: str = "autodiff",
) -> Float[Array, "batch *spatial features"]:
    """`group_norm` with one channel per group: moments over space alone.

        >>> instance_norm(jnp.array([[[1.0], [3.0]]]), eps=0.0).tolist()
        [[[-1.0], [1.0]]]

    Raises:
        InputError: if `x` has no spatial axes.

    References:
        Ulyanov, Vedaldi and Lempitsky, 2016. Instance Normalization: The Missing
        Ingredient for Fast Stylization. arXiv:1607.08022.
    """
    validate.refuse_no_space(x)
    num_groups = x.shape[-1]
    settings: dict = {"eps": eps, "mask": mask, "backward": backward}
    return group_norm(x, scale, bias, num_groups=num_groups, **settings)
