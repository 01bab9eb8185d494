"""The sources' own optimizers: each step is their first."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from _numerics import UNIT32
from mutants import conventions

from configs import optimizers as optimizers_config
from normjax.audit import protocols
from normjax.checks import frameworks, optimizers
from normjax.errors import pick_or_import
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


def test_the_rate_of_what_is_memoryless_follows_its_schedule():
    """The source would have counted the steps outside of its optimizer."""
    rates = [0.5, 0.25, 0.125]
    updates, _ = steps(protocols.memoryless_sgd(learning_rate=lambda n: 0.5 / 2**n))
    expected = -np.float32(rates)[:, None] * np.float32(GRADIENTS)
    np.testing.assert_array_equal(updates, expected)


def test_memoryless_adam_of_keras_has_a_larger_eps():
    """`g / (|g| + eps / sqrt(1 - b2))`, to a dozen roundings if b2 is traced.

    1 - b2 is the same number in the average and in its correction then. Adam's own
    recipe is 31.6 times nearer to the sign.
    """
    gradients = np.float32([1e-7, -1e-6, 3e-5])

    @jax.jit
    def step(settings):
        tx = protocols.memoryless_keras_adam(**settings)
        return tx.update(jnp.asarray(gradients), tx.init(None), gradients)[0]

    settings = {"learning_rate": 0.5, "b1": 0.9, "b2": 0.999, "eps": 1e-8}
    ours = step({name: jnp.float32(x) for name, x in settings.items()})
    eps = 1e-8 / np.sqrt(1 - np.float64(np.float32(0.999)))
    expected = -0.5 * gradients / (np.abs(gradients) + eps)
    np.testing.assert_allclose(ours, expected, rtol=12 * UNIT32)
    own = protocols.memoryless_adam(learning_rate=0.5)
    nearer = own.update(gradients, own.init(None), gradients)[0]
    assert np.all(np.abs(nearer) > np.abs(expected))


@pytest.mark.skipif(not frameworks.is_installed("keras"), reason="needs keras")
@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
def test_the_protocol_is_the_source_that_builds_keras_anew_for_each_step(name):
    """At the source's numbers, whose eps of Adam is 1e-8. From 0, to 16 roundings.

    Of 1 - 0.999 in float32 Keras and optax each lose a thousand, of which the root
    leaves half; the other decays lose ten.
    """
    optimizers = frameworks.keras().optimizers
    make = {
        "sgd": lambda: optimizers.SGD(0.1, momentum=0.9),
        "adam": lambda: optimizers.Adam(1e-3, epsilon=1e-8),
        "rmsprop": lambda: optimizers.RMSprop(1e-3),
    }[name]
    built = optimizers_config.get_config()["protocols"]["as_published"]["optimizer"]
    recipe = pick_or_import("optimizer", {}, built[name])
    gradients = [np.float32(g) * scale for g, scale in zip(GRADIENTS, (1, 1e-4, 1e-7))]
    loss = 1000 if name == "adam" else 0
    for gradient in gradients:
        params = frameworks.keras().Variable(np.zeros(3, np.float32))
        make().apply([gradient], [params])
        tx = recipe()
        ours, _ = tx.update(gradient, tx.init(None), gradient)
        theirs = np.asarray(params.value)
        np.testing.assert_allclose(ours, theirs, rtol=(16 + loss) * UNIT32)


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
def test_a_memoryless_recipe_has_the_settings_of_its_recipe(name):
    """So its arms are paired with those of the recipe, setting by setting."""
    forgetful = getattr(protocols, f"memoryless_{name}")
    assert inspect.signature(forgetful) == inspect.signature(recipes.RECIPES[name])
    assert recipes.settings_of(forgetful) == recipes.settings_of(recipes.RECIPES[name])
    assert forgetful.__name__ == f"memoryless_{name}"


def test_the_adam_of_keras_is_paired_with_that_of_the_recipe():
    assert recipes.settings_of(protocols.memoryless_keras_adam) == recipes.settings_of(
        recipes.adam
    )


def test_the_adam_of_keras_is_its_formula():
    """Over 50 steps: the row of Keras itself, in `tests/mutants`, holds the same."""
    tx = optimizers.compiled_updates(protocols.keras_adam())
    row = optimizers.check("keras_adam", tx, conventions.adam_eps_not_corrected).row()
    assert row.ok
    adam = optimizers.compiled_updates(recipes.adam())
    wrong = optimizers.check("adam", adam, conventions.adam_eps_not_corrected).row()
    assert wrong.used > 1000


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
