"""Lanes mapped one after the other are the lanes that are vmapped."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from normjax import layers, models
from normjax.errors import InputError
from normjax.optimizers import recipes
from normjax.training import devices, lanes, mappings
from normjax.types import Data, Program, Scaling, Split

pytestmark = pytest.mark.compiled_as_users_do

EPS32 = float(np.finfo(np.float32).eps)
KEYS = jax.random.split(jax.random.key(0), 3)
NUM_STEPS = 4


def data(shape) -> Data:
    """Three classes of images that differ in their mean."""
    draw = np.random.default_rng(0)

    def split(n):
        labels = np.arange(n, dtype=np.int32) % 3
        shift = labels.reshape(-1, *[1] * len(shape)) - 1
        inputs = np.asarray(draw.normal(size=(n, *shape)) + shift, np.float32)
        return Split(jnp.asarray(inputs), jnp.asarray(labels))

    scaling = Scaling(jnp.zeros(shape), jnp.ones(shape))
    return Data(split(32), split(12), split(12), scaling)


def waves(key, shape, dtype=jnp.float32):
    """Kernels without a random number: lanes differ in their orders and their rates."""
    del key
    steps = (np.arange(np.prod(shape)) * 37 % 101 - 50) / 29
    fan_in = np.prod(shape[:-1])
    return jnp.asarray((steps / np.sqrt(fan_in)).reshape(shape), dtype)


BATCH = layers.NORMS["batch"]
MODELS = {  # name -> model, shape of an example
    "mlp": (models.MLP((6,), 3, norm=BATCH, kernel_init=waves), (5,)),
    "cnn": (
        models.CNN((4,), 3, norm=BATCH, kernel_init=waves, convolution="images"),
        (6, 6),
    ),
}


@functools.cache
def run(name, mapping, numbers=(0, 1, 2)):
    """Two epochs of two devices' lanes: the last state with padding, all reports."""
    model, shape = MODELS[name]
    program = Program(
        model=model,
        optimizer=recipes.sgd,
        batch_size=8,
        steps_per_epoch=NUM_STEPS,
        mapping=mapping,
    )
    rates = np.float32([0.1, 0.2, 0.05])[list(numbers)]
    settings = {
        "learning_rate": rates,
        "momentum": np.full(len(numbers), np.float32(0)),
    }
    keys = KEYS[np.array(numbers)]
    trained = lanes.train(keys, settings, data(shape), program=program, num_epochs=2)
    reports = []
    for state, report in trained:  # noqa: B007 (the last state is returned)
        reports.append(report)
    return jax.tree.map(np.asarray, state), reports


@pytest.mark.parametrize("mapping", ["map", "map-2"])
@pytest.mark.parametrize("name", MODELS)
def test_mapped_lanes_report_what_vmapped_lanes_report(name, mapping):
    """Budget: 8 steps, each rounding numbers of size 1 by a few eps; what came before
    shrinks (a change of the kernels to 0.8 of it), so 32 eps. Measured: 0 to 1.
    """
    (state, reports), (right, rights) = run(name, mapping), run(name, "vmap")
    assert jax.tree.all(
        jax.tree.map(
            lambda a, b: a.shape == b.shape and np.max(np.abs(a - b)) <= 32 * EPS32,
            reports,
            rights,
        )
    )
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(right)):
        assert np.max(np.abs(a[:3] - b[:3])) <= 32 * EPS32
    assert np.all(reports[1].train.loss < reports[0].train.loss)


def test_mapped_lanes_are_a_loop_on_each_device():
    """Their products are not batched; those of vmapped lanes, or a bundle, are one."""
    kept, kernels = np.ones((4, 2, 3), np.float32), np.ones((3, 5), np.float32)
    product = lambda x, kernel: (x, x @ kernel)
    dots = {"map": "2x3", "map-2": "2x2x3", "vmap": "2x2x3"}
    for mapping, shape in dots.items():
        mesh, axes = devices.mesh_for(4), (0, None)
        lanes_of = mappings.map_lanes(product, axes, mapping)
        every = jax.jit(devices.divide(lanes_of, mesh, (0, *axes)))
        real = np.ones(4, bool)
        text = every.lower(real, kept, kernels).as_text()
        assert text.count("stablehlo.while") == (mapping != "vmap")
        assert f"(tensor<{shape}xf32>, tensor<3x5xf32>)" in text
        assert np.array_equal(every(real, kept, kernels)[1], np.full((4, 2, 5), 3))


def test_padding_does_nothing_where_lanes_are_mapped():
    """Three lanes on two devices are four; the last is a copy of the first."""
    state, _ = run("cnn", "map")
    assert list(state.step) == [2 * NUM_STEPS] * 3 + [0]
    copied, _ = run("cnn", "vmap")
    assert list(copied.step) == [2 * NUM_STEPS] * 4
    kernel = [s.params["conv_0"]["kernel"] for s in (state, copied)]
    assert np.array_equal(kernel[1][0], kernel[1][3])
    assert not np.array_equal(kernel[0][0], kernel[0][3])
    assert np.all(state.stats["batch_stats"]["norm_0"]["mean"][3] == 0)


@pytest.mark.parametrize("k", [0, 2])
def test_a_mapped_lane_alone_is_the_lane_among_others(k):
    """To the bit: no width enters what is compiled for a lane."""
    together, reports = run("cnn", "map")
    alone, own = run("cnn", "map", (k,))
    same = lambda a, b: np.array_equal(a[0], b[k])
    assert jax.tree.all(jax.tree.map(same, (alone, own), (together, reports)))


@pytest.mark.parametrize("name", MODELS)
def test_a_lane_of_a_bundle_does_not_depend_on_the_others(name):
    """To the bit: not on its place, nor on who is beside it, nor on how many are.

    Nor does what is padded out train: a device without a real lane skips its bundle.
    """
    bundle = "map-4"
    together, reports = run(name, bundle, (0, 1, 2))
    assert list(together.step) == [2 * NUM_STEPS] * 4 + [0] * 4
    same = lambda a, b: np.array_equal(a[0], b[2])
    for numbers in ((2,), (2, 1), (2, 0, 0, 1, 1, 0, 1, 0, 1)):
        other, own = run(name, bundle, numbers)
        assert jax.tree.all(jax.tree.map(same, (other, own), (together, reports)))


@pytest.mark.parametrize("mapping", ["map-1", "map-01", "map-1001", "map-", "vmaps"])
def test_what_is_no_mapping_is_refused(mapping):
    near = "vmap" if mapping == "vmaps" else "map-8"
    with pytest.raises(InputError) as caught:
        mappings.bundle_size(mapping)
    assert str(caught.value) == (
        f"mapping={mapping!r}: must be one of data-parallel, map, map-8, vmap; map-8"
        f" stands for any bundle of 2 to 1,000 lanes; did you mean {near!r}?"
    )


@pytest.mark.parametrize(
    ("mapping", "lanes_at_once"),
    [("vmap", 0), ("map", 4), ("map-8", 32), ("data-parallel", 1)],
)
def test_lanes_that_four_devices_compute_at_a_time(mapping, lanes_at_once):
    assert mappings.lanes_at_once(mapping, 4) == lanes_at_once


def test_a_second_grid_of_settings_does_not_compile_again():
    run("mlp", "map")
    before = lanes.epoch_lanes._cache_size()
    run("mlp", "map", (2, 0, 1))
    assert lanes.epoch_lanes._cache_size() == before
