"""What a study leaves on disk: read whole, written atomically, the same bytes twice.

    config.json    the resolved configuration
    record.json    arms and their status, factors, settings, baseline, environment
    networks.csv   a row per trained network
    epochs.csv     a row per network and epoch
    probes.npz     "<arm>/<probe>": [settings, seeds, epochs]

Nothing here trains, judges or draws; no jax.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from normjax import files
from normjax.errors import InputError, pick
from normjax.study.columns import CURVES, FINAL, cast, columns, read_table

__all__ = ["CURVES", "FINAL", "Record", "columns", "read_record"]

FIELDS = {  # of record.json, without which it is damaged
    "study": str,
    "factors": list,
    "settings": list,
    "arms": dict,
    "arm_order": list,
}
FOLDER = "give the folder that a study was run in"
ANOTHER = "give another workdir"
ENTRY = {"lanes": int, "epoch_seconds": list}  # of a complete arm
WRITTEN = (  # into a folder by a study and its report
    *("config.json", "record.json", "networks.csv", "epochs.csv", "probes.npz"),
    *("report.html", "stats.json", "checkpoints", "figures", "tables"),
)


class Record(NamedTuple):
    """The trained networks in a workdir, read whole; complete arms only."""

    workdir: Path
    config: dict[str, Any]  # the resolved configuration, accepted again as one
    record: dict[str, Any]  # record.json: arms, environment, ...
    networks: pd.DataFrame  # a row per network, in the order [arms, settings, seeds]
    epochs: pd.DataFrame  # a row per network and epoch
    probes: dict[str, np.ndarray]  # "<arm>/<probe>" -> [settings, seeds, epochs]

    @property
    def curves(self) -> dict[str, np.ndarray]:
        """`"batch/test_accuracy"`, by arm and curve, -> [settings, seeds, epochs]."""
        shape = (-1, self.networks["seed"].nunique(), self.epochs["epoch"].nunique())
        return {
            f"{arm}/{curve}": rows[curve].to_numpy().reshape(shape)
            for arm, rows in self.epochs.groupby("arm", sort=False)
            for curve in CURVES
        }

    def variables(self, arm: str, **lane: int | float) -> dict[str, Any]:
        """The trained variables of one network, as `model.apply` takes them.

        `record.variables("batch", seed=3, learning_rate=0.1)`: the seed and the
        settings of the lane as in `networks`; those with one value may be left out.

        Raises:
            InputError: if there is no such arm, or not exactly one such network.
        """
        pick("arm", dict.fromkeys(complete_arms(self.record)), arm)
        of_arm = self.networks[self.networks["arm"] == arm].reset_index(drop=True)
        rows = of_arm
        for name, value in lane.items():
            pick("lane", dict.fromkeys(("seed", *self.record["settings"])), name)
            rows = rows[rows[name] == value]
        if len(rows) != 1:
            rule = f"must be one network of {arm}, and {len(rows)} are"
            remedy = "give its seed and its settings as they are in networks"
            raise InputError("lane", lane, rule, remedy)
        setting, seed = divmod(int(rows.index[0]), of_arm["seed"].nunique())
        path = self.workdir / "checkpoints" / f"{arm}.npz"
        variables: dict[str, Any] = {}
        for name, array in files.read_arrays(path).items():
            *collections, leaf = name.split("/")
            inner = variables
            for collection in collections:
                inner = inner.setdefault(collection, {})
            inner[leaf] = array[setting, seed]
        return variables


def progress(workdir: str | Path) -> str:
    """How much of a study that was stopped is kept, in words."""
    path = Path(workdir) / "record.json"
    if not path.exists():
        return "no arm is finished"
    record = _read_record(Path(workdir))
    kept, wanted = complete_arms(record), record["arm_order"]
    return f"{len(kept)} of {len(wanted)} arms are finished and kept"


def complete_arms(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The arms of a `record.json` that are complete, in their order."""
    arms = record["arms"]
    complete = {k for k, entry in arms.items() if entry.get("status") == "complete"}
    return tuple(name for name in record["arm_order"] if name in complete)


def read_record(workdir: str | Path) -> Record:
    """The record in `workdir`.

    Raises:
        InputError: there is no record, or a file of it is missing or damaged.
    """
    workdir = Path(workdir)
    if not (workdir / "record.json").exists():
        rule = "must be a folder, and there is none of that name"
        if workdir.is_dir():
            rule = "must hold a record, and has no record.json"
        raise InputError("workdir", str(workdir), rule, FOLDER)
    config = files.read_json(workdir / "config.json")
    record = _read_record(workdir)
    arms = complete_arms(record)
    networks = read_table(workdir / "networks.csv", record, arms)
    epochs = read_table(workdir / "epochs.csv", record, arms)
    for arm in arms:
        entry = record["arms"][arm]
        num_rows = entry["lanes"] * len(entry["epoch_seconds"])
        _check_rows(workdir / "networks.csv", networks, arm, entry["lanes"])
        _check_rows(workdir / "epochs.csv", epochs, arm, num_rows)
        path = workdir / "checkpoints" / f"{arm}.npz"
        if entry.get("checkpoint") and not path.exists():
            raise files.damaged(path, f"arm {arm!r} is complete, but it is missing")
    probes = files.read_arrays(workdir / "probes.npz")
    probes = {k: v for k, v in probes.items() if k.rpartition("/")[0] in arms}
    return Record(workdir, config, record, networks, epochs, probes)


def start_record(
    workdir: str | Path, config: Mapping[str, Any], *, data: int | None = None
) -> tuple[str, ...]:
    """The arms that `workdir` holds already; makes the record if there is none.

    `data` is a checksum, `data_crc32` in `record.json`; it is not compared if either is
    without one.

    Raises:
        InputError: the folder holds something else, is damaged or cannot be written;
            nothing in it is touched then.
    """
    workdir = Path(workdir)
    path = workdir / "config.json"
    if os.path.exists(path):  # False where we may not look; mkdir tells why then
        return _resume(workdir, config, data)
    for name in WRITTEN:
        if os.path.lexists(workdir / name):
            rule = f"must be new or hold a study, and holds another {name!r}"
            raise InputError("workdir", str(workdir), rule, ANOTHER)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        rule = f"must be a folder that can be made ({error.strerror})"
        raise InputError("workdir", str(workdir), rule, ANOTHER) from error
    files.write_json(path, config)
    return ()


def add_arm(
    workdir: str | Path,
    *,
    arm: str,
    networks: pd.DataFrame,
    epochs: pd.DataFrame,
    probes: Mapping[str, np.ndarray],
    entry: Mapping[str, Any],
    record: Mapping[str, Any],
) -> None:
    """Adds the rows of an arm to the record, in the place of any that it had.

    Rows lie in the order of `record["arm_order"]` and in that given within an arm,
    whichever came first. `record.json` is written last: no arm is called complete
    before its rows are on disk.

    `networks` and `epochs` have the columns of `columns(record, table)`, but for the
    settings that the arm does not have. `entry` is its part of `record.json`, and
    `record` is the rest of it.
    """
    workdir = Path(workdir)
    path = workdir / "record.json"
    arms = _read_record(workdir)["arms"] if path.exists() else {}
    order = record["arm_order"]
    others = [name for name in order if name != arm]
    for name, new in (("networks.csv", networks), ("epochs.csv", epochs)):
        path = workdir / name
        rows = [cast(new, record, name)]
        if path.exists():
            rows.append(read_table(path, record, others))
        table = pd.concat(rows).sort_values(
            "arm", key=lambda x: x.map(order.index), kind="stable"
        )
        files.write_table(path, table)
    path = workdir / "probes.npz"
    there = files.read_arrays(path)
    kept = {k: v for k, v in there.items() if k.rpartition("/")[0] != arm}
    files.write_arrays(path, {**kept, **probes})
    arms = {**arms, arm: dict(entry)}
    arms = {name: arms[name] for name in order if name in arms}
    files.write_json(workdir / "record.json", {**record, "arms": arms})


def _resume(
    workdir: Path, config: Mapping[str, Any], data: int | None
) -> tuple[str, ...]:
    """The complete arms of a folder that is of this configuration and data."""
    here = files.flat(files.plain(config))
    there = files.flat(files.read_json(workdir / "config.json"))
    for field in dict.fromkeys((*here, *there)):
        if here.get(field) != there.get(field):
            there_is, here_is = there.get(field), here.get(field)
            rule = "must hold the same study, and holds another"
            rule += f" ({field} is {there_is!r} there, {here_is!r} here)"
            raise InputError("workdir", str(workdir), rule, ANOTHER)
    if not (workdir / "record.json").exists():
        return ()
    record = read_record(workdir).record
    kept = record.get("data_crc32")
    if None not in (data, kept) and data != kept:
        rule = "must hold a study of the same data"
        rule += f" (data_crc32 is {kept!r} there, {data!r} here)"
        raise InputError("workdir", str(workdir), rule, ANOTHER)
    return complete_arms(record)


def _read_record(workdir: Path) -> dict[str, Any]:
    """`record.json`, with every field that the rest relies on."""
    path = workdir / "record.json"
    record = files.read_json(path)
    _check_fields(path, record, FIELDS)
    arms = record["arms"]
    _check_fields(path, arms, dict.fromkeys(arms, dict), "arms.")
    for arm in complete_arms(record):
        _check_fields(path, arms[arm], ENTRY, f"arms.{arm}.")
    return record


def _check_fields(
    path: Path, content: Mapping[str, Any], fields: Mapping[str, type], of: str = ""
) -> None:
    for field, kind in fields.items():
        if not isinstance(content.get(field), kind):
            why = f"{of + field!r} is missing or no {kind.__name__}"
            raise files.damaged(path, why)


def _check_rows(path: Path, table: pd.DataFrame, arm: str, expected: int) -> None:
    found = int((table["arm"] == arm).sum())
    if found != expected:
        why = f"arm {arm!r} is complete, with {found} rows in place of {expected}"
        raise files.damaged(path, why)
