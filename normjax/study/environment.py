"""What is needed to repeat a run and to judge its timings: machine, versions, clock."""

import importlib.metadata
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def environment() -> dict[str, Any]:
    """Device, system, versions, commit and command of this process."""
    devices = jax.devices()
    on_cpu = devices[0].platform == "cpu"
    version = importlib.metadata.version
    return {
        "device": processor() if on_cpu else devices[0].device_kind,
        "platform": devices[0].platform,
        "num_devices": len(devices),
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "prng": jax.config.jax_default_prng_impl,  # type: ignore[attr-defined]
        "commit": commit(),
        "command": " ".join(["python", *sys.argv]),
    }


def processor() -> str:
    """The name of the CPU where the system tells it, as Linux does, or `cpu`."""
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return f"cpu, {names[0]}" if names else "cpu"


def commit() -> str:
    """The commit of the checkout that runs, `-dirty` if changed, or `unknown`."""
    package = pathlib.Path(__file__).parents[1]

    def git(*words: str) -> str:
        ran = subprocess.run(
            ["git", *words], cwd=package, capture_output=True, text=True, check=True
        )
        return ran.stdout.strip()

    try:
        if pathlib.Path(git("rev-parse", "--show-toplevel")) != package.parent:
            return "unknown"  # installed into somebody else's repository
        return git("describe", "--always", "--dirty", "--abbrev=12")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def timed(
    epochs: Iterable[tuple], compiled: Callable[[str], None] = lambda name: None
) -> Iterator[tuple]:
    """Each `(state, report)` with the seconds it took to run, and those to compile.

    `compiled` is called with the name of each program that is compiled meanwhile.
    """
    with compile_clock(compiled) as seconds:
        start, before = time.perf_counter(), 0.0
        for state, report in epochs:
            spent, compiling = time.perf_counter() - start, seconds[0] - before
            yield state, report, spent - compiling, compiling
            start, before = time.perf_counter(), seconds[0]


@contextmanager
def compile_clock(
    compiled: Callable[[str], None] = lambda name: None,
) -> Iterator[list[float]]:
    """Seconds that jax spends tracing, lowering and compiling, as it reports them."""
    total = [0.0]

    def listen(event: str, duration_secs: float, **about: str | int) -> None:
        if event.startswith("/jax/core/compile/"):
            total[0] += duration_secs
        if event == "/jax/core/compile/backend_compile_duration":
            compiled(str(about.get("fun_name", "")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield total
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
