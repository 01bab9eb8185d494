"""Levels of the factors: whether each can be built, and what is built for it."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import optax

from normjax import layers, models
from normjax.data import augmentation, splits
from normjax.errors import InputError, pick, pick_or_import
from normjax.files import flat
from normjax.layers import initial_weights
from normjax.optimizers import recipes, schedules
from normjax.own_model import module_named
from normjax.study import library_names, own_norms
from normjax.study.columns import Level
from normjax.study.fields import DEFAULTS, FACTOR_FIELDS, FIELD_RULES, OPTIONAL
from normjax.study.rates import trace_schedule
from normjax.training import precision
from normjax.types import Augmentation, Optimizer

Factors = dict[str, Level]  # factor -> the level of one arm
Levels = dict[str, tuple[Level, ...]]  # factor -> its levels
Checks = dict[str, Callable[[str, Level], Any]]  # factor -> check of a field's level

PENALTY_SETTINGS: dict[str, dict[str, float | None]] = {  # settings and defaults
    "none": {},
    "l2": {"l2": None},  # l2 / (2 num_train) * sum of squared kernels, in the loss
    "l2_batch": {"l2": None},  # l2 / (2 batch_size) * sum of squared kernels
    "dropout": {"dropout_rate": 0.3},  # after each hidden activation
    "weight_decay": {"weight_decay": 0.01},  # decoupled, times the learning rate
}
MAX_ARMS = 1_000
EXAMPLES = {"norm": ("none", "batch")}
# factor -> the field of its substitutes, and the level that has none
SUBSTITUTES = {
    "protocol": ("protocols", "corrected"),
    "reading": ("readings", "ours"),
}
FIXED = (*SUBSTITUTES, "batch_size")  # factors whose levels no protocol replaces
REPLACEABLE = tuple(name for name in DEFAULTS["arms"] if name not in FIXED)


def norm(field: str, name: Level, preset: str = "") -> layers.Norm:
    """The norm of that name; `batch` with the conventions of the preset."""
    try:
        if name == "batch" and preset:
            field, name = "model.batch_norm", preset
            return layers.batch_norm_of(preset)
        return layers.norm_named(str(name))
    except InputError as error:
        raise library_names.or_flax(error.at(field, name), layers.NORMS) from error


def optimizer_named(field: str, name: Level) -> Optimizer:
    """The recipe of that name."""
    known = recipes.RECIPES
    try:
        recipe = pick_or_import(field, known, str(name))
        _check_made(recipe, recipes.settings_of(recipe))
    except InputError as error:
        raise library_names.or_optax(error.at(field, name), known) from error
    return recipe


def _check_made(recipe: Any, settings: Mapping[str, float | None]) -> None:
    """Refuses what makes no optimizer, before a value is asked for that it needs."""
    needed = [setting for setting, default in settings.items() if default is None]
    if not needed or recipe in recipes.RECIPES.values():
        return
    try:
        made = recipe(**dict.fromkeys(needed, 0.1))
    except Exception:  # it is traced later, and its error told with its place
        return
    if not isinstance(made, optax.GradientTransformation):
        raise recipes.not_an_optimizer(recipe)


def schedule_named(field: str, name: Level) -> Callable | None:
    """The schedule of that name; None if the rate is constant."""
    schedule = pick_or_import(field, schedules.SCHEDULES, str(name))
    if schedule is not None:
        trace_schedule(field, str(name), schedule)
    return schedule


def augmentation_named(field: str, name: Level) -> Augmentation | None:
    """The function of that name; None for none."""
    found = pick_or_import(field, augmentation.AUGMENTATIONS, str(name))
    if found is not None and not callable(found):
        rule = f"must be a function (key, images) -> images, not {type(found).__name__}"
        raise InputError(field, name, rule, "name a function")
    return found


def last_examples(last_batch: str, sampling: str, num_train: int, size: int) -> int:
    """Examples in the last, smaller batch of an epoch; 0 if there is none."""
    if last_batch == "dropped":
        return 0
    if sampling == "replacement":
        rule = "must be dropped with sampling=replacement, whose batches are all full"
        raise InputError("last_batch", last_batch, rule, "set last_batch=dropped")
    return num_train % size


def level_checks(
    chosen: Mapping[str, Any], num_train: int, *, given: str = ""
) -> Checks:
    """Maps a factor to a function of `(field, level)` that refuses unknown levels.

    `given` is the name of a model that is given as an object.
    """

    def table(known: Mapping[str, Any]) -> Callable[[str, Level], Any]:
        return lambda field, level: pick(field, known, str(level))

    def norm_or_own(field: str, level: Level) -> None:
        if level != own_norms.OWN or not own_norms.is_offered(chosen, given):
            norm(field, level)

    def batch_size(field: str, level: object) -> None:
        if type(level) is not int or not 1 <= level <= num_train:
            rule = f"must be a whole number from 1 to the {num_train} training examples"
            raise InputError(field, level, rule, f"set {field}={min(128, num_train)}")

    return {
        **{
            factor: table({usual: {}, **chosen[field]})
            for factor, (field, usual) in SUBSTITUTES.items()
        },
        "norm": norm_or_own,
        "placement": table(models.PLACEMENTS),
        "optimizer": optimizer_named,
        "penalty": table(PENALTY_SETTINGS),
        "batch_size": batch_size,
        "sampling": table(splits.SAMPLINGS),
        "schedule": schedule_named,
        # the name of an object needs not be found
        "model": lambda field, level: level == given or module_named(field, level),
        "depth": check_depth,
        "kernel_init": table(initial_weights.INITS),
        "augmentation": augmentation_named,
        "precision": table(precision.PRECISIONS),
    }


def check_depth(field: str, level: object) -> None:
    """Refuses what is no number of hidden layers."""
    rule, test = FIELD_RULES["model.depth"]
    if type(level) is not int or not test(level):
        raise InputError(field, level, f"must be {rule}", f"set {field}=2")


def resolve_levels(chosen: dict[str, Any], check: Checks) -> Levels:
    """The levels of every factor; repeated ones and unknown ones are refused.

    A factor of OPTIONAL without levels is none, but for the batch size, which every arm
    has.
    """
    for factor, path in FACTOR_FIELDS.items():
        check[factor](path, flat(chosen)[path])
    sizes = chosen["arms"]["batch_size"] or (chosen["batch_size"],)
    levels = {
        factor: those
        for factor, those in (chosen["arms"] | {"batch_size": sizes}).items()
        if those or factor not in OPTIONAL
    }
    for factor, those in levels.items():
        field = f"arms.{factor}"
        for level in those:
            check[factor](field, level)
        if not those or len(set(those)) < len(those):
            rule = "must hold one or more different levels"
            example = DEFAULTS["arms"][factor] or EXAMPLES.get(factor, (32, 128))
            raise InputError(field, those, rule, f"set {field}={example}")
    num_arms = math.prod(map(len, levels.values()))
    if num_arms > MAX_ARMS:
        rule = f"must make at most {MAX_ARMS:,} combinations, for each is compiled"
        remedy = f"leave out levels, for these make {num_arms:,}"
        raise InputError("arms", ..., rule, remedy)
    for group, usual in SUBSTITUTES.values():
        for name, changes in chosen[group].items():
            _check_substitutes(f"{group}.{name}", changes, check, name == usual)
    return levels


def _check_substitutes(field: str, changes: Any, check: Checks, usual: bool) -> None:
    """Refuses a protocol or a reading that does not say what it builds for what."""
    nested = isinstance(changes, Mapping) and all(
        isinstance(instead, Mapping) for instead in changes.values()
    )
    if not nested or usual:
        own = field.rpartition(".")[2] if usual else "corrected"
        rule = f"must map a factor to {{level: what is built}}, and not be `{own}`"
        raise InputError(field, changes, rule, 'set {"norm": {"batch": "layer"}}')
    for factor, instead in changes.items():
        pick(field, dict.fromkeys(REPLACEABLE), factor)
        for level, built in instead.items():
            check[factor](f"{field}.{factor}", level)
            check[factor](f"{field}.{factor}.{level}", built)


def check_steps(num_epochs: int, steps: float) -> None:
    """Refuses more steps in all than a lane can count."""
    most = int(2**31 / (steps + 1))
    if num_epochs > most:
        rule = f"must be at most {most}, for steps are counted up to 2^31 - 1"
        raise InputError("num_epochs", num_epochs, rule, f"set num_epochs={most}")


def baseline(
    wanted: Factors, levels: Levels, check: Checks
) -> tuple[Factors, list[str]]:
    """The baseline, and a notice for each of its levels that no arm has."""
    kept, notices = {}, []
    for factor, level in wanted.items():
        pick("baseline", levels, factor)
        field = f"baseline.{factor}"
        check[factor](field, level)
        if level in levels[factor]:
            kept[factor] = level
        else:
            notice = f"{field}={level!r} is left out, for it is not in arms.{factor}"
            notices.append(notice)
    return kept, notices


def substitute(chosen: Mapping[str, Any], factors: Factors) -> Factors:
    """The levels that are built: those of the arm, but for what replaces them.

    Its protocol's changes come first, and those of its reading are of what these left.
    """
    built = factors
    for factor, (field, _) in SUBSTITUTES.items():
        changes = chosen[field].get(str(factors.get(factor)), {})
        built = {f: changes.get(f, {}).get(level, level) for f, level in built.items()}
    return built


def choices_of(chosen: dict[str, Any], built: Factors) -> dict[str, Any]:
    """The config of one arm: with its levels in the fields that its factors vary."""
    made = dict(chosen)
    for factor, path in FACTOR_FIELDS.items():
        if factor in built:
            group, _, name = path.rpartition(".")
            level = {name: built[factor]}
            made |= {group: made[group] | level} if group else level
    return made
