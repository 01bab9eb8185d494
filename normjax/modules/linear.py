"""Flax modules with kernels, what wraps a kernel, and dropout."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from normjax.ops import moments, weights


class Dense(nn.Module):
    """`y = x @ kernel + bias`; as `flax.linen.Dense` when `kernel_norm` is none.

    Collections:
        params: `kernel` [inputs, features], `bias` [features] (zeros), and what
            the kernel's norm holds, under `kernel_norm`.
    """

    features: int
    use_bias: bool = True
    kernel_init: Callable = nn.initializers.lecun_normal()
    kernel_norm: Callable[..., nn.Module] | None = None  # as `Norm.kernel`

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch inputs"], *, train: bool = False
    ) -> Float[Array, "*batch features"]:
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.result_type(float))
        if self.kernel_norm is not None:
            kernel = self.kernel_norm(name="kernel_norm")(kernel, train=train)
        y = jnp.dot(x, kernel)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y = y + bias.reshape((1,) * (y.ndim - 1) + bias.shape)
        return y


class Dropout(nn.Module):
    """`y = x / (1 - rate)` with probability `1 - rate`, else 0; `x` when evaluating.

    Unlike in flax, the rate is an argument and may be traced: 0 returns `x` to
    the bit, 1 returns zeros with zero gradients. Draws from the key `dropout`.

    References:
        Srivastava et al., 2014. Dropout: A Simple Way to Prevent Neural Networks
        from Overfitting. JMLR 15.
    """

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*shape"],
        rate: float | Float[Array, ""],
        *,
        train: bool,
    ) -> Float[Array, "*shape"]:
        if not train:
            return x
        keep = 1 - jnp.asarray(rate, moments.widen(x).dtype)
        kept = jax.random.bernoulli(self.make_rng("dropout"), keep, x.shape)
        return (jnp.where(kept, x, 0) / jnp.where(keep > 0, keep, 1)).astype(x.dtype)


class WeightNorm(nn.Module):
    """`weights.weight_norm` of a kernel, with a learned scale [features].

    The scale starts as the kernel's own norms, so that the kernel comes out as
    it went in; flax' starts as ones.
    """

    eps: float = 1e-12

    @nn.compact
    def __call__(
        self, kernel: Float[Array, "*inputs features"], *, train: bool = False
    ) -> Float[Array, "*inputs features"]:
        del train
        scale = self.param(
            "scale", lambda _: weights.feature_norms(kernel, eps=self.eps)
        )
        return weights.weight_norm(kernel, scale, eps=self.eps)
