"""The norms of normjax and of flax.linen as functions that `benchmarks.norms` times.

A side is a norm in training with its parameters: `call(variables, x) -> (y, stats)`.
Those of flax start from the variables of ours, and eps is 1e-5 in all.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from normjax import layers
from normjax.layers.common import num_groups

EPS = 1e-5
KERNELS = ("weight", "weight_standardization", "spectral")  # norms of kernels
Variables = Mapping[str, Any]


class Side(NamedTuple):
    """A norm in JAX."""

    call: Callable[[Variables, jax.Array], tuple[jax.Array, Variables]]
    variables: Variables  # at most `params` and `batch_stats`


def norm_names() -> tuple[str, ...]:
    """The rows of `NORMS` that compute something."""
    return tuple(name for name in layers.NORMS if name != "none")


def is_defined(name: str, shape: tuple[int, ...]) -> bool:
    """Whether the norm is one of arrays of this shape: kernels here are matrices."""
    if name in KERNELS:
        return len(shape) == 2
    return name != "instance" or len(shape) > 2


def ours(name: str, shape: tuple[int, ...]) -> Side:
    """The layer of `NORMS`, with its own defaults."""
    row = layers.NORMS[name]
    layer = row.kernel() if name in KERNELS else row.layer()
    init = jax.jit(lambda x: layer.init(jax.random.key(0), x, train=True))
    variables = init(jnp.ones(shape))

    def call(variables, x):
        return layer.apply(variables, x, train=True, mutable=["batch_stats"])

    return Side(call, variables)


# ---- flax ----------------------------------------------------------------------------

FLAX: dict[str, Callable[..., nn.Module]] = {  # called with the number of channels
    "batch": lambda _, **form: nn.BatchNorm(momentum=0.9, **form),
    "frozen": lambda _, **form: nn.BatchNorm(use_running_average=True, **form),
    "layer": lambda _, **form: nn.LayerNorm(epsilon=EPS, **form),
    "rms": lambda _, **form: nn.RMSNorm(epsilon=EPS, **form),
    "layer_example": lambda _, **form: nn.GroupNorm(1, epsilon=EPS, **form),
    "group": lambda channels, **form: nn.GroupNorm(
        num_groups(channels), epsilon=EPS, **form
    ),
    "instance": lambda _, **form: nn.InstanceNorm(epsilon=EPS, **form),
}
CENTERED = ("batch", "layer", "layer_example", "group", "instance")
FLAX_KERNELS: dict[str, Callable[..., nn.Module]] = {
    "weight": nn.WeightNorm,
    "spectral": nn.SpectralNorm,
}


class Kernel(nn.Module):
    """What flax's norms of kernels wrap here: its output is its kernel."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self):
        return self.param("kernel", nn.initializers.ones, self.shape)


def flax_side(name: str, shape: tuple[int, ...], **form: bool) -> Side | None:
    """The norm of flax.linen of that kind, or None; its form is flax' default.

    `use_fast_variance=False` is the form in two passes of those in `CENTERED`.
    """
    if name in FLAX_KERNELS:
        return _flax_kernel(name, shape)
    if name not in FLAX:
        return None
    layer = FLAX[name](shape[-1], **form)
    settings = {"use_running_average": False} if name == "batch" else {}

    def call(variables, x):
        return layer.apply(variables, x, mutable=["batch_stats"], **settings)

    return Side(call, ours(name, shape).variables)


def _flax_kernel(name: str, shape: tuple[int, ...]) -> Side:
    layer = FLAX_KERNELS[name](Kernel(shape))
    settings = {"update_stats": True} if name == "spectral" else {}
    init = jax.jit(functools.partial(layer.init, **settings))
    variables = init(jax.random.key(0))
    params = dict(variables["params"])
    params.pop("layer_instance")  # which x is
    if name == "weight":
        params = {key: ours(name, shape).variables["params"]["scale"] for key in params}

    def call(variables, x):
        params = variables["params"] | {"layer_instance": {"kernel": x}}
        whole = {**variables, "params": params}
        return layer.apply(whole, mutable=["batch_stats"], **settings)

    return Side(call, {**variables, "params": params})


# ---- loops ---------------------------------------------------------------------------


def forward_loop(side: Side, steps: int) -> Callable[[Any], Any]:
    """`carry -> carry` of so many forward passes; the carry starts as `start`'s."""

    def one(carry, _):
        variables, x, _ = carry
        y, stats = side.call(variables, x)
        return ({**variables, **stats}, y, None), None

    return lambda carry: jax.lax.scan(one, carry, length=steps)[0]


def gradient_loop(side: Side, steps: int) -> Callable[[Any], Any]:
    """The same of forward and backward passes: the next dy is dx.

    The gradients of the parameters are added up, so that each is computed.
    """

    def one(carry, _):
        variables, x, (dy, total) = carry
        params = variables.get("params", {})

        def output(params, x):
            return side.call({**variables, "params": params}, x)

        y, vjp, stats = jax.vjp(output, params, x, has_aux=True)
        gradients, dx = vjp(dy)
        total = jax.tree.map(jnp.add, total, gradients)
        return ({**variables, **stats}, y, (dx, total)), None

    return lambda carry: jax.lax.scan(one, carry, length=steps)[0]


def first_dy(x: jax.Array) -> jax.Array:
    """The examples in reverse: a dy that is x itself has next to no gradient."""
    return jnp.flip(x, 0)


def start(side: Side, x: jax.Array, *, backward: bool) -> tuple:
    """A carry of the loops, of copies: they may be given away."""
    variables = jax.tree.map(jnp.copy, dict(side.variables))
    zeros = jax.tree.map(jnp.zeros_like, variables.get("params", {}))
    return variables, jnp.copy(x), (first_dy(x), zeros) if backward else None
