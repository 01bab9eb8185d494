"""The peers train our networks, and rows of a tiny size are measured."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks import guard, ours, peers_flax, training, training_rows
from benchmarks.workloads import SHORT, WORKLOADS
from normjax.optimizers import recipes

UNIT = 2.0**-24
SMALL = {  # the same networks, narrow, on few examples
    "mlp": WORKLOADS["mlp-batch-sgd"]._replace(widths=(8, 6)),
    "deep mlp": WORKLOADS["deep-mlp-adam"]._replace(widths=(8,) * 5),
    "cnn 5x5": WORKLOADS["cnn-5x5-sgd"]._replace(widths=(3, 4)),
    "cnn 3x3": WORKLOADS["cnn-3x3-sgd"]._replace(widths=(3, 4, 5, 4)),
    "resnet20": WORKLOADS["resnet20-sgd"]._replace(widths=(2, 3, 4)),
}


def examples(work, count=16):
    draw = np.random.default_rng(0)
    x = draw.integers(0, 256, (count, *work.image), np.uint8)
    return x, draw.integers(0, 10, count, np.int32)


def our_loss(work, x, y):
    """Loss of our network in training, and its parameters in the order of the calls."""
    model = ours.network(work)
    images = jnp.asarray(x, jnp.float32) / 255
    variables = dict(model.init(jax.random.key(0), images[:1], train=False))
    params, stats = variables.pop("params"), variables
    logits, _ = model.apply(
        {"params": params, **stats}, images, train=True, mutable=list(stats)
    )
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(y))
    return float(jnp.mean(nats)), params


def budget(loss):
    """Sums of up to 3072 products and twenty layers, in another order: measured 20."""
    return 256 * UNIT * loss


@pytest.mark.parametrize("name", SMALL)
def test_torch_computes_our_network(name):
    torch = pytest.importorskip("torch")
    from benchmarks import peers_torch

    work = SMALL[name]
    x, y = examples(work)
    loss, params = our_loss(work, x, y)
    model = peers_torch.MODELS[work.model](work)
    kinds = torch.nn.Linear, torch.nn.Conv2d, torch.nn.modules.batchnorm._BatchNorm
    modules = [module for module in model.modules() if isinstance(module, kinds)]
    with torch.no_grad():
        for module, layer in zip(modules, params.values(), strict=True):
            weight = np.asarray(layer["kernel" if "kernel" in layer else "scale"])
            if module is modules[-1] and work.model == "cnn":  # of flat images
                side = round((len(weight) / work.widths[-1]) ** 0.5)
                spread = weight.reshape(side, side, -1, 10)
                weight = spread.transpose(2, 0, 1, 3).reshape(-1, 10)
            axes = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}[weight.ndim]
            module.weight.copy_(torch.tensor(weight.transpose(axes)))
            if "bias" in layer:
                module.bias.copy_(torch.tensor(np.asarray(layer["bias"])))
        logits = model(peers_torch.inputs(work, x))
        other = torch.nn.functional.cross_entropy(logits, torch.tensor(y).long())
    assert abs(float(other) - loss) <= budget(loss)


@pytest.mark.parametrize("name", SMALL)
def test_flax_computes_our_network(name):
    work = SMALL[name]
    x, y = examples(work)
    loss, params = our_loss(work, x, y)
    model = peers_flax.MODELS[work.model](work)
    images = jnp.asarray(x, jnp.float32) / 255
    variables = dict(model.init(jax.random.key(0), images[:1], train=False))
    own = variables.pop("params")
    same = {
        name: dict(zip(layer, (ours_[key] for key in layer)))
        for (name, layer), ours_ in zip(own.items(), params.values(), strict=True)
    }
    assert jax.tree.map(jnp.shape, same) == jax.tree.map(jnp.shape, own)
    other, _ = peers_flax.loss_of(model, same, variables, images, jnp.asarray(y))
    assert abs(float(other) - loss) <= budget(loss)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "third_moment"])
def test_torch_optimizers_are_our_recipes(optimizer):
    """Ten steps. A step rounds a few times, relative to the step; optax rounds Adam's
    `1 - decay^t` by up to 5e-5 of the first steps, see `scale_by_third_moment`.
    """
    torch = pytest.importorskip("torch")
    from benchmarks import peers_torch

    draw = np.random.default_rng(0)
    grads = draw.normal(size=(10, 50)).astype(np.float32) ** 3
    start, rate = draw.normal(size=50).astype(np.float32), 0.01
    tx = recipes.RECIPES[optimizer](learning_rate=rate)
    params, state = jnp.asarray(start), tx.init(jnp.asarray(start))
    weight = torch.nn.Parameter(torch.tensor(start))
    peer = peers_torch.OPTIMIZERS[optimizer]([weight], rate)
    for grad in grads:
        updates, state = tx.update(jnp.asarray(grad), state, params)
        params = optax.apply_updates(params, updates)
        weight.grad = torch.tensor(grad)
        peer.step()
    moved = np.abs(np.asarray(params) - start)
    error = np.abs(weight.detach().numpy() - np.asarray(params))
    relative = 1e-4 if optimizer == "adam" else 64 * UNIT
    size = np.abs(start) + rate * np.abs(grads).sum(0)
    assert np.all(error <= 10 * UNIT * size + relative * (moved + rate))
    assert np.all(moved > 0)


def test_examples_are_counted_in_whole_steps():
    work = WORKLOADS["mlp-sgd"]._replace(num_examples=300, widths=(4,))
    assert work.num_steps == 2
    # forward and kernel gradient of 784 x 4, and those of 4 x 10 with the input's
    assert ours.operations(work) == 2 * 256 * (2 * 784 * 4 + 3 * 4 * 10)


def test_short_rows_are_rows_of_the_whole():
    assert all(
        work == WORKLOADS[name]._replace(num_examples=work.num_examples)
        for name, work in SHORT.items()
    )


def test_rows_of_a_tiny_size(monkeypatch, tmp_path):
    """Real processes; without a compiler the compiled way is left out and says so."""
    pytest.importorskip("torch")
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    work = SHORT["mlp-sgd"]._replace(
        widths=(4,), batch_size=8, num_examples=24, lanes=(1, 2)
    )
    ways = ["flax", "torch compiled"]
    shown = []
    rows = training.run({"tiny": work}, ways, 2, shown.append)
    assert shown == rows
    assert [row["lanes"] for row in rows] == [1, 2]
    assert all(set(row["left_out"]) == {"torch compiled"} for row in rows)
    assert [row["peer"] for row in rows] == ["flax", "flax"]
    assert rows[0]["num_examples"] == 24
    assert [list(row["mappings"]) for row in rows] == [
        ["map", "data-parallel"],
        ["map"],
    ]
    assert rows[0]["ours"]["repeats"] == 2
    path = tmp_path / "rows.json"
    guard.write(path, rows)
    assert [fell for fell, _ in guard.comparison(rows, guard.read(path))] == [False] * 2
    assert "left out: InductorError" in "".join(training_rows.lines(rows[0]))
