"""Seconds per network and epoch: ours over lanes against the fastest way of a peer.

python -m benchmarks.training [--short] [--only cnn-5x5-sgd] [--repeats 5]
    [--json [FILE]] [--against benchmarks/baseline.json]

The peers are PyTorch, eager and compiled, and a flax loop with optax, each in one
process on all cores, and in one process per core with one thread each, all at once.
All train the same networks on the same images (random bytes where the set is not
prepared), a new permutation each epoch, in float32. A way's seconds per network are
those of the clock, divided by the networks that are finished then; a single network has
one process only. Processes are started, compiled and warmed up before; then epochs of
ours and of every way take turns. A way that takes more than three times as long as the
fastest while it warms up takes no further turns: its seconds are those of the warm-up.

The limit is the epoch's matrix products at the speed of a large one, measured in the
same run on the same cores. CPUs only.
"""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import json
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from benchmarks import guard, ours, processes
from benchmarks.processes import WAYS, Failed
from benchmarks.workloads import SHORT, WORKLOADS, Workload
from normjax.errors import InputError
from normjax.study.environment import environment
from normjax.training import devices

SLOW = 3  # times the fastest way in the warm-up
WARM_UP = 3  # tenths of an epoch, of which the fastest counts
Times = dict[str, list[float]]  # seconds per network and epoch, by way


class Peers:
    """The processes of all ways, for one workload after the other."""

    def __init__(self, started: dict[str, list], left_out: dict[str, str]):
        self.started, self.left_out = started, left_out

    def load(self, work: Workload, folder: str) -> tuple[dict[str, float], Times]:
        """Compiles and warms up: compile seconds, and those of an epoch, by way."""
        compile_seconds, warm = {}, {}
        for way, started in self.started.items():
            try:
                compile_seconds[way] = processes.load(started, work, folder)
            except Failed as error:
                if not WAYS[way].compiled:
                    raise
                self.left_out[way] = str(error)
                continue
            few = max(1, work.num_steps // 10)
            tried = [self.seconds(way, few) for _ in range(WARM_UP)]
            warm[way] = [min(tried) * work.num_steps / few]
            progress(f"{way}: {compile_seconds[way]:.1f} s to compile")
        return compile_seconds, warm

    def seconds(self, way: str, num_steps: int) -> float:
        """Of a network, when each process of a way takes so many steps."""
        started = self.started[way]
        return processes.train(started, num_steps) / len(started)


@contextlib.contextmanager
def peers(ways: list[str]) -> Iterator[Peers]:
    """Starts the processes of these ways."""
    left_out = {}
    if len(processes.cores()) == 1:
        left_out = {way: "there is one core" for way in ways if WAYS[way].per_core}
    with contextlib.ExitStack() as stack:
        start = lambda way: stack.enter_context(processes.processes_of(WAYS[way]))
        started = {way: start(way) for way in ways if way not in left_out}
        yield Peers(started, left_out)


def measure(
    work: Workload, peers: Peers, *, repeats: int, folder: str
) -> list[dict[str, Any]]:
    """The rows of a workload, one for each number of lanes."""
    x, y, data = ours.arrays(work)
    for name, values in (("x", x), ("y", y)):
        np.save(f"{folder}/{name}.npy", values)
    left_out = peers.left_out
    peers.left_out = dict(left_out)
    compile_seconds, times = peers.load(work, folder)
    fastest = min(seconds for (seconds,) in times.values())
    turns = [way for way, (seconds,) in times.items() if seconds <= SLOW * fastest]
    times |= {way: [] for way in turns}
    trained = {n: ours.epochs(work, n, x, y, 1 + repeats) for n in work.lanes}
    compiling = {n: next(epochs)[1] for n, epochs in trained.items()}
    for n, seconds in compiling.items():
        progress(f"ours, {n} lanes: {seconds:.1f} s to compile")
    own: dict[int, list[float]] = {n: [] for n in work.lanes}
    products = [ours.product_seconds()]
    for _ in range(repeats):
        for n, epochs in trained.items():
            own[n].append(next(epochs)[0])
        for way in turns:
            times[way].append(peers.seconds(way, work.num_steps))
        products.append(ours.product_seconds())
    speed = 2 * ours.PRODUCT**3 / min(products)
    shared = {
        "data": data,
        "limit_seconds": ours.operations(work) / speed,
        "left_out": peers.left_out,
        "peer_compile_seconds": compile_seconds,
    }
    peers.left_out = left_out
    return [
        row(work, n, own[n], times) | shared | {"compile_seconds": compiling[n]}
        for n in work.lanes
    ]


def progress(text: str) -> None:
    """A line for who waits."""
    print(text, file=sys.stderr, flush=True)


def row(work: Workload, lanes: int, own: list[float], times: Times) -> dict[str, Any]:
    """What is told of ours and of the ways that so many networks can be trained in."""
    possible = {w: t for w, t in times.items() if lanes > 1 or not WAYS[w].per_core}
    name, seconds = fastest(possible), statistics.median(own)
    peer_seconds = statistics.median(possible[name])
    num_trained = work.num_steps * work.batch_size
    return {
        "lanes": lanes,
        "num_examples": num_trained,
        "cores": len(processes.cores()),
        "seconds": seconds,
        "ours": summary(own),
        "peer": name,
        "peer_seconds": peer_seconds,
        "peer_ways": {way: summary(t) for way, t in possible.items()},
        "ratio": peer_seconds / seconds,
        "images_per_second": num_trained / seconds,
        "peer_images_per_second": num_trained / peer_seconds,
    }


def fastest(times: Times) -> str:
    """The way with the smallest median."""
    return min(times, key=lambda way: statistics.median(times[way]))


def summary(seconds: list[float]) -> dict[str, float]:
    """Minimum, median and maximum, and of how many."""
    return {
        "min": min(seconds),
        "median": statistics.median(seconds),
        "max": max(seconds),
        "repeats": len(seconds),
    }


def lines(row: dict[str, Any]) -> Iterator[str]:
    """A row in words: a line for ours, one for each way."""
    text = "{median:9.4f} s  [{min:.4f}, {max:.4f}]".format
    name = "{workload}, {lanes} lanes, {num_examples} examples".format(**row)
    limit = "{limit_seconds:.4f} s".format(**row)
    yield f"{name}: {row['ratio']:.2f} times {row['peer']}, limit {limit}"
    yield f"  {'ours':24}{text(**row['ours'])}"
    for way, seconds in row["peer_ways"].items():
        slow = "  warm-up only" if seconds["repeats"] == 1 else ""
        yield f"  {way:24}{text(**seconds)}{slow}"
    for way, reason in row["left_out"].items():
        yield f"  {way:24}left out: {reason}"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parsed = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parsed.add_argument("--short", action="store_true", help="few rows: two minutes")
    parsed.add_argument("--only", choices=WORKLOADS, help="one workload alone")
    parsed.add_argument(
        "--repeats", type=int, default=5, choices=range(2, 90), help="epochs of each"
    )
    parsed.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="as JSON, on the terminal"
    )
    parsed.add_argument("--against", metavar="FILE", help="exit 1 if a ratio fell")
    return parsed


def chosen(options: argparse.Namespace) -> dict[str, Workload]:
    """The workloads that are asked for."""
    works = SHORT if options.short else WORKLOADS
    if options.only and options.only not in works:
        rule = f"must be one of {', '.join(works)} with --short"
        raise InputError("only", options.only, rule, "leave --short out")
    return {options.only: works[options.only]} if options.only else works


def run(works: dict[str, Workload], ways: list[str], repeats: int, show=print) -> list:
    """Measures all rows, and shows each as soon as it is there."""
    about, rows = environment() | {"torch": importlib.metadata.version("torch")}, []
    with tempfile.TemporaryDirectory() as folder, peers(ways) as started:
        for name, work in works.items():
            for one in measure(work, started, repeats=repeats, folder=folder):
                rows.append({"workload": name} | one | {"environment": about})
                for line in lines(rows[-1]):
                    show(line, flush=True)
    return rows


def main() -> None:
    """Prints rows or JSON; exits with 1 if a ratio fell against the baseline."""
    parsed = parser()
    options = parsed.parse_args()
    if importlib.util.find_spec("torch") is None:
        parsed.error("PyTorch is not installed: pip install -e '.[torch]' brings it")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)  # compile time is shown
    devices.configure()
    # with --short nothing waits for the compiler of PyTorch
    ways = [name for name, way in WAYS.items() if not (options.short and way.compiled)]
    try:
        works = chosen(options)
        baseline = guard.read(pathlib.Path(options.against)) if options.against else []
    except InputError as error:
        parsed.error(str(error))
    to_terminal = options.json == "-"
    show = (lambda *a, **k: None) if to_terminal else print
    rows = run(works, ways, options.repeats, show)
    if to_terminal:
        print(json.dumps({"rows": rows}, indent=1))
    elif options.json:
        guard.write(pathlib.Path(options.json), rows)
    if not options.against:
        return
    told = guard.comparison(rows, baseline)
    for line in filter(None, [guard.conditions(rows, baseline), *(t for _, t in told)]):
        print(line, file=sys.stderr)
    sys.exit(any(fell for fell, _ in told))


if __name__ == "__main__":
    main()
