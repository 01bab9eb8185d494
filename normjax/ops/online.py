"""Online normalization: a batch as a stream of examples, as a pure function of arrays.

The conventions are those of `norms`.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from normjax.ops import moments, validate
from normjax.ops.affine import MaybeVector, apply_running, refuse_running, standardize
from normjax.ops.validate import Mask


def online_norm(
    x: Num[Array, "batch *spatial features"],
    running: moments.Running,
    scale: MaybeVector = None,
    bias: MaybeVector = None,
    *,
    train: bool,
    decay: float = 0.99,
    eps: float = 1e-5,
    mask: Mask = None,
) -> tuple[Float[Array, "batch *spatial features"], moments.Running]:
    """`y_t = scale * (x_t - mean) / sqrt(var + eps) + bias`, from examples before t.

    In training the examples of a batch are a stream. Example t has the mean m and the
    variance v over its pixels (in a dense layer: itself and 0). It is normalized first
    and then moves the moments,

        var  <- decay * var + (1 - decay) * v + decay * (1 - decay) * (m - mean)^2,
        mean <- decay * mean + (1 - decay) * m,

    so a batch of one is no special case, and the order within a batch matters.
    Unrolled, both are one product with a triangular matrix of powers of `decay`.

    The forward pass is that of Chiley et al. Its gradient here is the exact one over
    the batch; all earlier examples are constants. Their gradient goes further back, by
    two averages that only the backward pass knows, which a function without side
    effects cannot keep: with a long memory (theirs is 0.999) and small batches the
    gradient here contains little of the moments. Their layer scaling is left out.

    `decay` is the weight of the past, per example. A mask, `[batch, *spatial]`, is for
    all features alike; an example without a true entry moves nothing. The other
    arguments are those of `norms.batch_norm`.

    References:
        Chiley et al., 2019. Online Normalization for Training Neural Networks.
        arXiv:1905.05894.
    """
    validate.refuse_decay(decay)
    where = validate.where(x, mask, of_features=False)
    refuse_running(x, running, scale=scale, bias=bias)
    if not train:
        return apply_running(x, running, scale, bias, eps=eps, where=where), running
    now = moments.mean_and_var(x, tuple(range(1, x.ndim - 1)), where=where)
    m, v = (a.reshape(x.shape[0], x.shape[-1]) for a in (now.mean, now.var))
    counts = jnp.broadcast_to(now.count > 0, now.mean.shape).reshape(m.shape)[:, 0]

    past_weight, weights = _stream(counts, decay, m.dtype)
    stream = functools.partial(jnp.dot, weights, precision="highest")
    mean = past_weight * running.mean.reshape(1, -1) + stream((1 - decay) * m)
    jump = decay * jnp.square(m - mean[:-1])
    var = past_weight * running.var.reshape(1, -1) + stream((1 - decay) * (v + jump))

    each = lambda a: a[:-1].reshape(now.mean.shape)
    y = standardize(x, each(mean), each(var), scale, bias, eps=eps, where=where)
    last = (a[-1].astype(jnp.result_type(b)) for a, b in zip((mean, var), running))
    return y, moments.Running(*last)


def _stream(counts, decay: float, dtype):
    """The weights of the past and of each example, before each example and at the end.

    Shapes [examples + 1, 1] and [examples + 1, examples]. A weight is `decay` to the
    number of examples since that count, and 0 for an example that comes later or
    does not count.
    """
    number = jnp.cumsum(counts, dtype=jnp.int32)  # up to and with each
    before = jnp.concatenate([jnp.zeros(1, jnp.int32), number]).reshape(-1, 1)
    since = before - number.reshape(1, -1)
    power = lambda n: jnp.asarray(decay, dtype) ** n.astype(dtype)
    rows, columns = (
        jax.lax.broadcasted_iota(jnp.int32, since.shape, a) for a in (0, 1)
    )
    earlier = (columns < rows) & counts.reshape(1, -1)
    return power(before), jnp.where(earlier, power(jnp.maximum(since, 0)), 0)
