"""Switchable norm: its running moments, the norms it mixes, behind masks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _numerics import EPS32, close, slope_errors

from normjax.errors import InputError
from normjax.ops import moments, norms, switchable

EPS = 1e-2  # large, so that its place in the formula shows
SHAPE = (6, 4, 4, 12)
X = jnp.asarray(np.random.default_rng(0).normal(size=SHAPE) + 1, jnp.float32)
ROWS = X[:, 0, 0]
SCALE = jnp.asarray(np.linspace(0.5, 1.5, 12), jnp.float32)
BIAS = jnp.asarray(np.linspace(-1.0, 1.0, 12), jnp.float32)
MEAN_LOGITS = jnp.asarray([0.5, -1.0, 0.0])
VAR_LOGITS = jnp.asarray([-0.5, 0.0, 1.0])
START = moments.Running(
    jnp.asarray(np.linspace(-0.5, 0.5, 12), jnp.float32),
    jnp.asarray(np.linspace(0.5, 2.0, 12), jnp.float32),
)
KEPT = np.random.default_rng(1).random(SHAPE[:-1]) < 0.7
MASK = jnp.asarray(KEPT & (np.arange(6).reshape(6, 1, 1) != 3))


@functools.partial(jax.jit, static_argnames=("train", "decay"))
def op(x, mean_logits, var_logits, scale, bias, *, train=True, decay=0.9, mask=None):
    return switchable.switchable_norm(
        x,
        START,
        mean_logits,
        var_logits,
        scale,
        bias,
        train=train,
        decay=decay,
        eps=EPS,
        mask=mask,
    )


VECTORS = (MEAN_LOGITS, VAR_LOGITS, SCALE, BIAS)


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_training_blends_the_moments_of_the_batch(decay):
    _, running = op(X, *VECTORS, decay=decay)
    for past, now, new in zip(START, (np.mean, np.var), running):
        right = decay * np.asarray(past) + (1 - decay) * now(
            np.asarray(X, np.float64), (0, 1, 2)
        )
        assert np.max(np.abs(new - right)) <= 2 * (np.sqrt(96) + 3) * EPS32


@pytest.mark.parametrize("kind", ["instance", "layer", "batch"])
def test_a_logit_far_above_the_others_leaves_one_norm(kind):
    """exp(-200) is 0 in float32."""
    logits = 200.0 * jnp.asarray([k == kind for k in switchable.kinds(SHAPE)])
    y, running = op(X, logits, logits, SCALE, BIAS)
    if kind == "instance":
        right = norms.instance_norm(X, SCALE, BIAS, eps=EPS)
    elif kind == "layer":
        one = norms.group_norm(X, num_groups=1, eps=EPS)
        right = one * SCALE.reshape(1, 1, 1, 12) + BIAS.reshape(1, 1, 1, 12)
    else:
        right, wanted = norms.batch_norm(X, START, SCALE, BIAS, train=True, eps=EPS)
        assert all(close(a, b, ulps=8) for a, b in zip(running, wanted))
    assert close(y, right, ulps=16)


@pytest.mark.parametrize("x", [ROWS, X[:, :1, :1]])
def test_a_dense_layer_mixes_layer_and_batch_norm_only(x):
    assert switchable.kinds(x.shape) == ("layer", "batch")
    rows = x.reshape(6, 12)
    for i in (0, 1):
        logits = jnp.zeros(2).at[i].set(200)
        y, _ = op(x, logits, logits, SCALE, BIAS)
        if i == 0:
            right = norms.layer_norm(rows, SCALE, BIAS, eps=EPS)
        else:
            right = norms.batch_norm(rows, START, SCALE, BIAS, train=True, eps=EPS)[0]
        assert close(y.reshape(6, 12), right, ulps=16)


def test_masked_examples_are_as_examples_left_out():
    rows = np.asarray([1, 0, 1, 1, 0, 1]) > 0
    mask = jnp.asarray(np.broadcast_to(rows.reshape(6, 1, 1), SHAPE[:-1]))
    y, running = op(X, *VECTORS, mask=mask)
    right, wanted = op(X[rows], *VECTORS)
    assert close(y[rows], right, ulps=16)
    assert np.all(y[~rows] == 0)
    assert all(close(a, b, ulps=16) for a, b in zip(running, wanted))


@pytest.mark.parametrize("train", [True, False])
def test_nothing_leaks_from_behind_the_mask(train):
    """Outputs, all gradients: those for zeros there, to the bit; image 3 is masked."""
    weight = jnp.cos(jnp.arange(X.size)).reshape(SHAPE)

    def total(x, *vectors):
        y, running = op(x, *vectors, train=train, mask=MASK)
        return jnp.sum(weight * y), (y, running)

    every = (0, 1, 2, 3, 4)
    both = jax.jit(jax.value_and_grad(total, argnums=every, has_aux=True))
    where = MASK[..., None]
    found = both(jnp.where(where, X, jnp.where(X > 1, jnp.nan, jnp.inf)), *VECTORS)
    right = both(jnp.where(where, X, 0), *VECTORS)
    assert jax.tree.all(jax.tree.map(np.array_equal, found, right))
    assert jax.tree.all(jax.tree.map(lambda a: np.all(np.isfinite(a)), found))
    (_, (y, _)), (dx, *_) = found
    assert np.all(np.where(where, 0, y) == 0)
    assert np.all(np.where(where, 0, dx) == 0)


def test_bfloat16_goes_through_float32():
    x = X.astype(jnp.bfloat16)
    y, running = op(x, *VECTORS)
    wide, wanted = op(x.astype(jnp.float32), *VECTORS)
    assert y.dtype == jnp.bfloat16
    assert np.array_equal(y, wide.astype(jnp.bfloat16))
    assert all(np.array_equal(a, b) for a, b in zip(running, wanted))
    assert running.mean.dtype == jnp.float32


def test_gradient_and_hessian_against_central_differences():
    """In float64, along one direction in all arguments. Measured: 2e-13 and 6e-12."""
    with jax.enable_x64(True):
        y = lambda *args: op(*args)[0]
        assert max(slope_errors(y, (X[:3, :2, :2], *VECTORS))) < 1e-8


def test_evaluation_leaves_its_running_moments():
    _, running = op(X, *VECTORS, train=False)
    assert all(np.array_equal(a, b) for a, b in zip(running, START))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: op(ROWS, *VECTORS),
            "mean_logits.shape=(3,): must be (2,), one for each of layer, batch; make"
            " them for activations of this shape.",
        ),
        (
            lambda: op(ROWS[:1], MEAN_LOGITS[1:], VAR_LOGITS[1:], SCALE, BIAS),
            "x.shape=(1, 12): each mean would be over 1 element; must be at least 2,"
            " or the output is the same for every x; train on batches of 2 or more.",
        ),
        (
            lambda: op(
                ROWS[:, :1], MEAN_LOGITS[1:], VAR_LOGITS[1:], SCALE[:1], BIAS[:1]
            ),
            "x.shape=(6, 1): each mean would be over 1 element; must be at least 2,"
            " or the output is the same for every x; give the layer more features.",
        ),
        (
            lambda: op(X, *VECTORS, mask=jnp.ones(6, bool)),
            f"mask.shape=(6,): must be (6, 4, 4) or {SHAPE} for x of shape {SHAPE};"
            " broadcast a mask of examples over the spatial axes.",
        ),
        (
            lambda: op(jnp.ones(SHAPE, jnp.int32), *VECTORS),
            "x.dtype='int32': must be a floating type;"
            ' call x.astype("float32") first.',
        ),
    ],
)
def test_mistakes_are_named_in_one_line(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message
