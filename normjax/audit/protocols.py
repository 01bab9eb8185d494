"""What the sources did, for the protocols of configs.

One source builds a new SGD, Adam or RMSprop object for every gradient step. A config
keeps this as data: `protocols={"as_published": {"optimizer": {"adam":
"normjax.audit.protocols.memoryless_keras_adam"}}}`.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float32, Int32, PyTree, ScalarLike

from normjax.optimizers import recipes
from normjax.types import Optimizer, ScalarOrSchedule


class KerasAdamState(NamedTuple):
    """State of `keras_adam`: averages that are not yet corrected."""

    count: Int32[Array, ""]  # type: ignore[assignment]  # steps taken
    mu: PyTree[Float32[Array, "..."]]  # average of g
    nu: PyTree[Float32[Array, "..."]]  # average of g^2


def _scale_by_keras_adam(
    b1: ScalarLike, b2: ScalarLike, eps: ScalarLike
) -> optax.GradientTransformation:
    """`mu / (1 - b1^t) * sqrt(1 - b2^t) / (sqrt(nu) + eps)`."""

    def init(params):
        mu, nu = (optax.tree.zeros_like(params) for _ in range(2))
        return KerasAdamState(jnp.zeros((), jnp.int32), mu, nu)

    def update(updates, state, params=None):
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        count = optax.safe_increment(state.count)
        steps = count.astype(jnp.float32)
        size = jnp.sqrt(1 - b2**steps) / (1 - b1**steps)
        steps_of = lambda m, v: m * size / (jnp.sqrt(v) + eps)
        return jax.tree.map(steps_of, mu, nu), KerasAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def keras_adam(
    *,
    learning_rate: ScalarOrSchedule = 1e-3,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
) -> optax.GradientTransformation:
    """`step = -learning_rate * mu / (1 - b1^t) * sqrt(1 - b2^t) / (sqrt(nu) + eps)`.

    Adam as Keras has it: eps is added to a root that is not corrected, so it counts
    `1 / sqrt(1 - b2^t)` times as much as in `recipes.adam`, 32 times at the first step.
    Adam's paper has this form too, for speed, with another eps. The default eps is the
    source's and that of `recipes.adam`; Keras' own is 1e-7.

    References:
        Kingma and Ba, 2015. Adam: A Method for Stochastic Optimization.
        arXiv:1412.6980, the end of section 2.
    """
    rate = optax.scale_by_learning_rate(learning_rate)
    return optax.chain(_scale_by_keras_adam(b1, b2, eps), rate)


def memoryless(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """Discards the state of `tx` before each step, so that every step is its first.

    An optimizer that is built anew for each gradient step behaves like this: Adam
    becomes g / (|g| + eps), which is sign descent, Keras' Adam becomes
    g / (|g| + eps / sqrt(1 - b2)), and SGD with momentum becomes plain SGD. No state is
    kept, so the probe of the third moment reports nan.

    Returns:
        A transformation with an empty state; its `update` requires `params`.
    """

    def init(params):
        del params
        return optax.EmptyState()

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("memoryless: update() needs `params`, got None.")
        updates, _ = tx.update(updates, tx.init(params), params)
        return updates, state

    return optax.GradientTransformation(init, update)


def _memoryless(recipe: Optimizer) -> Optimizer:
    """The recipe, with the same settings, of the optimizer without memory.

    If its learning rate is a schedule, that one goes on: the steps are counted outside.
    """

    @functools.wraps(recipe)
    def without_memory(**settings):
        rate = settings.get("learning_rate")
        if not callable(rate):
            return memoryless(recipe(**settings))
        at_rate_1 = memoryless(recipe(**settings | {"learning_rate": 1.0}))
        return optax.chain(at_rate_1, optax.scale_by_schedule(rate))

    without_memory.__name__ = f"memoryless_{recipe.__name__}"
    return without_memory


memoryless_sgd = _memoryless(recipes.sgd)
memoryless_adam = _memoryless(recipes.adam)
memoryless_keras_adam = _memoryless(keras_adam)
memoryless_rmsprop = _memoryless(recipes.rmsprop)
