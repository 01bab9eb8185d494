"""A program that finds the other processes of a cluster and prints who it is.

It runs apart from training, because jax ends every process that called
`jax.distributed.initialize`, without an exception, as soon as one of them is gone, and
takes the signal SIGTERM for itself. It imports nothing of normjax.
"""

import json
import sys

import jax
from jax._src import distributed  # jax.process_index() would start every backend

PATIENCE_SECONDS = 10  # for a process that dies while all of them meet


def meet(
    coordinator: str | None,
    num_processes: int | None,
    process: int | None,
    wait_seconds: int,
) -> dict[str, int | str | None]:
    """Index and count of this process, and the GPUs that jax gives to it.

    What is None is for jax to find out from SLURM, Open MPI, Kubernetes or a TPU.
    """
    jax.distributed.initialize(
        coordinator,
        num_processes,
        process,
        initialization_timeout=wait_seconds,
        heartbeat_timeout_seconds=PATIENCE_SECONDS,
        shutdown_timeout_seconds=PATIENCE_SECONDS,
    )
    return {
        "index": distributed.global_state.process_id,
        "count": distributed.global_state.num_processes,
        "gpus": jax.config.values["jax_cuda_visible_devices"],
    }


if __name__ == "__main__":
    print(json.dumps(meet(**json.loads(sys.argv[1]))), flush=True)
    jax.distributed.shutdown()  # waits for the others
