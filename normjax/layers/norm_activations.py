"""Flax modules that normalize and end in a nonlinearity of their own.

Each replaces the pair norm + activation: their rows of `NORMS` say so.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Num

from normjax.layers.common import scale_and_bias
from normjax.layers.groups import num_groups
from normjax.ops import norm_activations

Activations = Num[Array, "batch *spatial features"]


class FilterResponseNorm(nn.Module):
    """`activations.filter_response_norm` with learned scale, bias and threshold.

    Where the spatial extent is 1, as in a dense layer, eps is learned too, as Singh
    and Krishnan do: `eps + |learned_eps|`, one number, which starts at 1e-4.

    Collections:
        params: `scale` (ones), `bias` and `threshold` (zeros), each [features];
            where the spatial extent is 1 also `learned_eps`, a scalar.
    """

    eps: float = 1e-6

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train
        vectors = scale_and_bias(self, x)
        threshold = self.param("threshold", nn.initializers.zeros, x.shape[-1:])
        eps = self.eps
        if math.prod(x.shape[1:-1]) == 1:
            learned = self.param("learned_eps", nn.initializers.constant(1e-4), ())
            eps = eps + jnp.abs(learned)
        return norm_activations.filter_response_norm(
            x, *vectors, threshold, eps=eps, mask=mask
        )


class EvoNormS0(nn.Module):
    """`activations.evonorm_s0` with learned gate, scale and bias.

    Without `num_groups`: as many as `GroupNorm` takes; the paper has 32.

    Collections:
        params: `gate` and `scale` (ones), `bias` (zeros), each [features].
    """

    num_groups: int | None = None
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train
        groups = self.num_groups
        if groups is None:
            groups = num_groups(x.shape[-1])
        vectors = _gate(self, x), *scale_and_bias(self, x)
        return norm_activations.evonorm_s0(
            x, *vectors, num_groups=groups, eps=self.eps, mask=mask
        )


class EvoNormB0(nn.Module):
    """`activations.evonorm_b0` with learned gate, scale and bias.

    While initializing it evaluates, as `BatchNorm` does.

    Collections:
        params: `gate` and `scale` (ones), `bias` (zeros), each [features].
        batch_stats: `var` (ones), [features].
    """

    decay: float = 0.9  # weight of the past in `batch_stats`, per step
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Activations, *, train: bool, mask=None):
        var = self.variable("batch_stats", "var", jnp.ones, x.shape[-1:])
        vectors = _gate(self, x), *scale_and_bias(self, x)
        train = train and not self.is_initializing()
        settings = {"train": train, "decay": self.decay, "eps": self.eps}
        y, new = norm_activations.evonorm_b0(
            x, var.value, *vectors, mask=mask, **settings
        )
        if train:
            var.value = new
        return y


def _gate(module: nn.Module, x: Array) -> Array:
    return module.param("gate", nn.initializers.ones, x.shape[-1:])
