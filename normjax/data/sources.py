"""Data sets by name: those of TFDS, scikit-learn's digits, a user's own .npz.

Imports no jax. TFDS and scikit-learn are imported only to decode a set, which happens
once (see `cache`). TensorFlow is needed by `prepare` alone, never by `data_set`.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np

from normjax.data import cache, npz
from normjax.data.cache import DataSet, Decode
from normjax.data.tfds_info import check_images
from normjax.errors import InputError, install, suggest


def data_set(name: str, *, directory: str = "") -> DataSet:
    """The set called `name`, decoded once and memory-mapped after that.

    Args:
        name: a row of `SOURCES`, another image classification set of TFDS that is
            prepared (`name` or `name/config`), or the path of an .npz that holds
            `x_train`, `y_train`, `x_test`, `y_test`, and `x_validation` and
            `y_validation` if it has them; its classes are 0 to max(y_train).
        directory: TFDS data folder. Empty: the variable TFDS_DATA_DIR, or else
            `~/tensorflow_datasets`, as TFDS has it.

    Raises:
        InputError: the name is unknown, the set is not prepared in that folder, is
            none of images of one size with one label each, or does not fit into the
            memory; or the .npz breaks a rule.
    """
    if str(name).endswith(".npz"):
        try:
            return npz.read_npz(Path(os.path.expanduser(name)))
        except InputError as error:
            raise error.at("name", error.value) from error
    if name not in SOURCES and not _is_prepared(name, _data_folder(directory)):
        raise _unknown(name, _data_folder(directory))
    find = SOURCES.get(name, _find_records)
    return cache.decode_once(*find(name, directory))


def prepare(name: str, *, directory: str = "") -> DataSet:
    """Downloads `name` unless it is there, writes array_record, decodes, caches.

    Raises:
        InputError: TensorFlow, with which TFDS writes a set for the first time,
            is not installed, or the download failed.
    """
    root = _data_folder(directory)
    find = SOURCES.get(name, _find_records)
    if find is not _find_records or _is_prepared(name, root):
        return data_set(name, directory=directory)
    _check_known(name)
    if importlib.util.find_spec("tensorflow") is None:
        rule = "must be prepared with TensorFlow, which is not installed"
        remedy = f"run {install('prepare')}"
        raise InputError("name", name, rule, remedy)
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=root)
        builder.download_and_prepare(file_format="array_record")
    except Exception as error:  # TFDS passes on whatever its downloader raises
        why = f"{type(error).__name__}: {error}"
        rule = f"must be prepared in {root}, which failed ({why})"
        copy = f"copy a prepared set to {root / name}"
        how = f"check the network and the folder, or {copy}"
        raise InputError("name", name, rule, how) from error
    if _newest_version(name, root) is None:
        rule = f"must be stored as array_record, and {root / name} holds another format"
        remedy = "give another directory"
        raise InputError("name", name, rule, remedy)
    return data_set(name, directory=directory)


def _data_folder(directory: str) -> Path:
    root = directory or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(os.path.expanduser(root))


def _is_prepared(name: str, root: Path) -> bool:
    """Whether the folder of TFDS sets holds one of this name."""
    plain = re.fullmatch(r"\w+(/[\w.-]+)?", str(name)) is not None
    return plain and _newest_version(name, root) is not None


def _unknown(name: str, root: Path) -> InputError:
    """The error that there is no such set, prepared or at all."""
    known = f"{', '.join(SOURCES)}, or the path of an .npz"
    rule = f"must be one of {known}, or a set of TFDS that is prepared in {root}"
    how = f"if TFDS has such a set, run {_command(name, root)}"
    near = suggest(name, SOURCES, "")
    return InputError("name", name, rule, f"{near} If{how[2:]}" if near else how)


def _check_known(name: str) -> None:
    """Refuses a name that TFDS does not know; needs no TensorFlow."""
    if name in SOURCES:
        return
    import tensorflow_datasets as tfds

    known = tfds.list_builders(with_community_datasets=False)
    if str(name).partition("/")[0] not in known:
        rule = f"must be one of {', '.join(SOURCES)}, or a data set of TFDS"
        remedy = suggest(name, [*SOURCES, *known], "see tensorflow.org/datasets")
        raise InputError("name", name, rule, remedy)


def _command(name: str, root: Path) -> str:
    """What prepares a set, to be pasted into a shell."""
    command = f"python -m normjax.data {name} --directory {shlex.quote(f'{root}')}"
    return f"{install('prepare')} && {command}"


def _find_digits(name: str, directory: str) -> tuple[str, Decode]:
    """Edition and decoder of scikit-learn's digits; there is no folder to look in."""
    version = importlib.metadata.version("scikit-learn")
    return f"{name}-scikit-learn-{version}", _decode_digits


def _decode_digits() -> DataSet:
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
    return DataSet(inputs[:1437], labels[:1437], inputs[1437:], labels[1437:], 10)


def _find_records(name: str, directory: str) -> tuple[str, Decode]:
    """Edition and decoder of a TFDS set on disk, found without importing TFDS."""
    root = _data_folder(directory)
    folder = _newest_version(name, root)
    if folder is None:
        rule = f"must be prepared (as array_record) in {root}"
        run = _command(name, root)
        how = f"run {run}, or set TFDS_DATA_DIR to the folder it is in"
        raise InputError("name", name, rule, how)
    files = sorted((f.name, f.stat()) for f in folder.iterdir())
    state = [(f, stat.st_size, stat.st_mtime_ns) for f, stat in files]
    digest = hashlib.sha256(repr((str(folder.resolve()), state)).encode()).hexdigest()
    edition = f"{name.replace('/', '-')}-{folder.name}-{digest[:12]}"
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


def _decode_records(name: str, folder: Path) -> DataSet:
    """All images and labels of a TFDS folder: some 5 s for 70,000 small images."""
    import absl.logging
    import tensorflow_datasets as tfds

    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)  # TFDS advises to install OpenCV
    try:
        builder = tfds.builder_from_directory(folder)
        features, held = builder.info.features, builder.info.splits
        check_images(builder.info, name)
        splits = {
            split: _decode_split(
                builder.as_data_source(split), features, f"{name} {split}"
            )
            for split in ("train", "test", "validation")
            if split in held
        }
    except (ImportError, InputError):  # nothing is wrong with the folder
        raise
    except Exception as error:  # array_record and protobuf have errors of their own
        why = f"{type(error).__name__}: {error}"
        rule = f"must have records that can be read in {folder} ({why})"
        root = Path(str(folder.parent).removesuffix(name))
        how = f"delete that folder, then run {_command(name, root)}"
        raise InputError("name", name, rule, how) from error
    finally:
        absl.logging.set_verbosity(verbosity)
    brought = splits.get("validation", (None, None))
    num_classes = features["label"].num_classes
    return DataSet(*splits["train"], *splits["test"], num_classes, *brought)


def _decode_split(records, features, title: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one split, with a progress bar on a terminal.

    Records are read in blocks, three times faster than alone: they are compressed
    together, and to read one is to decompress its neighbours.
    """
    from tqdm import tqdm

    kind = np.uint8 if features["image"].np_dtype == np.uint8 else np.float32
    inputs = np.empty((len(records), *features["image"].shape), kind)
    labels = np.empty(len(records), np.int32)
    rows = range(len(records))
    bar = tqdm(rows, f"decoding {title}", unit=" images", disable=None)
    for start in rows[::1000]:
        block = rows[start : start + 1000]
        for row, record in zip(block, records.__getitems__(list(block))):
            inputs[row], labels[row] = record["image"], record["label"]
        bar.update(len(block))
    bar.close()
    return inputs, labels


# Maps a name to what finds the set: (name, directory) -> (edition, decoder). The
# edition names the decoded arrays in the cache. Any other set of TFDS with `image` and
# `label` is found by `_find_records` too, once it is prepared.
SOURCES: dict[str, Callable[[str, str], tuple[str, Decode]]] = {
    "cifar10": _find_records,
    "digits": _find_digits,
    "fashion_mnist": _find_records,
    "mnist": _find_records,
}
