"""Mean and variance over some axes: the part of normalization that can go wrong.

Nothing here divides by a standard deviation, and nothing here keeps a state.
"""

import math
import numbers
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from normjax.errors import InputError

Axes = int | tuple[int, ...]
Decay = float | Float[Array, ""]
AxisName = str | tuple[str, ...] | None


class Moments(NamedTuple):
    """Mean and variance over some axes, which are kept with size 1."""

    mean: Float[Array, "..."]
    var: Float[Array, "..."]  # biased: divides by count, as in the papers
    count: Float[Array, "..."]  # elements behind each mean; a scalar without a mask


class Running(NamedTuple):
    """Moments averaged over time."""

    mean: Float[Array, "*features"]
    var: Float[Array, "*features"]


def widen(x: Num[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x` in float32, or as it is when that is wider.

    Raises:
        InputError: if `x` is not floating.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(
            f"x.dtype={x.dtype}: must be a floating type; "
            'call x.astype("float32") first.'
        )
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def checked(x: Num[Array, "..."], axes: Axes) -> tuple[int, ...]:
    """The axes as a tuple.

    Raises:
        InputError: if `x` has no such axis, or one of them is named twice.
    """
    several = tuple(axes) if isinstance(axes, tuple | list) else (axes,)
    if not all(isinstance(axis, numbers.Integral) for axis in several):
        raise InputError(f"axes={axes}: must be integers; use -1 for the last.")
    if not all(-x.ndim <= axis < x.ndim for axis in several):
        raise InputError(
            f"axes={axes}: must be axes of x, {-x.ndim} to {x.ndim - 1} for its shape"
            f" {x.shape}; use -1 for the last."
        )
    if len({axis % x.ndim for axis in several}) < len(several):
        raise InputError(
            f"axes={axes}: must name each of the {x.ndim} axes of x once at most;"
            " leave out what is there twice."
        )
    return several


def _refuse_where(x, where) -> None:
    pairs = zip(where.shape[::-1], x.shape[::-1])
    if where.ndim > x.ndim or any(size not in (1, full) for size, full in pairs):
        raise InputError(
            f"where.shape={where.shape}: must broadcast to that of x, {x.shape};"
            " give it as many axes, of size 1 where all is alike."
        )


def over(
    x: Num[Array, "..."],
    axes: Axes,
    *,
    where: Bool[Array, "..."] | None = None,
    axis_name: AxisName = None,
) -> Moments:
    """`mean = sum(x) / n; var = sum((x - mean)^2) / n` over `axes`, in two passes.

    The one-pass form `E[x^2] - E[x]^2`, flax' default, saves a read of `x` but
    cancels when the mean is large: at |mean| = 1000 std it is 13% wrong in
    float32, this form 1e-7. Sums are in float32, or wider if `x` is.

    Args:
        x: any shape.
        axes: axes to average over; they stay, with size 1.
        where: broadcasts to `x` without gaining an axis. Elements where it is
            false count for nothing, even if they are nan or inf, and get a zero
            gradient. Where it leaves none, mean, var and count are 0.
        axis_name: axes of `vmap` or `shard_map` to sum over too, counts as well
            as values: each element weighs the same wherever it lies. Flax and
            haiku average the means of the devices, and flax' two-pass form, as
            here, the squares around the common mean.

    Raises:
        InputError: if `x` is not floating or has no such axis, or `where` does not
            broadcast to it.
    """
    x = widen(x)
    axes = checked(x, axes)
    if where is not None:
        _refuse_where(x, where)
    if where is None and axis_name is None:
        mean = jnp.mean(x, axes, keepdims=True)
        var = jnp.mean(jnp.square(x - mean), axes, keepdims=True)
        return Moments(mean, var, jnp.asarray(x.size / mean.size, x.dtype))

    def total(values):
        here = jnp.sum(values, axes, dtype=values.dtype, keepdims=True)
        return here if axis_name is None else jax.lax.psum(here, axis_name)

    where = jnp.broadcast_to(True if where is None else where, x.shape)
    # Counted as integers: float32 stops counting at 2^24.
    count = total(where.astype(jnp.int32)).astype(x.dtype)
    n = jnp.maximum(count, 1)
    x = jnp.where(where, x, 0)  # before any arithmetic: 0 * nan would be nan
    mean = total(x) / n
    centered = jnp.where(where, x - mean, 0)
    return Moments(mean, total(jnp.square(centered)) / n, count)


def mean_square(
    x: Num[Array, "..."], axes: Axes, *, where: Bool[Array, "..."] | None = None
) -> Moments:
    """`mean = 0; var = sum(x^2) / n` over `axes`: the moments around 0.

    Arguments and errors are those of `over`.
    """
    x = widen(x)
    if where is not None:
        x = jnp.where(where, x, 0)  # before the square: its slope is nan at nan
    square = over(jnp.square(x), axes, where=where)
    return Moments(jnp.zeros_like(square.mean), square.mean, square.count)


def unless_single(now: Moments, running: Running) -> Moments:
    """`now`, but `running` where fewer than two elements are behind it.

    There the count is 0, so that `blend` leaves `running` as it is.
    """
    enough = now.count > 1
    mean, var = (
        jnp.where(enough, new, past.reshape(new.shape))
        for new, past in zip((now.mean, now.var), running)
    )
    return Moments(mean, var, jnp.where(enough, now.count, 0))


def blend(
    past: Running, now: Moments, *, decay: Decay, unbiased: bool = False
) -> Running:
    """`decay * past + (1 - decay) * now`; decay is the weight of the past, per step.

    Flax calls this number momentum; the momentum of PyTorch is `1 - decay`.
    `past` keeps its shape and dtype, and its value where `now` has no element
    behind it.

    Args:
        past: the running moments.
        now: those of the batch.
        decay: in [0, 1]; may be traced, see `debiased`.
        unbiased: blend in `var * n / (n - 1)`, n the elements that count (0 for
            a single one), as the paper and PyTorch; flax and Keras do not.
    """
    seen = jnp.broadcast_to(now.count > 0, now.mean.shape).reshape(past.mean.shape)
    var = now.var
    if unbiased:
        var = var * (now.count / jnp.maximum(now.count - 1, 1))

    def one(past, now):
        new = decay * past + (1 - decay) * now.reshape(past.shape)
        return jnp.where(seen, new, past).astype(past.dtype)

    return Running(one(past.mean, now.mean), one(past.var, var))


def debiased(decay: float, step: Int[Array, ""]) -> Float[Array, ""]:
    """`decay * (1 - decay^(t-1)) / (1 - decay^t)`: the decay of step t = 1, 2, ...

    With it `blend` makes the average that Adam and haiku make of a hidden one,
    which starts at 0 and is divided by `1 - decay^t`: what it started from has
    no weight after the first step, and the first batches weigh as the later do.

    Raises:
        InputError: if `decay` is not between 0 and 1.
    """
    if not 0 < decay < 1:
        raise InputError(
            f"decay={decay}: must be between 0 and 1 to be debiased; set debias=False."
        )
    # expm1, because 1 - 0.999^t would keep four digits of float32
    log = math.log(decay)
    return decay * jnp.expm1((step - 1) * log) / jnp.expm1(step * log)


def merge(a: Moments, b: Moments) -> Moments:
    """Moments of the elements of `a` and `b` together.

    `mean = mean_a + d n_b / n` and `var = (n_a var_a + n_b var_b) / n
    + d^2 n_a n_b / n^2` with `d = mean_b - mean_a`, `n = n_a + n_b`.

    References:
        Chan, Golub and LeVeque, 1983. Algorithms for Computing the Sample
        Variance. The American Statistician 37.
    """
    count = a.count + b.count
    share = b.count / jnp.maximum(count, 1)
    apart = b.mean - a.mean
    var = a.var + share * (b.var - a.var) + share * (1 - share) * jnp.square(apart)
    return Moments(a.mean + share * apart, var, count)
