"""The norms beside those of flax.linen, for each argument that both take.

Parameters, outputs and running statistics are equal on the same inputs, for eps, decay
and train under their names there. flax puts the normalized input where a mask is false
and normjax 0, so outputs are compared where it is true.

Of the 34 cases of normalization in flax's own `linen_test.py`, with our classes in the
place of theirs and those three names translated, 25 pass. The others:

- 2 of batch norm expect that `init_with_output` normalizes by the batch. Initializing
  evaluates here, so that a single example will do.
- 2 of batch norm are of complex numbers, which are refused by name.
- 4 of instance norm expect the text of flax's error for axes that include the first;
  the error here is an InputError, a ValueError too, in the words of normjax.
- 1 of instance norm reduces over no axis, so that each mean is of one element and every
  output the bias: that is refused.

Not taken, for they have nothing to choose: `use_fast_variance` and
`force_float32_reductions` (variances are always of two passes in float32 or wider), and
`axis_index_groups` (name the axes of a mesh of two dimensions by `axis_name`).
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from normjax import layers
from normjax.errors import InputError

EPS32 = float(np.finfo(np.float32).eps)
KEY = jax.random.key(0)
DRAW = np.random.default_rng(0)
X = jnp.asarray(DRAW.normal(0.5, 1.5, (4, 3, 5, 8)), jnp.float32)
MASK = jnp.asarray(DRAW.random(X.shape) < 0.8)
TRANSLATED = {"eps": "epsilon", "decay": "momentum"}
ROUGH = {"use_fast_variance": False}  # normjax has the variance of two passes only


def spaced(low):
    """An initializer without a random number, whose compilation would cost most."""
    return lambda key, shape, dtype: (
        jnp.linspace(low, 2.0, np.prod(shape)).reshape(shape).astype(dtype)
    )


STARTS = {"scale_init": spaced(0.5), "bias_init": spaced(-1.0)}
SCALE = {"scale_init": STARTS["scale_init"]}
PAIRS = {  # ours, theirs, what both are given
    "batch": (layers.BatchNorm, nn.BatchNorm, STARTS),
    "layer": (layers.LayerNorm, nn.LayerNorm, STARTS),
    "rms": (layers.RMSNorm, nn.RMSNorm, SCALE),
    "group": (layers.GroupNorm, nn.GroupNorm, {"num_groups": 4} | STARTS),
    "instance": (layers.InstanceNorm, nn.InstanceNorm, STARTS),
}


def pair(name, **changes):
    """The layer of normjax and that of flax.linen with the same arguments."""
    ours, theirs, given = PAIRS[name]
    given = {"eps": 1e-4} | given | changes
    if name == "batch":
        given = {"decay": 0.8} | given
    translated = {TRANSLATED.get(key, key): value for key, value in given.items()}
    return ours(**given), theirs(**translated, **ROUGH)


def called(name, train):
    """The arguments of the call that train, ours and those of flax.linen."""
    if name != "batch":
        return {}, {}
    return {"train": train}, {"use_running_average": not train}


def both(name, x=X, *, train=True, mask=None, **changes):
    """`(variables, y, batch_stats)` of each, from the same key, by one program."""
    masked = {} if mask is None else {"mask": mask}
    made = list(zip(pair(name, **changes), called(name, train)))

    @jax.jit
    def run(x, masked):
        results = []
        for layer, call in made:
            variables = layer.init(KEY, x, **call)
            apply = functools.partial(layer.apply, variables, mutable=["batch_stats"])
            results.append((variables, *apply(x, **call, **masked)))
        return results

    return run(x, masked)


def check(ours, theirs, seen=True, eps=EPS32):
    """Names, shapes, dtypes and parameters to the bit; outputs within 32 eps.

    A mean and a variance of up to 480 elements round by less than 22 eps of the largest
    entry, and three operations follow. A variance over n - 1 is off by 2,000 eps or
    more. Measured, CPU: 0 to 3 eps.
    """
    kinds = lambda tree: jax.tree.map(lambda a: (a.shape, a.dtype), tree)
    assert kinds(ours) == kinds(theirs)
    assert jax.tree.all(jax.tree.map(np.array_equal, ours[0], theirs[0]))
    wide = lambda tree: jax.tree.map(lambda a: np.asarray(a, np.float32), tree)
    seen = np.broadcast_to(seen, ours[1].shape)
    for found, right in (
        (wide(ours[1])[seen], wide(theirs[1])[seen]),
        *zip(jax.tree.leaves(wide(ours[2])), jax.tree.leaves(wide(theirs[2]))),
    ):
        assert np.all(np.isfinite(right))
        assert np.max(np.abs(found - right)) <= 32 * eps * np.max(np.abs(right))


class Model(nn.Module):
    """A norm between other layers."""

    norm: nn.Module

    @nn.compact
    def __call__(self, x, **call):
        return nn.Dense(8)(self.norm(nn.Dense(8)(x), **call))


@pytest.mark.parametrize("name", PAIRS)
def test_initializers_get_the_keys_of_flax(name):
    """Of the parameters, in a model with layers before and after."""
    drawn = {start: nn.initializers.uniform() for start in PAIRS[name][2]}
    drawn.pop("num_groups", None)

    @jax.jit
    def run(x):
        made = zip(pair(name, **drawn), called(name, True))
        return [Model(layer).init(KEY, x, **call) for layer, call in made]

    ours, theirs = run(X)
    assert jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))


def without(name, *fields):
    """Those of the arguments that the layer has: RMSNorm has no bias."""
    return {field: False for field in fields if name != "rms" or field != "use_bias"}


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("fields", [(), ("use_bias",), ("use_scale", "use_bias")])
@pytest.mark.parametrize("name", PAIRS)
def test_scale_and_bias_are_those_of_flax(name, fields, train):
    """Started by the initializers that are given, or not there."""
    check(*both(name, train=train, **without(name, *fields)))


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (jnp.float32, jnp.bfloat16),
        (jnp.bfloat16, jnp.bfloat16),
        (jnp.bfloat16, jnp.float32),
        (jnp.float16, jnp.float32),
    ],
)
@pytest.mark.parametrize("name", PAIRS)
def test_dtypes_are_those_of_flax(name, given, dtype):
    """The result has the dtype that is asked for, rounded once, to half an ulp."""
    ulp = float(jnp.finfo(dtype).eps)
    check(*both(name, X.astype(given), dtype=dtype), eps=max(ulp / 32, EPS32))


@pytest.mark.parametrize("name", PAIRS)
def test_parameters_have_the_dtype_of_flax(name):
    check(*both(name, param_dtype=jnp.bfloat16, dtype=jnp.float32))


@pytest.mark.parametrize("name", PAIRS)
def test_without_a_dtype_the_result_has_that_of_the_inputs(name):
    """Unlike in flax, where float32 parameters make it float32."""
    layer, _ = pair(name)
    call, _ = called(name, True)
    init = functools.partial(layer.init_with_output, **call)
    y, _ = jax.eval_shape(init, KEY, X.astype(jnp.bfloat16))
    assert y.dtype == jnp.bfloat16


AXES = [
    ("batch", {"axis": 1}),
    ("batch", {"axis": -2}),
    ("layer", {"reduction_axes": 1}),
    ("layer", {"reduction_axes": (1, 2)}),
    ("layer", {"reduction_axes": (0, 1, 2, 3), "feature_axes": (2, 3)}),
    ("layer", {"reduction_axes": -2, "feature_axes": (1, 3)}),
    ("layer", {"reduction_axes": (1, 2, 3), "feature_axes": (1, 2, 3)}),
    ("rms", {"reduction_axes": (1, -1), "feature_axes": (-1,)}),
    ("rms", {"reduction_axes": 2, "feature_axes": (1, 2)}),
    ("group", {"reduction_axes": (-2, -1)}),
    ("group", {"reduction_axes": (0, 1, 3)}),
    ("group", {"num_groups": None, "group_size": 4}),
    ("instance", {"feature_axes": (1, 3)}),
    ("instance", {"feature_axes": 2}),
]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("name", "axes"), AXES)
def test_axes_are_those_of_flax(name, axes, masked):
    mask = MASK if masked else None
    check(*both(name, mask=mask, **axes), seen=MASK if masked else True)


MASKS = {
    "elements": MASK,
    "positions": MASK[..., :1],
    "examples": jnp.arange(4).reshape(4, 1, 1, 1) != 2,
    "features": jnp.arange(8).reshape(1, 1, 1, 8) % 4 < 2,
}


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("name", ["batch", "layer", "rms", "instance"])
def test_masks_that_broadcast_to_the_inputs_are_those_of_flax(name, kind):
    """Where flax gives a number: an example without an element has nan there."""
    mask = MASKS[kind]
    ours, theirs = both(name, mask=mask)
    kept = np.broadcast_to(mask, X.shape)
    assert np.all(ours[1][~kept] == 0)
    if (name, kind) == ("batch", "features"):  # nothing is known of the others
        stats = jax.tree.map(lambda a: a[jnp.arange(8) % 4 < 2], (ours[2], theirs[2]))
        ours, theirs = ((*a[:2], b) for a, b in zip((ours, theirs), stats))
    check(ours, theirs, seen=kept)


def test_a_mask_of_elements_reaches_groups_as_in_flax():
    ours, theirs = both("group", mask=MASK)
    check(ours, theirs, seen=MASK)


@pytest.mark.parametrize(
    ("name", "spread"),
    [("batch", 0), ("layer", 3), ("rms", 3), ("group", 1), ("instance", 1)],
)
def test_an_axis_name_means_one_mean_over_all_lanes(name, spread):
    """As in flax, for lanes of one size; initializing needs no such axis."""
    lanes = jnp.stack(jnp.split(X, 2 if spread != 1 else 3, spread))
    spreading, calls = pair(name, axis_name="lanes"), called(name, True)

    @jax.jit
    def run(lanes):
        results = []
        for layer, alone, call in zip(spreading, pair(name), calls):
            variables = alone.init(KEY, lanes[0], **call)
            apply = functools.partial(layer.apply, variables, mutable=["batch_stats"])
            each = jax.vmap(functools.partial(apply, **call), axis_name="lanes")
            results.append((variables, *each(lanes)))
        return results

    check(*run(lanes))
    ours, _ = spreading
    jax.eval_shape(functools.partial(ours.init, **calls[0]), KEY, X)


def test_dense_takes_the_arguments_of_flax():
    given = {"kernel_init": spaced(-1.0), "bias_init": spaced(-1.0)}
    dtypes = (
        {},
        {"dtype": jnp.bfloat16},
        {"param_dtype": jnp.bfloat16},
        {"dtype": jnp.float32, "param_dtype": jnp.float16},
    )

    @jax.jit
    def run(x):
        made = [
            [kind(6, **given, **which).init_with_output(KEY, x) for which in dtypes]
            for kind in (layers.Dense, nn.Dense)
        ]
        return made

    ours, theirs = run(X.astype(jnp.bfloat16))
    same = lambda a, b: a.dtype == b.dtype and np.array_equal(a, b)
    assert jax.tree.all(jax.tree.map(same, ours, theirs))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            layers.InstanceNorm(feature_axes=(0, 3)),
            "feature_axes=(0, 3): must not include the first axis, that of the"
            " examples; set feature_axes=-1.",
        ),
        (
            layers.GroupNorm(reduction_axes=(1, 2)),
            "reduction_axes=(1, 2): must include the last axis, on which the groups"
            " lie; set reduction_axes=(1, 2, 3).",
        ),
        (
            layers.GroupNorm(group_size=3),
            "group_size=3: must divide the 8 channels, with num_groups=None; set"
            " group_size=1, num_groups=None.",
        ),
        (
            layers.GroupNorm(2, group_size=4),
            "group_size=4: must divide the 8 channels, with num_groups=None; set"
            " group_size=1, num_groups=None.",
        ),
        (
            layers.LayerNorm(backward="analytic", reduction_axes=1),
            "backward='analytic': must be 'autodiff' for axes other than the last and"
            " an axis_name; set backward='autodiff'.",
        ),
    ],
)
def test_axes_that_cannot_be_are_refused(layer, message):
    with pytest.raises(InputError) as caught:
        layer.init(KEY, X)
    assert str(caught.value) == message
