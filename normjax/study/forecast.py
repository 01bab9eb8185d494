"""What a run would do and about how long it takes, without training any network."""

import math
import sys
import time
from collections.abc import Sequence

import jax
import numpy as np

from normjax.study import memory
from normjax.study.display import duration
from normjax.study.plan import Arm, Study
from normjax.study.train import settings_of
from normjax.study.work import Work, epochs_left
from normjax.training import lanes
from normjax.training.mappings import bundle_size, lanes_at_once

STEPS = 2, 12  # at most, of the two short epochs whose difference times a step


def table(study: Study, work: Sequence[Work]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: what is missing of each arm, its memory and its seconds.

    Compiles two short programs for each arm, which it tells on the standard error, and
    measures an epoch of each on lanes that are thrown away.
    """
    header = ["arm", "parameters", "lanes", "groups", "memory", "compile", "run"]
    rows = []
    totals = np.zeros(2)  # seconds to compile, and to run
    mine_by_arm = {
        arm.name: [each for each in work if each.arm.name == arm.name]
        for arm in study.arms
    }
    wanted = [arm for arm in study.arms if mine_by_arm[arm.name]]
    for number, arm in enumerate(wanted, 1):
        mine = mine_by_arm[arm.name]
        told = f"compiling {arm.name}, {number} of {len(wanted)}"
        print(told, file=sys.stderr, flush=True)
        compiling, seconds = measured_seconds(study, arm, mine)
        totals += compiling, seconds
        needs = memory.lane_needs(arm, study.data)
        most = max(len(each.lanes) for each in mine)
        size = bundle_size(arm.program.mapping)  # 0: all at once
        at_work = lanes_at_once(arm.program.mapping, len(jax.devices())) or most
        kept = math.ceil(most / size) * size if size else most
        held = kept * memory.copies(arm.program)
        taken = held * needs.kept + min(kept, at_work) * needs.working
        rows.append(
            [
                arm.name,
                f"{arm.num_parameters:,}",
                f"{sum(len(each.lanes) for each in mine):,}",
                f"{len(mine):,}",
                f"{taken / 2**20:,.0f} MiB",
                duration(compiling),
                duration(seconds),
            ]
        )
    number = sum(len(each.lanes) for each in work)
    last = ["together", "", f"{number:,}", f"{len(work):,}", ""]
    return header, [*rows, [*last, *map(duration, totals.tolist())]]


def measured_seconds(
    study: Study, arm: Arm, work: Sequence[Work]
) -> tuple[float, float]:
    """Seconds to compile an arm, and to train its groups, from two short epochs.

    An epoch takes `e + s * steps`, an evaluation and the steps; two lengths give both.
    """
    at_once = lanes_at_once(arm.program.mapping, len(jax.devices()))  # 0: all
    times, compiling, whole = [], [], arm.program.steps_per_epoch
    short, long = (min(steps, whole) for steps in STEPS)
    for steps in (short, long):
        program = arm.program._replace(steps_per_epoch=steps)
        wanted = work[0].lanes[: at_once or None]
        few = Work(arm._replace(program=program), wanted)
        spent = _epoch_seconds(study, few)
        compiling.append(spent[0] - spent[1])
        times.append(min(spent[1:]))
    step = max(0.0, times[1] - times[0]) / max(1, long - short)
    epoch = max(0.0, times[0] - short * step) + whole * step
    total = 0.0
    for each in work:
        turns = math.ceil(len(each.lanes) / at_once) if at_once else 1
        total += turns * epoch * epochs_left(study, each)
    return max(compiling), total


def _epoch_seconds(study: Study, work: Work) -> list[float]:
    """The seconds of three epochs of a short program; the first one compiles."""
    places = [study.seeds.index(seed) for _, seed in work.lanes]
    epochs = lanes.train(
        lanes.keys_at(study.keys, np.array(places)),
        {**settings_of(work)},
        study.data,
        program=work.arm.program,
        num_epochs=3,
    )
    spent, start = [], time.perf_counter()
    for _ in epochs:
        spent.append(time.perf_counter() - start)
        start = time.perf_counter()
    return spent
