"""From a Study to a record: the only loop over arms."""

import atexit
import contextlib
import dataclasses
import pathlib
import shutil
import sys
import tempfile
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict
from tqdm import tqdm

from normjax import files
from normjax.errors import InputError
from normjax.study import plan
from normjax.study.columns import CURVES, FINAL
from normjax.study.environment import environment, timed
from normjax.study.plan import Arm, Study
from normjax.study.record import Record, add_arm, read_record, start_record
from normjax.training import devices, lanes, probes
from normjax.types import EpochMetrics, Settings, TrainState

PROGRESS = (
    "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} epochs"
    " [{elapsed}<{remaining}{postfix}]"
)


def run(
    config: ConfigDict | Mapping[str, Any],
    workdir: str | pathlib.Path | None = None,
    model: Any = None,
    data: Any = None,
) -> Record:
    """Trains every arm of a config that the record in `workdir` does not hold yet.

    Shows a progress bar in a terminal and is silent elsewhere. On a CPU it makes one
    device per core, unless jax has started already. `config` is of `normjax.config`, or
    a record's `.config`. Without `workdir` the folder is a temporary one, `.workdir` of
    what is returned, which is removed when Python ends. `model` and `data` are not
    supported yet: a config names its model, `model.name`, and its data, `data.name`,
    which may be the path of an .npz file.

    Raises:
        InputError: for a mistake in the config, or a folder that cannot be written
            or holds another study.
    """
    for field, value in (("model", model), ("data", data)):
        if value is not None:
            rule, remedy = "must be None in this version", f"name it by {field}.name"
            raise InputError(field, ..., rule, remedy)
    with contextlib.suppress(RuntimeError):  # jax has started: it stays as it is
        devices.configure()
    study = plan.study(config)
    for notice in study.notices:
        warnings.warn(notice, stacklevel=2)
    if workdir is None:
        workdir = tempfile.mkdtemp(prefix="normjax-")
        atexit.register(shutil.rmtree, workdir, ignore_errors=True)
    complete(study, workdir, quiet=True)
    return read_record(workdir)


def complete(study: Study, workdir: str | pathlib.Path, *, quiet: bool = False) -> None:
    """Trains the arms that the record in `workdir` does not hold yet.

    An arm is written when it is finished; Ctrl-C loses only the arm in work. With
    `quiet` nothing is printed, and the bar is shown in a terminal only. The errors are
    those of `start_record`.
    """
    about = describe(study)
    finished = start_record(workdir, study.config, data=about["data_crc32"])
    missing = [arm for arm in study.arms if arm.name not in finished]
    lines = headline(study, about["environment"])
    if not missing:
        lines += [f"complete: {workdir} holds all {len(study.arms)} arms"]
    elif finished:
        lines += [f"resuming: {len(finished)} of {len(study.arms)} arms are finished"]
    if not quiet:
        print("\n".join(lines), flush=True)
    hidden = None if quiet else False  # None: hidden where there is no terminal
    total = len(missing) * study.num_epochs
    study = dataclasses.replace(study, data=devices.place(study.data))
    with tqdm(total=total, bar_format=PROGRESS, file=sys.stderr, disable=hidden) as bar:
        for arm in missing:
            bar.set_description_str(arm.name)
            save(workdir, study, arm, about, train_arm(study, arm, bar))


class Trained(NamedTuple):
    """An arm after its last epoch, in the host's memory."""

    final: TrainState  # leaves [lanes, ...]
    reports: EpochMetrics  # leaves [lanes, epochs]
    seconds: list[float]  # of each epoch, without compiling
    compile_seconds: float


def train_arm(study: Study, arm: Arm, bar: tqdm) -> Trained:
    """Trains all lanes of an arm at a time."""
    grid: Settings = {**arm.settings}
    keys, settings = lanes.grid(study.keys, grid)
    epochs = lanes.train(
        keys, settings, study.data, program=arm.program, num_epochs=study.num_epochs
    )
    reports, seconds, compile_seconds = [], [], 0.0
    for state, report, spent, compiling in timed(epochs):  # noqa: B007
        reports.append(report)
        seconds.append(spent)
        compile_seconds += compiling
        rate = len(keys) / study.num_epochs / spent
        bar.set_postfix_str(f"{rate:.2f} networks/s", refresh=False)
        bar.update()
    # the padding of the last device is left out
    final = jax.tree.map(lambda x: np.asarray(x)[: len(keys)], state)
    stacked = jax.tree.map(lambda *x: np.stack(x, axis=-1), *reports)
    return Trained(final, stacked, seconds, compile_seconds)


def save(
    workdir: str | pathlib.Path, study: Study, arm: Arm, about: dict, done: Trained
) -> None:
    """Adds a finished arm to the record: its networks first, its rows after them.

    Arrays get the shape `[settings, seeds, ...]`.
    """
    num_lanes = len(done.reports.train.loss)
    by_lane = lambda x: np.reshape(x, (-1, len(study.seeds), *x.shape[1:]))
    tree: Any = {"params": done.final.params, **done.final.stats}
    variables = flatten_dict(jax.tree.map(by_lane, tree), sep="/")
    folder = files.folder(pathlib.Path(workdir) / "checkpoints")
    files.write_arrays(folder / f"{arm.name}.npz", variables)
    networks, epochs = networks_and_epochs(study, arm, done)
    add_arm(
        workdir,
        arm=arm.name,
        networks=networks,
        epochs=epochs,
        probes={
            f"{arm.name}/{name}": by_lane(values)
            for name, values in done.reports.probes.items()
        },
        record=about,
        entry={
            "status": "complete",
            "factors": arm.factors,
            "lanes": num_lanes,
            "num_parameters": arm.num_parameters,
            "mapping": arm.program.mapping,
            "environment": about["environment"],  # of this arm: a study may be resumed
            "checkpoint": True,
            "compile_seconds": round(done.compile_seconds, 3),
            "run_seconds": round(sum(done.seconds), 3),
            "epoch_seconds": [round(s / num_lanes, 6) for s in done.seconds],
        },
    )


def networks_and_epochs(
    study: Study, arm: Arm, done: Trained
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of `networks.csv` and of `epochs.csv`, in the order [settings, seeds]."""
    num_lanes, num_epochs = done.reports.train.loss.shape
    num_seeds = len(study.seeds)
    lanes = pd.DataFrame(
        {
            "arm": arm.name,
            **arm.factors,
            "seed": np.tile(study.seeds, num_lanes // num_seeds),
            **{k: np.repeat(grid, num_seeds) for k, grid in arm.settings.items()},
        }
    )
    curves = {
        f"{split}_{measure}": getattr(getattr(done.reports, split), measure)
        for split in ("train", "validation", "test")
        for measure in ("loss", "accuracy")
    }
    networks = lanes.assign(
        **{name: curves[name][:, -1] for name in FINAL if name in curves},
        diverged_at_step=done.final.diverged_at_step,
        seconds=sum(done.seconds) / num_lanes,
    )
    numbers = np.tile(np.arange(1, num_epochs + 1), num_lanes)
    epochs = lanes.loc[lanes.index.repeat(num_epochs)].reset_index(drop=True)
    return networks, epochs.assign(
        epoch=numbers,
        step=numbers * arm.program.steps_per_epoch,
        **{name: curves[name].ravel() for name in CURVES},
    )


def headline(study: Study, where: Mapping[str, Any]) -> list[str]:
    """What runs where: printed before anything is compiled."""
    settings = [len(next(iter(arm.settings.values()))) for arm in study.arms]
    each = [number * len(study.seeds) for number in settings]
    steps = [arm.program.steps_per_epoch for arm in study.arms]
    sizes = [arm.num_parameters for arm in study.arms]
    versions = ", ".join(f"{k} {v}" for k, v in where["versions"].items())
    return [
        f"device: {where['num_devices']} x {where['device']} ({versions})",
        f"study: {study.name}: {len(study.arms)} arms x {_range(each)} lanes"
        f" = {sum(each)} networks, {study.num_epochs} epochs of {_range(steps)} steps",
        f"parameters per network: {_range(sizes)}",
        *(f"notice: {notice}" for notice in study.notices),
    ]


def _range(numbers: list[int]) -> str:
    """`2`, or `2 to 8`."""
    return " to ".join(f"{n:,}" for n in sorted({min(numbers), max(numbers)}))


def describe(study: Study) -> dict[str, Any]:
    """The part of record.json that is known before training."""
    measured = study.arms[0].program.probes
    return {
        "study": study.name,
        "question": study.question,
        "factors": list(study.arms[0].factors),
        "settings": sorted(set().union(*(arm.settings for arm in study.arms))),
        "baseline": study.baseline,
        "target_accuracy": study.target_accuracy,
        # name -> conditions of what it measures
        "probes": {name: probes.PROBES[name].conditions for name in measured},
        "seeds": list(study.seeds),
        "num_seeds": len(study.seeds),
        "num_examples": {
            name: len(getattr(study.data, name).labels)
            for name in ("train", "validation", "test")
        },
        "data_crc32": files.checksum(jax.tree.leaves(study.data)),
        "arm_order": [arm.name for arm in study.arms],
        "num_parameters": {arm.name: arm.num_parameters for arm in study.arms},
        "convolutions": {arm.name: arm.convolutions for arm in study.arms},
        "environment": environment(),
    }
