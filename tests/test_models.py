"""Models: what their layers are, in which order, and which norms they may have."""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from normjax import layers, models
from normjax.errors import InputError
from normjax.training import lane

EPS32 = float(np.finfo(np.float32).eps)
KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(8, 2, 3)), jnp.float32)


def waves(key, shape, dtype=jnp.float32):
    """Kernels without a random number."""
    del key
    steps = (np.arange(np.prod(shape)) * 37 % 101 - 50) / 29
    return jnp.asarray((steps / np.sqrt(shape[0])).reshape(shape), dtype)


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


# ---- what all models have in common --------------------------------------------------

SIZES = {  # row of MODELS -> widths, shape of an example, parameters with batch norm
    "mlp": ((128, 128), (28, 28), 784 * 128 + 128 * 128 + 128 * 10 + 266 + 512),
    "cnn": ((16, 32), (28, 28, 1), 9 * 16 * 33 + 49 * 32 * 10 + 58 + 96),
    "resnet20": ((16, 32, 64), (32, 32, 3), 269_722),
}


@pytest.mark.parametrize("name", models.MODELS)
def test_logits_and_parameters_are_as_many_as_by_hand(name):
    """Products, biases (of convolutions and the last layer), scales and biases.

    ResNet-20 has 0.27 million, as He et al. say.
    """
    widths, example, count = SIZES[name]
    model = models.MODELS[name](widths, 10, norm=layers.NORMS["batch"])
    y, variables = jax.eval_shape(
        functools.partial(model.init_with_output, train=False),
        KEY,
        jax.ShapeDtypeStruct((4, *example), jnp.float32),
    )
    assert y.shape == (4, 10)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count
    wide = {a.dtype for a in jax.tree.leaves(variables)}
    assert wide == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("widths", "fields", "count"),
    [
        (
            (64, 64, 64, 64),
            {"convs_per_pool": 2},
            9 * 64 + 3 * 9 * 64 * 64 + 49 * 64 * 10 + 266 + 512,
        ),
        ((16, 32), {"kernel_size": 5}, 25 * 16 * 33 + 49 * 32 * 10 + 58 + 96),
    ],
)
def test_a_cnn_has_the_kernels_and_pools_that_it_is_told(widths, fields, count):
    """Without the axis of the channels; counted as above."""
    model = models.CNN(widths, 10, norm=layers.NORMS["batch"], **fields)
    init = functools.partial(model.init, train=False)
    variables = jax.eval_shape(init, KEY, jax.ShapeDtypeStruct((4, 28, 28), float))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count


IMAGES = jnp.asarray(np.random.default_rng(1).normal(size=(2, 10, 9, 2)), jnp.float32)
SMALL = {
    "mlp": functools.partial(models.MLP, (4, 3)),
    "cnn": functools.partial(models.CNN, (4, 3)),
    "resnet": functools.partial(models.ResNet, (4, 6), blocks=1),
}


def kernels(tree):
    """Those of the layers, by name."""
    return {name: layer["kernel"] for name, layer in tree.items() if "kernel" in layer}


@pytest.mark.parametrize("name", SMALL)
def test_layers_have_one_name_under_every_norm_and_placement(name):
    found = []
    pairs = [(norm, "pre") for norm in layers.NORMS]
    pairs += itertools.product(("batch", "weight", "frn"), ("post", "pooled"))
    for norm, placement in pairs:
        if (name, norm) != ("mlp", "instance"):  # which needs spatial axes
            model = SMALL[name](3, norm=layers.NORMS[norm], placement=placement)
            init = functools.partial(model.init, train=False)
            params = jax.eval_shape(init, KEY, IMAGES)["params"]
            found.append(jax.tree.map(jnp.shape, kernels(params)))
    assert found == [found[0]] * len(found)
    assert (
        found[0]
        == {
            "mlp": {"dense_0": (180, 4), "dense_1": (4, 3), "logits": (3, 3)},
            "cnn": {
                "conv_0": (3, 3, 2, 4),
                "conv_1": (3, 3, 4, 3),
                "logits": (12, 3),
            },
            "resnet": {
                "conv": (3, 3, 2, 4),
                "conv_0_0_0": (3, 3, 4, 4),
                "conv_0_0_1": (3, 3, 4, 4),
                "conv_1_0_0": (3, 3, 4, 6),
                "conv_1_0_1": (3, 3, 6, 6),
                "logits": (6, 3),
            },
        }[name]
    )


@pytest.mark.parametrize("name", ["cnn", "resnet"])
def test_one_key_gives_one_set_of_kernels_under_every_norm(name):
    """One norm of each kind; nothing but parameters is computed, from their keys."""

    def of_key(key, shape, dtype):
        return jnp.full(shape, jax.random.key_data(key)[0]).astype(dtype)

    example = jax.ShapeDtypeStruct(IMAGES.shape, IMAGES.dtype)
    made = []
    for norm in ("none", "batch", "scalar_batch", "weight", "evonorm_b0"):
        model = SMALL[name](3, norm=layers.NORMS[norm], kernel_init=of_key)
        made.append(kernels(model.lazy_init(KEY, example, train=False)["params"]))
    same = functools.partial(jax.tree.map, np.array_equal, made[0])
    assert all(jax.tree.all(same(other)) for other in made)
    firsts = {float(np.ravel(kernel)[0]) for kernel in made[0].values()}
    assert len(firsts) == len(made[0])


@pytest.mark.parametrize("name", ["cnn", "resnet"])
def test_every_layer_convolves_as_it_is_told(name):
    seen = {}

    def note(call, args, kwargs, context):
        if isinstance(context.module, layers.Conv):
            seen[context.module.name] = context.module.implementation
        return call(*args, **kwargs)

    model = SMALL[name](3, convolution="lax")
    with nn.intercept_methods(note):
        jax.eval_shape(functools.partial(model.init, train=False), KEY, IMAGES)
    assert set(seen.values()) == {"lax"}
    assert set(seen) == {layer for layer in PARAMS[name] if layer.startswith("conv")}


@pytest.mark.parametrize(("name", "count"), [("mlp", 2), ("cnn", 2), ("resnet", 2)])
def test_dropout_follows_each_hidden_layer_or_block(name, count):
    """Counted by what draws; without it in the model nothing does."""
    variables = {"params": PARAMS[name]}
    for dropout in (False, True):
        apply = SMALL[name](3, dropout=dropout).apply
        step = lambda x, apply=apply: apply(
            variables, x, train=True, dropout_rate=0.5, rngs={"dropout": KEY}
        )
        drawn = str(jax.make_jaxpr(step)(IMAGES)).count("random_bits")
        assert drawn == (count if dropout else 0)


@pytest.mark.parametrize("name", SMALL)
def test_a_traced_scale_reaches_all_kernels_and_nothing_else(name):
    model = SMALL[name](3, norm=layers.NORMS["batch"], kernel_init=waves)

    @jax.jit
    def init(scale):
        return lane.init(KEY, scale, IMAGES[:1], model=model)

    plain, halved = init(1.0), init(0.5)
    assert init._cache_size() == 1
    right = jax.tree_util.tree_map_with_path(
        lambda path, a: a * 0.5 if path[-1].key == "kernel" else a, plain
    )
    assert jax.tree.all(jax.tree.map(np.array_equal, halved, right))
    assert jax.tree.all(jax.tree.map(np.any, kernels(plain[0])))


# ---- convolutions --------------------------------------------------------------------


def params_of(model):
    """Parameters without a random number, by shapes alone: biases and scales too."""
    shapes = jax.eval_shape(functools.partial(model.init, train=False), KEY, IMAGES)
    return jax.tree.map(lambda a: waves(KEY, a.shape) + 0.1, shapes["params"])


PARAMS = {name: params_of(make(3)) for name, make in SMALL.items()}


def convolved(x, layer, stride=1):
    around = layer["kernel"].shape[0] // 2
    y = jax.lax.conv_general_dilated(
        x,
        layer["kernel"],
        (stride, stride),
        ((around, around),) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y + layer.get("bias", jnp.zeros(y.shape[-1])).reshape(1, 1, 1, -1)


def normed(name, params):
    """`step(i, x)`: the norm of that name with its parameters."""
    layer = layers.NORMS[name].layer()
    return lambda i, x: layer.apply({"params": params[i]}, x, train=True)


def pooled(x):
    return nn.max_pool(x, (2, 2), (2, 2))


def last_layer(x, params):
    layer = params["logits"]
    return jnp.dot(x, layer["kernel"]) + layer["bias"].reshape(1, -1)


def both(make, by_hand, placements):
    """Logits of the model under each placement, and those by hand."""

    @jax.jit
    def run(params):
        found = [
            make(placement=placement).apply({"params": params}, IMAGES, train=True)
            for placement in placements
        ]
        return found, [by_hand(params, placement) for placement in placements]

    return run(params_of(make()))


ORDERS = {  # placement -> what follows a convolution, by hand
    "pre": lambda norm, relu, pool: lambda x: pool(relu(norm(x))),
    "post": lambda norm, relu, pool: lambda x: pool(norm(relu(x))),
    "pooled": lambda norm, relu, pool: lambda x: norm(pool(relu(x))),
}


@pytest.mark.parametrize(("norm", "convs_per_pool"), [("layer", 2), ("frn", 1)])
def test_a_convolutional_network_is_in_the_order_of_its_placement(norm, convs_per_pool):
    """FRN owns its activation, so that it stands for both. Sizes are odd: 9, then 5.

    Measured: 0 to 18 eps of the largest logit, the most where a pixel whose channels
    hardly differ is normed.
    """

    def by_hand(params, placement):
        relu = (lambda x: x) if norm == "frn" else nn.relu
        x = IMAGES
        for i in (0, 1):
            step = functools.partial(normed(norm, params), f"norm_{i}")
            pool = pooled if (i + 1) % convs_per_pool == 0 else lambda x: x
            after = ORDERS[placement](step, relu, pool)
            x = after(convolved(x, params[f"conv_{i}"]))
        return last_layer(x.reshape(2, -1), params)

    make = functools.partial(
        models.CNN, (4, 3), 3, norm=layers.NORMS[norm], convs_per_pool=convs_per_pool
    )
    found, right = both(make, by_hand, ORDERS)
    assert [close(a, b) for a, b in zip(found, right)] == [True] * 3
    pre, post, last = found
    assert not close(last, post, ulps=10**4)
    assert close(pre, post, ulps=10**4) == (norm == "frn")


@pytest.mark.parametrize("norm", ["layer", "frn"])
def test_a_residual_network_is_that_of_the_paper(norm):
    """Two stages of a block each; odd sizes; a shortcut without weights.

    Measured: 0.7 to 1.5 eps of the largest logit.
    """
    first, last = ("conv_0_0_0", "conv_0_0_1"), ("conv_1_0_0", "conv_1_0_1")

    def by_hand(params, placement):
        relu = (lambda x: x) if norm == "frn" else nn.relu
        step = normed(norm, params)
        order = ORDERS["pre" if placement == "pre" else "post"]
        after = lambda i: order(functools.partial(step, i), relu, lambda x: x)
        x = after("norm")(convolved(IMAGES, params["conv"]))
        for names, stride in ((first, 1), (last, 2)):
            block = names[0][4:8]
            y = after(f"norm{block}_0")(convolved(x, params[names[0]], stride))
            y = convolved(y, params[names[1]])
            kept = x[:, ::stride, ::stride]
            x = jnp.zeros(y.shape).at[..., : x.shape[-1]].set(kept)
            if placement == "pre" and norm != "frn":
                x = relu(x + step(f"norm{block}_1", y))
            else:
                x = step(f"norm{block}_1", relu(x + y))
        return last_layer(jnp.mean(x, (1, 2)), params)

    make = functools.partial(SMALL["resnet"], 3, norm=layers.NORMS[norm])
    found, right = both(make, by_hand, ("pre", "pooled"))
    assert [close(a, b) for a, b in zip(found, right)] == [True] * 2
    assert close(*found, ulps=10**4) == (norm != "layer")


def test_images_of_one_channel_may_come_without_it():
    grey = IMAGES[..., :1]
    for name in ("cnn", "resnet"):
        apply = functools.partial(SMALL[name](3).init_with_output, KEY, train=False)
        with_axis, without = (jax.eval_shape(apply, x) for x in (grey, grey[..., 0]))
        assert with_axis == without
    assert np.array_equal(models.images(grey[..., 0]), grey)


def test_data_dependent_init_goes_through_pooling():
    """Each convolution sees what those before it put out with their new scales.

    Sums of 180 and of 40 pixels, products of length 18 and 36: 64 eps; |y| < 4 std.
    """
    model = SMALL["cnn"](3, norm=layers.NORMS["weight"], kernel_init=waves)

    @jax.jit
    def run(x):
        variables = layers.data_dependent_init(
            model, model.init(KEY, x, train=False), x
        )
        _, seen = model.apply(
            variables,
            x,
            train=False,
            capture_intermediates=True,
            mutable=["intermediates"],
        )
        return [seen["intermediates"][f"conv_{i}"]["__call__"][0] for i in (0, 1)]

    for y in run(IMAGES):
        y = np.asarray(y, np.float64)
        assert np.max(np.abs(y.mean((0, 1, 2)))) <= 64 * EPS32
        assert np.max(np.abs(y.var((0, 1, 2)) - 1)) <= 256 * EPS32


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (
            models.CNN((4,), 3),
            (2, 6),
            "inputs: convolutions need images, got examples of shape (6,);"
            " use models.MLP.",
        ),
        (
            models.ResNet((4,), 3),
            (2, 6, 6, 6, 1),
            "inputs: convolutions need images, got examples of shape (6, 6, 6, 1);"
            " use models.MLP.",
        ),
        (
            models.ResNet((4, 6, 5), 3),
            (2, 6, 6),
            "widths=(4, 6, 5): must not fall from stage to stage, for a shortcut"
            " only adds channels; the paper's are 16, 32, 64.",
        ),
        (
            models.CNN((4,) * 4, 3),
            (2, 8, 15),
            "widths: 4 max-pools need images of at least 16 pixels a side,"
            " got 8; at most 3 fit.",
        ),
        (
            models.CNN((4,) * 5, 3, convs_per_pool=2),
            (2, 3, 8, 1),
            "widths: 2 max-pools need images of at least 4 pixels a side,"
            " got 3; at most 1 fit.",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(model, shape, message):
    with pytest.raises(InputError) as caught:
        jax.eval_shape(
            functools.partial(model.init, train=False), KEY, jnp.zeros(shape)
        )
    assert str(caught.value) == message


def test_as_many_pools_as_fit():
    model = models.CNN((2,) * 3, 3)
    init = functools.partial(model.init_with_output, train=False)
    y, variables = jax.eval_shape(init, KEY, jnp.zeros((2, 8, 15)))
    assert y.shape == (2, 3)
    assert variables["params"]["logits"]["kernel"].shape == (2, 3)  # one pixel
