"""Initial kernels and biases: torch's range, zeros elsewhere, pairs over the arms."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from normjax import layers, models
from normjax.layers import initial_weights
from normjax.training import lane

KEY = jax.random.key(0)
TORCH = initial_weights.INITS["torch_default"]
MODELS = {  # model, shape of an example, fan-in of each of its layers
    "mlp": (
        functools.partial(models.MLP, (64, 100)),
        (28, 28),
        {"dense_0": 784, "dense_1": 64, "logits": 100},
    ),
    "cnn": (
        functools.partial(models.CNN, (16, 32), kernel_size=5),
        (28, 28, 1),
        {"conv_0": 25, "conv_1": 25 * 16, "logits": 49 * 32},
    ),
}


def params_of(name, init, **fields):
    make, shape, _ = MODELS[name]
    fields = {"kernel_init": init.kernel, "bias_init": init.bias} | fields
    model = make(10, **fields)
    return lane.init(KEY, 1.0, jnp.zeros((1, *shape)), model=model)[0]


def uniform_in(x, bound: float) -> bool:
    """Within the bound, and a variance of bound^2 / 3 but for chance.

    The square of a uniform number has the mean 1/3 and the variance 4/45 in units of
    the bound; 4 standard errors are exceeded in 6e-5 of all draws.
    """
    x = np.ravel(np.asarray(x, np.float64)) / bound
    far = 4 * math.sqrt(4 / 45 / x.size)
    inside = np.abs(x).max() <= 1 + np.finfo(np.float32).eps
    return bool(inside and abs(np.mean(x**2) - 1 / 3) < far)


@pytest.mark.parametrize("name", MODELS)
def test_kernels_and_biases_of_torch_are_uniform_up_to_the_root_of_the_fan_in(name):
    """LeCun's uniform kernels, sqrt(3) wider, are told apart in every layer."""
    params = params_of(name, TORCH)
    lecun = TORCH._replace(kernel=nn.initializers.lecun_uniform())
    wider = params_of(name, lecun)
    for layer, fan_in in MODELS[name][2].items():
        bound = 1 / math.sqrt(fan_in)
        assert uniform_in(params[layer]["kernel"], bound)
        assert uniform_in(params[layer]["bias"], bound)
        assert not uniform_in(wider[layer]["kernel"], bound)
        assert len(np.unique(params[layer]["bias"])) > 1


def test_torch_has_the_same_range():
    """The largest of n uniform numbers is below a share s in s^n: 0.997^5000 = 3e-7."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    ours = (
        (params_of("mlp", TORCH)["dense_1"], torch.nn.Linear(64, 100)),
        (params_of("cnn", TORCH)["conv_1"], torch.nn.Conv2d(16, 32, 5)),
    )
    for layer, theirs in ours:
        kernel, other = layer["kernel"], theirs.weight.detach().numpy()
        assert kernel.size == other.size >= 5_000
        assert abs(np.abs(kernel).max() / np.abs(other).max() - 1) < 0.003
        bound = 1 / math.sqrt(other[0].size)
        assert uniform_in(theirs.bias.detach().numpy(), bound)
        assert uniform_in(layer["bias"], bound)


@pytest.mark.parametrize("name", initial_weights.INITS)
def test_biases_are_zero_but_in_torch(name):
    init = initial_weights.INITS[name]
    drawn = any(np.any(layer["bias"]) for layer in params_of("mlp", init).values())
    assert drawn == (name == "torch_default")


@pytest.mark.parametrize("name", MODELS)
def test_the_draw_of_a_bias_leaves_every_kernel_as_it_was(name):
    """To the bit; and arms with norms of all kinds share kernels and biases."""
    drawn, zero = (params_of(name, TORCH._replace(bias=x)) for x in (TORCH[1], zeros()))
    for layer in drawn:
        np.testing.assert_array_equal(drawn[layer]["kernel"], zero[layer]["kernel"])
    for norm in ("batch", "weight", "scalar_batch"):
        other = params_of(name, TORCH, norm=layers.NORMS[norm], dropout=True)
        for layer in drawn:
            for part in ("kernel", "bias"):
                np.testing.assert_array_equal(drawn[layer][part], other[layer][part])


def zeros():
    return initial_weights.zero_bias


def test_biases_of_zero_are_not_drawn():
    """The program of a model as before: one draw for each kernel."""

    def draws(init):
        return str(jax.make_jaxpr(lambda: params_of("mlp", init))()).count("bits[")

    assert draws(TORCH._replace(bias=zeros())) == 3
    assert draws(TORCH) == 6


def test_a_scale_multiplies_kernels_and_leaves_drawn_biases():
    make, shape, _ = MODELS["mlp"]
    model = make(10, kernel_init=TORCH.kernel, bias_init=TORCH.bias)
    one, half = (
        lane.init(KEY, scale, jnp.zeros((1, *shape)), model=model)[0]
        for scale in (1.0, 0.5)
    )
    for layer in one:
        np.testing.assert_array_equal(0.5 * one[layer]["kernel"], half[layer]["kernel"])
        np.testing.assert_array_equal(one[layer]["bias"], half[layer]["bias"])


def test_a_normal_of_a_tenth():
    """784 x 64 squares: their mean is 0.01 within 4 standard errors, 2.5%."""
    params = params_of("mlp", initial_weights.INITS["normal_tenth"])
    kernel = np.asarray(params["dense_0"]["kernel"], np.float64)
    assert abs(np.mean(kernel**2) / 0.01 - 1) < 4 * math.sqrt(2 / kernel.size)
