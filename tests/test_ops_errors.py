"""Wrong shapes are refused by every op in one line: field, value, rule, remedy.

The ops are called without the type checker of the tests, as users call them.
"""

import inspect

import jax.numpy as jnp
import pytest

from normjax.errors import InputError
from normjax.ops import (
    batch_variants,
    moments,
    norm_activations,
    norms,
    online,
    pointwise,
    switchable,
    validate,
    weights,
)

X = jnp.ones((2, 3, 4))
V, SHORT = jnp.ones(4), jnp.ones(3)
RUNNING = moments.Running(V, V)
WRONG_MEAN, WRONG_VAR = moments.Running(SHORT, V), moments.Running(V, SHORT)
KERNEL, LOGITS = jnp.ones((3, 4)), jnp.zeros(3)
RENORM = {"r_max": 3.0, "d_max": 5.0}


def stateful(module, name, **settings):
    """`{name: call(x, running, scale, bias, train)}` of an op with running moments."""
    op = inspect.unwrap(getattr(module, name))
    by_hand = ", by hand" * ("backward" in settings)
    key = f"{module.__name__.rpartition('.')[2]}.{name}{by_hand}"

    def call(x=X, running=RUNNING, scale=V, bias=V, train=True):
        return op(x, running, scale, bias, train=train, **settings)

    return {key: call}


def mixed(x=X, running=RUNNING, scale=V, bias=V, train=True, logits=LOGITS):
    op = inspect.unwrap(switchable.switchable_norm)
    return op(x, running, logits, LOGITS, scale, bias, train=train)


STATEFUL = {
    **stateful(norms, "batch_norm"),
    **stateful(norms, "batch_norm", backward="analytic"),
    **stateful(batch_variants, "batch_renorm", **RENORM),
    **stateful(batch_variants, "ghost_batch_norm", ghost_size=2),
    **stateful(online, "online_norm"),
    "switchable.switchable_norm": mixed,
}


def vector(name, *, of="x", shape=(2, 3, 4)):
    return (
        f"{name}.shape=(3,): must be (4,), one entry per feature of {of}, whose shape"
        f" is {shape}; make it for this {of}."
    )


def refused(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", STATEFUL)
@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"running": WRONG_MEAN}, "running.mean"),
        ({"running": WRONG_VAR}, "running.var"),
        ({"scale": SHORT}, "scale"),
        ({"bias": SHORT}, "bias"),
    ],
)
def test_vectors_of_another_length_are_refused(name, wrong, field, train):
    refused(lambda: STATEFUL[name](**wrong, train=train), vector(field))


SCALAR = "x.shape=(): must end in an axis of features; pass x.reshape(1, 1)."
EMPTY = "x.shape=(0, 3, 4): must have at least 1 element; leave empty batches out."


def bare(module, name, *vectors, **settings):
    """`{name: call(x)}` of an op that remembers nothing, or is given what it does."""
    op = inspect.unwrap(getattr(module, name))
    by_hand = ", by hand" * ("backward" in settings)
    key = f"{module.__name__.rpartition('.')[2]}.{name}{by_hand}"
    return {key: lambda x: op(x, *vectors, **settings)}


ANY = {
    **STATEFUL,
    **bare(norms, "layer_norm"),
    **bare(norms, "rms_norm"),
    **bare(norms, "group_norm", num_groups=2),
    **bare(norms, "layer_norm", backward="analytic"),
    **bare(norms, "rms_norm", backward="analytic"),
    **bare(norms, "group_norm", num_groups=2, backward="analytic"),
    **bare(pointwise, "dynamic_tanh", 0.5, V, V),
    **bare(pointwise, "dynamic_erf", 0.5, 0.0, V, V),
    **bare(pointwise, "local_response_norm"),
    **bare(batch_variants, "power_norm", V, train=True),
    **bare(norm_activations, "filter_response_norm", V, V, V),
    **bare(norm_activations, "evonorm_s0", V, V, V, num_groups=2),
    **bare(norm_activations, "evonorm_b0", V, V, V, V, train=True),
}


@pytest.mark.parametrize(("x", "message"), [(jnp.ones(()), SCALAR), (X[:0], EMPTY)])
@pytest.mark.parametrize("name", ANY)
def test_what_has_no_feature_or_no_example_is_refused(name, x, message):
    refused(lambda: ANY[name](x), message)


frn = inspect.unwrap(norm_activations.filter_response_norm)
s0 = inspect.unwrap(norm_activations.evonorm_s0)
b0 = inspect.unwrap(norm_activations.evonorm_b0)
dyt, derf = map(inspect.unwrap, (pointwise.dynamic_tanh, pointwise.dynamic_erf))
power = inspect.unwrap(batch_variants.power_norm)
spectral = inspect.unwrap(weights.spectral_norm)
axis_tuple = inspect.unwrap(validate.axis_tuple)
mean_and_var = inspect.unwrap(moments.mean_and_var)
GROUPS = "num_groups=2.0: must be an integer; use num_groups=1."


def number(name):
    return (
        f"{name}.shape=(4,): must be (), one number for the whole layer; pass"
        f" {name}.mean()."
    )


MISTAKES = {
    "power running": (lambda: power(X, SHORT, train=True), vector("running")),
    "power scale": (lambda: power(X, V, SHORT, train=False), vector("scale")),
    "frn scale": (lambda: frn(X, SHORT, V, V), vector("scale")),
    "frn bias": (lambda: frn(X, V, SHORT, V), vector("bias")),
    "frn threshold": (lambda: frn(X, V, V, SHORT), vector("threshold")),
    "frn eps": (lambda: frn(X, V, V, V, eps=V), number("eps")),
    "s0 gate": (lambda: s0(X, SHORT, V, V, num_groups=2), vector("gate")),
    "s0 scale": (lambda: s0(X, V, SHORT, V, num_groups=2), vector("scale")),
    "s0 groups": (lambda: s0(X, V, V, V, num_groups=2.0), GROUPS),
    "b0 var": (lambda: b0(X, SHORT, V, V, V, train=True), vector("running_var")),
    "b0 gate": (lambda: b0(X, V, SHORT, V, V, train=True), vector("gate")),
    "b0 scale": (lambda: b0(X, V, V, SHORT, V, train=True), vector("scale")),
    "b0 bias": (lambda: b0(X, V, V, V, SHORT, train=True), vector("bias")),
    "dyt alpha": (lambda: dyt(X, V, V, V), number("alpha")),
    "dyt scale": (lambda: dyt(X, 0.5, SHORT, V), vector("scale")),
    "derf alpha": (lambda: derf(X, V, 0.0, V, V), number("alpha")),
    "derf shift": (lambda: derf(X, 0.5, V, V, V), number("shift")),
    "derf bias": (lambda: derf(X, 0.5, 0.0, V, SHORT), vector("bias")),
    "groups": (
        lambda: inspect.unwrap(norms.group_norm)(X, num_groups=2.0),
        GROUPS,
    ),
    "logits": (
        lambda: mixed(logits=jnp.zeros(())),
        "mean_logits.shape=(): must be (3,), one for each of instance, layer, batch;"
        " make them for activations of this shape.",
    ),
    "layer by hand": (
        lambda: inspect.unwrap(norms.layer_norm)(X, SHORT, backward="analytic"),
        vector("scale"),
    ),
    "weight by hand": (
        lambda: inspect.unwrap(weights.weight_norm)(KERNEL, SHORT, backward="analytic"),
        vector("scale", of="kernel", shape=(3, 4)),
    ),
    "spectral u": (
        lambda: spectral(KERNEL, weights.Singular(SHORT, SHORT), steps=0),
        "vectors.u.shape=(3,): must be (4,) for a kernel of shape (3, 4); start from"
        " singular(kernel).",
    ),
    "spectral v": (
        lambda: spectral(KERNEL, weights.Singular(V, V), steps=1),
        "vectors.v.shape=(4,): must be (3,) for a kernel of shape (3, 4); start from"
        " singular(kernel).",
    ),
    "axes twice": (
        lambda: axis_tuple(X, (0, -3)),
        "axes=(0, -3): must name each of the 3 axes of x at most once; leave out the"
        " second one.",
    ),
    "axes of halves": (
        lambda: axis_tuple(X, (0, 0.5)),
        "axes=(0, 0.5): must be integers; use -1 for the last.",
    ),
    "where": (
        lambda: mean_and_var(X, 0, where=jnp.ones((2, 1, 3), bool)),
        "where.shape=(2, 1, 3): must broadcast to the shape of x, (2, 3, 4); give it"
        " as many axes, of size 1 where all elements are alike.",
    ),
    "where with more axes": (
        lambda: mean_and_var(X, 0, where=jnp.ones((1, 2, 3, 4), bool)),
        "where.shape=(1, 2, 3, 4): must broadcast to the shape of x, (2, 3, 4); give it"
        " as many axes, of size 1 where all elements are alike.",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named_in_one_line(name):
    refused(*MISTAKES[name])
