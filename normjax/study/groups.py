"""Groups of trained networks on disk: the union of them is a record.

    networks/<arm id>-<digest>.npz     some lanes of an arm, trained together
    networks/damaged/                  files whose content is not what was written
    failed/<arm id>.json               why an arm could not be trained

The digest in the name of a file is that of its content, so a byte that changes is
noticed, and files of several machines never clash. A group is written once and never
changed. No jax.
"""

import contextlib
import functools
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from normjax import files
from normjax.errors import InputError

FOLDER, DAMAGED, FAILED = "networks", "damaged", "failed"
CHECKPOINTS, LOCKS = "checkpoints", "locks"  # see the modules checkpoints, claims
EARLIER = "earlier"  # see the module earlier
FOLDERS = FOLDER, FAILED, CHECKPOINTS  # whoever has claims only is about to write
ABOUT = {  # what a group says of itself, without which it is not one
    "id": str,
    "identity": dict,
    "environment": dict,
    "mapping": str,
    "num_devices": int,
    "compile_seconds": float,
    "epoch_seconds": list,
}
ARCHIVED = "archived"  # true in the `about` of networks whose variables were not kept
Lane = tuple[tuple[tuple[str, float], ...], int]  # sorted settings, seed


class Group(NamedTuple):
    """Networks of one arm that were trained together; arrays are `[lanes, ...]`."""

    about: dict[str, Any]  # see ABOUT
    seeds: np.ndarray  # [lanes]
    settings: dict[str, np.ndarray]  # [lanes], float32
    diverged_at_step: np.ndarray  # [lanes], -1 while every number is finite
    curves: dict[str, np.ndarray]  # [lanes, epochs]
    probes: dict[str, np.ndarray]  # [lanes, epochs, ...]

    @property
    def lanes(self) -> list[Lane]:
        """What each lane is known by, within its arm."""
        grid = {name: x.tolist() for name, x in self.settings.items()}
        return [
            lane({name: x[i] for name, x in grid.items()}, seed)
            for i, seed in enumerate(self.seeds.tolist())
        ]


class Held(NamedTuple):
    """The networks in a workdir, whatever study they are of."""

    copies: dict[tuple[str, Lane], list[tuple[Path, Group, int]]]  # file and position
    damaged: tuple[Path, ...]

    @property
    def networks(self) -> dict[tuple[str, Lane], tuple[Path, Group, int]]:
        """Each network once: of several copies the one whose file is first by name."""
        return {key: copies[0] for key, copies in self.copies.items()}


def lane(settings: Mapping[str, Any], seed: int) -> Lane:
    """One network of an arm: its settings as float32 numbers, and its seed."""
    pairs = ((k, float(files.shortest(np.float32(v)))) for k, v in settings.items())
    return tuple(sorted(pairs)), int(seed)


def wanted_lanes(entry: Mapping[str, Any], seeds: Iterable[int]) -> list[Lane]:
    """The networks that an arm of `record.json` wants, ordered [settings, seeds]."""
    grid = [dict(zip(entry["settings"], x)) for x in zip(*entry["settings"].values())]
    return [lane(settings, seed) for settings in grid or [{}] for seed in seeds]


def write(
    workdir: str | Path, group: Group, variables: Mapping[str, np.ndarray]
) -> Path:
    """Adds a group and the variables of its networks, leaves `[lanes, ...]`.

    The file is complete or absent, whenever the process is stopped.
    """
    about = json.dumps(files.plain(group.about), sort_keys=True, ensure_ascii=False)
    arrays: dict[str, np.ndarray] = {
        "about": np.frombuffer(about.encode(), np.uint8),
        "seeds": np.asarray(group.seeds, np.int64),
        "diverged_at_step": np.asarray(group.diverged_at_step, np.int64),
    }
    trees = group.settings, group.curves, group.probes, variables
    for prefix, tree in zip(PREFIXES, trees):
        arrays |= {prefix + name: np.asarray(x) for name, x in tree.items()}
    folder = files.folder(Path(workdir) / FOLDER)
    return files.write_digested(folder, f"{group.about['id']}-", ".npz", arrays)


PREFIXES = "settings/", "curves/", "probes/", "variables/"


def read(path: Path) -> Group:
    """A group, without the variables of its networks.

    Raises:
        InputError: if a byte of the file is not as it was written.
    """
    arrays = dict(_entries(path, lambda name: not name.startswith(PREFIXES[-1])))
    try:
        about = json.loads(arrays["about"].tobytes())
        wrong = [k for k, kind in ABOUT.items() if not isinstance(about[k], kind)]
        if wrong:
            raise ValueError(f"no {wrong[0]}")
        settings, curves, probes = (
            {k.removeprefix(p): x for k, x in arrays.items() if k.startswith(p)}
            for p in PREFIXES[:-1]
        )
        return Group(
            about, arrays["seeds"], settings, arrays["diverged_at_step"], curves, probes
        )
    except (KeyError, ValueError, TypeError) as error:
        raise files.damaged(path, f"not a group of networks: {error}") from error


def is_archived(group: Group) -> bool:
    """Whether the variables of these networks were not kept."""
    return bool(group.about.get(ARCHIVED))


def read_variables(path: Path, position: int) -> dict[str, Any]:
    """The variables of one network of a group, nested as `model.apply` takes them."""
    variables: dict[str, Any] = {}
    for name, array in _entries(path, lambda name: name.startswith(PREFIXES[-1])):
        *collections, leaf = name.removeprefix(PREFIXES[-1]).split("/")
        inner = variables
        for collection in collections:
            inner = inner.setdefault(collection, {})
        inner[leaf] = array[position]
    if not variables:
        raise without_variables(path)
    return variables


def stacked_variables(path: Path) -> dict[str, np.ndarray]:
    """The variables of all networks of a group by name, leaves `[lanes, ...]`.

    A name is a path: `params/dense_0/kernel`.

    Raises:
        InputError: as `read` does, or if they were not kept.
    """
    found = _entries(path, lambda name: name.startswith(PREFIXES[-1]))
    stacked = {name.removeprefix(PREFIXES[-1]): array for name, array in found}
    if not stacked:
        raise without_variables(path)
    return stacked


def without_variables(path: Path) -> InputError:
    """The error that a group was kept without the variables of its networks."""
    rule = "is archived without the variables of its networks"
    remedy = "give the folder that the study was run in, or run it in a new one"
    return InputError("workdir", str(path.parent.parent), rule, remedy)


def held(workdir: str | Path, ids: Iterable[str] | None = None) -> Held:
    """The networks that `workdir` holds, of some arms or of all."""
    wanted = None if ids is None else set(ids)
    copies: dict[tuple[str, Lane], list[tuple[Path, Group, int]]] = {}
    damaged = []
    for path in sorted((Path(workdir) / FOLDER).glob("*.npz")):
        if wanted is not None and path.name.partition("-")[0] not in wanted:
            continue
        try:
            at = path.stat()
            group = _read_once(path, at.st_mtime_ns, at.st_size)
        except FileNotFoundError:  # set aside meanwhile
            continue
        except InputError:
            damaged.append(path)
            continue
        for position, name in enumerate(group.lanes):
            key = group.about["id"], name
            copies.setdefault(key, []).append((path, group, position))
    return Held(copies, tuple(damaged))


@functools.lru_cache(maxsize=10_000)
def _read_once(path: Path, mtime_ns: int, size: int) -> Group:
    """`read`, once for each file as it is: a file is hashed whole to be checked."""
    del mtime_ns, size
    return read(path)


def set_aside(path: Path) -> Path:
    """Moves a damaged file out of the way, and keeps it."""
    return files.move(path, files.folder(path.parent / DAMAGED) / path.name)


def failures(workdir: str | Path) -> dict[str, str]:
    """Arm id -> why it could not be trained. One that is damaged is no failure."""
    messages = {}
    for path in sorted((Path(workdir) / FAILED).glob("*.json")):
        with contextlib.suppress(InputError):
            messages[path.stem] = str(files.read_json(path).get("message"))
    return messages


def write_failure(workdir: str | Path, arm_id: str, content: Mapping[str, Any]) -> None:
    """Records why an arm could not be trained."""
    files.write_json(files.folder(Path(workdir) / FAILED) / f"{arm_id}.json", content)


def forget_failure(workdir: str | Path, arm_id: str) -> None:
    """Removes what `write_failure` wrote, if it did."""
    (Path(workdir) / FAILED / f"{arm_id}.json").unlink(missing_ok=True)


def _entries(
    path: Path, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, np.ndarray]]:
    """The wanted arrays of a group's file, whose content is what its name says."""
    try:
        if not path.stem.endswith(f"-{files.digest(path)}"):
            raise ValueError("its content is not what was written")
        with np.load(path, allow_pickle=False) as file:
            yield from ((name, file[name]) for name in file.files if wanted(name))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise files.damaged(path, error) from error
