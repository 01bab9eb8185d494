"""The ways to convolve that JAX differentiates by itself, in both modes.

docs/performance.md compares what they and those of `conv_images` and `conv_winograd`
cost.
"""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from normjax.ops import windows
from normjax.ops.windows import Pair, Window

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


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


def by_planes(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "rows columns inputs features"],
    window: Window,
    bias: Float[Array, " features"] | None = None,
) -> Float[Array, "batch new_height new_width features"]:
    """`y = planes(x)^T kernel`: `patches` with each column of its matrix contiguous.

    A column of the matrix of patches is a shifted copy of one channel, a plane. To
    write planes one after the other is several times faster than to write them beside
    each other where there are few channels. The bias is the row of a plane of ones, so
    that neither it nor its gradient passes over `y`.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    channels = wide.transpose(3, 0, 1, 2).reshape(-1, *x.shape[1:3], 1)
    channels = windows.pad(channels, window.padding)
    size, inner = kernel.shape[:2], window._replace(padding=((0, 0), (0, 0)))
    starts = windows.starts(size, window)
    parts = [windows.entries(channels, start, size, inner) for start in starts]
    shape = (x.shape[0], *parts[0].shape[1:3], kernel.shape[-1])
    rows = kernel.reshape(-1, kernel.shape[-1])
    if bias is not None:
        parts.append(jnp.ones_like(parts[0], shape=(*shape[:3], 1)))
        rows = jnp.concatenate([rows, bias[None]])
    planes = jnp.concatenate(parts).reshape(-1, math.prod(shape[:3]))
    dtype = jnp.promote_types(x.dtype, rows.dtype)
    operands = planes.astype(dtype), rows.astype(dtype)
    y = lax.dot_general(*operands, (((0,), (0,)), ((), ())))
    return y.reshape(shape)
