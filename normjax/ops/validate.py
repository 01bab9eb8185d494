"""What a norm refuses, in one line each: shapes, masks, groups, means over nothing."""

import numbers

import jax.numpy as jnp
from jaxtyping import Array, Bool, Shaped

from normjax.errors import InputError

Mask = Shaped[Array, "..."] | None  # bool; another dtype is refused by name


def where(
    x: Shaped[Array, "..."], mask: Mask, *, of_features: bool = True
) -> Bool[Array, "..."] | None:
    """Returns the mask with as many axes as `x`: it broadcasts to `x`.

    Args:
        x: what is normalized.
        mask: true where `x` counts. It has the shape of `x` without its last axis
            or, if `of_features`, the shape of `x`.
        of_features: whether the features of one position may differ in it.

    Raises:
        InputError: if the mask has another shape or is not bool, or as `refuse_empty`.
    """
    refuse_empty(x)
    if mask is None:
        return None
    if mask.shape != x.shape[:-1] and not (of_features and mask.shape == x.shape):
        also = f" or {x.shape}" if of_features else ""
        raise InputError(
            "mask.shape",
            mask.shape,
            f"must be {x.shape[:-1]}{also} for x of shape {x.shape}",
            "broadcast a mask of examples over the spatial axes",
        )
    if mask.dtype != bool:
        raise InputError("mask.dtype", mask.dtype.name, "must be bool", "pass mask > 0")
    return mask if mask.ndim == x.ndim else mask[..., None]


def refuse_empty(x: Shaped[Array, "..."]) -> None:
    """Raises an InputError if `x` has no axis of features, or no element."""
    if x.ndim == 0:
        raise InputError(
            "x.shape=(): must end in an axis of features; pass x.reshape(1, 1)."
        )
    if x.size == 0:
        raise InputError(
            f"x.shape={x.shape}: must have at least 1 element; leave empty batches out."
        )


def refuse_single(x: Shaped[Array, "..."], count: int, remedy: str) -> None:
    """Raises an InputError if a mean would be over fewer than two elements."""
    if count < 2:
        raise InputError(
            f"x.shape={x.shape}: each mean would be over {count} element; must be at"
            f" least 2, or the output is the same for every x; {remedy}."
        )


def refuse_groups(channels: int, num_groups: object) -> None:
    """Raises an InputError if the groups do not divide the channels."""
    if not isinstance(num_groups, numbers.Integral):
        raise InputError(
            f"num_groups={num_groups!r}: must be an integer; use num_groups=1."
        )
    if num_groups < 1 or channels % num_groups:
        divisors = [n for n in range(1, channels + 1) if channels % n == 0]
        raise InputError(
            f"num_groups={num_groups}: must divide the {channels} channels; "
            f"use one of {', '.join(map(str, divisors))}."
        )


def refuse_vectors(
    x: Shaped[Array, "..."], *, of: str = "x", **vectors: Shaped[Array, "..."] | None
) -> None:
    """Raises an InputError if one of them has not one entry per feature of `x`."""
    for name, vector in vectors.items():
        if vector is not None and vector.shape != x.shape[-1:]:
            raise InputError(
                f"{name}.shape={vector.shape}: must be {x.shape[-1:]}, one entry per"
                f" feature of {of}, whose shape is {x.shape}; make it for this {of}."
            )


def refuse_vector_numbers(**values: float | Shaped[Array, "..."]) -> None:
    """Raises an InputError if one of them is not a single number."""
    for name, value in values.items():
        if jnp.ndim(value):
            raise InputError(
                f"{name}.shape={value.shape}: must be (), one number for the whole"
                f" layer; pass {name}.mean()."
            )
