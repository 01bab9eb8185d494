"""What a user may choose: every field of a config, its default, type and rule."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from normjax.data import splits
from normjax.errors import InputError, pick, suggest
from normjax.files import flat
from normjax.study.audits import audit_named
from normjax.training import probes

DEFAULTS: dict[str, Any] = {
    "study": "study",  # its name, on the page and in the record
    "question": "",  # one sentence
    "audit": "",  # dotted name of a module with claims: see report.audit_interface
    "root_seed": 0,  # of the split of the data and of all seeds
    "num_seeds": 10,
    "seeds": (),  # the first num_seeds of these, or 0, 1, 2, ...
    "num_epochs": 10,
    "batch_size": 128,  # examples per step; what is left of an epoch is dropped
    "reference_batch_size": 0,  # rates are times batch size / this; 0: as given
    "sampling": "permutation",  # of the training split in each epoch; or "replacement"
    "target_accuracy": 0.85,  # on the test split, for the steps needed to reach it
    "probes": (),
    "mapping": "auto",  # of lanes on a device: vmap, map, or auto (see plan.mapping)
    "lanes_per_group": 0,  # trained and kept together; 0: at most 1000 that fit
    "checkpoint_seconds": 120.0,  # of training between checkpoints; 0: every epoch
    "protocols": {},  # name -> factor -> level -> what is built in its place
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
        "kernel_size": 3,  # of the convolutions of a CNN, odd
        "convs_per_pool": 1,  # of a CNN: convolutions before a max-pool
        "kernel_init": "he_normal",
        "batch_norm": "",  # a row of layers.PRESETS; empty: decay 0.9, eps 1e-5
        "convolution": "auto",  # a row of ops.conv.IMPLEMENTATIONS, or auto
    },
    "arms": {  # factor -> its levels; each combination compiles once
        "protocol": ("corrected",),  # corrected, or a name of protocols
        "norm": ("none",),
        "placement": ("pre",),
        "optimizer": ("sgd",),
        "penalty": ("none",),
        "batch_size": (),  # whole numbers; empty: batch_size alone
    },
    "baseline": {},  # factor -> level: the arm that paired differences are taken to
    "settings": dict.fromkeys(  # traced: their grid shares a compilation; () = default
        (
            *("learning_rate", "momentum", "decay", "b1", "b2", "b3", "eps"),
            *("l2", "weight_decay", "dropout_rate", "init_scale"),
        ),
        (),
    ),
}
OPEN = ("protocols", "baseline", "settings")  # groups that take names of the user

LIMIT = 2**31  # of whole numbers that jax counts with
POSITIVE = ("from 1 to 2^31 - 1", lambda x: 1 <= x < LIMIT)
FIELD_RULES = {  # field -> (rule, test)
    "num_seeds": ("from 1 to 10000", lambda x: 1 <= x <= 10_000),
    "num_epochs": ("from 1 to 1000000", lambda x: 1 <= x <= 1_000_000),
    "batch_size": POSITIVE,
    "target_accuracy": ("in (0, 1]", lambda x: 0 < x <= 1),
    "root_seed": ("from 0 to 2^32 - 1", lambda x: 0 <= x < 2**32),
    "data.num_train": ("at least 0 (0: all that remain)", lambda x: x >= 0),
    "data.num_validation": POSITIVE,
    "data.num_test": ("at least 0 (0: all)", lambda x: x >= 0),
    "lanes_per_group": ("from 0 (what fits) to 100000", lambda x: 0 <= x <= 100_000),
    "checkpoint_seconds": ("at least 0 (0: every epoch)", lambda x: x >= 0),
    "reference_batch_size": (
        "from 0 (rates as given) to 2^31 - 1",
        lambda x: 0 <= x < LIMIT,
    ),
    "model.widths": (
        "one or more whole numbers from 1 to 2^31 - 1",
        lambda x: len(x) > 0 and all(type(w) is int and 1 <= w < LIMIT for w in x),
    ),
    "model.kernel_size": ("odd, from 1 to 999", lambda x: 1 <= x < 1000 and x % 2 == 1),
    "model.convs_per_pool": POSITIVE,
    "seeds": (
        "distinct whole numbers from 0 to 2^32 - 1",
        lambda x: (
            all(type(s) is int and 0 <= s < 2**32 for s in x) and len(set(x)) == len(x)
        ),
    ),
}


def config(**choices: Any) -> ConfigDict:
    """A config: the DEFAULTS with some of them chosen, `config(num_seeds=3)`.

    Raises:
        InputError: for a name that is no field.
    """
    given = ConfigDict(choices).to_dict()
    check_names(given)
    made = copy.deepcopy(DEFAULTS)
    for field, value in given.items():
        made[field] = made[field] | value if isinstance(value, dict) else value
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
        pick(f"config argument {name}", dict.fromkeys(allowed[name]), value)
        chosen[name] = value
    return list(chosen.values())


def resolve(config: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """A config as plain data, checked, with a tuple for each list of `config.json`.

    Raises:
        InputError: for a field that is missing, unknown or breaks its rule.
    """
    given = config.to_dict() if isinstance(config, ConfigDict) else config
    chosen = {name: plain_data(str(name), value) for name, value in given.items()}
    check_names(chosen)
    check_values(chosen)
    sizes = as_tuple(chosen["arms"]["batch_size"])
    levels = {factor: words(chosen["arms"][factor]) for factor in DEFAULTS["arms"]}
    chosen["arms"] = levels | {"batch_size": sizes}
    chosen["settings"] = {k: as_tuple(grid) for k, grid in chosen["settings"].items()}
    chosen["probes"] = words(chosen["probes"])
    for name in chosen["probes"]:
        pick("probes", probes.PROBES, name)
    pick("sampling", splits.SAMPLINGS, chosen["sampling"])
    pick("data.scaling", splits.SCALINGS, chosen["data"]["scaling"])
    audit_named(chosen["audit"])
    return chosen


def check_names(choices: Mapping[str, Any]) -> None:
    """Refuses unknown names, and values that are no group where DEFAULTS has one."""
    _check_known("", choices, DEFAULTS)
    for group, known in DEFAULTS.items():
        if not isinstance(known, dict):
            continue
        value = choices.get(group, known)
        if not isinstance(value, Mapping):
            raise wrong_type(group, value)
        if group not in OPEN:
            _check_known(f"{group}.", value, known)


def _check_known(prefix: str, names: Mapping[str, Any], known: dict) -> None:
    for name in names:
        if name not in known:
            rule = f"must be one of the fields {', '.join(sorted(known))}"
            remedy = suggest(name, known, "leave it out")
            raise InputError(prefix + name, ..., rule, remedy)


def check_values(chosen: dict[str, Any]) -> None:
    """Refuses a field that is missing, of another type, or against its rule."""
    given = flat(chosen)
    for field, default in flat(DEFAULTS).items():
        group = field.split(".")[0]
        if field not in given and (group not in OPEN or group not in chosen):
            field = field if group not in OPEN else group
            rule, remedy = "must be given", "make the config with normjax.config(...)"
            raise InputError(field, ..., rule, remedy)
        if group in (*OPEN, "arms"):
            continue  # checked where they are used
        value = given[field]
        words_given = field == "probes" and isinstance(value, str)
        numeric = isinstance(default, float) and type(value) is int
        if type(value) is not type(default) and not (numeric or words_given):
            raise wrong_type(field, value)
        rule, test = FIELD_RULES.get(field, ("", lambda _: True))
        if not test(value):
            raise InputError(field, value, f"must be {rule}", f"set {field}={default}")


def wrong_type(field: str, value: Any) -> InputError:
    """The error that a value is not of the type of its default."""
    group = DEFAULTS.get(field)
    if isinstance(group, dict):
        remedy = f"set one, {field}.{next(iter(group), 'norm')}"
        return InputError(field, value, "must be a group of fields", remedy)
    default = flat(DEFAULTS).get(field, ())
    rule = f"must be {type(default).__name__}, as {default!r} is"
    return InputError(field, value, rule, f"set {field}={default!r}")


def as_tuple(value: Any) -> tuple:
    """A tuple or a list as a tuple; anything else as a tuple of one."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def words(value: Any) -> tuple[str, ...]:
    """`"a,b"`, `("a", "b")` or `("a,b",)` as `("a", "b")`."""
    listed = ",".join(map(str, as_tuple(value)))
    return tuple(word for word in listed.split(",") if word)


def plain_data(field: str, value: Any) -> Any:
    """A value as JSON gives it back, but with a tuple for each list.

    Raises:
        InputError: for what is no text, number, list or group of these.
    """
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                rule = f"must have texts as names, not {name!r}"
                raise InputError(field, value, rule, f"write {str(name)!r}")
            plain_data(field, name)
        return {name: plain_data(f"{field}.{name}", x) for name, x in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple | range):
        return tuple(plain_data(field, x) for x in value)
    if isinstance(value, str):
        if value.isascii() or value.encode(errors="replace").decode() == value:
            return value
        rule, remedy = "must be text that UTF-8 can write", "leave out its surrogates"
        raise InputError(field, value, rule, remedy)
    if value is None or isinstance(value, int | float):
        return value
    rule = "must be a text, a number, or a tuple or a group of these"
    raise InputError(field, value, rule, "write it as one of them")
