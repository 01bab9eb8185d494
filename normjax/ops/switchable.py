"""Switchable norm: a learned mixture of moments, with the conventions of `norms`."""

import math

import jax
from jaxtyping import Array, Float, Num

from normjax.errors import InputError
from normjax.ops import affine, moments, validate
from normjax.types import Vector

Logits = Float[Array, " kinds"]


def kinds(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names the moments that are mixed for activations of a shape, in order.

    The moments of instance norm are left out where the spatial extent is 1, as in a
    dense layer: each would be over a single element.
    """
    spatial = math.prod(shape[1:-1]) > 1
    return ("instance", "layer", "batch") if spatial else ("layer", "batch")


def switchable_norm(
    x: Num[Array, "batch *spatial features"],
    running: moments.Running,
    mean_logits: Logits,
    var_logits: Logits,
    scale: Vector,
    bias: Vector,
    *,
    train: bool,
    decay: float = 0.9,
    eps: float = 1e-5,
    mask: validate.Mask = None,
) -> tuple[Float[Array, "batch *spatial features"], moments.Running]:
    """`y = scale * (x - mean) / sqrt(var + eps) + bias`, of mixed moments.

    `mean = sum(softmax(mean_logits) * means)`, `var = sum(softmax(var_logits) *
    vars)`, over the moments that `kinds` names: per example and channel (instance),
    per example over space and channels (layer), and per channel over the batch
    (batch; in evaluation `running`, the paper's moving average). All variances are
    biased and taken in two passes; Luo et al. derive the last two from the first.

    `running` is that of the batch kind. There are as many logits as `kinds(x.shape)`;
    equal ones mix evenly. The other arguments are those of `norms.batch_norm`.

    References:
        Luo, Ren, Peng, Zhang and Li, 2019. Differentiable Learning-to-Normalize via
        Switchable Normalization. arXiv:1806.10779.
    """
    where, names = validate.where(x, mask), kinds(x.shape)
    _refuse_other_kinds(names, mean_logits=mean_logits, var_logits=var_logits)
    validate.refuse_single(x, range(1, x.ndim), "give the layer more features")
    affine.refuse_running(x, running, scale=scale, bias=bias)
    spatial = tuple(range(1, x.ndim - 1))
    axes = {"instance": spatial, "layer": (*spatial, x.ndim - 1)}
    mixed: list = [
        moments.mean_and_var(x, axes[name], where=where) for name in names[:-1]
    ]
    if train:
        validate.refuse_single(x, range(x.ndim - 1))
        mixed.append(moments.mean_and_var(x, (0, *spatial), where=where))
        running = moments.blend(running, mixed[-1], decay=decay)
    else:
        row = (1,) * (x.ndim - 1) + x.shape[-1:]
        mixed.append(moments.Running(*(a.reshape(row) for a in running)))

    def mix(logits, terms):
        return sum(w * term for w, term in zip(jax.nn.softmax(logits), terms))

    mean = mix(mean_logits, [m.mean for m in mixed])
    var = mix(var_logits, [m.var for m in mixed])
    y = affine.standardize(x, mean, var, scale, bias, eps=eps, where=where)
    return y, running


def _refuse_other_kinds(names: tuple[str, ...], **logits: Array) -> None:
    for name, given in logits.items():
        if given.shape != (len(names),):
            rule = f"must be ({len(names)},), one for each of {', '.join(names)}"
            remedy = "make them for activations of this shape"
            raise InputError(f"{name}.shape", given.shape, rule, remedy)
