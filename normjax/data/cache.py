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


class Source(NamedTuple):
    """A classification set as stored; read-only when it comes from the cache.

    Inputs are uint8 or float32, `[examples, height, width, channels]` or
    `[examples, features]`.
    """

    x_train: Shaped[np.ndarray, " train *shape"]
    y_train: Int32[np.ndarray, " train"]  # in [0, num_classes)
    x_test: Shaped[np.ndarray, " test *shape"]
    y_test: Int32[np.ndarray, " test"]
    num_classes: int


Decode = Callable[[], Source]


def folder_of(edition: str) -> Path:
    """The folder that holds the arrays of an edition of a set."""
    return files.cache_folder() / "data" / edition


def load(edition: str, decode: Decode) -> Source:
    """The cached arrays of `edition`; without them `decode` is called and cached."""
    source = _read(edition)
    if source is not None:
        return source
    decoded = decode()
    try:
        _write(edition, decoded)
    except (OSError, InputError) as error:
        why = error if isinstance(error, OSError) else error.__cause__
        _log.warning(
            "%s cannot be cached in %s (%s) and will be decoded again;"
            " set NORMJAX_CACHE to a folder that can be written.",
            *(edition, folder_of(edition).parent, getattr(why, "strerror", why)),
        )
    return _read(edition) or decoded


def _read(edition: str) -> Source | None:
    """Memory-mapped arrays, or None if they are missing, cut short or altered."""
    paths = _paths(edition)
    try:
        sums = files.read_json(folder_of(edition) / "crc32.json")
        for field, path in paths.items():
            if zlib.crc32(np.memmap(path, np.uint8, mode="r").data) != sums.get(field):
                return None
        arrays = [np.load(path, mmap_mode="r") for path in paths.values()]
    except (OSError, ValueError):
        return None
    x_train, y_train, x_test, y_test, num_classes = arrays
    return Source(x_train, y_train, x_test, y_test, int(num_classes))


def _write(edition: str, source: Source) -> None:
    """Writes the checksums last: until they fit the arrays, nothing is read."""
    sums = {}
    for field, path in _paths(edition).items():
        content = io.BytesIO()
        np.save(content, getattr(source, field))
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, content.getvalue())
        sums[field] = zlib.crc32(content.getbuffer())
    files.write_json(folder_of(edition) / "crc32.json", sums)


def _paths(edition: str) -> dict[str, Path]:
    """The file of each array."""
    return {field: folder_of(edition) / f"{field}.npy" for field in Source._fields}
