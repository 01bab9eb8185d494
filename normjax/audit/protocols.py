"""What the sources did, for the protocols of configs.

One source builds a new SGD, Adam or RMSprop object for every gradient step. A config
keeps this as data: `protocols={"as_published": {"optimizer": {"adam":
"normjax.audit.protocols.memoryless_adam"}}}`.
"""

import functools

import optax

from normjax.optimizers import recipes
from normjax.types import Optimizer


def memoryless(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """Discards the state of `tx` before each step, so that every step is its first.

    An optimizer that is built anew for each gradient step behaves like this: Adam
    becomes g / (|g| + eps), which is sign descent, and SGD with momentum becomes plain
    SGD. No state is kept, so the probe of the third moment reports nan.

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
    """The recipe, with the same settings, of the optimizer without memory."""

    @functools.wraps(recipe)
    def without_memory(**settings):
        return memoryless(recipe(**settings))

    without_memory.__name__ = f"memoryless_{recipe.__name__}"
    return without_memory


memoryless_sgd = _memoryless(recipes.sgd)
memoryless_adam = _memoryless(recipes.adam)
memoryless_rmsprop = _memoryless(recipes.rmsprop)
