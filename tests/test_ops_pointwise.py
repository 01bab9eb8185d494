"""DyT, Derf and local response norm: against float64 and torch, gradients, mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from normjax.checks import differences
from normjax.errors import InputError
from normjax.ops import pointwise

EPS32 = float(np.finfo(np.float32).eps)
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


def neighbours(x, size, pad=0.0):
    """Sum of the squares of `size` channels around each, in float64."""
    reach = size // 2
    ends = [(0, 0)] * 3 + [(reach, reach)]
    square = np.pad(x * x, ends, constant_values=pad)
    return sum(square[..., i : i + 12] for i in range(size))


FORMULAS = {
    "dynamic_tanh": lambda x, alpha, shift, scale, bias: (
        np.tanh(alpha * x) * scale + bias
    ),
    "dynamic_erf": lambda x, alpha, shift, scale, bias: (
        special.erf(alpha * x + shift) * scale + bias
    ),
    "local_response": lambda x, *params: x / (2 + 0.3 * neighbours(x, 5)) ** 0.75,
}


def in_budgets(y, name):
    exact = FORMULAS[name](*(np.asarray(a, np.float64) for a in (X, *PARAMS)))
    budget = 12 * EPS32 * (np.max(np.abs(exact)) + 1)
    return np.max(np.abs(np.asarray(y, np.float64) - exact)) / budget


@pytest.mark.parametrize("name", OPS)
def test_op_stays_within_its_rounding_budget(name):
    """Budget: product and sum in the argument are 2 eps of at most 4.2, where the slope
    of tanh or erf times the argument is below 0.5; 4 eps are for the function, 2 for
    scale and bias. The sum of 5 squares errs by 5 eps, times 0.75, and the power by 4.
    Measured, CPU: at most 0.05 of it.
    """
    assert in_budgets(jax.jit(OPS[name])(X, *PARAMS), name) <= 1


WRONG = {
    "dynamic_tanh": {
        "alpha outside": lambda x, a, s, scale, bias: a * np.tanh(x) * scale + bias,
        "a shift": lambda x, a, s, scale, bias: np.tanh(a * x + s) * scale + bias,
    },
    "dynamic_erf": {
        "no shift": lambda x, a, s, scale, bias: special.erf(a * x) * scale + bias,
        "the normal distribution": lambda x, a, s, scale, bias: (
            (2 * special.ndtr(a * x + s) - 1) * scale + bias
        ),
        "alpha of the shift": lambda x, a, s, scale, bias: (
            special.erf(a * (x + s)) * scale + bias
        ),
    },
    "local_response": {
        "alpha over size": lambda x, *_: x / (2 + 0.06 * neighbours(x, 5)) ** 0.75,
        "a wider window": lambda x, *_: x / (2 + 0.3 * neighbours(x, 7)) ** 0.75,
        "ones beyond the ends": lambda x, *_: (
            x / (2 + 0.3 * neighbours(x, 5, pad=1.0)) ** 0.75
        ),
        "a square root": lambda x, *_: x / (2 + 0.3 * neighbours(x, 5)) ** 0.5,
    },
}


@pytest.mark.parametrize(
    ("name", "wrong"), [(name, wrong) for name in WRONG for wrong in WRONG[name]]
)
def test_the_budget_catches_a_wrong_formula(name, wrong):
    y = WRONG[name][wrong](*(np.asarray(a, np.float64) for a in (X, *PARAMS)))
    assert in_budgets(y, name) > 1000


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
        args = [jnp.asarray(np.asarray(a, np.float64)) for a in (X[:2], *PARAMS)]
        v = [jnp.cos(jnp.arange(a.size)).reshape(a.shape) for a in args]
        weight = jnp.sin(jnp.arange(args[0].size)).reshape(args[0].shape)

        def loss(t):
            return jnp.sum(weight * OPS[name](*(a + t * b for a, b in zip(args, v))))

        def product(t):  # <v, grad>, by reverse mode
            moved = [a + t * b for a, b in zip(args, v)]
            total = lambda args: jnp.sum(weight * OPS[name](*args))
            grads = jax.grad(total)(moved)
            return sum(jnp.vdot(a, b) for a, b in zip(grads, v))

        zero, one = jnp.zeros(()), jnp.ones(())
        found = jax.jit(lambda: jax.jvp(product, (zero,), (one,)))()
        for f, value in zip((loss, product), found):
            (numeric,) = differences.central(f, (zero,), one)
            assert abs(float(value / numeric) - 1) < 1e-8


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
        'x.dtype=int32: must be a floating type; call x.astype("float32") first.'
    )
