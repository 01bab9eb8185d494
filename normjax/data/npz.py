"""A user's own classification set: one .npz, checked array by array. Imports no jax."""

import os
import zipfile
from pathlib import Path

import numpy as np

from normjax.data.cache import DataSet
from normjax.errors import InputError, suggest

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
MAX_CLASSES = 100_000  # more is a mistake and would exhaust the memory
WRITE = f"write it with np.savez(path, {', '.join(f'{name}=...' for name in ARRAYS)})"


def read_npz(path: Path) -> DataSet:
    """The four arrays; float64 becomes float32, and the classes are 0 to max(y_train).

    Raises:
        InputError: the file is missing, damaged, or its arrays break a rule.
    """
    stored = _read(path)
    x_train, x_test = (_inputs(path, name, stored[name]) for name in ARRAYS[::2])
    if x_train.shape[1:] != x_test.shape[1:]:
        shapes = f"{x_train.shape[1:]} as x_train has, not {x_test.shape[1:]}"
        rule = f"x_test must have examples of shape {shapes}"
        raise _refusal(path, rule, "give both the same shape")
    y_train = _labels(path, "y_train", stored["y_train"], len(x_train))
    y_test = _labels(path, "y_test", stored["y_test"], len(x_test))
    largest = int(y_train.max())
    if y_test.max() > largest:
        limit = f"{largest}, the largest in y_train, not {y_test.max()}"
        rule = f"y_test must hold labels up to {limit}"
        raise _refusal(path, rule, "remove such test examples or add some to y_train")
    return DataSet(x_train, y_train, x_test, y_test, largest + 1)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of ARRAYS as stored."""
    if not os.path.isfile(path):  # False for what is no path at all
        raise _refusal(path, "must be a file that exists", "check the path")
    if not zipfile.is_zipfile(path):
        raise _refusal(path, "must be a whole .npz", WRITE)
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            held = [name for name in ARRAYS if name in names]
            stored = {name: np.asarray(archive[name]) for name in held}
    except Exception as error:  # zip, zlib, npy headers and pickles all have their own
        rule = f"must be readable ({type(error).__name__}: {error})"
        raise _refusal(path, rule, WRITE) from error
    for name in ARRAYS:
        if name not in stored:
            remedy = suggest(name, set(names) - set(ARRAYS), WRITE)
            only = ", ".join(names) or "nothing"
            rule = f"must hold an array {name!r}, not only {only}"
            raise _refusal(path, rule, remedy)
    return stored


def _inputs(path: Path, name: str, x: np.ndarray) -> np.ndarray:
    """`x` as uint8 if it is that, else as finite float32."""
    if x.ndim not in (2, 4) or x.size == 0:
        shapes = "[examples, features] or [examples, height, width, channels]"
        rule = f"{name} must be {shapes} and not empty, but its shape is {x.shape}"
        how = "reshape it (gray images: x[..., None])" if x.size else "fill it"
        raise _refusal(path, rule, how)
    if x.dtype.kind not in "biuf":
        rule = f"{name} must hold real numbers, not {x.dtype}"
        raise _refusal(path, rule, "store uint8 or float32")
    if x.dtype == np.uint8:
        return x
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    num_bad = x.size - np.count_nonzero(np.isfinite(x))
    if num_bad:
        rule = f"{name} must be finite as float32, but {num_bad} values are not"
        raise _refusal(path, rule, "remove those examples or fill the gaps")
    return x


def _labels(path: Path, name: str, y: np.ndarray, num_examples: int) -> np.ndarray:
    """`y` as int32, one class from 0 for each example."""
    if y.shape != (num_examples,):
        each = f"one label for each row of the inputs, not {y.shape}"
        rule = f"{name} must have shape ({num_examples},), {each}"
        raise _refusal(path, rule, "store as many labels as examples")
    if y.dtype.kind not in "iu":
        rule = f"{name} must hold integers, not {y.dtype}"
        raise _refusal(path, rule, "store y.astype(np.int32)")
    if y.min() < 0 or y.max() >= MAX_CLASSES:
        limits = f"from 0 to {MAX_CLASSES - 1}, not {y.min()} to {y.max()}"
        rule = f"{name} must hold labels {limits}"
        raise _refusal(path, rule, "number the classes from 0 on")
    return y.astype(np.int32)


def _refusal(path: Path, rule: str, remedy: str) -> InputError:
    """The error that names the file."""
    return InputError("path", str(path), rule, remedy)
