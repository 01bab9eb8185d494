"""The MLP: what its layers are, in which order, and which norms they may have."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from normjax import layers, models

EPS32 = float(np.finfo(np.float32).eps)
KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(8, 2, 3)), jnp.float32)


def waves(key, shape, dtype=jnp.float32):
    """Kernels without a random number."""
    del key
    steps = (jnp.arange(np.prod(shape)) * 37 % 101 - 50) / 29
    return (steps / np.sqrt(shape[0])).astype(dtype).reshape(shape)


def mlp(norm="none", **settings):
    row = layers.norm_named(norm)
    return models.MLP((16, 8), 3, norm=row, kernel_init=waves, **settings)


@functools.cache
def output(norm="none", placement="pre"):
    """Logits of training, and the variables they come from."""
    model = mlp(norm, placement=placement)
    variables = model.init(KEY, X, train=False)
    y, _ = model.apply(variables, X, train=True, mutable=["batch_stats"])
    return y, variables


def by_hand(params, hidden):
    """The network with `hidden(i, x)` between its dense layers."""
    dense = lambda name, x: jnp.dot(x, params[name]["kernel"])  # biases are zero
    x = X.reshape(8, 6)
    for i in range(2):
        x = hidden(i, dense(f"dense_{i}", x))
    return dense("logits", x)


def close(a, b, ulps=32):
    return np.max(np.abs(a - b)) <= ulps * EPS32 * np.max(np.abs(b))


def test_without_norm_it_is_dense_and_relu():
    y, variables = output()
    shapes = jax.tree.map(jnp.shape, variables["params"])
    assert shapes == {
        "dense_0": {"kernel": (6, 16), "bias": (16,)},
        "dense_1": {"kernel": (16, 8), "bias": (8,)},
        "logits": {"kernel": (8, 3), "bias": (3,)},
    }
    assert close(y, by_hand(variables["params"], lambda i, x: nn.relu(x)))


@pytest.mark.parametrize(
    ("placement", "hidden"),
    [
        ("pre", lambda i, x: nn.relu(layer_norm(x))),
        ("post", lambda i, x: layer_norm(nn.relu(x))),
    ],
)
def test_the_norm_stands_where_its_placement_says(placement, hidden):
    """Scale and bias start as 1 and 0."""
    y, variables = output("layer", placement)
    assert close(y, by_hand(variables["params"], hidden))
    other = "post" if placement == "pre" else "pre"
    assert not close(output("layer", other)[0], y, ulps=10**5)


def layer_norm(x):
    mean = jnp.mean(x, -1, keepdims=True)
    return (x - mean) / jnp.sqrt(jnp.var(x, -1, keepdims=True) + 1e-5)


OWNING = [name for name, row in layers.NORMS.items() if row.owns_activation]


@pytest.mark.parametrize("name", OWNING)
def test_a_norm_that_owns_its_activation_replaces_the_relu(name):
    """Both placements are one network, and none of its hidden units is a ReLU's."""
    y, variables = output(name)
    assert np.array_equal(y, output(name, "post")[0])
    stats = variables.get("batch_stats", {})

    def hidden(i, x):
        own = {
            kind: tree[f"norm_{i}"]
            for kind, tree in (("params", variables["params"]), ("batch_stats", stats))
            if f"norm_{i}" in tree
        }
        layer = layers.NORMS[name].layer()
        return layer.apply(own, x, train=True, mutable=["batch_stats"])[0]

    assert close(y, by_hand(variables["params"], hidden))


def test_the_norms_that_own_their_activation_are_those_published_as_such():
    assert set(OWNING) == {"frn", "evonorm_s0", "evonorm_b0"}


@pytest.mark.parametrize("name", [n for n, row in layers.NORMS.items() if row.kernel])
def test_a_norm_of_kernels_is_in_the_hidden_layers_only(name):
    shapes = jax.eval_shape(lambda: mlp(name).init(KEY, X, train=False))
    assert set(shapes["params"]["logits"]) == {"kernel", "bias"}
    if name in ("weight", "spectral"):
        held = {
            kind for kind, tree in shapes.items() if "kernel_norm" in tree["dense_1"]
        }
        assert held == {"params" if name == "weight" else "batch_stats"}


def test_training_reaches_the_norms_of_kernels():
    """Spectral norm iterates when it trains, and only then."""
    model = mlp("spectral")
    variables = model.init(KEY, X, train=False)
    start = variables["batch_stats"]
    for train in (True, False):
        _, new = model.apply(variables, X, train=train, mutable=["batch_stats"])
        leaves = zip(jax.tree.leaves(start), jax.tree.leaves(new["batch_stats"]))
        assert any(not np.array_equal(a, b) for a, b in leaves) == train


def test_dropout_is_compiled_in_on_request_and_evaluates_as_without():
    model = mlp(dropout=True)
    y, variables = output()
    apply = functools.partial(model.apply, variables, X, dropout_rate=0.5)
    assert np.array_equal(apply(train=False), y)
    assert not np.array_equal(apply(train=True, rngs={"dropout": KEY}), y)


# ---- a norm of the user's ------------------------------------------------------------


class CenteredNorm(nn.Module):
    """`y = scale * (x - mean)`, with a running mean: unknown to normjax."""

    @nn.compact
    def __call__(self, x, train):
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        mean = self.variable("batch_stats", "mean", jnp.zeros, x.shape[-1:])
        now = jnp.mean(x, 0) if train else mean.value
        if train and not self.is_initializing():
            mean.value = 0.5 * mean.value + 0.5 * now
        return scale.reshape(1, -1) * (x - now.reshape(1, -1))


def test_a_norm_by_its_dotted_name_trains():
    """From the name alone: variables, two steps of training, evaluation."""
    model = mlp(f"{__name__}.CenteredNorm")

    @jax.jit
    def step(params, stats):
        def loss(params):
            variables = {"params": params, **stats}
            y, new = model.apply(variables, X, train=True, mutable=["batch_stats"])
            return jnp.mean((y - 1) ** 2), new

        (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(params)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        return params, stats, value, grads

    variables = dict(model.init(KEY, X, train=False))
    params = variables.pop("params")
    assert params["norm_0"]["scale"].shape == (16,)
    params, stats, first, _ = step(params, variables)
    right = jnp.dot(X.reshape(8, 6), waves(KEY, (6, 16)))
    assert close(stats["batch_stats"]["norm_0"]["mean"], 0.5 * jnp.mean(right, 0))
    params, stats, second, grads = step(params, stats)
    assert second < first
    assert np.any(grads["norm_1"]["scale"] != 0)
    y = model.apply({"params": params, **stats}, X, train=False)
    assert np.all(np.isfinite(y))
