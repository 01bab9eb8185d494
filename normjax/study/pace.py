"""How long the rest of a study takes, judged by the networks that were timed.

Compiling is timed apart from training. Nothing is said before something is known.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from normjax.study.groups import Held
from normjax.study.plan import Arm


class Pace:
    """The times of arms, and how many epochs of networks each has left.

    The unit is one epoch of one network. An arm that was not timed is taken to be as
    fast as those timed arms that have most levels in common with it.
    """

    def __init__(self) -> None:
        self._left: dict[str, int] = {}  # arm id -> epochs of networks
        self._factors: dict[str, Mapping[str, Any]] = {}
        self._times: dict[str, list[float]] = {}  # arm id -> seconds, and for how many
        self._compiled: dict[str, float] = {}  # arm id -> seconds, of this process

    def want(self, arm: Arm, amount: int) -> None:
        """Adds epochs of networks that are to be trained."""
        self._factors[arm.id] = arm.factors
        self._left[arm.id] = self._left.get(arm.id, 0) + amount

    def time(
        self, arm: Arm, amount: int, seconds: float, compiling: float | None = None
    ) -> None:
        """Adds what so many epochs of networks took, and compiling if it was now.

        An arm that an earlier run has timed compiles again in this process.
        """
        self._factors[arm.id] = arm.factors
        spent = self._times.setdefault(arm.id, [0.0, 0.0])
        spent[0] += seconds
        spent[1] += amount
        if compiling is not None:
            self._compiled[arm.id] = self._compiled.get(arm.id, 0.0) + compiling

    def done(self, arm: Arm, amount: int) -> None:
        """Takes off epochs that need not be trained any more."""
        self._left[arm.id] = max(0, self._left.get(arm.id, 0) - amount)

    def seconds_left(self) -> float | None:
        """The seconds that what is left takes, or None if nothing was timed yet.

        Arms that this process has not begun compile first, each as long as those that
        it has.
        """
        if not self._times:
            return None
        wanted = {arm: amount for arm, amount in self._left.items() if amount}
        training = sum(amount * self._rate(arm) for arm, amount in wanted.items())
        compiling = [seconds for seconds in self._compiled.values() if seconds > 0]
        new = sum(arm not in self._compiled for arm in wanted)
        return training + (new * float(np.mean(compiling)) if compiling else 0.0)

    def _rate(self, arm: str) -> float:
        """Seconds for one epoch of one network of this arm."""
        near = [arm] if arm in self._times else self._nearest(arm)
        return float(np.mean([self._times[x][0] / self._times[x][1] for x in near]))

    def _nearest(self, arm: str) -> list[str]:
        """The timed arms that have most levels in common with this one."""
        mine = self._factors[arm].items()
        shared = {x: len(mine & self._factors[x].items()) for x in self._times}
        return [x for x, number in shared.items() if number == max(shared.values())]


def remember(
    pace: Pace, arms: Iterable[Arm], held: Held, where: Mapping[str, Any]
) -> None:
    """Adds the times of groups that such a machine has trained before.

    Args:
        pace: what they are added to.
        arms: those of the study.
        held: the groups of its workdir.
        where: the environment of this process; others' times say little of it.
    """
    machine = "device", "num_devices"
    by_id = {arm.id: arm for arm in arms}
    groups = {path: group for path, group, _ in held.networks.values()}
    for group in groups.values():
        about = group.about
        same = all(about["environment"].get(x) == where[x] for x in machine)
        arm, epochs = by_id.get(about["id"]), about["epoch_seconds"]
        if arm and same and epochs:
            number = len(group.seeds)
            pace.time(arm, number * len(epochs), number * sum(epochs))
