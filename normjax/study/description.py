"""What a study wants, as plain data and as the lines printed before it runs."""

from collections.abc import Mapping
from typing import Any

from normjax.files import shortest
from normjax.numerals import plural
from normjax.study.environment import environment
from normjax.study.plan import Study
from normjax.training import lane, probes


def describe(study: Study) -> dict[str, Any]:
    """The content of `record.json`."""
    measured = study.arms[0].program.probes
    return {
        "study": study.name,
        "question": study.question,
        "config": study.config,
        "factors": list(study.arms[0].factors),
        "settings": sorted(set().union(*(arm.settings for arm in study.arms))),
        "baseline": study.baseline,
        "target_accuracy": study.target_accuracy,
        # name -> conditions of what it measures
        "probes": {name: probes.PROBES[name].conditions for name in measured},
        "seeds": list(study.seeds),
        "num_examples": {
            "train": lane.num_train(study.arms[0].program, study.data),
            "validation": len(study.data.validation.labels),
            "test": len(study.data.test.labels),
        },
        "arm_order": [arm.name for arm in study.arms],
        "arms": {
            arm.name: {
                "id": arm.id,
                "factors": arm.factors,
                "settings": {k: shortest(x) for k, x in arm.settings.items()},
                "num_parameters": arm.num_parameters,
                "convolutions": arm.convolutions,
                "steps_per_epoch": arm.program.steps_per_epoch,
            }
            for arm in study.arms
        },
        "environment": environment(),
    } | ({"tuning": study.tuning} if study.tuning else {})


def headline(study: Study, where: Mapping[str, Any]) -> list[str]:
    """What runs where: printed before anything is compiled."""
    settings = [len(next(iter(arm.settings.values()))) for arm in study.arms]
    number = sum(settings) * len(study.seeds)
    grid = "" if settings == [1] * len(settings) else f" x {_range(settings)} settings"
    steps = [arm.program.steps_per_epoch for arm in study.arms]
    sizes = [arm.num_parameters for arm in study.arms]
    versions = ", ".join(f"{k} {v}" for k, v in where["versions"].items())
    return [
        f"device: {where['num_devices']} x {where['device']}",
        f"versions: {versions}",
        f"study: {study.name}: {plural(len(study.arms), 'arm')}{grid} x"
        f" {plural(len(study.seeds), 'seed')} = {plural(number, 'network')},"
        f" {plural(study.num_epochs, 'epoch')}"
        f" of {_range(steps)} steps",
        f"parameters per network: {_range(sizes)}",
        *(f"notice: {notice}" for notice in study.notices),
    ]


def _range(numbers: list[int]) -> str:
    """`2`, or `2 to 8`."""
    return " to ".join(f"{n:,}" for n in sorted({min(numbers), max(numbers)}))
