"""What the norms refuse: wrong shapes, masks, groups, numbers, means over nothing.

Each `refuse_*` raises an InputError that names the argument. Numbers are checked where
they are Python or NumPy numbers; traced ones pass.
"""

import math
import numbers
from collections.abc import Iterable, Sequence

import jax
import numpy as np
from jaxtyping import Array, Bool, Shaped

from normjax.errors import InputError

NUMBERS = (int, float, np.floating)
Axes = int | Sequence[int]
Mask = Shaped[Array, "..."] | None  # bool; another dtype is refused by name


def where(
    x: Shaped[Array, "..."], mask: Mask, *, of_features: bool = True
) -> Bool[Array, "..."] | None:
    """Returns the mask with as many axes as `x`: it broadcasts to `x`.

    It has the shape of `x` without its last axis or, if `of_features`, that of `x`.

    Raises:
        InputError: if the mask has another shape or is not bool, or as `refuse_empty`.
    """
    refuse_empty(x)
    if mask is None:
        return None
    if mask.shape != x.shape[:-1] and not (of_features and mask.shape == x.shape):
        also = f" or {x.shape}" if of_features else ""
        rule = f"must be {x.shape[:-1]}{also} for x of shape {x.shape}"
        remedy = "broadcast a mask of examples over the spatial axes"
        raise InputError("mask.shape", mask.shape, rule, remedy)
    if mask.dtype != bool:
        raise InputError("mask.dtype", mask.dtype.name, "must be bool", "pass mask > 0")
    return mask if mask.ndim == x.ndim else mask[..., None]


def axis_tuple(x: Shaped[Array, "..."], axes: Axes) -> tuple[int, ...]:
    """Returns the axes as a tuple.

    Raises:
        InputError: if `x` has no such axis, or one of them is named twice.
    """
    several = tuple(axes) if isinstance(axes, Sequence) else (axes,)
    if not all(isinstance(axis, numbers.Integral) for axis in several):
        raise InputError("axes", axes, "must be integers", "use -1 for the last")
    if not all(-x.ndim <= axis < x.ndim for axis in several):
        rule = f"must be axes of x, {-x.ndim} to {x.ndim - 1} for its shape {x.shape}"
        raise InputError("axes", axes, rule, "use -1 for the last")
    if len({axis % x.ndim for axis in several}) < len(several):
        rule = f"must name each of the {x.ndim} axes of x at most once"
        raise InputError("axes", axes, rule, "leave out the second one")
    return several


def refuse_empty(x: Shaped[Array, "..."]) -> None:
    """Refuses an `x` without an axis of features, or without an element."""
    if x.ndim == 0:
        rule, remedy = "must end in an axis of features", "pass x.reshape(1, 1)"
        raise InputError("x.shape", x.shape, rule, remedy)
    if x.size == 0:
        rule, remedy = "must have at least 1 element", "leave empty batches out"
        raise InputError("x.shape", x.shape, rule, remedy)


def refuse_no_space(x: Shaped[Array, "..."]) -> None:
    """Refuses an `x` without spatial axes."""
    if x.ndim < 3:
        rule = "instance norm needs spatial axes, [batch, *spatial, channels]"
        raise InputError("x.shape", x.shape, rule, "use layer or group norm here")


def refuse_single(
    x: Shaped[Array, "..."],
    axes: Iterable[int],
    remedy: str = "train on batches of 2 or more",
    *,
    times: int = 1,
    axis_name: str | tuple[str, ...] | None = None,
) -> None:
    """Refuses means over these axes where they are over fewer than two elements.

    `times` is for further axes, and `axis_name` for those of `vmap` or `shard_map`.
    """
    count = times * math.prod(x.shape[axis] for axis in axes)
    if axis_name is not None:
        count *= jax.lax.axis_size(axis_name)
    if count < 2:
        rule = f"each mean would be over {count} element; must be at least 2, or the"
        rule += " output is the same for every x"
        raise InputError("x.shape", x.shape, rule, remedy)


def refuse_where(x: Shaped[Array, "..."], where: Mask) -> None:
    """Refuses a `where` that does not broadcast to `x`."""
    if where is None:
        return
    pairs = zip(where.shape[::-1], x.shape[::-1])
    if where.ndim > x.ndim or any(size not in (1, full) for size, full in pairs):
        rule = f"must broadcast to the shape of x, {x.shape}"
        remedy = "give it as many axes, of size 1 where all elements are alike"
        raise InputError("where.shape", where.shape, rule, remedy)


def refuse_groups(channels: int, num_groups: object) -> None:
    """Refuses groups that do not divide the channels."""
    if not isinstance(num_groups, numbers.Integral):
        rule = "must be an integer"
        raise InputError("num_groups", num_groups, rule, "use num_groups=1")
    if num_groups < 1 or channels % num_groups:
        divisors = [n for n in range(1, channels + 1) if channels % n == 0]
        rule = f"must divide the {channels} channels"
        remedy = f"use one of {', '.join(map(str, divisors))}"
        raise InputError("num_groups", num_groups, rule, remedy)


def refuse_vectors(
    x: Shaped[Array, "..."], *, of: str = "x", **vectors: Shaped[Array, "..."] | None
) -> None:
    """Refuses vectors that have not one entry per feature of `x`."""
    for name, vector in vectors.items():
        if vector is not None and vector.shape != x.shape[-1:]:
            rule = f"must be {x.shape[-1:]}, one entry per feature of {of}, whose shape"
            rule += f" is {x.shape}"
            remedy = f"make it for this {of}"
            raise InputError(f"{name}.shape", vector.shape, rule, remedy)


def refuse_vector_numbers(**values: object) -> None:
    """Refuses arrays where a single number is needed."""
    for name, value in values.items():
        if shape := getattr(value, "shape", ()):
            rule = "must be (), one number for the whole layer"
            raise InputError(f"{name}.shape", shape, rule, f"pass {name}.mean()")


def refuse_eps(eps: object) -> None:
    """Refuses a negative number: a root of it would be nan."""
    if isinstance(eps, NUMBERS) and not eps >= 0:
        raise InputError("eps", eps, "must be at least 0", "set eps=1e-5")


def refuse_decay(decay: object) -> None:
    """Refuses a weight of the past outside of [0, 1]."""
    if isinstance(decay, NUMBERS) and not 0 <= decay <= 1:
        rule = "must be in [0, 1], the weight of the past"
        raise InputError("decay", decay, rule, "set decay=0.9")
