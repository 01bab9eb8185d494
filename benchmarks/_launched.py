"""A launch that tells how long it took: what `benchmarks.startup` starts.

python -m benchmarks._launched SINCE first|whole FLAGS...

SINCE is the monotonic clock when the process was started. `first` ends the process
where the first training step begins: when the program of an epoch is compiled.
"""

import collections
import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Callable

KINDS = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "compiling",
}
EPOCH = "epoch_lanes"  # the program whose beginning is the first training step


def main() -> None:
    """Launches a study, and prints the seconds of its parts as one line of JSON."""
    since, until = float(sys.argv[1]), sys.argv[2]
    sys.argv = ["launch.py", *sys.argv[3:]]
    seconds: collections.Counter = collections.Counter()

    def tell() -> None:
        told = {"seconds": time.monotonic() - since, **seconds}
        os.write(1, f"\n{json.dumps(told)}\n".encode())

    def listen(event: str, duration_secs: float, **about: str | int) -> None:
        kind = KINDS.get(event)
        if kind is None:
            return
        seconds[kind] += duration_secs
        seconds["programs"] += kind == "compiling"
        begun = kind == "compiling" and EPOCH in str(about.get("fun_name"))
        if begun and until == "first":
            tell()
            os._exit(0)

    import jax

    jax.monitoring.register_event_duration_secs_listener(listen)
    from normjax.study import given

    given.load = clocked(given.load, seconds)
    import launch

    with contextlib.suppress(SystemExit):
        launch.main()
    tell()


def clocked(load: Callable, seconds: collections.Counter) -> Callable:
    """`load`, which adds its seconds to "data", but for those of its programs."""

    @functools.wraps(load)
    def wrapped(*args):
        start, before = time.monotonic(), sum(seconds[x] for x in KINDS.values())
        result = load(*args)
        within = sum(seconds[x] for x in KINDS.values()) - before
        seconds["data"] += time.monotonic() - start - within
        return result

    return wrapped


if __name__ == "__main__":
    main()
