"""Flax modules that normalize a kernel: `layer(kernel, train=...)`."""

import functools

import flax.linen as nn
from jaxtyping import Array, Float

from normjax.layers.common import Norm, keep
from normjax.layers.per_example import GroupNorm
from normjax.ops import weights

__all__ = ["SpectralNorm", "WeightNorm", "WeightStandardization"]

Kernel = Float[Array, "*inputs features"]


class WeightNorm(nn.Module):
    """`weights.weight_norm` of a kernel, with a learned scale [features].

    The scale starts as the kernel's own norms, so that the kernel comes out as it went
    in; that of flax starts as ones.

        >>> import jax, jax.numpy as jnp, normjax.layers as layers
        >>> layer = layers.Dense(4, kernel_norm=layers.WeightNorm)
        >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 3)))
        >>> variables["params"]["kernel_norm"]["scale"].shape
        (4,)
    """

    eps: float = 1e-12
    backward: str = "autodiff"  # a row of custom_vjp.BACKWARD; "analytic" is by hand

    @nn.compact
    def __call__(self, kernel: Kernel, *, train: bool = False) -> Kernel:
        norms = lambda _: weights.feature_norms(kernel, eps=self.eps)
        scale = self.param("scale", norms)
        return weights.weight_norm(kernel, scale, eps=self.eps, backward=self.backward)


class WeightStandardization(nn.Module):
    """`weights.weight_standardization` of a kernel; it learns nothing."""

    eps: float = 1e-10
    backward: str = "autodiff"  # a row of custom_vjp.BACKWARD; "analytic" is by hand

    @nn.compact
    def __call__(self, kernel: Kernel, *, train: bool = False) -> Kernel:
        op = functools.partial(weights.weight_standardization, eps=self.eps)
        return op(kernel, backward=self.backward)


class SpectralNorm(nn.Module):
    """`weights.spectral_norm` of a kernel: one step of power iteration in training.

    Collections:
        batch_stats: `u` [features] and `v` [inputs], the singular vectors, which
            start near those of the initial kernel.
    """

    eps: float = 1e-12

    @nn.compact
    def __call__(self, kernel: Kernel, *, train: bool = False) -> Kernel:
        start = functools.cache(lambda: weights.singular(kernel))
        u = self.variable("batch_stats", "u", lambda: start().u)
        v = self.variable("batch_stats", "v", lambda: start().v)
        train = train and not self.is_initializing()
        vectors = weights.Singular(u.value, v.value)
        w, new = weights.spectral_norm(kernel, vectors, steps=int(train), eps=self.eps)
        if train:
            keep((u, v), new)
        return w


ROWS = {
    "weight": Norm(kernel=WeightNorm),
    # as Qiao et al. use it: alone, it multiplies the variance by the inputs' number
    "weight_standardization": Norm(GroupNorm, kernel=WeightStandardization),
    "spectral": Norm(kernel=SpectralNorm),
}
