"""The norms with the gradients of `backward` for a custom VJP: drop-in replacements.

Each has the signature, the values and the errors of its namesake. Reverse mode runs
the hand-written backward; Hessian-vector products as forward over reverse work, for
the backward is itself made of plain operations. Forward mode alone (`jax.jvp`,
`jax.jacfwd`, reverse over forward) cannot pass a custom VJP in JAX and is refused.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from normjax.ops import backward, moments, norms, weights
from normjax.ops.backward import Residuals
from normjax.ops.norms import Mask, Vector
from normjax.tables import InputError


def batch_norm(
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
    """`norms.batch_norm`, differentiated by `backward.batch_norm`."""
    settings = {"train": train, "decay": decay, "eps": eps}
    _refuse(norms.batch_norm, x, running, scale, bias, mask=mask, **settings)
    where = None if mask is None else mask[..., None]
    if not train:
        return _EVALUATION(eps, x, *_vectors(x, scale, bias, running), where), running
    y, now = _BATCH(eps, x, *_vectors(x, scale, bias)[:2], where)
    return y, moments.blend(running, now, decay=decay)


def layer_norm(
    x: Num[Array, "*batch features"],
    scale: Vector = None,
    bias: Vector = None,
    *,
    eps: float = 1e-5,
) -> Float[Array, "*batch features"]:
    """`norms.layer_norm`, differentiated by `backward.layer_norm`."""
    _refuse(norms.layer_norm, x, scale, bias, eps=eps)
    return _LAYER(eps, x, *_vectors(x, scale, bias)[:2])


def rms_norm(
    x: Num[Array, "*batch features"], scale: Vector = None, *, eps: float = 1e-5
) -> Float[Array, "*batch features"]:
    """`norms.rms_norm`, differentiated by `backward.rms_norm`."""
    _refuse(norms.rms_norm, x, scale, eps=eps)
    return _RMS(eps, x, _vectors(x, scale)[0])


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
    settings = {"num_groups": num_groups, "eps": eps}
    _refuse(norms.group_norm, x, scale, bias, mask=mask, **settings)
    where = None if mask is None else mask[..., None]
    return _GROUP((num_groups, eps), x, *_vectors(x, scale, bias)[:2], where)


def instance_norm(
    x: Num[Array, "batch *spatial features"],
    scale: Vector = None,
    bias: Vector = None,
    *,
    eps: float = 1e-5,
    mask: Mask = None,
) -> Float[Array, "batch *spatial features"]:
    """`norms.instance_norm`, differentiated by `backward.group_norm`."""
    _refuse(norms.instance_norm, x, scale, bias, eps=eps, mask=mask)
    return group_norm(x, scale, bias, num_groups=x.shape[-1], eps=eps, mask=mask)


def weight_norm(
    kernel: Num[Array, "*inputs features"],
    scale: Float[Array, " features"],
    *,
    eps: float = 1e-12,
) -> Float[Array, "*inputs features"]:
    """`weights.weight_norm`, differentiated by `backward.weight_norm`."""
    _refuse(weights.weight_norm, kernel, scale, eps=eps)
    return _WEIGHT(eps, kernel, _vectors(kernel, scale)[0])


def weight_standardization(
    kernel: Num[Array, "*inputs features"], *, eps: float = 1e-5
) -> Float[Array, "*inputs features"]:
    """`w = (v - mean) / sqrt(var + eps)` over the inputs of each output feature.

    Differentiated by `backward.weight_standardization`.

    References:
        Qiao, Wang, Liu, Shen and Yuille, 2019. Micro-Batch Training with
        Batch-Channel Normalization and Weight Standardization. arXiv:1903.10520.
    """
    return _STANDARDIZATION(eps, kernel)


def _batch(eps, x, scale, bias, where):
    now = moments.over(x, tuple(range(x.ndim - 1)), where=where)
    y, kept = _standardize(eps, x, now.mean, now.var, scale, bias, where)
    return (y, now), kept


def _batch_backward(residuals, cotangents):
    dy, now = cotangents
    given = functools.partial(backward.batch_norm, now=now)
    return _by_hand(given, "x", "scale", "bias", "where")(residuals, dy)


def _evaluation(eps, x, scale, bias, running, where):
    row = (1,) * (x.ndim - 1) + (-1,)
    mean, var = (a.reshape(row) for a in running)
    return _standardize(eps, x, mean, var, scale, bias, where)


def _layer(eps, x, scale, bias):
    m = moments.over(x, -1)
    return _standardize(eps, x, m.mean, m.var, scale, bias, None)


def _rms(eps, x, scale):
    square = jnp.mean(jnp.square(moments.widen(x)), -1, keepdims=True)
    y, kept = _standardize(eps, x, jnp.zeros_like(square), square, scale, None, None)
    return y, kept._replace(mean=None)


def _group(settings, x, scale, bias, where):
    num_groups, eps = settings
    size = x.shape[-1] // num_groups
    grouped = x.reshape(*x.shape[:-1], num_groups, size)
    axes = (*range(1, x.ndim - 1), x.ndim)
    m = moments.over(grouped, axes, where=None if where is None else where[..., None])
    mean, var = m.mean.squeeze(-1), m.var.squeeze(-1)
    spread = (jnp.repeat(a, size, -1) for a in (mean, var))
    y = norms.standardize(x, *spread, scale, bias, eps=eps, where=where)
    return y, Residuals(x, mean, jax.lax.rsqrt(var + eps), scale, where)


def _weight(eps, kernel, scale):
    inverse = 1 / weights.feature_norms(kernel, eps=eps)
    w = weights.weight_norm(kernel, scale, eps=eps)
    row = (1,) * (kernel.ndim - 1) + (-1,)
    return w, Residuals(kernel, None, inverse.reshape(row), scale)


def _standardization(eps, kernel):
    m = moments.over(kernel, tuple(range(kernel.ndim - 1)))
    return _standardize(eps, kernel, m.mean, m.var, None, None, None)


def _standardize(eps, x, mean, var, scale, bias, where):
    y = norms.standardize(x, mean, var, scale, bias, eps=eps, where=where)
    return y, Residuals(x, mean, jax.lax.rsqrt(var + eps), scale, where)


def _custom(forward, backward):
    """`forward(settings, *arrays)[0]`; its VJP is `backward(residuals, cotangents)`."""

    @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
    def op(settings, *arrays):
        return forward(settings, *arrays)[0]

    op.defvjp(forward, lambda settings, *given: backward(*given))

    def call(settings, *arrays):
        try:
            return op(settings, *arrays)
        except TypeError as error:
            if "forward-mode" not in str(error):
                raise
            raise InputError(
                "backward='analytic': forward mode (jvp, jacfwd, reverse over forward)"
                " cannot pass a custom VJP; use backward='autodiff' there, or forward"
                " over reverse."
            ) from error

    return call


def _by_hand(function, *inputs):
    """The VJP of a norm from its backward: a gradient per input, none for a mask."""

    def run(residuals, dy):
        found = function(dy, residuals)
        if residuals.scale is not None:  # given, as all but x, in the widest dtype
            vectors = (found.scale, found.bias, found.running)
            vectors = jax.tree.map(lambda a: a.astype(residuals.scale.dtype), vectors)
            found = backward.Gradients(found.x, *vectors)
        return tuple(getattr(found, name, None) for name in inputs)

    return run


def _vectors(x, scale, bias=None, running=None):
    """In the widest dtype about, so that the backward knows theirs; ones and zeros."""
    given = (scale, bias, running)
    dtypes = [a.dtype for a in jax.tree.leaves(given)]
    dtype = functools.reduce(jnp.promote_types, dtypes, moments.widen(x[:0]).dtype)
    scale, bias, running = jax.tree.map(lambda a: a.astype(dtype), given)
    scale = jnp.ones(x.shape[-1:], dtype) if scale is None else scale
    bias = jnp.zeros(x.shape[-1:], dtype) if bias is None else bias
    return scale, bias, running


def _refuse(op, *arrays, **settings):
    """Raises what `op` raises for these arguments; computes nothing."""
    jax.eval_shape(functools.partial(op, **settings), *arrays)


_BATCH = _custom(_batch, _batch_backward)
_EVALUATION = _custom(
    _evaluation,
    _by_hand(backward.batch_norm_evaluation, "x", "scale", "bias", "running", "where"),
)
_LAYER = _custom(_layer, _by_hand(backward.layer_norm, "x", "scale", "bias"))
_RMS = _custom(_rms, _by_hand(backward.rms_norm, "x", "scale"))
_GROUP = _custom(_group, _by_hand(backward.group_norm, "x", "scale", "bias", "where"))
_WEIGHT = _custom(_weight, _by_hand(backward.weight_norm, "x", "scale"))
_STANDARDIZATION = _custom(
    _standardization, _by_hand(backward.weight_standardization, "x")
)
