"""Max-pooling: flax's values and gradients to the bit, ties and what is not finite."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from normjax.errors import InputError
from normjax.ops import pooling

DRAW = np.random.default_rng(0)


def few(shape, values=(-1, 0, 0, 1, 2)):
    """Numbers of which many are equal; the sum of any of them is exact."""
    return DRAW.choice(values, shape).astype(np.float32)


CASES = {  # name -> image, window, strides, padding
    "halved": ((6, 8), 2, None, "VALID"),
    "odd": ((7, 5), 2, None, "VALID"),
    "overlapping": ((7, 8), 3, 2, "SAME"),
    "every pixel": ((5, 6), (2, 3), 1, "SAME"),
    "with gaps": ((9, 8), (1, 2), (2, 3), "VALID"),
    "padded": ((5, 6), 3, (2, 1), ((2, 0), (1, 2))),
}


def by_flax(x, window, strides, padding):
    window = (window, window) if isinstance(window, int) else window
    strides = window if strides is None else strides
    strides = (strides, strides) if isinstance(strides, int) else strides
    return nn.max_pool(x, window, strides, padding)


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_those_of_flax_to_the_bit(name):
    """The gradient goes to the first of equal ones, as XLA's does; sums are exact."""
    image, window, strides, padding = CASES[name]
    x = few((3, *image, 4))
    ours = lambda x: pooling.max_pool(
        x, window=window, strides=strides, padding=padding
    )
    theirs = lambda x: by_flax(x, window, strides, padding)
    dy = np.arange(1 + np.prod(jax.eval_shape(theirs, x).shape), dtype=np.float32)
    dy = dy[1:].reshape(jax.eval_shape(theirs, x).shape)

    @jax.jit
    def both(x, dy):
        pairs = [jax.vjp(pool, x) for pool in (ours, theirs)]
        return [(y, *back(dy)) for y, back in pairs]

    (y, dx), (right, right_dx) = both(x, dy)
    assert np.array_equal(y, right)
    assert np.array_equal(dx, right_dx)


BRANCHES = {  # windows that touch, of which a row is left over, and others
    "touching": {"window": 2, "strides": 2, "padding": "VALID"},
    "overlapping": {"window": 3, "strides": 2, "padding": "SAME"},
    "with gaps": {"window": (1, 2), "strides": (2, 3), "padding": "VALID"},
}


@pytest.mark.parametrize("branch", BRANCHES)
def test_forward_mode_is_the_transpose_of_reverse_mode(branch):
    """`<dy, J v> = <J^T dy, v>` for whole numbers, and vmapped over lanes."""
    pool = functools.partial(pooling.max_pool, **BRANCHES[branch])
    x, v = few((2, 2, 7, 8, 3)), few((2, 2, 7, 8, 3), (1, 2, 3))
    dy = few(jax.eval_shape(jax.vmap(pool), x).shape, (1, 2, 3))

    def one(x, v, dy):
        _, back = jax.vjp(pool, x)
        _, ahead = jax.jvp(pool, (x,), (v,))
        return jnp.vdot(dy, ahead), jnp.vdot(back(dy)[0], v)

    ahead, back = jax.jit(jax.vmap(one))(x, v, dy)
    assert np.array_equal(ahead, back)
    assert np.all(ahead > 0)
    for lane, *found in zip(zip(x, v, dy), ahead, back):
        assert np.array_equal(jax.jit(one)(*lane), found)


@pytest.mark.parametrize("branch", BRANCHES)
def test_second_derivatives_are_those_of_a_linear_choice(branch):
    """The Hessian of `sum(y^2)` times v is `2 J^T J v`; forward over reverse, reverse
    over forward and reverse over reverse, for whole numbers.
    """
    pool = functools.partial(pooling.max_pool, **BRANCHES[branch])
    x, v = few((2, 7, 8, 3)), few((2, 7, 8, 3))
    loss = lambda x: jnp.sum(jnp.square(pool(x)))

    @jax.jit
    def run(x, v):
        _, back = jax.vjp(pool, x)
        (right,) = back(2 * jax.jvp(pool, (x,), (v,))[1])
        return right, (
            jax.jvp(jax.grad(loss), (x,), (v,))[1],
            jax.grad(lambda x: jax.jvp(loss, (x,), (v,))[1])(x),
            jax.grad(lambda x: jnp.vdot(jax.grad(loss)(x), v))(x),
        )

    right, found = run(x, v)
    assert [np.array_equal(a, right) for a in found] == [True] * 3
    assert np.any(right != 0)


@pytest.mark.parametrize("branch", BRANCHES)
def test_the_gradient_goes_to_the_first_of_several_nans(branch):
    """Image and feature by itself: a window of ones, and one of nothing but NaN."""
    settings = BRANCHES[branch] | {"padding": "VALID"}
    rows, columns = np.broadcast_to(settings["window"], 2)
    x = np.stack([np.full((rows, columns, 1), a, np.float32) for a in (1, np.nan)])
    x[1, 0, 0] = 7
    pool = functools.partial(pooling.max_pool, **settings)
    v = np.arange(1.0, 1 + x.size, dtype=np.float32).reshape(x.shape)

    @jax.jit
    def run(x, v):
        total = lambda x: jnp.sum(pool(x))
        return jax.grad(total)(x), jax.jvp(pool, (x,), (v,))[1]

    dx, ahead = run(x, v)
    assert [np.flatnonzero(one).tolist() for one in dx] == [[0], [1]]
    assert ahead.ravel().tolist() == [v[0].flat[0], v[1].flat[1]]


def test_what_is_not_finite():
    """As in flax: nan spreads over its windows, -inf is less than all others.

    A window of nothing but -inf gives its gradient to the first.
    """
    x = few((2, 6, 6, 2))
    x[0, :2, :2], x[0, 2, 3], x[1, 3, 3] = -np.inf, -np.inf, np.inf
    holes = x.copy()
    holes[1, 0, 1], holes[1, 4, 4], holes[1, 5, 5] = np.nan, np.nan, np.nan

    @jax.jit
    def seen(x, holes):
        halved = lambda x: (pooling.max_pool(x), by_flax(x, 2, 2, "VALID"))
        padded = pooling.max_pool(holes, window=2, strides=1, padding="SAME")
        total = lambda x, i: jnp.sum(halved(x)[i])
        grads = [jax.grad(total)(x, i) for i in (0, 1)]
        return halved(holes), (padded, by_flax(holes, 2, 1, "SAME")), grads

    halved, padded, grads = seen(x, holes)
    assert np.array_equal(*halved, equal_nan=True)
    assert np.array_equal(*padded, equal_nan=True)
    assert np.array_equal(*grads)
    assert np.all(halved[0][0, 0, 0] == -np.inf)
    assert np.all(grads[0][0, 0, 0] == 1)
    assert np.array_equal(np.isnan(halved[0][1, ..., 0]), np.diag([True, False, True]))


@pytest.mark.parametrize("branch", BRANCHES)
def test_bfloat16_stays_bfloat16(branch):
    """Value and gradient, of small whole numbers, whose sums are exact."""
    settings = BRANCHES[branch]
    x = jnp.asarray(few((2, 7, 8, 2)), jnp.bfloat16)

    @jax.jit
    def run(x):
        ours = functools.partial(pooling.max_pool, **settings)
        theirs = functools.partial(by_flax, **settings)
        dy = few(jax.eval_shape(ours, x).shape)
        pairs = [jax.vjp(pool, x) for pool in (ours, theirs)]
        return [(y, *back(jnp.asarray(dy, y.dtype))) for y, back in pairs]

    ours, theirs = run(x)
    assert {a.dtype for a in ours} == {jnp.dtype(jnp.bfloat16)}
    assert all(map(np.array_equal, ours, theirs))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"window": (2, 0)},
            "window=(2, 0): must be a whole number of at least 1, or a pair of them;"
            " set window=1.",
        ),
        (
            {"window": 5},
            "window of 5 by 5 pixels: must fit into images of 4 by 6 with padding"
            " ((0, 0), (0, 0)); use padding='SAME'.",
        ),
        (
            {"padding": "FULL"},
            "padding='FULL': must be one of SAME, SAME_LOWER, VALID; choose one of"
            " them.",
        ),
    ],
)
def test_what_cannot_be_done_is_said(settings, message):
    with pytest.raises(InputError) as caught:
        pooling.max_pool(jnp.zeros((1, 4, 6, 1)), **settings)
    assert str(caught.value) == message
