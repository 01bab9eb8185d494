"""Weight norm: against float64, invariances, its gradient, a kernel of zeros."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from normjax.errors import InputError
from normjax.ops import weights

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
        "x.dtype='int32': must be a floating type; call x.astype(\"float32\") first."
    )


# ---- weight standardization -------------------------------------------------------


def standardized(v, *, ddof=0, root=np.sqrt, axes=AXES):
    """The formula in float64, with eps = 1e-2; the keywords make it wrong."""
    v = np.asarray(v, np.float64)
    centered = v - v.mean(axes, keepdims=True)
    return centered / root(v.var(axes, ddof=ddof, keepdims=True) + 1e-2)


def standardization_budgets(w):
    """Largest error of `w` over what rounding may do.

    Budget, in eps of the largest entry: half of sqrt(144) + 3 for the variance, 2 for
    the mean, which is small, and 4 for difference, root and product.
    """
    exact = standardized(KERNEL)
    error = np.max(np.abs(np.asarray(w, np.float64) - exact))
    return error / (14 * EPS32 * np.max(np.abs(exact)))


def test_weight_standardization_stays_within_its_rounding_budget():
    """Measured, CPU: 0.1 of it."""
    w = weights.weight_standardization(KERNEL, eps=1e-2)
    assert standardization_budgets(w) <= 1


@pytest.mark.parametrize(
    "wrong",
    [{"ddof": 1}, {"root": lambda a: np.sqrt(a - 1e-2) + 1e-2}, {"axes": (0, 1)}],
)
def test_the_budget_catches_a_wrong_standardization(wrong):
    assert standardization_budgets(standardized(KERNEL, **wrong)) > 1_000


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


@pytest.mark.parametrize("name", BOTH)
def test_gradient_and_hessian_of_kernel_norms(name):
    """In float64, against central differences with the singular vectors held still:
    a step of 6e-6 leaves 4e-11 of truncation and as much of rounding.
    """
    with jax.enable_x64(True):
        random = np.random.default_rng(1)
        draw, along = (jnp.asarray(a) for a in random.normal(size=(2, *KERNEL.shape)))
        v, h = KERNEL.astype(jnp.float64), 6e-6
        held = weights.spectral_norm(v, weights.singular(v), steps=1)[1]
        op = weights.weight_standardization
        if name == "spectral":
            op = lambda v: weights.spectral_norm(v, held, steps=0)[0]
        f = jax.jit(jax.value_and_grad(lambda v: jnp.sum(draw * jnp.sin(op(v)))))
        (ahead, grad_ahead), (behind, grad_behind) = f(v + h * along), f(v - h * along)
        (_, grad), (_, product) = jax.jit(lambda v: jax.jvp(f, (v,), (along,)))(v)
        length = jnp.linalg.norm
        slope = jnp.abs(jnp.vdot(grad, along) - (ahead - behind) / (2 * h))
        bent = (grad_ahead - grad_behind) / (2 * h)
        assert float(slope / (length(grad) * length(along))) < 1e-8
        assert float(length(product - bent) / length(bent)) < 1e-8


def test_a_feature_with_one_input_is_refused():
    with pytest.raises(InputError) as caught:
        weights.weight_standardization(jnp.ones((1, 4)))
    assert str(caught.value) == (
        "x.shape=(1, 4): each mean would be over 1 element; must be at least 2,"
        " or the output is the same for every x; give the layer more inputs."
    )
