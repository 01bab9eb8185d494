"""Seconds of calls on a device, with those to compile apart."""

import time
from collections.abc import Callable
from typing import Any

import jax

from benchmarks.accelerator.ledger import Row
from benchmarks.accelerator.sizes import Size
from benchmarks.timing import spread


def call_seconds(function: Callable, *args: Any, size: Size) -> Row:
    """Median, least and most seconds of a call, and those to compile.

    Several calls are started before the last one is waited for, so that the time to
    start one counts only where it is longer than the work itself. A call that is slow
    is made and timed less often.
    """
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*args).compile()
    compile_seconds = time.perf_counter() - start

    def timed(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            result = compiled(*args)
        jax.block_until_ready(result)
        return time.perf_counter() - start

    timed(1)  # loads what was compiled
    calls = max(1, min(size.calls, int(size.most_seconds / size.repeats / timed(1))))
    seconds: list[float] = []
    while more(seconds, size):
        seconds.append(timed(calls))
    return summary([each / calls for each in seconds]) | {
        "compile_seconds": compile_seconds
    }


def more(seconds: list[float], size: Size) -> bool:
    """Whether to time once more."""
    return len(seconds) < size.repeats and sum(seconds) < size.most_seconds


def summary(seconds: list[float]) -> Row:
    """Median, least and most of some timings."""
    median, least, most = spread(seconds)
    return {"seconds": median, "least_seconds": least, "most_seconds": most}
