"""From a Study to a record: the only loop over arms."""

import importlib.metadata
import pathlib
import platform
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np
import pandas as pd
from flax.traverse_util import flatten_dict
from tqdm import tqdm

import normjax
from normjax import files
from normjax.study import plan
from normjax.study.plan import Arm, Study
from normjax.study.record import add_arm, start_record
from normjax.training import lanes, probes
from normjax.training.devices import mesh_for, place
from normjax.types import Report, TrainState

PROGRESS = (
    "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} epochs"
    " [{elapsed}<{remaining}{postfix}]"
)
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def run(study: Study, workdir: str) -> None:
    """Trains the arms that the record in `workdir` does not hold yet.

    An arm is written when it is finished; Ctrl-C loses only the arm in work.

    Raises:
        InputError: the folder cannot be written or holds another study.
    """
    head = headline(study)
    checksum = data_checksum(study)
    finished = start_record(workdir, study.config.to_dict(), data=checksum)
    missing = [arm for arm in study.arms if arm.name not in finished]
    print("\n".join(head), flush=True)
    if not missing:
        print(f"complete: {workdir} holds all {len(study.arms)} arms")
        return
    if finished:
        print(f"resuming: {len(finished)} of {len(study.arms)} arms are finished")
    try:
        train_arms(study, missing, workdir)
    except KeyboardInterrupt:
        kept = len(start_record(workdir, study.config.to_dict()))
        raise KeyboardInterrupt(
            f"{kept} of {len(study.arms)} arms are finished and kept"
        ) from None


def train_arms(study: Study, arms: list[Arm], workdir: str) -> None:
    """Trains arm after arm, all lanes of one at a time; each is saved at its end."""
    about = describe(study)
    root = plan.root_keys(study.config).seeds
    seeds = np.array(study.seeds, np.uint32)
    keys = jax.vmap(lambda seed: jax.random.fold_in(root, seed))(seeds)
    num_epochs = study.config.num_epochs
    total = len(arms) * num_epochs
    meshes = [mesh_for(num_lanes(study, arm)) for arm in arms]
    data = place(study.data, max(meshes, key=lambda mesh: mesh.size))
    with tqdm(total=total, bar_format=PROGRESS, file=sys.stderr) as bar:
        networks = 0.0
        for arm in arms:
            bar.set_description_str(arm.name)
            lane_keys, settings = lanes.grid(keys, arm.settings)
            program = {"program": arm.program, "num_epochs": num_epochs}
            epochs = lanes.train(lane_keys, settings, data, **program)
            reports, seconds, compiling = [], [], 0.0
            for state, report, spent, compiled in timed(epochs):  # noqa: B007
                reports.append(report)
                seconds.append(spent)
                compiling += compiled
                networks += len(lane_keys) / num_epochs
                rate = networks / max(bar.format_dict["elapsed"], 1e-9)
                bar.set_postfix_str(f"{rate:.2f} networks/s", refresh=False)
                bar.update()
            final = jax.tree.map(np.asarray, state)
            save(workdir, study, arm, about, reports, final, seconds, compiling)


def timed(epochs: Iterator) -> Iterator[tuple]:
    """Each `(state, report)` with the seconds it took to run, and those to compile."""
    with compile_clock() as compiled:
        start, before = time.perf_counter(), 0.0
        for state, report in epochs:
            spent, compiling = time.perf_counter() - start, compiled[0] - before
            yield state, report, spent - compiling, compiling
            start, before = time.perf_counter(), compiled[0]


@contextmanager
def compile_clock() -> Iterator[list[float]]:
    """Seconds that jax spends tracing, lowering and compiling, as it reports them."""
    total = [0.0]

    def listen(event: str, seconds: float, **_) -> None:
        if event.startswith("/jax/core/compile/"):
            total[0] += seconds

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield total
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def save(
    workdir: str,
    study: Study,
    arm: Arm,
    about: dict,
    reports: list[Report],
    final: TrainState,
    seconds: list[float],
    compile_seconds: float,
) -> None:
    """Adds a finished arm to the record."""
    stacked = jax.tree.map(lambda *x: np.stack(x, axis=-1), *reports)  # [lanes, epochs]
    num_lanes, num_epochs = stacked.train.loss.shape
    final = jax.tree.map(lambda x: x[:num_lanes], final)  # without the padding
    lanes = lane_columns(study, arm)
    split_metrics = {
        f"{split}_{metric}": getattr(getattr(stacked, split), metric)
        for split in ("train", "validation", "test")
        for metric in ("loss", "accuracy")
    }
    networks = lanes.assign(
        **{
            name: split_metrics[name][:, -1]
            for name in split_metrics
            if name != "validation_loss"
        },
        diverged_at_step=final.diverged_at_step,
        seconds=sum(seconds) / num_lanes,
    )
    epochs = lanes.loc[lanes.index.repeat(num_epochs)].reset_index(drop=True)
    numbers = np.tile(np.arange(1, num_epochs + 1), num_lanes)
    epochs = epochs.assign(
        epoch=numbers,
        step=numbers * arm.program.steps_per_epoch,
        **{name: values.ravel() for name, values in split_metrics.items()},
    )
    save_networks(workdir, study, arm, final)
    shape = (-1, len(study.seeds), num_epochs)
    add_arm(
        workdir,
        networks=networks,
        epochs=epochs,
        probes={
            f"{arm.name}/{name}": values.reshape(shape)
            for name, values in stacked.probes.items()
        },
        record=about,
        arm=arm.name,
        entry={
            "status": "complete",
            "factors": arm.factors,
            "lanes": num_lanes,
            "num_parameters": arm.num_parameters,
            "mapping": arm.program.mapping,
            "environment": about["environment"],  # of this arm: a study may be resumed
            "checkpoint": True,
            "compile_seconds": round(compile_seconds, 3),
            "run_seconds": round(sum(seconds), 3),
            "epoch_seconds": [round(s / num_lanes, 6) for s in seconds],
        },
    )


def save_networks(workdir: str, study: Study, arm: Arm, final: TrainState) -> None:
    """Parameters and statistics of all lanes: `checkpoints/<arm>.npz`.

    Arrays `[settings, seeds, ...]` by path, `params/dense_0/kernel`: what
    `flax.traverse_util.unflatten_dict(..., sep="/")` turns into variables again.
    """
    folder = files.folder(pathlib.Path(workdir) / "checkpoints")
    variables = flatten_dict({"params": final.params, **final.stats}, sep="/")
    arrays = {
        name: x.reshape(-1, len(study.seeds), *x.shape[1:])
        for name, x in variables.items()
    }
    files.write_arrays(folder / f"{arm.name}.npz", arrays)


def lane_columns(study: Study, arm: Arm) -> pd.DataFrame:
    """arm, factors, seed, settings: a row per lane, ordered `[settings, seeds]`."""
    num_settings = len(next(iter(arm.settings.values())))
    num_seeds = len(study.seeds)
    return pd.DataFrame(
        {
            "arm": arm.name,
            **arm.factors,
            "seed": np.tile(study.seeds, num_settings),
            **{
                # the shortest decimal of the float32, so 0.1 reads 0.1
                name: [float(str(v)) for v in np.repeat(values, num_seeds)]
                for name, values in arm.settings.items()
            },
        }
    )


def headline(study: Study) -> list[str]:
    """What runs where: printed before anything is compiled."""
    where = environment()
    lanes = sum(num_lanes(study, arm) for arm in study.arms)
    each = sorted({num_lanes(study, arm) for arm in study.arms})
    sizes = sorted({arm.num_parameters for arm in study.arms})
    steps = sorted({arm.program.steps_per_epoch for arm in study.arms})
    versions = ", ".join(f"{k} {v}" for k, v in where["versions"].items())
    return [
        f"device: {where['num_devices']} x {where['device']} ({versions})",
        f"study: {study.config.study}: {len(study.arms)} arms x"
        f" {' to '.join(str(n) for n in each)} lanes = {lanes} networks,"
        f" {study.config.num_epochs} epochs of"
        f" {' to '.join(str(n) for n in steps[:: len(steps) - 1 or 1])} steps",
        "parameters per network: "
        + " to ".join(f"{n:,}" for n in sizes[:: len(sizes) - 1 or 1]),
    ]


def num_lanes(study: Study, arm: Arm) -> int:
    """Networks of an arm: settings times seeds."""
    return len(next(iter(arm.settings.values()))) * len(study.seeds)


def describe(study: Study) -> dict:
    """The part of record.json that is known before training."""
    return {
        "study": study.config.study,
        "question": study.config.question,
        "factors": list(study.arms[0].factors),
        "settings": sorted(set().union(*(arm.settings for arm in study.arms))),
        "baseline": study.config.baseline.to_dict(),
        "target_accuracy": study.config.target_accuracy,
        "probes": {  # name -> conditions of what it measures
            name: probes.PROBES[name].conditions
            for name in study.arms[0].program.probes
        },
        "seeds": list(study.seeds),
        "num_seeds": len(study.seeds),
        "num_examples": {
            name: len(getattr(study.data, name).labels)
            for name in ("train", "validation", "test")
        },
        "data_crc32": data_checksum(study),
        "arm_order": [arm.name for arm in study.arms],
        "num_parameters": {arm.name: arm.num_parameters for arm in study.arms},
        "convolutions": {arm.name: arm.convolutions for arm in study.arms},
        "environment": environment(),
    }


def data_checksum(study: Study) -> int:
    """CRC-32 of all inputs and labels, so that a study goes on with the same data."""
    total = 0
    for array in jax.tree.leaves(study.data):
        total = zlib.crc32(np.ascontiguousarray(array), total)
    return total


def environment() -> dict:
    """What is needed to repeat a run, and to judge its timings."""
    devices = jax.devices()
    on_cpu = devices[0].platform == "cpu"
    version = importlib.metadata.version
    return {
        "device": processor() if on_cpu else devices[0].device_kind,
        "platform": devices[0].platform,
        "num_devices": len(devices),
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "prng": jax.config.jax_default_prng_impl,
        "commit": commit(),
        "command": " ".join(["python", *sys.argv]),
    }


def processor() -> str:
    """The CPU's own name where the system tells it, as Linux does, or `cpu`."""
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return f"cpu, {names[0]}" if names else "cpu"


def commit() -> str:
    """The commit of the checkout that runs, `-dirty` if changed, or `unknown`."""
    folder = pathlib.Path(normjax.__file__).parent

    def git(*words: str) -> str:
        ran = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=True
        )
        return ran.stdout.strip()

    try:
        inside = pathlib.Path(git("rev-parse", "--show-toplevel")) == folder.parent
        return (
            git("describe", "--always", "--dirty", "--abbrev=12")
            if inside
            else "unknown"
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
