"""Flax modules of the variants of batch norm: they keep `batch_stats`."""

import flax.linen as nn
import jax.numpy as jnp

from normjax.errors import InputError
from normjax.layers.common import Norm, RunningNorm
from normjax.ops import batch_variants, moments, online, switchable

__all__ = ["BatchRenorm", "GhostBatchNorm", "OnlineNorm", "PowerNorm", "SwitchableNorm"]


class BatchRenorm(RunningNorm):
    """`batch_variants.batch_renorm` with learned scale and bias.

    Its limits grow with the steps it has trained, by `batch_variants.renorm_limits`.
    By default the schedule is the paper's, and it is batch norm for 5,000 steps:
    shorten it for shorter runs. `batch_stats` also hold `step`, the number of batches
    seen.
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
            step.value += moments.has_elements(x, mask).astype(jnp.int32)
        op, limits = batch_variants.batch_renorm, {"r_max": r_max, "d_max": d_max}
        return self.output(op, x, variables, train, mask, **limits)


class GhostBatchNorm(RunningNorm):
    """`batch_variants.ghost_batch_norm` with learned scale and bias.

    Without `ghost_size`, ghost batches have the divisor of the batch nearest to 32 in
    ratio: 32 of 128, 25 of 100. Of 32 or fewer it is all: there it is batch norm.
    `decay` is the weight of the past per ghost batch.
    """

    averages_inputs = True

    ghost_size: int | None = None  # examples

    def normalize(self, x, train, mask):
        op, variables = batch_variants.ghost_batch_norm, self.statistics(x)
        size = self.ghost_size
        return self.output(op, x, variables, train, mask, ghost_size=size)


class PowerNorm(RunningNorm):
    """`batch_variants.power_norm` with learned scale and bias.

    Collections:
        batch_stats: `square` (ones), [features].
    """

    op = staticmethod(batch_variants.power_norm)

    def statistics(self, x):
        return self.variable("batch_stats", "square", jnp.ones, x.shape[-1:])


class OnlineNorm(RunningNorm):
    """`online.online_norm` with learned scale and bias."""

    op = staticmethod(online.online_norm)

    decay: float = 0.99  # per example


class SwitchableNorm(RunningNorm):
    """`switchable.switchable_norm` with learned mixtures, scale and bias.

    Collections:
        params: `mean_logits` and `var_logits` (zeros), [kinds]: 3, or 2 where the
            spatial extent is 1; those of `AffineNorm`.
    """

    op = staticmethod(switchable.switchable_norm)

    def vectors(self, x, axes=(-1,)):
        logits = [self._logits(name, x) for name in ("mean_logits", "var_logits")]
        return *logits, *super().vectors(x, axes)

    def _logits(self, name: str, x):
        kinds = switchable.kinds(x.shape)
        if self.has_variable("params", name):
            size: int = self.get_variable("params", name).size
            if size != len(kinds):
                extent = "more than 1" if size > len(kinds) else "1"
                mixed = f"where the layer was initialized: its {name} mix {size} kinds"
                rule = f"must have a spatial extent of {extent}, as {mixed} of moments"
                how = "initialize the layer with inputs of this shape"
                raise InputError("x.shape", x.shape, rule, how)
        return self.param(name, nn.initializers.zeros, (len(kinds),))


ROWS = {
    "batch_renorm": Norm(BatchRenorm),
    "ghost": Norm(GhostBatchNorm),
    "power": Norm(PowerNorm),
    "online": Norm(OnlineNorm),
    "switchable": Norm(SwitchableNorm),
}
