"""The layers, and the norms among them by name: see `NORMS`.

A norm is called as `layer(x, train=..., mask=None)`. Layers that need no train or
no mask take and ignore them, so that a model exchanges norms by name.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
from jaxtyping import Array

from normjax import tables
from normjax.modules import exchange
from normjax.modules.activations import EvoNormB0, EvoNormS0, FilterResponseNorm
from normjax.modules.batch import (
    PRESETS,
    BatchNorm,
    FrozenBatchNorm,
    RunningMoments,
    ScalarBatchNorm,
)
from normjax.modules.batch_family import (
    BatchRenorm,
    GhostBatchNorm,
    OnlineNorm,
    PowerNorm,
)
from normjax.modules.conv import Conv
from normjax.modules.examples import (
    Derf,
    DyT,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
    RMSNorm,
)
from normjax.modules.linear import (
    Dense,
    Dropout,
    SpectralNorm,
    WeightNorm,
    WeightStandardization,
    data_dependent_init,
)
from normjax.modules.switchable import SwitchableNorm

__all__ = [
    "NORMS",
    "PRESETS",
    "BatchNorm",
    "BatchRenorm",
    "Conv",
    "Dense",
    "Derf",
    "Dropout",
    "DyT",
    "EvoNormB0",
    "EvoNormS0",
    "FilterResponseNorm",
    "FrozenBatchNorm",
    "GhostBatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "LocalResponseNorm",
    "Norm",
    "OnlineNorm",
    "PowerNorm",
    "RMSNorm",
    "RunningMoments",
    "ScalarBatchNorm",
    "SpectralNorm",
    "SwitchableNorm",
    "WeightNorm",
    "WeightStandardization",
    "batch_norm_of",
    "data_dependent_init",
    "norm_named",
    "normalizers",
    "replace",
]


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
    found: Any = tables.pick_or_import("norm", NORMS, name)
    if isinstance(found, Norm):
        return found
    if isinstance(found, type) and issubclass(found, nn.Module):
        _refuse_linear(name, found)
        rows = (row for row in NORMS.values() if row.layer is found)
        return next(rows, Norm(layer=found))
    raise tables.InputError(
        f"norm={name!r}: must be a flax module class or a normjax.layers.Norm,"
        f" got {type(found).__name__}; name the class itself."
    )


@functools.cache
def batch_norm_of(preset: str) -> Norm:
    """Batch norm as a row of `PRESETS` has it; equal names give the same object."""
    settings = tables.pick("model.batch_norm", PRESETS, preset)
    return Norm(layer=functools.partial(BatchNorm, **settings))


def _refuse_linear(name: str, found: type[nn.Module]) -> None:
    if found in (Conv, Dense):
        raise tables.InputError(
            f"norm={name!r}: is no norm; must be one of activations; use one of"
            " normjax.layers.NORMS."
        )
    for known, row in NORMS.items():
        if row.kernel is found:
            raise tables.InputError(
                f"norm={name!r}: is a norm of kernels; must be one of activations; use"
                f" norm={known!r}."
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
        return functools.partial(exchange.call, norm.layer(name=name, **shared))

    return make


def replace(model: nn.Module, norm: str) -> nn.Module:
    """A module that runs `model` with this norm wherever it calls another.

    `replace(model, "rms").init(key, x)` and `.apply(...)` are called as those of
    `model`. Exchanged are the activations' norms of flax.linen (BatchNorm, LayerNorm,
    RMSNorm, GroupNorm, InstanceNorm) and those of `NORMS`; the name may also be dotted,
    as in `norm_named`. A new layer keeps its variables where the old one would; all
    other variables, and for the same key their initial values, are those of `model`.

    Carried over, where the new layer knows them: eps, number of groups, the initial
    scale and bias, the dtype of the result, and from batch norm to batch norm decay
    and axis name. All else is the new norm's own: it has a scale and a bias or not,
    whatever `use_scale` and `use_bias` said. It trains when the old layer did, by
    `train` or `use_running_average`; a layer that knew neither, as LayerNorm, when
    `batch_stats` is mutable and not else. Where a mask is false the norms of `NORMS`
    put 0 (`none` leaves `x`); flax' own put the normalized input there.

    Only the `__call__` of `model` is run, and in it norms as modules, not functions.
    Lifted transforms (`nn.remat`, `nn.scan`, `nn.vmap`) must pass on `batch_stats`
    where the norm has some. `nn.jit` around a block is refused, but cannot be seen as
    a decorator of a method: there the block may run as it was compiled before.

    Raises:
        InputError: if the name is unknown, the norm is one of kernels or owns its
            activation (that of `model` would follow it), or, when called, if `model`
            calls no norm or one that owns its activation, has features elsewhere
            than on the last axis, or wraps a block in `nn.jit`; or if a norm
            has an `axis_name` or `axis_index_groups` that the new one cannot take.
    """
    row = norm_named(norm)
    if row.kernel is not None:
        raise tables.InputError(
            f"norm={norm!r}: is a norm of kernels; must be one of activations to stand"
            " where a model calls one; use layers.Dense(kernel_norm=...) in the model."
        )
    if row.owns_activation:
        raise tables.InputError(
            f"norm={norm!r}: owns its activation, which that of the model would follow;"
            " must be a norm alone; build the model with this layer for the pair."
        )
    ours = [(exchange.class_of(r.layer), r) for r in NORMS.values() if r.layer]
    kinds = (*exchange.OF_FLAX, *(kind for kind, _ in ours))
    owning = tuple(kind for kind, r in ours if r.owns_activation)
    if isinstance(model, exchange.Exchanged):
        model = model.original
    return exchange.Exchanged(model, row.layer, row.shared, kinds, owning)


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
