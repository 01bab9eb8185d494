"""The ways to train a peer's networks, each in processes that wait until asked.

A process has imported its framework, compiled and warmed up before it is timed. It is
told what to do in lines of JSON, and sleeps in between:

    {"load": [a workload], "data": folder} -> {"compile_seconds": 1.5}, or {"error": ..}
    {"steps": 100}                         -> {"loss": 0.5, "core_seconds": 0.2}

Where each core has a process of its own, that one is bound to its core before it
imports anything, so that no library starts more than one thread.

The threads of PyTorch on all cores wait for each other in two ways. By default they
spin, which is the fastest where nothing else runs; where other work gets in between, a
step takes ten times as long, and with OMP_WAIT_POLICY=passive they sleep. Threads that
spin would take the cores from whoever has the next turn. They do so only for a while
after their last work, and so `rest` waits for that while.
"""

import contextlib
import importlib
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO

from benchmarks.workloads import Workload


class Way(NamedTuple):
    """How a user of another framework trains many seeds on the cores she has."""

    framework: str  # the module benchmarks.peers_<framework>
    per_core: bool = False  # one process for each core; or one on all of them
    compiled: bool = False  # by torch.compile
    spinning: bool = False  # threads wait as OpenMP has them by default; or they sleep


WAYS = {
    "torch": Way("torch"),
    "torch compiled": Way("torch", compiled=True),
    "torch spinning": Way("torch", spinning=True),
    "torch spinning compiled": Way("torch", compiled=True, spinning=True),
    "torch per core": Way("torch", per_core=True),
    "torch per core compiled": Way("torch", per_core=True, compiled=True),
    "flax": Way("flax"),
    "flax per core": Way("flax", per_core=True),
}

# OpenMP of GNU spins 300,000 times, some ms (libgomp, GOMP_SPINCOUNT); that of LLVM
# and Intel 200 ms (KMP_BLOCKTIME).
REST_SECONDS = 0.3
NOT_INHERITED = (
    *("XLA_FLAGS", "JAX_NUM_CPU_DEVICES"),  # what is set for ours
    *("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"),  # what a way decides
)


class Failed(Exception):
    """A process could not train: the last line of its error."""


def cores() -> list[int]:
    """Those that this process may use where the system tells, or all."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextlib.contextmanager
def processes_of(way: Way) -> Iterator[list[subprocess.Popen]]:
    """The processes of a way, which wait to be told; they end with the context."""
    places = [[core] for core in cores()] if way.per_core else [cores()]
    with contextlib.ExitStack() as stack:
        started = []
        for place in places:
            command = [sys.executable, "-m", "benchmarks.processes", json.dumps(way)]
            process = subprocess.Popen(
                [*command, json.dumps(place)],
                env=environment_of(way, len(place)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(end, process)
            started.append(process)
        yield started


def environment_of(way: Way, num_threads: int) -> dict[str, str]:
    """The variables of a process of a way."""
    paths = [str(pathlib.Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    inherited = {name: x for name, x in os.environ.items() if name not in NOT_INHERITED}
    waiting = {} if way.spinning else {"OMP_WAIT_POLICY": "passive"}
    return (
        inherited
        | waiting
        | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "OMP_NUM_THREADS": str(num_threads),
            "TORCHINDUCTOR_COMPILE_THREADS": "1",  # it would keep a pool of them
            "JAX_PLATFORMS": "cpu",
        }
    )


def rest(way: Way) -> None:
    """Waits until no thread of a way that had its turn spins any more."""
    if way.spinning:
        time.sleep(REST_SECONDS)


def end(process: subprocess.Popen) -> None:
    """Closes its input, at which it ends, and waits."""
    with contextlib.suppress(BrokenPipeError):  # it ended by itself
        process.stdin.close()  # type: ignore[union-attr]
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()  # type: ignore[union-attr]


def tell(process: subprocess.Popen, **order: Any) -> None:
    """Sends an order, without waiting for what comes of it."""
    with contextlib.suppress(BrokenPipeError):  # `answers` says that it ended
        process.stdin.write(json.dumps(order) + "\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]


def answers(started: list[subprocess.Popen]) -> list[dict[str, Any]]:
    """Waits until each has carried out its order.

    All answers are read, also after one that is an error: none is left to be taken for
    that to the next order.

    Raises:
        Failed: if one could not, or ended.
    """
    lines = [process.stdout.readline() for process in started]  # type: ignore[union-attr]
    ended = {"error": "the process ended"}
    found = [json.loads(line) if line.endswith("\n") else ended for line in lines]
    for result in found:
        if "error" in result:
            raise Failed(result["error"])
    return found


def load(started: list[subprocess.Popen], work: Workload, folder: str) -> float:
    """Seconds until the first process has taken a step; all have when it returns.

    Raises:
        Failed: if one of them cannot.
    """
    order = {"load": work, "data": folder}
    tell(started[0], **order)
    (first,) = answers(started[:1])
    for process in started[1:]:  # afterwards: they find what the first one compiled
        tell(process, **order)
    answers(started[1:])
    return first["compile_seconds"]


def train(started: list[subprocess.Popen], num_steps: int) -> tuple[float, float]:
    """Seconds until each process has taken these steps, all at once; core seconds.

    Raises:
        Failed: if one of them cannot, or its loss is not finite.
    """
    start = time.perf_counter()
    for process in started:
        tell(process, steps=num_steps)
    found = answers(started)
    return time.perf_counter() - start, sum(x["core_seconds"] for x in found)


def serve(way: Way, replies: TextIO) -> None:
    """Carries out the orders of the standard input until it ends."""
    import numpy as np

    peer = importlib.import_module(f"benchmarks.peers_{way.framework}")
    run = None
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if "load" in order:
                run = None  # frees the one before
                work = Workload(*(tuple_of(x) for x in order["load"]))
                x, y = (np.load(f"{order['data']}/{name}.npy") for name in "xy")
                start = time.perf_counter()
                run = peer.start(work, x, y, compiled=way.compiled)
                run(1)
                reply = {"compile_seconds": time.perf_counter() - start}
            else:
                start = time.process_time()
                loss = run(order["steps"])
                reply = {"loss": loss, "core_seconds": time.process_time() - start}
                if not np.isfinite(loss):
                    reply = {"error": "diverged"}
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            reply = {"error": f"{type(error).__name__}: {lines[0]}"}
        print(json.dumps(reply), file=replies, flush=True)


def tuple_of(x: Any) -> Any:
    """JSON has lists where a workload has tuples."""
    return tuple(x) if isinstance(x, list) else x


def main() -> None:
    """Binds this process to its cores and serves; arguments: a way and its cores."""
    way, place = (json.loads(text) for text in sys.argv[1:])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, place)
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no reply
    serve(Way(*way), replies)


if __name__ == "__main__":
    main()
