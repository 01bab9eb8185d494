"""What replaces a norm without taking a mean: each position is mapped on its own.

The conventions are those of `norms`. Nothing here owns a parameter.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from normjax.errors import InputError
from normjax.ops import moments, validate
from normjax.ops.affine import scale_and_shift
from normjax.types import Number, Vector


def dynamic_tanh(
    x: Num[Array, "*batch features"], alpha: Number, scale: Vector, bias: Vector
) -> Float[Array, "*batch features"]:
    """`y = scale * tanh(alpha * x) + bias` (DyT): a norm's squashing without a mean.

    `alpha` is one number for the whole layer. The paper initializes it with 0.5, but
    in language models, where it is tuned to the width. `y` does depend on the length
    of `x`: the saturation of tanh replaces the division by it.

        >>> ones = jnp.ones(2)
        >>> dynamic_tanh(jnp.array([[0.0, 99.0]]), 0.5, ones, ones).tolist()
        [[1.0, 2.0]]

    References:
        Zhu, Chen, He, LeCun and Liu, 2025. Transformers without Normalization.
        arXiv:2503.10622.
    """
    validate.refuse_empty(x)
    validate.refuse_vectors(x, scale=scale, bias=bias)
    validate.refuse_vector_numbers(alpha=alpha)
    y = jnp.tanh(alpha * moments.widen(x))
    return scale_and_shift(y, scale, bias).astype(jnp.result_type(x))


def dynamic_erf(
    x: Num[Array, "*batch features"],
    alpha: Number,
    shift: Number,
    scale: Vector,
    bias: Vector,
) -> Float[Array, "*batch features"]:
    """`y = scale * erf(alpha * x + shift) + bias` (Derf), after `dynamic_tanh`.

    `erf(z) = 2 / sqrt(pi) * integral of exp(-t^2) over t from 0 to z`. `alpha` and
    `shift` are one number each for the whole layer. The paper initializes them with
    0.5 and 0.

        >>> ones = jnp.ones(2)
        >>> dynamic_erf(jnp.array([[0.0, 99.0]]), 0.5, 0.0, ones, ones).tolist()
        [[1.0, 2.0]]

    References:
        Chen, Lu, Zhu, Sun and Liu, 2025. Stronger Normalization-Free Transformers.
        arXiv:2512.10938.
    """
    validate.refuse_empty(x)
    validate.refuse_vectors(x, scale=scale, bias=bias)
    validate.refuse_vector_numbers(alpha=alpha, shift=shift)
    y = jax.lax.erf(alpha * moments.widen(x) + shift)
    return scale_and_shift(y, scale, bias).astype(jnp.result_type(x))


def local_response_norm(
    x: Num[Array, "*batch features"],
    *,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 2.0,
) -> Float[Array, "*batch features"]:
    """`y = x / (k + alpha * sum(x^2))^beta`, summed over `size` channels around each.

    Channels beyond the first and the last count as zeros. Names and defaults are
    the paper's. `torch.nn.functional.local_response_norm` divides its alpha by
    `size` and has k = 1 by default: set `alpha = torch_alpha / size` here.
    `tf.nn.local_response_normalization` takes alpha as here, calls k bias (1 by
    default), and the window `depth_radius = (size - 1) / 2` (5 by default), with
    other defaults for alpha (1) and beta (0.5).

        >>> x = jnp.array([[1.0, 1.0]])
        >>> local_response_norm(x, size=3, alpha=1.0, beta=1.0, k=2.0).tolist()
        [[0.25, 0.25]]

    `size` is odd and may exceed the number of channels. `alpha` is in units of `k` over
    the squared units of `x`. `k` is positive, so that the quotient is finite.

    Raises:
        InputError: if `size` is not a positive odd number.

    References:
        Krizhevsky, Sutskever and Hinton, 2012. ImageNet Classification with Deep
        Convolutional Neural Networks. NeurIPS 25, section 3.3.
    """
    validate.refuse_empty(x)
    if size < 1 or size % 2 == 0:
        rule = "must be a positive odd number, for as many channels on either side"
        raise InputError("size", size, rule, "use size=5")
    wide = moments.widen(x)
    reach = size // 2
    padding = [(0, 0)] * (x.ndim - 1) + [(reach, reach)]
    square = jnp.pad(jnp.square(wide), padding)
    features = x.shape[-1]
    total = sum(square[..., i : i + features] for i in range(size))
    y = wide * jnp.power(k + alpha * total, -beta)
    return y.astype(jnp.result_type(x))
