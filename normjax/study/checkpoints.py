"""The state of a group in work, kept so that a process that is killed can go on.

    checkpoints/<arm id>-<digest of the lanes>/<epoch>/    arrays by Orbax, about.json

A checkpoint is complete or absent; `about.json` has the checksums of its files. The
newest one replaces those before it. Nothing of a finished group stays.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from normjax import files
from normjax.errors import InputError, reason
from normjax.study.groups import CHECKPOINTS, DAMAGED, Lane, lane


class Checkpoint(NamedTuple):
    """A group after some of its epochs."""

    about: dict[str, Any]  # id, lanes and num_epochs, and what `save` was given
    arrays: dict[str, np.ndarray]

    @property
    def lanes(self) -> list[Lane]:
        """The lanes of the group, in its order."""
        return [lane(settings, seed) for settings, seed in self.about["lanes"]]


def save(
    workdir: str | Path,
    arm_id: str,
    lanes: Iterable[Lane],
    *,
    epoch: int,
    arrays: Mapping[str, np.ndarray],
    about: Mapping[str, Any],
) -> None:
    """Writes a checkpoint, then removes the older ones of this group."""
    listed = [[dict(settings), seed] for settings, seed in lanes]
    group = _group(workdir, arm_id, listed)
    part = group / f".{epoch}.{os.getpid()}.part"
    files.folder(group.parent)
    with files.one_line_errors(files.folder(group)):
        part.mkdir()
        with _orbax() as checkpointer:
            checkpointer.save((part / "arrays").absolute(), dict(arrays))
        content = {"id": arm_id, "lanes": listed, "epoch": epoch, **about}
        content["files"] = _digests(part)
        digest = files.text_digest(content)
        files.write_json(part / "about.json", content | {"digest": digest})
        shutil.rmtree(group / str(epoch), ignore_errors=True)
        part.replace(group / str(epoch))
        for older in group.iterdir():
            if older.name != str(epoch):
                shutil.rmtree(older, ignore_errors=True)


def read(path: Path) -> Checkpoint:
    """The checkpoint in a folder.

    Raises:
        InputError: if a byte of it is not as it was written.
    """
    about = files.read_json(path / "about.json")
    digest = about.pop("digest", None)
    try:
        whole = digest == files.text_digest(about) and about["files"] == _digests(path)
        if not whole or path != _group_of(path, about) / str(about["epoch"]):
            raise ValueError("its content is not what was written")
        with _orbax() as checkpointer:
            return Checkpoint(about, checkpointer.restore((path / "arrays").absolute()))
    except Exception as error:  # whatever Orbax raises
        raise files.damaged(path, reason(error)) from error


def pending(
    workdir: str | Path, arm_id: str = ""
) -> tuple[list[Checkpoint], list[Path]]:
    """The newest checkpoint of each group in work, and the paths of damaged ones.

    Of one arm, or of all. What another process replaces meanwhile is neither.
    """
    found, damaged = [], []
    for group in sorted((Path(workdir) / CHECKPOINTS).glob(f"{arm_id or '[!.]'}*")):
        names = [path.name for path in group.glob("[0-9]*")]
        epochs = [int(name) for name in names if name.isdecimal()]
        if group.name == DAMAGED or not epochs:
            continue
        path = group / str(max(epochs))
        try:
            found.append(read(path))
        except InputError:
            if path.exists():
                damaged.append(path)
    return found, damaged


def set_aside(path: Path) -> Path:
    """Moves a damaged checkpoint out of the way, and keeps it."""
    folder = files.folder(path.parents[1] / DAMAGED)
    number = sum(1 for _ in folder.iterdir())
    return files.move(path, folder / f"{path.parent.name}-{path.name}-{number}")


def remove(workdir: str | Path, arm_id: str, lanes: Iterable[Lane]) -> None:
    """Removes the checkpoints of a group, which is finished."""
    listed = [[dict(settings), seed] for settings, seed in lanes]
    shutil.rmtree(_group(workdir, arm_id, listed), ignore_errors=True)


def _group(workdir: str | Path, arm_id: str, listed: list) -> Path:
    digest = files.text_digest({"lanes": listed})[:16]
    return Path(workdir) / CHECKPOINTS / f"{arm_id}-{digest}"


def _group_of(path: Path, about: Mapping[str, Any]) -> Path:
    """The folder in which a checkpoint of that content belongs."""
    return _group(path.parents[2], about["id"], about["lanes"])


def _digests(folder: Path) -> dict[str, str]:
    """The digest of every file in a folder but for `about.json`, by path."""
    inside = (path for path in sorted(folder.rglob("*")) if path.is_file())
    names = ((path.relative_to(folder).as_posix(), path) for path in inside)
    return {name: files.digest(path) for name, path in names if name != "about.json"}


@contextlib.contextmanager
def _orbax() -> Iterator[Any]:
    """Orbax' checkpointer for a flat mapping of arrays; loads when it is needed."""
    import orbax.checkpoint as ocp

    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            yield checkpointer
    except ValueError as error:  # as which it passes on what the system refuses
        raise OSError(errno.EIO, reason(error)) from error
