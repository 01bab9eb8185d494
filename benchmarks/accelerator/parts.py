"""What a device can do at most, and how near to it norms and convolutions come.

A product of n^3 takes 2 n^3 operations. A copy reads and writes each byte once.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator.clock import call_seconds
from benchmarks.accelerator.ledger import Row
from benchmarks.accelerator.sizes import Size
from normjax import layers
from normjax.ops import windows
from normjax.ops.conv import IMPLEMENTATIONS

# name -> dtype of the factors, and jax's name of how those of float32 are multiplied
FACTORS = {
    "float32": (jnp.float32, "float32"),
    "tensorfloat32": (jnp.float32, "tensorfloat32"),
    "default": (jnp.float32, "default"),
    "bfloat16": (jnp.bfloat16, "default"),
}
NORMS = {  # ours -> flax' own
    "batch": lambda: nn.BatchNorm(use_running_average=False),
    "layer": nn.LayerNorm,
    "rms": nn.RMSNorm,
    "group": nn.GroupNorm,
}
STREAMS = 5  # of a norm at least: read x, write y; read x and dy, write dx
LANES = 10  # of a convolution whose kernels have lanes


def ceilings(size: Size) -> Iterator[Row]:
    """Products of square matrices by how they are multiplied, and a copy.

    The error tells how they are multiplied indeed: about 1e-6 in float32, 3e-4 with
    factors rounded to TensorFloat-32, 3e-3 to bfloat16.
    """
    shape = (size.matrix, size.matrix)
    factors = jax.random.normal(jax.random.key(0), (2, *shape))
    for name, (dtype, precision) in FACTORS.items():
        a, b = factors.astype(dtype)
        with jax.default_matmul_precision(precision):
            timing = call_seconds(jnp.matmul, a, b, size=size)
            error = product_error(factors, jax.jit(jnp.matmul)(a, b))
        rate = 2 * size.matrix**3 / timing["seconds"]
        row = {"products": name, "shape": shape, "teraflops": rate / 1e12}
        yield row | {"relative_error": error} | timing
    x = jnp.arange(size.copy_bytes // 4, dtype=jnp.float32)
    timing = call_seconds(lambda x: x + 1, x, size=size)
    rate = 2 * x.nbytes / timing["seconds"]
    row = {"products": "copy", "shape": x.shape, "gigabytes_per_second": rate / 1e9}
    yield row | timing


def product_error(factors: jax.Array, product: jax.Array, number: int = 64) -> float:
    """Euclidean norm of the error of a corner, relative to that of the corner."""
    corner = np.asarray(product[:number, :number], np.float64)
    a, b = factors[0, :number], factors[1, :, :number]
    exact = np.asarray(a, np.float64) @ np.asarray(b, np.float64)
    return float(np.linalg.norm(corner - exact) / np.linalg.norm(exact))


def norm_rows(size: Size, name: str) -> Iterator[Row]:
    """A norm forward and backward, ours and that of flax, on large activations."""
    for shape in size.norm_shapes:
        keys = jax.random.split(jax.random.key(0))
        x, dy = (jax.random.normal(key, shape) for key in keys)
        moved = STREAMS * x.nbytes / 1e9
        for peer, layer, options in (
            ("normjax", layers.NORMS[name].layer(), {"train": True}),
            ("flax", NORMS[name](), {}),
        ):
            init = jax.jit(functools.partial(layer.init, **options))
            variables = init(jax.random.key(1), x[:8])
            both = functools.partial(forward_backward, layer, options)
            timing = call_seconds(both, variables, x, dy, size=size)
            row = {"norm": name, "shape": shape, "library": peer}
            rate = moved / timing["seconds"]
            yield row | {"gigabytes_per_second": rate} | timing


def forward_backward(layer: nn.Module, options: dict, variables: Any, x, dy) -> tuple:
    """Output, gradients of parameters and input, and the new moving averages."""
    stats = {k: v for k, v in variables.items() if k != "params"}

    def apply(params, x):
        given = {"params": params, **stats}
        return layer.apply(given, x, **options, mutable=list(stats))

    y, backward, new = jax.vjp(apply, variables["params"], x, has_aux=True)
    return y, backward(dy), new


def channels_first(x, kernel, window) -> jax.Array:
    """`lax`, images `[batch, channels, height, width]`."""
    dimensions = ("NCHW", "HWIO", "NCHW")
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window.strides,
        window.padding,
        rhs_dilation=window.dilation,
        dimension_numbers=dimensions,
    )


CHANNELS_FIRST = "lax, channels first"
CONVOLUTIONS: dict[str, Callable] = IMPLEMENTATIONS | {CHANNELS_FIRST: channels_first}


def convolution_rows(size: Size, name: str) -> Iterator[Row]:
    """A 3x3 convolution and both gradients: one kernel, and lanes of kernels."""
    apply = CONVOLUTIONS[name]
    window = windows.window_of(
        size.images,
        (3, 3),
        strides=1,
        padding="SAME",
        dilation=1,
        input_dilation=(1, 1),
    )

    def both(x, kernel, dy):
        y, backward = jax.vjp(lambda x, kernel: apply(x, kernel, window), x, kernel)
        return y, backward(dy)

    def mapped(*lanes):
        return jax.lax.map(lambda lane: both(*lane), lanes)

    features = size.images[-1]
    operations = 3 * 2 * math.prod(size.images) * 9 * features
    mappings = {"one": both, "vmap": jax.vmap(both), "map": mapped}
    for lanes, mapping in ((1, "one"), (LANES, "vmap"), (LANES, "map")):
        axes = (lanes,) if mapping != "one" else ()
        keys = jax.random.split(jax.random.key(0), 3)
        x, dy = (jax.random.normal(key, (*axes, *size.images)) for key in keys[:2])
        if name == CHANNELS_FIRST:
            x, dy = jnp.moveaxis(x, -1, -3), jnp.moveaxis(dy, -1, -3)
        kernel = jax.random.normal(keys[2], (*axes, 3, 3, features, features))
        timing = call_seconds(mappings[mapping], x, kernel, dy, size=size)
        rate = lanes * operations / timing["seconds"]
        row = {"convolution": name, "lanes": lanes, "mapping": mapping}
        yield row | {"products": "default", "teraflops": rate / 1e12} | timing
