"""Layers against flax's own, what they keep, and the table a model chooses from."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from normjax import layers
from normjax.errors import InputError

EPS32 = float(np.finfo(np.float32).eps)
KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (6, 4, 4, 32)) + 1
ROWS = X[:, 0, 0]


def same(a, b):
    """Trees equal to the bit, names included."""
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(
        jax.tree.map(np.array_equal, a, b)
    )


def perturbed(variables):
    """Parameters away from their ones and zeros."""
    wave = lambda a: 0.1 * jnp.cos(jnp.arange(a.size)).reshape(a.shape)
    return jax.tree.map(lambda a: a + wave(a), variables)


class Net(nn.Module):
    """Two dense layers with a norm each, as a model places them."""

    norm: layers.Norm
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x, *, train, mask=None):
        make = layers.normalizers(self.norm)
        for i in range(2):
            dense = layers.Dense(
                32,
                kernel_init=self.kernel_init,
                kernel_norm=self.norm.kernel,
                name=f"dense_{i}",
            )
            x = make(name=f"norm_{i}")(dense(x, train=train), train=train, mask=mask)
        return x


# ---- against flax -----------------------------------------------------------------


class Pair(nn.Module):
    """Two dense layers of one kind, named as flax names them by itself or by hand."""

    dense: type[nn.Module]

    @nn.compact
    def __call__(self, x):
        return self.dense(8, name="out")(self.dense(16, use_bias=False, name="in")(x))


def test_dense_is_that_of_flax_to_the_bit():
    (y, ours), (right, theirs) = (
        Pair(dense).init_with_output(KEY, X) for dense in (layers.Dense, nn.Dense)
    )
    assert same(ours, theirs)
    assert np.array_equal(y, right)


def test_batch_norm_is_that_of_flax_to_the_bit():
    """Training, running statistics over five steps, evaluation."""
    ours = layers.BatchNorm(decay=0.9)
    theirs = nn.BatchNorm(momentum=0.9, use_fast_variance=False)
    variables = ours.init(KEY, X, train=False)
    assert same(variables, theirs.init(KEY, X, use_running_average=True))
    params = perturbed(variables["params"])
    stats = right = variables["batch_stats"]
    for step in range(5):
        x = X * (step + 1)
        y, new = ours.apply(
            {"params": params, "batch_stats": stats},
            x,
            train=True,
            mutable=["batch_stats"],
        )
        z, old = theirs.apply(
            {"params": params, "batch_stats": right},
            x,
            use_running_average=False,
            mutable=["batch_stats"],
        )
        stats, right = new["batch_stats"], old["batch_stats"]
        assert np.array_equal(y, z)
        assert same(stats, right)
    variables = {"params": params, "batch_stats": stats}
    assert np.array_equal(
        ours.apply(variables, X, train=False),
        theirs.apply(variables, X, use_running_average=True),
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "terms"),
    [
        (layers.LayerNorm(), nn.LayerNorm(epsilon=1e-5, use_fast_variance=False), 0),
        (layers.RMSNorm(), nn.RMSNorm(epsilon=1e-5), 0),
        (
            layers.GroupNorm(num_groups=4),
            nn.GroupNorm(num_groups=4, epsilon=1e-5, use_fast_variance=False),
            4 * 4 * 8,
        ),
        (
            layers.InstanceNorm(),
            nn.InstanceNorm(epsilon=1e-5, use_fast_variance=False),
            4 * 4,
        ),
    ],
    ids=["layer", "rms", "group", "instance"],
)
def test_norm_is_that_of_flax_but_for_roundings(ours, theirs, terms):
    """Statistics are equal, or their sums of so many `terms` are in another order.

    Such a sum is off by `terms` eps/2 of the mean of |x| <= max|x|, in ours and theirs,
    which the factor |y - bias| / |x - mean| <= 2 enlarges; the variance's error, twice
    that, enters by a half. `x - mean`, factor and scale are multiplied in another
    order, two roundings each, and the bias is added in one.
    """
    variables = ours.init(KEY, X)
    assert same(variables, theirs.init(KEY, X))
    variables = perturbed(variables)
    y, z = (np.asarray(x.apply(variables, X)) for x in (ours, theirs))
    bias = np.asarray(variables["params"].get("bias", 0.0))
    roundings = 2 * np.abs(y - bias) + np.abs(y)
    sums = terms * (2 * np.max(np.abs(X)) + np.abs(y - bias))
    assert (np.abs(y - z) <= EPS32 * (roundings + sums)).all()
    assert not (np.abs(y * 1.000_01 - z) <= EPS32 * roundings).all()


def test_weight_norm_is_that_of_flax_but_for_roundings():
    """The kernel differs by 3 eps (rsqrt or division), through a sum of 32 products:
    |y| <= ||x|| ||w||, so by (3 + sqrt(32)) eps of that.
    """
    params = layers.Dense(8).init(KEY, ROWS)["params"]
    scale = jnp.linspace(0.5, 2.0, 8)
    theirs = nn.WeightNorm(nn.Dense(8)).apply(
        {"params": {"layer_instance": params, "layer_instance/kernel/scale": scale}},
        ROWS,
    )
    ours = layers.Dense(8, kernel_norm=layers.WeightNorm).apply(
        {"params": params | {"kernel_norm": {"scale": scale}}}, ROWS
    )
    longest = np.max(np.linalg.norm(ROWS, axis=-1)) * 2
    assert np.max(np.abs(ours - theirs)) <= (3 + np.sqrt(32)) * EPS32 * longest


def test_dropout_is_that_of_flax_to_the_bit():
    rngs = {"dropout": jax.random.key(7)}
    y = layers.Dropout().apply({}, X, jnp.float32(0.3), train=True, rngs=rngs)
    z = nn.Dropout(0.3, deterministic=False).apply({}, X, rngs=rngs)
    assert np.array_equal(y, z)


# ---- what a layer keeps -----------------------------------------------------------


@pytest.mark.parametrize("layer", [layers.BatchNorm(), layers.ScalarBatchNorm()])
def test_initializing_and_evaluating_leave_the_running_moments(layer):
    """Initializing evaluates: a single example, over which no mean can be, will do."""
    y, variables = layer.init_with_output(KEY, ROWS[:1], train=True)
    mean, var = jax.tree.leaves(variables["batch_stats"])
    assert np.all(mean == 0)
    assert np.all(var == 1)
    right, new = layer.apply(variables, ROWS[:1], train=False, mutable=True)
    assert same(new, variables)
    assert np.array_equal(y, right)


def test_dense_takes_any_number_of_leading_axes():
    layer = layers.Dense(8)
    variables = perturbed(layer.init(KEY, X))
    y = layer.apply(variables, X)
    rows = layer.apply(variables, X.reshape(-1, 32)).reshape(y.shape)
    assert np.max(np.abs(y - rows)) <= np.sqrt(32) * EPS32 * np.max(np.abs(y))


@pytest.mark.parametrize(("features", "num_groups"), [(128, 32), (30, 6), (7, 1)])
def test_groups_by_default_divide_and_hold_four_channels(features, num_groups):
    x = jax.random.normal(KEY, (5, features))
    found, right = (
        layer.init_with_output(KEY, x)[0]
        for layer in (layers.GroupNorm(), layers.GroupNorm(num_groups=num_groups))
    )
    assert np.array_equal(found, right)


@pytest.mark.parametrize("size", [1e-4, 1.0])
def test_weight_norm_starts_as_the_kernel_it_wraps(size):
    """Also when the initializer multiplies by a traced number."""

    @jax.jit
    def kernels(size):
        init = lambda *args: size * nn.initializers.lecun_normal()(*args)
        plain, wrapped = (
            layers.Dense(8, kernel_init=init, kernel_norm=norm)
            for norm in (None, layers.WeightNorm)
        )
        y, variables = plain.init_with_output(KEY, ROWS)
        z, with_scale = wrapped.init_with_output(KEY, ROWS)
        return y, z, variables["params"], with_scale["params"]

    y, z, params, with_scale = kernels(jnp.float32(size))
    scale = with_scale.pop("kernel_norm")["scale"]
    assert same(params, with_scale)
    length = np.linalg.norm(np.asarray(params["kernel"], np.float64), axis=0)
    # eps, 1e-12, is half of 1e-4 of the squared norms where size is 1e-4.
    assert np.max(np.abs(scale / np.sqrt(length**2 + 1e-12) - 1)) <= 8 * EPS32
    assert np.max(np.abs(y - z)) <= 4 * EPS32 * np.max(np.abs(y))


def test_a_filter_response_norm_is_the_same_function_at_any_size():
    """Initialized with pixels it has no eps to learn, and without it has one."""
    layer = layers.FilterResponseNorm()
    pixel = X[:, :1, :1]
    for first, other in ((X, pixel), (pixel, X)):
        variables = layer.init(KEY, first)
        assert ("learned_eps" in variables["params"]) == (first is pixel)
        assert np.all(np.isfinite(layer.apply(variables, other)))
    eps = 1e-6 + 1e-4
    y = layer.apply(variables, X)
    del variables["params"]["learned_eps"]
    right = layer.clone(eps=eps).apply(variables, X)
    assert np.max(np.abs(y - right)) <= 4 * EPS32 * np.max(np.abs(y))


@pytest.mark.parametrize(
    ("first", "other", "message"),
    [
        (
            X,
            X[:, :1, :1],
            "x.shape=(6, 1, 1, 32): must have a spatial extent of more than 1, as where"
            " the layer was initialized: its mean_logits mix 3 kinds of moments;"
            " initialize the layer with inputs of this shape.",
        ),
        (
            ROWS,
            X,
            "x.shape=(6, 4, 4, 32): must have a spatial extent of 1, as where the layer"
            " was initialized: its mean_logits mix 2 kinds of moments; initialize the"
            " layer with inputs of this shape.",
        ),
    ],
)
def test_a_switchable_norm_says_what_it_was_initialized_for(first, other, message):
    layer = layers.SwitchableNorm()
    variables = layer.init(KEY, first, train=False)
    with pytest.raises(InputError) as caught:
        layer.apply(variables, other, train=False)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", [n for n, row in layers.NORMS.items() if row.layer])
def test_arrays_of_numpy_are_taken_as_jax_takes_them(name):
    """Float64 becomes float32 without a warning, which would be an error here."""
    layer = layers.NORMS[name].layer()
    init = functools.partial(layer.init_with_output, train=True)
    y, variables = init(KEY, np.asarray(X, np.float64))
    assert y.dtype == jnp.float32
    y, _ = layer.apply(variables, np.asarray(X, np.float64), train=True, mutable=True)
    assert y.dtype == jnp.float32


# ---- dropout ----------------------------------------------------------------------


def dropped(x, rate):
    rngs = {"dropout": jax.random.key(7)}
    return layers.Dropout().apply({}, x, rate, train=True, rngs=rngs)


def test_dropout_keeps_the_mean_of_what_it_keeps():
    """Of 10^5 entries 30% are dropped, se 0.0014: 0.006 is passed once in 10^5."""
    y = dropped(jnp.ones((100, 1000)), 0.3)
    kept = y != 0
    assert abs(float(jnp.mean(kept)) - 0.7) < 0.006
    assert np.all(y[kept] == np.float32(1) / np.float32(0.7))


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_dropout_is_exact_at_its_ends_and_compiles_once(rate):
    f = jax.jit(jax.value_and_grad(lambda x, rate: jnp.sum(dropped(x, rate) * X)))
    f(X, jnp.float32(0.5))
    _, grad = f(X, jnp.float32(rate))
    assert f._cache_size() == 1
    assert np.array_equal(grad, (1 - rate) * X)
    assert np.array_equal(dropped(X, rate), (1 - rate) * X)
    slope = jax.grad(lambda rate: jnp.sum(dropped(X, rate)))(jnp.float32(rate))
    assert np.isfinite(slope)


def test_dropout_evaluates_as_identity_without_a_key():
    assert layers.Dropout().apply({}, X, 0.5, train=False) is X


# ---- the table --------------------------------------------------------------------


def nets():
    """Every row that a dense layer can have: all but instance norm."""
    return {n: Net(row) for n, row in layers.NORMS.items() if n != "instance"}


def test_the_same_key_gives_the_same_kernels_whatever_the_norm():
    params = {
        n: net.init(KEY, ROWS, train=False)["params"] for n, net in nets().items()
    }
    for p in params.values():
        for dense in ("dense_0", "dense_1"):
            assert np.array_equal(p[dense]["kernel"], params["none"][dense]["kernel"])


@pytest.mark.parametrize("name", nets())
def test_every_row_trains_with_a_finite_gradient_for_each_parameter(name):
    """Under jit; only the bias that batch norm takes away again has no effect."""
    net = nets()[name]
    variables = net.init(KEY, ROWS, train=False)
    params, stats = variables["params"], {**variables, "params": {}}
    del stats["params"]

    @jax.jit
    def gradient(params):
        def loss(params):
            y, new = net.apply(
                {"params": params, **stats}, ROWS, train=True, mutable=list(stats)
            )
            return jnp.sum(jnp.sin(y + 1) * jnp.arange(32.0).reshape(1, 32)), new

        return jax.grad(loss, has_aux=True)(params)

    grads, new = gradient(params)
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    assert jax.tree.structure(new) == jax.tree.structure(stats)
    assert jax.tree.all(jax.tree.map(lambda a: np.all(np.isfinite(a)), (grads, new)))
    for path, grad in jax.tree.leaves_with_path(grads):
        if not (name == "batch" and "dense" in path[0].key and path[1].key == "bias"):
            assert np.any(grad != 0), path


def test_layers_as_published_share_one_running_mean_and_variance():
    """The second layer blends its batch into what the first has left."""
    net = Net(layers.NORMS["scalar_batch"])
    variables = net.init(KEY, ROWS, train=False)
    shapes = jax.tree.map(jnp.shape, variables)
    assert shapes["batch_stats"] == {"running": {"mean": (), "var": ()}}
    assert shapes["params"]["norm_1"] == {"scale": (32,), "bias": (32,)}

    params = variables["params"]
    dense = lambda i, x: layers.Dense(32).apply({"params": params[f"dense_{i}"]}, x)
    first = dense(0, ROWS)
    y = (first - jnp.mean(first)) / jnp.sqrt(jnp.var(first) + 1e-5)
    second = dense(1, y)
    _, new = net.apply(variables, ROWS, train=True, mutable=["batch_stats"])
    found = new["batch_stats"]["running"]
    for past, of in (("mean", jnp.mean), ("var", jnp.var)):
        start = 0.0 if past == "mean" else 1.0
        right = 0.9 * (0.9 * start + 0.1 * of(first)) + 0.1 * of(second)
        assert abs(found[past] - right) <= 16 * EPS32


def test_a_mask_reaches_the_norm():
    net, mask = Net(layers.NORMS["batch"]), jnp.arange(6) < 4
    variables = net.init(KEY, ROWS, train=False)
    run = lambda x, **k: net.apply(variables, x, train=True, mutable=True, **k)
    y, new = run(ROWS, mask=mask)
    right, wanted = run(ROWS[:4])
    assert np.max(np.abs(y[:4] - right)) <= 32 * EPS32
    error = jax.tree.map(lambda a, b: np.max(np.abs(a - b)), new, wanted)
    assert max(jax.tree.leaves(error)) <= 32 * EPS32


class Doubled(nn.Module):
    """A user's norm."""

    @nn.compact
    def __call__(self, x, train):
        return x * 2 if train else x


BOTH = layers.Norm(layer=layers.LayerNorm, kernel=layers.WeightNorm)


OWN = {
    "EvoNormS0": "evonorm_s0",
    "ScalarBatchNorm": "scalar_batch",
    "GroupNorm": "group",
}


def test_a_dotted_name_imports_a_class_or_a_row():
    assert layers.norm_named("layer") is layers.NORMS["layer"]
    assert layers.norm_named(f"{__name__}.BOTH") is BOTH
    row = layers.norm_named(f"{__name__}.Doubled")
    assert row == layers.Norm(layer=Doubled)
    for own, known in OWN.items():
        assert layers.norm_named(f"normjax.layers.{own}") is layers.NORMS[known]
    plain = Net(layers.NORMS["none"])
    variables = plain.init(KEY, ROWS, train=False)
    y = Net(row).apply(variables, ROWS, train=True)
    assert np.array_equal(y, 4 * plain.apply(variables, ROWS, train=True))


@pytest.mark.parametrize("name", ["LayerNorm", "BatchNorm", "RMSNorm"])
def test_norms_of_flax_work_by_name(name):
    net = Net(layers.norm_named(f"flax.linen.{name}"))
    variables = net.init(KEY, ROWS, train=False)
    _, new = net.apply(variables, ROWS, train=True, mutable=["batch_stats"])
    moved = not same(new, {k: v for k, v in variables.items() if k != "params"})
    assert moved == (name == "BatchNorm")
    assert net.apply(variables, ROWS, train=False).shape == ROWS.shape


KERNELS = {
    "WeightNorm": "weight",
    "WeightStandardization": "weight_standardization",
    "SpectralNorm": "spectral",
}


@pytest.mark.parametrize(("own", "known"), KERNELS.items())
def test_a_norm_of_kernels_is_none_of_activations(own, known):
    with pytest.raises(InputError) as caught:
        layers.norm_named(f"normjax.layers.{own}")
    assert str(caught.value) == (
        f"norm='normjax.layers.{own}': must be a norm of activations, and this is one"
        f" of kernels; use norm='{known}'."
    )


def test_mistakes_are_named_in_one_line():
    with pytest.raises(InputError) as caught:
        layers.norm_named("normjax.layers.Dense")
    assert str(caught.value) == (
        "norm='normjax.layers.Dense': must be a norm of activations; use one of"
        " normjax.layers.NORMS."
    )
    with pytest.raises(InputError) as caught:
        layers.norm_named("bach")
    assert str(caught.value) == (
        f"norm='bach': must be one of {', '.join(sorted(layers.NORMS))};"
        " did you mean 'batch'?"
    )
    with pytest.raises(InputError) as caught:
        layers.norm_named("jax.numpy.mean")
    assert str(caught.value) == (
        "norm='jax.numpy.mean': must be a flax module class or a"
        f" normjax.layers.Norm, got {type(jnp.mean).__name__}; name the class itself."
    )
    net = Net(layers.norm_named("flax.linen.LayerNorm"))
    with pytest.raises(InputError) as caught:
        net.init(KEY, ROWS, train=True, mask=jnp.ones(6, bool))
    assert str(caught.value) == (
        "norm='LayerNorm': must take train= to be given a mask, which flax's own layers"
        " read otherwise; use a norm of normjax."
    )
