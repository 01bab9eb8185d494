"""Everything that only an accelerator can tell, in one command.

    python -m benchmarks.accelerator --out=DIR [--minutes=9] [--data=TFDS_DIR]
    python -m benchmarks.accelerator --table=DIR
    python -m benchmarks.accelerator --out=DIR --size=smoke

The first takes at most nine minutes, needs no network and no data, and writes
DIR/accelerator.json after each measurement, and DIR/accelerator.log. Given the same
folder again it goes on with what is not done: what failed comes last. What no longer
fits is named. What is not finished when the minutes are over is cut off: the process
ends with a line and exit code 124, and the next run tries that measurement last. The
second prints the tables in Markdown. `smoke` is small: it shows on any device, a CPU
too, that all of it works.

`plan` has the list, and how the minutes are spent.
"""

import argparse
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from typing import Any

import jax
from jax.extend import backend

from benchmarks.accelerator import deadline, ledger, plan, tables
from benchmarks.accelerator.sizes import SIZES
from normjax.errors import InputError, suggest
from normjax.study.environment import environment
from normjax.training import devices

MINUTES = (0.5, 24 * 60)
START = 10  # seconds until here: Python, jax, the packages


def main() -> None:
    """Measures, or prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", metavar="DIR", help="where to write, and to go on")
    parser.add_argument("--table", metavar="DIR", help="print what was measured")
    parser.add_argument("--minutes", type=float, default=9.0, help="to take at most")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--data", metavar="DIR", default="", help="of prepared TFDS")
    parser.add_argument("--only", default="", help="names that begin so")
    options = parser.parse_args()
    if bool(options.out) == bool(options.table):
        parser.error("give either --out or --table")
    try:
        if options.table:
            print(tables.markdown(ledger.read(options.table)))
        else:
            run(options)
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def run(options: argparse.Namespace) -> None:
    """Measures as far as the minutes reach."""
    check_minutes(options.minutes)
    kept = START + deadline.GRACE + deadline.LAST
    budget = ledger.Budget(60 * options.minutes - kept)
    chosen = chosen_measurements(options, budget.left)
    with deadline.last_resort(budget):
        book = started_ledger(options, budget)
        with deadline.watchdog(book, budget):
            ledger.measure_all(chosen, book, budget)
    states = [book.status(one.name) for one in chosen]
    told = ", ".join(f"{states.count(x)} {x}" for x in sorted(set(states)))
    book.log(budget.elapsed(), f"{told}; {book.folder / ledger.CONTENT}")


def check_minutes(minutes: float) -> None:
    """Refuses fewer than a device needs to start, and what is no time."""
    least, most = MINUTES
    if not least <= minutes <= most:
        rule = f"must be from {least} to {most}"
        raise InputError("--minutes", minutes, rule, "leave it out for nine")


def started_ledger(options: argparse.Namespace, budget: ledger.Budget) -> ledger.Ledger:
    """That of the folder, with a line on the device, which is started."""
    devices.configure()
    devices.start()
    jax.config.update("jax_enable_compilation_cache", False)  # compile times are true
    about = environment() | versions_of_device()
    about |= {"size": options.size, "data": options.data}
    book = ledger.Ledger(options.out, about)
    count, kind = about["num_devices"], about["device"]
    book.log(budget.elapsed(), f"{count} x {kind}, {about['versions']}")
    return book


def chosen_measurements(
    options: argparse.Namespace, left: plan.Left
) -> list[ledger.Measurement]:
    """Those whose names begin as asked, or an InputError."""
    wanted = plan.measurements(SIZES[options.size], options.data, left=left)
    chosen = [one for one in wanted if one.name.startswith(options.only)]
    if not chosen:
        kinds = sorted({one.name.partition("/")[0] for one in wanted})
        rule = "must be how the name of a measurement begins"
        remedy = suggest(options.only, kinds, f"begin with one of {', '.join(kinds)}")
        raise InputError("--only", options.only, rule, remedy)
    return chosen


def versions_of_device() -> dict[str, Any]:
    """Of PyTorch if it is there, of the platform as jax tells it, and of the driver."""
    found = {"platform_version": backend.get_backend().platform_version}
    found["driver"] = driver()
    if importlib.util.find_spec("torch") is not None:
        found["torch"] = importlib.metadata.version("torch")
    return found


def driver() -> str:
    """The version of NVIDIA's driver, or nothing."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    ran = subprocess.run(query, capture_output=True, text=True)
    return (ran.stdout.split() or [""])[0]


if __name__ == "__main__":
    main()
