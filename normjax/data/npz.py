"""A user's own classification set in a file, one .npz. Imports no jax."""

import os
import zipfile
from pathlib import Path

import numpy as np

from normjax.data import arrays, room
from normjax.data.cache import DataSet
from normjax.errors import InputError

NAMES = ", ".join(f"{name}=..." for name in arrays.REQUIRED)
WRITE = f"write it with np.savez(path, {NAMES})"


def read_npz(path: Path) -> DataSet:
    """The arrays of a file, as `arrays.data_set_of` takes them from a mapping.

    Raises:
        InputError: the file is missing or damaged, does not fit into memory, or its
            arrays break a rule.
    """
    stored = _read(path)
    try:
        return arrays.data_set_of(stored)
    except InputError as error:
        remedy = error.remedy.replace(arrays.GIVE, WRITE)
        raise _refusal(path, error.rule, remedy) from error


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays as stored; of those that are not used, only that they are there."""
    if not os.path.isfile(path):  # False for what is no path at all
        raise _refusal(path, "must be a file that exists", "check the path")
    if not zipfile.is_zipfile(path):
        raise _refusal(path, "must be a whole .npz", WRITE)
    known = (*arrays.REQUIRED, *arrays.VALIDATION)
    try:
        with np.load(path, allow_pickle=False) as archive:
            sizes = {x.filename: x.file_size for x in archive.zip.infolist()}
            needed = sum(sizes.get(f"{name}.npy", 0) for name in known)
            if rule := room.shortage(needed, "to read it"):
                raise _refusal(path, rule, arrays.SMALLER)
            return {
                name: np.asarray(archive[name]) if name in known else np.empty(0)
                for name in archive.files
            }
    except InputError:
        raise
    except Exception as error:  # zip, zlib, npy headers and pickles all have their own
        rule = f"must be readable ({type(error).__name__}: {error})"
        raise _refusal(path, rule, WRITE) from error


def _refusal(path: Path, rule: str, remedy: str) -> InputError:
    """The error that names the file."""
    return InputError("path", str(path), rule, remedy)
