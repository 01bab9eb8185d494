"""Training one group of lanes, from where it was left to its file in the record."""

import pathlib
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from normjax.study import checkpoints, groups
from normjax.study.checkpoints import Checkpoint
from normjax.study.display import Display
from normjax.study.environment import environment, timed
from normjax.study.groups import Group
from normjax.study.interrupts import Interrupts
from normjax.study.plan import Arm, Study
from normjax.study.work import Work
from normjax.training import devices, lanes
from normjax.types import EpochMetrics, Settings, TrainState

EPOCH = "epoch_lanes"  # in `lanes`: of the programs of an arm the last to compile
SHARE = 0.03  # of the time, at most, goes into checkpoints


class Stopped(Exception):
    """Training ended early and in order, for a signal asked it to."""


class Progress(NamedTuple):
    """What a group has reported so far."""

    reports: list[dict[str, np.ndarray]]  # of each epoch, see `by_name`
    seconds: list[float]  # of each epoch, without compiling
    compile_seconds: float


def train_group(
    study: Study,
    work: Work,
    workdir: str | pathlib.Path,
    display: Display,
    interrupts: Interrupts | None,
) -> None:
    """Trains the lanes of a group from where they were left, and writes it.

    Raises:
        Stopped: after a checkpoint, if `interrupts` asked for it.
    """
    display.begin(work)
    keys, settings = lane_inputs(study, work)
    done, leaves = resumed(work.checkpoint)
    epochs = lanes.train(
        keys,
        settings,
        study.data,
        program=work.arm.program,
        num_epochs=study.num_epochs,
        first_epoch=len(done.reports),
        leaves=leaves,
    )
    saved, period = time.monotonic(), study.config["checkpoint_seconds"]
    compiled = lambda name: display.train() if EPOCH in name else None  # the last one
    for state, report, spent, compiling in timed(epochs, compiled):
        done.reports.append(by_name(report))
        done.seconds.append(spent)
        done = done._replace(compile_seconds=done.compile_seconds + compiling)
        display.end_epoch(len(done.reports), done.reports[-1], spent, compiling)
        if len(done.reports) == study.num_epochs:
            break
        asked = interrupts is not None and interrupts.code
        if asked or time.monotonic() - saved >= period:
            start = time.monotonic()
            keep(workdir, work, state, done)
            saved = time.monotonic()
            period = max(period, (saved - start) / SHARE)
        if asked:
            raise Stopped
    write_group(workdir, work, state, done)
    checkpoints.remove(workdir, work.arm.id, work.lanes)


def lane_inputs(study: Study, work: Work) -> tuple[jax.Array, Settings]:
    """The key and the settings of each lane."""
    places = [study.seeds.index(seed) for _, seed in work.lanes]
    return lanes.keys_at(study.keys, np.array(places)), {**settings_of(work)}


def settings_of(work: Work) -> dict[str, np.ndarray]:
    """The settings of the lanes of a group, leaves `[lanes]`."""
    given = [dict(settings) for settings, _ in work.lanes]
    names = work.arm.settings
    return {name: np.array([x[name] for x in given], np.float32) for name in names}


def by_name(report: EpochMetrics) -> dict[str, np.ndarray]:
    """What the lanes report, `curves/test_loss` and `probes/<name>`, `[lanes, ...]`."""
    curves = {
        f"curves/{split}_{measure}": getattr(getattr(report, split), measure)
        for split in ("train", "validation", "test")
        for measure in ("loss", "accuracy")
    }
    return curves | {f"probes/{name}": x for name, x in report.probes.items()}


def write_group(
    workdir: str | pathlib.Path, work: Work, state: TrainState, done: Progress
) -> None:
    """Writes a finished group, with the variables of its networks."""
    arm, num_lanes = work.arm, len(work.lanes)
    final = jax.tree.map(lambda x: np.asarray(x)[:num_lanes], state)
    reports = {k: np.stack([x[k] for x in done.reports], 1) for k in done.reports[0]}
    of_kind = lambda kind: {
        k.removeprefix(kind): x for k, x in reports.items() if k.startswith(kind)
    }
    group = Group(
        about={
            "id": arm.id,
            "identity": arm.identity,
            "environment": environment(),
            **way_of(arm),
            "num_devices": devices.mesh_of(arm.program, num_lanes).size,
            "lanes": num_lanes,
            "compile_seconds": round(done.compile_seconds, 3),
            "epoch_seconds": [round(s / num_lanes, 6) for s in done.seconds],
        },
        seeds=np.array([seed for _, seed in work.lanes]),
        settings=settings_of(work),
        diverged_at_step=final.diverged_at_step,
        curves=of_kind("curves/"),
        probes=of_kind("probes/"),
    )
    tree: Any = {"params": final.params, **final.stats}
    groups.write(workdir, group, flatten_dict(tree, sep="/"))


def way_of(arm: Arm) -> dict[str, Any]:
    """How the lanes of an arm are computed, and what was measured to choose it."""
    about: dict[str, Any] = {"mapping": arm.program.mapping}
    if arm.convolution:
        about["convolution"] = arm.convolution
    if arm.step_seconds:
        about["step_seconds"] = dict(arm.step_seconds)
    return about


def keep(
    workdir: str | pathlib.Path, work: Work, state: TrainState, done: Progress
) -> None:
    """Writes a checkpoint: the leaves of the state, and the reports so far."""
    num_lanes = len(work.lanes)
    leaves = [np.asarray(x)[:num_lanes] for x in jax.tree.leaves(state)]
    checkpoints.save(
        workdir,
        work.arm.id,
        work.lanes,
        epoch=len(done.reports),
        arrays={f"state/{i:05}": x for i, x in enumerate(leaves)}
        | {k: np.stack([x[k] for x in done.reports]) for k in done.reports[0]},
        about={"seconds": done.seconds, "compile_seconds": done.compile_seconds}
        | {"environment": environment()}
        | way_of(work.arm),
    )


def resumed(checkpoint: Checkpoint | None) -> tuple[Progress, list[np.ndarray] | None]:
    """What a group had reported, and the leaves of its state, if it was begun."""
    if checkpoint is None:
        return Progress([], [], 0.0), None
    about, arrays = checkpoint
    leaves = [x for name, x in sorted(arrays.items()) if name.startswith("state/")]
    curves = {k: x for k, x in arrays.items() if not k.startswith("state/")}
    reports = [{k: x[i] for k, x in curves.items()} for i in range(about["epoch"])]
    return Progress(reports, about["seconds"], about["compile_seconds"]), leaves
