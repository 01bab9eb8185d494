"""The passes of the norms whose gradient may be written by hand: see `BACKWARD`.

`norms` and `weights` call them with inputs that they have checked. By hand a norm has
the same values and errors, but a batch may not be spread over devices, and `eps` must
be a number. Reverse mode runs the backward by hand, and forward over reverse
(Hessian-vector products) works, for that backward is made of plain operations. Forward
mode alone (`jax.jvp`, `jax.jacfwd`, reverse over forward) cannot pass a custom VJP in
JAX: it is refused, inside of `jit` by JAX's own TypeError.

Less is kept between the passes: of float32 images half as much for batch, group and
instance norm, a third for layer and RMS norm; of bfloat16 a quarter and a fifth. Speed
is mixed (`benchmarks/backward.py`, docs/performance.md), which does not pay for forward
mode: autodiff is the default.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from normjax.errors import InputError, pick
from normjax.ops import affine, backward, moments, two_passes
from normjax.ops.backward import Residuals

BACKWARD = {
    "autodiff": "JAX derives the gradient of the forward pass",
    "analytic": "a custom VJP runs the formulas of `backward`",
}
NEUTRAL = {"running": jnp.zeros, "scale": jnp.ones, "bias": jnp.zeros}  # for None


# ---- forward passes: (output, Residuals) --------------------------------------------


def _batch(x, scale, bias, where, *, eps, axis_name=None, past=None):
    axes = tuple(range(x.ndim - 1))
    now = moments.mean_and_var(x, axes, where=where, axis_name=axis_name)
    if past is not None:
        now = moments.unless_single(now, past)
    vectors = scale, bias, where
    y, residuals = standardize_and_keep(x, now.mean, now.var, *vectors, eps=eps)
    return (y, now), residuals


def _evaluation(x, running, scale, bias, where, *, eps):
    row = (1,) * (x.ndim - 1) + (-1,)
    moved = (a.reshape(row) for a in running)
    return standardize_and_keep(x, *moved, scale, bias, where, eps=eps)


def _layer(x, scale, bias, where, *, axes, eps):
    m = moments.mean_and_var(x, axes, where=where)
    return standardize_and_keep(x, m.mean, m.var, scale, bias, where, eps=eps)


def _rms(x, scale, where, *, axes, eps):
    m = moments.mean_square(x, axes, where=where)
    y, residuals = standardize_and_keep(x, m.mean, m.var, scale, None, where, eps=eps)
    return y, residuals._replace(mean=None)


def _group(x, scale, bias, where, *, num_groups, eps):
    mean, var = moments.group_moments(x, num_groups, where=where)
    if x.ndim == 2 and num_groups == 1:
        return standardize_and_keep(x, mean, var, scale, bias, where, eps=eps)
    size = x.shape[-1] // num_groups
    both = (two_passes.repeat_neighbours(a, size) for a in (mean, var))
    y = affine.standardize(x, *both, scale, bias, eps=eps, where=where)
    return y, Residuals(x, mean, jax.lax.rsqrt(var + eps), scale, where)


def standardize_and_keep(x, mean, var, scale=None, bias=None, where=None, *, eps):
    """`affine.standardize`, and what its backward keeps."""
    y = affine.standardize(x, mean, var, scale, bias, eps=eps, where=where)
    return y, Residuals(x, mean, jax.lax.rsqrt(var + eps), scale, where)


# ---- from a forward and a backward pass to a function with either gradient ----------


def _widest(names, arrays):
    """The arrays with the vectors in the widest dtype of all; 1 and 0 for None.

    So the backward knows the dtype of their gradients. Each vector is added to a zero
    made from `x`: under `shard_map` a vector that devices share varies with them from
    here on, and JAX sums its gradients over them.
    """
    x, given = arrays[0], dict(zip(names, arrays))
    vectors = {name: given[name] for name in names if name in NEUTRAL}
    dtypes = map(jnp.result_type, jax.tree.leaves(vectors))
    dtype = functools.reduce(jnp.promote_types, dtypes, moments.widen(x[:0]).dtype)
    zero = jnp.zeros_like(x, dtype, shape=())
    for name, a in vectors.items():
        filled = NEUTRAL[name](x.shape[-1:], dtype) if a is None else a
        given[name] = jax.tree.map(lambda a: a.astype(dtype) + zero, filled)
    return given.values()


def add_backward(forward: Callable, gradients: Callable, *names: str) -> Callable:
    """`forward(*arrays, **settings)[0]`, with the gradient that `backward=` names.

    By hand it is that of `gradients(dy, residuals)`. `names` are the fields of
    `backward.Gradients` for each array, and `where` for a mask.
    """

    run = lambda settings, *arrays: forward(*arrays, **dict(settings))
    op = jax.custom_vjp(lambda *args: run(*args)[0], nondiff_argnums=(0,))

    def backward_pass(settings, residuals, dy):
        by_name = gradients(dy, residuals)._asdict() | {"where": None}
        if residuals.scale is not None:  # in the dtype of all vectors
            cast = lambda a: a.astype(residuals.scale.dtype)
            vectors = {name: by_name[name] for name in NEUTRAL}
            by_name |= jax.tree.map(cast, vectors)
        return tuple(by_name[name] for name in names)

    op.defvjp(run, backward_pass)

    def call(*arrays, backward, **settings):
        pick("backward", BACKWARD, backward)
        if backward == "autodiff":
            return forward(*arrays, **settings)[0]
        if isinstance(settings["eps"], jax.core.Tracer):
            rule = "must be a number, not a traced array, where backward='analytic'"
            raise InputError("eps", ..., rule, "set backward='autodiff'")
        arrays = _widest(names, arrays)
        try:
            return op(tuple(settings.items()), *arrays)
        except TypeError as error:
            forward(*arrays, **settings)  # raises its own errors again
            rule = "forward mode alone (jvp, jacfwd) cannot pass a custom VJP"
            remedy = "use backward='autodiff', or forward over reverse"
            raise InputError("backward", "analytic", rule, remedy) from error

    return call


_VECTORS = ("scale", "bias", "where")
batch_gradients = lambda dy, kept: backward.batch_norm(dy[0], kept, now=dy[1])
batch = add_backward(_batch, batch_gradients, "x", *_VECTORS)
evaluation = add_backward(
    _evaluation, backward.batch_norm_evaluation, "x", "running", *_VECTORS
)
layer = add_backward(_layer, backward.layer_norm, "x", *_VECTORS)
rms = add_backward(_rms, backward.rms_norm, "x", "scale", "where")
group = add_backward(_group, backward.group_norm, "x", *_VECTORS)
