"""The sources' own optimizers: each step is their first."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from normjax.audit import protocols
from normjax.optimizers import recipes, transforms

GRADIENTS = ([0.5, -2.0, 3.0], [1.0, 0.25, -4.0], [-0.125, 8.0, 0.5])


def steps(tx: optax.GradientTransformation):
    """The update of each step, and the state after the last one."""
    params = {"kernel": jnp.zeros(3)}
    state, updates = tx.init(params), []
    for gradient in GRADIENTS:
        update, state = tx.update({"kernel": jnp.asarray(gradient)}, state, params)
        updates.append(np.asarray(update["kernel"]))
    return updates, state


def test_memoryless_momentum_is_plain_gradient_descent():
    updates, state = steps(protocols.memoryless_sgd(learning_rate=0.5, momentum=0.9))
    np.testing.assert_array_equal(updates, -0.5 * np.float32(GRADIENTS))
    assert state == optax.EmptyState()


def test_memoryless_adam_is_sign_descent():
    """`g / (|g| + eps)`; the first nu_hat of optax is 5e-5 off, its root half that."""
    updates, _ = steps(protocols.memoryless_adam(learning_rate=1.0))
    np.testing.assert_allclose(updates, -np.sign(GRADIENTS), rtol=2.5e-5)


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
def test_each_step_is_the_first_of_its_recipe(name):
    forgetful = getattr(protocols, f"memoryless_{name}")
    updates, _ = steps(forgetful())
    for update, gradient in zip(updates, GRADIENTS):
        params = {"kernel": jnp.zeros(3)}
        tx = recipes.RECIPES[name]()
        first, _ = tx.update({"kernel": jnp.asarray(gradient)}, tx.init(params), params)
        np.testing.assert_array_equal(update, first["kernel"])


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
def test_a_memoryless_recipe_has_the_settings_of_its_recipe(name):
    """So its arms are paired with those of the recipe, setting by setting."""
    forgetful = getattr(protocols, f"memoryless_{name}")
    assert inspect.signature(forgetful) == inspect.signature(recipes.RECIPES[name])
    assert recipes.settings_of(forgetful) == recipes.settings_of(recipes.RECIPES[name])
    assert forgetful.__name__ == f"memoryless_{name}"


def test_memoryless_keeps_no_third_moment():
    tx = protocols.memoryless(transforms.scale_by_third_moment())
    _, state = steps(tx)
    probe = transforms.third_moment_probe(state)
    assert all(jnp.isnan(value) for value in jax.tree.leaves(probe))


def test_memoryless_needs_the_parameters():
    tx = protocols.memoryless(optax.trace(0.9))
    with pytest.raises(ValueError, match="memoryless") as error:
        tx.update({}, tx.init({}))
    assert str(error.value) == "memoryless: update() needs `params`, got None."
