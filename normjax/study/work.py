"""What a study wants and a workdir does not hold, divided for processes and devices."""

import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from normjax import files
from normjax.study import checkpoints, groups, memory
from normjax.study.checkpoints import Checkpoint
from normjax.study.groups import Lane, lane
from normjax.study.plan import Arm, Study


class Work(NamedTuple):
    """Lanes of an arm to train together, and where they were left."""

    arm: Arm
    lanes: list[Lane]
    checkpoint: Checkpoint | None = None


class Unit(NamedTuple):
    """Lanes of an arm, wanted or held, that one process at a time works on."""

    arm: Arm
    lanes: list[Lane]

    @property
    def name(self) -> str:
        """The same in all processes of one command, whatever is held already."""
        return f"{self.arm.id}-{files.text_digest({'lanes': self.lanes})[:16]}"


def units(study: Study, arms: Iterable[Arm], *, shared: bool) -> list[Unit]:
    """The wanted lanes; if processes share them, at most an eighth of all in each.

    That number does not depend on how many processes there are, and so may change.

    Arms that are the same by what decides their numbers are there once.
    """
    wanted: dict[str, tuple[Arm, dict[Lane, None]]] = {}
    for arm in arms:
        lanes = wanted.setdefault(arm.id, (arm, {}))[1]
        grid = zip(*arm.settings.values())
        for settings in (dict(zip(arm.settings, values)) for values in grid):
            lanes |= dict.fromkeys(lane(settings, seed) for seed in study.seeds)
    total = sum(len(lanes) for _, lanes in wanted.values())
    share = max(1, total // 8) if shared else total
    most = study.config["lanes_per_group"] or min(share, memory.MOST_LANES)
    found = []
    for arm, lanes in wanted.values():
        size = memory.equal_parts(len(lanes), most)
        listed = list(lanes)
        found += [Unit(arm, listed[i : i + size]) for i in range(0, len(listed), size)]
    return found


def check_memory(
    study: Study, arms: Iterable[Arm], workdir: str | pathlib.Path
) -> None:
    """Refuses arms that lack a network of which not one fits into memory.

    For the time before a folder is touched: what is found later may still be trained.

    Raises:
        InputError: see `memory.check_fits`.
    """
    wanted = units(study, arms, shared=False)
    held = groups.held(workdir, {unit.arm.id for unit in wanted}).copies
    for arm, lanes in wanted:
        if any((arm.id, x) not in held for x in lanes):
            memory.check_fits(arm, study.data)


def work_of(
    study: Study, workdir: str | pathlib.Path, wanted: Sequence[Unit]
) -> list[Work]:
    """What is missing of units, in groups that fit into memory.

    Groups that were begun come first, as they were, if all of each is still wanted.
    """
    held = groups.held(workdir, {unit.arm.id for unit in wanted}).copies
    work: list[Work] = []
    for arm, lanes in wanted:
        started, _ = checkpoints.pending(workdir, arm.id)
        missing = dict.fromkeys(x for x in lanes if (arm.id, x) not in held)
        for checkpoint in started:
            mine = dict.fromkeys(checkpoint.lanes)
            if checkpoint.about["id"] == arm.id and mine.keys() <= missing.keys():
                work.append(Work(arm, checkpoint.lanes, checkpoint))
                missing = {x: None for x in missing if x not in mine}
        rest = list(missing)
        size = memory.lanes_per_group(arm, study.data, len(rest))
        work += [Work(arm, rest[i : i + size]) for i in range(0, len(rest), size)]
    return work


def epochs_left(study: Study, work: Work) -> int:
    """How many epochs a group still trains."""
    done = work.checkpoint.about["epoch"] if work.checkpoint else 0
    return study.num_epochs - done
