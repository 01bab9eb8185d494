"""The workloads in normjax: their data, their epochs, and the limit of their products.

All lanes of a workload train together, as a study trains them.
"""

import math
import time
from collections.abc import Iterator
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.workloads import Workload
from normjax import layers, models
from normjax.data import sources
from normjax.errors import InputError
from normjax.optimizers import recipes
from normjax.study import plan
from normjax.study.environment import timed
from normjax.training import lanes
from normjax.training.mappings import DATA_PARALLEL
from normjax.types import Data, Program, Scaling, Split

DATA = {(28, 28, 1): "fashion_mnist", (32, 32, 3): "cifar10"}
PRODUCT = 2048  # rows and columns of the large product


def arrays(work: Workload) -> tuple[np.ndarray, np.ndarray, str]:
    """Images as bytes, their labels, and the name of the source.

    They are random bytes where the set is not prepared: the time does not depend on
    them.
    """
    try:
        source = sources.data_set(DATA[work.image])
        x, y = source.x_train, source.y_train
        return x[: work.num_examples], y[: work.num_examples], DATA[work.image]
    except (InputError, KeyError):
        draw = np.random.default_rng(0)
        x = draw.integers(0, 256, (work.num_examples, *work.image), np.uint8)
        y = draw.integers(0, 10, work.num_examples, np.int32)
        return x, y, "random bytes"


def network(work: Workload) -> models.Model:
    """The network of a workload in flax, as a config builds it."""
    cnn = {"kernel_size": work.kernel_size, "convs_per_pool": work.convs_per_pool}
    return models.MODELS[work.model](
        widths=work.widths,
        num_classes=10,
        norm=layers.NORMS[work.norm],
        placement=work.placement,
        **(cnn if work.model == "cnn" else {}),
    )


class Own(NamedTuple):
    """What is timed of ours."""

    lanes: int
    mapping: str


def ways(num_lanes: int) -> list[Own]:
    """The usual mapping, and that by batches where lanes are few and leave cores idle.

    Many lanes leave a core idle in the last of their rounds only.
    """
    found, num_devices = [Own(num_lanes, plan.mapping("auto"))], len(jax.devices())
    if num_lanes % num_devices and num_lanes < 2 * num_devices:
        found.append(Own(num_lanes, DATA_PARALLEL))
    return found


def epochs(
    work: Workload, own: Own, x: np.ndarray, y: np.ndarray, num_epochs: int
) -> Iterator[tuple[float, float]]:
    """Yields the seconds per network and those to compile, of epoch after epoch."""
    num_lanes, mapping = own
    train = Split(jnp.asarray(x), jnp.asarray(y))
    one = Split(train.inputs[:1], train.labels[:1])  # nothing to evaluate
    scaling = Scaling(jnp.zeros(x.shape[1:]), jnp.full(x.shape[1:], 1 / 255))
    recipe = recipes.RECIPES[work.optimizer]
    program = Program(
        model=network(work),
        optimizer=recipe,
        batch_size=work.batch_size,
        steps_per_epoch=work.num_steps,
        mapping=mapping,
    )
    keys = jax.random.split(jax.random.key(0), num_lanes)
    values = recipes.settings_of(recipe) | {"learning_rate": work.learning_rate}
    settings = {
        name: np.full(num_lanes, value, np.float32) for name, value in values.items()
    }
    data = Data(train, one, one, scaling)
    trained = lanes.train(keys, settings, data, program=program, num_epochs=num_epochs)
    for _, report, seconds, compiling in timed(trained):
        assert np.isfinite(report.train.loss).all()
        yield seconds / num_lanes, compiling


def operations(work: Workload) -> int:
    """Operations of the matrix products of an epoch."""
    num_trained = work.num_steps * work.batch_size
    return num_trained * image_operations(network(work), work.image)


def image_operations(model: models.Model, shape: tuple[int, ...]) -> int:
    """Multiplications and additions in the matrix products of a step, by image.

    Forward, kernel gradient and input gradient: three products a layer, but two in
    the first, whose inputs need no gradient. A convolution counts as one product.
    """
    products = [size for size, _, _ in kernel_products(model, shape)]
    return 2 * (3 * sum(products) - products[0])


def kernel_products(
    model: models.Model, shape: tuple[int, ...]
) -> list[tuple[int, int, int]]:
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


def product_seconds() -> float:
    """Seconds of one large matrix product on all cores."""
    a = np.ones((PRODUCT, PRODUCT), np.float32)
    start = time.perf_counter()
    a @ a
    return time.perf_counter() - start
