"""Networks: flax modules whose layers are named by hand.

A layer keeps its name whatever the norm, the placement or the optimizer, so that the
same key gives the same kernels in every arm. Every model is called as
`model(inputs, train=..., dropout_rate=...)` and has the attribute `kernel_init`. The
last layer has neither a norm (of activations or of its kernel) nor dropout, so that
arms differ in nothing else.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from normjax import layers
from normjax.errors import InputError
from normjax.layers.common import Initializer
from normjax.layers.initial_weights import BiasInit, zero_bias
from normjax.ops import pooling

Step = Callable[[Array], Array]
Named = Callable[[str], Step]  # gives the norm of that name
Drop = Callable[[Array, str], Array]  # drops out under that name, if compiled in

PLACEMENTS = {  # what follows a linear layer, in order
    "pre": ("norm", "relu", "pool"),  # as Ioffe and Szegedy (2015) place it
    "post": ("relu", "norm", "pool"),
    "pooled": ("relu", "pool", "norm"),  # `post` where nothing is pooled
}


class Model(nn.Module):
    """What all models have in common; a model defines `hidden`."""

    widths: tuple[int, ...]  # features of each hidden layer, or of each stage
    num_classes: int
    norm: layers.Norm = layers.NORMS["none"]
    placement: str = "pre"  # a row of PLACEMENTS
    dropout: bool = False  # compiled in; its rate is an argument of the call
    kernel_init: Initializer = nn.initializers.he_normal()
    bias_init: BiasInit = zero_bias
    convolution: str = "auto"  # a row of ops.conv.IMPLEMENTATIONS

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, " batch *shape"],
        *,
        train: bool,
        dropout_rate: float | Float[Array, ""] = 0.0,
    ) -> Float[Array, "batch num_classes"]:
        normalizer = layers.normalizers(self.norm)
        norm = lambda name: functools.partial(normalizer(name=name), train=train)

        def drop(x, name):
            if not self.dropout:
                return x
            return layers.Dropout(name=name)(x, dropout_rate, train=train)

        x = self.hidden(inputs, norm, drop, train)
        x = x.reshape(x.shape[0], -1)
        return self.dense(x, self.num_classes, train, name="logits")

    def hidden(self, inputs: Array, norm: Named, drop: Drop, train: bool) -> Array:
        """The inputs of the last layer, before they are flattened."""
        raise NotImplementedError

    def activation(self, x: Array, norm: Step, pool: Step | None = None) -> Array:
        """Norm, ReLU and pooling in the order of the placement.

        A norm that owns its activation replaces norm and ReLU.
        """
        relu = None if self.norm.owns_activation else nn.relu
        steps = {"norm": norm, "relu": relu, "pool": pool}
        for step in filter(None, map(steps.get, PLACEMENTS[self.placement])):
            x = step(x)
        return x

    def dense(self, x: Array, width: int, train: bool, **fields) -> Array:
        """A dense layer; `fields` are others of `layers.Dense`."""
        return layers.Dense(
            width,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init(x.shape[-1]),
            **fields,
        )(x, train=train)

    def conv(self, x: Array, width: int, size: int, train: bool, **fields) -> Array:
        """A convolution with square kernels; `fields` are others of `layers.Conv`."""
        return layers.Conv(
            width,
            (size, size),
            kernel_init=self.kernel_init,
            bias_init=self.bias_init(size * size * x.shape[-1]),
            kernel_norm=self.norm.kernel,
            implementation=self.convolution,
            **fields,
        )(x, train=train)


class MLP(Model):
    """Multi-layer perceptron: `dense, norm, relu, dropout` per hidden layer.

        >>> import jax, jax.numpy as jnp
        >>> from normjax import layers, models
        >>> model = models.MLP((128, 128), 10, norm=layers.NORMS["batch"])
        >>> x = jnp.ones((2, 28, 28))
        >>> y, _ = model.init_with_output(jax.random.key(0), x, train=False)
        >>> y.shape
        (2, 10)

    Shapes: `[batch, *shape] -> [batch, num_classes]`; the inputs are flattened.
    """

    def hidden(self, inputs: Array, norm: Named, drop: Drop, train: bool) -> Array:
        x = inputs.reshape(inputs.shape[0], -1)
        for i, width in enumerate(self.widths):
            fields = {"kernel_norm": self.norm.kernel, "name": f"dense_{i}"}
            x = self.dense(x, width, train, **fields)
            x = drop(self.activation(x, norm(f"norm_{i}")), f"dropout_{i}")
        return x


class CNN(Model):
    """Convolutions with a bias that keep the size, and max-pooling that halves it.

    `conv, norm, relu, dropout` per entry of `widths`, with a max-pool of two by two
    before the dropout of every `convs_per_pool`-th, then a dense layer. Where a size is
    odd, pooling drops the last row or column.

    Shapes: `[batch, height, width, channels] -> [batch, num_classes]`; images of one
    channel may come without that axis.
    """

    kernel_size: int = 3  # of every convolution, odd
    convs_per_pool: int = 1

    def hidden(self, inputs: Array, norm: Named, drop: Drop, train: bool) -> Array:
        x = images(inputs)
        check_pools(x, len(self.widths) // self.convs_per_pool)
        for i, width in enumerate(self.widths):
            x = self.conv(x, width, self.kernel_size, train, name=f"conv_{i}")
            pool = pooling.max_pool if (i + 1) % self.convs_per_pool == 0 else None
            x = drop(self.activation(x, norm(f"norm_{i}"), pool), f"dropout_{i}")
        return x


class ResNet(Model):
    """Residual network for small images: 6 n + 2 layers, 20 for n = 3.

    A convolution, then for each entry of `widths` a stage of n blocks of two
    convolutions; the first block of a later stage has a stride of two, and its shortcut
    drops every second pixel and adds channels of zeros, so that it has no weights
    (option A). A mean over all pixels precedes the dense layer. Convolutions have 3x3
    weights and no bias.

    Placement `pre` is the paper's: the last norm of a block stands before the sum.
    Under `post`, and for a norm that owns its activation, it follows the sum.

    Shapes: `[batch, height, width, channels] -> [batch, num_classes]`.

    References:
        He et al., 2016. Deep Residual Learning for Image Recognition, section 4.2.
        arXiv:1512.03385.
    """

    blocks: int = 3  # n, of each stage

    def hidden(self, inputs: Array, norm: Named, drop: Drop, train: bool) -> Array:
        if sorted(self.widths) != list(self.widths):
            why = "for a shortcut only adds channels"
            rule, how = f"must not fall from stage to stage, {why}", "the paper's are"
            raise InputError("widths", self.widths, rule, f"{how} 16, 32, 64")
        first = self.placement == "pre" and not self.norm.owns_activation
        x = self._conv(images(inputs), self.widths[0], 1, "conv", train)
        x = self.activation(x, norm("norm"))
        for stage, width in enumerate(self.widths):
            for block in range(self.blocks):
                name = f"{stage}_{block}"
                stride = 2 if stage > 0 and block == 0 else 1
                y = self._conv(x, width, stride, f"conv_{name}_0", train)
                y = self.activation(y, norm(f"norm_{name}_0"))
                y = self._conv(y, width, 1, f"conv_{name}_1", train)
                last = norm(f"norm_{name}_1")
                x = shortcut(x, stride, width)
                x = nn.relu(x + last(y)) if first else self.activation(x + y, last)
                x = drop(x, f"dropout_{name}")
        return jnp.mean(x, (1, 2))

    def _conv(self, x: Array, width: int, stride: int, name: str, train: bool):
        fields = {"strides": stride, "padding": 1, "use_bias": False, "name": name}
        return self.conv(x, width, 3, train, **fields)


def shortcut(x: Array, stride: int, width: int) -> Array:
    """Every `stride`-th pixel of `x`, with channels of zeros up to `width`."""
    x = x[:, ::stride, ::stride]
    return jnp.pad(x, [(0, 0)] * 3 + [(0, width - x.shape[-1])])


def images(inputs: Array) -> Array:
    """`[batch, height, width, channels]`; a missing channel is added."""
    if inputs.ndim not in (3, 4):
        rule = f"convolutions need images, got examples of shape {inputs.shape[1:]}"
        raise InputError("inputs", ..., rule, "use models.MLP")
    return inputs if inputs.ndim == 4 else inputs[..., None]


def check_pools(x: Array, num_pools: int) -> None:
    """Raises an InputError unless a pixel is left after `num_pools` halvings."""
    least = min(x.shape[1:3])
    if least < 2**num_pools:
        most = least.bit_length() - 1
        pixels = f"at least {2**num_pools} pixels a side, got {least}"
        rule = f"{num_pools} max-pools need images of {pixels}"
        raise InputError("widths", ..., rule, f"at most {most} fit")


# Maps a name to a model class; its other fields (widths, norm, ...) are the config's.
MODELS = {"mlp": MLP, "cnn": CNN, "resnet20": functools.partial(ResNet, blocks=3)}
