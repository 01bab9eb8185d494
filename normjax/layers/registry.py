"""The norms by name, and how a model makes and calls one: see `NORMS`."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
from jaxtyping import Array

from normjax.errors import InputError, pick, pick_or_import
from normjax.layers import (
    batch,
    batch_variants,
    kernel_norms,
    norm_activations,
    per_example,
)
from normjax.layers.common import Norm
from normjax.layers.conv import Conv
from normjax.layers.dense import Dense

__all__ = ["NORMS", "Norm", "batch_norm_of", "norm_named", "normalizers"]

NORMS: dict[str, Norm] = {
    "none": Norm(),
    **batch.ROWS,
    **per_example.ROWS,
    **kernel_norms.ROWS,
    **batch_variants.ROWS,
    **norm_activations.ROWS,
}


def norm_named(name: str) -> Norm:
    """The row of `NORMS`, or that of a dotted name such as `my_pkg.MyNorm`.

    A dotted name imports a `Norm`, or a flax module class for the activations; a class
    of normjax itself gives the first row that has it.

    Raises:
        InputError: if there is no such name, or it is not that of a norm of
            activations.
    """
    imported: Any = pick_or_import("norm", NORMS, name)
    if isinstance(imported, Norm):
        return imported
    if isinstance(imported, type) and issubclass(imported, nn.Module):
        if imported in (Conv, Dense):
            rule = "must be a norm of activations"
            raise InputError("norm", name, rule, "use one of normjax.layers.NORMS")
        for known, row in NORMS.items():
            if row.layer is imported:
                return row
            if row.kernel is imported:
                rule = "must be a norm of activations, and this is one of kernels"
                raise InputError("norm", name, rule, f"use norm={known!r}")
        return Norm(imported)
    kind = type(imported).__name__
    rule = f"must be a flax module class or a normjax.layers.Norm, got {kind}"
    raise InputError("norm", name, rule, "name the class itself")


@functools.cache
def batch_norm_of(preset: str) -> Norm:
    """Batch norm as a row of `PRESETS` has it; equal names give the same object."""
    settings = pick("preset", batch.PRESETS, preset)
    return Norm(functools.partial(batch.BatchNorm, **settings))


def call(layer: nn.Module, x: Array, *, train: bool, mask: Any = None) -> Array:
    """Calls `layer(x)` with those of `train` and `mask` that it takes.

    The batch norm of flax gets `use_running_average` for `train`.

    Raises:
        InputError: if there is a mask and the layer is not called with `train`.
    """
    taken = inspect.signature(type(layer).__call__).parameters
    offered = {"train": train, "use_running_average": not train, "mask": mask}
    if mask is not None and "train" not in taken:
        name, read = type(layer).__qualname__, "which flax's own layers read otherwise"
        rule = f"must take train= to be given a mask, {read}"
        raise InputError("norm", name, rule, "use a norm of normjax")
    return layer(x, **{k: v for k, v in offered.items() if k in taken})


def arguments(layer: nn.Module, args: Sequence, kwargs: Mapping) -> dict[str, Any]:
    """The arguments of a call of the layer by name."""
    signature = inspect.signature(type(layer).__call__)
    return signature.bind(layer, *args, **kwargs).arguments


def class_of(layer: Callable[..., nn.Module]) -> type[nn.Module]:
    """The class of a row's layer, which may be a partial of it."""
    made: Any = layer.func if isinstance(layer, functools.partial) else layer
    return made


def normalizers(norm: Norm) -> Callable[..., Callable[..., Array]]:
    """`make(name=...)` gives a layer, called as `layer(x, train=..., mask=None)`.

    To be called once, inside of a model's `@nn.compact` method: what the layers share
    is made there, under `running`. A layer gets those keywords that it takes, see
    `call`.
    """
    shared = {"running": batch.RunningMoments(name="running")} if norm.shared else {}

    def make(name: str) -> Callable[..., Array]:
        if norm.layer is None:
            return lambda x, *, train, mask=None: x
        return functools.partial(call, norm.layer(name=name, **shared))

    return make
