"""Arms: a combination of levels, resolved to what is compiled and what is traced.

Every mistake in a choice ends here as an InputError of one line.
"""

import functools
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from normjax import layers, models
from normjax.data import sources, splits
from normjax.errors import InputError, pick, pick_or_import, suggest
from normjax.ops import conv
from normjax.optimizers import recipes
from normjax.study.config import DEFAULTS, FAULTS, check_fields, plain, words
from normjax.training import devices, lane
from normjax.types import Data, Program, Settings

PROTOCOLS = {
    "corrected": "the method as the literature defines it",
    "as_published": "the source's method with its faults kept",
}


REGULARIZERS = {  # name -> the settings it brings, with their defaults
    "none": {},
    "l2": {"l2": 0.7},  # lambda / (2 num_train) * sum of squared kernels, in the loss
    "dropout": {"dropout_rate": 0.3},  # after each hidden activation
    "weight_decay": {"weight_decay": 0.01},  # decoupled, times the learning rate
}


FRACTION = ("in [0, 1)", lambda x: 0 <= x < 1)


SETTING_RULES = {
    "learning_rate": ("above 0", lambda x: x > 0),
    "init_scale": ("above 0", lambda x: x > 0),
    **dict.fromkeys(("momentum", "decay", "b1", "b2", "b3"), FRACTION),
    "dropout_rate": FRACTION,
    **{k: ("at least 0", lambda x: x >= 0) for k in ("eps", "l2", "weight_decay")},
}


class Arm(NamedTuple):
    """What is compiled once; its lanes are `[settings, seeds]`."""

    name: str  # levels of the factors that vary, joined by "-"
    factors: dict[str, str]
    program: Program
    settings: dict[str, np.ndarray]  # traced, float32, leaves [settings]
    num_parameters: int  # of one network
    convolutions: dict[str, str]  # layer -> row of ops.conv.IMPLEMENTATIONS


class RootKeys(NamedTuple):
    """The keys of a study, by purpose."""

    split: jax.Array  # draws the training and the validation split
    seeds: jax.Array  # the key of seed s is fold_in(seeds, s), in every arm


class Study(NamedTuple):
    """A checked config with its data: all that `studies.run` needs."""

    config: ConfigDict
    seeds: tuple[int, ...]
    data: Data
    arms: tuple[Arm, ...]


def arm(
    config: ConfigDict,
    factors: dict[str, str],
    levels: dict[str, tuple[str, ...]],
    data: Data,
    num_classes: int,
) -> Arm:
    """One combination of levels, resolved to what is compiled and what is traced."""
    pick("arms.protocol", PROTOCOLS, factors["protocol"])
    pick("arms.placement", models.PLACEMENTS, factors["placement"])
    brought = pick("arms.regularizer", REGULARIZERS, factors["regularizer"])
    recipe = pick_or_import("arms.optimizer", recipes.RECIPES, factors["optimizer"])
    norm, forgets = factors["norm"], False
    if factors["protocol"] == "as_published":
        faults = words(config.faults)
        if not faults:
            raise InputError(
                "arms.protocol='as_published': this study names no fault of its source,"
                f" faults=(); set --config.faults={','.join(FAULTS)} or leave it out."
            )
        forgets = "memoryless" in faults and factors["optimizer"] != "third_moment"
        if "scalar_moments" in faults and norm == "batch":
            norm = "batch_as_published"
    convolution = config.model.convolution
    pick("model.convolution", {"auto": None, **conv.IMPLEMENTATIONS}, convolution)
    model = pick("model.name", models.MODELS, config.model.name)(
        widths=tuple(config.model.widths),
        num_classes=num_classes,
        norm=norm_named(norm, config.model.batch_norm),
        convolution=convolution,
        placement=factors["placement"],
        dropout="dropout_rate" in brought,
        kernel_init=pick(
            "model.kernel_init", models.KERNEL_INITS, config.model.kernel_init
        ),
    )
    batch_size = int(factors["batch_size"])
    program = Program(
        model=model,
        optimizer=_memoryless(recipe) if forgets else recipe,
        penalties=tuple(name for name in ("l2", "weight_decay") if name in brought),
        batch_size=batch_size,
        steps_per_epoch=round(len(data.train.labels) / batch_size)
        if config.sampling == "replacement"
        else len(data.train.labels) // batch_size,
        sampling=config.sampling,
        probes=words(config.probes),
    )
    with explained(f"arms.optimizer={factors['optimizer']!r}"):
        used = recipes.settings_of(recipe) | brought | {"init_scale": 1.0}
    settings = setting_grid(config, used, factors["optimizer"])
    if config.reference_batch_size and "learning_rate" in settings:
        settings["learning_rate"] = scaled_rates(config, settings, batch_size)
    if "smoothness" in program.probes and "learning_rate" not in settings:
        raise InputError(
            f"probes='smoothness': needs the setting learning_rate, which optimizer="
            f"{factors['optimizer']} has not; leave the probe out."
        )
    num_parameters, convolutions = traced(program, factors, settings, data)
    program = program._replace(mapping=mapping(config.mapping, bool(convolutions)))
    return Arm(
        name="-".join(level for f, level in factors.items() if len(levels[f]) > 1)
        or "-".join(factors.values()),
        factors=factors,
        program=program,
        settings=settings,
        num_parameters=num_parameters,
        convolutions=convolutions,
    )


@functools.cache
def _memoryless(recipe):
    """Until the protocols of the audit take its place."""

    @functools.wraps(recipe)
    def forgetful(**settings):
        tx = recipe(**settings)

        def update(updates, state, params=None):
            return tx.update(updates, tx.init(params), params)[0], state

        return optax.GradientTransformation(lambda _: optax.EmptyState(), update)

    return forgetful


def mapping(asked: str, convolves: bool) -> str:
    """How lanes share a device: on a CPU networks that convolve fill a core alone."""
    pick("mapping", {"auto": None, **devices.MAPPINGS}, asked)
    if asked != "auto":
        return asked
    return "map" if convolves and jax.default_backend() == "cpu" else "vmap"


def norm_named(name: str, preset: str) -> layers.Norm:
    """The norm of that name, `batch` as the preset has it; errors name the field."""
    if name == "batch" and preset:
        return layers.batch_norm_of(preset)
    try:
        return layers.norm_named(name)
    except InputError as error:
        raise InputError(f"arms.{error}") from error


def setting_grid(
    config: ConfigDict, used: dict[str, float | None], optimizer: str
) -> dict[str, np.ndarray]:
    """Every combination of the settings that an arm uses, leaves `[settings]`."""
    axes = {}
    for name, default in used.items():
        given = config.settings.get(name) or (default,)
        values = tuple(single_precision(x) for x in given)
        rule, test = SETTING_RULES.get(name, ("a number", lambda _: True))
        if default is None and values == (None,):
            raise InputError(
                f"settings.{name}: {optimizer} has no default for it;"
                f" set --config.settings.{name}=0.001."
            )
        for value, asked in zip(values, given):
            number = isinstance(value, float)
            if not number or not np.isfinite(value) or not test(value):
                raise InputError(
                    f"settings.{name}={asked!r}: must be a float32 {rule};"
                    f" the default is {default}."
                )
        if len(set(values)) < len(values):
            raise InputError(
                f"settings.{name}={given}: must hold different float32 numbers;"
                f" leave out what comes twice."
            )
        axes[name] = values
    rows = np.array(list(itertools.product(*axes.values())), np.float32)
    return dict(zip(axes, rows.T))


def scaled_rates(config: ConfigDict, settings: Settings, batch_size: int) -> np.ndarray:
    """Learning rates in proportion to the batch size."""
    factor = batch_size / config.reference_batch_size
    rates = settings["learning_rate"].astype(np.float64) * factor
    largest = np.finfo(np.float32).max
    if not ((rates > np.finfo(np.float32).tiny) & (rates < largest)).all():
        raise InputError(
            f"reference_batch_size={config.reference_batch_size}: learning rates times"
            f" {factor:g} must be float32 above 0; set --config.reference_batch_size=0."
        )
    return rates.astype(np.float32)


def single_precision(value: Any) -> Any:
    """A number as the float32 that is used, so that rules are about that one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    with np.errstate(over="ignore", under="ignore"):
        return float(str(np.float32(value)))


def traced(
    program: Program, factors: dict[str, str], settings: Settings, data: Data
) -> tuple[int, dict[str, str]]:
    """Parameters of one network and how it convolves, by layer.

    Runs no arithmetic, but traces what training would.

    Raises:
        InputError: from a norm or an optimizer that cannot be used on these shapes.
    """
    example = jax.ShapeDtypeStruct(
        (program.batch_size, *data.train.inputs.shape[1:]), np.float32
    )
    one = {name: float(values[0]) for name, values in settings.items()}
    convolutions = {}

    def note(call, args, kwargs, context):
        layer = context.module
        if isinstance(layer, layers.Conv) and context.method_name == "__call__":
            convolutions[layer.name] = layer.chosen(args[0].shape[-1])
        return call(*args, **kwargs)

    def network(key, inputs):
        with nn.intercept_methods(note):
            variables = program.model.init(key, inputs, train=False)
        rngs = {"dropout": key}
        mutable = [name for name in variables if name != "params"]
        program.model.apply(variables, inputs, train=True, mutable=mutable, rngs=rngs)
        return variables["params"]

    def update(params):
        tx = lane.optimizer(program, one, num_train=len(data.train.labels))
        return tx.update(params, tx.init(params), params)

    with explained(f"arms.norm={factors['norm']!r}, batch_size={program.batch_size}"):
        params = jax.eval_shape(network, jax.random.key(0), example)
    with explained(f"arms.optimizer={factors['optimizer']!r}"):
        jax.eval_shape(update, params)
    return sum(leaf.size for leaf in jax.tree.leaves(params)), convolutions


@contextmanager
def explained(field: str) -> Iterator[None]:
    """Names the field whose choice an error is about, in one line."""
    try:
        yield
    except (InputError, TypeError) as error:
        text = " ".join(str(error).split())
        calls = isinstance(error, TypeError)
        why = f"cannot be called as such ({text}); choose another" if calls else text
        if why.startswith("model."):  # it names the field itself
            raise InputError(why) from error
        own = why.startswith("optimizer=")
        raise InputError(f"arms.{why}" if own else f"{field}: {why}") from error


def study(config: ConfigDict) -> Study:
    """Checks a config, loads its data, and derives its arms.

    Raises:
        InputError: for anything a user can have got wrong; nothing was written.
    """
    check_fields(config)
    given, config = config, plain(config)
    source = sources.load(config.data.name, directory=config.data.dir)
    data = splits.split(
        source,
        root_keys(config).split,
        num_train=config.data.num_train,
        num_validation=config.data.num_validation,
        num_test=config.data.num_test,
        scaling=config.data.scaling,
    )
    levels = {name: config.arms[name] for name in DEFAULTS["arms"]}
    check_batch_sizes(given, levels["batch_size"], len(data.train.labels))
    check_baseline(config, levels)
    made = tuple(
        arm(config, dict(zip(levels, chosen)), levels, data, source.num_classes)
        for chosen in itertools.product(*levels.values())
    )
    for name, value in config.settings.items():
        if value and not any(name in arm.settings for arm in made):
            used = sorted(set().union(*(arm.settings for arm in made)))
            raise InputError(
                f"settings.{name}",
                value,
                f"must be a setting of some arm; the arms use {', '.join(used)}",
                suggest(name, used, "leave it out"),
            )
    return Study(config, seeds(config), data, made)


def root_keys(config: ConfigDict) -> RootKeys:
    """Both keys of a study, from its root seed."""
    return RootKeys(*jax.random.split(jax.random.key(config.root_seed)))


def seeds(config: ConfigDict) -> tuple[int, ...]:
    """The seeds' numbers: those of the config, or 0, 1, 2, ..."""
    listed = tuple(config.seeds) or tuple(range(config.num_seeds))
    if config.num_seeds > len(listed):
        raise InputError(
            f"num_seeds={config.num_seeds}: seeds lists only {len(listed)};"
            f" set --config.num_seeds={len(listed)} or --config.seeds='()'."
        )
    return listed[: config.num_seeds]


def check_batch_sizes(
    config: ConfigDict, levels: tuple[str, ...], num_train: int
) -> None:
    """Each is a number of examples that the training split has, written plainly."""
    field = "arms.batch_size" if config.arms.batch_size else "batch_size"
    for level in levels:
        plain = level.isdecimal() and str(int(level)) == level
        if not plain or not 1 <= int(level) <= num_train:
            raise InputError(
                f"{field}={level}: must be a whole number from 1 to the {num_train}"
                f" training examples; set --config.{field}={min(128, num_train)}."
            )


def check_baseline(config: ConfigDict, levels: dict[str, tuple[str, ...]]) -> None:
    """Every factor has levels, all different; the baseline is one of them."""
    for factor, chosen in levels.items():
        if not chosen or len(set(chosen)) < len(chosen):
            raise InputError(
                f"arms.{factor}={chosen}: must hold one or more different names;"
                f" the default is {DEFAULTS['arms'][factor]}."
            )
    for factor, level in config.baseline.items():
        pick("baseline", levels, factor)
        pick(f"baseline.{factor}", dict.fromkeys(levels[factor]), str(level))
