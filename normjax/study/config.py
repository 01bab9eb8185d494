"""What a user may choose: a config, checked field by field (see `fields`)."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from normjax import files
from normjax.data import scalings, splits
from normjax.errors import InputError, pick
from normjax.files import flat
from normjax.study.audits import audit_named
from normjax.study.field_names import name_rule, nearest_field
from normjax.study.fields import (
    DEFAULTS,
    FIELD_RULES,
    LAST_BATCHES,
    MODEL_DEFAULTS,
    NUMBER_FACTORS,
    OPEN,
    OPEN_FIELDS,
    SHAPE,
)
from normjax.training import probes


def config(**choices: Any) -> ConfigDict:
    """A config: the DEFAULTS with some of them chosen, `config(num_seeds=3)`.

    Raises:
        InputError: for a name that is no field.
    """
    given = ConfigDict(choices, allow_dotted_keys=True).to_dict()
    check_names(given)
    made = copy.deepcopy(DEFAULTS)
    made["model"] |= own_fields(given.get("model", {}).get("name"))
    for field, value in given.items():
        made[field] = made[field] | value if isinstance(value, dict) else value
    return ConfigDict(made, allow_dotted_keys=True)  # of settings_for: optax.lion


def own_fields(model: Any) -> dict[str, Any]:
    """The defaults of a model's shape: those of its name where it has other ones."""
    shape = {name: DEFAULTS["model"][name] for name in SHAPE}
    return copy.deepcopy(shape | MODEL_DEFAULTS.get(str(model), {}))


def from_file(path: str) -> ConfigDict:
    """The config of a record, `config.json`, as `config` would make it.

    Raises:
        InputError: if the file holds something else.
    """
    rule, remedy = "must hold a config", "name the config.json of a record"
    try:
        content = files.read_json(Path(path))
    except InputError as error:  # its rule is: damaged (why)
        why = f"{rule}, and is {error.rule}"
        raise InputError(f"--config={path}", ..., why, remedy) from error
    if not content.keys() & DEFAULTS.keys() or "arm_order" in content:  # record.json
        raise InputError(f"--config={path}", ..., rule, remedy)
    return config(**plain_data("config", content))


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
    chosen["arms"] = {
        factor: kind(chosen["arms"][factor])
        for factor in DEFAULTS["arms"]
        for kind in (as_tuple if factor in NUMBER_FACTORS else words,)
    }
    chosen["settings"] = {k: as_tuple(grid) for k, grid in chosen["settings"].items()}
    for field, known in (("probes", probes.PROBES), ("unstated", chosen["arms"])):
        chosen[field] = words(chosen[field])
        for name in chosen[field]:
            pick(field, known, name)
    chosen["tuning"] = chosen["tuning"] | {"choose": words(chosen["tuning"]["choose"])}
    pick("sampling", splits.SAMPLINGS, chosen["sampling"])
    pick("last_batch", dict.fromkeys(LAST_BATCHES), chosen["last_batch"])
    pick("data.scaling", scalings.SCALINGS, chosen["data"]["scaling"])
    pick("data.subset", dict.fromkeys(splits.SUBSETS), chosen["data"]["subset"])
    audit_named(chosen["audit"])
    return chosen


def check_names(choices: Mapping[str, Any], listed: str = "") -> None:
    """Refuses unknown names, and values that are no group where DEFAULTS has one.

    The rule names the nearest of many fields, or says where all are `listed`.
    """
    _check_known("", choices, DEFAULTS, listed)
    for group, known in DEFAULTS.items():
        if not isinstance(known, dict):
            continue
        value = choices.get(group, known)
        if not isinstance(value, Mapping):
            raise wrong_type(group, value)
        if group not in OPEN:
            _check_known(f"{group}.", value, known, listed)


def _check_known(
    prefix: str, names: Mapping[str, Any], known: Mapping[str, Any], listed: str
) -> None:
    for name in names:
        if name not in known:
            rule = name_rule(name, known, listed)
            raise InputError(
                prefix + name, ..., rule, nearest_field(prefix, name, known)
            )


def check_values(chosen: dict[str, Any]) -> None:
    """Refuses a field that is missing, of another type, or against its rule."""
    given = flat(chosen)
    for field, default in flat(DEFAULTS).items():
        group = field.split(".")[0]
        if field in OPEN_FIELDS:
            check_group(field, chosen)
            continue
        if field not in given and (group not in OPEN or group not in chosen):
            field = field if group not in OPEN else group
            rule, remedy = "must be given", "make the config with normjax.config(...)"
            raise InputError(field, ..., rule, remedy)
        if group in (*OPEN, "arms"):
            continue  # checked where they are used
        value = given[field]
        lists = "probes", "unstated", "tuning.choose"
        words_given = field in lists and isinstance(value, str)
        numeric = isinstance(default, float) and type(value) is int
        if type(value) is not type(default) and not (numeric or words_given):
            raise wrong_type(field, value)
        rule, test = FIELD_RULES.get(field, ("", lambda _: True))
        if not test(value):
            raise InputError(field, value, f"must be {rule}", f"set {field}={default}")


def check_group(field: str, chosen: dict[str, Any]) -> None:
    """Refuses a field of OPEN_FIELDS that is missing or no group."""
    group, _, name = field.partition(".")
    if name not in chosen[group]:
        rule, remedy = "must be given", "make the config with normjax.config(...)"
        raise InputError(field, ..., rule, remedy)
    if not isinstance(chosen[group][name], Mapping):
        rule, value = "must be a group of fields", chosen[group][name]
        raise InputError(field, value, rule, f"set one, {field}.features")


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
    remedy = "write it as one of them"
    if callable(value) and hasattr(value, "__qualname__"):
        remedy = f"give its importable name, '{value.__module__}.{value.__qualname__}'"
        if value.__module__ == "__main__" or "<" in value.__qualname__:
            remedy = "write it in a module and give its importable name, 'mine.shift'"
    raise InputError(field, value, rule, remedy)
