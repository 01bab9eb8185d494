"""What a study takes as an object in place of a name: a model, and arrays of data."""

from typing import Any

import jax
from jaxtyping import Array, Key

from normjax.data import arrays, room, sources, splits
from normjax.data.cache import DataSet
from normjax.errors import InputError
from normjax.own_model import checked_module, kind_of
from normjax.study import own_norms
from normjax.study.fields import DEFAULTS
from normjax.training import devices
from normjax.types import Data

ARRAYS = "<arrays>"  # stands for the name of data that has none


def name_given(chosen: dict[str, Any], model: Any, data: Any) -> dict[str, Any]:
    """The config, with what is given as an object under a name that says so.

    Such a name is in angle brackets: no other study can find the object by it. The
    level of a norm that was not chosen is filled in, as it depends on the model.
    """
    if model is not None:
        if chosen["arms"]["model"]:
            rule = "must be empty where a model is given, for that is the only one"
            remedy = "set arms.model=(), or name the model in it"
            raise InputError("arms.model", chosen["arms"]["model"], rule, remedy)
        checked_module("model", ..., model)
        kind = kind_of(model)
        name = f"<{kind.__module__}.{kind.__qualname__}>"
        chosen = chosen | {"model": chosen["model"] | {"name": name}}
    if data is not None:
        chosen = chosen | {"data": chosen["data"] | {"name": ARRAYS}}
    if not chosen["arms"]["norm"]:
        norms = (own_norms.usual(chosen, model),)
        chosen = chosen | {"arms": chosen["arms"] | {"norm": norms}}
    return chosen


def load(
    choices: dict[str, Any], given: Any, key: Key[Array, ""]
) -> tuple[DataSet, Data]:
    """The set that a config's `data` names, or of the arrays given, and its splits.

    Raises:
        InputError: if there is none such, or it does not fit into memory.
    """
    stored = data_set(choices, given)
    check_room(stored, choices)
    sizes = {k: x for k, x in choices.items() if k not in ("name", "dir")}
    try:
        return stored, splits.split(stored, key, **sizes)
    except InputError as error:
        raise error.within("data") from error


def data_set(choices: dict[str, Any], given: Any) -> DataSet:
    """The set that `data` names, or that of the arrays given."""
    if given is not None:
        return arrays.data_set_of(given)
    if choices["name"] == ARRAYS:
        rule = "must be given as it was, as arrays, for they were in no file"
        remedy = "call normjax.run(config, data=...), or write them to an .npz"
        raise InputError("data.name", ARRAYS, rule, remedy)
    try:
        return sources.data_set(choices["name"], directory=choices["dir"])
    except InputError as error:
        raise error.within("data") from error


def check_room(stored: DataSet, choices: dict[str, Any]) -> None:
    """Refuses data that does not fit into the memory in which lanes train on it.

    That is the memory of each accelerator, or the host's for a CPU, whose devices share
    what lies there beside the rows as they are stored.
    """
    device = jax.local_devices()[0]
    copies = 2 if device.platform == "cpu" else 1
    each = stored.x_train[:1].nbytes
    needed, free = copies * each * num_rows(stored, choices), devices.free_bytes()
    if needed > free:
        where = "the host" if device.platform == "cpu" else f"a {device.device_kind}"
        has = f"of which {where} has {room.text(free)} free"
        rule = f"must fit into memory: it takes {room.text(needed)}, {has}"
        remedy = "take a part of it by data.num_train and data.num_test"
        raise InputError("data.name", choices["name"], rule, remedy)


def num_rows(stored: DataSet, choices: dict[str, Any]) -> int:
    """How many examples the splits have together."""
    brought = 0 if stored.x_validation is None else len(stored.x_validation)
    rows, tested = len(stored.y_train), len(stored.y_test)
    if choices["num_train"] and choices["subset"] == "shared":
        held_out = 0 if brought else choices["num_validation"]
        rows = min(held_out + choices["num_train"], rows)
    return rows + brought + (min(choices["num_test"], tested) or tested)


def notices(stored: DataSet, choices: dict[str, Any]) -> list[str]:
    """What was chosen of the data and is not used, and what it lacks."""
    field, default = "num_validation", DEFAULTS["data"]["num_validation"]
    found, number = [], choices[field]
    if stored.x_validation is not None and number != default:
        why = "the data has a validation split"
        found.append(f"data.{field}={number} is not used, for {why}")
    if absent := arrays.absent_classes(stored):
        few = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
        each = f"{len(absent)} of {stored.num_classes} classes"
        found.append(f"data: no training example has the label {few} ({each})")
    return found
