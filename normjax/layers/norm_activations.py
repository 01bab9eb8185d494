"""Flax modules that normalize and end in a nonlinearity of their own.

Each replaces the pair norm + activation: their rows of `NORMS` say so.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from normjax.layers.common import AffineNorm, Norm, RunningNorm, num_groups
from normjax.ops import norm_activations

__all__ = ["EvoNormB0", "EvoNormS0", "FilterResponseNorm"]


class FilterResponseNorm(AffineNorm):
    """`norm_activations.filter_response_norm` with learned scale, bias and threshold.

    Where it is initialized with a spatial extent of 1, as in a dense layer, eps is
    learned too, as Singh and Krishnan do: `eps + |learned_eps|`, one number, which
    starts at 1e-4. What was initialized decides, whatever the extent is later.

    Collections:
        params: `scale` (ones), `bias` and `threshold` (zeros), each [features];
            where the spatial extent is 1 also `learned_eps`, a scalar.
    """

    eps: float = 1e-6

    def normalize(self, x, train, mask):
        vectors = self.vectors(x)
        threshold = self.vector("threshold", nn.initializers.zeros, x)
        eps: float | Array = self.eps
        starts = self.is_initializing() and math.prod(x.shape[1:-1]) == 1
        if starts or self.has_variable("params", "learned_eps"):
            learned = self.param("learned_eps", nn.initializers.constant(1e-4), ())
            eps = eps + jnp.abs(learned)
        return norm_activations.filter_response_norm(
            x, *vectors, threshold, eps=eps, mask=mask
        )


class EvoNormS0(AffineNorm):
    """`norm_activations.evonorm_s0` with learned gate (ones), scale and bias.

    Without `num_groups` it has as many as `GroupNorm`; the paper has 32.
    """

    num_groups: int | None = None
    eps: float = 1e-5

    def normalize(self, x, train, mask):
        groups = num_groups(x.shape[-1], self.num_groups)
        learned = self.vector("gate", nn.initializers.ones, x), *self.vectors(x)
        return norm_activations.evonorm_s0(
            x, *learned, num_groups=groups, eps=self.eps, mask=mask
        )


class EvoNormB0(RunningNorm):
    """`norm_activations.evonorm_b0` with learned gate (ones), scale and bias.

    Collections:
        batch_stats: `var` (ones), [features].
    """

    op = staticmethod(norm_activations.evonorm_b0)

    def statistics(self, x):
        return self.variable("batch_stats", "var", jnp.ones, x.shape[-1:])

    def vectors(self, x, axes=(-1,)):
        gate = self.vector("gate", nn.initializers.ones, x)
        return gate, *super().vectors(x, axes)


ROWS = {
    "frn": Norm(FilterResponseNorm, owns_activation=True),
    "evonorm_s0": Norm(EvoNormS0, owns_activation=True),
    "evonorm_b0": Norm(EvoNormB0, owns_activation=True),
}
