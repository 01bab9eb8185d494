"""The ways to train a peer's networks, each in processes that wait until asked.

A process has imported its framework, compiled and warmed up before it is timed. It is
told what to do in lines of JSON, and sleeps in between:

    {"load": [a workload], "data": folder} -> {"compile_seconds": 1.5}, or {"error": ..}
    {"steps": 100}                         -> {"loss": 0.5, "core_seconds": 0.2}

Where each core has a process of its own, that one is bound to its core before it
imports anything, so that no library starts more than one thread. The threads of
PyTorch on all cores sleep while they wait, unless OMP_WAIT_POLICY says otherwise: by
default they spin, and where other work gets in between, a step takes ten times as long.
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


WAYS = {
    "torch": Way("torch"),
    "torch compiled": Way("torch", compiled=True),
    "torch per core": Way("torch", per_core=True),
    "torch per core compiled": Way("torch", per_core=True, compiled=True),
    "flax": Way("flax"),
    "flax per core": Way("flax", per_core=True),
}


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
    drop = {"XLA_FLAGS", "JAX_NUM_CPU_DEVICES"}  # what is set for ours
    inherited = {name: x for name, x in os.environ.items() if name not in drop}
    paths = [str(pathlib.Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    with contextlib.ExitStack() as stack:
        started = []
        for place in places:
            variables = {
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                "OMP_NUM_THREADS": str(len(place)),
                "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive"),
                "TORCHINDUCTOR_COMPILE_THREADS": "1",  # it would keep a pool of them
                "JAX_PLATFORMS": "cpu",
            }
            command = [sys.executable, "-m", "benchmarks.processes", json.dumps(way)]
            process = subprocess.Popen(
                [*command, json.dumps(place)],
                env=inherited | variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(end, process)
            started.append(process)
        yield started


def end(process: subprocess.Popen) -> None:
    """Closes its input, at which it ends, and waits."""
    process.stdin.close()  # type: ignore[union-attr]
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()  # type: ignore[union-attr]


def tell(process: subprocess.Popen, **order: Any) -> None:
    """Sends an order, without waiting for what comes of it."""
    process.stdin.write(json.dumps(order) + "\n")  # type: ignore[union-attr]
    process.stdin.flush()  # type: ignore[union-attr]


def answer(process: subprocess.Popen) -> dict[str, Any]:
    """Waits until the order is carried out."""
    line = process.stdout.readline()  # type: ignore[union-attr]
    result = json.loads(line) if line else {"error": "the process ended"}
    if "error" in result:
        raise Failed(result["error"])
    return result


def load(started: list[subprocess.Popen], work: Workload, folder: str) -> float:
    """Seconds until the first process has taken a step; all have when it returns.

    Raises:
        Failed: if one of them cannot.
    """
    order = {"load": work, "data": folder}
    tell(started[0], **order)
    seconds = answer(started[0])["compile_seconds"]
    for process in started[1:]:  # afterwards: they find what the first one compiled
        tell(process, **order)
    for process in started[1:]:
        answer(process)
    return seconds


def train(started: list[subprocess.Popen], num_steps: int) -> tuple[float, float]:
    """Seconds until each process has taken these steps, all at once; core seconds."""
    start = time.perf_counter()
    for process in started:
        tell(process, steps=num_steps)
    core_seconds = sum(answer(process)["core_seconds"] for process in started)
    return time.perf_counter() - start, core_seconds


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
