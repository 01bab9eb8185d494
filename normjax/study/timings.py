"""How fast an arm trains when its lanes share a device in one way or another.

A few steps of each way are timed, on lanes that are thrown away. A way costs what it
takes to compile, so that only those are tried for which that is a small part of the
run.
"""

import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from normjax.ops.conv import IMPLEMENTATIONS
from normjax.study import memory
from normjax.study.plan import Arm, Study
from normjax.study.tracing import convolutions_of
from normjax.training import lanes, mappings
from normjax.types import Split

STEPS = 16  # that are timed together
REPEATS = 5  # of them, in turn with those of the other ways
TURNS = 2  # of a device, at most, that are timed where lanes take turns
SHARE = 0.05  # of the seconds of a run, at most, goes into choosing
MARGIN = 1.05  # the usual way is left for one that is faster by more
BUNDLES = {"cpu": (4, 8), "others": (32, 8)}  # of lanes, what is tried first


class Way(NamedTuple):
    """How the lanes of an arm are computed; the numbers are the same but for rounding.

    Its text is the mapping, and the convolution if that is not what the arm has.
    """

    mapping: str  # see `training.mappings`
    convolution: str = ""  # a row of IMPLEMENTATIONS for all layers; empty: as it is

    def __str__(self) -> str:
        return f"{self.mapping}, {self.convolution}" if self.convolution else self[0]


class Timing(NamedTuple):
    """What a way takes, in seconds; those of a step are of one network."""

    compiling: float
    step: float  # the median
    least: float


def arm_in(study: Study, arm: Arm, way: Way) -> Arm:
    """An arm of the study, computed in that way."""
    program = arm.program._replace(mapping=way.mapping)
    if not way.convolution:
        return arm._replace(program=program)
    model = program.model.clone(convolution=way.convolution)
    program = program._replace(model=model)
    return arm._replace(
        program=program,
        convolutions=convolutions_of(program, study.data),
        convolution=way.convolution,
    )


def mapped_ways(arm: Arm, number: int) -> list[Way]:
    """The mappings that may be fastest for `number` lanes, the usual one first.

    On a CPU networks with convolutions fill a core by themselves, and `vmap` is no
    candidate: under it a network's bits depend on how many others there are.
    """
    usual, each = Way(arm.program.mapping), math.ceil(number / len(jax.devices()))
    on_cpu = jax.default_backend() == "cpu"
    if on_cpu and arm.convolutions:
        return [usual]
    sizes = [x for x in BUNDLES["cpu" if on_cpu else "others"] if x < each or on_cpu]
    found = [Way(f"map-{size}") for size in sizes if size <= each]
    return [usual, *found, *([] if on_cpu or each == 1 else [Way("map")])]


def convolved_ways(arm: Arm, mapping: str) -> list[Way]:
    """The other implementations of an arm whose convolution is left to us.

    None on a CPU, where `ops.conv.choose` was measured.
    """
    free = getattr(arm.program.model, "convolution", "") == "auto"
    if not (arm.convolutions and free) or jax.default_backend() == "cpu":
        return []
    used = set(arm.convolutions.values())
    return [Way(mapping, name) for name in IMPLEMENTATIONS if {name} != used]


def measured(
    study: Study, arm: Arm, number: int, num_steps: int
) -> tuple[dict[Way, Timing], bool]:
    """The ways that were timed, the usual one first, and whether all of them were.

    Args:
        study: whose data and settings are used.
        arm: in its usual way.
        number: lanes that train together.
        num_steps: of all networks, added up, that are to be trained.
    """
    ways = mapped_ways(arm, number)
    found = timed(study, arm, ways, number, num_steps)
    missing = len(ways) - len(found)
    more = convolved_ways(arm, fastest(found).mapping)
    if more:
        spent = sum(timing.compiling for timing in found.values())
        others = timed(study, arm, more, number, num_steps, spent)
        missing += len(more) - len(others)
        found |= others
    return found, not missing


def chosen(found: Mapping[Way, Timing]) -> Way:
    """The first way, or the fastest if that is faster by more than MARGIN.

    It must be so in the median and in the least: the noise of a machine is rarely in
    both.
    """
    best = fastest(found)
    usual, other = next(iter(found)), found[best]
    medians = found[usual].step > MARGIN * other.step
    return best if medians and found[usual].least > MARGIN * other.least else usual


def fastest(found: Mapping[Way, Timing]) -> Way:
    """The way of the least median."""
    return min(found, key=lambda way: found[way].step)


def timed(
    study: Study,
    arm: Arm,
    ways: Sequence[Way],
    number: int,
    num_steps: int,
    spent: float = 0.0,
) -> dict[Way, Timing]:
    """The timings of some ways, in turn; the first one, and others that are worth it.

    A way that fails, for it needs too much memory, is none. The first one must not,
    unless `spent`, the seconds that went into choosing before, tells that others ran.
    """
    runs: dict[Way, Iterator[Spent]] = {}
    compiling: dict[Way, float] = {}
    budget = math.inf
    for way in ways:
        if spent + max(compiling.values(), default=0.0) > budget:
            break
        run = _steps(study, arm_in(study, arm, way), number)
        try:
            first, second = next(run), next(run)
        except Exception:  # whatever XLA raises
            if not runs and not spent:
                raise
            continue
        runs[way], compiling[way] = run, max(0.0, first.spent - second.spent)
        spent += first.spent + second.spent
        budget = min(budget, SHARE * num_steps * second.step)
    seconds: dict[Way, list[float]] = {way: [] for way in runs}
    for _ in range(REPEATS):
        for way, run in runs.items():
            seconds[way].append(next(run).step)
    return {
        way: Timing(compiling[way], statistics.median(x), min(x))
        for way, x in seconds.items()
    }


class Spent(NamedTuple):
    """The seconds of a few steps."""

    spent: float  # altogether
    step: float  # of a step of one network, if all lanes took as long


def _steps(study: Study, arm: Arm, number: int) -> Iterator[Spent]:
    """Trains lanes of an arm of which `number` train together; compiles at first.

    Where lanes take turns on a device, some turns stand for all.
    """
    size = mappings.together(arm.program.mapping)
    at_once = size * len(jax.devices()) or memory.lanes_that_fit(arm, study.data)
    few = min(number, at_once * (TURNS if size else 1))
    at_once = min(few, at_once)
    turns = math.ceil(number / at_once) / math.ceil(few / at_once)
    whole = arm.program.steps_per_epoch - (arm.program.last_batch > 0)
    steps = max(1, min(STEPS, whole))
    program = arm.program._replace(steps_per_epoch=steps, last_batch=0, probes=())
    one = lambda split: Split(split.inputs[:1], split.labels[:1])  # to be evaluated
    validation, test = one(study.data.validation), one(study.data.test)
    data = study.data._replace(validation=validation, test=test)
    epochs = lanes.train(
        study.keys[np.arange(few) % len(study.keys)],
        {name: np.repeat(x[:1], few) for name, x in arm.settings.items()},
        data,
        program=program,
        num_epochs=2 + REPEATS,
    )
    start = time.perf_counter()
    for state, _ in epochs:
        jax.block_until_ready(state)
        spent = time.perf_counter() - start
        yield Spent(spent, spent / steps * turns / number)
        start = time.perf_counter()
