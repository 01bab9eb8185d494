"""One lane: its initial state, a training step, an evaluation. Pure functions.

Nothing here knows of other lanes, devices or epochs; `lanes` vmaps and scans.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from normjax.data import splits
from normjax.optimizers import recipes
from normjax.types import (
    Data,
    Metrics,
    Number,
    Program,
    Scaling,
    Settings,
    Split,
    TrainState,
)

EVAL_BATCH = 1_000  # examples: large enough for the matrix product, small in memory


def init(
    key: Key[Array, ""],
    init_scale: Number,
    example: Float[Array, " 1 *shape"],
    *,
    model: nn.Module,
) -> tuple[PyTree, PyTree]:
    """Parameters and mutable collections of one lane, before any training.

    Every kernel is drawn by the model's `kernel_init` times the traced number
    `init_scale`, so a grid of scales shares one compilation. Nothing but the model
    is static: arms that differ in the optimizer share this one too.
    """
    scale = jnp.asarray(init_scale, jnp.float32)
    scaled = model.clone(kernel_init=lambda *args: scale * model.kernel_init(*args))
    stats = dict(scaled.init(key, example, train=False))
    return stats.pop("params"), stats


def start(
    params: PyTree, stats: PyTree, tx: optax.GradientTransformation
) -> TrainState:
    """The state from which a lane trains."""
    step, never = jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32)
    return TrainState(step, params, stats, tx.init(params), diverged_at_step=never)


def optimizer(
    program: Program, settings: Settings, *, num_train: int
) -> optax.GradientTransformation:
    """The optax chain of a lane; its scalars are traced."""
    chosen, penalties = program.optimizer, program.penalties
    count = program.l2_count or num_train
    return recipes.chain(chosen, settings, num_train=count, penalties=penalties)


def num_train(program: Program, data: Data) -> int:
    """Examples that a lane trains on: its own ones, or the whole training split."""
    return program.num_train or len(data.train.labels)


def example_metrics(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> tuple[Float[Array, " batch"], Bool[Array, " batch"]]:
    """Cross-entropy in nats of each example, and whether it is classified right."""
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return nats, jnp.argmax(logits, axis=-1) == labels


def all_finite(tree) -> Bool[Array, ""]:
    """Whether every floating number of a tree is finite."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    finite = [jnp.all(jnp.isfinite(x)) for x in floats]
    return functools.reduce(jnp.logical_and, finite, jnp.array(True))


def step(
    state: TrainState,
    batch: Split,
    key: Key[Array, ""],
    settings: Settings,
    *,
    program: Program,
    tx: optax.GradientTransformation,
    scaling: Scaling,
) -> tuple[TrainState, Metrics]:
    """One gradient step on the mean cross-entropy of `batch`, and its metrics.

    The metrics are those before the update, of the network as it trains (batch
    statistics, dropout on). If the new state holds a number that is not finite,
    the lane keeps its last finite state from here on, `diverged_at_step` becomes
    the number of this step (from 1) and the metrics are nan.
    """
    inputs = splits.scale_inputs(batch.inputs, scaling)

    def loss_fn(params):
        logits, stats = program.model.apply(
            {"params": params, **state.stats},
            inputs,
            train=True,
            dropout_rate=settings.get("dropout_rate", 0.0),
            mutable=list(state.stats),
            rngs={"dropout": key},
        )
        nats, correct = example_metrics(logits, batch.labels)
        return jnp.mean(nats), (stats, jnp.mean(correct))

    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, (stats, accuracy)), grads = value_and_grad(state.params)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    new = (params, dict(stats), opt_state)
    old = (state.params, state.stats, state.opt_state)
    alive = state.diverged_at_step < 0
    keep = alive & jnp.isfinite(loss) & all_finite(new)
    choose = lambda now, past: jnp.where(keep, now, past)
    params, stats, opt_state = jax.tree.map(choose, new, old)
    lost = jnp.where(alive & ~keep, state.step + 1, state.diverged_at_step)
    metrics = Metrics(*(jnp.where(keep, x, jnp.nan) for x in (loss, accuracy)))
    step = state.step + keep.astype(jnp.int32)
    return TrainState(step, params, stats, opt_state, lost), metrics


def evaluate(
    state: TrainState, split: Split, *, program: Program, scaling: Scaling
) -> Metrics:
    """Mean loss and accuracy over a split, with running statistics, without dropout.

    Batches of EVAL_BATCH examples; the last one overlaps the one before it and
    counts only its new rows, so no copy of the split is padded.
    """
    num_examples = len(split.labels)
    size = min(EVAL_BATCH, num_examples)

    def one_batch(total, i):
        start = jnp.minimum(i * size, num_examples - size)
        take = lambda x: jax.lax.dynamic_slice_in_dim(x, start, size)
        logits = program.model.apply(
            {"params": state.params, **state.stats},
            splits.scale_inputs(take(split.inputs), scaling),
            train=False,
        )
        new = start + jnp.arange(size, dtype=jnp.int32) >= i * size
        nats, correct = example_metrics(logits, take(split.labels))
        hits, count = (jnp.sum(x, dtype=jnp.int32) for x in (new & correct, new))
        sums = jnp.sum(jnp.where(new, nats, 0), dtype=jnp.float32), hits, count
        return jax.tree.map(jnp.add, total, sums), None

    zero = tuple(jnp.zeros((), dtype) for dtype in (jnp.float32, jnp.int32, jnp.int32))
    batches = jnp.arange(-(-num_examples // size), dtype=jnp.int32)
    # counting too: XLA divides by a constant inexactly, 185 / 200 = 0.92499995
    sums, _ = jax.lax.scan(one_batch, zero, batches)
    nats, hits, count = (x.astype(jnp.float32) for x in sums)
    return Metrics(nats / count, hits / count)


def take(split: Split, rows: Int[Array, " batch"]) -> Split:
    """The examples in these rows of a split."""
    return jax.tree.map(lambda x: jnp.take(x, rows, axis=0, mode="clip"), split)
