"""The trained variables of each network as safetensors, which any framework reads.

    <folder>/<arm>/<settings>/<seed>.safetensors

The tensors are called as in flax, `params/dense_0/kernel`. The metadata has one entry,
`normjax`: the id of the run and its configuration, as JSON.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from normjax import files
from normjax.export.runs import Run, runs
from normjax.export.writers import made_folder
from normjax.study import groups, kept
from normjax.study.groups import lane
from normjax.study.record import Record


def write(record: Record, labels: Mapping[str, str], kind: str, folder: Path) -> str:
    """Writes a file for each network, whatever the kind of runs; where they are.

    Raises:
        InputError: the record was kept without its variables.
    """
    del kind  # weights are those of a network
    entries = record.record["arms"]
    held = groups.held(record.workdir, {entry["id"] for entry in entries.values()})
    by_file: dict[Path, list[tuple[Run, int]]] = {}
    for run in runs(record, labels):
        entry = entries[str(run.config["arm"])]
        settings = {name: run.config[name] for name in entry["settings"]}
        key = entry["id"], lane(settings, int(run.config["seed"]))
        path, _, position = kept.fullest(held.copies[key])
        by_file.setdefault(path, []).append((run, position))
    for path, those in by_file.items():
        stacked = groups.stacked_variables(path)
        for run, position in those:
            *folders, name = run.folders
            to = made_folder(folder.joinpath(*folders)) / f"{name}.safetensors"
            content = encoded(run, {k: x[position] for k, x in stacked.items()})
            if not to.exists() or to.read_bytes() != content:
                files.write_bytes(to, content)
    return f"{sum(map(len, by_file.values()))} files in {folder}"


def encoded(run: Run, tensors: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a file; the same network gives the same bytes."""
    about = {"id": run.id, "name": run.name, "config": run.config}
    text = json.dumps(files.plain(about), sort_keys=True, ensure_ascii=False)
    whole = {name: np.ascontiguousarray(x) for name, x in sorted(tensors.items())}
    return save(whole, metadata={"normjax": text})
