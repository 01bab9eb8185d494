"""Which way the lanes of each arm are computed: given, kept, remembered or measured.

    ~/.cache/normjax/mappings/<digest>.json    what was measured, for people to read

Rounding depends on it, so an arm whose networks are in the folder goes on in the way in
which they were trained, if the device is of the same kind.
"""

import contextlib
import math
import pathlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import jax

from normjax import files
from normjax.errors import InputError
from normjax.ops.conv import IMPLEMENTATIONS
from normjax.study import checkpoints, claims, groups, memory, timings
from normjax.study.environment import environment
from normjax.study.groups import LOCKS
from normjax.study.plan import FASTEST, Arm, Study
from normjax.study.timings import SHARE, Timing, Way, arm_in
from normjax.study.work import Work, epochs_left, units, work_of
from normjax.training import mappings

LEAST_SECONDS = 60.0  # that training takes by `guess`, below which nothing is measured
STEP, BANDWIDTH = 2e-3, 2e10  # of the guess: seconds of any step, bytes per second
FOLDER = "mappings"  # in the cache
SECONDS = "compile_seconds", "step_seconds", "least_step_seconds"  # of a Timing


def is_measured(asked: str) -> bool:
    """Whether the ways are timed: never by `auto` on a CPU, for its bits' sake."""
    return asked == FASTEST or (asked == "auto" and jax.default_backend() != "cpu")


def with_ways(
    study: Study,
    workdir: str | pathlib.Path,
    arms: Iterable[Arm],
    *,
    shared: bool = False,
    measure: bool = True,
) -> tuple[Study, list[Arm], list[str]]:
    """The study, and some of its arms, in the ways in which they are to be trained.

    Args:
        study: in its usual ways.
        workdir: the folder of its record.
        arms: those that are to be trained.
        shared: whether other processes work on the folder; one measures at a time.
        measure: whether to time what nobody has timed.

    Returns:
        Study and arms, and a line for each arm that a timing decided.
    """
    arms, asked = list(arms), study.config["mapping"]
    if asked not in ("auto", FASTEST):
        return study, arms, []
    device = environment()["device"]
    ways: dict[str, Arm] = {}  # of those that are not in their usual way, by id
    lines = {}
    for arm in {arm.id: arm for arm in arms}.values():
        way, steps = kept(workdir, arm, device), dict[str, float]()
        if way is None and is_measured(asked):
            locks = pathlib.Path(workdir) / LOCKS
            claim = claims.claim(locks, f"way-{arm.id}", wait=True) if shared else None
            with claim or contextlib.nullcontext():
                way, steps = fastest(study, workdir, arm, measure)
            if steps:
                lines[arm.id] = f"mapping: {arm.name}: {way} ({told(steps)})"
        if way is not None:
            ways[arm.id] = arm_in(study, arm, way)._replace(step_seconds=steps)
    fields = "program", "convolutions", "convolution", "step_seconds"
    chosen = lambda arm: arm._replace(
        **{x: getattr(ways.get(arm.id, arm), x) for x in fields}
    )
    study = replace(study, arms=tuple(map(chosen, study.arms)))
    return study, [chosen(arm) for arm in arms], list(lines.values())


def told(steps: Mapping[str, float]) -> str:
    """What was measured, in words: `microseconds per network and step: map 412`."""
    each = ", ".join(f"{way} {1e6 * x:,.0f}" for way, x in steps.items())
    return f"microseconds per network and step: {each}"


def kept(workdir: str | pathlib.Path, arm: Arm, device: str) -> Way | None:
    """The way in which networks of the arm were trained or begun here, or None.

    What was done on a device of another kind says nothing.
    """
    held = groups.held(workdir, [arm.id]).networks.values()
    for about in (
        *(group.about for _, group, _ in held),
        *(x.about for x in ([] if held else checkpoints.pending(workdir, arm.id)[0])),
    ):
        way = Way(about.get("mapping", ""), about.get("convolution", ""))
        same = about.get("environment", {}).get("device") == device
        if same and is_valid(way, arm):
            return way
    return None


def is_valid(way: Way, arm: Arm) -> bool:
    """Whether an arm can be computed so."""
    try:
        mappings.together(way.mapping)
    except InputError:
        return False
    of_model = way.convolution in IMPLEMENTATIONS and arm.convolutions
    return not way.convolution or bool(of_model)


def fastest(
    study: Study, workdir: str | pathlib.Path, arm: Arm, measure: bool
) -> tuple[Way | None, dict[str, float]]:
    """The fastest way of an arm, and the seconds of each; None if it is not known."""
    work = work_of(study, workdir, units(study, [arm], shared=False))
    if not work or not is_worth_it(study, work):
        return None, {}
    number = max(len(each.lanes) for each in work)
    num_steps = steps_left(study, work)
    key = known_by(study, arm, number)
    path = files.cache_folder() / FOLDER / f"{files.text_digest(key)[:16]}.json"
    found, whole = remembered(path, key, arm)
    first = next(iter(found.values()), None)
    more = first and not whole and first.compiling < SHARE * num_steps * first.step
    if measure and (not found or more):
        try:
            found, whole = timings.measured(study, arm, number, num_steps)
        except Exception:  # of a user's norm, or of memory: training it tells
            return None, {}
        remember(path, key, found, whole)
    if not found:
        return None, {}
    return timings.chosen(found), {
        str(each): timing.step for each, timing in found.items()
    }


def is_worth_it(study: Study, work: Iterable[Work]) -> bool:
    """Whether training takes so long that a choice can pay, by a guess without any."""
    seconds = 0.0
    for each in work:
        program = each.arm.program
        steps = program.steps_per_epoch * epochs_left(study, each)
        needs = memory.lane_needs(each.arm, study.data).working
        at_once = (mappings.together(program.mapping) or len(each.lanes)) * len(
            jax.devices()
        )
        turns = math.ceil(len(each.lanes) / at_once)
        seconds += steps * (turns * STEP + len(each.lanes) * needs / BANDWIDTH)
    return seconds >= LEAST_SECONDS


def steps_left(study: Study, work: Iterable[Work]) -> int:
    """Steps that all networks have left, added up."""
    return sum(
        len(each.lanes) * epochs_left(study, each) * each.arm.program.steps_per_epoch
        for each in work
    )


def known_by(study: Study, arm: Arm, number: int) -> dict[str, Any]:
    """All that the speed of an arm depends on, as plain data."""
    where, inputs = environment(), study.data.train.inputs
    program = dict(arm.identity["program"])
    for name in ("steps_per_epoch", "num_steps"):
        program.pop(name)
    return files.plain(
        {
            "program": program,
            "inputs": [str(inputs.dtype), list(inputs.shape[1:])],
            "lanes_per_device": math.ceil(number / where["num_devices"]),
            "device": where["device"],
            "num_devices": where["num_devices"],
            "jax": where["versions"]["jax"],
        }
    )


def remembered(
    path: pathlib.Path, key: Mapping[str, Any], arm: Arm
) -> tuple[dict[Way, Timing], bool]:
    """What was measured before, and whether all ways were; nothing if it is damaged."""
    try:
        content = files.read_json(path)
        if content["of"] != key:
            return {}, False
        found = {
            Way(x["mapping"], x["convolution"]): Timing(
                *(float(x[name]) for name in SECONDS)
            )
            for x in content["ways"]
        }
        whole = bool(content["all"])
    except (InputError, KeyError, TypeError, ValueError):
        return {}, False
    usual = next(iter(found), None) == Way(arm.program.mapping)
    fine = all(is_valid(way, arm) and x.step > 0 for way, x in found.items())
    return (found, whole) if usual and fine else ({}, False)


def remember(
    path: pathlib.Path, key: Mapping[str, Any], found: Mapping[Way, Timing], whole: bool
) -> None:
    """Writes what was measured, unless the cache cannot be written."""
    ways = [
        {
            "mapping": way.mapping,
            "convolution": way.convolution,
            **dict(zip(SECONDS, timing)),
        }
        for way, timing in found.items()
    ]
    with contextlib.suppress(InputError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, {"ways": ways, "all": whole, "of": key})
