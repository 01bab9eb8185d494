"""Convolution that stays fast under vmap and scan.

All rows of IMPLEMENTATIONS have the same result; docs/performance.md compares what
they cost. Nothing here owns a parameter.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from normjax import data_parallel
from normjax.errors import InputError, pick
from normjax.ops import windows
from normjax.ops.conv_images import by_images
from normjax.ops.conv_implementations import by_lax, by_patches, by_planes
from normjax.ops.conv_winograd import by_winograd, suits
from normjax.ops.windows import Pair, Window

# Numbers that an output sees, up to which a matrix of them costs less than it saves.
FEW_COLUMNS = 64
# Inputs and features, from which the products that tiles save cost more than the sums.
MANY_CHANNELS = 64


def conv(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "rows columns per_group features"],
    bias: Float[Array, " features"] | None = None,
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
    `bias[f]` is added if there is one.

        >>> x = jnp.arange(9.0).reshape(1, 3, 3, 1)
        >>> conv(x, jnp.ones((2, 2, 1, 1)), padding="VALID").ravel().tolist()
        [8.0, 12.0, 20.0, 24.0]

    Args:
        x: images, channels last.
        kernel: `per_group` is `inputs / feature_group_count`.
        bias: `None` means 0.
        strides: of both dimensions, or of each.
        padding: "SAME", "SAME_LOWER", "VALID" (or in lower case), a number, or a
            number or a pair of them for each dimension.
        kernel_dilation: 1 is dense.
        input_dilation: 1 is dense; others only by `lax`.
        feature_group_count: 1 is dense; others only by `lax`.
        implementation: a row of IMPLEMENTATIONS, or "auto"; see `choose`.
            "images" and "winograd", which auto takes on a CPU, have no forward mode
            (`jax.jvp`, `jax.jacfwd`, forward over reverse); the others have.

    Raises:
        InputError: the implementation is unknown or cannot do what is asked, or the
            kernel does not fit into the padded images.
    """
    between = windows.pair("input_dilation", input_dilation)
    dense = (between, feature_group_count) == ((1, 1), 1)
    if implementation != "auto":
        pick("implementation", IMPLEMENTATIONS, implementation)
    if not dense and implementation not in ("auto", "lax"):
        rule = "needs input_dilation=1 and feature_group_count=1,"
        rule += f" got {between} and {feature_group_count}"
        raise InputError("implementation", implementation, rule, "use 'lax'")
    window = windows.window_of(
        x.shape,
        kernel.shape[:2],
        strides=strides,
        padding=padding,
        dilation=kernel_dilation,
        input_dilation=between,
    )
    x, window, between = _without_odd_padding(x, kernel.shape[:2], window, between)
    if not dense or 0 in (*x.shape, *kernel.shape):
        run = lambda x, k: by_lax(x, k, window, between, feature_group_count)
        return _plus(data_parallel.by_device(run, x, kernel), bias)
    steps = {"strides": window.strides, "kernel_dilation": window.dilation}
    chosen = choose(kernel.shape, implementation, dtype=x.dtype, **steps)
    run = functools.partial(_dense, window=window, implementation=chosen)
    return data_parallel.by_device(run, x, kernel, bias)


def _dense(x, kernel, bias, *, window: Window, implementation: str):
    """The convolution by a row of IMPLEMENTATIONS."""
    # Under `shard_map` either may differ between devices: then both do from here on,
    # and JAX sums the gradient of the one that they share.
    zero_of = lambda a, dtype: jnp.zeros_like(a, dtype, shape=())
    x, kernel = x + zero_of(kernel, x.dtype), kernel + zero_of(x, kernel.dtype)
    if implementation == "planes":
        return by_planes(x, kernel, window, bias)
    return _plus(IMPLEMENTATIONS[implementation](x, kernel, window), bias)


def _plus(y, bias):
    return y if bias is None else y + bias.reshape(1, 1, 1, -1)


def choose(
    kernel_shape: Sequence[int],
    implementation: str = "auto",
    *,
    dtype: DTypeLike,
    dense: bool = True,
    strides: int | Sequence[int] = 1,
    kernel_dilation: int | Sequence[int] = 1,
) -> str:
    """The implementation that runs for a kernel `[*size, inputs, features]`.

    That is the one which is named, but `images` in place of `winograd` where this does
    not suit (`conv_winograd.suits`). For "auto" it depends on the device.

    On a CPU `planes` where an output sees few numbers, as in the first layer: their
    matrix is small. `winograd` where it suits and channels are many, `images` for
    the others. On a GPU or TPU always `patches`, because vmapped kernels are one
    batched matrix product there; this was not measured.
    """
    *size, inputs, features = kernel_shape
    steps = {"strides": strides, "kernel_dilation": kernel_dilation}
    tiles = dense and suits(kernel_shape, dtype, **steps)
    if implementation != "auto":
        falls_back = implementation == "winograd" and dense and not tiles
        return "images" if falls_back else implementation
    if not dense:
        return "lax"
    if jax.default_backend() != "cpu":
        return "patches"
    if math.prod(kernel_shape[:-1]) <= FEW_COLUMNS:
        return "planes" if math.prod(size) > 1 else "patches"
    return "winograd" if tiles and min(inputs, features) >= MANY_CHANNELS else "images"


def _without_odd_padding(x, size: Sequence[int], window: Window, between: Pair):
    """Pads the images where the padding is below 0 or wider than the kernel reaches.

    XLA's fast code for a CPU ignores padding below 0, and padding wider than the kernel
    reaches is padding below 0 in the gradient with respect to the images.
    """
    rows, columns = (
        (min(max(p[0], 0), (k - 1) * d), min(max(p[1], 0), (k - 1) * d))
        for p, k, d in zip(window.padding, size, window.dilation)
    )
    edges = rows, columns
    if edges == window.padding:
        return x, window, between
    rest = [(p[0] - e[0], p[1] - e[1]) for p, e in zip(window.padding, edges)]
    x = windows.pad(x, rest, between=(between[0] - 1, between[1] - 1))
    return x, window._replace(padding=edges), (1, 1)


# Name -> (x, kernel, Window -> y).
IMPLEMENTATIONS: dict[str, Callable] = {
    "images": by_images,
    "lax": by_lax,
    "patches": by_patches,
    "planes": by_planes,
    "winograd": by_winograd,
}
