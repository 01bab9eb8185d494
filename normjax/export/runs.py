"""What other tools show of a record: runs, with a name, a configuration and metrics.

    networks    a run for each network
    arms        a run for each arm at each of its settings: means over its seeds

A metric has one number for each epoch, at the optimizer step at which that epoch ended.
Its name is the same in every tool:

    epoch                          from 1
    train/loss, test/accuracy, ... the curves, see `study.columns.CURVES`
    probes/<probe>                 the probes; probes/<probe>/<layer> those of a layer
    seconds, diverged_at_step      one number, at the last step

and of an arm `test/accuracy/mean`, `/low` and `/high`, its interval over the seeds.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from normjax import files, looks, statistics
from normjax.study.columns import CURVES
from normjax.study.groups import Lane, lane, wanted_lanes
from normjax.study.record import Record, present_arms

KINDS = ("networks", "arms")


class Run(NamedTuple):
    """One run, as every tool takes it."""

    id: str  # 16 hexadecimal digits: the same network has the same id
    name: str  # `adam, l2, learning_rate=0.1, seed=3`
    group: str  # the readable name of the arm
    folders: tuple[str, ...]  # what the name consists of, each fit for a path
    config: dict[str, str | int | float]  # arm, factors, settings, seed
    steps: np.ndarray  # [epochs], of the optimizer
    metrics: dict[str, np.ndarray]  # name -> [epochs]
    summary: dict[str, float]  # name -> one number
    seconds: float  # of training

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that change with anything that a tool shows of it."""
        numbers = files.arrays_digest([self.steps, *self.metrics.values()])
        about = {
            "name": self.name,
            "group": self.group,
            "config": {k: str(x) for k, x in self.config.items()},
            "metrics": [list(self.metrics), numbers],
            "summary": {k: str(x) for k, x in self.summary.items()},
        }
        return files.text_digest(about)

    def rows(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Each epoch's step and numbers, those of the summary in the last one."""
        for i, step in enumerate(self.steps.tolist()):
            row = {name: float(x[i]) for name, x in self.metrics.items()}
            yield step, row | (self.summary if i == len(self.steps) - 1 else {})

    def times(self) -> np.ndarray:
        """Seconds of training at the end of each epoch, `[epochs]`, from 0.

        A record does not know the time of day, and it knows how long a network took.
        """
        parts = np.arange(1, len(self.steps) + 1) / max(len(self.steps), 1)
        return self.seconds * parts


def runs(
    record: Record, labels: Mapping[str, str], kind: str = "networks"
) -> list[Run]:
    """The runs of a record, in the order of its networks.

    Args:
        record: what was trained; what is missing has no run.
        labels: arm -> its readable name.
        kind: a row of `KINDS`.
    """
    of_arm = networks_of_arm if kind == "networks" else cells_of_arm
    return [
        run
        for arm in present_arms(record.record)
        for run in of_arm(record, arm, labels[arm])
    ]


def networks_of_arm(record: Record, arm: str, label: str) -> list[Run]:
    """A run for each network of an arm."""
    number, measured = len(record.record["seeds"]), series(record, arm)
    found = []
    for place, (key, row) in present_lanes(record, arm).items():
        at = divmod(place, number)
        metrics = {k: x[at] for k, x in measured.items() if keeps(k, x[at])}
        summary = {x: float(row[x]) for x in ("seconds", "diverged_at_step")}
        about = run(record, arm, label, key, {"seed": key[1]}, metrics)
        found.append(about._replace(summary=summary, seconds=summary["seconds"]))
    return found


def cells_of_arm(record: Record, arm: str, label: str) -> list[Run]:
    """A run for each setting of an arm: means over the seeds, with intervals."""
    number, measured = len(record.record["seeds"]), series(record, arm)
    level = looks.level_of(record.record, record.networks["seed"])
    by_setting: dict[int, list[tuple[Lane, Any]]] = {}
    for place, lane_and_row in present_lanes(record, arm).items():
        by_setting.setdefault(place // number, []).append(lane_and_row)
    found = []
    for setting, lanes in by_setting.items():
        cell = {k: x[setting] for k, x in measured.items() if keeps(k, x[setting])}
        metrics = {"epoch": cell.pop("epoch")[0]}
        for name, values in cell.items():
            interval = statistics.mean_interval(values, level)
            bounds = zip(("mean", "low", "high"), interval)
            metrics |= {f"{name}/{bound}": x for bound, x in bounds}
        rows = [row for _, row in lanes]
        lost = sum(row["diverged_at_step"] >= 0 for row in rows)
        summary = {"num_seeds": float(len(rows)), "num_diverged": float(lost)}
        seconds = float(np.mean([row["seconds"] for row in rows]))
        about = run(record, arm, label, lanes[0][0], {}, metrics)
        found.append(about._replace(summary=summary, seconds=seconds))
    return found


def run(
    record: Record,
    arm: str,
    label: str,
    key: Lane,
    seed: dict[str, int],
    metrics: dict[str, np.ndarray],
) -> Run:
    """What the runs of networks and those of cells have in common.

    The id does not hold the name of the arm, which changes when a study gets another
    factor; of arms that are known by the same id, it holds which one this is.
    """
    entries = record.record["arms"]
    entry, settings = entries[arm], dict(key[0])
    same = [x for x in record.record["arm_order"] if entries[x]["id"] == entry["id"]]
    known_by = {"arm": entry["id"], "of": same.index(arm), "settings": settings} | seed
    varying = [x for x in settings if len(set(entry["settings"][x])) > 1]
    parts = [f"{name}={settings[name]:.7g}" for name in varying]
    parts += [f"seed={x}" for x in seed.values()]
    config = {"arm": arm, **entry["factors"], **settings, **seed}
    return Run(
        id=files.text_digest(known_by)[:16],
        name=", ".join((label, *parts)),
        group=label,
        folders=(file_name(label), *parts),
        config=config | {"num_parameters": entry["num_parameters"]},
        steps=np.asarray(metrics["epoch"], np.int64) * entry["steps_per_epoch"],
        metrics=metrics,
        summary={},
        seconds=0.0,
    )


def present_lanes(record: Record, arm: str) -> dict[int, tuple[Lane, Any]]:
    """Position in `[settings, seeds]` -> a network that is there, and its row."""
    entry = record.record["arms"][arm]
    places = {
        key: i for i, key in enumerate(wanted_lanes(entry, record.record["seeds"]))
    }
    rows = record.networks[record.networks["arm"] == arm].to_dict("records")
    keys = [lane({x: row[x] for x in entry["settings"]}, row["seed"]) for row in rows]
    return {places[key]: (key, row) for key, row in zip(keys, rows)}


def series(record: Record, arm: str) -> dict[str, np.ndarray]:
    """Name of a metric -> its numbers, `[settings, seeds, epochs]`."""
    found = {metric_name(x): record.curves[f"{arm}/{x}"] for x in CURVES}
    shape = next(iter(found.values())).shape
    found = {"epoch": np.broadcast_to(np.arange(1.0, shape[-1] + 1), shape)} | found
    for name, values in record.probes.items():
        of_arm, _, probe = name.rpartition("/")
        if of_arm == arm:
            found[f"probes/{probe.replace('.', '/')}"] = files.shortest(values)
    return found


def metric_name(curve: str) -> str:
    """`test/accuracy` for `test_accuracy`: tools make a section of what precedes /."""
    return curve.replace("_", "/")


def keeps(name: str, values: np.ndarray) -> bool:
    """Whether a metric is shown: a probe that measures nothing in an arm is not."""
    return not name.startswith("probes/") or not np.isnan(values).all()


def file_name(label: str) -> str:
    """A readable name as that of a file or a folder."""
    kept = "".join("_" if x in '/\\:*?"<>|' or ord(x) < 32 else x for x in label)
    return kept.strip(" .") or "_"
