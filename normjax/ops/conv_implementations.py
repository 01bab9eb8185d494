"""The ways to convolve, each with the derivatives that are fast on some device.

Automatic differentiation of `lax.conv_general_dilated` is slow on a CPU in two places:
the gradient with respect to the kernel becomes a convolution of a layout that XLA has
no fast code for (6 of 260 GFLOP/s on two cores), and kernels that are vmapped become a
grouped convolution. docs/performance.md compares what the ways cost.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float

from normjax.ops import windows
from normjax.ops.windows import Pair, Window

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
STRIP_BYTES = 2**19  # of patches; the second cache of a core has 1 or 2 MiB


def by_lax(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "rows columns per_group features"],
    window: Window,
    input_dilation: Pair = (1, 1),
    groups: int = 1,
) -> Float[Array, "batch new_height new_width features"]:
    """`lax.conv_general_dilated` and its own gradients."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window.strides,
        window.padding,
        lhs_dilation=input_dilation,
        rhs_dilation=window.dilation,
        dimension_numbers=DIMENSIONS,
        feature_group_count=groups,
    )


def by_patches(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "rows columns inputs features"],
    window: Window,
) -> Float[Array, "batch new_height new_width features"]:
    """`y = patches(x) kernel`, one product with the matrix of patches (im2col).

    The patches are taken in at least float32, although they are multiplied in the dtype
    of `x`: so their gradients are summed in float32, as `lax` does.

    References:
        Chellapilla, Puri and Simard, 2006. High Performance Convolutional Neural
        Networks for Document Processing.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    columns = windows.patches(wide, kernel.shape[:2], window).astype(x.dtype)
    rows = columns.reshape(-1, columns.shape[-1])  # XLA is slow with more dimensions
    y = jnp.matmul(rows, kernel.reshape(-1, kernel.shape[-1]))
    return y.reshape(*columns.shape[:-1], kernel.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def by_images(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "rows columns inputs features"],
    window: Window,
) -> Float[Array, "batch new_height new_width features"]:
    """`lax`, but the kernel's gradient is a sum of matrix products, strip by strip.

    A strip is some rows of one image, so that its patches fit in the cache of a core.
    Vmapped lanes are computed one after the other. Reverse mode only, of any order:
    value and gradients are the three ways to contract a bilinear form, and the
    gradients of each are the other two.
    """
    return _one_by_one(lambda x, kernel: by_lax(x, kernel, window))(x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _for_input(kernel, dy, x_shape, window):
    gradient = lambda kernel, dy: _input_gradient(kernel, dy, x_shape, window)
    return _one_by_one(gradient)(kernel, dy)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _for_kernel(x, dy, kernel_shape, window):
    gradient = lambda x, dy: _kernel_gradient(x, dy, kernel_shape, window)
    return _one_by_one(gradient)(x, dy)


def _bilinear(function: jax.custom_vjp, gradients: Callable) -> None:
    """Gives `function(a, b, *static)` the VJP `gradients(a, b, ct, *static)`."""

    def forward(a, b, *static):
        return function(a, b, *static), (a, b)

    def backward(*args):
        *static, (a, b), cotangent = args
        return gradients(a, b, cotangent, *static)

    function.defvjp(forward, backward)


_bilinear(
    by_images,
    lambda x, kernel, dy, window: (
        _for_input(kernel, dy, x.shape, window),
        _for_kernel(x, dy, kernel.shape, window),
    ),
)
_bilinear(
    _for_input,
    lambda kernel, dy, x, _, window: (
        _for_kernel(x, dy, kernel.shape, window),
        by_images(x, kernel, window),
    ),
)
_bilinear(
    _for_kernel,
    lambda x, dy, kernel, _, window: (
        _for_input(kernel, dy, x.shape, window),
        by_images(x, kernel, window),
    ),
)


def _kernel_gradient(x, dy, kernel_shape: Sequence[int], window: Window):
    """`(sum over strips of dy^T patches)^T`, accumulated in at least float32.

    There are two products with this result. The one whose rows are the features takes
    three quarters of the time of the other on a CPU.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    num_images, height, width, features = dy.shape
    num_columns = math.prod(kernel_shape[:3])
    fitting = STRIP_BYTES // (width * num_columns * x.dtype.itemsize)
    fits = [h for h in range(1, height + 1) if height % h == 0 and h <= fitting]
    rows = max(fits, default=1)  # of dy in a strip
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


def _input_gradient(kernel, dy, x_shape: Sequence[int], window: Window):
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
    return by_lax(dy, turned, whole, input_dilation=window.strides)


def _one_by_one(function: Callable) -> Callable:
    """The function, which computes the lanes of a vmap one after the other."""
    single = custom_vmap(function)

    @single.def_vmap
    def many(num_lanes, batched, *args):
        del num_lanes
        lanes = [a for a, b in zip(args, batched) if b]

        def one(lane):
            rest = iter(lane)
            return single(*(next(rest) if b else a for a, b in zip(args, batched)))

        return lax.map(one, lanes), True

    return single


# Name -> (x, kernel, Window -> y).
IMPLEMENTATIONS: dict[str, Callable] = {
    "images": by_images,
    "lax": by_lax,
    "patches": by_patches,
}
