"""Statistics of batch norm over a whole split, and the gap between its two modes.

The moving averages of batch norm lag behind the weights and forget all but the last
batches. Here they are recomputed with the weights as they are. Pure functions.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from normjax import data_parallel
from normjax.data import splits
from normjax.errors import InputError
from normjax.layers.batch_variants import GhostBatchNorm
from normjax.layers.registry import arguments
from normjax.ops import batch_variants, moments, validate
from normjax.training import lane, precision
from normjax.types import Metrics, Network, Split

COLLECTION = "input_moments"  # a collection of its own, gone after each batch
POWER_ITERATION = ".u", ".v", "/u", "/sigma"  # ours and those of nn.SpectralNorm


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
    `GhostBatchNorm` do, and so does that of flax.linen, also where its features are
    several axes. The moments are those of all its calls together. Whatever else is in
    `stats` stays as it is: `unmeasured` names what should not. The model is called as
    those of `MODELS` are.

    References:
        Wu and Johnson, 2021. Rethinking "Batch" in BatchNorm. arXiv:2105.07576.
    """
    stats = network.stats
    if "batch_stats" not in stats:
        return stats

    input_moments = lambda batch: _trained(network, batch).get(COLLECTION, {})
    is_moments = lambda node: isinstance(node, moments.Moments)
    merge = lambda a, b: jax.tree.map(moments.merge, a, b, is_leaf=is_moments)
    total = fold_batches(input_moments, merge, split, batch_size)
    return {**stats, "batch_stats": _insert(stats["batch_stats"], total)}


def unmeasured(network: Network, split: Split, *, batch_size: int) -> list[str]:
    """Averages over batches that `precise_statistics` leaves as they are, by path.

    They are what training changes in `batch_stats` in layers that do not take part:
    those of `OnlineNorm`, for instance, or of a batch norm of flax in `nn.scan` or of
    flax.nnx. The vectors of a power iteration are no such averages. This is
    found without arithmetic.
    """
    found: list[str] = []

    def note(batch):
        new = _trained(network, batch)
        old, taken = network.stats["batch_stats"], new.get(COLLECTION, {})
        found.extend(_changed(old, new["batch_stats"], taken, "batch_stats"))

    if "batch_stats" not in network.stats:
        return found
    rows = jnp.arange(min(batch_size, len(split.labels)))
    jax.eval_shape(note, lane.take(split, rows))
    return sorted(found)


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


def _trained(network: Network, batch: Split) -> PyTree:
    """The collections after a batch in training mode, with the moments of inputs."""
    with nn.intercept_methods(_record_moments):
        mutable = [*network.stats, COLLECTION]
        return _apply(network, batch, train=True, mutable=mutable)[1]


def _changed(old: PyTree, new: PyTree, recorded: PyTree, path: str) -> list[str]:
    """Paths of what training made anew in layers whose inputs were not recorded.

    What a layer did not write is the same object, traced or not.
    """
    if not isinstance(old, Mapping):
        return [] if new is old or path.endswith(POWER_ITERATION) else [path]
    taken = isinstance(recorded.get("moments"), moments.Moments)
    return [
        each
        for name, inner in old.items()
        if not taken or isinstance(inner, Mapping)
        for each in _changed(inner, new[name], recorded.get(name, {}), f"{path}.{name}")
    ]


def _apply(network: Network, batch: Split, *, train: bool, mutable: list) -> tuple:
    """Logits and mutable collections, without dropout, be it that of flax.linen.

    A `GhostBatchNorm` whose `ghost_size` does not divide the batch normalizes it by the
    nearest size that does, see `batch_variants.ghost_size_for`.
    """
    with nn.intercept_methods(_fit_ghosts), nn.intercept_methods(_skip_dropout):
        inputs = splits.scale_inputs(batch.inputs, network.scaling)
        inputs = data_parallel.divide(inputs)
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
    # lifted transforms of flax, such as nn.scan, let no collection of ours through
    if context.method_name == "__call__" and layer.is_mutable_collection(COLLECTION):
        now = _input_moments(layer, arguments(layer, args, kwargs))
        if now is not None:
            if layer.has_variable(
                COLLECTION, "moments"
            ):  # called before, on this batch
                now = moments.merge(layer.get_variable(COLLECTION, "moments"), now)
            layer.put_variable(COLLECTION, "moments", now)
    return call(*args, **kwargs)


def _input_moments(layer: Any, named: dict[str, Any]) -> moments.Moments | None:
    """Those of each feature, if the layer evaluates by averages of them."""
    of_flax = isinstance(layer, nn.BatchNorm)
    if not (getattr(layer, "averages_inputs", False) or of_flax):
        return None
    if of_flax and _evaluates(layer, named):  # its averages are constants
        return None
    axis, x, mask = getattr(layer, "axis", -1), named["x"], named.get("mask")
    axes = sorted(a % x.ndim for a in ((axis,) if isinstance(axis, int) else axis))
    last = range(-len(axes), 0)
    if mask is not None and of_flax:
        mask = jnp.broadcast_to(mask, x.shape)
    if mask is not None and jnp.ndim(mask) == x.ndim:  # of single features
        mask = jnp.moveaxis(mask, axes, last)
    x = jnp.moveaxis(x, axes, last)
    over = tuple(range(x.ndim - len(axes)))
    m = moments.mean_and_var(x, over, where=validate.where(x, mask))
    return jax.tree.map(lambda a: jnp.broadcast_to(a, m.mean.shape).ravel(), m)


def _evaluates(layer: nn.BatchNorm, named: Mapping[str, Any]) -> bool | None:
    """Whether this call of a batch norm of flax is by its moving averages."""
    told = named.get("use_running_average")
    return layer.use_running_average if told is None else told


def _skip_dropout(call: Callable, args: tuple, kwargs: dict, context):
    """Lets pass what would be dropped by flax; an interceptor."""
    layer = context.module
    if isinstance(layer, nn.Dropout) and context.method_name == "__call__":
        return arguments(layer, args, kwargs)["inputs"]
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
        shape = jnp.shape(stats["mean"])  # of features along several axes
        stats = {**stats, "mean": new.mean.reshape(shape)}
        return {**stats, "var": new.var.reshape(shape)}
    return stats | {name: _insert(stats[name], recorded[name]) for name in recorded}
