"""Flax modules that normalize each example on its own: they keep no statistics."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Num

from normjax.errors import pick
from normjax.layers.common import BACKWARD, scale_and_bias
from normjax.layers.groups import num_groups
from normjax.ops import pointwise, validate

Activations = Num[Array, "*batch features"]


def seen(op: Callable[[Array], Array], x: Activations, mask: validate.Mask) -> Array:
    """`op(x)`, and 0 where the mask is false, whatever `x` is there.

    For what does not mix positions. The parameters of `op` get their gradients as
    if `x` were 0 there: 0 in the gradient of `y` alone would meet nan in `x`.
    """
    where = validate.where(x, mask)
    if where is None:
        return op(x)
    return jnp.where(where, op(jnp.where(where, x, 0)), 0)


class LayerNorm(nn.Module):
    """`norms.layer_norm` with learned scale and bias, each [features]."""

    eps: float = 1e-5
    backward: str = "autodiff"  # a row of BACKWARD; "analytic" is by hand

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train
        vectors = scale_and_bias(self, x)
        ops = pick("backward", BACKWARD, self.backward)
        return seen(lambda x: ops.layer_norm(x, *vectors, eps=self.eps), x, mask)


class RMSNorm(nn.Module):
    """`norms.rms_norm` with a learned scale [features]."""

    eps: float = 1e-5
    backward: str = "autodiff"  # a row of BACKWARD; "analytic" is by hand

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        ops = pick("backward", BACKWARD, self.backward)
        return seen(lambda x: ops.rms_norm(x, scale, eps=self.eps), x, mask)


class GroupNorm(nn.Module):
    """`norms.group_norm` with learned scale and bias, each [features].

    Without `num_groups`: as many groups as divide the channels, at most 32 (as
    Wu and He) and of at least 4 channels: see `groups.num_groups`.
    """

    num_groups: int | None = None
    eps: float = 1e-5
    backward: str = "autodiff"  # a row of BACKWARD; "analytic" is by hand

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train
        groups = self.num_groups
        if groups is None:
            groups = num_groups(x.shape[-1])
        vectors = scale_and_bias(self, x)
        ops = pick("backward", BACKWARD, self.backward)
        return ops.group_norm(x, *vectors, num_groups=groups, eps=self.eps, mask=mask)


class InstanceNorm(nn.Module):
    """`norms.instance_norm` with learned scale and bias, each [features]."""

    eps: float = 1e-5
    backward: str = "autodiff"  # a row of BACKWARD; "analytic" is by hand

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train
        ops = pick("backward", BACKWARD, self.backward)
        return ops.instance_norm(x, *scale_and_bias(self, x), eps=self.eps, mask=mask)


class DyT(nn.Module):
    """`pointwise.dynamic_tanh` with learned alpha, scale and bias.

    Collections:
        params: `alpha` (`alpha_init`), a scalar; `scale` (ones) and `bias` (zeros),
            each [features].
    """

    alpha_init: float = 0.5

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train
        alpha = self.param("alpha", nn.initializers.constant(self.alpha_init), ())
        vectors = scale_and_bias(self, x)
        return seen(lambda x: pointwise.dynamic_tanh(x, alpha, *vectors), x, mask)


class Derf(nn.Module):
    """`pointwise.dynamic_erf` with learned alpha, shift, scale and bias.

    Collections:
        params: `alpha` (`alpha_init`) and `shift` (zero), scalars; `scale` (ones) and
            `bias` (zeros), each [features].
    """

    alpha_init: float = 0.5

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train
        alpha = self.param("alpha", nn.initializers.constant(self.alpha_init), ())
        shift = self.param("shift", nn.initializers.zeros, ())
        learned = alpha, shift, *scale_and_bias(self, x)
        return seen(lambda x: pointwise.dynamic_erf(x, *learned), x, mask)


class LocalResponseNorm(nn.Module):
    """`pointwise.local_response_norm`; nothing in it is learned."""

    size: int = 5
    alpha: float = 1e-4  # torch's divided by size
    beta: float = 0.75
    k: float = 2.0

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train
        fields = {
            "size": self.size,
            "alpha": self.alpha,
            "beta": self.beta,
            "k": self.k,
        }
        return seen(lambda x: pointwise.local_response_norm(x, **fields), x, mask)
