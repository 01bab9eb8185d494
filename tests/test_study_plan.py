"""Mistakes in a config: one whole line each. And what follows from a right one."""

import dataclasses
import sys

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

import normjax
from normjax import layers
from normjax.errors import InputError
from normjax.optimizers import recipes
from normjax.study import plan
from normjax.study.config import DEFAULTS, arguments


def study(**choices) -> plan.Study:
    """A small study of the digits."""
    return plan.study(normjax.config(**{"num_seeds": 2, "batch_size": 32} | choices))


def message(**choices) -> str:
    """What such a config is answered with."""
    with pytest.raises(InputError) as caught:
        study(**choices)
    return str(caught.value)


MISTAKES = {
    "field": (
        {"batchsize": 3},
        "config='batchsize' is not known. Did you mean 'batch_size'?"
        f" Known: {', '.join(sorted(DEFAULTS))}.",
    ),
    "inner field": (
        {"data": {"nam": "mnist"}},
        "config.data='nam' is not known. Did you mean 'name'?"
        " Known: dir, name, num_test, num_train, num_validation, scaling.",
    ),
    "norm": (
        {"arms": {"norm": ("btch",)}},
        "arms.norm='btch' is not known. Did you mean 'batch'?"
        f" Known: {', '.join(sorted(layers.NORMS))}.",
    ),
    "optimizer": (
        {"arms": {"optimizer": ("adm",)}},
        "arms.optimizer='adm' is not known. Did you mean 'adam'?"
        " Known: adam, rmsprop, sgd, third_moment.",
    ),
    "dotted optimizer": (
        {"arms": {"optimizer": ("optax.lionn",)}},
        "arms.optimizer='optax.lionn': module 'optax' has no 'lionn'."
        " Did you mean 'lion'?",
    ),
    "dotted module": (
        {"arms": {"optimizer": ("my_package.mine",)}},
        "arms.optimizer='my_package.mine' cannot be imported:"
        " No module named 'my_package'. Put its folder on PYTHONPATH, or use a known"
        " name: adam, rmsprop, sgd, third_moment.",
    ),
    "data set": (
        {"data": {"name": "fashion-mnist"}},
        "data.name='fashion-mnist' is not known. Did you mean 'fashion_mnist'?"
        " Known: cifar10, digits, fashion_mnist, mnist. The path of an .npz file"
        " works too.",
    ),
    "placement": (
        {"arms": {"placement": ("before",)}},
        "arms.placement='before' is not known. Known: pooled, post, pre.",
    ),
    "probe": (
        {"probes": ("third_momnt",)},
        "probes='third_momnt' is not known. Did you mean 'third_moment'?"
        " Known: mode_gap, norms, precise, smoothness, third_moment, train_split.",
    ),
    "no level": (
        {"arms": {"norm": ()}},
        "arms.norm=(): must hold one or more different names;"
        " the default is ('none',).",
    ),
    "level twice": (
        {"arms": {"norm": ("batch,batch",)}},
        "arms.norm=('batch', 'batch'): must hold one or more different names;"
        " the default is ('none',).",
    ),
    "baseline": (
        {"baseline": {"norm": "batch"}},
        "baseline.norm='batch' is not known. Known: none.",
    ),
    "type": (
        {"batch_size": "many"},
        "batch_size='many': must be int, as 128 is; set --config.batch_size=...",
    ),
    "zero": (
        {"num_epochs": 0},
        "num_epochs=0: must be at least 1; the default is 10.",
    ),
    "negative": (
        {"batch_size": -1},
        "batch_size=-1: must be at least 1; the default is 128.",
    ),
    "widths": (
        {"model": {"widths": (128, 0)}},
        "model.widths=(128, 0): must be one or more whole numbers of at least 1;"
        " the default is (128, 128).",
    ),
    "convolution": (
        {"model": {"convolution": "image"}},
        "model.convolution='image' is not known. Did you mean 'images'?"
        " Known: auto, images, lax, patches.",
    ),
    "mapping": (
        {"mapping": "vmaps"},
        "mapping='vmaps' is not known. Did you mean 'vmap'? Known: auto, map, vmap.",
    ),
    "preset": (
        {"model": {"batch_norm": "kers"}, "arms": {"norm": "batch"}},
        "model.batch_norm='kers' is not known. Did you mean 'keras'?"
        " Known: flax, haiku, keras, paper, torch.",
    ),
    "batch size": (
        {"arms": {"batch_size": "8,many"}},
        "arms.batch_size=many: must be a whole number from 1 to the 1237 training"
        " examples; set --config.arms.batch_size=128.",
    ),
    "the same batch size twice": (
        {"arms": {"batch_size": "8,08"}},
        "arms.batch_size=08: must be a whole number from 1 to the 1237 training"
        " examples; set --config.arms.batch_size=128.",
    ),
    "rate times batch size": (
        {"reference_batch_size": 1, "settings": {"learning_rate": (2e37,)}},
        "reference_batch_size=1: learning rates times 32 must be float32 above 0;"
        " set --config.reference_batch_size=0.",
    ),
    "narrowing stages": (
        {"model": {"name": "resnet20", "widths": (8, 4)}},
        "model.widths=(8, 4): must not fall from stage to stage, for a shortcut only"
        " adds channels; the paper's are 16, 32, 64.",
    ),
    "smoothness without a rate": (
        {"probes": ("smoothness",), "arms": {"optimizer": "optax.identity"}},
        "probes='smoothness': needs the setting learning_rate, which"
        " optimizer=optax.identity has not; leave the probe out.",
    ),
    "test images": (
        {"data": {"num_test": 1_000}},
        "data.num_test=1000: must be from 0, which takes all, to the 360 test"
        " examples; set --config.data.num_test=0.",
    ),
    "pools": (
        {"model": {"name": "small_cnn", "widths": (4, 4, 4, 4)}},
        "model.widths: 4 max-pools need images of at least 16 pixels a side, got 8;"
        " at most 3 fit.",
    ),
    "batch larger than the data": (
        {"batch_size": 2_000},
        "batch_size=2000: must be a whole number from 1 to the 1237 training"
        " examples; set --config.batch_size=128.",
    ),
    "seeds": (
        {"seeds": (1, 2), "num_seeds": 3},
        "num_seeds=3: seeds lists only 2;"
        " set --config.num_seeds=2 or --config.seeds='()'.",
    ),
    "setting out of range": (
        {"settings": {"learning_rate": (0.1, -0.1)}},
        "settings.learning_rate=-0.1: must be a float32 above 0; the default is 0.1.",
    ),
    "setting of another type": (
        {"settings": {"momentum": ("high",)}},
        "settings.momentum='high': must be a float32 in [0, 1); the default is 0.9.",
    ),
    "setting twice": (
        {"settings": {"momentum": (0.9, 0.9)}},
        "settings.momentum=(0.9, 0.9): must hold different float32 numbers;"
        " leave out what comes twice.",
    ),
    "setting that no arm uses": (
        {"settings": {"decay1": (0.9,)}},
        "settings.decay1=(0.9,): no arm of this study uses it."
        " Used: init_scale, learning_rate, momentum.",
    ),
    "setting without a default": (
        {"arms": {"optimizer": ("optax.lion",)}},
        "settings.learning_rate: optax.lion has no default for it;"
        " set --config.settings.learning_rate=0.001.",
    ),
    "norm over a batch of one": (
        {"arms": {"norm": ("batch",)}, "batch_size": 1},
        "arms.norm='batch', batch_size=1: x.shape=(1, 128): each mean would be over 1"
        " element; must be at least 2, or the output is the same for every x;"
        " train on batches of 2 or more.",
    ),
    "norm without space": (
        {"arms": {"norm": ("instance",)}},
        "arms.norm='instance', batch_size=32: x.shape=(32, 128): instance norm needs"
        " spatial axes, [batch, *spatial, channels]; use layer or group norm here.",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_with_one_line(name):
    choices, expected = MISTAKES[name]
    assert message(**choices) == expected
    assert "\n" not in expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sise=smoke", "config argument='sise' is not known. Did you mean 'size'?"),
        ("size=smok", "size='smok' is not known. Did you mean 'smoke'?"),
        ("smoke", "config argument='smoke' is not known."),
    ],
)
def test_a_config_argument_that_is_not_known(text, expected):
    with pytest.raises(InputError) as caught:
        arguments(text, size=("full", "smoke"), dataset=("digits",))
    kind = "size" if "size=" in text else "config argument"
    known = "full, smoke" if kind == "size" else "dataset, size"
    assert str(caught.value) == f"{expected} Known: {known}."


def test_config_arguments_have_defaults():
    allowed = {"size": ("full", "smoke"), "dataset": ("digits", "mnist")}
    assert arguments("", **allowed) == ["full", "digits"]
    assert arguments("dataset=mnist,size=smoke", **allowed) == ["smoke", "mnist"]


def test_arms_are_every_combination_in_the_order_of_the_factors():
    made = study(
        arms={"norm": ("none", "batch"), "optimizer": "sgd,adam"},
        settings={"learning_rate": (0.1, 0.2), "momentum": (0.0, 0.9)},
    )
    names = ["none-sgd", "none-adam", "batch-sgd", "batch-adam"]
    assert [arm.name for arm in made.arms] == names
    sgd, adam = made.arms[0].settings, made.arms[1].settings
    np.testing.assert_array_equal(
        sgd["learning_rate"], np.float32([0.1, 0.1, 0.2, 0.2])
    )
    np.testing.assert_array_equal(sgd["momentum"], np.float32([0, 0.9, 0, 0.9]))
    assert list(adam["decay2"]) == [np.float32(0.999)] * 2
    assert "momentum" not in adam


def test_numbers_of_parameters():
    """64 inputs, two hidden layers of 128, ten classes; two vectors a batch norm."""
    plain, batch, weight = study(arms={"norm": "none,batch,weight"}).arms
    dense = 64 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10
    assert plain.num_parameters == dense
    assert batch.num_parameters == dense + 4 * 128
    assert weight.num_parameters == dense + 2 * 128


def test_the_published_protocol_keeps_the_faults_that_are_named():
    made = study(
        faults=("memoryless", "scalar_moments"),
        arms={
            "protocol": "corrected,as_published",
            "norm": "batch",
            "optimizer": "sgd,third_moment",
        },
    )
    programs = {arm.name: arm.program for arm in made.arms}
    assert [p.memoryless for p in programs.values()] == [False, False, True, False]
    norms = [p.model.norm for p in programs.values()]
    assert (
        norms == [layers.NORMS["batch"]] * 2 + [layers.NORMS["batch_as_published"]] * 2
    )


def test_regularizers_are_compiled_in_by_name():
    made = study(arms={"regularizer": "none,l2,dropout,weight_decay"})
    assert [arm.program.decays for arm in made.arms] == [
        (),
        ("l2",),
        (),
        ("weight_decay",),
    ]
    assert [arm.program.model.dropout for arm in made.arms] == [0, 0, 1, 0]
    assert made.arms[1].settings["l2"] == np.float32(0.7)


def test_programs_of_equal_studies_are_equal():
    """They are what jit hashes: an unequal one would compile again."""
    first, second = (study(arms={"norm": "batch"}).arms[0].program for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)


def test_a_dotted_optimizer_and_a_dotted_norm():
    made = study(
        arms={"optimizer": "optax.lion", "norm": "flax.linen.LayerNorm"},
        settings={"learning_rate": 1e-3, "b1": 0.95},
    )
    (arm,) = made.arms
    assert arm.program.optimizer is optax.lion
    assert arm.program.model.norm.layer is nn.LayerNorm
    assert arm.settings["b1"] == np.float32(0.95)
    assert arm.settings["b2"] == np.float32(0.99)


def test_only_the_training_split_depends_on_num_train():
    small, large = (study(data={"num_train": n}).data for n in (100, 300))
    assert len(small.train.labels) == 100
    assert (small.validation.inputs == large.validation.inputs).all()
    assert (small.train.inputs == large.train.inputs[:100]).all()


def test_a_program_holds_nothing_that_is_traced():
    """Leaves of Program are static: none is an array, and settings are no part."""
    program = study().arms[0].program
    values = [*program[1:], *dataclasses.asdict(program.model).values()]
    assert not any(isinstance(v, jax.Array | np.ndarray) for v in values)
    assert program.optimizer is recipes.RECIPES["sgd"]
    assert "tensorflow" not in sys.modules


def test_batch_sizes_are_arms_with_rates_in_proportion():
    """Without a factor every arm has batch_size; steps and rates follow the size."""
    choices = {"arms": {"batch_size": "2,8,32"}, "reference_batch_size": 8}
    study = plan.study(normjax.config(**choices, settings={"learning_rate": (0.5,)}))
    assert [a.name for a in study.arms] == ["2", "8", "32"]
    assert [a.program.batch_size for a in study.arms] == [2, 8, 32]
    num_train = len(study.data.train.labels)
    steps = [a.program.steps_per_epoch for a in study.arms]
    assert steps == [num_train // 2, num_train // 8, num_train // 32]
    rates = [a.settings["learning_rate"].tolist() for a in study.arms]
    assert rates == [[0.125], [0.5], [2.0]]
    one = normjax.config(arms={"batch_size": 8}, baseline={"batch_size": 8})
    assert [a.program.batch_size for a in plan.study(one).arms] == [8]
    (alone,) = plan.study(normjax.config(batch_size=16)).arms
    assert alone.factors["batch_size"] == "16"


def test_steps_with_replacement_are_rounded():
    """1,237 / 32 = 38.66: a pass with replacement is 39 steps, a permutation 38."""
    for sampling, steps in (("replacement", 39), ("permutation", 38)):
        (arm,) = plan.study(normjax.config(batch_size=32, sampling=sampling)).arms
        assert arm.program.steps_per_epoch == steps


def test_networks_that_convolve_are_mapped_on_a_cpu():
    model = {"name": "convnet", "widths": (4, 8)}
    (conv,) = plan.study(normjax.config(model=model)).arms
    assert conv.convolutions == {"conv_0": "patches", "conv_1": "images"}
    assert conv.program.mapping == "map"
    (forced,) = plan.study(normjax.config(model=model, mapping="vmap")).arms
    assert forced.program.mapping == "vmap"
    (mlp,) = plan.study(normjax.config()).arms
    assert (mlp.convolutions, mlp.program.mapping) == ({}, "vmap")


def test_a_convolution_can_be_forced():
    model = {"name": "convnet", "widths": (4, 8), "convolution": "patches"}
    (arm,) = plan.study(normjax.config(model=model)).arms
    assert arm.convolutions == {"conv_0": "patches", "conv_1": "patches"}


def test_batch_norm_takes_the_preset():
    model = {"batch_norm": "keras"}
    (arm,) = plan.study(normjax.config(model=model, arms={"norm": "batch"})).arms
    assert arm.program.model.norm.layer().eps == 1e-3


def test_the_first_test_images_are_used():
    study = plan.study(normjax.config(data={"num_test": 50}))
    whole = plan.study(normjax.config())
    np.testing.assert_array_equal(study.data.test.labels, whole.data.test.labels[:50])
