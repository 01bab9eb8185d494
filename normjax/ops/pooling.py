"""Max-pooling that is fast to differentiate on a CPU, under vmap and scan too."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from normjax.ops import windows
from normjax.ops.windows import Pair, Window


def max_pool(
    x: Float[Array, "batch height width features"],
    *,
    window: int | Sequence[int] = 2,
    strides: int | Sequence[int] | None = None,
    padding: windows.Padding = "VALID",
) -> Float[Array, "batch new_height new_width features"]:
    """`y[b, i, j, f] = max over r, c of x[b, s0 i + r, s1 j + c, f]`, strides s.

    It equals `flax.linen.max_pool` and `lax.reduce_window`, whose gradient is much
    slower on a CPU (docs/performance.md), but for the default strides, which are the
    window's as in PyTorch. The gradient goes to the first of equal numbers. Both modes
    of differentiation work. The maximum of a window with a NaN is NaN, and the gradient
    goes to its first NaN.

        >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1)).ravel().tolist()
        [5.0, 7.0, 13.0, 15.0]
    """
    size = windows.pair("window", window)
    moves = windows.window_of(
        x.shape, size, strides=size if strides is None else strides, padding=padding
    )
    x = windows.pad(x, moves.padding, -jnp.inf)
    return _largest(x, size, moves._replace(padding=((0, 0), (0, 0))))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _largest(x: Array, size: Pair, moves: Window) -> Array:
    return _largest_and_entry(x, size, moves)[0]


@_largest.defjvp
def _tangent(size, moves, primals, tangents):
    """The tangent of the entry that is the largest.

    Where windows touch and do not overlap, it is picked from the images seen as
    `[batch, height, rows, width, columns, features]`: the gradient is then written at
    once, in place of one image for each entry of a window.
    """
    (x,), (along,) = primals, tangents
    y, entry = _largest_and_entry(x, size, moves)
    if moves.strides == size:
        rows, columns = size
        _, height, width, _ = y.shape
        along = along[:, : height * rows, : width * columns]
        along = along.reshape(-1, height, rows, width, columns, y.shape[-1])
        place = np.arange(rows * columns, dtype=entry.dtype)
        place = place.reshape(1, 1, rows, 1, columns, 1)
        chosen = entry[:, :, None, :, None] == place
        return y, jnp.sum(jnp.where(chosen, along, 0), (2, 4), dtype=along.dtype)
    picked = [
        jnp.where(entry == n, windows.entries(along, start, size, moves), 0)
        for n, start in enumerate(windows.starts(size, moves))
    ]
    return y, functools.reduce(jnp.add, picked)


def _largest_and_entry(
    x: Array, size: Pair, moves: Window
) -> tuple[Array, Int[Array, "batch new_height new_width features"]]:
    """The maximum of each window, and the number of its first entry that has it.

    The entries are taken from the last to the first. NaN is larger than all others.
    """
    *others, best = (
        windows.entries(x, at, size, moves) for at in windows.starts(size, moves)
    )
    last = len(others)
    entry = jnp.full_like(best, last, np.min_scalar_type(-last - 1))
    for n, other in zip(reversed(range(last)), reversed(others)):
        as_large = (other >= best) | jnp.isnan(other)
        best, entry = jnp.where(as_large, other, best), jnp.where(as_large, n, entry)
    return best, entry
