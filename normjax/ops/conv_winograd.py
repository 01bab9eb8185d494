"""Convolution by three by three kernels with 16 in place of 36 products.

Four pixels of the result that form a square are computed from the sixteen that they
see, by one product for each of sixteen sums of these pixels (Winograd's minimal
filtering, F(2x2, 3x3)):

    y = A^T [sum over inputs of (G k G^T) * (B^T x B)] A

with

    B^T = 1  0 -1  0     G = 1    0    0      A^T = 1  1  1  0
          0  1  1  0         1/2  1/2  1/2          0  1 -1  1
          0 -1  1  0         1/2 -1/2  1/2
          0 -1  0  1         0    0    1

It rounds a little more than a sum of products: an error is up to
`(inputs + 10) eps / 2` times the same expression of absolute values.

References:
    Lavin and Gray, 2016. Fast Algorithms for Convolutional Neural Networks.
    arXiv:1509.09308.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from normjax.ops import windows
from normjax.ops.conv_bilinear import differentiable
from normjax.ops.windows import Window

STRIP_BYTES = 2**20  # of both operands; the second cache of a core has 1 or 2 MiB

INPUT = lambda x: (x[0] - x[2], x[1] + x[2], x[2] - x[1], x[3] - x[1])  # B^T
KERNEL = lambda k: (k[0], (k[0] + k[1] + k[2]) / 2, (k[0] - k[1] + k[2]) / 2, k[2])
RESULT = lambda m: (m[0] + m[1] + m[2], m[1] - m[2] + m[3])  # A^T
FROM_RESULT = lambda y: (y[0], y[0] + y[1], y[0] - y[1], y[1])  # A
FROM_KERNEL = lambda u: (  # G^T
    u[0] + (u[1] + u[2]) / 2,
    (u[1] - u[2]) / 2,
    (u[1] + u[2]) / 2 + u[3],
)


class Tiling(NamedTuple):
    """How images are divided into strips, in tiles of two by two pixels."""

    height: int  # of an image
    width: int  # of an image
    rows: int  # of a strip
    images: int  # of a strip: one, or all their rows are in it
    num_strips: int


def by_winograd(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "rows columns inputs features"],
    window: Window,
) -> Float[Array, "batch new_height new_width features"]:
    """Tiles of two by two pixels for dense three by three kernels, else `images`.

    `conv.choose` takes `images` for the others, and in bfloat16: see `suits`.
    """
    return _by_tiles(x, kernel, window)


def suits(
    kernel_shape: Sequence[int],
    dtype: DTypeLike,
    *,
    strides: int | Sequence[int],
    kernel_dilation: int | Sequence[int],
) -> bool:
    """Whether there are tiles for a kernel `[*size, inputs, features]`.

    It must have three by three dense pixels, as must its windows, and `dtype` must be
    float32 or wider: in bfloat16 the sums of pixels and of weights would be rounded
    before the products.
    """
    steps = {*np.ravel(strides).tolist(), *np.ravel(kernel_dilation).tolist()}
    dense = tuple(kernel_shape[:-2]) == (3, 3) and steps == {1}
    return dense and jnp.dtype(dtype).itemsize >= 4


def tiling(result_shape: Sequence[int], num_channels: int, itemsize: int) -> Tiling:
    """A strip has as many whole images as fit, or rows of one far too large."""
    batch, height, width = result_shape[0], *(-(-n // 2) for n in result_shape[1:3])
    row = 16 * width * num_channels * itemsize
    if row * height <= 2 * STRIP_BYTES:
        images = windows.divisor(batch, STRIP_BYTES // (row * height))
        return Tiling(height, width, height, images, batch // images)
    rows = windows.divisor(height, STRIP_BYTES // row)
    return Tiling(height, width, rows, 1, batch * (height // rows))


def value(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "3 3 inputs features"],
    window: Window,
) -> Float[Array, "batch new_height new_width features"]:
    """The convolution, strip by strip."""
    inputs, features = kernel.shape[2:]
    height, width = (n + sum(p) - 2 for n, p in zip(x.shape[1:3], window.padding))
    tiles = tiling((len(x), height, width), inputs + features, x.dtype.itemsize)
    strip = _strips(x, tiles, before=[low for low, _ in window.padding], beyond=2)
    columns = jnp.stack(KERNEL(kernel.swapaxes(0, 1))).swapaxes(0, 1)
    factors = jnp.stack(KERNEL(columns)).reshape(16, inputs, features)

    def one(i):
        products = jnp.matmul(_sums(strip(i), INPUT, 4, tiles), factors)
        products = products.reshape(4, 4, -1, tiles.rows, tiles.width, features)
        pixels = [jnp.stack(RESULT(row), axis=3) for row in RESULT(products)]
        y = jnp.stack(pixels, axis=2)
        return y.reshape(-1, 2 * tiles.rows, 2 * tiles.width, features)

    y = lax.map(one, jnp.arange(tiles.num_strips))
    y = y.reshape(len(x), 2 * tiles.height, 2 * tiles.width, features)
    return y[:, :height, :width]


def input_gradient(kernel, dy, x_shape: Sequence[int], window: Window):
    """A convolution of `dy` with the kernel turned around."""
    del x_shape
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    rows, columns = ((2 - low, 2 - high) for low, high in window.padding)
    return value(dy, turned, window._replace(padding=(rows, columns)))


def kernel_gradient(x, dy, kernel_shape: Sequence[int], window: Window):
    """Sixteen products of sums of `x` and of `dy`, summed over the strips."""
    inputs, features = kernel_shape[2:]
    tiles = tiling(dy.shape, inputs + features, x.dtype.itemsize)
    seen = _strips(x, tiles, before=[low for low, _ in window.padding], beyond=2)
    met = _strips(dy, tiles, before=(0, 0), beyond=0)

    def add(total, i):
        sums = _sums(met(i), FROM_RESULT, 2, tiles), _sums(seen(i), INPUT, 4, tiles)
        return total + lax.dot_general(*sums, (((1,), (1,)), ((0,), (0,)))), None

    zero = jnp.zeros_like(x, shape=(16, features, inputs))
    total, _ = lax.scan(add, zero, jnp.arange(tiles.num_strips))
    total = total.swapaxes(1, 2).reshape(4, 4, inputs, features)
    rows = jnp.stack(FROM_KERNEL(total)).swapaxes(0, 1)
    return jnp.stack(FROM_KERNEL(rows)).swapaxes(0, 1)


def _strips(
    x: Array, tiles: Tiling, *, before: Sequence[int], beyond: int
) -> Callable[[Array], Array]:
    """Strip i of the images, padded to its tiles and the pixels `beyond` them.

    Each gets one more column than is needed, so that it is copied: XLA is slow to read
    the parts of a slice whose place is computed.
    """
    down, right = (
        (low, 2 * n + beyond - low - size)
        for low, n, size in zip(before, (tiles.height, tiles.width), x.shape[1:3])
    )
    right = right[0], right[1] + 1
    each = tiles.height // tiles.rows  # strips of an image
    height = x.shape[1]
    if each > 1:
        x, down = windows.pad(x, (down, (0, 0))), (0, 0)
        height = 2 * tiles.rows + beyond

    def strip(i):
        start = (i // each * tiles.images, i % each * 2 * tiles.rows, 0, 0)
        part = lax.dynamic_slice(x, start, (tiles.images, height, *x.shape[2:]))
        return windows.pad(part, (down, right))

    return strip


def _sums(x: Array, combine: Callable, size: int, tiles: Tiling) -> Array:
    """`[16, tiles, channels]`: what `combine` makes of `size` rows and columns."""
    second = lambda a, i, n: lax.slice_in_dim(a, i, i + 2 * n - 1, 2, axis=2)
    columns = jnp.stack(combine([second(x, i, tiles.width) for i in range(size)]))
    rows = [second(columns, i, tiles.rows) for i in range(size)]
    return jnp.stack(combine(rows)).reshape(16, -1, x.shape[-1])


_by_tiles = differentiable(value, input_gradient, kernel_gradient)
