"""Convolution by XLA, with gradients for which XLA has fast code on a CPU.

Automatic differentiation of `lax.conv_general_dilated` is slow on a CPU in two places:
the gradient with respect to the kernel becomes a convolution of a layout that XLA has
no fast code for (6 of 260 GFLOP/s on two cores), and kernels that are vmapped become a
grouped convolution.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from normjax.ops import windows
from normjax.ops.conv_bilinear import differentiable
from normjax.ops.conv_implementations import by_lax
from normjax.ops.conv_neighbours import by_neighbours
from normjax.ops.windows import Window

STRIP_BYTES = 2**19  # of patches; the second cache of a core has 1 or 2 MiB
IMAGE_BYTES = 3 * 2**18  # of the operands of a product over whole images


def by_images(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "rows columns inputs features"],
    window: Window,
) -> Float[Array, "batch new_height new_width features"]:
    """`lax`, but the kernel's gradient is a sum of matrix products.

    On a CPU few channels are computed for some neighbours at once (`by_neighbours`).
    """
    return _convolve(x, kernel, window)


def kernel_gradient(
    x: Float[Array, "batch height width inputs"],
    dy: Float[Array, "batch new_height new_width features"],
    kernel_shape: Sequence[int],
    window: Window,
) -> Float[Array, "rows columns inputs features"]:
    """A sum of matrix products, accumulated in at least float32.

    Over whole images where the operands of one fit in the cache of a core, and nothing
    is left out between the windows; else over strips of images.
    """
    rows, columns, inputs, features = kernel_shape
    numbers = x.shape[1] * dy.shape[2] * (columns * inputs + rows * features)
    if window.strides == (1, 1) and numbers * x.dtype.itemsize <= IMAGE_BYTES:
        return _over_images(x, dy, kernel_shape, window)
    return _over_strips(x, dy, kernel_shape, window)


def _over_images(x, dy, kernel_shape: Sequence[int], window: Window):
    """The window's columns are patches of `x`, its rows are patches of `dy`.

        sum over pixels of dy[u - d0 r + p0, j, f] x[u, j + d1 c - p1, k]

    One product has all r, f as rows and all c, k as columns, or the other way around: a
    3 by 3 kernel copies three numbers for each of `x` and each of `dy` in place of nine
    for each of `x`.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    rows, columns, inputs, features = kernel_shape
    num_images, height, width = x.shape[0], x.shape[1], dy.shape[2]
    size = height * width * (columns * inputs + rows * features) * x.dtype.itemsize
    together = windows.divisor(num_images, IMAGE_BYTES // size)
    wider = (
        rows * features > columns * inputs
    )  # a product is faster if its rows are few
    down, right = window.dilation
    reach = down * (rows - 1)
    around = reach - window.padding[0][0], reach - window.padding[0][1]

    def add(total, i):
        take = lambda a: lax.dynamic_slice_in_dim(a, i * together, together)
        part = windows.pad(take(x), ((0, 0), window.padding[1]))
        part = _beside(part, 2, [c * right for c in range(columns)], width)
        met = windows.pad(take(dy), (around, (0, 0)))
        met = _beside(met, 1, [reach - r * down for r in range(rows)], height)
        product = (part.T, met) if wider else (met.T, part)
        return total + jnp.matmul(*product, preferred_element_type=wide), None

    zero = jnp.zeros_like(dy, wide, shape=(rows * features, columns * inputs))
    zero = zero.T if wider else zero
    total, _ = lax.scan(add, zero, jnp.arange(num_images // together))
    total = (total.T if wider else total).reshape(rows, features, columns, inputs)
    return total.transpose(0, 2, 3, 1).astype(x.dtype)


def _beside(x, axis: int, starts: Sequence[int], size: int):
    """A row for each pixel: the numbers at these places along an axis, side by side."""
    parts = [lax.slice_in_dim(x, start, start + size, axis=axis) for start in starts]
    return jnp.concatenate(parts, axis=-1).reshape(-1, len(parts) * x.shape[-1])


def _over_strips(x, dy, kernel_shape: Sequence[int], window: Window):
    """`(sum over strips of dy^T patches)^T`; a strip is some rows of one image.

    There are two products with this result. The one whose rows are the features takes
    three quarters of the time of the other on a CPU.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    num_images, height, width, features = dy.shape
    num_columns = math.prod(kernel_shape[:3])
    fitting = STRIP_BYTES // (width * num_columns * x.dtype.itemsize)
    rows = windows.divisor(height, fitting)  # of dy in a strip
    strips = height // rows
    x = windows.pad(x, window.padding)
    inner = window._replace(padding=((0, 0), (0, 0)))
    reach = (rows - 1) * window.strides[0] + (kernel_shape[0] - 1) * window.dilation[0]

    def add(total, i):
        image, row = i // strips, i % strips * rows
        start = (image, row * window.strides[0], 0, 0)
        strip = lax.dynamic_slice(x, start, (1, reach + 1, *x.shape[2:]))
        columns = windows.patches(strip, kernel_shape[:2], inner)
        part = lax.dynamic_slice(dy, (image, row, 0, 0), (1, rows, width, features))
        columns, part = columns.reshape(-1, num_columns), part.reshape(-1, features)
        return total + jnp.matmul(part.T, columns, preferred_element_type=wide), None

    zero = jnp.zeros_like(dy, wide, shape=(features, num_columns))
    total, _ = lax.scan(add, zero, jnp.arange(num_images * strips))
    return total.T.reshape(kernel_shape).astype(x.dtype)


def input_gradient(kernel, dy, x_shape: Sequence[int], window: Window):
    """A convolution of `dy` with the kernel turned around.

    The kernel is copied into another layout, which is cheap: for the layout in the
    derivative of lax, XLA has no fast code for a CPU.
    """
    reach = [d * (k - 1) for k, d in zip(kernel.shape, window.dilation)]
    before = [r - low for r, (low, _) in zip(reach, window.padding)]
    last = [(m - 1) * s for m, s in zip(dy.shape[1:3], window.strides)]
    after = [n + r - z - 1 - b for n, r, z, b in zip(x_shape[1:3], reach, last, before)]
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    rows, columns = zip(before, after)
    whole = Window((1, 1), (rows, columns), window.dilation)
    if window.strides == (1, 1):
        return by_neighbours(dy, turned, whole)
    return by_lax(dy, turned, whole, input_dilation=window.strides)


_convolve = differentiable(by_neighbours, input_gradient, kernel_gradient)
