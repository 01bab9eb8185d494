"""Reparametrizations of a kernel, as pure functions of arrays.

The last axis of a kernel is its output features. Nothing here owns a parameter.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from normjax.ops import moments


def feature_norms(
    kernel: Num[Array, "*inputs features"], *, eps: float = 1e-12
) -> Float[Array, " features"]:
    """`sqrt(sum(v^2) + eps)` over all axes but the last, in float32 or wider."""
    v = moments.widen(kernel)
    return jnp.sqrt(jnp.sum(jnp.square(v), tuple(range(v.ndim - 1))) + eps)


def weight_norm(
    kernel: Num[Array, "*inputs features"],
    scale: Float[Array, " features"],
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

    References:
        Salimans and Kingma, 2016. Weight Normalization: A Simple
        Reparameterization to Accelerate Training of Deep Neural Networks.
        arXiv:1602.07868.
    """
    factor = scale / feature_norms(kernel, eps=eps)
    row = (1,) * (kernel.ndim - 1) + factor.shape
    return (moments.widen(kernel) * factor.reshape(row)).astype(kernel.dtype)
