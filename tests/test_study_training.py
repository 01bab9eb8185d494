"""Choices of how arms train: what they build, and what is answered to a mistake."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

import normjax
from normjax.data import augmentation
from normjax.errors import InputError
from normjax.study import forecast, memory, plan
from normjax.study.work import units, work_of


def study(**choices):
    return plan.study(normjax.config(num_seeds=1, **choices))


def brighter(key, images):
    """A user's augmentation."""
    return images + 0 * len(key.shape)


def halved(key, images):
    return images[:, ::2]


def rounded(key, images):
    return images.astype(jnp.bfloat16)


def branching(key, images):
    return images if images.max() > 0 else -images


def missing(key, images, strength):
    return strength * images


NUMBER = 3
SETTINGS = "b1, b2"
DIGITS = "float32[128, 8, 8, 1]"
MISTAKES = {  # name -> (choices, message)
    "augmentation": (
        {"augmentation": "flips"},
        "augmentation='flips': must be one of cutout, flip, flip_crop, none;"
        " did you mean 'flip'?",
    ),
    "factor": (
        {"arms": {"augmentation": ("flip", "crop")}},
        "arms.augmentation='crop': must be one of cutout, flip, flip_crop, none;"
        " did you mean 'flip_crop'?",
    ),
    "no function": (
        {"augmentation": f"{__name__}.NUMBER"},
        f"augmentation='{__name__}.NUMBER': must be a function (key, images) ->"
        " images, not int; name a function.",
    ),
    "shape": (
        {"arms": {"augmentation": f"{__name__}.halved"}},
        f"augmentation='{__name__}.halved': must return images as it takes them,"
        f" {DIGITS}, not float32[128, 4, 8, 1]; let it keep the shape and the dtype.",
    ),
    "dtype": (
        {"augmentation": f"{__name__}.rounded"},
        f"augmentation='{__name__}.rounded': must return images as it takes them,"
        f" {DIGITS}, not bfloat16[128, 8, 8, 1]; let it keep the shape and the dtype.",
    ),
    "branch": (
        {"augmentation": f"{__name__}.branching"},
        f"augmentation='{__name__}.branching': must work on traced numbers"
        " (TracerBoolConversionError: Attempted boolean conversion of traced array with"
        " shape bool[]); let it choose by jax.numpy.where in place of `if`.",
    ),
    "arguments": (
        {"augmentation": f"{__name__}.missing"},
        f"augmentation='{__name__}.missing': cannot be used with batches of"
        " [128, 8, 8, 1] (TypeError: missing() missing 1 required positional argument:"
        " 'strength'); mend it, or choose another.",
    ),
    "precision": (
        {"arms": {"precision": "float16"}},
        "arms.precision='float16': must be one of bfloat16, float32;"
        " did you mean 'bfloat16'?",
    ),
    "last batch": (
        {"last_batch": "keep"},
        "last_batch='keep': must be one of dropped, kept; did you mean 'kept'?",
    ),
    "last batch with replacement": (
        {"last_batch": "kept", "arms": {"sampling": ("permutation", "replacement")}},
        "last_batch='kept': must be dropped with sampling=replacement, whose batches"
        " are all full; set last_batch=dropped.",
    ),
    "smoothing": (
        {"settings": {"label_smoothing": (0.1, 1.0)}},
        "settings.label_smoothing=1.0: must be a float32 in [0, 1);"
        " set settings.label_smoothing=0.1.",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_with_one_line(name):
    choices, expected = MISTAKES[name]
    with pytest.raises(InputError) as caught:
        study(**choices)
    assert str(caught.value) == expected


def test_features_are_no_images(tmp_path):
    y = np.arange(60) % 2
    x = np.stack([y] * 5, 1).astype(np.float32)
    np.savez(tmp_path / "x.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    data = {"name": str(tmp_path / "x.npz"), "num_validation": 10}
    with pytest.raises(InputError) as caught:
        study(data=data, augmentation="flip", batch_size=8)
    assert str(caught.value) == (
        "augmentation='flip': needs images, got examples of shape (5,);"
        " set augmentation=none."
    )


class WholeBatches(nn.Module):
    """A user's norm that cannot do with other batches."""

    @nn.compact
    def __call__(self, x):
        if len(x) == 85:
            raise ValueError("85 is too few")
        return x


def test_a_norm_is_tried_on_the_last_batch_too():
    """1,237 examples are nine batches of 128 and 85."""
    arms = {"norm": f"{__name__}.WholeBatches"}
    assert study(arms=arms).arms[0].program.last_batch == 0
    with pytest.raises(InputError) as caught:
        study(arms=arms, last_batch="kept")
    assert str(caught.value) == (
        f"arms.norm='{__name__}.WholeBatches': cannot be used with a last batch of 85"
        " (ValueError: 85 is too few); mend it, or choose another."
    )


def test_choices_become_a_part_of_what_is_compiled():
    arms = {
        "augmentation": f"none,flip,{__name__}.brighter",
        "precision": ("float32", "bfloat16"),
    }
    varied = study(arms=arms)
    programs = [arm.program for arm in varied.arms]
    assert [(x.augmentation, x.precision) for x in programs] == [
        (function, name)
        for function in (None, augmentation.flip, brighter)
        for name in ("float32", "bfloat16")
    ]
    assert len({arm.id for arm in varied.arms}) == 6
    (plain,) = study().arms
    assert plain.id == varied.arms[0].id
    (alone,) = study(augmentation="flip").arms
    assert alone.id == varied.arms[2].id


def test_smoothing_is_a_setting_only_where_it_is_given():
    (plain,) = study().arms
    assert "label_smoothing" not in plain.settings
    (arm,) = study(settings={"label_smoothing": (0.0, 0.1)}).arms
    assert arm.settings["label_smoothing"].tolist() == [0, np.float32(0.1)]
    assert arm.id == plain.id  # known by its settings beside


def test_a_kept_batch_is_a_step_more_where_one_is_left():
    """1,237 = 9 * 128 + 85 = 1 * 1,237."""
    sizes = {"arms": {"batch_size": (128, 1237)}}
    dropped, kept = study(**sizes).arms, study(**sizes, last_batch="kept").arms
    count = lambda arms: [
        (x.program.steps_per_epoch, x.program.last_batch) for x in arms
    ]
    assert count(dropped) == [(9, 0), (1, 0)]
    assert count(kept) == [(10, 85), (1, 0)]
    assert kept[0].id != dropped[0].id
    assert kept[1].id == dropped[1].id


def test_memory_counts_what_training_adds():
    needs = lambda **choices: memory.lane_needs(
        (made := study(model={"name": "cnn", "widths": (8,)}, **choices)).arms[0],
        made.data,
    )
    plain = needs()
    assert needs(augmentation="flip_crop").working > plain.working
    assert needs(precision="bfloat16").working < plain.working
    assert needs(precision="bfloat16").kept == plain.kept


def test_an_epoch_of_few_steps_is_forecast_too(tmp_path):
    """Shorter than the two epochs that are timed; with a last batch of its own."""
    made = study(last_batch="kept", model={"widths": (4,)}, num_epochs=1)
    work = work_of(made, tmp_path, units(made, made.arms, shared=False))
    _, (row, _) = forecast.table(made, work)
    assert row[2] == "1"
