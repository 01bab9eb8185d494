"""What a study leaves on disk: read whole, written atomically, the same bytes twice.

    config.json    the resolved configuration
    record.json    arms and their status, factors, settings, baseline, environment
    networks.csv   a row per trained network
    epochs.csv     a row per network and epoch
    probes.npz     "<arm>/<probe>": [settings, seeds, evals]

Nothing here trains, judges or draws; no jax.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from normjax import files
from normjax.errors import InputError

FIELDS = {  # of record.json, without which it is damaged
    "study": str,
    "factors": list,
    "settings": list,
    "arms": dict,
    "arm_order": list,
}
ENTRY = {"lanes": int, "epoch_seconds": list}  # of a complete arm
WRITTEN = (  # into a folder by a study and its report
    "config.json",
    "record.json",
    "networks.csv",
    "epochs.csv",
    "probes.npz",
    "report.html",
    "stats.json",
    "checkpoints",
    "figures",
    "tables",
)
INTEGERS = ("seed", "epoch", "step", "diverged_at_step")
CURVES = tuple(  # measurements after an epoch, in epochs.csv
    f"{split}_{measure}"
    for split in ("train", "validation", "test")
    for measure in ("loss", "accuracy")
)
FINAL = (  # measurements of a network, in networks.csv
    *(name for name in CURVES if name != "validation_loss"),
    "diverged_at_step",
    "seconds",
)


class Record(NamedTuple):
    """A record as read; rows of arms that are not complete are left out."""

    workdir: Path
    config: dict[str, Any]
    record: dict[str, Any]
    networks: pd.DataFrame
    epochs: pd.DataFrame
    probes: dict[str, np.ndarray]


def complete_arms(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The arms of a `record.json` that are complete, in their order."""
    arms = record["arms"]
    return tuple(
        name
        for name in record["arm_order"]
        if arms.get(name, {}).get("status") == "complete"
    )


def columns(record: Mapping[str, Any], table: str) -> tuple[str, ...]:
    """The columns of `networks.csv` or `epochs.csv`, in their order."""
    identity = ("arm", *record["factors"], "seed", *record["settings"])
    if table == "networks.csv":
        return (*identity, *FINAL)
    return (*identity, "epoch", "step", *CURVES)


def read_record(workdir: str | Path) -> Record:
    """The record in `workdir`.

    Raises:
        InputError: no such folder, not a record, or a file of it that is missing or
            damaged.
    """
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise InputError(
            f"workdir={str(workdir)!r}: no such folder;"
            " give the folder that a study was run in."
        )
    if not (workdir / "record.json").exists():
        raise InputError(
            f"workdir={str(workdir)!r}: not a record, for it has no record.json;"
            " give the folder that a study was run in."
        )
    config = files.read_json(workdir / "config.json")
    record = _read_record(workdir)
    arms = complete_arms(record)
    networks = _read_table(workdir / "networks.csv", record, arms)
    epochs = _read_table(workdir / "epochs.csv", record, arms)
    for arm in arms:
        entry = record["arms"][arm]
        num_lanes, num_epochs = entry["lanes"], len(entry["epoch_seconds"])
        _check_rows(workdir / "networks.csv", networks, arm, num_lanes)
        _check_rows(workdir / "epochs.csv", epochs, arm, num_lanes * num_epochs)
        path = workdir / "checkpoints" / f"{arm}.npz"
        if entry.get("checkpoint") and not path.exists():
            raise files.damaged(path, f"arm {arm!r} is complete, but it is missing")
    probes = files.read_arrays(workdir / "probes.npz")
    probes = {k: v for k, v in probes.items() if arm_of(k) in arms}
    return Record(workdir, config, record, networks, epochs, probes)


def start_record(
    workdir: str | Path, config: Mapping[str, Any], *, data: int | None = None
) -> tuple[str, ...]:
    """The arms that `workdir` holds already; makes the record if there is none.

    Args:
        workdir: the folder of the record.
        config: the resolved configuration.
        data: a checksum of the data, `data_crc32` in `record.json`; not compared if
            either is without one.

    Raises:
        InputError: the folder holds a study of another configuration or of other
            data, or files of something else, is damaged or cannot be written;
            nothing in it is touched then.
    """
    workdir = Path(workdir)
    path = workdir / "config.json"
    if os.path.exists(path):  # False where we may not look; mkdir tells why then
        return _resume(workdir, config, data)
    for name in WRITTEN:
        if os.path.lexists(workdir / name):
            raise InputError(
                f"workdir={str(workdir)!r}: holds {name!r} of something else;"
                " give another --workdir."
            )
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"workdir={str(workdir)!r}: cannot be made ({error.strerror});"
            " give a folder that can be written."
        ) from error
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

    Args:
        workdir: the folder of the record, which exists.
        arm: its name, one of `record["arm_order"]`.
        networks: its rows, with `columns(record, "networks.csv")`; a setting that it
            does not have may be absent.
        epochs: its rows, with `columns(record, "epochs.csv")`.
        probes: "<arm>/<probe>" -> [settings, seeds, evals].
        entry: its part of `record.json`: status, lanes, seconds, ...
        record: the new content of `record.json` but for `arms`.
    """
    workdir = Path(workdir)
    path = workdir / "record.json"
    arms = _read_record(workdir)["arms"] if path.exists() else {}
    order = record["arm_order"]
    others = [name for name in order if name != arm]
    for name, new in (("networks.csv", networks), ("epochs.csv", epochs)):
        path = workdir / name
        rows = [_typed(new, record, name)]
        if path.exists():
            rows.append(_read_table(path, record, others))
        table = pd.concat(rows).sort_values(
            "arm", key=lambda x: x.map(order.index), kind="stable"
        )
        files.write_table(path, table)
    path = workdir / "probes.npz"
    kept = {k: v for k, v in files.read_arrays(path).items() if arm_of(k) != arm}
    files.write_arrays(path, {**kept, **probes})
    arms = {**arms, arm: dict(entry)}
    arms = {name: arms[name] for name in order if name in arms}
    files.write_json(workdir / "record.json", {**record, "arms": arms})


def _resume(
    workdir: Path, config: Mapping[str, Any], data: int | None
) -> tuple[str, ...]:
    """The complete arms of a folder that is of this configuration and data."""
    here = _flat(files.plain(config))
    there = _flat(files.read_json(workdir / "config.json"))
    for field in dict.fromkeys((*here, *there)):
        if here.get(field) != there.get(field):
            raise InputError(
                f"workdir={str(workdir)!r}: holds another study ({field} is"
                f" {there.get(field)!r} there, {here.get(field)!r} here);"
                " give another --workdir."
            )
    if not (workdir / "record.json").exists():
        return ()
    record = read_record(workdir).record
    kept = record.get("data_crc32")
    if None not in (data, kept) and data != kept:
        raise InputError(
            f"workdir={str(workdir)!r}: holds a study of other data (data_crc32 is"
            f" {kept!r} there, {data!r} here); give another --workdir."
        )
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


def arm_of(key: str) -> str:
    """The arm of "<arm>/<probe>"."""
    return key.rpartition("/")[0]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted name."""
    leaves = {}
    for key, value in tree.items():
        nested = isinstance(value, Mapping) and value
        leaves |= _flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return leaves


def _typed(table: pd.DataFrame, record: Mapping[str, Any], name: str) -> pd.DataFrame:
    """Names as text, counts as int64, the rest as float64.

    A float32 becomes the float64 of its own shortest digits (0.8765, not
    0.8765000104904175): it gives the same float32 back, and rows that were written
    and read again do not change.
    """

    def column(key: str) -> Any:
        if key in record["settings"] and key not in table:
            return np.full(len(table), np.nan)
        values = table[key].to_numpy()
        if key in ("arm", *record["factors"]):
            return [str(value) for value in values]
        if values.dtype == np.float32:
            values = values.astype(str)
        return values.astype(np.int64 if key in INTEGERS else np.float64)

    return pd.DataFrame({key: column(key) for key in columns(record, name)})


def _read_table(
    path: Path, record: Mapping[str, Any], arms: Iterable[str]
) -> pd.DataFrame:
    """The rows of `arms`, in the order of the file."""
    names = columns(record, path.name)
    arms = list(arms)
    if not arms:
        return _typed(pd.DataFrame(columns=list(names)), record, path.name)
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
        missing = [name for name in names if name not in rows]
        if missing:
            raise ValueError(f"it has no column {missing[0]!r}")
        rows = _typed(rows[rows["arm"].isin(arms)], record, path.name)
    except (OSError, ValueError) as error:
        raise files.damaged(path, error) from error
    return rows
