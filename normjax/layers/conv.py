"""Convolution as a flax module."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from normjax.errors import InputError
from normjax.ops import conv, windows


class Conv(nn.Module):
    """Convolution of images or sequences; takes the place of `flax.linen.Conv`.

    Attributes, collections and results as in flax for kernels of one and of two
    dimensions (without dtype and precision), with `kernel_norm` and `implementation`
    besides; see `normjax.ops.conv`.

    Collections:
        params: `kernel` [*kernel_size, inputs / feature_group_count, features], `bias`
            [features] (zeros), and what the kernel's norm holds, under `kernel_norm`.
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] | None = 1
    padding: windows.Padding = "SAME"  # or "VALID", "CIRCULAR", "REFLECT", "CAUSAL"
    input_dilation: int | Sequence[int] | None = 1
    kernel_dilation: int | Sequence[int] | None = 1
    feature_group_count: int = 1
    use_bias: bool = True
    mask: Shaped[Array, "..."] | None = None  # times the kernel
    kernel_init: Callable = nn.initializers.lecun_normal()
    bias_init: Callable = nn.initializers.zeros
    kernel_norm: Callable[..., nn.Module] | None = None  # as `Norm.kernel`
    implementation: str = "auto"  # a row of conv.IMPLEMENTATIONS

    @nn.compact
    def __call__(
        self, x: Float[Array, "*shape"], *, train: bool = False
    ) -> Float[Array, "*new_shape"]:
        size = self._each(self.kernel_size)
        kernel = self._kernel(size, x.shape[-1], train)
        dtype = jnp.promote_types(x.dtype, kernel.dtype)
        images = x.astype(dtype).reshape(-1, *x.shape[-1 - len(size) :])
        moves = [self.strides, self.kernel_dilation, self.input_dilation]
        moves = [self._each(m or 1) for m in moves]
        images, padding = self._padded(images, size, moves[1])
        if len(size) == 1:  # a sequence is an image of one row
            images, kernel = images[:, None], kernel[None]
            moves = [(1, *m) for m in moves]
            padding = padding if isinstance(padding, str) else [0, *padding]
        y = conv.conv(
            images,
            kernel.astype(dtype),
            strides=moves[0],
            padding=padding,
            kernel_dilation=moves[1],
            input_dilation=moves[2],
            feature_group_count=self.feature_group_count,
            implementation=self.chosen(x.shape[-1]),
        )
        y = y.reshape(*x.shape[: -1 - len(size)], *y.shape[3 - len(size) :])
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,))
            y = y + bias.reshape((1,) * (y.ndim - 1) + bias.shape)
        return y

    def _kernel(self, size: tuple[int, ...], num_inputs: int, train: bool) -> Array:
        """The kernel behind its mask and its norm."""
        shape = (*size, num_inputs // self.feature_group_count, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.result_type(float))
        if self.mask is not None:
            if self.mask.shape != shape:
                raise InputError(
                    f"mask.shape={self.mask.shape}: must be that of the kernel,"
                    f" {shape}; broadcast it."
                )
            kernel = kernel * self.mask
        if self.kernel_norm is not None:
            kernel = self.kernel_norm(name="kernel_norm")(kernel, train=train)
        return kernel

    def chosen(self, num_inputs: int) -> str:
        """The implementation that convolves inputs of so many features."""
        if self.implementation != "auto":
            return self.implementation
        size = self._each(self.kernel_size)
        dense = self.feature_group_count == 1 and set(
            self._each(self.input_dilation or 1)
        ) == {1}
        return conv.choose((*size, num_inputs, self.features), dense=dense)

    def _each(self, value: int | Sequence[int]) -> tuple[int, ...]:
        """One number for each dimension of the kernel."""
        size = self.kernel_size
        size = (size,) if isinstance(size, int) else tuple(size)
        if len(size) > 2:
            raise InputError(
                f"kernel_size={size}: must have one or two dimensions;"
                " use flax.linen.Conv for more."
            )
        return (value,) * len(size) if isinstance(value, int) else tuple(value)

    def _padded(
        self, x: Array, size: tuple[int, ...], dilation: tuple[int, ...]
    ) -> tuple[Array, Any]:
        """Padding that is not zeros done beforehand, and what is left to do."""
        if isinstance(self.padding, int):
            return x, self._each(self.padding)
        if not isinstance(self.padding, str):
            return x, self.padding
        seen = [(k - 1) * d + 1 for k, d in zip(size, dilation)]
        modes = {"CIRCULAR": "wrap", "REFLECT": "reflect"}
        if self.padding in modes:
            around = [(0, 0), *(((k - 1) // 2, k // 2) for k in seen), (0, 0)]
            return jnp.pad(x, around, mode=modes[self.padding]), "VALID"
        if self.padding == "CAUSAL" and len(size) == 1:
            return jnp.pad(x, [(0, 0), (seen[0] - 1, 0), (0, 0)]), "VALID"
        return x, self.padding
