"""What is measured on the device after an epoch, besides loss and accuracy.

A probe is a pure function of one lane: of its state after the epoch and its `Context`.
It returns numbers by name; names hold no "/", and those of one layer end in ".<layer>".
Its conditions stand beside it in `PROBES` and are written to the record. A lane that
diverged is measured at its last finite state, where it is evaluated too. A measurement
that does not apply to an arm is nan there, and so is one that is not finite in float32.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from normjax.errors import InputError
from normjax.optimizers import recipes, transforms
from normjax.training import batch_statistics, gradients, lane
from normjax.types import Data, Metrics, Network, Program, Settings, TrainState

PROBE_BATCH = 1_000  # examples at once, at most; their moments are near the split's

Measured = dict[str, Float[Array, ""]]


class Context(NamedTuple):
    """What a probe may use besides the state of its lane."""

    program: Program
    tx: optax.GradientTransformation
    settings: Settings  # of the lane
    data: Data  # its training split is the lane's own
    rows: Int[Array, "steps batch"]  # of the training split, in the epoch just over


class Probe(NamedTuple):
    """A row of `PROBES`."""

    measure: Callable[[TrainState, Context], Measured]
    conditions: dict[str, str]  # for the record


def measure_all(state: TrainState, context: Context) -> Measured:
    """Measurements of all probes of the program; inf becomes nan."""
    measured: Measured = {}
    for name in context.program.probes:
        measured |= PROBES[name].measure(state, context)
    finite = lambda x: jnp.where(jnp.isfinite(x), x, jnp.nan)
    return {name: finite(x) for name, x in measured.items()}


def measure_third_moment(state: TrainState, context: Context) -> Measured:
    """How far the third-moment update is from Adam's, at the present moments."""
    known = optimizer_settings(context)
    used = {k: known[k] for k in ("b1", "b2", "b3", "eps") if known.get(k) is not None}
    return transforms.third_moment_probe(state.opt_state, **used)


def optimizer_settings(context: Context) -> dict:
    """Defaults of the lane's optimizer, and over them the settings of the lane."""
    return recipes.settings_of(context.program.optimizer) | context.settings


def measure_smoothness(state: TrainState, context: Context) -> Measured:
    """`gradients.smoothness_along` a step of gradient descent.

    The gradient is that of the mean cross-entropy over the training split, and the step
    u is -learning_rate times that of one batch; the rate is the setting, which is the
    peak of a schedule.

    Santurkar et al. take the largest such quotient over a range of step lengths, at
    every training step; here there is one step length, the learning rate, after every
    epoch, and the loss is that of the whole split.

    Raises:
        InputError: the optimizer has no setting learning_rate.

    References:
        Santurkar, Tsipras, Ilyas and Madry, 2018. How Does Batch Normalization Help
        Optimization? arXiv:1805.11604.
    """
    rate = optimizer_settings(context).get("learning_rate")
    if rate is None:
        setting = "the setting learning_rate, its step's length"
        rule = f"must have an optimizer with {setting}"
        raise InputError("probes", "smoothness", rule, "leave the probe out")
    exact = network_of(state, context)._replace(precision="float32")
    direction = jax.tree.map(lambda g: -rate * g, batch_gradient(exact, context))

    def gradient(params):
        network, split = exact._replace(params=params), context.data.train
        return gradients.split_gradient(network, split, batch_size=PROBE_BATCH)

    return gradients.smoothness_along(gradient, state.params, direction)


def measure_magnitudes(state: TrainState, context: Context) -> Measured:
    """Euclidean norms by layer, that is, by top-level key of the parameters.

    `gradient_norm.<layer>` is that of the loss of one batch, in nats per unit of the
    parameters; `update_norm.<layer>` that of what the optimizer makes of this gradient
    in its present state, penalties included; `parameter_norm.<layer>` that of the
    parameters. Both are in their unit.
    """
    gradient = batch_gradient(network_of(state, context), context)
    update, _ = context.tx.update(gradient, state.opt_state, state.params)
    trees = {"gradient": gradient, "update": update, "parameter": state.params}
    return {
        f"{name}_norm.{layer}": optax.tree.norm(tree[layer])
        for name, tree in trees.items()
        for layer in sorted(tree)
    }


def measure_mode_gap(state: TrainState, context: Context) -> Measured:
    """`mode_gap_loss` in nats and `mode_gap_accuracy`: see `batch_statistics`."""
    network, split = network_of(state, context), context.data.train
    size = context.program.batch_size
    gap = batch_statistics.mode_gap(network, split, batch_size=size)
    return {f"mode_gap_{name}": x for name, x in gap._asdict().items()}


def measure_train_split(state: TrainState, context: Context) -> Measured:
    """`train_loss_evaluated` in nats and `train_accuracy_evaluated`.

    The metrics of the epoch are taken in training mode, while the parameters move.
    """
    program, data = context.program, context.data
    metrics = lane.evaluate(state, data.train, program=program, scaling=data.scaling)
    return {f"train_{name}_evaluated": x for name, x in metrics._asdict().items()}


def measure_precise_test(state: TrainState, context: Context) -> Measured:
    """`precise_test_loss` in nats and `precise_test_accuracy`.

    They are those of the test split with `batch_statistics.precise_statistics` in the
    place of moving averages; without batch norm they are the test metrics themselves.
    They are nan where a layer evaluates by other averages over batches than those of
    its inputs, which `batch_statistics.unmeasured` finds.
    """
    program, data = context.program, context.data
    network, size = network_of(state, context), program.batch_size
    if batch_statistics.unmeasured(network, data.train, batch_size=size):
        nothing = jnp.full((), jnp.nan, jnp.float32)
        return {f"precise_test_{name}": nothing for name in Metrics._fields}
    stats = batch_statistics.precise_statistics(network, data.train, batch_size=size)
    state = state._replace(stats=stats)
    metrics = lane.evaluate(state, data.test, program=program, scaling=data.scaling)
    return {f"precise_test_{name}": x for name, x in metrics._asdict().items()}


def network_of(state: TrainState, context: Context) -> Network:
    """The network of the lane as it is."""
    program, scaling = context.program, context.data.scaling
    variables = state.params, state.stats
    return Network(program.model, *variables, scaling, program.precision)


def batch_gradient(network: Network, context: Context) -> PyTree:
    """Gradient of the mean cross-entropy of the epoch's first batch, as stored."""
    batch = lane.take(context.data.train, context.rows[0])
    total = jax.grad(gradients.loss_sum)(network.params, network, batch)
    return jax.tree.map(lambda x: x / len(batch.labels), total)


def network_conditions(**conditions: str) -> dict[str, str]:
    """Adds the conditions that all measurements of the network share."""
    weights = "after the epoch; of a lane that diverged, the last finite ones"
    inputs = "scaled, not augmented"
    shared = {"weights": weights, "dropout": "off", "inputs": inputs}
    return {**shared, "precision": "that of training", **conditions}


TRAINS = "training mode: each batch is normalized by its own moments"
AVERAGES = "evaluation mode: by the moving averages"
FIRST = "the first of the epoch just over, the one trained on longest ago"
AS_TRAINED = "all of the training split, in batches of the training batch size"
PENALTY = "without any penalty"

PROBES = {
    "third_moment": Probe(
        measure_third_moment,
        {"moments": "those in the optimizer's state after the epoch"},
    ),
    "smoothness": Probe(
        measure_smoothness,
        network_conditions(
            batch_norm=TRAINS,
            loss=f"mean cross-entropy over the training split, {PENALTY},"
            f" in batches of at most {PROBE_BATCH} examples",
            direction="minus the learning rate, the peak of a schedule, times the"
            f" gradient of the mean cross-entropy of one batch, {PENALTY}, whatever the"
            " optimizer",
            batch=FIRST,
            precision="float32, for bfloat16 would round the step away",
        ),
    ),
    "magnitudes": Probe(
        measure_magnitudes,
        network_conditions(
            batch_norm=TRAINS,
            loss=f"mean cross-entropy of one batch, {PENALTY}",
            direction="what the optimizer makes of that gradient in its state after"
            " the epoch, penalties included",
            batch=FIRST,
        ),
    ),
    "mode_gap": Probe(
        measure_mode_gap,
        network_conditions(batch_norm=f"{AVERAGES}; less {TRAINS}", batches=AS_TRAINED),
    ),
    "train_split": Probe(
        measure_train_split,
        network_conditions(batch_norm=AVERAGES, batches="all of the training split"),
    ),
    "precise": Probe(
        measure_precise_test,
        network_conditions(
            batch_norm="evaluation mode: by the moments of its inputs over the"
            " training split, the layers before it in training mode; nan if a layer"
            " keeps other averages over batches, as power, online, switchable and"
            " evonorm_b0 do",
            statistics=AS_TRAINED,
            batches="all of the test split",
        ),
    ),
}
