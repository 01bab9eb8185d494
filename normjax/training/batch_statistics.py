"""Statistics of batch norm over a whole split, and the gap between its two modes.

The moving averages of batch norm lag behind the weights and forget all but the last
batches. Here they are recomputed with the weights as they are. Pure functions.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from normjax.data import splits
from normjax.errors import InputError
from normjax.layers.batch_variants import GhostBatchNorm
from normjax.layers.registry import arguments
from normjax.ops import batch_variants, moments, validate
from normjax.training import lane, precision
from normjax.types import Metrics, Network, Split

COLLECTION = "input_moments"  # a collection of its own, gone after each batch


def precise_statistics(network: Network, split: Split, *, batch_size: int) -> PyTree:
    """`stats` with the `mean` and `var` of the inputs of batch norms on a split.

        mean = sum(n_b mean_b) / n,
        var  = sum(n_b (var_b + (mean_b - mean)^2)) / n,

    over batches b of n_b elements: the biased moments of all n inputs of the layer.
    The layers before it are in training mode, so they normalize each batch by its own
    moments; dropout is off. Batches are those of `fold_batches`, so that none is small
    and a split sorted by label does no harm.

    A layer takes part if its class says `averages_inputs = True`: it is called with
    `x` and a mask, trains by the moments of each feature over the batch, and evaluates
    by `mean` and `var` in `batch_stats`. `BatchNorm`, `BatchRenorm` and
    `GhostBatchNorm` do. The moments are those of all its calls together. Whatever else
    is in `stats` stays as it is. The model is called as those of `MODELS` are.

    References:
        Wu and Johnson, 2021. Rethinking "Batch" in BatchNorm. arXiv:2105.07576.
    """
    stats = network.stats
    if "batch_stats" not in stats:
        return stats

    def input_moments(batch):
        with nn.intercept_methods(_record_moments):
            _, new = _apply(network, batch, train=True, mutable=[*stats, COLLECTION])
        return new.get(COLLECTION, {})

    is_moments = lambda node: isinstance(node, moments.Moments)
    merge = lambda a, b: jax.tree.map(moments.merge, a, b, is_leaf=is_moments)
    total = fold_batches(input_moments, merge, split, batch_size)
    return {**stats, "batch_stats": _insert(stats["batch_stats"], total)}


def mode_gap(network: Network, split: Split, *, batch_size: int) -> Metrics:
    """Loss and accuracy on a split in evaluation mode, minus those in training mode.

    Training mode normalizes each batch by its own moments, evaluation mode by `stats`.
    Weights and batches are the same; batches are those of `precise_statistics`, ghost
    batches too. Dropout is off.
    """

    def sums(batch):
        def metrics(train):
            logits = forward(network, batch, train=train)
            pair = lane.example_metrics(logits, batch.labels)
            return [x.astype(jnp.float32) for x in pair]

        gap = zip(metrics(False), metrics(True))
        return Metrics(*(jnp.sum(a - b) for a, b in gap))

    add = lambda a, b: jax.tree.map(jnp.add, a, b)
    total = fold_batches(sums, add, split, batch_size)
    return jax.tree.map(lambda x: x / len(split.labels), total)


def forward(
    network: Network, batch: Split, *, train: bool
) -> Float[Array, "batch classes"]:
    """Logits of a batch in either mode; moving averages are left as they are."""
    return _apply(network, batch, train=train, mutable=list(network.stats))[0]


def _apply(network: Network, batch: Split, *, train: bool, mutable: list) -> tuple:
    """Logits and mutable collections, without dropout.

    A `GhostBatchNorm` whose `ghost_size` does not divide the batch normalizes it by the
    nearest size that does, see `batch_variants.ghost_size_for`.
    """
    with nn.intercept_methods(_fit_ghosts):
        inputs = splits.scale_inputs(batch.inputs, network.scaling)
        return precision.apply(
            *(network.model, network.params, network.stats, inputs),
            precision=network.precision,
            train=train,
            mutable=mutable,
            rngs={"dropout": jax.random.key(0)},  # at rate 0 it has no effect
        )


def fold_batches(function: Callable, merge: Callable, split: Split, batch_size: int):
    """Merges `function(batch)` over all batches of the split, beginning with zeros.

    Every row is in one batch. Batches have at most `batch_size` examples and differ
    in size by one at most; batch b of k holds the rows b, b + k, ...

    Raises:
        InputError: `batch_size` is less than 1.
    """
    if batch_size < 1:
        remedy = "use that of training"
        raise InputError("batch_size", batch_size, "must be at least 1", remedy)
    num_examples = len(split.labels)
    num_batches = -(-num_examples // batch_size)
    small, num_large = divmod(num_examples, num_batches)
    take = lambda b, size: lane.take(split, b + num_batches * jnp.arange(size))

    def scan(total, size, batches):
        one = lambda total, b: (merge(total, function(take(b, size))), None)
        return jax.lax.scan(one, total, batches)[0]

    shapes = jax.eval_shape(function, take(0, small))
    total = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    if num_large:
        total = scan(total, small + 1, jnp.arange(num_large))
    return scan(total, small, jnp.arange(num_large, num_batches))


def _record_moments(call: Callable, args: tuple, kwargs: dict, context):
    """Keeps the moments of the inputs of a batch norm; an interceptor of flax."""
    layer = context.module
    takes_part = getattr(layer, "averages_inputs", False)
    if takes_part and context.method_name == "__call__":
        named = arguments(layer, args, kwargs)
        axis, mask = getattr(layer, "axis", -1), named.get("mask")
        x = jnp.moveaxis(named["x"], axis, -1)
        if mask is not None and jnp.ndim(mask) == x.ndim:  # of single features
            mask = jnp.moveaxis(mask, axis, -1)
        where = validate.where(x, mask)
        m = moments.mean_and_var(x, tuple(range(x.ndim - 1)), where=where)
        now = jax.tree.map(lambda a: jnp.broadcast_to(a, m.mean.shape).ravel(), m)
        if layer.has_variable(COLLECTION, "moments"):  # called before, on this batch
            now = moments.merge(layer.get_variable(COLLECTION, "moments"), now)
        layer.put_variable(COLLECTION, "moments", now)
    return call(*args, **kwargs)


def _fit_ghosts(call: Callable, args: tuple, kwargs: dict, context):
    """Calls ghost batch norms with a size that divides the batch; an interceptor."""
    layer = context.module
    if isinstance(layer, GhostBatchNorm) and context.method_name == "__call__":
        size, wanted = len(arguments(layer, args, kwargs)["x"]), layer.ghost_size
        if wanted is not None and wanted >= 1 and size % wanted:
            fitting = batch_variants.ghost_size_for(size, wanted=wanted)
            assert layer.scope is not None  # flax calls bound modules only
            scope = layer.scope.rewound()  # the same place for variables, as if unused
            call = layer.clone(parent=scope, ghost_size=fitting)
    return call(*args, **kwargs)


def _insert(stats: PyTree, recorded: PyTree) -> PyTree:
    """`stats` with the moments in `recorded`, which has the same paths."""
    new = recorded.get("moments")
    if isinstance(new, moments.Moments):
        return {**stats, "mean": new.mean, "var": new.var}
    return stats | {name: _insert(stats[name], recorded[name]) for name in recorded}
