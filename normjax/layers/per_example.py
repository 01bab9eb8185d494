"""Flax modules that normalize each example on its own: they keep no statistics."""

import functools
from collections.abc import Callable, Sequence
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from normjax.errors import InputError
from normjax.layers import common
from normjax.layers.common import ActivationNorm, AffineNorm, Norm, ScaledNorm
from normjax.ops import affine, moments, norms, pointwise, validate

__all__ = ["Derf", "DyT", "GroupNorm", "InstanceNorm", "LayerNorm"]
__all__ += ["LocalResponseNorm", "RMSNorm"]


def axes_of(x: Array, axes: validate.Axes) -> tuple[int, ...]:
    """The axes of `x` in order, counted from the first."""
    return tuple(sorted(axis % x.ndim for axis in validate.axis_tuple(x, axes)))


def apply_where(op: Callable[[Array], Array], x: Array, mask: validate.Mask) -> Array:
    """`op(x)`, and 0 where the mask is false, whatever `x` is there.

    The op gets 0 where the mask is false, and so do the gradients of its parameters: 0
    in the gradient of the output alone would meet nan in `x`.
    """
    where = validate.where(x, mask)
    return moments.zero_outside(where, op(moments.zero_outside(where, x)))


class AxesNorm(ScaledNorm, kw_only=True):
    """A norm whose axes may be chosen as those of its counterpart in flax.linen."""

    centered: ClassVar[bool] = True  # else the mean is 0 and the variance that around 0

    eps: float = 1e-5
    backward: str = "autodiff"  # a row of custom_vjp.BACKWARD; "analytic" is by hand
    axis_name: str | tuple[str, ...] | None = None  # over which each mean is spread

    def output(self, op: Callable, x, mask, axes, features, *, plain: bool):
        """`op` if `plain`; else the same over any axes, with vectors along others."""
        vectors = self.vectors(x, features)
        if plain and self.axis_name is None:
            return op(x, *vectors, eps=self.eps, mask=mask, backward=self.backward)
        y = self.standardize(moments.widen(x), axes, mask)
        y = affine.scale_and_shift(y, *vectors, axes=features)
        return moments.zero_outside(validate.where(y, mask), y)

    def standardize(self, x: Array, axes: Sequence[int], mask) -> Array:
        """`(x - mean) / sqrt(var + eps)`, the moments over any axes and devices."""
        if self.backward != "autodiff":
            rule = "must be 'autodiff' for axes other than the last and an axis_name"
            remedy = "set backward='autodiff'"
            raise InputError("backward", self.backward, rule, remedy)
        where = validate.where(x, mask)
        name = None if self.is_initializing() else self.axis_name
        if self.centered and name is None:
            validate.refuse_single(x, axes, "reduce over more axes")
        average = moments.mean_and_var if self.centered else moments.mean_square
        m = average(x, tuple(axes), where=where, axis_name=name)
        return affine.standardize(x, m.mean, m.var, eps=self.eps, where=where)


class RowNorm(AxesNorm):
    """A norm over the last axis, unless other axes are named."""

    op: ClassVar[Callable]  # a staticmethod, for flax wraps methods

    reduction_axes: validate.Axes = -1  # which each mean is over
    feature_axes: validate.Axes = -1  # along which scale and bias lie

    def normalize(self, x, train, mask):
        axes = axes_of(x, self.reduction_axes)
        features = axes_of(x, self.feature_axes)
        plain = axes == features == (x.ndim - 1,)
        return self.output(self.op, x, mask, axes, features, plain=plain)


class LayerNorm(RowNorm, AffineNorm):
    """`norms.layer_norm` with learned scale and bias, each [features].

    >>> import jax, normjax.layers as layers
    >>> x = jax.random.normal(jax.random.key(0), (8, 3))
    >>> y, variables = layers.LayerNorm().init_with_output(jax.random.key(1), x)
    >>> bool(abs(y.mean(-1)).max() < 1e-6)
    True
    """

    counterpart, op = nn.LayerNorm, staticmethod(norms.layer_norm)


class RMSNorm(RowNorm):
    """`norms.rms_norm` with a learned scale [features]."""

    counterpart, op, centered = nn.RMSNorm, staticmethod(norms.rms_norm), False


class InstanceNorm(AxesNorm, AffineNorm):
    """`norms.instance_norm` with learned scale and bias, each [features]."""

    counterpart = nn.InstanceNorm

    feature_axes: validate.Axes = -1  # along which scale and bias lie; not the first

    def normalize(self, x, train, mask):
        features = axes_of(x, self.feature_axes)
        if 0 in features:
            rule = "must not include the first axis, that of the examples"
            remedy = "set feature_axes=-1"
            raise InputError("feature_axes", self.feature_axes, rule, remedy)
        axes = tuple(axis for axis in range(1, x.ndim) if axis not in features)
        plain = features == (x.ndim - 1,)
        op = norms.instance_norm
        return self.output(op, x, mask, axes, features, plain=plain)


class GroupNorm(AxesNorm, AffineNorm):
    """`norms.group_norm` with learned scale and bias, each [features].

    Without `num_groups` and `group_size` there are as many as `common.num_groups` says:
    they divide the channels, at most 32 and of at least 4 channels.
    """

    counterpart = nn.GroupNorm

    num_groups: int | None = None
    group_size: int | None = None  # channels; one of both at most is given
    reduction_axes: validate.Axes | None = (
        None  # with the last; None: all but the first
    )

    def normalize(self, x, train, mask):
        groups, vectors = self._groups(x.shape[-1]), self.vectors(x)
        if self.reduction_axes is None and self.axis_name is None:
            op = functools.partial(norms.group_norm, num_groups=groups)
            return op(x, *vectors, eps=self.eps, mask=mask, backward=self.backward)
        axes = axes_of(x, self.reduction_axes or range(1, x.ndim))
        if axes[-1] != x.ndim - 1:
            rule = "must include the last axis, on which the groups lie"
            remedy = f"set reduction_axes={(*axes, x.ndim - 1)}"
            raise InputError("reduction_axes", self.reduction_axes, rule, remedy)
        validate.refuse_groups(x.shape[-1], groups)
        grouped = (*x.shape[:-1], groups, x.shape[-1] // groups)
        split = validate.where(x, mask)
        if split is not None:
            split = jnp.broadcast_to(split, x.shape).reshape(grouped)
        wide = moments.widen(x).reshape(grouped)
        y = self.standardize(wide, (*axes[:-1], x.ndim), split).reshape(x.shape)
        y = affine.scale_and_shift(y, *vectors)
        return moments.zero_outside(validate.where(y, mask), y)

    def _groups(self, channels: int) -> int:
        if self.group_size is None:
            return common.num_groups(channels, self.num_groups)
        if self.num_groups is not None or channels % self.group_size:
            rule = f"must divide the {channels} channels, with num_groups=None"
            remedy = "set group_size=1, num_groups=None"
            raise InputError("group_size", self.group_size, rule, remedy)
        return channels // self.group_size


class DyT(AffineNorm):
    """`pointwise.dynamic_tanh` with learned alpha (a scalar), scale and bias."""

    op: ClassVar[Callable] = staticmethod(pointwise.dynamic_tanh)

    alpha_init: float = 0.5

    def scalars(self) -> tuple[Array, ...]:
        """What is learned for the whole layer."""
        start = nn.initializers.constant(self.alpha_init)
        return (self.param("alpha", start, ()),)

    def normalize(self, x, train, mask):
        learned = *self.scalars(), *self.vectors(x)
        return apply_where(lambda x: self.op(x, *learned), x, mask)


class Derf(DyT):
    """`pointwise.dynamic_erf`; it learns shift (zero, a scalar) besides `DyT`'s."""

    op = staticmethod(pointwise.dynamic_erf)

    def scalars(self):
        return *super().scalars(), self.param("shift", nn.initializers.zeros, ())


class LocalResponseNorm(ActivationNorm):
    """`pointwise.local_response_norm`; it learns nothing."""

    size: int = 5
    alpha: float = 1e-4  # that of torch divided by size
    beta: float = 0.75
    k: float = 2.0

    def normalize(self, x, train, mask):
        op = lambda x: pointwise.local_response_norm(
            x, size=self.size, alpha=self.alpha, beta=self.beta, k=self.k
        )
        return apply_where(op, x, mask)


ROWS = {
    "layer": Norm(LayerNorm),
    "rms": Norm(RMSNorm),
    # over all features of an example: of an image all pixels and channels
    "layer_example": Norm(functools.partial(GroupNorm, num_groups=1)),
    "group": Norm(GroupNorm),
    "instance": Norm(InstanceNorm),
    "dyt": Norm(DyT),
    "derf": Norm(Derf),
    "local_response": Norm(LocalResponseNorm),
}
