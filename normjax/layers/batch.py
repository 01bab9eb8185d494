"""Flax modules that take statistics over the batch: they keep `batch_stats`."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Num

from normjax.errors import pick
from normjax.layers.common import BACKWARD, running_moments, scale_and_bias
from normjax.ops import moments, norms

Activations = Num[Array, "*batch features"]


class RunningMoments(nn.Module):
    """A running mean and variance that several layers of a model may share.

    Collections:
        batch_stats: `mean` (zero) and `var` (one), scalars.
    """

    def setup(self):
        self.mean = self.variable("batch_stats", "mean", jnp.zeros, ())
        self.var = self.variable("batch_stats", "var", jnp.ones, ())

    def read(self) -> moments.Running:
        """The present values."""
        return moments.Running(self.mean.value, self.var.value)

    def write(self, new: moments.Running) -> None:
        """Replaces them; `batch_stats` must be mutable."""
        self.mean.value, self.var.value = new


class BatchNorm(nn.Module):
    """`norms.batch_norm` with learned scale and bias.

    While initializing it evaluates, whatever `train` says: running statistics
    stay as they are, and a single example will do. `BatchNorm(**PRESETS["torch"])`
    is that of PyTorch.

    Collections:
        params: `scale` (ones) and `bias` (zeros), each [features].
        batch_stats: `mean` (zeros) and `var` (ones), each [features]; if debiased
            also `step`, the batches they have seen.
    """

    averages_inputs = True
    decay: float = 0.9  # weight of the past in `batch_stats`, per step
    eps: float = 1e-5
    unbiased: bool = False  # `batch_stats` gets the variance over n - 1
    debias: bool = False  # as `moments.debiased`: what it started from is forgotten
    axis_name: str | tuple[str, ...] | None = None  # over which the batch is spread
    single: str = "error"  # what of a mean over one element: a row of `norms.SINGLE`
    backward: str = "autodiff"  # a row of BACKWARD; "analytic" is by hand

    @nn.compact
    def __call__(self, x: Activations, *, train: bool, mask=None):
        mean, var = running_moments(self, x)
        running = moments.Running(mean.value, var.value)
        decay = self.decay
        if self.debias:
            step = self.variable("batch_stats", "step", jnp.zeros, (), jnp.int32)
            decay = moments.debiased(self.decay, step.value + 1)
        train = train and not self.is_initializing()
        settings = {"train": train, "decay": decay, "eps": self.eps}
        spread = {"mask": mask, "axis_name": self.axis_name, "single": self.single}
        vectors = scale_and_bias(self, x)
        y, new = pick("backward", BACKWARD, self.backward).batch_norm(
            x, running, *vectors, unbiased=self.unbiased, **settings, **spread
        )
        if train:
            mean.value, var.value = new
            if self.debias:
                step.value += norms.learns(x, **spread)
        return y


PRESETS = {
    # Means over many batches and the variance over n - 1, by Ioffe and Szegedy
    # (2015); they name neither decay nor eps: these are ours.
    "paper": {"decay": 0.99, "eps": 1e-5, "unbiased": True, "debias": True},
    "flax": {"decay": 0.99, "eps": 1e-5, "unbiased": False, "debias": False},
    "torch": {"decay": 0.9, "eps": 1e-5, "unbiased": True, "debias": False},
    "keras": {"decay": 0.99, "eps": 1e-3, "unbiased": False, "debias": False},
    # The decay is that of haiku's ResNet: its BatchNorm has no default.
    "haiku": {"decay": 0.9, "eps": 1e-5, "unbiased": False, "debias": True},
}


class ScalarBatchNorm(nn.Module):
    """`norms.scalar_batch_norm` with learned scale and bias, each [features].

    Its running moments are its own, under `running`, unless it is given some
    that it shares: then each layer in turn blends in its own batch.
    """

    running: RunningMoments | None = None
    decay: float = 0.9  # weight of the past in `batch_stats`, per layer and step
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Activations, *, train: bool, mask=None):
        running = self.running or RunningMoments(name="running")
        train = train and not self.is_initializing()
        settings = {"train": train, "decay": self.decay, "eps": self.eps}
        y, new = norms.scalar_batch_norm(
            x, running.read(), *scale_and_bias(self, x), mask=mask, **settings
        )
        if train:
            running.write(new)
        return y


class FrozenBatchNorm(nn.Module):
    """`norms.batch_norm` that always evaluates: its statistics are constants.

    For fine-tuning with the statistics of a trained `BatchNorm`, whose collections
    it shares; in a new network it is scale and bias alone. Scale and bias are
    learned; detectors (He et al., 2017, arXiv:1703.06870) freeze them too, which is
    for the optimizer to do.

    Collections:
        params: `scale` (ones) and `bias` (zeros), each [features].
        batch_stats: `mean` (zeros) and `var` (ones), each [features]; only read.
    """

    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train
        running = moments.Running(*(a.value for a in running_moments(self, x)))
        vectors = scale_and_bias(self, x)
        settings = {"train": False, "eps": self.eps}
        return norms.batch_norm(x, running, *vectors, mask=mask, **settings)[0]
