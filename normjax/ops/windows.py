"""How a window moves over images, and what it covers: for convolution and pooling."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from normjax.errors import InputError, pick

Images = Float[Array, "batch height width features"]
Pair = tuple[int, int]
Padding = str | int | Sequence[int | Sequence[int]]

INTEGERS = (int, np.integer)
NAMED = dict.fromkeys(("SAME", "SAME_LOWER", "VALID"))  # paddings that lax works out


class Window(NamedTuple):
    """Of height and width; hashable."""

    strides: Pair
    padding: tuple[Pair, Pair]  # before and after
    dilation: Pair  # 1 is dense


def pair(field: str, value: int | Sequence[int]) -> Pair:
    """Returns a number for each of both dimensions.

    Raises:
        InputError: if `value` is neither a positive integer nor a pair of them.
    """
    both = (value, value) if isinstance(value, INTEGERS) else tuple(value)
    if len(both) != 2 or not all(isinstance(n, INTEGERS) and n >= 1 for n in both):
        rule = "must be a whole number of at least 1, or a pair of them"
        raise InputError(field, value, rule, f"set {field}=1")
    return int(both[0]), int(both[1])


def window_of(
    x_shape: Sequence[int],
    size: Sequence[int],
    *,
    strides: int | Sequence[int],
    padding: Padding,
    dilation: int | Sequence[int] = 1,
    input_dilation: Pair = (1, 1),
) -> Window:
    """Returns the window with its padding worked out, which may be written as in flax.

    Raises:
        InputError: if the padding has another form, or the window is larger than the
            padded images.
    """
    strides, dilation = pair("strides", strides), pair("kernel_dilation", dilation)
    reach = [(k - 1) * d + 1 for k, d in zip(size, dilation)]
    pixels = [(n - 1) * i + 1 for n, i in zip(x_shape[1:3], input_dilation)]
    if isinstance(padding, str):
        pick("padding", NAMED, padding.upper())
        edges = lax.padtype_to_pads(pixels, reach, strides, padding.upper())
    else:
        alike: Callable = lambda p: (p, p) if isinstance(p, INTEGERS) else p
        edges = [alike(p) for p in alike(padding)]
        if [len(p) for p in edges] != [2, 2]:
            rule = "must be a name, a number, or a number or a pair for each dimension"
            remedy = f"use one of {', '.join(NAMED)}"
            raise InputError("padding", padding, rule, remedy)
    rows, columns = ((int(before), int(after)) for before, after in edges)
    around = rows, columns
    if any(n + sum(p) < w for n, p, w in zip(pixels, around, reach)):
        field = f"window of {reach[0]} by {reach[1]} pixels"
        images = f"images of {pixels[0]} by {pixels[1]} with padding {around}"
        raise InputError(field, ..., f"must fit into {images}", "use padding='SAME'")
    return Window(strides, around, dilation)


def patches(
    x: Images, size: Sequence[int], window: Window
) -> Float[Array, "batch new_height new_width columns"]:
    """`[batch, height, width, rows * columns * inputs]`, ordered as a kernel is."""
    x = pad(x, window.padding)
    parts = [entries(x, start, size, window) for start in starts(size, window)]
    return jnp.concatenate(parts, axis=-1)


def starts(size: Sequence[int], window: Window) -> list[Pair]:
    """Where each entry of a window starts in the padded images, row by row."""
    down, right = window.dilation
    return [(r * down, c * right) for r in range(size[0]) for c in range(size[1])]


def entries(
    x: Images, start: Pair, size: Sequence[int], window: Window
) -> Float[Array, "batch new_height new_width features"]:
    """The pixels of the padded images that the entry at `start` meets."""
    counts = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[1:3], size, window.strides, window.dilation)
    ]
    stop = [a + s * (n - 1) + 1 for a, s, n in zip(start, window.strides, counts)]
    end = (x.shape[0], *stop, x.shape[3])
    return lax.slice(x, (0, *start, 0), end, (1, *window.strides, 1))


def pad(
    x: Images, edges: Sequence[Pair], value: float = 0.0, between: Pair = (0, 0)
) -> Float[Array, "batch new_height new_width features"]:
    """Pads before, after and between the rows and columns; less than 0 crops."""
    config = [(0, 0, 0), *((*p, b) for p, b in zip(edges, between)), (0, 0, 0)]
    return lax.pad(x, jnp.full((), value, x.dtype), config)


def divisor(number: int, most: int) -> int:
    """The greatest divisor of `number` that is at most `most`, but at least 1."""
    return max(d for d in range(1, number + 1) if number % d == 0 and d <= max(most, 1))
