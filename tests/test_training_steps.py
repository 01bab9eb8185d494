"""The steps of an epoch end before the first that gives a number not finite."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from normjax.optimizers import recipes
from normjax.training import steps
from normjax.types import Metrics, Program, TrainState

NUM_STEPS = 6
PLACES = ("params", "stats", "opt_state", "loss")


def begun(diverged_at_step: int = -1) -> TrainState:
    """A state of three numbers after four steps, or of a lane that is lost."""
    one = {"a": jnp.float32(1)}
    return TrainState(jnp.int32(4), one, one, one, jnp.int32(diverged_at_step))


def step(state: TrainState, inputs: dict) -> tuple[TrainState, Metrics]:
    """Sums its inputs in the parameters and forgets all else from step to step."""
    params = {"a": state.params["a"] + inputs["params"]}
    new = TrainState(
        state.step + 1,
        params,
        {"a": inputs["stats"] * params["a"]},
        {"a": inputs["opt_state"] * params["a"]},
        state.diverged_at_step,
    )
    return new, Metrics(inputs["loss"] * params["a"], params["a"])


def inputs(**broken: tuple[int, float]) -> dict:
    """Inputs of all steps; `params=(2, nan)` is nan in the third step."""
    rows = {name: np.arange(1, NUM_STEPS + 1, dtype=np.float32) for name in PLACES}
    for name, (i, value) in broken.items():
        rows[name][i] = value
    return rows


@functools.partial(jax.jit, static_argnames=("mapping", "recipe"))
def after(state, rows, *, mapping="map", recipe=optax.sgd):
    """What `steps.scan` gives for a program of this mapping and optimizer."""
    program = Program(nn.Module(), recipe, 1, NUM_STEPS, mapping=mapping)
    return steps.scan(step, state, rows, program=program)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("i", [0, 2, NUM_STEPS - 1])
@pytest.mark.parametrize("place", PLACES)
def test_looking_back_finds_the_step_that_looking_each_time_finds(place, i, value):
    """Also where what is not finite is gone a step later, as all but parameters."""
    rows = inputs(**{place: (i, value)})
    found, metrics = after(begun(), rows)
    expected = after(begun(), rows, mapping="vmap")
    assert found.diverged_at_step == 4 + i + 1
    assert found.step == 4 + i
    assert found.params["a"] == 1 + sum(range(1, i + 1))
    assert list(np.isnan(metrics.loss)) == [False] * i + [True] * (NUM_STEPS - i)
    same = functools.partial(np.array_equal, equal_nan=True)
    assert jax.tree.all(jax.tree.map(same, (found, metrics), expected))


def test_the_first_of_several_steps_is_the_one():
    rows = inputs(loss=(4, np.nan), params=(3, np.inf), stats=(1, np.inf))
    assert after(begun(), rows)[0].diverged_at_step == 4 + 1 + 1


@pytest.mark.parametrize("mapping", ["map", "data-parallel", "vmap"])
def test_a_lane_that_is_whole_takes_all_steps_and_a_lost_one_none(mapping):
    state, metrics = after(begun(), inputs(), mapping=mapping)
    assert (state.step, state.diverged_at_step) == (4 + NUM_STEPS, -1)
    assert np.isfinite(metrics.loss).all()
    lost, metrics = after(begun(3), inputs(), mapping=mapping)
    assert jax.tree.all(jax.tree.map(np.array_equal, lost, begun(3)))
    assert np.isnan(metrics.loss).all()


def test_what_an_optimizer_forgets_is_seen_only_where_it_is_looked_for():
    """Were this optimizer one of ours, its state would have to keep what it had."""
    rows = inputs(opt_state=(2, np.inf))
    assert after(begun(), rows, recipe=optax.sgd)[0].diverged_at_step == 4 + 3
    assert after(begun(), rows, recipe=recipes.adam)[0].diverged_at_step == -1


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", recipes.RECIPES)
def test_the_states_of_our_optimizers_keep_what_is_not_finite(name, value):
    """At every place of every leaf, at decays of 0 too, whatever gradients follow."""
    recipe = recipes.RECIPES[name]
    params = {"dense": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}}
    decays = {"momentum", "decay", "b1", "b2", "b3"} & recipes.settings_of(
        recipe
    ).keys()
    for settings in ({}, dict.fromkeys(decays, jnp.float32(0))):
        tx = recipe(learning_rate=0.1, **settings)
        update = jax.jit(lambda *args, tx=tx: tx.update(*args, params)[1])
        state = update(params, tx.init(params))
        leaves, tree = jax.tree.flatten(state)
        for i, leaf in enumerate(leaves):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                continue
            broken = leaf.at[(0,) * leaf.ndim].set(value)
            now = tree.unflatten([*leaves[:i], broken, *leaves[i + 1 :]])
            for gradient in (1e-3, 0.0, -5.0):
                grads = jax.tree.map(lambda x, g=gradient: jnp.full_like(x, g), params)
                now = update(grads, now)
                assert not np.isfinite(jax.tree.leaves(now)[i][(0,) * leaf.ndim])


@pytest.mark.parametrize("value", [1.0, np.inf, -np.inf, np.nan])
def test_all_numbers_at_once_are_looked_at_as_array_by_array(value):
    """In every array and dtype; keys, whole numbers and no numbers at all are fine."""
    whole = {"count": jnp.int32(2**31 - 1), "key": jax.random.key(0), "none": ()}
    arrays = (jnp.zeros(()), jnp.ones((2, 3)), jnp.ones(4, jnp.bfloat16), jnp.ones(0))
    assert steps.all_finite_at_once(whole)
    for i in range(3):
        put = lambda x: x.at[(-1,) * x.ndim].set(value)
        floats = [put(x) if i == j else x for j, x in enumerate(arrays)]
        finite = [
            look((whole, floats))
            for look in (steps.all_finite, steps.all_finite_at_once)
        ]
        assert finite == [np.isfinite(value)] * 2
