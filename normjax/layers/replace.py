"""Exchanges the norms that a flax model calls."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.core.scope import LazyRng
from jaxtyping import Array

from normjax.errors import InputError
from normjax.layers.batch import RunningMoments
from normjax.layers.common import Norm
from normjax.layers.registry import NORMS, arguments, call, class_of, norm_named

__all__ = ["replace"]

# What is carried over from the replaced layer, by its names here and in flax; the
# second only from a norm to its namesake: elsewhere the names mean something else.
OURS = [(class_of(row.layer), row) for row in NORMS.values() if row.layer]
KINDS = (getattr(kind, "counterpart", None) for kind, _ in OURS)
OF_FLAX: tuple[type[nn.Module], ...] = tuple(dict.fromkeys(filter(None, KINDS)))
NORM_KINDS = (*OF_FLAX, *(kind for kind, _ in OURS))
OWNING = tuple(kind for kind, row in OURS if row.owns_activation)
VECTOR_FIELDS = ("use_scale", "use_bias", "scale_init", "bias_init", "param_dtype")
AXES = ("axis_name", "axis_index_groups", "axis", "reduction_axes", "feature_axes")
CARRIED = {
    "eps": "epsilon",
    "num_groups": "num_groups",
    **dict(zip(VECTOR_FIELDS, VECTOR_FIELDS)),
}
CARRIED_IN_KIND = {"decay": "momentum", **dict(zip(AXES, AXES))}


def replace(model: Any, norm: str | Norm) -> nn.Module:
    """A module that runs `model` with this norm wherever it calls another.

    `replace(model, "rms").init(key, x)` and `.apply(...)` are called as those of
    `model`. Exchanged are the activations' norms of flax.linen (BatchNorm, LayerNorm,
    RMSNorm, GroupNorm, InstanceNorm) and those of `NORMS`; the name may also be dotted,
    as in `norm_named`, or be a row `Norm` itself. A new layer keeps its variables where
    the old one would; all other variables, and for the same key their initial values,
    are those of `model`.

        >>> import flax.linen as nn, jax, jax.numpy as jnp, normjax.layers as layers
        >>> model = layers.replace(nn.Sequential([nn.Dense(4), nn.LayerNorm()]), "rms")
        >>> variables = model.init(jax.random.key(0), jnp.ones((2, 3)))
        >>> list(variables["params"]["layers_1"])
        ['scale']

    Carried over, where the new layer knows them, are eps, the number of groups,
    `use_scale` and `use_bias`, the initial scale and bias, the dtypes of the parameters
    and of the result, and from a norm to its namesake decay, axes and axis name. It
    trains when the old layer did, by `train` or `use_running_average`; in the place of
    a layer that knew neither, such as LayerNorm, it trains when `batch_stats` is
    mutable. Where a mask is false the norms of `NORMS` put 0 (`none` leaves `x`); those
    of flax put the normalized input there.

    Only the `__call__` of `model` is run, and in it norms as modules, not functions.
    Lifted transforms (`nn.remat`, `nn.scan`, `nn.vmap`) must pass on `batch_stats`
    where the norm has some. `nn.jit` around a block is refused, but cannot be seen as
    a decorator of a method: there the block may run as it was compiled before.

    Raises:
        InputError: if `model` is not a module of flax.linen, the name is unknown, the
            norm is one of kernels or owns its activation (that of `model` would follow
            it), or, when called, if `model` calls no norm or one that owns its
            activation, has features elsewhere than on the last axis, or wraps a block
            in `nn.jit`; or if a norm has an `axis_name` or `axis_index_groups` that the
            new one cannot take.
    """
    if not isinstance(model, nn.Module):
        rule = "must be a module of flax.linen, whose norms are exchanged"
        how = "write it in flax.linen, with flax.nnx.bridge.ToLinen around nnx parts"
        raise InputError("model", type(model).__name__, rule, how)
    row = norm if isinstance(norm, Norm) else norm_named(norm)
    if row.kernel is not None:
        rule = "must be a norm of activations, which a model calls, and not of kernels"
        how = "use layers.Dense(kernel_norm=...) in the model"
        raise InputError("norm", norm, rule, how)
    if row.owns_activation:
        rule = "must be a norm alone, for the model's activation would follow its own"
        how = "build the model with this layer in the place of norm and activation"
        raise InputError("norm", norm, rule, how)
    original = model.original if isinstance(model, Exchanged) else model
    return Exchanged(original, row.layer, row.shared)


class Exchanged(nn.Module):
    """`original` with another norm wherever it calls one; see `layers.replace`."""

    original: nn.Module
    layer: Callable[..., nn.Module] | None  # None: `x` passes as it is
    shared: bool  # the layers take one RunningMoments, as `running`

    def setup(self):
        nn.share_scope(self, self.original)
        _draw_in_place(self.original)

    @nn.compact
    def __call__(self, *args, **kwargs):
        running = RunningMoments(name="running") if self.shared else None
        inside, num_norms = False, 0

        def intercept(run, args, kwargs, context):
            nonlocal inside, num_norms
            was, name = context.module, type(self.original).__name__
            _refuse_jitted(was, name)
            is_norm = context.method_name == "__call__" and isinstance(was, NORM_KINDS)
            if inside or not is_norm:  # inside: what the new layer itself calls
                return run(*args, **kwargs)
            if isinstance(was, OWNING):
                kind = type(was).__name__
                rule = f"must call norms alone, and {kind} owns its activation"
                raise InputError("model", name, rule, "build it with another norm")
            inside, num_norms = True, num_norms + 1
            try:
                return _output_in_place(was, self.layer, running, *args, **kwargs)
            finally:
                inside = False

        with nn.intercept_methods(intercept):
            y = self.original(*args, **kwargs)
        if not num_norms:
            names = ", ".join(kind.__name__ for kind in OF_FLAX)
            rule = f"must call a norm of flax.linen ({names}) or of normjax"
            name, how = type(self.original).__name__, "build it with such a norm first"
            raise InputError("model", name, rule, how)
        return y


def _draw_in_place(module: nn.Module) -> None:
    """Gives modules that are fields, as in nn.Sequential, the keys of their new place.

    `nn.share_scope` moves their scopes, and leaves them the keys of the old place.
    """
    for child in module._state.children.values():
        if isinstance(child, nn.Module) and child.scope and module.scope:
            place = module.scope.rngs.items()
            name = str(child.scope.name)
            child.scope.rngs = {k: LazyRng.create(key, name) for k, key in place}
            _draw_in_place(child)


def _output_in_place(was: Any, layer, running, *args, **kwargs) -> Array:
    """The output of the new layer where the model calls `was`."""
    given = arguments(was, args, kwargs)
    x = jnp.asarray(given["x"])
    dtype = _result_dtype(was, x)
    if layer is None:
        return x.astype(dtype)
    fields, scope = _carried_fields(was, layer, x), was.scope
    if running is not None:
        if scope.root is not running.scope.root:
            lifted = "lifted transforms (nn.remat, nn.scan, ...)"
            rule = f"must be called outside of {lifted} to share one running mean"
            how = "use a norm with its own, such as batch"
            raise InputError("norm", type(was).__name__, rule, how)
        fields["running"] = running
    made = layer(parent=scope.rewound(), **fields)  # the same place, as if unused
    wide = x.astype(jnp.promote_types(x.dtype, dtype))
    train, mask = _train(was, given), _mask(was, x, given.get("mask"))
    return call(made, wide, train=train, mask=mask).astype(dtype)


def _result_dtype(was: nn.Module, x: Array) -> Any:
    """The dtype of what `was` makes of `x`."""
    if getattr(was, "dtype", None) is not None:
        return was.dtype
    if isinstance(was, OF_FLAX) and (was.use_scale or getattr(was, "use_bias", False)):
        return jnp.promote_types(x.dtype, was.param_dtype)
    return x.dtype


def _refuse_jitted(module: nn.Module, name: str) -> None:
    """Refuses `nn.jit`: its cache may hold the program of the model before."""
    kind, base = type(module).__mro__[:2]
    if kind.__name__ == f"Jit{base.__name__}":
        kept = f"keeps what it once compiled of {base.__name__}"
        rule = f"must be free of nn.jit, which {kept}"
        raise InputError("model", name, rule, "jit the whole training step instead")


def _train(was: nn.Module, given: dict[str, Any]) -> bool:
    """Whether the call or the layer trains; else whether statistics may move."""
    if "train" in given:
        return given["train"]
    if hasattr(was, "use_running_average"):
        named = "use_running_average"
        return not nn.merge_param(named, getattr(was, named), given.get(named))
    return was.is_mutable_collection("batch_stats")


def _mask(was: nn.Module, x: Array, mask: Array | None) -> Array | None:
    """The mask as bool, one of flax with as many axes as `x`."""
    if mask is None or not isinstance(was, OF_FLAX):
        return mask
    mask = jnp.asarray(mask)
    return (mask != 0).reshape((1,) * (x.ndim - mask.ndim) + mask.shape)


def _kind(layer: type[nn.Module]) -> type[nn.Module] | None:
    """The norm of flax.linen that a class is, or takes the place of."""
    theirs = (kind for kind in OF_FLAX if issubclass(layer, kind))
    return getattr(layer, "counterpart", next(theirs, None))


def _carried_fields(was: nn.Module, layer, x: Array) -> dict[str, Any]:
    """The fields of the replaced layer that the new one has, and leaves open."""
    taken = {field.name for field in dataclasses.fields(class_of(layer))}
    fixed = set(getattr(layer, "keywords", {}))
    kind = _kind(type(was))
    alike = kind is not None and kind is _kind(class_of(layer))
    fields: dict[str, Any] = {}
    for names in (CARRIED | (CARRIED_IN_KIND if alike else {})).items():
        values = [getattr(was, name) for name in names if hasattr(was, name)]
        if values and values[0] is not None:
            fields |= {name: values[0] for name in names if name in taken - fixed}
    if getattr(was, "group_size", None) is not None and "num_groups" in taken - fixed:
        fields["num_groups"] = x.shape[-1] // was.group_size
    _refuse_lost(was, class_of(layer), fields.keys() | fixed, x)
    return fields


def _refuse_lost(was: nn.Module, new: type[nn.Module], chosen, x: Array) -> None:
    """Other axes, and means over several devices, must not get lost unnoticed."""
    for field in ("axis", "feature_axes"):
        axis = getattr(was, field, -1)
        last = axis in (-1, x.ndim - 1, (-1,), (x.ndim - 1,))
        if field not in chosen and not last:
            rule = f"must be -1 to be exchanged for {new.__name__}"
            how = "move the features to the last axis"
            raise InputError(f"{type(was).__name__}.{field}", axis, rule, how)
    for field in ("axis_name", "axis_index_groups"):
        value = getattr(was, field, None)
        if value is not None and field not in chosen:
            exchanged = f"exchanged for {new.__name__}, which cannot take it over"
            rule, how = f"must be None to be {exchanged}", "build the model without it"
            raise InputError(f"{type(was).__name__}.{field}", value, rule, how)
