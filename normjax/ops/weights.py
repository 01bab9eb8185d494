"""Reparametrizations of a kernel, as pure functions of arrays.

The last axis of a kernel is its output features. Nothing here owns a parameter.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from normjax.errors import InputError
from normjax.ops import moments, validate


def feature_norms(
    kernel: Num[Array, "*inputs features"], *, eps: float = 1e-12
) -> Float[Array, " features"]:
    """`sqrt(sum(v^2) + eps)` over all axes but the last, in float32 or wider."""
    v = moments.widen(kernel)
    return jnp.sqrt(jnp.sum(jnp.square(v), tuple(range(v.ndim - 1))) + eps)


def weight_norm(
    kernel: Num[Array, "*inputs features"],
    scale: Float[Array, "..."],  # [features]; another shape is refused by name
    *,
    eps: float = 1e-12,
) -> Float[Array, "*inputs features"]:
    """`w = scale * v / sqrt(||v||^2 + eps)`, with the norm of each output feature.

    `w` does not change, but for `eps`, with the length of `v`, so its gradient
    is orthogonal to `v`. `scale = feature_norms(v)` gives `w = v`. At `v = 0`
    the paper's formula (eps = 0) is undefined; here `w = 0` and the gradient is
    `scale / sqrt(eps)` times that of `w`: finite, and the identity when `scale`
    comes from `feature_norms`.

    Args:
        kernel: the direction `v`; its dtype is that of the result.
        scale: the length `g` of each feature's weights.
        eps: added to the squared norm.

    Raises:
        InputError: if `kernel` is not floating or `scale` has another shape.

    References:
        Salimans and Kingma, 2016. Weight Normalization: A Simple
        Reparameterization to Accelerate Training of Deep Neural Networks.
        arXiv:1602.07868.
    """
    validate.refuse_vectors(kernel, of="kernel", scale=scale)
    factor = scale / feature_norms(kernel, eps=eps)
    row = (1,) * (kernel.ndim - 1) + factor.shape
    return (moments.widen(kernel) * factor.reshape(row)).astype(kernel.dtype)


def weight_standardization(
    kernel: Num[Array, "*inputs features"], *, eps: float = 1e-10
) -> Float[Array, "*inputs features"]:
    """`w = (v - mean) / sqrt(var + eps)`, over the inputs of each output feature.

    `w` does not change, but for `eps`, with shift and scale of `v`. Its entries
    have variance 1, so that of `x @ w` is the number of inputs times that of `x`:
    it is made to be followed by a norm of the activations. Qiao et al. add 1e-5 to
    the standard deviation over n - 1; eps and place are those of Kolesnikov et al.
    (2019, arXiv:1912.11370), small beside the variance of any usual kernel.

    Args:
        kernel: `v`; its dtype is that of the result.
        eps: added to the variance, in the squared units of `v`.

    Raises:
        InputError: if `kernel` is not floating or a feature has a single input.

    References:
        Qiao, Wang, Liu, Shen and Yuille, 2019. Micro-Batch Training with
        Batch-Channel Normalization and Weight Standardization. arXiv:1903.10520.
    """
    num_inputs = math.prod(kernel.shape[:-1])
    validate.refuse_single(kernel, num_inputs, "give the layer more inputs")
    m = moments.over(kernel, tuple(range(kernel.ndim - 1)))
    w = (moments.widen(kernel) - m.mean) * jax.lax.rsqrt(m.var + eps)
    return w.astype(kernel.dtype)


class Singular(NamedTuple):
    """Estimates of the first singular vectors of a kernel, each of length 1."""

    u: Float[Array, " features"]
    v: Float[Array, " inputs"]  # all input axes of the kernel, flattened


def spectral_norm(
    kernel: Num[Array, "*inputs features"],
    vectors: Singular,
    *,
    steps: int,
    eps: float = 1e-12,
) -> tuple[Float[Array, "*inputs features"], Singular]:
    """`w = W / sigma`, `sigma = v @ W @ u`, after `steps` of power iteration.

    One step is `u = unit(v @ W); v = unit(W @ u)`. It moves `vectors` closer to the
    first singular vectors and `sigma` up to the largest singular value, from below.
    Without a step `sigma` has the sign of the pair it is given, as in PyTorch.
    To derivatives both vectors are constants. They are stepped in the order of
    PyTorch, and kept both: without a step, as in evaluation, `sigma` is that of
    the last one. A kernel of zeros stays as it is.

    Args:
        kernel: `W`, with all axes but the last flattened; its dtype is that of `w`.
        vectors: from the last call, or from `singular`.
        steps: of power iteration; usually 1 in training, 0 in evaluation.
        eps: least length that is divided by, in the units of `W`.

    Raises:
        InputError: if `kernel` is not floating or the vectors are of another.

    References:
        Miyato, Kataoka, Koyama and Yoshida, 2018. Spectral Normalization for
        Generative Adversarial Networks. arXiv:1802.05957.
    """
    wide = moments.widen(kernel)
    matrix = wide.reshape(-1, wide.shape[-1])
    dot = functools.partial(jnp.dot, precision="highest")
    _refuse_other_vectors(kernel, vectors)
    constant = jax.lax.stop_gradient(matrix)
    u, v = (jax.lax.stop_gradient(a) for a in vectors)
    for _ in range(steps):
        u = _unit(dot(v, constant), eps)
        v = _unit(dot(constant, u), eps)
    sigma = dot(v, dot(matrix, u))
    sigma = jnp.where(jnp.abs(sigma) < eps, eps, sigma)
    return (wide / sigma).astype(kernel.dtype), Singular(u, v)


def singular(kernel: Num[Array, "*inputs features"], *, steps: int = 15) -> Singular:
    """First singular vectors of a kernel by power iteration from its longest row.

    Fifteen steps, as PyTorch takes them when it wraps a kernel; it starts from
    noise, this without a key.
    """
    matrix = moments.widen(kernel).reshape(-1, kernel.shape[-1])
    longest = jnp.argmax(jnp.sum(jnp.square(matrix), 1))
    row = jnp.arange(len(matrix)) == longest
    start = Singular(jnp.zeros_like(matrix[0]), row.astype(matrix.dtype))
    return spectral_norm(kernel, start, steps=steps)[1]


def _refuse_other_vectors(kernel, vectors: Singular) -> None:
    sizes = {"u": kernel.shape[-1], "v": math.prod(kernel.shape[:-1])}
    for name, size in sizes.items():
        shape = getattr(vectors, name).shape
        if shape != (size,):
            raise InputError(
                f"vectors.{name}.shape={shape}: must be ({size},) for a kernel of"
                f" shape {kernel.shape}; start from singular(kernel)."
            )


def _unit(x, eps):
    return x / jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(x))), eps)
