"""Augmentation, label smoothing, bfloat16 and a kept last batch, as lanes train."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from normjax import layers, models
from normjax.data import augmentation, splits
from normjax.layers import NORMS
from normjax.optimizers import recipes
from normjax.training import epoch, lane, lanes, last_batch, precision
from normjax.types import Data, Program, Scaling, Split, TrainState

EPS32 = float(np.finfo(np.float32).eps)
KEYS = jax.random.split(jax.random.key(0), 3)
SHAPE = (6, 6, 1)
NUM_TRAIN = 29  # three batches of eight, and five


def data(images=None) -> Data:
    """Images whose first pixel is their number, but for those that are given."""
    numbers = np.arange(NUM_TRAIN, dtype=np.int32)
    if images is None:
        images = np.random.default_rng(0).normal(size=(NUM_TRAIN, *SHAPE)) * 0.1
        images[:, 0, 0, 0] = numbers
    images = jnp.asarray(images, jnp.float32)
    split = Split(images, jnp.asarray(numbers % 3))
    return Data(split, split, split, Scaling(jnp.zeros(SHAPE), jnp.ones(SHAPE)))


class Witness(nn.Module):
    """A linear network that keeps what it saw in training."""

    norm: bool = False
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, inputs, *, train, dropout_rate=0.0):
        keep = functools.partial(self.variable, "batch_stats")
        times = keep("times", jnp.zeros, (NUM_TRAIN,))
        first = keep("first", jnp.zeros, SHAPE)
        if train:
            numbers = jnp.round(inputs[:, 0, 0, 0]).astype(jnp.int32)
            times.value += jnp.sum(jax.nn.one_hot(numbers, NUM_TRAIN), 0)
            first.value = inputs[0]
        x = inputs.reshape(len(inputs), -1)
        if self.norm:
            x = layers.BatchNorm(name="norm")(x, train=train)
        return nn.Dense(3, kernel_init=self.kernel_init, name="logits")(x)


def program(**changes) -> Program:
    fields = {"batch_size": 8, "steps_per_epoch": 3, "mapping": "map"}
    return Program(**{"model": Witness(), "optimizer": recipes.sgd} | fields | changes)


KEPT = {"steps_per_epoch": 4, "last_batch": 5}


def run(made, keys=KEYS, num_epochs=1, images=None, **traced) -> tuple:
    """The last state of the lanes that were asked for, and the last report."""
    known = recipes.settings_of(made.optimizer) | {"learning_rate": 0.01} | traced
    values = {k: np.full(len(keys), np.float32(v)) for k, v in known.items()}
    for state, report in lanes.train(  # noqa: B007 (the last ones are returned)
        keys, values, data(images), program=made, num_epochs=num_epochs
    ):
        pass
    return jax.tree.map(lambda x: np.asarray(x)[: len(keys)], state), report


def witnessed(state: TrainState) -> dict[str, np.ndarray]:
    return state.stats["batch_stats"]


# ---- augmentation -----------------------------------------------------------------

SAME = np.tile(np.random.default_rng(1).normal(size=SHAPE), (NUM_TRAIN, 1, 1, 1))


def test_a_lane_alone_is_the_lane_among_others_with_augmentation():
    """To the bit where lanes are mapped."""
    made = program(augmentation=augmentation.flip_crop, model=models.CNN((4,), 3))
    together, _ = run(made, num_epochs=2)
    for k in (0, 2):
        alone, _ = run(made, KEYS[k : k + 1], num_epochs=2)
        for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(together)):
            assert np.array_equal(a[0], b[k])


def test_draws_are_those_of_the_seed_and_the_step_in_every_arm():
    """All images are the same, so what the last step sees tells its draws."""
    seen = functools.partial(run, images=SAME)
    crop = {"augmentation": augmentation.flip_crop}
    rights = [witnessed(seen(program(**crop), num_epochs=n)[0]) for n in (1, 2)]
    for changes in (
        {"model": Witness(norm=True)},
        {"optimizer": recipes.adam},
        {"precision": "bfloat16", "penalties": ("weight_decay",)},
        {"mapping": "vmap"},
    ):
        traced = {"weight_decay": 0.1} if "penalties" in changes else {}
        state, _ = seen(program(**crop | changes), **traced)
        assert np.array_equal(rights[0]["first"], seen_in_float32(state, changes))
    different = np.concatenate([x["first"] for x in rights])
    assert len({x.tobytes() for x in different}) > 3  # six, if no draw came twice


def seen_in_float32(state, changes) -> np.ndarray:
    """What the last step saw; a program in bfloat16 sees it rounded."""
    first = witnessed(state)["first"]
    if changes.get("precision") != "bfloat16":
        return first
    exact = witnessed(run(program(augmentation=augmentation.flip_crop), images=SAME)[0])
    assert np.array_equal(first, np.asarray(exact["first"], jnp.bfloat16))
    return exact["first"]


def test_keys_of_other_purposes_did_not_move():
    """The fourth key is no other's, and the three are those of a split in three."""
    keys = lanes.keys_of(KEYS[0])
    raw = [jax.random.key_data(key).tolist() for key in keys]
    assert raw[:3] == jax.random.key_data(jax.random.split(KEYS[0], 3)).tolist()
    assert raw[3] not in raw[:3]


def test_evaluation_sees_images_as_they_are_stored():
    """With a rate of nearly zero the network stays, so its test loss does too."""
    plain, cut = (
        run(program(augmentation=x), learning_rate=1e-30)[1]
        for x in (None, augmentation.cutout)
    )
    assert np.array_equal(plain.test.loss, cut.test.loss)
    assert (plain.train.loss != cut.train.loss).all()


def traced_step(made: Program, **settings) -> str:
    """The operations of a step, as text."""
    known = data()
    params, stats = lane.init(KEYS[0], 1.0, known.train.inputs[:1], model=made.model)
    traced = {"learning_rate": 0.1, "momentum": 0.9} | settings
    tx = lane.optimizer(made, traced, num_train=NUM_TRAIN)
    one = functools.partial(
        lane.step, program=made, tx=tx, scaling=known.scaling, augmentation_key=KEYS[1]
    )
    batch = Split(known.train.inputs[:8], known.train.labels[:8])
    return str(
        jax.make_jaxpr(one)(lane.start(params, stats, tx), batch, KEYS[0], traced)
    )


def test_what_is_off_adds_nothing_to_a_step():
    plain = traced_step(program())
    assert not [x for x in ("random_bits", "bf16", "log_softmax") if x in plain]
    assert "random_bits" in traced_step(program(augmentation=augmentation.flip))
    assert "bf16" in traced_step(program(precision="bfloat16"))
    assert "log_softmax" in traced_step(program(), label_smoothing=0.1)
    made, keys = program(), lanes.keys_of(KEYS[0])
    assert lanes.step_keys(keys, made) == epoch.StepKeys(keys.dropout, None)


# ---- label smoothing --------------------------------------------------------------


@pytest.mark.parametrize("amount", [0.0, 0.1, 0.7])
def test_smoothing_is_the_cross_entropy_against_smoothed_labels(amount):
    """Budget: sums of three logits of size 5 and their exponentials: 16 eps of 8."""
    draw = np.random.default_rng(0)
    logits = jnp.asarray(5 * draw.normal(size=(20, 3)), jnp.float32)
    labels = jnp.arange(20) % 3
    nats, _ = lane.example_metrics(logits, labels)
    targets = optax.smooth_labels(jax.nn.one_hot(labels, 3), amount)
    expected = optax.softmax_cross_entropy(logits, targets)
    found = lane.smoothed_cross_entropy(nats, logits, amount)
    np.testing.assert_allclose(found, expected, rtol=0, atol=16 * 8 * EPS32)


def test_smoothing_changes_the_steps_and_not_what_is_reported():
    """At a rate of nearly zero the loss is that of the first weights, unsmoothed."""
    (_, plain), (_, smooth) = (
        run(program(), learning_rate=1e-30, **traced)
        for traced in ({}, {"label_smoothing": 0.5})
    )
    np.testing.assert_allclose(plain.train.loss, smooth.train.loss, rtol=8 * EPS32)
    states = [run(program(), label_smoothing=x)[0] for x in (0.0, 0.5)]
    kernels = [x.params["logits"]["kernel"] for x in states]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


# ---- the last batch ---------------------------------------------------------------


def test_a_kept_batch_brings_every_example_once_an_epoch():
    for num_epochs in (1, 2):
        state, _ = run(program(**KEPT), num_epochs=num_epochs)
        assert (witnessed(state)["times"] == num_epochs).all()
        assert list(state.step) == [4 * num_epochs] * 3
    dropped, _ = run(program())
    assert (witnessed(dropped)["times"].sum(1) == 24).all()


def test_a_kept_batch_is_one_more_step_on_what_is_dropped():
    """The same order; the last five by themselves, moments of batch norm too.

    The step is compiled in another piece: a few eps of numbers up to the size of 29.
    """
    made, known = program(model=Witness(norm=True)), data()
    before, short = run(made, KEYS[:1])
    after, long = run(made._replace(**KEPT), KEYS[:1])
    key, drawn = jax.random.fold_in(lanes.keys_of(KEYS[0]).order, 0), "permutation"
    order = splits.order(key, 29, batch_size=1, num_steps=29, sampling=drawn)[:, 0]
    first = splits.order(key, 29, batch_size=8, num_steps=3, sampling=drawn)
    assert np.array_equal(order[:24], first.ravel())
    traced = recipes.settings_of(recipes.sgd) | {"learning_rate": 0.01}
    new, metrics = lane.step(
        jax.tree.map(lambda x: jnp.asarray(x[0]), before),
        lane.take(known.train, order[24:]),
        KEYS[0],
        traced,
        program=made,
        tx=lane.optimizer(made, traced, num_train=NUM_TRAIN),
        scaling=known.scaling,
    )
    for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(a, b[0], rtol=0, atol=64 * 29 * EPS32)
    mean = (24 * short.train.loss[0] + 5 * metrics.loss) / 29
    np.testing.assert_allclose(long.train.loss[0], mean, rtol=16 * EPS32)


def test_the_mean_of_an_epoch_is_over_examples_and_without_nan():
    of = functools.partial(last_batch.mean_with, sizes=(8, 4))
    steps, nan = jnp.float32([1, 2]), jnp.float32(np.nan)
    assert of(steps, jnp.float32(4)) == (8 + 16 + 16) / 20
    assert of(steps, nan) == 1.5
    assert of(jnp.stack([steps[1], nan]), nan) == 2
    assert np.isnan(of(jnp.stack([nan, nan]), nan))


# ---- precision --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["batch", "weight_standardization", "group"])
def test_bfloat16_trains_and_keeps_its_state_in_float32(name):
    shift = np.arange(NUM_TRAIN).reshape(-1, 1, 1, 1) % 3 - 1.0
    images = np.random.default_rng(0).normal(size=(NUM_TRAIN, *SHAPE)) + shift
    model = models.CNN((8,), 3, norm=NORMS[name])
    made = program(model=model, precision="bfloat16", probes=("mode_gap",))
    both = [
        run(x, KEYS[:1], 8, images, learning_rate=0.05)
        for x in (made, made._replace(precision="float32"))
    ]
    (state, report), (right, expected) = both
    assert {x.dtype for x in jax.tree.leaves((state, report))} == {
        np.dtype(np.float32),
        np.dtype(np.int32),
    }
    assert report.train.loss < 0.5  # chance is 1.1
    assert abs(report.train.loss - expected.train.loss) < 0.1
    kernels = [x.params["logits"]["kernel"] for x in (state, right)]
    assert not np.array_equal(*kernels)
    # float32 leaves hold what bfloat16 cannot
    assert (kernels[0] != kernels[0].astype(jnp.bfloat16).astype(np.float32)).any()


@pytest.mark.parametrize("name", NORMS)
def test_statistics_of_every_norm_stay_float32(name):
    model = models.CNN((8,), 3, norm=NORMS[name])

    def new(key, inputs):
        params, stats = lane.init(key, 1.0, inputs[:1], model=model)
        call = {"train": True, "mutable": list(stats), "precision": "bfloat16"}
        return stats, precision.apply(model, params, stats, inputs, **call)

    images = jax.ShapeDtypeStruct((8, *SHAPE), np.float32)
    stats, (logits, after) = jax.eval_shape(new, KEYS[0], images)
    assert logits.dtype == np.float32
    assert jax.tree.map(lambda x: (x.shape, x.dtype), stats) == jax.tree.map(
        lambda x: (x.shape, x.dtype), dict(after)
    )


def test_float32_is_the_model_itself():
    model = models.CNN((8,), 3, norm=NORMS["batch"])
    params, stats = lane.init(KEYS[0], 1.0, data().train.inputs[:1], model=model)

    def ours(params, x):
        return precision.apply(
            model, params, stats, x, precision="float32", train=False
        )

    def plain(params, x):
        return model.apply({"params": params, **stats}, x, train=False)

    texts = [str(jax.make_jaxpr(f)(params, data().train.inputs)) for f in (ours, plain)]
    assert texts[0] == texts[1]
