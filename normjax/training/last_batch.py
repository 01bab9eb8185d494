"""The last batch of an epoch where it is smaller than the others.

It is a step of its own size after the scan over the others, in the same program: so all
that it computes, moments of batch norm too, is of its examples alone.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from normjax.types import Program


def order_size(program: Program) -> tuple[int, int, str]:
    """The `size` of the order of an epoch: see `order_lanes`, and `epoch` for rows."""
    batch, steps, last = program.batch_size, program.steps_per_epoch, program.last_batch
    if last:
        return (1, (steps - 1) * batch + last, program.sampling)
    return (batch, steps, program.sampling)


def divide_rows(
    rows: Int[Array, "examples 1"], program: Program
) -> tuple[Int[Array, "steps batch"], Int[Array, " rest"]]:
    """The rows of full batches and those of the last one, from rows in their order."""
    ordered, rest = rows.ravel(), program.last_batch
    return ordered[:-rest].reshape(-1, program.batch_size), ordered[-rest:]


def mean_with(
    metrics: Float[Array, " steps"], last: Float[Array, ""], sizes: tuple[int, int]
) -> Float[Array, ""]:
    """Mean over examples of what full batches and a last one gave, without nan.

    `sizes` are the examples of a full batch and of the last one.
    """
    batch, rest = sizes
    number = batch * _count(metrics) + rest * _count(last)
    return (batch * jnp.nansum(metrics) + rest * jnp.nansum(last)) / number


def _count(x: Float[Array, "..."]) -> Float[Array, ""]:
    """How many numbers are not nan."""
    return jnp.sum(~jnp.isnan(x)).astype(jnp.float32)
