"""The last step of the norms: subtract, divide, scale, shift."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from normjax.ops import moments, two_passes, validate

MaybeVector = Float[Array, "..."] | None  # [features]; another shape is refused by name


def standardize(
    x: Num[Array, "*batch features"],
    mean: Float[Array, "..."],
    var: Float[Array, "..."],
    scale: MaybeVector = None,
    bias: MaybeVector = None,
    *,
    eps: float | Float[Array, ""],
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "*batch features"]:
    """`y = (x - mean) * (scale / sqrt(var + eps)) + bias`, and 0 outside `where`.

    Computed in the widest of float32 and the dtypes given, returned in that of
    `x`. `mean`, `var` and `where` have as many axes as `x` and broadcast to it. Where
    `var` has one entry for all features, the product with `scale` comes last.

    Raises:
        InputError: if `x` is not floating, `eps` is a negative number, or scale or
            bias has another shape.
    """
    validate.refuse_eps(eps)
    validate.refuse_vectors(x, scale=scale, bias=bias)
    row = (1,) * (x.ndim - 1) + x.shape[-1:]
    y = moments.zero_outside(where, moments.widen(x))
    factor = jax.lax.rsqrt(var + eps)
    small = var.shape[-1] == x.shape[-1]  # the product with scale is no larger
    if scale is not None and small:
        factor = factor * scale.reshape(row)
    y = two_passes.scaled_difference(y, mean, factor)
    if scale is not None and not small:
        y = y * scale.reshape(row)
    if bias is not None:
        y = y + bias.reshape(row)
    return moments.zero_outside(where, y).astype(jnp.result_type(x))


def scale_and_shift(
    y: Array, scale: Array, bias: Array | None = None, *, axes: Sequence[int] = (-1,)
) -> Array:
    """`y * scale + bias`, with vectors along these axes."""
    along = {axis % y.ndim for axis in axes}
    row = [size if axis in along else 1 for axis, size in enumerate(y.shape)]
    y = y * scale.reshape(row)
    return y if bias is None else y + bias.reshape(row)


def apply_running(
    x: Num[Array, "*batch features"],
    running: moments.Running,
    scale: MaybeVector = None,
    bias: MaybeVector = None,
    *,
    eps: float,
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "*batch features"]:
    """`standardize` with running moments: one of each, or one per feature."""
    if running.mean.ndim:
        refuse_running(x, running)
    row = (1,) * (x.ndim - 1) + running.mean.shape[-1:]
    mean, var = (a.reshape(row if a.ndim else (1,) * x.ndim) for a in running)
    return standardize(x, mean, var, scale, bias, eps=eps, where=where)


def refuse_running(
    x: Num[Array, "..."], running: moments.Running, **vectors: MaybeVector
) -> None:
    """Refuses running moments or vectors that have not one entry per feature."""
    named: dict = {f"running.{name}": a for name, a in running._asdict().items()}
    validate.refuse_vectors(x, **(named | vectors))
