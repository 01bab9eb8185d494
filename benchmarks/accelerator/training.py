"""Training over lanes, as `normjax.training.lanes` does it in a study.

An epoch of few steps on random bytes: the time of a step depends on neither. There is
one example to evaluate on, so that an epoch is its training.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator.clock import more, summary
from benchmarks.accelerator.ledger import Row
from benchmarks.accelerator.sizes import Size
from benchmarks.ours import network
from benchmarks.workloads import WORKLOADS, Workload
from normjax import layers
from normjax.optimizers import recipes
from normjax.study.environment import timed
from normjax.training import devices, lanes
from normjax.types import Data, Program, Scaling, Split

EPOCH = 60_000  # examples, for seconds per network and epoch

# model -> how many times as long as that of an MLP a step takes, about
HEAVIER = {"cnn": 20, "resnet20": 20}
PRODUCTS = {  # how factors are multiplied -> jax's name, and precision of the program
    "default": ("default", "float32"),
    "float32": ("float32", "float32"),
    "bfloat16": ("default", "bfloat16"),
}


class Way(NamedTuple):
    """How the lanes of a workload are trained."""

    lanes: int
    mapping: str = "vmap"  # as normjax.training.mappings has it
    convolution: str = "auto"  # a row of ops.conv.IMPLEMENTATIONS
    products: str = "default"  # a row of PRODUCTS


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


def program_for(work: Workload, way: Way, steps: int, size: Size) -> Program:
    """What is compiled."""
    fields = {"blocks": size.blocks} if work.model == "resnet20" else {}
    model = network(work).clone(convolution=way.convolution, **fields)
    return Program(
        model=model,
        optimizer=recipes.RECIPES[work.optimizer],
        batch_size=work.batch_size,
        steps_per_epoch=steps,
        mapping=way.mapping,
        precision=PRODUCTS[way.products][1],
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


def training_row(name: str, way: Way, size: Size) -> Iterator[Row]:
    """Seconds of an epoch after the first, which compiles."""
    work = workload_for(name, size)
    steps = num_steps(work, way.lanes, size)
    program = program_for(work, way, steps, size)
    data = data_for(work, steps)
    keys = jax.random.split(jax.random.key(0), way.lanes)
    settings = settings_for(work, way.lanes)
    with jax.default_matmul_precision(PRODUCTS[way.products][0]):
        epochs = lanes.train(
            keys, settings, data, program=program, num_epochs=1 + size.repeats
        )
        spent, compile_seconds = run_epochs(epochs, size)
    lanes.forget_programs()
    timing = summary(spent)
    images = way.lanes * steps * work.batch_size
    rate = images / timing["seconds"]
    operations = images * image_operations(program.model, work.image)
    yield {
        "workload": name,
        **way._asdict(),
        "devices": devices.mesh_for(way.lanes).size,
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


def image_operations(model: Any, shape: tuple[int, ...]) -> int:
    """Operations of the matrix products of a training step, by image.

    Forward, gradient of the kernel and of the input, but for the input of the first.
    """
    products = [size for size, _, _ in kernel_products(model, shape)]
    return 2 * (3 * sum(products) - products[0])


def kernel_products(model: Any, shape: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Of each dense layer and convolution, for one image.

    The multiplications, the length of their sums, and the number of outputs of each
    feature.
    """
    found = []

    def note(call, args, kwargs, context):
        y = call(*args, **kwargs)
        kernels = isinstance(context.module, layers.Dense | layers.Conv)
        if kernels and context.method_name == "__call__":
            kernel = context.module.variables["params"]["kernel"]
            outputs = math.prod(y.shape[:-1])
            found.append((outputs * kernel.size, kernel.size // y.shape[-1], outputs))
        return y

    with nn.intercept_methods(note):
        init = lambda key, x: model.init(key, x, train=False)
        image = jax.ShapeDtypeStruct((1, *shape), np.float32)
        jax.eval_shape(init, jax.random.key(0), image)
    return found
