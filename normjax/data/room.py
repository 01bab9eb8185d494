"""How much memory the host has free. Imports no jax."""

import pathlib

UNKNOWN = 4 * 2**30  # bytes that are free, where the system does not tell


def host_bytes() -> int:
    """Bytes of memory that are free on the host, or in the container that this is."""
    path = pathlib.Path("/proc/meminfo")
    lines = path.read_text().splitlines() if path.exists() else []
    free = [int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable:")]
    group = pathlib.Path("/sys/fs/cgroup")  # of a container, which may have less
    limit, used = (_number(group / f"memory.{x}") for x in ("max", "current"))
    if limit is not None and used is not None:
        free.append(limit - used)
    return min(free, default=UNKNOWN)


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
