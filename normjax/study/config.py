"""What a user may choose: every field of a config, its default, type and rule."""

import copy
from typing import Any

from ml_collections import ConfigDict

from normjax.data import splits
from normjax.errors import InputError, pick, suggest
from normjax.training import probes

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
        "b1": (),
        "b2": (),
        "b3": (),
        "eps": (),
        "l2": (),
        "weight_decay": (),
        "dropout_rate": (),
        "init_scale": (),
    },
}


FAULTS = {
    "memoryless": "a new optimizer for every step, but for third_moment",
    "scalar_moments": "batch norm over the whole tensor, moments shared by all layers",
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


def plain(config: ConfigDict) -> ConfigDict:
    """The same config with levels and grids as tuples, however they were written."""
    plain = config.copy_and_resolve_references()
    plain.arms = {name: words(levels) for name, levels in config.arms.items()}
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
                    field,
                    rule=f"must be one of the fields {', '.join(sorted(known))}",
                    remedy=suggest(name, known, "leave it out"),
                )
    for field, default in flat(DEFAULTS).items():
        value = config
        for part in field.split("."):
            if not isinstance(value, ConfigDict) or part not in value:
                raise InputError(
                    f"{field}: missing; make the config with normjax.config(...)."
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


def numbers(value: Any) -> tuple:
    """A number or several of them as a tuple; checked in `setting_grid`."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def words(value: Any) -> tuple[str, ...]:
    """`"a,b"`, `("a", "b")` or `("a,b",)` as `("a", "b")`; 8 as `("8",)`."""
    parts = tuple(value) if isinstance(value, tuple | list) else (value,)
    return tuple(word for part in parts for word in str(part).split(",") if word)
