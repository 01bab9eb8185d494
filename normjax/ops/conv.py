"""Convolution that stays fast under vmap and scan.

Automatic differentiation of `lax.conv_general_dilated` is slow on a CPU in two places:
the gradient with respect to the kernel becomes a convolution of a layout that XLA has
no fast code for (6 of 260 GFLOP/s on two cores), and kernels that are vmapped become a
grouped convolution. Each row of IMPLEMENTATIONS has the same result; what they cost is
in docs/performance.md. Nothing here owns a parameter.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float

from normjax.errors import InputError, pick
from normjax.ops import windows
from normjax.ops.windows import Pair, Window

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# Columns of the matrix of patches, up to which it costs less than it saves.
FEW_COLUMNS = 64
STRIP_BYTES = 2**19  # of patches; the second cache of a core has 1 or 2 MiB


def conv(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "rows columns per_group features"],
    *,
    strides: int | Sequence[int] = 1,
    padding: windows.Padding = "SAME",
    kernel_dilation: int | Sequence[int] = 1,
    input_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
    implementation: str = "auto",
) -> Float[Array, "batch new_height new_width features"]:
    """`lax.conv_general_dilated(x, kernel, ...)`, images and kernels of two dimensions.

        y[b, i, j, f] = sum over r, c, k of
            x[b, s0 i + d0 r - p0, s1 j + d1 c - p1, k] kernel[r, c, k, f]

    with strides s, kernel dilation d and padding p; 0 outside of the image. It is a
    correlation, as everywhere in deep learning: the kernel is not turned around.

    Args:
        x: images, channels last.
        kernel: `per_group` is `inputs / feature_group_count`.
        strides: of both dimensions, or of each.
        padding: "SAME", "VALID", a number, or numbers or pairs of them per dimension.
        kernel_dilation: 1 is dense.
        input_dilation: 1 is dense; others only by `lax`.
        feature_group_count: 1 is dense; others only by `lax`.
        implementation: a row of IMPLEMENTATIONS, or "auto": that of `choose`. "images",
            which auto takes on a CPU, has no forward mode (`jax.jvp`, `jax.jacfwd`,
            forward over reverse); "lax" and "patches" have.

    Raises:
        InputError: the implementation is unknown or cannot do what is asked, or the
            kernel does not fit into the padded images.
    """
    between, groups = windows.pair(input_dilation), feature_group_count
    dense = (between, groups) == ((1, 1), 1)
    if implementation == "auto":
        implementation = choose(kernel.shape, dense=dense)
    apply = pick("convolution", IMPLEMENTATIONS, implementation)
    if not dense and implementation != "lax":
        raise InputError(
            f"convolution={implementation!r}: needs input_dilation=1 and"
            f" feature_group_count=1, got {between} and {groups}; use 'lax'."
        )
    window = windows.window_of(
        x.shape,
        kernel.shape[:2],
        strides=strides,
        padding=padding,
        dilation=kernel_dilation,
        input_dilation=between,
    )
    x, window, between = _prepared(x, kernel.shape[:2], window, between)
    if dense:
        return apply(x, kernel, window)
    return by_lax(x, kernel, window, between, groups)


def choose(kernel_shape: Sequence[int], *, dense: bool = True) -> str:
    """The implementation for a kernel `[*size, inputs, features]`.

    Few entries per output, as in the first layer: `patches`, whose matrix is small.
    Else, on a CPU, `images`. On a GPU or TPU `patches` throughout, because vmapped
    kernels are one batched matrix product there; this was not measured.
    """
    if not dense:
        return "lax"
    if jax.default_backend() == "cpu" and math.prod(kernel_shape[:-1]) > FEW_COLUMNS:
        return "images"
    return "patches"


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

    References:
        Chellapilla, Puri and Simard, 2006. High Performance Convolutional Neural
        Networks for Document Processing.
    """
    columns = windows.patches(x, kernel.shape[:2], window)
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
    Vmapped lanes are taken one after the other. Reverse mode only, of any order: value
    and gradients are the three ways to contract a bilinear form, and each has the other
    two for its own gradients.
    """
    return _one_by_one(lambda x, kernel: by_lax(x, kernel, window))(x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _of_input(kernel, dy, x_shape, window):
    gradient = lambda kernel, dy: _input_gradient(kernel, dy, x_shape, window)
    return _one_by_one(gradient)(kernel, dy)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _of_kernel(x, dy, kernel_shape, window):
    gradient = lambda x, dy: _kernel_gradient(x, dy, kernel_shape, window)
    return _one_by_one(gradient)(x, dy)


def _bilinear(function: Callable, gradients: Callable) -> None:
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
        _of_input(kernel, dy, x.shape, window),
        _of_kernel(x, dy, kernel.shape, window),
    ),
)
_bilinear(
    _of_input,
    lambda kernel, dy, x, _, window: (
        _of_kernel(x, dy, kernel.shape, window),
        by_images(x, kernel, window),
    ),
)
_bilinear(
    _of_kernel,
    lambda x, dy, kernel, _, window: (
        _of_input(kernel, dy, x.shape, window),
        by_images(x, kernel, window),
    ),
)


def _kernel_gradient(x, dy, kernel_shape: Sequence[int], window: Window):
    """`(sum over strips of dy^T patches)^T`, accumulated in at least float32.

    Of the two products with this result the one whose rows are the features takes
    three quarters of the time of the other on a CPU.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    num_images, height, width, features = dy.shape
    num_columns = math.prod(kernel_shape[:3])
    fitting = STRIP_BYTES // (width * num_columns * x.dtype.itemsize)
    fits = [h for h in range(1, height + 1) if height % h == 0 and h <= fitting]
    rows = max(fits, default=1)  # of dy in a strip
    strips = height // rows
    x = windows.padded(x, window.padding)
    inner = window._replace(padding=((0, 0), (0, 0)))
    seen = (rows - 1) * window.strides[0] + (kernel_shape[0] - 1) * window.dilation[0]

    def add(total, i):
        image, row = i // strips, i % strips * rows
        start = (image, row * window.strides[0], 0, 0)
        strip = lax.dynamic_slice(x, start, (1, seen + 1, *x.shape[2:]))
        columns = windows.patches(strip, kernel_shape[:2], inner)
        part = lax.dynamic_slice(dy, (image, row, 0, 0), (1, rows, width, features))
        columns, part = columns.reshape(-1, num_columns), part.reshape(-1, features)
        return total + jnp.matmul(part.T, columns, preferred_element_type=wide), None

    zero = jnp.zeros((features, num_columns), wide)
    total, _ = lax.scan(add, zero, jnp.arange(num_images * strips))
    return total.T.reshape(kernel_shape).astype(x.dtype)


def _input_gradient(kernel, dy, x_shape: Sequence[int], window: Window):
    """A convolution of `dy` with the kernel turned around.

    The kernel is laid out anew, which is cheap: in the layout that the derivative of
    lax leaves it in, XLA has no fast code for a CPU.
    """
    before = [
        d * (k - 1) - low
        for k, d, (low, _) in zip(kernel.shape, window.dilation, window.padding)
    ]
    after = [
        n + d * (k - 1) - (m - 1) * s - 1 - a
        for n, k, m, s, d, a in zip(
            x_shape[1:3],
            kernel.shape,
            dy.shape[1:3],
            window.strides,
            window.dilation,
            before,
        )
    ]
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    whole = Window((1, 1), tuple(zip(before, after)), window.dilation)
    return by_lax(dy, turned, whole, input_dilation=window.strides)


def _one_by_one(function: Callable) -> Callable:
    """The function itself; where vmap asks for many at once, one after the other."""
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


def _prepared(x, size: Sequence[int], window: Window, between: Pair):
    """Padding below 0, or wider than the kernel reaches, done beforehand.

    XLA's fast code for a CPU ignores padding below 0, and that is what padding wider
    than the kernel reaches is in the gradient with respect to the images.
    """
    edges = tuple(
        tuple(min(max(n, 0), (k - 1) * d) for n in p)
        for p, k, d in zip(window.padding, size, window.dilation)
    )
    if edges == window.padding:
        return x, window, between
    rest = [(p[0] - e[0], p[1] - e[1]) for p, e in zip(window.padding, edges)]
    x = windows.padded(x, rest, between=(between[0] - 1, between[1] - 1))
    return x, window._replace(padding=edges), (1, 1)


# Name -> (x, kernel, Window -> y).
IMPLEMENTATIONS = {"images": by_images, "lax": by_lax, "patches": by_patches}
