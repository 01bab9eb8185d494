"""Mean and variance over some axes: the part of normalization that can go wrong.

Nothing here divides by a standard deviation, and nothing here keeps a state.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from normjax.errors import InputError
from normjax.ops import two_passes, validate

Decay = float | Float[Array, ""]
AxisName = str | tuple[str, ...] | None


class Moments(NamedTuple):
    """Mean and variance over some axes, which are kept with size 1."""

    mean: Float[Array, "..."]
    var: Float[Array, "..."]  # biased: divides by count, as in the papers
    count: Float[Array, "..."]  # type: ignore[assignment]  # elements behind each mean; a scalar without a mask


class Running(NamedTuple):
    """Moments averaged over time."""

    mean: Float[Array, "*features"]
    var: Float[Array, "*features"]


def widen(x: Num[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns `x` in float32, or in its own dtype where that is wider.

    Raises:
        InputError: if `x` is not floating.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        rule, remedy = "must be a floating type", 'call x.astype("float32") first'
        raise InputError("x.dtype", x.dtype.name, rule, remedy)
    return jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))


def zero_outside(where: Bool[Array, "..."] | None, x: Array) -> Array:
    """`x` where `where` is true or None, else 0.

    Before any arithmetic, or the gradient at a nan would be 0 * nan.
    """
    return x if where is None else jnp.where(where, x, 0)


def mean_and_var(
    x: Num[Array, "..."],
    axes: validate.Axes,
    *,
    where: Bool[Array, "..."] | None = None,
    axis_name: AxisName = None,
) -> Moments:
    """`mean = sum(x) / n; var = sum((x - mean)^2) / n` over `axes`, in two passes.

    The one-pass form `E[x^2] - E[x]^2`, flax's default, saves a read of `x` but
    cancels when the mean is large: at |mean| = 1000 std it is 15% wrong in
    float32, this form 1e-7. Sums are in float32, or wider if `x` is.

    Args:
        x: any shape.
        axes: axes to average over; they stay, with size 1.
        where: broadcasts to `x` without adding an axis. Elements where it is
            false count for nothing, even if they are nan or inf, and get a zero
            gradient. Where it leaves no element, mean, var and count are 0.
        axis_name: axes of `vmap` or `shard_map` to sum over too, counts as well
            as values: each element has the same weight on whichever device it is.
            Flax and haiku average the means of the devices. Flax's two-pass form
            takes the squares around the common mean, as here.

    Raises:
        InputError: if `x` is not floating or has no such axis, or `where` does not
            broadcast to it.
    """
    x = widen(x)
    axes = validate.axis_tuple(x, axes)
    validate.refuse_where(x, where)
    if where is None and axis_name is None:
        mean, var = two_passes.mean_and_var(
            lambda a: jnp.mean(a, axes, keepdims=True), lambda mean: mean, x
        )
        count = math.prod(x.shape[axis] for axis in axes)
        return Moments(mean, var, jnp.asarray(count, x.dtype))

    def total(values):
        local = jnp.sum(values, axes, dtype=values.dtype, keepdims=True)
        return local if axis_name is None else jax.lax.psum(local, axis_name)

    where = jnp.broadcast_to(True if where is None else where, x.shape)
    # Counted as integers: float32 stops counting at 2^24.
    count = total(where.astype(jnp.int32)).astype(x.dtype)
    n = jnp.maximum(count, 1)
    x = jnp.where(where, x, 0)  # before any arithmetic: 0 * nan would be nan
    average = lambda a, where, n: total(jnp.where(where, a, 0)) / n
    both = two_passes.mean_and_var(average, lambda mean: mean, x, where, n)
    return Moments(*both, count)


def mean_square(
    x: Num[Array, "..."],
    axes: validate.Axes,
    *,
    where: Bool[Array, "..."] | None = None,
    axis_name: AxisName = None,
) -> Moments:
    """`mean = 0; var = sum(x^2) / n` over `axes`: the moments around 0.

    The arguments and errors are those of `mean_and_var`.
    """
    x = jnp.square(zero_outside(where, widen(x)))
    square = mean_and_var(x, axes, where=where, axis_name=axis_name)
    return Moments(jnp.zeros_like(square.mean), square.mean, square.count)


def group_moments(
    x: Num[Array, "batch *spatial features"],
    num_groups: int,
    *,
    where: Bool[Array, "..."] | None = None,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Mean and variance of each example and group, `[batch, *ones, num_groups]`.

    A group is some neighbouring features at all positions of an example.
    """
    size = x.shape[-1] // num_groups
    space = tuple(range(1, x.ndim - 1))
    validate.refuse_single(x, space, "use fewer groups", times=size)
    grouped = (*x.shape[:-1], num_groups, size)
    if where is None:

        def average(a):
            """Over space first, where neighbours in memory are not added up."""
            a = jnp.mean(a, space, keepdims=True)
            return two_passes.mean_of_neighbours(a, size)

        spread = lambda mean: two_passes.repeat_neighbours(mean, size)
        return two_passes.mean_and_var(average, spread, widen(x))
    where = jnp.broadcast_to(where, x.shape).reshape(grouped)
    m = mean_and_var(x.reshape(grouped), (*space, x.ndim), where=where)
    return m.mean[..., 0], m.var[..., 0]


def has_elements(
    x: Num[Array, "*batch features"],
    mask: validate.Mask = None,
    *,
    axis_name: AxisName = None,
    least: int = 1,
) -> Bool[Array, ""]:
    """Whether a feature has `least` unmasked elements, on all devices together."""
    axes, where = tuple(range(x.ndim - 1)), validate.where(x, mask)
    m = mean_and_var(x, axes, where=where, axis_name=axis_name)
    return jnp.any(m.count >= least)


def unless_single(now: Moments, running: Running) -> Moments:
    """Returns `now`, but `running` where fewer than two elements are behind it.

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

    Flax calls this number momentum; the momentum of PyTorch is `1 - decay`. It may be
    traced, see `debiased`. `past` keeps its shape and dtype, and its value where `now`
    has no element behind it. If `unbiased`, `var * n / (n - 1)` is blended in, where n
    is the number of elements (0 for a single one), as by the paper and PyTorch; flax
    and Keras do not.

    Raises:
        InputError: if `decay` is a number outside of [0, 1].
    """
    validate.refuse_decay(decay)
    counted = jnp.broadcast_to(now.count > 0, now.mean.shape).reshape(past.mean.shape)
    var = now.var
    if unbiased:
        var = var * (now.count / jnp.maximum(now.count - 1, 1))

    def average(past, now):
        wide = jnp.promote_types(jnp.result_type(past), now.dtype)
        new = jnp.asarray(past, wide) * decay + (1 - decay) * now.reshape(past.shape)
        return jnp.where(counted, new, past).astype(jnp.result_type(past))

    return Running(average(past.mean, now.mean), average(past.var, var))


def debiased(decay: float, step: Int[Array, ""]) -> Float[Array, ""]:
    """`decay * (1 - decay^(t-1)) / (1 - decay^t)`: the decay of step t = 1, 2, ...

    With it `blend` computes what Adam and haiku compute by an average that starts
    at 0 and is divided by `1 - decay^t`: the initial moments have no weight after
    the first step, and all batches are weighted alike.

    Raises:
        InputError: if `decay` is not between 0 and 1.
    """
    if not 0 < decay < 1:
        rule = "must be between 0 and 1 to be debiased"
        raise InputError("decay", decay, rule, "set debias=False")
    # expm1, because 1 - 0.999^t would keep four digits of float32
    log = math.log(decay)
    t = jnp.asarray(step, float)
    return decay * jnp.expm1((t - 1) * log) / jnp.expm1(t * log)


def merge(a: Moments, b: Moments) -> Moments:
    """Returns the moments of the elements of `a` and `b` together.

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
