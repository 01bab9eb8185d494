"""The peers' processes with a workload: loaded, warmed up, and told to train."""

import contextlib
import sys
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks import processes, training_rows
from benchmarks.processes import WAYS, Failed
from benchmarks.training_rows import Spent, Times, Turn
from benchmarks.workloads import Workload

WARM_UP = 3  # tenths of an epoch, of which the fastest counts


class Loaded(NamedTuple):
    """What is known of the ways of a workload before they take turns."""

    compile_seconds: dict[str, float]
    warm: Times  # one of each turn: what an epoch would take
    left_out: dict[str, str]  # the reason


class Peers:
    """The processes of all ways, for one workload after the other."""

    def __init__(self, started: dict[str, list], left_out: dict[str, str]):
        self.started, self.left_out = started, left_out

    def load(self, work: Workload, folder: str) -> Loaded:
        """Compiles and warms up all ways; one that `torch.compile` fails is left out.

        Raises:
            Failed: if another way cannot train.
        """
        loaded = Loaded({}, {}, dict(self.left_out))
        for way, started in self.started.items():
            try:
                seconds = processes.load(started, work, folder)
                loaded.warm.update(self.warm_up(way, work))
            except Failed as error:
                if not WAYS[way].compiled:
                    raise Failed(f"{way}: {error}") from error
                loaded.left_out[way] = str(error)
                continue
            processes.rest(WAYS[way])
            loaded.compile_seconds[way] = seconds
            progress(f"{way}: {seconds:.1f} s to compile")
        return loaded

    def warm_up(self, way: str, work: Workload) -> Times:
        """The seconds of an epoch in the turns of a way, from a tenth of its steps."""
        few = max(1, work.num_steps // 10)
        warm = {}
        for turn in training_rows.turns([way], *work.lanes):
            started = self.started[way][: turn.num_processes]
            tried = min(processes.train(started, few) for _ in range(WARM_UP))
            warm[turn] = [Spent(*(x * work.num_steps / few for x in tried))]
        return warm

    def spent(self, turn: Turn, num_steps: int) -> Spent:
        """What a turn takes whose processes take so many steps each.

        Raises:
            Failed: if one of them cannot.
        """
        started = self.started[turn.way][: turn.num_processes]
        try:
            spent = Spent(*processes.train(started, num_steps))
        except Failed as error:
            raise Failed(f"{turn.way}: {error}") from error
        processes.rest(WAYS[turn.way])
        return spent


@contextlib.contextmanager
def peers(ways: list[str]) -> Iterator[Peers]:
    """Starts the processes of these ways."""
    left_out = {}
    if len(processes.cores()) == 1:
        other = (way for way in ways if WAYS[way].per_core or WAYS[way].spinning)
        left_out = dict.fromkeys(other, "there is one core")
    with contextlib.ExitStack() as stack:
        start = lambda way: stack.enter_context(processes.processes_of(WAYS[way]))
        started = {way: start(way) for way in ways if way not in left_out}
        yield Peers(started, left_out)


def progress(text: str) -> None:
    """A line for who waits."""
    print(text, file=sys.stderr, flush=True)
