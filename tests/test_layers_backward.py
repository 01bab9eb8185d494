"""Layers with `backward="analytic"` beside the same layers with autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from normjax import layers
from normjax.errors import InputError

EPS32 = float(np.finfo(np.float32).eps)
DRAWS = np.random.default_rng(0)
X, DY = (jnp.asarray(DRAWS.normal(size=(6, 4, 8)), "float32") for _ in range(2))

MODULES = {
    "batch": layers.BatchNorm,
    "layer": layers.LayerNorm,
    "rms": layers.RMSNorm,
    "group": layers.GroupNorm,
    "instance": layers.InstanceNorm,
    "weight norm": layers.WeightNorm,
    "weight standardization": layers.WeightStandardization,
}


def gradients(layer, variables):
    """Outputs and, of `sum(dy * y)`, the gradients of parameters and input."""
    params = variables.get("params", {})
    rest = {name: a for name, a in variables.items() if name != "params"}

    def total(params, x):
        y, new = layer.apply({"params": params, **rest}, x, train=True, mutable=True)
        return jnp.sum(DY * y), (y, new)

    return jax.grad(total, argnums=(0, 1), has_aux=True)(params, X)


@pytest.mark.parametrize("name", MODULES)
def test_the_backward_by_hand_is_the_one_that_runs(name):
    """The traced program of the layer holds a custom VJP, or none."""

    def program(backward):
        run = lambda key: MODULES[name](backward=backward).init(key, X, train=True)
        variables = jax.eval_shape(run, jax.random.key(0))
        y = lambda v: MODULES[name](backward=backward).apply(
            v, X, train=True, mutable=list(v)
        )
        return str(jax.make_jaxpr(y)(variables))

    assert "custom_vjp_call" in program("analytic")
    assert "custom_vjp_call" not in program("autodiff")


@pytest.mark.parametrize("name", MODULES)
def test_the_backward_by_hand_changes_roundings_only(name):
    """Of gradients, outputs and statistics; up to 24 terms each, of at most 4 times
    their sum: see the ops' tests.
    """
    module = MODULES[name]
    variables = jax.eval_shape(lambda: module().init(jax.random.key(0), X, train=True))
    fill = lambda a: jnp.asarray(DRAWS.uniform(0.5, 1.5, a.shape), a.dtype)
    variables = jax.tree.map(fill, variables)
    both = jax.jit(
        lambda variables: [
            gradients(module(backward=backward), variables)
            for backward in ("analytic", "autodiff")
        ]
    )
    ours, peer = both(variables)
    assert jax.tree.structure(ours) == jax.tree.structure(peer)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(peer)):
        error = np.max(np.abs(a - b)) / np.max(np.abs(b))
        assert error <= 2 * 4 * (np.sqrt(24) + 8) * EPS32


def test_an_unknown_backward_is_named():
    with pytest.raises(InputError) as caught:
        layers.LayerNorm(backward="analytical").init(jax.random.key(0), X)
    assert str(caught.value) == (
        "backward='analytical': must be one of analytic, autodiff; did you mean"
        " 'analytic'?"
    )


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"single": "running"}, "axis_name=None, single='running'"),
        ({"axis_name": "batch"}, "axis_name='batch', single='error'"),
    ],
)
def test_what_has_no_backward_by_hand_is_refused(settings, found):
    layer = layers.BatchNorm(backward="analytic", **settings)
    variables = {
        "params": {"scale": jnp.ones(8), "bias": jnp.zeros(8)},
        "batch_stats": {"mean": jnp.zeros(8), "var": jnp.ones(8)},
    }
    with pytest.raises(InputError) as caught:
        layer.apply(variables, X, train=True, mutable=True)
    assert str(caught.value) == (
        f"{found}: must be None and 'error' or 'allow' where backward='analytic';"
        " set backward='autodiff'."
    )
