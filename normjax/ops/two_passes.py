"""Mean and variance in two passes over memory, with few more passes on the way back.

What is written out here, XLA on a CPU does not find: it writes to memory what enters a
sum, unless that is an array or the product of two.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

FEW = 8  # neighbours that are added one by one
Linear = Callable[[Array], Array]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def mean_and_var(
    average: Callable[..., Array],
    spread: Linear,
    x: Float[Array, "..."],
    *constants: Shaped[Array, "..."],
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """`mean = average(x); var = average((x - spread(mean))^2)`.

    `average(a, *constants)` is the mean over some axes, groups or elements, and
    `spread` makes such a mean broadcast to `x`. Both are linear. `x` is in float32 or
    wider. The constants, such as a mask, get no gradient.
    """
    mean = average(x, *constants)
    return mean, average(jnp.square(x - spread(mean)), *constants)


@mean_and_var.defjvp
def _mean_and_var_jvp(average, spread, primals, tangents):
    """`dvar = 2 average((x - mean) dx)`: that of `x - mean` is 0, so `dmean` drops out.

    JAX by itself would sum `x - mean` on the way back, two passes over memory for a 0.
    """
    (x, *constants), (dx, *_) = primals, tangents
    mean, var = mean_and_var(average, spread, x, *constants)
    over = lambda a: average(a, *constants)
    return (mean, var), (over(dx), 2 * over((x - spread(mean)) * dx))


@jax.custom_jvp
def scaled_difference(
    x: Float[Array, "..."], mean: Float[Array, "..."], factor: Float[Array, "..."]
) -> Float[Array, "..."]:
    """`(x - mean) * factor`, which broadcast to `x`."""
    return (x - mean) * factor


@scaled_difference.defjvp
def _scaled_difference_jvp(primals, tangents):
    """`dy = factor dx - (factor dmean) + (x - mean) dfactor`.

    The second product is as small as a mean. On the way back it is the sum of `dy`
    itself times the factor, not the sum of a product that is as large as `x`.
    """
    (x, mean, factor), (dx, dmean, dfactor) = primals, tangents
    y = scaled_difference(x, mean, factor)
    return y, dx * factor - dmean * factor + (x - mean) * dfactor


def mean_of_neighbours(
    x: Float[Array, "*batch features"], size: int
) -> Float[Array, "*batch groups"]:
    """The mean of each so many neighbours on the last axis.

    Where there is a whole layer of few neighbours, `[batch, features]`, they are added
    as slices: sums over a short last axis take sixteen times as long.
    """
    grouped = x.reshape(*x.shape[:-1], -1, size)
    if x.ndim > 2 or size > FEW:
        return jnp.mean(grouped, -1)
    return sum((grouped[..., i] for i in range(1, size)), grouped[..., 0]) / size


def repeat_neighbours(
    x: Float[Array, "*batch groups"], size: int
) -> Float[Array, "*batch features"]:
    """Each entry so many times, on the way back as `mean_of_neighbours`."""
    if x.ndim > 2 or size > FEW:
        return jnp.repeat(x, size, -1)
    return jnp.stack([x] * size, -1).reshape(*x.shape[:-1], -1)
