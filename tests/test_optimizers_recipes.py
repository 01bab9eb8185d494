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
    tx = chain(recipes.RECIPES[name], {})
    ours = optimizers.compiled_updates(tx, name)(optimizers.example_gradients())
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
    AdamW has the decay itself, in both.
    """
    schedule = lambda count: 0.5 / (1 + count)
    decays = "weight_decay" in recipes.settings_of(recipes.RECIPES[name])
    choices = {} if decays else {"penalties": ("weight_decay",)}
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
    np.testing.assert_allclose(
        ours, rates * (one - (0 if decays else 2)), rtol=8 * UNIT32
    )


@pytest.mark.parametrize("name", [*sorted(recipes.RECIPES), "optax.adamw"])
def test_settings_are_traced_and_their_grid_is_its_lanes(name):
    """Another value changes every step but compiles nothing; a lane alone is that lane.

    Of lion the sign is taken, so only the rate changes every step. Decays of Adam are
    for what is no matrix under muon, whose iteration multiplies roundings by up to 500.

    Elementwise programs of two widths may round differently: after two steps
    each has at most 20 roundings.
    """
    recipe = pick_or_import("optimizer", recipes.RECIPES, name)
    names = [*recipes.settings_of(recipe), "l2"]
    used = ["learning_rate"] if name == "lion" else names

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
    for key in used:
        leaf = "bias" if name == "muon" and key in ("b1", "b2") else "kernel"
        other = grid({**lanes, key: lanes[key] / 2})["dense"][leaf]
        assert np.all(other != together["dense"][leaf]), f"{key} is not used"
    assert grid._cache_size() == 1
    alone = grid({key: value[1:2] for key, value in lanes.items()})
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        carried = 500 if name == "muon" else 1
        np.testing.assert_allclose(a[1:2], b, rtol=carried * 2 * 20 * UNIT32)


def test_a_gradient_is_clipped_before_the_penalty_is_added():
    """Of norm 5 to norm 1, or not at all; the l2 of 0.5 * 4 is whole. Exact in 1/2."""
    params = {"kernel": jnp.full(1, 4.0), "bias": jnp.zeros(1)}
    grads = {"kernel": jnp.full(1, 3.0), "bias": jnp.full(1, -4.0)}

    def step(limit):
        settings = traced(learning_rate=1.0, momentum=0.0, l2=0.5, clip_norm=limit)
        tx = chain(recipes.sgd, settings, penalties=("l2",))
        found, _ = tx.update(grads, tx.init(params), params)
        return [float(found[name][0]) for name in ("kernel", "bias")]

    np.testing.assert_allclose(step(1.0), [-0.6 - 2, 0.8], rtol=4 * UNIT32)
    assert step(8.0) == [-3 - 2, 4]


def test_the_norm_is_that_of_all_parameters_and_is_traced():
    """A limit of half of the norm halves every gradient, in a grid that compiles once.

    Not so if each leaf had its own norm: the bias alone is below the limit.
    """
    norm = float(optax.tree.norm(some_params()))

    @jax.jit
    def grid(limits):
        def lane(limit):
            settings = {"learning_rate": 1.0, "momentum": 0.0, "clip_norm": limit}
            return first_update(recipes.sgd, settings, some_params())

        return jax.vmap(lane)(limits)

    for share in (0.5, 0.25):
        ours = grid(jnp.array([share * norm, 2 * norm], jnp.float32))
        for a, g in zip(jax.tree.leaves(ours), jax.tree.leaves(some_params())):
            np.testing.assert_allclose(a[0], -share * g, rtol=8 * UNIT32)
            np.testing.assert_array_equal(a[1], -g)
    assert grid._cache_size() == 1


def test_muon_takes_kernels_as_matrices_and_all_else_by_adam():
    """A convolution is the matrix of its flat inputs; singular values are near 1.

    Five iterations take values from 0.01 on to between 0.65 and 1.25 of the scale.
    """
    draw = np.random.default_rng(0)
    kernel = jnp.asarray(draw.normal(size=(2, 2, 3, 5)), jnp.float32)
    bias = jnp.asarray(draw.normal(size=(2, 3)), jnp.float32)

    def step(tree):
        tx = chain(recipes.muon, traced(learning_rate=1.0))
        return tx.update(tree, tx.init(tree), tree)[0]

    ours = step({"kernel": kernel, "other": bias})
    flat = step({"kernel": kernel.reshape(12, 5)})["kernel"]
    np.testing.assert_array_equal(ours["kernel"].reshape(12, 5), flat)
    values = np.linalg.svd(flat, compute_uv=False) / (0.2 * 12**0.5)
    assert values.min() > 0.65
    assert values.max() < 1.25
    ahead = 0.9 * 0.1 / (1 - 0.9**2) + 0.1 / (1 - 0.9)
    expected = -ahead * np.sign(bias)
    np.testing.assert_allclose(ours["other"], expected, rtol=1e-4)  # optax' 1 - b2


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
