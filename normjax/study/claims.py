"""Claims: what one process works on, no other takes. Imports no jax.

A claim is a lock of the operating system on a file. The system releases it when its
process ends, for whatever reason, so nobody waits for a process that has died. The
files stay in their folder; only a locked file is a claim.
"""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from normjax.errors import InputError
from normjax.files import folder


@contextlib.contextmanager
def claim(
    locks: str | Path, name: str, *, wait: bool = False, shared: bool = False
) -> Iterator[bool]:
    """Whether `name` is ours until the end of the block: nobody else had claimed it.

        with claim(workdir / "locks", "group-3") as ours:
            if ours:
                ...

    Args:
        locks: a folder, made if it is not there, that all processes see.
        name: a file in it.
        wait: for whoever has it to end or to be gone, so that it is ours in any case.
        shared: with others that share it, and with nobody else.

    Raises:
        InputError: the folder cannot be written to, or its file system has no locks.
    """
    path = folder(locks) / name
    with _open(path) as file:
        ours = _lock(file.fileno(), path, wait, shared)
        if ours:
            _write(
                file.fileno(), f"process {os.getpid()} on host {socket.gethostname()}"
            )
        try:
            yield ours
        finally:
            if ours:
                _write(file.fileno(), "")


def holder(locks: str | Path, name: str) -> str:
    """Who claimed it last and did not end the claim: `process 1234 on host x`."""
    try:
        return Path(locks, name).read_text() or "another process"
    except OSError:
        return "another process"


def _open(path: Path) -> BinaryIO:
    """The file, made if it is not there, and not passed on to child processes."""
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    except OSError as error:
        rule = f"cannot be written ({error.strerror})"
        remedy = "allow it, or give another workdir"
        raise InputError(str(path), ..., rule, remedy) from error


def _lock(file: int, path: Path, wait: bool, shared: bool) -> bool:
    """Whether the lock is ours now, as it was free or became so."""
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(file, kind | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):  # NFS may say it so
            return False
        rule = f"cannot be locked ({error.strerror})"
        remedy = "use a file system with flock (Lustre: mount it with -o flock)"
        raise InputError(str(path), ..., rule, remedy) from error
    return True


def _write(file: int, text: str) -> None:
    """Replaces what is in the file; that a disk is full does not matter here."""
    with contextlib.suppress(OSError):
        os.pwrite(file, text.encode(), 0)
        os.ftruncate(file, len(text.encode()))
