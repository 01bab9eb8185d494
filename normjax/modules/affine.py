"""The learned scale and bias that most norms end with."""

import flax.linen as nn
from jaxtyping import Array


def scale_and_bias(module: nn.Module, x: Array) -> tuple[Array, Array]:
    """`scale` (ones) and `bias` (zeros) of a module, each [features]."""
    features = x.shape[-1:]
    return (
        module.param("scale", nn.initializers.ones, features),
        module.param("bias", nn.initializers.zeros, features),
    )
