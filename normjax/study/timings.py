"""How fast an arm trains when its lanes share a device in one way or another.

A few steps of each way are timed, one way after the other, on lanes that are thrown
away with their programs before the next way begins.
"""

import math
import statistics
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from normjax.errors import reason
from normjax.study import memory
from normjax.study.plan import Arm, Study
from normjax.study.tracing import convolutions_of
from normjax.training import lanes
from normjax.training.mappings import bundle_size, lanes_at_once
from normjax.types import Split

MAPPINGS = "vmap", "map-32", "map-8", "map"  # that are tried, the usual one first
CONVOLUTIONS = "lax", "images", "patches"  # that are tried with the best of these
STEPS = 16  # that are timed together
REPEATS = 5  # of them, of which the median counts
TURNS = 2  # of a device, at most, that are timed where lanes take turns
SHARE = 0.05  # of the seconds of a run, at most, that compiling all ways may take
MARGIN = 1.05  # the usual way is left for one that is faster by more


class Way(NamedTuple):
    """How the lanes of an arm are computed; the numbers are the same but for rounding.

    Its text is the mapping, and the convolution if that is not what the arm has.
    """

    mapping: str  # see `training.mappings`
    convolution: str = ""  # a row of IMPLEMENTATIONS for all layers; empty: as it is

    def __str__(self) -> str:
        return f"{self.mapping}, {self.convolution}" if self.convolution else self[0]


class Times(NamedTuple):
    """What became of the ways that were tried, in the order in which they were."""

    seconds: dict[Way, float]  # of a step of one network
    failed: dict[Way, str]  # why a way has none


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


def candidates(arm: Arm, number: int) -> tuple[list[Way], list[str]]:
    """The mappings to try for `number` lanes, and then the other convolutions.

    A bundle must be smaller than the lanes of a device; a convolution is tried where it
    is left to us.
    """
    each = math.ceil(number / len(jax.devices()))
    ways = [Way(name) for name in MAPPINGS if bundle_size(name) < each]
    if not arm.convolutions or arm.program.model.convolution != "auto":
        return ways, []
    used = set(arm.convolutions.values())
    return ways, [name for name in CONVOLUTIONS if {name} != used]


def times(study: Study, arm: Arm, number: int, num_steps: int) -> Times:
    """The times of all candidates; of none if there is one, or if it cannot pay.

    It cannot if compiling them takes more than SHARE of training in the usual way.

    Args:
        study: whose data and keys are used.
        arm: in its usual way.
        number: lanes that train together.
        num_steps: of all networks, added up, that are to be trained.
    """
    (usual, *others), convolutions = candidates(arm, number)
    number_of_others, found = len(others) + len(convolutions), Times({}, {})
    if not number_of_others:
        return found
    compiling = add_way(found, study, arm, usual, number)
    run = num_steps * found.seconds.get(usual, math.inf)
    if compiling * number_of_others > SHARE * run:
        return Times({}, {})
    for way in others:
        add_way(found, study, arm, way, number)
    if found.seconds:
        best = min(found.seconds, key=found.seconds.__getitem__)
        for name in convolutions:
            add_way(found, study, arm, Way(best.mapping, name), number)
    return found


def choice(seconds: Mapping[Way, float]) -> Way:
    """The fastest way, or the usual one if no other is faster by more than MARGIN."""
    best, usual = min(seconds, key=seconds.__getitem__), Way(MAPPINGS[0])
    return usual if seconds.get(usual, math.inf) <= MARGIN * seconds[best] else best


def add_way(found: Times, study: Study, arm: Arm, way: Way, number: int) -> float:
    """Times a way, or says why that failed; returns the seconds that it compiled."""
    compiling = 0.0
    try:
        compiling, found.seconds[way] = compile_and_step(
            study, arm_in(study, arm, way), number
        )
    except Exception as error:  # of memory, or whatever XLA or a user's norm raises
        found.failed[way] = reason(error)
        line = (
            f"notice: mapping {way} of {arm.name} is not tried again: {reason(error)}"
        )
        print(line, file=sys.stderr)
    lanes.forget_programs()
    return compiling


def compile_and_step(study: Study, arm: Arm, number: int) -> tuple[float, float]:
    """Seconds to compile, and of a step of one network where `number` train together.

    Where lanes take turns on a device, some turns stand for all. The learning rate is
    0, for a lane that diverges takes no steps when it is mapped.
    """
    in_turn = lanes_at_once(arm.program.mapping, len(jax.devices()))
    at_once = in_turn or memory.lanes_that_fit(arm, study.data)
    few = min(number, at_once * (TURNS if in_turn else 1))
    at_once = min(few, at_once)
    turns = math.ceil(number / at_once) / math.ceil(few / at_once)
    whole = arm.program.steps_per_epoch - (arm.program.last_batch > 0)
    steps = max(1, min(STEPS, whole))
    one = lambda split: Split(split.inputs[:1], split.labels[:1])  # to be evaluated
    validation, test = one(study.data.validation), one(study.data.test)
    settings: dict[str, Any] = {
        name: np.repeat(0 * x[:1] if name == "learning_rate" else x[:1], few)
        for name, x in arm.settings.items()
    }
    epochs = lanes.train(
        study.keys[np.arange(few) % len(study.keys)],
        settings,
        study.data._replace(validation=validation, test=test),
        program=arm.program._replace(steps_per_epoch=steps, last_batch=0, probes=()),
        num_epochs=2 + REPEATS,
    )
    spent, start = [], time.perf_counter()
    for state, _ in epochs:
        jax.block_until_ready(state)
        spent.append(time.perf_counter() - start)
        if (np.asarray(state.diverged_at_step) >= 0).any():
            raise ValueError("a network has lost its numbers and takes no steps")
        start = time.perf_counter()
    step = statistics.median(spent[2:]) / steps * turns / number
    return max(0.0, spent[0] - spent[1]), step
