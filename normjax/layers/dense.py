"""The dense layer, what wraps a kernel, and dropout."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from normjax.errors import pick
from normjax.layers.conv import Conv
from normjax.ops import custom_vjp, moments, weights

BACKWARD = {"autodiff": weights, "analytic": custom_vjp}  # ops by who derives them


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
    backward: str = "autodiff"  # a row of BACKWARD; "analytic" is by hand

    @nn.compact
    def __call__(
        self, kernel: Float[Array, "*inputs features"], *, train: bool = False
    ) -> Float[Array, "*inputs features"]:
        del train
        scale = self.param(
            "scale", lambda _: weights.feature_norms(kernel, eps=self.eps)
        )
        ops = pick("backward", BACKWARD, self.backward)
        return ops.weight_norm(kernel, scale, eps=self.eps)


class WeightStandardization(nn.Module):
    """`weights.weight_standardization` of a kernel; nothing is learned."""

    eps: float = 1e-10
    backward: str = "autodiff"  # a row of BACKWARD; "analytic" is by hand

    @nn.compact
    def __call__(
        self, kernel: Float[Array, "*inputs features"], *, train: bool = False
    ) -> Float[Array, "*inputs features"]:
        del train
        ops = pick("backward", BACKWARD, self.backward)
        return ops.weight_standardization(kernel, eps=self.eps)


class SpectralNorm(nn.Module):
    """`weights.spectral_norm` of a kernel: one step of power iteration in training.

    Collections:
        batch_stats: `u` [features] and `v` [inputs], the singular vectors, which
            start near those of the initial kernel.
    """

    eps: float = 1e-12

    @nn.compact
    def __call__(
        self, kernel: Float[Array, "*inputs features"], *, train: bool = False
    ) -> Float[Array, "*inputs features"]:
        start = functools.cache(lambda: weights.singular(kernel))
        u = self.variable("batch_stats", "u", lambda: start().u)
        v = self.variable("batch_stats", "v", lambda: start().v)
        train = train and not self.is_initializing()
        vectors = weights.Singular(u.value, v.value)
        steps = 1 if train else 0
        w, new = weights.spectral_norm(kernel, vectors, steps=steps, eps=self.eps)
        if train:
            u.value, v.value = new
        return w


def data_dependent_init(
    model: nn.Module, variables: dict[str, Any], inputs: Float[Array, " batch *shape"]
) -> dict[str, Any]:
    """Variables for which weight-normed layers put out mean 0 and variance 1.

    Those are `Dense` and `Conv` with `WeightNorm` as the norm of their kernel:

    `scale <- scale / std` and `bias <- (bias - mean) / std`, with the moments of each
    feature's output over the batch, layer after layer: each sees what the layers
    before it put out with their new variables. A constant feature keeps its scale, a
    layer without bias its mean.

    Args:
        model: called as `model(inputs, train=False)`.
        variables: of `model.init`; all others stay as they are.
        inputs: scaled examples, usually one training batch.

    References:
        Salimans and Kingma, 2016. Weight Normalization, section 3.
        arXiv:1602.07868.
    """

    def standardized(call, args, kwargs, context):
        y = call(*args, **kwargs)
        layer = context.module
        if not isinstance(layer, Dense | Conv) or context.method_name != "__call__":
            return y
        params = layer.variables["params"]
        if "scale" not in params.get("kernel_norm", {}):
            return y
        m = moments.over(y, tuple(range(y.ndim - 1)))
        mean = m.mean if layer.use_bias else jnp.zeros_like(m.mean)
        factor = jnp.where(m.var > 0, jax.lax.rsqrt(jnp.where(m.var > 0, m.var, 1)), 1)
        scale = params["kernel_norm"]["scale"] * factor.ravel()
        layer.put_variable("params", "kernel_norm", {"scale": scale})
        if layer.use_bias:
            bias = (params["bias"] - mean.ravel()) * factor.ravel()
            layer.put_variable("params", "bias", bias)
        return (y - mean) * factor

    with nn.intercept_methods(standardized):
        _, new = model.apply(variables, inputs, train=False, mutable=["params"])
    return {**variables, **new}
