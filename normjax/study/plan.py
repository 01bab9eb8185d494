"""From a config to a Study: its arms, each resolved to what is compiled and traced.

Every mistake in a choice ends here as an InputError of one line, before anything is
written or compiled.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from normjax import layers, models
from normjax.data import sources, splits
from normjax.errors import InputError, pick, pick_or_import, suggest
from normjax.ops import conv
from normjax.optimizers import recipes
from normjax.study import settings
from normjax.study.config import DEFAULTS, resolve
from normjax.study.tracing import traced
from normjax.training import devices
from normjax.types import Data, Program

PENALTIES: dict[str, dict[str, float | None]] = {  # name -> its settings and defaults
    "none": {},
    "l2": {"l2": None},  # l2 / (2 num_train) * sum of squared kernels, in the loss
    "dropout": {"dropout_rate": 0.3},  # after each hidden activation
    "weight_decay": {"weight_decay": 0.01},  # decoupled, times the learning rate
}
CORRECTED = "corrected"  # the protocol that changes nothing
REPLACEABLE = ("norm", "placement", "optimizer", "penalty")  # by a protocol

Level = str | int
Levels = dict[str, tuple[Level, ...]]  # factor -> its levels
Factors = dict[str, Level]  # factor -> the level of one arm


class Arm(NamedTuple):
    """What is compiled once; its lanes are `[settings, seeds]`."""

    name: str  # levels of the factors that vary, joined by "-"
    factors: Factors
    program: Program
    settings: dict[str, np.ndarray]  # traced, float32, leaves [settings]
    num_parameters: int  # of one network
    convolutions: dict[str, str]  # layer -> row of ops.conv.IMPLEMENTATIONS


@dataclass(frozen=True)
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
    """Checks a config, loads its data, and derives its arms.

    Raises:
        InputError: for anything a user can have got wrong; nothing was written.
    """
    chosen = resolve(config)
    split_key, seeds_key = jax.random.split(jax.random.key(chosen["root_seed"]))
    sizes = dict(chosen["data"])
    source = sources.load(sizes.pop("name"), directory=sizes.pop("dir"))
    data = splits.split(source, split_key, **sizes)
    levels = levels_of(chosen, num_train=len(data.train.labels))
    chosen["baseline"], notices = baseline(chosen, levels)
    arms = tuple(
        arm(chosen, levels, dict(zip(levels, combination)), data, source.num_classes)
        for combination in itertools.product(*levels.values())
    )
    notices += check_used(chosen["settings"], arms)
    numbers = seeds(chosen)
    fold_in = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    return Study(
        name=chosen["study"],
        question=chosen["question"],
        baseline=chosen["baseline"],
        target_accuracy=chosen["target_accuracy"],
        num_epochs=chosen["num_epochs"],
        seeds=numbers,
        keys=fold_in(seeds_key, np.array(numbers, np.uint32)),
        data=data,
        arms=arms,
        notices=tuple(notices),
        config=chosen,
    )


def arm(
    chosen: dict[str, Any],
    levels: Levels,
    factors: Factors,
    data: Data,
    num_classes: int,
) -> Arm:
    """One combination of levels, resolved to what is compiled and what is traced."""
    program = compiled(chosen, factors, data, num_classes)
    grid = settings_of(chosen, factors, program)
    num_parameters, convolutions = traced(program, factors, grid, data)
    mapping = mapped(chosen["mapping"], bool(convolutions))
    varying = [level for f, level in factors.items() if len(levels[f]) > 1]
    return Arm(
        name="-".join(map(str, varying or factors.values())),
        factors=factors,
        program=program._replace(mapping=mapping),
        settings=grid,
        num_parameters=num_parameters,
        convolutions=convolutions,
    )


def compiled(
    chosen: dict[str, Any], factors: Factors, data: Data, num_classes: int
) -> Program:
    """What an arm compiles; its protocol may build another level in a level's place."""
    built = replaced(chosen["protocols"], factors)
    batch_size, num_train = int(factors["batch_size"]), len(data.train.labels)
    with_replacement = chosen["sampling"] == "replacement"
    penalty = built["penalty"]
    return Program(
        model=network(chosen["model"], built, num_classes),
        optimizer=optimizer(built["optimizer"]),
        penalties=(penalty,) if penalty in ("l2", "weight_decay") else (),
        batch_size=batch_size,
        steps_per_epoch=round(num_train / batch_size)
        if with_replacement
        else num_train // batch_size,
        sampling=chosen["sampling"],
        probes=chosen["probes"],
    )


def network(choices: dict[str, Any], built: Factors, num_classes: int) -> nn.Module:
    """The model, with those fields of the config's `model` that its class has."""
    constructor = pick("model.name", models.MODELS, choices["name"])
    init = pick("model.kernel_init", models.KERNEL_INITS, choices["kernel_init"])
    convolutions = {"auto": None, **conv.IMPLEMENTATIONS}
    pick("model.convolution", convolutions, choices["convolution"])
    known = {field.name for field in dataclasses.fields(_class_of(constructor))}
    known -= {"name"}  # flax's own
    return constructor(
        **{name: value for name, value in choices.items() if name in known}
        | {"kernel_init": init, "norm": norm(built["norm"], choices["batch_norm"])},
        num_classes=num_classes,
        placement=built["placement"],
        dropout="dropout_rate" in PENALTIES[built["penalty"]],
    )


def _class_of(constructor: Any) -> type:
    """The class that a row of MODELS makes, itself or with some fields set."""
    return getattr(constructor, "func", constructor)


def mapped(asked: str, convolves: bool) -> str:
    """How lanes share a device: on a CPU networks that convolve fill a core alone."""
    pick("mapping", {"auto": None, **devices.MAPPINGS}, asked)
    if asked != "auto":
        return asked
    return "map" if convolves and jax.default_backend() == "cpu" else "vmap"


def settings_of(
    chosen: dict[str, Any], factors: Factors, program: Program
) -> dict[str, np.ndarray]:
    """The grid of traced numbers of an arm, leaves `[settings]`."""
    penalty = replaced(chosen["protocols"], factors)["penalty"]
    used = recipes.settings_of(program.optimizer)
    used |= PENALTIES[penalty] | {"init_scale": 1.0}
    choice = f"optimizer={factors['optimizer']} with penalty={factors['penalty']}"
    grid = settings.grid(chosen["settings"], used, choice)
    reference = chosen["reference_batch_size"]
    if reference and "learning_rate" in grid:
        grid["learning_rate"] = settings.scaled_rates(
            grid["learning_rate"], program.batch_size, reference
        )
    if "smoothness" in program.probes and "learning_rate" not in grid:
        rule = f"needs the setting learning_rate, which {choice} has not"
        raise InputError("probes", "smoothness", rule, "leave the probe out")
    return grid


def norm(name: Level, preset: str = "") -> layers.Norm:
    """The norm of that name; `batch` with the conventions of the preset."""
    if name == "batch" and preset:
        return layers.batch_norm_of(preset)
    return layers.norm_named(str(name))


def optimizer(name: Level) -> Any:
    """The recipe of that name."""
    recipe = pick_or_import("optimizer", recipes.RECIPES, str(name))
    recipes.settings_of(recipe)  # refuses what is no recipe
    return recipe


def replaced(protocols: dict[str, Any], factors: Factors) -> Factors:
    """The levels that are built: those of the arm, but for its protocol's changes."""
    changes = protocols.get(factors["protocol"], {})
    return {f: changes.get(f, {}).get(level, level) for f, level in factors.items()}


def levels_of(chosen: dict[str, Any], *, num_train: int) -> Levels:
    """Every factor's levels: different ones, each of which can be built."""
    sizes = chosen["arms"]["batch_size"]
    levels = chosen["arms"] | {"batch_size": sizes or (chosen["batch_size"],)}
    for factor, those in levels.items():
        field = f"arms.{factor}" if chosen["arms"][factor] else factor
        if not those or len(set(those)) < len(those):
            rule = "must hold one or more different levels"
            example = DEFAULTS["arms"][factor] or (32, 128)
            raise InputError(f"arms.{factor}", those, rule, f"set {field}={example}")
        for level in those:
            check_level(field, factor, level, chosen)
    for size in levels["batch_size"]:
        if size > num_train:
            rule = f"must be at most the {num_train} training examples"
            field = "arms.batch_size" if sizes else "batch_size"
            raise InputError(field, size, rule, f"set {field}={min(128, num_train)}")
    for protocol, changes in chosen["protocols"].items():
        for factor, instead in changes.items():
            field = f"protocols.{protocol}"
            pick(field, dict.fromkeys(REPLACEABLE), factor)
            for level, built in instead.items():
                check_level(f"{field}.{factor}.{level}", factor, built, chosen)
    return levels


def check_level(field: str, factor: str, level: Level, chosen: dict[str, Any]) -> None:
    """A level of a factor can be built; `field` is where it was chosen."""
    tables: dict[str, Mapping[str, Any]] = {
        "protocol": {CORRECTED: None, **chosen["protocols"]},
        "placement": models.PLACEMENTS,
        "penalty": PENALTIES,
    }
    if factor in tables:
        pick(field, tables[factor], str(level))
    elif factor == "batch_size":
        if type(level) is not int or level < 1:
            rule = "must be a whole number of at least 1"
            raise InputError(field, level, rule, f"set {field}=128")
    else:
        try:
            {"norm": norm, "optimizer": optimizer}[factor](level)
        except InputError as error:
            raise InputError(field, level, error.rule, error.remedy) from error


def baseline(chosen: dict[str, Any], levels: Levels) -> tuple[Factors, list[str]]:
    """The baseline, and a notice for each of its levels that no arm has."""
    kept, notices = {}, []
    for factor, level in chosen["baseline"].items():
        pick("baseline", levels, factor)
        if level in levels[factor]:
            kept[factor] = level
            continue
        check_level(f"baseline.{factor}", factor, level, chosen)
        notices.append(
            f"baseline.{factor}={level!r} is left out, for it is not in arms.{factor}"
        )
    return kept, notices


def check_used(choices: dict[str, tuple], arms: tuple[Arm, ...]) -> list[str]:
    """Notices of penalties' settings that no arm uses; others are refused."""
    used = sorted(set().union(*(arm.settings for arm in arms)))
    unused = [name for name, grid in choices.items() if grid and name not in used]
    for name in unused:
        if not any(name in brought for brought in PENALTIES.values()):
            rule = f"must be a setting of some arm; the arms use {', '.join(used)}"
            remedy = suggest(name, used, "leave it out")
            raise InputError(f"settings.{name}", choices[name], rule, remedy)
    return [
        f"settings.{name} is not used, for no arm has its penalty" for name in unused
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
