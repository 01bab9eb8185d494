"""Seconds per network and epoch: ours over lanes against a plain PyTorch loop.

python -m benchmarks.training [--json] [--repeats 5] [--only cnn]

Both train the same network on the same Fashion-MNIST arrays (random bytes where the set
is not prepared: the time does not depend on them), a new permutation each epoch,
float32, on all cores. Epochs of the two alternate in one process, after one of each to
warm up; compile time is apart. The limit is the epoch's matrix products at the speed of
a large one, measured in the same run.
"""

import argparse
import importlib.util
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from normjax import layers, models
from normjax.data import sources
from normjax.errors import InputError
from normjax.optimizers import recipes
from normjax.study import plan
from normjax.study.environment import environment, timed
from normjax.training import devices, lanes
from normjax.types import Data, Program, Scaling, Split


class Workload(NamedTuple):
    """One row: what is trained, and how much of it is an epoch here."""

    model: str  # a row of normjax.models.MODELS
    widths: tuple[int, ...]
    norm: str
    placement: str
    optimizer: str
    learning_rate: float
    batch_size: int
    lanes: int
    num_examples: int
    kernel_size: int = 3  # of a CNN, as the next
    convs_per_pool: int = 1


WORKLOADS = {
    "mlp-sgd": Workload("mlp", (128, 128), "none", "pre", "sgd", 0.1, 128, 10, 60_000),
    "mlp-adam": Workload(
        "mlp", (128, 128), "none", "pre", "adam", 1e-3, 128, 10, 60_000
    ),
    "cnn-5x5-sgd": Workload(
        *("cnn", (16, 32), "batch", "pooled", "sgd", 0.04, 32, 10, 6_016),
        kernel_size=5,
    ),
    "cnn-3x3-sgd": Workload(
        *("cnn", (64,) * 4, "batch", "pre", "sgd", 0.1, 128, 3, 1_280),
        convs_per_pool=2,
    ),
}


def arrays() -> tuple[np.ndarray, np.ndarray, str]:
    """60,000 training images as bytes, their labels, and the name of the source."""
    try:
        source = sources.data_set("fashion_mnist")
        return source.x_train, source.y_train, "fashion_mnist"
    except InputError:
        draw = np.random.default_rng(0)
        x = draw.integers(0, 256, (60_000, 28, 28, 1), np.uint8)
        return x, draw.integers(0, 10, 60_000, np.int32), "random bytes"


def network(work: Workload) -> models.Model:
    """The network of a workload in flax."""
    cnn = {"kernel_size": work.kernel_size, "convs_per_pool": work.convs_per_pool}
    return models.MODELS[work.model](
        widths=work.widths,
        num_classes=10,
        norm=layers.NORMS[work.norm],
        placement=work.placement,
        **(cnn if work.model == "cnn" else {}),
    )


def ours(x: np.ndarray, y: np.ndarray, work: Workload) -> Iterator[tuple]:
    """Yields the seconds per network and those to compile, of epoch after epoch."""
    train = Split(jnp.asarray(x), jnp.asarray(y))
    one = Split(train.inputs[:1], train.labels[:1])  # nothing to evaluate
    scaling = Scaling(jnp.zeros(x.shape[1:]), jnp.full(x.shape[1:], 1 / 255))
    recipe = recipes.RECIPES[work.optimizer]
    program = Program(
        model=network(work),
        optimizer=recipe,
        batch_size=work.batch_size,
        steps_per_epoch=len(y) // work.batch_size,
        mapping=plan.mapping("auto"),
    )
    keys = jax.random.split(jax.random.key(0), work.lanes)
    values = recipes.settings_of(recipe) | {"learning_rate": work.learning_rate}
    settings = {
        name: np.full(work.lanes, value, np.float32) for name, value in values.items()
    }
    epochs = lanes.train(
        keys, settings, Data(train, one, one, scaling), program=program, num_epochs=99
    )
    for _, _, seconds, compiling in timed(epochs):
        yield seconds / work.lanes, compiling


def peer_network(work: Workload):
    """The same network in PyTorch."""
    from torch import nn as torch_nn

    if work.model == "mlp":
        sizes = (784, *work.widths)
        hidden = [
            part
            for n, m in itertools.pairwise(sizes)
            for part in (torch_nn.Linear(n, m), torch_nn.ReLU())
        ]
        return torch_nn.Sequential(
            torch_nn.Flatten(), *hidden, torch_nn.Linear(sizes[-1], 10)
        )
    parts, size = [], 28
    for i, (n, m) in enumerate(itertools.pairwise((1, *work.widths))):
        norm, relu, pool = torch_nn.BatchNorm2d(m), torch_nn.ReLU(), []
        if (i + 1) % work.convs_per_pool == 0:
            pool, size = [torch_nn.MaxPool2d(2)], size // 2
        parts.append(
            torch_nn.Conv2d(n, m, work.kernel_size, padding=work.kernel_size // 2)
        )
        pooled = work.placement == "pooled"
        parts += [relu, *pool, norm] if pooled else [norm, relu, *pool]
    return torch_nn.Sequential(
        *parts, torch_nn.Flatten(), torch_nn.Linear(m * size * size, 10)
    )


def peer(x: np.ndarray, y: np.ndarray, work: Workload) -> Iterator[float]:
    """Yields the seconds of epoch after epoch of one network in PyTorch."""
    import torch

    images = x.astype(np.float32).transpose(0, 3, 1, 2) / 255
    inputs = torch.from_numpy(np.ascontiguousarray(images))
    labels = torch.from_numpy(y.astype(np.int64))
    model = peer_network(work)
    momentum = recipes.settings_of(recipes.RECIPES["sgd"])["momentum"]
    tx = {
        "sgd": lambda p: torch.optim.SGD(p, lr=work.learning_rate, momentum=momentum),
        "adam": lambda p: torch.optim.Adam(p, lr=work.learning_rate),
    }[work.optimizer](model.parameters())
    loss_of = torch.nn.CrossEntropyLoss()
    size = work.batch_size
    while True:
        start = time.perf_counter()
        order = torch.randperm(len(y))
        total = torch.zeros(())
        for i in range(0, len(y) // size * size, size):
            rows = order[i : i + size]
            tx.zero_grad()
            loss = loss_of(model(inputs[rows]), labels[rows])
            loss.backward()
            tx.step()
            total += loss.detach()
        assert torch.isfinite(total)
        yield time.perf_counter() - start


def limit(work: Workload) -> float:
    """Seconds of the matrix products of an epoch at the speed of one of 2048^3.

    Forward, kernel gradient and input gradient: three products a layer, but two in
    the first, whose inputs need no gradient. A convolution counts as one product.
    """
    model = network(work)
    shape = jax.ShapeDtypeStruct((1, 28, 28, 1), np.float32)
    products = []

    def note(call, args, kwargs, context):
        y = call(*args, **kwargs)
        kernels = isinstance(context.module, layers.Dense | layers.Conv)
        if kernels and context.method_name == "__call__":
            kernel = context.module.variables["params"]["kernel"]
            products.append(y.size // y.shape[-1] * kernel.size)
        return y

    with nn.intercept_methods(note):
        init = lambda key, x: model.init(key, x, train=False)
        jax.eval_shape(init, jax.random.key(0), shape)
    operations = 2 * work.num_examples * (3 * sum(products) - products[0])
    a = np.ones((2048, 2048), np.float32)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return operations / (2 * 2048**3 / min(seconds))


def row(name: str, repeats: int) -> dict:
    """Measures one workload and its peer."""
    work = WORKLOADS[name]
    x, y, data = arrays()
    x, y = x[: work.num_examples], y[: work.num_examples]
    pairs = zip(ours(x, y, work), peer(x, y, work), strict=False)
    (_, compiling), _ = next(pairs)
    times = [(run, other) for _, ((run, _), other) in zip(range(repeats), pairs)]
    seconds, peer_seconds = (statistics.median(t) for t in zip(*times))
    return {
        "workload": name,
        "data": data,
        "lanes": work.lanes,
        "seconds": seconds,
        "peer": "torch",
        "peer_seconds": peer_seconds,
        "ratio": peer_seconds / seconds,
        "limit_seconds": limit(work),
        "images_per_second": len(y) / seconds,
        "peer_images_per_second": len(y) / peer_seconds,
        "compile_seconds": compiling,
    }


def main() -> None:
    """Prints the rows as a table or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="rows and versions as JSON")
    parser.add_argument(
        "--repeats", type=int, default=5, choices=range(1, 90), help="epochs of each"
    )
    parser.add_argument("--only", choices=WORKLOADS, help="one row alone")
    options = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        parser.error("PyTorch is not installed: pip install -e '.[torch]' brings it")
    devices.configure()
    names = [options.only] if options.only else WORKLOADS
    rows = [row(name, options.repeats) for name in names]
    if options.json:
        import torch

        about = environment() | {"torch": torch.__version__}
        print(json.dumps({"environment": about, "rows": rows}, indent=2))
        return
    columns = [name for name in rows[0] if name != "data"]
    print("  ".join(f"{name:>22}" for name in columns))
    for one in rows:
        cells = (one[name] for name in columns)
        text = (f"{x:.3f}" if isinstance(x, float) else str(x) for x in cells)
        print("  ".join(f"{x:>22}" for x in text))


if __name__ == "__main__":
    main()
