"""Norms with a nonlinearity of their own: against float64, behind masks, gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _numerics import EPS32, close, slope_errors

from normjax.errors import InputError
from normjax.ops import norm_activations

EPS = 1e-2  # large, so that its place in the formula shows
SHAPE = (8, 4, 4, 16)
X = jnp.asarray(np.random.default_rng(0).normal(size=SHAPE), jnp.float32)
SCALE = jnp.asarray(np.linspace(0.5, 1.5, 16), jnp.float32)
BIAS = jnp.asarray(np.linspace(-1.0, 1.0, 16), jnp.float32)
# A gate of both signs; as a threshold it lies above a third of the outputs.
GATE = jnp.asarray(np.linspace(2.0, -1.0, 16), jnp.float32)
RUNNING = jnp.asarray(np.linspace(0.5, 2.0, 16), jnp.float32)
ZERO, ONE = jnp.zeros(16), jnp.ones(16)
KEPT = np.random.default_rng(1).random(SHAPE[:-1]) < 0.7
MASK = jnp.asarray(KEPT & (np.arange(8).reshape(8, 1, 1) != 3))
WIDE = [np.asarray(a, np.float64) for a in (X, GATE, SCALE, BIAS)]


def b0(x, gate, scale, bias, *, train=True, **settings):
    vectors = gate, scale, bias
    # in float64 where x is, or the root is rounded to float32
    running = RUNNING.astype(jnp.promote_types(x.dtype, jnp.float32))
    return norm_activations.evonorm_b0(x, running, *vectors, train=train, **settings)[0]


def frn(x, threshold, scale, bias, **settings):
    return norm_activations.filter_response_norm(x, scale, bias, threshold, **settings)


# All are called as (x, gate or threshold, scale, bias).
OPS = {
    "frn": frn,
    "evonorm_s0": functools.partial(norm_activations.evonorm_s0, num_groups=4),
    "evonorm_b0": b0,
    "evaluation": functools.partial(b0, train=False),
}
VECTORS = (GATE, SCALE, BIAS)


@functools.cache
def compiled(name, eps=EPS):
    return jax.jit(functools.partial(OPS[name], eps=eps))


# ---- relations --------------------------------------------------------------------


def test_frn_without_bias_and_threshold_is_a_relu_of_the_rescaled_input():
    y = compiled("frn", 0.0)(X, ZERO, ONE, ZERO)
    x = WIDE[0]
    root = np.sqrt(np.mean(x**2, (1, 2), keepdims=True))
    assert close(y, np.maximum(x, 0) / root, ulps=16)


def test_frn_of_a_dense_layer_is_a_smooth_sign_as_steep_as_eps_says():
    """`x / sqrt(x^2 + eps)` has slope 1 / sqrt(eps) at 0; a negative eps counts as its
    absolute value, so that it can be learned.
    """
    x, one = jnp.asarray([[-2.0, 0.0, 0.5]]), jnp.ones(3)
    f = lambda x, eps: frn(x, -9 * one, one, 0 * one, eps=eps)
    assert close(f(x, 0.25), x / jnp.sqrt(x**2 + 0.25), ulps=4)
    assert np.array_equal(f(x, jnp.float32(-0.25)), f(x, 0.25))
    slope = jax.jvp(lambda x: f(x, 0.25), (x,), (jnp.ones_like(x),))[1]
    assert abs(slope[0, 1] - 2) <= 4 * EPS32
    learned = jax.grad(lambda eps: f(x, eps)[0, 2])(jnp.float32(0.25))
    assert abs(learned + 0.5 * 0.5 / 0.5**1.5) <= 8 * EPS32


def test_evonorm_s0_without_a_gate_halves_the_input():
    """sigmoid(0) = 1 / 2, to the bit; the moments are those of group norm."""
    y = compiled("evonorm_s0")(X, ZERO, ONE, ZERO)
    grouped = X.reshape(8, 4, 4, 4, 4)
    var = jnp.repeat(jnp.var(grouped, (1, 2, 4)), 4, -1).reshape(8, 1, 1, 16)
    assert close(y, X / 2 / jnp.sqrt(var + EPS), ulps=16)


def test_evonorm_b0_with_a_low_gate_is_batch_norm_without_its_mean_where_x_is_large():
    """With gate -100 the maximum takes the batch's root wherever x > 0.1."""
    y = compiled("evonorm_b0")(X, jnp.full(16, -100.0), ONE, ZERO)
    right = WIDE[0] / np.sqrt(WIDE[0].var((0, 1, 2)) + EPS)
    large = WIDE[0] > 0.1
    assert close(y[large], right[large], ulps=16)
    assert np.all(np.abs(y[~large]) <= np.abs(right[~large]) * (1 + 16 * EPS32))


@pytest.mark.parametrize("decay", [0.0, 0.9, 1.0])
def test_evonorm_b0_blends_the_biased_variance_into_running(decay):
    """Budget: sqrt(128) eps from the sum, 3 for the blend, of at most 2."""
    f = functools.partial(norm_activations.evonorm_b0, train=True, decay=decay)
    _, new = f(X, RUNNING, *VECTORS)
    right = decay * np.asarray(RUNNING) + (1 - decay) * WIDE[0].var((0, 1, 2))
    assert np.max(np.abs(new - right)) <= 2 * (np.sqrt(128) + 3) * EPS32


def test_evonorm_b0_evaluates_with_running():
    """`running` of the batch's own variance gives what training gives."""
    now = jnp.asarray(WIDE[0].var((0, 1, 2)), jnp.float32)
    f = functools.partial(norm_activations.evonorm_b0, X, now, *VECTORS)
    y, same = f(train=False)
    assert same is now
    assert close(y, f(train=True)[0], ulps=16)


@pytest.mark.parametrize("name", OPS)
def test_jit_and_vmap_change_roundings_only(name):
    lanes = jnp.stack([X, 2 * X + 1])
    many = jax.jit(jax.vmap(lambda x: OPS[name](x, *VECTORS, eps=EPS)))(lanes)
    one = np.stack([compiled(name)(x, *VECTORS) for x in lanes])
    assert close(many, one, ulps=16)


@pytest.mark.parametrize("name", OPS)
def test_bfloat16_goes_through_float32(name):
    x = X.astype(jnp.bfloat16)
    y = compiled(name)(x, *VECTORS)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    wide = compiled(name)(x.astype(jnp.float32), *VECTORS)
    assert np.array_equal(y, wide.astype(jnp.bfloat16))


# ---- behind masks -----------------------------------------------------------------


@pytest.mark.parametrize("name", OPS)
def test_masked_examples_are_as_examples_left_out(name):
    rows = np.asarray([1, 0, 1, 1, 0, 1, 1, 1]) > 0
    mask = jnp.asarray(np.broadcast_to(rows.reshape(8, 1, 1), SHAPE[:-1]))
    y = compiled(name)(X, *VECTORS, mask=mask)
    assert close(y[rows], compiled(name)(X[rows], *VECTORS), ulps=16)
    assert np.all(y[~rows] == 0)


@pytest.mark.parametrize("name", OPS)
def test_nothing_leaks_from_behind_the_mask(name):
    """Outputs, all gradients: those for zeros there, to the bit; image 3 is masked."""
    weight = jnp.cos(jnp.arange(X.size)).reshape(SHAPE)

    def total(x, *vectors):
        y = OPS[name](x, *vectors, mask=MASK)
        return jnp.sum(weight * y), y

    both = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2, 3), has_aux=True))
    where = MASK[..., None]
    behind = jnp.where(X > 0, jnp.nan, jnp.inf)
    found = both(jnp.where(where, X, behind), *VECTORS)
    right = both(jnp.where(where, X, 0), *VECTORS)
    assert jax.tree.all(jax.tree.map(np.array_equal, found, right))
    assert jax.tree.all(jax.tree.map(lambda a: np.all(np.isfinite(a)), found))
    (_, y), (dx, *_) = found
    assert np.all(np.where(where, 0, y) == 0)
    assert np.all(np.where(where, 0, dx) == 0)


def test_running_does_not_see_behind_the_mask():
    x = jnp.where(MASK[..., None], X, jnp.nan)
    f = functools.partial(norm_activations.evonorm_b0, train=True, decay=0.0)
    _, new = f(x, RUNNING, *VECTORS, mask=MASK)
    assert close(new, np.var(WIDE[0][MASK], 0), ulps=16)
    _, new = f(x, RUNNING, *VECTORS, mask=jnp.zeros_like(MASK))
    assert np.array_equal(new, RUNNING)


# ---- gradients --------------------------------------------------------------------


@pytest.mark.parametrize("name", OPS)
def test_gradient_and_hessian_against_central_differences(name):
    """In float64, along one direction in x and all vectors. Measured: at most 8e-12.

    The steps, 1e-4 and less, are shorter than the way of any entry to its kink.
    """
    with jax.enable_x64(True):
        draws = np.random.default_rng(3)
        x = draws.normal(size=(4, 2, 2, 16))
        args = [jnp.asarray(np.asarray(a, np.float64)) for a in (x, *VECTORS)]
        assert max(slope_errors(OPS[name], args, step=1e-4)) < 1e-8


# ---- mistakes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: norm_activations.evonorm_s0(X, *VECTORS, num_groups=3),
            "num_groups=3: must divide the 16 channels; use one of 1, 2, 4, 8, 16.",
        ),
        (
            lambda: norm_activations.evonorm_s0(X[:, 0, 0], *VECTORS, num_groups=16),
            "x.shape=(8, 16): each mean would be over 1 element; must be at least 2,"
            " or the output is the same for every x; use fewer groups.",
        ),
        (
            lambda: b0(X[:1, 0, 0], *VECTORS),
            "x.shape=(1, 16): each mean would be over 1 element; must be at least 2,"
            " or the output is the same for every x; train on batches of 2 or more.",
        ),
        (
            lambda: frn(X, *VECTORS, mask=jnp.ones(8, bool)),
            f"mask.shape=(8,): must be (8, 4, 4) or {SHAPE} for x of shape {SHAPE};"
            " broadcast a mask of examples over the spatial axes.",
        ),
        *(
            (
                lambda op=op: op(jnp.ones(SHAPE, jnp.int32), *VECTORS),
                "x.dtype='int32': must be a floating type;"
                ' call x.astype("float32") first.',
            )
            for op in OPS.values()
        ),
    ],
)
def test_mistakes_are_named_in_one_line(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message
