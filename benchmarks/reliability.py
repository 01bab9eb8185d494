"""Kills a study, damages its record, and compares what it ends with, to the bit.

python -m benchmarks.reliability --kills=30 --damages=30 [--processes=2] [--json]

A study of four arms is ended by SIGKILL, SIGTERM and Ctrl-C in turn at random moments,
and the same command is given again until it ends by itself. Then the record is damaged
at random places. The tables must be those of a run that nothing disturbed.
"""

import argparse
import json
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence

import pandas as pd

ROOT = pathlib.Path(__file__).parents[1]
STUDY = (
    "--config=configs/quickstart.py",
    "--config.num_epochs=40",
    "--config.checkpoint_seconds=0.0",
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
    """Whether two workdirs have the same tables, but for what a clock has measured."""
    for name in ("networks.csv", "epochs.csv"):
        x, y = (pd.read_csv(folder / name, dtype=str) for folder in (a, b))
        x, y = (t.drop(columns="seconds", errors="ignore") for t in (x, y))
        if not x.equals(y):
            return False
    return True


def ended_well(number: int, code: int, printed: str) -> bool:
    """Whether a process that got a signal ended with its code and its line."""
    if number == signal.SIGKILL or code == 0:
        return code in (0, -signal.SIGKILL)
    last = printed.strip().splitlines()[-1]
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
    process = start(workdir)
    process.communicate()
    counts[f"{number.name}: then the same tables"] += process.returncode == 0 and same(
        workdir, whole
    )
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


def damage(workdir: pathlib.Path, whole: pathlib.Path, draw: random.Random) -> Counter:
    """One file is cut, emptied, or has a bit flipped; then report, then the study."""
    files = [x for x in sorted(workdir.rglob("*")) if x.is_file() and x.stat().st_size]
    files = [x for x in files if not {"damaged", "locks"} & {*x.parts}]
    path = draw.choice(files)
    content = bytearray(path.read_bytes())
    kind = draw.choice(("cut", "emptied", "bit flipped"))
    if kind == "bit flipped":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    else:
        del content[0 if kind == "emptied" else draw.randrange(len(content)) :]
    path.write_bytes(content)
    counts = Counter({f"damage, {kind}": 1})
    command = [sys.executable, "-m", "normjax.report", str(workdir)]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    told = shown.returncode in (0, 2) and "Traceback" not in shown.stderr
    counts[f"damage, {kind}: report without a traceback"] += told
    process = start(workdir)
    process.communicate()
    counts[f"damage, {kind}: then the same tables"] += process.returncode == 0 and same(
        workdir, whole
    )
    return counts


def measure(kills: int, damages: int, processes: int) -> dict[str, int]:
    """The counts of what was tried, and of what ended well."""
    draw, counts = random.Random(0), Counter()
    with tempfile.TemporaryDirectory() as folder:
        whole = pathlib.Path(folder) / "whole"
        for _ in range(2):  # the second time programs are compiled already
            begin = time.monotonic()
            start(whole).communicate()
            seconds = time.monotonic() - begin
            if not kills and not processes:
                break
            subprocess.run(["rm", "-rf", whole], check=True)
        start(whole).communicate()
        for i in range(kills):
            counts += kill(pathlib.Path(folder) / f"kill{i}", whole, seconds, draw)
        for i in range(processes):
            workdir = pathlib.Path(folder) / f"share{i}"
            counts += kill_in_turn(workdir, whole, seconds, draw)
        hurt = pathlib.Path(folder) / "hurt"
        subprocess.run(["cp", "-r", whole, hurt], check=True)
        for _ in range(damages):
            counts += damage(hurt, whole, draw)
    return dict(sorted(counts.items()))


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the counts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability")
    parser.add_argument("--kills", type=int, default=30, help="signals to try")
    parser.add_argument("--damages", type=int, default=30, help="damages to try")
    parser.add_argument("--processes", type=int, default=4, help="pairs to kill")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(argv)
    counts = measure(given.kills, given.damages, given.processes)
    if given.json:
        print(json.dumps(counts, indent=2))
        return
    for name, number in counts.items():
        print(f"{number:5}  {name}")


if __name__ == "__main__":
    main()
