"""The norms by name, and how a model makes and calls one: see `NORMS`."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
from jaxtyping import Array

from normjax.errors import InputError, pick, pick_or_import
from normjax.layers.batch import (
    PRESETS,
    BatchNorm,
    FrozenBatchNorm,
    RunningMoments,
    ScalarBatchNorm,
)
from normjax.layers.batch_variants import (
    BatchRenorm,
    GhostBatchNorm,
    OnlineNorm,
    PowerNorm,
)
from normjax.layers.conv import Conv
from normjax.layers.dense import Dense, SpectralNorm, WeightNorm, WeightStandardization
from normjax.layers.norm_activations import EvoNormB0, EvoNormS0, FilterResponseNorm
from normjax.layers.per_example import (
    Derf,
    DyT,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
    RMSNorm,
)
from normjax.layers.switchable import SwitchableNorm


class Norm(NamedTuple):
    """What a model does where its norm's name stands."""

    layer: Callable[..., nn.Module] | None = None  # called as (x, train=..., mask=...)
    kernel: Callable[..., nn.Module] | None = None  # called as (kernel, train=...)
    shared: bool = False  # its layers take one RunningMoments, as `running`
    owns_activation: bool = False  # the layer stands for norm and activation


def norm_named(name: str) -> Norm:
    """The row of `NORMS`, or that of a dotted name such as `my_pkg.MyNorm`.

    A dotted name imports a `Norm`, or a flax module class for the activations; one of
    normjax' own classes gives the first row that has it.

    Raises:
        InputError: if there is no such name, or it is not that of a norm of
            activations.
    """
    found: Any = pick_or_import("norm", NORMS, name)
    if isinstance(found, Norm):
        return found
    if isinstance(found, type) and issubclass(found, nn.Module):
        _refuse_linear(name, found)
        rows = (row for row in NORMS.values() if row.layer is found)
        return next(rows, Norm(layer=found))
    raise InputError(
        f"norm={name!r}: must be a flax module class or a normjax.layers.Norm,"
        f" got {type(found).__name__}; name the class itself."
    )


@functools.cache
def batch_norm_of(preset: str) -> Norm:
    """Batch norm as a row of `PRESETS` has it; equal names give the same object."""
    settings = pick("model.batch_norm", PRESETS, preset)
    return Norm(layer=functools.partial(BatchNorm, **settings))


def _refuse_linear(name: str, found: type[nn.Module]) -> None:
    if found in (Conv, Dense):
        raise InputError(
            f"norm={name!r}: is no norm; must be one of activations; use one of"
            " normjax.layers.NORMS."
        )
    for known, row in NORMS.items():
        if row.kernel is found:
            raise InputError(
                f"norm={name!r}: is a norm of kernels; must be one of activations; use"
                f" norm={known!r}."
            )


def call(layer: nn.Module, x: Array, *, train: bool, mask: Any = None) -> Array:
    """`layer(x)`, with those of `train` and `mask` that it takes.

    Flax' own batch norm gets `use_running_average` for `train`.

    Raises:
        InputError: if there is a mask and the layer is not called with `train`.
    """
    taken = inspect.signature(type(layer).__call__).parameters
    offered = {"train": train, "use_running_average": not train, "mask": mask}
    if mask is not None and "train" not in taken:
        raise InputError(
            f"norm={type(layer).__qualname__}: must take train= to be given a mask,"
            " which flax' own layers read otherwise; use a norm of normjax."
        )
    return layer(x, **{k: v for k, v in offered.items() if k in taken})


def class_of(layer: Callable[..., nn.Module]) -> type[nn.Module]:
    """The class of a layer's row, which may be a partial of it."""
    return layer.func if isinstance(layer, functools.partial) else layer


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
        return functools.partial(call, norm.layer(name=name, **shared))

    return make


NORMS = {
    "none": Norm(),
    "batch": Norm(layer=BatchNorm),
    "batch_as_published": Norm(layer=ScalarBatchNorm, shared=True),
    "layer": Norm(layer=LayerNorm),
    # over all features of an example: of an image all pixels and channels
    "layer_example": Norm(layer=functools.partial(GroupNorm, num_groups=1)),
    "rms": Norm(layer=RMSNorm),
    "group": Norm(layer=GroupNorm),
    "instance": Norm(layer=InstanceNorm),
    "weight": Norm(kernel=WeightNorm),
    "batch_renorm": Norm(layer=BatchRenorm),
    "ghost": Norm(layer=GhostBatchNorm),
    "power": Norm(layer=PowerNorm),
    "frozen": Norm(layer=FrozenBatchNorm),
    "online": Norm(layer=OnlineNorm),
    # as Qiao et al. use it: alone, it multiplies the variance by the inputs' number
    "weight_standardization": Norm(layer=GroupNorm, kernel=WeightStandardization),
    "spectral": Norm(kernel=SpectralNorm),
    "frn": Norm(layer=FilterResponseNorm, owns_activation=True),
    "evonorm_s0": Norm(layer=EvoNormS0, owns_activation=True),
    "evonorm_b0": Norm(layer=EvoNormB0, owns_activation=True),
    "dyt": Norm(layer=DyT),
    "derf": Norm(layer=Derf),
    "local_response": Norm(layer=LocalResponseNorm),
    "switchable": Norm(layer=SwitchableNorm),
}
