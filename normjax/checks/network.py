"""The network of the source's gradient check, and its gradients without autodiff.

A plain float64 MLP with batch norm before each ReLU, as functions of its parameters;
`gradient_by_hand` and `complex_step` share nothing but the parameters with autodiff.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from normjax.ops import backward, moments, norms, residuals

WIDTHS = (15, 20, 30, 10)
KERNEL_STD = 0.05
EPS = 1e-5


class Layer(NamedTuple):
    """A dense layer and the batch norm behind it; the last layer has none."""

    kernel: Float[Array, "inputs features"]
    bias: Float[Array, " features"]
    norm_scale: Float[Array, " features"] | None = None
    norm_bias: Float[Array, " features"] | None = None


Network = tuple[Layer, ...]


def init(draws: np.random.Generator) -> Network:
    """Kernels N(0, 0.05^2), biases 0, scales 1."""
    layers = []
    for inputs, features in itertools.pairwise(WIDTHS):
        kernel = jnp.asarray(draws.normal(0, KERNEL_STD, (inputs, features)))
        zeros, ones = jnp.zeros(features), jnp.ones(features)
        layers.append(Layer(kernel, zeros, ones, zeros))
    layers[-1] = Layer(*layers[-1][:2])
    return tuple(layers)


def loss_terms(
    layers: Network,
    x: Float[Array, "examples inputs"],
    labels: Int[Array, " examples"],
    penalty: float,
) -> tuple[Array, list[Array]]:
    """What adds up to the loss less log(10), apart so that differences see it all.

    Each example's share of the mean cross-entropy in nats, and `penalty / 2 *
    kernel^2`. With log(10) = 2.3 taken out as `log(mean(exp(a))) =
    log1p(mean(expm1(a)))`, what is left is near 0.1 and its rounding as much smaller.
    """
    for layer in layers[:-1]:
        y = _dense(layer, x)
        start = moments.Running(*jnp.zeros((2, y.shape[-1])))
        vectors = layer.norm_scale, layer.norm_bias
        x = jax.nn.relu(norms.batch_norm(y, start, *vectors, train=True, eps=EPS)[0])
    logits = _dense(layers[-1], x)
    above = logits - jnp.take_along_axis(logits, labels[:, None], 1)
    cross_entropies = jnp.log1p(jnp.mean(jnp.expm1(above), 1))
    squares = [penalty / 2 * jnp.square(layer.kernel) for layer in layers]
    return cross_entropies / len(labels), squares


def gradient_by_hand(
    layers: Network,
    x: Float[Array, "examples inputs"],
    labels: Int[Array, " examples"],
    penalty: float,
) -> Network:
    """`d loss / d layers` without autodiff: back through each step of the forward.

    For logits = x @ kernel + bias, with p = softmax(logits) and N examples,

        dlogits = (p - onehot(labels)) / N
        dkernel = x' @ dlogits + penalty * kernel,  dbias = sum over rows of dlogits
        dx      = dlogits @ kernel',

    and at each hidden layer dx counts where its ReLU was open, passes the batch norm
    by `backward.batch_norm`, and is the dlogits of that layer's dense step.
    """
    kept = []
    for layer in layers[:-1]:
        (y, _), saved = residuals.batch_norm(_dense(layer, x), *layer[2:], eps=EPS)
        kept.append((x, saved, y > 0))
        x = jnp.where(y > 0, y, 0)
    logits = _dense(layers[-1], x)
    dy = (jax.nn.softmax(logits) - jax.nn.one_hot(labels, WIDTHS[-1])) / len(labels)

    found = [_dense_gradient(layers[-1], x, dy, penalty)]
    for i in reversed(range(len(kept))):
        x, saved, is_open = kept[i]
        dy = jnp.where(is_open, dy @ layers[i + 1].kernel.T, 0)
        norm = backward.batch_norm(dy, saved)
        dy = norm.x
        dense = _dense_gradient(layers[i], x, dy, penalty)
        found.append(dense._replace(norm_scale=norm.scale, norm_bias=norm.bias))
    return tuple(reversed(found))


def _dense(layer, x):
    return x @ layer.kernel + layer.bias[None]


def _dense_gradient(layer, x, dy, penalty):
    return Layer(x.T @ dy + penalty * layer.kernel, jnp.sum(dy, 0))


def complex_step(layers: Network, x, labels, penalty: float) -> Network:
    """`imag(loss(layers + 1e-30 i)) / 1e-30`, element by element.

    No difference is taken, so nothing cancels: right to rounding even where the
    gradient is 1e-8 of the loss. For that the forward pass is written out for complex
    numbers, in NumPy, and shares nothing with the package.

    References:
        Squire and Trapp, 1998. Using Complex Variables to Estimate Derivatives of
        Real Functions. SIAM Review 40(1).
    """
    flat, unravel = ravel_pytree(layers)
    shapes = jax.eval_shape(unravel, flat)
    x, labels, flat = np.asarray(x), np.asarray(labels), np.asarray(flat)
    slopes = np.zeros(flat.size)
    for i in range(flat.size):
        moved = flat.astype(np.complex128)
        moved[i] += 1e-30j
        slopes[i] = _complex_loss(_split(moved, shapes), x, labels, penalty).imag
    return unravel(jnp.asarray(slopes / 1e-30))


def _split(flat, shapes):
    leaves, tree = jax.tree.flatten(shapes)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    parts = (a.reshape(b.shape) for a, b in zip(np.split(flat, ends), leaves))
    return jax.tree.unflatten(tree, list(parts))


def _complex_loss(layers, x, labels, penalty):
    for layer in layers[:-1]:
        x = x @ layer.kernel + layer.bias
        centered = x - x.mean(0)
        z = centered / np.sqrt((centered**2).mean(0) + EPS)
        y = z * layer.norm_scale + layer.norm_bias
        x = np.where(y.real > 0, y, 0)
    logits = x @ layers[-1].kernel + layers[-1].bias
    picked = logits[np.arange(len(labels)), labels]
    squares = sum((layer.kernel**2).sum() for layer in layers)
    loss = np.mean(np.log(np.exp(logits).sum(1)) - picked)
    return loss + penalty / 2 * squares
