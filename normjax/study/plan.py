"""From a config to a Study: its arms, each resolved to what is compiled and traced.

Every mistake in a choice ends here as an InputError of one line, before anything is
written or compiled.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from normjax import files, models
from normjax.data import sources, splits
from normjax.errors import InputError, pick, suggest
from normjax.layers import initial_weights
from normjax.ops import conv
from normjax.optimizers import chains
from normjax.optimizers.penalties import PENALTIES
from normjax.study import levels, settings
from normjax.study.config import resolve
from normjax.study.identity import identity
from normjax.study.levels import PENALTY_SETTINGS, Factors
from normjax.study.tracing import trace
from normjax.training import devices
from normjax.types import Data, Program


class Arm(NamedTuple):
    """What is compiled once; its lanes are `[settings, seeds]`."""

    name: str  # levels of the factors that vary, joined by "-"
    id: str  # digest of `identity`, by which its networks are known
    identity: dict[str, Any]  # what decides their numbers, but for setting and seed
    factors: Factors
    program: Program
    settings: dict[str, np.ndarray]  # traced, float32, leaves [settings]
    num_parameters: int  # of one network
    convolutions: dict[str, str]  # layer -> row of ops.conv.IMPLEMENTATIONS


@dataclasses.dataclass(frozen=True)
class Study:
    """One question with its data and its arms: all that training needs."""

    name: str
    question: str
    baseline: Factors  # the arm that differences are taken to; may be empty
    target_accuracy: float
    num_epochs: int
    seeds: tuple[int, ...]
    keys: jax.Array  # [seeds]: the key of a seed is the same in every arm
    data: Data
    arms: tuple[Arm, ...]
    notices: tuple[str, ...]  # what was chosen and is not used
    config: dict[str, Any]  # resolved, plain data: what `config.json` holds


def study(config: ConfigDict | Mapping[str, Any]) -> Study:
    """Checks a config, loads its data, and derives its arms."""
    chosen = resolve(config)
    split_key, seeds_key = jax.random.split(jax.random.key(chosen["root_seed"]))
    sizes = dict(chosen["data"])
    try:
        stored = sources.data_set(sizes.pop("name"), directory=sizes.pop("dir"))
        data = splits.split(stored, split_key, **sizes)
    except InputError as error:
        raise error.within("data") from error
    num_train = splits.num_own(chosen["data"], data) or len(data.train.labels)
    checks = levels.level_checks(chosen, num_train)
    wanted = levels.resolve_levels(chosen, checks)
    baseline, notices = levels.baseline(chosen["baseline"], wanted, checks)
    names = [factor for factor, those in wanted.items() if len(those) > 1]
    shared = {
        "data_digest": files.arrays_digest(jax.tree.leaves(data)),
        "root_seed": chosen["root_seed"],
        "num_epochs": chosen["num_epochs"],
    }
    arms = tuple(
        arm(chosen, dict(zip(wanted, x)), names, data, stored.num_classes, shared)
        for x in itertools.product(*wanted.values())
    )
    numbers = seeds(chosen)
    fold_in = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    return Study(
        name=chosen["study"],
        question=chosen["question"],
        baseline=baseline,
        target_accuracy=chosen["target_accuracy"],
        num_epochs=chosen["num_epochs"],
        seeds=numbers,
        keys=fold_in(seeds_key, np.array(numbers, np.uint32)),
        data=data,
        arms=arms,
        notices=(*notices, *unused_settings(chosen["settings"], arms)),
        config=chosen | {"baseline": baseline},
    )


def arm(
    chosen: dict[str, Any],
    factors: Factors,
    varying: list[str],
    data: Data,
    num_classes: int,
    shared: dict[str, Any],
) -> Arm:
    """One combination of levels, resolved to what is compiled and what is traced."""
    built = levels.substitute(chosen, factors)
    chosen = levels.choices_of(chosen, built)
    program = program_of(chosen, built, data, num_classes)
    grid = setting_values(chosen, built, program)
    augmented = chosen["augmentation"]
    num_parameters, convolutions = trace(
        program, factors, grid, data, augmentation=augmented
    )
    known_by = identity(program, **shared)
    return Arm(
        name="-".join(str(factors[name]) for name in varying or factors),
        id=files.text_digest(known_by)[:16],
        identity=known_by,
        factors=factors,
        program=program._replace(mapping=mapping(chosen["mapping"])),
        settings=grid,
        num_parameters=num_parameters,
        convolutions=convolutions,
    )


def program_of(
    chosen: dict[str, Any], built: Factors, data: Data, num_classes: int
) -> Program:
    """What an arm compiles, before it is known how its lanes are mapped."""
    own, batch_size = splits.num_own(chosen["data"], data), chosen["batch_size"]
    num_train = own or len(data.train.labels)
    steps = num_train / batch_size
    levels.check_steps(chosen["num_epochs"], steps)
    penalty, sampling = str(built["penalty"]), chosen["sampling"]
    last = levels.last_examples(chosen["last_batch"], sampling, num_train, batch_size)
    whole = round(steps) if sampling == "replacement" else int(steps)
    per_epoch = whole + (last > 0)
    schedule = levels.schedule_named("schedule", chosen["schedule"])
    compiled = "l2" if penalty == "l2_batch" else penalty
    return Program(
        model=network(chosen["model"], built, num_classes),
        optimizer=levels.optimizer_named("arms.optimizer", built["optimizer"]),
        penalties=(compiled,) if compiled in PENALTIES else (),
        l2_count=batch_size if penalty == "l2_batch" else 0,
        schedule=schedule,
        num_steps=0 if schedule is None else chosen["num_epochs"] * per_epoch,
        batch_size=batch_size,
        steps_per_epoch=per_epoch,
        sampling=sampling,
        probes=chosen["probes"],
        num_train=own,
        augmentation=levels.augmentation_named("augmentation", chosen["augmentation"]),
        precision=chosen["precision"],
        last_batch=last,
    )


def network(choices: dict[str, Any], built: Factors, num_classes: int) -> nn.Module:
    """The model, with those fields of the config's `model` that its class has."""
    constructor: Any = pick("model.name", models.MODELS, choices["name"])
    if choices["name"] == "resnet20" and len(choices["widths"]) != 3:
        rule = "must be three, one for each stage of ResNet-20"
        remedy = "set model.widths=(16, 32, 64)"
        raise InputError("model.widths", choices["widths"], rule, remedy)
    convolutions = {"auto": None, **conv.IMPLEMENTATIONS}
    pick("model.convolution", convolutions, choices["convolution"])
    made = getattr(constructor, "func", constructor)  # behind a partial
    known = {field.name for field in dataclasses.fields(made)} - {"name"}  # flax's own
    init = pick("model.kernel_init", initial_weights.INITS, choices["kernel_init"])
    fields = {name: value for name, value in choices.items() if name in known} | {
        "widths": widths(choices),
        "kernel_init": init.kernel,
        "bias_init": init.bias,
        "norm": levels.norm("arms.norm", built["norm"], choices["batch_norm"]),
        "placement": built["placement"],
        "dropout": built["penalty"] == "dropout",
    }
    return constructor(num_classes=num_classes, **fields)


def widths(choices: dict[str, Any]) -> tuple[int, ...]:
    """The widths of a model, or as many of its one width as its depth says."""
    given, depth = choices["widths"], choices["depth"]
    if depth and len(given) > 1:
        rule = "must be one width if model.depth or arms.depth repeats it"
        raise InputError("model.widths", given, rule, f"set model.widths=({given[0]},)")
    return given * depth if depth else given


def mapping(asked: str) -> str:
    """How lanes share a device, a row of `devices.MAPPINGS`.

    On a CPU they are mapped, one after the other. That is as fast as vmap there, and
    the numbers of a network do not depend on which others train beside it, nor on how
    many devices they share: see docs/performance.md.
    """
    pick("mapping", {"auto": None, **devices.MAPPINGS}, asked)
    if asked != "auto":
        return asked
    return "map" if jax.default_backend() == "cpu" else "vmap"


def setting_values(
    chosen: dict[str, Any], built: Factors, program: Program
) -> dict[str, np.ndarray]:
    """The grid of traced numbers of an arm, leaves `[settings]`."""
    brought = PENALTY_SETTINGS[str(built["penalty"])] | {"init_scale": 1.0}
    if chosen["settings"].get("label_smoothing"):  # compiled in only where it is given
        brought = brought | {"label_smoothing": 0.1}
    if chosen["settings"].get("clip_norm"):
        brought = brought | {"clip_norm": None}
    try:
        used = chains.settings_of(program.optimizer, program.schedule) | brought
    except InputError as error:
        raise error.at("schedule", chosen["schedule"]) from error
    choice = f"optimizer={built['optimizer']} with penalty={built['penalty']}"
    num_seeds = chosen["num_seeds"]
    grid = settings.setting_grid(chosen["settings"], used, choice, num_seeds)
    reference = chosen["reference_batch_size"]
    if reference and "learning_rate" in grid:
        grid["learning_rate"] = settings.scaled_rates(
            grid["learning_rate"], program.batch_size, reference
        )
    if "smoothness" in program.probes and "learning_rate" not in grid:
        rule = f"needs the setting learning_rate, which {choice} has not"
        raise InputError("probes", "smoothness", rule, "leave the probe out")
    return grid


def unused_settings(choices: dict[str, tuple], arms: tuple[Arm, ...]) -> list[str]:
    """Notices of penalties' settings that no arm uses; others are refused."""
    used = sorted(set().union(*(arm.settings for arm in arms)))
    others = [name for name, grid in choices.items() if grid and name not in used]
    for name in others:
        if not any(name in brought for brought in PENALTY_SETTINGS.values()):
            rule = f"must be a setting of some arm; the arms use {', '.join(used)}"
            remedy = suggest(name, used, "leave it out")
            raise InputError(f"settings.{name}", choices[name], rule, remedy)
    return [
        f"settings.{name} is not used, for no arm has its penalty" for name in others
    ]


def seeds(chosen: dict[str, Any]) -> tuple[int, ...]:
    """The seeds' numbers: those of the config, or 0, 1, 2, ..."""
    asked = chosen["num_seeds"]
    listed = chosen["seeds"] or tuple(range(asked))
    if asked > len(listed):
        rule = f"must be at most {len(listed)}, the seeds that are listed"
        remedy = f"set num_seeds={len(listed)} or seeds=()"
        raise InputError("num_seeds", asked, rule, remedy)
    return listed[:asked]
