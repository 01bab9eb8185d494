"""One lane: its initial state, a training step, an evaluation. Pure functions.

Nothing here knows of other lanes, devices or epochs; `lanes` vmaps and scans.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from normjax import data_parallel
from normjax.data import augmentation, splits
from normjax.optimizers import chains
from normjax.training import precision
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
    return chains.chain(
        program.optimizer,
        settings,
        num_train=program.l2_count or num_train,
        penalties=program.penalties,
        schedule=program.schedule,
        num_steps=program.num_steps,
    )


def num_train(program: Program, data: Data) -> int:
    """Examples that a lane trains on: its own ones, or the whole training split."""
    return program.num_train or len(data.train.labels)


def example_metrics(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> tuple[Float[Array, " batch"], Bool[Array, " batch"]]:
    """Cross-entropy in nats of each example, and whether it is classified right."""
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return nats, jnp.argmax(logits, axis=-1) == labels


def smoothed_cross_entropy(
    nats: Float[Array, " batch"], logits: Float[Array, "batch classes"], amount: Number
) -> Float[Array, " batch"]:
    """Cross-entropy in nats against `(1 - amount) one_hot + amount / num_classes`.

        nats - amount (nats + mean_k(log_softmax(logits)_k))

    where `nats` is the cross-entropy against the labels.

    References:
        Szegedy et al., 2016. Rethinking the Inception Architecture for Computer
        Vision, section 7. arXiv:1512.00567.
    """
    uniform = -jnp.mean(jax.nn.log_softmax(logits), axis=-1)
    return nats + amount * (uniform - nats)


def step(
    state: TrainState,
    batch: Split,
    key: Key[Array, ""],
    settings: Settings,
    *,
    program: Program,
    tx: optax.GradientTransformation,
    scaling: Scaling,
    augmentation_key: Key[Array, ""] | None = None,
) -> tuple[TrainState, Metrics]:
    """One gradient step on the mean cross-entropy of `batch`, and its metrics.

    `key` is that of dropout, `augmentation_key` that of the program's augmentation,
    both of this step. With the setting `label_smoothing` the gradient is that of
    `smoothed_cross_entropy`. The metrics are those before the update, of the network as
    it trains (batch statistics, dropout on, inputs augmented), without smoothing and
    penalties. What comes out may not be finite: `steps` sees to that.
    """
    inputs = splits.scale_inputs(batch.inputs, scaling)
    if program.augmentation is not None:
        assert augmentation_key is not None
        inputs = augmentation.augment(program.augmentation, augmentation_key, inputs)

    gradient_of = jax.grad(_objective, has_aux=True)
    examples = data_parallel.divide(inputs), batch.labels
    grads, (loss, stats, accuracy) = gradient_of(
        state.params, state.stats, examples, key, settings, program
    )
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    new = TrainState(
        state.step + 1, params, dict(stats), opt_state, state.diverged_at_step
    )
    return new, Metrics(loss, accuracy)


def _objective(
    params: PyTree,
    stats: PyTree,
    examples: tuple[Array, Array],
    key: Key[Array, ""],
    settings: Settings,
    program: Program,
) -> tuple[Array, tuple]:
    """What a step lowers, beside penalties; and the loss, new stats and accuracy."""
    inputs, labels = examples
    logits, new = precision.apply(
        *(program.model, params, stats, inputs),
        precision=program.precision,
        train=True,
        dropout_rate=settings.get("dropout_rate", 0.0),
        mutable=list(stats),
        rngs={"dropout": key},
    )
    nats, correct = example_metrics(logits, labels)
    loss = objective = jnp.mean(nats)
    if "label_smoothing" in settings:
        amount = settings["label_smoothing"]
        objective = jnp.mean(smoothed_cross_entropy(nats, logits, amount))
    return objective, (loss, new, jnp.mean(correct))


def evaluate(
    state: TrainState, split: Split, *, program: Program, scaling: Scaling
) -> Metrics:
    """Mean loss and accuracy over a split, with running statistics, without dropout.

    Batches of EVAL_BATCH examples, or somewhat fewer if devices that share them do not
    divide it; the last one overlaps the one before it and counts only its new rows, so
    no copy of the split is padded.
    """
    num_examples = len(split.labels)
    num_devices = data_parallel.num_devices()
    size = min(EVAL_BATCH // num_devices * num_devices or EVAL_BATCH, num_examples)

    def one_batch(total, i):
        start = jnp.minimum(i * size, num_examples - size)
        take = lambda x: jax.lax.dynamic_slice_in_dim(x, start, size)
        inputs = data_parallel.divide(splits.scale_inputs(take(split.inputs), scaling))
        logits = precision.apply(
            *(program.model, state.params, state.stats, inputs),
            precision=program.precision,
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
