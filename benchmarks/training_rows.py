"""Rows of `benchmarks.training`: from seconds to what is told of them.

A way with one process trains one network after the other. One with a process for each
core trains as many at once as it has cores, in `ceil(lanes / cores)` rounds, so that
`T` seconds of a round make `T * ceil(lanes / cores) / lanes` per network. The last
round counts in full also where it leaves cores idle. Fewer networks than cores are
trained in one round by as many processes, which is timed by itself, as more of them
would share the caches and the memory.
"""

import itertools
import math
import statistics
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from benchmarks import processes
from benchmarks.processes import WAYS
from benchmarks.workloads import Workload

SLOW = 3  # times the fastest way in the warm-up


class Spent(NamedTuple):
    """What an epoch took."""

    seconds: float  # of the clock
    core_seconds: float  # in which cores worked, of all threads


class Turn(NamedTuple):
    """What is timed at once: processes of a way, each with an epoch of its network."""

    way: str
    num_processes: int


Times = dict[Turn, list[Spent]]  # of all processes of a turn


def turns(ways: Iterable[str], *all_lanes: int) -> list[Turn]:
    """The turns of these ways in which so many networks, or so many, can be trained."""
    found: dict[Turn, None] = {}
    for way, lanes in itertools.product(ways, all_lanes):
        if not WAYS[way].per_core:
            found[Turn(way, 1)] = None
        elif lanes > 1:
            found[Turn(way, min(lanes, len(processes.cores())))] = None
    return list(found)


def spent_by_way(times: Times, lanes: int) -> dict[str, list[Spent]]:
    """What one of so many networks took in each way."""
    possible = turns((turn.way for turn in times), lanes)
    return {
        turn.way: [of_network(x, lanes, turn.num_processes) for x in times[turn]]
        for turn in possible
    }


def of_network(spent: Spent, lanes: int, num_processes: int) -> Spent:
    """What one network of so many took, from what a round of all processes took."""
    rounds = math.ceil(lanes / num_processes)
    return Spent(spent.seconds * rounds / lanes, spent.core_seconds / num_processes)


def fast_turns(warm: Times, all_lanes: Iterable[int]) -> list[Turn]:
    """Those that in one row take at most `SLOW` times as long as the fastest."""
    found: dict[Turn, None] = {}
    for lanes in all_lanes:
        seconds = {w: s.seconds for w, (s,) in spent_by_way(warm, lanes).items()}
        most = SLOW * min(seconds.values())
        fast = [way for way, each in seconds.items() if each <= most]
        found |= dict.fromkeys(turns(fast, lanes))
    return list(found)


def row(
    work: Workload, lanes: int, own: dict[str, list[Spent]], times: Times
) -> dict[str, Any]:
    """What is told of ours and of the ways that so many networks can be trained in.

    Args:
        work: what was trained.
        lanes: how many networks.
        own: what an epoch of ours took, per network, by mapping.
        times: what the turns of `turns` took, with all their processes.
    """
    possible = spent_by_way(times, lanes)
    name, mapping = fastest(possible), fastest(own)
    ways, mappings = (
        {way: summary(spent) for way, spent in of.items()} for of in (possible, own)
    )
    ours = mappings[mapping]
    seconds, peer_seconds = ours["median"], ways[name]["median"]
    num_trained = work.num_steps * work.batch_size
    return {
        "lanes": lanes,
        "num_examples": num_trained,
        "cores": len(processes.cores()),
        "seconds": seconds,
        "ours": ours,
        "mapping": mapping,
        "mappings": mappings,
        "peer": name,
        "peer_seconds": peer_seconds,
        "peer_ways": ways,
        "ratio": peer_seconds / seconds,
        "images_per_second": num_trained / seconds,
        "peer_images_per_second": num_trained / peer_seconds,
    }


def fastest(ways: dict[str, list[Spent]]) -> str:
    """The way with the smallest median of seconds."""
    return min(ways, key=lambda way: summary(ways[way])["median"])


def summary(spent: list[Spent]) -> dict[str, float]:
    """Minimum, median and maximum of the seconds, and of how many; core seconds."""
    seconds, core_seconds = zip(*spent)
    return {
        "min": min(seconds),
        "median": statistics.median(seconds),
        "max": max(seconds),
        "repeats": len(spent),
        "core_seconds": statistics.median(core_seconds),
    }


def lines(row: dict[str, Any]) -> Iterator[str]:
    """A row in words: a line for ours, one for each way."""
    text = (
        "{median:9.4f} s  [{min:.4f}, {max:.4f}]  {core_seconds:.4f} of a core".format
    )
    name = "{workload}, {lanes} lanes, {num_examples} examples".format(**row)
    limit = "{limit_seconds:.4f} s".format(**row)
    yield f"{name}: {row['ratio']:.2f} times {row['peer']}, limit {limit}"
    for mapping, seconds in row["mappings"].items():
        yield f"  {'ours, ' + mapping:24}{text(**seconds)}"
    for way, seconds in row["peer_ways"].items():
        slow = "  warm-up only" if seconds["repeats"] == 1 else ""
        yield f"  {way:24}{text(**seconds)}{slow}"
    for way, reason in row["left_out"].items():
        yield f"  {way:24}left out: {reason}"
