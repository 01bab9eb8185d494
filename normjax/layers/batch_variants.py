"""Flax modules of the variants of batch norm: they keep `batch_stats`."""

import jax.numpy as jnp

from normjax.layers.common import Norm, RunningNorm
from normjax.ops import batch_variants, norms, online

__all__ = ["BatchRenorm", "GhostBatchNorm", "OnlineNorm", "PowerNorm"]


class BatchRenorm(RunningNorm):
    """`batch_variants.batch_renorm` with learned scale and bias.

    Its limits grow with the steps it has trained, by `batch_variants.renorm_limits`.
    By default the schedule is the paper's, and it is batch norm for 5,000 steps:
    shorten it for shorter runs.

    Collections:
        params: `scale` (ones) and `bias` (zeros), each [features].
        batch_stats: `mean` (zeros) and `var` (ones), each [features]; `step`, the
            number of batches seen.
    """

    averages_inputs = True

    r_max: float = 3.0
    d_max: float = 5.0  # standard deviations
    start_step: int = 5_000  # up to here it is batch norm
    r_end_step: int = 40_000  # from here on the limit is r_max
    d_end_step: int = 25_000  # from here on the limit is d_max
    decay: float = 0.99

    def normalize(self, x, train, mask):
        variables = self.statistics(x)
        step = self.variable("batch_stats", "step", jnp.zeros, (), jnp.int32)
        r_max, d_max = batch_variants.renorm_limits(
            step.value,
            r_max=self.r_max,
            d_max=self.d_max,
            start_step=self.start_step,
            r_end_step=self.r_end_step,
            d_end_step=self.d_end_step,
        )
        if train:
            step.value += norms.learns(x, mask).astype(jnp.int32)
        return self.blended(
            batch_variants.batch_renorm,
            x,
            variables,
            *self.vectors(x),
            train=train,
            r_max=r_max,
            d_max=d_max,
            mask=mask,
        )


class GhostBatchNorm(RunningNorm):
    """`batch_variants.ghost_batch_norm` with learned scale and bias.

    Without `ghost_size`, ghost batches have the divisor of the batch nearest to 32 in
    ratio: 32 of 128, 25 of 100. Of 32 or fewer it is all: there it is batch norm.
    `decay` is the weight of the past per ghost batch.

    Collections:
        params: `scale` (ones) and `bias` (zeros), each [features].
        batch_stats: `mean` (zeros) and `var` (ones), each [features].
    """

    averages_inputs = True

    ghost_size: int | None = None  # examples

    def normalize(self, x, train, mask):
        variables, size = self.statistics(x), self.ghost_size
        op, vectors = batch_variants.ghost_batch_norm, self.vectors(x)
        return self.blended(
            op, x, variables, *vectors, train=train, ghost_size=size, mask=mask
        )


class PowerNorm(RunningNorm):
    """`batch_variants.power_norm` with learned scale and bias.

    Collections:
        params: `scale` (ones) and `bias` (zeros), each [features].
        batch_stats: `square` (ones), [features].
    """

    def normalize(self, x, train, mask):
        square = self.variable("batch_stats", "square", jnp.ones, x.shape[-1:])
        op, vectors = batch_variants.power_norm, self.vectors(x)
        return self.blended(op, x, square, *vectors, train=train, mask=mask)


class OnlineNorm(RunningNorm):
    """`online.online_norm` with learned scale and bias.

    Collections:
        params: `scale` (ones) and `bias` (zeros), each [features].
        batch_stats: `mean` (zeros) and `var` (ones), each [features].
    """

    decay: float = 0.99  # per example

    def normalize(self, x, train, mask):
        variables, vectors = self.statistics(x), self.vectors(x)
        op = online.online_norm
        return self.blended(op, x, variables, *vectors, train=train, mask=mask)


ROWS = {
    "batch_renorm": Norm(BatchRenorm),
    "ghost": Norm(GhostBatchNorm),
    "power": Norm(PowerNorm),
    "online": Norm(OnlineNorm),
}
