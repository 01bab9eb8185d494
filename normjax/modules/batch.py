"""Flax modules that take statistics over the batch: they keep `batch_stats`."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Num

from normjax.modules.affine import scale_and_bias
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
    stay as they are, and a single example will do.

    Collections:
        params: `scale` (ones) and `bias` (zeros), each [features].
        batch_stats: `mean` (zeros) and `var` (ones), each [features].
    """

    decay: float = 0.9  # weight of the past in `batch_stats`, per step
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Activations, *, train: bool, mask=None):
        features = x.shape[-1:]
        mean = self.variable("batch_stats", "mean", jnp.zeros, features)
        var = self.variable("batch_stats", "var", jnp.ones, features)
        running = moments.Running(mean.value, var.value)
        train = train and not self.is_initializing()
        y, new = _batch_norm(self, norms.batch_norm, x, running, train, mask)
        if train:
            mean.value, var.value = new
        return y


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
        y, new = _batch_norm(
            self, norms.scalar_batch_norm, x, running.read(), train, mask
        )
        if train:
            running.write(new)
        return y


def _batch_norm(module, op, x, running, train, mask):
    settings = {"decay": module.decay, "eps": module.eps, "mask": mask}
    return op(x, running, *scale_and_bias(module, x), train=train, **settings)
