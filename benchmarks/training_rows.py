"""Rows of `benchmarks.training`: from seconds to what is told of them."""

import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks import processes
from benchmarks.processes import WAYS
from benchmarks.workloads import Workload


class Spent(NamedTuple):
    """What a network and epoch took."""

    seconds: float  # of the clock
    core_seconds: float  # in which cores worked, of all threads


Times = dict[str, list[Spent]]  # by way


def row(work: Workload, lanes: int, own: list[Spent], times: Times) -> dict[str, Any]:
    """What is told of ours and of the ways that so many networks can be trained in."""
    possible = {w: t for w, t in times.items() if lanes > 1 or not WAYS[w].per_core}
    name, ours = fastest(possible), summary(own)
    ways = {way: summary(spent) for way, spent in possible.items()}
    seconds, peer_seconds = ours["median"], ways[name]["median"]
    num_trained = work.num_steps * work.batch_size
    return {
        "lanes": lanes,
        "num_examples": num_trained,
        "cores": len(processes.cores()),
        "seconds": seconds,
        "ours": ours,
        "peer": name,
        "peer_seconds": peer_seconds,
        "peer_ways": ways,
        "ratio": peer_seconds / seconds,
        "images_per_second": num_trained / seconds,
        "peer_images_per_second": num_trained / peer_seconds,
    }


def fastest(times: Times) -> str:
    """The way with the smallest median of seconds."""
    return min(times, key=lambda way: summary(times[way])["median"])


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
    yield f"  {'ours':24}{text(**row['ours'])}"
    for way, seconds in row["peer_ways"].items():
        slow = "  warm-up only" if seconds["repeats"] == 1 else ""
        yield f"  {way:24}{text(**seconds)}{slow}"
    for way, reason in row["left_out"].items():
        yield f"  {way:24}left out: {reason}"
