"""Writers of a record for other tools, by name: `--export=tensorboard,wandb`.

What they write lies in the folder `exports` of the workdir, unless the tool was told
another place by its own variables. A second export of the same record changes nothing,
and one of a record that has grown adds what is new.
"""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from normjax import files
from normjax.errors import InputError, install, pick
from normjax.export.runs import KINDS
from normjax.study.record import Record
from normjax.study.wanted import EXPORTS

INSTALL = f"run {install('export')}"


class Writer(NamedTuple):
    """A row of `WRITERS`."""

    module: str  # of this package; its `write(record, labels, kind, folder)` writes
    needs: tuple[str, ...]  # what has to be importable


WRITERS = {
    "tensorboard": Writer("event_files", ("tensorboard",)),
    "wandb": Writer("weights_and_biases", ("wandb",)),
    "mlflow": Writer("mlflow_runs", ("mlflow", "sqlalchemy", "alembic")),
    "safetensors": Writer("weights", ("safetensors",)),
}


def chosen_writers(text: str, kind: str = KINDS[0]) -> tuple[str, ...]:
    """The names in `tensorboard,wandb`, each once, in their order.

    Raises:
        InputError: a name is unknown or what it needs is not installed, or `kind` is
            no row of `runs.KINDS`.
    """
    pick("--export_as", dict.fromkeys(KINDS), kind)
    names = tuple(dict.fromkeys(filter(None, text.split(","))))
    for name in names:
        for package in pick("--export", WRITERS, name).needs:
            if importlib.util.find_spec(package) is None:
                rule = f"needs {package}, which is not installed"
                raise InputError("--export", name, rule, INSTALL)
    return names


def export(
    record: Record,
    names: Sequence[str],
    labels: Mapping[str, str],
    kind: str = KINDS[0],
) -> list[str]:
    """Writes a record for each of these tools; a line about each.

    Args:
        record: what was trained; what is missing is left out.
        names: rows of `WRITERS`, as `chosen_writers` returns them.
        labels: arm -> its readable name.
        kind: a row of `runs.KINDS`.

    Raises:
        InputError: a file cannot be written, or a tool refuses.
    """
    lines = []
    for name in names:
        module = importlib.import_module(f"normjax.export.{WRITERS[name].module}")
        folder = made_folder(record.workdir / EXPORTS / name)
        lines.append(f"export: {name}: {module.write(record, labels, kind, folder)}")
    return lines


def made_folder(path: Path) -> Path:
    """The folder, made with those above it."""
    with files.one_line_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path
