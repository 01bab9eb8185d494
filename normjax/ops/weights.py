"""Reparametrizations of a kernel, as pure functions of arrays.

The last axis of a kernel is its output features, and the result has the dtype of the
kernel. `backward` is a row of `custom_vjp.BACKWARD`. An InputError is raised if the
kernel is not floating, or a vector is not that of the kernel. Nothing here owns a
parameter.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from normjax.errors import InputError
from normjax.ops import backward, custom_vjp, moments, validate
from normjax.ops.backward import Residuals


def feature_norms(
    kernel: Num[Array, "*inputs features"], *, eps: float = 1e-12
) -> Float[Array, " features"]:
    """`sqrt(sum(v^2) + eps)` over all axes but the last, in float32 or wider.

    >>> feature_norms(jnp.array([[3.0, 0.0], [4.0, 2.0]])).tolist()
    [5.0, 2.0]
    """
    validate.refuse_eps(eps)
    v = moments.widen(kernel)
    return jnp.sqrt(jnp.sum(jnp.square(v), tuple(range(v.ndim - 1))) + eps)


def weight_norm(
    kernel: Num[Array, "*inputs features"],
    scale: Float[Array, "..."],  # [features]; another shape is refused by name
    *,
    eps: float = 1e-12,
    backward: str = "autodiff",
) -> Float[Array, "*inputs features"]:
    """`w = scale * v / sqrt(||v||^2 + eps)`, with the norm of each output feature.

    `w` does not change, but for `eps`, with the length of `v`, so its gradient
    is orthogonal to `v`. `scale = feature_norms(v)` gives `w = v`. At `v = 0`
    the paper's formula (eps = 0) is undefined; here `w = 0` and the gradient is
    `scale / sqrt(eps)` times that of `w`: finite, and the identity when `scale`
    comes from `feature_norms`.

        >>> weight_norm(jnp.array([[3.0], [4.0]]), jnp.array([10.0])).tolist()
        [[6.0], [8.0]]

    References:
        Salimans and Kingma, 2016. Weight Normalization: A Simple
        Reparameterization to Accelerate Training of Deep Neural Networks.
        arXiv:1602.07868.
    """
    validate.refuse_vectors(kernel, of="kernel", scale=scale)
    return _WEIGHT(kernel, scale, eps=eps, backward=backward)


def _weight(kernel, scale, *, eps):
    norms = feature_norms(kernel, eps=eps)
    row = (1,) * (kernel.ndim - 1) + norms.shape
    w = moments.widen(kernel) * (scale / norms).reshape(row)
    kept = Residuals(kernel, None, (1 / norms).reshape(row), scale)
    return w.astype(jnp.result_type(kernel)), kept


def weight_standardization(
    kernel: Num[Array, "*inputs features"],
    *,
    eps: float = 1e-10,
    backward: str = "autodiff",
) -> Float[Array, "*inputs features"]:
    """`w = (v - mean) / sqrt(var + eps)`, over the inputs of each output feature.

    `w` does not change, but for `eps`, with shift and scale of `v`. Its entries
    have variance 1, so that of `x @ w` is the number of inputs times that of `x`:
    it is made to be followed by a norm of the activations. Qiao et al. add 1e-5 to
    the standard deviation over n - 1; eps and place are those of Kolesnikov et al.
    (2019, arXiv:1912.11370), small beside the variance of any usual kernel.

        >>> weight_standardization(jnp.array([[1.0], [3.0]])).tolist()
        [[-1.0], [1.0]]

    References:
        Qiao, Wang, Liu, Shen and Yuille, 2019. Micro-Batch Training with
        Batch-Channel Normalization and Weight Standardization. arXiv:1903.10520.
    """
    inputs = range(kernel.ndim - 1)
    validate.refuse_single(kernel, inputs, "give the layer more inputs")
    # batch norm without running moments: the inputs of a feature stand for the batch
    return custom_vjp.batch(kernel, None, None, None, eps=eps, backward=backward)[0]


_WEIGHT = custom_vjp.add_backward(_weight, backward.weight_norm, "x", "scale")


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
    To derivatives both vectors are constants. They are stepped in the order of PyTorch.

    Where `|sigma| < eps`, as for a kernel of zeros, the kernel is not divided, as in
    flax. A product that is shorter than `eps` leaves its vector as it is, so that the
    iteration goes on once the kernel is not zero.

        >>> kernel = jnp.array([[3.0, 0.0], [0.0, 1.0]])
        >>> spectral_norm(kernel, singular(kernel), steps=0)[0].round(3)
        Array([[1.   , 0.   ],
               [0.   , 0.333]], dtype=float32)

    `W` is the kernel with all axes but the last flattened. `vectors` are from the last
    call, or from `singular`; they keep their dtypes. `steps` is usually 1 in training
    and 0 in evaluation. `eps` is in the units of `W`.

    References:
        Miyato, Kataoka, Koyama and Yoshida, 2018. Spectral Normalization for
        Generative Adversarial Networks. arXiv:1802.05957.
    """
    validate.refuse_eps(eps)
    wide = moments.widen(kernel)
    matrix = wide.reshape(-1, wide.shape[-1])
    dot = functools.partial(jnp.dot, precision="highest")
    _refuse_other_vectors(kernel, vectors)
    constant = jax.lax.stop_gradient(matrix)
    u, v = (jax.lax.stop_gradient(jnp.asarray(a, wide.dtype)) for a in vectors)
    for _ in range(steps):
        u = _unit(dot(v, constant), eps, otherwise=u)
        v = _unit(dot(constant, u), eps, otherwise=v)
    sigma = dot(v, dot(matrix, u))
    sigma = jnp.where(jnp.abs(sigma) < eps, 1, sigma)
    u, v = (a.astype(jnp.result_type(b)) for a, b in zip((u, v), vectors))
    return (wide / sigma).astype(jnp.result_type(kernel)), Singular(u, v)


def singular(kernel: Num[Array, "*inputs features"], *, steps: int = 15) -> Singular:
    """First singular vectors of a kernel by power iteration from fixed noise.

    Fifteen steps, as PyTorch takes them when it wraps a kernel. It and flax draw the
    noise from a generator; here it is the same for each shape, so no key is needed.
    A vector of the kernel's own, such as its longest row, would not do: it may be
    orthogonal to the first singular vector, and power iteration keeps it so.
    """
    dtype = moments.widen(kernel).dtype
    draws = np.random.default_rng(0)
    sizes = kernel.shape[-1], math.prod(kernel.shape[:-1])
    noise = (jnp.asarray(draws.normal(size=size), dtype) for size in sizes)
    start = Singular(*(a / jnp.linalg.norm(a) for a in noise))
    return spectral_norm(kernel, start, steps=steps)[1]


def _refuse_other_vectors(kernel, vectors: Singular) -> None:
    sizes = {"u": kernel.shape[-1], "v": math.prod(kernel.shape[:-1])}
    for name, size in sizes.items():
        shape = getattr(vectors, name).shape
        if shape != (size,):
            rule = f"must be ({size},) for a kernel of shape {kernel.shape}"
            remedy = "start from singular(kernel)"
            raise InputError(f"vectors.{name}.shape", shape, rule, remedy)


def _unit(x, eps, *, otherwise):
    """`x` at length 1, or `otherwise` where `x` is shorter than `eps`."""
    length = jnp.sqrt(jnp.sum(jnp.square(x)))
    return jnp.where(length < eps, otherwise, x / jnp.maximum(length, eps))
