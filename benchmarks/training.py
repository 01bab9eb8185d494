"""Seconds per network and epoch: ours over lanes against the fastest way of a peer.

python -m benchmarks.training [--short] [--only cnn-5x5-sgd] [--repeats 5]
    [--json [FILE]] [--against benchmarks/baseline.json]

The peers are PyTorch, eager and compiled, and a flax loop with optax, each in one
process on all cores, and in one process per core with one thread each, all at once.
On all cores PyTorch is timed with threads that sleep while they wait, and with those of
its default, which spin. All train the same networks on the same images (random bytes
where the set is not prepared), a new permutation each epoch, in float32. A way's
seconds per network are those of the clock until all are finished, divided by their
number: three networks on two cores take two rounds. A single network has one process
only. Core seconds are those in which cores worked, of all threads, also of those that
spin; they change less than the clock's where other work gets in between.

Processes are started, compiled and warmed up before; then epochs of ours and of every
way take turns, with a pause after threads that spin. A way that takes more than three
times as long as the fastest while it warms up takes no further turns: its seconds are
those of the warm-up. Where few lanes leave cores idle, ours is timed by the usual
mapping and by `data-parallel`, and the ratio is that of the faster one.

The limit is the epoch's matrix products at the speed of a large one, measured in the
same run on the same cores. CPUs only.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from benchmarks import guard, ours, training_rows
from benchmarks.peers import Peers, peers, progress
from benchmarks.processes import WAYS, Failed
from benchmarks.training_rows import Spent, Times, Turn
from benchmarks.workloads import SHORT, WORKLOADS, Workload
from normjax.errors import InputError
from normjax.study.environment import environment
from normjax.training import devices


def measure(
    work: Workload, peers: Peers, *, repeats: int, folder: str
) -> list[dict[str, Any]]:
    """The rows of a workload, one for each number of lanes."""
    x, y, data = ours.arrays(work)
    for name, values in (("x", x), ("y", y)):
        np.save(f"{folder}/{name}.npy", values)
    loaded = peers.load(work, folder)
    ways = {n: ours.ways(n) for n in work.lanes}
    trained = {
        own: ours.epochs(work, own, x, y, 1 + repeats) for n in ways for own in ways[n]
    }
    compiling = {own: next(epochs)[1] for own, epochs in trained.items()}
    for (n, mapping), seconds in compiling.items():
        progress(f"ours, {n} lanes, {mapping}: {seconds:.1f} s to compile")
    turns = training_rows.fast_turns(loaded.warm, work.lanes)
    turn = lambda turn: peers.spent(turn, work.num_steps)
    own, times, product_seconds = in_turn(trained, turns, turn, repeats)
    speed = 2 * ours.PRODUCT**3 / product_seconds
    shared = {
        "data": data,
        "limit_seconds": ours.operations(work) / speed,
        "left_out": loaded.left_out,
        "peer_compile_seconds": loaded.compile_seconds,
    }
    rows = []
    for n in work.lanes:
        mine = {way.mapping: own[way] for way in ways[n]}
        rows.append(training_rows.row(work, n, mine, loaded.warm | times) | shared)
        rows[-1]["compile_seconds"] = compiling[ours.Own(n, rows[-1]["mapping"])]
    return rows


def in_turn(
    trained: dict[ours.Own, Iterator[tuple[float, float]]],
    turns: list[Turn],
    spent: Callable[[Turn], Spent],
    repeats: int,
) -> tuple[dict[ours.Own, list[Spent]], Times, float]:
    """Epochs of ours, those of each turn, and the least of the product."""
    own: dict[ours.Own, list[Spent]] = {way: [] for way in trained}
    times: Times = {turn: [] for turn in turns}
    products = [ours.product_seconds()]
    for _ in range(repeats):
        for way, epochs in trained.items():
            before = time.process_time()
            seconds, _ = next(epochs)
            used = time.process_time() - before
            own[way].append(Spent(seconds, used / way.lanes))
        for turn in turns:
            times[turn].append(spent(turn))
        products.append(ours.product_seconds())
    return own, times, min(products)


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


def keys(works: dict[str, Workload]) -> list[tuple]:
    """By which the rows of these workloads will be found again."""
    return [
        (name, lanes, work.num_steps * work.batch_size)
        for name, work in works.items()
        for lanes in work.lanes
    ]


def run(works: dict[str, Workload], ways: list[str], repeats: int, show) -> list:
    """Measures all rows; `show` gets each as soon as it is there."""
    about, rows = environment() | {"torch": importlib.metadata.version("torch")}, []
    with tempfile.TemporaryDirectory() as folder, peers(ways) as started:
        for name, work in works.items():
            for one in measure(work, started, repeats=repeats, folder=folder):
                rows.append({"workload": name} | one | {"environment": about})
                show(rows[-1])
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
    to_terminal, path = options.json == "-", pathlib.Path(options.json or "-")
    to_file = options.json and not to_terminal

    def show(row: guard.Row) -> None:
        if not to_terminal:
            print(*training_rows.lines(row), sep="\n", flush=True)
        if to_file:
            guard.write(path, [row])

    try:  # what is wrong is told before anything is measured
        works, baseline = chosen(options), []
        if options.against:
            baseline = guard.baseline(pathlib.Path(options.against), keys(works))
        if to_file:
            guard.kept_rows(path)
        rows = run(works, ways, options.repeats, show)
    except (InputError, Failed) as error:
        parsed.exit(2, f"{parsed.prog}: error: {error}\n")
    if to_terminal:
        print(json.dumps({"rows": rows}, indent=1))
    if not options.against:
        return
    told = guard.comparison(rows, baseline)
    for line in filter(None, [guard.conditions(rows, baseline), *(t for _, t in told)]):
        print(line, file=sys.stderr)
    sys.exit(any(fell for fell, _ in told))


if __name__ == "__main__":
    main()
