"""Seconds per network and epoch: ours over lanes against a plain PyTorch loop.

python -m benchmarks.training [--json] [--repeats 5]

Both train the same MLP 784-128-128-10 on the same Fashion-MNIST arrays (random bytes
where the set is not prepared: the time does not depend on them), batch 128, a new
permutation each epoch, float32. Epochs of the two alternate in one process, after one
of each to warm up; compile time is apart. The limit is the epoch's matrix products at
the speed of a large one, measured in the same run.
"""

import argparse
import importlib.util
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from normjax import layers, models
from normjax.data import sources
from normjax.optimizers import recipes
from normjax.studies import environment, timed
from normjax.tables import InputError
from normjax.training import devices, loop
from normjax.types import Data, Program, Scaling, Split

LANES, BATCH, WIDTHS = 10, 128, (128, 128)


def arrays() -> tuple[np.ndarray, np.ndarray, str]:
    """60,000 training images as bytes, their labels, and where they are from."""
    try:
        source = sources.load("fashion_mnist")
        return source.x_train.reshape(60_000, -1), source.y_train, "fashion_mnist"
    except InputError:
        draw = np.random.default_rng(0)
        x = draw.integers(0, 256, (60_000, 784), np.uint8)
        return x, draw.integers(0, 10, 60_000, np.int32), "random bytes"


def ours(x: np.ndarray, y: np.ndarray, optimizer: Callable) -> Iterator[tuple]:
    """Seconds to run and to compile, per network, of one epoch after the other."""
    train = Split(jnp.asarray(x), jnp.asarray(y))
    one = Split(train.inputs[:1], train.labels[:1])  # nothing to evaluate
    scaling = Scaling(jnp.zeros(784), jnp.full(784, 1 / 255))
    program = Program(
        model=models.MLP(WIDTHS, 10, layers.NORMS["none"]),
        optimizer=optimizer,
        memoryless=False,
        decays=(),
        batch_size=BATCH,
        steps_per_epoch=len(y) // BATCH,
        sampling="permutation",
        probes=(),
    )
    keys = jax.random.split(jax.random.key(0), LANES)
    settings = {
        name: np.full(LANES, value, np.float32)
        for name, value in recipes.settings_of(optimizer).items()
    }
    epochs = loop.train(
        keys, settings, Data(train, one, one, scaling), program=program, num_epochs=99
    )
    for _, _, seconds, compiling in timed(epochs):
        yield seconds / LANES, compiling


def peer(x: np.ndarray, y: np.ndarray, optimizer: str) -> Iterator[float]:
    """Seconds of one epoch after the other of one network in PyTorch."""
    import torch

    inputs = torch.from_numpy(x.astype(np.float32) / 255)
    labels = torch.from_numpy(y.astype(np.int64))
    sizes = (784, *WIDTHS)
    hidden = [
        part
        for n, m in itertools.pairwise(sizes)
        for part in (torch.nn.Linear(n, m), torch.nn.ReLU())
    ]
    model = torch.nn.Sequential(*hidden, torch.nn.Linear(sizes[-1], 10))
    tx = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        "adam": lambda p: torch.optim.Adam(p, lr=1e-3),
    }[optimizer](model.parameters())
    loss_of = torch.nn.CrossEntropyLoss()
    while True:
        start = time.perf_counter()
        order = torch.randperm(len(y))
        total = torch.zeros(())
        for i in range(0, len(y) // BATCH * BATCH, BATCH):
            rows = order[i : i + BATCH]
            tx.zero_grad()
            loss = loss_of(model(inputs[rows]), labels[rows])
            loss.backward()
            tx.step()
            total += loss.detach()
        assert torch.isfinite(total)
        yield time.perf_counter() - start


def limit(num_examples: int) -> float:
    """Seconds of the matrix products of an epoch at the speed of one of 2048^3.

    Forward, kernel gradient and input gradient: three products a layer, but two in
    the first, whose inputs need no gradient.
    """
    sizes = (784, *WIDTHS, 10)
    products = [n * m for n, m in itertools.pairwise(sizes)]
    operations = 2 * num_examples * (3 * sum(products) - products[0])
    a = np.ones((2048, 2048), np.float32)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return operations / (2 * 2048**3 / min(seconds))


def row(optimizer: str, repeats: int) -> dict:
    """One workload against its peer."""
    x, y, data = arrays()
    recipe = recipes.RECIPES[optimizer]
    pairs = zip(ours(x, y, recipe), peer(x, y, optimizer), strict=False)
    (_, compiling), _ = next(pairs)
    times = [(run, other) for _, ((run, _), other) in zip(range(repeats), pairs)]
    seconds, peer_seconds = (statistics.median(t) for t in zip(*times))
    return {
        "workload": f"mlp-{optimizer}",
        "data": data,
        "lanes": LANES,
        "seconds": seconds,
        "peer": "torch",
        "peer_seconds": peer_seconds,
        "ratio": peer_seconds / seconds,
        "limit_seconds": limit(len(y)),
        "compile_seconds": compiling,
    }


def main() -> None:
    """Prints the rows as a table or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="rows and versions as JSON")
    parser.add_argument(
        "--repeats", type=int, default=5, choices=range(1, 90), help="epochs of each"
    )
    options = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        parser.error("PyTorch is not installed: pip install -e '.[torch]' brings it")
    devices.configure()
    rows = [row(optimizer, options.repeats) for optimizer in ("sgd", "adam")]
    if options.json:
        import torch

        about = environment() | {"torch": torch.__version__}
        print(json.dumps({"environment": about, "rows": rows}, indent=2))
        return
    columns = [name for name in rows[0] if name != "data"]
    print("  ".join(f"{name:>15}" for name in columns))
    for one in rows:
        cells = (one[name] for name in columns)
        text = (f"{x:.3f}" if isinstance(x, float) else str(x) for x in cells)
        print("  ".join(f"{x:>15}" for x in text))


if __name__ == "__main__":
    main()
