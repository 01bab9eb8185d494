"""Records of made-up networks, written as a study writes them."""

import pathlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from normjax import files
from normjax.study import groups
from normjax.study.columns import CURVES
from normjax.study.groups import Group
from normjax.study.record import Record, read_record
from normjax.study.wanted import start_record

NUMERICS = {"jax": "0.10.2"}
ENVIRONMENT = {
    "device": "cpu",
    "num_devices": 2,
    "versions": NUMERICS,
    "commit": "abc1234",
    "command": "python launch.py --config=configs/made.py",
}


class Arm(NamedTuple):
    """The networks of an arm, as they are in the tables, in the order of the rows."""

    networks: pd.DataFrame
    epochs: pd.DataFrame
    probes: Mapping[str, np.ndarray] = MappingProxyType({})  # [lanes, epochs]
    epoch_seconds: Sequence[float] = ()  # per network; those of `networks` if empty
    compile_seconds: float = 1.5


def arm_id(name: str) -> str:
    """The id of an arm of that name."""
    return files.text_digest({"arm": name})[:16]


def wanted(
    arms: Mapping[str, Arm], factors: list[str], settings: list[str], **about: Any
) -> dict[str, Any]:
    """The content of record.json; `about` are its other fields."""
    seeds = dict.fromkeys(s for x in arms.values() for s in x.networks["seed"].tolist())
    return {
        "study": "made",
        "question": "Which is best?",
        "config": {},
        "baseline": {},
        "target_accuracy": 0.85,
        "probes": {},
        "num_examples": {},
        "factors": factors,
        "settings": settings,
        "seeds": list(seeds),
        "arm_order": list(arms),
        "arms": {
            name: {
                "id": arm_id(name),
                "factors": {x: arm.networks[x].tolist()[0] for x in factors},
                "settings": _grid(arm.networks, settings),
                "num_parameters": 118_282,
                "convolutions": {},
                "steps_per_epoch": int(arm.epochs["step"].iloc[0]),
            }
            for name, arm in arms.items()
        },
        "environment": ENVIRONMENT,
    } | about


def write(folder: pathlib.Path, about: Mapping[str, Any], arms: Mapping[str, Arm]):
    """The record of these networks, in `folder`."""
    start_record(folder, about)
    for name, arm in arms.items():
        write_group(folder, name, arm, list(about["arms"][name]["settings"]))
    return read_record(folder)


def write_group(
    folder: pathlib.Path, name: str, arm: Arm, settings: list[str]
) -> pathlib.Path:
    """One file with all networks of an arm, whose variables are their numbers."""
    num_lanes = len(arm.networks)
    seconds = list(arm.epoch_seconds) or [float(arm.networks["seconds"].iloc[0])]
    group = Group(
        about={
            "id": arm_id(name),
            "identity": {"arm": name},
            "environment": ENVIRONMENT,
            "mapping": "map",
            "num_devices": 2,
            "compile_seconds": arm.compile_seconds,
            "epoch_seconds": seconds,
        },
        seeds=arm.networks["seed"].to_numpy(),
        settings={x: arm.networks[x].to_numpy(np.float32) for x in settings},
        diverged_at_step=arm.networks["diverged_at_step"].to_numpy(),
        curves={x: arm.epochs[x].to_numpy().reshape(num_lanes, -1) for x in CURVES},
        probes=dict(arm.probes),
    )
    return groups.write(folder, group, {"params/lane/number": np.arange(num_lanes)})


def rewritten(record: Record, networks: pd.DataFrame, epochs: pd.DataFrame) -> Record:
    """The record with other numbers, in the place of those that its folder has."""
    for path in (record.workdir / groups.FOLDER).glob("*.npz"):
        path.unlink()
    arms = {
        name: Arm(
            networks[networks["arm"] == name],
            epochs[epochs["arm"] == name],
            epoch_seconds=record.record["arms"][name]["epoch_seconds"],
        )
        for name in record.record["arm_order"]
    }
    for name, arm in arms.items():
        settings = list(record.record["arms"][name]["settings"])
        write_group(record.workdir, name, arm, settings)
    return read_record(record.workdir)


def _grid(networks: pd.DataFrame, settings: list[str]) -> dict[str, list[float]]:
    """The rows of the grid of settings, without those that are nan."""
    own = [x for x in settings if x in networks and networks[x].notna().all()]
    return networks[own].drop_duplicates().to_dict("list") if own else {}
