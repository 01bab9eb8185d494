"""Ctrl-C and SIGTERM: one line that says how to go on, and what is trained is kept.

A thread reads the signals, so it answers even while jax compiles or computes.
"""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

GRACE_SECONDS = 60  # from a signal to the end, if an epoch takes longer
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Handles both signals inside of a `with`; `code` is the exit code they ask for.

    Outside of `deferred` the process ends at once. Inside, the code that runs looks at
    `code` when it can stop; the process ends if it does not within GRACE_SECONDS, or
    at a second signal.
    """

    def __init__(self, message: Callable[[], str]) -> None:
        self.code = 0  # 128 + the number of the signal, as shells have it
        self._message = message
        self._deferred = False
        self._read, self._write = os.pipe()

    def __enter__(self) -> "Interrupts":
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: None)  # the thread answers
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        """Leaves the handlers: nothing is to interrupt what Python does at its end."""

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Lets what runs inside end in order."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def end(self) -> None:
        """Ends the process with its line, whatever happens to the line."""
        try:
            line = f"\n{self._message()}\n".encode()
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            os.write(sys.stderr.fileno(), line)  # and nothing after it
        finally:
            os._exit(self.code)

    def _watch(self) -> None:
        while True:
            (number,) = os.read(self._read, 1)
            if number not in SIGNALS:
                continue
            self.code = 128 + number
            if self._deferred:
                select.select([self._read], [], [], GRACE_SECONDS)
            self.end()
