"""What is measured on the device after an epoch, besides loss and accuracy.

A probe is a pure function of one lane: of its state after the epoch and its `Context`.
It returns numbers by name; names hold no "/", and those of one layer end in ".<layer>".
Its conditions stand beside it in `PROBES` and are written to the record. A lane that
diverged is measured where it is evaluated, at its last finite state. What does not
apply to an arm is nan there, and so is what is not finite in float32.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from normjax.errors import InputError
from normjax.optimizers import recipes, transforms
from normjax.training import batch_statistics, lane
from normjax.types import Data, Program, Settings, Split, TrainState

PROBE_BATCH = 1_000  # examples at once, at most; their moments are near the split's

Measured = dict[str, Float[Array, ""]]


class Context(NamedTuple):
    """What a probe may use besides the state of its lane."""

    program: Program
    tx: optax.GradientTransformation
    settings: Settings  # of the lane
    data: Data
    rows: Int[Array, "steps batch"]  # of the training split, in the epoch just over


class Probe(NamedTuple):
    """A row of `PROBES`."""

    measure: Callable[[TrainState, Context], Measured]
    conditions: dict[str, str]  # for the record


def measure(state: TrainState, context: Context) -> Measured:
    """All probes of the program, one after the other; inf becomes nan."""
    measured = {}
    for name in context.program.probes:
        measured |= PROBES[name].measure(state, context)
    return {
        name: jnp.where(jnp.isfinite(x), x, jnp.nan) for name, x in measured.items()
    }


def third_moment(state: TrainState, context: Context) -> Measured:
    """How far the third-moment update is from Adam's, at the present moments."""
    del context
    return transforms.third_moment_probe(state.opt_state)


def smoothness(state: TrainState, context: Context) -> Measured:
    """How fast the loss's gradient changes along a step of gradient descent.

    `L(w; u) = ||grad f(w + u) - grad f(w)|| / ||u||`, with f the mean cross-entropy
    over the training split and `u = -learning_rate * grad` of one batch's; see
    `smoothness_along` for the two measures and `PROBES` for the conditions.

    Santurkar et al. take the largest such quotient over a range of step lengths, at
    every training step; here there is one step length, the learning rate, after every
    epoch, and f is that of the whole split.

    Raises:
        InputError: the optimizer has no setting learning_rate.

    References:
        Santurkar, Tsipras, Ilyas and Madry, 2018. How Does Batch Normalization Help
        Optimization? arXiv:1805.11604.
    """
    known = recipes.settings_of(context.program.optimizer) | context.settings
    rate = known.get("learning_rate")
    if rate is None:
        raise InputError(
            "probes='smoothness': needs the setting learning_rate, the length of its"
            " step, which this optimizer has not; leave the probe out."
        )
    gradient = batch_gradient(state, context)
    direction = jax.tree.map(lambda g: -rate * g, gradient)
    return smoothness_along(
        functools.partial(split_gradient, stats=state.stats, context=context),
        state.params,
        direction,
    )


def smoothness_along(
    gradient: Callable[[PyTree], PyTree], params: PyTree, direction: PyTree
) -> Measured:
    """`||gradient(w + u) - gradient(w)|| / ||u||`, in nats per squared unit of w.

    u is what rounding leaves of `direction` when it is added to w, so that far along
    in training, where steps are small, the quotient is still that of one and the same
    step; it is nan where nothing is left.

    Args:
        gradient: of a function of the parameters; traced once for both points.
        params: w, any tree.
        direction: u, the same tree.

    Returns:
        `smoothness`: with the norms of all parameters as one vector. At most the
            largest |curvature| on the way; on a quadratic and along an eigenvector
            the |eigenvalue|.
        `smoothness_as_published`: `sqrt(sum_i ||dg_i||) / sqrt(sum_i ||u_i||)` over
            the parameter tensors i, as the source has it: in the unit of the root.
    """
    moved = optax.apply_updates(params, direction)
    points = jax.tree.map(lambda *w: jnp.stack(w), params, moved)
    changes = jax.tree.map(lambda g: g[1] - g[0], jax.lax.map(gradient, points))
    steps = jax.tree.map(jnp.subtract, moved, params)
    lengths = lambda tree: jnp.stack(
        [optax.tree.norm(x) for x in jax.tree.leaves(tree)]
    )
    change, step = lengths(changes), lengths(steps)
    return {
        "smoothness": optax.tree.norm(change) / optax.tree.norm(step),
        "smoothness_as_published": jnp.sqrt(jnp.sum(change)) / jnp.sqrt(jnp.sum(step)),
    }


def norms(state: TrainState, context: Context) -> Measured:
    """Euclidean norms by layer, the top-level keys of the parameters.

    `gradient_norm.<layer>` of one batch's loss, in nats per unit of the parameters;
    `update_norm.<layer>` of what the optimizer makes of that gradient in its present
    state, decay included, and `parameter_norm.<layer>`, both in that unit.
    """
    gradient = batch_gradient(state, context)
    update, _ = context.tx.update(gradient, state.opt_state, state.params)
    trees = {"gradient": gradient, "update": update, "parameter": state.params}
    return {
        f"{name}_norm.{layer}": optax.tree.norm(tree[layer])
        for name, tree in trees.items()
        for layer in sorted(tree)
    }


def mode_gap(state: TrainState, context: Context) -> Measured:
    """`mode_gap_loss` in nats and `mode_gap_accuracy`: see `precise.mode_gap`."""
    size = context.program.batch_size
    gap = batch_statistics.mode_gap(*network_and_split(state, context), batch_size=size)
    return {"mode_gap_loss": gap.loss, "mode_gap_accuracy": gap.accuracy}


def train_split(state: TrainState, context: Context) -> Measured:
    """`train_loss_evaluated` in nats and `train_accuracy_evaluated`.

    Those of the epoch itself are taken while the parameters move, in training mode.
    """
    program, data = context.program, context.data
    found = lane.evaluate(state, data.train, program=program, scaling=data.scaling)
    return {
        "train_loss_evaluated": found.loss,
        "train_accuracy_evaluated": found.accuracy,
    }


def precise_test(state: TrainState, context: Context) -> Measured:
    """`precise_test_loss` in nats and `precise_test_accuracy`.

    The test split with `precise.precise_statistics` in the place of batch norm's
    moving averages; without batch norm it is the test split as it is evaluated.
    """
    program, data = context.program, context.data
    stats = batch_statistics.precise_statistics(
        *network_and_split(state, context), batch_size=program.batch_size
    )
    state = state._replace(stats=stats)
    found = lane.evaluate(state, data.test, program=program, scaling=data.scaling)
    return {"precise_test_loss": found.loss, "precise_test_accuracy": found.accuracy}


def network_and_split(state: TrainState, context: Context) -> tuple:
    """What the functions of `precise` take: the network, and the training split."""
    data = context.data
    model = context.program.model
    return model, state.params, state.stats, data.train, data.scaling


def loss_sum(
    params: PyTree, batch: Split, *, stats: PyTree, context: Context
) -> Float[Array, ""]:
    """Cross-entropies of a batch, added up: in training mode, without dropout."""
    program, scaling = context.program, context.data.scaling
    logits = batch_statistics.forward(
        program.model, params, stats, batch, scaling, train=True
    )
    nats, _ = lane.measure(logits, batch.labels)
    return jnp.sum(nats)


def batch_gradient(state: TrainState, context: Context) -> PyTree:
    """Of the mean cross-entropy of the epoch's first batch."""
    batch = lane.take(context.data.train, context.rows[0])
    total = functools.partial(loss_sum, stats=state.stats, context=context)
    return mean(jax.grad(total)(state.params, batch), len(batch.labels))


def split_gradient(params: PyTree, *, stats: PyTree, context: Context) -> PyTree:
    """Of the mean cross-entropy over the training split."""
    split = context.data.train
    total = functools.partial(loss_sum, stats=stats, context=context)
    add = functools.partial(jax.tree.map, jnp.add)
    one = functools.partial(jax.grad(total), params)
    return mean(
        batch_statistics.over_batches(one, add, split, PROBE_BATCH), len(split.labels)
    )


def mean(total: PyTree, count: int) -> PyTree:
    """A sum over examples, per example."""
    return jax.tree.map(lambda x: x / count, total)


def after_epoch(**conditions: str) -> dict[str, str]:
    """Conditions, and those that all measurements of the network share."""
    return {
        "weights": "after the epoch; of a lane that diverged, the last finite ones",
        "dropout": "off",
        **conditions,
    }


TRAINS = "training mode: each batch is normalized by its own moments"
AVERAGES = "evaluation mode: by the moving averages"
FIRST = "the first of the epoch just over, which the network saw longest ago"
AS_TRAINED = "all of the training split, in batches of the training batch size"
PENALTY = "without any penalty"

PROBES = {
    "third_moment": Probe(
        third_moment, {"moments": "those in the optimizer's state after the epoch"}
    ),
    "smoothness": Probe(
        smoothness,
        after_epoch(
            batch_norm=TRAINS,
            loss=f"mean cross-entropy over the training split, {PENALTY},"
            f" in batches of at most {PROBE_BATCH} examples",
            direction="minus the learning rate times the gradient of the mean"
            f" cross-entropy of one batch, {PENALTY}, whatever the optimizer",
            batch=FIRST,
        ),
    ),
    "norms": Probe(
        norms,
        after_epoch(
            batch_norm=TRAINS,
            loss=f"mean cross-entropy of one batch, {PENALTY}",
            direction="what the optimizer makes of that gradient in its state after"
            " the epoch, penalties and decay included",
            batch=FIRST,
        ),
    ),
    "mode_gap": Probe(
        mode_gap,
        after_epoch(batch_norm=f"{AVERAGES}; less {TRAINS}", batches=AS_TRAINED),
    ),
    "train_split": Probe(
        train_split,
        after_epoch(batch_norm=AVERAGES, batches="all of the training split"),
    ),
    "precise": Probe(
        precise_test,
        after_epoch(
            batch_norm="evaluation mode: by the moments of its inputs over the"
            " training split, the layers before it in training mode",
            statistics=AS_TRAINED,
            batches="all of the test split",
        ),
    ),
}
