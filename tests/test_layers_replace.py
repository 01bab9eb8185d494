"""Norms exchanged by name inside flax models that know nothing of normjax."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from normjax import layers, models
from normjax.errors import InputError

EPS32 = float(np.finfo(np.float32).eps)
KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6, 6, 8)) + 1, jnp.float32)
LABELS = jnp.asarray([0, 1, 2, 0])


def waves(key, shape, dtype=jnp.float32):
    """An initializer without a random number, whose compilation would cost most."""
    del key
    return (
        ((jnp.arange(np.prod(shape)) * 37 % 101 - 50) / 100)
        .astype(dtype)
        .reshape(shape)
    )


def same(a, b):
    """Trees equal to the bit, names included."""
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(
        jax.tree.map(np.array_equal, a, b)
    )


def near(a, b, ulps):
    """Trees of one structure, equal up to roundings of each leaf's largest entry."""
    close = lambda a, b: np.max(np.abs(a - b)) <= ulps * EPS32 * np.max(np.abs(b))
    return jax.tree.all(jax.tree.map(close, a, b))


# ---- a residual network in the manner of flax's examples -----------------------------


class Block(nn.Module):
    """Two convolutions and a shortcut; conv and norm are handed in."""

    filters: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    strides: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x):
        y = self.conv(self.filters, (3, 3), self.strides)(x)
        y = nn.relu(self.norm()(y))
        y = self.conv(self.filters, (3, 3))(y)
        y = self.norm(scale_init=nn.initializers.zeros)(y)
        if x.shape != y.shape:
            x = self.conv(self.filters, (1, 1), self.strides, name="shortcut")(x)
            x = self.norm(name="norm_shortcut")(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A stem and a block."""

    norm: Any = functools.partial(nn.BatchNorm, use_fast_variance=False)

    @nn.compact
    def __call__(self, x, train: bool = True):
        conv = functools.partial(nn.Conv, use_bias=False, kernel_init=waves)
        norm = functools.partial(
            self.norm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=jnp.float32,
        )
        x = nn.relu(norm(name="norm_stem")(conv(4, (3, 3), name="stem")(x)))
        x = Block(8, conv, norm, (2, 2))(x)
        return nn.Dense(3, kernel_init=waves)(jnp.mean(x, (1, 2)))


def trained(model, num_steps=4):
    """Variables, losses while training, and logits of evaluation afterwards."""

    @jax.jit
    def run(key):
        variables = dict(model.init(key, X, train=False))
        params = variables.pop("params")

        def step(carry, _):
            params, stats = carry

            def loss(params):
                logits, new = model.apply(
                    {"params": params, **stats}, X, mutable=list(stats)
                )
                nats = -jnp.take_along_axis(nn.log_softmax(logits), LABELS[:, None], -1)
                return jnp.mean(nats), new

            (nats, stats), grads = jax.value_and_grad(loss, has_aux=True)(params)
            params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
            return (params, stats), nats

        end, losses = jax.lax.scan(step, (params, variables), length=num_steps)
        logits = model.apply({"params": end[0], **end[1]}, X, train=False)
        return (params, variables), end, losses, logits

    return run(KEY)


def test_a_residual_network_trains_as_with_the_batch_norm_of_flax():
    """Same variables before, same losses, variables and logits after four steps.

    Each gradient sums up to 4 * 36 products, of which sqrt(144) eps stay, times the
    4 steps; gradients of size 1 and steps of 0.1 pass it on. Measured: to the bit.
    """
    ours, theirs = trained(layers.replace(ResNet(), "batch")), trained(ResNet())
    assert same(ours[0], theirs[0])
    assert near(ours[2:], theirs[2:], ulps=4 * 12)
    assert near(ours[1], theirs[1], ulps=4 * 12)
    assert ours[2][-1] < 0.9 * ours[2][0]


# ---- every row --------------------------------------------------------------------


class Plain(nn.Module):
    """Dense layers over the channels of an image, with batch norm of flax."""

    @nn.compact
    def __call__(self, x, train: bool):
        for i in range(2):
            x = nn.Dense(8, kernel_init=waves, name=f"dense_{i}")(x)
            x = nn.BatchNorm(use_running_average=not train, name=f"norm_{i}")(x)
            x = nn.relu(x)
        return nn.Dense(3, kernel_init=waves, name="logits")(jnp.mean(x, (1, 2)))


ROWS = [
    name
    for name, row in layers.NORMS.items()
    if row.kernel is None and not row.owns_activation
]


@pytest.mark.parametrize("name", ROWS)
def test_every_norm_alone_can_stand_in_a_model_of_flax(name):
    """Initializing, gradient of training with the statistics it leaves, evaluation."""
    model = layers.replace(Plain(), name)

    @jax.jit
    def run(x):
        variables = dict(model.init(KEY, x, train=True))
        params = variables.pop("params")

        def loss(params):
            apply = functools.partial(model.apply, {"params": params, **variables})
            y, new = apply(x, train=True, mutable=["batch_stats"])
            return jnp.sum(y**2), new

        (_, new), grads = jax.value_and_grad(loss, has_aux=True)(params)
        y = model.apply({"params": params, **new}, x, train=False)
        return variables, new, params, grads, y

    stats, new, params, grads, y = run(X)
    assert y.shape == (4, 3)
    assert jax.tree.structure(stats) == jax.tree.structure(new)
    assert set(params) - {"norm_0", "norm_1"} == {"dense_0", "dense_1", "logits"}
    assert jax.tree.all(jax.tree.map(lambda a: np.all(np.isfinite(a)), (y, grads)))
    for dense in ("dense_0", "dense_1", "logits"):
        assert same(params[dense]["kernel"], waves(None, params[dense]["kernel"].shape))
        assert np.any(grads[dense]["kernel"] != 0)
    if stats:
        assert same(stats, new) == (name == "frozen")


class Random(nn.Module):
    """Random kernels before and after a norm, and one of its own."""

    @nn.compact
    def __call__(self, x):
        own = self.param("own", nn.initializers.uniform(), (8, 8))
        x = nn.LayerNorm()(nn.Dense(8)(jnp.dot(x, own)))
        return nn.Dense(8)(x)


def test_other_variables_are_those_of_the_model():
    """Of the same key, whatever the norm has in its place."""
    theirs = Random().init(KEY, X)["params"]
    for name in ("none", "derf"):
        ours = layers.replace(Random(), name).init(KEY, X)["params"]
        for other in ("own", "Dense_0", "Dense_1"):
            assert same(ours[other], theirs[other])
        assert ("LayerNorm_0" in ours) == (name == "derf")


# ---- what is carried over -----------------------------------------------------------


class One(nn.Module):
    """A single norm and what comes before it."""

    norm: nn.Module

    @nn.compact
    def __call__(self, x, **given):
        return self.norm(nn.Dense(8, kernel_init=waves)(x), **given)


def one(norm, name=None, x=X, *, mutable=("batch_stats",), **given):
    """Variables of a model with that norm, and what it makes of `x`."""
    model = One(norm) if name is None else layers.replace(One(norm), name)
    variables = model.init(KEY, x, **given)
    return variables, model.apply(variables, x, mutable=list(mutable), **given)


STARTS = {
    "epsilon": 3.0,
    "scale_init": nn.initializers.constant(2.0),
    "bias_init": nn.initializers.constant(-1.0),
    "use_fast_variance": False,
}


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("batch", nn.BatchNorm(use_running_average=False, momentum=0.5, **STARTS)),
        ("layer", nn.LayerNorm(**STARTS)),
        ("group", nn.GroupNorm(num_groups=2, **STARTS)),
        ("group", nn.GroupNorm(num_groups=None, group_size=2, **STARTS)),
        ("instance", nn.InstanceNorm(**STARTS)),
        ("rms", nn.RMSNorm(epsilon=3.0, scale_init=STARTS["scale_init"])),
        ("batch", nn.BatchNorm(False, use_bias=False, axis=1, **STARTS)),
        ("layer", nn.LayerNorm(use_scale=False, reduction_axes=(1, 2), **STARTS)),
        ("instance", nn.InstanceNorm(feature_axes=(1, 3), **STARTS)),
        ("flax.linen.LayerNorm", nn.LayerNorm(**STARTS)),
        ("group", layers.GroupNorm(num_groups=2, eps=3.0)),
    ],
)
def test_a_norm_exchanged_for_itself_is_itself(name, norm):
    """eps, decay, groups, initial scale and bias: variables, outputs, statistics."""
    ours, theirs = one(norm, name), one(norm)
    assert same(ours[0], theirs[0])
    assert near(ours[1], theirs[1], ulps=16)


@pytest.mark.parametrize(
    ("given", "dtype", "result"),
    [
        (jnp.bfloat16, None, jnp.float32),  # promoted by the parameters
        (jnp.bfloat16, jnp.bfloat16, jnp.bfloat16),
        (jnp.float32, jnp.bfloat16, jnp.bfloat16),
    ],
)
def test_the_dtype_of_the_result_is_that_of_the_norm_it_replaces(given, dtype, result):
    x = X.astype(given)
    norm = nn.LayerNorm(dtype=dtype, epsilon=1e-5, use_fast_variance=False)
    y = layers.replace(norm, "layer").apply({"params": VECTORS}, x)
    assert y.dtype == result
    right = norm.apply({"params": VECTORS}, x)  # multiplies in another order
    assert np.allclose(y, right, rtol=0, atol=float(16 * jnp.finfo(result).eps))


def test_no_norm_keeps_the_dtype_of_the_norm_it_replaces():
    """Of flax's, the dtype of `x` and the parameters, or the one it names."""
    norms = [
        nn.LayerNorm(dtype=jnp.bfloat16),
        nn.LayerNorm(),
        nn.LayerNorm(use_scale=False, use_bias=False),
        layers.LayerNorm(dtype=jnp.float32),
        layers.LayerNorm(),
    ]
    x = X.astype(jnp.bfloat16)
    for norm in norms:
        right, _ = norm.init_with_output(KEY, x)
        y = layers.replace(norm, "none").apply({}, x)
        assert y.dtype == right.dtype
        y = layers.replace(norm, "batch").init_with_output(KEY, x)[0]
        assert y.dtype == right.dtype


VECTORS = {"scale": jnp.linspace(0.5, 1.5, 8), "bias": jnp.linspace(-1.0, 1.0, 8)}


def test_a_norm_that_knew_no_training_trains_where_statistics_may_move():
    norm = nn.LayerNorm(epsilon=1e-5)
    variables, (y, new) = one(norm, "batch")
    right = layers.replace(One(norm), "layer").apply(variables, X)
    assert not same(new["batch_stats"], variables["batch_stats"])
    _, (still, none) = one(norm, "batch", mutable=())
    assert not none
    dense = nn.Dense(8).apply({"params": variables["params"]["Dense_0"]}, X)
    assert near(still, dense / np.sqrt(np.float32(1 + 1e-5)), ulps=4)
    assert not near(y, right, ulps=1000)


@pytest.mark.parametrize(
    "mask",
    [
        jnp.arange(4).reshape(4, 1, 1, 1) < 3,
        jnp.arange(X.size).reshape(X.shape) % 5 < 4,
        (jnp.arange(48) % 5).reshape(6, 8),  # whole numbers, of the last axes alone
    ],
    ids=["examples", "elements", "last axes"],
)
def test_a_mask_of_flax_reaches_the_new_norm(mask):
    norm = nn.BatchNorm(use_running_average=False, use_fast_variance=False)
    _, (y, new) = one(norm, "batch", mask=mask)
    _, (right, wanted) = one(norm, mask=mask)
    assert near(new, wanted, ulps=16)
    seen = np.broadcast_to(mask != 0, X.shape)
    assert near(y[seen], right[seen], ulps=16)
    assert np.all(y[~seen] == 0)


def test_an_axis_of_devices_is_taken_over_from_batch_norm_to_batch_norm():
    """The running mean of four lanes is one: that of all their examples."""
    norm = nn.BatchNorm(use_running_average=False, axis_name="devices")
    model = layers.replace(norm, "batch")
    stats = {"mean": jnp.zeros(8), "var": jnp.ones(8)}
    variables = {"params": VECTORS, "batch_stats": stats}
    run = lambda x: model.apply(variables, x, mutable=["batch_stats"])[1]
    new = jax.jit(jax.vmap(run, axis_name="devices"))(X)["batch_stats"]
    right = 0.01 * np.mean(np.asarray(X, np.float64), (0, 1, 2))
    found = np.asarray(new["mean"])  # of every lane
    assert np.max(np.abs(found - right)) <= 16 * EPS32 * np.max(np.abs(right))


# ---- inside transforms, and in models of normjax ------------------------------------


class Layer(nn.Module):
    """Called once by remat, three times by scan."""

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(8, kernel_init=waves)(x)
        norm = nn.BatchNorm(use_running_average=False, use_fast_variance=False)
        return norm(x), None


class Lifted(nn.Module):
    """A layer under remat, and three under scan."""

    @nn.compact
    def __call__(self, x):
        x, _ = nn.remat(Layer)()(x)
        axes, keys = {"params": 0, "batch_stats": 0}, {"params": True}
        return nn.scan(Layer, variable_axes=axes, split_rngs=keys, length=3)()(x)[0]


def test_norms_inside_remat_and_scan_are_exchanged():
    @functools.partial(jax.jit, static_argnums=0)
    def run(model, x):
        variables = model.init(KEY, x)
        loss = lambda x: jnp.sum(model.apply(variables, x, mutable=True)[0] ** 3)
        return variables, model.apply(variables, x, mutable=True), jax.grad(loss)(x)

    ours, theirs = run(layers.replace(Lifted(), "batch"), X), run(Lifted(), X)
    assert same(ours[0], theirs[0])
    assert near(ours[1:], theirs[1:], ulps=16)
    params = run(layers.replace(Lifted(), "rms"), X)[0]["params"]
    assert set(params["CheckpointLayer_0"]["BatchNorm_0"]) == {"scale"}
    assert params["ScanLayer_0"]["BatchNorm_0"]["scale"].shape == (3, 8)


def test_norms_of_normjax_are_exchanged_too():
    x = X[:, 0, 0]
    mlp = lambda name: models.MLP((8, 8), 3, norm=layers.NORMS[name], kernel_init=waves)
    run = lambda model: model.init_with_output(KEY, x, train=False)
    ours, theirs = run(layers.replace(mlp("batch"), "layer")), run(mlp("layer"))
    assert same(ours, theirs)


class Doubled(nn.Module):
    """A user's norm."""

    @nn.compact
    def __call__(self, x):
        return 2 * x


def test_a_dotted_name_exchanges_a_norm_of_ones_own():
    model = layers.replace(One(nn.LayerNorm()), f"{__name__}.Doubled")
    y, variables = model.init_with_output(KEY, X)
    assert set(variables["params"]) == {"Dense_0"}
    plain = layers.replace(One(nn.LayerNorm()), "none").apply(variables, X)
    assert np.array_equal(y, 2 * plain)


def test_an_exchanged_model_is_a_value_and_can_be_exchanged_again():
    """Equal models hash alike, so that a program compiled for one serves the other."""
    first, second = (layers.replace(Plain(), "rms") for _ in range(2))
    assert (first, hash(first)) == (second, hash(second))
    assert first != layers.replace(Plain(), "layer")
    twice = layers.replace(layers.replace(Plain(), "layer"), "batch")
    once = layers.replace(Plain(), "batch")
    run = lambda model: model.init(KEY, X[:, :2, :2], train=False)
    assert jax.tree.structure(run(twice)) == jax.tree.structure(run(once))


# ---- mistakes ---------------------------------------------------------------------


class Bare(nn.Module):
    """No norm at all."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(8)(x)


class Jitted(nn.Module):
    """A block that flax compiles on its own."""

    @nn.compact
    def __call__(self, x):
        return nn.jit(Doubled)()(x)


SHARED = "scalar_batch"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: layers.replace(Plain(), "weight"),
            "norm='weight': must be a norm of activations, which a model calls, and not"
            " of kernels; use layers.Dense(kernel_norm=...) in the model.",
        ),
        (
            lambda: layers.replace(Plain(), "frn"),
            "norm='frn': must be a norm alone, for the model's activation would follow"
            " its own; build the model with this layer in the place of norm and"
            " activation.",
        ),
        (
            lambda: layers.replace(Bare(), "rms").init(KEY, X),
            "model='Bare': must call a norm of flax.linen (BatchNorm, LayerNorm,"
            " RMSNorm, GroupNorm, InstanceNorm) or of normjax; build it with such a"
            " norm first.",
        ),
        (
            lambda: layers.replace(One(layers.EvoNormS0()), "rms").init(KEY, X),
            "model='One': must call norms alone, and EvoNormS0 owns its activation;"
            " build it with another norm.",
        ),
        (
            lambda: layers.replace(Jitted(), "rms").init(KEY, X),
            "model='Jitted': must be free of nn.jit, which keeps what it once compiled"
            " of Doubled; jit the whole training step instead.",
        ),
        (
            lambda: layers.replace(Lifted(), SHARED).init(KEY, X),
            "norm='BatchNorm': must be called outside of lifted transforms (nn.remat,"
            " nn.scan, ...) to share one running mean; use a norm with its own, such as"
            " batch.",
        ),
        (
            lambda: one(nn.BatchNorm(use_running_average=True, axis=1), "layer"),
            "BatchNorm.axis=1: must be -1 to be exchanged for LayerNorm; move the"
            " features to the last axis.",
        ),
        (
            lambda: one(nn.BatchNorm(True, axis_name="devices"), "ghost"),
            "BatchNorm.axis_name='devices': must be None to be exchanged for"
            " GhostBatchNorm, which cannot take it over; build the model without it.",
        ),
        (
            lambda: one(layers.BatchNorm(axis_name="a"), "power", train=False),
            "BatchNorm.axis_name='a': must be None to be exchanged for PowerNorm,"
            " which cannot take it over; build the model without it.",
        ),
        (
            lambda: one(nn.BatchNorm(True, axis_index_groups=[[0], [1]]), "batch"),
            "BatchNorm.axis_index_groups=((0,), (1,)): must be None to be exchanged for"
            " BatchNorm, which cannot take it over; build the model without it.",
        ),
        (
            lambda: layers.replace(nnx.BatchNorm(8, rngs=nnx.Rngs(0)), "layer"),
            "model='BatchNorm': must be a module of flax.linen, whose norms are"
            " exchanged; write it in flax.linen, with flax.nnx.bridge.ToLinen around"
            " nnx parts.",
        ),
    ],
)
def test_mistakes_are_named_in_one_line(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message


def test_an_unknown_norm_is_named_with_its_neighbour():
    with pytest.raises(InputError, match=r"^norm='layr': .*; did you mean 'layer'\?"):
        layers.replace(Plain(), "layr")
