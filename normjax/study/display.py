"""What a person sees while a study trains: a bar, or a line for each arm.

A terminal and a notebook get a bar of tqdm, which is written anew after each epoch. A
file or a pipe gets a whole line when an arm is finished, without control codes. There
are no colours, whatever NO_COLOR says.
"""

import shutil
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from tqdm.std import tqdm

from normjax.numerals import plural, three_digits
from normjax.study.pace import Pace
from normjax.study.work import Work

WIDEST = 100  # of a bar; columns of the terminal, if those are fewer
SHORTEST = 8  # of an arm's name that is cut to fit
LEAST, MOST = 4, 20  # columns of the bar itself
REPORT = {"val. accuracy": "curves/validation_accuracy", "loss": "curves/train_loss"}


class Display:
    """Shows how far a study is; a context, whose end leaves a last line.

    Args:
        work: what is to be trained.
        num_epochs: of every network.
        quiet: whether to show nothing but a bar, and that in terminals and notebooks.
        pace: of the study; it gets the times of the epochs.
        share: how many processes share the work, for the time that is left.
    """

    def __init__(
        self,
        work: Sequence[Work],
        num_epochs: int,
        *,
        quiet: bool = False,
        pace: Pace | None = None,
        share: int = 1,
    ) -> None:
        self._pace, self._share = pace or Pace(), share
        self._num_epochs, self._quiet = num_epochs, quiet
        for each in work:
            self._pace.want(each.arm, len(each.lanes) * self._left(each))
        total = sum(len(each.lanes) * self._left(each) for each in work)
        kind = bar_kind() if total else None
        options: dict[str, Any] = {"ncols": WIDEST, "nrows": 24} if kind is tqdm else {}
        options |= {"bar_format": " ", "file": sys.stderr, "miniters": 1}
        self._bar = kind(total=total, **options) if kind else None
        self._work: Work | None = None
        self._fields: dict[str, str] = {}  # of the arm in work, in the order shown
        self._last: list[str] = []  # fields of its last group that was finished
        self._networks, self._arm_networks = 0, 0  # that were finished
        self._group_done = 0  # epochs of the group in work
        self._compiled: set[tuple[str, int]] = set()  # arm id, number of lanes
        self._start = self._arm_start = time.perf_counter()

    def __enter__(self) -> "Display":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._end_arm()
            spent = duration(time.perf_counter() - self._start)
            self._show(f"{plural(self._networks, 'network')} trained in {spent}")
        if self._bar is not None:
            self._bar.close()

    def begin(self, work: Work) -> None:
        """A group is begun, which compiles first if its programs are new."""
        self._take_back()
        if self._work is None or self._work.arm.id != work.arm.id:
            self._end_arm()
            self._arm_networks, self._arm_start = 0, time.perf_counter()
        programs = work.arm.id, len(work.lanes)
        self._work = work
        self._fields = {"doing": "compiling"}
        if programs in self._compiled:
            self._fields = {"doing": "first epoch"}
        self._compiled.add(programs)
        self._show()

    def train(self) -> None:
        """The programs of the group are compiled."""
        self._fields = {"doing": "first epoch"}
        self._show()

    def end_epoch(
        self, epoch: int, report: Mapping[str, Any], seconds: float, compiling: float
    ) -> None:
        """An epoch of the group has ended.

        Args:
            epoch: how many of them are done.
            report: see `train.by_name`; the means over lanes are shown.
            seconds: that it took, without
            compiling: the seconds for that.
        """
        assert self._work is not None
        arm, number = self._work.arm, len(self._work.lanes)
        self._pace.time(arm, number, seconds, compiling)
        self._pace.done(arm, number)
        self._fields = {"epoch": f"{epoch}/{self._num_epochs}"}
        for name, key in REPORT.items():
            self._fields[name] = f"{name} {np.mean(report[key]):.3f}"
        rate = number / self._num_epochs / max(seconds, 1e-9)
        self._fields["rate"] = f"{three_digits(rate)} networks/s"
        self._group_done += 1
        if epoch == self._num_epochs:
            self._arm_networks += number
            self._networks += number
            self._group_done = 0
            self._last = [self._fields[x] for x in REPORT]  # a rate is of an epoch
        if self._bar is not None:
            self._bar.bar_format = self._format()
            self._bar.update(number)
            if epoch == self._num_epochs:  # other epochs may be too many to show
                self._bar.refresh()

    def skip(self, work: Work, failure: str = "") -> None:
        """A group is not trained, for its arm has failed."""
        self._take_back()
        amount = len(work.lanes) * self._left(work)
        self._pace.done(work.arm, amount)
        if failure:
            self._end_arm()
            self._work, self._fields = None, {}
            self._print(f"{work.arm.name}: failed: {failure}")
        if self._bar is not None:
            self._bar.update(amount)

    def _take_back(self) -> None:
        """Takes back the epochs of a group that did not come to its end."""
        if self._work is not None and self._group_done:
            amount = self._group_done * len(self._work.lanes)
            self._pace.want(self._work.arm, amount)
            if self._bar is not None:
                self._bar.n -= amount
        self._group_done = 0

    def _left(self, work: Work) -> int:
        done = work.checkpoint.about["epoch"] if work.checkpoint else 0
        return self._num_epochs - done

    def _end_arm(self) -> None:
        """The line of the arm that was trained, if any of its networks was."""
        if self._work is None or not self._arm_networks:
            return
        spent = duration(time.perf_counter() - self._arm_start)
        number = plural(self._arm_networks, "network")
        line = ", ".join([f"{number} in {spent}", *self._last, *self._time_left()])
        self._print(f"{self._work.arm.name}: {line}")
        self._work = None

    def _time_left(self) -> list[str]:
        seconds = self._pace.seconds_left()
        return [f"{duration(max(1.0, seconds / self._share))} left"] if seconds else []

    def _print(self, line: str) -> None:
        """A whole line, where there is no bar and somebody wants to read it."""
        if self._bar is None and not self._quiet:
            print(line, file=sys.stderr, flush=True)

    def _show(self, text: str = "") -> None:
        if self._bar is not None:
            self._bar.bar_format = self._format(text)
            self._bar.refresh()

    def _format(self, text: str = "") -> str:
        """The format of the bar, in which `text` or the state of the arm is fixed."""
        arm = self._work.arm.name if self._work and not text else ""
        state = text or "  ".join([*self._fields.values(), *self._time_left()])
        return bar_format(arm, state, min(WIDEST, columns()))


def bar_format(arm: str, state: str, width: int) -> str:
    """The format of tqdm for a line of at most `width` columns.

    The bar is left out, and then the name is cut in its middle, if room is short.
    """
    room = width - len("100% ") - len(state) - 1  # the last column stays free
    bar = room - len(arm) - 4
    if arm:
        arm = f"{shortened(arm, max(SHORTEST, room - 1))} "
    text = f"{arm}{state}"[: width - len("100% ") - 1]
    text = text.replace("{", "{{").replace("}", "}}")
    drawn = f"|{{bar:{min(bar, MOST)}}}| " if bar >= LEAST else " "
    return f"{{percentage:3.0f}}%{drawn}{text}"


def shortened(name: str, width: int) -> str:
    """A name that is cut in its middle if it is wider: `corrected-…-dropout`."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


def bar_kind() -> type[tqdm] | None:
    """The bar of a notebook or of a terminal, or None where neither shows one."""
    shell = sys.modules.get("IPython")
    shell = shell.get_ipython() if shell else None
    if shell is not None and "IPKernelApp" in shell.config:
        with warnings.catch_warnings(action="ignore"):  # of ipywidgets, if it lacks
            from tqdm import notebook
        return notebook.tqdm if notebook.IProgress is not None else None
    return tqdm if sys.stderr.isatty() else None


def columns() -> int:
    """Those of the terminal; 80 where there is none."""
    return shutil.get_terminal_size((80, 24)).columns


def duration(seconds: float) -> str:
    """`12 s`, `3 min`, `4.2 h`: two digits or about."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3600:.1f} h"
