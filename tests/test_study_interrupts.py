"""Signals at a run of several arms: one line, the right code, and the same numbers."""

import pathlib
import signal
import subprocess
import sys

import pandas as pd
import pytest

ROOT = pathlib.Path(__file__).parents[1]
FLAGS = (
    "--config=configs/quickstart.py:size=smoke",
    "--config.num_epochs=150",
    "--config.arms.norm=none,batch",
    "--config.checkpoint_seconds=0.0",
)


# A shell that starts the tests in the background has them ignore Ctrl-C.
INTERRUPTIBLE = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_path("launch.py", run_name="__main__")
"""


def start(workdir: pathlib.Path) -> subprocess.Popen:
    command = [sys.executable, "-c", INTERRUPTIBLE, *FLAGS, f"--workdir={workdir}"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def until(process: subprocess.Popen, text: str, times: int = 1) -> None:
    """Reads what the process writes on its bar, until it has written `text`."""
    seen = ""
    while seen.count(text) < times:
        character = process.stderr.read(1)
        assert character, seen  # it has ended
        seen += character


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    process = start(workdir)
    process.communicate()
    assert process.returncode == 0
    return workdir


def tables(workdir: pathlib.Path) -> list[pd.DataFrame]:
    read = (pd.read_csv(workdir / x) for x in ("networks.csv", "epochs.csv"))
    return [x.drop(columns="seconds", errors="ignore") for x in read]


def stop(workdir: pathlib.Path, number: int, code: int) -> None:
    """Sends a signal after an epoch; the process ends with its line and its code."""
    process = start(workdir)
    until(process, "networks/s")
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == code
    assert err.splitlines()[-1] == (
        "interrupted: 0 of 4 networks are finished and kept; the same command goes on"
    )
    assert "Traceback" not in err


def test_a_signal_ends_a_run_in_order_and_the_same_command_goes_on(
    undisturbed, tmp_path
):
    """Ctrl-C and SIGTERM in the first arm, a kill in the second, then to the end."""
    workdir = tmp_path / "run"
    stop(workdir, signal.SIGINT, 130)
    stop(workdir, signal.SIGTERM, 143)
    process = start(workdir)
    until(process, "batch ")
    until(process, "networks/s", times=3)  # the first epoch has its checkpoint
    process.kill()
    out, _ = process.communicate()
    assert "resuming: 0 networks are trained, 1 group goes on where it was left" in out
    process = start(workdir)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "resuming: 2 networks are trained, 1 group goes on where it was left" in out
    for old, new in zip(tables(undisturbed), tables(workdir)):
        pd.testing.assert_frame_equal(old, new, check_exact=True)
    assert not any((workdir / "checkpoints").iterdir())
