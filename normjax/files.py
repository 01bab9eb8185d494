"""Files that are whole or absent: a reader never sees half of one.

The same content gives the same bytes.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from normjax.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Writes JSON; NumPy values as numbers, one that is not finite as null."""
    text = json.dumps(plain(content), indent=2, allow_nan=False, ensure_ascii=False)
    _replace(Path(path), lambda file: file.write(f"{text}\n".encode()))


def write_table(path: str | Path, table: "pd.DataFrame") -> None:
    """Writes `table_text`."""
    write_text(path, table_text(table))


def table_text(table: "pd.DataFrame") -> str:
    """A table as csv, with the fewest digits that give every float back exactly."""
    return table.to_csv(index=False, na_rep="nan", lineterminator="\n")


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes bytes."""
    _replace(Path(path), lambda file: file.write(content))


def copy(path: str | Path, to: str | Path) -> None:
    """Writes what another file holds."""
    with open(path, "rb") as source:
        _replace(Path(to), lambda file: shutil.copyfileobj(source, file))


def write_text(path: str | Path, text: str) -> None:
    """Writes text as UTF-8."""
    _replace(Path(path), lambda file: file.write(text.encode()))


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an npz, keys sorted; its entries carry no time stamp."""
    entries: dict[str, Any] = dict(sorted(arrays.items()))
    _replace(Path(path), lambda file: np.savez(file, **entries))


def write_digested(
    folder: Path, prefix: str, suffix: str, arrays: Mapping[str, np.ndarray]
) -> Path:
    """Writes an npz whose name holds the `digest` of its content, and returns it."""
    part = folder / f".{prefix}{os.getpid()}.part"
    with _whole(part):
        with open(part, "wb") as file:
            np.savez(file, **dict(sorted(arrays.items())))  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        path = folder / f"{prefix}{digest(part)}{suffix}"
        os.replace(part, path)
    return path


def digest(path: Path) -> str:
    """32 hexadecimal digits of the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def text_digest(content: Mapping[str, Any]) -> str:
    """32 hexadecimal digits of the SHA-256 of plain data."""
    text = json.dumps(plain(content), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def arrays_digest(arrays: Iterable[Any]) -> str:
    """32 hexadecimal digits of the SHA-256 of arrays: types, shapes and bytes."""
    total = hashlib.sha256()
    for array in map(np.asarray, arrays):
        total.update(f"{array.dtype} {array.shape} ".encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()[:32]


def folder(path: str | Path) -> Path:
    """The folder `path`, made if it is not there, or an InputError."""
    path = Path(path)
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        rule = f"must be a folder and cannot be made one ({error.strerror})"
        remedy = "move what is there or allow it, or give another workdir"
        raise InputError(str(path), ..., rule, remedy) from error
    return path


def plain(value: Any) -> Any:
    """What JSON can hold: str keys, lists, Python numbers, null for nan and inf."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of a nested mapping by dotted name."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        inner = isinstance(value, Mapping) and value
        leaves |= flat(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return leaves


def shortest(values: Any) -> np.ndarray:
    """float32 numbers as the float64 of their shortest digits: 0.1, not 0.10000000149.

    It gives the same float32 back, so a number that is written and read again does
    not change.
    """
    return np.asarray(values, np.float32).astype(str).astype(np.float64)


def damaged(path: Path, why: object) -> InputError:
    """The error that a file is not what it should be, in one line."""
    remedy = "run the study's command again, which mends it"
    return InputError(str(path), ..., f"damaged ({why})", remedy)


def move(path: Path, to: Path) -> Path:
    """Moves a file within its file system, unless it is gone; returns where to."""
    try:
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, to)
    except OSError as error:
        rule = f"cannot be moved to {to.parent} ({error.strerror})"
        raise InputError(str(path), ..., rule, "allow it") from error
    return to


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, or an InputError."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error
    if not isinstance(content, dict):
        raise damaged(path, f"an object expected, not {type(content).__name__}")
    return content


def _replace(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """A reader sees the old file or the new one, whole, whenever we are stopped."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with _whole(part, path):
        with open(part, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)


@contextlib.contextmanager
def _whole(part: Path, path: Path | None = None) -> Iterator[None]:
    """Removes `part` if it could not be written, and says so in one line."""
    try:
        with one_line_errors(path or part.parent):
            yield
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


@contextlib.contextmanager
def one_line_errors(path: Path) -> Iterator[None]:
    """An error of the file system inside, as one line about `path`."""
    try:
        yield
    except OSError as error:
        rule = f"cannot be written ({error.strerror})"
        remedy = "make room or allow it, or give another workdir"
        if not path.parent.is_dir():
            remedy = f"make the folder {path.parent}, or give another"
        raise InputError(str(path), ..., rule, remedy) from error


def cache_folder() -> Path:
    """The variable NORMJAX_CACHE, or else `~/.cache/normjax`."""
    folder = os.environ.get("NORMJAX_CACHE") or "~/.cache/normjax"
    return Path(os.path.expanduser(folder))
