"""Mistakes in a config: one whole line each. And what follows from a right one."""

import dataclasses
import json
import sys

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

import normjax
from normjax import layers
from normjax.audit import protocols
from normjax.errors import InputError
from normjax.optimizers import recipes, schedules
from normjax.study import plan
from normjax.study.config import DEFAULTS, arguments
from normjax.study.description import describe
from normjax.training import lane, probes

PROTOCOLS = ("corrected", "as_published")


def study(**choices) -> plan.Study:
    """A small study of the digits."""
    return plan.study(normjax.config(**{"num_seeds": 2, "batch_size": 32} | choices))


def message(**choices) -> str:
    """What such a config is answered with."""
    with pytest.raises(InputError) as caught:
        study(**choices)
    return str(caught.value)


NORMS = ", ".join(sorted(layers.NORMS))
RECIPES = ", ".join(sorted(recipes.RECIPES))
SCHEDULES = ", ".join(sorted(schedules.SCHEDULES))
FACTORS = ", ".join(sorted(DEFAULTS["arms"]))
FIXED = {"protocol", "reading", "batch_size"}
REPLACEABLE = ", ".join(sorted({*DEFAULTS["arms"]} - FIXED))
PROBES = ", ".join(sorted(probes.PROBES))
SETTINGS = "init_scale, learning_rate, momentum"
MISTAKES = {
    "field": (
        {"batchsize": 3},
        "batchsize: must be one of the fields, such as batch_size,"
        " reference_batch_size, baseline;"
        " did you mean 'batch_size'?",
    ),
    "inner field": (
        {"data": {"nam": "mnist"}},
        "data.nam: must be one of the fields name, num_test, num_train,"
        " num_validation, scaling, dir, subset; did you mean 'name'?",
    ),
    "group": (
        {"data": "mnist"},
        "data='mnist': must be a group of fields; set one, data.name.",
    ),
    "norm": (
        {"arms": {"norm": ("btch",)}},
        f"arms.norm='btch': must be one of {NORMS}; did you mean 'batch'?",
    ),
    "norm that the baseline names": (
        {"arms": {"norm": ("nope",)}, "baseline": {"norm": "none"}},
        f"arms.norm='nope': must be one of {NORMS}; did you mean 'none'?",
    ),
    "optimizer": (
        {"arms": {"optimizer": ("adm",)}},
        f"arms.optimizer='adm': must be one of {RECIPES}; did you mean 'adam'?",
    ),
    "dotted optimizer": (
        {"arms": {"optimizer": ("optax.lionn",)}},
        "arms.optimizer='optax.lionn': must be in module 'optax', which has no"
        " 'lionn'; did you mean 'lion'?",
    ),
    "dotted module": (
        {"arms": {"optimizer": ("my_package.mine",)}},
        "arms.optimizer='my_package.mine': must be importable (ModuleNotFoundError:"
        " No module named 'my_package'); put its folder on PYTHONPATH, or use one of"
        f" {RECIPES}.",
    ),
    "schedule that branches on the rate": (
        {"arms": {"optimizer": f"{__name__}.warmed_up"}},
        f"arms.optimizer='{__name__}.warmed_up': must work on traced numbers"
        " (TracerBoolConversionError: Attempted boolean conversion of traced array with"
        " shape bool[]); let it choose by jax.numpy.where in place of `if`.",
    ),
    "placement": (
        {"arms": {"placement": ("before",)}},
        "arms.placement='before': must be one of pooled, post, pre;"
        " choose one of them.",
    ),
    "penalty": (
        {"arms": {"penalty": "l1"}},
        "arms.penalty='l1': must be one of dropout, l2, l2_batch, none,"
        " weight_decay; choose one of them.",
    ),
    "penalty without a strength": (
        {"arms": {"penalty": "l2"}},
        "settings.l2: must be given, for optimizer=sgd with penalty=l2 has no default"
        " for it; set settings.l2=0.001.",
    ),
    "protocol": (
        {"arms": {"protocol": "as_published"}},
        "arms.protocol='as_published': must be one of corrected; choose one of them.",
    ),
    "level of a protocol": (
        {"protocols": {"as_published": {"norm": {"batch": "scalar"}}}},
        f"protocols.as_published.norm.batch='scalar': must be one of {NORMS};"
        " did you mean 'scalar_batch'?",
    ),
    "factor of a protocol": (
        {"protocols": {"as_published": {"norms": {}}}},
        f"protocols.as_published='norms': must be one of {REPLACEABLE};"
        " did you mean 'norm'?",
    ),
    "depth of several widths": (
        {"arms": {"depth": (2, 3)}},
        "model.widths=(128, 128): must be one width if model.depth or arms.depth"
        " repeats it; set model.widths=(128,).",
    ),
    "depth": (
        {"arms": {"depth": (2, -1)}, "model": {"widths": (8,)}},
        "arms.depth=-1: must be from 0 (as many as widths) to 1000; set arms.depth=2.",
    ),
    "unstated": (
        {"unstated": ("kernel_int",)},
        f"unstated='kernel_int': must be one of {FACTORS}; did you mean 'kernel_init'?",
    ),
    "probe": (
        {"probes": ("third_momnt",)},
        f"probes='third_momnt': must be one of {PROBES}; did you mean 'third_moment'?",
    ),
    "no level": (
        {"arms": {"optimizer": ()}},
        "arms.optimizer=(): must hold one or more different levels;"
        " set arms.optimizer=('sgd',).",
    ),
    "level twice": (
        {"arms": {"norm": ("batch,batch",)}},
        "arms.norm=('batch', 'batch'): must hold one or more different levels;"
        " set arms.norm=('none', 'batch').",
    ),
    "baseline": (
        {"baseline": {"norm": "bach"}},
        f"baseline.norm='bach': must be one of {NORMS}; did you mean 'batch'?",
    ),
    "factor of the baseline": (
        {"baseline": {"nrm": "batch"}},
        "baseline='nrm': must be one of batch_size, norm, optimizer, penalty,"
        " placement, protocol; did you mean 'norm'?",
    ),
    "type": (
        {"batch_size": "many"},
        "batch_size='many': must be int, as 128 is; set batch_size=128.",
    ),
    "zero": (
        {"num_epochs": 0},
        "num_epochs=0: must be from 1 to 1000000; set num_epochs=10.",
    ),
    "negative": (
        {"batch_size": -1},
        "batch_size=-1: must be from 1 to 2^31 - 1; set batch_size=128.",
    ),
    "widths": (
        {"model": {"widths": (128, 0)}},
        "model.widths=(128, 0): must be one or more whole numbers from 1 to 2^31 - 1;"
        " set model.widths=(128, 128).",
    ),
    "kernel size": (
        {"model": {"kernel_size": 4}},
        "model.kernel_size=4: must be odd, from 1 to 999; set model.kernel_size=3.",
    ),
    "convolution": (
        {"model": {"convolution": "image"}},
        "model.convolution='image': must be one of auto, images, lax, patches,"
        " planes, winograd; did you mean 'images'?",
    ),
    "mapping": (
        {"mapping": "vmaps"},
        "mapping='vmaps': must be one of auto, data-parallel, map, map-8, vmap;"
        " map-8 stands for any bundle of 2 to 1,000 lanes; did you mean 'vmap'?",
    ),
    "preset": (
        {"model": {"batch_norm": "kers"}, "arms": {"norm": "batch"}},
        "model.batch_norm='kers': must be one of flax, haiku, keras, paper, torch;"
        " did you mean 'keras'?",
    ),
    "batch size": (
        {"arms": {"batch_size": (8, "many")}},
        "arms.batch_size='many': must be a whole number from 1 to the 1237 training"
        " examples; set arms.batch_size=128.",
    ),
    "the same batch size twice": (
        {"arms": {"batch_size": (8, 8)}},
        "arms.batch_size=(8, 8): must hold one or more different levels;"
        " set arms.batch_size=(32, 128).",
    ),
    "rate times batch size": (
        {"reference_batch_size": 1, "settings": {"learning_rate": (2e37,)}},
        "reference_batch_size=1: learning rates times 32 must be float32 above 0;"
        " set reference_batch_size=0.",
    ),
    "narrowing stages": (
        {"model": {"name": "resnet20", "widths": (8, 8, 4)}},
        "model.widths=(8, 8, 4): must not fall from stage to stage, for a shortcut only"
        " adds channels; the paper's are 16, 32, 64.",
    ),
    "images": (
        {"model": {"name": "cnn"}},
        "model: convolutions need images, got examples of shape (5,);"
        " use model.name=mlp.",
    ),
    "schedule": (
        {"schedule": "cosin"},
        f"schedule='cosin': must be one of {SCHEDULES}; did you mean 'cosine'?",
    ),
    "schedule as a factor": (
        {"arms": {"schedule": "constant,warmup"}},
        f"arms.schedule='warmup': must be one of {SCHEDULES};"
        " did you mean 'warmup_cosine'?",
    ),
    "what is no schedule": (
        {"schedule": "optax.sgdr_schedule"},
        "schedule='optax.sgdr_schedule': must be a function of step, learning_rate and"
        " num_steps, or must make a function of the step from peak_value, init_value or"
        f" learning_rate; use one of {SCHEDULES}, or a factory such as"
        " optax.cosine_decay_schedule.",
    ),
    "schedule that branches on a setting": (
        {"arms": {"schedule": "optax.exponential_decay"}},
        "arms.schedule='optax.exponential_decay': must make a schedule of traced"
        " numbers (TracerBoolConversionError: Attempted boolean conversion of traced"
        " array with shape bool[]); use cosine, warmup_cosine, linear, exponential,"
        " step of normjax.",
    ),
    "schedule of several rates": (
        {"schedule": f"{__name__}.two_rates"},
        f"schedule='{__name__}.two_rates': must give one rate for a step, not"
        " float32[2]; return a scalar.",
    ),
    "optimizer that is none": (
        {"arms": {"optimizer": f"{__name__}.no_optimizer"}},
        f"arms.optimizer='{__name__}.no_optimizer': must be a function of named"
        " arguments that returns an optax.GradientTransformation; use one of"
        f" {', '.join(sorted(recipes.RECIPES))}, or a factory such as optax.lion.",
    ),
    "a function for its name": (
        {"arms": {"optimizer": (optax.lion,)}},
        "arms.optimizer=" + repr(optax.lion) + ": must be a text, a number, or a tuple"
        " or a group of these; give its importable name, 'optax._src.alias.lion'.",
    ),
    "schedule that starts at 0": (
        {"schedule": f"{__name__}.from_zero"},
        f"schedule='{__name__}.from_zero': must give a finite rate above 0 at the first"
        " of 100 steps, not 0, where learning_rate is 0.1; the first step is number 0:"
        " count by step + 1.",
    ),
    "schedule that ends below 0": (
        {"arms": {"schedule": f"{__name__}.to_below_zero"}},
        f"arms.schedule='{__name__}.to_below_zero': must give a finite rate from 0 on"
        " at the last of 100 steps, not -0.098, where learning_rate is 0.1; let it give"
        " rates that are above 0 and finite.",
    ),
    "schedule without a rate": (
        {"schedule": "cosine", "arms": {"optimizer": "optax.identity"}},
        "schedule='cosine': needs the setting learning_rate, which identity has not;"
        " use constant.",
    ),
    "schedule of an optimizer that computes with its rate": (
        {"schedule": "cosine", "arms": {"optimizer": f"{__name__}.twice"}},
        f"arms.optimizer='{__name__}.twice': cannot be used with penalty=none and"
        " schedule=cosine (TypeError: unsupported operand type(s) for *: 'int' and"
        " 'function'); mend it, or choose another.",
    ),
    "schedule without its setting": (
        {"schedule": "optax.linear_schedule"},
        "settings.end_value: must be given, for optimizer=sgd with penalty=none has no"
        " default for it; set settings.end_value=0.001.",
    ),
    "warm-up over all steps": (
        {"schedule": "warmup_cosine", "settings": {"warmup_fraction": (1.0,)}},
        "settings.warmup_fraction=1.0: must be a float32 in [0, 1);"
        " set settings.warmup_fraction=0.1.",
    ),
    "gradients without a norm": (
        {"settings": {"clip_norm": (0.0,)}},
        "settings.clip_norm=0.0: must be a float32 above 0;"
        " set settings.clip_norm=0.001.",
    ),
    "smoothness without a rate": (
        {"probes": ("smoothness",), "arms": {"optimizer": "optax.identity"}},
        "probes='smoothness': needs the setting learning_rate, which"
        " optimizer=optax.identity with penalty=none has not; leave the probe out.",
    ),
    "batch larger than the data": (
        {"batch_size": 2_000},
        "batch_size=2000: must be a whole number from 1 to the 1237 training examples;"
        " set batch_size=128.",
    ),
    "seeds": (
        {"seeds": (1, 2), "num_seeds": 3},
        "num_seeds=3: must be at most 2, the seeds that are listed;"
        " set num_seeds=2 or seeds=().",
    ),
    "setting out of range": (
        {"settings": {"learning_rate": (0.1, -0.1)}},
        "settings.learning_rate=-0.1: must be a float32 above 0;"
        " set settings.learning_rate=0.1.",
    ),
    "setting of another type": (
        {"settings": {"momentum": ("high",)}},
        "settings.momentum='high': must be a float32 in [0, 1);"
        " set settings.momentum=0.9.",
    ),
    "setting twice": (
        {"settings": {"momentum": (0.9, 0.9)}},
        "settings.momentum=(0.9, 0.9): must hold different float32 numbers;"
        " leave out what comes twice.",
    ),
    "setting that no arm uses": (
        {"settings": {"b1": (0.9,)}},
        f"settings.b1=(0.9,): must be a setting of some arm; the arms use {SETTINGS};"
        " leave it out.",
    ),
    "setting without a default": (
        {"arms": {"optimizer": ("optax.lion",)}},
        "settings.learning_rate: must be given, for optimizer=optax.lion with"
        " penalty=none has no default for it; set settings.learning_rate=0.001.",
    ),
}


def no_optimizer(learning_rate):
    """Needs a learning rate, and makes nothing of it."""
    return learning_rate


def from_zero(step, *, learning_rate, num_steps):
    """A warm-up whose first step trains nothing."""
    return learning_rate * step / num_steps


def to_below_zero(step, *, learning_rate, num_steps):
    """No schedule: half of its steps go up the slope."""
    return learning_rate * (1 - 2 * step / num_steps)


def two_rates(step, *, learning_rate):
    """No schedule, for it gives two rates."""
    return learning_rate * np.ones(2, np.float32)


def twice(learning_rate=0.1):
    """A user's recipe that takes no schedule."""
    return optax.sgd(2 * learning_rate)


def warmed_up(learning_rate=0.1):
    """A user's recipe: optax's own warm-up compares the rate with 0 in Python."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, 100, 1_000)
    return optax.sgd(schedule)


def test_a_setting_that_goes_on_is_traced():
    """A schedule that branches on nothing traced is an optimizer like any other."""
    (arm,) = study(arms={"optimizer": f"{__name__}.annealed"}).arms
    assert arm.settings["learning_rate"] == np.float32(0.1)


def annealed(learning_rate=0.1):
    """A user's recipe with a schedule."""
    return optax.sgd(optax.cosine_decay_schedule(learning_rate, 1_000))


def vectors(folder) -> str:
    """A user's data set of vectors: five features, two classes."""
    x, y = np.zeros((60, 5), np.float32), np.arange(60) % 2
    x[:, 0] = y
    np.savez(folder / "x.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    return str(folder / "x.npz")


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_with_one_line(name, tmp_path):
    choices, expected = MISTAKES[name]
    if name == "images":
        choices = choices | {"data": {"name": vectors(tmp_path), "num_validation": 10}}
    assert message(**choices) == expected
    assert "\n" not in expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "sise=smoke",
            "config argument='sise': must be one of dataset, size;"
            " did you mean 'size'?",
        ),
        (
            "size=smok",
            "config argument size='smok': must be one of full, smoke;"
            " did you mean 'smoke'?",
        ),
        (
            "smoke",
            "config argument='smoke': must be one of dataset, size;"
            " choose one of them.",
        ),
    ],
)
def test_a_config_argument_that_is_not_known(text, expected):
    with pytest.raises(InputError) as caught:
        arguments(text, size=("full", "smoke"), dataset=("digits",))
    assert str(caught.value) == expected


def test_config_arguments_have_defaults():
    allowed = {"size": ("full", "smoke"), "dataset": ("digits", "mnist")}
    assert arguments("", **allowed) == ["full", "digits"]
    assert arguments("dataset=mnist,size=smoke", **allowed) == ["smoke", "mnist"]


@pytest.mark.parametrize(
    ("arms", "name"),
    [
        ({}, "none"),
        ({"norm": ("group",), "batch_size": (16,)}, "group"),
        ({"optimizer": ("adam",)}, "adam"),
        ({"norm": ("batch",), "placement": ("post",)}, "batch-post"),
    ],
)
def test_one_arm_is_called_by_what_is_not_usual_and_its_id_knows_no_name(arms, name):
    (arm,) = study(arms=arms).arms
    varied = {"norm": ("layer", *(arms.get("norm") or ("none",)))}
    assert arm.name == name
    assert arm.id == study(arms=arms | varied).arms[1].id


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
    assert list(adam["b2"]) == [np.float32(0.999)] * 2
    assert "momentum" not in adam


def test_numbers_of_parameters():
    """64 inputs, two hidden layers of 128, ten classes; two vectors a batch norm."""
    plain, batch, weight = study(arms={"norm": "none,batch,weight"}).arms
    dense = 64 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10
    assert plain.num_parameters == dense
    assert batch.num_parameters == dense + 4 * 128
    assert weight.num_parameters == dense + 2 * 128


def test_a_protocol_builds_other_levels_and_the_arms_keep_their_names():
    """The third moment has no entry: both its arms are one program, trained alike."""
    made = study(
        protocols={
            "as_published": {
                "norm": {"batch": "scalar_batch"},
                "optimizer": {"sgd": "normjax.audit.protocols.memoryless_sgd"},
            }
        },
        arms={
            "protocol": "corrected,as_published",
            "norm": "none,batch",
            "optimizer": "sgd,third_moment",
        },
    )
    programs = {arm.name: arm.program for arm in made.arms}
    optimizers = [programs[f"{x}-none-sgd"].optimizer for x in PROTOCOLS]
    assert optimizers == [recipes.sgd, protocols.memoryless_sgd]
    corrected, published = (programs[f"{x}-none-third_moment"] for x in PROTOCOLS)
    assert corrected == published
    norms = [programs[f"{x}-batch-third_moment"].model.norm for x in PROTOCOLS]
    assert norms == [layers.NORMS["batch"], layers.NORMS["scalar_batch"]]
    for corrected, published in zip(made.arms[:4], made.arms[4:]):
        assert published.factors == corrected.factors | {"protocol": "as_published"}
        assert published.settings == corrected.settings


def test_penalties_are_compiled_in_by_name():
    made = study(
        arms={"penalty": "none,l2,dropout,weight_decay"}, settings={"l2": (0.7,)}
    )
    assert [arm.program.penalties for arm in made.arms] == [
        (),
        ("l2",),
        (),
        ("weight_decay",),
    ]
    assert [arm.program.model.dropout for arm in made.arms] == [0, 0, 1, 0]
    assert made.arms[1].settings["l2"] == np.float32(0.7)
    assert made.arms[2].settings["dropout_rate"] == np.float32(0.3)


def test_what_a_user_took_away_is_a_notice():
    """A baseline level or the strength of a penalty that no arm has any more."""
    made = study(
        arms={"norm": "group"},
        baseline={"norm": "none", "optimizer": "sgd"},
        settings={"l2": (0.7,)},
    )
    assert made.baseline == made.config["baseline"] == {"optimizer": "sgd"}
    assert made.notices == (
        "baseline.norm='none' is left out, for it is not in arms.norm",
        "settings.l2 is not used, for no arm has its penalty",
    )
    assert study(baseline={"norm": "none"}).notices == ()


def test_a_resolved_config_is_a_config():
    """As plain data, and after JSON has made lists of its tuples."""
    made = study(arms={"norm": "none,batch", "batch_size": (8, 32)}, num_seeds=3)
    again = plan.study(json.loads(json.dumps(made.config)))
    assert again.config == made.config
    assert [arm.program for arm in again.arms] == [arm.program for arm in made.arms]


def test_seeds_have_the_same_keys_in_every_study_with_their_root():
    """The key of seed s is `fold_in(second of split(key(root_seed)), s)`."""
    keys = study(seeds=(7, 3), root_seed=5).keys
    _, root = jax.random.split(jax.random.key(5))
    for key, seed in zip(keys, (7, 3)):
        assert key == jax.random.fold_in(root, seed)


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


def test_seeds_with_their_own_examples_leave_validation_out():
    """The pool is all that validation leaves; arms and counts are of num_train."""
    sizes = {"num_train": 100, "num_validation": 200}
    arms = {"norm": "none,batch"}
    made = study(data=sizes | {"subset": "per_seed"}, arms=arms, batch_size=10)
    shared = study(data=sizes, arms=arms, batch_size=10)
    whole = study(data=sizes | {"num_train": 0}, arms=arms)
    assert [arm.program.num_train for arm in made.arms] == [100, 100]
    assert [arm.program.steps_per_epoch for arm in made.arms] == [10, 10]
    assert describe(made)["num_examples"]["train"] == 100
    for ours, right in zip(jax.tree.leaves(made.data), jax.tree.leaves(whole.data)):
        np.testing.assert_array_equal(ours, right)
    np.testing.assert_array_equal(
        made.data.validation.inputs, shared.data.validation.inputs
    )
    assert len({arm.id for arm in (*made.arms, *shared.arms, *whole.arms)}) == 6


def test_a_subset_of_all_examples_is_the_whole_split():
    """Whoever draws it: the networks are the same."""
    for num_train in (0, len(study().data.train.labels)):
        per_seed = study(data={"num_train": num_train, "subset": "per_seed"})
        assert per_seed.arms[0].id == study().arms[0].id


def test_a_batch_is_at_most_a_seeds_own_examples():
    sizes = {"num_train": 100, "subset": "per_seed"}
    with pytest.raises(InputError) as caught:
        study(data=sizes, arms={"batch_size": 101})
    assert str(caught.value) == (
        "arms.batch_size=101: must be a whole number from 1 to the 100 training"
        " examples; set arms.batch_size=100."
    )
    with pytest.raises(InputError) as caught:
        study(data={"subset": "per_sed"})
    assert str(caught.value) == (
        "data.subset='per_sed': must be one of per_seed, shared; did you mean"
        " 'per_seed'?"
    )


READINGS = {
    "lecun": {"kernel_init": {"he_normal": "lecun_normal"}},
    "mean": {"penalty": {"l2": "l2_batch"}},
}
READ = {
    "readings": READINGS,
    "unstated": ("reading",),
    "settings": {"l2": 0.7},
    "arms": {
        "reading": ("ours", "lecun", "mean"),
        "kernel_init": "he_normal",
        "penalty": ("none", "l2"),
    },
}


def test_a_reading_replaces_what_it_names_and_nothing_else():
    """Where it changes nothing the networks are ours; elsewhere those of the choice."""
    made = {arm.name: arm for arm in study(**READ).arms}
    assert made["none-mean"].id == made["none-ours"].id
    assert len({arm.id for arm in made.values()}) == 5
    lecun = study(arms={"kernel_init": "lecun_normal"}).arms[0]
    assert made["none-lecun"].id == lecun.id
    assert made["l2-mean"].program.penalties == ("l2",)
    assert made["l2-mean"].program.l2_count == 32
    assert {arm.program.l2_count for x, arm in made.items() if x != "l2-mean"} == {0}


def test_a_penalty_by_the_batch_is_a_larger_one():
    """A strength of 0.7 / (2 batch) is one of 0.7 n / batch, divided by 2 n."""
    names, num_train = ("l2", "l2_batch"), len(study().data.train.labels)
    params, steps = {"kernel": np.float32([1.0, -3.0])}, []
    for name, l2 in zip(names, (0.7 * num_train / 32, 0.7)):
        (arm,) = study(arms={"penalty": name}, settings={"l2": l2}).arms
        traced = {k: jax.numpy.float32(x[0]) for k, x in arm.settings.items()}
        tx = lane.optimizer(arm.program, traced, num_train=num_train)
        zero = jax.tree.map(np.zeros_like, params)
        steps.append(tx.update(zero, tx.init(params), params)[0]["kernel"])
    np.testing.assert_allclose(steps[0], steps[1], rtol=1e-6)
    np.testing.assert_allclose(steps[1], -0.1 * 0.7 / 32 * params["kernel"], rtol=1e-6)


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        (
            {"ours": {}},
            "readings.ours={}: must map a factor to {level: what is built}, and not be"
            ' `ours`; set {"norm": {"batch": "layer"}}.',
        ),
        (
            {"mine": {"penalty": {"l2": "l3"}}},
            "readings.mine.penalty.l2='l3': must be one of dropout, l2, l2_batch, none,"
            " weight_decay; choose one of them.",
        ),
    ],
)
def test_a_reading_that_cannot_be_built_is_refused(readings, expected):
    assert message(readings=readings) == expected


def test_a_program_holds_nothing_that_is_traced():
    """Leaves of Program are static: none is an array, and settings are no part."""
    program = study().arms[0].program
    values = [*program[1:], *dataclasses.asdict(program.model).values()]
    assert not any(isinstance(v, jax.Array | np.ndarray) for v in values)
    assert program.optimizer is recipes.RECIPES["sgd"]
    assert "tensorflow" not in sys.modules


def test_batch_sizes_are_arms_with_rates_in_proportion():
    """Without a factor every arm has batch_size; steps and rates follow the size."""
    choices = {"arms": {"batch_size": (2, 8, 32)}, "reference_batch_size": 8}
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
    assert alone.factors["batch_size"] == 16


def test_a_field_may_be_a_factor_and_equals_the_field_alone():
    """Each arm is that of a study which sets the field itself."""
    arms = {"kernel_init": "he_normal,lecun_normal", "depth": (1, 2)}
    varied = study(arms=arms | {"sampling": "replacement"}, model={"widths": (8,)})
    assert [arm.name for arm in varied.arms] == [
        *("1-he_normal", "1-lecun_normal", "2-he_normal", "2-lecun_normal"),
    ]
    for arm in varied.arms:
        model = {k: arm.factors[k] for k in ("kernel_init", "depth")}
        (alone,) = study(model=model | {"widths": (8,)}, sampling="replacement").arms
        assert arm.id == alone.id
        assert len(arm.program.model.widths) == model["depth"]
        assert "kernel_init" not in alone.factors


def test_steps_with_replacement_are_rounded():
    """1,237 / 32 = 38.66: a pass with replacement is 39 steps, a permutation 38."""
    for sampling, steps in (("replacement", 39), ("permutation", 38)):
        (arm,) = plan.study(normjax.config(batch_size=32, sampling=sampling)).arms
        assert arm.program.steps_per_epoch == steps


def test_networks_are_mapped_on_a_cpu():
    model = {"name": "cnn", "widths": (4, 8), "kernel_size": 5}
    (conv,) = plan.study(normjax.config(model=model)).arms
    assert conv.convolutions == {"conv_0": "planes", "conv_1": "images"}
    assert conv.program.mapping == "map"
    (forced,) = plan.study(normjax.config(model=model, mapping="vmap")).arms
    assert forced.program.mapping == "vmap"
    (mlp,) = plan.study(normjax.config()).arms
    assert (mlp.convolutions, mlp.program.mapping) == ({}, "map")


def test_a_convolution_can_be_forced():
    model = {"name": "cnn", "widths": (4, 8), "kernel_size": 5}
    model |= {"convolution": "patches"}
    (arm,) = plan.study(normjax.config(model=model)).arms
    assert arm.convolutions == {"conv_0": "patches", "conv_1": "patches"}


@pytest.mark.parametrize(
    ("convolution", "size", "precision", "names"),
    [
        ("auto", {}, "float32", ("planes", "winograd")),
        ("auto", {}, "bfloat16", ("planes", "images")),
        ("winograd", {}, "float32", ("winograd", "winograd")),
        ("winograd", {}, "bfloat16", ("images", "images")),
        ("winograd", {"kernel_size": 5}, "float32", ("images", "images")),
    ],
)
def test_the_convolution_that_trains_is_recorded(convolution, size, precision, names):
    """Tiles are for three by three pixels in float32; parameters stay float32."""
    model = {"name": "cnn", "widths": (64, 64), "convolution": convolution}
    (arm,) = plan.study(normjax.config(model=model | size, precision=precision)).arms
    assert tuple(arm.convolutions.values()) == names


def test_batch_norm_takes_the_preset():
    model = {"batch_norm": "keras"}
    (arm,) = plan.study(normjax.config(model=model, arms={"norm": "batch"})).arms
    assert arm.program.model.norm.layer().eps == 1e-3


def test_the_first_test_images_are_used():
    study = plan.study(normjax.config(data={"num_test": 50}))
    whole = plan.study(normjax.config())
    np.testing.assert_array_equal(study.data.test.labels, whole.data.test.labels[:50])
