"""`record.json`: what a study wants, and the folder that it is written into. No jax."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from normjax import files
from normjax.errors import InputError
from normjax.study import groups

FIELDS = {  # of record.json, on which the rest relies
    **dict.fromkeys(("study", "question"), str),
    **dict.fromkeys(("factors", "settings", "seeds", "arm_order"), list),
    **dict.fromkeys(("arms", "config", "environment"), dict),
}
FOLDER = "give the folder that a study was run in"
OLDER = "must hold a record of this version, and holds an older record.json"
RERUN = "run its study again in another folder, or read it with the older version"
ANOTHER = "give another workdir"
EXPORTS = "exports"  # the folder of what is written for other tools
WRITTEN = (  # into a folder by a study and its report
    *("config.json", "record.json", "networks.csv", "epochs.csv", "probes.npz"),
    *("trials.csv", "report.html", "stats.json", "figures", "tables", EXPORTS),
    *(groups.EARLIER, *groups.FOLDERS),
)


def start_record(workdir: str | Path, about: Mapping[str, Any]) -> None:
    """`check_folder`, then `write_wanted`."""
    check_folder(workdir)
    write_wanted(workdir, about)


def check_folder(workdir: str | Path) -> None:
    """Makes the folder, unless it has files that no study of this version wrote.

    Whatever networks it holds stay, be they of this study or of another.

    Raises:
        InputError: the folder has files of another origin, or cannot be made; nothing
            in it is touched then.
    """
    workdir = Path(workdir)
    path = workdir / "record.json"
    ours = path.exists() or (workdir / groups.FOLDER).exists()
    for name in WRITTEN:
        if not ours and os.path.lexists(workdir / name):
            rule = f"must be new or hold a record, and holds another {name!r}"
            raise InputError("workdir", str(workdir), rule, ANOTHER)
    if path.exists() and _is_older(path):
        raise InputError("workdir", str(workdir), OLDER, ANOTHER)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        rule = f"must be a folder that can be made ({error.strerror})"
        raise InputError("workdir", str(workdir), rule, ANOTHER) from error


def write_wanted(workdir: str | Path, about: Mapping[str, Any]) -> None:
    """Writes what the study wants: `record.json` and `config.json`."""
    workdir = Path(workdir)
    content = files.plain(about)
    digest = files.text_digest(content)
    files.write_json(workdir / "record.json", content | {"digest": digest})
    files.write_json(workdir / "config.json", content["config"])


def _is_older(path: Path) -> bool:
    """Whether a `record.json` is one of a version that wrote no digest into it."""
    try:
        return "digest" not in files.read_json(path)
    except InputError:  # damaged: it will be written anew
        return False


def read_wanted(workdir: str | Path) -> dict[str, Any]:
    """`record.json`, as it was written.

    Raises:
        InputError: there is none, it is damaged, or an older version wrote it.
    """
    if not isinstance(workdir, str | os.PathLike):
        raise InputError("workdir", workdir, "must be the path of a folder", FOLDER)
    path = Path(workdir) / "record.json"
    if not path.exists():
        raise not_a_record(Path(workdir))
    content = files.read_json(path)
    if "digest" not in content:
        raise InputError("workdir", str(workdir), OLDER, RERUN)
    digest = content.pop("digest")
    for field, kind in FIELDS.items():
        if not isinstance(content.get(field), kind):
            raise files.damaged(path, f"{field!r} is missing or no {kind.__name__}")
    if digest != files.text_digest(content):
        raise files.damaged(path, "its content is not what was written")
    return content


def not_a_record(workdir: Path) -> InputError:
    """The error that a path is no folder of a record."""
    rule, remedy = "must be a folder, and there is none of that name", FOLDER
    if workdir.is_dir():
        rule = "must hold a record, and has no record.json"
    elif workdir.exists():
        rule = "must be a folder, and is a file"
    if (workdir.parent / "record.json").exists():
        remedy = f"give {str(workdir.parent)!r}"
    return InputError("workdir", str(workdir), rule, remedy)
