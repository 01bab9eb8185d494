"""From an ml_collections config to a Study: derives what follows, names what is wrong.

Every mistake in a config ends here (or in the modules called from here) as an
InputError of one line, before anything is written or compiled.
"""

import copy
import itertools
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from normjax import arms
from normjax.data import sources, splits
from normjax.tables import InputError, nearest, pick
from normjax.training import probes
from normjax.types import Data

DEFAULTS: dict[str, Any] = {
    "study": "study",  # its name, on the page and in the record
    "question": "",  # one sentence
    "root_seed": 0,  # of the split of the data and of all seeds
    "num_seeds": 10,
    "seeds": (),  # the first num_seeds of these, or 0, 1, 2, ...
    "num_epochs": 10,
    "batch_size": 128,  # examples per step; what is left of an epoch is dropped
    "reference_batch_size": 0,  # rates are times batch size / this; 0: as given
    "sampling": "permutation",  # of the training split in each epoch; or "replacement"
    "target_accuracy": 0.85,  # on the test split, for the steps needed to reach it
    "probes": (),
    "mapping": "auto",  # of lanes on a device: vmap, map, or auto (see arms.mapping)
    "faults": (),  # of the source, kept by the protocol as_published
    "data": {
        "name": "digits",
        "dir": "",  # of TFDS sets; TFDS_DATA_DIR or the library's default if empty
        "num_train": 0,  # 0: all that validation leaves
        "num_validation": 200,
        "num_test": 0,  # the first of the test split; 0: all
        "scaling": "unit",
    },
    "model": {
        "name": "mlp",
        "widths": (128, 128),  # of hidden layers, convolutions or stages
        "kernel_init": "he_normal",
        "batch_norm": "",  # a row of layers.PRESETS; empty: decay 0.9, eps 1e-5
        "convolution": "auto",  # a row of ops.conv.IMPLEMENTATIONS, or auto
    },
    "arms": {  # each combination compiles once
        "protocol": ("corrected",),
        "norm": ("none",),
        "placement": ("pre",),
        "optimizer": ("sgd",),
        "regularizer": ("none",),
        "batch_size": (),  # of each arm; empty: batch_size alone
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


POSITIVE = ("at least 1", lambda x: x >= 1)
RULES = {  # field -> (rule, test)
    "num_seeds": ("from 1 to 10000", lambda x: 1 <= x <= 10_000),
    "num_epochs": POSITIVE,
    "batch_size": POSITIVE,
    "target_accuracy": ("in (0, 1]", lambda x: 0 < x <= 1),
    "root_seed": ("from 0 to 2^32 - 1", lambda x: 0 <= x < 2**32),
    "data.num_train": ("at least 0 (0: all that remain)", lambda x: x >= 0),
    "data.num_validation": POSITIVE,
    "data.num_test": ("at least 0 (0: all)", lambda x: x >= 0),
    "reference_batch_size": ("at least 0 (0: rates as given)", lambda x: x >= 0),
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


class RootKeys(NamedTuple):
    """The keys of a study, by purpose."""

    split: jax.Array  # draws the training and the validation split
    seeds: jax.Array  # the key of seed s is fold_in(seeds, s), in every arm


class Study(NamedTuple):
    """A checked config with its data: all that `studies.run` needs."""

    config: ConfigDict
    seeds: tuple[int, ...]
    data: Data
    arms: tuple[arms.Arm, ...]


def config(**choices: Any) -> ConfigDict:
    """The DEFAULTS with some of them chosen."""
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
    return ConfigDict(made)


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
        arms.arm(config, dict(zip(levels, chosen)), levels, data, source.num_classes)
        for chosen in itertools.product(*levels.values())
    )
    for name, value in config.settings.items():
        if value and not any(name in arm.settings for arm in made):
            used = sorted(set().union(*(arm.settings for arm in made)))
            raise InputError(
                f"settings.{name}={value}: no arm of this study uses it."
                f"{nearest(name, used)} Used: {', '.join(used)}."
            )
    return Study(config, seeds(config), data, made)


def root_keys(config: ConfigDict) -> RootKeys:
    """Both keys of a study, from its root seed."""
    return RootKeys(*jax.random.split(jax.random.key(config.root_seed)))


def plain(config: ConfigDict) -> ConfigDict:
    """The same config with levels and grids as tuples, however they were written."""
    plain = config.copy_and_resolve_references()
    plain.arms = {name: arms.words(levels) for name, levels in config.arms.items()}
    plain.arms.batch_size = plain.arms.batch_size or (str(config.batch_size),)
    plain.settings = {name: numbers(grid) for name, grid in config.settings.items()}
    return plain


def check_fields(config: ConfigDict) -> None:
    """No field but those of DEFAULTS, types as there, values within RULES."""
    for group, known in (("", DEFAULTS), *DEFAULTS.items()):
        if not isinstance(known, dict) or group in ("settings", "baseline"):
            continue
        for name in config.get(group, {}) if group else config:
            if name not in known:
                field = f"{group}.{name}" if group else name
                raise InputError(
                    f"{field}: no such field.{nearest(name, known)}"
                    f" Known: {', '.join(sorted(known))}."
                )
    for field, default in flat(DEFAULTS).items():
        value = config
        for part in field.split("."):
            if not isinstance(value, ConfigDict) or part not in value:
                raise InputError(
                    f"{field}: missing; make the config with normjax.specs.config(...)."
                )
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
    for name in arms.words(config.probes):
        pick("probes", probes.PROBES, name)
    for name in arms.words(config.faults):
        pick("faults", arms.FAULTS, name)


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of a nested dict by dotted name."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        inner = isinstance(value, dict) and value
        leaves |= flat(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return leaves


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
