"""The relatives of batch norm: float64, relations, masks, transforms, mistakes."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _numerics import EPS32, close, slope_errors

from normjax.errors import InputError
from normjax.ops import batch_variants, moments, norms, online

EPS = 1e-2  # large, so that its place in the formula shows
DECAY = 0.75  # exact in float32, and so are its powers
SHAPE = (8, 3, 3, 16)
DRAW = np.random.default_rng(0)
X = DRAW.normal(0.5, 1, SHAPE).astype(np.float32)
SCALE, BIAS = jnp.linspace(0.5, 1.5, 16), jnp.linspace(-1, 1, 16)
START = moments.Running(jnp.linspace(-0.5, 0.5, 16), jnp.linspace(0.5, 2.0, 16))
MASK = (DRAW.random(SHAPE[:-1]) < 0.7) & (np.arange(8) != 3).reshape(8, 1, 1)


def run(op, past, x, scale, bias, mask=None, **settings):
    settings = {"train": True, "decay": DECAY, "eps": EPS} | settings
    x, mask = jnp.asarray(x), None if mask is None else jnp.asarray(mask)
    if x.dtype == jnp.float64:  # or renorm's correction is rounded to float32
        past = jax.tree.map(lambda a: a.astype(x.dtype), past)
    return op(x, past, scale, bias, mask=mask, **settings)


def renorm(x, scale=SCALE, bias=BIAS, *, r_max=1.25, d_max=0.25, **settings):
    settings |= {"r_max": r_max, "d_max": d_max}
    return run(batch_variants.batch_renorm, START, x, scale, bias, **settings)


def ghost(x, scale=SCALE, bias=BIAS, *, ghost_size=4, **settings):
    settings |= {"ghost_size": ghost_size}
    return run(batch_variants.ghost_batch_norm, START, x, scale, bias, **settings)


def power(x, scale=SCALE, bias=BIAS, **settings):
    return run(batch_variants.power_norm, START.var, x, scale, bias, **settings)


def stream(x, scale=SCALE, bias=BIAS, *, past=START, **settings):
    return run(online.online_norm, past, x, scale, bias, **settings)


def batch(x, scale=SCALE, bias=BIAS, *, past=START, **settings):
    settings = {"train": True, "decay": DECAY, "eps": EPS} | settings
    return norms.batch_norm(jnp.asarray(x), past, scale, bias, **settings)


OPS = {"renorm": renorm, "ghost": ghost, "power": power, "online": stream}


# ---- against batch norm and each other --------------------------------------------


def test_the_stream_of_one_step_is_that_of_many():
    """Eight batches of one example are one batch of eight."""
    y, new = stream(X)
    running, each = START, []
    for image in X:
        one, running = stream(image[None], past=running)
        each.append(one)
    assert close(np.concatenate(each), y, ulps=8)
    assert all(close(a, b, ulps=8) for a, b in zip(running, new))


def test_renorm_within_narrow_limits_is_batch_norm():
    y, running = renorm(X, r_max=1.0, d_max=0.0)
    right, wanted = batch(X)
    assert np.array_equal(y, right)
    assert np.array_equal(running.mean, wanted.mean)


def test_renorm_within_wide_limits_is_evaluation():
    """In training it puts out what evaluation with the old statistics would."""
    y, _ = renorm(X, r_max=100.0, d_max=100.0)
    assert close(y, renorm(X, train=False)[0], ulps=16)


def test_one_ghost_batch_is_batch_norm():
    y, running = ghost(X, ghost_size=8)
    right, wanted = batch(X)
    assert np.array_equal(y, right)
    assert all(close(a, b, ulps=2) for a, b in zip(running, wanted))


def test_power_norm_of_what_has_no_mean_is_batch_norm():
    x = np.concatenate([X, -X])
    assert close(power(x)[0], batch(x)[0], ulps=8)


@pytest.mark.parametrize("name", OPS)
def test_evaluation_is_batch_norm_with_what_is_remembered(name):
    y, running = OPS[name](X, train=False)
    past = START if name != "power" else START._replace(mean=jnp.zeros(16))
    right = batch(X, past=past, train=False)[0]
    assert np.array_equal(y, right)
    assert running is (START if name != "power" else START.var)


@pytest.mark.parametrize(
    ("step", "r_max", "d_max"),
    [
        (0, 1, 0),
        (5_000, 1, 0),
        (15_000, 11 / 7, 2.5),
        (25_000, 15 / 7, 5),
        (50_000, 3, 5),
    ],
)
def test_limits_of_renorm_follow_the_paper(step, r_max, d_max):
    found = batch_variants.renorm_limits(jnp.asarray(step))
    np.testing.assert_allclose(found, (r_max, d_max), rtol=4 * EPS32)


@pytest.mark.parametrize(
    ("steps", "step", "share"),
    [
        ((0, 0, 0), 0, 1),  # no warm-up: 0 / 0 without care
        ((0, 0, 0), 7, 1),
        ((5, 5, 5), 4, 0),
        ((5, 5, 5), 5, 1),
        ((4, 6, 6), 5, 0.5),
    ],
)
def test_limits_of_renorm_without_a_ramp(steps, step, share):
    names = ("start_step", "r_end_step", "d_end_step")
    found = batch_variants.renorm_limits(jnp.asarray(step), **dict(zip(names, steps)))
    assert found == (1 + 2 * share, 5 * share)


@pytest.mark.parametrize(
    ("num_examples", "size"),
    [(128, 32), (32, 32), (100, 25), (37, 37), (74, 37), (6, 6)],
)
def test_ghost_batches_by_default_divide_and_are_near_32(num_examples, size):
    assert batch_variants.ghost_size_for(num_examples) == size


# ---- behind masks -----------------------------------------------------------------


@pytest.mark.parametrize("name", OPS)
def test_nothing_leaks_from_behind_the_mask(name):
    """Outputs, statistics, gradients: those for zeros there, to the bit."""
    weight = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)

    def total(x, scale, bias):
        y, running = OPS[name](x, scale, bias, mask=MASK)
        return jnp.sum(weight * y), (y, running)

    both = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True))
    where = MASK[..., None]
    behind = np.where(X > 0, np.float32(np.nan), np.float32(np.inf))
    found = both(np.where(where, X, behind), SCALE, BIAS)
    right = both(np.where(where, X, 0), SCALE, BIAS)
    assert jax.tree.all(jax.tree.map(np.array_equal, found, right))
    assert jax.tree.all(jax.tree.map(lambda a: np.all(np.isfinite(a)), found))
    (_, (y, _)), (dx, _, _) = found
    assert np.all(np.where(where, 0, y) == 0)
    assert np.all(np.where(where, 0, dx) == 0)


@pytest.mark.parametrize("name", ["renorm", "power", "online"])
def test_masked_examples_are_as_examples_left_out(name):
    rows = np.array([1, 0, 1, 1, 0, 1, 1, 1]) > 0
    mask = np.broadcast_to(rows.reshape(8, 1, 1), SHAPE[:-1])
    y, running = OPS[name](X, mask=mask)
    right, wanted = OPS[name](X[rows])
    assert close(y[rows], right, ulps=8)
    assert np.all(y[~rows] == 0)
    errors = jax.tree.map(lambda a, b: close(a, b, ulps=8), running, wanted)
    assert jax.tree.all(errors)


@pytest.mark.parametrize("name", OPS)
def test_a_batch_masked_whole_leaves_what_is_remembered(name):
    y, running = OPS[name](np.full_like(X, np.nan), mask=np.zeros(SHAPE[:-1], bool))
    past = START.var if name == "power" else START
    assert np.all(y == 0)
    assert jax.tree.all(jax.tree.map(np.array_equal, running, past))


def test_a_ghost_batch_masked_whole_is_skipped():
    mask = np.ones(SHAPE[:-1], bool)
    mask[4:] = False
    _, running = ghost(X, mask=mask)
    _, wanted = ghost(X[:4])
    assert all(close(a, b, ulps=4) for a, b in zip(running, wanted))


# ---- under transforms -------------------------------------------------------------


@pytest.mark.parametrize("name", OPS)
def test_bfloat16_goes_through_float32(name):
    x = jnp.asarray(X + 10, jnp.bfloat16)
    y, running = OPS[name](x)
    right, wanted = OPS[name](x.astype(jnp.float32))
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert np.array_equal(y, right.astype(jnp.bfloat16))
    assert jax.tree.all(jax.tree.map(np.array_equal, running, wanted))


@pytest.mark.parametrize("name", OPS)
def test_jit_and_vmap_change_roundings_only(name):
    lanes = np.stack([X, 2 * X + 1])
    one = jax.tree.map(lambda *a: np.stack(a), *(OPS[name](x) for x in lanes))
    many = jax.jit(jax.vmap(OPS[name]))(lanes)
    assert jax.tree.all(jax.tree.map(lambda a, b: close(a, b, 8), many, one))


class Fixed(NamedTuple):
    """The correction of renorm at one point: constant to its derivatives."""

    r: np.ndarray
    d: np.ndarray


@pytest.mark.parametrize("name", OPS)
def test_gradient_and_hessian_against_central_differences(name):
    """In float64, along one direction in (x, scale, bias) together. Renorm is compared
    with batch norm under the correction it has at x.
    """
    with jax.enable_x64(True):
        op = lambda *args: OPS[name](*args)[0]
        plain = op if name != "renorm" else functools.partial(corrected, fixed=at(X))
        assert max(slope_errors(op, (X, SCALE, BIAS), plain=plain)) < 1e-8


@pytest.mark.parametrize("name", ["ghost", "power", "online"])
def test_the_differences_catch_a_blind_backward(name):
    """By 1e-3 and more: what is divided by, taken as a constant."""

    def blind(x, scale, bias):
        still = OPS[name](jax.lax.stop_gradient(x), None, None)[0]
        rate = jax.lax.stop_gradient(still / x)
        row = lambda a: a.reshape(1, 1, 1, 16)
        return x * rate * row(scale) + row(bias)

    with jax.enable_x64(True):
        plain = lambda *args: OPS[name](*args)[0]
        assert min(slope_errors(blind, (X, SCALE, BIAS), plain=plain)) > 1e-5


def at(x) -> Fixed:
    past = np.sqrt(np.asarray(START.var, np.float64) + EPS)
    x = np.asarray(x, np.float64)
    r = np.sqrt(x.var((0, 1, 2)) + EPS) / past
    d = (x.mean((0, 1, 2)) - np.asarray(START.mean)) / past
    return Fixed(np.clip(r, 1 / 1.25, 1.25), np.clip(d, -0.25, 0.25))


def corrected(x, scale, bias, *, fixed):
    return batch(x, scale * fixed.r, scale * fixed.d + bias)[0]


# ---- mistakes ---------------------------------------------------------------------

ROWS = jnp.ones((6, 16))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ghost(ROWS, ghost_size=4),
            "ghost_size=4: must divide the 6 examples of the batch; use 6.",
        ),
        (
            lambda: ghost(ROWS, ghost_size=0, train=False),
            "ghost_size=0: must divide the 6 examples of the batch; use 6.",
        ),
        (
            lambda: renorm(ROWS, r_max=0.5),
            "r_max=0.5: must be at least 1; set r_max=1 for what batch norm does.",
        ),
        (
            lambda: renorm(ROWS, d_max=-1.0),
            "d_max=-1.0: must be at least 0; set d_max=0 for what batch norm does.",
        ),
        (
            lambda: batch_variants.renorm_limits(jnp.asarray(0), d_end_step=4_999),
            "d_end_step=4999: must be at least start_step=5000; set d_end_step=5000"
            " to have no warm-up.",
        ),
        (
            lambda: ghost(ROWS, ghost_size=1),
            "x.shape=(6, 16): each mean would be over 1 element; must be at least 2,"
            " or the output is the same for every x; use larger ghost batches.",
        ),
        (
            lambda: renorm(ROWS[:1]),
            "x.shape=(1, 16): each mean would be over 1 element; must be at least 2,"
            " or the output is the same for every x; train on batches of 2 or more.",
        ),
        *(
            (
                lambda op=op: op(ROWS, mask=jnp.ones(16, bool)),
                f"mask.shape=(16,): must be {shapes} for x of shape (6, 16);"
                " broadcast a mask of examples over the spatial axes.",
            )
            for name, op in OPS.items()
            for shapes in ["(6,)" if name == "online" else "(6,) or (6, 16)"]
        ),
        *(
            (
                lambda op=op: op(jnp.ones((8, 16), jnp.int32)),
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
