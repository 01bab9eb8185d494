"""How jax uses the devices of this machine: settings, a mesh of lanes, shared data.

Call `configure` before anything touches a device.
"""

import os
import pathlib
import re
import sys
import warnings
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from normjax import data_parallel
from normjax.data import room
from normjax.errors import InputError, reason
from normjax.files import cache_folder
from normjax.training.mappings import DATA_PARALLEL, bundle_size
from normjax.types import Data, Program

LANES, SHARED = PartitionSpec("lanes"), PartitionSpec()


def configure() -> None:
    """One CPU device per core, and compiled programs kept between runs.

    XLA runs the small operations of one network on one core. With a device per
    core the lanes are divided over the cores, and nothing waits at the end of
    each operation: 0.18 instead of 0.27 s per network and epoch of Fashion-MNIST
    (MLP 784-128-128-10, batch 128, ten lanes, two cores). Other platforms are
    left as they are, and so is JAX_NUM_CPU_DEVICES if it is set.
    """
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", num_cores())
    asked = jax.config.values["jax_num_cpu_devices"]
    if asked != -1 and not 1 <= asked <= 1024:  # -1: as jax has it
        remedy = f"set JAX_NUM_CPU_DEVICES={num_cores()}"
        raise InputError("JAX_NUM_CPU_DEVICES", asked, "must be from 1 to 1024", remedy)
    folder = cache_folder() / "xla"
    if not jax.config.values["jax_compilation_cache_dir"] and is_writable(folder):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        replace_damaged(folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def start() -> None:
    """Starts jax, or raises an InputError if the platform asked for is not there."""
    try:
        jax.devices()
    except Exception as error:  # each platform has its own
        asked = jax.config.values["jax_platforms"]
        rule = f"must be platforms that start ({reason(error)})"
        remedy = "set JAX_PLATFORMS=cpu, or unset it"
        raise InputError("JAX_PLATFORMS", asked, rule, remedy) from error


def replace_damaged(folder: pathlib.Path) -> None:
    """Has jax write anew what it cannot read in its cache, and says so once.

    jax compiles what it cannot read, but leaves the file and warns at every start. A
    warning names the program, not the file, so that all files of its name are removed.
    """
    show = warnings.showwarning
    told: set[str] = set()

    def showwarning(message, *args, **kwargs):
        name = re.match(
            r"Error reading .*compilation cache entry for '(\w+)'", f"{message}"
        )
        if not name:
            return show(message, *args, **kwargs)
        for path in folder.glob(f"{name[1]}-*"):
            path.unlink(missing_ok=True)
        if not told:
            print(f"notice: {folder} was damaged and is mended", file=sys.stderr)
        told.add(name[1])

    warnings.showwarning = showwarning


def num_cores() -> int:
    """Number of cores that this process may use where the system tells, or of all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_writable(folder: pathlib.Path) -> bool:
    """Whether files can be written to the folder, which is made if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def free_bytes() -> int:
    """Bytes that are free: of one accelerator, or of the host for a CPU."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return room.host_bytes()


def mesh_of(
    program: Program, num_lanes: int, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """`mesh_for` the lanes of a program, or else for its batches.

    Batches are divided over the most devices by which their size can be divided, so
    that a batch whose size is a prime number, for instance, stays on one device.
    """
    if program.mapping != DATA_PARALLEL:
        return mesh_for(num_lanes, devices, bundle_size(program.mapping))
    devices = list(devices or jax.devices())
    numbers = range(1, len(devices) + 1)
    number = max(n for n in numbers if program.batch_size % n == 0)
    axes = ("lanes", data_parallel.AXIS)
    used = np.array(devices[:number]).reshape(1, number)
    return Mesh(used, axes, axis_types=(AxisType.Auto,) * len(axes))


def mesh_for(
    num_lanes: int, devices: Sequence[jax.Device] | None = None, size: int = 0
) -> Mesh:
    """One axis over the fewest devices of which none gets more lanes than from all.

    Lanes are counted in bundles of `size`, which is 1 where each is mapped alone and 0
    where all are vmapped. Mapped ones have two devices at least, if there are two, for
    XLA compiles another program for one; what pads them does nothing.
    """
    devices = list(devices or jax.devices())
    bundles = -(-num_lanes // max(1, size))
    bundles_each = -(-bundles // len(devices))
    least = 2 if size else 1
    used = np.array(devices[: max(least, -(-bundles // bundles_each))])
    return Mesh(used, ("lanes",), axis_types=(AxisType.Auto,))


def divide(function: Callable, mesh: Mesh, in_axes: tuple[int | None, ...]) -> Callable:
    """`function` of one device's lanes as one of all lanes, divided over the mesh.

    `in_axes` is that of `jax.vmap`: 0 for an argument that has lanes, None for one that
    all lanes share. Each device gets as many lanes as the others.
    """
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=tuple(SHARED if axis is None else LANES for axis in in_axes),
        out_specs=LANES,
        check_vma=False,  # what is shared is replicated, nothing is reduced
    )


def divide_batches(function: Callable, mesh: Mesh) -> Callable:
    """`function` of all lanes, whose batches are divided over the mesh: `mesh_of`.

    What it takes and returns is on every device; leaves that it returns have lanes.
    """

    def run(*args):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            own = NamedSharding(mesh, LANES)
            return jax.lax.with_sharding_constraint(function(*args), own)

    return run


def place(data: Data, mesh: Mesh | None = None) -> Data:
    """The data on every device of the mesh, or on all devices.

    An array that already lies on these devices is not copied. CPU devices share the
    memory of their machine, so they all read the one array that is there.
    """
    mesh = mesh or mesh_for(len(jax.devices()))
    return jax.tree.map(lambda x: _replicate(x, NamedSharding(mesh, SHARED)), data)


def _replicate(x: Array, sharding: NamedSharding) -> Array:
    """`x` on each device of the sharding, which reuses the copies that `x` has.

    What CPU devices share is memory that jax has from outside, which it neither writes
    to nor gives to another array, also where `x` is donated.
    """
    devices = list(sharding.mesh.devices.flat)
    held = {shard.device: shard.data for shard in x.addressable_shards}
    if not x.is_fully_replicated or not held.keys() >= set(devices):
        if all(device.platform == "cpu" for device in (*devices, *held)):
            return jax.device_put(np.asarray(x), sharding, may_alias=True)
        return jax.device_put(x, sharding)
    copies = [held[device] for device in devices]
    return jax.make_array_from_single_device_arrays(x.shape, sharding, copies)
