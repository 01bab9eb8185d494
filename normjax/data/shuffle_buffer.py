"""The order of examples that leave a small shuffle buffer: nearly that of the split."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key


def buffered(
    key: Key[Array, ""], num_examples: int, size: int
) -> Int[Array, " examples"]:
    """Rows as `tf.data.Dataset.shuffle(size)` gives them, from rows in order.

    A buffer holds the first `size` rows. Each time the row in a random slot leaves it
    and the next row takes its place; when no row is left to come, those in the buffer
    leave in random order. So row r comes at place r - size + 1 at the earliest.

    There is no loop: the row that leaves a slot at time t came there when the slot was
    emptied before, at time s, and is row `size + s`; or it is the first in that slot.
    Sorting the times by slot puts s beside t. The slots of the last times are a
    permutation, for each is emptied once more.
    """
    size = min(size, num_examples)
    bits = max(num_examples - 1, 1).bit_length()  # of a time
    key_slots, key_last = jax.random.split(key)
    shape = (num_examples - size,)
    slots = jax.random.randint(key_slots, shape, 0, size, jnp.int32)
    last = jnp.argsort(jax.random.bits(key_last, (size,), jnp.uint32))
    slots = jnp.concatenate([slots, last.astype(jnp.int32)])
    times = jnp.arange(num_examples, dtype=jnp.uint32)
    words = jnp.sort(slots.astype(jnp.uint32) << bits | times)
    time = (words & (2**bits - 1)).astype(jnp.int32)
    slot = (words >> bits).astype(jnp.int32)
    again = jnp.concatenate([jnp.zeros(1, bool), slot[1:] == slot[:-1]])
    rows = jnp.where(again, size + jnp.roll(time, 1), slot)
    return jnp.zeros_like(rows).at[time].set(rows, unique_indices=True)


def rows_through_25(
    key: Key[Array, ""], num_examples: int, shape: tuple[int, int]
) -> Int[Array, "steps batch"]:
    """The beginning of an order through a buffer of 25 examples."""
    return buffered(key, num_examples, 25)[: shape[0] * shape[1]].reshape(shape)
