"""Statistics of batch norm over a whole split, and what the mode costs. Pure functions.

The moving averages of batch norm lag behind the weights and forget all but the last
batches. Here they are recomputed with the weights as they are.
"""

import inspect
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from normjax.data import splits
from normjax.errors import InputError
from normjax.layers.batch import BatchNorm
from normjax.layers.batch_variants import BatchRenorm, GhostBatchNorm
from normjax.ops import batch_variants, moments, validate
from normjax.training import lane
from normjax.types import Metrics, Scaling, Split

SEEN = "seen_moments"  # a collection of its own, gone after each batch
LAYERS = (BatchNorm, BatchRenorm, GhostBatchNorm)


def precise_statistics(
    model: nn.Module,
    params: PyTree,
    stats: PyTree,
    split: Split,
    scaling: Scaling,
    *,
    batch_size: int,
) -> PyTree:
    """`stats` with `mean` and `var` of each batch norm's inputs over a split.

        mean = sum(n_b mean_b) / n,
        var  = sum(n_b (var_b + (mean_b - mean)^2)) / n,

    over batches b of n_b elements: the biased moments of all n inputs of the layer.
    The layers before it train, that is, normalize each batch by its own moments;
    dropout keeps everything. Batches have at most `batch_size` examples and differ
    by one at most, so none is small; batch b of k holds the rows b, b + k, ..., so
    that a split sorted by label does no harm.

    Every `BatchNorm`, `BatchRenorm` and `GhostBatchNorm` of the model gets its own,
    of all its calls together if there are several; whatever else is in `stats` stays:
    `SwitchableNorm`, `EvoNormB0`, `PowerNorm`, `ScalarBatchNorm` and `OnlineNorm` keep
    their moving averages. A `GhostBatchNorm` whose `ghost_size` does not divide a
    batch normalizes it by the size nearest to it that does, see
    `batch_family.ghost_size_for`. The model is called as those of `MODELS`.

    References:
        Wu and Johnson, 2021. Rethinking "Batch" in BatchNorm. arXiv:2105.07576.
    """

    if "batch_stats" not in stats:
        return stats

    def seen(batch):
        with nn.intercept_methods(_fit), nn.intercept_methods(_record):
            _, new = model.apply(
                {"params": params, **stats},
                splits.scaled(batch.inputs, scaling),
                train=True,
                mutable=[*stats, SEEN],
                rngs={"dropout": jax.random.key(0)},  # at rate 0 it has no effect
            )
        return new.get(SEEN, {})

    is_moments = lambda node: isinstance(node, moments.Moments)
    merge = lambda a, b: jax.tree.map(moments.merge, a, b, is_leaf=is_moments)
    total = over_batches(seen, merge, split, batch_size)
    return {**stats, "batch_stats": _replaced(stats["batch_stats"], total)}


def mode_gap(
    model: nn.Module,
    params: PyTree,
    stats: PyTree,
    split: Split,
    scaling: Scaling,
    *,
    batch_size: int,
) -> Metrics:
    """Loss and accuracy on a split, evaluating less training: the price of the mode.

    Training mode normalizes each batch by its own moments, evaluation by `stats`;
    examples and weights are the same, and so are the batches, which are those of
    `precise_statistics`, ghost batches too. Dropout keeps everything.
    """

    def sums(batch):
        def of(train):
            logits = forward(model, params, stats, batch, scaling, train=train)
            return lane.measure(logits, batch.labels)

        gap = zip(of(False), of(True))
        return Metrics(*(jnp.sum(a.astype(jnp.float32) - b) for a, b in gap))

    total = over_batches(
        sums, lambda a, b: jax.tree.map(jnp.add, a, b), split, batch_size
    )
    return jax.tree.map(lambda x: x / len(split.labels), total)


def forward(
    model: nn.Module,
    params: PyTree,
    stats: PyTree,
    batch: Split,
    scaling: Scaling,
    *,
    train: bool,
) -> Float[Array, "batch classes"]:
    """Logits of a batch in either mode; dropout keeps everything.

    A `GhostBatchNorm` whose `ghost_size` does not divide the batch normalizes it by
    the size nearest to it that does. Moving averages are left as they are.
    """
    with nn.intercept_methods(_fit):
        logits, _ = model.apply(
            {"params": params, **stats},
            splits.scaled(batch.inputs, scaling),
            train=train,
            mutable=list(stats),
            rngs={"dropout": jax.random.key(0)},  # at rate 0 it has no effect
        )
    return logits


def over_batches(measure: Callable, merge: Callable, split: Split, batch_size: int):
    """`measure` of each batch of the split, merged from zeros.

    Every row is in one batch. Batches have at most `batch_size` examples and differ
    by one at most; batch b of k holds the rows b, b + k, ...

    Raises:
        InputError: `batch_size` is less than 1.
    """
    if batch_size < 1:
        raise InputError(
            f"batch_size={batch_size}: must be at least 1; use that of training."
        )
    num_examples = len(split.labels)
    num_batches = -(-num_examples // batch_size)
    small, num_large = divmod(num_examples, num_batches)
    take = lambda b, size: lane.take(split, b + num_batches * jnp.arange(size))

    def scan(total, size, batches):
        def one(total, b):
            return merge(total, measure(take(b, size))), None

        return jax.lax.scan(one, total, batches)[0]

    shapes = jax.eval_shape(measure, take(0, small))
    total = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    if num_large:
        total = scan(total, small + 1, jnp.arange(num_large))
    return scan(total, small, jnp.arange(num_large, num_batches))


def _record(call: Callable, args: tuple, kwargs: dict, context):
    """Keeps the moments of what a batch norm is called with; an interceptor of flax."""
    layer = context.module
    if isinstance(layer, LAYERS) and context.method_name == "__call__":
        given = _given(layer, args, kwargs)
        x = given["x"]
        where = validate.where(x, given.get("mask"))
        m = moments.over(x, tuple(range(x.ndim - 1)), where=where)
        flat = lambda a: jnp.broadcast_to(a, m.mean.shape).ravel()
        now = moments.Moments(*map(flat, m))
        if layer.has_variable(SEEN, "moments"):  # called before, on the same batch
            now = moments.merge(layer.get_variable(SEEN, "moments"), now)
        layer.put_variable(SEEN, "moments", now)
    return call(*args, **kwargs)


def _fit(call: Callable, args: tuple, kwargs: dict, context):
    """Calls ghost batch norms with a size that divides the batch; an interceptor."""
    layer = context.module
    if not isinstance(layer, GhostBatchNorm) or context.method_name != "__call__":
        return call(*args, **kwargs)
    size, wanted = len(_given(layer, args, kwargs)["x"]), layer.ghost_size
    if wanted is None or wanted < 1 or size % wanted == 0:
        return call(*args, **kwargs)
    fitting = batch_variants.ghost_size_for(size, wanted=wanted)
    scope = layer.scope.rewound()  # the same place for variables, as if unused
    return layer.clone(parent=scope, ghost_size=fitting)(*args, **kwargs)


def _given(layer: nn.Module, args: tuple, kwargs: dict) -> dict:
    """The arguments of a call by name."""
    return (
        inspect.signature(type(layer).__call__).bind(layer, *args, **kwargs).arguments
    )


def _replaced(stats: PyTree, seen: PyTree) -> PyTree:
    """`stats` with the moments in `seen`, which has the same paths."""
    found = seen.get("moments")
    if isinstance(found, moments.Moments):
        return {**stats, "mean": found.mean, "var": found.var}
    return stats | {name: _replaced(stats[name], seen[name]) for name in seen}
