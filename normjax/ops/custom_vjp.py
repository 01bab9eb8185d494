"""The norms with the gradients of `backward` for a custom VJP: drop-in replacements.

Each has the signature, the values and the errors of the function of the same name in
`norms` or `weights`. Batch norm refuses what spreads a batch over devices, and `eps`
must be a number. Reverse mode runs the backward by hand, and forward over reverse
(Hessian-vector products) works, for that backward is made of plain operations. Forward
mode alone (`jax.jvp`, `jax.jacfwd`, reverse over forward) cannot pass a custom VJP in
JAX: it is refused, inside of `jit` by JAX's own TypeError.

Less is kept between the passes: of float32 images half as much for batch, group and
instance norm, a third for layer and RMS norm; of bfloat16 a quarter and a fifth. Speed
is mixed (`benchmarks/backward.py`, docs/performance.md), which does not pay for forward
mode: layers take autodiff by default.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from normjax.errors import InputError, pick
from normjax.ops import affine, backward, moments, norms, validate, weights
from normjax.ops.affine import MaybeVector
from normjax.ops.backward import Residuals
from normjax.ops.validate import Mask


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
) -> tuple[Float[Array, "*batch features"], moments.Running]:
    """`norms.batch_norm`, differentiated by `backward.batch_norm`.

    Also refuses, in training, `axis_name` and `single="running"`.
    """
    where = validate.where(x, mask)
    pick("single", norms.SINGLE, single)
    affine.refuse_running(x, running, scale=scale, bias=bias)
    if not train:
        vectors = _vectors(x, running, scale, bias)
        return _EVALUATION(x, *vectors, where, eps=eps), running
    if axis_name is not None or single == "running":
        rule = "must be None and 'error' or 'allow' where backward='analytic'"
        field = f"axis_name={axis_name!r}, single"
        raise InputError(field, single, rule, "set backward='autodiff'")
    if single == "error":
        size = math.prod(x.shape[:-1])
        validate.refuse_single(x, size, "train on batches of 2 or more")
    y, now = _BATCH(x, *_vectors(x, None, scale, bias)[1:], where, eps=eps)
    return y, moments.blend(running, now, decay=decay, unbiased=unbiased)


def layer_norm(
    x: Num[Array, "*batch features"],
    scale: MaybeVector = None,
    bias: MaybeVector = None,
    *,
    reduction_axes: moments.Axes = -1,
    eps: float = 1e-5,
    mask: Mask = None,
) -> Float[Array, "*batch features"]:
    """`norms.layer_norm`, differentiated by `backward.layer_norm`."""
    where = validate.where(x, mask)
    axes = moments.axis_tuple(x, reduction_axes)
    size = math.prod(x.shape[axis] for axis in axes)
    validate.refuse_single(x, size, "give the layer more features")
    return _LAYER(x, *_vectors(x, None, scale, bias)[1:], where, axes=axes, eps=eps)


def rms_norm(
    x: Num[Array, "*batch features"],
    scale: MaybeVector = None,
    *,
    reduction_axes: moments.Axes = -1,
    eps: float = 1e-5,
    mask: Mask = None,
) -> Float[Array, "*batch features"]:
    """`norms.rms_norm`, differentiated by `backward.rms_norm`."""
    where = validate.where(x, mask)
    axes = moments.axis_tuple(x, reduction_axes)
    return _RMS(x, _vectors(x, None, scale)[1], where, axes=axes, eps=eps)


def group_norm(
    x: Num[Array, "batch *spatial features"],
    scale: MaybeVector = None,
    bias: MaybeVector = None,
    *,
    num_groups: int,
    eps: float = 1e-5,
    mask: Mask = None,
) -> Float[Array, "batch *spatial features"]:
    """`norms.group_norm`, differentiated by `backward.group_norm`."""
    where = validate.where(x, mask)
    validate.refuse_groups(x.shape[-1], num_groups)
    vectors = _vectors(x, None, scale, bias)[1:]
    return _GROUP(x, *vectors, where, num_groups=num_groups, eps=eps)


def instance_norm(
    x: Num[Array, "batch *spatial features"],
    scale: MaybeVector = None,
    bias: MaybeVector = None,
    *,
    eps: float = 1e-5,
    mask: Mask = None,
) -> Float[Array, "batch *spatial features"]:
    """`norms.instance_norm`, differentiated by `backward.group_norm`."""
    validate.refuse_no_space(x)
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


# ---- forward passes: (output, Residuals), from inputs that have been checked --------


def _batch(x, scale, bias, where, *, eps):
    now = moments.over(x, tuple(range(x.ndim - 1)), where=where)
    y, residuals = _standardize(x, now.mean, now.var, scale, bias, where, eps=eps)
    return (y, now), residuals


def _evaluation(x, running, scale, bias, where, *, eps):
    row = (1,) * (x.ndim - 1) + (-1,)
    mean, var = (a.reshape(row) for a in running)
    return _standardize(x, mean, var, scale, bias, where, eps=eps)


def _layer(x, scale, bias, where, *, axes, eps):
    m = moments.over(x, axes, where=where)
    return _standardize(x, m.mean, m.var, scale, bias, where, eps=eps)


def _rms(x, scale, where, *, axes, eps):
    m = moments.mean_square(x, axes, where=where)
    y, residuals = _standardize(x, m.mean, m.var, scale, None, where, eps=eps)
    return y, residuals._replace(mean=None)


def _group(x, scale, bias, where, *, num_groups, eps):
    mean, var = moments.group_moments(x, num_groups, where=where)
    both = (jnp.repeat(a, x.shape[-1] // num_groups, -1) for a in (mean, var))
    y = affine.standardize(x, *both, scale, bias, eps=eps, where=where)
    return y, Residuals(x, mean, jax.lax.rsqrt(var + eps), scale, where)


def _weight(kernel, scale, *, eps):
    inverse = 1 / weights.feature_norms(kernel, eps=eps)
    row = (1,) * (kernel.ndim - 1) + (-1,)
    w = weights.weight_norm(kernel, scale, eps=eps)
    return w, Residuals(kernel, None, inverse.reshape(row), scale)


def _standardization(kernel, *, eps):
    m = moments.over(kernel, tuple(range(kernel.ndim - 1)))
    return _standardize(kernel, m.mean, m.var, eps=eps)


def _standardize(x, mean, var, scale=None, bias=None, where=None, *, eps):
    y = affine.standardize(x, mean, var, scale, bias, eps=eps, where=where)
    return y, Residuals(x, mean, jax.lax.rsqrt(var + eps), scale, where)


# ---- from a forward and a backward pass to a function with a custom VJP -------------


def _vectors(x, running, scale, bias=None):
    """The vectors in the widest dtype of all inputs; 1 and 0 in the place of None.

    So the backward knows the dtype of their gradients. Each vector is added to a zero
    made from `x`: under `shard_map` a vector that devices share varies with them from
    here on, and JAX sums its gradients over them.
    """
    validate.refuse_vectors(x, scale=scale, bias=bias)
    dtypes = [jnp.result_type(a) for a in jax.tree.leaves((running, scale, bias))]
    dtype = functools.reduce(jnp.promote_types, dtypes, moments.widen(x[:0]).dtype)
    zero = jnp.zeros_like(x, dtype, shape=())
    scale = jnp.ones(x.shape[-1:], dtype) if scale is None else scale
    bias = jnp.zeros(x.shape[-1:], dtype) if bias is None else bias
    return jax.tree.map(lambda a: a.astype(dtype) + zero, (running, scale, bias))


def _custom(forward: Callable, gradients: Callable, *names: str) -> Callable:
    """`forward(*arrays, **settings)[0]` with the VJP of `gradients(dy, residuals)`.

    `names` are the fields of `backward.Gradients` for each array: None for a mask.
    """

    @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
    def op(settings, *arrays):
        return forward(*arrays, **dict(settings))[0]

    def backward_pass(settings, residuals, dy):
        by_name = gradients(dy, residuals)._asdict() | {"where": None}
        if residuals.scale is not None:  # in the dtype of all vectors
            cast = lambda a: a.astype(residuals.scale.dtype)
            vectors = {name: by_name[name] for name in ("scale", "bias", "running")}
            by_name |= jax.tree.map(cast, vectors)
        return tuple(by_name[name] for name in names)

    op.defvjp(
        lambda settings, *arrays: forward(*arrays, **dict(settings)), backward_pass
    )

    def call(*arrays, eps, **settings):
        if isinstance(eps, jax.core.Tracer):
            rule = "must be a number, not a traced array, where backward='analytic'"
            raise InputError("eps", ..., rule, "set backward='autodiff'")
        try:
            return op((("eps", eps), *settings.items()), *arrays)
        except TypeError as error:
            if "forward-mode" not in str(error):
                raise
            rule = "forward mode alone (jvp, jacfwd) cannot pass a custom VJP"
            remedy = "use backward='autodiff', or forward over reverse"
            raise InputError("backward", "analytic", rule, remedy) from error

    return call


def _batch_gradients(cotangents, residuals):
    dy, now = cotangents
    return backward.batch_norm(dy, residuals, now=now)


_VECTORS = ("scale", "bias", "where")
_BATCH = _custom(_batch, _batch_gradients, "x", *_VECTORS)
_EVALUATION = _custom(
    _evaluation, backward.batch_norm_evaluation, "x", "running", *_VECTORS
)
_LAYER = _custom(_layer, backward.layer_norm, "x", *_VECTORS)
_RMS = _custom(_rms, backward.rms_norm, "x", "scale", "where")
_GROUP = _custom(_group, backward.group_norm, "x", *_VECTORS)
_WEIGHT = _custom(_weight, backward.weight_norm, "x", "scale")
_STANDARDIZATION = _custom(_standardization, backward.weight_standardization, "x")
