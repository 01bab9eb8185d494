"""Several processes of a cluster: which of them is this one, and how many are there.

They do not talk to each other while they train: what each does is held by `claims`.
"""

import json
import os
import re
import socket
import subprocess
import sys
from typing import Any

import jax

from normjax.errors import InputError
from normjax.study import meeting

FLAGS = {"coordinator": "HOST:PORT", "num_processes": "4", "process": "0"}
MEETING_ENVIRONMENT = {"JAX_ENABLE_PREEMPTION_SERVICE": "false"}  # SIGTERM ends it


def join(
    coordinator: str = "",
    num_processes: int = 0,
    process: int = -1,
    *,
    wait_seconds: int = 300,
) -> tuple[int, int]:
    """Index of this process and number of processes, once all of them are there.

    Without arguments jax finds them out from SLURM, Open MPI, Kubernetes or a TPU. Call
    it before anything touches a device: SLURM and Open MPI give each process of a
    machine its own GPU. Nothing connects the processes afterwards: `jax.devices()` are
    those of this one, and if one process dies, the others go on.

    `num_processes=1` alone meets nobody: who shares a workdir need not begin together.

    Args:
        coordinator: host of process 0, and a free port there.
        num_processes: how many will join.
        process: from 0 to num_processes - 1.
        wait_seconds: how long to wait for the others.

    Raises:
        InputError: some but not all are given, one of them is wrong, there is no
            cluster, or not all processes came.
    """
    if (coordinator, num_processes, process) == ("", 1, -1):
        return 0, 1
    given = _check(coordinator, num_processes, process)
    unknown = dict.fromkeys(FLAGS)
    request = {**(given or unknown), "wait_seconds": wait_seconds}
    ran = subprocess.run(
        # -P: the modules beside it are no top-level modules
        [sys.executable, "-P", meeting.__file__, json.dumps(request)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=os.environ | MEETING_ENVIRONMENT,
    )
    try:  # it may have been ended while it took leave: all were there
        answer = json.loads(ran.stdout)
    except ValueError:
        raise _failure(given, ran.stderr, wait_seconds) from None
    _use_gpus(answer["gpus"])
    return answer["index"], answer["count"]


def _check(coordinator: str, num_processes: int, process: int) -> dict[str, Any]:
    """The arguments as jax takes them, none if none is given, or an InputError."""
    values = {
        "coordinator": coordinator or None,
        "num_processes": num_processes or None,
        "process": None if process == -1 else process,
    }
    absent = [name for name, value in values.items() if value is None]
    if len(absent) == len(values):
        return {}
    if absent:
        rule = "must be given with the other two of " + ", ".join(
            f"--{name}" for name in FLAGS
        )
        remedy = f"add --{absent[0]}={FLAGS[absent[0]]}, or give none of them"
        raise InputError(f"--{absent[0]}", ..., rule, remedy)
    _check_address(coordinator)
    if num_processes < 1:
        rule = "must be at least 1"
        raise InputError("--num_processes", num_processes, rule, "count the processes")
    if not 0 <= process < num_processes:
        rule = f"must be from 0 to {num_processes - 1} for {num_processes} processes"
        raise InputError("--process", process, rule, "number them from 0")
    return values


def _check_address(coordinator: str) -> None:
    """Raises an InputError unless it is `host:port` of a host that has an address."""
    host, _, port = coordinator.rpartition(":")
    remedy = "name the host of process 0, such as --coordinator=node1:9876"
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        rule = "must be HOST:PORT, with a port from 1 to 65535"
        raise InputError("--coordinator", coordinator, rule, remedy)
    try:
        socket.getaddrinfo(host.strip("[]"), int(port))
    except OSError as error:
        rule = f"must name a host that can be found ({error.strerror})"
        raise InputError("--coordinator", coordinator, rule, remedy) from error


def _failure(given: dict[str, Any], log: str, wait_seconds: int) -> InputError:
    """What to say of a meeting that did not take place, from what it logged."""
    last = (log.strip() or "no message").splitlines()[-1]
    why = re.sub(r"^[IWEF]\d{4} \S+ +\d+ \S+\] ", "", last)  # time, thread, source
    status = re.search(r"absl::Status: (.*)", log)
    if "coordinator_address should be defined" in why:
        rule = "must be run by SLURM, Open MPI, Kubernetes or on a TPU, or with all of "
        rule += ", ".join(f"--{name}" for name in FLAGS)
        remedy = "start it by srun or mpirun, or give them"
        return InputError("--distributed", ..., rule, remedy)
    if status and "DEADLINE_EXCEEDED" in status[1]:
        rule = f"must be joined by every process within {wait_seconds} s"
        remedy = "start them all, and look whether the first one can be reached"
    else:
        rule = f"must be joined by every process ({status[1] if status else why})"
        remedy = "start them all again, on a free port"
    field = "--coordinator" if given else "--distributed"
    return InputError(field, given.get("coordinator", ...), rule, remedy)


def _use_gpus(gpus: str) -> None:
    """Restricts jax to these, unless the scheduler already hides the other ones.

    Where it does (`srun --gpus-per-task=1`), the only GPU that is left has number 0.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpus == "all":
        return
    if visible and max(map(int, gpus.split(","))) >= len(visible.split(",")):
        return
    jax.config.update("jax_cuda_visible_devices", gpus)
    jax.config.update("jax_rocm_visible_devices", gpus)
