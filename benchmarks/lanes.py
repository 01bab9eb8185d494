"""Seconds per network and step, and peak memory, of 1 to 1,000 lanes by mapping.

Run    python -m benchmarks.lanes [--short] [--only mlp] [--lanes 10,100]
           [--out lanes.json] [--plot docs/images/lanes.svg]

Every mapping trains the same lanes in one process, a few steps of each in turn, after
two of each that compile and warm up; `share` is the ratio to the fastest of them, of
the medians and of the least. Beside the fixed mappings stand `auto` and
`fastest`: what a study takes, by a timing of its own (`normjax.study.timings`). Peak
memory is that of a process for each mapping, of which most is that of jax itself.
Inputs are random bytes: the time does not depend on them. --out is read again, and what
is in it is not measured again.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import normjax
from benchmarks import lanes_plot
from benchmarks.memory import resident
from normjax.study import plan, timings
from normjax.study.environment import environment
from normjax.study.plan import Arm, Study
from normjax.study.timings import Way, arm_in
from normjax.training import devices, lanes, mappings

PROGRAMS: dict[str, dict[str, Any]] = {
    "mlp": {"model": {"widths": (128, 128)}},
    "deep-mlp": {"model": {"widths": (50,) * 7}},
    "narrow-mlp": {"model": {"widths": (16, 16)}, "batch_size": 16},
    "cnn": {
        "model": {"name": "cnn", "widths": (16, 32), "kernel_size": 5},
        "batch_size": 32,
    },
}
LANES = 1, 2, 4, 10, 32, 100, 320, 1_000
MOST = {"cnn": 32}  # lanes of a program; others have all
FIXED = "map", "map-4", "map-8", "map-32", "vmap"
SHORT = {"only": "mlp,narrow-mlp", "lanes": "1,10,100", "repeats": 3}
EXAMPLES = 4_096
LONG = 10**9  # steps of all networks, of which no timing is a noteworthy share


def study_of(name: str, number: int) -> Study:
    """A program of so many lanes on random bytes, with next to nothing to evaluate."""
    draw = np.random.default_rng(0)
    images = lambda n: draw.integers(0, 256, (n, 28, 28), np.uint8)
    labels = lambda n: (np.arange(n) % 10).astype(np.int32)
    sizes = EXAMPLES, 10, 10
    data = tuple(x for n in sizes for x in (images(n), labels(n)))
    rate = {"learning_rate": (1e-3,)}
    choices = {"num_seeds": number, "num_epochs": 100, "settings": rate}
    return plan.study(normjax.config(**PROGRAMS[name], **choices), data=data)


def steps_of(study: Study, arm: Arm, steps: int) -> Iterator[float]:
    """Seconds per network and step, of a few steps; the first ones with compiling."""
    number = len(study.seeds)
    epochs = lanes.train(
        study.keys,
        {name: np.repeat(x[:1], number) for name, x in arm.settings.items()},
        study.data,
        program=arm.program._replace(steps_per_epoch=steps),
        num_epochs=1_000,
    )
    start = time.perf_counter()
    for state, _ in epochs:
        jax.block_until_ready(state)
        yield (time.perf_counter() - start) / steps / number
        start = time.perf_counter()


def sensible(mapping: str, number: int) -> bool:
    """Whether a group of that size has at least as many lanes as it is padded by."""
    return 2 * number >= mappings.together(mapping)


def measured(name: str, number: int, repeats: int) -> dict[str, Any]:
    """A row: seconds of the mappings, in turn, and what a study chooses."""
    study = study_of(name, number)
    arm = study.arms[0]
    steps = max(4, min(32, 1_000 // number))
    fixed = [x for x in FIXED if sensible(x, number)]
    found = timings.measured(study, arm, number, LONG)[0]
    fastest = timings.chosen(found)
    ways = {Way(x) for x in fixed} | {fastest}
    runs = {way: steps_of(study, arm_in(arm, way), steps) for way in sorted(ways)}
    compiling = {way: steps * number * next(run) for way, run in runs.items()}
    for run in runs.values():
        next(run)
    rounds = [{way: next(run) for way, run in runs.items()} for _ in range(repeats)]
    seconds = {way: spread([turn[way] for turn in rounds]) for way in runs}
    best = {of: min(seconds[Way(x)][of] for x in fixed) for of in ("median", "min")}
    on_cpu = jax.default_backend() == "cpu"
    chosen = {"auto": Way(arm.program.mapping) if on_cpu else fastest}
    chosen["fastest"] = fastest
    rows = {x: Way(x) for x in fixed} | chosen
    return {
        "program": name,
        "lanes": number,
        "steps": steps,
        "mappings": {
            x: {
                "way": str(way),
                "seconds": seconds[way],
                "share": {of: seconds[way][of] / x for of, x in best.items()},
                "first_seconds": round(compiling[way], 2),
            }
            for x, way in rows.items()
        },
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    middle = statistics.median(values)
    return {"median": middle, "min": min(values), "max": max(values)}


def peak(name: str, number: int, mapping: str) -> None:
    """Prints the peak memory in MiB of this process, or of its accelerator."""
    study = study_of(name, number)
    steps = steps_of(study, arm_in(study.arms[0], Way(mapping)), 2)
    next(steps), next(steps)
    stats = jax.devices()[0].memory_stats() or {}
    print(round(stats.get("peak_bytes_in_use", 2**20 * resident("VmHWM")) / 2**20))


def peak_of(name: str, number: int, mapping: str) -> int:
    """What `peak` prints in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.lanes", "--peak"]
    words = [*command, name, str(number), mapping]
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(ran.stdout.split()[-1])


def crossovers(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each program: which fixed mapping is fastest from how many lanes on.

    And by how much a network of 1,000 costs more than one of ten.
    """
    lines = []
    for name in dict.fromkeys(row["program"] for row in rows):
        mine = [row for row in rows if row["program"] == name]
        seconds = lambda row, x: row["mappings"][x]["seconds"]["median"]
        names = lambda row: [x for x in FIXED if x in row["mappings"]]
        best = [min(names(row), key=lambda x, r=row: seconds(r, x)) for row in mine]
        changes = [i for i, x in enumerate(best) if not i or best[i - 1] != x]
        told = ", ".join(f"{best[i]} from {mine[i]['lanes']} lanes" for i in changes)
        by_lanes = {row["lanes"]: seconds(row, "auto") for row in mine}
        few, many = by_lanes.get(10), by_lanes.get(1_000)
        rise = f"; 1,000 lanes against 10: {many / few:.2f}" if few and many else ""
        lines.append(f"{name}: {told}{rise}")
    return lines


def line_of(row: dict[str, Any]) -> str:
    """A row in words."""
    each = []
    for name, found in row["mappings"].items():
        share = found["share"]
        told = f" ({found['way']})" if name in ("auto", "fastest") else ""
        spans = f"{share['median']:.2f} (least: {share['min']:.2f})"
        memory = f" {found['peak_mib']} MiB" if "peak_mib" in found else ""
        micro = 1e6 * found["seconds"]["median"]
        each.append(f"  {name + told:16} {micro:9,.1f} us  x {spans}{memory}")
    return "\n".join([f"{row['program']}, {row['lanes']:,} lanes", *each])


def main() -> None:
    """Prints a block for each program and number of lanes, and writes what is asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PROGRAMS))
    parser.add_argument("--lanes", default=",".join(map(str, LANES)))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="a minute")
    parser.add_argument("--memory", action="store_true", help="peaks too")
    parser.add_argument("--out", type=Path, help="JSON")
    parser.add_argument("--plot", type=Path, help="SVG")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    devices.configure()
    if given.peak:
        return peak(given.peak[0], int(given.peak[1]), given.peak[2])
    if given.short:
        vars(given).update(SHORT)
    content: dict[str, Any] = {"environment": environment(), "rows": []}
    if given.out and given.out.exists():
        content = json.loads(given.out.read_text())
    rows = {(row["program"], row["lanes"]): row for row in content["rows"]}
    for name in given.only.split(","):
        for number in map(int, given.lanes.split(",")):
            if number > MOST.get(name, math.inf):
                continue
            key = name, number
            if key not in rows:
                rows[key] = measured(*key, given.repeats)
                lanes.forget_programs()
            for x, found in rows[key]["mappings"].items():
                if given.memory and x in FIXED and "peak_mib" not in found:
                    found["peak_mib"] = peak_of(*key, x)
            print(line_of(rows[key]), flush=True)
            order = lambda key: (list(PROGRAMS).index(key[0]), key[1])
            content["rows"] = [rows[key] for key in sorted(rows, key=order)]
            if given.out:
                given.out.write_text(json.dumps(content, indent=2) + "\n")
    print("\n".join(crossovers(content["rows"])))
    if given.plot:
        lanes_plot.write(content["rows"], given.plot)


if __name__ == "__main__":
    main()
