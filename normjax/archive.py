"""A record without the variables of its networks, small enough to be kept with a text.

python -m normjax.archive runs/optimizers --workdir=docs/results/optimizers

An archive is a record: it has the curves and probes of every network, and whatever
reads a record reads it (`normjax.load`, `normjax.report`, `normjax.audit`). Only
`Record.variables` is refused. A study's command can go on in it, for networks are known
by their ids: it trains those that are missing, and says how many are archived.
"""

import argparse
import contextlib
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from normjax import files
from normjax.errors import InputError
from normjax.study import claims, groups
from normjax.study.groups import Group
from normjax.study.wanted import read_wanted, start_record

ABSOLUTE = re.compile(r"(?P<flag>--workdir[= ])/(\S*/)?(?P<name>[^/\s]+)/?(?=\s|$)")


def main(argv: Sequence[str] | None = None) -> int:
    """Archives; prints the size; exit code 2 for a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m normjax.archive",
        description="Copy a record without the variables of its networks.",
    )
    parser.add_argument("record", help="folder that a study was run in")
    parser.add_argument("--workdir", required=True, help="folder of the archive")
    given = parser.parse_args(argv)
    try:
        paths = archive(Path(given.record), Path(given.workdir))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    size = sum(path.stat().st_size for path in paths)
    print(f"{given.workdir}: {len(paths):,} files of networks, {size / 1e6:.2f} MB")
    return 0


def archive(source: Path, workdir: Path) -> list[Path]:
    """Writes what the report needs of a record into `workdir`; returns the groups.

    Every group of the source is read before anything is written. An archive that
    `workdir` has already is replaced.

    Raises:
        InputError: `source` has no record, a file of it is damaged, or `workdir` holds
            networks with their variables or another process works on it.
    """
    wanted = without_folders(read_wanted(source))
    found = wanted_groups(source, wanted)
    older = sorted((workdir / groups.FOLDER).glob("*.npz"))
    if not all(groups.is_archived(groups.read(path)) for path in older):
        rule = "must be new or an archive, and has networks with their variables"
        raise InputError("workdir", str(workdir), rule, "give another workdir")
    start_record(workdir, wanted)
    locks = workdir / groups.LOCKS  # there are none where no study has ever run
    nobody = contextlib.nullcontext(True)
    with claims.claim(locks, "study") if locks.exists() else nobody as ours:
        if not ours:
            holder = claims.holder(locks, "study")
            rule = f"must be free, and {holder} works on it"
            raise InputError("workdir", str(workdir), rule, "wait for its end")
        paths = [groups.write(workdir, group, {}) for group in found]
        for path in older:
            if path not in paths:
                path.unlink(missing_ok=True)
        failed = source / groups.FAILED
        for path in sorted(failed.glob("*.json")):
            with files.one_line_errors(workdir / groups.FAILED):
                to = files.folder(workdir / groups.FAILED) / path.name
                shutil.copyfile(path, to)
    return paths


def wanted_groups(source: Path, wanted: dict) -> list[Group]:
    """The networks of the arms of a record, and of its trials, each of them once."""
    tried = (wanted.get("tuning") or {}).get("arms", {})
    ids = {entry["id"] for entry in (*wanted["arms"].values(), *tried.values())}
    held = groups.held(source, ids)
    for path in held.damaged:
        groups.read(path)  # says what is wrong with it
    places: dict[Path, tuple[Group, list[int]]] = {}
    for path, group, position in held.networks.values():
        places.setdefault(path, (group, []))[1].append(position)
    return [_part(group, sorted(lanes)) for group, lanes in places.values()]


def without_folders(about: dict) -> dict:
    """The same, but the command has no absolute path of a workdir: `runs/optimizers`.

    An archive is made to be shown, and the folders of a machine say nothing there.
    """
    where = about["environment"]
    command = ABSOLUTE.sub(r"\g<flag>runs/\g<name>", where.get("command", ""))
    return about | {"environment": where | {"command": command}}


def _part(group: Group, lanes: list[int]) -> Group:
    """Some networks of a group, marked as archived."""
    of = lambda arrays: {name: np.asarray(x)[lanes] for name, x in arrays.items()}
    return Group(
        about=without_folders(group.about) | {groups.ARCHIVED: True},
        seeds=group.seeds[lanes],
        settings=of(group.settings),
        diverged_at_step=group.diverged_at_step[lanes],
        curves=of(group.curves),
        probes=of(group.probes),
    )


if __name__ == "__main__":
    sys.exit(main())
