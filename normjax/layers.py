"""The layers, and the norms among them by name: see `NORMS`.

A norm is called as `layer(x, train=..., mask=None)`. Layers that need no train or
no mask take and ignore them, so that a model exchanges norms by name.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
from jaxtyping import Array

from normjax import tables
from normjax.modules.batch import BatchNorm, RunningMoments, ScalarBatchNorm
from normjax.modules.examples import GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from normjax.modules.linear import Dense, Dropout, WeightNorm

__all__ = [
    "NORMS",
    "BatchNorm",
    "Dense",
    "Dropout",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "Norm",
    "RMSNorm",
    "RunningMoments",
    "ScalarBatchNorm",
    "WeightNorm",
    "norm_named",
    "normalizers",
]


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
