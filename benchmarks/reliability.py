"""Kills a study, damages its files, and compares what it ends with, to the bit.

python -m benchmarks.reliability --kills=30 --damages=30 --checkpoints=30 --processes=4

A study of four arms is ended by SIGKILL, SIGTERM and Ctrl-C at random moments, and the
same command is given again until it ends by itself. Finished records are damaged at
random places, and so are the checkpoints of studies that SIGTERM has ended. The tables
and probes must be those of a run that nothing disturbed, with every network.
"""

import argparse
import json
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from normjax.study.record import complete_arms, read_record

ROOT = pathlib.Path(__file__).parents[1]
STUDY = (
    "--config=configs/quickstart.py",
    "--config.num_epochs=40",
    "--config.checkpoint_seconds=0.0",
    "--config.probes=train_split",
)
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# a shell that starts this in the background has Ctrl-C ignored
START = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_path("launch.py", run_name="__main__")
"""


def start(workdir: pathlib.Path, *flags: str) -> subprocess.Popen:
    """The study in a process of its own."""
    command = [sys.executable, "-c", START, *STUDY, f"--workdir={workdir}", *flags]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def same(a: pathlib.Path, b: pathlib.Path) -> bool:
    """Whether two workdirs have the same tables, but for what a clock has measured.

    The probes are compared too, and every network that the record wants must be there.
    """
    for name in ("networks.csv", "epochs.csv"):
        x, y = (pd.read_csv(folder / name, dtype=str) for folder in (a, b))
        x, y = (t.drop(columns="seconds", errors="ignore") for t in (x, y))
        if not x.equals(y):
            return False
    with np.load(a / "probes.npz") as x, np.load(b / "probes.npz") as y:
        if sorted(x) != sorted(y) or any(
            x[k].dtype != y[k].dtype or not np.array_equal(x[k], y[k], equal_nan=True)
            for k in x
        ):
            return False
    records = [read_record(folder).record for folder in (a, b)]
    return all(
        complete_arms(each) == tuple(each["arm_order"]) and not each["damaged"]
        for each in records
    )


def again(workdir: pathlib.Path, whole: pathlib.Path) -> tuple[bool, str]:
    """Whether the study's command ends with the same tables; what it has printed."""
    process = start(workdir)
    printed, _ = process.communicate()
    return process.returncode == 0 and same(workdir, whole), printed


def ended_well(number: int, code: int, printed: str) -> bool:
    """Whether a process that got a signal ended with its code and its line."""
    if number == signal.SIGKILL or code == 0:
        return code in (0, -signal.SIGKILL)
    last = printed.strip().rpartition("\n")[2]
    line = last.startswith("interrupted: ") and "Traceback" not in printed
    return line and code == 128 + number


def kill(
    workdir: pathlib.Path, whole: pathlib.Path, seconds: float, draw: random.Random
) -> Counter:
    """One signal at a random moment, then the same command to its end."""
    number = draw.choice(SIGNALS)
    process = start(workdir)
    time.sleep(draw.uniform(0, seconds))
    process.send_signal(number)
    _, printed = process.communicate()
    counts = Counter({f"{number.name}: sent": 1})
    counts[f"{number.name}: code and line"] += ended_well(
        number, process.returncode, printed
    )
    counts[f"{number.name}: then the same tables"] += again(workdir, whole)[0]
    return counts


def kill_in_turn(
    workdir: pathlib.Path, whole: pathlib.Path, seconds: float, draw: random.Random
) -> Counter:
    """Two processes share a study; one is killed, then the other; then both again."""
    counts: Counter = Counter()
    for last in (False, True):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        flags = ("--distributed", f"--coordinator=localhost:{port}")
        several = [
            start(workdir, *flags, "--num_processes=2", f"--process={k}")
            for k in range(2)
        ]
        if not last:
            for process in draw.sample(several, 2):
                time.sleep(draw.uniform(0, seconds))
                process.kill()
        codes = []
        for process in several:
            process.communicate()
            codes.append(process.returncode)
    counts["two processes: killed in turn"] += 1
    whole_again = codes == [0, 0] and same(workdir, whole)
    counts["two processes: then the same tables"] += whole_again
    return counts


def damage(path: pathlib.Path, draw: random.Random) -> str:
    """Cuts or empties a file, or flips one of its bits; returns which it was."""
    content = bytearray(path.read_bytes())
    kind = draw.choice(("cut", "emptied", "bit flipped"))
    if kind == "bit flipped":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    else:
        del content[0 if kind == "emptied" else draw.randrange(len(content)) :]
    path.write_bytes(content)
    return kind


def contents(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files in a folder that can be damaged, but for those that are so already."""
    found = [x for x in sorted(folder.rglob("*")) if x.is_file() and x.stat().st_size]
    return [x for x in found if not {"damaged", "locks"} & {*x.parts}]


def damage_record(
    workdir: pathlib.Path, whole: pathlib.Path, draw: random.Random
) -> Counter:
    """Damages a file of a finished record; then the report, then the study."""
    kind = damage(draw.choice(contents(workdir)), draw)
    command = [sys.executable, "-m", "normjax.report", str(workdir)]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    told = shown.returncode in (0, 2) and "Traceback" not in shown.stderr
    counts = Counter({f"damage, {kind}": 1})
    counts[f"damage, {kind}: report without a traceback"] += told
    counts[f"damage, {kind}: then the same tables"] += again(workdir, whole)[0]
    return counts


def damage_checkpoint(
    workdir: pathlib.Path, whole: pathlib.Path, seconds: float, draw: random.Random
) -> Counter:
    """Ends a study by SIGTERM in the middle, and damages a file of its checkpoint."""
    process = start(workdir)
    while process.poll() is None and not contents(workdir / "checkpoints"):
        time.sleep(0.01)
    time.sleep(draw.uniform(0, seconds / 4))
    process.terminate()
    process.communicate()
    left = contents(workdir / "checkpoints")
    if not left:
        return Counter({"checkpoint: none was there (between two groups)": 1})
    kind = damage(draw.choice(left), draw)
    well, printed = again(workdir, whole)
    counts = Counter({f"checkpoint, {kind}": 1})
    counts[f"checkpoint, {kind}: noticed, with a line"] += "\ndamaged: " in printed
    counts[f"checkpoint, {kind}: then the same tables"] += well
    return counts


def measure(kills: int, damages: int, checkpoints: int, processes: int) -> Counter:
    """The counts of what was tried, and of what ended well."""
    draw, counts = random.Random(0), Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        whole = folder / "whole"
        start(folder / "first").communicate()  # compiles
        begin = time.monotonic()
        start(whole).communicate()
        seconds = time.monotonic() - begin
        if not same(whole, whole):
            sys.exit("the study does not end by itself")
        for i in range(kills):
            counts += kill(folder / f"kill{i}", whole, seconds, draw)
        for i in range(processes):
            counts += kill_in_turn(folder / f"share{i}", whole, seconds, draw)
        for i in range(checkpoints):
            workdir = folder / f"checkpoint{i}"
            counts += damage_checkpoint(workdir, whole, seconds, draw)
        shutil.copytree(whole, folder / "hurt")
        for _ in range(damages):
            counts += damage_record(folder / "hurt", whole, draw)
    return counts


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the counts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability")
    parser.add_argument("--kills", type=int, default=30, help="signals to try")
    parser.add_argument("--damages", type=int, default=30, help="damages to try")
    parser.add_argument(
        "--checkpoints", type=int, default=30, help="damages of checkpoints to try"
    )
    parser.add_argument("--processes", type=int, default=4, help="pairs to kill")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(argv)
    counts = measure(given.kills, given.damages, given.checkpoints, given.processes)
    if given.json:
        print(json.dumps(counts, indent=2, sort_keys=True))
        return
    for name, number in sorted(counts.items()):
        print(f"{number:5}  {name}")


if __name__ == "__main__":
    main()
