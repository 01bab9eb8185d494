"""Recipes in a chain: penalties, dtypes, what is traced; mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from _numerics import UNIT32

from normjax.checks import optimizers
from normjax.errors import InputError, pick_or_import
from normjax.optimizers import chains, recipes

pytestmark = pytest.mark.compiled_as_users_do


def traced(**settings) -> dict[str, jax.Array]:
    return {name: jnp.float32(value) for name, value in settings.items()}


def chain(recipe, settings, *, num_train=1, **choices):
    return chains.chain(recipe, settings, num_train=num_train, **choices)


def run(recipe, settings, g, **choices):
    """The updates of all steps, with traced settings."""

    @jax.jit
    def lane(settings, g):
        tx = chain(recipe, settings, **choices)
        params = jnp.zeros_like(g[0])

        def step(state, g):
            updates, state = tx.update(g, state, params)
            return state, updates

        return jax.lax.scan(step, tx.init(params), g)[1]

    return np.asarray(lane(settings, jnp.asarray(g)), np.float64)


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_a_chain_without_penalty_is_the_recipe(name):
    """To the bit: that the recipe is right is for its row in `normjax.checks`."""
    ours = run(recipes.RECIPES[name], {}, optimizers.example_gradients())
    np.testing.assert_array_equal(ours, optimizers.updates_of(name))


def test_sgd_on_a_constant_gradient_is_a_geometric_series():
    """-lr g (1 - momentum^t) / (1 - momentum), exact while powers of 1/2 fit."""
    ours = run(
        recipes.sgd, traced(learning_rate=0.25, momentum=0.5), np.ones((10, 1), "f")
    )
    t = np.arange(1, 11).reshape(-1, 1)
    np.testing.assert_array_equal(ours, -0.25 * (1 - 0.5**t) / 0.5)


def some_params():
    kernel = jnp.array([[1.0, -2.0], [0.5, 4.0]])
    return {"dense": {"kernel": kernel, "bias": jnp.array([3.0, -1.0])}}


def first_update(recipe, settings, grads, **choices):
    tx = chain(recipe, settings, **choices)
    return tx.update(grads, tx.init(some_params()), some_params())[0]


def test_l2_adds_the_gradient_of_the_penalty():
    """Learning rate 1, no momentum: the update is minus the gradient, 4 roundings."""

    def penalty(params):
        return 0.7 / (2 * 50) * jnp.sum(params["dense"]["kernel"] ** 2)

    settings = traced(learning_rate=1.0, momentum=0.0, l2=0.7)
    zero = jax.tree.map(jnp.zeros_like, some_params())
    ours = first_update(recipes.sgd, settings, zero, penalties=("l2",), num_train=50)
    expected = jax.tree.map(jnp.negative, jax.grad(penalty)(some_params()))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=4 * UNIT32), ours, expected
    )


def test_weight_decay_shrinks_kernels_and_l2_goes_through_the_optimizer():
    """Zero gradient: factor 1 - lr * strength, exact in powers of 1/2; biases stay.

    Under Adam `l2` gives a step of the learning rate instead, whatever its
    strength, but for eps and the correction of the first step (see above).
    """
    zero = jax.tree.map(jnp.zeros_like, some_params())
    settings = traced(learning_rate=0.25, weight_decay=0.5, l2=0.5)
    params = some_params()["dense"]
    step = first_update(recipes.adam, settings, zero, penalties=("weight_decay",))
    np.testing.assert_array_equal(step["dense"]["kernel"], -params["kernel"] / 8)
    np.testing.assert_array_equal(step["dense"]["bias"], [0, 0])
    step = first_update(recipes.adam, settings, zero, penalties=("l2",))
    expected = -0.25 * np.sign(params["kernel"])
    rtol = (14 + 2 / (1 - 0.9) + 1 / (1 - 0.999)) * UNIT32 + 1e-8 / 0.25
    np.testing.assert_allclose(step["dense"]["kernel"], expected, rtol=rtol)
    np.testing.assert_array_equal(step["dense"]["bias"], [0, 0])
    step = first_update(recipes.adam, settings, zero)
    np.testing.assert_array_equal(step["dense"]["kernel"], np.zeros((2, 2)))


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_a_learning_rate_may_be_a_schedule(name):
    """Step t is that at rate 1, minus half of the kernel 4, times the rate at t - 1.

    Rate, product, decayed weight and sum round once each in either; gradients do not
    cancel the 2, as the steps are at most 1 (Adam) or below 0 where they are larger.
    """
    schedule = lambda count: 0.5 / (1 + count)
    choices = {"penalties": ("weight_decay",)}
    settings = traced(weight_decay=0.5)
    params = {"kernel": jnp.full(24, 4.0)}

    @jax.jit
    def lane(g):
        first = chain(recipes.RECIPES[name], {**settings, "learning_rate": 1.0})
        tx = chain(
            recipes.RECIPES[name], {**settings, "learning_rate": schedule}, **choices
        )

        def step(states, g):
            one, state = first.update({"kernel": g}, states[0], params)
            ours, own = tx.update({"kernel": g}, states[1], params)
            return (state, own), (one["kernel"], ours["kernel"])

        return jax.lax.scan(step, (first.init(params), tx.init(params)), g)[1]

    one, ours = lane(jnp.asarray(optimizers.example_gradients()[:4]))
    rates = np.float32([0.5, 0.25, 0.5 / 3, 0.125]).reshape(-1, 1)
    np.testing.assert_allclose(ours, rates * (one - 2), rtol=8 * UNIT32)


@pytest.mark.parametrize("name", [*sorted(recipes.RECIPES), "optax.adamw"])
def test_settings_are_traced_and_their_grid_is_its_lanes(name):
    """Another value changes every step but compiles nothing; a lane alone is that lane.

    Elementwise programs of two widths may round differently: after two steps
    each has at most 20 roundings.
    """
    recipe = pick_or_import("optimizer", recipes.RECIPES, name)
    names = [*recipes.settings_of(recipe), "l2"]

    @jax.jit
    def grid(settings):
        def lane(settings):
            tx = chain(recipe, settings, penalties=("l2",), num_train=2)
            params = some_params()
            _, state = tx.update(params, tx.init(params), params)
            other = jax.tree.map(lambda g: 1.75 - g, params)
            return tx.update(other, state, params)[0]

        return jax.vmap(lane)(settings)

    lanes = {key: jnp.array([0.5, 0.25, 0.125]) for key in names}
    together = grid(lanes)
    for key in names:
        other = grid({**lanes, key: lanes[key] / 2})["dense"]["kernel"]
        assert np.all(other != together["dense"]["kernel"]), f"{key} is not used"
    assert grid._cache_size() == 1
    alone = grid({key: value[1:2] for key, value in lanes.items()})
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(a[1:2], b, rtol=2 * 20 * UNIT32)


def test_state_is_float32_for_bfloat16_parameters():
    params = jax.tree.map(lambda a: a.astype(jnp.bfloat16), some_params())
    for name, recipe in recipes.RECIPES.items():
        tx = chain(recipe, traced(learning_rate=0.1))
        _, state = tx.update(params, tx.init(params), params)
        floats = [a for a in jax.tree.leaves(state) if a.dtype != jnp.int32]
        assert {a.dtype.name for a in floats} <= {"float32"}
        assert floats or name not in ("sgd", "adam", "rmsprop", "third_moment")


def test_settings_of_a_recipe_are_its_floats():
    """Lion also has a dtype and a mask, adafactor flags, integers, a rate of None."""
    rmsprop = {"learning_rate": 1e-3, "decay": 0.9, "eps": 1e-7}
    assert recipes.settings_of(recipes.rmsprop) == rmsprop
    assert recipes.settings_of(recipes.third_moment)["b3"] == 0.999987
    adafactor = recipes.settings_of(optax.adafactor)
    assert adafactor["learning_rate"] is None
    assert not {"min_dim_size_to_factor", "factored", "momentum"} & set(adafactor)
    lion = {"learning_rate": None, "b1": 0.9, "b2": 0.99, "weight_decay": 0.001}
    assert recipes.settings_of(optax.lion) == lion


def test_mistakes_name_the_remedy():
    known = (
        "must be a function of named arguments that returns an"
        " optax.GradientTransformation; use one of"
        f" {', '.join(sorted(recipes.RECIPES))}, or a factory such as optax.lion."
    )
    rate, schedule = traced(learning_rate=0.1), optax.constant_schedule
    mistakes = {
        f"optimizer=3: {known}": lambda: recipes.settings_of(3),
        f"optimizer={schedule!r}: {known}": lambda: chain(schedule, traced(value=1)),
        "settings.learning_rate: must be given, as lion with penalties=() has no"
        " default for it; add learning_rate to the settings.": lambda: chain(
            optax.lion, {}
        ),
        "settings.l2: must be given, as sgd with penalties=('l2',) has no default for"
        " it; add l2 to the settings.": lambda: chain(
            recipes.sgd, {}, penalties=("l2",)
        ),
        "penalties=('weight_decay',): must not name 'weight_decay', which is a setting"
        " of lion itself; leave 'weight_decay' out.": lambda: chain(
            optax.lion, rate, penalties=("weight_decay",)
        ),
        "penalties='weightdecay': must be one of l2, weight_decay; did you mean"
        " 'weight_decay'?": lambda: chain(
            recipes.sgd, rate, penalties=("weightdecay",)
        ),
    }
    for message, mistake in mistakes.items():
        with pytest.raises(InputError) as error:
            mistake()
        assert str(error.value) == message
