"""How a window moves over images, and what it sees: for convolution and pooling."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from normjax.errors import InputError, pick

Images = Float[Array, "batch height width features"]
Pair = tuple[int, int]
Padding = str | int | Sequence[int | Sequence[int]]

NAMED = dict.fromkeys(("SAME", "SAME_LOWER", "VALID"))  # paddings that lax works out


class Window(NamedTuple):
    """Of height and width; hashable."""

    strides: Pair
    padding: tuple[Pair, Pair]  # before and after
    dilation: Pair  # 1 is dense


def pair(value: int | Sequence[int]) -> Pair:
    """A number for both dimensions, or one for each."""
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or not all(isinstance(n, int) and n >= 1 for n in both):
        raise InputError(
            f"{value!r}: must be a whole number of at least 1, or two, for strides,"
            " dilations and windows of images; use 1."
        )
    return both


def window_of(
    x_shape: Sequence[int],
    size: Sequence[int],
    *,
    strides: int | Sequence[int],
    padding: Padding,
    dilation: int | Sequence[int] = 1,
    input_dilation: Pair = (1, 1),
) -> Window:
    """The window in full; flax' ways to write a padding are understood.

    Raises:
        InputError: the padding is none, or the window is larger than the padded images.
    """
    strides, dilation = pair(strides), pair(dilation)
    seen = [(k - 1) * d + 1 for k, d in zip(size, dilation)]
    pixels = [(n - 1) * i + 1 for n, i in zip(x_shape[1:3], input_dilation)]
    if isinstance(padding, str):
        pick("padding", NAMED, padding)
        edges = lax.padtype_to_pads(pixels, seen, strides, padding)
    else:
        each = (padding, padding) if isinstance(padding, int) else padding
        edges = [(p, p) if isinstance(p, int) else p for p in each]
        if [len(p) for p in edges] != [2, 2]:
            raise InputError(
                f"padding={padding!r}: must be a name, a number, or a number or a pair"
                f" for each dimension; use one of {', '.join(NAMED)}."
            )
    edges = tuple(tuple(map(int, p)) for p in edges)
    if any(n + sum(p) < w for n, p, w in zip(pixels, edges, seen)):
        raise InputError(
            f"window of {seen[0]} by {seen[1]} pixels: must fit into images of"
            f" {pixels[0]} by {pixels[1]} with padding {edges}; use padding='SAME'."
        )
    return Window(strides, edges, dilation)


def patches(
    x: Images, size: Sequence[int], window: Window
) -> Float[Array, "batch new_height new_width columns"]:
    """`[batch, height, width, rows * columns * inputs]`, ordered as a kernel is."""
    x = padded(x, window.padding)
    parts = [
        strided(x, (r * window.dilation[0], c * window.dilation[1]), size, window)
        for r in range(size[0])
        for c in range(size[1])
    ]
    return jnp.concatenate(parts, axis=-1)


def strided(
    x: Images, start: Pair, size: Sequence[int], window: Window
) -> Float[Array, "batch new_height new_width features"]:
    """What one entry of the kernel sees of the padded images."""
    counts = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[1:3], size, window.strides, window.dilation)
    ]
    stop = [a + s * (n - 1) + 1 for a, s, n in zip(start, window.strides, counts)]
    return lax.slice(
        x,
        (0, *start, 0),
        (x.shape[0], *stop, x.shape[3]),
        (1, *window.strides, 1),
    )


def padded(
    x: Images, edges: Sequence[Pair], value: float = 0.0, between: Pair = (0, 0)
) -> Float[Array, "batch new_height new_width features"]:
    """`value` before, after and between the rows and columns; less than 0 crops."""
    config = [(0, 0, 0), *((*p, b) for p, b in zip(edges, between)), (0, 0, 0)]
    return lax.pad(x, jnp.full((), value, x.dtype), config)
