"""The same networks in flax, trained by a loop over a jitted step of optax.

As the examples of flax do it: one network, one seed, one call of the step for each
batch. Images lie on the device as float32 and the step gathers its rows; the state is
donated.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.workloads import Workload
from normjax.optimizers import transforms

EPS = 1e-5  # of batch norm, here and in normjax


class Layers(nn.Module):
    """What the models share: norms, and pooling by `flax.linen`."""

    work: Workload

    def norm(self, x, train):
        """Batch norm, or nothing."""
        if self.work.norm == "none":
            return x
        return nn.BatchNorm(use_running_average=not train, epsilon=EPS)(x)

    def conv(self, x, width, stride=1, bias=True):
        """A convolution that pads with zeros."""
        size = self.work.kernel_size
        fields = {"strides": stride, "padding": size // 2, "use_bias": bias}
        return nn.Conv(width, (size, size), **fields)(x)


class MLP(Layers):
    """Dense, norm and ReLU per hidden layer."""

    @nn.compact
    def __call__(self, x, train):
        x = x.reshape(len(x), -1)
        for width in self.work.widths:
            x = nn.relu(self.norm(nn.Dense(width)(x), train))
        return nn.Dense(10)(x)


class CNN(Layers):
    """Convolution, norm, ReLU and pooling in the order of the placement."""

    @nn.compact
    def __call__(self, x, train):
        for i, width in enumerate(self.work.widths):
            x = self.conv(x, width)
            pooled = self.work.placement == "pooled"
            x = nn.relu(x if pooled else self.norm(x, train))
            if (i + 1) % self.work.convs_per_pool == 0:
                x = nn.max_pool(x, (2, 2), (2, 2))
            x = self.norm(x, train) if pooled else x
        return nn.Dense(10)(x.reshape(len(x), -1))


class ResNet20(Layers):
    """The ResNet of nine blocks, whose shortcuts have no weights."""

    @nn.compact
    def __call__(self, x, train):
        first, *_ = self.work.widths
        x = nn.relu(self.norm(self.conv(x, first, bias=False), train))
        for stage, width in enumerate(self.work.widths):
            for block in range(3):
                stride = 2 if stage > 0 and block == 0 else 1
                y = self.conv(x, width, stride, bias=False)
                y = nn.relu(self.norm(y, train))
                y = self.norm(self.conv(y, width, bias=False), train)
                added = [(0, 0)] * 3 + [(0, width - x.shape[-1])]
                x = nn.relu(jnp.pad(x[:, ::stride, ::stride], added) + y)
        return nn.Dense(10)(jnp.mean(x, (1, 2)))


MODELS = {"mlp": MLP, "cnn": CNN, "resnet20": ResNet20}
OPTIMIZERS: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "sgd": lambda rate: optax.sgd(rate, momentum=0.9),
    "adam": optax.adam,
    "third_moment": lambda rate: optax.chain(
        transforms.scale_by_third_moment(), optax.scale_by_learning_rate(rate)
    ),
}


def loss_of(model: nn.Module, params, stats, inputs, labels):
    """Mean cross-entropy in nats while training, and the new running statistics."""
    variables = {"params": params, **stats}
    logits, new = model.apply(variables, inputs, train=True, mutable=list(stats))
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.mean(nats), new


def start(
    work: Workload, x: np.ndarray, y: np.ndarray, *, compiled: bool
) -> Callable[[int], float]:
    """A function that trains one network for some steps and returns their mean loss."""
    assert not compiled  # it always is, by jit: there is no other way
    model, tx = MODELS[work.model](work), OPTIMIZERS[work.optimizer](work.learning_rate)
    images, labels = jnp.asarray(x, jnp.float32) / 255, jnp.asarray(y, jnp.int32)
    init = jax.jit(functools.partial(model.init, train=False))
    stats = dict(init(jax.random.key(0), images[:1]))
    params = stats.pop("params")
    state = params, stats, tx.init(params)

    def step(state, rows, images, labels):
        params, stats, opt_state = state
        gradient_of = jax.value_and_grad(
            lambda params: loss_of(model, params, stats, images[rows], labels[rows]),
            has_aux=True,
        )
        (loss, stats), grads = gradient_of(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), dict(stats), opt_state), loss

    take_step = jax.jit(step, donate_argnums=0)
    draw = np.random.default_rng(0)

    def train(num_steps: int) -> float:
        nonlocal state
        order, losses = draw.permutation(len(y)).astype(np.int32), []
        for i in range(num_steps):
            rows = order[i * work.batch_size : (i + 1) * work.batch_size]
            state, loss = take_step(state, rows, images, labels)
            losses.append(loss)
        return float(np.mean(jax.device_get(losses)))

    return train
