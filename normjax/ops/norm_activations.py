"""Norms that end in a nonlinearity of their own: they replace norm and activation.

The conventions are those of `norms`. Nothing here owns a parameter.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from normjax.ops import affine, moments, validate
from normjax.types import Number, Vector


def filter_response_norm(
    x: Num[Array, "batch *spatial features"],
    scale: Vector,
    bias: Vector,
    threshold: Vector,
    *,
    eps: Number = 1e-6,
    mask: validate.Mask = None,
) -> Float[Array, "batch *spatial features"]:
    """`y = max(scale * x / sqrt(nu^2 + |eps|) + bias, threshold)`, `nu^2 = mean(x^2)`.

    The mean is per example and channel, over all spatial axes. No mean is subtracted,
    which is why the threshold of the activation is learned. Where the spatial extent
    is 1, as in a dense layer, `nu^2 = x^2` and the result is the smooth sign
    `x / sqrt(x^2 + |eps|)`, whose slope at 0 is `1 / sqrt(|eps|)`: Singh and Krishnan
    then learn eps.

        >>> x, ones, zeros = jnp.array([[[-2.0], [2.0]]]), jnp.ones(1), jnp.zeros(1)
        >>> filter_response_norm(x, ones, zeros, zeros, eps=0.0).tolist()
        [[[0.0], [1.0]]]

    A `threshold` of zeros with a zero bias makes it a ReLU. `eps` is a number or a
    traced scalar.

    References:
        Singh and Krishnan, 2020. Filter Response Normalization Layer: Eliminating
        Batch Dependence in the Training of Deep Neural Networks. arXiv:1911.09737.
    """
    where = validate.where(x, mask)
    validate.refuse_vectors(x, scale=scale, bias=bias, threshold=threshold)
    validate.refuse_vector_numbers(eps=eps)
    wide = moments.zero_outside(where, moments.widen(x))
    spatial = tuple(range(1, x.ndim - 1))
    m = moments.mean_square(wide, spatial, where=where)
    y = affine.standardize(wide, m.mean, m.var, scale, bias, eps=jnp.abs(eps))
    y = jnp.maximum(y, threshold.reshape((1,) * (x.ndim - 1) + threshold.shape))
    return moments.zero_outside(where, y).astype(jnp.result_type(x))


def evonorm_s0(
    x: Num[Array, "batch *spatial features"],
    gate: Vector,
    scale: Vector,
    bias: Vector,
    *,
    num_groups: int,
    eps: float = 1e-5,
    mask: validate.Mask = None,
) -> Float[Array, "batch *spatial features"]:
    """`y = scale * x * sigmoid(gate * x) / sqrt(var + eps) + bias`.

    `var` is that of group norm: biased, per example, over all spatial axes and the
    channels of a group, which are neighbours on the last axis. The nonlinearity is
    a swish whose input is not normalized.

        >>> x, ones, zeros = jnp.array([[0.0, 128.0]]), jnp.ones(2), jnp.zeros(2)
        >>> evonorm_s0(x, ones, ones, zeros, num_groups=1, eps=0.0).tolist()
        [[0.0, 2.0]]

    `gate` is `v1` of the paper. `num_groups` must divide the number of channels.

    References:
        Liu, Brock, Simonyan and Le, 2020. Evolving Normalization-Activation Layers.
        arXiv:2004.02967.
    """
    where = validate.where(x, mask)
    validate.refuse_vectors(x, gate=gate, scale=scale, bias=bias)
    wide = moments.zero_outside(where, moments.widen(x))
    validate.refuse_groups(x.shape[-1], num_groups)
    _, var = moments.group_moments(wide, num_groups, where=where)
    var = jnp.repeat(var, x.shape[-1] // num_groups, -1)
    y = wide * jax.nn.sigmoid(gate.reshape((1,) * (x.ndim - 1) + gate.shape) * wide)
    mean = jnp.zeros_like(var)
    y = affine.standardize(y, mean, var, scale, bias, eps=eps, where=where)
    return y.astype(jnp.result_type(x))


def evonorm_b0(
    x: Num[Array, "batch *spatial features"],
    running_var: Vector,
    gate: Vector,
    scale: Vector,
    bias: Vector,
    *,
    train: bool,
    decay: float = 0.9,
    eps: float = 1e-5,
    mask: validate.Mask = None,
) -> tuple[Float[Array, "batch *spatial features"], Vector]:
    """`y = scale * x / max(sqrt(batch + eps), gate * x + sqrt(instance + eps)) + bias`.

    `batch` is the variance per channel over the batch and all spatial axes, in
    evaluation `running_var`; `instance` that of each example over its spatial
    axes, 0 in a dense layer. Both are biased. The maximum is the nonlinearity:
    where it is its second argument, a large `x` cancels and `y` is near `1 / gate`.

        >>> x, ones, zeros = jnp.array([[-1.0], [1.0]]), jnp.ones(1), jnp.zeros(1)
        >>> evonorm_b0(x, ones, ones, ones, zeros, train=True, eps=0.0)[0].tolist()
        [[-1.0], [1.0]]

    `gate` is `v1` of the paper. `decay` is the weight of the past in `running_var`, per
    step; a feature without a single true entry of the mask leaves it as it is. The
    paper is that of `evonorm_s0`.
    """
    validate.refuse_eps(eps)
    where = validate.where(x, mask)
    validate.refuse_vectors(
        x, running_var=running_var, gate=gate, scale=scale, bias=bias
    )
    row = (1,) * (x.ndim - 1) + x.shape[-1:]
    wide = moments.zero_outside(where, moments.widen(x))
    var = running_var.reshape(row)
    if train:
        validate.refuse_single(x, range(x.ndim - 1))
        now = moments.mean_and_var(wide, tuple(range(x.ndim - 1)), where=where)
        past = moments.Running(running_var, running_var)
        var, running_var = now.var, moments.blend(past, now, decay=decay).var
    instance = moments.mean_and_var(wide, tuple(range(1, x.ndim - 1)), where=where).var
    gated = gate.reshape(row) * wide + jnp.sqrt(instance + eps)
    y = wide / jnp.maximum(jnp.sqrt(var + eps), gated)
    y = affine.scale_and_shift(y, scale, bias)
    return moments.zero_outside(where, y).astype(jnp.result_type(x)), running_var
