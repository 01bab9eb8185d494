"""Relatives of batch norm, as pure functions of arrays.

The conventions are those of `norms`. Each function takes its running moments as an
argument and returns the new ones. In evaluation it returns them unchanged.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from normjax.errors import InputError
from normjax.ops import moments, validate
from normjax.ops.affine import MaybeVector, apply_running, refuse_running, standardize
from normjax.ops.validate import Mask


def batch_renorm(
    x: Num[Array, "*batch features"],
    running: moments.Running,
    scale: MaybeVector = None,
    bias: MaybeVector = None,
    *,
    train: bool,
    r_max: float | Float[Array, ""],
    d_max: float | Float[Array, ""],
    decay: float = 0.99,
    eps: float = 1e-5,
    mask: Mask = None,
) -> tuple[Float[Array, "*batch features"], moments.Running]:
    """`y = scale * ((x - mean) / std * r + d) + bias`, `std = sqrt(var + eps)`.

    In training `mean` and `std` are the batch's and

        r = clip(std / running_std, 1 / r_max, r_max),
        d = clip((mean - running_mean) / running_std, -d_max, d_max)

    are constants to every derivative: within the limits `y` is what evaluation
    would give, while gradients pass through the batch's moments. `r_max = 1` and
    `d_max = 0` is batch norm. The averages are of the mean and, as in the paper, of
    `std`, not of the variance: `running.var` is the square of that average less
    eps, as Keras derives its own.

        >>> running = moments.Running(jnp.zeros(1), jnp.ones(1))
        >>> x, limits = jnp.array([[0.0], [3.0]]), {"r_max": 3.0, "d_max": 5.0}
        >>> batch_renorm(x, running, train=True, eps=0.0, **limits)[0].tolist()
        [[0.0], [3.0]]

    `r_max` is at least 1, `d_max` at least 0, in standard deviations; both may be
    traced, see `renorm_limits`. `decay` is 1 - alpha of the paper. The other arguments
    are those of `norms.batch_norm`.

    Raises:
        InputError: if a limit is a number out of range.

    References:
        Ioffe, 2017. Batch Renormalization: Towards Reducing Minibatch Dependence
        in Batch-Normalized Models. arXiv:1702.03275.
    """
    where = validate.where(x, mask)
    refuse_running(x, running, scale=scale, bias=bias)
    _refuse_limits(r_max, d_max)
    if not train:
        return apply_running(x, running, scale, bias, eps=eps, where=where), running
    validate.refuse_single(x, range(x.ndim - 1))
    now = moments.mean_and_var(x, tuple(range(x.ndim - 1)), where=where)
    std, past_std = jnp.sqrt(now.var + eps), jnp.sqrt(running.var + eps)

    r = std.reshape(past_std.shape) / past_std
    d = (now.mean.reshape(past_std.shape) - running.mean) / past_std
    r = jax.lax.stop_gradient(jnp.clip(r, 1 / r_max, r_max))
    d = jax.lax.stop_gradient(jnp.clip(d, -d_max, d_max))
    if scale is not None:
        r, d = r * scale, d * scale
    if bias is not None:
        d = d + bias
    y = standardize(x, now.mean, now.var, r, d, eps=eps, where=where)

    past = moments.Running(running.mean, past_std)
    mean, new_std = moments.blend(past, now._replace(var=std), decay=decay)
    var = jnp.maximum(jnp.square(new_std) - eps, 0)
    var = jnp.where(new_std == past_std, running.var, var)  # nothing new: to the bit
    return y, moments.Running(mean, var)


def renorm_limits(
    step: Int[Array, ""],
    *,
    r_max: float = 3.0,
    d_max: float = 5.0,
    start_step: int = 5_000,
    r_end_step: int = 40_000,
    d_end_step: int = 25_000,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`(r_max, d_max)` of `batch_renorm` at a step: the paper's schedule by default.

    Until `start_step` they are 1 and 0, which is batch norm. Then they grow linearly
    and reach `r_max` at `r_end_step` and `d_max` at `d_end_step`. Where all three
    steps are 0 they have these values from the first step.

        >>> [float(limit) for limit in renorm_limits(jnp.array(22_500))]
        [2.0, 4.375]

    Raises:
        InputError: if a limit is out of range, or its end before the start.
    """
    _refuse_limits(r_max, d_max)
    for name, end_step in {"r_end_step": r_end_step, "d_end_step": d_end_step}.items():
        if end_step < start_step:
            rule = f"must be at least start_step={start_step}"
            remedy = f"set {name}={start_step} to have no warm-up"
            raise InputError(name, end_step, rule, remedy)

    def share(end_step):
        grown = jnp.clip((step - start_step) / max(end_step - start_step, 1), 0, 1)
        return jnp.where(step >= end_step, 1, grown)

    return 1 + (r_max - 1) * share(r_end_step), d_max * share(d_end_step)


def _refuse_limits(r_max, d_max) -> None:
    for name, value, least in (("r_max", r_max, 1), ("d_max", d_max, 0)):
        if isinstance(value, int | float) and not value >= least:
            remedy = f"set {name}={least} for what batch norm does"
            raise InputError(name, value, f"must be at least {least}", remedy)


def ghost_batch_norm(
    x: Num[Array, "batch *spatial features"],
    running: moments.Running,
    scale: MaybeVector = None,
    bias: MaybeVector = None,
    *,
    train: bool,
    ghost_size: int | None = None,
    decay: float = 0.9,
    eps: float = 1e-5,
    mask: Mask = None,
) -> tuple[Float[Array, "batch *spatial features"], moments.Running]:
    """`norms.batch_norm` of each `ghost_size` neighbouring examples on their own.

    Also called virtual batch norm. `running` is blended with one ghost batch after
    the other, as if they were steps, so after g of them the past weighs `decay^g`.

        >>> running = moments.Running(jnp.zeros(1), jnp.ones(1))
        >>> x = jnp.array([[1.0], [3.0], [10.0], [30.0]])
        >>> ghost_batch_norm(x, running, train=True, ghost_size=2, eps=0.0)[0].tolist()
        [[-1.0], [1.0], [-1.0], [1.0]]

    `ghost_size` divides the number of examples. The whole batch is batch norm, and None
    is the divisor nearest to 32: see `ghost_size_for`. `decay` is per ghost batch; one
    without a single true entry of the mask leaves `running` as it is. The other
    arguments are those of `norms.batch_norm`.

    Raises:
        InputError: in training, if `ghost_size` does not divide the batch.

    References:
        Hoffer, Hubara and Soudry, 2017. Train longer, generalize better: closing
        the generalization gap in large batch training of neural networks.
        arXiv:1705.08741.
    """
    where, num_examples = validate.where(x, mask), x.shape[0]
    refuse_running(x, running, scale=scale, bias=bias)
    size = 1 if ghost_size is None else ghost_size
    if size < 1 or (train and num_examples % size):
        rule = f"must divide the {num_examples} examples of the batch"
        remedy = f"use {ghost_size_for(num_examples)}"
        raise InputError("ghost_size", ghost_size, rule, remedy)
    if not train:
        return apply_running(x, running, scale, bias, eps=eps, where=where), running
    size = ghost_size_for(num_examples) if ghost_size is None else size
    space, remedy = range(1, x.ndim - 1), "use larger ghost batches"
    validate.refuse_single(x, space, remedy, times=size)

    split = lambda a: a.reshape(-1, size, *a.shape[1:])
    ghosts, where = split(x), None if where is None else split(where)
    now = moments.mean_and_var(ghosts, tuple(range(1, x.ndim)), where=where)
    y = standardize(ghosts, now.mean, now.var, scale, bias, eps=eps, where=where)

    def one(past, now):
        return moments.blend(past, now, decay=decay), None

    each = now._replace(count=jnp.broadcast_to(now.count, now.mean.shape))
    # Under `shard_map` the running moments differ between devices from here on.
    zero = jnp.zeros_like(now.mean, shape=())
    start = jax.tree.map(lambda a: a + zero.astype(jnp.result_type(a)), running)
    return y.reshape(x.shape), jax.lax.scan(one, start, each)[0]


def ghost_size_for(num_examples: int, *, wanted: int = 32) -> int:
    """The divisor of a batch that is nearest to `wanted`, in ratio: 32 of 128."""
    divisors = [n for n in range(1, num_examples + 1) if num_examples % n == 0]
    apart = lambda n: max(n, wanted) / min(n, wanted)
    return min(divisors, key=apart, default=1)  # the norm refuses an empty batch


def power_norm(
    x: Num[Array, "*batch features"],
    running: Float[Array, " features"],
    scale: MaybeVector = None,
    bias: MaybeVector = None,
    *,
    train: bool,
    decay: float = 0.9,
    eps: float = 1e-5,
    mask: Mask = None,
) -> tuple[Float[Array, "*batch features"], Float[Array, " features"]]:
    """`y = scale * x / sqrt(square + eps) + bias`, `square = mean(x^2)` per feature.

    In training `square` is the batch's and blended into `running`, in evaluation
    it is `running`. This is PN-V, the first of the two forms that Shen et al.
    define, with its exact gradient. Their second form divides by `running` in
    training too and corrects the gradient by an average that only the backward
    pass knows, which a function without side effects cannot keep. They also scale
    each example by its own root mean square before, which is left out here.

        >>> x = jnp.array([[1.0], [7.0]])
        >>> power_norm(x, jnp.ones(1), train=True, decay=0.5)[1].tolist()
        [13.0]

    `running` is the mean square per feature. The other arguments are those of
    `norms.batch_norm`.

    References:
        Shen, Yao, Gholami, Mahoney and Keutzer, 2020. PowerNorm: Rethinking Batch
        Normalization in Transformers. arXiv:2003.07845.
    """
    where = validate.where(x, mask)
    validate.refuse_vectors(x, running=running, scale=scale, bias=bias)
    past = moments.Running(jnp.zeros_like(running), running)
    if not train:
        return apply_running(x, past, scale, bias, eps=eps, where=where), running
    now = moments.mean_square(x, tuple(range(x.ndim - 1)), where=where)
    y = standardize(x, now.mean, now.var, scale, bias, eps=eps, where=where)
    return y, moments.blend(past, now, decay=decay).var
