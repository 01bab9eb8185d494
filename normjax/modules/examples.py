"""Flax modules that normalize each example on its own: they keep no statistics."""

import flax.linen as nn
from jaxtyping import Array, Num

from normjax.modules.affine import scale_and_bias
from normjax.modules.groups import num_groups
from normjax.ops import analytic, norms, pointwise
from normjax.tables import pick

Activations = Num[Array, "*batch features"]

BACKWARD = {"autodiff": norms, "analytic": analytic}  # ops by who derives them


class LayerNorm(nn.Module):
    """`norms.layer_norm` with learned scale and bias, each [features]."""

    eps: float = 1e-5
    backward: str = "autodiff"  # a row of BACKWARD; "analytic" is by hand

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train, mask  # rows do not see each other
        ops = pick("backward", BACKWARD, self.backward)
        return ops.layer_norm(x, *scale_and_bias(self, x), eps=self.eps)


class RMSNorm(nn.Module):
    """`norms.rms_norm` with a learned scale [features]."""

    eps: float = 1e-5
    backward: str = "autodiff"  # a row of BACKWARD; "analytic" is by hand

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train, mask  # rows do not see each other
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        ops = pick("backward", BACKWARD, self.backward)
        return ops.rms_norm(x, scale, eps=self.eps)


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
        del train, mask  # no element sees another
        alpha = self.param("alpha", nn.initializers.constant(self.alpha_init), ())
        return pointwise.dynamic_tanh(x, alpha, *scale_and_bias(self, x))


class Derf(nn.Module):
    """`pointwise.dynamic_erf` with learned alpha, shift, scale and bias.

    Collections:
        params: `alpha` (`alpha_init`) and `shift` (zero), scalars; `scale` (ones) and
            `bias` (zeros), each [features].
    """

    alpha_init: float = 0.5

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train, mask  # no element sees another
        alpha = self.param("alpha", nn.initializers.constant(self.alpha_init), ())
        shift = self.param("shift", nn.initializers.zeros, ())
        return pointwise.dynamic_erf(x, alpha, shift, *scale_and_bias(self, x))


class LocalResponseNorm(nn.Module):
    """`pointwise.local_response_norm`; nothing in it is learned."""

    size: int = 5
    alpha: float = 1e-4  # torch's divided by size
    beta: float = 0.75
    k: float = 2.0

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train, mask  # positions do not see each other
        return pointwise.local_response_norm(
            x, size=self.size, alpha=self.alpha, beta=self.beta, k=self.k
        )
