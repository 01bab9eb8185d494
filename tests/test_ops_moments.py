"""Moments against float64, behind masks, and blended over time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from normjax.errors import InputError
from normjax.ops import moments

EPS32 = float(np.finfo(np.float32).eps)
MASK = jax.random.bernoulli(jax.random.key(1), 0.7, (64, 1))


def normals(shape, offset=0.0):
    return jax.random.normal(jax.random.key(0), shape) + offset


def one_pass(x, axes):
    mean = jnp.mean(x, axes, keepdims=True)
    return mean, jnp.mean(x * x, axes, keepdims=True) - mean * mean


def over_n_minus_1(x, axes):
    return moments.mean_and_var(x, axes).mean, jnp.var(x, axes, keepdims=True, ddof=1)


def in_budgets(form, offset):
    """Errors of (mean, var) over 256 elements, each as a share of its budget."""
    x = normals((64, 256), offset)
    exact = np.asarray(x, np.float64)
    mean, var = (np.asarray(a, np.float64) for a in form(x, -1)[:2])
    mean_true, var_true = exact.mean(-1, keepdims=True), exact.var(-1, keepdims=True)

    root = np.sqrt(exact.shape[-1])
    mean_budget = root * EPS32 * np.abs(exact).mean(-1, keepdims=True)
    var_budget = (root + 3) * EPS32 * var_true + mean_budget**2
    return (
        np.max(np.abs(mean - mean_true) / mean_budget),
        np.max(np.abs(var - var_true) / var_budget),
    )


@pytest.mark.parametrize("offset", [0.0, 1e1, 1e3])  # |mean| / std
def test_two_passes_stay_within_their_rounding_budget(offset):
    """Budget: the n roundings of a sum, u = eps / 2 each, add up like a random walk
    (Higham and Mary, 2019), here to 2 sqrt(n) u of the mean of |x|. The variance has
    that of its own sum, 3 eps for difference, square and division, and the square of
    the mean's error. Measured, CPU: at most 0.06 of either.
    The mutants below, in budgets: over n - 1 741 and more; one pass 12 and 29088.
    """
    assert max(in_budgets(moments.mean_and_var, offset)) <= 1


@pytest.mark.parametrize(
    ("wrong", "offset"),
    [
        (over_n_minus_1, 0.0),
        (over_n_minus_1, 1e1),
        (over_n_minus_1, 1e3),
        (one_pass, 1e1),
        (one_pass, 1e3),
    ],
)
def test_the_budget_catches_wrong_variances(wrong, offset):
    assert in_budgets(wrong, offset)[1] > 2


def test_axes_stay_with_size_one_and_count_is_a_scalar():
    m = moments.mean_and_var(normals((3, 4, 5)), (0, 2))
    assert (m.mean.shape, m.var.shape, m.count.shape) == ((1, 4, 1), (1, 4, 1), ())
    assert m.count == 15


def test_bfloat16_is_averaged_in_float32():
    x = normals((64, 256), 100.0).astype(jnp.bfloat16)
    m, wide = (
        moments.mean_and_var(x, -1),
        moments.mean_and_var(x.astype(jnp.float32), -1),
    )
    assert {a.dtype for a in m} == {jnp.dtype(jnp.float32)}
    assert all(np.array_equal(a, b) for a, b in zip(m, wide))


def test_a_mask_of_ones_changes_no_bit():
    x = normals((64, 256), 10.0)
    plain = moments.mean_and_var(x, 0)
    masked = moments.mean_and_var(x, 0, where=jnp.ones((64, 1), bool))
    assert np.array_equal(plain.mean, masked.mean)
    assert np.array_equal(plain.var, masked.var)
    assert np.all(masked.count == plain.count)


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_masks_and_lanes_have_the_gradient_of_two_passes(offset):
    """To the bit, with a mask of ones and as the only lane of an axis.

    JAX by itself adds the sum of `x - mean`, which is rounding and not 0.
    """
    x, ones = normals((64, 8), offset), jnp.ones((64, 1), bool)

    def gradient(average, **settings):
        def total(x):
            mean, var, *_ = average(x, 0, **settings)
            return jnp.sum(jnp.sin(mean) + var)

        return jax.grad(total)(x)

    def by_itself(x, axes):
        mean = jnp.mean(x, axes, keepdims=True)
        return mean, jnp.mean(jnp.square(x - mean), axes, keepdims=True)

    def in_a_lane(x, axes):
        one = functools.partial(moments.mean_and_var, axes=axes, axis_name="lanes")
        return [a[0] for a in jax.vmap(one, axis_name="lanes")(x[None])]

    right = gradient(moments.mean_and_var)
    assert np.array_equal(gradient(moments.mean_and_var, where=ones), right)
    assert np.array_equal(gradient(in_a_lane), right)
    assert not np.array_equal(gradient(by_itself), right)


def test_masked_rows_are_as_rows_left_out():
    """Only the order of the sums differs: 2 sqrt(64) u of |x|, and of the variance."""
    x = normals((64, 256))
    masked, left_out = (
        moments.mean_and_var(x, 0, where=MASK),
        moments.mean_and_var(x[MASK[:, 0]], 0),
    )
    assert np.all(masked.count == left_out.count)
    for a, b in zip(masked[:2], left_out[:2]):
        assert np.max(np.abs(a - b)) <= 8 * EPS32 * max(1, np.max(b))


def test_a_ragged_mask_counts_each_mean_for_itself():
    x = jnp.asarray([[1.0, 2.0], [3.0, 50.0], [5.0, 4.0]])
    m = moments.mean_and_var(x, 0, where=jnp.asarray([[1, 1], [1, 0], [1, 1]]) > 0)
    assert m.count.tolist() == [[3, 2]]
    assert m.mean.tolist() == [[3, 3]]
    assert m.var.tolist() == [[np.float32(8 / 3), 1]]


@pytest.mark.parametrize("behind", [np.nan, np.inf])
def test_nothing_leaks_from_behind_the_mask(behind):
    """Values and gradients are those for zeros there, to the bit."""

    def total(x):
        m = moments.mean_and_var(x, 0, where=MASK)
        return jnp.sum(jnp.sin(m.mean) + m.var)

    x = normals((64, 8))
    found = jax.value_and_grad(total)(jnp.where(MASK, x, behind))
    right = jax.value_and_grad(total)(jnp.where(MASK, x, 0))
    assert np.isfinite(right[0])
    assert jax.tree.all(jax.tree.map(np.array_equal, found, right))
    assert np.all(np.where(MASK, 0, found[1]) == 0)


def test_a_group_masked_whole_is_zero_with_zero_gradient():
    x = jnp.asarray([[1.0, np.nan], [3.0, np.inf]])
    where = jnp.asarray([[True, False], [True, False]])
    m = moments.mean_and_var(x, 0, where=where)
    assert [a.tolist() for a in m] == [[[2, 0]], [[1, 0]], [[2, 0]]]
    grad = jax.grad(
        lambda x: sum(jnp.sum(a) for a in moments.mean_and_var(x, 0, where=where))
    )
    assert grad(x)[:, 1].tolist() == [0, 0]


PAST = moments.Running(jnp.asarray([1.0, 2.0]), jnp.asarray([3.0, 4.0]))
NOW = moments.Moments(
    jnp.asarray([[5.0, 6.0]]), jnp.asarray([[7.0, 8.0]]), jnp.asarray([[2.0, 0.0]])
)


@pytest.mark.parametrize(
    ("decay", "mean", "var"),
    [(0.0, [5, 2], [7, 4]), (1.0, [1, 2], [3, 4]), (0.75, [2, 2], [4, 4])],
)
def test_blend_weighs_the_past_by_decay_and_skips_what_was_not_seen(decay, mean, var):
    new = moments.blend(PAST, NOW, decay=decay)
    assert [a.tolist() for a in new] == [mean, var]


def test_blend_keeps_the_dtype_of_the_past():
    """Else a scan over steps under float64 would refuse the running statistics."""
    with jax.enable_x64(True):
        now = moments.mean_and_var(jnp.ones((4, 2), jnp.float64), 0)
        new = moments.blend(PAST, now, decay=0.5)
    assert {a.dtype for a in new} == {jnp.dtype(jnp.float32)}


def test_integers_are_refused():
    with pytest.raises(InputError) as caught:
        moments.mean_and_var(jnp.arange(4), 0)
    assert str(caught.value) == (
        "x.dtype='int32': must be a floating type; call x.astype(\"float32\") first."
    )
