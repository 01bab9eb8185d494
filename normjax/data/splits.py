"""Splits drawn from a key, with scalings fitted on them, and the order of examples.

Inputs stay as they are stored; `scale_inputs` is applied to a batch, on the device.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int, Key, Shaped

from normjax.data import shuffle_buffer
from normjax.data.cache import DataSet
from normjax.data.scalings import SCALINGS
from normjax.errors import InputError, pick
from normjax.types import Data, Scaling, Split

SUBSETS = ("shared", "per_seed")  # who trains on the same part of the training rows


def split(
    data_set: DataSet,
    key: Key[Array, ""],
    *,
    num_train: int = 0,
    num_validation: int,
    num_test: int = 0,
    scaling: str = "unit",
    subset: str = "shared",
) -> Data:
    """Training and validation rows from a permutation by `key`; test rows as stored.

    The first `num_validation` rows of the permutation are the validation split and
    the next `num_train` the training split, so a smaller training split is the
    beginning of a larger one and is validated on the same examples.

    A validation split that the set has is taken as it is, and `num_validation` then
    counts nothing.

    Args:
        data_set: what `sources.data_set` returned.
        key: decides the permutation, and nothing else does.
        num_train: examples to train on; 0 takes all that remain.
        num_validation: examples to hold out of the training rows, at least 1.
        num_test: examples to test on, the first as stored; 0 takes all.
        scaling: a row of `scalings.SCALINGS`; it is fitted on the training split alone.
        subset: "shared", or "per_seed": then the training split is the pool of all
            rows that validation leaves, on which the scaling is fitted too, and each
            seed draws its own `num_train` of them by `own_rows`.

    Raises:
        InputError: the sizes do not fit the set, a label is out of range, or the
            scaling is unknown or undefined for this set.
    """
    fit = pick("scaling", SCALINGS, scaling)
    available = len(data_set.y_train)
    brought = _brought(data_set)
    num_held_out = 0 if brought else num_validation
    _check_sizes(available, num_train, num_held_out, brought=bool(brought))
    if not 0 <= num_test <= len(data_set.y_test):
        most = len(data_set.y_test)
        rule = f"must be from 0, which takes all, to the {most} test examples"
        raise InputError("num_test", num_test, rule, "set {field}=0")
    _check_labels("y_train", data_set.y_train, data_set.num_classes)
    _check_labels("y_test", data_set.y_test, data_set.num_classes)
    pick("subset", dict.fromkeys(SUBSETS), subset)
    part = num_train and subset == "shared"
    stop = num_held_out + num_train if part else available
    rows = np.asarray(_shuffled_rows(key, available))
    drawn, rows = rows[:num_held_out], rows[num_held_out:stop]
    inputs, shape = data_set.x_train[rows], data_set.x_train.shape[1:]
    wide = lambda a: np.broadcast_to(np.asarray(a, np.float32), shape)
    fitted = Scaling(*(_on_device(wide(a)) for a in fit(inputs)))
    tested = slice(num_test or None)
    place = lambda x, y: Split(_on_device(x), _on_device(y))
    train = place(inputs, data_set.y_train[rows])
    held_out = brought or (data_set.x_train[drawn], data_set.y_train[drawn])
    validation = place(*held_out)
    test = place(data_set.x_test[tested], data_set.y_test[tested])
    return Data(train, validation, test, fitted)


@functools.partial(jax.jit, static_argnames="number")
def _shuffled_rows(key: Key[Array, ""], number: int) -> Int[Array, " number"]:
    return jax.random.permutation(key, number)


def _on_device(x: np.ndarray) -> Array:
    """A copy of `x`; `jnp.asarray` would compile a program for each shape."""
    return jax.device_put(x, may_alias=False)


def num_own(sizes: Mapping[str, Any], data: Data) -> int:
    """Examples that each seed draws for itself; 0 if all train on the whole split.

    `sizes` has the arguments `num_train` and `subset` of `split`.
    """
    part = 0 < sizes["num_train"] < len(data.train.labels)
    return sizes["num_train"] if part and sizes["subset"] == "per_seed" else 0


def own_rows(
    key: Key[Array, ""], num_examples: int, num_train: int
) -> Int[Array, " train"]:
    """Rows of a seed's own training examples: `num_train` different ones."""
    return _permutation(key, num_examples, (1, num_train))[0]


def scale_inputs(x: Shaped[Array, "..."], scaling: Scaling) -> Float32[Array, "..."]:
    """`(x - shift) * scale` in float32 for inputs `[..., *shape]`; jit and vmap it."""
    shape = scaling.shift.shape
    if x.shape[max(x.ndim - len(shape), 0) :] != shape:
        rule = f"must end in {shape}, the shape that the scaling was fitted to"
        remedy = "reshape the inputs after scaling, not before"
        raise InputError("inputs.shape", x.shape, rule, remedy)
    row = (1,) * (x.ndim - len(shape)) + shape
    shift, scale = scaling.shift.reshape(row), scaling.scale.reshape(row)
    return (x.astype(jnp.float32) - shift) * scale


def order(
    key: Key[Array, ""],
    num_examples: int,
    *,
    batch_size: int,
    num_steps: int,
    sampling: str,
) -> Int[Array, "steps batch"]:
    """Rows of the training split that each step of an epoch trains on.

    `permutation`: the first `num_steps * batch_size` rows of one permutation, so no
    example comes twice. `replacement`: every entry uniform and independent.
    `shuffle_buffer_25`: as permutation, but in nearly the order of the split, through
    a buffer as tf.data has it (`shuffle_buffer`).

    The key is that of this epoch and lane; everything else is static.

    Raises:
        InputError: an order without repeats is too short for that many steps.
    """
    draw = pick("sampling", SAMPLINGS, sampling)
    for name, value in (("batch_size", batch_size), ("num_steps", num_steps)):
        if value < 1:
            raise InputError(name, value, "must be at least 1", f"set {name}=1")
    if sampling != "replacement" and num_steps * batch_size > num_examples:
        fit = num_examples // batch_size
        steps = f"the steps of batch_size={batch_size} that fit the {num_examples}"
        rule = f"must be at most {fit}, {steps} training examples"
        how = "take fewer steps or smaller batches, or set sampling='replacement'"
        raise InputError("num_steps", num_steps, rule, how)
    return draw(key, num_examples, (num_steps, batch_size))


def _brought(data_set: DataSet) -> tuple[np.ndarray, np.ndarray] | None:
    """The validation split that the set has, if it has one."""
    x, y = data_set.x_validation, data_set.y_validation
    if x is None or y is None:
        return None
    _check_labels("y_validation", y, data_set.num_classes)
    return x, y


def _check_sizes(
    available: int, num_train: int, num_validation: int, *, brought: bool
) -> None:
    """Raises an InputError unless both splits fit into the training examples."""
    rest = available - num_validation
    tenth = f"set {{field}}={max(available // 10, 1)}"
    if num_validation < 1 and not brought:
        rule = "must be at least 1"
        raise InputError("num_validation", num_validation, rule, tenth)
    if rest < 1:
        rule = f"must leave some of the {available} training examples to train on"
        raise InputError("num_validation", num_validation, rule, tenth)
    if num_train < 0:
        rule = "must be at least 0, which takes all that remain"
        raise InputError("num_train", num_train, rule, "set {field}=0")
    if num_train > rest:
        left = f"as num_validation={num_validation} leaves of the {available}"
        rule = f"must be at most {rest}, {left} training examples"
        raise InputError("num_train", num_train, rule, f"set {{field}}={rest}")


def _check_labels(field: str, labels: np.ndarray, num_classes: int) -> None:
    """Raises an InputError unless all labels are classes."""
    low, high = labels.min(), labels.max()
    if low < 0 or high >= num_classes:
        rule = f"must hold labels from 0 to {num_classes - 1}, not {low} to {high}"
        raise InputError(field, ..., rule, "renumber them or raise num_classes")


def _permutation(key, num_examples: int, shape: tuple[int, int]):
    """The beginning of a uniform permutation: positions sorted by 32 random bits.

    The sort goes by digits, the least first, and each digit is packed with the
    position into one word: XLA sorts bare words four times faster than pairs, and
    `jax.random.permutation` takes 22 ms for 50,000 rows where this takes 6 (CPU).
    """
    bits = max(num_examples - 1, 1).bit_length()  # of a position
    position = jnp.arange(num_examples, dtype=jnp.uint32)
    rows = position
    for digit_key in jax.random.split(key, -(-32 // (32 - bits))):
        digit = jax.random.bits(digit_key, (num_examples,), jnp.uint32) >> bits << bits
        rows = rows[jnp.sort(digit | position) & (2**bits - 1)]
    return rows[: shape[0] * shape[1]].astype(jnp.int32).reshape(shape)


def _replacement(key, num_examples: int, shape: tuple[int, int]):
    """Uniform and independent rows."""
    return jax.random.randint(key, shape, 0, num_examples, jnp.int32)


# Maps a name to (key, number of examples, shape -> rows).
SAMPLINGS: dict[str, Callable[..., Int[Array, "steps batch"]]] = {
    "permutation": _permutation,
    "replacement": _replacement,
    "shuffle_buffer_25": shuffle_buffer.rows_through_25,
}
