"""The optimizer of one lane: what is done to its gradient, in order, in one chain."""

from collections.abc import Callable, Mapping
from typing import Any

import optax

from normjax.errors import InputError, pick
from normjax.optimizers import recipes, schedules, transforms
from normjax.optimizers.penalties import (
    PENALTIES,
    add_l2,
    add_weight_decay,
    clip_gradient,
)
from normjax.types import Optimizer


def name_of(function: Any) -> str:
    """How a recipe or a schedule is called in an error."""
    return getattr(function, "__name__", repr(function))


def settings_of(
    recipe: Optimizer, schedule: Callable | None = None
) -> dict[str, float | None]:
    """The settings of a recipe and those of its schedule, with their defaults.

    Raises:
        InputError: if the recipe has no learning rate that a schedule could change,
            or both have a setting of one name.
    """
    own = recipes.settings_of(recipe)
    if schedule is None:
        return own
    others, name = schedules.settings_of(schedule), name_of(recipe)
    if "learning_rate" not in own:
        rule = f"needs the setting learning_rate, which {name} has not"
        raise InputError("schedule", name_of(schedule), rule, "use constant")
    both = sorted(own.keys() & others)
    if both:
        rule = f"must have other settings than {name}, which has {both[0]} too"
        raise InputError("schedule", name_of(schedule), rule, "use another schedule")
    return own | others


def chain(
    recipe: Optimizer,
    settings: Mapping[str, Any],
    *,
    num_train: int,
    penalties: tuple[str, ...] = (),
    schedule: Callable | None = None,
    num_steps: int = 0,
) -> optax.GradientTransformationExtraArgs:
    """Clipping, if `clip_norm` is a setting; `l2`; `recipe`; `weight_decay`.

    State and updates are in at least float32 (`transforms.upcast`).

    Args:
        recipe: takes from `settings` what it knows; its defaults are the rest.
        settings: traced numbers by name; others than the optimizer's are ignored. The
            learning rate may be a schedule; under a `schedule` it is the peak.
        num_train: training examples, the n of `l2`.
        penalties: names in `PENALTIES`; each is compiled in and reads its own setting.
        schedule: a row of `schedules.SCHEDULES`, or any other that `schedules.rate_of`
            takes; None adds nothing. The decoupled decay follows it as well.
        num_steps: of the whole training, for the schedule.

    Raises:
        InputError: for a setting that has neither a value nor a default, an unknown
            penalty, `weight_decay` on top of a recipe that has its own, and a schedule
            that does not fit the recipe.

    >>> settings = {"learning_rate": 0.1, "l2": 7}
    >>> tx = chain(recipes.sgd, settings, num_train=9, penalties=("l2",))
    """
    name, own = name_of(recipe), recipes.settings_of(recipe)
    for penalty in penalties:
        pick("penalties", PENALTIES, penalty)
    if "weight_decay" in penalties and "weight_decay" in own:
        rule = f"must not name 'weight_decay', which is a setting of {name} itself"
        raise InputError("penalties", penalties, rule, "leave 'weight_decay' out")
    values = _values(recipe, schedule, settings, penalties)
    given = {key: settings[key] for key in own if key in settings}
    if schedule is not None:
        peak = {"learning_rate": values["learning_rate"], "num_steps": num_steps}
        rate = schedules.rate_of(schedule, values, **peak)
        values["learning_rate"] = given["learning_rate"] = rate
    tx = recipe(**given)
    if not isinstance(tx, optax.GradientTransformation):
        raise recipes.not_an_optimizer(recipe)
    parts = [transforms.upcast(tx)]
    if "l2" in penalties:
        parts.insert(0, add_l2(values["l2"], num_train=num_train))
    if "clip_norm" in settings and "clip_norm" not in own:
        parts.insert(0, transforms.upcast(clip_gradient(settings["clip_norm"])))
    if "weight_decay" in penalties:
        rate = values["learning_rate"]
        parts.append(add_weight_decay(values["weight_decay"], learning_rate=rate))
    return optax.chain(*parts)


def _values(
    recipe: Optimizer,
    schedule: Callable | None,
    settings: Mapping[str, Any],
    penalties: tuple[str, ...],
) -> dict[str, Any]:
    """Defaults and settings by name; every number that is needed must be there."""
    name, defaults = name_of(recipe), settings_of(recipe, schedule)
    needs_rate = "weight_decay" in penalties or schedule is not None
    values = defaults | dict(settings)
    for key in (*defaults, *penalties, *(["learning_rate"] if needs_rate else [])):
        if values.get(key) is None:
            rule = f"must be given, as {name} with {penalties=} has no default for it"
            raise InputError(f"settings.{key}", ..., rule, f"add {key} to the settings")
    return values
