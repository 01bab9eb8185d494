"""A user's own classification set: arrays, checked one by one. Imports no jax."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from normjax.data import room
from normjax.data.cache import DataSet
from normjax.errors import InputError

REQUIRED = ("x_train", "y_train", "x_test", "y_test")
VALIDATION = ("x_validation", "y_validation")  # both or none
ORDERS = (REQUIRED, (*REQUIRED[:2], *VALIDATION, *REQUIRED[2:]))  # of a tuple
MAX_CLASSES = 100_000  # more is a mistake and would exhaust the memory
SMALLER = "give fewer examples, or use a larger machine"
GIVE = f"give a tuple ({', '.join(REQUIRED)}), or a dict of these names"


def data_set_of(given: Any) -> DataSet:
    """A DataSet of `(x_train, y_train, x_test, y_test)`, or of a mapping.

    With six arrays the validation split is in the middle: `(x_train, y_train,
    x_validation, y_validation, x_test, y_test)`. uint8 stays, all other inputs become
    float32, but floats and uint8 are not mixed; the classes are 0 to max(y_train).

    Raises:
        InputError: of `data`, if an array is missing or breaks a rule, or the inputs do
            not fit into memory.
    """
    named = by_name(given)
    _check_kinds({name: named[name] for name in named if name[0] == "x"})
    _check_room([named[name] for name in named if name[0] == "x"])
    inputs = {name: _inputs(name, named[name]) for name in named if name[0] == "x"}
    shape = inputs["x_train"].shape[1:]
    for name, x in inputs.items():
        if x.shape[1:] != shape:
            rule = f"{name} must have examples of shape {shape} as x_train has, not "
            raise refusal(f"{rule}{x.shape[1:]}", "give both the same shape")
    labels = {
        name: _labels(name, named[name], len(inputs[f"x{name[1:]}"]))
        for name in named
        if name[0] == "y"
    }
    largest = int(labels["y_train"].max())
    if labels["y_train"].min() == largest:
        rule = f"y_train must hold two classes or more, not {largest} alone"
        raise refusal(rule, "add examples of another class")
    for name, y in labels.items():
        if y.max() > largest:
            limit = f"{largest}, the largest in y_train, not {y.max()}"
            rule = f"{name} must hold labels up to {limit}"
            raise refusal(rule, f"remove such rows of {name} or add some to y_train")
    return DataSet(**inputs, **labels, num_classes=largest + 1)


def by_name(given: Any) -> dict[str, np.ndarray]:
    """The arrays of a tuple or a mapping, those of the validation split if any."""
    if isinstance(given, Mapping):
        named = dict(given)
    else:
        length = len(given) if isinstance(given, tuple | list) else 0
        orders = {len(names): names for names in ORDERS}
        if length not in orders:
            found = f"{length} arrays" if length else type(given).__name__
            raise refusal(f"must hold four or six arrays, not {found}", GIVE)
        named = dict(zip(orders[length], given))
    brought = any(name in named for name in VALIDATION)
    wanted = (*REQUIRED, *VALIDATION) if brought else REQUIRED
    for name in wanted:
        if name not in named:
            others = set(map(str, named)) - set(wanted)
            only = ", ".join(map(str, named)) or "nothing"
            rule = f"must hold an array {name!r}, not only {only}"
            near = difflib.get_close_matches(name, others, n=1)
            raise refusal(rule, f"rename {near[0]!r} to {name!r}" if near else GIVE)
    return {name: np.asarray(named[name]) for name in wanted}


def absent_classes(stored: DataSet) -> list[int]:
    """Classes of which no example can be trained on."""
    counts = np.bincount(stored.y_train, minlength=stored.num_classes)
    return np.flatnonzero(counts == 0).tolist()


def refusal(rule: str, remedy: str) -> InputError:
    """The error that the data is not as it must be."""
    return InputError("data", ..., rule, remedy)


def _check_kinds(inputs: Mapping[str, np.ndarray]) -> None:
    """Refuses floats beside whole numbers, whose units are hardly the same."""
    kind = lambda x: "floats" if x.dtype.kind == "f" else "whole numbers"
    first = inputs["x_train"]
    for name, x in inputs.items():
        if {x.dtype.kind, first.dtype.kind} <= set("biuf") and kind(x) != kind(first):
            rule = f"{name} must hold {kind(first)} as x_train does, which is"
            rule += f" {first.dtype}, not {x.dtype}"
            raise refusal(rule, "store both in the same units, with one dtype")


def _check_room(inputs: Sequence[np.ndarray]) -> None:
    """Refuses what the host cannot hold as float32, beside what is given."""
    needed = sum(4 * x.size for x in inputs if x.dtype != np.uint8)
    if rule := room.shortage(needed, "as float32 it"):
        raise refusal(rule, SMALLER)


def _inputs(name: str, x: np.ndarray) -> np.ndarray:
    """`x` as uint8 if it is that, else as finite float32."""
    if x.ndim < 2 or x.size == 0:
        shapes = "[examples, features] or [examples, height, width, channels]"
        rule = f"{name} must be {shapes} and not empty, but its shape is {x.shape}"
        raise refusal(rule, "reshape it (numbers: x[:, None])" if x.size else "fill it")
    if x.dtype.kind not in "biuf":
        rule = f"{name} must hold real numbers, not {x.dtype}"
        raise refusal(rule, "store uint8 or float32")
    if x.dtype == np.uint8:
        return x
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    num_bad = x.size - np.count_nonzero(np.isfinite(x))
    if num_bad:
        rule = f"{name} must be finite as float32, but {num_bad} values are not"
        raise refusal(rule, "remove those examples or fill the gaps")
    return x


def _labels(name: str, y: np.ndarray, num_examples: int) -> np.ndarray:
    """`y` as int32, one class from 0 for each example."""
    if y.shape != (num_examples,):
        each = f"one label for each row of the inputs, not {y.shape}"
        rule = f"{name} must have shape ({num_examples},), {each}"
        how = "store as many labels as examples"
        if y.ndim == 2 and len(y) == num_examples:
            how = "store the classes themselves, "
            how += "y[:, 0]" if y.shape[1] == 1 else "y.argmax(axis=1) if it is one-hot"
        raise refusal(rule, how)
    if y.dtype.kind not in "iu":
        rule = f"{name} must hold integers, not {y.dtype}"
        how = "store y.astype(np.int32)"
        if y.dtype.kind in "USOT":
            how = "store np.unique(y, return_inverse=True)[1]"
        elif y.dtype.kind == "f" and not np.array_equal(y, np.round(y)):
            how = "number the classes from 0 on; there is no regression"
        raise refusal(rule, how)
    if y.min() < 0 or y.max() >= MAX_CLASSES:
        limits = f"from 0 to {MAX_CLASSES - 1}, not {y.min()} to {y.max()}"
        rule = f"{name} must hold labels {limits}"
        raise refusal(rule, "number the classes from 0 on")
    return y.astype(np.int32)
