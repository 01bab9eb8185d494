"""Lanes do not see each other, and one lane is the textbook loop."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from normjax import layers, models
from normjax.data import splits
from normjax.optimizers import penalties, recipes, schedules
from normjax.training import devices, epoch, lane, lanes, steps
from normjax.types import Data, Program, Scaling, Split

pytestmark = pytest.mark.compiled_as_users_do

EPS32 = float(np.finfo(np.float32).eps)


def small_data() -> Data:
    """Three Gaussian blobs in 6 dimensions, one sigma apart."""
    draw = np.random.default_rng(0)

    def split(n):
        labels = np.arange(n, dtype=np.int32) % 3
        inputs = draw.normal(size=(n, 6)) + np.eye(3, 6)[labels]
        return Split(jnp.asarray(inputs, jnp.float32), jnp.asarray(labels))

    scaling = Scaling(jnp.zeros(6, jnp.float32), jnp.ones(6, jnp.float32))
    return Data(split(70), split(20), split(30), scaling)


def program(norm="batch", optimizer=recipes.sgd, **changes) -> Program:
    """A small MLP, eight steps of eight an epoch."""
    model = {"widths": (8, 8), "num_classes": 3, "norm": layers.NORMS[norm]}
    model |= changes.pop("model", {})
    fields = {
        "model": models.MLP(**model),
        "optimizer": optimizer,
        "batch_size": 8,
        "steps_per_epoch": 8,
    }
    return Program(**fields | changes)


def settings(num_lanes=1, **values):
    """The same settings in every lane, or a list with one for each."""
    full = {"learning_rate": 0.1, "momentum": 0.9} | values
    return {
        k: np.broadcast_to(np.float32(v), num_lanes).copy() for k, v in full.items()
    }


def run(keys, traced, *, num_epochs=3, used=None, **changes):
    """Final state and the reports of every epoch, stacked."""
    made = program(**changes)
    data = small_data()
    trained = lanes.train(
        keys, traced, data, program=made, num_epochs=num_epochs, devices=used
    )
    state, reports = None, []
    for state, report in trained:  # noqa: B007 (the last state is returned)
        reports.append(report)
    stacked = jax.tree.map(lambda *x: np.stack(x, -1), *reports)
    return jax.tree.map(lambda x: np.asarray(x)[: len(keys)], state), stacked


def initial(made: Program, traced):
    """The state of one lane before its first step."""
    example = small_data().train.inputs[:1]
    network = lane.init(KEYS[0], 1.0, example, model=made.model)
    return lane.start(*network, lane.optimizer(made, traced, num_train=70))


KEYS = jax.random.split(jax.random.key(0), 5)


@pytest.mark.parametrize("norm", ["none", "batch", "weight"])
def test_a_lane_alone_is_the_lane_in_the_batch(norm):
    """Another batch width lets XLA round differently: a few eps per step.

    Budget: 24 steps, each rounding a weight of size 1 by some eps and magnifying
    what came before by less than 1.1 (measured growth: 1.03), 24 * 1.1^24 = 236.
    A lane that read its neighbour's batch would be 1e-1 away.
    """
    together, _ = run(KEYS, settings(5), norm=norm)
    for k in (0, 4):
        alone, _ = run(KEYS[k : k + 1], settings(1), norm=norm)
        for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(together)):
            np.testing.assert_allclose(a[0], b[k], rtol=0, atol=236 * EPS32)


def test_the_number_of_devices_changes_nothing_but_rounding():
    """Five lanes on one device, and padded to six on two: the budget is as above."""
    assert len(jax.devices()) == 2
    assert devices.mesh_for(5).size == 2
    one, _ = run(KEYS, settings(5), used=jax.devices()[:1])
    two, _ = run(KEYS, settings(5))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two)):
        np.testing.assert_allclose(a, b, rtol=0, atol=236 * EPS32)


@pytest.mark.parametrize(
    ("num_lanes", "num_devices", "used"), [(10, 2, 2), (10, 8, 5), (3, 2, 2), (1, 4, 1)]
)
def test_no_more_devices_than_share_the_work(num_lanes, num_devices, used):
    several = jax.devices()[:1] * num_devices
    assert devices.mesh_for(num_lanes, several).size == used
    assert devices.mesh_for(num_lanes, several, size=1).size == max(2, used)


def test_equal_keys_give_equal_kernels_in_every_arm():
    """Arms are compared in pairs: a seed's kernels belong to the seed."""
    data = small_data()
    key = lanes.keys_of(KEYS[0]).init
    arms = [
        program(norm, optimizer, model={"placement": placement, "dropout": dropout})
        for norm, optimizer, placement, dropout in [
            ("none", recipes.sgd, "pre", False),
            ("batch", recipes.adam, "post", False),
            ("weight", recipes.third_moment, "pre", True),
            ("scalar_batch", recipes.rmsprop, "post", False),
        ]
    ]
    kernels = []
    for arm in arms:
        params, _ = lane.init(key, 1.0, data.train.inputs[:1], model=arm.model)
        flat = jax.tree_util.tree_leaves_with_path(params)
        kernels.append([x for path, x in flat if path[-1].key == "kernel"])
    for other in kernels[1:]:
        assert len(other) == 3
        assert all((a == b).all() for a, b in zip(kernels[0], other))


def test_the_order_of_examples_is_decided_by_the_key_alone():
    """Equal keys in two lanes of other settings, and in a program of another arm."""
    keys, mesh = KEYS[jnp.array([0, 1, 0])], devices.mesh_for(3)
    padded = jax.vmap(lanes.keys_of)(keys[jnp.array([0, 1, 2, 0])])
    size = (8, 8, "permutation")
    rows = lanes.order_lanes(
        padded.order, np.int32(0), num_examples=70, size=size, mesh=mesh
    )
    assert (rows[0] == rows[2]).all()
    assert (rows[0] != rows[1]).any()
    assert not {"program", "model"} & set(
        inspect.signature(lanes.order_lanes).parameters
    )


def test_the_orders_of_two_epochs_differ_and_cover_the_split_once():
    keys = lanes.keys_of(KEYS[0])
    orders = [
        splits.order(
            jax.random.fold_in(keys.order, n),
            64,
            batch_size=8,
            num_steps=8,
            sampling="permutation",
        )
        for n in (0, 1)
    ]
    assert all(sorted(np.ravel(rows)) == list(range(64)) for rows in orders)
    assert (orders[0] != orders[1]).any()


def own_rows(key, num_train=40):
    return splits.own_rows(lanes.subset_key(key), 70, num_train)


def test_seeds_draw_their_own_examples_by_a_key_of_their_own():
    """Different ones, none twice; under jit and vmap as alone; the keys are apart.

    A constant from 0 to 2 would be a mutant: it gives the key of kernels, of the
    order or of dropout, because threefry splits a key by folding in these numbers.
    """
    drawn = [np.asarray(own_rows(key)) for key in KEYS]
    assert all(len(np.unique(rows)) == 40 for rows in drawn)
    assert all(rows.min() >= 0 and rows.max() < 70 for rows in drawn)
    assert len({tuple(np.sort(rows)) for rows in drawn}) == len(KEYS)
    mesh = devices.mesh_for(4)
    sizes = {"num_examples": 70, "num_train": 40}
    together = lanes.subset_lanes(KEYS[:4], **sizes, mesh=mesh)
    np.testing.assert_array_equal(together, drawn[:4])
    assert "program" not in inspect.signature(lanes.subset_lanes).parameters
    bits = lambda key: tuple(np.asarray(jax.random.key_data(key)))
    purposes = {bits(key) for key in lanes.keys_of(KEYS[0])}
    assert bits(lanes.subset_key(KEYS[0])) not in purposes
    assert purposes == {bits(jax.random.fold_in(KEYS[0], i)) for i in range(4)}


OWN = {"num_train": 40, "steps_per_epoch": 5, "probes": ("train_split", "mode_gap")}


@pytest.mark.parametrize("mapping", ["map", "vmap"])
def test_a_lane_with_its_own_examples_is_a_lane_on_these_alone(mapping):
    """Probes too. Another seed's examples, and those shared by all, are other numbers.

    Copied before or while it trains, an example is the same: the budget is that of a
    lane alone and in the batch, and exact where lanes are mapped.
    """
    budget = 0 if mapping == "map" else 236 * EPS32
    changes = {"mapping": mapping, "norm": "batch"}
    _, together = run(KEYS, settings(5), **OWN, **changes)
    found = {}
    for name, rows in {
        "own": own_rows(KEYS[3]),
        "others": own_rows(KEYS[2]),
        "shared": jnp.arange(40),
    }.items():
        data = small_data()
        data = data._replace(train=lane.take(data.train, rows))
        made = program(**OWN | changes | {"num_train": 0})
        alone = lanes.train(KEYS[3:4], settings(1), data, program=made, num_epochs=3)
        reports = [report for _, report in alone]
        alone = jax.tree.map(lambda *x: np.stack(x, -1), *reports)
        pairs = zip(jax.tree.leaves(alone), jax.tree.leaves(together))
        found[name] = max(np.abs(a[0] - b[3]).max() for a, b in pairs)
    assert found["own"] <= budget
    assert min(found["others"], found["shared"]) > 1e-3


def test_a_penalty_counts_the_own_examples():
    """The n of l2 is the number that a lane trains on, not that of the pool."""
    made = program("none", penalties=("l2",), num_train=40)
    traced = {k: jnp.float32(x[0]) for k, x in settings(l2=0.7).items()}
    params = initial(made, traced).params
    zero = jax.tree.map(jnp.zeros_like, params)
    num_train = lane.num_train(made, small_data())
    tx = lane.optimizer(made, traced, num_train=num_train)
    update, _ = tx.update(zero, tx.init(params), params)
    kernel = params["dense_0"]["kernel"]
    np.testing.assert_allclose(
        update["dense_0"]["kernel"], -0.1 * 0.7 / 40 * kernel, rtol=4 * EPS32
    )


def test_without_own_examples_the_program_is_as_before():
    """No examples are taken outside of the steps."""
    made, traced = program("none"), dict.fromkeys(settings(), jnp.float32(0.1))
    state, rows = initial(made, traced), jnp.zeros((8, 8), jnp.int32)
    keys, data = epoch.StepKeys(KEYS[0], None), small_data()

    def taken(*subset, **fields):
        one = lambda *args: epoch.epoch(*args, program=made._replace(**fields))
        jaxpr = jax.make_jaxpr(one)(state, rows, keys, traced, data, *subset)
        return [x.params.get("name") for x in jaxpr.eqns].count("_take")

    assert taken() == 0
    assert taken(jnp.arange(40, dtype=jnp.int32), num_train=40) == 2


def momentum(g, memory, _):
    """SGD: the past velocity times 0.9, plus the gradient."""
    memory = 0.9 * memory + g
    return -0.1 * memory, memory


def sign_descent(g, memory, _):
    """Adam without averages: g / (|g| + eps)."""
    return -1e-3 * g / (jnp.abs(g) + 1e-8), memory


def decayed(g, memory, kernel):
    """SGD, and the kernel times its own rate on top, untouched by the momentum."""
    step, memory = momentum(g, memory, kernel)
    return step - 0.1 * 0.2 * kernel, memory


TEXTBOOK = {  # name -> (program, settings, update, strength of the penalty)
    "sgd": ({}, {}, momentum, 0.0),
    "l2": ({"penalties": ("l2",)}, {"l2": 0.7}, momentum, 0.7),
    "weight_decay": (
        {"penalties": ("weight_decay",)},
        {"weight_decay": 0.2},
        decayed,
        0,
    ),
    "adam": (
        {"optimizer": recipes.adam},
        {"learning_rate": 1e-3, "b1": 0.0, "b2": 0.0},
        sign_descent,
        0.0,
    ),
    "dropout": ({"model": {"dropout": True}}, {"dropout_rate": 0.3}, momentum, 0.0),
}


@pytest.mark.parametrize("name", TEXTBOOK)
def test_an_epoch_is_the_textbook_loop(name):
    """Same key, plain Python: forward, loss, gradient, update.

    The two run the same operations, compiled in other pieces: 8 steps of a few
    roundings of numbers of size 1, so 32 eps; sign descent turns the rounding of a
    gradient near zero into another step of 2e-3, once in a thousand coordinates.
    A metric taken after its update, a momentum of 0, a penalty ten times too weak,
    averages of Adam, another key for dropout are 1e-3 or more away.
    """
    changes, values, update, strength = TEXTBOOK[name]
    data, made = small_data(), program("none", **changes)
    state, report = run(
        KEYS[:1], settings(**values), norm="none", num_epochs=1, **changes
    )
    keys = lanes.keys_of(KEYS[0])
    params, _ = lane.init(keys.init, 1.0, data.train.inputs[:1], model=made.model)
    is_kernel = penalties.kernels(params)
    memory = jax.tree.map(jnp.zeros_like, params)
    rows = splits.order(
        jax.random.fold_in(keys.order, 0),
        70,
        batch_size=8,
        num_steps=8,
        sampling="permutation",
    )

    @jax.jit
    def gradient(params, x, y, key):
        def total(params):
            logits = made.model.apply(
                {"params": params},
                x,
                train=True,
                dropout_rate=values.get("dropout_rate", 0.0),
                rngs={"dropout": key},
            )
            log_p = jax.nn.log_softmax(logits)
            loss = -jnp.mean(jnp.take_along_axis(log_p, y[:, None], 1))
            squares = jax.tree.map(lambda w, k: k * jnp.sum(w**2), params, is_kernel)
            penalty = strength / (2 * 70) * sum(jax.tree.leaves(squares))
            return loss + penalty, (loss, jnp.mean(jnp.argmax(logits, -1) == y))

        return jax.grad(total, has_aux=True)(params)

    losses, hits = [], []
    for i, batch in enumerate(rows):
        x, y = data.train.inputs[batch], data.train.labels[batch]
        grads, (loss, hit) = gradient(params, x, y, jax.random.fold_in(keys.dropout, i))
        pairs = jax.tree.map(
            lambda g, m, w, k: update(g, m, w * k), grads, memory, params, is_kernel
        )
        steps, memory = jax.tree.transpose(
            jax.tree.structure(params), jax.tree.structure((0, 0)), pairs
        )
        params = jax.tree.map(jnp.add, params, steps)
        losses.append(loss)
        hits.append(hit)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(state.params)):
        far = np.abs(a - b[0]) > 32 * EPS32
        assert np.mean(far) <= (1e-2 if name == "adam" else 0)
    assert abs(np.mean(losses) - report.train.loss[0, 0]) <= 32 * EPS32
    assert abs(np.mean(hits) - report.train.accuracy[0, 0]) <= 4 * EPS32
    assert state.step[0] == 8


@pytest.mark.parametrize("num_examples", [1, 999, 1_000, 1_001, 2_500])
def test_evaluation_counts_every_example_once(num_examples):
    """Reference: all examples at once. Sums of n losses round by sqrt(n) eps."""
    made = program("none")
    draw = np.random.default_rng(1)
    split = Split(
        jnp.asarray(draw.normal(size=(num_examples, 6)), jnp.float32),
        jnp.asarray(draw.integers(0, 3, num_examples), jnp.int32),
    )
    data = small_data()
    state = initial(made, {})
    logits = made.model.apply({"params": state.params}, split.inputs, train=False)
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, split.labels)
    found = lane.evaluate(state, split, program=made, scaling=data.scaling)
    budget = 8 * EPS32 * np.sqrt(num_examples)
    assert abs(found.loss - np.mean(np.float64(nats))) <= budget
    assert (
        found.accuracy
        == np.float32(np.sum(np.argmax(logits, -1) == split.labels)) / num_examples
    )


def test_a_second_grid_of_settings_does_not_compile_again():
    run(KEYS, settings(5, learning_rate=0.01), norm="layer")
    before = lanes.epoch_lanes._cache_size(), lanes.init_lanes._cache_size()
    run(KEYS, settings(5, learning_rate=[0.1, 0.2, 0.3, 0.4, 0.5]), norm="layer")
    assert (lanes.epoch_lanes._cache_size(), lanes.init_lanes._cache_size()) == before
    run(KEYS, settings(5), norm="rms")
    assert lanes.epoch_lanes._cache_size() == before[0] + 1


def test_a_grid_of_a_schedule_is_one_program_and_counts_over_epochs():
    """A rate that falls to nothing after the first of two epochs leaves its network.

    Eight steps of a few roundings of numbers of size 1, as in the textbook loop. A
    count that began anew in each epoch would train through the second one.
    """
    made = {"norm": "none", "schedule": schedules.boundaries, "num_steps": 16}
    grid = {"decay_factor": 1e-30, "first_boundary": [0.25, 0.5], "second_boundary": 1}
    run(KEYS[:2], settings(2, **grid | {"first_boundary": 0.75}), num_epochs=2, **made)
    before = lanes.epoch_lanes._cache_size()
    state, _ = run(KEYS[np.array([0, 0])], settings(2, **grid), num_epochs=2, **made)
    assert lanes.epoch_lanes._cache_size() == before
    first, _ = run(KEYS[:1], settings(1), norm="none", num_epochs=1)
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(first.params)):
        np.testing.assert_allclose(a[1], b[0], rtol=0, atol=32 * EPS32)
        assert np.max(np.abs(a[0] - b[0])) > 1e-3


def test_a_lane_that_diverges_is_frozen_and_the_others_do_not_notice():
    """Lane 1 has a learning rate that overflows at its second step."""
    rates = [0.1, 1e25, 0.1, 0.1, 0.1]
    mixed, report = run(KEYS, settings(5, learning_rate=rates), norm="none")
    calm, _ = run(KEYS, settings(5), norm="none")
    assert list(mixed.diverged_at_step) == [-1, 2, -1, -1, -1]
    assert list(mixed.step) == [24, 1, 24, 24, 24]
    for a, b in zip(jax.tree.leaves(mixed), jax.tree.leaves(calm)):
        others = [0, 2, 3, 4]
        assert (a[others] == b[others]).all()
        assert np.isfinite(a[1]).all()
    assert np.isnan(report.train.loss[1, 1:]).all()
    assert np.isfinite(report.test.accuracy).all()
    assert np.isfinite(report.train.loss[[0, 2, 3, 4]]).all()


def test_a_state_that_overflows_is_not_kept_even_if_loss_and_gradient_are_finite():
    """A gradient of 1e20 is finite, its square in the state of Adam is not."""
    made, data = program("none", recipes.adam), small_data()
    traced = {k: jnp.float32(v) for k, v in recipes.settings_of(recipes.adam).items()}
    state = initial(made, traced)
    huge = jax.tree.map(lambda p: p * 1e12, state.params)
    state = state._replace(params=huge)
    tx = lane.optimizer(made, traced, num_train=70)
    batch = Split(data.train.inputs[:8], data.train.labels[:8])
    fixed = {"program": made, "tx": tx, "scaling": data.scaling}

    def step(state, batch):
        return lane.step(state, batch, KEYS[0], traced, **fixed)

    assert steps.all_finite(step(state, batch)[0].params)
    new, metrics = steps.unless_lost(step, state, batch)
    assert new.diverged_at_step == 1
    assert steps.all_finite(new)
    assert np.isnan(metrics.loss)


def test_init_scale_scales_kernels_and_nothing_else():
    data, made = small_data(), program("none")
    plain, halved = (
        lane.init(KEYS[0], scale, data.train.inputs[:1], model=made.model)[0]
        for scale in (1.0, jnp.float32(0.5))
    )
    jax.tree_util.tree_map_with_path(
        lambda path, a, b: np.testing.assert_array_equal(
            a * (0.5 if path[-1].key == "kernel" else 1), b
        ),
        plain,
        halved,
    )


def test_dropout_at_rate_zero_is_no_dropout_and_another_rate_is_not():
    traced = settings(2, dropout_rate=[0.0, 0.5])
    keys = KEYS[jnp.array([0, 0])]
    with_rate, _ = run(keys, traced, norm="none", model={"dropout": True})
    without, _ = run(keys, settings(2), norm="none")
    for a, b in zip(jax.tree.leaves(with_rate.params), jax.tree.leaves(without.params)):
        np.testing.assert_allclose(a[0], b[0], rtol=0, atol=236 * EPS32)
    kernel = with_rate.params["dense_0"]["kernel"]
    assert np.abs(kernel[0] - kernel[1]).max() > 0.01


def test_the_same_run_twice_is_equal_to_the_bit():
    first, second = (run(KEYS, settings(5)) for _ in range(2))
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), first, second))


def test_every_state_that_was_yielded_stays_valid():
    """The list of all epochs holds what a loop saw at each of them."""
    options = {"program": program(), "num_epochs": 3}
    seen = [
        jax.tree.map(np.asarray, state)
        for state, _ in lanes.train(KEYS, settings(5), small_data(), **options)
    ]
    kept = list(lanes.train(KEYS, settings(5), small_data(), **options))
    assert [list(state.step[:5]) for state, _ in kept] == [[8] * 5, [16] * 5, [24] * 5]
    for (state, _), right in zip(kept, seen, strict=True):
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), state, right))


def buffers(tree) -> list[dict]:
    """Where each array of a tree lies, by device."""
    return [
        {s.device: s.data.unsafe_buffer_pointer() for s in x.addressable_shards}
        for x in jax.tree.leaves(tree)
    ]


def test_placed_data_is_not_copied_again(monkeypatch):
    """Not by another call, for fewer devices, or by training."""
    placed = devices.place(small_data())
    there = buffers(placed)
    assert all(len(where) == 2 for where in there)
    assert buffers(devices.place(placed)) == there
    (first, _) = jax.devices()
    fewer = devices.place(placed, devices.mesh_for(1))
    assert buffers(fewer) == [{first: where[first]} for where in there]
    used, epoch_lanes = [], lanes.epoch_lanes

    def note(state, real, rows, keys, settings, data, **static):
        used.append(buffers(data))
        return epoch_lanes(state, real, rows, keys, settings, data, **static)

    monkeypatch.setattr(lanes, "epoch_lanes", note)
    list(lanes.train(KEYS, settings(5), placed, program=program(), num_epochs=1))
    assert used == [there]


def test_seeds_draw_with_threefry():
    """Under `rbg` a vmapped draw is not the draw of its own key."""
    assert jax.config.jax_default_prng_impl == "threefry2x32"
