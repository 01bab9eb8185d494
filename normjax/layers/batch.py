"""Flax modules that take statistics over the batch: they keep `batch_stats`."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from normjax.layers import common
from normjax.layers.common import AffineNorm, Inputs, Norm, RunningNorm
from normjax.ops import moments, norms

__all__ = ["PRESETS", "BatchNorm", "FrozenBatchNorm", "RunningMoments"]
__all__ += ["ScalarBatchNorm"]


class RunningMoments(nn.Module):
    """A running mean and variance that several layers of a model may share.

    Collections:
        batch_stats: `mean` (zero) and `var` (one), scalars.
    """

    def setup(self):
        self.mean = self.variable("batch_stats", "mean", jnp.zeros, ())
        self.var = self.variable("batch_stats", "var", jnp.ones, ())


class BatchNorm(RunningNorm):
    """`norms.batch_norm` with learned scale and bias.

    `BatchNorm(**PRESETS["torch"])` is that of PyTorch.

        >>> import jax, normjax.layers as layers
        >>> x = jax.random.normal(jax.random.key(0), (8, 3))
        >>> layer = layers.BatchNorm()
        >>> variables = layer.init(jax.random.key(1), x, train=False)
        >>> y, new = layer.apply(variables, x, train=True, mutable=["batch_stats"])
        >>> y.shape, new["batch_stats"]["mean"].shape
        ((8, 3), (3,))

    Collections:
        params: `scale` (ones) and `bias` (zeros), each [features].
        batch_stats: `mean` (zeros) and `var` (ones), each [features]; if debiased
            also `step`, the number of batches seen.
    """

    counterpart = nn.BatchNorm
    averages_inputs = True

    unbiased: bool = False  # `batch_stats` gets the variance over n - 1
    debias: bool = False  # as `moments.debiased`: the initial values are forgotten
    axis_name: str | tuple[str, ...] | None = None  # over which the batch is spread
    single: str = "error"  # what of a mean over one element: a row of `norms.SINGLE`
    backward: str = "autodiff"  # a row of custom_vjp.BACKWARD; "analytic" is by hand
    axis: int = -1  # of the features

    def cast(self, x: Inputs, train: bool, mask: Any) -> Array:
        if self.axis in (-1, x.ndim - 1):
            return super().cast(x, train, mask)
        if mask is not None and jnp.ndim(mask) == x.ndim:
            mask = jnp.moveaxis(mask, self.axis, -1)
        y = super().cast(jnp.moveaxis(x, self.axis, -1), train, mask)
        return jnp.moveaxis(y, -1, self.axis)

    def normalize(self, x, train, mask):
        variables = self.statistics(x)
        names = ("unbiased", "axis_name", "single", "backward")
        settings = {name: getattr(self, name) for name in names}
        if self.debias:
            step = self.variable("batch_stats", "step", jnp.zeros, (), jnp.int32)
            settings["decay"] = moments.debiased(self.decay, step.value + 1)
            if train:
                least = 2 if self.single == "running" else 1
                learns = moments.has_elements(
                    x, mask, axis_name=self.axis_name, least=least
                )
                step.value += learns.astype(jnp.int32)
        return self.output(norms.batch_norm, x, variables, train, mask, **settings)


PRESETS: dict[str, dict[str, Any]] = {
    # Means over many batches and the variance over n - 1, by Ioffe and Szegedy
    # (2015); they name neither decay nor eps: these are ours.
    "paper": {"decay": 0.99, "eps": 1e-5, "unbiased": True, "debias": True},
    "flax": {"decay": 0.99, "eps": 1e-5, "unbiased": False, "debias": False},
    "torch": {"decay": 0.9, "eps": 1e-5, "unbiased": True, "debias": False},
    "keras": {"decay": 0.99, "eps": 1e-3, "unbiased": False, "debias": False},
    # The decay is that of haiku's ResNet: its BatchNorm has no default.
    "haiku": {"decay": 0.9, "eps": 1e-5, "unbiased": False, "debias": True},
}


class ScalarBatchNorm(RunningNorm):
    """`norms.scalar_batch_norm` with learned scale and bias, each [features].

    Its running moments are its own, under `running`, unless it is given some that it
    shares: then each layer in turn blends in its own batch, and `decay` is the weight
    of the past per layer and step.
    """

    op = staticmethod(norms.scalar_batch_norm)

    running: RunningMoments | None = None

    def statistics(self, x):
        running = self.running or RunningMoments(name="running")
        return moments.Running(running.mean, running.var)


class FrozenBatchNorm(AffineNorm):
    """`norms.batch_norm` that always evaluates: its statistics are constants.

    It is for fine-tuning with the statistics of a trained `BatchNorm`, whose
    collections it shares and only reads; in a new network it is scale and bias alone.
    They are learned; detectors (He et al., 2017, arXiv:1703.06870) freeze them too,
    which is for the optimizer to do.
    """

    eps: float = 1e-5

    def normalize(self, x, train, mask):
        running, vectors = common.values(self.statistics(x)), self.vectors(x)
        return norms.batch_norm(
            x, running, *vectors, train=False, eps=self.eps, mask=mask
        )[0]


ROWS = {
    "batch": Norm(BatchNorm),
    "scalar_batch": Norm(ScalarBatchNorm, shared=True),
    "frozen": Norm(FrozenBatchNorm),
}
