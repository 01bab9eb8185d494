"""Signals at a run of several arms: one line, the right code, and the same numbers."""

import contextlib
import os
import pathlib
import select
import signal
import subprocess
import sys
from collections.abc import Callable

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


class Run:
    """A process whose standard error is a terminal, and so shows each epoch."""

    def __init__(self, workdir: pathlib.Path, *flags: str):
        command = [sys.executable, "-c", INTERRUPTIBLE, *FLAGS, f"--workdir={workdir}"]
        command += flags
        self._terminal, its = os.openpty()
        pipes = {"stdout": subprocess.PIPE, "stderr": its}
        self.process = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
        os.close(its)

    def until(self, text: str) -> str:
        """Reads what is shown until it has `text`, or else to the end."""
        seen = b""
        while not text or text not in seen.decode(errors="ignore"):
            try:
                seen += os.read(self._terminal, 4_096)
            except OSError:  # it has ended
                assert not text, seen
                break
        return seen.decode()

    def until_true(self, condition: Callable[[], bool]) -> None:
        """Reads what is shown until the condition holds; not every epoch is shown."""
        while not condition():
            assert self.process.poll() is None, "it has ended before"
            if select.select([self._terminal], [], [], 0.01)[0]:
                with contextlib.suppress(OSError):  # it has ended
                    os.read(self._terminal, 4_096)

    def end(self) -> tuple[str, str]:
        """What it printed and what it showed, to its end."""
        shown = self.until("")
        printed, _ = self.process.communicate()
        os.close(self._terminal)
        return printed, shown


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    run = Run(workdir)
    run.end()
    assert run.process.returncode == 0
    return workdir


def tables(workdir: pathlib.Path) -> list[pd.DataFrame]:
    read = (pd.read_csv(workdir / x) for x in ("networks.csv", "epochs.csv"))
    return [x.drop(columns="seconds", errors="ignore") for x in read]


def in_second_arm(workdir: pathlib.Path) -> bool:
    """Whether an arm is finished, and the other one has a checkpoint."""
    arm = lambda path: path.name.partition("-")[0]
    finished = {arm(path) for path in (workdir / "networks").glob("*.npz")}
    epochs = (workdir / "checkpoints").glob("*/*")
    others = [x for x in epochs if x.name.isdigit() and arm(x.parent) not in finished]
    return bool(finished and others)


def stop(workdir: pathlib.Path, number: int, code: int) -> None:
    """Sends a signal after an epoch; the process ends with its line and its code."""
    run = Run(workdir)
    run.until("networks/s")
    run.process.send_signal(number)
    _, err = run.end()
    assert run.process.returncode == code
    assert err.splitlines()[-1] == (
        "interrupted: 0 of 4 networks are finished and kept; the same command goes on"
    )
    assert "Traceback" not in err


def test_a_dry_run_that_is_stopped_promises_nothing(tmp_path):
    run = Run(tmp_path / "run", "--dry_run")
    run.until("compiling none, 1 of 2")
    run.process.send_signal(signal.SIGINT)
    _, err = run.end()
    assert run.process.returncode == 130
    assert err.splitlines()[-1] == (
        "interrupted: nothing is trained by a dry run, and nothing is kept of it"
    )
    assert not (tmp_path / "run").exists()


def test_a_signal_ends_a_run_in_order_and_the_same_command_goes_on(
    undisturbed, tmp_path
):
    """Ctrl-C and SIGTERM in the first arm, a kill in the second, then to the end."""
    workdir = tmp_path / "run"
    stop(workdir, signal.SIGINT, 130)
    stop(workdir, signal.SIGTERM, 143)
    run = Run(workdir)
    run.until_true(lambda: in_second_arm(workdir))
    run.process.kill()
    out, _ = run.end()
    assert "resuming: 0 networks are trained, 1 group goes on where it was left" in out
    run = Run(workdir)
    out, err = run.end()
    assert run.process.returncode == 0, err
    assert "resuming: 2 networks are trained, 1 group goes on where it was left" in out
    for old, new in zip(tables(undisturbed), tables(workdir)):
        pd.testing.assert_frame_equal(old, new, check_exact=True)
    assert not any((workdir / "checkpoints").iterdir())
