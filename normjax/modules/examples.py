"""Flax modules that normalize each example on its own: they keep no statistics."""

import flax.linen as nn
from jaxtyping import Array, Num

from normjax.modules.affine import scale_and_bias
from normjax.ops import norms

Activations = Num[Array, "*batch features"]


class LayerNorm(nn.Module):
    """`norms.layer_norm` with learned scale and bias, each [features]."""

    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train, mask  # rows do not see each other
        return norms.layer_norm(x, *scale_and_bias(self, x), eps=self.eps)


class RMSNorm(nn.Module):
    """`norms.rms_norm` with a learned scale [features]."""

    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train, mask  # rows do not see each other
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        return norms.rms_norm(x, scale, eps=self.eps)


class GroupNorm(nn.Module):
    """`norms.group_norm` with learned scale and bias, each [features].

    Without `num_groups`: as many groups as divide the channels, at most 32 (as
    Wu and He) and of at least 4 channels: 32 of 4 for 128, 16 of 4 for 64. In a
    dense layer, smaller groups would leave little but signs.
    """

    num_groups: int | None = None
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train
        channels, num_groups = x.shape[-1], self.num_groups
        if num_groups is None:
            most = max(1, min(32, channels // 4))
            num_groups = max(n for n in range(1, most + 1) if channels % n == 0)
        vectors = scale_and_bias(self, x)
        return norms.group_norm(
            x, *vectors, num_groups=num_groups, eps=self.eps, mask=mask
        )


class InstanceNorm(nn.Module):
    """`norms.instance_norm` with learned scale and bias, each [features]."""

    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train
        return norms.instance_norm(x, *scale_and_bias(self, x), eps=self.eps, mask=mask)
