"""Decoded arrays on disk: written once as .npy, memory-mapped from then on.

Imports no jax and knows no data set.
"""

import io
import logging
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Shaped

from normjax import files
from normjax.errors import InputError

_log = logging.getLogger(__name__)


class DataSet(NamedTuple):
    """A classification set as stored; read-only when it comes from the cache.

    Inputs are uint8 or float32, `[examples, height, width, channels]` or of another
    shape, such as `[examples, features]`.
    """

    x_train: Shaped[np.ndarray, " train *shape"]
    y_train: Int32[np.ndarray, " train"]  # in [0, num_classes)
    x_test: Shaped[np.ndarray, " test *shape"]
    y_test: Int32[np.ndarray, " test"]
    num_classes: int
    x_validation: Shaped[np.ndarray, " validation *shape"] | None = None
    y_validation: Int32[np.ndarray, " validation"] | None = None


ALWAYS = DataSet._fields[:5]  # the others may be None
Decode = Callable[[], DataSet]


def decode_once(edition: str, decode: Decode) -> DataSet:
    """The cached arrays of `edition`; without them `decode` is called and cached."""
    stored = _read(edition)
    if stored is not None:
        return stored
    decoded = decode()
    try:
        _write(edition, decoded)
    except (OSError, InputError) as error:
        why = error if isinstance(error, OSError) else error.__cause__
        _log.warning(
            "%s cannot be cached in %s (%s) and will be decoded again;"
            " set NORMJAX_CACHE to a folder that can be written.",
            *(edition, _folder(edition).parent, getattr(why, "strerror", why)),
        )
    return _read(edition) or decoded


def _read(edition: str) -> DataSet | None:
    """Memory-mapped arrays, or None if they are missing, cut short or altered."""
    arrays: dict[str, np.ndarray] = {}
    try:
        sums = files.read_json(_folder(edition) / "crc32.json")
        for field in dict.fromkeys((*ALWAYS, *sums)):
            path = _folder(edition) / f"{field}.npy"
            if zlib.crc32(np.memmap(path, np.uint8, mode="r").data) != sums.get(field):
                return None
            arrays[field] = np.load(path, mmap_mode="r")
        num_classes = int(arrays.pop("num_classes"))
        return DataSet(**arrays, num_classes=num_classes)  # type: ignore[arg-type]
    except (OSError, ValueError, TypeError):
        return None


def _write(edition: str, data_set: DataSet) -> None:
    """Writes the checksums last: until they fit the arrays, nothing is read."""
    sums, folder = {}, _folder(edition)
    folder.mkdir(parents=True, exist_ok=True)
    held = {k: x for k, x in data_set._asdict().items() if x is not None}
    for field, array in held.items():
        content = io.BytesIO()
        np.save(content, array)
        files.write_bytes(folder / f"{field}.npy", content.getvalue())
        sums[field] = zlib.crc32(content.getbuffer())
    files.write_json(folder / "crc32.json", sums)


def _folder(edition: str) -> Path:
    """Holds the arrays of an edition of a set, `<field>.npy`, and `crc32.json`."""
    return files.cache_folder() / "data" / edition
