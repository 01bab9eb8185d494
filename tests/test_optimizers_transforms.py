"""The third-moment transformation against float64, its cube root, and the wrappers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from _numerics import UNIT32

from normjax.errors import InputError
from normjax.optimizers import transforms

STEPS = 50


def every_exponent(mantissas: int) -> np.ndarray:
    """Evenly spaced mantissas and both ends, in each binade of the normal float32."""
    ends = np.array([1, 1 + 2 * UNIT32, 2 - 4 * UNIT32, 2 - 2 * UNIT32])
    mantissa = np.concatenate([ends, 1 + np.arange(mantissas) / mantissas])
    exponents = np.arange(-126, 128).reshape(-1, 1)
    return np.ldexp(mantissa.reshape(1, -1), exponents).astype(np.float32).ravel()


def one_signed_gradients(*, low: float, high: float) -> np.ndarray:
    """`[STEPS, 24]`: magnitudes from `low` to `high`, each coordinate of one sign."""
    draw = np.random.default_rng(0).uniform(0.5, 1.5, (STEPS, 24))
    sign = np.where(np.arange(24) % 2, -1.0, 1.0)
    return (draw * (sign * np.geomspace(low, high, 24))[None]).astype(np.float32)


def run(tx, gradients, params=None):
    """All updates of `tx`, `[STEPS, coordinates]`, and the last state."""
    params = jnp.zeros_like(gradients[0]) if params is None else params

    def step(state, g):
        updates, state = tx.update(g, state, params)
        return state, updates

    state, updates = jax.jit(lambda g: jax.lax.scan(step, tx.init(params), g))(
        jnp.asarray(gradients)
    )
    return updates, state


def assert_same_averages(ours, reference):
    """Same types, and values of two programs with (2t + 8) roundings each."""
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(reference), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2 * (2 * STEPS + 8) * UNIT32)


def test_cube_root_is_within_its_bound_over_all_normal_numbers():
    """The bound, 2.4 roundings, is derived in the docstring of `cube_root`.

    Catches a first step without its cubic term (2e-8 from the series alone) or a
    missing correction (1e-5), a constant off by one part in twenty, and powers that
    overflow or underflow at the ends of the range.
    """
    x = every_exponent(mantissas=2048)
    x = np.concatenate([x, -x])
    error = np.asarray(jax.jit(transforms.cube_root)(x), np.float64) / np.cbrt(
        x.astype(np.float64)
    )
    assert np.max(np.abs(error - 1)) <= 2.4 * UNIT32


def test_cube_root_of_what_is_not_a_normal_number():
    """Zeros keep their sign, inf and nan pass, a subnormal stays below its root."""
    x = jnp.array([0.0, -0.0, jnp.inf, -jnp.inf, jnp.nan, 1e-40, -1e-40])
    y = np.asarray(transforms.cube_root(x))
    np.testing.assert_array_equal(y[:5], np.asarray(x[:5]))
    np.testing.assert_array_equal(np.signbit(y[:4]), [False, True, False, True])
    assert 0 <= y[5] <= 4.7e-14
    assert -4.7e-14 <= y[6] <= 0


def test_cube_root_has_its_derivative_and_keeps_other_types():
    """`1 / (3 cbrt(x)^2)`: the bits of the guess would otherwise count as constant."""
    slope = jax.vmap(jax.grad(transforms.cube_root))(jnp.array([8.0, -27.0]))
    np.testing.assert_allclose(slope, [1 / 12, 1 / 27], rtol=8 * UNIT32)
    half = transforms.cube_root(jnp.array([8.0, -27.0], jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(half, np.float32), [2, -3])


def test_constant_gradient_gives_the_same_update_at_every_step():
    """Corrected averages of a constant are its powers: g / (|g| + eps g + eps).

    After t steps the averages carry 2t + 2 roundings (as above) and the
    correction 6; the decays' own rounding cancels. With `1 - decay**t` in float32
    the cube is 7e-4 off at t = 2, over a hundred times the budget.
    """
    g = np.tile(np.float32([0.3, -0.7, 5.0]), (STEPS, 1))
    ours, _ = run(transforms.scale_by_third_moment(eps=1.0), g)
    wide = g.astype(np.float64)
    below = np.abs(wide) + wide + 1
    t = np.arange(1, STEPS + 1).reshape(-1, 1)
    condition = 1 + (np.abs(wide) / 2 + np.abs(wide) / 3) / below
    budget = (2 * t + 8) * condition + 4 * (2 * np.abs(wide) + 1) / below + 2
    assert np.all(np.abs(ours * below / wide - 1) <= budget * UNIT32)


def test_moments_are_float32_and_updates_have_the_type_of_the_gradients():
    """A run on bfloat16 gradients is the float32 run, rounded at the end only.

    Two programs, each with (2t + 8) roundings in an average and one to bfloat16,
    2^-8, in an update. Averages in bfloat16 would stand still at decay 0.999.
    """
    g = jnp.asarray(one_signed_gradients(low=1e-3, high=1.0), jnp.bfloat16)
    tx = transforms.scale_by_third_moment()
    narrow, state = run(tx, g)
    wide, reference = run(tx, g.astype(jnp.float32))
    assert narrow.dtype == jnp.bfloat16
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state)} == {"float32", "int32"}
    rounding = 2.0**-8 + 4 * (2 * STEPS + 8) * UNIT32
    np.testing.assert_allclose(narrow.astype(jnp.float32), wide, rtol=rounding)
    assert_same_averages(state, reference)


def first_report(tx, g, eps):
    return transforms.third_moment_probe(tx.update(g, tx.init(g), g)[1], eps=eps)


def test_probe_counts_the_coordinates_that_differ_from_adam():
    """At eps 1/16 the cubic term of a gradient of 1 shows, that of 1e-30 does not.

    A zero gradient has the smallest denominator, eps to the bit. At eps 2 a
    gradient of -8 makes the denominator 8 + 2 - 16: the sign is kept.
    """
    g = {"kernel": jnp.array([[1.0, 0.0, -1.0, 1e-30]]), "bias": jnp.array([0.0])}
    tx = optax.chain(transforms.scale_by_third_moment(eps=1 / 16), optax.scale(-1.0))
    report = jax.jit(lambda g: first_report(tx, g, 1 / 16))(g)
    assert report["adam_difference_share"] == jnp.float32(2 / 5)
    assert report["smallest_denominator"] == 1 / 16
    uphill = transforms.scale_by_third_moment(eps=2.0)
    report = jax.jit(lambda g: first_report(uphill, g, 2.0))(jnp.array([-8.0]))
    smallest = report["smallest_denominator"]
    np.testing.assert_allclose(smallest, 8 + 2 - 16, rtol=16 * UNIT32)


def test_probe_finds_no_difference_at_the_default_eps():
    """Dense gradients keep the cubic term below half an ulp: share exactly 0.

    So it is before the first step, where the smallest denominator is eps.
    """
    g = np.random.default_rng(1).normal(size=(STEPS, 3, 200)).astype(np.float32)
    tx = transforms.scale_by_third_moment()
    _, states = jax.vmap(lambda g: run(tx, g), in_axes=1)(jnp.asarray(g))
    report = jax.jit(jax.vmap(transforms.third_moment_probe))(states)
    np.testing.assert_array_equal(report["adam_difference_share"], np.zeros(3))
    first = transforms.third_moment_probe(tx.init(jnp.zeros(2)))
    assert first["adam_difference_share"] == 0
    assert first["smallest_denominator"] == jnp.float32(1e-8)


def test_probe_reports_nan_without_third_moments():
    report = transforms.third_moment_probe(optax.adam(1e-3).init(jnp.zeros(2)))
    assert all(np.isnan(value) for value in report.values())
    assert set(report) == {"adam_difference_share", "smallest_denominator"}


def test_probe_reports_nan_without_coordinates():
    """A tree without parameters, and one whose only leaf is empty."""
    tx = transforms.scale_by_third_moment()
    for params in ({}, {"bias": jnp.zeros(0)}):
        report = transforms.third_moment_probe(tx.init(params))
        assert set(report) == {"adam_difference_share", "smallest_denominator"}
        assert all(np.isnan(value) for value in report.values())


def test_the_state_holds_no_hyperparameters():
    state = transforms.scale_by_third_moment(eps=0.25).init(jnp.zeros(2))
    assert state._fields == ("count", "mu", "nu", "third")


def test_complex_gradients_are_refused_and_the_remedy_works():
    """Split into parts, each part is a real coordinate of its own."""
    tx, g = transforms.scale_by_third_moment(eps=0.5), jnp.array([1.0 - 4.0j])
    for call in (lambda: tx.init(g), lambda: tx.update(g, tx.init(g.real))):
        with pytest.raises(InputError) as error:
            call()
        assert str(error.value) == (
            "updates: must be real numbers; wrap the optimizer in"
            " optax.contrib.split_real_and_imaginary."
        )
    parts = optax.contrib.split_real_and_imaginary(tx)
    split, _ = parts.update(g, parts.init(g))
    real, imaginary = (tx.update(x, tx.init(x))[0] for x in (g.real, g.imag))
    np.testing.assert_array_equal(split, real + 1j * imaginary)


def test_widen_passes_extra_arguments_on():
    """Polyak's step needs the value of the loss, here 3, for a gradient of norm 2:
    3 / 2^2 * 2; an optimizer that needs none ignores it.
    """
    for inner, step in ((optax.polyak_sgd(10.0), -1.5), (optax.sgd(0.25), -0.5)):
        tx, params = transforms.upcast(inner), jnp.zeros(1)
        g = jnp.array([2.0])
        updates, _ = tx.update(g, tx.init(params), params, value=jnp.float32(3.0))
        np.testing.assert_allclose(updates, [step], rtol=8 * UNIT32)


def test_widen_averages_bfloat16_gradients_in_float32():
    """The run on the same gradients in float32; optax alone keeps nu in bfloat16."""
    g = jnp.asarray(one_signed_gradients(low=1e-3, high=1.0), jnp.bfloat16)
    narrow, state = run(transforms.upcast(optax.scale_by_adam()), g)
    wide, reference = run(optax.scale_by_adam(), g.astype(jnp.float32))
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, wide, rtol=4 * (2 * STEPS + 8) * UNIT32)
    assert_same_averages(state, reference)
