"""What reports wrote into a folder, and the removal of what is stale there."""

import contextlib
from collections.abc import Collection
from pathlib import Path

from normjax import files
from normjax.errors import InputError

WRITTEN = ".written.json"  # file -> digest of what a report wrote into it


def remove_stale(
    folder: Path, written: Collection[str], kept: Collection[str] = ()
) -> None:
    """Removes what an earlier report wrote and this one lacks, and notes what is there.

    A file that was changed since then is somebody's own and stays, as all others do.

    Args:
        folder: that of the tables or of the figures.
        written: the names of the files that were written now.
        kept: those of an earlier report that show what they should.
    """
    known = _known(folder)
    for name in known.keys() - {*written, *kept}:
        with contextlib.suppress(OSError):  # it is gone, or other
            if files.digest(folder / name) == known[name]:
                (folder / name).unlink()
    noted = {name: known[name] for name in kept if name in known}
    noted |= {name: files.digest(folder / name) for name in written}
    files.write_json(folder / WRITTEN, dict(sorted(noted.items())))


def _known(folder: Path) -> dict[str, str]:
    """File -> digest; empty if there was no report yet, or the file is damaged."""
    try:
        return files.read_json(folder / WRITTEN)
    except InputError:
        return {}
