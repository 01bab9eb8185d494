"""Which way the lanes of each arm are computed, if that is left to us.

    <workdir>/locks/way-<arm id>.json          what was chosen there
    ~/.cache/normjax/mappings/<digest>.json    what was timed, for people to read

Rounding depends on it, so an arm that was begun in the folder goes on in its way, if
the device is of the same kind. On a CPU nothing is timed.
"""

import contextlib
import math
import pathlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import jax

from normjax import files
from normjax.errors import InputError
from normjax.ops.conv import IMPLEMENTATIONS
from normjax.study import checkpoints, claims, groups, timings
from normjax.study.environment import environment
from normjax.study.groups import LOCKS
from normjax.study.plan import Arm, Study
from normjax.study.timings import Times, Way, arm_in
from normjax.study.work import epochs_left, units, work_of
from normjax.training.mappings import bundle_size

LEAST_STEPS = 10_000  # of a group, below which nothing is timed
FOLDER = "mappings"  # in the cache
Steps = dict[str, float]  # seconds of a step of one network, by the text of a way


def is_timed() -> bool:
    """Whether ways are timed: not on a CPU, where `map` was the fastest of all."""
    return jax.default_backend() != "cpu"


def with_ways(
    study: Study,
    workdir: str | pathlib.Path,
    arms: Iterable[Arm],
    *,
    measure: bool = True,
) -> tuple[Study, list[Arm], list[str]]:
    """The study, and some of its arms, in the ways in which they are to be trained.

    Args:
        study: in its usual ways.
        workdir: the folder of its record.
        arms: those that are to be trained.
        measure: whether to time what nobody has timed; one process does at a time.

    Returns:
        Study and arms, and a line for each arm that a timing decided.
    """
    arms = list(arms)
    if study.config["mapping"] != "auto":
        return study, arms, []
    found: dict[str, tuple[Way | None, Steps]] = {}  # by id of the arm
    lines = []
    for arm in {arm.id: arm for arm in arms}.values():
        way, steps = way_of_record(workdir, arm), Steps()
        if way is None and is_timed():
            way, steps = way_of_timing(study, workdir, arm, measure)
        found[arm.id] = way, steps
        if steps:
            each = ", ".join(f"{x} {1e6 * s:,.0f}" for x, s in steps.items())
            line = f"({each} microseconds per network and step)"
            lines.append(f"mapping: {arm.name}: {way} {line}")

    def in_way(arm: Arm) -> Arm:
        way, steps = found.get(arm.id, (None, {}))
        return arm_in(study, arm, way)._replace(step_seconds=steps) if way else arm

    study = replace(study, arms=tuple(map(in_way, study.arms)))
    return study, [in_way(arm) for arm in arms], lines


def way_of_record(workdir: str | pathlib.Path, arm: Arm) -> Way | None:
    """The way of most lanes of the arm that were begun here, or else finished here.

    What was done on a device of another kind says nothing.
    """
    begun = checkpoints.pending(workdir, arm.id)[0]
    done = groups.held(workdir, [arm.id]).networks.values()
    device = environment()["device"]
    where = lambda about: about.get("environment", {}).get("device")
    for of_kind in (
        [x.about for x in begun for _ in x.lanes],
        [group.about for _, group, _ in done],
    ):
        same = [x for x in of_kind if where(x) == device]
        ways = Counter(Way(x["mapping"], x.get("convolution", "")) for x in same)
        for way, _ in ways.most_common():
            if is_valid(way, arm):
                return way
    return None


def is_valid(way: Way, arm: Arm) -> bool:
    """Whether an arm can be computed so."""
    try:
        bundle_size(way.mapping)
    except InputError:
        return False
    of_model = way.convolution in IMPLEMENTATIONS and arm.convolutions
    return not way.convolution or bool(of_model)


def way_of_timing(
    study: Study, workdir: str | pathlib.Path, arm: Arm, measure: bool
) -> tuple[Way | None, Steps]:
    """The way that was chosen in the folder, or is now, and the times that decided.

    Processes that share the folder wait for the first one and take what it chose.
    """
    locks, name = pathlib.Path(workdir) / LOCKS, f"way-{arm.id}"
    path, device = locks / f"{name}.json", environment()["device"]
    claim = (
        claims.claim(locks, name, wait=True) if measure else contextlib.nullcontext()
    )
    with claim:
        with contextlib.suppress(InputError, KeyError, TypeError):
            content = files.read_json(path)
            way = Way(content["mapping"], content["convolution"])
            if content["device"] == device and is_valid(way, arm):
                return way, dict(content["step_seconds"])
        found = times_of(study, workdir, arm, measure)
        if not found.seconds:
            return None, {}
        way = timings.choice(found.seconds)
        steps = {str(each): x for each, x in found.seconds.items()}
        if measure:
            about = {"device": device, **way._asdict(), "step_seconds": steps}
            files.write_json(path, about)
    return way, steps


def times_of(
    study: Study, workdir: str | pathlib.Path, arm: Arm, measure: bool
) -> Times:
    """The times of the ways of an arm, from the cache or of now; none if not known."""
    work = work_of(study, workdir, units(study, [arm], shared=False))
    steps = [epochs_left(study, x) * arm.program.steps_per_epoch for x in work]
    if sum(steps) < LEAST_STEPS:
        return Times({}, {})
    number = max(len(each.lanes) for each in work)
    key = speed_key(study, arm, number)
    path = files.cache_folder() / FOLDER / f"{files.text_digest(key)[:16]}.json"
    found = read_cache(path, key, arm)
    if measure and not (found.seconds or found.failed):
        num_steps = sum(len(each.lanes) * x for each, x in zip(work, steps))
        found = timings.times(study, arm, number, num_steps)
        if found.seconds or found.failed:
            write_cache(path, key, found)
    return found


def speed_key(study: Study, arm: Arm, number: int) -> dict[str, Any]:
    """All that the speed of an arm depends on, as plain data."""
    where, train = environment(), study.data.train
    program = dict(arm.identity["program"])
    for name in ("steps_per_epoch", "num_steps"):
        program.pop(name)
    return files.plain(
        {
            "program": program,
            "numerics": arm.identity["numerics"],
            "settings": sorted(arm.settings),
            "inputs": [str(train.inputs.dtype), *train.inputs.shape],
            "lanes_per_device": math.ceil(number / where["num_devices"]),
            "device": where["device"],
            "num_devices": where["num_devices"],
        }
    )


def read_cache(path: pathlib.Path, key: Mapping[str, Any], arm: Arm) -> Times:
    """What was timed before; nothing if it is damaged or of another key."""
    with contextlib.suppress(InputError, KeyError, TypeError, ValueError):
        content = files.read_json(path)
        way = lambda text: Way(*text.split(", "))
        found = Times(
            {way(x): float(s) for x, s in content["step_seconds"].items()},
            {way(x): str(why) for x, why in content["failed"].items()},
        )
        fine = all(is_valid(x, arm) and s > 0 for x, s in found.seconds.items())
        if fine and content["of"] == key:
            return found
    return Times({}, {})


def write_cache(path: pathlib.Path, key: Mapping[str, Any], found: Times) -> None:
    """Writes what was timed, unless the cache cannot be written."""
    seconds, failed = ({str(way): x for way, x in each.items()} for each in found)
    with contextlib.suppress(InputError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"step_seconds": seconds, "failed": failed, "of": key}
        files.write_json(path, content)
