"""A user's data, given as arrays: what a study makes of them, and what it refuses."""

import types

import jax
import numpy as np
import pytest

import normjax
from normjax.data import arrays, room, sources, splits
from normjax.errors import InputError
from normjax.study import plan
from normjax.training import devices

ROWS = np.arange(30)
INPUTS = (ROWS[:, None] * [7, 11, 13] % 29).astype(np.float32)
TRAIN, TEST = (INPUTS[:20], ROWS[:20] % 4), (INPUTS[20:], ROWS[20:] % 4)
HELD_OUT = (INPUTS[3:8] + 0.5, ROWS[3:8] % 4)
CHOICES = {"num_seeds": 2, "batch_size": 4, "data": {"num_validation": 5}}
GIVE = "give a tuple (x_train, y_train, x_test, y_test), or a dict of these names"


def study(given, /, **choices):
    return plan.study(normjax.config(**CHOICES | choices), data=given)


def test_arrays_are_the_set_that_they_are_taken_from():
    """The same networks as by name, whatever holds the arrays."""
    stored = sources.data_set("digits")
    by_name = plan.study(normjax.config(num_seeds=2))
    held = stored._asdict()
    named = {name: held[name] for name in arrays.REQUIRED}
    for data in (stored[:4], list(stored[:4]), named):
        made = plan.study(normjax.config(num_seeds=2), data=data)
        assert [arm.id for arm in made.arms] == [arm.id for arm in by_name.arms]
        assert made.config["data"]["name"] == "<arrays>"


def test_a_validation_split_that_is_given_is_taken_as_it_is():
    """And nothing is held out of the training split, whose order stays the key's."""
    made = study((*TRAIN, *HELD_OUT, *TEST))
    np.testing.assert_array_equal(made.data.validation.inputs, HELD_OUT[0])
    np.testing.assert_array_equal(made.data.validation.labels, HELD_OUT[1])
    np.testing.assert_array_equal(
        np.sort(made.data.train.inputs[:, 0]), sorted(INPUTS[:20, 0])
    )
    assert made.notices == (
        "data.num_validation=5 is not used, for the data has a validation split",
    )
    part = study((*TRAIN, *HELD_OUT, *TEST), data={"num_train": 7})
    np.testing.assert_array_equal(part.data.train.inputs, made.data.train.inputs[:7])
    assert part.notices == ()  # 200, which is the default, was not chosen


def test_classes_come_from_the_labels():
    wide = (TRAIN[0], TRAIN[1] * 3, TEST[0], TEST[1] * 3)
    assert study(wide).arms[0].program.model.num_classes == 10


def test_classes_without_an_example_are_told():
    labels = ROWS % 4 * 3
    assert study((TRAIN[0], labels[:20], TEST[0], labels[20:])).notices == (
        "data: no training example has the label 1, 2, 4, 5, 7, ... (6 of 10 classes)",
    )
    assert study((*TRAIN, *TEST)).notices == ()


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 2, 3), (1, 2, 1, 3)])
def test_examples_may_have_any_shape(shape):
    x = np.resize(INPUTS, (30, *shape))
    made = study((x[:20], TRAIN[1], x[20:], TEST[1]))
    assert made.data.train.inputs.shape == (15, *shape)


def test_a_record_of_arrays_is_not_found_by_its_config_alone():
    made = study((*TRAIN, *TEST))
    assert plan.study(made.config, data=(*TRAIN, *TEST)).arms[0].id == made.arms[0].id
    with pytest.raises(InputError) as caught:
        plan.study(made.config)
    assert str(caught.value) == (
        "data.name='<arrays>': must be given as it was, as arrays, for they were in no"
        " file; call normjax.run(config, data=...), or write them to an .npz."
    )


def test_data_that_does_not_fit_is_refused_before_it_is_split(monkeypatch):
    """With what it takes and what is free; a part of it that fits is taken."""
    x = np.zeros((30, 1024), np.float32)
    x[:, 0] = ROWS
    data = (x[:20], TRAIN[1], x[20:], TEST[1])
    told = "data.name='<arrays>': must fit into memory: it takes {}, of which {} free;"
    told += " take a part of it by data.num_train and data.num_test."
    monkeypatch.setattr(devices, "free_bytes", lambda: 200 * 1024)
    with monkeypatch.context() as inner:
        inner.setattr(splits, "split", None)
        assert message(data) == told.format("240.0 KiB", "the host has 200.0 KiB")
        inner.setattr(devices, "free_bytes", lambda: 110 * 1024)
        gpu = types.SimpleNamespace(platform="gpu", device_kind="NVIDIA H100")
        inner.setattr(jax, "local_devices", lambda: [gpu])
        has = "a NVIDIA H100 has 110.0 KiB"
        assert message(data) == told.format("120.0 KiB", has)
    parts = {"num_train": 12, "num_test": 8, "num_validation": 5}
    made = study(data, data=parts)
    assert 2 * sum(x.inputs.nbytes for x in made.data[:3]) == 200 * 1024


def test_arrays_that_the_host_cannot_hold_as_float32_are_refused(monkeypatch):
    """A memory map of a file may be larger than the memory; uint8 is not copied."""
    x = np.zeros((30, 1024), np.float64)
    monkeypatch.setattr(room, "host_bytes", lambda: 100 * 1024)
    assert message((x[:20], TRAIN[1], x[20:], TEST[1])) == (
        "data: must fit into memory: as float32 it takes 120.0 KiB, of which the host"
        " has 100.0 KiB free; give fewer examples, or use a larger machine."
    )
    x = x.astype(np.uint8)
    assert arrays.data_set_of((x[:20], TRAIN[1], x[20:], TEST[1])).x_train.base is x


def message(given) -> str:
    """What a study of such data is answered with."""
    with pytest.raises(InputError) as caught:
        study(given)
    return str(caught.value)


MISTAKES = {
    "no arrays": (3, f"must hold four or six arrays, not int; {GIVE}."),
    "three arrays": (
        (*TRAIN, TEST[0]),
        f"must hold four or six arrays, not 3 arrays; {GIVE}.",
    ),
    "a name": (
        {"x_train": TRAIN[0], "y_train": TRAIN[1], "x_tst": TEST[0]},
        "must hold an array 'x_test', not only x_train, y_train, x_tst; rename"
        " 'x_tst' to 'x_test'.",
    ),
    "capitals": (
        {"X_train": TRAIN[0], "y_train": TRAIN[1], "x_test": TEST[0]},
        "must hold an array 'x_train', not only X_train, y_train, x_test; rename"
        " 'X_train' to 'x_train'.",
    ),
    "other units": (
        (INPUTS[:20].astype(np.uint8), TRAIN[1], *TEST),
        "x_test must hold whole numbers as x_train does, which is uint8, not float32;"
        " store both in the same units, with one dtype.",
    ),
    "one class": (
        (TRAIN[0], TRAIN[1] * 0, TEST[0], TEST[1] * 0),
        "y_train must hold two classes or more, not 0 alone; add examples of another"
        " class.",
    ),
    "validation": (
        (*TRAIN, HELD_OUT[0], HELD_OUT[1] + 9, *TEST),
        "y_validation must hold labels up to 3, the largest in y_train, not 12; remove"
        " such rows of y_validation or add some to y_train.",
    ),
    "shape": (
        (*TRAIN, HELD_OUT[0][:, :2], HELD_OUT[1], *TEST),
        "x_validation must have examples of shape (3,) as x_train has, not (2,); give"
        " both the same shape.",
    ),
    "one-hot": (
        (TRAIN[0], np.eye(4)[TRAIN[1]], *TEST),
        "y_train must have shape (20,), one label for each row of the inputs, not"
        " (20, 4); store the classes themselves, y.argmax(axis=1) if it is one-hot.",
    ),
    "targets": (
        (TRAIN[0], TRAIN[0][:, 0] / 2, *TEST),
        "y_train must hold integers, not float32; number the classes from 0 on; there"
        " is no regression.",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_with_one_line(name):
    data, expected = MISTAKES[name]
    assert message(data) == f"data: {expected}"


def test_arrays_of_jax_are_arrays():
    data = jax.tree.map(jax.numpy.asarray, (*TRAIN, *TEST))
    assert study(data).arms[0].id == study((*TRAIN, *TEST)).arms[0].id
