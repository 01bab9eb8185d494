"""Seconds per network and step, and peak memory, of 1 to 1,000 lanes by mapping.

Run    python -m benchmarks.lanes [--short] [--only mlp] [--lanes 10,100]
           [--rise] [--memory] [--out lanes.json] [--plot docs/images/lanes.svg]

Every mapping trains the same lanes in one process, a few steps of each in turn, after
two of each that compile and warm up; `share` is the ratio to the fastest of them, of
the medians and of the least. Peak memory is that of a process for each mapping, of
which most is that of jax itself. Inputs are random bytes: the time does not depend on
them. --out is read again, and what is in it is not measured again.
"""

import argparse
import itertools
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

import normjax
from benchmarks import lanes_report, timing
from benchmarks.lanes_report import FIXED
from benchmarks.memory import resident
from normjax.study import plan
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
    "wide-cnn": {
        "model": {"name": "cnn", "widths": (64,) * 4, "convs_per_pool": 2},
        "arms": {"norm": ("batch",)},
    },
}
LANES = 1, 2, 3, 4, 10, 32, 100, 320, 1_000
MOST = {"cnn": 32, "wide-cnn": 4}  # lanes of a program; others have all
STEPS = {"wide-cnn": 4}  # others have 32 in few lanes
SHORT = {"only": "mlp,narrow-mlp", "lanes": "1,10,100", "repeats": 3}
EXAMPLES = 4_096


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
    """Whether a bundle of that size has at least as many lanes as it is padded by.

    Batches are divided where lanes are fewer than twice the devices.
    """
    if mapping == mappings.DATA_PARALLEL:
        return number < 2 * len(jax.devices())
    return 2 * number >= mappings.bundle_size(mapping)


def comparison(name: str, number: int, repeats: int) -> dict[str, Any]:
    """A row: seconds of the mappings, in turn."""
    study = study_of(name, number)
    arm = study.arms[0]
    steps = max(4, min(STEPS.get(name, 32), 1_000 // number))
    fixed = [x for x in FIXED if sensible(x, number)]
    runs = {x: steps_of(study, arm_in(study, arm, Way(x)), steps) for x in fixed}
    compiling = {x: steps * number * next(run) for x, run in runs.items()}
    for run in runs.values():
        next(run)
    rounds = [{x: next(run) for x, run in runs.items()} for _ in range(repeats)]
    spreads = {x: timing.spread([turn[x] for turn in rounds]) for x in fixed}
    seconds = {x: spread._asdict() for x, spread in spreads.items()}
    best = {of: min(seconds[x][of] for x in fixed) for of in ("median", "min")}
    return {
        "program": name,
        "lanes": number,
        "steps": steps,
        "mappings": {
            x: {
                "seconds": seconds[x],
                "share": {of: seconds[x][of] / least for of, least in best.items()},
                "first_seconds": round(compiling[x], 2),
            }
            for x in fixed
        },
    }


def by_number(name: str, repeats: int) -> dict[str, Any]:
    """Seconds per network and step of 10, 100 and 1,000 lanes as usual, in turn."""
    runs = {}
    for number in (10, 100, 1_000):
        study = study_of(name, number)
        runs[number] = steps_of(study, study.arms[0], 8)
    for run in runs.values():
        next(run), next(run)
    often = {10: 5, 100: 2, 1_000: 1}  # in a round, for calls of few lanes are short
    rounds = [
        {
            number: statistics.mean(next(run) for _ in range(often[number]))
            for number, run in runs.items()
        }
        for _ in range(repeats)
    ]
    spreads = {n: timing.spread([turn[n] for turn in rounds]) for n in runs}
    return {str(number): spread._asdict() for number, spread in spreads.items()}


def peak(name: str, number: int, mapping: str) -> None:
    """Prints the peak memory in MiB of this process, or of its accelerator."""
    study = study_of(name, number)
    steps = steps_of(study, arm_in(study, study.arms[0], Way(mapping)), 2)
    next(steps), next(steps)
    stats = jax.devices()[0].memory_stats() or {}
    print(round(stats.get("peak_bytes_in_use", 2**20 * resident("VmHWM")) / 2**20))


def peak_of(name: str, number: int, mapping: str) -> int:
    """What `peak` prints in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.lanes", "--peak"]
    words = [*command, name, str(number), mapping]
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(ran.stdout.split()[-1])


def flags() -> argparse.Namespace:
    """What the command says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PROGRAMS))
    parser.add_argument("--lanes", default=",".join(map(str, LANES)))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="a minute")
    parser.add_argument("--rise", action="store_true", help="1,000 lanes against ten")
    parser.add_argument("--memory", action="store_true", help="peaks too")
    parser.add_argument("--out", type=Path, help="JSON")
    parser.add_argument("--plot", type=Path, help="SVG")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.short:
        vars(given).update(SHORT)
    return given


def main() -> None:
    """Prints a block for each program and number of lanes, and writes what is asked."""
    given = flags()
    devices.configure()
    if given.peak:
        return peak(given.peak[0], int(given.peak[1]), given.peak[2])
    content: dict[str, Any] = {"environment": environment(), "rows": []}
    if given.out and given.out.exists():
        content = json.loads(given.out.read_text())
    names = given.only.split(",")
    for name in names if given.rise else ():
        found = by_number(name, given.repeats)
        content.setdefault("by_number", {})[name] = found
        print(lanes_report.rise(name, found), flush=True)
    rows = {(row["program"], row["lanes"]): row for row in content["rows"]}
    for key in itertools.product(names, map(int, given.lanes.split(","))):
        if key[1] > MOST.get(key[0], math.inf):
            continue
        if key not in rows:
            rows[key] = comparison(*key, given.repeats)
            lanes.forget_programs()
        for x, found in rows[key]["mappings"].items():
            if given.memory and "peak_mib" not in found:
                found["peak_mib"] = peak_of(*key, x)
        print(lanes_report.block(rows[key]), flush=True)
        order = lambda key: (list(PROGRAMS).index(key[0]), key[1])
        content["rows"] = [rows[key] for key in sorted(rows, key=order)]
        if given.out:
            given.out.write_text(json.dumps(content, indent=2) + "\n")
    print("\n".join(lanes_report.crossovers(content["rows"])))
    if given.plot:
        lanes_report.write_plot(content["rows"], given.plot)


if __name__ == "__main__":
    main()
