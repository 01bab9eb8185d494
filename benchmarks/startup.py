"""Seconds until normjax is imported, a study trains its first step, and is done.

python -m benchmarks.startup [--json FILE] [--repeats 5] [--no-study]

Every run is a process of its own. Cold is a launch whose cache of programs and decoded
data is empty, warm the same one again. The runs take turns; the table has the median,
the least and the most. `imports` come from Python's own clock (`-X importtime`), and
tracing, lowering and compiling from jax; `data` has the import of what reads it. The
first step begins when the program of an epoch is compiled.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import timing

ROOT = pathlib.Path(__file__).parents[1]
PARTS = ("imports", "data", "tracing", "lowering", "compiling")
COLUMNS = ("seconds", *PARTS, "programs")
HEAVIEST = 10  # packages that are told


def process(words: list[str], cache: str) -> tuple[float, str, dict[str, float]]:
    """Runs Python; seconds, what it printed, and the import seconds by package."""
    variables = {**os.environ, "NORMJAX_CACHE": cache, "PYTHONPATH": str(ROOT)}
    start = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", *words],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
    )
    seconds = time.monotonic() - start
    if ran.returncode:
        sys.exit(ran.stderr)
    by_package: collections.Counter = collections.Counter()
    for own, name in re.findall(
        r"^import time: +(\d+) \| +\d+ \| +([\w.]+)$", ran.stderr, re.MULTILINE
    ):
        by_package[name.partition(".")[0]] += int(own) / 1e6
    return seconds, ran.stdout, dict(by_package)


def statement(words: list[str], cache: str) -> dict:
    """A row of a process that launches nothing."""
    seconds, _, imports = process(words, cache)
    return {"seconds": seconds, "imports": sum(imports.values()), "packages": imports}


def launched(until: str, config: str, cache: str) -> dict:
    """A row of a launch, up to its first step or whole."""
    with tempfile.TemporaryDirectory() as workdir:
        words = ["-m", "benchmarks._launched", str(time.monotonic()), until]
        words += [f"--config={config}", f"--workdir={workdir}"]
        _, printed, imports = process(words, cache)
    about = json.loads(printed.strip().splitlines()[-1])
    return {**about, "imports": sum(imports.values()), "packages": imports}


def turn(config: str, whole: bool) -> dict[str, dict]:
    """One run of each row."""
    rows = {
        "python": statement(["-c", "pass"], ""),
        "import normjax": statement(["-c", "import normjax"], ""),
        "launch.py --help": statement(["launch.py", "--help"], ""),
        "launch.py --list": statement(["launch.py", "--list"], ""),
    }
    for until, name in (("first", "first step"), ("whole", "whole study")):
        if until == "first" or whole:
            with tempfile.TemporaryDirectory() as cache:
                for state in ("cold", "warm"):
                    rows[f"{name}, {state}"] = launched(until, config, cache)
    return rows


def summary(turns: list[dict[str, dict]], name: str) -> dict:
    """Median, least and most of each column of a row, and its heaviest imports."""
    rows = [each[name] for each in turns]
    row: dict = {"row": name}
    for column in COLUMNS:
        values = [each[column] for each in rows if column in each]
        if values:
            row[column] = timing.spread(values)._asdict()
    packages = {x for each in rows for x in each["packages"]}
    medians = {
        x: statistics.median(each["packages"].get(x, 0.0) for each in rows)
        for x in packages
    }
    heaviest = sorted(medians.items(), key=lambda pair: -pair[1])[:HEAVIEST]
    return row | {"heaviest_imports": dict(heaviest)}


def lines(rows: list[dict]) -> list[str]:
    """The rows as a table, and the imports until the first step by package."""
    told = [f"{'':20}" + "".join(f"{x:>22}" for x in COLUMNS)]
    for row in rows:
        cells = []
        for column in COLUMNS:
            x, digits = row.get(column), 0 if column == "programs" else 2
            text = "{median:.{n}f} [{min:.{n}f}, {max:.{n}f}]"
            cells.append(text.format(**x, n=digits) if x else "")
        told.append(f"{row['row']:20}" + "".join(f"{x:>22}" for x in cells))
    last = next(row for row in rows if row["row"] == "first step, warm")
    imports = (f"{name} {x:.2f}" for name, x in last["heaviest_imports"].items())
    return [*told, f"imports until the first step: {', '.join(imports)}"]


def main() -> None:
    """Prints the rows as a table, and writes them as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="rows and versions as JSON")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each row")
    parser.add_argument("--config", default="configs/quickstart.py")
    parser.add_argument("--no-study", action="store_true", help="no whole studies")
    options = parser.parse_args()
    turns = [turn(options.config, not options.no_study) for _ in range(options.repeats)]
    rows = [summary(turns, name) for name in turns[0]]
    print("\n".join(lines(rows)))
    if options.json:
        from normjax.study.environment import environment

        about = {"environment": environment(), "config": options.config, "rows": rows}
        pathlib.Path(options.json).write_text(json.dumps(about, indent=2))


if __name__ == "__main__":
    main()
