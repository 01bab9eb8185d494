"""What the layers share: how norms are called, what they learn and what they keep."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Num

from normjax.ops import moments, validate

Inputs = Num[Array, "*batch features"] | Num[np.ndarray, "*batch features"]
Initializer = Callable[..., Array]  # (key, shape, dtype) -> array


class Norm(NamedTuple):
    """A row of `NORMS`: the layer or the kernel norm that a model builds for a name."""

    layer: Callable[..., nn.Module] | None = None  # called as (x, train=..., mask=...)
    kernel: Callable[..., nn.Module] | None = None  # called as (kernel, train=...)
    shared: bool = False  # its layers take one RunningMoments, as `running`
    owns_activation: bool = False  # the layer stands for norm and activation


class ActivationNorm(nn.Module, kw_only=True):
    """Base of the norms of activations; a subclass defines `normalize`.

    The result has the dtype of `x` unless `dtype` says otherwise; the arithmetic is in
    float32 or wider, whatever the dtypes of `x` and of the result. A mask is true where
    `x` counts. It has the shape of `x` without its last axis, or as many axes as `x`
    and broadcasts to it.
    """

    counterpart: ClassVar[type[nn.Module] | None] = None  # its class in flax.linen
    averages_inputs: ClassVar[bool] = False  # keeps mean and var of its inputs

    dtype: DTypeLike | None = None  # of the result; None is that of `x`
    param_dtype: DTypeLike = float  # float is float32, under x64 float64

    @nn.compact
    def __call__(self, x: Inputs, *, train: bool = False, mask: Any = None) -> Array:
        return self.cast(x, train, mask)

    def cast(self, x: Inputs, train: bool, mask: Any) -> Array:
        """`normalize` in the dtypes that the layer is told; initializing evaluates."""
        x = jnp.asarray(x)
        dtype = x.dtype if self.dtype is None else jnp.dtype(self.dtype)
        wide = x.astype(jnp.promote_types(x.dtype, dtype))
        train = train and not self.is_initializing()
        return self.normalize(wide, train, spread_mask(mask, x)).astype(dtype)

    def normalize(self, x: Array, train: bool, mask: validate.Mask) -> Array:
        """The output, in the dtype of `x`; runs inside of `__call__`."""
        raise NotImplementedError

    def vector(self, name: str, init: Initializer, x: Array, axes=(-1,)) -> Array:
        """A parameter with the sizes of these axes of `x`.

        Raises:
            InputError: if it was initialized for another number of features.
        """
        if axes in ((-1,), (x.ndim - 1,)) and self.has_variable("params", name):
            validate.refuse_vectors(x, **{name: self.get_variable("params", name)})
        shape = tuple(x.shape[axis] for axis in axes)
        return self.param(name, init, shape, jnp.result_type(self.param_dtype))


class ScaledNorm(ActivationNorm, kw_only=True):
    """A norm with a learned scale; with `use_scale=False` the scale is 1."""

    use_scale: bool = True
    scale_init: Initializer = nn.initializers.ones

    def vectors(self, x: Array, axes=(-1,)) -> tuple[Array, ...]:
        """What is learned for each feature, with the sizes of these axes of `x`."""
        if self.use_scale:
            return (self.vector("scale", self.scale_init, x, axes),)
        return (jnp.ones([x.shape[axis] for axis in axes]),)


class AffineNorm(ScaledNorm, kw_only=True):
    """A norm with a learned scale and bias; with `use_bias=False` the bias is 0.

    Collections:
        params: `scale` (ones) and `bias` (zeros), each [features].
    """

    use_bias: bool = True
    bias_init: Initializer = nn.initializers.zeros

    def vectors(self, x: Array, axes=(-1,)) -> tuple[Array, ...]:
        (scale,) = super().vectors(x, axes)
        if self.use_bias:
            return scale, self.vector("bias", self.bias_init, x, axes)
        return scale, jnp.zeros(scale.shape)

    def statistics(self, x: Array) -> Any:
        """The variables `mean` (zeros) and `var` (ones), each [features]."""
        mean = self.variable("batch_stats", "mean", jnp.zeros, x.shape[-1:])
        var = self.variable("batch_stats", "var", jnp.ones, x.shape[-1:])
        return moments.Running(mean, var)  # type: ignore[arg-type]


class RunningNorm(AffineNorm, kw_only=True):
    """A norm that trains otherwise than it evaluates, and keeps `batch_stats`.

    While initializing it evaluates, whatever `train` says: running statistics stay as
    they are, and a single example will do.

    Collections:
        batch_stats: `mean` (zeros) and `var` (ones), each [features].
    """

    decay: float = 0.9  # weight of the past in `batch_stats`, per step
    eps: float = 1e-5

    op: ClassVar[Callable]  # of `normalize`; a staticmethod, for flax wraps methods

    @nn.compact
    def __call__(  # type: ignore[override]  # must be told whether to train
        self, x: Inputs, *, train: bool, mask: Any = None
    ) -> Array:
        return self.cast(x, train, mask)

    def normalize(self, x, train, mask):
        return self.output(self.op, x, self.statistics(x), train, mask)

    def output(self, op: Callable, x, variables, train, mask, **settings):
        """The output of `op`; its running statistics are replaced when it trains."""
        settings = {"decay": self.decay, "eps": self.eps, "mask": mask} | settings
        now = values(variables)
        y, new = op(x, now, *self.vectors(x), train=train, **settings)
        if train:
            keep(variables, new)
        return y


def values(variables: Any) -> Any:
    """The present values of a variable, or of a tuple of them."""
    return jax.tree.map(lambda variable: variable.value, variables)


def keep(variables: Any, new: Any) -> None:
    """Replaces the values of a variable, or of a tuple of them; their dtypes stay."""
    for variable, value in zip(jax.tree.leaves(variables), jax.tree.leaves(new)):
        variable.value = value.astype(variable.value.dtype)


def spread_mask(mask: Any, x: Array) -> Any:
    """A mask with as many axes as `x` broadcast to it, or to it without features."""
    if mask is None or jnp.ndim(mask) != x.ndim or x.ndim == 0:
        return mask
    mask = jnp.asarray(mask)
    if any(m not in (1, n) for m, n in zip(mask.shape, x.shape)):
        return mask  # for the op to refuse
    if mask.shape[-1] == 1:
        return jnp.broadcast_to(mask[..., 0], x.shape[:-1])
    return jnp.broadcast_to(mask, x.shape)


def num_groups(channels: int, chosen: int | None = None) -> int:
    """How many groups a group norm has: those that were chosen, if any.

    Else as many as divide the channels, at most 32 (as Wu and He, 2018) and of at least
    4 channels: 32 of 4 for 128 channels, 16 of 4 for 64. In a dense layer, smaller
    groups would leave little but signs.
    """
    if chosen is not None:
        return chosen
    most = max(1, min(32, channels // 4))
    return max(n for n in range(1, most + 1) if channels % n == 0)
