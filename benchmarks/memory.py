"""Peak of resident memory while lanes are trained on the devices of a CPU.

Run    python -m benchmarks.memory --devices=16
       python -m benchmarks.memory --devices=4 --lanes=64 --width=128 --optimizer=adam

Linux. One MLP with two epochs of two steps, on random images in the number and size of
a data set. A process of its own for each row, because a peak never falls. The digest is
that of the last state and report: the same where nothing but memory differs.
"""

import argparse
import hashlib
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from normjax import layers, models
from normjax.optimizers import recipes
from normjax.training import devices, lanes
from normjax.types import Data, Program, Scaling, Split

SHAPES = {"cifar10": (32, 32, 3), "mnist": (28, 28)}  # 65,000 images of one of them
SETTINGS = {
    "sgd": {"learning_rate": 0.1, "momentum": 0.0},
    "adam": {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8},
}


def resident(field: str) -> float:
    """`VmRSS` or `VmHWM` of this process, in MiB."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith(field)) / 1024


def random_data(shape: tuple[int, ...]) -> Data:
    """50,000 images to train on, 5,000 and 10,000 others."""
    draw = np.random.default_rng(0)

    def split(n):
        inputs = draw.integers(0, 256, (n, *shape), dtype=np.uint8)
        labels = draw.integers(0, 10, n, dtype=np.int32)
        return Split(jnp.asarray(inputs), jnp.asarray(labels))

    scaling = Scaling(jnp.zeros(shape), jnp.full(shape, 1 / 255))
    return Data(split(50_000), split(5_000), split(10_000), scaling)


def measure(num_lanes: int, width: int, optimizer: str, dataset: str) -> dict:
    """Peaks above jax alone, and above jax and the data."""
    jax.block_until_ready(jnp.ones(3) + 1)
    before = resident("VmRSS")
    data = jax.block_until_ready(devices.place(random_data(SHAPES[dataset])))
    placed = resident("VmRSS")
    program = Program(
        model=models.MLP((width, width), 10, norm=layers.NORMS["batch"]),
        optimizer=getattr(recipes, optimizer),
        batch_size=128,
        steps_per_epoch=2,
    )
    settings = {
        name: np.full(num_lanes, np.float32(value))
        for name, value in SETTINGS[optimizer].items()
    }
    keys = jax.random.split(jax.random.key(0), num_lanes)
    for last in lanes.train(keys, settings, data, program=program, num_epochs=2):
        state = last[0]
    leaves = jax.tree.leaves(last)
    return {
        "state_mib": round(sum(x.nbytes for x in jax.tree.leaves(state)) / 2**20, 1),
        "peak_mib": round(resident("VmHWM") - before),
        "lanes_mib": round(resident("VmHWM") - placed),
        "digest": hashlib.sha256(b"".join(map(np.asarray, leaves))).hexdigest()[:12],
    }


def main() -> None:
    """Prints one row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--lanes", type=int, default=0, help="0: one per device")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--optimizer", choices=SETTINGS, default="sgd")
    parser.add_argument("--dataset", choices=SHAPES, default="cifar10")
    given = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", given.devices)
    num_lanes = given.lanes or given.devices
    row = measure(num_lanes, given.width, given.optimizer, given.dataset)
    row = {"devices": given.devices, "lanes": num_lanes} | row
    print(json.dumps(row | {"optimizer": given.optimizer}))


if __name__ == "__main__":
    main()
