"""What most norms have: scale and bias, running mean and variance, two backwards."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from normjax.ops import custom_vjp, norms, validate

BACKWARD = {"autodiff": norms, "analytic": custom_vjp}  # ops by who derives them


def scale_and_bias(module: nn.Module, x: Array) -> tuple[Array, Array]:
    """`scale` (ones) and `bias` (zeros) of a module, each [features].

    Raises:
        InputError: if those it was initialized with are of another length.
    """
    for name in ("scale", "bias"):
        if module.has_variable("params", name):
            given = {name: module.get_variable("params", name)}
            validate.refuse_vectors(x, **given)
    features = x.shape[-1:]
    return (
        module.param("scale", nn.initializers.ones, features),
        module.param("bias", nn.initializers.zeros, features),
    )


def running_moments(module: nn.Module, x: Array) -> tuple[nn.Variable, nn.Variable]:
    """The variables `mean` (zeros) and `var` (ones) of a module, each [features]."""
    return (
        module.variable("batch_stats", "mean", jnp.zeros, x.shape[-1:]),
        module.variable("batch_stats", "var", jnp.ones, x.shape[-1:]),
    )
