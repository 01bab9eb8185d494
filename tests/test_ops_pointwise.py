"""DyT, Derf and local response norm: against torch, limits, gradients, mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _numerics import EPS32, slope_errors

from normjax.errors import InputError
from normjax.ops import pointwise

SHAPE = (6, 3, 3, 12)
X = jnp.asarray(np.random.default_rng(0).normal(size=SHAPE) * 2, jnp.float32)
SCALE = jnp.asarray(np.linspace(0.5, 1.5, 12), jnp.float32)
BIAS = jnp.asarray(np.linspace(-1.0, 1.0, 12), jnp.float32)
LARGE = {"size": 5, "alpha": 0.3, "beta": 0.75, "k": 2.0}  # the sum weighs as k does

# All are called as (x, alpha, shift, scale, bias), with what they have of it.
OPS = {
    "dynamic_tanh": lambda x, alpha, shift, *vectors: pointwise.dynamic_tanh(
        x, alpha, *vectors
    ),
    "dynamic_erf": pointwise.dynamic_erf,
    "local_response": lambda x, *params: pointwise.local_response_norm(x, **LARGE),
}
PARAMS = (jnp.float32(0.5), jnp.float32(0.25), SCALE, BIAS)


@pytest.mark.parametrize("size", [1, 3, 5, 25])
def test_local_response_norm_is_that_of_torch_at_alpha_over_size(size):
    """Of 9 roundings here and there each; size 25 reaches beyond all 12 channels."""
    torch = pytest.importorskip("torch")
    settings = {"beta": 0.75, "k": 2.0}
    y = pointwise.local_response_norm(X, size=size, alpha=0.3 / size, **settings)
    first = torch.from_numpy(np.moveaxis(np.asarray(X), -1, 1).copy())
    z = torch.nn.functional.local_response_norm(first, size, alpha=0.3, **settings)
    z = np.moveaxis(z.numpy(), 1, -1)
    assert np.max(np.abs(y - z)) <= 18 * EPS32 * np.max(np.abs(z))


def test_local_response_norm_of_one_channel_is_written_by_hand():
    x = jnp.asarray([[3.0], [-1.0]])
    y = pointwise.local_response_norm(x, size=1, alpha=1.0, beta=0.5, k=7.0)
    assert np.max(np.abs(y - jnp.asarray([[0.75], [-(8**-0.5)]]))) <= 2 * EPS32


@pytest.mark.parametrize("name", ["dynamic_tanh", "dynamic_erf"])
def test_saturation_bounds_the_output(name):
    """At |x| = 10^30, which no norm but by its eps would mind, y is bias +- scale."""
    y = jax.jit(OPS[name])(1e30 * X, *PARAMS)
    right = np.sign(X) * np.asarray(SCALE) + np.asarray(BIAS)
    assert np.max(np.abs(y - right)) <= 2 * EPS32


@pytest.mark.parametrize("name", OPS)
def test_bfloat16_goes_through_float32(name):
    x = X.astype(jnp.bfloat16)
    y = jax.jit(OPS[name])(x, *PARAMS)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    wide = jax.jit(OPS[name])(x.astype(jnp.float32), *PARAMS)
    assert np.array_equal(y, wide.astype(jnp.bfloat16))


@pytest.mark.parametrize("name", OPS)
def test_gradient_and_hessian_against_central_differences(name):
    """In float64, along one direction in all arguments. Measured: at most 2e-12."""
    with jax.enable_x64(True):
        assert max(slope_errors(OPS[name], (X[:2], *PARAMS))) < 1e-8


@pytest.mark.parametrize("size", [0, 4, -3])
def test_a_window_must_have_a_middle(size):
    with pytest.raises(InputError) as caught:
        pointwise.local_response_norm(X, size=size)
    assert str(caught.value) == (
        f"size={size}: must be a positive odd number, for as many channels on either"
        " side; use size=5."
    )


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_an_integer_input_is_refused(op):
    with pytest.raises(InputError) as caught:
        op(jnp.ones(SHAPE, jnp.int32), *PARAMS)
    assert str(caught.value) == (
        "x.dtype='int32': must be a floating type; call x.astype(\"float32\") first."
    )
