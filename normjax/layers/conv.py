"""Convolution as a flax module."""

import numbers
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from normjax.errors import InputError
from normjax.layers.common import Initializer
from normjax.ops import conv, windows

__all__ = ["Conv"]

Whole = int | np.integer


class Linear(nn.Module, kw_only=True):
    """Base of the layers with a kernel and a bias."""

    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros
    kernel_norm: Callable[..., nn.Module] | None = None  # as `Norm.kernel`
    dtype: DTypeLike | None = None  # of the result; None promotes inputs and parameters
    param_dtype: DTypeLike = float  # float is float32, under x64 float64

    def operands(self, x: Array, shape: tuple[int, ...], train: bool, mask=None):
        """Inputs, kernel behind its mask and its norm, and bias."""
        dtype = jnp.result_type(self.param_dtype)
        kernel = self.param("kernel", self.kernel_init, shape, dtype)
        if mask is not None:
            if mask.shape != shape:
                rule = f"must be that of the kernel, {shape}"
                raise InputError("mask.shape", mask.shape, rule, "broadcast it")
            kernel = kernel * mask
        if self.kernel_norm is not None:
            kernel = self.kernel_norm(name="kernel_norm")(kernel, train=train)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, shape[-1:], dtype)
        return promote_dtype(x, kernel, bias, dtype=self.dtype)


class Conv(Linear):
    """Convolution of images or sequences; takes the place of `flax.linen.Conv`.

    Attributes, collections and results are those of flax for kernels of one and of two
    dimensions (without precision), and there are `kernel_norm` and `implementation`;
    see `normjax.ops.conv`.

        >>> import jax, jax.numpy as jnp, normjax.layers as layers
        >>> layer = layers.Conv(4, (3, 3), strides=2)
        >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 8, 8, 2)))[0].shape
        (1, 4, 4, 4)

    Collections:
        params: `kernel` [*kernel_size, inputs / feature_group_count, features], `bias`
            [features] (zeros), and what the kernel's norm keeps, under `kernel_norm`.
    """

    features: int
    kernel_size: Whole | Sequence[Whole]
    strides: Whole | Sequence[Whole] | None = 1
    padding: windows.Padding = "SAME"  # or "VALID", "CIRCULAR", "REFLECT", "CAUSAL"
    input_dilation: Whole | Sequence[Whole] | None = 1
    kernel_dilation: Whole | Sequence[Whole] | None = 1
    feature_group_count: int = 1
    mask: Shaped[Array, "..."] | None = None  # times the kernel
    implementation: str = "auto"  # a row of conv.IMPLEMENTATIONS

    @nn.compact
    def __call__(
        self, x: Float[Array, "*shape"], *, train: bool = False
    ) -> Float[Array, "*new_shape"]:
        size, lead = self._each(self.kernel_size), x.shape[: -1 - self._rank()]
        shape = (*size, x.shape[-1] // self.feature_group_count, self.features)
        x, kernel, bias = self.operands(x, shape, train, self.mask)
        each = (self.strides, self.kernel_dilation, self.input_dilation)
        strides, dilation, between = (self._each(n or 1) for n in each)
        images = x.reshape(-1, *x.shape[len(lead) :])
        images, padding = self._padded(images, size, dilation)
        if len(size) == 1:  # a sequence is an image of one row
            images, kernel = images[:, None], kernel[None]
            strides, dilation, between = (1, *strides), (1, *dilation), (1, *between)
            padding = padding if isinstance(padding, str) else [0, *padding]
        y = conv.conv(
            images,
            kernel,
            bias,
            strides=strides,
            padding=padding,
            kernel_dilation=dilation,
            input_dilation=between,
            feature_group_count=self.feature_group_count,
            implementation=self.implementation_for(x.shape[-1], x.dtype),
        )
        return y.reshape(*lead, *y.shape[3 - len(size) :])

    def implementation_for(self, num_inputs: int, dtype: DTypeLike) -> str:
        """The implementation that convolves inputs of so many features, in a dtype.

        Each call of the layer calls it, with the dtype that the convolution is in.
        """
        dense = {self.feature_group_count, *self._each(self.input_dilation or 1)} == {1}
        shape = (*self._each(self.kernel_size), num_inputs, self.features)
        steps = {"strides": self._each(self.strides or 1)}
        steps["kernel_dilation"] = self._each(self.kernel_dilation or 1)
        return conv.choose(
            shape, self.implementation, dtype=dtype, dense=dense, **steps
        )

    def _rank(self) -> int:
        """The number of dimensions of the kernel, 1 or 2."""
        size = self.kernel_size
        rank = len(size) if isinstance(size, Sequence) else 1
        if rank > 2:
            rule = "must have one or two dimensions"
            raise InputError("kernel_size", size, rule, "use flax.linen.Conv for more")
        return rank

    def _each(self, value: Any) -> tuple[int, ...]:
        """One number for each dimension of the kernel."""
        each = (value,) * self._rank() if np.ndim(value) == 0 else value
        return tuple(int(n) if isinstance(n, numbers.Integral) else n for n in each)

    def _padded(
        self, x: Array, size: tuple[int, ...], dilation: tuple[int, ...]
    ) -> tuple[Array, Any]:
        """Pads with what is not zeros; returns the padding that is left to do."""
        if isinstance(self.padding, numbers.Integral):
            return x, self._each(self.padding)
        if not isinstance(self.padding, str):
            return x, self.padding
        name = self.padding.upper()
        widths = [(k - 1) * d + 1 for k, d in zip(size, dilation)]
        modes = {"CIRCULAR": "wrap", "REFLECT": "reflect"}
        if name in modes:
            around = [(0, 0), *(((k - 1) // 2, k // 2) for k in widths), (0, 0)]
            return jnp.pad(x, around, mode=modes[name]), "VALID"
        if name == "CAUSAL" and len(size) == 1:
            return jnp.pad(x, [(0, 0), (widths[0] - 1, 0), (0, 0)]), "VALID"
        return x, name
