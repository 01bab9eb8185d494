"""Max-pooling that is fast to differentiate on a CPU, under vmap and scan too."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from normjax.ops import windows


def max_pool(
    x: Float[Array, "batch height width features"],
    *,
    window: int | Sequence[int] = 2,
    strides: int | Sequence[int] | None = None,
    padding: windows.Padding = "VALID",
) -> Float[Array, "batch new_height new_width features"]:
    """`y[b, i, j, f] = max over r, c of x[b, s0 i + r, s1 j + c, f]`, strides s.

    As `flax.linen.max_pool` and `lax.reduce_window`, whose gradient is 14 times slower
    on a CPU, but for the default strides, which are the window's as in PyTorch. The
    gradient goes to the first of equal numbers; both modes of differentiation work. NaN
    if one is in the window. There is one implementation, for on a CPU no other was as
    fast (docs/performance.md).
    """
    size = windows.pair(window)
    moves = windows.window_of(
        x.shape, size, strides=size if strides is None else strides, padding=padding
    )
    x = windows.padded(x, moves.padding, -jnp.inf)
    best, *others = (
        windows.strided(x, (r, c), size, moves)
        for r in range(size[0])
        for c in range(size[1])
    )
    for other in others:
        best = jnp.where((other > best) | jnp.isnan(other), other, best)
    return best
