"""Every norm against float64, against each other, behind masks, under transforms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _numerics import EPS32, close, slope_errors

from normjax.errors import InputError
from normjax.ops import moments, norms

EPS = 1e-2  # large, so that its place in the formula shows
SHAPE = (8, 4, 4, 32)
SCALE = jnp.linspace(0.5, 1.5, 32)
BIAS = jnp.linspace(-1.0, 1.0, 32)
START = moments.Running(jnp.linspace(-0.5, 0.5, 32), jnp.linspace(0.5, 2.0, 32))
MASK = jax.random.bernoulli(jax.random.key(1), 0.7, SHAPE[:-1]).at[3].set(False)


def normals(offset=0.0, shape=SHAPE):
    return jax.random.normal(jax.random.key(0), shape) + offset


def batch(x, scale=SCALE, bias=BIAS, *, train=True, **settings):
    wide = jnp.promote_types(x.dtype, jnp.float32)  # or 1 / std is rounded to float32
    start = jax.tree.map(lambda a: a.astype(wide), START)
    return norms.batch_norm(x, start, scale, bias, train=train, **settings)[0]


def scalar(x, scale=SCALE, bias=BIAS, **settings):
    start = moments.Running(jnp.asarray(0.25), jnp.asarray(2.0))
    return norms.scalar_batch_norm(x, start, scale, bias, train=True, **settings)[0]


def rms(x, scale=SCALE, bias=None, **settings):
    del bias  # it has none
    return norms.rms_norm(x, scale, **settings)


OPS = {
    "batch": batch,
    "evaluation": functools.partial(batch, train=False),
    "scalar": scalar,
    "layer": norms.layer_norm,
    "rms": rms,
    "group": functools.partial(norms.group_norm, num_groups=4),
    "instance": norms.instance_norm,
}
MASKED = ("batch", "evaluation", "scalar", "group", "instance")
CENTERED = ("batch", "scalar", "layer", "group", "instance")


# ---- running moments --------------------------------------------------------------


def test_evaluation_uses_and_returns_what_it_was_given():
    """Four roundings in a row; measured 1.1 ulps. No bit of running moves."""
    x = normals()
    y, running = norms.batch_norm(x, START, SCALE, BIAS, train=False, eps=EPS)
    mean, var, scale, bias = (np.asarray(a, np.float64) for a in (*START, SCALE, BIAS))
    x = np.asarray(x, np.float64)
    assert close(y, scale * (x - mean) / np.sqrt(var + EPS) + bias, ulps=4)
    assert running is START


@pytest.mark.parametrize("decay", [0.0, 0.9, 1.0])
def test_training_blends_the_biased_moments_into_running(decay):
    """Budget: sqrt(128) eps from the sums and 3 for the blend, of at most 2. The
    unbiased variance would be 1 / 127 away, 500 budgets.
    """
    x = normals()
    running = norms.batch_norm(x, START, train=True, decay=decay)[1]
    for past, now, new in zip(START, (np.mean, np.var), running):
        right = decay * past + (1 - decay) * now(np.asarray(x, np.float64), (0, 1, 2))
        assert np.max(np.abs(new - right)) <= 2 * (np.sqrt(128) + 3) * EPS32


def test_evaluation_after_many_steps_on_one_batch_equals_training_on_it():
    """0.5^40 is below eps: running has become the moments of the batch."""
    x, running = normals(3.0), START
    for _ in range(40):
        y, running = norms.batch_norm(x, running, train=True, decay=0.5)
    evaluated = norms.batch_norm(x, running, train=False)[0]
    assert close(evaluated, y, ulps=8)


def test_scalar_batch_norm_keeps_two_numbers_for_all_features():
    """Features keep their relative means: not so in batch norm."""
    x = normals() + jnp.arange(32.0).reshape(1, 1, 1, 32)
    start = moments.Running(jnp.zeros(()), jnp.ones(()))
    y, running = norms.scalar_batch_norm(x, start, train=True, decay=0.0)
    assert (running.mean.shape, running.var.shape) == ((), ())
    assert close(running.mean, jnp.mean(x), ulps=64)
    assert close(running.var, jnp.var(x), ulps=64)
    assert np.all(np.diff(np.mean(y, (0, 1, 2))) > 0)


# ---- against each other -----------------------------------------------------------


def test_one_group_is_layer_norm_over_space_and_channels():
    x = normals()
    y = norms.group_norm(x, num_groups=1).reshape(8, -1)
    assert close(y, norms.layer_norm(x.reshape(8, -1)), ulps=8)


def test_a_group_per_channel_is_instance_norm():
    x = normals()
    y = norms.group_norm(x, SCALE, BIAS, num_groups=32)
    assert np.array_equal(y, norms.instance_norm(x, SCALE, BIAS))


def test_instance_norm_of_one_image_is_batch_norm_of_it():
    x = normals()[:1]
    assert close(norms.instance_norm(x, SCALE, BIAS), batch(x), ulps=8)


def test_rms_norm_is_layer_norm_where_the_mean_is_zero():
    x = jnp.concatenate([normals(), -normals()], -1)
    assert close(norms.rms_norm(x), norms.layer_norm(x), ulps=8)


@pytest.mark.parametrize("name", CENTERED)
def test_output_does_not_change_with_shift_and_scale_of_the_input(name):
    """Powers of two scale exactly; a shift by 4 rounds x by 2 eps, 3 ways through."""
    x = normals()
    op = functools.partial(OPS[name], scale=SCALE, bias=BIAS)
    assert np.array_equal(op(1024 * x, eps=1024**2 * EPS), op(x, eps=EPS))
    assert close(op(x + 4), op(x), ulps=16)


@pytest.mark.parametrize("name", OPS)
def test_the_order_of_the_batch_does_not_matter(name):
    x = normals()
    assert close(OPS[name](x[::-1])[::-1], OPS[name](x), ulps=8)


# ---- behind masks -----------------------------------------------------------------


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_of_ones_is_no_mask(name):
    x = normals()
    y = OPS[name](x, SCALE, BIAS, mask=jnp.ones(SHAPE[:-1], bool))
    assert close(y, OPS[name](x, SCALE, BIAS), ulps=4)


def test_masked_examples_are_as_examples_left_out():
    rows = jnp.asarray([1, 0, 1, 1, 0, 1, 1, 1]) > 0
    x, mask = normals(), jnp.broadcast_to(rows.reshape(8, 1, 1), SHAPE[:-1])
    y, running = norms.batch_norm(x, START, SCALE, BIAS, train=True, mask=mask)
    right, wanted = norms.batch_norm(x[rows], START, SCALE, BIAS, train=True)
    assert close(y[rows], right, ulps=8)
    assert np.all(y[~rows] == 0)
    assert all(close(a, b, ulps=8) for a, b in zip(running, wanted))


def test_a_batch_masked_whole_leaves_running():
    x, mask = jnp.full((4, 32), jnp.nan), jnp.zeros(4, bool)
    y, running = norms.batch_norm(x, START, train=True, mask=mask)
    assert np.all(y == 0)
    assert all(np.array_equal(a, b) for a, b in zip(running, START))


@pytest.mark.parametrize("name", MASKED)
def test_nothing_leaks_from_behind_the_mask(name):
    """Outputs, all gradients: those for zeros there, to the bit; image 3 is masked."""
    weight = jax.random.normal(jax.random.key(2), SHAPE)

    def total(x, scale, bias):
        y = OPS[name](x, scale, bias, mask=MASK)
        return jnp.sum(weight * y), y

    both = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True))
    x, where = normals(), MASK[..., None]
    behind = jnp.where(x > 0, jnp.nan, jnp.inf)
    found = both(jnp.where(where, x, behind), SCALE, BIAS)
    right = both(jnp.where(where, x, 0.0), SCALE, BIAS)
    assert jax.tree.all(jax.tree.map(np.array_equal, found, right))
    assert jax.tree.all(jax.tree.map(lambda a: np.all(np.isfinite(a)), found))
    (_, y), (dx, _, _) = found
    assert np.all(np.where(where, 0, y) == 0)
    assert np.all(np.where(where, 0, dx) == 0)


def test_running_moments_do_not_see_behind_the_mask():
    x = jnp.where(MASK[..., None], normals(), jnp.nan)
    _, running = norms.batch_norm(x, START, train=True, decay=0.0, mask=MASK)
    seen = normals()[MASK]
    assert close(running.mean, np.mean(seen, 0), ulps=8)
    assert close(running.var, np.var(seen, 0), ulps=8)


# ---- under transforms -------------------------------------------------------------


@pytest.mark.parametrize("name", OPS)
def test_bfloat16_goes_through_float32(name):
    x = normals(10.0).astype(jnp.bfloat16)
    y = OPS[name](x, SCALE, BIAS)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    wide = OPS[name](x.astype(jnp.float32), SCALE, BIAS)
    assert np.array_equal(y, wide.astype(jnp.bfloat16))


@pytest.mark.parametrize("name", OPS)
def test_jit_and_vmap_change_roundings_only(name):
    lanes = jnp.stack([normals(), 2 * normals(1.0)])
    one = jnp.stack([OPS[name](x, SCALE, BIAS) for x in lanes])
    many = jax.jit(jax.vmap(lambda x: OPS[name](x, SCALE, BIAS)))(lanes)
    assert close(many, one, ulps=8)


@pytest.mark.parametrize(
    ("name", "masked"),
    [(name, {}) for name in OPS]
    + [(name, {"mask": MASK}) for name in ("batch", "group")],
)
def test_gradient_and_hessian_against_central_differences(name, masked):
    """In float64, along one direction in (x, scale, bias) together. Measured: 1e-10."""
    assert max(gradient_errors(functools.partial(OPS[name], **masked))) < 1e-8


@pytest.mark.parametrize("blind", ["mean", "var"])
def test_the_differences_catch_a_blind_backward(blind):
    """In slope and curvature, by 1e-3 and more."""

    def wrong(x, scale, bias):
        m = moments.mean_and_var(x, -1)
        m = m._replace(**{blind: jax.lax.stop_gradient(getattr(m, blind))})
        return norms.standardize(x, m.mean, m.var, scale, bias, eps=1e-5)

    assert min(gradient_errors(wrong, norms.layer_norm)) > 1e-5


def gradient_errors(op, plain=None):
    """Those of slope and curvature at (x, scale, bias), against those of `plain`."""
    with jax.enable_x64(True):
        x = np.random.default_rng(4).normal(size=SHAPE)
        return slope_errors(op, (x, SCALE, BIAS), plain=plain)


# ---- mistakes ---------------------------------------------------------------------

ROWS = jnp.ones((4, 32))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: norms.group_norm(ROWS, num_groups=3),
            "num_groups=3: must divide the 32 channels; use one of 1, 2, 4, 8, 16, 32.",
        ),
        (
            lambda: norms.group_norm(ROWS, num_groups=32),
            "x.shape=(4, 32): each mean would be over 1 element; must be at least 2,"
            " or the output is the same for every x; use fewer groups.",
        ),
        (
            lambda: norms.instance_norm(ROWS),
            "x.shape=(4, 32): instance norm needs spatial axes, [batch, *spatial,"
            " channels]; use layer or group norm here.",
        ),
        (
            lambda: norms.layer_norm(ROWS[:, :1]),
            "x.shape=(4, 1): each mean would be over 1 element; must be at least 2,"
            " or the output is the same for every x; give the layer more features.",
        ),
        (
            lambda: batch(ROWS[:1]),
            "x.shape=(1, 32): each mean would be over 1 element; must be at least 2,"
            " or the output is the same for every x; train on batches of 2 or more.",
        ),
        (
            lambda: batch(ROWS, mask=jnp.ones(32, bool)),
            "mask.shape=(32,): must be (4,) or (4, 32) for x of shape (4, 32);"
            " broadcast a mask of examples over the spatial axes.",
        ),
        (
            lambda: batch(ROWS, mask=jnp.ones(4)),
            "mask.dtype='float32': must be bool; pass mask > 0.",
        ),
        *(
            (
                lambda op=op: op(jnp.ones(SHAPE, jnp.int32), SCALE, BIAS),
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
