"""Timing that compares: calls take turns, and a median stands between its extremes.

A clock is a function without arguments that does its work once and returns the seconds
that it took; what it prepares before that does not count. jax is imported where its
arrays are waited for, so that processes without it have the same spreads.
"""

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Clock = Callable[[], float]


class Spread(NamedTuple):
    """Where the values of some rounds lie."""

    median: float
    min: float
    max: float


def seconds_of(function: Callable, *arguments: Any) -> float:
    """Seconds until the result of `function(*arguments)` is there."""
    import jax

    start = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - start


def spread(values: Sequence[float]) -> Spread:
    """Median, minimum and maximum, of seconds mostly."""
    return Spread(statistics.median(values), min(values), max(values))


def turns(
    clocks: Mapping[str, Clock], *, rounds: int, least_rounds: int, seconds: float
) -> dict[str, Spread]:
    """Runs all clocks once to warm them up, then in turn, and returns their spreads.

    Each round starts with another clock, so that none always runs in the caches that
    the same one left. There are as many rounds as fit into `seconds`, but at least
    `least_rounds` and at most `rounds`. No garbage is collected meanwhile.
    """
    names = list(clocks)
    gc.collect()
    gc.disable()
    try:
        begun = time.perf_counter()
        for name in names:
            clocks[name]()
        each = time.perf_counter() - begun
        fitting = int(seconds / max(each, 1e-9))
        found: dict[str, list[float]] = {name: [] for name in names}
        for i in range(max(least_rounds, min(rounds, fitting))):
            first = i % len(names)
            for name in names[first:] + names[:first]:
                found[name].append(clocks[name]())
    finally:
        gc.enable()
    return {name: spread(times) for name, times in found.items()}


def keep_freed_memory() -> None:
    """Has the C library keep what is freed, as a training loop has its memory already.

    By default glibc gives arrays of more than 32 MiB back to the system, and the next
    one is mapped anew: writing to it then costs more than computing a norm. Other
    libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, most_mapped = -1, -4
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(most_mapped, 0)
