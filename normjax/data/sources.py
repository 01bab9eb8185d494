"""Examples as NumPy arrays: TFDS sets, scikit-learn's digits, a user's own .npz.

Imports no jax. TFDS and scikit-learn are imported only to decode a set, which is
done once: the arrays are cached as .npy and memory-mapped from the second start
on. TensorFlow is needed by `prepare` alone, never by `load`.

    python -m normjax.data.sources fashion_mnist [--directory DIR]

downloads a set that is not there yet, writes it as array_record and decodes it.
"""

import argparse
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import re
import shlex
import shutil
import sys
import uuid
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Shaped

from normjax.errors import InputError, pick, suggest

ARRAYS = ("x_train", "y_train", "x_test", "y_test")  # of an .npz
MAX_CLASSES = 100_000  # of an .npz: more is a mistake and would exhaust the memory

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


def load(name: str, *, directory: str = "") -> Source:
    """The set called `name`, decoded once and memory-mapped after that.

    Args:
        name: a row of `SOURCES`, or the path of an .npz that holds `x_train`,
            `y_train`, `x_test` and `y_test`; its classes are 0 to max(y_train).
        directory: TFDS data folder. Empty: the variable TFDS_DATA_DIR, or else
            `~/tensorflow_datasets`, as TFDS has it.

    Raises:
        InputError: the name is unknown, the set is not prepared in that folder,
            or the .npz breaks a rule.
    """
    if str(name).endswith(".npz"):
        return _archive(Path(name).expanduser())
    try:
        find = pick("data.name", SOURCES, name)
    except InputError as error:
        message = f"{error} The path of an .npz file works too."
        raise InputError(message) from None
    edition, decode = find(name, directory)
    return _cached(edition, decode)


def prepare(name: str, *, directory: str = "") -> Source:
    """Downloads `name` unless it is there, writes array_record, decodes, caches.

    Raises:
        InputError: TensorFlow, with which TFDS writes a set for the first time,
            is not installed, or the download failed.
    """
    root = _data_folder(directory)
    find = SOURCES.get(name)
    if find is not _prepared or _newest_version(name, root) is not None:
        return load(name, directory=directory)
    if importlib.util.find_spec("tensorflow") is None:
        raise InputError(
            f"data.name={name!r}: TensorFlow, which is needed to prepare it, is not"
            ' installed; run pip install "normjax[prepare]".'
        )
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=root)
        builder.download_and_prepare(file_format="array_record")
    except Exception as error:  # TFDS passes on whatever its downloader raises
        raise InputError(
            f"data.name={name!r}: could not be prepared in {root}"
            f" ({_one_line(error)}); check the network and the folder, or copy a"
            f" prepared set to {root / name}."
        ) from error
    if _newest_version(name, root) is None:
        raise InputError(
            f"data.name={name!r}: {root / name} already holds it in another format"
            " than array_record; give another folder with --directory."
        )
    return load(name, directory=directory)


def cache_folder() -> Path:
    """The variable NORMJAX_CACHE, or else `~/.cache/normjax`."""
    return Path(os.environ.get("NORMJAX_CACHE") or "~/.cache/normjax").expanduser()


def _data_folder(directory: str) -> Path:
    root = directory or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(root).expanduser()


def _command(name: str, root: Path) -> str:
    """What prepares a set, to be pasted into a shell."""
    command = (
        f"python -m normjax.data.sources {name} --directory {shlex.quote(f'{root}')}"
    )
    return f'pip install "normjax[prepare]" && {command}'


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _embedded(name: str, directory: str) -> tuple[str, Decode]:
    """Edition and decoder of scikit-learn's digits; there is no folder to look in."""
    del directory
    version = importlib.metadata.version("scikit-learn")
    return f"{name}-scikit-learn-{version}", _decode_digits


def _decode_digits() -> Source:
    """8x8 images with values 0 to 16: the first 1,437 to train, the last 360 to test.

    The file is not shuffled: the nearest neighbour of an image lies 85 rows away
    (median; 541 if the order were random), as if each writer's digits lay together.
    So the last rows are a harder and more honest test than a random fifth: one
    nearest neighbour gets 0.956 of them right, and 0.988 of a random fifth.

    References:
        Alpaydin and Kaynak, 1998. Cascading Classifiers. Kybernetika 34(4).
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    inputs = digits.images.astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int32)
    return Source(inputs[:1437], labels[:1437], inputs[1437:], labels[1437:], 10)


def _prepared(name: str, directory: str) -> tuple[str, Decode]:
    """Edition and decoder of a TFDS set on disk, found without importing TFDS."""
    root = _data_folder(directory)
    folder = _newest_version(name, root)
    if folder is None:
        raise InputError(
            f"data.name={name!r}: is not prepared (as array_record) in {root}; run"
            f" {_command(name, root)}, or set TFDS_DATA_DIR to the folder it is in."
        )
    files = sorted((f.name, f.stat()) for f in folder.iterdir())
    state = [(f, stat.st_size, stat.st_mtime_ns) for f, stat in files]
    state = repr((str(folder.resolve()), state)).encode()
    edition = f"{name}-{folder.name}-{hashlib.sha256(state).hexdigest()[:12]}"
    return edition, functools.partial(_decode_records, name, folder)


def _newest_version(name: str, root: Path) -> Path | None:
    """`root/name/1.2.3` with the highest number that holds array_record files."""
    versions = [
        folder
        for folder in (root / name).glob("*")
        if re.fullmatch(r"\d+\.\d+\.\d+", folder.name)
        and (folder / "dataset_info.json").is_file()
        and any(folder.glob("*.array_record*"))
    ]
    number = lambda folder: tuple(map(int, folder.name.split(".")))
    return max(versions, key=number, default=None)


def _decode_records(name: str, folder: Path) -> Source:
    """All images and labels of a TFDS folder: 10 to 20 s for 70,000 small images."""
    import absl.logging
    import tensorflow_datasets as tfds

    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)  # TFDS advises to install OpenCV
    try:
        builder = tfds.builder_from_directory(folder)
        features = builder.info.features
        train, test = (
            _decode_split(builder.as_data_source(split), features, f"{name} {split}")
            for split in ("train", "test")
        )
    except ImportError:  # nothing is wrong with the folder
        raise
    except Exception as error:  # array_record and protobuf have errors of their own
        raise InputError(
            f"data.name={name!r}: the records in {folder} cannot be read"
            f" ({_one_line(error)}); delete that folder, then run"
            f" {_command(name, folder.parents[1])}."
        ) from error
    finally:
        absl.logging.set_verbosity(verbosity)
    return Source(*train, *test, features["label"].num_classes)


def _decode_split(records, features, title: str) -> tuple[np.ndarray, np.ndarray]:
    from tqdm import tqdm

    inputs = np.empty((len(records), *features["image"].shape), np.uint8)
    labels = np.empty(len(records), np.int32)
    bar = tqdm(range(len(records)), f"decoding {title}", unit=" images", disable=None)
    for row in bar:
        record = records[row]
        inputs[row], labels[row] = record["image"], record["label"]
    return inputs, labels


def _cached(edition: str, decode: Decode) -> Source:
    """The cached arrays, or else the decoded ones, which are then cached."""
    folder = cache_folder() / "data" / edition
    source = _read(folder)
    if source is not None:
        return source
    decoded = decode()
    try:
        _write(folder, decoded)
    except OSError as error:
        _log.warning(
            "%s cannot be cached in %s (%s) and will be decoded again;"
            " set NORMJAX_CACHE to a folder that can be written.",
            *(edition, folder.parent, error.strerror or error),
        )
    return _read(folder) or decoded


def _checksum(path: Path) -> int:
    return zlib.crc32(np.memmap(path, np.uint8, mode="r"))


def _read(folder: Path) -> Source | None:
    """Memory-mapped arrays, or None if they are missing, cut short or altered."""
    paths = {field: folder / f"{field}.npy" for field in Source._fields}
    try:
        sums = json.loads((folder / "crc32.json").read_text())
        if sums != {field: _checksum(path) for field, path in paths.items()}:
            return None
        arrays = [np.load(path, mmap_mode="r") for path in paths.values()]
    except (OSError, ValueError):
        return None
    return Source(*arrays[:-1], num_classes=int(arrays[-1]))


def _write(folder: Path, source: Source) -> None:
    """Writes beside `folder` and renames, so that no half-written one is seen."""
    temporary = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        sums = {}
        for field, array in source._asdict().items():
            np.save(temporary / f"{field}.npy", array)
            sums[field] = _checksum(temporary / f"{field}.npy")
        (temporary / "crc32.json").write_text(json.dumps(sums))
        shutil.rmtree(folder, ignore_errors=True)  # only a damaged one can be there
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _archive(path: Path) -> Source:
    """A user's .npz, checked field by field; float64 becomes float32."""
    where = f"data.name={str(path)!r}"
    write = f"write it with np.savez(path, {', '.join(f'{f}=...' for f in ARRAYS)})"
    if not path.is_file():
        raise InputError(f"{where}: there is no such file; check the path.")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{where}: is not an .npz, or is cut short; {write}.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            held = archive.files
            stored = {f: np.asarray(archive[f]) for f in ARRAYS if f in held}
    except Exception as error:  # zip, zlib, npy headers and pickles all have their own
        raise InputError(
            f"{where}: cannot be read ({_one_line(error)}); {write}."
        ) from error
    for field in ARRAYS:
        if field not in stored:
            held_names = ", ".join(held) or "nothing"
            raise InputError(
                where,
                rule=f"must hold an array {field!r}; it holds {held_names}",
                remedy=suggest(field, set(held) - set(ARRAYS), write),
            )
    return _checked(where, *(stored[field] for field in ARRAYS))


def _checked(where: str, x_train, y_train, x_test, y_test) -> Source:
    """The four arrays as a Source, or the first rule that they break."""
    x_train = _checked_inputs(f"{where}: x_train", x_train)
    x_test = _checked_inputs(f"{where}: x_test", x_test)
    if x_train.shape[1:] != x_test.shape[1:]:
        raise InputError(
            f"{where}: x_test has examples of shape {x_test.shape[1:]}; must be"
            f" {x_train.shape[1:]} as in x_train; give both the same shape."
        )
    y_train = _checked_labels(f"{where}: y_train", y_train, len(x_train))
    y_test = _checked_labels(f"{where}: y_test", y_test, len(x_test))
    num_classes = int(y_train.max()) + 1
    if y_test.max() >= num_classes:
        raise InputError(
            f"{where}: y_test holds label {y_test.max()}; must be at most"
            f" {num_classes - 1}, the largest in y_train; remove such test examples"
            " or add some to y_train."
        )
    return Source(x_train, y_train, x_test, y_test, num_classes)


def _checked_inputs(where: str, x: np.ndarray) -> np.ndarray:
    """`x` as uint8 if it is that, else as finite float32."""
    if x.ndim not in (2, 4):
        raise InputError(
            f"{where} has shape {x.shape}; must be [examples, features] or [examples,"
            " height, width, channels]; reshape it (gray images: x[..., None])."
        )
    if x.size == 0:
        raise InputError(f"{where} has shape {x.shape}; must not be empty; fill it.")
    if x.dtype.kind not in "biuf":
        raise InputError(
            f"{where} has dtype {x.dtype}; must be real numbers; store uint8 or"
            " float32."
        )
    if x.dtype == np.uint8:
        return x
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    num_bad = x.size - np.count_nonzero(np.isfinite(x))
    if num_bad:
        raise InputError(
            f"{where} has {num_bad} values that are nan or infinite as float32; must"
            " be finite; remove those examples or fill the gaps."
        )
    return x


def _checked_labels(where: str, y: np.ndarray, num_examples: int) -> np.ndarray:
    """`y` as int32, one class from 0 for each example."""
    if y.shape != (num_examples,):
        raise InputError(
            f"{where} has shape {y.shape}; must be ({num_examples},), one label for"
            " each row of the inputs; store as many labels as examples."
        )
    if y.dtype.kind not in "iu":
        raise InputError(
            f"{where} has dtype {y.dtype}; must be integers; store y.astype(np.int32)."
        )
    if y.min() < 0 or y.max() >= MAX_CLASSES:
        raise InputError(
            f"{where} holds labels {y.min()} to {y.max()}; must be within 0 to"
            f" {MAX_CLASSES - 1}; number the classes 0, 1, 2, ..."
        )
    return y.astype(np.int32)


# Name -> what finds a set: (name, directory) -> (edition, decoder). The edition names
# the decoded arrays in the cache.
SOURCES: dict[str, Callable[[str, str], tuple[str, Decode]]] = {
    "cifar10": _prepared,
    "digits": _embedded,
    "fashion_mnist": _prepared,
    "mnist": _prepared,
}


def main() -> int:
    """Prepares the set named on the command line; 0, or 2 for a mistake of the user."""
    parser = argparse.ArgumentParser(prog="python -m normjax.data.sources")
    parser.add_argument("name", help=f"one of {', '.join(SOURCES)}")
    parser.add_argument("--directory", default="", help="TFDS data folder")
    flags = parser.parse_args()
    try:
        source = prepare(flags.name, directory=flags.directory)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    sizes = f"{len(source.y_train)} + {len(source.y_test)} examples"
    print(f"{flags.name}: {sizes}, decoded in {cache_folder() / 'data'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
