"""What goes before or after an optimizer: the norm of a gradient, and penalties."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jaxtyping import PyTree, ScalarLike

from normjax.types import ScalarOrSchedule


def kernels(params: PyTree) -> PyTree[bool]:
    """True at the leaves named `kernel`: what the penalties act on."""
    name = lambda path: jax.tree_util.keystr(path[-1:], simple=True)
    return jax.tree.map_with_path(lambda path, _: name(path) == "kernel", params)


def clip_gradient(largest: ScalarLike) -> optax.GradientTransformation:
    """`g * min(1, largest / |g|)`, |g| the Euclidean norm over all parameters.

    Goes first, on the gradient of the cross-entropy: `l2`, which comes after it, is
    not clipped, as a decoupled decay is not either. (Torch's `weight_decay` is added
    after its clipping too.) By optax; torch divides by |g| + 1e-6.

    References:
        Pascanu, Mikolov and Bengio, 2013. On the difficulty of training recurrent
        neural networks. arXiv:1211.5063.

    >>> tx, g = clip_gradient(1.0), jax.numpy.array([3.0, 4.0])
    >>> print(tx.update(g, tx.init(g))[0].round(3))
    [0.6 0.8]
    """
    return optax.clip_by_global_norm(largest)


def add_l2(strength: ScalarLike, *, num_train: int) -> optax.GradientTransformation:
    """Adds the gradient of `strength / (2 * num_train) * sum of squared kernels`.

    Goes before the optimizer, which therefore sees the penalty as part of the loss.

    >>> tx, params = add_l2(0.5, num_train=2), {"kernel": 4.0, "bias": 4.0}
    >>> tx.update({"kernel": 0.0, "bias": 0.0}, tx.init(params), params)[0]
    {'bias': 0.0, 'kernel': 1.0}
    """
    return optax.add_decayed_weights(strength / num_train, mask=kernels)


def add_weight_decay(
    strength: ScalarLike, *, learning_rate: ScalarOrSchedule
) -> optax.GradientTransformation:
    """Adds `-learning_rate * strength * kernel` to the step: goes last.

    References:
        Loshchilov and Hutter, 2019. Decoupled Weight Decay Regularization.
        arXiv:1711.05101. (Multiplied by the learning rate, as in torch's AdamW.)

    >>> tx, params = add_weight_decay(0.5, learning_rate=0.5), {"kernel": 4.0}
    >>> tx.update({"kernel": 0.0}, tx.init(params), params)[0]
    {'kernel': -1.0}
    """
    rate: Any = learning_rate
    step = (lambda n: -rate(n) * strength) if callable(rate) else -rate * strength
    return optax.add_decayed_weights(step, mask=kernels)


PENALTIES: dict[str, Callable[..., optax.GradientTransformation]] = {
    "l2": add_l2,
    "weight_decay": add_weight_decay,
}
