"""Keeps a finished study among the results of the documentation.

python -m docs.keep runs/optimizers docs/results/optimizers

What is kept is a record without the variables of its networks, from which page, tables
and figures are built again (`python -m normjax.report docs/results/optimizers`), and
beside it the tables and some pictures, for a reader of the repository.
"""

import shutil
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

from normjax import archive
from normjax.errors import InputError
from normjax.report import page

KEPT = ("config.json", "record.json", "networks.csv", "trials.csv")
PICTURES = (  # of the figures; the others are built from the record
    *("claim", "differences", "seeds", "test_accuracy", "train_loss"),
    *("train_accuracy_evaluated", "against_*", "final_train_loss_against_*"),
    *("map_*", "smoothness*", "tuning_*"),
)
LARGE = 400_000  # bytes of a picture: of so many arms that nobody reads it here


def keep(run: Path, folder: Path) -> None:
    """Replaces what `folder` has of an earlier run."""
    with tempfile.TemporaryDirectory() as temporary:
        built = Path(temporary) / "record"
        archive.archive(run, built)
        page.build(built)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(built / "networks", folder / "networks")
        tables = sorted((built / "tables").glob("*.csv"))
        figures = sorted((built / "figures").glob("*.svg"))
        pictures = [
            path
            for path in figures
            if any(fnmatch(path.stem, pattern) for pattern in PICTURES)
            and path.stat().st_size <= LARGE
        ]
        files = [built / name for name in KEPT if (built / name).exists()]
        for path in (*files, *tables, *pictures):
            shutil.copy(path, folder / path.name)


if __name__ == "__main__":
    try:
        keep(*map(Path, sys.argv[1:]))
    except InputError as error:
        sys.exit(str(error))
