"""Central differences against known slopes; the source's gradient check; mutants."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from normjax.checks import differences, gradient_check, network
from normjax.errors import InputError
from normjax.ops import backward, moments, norms

EPS64 = float(np.finfo(np.float64).eps)


# ---- differences ------------------------------------------------------------------


def test_relative_error_is_that_of_the_source():
    a, b = np.array([1.0, 0.0, -2e-9]), np.array([1.0, 0.0, 2e-9])
    assert differences.relative_error(a[:2], b[:2]) == 0
    assert np.isclose(differences.relative_error(a, b), 0.4)
    assert differences.relative_error(np.ones(1), -np.ones(1)) == 1
    assert np.isclose(differences.relative_error(a, b, floor=1e-3), 4e-6)


def test_differences_of_known_slopes():
    """A polynomial, waves, and a pole 0.02 away, less than the first step: a single
    step of eps^(1/3) leaves 1e-8 there. Each within 1e-11 of its slope.
    """

    def f(args):
        pole = 1 / (args["near"] + 0.02)
        return args["x"] ** 3, jnp.sin(args["x"]), pole

    with jax.enable_x64(True):
        x, near = jnp.asarray([0.3, -1.2]), jnp.zeros(())
        dy = (jnp.asarray([2.0, 1.0]), jnp.ones(2), jnp.ones(()))
        (found,) = differences.central(f, ({"x": x, "near": near},), dy)
        expected = 3 * dy[0] * x**2 + jnp.cos(x)
        assert np.max(np.abs(found["x"] - expected)) <= 1e-11
        assert abs(float(found["near"]) * 0.02**2 + 1) <= 1e-11


def test_directions_find_what_elements_find():
    """Right 2e-12. Blind to the mean or to the variance: 0.2 and 0.5."""

    def blind(x, name):
        m = moments.over(x, -1)
        m = m._replace(**{name: jax.lax.stop_gradient(getattr(m, name))})
        return norms.standardize(x, m.mean, m.var, eps=1e-5)

    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 16)))
        error = lambda f: differences.gradient_error(f, (x,), np.random.default_rng(1))
        assert error(norms.layer_norm) <= 1e-10
        for name in ("mean", "var"):
            assert error(functools.partial(blind, name=name)) > 1e-2


def test_float32_is_refused():
    with pytest.raises(InputError) as caught:
        differences.central(jnp.sin, (jnp.ones(2),), jnp.ones(2))
    assert str(caught.value) == (
        "args.dtype=float32: must be float64, or rounding hides errors below 1e-3;"
        " pass float64 arrays under jax.enable_x64(True)."
    )


# ---- the source's check -----------------------------------------------------------


def broken(rows):
    """Names and kinds of the rows over their budget."""
    return {(row.name, row.kind) for row in rows if not row.ok}


def test_every_row_is_in_its_budget():
    """The network's worst: 4e-9 by differences, 8e-12 by complex steps; the source's
    was 2e-3. Both penalties, 18 rows each; 6 of the forward, 3 of the backward.
    """
    rows = gradient_check.rows()
    assert not broken(rows)
    assert len(rows) == 6 + 3 + 2 * 18
    assert len({(row.name, row.kind) for row in rows}) == len(rows)
    strict = [row.error for row in rows if row.kind == "complex step"]
    assert max(strict) <= 1e-10


def test_the_initial_losses_are_those_expected_of_the_kernels():
    """Of log(10) up to the logits' 0.05 * sqrt(15) = 0.2, as 2.343; and 1.57 times
    1,200 squares of 0.05 +- 4%, as 6.955 - 2.343 = 4.61.
    """
    with jax.enable_x64(True):
        layers, *batch = gradient_check.problem(3.14)[:3]
        terms = jax.jit(lambda layers: network.loss_terms(layers, *batch, 3.14))
        cross_entropies, penalties = terms(layers)
        assert abs(float(jnp.sum(cross_entropies))) <= 0.5
        penalty = float(sum(jnp.sum(a) for a in penalties))
        assert abs(penalty / (1.57 * 1200 * 0.05**2) - 1) <= 0.1


def unscaled_past(past, now, *, decay):
    """The batch is added whole: the average is 1 / (1 - decay) times too large."""
    add = lambda a, b: decay * a + b.reshape(a.shape)
    return moments.Running(add(past.mean, now.mean), add(past.var, now.var))


def wrong_norm(x, running, scale=None, bias=None, *, fault, train, eps, decay=0.9):
    """Batch norm with one fault."""
    now = moments.over(x, 0)
    if fault == "variance over n - 1":
        now = now._replace(var=now.var * len(x) / (len(x) - 1))
    if fault == "no variance":
        now = now._replace(var=jnp.ones_like(now.var))
    if not train:
        return norms.evaluate(x, running, scale, bias, eps=eps), running
    if fault == "bias before scale" and bias is not None:
        bias = bias * scale
    y = norms.standardize(x, now.mean, now.var, scale, bias, eps=eps)
    blend = unscaled_past if fault == "past unscaled" else moments.blend
    return y, blend(running, now, decay=decay)


@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        ("past unscaled", {"means", "stds"}),
        ("variance over n - 1", {"stds"}),
        ("no variance", {"stds", "means"}),
        ("bias before scale", {"means"}),
    ],
)
def test_a_wrong_forward_is_over_budget(fault, kinds):
    """Among them running averages that grow, as those of the source did."""
    with jax.enable_x64(True):
        wrong = functools.partial(wrong_norm, fault=fault)
        over = broken(gradient_check.forward_rows(wrong))
        assert {kind for _, kind in over} == kinds
        right = functools.partial(wrong_norm, fault=None)
        assert not broken(gradient_check.forward_rows(right))


def wrong_vjp(missing):
    """Batch norm in training with a backward that misses one term."""

    @jax.custom_vjp
    def norm(x, scale, bias):
        return forward(x, scale, bias)[0]

    def forward(x, scale, bias):
        m = moments.over(x, 0)
        y = norms.standardize(x, m.mean, m.var, scale, bias, eps=network.EPS)
        inverse = jax.lax.rsqrt(m.var + network.EPS)
        return y, backward.Residuals(x, m.mean, inverse, scale)

    def pull(kept, dy):
        found = backward.batch_norm(dy, kept)
        factor, n = kept.inverse * kept.scale[None], len(dy)
        z = (kept.x - kept.mean) * kept.inverse
        terms = {
            "mean": factor * found.bias[None] / n,
            "variance": factor * z * found.scale[None] / n,
        }
        return found.x + terms[missing], found.scale, found.bias

    norm.defvjp(forward, pull)
    return lambda x, running, *vectors, **_: (norm(x, *vectors), running)


@pytest.mark.parametrize("missing", ["mean", "variance"])
def test_a_wrong_backward_is_over_budget(missing):
    with jax.enable_x64(True):
        over = broken(gradient_check.backward_rows(wrong_vjp(missing)))
        assert over == {("batch norm, x", "by hand, differences")}


def test_a_gradient_without_penalty_is_over_budget():
    """In every kernel, and nowhere else."""
    wrong = lambda *args: network.gradient_by_hand(*args[:3], 0.0)
    with jax.enable_x64(True):
        over = broken(gradient_check.network_rows(3.14, wrong))
    assert {name.split(", ")[-1] for name, _ in over} == {"kernel"}
    assert len(over) == 2 * 3


def test_a_backward_that_takes_moments_for_constants_is_over_budget(monkeypatch):
    """In all that lies before a batch norm; the biases' zeros among them."""
    monkeypatch.setattr(backward, "batch_norm", backward.batch_norm_evaluation)
    with jax.enable_x64(True):
        over = broken(gradient_check.network_rows(0.0))
    names = {name.removeprefix("network, l2 0, ") for name, _ in over}
    before = {"layer 1, kernel", "layer 1, bias", "layer 2, kernel", "layer 2, bias"}
    assert names == before | {"layer 1, norm_scale", "layer 1, norm_bias"}
