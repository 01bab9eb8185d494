"""The dense layer, dropout, and the scales of weight norm by a batch."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from normjax.layers.conv import Conv, Linear
from normjax.ops import moments

__all__ = ["Dense", "Dropout", "data_dependent_init"]


class Dense(Linear):
    """`y = x @ kernel + bias`; as `flax.linen.Dense` when `kernel_norm` is None.

        >>> import jax, jax.numpy as jnp, normjax.layers as layers
        >>> y, _ = layers.Dense(4).init_with_output(jax.random.key(0), jnp.ones((2, 3)))
        >>> y.shape
        (2, 4)

    Collections:
        params: `kernel` [inputs, features], `bias` [features] (zeros), and what
            the norm of the kernel keeps, under `kernel_norm`.
    """

    features: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch inputs"], *, train: bool = False
    ) -> Float[Array, "*batch features"]:
        x, kernel, bias = self.operands(x, (x.shape[-1], self.features), train)
        y = jnp.dot(x, kernel)
        return y if bias is None else y + bias.reshape((1,) * (y.ndim - 1) + bias.shape)


class Dropout(nn.Module):
    """`y = x / (1 - rate)` with probability `1 - rate`, else 0; `x` when evaluating.

    Unlike in flax, the rate is an argument and may be traced: 0 returns `x` to the bit,
    1 returns zeros with zero gradients. The layer draws from the key `dropout`.

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


def data_dependent_init(
    model: nn.Module, variables: dict[str, Any], inputs: Float[Array, " batch *shape"]
) -> dict[str, Any]:
    """Variables with which `Dense` and `Conv` under `WeightNorm` are standardized.

    `scale <- scale / std` and `bias <- (bias - mean) / std`, with the moments of each
    feature's output over the batch, layer after layer: each gets what the layers before
    it put out with their new variables. Outputs so have mean 0 and variance 1, but a
    constant feature keeps its scale, a layer without bias its mean.

    Args:
        model: called as `model(inputs, train=False)`.
        variables: of `model.init`; all others stay as they are.
        inputs: scaled examples, usually one training batch.

    References:
        Salimans and Kingma, 2016. Weight Normalization, section 3.
        arXiv:1602.07868.
    """
    with nn.intercept_methods(_standardize_output):
        _, new = model.apply(variables, inputs, train=False, mutable=["params"])
    return {**variables, **new}


def _standardize_output(call: Callable, args, kwargs, context):
    """Rescales a weight-normed layer that is called; an interceptor of flax."""
    y, layer = call(*args, **kwargs), context.module
    if not isinstance(layer, Dense | Conv) or context.method_name != "__call__":
        return y
    params = layer.variables["params"]
    if "scale" not in params.get("kernel_norm", {}):
        return y
    m = moments.mean_and_var(y, tuple(range(y.ndim - 1)))
    mean = m.mean if layer.use_bias else jnp.zeros_like(m.mean)
    factor = jnp.where(m.var > 0, jax.lax.rsqrt(jnp.where(m.var > 0, m.var, 1)), 1)
    scale = params["kernel_norm"]["scale"] * factor.ravel()
    layer.put_variable("params", "kernel_norm", {"scale": scale})
    if layer.use_bias:
        bias = (params["bias"] - mean.ravel()) * factor.ravel()
        layer.put_variable("params", "bias", bias)
    return (y - mean) * factor
