"""Splits, scalings and orders: who sees which example, and as what numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from normjax.data import scalings, shuffle_buffer, splits
from normjax.data.cache import DataSet
from normjax.errors import InputError
from normjax.types import Scaling

EPS32 = np.finfo(np.float32).eps
KEY = jax.random.key(0)
ORDER = ("batch_size", "num_steps", "sampling")


def images(num_train: int = 300, num_test: int = 40) -> DataSet:
    """uint8 images [4, 5, 2]; the label of a training row is its number mod 7."""
    x = np.random.default_rng(0).integers(0, 256, (num_train + num_test, 4, 5, 2))
    x = x.astype(np.uint8)
    y = (np.arange(num_train + num_test) % 7).astype(np.int32)
    return DataSet(x[:num_train], y[:num_train], x[num_train:], y[num_train:], 7)


def numbered(num_train: int) -> DataSet:
    """One feature: the number of the row, so a split says which rows it took."""
    x = np.arange(num_train, dtype=np.float32)[:, None]
    y = np.zeros(num_train, np.int32)
    return DataSet(x, y, x[:1], y[:1], 1)


def rows(split) -> np.ndarray:
    return np.asarray(split.inputs)[:, 0].astype(int)


def told(call, *arguments, **keywords) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **keywords)
    return str(caught.value)


def test_splits_are_disjoint_and_cover():
    data = splits.split(numbered(100), KEY, num_validation=30)
    assert len(rows(data.validation)) == 30
    both = np.concatenate([rows(data.train), rows(data.validation)])
    assert sorted(both) == list(range(100))
    assert list(both) != list(range(100))


def test_a_smaller_training_split_begins_the_larger_one():
    """Same key: same validation split, and the training rows are a prefix."""
    full = splits.split(numbered(100), KEY, num_validation=30)
    part = splits.split(numbered(100), KEY, num_train=20, num_validation=30)
    assert list(rows(part.validation)) == list(rows(full.validation))
    assert list(rows(part.train)) == list(rows(full.train)[:20])


def test_another_key_gives_another_split():
    one, two = (
        splits.split(numbered(100), jax.random.key(i), num_validation=30)
        for i in range(2)
    )
    assert list(rows(one.train)) != list(rows(two.train))


def test_stored_inputs_and_their_labels_stay_together():
    """uint8 in, uint8 out; the test split as it was, in its order."""
    source = images()
    data = splits.split(source, KEY, num_validation=50)
    by_image = {x.tobytes(): y for x, y in zip(source.x_train, source.y_train)}
    for split in (data.train, data.validation):
        assert split.inputs.dtype == jnp.uint8
        for x, y in zip(np.asarray(split.inputs), np.asarray(split.labels)):
            assert by_image[x.tobytes()] == y
    np.testing.assert_array_equal(data.test.inputs, source.x_test)
    np.testing.assert_array_equal(data.test.labels, source.y_test)


@pytest.mark.parametrize("scaling", scalings.SCALINGS)
def test_scaling_ignores_validation_and_test_rows(scaling):
    """Every other row replaced by its complement: the same shift and scale, bitwise."""
    source = images()
    key = jax.random.key(3)
    options = {"num_train": 200, "num_validation": 50, "scaling": scaling}
    data = splits.split(source, key, **options)
    kept = {x.tobytes() for x in np.asarray(data.train.inputs)}
    x = [v if v.tobytes() in kept else 255 - v for v in source.x_train]
    changed = source._replace(x_train=np.stack(x), x_test=255 - source.x_test)
    again = splits.split(changed, key, **options)
    assert np.any(again.validation.inputs != data.validation.inputs)
    np.testing.assert_array_equal(again.train.inputs, data.train.inputs)
    for one, two in zip(data.scaling, again.scaling):
        assert one.shape == (4, 5, 2)
        assert one.dtype == jnp.float32
        np.testing.assert_array_equal(one, two)


def scaled_float64(train: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
    """What each scaling maps `x` to when fitted on `train`, straight from the text."""
    train, x = train.astype(np.float64), x.astype(np.float64)
    low, high = train.min(), train.max()
    return {
        "unit": (x - low) / (high - low),
        "pixelwise": (x - train.mean(axis=0)) / (train.std(axis=0) + 1e-6),
        "mean_image": x - train.mean(axis=0),
        "none": x,
    }


@pytest.mark.parametrize("scaling", scalings.SCALINGS)
def test_scaled_against_float64(scaling):
    """One rounding each of shift (at most eps/2 * |shift|), difference, scale, product.

    Budget: eps/2 * (|x - shift| * 3 + |shift|) * scale. Measured, in budgets: unit
    0.55, pixelwise 0.88, mean_image 0.88, none 0. Caught, in budgets: std over n - 1
    (11,000), min and max per pixel (2e7). The 1e-6 is below the rounding of a std of
    70: the constant pixel below shows it.
    """
    source = images()
    data = splits.split(source, KEY, num_train=200, num_validation=50, scaling=scaling)
    expected = scaled_float64(np.asarray(data.train.inputs), source.x_test)[scaling]
    got = splits.scale_inputs(data.test.inputs, data.scaling)
    shift, scale = (np.asarray(a, np.float64)[None] for a in data.scaling)
    size = 3 * np.abs(source.x_test - shift) + np.abs(shift)
    error = np.abs(np.asarray(got, np.float64) - expected)
    assert got.dtype == jnp.float32
    assert np.all(error <= EPS32 / 2 * size * scale)


def test_unit_puts_training_inputs_in_the_unit_interval():
    """Both ends are reached: 255 * float32(1 / 255) rounds to 1."""
    data = splits.split(images(), KEY, num_validation=50)
    x = splits.scale_inputs(data.train.inputs, data.scaling)
    assert (float(x.min()), float(x.max())) == (0.0, 1.0)


def test_unit_of_features_uses_one_min_and_max():
    """-2 to 6 becomes 0 to 1, exactly: the range is a power of two."""
    x = np.array([[-2.0, 0.0], [2.0, 6.0], [0.0, 4.0]], np.float32)
    shift, scale = scalings.unit(x)
    assert (float(shift), float(scale)) == (-2.0, 0.125)


def test_pixelwise_centers_each_pixel():
    """Mean 0 and std 1 over the training rows, within rounding.

    |shift| < 256 rounds by at most 2^-17, times scale <= 1 / 60 for these images; the
    scale, the difference and the product round by eps/2 each of |x| <= 2. The 1e-6
    takes at most 1e-6 / 60 from the std. Measured: 0.2 and 0.13 of the budgets.
    """
    data = splits.split(images(), KEY, num_validation=50, scaling="pixelwise")
    x = np.asarray(splits.scale_inputs(data.train.inputs, data.scaling), np.float64)
    assert float(data.scaling.scale.max()) <= 1 / 60
    assert np.abs(x.mean(axis=0)).max() <= 2**-17 / 60 + 3 * EPS32
    assert np.abs(x.std(axis=0) - 1).max() <= 1e-6 / 60 + 3 * EPS32


def test_pixelwise_keeps_constant_pixels_at_zero():
    source = images()
    source.x_train[:, 1, 2, 0] = 7
    data = splits.split(source, KEY, num_validation=50, scaling="pixelwise")
    x = splits.scale_inputs(data.train.inputs, data.scaling)
    assert np.all(x[:, 1, 2, 0] == 0)
    assert float(data.scaling.scale[1, 2, 0]) == np.float32(1e6)


def test_moments_in_chunks_are_moments():
    """Any cut into chunks: 2,500 rows are three of them; float64 rounding, n * eps."""
    x = images(2500).x_train
    mean, std = scalings._moments(x)
    np.testing.assert_allclose(mean, x.mean(axis=0), rtol=2500 * 2.3e-16)
    np.testing.assert_allclose(std, x.std(axis=0), rtol=2500 * 2.3e-16)


def test_scaled_under_jit_and_vmap():
    """`[lanes, batch, *shape]` at once, lane by lane, or one example: one value.

    Bitwise: a subtraction and a product per element, in whatever loop.
    """
    scaling = Scaling(jnp.full((4, 5, 2), 3.25), jnp.full((4, 5, 2), 0.3))
    x = jnp.asarray(images().x_train[:24]).reshape(3, 8, 4, 5, 2)
    whole = splits.scale_inputs(x, scaling)
    lanes = jax.jit(jax.vmap(splits.scale_inputs, in_axes=(0, None)))(x, scaling)
    np.testing.assert_array_equal(whole, lanes)
    np.testing.assert_array_equal(whole[1, 2], splits.scale_inputs(x[1, 2], scaling))


def test_scaled_refuses_another_shape():
    """[20, 1, 2] would broadcast silently, [40] would not."""
    scaling = Scaling(jnp.zeros((4, 5, 2)), jnp.ones((4, 5, 2)))
    for shape in ((8, 4, 1, 2), (40,)):
        assert told(splits.scale_inputs, jnp.zeros(shape), scaling) == (
            f"inputs.shape={shape}: must end in (4, 5, 2), the shape that the scaling"
            " was fitted to; reshape the inputs after scaling, not before."
        )


@pytest.mark.parametrize("num_examples", [1, 2, 1025, 70_000])
def test_a_permutation_has_each_row_once(num_examples):
    """From 65,537 rows on a position needs 17 bits and the sort a third digit."""
    options = {"batch_size": 1, "num_steps": num_examples, "sampling": "permutation"}
    taken = splits.order(KEY, num_examples, **options)
    assert taken.shape == (num_examples, 1)
    assert taken.dtype == jnp.int32
    np.testing.assert_array_equal(np.sort(taken[:, 0]), np.arange(num_examples))


def test_orders_are_the_same_in_float64_mode():
    """Both are drawn from 32 bits."""
    for sampling in splits.SAMPLINGS:
        options = {"batch_size": 8, "num_steps": 9, "sampling": sampling}
        right = splits.order(KEY, 100, **options)
        with jax.enable_x64(True):
            np.testing.assert_array_equal(splits.order(KEY, 100, **options), right)


def test_an_epoch_is_the_beginning_of_the_permutation():
    """The rows left over, 1000 - 7 * 128, are not seen; no row comes twice."""
    order = functools.partial(splits.order, KEY, 1000, sampling="permutation")
    batches = np.asarray(order(batch_size=128, num_steps=7))
    assert batches.shape == (7, 128)
    assert len(np.unique(batches)) == 7 * 128
    whole = np.asarray(order(batch_size=1000, num_steps=1))
    np.testing.assert_array_equal(batches.ravel(), whole[0, : 7 * 128])


def test_permutations_are_uniform():
    """Chi-square of the 24 orders of 4 rows over 24,000 keys: below 1e-4 by chance.

    23 degrees of freedom: 5.3 is the 5e-5 quantile, 59.2 the 1 - 5e-5 one.
    """
    keys = jax.random.split(KEY, 24_000)
    options = {"batch_size": 4, "num_steps": 1, "sampling": "permutation"}
    draws = jax.vmap(lambda key: splits.order(key, 4, **options)[0])(keys)
    codes = np.asarray(draws) @ np.array([64, 16, 4, 1])
    _, counts = np.unique(codes, return_counts=True)
    assert len(counts) == 24
    assert 5.3 < np.sum((counts - 1000) ** 2 / 1000) < 59.2


def test_a_permutation_has_no_runs():
    """Ascents between neighbours: mean (n - 1) / 2, variance (n + 1) / 12.

    4 standard errors, 296 of 65,535: a false alarm in 6e-5. A sort by 16 random bits,
    one digit of the two, leaves ties in order: about 5,300 ascents too many.
    """
    n = 65_536
    taken = splits.order(KEY, n, batch_size=n, num_steps=1, sampling="permutation")
    ascents = int(np.sum(np.diff(np.asarray(taken[0])) > 0))
    assert abs(ascents - (n - 1) / 2) < 4 * np.sqrt((n + 1) / 12)


def test_replacement_is_uniform_with_repeats():
    """Chi-square of 100 rows over 10,000 draws: below 1e-4 by chance (99 degrees)."""
    options = {"batch_size": 100, "num_steps": 100, "sampling": "replacement"}
    draws = np.asarray(splits.order(KEY, 100, **options))
    counts = np.bincount(draws.ravel(), minlength=100)
    assert len(counts) == 100
    assert 53.3 < np.sum((counts - 100) ** 2 / 100) < 163.4
    assert all(len(np.unique(step)) < 100 for step in draws)


def buffered_by_hand(slots, last, size: int) -> list[int]:
    """What leaves a list that is refilled: slots are drawn as long as rows come."""
    buffer, left = list(range(size)), []
    for row, slot in enumerate(slots, size):
        left.append(buffer[slot])
        buffer[slot] = row
    return left + [buffer[slot] for slot in last]


@pytest.mark.parametrize(("num_examples", "size"), [(1, 25), (9, 25), (9, 1), (200, 7)])
def test_a_shuffle_buffer_is_the_loop_over_its_slots(num_examples, size):
    """The loop gets the slots that are drawn; and no row leaves too early."""
    taken = np.asarray(shuffle_buffer.buffered(KEY, num_examples, size))
    np.testing.assert_array_equal(np.sort(taken), np.arange(num_examples))
    size = min(size, num_examples)
    early = np.argsort(taken) - np.arange(num_examples)  # place less row
    assert early.min() >= 1 - size
    key_slots, key_last = jax.random.split(KEY)
    slots = jax.random.randint(key_slots, (num_examples - size,), 0, size, jnp.int32)
    last = jnp.argsort(jax.random.bits(key_last, (size,), jnp.uint32))
    by_hand = buffered_by_hand(slots.tolist(), last.tolist(), size)
    np.testing.assert_array_equal(taken, by_hand)


def test_orders_through_a_buffer_have_the_probabilities_of_tf_data():
    """Three rows through two slots: 0 1 2, 0 2 1, 1 0 2 and 1 2 0, a quarter each.

    Chi-square over 24,000 keys, 3 degrees of freedom: 22.3 is the 1 - 6e-5 quantile. A
    permutation, whose first row may be 2, is a mutant.
    """
    keys = jax.random.split(KEY, 24_000)
    drawn = jax.vmap(lambda key: shuffle_buffer.buffered(key, 3, 2))(keys)
    orders, counts = np.unique(np.asarray(drawn), axis=0, return_counts=True)
    assert orders.tolist() == [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0]]
    assert np.sum((counts - 6000) ** 2 / 6000) < 22.3


@pytest.mark.parametrize("sampling", splits.SAMPLINGS)
def test_the_order_of_a_lane_does_not_depend_on_the_others(sampling):
    """Under jit and vmap lane k is what key k alone gives; keys differ."""
    options = {"batch_size": 16, "num_steps": 5, "sampling": sampling}
    order = functools.partial(splits.order, num_examples=100, **options)
    keys = jax.random.split(KEY, 3)
    lanes = jax.jit(jax.vmap(order))(keys)
    for lane, key in zip(lanes, keys):
        np.testing.assert_array_equal(lane, order(key))
    assert np.any(lanes[0] != lanes[1])


BAD_SIZES = {
    (0, 0): "num_validation=0: must be at least 1; set num_validation=10.",
    (0, 100): "num_validation=100: must leave some of the 100 training examples to"
    " train on; set num_validation=10.",
    (-1, 10): "num_train=-1: must be at least 0, which takes all that remain; set"
    " num_train=0.",
    (
        91,
        10,
    ): "num_train=91: must be at most 90, as num_validation=10 leaves of"
    " the 100 training examples; set num_train=90.",
}


@pytest.mark.parametrize("sizes", BAD_SIZES)
def test_sizes_that_do_not_fit(sizes):
    num_train, num_validation = sizes
    options = {"num_train": num_train, "num_validation": num_validation}
    assert told(splits.split, numbered(100), KEY, **options) == BAD_SIZES[sizes]


def test_sizes_that_just_fit():
    data = splits.split(numbered(100), KEY, num_train=90, num_validation=10)
    assert len(data.train.labels) == 90


@pytest.mark.parametrize("field", ["y_train", "y_test"])
def test_labels_out_of_range(field):
    source = images()
    labels = getattr(source, field).copy()
    labels[3] = 7
    changed = source._replace(**{field: labels})
    assert told(splits.split, changed, KEY, num_validation=50) == (
        f"{field}: must hold labels from 0 to 6, not 0 to 7; renumber them or raise"
        " num_classes."
    )


def test_an_unknown_scaling():
    options = {"num_validation": 50, "scaling": "pixelwize"}
    assert told(splits.split, images(), KEY, **options) == (
        "scaling='pixelwize': must be one of mean_image, none, pixelwise, unit;"
        " did you mean 'pixelwise'?"
    )


def test_unit_of_a_constant():
    source = images()
    source.x_train[:] = 9
    assert told(splits.split, source, KEY, num_validation=50) == (
        "scaling='unit': must have inputs that differ, and every training input is"
        " 9; set scaling='none'."
    )


BAD_ORDERS = {
    (
        128,
        8,
        "permutation",
    ): "num_steps=8: must be at most 7, the steps of batch_size=128"
    " that fit the 1000 training examples; take fewer steps or smaller batches, or set"
    " sampling='replacement'.",
    (0, 8, "permutation"): "batch_size=0: must be at least 1; set batch_size=1.",
    (128, 0, "replacement"): "num_steps=0: must be at least 1; set num_steps=1.",
    (128, 7, "replace"): "sampling='replace': must be one of permutation, replacement,"
    " shuffle_buffer_25; did you mean 'replacement'?",
}


@pytest.mark.parametrize("case", BAD_ORDERS)
def test_orders_that_cannot_be(case):
    options = dict(zip(ORDER, case))
    assert told(splits.order, KEY, 1000, **options) == BAD_ORDERS[case]
