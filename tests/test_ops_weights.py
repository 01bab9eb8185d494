"""Weight norm: against float64, invariances, its gradient, a kernel of zeros."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _numerics import EPS32, slope_errors

from normjax.errors import InputError
from normjax.ops import weights

KERNEL = jax.random.normal(jax.random.key(0), (3, 3, 16, 8))
SCALE = jnp.linspace(0.5, 2.0, 8)
AXES = (0, 1, 2)


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


def test_gradient_is_orthogonal_to_the_direction():
    with jax.enable_x64(True):
        v, scale = KERNEL.astype(jnp.float64), SCALE.astype(jnp.float64)
        draw = jax.random.normal(jax.random.key(1), v.shape, v.dtype)
        f = lambda v: jnp.sum(draw * jnp.sin(weights.weight_norm(v, scale)))
        grad = jax.jit(jax.grad(f))(v)
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
        "x.dtype='int32': must be a floating type; call x.astype(\"float32\") first."
    )


# ---- weight standardization -------------------------------------------------------


def test_a_standardized_kernel_does_not_change_with_shift_and_scale():
    """Powers of two scale exactly; a shift by 4 rounds the kernel by 2 eps."""
    w = weights.weight_standardization(KERNEL)
    scaled = weights.weight_standardization(1024 * KERNEL, eps=1024**2 * 1e-10)
    assert np.array_equal(scaled, w)
    shifted = weights.weight_standardization(KERNEL + 4)
    assert np.max(np.abs(shifted - w)) <= 16 * EPS32 * np.max(np.abs(w))


def test_the_gradient_of_a_standardized_kernel_is_blind_to_shift_and_scale():
    """Sum over a feature's inputs, and along v, of a gradient of size 1."""
    draw = np.random.default_rng(0).normal(size=KERNEL.shape).astype(np.float32)
    f = jax.jit(jax.grad(lambda v: jnp.sum(draw * weights.weight_standardization(v))))
    grad = f(KERNEL)
    assert np.max(np.abs(np.sum(grad, AXES))) <= 144 * EPS32
    assert np.max(np.abs(np.sum(grad * KERNEL, AXES))) <= 144 * EPS32


# ---- spectral norm ----------------------------------------------------------------


def matrix(kernel):
    return np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])


def test_power_iteration_finds_the_largest_singular_value():
    """The first two are 1.05 apart at least: 300 steps leave 1.05^-600, below eps."""
    w, vectors = weights.spectral_norm(KERNEL, weights.singular(KERNEL), steps=300)
    u, sigmas, vt = np.linalg.svd(matrix(KERNEL), full_matrices=False)
    assert sigmas[1] / sigmas[0] < 0.95
    budget = 12 * EPS32  # sqrt(144) for the products of length 144
    assert np.max(np.abs(matrix(w) * sigmas[0] - matrix(KERNEL))) <= budget * 4
    assert abs(np.linalg.norm(matrix(w), 2) - 1) <= budget
    assert abs(abs(vectors.u @ vt[0]) - 1) <= budget
    assert abs(abs(vectors.v @ u[:, 0]) - 1) <= budget


def test_each_step_brings_the_singular_value_up():
    """From below: `w` is at first longer than 1 and never shorter."""
    vectors = weights.singular(KERNEL, steps=1)
    lengths = []
    for _ in range(5):
        w, vectors = weights.spectral_norm(KERNEL, vectors, steps=1)
        lengths.append(np.linalg.norm(matrix(w), 2))
    assert np.all(np.diff(lengths) < 0)
    assert lengths[-1] > 1 - 12 * EPS32


def test_without_a_step_nothing_moves():
    _, vectors = weights.spectral_norm(KERNEL, weights.singular(KERNEL), steps=1)
    trained = weights.spectral_norm(KERNEL, vectors, steps=0)
    again = weights.spectral_norm(KERNEL, trained[1], steps=0)
    assert np.array_equal(trained[0], again[0])
    assert all(np.array_equal(a, b) for a, b in zip(again[1], vectors))


def test_the_singular_vectors_are_constants_to_the_gradient():
    """`dW = (dw - <dw, w> v u^T) / sigma`: products of length 144 and 1,152."""
    vectors = weights.singular(KERNEL)
    dw = np.random.default_rng(0).normal(size=KERNEL.shape).astype(np.float32)
    f = lambda v: jnp.sum(dw * weights.spectral_norm(v, vectors, steps=1)[0])
    found = jax.jit(jax.grad(f))(KERNEL)
    w, (u, v) = weights.spectral_norm(KERNEL, vectors, steps=1)
    sigma = v @ matrix(KERNEL) @ np.asarray(u, np.float64)
    right = matrix(dw) - np.sum(matrix(dw) * matrix(w)) * np.outer(v, u)
    error = np.max(np.abs(matrix(found) - right / sigma))
    assert error <= 34 * EPS32 * np.max(np.abs(right / sigma))


def test_spectral_norm_is_that_of_torch():
    """Five steps in training, then evaluation, from torch's random vectors.

    Each side rounds products of length 144 by 12 eps, of vectors of length 1.
    """
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    linear = torch.nn.Linear(144, 8, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(matrix(KERNEL).T))
    theirs = torch.nn.utils.parametrizations.spectral_norm(linear)
    state = theirs.parametrizations.weight[0]
    as_array = lambda a: jnp.asarray(a.detach().numpy().copy())
    vectors = weights.Singular(as_array(state._u), as_array(state._v))
    kernel = KERNEL.reshape(144, 8)
    budget = 2 * 12 * EPS32
    for _ in range(5):
        w, vectors = weights.spectral_norm(kernel, vectors, steps=1)
        right = theirs.weight.detach().numpy().T
        assert np.max(np.abs(w - right)) <= budget * np.max(np.abs(right))
    theirs.eval()
    w, _ = weights.spectral_norm(kernel, vectors, steps=0)
    right = theirs.weight.detach().numpy().T
    assert np.max(np.abs(w - right)) <= budget * np.max(np.abs(right))
    assert np.max(np.abs(vectors.u - state._u.numpy())) <= budget


def test_spectral_norm_keeps_the_sign_of_the_pair_it_is_given():
    """As PyTorch, which divides by `v @ W @ u` whatever its sign.

    The sigma of a pair of length 1 rounds products of length 144 by 12 eps.
    """
    vectors = weights.singular(KERNEL)
    w, _ = weights.spectral_norm(-KERNEL, vectors, steps=0)
    u, v = (np.asarray(a, np.float64) for a in vectors)
    sigma = v @ -matrix(KERNEL) @ u
    assert sigma < -1
    right = -matrix(KERNEL) / sigma
    assert np.max(np.abs(matrix(w) - right)) <= 14 * EPS32 * np.max(np.abs(right))


def test_a_kernel_of_zeros_stays():
    zeros = jnp.zeros((4, 2))
    w, vectors = weights.spectral_norm(zeros, weights.singular(zeros), steps=1)
    assert np.all(w == 0)
    assert all(np.all(np.isfinite(a)) for a in vectors)


# ---- both, under transforms -------------------------------------------------------

BOTH = {
    "standardization": weights.weight_standardization,
    "spectral": lambda v: weights.spectral_norm(v, weights.singular(v), steps=1)[0],
}


@pytest.mark.parametrize("name", BOTH)
def test_kernel_norms_go_through_float32_jit_and_vmap(name):
    kernel = KERNEL.astype(jnp.bfloat16)
    w = BOTH[name](kernel)
    assert w.dtype == jnp.bfloat16
    assert np.array_equal(w, BOTH[name](kernel.astype(jnp.float32)).astype(w.dtype))
    lanes = jnp.stack([KERNEL, 3 * KERNEL + 1])
    one = jnp.stack([BOTH[name](v) for v in lanes])
    many = jax.jit(jax.vmap(BOTH[name]))(lanes)
    assert np.max(np.abs(many - one)) <= 24 * EPS32 * np.max(np.abs(one))


@pytest.mark.parametrize("name", ["weight", "standardization", "spectral"])
def test_gradient_and_hessian_of_kernel_norms(name):
    """In float64; of spectral norm with the singular vectors held still."""
    kernel = KERNEL[:2, :2]
    with jax.enable_x64(True):
        v = kernel.astype(jnp.float64)
        held = weights.spectral_norm(v, weights.singular(v), steps=1)[1]
        ops = {
            "weight": lambda v: weights.weight_norm(v, SCALE),
            "standardization": weights.weight_standardization,
            "spectral": lambda v: weights.spectral_norm(v, held, steps=0)[0],
        }
        assert max(slope_errors(ops[name], (kernel,))) < 1e-8


def test_a_feature_with_one_input_is_refused():
    with pytest.raises(InputError) as caught:
        weights.weight_standardization(jnp.ones((1, 4)))
    assert str(caught.value) == (
        "x.shape=(1, 4): each mean would be over 1 element; must be at least 2,"
        " or the output is the same for every x; give the layer more inputs."
    )
