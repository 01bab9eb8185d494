"""Training over lanes, as `normjax.training.lanes` does it in a study.

An epoch of few steps on random bytes: the time of a step depends on neither. There is
one example to evaluate on, so that an epoch is its training.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator.clock import more, summary
from benchmarks.accelerator.ledger import Row
from benchmarks.accelerator.sizes import Size
from benchmarks.ours import image_operations, network
from benchmarks.workloads import WORKLOADS, Workload
from normjax.optimizers import recipes
from normjax.study.environment import timed
from normjax.training import devices, lanes
from normjax.types import Data, Program, Scaling, Split

EPOCH = 60_000  # examples, for seconds per network and epoch

# model -> how many times as long as that of an MLP a step takes, about
HEAVIER = {"cnn": 20, "resnet20": 20}
MULTIPLICATIONS = {  # products -> jax's name of them, and the program's precision
    "default": ("default", "float32"),
    "float32": ("float32", "float32"),
    "bfloat16": ("default", "bfloat16"),
}


class Setup(NamedTuple):
    """How the lanes of a workload are trained."""

    lanes: int
    mapping: str = "vmap"  # as normjax.training.mappings has it
    convolution: str = "auto"  # a row of ops.conv.IMPLEMENTATIONS
    products: str = "default"  # a row of MULTIPLICATIONS


def workload_for(name: str, size: Size) -> Workload:
    """A row of `WORKLOADS`, with smaller batches if the size has them."""
    case = WORKLOADS[name]
    return case._replace(batch_size=min(case.batch_size, size.most_batch))


@functools.cache
def examples(shape: tuple[int, ...]) -> Split:
    """Random images and labels, on the device."""
    draw = np.random.default_rng(0)
    x = draw.integers(0, 256, (EPOCH, *shape), np.uint8)
    y = draw.integers(0, 10, EPOCH, np.int32)
    return Split(jnp.asarray(x), jnp.asarray(y))


def data_for(work: Workload, steps: int) -> Data:
    """The examples of an epoch of so many steps, and one to evaluate on."""
    shape = work.image
    number = steps * work.batch_size
    train = jax.tree.map(lambda x: x[:number], examples(shape))
    one = jax.tree.map(lambda x: x[:1], train)
    scaling = Scaling(jnp.zeros(shape), jnp.full(shape, 1 / 255))
    return Data(train, one, one, scaling)


def program_for(work: Workload, setup: Setup, steps: int, size: Size) -> Program:
    """What is compiled."""
    fields = {"blocks": size.blocks} if work.model == "resnet20" else {}
    model = network(work).clone(convolution=setup.convolution, **fields)
    return Program(
        model=model,
        optimizer=recipes.RECIPES[work.optimizer],
        batch_size=work.batch_size,
        steps_per_epoch=steps,
        mapping=setup.mapping,
        precision=MULTIPLICATIONS[setup.products][1],
    )


def settings_for(work: Workload, number: int) -> dict[str, np.ndarray]:
    """The settings of each lane."""
    values = recipes.settings_of(recipes.RECIPES[work.optimizer])
    values = values | {"learning_rate": work.learning_rate}
    return {name: np.full(number, x, np.float32) for name, x in values.items()}


def num_steps(work: Workload, number: int, size: Size) -> int:
    """Steps of an epoch: all that there are, or as many as take about a second."""
    whole = EPOCH // work.batch_size
    fitting = size.most_steps // HEAVIER.get(work.model, 1) // number
    return min(whole, max(fitting, min(20, size.most_steps)))


def training_row(name: str, setup: Setup, size: Size) -> Iterator[Row]:
    """Seconds of an epoch after the first, which compiles."""
    work = workload_for(name, size)
    steps = num_steps(work, setup.lanes, size)
    program = program_for(work, setup, steps, size)
    data = data_for(work, steps)
    keys = jax.random.split(jax.random.key(0), setup.lanes)
    settings = settings_for(work, setup.lanes)
    with jax.default_matmul_precision(MULTIPLICATIONS[setup.products][0]):
        epochs = lanes.train(
            keys, settings, data, program=program, num_epochs=1 + size.repeats
        )
        spent, compile_seconds = run_epochs(epochs, size)
    lanes.forget_programs()
    timing = summary(spent)
    images = setup.lanes * steps * work.batch_size
    rate = images / timing["seconds"]
    operations = images * image_operations(program.model, work.image)
    yield {
        "workload": name,
        **setup._asdict(),
        "devices": devices.mesh_for(setup.lanes).size,
        "batch": work.batch_size,
        "steps": steps,
        "images_per_second": rate,
        "network_epoch_seconds": EPOCH / rate,
        "teraflops": operations / timing["seconds"] / 1e12,
        **timing,
        "compile_seconds": compile_seconds,
    }


def run_epochs(epochs: Iterator[tuple], size: Size) -> tuple[list[float], float]:
    """The seconds of each epoch but the first one, and those to compile."""
    spent: list[float] = []
    compile_seconds = 0.0
    for number, (_, _, seconds, compiling) in enumerate(timed(epochs)):
        compile_seconds += compiling
        if number:
            spent.append(seconds)
        if not more(spent, size):
            break
    return spent, compile_seconds
