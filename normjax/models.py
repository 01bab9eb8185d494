"""Networks: flax modules whose layers are named by hand.

A layer keeps its name whatever the norm, the placement or the optimizer, so that the
same key gives the same kernels in every arm. Every model is called as
`model(inputs, train=..., dropout_rate=...)` and has the attribute `kernel_init`.
"""

from collections.abc import Callable

import flax.linen as nn
from jaxtyping import Array, Float

from normjax import layers

Initializer = Callable[..., Array]

PLACEMENTS = {
    "pre": "linear, norm, activation: as Ioffe and Szegedy (2015) place it",
    "post": "linear, activation, norm",
}


class MLP(nn.Module):
    """Multi-layer perceptron with ReLU: `dense, norm, relu, dropout` per hidden layer.

    The last layer has neither norm nor dropout; a norm of the kernel (weight norm)
    too applies to the hidden layers only, so that norms differ in nothing else. A norm
    that owns its activation replaces norm and ReLU: for it both placements are one.

    Shapes: `[batch, *shape] -> [batch, num_classes]`; the inputs are flattened.
    """

    widths: tuple[int, ...]  # features of each hidden layer
    num_classes: int
    norm: layers.Norm = layers.NORMS["none"]
    placement: str = "pre"  # a row of PLACEMENTS
    dropout: bool = False  # compiled in; its rate is an argument of the call
    kernel_init: Initializer = nn.initializers.he_normal()

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch *shape"],
        *,
        train: bool,
        dropout_rate: float | Float[Array, ""] = 0.0,
    ) -> Float[Array, "batch num_classes"]:
        normalizer = layers.normalizers(self.norm)
        x = inputs.reshape(inputs.shape[0], -1)
        for i, width in enumerate(self.widths):
            x = layers.Dense(
                width,
                kernel_init=self.kernel_init,
                kernel_norm=self.norm.kernel,
                name=f"dense_{i}",
            )(x, train=train)
            norm = normalizer(name=f"norm_{i}")
            if self.norm.owns_activation:
                x = norm(x, train=train)
            elif self.placement == "pre":
                x = nn.relu(norm(x, train=train))
            else:
                x = norm(nn.relu(x), train=train)
            if self.dropout:
                x = layers.Dropout(name=f"dropout_{i}")(x, dropout_rate, train=train)
        return layers.Dense(
            self.num_classes, kernel_init=self.kernel_init, name="logits"
        )(x)


MODELS = {"mlp": MLP}

KERNEL_INITS = {
    "glorot_normal": nn.initializers.glorot_normal(),
    "glorot_uniform": nn.initializers.glorot_uniform(),
    "he_normal": nn.initializers.he_normal(),
    "he_uniform": nn.initializers.he_uniform(),
    "lecun_normal": nn.initializers.lecun_normal(),
    "normal": nn.initializers.normal(1.0),  # N(0, 1): the setting init_scale scales it
    "orthogonal": nn.initializers.orthogonal(),
}
