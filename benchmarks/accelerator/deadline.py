"""The end of the whole process when its time is up, whatever it does then.

Code that compiles or waits for a device returns to Python only when it is done, and so
it is another thread that ends the process. Where no other thread can run, as something
keeps Python's lock, or there is no ledger yet, as the device is still being started,
`faulthandler` ends it from C.
"""

import contextlib
import faulthandler
import os
import sys
from collections.abc import Iterator
from threading import Timer

from benchmarks.accelerator.ledger import Budget, Ledger

GRACE = 4.0  # seconds after the budget, in which a process of ours is ended
LAST = 1.0  # seconds after these, for the ledger
EXIT_CODE = 124  # that of timeout(1)
OVER = "the minutes were over before it was finished"


@contextlib.contextmanager
def last_resort(budget: Budget) -> Iterator[None]:
    """Ends the process GRACE + LAST seconds after the budget, with what threads did.

    What was measured is on disk, and what was not finished is named there as running.
    """
    seconds = max(budget.left() + GRACE + LAST, LAST)
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def watchdog(ledger: Ledger, budget: Budget) -> Iterator[None]:
    """Ends the process GRACE seconds after the budget, what runs then as cut off.

    The next run with this ledger tries it after all others.
    """
    timer = Timer(max(budget.left() + GRACE, 0.0), end_process, (ledger, budget))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def end_process(ledger: Ledger, budget: Budget) -> None:
    """Writes down what is being measured as cut off, and ends without cleaning up."""
    try:
        ledger.lock.acquire()  # and never released: nothing is written after this
        told = f"{ledger.cut_off(OVER) or 'nothing'}: cut off, {OVER}"
        line = f"{told}; the same command goes on with the rest\n"
        os.write(sys.__stderr__.fileno(), line.encode())  # type: ignore[union-attr]
        ledger.log(budget.elapsed(), told)
    finally:  # even if the disk is full, or nobody reads
        os._exit(EXIT_CODE)
