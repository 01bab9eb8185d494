"""The layer Conv: flax.linen.Conv, and a norm of its kernel."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from normjax import layers
from normjax.errors import InputError
from normjax.ops import weights

EPS32 = float(np.finfo(np.float32).eps)
KEY = jax.random.key(0)
DRAW = np.random.default_rng(0)


def whole(*shape):
    """Whole numbers from -3 to 3, whose sums are exact in any order."""
    return DRAW.integers(-3, 4, shape).astype(np.float32)


def steps(key, shape, dtype=jnp.float32):
    """Parameters without a random number."""
    del key
    return jnp.asarray((np.arange(np.prod(shape)) * 5 % 7 - 3).reshape(shape), dtype)


CASES = {  # name -> shape of the inputs, kernel_size, other attributes
    "plain": ((2, 6, 5, 4), (3, 3), {}),
    "strides": ((2, 6, 5, 4), (3, 2), {"strides": (2, 1), "padding": "VALID"}),
    "none is one": (
        (2, 6, 5, 4),
        (3, 3),
        {"strides": None, "input_dilation": None, "kernel_dilation": None},
    ),
    "circular": (
        (2, 6, 7, 4),
        (3, 2),
        {"padding": "CIRCULAR", "kernel_dilation": (2, 1), "strides": 2},
    ),
    "lower case": ((2, 6, 5, 4), (3, 3), {"padding": "valid", "use_bias": False}),
    "numbers of numpy": (
        (2, 6, 5, 4),
        (np.int64(3), 2),
        {"strides": (np.int64(2), 1), "kernel_dilation": (np.int32(1), 1)},
    ),
    "dtype": ((2, 6, 5, 4), (3, 3), {"dtype": jnp.bfloat16}),
    "param_dtype": ((2, 6, 5, 4), (3, 3), {"param_dtype": jnp.bfloat16}),
    "reflect": ((2, 6, 5, 4), (4, 3), {"padding": "REFLECT"}),
    "number": ((2, 6, 5, 4), (3, 3), {"padding": 2, "kernel_dilation": 2}),
    "numbers": ((2, 6, 5, 4), (3, 3), {"padding": (0, 2)}),
    "pairs": ((2, 6, 5, 4), (3, 3), {"padding": ((0, 2), (3, -1))}),
    "dilated input": ((2, 4, 3, 4), (3, 3), {"input_dilation": (2, 3), "padding": 1}),
    "groups": ((2, 6, 5, 4), (3, 3), {"feature_group_count": 2, "use_bias": False}),
    "masked": ((2, 6, 5, 4), (3, 3), {"mask": jnp.asarray(whole(3, 3, 4, 6) > 0)}),
    "one example": ((6, 5, 4), (3, 3), {}),
    "more batch axes": ((2, 3, 6, 5, 4), (3, 3), {"padding": "VALID"}),
    "sequence": ((2, 9, 4), (3,), {"strides": 2, "kernel_dilation": 2}),
    "sequence, causal": ((2, 9, 4), 4, {"padding": "CAUSAL", "kernel_dilation": 2}),
    "sequence, circular": ((9, 4), (4,), {"padding": "CIRCULAR"}),
    "sequence, pair": ((2, 3, 9, 4), (2,), {"padding": ((2, 1),)}),
    "sequence, number": ((2, 9, 4), (3,), {"padding": 1, "input_dilation": 2}),
    "sequence, groups": ((2, 9, 4), (3,), {"feature_group_count": 2}),
    "bfloat16 inputs": (
        (2, 6, 5, 4),
        (3, 3),
        {"kernel_init": lambda *args: 257 * steps(*args)},  # has no bfloat16
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_parameters_and_outputs_are_those_of_flax(name):
    """To the bit, for whole numbers."""
    shape, size, given = CASES[name]
    x = jnp.asarray(whole(*shape), jnp.bfloat16 if "bfloat16" in name else None)
    given = {"kernel_init": steps, "bias_init": steps} | given

    @jax.jit
    def both(x):
        made = [kind(6, size, **given) for kind in (layers.Conv, nn.Conv)]
        return [layer.init_with_output(KEY, x) for layer in made]

    ours, theirs = both(x)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs)):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert np.array_equal(a, b)


def test_equal_keys_give_the_parameters_of_flax():
    """A norm of the kernel changes nothing about it."""
    x = jnp.zeros((1, 4, 4, 2))
    made = [
        kind(3, (3, 3), bias_init=nn.initializers.normal(), **given)
        for kind, given in (
            (nn.Conv, {}),
            (layers.Conv, {}),
            (layers.Conv, {"kernel_norm": layers.WeightNorm}),
        )
    ]
    init = jax.jit(lambda key, x: [layer.init(key, x)["params"] for layer in made])
    theirs, ours, normed = init(KEY, x)
    assert set(normed) == {"kernel", "bias", "kernel_norm"}
    for name in ("kernel", "bias"):
        assert np.array_equal(ours[name], theirs[name])
        assert np.array_equal(normed[name], theirs[name])
        assert np.any(ours[name] != 0)


@pytest.mark.parametrize(
    "implementation", ["images", "lax", "patches", "planes", "winograd"]
)
def test_the_implementation_that_is_named_is_used(implementation):
    """Told by the convolutions of the value and of the kernel's gradient."""
    layer = layers.Conv(4, (3, 3), implementation=implementation)
    assert layer.implementation_for(16, np.float32) == implementation
    kernel, x = jnp.ones((3, 3, 16, 4)), jnp.ones((1, 4, 4, 16))

    def total(kernel):
        params = {"kernel": kernel, "bias": jnp.zeros(4)}
        return jnp.sum(layer.apply({"params": params}, x))

    text = jax.jit(jax.value_and_grad(total)).lower(kernel).as_text()
    count = text.count("stablehlo.convolution")
    assert count == {"images": 1, "lax": 2}.get(implementation, 0)


@pytest.mark.parametrize(
    ("size", "inputs", "given", "name"),
    [
        ((3, 3), 7, {}, "planes"),
        ((3, 3), 8, {}, "images"),
        ((8,), 8, {}, "planes"),
        (9, 8, {}, "images"),
        ((3, 3), 64, {"features": 64}, "winograd"),
        ((3, 3), 64, {"features": 64, "strides": 2}, "images"),
        ((3, 3), 64, {"features": 64, "strides": None}, "winograd"),
        ((3, 3), 8, {"feature_group_count": 2}, "lax"),
        ((3, 3), 8, {"input_dilation": (1, 2)}, "lax"),
        ((3, 3), 8, {"input_dilation": None}, "images"),
        ((3, 3), 64, {"features": 64, "dtype": jnp.bfloat16}, "images"),
        ((3, 3), 8, {"implementation": "winograd"}, "winograd"),
        ((3, 3), 8, {"implementation": "winograd", "strides": 2}, "images"),
        ((3, 3), 8, {"implementation": "winograd", "kernel_dilation": 2}, "images"),
        ((3, 3), 8, {"implementation": "winograd", "dtype": jnp.bfloat16}, "images"),
        ((5, 5), 8, {"implementation": "winograd"}, "images"),
        (9, 8, {"implementation": "winograd"}, "images"),
        ((5, 5), 8, {"implementation": "planes"}, "planes"),
    ],
)
def test_the_layer_knows_what_convolves(size, inputs, given, name):
    """Its program is that of the implementation which it names."""
    fields = {"features": 16, "kernel_size": size, "kernel_init": steps} | given
    space = (6,) if np.size(size) == 1 else (6, 6)
    seen, shape = [], (2, *space, inputs)

    def note(call, args, kwargs, context):
        result = call(*args, **kwargs)
        if context.method_name == "implementation_for":
            seen.append(result)
        return result

    def program(**fields):
        layer = layers.Conv(**fields)
        total = lambda x: jnp.sum(layer.init_with_output(KEY, x)[0])
        with nn.intercept_methods(note):
            return jax.jit(jax.grad(total)).lower(jnp.ones(shape)).as_text()

    found = program(**fields)
    assert seen == [name]
    assert program(**fields | {"implementation": name}) == found


# ---- norms of the kernel -------------------------------------------------------------


def test_a_kernel_comes_out_of_weight_norm_as_it_went_in():
    """Its scale starts as its own norm, to 4 eps; sums of 18 products are exact."""
    x = jnp.asarray(whole(2, 5, 5, 2))
    plain, normed = (
        layers.Conv(4, (3, 3), kernel_init=steps, kernel_norm=norm)
        for norm in (None, layers.WeightNorm)
    )

    @jax.jit
    def run(x):
        y, variables = normed.init_with_output(KEY, x)
        params = variables["params"]
        bare = {name: params[name] for name in ("kernel", "bias")}
        scale = {"scale": 3 * params["kernel_norm"]["scale"]}
        changed = params | {"kernel": 2 * params["kernel"], "kernel_norm": scale}
        return (
            params,
            y,
            plain.apply({"params": bare}, x),
            normed.apply({"params": changed}, x),
        )

    params, y, right, tripled = run(x)
    size = np.sqrt(np.sum(np.float64(params["kernel"]) ** 2, (0, 1, 2)))
    assert np.all(np.abs(params["kernel_norm"]["scale"] / size - 1) <= 2 * EPS32)
    most = 18 * 9 * (4 + 9) * EPS32  # of a sum, relative to its 18 products of 9
    assert np.max(np.abs(y - right)) <= most
    assert np.max(np.abs(tripled - 3 * right)) <= 3 * most


def test_training_reaches_the_norm_of_the_kernel():
    """Spectral norm takes a step when it trains, and only then."""
    layer = layers.Conv(3, (2, 2), kernel_init=steps, kernel_norm=layers.SpectralNorm)

    @jax.jit
    def run(x):
        variables = layer.init(KEY, x)
        step = functools.partial(layer.apply, variables, x, mutable=["batch_stats"])
        start = variables["batch_stats"]["kernel_norm"]
        kernel = variables["params"]["kernel"]
        _, right = weights.spectral_norm(kernel, weights.Singular(**start), steps=1)
        new = [step(train=train)[1]["batch_stats"] for train in (True, False)]
        return start["u"], right.u, *(v["kernel_norm"]["u"] for v in new)

    start, right, trained, evaluated = run(jnp.ones((1, 4, 4, 2)))
    assert np.array_equal(evaluated, start)
    assert np.array_equal(trained, right)
    assert not np.array_equal(trained, start)


def test_a_mask_is_behind_the_norm():
    """Masked entries stay zero: what is normed is the masked kernel, as it is used."""
    mask = jnp.zeros((3, 3, 2, 4)).at[1, 1].set(1)
    layer = layers.Conv(
        4, (3, 3), kernel_init=steps, kernel_norm=layers.WeightNorm, mask=mask
    )
    variables = jax.jit(layer.init)(KEY, jnp.ones((1, 3, 3, 2)))
    scale = variables["params"]["kernel_norm"]["scale"]
    centre = np.float64(variables["params"]["kernel"][1, 1])
    assert np.all(np.abs(scale**2 - np.sum(centre**2, 0)) <= 8 * 18 * EPS32)


def test_data_dependent_init_sees_the_pixels_of_a_convolution():
    """Mean 0 and variance 1 of each feature, over images and pixels.

    Sums of 288 pixels err by 17 eps, products of length 18 by 9; |y| < 4 std.
    """
    x = jnp.asarray(DRAW.normal(2.0, 1.5, (8, 6, 6, 2)), jnp.float32)
    layer = layers.Conv(4, (3, 3), kernel_init=steps, kernel_norm=layers.WeightNorm)

    @jax.jit
    def run(x):
        variables = layer.init(KEY, x)
        new = layers.data_dependent_init(layer, variables, x)
        return variables["params"], new["params"], layer.apply(new, x)

    before, after, y = run(x)
    y = np.asarray(y, np.float64)
    assert np.array_equal(before["kernel"], after["kernel"])
    assert np.max(np.abs(y.mean((0, 1, 2)))) <= 128 * EPS32
    assert np.max(np.abs(y.var((0, 1, 2)) - 1)) <= 256 * EPS32


# ---- errors --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "given", "message"),
    [
        (
            (3, 3, 3),
            {},
            "kernel_size=(3, 3, 3): must have one or two dimensions;"
            " use flax.linen.Conv for more.",
        ),
        (
            (3, 3),
            {"padding": "CAUSAL"},
            "padding='CAUSAL': must be one of SAME, SAME_LOWER, VALID; choose one of"
            " them.",
        ),
        (
            (3, 3),
            {"mask": jnp.ones((3, 3))},
            "mask.shape=(3, 3): must be that of the kernel, (3, 3, 2, 4); broadcast"
            " it.",
        ),
        (
            (3, 3),
            {"implementation": "images", "feature_group_count": 2},
            "implementation='images': needs input_dilation=1 and feature_group_count=1,"
            " got (1, 1) and 2; use 'lax'.",
        ),
        (
            (3, 3),
            {"implementation": "fft"},
            "implementation='fft': must be one of images, lax, patches, planes,"
            " winograd; choose one of them.",
        ),
        (
            (7, 3),
            {"padding": "VALID"},
            "window of 7 by 3 pixels: must fit into images of 5 by 5 with padding"
            " ((0, 0), (0, 0)); use padding='SAME'.",
        ),
    ],
)
def test_what_cannot_be_done_is_said(size, given, message):
    layer = layers.Conv(4, size, kernel_init=steps, **given)
    with pytest.raises(InputError) as caught:
        jax.eval_shape(functools.partial(layer.init, KEY), jnp.zeros((1, 5, 5, 2)))
    assert str(caught.value) == message
