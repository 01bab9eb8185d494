"""Weight norm: against float64, invariances, its gradient, a kernel of zeros."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from normjax.ops import weights
from normjax.tables import InputError

EPS32 = float(np.finfo(np.float32).eps)
KERNEL = jax.random.normal(jax.random.key(0), (3, 3, 16, 8))
SCALE = jnp.linspace(0.5, 2.0, 8)
AXES = (0, 1, 2)


def in_budgets(w):
    """Largest error of `w` over what rounding may do, by feature.

    Budget: half of sqrt(144) eps for the sum of squares (a random walk of n
    roundings), 2 eps for root, division and product.
    """
    v = np.asarray(KERNEL, np.float64)
    exact = np.asarray(SCALE) * v / np.sqrt(np.sum(v**2, AXES))
    budget = (12 / 2 + 2) * EPS32 * np.max(np.abs(exact), AXES)
    return np.max(np.abs(np.asarray(w, np.float64) - exact) / budget)


def test_weight_norm_stays_within_its_rounding_budget():
    """Measured, CPU: 0.1 of it. eps, 1e-12 of a squared norm of 144, does not show."""
    assert in_budgets(weights.weight_norm(KERNEL, SCALE)) <= 1


@pytest.mark.parametrize("axes", [(0, 1), (0, 1, 2, 3)])
def test_the_budget_catches_wrong_axes(axes):
    length = jnp.sqrt(jnp.sum(KERNEL**2, axes, keepdims=True))
    assert in_budgets(SCALE.reshape(1, 1, 1, 8) * KERNEL / length) > 1e5


def test_the_length_of_a_feature_is_its_scale():
    w = weights.weight_norm(KERNEL, -SCALE)
    assert np.max(np.abs(weights.feature_norms(w) / SCALE - 1)) <= 8 * EPS32
    assert np.all(w * KERNEL <= 0)


def test_scaling_the_direction_changes_no_bit():
    """A power of two, and eps with it; per feature."""
    longer = KERNEL * 2.0 ** jnp.arange(8).reshape(1, 1, 1, 8)
    found = weights.weight_norm(longer, SCALE, eps=0.0)
    assert np.array_equal(found, weights.weight_norm(KERNEL, SCALE, eps=0.0))


def test_its_own_norms_give_the_kernel_back_to_the_bit():
    """Whatever its size, a feature of zeros included: eps is in both norms."""
    for size in (1e-8, 1e-4, 1.0, 1e4):
        kernel = (size * KERNEL).at[..., 3].set(0)
        w = weights.weight_norm(kernel, weights.feature_norms(kernel))
        assert np.array_equal(w, kernel)


def test_gradient_is_orthogonal_to_the_direction_and_right():
    """Against central differences in float64: 4e-11 of truncation and rounding each.
    A backward blind to the norm is off by far more than 1e-2.
    """
    with jax.enable_x64(True):
        v, scale = KERNEL.astype(jnp.float64), SCALE.astype(jnp.float64)
        draw = lambda i: jax.random.normal(jax.random.key(i), v.shape, v.dtype)
        weight, along, h = draw(1), draw(2), 6e-6
        f = lambda v: jnp.sum(weight * jnp.sin(weights.weight_norm(v, scale)))
        grad = jax.grad(f)(v)
        numeric = (f(v + h * along) - f(v - h * along)) / (2 * h)
        length = jnp.linalg.norm(grad) * jnp.linalg.norm(along)
        assert float(jnp.abs(jnp.vdot(grad, along) - numeric) / length) < 1e-8
        radial = jnp.sum(grad * v, AXES) / jnp.sum(v * v, AXES)
        assert float(jnp.max(jnp.abs(radial))) < 1e-12


def test_at_zero_the_output_is_zero_and_the_gradient_finite():
    zeros = jnp.zeros((4, 2))
    scale = weights.feature_norms(zeros)
    w, backward = jax.vjp(lambda v: weights.weight_norm(v, scale), zeros)
    dw = jnp.arange(8.0).reshape(4, 2)
    assert np.all(w == 0)
    assert np.array_equal(backward(dw)[0], dw)
    steep = jax.vjp(lambda v: weights.weight_norm(v, jnp.ones(2)), zeros)[1](dw)[0]
    assert np.max(np.abs(steep - 1e6 * dw)) <= 4 * EPS32 * 7e6


def test_bfloat16_goes_through_float32():
    kernel = KERNEL.astype(jnp.bfloat16)
    w = weights.weight_norm(kernel, SCALE)
    wide = weights.weight_norm(kernel.astype(jnp.float32), SCALE)
    assert w.dtype == jnp.bfloat16
    assert np.array_equal(w, wide.astype(jnp.bfloat16))


def test_jit_and_vmap_change_roundings_only():
    lanes = jnp.stack([KERNEL, 3 * KERNEL + 1])
    one = jnp.stack([weights.weight_norm(v, SCALE) for v in lanes])
    many = jax.jit(jax.vmap(lambda v: weights.weight_norm(v, SCALE)))(lanes)
    assert np.max(np.abs(many - one)) <= 8 * EPS32 * np.max(np.abs(one))


def test_integers_are_refused():
    with pytest.raises(InputError) as caught:
        weights.feature_norms(jnp.ones((3, 2), jnp.int32))
    assert str(caught.value) == (
        'x.dtype=int32: must be a floating type; call x.astype("float32") first.'
    )
