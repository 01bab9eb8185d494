"""What wraps a kernel inside a network: singular vectors, data-dependent scales."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from normjax import layers, models
from normjax.ops import weights

EPS32 = float(np.finfo(np.float32).eps)
KEY = jax.random.key(0)
DRAW = np.random.default_rng(0)
X = jnp.asarray(DRAW.normal(2.0, 1.5, (256, 12)), jnp.float32)


def mlp(norm, **changes):
    return models.MLP(widths=(16, 8), num_classes=3, norm=layers.NORMS[norm], **changes)


# ---- spectral norm ----------------------------------------------------------------


def test_singular_vectors_move_in_training_only():
    model = mlp("spectral")
    variables = model.init(KEY, X, train=True)
    kernel = variables["params"]["dense_0"]["kernel"]
    start = variables["batch_stats"]["dense_0"]["kernel_norm"]
    fresh = weights.singular(kernel)
    assert np.array_equal(start["u"], fresh.u)
    assert np.array_equal(start["v"], fresh.v)
    assert set(variables["batch_stats"]) == {"dense_0", "dense_1"}

    _, kept = model.apply(variables, X, train=False, mutable=["batch_stats"])
    assert jax.tree.all(
        jax.tree.map(np.array_equal, kept["batch_stats"], variables["batch_stats"])
    )
    _, new = model.apply(variables, X, train=True, mutable=["batch_stats"])
    _, right = weights.spectral_norm(kernel, fresh, steps=1)
    assert np.array_equal(new["batch_stats"]["dense_0"]["kernel_norm"]["u"], right.u)


def stepped(kernel, variables, num_steps):
    """Singular values of the kernel that is used, after steps with this kernel."""
    norm = layers.SpectralNorm
    layer = layers.Dense(kernel.shape[1], use_bias=False, kernel_norm=norm)
    variables = variables | {"params": {"kernel": kernel}}
    apply = jax.jit(functools.partial(layer.apply, train=True, mutable=["batch_stats"]))
    for _ in range(num_steps):
        w, new = apply(variables, jnp.eye(kernel.shape[0]))
        variables = variables | new
    return np.linalg.svd(np.asarray(w, np.float64), compute_uv=False)


def test_spectral_norm_recovers_from_a_kernel_of_zeros():
    """A kernel that starts as zeros is normed once it is not: in a step or two.

    Power iteration from any vector has a value between the least and the largest
    singular value after one step, so that no result is longer than their quotient.
    """
    layer = layers.Dense(
        3,
        use_bias=False,
        kernel_init=nn.initializers.zeros,
        kernel_norm=layers.SpectralNorm,
    )
    variables = layer.init(KEY, X)
    kernel = 0.01 * jnp.asarray(DRAW.normal(size=(12, 3)), jnp.float32)
    values = np.linalg.svd(np.asarray(kernel, np.float64), compute_uv=False)
    first = stepped(kernel, variables, 1)[0]
    assert 1 - 16 * EPS32 <= first <= values[0] / values[-1]
    assert abs(stepped(kernel, variables, 100)[0] - 1) <= 64 * EPS32


def test_spectral_norm_leaves_a_row_that_is_orthogonal_to_the_first_vector():
    """The longest row of [[2, 0], [0, 1], [0, 1], ...] is not the first vector."""
    kernel = jnp.zeros((30, 2)).at[0, 0].set(2).at[1:, 1].set(1)
    layer = layers.Dense(2, use_bias=False, kernel_norm=layers.SpectralNorm)
    layer = layer.clone(kernel_init=lambda *_: kernel)
    variables = layer.init(KEY, jnp.ones((1, 30)))
    assert abs(stepped(kernel, variables, 20)[0] - 1) <= 64 * EPS32


def test_a_layer_of_spectral_norm_stretches_nothing():
    """||x W|| <= ||x||, once power iteration has converged: products of length 12."""
    layer = layers.Dense(8, kernel_norm=layers.SpectralNorm)
    variables = layer.init(KEY, X)
    apply = jax.jit(functools.partial(layer.apply, train=True, mutable=["batch_stats"]))
    for _ in range(50):
        y, new = apply(variables, X)
        variables = variables | new
    length = functools.partial(np.linalg.norm, axis=-1)
    assert np.all(length(y) <= length(X) * (1 + 12 * EPS32))


def test_weight_standardization_comes_with_a_norm_of_activations():
    """Its own variance, 12, is taken away again: the same outputs at any scale."""
    model = mlp("weight_standardization")
    variables = model.init(KEY, X, train=False)
    larger = jax.tree.map(lambda a: a, variables)
    larger["params"]["dense_1"]["kernel"] = 4 * variables["params"]["dense_1"]["kernel"]
    y, z = (model.apply(v, X, train=True) for v in (variables, larger))
    assert np.max(np.abs(y - z)) <= 64 * EPS32 * np.max(np.abs(y))
    assert layers.NORMS["weight_standardization"].layer is layers.GroupNorm


# ---- data-dependent scales of weight norm -----------------------------------------


def outputs(model, variables, x):
    """What each dense layer puts out, by name."""
    _, seen = model.apply(
        variables, x, train=False, capture_intermediates=True, mutable=["intermediates"]
    )
    seen = seen["intermediates"]
    return {name: seen[name]["__call__"][0] for name in ("dense_0", "dense_1")}


@pytest.mark.parametrize("init_scale", [1e-3, 1.0])
def test_after_data_dependent_init_layers_put_out_mean_0_and_variance_1(init_scale):
    """Sums of 256 rows err by 16 eps, products of length 16 by 4; |y| < 4 std."""
    model = mlp("weight")
    plain = model.init(KEY, X, train=False)
    plain["params"]["dense_0"]["kernel"] *= init_scale
    new = jax.jit(functools.partial(layers.data_dependent_init, model))(plain, X)
    for name, y in outputs(model, new, X).items():
        y = np.asarray(y, np.float64)
        mean, var = y.mean(0), y.var(0)
        alive = var > 0.5
        assert np.all(alive), name
        assert np.max(np.abs(mean)) <= 64 * EPS32
        assert np.max(np.abs(var - 1)) <= 128 * EPS32

    assert jax.tree.structure(new) == jax.tree.structure(plain)
    for name in ("dense_0", "dense_1"):
        kernels = (v["params"][name]["kernel"] for v in (new, plain))
        assert np.array_equal(*kernels)
    logits = (v["params"]["logits"] for v in (new, plain))
    assert jax.tree.all(jax.tree.map(np.array_equal, *logits))


def test_data_dependent_init_is_the_formula_of_the_paper():
    """With t = x v / ||v||: g = 1 / std[t], b = -mean[t] / std[t], in float64."""
    layer = layers.Dense(5, kernel_norm=layers.WeightNorm)
    variables = layer.init(KEY, X)
    params = layers.data_dependent_init(layer, variables, X)["params"]
    v, x = (np.asarray(a, np.float64) for a in (params["kernel"], X))
    t = x @ v / np.linalg.norm(v, axis=0)
    scale, bias = params["kernel_norm"]["scale"], params["bias"]
    budget = (16 + 4 + 8) * EPS32
    assert np.max(np.abs(scale * t.std(0) - 1)) <= budget
    assert np.max(np.abs(bias + t.mean(0) / t.std(0))) <= budget * np.max(np.abs(bias))


def test_data_dependent_init_leaves_what_it_cannot_scale():
    """A constant output, a layer without bias, a model without weight norm."""
    layer = layers.Dense(5, kernel_norm=layers.WeightNorm, use_bias=False)
    variables = layer.init(KEY, X)
    same = layers.data_dependent_init(layer, variables, jnp.ones((4, 12)))
    assert jax.tree.all(jax.tree.map(np.array_equal, same, variables))
    y = layer.apply(layers.data_dependent_init(layer, variables, X), X)
    assert np.max(np.abs(np.var(y, 0) - 1)) <= 64 * EPS32

    model = mlp("batch")
    variables = model.init(KEY, X, train=False)
    same = layers.data_dependent_init(model, variables, X)
    assert jax.tree.all(jax.tree.map(np.array_equal, same, variables))
