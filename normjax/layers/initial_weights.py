"""Initial kernels and biases of dense layers and convolutions, by name."""

import math
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax

from normjax.layers.common import Initializer

__all__ = ["INITS", "BiasInit", "Init", "fan_in_uniform_bias", "zero_bias"]

BiasInit = Callable[[int], Initializer]  # of the fan-in: the products in one feature


def zero_bias(fan_in: int) -> Initializer:
    """Zeros, whatever the fan-in."""
    del fan_in
    return nn.initializers.zeros


def fan_in_uniform_bias(fan_in: int) -> Initializer:
    """Uniform in [-1, 1) / sqrt(fan_in), as `torch.nn` has it for Linear and ConvNd.

    >>> key = jax.random.key(0)
    >>> bool(abs(fan_in_uniform_bias(25)(key, (9,))).max() <= 1 / 5)
    True
    """
    bound = 1 / math.sqrt(fan_in)

    def init(key, shape, dtype=float):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Init(NamedTuple):
    """How the parameters of dense layers and convolutions are drawn."""

    kernel: Initializer
    bias: BiasInit = zero_bias


# Maps a name to kernels and biases. `torch_default` is that of torch.nn, whose
# kaiming_uniform with a = sqrt(5) is uniform in +-1/sqrt(fan_in); biases likewise.
# `glorot_uniform` with biases of zero is the default of Keras.
INITS: dict[str, Init] = {
    "glorot_normal": Init(nn.initializers.glorot_normal()),
    "glorot_uniform": Init(nn.initializers.glorot_uniform()),
    "he_normal": Init(nn.initializers.he_normal()),
    "he_uniform": Init(nn.initializers.he_uniform()),
    "lecun_normal": Init(nn.initializers.lecun_normal()),
    "normal": Init(nn.initializers.normal(1.0)),  # N(0, 1), times init_scale
    "normal_tenth": Init(nn.initializers.normal(0.1)),  # N(0, 0.1^2)
    "orthogonal": Init(nn.initializers.orthogonal()),
    "torch_default": Init(
        nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
        fan_in_uniform_bias,
    ),
}
