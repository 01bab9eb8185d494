"""What was measured, on disk: one JSON that is whole after each measurement, and a log.

Nothing here knows what is measured. A measurement is a function that returns plain
rows. One that fails is written down with its reason, and the others go on.
"""

import functools
import pathlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from normjax import files
from normjax.errors import InputError, reason

Row = dict[str, Any]  # plain data; the unit of a number is in its name
CONTENT, LOG = "accelerator.json", "accelerator.log"
SAME = (
    *("device", "platform", "platform_version", "driver", "num_devices"),
    *("versions", "torch"),
)
TRIED = ("failed", "cut off", "running")  # and comes last therefore
TRUSTED = 60.0  # see Budget
CHOSEN = ("size", "data")  # with SAME: what the numbers of one file have in common


class Measurement(NamedTuple):
    """One entry of the list that is gone through in the order of worth."""

    name: str
    table: str  # in which its rows are shown
    seconds: float  # that it is expected to take, compiling included
    measure: Callable[[], Iterable[Row]]


class Absent(Exception):
    """Something that a measurement needs is not installed, or not on this machine."""


class CutOff(Exception):
    """A measurement was ended before it was finished, as it took too long."""


class Budget:
    """The seconds that are left, and what a measurement will take of them.

    Expected times are multiplied by how much longer (or shorter) than expected those of
    this run have taken so far, as if TRUSTED seconds had taken what was expected.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic):
        self._clock, self._start, self._seconds = clock, clock(), seconds
        self._expected = self._spent = TRUSTED

    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    def left(self) -> float:
        """Seconds until the end."""
        return self._seconds - self.elapsed()

    def expected(self, seconds: float) -> float:
        """What a measurement will take that was thought to take `seconds`."""
        return seconds * self._spent / self._expected

    def spend(self, expected: float, spent: float) -> None:
        """Takes note of what a measurement took."""
        self._expected += expected
        self._spent += spent


class Ledger:
    """The content of a folder, written anew after each change.

    Raises:
        InputError: the folder cannot be written, or holds what was measured on another
            device, with other versions or at another size.
    """

    def __init__(self, folder: str | pathlib.Path, about: Mapping[str, Any]):
        self.folder = files.folder(folder)
        path = self.folder / CONTENT
        before = read(folder) if path.exists() else {"about": about, "measurements": {}}
        check_same(files.plain(before["about"]), files.plain(about))
        self.content: dict[str, Any] = before | {"about": about}
        self.lock = threading.RLock()  # held by who writes
        self._running = ""

    def note(self, name: str, **entry: Any) -> None:
        """Writes what is known of a measurement, in the place of what was known."""
        with self.lock:
            self.content["measurements"][name] = files.plain(entry)
            self._running = name if entry["status"] == "running" else ""
            files.write_json(self.folder / CONTENT, self.content)

    def cut_off(self, why: str) -> str:
        """Writes down that what is being measured is not finished; returns its name."""
        with self.lock:
            name = self._running
            if name:
                entry = self.content["measurements"][name]
                self.note(name, **entry | {"status": "cut off", "reason": why})
            return name

    def status(self, name: str) -> str:
        """`done`, `failed`, `cut off`, `left out`, or empty.

        `running` is what a process died of, or what is being measured.
        """
        return self.content["measurements"].get(name, {}).get("status", "")

    def log(self, seconds: float, text: str) -> None:
        """Prints a line with the seconds since the start, and adds it to the log."""
        line = f"{seconds:6.1f} s  {text}"
        print(line, flush=True)
        with open(self.folder / LOG, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def measure_all(
    measurements: Sequence[Measurement], ledger: Ledger, budget: Budget
) -> None:
    """Measures what is not done yet, as far as the budget reaches.

    What failed before, or was being measured when the process ended, comes last.
    """
    tried = lambda one: ledger.status(one.name) in TRIED
    undone = [one for one in measurements if ledger.status(one.name) != "done"]
    if finished := len(measurements) - len(undone):
        ledger.log(budget.elapsed(), f"{finished} of {len(measurements)} done before")
    for one in sorted(undone, key=tried):
        expected, left = budget.expected(one.seconds), budget.left()
        if expected > left:
            why = f"expected to take {expected:.0f} s, {max(left, 0):.0f} s are left"
            if not tried(one):
                note(ledger, one, "left out", why)
            ledger.log(budget.elapsed(), f"{one.name}: left out, {why}")
            continue
        measure(one, ledger, budget)


def measure(one: Measurement, ledger: Ledger, budget: Budget) -> None:
    """Measures one entry and writes down its rows, or why there are none."""
    running = functools.partial(
        *(note, ledger, one, "running", "the process ended before it was finished")
    )
    running()
    start = budget.elapsed()
    rows: list[Row] = []  # those before a failure are kept
    status, why = "done", ""
    try:
        for row in one.measure():
            rows.append(row)
            running(rows=rows)
    except Absent as error:
        status, why = "left out", str(error)
    except CutOff as error:
        status, why = "cut off", str(error)
    except Exception as error:  # out of memory, or a kernel that this device lacks
        status, why = "failed", reason(error)
    spent = budget.elapsed() - start
    if status == "done":
        budget.spend(one.seconds, spent)
    note(ledger, one, status, why, seconds=round(spent, 2), rows=rows)
    said = f" ({why})" if why else ""
    ledger.log(budget.elapsed(), f"{one.name}: {status} in {spent:.1f} s{said}")


def note(ledger: Ledger, one: Measurement, status: str, why: str, **more: Any) -> None:
    """Writes the entry of a measurement."""
    entry = {"table": one.table, "status": status, "reason": why}
    ledger.note(
        one.name,
        **entry,
        expected_seconds=one.seconds,
        commit=ledger.content["about"].get("commit", "unknown"),
        **({"seconds": 0.0, "rows": []} | more),
    )


def read(folder: str | pathlib.Path) -> dict[str, Any]:
    """The content of a folder, or an InputError."""
    path = pathlib.Path(folder) / CONTENT
    if not path.exists():
        rule = f"must hold {CONTENT}"
        remedy = f"measure first: python -m benchmarks.accelerator --out {folder}"
        raise InputError("--table", str(folder), rule, remedy)
    return files.read_json(path)


def check_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuses to mix what was measured under different conditions in one file."""
    for name in (*SAME, *CHOSEN):
        if before.get(name) != now.get(name):
            rule = f"holds what was measured with {name} {before.get(name)!r}"
            remedy = "give another folder"
            raise InputError("--out", ..., f"{rule}, not {now.get(name)!r}", remedy)
