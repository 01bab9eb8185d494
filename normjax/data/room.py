"""How much memory the host has free. Imports no jax."""

import pathlib

UNKNOWN = 4 * 2**30  # bytes that are free, where the system does not tell
HOST = pathlib.Path("/proc/meminfo")
GROUP = pathlib.Path("/sys/fs/cgroup")  # of a container, which may have less


def host_bytes() -> int:
    """Bytes of memory that are free on the host, or in the container that this is.

    Pages of files that were read count as free in both, for they are given back.
    """
    free = [1024 * x for x in _numbers(HOST, "MemAvailable:")]
    limit, used = (_number(GROUP / f"memory.{x}") for x in ("max", "current"))
    if limit is not None and used is not None:
        of_files = _numbers(GROUP / "memory.stat", "active_file", "inactive_file")
        free.append(limit - max(0, used - sum(of_files)))
    return min(free, default=UNKNOWN)


def shortage(needed: int, what: str) -> str | None:
    """The rule that `needed` bytes of the host break, None if they are free."""
    free = host_bytes()
    if needed <= free:
        return None
    has = f"of which the host has {text(free)} free"
    return f"must fit into memory: {what} takes {text(needed)}, {has}"


def text(num_bytes: int) -> str:
    """Bytes in words, such as `1.5 GiB` or `12.0 MiB`."""
    units = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
    unit = next((x for x, size in units.items() if num_bytes >= size), "KiB")
    return f"{num_bytes / units[unit]:,.1f} {unit}"


def _number(path: pathlib.Path) -> int | None:
    """The number in a file, None if there is no file or no number."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _numbers(path: pathlib.Path, *names: str) -> list[int]:
    """The numbers beside these names in a file; none if there is no file."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [line.split() for line in lines]
    return [int(row[1]) for row in rows if row[:1] and row[0] in names]
