"""Flax modules: they hold params and batch_stats; `ops` does the arithmetic.

A norm is called as `layer(x, train=..., mask=None)`. Layers that need no train or
no mask take and ignore them, so that a model exchanges norms by name: see `NORMS`.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from normjax import tables
from normjax.ops import moments, norms, weights

Activations = Num[Array, "*batch features"]


class Dense(nn.Module):
    """`y = x @ kernel + bias`; as `flax.linen.Dense` when `kernel_norm` is none.

    Collections:
        params: `kernel` [inputs, features], `bias` [features] (zeros), and what
            the kernel's norm holds, under `kernel_norm`.
    """

    features: int
    use_bias: bool = True
    kernel_init: Callable = nn.initializers.lecun_normal()
    kernel_norm: Callable[..., nn.Module] | None = None  # as `Norm.kernel`

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch inputs"], *, train: bool = False
    ) -> Float[Array, "*batch features"]:
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.result_type(float))
        if self.kernel_norm is not None:
            kernel = self.kernel_norm(name="kernel_norm")(kernel, train=train)
        y = jnp.dot(x, kernel)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y = y + bias.reshape((1,) * (y.ndim - 1) + bias.shape)
        return y


class Dropout(nn.Module):
    """`y = x / (1 - rate)` with probability `1 - rate`, else 0; `x` when evaluating.

    Unlike in flax, the rate is an argument and may be traced: 0 returns `x` to
    the bit, 1 returns zeros with zero gradients. Draws from the key `dropout`.

    References:
        Srivastava et al., 2014. Dropout: A Simple Way to Prevent Neural Networks
        from Overfitting. JMLR 15.
    """

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*shape"],
        rate: float | Float[Array, ""],
        *,
        train: bool,
    ) -> Float[Array, "*shape"]:
        if not train:
            return x
        keep = 1 - jnp.asarray(rate, moments.widen(x).dtype)
        kept = jax.random.bernoulli(self.make_rng("dropout"), keep, x.shape)
        return (jnp.where(kept, x, 0) / jnp.where(keep > 0, keep, 1)).astype(x.dtype)


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


class LayerNorm(nn.Module):
    """`norms.layer_norm` with learned scale and bias, each [features]."""

    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train, mask  # rows do not see each other
        return norms.layer_norm(x, *_scale_and_bias(self, x), eps=self.eps)


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
        vectors = _scale_and_bias(self, x)
        return norms.group_norm(
            x, *vectors, num_groups=num_groups, eps=self.eps, mask=mask
        )


class InstanceNorm(nn.Module):
    """`norms.instance_norm` with learned scale and bias, each [features]."""

    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Activations, *, train: bool = False, mask=None):
        del train
        return norms.instance_norm(
            x, *_scale_and_bias(self, x), eps=self.eps, mask=mask
        )


class WeightNorm(nn.Module):
    """`weights.weight_norm` of a kernel, with a learned scale [features].

    The scale starts as the kernel's own norms, so that the kernel comes out as
    it went in; flax' starts as ones.
    """

    eps: float = 1e-12

    @nn.compact
    def __call__(
        self, kernel: Float[Array, "*inputs features"], *, train: bool = False
    ) -> Float[Array, "*inputs features"]:
        del train
        scale = self.param(
            "scale", lambda _: weights.feature_norms(kernel, eps=self.eps)
        )
        return weights.weight_norm(kernel, scale, eps=self.eps)


def _scale_and_bias(module: nn.Module, x: Array) -> tuple[Array, Array]:
    features = x.shape[-1:]
    return (
        module.param("scale", nn.initializers.ones, features),
        module.param("bias", nn.initializers.zeros, features),
    )


def _batch_norm(module, op, x, running, train, mask):
    settings = {"decay": module.decay, "eps": module.eps, "mask": mask}
    return op(x, running, *_scale_and_bias(module, x), train=train, **settings)


class Norm(NamedTuple):
    """What a model does where its norm's name stands."""

    layer: Callable[..., nn.Module] | None = None  # called as (x, train=..., mask=...)
    kernel: Callable[..., nn.Module] | None = None  # called as (kernel, train=...)
    shared: bool = False  # its layers take one RunningMoments, as `running`


def norm_named(name: str) -> Norm:
    """The row of `NORMS`, or that of a dotted name such as `my_pkg.MyNorm`.

    A dotted name imports a `Norm`, or a flax module class for the activations.
    """
    found: Any = tables.pick_or_import("norm", NORMS, name)
    if isinstance(found, Norm):
        return found
    if isinstance(found, type) and issubclass(found, nn.Module):
        return Norm(layer=found)
    raise tables.InputError(
        f"norm={name!r}: must be a flax module class or a normjax.layers.Norm,"
        f" got {type(found).__name__}; name the class itself."
    )


def normalizers(norm: Norm) -> Callable[..., Callable[..., Array]]:
    """`make(name=...)` gives a layer, called as `layer(x, train=..., mask=None)`.

    To be called once, inside a model's `@nn.compact` method: what the layers
    share is made there, under `running`. Of the keywords a layer gets those that
    it takes; flax' own batch norm gets `use_running_average` for `train`.
    """
    shared = {"running": RunningMoments(name="running")} if norm.shared else {}

    def make(name: str) -> Callable[..., Array]:
        if norm.layer is None:
            return lambda x, *, train, mask=None: x
        return functools.partial(_call, norm.layer(name=name, **shared))

    return make


def _call(layer: nn.Module, x: Array, *, train: bool, mask: Any = None) -> Array:
    taken = inspect.signature(type(layer).__call__).parameters
    offered = {"train": train, "use_running_average": not train, "mask": mask}
    if mask is not None and "train" not in taken:
        raise tables.InputError(
            f"norm={type(layer).__qualname__}: must take train= to be given a mask,"
            " which flax' own layers read otherwise; use a norm of normjax."
        )
    return layer(x, **{k: v for k, v in offered.items() if k in taken})


NORMS = {
    "none": Norm(),
    "batch": Norm(layer=BatchNorm),
    "batch_as_published": Norm(layer=ScalarBatchNorm, shared=True),
    "layer": Norm(layer=LayerNorm),
    "rms": Norm(layer=RMSNorm),
    "group": Norm(layer=GroupNorm),
    "instance": Norm(layer=InstanceNorm),
    "weight": Norm(kernel=WeightNorm),
}
