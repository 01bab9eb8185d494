"""From an ml_collections config to a Study: derives what follows, names what is wrong.

Every mistake in a config ends here (or in the modules called from here) as an
InputError of one line, before anything is written or compiled.
"""

import copy
import itertools
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from normjax import layers, models
from normjax.data import sources, splits
from normjax.optimizers import recipes
from normjax.tables import InputError, pick, pick_or_import
from normjax.training import probes
from normjax.types import Data, Program

DEFAULTS: dict[str, Any] = {
    "study": "study",  # its name, on the page and in the record
    "question": "",  # one sentence
    "root_seed": 0,  # the key of seed s is fold_in(key(root_seed), s), in every arm
    "num_seeds": 10,
    "seeds": (),  # the first num_seeds of these, or 0, 1, 2, ...
    "num_epochs": 10,
    "batch_size": 128,  # examples per step
    "sampling": "permutation",  # of the training split in each epoch; or "replacement"
    "target_accuracy": 0.85,  # on the test split, for the steps needed to reach it
    "probes": (),
    "faults": (),  # of the source, kept by the protocol as_published
    "data": {
        "name": "digits",
        "dir": "",  # of TFDS sets; TFDS_DATA_DIR or the library's default if empty
        "num_train": 0,  # 0: all that validation leaves
        "num_validation": 200,
        "scaling": "unit",
    },
    "model": {"name": "mlp", "widths": (128, 128), "kernel_init": "he_normal"},
    "arms": {  # each combination compiles once
        "protocol": ("corrected",),
        "norm": ("none",),
        "placement": ("pre",),
        "optimizer": ("sgd",),
        "regularizer": ("none",),
    },
    "baseline": {},  # factor -> level: the arm that paired differences are taken to
    "settings": {  # traced: their whole grid shares an arm's compilation; () = default
        "learning_rate": (),
        "momentum": (),
        "decay": (),
        "decay1": (),
        "decay2": (),
        "decay3": (),
        "eps": (),
        "l2": (),
        "weight_decay": (),
        "dropout_rate": (),
        "init_scale": (),
    },
}

PROTOCOLS = {
    "corrected": "the method as the literature defines it",
    "as_published": "the source's method with its faults kept",
}

FAULTS = {
    "memoryless": "a new optimizer for every step, but for third_moment",
    "scalar_moments": "batch norm over the whole tensor, moments shared by all layers",
}

REGULARIZERS = {  # name -> the settings it brings, with their defaults
    "none": {},
    "l2": {"l2": 0.7},  # lambda / (2 num_train) * sum of squared kernels, in the loss
    "dropout": {"dropout_rate": 0.3},  # after each hidden activation
    "weight_decay": {"weight_decay": 0.01},  # decoupled, times the learning rate
}

POSITIVE = ("at least 1", lambda x: x >= 1)
RULES = {  # field -> (rule, test)
    "num_seeds": POSITIVE,
    "num_epochs": POSITIVE,
    "batch_size": POSITIVE,
    "target_accuracy": ("in (0, 1]", lambda x: 0 < x <= 1),
    "root_seed": ("at least 0", lambda x: x >= 0),
    "data.num_train": ("at least 0 (0: all that remain)", lambda x: x >= 0),
    "data.num_validation": POSITIVE,
    "model.widths": (
        "one or more whole numbers of at least 1",
        lambda x: len(x) > 0 and all(type(w) is int and w >= 1 for w in x),
    ),
    "seeds": (
        "distinct whole numbers from 0 to 2^32 - 1",
        lambda x: (
            all(type(s) is int and 0 <= s < 2**32 for s in x) and len(set(x)) == len(x)
        ),
    ),
}

FRACTION = ("in [0, 1)", lambda x: 0 <= x < 1)
SETTING_RULES = {
    "learning_rate": ("above 0", lambda x: x > 0),
    "init_scale": ("above 0", lambda x: x > 0),
    **dict.fromkeys(("momentum", "decay", "decay1", "decay2", "decay3"), FRACTION),
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


class Study(NamedTuple):
    """A checked config with its data: all that `studies.run` needs."""

    config: ConfigDict
    seeds: tuple[int, ...]
    data: Data
    arms: tuple[Arm, ...]


def config(**choices: Any) -> ConfigDict:
    """A locked config: the DEFAULTS with some of them chosen."""
    made = copy.deepcopy(DEFAULTS)
    for field, value in choices.items():
        pick("config", DEFAULTS, field)
        if isinstance(value, dict) and field not in ("settings", "baseline"):
            for name in value:
                pick(f"config.{field}", DEFAULTS[field], name)
        if isinstance(value, dict):
            made[field] |= value
        else:
            made[field] = value
    return ConfigDict(made).lock()


def arguments(text: str, **allowed: tuple[str, ...]) -> list[str]:
    """Config arguments, `size=smoke,dataset=mnist`: in the order of `allowed`.

    The first value allowed is the default.

    Raises:
        InputError: unknown argument or value, with the nearest valid one.
    """
    chosen = {name: values[0] for name, values in allowed.items()}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        pick("config argument", allowed, name)
        pick(name, dict.fromkeys(allowed[name]), value)
        chosen[name] = value
    return list(chosen.values())


def study(config: ConfigDict) -> Study:
    """Checks a config, loads its data, and derives its arms.

    Raises:
        InputError: for anything a user can have got wrong; nothing was written.
    """
    check_fields(config)
    config = plain(config)
    source = sources.load(config.data.name, directory=config.data.dir)
    data = splits.split(
        source,
        jax.random.key(config.root_seed),
        num_train=config.data.num_train,
        num_validation=config.data.num_validation,
        scaling=config.data.scaling,
    )
    num_train = len(data.train.labels)
    if config.batch_size > num_train:
        raise InputError(
            f"batch_size={config.batch_size}: must be at most the {num_train} training"
            f" examples; set --config.batch_size={min(128, num_train)}."
        )
    levels = {name: config.arms[name] for name in DEFAULTS["arms"]}
    check_baseline(config, levels)
    arms = tuple(
        arm(config, dict(zip(levels, chosen)), levels, data, source.num_classes)
        for chosen in itertools.product(*levels.values())
    )
    for name, value in config.settings.items():
        if value and not any(name in arm.settings for arm in arms):
            used = sorted(set().union(*(arm.settings for arm in arms)))
            raise InputError(
                f"settings.{name}={value}: no arm of this study uses it;"
                f" used: {', '.join(used)}."
            )
    return Study(config, seeds(config), data, arms)


def plain(config: ConfigDict) -> ConfigDict:
    """The same config with levels and grids as tuples, however they were written."""
    plain = config.copy_and_resolve_references().unlock()
    plain.arms = {name: words(levels) for name, levels in config.arms.items()}
    plain.settings = {name: numbers(grid) for name, grid in config.settings.items()}
    return plain.lock()


def check_fields(config: ConfigDict) -> None:
    """Types as in DEFAULTS, values within RULES."""
    for field, default in flat(DEFAULTS).items():
        value = config
        for part in field.split("."):
            value = value[part]
        numeric = isinstance(default, float) and type(value) is int
        if field.split(".")[0] in ("settings", "arms", "baseline"):
            continue  # a number or a word, or several: checked where they are used
        if not numeric and type(value) is not type(default):
            raise InputError(
                f"{field}={value!r}: must be {type(default).__name__},"
                f" as {default!r} is; set --config.{field}=..."
            )
        rule, test = RULES.get(field, ("", lambda _: True))
        if not test(value):
            raise InputError(
                f"{field}={value!r}: must be {rule}; the default is {default!r}."
            )
    pick("sampling", splits.SAMPLINGS, config.sampling)
    pick("data.scaling", splits.SCALINGS, config.data.scaling)
    for name in words(config.probes):
        pick("probes", probes.PROBES, name)
    for name in words(config.faults):
        pick("faults", FAULTS, name)


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of a nested dict by dotted name."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        inner = isinstance(value, dict) and value
        leaves |= flat(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return leaves


def words(value: Any) -> tuple[str, ...]:
    """`"a,b"`, `("a", "b")` or `("a,b",)` as `("a", "b")`."""
    parts = (value,) if isinstance(value, str) else tuple(value)
    return tuple(word for part in parts for word in str(part).split(",") if word)


def numbers(value: Any) -> tuple:
    """A number or several of them as a tuple; checked in `setting_grid`."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def seeds(config: ConfigDict) -> tuple[int, ...]:
    """The seeds' numbers: those of the config, or 0, 1, 2, ..."""
    listed = tuple(config.seeds) or tuple(range(config.num_seeds))
    if config.num_seeds > len(listed):
        raise InputError(
            f"num_seeds={config.num_seeds}: seeds lists only {len(listed)};"
            f" set --config.num_seeds={len(listed)} or --config.seeds='()'."
        )
    return listed[: config.num_seeds]


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
        pick(f"baseline.{factor}", dict.fromkeys(levels[factor]), level)


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
        forgets = "memoryless" in faults and factors["optimizer"] != "third_moment"
        if "scalar_moments" in faults and norm == "batch":
            norm = "batch_as_published"
    model = pick("model.name", models.MODELS, config.model.name)(
        widths=tuple(config.model.widths),
        num_classes=num_classes,
        norm=layers.norm_named(norm),
        placement=factors["placement"],
        dropout="dropout_rate" in brought,
        kernel_init=pick(
            "model.kernel_init", models.KERNEL_INITS, config.model.kernel_init
        ),
    )
    program = Program(
        model=model,
        optimizer=recipe,
        memoryless=forgets,
        decays=tuple(name for name in ("l2", "weight_decay") if name in brought),
        batch_size=config.batch_size,
        steps_per_epoch=len(data.train.labels) // config.batch_size,
        sampling=config.sampling,
        probes=words(config.probes),
    )
    used = recipes.settings_of(recipe) | brought | {"init_scale": 1.0}
    return Arm(
        name="-".join(level for f, level in factors.items() if len(levels[f]) > 1)
        or "-".join(factors.values()),
        factors=factors,
        program=program,
        settings=setting_grid(config, used, factors["optimizer"]),
        num_parameters=count_parameters(program, factors["norm"], data),
    )


def setting_grid(
    config: ConfigDict, used: dict[str, float | None], optimizer: str
) -> dict[str, np.ndarray]:
    """Every combination of the settings that an arm uses, leaves `[settings]`."""
    axes = {}
    for name, default in used.items():
        values = config.settings.get(name) or (default,)
        rule, test = SETTING_RULES.get(name, ("a number", lambda _: True))
        if len(set(values)) < len(values):
            raise InputError(
                f"settings.{name}={values}: must hold different numbers;"
                f" leave out what comes twice."
            )
        for value in values:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number and value is default:
                raise InputError(
                    f"settings.{name}: {optimizer} has no default for it;"
                    f" set --config.settings.{name}=0.001."
                )
            if not number or not np.isfinite(value) or not test(value):
                raise InputError(
                    f"settings.{name}={value!r}: must be a number {rule};"
                    f" the default is {default}."
                )
        axes[name] = values
    rows = np.array(list(itertools.product(*axes.values())), np.float32)
    return dict(zip(axes, rows.T))


def count_parameters(program: Program, norm: str, data: Data) -> int:
    """Parameters of one network; runs no arithmetic, but finds impossible shapes.

    Raises:
        InputError: from a norm that cannot be taken over these shapes.
    """
    example = jax.ShapeDtypeStruct(
        (program.batch_size, *data.train.inputs.shape[1:]), np.float32
    )

    def both(key, inputs):
        variables = program.model.init(key, inputs, train=False)
        rngs = {"dropout": key}
        mutable = [name for name in variables if name != "params"]
        program.model.apply(variables, inputs, train=True, mutable=mutable, rngs=rngs)
        return variables["params"]

    try:
        params = jax.eval_shape(both, jax.random.key(0), example)
    except InputError as error:
        raise InputError(
            f"arms.norm={norm!r}, batch_size={program.batch_size}: {error}"
        ) from error
    return sum(leaf.size for leaf in jax.tree.leaves(params))
