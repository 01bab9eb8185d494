"""What an op meets outside of a plain float32 training step on one device."""

import functools
import inspect
import warnings

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from normjax.errors import InputError
from normjax.ops import (
    batch_variants,
    conv,
    moments,
    norm_activations,
    norms,
    online,
    pointwise,
    pooling,
    switchable,
    weights,
)

EPS32 = float(np.finfo(np.float32).eps)
X = jax.random.normal(jax.random.key(0), (8, 6)) + 1
ONES, ZEROS = jnp.ones(6), jnp.zeros(6)
RUNNING = moments.Running(ZEROS, ONES)
LIMITS = {"r_max": 3.0, "d_max": 5.0}


def families(x, vectors, running, *, train=True):
    """Name -> output of every norm, for x of shape [examples, features]."""
    one, zero = vectors
    spread = {"train": train, "decay": 0.9}
    return {
        "batch": lambda: norms.batch_norm(x, running, one, zero, **spread),
        "renorm": lambda: batch_variants.batch_renorm(x, running, **spread, **LIMITS),
        "ghost": lambda: batch_variants.ghost_batch_norm(x, running, **spread),
        "power": lambda: batch_variants.power_norm(x, one, **spread),
        "online": lambda: online.online_norm(x, running, **spread),
        "layer": lambda: norms.layer_norm(x, one, zero),
        "rms": lambda: norms.rms_norm(x, one),
        "group": lambda: norms.group_norm(x, one, zero, num_groups=2),
        "switchable": lambda: switchable.switchable_norm(
            x, running, zero[:2], zero[:2], one, zero, **spread
        ),
        "frn": lambda: norm_activations.filter_response_norm(x, one, zero, zero),
        "s0": lambda: norm_activations.evonorm_s0(x, one, one, zero, num_groups=2),
        "b0": lambda: norm_activations.evonorm_b0(x, one, one, one, zero, **spread),
        "tanh": lambda: pointwise.dynamic_tanh(x, 0.5, one, zero),
        "erf": lambda: pointwise.dynamic_erf(x, 0.5, 0.0, one, zero),
        "local response": lambda: pointwise.local_response_norm(x),
        "weight": lambda: weights.weight_norm(x, one),
        "weight standardization": lambda: weights.weight_standardization(x),
        "spectral": lambda: weights.spectral_norm(x, weights.singular(x), steps=1),
        "batch by hand": lambda: norms.batch_norm(
            x, running, one, zero, backward="analytic", **spread
        ),
        "layer by hand": lambda: norms.layer_norm(x, one, zero, backward="analytic"),
    }


NAMES = list(families(X, (ONES, ZEROS), RUNNING))


@pytest.fixture
def unchecked():
    """Without the type checker, which refuses what is of NumPy."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


# ---- devices that check what varies -----------------------------------------------


def on_two_devices(loss, x, shared):
    """Gradients by both, x spread over two devices and `shared` on each of them."""
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Auto,))
    rows, everywhere = PartitionSpec("rows"), PartitionSpec()
    slope = jax.grad(loss, argnums=(0, 1))
    spread = jax.shard_map(
        slope, mesh=mesh, in_specs=(rows, everywhere), out_specs=(rows, everywhere)
    )
    return jax.jit(spread)(x, shared), jax.jit(slope)(x, shared)


@pytest.mark.parametrize("implementation", sorted(conv.IMPLEMENTATIONS))
def test_a_kernel_that_devices_share_gets_the_sum_of_its_gradients(implementation):
    """16 roundings: each device sums its own images first."""
    x = jax.random.normal(jax.random.key(0), (4, 5, 5, 2))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 2, 3))
    convolve = functools.partial(conv.conv, implementation=implementation)
    loss = lambda x, kernel: jnp.sum(jnp.sin(convolve(x, kernel)))
    for ours, right in zip(*on_two_devices(loss, x, kernel)):
        assert np.max(np.abs(ours - right)) <= 16 * EPS32 * np.max(np.abs(right))


def test_ghost_batch_norm_trains_on_devices_that_share_its_running_moments():
    def loss(x, scale):
        y, new = batch_variants.ghost_batch_norm(
            x, RUNNING, scale, train=True, ghost_size=2
        )
        return jnp.sum(jnp.sin(y)) + 0 * jnp.sum(new.mean)

    for ours, right in zip(*on_two_devices(loss, X, ONES)):
        assert np.max(np.abs(ours - right)) <= 16 * EPS32 * np.max(np.abs(right))


# ---- spectral norm ----------------------------------------------------------------


def test_spectral_norm_is_not_stuck_on_the_longest_row():
    """Its longest row, [2, 0], is orthogonal to the first singular vector, [0, 1]."""
    kernel = jnp.zeros((30, 2)).at[0, 0].set(2).at[1:, 1].set(1)
    w, _ = weights.spectral_norm(kernel, weights.singular(kernel), steps=0)
    assert abs(np.linalg.norm(w, 2) - 1) <= 8 * EPS32


def test_spectral_norm_recovers_from_a_kernel_of_zeros():
    """Power iteration underestimates sigma at first, so the norm comes from above."""
    start = weights.singular(jnp.zeros((4, 3)))
    norm = jax.jit(functools.partial(weights.spectral_norm, steps=1))
    slope = jax.jit(jax.grad(lambda kernel: jnp.sum(norm(kernel, start)[0])))
    assert np.array_equal(slope(jnp.zeros((4, 3))), jnp.ones((4, 3)))
    w, vectors = norm(jnp.zeros((4, 3)), start)
    assert not np.any(w)
    kernel = 0.01 * jax.random.normal(jax.random.key(0), (4, 3))
    lengths = []
    for _ in range(10):
        w, vectors = norm(kernel, vectors)
        lengths.append(np.linalg.norm(w, 2))
    assert max(lengths) < 2
    assert abs(lengths[-1] - 1) < 1e-3


def test_singular_vectors_keep_their_dtype():
    start = weights.Singular(*(a.astype("bfloat16") for a in weights.singular(X)))
    _, new = weights.spectral_norm(X, start, steps=1)
    assert [a.dtype for a in new] == [jnp.bfloat16] * 2


# ---- rounding ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["patches", "planes"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_gradients_of_patches_are_summed_in_float32(dtype, name):
    """Against float32. In bfloat16 the error is 4.1e-3 of the largest entry, by lax
    2.6e-3, and 1.1e-2 with sums in bfloat16: `patches` rounds nine terms, lax the sum.
    """
    shapes = (4, 8, 8, 16), (3, 3, 16, 8), (4, 8, 8, 8)
    keys = jax.random.split(jax.random.key(0), 3)
    x, kernel, dy = (jax.random.normal(k, s, dtype) for k, s in zip(keys, shapes))

    def error(implementation):
        convolve = functools.partial(conv.conv, implementation=implementation)
        narrow = jax.jit(lambda: jax.vjp(convolve, x, kernel)[1](dy)[0])()
        wide = (a.astype(jnp.float32) for a in (x, kernel))
        right = jax.vjp(conv.conv, *wide)[1](dy.astype(jnp.float32))[0]
        return np.max(np.abs(narrow.astype(jnp.float32) - right))

    assert error(name) <= 2 * error("lax")


@pytest.mark.parametrize("constant", [1.0, 1e3, 1e4])
def test_a_constant_row_maps_to_the_bias_but_for_the_rounding_of_its_mean(constant):
    """That is log2(n) roundings of the constant at most, over the root of eps."""
    rows = jnp.full((1, 13), constant)
    y = jax.jit(norms.layer_norm)(rows, None, jnp.full(13, 0.25))
    assert np.max(np.abs(y - 0.25)) <= 4 * EPS32 * constant / np.sqrt(1e-5)
    exact = jax.jit(norms.layer_norm)(jnp.full((1, 16), constant))
    assert not np.any(exact)


# ---- nothing there ----------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["auto", *sorted(conv.IMPLEMENTATIONS)])
@pytest.mark.parametrize(
    ("x_shape", "kernel_shape"),
    [
        ((0, 5, 5, 8), (3, 3, 8, 2)),
        ((2, 5, 5, 0), (3, 3, 0, 2)),
        ((2, 5, 5, 8), (3, 3, 8, 0)),
    ],
)
def test_the_gradient_of_no_images_or_features_is_zero(
    implementation, x_shape, kernel_shape
):
    x, kernel = jnp.ones(x_shape), jnp.ones(kernel_shape)
    convolve = functools.partial(conv.conv, implementation=implementation)
    y, vjp = jax.vjp(convolve, x, kernel)
    gradients = vjp(y)
    assert [a.shape for a in gradients] == [x_shape, kernel_shape]
    assert not any(np.any(a) for a in gradients)


def test_the_moments_of_nothing_are_nan():
    m = moments.mean_and_var(jnp.zeros((3, 0)), 0)
    assert (m.mean.shape, float(m.count)) == ((1, 0), 3)
    m = moments.mean_and_var(jnp.zeros((3, 0)), 1)
    assert np.all(np.isnan(m.mean))
    assert float(m.count) == 0


# ---- export -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "train"),
    [(batch_variants.ghost_batch_norm, False), (online.online_norm, True)],
)
def test_a_batch_of_unknown_size_can_be_exported(op, train):
    run = lambda x: op(x, RUNNING, train=train)[0]
    (shape,) = (jax.export.symbolic_args_specs(X, "batch, 6"),)
    exported = jax.export.export(jax.jit(run))(shape)
    assert np.allclose(exported.call(X), run(X), atol=8 * EPS32, rtol=0)


# ---- numbers out of range ---------------------------------------------------------

DECAYS = {
    "batch": norms.batch_norm,
    "by hand": functools.partial(norms.batch_norm, backward="analytic"),
    "scalar": norms.scalar_batch_norm,
    "renorm": functools.partial(batch_variants.batch_renorm, **LIMITS),
    "ghost": batch_variants.ghost_batch_norm,
    "online": online.online_norm,
}


@pytest.mark.parametrize("decay", [-1.0, 1.1, float("nan"), np.float32(2)])
@pytest.mark.parametrize("name", DECAYS)
def test_a_decay_out_of_range_is_refused(name, decay, unchecked):
    running = moments.Running(*(a[0] for a in RUNNING)) if name == "scalar" else RUNNING
    with pytest.raises(InputError) as caught:
        DECAYS[name](X, running, train=True, decay=decay)
    assert str(caught.value) == (
        f"decay={decay!r}: must be in [0, 1], the weight of the past; set decay=0.9."
    )


EPSILONS = {
    "batch": lambda eps: norms.batch_norm(X, RUNNING, train=False, eps=eps),
    "layer": lambda eps: norms.layer_norm(X, eps=eps),
    "rms by hand": lambda eps: norms.rms_norm(X, eps=eps, backward="analytic"),
    "group": lambda eps: norms.group_norm(X, num_groups=2, eps=eps),
    "b0": lambda eps: norm_activations.evonorm_b0(
        X, ONES, ONES, ONES, ZEROS, train=False, eps=eps
    ),
    "weight": lambda eps: weights.weight_norm(X, ONES, eps=eps),
    "spectral": lambda eps: weights.spectral_norm(
        X, weights.singular(X), steps=0, eps=eps
    ),
}


@pytest.mark.parametrize("name", EPSILONS)
def test_a_negative_eps_is_refused(name):
    with pytest.raises(InputError) as caught:
        EPSILONS[name](-1e-5)
    assert str(caught.value) == "eps=-1e-05: must be at least 0; set eps=1e-5."


def test_traced_numbers_pass():
    def run(decay, eps):
        return norms.batch_norm(X, RUNNING, train=True, decay=decay)[1], (
            norms.standardize(X, jnp.ones((1, 1)), jnp.ones((1, 1)), eps=eps)
        )

    new, y = jax.jit(run)(jnp.asarray(0.5), jnp.asarray(3.0))
    assert np.allclose(new.mean, X.mean(0) / 2, atol=8 * EPS32, rtol=0)
    assert np.allclose(y, (X - 1) / 2, atol=8 * EPS32, rtol=0)


def test_a_traced_eps_is_refused_where_the_gradient_is_by_hand():
    norm = functools.partial(inspect.unwrap(norms.layer_norm), backward="analytic")
    with pytest.raises(InputError) as caught:
        jax.jit(norm)(X, eps=1e-5)
    assert str(caught.value) == (
        "eps: must be a number, not a traced array, where backward='analytic'; set"
        " backward='autodiff'."
    )


# ---- dtypes -----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_float64_of_numpy_is_float32_without_a_warning(name, unchecked):
    wide = lambda a: np.asarray(a, np.float64)
    running = moments.Running(*map(wide, RUNNING))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = families(wide(X), (wide(ONES), wide(ZEROS)), running)[name]()
    assert {a.dtype for a in jax.tree.leaves(result)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", NAMES)
def test_dtypes_are_promoted_by_hand(name):
    """As `jax_numpy_dtype_promotion="strict"` wants it, in float32 and in bfloat16."""
    with jax.numpy_dtype_promotion("strict"):
        families(X, (ONES, ZEROS), RUNNING)[name]()


def test_schedules_are_promoted_by_hand():
    with jax.numpy_dtype_promotion("strict"):
        step = jnp.asarray(3)
        decay = moments.debiased(0.9, step)
        limits = batch_variants.renorm_limits(step, start_step=1, d_end_step=9)
        norms.batch_norm(X, RUNNING, train=True, decay=decay)
        batch_variants.batch_renorm(
            X, RUNNING, train=True, r_max=limits[0], d_max=limits[1]
        )


# ---- ways to write a window -------------------------------------------------------


@pytest.mark.parametrize("padding", ["same", "valid", "same_lower"])
def test_names_of_paddings_may_be_in_lower_case(padding):
    x, kernel = jnp.ones((1, 5, 5, 1)), jnp.ones((2, 2, 1, 1))
    assert np.array_equal(
        conv.conv(x, kernel, padding=padding),
        conv.conv(x, kernel, padding=padding.upper()),
    )


def test_integers_of_numpy_are_integers(unchecked):
    x, kernel, two = jnp.ones((1, 5, 5, 1)), jnp.ones((2, 2, 1, 1)), np.int64(2)
    settings = {"strides": two, "kernel_dilation": two, "padding": two}
    ours = conv.conv(x, kernel, **settings)
    right = conv.conv(x, kernel, strides=2, kernel_dilation=2, padding=2)
    assert np.array_equal(ours, right)
    assert pooling.max_pool(x, window=two).shape == (1, 2, 2, 1)
