"""The norms with the gradients of `backward` for a custom VJP: drop-in replacements.

Each has the signature, the values and the errors of its namesake; batch norm refuses
what spreads a batch over devices. Reverse mode runs the backward by hand, and forward
over reverse (Hessian-vector products) works, for that backward is made of plain
operations. Forward mode alone (`jax.jvp`, `jax.jacfwd`, reverse over forward) cannot
pass a custom VJP in JAX: it is refused, inside of `jit` by JAX' own TypeError.

Less is kept between the passes: of float32 images half as much for batch, group and
instance norm, a third for layer and RMS norm; of bfloat16 a quarter and a fifth. Speed
is mixed (`benchmarks/backward.py`, two CPU cores, autodiff's seconds over these): batch
norm in training 1.1 to 1.3, in evaluation 0.7 to 0.9; layer and RMS norm 0.8 to 1.3;
group norm 0.9 to 1.9; instance norm 0.9 for one lane and 2.4 for ten; a whole step of
an MLP 0.9 to 1.0. That does not pay for forward mode: layers take autodiff unless told.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from normjax.errors import InputError, pick
from normjax.ops import backward, moments, norms, residuals, validate
from normjax.ops.norms import Vector
from normjax.ops.validate import Mask


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
    """`norms.batch_norm`, differentiated by `backward.batch_norm`.

    Raises:
        InputError: as there, and in training if a batch is spread by `axis_name` or
            `single` is `running`: for these there is no backward by hand.
    """
    where = validate.where(x, mask)
    pick("single", norms.SINGLE, single)
    norms.refuse_running(x, running, scale=scale, bias=bias)
    if not train:
        return _EVALUATION(
            x, *_vectors(x, running, scale, bias), where, eps=eps
        ), running
    if axis_name is not None or single == "running":
        raise InputError(
            f"axis_name={axis_name!r}, single={single!r}: must be None and 'error' or"
            " 'allow' where backward='analytic'; set backward='autodiff'."
        )
    if single == "error":
        size = math.prod(x.shape[:-1])
        validate.refuse_single(x, size, "train on batches of 2 or more")
    y, now = _BATCH(x, *_vectors(x, None, scale, bias)[1:], where, eps=eps)
    return y, moments.blend(running, now, decay=decay, unbiased=unbiased)


def layer_norm(
    x: Num[Array, "*batch features"],
    scale: Vector = None,
    bias: Vector = None,
    *,
    reduction_axes: moments.Axes = -1,
    eps: float = 1e-5,
    mask: Mask = None,
) -> Float[Array, "*batch features"]:
    """`norms.layer_norm`, differentiated by `backward.layer_norm`."""
    where = validate.where(x, mask)
    axes = moments.checked(x, reduction_axes)
    size = math.prod(x.shape[axis] for axis in axes)
    validate.refuse_single(x, size, "give the layer more features")
    return _LAYER(x, *_vectors(x, None, scale, bias)[1:], where, axes=axes, eps=eps)


def rms_norm(
    x: Num[Array, "*batch features"],
    scale: Vector = None,
    *,
    reduction_axes: moments.Axes = -1,
    eps: float = 1e-5,
    mask: Mask = None,
) -> Float[Array, "*batch features"]:
    """`norms.rms_norm`, differentiated by `backward.rms_norm`."""
    where = validate.where(x, mask)
    axes = moments.checked(x, reduction_axes)
    return _RMS(x, _vectors(x, None, scale)[1], where, axes=axes, eps=eps)


def group_norm(
    x: Num[Array, "batch *spatial features"],
    scale: Vector = None,
    bias: Vector = None,
    *,
    num_groups: int,
    eps: float = 1e-5,
    mask: Mask = None,
) -> Float[Array, "batch *spatial features"]:
    """`norms.group_norm`, differentiated by `backward.group_norm`."""
    where, channels = validate.where(x, mask), x.shape[-1]
    validate.refuse_groups(channels, num_groups)
    size = math.prod(x.shape[1:-1]) * channels // num_groups
    validate.refuse_single(x, size, "use fewer groups")
    vectors = _vectors(x, None, scale, bias)[1:]
    return _GROUP(x, *vectors, where, num_groups=num_groups, eps=eps)


def instance_norm(
    x: Num[Array, "batch *spatial features"],
    scale: Vector = None,
    bias: Vector = None,
    *,
    eps: float = 1e-5,
    mask: Mask = None,
) -> Float[Array, "batch *spatial features"]:
    """`norms.instance_norm`, differentiated by `backward.group_norm`."""
    if x.ndim < 3:
        norms.instance_norm(x)  # says why not
    return group_norm(x, scale, bias, num_groups=x.shape[-1], eps=eps, mask=mask)


def weight_norm(
    kernel: Num[Array, "*inputs features"],
    scale: Float[Array, " features"],
    *,
    eps: float = 1e-12,
) -> Float[Array, "*inputs features"]:
    """`weights.weight_norm`, differentiated by `backward.weight_norm`."""
    validate.refuse_vectors(kernel, of="kernel", scale=scale)
    return _WEIGHT(kernel, _vectors(kernel, None, scale)[1], eps=eps)


def weight_standardization(
    kernel: Num[Array, "*inputs features"], *, eps: float = 1e-10
) -> Float[Array, "*inputs features"]:
    """`weights.weight_standardization`, differentiated by its backward by hand."""
    count = math.prod(kernel.shape[:-1])
    validate.refuse_single(kernel, count, "give the layer more inputs")
    return _STANDARDIZATION(kernel, eps=eps)


def _vectors(x, running, scale, bias=None):
    """In the widest dtype about, so that the backward knows theirs; ones and zeros.

    Each meets a zero that comes from `x`: a vector that devices share under
    `shard_map` varies with them from here on, and JAX sums their gradients.
    """
    validate.refuse_vectors(x, scale=scale, bias=bias)
    given = (running, scale, bias)
    dtypes = [a.dtype for a in jax.tree.leaves(given)]
    dtype = functools.reduce(jnp.promote_types, dtypes, moments.widen(x[:0]).dtype)
    zero = jnp.where(x[(0,) * x.ndim] > 0, 0, 0).astype(dtype)
    scale = jnp.ones(x.shape[-1:], dtype) if scale is None else scale
    bias = jnp.zeros(x.shape[-1:], dtype) if bias is None else bias
    return jax.tree.map(lambda a: a.astype(dtype) + zero, (running, scale, bias))


def _custom(forward, gradients):
    """`forward(*arrays, **settings)[0]` with the VJP `gradients(residuals, dy)`."""

    @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
    def op(settings, *arrays):
        return forward(*arrays, **dict(settings))[0]

    op.defvjp(
        lambda settings, *arrays: forward(*arrays, **dict(settings)),
        lambda settings, *given: gradients(*given),
    )

    def call(*arrays, **settings):
        try:
            return op(tuple(settings.items()), *arrays)
        except TypeError as error:
            if "forward-mode" not in str(error):
                raise
            raise InputError(
                "backward='analytic': forward mode alone (jvp, jacfwd) cannot pass a"
                " custom VJP; use backward='autodiff', or forward over reverse."
            ) from error

    return call


def _by_hand(function, *names):
    """The VJP of a norm from its backward: a gradient per input, none for a mask."""

    def run(kept, dy):
        found = function(dy, kept)
        if kept.scale is not None:  # in the dtype of all vectors
            vectors = found.scale, found.bias, found.running
            vectors = jax.tree.map(lambda a: a.astype(kept.scale.dtype), vectors)
            found = backward.Gradients(found.x, *vectors)
        return tuple(getattr(found, name, None) for name in names)

    return run


def _batch_by_hand(kept, cotangents):
    dy, now = cotangents
    given = functools.partial(backward.batch_norm, now=now)
    return _by_hand(given, "x", "scale", "bias", "where")(kept, dy)


_BATCH = _custom(residuals.batch_norm, _batch_by_hand)
_EVALUATION = _custom(
    residuals.batch_norm_evaluation,
    _by_hand(backward.batch_norm_evaluation, "x", "running", "scale", "bias", "where"),
)
_LAYER = _custom(
    residuals.layer_norm, _by_hand(backward.layer_norm, "x", "scale", "bias", "where")
)
_RMS = _custom(residuals.rms_norm, _by_hand(backward.rms_norm, "x", "scale", "where"))
_GROUP = _custom(
    residuals.group_norm, _by_hand(backward.group_norm, "x", "scale", "bias", "where")
)
_WEIGHT = _custom(residuals.weight_norm, _by_hand(backward.weight_norm, "x", "scale"))
_STANDARDIZATION = _custom(
    residuals.weight_standardization, _by_hand(backward.weight_standardization, "x")
)
