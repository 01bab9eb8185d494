"""Exchanges the norms that a flax model calls."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from normjax.errors import InputError
from normjax.layers.batch import BatchNorm, RunningMoments
from normjax.layers.registry import NORMS, call, class_of, norm_named

OF_FLAX = (nn.BatchNorm, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.InstanceNorm)

BATCH = (BatchNorm, nn.BatchNorm)

# What is carried over from the layer that was, by its names here and in flax; the
# second from batch norm to batch norm only: elsewhere they mean something else.
CARRIED = (("eps", "epsilon"), ("num_groups",))
CARRIED_OF_BATCH = (("decay", "momentum"), ("axis_name",), ("axis_index_groups",))


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
        raise InputError(
            f"norm={norm!r}: is a norm of kernels; must be one of activations to stand"
            " where a model calls one; use layers.Dense(kernel_norm=...) in the model."
        )
    if row.owns_activation:
        raise InputError(
            f"norm={norm!r}: owns its activation, which that of the model would follow;"
            " must be a norm alone; build the model with this layer for the pair."
        )
    ours = [(class_of(r.layer), r) for r in NORMS.values() if r.layer]
    kinds = (*OF_FLAX, *(kind for kind, _ in ours))
    owning = tuple(kind for kind, r in ours if r.owns_activation)
    if isinstance(model, Exchanged):
        model = model.original
    return Exchanged(model, row.layer, row.shared, kinds, owning)


class Exchanged(nn.Module):
    """`original` with another norm wherever it calls one; see `layers.replace`.

    The variables are those of `original` but for what the norms hold, which lies
    where the norms lay.
    """

    original: nn.Module
    layer: Callable[..., nn.Module] | None  # none: `x` passes as it is
    shared: bool  # the layers take one RunningMoments, as `running`
    kinds: tuple[type[nn.Module], ...]  # the classes that are norms
    owning: tuple[type[nn.Module], ...]  # those that end in an activation

    def setup(self):
        nn.share_scope(self, self.original)

    @nn.compact
    def __call__(self, *args, **kwargs):
        running = RunningMoments(name="running") if self.shared else None
        inside, found = False, False

        def intercept(run, args, kwargs, context):
            nonlocal inside, found
            was, name = context.module, type(self.original).__name__
            _refuse_jitted(was, name)
            is_norm = context.method_name == "__call__" and isinstance(was, self.kinds)
            if inside or not is_norm:  # inside: what the new layer itself calls
                return run(*args, **kwargs)
            if isinstance(was, self.owning):
                raise InputError(
                    f"model={name}: calls {type(was).__name__}, which owns its"
                    " activation; must call norms alone to exchange them; build it"
                    " with another norm."
                )
            inside = found = True
            try:
                return _instead(was, self.layer, running, *args, **kwargs)
            finally:
                inside = False

        with nn.intercept_methods(intercept):
            y = self.original(*args, **kwargs)
        if not found:
            raise InputError(
                f"model={type(self.original).__name__}: calls no norm; must call one of"
                f" flax.linen ({', '.join(kind.__name__ for kind in OF_FLAX)}) or of"
                " normjax to exchange it; build it with such a norm first."
            )
        return y


def _instead(was: nn.Module, layer, running, *args, **kwargs) -> Array:
    """What a new layer, in the place of `was`, makes of the call."""
    given = inspect.signature(type(was).__call__).bind(was, *args, **kwargs).arguments
    x = given["x"]
    if layer is None:
        return x
    _refuse_other_axes(was, x)
    train = _train(was, given)
    mask = _mask(was, x, given.get("mask"))
    dtype = x.dtype
    if isinstance(was, OF_FLAX):
        dtype = was.dtype or jnp.promote_types(dtype, was.param_dtype)
    wide = x.astype(jnp.promote_types(x.dtype, dtype))
    settings = _carried(was, layer, x.shape[-1])
    if running is not None:
        _refuse_lifted(was, running)
        settings["running"] = running

    def run():
        scope = was.scope.rewound()  # the same place for variables, as if unused
        return call(layer(parent=scope, **settings), wide, train=train, mask=mask)

    y = run()
    if was.is_initializing() and _initialize_as(was):
        y = run()
    return y.astype(dtype)


def _refuse_jitted(module: nn.Module, name: str) -> None:
    """`nn.jit` may run what it compiled before the exchange, or after it this."""
    kind, base = type(module).__mro__[:2]
    if kind.__name__ == f"Jit{base.__name__}":
        raise InputError(
            f"model={name}: wraps {base.__name__} in nn.jit, which keeps what it once"
            " compiled; must be free of nn.jit to exchange its norms; jit the whole"
            " training step instead."
        )


def _refuse_lifted(was: nn.Module, running: nn.Module) -> None:
    if was.scope.root is not running.scope.root:
        raise InputError(
            f"norm={type(was).__name__}: is called inside a lifted transform (nn.remat,"
            " nn.scan, ...); layers that share one running mean must be outside; use"
            " a norm with its own, such as batch."
        )


def _refuse_other_axes(was: nn.Module, x: Array) -> None:
    for field in ("axis", "feature_axes"):
        axis = getattr(was, field, -1)
        if axis not in (-1, x.ndim - 1, (-1,), (x.ndim - 1,)):
            raise InputError(
                f"{type(was).__name__}.{field}={axis}: must be -1 to be exchanged;"
                " move the features to the last axis."
            )


def _train(was: nn.Module, given: dict[str, Any]) -> bool:
    """As the call says, or the layer; else: are there statistics to be moved?"""
    if "train" in given:
        return given["train"]
    if hasattr(was, "use_running_average"):
        named = "use_running_average"
        return not nn.merge_param(named, getattr(was, named), given.get(named))
    return was.is_mutable_collection("batch_stats")


def _mask(was: nn.Module, x: Array, mask: Array | None) -> Array | None:
    """A mask of flax, which broadcasts to `x`, without the axis of the features."""
    if mask is None or not isinstance(was, OF_FLAX):
        return mask
    if mask.ndim != x.ndim or mask.shape[-1] != 1:
        raise InputError(
            f"mask.shape={mask.shape}: must have {x.ndim} axes, the last of size 1, to"
            " be read by another norm; mask whole positions, not features."
        )
    return jnp.broadcast_to(mask[..., 0] != 0, x.shape[:-1])


def _carried(was: nn.Module, layer, features: int) -> dict[str, Any]:
    """Fields of the layer that was, as far as the new one has and leaves them."""
    taken = {field.name for field in dataclasses.fields(class_of(layer))}
    if isinstance(layer, functools.partial):
        taken -= set(layer.keywords)
    both = isinstance(was, BATCH) and issubclass(class_of(layer), BATCH)
    settings = {}
    for names in CARRIED + (CARRIED_OF_BATCH if both else ()):
        found = [getattr(was, name) for name in names if hasattr(was, name)]
        if found and found[0] is not None:
            settings |= {name: found[0] for name in names if name in taken}
    if getattr(was, "group_size", None) is not None and "num_groups" in taken:
        settings["num_groups"] = features // was.group_size
    _refuse_spread(was, layer, settings)
    return settings


def _refuse_spread(was: nn.Module, layer, settings: dict[str, Any]) -> None:
    """Means over several devices must not become means over one unnoticed."""
    chosen = settings.keys() | getattr(layer, "keywords", {}).keys()
    for field in ("axis_name", "axis_index_groups"):
        value = getattr(was, field, None)
        if value is not None and field not in chosen:
            raise InputError(
                f"{type(was).__name__}.{field}={value!r}: must be None to be exchanged"
                f" for {class_of(layer).__name__}, which cannot take it over; build"
                " the model without it."
            )


def _initialize_as(was: nn.Module) -> bool:
    """Starts scale and bias as `was` would; whether there were any."""
    starts = [
        (name, getattr(was, f"{name}_init"))
        for name in ("scale", "bias")
        if hasattr(was, f"{name}_init") and was.has_variable("params", name)
    ]
    for name, start in starts:
        old = was.get_variable("params", name)
        new = start(was.make_rng("params"), old.shape, old.dtype)
        was.put_variable("params", name, new)
    return bool(starts)
