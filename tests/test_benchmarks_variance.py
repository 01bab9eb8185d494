"""Four forms of the variance: right near 0, and what each loses far from it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import variance_forms
from normjax.ops import moments

UNIT = 2.0**-24
FORMS = sorted(variance_forms.FORMS)


def normals(ratio, shape=(8, 512)):
    draws = np.random.default_rng(0).normal(ratio, 1, shape)
    return jnp.asarray(draws, jnp.float32)


def errors(form, x, axes=-1):
    """Largest relative errors of mean and variance."""
    m = jax.jit(lambda x: variance_forms.FORMS[form](x, axes)[:2])(x)
    exact = np.asarray(x, np.float64)
    right = exact.mean(axes, keepdims=True), exact.var(axes, keepdims=True)
    return [np.max(np.abs(np.float64(a) / b - 1)) for a, b in zip(m, right)]


@pytest.mark.parametrize("axes", [-1, 0, (0, 2), (1,), (0, 1, 2), (-3, 1)])
@pytest.mark.parametrize("form", FORMS)
def test_forms_agree_near_zero_whatever_the_axes(form, axes):
    """One pass has 1 + 2 (mean / std)^2 times the roundings of two: 2 sqrt(n) units for
    each sum, 5 for squares and quotients.
    """
    x = normals(2.0, (6, 70, 9))
    one_axis = isinstance(axes, int)
    n = np.prod([x.shape[axis] for axis in ((axes,) if one_axis else axes)])
    exact = np.asarray(x, np.float64)
    ratio = np.max(exact.mean(axes) ** 2 / exact.var(axes))
    mean, var = errors(form, x, axes)
    units = (2 * np.sqrt(n) + 5) * UNIT
    assert mean <= units * np.max(
        np.mean(np.abs(exact), axes) / np.abs(exact.mean(axes))
    )
    assert var <= units * (1 + 2 * ratio)


@pytest.mark.parametrize("form", FORMS)
def test_axes_stay_and_the_count_is_a_scalar(form):
    m = variance_forms.FORMS[form](jnp.ones((3, 4, 5)), (0, 2))
    assert (m.mean.shape, m.var.shape, m.count.shape) == ((1, 4, 1), (1, 4, 1), ())
    assert m.count == 15


def test_two_passes_lose_the_square_of_the_mean_s_rounding():
    """The mean errs by 2 sqrt(512) + 1 units of 1000 at most, its square is 1e-5; at
    most half a unit of it stays after a good sum. One pass loses 1000^2 units a sum.
    """
    assert errors("two_pass", normals(1e3))[1] <= (46 * UNIT * 1e3) ** 2
    assert errors("one_pass", normals(1e3))[1] > 1e6 * UNIT


def test_one_pass_is_that_of_flax():
    """To the bit but for 4 roundings, also where everything has cancelled: then it is
    0, not less.
    """
    x = normals(1e4)
    y = nn.LayerNorm(epsilon=1e-3, use_bias=False, use_scale=False).apply({}, x)
    m = variance_forms.one_pass(x, -1)
    found = (x - m.mean) / jnp.sqrt(m.var + 1e-3)
    assert np.min(m.var) == 0
    assert np.max(np.abs(y - found)) <= 4 * UNIT * np.max(np.abs(found))


def test_merging_chunks_loses_the_first_power_of_the_mean_s_rounding():
    """Between the square of two passes and the square of the ratio of one."""
    x = normals(1e4, (8, 4096))
    two, chunks, one = (
        errors(form, x)[1] for form in ("two_pass", "welford", "one_pass")
    )
    assert two < chunks / 10 < one / 1000


def test_a_shift_is_as_good_as_its_pivot():
    """Far from 0 all the others are worse; a pivot 1000 std away undoes it."""
    x = normals(1e5)
    for other in ("one_pass", "two_pass", "welford"):
        assert errors("shifted", x)[1] < errors(other, x)[1] / 10
    x = normals(0.0, (2, 2**20)).at[:, 0].set(1e3)  # adds 1 to a variance of 1
    assert errors("shifted", x)[1] > 100 * errors("two_pass", x)[1]


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 127, 129, 4097])
def test_chunks_need_not_divide_the_elements(n):
    x = normals(1.0, (n, 3))
    m, right = variance_forms.welford(x, 0), moments.mean_and_var(x, 0)
    assert np.max(np.abs(m.mean - right.mean)) <= 64 * UNIT
    assert np.max(np.abs(m.var - right.var)) <= 128 * UNIT
    assert m.count == n


@pytest.mark.parametrize("form", FORMS)
def test_bfloat16_is_taken_in_float32(form):
    x = normals(3.0).astype(jnp.bfloat16)
    both = x, x.astype(jnp.float32)
    narrow, wide = (variance_forms.FORMS[form](a, -1) for a in both)
    assert all(np.array_equal(a, b) for a, b in zip(narrow, wide))


@pytest.mark.parametrize("form", FORMS)
def test_forms_are_differentiable(form):
    """The slope d var / dx = 2 (x - mean) / n."""
    x = normals(1.0, (4, 130))
    grad = jax.grad(lambda x: jnp.sum(variance_forms.FORMS[form](x, -1).var))(x)
    right = 2 * (x - x.mean(-1, keepdims=True)) / 130
    assert np.max(np.abs(grad - right)) <= 64 * UNIT * 3 / 130 * 2
