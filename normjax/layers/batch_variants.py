"""Flax modules of the relatives of batch norm: they keep `batch_stats`.

Like `BatchNorm`, all of them evaluate while initializing.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Num

from normjax.layers.common import running_moments, scale_and_bias
from normjax.ops import batch_variants, moments, norms, online

Activations = Num[Array, "*batch features"]
Images = Num[Array, "batch *spatial features"]


class BatchRenorm(nn.Module):
    """`batch_family.batch_renorm` with learned scale and bias.

    Its limits grow by `batch_family.renorm_limits` with the steps it has trained.
    By default the schedule is the paper's, and it is batch norm for 5,000 steps:
    shorten it for shorter runs.

    Collections:
        params: `scale` (ones) and `bias` (zeros), each [features].
        batch_stats: `mean` (zeros) and `var` (ones), each [features]; `step`, the
            batches they have seen.
    """

    averages_inputs = True
    r_max: float = 3.0
    d_max: float = 5.0  # standard deviations
    start_step: int = 5_000  # up to here batch norm
    r_end_step: int = 40_000  # from here on r_max
    d_end_step: int = 25_000  # from here on d_max
    decay: float = 0.99  # weight of the past in `batch_stats`, per step
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Activations, *, train: bool, mask=None):
        mean, var = running_moments(self, x)
        step = self.variable("batch_stats", "step", jnp.zeros, (), jnp.int32)
        r_max, d_max = batch_variants.renorm_limits(
            step.value,
            r_max=self.r_max,
            d_max=self.d_max,
            start_step=self.start_step,
            r_end_step=self.r_end_step,
            d_end_step=self.d_end_step,
        )
        train = train and not self.is_initializing()
        settings = {"train": train, "decay": self.decay, "eps": self.eps}
        y, new = batch_variants.batch_renorm(
            x,
            moments.Running(mean.value, var.value),
            *scale_and_bias(self, x),
            r_max=r_max,
            d_max=d_max,
            mask=mask,
            **settings,
        )
        if train:
            mean.value, var.value = new
            step.value += norms.learns(x, mask)
        return y


class GhostBatchNorm(nn.Module):
    """`batch_family.ghost_batch_norm` with learned scale and bias.

    Without `ghost_size`: the divisor of the batch nearest to 32 in ratio, which is
    32 of 128, 25 of 100 and all of 32 or fewer: there it is batch norm.

    Collections:
        params: `scale` (ones) and `bias` (zeros), each [features].
        batch_stats: `mean` (zeros) and `var` (ones), each [features].
    """

    averages_inputs = True
    ghost_size: int | None = None  # examples
    decay: float = 0.9  # weight of the past in `batch_stats`, per ghost batch
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Images, *, train: bool, mask=None):
        mean, var = running_moments(self, x)
        size = self.ghost_size
        if size is None:
            size = batch_variants.ghost_size_for(len(x))
        train = train and not self.is_initializing()
        settings = {"train": train, "decay": self.decay, "eps": self.eps}
        y, new = batch_variants.ghost_batch_norm(
            x,
            moments.Running(mean.value, var.value),
            *scale_and_bias(self, x),
            ghost_size=size,
            mask=mask,
            **settings,
        )
        if train:
            mean.value, var.value = new
        return y


class PowerNorm(nn.Module):
    """`batch_family.power_norm` with learned scale and bias.

    Collections:
        params: `scale` (ones) and `bias` (zeros), each [features].
        batch_stats: `square` (ones), [features].
    """

    decay: float = 0.9  # weight of the past in `batch_stats`, per step
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Activations, *, train: bool, mask=None):
        square = self.variable("batch_stats", "square", jnp.ones, x.shape[-1:])
        train = train and not self.is_initializing()
        settings = {"train": train, "decay": self.decay, "eps": self.eps}
        vectors = scale_and_bias(self, x)
        y, new = batch_variants.power_norm(
            x, square.value, *vectors, mask=mask, **settings
        )
        if train:
            square.value = new
        return y


class OnlineNorm(nn.Module):
    """`online.online_norm` with learned scale and bias.

    Collections:
        params: `scale` (ones) and `bias` (zeros), each [features].
        batch_stats: `mean` (zeros) and `var` (ones), each [features].
    """

    decay: float = 0.99  # weight of the past in `batch_stats`, per example
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Images, *, train: bool, mask=None):
        mean, var = running_moments(self, x)
        train = train and not self.is_initializing()
        settings = {"train": train, "decay": self.decay, "eps": self.eps}
        running = moments.Running(mean.value, var.value)
        vectors = scale_and_bias(self, x)
        y, new = online.online_norm(x, running, *vectors, mask=mask, **settings)
        if train:
            mean.value, var.value = new
        return y
