"""From a config to a Study: its arms, each resolved to what is compiled and traced.

Every mistake in a choice ends here as an InputError of one line, before anything is
written or compiled.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from normjax import files
from normjax.data import splits
from normjax.errors import InputError
from normjax.optimizers.penalties import PENALTIES
from normjax.study import given, grids, levels, search
from normjax.study.config import resolve
from normjax.study.identity import identity
from normjax.study.levels import Factors
from normjax.study.network import check_init_scale, network, unused_fields
from normjax.study.tracing import trace
from normjax.training import mappings
from normjax.types import Data, Program

USUAL = {  # factor -> the level that needs no mention
    **{factor: usual for factor, (_, usual) in levels.SUBSTITUTES.items()},
    "norm": "none",
    "placement": "pre",
    "optimizer": "sgd",
    "penalty": "none",
}

Build = Callable[[Mapping[str, Any], Factors], nn.Module]  # (config, levels) -> model


class Arm(NamedTuple):
    """What is compiled once; its lanes are `[settings, seeds]`."""

    name: str  # of the factors that vary: see `arm_name`
    id: str  # digest of `identity`, by which its networks are known
    identity: dict[str, Any]  # what decides their numbers, but for setting and seed
    factors: Factors
    program: Program
    settings: dict[str, np.ndarray]  # traced, float32, leaves [settings]
    num_parameters: int  # of one network
    convolutions: dict[str, str]  # layer -> row of ops.conv.IMPLEMENTATIONS
    convolution: str = ""  # that row, if a measurement chose it for all layers
    step_seconds: Mapping[str, float] = MappingProxyType(
        {}
    )  # of its ways, by their text


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
    tuning: dict[str, Any] = dataclasses.field(default_factory=dict)  # of its stage


def study(
    config: ConfigDict | Mapping[str, Any], *, model: Any = None, data: Any = None
) -> Study:
    """Checks a config, loads its data, and derives its arms.

    A `model` and `data` that are given stand in the place of those that the config
    names; see `run.run`.
    """
    chosen = given.name_given(resolve(config), model, data)
    split_key, _ = root_keys(chosen["root_seed"])
    stored, data = given.load(chosen["data"], data, split_key)
    own = "" if model is None else chosen["model"]["name"]
    num_train = splits.num_own(chosen["data"], data) or len(data.train.labels)
    checks = levels.level_checks(chosen, num_train, given=own)
    wanted = levels.resolve_levels(chosen, checks)
    baseline, notices = levels.baseline(chosen["baseline"], wanted, checks)
    chosen["settings_for"] = search.checked(chosen, wanted, baseline, checks)
    notices += given.notices(stored, chosen["data"])
    notices += unused_fields(chosen, model)
    names = [factor for factor, those in wanted.items() if len(those) > 1]
    shared = {
        "data_digest": files.arrays_digest(jax.tree.leaves(data)),
        "root_seed": chosen["root_seed"],
        "num_epochs": chosen["num_epochs"],
    }
    build = functools.partial(network, num_classes=stored.num_classes, given=model)
    arms = tuple(
        arm(chosen, dict(zip(wanted, x)), names, data, build, shared)
        for x in itertools.product(*wanted.values())
    )
    numbers = seeds(chosen)
    notices += grids.unused(chosen, [(arm.factors, arm.settings) for arm in arms])
    return Study(
        name=chosen["study"],
        question=chosen["question"],
        baseline=baseline,
        target_accuracy=chosen["target_accuracy"],
        num_epochs=chosen["num_epochs"],
        seeds=numbers,
        keys=seed_keys(chosen["root_seed"], numbers),
        data=data,
        arms=arms,
        notices=tuple(notices),
        config=chosen | {"baseline": baseline},
    )


def root_keys(root_seed: int) -> tuple[jax.Array, jax.Array]:
    """The key of the split of the data, and the one of all seeds."""
    return _root_keys(np.uint32(root_seed))


def seed_keys(root_seed: int, numbers: tuple[int, ...]) -> jax.Array:
    """The key of each seed, `[seeds]`: it does not depend on the others."""
    return _seed_keys(np.uint32(root_seed), np.array(numbers, np.uint32))


@jax.jit
def _root_keys(root_seed: jax.Array) -> tuple[jax.Array, jax.Array]:
    split_key, seeds_key = jax.random.split(jax.random.key(root_seed))
    return split_key, seeds_key


@jax.jit
def _seed_keys(root_seed: jax.Array, numbers: jax.Array) -> jax.Array:
    fold_in = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    return fold_in(_root_keys(root_seed)[1], numbers)


def arm(
    chosen: dict[str, Any],
    factors: Factors,
    varying: list[str],
    data: Data,
    build: Build,
    shared: dict[str, Any],
) -> Arm:
    """One combination of levels, resolved to what is compiled and what is traced."""
    built = levels.substitute(chosen, factors)
    chosen = levels.choices_of(chosen, built)
    program = program_of(chosen, built, data, build)
    grid = grids.setting_values(chosen, factors, built, program)
    check_init_scale(program.model, grid["init_scale"].tolist())
    names = {k: chosen["model"][k] for k in ("name", "kwargs")}
    names["augmentation"] = chosen["augmentation"]
    num_parameters, convolutions = trace(program, factors, grid, data, **names)
    known_by = identity(program, **shared)
    return Arm(
        name=arm_name(factors, varying),
        id=files.text_digest(known_by)[:16],
        identity=known_by,
        factors=factors,
        program=program._replace(mapping=mapping(chosen["mapping"])),
        settings=grid,
        num_parameters=num_parameters,
        convolutions=convolutions,
    )


def arm_name(factors: Factors, varying: Sequence[str]) -> str:
    """The levels of the factors that vary, joined by "-", such as `batch-256`.

    A study of one arm is called by its levels that are not USUAL, or else by its norm,
    or by the first factor of those that are told.
    """
    first = "norm" if "norm" in factors else next(iter(factors))
    unusual = [x for x, level in USUAL.items() if factors.get(x, level) != level]
    return "-".join(str(factors[x]) for x in varying or unusual or (first,))


def program_of(
    chosen: dict[str, Any], built: Factors, data: Data, build: Build
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
        model=build(chosen, built),
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


def mapping(asked: str) -> str:
    """How lanes share a device before anything is timed: see `training.mappings`.

    Unless it is given they are mapped on a CPU, one after the other: it is the fastest
    way there (docs/performance.md), and the numbers of a network depend neither on
    which others train beside it nor on how many. See `study.mapping` for the others.
    """
    if asked != "auto":
        mappings.bundle_size(asked, known=("auto", *mappings.KNOWN))
        return asked
    return "map" if jax.default_backend() == "cpu" else "vmap"


def seeds(chosen: dict[str, Any]) -> tuple[int, ...]:
    """The seeds' numbers: those of the config, or 0, 1, 2, ..."""
    asked = chosen["num_seeds"]
    listed = chosen["seeds"] or tuple(range(asked))
    if asked > len(listed):
        rule = f"must be at most {len(listed)}, the seeds that are listed"
        remedy = f"set num_seeds={len(listed)} or seeds=()"
        raise InputError("num_seeds", asked, rule, remedy)
    return listed[:asked]
