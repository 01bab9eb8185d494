"""Convolution of few channels, in a shape for which XLA has fast code on a CPU.

XLA leaves a convolution of at most 16 inputs and features to Eigen (20 to 70 GFLOP/s on
one core), and others to a faster library (YNNPACK, 80 to 145).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from normjax.ops import windows
from normjax.ops.conv_implementations import by_lax
from normjax.ops.windows import Window

FEW_CHANNELS = 16  # inputs and features, up to which XLA takes the slower code


def by_neighbours(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "rows columns inputs features"],
    window: Window,
) -> Float[Array, "batch new_height new_width features"]:
    """`by_lax`, with some neighbours in a row as the features of one window.

    The window moves by as many columns as there are neighbours and is wider, and the
    kernel of each neighbour lies in it one column further to the right, between zeros:

        y[b, i, n j + m, f] = sum over r, c, k of
            x[b, i + r, n j + c, k] wide[r, c, k, m, f]
        wide[r, c, k, m, f] = kernel[r, c - m, k, f], or 0

    A reshape, which moves nothing, makes pixels of the features. If the width is no
    multiple of n, the last pixels are left out. A nan or an infinity in `x` reaches up
    to n - 1 pixels further than in `by_lax`, where it is multiplied by a zero.
    """
    count = num_neighbours(x.shape, kernel.shape, window)
    if count == 1:
        return by_lax(x, kernel, window)
    rows, (before, after) = window.padding
    width = x.shape[2] + before + after - kernel.shape[1] + 1
    columns = before, after + -width % count
    moves = [((m, count - 1 - m), (0, 0)) for m in range(count)]
    kernels = [windows.pad(kernel, move) for move in moves]
    moving = Window((1, count), (rows, columns), (1, 1))
    y = by_lax(x, jnp.concatenate(kernels, axis=-1), moving)
    return y.reshape(*y.shape[:2], -1, kernel.shape[-1])[:, :, :width]


def num_neighbours(
    x_shape: Sequence[int], kernel_shape: Sequence[int], window: Window
) -> int:
    """How many neighbours are computed together; 1 is `by_lax`.

    n neighbours have n times the features, and n - 1 columns of zeros, which take as
    long as others. So the best number is the least that makes more than 16 features:
    3x3x16 to 16 on 12 by 12 pixels takes 0.62 of the time by pairs, 0.78 by threes, 1.0
    by fours. It pays while no more columns are zeros than not, and while the window is
    no wider than the images: three columns of them took 15 times as long by pairs.
    """
    _, columns, inputs, features = kernel_shape
    few = max(inputs, features) <= FEW_CHANNELS
    dense = (window.strides, window.dilation) == ((1, 1), (1, 1))
    if not (few and dense and columns > 1 and jax.default_backend() == "cpu"):
        return 1
    zeros = FEW_CHANNELS // features  # columns; one less than the neighbours
    return 1 + zeros if zeros <= columns <= x_shape[2] - zeros else 1
